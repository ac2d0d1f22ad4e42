/* Maximum pooling. */
#include "pool.cuh"

/* -infinity, of which NVRTC has no name. */
__device__ inline real lowest()
{
#if REAL_BYTES == 4
    union { unsigned bits; real number; } v = {0xff800000u};
#else
    union { unsigned long long bits; real number; } v = {0xfff0000000000000ull};
#endif
    return v.number;
}

/* The maximum of the window at (h, w) of a map, and its tap; where all is -infinity, the first tap on the map. ROWS x COLUMNS: the
 * window's size, so that its pixels are all asked for at once; 0 for any other. */
template <int ROWS, int COLUMNS>
__device__ inline void max_window(const real *map, const pool2d_geometry *g, int64 h, int64 w, real *out, int *index)
{
    const int64 R = ROWS ? ROWS : g->R, S = COLUMNS ? COLUMNS : g->S, H = g->H, W = g->W;
    real best = lowest();
    int64 tap = larger(0, -h) * S + larger(0, -w);
    for (int64 r = 0; r < R; r++)
        for (int64 s = 0; s < S; s++) {
            bool there = h + r >= 0 && h + r < H && w + s >= 0 && w + s < W;
            real v = there ? map[(h + r) * W + w + s] : lowest();
            bool better = v > best || v != v;
            best = better ? v : best;
            tap = better ? r * S + s : tap;
        }
    *out = best;
    *index = (int)tap;
}

KERNEL NAME(max_pool2d)(const real *x, const pool2d_geometry *g, real *out, int *indices)
{
    SHARE(i, g->N * g->C * g->P * g->Q) {
        int64 line = i / g->Q, plane = line / g->P;
        int64 h = (line - plane * g->P) * g->stride_h - g->top, w = (i - line * g->Q) * g->stride_w - g->left;
        const real *map = x + plane * g->H * g->W;
        if (g->R == 3 && g->S == 3)
            max_window<3, 3>(map, g, h, w, out + i, indices + i);
        else if (g->R == 2 && g->S == 2)
            max_window<2, 2>(map, g, h, w, out + i, indices + i);
        else
            max_window<0, 0>(map, g, h, w, out + i, indices + i);
    }
}

/* A pixel looks at the windows that lie on it: what the others name is another pixel's, and nobody writes where another does. */
KERNEL NAME(max_pool2d_grad)(const real *dy, const int *indices, const pool2d_geometry *g, real *out)
{
    const int64 strips = ceil_div(g->H, STRIP), H = g->H, W = g->W, Q = g->Q, S = g->S;
    SHARE(i, g->N * g->C * strips * W) {
        int64 line = i / W, plane = line / strips, w = i - line * W, h = (line - plane * strips) * STRIP;
        range rows = windows_on(h, smaller(h + STRIP, H) - 1, g->stride_h, g->top, g->R, g->P);
        range columns = windows_on(w, w, g->stride_w, g->left, S, Q);
        real sums[STRIP] = {0};
        for (int64 p = rows.first; p < rows.end; p++)
            /* Unrolled, it would take so many registers that a third of the threads could not run at once. */
#pragma unroll 1
            for (int64 q = columns.first; q < columns.end; q++) {
                int64 at = (plane * g->P + p) * Q + q, index = indices[at];
                /* Of the strip's first pixel; where the window does not reach a pixel, its number is none of a tap. */
                int64 tap = (h + g->top - p * g->stride_h) * S + w + g->left - q * g->stride_w;
                real v = dy[at];
                for (int k = 0; k < STRIP; k++)
                    sums[k] += index == tap + k * S ? v : 0;
            }
        for (int k = 0; k < STRIP; k++)
            if (h + k < H)
                out[(plane * H + h + k) * W + w] = sums[k];
    }
}

KERNEL NAME(max_pool2d_gather)(const real *x, const int *indices, const pool2d_geometry *g, real *out)
{
    SHARE(i, g->N * g->C * g->P * g->Q) {
        int64 line = i / g->Q, plane = line / g->P;
        int64 h = (line - plane * g->P) * g->stride_h - g->top + indices[i] / (int)g->S;
        int64 w = (i - line * g->Q) * g->stride_w - g->left + indices[i] % (int)g->S;
        /* Indices come from outside: never read elsewhere. */
        out[i] = h >= 0 && h < g->H && w >= 0 && w < g->W ? x[(plane * g->H + h) * g->W + w] : 0;
    }
}
