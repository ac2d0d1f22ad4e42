/* im2col and its transpose, as operations of their own. */
#include "geometry.cuh"

/* A thread takes one place of the window in one channel. */
KERNEL NAME(im2col)(const real *x, const conv2d_geometry *g, real *out)
{
    int64 places = g->P * g->Q;
    SHARE(i, g->N * g->C * places) {
        int64 place = i % places, plane = i / places, p = place / g->Q, q = place % g->Q;
        const real *map = x + plane * g->H * g->W;
        real *column = out + plane * g->R * g->S * places + place;
        for (int64 r = 0; r < g->R; r++)
            for (int64 s = 0; s < g->S; s++, column += places) {
                int64 h = p * g->stride_h + r * g->dilation_h - g->top, w = q * g->stride_w + s * g->dilation_w - g->left;
                *column = h >= 0 && h < g->H && w >= 0 && w < g->W ? map[h * g->W + w] : 0;
            }
    }
}

KERNEL NAME(col2im)(const real *columns, const conv2d_geometry *g, real *out)
{
    int64 pixels = g->H * g->W, places = g->P * g->Q;
    SHARE(i, g->N * g->C * pixels) {
        int64 pixel = i % pixels, plane = i / pixels, h = pixel / g->W, w = pixel % g->W;
        const real *line = columns + plane * g->R * g->S * places;
        real sum = 0;
        for (int64 r = 0; r < g->R; r++) {
            int64 down = h + g->top - r * g->dilation_h, p = down / g->stride_h;
            if (down < 0 || down % g->stride_h != 0 || p >= g->P)
                continue;
            for (int64 s = 0; s < g->S; s++) {
                int64 across = w + g->left - s * g->dilation_w, q = across / g->stride_w;
                if (across >= 0 && across % g->stride_w == 0 && q < g->Q)
                    sum += line[(r * g->S + s) * places + p * g->Q + q];
            }
        }
        out[i] = sum;
    }
}
