/* Local response normalisation. x is (N, C, L), L the pixels of a map. */
#ifndef real
#define SOURCE "norm.c"
#include "twice.h"
#else

/* Pixels whose channels are normalised together: a line of the cache of each channel. */
#define PIXELS (256 / REAL_BYTES)

/* s**-beta; AlexNet's 3/4 needs no logarithm. */
INLINE real NAME(shrink)(real s, real beta)
{
    if (beta == (real)0.75) {
        real root = MATH(sqrt)(s);
        return 1 / (root * MATH(sqrt)(root));
    }
    return MATH(pow)(s, -beta);
}

void NAME(local_response_norm)(
    const real *x, int64_t N, int64_t C, int64_t L, int64_t size, double alpha, double beta, double k, real *out, real *scale,
    int threads)
{
    int64_t below = size / 2, above = (size - 1) / 2, stretches = ceil_div(L, PIXELS);
    real a = (real)alpha, b = (real)beta, base = (real)k;
    threads = team(threads, N * C * L, STREAM / 4);
#pragma omp parallel for num_threads(threads) if (threads > 1) schedule(static)
    for (int64_t job = 0; job < N * stretches; job++) {
        int64_t first = job % stretches * PIXELS, width = smaller(PIXELS, L - first);
        int64_t start = job / stretches * C * L + first;
        for (int64_t c = 0; c < C; c++) {
            real sum[PIXELS] = {0}, *s = scale + start + c * L;
            for (int64_t o = larger(0, c - below); o <= smaller(C - 1, c + above); o++)
                for (int64_t i = 0; i < width; i++)
                    sum[i] += x[start + o * L + i] * x[start + o * L + i];
            for (int64_t i = 0; i < width; i++)
                s[i] = base + a * sum[i];
            if (b == (real)0.75)
                for (int64_t i = 0; i < width; i++)
                    out[start + c * L + i] = x[start + c * L + i] * NAME(shrink)(s[i], (real)0.75);
            else
                for (int64_t i = 0; i < width; i++)
                    out[start + c * L + i] = x[start + c * L + i] * NAME(shrink)(s[i], b);
        }
    }
}

int64_t NAME(local_response_norm_grad_scratch)(int64_t C, int threads) { return threads * C * PIXELS * REAL_BYTES + 4096; }

void NAME(local_response_norm_grad)(
    const real *dy, const real *x, const real *scale, int64_t N, int64_t C, int64_t L, int64_t size, double alpha, double beta,
    real *out, void *scratch, int threads)
{
    int64_t below = (size - 1) / 2, above = size / 2, stretches = ceil_div(L, PIXELS);
    real b = (real)beta, factor = (real)(-2 * alpha * beta);
    threads = team(threads, N * C * L, STREAM / 4);
#pragma omp parallel for num_threads(threads) if (threads > 1) schedule(static)
    for (int64_t job = 0; job < N * stretches; job++) {
        int64_t first = job % stretches * PIXELS, width = smaller(PIXELS, L - first);
        int64_t start = job / stretches * C * L + first;
        real *ratios = (real *)scratch + thread_index() * C * PIXELS;
        for (int64_t c = 0; c < C; c++) {
            int64_t at = start + c * L;
            for (int64_t i = 0; i < width; i++) {
                real s = scale[at + i], shrunk = b == (real)0.75 ? NAME(shrink)(s, (real)0.75) : NAME(shrink)(s, b);
                real share = dy[at + i] * shrunk;
                ratios[c * PIXELS + i] = share * x[at + i] / s;
                out[at + i] = share;
            }
        }
        for (int64_t c = 0; c < C; c++) {
            int64_t at = start + c * L;
            real sum[PIXELS] = {0};
            for (int64_t o = larger(0, c - below); o <= smaller(C - 1, c + above); o++)
                for (int64_t i = 0; i < width; i++)
                    sum[i] += ratios[o * PIXELS + i];
            for (int64_t i = 0; i < width; i++)
                out[at + i] += factor * x[at + i] * sum[i];
        }
    }
}

#endif
