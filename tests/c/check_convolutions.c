/* Convolutions and their gradients, im2col and its transpose, sums over channels: seven loops each. */
#ifndef real
#define SOURCE "check_convolutions.c"
#include "driver.h"
/* Which of the three is added up to. */
enum { TO_Y, TO_X, TO_WEIGHT };
#include "twice.h"
#else

#include "check.h"

/* Where tap (r, s) of the window at (p, q) falls: the pixel's place in a map, or -1 in the padding. */
static int64_t NAME(pixel)(const conv2d_geometry *g, int64_t p, int64_t q, int64_t r, int64_t s)
{
    int64_t h = p * g->stride_h + r * g->dilation_h - g->top, w = q * g->stride_w + s * g->dilation_w - g->left;
    return h >= 0 && h < g->H && w >= 0 && w < g->W ? h * g->W + w : -1;
}

/* The seven loops visit every product of a pixel, a weight and an output, which add up to one of the three. */
static void NAME(convolve)(const conv2d_geometry *g, const real *x, const real *weight, const real *y, int to, sum_of *sums)
{
    int64_t C = g->C / g->G, K = g->K / g->G;
    for (int64_t n = 0; n < g->N; n++)
        for (int64_t k = 0; k < g->K; k++)
            for (int64_t c = 0; c < C; c++)
                for (int64_t r = 0; r < g->R; r++)
                    for (int64_t s = 0; s < g->S; s++)
                        for (int64_t p = 0; p < g->P; p++)
                            for (int64_t q = 0; q < g->Q; q++) {
                                int64_t at = NAME(pixel)(g, p, q, r, s), w_at = ((k * C + c) * g->R + r) * g->S + s;
                                int64_t x_at = (n * g->C + k / K * C + c) * g->H * g->W + at;
                                int64_t y_at = ((n * g->K + k) * g->P + p) * g->Q + q;
                                if (at < 0)
                                    continue;
                                if (to == TO_Y)
                                    add_term(&sums[y_at], (double)x[x_at] * (double)weight[w_at]);
                                else if (to == TO_X)
                                    add_term(&sums[x_at], (double)y[y_at] * (double)weight[w_at]);
                                else
                                    add_term(&sums[w_at], (double)y[y_at] * (double)x[x_at]);
                            }
}

typedef struct {
    conv2d_geometry g;
    int which, bias, relu, terms, winograd; /* the tile of minimal filtering, 0: the plain kernel */
} NAME(convolution_case);

static void NAME(tell)(const conv2d_geometry *g, int terms)
{
    describe("N %d C %d H %d W %d K %d R %d S %d G %d stride %d %d top %d left %d dilation %d %d, terms %d",
             (int)g->N, (int)g->C, (int)g->H,
             (int)g->W, (int)g->K, (int)g->R, (int)g->S, (int)g->G, (int)g->stride_h, (int)g->stride_w, (int)g->top, (int)g->left,
             (int)g->dilation_h, (int)g->dilation_w, terms);
}

/* Any of the three by minimal filtering, which pays or not. */
static void NAME(filter_minimally)(
    const NAME(convolution_case) *c, const conv2d_geometry *g, const real *x, const real *w, const real *bias, const real *y,
    real *out, void *taps)
{
    int tile = CALL(winograd_tile)(g, c->which == TO_Y ? 0 : c->which == TO_X ? 1 : 2, c->winograd);
    agree(0, tile, tile == 0 || tile == 2 ? tile : 4, 0);
    if (c->which == TO_Y) {
        void *room = scratch(CALL(winograd_conv2d_scratch)(c->winograd, g, taps, c->terms, threads));
        CALL(winograd_conv2d)(c->winograd, x, w, bias, g, c->relu, out, c->terms, room, threads);
    } else if (c->which == TO_X) {
        void *room = scratch(CALL(winograd_conv2d_input_grad_scratch)(c->winograd, g, taps, c->terms, threads));
        CALL(winograd_conv2d_input_grad)(c->winograd, y, w, g, out, c->terms, room, threads);
    } else {
        void *room = scratch(CALL(winograd_conv2d_weight_grad_scratch)(c->winograd, g, taps, c->terms, threads));
        CALL(winograd_conv2d_weight_grad)(c->winograd, y, x, g, out, c->terms, room, threads);
    }
}

static void NAME(check_convolution)(const void *options)
{
    const NAME(convolution_case) *c = options;
    conv2d_geometry *g = take(INPUT, sizeof *g, sizeof(int64_t));
    *g = c->g;
    NAME(tell)(g, c->terms);
    int64_t x_size = g->N * g->C * g->H * g->W, w_size = g->K * (g->C / g->G) * g->R * g->S, y_size = g->N * g->K * g->P * g->Q;
    int64_t sizes[] = {y_size, x_size, w_size}, size = sizes[c->which];
    real *x = c->which == TO_X ? NULL : NAME(input)(x_size), *w = c->which == TO_WEIGHT ? NULL : NAME(input)(w_size);
    real *y = c->which == TO_Y ? NULL : NAME(input)(y_size), *bias = c->bias ? NAME(input)(g->K) : NULL, *out = NAME(output)(size);
    void *taps = scratch((g->R + g->S + g->R * g->S) * (int64_t)sizeof(int64_t));
    if (c->winograd)
        NAME(filter_minimally)(c, g, x, w, bias, y, out, taps);
    else if (c->which == TO_Y) {
        void *room = scratch(CALL(conv2d_scratch)(g, taps, c->terms, threads));
        CALL(conv2d)(x, w, bias, g, c->relu, out, c->terms, room, threads);
    } else if (c->which == TO_X) {
        void *room = scratch(CALL(conv2d_input_grad_scratch)(g, taps, c->terms, threads));
        CALL(conv2d_input_grad)(y, w, g, out, c->terms, room, threads);
    } else {
        void *room = scratch(CALL(conv2d_weight_grad_scratch)(g, taps, c->terms, threads));
        CALL(conv2d_weight_grad)(y, x, g, out, c->terms, room, threads);
    }
    if (!comparing())
        return;
    sum_of *sums = calloc((size_t)size + 1, sizeof *sums);
    NAME(convolve)(g, x, w, y, c->which, sums);
    double largest = 0; /* minimal filtering mixes neighbours: the large ones round for all */
    for (int64_t i = 0; i < size; i++)
        largest = c->winograd && sums[i].size > largest ? sums[i].size : largest;
    for (int64_t i = 0; i < size; i++) {
        if (bias)
            add_term(&sums[i], (double)bias[i / (g->P * g->Q) % g->K]);
        if (c->relu && sums[i].value < 0)
            sums[i].value = 0;
        agree(i, (double)out[i], sums[i].value, NAME(loss)(c->terms) * (sums[i].size + largest));
    }
    free(sums);
}

static void NAME(check_im2col)(const void *options)
{
    conv2d_geometry *g = take(INPUT, sizeof *g, sizeof(int64_t));
    *g = *(const conv2d_geometry *)options;
    NAME(tell)(g, 0);
    int64_t places = g->P * g->Q, window = g->R * g->S, size = g->N * g->C * window * places;
    real *x = NAME(input)(g->N * g->C * g->H * g->W), *out = NAME(output)(size);
    CALL(im2col)(x, g, out, threads);
    for (int64_t i = 0; i < size && comparing(); i++) {
        int64_t tap = i / places % window, at = NAME(pixel)(g, i % places / g->Q, i % g->Q, tap / g->S, tap % g->S);
        agree(i, (double)out[i], at < 0 ? 0 : (double)x[i / (places * window) * g->H * g->W + at], 0);
    }
}

static void NAME(check_col2im)(const void *options)
{
    conv2d_geometry *g = take(INPUT, sizeof *g, sizeof(int64_t));
    *g = *(const conv2d_geometry *)options;
    NAME(tell)(g, 0);
    int64_t places = g->P * g->Q, window = g->R * g->S, size = g->N * g->C * g->H * g->W;
    real *given = NAME(input)(g->N * g->C * window * places), *out = NAME(output)(size);
    CALL(col2im)(given, g, out, threads);
    if (!comparing())
        return;
    sum_of *sums = calloc((size_t)size + 1, sizeof *sums);
    for (int64_t i = 0; i < g->N * g->C * window * places; i++) {
        int64_t tap = i / places % window, at = NAME(pixel)(g, i % places / g->Q, i % g->Q, tap / g->S, tap % g->S);
        if (at >= 0)
            add_term(&sums[i / (places * window) * g->H * g->W + at], (double)given[i]);
    }
    for (int64_t i = 0; i < size; i++)
        NAME(agree_sum)(i, out[i], sums[i]);
    free(sums);
}

static void NAME(check_channel_sum)(const void *options)
{
    const int64_t *shape = options, N = shape[0], K = shape[1], L = shape[2];
    describe("N %lld, K %lld, L %lld", (long long)N, (long long)K, (long long)L);
    real *dy = NAME(input)(N * K * L), *out = NAME(output)(K);
    CALL(channel_sum)(dy, N, K, L, out, threads);
    for (int64_t k = 0; k < K && comparing(); k++) {
        sum_of sum = {0, 0};
        for (int64_t i = 0; i < N * L; i++)
            add_term(&sum, (double)dy[(i / L * K + k) * L + i % L]);
        NAME(agree_sum)(k, out[k], sum);
    }
}

void NAME(convolutions)(void)
{
    /* N C H W, K R S G, stride, padding above and below and left and right, dilation. */
    static const int cases[][16] = {
        {1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 1, 1},      /* all ones */
        {1, 1, 1, 1, 1, 3, 3, 1, 1, 1, 1, 1, 1, 1, 1, 1},      /* mostly padding */
        {2, 3, 7, 9, 5, 3, 3, 1, 1, 1, 1, 1, 1, 1, 1, 1},      /* odd everywhere */
        {3, 20, 13, 13, 35, 3, 3, 1, 1, 1, 1, 1, 1, 1, 1, 1},  /* the common one, no multiple of a tile */
        {2, 16, 14, 18, 16, 3, 3, 1, 1, 1, 1, 1, 1, 1, 1, 1},  /* even maps */
        {2, 9, 8, 8, 10, 3, 3, 1, 1, 1, 0, 0, 0, 0, 1, 1},     /* no padding */
        {2, 9, 5, 6, 70, 3, 3, 1, 1, 1, 0, 3, 2, 1, 1, 1},     /* another on each side */
        {1, 5, 19, 170, 6, 3, 3, 1, 1, 1, 4, 1, 1, 1, 1, 1},   /* several panels of tiles */
        {1, 280, 7, 7, 9, 3, 3, 1, 1, 1, 1, 1, 1, 1, 1, 1},    /* several blocks of channels */
        {1, 3, 35, 33, 13, 11, 11, 1, 4, 4, 2, 2, 2, 2, 1, 1}, /* a first layer */
        {2, 3, 30, 31, 8, 7, 7, 1, 2, 2, 3, 3, 3, 3, 1, 1},
        {4, 16, 14, 14, 9, 1, 1, 1, 1, 1, 0, 0, 0, 0, 1, 1},   /* a matrix product */
        {3, 16, 15, 15, 9, 1, 1, 1, 2, 2, 0, 0, 0, 0, 1, 1},
        {2, 5, 9, 11, 4, 1, 1, 1, 3, 4, 0, 0, 0, 0, 1, 1},     /* strides beyond the window */
        {1, 2, 12, 13, 3, 2, 2, 1, 5, 3, 0, 0, 0, 0, 1, 1},
        {3, 24, 9, 9, 24, 3, 3, 24, 1, 1, 1, 1, 1, 1, 1, 1},   /* depthwise */
        {2, 17, 10, 11, 17, 3, 3, 17, 2, 2, 1, 1, 1, 1, 1, 1},
        {1, 6, 11, 10, 12, 5, 5, 6, 1, 1, 2, 2, 2, 2, 1, 1},   /* two filters a channel */
        {2, 4, 9, 80, 4, 3, 3, 4, 1, 1, 1, 1, 1, 1, 2, 2},
        {2, 12, 8, 7, 18, 3, 2, 3, 2, 1, 1, 0, 2, 1, 1, 2},    /* groups, padding on one side */
        {2, 4, 16, 15, 6, 3, 3, 1, 1, 1, 2, 2, 3, 3, 2, 3},    /* dilation */
        {1, 3, 20, 9, 5, 3, 4, 1, 2, 3, 1, 2, 3, 0, 3, 2},
        {3, 4, 5, 6, 70, 5, 6, 1, 2, 2, 0, 1, 0, 1, 1, 1},     /* windows that see the whole image */
        {3, 20, 13, 14, 17, 5, 5, 1, 1, 1, 2, 2, 2, 2, 1, 1},
        {2, 2, 5, 5, 3, 5, 5, 1, 1, 1, 6, 4, 7, 4, 1, 1},      /* padding wider than the window */
        {5, 40, 2, 2, 33, 3, 3, 1, 1, 1, 1, 1, 1, 1, 1, 1},    /* small maps */
        {17, 8, 1, 1, 20, 1, 1, 1, 1, 1, 0, 0, 0, 0, 1, 1},
        {2, 70, 4, 4, 33, 2, 2, 1, 1, 1, 0, 0, 0, 0, 1, 1},    /* a long window: several blocks of it */
        {1, 3, 3, 600, 4, 3, 3, 1, 1, 1, 1, 1, 1, 1, 1, 1},    /* long lines */
        {1, 2, 300, 1, 3, 3, 1, 1, 1, 1, 1, 1, 0, 0, 1, 1},    /* one column */
        {2, 3, 40, 65, 7, 5, 1, 1, 1, 1, 2, 2, 0, 0, 1, 1},
        {1, 30, 3, 3, 1030, 1, 1, 1, 1, 1, 0, 0, 0, 0, 1, 1},  /* more filters than are packed at a time */
        {1, 3, 17, 17, 300, 1, 3, 1, 1, 1, 0, 0, 1, 1, 1, 1},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const int *v = cases[i];
        conv2d_geometry g = {.N = v[0], .C = v[1], .H = v[2], .W = v[3], .K = v[4], .R = v[5], .S = v[6], .G = v[7],
            .stride_h = v[8], .stride_w = v[9], .top = v[10], .left = v[12], .dilation_h = v[14], .dilation_w = v[15]};
        g.P = (g.H + v[10] + v[11] - g.dilation_h * (g.R - 1) - 1) / g.stride_h + 1;
        g.Q = (g.W + v[12] + v[13] - g.dilation_w * (g.S - 1) - 1) / g.stride_w + 1;
        NAME(convolution_case) c = {g, TO_Y, 1, 1, 0, 0};
        RUN_FOR_TERMS(NAME(check_convolution), &c)
        c.bias = c.relu = 0;
        for (c.which = TO_Y; c.which <= TO_WEIGHT; c.which++)
            RUN_FOR_TERMS(NAME(check_convolution), &c)
        int single = g.R == g.S && g.G == 1 && g.stride_h * g.stride_w * g.dilation_h * g.dilation_w == 1;
        if (single && (g.R == 3 || g.R == 5)) {
            for (int tile = 2; tile + g.R <= 7; tile += 2) {
                c = (NAME(convolution_case)){g, TO_Y, 1, 1, 0, tile};
                run(NAME(check_convolution), &c);
                c.bias = c.relu = 0;
                for (c.which = TO_Y; c.which <= (g.R == 3 ? TO_WEIGHT : TO_X); c.which++)
                    run(NAME(check_convolution), &c);
            }
            c.winograd = 0;
        }
        if (g.K <= 100) {
            run(NAME(check_im2col), &g);
            run(NAME(check_col2im), &g);
        }
        if (i == 2) { /* no image at all: the gradient of the weight is 0 */
            c.g.N = g.N = 0, c.which = TO_WEIGHT;
            run(NAME(check_convolution), &c);
            c.winograd = 4;
            run(NAME(check_convolution), &c);
            run(NAME(check_im2col), &g);
            run(NAME(check_col2im), &g);
        }
    }
    static const int64_t shapes[][3] = {{1, 1, 1}, {3, 5, 7}, {0, 3, 4}, {4, 70, 1}, {2, 3, 1000}, {700, 150, 1}, {9, 4, 3001}};
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
        run(NAME(check_channel_sum), shapes[i]);
}

#endif
