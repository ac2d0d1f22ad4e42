/* Pooling: windows one after the other. */
#ifndef real
#define SOURCE "check_pools.c"
#include "driver.h"
#include "twice.h"
#else

#include "check.h"

/* The pixel in a map that tap (r, s) of the window at (p, q) falls on, or -1. */
static int64_t NAME(pixel)(const pool2d_geometry *g, int64_t p, int64_t q, int64_t tap)
{
    int64_t h = p * g->stride_h + tap / g->S - g->top, w = q * g->stride_w + tap % g->S - g->left;
    return h >= 0 && h < g->H && w >= 0 && w < g->W ? h * g->W + w : -1;
}

static pool2d_geometry *NAME(take_geometry)(const void *options)
{
    pool2d_geometry *g = take(INPUT, sizeof *g, sizeof(int64_t));
    *g = *(const pool2d_geometry *)options;
    describe("N %d C %d H %d W %d R %d S %d P %d Q %d stride %d %d padding %d %d %d %d", (int)g->N, (int)g->C, (int)g->H, (int)g->W,
             (int)g->R, (int)g->S, (int)g->P, (int)g->Q, (int)g->stride_h, (int)g->stride_w, (int)g->top, (int)g->bottom,
             (int)g->left, (int)g->right);
    return g;
}

/* Values with ties, infinities and NaN, which maxima are about. */
static void NAME(make_odd)(real *x, int64_t count)
{
    static const double odd[] = {NAN, INFINITY, -INFINITY, 0.5};
    for (int64_t i = 0; i < count; i++) {
        int64_t chance = draw_below(40);
        x[i] = chance < 4 ? (real)odd[chance] : (real)floor((double)x[i] * 4);
    }
}

/* Index and value of the maximum of a window: the first one, or the last NaN. */
static int64_t NAME(maximum)(const pool2d_geometry *g, const real *plane, int64_t p, int64_t q, double *most)
{
    int64_t index = -1;
    for (int64_t tap = 0; tap < g->R * g->S; tap++) {
        int64_t at = NAME(pixel)(g, p, q, tap);
        if (at >= 0 && (index < 0 || (double)plane[at] > *most || isnan(plane[at]))) {
            index = tap;
            *most = (double)plane[at];
        }
    }
    return index;
}

static void NAME(check_max_pool)(const void *options)
{
    pool2d_geometry *g = NAME(take_geometry)(options);
    int64_t pixels = g->N * g->C * g->H * g->W, places = g->P * g->Q, size = g->N * g->C * places;
    real *x = NAME(input)(pixels), *dy = NAME(input)(size), *out = NAME(output)(size), *taken = NAME(output)(size);
    real *dx = NAME(output)(pixels);
    int32_t *indices = take(OUTPUT, size * 4, 4);
    NAME(make_odd)(x, pixels);
    CALL(max_pool2d)(x, g, out, indices, threads);
    CALL(max_pool2d_gather)(x, indices, g, taken, threads);
    CALL(max_pool2d_grad)(dy, indices, g, dx, threads);
    if (!comparing())
        return;
    sum_of *sums = calloc((size_t)pixels + 1, sizeof *sums);
    for (int64_t i = 0; i < size; i++) {
        double most = 0;
        int64_t p = i % places / g->Q, q = i % g->Q, plane = i / places * g->H * g->W;
        int64_t index = NAME(maximum)(g, x + plane, p, q, &most);
        agree(i, (double)out[i], most, 0);
        agree(i, (double)taken[i], most, 0);
        agree(i, (double)indices[i], (double)index, 0);
        add_term(&sums[plane + NAME(pixel)(g, p, q, index)], (double)dy[i]);
    }
    for (int64_t i = 0; i < pixels; i++)
        NAME(agree_sum)(i, dx[i], sums[i]);
    free(sums);
}

/* Pixels of a window, or places of the padded map. */
static int64_t NAME(divisor)(const pool2d_geometry *g, int64_t p, int64_t q)
{
    int64_t count = 0;
    for (int64_t tap = 0; tap < g->R * g->S; tap++) {
        int64_t h = p * g->stride_h + tap / g->S - g->top, w = q * g->stride_w + tap % g->S - g->left;
        count += g->count_include_pad ? h < g->H + g->bottom && w < g->W + g->right : NAME(pixel)(g, p, q, tap) >= 0;
    }
    return count;
}

static void NAME(check_avg_pool)(const void *options)
{
    pool2d_geometry *g = NAME(take_geometry)(options);
    int64_t pixels = g->N * g->C * g->H * g->W, places = g->P * g->Q, size = g->N * g->C * places;
    real *x = NAME(input)(pixels), *dy = NAME(input)(size), *out = NAME(output)(size), *dx = NAME(output)(pixels);
    CALL(avg_pool2d)(x, g, out, threads);
    CALL(avg_pool2d_grad)(dy, g, dx, threads);
    if (!comparing())
        return;
    sum_of *sums = calloc((size_t)pixels + 1, sizeof *sums);
    for (int64_t i = 0; i < size; i++) {
        int64_t p = i % places / g->Q, q = i % g->Q, plane = i / places * g->H * g->W;
        double count = (double)NAME(divisor)(g, p, q);
        sum_of sum = {0, 0};
        for (int64_t tap = 0; tap < g->R * g->S; tap++) {
            int64_t at = NAME(pixel)(g, p, q, tap);
            if (at >= 0) {
                add_term(&sum, (double)x[plane + at] / count);
                add_term(&sums[plane + at], (double)dy[i] / count);
            }
        }
        NAME(agree_sum)(i, out[i], sum);
    }
    for (int64_t i = 0; i < pixels; i++)
        NAME(agree_sum)(i, dx[i], sums[i]);
    free(sums);
}

static void NAME(check_adaptive)(const void *options)
{
    const int64_t *v = options, planes = v[0], H = v[1], W = v[2], P = v[3], Q = v[4], pixels = planes * H * W;
    describe("%lld planes of %lld x %lld to %lld x %lld", (long long)planes, (long long)H, (long long)W, (long long)P, (long long)Q);
    real *x = NAME(input)(pixels), *dy = NAME(input)(planes * P * Q);
    real *out = NAME(output)(planes * P * Q), *dx = NAME(output)(pixels);
    CALL(adaptive_avg_pool2d)(x, planes, H, W, P, Q, out, threads);
    CALL(adaptive_avg_pool2d_grad)(dy, planes, H, W, P, Q, dx, threads);
    if (!comparing())
        return;
    sum_of *sums = calloc((size_t)pixels + 1, sizeof *sums);
    for (int64_t i = 0; i < planes * P * Q; i++) {
        int64_t p = i / Q % P, q = i % Q, h1 = ((p + 1) * H + P - 1) / P, w1 = ((q + 1) * W + Q - 1) / Q;
        double count = (double)((h1 - p * H / P) * (w1 - q * W / Q));
        sum_of sum = {0, 0};
        for (int64_t h = p * H / P; h < h1; h++)
            for (int64_t w = q * W / Q; w < w1; w++) {
                int64_t at = i / (P * Q) * H * W + h * W + w;
                add_term(&sum, (double)x[at] / count);
                add_term(&sums[at], (double)dy[i] / count);
            }
        NAME(agree_sum)(i, out[i], sum);
    }
    for (int64_t i = 0; i < pixels; i++)
        NAME(agree_sum)(i, dx[i], sums[i]);
    free(sums);
}

void NAME(pools)(void)
{
    /* N C H W, R S, stride, padding above and below and left and right, ceil mode. */
    static const int cases[][13] = {
        {1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0},     {0, 3, 4, 4, 2, 2, 2, 2, 0, 0, 0, 0, 0},
        {2, 3, 7, 9, 2, 2, 2, 2, 0, 0, 0, 0, 0},     {2, 3, 13, 15, 3, 3, 2, 2, 0, 0, 0, 0, 1},
        {2, 2, 12, 130, 3, 3, 2, 2, 1, 1, 1, 1, 0},  {1, 2, 9, 67, 3, 3, 1, 1, 1, 1, 1, 1, 0},
        {3, 1, 5, 5, 5, 5, 1, 1, 2, 2, 2, 2, 0},     {1, 3, 17, 70, 4, 5, 5, 4, 2, 0, 1, 2, 1},
        {1, 2, 11, 50, 2, 3, 3, 5, 1, 0, 0, 1, 0},   {2, 2, 6, 40, 1, 17, 1, 1, 0, 0, 8, 8, 0},
        {1, 2, 8, 300, 2, 16, 2, 3, 0, 1, 7, 3, 1},  {2, 5, 4, 2, 3, 2, 1, 1, 1, 1, 1, 1, 0},
        {2, 17, 56, 58, 3, 3, 2, 2, 1, 1, 1, 1, 0},  {1, 1, 30, 2, 2, 2, 7, 1, 0, 0, 0, 0, 1},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const int *v = cases[i];
        pool2d_geometry g = {.N = v[0], .C = v[1], .H = v[2], .W = v[3], .R = v[4], .S = v[5], .stride_h = v[6], .stride_w = v[7],
            .top = v[8], .bottom = v[9], .left = v[10], .right = v[11]};
        int64_t down = g.H + g.top + g.bottom - g.R, across = g.W + g.left + g.right - g.S;
        g.P = (v[12] ? ceil_div(down, g.stride_h) : down / g.stride_h) + 1;
        g.Q = (v[12] ? ceil_div(across, g.stride_w) : across / g.stride_w) + 1;
        /* A last window must begin on the map or in the padding before it. */
        g.P -= (g.P - 1) * g.stride_h >= g.H + g.top;
        g.Q -= (g.Q - 1) * g.stride_w >= g.W + g.left;
        run(NAME(check_max_pool), &g);
        for (g.count_include_pad = 0; g.count_include_pad < 2; g.count_include_pad++)
            run(NAME(check_avg_pool), &g);
    }
    static const int64_t shapes[][5] = {{1, 1, 1, 1, 1}, {0, 3, 3, 2, 2}, {6, 13, 9, 6, 6}, {40, 7, 7, 1, 1}, {3, 4, 5, 9, 12},
        {300, 20, 19, 3, 7}};
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
        run(NAME(check_adaptive), shapes[i]);
}

#endif
