/* Softmax and cross-entropy, one row after the other. */
#ifndef real
#define SOURCE "loss.c"
#include "twice.h"
#else

#include "exponential.h"

/* The largest number of a row. It may pass a NaN by: the sum of exponentials becomes NaN all the same. */
INLINE real NAME(row_maximum)(const real *x, int64_t C)
{
    real most = x[0];
#pragma omp simd reduction(max : most)
    for (int64_t c = 1; c < C; c++)
        most = x[c] > most ? x[c] : most;
    return most;
}

void NAME(log_softmax)(const real *x, int64_t N, int64_t C, real *out, int threads)
{
    threads = team(threads, N * C, STREAM / 2);
#pragma omp parallel for num_threads(threads) if (threads > 1) schedule(static)
    for (int64_t n = 0; n < N; n++) {
        const real *row = x + n * C;
        real *y = out + n * C, most = NAME(row_maximum)(row, C);
        double sum = 0;
#pragma omp simd reduction(+ : sum)
        for (int64_t c = 0; c < C; c++)
            sum += NAME(exponential)(row[c] - most);
        real shift = (real)log(sum);
        for (int64_t c = 0; c < C; c++)
            y[c] = row[c] - most - shift;
    }
}

/* Target of class c in a row that counts. */
INLINE real NAME(target)(int64_t c, int64_t label, const real *weights, real rest, real extra)
{
    real t = c == label ? rest + extra : rest;
    return weights ? t * weights[c] : t;
}

void NAME(cross_entropy)(
    const real *logits, const int64_t *labels, const real *weights, double smoothing, int64_t ignore, int64_t N, int64_t C,
    real *out, real *probabilities, int threads)
{
    threads = team(threads, N * C, STREAM / 2);
    real rest = (real)(smoothing / (double)larger(1, C)), extra = (real)(1 - smoothing);
#pragma omp parallel for num_threads(threads) if (threads > 1) schedule(static)
    for (int64_t n = 0; n < N; n++) {
        const real *x = logits + n * C;
        real *p = probabilities + n * C, most = NAME(row_maximum)(x, C);
        double sum = 0, loss = 0;
#pragma omp simd reduction(+ : sum)
        for (int64_t c = 0; c < C; c++) {
            p[c] = NAME(exponential)(x[c] - most);
            sum += p[c];
        }
        real whole = (real)sum, shift = (real)log(sum);
#pragma omp simd
        for (int64_t c = 0; c < C; c++)
            p[c] /= whole;
        /* Without smoothing and weights the other classes' targets are 0. */
        int64_t label = labels[n], all = rest != 0 || weights;
        int64_t first = all ? 0 : larger(0, label), end = all ? C : smaller(C, label + 1);
        for (int64_t c = first; c < end && label != ignore; c++) {
            real t = NAME(target)(c, label, weights, rest, extra);
            if (t != 0)
                loss -= (double)t * (x[c] - most - shift);
        }
        out[n] = (real)loss;
    }
}

void NAME(cross_entropy_grad)(
    const real *dloss, const real *probabilities, const int64_t *labels, const real *weights, double smoothing,
    int64_t ignore, int64_t N, int64_t C, real *out, int threads)
{
    threads = team(threads, N * C, STREAM);
    real rest = (real)(smoothing / (double)larger(1, C)), extra = (real)(1 - smoothing);
#pragma omp parallel for num_threads(threads) if (threads > 1) schedule(static)
    for (int64_t n = 0; n < N; n++) {
        const real *p = probabilities + n * C;
        int counts = labels[n] != ignore;
        double sum = 0;
        for (int64_t c = 0; c < C && counts; c++)
            sum += NAME(target)(c, labels[n], weights, rest, extra);
        for (int64_t c = 0; c < C; c++) {
            real t = counts ? NAME(target)(c, labels[n], weights, rest, extra) : 0;
            out[n * C + c] = (p[c] * (real)sum - t) * dloss[n];
        }
    }
}

#endif
