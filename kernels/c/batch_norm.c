/* Sums over channels and batch normalisation, channel by channel: in the images of a batch the numbers of one channel
 * usually fit a core's cache, so that what follows from their sums is written while they are still there. */
#ifndef real
#define SOURCE "batch_norm.c"
#include "twice.h"
#else

#include "vector.h"

/* A channel is added up in ROWS vectors of `real`, for STRETCH numbers at most; what these give is added up in double, still
 * one for each lane, so that the lanes meet only once a channel. */
#define ROWS 4
#define STRETCH (16 * ROWS * LANES)

#define affine NAME(affine)

/* A channel's map x -> (x - centre)*slope + base. */
typedef struct {
    real centre, slope, base;
} affine;

/* What is added up: x; or d and d*(x - centre), where d is x - centre or dy, or 0*dy where ReLU cut off: where y <= 0, or
 * where the map of x is. A kernel gives the mode as a constant, and the compiler leaves out what it does not need. */
#define TOTAL 0
#define SPREAD 1
#define PLAIN 2
#define MASK_BY_Y 3
#define MASK_BY_X 4

INLINE void NAME(add_vector)(vector *first, vector *second, int mode, vector x, vector dy, vector y, affine a)
{
    vector distance = x - a.centre, d = mode == SPREAD ? distance : dy, one = {0};
    if (mode >= MASK_BY_Y) {
        one += 1;
        d *= (vector)((choice)one & ((mode == MASK_BY_Y ? y : distance * a.slope + a.base) > 0));
    }
    *first += mode == TOTAL ? x : d;
    if (mode != TOTAL)
        *second += d * distance;
}

/* The last `rest` of `length` numbers; the other lanes are `filling`. */
INLINE vector NAME(remainder)(const real *end, int64_t rest, int64_t length, real filling)
{
    vector v = {0};
    v += filling;
    if (length < LANES) {
        for (int64_t i = 0; i < rest; i++)
            v[i] = end[i - rest];
        return v;
    }
    choice lane = {0};
    for (int i = 0; i < LANES; i++)
        lane[i] = i;
    lane = lane >= (integer)(LANES - rest);
    return (vector)(((choice) * (const unaligned *)(end - LANES) & lane) | ((choice)v & ~lane));
}

/* A channel of N images: where x, dy and y begin in the first image and how far it is to the next. Unused ones are x. */
typedef struct {
    const real *x, *dy, *y;
    int64_t N, L, to_x, to_dy, to_y;
} NAME(channel);
#define channel NAME(channel)

INLINE void NAME(add_channel)(channel c, int mode, affine a, double *first, double *second)
{
    double firsts[LANES] = {0}, seconds[LANES] = {0};
    vector f[ROWS] = {{0}}, s[ROWS] = {{0}};
    int64_t room = STRETCH;
    for (int64_t n = 0; n < c.N; n++) {
        const real *x = c.x + n * c.to_x, *dy = c.dy + n * c.to_dy, *y = c.y + n * c.to_y;
        for (int64_t i = 0, end; i < c.L; i = end) {
            end = smaller(c.L, i + STRETCH);
            room -= larger(end - i, LANES);
#define ADD(row) \
    NAME(add_vector)(f + row, s + row, mode, *(const unaligned *)(x + i), *(const unaligned *)(dy + i), *(const unaligned *)(y + i), a)
            for (; i + ROWS * LANES <= end; i += LANES) {
                ADD(0);
                i += LANES;
                ADD(1);
                i += LANES;
                ADD(2);
                i += LANES;
                ADD(3);
            }
            if (i + LANES <= end) {
                ADD(0);
                i += LANES;
            }
            if (i + LANES <= end) {
                ADD(1);
                i += LANES;
            }
            if (i + LANES <= end) {
                ADD(2);
                i += LANES;
            }
            if (i < end)
                NAME(add_vector)(f + 3, s + 3, mode, NAME(remainder)(x + end, end - i, end, mode == TOTAL ? 0 : a.centre),
                    NAME(remainder)(dy + end, end - i, end, 0), NAME(remainder)(y + end, end - i, end, 0), a);
            if (room <= 0 || (n == c.N - 1 && end == c.L)) {
                room = STRETCH;
                for (int lane = 0; lane < LANES; lane++)
                    for (int row = 0; row < ROWS; row++) {
                        firsts[lane] += f[row][lane];
                        seconds[lane] += s[row][lane];
                    }
                for (int row = 0; row < ROWS; row++)
                    f[row] = s[row] = (vector){0};
            }
        }
    }
    *first = *second = 0;
    for (int lane = 0; lane < LANES; lane++) {
        *first += firsts[lane];
        *second += seconds[lane];
    }
}

void NAME(channel_sum)(const real *dy, int64_t N, int64_t K, int64_t L, real *out, int threads)
{
    threads = team(threads, N * K * L, STREAM);
    if (L == 1) { /* a matrix: whole rows are added, the columns shared out */
#pragma omp parallel for num_threads(threads) if (threads > 1) schedule(static)
        for (int64_t k0 = 0; k0 < K; k0 += 64) {
            double sums[64] = {0};
            int64_t width = smaller(64, K - k0);
            for (int64_t n = 0; n < N; n++)
                for (int64_t k = 0; k < width; k++)
                    sums[k] += dy[n * K + k0 + k];
            for (int64_t k = 0; k < width; k++)
                out[k0 + k] = (real)sums[k];
        }
        return;
    }
#pragma omp parallel for num_threads(threads) if (threads > 1) schedule(static)
    for (int64_t k = 0; k < K; k++) {
        const real *from = dy + k * L;
        double sum, none;
        NAME(add_channel)((channel){from, from, from, N, L, K * L, K * L, K * L}, TOTAL, (affine){0}, &sum, &none);
        out[k] = (real)sum;
    }
}

/* Numbers of a channel that stay in the cache between being written and being added up. */
#define CACHED 16384

void NAME(relu_grad_sum)(const real *dy, const real *y, int64_t N, int64_t K, int64_t L, real *out, real *sums, int threads)
{
    threads = team(threads, N * K * L, STREAM);
    int64_t images = larger(1, CACHED / larger(1, L));
#pragma omp parallel for num_threads(threads) if (threads > 1) schedule(static)
    for (int64_t k = 0; k < K; k++) {
        double total = 0, sum, none;
        for (int64_t n0 = 0; n0 < N; n0 += images) {
            int64_t count = smaller(images, N - n0), first = (n0 * K + k) * L;
            for (int64_t n = 0; n < count; n++) {
                const real *d = dy + first + n * K * L, *v = y + first + n * K * L;
                real *to = out + first + n * K * L;
#pragma omp simd
                for (int64_t i = 0; i < L; i++)
                    to[i] = d[i] * (v[i] > 0 ? (real)1 : (real)0);
            }
            const real *from = out + first;
            NAME(add_channel)((channel){from, from, from, count, L, K * L, K * L, K * L}, TOTAL, (affine){0}, &sum, &none);
            total += sum;
        }
        sums[k] = (real)total;
    }
}

/* One row: out = map of x, + residual or NULL, then ReLU if asked. */
INLINE void NAME(map_row)(const real *x, affine a, const real *residual, int relu, int64_t L, real *out)
{
    if (residual)
#pragma omp simd
        for (int64_t i = 0; i < L; i++) {
            real v = (x[i] - a.centre) * a.slope + a.base + residual[i];
            out[i] = relu && v < 0 ? 0 : v;
        }
    else
#pragma omp simd
        for (int64_t i = 0; i < L; i++) {
            real v = (x[i] - a.centre) * a.slope + a.base;
            out[i] = relu && v < 0 ? 0 : v;
        }
}

void NAME(batch_norm)(
    const real *x, const real *scale, const real *shift, const real *mean, const real *var, const real *residual,
    const batch_norm_layout *g, int relu, double eps, real *y, real *invstd, int threads)
{
    threads = team(threads, g->N * g->C * g->L, STREAM);
    /* Rounded once: where all variances are alike, as in a new network, every layer's rounding points the same way. */
    for (int64_t c = 0; c < g->C; c++)
        invstd[c] = (real)(1 / sqrt(var[c] + eps));
#pragma omp parallel for num_threads(threads) if (threads > 1) schedule(static)
    for (int64_t plane = 0; plane < g->N * g->C; plane++) {
        int64_t n = plane / g->C, c = plane % g->C, at = c * g->L;
        NAME(map_row)(x + n * g->x + at, (affine){mean[c], invstd[c] * scale[c], shift[c]},
            residual ? residual + n * g->residual + at : NULL, relu, g->L, y + n * g->y + at);
    }
}

/* A number near the mean, from the first row: the squares of distances from it lose nothing to the size of the mean. */
static real NAME(near_mean)(const real *x, int64_t L)
{
    double sum, none;
    NAME(add_channel)((channel){x, x, x, 1, smaller(L, STRETCH), 0, 0, 0}, TOTAL, (affine){0}, &sum, &none);
    real near = (real)(sum / (double)smaller(L, STRETCH));
    return near - near == 0 ? near : 0;
}

void NAME(batch_norm_training)(
    const real *x, const real *scale, const real *shift, const real *residual, const batch_norm_layout *g, int relu, double eps,
    double momentum, real *y, real *mean, real *invstd, real *running_mean, real *running_var, int threads)
{
    threads = team(threads, g->N * g->C * g->L, STREAM);
    double count = (double)(g->N * g->L);
#pragma omp parallel for num_threads(threads) if (threads > 1) schedule(static)
    for (int64_t c = 0; c < g->C; c++) {
        const real *from = x + c * g->L;
        real near = NAME(near_mean)(from, g->L);
        double sum, squares;
        NAME(add_channel)(
            (channel){from, from, from, g->N, g->L, g->x, g->x, g->x}, SPREAD, (affine){near, 0, 0}, &sum, &squares);
        double offset = sum / count, var = squares / count - offset * offset;
        var = var < 0 ? 0 : var;
        mean[c] = (real)(near + offset);
        invstd[c] = (real)(1 / sqrt(var + eps));
        if (running_mean)
            running_mean[c] = (real)((1 - momentum) * running_mean[c] + momentum * (near + offset));
        if (running_var)
            running_var[c] = (real)((1 - momentum) * running_var[c] + momentum * var * (count / (count - 1)));
        affine a = {mean[c], invstd[c] * scale[c], shift[c]};
        /* Backwards: the last images are the likeliest to be in the cache still. */
        for (int64_t n = g->N - 1; n >= 0; n--)
            NAME(map_row)(from + n * g->x, a, residual ? residual + n * g->residual + c * g->L : NULL, relu, g->L,
                y + n * g->y + c * g->L);
    }
}

/* One row of dx = (d - base - (x - mean)*tilt)*slope and of d, which is dy where ReLU let pass. Either may be NULL. */
INLINE void NAME(grad_row)(
    int mode, const real *dy, const real *x, const real *y, affine a, real base, real tilt, int64_t L, real *dx, real *d)
{
#define MASKED \
    (mode == PLAIN ? dy[i] \
                   : dy[i] * ((mode == MASK_BY_Y ? y[i] : (x[i] - a.centre) * a.slope + a.base) > 0 ? (real)1 : (real)0))
    if (dx && d)
#pragma omp simd
        for (int64_t i = 0; i < L; i++) {
            real part = MASKED, distance = x[i] - a.centre;
            d[i] = part;
            dx[i] = (part - base - distance * tilt) * a.slope;
        }
    else if (dx)
#pragma omp simd
        for (int64_t i = 0; i < L; i++)
            dx[i] = (MASKED - base - (x[i] - a.centre) * tilt) * a.slope;
    else if (d)
#pragma omp simd
        for (int64_t i = 0; i < L; i++)
            d[i] = MASKED;
}

INLINE void NAME(grad_channel)(
    int mode, channel c, affine a, real invstd, int training, real *dscale, real *dshift, real *dx, int64_t to_dx, real *d,
    int64_t to_d)
{
    double sum, product, count = (double)(c.N * c.L);
    NAME(add_channel)(c, mode, a, &sum, &product);
    product *= invstd;
    *dshift = (real)sum;
    *dscale = (real)product;
    real base = training ? (real)(sum / count) : 0, tilt = training ? (real)(product / count * invstd) : 0;
    for (int64_t n = c.N - 1; n >= 0; n--)
        NAME(grad_row)(mode, c.dy + n * c.to_dy, c.x + n * c.to_x, c.y + n * c.to_y, a, base, tilt, c.L,
            dx ? dx + n * to_dx : NULL, d ? d + n * to_d : NULL);
}

void NAME(batch_norm_grad)(
    const real *dy, const real *x, const real *y, const real *scale, const real *shift, const real *mean, const real *invstd,
    const batch_norm_layout *g, int relu, int training, real *dx, real *dresidual, real *dscale, real *dshift, int threads)
{
    threads = team(threads, g->N * g->C * g->L, STREAM);
#pragma omp parallel for num_threads(threads) if (threads > 1) schedule(static)
    for (int64_t c = 0; c < g->C; c++) {
        int64_t at = c * g->L;
        affine a = {mean[c], invstd[c] * scale[c], relu && !y ? shift[c] : 0};
        channel from = {x + at, dy + at, y ? y + at : x + at, g->N, g->L, g->x, g->dy, y ? g->y : g->x};
        real *to = dx ? dx + at : NULL, *d = dresidual ? dresidual + at : NULL;
#define GRAD(mode) \
    NAME(grad_channel)(mode, from, a, invstd[c], training, dscale + c, dshift + c, to, g->dx, d, g->dresidual)
        if (!relu)
            GRAD(PLAIN);
        else if (y)
            GRAD(MASK_BY_Y);
        else
            GRAD(MASK_BY_X);
    }
}

#undef vector
#undef unaligned
#undef choice
#undef affine
#undef channel
#endif
