/* The gradient of a convolution's weights: plainly, and by tiles (tile.cuh). */
#include "tile.cuh"

/* A block takes one number after another, its threads share the pixels. */
KERNEL NAME(conv2d_weight_grad_naive)(const real *dy, const real *x, const conv2d_geometry *g, real *out)
{
    __shared__ wide room[THREADS];
    int64 C = g->C / g->G, M = g->K / g->G, places = g->P * g->Q;
    for (int64 i = blockIdx.x; i < g->K * C * g->R * g->S; i += gridDim.x) {
        int64 s = i % g->S, line = i / g->S, r = line % g->R, plane = line / g->R, c = plane % C, k = plane / C;
        const real *dys = dy + k * places, *map = x + (k / M * C + c) * g->H * g->W;
        real sum = 0;
        for (int64 pixel = threadIdx.x; pixel < g->N * places; pixel += THREADS) {
            int64 n = pixel / places, place = pixel % places, p = place / g->Q, q = place % g->Q;
            int64 h = p * g->stride_h + r * g->dilation_h - g->top, w = q * g->stride_w + s * g->dilation_w - g->left;
            /* Padding is multiplied as in the reference, so that 0 times infinity is NaN. */
            bool inside = h >= 0 && h < g->H && w >= 0 && w < g->W;
            sum += dys[n * g->K * places + place] * (inside ? map[(n * g->C * g->H + h) * g->W + w] : 0);
        }
        wide total = block_sum(sum, room);
        if (threadIdx.x == 0)
            out[i] = (real)total;
    }
}

/* out (parts, K, C/G, R, S): the sums over as many parts of the pixels. A block for each tile: filters first, then taps, groups and
 * parts. */
template <int MC>
__device__ inline void conv2d_weight_grad_tile(
    const real *dy, const real *x, const conv2d_geometry *g, int64 parts, real *out, tiles<MC> *t)
{
    const correlation *c = &t->c;
    if (threadIdx.x == 0)
        t->c = forward(g);
    __syncthreads();
    int64 taps = c->C * c->R * c->S, pixels = c->N * c->P * c->Q, tile = blockIdx.x;
    int64 bands = ceil_div(c->M, MC), m = tile % bands * MC;
    tile /= bands;
    int64 slices = ceil_div(taps, NC), column = tile % slices * NC;
    tile /= slices;
    int64 group = tile % c->G, part = tile / c->G, filter = group * c->M + m;
    if (threadIdx.x < NC)
        list_place(c, true, column + threadIdx.x, taps, &t->column[threadIdx.x], &t->column_beside[threadIdx.x]);
    real sum[tiles<MC>::MR][tiles<MC>::NR] = {};
    multiply<MC, false>(
        dy + filter * c->y_m, c->y_m, c->M - m, x + group * c->C * c->H * c->W, pixels * part / parts, pixels * (part + 1) / parts,
        t, sum);
    write_tile<MC>(sum, nullptr, 0, out + (part * c->G * c->M + filter) * taps, taps, c->M - m, t);
}

KERNEL NAME(conv2d_weight_grad_tiles_128)(const real *dy, const real *x, const conv2d_geometry *g, int64 parts, real *out)
{
    __shared__ tiles<128> t;
    conv2d_weight_grad_tile(dy, x, g, parts, out, &t);
}

KERNEL NAME(conv2d_weight_grad_tiles_64)(const real *dy, const real *x, const conv2d_geometry *g, int64 parts, real *out)
{
    __shared__ tiles<64> t;
    conv2d_weight_grad_tile(dy, x, g, parts, out, &t);
}

KERNEL NAME(conv2d_weight_grad_tiles_32)(const real *dy, const real *x, const conv2d_geometry *g, int64 parts, real *out)
{
    __shared__ tiles<32> t;
    conv2d_weight_grad_tile(dy, x, g, parts, out, &t);
}

/* out (count): the sum over the first axis of sums (parts, count). */
KERNEL NAME(conv2d_weight_grad_total)(const real *sums, int64 parts, int64 count, real *out)
{
    SHARE(i, count) {
        wide total = 0;
        for (int64 part = 0; part < parts; part++)
            total += sums[part * count + i];
        out[i] = (real)total;
    }
}
