/* Convolution and its input gradient: plainly, one thread for each number, and by tiles (tile.cuh). By way of im2col they are
 * matrix products, which Python calls for. */
#include "tile.cuh"

KERNEL NAME(conv2d_naive)(
    const real *x, const real *weight, const real *bias, const conv2d_geometry *g, int64 relu, real *out)
{
    int64 C = g->C / g->G, M = g->K / g->G;
    SHARE(i, g->N * g->K * g->P * g->Q) {
        int64 q = i % g->Q, line = i / g->Q, p = line % g->P, plane = line / g->P, k = plane % g->K, n = plane / g->K;
        const real *image = x + (n * g->C + k / M * C) * g->H * g->W, *filter = weight + k * C * g->R * g->S;
        real sum = 0;
        for (int64 c = 0; c < C; c++)
            for (int64 r = 0; r < g->R; r++) {
                int64 h = p * g->stride_h + r * g->dilation_h - g->top;
                for (int64 s = 0; s < g->S; s++, filter++) {
                    int64 w = q * g->stride_w + s * g->dilation_w - g->left;
                    /* Padding is multiplied as in the reference, so that 0 times infinity is NaN. */
                    real pixel = h >= 0 && h < g->H && w >= 0 && w < g->W ? image[(c * g->H + h) * g->W + w] : 0;
                    sum += pixel * *filter;
                }
            }
        if (bias)
            sum += bias[k];
        out[i] = relu && sum < 0 ? 0 : sum;
    }
}

KERNEL NAME(conv2d_input_grad_naive)(const real *dy, const real *weight, const conv2d_geometry *g, real *out)
{
    int64 C = g->C / g->G, M = g->K / g->G, window = g->R * g->S, places = g->P * g->Q;
    SHARE(i, g->N * g->C * g->H * g->W) {
        int64 w = i % g->W, line = i / g->W, h = line % g->H, plane = line / g->H, c = plane % g->C, n = plane / g->C;
        int64 group = c / C;
        const real *dys = dy + (n * g->K + group * M) * places, *filters = weight + (group * M * C + c % C) * window;
        real sum = 0;
        for (int64 r = 0; r < g->R; r++) {
            int64 down = h + g->top - r * g->dilation_h, p = down / g->stride_h;
            if (down < 0 || down % g->stride_h != 0 || p >= g->P)
                continue;
            for (int64 s = 0; s < g->S; s++) {
                int64 across = w + g->left - s * g->dilation_w, q = across / g->stride_w;
                if (across < 0 || across % g->stride_w != 0 || q >= g->Q)
                    continue;
                for (int64 m = 0; m < M; m++)
                    sum += dys[m * places + p * g->Q + q] * filters[m * C * window + r * g->S + s];
            }
        }
        out[i] = sum;
    }
}

/* Tile number `tile` of y: x and w as correlation says, bias (G*M) or NULL, then ReLU if asked. */
template <int MC>
__device__ inline void correlate(
    const real *x, const real *w, const real *bias, int64 relu, int64 tile, real *y, tiles<MC> *t)
{
    const correlation *c = &t->c;
    int64 bands = ceil_div(c->M, MC), m = tile % bands * MC, group = tile / bands % c->G, column = tile / bands / c->G * NC;
    int64 filter = group * c->M + m, pixels = c->N * c->P * c->Q;
    if (column >= pixels) /* a phase may have fewer pixels than the first */
        return;
    if (threadIdx.x < NC)
        list_place(c, false, column + threadIdx.x, pixels, &t->column[threadIdx.x], &t->column_beside[threadIdx.x]);
    real sum[tiles<MC>::MR][tiles<MC>::NR] = {};
    multiply<MC, true>(
        w + group * c->w_group + m * c->w_m, c->w_m, c->M - m, x + group * c->C * c->H * c->W, 0, c->C * c->R * c->S, t, sum);
    write_tile<MC>(sum, bias ? bias + filter : bias, relu, y + filter * c->y_m, c->y_m, c->M - m, t);
}

template <int MC>
__device__ inline void conv2d_tile(
    const real *x, const real *weight, const real *bias, const conv2d_geometry *g, int64 relu, real *out, tiles<MC> *t)
{
    if (threadIdx.x == 0)
        t->c = forward(g);
    __syncthreads();
    correlate<MC>(x, weight, bias, relu, blockIdx.x, out, t);
}

template <int MC>
__device__ inline void conv2d_input_grad_tile(
    const real *dy, const real *weight, const conv2d_geometry *g, real *out, tiles<MC> *t)
{
    int64 across = smaller(g->stride_w, g->W), phases = smaller(g->stride_h, g->H) * across, phase = blockIdx.x % phases;
    if (threadIdx.x == 0)
        t->c = input_phase(g, phase / across, phase % across);
    __syncthreads();
    correlate<MC>(dy, weight, nullptr, 0, blockIdx.x / phases, out, t);
}

/* conv2d by tiles of 128, 64 or 32 filters; a block for each tile: filters first, then groups, then pixels. */
KERNEL NAME(conv2d_tiles_128)(
    const real *x, const real *weight, const real *bias, const conv2d_geometry *g, int64 relu, real *out)
{
    __shared__ tiles<128> t;
    conv2d_tile(x, weight, bias, g, relu, out, &t);
}

KERNEL NAME(conv2d_tiles_64)(
    const real *x, const real *weight, const real *bias, const conv2d_geometry *g, int64 relu, real *out)
{
    __shared__ tiles<64> t;
    conv2d_tile(x, weight, bias, g, relu, out, &t);
}

KERNEL NAME(conv2d_tiles_32)(
    const real *x, const real *weight, const real *bias, const conv2d_geometry *g, int64 relu, real *out)
{
    __shared__ tiles<32> t;
    conv2d_tile(x, weight, bias, g, relu, out, &t);
}

/* The input gradient by tiles of so many channels; a block for each tile: phases first, then channels, groups, and as many tiles
 * of pixels as the first phase has. */
KERNEL NAME(conv2d_input_grad_tiles_128)(const real *dy, const real *weight, const conv2d_geometry *g, real *out)
{
    __shared__ tiles<128> t;
    conv2d_input_grad_tile(dy, weight, g, out, &t);
}

KERNEL NAME(conv2d_input_grad_tiles_64)(const real *dy, const real *weight, const conv2d_geometry *g, real *out)
{
    __shared__ tiles<64> t;
    conv2d_input_grad_tile(dy, weight, g, out, &t);
}

KERNEL NAME(conv2d_input_grad_tiles_32)(const real *dy, const real *weight, const conv2d_geometry *g, real *out)
{
    __shared__ tiles<32> t;
    conv2d_input_grad_tile(dy, weight, g, out, &t);
}

/* out (N, K, L) += bias (K) or NULL, then ReLU if asked: what follows a matrix product. */
KERNEL NAME(bias_relu)(real *out, const real *bias, int64 relu, int64 K, int64 L, int64 count)
{
    SHARE(i, count) {
        real v = out[i];
        if (bias)
            v += bias[i / L % K];
        out[i] = relu && v < 0 ? 0 : v;
    }
}
