/* Convolution and its input gradient. The naive version is Reference.conv2d: im2col and a matrix product. */
#ifndef real
#define SOURCE "conv.c"
#include "twice.h"
#else

#include "correlate.h"

/* Offsets of the taps live in front of the rest of the scratch. */
static int64_t NAME(tap_bytes)(const conv2d_geometry *g)
{
    return round_up((g->R + g->S + g->R * g->S) * (int64_t)sizeof(int64_t), LINE);
}

static correlation NAME(forward)(const conv2d_geometry *g, int64_t *taps)
{
    int64_t *down = taps, *across = down + g->R, *w_tap = across + g->S;
    for (int64_t r = 0; r < g->R; r++)
        down[r] = r * g->dilation_h - g->top;
    for (int64_t s = 0; s < g->S; s++)
        across[s] = s * g->dilation_w - g->left;
    for (int64_t i = 0; i < g->R * g->S; i++)
        w_tap[i] = i;
    int64_t C = g->C / g->G, M = g->K / g->G, window = g->R * g->S;
    return (correlation){
        .N = g->N, .G = g->G, .C = C, .M = M, .H = g->H, .W = g->W, .P = g->P, .Q = g->Q, .R = g->R, .S = g->S,
        .step_h = g->stride_h, .step_w = g->stride_w, .down = down, .across = across,
        .w_group = M * C * window, .w_m = C * window, .w_c = window, .w_tap = w_tap,
        .y_image = g->K * g->P * g->Q, .y_m = g->P * g->Q, .y_row = g->Q, .y_col = 1,
    };
}

/* The part of the input gradient at the pixels (phase_h + i*stride_h, phase_w + j*stride_w): there always the same taps
 * of the window meet dy, one pixel apart, so that each phase is a correlation of dy with those taps. */
static correlation NAME(input_phase)(const conv2d_geometry *g, int64_t phase_h, int64_t phase_w, int64_t *taps)
{
    int64_t *down = taps, *across = down + g->R, *w_tap = across + g->S, R = 0, S = 0;
    for (int64_t r = 0; r < g->R; r++)
        if ((phase_h + g->top - r * g->dilation_h) % g->stride_h == 0)
            down[R++] = (phase_h + g->top - r * g->dilation_h) / g->stride_h;
    for (int64_t s = 0; s < g->S; s++)
        if ((phase_w + g->left - s * g->dilation_w) % g->stride_w == 0)
            across[S++] = (phase_w + g->left - s * g->dilation_w) / g->stride_w;
    for (int64_t r = 0, i = 0; r < g->R; r++)
        for (int64_t s = 0; s < g->S; s++)
            if ((phase_h + g->top - r * g->dilation_h) % g->stride_h == 0
                && (phase_w + g->left - s * g->dilation_w) % g->stride_w == 0)
                w_tap[i++] = r * g->S + s;
    int64_t C = g->K / g->G, M = g->C / g->G, window = g->R * g->S;
    return (correlation){
        .N = g->N, .G = g->G, .C = C, .M = M, .H = g->P, .W = g->Q,
        .P = g->H > phase_h ? ceil_div(g->H - phase_h, g->stride_h) : 0,
        .Q = g->W > phase_w ? ceil_div(g->W - phase_w, g->stride_w) : 0,
        .R = R, .S = S, .step_h = 1, .step_w = 1, .down = down, .across = across,
        .w_group = M * C * window, .w_m = window, .w_c = M * window, .w_tap = w_tap,
        .y_image = g->C * g->H * g->W, .y_m = g->H * g->W, .y_row = g->W * g->stride_h, .y_col = g->stride_w,
    };
}

int64_t NAME(conv2d_scratch)(const conv2d_geometry *g, void *taps, int terms, int threads)
{
    int64_t most = 0;
    correlation c = NAME(forward)(g, taps);
    c.terms = terms;
    for (int t = 1; t <= threads; t++)
        most = larger(most, NAME(correlate_scratch)(&c, t));
    return NAME(tap_bytes)(g) + most;
}

void NAME(conv2d)(
    const real *x, const real *weight, const real *bias, const conv2d_geometry *g, int relu, real *out, int terms,
    void *scratch, int threads)
{
    correlation c = NAME(forward)(g, scratch);
    c.x = x, c.w = weight, c.bias = bias, c.relu = relu, c.y = out, c.terms = terms;
    NAME(correlate)(&c, (char *)scratch + NAME(tap_bytes)(g), threads);
}

/* Whether every window is the whole image: then the input gradient is a product of dy (N, K) and the weights (K, C*R*S). */
static int NAME(sees_all)(const conv2d_geometry *g)
{
    return g->P * g->Q == 1 && g->R == g->H && g->S == g->W && g->top == 0 && g->left == 0 && g->dilation_h == 1
           && g->dilation_w == 1 && g->G == 1;
}

int64_t NAME(conv2d_input_grad_scratch)(const conv2d_geometry *g, void *taps, int terms, int threads)
{
    int64_t most = 0;
    if (NAME(sees_all)(g))
        return NAME(matmul_scratch)(1, g->N, g->K, g->C * g->R * g->S, terms, threads);
    for (int64_t h = 0; h < smaller(g->stride_h, g->H); h++)
        for (int64_t w = 0; w < smaller(g->stride_w, g->W); w++) {
            correlation c = NAME(input_phase)(g, h, w, taps);
            c.terms = terms;
            for (int t = 1; t <= threads; t++)
                most = larger(most, NAME(correlate_scratch)(&c, t));
        }
    return NAME(tap_bytes)(g) + most;
}

void NAME(conv2d_input_grad)(
    const real *dy, const real *weight, const conv2d_geometry *g, real *out, int terms, void *scratch, int threads)
{
    if (NAME(sees_all)(g)) {
        int64_t size = g->C * g->R * g->S;
        NAME(matmul)(dy, weight, out, 1, NULL, g->N, g->K, size, g->K, 1, size, 1, terms, scratch, threads);
        return;
    }
    for (int64_t h = 0; h < smaller(g->stride_h, g->H); h++)
        for (int64_t w = 0; w < smaller(g->stride_w, g->W); w++) {
            correlation c = NAME(input_phase)(g, h, w, scratch);
            c.x = dy, c.w = weight, c.y = out + h * g->W + w, c.terms = terms;
            NAME(correlate)(&c, (char *)scratch + NAME(tap_bytes)(g), threads);
        }
}

#endif
