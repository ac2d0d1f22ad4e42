/* Average pooling, with a window and adaptive. */
#ifndef real
#define SOURCE "avg_pool.c"
#include "twice.h"
#else

#include "pool.h"

/* Windows of the usual sizes take a plane in spans of columns, in vectors; the others go one output after the other. */
#define WINDOW 16

static int NAME(usual)(const pool2d_geometry *g)
{
    return g->R <= WINDOW && g->S <= WINDOW && g->stride_w <= STRIDES && g->Q > 2;
}

/* line[q] = from[q*step]: with `step` known the compiler makes vectors and shuffles of it. */
INLINE void NAME(every)(const real *from, int64_t step, int64_t n, real *line)
{
    for (int64_t q = 0; q < n; q++)
        line[q] = from[q * step];
}

/* phases[v][i]: column first + i*step + v of a line of W pixels, 0 outside of it. */
static void NAME(split)(
    const real *line, int64_t W, int64_t first, int64_t step, int64_t n, real phases[][SPAN + WINDOW])
{
    for (int64_t v = 0; v < step; v++) {
        int64_t at = first + v;
        int64_t low = smaller(n, at < 0 ? ceil_div(-at, step) : 0);
        int64_t high = larger(low, smaller(n, at < W ? (W - 1 - at) / step + 1 : 0));
        for (int64_t i = 0; i < low; i++)
            phases[v][i] = 0;
        if (step == 1)
            NAME(every)(line + at + low, 1, high - low, phases[v] + low);
        else if (step == 2)
            NAME(every)(line + at + 2 * low, 2, high - low, phases[v] + low);
        else
            NAME(every)(line + at + step * low, step, high - low, phases[v] + low);
        for (int64_t i = high; i < n; i++)
            phases[v][i] = 0;
    }
}

/* Pixels of the window at a place, in the padded map or in the map alone. */
static int64_t NAME(counted)(int64_t place, int64_t stride, int64_t before, int64_t after, int64_t size, int64_t window, int pad)
{
    int64_t start = place * stride - before, low = pad ? -before : 0, high = pad ? size + after : size;
    return smaller(start + window, high) - larger(start, low);
}

/* Rows (or columns) that count in the divisor of an output in row (column) p (q). */
static int64_t NAME(rows_counted)(const pool2d_geometry *g, int64_t p)
{
    return NAME(counted)(p, g->stride_h, g->top, g->bottom, g->H, g->R, (int)g->count_include_pad);
}

static int64_t NAME(columns_counted)(const pool2d_geometry *g, int64_t q)
{
    return NAME(counted)(q, g->stride_w, g->left, g->right, g->W, g->S, (int)g->count_include_pad);
}

/* The sums of n windows along a row of sums; n is a multiple of 16. */
INLINE void NAME(add_taps)(real phases[][SPAN + WINDOW], int64_t S, int64_t step, int64_t n, real *out)
{
    for (int64_t q = 0; q < n; q += 16)
        for (int64_t i = q; i < q + 16; i++) {
            real sum = 0;
            for (int64_t s = 0; s < S; s++)
                sum += phases[s % step][i + s / step];
            out[i] = sum;
        }
}

/* Columns q0 .. q0 + n - 1 of the outputs of a plane: the rows of a window are added first, then along the row. */
static void NAME(avg_pool_span)(const real *plane, const pool2d_geometry *g, int64_t q0, int64_t n, real *out)
{
    real row[(SPAN + WINDOW) * STRIDES], phases[STRIDES][SPAN + WINDOW], sums[SPAN], columns[SPAN];
    int64_t S = g->S, step = g->stride_w, first = q0 * step - g->left, whole = round_up(n, 16);
    int64_t low = larger(0, first), width = smaller(g->W, first + (n - 1) * step + S) - low;
    for (int64_t i = 0; i < n; i++)
        columns[i] = (real)NAME(columns_counted)(g, q0 + i);
    for (int64_t p = 0; p < g->P; p++) {
        int64_t r0, r1;
        NAME(taps)(p, g->stride_h, g->top, g->H, g->R, &r0, &r1);
        const real *from = plane + (p * g->stride_h - g->top) * g->W + low;
        for (int64_t i = 0; i < width; i++)
            row[i] = r0 < r1 ? from[r0 * g->W + i] : 0;
        for (int64_t r = r0 + 1; r < r1; r++)
            for (int64_t i = 0; i < width; i++)
                row[i] += from[r * g->W + i];
        NAME(split)(row, larger(0, width), first - low, step, whole + (S - 1) / step, phases);
        if (S == 3 && step == 1)
            NAME(add_taps)(phases, 3, 1, whole, sums);
        else if (S == 2 && step == 2)
            NAME(add_taps)(phases, 2, 2, whole, sums);
        else
            NAME(add_taps)(phases, S, step, whole, sums);
        real rows = (real)NAME(rows_counted)(g, p);
        for (int64_t i = 0; i < n; i++)
            out[p * g->Q + q0 + i] = sums[i] / (rows * columns[i]);
    }
}

static void NAME(avg_pool_any)(const real *plane, const pool2d_geometry *g, int64_t p, real *out)
{
    int64_t r0, r1, s0, s1;
    NAME(taps)(p, g->stride_h, g->top, g->H, g->R, &r0, &r1);
    for (int64_t q = 0; q < g->Q; q++) {
        real sum = 0;
        NAME(taps)(q, g->stride_w, g->left, g->W, g->S, &s0, &s1);
        for (int64_t r = r0; r < r1; r++)
            for (int64_t s = s0; s < s1; s++)
                sum += plane[(p * g->stride_h - g->top + r) * g->W + q * g->stride_w - g->left + s];
        out[q] = sum / (real)(NAME(rows_counted)(g, p) * NAME(columns_counted)(g, q));
    }
}

/* A map as one long row: out = the sums of the windows of x, over `after`; x is over `before` first. One of them is NULL. */
INLINE void NAME(sum_around)(
    const real *x, int64_t L, int64_t W, const integer *left, const integer *right, const real *before, const real *after,
    real *out)
{
    real in[MAP], sums[MAP];
    for (int64_t i = 0; i < W; i++)
        in[i] = in[L + W + i] = 0;
    for (int64_t i = 0; i < L; i++)
        in[W + i] = before ? x[i] / before[i] : x[i];
    sums[0] = sums[L + 1] = 0;
    for (int64_t i = 0; i < L; i++)
        sums[i + 1] = in[i] + in[i + W] + in[i + 2 * W];
    for (int64_t i = 0; i < L; i++) {
        real a = sums[i], b = sums[i + 1], c = sums[i + 2];
        a = left[i] ? a : 0;
        c = right[i] ? c : 0;
        out[i] = after ? (a + b + c) / after[i] : a + b + c;
    }
}

static void NAME(avg_maps)(const real *x, const pool2d_geometry *g, int grad, real *out, int threads)
{
    int64_t W = g->W, L = g->H * W;
#pragma omp parallel num_threads(threads) if (threads > 1)
    {
        integer left[MAP], right[MAP];
        real counts[MAP];
        NAME(neighbours)(g, left, right);
        for (int64_t i = 0; i < L; i++)
            counts[i] = (real)(NAME(rows_counted)(g, i / W) * NAME(columns_counted)(g, i % W));
#pragma omp for schedule(static)
        for (int64_t plane = 0; plane < g->N * g->C; plane++) {
            if (grad)
                NAME(sum_around)(x + plane * L, L, W, left, right, counts, NULL, out + plane * L);
            else
                NAME(sum_around)(x + plane * L, L, W, left, right, NULL, counts, out + plane * L);
        }
    }
}

/* 2x2 windows side by side over a map without a rest: rows are as long as two rows of outputs. */
static int NAME(quarters)(const pool2d_geometry *g)
{
    int twos = g->R == 2 && g->S == 2 && g->stride_h == 2 && g->stride_w == 2 && g->top == 0 && g->left == 0;
    return twos && g->H == 2 * g->P && g->W == 2 * g->Q && g->W <= MAP;
}

/* So many rows of outputs that their pairs of rows, added, fit a buffer. */
static void NAME(avg_quarters)(const real *x, int64_t rows, int64_t W, real *out)
{
    real sums[MAP];
    for (int64_t p = 0; p < rows; p++)
        for (int64_t i = 0; i < W; i++)
            sums[p * W + i] = x[2 * p * W + i] + x[(2 * p + 1) * W + i];
    for (int64_t i = 0; i < rows * W / 2; i++)
        out[i] = (sums[2 * i] + sums[2 * i + 1]) * (real)0.25;
}

static void NAME(avg_grad_quarters)(const real *dy, int64_t rows, int64_t W, real *dx)
{
    real line[MAP];
    for (int64_t i = 0; i < rows * W / 2; i++)
        line[2 * i] = line[2 * i + 1] = dy[i] * (real)0.25;
    for (int64_t p = 0; p < rows; p++) {
        real *to = dx + 2 * p * W;
        for (int64_t i = 0; i < W; i++)
            to[i] = to[W + i] = line[p * W + i];
    }
}

/* The planes follow each other without a gap, so that only the number of all rows counts. */
static void NAME(quarter)(const real *x, const pool2d_geometry *g, int grad, real *out, int threads)
{
    int64_t W = g->W, rows = g->N * g->C * g->P, step = MAP / W;
#pragma omp parallel for num_threads(threads) if (threads > 1) schedule(static)
    for (int64_t p = 0; p < rows; p += step) {
        if (grad)
            NAME(avg_grad_quarters)(x + p * W / 2, smaller(step, rows - p), W, out + 2 * p * W);
        else
            NAME(avg_quarters)(x + 2 * p * W, smaller(step, rows - p), W, out + p * W / 2);
    }
}

void NAME(avg_pool2d)(const real *x, const pool2d_geometry *g, real *out, int threads)
{
    int64_t spans = ceil_div(g->Q, SPAN), planes = g->N * g->C, lines = planes * g->P;
    threads = team(threads, lines * g->Q * g->R * g->S, STREAM);
    if (NAME(around)(g))
        NAME(avg_maps)(x, g, 0, out, threads);
    else if (NAME(quarters)(g))
        NAME(quarter)(x, g, 0, out, threads);
    else if (NAME(usual)(g)) {
#pragma omp parallel for num_threads(threads) if (threads > 1) schedule(static)
        for (int64_t job = 0; job < planes * spans; job++) {
            int64_t plane = job / spans, q = job % spans * SPAN;
            NAME(avg_pool_span)(x + plane * g->H * g->W, g, q, smaller(SPAN, g->Q - q), out + plane * g->P * g->Q);
        }
    } else {
#pragma omp parallel for num_threads(threads) if (threads > 1) schedule(static)
        for (int64_t line = 0; line < lines; line++)
            NAME(avg_pool_any)(x + line / g->P * g->H * g->W, g, line % g->P, out + line * g->Q);
    }
}

/* The gradient: pixel column i*stride + v of the padded row gets something from the windows i - j whose tap j*stride + v lies on
 * it: for each v the windows' numbers are added up in vectors, and then interleaved. */

/* The windows along an axis that lie on a pixel: low .. high - 1. */
static void NAME(covering)(
    int64_t pixel, int64_t before, int64_t window, int64_t stride, int64_t places, int64_t *low, int64_t *high)
{
    int64_t at = pixel + before;
    *low = at < window ? 0 : (at - window) / stride + 1;
    *high = smaller(places, at / stride + 1);
}

/* What the windows, whose shares are in `row`, give to column v of each stride. */
INLINE void NAME(spread_taps)(const real *row, int64_t v, int64_t S, int64_t step, int64_t n, real *sums)
{
    int64_t reach = (S - 1) / step;
    for (int64_t q = 0; q < n; q += 16)
        for (int64_t i = q; i < q + 16; i++) {
            real sum = 0;
            for (int64_t s = v; s < S; s += step)
                sum += row[i + reach - s / step];
            sums[i] = sum;
        }
}

static void NAME(avg_grad_span)(const real *dy, const pool2d_geometry *g, int64_t i0, int64_t n, real *dx)
{
    int64_t S = g->S, step = g->stride_w, reach = (S - 1) / step, low, high;
    int64_t q0 = larger(0, i0 - reach), width = smaller(g->Q, i0 + n) - q0;
    real row[SPAN + WINDOW] = {0}, share[SPAN + WINDOW], sums[STRIDES][SPAN];
    const real *columns[STRIDES] = {sums[0], sums[1], sums[2], sums[3]};
    for (int64_t i = 0; i < width; i++)
        share[i] = (real)NAME(columns_counted)(g, q0 + i);
    for (int64_t h = 0; h < g->H; h++) {
        real *to = row + q0 - (i0 - reach);
        NAME(covering)(h, g->top, g->R, g->stride_h, g->P, &low, &high);
        for (int64_t i = 0; i < width; i++)
            to[i] = 0;
        for (int64_t p = low; p < high; p++) {
            real rows = (real)NAME(rows_counted)(g, p);
            for (int64_t i = 0; i < width; i++)
                to[i] += dy[p * g->Q + q0 + i] / (rows * share[i]);
        }
        if (S == 3 && step == 1)
            NAME(spread_taps)(row, 0, 3, 1, n, sums[0]);
        else
            for (int64_t v = 0; v < step; v++)
                if (v < S && v + step >= S) /* one tap: windows that do not meet */
                    memcpy(sums[v], row + reach, (size_t)n * REAL_BYTES);
                else
                    NAME(spread_taps)(row, v, S, step, n, sums[v]);
        NAME(interleave)(columns, i0 * step, n, step, g->left, g->W, dx + h * g->W);
    }
}

static void NAME(avg_grad_any)(const real *dy, const pool2d_geometry *g, real *dx)
{
    memset(dx, 0, (size_t)(g->H * g->W) * REAL_BYTES);
    for (int64_t p = 0; p < g->P; p++)
        for (int64_t q = 0; q < g->Q; q++) {
            int64_t r0, r1, s0, s1;
            NAME(taps)(p, g->stride_h, g->top, g->H, g->R, &r0, &r1);
            NAME(taps)(q, g->stride_w, g->left, g->W, g->S, &s0, &s1);
            real share = dy[p * g->Q + q] / (real)(NAME(rows_counted)(g, p) * NAME(columns_counted)(g, q));
            for (int64_t r = r0; r < r1; r++) {
                real *at = dx + (p * g->stride_h - g->top + r) * g->W + q * g->stride_w - g->left;
                for (int64_t s = s0; s < s1; s++)
                    at[s] += share;
            }
        }
}

void NAME(avg_pool2d_grad)(const real *dy, const pool2d_geometry *g, real *out, int threads)
{
    int64_t columns = ceil_div(g->W + g->left, g->stride_w);
    int usual = NAME(usual)(g);
    threads = team(threads, g->N * g->C * g->H * g->W, STREAM);
    if (NAME(around)(g)) {
        NAME(avg_maps)(dy, g, 1, out, threads);
        return;
    }
    if (NAME(quarters)(g)) {
        NAME(quarter)(dy, g, 1, out, threads);
        return;
    }
#pragma omp parallel for num_threads(threads) if (threads > 1) schedule(static)
    for (int64_t plane = 0; plane < g->N * g->C; plane++) {
        const real *from = dy + plane * g->P * g->Q;
        real *dx = out + plane * g->H * g->W;
        if (usual)
            for (int64_t i = 0; i < columns; i += SPAN)
                NAME(avg_grad_span)(from, g, i, smaller(SPAN, round_up(columns - i, 16)), dx);
        else
            NAME(avg_grad_any)(from, g, dx);
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
