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

/* Outputs that are computed side by side, in whole vectors whatever Q is, and what the windows may be for that. */
#define SPAN 64
#define WINDOW 16
#define STRIDES 4

/* line[q] = from[q*step]: with `step` known the compiler makes vectors and shuffles of it. */
INLINE void NAME(every)(const real *from, int64_t step, int64_t n, real *line)
{
    for (int64_t q = 0; q < n; q++)
        line[q] = from[q * step];
}

/* phases[v][i]: column first + i*step + v of a line of pixels, -infinity outside of it. */
static void NAME(split)(const real *line, int64_t W, int64_t first, int64_t step, int64_t n, real phases[][SPAN + WINDOW])
{
    for (int64_t v = 0; v < step; v++) {
        int64_t at = first + v;
        int64_t low = smaller(n, at < 0 ? ceil_div(-at, step) : 0);
        int64_t high = larger(low, smaller(n, at < W ? (W - 1 - at) / step + 1 : 0));
        for (int64_t i = 0; i < low; i++)
            phases[v][i] = -(real)INFINITY;
        if (step == 1)
            NAME(every)(line + at + low, 1, high - low, phases[v] + low);
        else if (step == 2)
            NAME(every)(line + at + 2 * low, 2, high - low, phases[v] + low);
        else
            NAME(every)(line + at + step * low, step, high - low, phases[v] + low);
        for (int64_t i = high; i < n; i++)
            phases[v][i] = -(real)INFINITY;
    }
}

/* n is a multiple of 16: no remainder, and no branch that depends on the data. */
INLINE void NAME(take_larger)(const real *from, integer tap, int64_t n, real *best, integer *index)
{
    for (int64_t q = 0; q < n; q += 16)
        for (int64_t i = q; i < q + 16; i++) {
            real v = from[i];
            int better = (v > best[i]) | (v != v);
            best[i] = better ? v : best[i];
            index[i] = better ? tap : index[i];
        }
}

/* SPAN outputs of line p from q0 on. */
static void NAME(max_pool_span)(
    const real *plane, const pool2d_geometry *g, int64_t p, int64_t q0, int64_t n, real *out, int32_t *indices)
{
    real best[SPAN], phases[STRIDES][SPAN + WINDOW];
    integer index[SPAN];
    int64_t r0, r1, whole = round_up(n, 16), first = q0 * g->stride_w - g->left;
    NAME(taps)(p, g->stride_h, g->top, g->H, g->R, &r0, &r1);
    for (int64_t i = 0; i < whole; i++) {
        best[i] = -(real)INFINITY;
        index[i] = (integer)(r0 * g->S + larger(0, -(first + i * g->stride_w)));
    }
    for (int64_t r = r0; r < r1; r++) {
        const real *line = plane + (p * g->stride_h - g->top + r) * g->W;
        NAME(split)(line, g->W, first, g->stride_w, whole + (g->S - 1) / g->stride_w, phases);
        for (int64_t s = 0; s < g->S; s++)
            NAME(take_larger)(phases[s % g->stride_w] + s / g->stride_w, (integer)(r * g->S + s), whole, best, index);
    }
    for (int64_t i = 0; i < n; i++) {
        out[i] = best[i];
        indices[i] = (int32_t)index[i];
    }
}

/* Any window and stride, one output after the other. */
static void NAME(max_pool_any)(
    const real *plane, const pool2d_geometry *g, int64_t p, int64_t q, real *out, int32_t *indices)
{
    int64_t r0, r1, s0, s1, h = p * g->stride_h - g->top, w = q * g->stride_w - g->left;
    NAME(taps)(p, g->stride_h, g->top, g->H, g->R, &r0, &r1);
    NAME(taps)(q, g->stride_w, g->left, g->W, g->S, &s0, &s1);
    real best = -(real)INFINITY;
    int64_t index = r0 * g->S + s0;
    for (int64_t r = r0; r < r1; r++)
        for (int64_t s = s0; s < s1; s++) {
            real v = plane[(h + r) * g->W + w + s];
            if (v > best || v != v) {
                best = v;
                index = r * g->S + s;
            }
        }
    *out = best;
    *indices = (int32_t)index;
}

void NAME(max_pool2d)(const real *x, const pool2d_geometry *g, real *out, int32_t *indices, int threads)
{
    int narrow = g->S <= WINDOW && g->stride_w <= STRIDES && g->Q > 2;
    threads = team(threads, g->N * g->C * g->P * g->Q * g->R * g->S, STREAM);
#pragma omp parallel for num_threads(threads) if (threads > 1) schedule(static)
    for (int64_t line = 0; line < g->N * g->C * g->P; line++) {
        int64_t p = line % g->P, at = line * g->Q;
        const real *plane = x + line / g->P * g->H * g->W;
        if (narrow)
            for (int64_t q = 0; q < g->Q; q += SPAN)
                NAME(max_pool_span)(plane, g, p, q, smaller(SPAN, g->Q - q), out + at + q, indices + at + q);
        else
            for (int64_t q = 0; q < g->Q; q++)
                NAME(max_pool_any)(plane, g, p, q, out + at + q, indices + at + q);
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

/* The pixels of window `place` of `places` that cover `size`: the first, and one past the last. */
static int64_t NAME(bin_start)(int64_t place, int64_t size, int64_t places) { return place * size / places; }
static int64_t NAME(bin_end)(int64_t place, int64_t size, int64_t places) { return ceil_div((place + 1) * size, places); }

/* A window as wide as the map is one long row. */
INLINE void NAME(bin)(
    int64_t p, int64_t q, int64_t H, int64_t W, int64_t P, int64_t Q, int64_t *start, int64_t *rows, int64_t *width)
{
    int64_t top = NAME(bin_start)(p, H, P), left = NAME(bin_start)(q, W, Q);
    *start = top * W + left;
    *rows = NAME(bin_end)(p, H, P) - top;
    *width = NAME(bin_end)(q, W, Q) - left;
    if (*width == W) {
        *width *= *rows;
        *rows = 1;
    }
}

void NAME(adaptive_avg_pool2d)(
    const real *x, int64_t planes, int64_t H, int64_t W, int64_t P, int64_t Q, real *out, int threads)
{
    threads = team(threads, planes * larger(H * W, P * Q), STREAM);
#pragma omp parallel for num_threads(threads) if (threads > 1) schedule(static)
    for (int64_t i = 0; i < planes * P * Q; i++) {
        int64_t start, rows, width;
        NAME(bin)(i / Q % P, i % Q, H, W, P, Q, &start, &rows, &width);
        const real *from = x + i / (P * Q) * H * W + start;
        double sum = 0;
        for (int64_t r = 0; r < rows; r++)
#pragma omp simd reduction(+ : sum)
            for (int64_t s = 0; s < width; s++)
                sum += from[r * W + s];
        out[i] = (real)(sum / (double)(rows * width));
    }
}

void NAME(adaptive_avg_pool2d_grad)(
    const real *dy, int64_t planes, int64_t H, int64_t W, int64_t P, int64_t Q, real *out, int threads)
{
    threads = team(threads, planes * larger(H * W, P * Q), STREAM);
#pragma omp parallel for num_threads(threads) if (threads > 1) schedule(static)
    for (int64_t plane = 0; plane < planes; plane++) {
        memset(out + plane * H * W, 0, (size_t)(H * W) * REAL_BYTES);
        for (int64_t i = 0; i < P * Q; i++) {
            int64_t start, rows, width;
            NAME(bin)(i / Q, i % Q, H, W, P, Q, &start, &rows, &width);
            real *to = out + plane * H * W + start, share = dy[plane * P * Q + i] / (real)(rows * width);
            for (int64_t r = 0; r < rows; r++)
                for (int64_t s = 0; s < width; s++)
                    to[r * W + s] += share;
        }
    }
}

#endif
