/* Pooling: one thread per plane, one line of outputs at a time, so that the inner loops run over neighbours. */
#ifndef real
#define SOURCE "pool.c"
#include "twice.h"
#else

/* The taps of the window at place p that fall on a pixel 0 .. size - 1. */
static void NAME(taps)(int64_t place, int64_t stride, int64_t before, int64_t size, int64_t window, int64_t *first, int64_t *end)
{
    int64_t start = place * stride - before;
    *first = larger(0, -start);
    *end = smaller(window, size - start);
}

/* The places whose tap s falls on a pixel. */
static void NAME(places)(const pool2d_geometry *g, int64_t s, int64_t *low, int64_t *high)
{
    int64_t offset = s - g->left;
    *low = smaller(g->Q, offset < 0 ? ceil_div(-offset, g->stride_w) : 0);
    *high = larger(*low, smaller(g->Q, offset < g->W ? (g->W - 1 - offset) / g->stride_w + 1 : 0));
}

/* With `step` known the compiler turns the strided reads into vectors and shuffles. */
INLINE void NAME(take_larger)(const real *from, int64_t step, int32_t tap, int64_t n, real *best, int32_t *index)
{
    for (int64_t q = 0; q < n; q++) {
        real v = from[q * step];
        int better = (v > best[q]) | (v != v);
        best[q] = better ? v : best[q];
        index[q] = better ? tap : index[q];
    }
}

void NAME(max_pool2d)(const real *x, const pool2d_geometry *g, real *out, int32_t *indices, int threads)
{
    threads = team(threads, g->N * g->C * g->P * g->Q * g->R * g->S, STREAM);
#pragma omp parallel for num_threads(threads) if (threads > 1) schedule(static)
    for (int64_t line = 0; line < g->N * g->C * g->P; line++) {
        int64_t p = line % g->P, r0, r1, low, high;
        const real *plane = x + line / g->P * g->H * g->W;
        real *best = out + line * g->Q;
        int32_t *index = indices + line * g->Q;
        NAME(taps)(p, g->stride_h, g->top, g->H, g->R, &r0, &r1);
        for (int64_t q = 0; q < g->Q; q++) {
            best[q] = -(real)INFINITY;
            index[q] = (int32_t)(r0 * g->S + larger(0, g->left - q * g->stride_w));
        }
        for (int64_t r = r0; r < r1; r++)
            for (int64_t s = 0; s < g->S; s++) {
                NAME(places)(g, s, &low, &high);
                const real *from = plane + (p * g->stride_h - g->top + r) * g->W + s - g->left + low * g->stride_w;
                int32_t tap = (int32_t)(r * g->S + s);
                if (g->stride_w == 1)
                    NAME(take_larger)(from, 1, tap, high - low, best + low, index + low);
                else if (g->stride_w == 2)
                    NAME(take_larger)(from, 2, tap, high - low, best + low, index + low);
                else
                    NAME(take_larger)(from, g->stride_w, tap, high - low, best + low, index + low);
            }
    }
}

void NAME(max_pool2d_grad)(const real *dy, const int32_t *indices, const pool2d_geometry *g, real *out, int threads)
{
    threads = team(threads, g->N * g->C * g->H * g->W, STREAM);
#pragma omp parallel for num_threads(threads) if (threads > 1) schedule(static)
    for (int64_t plane = 0; plane < g->N * g->C; plane++) {
        real *dx = out + plane * g->H * g->W;
        memset(dx, 0, (size_t)(g->H * g->W) * REAL_BYTES);
        for (int64_t p = 0, i = plane * g->P * g->Q; p < g->P; p++)
            for (int64_t q = 0; q < g->Q; q++, i++) {
                int64_t h = p * g->stride_h - g->top + indices[i] / (int32_t)g->S;
                int64_t w = q * g->stride_w - g->left + indices[i] % (int32_t)g->S;
                /* Ties to the padding cannot be, but indices come from outside: never write elsewhere. */
                if (h >= 0 && h < g->H && w >= 0 && w < g->W)
                    dx[h * g->W + w] += dy[i];
            }
    }
}

void NAME(max_pool2d_gather)(const real *x, const int32_t *indices, const pool2d_geometry *g, real *out, int threads)
{
    threads = team(threads, g->N * g->C * g->P * g->Q, STREAM);
#pragma omp parallel for num_threads(threads) if (threads > 1) schedule(static)
    for (int64_t plane = 0; plane < g->N * g->C; plane++)
        for (int64_t p = 0, i = plane * g->P * g->Q; p < g->P; p++)
            for (int64_t q = 0; q < g->Q; q++, i++) {
                int64_t h = p * g->stride_h - g->top + indices[i] / (int32_t)g->S;
                int64_t w = q * g->stride_w - g->left + indices[i] % (int32_t)g->S;
                out[i] = h >= 0 && h < g->H && w >= 0 && w < g->W ? x[(plane * g->H + h) * g->W + w] : 0;
            }
}

/* Pixels of the window at a place, in the padded map or in the map alone. */
static int64_t NAME(counted)(int64_t place, int64_t stride, int64_t before, int64_t after, int64_t size, int64_t window, int pad)
{
    int64_t start = place * stride - before, low = pad ? -before : 0, high = pad ? size + after : size;
    return smaller(start + window, high) - larger(start, low);
}

static real NAME(divisor)(const pool2d_geometry *g, int64_t p, int64_t q)
{
    int pad = (int)g->count_include_pad;
    return (real)(NAME(counted)(p, g->stride_h, g->top, g->bottom, g->H, g->R, pad)
                  * NAME(counted)(q, g->stride_w, g->left, g->right, g->W, g->S, pad));
}

void NAME(avg_pool2d)(const real *x, const pool2d_geometry *g, real *out, int threads)
{
    threads = team(threads, g->N * g->C * g->P * g->Q * g->R * g->S, STREAM);
#pragma omp parallel for num_threads(threads) if (threads > 1) schedule(static)
    for (int64_t line = 0; line < g->N * g->C * g->P; line++) {
        int64_t p = line % g->P, r0, r1, low, high;
        const real *plane = x + line / g->P * g->H * g->W;
        real *sum = out + line * g->Q;
        NAME(taps)(p, g->stride_h, g->top, g->H, g->R, &r0, &r1);
        for (int64_t q = 0; q < g->Q; q++)
            sum[q] = 0;
        for (int64_t r = r0; r < r1; r++)
            for (int64_t s = 0; s < g->S; s++) {
                NAME(places)(g, s, &low, &high);
                const real *from = plane + (p * g->stride_h - g->top + r) * g->W + s - g->left;
                for (int64_t q = low; q < high; q++)
                    sum[q] += from[q * g->stride_w];
            }
        for (int64_t q = 0; q < g->Q; q++)
            sum[q] /= NAME(divisor)(g, p, q);
    }
}

void NAME(avg_pool2d_grad)(const real *dy, const pool2d_geometry *g, real *out, int threads)
{
    threads = team(threads, g->N * g->C * g->P * g->Q * g->R * g->S, STREAM);
#pragma omp parallel for num_threads(threads) if (threads > 1) schedule(static)
    for (int64_t plane = 0; plane < g->N * g->C; plane++) {
        real *dx = out + plane * g->H * g->W;
        memset(dx, 0, (size_t)(g->H * g->W) * REAL_BYTES);
        for (int64_t p = 0, i = plane * g->P * g->Q; p < g->P; p++)
            for (int64_t q = 0; q < g->Q; q++, i++) {
                int64_t r0, r1, s0, s1;
                NAME(taps)(p, g->stride_h, g->top, g->H, g->R, &r0, &r1);
                NAME(taps)(q, g->stride_w, g->left, g->W, g->S, &s0, &s1);
                real share = dy[i] / NAME(divisor)(g, p, q);
                for (int64_t r = r0; r < r1; r++) {
                    real *at = dx + (p * g->stride_h - g->top + r) * g->W + q * g->stride_w - g->left;
                    for (int64_t s = s0; s < s1; s++)
                        at[s] += share;
                }
            }
    }
}

#endif
