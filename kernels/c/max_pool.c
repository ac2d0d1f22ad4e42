/* Maximum pooling. */
#ifndef real
#define SOURCE "max_pool.c"
#include "twice.h"
#else

#include "pool.h"

/* A plane is taken in blocks of windows. Its pixels, with the padding, are dealt out by phase: row modulo stride_h, column modulo
 * stride_w. In each phase the windows of a row lie a place apart, and a tap lies as far from the place of its window as from any
 * other's: so a block is one long row for every tap, however narrow the map is. The gradient goes the same way back. */
#define PLACES 512
#define STEP 3
#define PHASES (STEP * STEP)
/* Whole vectors more, and no power of two apart, lest the same places of all phases share a cache set. */
#define ROOM (PLACES + 144)

/* rows x columns places, so many more that the windows reach, and the places in a row of all. */
typedef struct {
    int64_t rows, columns, reach_h, reach_w, pitch;
} NAME(block);

#define block NAME(block)

/* Blocks for a plane of P x Q places; without rows where the windows do not suit. */
static block NAME(make_block)(const pool2d_geometry *g, int64_t P, int64_t Q)
{
    block b = {.reach_h = (g->R - 1) / g->stride_h, .reach_w = (g->S - 1) / g->stride_w};
    b.columns = smaller(Q, PLACES / (b.reach_h + 1) - b.reach_w);
    b.pitch = b.columns + b.reach_w;
    if (b.columns > 0 && g->Q > 2 && g->stride_h <= STEP && g->stride_w <= STEP)
        b.rows = smaller(P, PLACES / b.pitch - b.reach_h);
    return b;
}

/* to[v][j] = from[j*step + v] for j < n; whole vectors are read and written. */
static void NAME(deal)(const real *from, int64_t step, int64_t n, real *const *to)
{
    if (step == 1)
        for (int64_t j = 0; j < n; j += LANES)
            *(unaligned *)(to[0] + j) = *(const unaligned *)(from + j);
    else if (step == 2)
        for (int64_t j = 0; j < n; j += LANES) {
            vector first = *(const unaligned *)(from + 2 * j), second = *(const unaligned *)(from + 2 * j + LANES);
            *(unaligned *)(to[0] + j) = SHUFFLE(first, second, EVEN);
            *(unaligned *)(to[1] + j) = SHUFFLE(first, second, ODD);
        }
    else
        for (int64_t j = 0; j < n; j++)
            for (int64_t v = 0; v < step; v++)
                to[v][j] = from[j * step + v];
}

/* The pixels under `rows` rows of windows from (p0, q0) on, by phase; the padding is -infinity. There are `before` numbers in
 * front of the plane and `after` behind it. */
static void NAME(deal_out)(
    const real *plane, int64_t before, int64_t after, const pool2d_geometry *g, const block *b, int64_t p0, int64_t rows,
    int64_t q0, real phases[][ROOM])
{
    int64_t step = g->stride_w, first = q0 * step - g->left, length = step * round_up(b->pitch, LANES);
    int64_t lines = (rows + b->reach_h) * g->stride_h, low[STEP], high[STEP];
    for (int64_t v = 0; v < step; v++) {
        low[v] = smaller(b->pitch, first + v < 0 ? ceil_div(-first - v, step) : 0);
        high[v] = larger(low[v], smaller(b->pitch, first + v < g->W ? (g->W - 1 - first - v) / step + 1 : 0));
    }
    /* In each phase the rows go down: what a whole vector overwrites is the beginning of the next. */
    for (int64_t line = 0; line < lines; line++) {
        int64_t h = p0 * g->stride_h - g->top + line, at = h * g->W + first, exists = h >= 0 && h < g->H;
        real *to[STEP], copy[STEP * ROOM];
        for (int64_t v = 0; v < step; v++)
            to[v] = phases[line % g->stride_h * step + v] + line / g->stride_h * b->pitch;
        const real *from = plane + at;
        if (exists && (at < -before || at + length > g->H * g->W + after)) {
            for (int64_t i = larger(0, -first); i < smaller(length, g->W - first); i++)
                copy[i] = from[i];
            from = copy;
        }
        if (exists)
            NAME(deal)(from, step, b->pitch, to);
        for (int64_t v = 0; v < step; v++) {
            int64_t begin = exists ? low[v] : b->pitch, end = exists ? high[v] : b->pitch;
            for (int64_t j = 0; j < begin; j++)
                to[v][j] = -(real)INFINITY;
            for (int64_t j = end; j < b->pitch; j++)
                to[v][j] = -(real)INFINITY;
        }
    }
}

/* The largest of `count` numbers for each of n windows, number k at rows[k % step][i + k/step * pitch], and which it was: the
 * first, or the last NaN. Where `taps` has the tap of such a number, which = k*scale + that, else k. */
INLINE void NAME(largest)(
    real rows[][ROOM], integer taps[][ROOM], int64_t count, int64_t step, int64_t pitch, int64_t scale, int64_t n,
    real *best, integer *which)
{
    for (int64_t i = 0; i < n; i += LANES) {
        vector most = (vector){0} - (real)INFINITY;
        choice tap = {0};
        for (int64_t k = 0; k < count; k++) {
            int64_t at = i + k / step * pitch;
            vector v = *(const unaligned *)(rows[k % step] + at);
            choice t = (choice){0} + (integer)(k * scale), better = (v > most) | (v != v);
            if (taps)
                t += (choice) * (const unaligned *)(taps[k % step] + at);
            most = (vector)((better & (choice)v) | (~better & (choice)most));
            tap = (better & t) | (~better & tap);
        }
        *(unaligned *)(best + i) = most;
        *(unaligned *)(which + i) = (vector)tap;
    }
}

/* The largest number under each of n windows, and which tap it was: first along the rows, then of these. */
INLINE void NAME(max_windows)(
    real phases[][ROOM], int64_t R, int64_t S, int64_t stride_h, int64_t stride_w, int64_t pitch, int64_t n, real *best,
    integer *tap)
{
    real rows[STEP][ROOM];
    integer taps[STEP][ROOM];
    for (int64_t a = 0; a < smaller(R, stride_h); a++)
        NAME(largest)(phases + a * stride_w, NULL, S, stride_w, 1, 1, n + (R - 1 - a) / stride_h * pitch, rows[a], taps[a]);
    NAME(largest)(rows, taps, R, stride_h, pitch, S, n, best, tap);
}

/* `rows` x `columns` windows from (p0, q0) on. Where all is -infinity it is the first tap on the map. */
static void NAME(max_block)(
    const real *plane, int64_t before, int64_t after, const pool2d_geometry *g, const block *b, int64_t p0, int64_t rows,
    int64_t q0, int64_t columns, real *out, int32_t *indices)
{
    real phases[PHASES][ROOM], best[ROOM];
    integer tap[ROOM];
    int64_t n = (rows - 1) * b->pitch + columns;
    NAME(deal_out)(plane, before, after, g, b, p0, rows, q0, phases);
    if (g->R == 3 && g->S == 3 && g->stride_h == 2 && g->stride_w == 2)
        NAME(max_windows)(phases, 3, 3, 2, 2, b->pitch, n, best, tap);
    else if (g->R == 3 && g->S == 3 && g->stride_h == 1 && g->stride_w == 1)
        NAME(max_windows)(phases, 3, 3, 1, 1, b->pitch, n, best, tap);
    else if (g->R == 2 && g->S == 2 && g->stride_h == 2 && g->stride_w == 2)
        NAME(max_windows)(phases, 2, 2, 2, 2, b->pitch, n, best, tap);
    else
        NAME(max_windows)(phases, g->R, g->S, g->stride_h, g->stride_w, b->pitch, n, best, tap);
    for (int64_t p = 0; p < rows; p++) {
        int64_t at = (p0 + p) * g->Q + q0, r0, r1, s0, s1;
        NAME(taps)(p0 + p, g->stride_h, g->top, g->H, g->R, &r0, &r1);
        int64_t edge = r0 ? columns : smaller(columns, ceil_div(larger(0, g->left - q0 * g->stride_w), g->stride_w));
        NAME(copy_line)(best + p * b->pitch, out + at, columns);
        for (int64_t q = 0; q < columns; q++)
            indices[at + q] = (int32_t)tap[p * b->pitch + q];
        for (int64_t q = 0; q < edge; q++)
            if (out[at + q] == -(real)INFINITY) {
                NAME(taps)(q0 + q, g->stride_w, g->left, g->W, g->S, &s0, &s1);
                indices[at + q] = (int32_t)(r0 * g->S + s0);
            }
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

/* A map as one long row; first[i]: the first tap on a pixel. */
static void NAME(max_around)(
    const real *x, int64_t L, int64_t W, const integer *left, const integer *right, const integer *first, real *out,
    int32_t *indices)
{
    real in[MAP], best[MAP];
    integer tap[MAP];
    const real none = -(real)INFINITY;
    in[0] = in[L + 1] = 0;
    memcpy(in + 1, x, (size_t)L * REAL_BYTES);
    for (int64_t i = 0; i < W; i++) {
        best[i] = none;
        tap[i] = 0;
    }
    for (int64_t i = 0; i < L; i++) {
        real most = none;
        integer which = 0;
        for (int s = 0; s < 3; s++) {
            real v = in[i + s];
            integer there = s == 0 ? left[i] : s == 2 ? right[i] : 1;
            v = there ? v : none;
            int better = (v > most) | (v != v);
            most = better ? v : most;
            which = better ? s : which;
        }
        best[W + i] = most;
        tap[W + i] = which;
    }
    for (int64_t i = W + L; i < L + 2 * W; i++) {
        best[i] = none;
        tap[i] = 0;
    }
    for (int64_t i = 0; i < L; i++) {
        real most = none;
        integer which = first[i];
        for (int r = 0; r < 3; r++) {
            real v = best[i + r * W];
            integer t = tap[i + r * W] + 3 * r;
            int better = (v > most) | (v != v);
            most = better ? v : most;
            which = better ? t : which;
        }
        out[i] = most;
        indices[i] = (int32_t)which;
    }
}

static void NAME(max_maps)(const real *x, const pool2d_geometry *g, real *out, int32_t *indices, int threads)
{
    int64_t W = g->W, L = g->H * W;
#pragma omp parallel num_threads(threads) if (threads > 1)
    {
        integer left[MAP], right[MAP], first[MAP];
        NAME(neighbours)(g, left, right);
        for (int64_t i = 0; i < L; i++)
            first[i] = (i < W ? 3 : 0) + (left[i] ? 0 : 1);
#pragma omp for schedule(static)
        for (int64_t plane = 0; plane < g->N * g->C; plane++)
            NAME(max_around)(x + plane * L, L, W, left, right, first, out + plane * L, indices + plane * L);
    }
}

void NAME(max_pool2d)(const real *x, const pool2d_geometry *g, real *out, int32_t *indices, int threads)
{
    int64_t planes = g->N * g->C, area = g->H * g->W, places = g->P * g->Q;
    block b = NAME(make_block)(g, g->P, g->Q);
    threads = team(threads, planes * places * g->R * g->S, STREAM);
    if (NAME(around)(g)) {
        NAME(max_maps)(x, g, out, indices, threads);
        return;
    }
#pragma omp parallel for num_threads(threads) if (threads > 1) schedule(static)
    for (int64_t plane = 0; plane < planes; plane++) {
        const real *from = x + plane * area;
        real *to = out + plane * places;
        int32_t *taps = indices + plane * places;
        for (int64_t p = 0; b.rows && p < g->P; p += b.rows)
            for (int64_t q = 0; q < g->Q; q += b.columns)
                NAME(max_block)(from, plane * area, (planes - 1 - plane) * area, g, &b, p, smaller(b.rows, g->P - p), q,
                                smaller(b.columns, g->Q - q), to, taps);
        for (int64_t i = 0; !b.rows && i < places; i++)
            NAME(max_pool_any)(from, g, i / g->Q, i % g->Q, to + i, taps + i);
    }
}

/* sums[i] = what the windows of n places give to phase (a, b): dy where it is this phase's tap that the indices name. */
INLINE void NAME(max_grad_phase)(
    const real *dy, const integer *index, int64_t R, int64_t S, int64_t stride_h, int64_t stride_w, int64_t a, int64_t b,
    const block *l, int64_t n, real *sums)
{
    const int64_t pitch = l->pitch, last = l->reach_h * pitch + l->reach_w;
    for (int64_t i = 0; i < n; i += LANES) {
        vector total = {0};
        for (int64_t r = a; r < R; r += stride_h)
            for (int64_t s = b; s < S; s += stride_w) {
                int64_t at = i + last - r / stride_h * pitch - s / stride_w;
                choice there = (choice) * (const unaligned *)(index + at) == (integer)(r * S + s);
                total += (vector)(there & (choice) * (const unaligned *)(dy + at));
            }
        *(unaligned *)(sums + i) = total;
    }
}

/* `rows` x `columns` places of each phase of dx from (i0, j0) on. There are `before` numbers in front of dy and the indices of the
 * plane, and `after` behind them. */
static void NAME(max_grad_block)(
    const real *dy, const int32_t *indices, int64_t before, int64_t after, const pool2d_geometry *g, const block *l, int64_t i0,
    int64_t rows, int64_t j0, int64_t columns, real *dx)
{
    real d[ROOM], sums[PHASES][ROOM];
    integer index[ROOM];
    int64_t n = (rows - 1) * l->pitch + columns, first = j0 - l->reach_w;
    int64_t low = larger(0, -first), high = larger(low, smaller(l->pitch, g->Q - first));
    for (int64_t i = 0; i < rows + l->reach_h; i++) {
        int64_t p = i0 - l->reach_h + i, at = p * g->Q + first, exists = p >= 0 && p < g->P;
        real *to = d + i * l->pitch;
        integer *which = index + i * l->pitch;
        /* Whole vectors where the arrays go on so far; what is too much belongs to no window or to the next row. */
        if (exists && at >= -before && at + round_up(l->pitch, LANES) <= g->P * g->Q + after)
            for (int64_t j = 0; j < l->pitch; j += LANES) {
                *(unaligned *)(to + j) = *(const unaligned *)(dy + at + j);
                for (int64_t q = j; q < j + LANES; q++)
                    which[q] = indices[at + q];
            }
        else
            for (int64_t q = low; exists && q < high; q++) {
                to[q] = dy[at + q];
                which[q] = indices[at + q];
            }
        for (int64_t q = 0; q < (exists ? low : l->pitch); q++)
            which[q] = -1;
        for (int64_t q = exists ? high : l->pitch; q < l->pitch; q++)
            which[q] = -1;
    }
    /* The rows that will be written are fetched while the sums are computed. */
    int64_t h0 = i0 * g->stride_h - g->top, h1 = smaller(g->H, h0 + rows * g->stride_h);
    for (int64_t at = larger(0, h0) * g->W; j0 == 0 && at < h1 * g->W; at += LINE / REAL_BYTES)
        __builtin_prefetch(dx + at, 1, 3);
#define PHASE(R, S, h, w, a, b) NAME(max_grad_phase)(d, index, R, S, h, w, a, b, l, n, sums[(a) * (w) + (b)])
#define FOUR(R, S) PHASE(R, S, 2, 2, 0, 0), PHASE(R, S, 2, 2, 0, 1), PHASE(R, S, 2, 2, 1, 0), PHASE(R, S, 2, 2, 1, 1)
    if (g->R == 3 && g->S == 3 && g->stride_h == 2 && g->stride_w == 2)
        FOUR(3, 3);
    else if (g->R == 2 && g->S == 2 && g->stride_h == 2 && g->stride_w == 2)
        FOUR(2, 2);
    else if (g->R == 3 && g->S == 3 && g->stride_h == 1 && g->stride_w == 1)
        PHASE(3, 3, 1, 1, 0, 0);
    else
        for (int64_t a = 0; a < g->stride_h; a++)
            for (int64_t b = 0; b < g->stride_w; b++)
                PHASE(g->R, g->S, g->stride_h, g->stride_w, a, b);
    for (int64_t line = 0; line < rows * g->stride_h; line++) {
        int64_t h = h0 + line, step = g->stride_w;
        const real *from[STEP];
        for (int64_t v = 0; v < step; v++)
            from[v] = sums[line % g->stride_h * step + v] + line / g->stride_h * l->pitch;
        if (h >= 0 && h < g->H)
            NAME(interleave)(from, j0 * step, columns, step, g->left, g->W, dx + h * g->W);
    }
}

static void NAME(max_grad_any)(const real *dy, const int32_t *indices, const pool2d_geometry *g, real *dx)
{
    memset(dx, 0, (size_t)(g->H * g->W) * REAL_BYTES);
    for (int64_t p = 0, i = 0; p < g->P; p++)
        for (int64_t q = 0; q < g->Q; q++, i++) {
            int64_t h = p * g->stride_h - g->top + indices[i] / (int32_t)g->S;
            int64_t w = q * g->stride_w - g->left + indices[i] % (int32_t)g->S;
            /* Ties to the padding cannot be, but indices come from outside: never write elsewhere. */
            if (h >= 0 && h < g->H && w >= 0 && w < g->W)
                dx[h * g->W + w] += dy[i];
        }
}

/* A map as one long row. What wraps around its end is a tap in the padding, which no index names. */
static void NAME(max_grad_around)(const real *dy, const int32_t *indices, int64_t L, int64_t W, real *dx)
{
    real d[MAP];
    integer index[MAP];
    int64_t edge = W + 1;
    for (int64_t i = 0; i < edge; i++) {
        index[i] = index[edge + L + i] = -1;
        d[i] = d[edge + L + i] = 0;
    }
    for (int64_t i = 0; i < L; i++) {
        index[edge + i] = indices[i];
        d[edge + i] = dy[i];
    }
    for (int64_t i = 0; i < L; i++) {
        real sum = 0;
        for (int r = 0; r < 3; r++)
            for (int s = 0; s < 3; s++) {
                int64_t at = i + (2 - r) * W + (2 - s);
                real v = d[at];
                integer t = index[at];
                sum += t == 3 * r + s ? v : 0;
            }
        dx[i] = sum;
    }
}

void NAME(max_pool2d_grad)(const real *dy, const int32_t *indices, const pool2d_geometry *g, real *out, int threads)
{
    int64_t rows = ceil_div(g->H + g->top, g->stride_h), columns = ceil_div(g->W + g->left, g->stride_w), L = g->P * g->Q;
    int64_t planes = g->N * g->C;
    block b = NAME(make_block)(g, rows, columns);
    int around = NAME(around)(g);
    threads = team(threads, g->N * g->C * g->H * g->W, STREAM);
#pragma omp parallel for num_threads(threads) if (threads > 1) schedule(static)
    for (int64_t plane = 0; plane < planes; plane++) {
        const real *from = dy + plane * L;
        const int32_t *taps = indices + plane * L;
        real *dx = out + plane * g->H * g->W;
        for (int64_t i = 0; b.rows && !around && i < rows; i += b.rows)
            for (int64_t j = 0; j < columns; j += b.columns)
                NAME(max_grad_block)(from, taps, plane * L, (planes - 1 - plane) * L, g, &b, i, smaller(b.rows, rows - i), j,
                                     smaller(b.columns, columns - j), dx);
        if (around)
            NAME(max_grad_around)(from, taps, L, g->W, dx);
        else if (!b.rows)
            NAME(max_grad_any)(from, taps, g, dx);
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

#endif
