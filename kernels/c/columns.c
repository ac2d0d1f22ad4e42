/* im2col and its transpose, as operations of their own. The convolutions do without. */
#ifndef real
#define SOURCE "columns.c"
#include "twice.h"
#else

/* The outputs low .. high - 1 of one axis whose tap at `offset` falls on a pixel 0 .. size - 1. */
static void NAME(valid)(int64_t offset, int64_t stride, int64_t size, int64_t places, int64_t *low, int64_t *high)
{
    *low = smaller(places, offset < 0 ? ceil_div(-offset, stride) : 0);
    *high = larger(*low, smaller(places, offset < size ? (size - 1 - offset) / stride + 1 : 0));
}

void NAME(im2col)(const real *x, const conv2d_geometry *g, real *out, int threads)
{
    int64_t window = g->R * g->S, places = g->P * g->Q;
    threads = team(threads, g->N * g->C * window * places, STREAM);
#pragma omp parallel for num_threads(threads) if (threads > 1) schedule(static)
    for (int64_t row = 0; row < g->N * g->C * window; row++) {
        int64_t r = row % window / g->S, s = row % g->S, left = s * g->dilation_w - g->left, low, high;
        const real *image = x + row / window * g->H * g->W;
        NAME(valid)(left, g->stride_w, g->W, g->Q, &low, &high);
        for (int64_t p = 0; p < g->P; p++) {
            int64_t h = p * g->stride_h + r * g->dilation_h - g->top;
            real *line = out + row * places + p * g->Q;
            if (h < 0 || h >= g->H) {
                memset(line, 0, (size_t)g->Q * REAL_BYTES);
                continue;
            }
            for (int64_t q = 0; q < low; q++)
                line[q] = 0;
            for (int64_t q = low; q < high; q++)
                line[q] = image[h * g->W + left + q * g->stride_w];
            for (int64_t q = high; q < g->Q; q++)
                line[q] = 0;
        }
    }
}

void NAME(col2im)(const real *columns, const conv2d_geometry *g, real *out, int threads)
{
    int64_t window = g->R * g->S, places = g->P * g->Q;
    threads = team(threads, g->N * g->C * window * places, STREAM);
#pragma omp parallel for num_threads(threads) if (threads > 1) schedule(static)
    for (int64_t plane = 0; plane < g->N * g->C; plane++) {
        real *image = out + plane * g->H * g->W;
        memset(image, 0, (size_t)(g->H * g->W) * REAL_BYTES);
        for (int64_t tap = 0; tap < window; tap++) {
            int64_t r = tap / g->S, left = tap % g->S * g->dilation_w - g->left, low, high;
            NAME(valid)(left, g->stride_w, g->W, g->Q, &low, &high);
            for (int64_t p = 0; p < g->P; p++) {
                int64_t h = p * g->stride_h + r * g->dilation_h - g->top;
                const real *line = columns + (plane * window + tap) * places + p * g->Q;
                if (h >= 0 && h < g->H)
                    for (int64_t q = low; q < high; q++)
                        image[h * g->W + left + q * g->stride_w] += line[q];
            }
        }
    }
}

#endif
