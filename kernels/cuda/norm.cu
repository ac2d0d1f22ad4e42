/* Local response normalisation. x is (N, C, L), L the pixels of a map; a thread takes RUN channels of a pixel at a time. */
#include "real.cuh"

#define RUN 8

/* s**-beta; AlexNet's 3/4 needs no logarithm. */
__device__ inline real shrink(real s, real beta)
{
    if (beta == (real)0.75) {
        real root = sqrt(s);
        return 1 / (root * sqrt(root));
    }
    return pow(s, -beta);
}

/* Add v to those of the sums for RUN channels, one after the other, whose windows hold it. place: where it is in the first one's
 * window, which has the places 0 .. size - 1. */
__device__ inline void add_to_windows(real *sums, int64 place, int64 size, real v)
{
    int first = (int)smaller(RUN, larger(0, place - size + 1)), last = (int)smaller(RUN - 1, place);
#pragma unroll
    for (int k = 0; k < RUN; k++)
        if (k >= first && k <= last)
            sums[k] += v;
}

/* A thread's job: the RUN channels from c on, of the pixel whose first channel is number `pixel` of the array. */
typedef struct {
    int64 c, pixel;
} run;

__device__ inline run find(int64 job, int64 C, int64 L)
{
    int64 runs = ceil_div(C, RUN), others = job / L;
    return {others % runs * RUN, others / runs * C * L + job % L};
}

KERNEL NAME(local_response_norm)(
    const real *x, int64 N, int64 C, int64 L, int64 size, double alpha, double beta, double k, real *out, real *scale)
{
    int64 below = size / 2, above = (size - 1) / 2;
    SHARE(job, N * ceil_div(C, RUN) * L) {
        run r = find(job, C, L);
        real sums[RUN] = {};
        for (int64 o = larger(0, r.c - below); o < smaller(C, r.c + RUN + above); o++) {
            real v = x[r.pixel + o * L];
            add_to_windows(sums, o - (r.c - below), size, v * v);
        }
#pragma unroll
        for (int i = 0; i < RUN; i++)
            if (r.c + i < C) {
                int64 at = r.pixel + (r.c + i) * L;
                real s = (real)k + (real)alpha * sums[i];
                scale[at] = s;
                out[at] = x[at] * shrink(s, (real)beta);
            }
    }
}

KERNEL NAME(local_response_norm_grad)(
    const real *dy, const real *x, const real *scale, int64 N, int64 C, int64 L, int64 size, double alpha, double beta, real *out)
{
    int64 below = (size - 1) / 2, above = size / 2;
    real factor = (real)(-2 * alpha * beta);
    SHARE(job, N * ceil_div(C, RUN) * L) {
        run r = find(job, C, L);
        real sums[RUN] = {};
        for (int64 o = larger(0, r.c - below); o < smaller(C, r.c + RUN + above); o++) {
            int64 at = r.pixel + o * L;
            add_to_windows(sums, o - (r.c - below), size, dy[at] * shrink(scale[at], (real)beta) * x[at] / scale[at]);
        }
#pragma unroll
        for (int i = 0; i < RUN; i++)
            if (r.c + i < C) {
                int64 at = r.pixel + (r.c + i) * L;
                out[at] = dy[at] * shrink(scale[at], (real)beta) + factor * x[at] * sums[i];
            }
    }
}
