/* Softmax and cross-entropy, one row after the other. */
#ifndef real
#define SOURCE "loss.c"
#include "twice.h"
#else

static void NAME(log_softmax_row)(const real *x, int64_t C, real *out)
{
    real most = x[0];
    double sum = 0;
    for (int64_t c = 1; c < C; c++)
        most = x[c] > most || x[c] != x[c] ? x[c] : most;
    for (int64_t c = 0; c < C; c++) {
        out[c] = x[c] - most;
        sum += MATH(exp)(out[c]);
    }
    real shift = (real)log(sum);
    for (int64_t c = 0; c < C; c++)
        out[c] -= shift;
}

void NAME(log_softmax)(const real *x, int64_t N, int64_t C, real *out, int threads)
{
    threads = team(threads, N * C, STREAM / 8);
#pragma omp parallel for num_threads(threads) if (threads > 1) schedule(static)
    for (int64_t n = 0; n < N; n++)
        NAME(log_softmax_row)(x + n * C, C, out + n * C);
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
    threads = team(threads, N * C, STREAM / 8);
    real rest = (real)(smoothing / (double)larger(1, C)), extra = (real)(1 - smoothing);
#pragma omp parallel for num_threads(threads) if (threads > 1) schedule(static)
    for (int64_t n = 0; n < N; n++) {
        real *p = probabilities + n * C;
        double loss = 0;
        NAME(log_softmax_row)(logits + n * C, C, p);
        for (int64_t c = 0; c < C; c++) {
            real t = labels[n] == ignore ? 0 : NAME(target)(c, labels[n], weights, rest, extra);
            if (t != 0)
                loss -= (double)t * p[c];
            p[c] = MATH(exp)(p[c]);
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
