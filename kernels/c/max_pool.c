/* Maximum pooling. */
#ifndef real
#define SOURCE "max_pool.c"
#include "twice.h"
#else

#include "pool.h"

/* The largest number under each of n windows' S taps along a row, and which tap it was; `starts` are the first on a pixel.
 * n is a multiple of 16: no remainder, and no branch that depends on the data. */
INLINE void NAME(max_taps)(
    real phases[][SPAN + WINDOW], const integer *starts, int64_t S, int64_t step, int64_t n, real *best, integer *tap)
{
    for (int64_t q = 0; q < n; q += 16)
        for (int64_t i = q; i < q + 16; i++) {
            real most = -(real)INFINITY;
            integer which = starts[i];
            for (int64_t s = 0; s < S; s++) {
                real v = phases[s % step][i + s / step];
                int better = (v > most) | (v != v);
                most = better ? v : most;
                which = better ? (integer)s : which;
            }
            best[i] = most;
            tap[i] = which;
        }
}

/* Rows r0 .. r1 - 1 of a window put together, from the ring of rows `best` and `tap`, whose row r of it is (h + r) % R. */
INLINE void NAME(max_rows)(
    real best[][SPAN], integer tap[][SPAN], int64_t h, int64_t r0, int64_t r1, int64_t R, int64_t S, int64_t n, real *out,
    int32_t *indices)
{
    real most[SPAN];
    integer which[SPAN];
    int64_t whole = round_up(n, 16);
    for (int64_t r = r0; r < r1; r++) {
        const real *row = best[(h + r) % R];
        const integer *taps = tap[(h + r) % R], first = (integer)(r * S);
        for (int64_t q = 0; q < whole; q += 16)
            for (int64_t i = q; i < q + 16; i++) {
                int better = (r == r0) | (row[i] > most[i]) | (row[i] != row[i]);
                most[i] = better ? row[i] : most[i];
                which[i] = better ? first + taps[i] : which[i];
            }
    }
    for (int64_t i = 0; i < n; i++) {
        out[i] = most[i];
        indices[i] = (int32_t)which[i];
    }
}

/* Columns q0 .. q0 + n - 1 of the outputs of a plane. */
static void NAME(max_pool_span)(
    const real *plane, const pool2d_geometry *g, int64_t q0, int64_t n, real *out, int32_t *indices)
{
    real best[WINDOW][SPAN], phases[STRIDES][SPAN + WINDOW];
    integer tap[WINDOW][SPAN], starts[SPAN];
    int64_t S = g->S, step = g->stride_w, first = q0 * step - g->left, whole = round_up(n, 16), done = 0;
    for (int64_t i = 0; i < whole; i++)
        starts[i] = (integer)larger(0, -(first + i * step));
    for (int64_t p = 0; p < g->P; p++) {
        int64_t r0, r1, h = p * g->stride_h - g->top;
        NAME(taps)(p, g->stride_h, g->top, g->H, g->R, &r0, &r1);
        for (done = larger(done, h + r0); done < h + r1; done++) {
            real *to = best[done % g->R];
            integer *which = tap[done % g->R];
            NAME(split)(plane + done * g->W, g->W, first, step, whole + (S - 1) / step, -(real)INFINITY, phases);
            if (S == 3 && step == 1)
                NAME(max_taps)(phases, starts, 3, 1, whole, to, which);
            else if (S == 3 && step == 2)
                NAME(max_taps)(phases, starts, 3, 2, whole, to, which);
            else if (S == 2 && step == 2)
                NAME(max_taps)(phases, starts, 2, 2, whole, to, which);
            else
                NAME(max_taps)(phases, starts, S, step, whole, to, which);
        }
        NAME(max_rows)(best, tap, h, r0, r1, g->R, S, n, out + p * g->Q + q0, indices + p * g->Q + q0);
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
    int64_t spans = ceil_div(g->Q, SPAN), planes = g->N * g->C, lines = planes * g->P;
    threads = team(threads, lines * g->Q * g->R * g->S, STREAM);
    if (NAME(around)(g))
        NAME(max_maps)(x, g, out, indices, threads);
    else if (NAME(usual)(g)) {
#pragma omp parallel for num_threads(threads) if (threads > 1) schedule(static)
        for (int64_t job = 0; job < planes * spans; job++) {
            int64_t plane = job / spans, q = job % spans * SPAN, at = plane * g->P * g->Q;
            NAME(max_pool_span)(x + plane * g->H * g->W, g, q, smaller(SPAN, g->Q - q), out + at, indices + at);
        }
    } else {
#pragma omp parallel for num_threads(threads) if (threads > 1) schedule(static)
        for (int64_t line = 0; line < lines; line++)
            for (int64_t q = 0, at = line * g->Q; q < g->Q; q++)
                NAME(max_pool_any)(x + line / g->P * g->H * g->W, g, line % g->P, q, out + at + q, indices + at + q);
    }
}

/* padded[i] = row[q], q = i + from, 0 where there is no such q; count is a multiple of 16. */
#define PADDED(kind, nothing, row, Q, from, count, padded) \
    for (int64_t i_ = 0; i_ < (count); i_++) \
        padded[i_] = nothing; \
    for (int64_t q_ = larger(0, from); q_ < smaller(Q, (from) + (count)); q_++) \
        padded[q_ - (from)] = (kind)(row)[q_];

/* sum += what the taps v, v + step, ... of a row of the window give: dy where it is this tap that the indices name. (A
 * conditional load of dy, rather than a choice between what is loaded and 0, is what gcc 12 makes wrong code of at -O3.) */
INLINE void NAME(max_grad_taps)(
    const real *dy, const integer *index, integer tap, int64_t v, int64_t S, int64_t step, int64_t n, real *sum)
{
    int64_t reach = (S - 1) / step;
    for (int64_t q = 0; q < n; q += 16)
        for (int64_t i = q; i < q + 16; i++) {
            real total = sum[i];
            for (int64_t s = v; s < S; s += step) {
                real d = dy[i + reach - s / step];
                integer t = index[i + reach - s / step];
                total += t == tap + (integer)s ? d : 0;
            }
            sum[i] = total;
        }
}

static void NAME(max_grad_span)(
    const real *dy, const int32_t *indices, const pool2d_geometry *g, int64_t i0, int64_t n, real *dx)
{
    int64_t S = g->S, step = g->stride_w, reach = (S - 1) / step, low, high;
    for (int64_t h = 0; h < g->H; h++) {
        real sums[STRIDES][SPAN] = {{0}}, row[SPAN + WINDOW];
        integer index[SPAN + WINDOW];
        NAME(covering)(h, g->top, g->R, g->stride_h, g->P, &low, &high);
        for (int64_t p = low; p < high; p++) {
            integer tap = (integer)((h + g->top - p * g->stride_h) * S);
            PADDED(real, 0, dy + p * g->Q, g->Q, i0 - reach, n + reach, row)
            PADDED(integer, -1, indices + p * g->Q, g->Q, i0 - reach, n + reach, index)
            if (S == 3 && step == 1)
                NAME(max_grad_taps)(row, index, tap, 0, 3, 1, n, sums[0]);
            else if (S == 3 && step == 2) {
                NAME(max_grad_taps)(row, index, tap, 0, 3, 2, n, sums[0]);
                NAME(max_grad_taps)(row, index, tap, 1, 3, 2, n, sums[1]);
            } else if (S == 2 && step == 2) {
                NAME(max_grad_taps)(row, index, tap, 0, 2, 2, n, sums[0]);
                NAME(max_grad_taps)(row, index, tap, 1, 2, 2, n, sums[1]);
            } else
                for (int64_t v = 0; v < step; v++)
                    NAME(max_grad_taps)(row, index, tap, v, S, step, n, sums[v]);
        }
        NAME(interleave)(sums, i0 * step, n, step, g->left, g->W, dx + h * g->W);
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
    int64_t columns = ceil_div(g->W + g->left, g->stride_w), L = g->P * g->Q;
    int usual = NAME(usual)(g), around = NAME(around)(g);
    threads = team(threads, g->N * g->C * g->H * g->W, STREAM);
#pragma omp parallel for num_threads(threads) if (threads > 1) schedule(static)
    for (int64_t plane = 0; plane < g->N * g->C; plane++) {
        real *dx = out + plane * g->H * g->W;
        if (around)
            NAME(max_grad_around)(dy + plane * L, indices + plane * L, L, g->W, dx);
        else if (usual)
            for (int64_t i = 0; i < columns; i += SPAN)
                NAME(max_grad_span)(dy + plane * L, indices + plane * L, g, i, smaller(SPAN, round_up(columns - i, 16)), dx);
        else
            NAME(max_grad_any)(dy + plane * L, indices + plane * L, g, dx);
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
