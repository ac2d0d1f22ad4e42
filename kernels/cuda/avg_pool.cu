/* Average pooling, with a window and adaptive. */
#include "pool.cuh"

#define WARP 32
/* So many numbers are added in `real` before they go into a `wide` sum. */
#define STRETCH 32

/* for (int64 i ...): every team of `lanes` threads, one or a warp, takes its share of 0 .. count - 1. */
#define SHARE_BY(lanes, i, count) \
    for (int64 i = ((int64)blockIdx.x * blockDim.x + threadIdx.x) / (lanes); i < (count); \
         i += (int64)gridDim.x * blockDim.x / (lanes))

/* The sum of a part of a map, by the threads of a team; the first of them has it. */
__device__ inline real area_sum(const real *map, int64 W, range rows, range columns, int lanes)
{
    const real *from = map + rows.first * W + columns.first;
    int64 height = rows.end - rows.first, width = columns.end - columns.first;
    int terms = 0;
    real part = 0;
    wide sum = 0;
    if (width == W) { /* one long row, lest a row be shorter than a warp */
        width *= height;
        height = height > 0;
    }
    for (int64 r = 0; r < height; r++)
        for (int64 s = threadIdx.x % lanes; s < width; s += lanes) {
            part += from[r * W + s];
            if (++terms == STRETCH) {
                sum += part;
                part = 0;
                terms = 0;
            }
        }
    real total = (real)(sum + part);
    for (int step = lanes / 2; step > 0; step /= 2)
        total += __shfl_down_sync(0xffffffffu, total, step);
    return total;
}

/* Pixels of the window at a place, in the padded map or in the map alone. */
__device__ inline int64 counted(int64 place, int64 stride, int64 before, int64 after, int64 size, int64 window, int64 pad)
{
    int64 start = place * stride - before, low = pad ? -before : 0, high = pad ? size + after : size;
    return smaller(start + window, high) - larger(start, low);
}

/* Rows (or columns) that count in the divisor of an output in row p (column q). */
__device__ inline int64 rows_counted(const pool2d_geometry *g, int64 p)
{
    return counted(p, g->stride_h, g->top, g->bottom, g->H, g->R, g->count_include_pad);
}

__device__ inline int64 columns_counted(const pool2d_geometry *g, int64 q)
{
    return counted(q, g->stride_w, g->left, g->right, g->W, g->S, g->count_include_pad);
}

KERNEL NAME(avg_pool2d)(const real *x, const pool2d_geometry *g, real *out)
{
    const int lanes = g->R * g->S < WARP ? 1 : WARP;
    SHARE_BY(lanes, i, g->N * g->C * g->P * g->Q) {
        int64 line = over(i, g->Q), plane = over(line, g->P), p = line - plane * g->P, q = i - line * g->Q;
        range rows = pixels_under(p, g->stride_h, g->top, g->R, g->H);
        range columns = pixels_under(q, g->stride_w, g->left, g->S, g->W);
        real sum = area_sum(x + plane * g->H * g->W, g->W, rows, columns, lanes);
        if (threadIdx.x % lanes == 0)
            out[i] = sum / (real)(rows_counted(g, p) * columns_counted(g, q));
    }
}

/* A pixel looks at the windows that lie on it. */
KERNEL NAME(avg_pool2d_grad)(const real *dy, const pool2d_geometry *g, real *out)
{
    const int64 strips = ceil_div(g->H, STRIP), H = g->H, W = g->W;
    SHARE(i, g->N * g->C * strips * W) {
        int64 line = i / W, plane = line / strips, w = i - line * W, h = (line - plane * strips) * STRIP;
        range rows = windows_on(h, smaller(h + STRIP, H) - 1, g->stride_h, g->top, g->R, g->P);
        range columns = windows_on(w, w, g->stride_w, g->left, g->S, g->Q);
        real sums[STRIP] = {0};
        for (int64 p = rows.first; p < rows.end; p++) {
            int64 count = rows_counted(g, p), first = p * g->stride_h - g->top - h;
            real sum = 0;
#pragma unroll 1
            for (int64 q = columns.first; q < columns.end; q++)
                sum += dy[(plane * g->P + p) * g->Q + q] / (real)(count * columns_counted(g, q));
            for (int k = 0; k < STRIP; k++)
                sums[k] += k >= first && k < first + g->R ? sum : 0;
        }
        for (int k = 0; k < STRIP; k++)
            if (h + k < H)
                out[(plane * H + h + k) * W + w] = sums[k];
    }
}

/* Window `place` of `places` that cover `size` pixels; and just so the windows that lie on pixel `place` of `places`, if there are
 * `size` windows. */
__device__ inline range bin(int64 place, int64 size, int64 places)
{
    if (size == 1)
        return {0, 1};
    return {over(place * size, places), over((place + 1) * size + places - 1, places)};
}

KERNEL NAME(adaptive_avg_pool2d)(const real *x, int64 planes, int64 H, int64 W, int64 P, int64 Q, real *out)
{
    const int lanes = H * W < WARP / 2 * P * Q ? 1 : WARP;
    SHARE_BY(lanes, i, planes * P * Q) {
        int64 line = over(i, Q), plane = over(line, P);
        range rows = bin(line - plane * P, H, P), columns = bin(i - line * Q, W, Q);
        real sum = area_sum(x + plane * H * W, W, rows, columns, lanes);
        if (threadIdx.x % lanes == 0)
            out[i] = sum / (real)((rows.end - rows.first) * (columns.end - columns.first));
    }
}

KERNEL NAME(adaptive_avg_pool2d_grad)(const real *dy, int64 planes, int64 H, int64 W, int64 P, int64 Q, real *out)
{
    SHARE(i, planes * H * W) {
        int64 line = i / W, plane = line / H;
        range rows = bin(line - plane * H, P, H), columns = bin(i - line * W, Q, W);
        real total = 0;
        for (int64 p = rows.first; p < rows.end; p++) {
            range above = bin(p, H, P);
            for (int64 q = columns.first; q < columns.end; q++) {
                range beside = bin(q, W, Q);
                total += dy[(plane * P + p) * Q + q] / (real)((above.end - above.first) * (beside.end - beside.first));
            }
        }
        out[i] = total;
    }
}
