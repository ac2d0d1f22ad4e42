/* Sums over channels and batch normalisation. A channel's numbers, image after image, are cut into at most THREADS parts, and a
 * block has one of them: blockIdx.x counts the parts of the first channel, then those of the next. What the parts of a channel add
 * up to, always in the same order, is for the kernel after the one that leaves their sums. */
#include "geometry.cuh"
#include "walk.cuh"

/* Packs that a thread adds up in `real` before they join a sum in `wide`. */
#define STRETCH 4
/* Packs of an array that a thread reads before it writes any: memory is far away. */
#define AHEAD 2
/* Numbers of a channel that tell where its mean may be. */
#define SAMPLES 32

/* A channel's map x -> (x - centre)*slope + base. */
typedef struct {
    real centre, slope, base;
} affine;

/* A channel of N images of L numbers: where it begins in x, dy and y, and how far it is there from image to image. */
typedef struct {
    const real *x, *dy, *y;
    int64 to_x, to_dy, to_y, N, L;
} channel;

/* Whether the images of a channel are packs, in one more array too. */
__device__ inline bool is_packed(const channel &c, const real *other, int64 to_other)
{
    return c.L % LANES == 0 && is_whole(c.x, c.to_x) && is_whole(c.dy, c.to_dy) && is_whole(c.y, c.to_y)
           && is_whole(other, to_other);
}

/* What is added up: d; from SPREAD on also d*(x - centre). d is dy, or x - centre, or dy times 0 where ReLU cut off: where y <= 0,
 * or where the map of x is. */
#define TOTAL 0
#define TOTAL_BY_Y 1
#define SPREAD 2
#define PLAIN 3
#define MASK_BY_Y 4
#define MASK_BY_X 5

typedef struct {
    wide first, second;
} sums_of_two;

/* A thread's share of the sums over its block's part; d itself goes to `kept`, unless that is null. */
template <int mode, bool packed>
__device__ inline sums_of_two add_up(const channel &c, affine a, int64 part, int64 parts, real *kept, int64 to_kept)
{
    const bool has_x = mode >= SPREAD, has_dy = mode != SPREAD, has_y = mode == TOTAL_BY_Y || mode == MASK_BY_Y;
    walk w = set_out<packed>(c.N, c.L, part, parts);
    sums_of_two sums = {0, 0};
    while (w.left > 0) {
        real first = 0, second = 0;
#pragma unroll
        for (int i = 0; i < STRETCH; i++) {
            places p = go_on<packed>(&w);
            pack x = {}, d = {}, y = {};
            if (has_x)
                x = load<packed>(c.x, c.to_x, p);
            if (has_dy)
                d = load<packed>(c.dy, c.to_dy, p);
            if (has_y)
                y = load<packed>(c.y, c.to_y, p);
#pragma unroll
            for (int k = 0; k < LANES; k++) {
                real distance = x.lane[k] - a.centre;
                if (!has_dy)
                    d.lane[k] = distance;
                if (has_y)
                    d.lane[k] *= y.lane[k] > 0 ? (real)1 : (real)0;
                if (mode == MASK_BY_X)
                    d.lane[k] *= distance * a.slope + a.base > 0 ? (real)1 : (real)0;
                if (k < p.count) {
                    first += d.lane[k];
                    second += d.lane[k] * distance;
                }
            }
            if (kept)
                store<packed>(d, kept, to_kept, p);
        }
        sums.first += first;
        sums.second += second;
    }
    return sums;
}

template <int mode>
__device__ inline sums_of_two add_part(const channel &c, affine a, int64 part, int64 parts, real *kept, int64 to_kept)
{
    return is_packed(c, kept, to_kept) ? add_up<mode, true>(c, a, part, parts, kept, to_kept)
                                       : add_up<mode, false>(c, a, part, parts, kept, to_kept);
}

/* What one number of each part of a channel adds up to: the first of every `width`. */
__device__ inline wide add_parts(const wide *sums, int64 parts, int64 width, wide *room)
{
    return block_sum(threadIdx.x < parts ? sums[threadIdx.x * width] : 0, room);
}

/* The sum of a block's part of channel k: to `out` where that is all of it, else to `sums`. */
__device__ inline void leave_sum(wide sum, int64 k, int64 parts, real *out, wide *sums)
{
    if (threadIdx.x > 0)
        return;
    if (parts == 1)
        out[k] = (real)sum;
    else
        sums[blockIdx.x] = sum;
}

/* sums (K, parts), where there are several: out is then for channel_total. */
KERNEL NAME(channel_sum)(const real *dy, int64 N, int64 K, int64 L, real *out, wide *sums)
{
    __shared__ wide room[THREADS];
    int64 parts = gridDim.x / K, k = blockIdx.x / parts;
    channel c = {nullptr, dy + k * L, nullptr, 0, K * L, 0, N, L};
    sums_of_two mine = add_part<TOTAL>(c, {0, 0, 0}, blockIdx.x % parts, parts, nullptr, 0);
    leave_sum(block_sum(mine.first, room), k, parts, out, sums);
}

/* Likewise. */
KERNEL NAME(relu_grad_sum)(const real *dy, const real *y, int64 N, int64 K, int64 L, real *out, real *totals, wide *sums)
{
    __shared__ wide room[THREADS];
    int64 parts = gridDim.x / K, k = blockIdx.x / parts;
    channel c = {nullptr, dy + k * L, y + k * L, 0, K * L, K * L, N, L};
    sums_of_two mine = add_part<TOTAL_BY_Y>(c, {0, 0, 0}, blockIdx.x % parts, parts, out + k * L, K * L);
    leave_sum(block_sum(mine.first, room), k, parts, totals, sums);
}

/* out (K): what the parts of each channel add up to. blockIdx.x is the channel. */
KERNEL NAME(channel_total)(const wide *sums, int64 parts, real *out)
{
    __shared__ wide room[THREADS];
    wide total = add_parts(sums + blockIdx.x * parts, parts, 1, room);
    if (threadIdx.x == 0)
        out[blockIdx.x] = (real)total;
}

/* A block's part of y = map of x, + residual or null, then ReLU if asked. */
template <bool packed>
__device__ inline void map_part(
    const real *x, int64 to_x, affine a, const real *residual, int64 to_residual, int64 relu, real *y, int64 to_y, walk w)
{
    while (w.left > 0) {
        places p[AHEAD];
        pack v[AHEAD], r[AHEAD];
#pragma unroll
        for (int i = 0; i < AHEAD; i++) {
            p[i] = go_on<packed>(&w);
            v[i] = load<packed>(x, to_x, p[i]);
            if (residual)
                r[i] = load<packed>(residual, to_residual, p[i]);
        }
#pragma unroll
        for (int i = 0; i < AHEAD; i++) {
#pragma unroll
            for (int k = 0; k < LANES; k++) {
                real mapped = (v[i].lane[k] - a.centre) * a.slope + a.base;
                if (residual)
                    mapped += r[i].lane[k];
                v[i].lane[k] = relu && mapped < 0 ? 0 : mapped;
            }
            store<packed>(v[i], y, to_y, p[i]);
        }
    }
}

__device__ inline void normalise_part(
    const real *x, affine a, const real *residual, const batch_norm_layout &g, int64 relu, real *y, int64 c, int64 part,
    int64 parts)
{
    int64 at = c * g.L;
    x += at;
    y += at;
    residual = residual ? residual + at : nullptr;
    if (g.L % LANES == 0 && is_whole(x, g.x) && is_whole(y, g.y) && is_whole(residual, g.residual))
        map_part<true>(x, g.x, a, residual, g.residual, relu, y, g.y, set_out<true>(g.N, g.L, part, parts));
    else
        map_part<false>(x, g.x, a, residual, g.residual, relu, y, g.y, set_out<false>(g.N, g.L, part, parts));
}

KERNEL NAME(batch_norm)(
    const real *x, const real *scale, const real *shift, const real *mean, const real *var, const real *residual,
    const batch_norm_layout *layout, int64 relu, double eps, real *y, real *invstd)
{
    __shared__ affine a;
    batch_norm_layout g = *layout;
    int64 parts = gridDim.x / g.C, c = blockIdx.x / parts, part = blockIdx.x % parts;
    if (threadIdx.x == 0) {
        /* Rounded once: where all variances are alike, as in a new network, every layer's rounding points the same way. */
        real inverse = (real)(1 / sqrt((wide)var[c] + eps));
        a = {mean[c], inverse * scale[c], shift[c]};
        if (part == 0)
            invstd[c] = inverse;
    }
    __syncthreads();
    normalise_part(x, a, residual, g, relu, y, c, part, parts);
}

/* A number near the mean, from some that lie all over the channel: the squares of distances from it lose nothing to the size of the
 * mean. All parts of a channel find the same. */
__device__ inline real near_mean(const channel &c, wide *room)
{
    if (threadIdx.x < SAMPLES) {
        int64 i = c.N * c.L * threadIdx.x / SAMPLES;
        room[threadIdx.x] = c.x[i / c.L * c.to_x + i % c.L];
    }
    __syncthreads();
    wide sum = 0;
    for (int i = 0; i < SAMPLES; i++)
        sum += room[i];
    real near = (real)(sum / SAMPLES);
    return near - near == 0 ? near : 0;
}

/* For batch_norm_training: sums has for each of C channels two numbers for each part, then the number near the mean. */
KERNEL NAME(batch_norm_spread)(const real *x, const batch_norm_layout *layout, wide *sums)
{
    __shared__ wide room[THREADS];
    batch_norm_layout g = *layout;
    int64 parts = gridDim.x / g.C, c = blockIdx.x / parts, part = blockIdx.x % parts;
    channel from = {x + c * g.L, nullptr, nullptr, g.x, 0, 0, g.N, g.L};
    real near = near_mean(from, room);
    sums_of_two mine = add_part<SPREAD>(from, {near, 0, 0}, part, parts, nullptr, 0);
    mine.first = block_sum(mine.first, room);
    mine.second = block_sum(mine.second, room);
    if (threadIdx.x == 0) {
        wide *to = sums + c * (2 * parts + 1);
        to[2 * part] = mine.first;
        to[2 * part + 1] = mine.second;
        if (part == 0)
            to[2 * parts] = near;
    }
}

/* sums: what batch_norm_spread left for so many parts. */
KERNEL NAME(batch_norm_training)(
    const real *x, const real *scale, const real *shift, const real *residual, const batch_norm_layout *layout, int64 relu,
    double eps, double momentum, real *y, real *mean, real *invstd, real *running_mean, real *running_var, const wide *sums,
    int64 parts)
{
    __shared__ wide room[THREADS];
    __shared__ affine a;
    batch_norm_layout g = *layout;
    int64 blocks = gridDim.x / g.C, c = blockIdx.x / blocks, part = blockIdx.x % blocks;
    const wide *from = sums + c * (2 * parts + 1);
    wide first = add_parts(from, parts, 2, room), second = add_parts(from + 1, parts, 2, room);
    if (threadIdx.x == 0) {
        wide count = (wide)(g.N * g.L), offset = first / count, centre = from[2 * parts] + offset;
        wide var = second / count - offset * offset;
        var = var < 0 ? 0 : var;
        real inverse = (real)(1 / sqrt(var + eps));
        a = {(real)centre, inverse * scale[c], shift[c]};
        if (part == 0) {
            mean[c] = (real)centre;
            invstd[c] = inverse;
            if (running_mean)
                running_mean[c] = (real)((1 - momentum) * running_mean[c] + momentum * centre);
            if (running_var)
                running_var[c] = (real)((1 - momentum) * running_var[c] + momentum * var * (count / (count - 1)));
        }
    }
    __syncthreads();
    normalise_part(x, a, residual, g, relu, y, c, part, blocks);
}

/* For batch_norm_grad, which is launched after it: sums (C, parts, 2), and dresidual where that is wanted. */
KERNEL NAME(batch_norm_grad_sums)(
    const real *dy, const real *x, const real *y, const real *scale, const real *shift, const real *mean, const real *invstd,
    const batch_norm_layout *layout, int64 relu, real *dresidual, wide *sums)
{
    __shared__ wide room[THREADS];
    batch_norm_layout g = *layout;
    int64 parts = gridDim.x / g.C, c = blockIdx.x / parts, part = blockIdx.x % parts, at = c * g.L;
    affine a = {mean[c], invstd[c] * scale[c], shift[c]};
    channel from = {x + at, dy + at, relu && y ? y + at : nullptr, g.x, g.dy, g.y, g.N, g.L};
    real *kept = dresidual ? dresidual + at : nullptr;
    sums_of_two mine = !relu ? add_part<PLAIN>(from, a, part, parts, kept, g.dresidual)
                       : y   ? add_part<MASK_BY_Y>(from, a, part, parts, kept, g.dresidual)
                             : add_part<MASK_BY_X>(from, a, part, parts, kept, g.dresidual);
    mine.first = block_sum(mine.first, room);
    mine.second = block_sum(mine.second, room);
    if (threadIdx.x == 0) {
        sums[2 * blockIdx.x] = mine.first;
        sums[2 * blockIdx.x + 1] = mine.second;
    }
}

/* A block's part of dx = (d - base - (x - mean)*tilt)*slope, d being dy where ReLU let pass. */
template <bool packed>
__device__ inline void grad_part(const channel &c, affine a, int64 relu, real base, real tilt, real *dx, int64 to_dx, walk w)
{
    while (w.left > 0) {
        places p[AHEAD];
        pack x[AHEAD], d[AHEAD], y[AHEAD];
#pragma unroll
        for (int i = 0; i < AHEAD; i++) {
            p[i] = go_on<packed>(&w);
            x[i] = load<packed>(c.x, c.to_x, p[i]);
            d[i] = load<packed>(c.dy, c.to_dy, p[i]);
            if (c.y)
                y[i] = load<packed>(c.y, c.to_y, p[i]);
        }
#pragma unroll
        for (int i = 0; i < AHEAD; i++) {
#pragma unroll
            for (int k = 0; k < LANES; k++) {
                real distance = x[i].lane[k] - a.centre, part = d[i].lane[k];
                if (relu)
                    part *= (c.y ? y[i].lane[k] : distance * a.slope + a.base) > 0 ? (real)1 : (real)0;
                d[i].lane[k] = (part - base - distance * tilt) * a.slope;
            }
            store<packed>(d[i], dx, to_dx, p[i]);
        }
    }
}

/* sums (C, parts, 2): what batch_norm_grad_sums left. */
KERNEL NAME(batch_norm_grad)(
    const real *dy, const real *x, const real *y, const real *scale, const real *shift, const real *mean, const real *invstd,
    const batch_norm_layout *layout, int64 relu, int64 training, real *dx, const real *dresidual, real *dscale, real *dshift,
    const wide *sums, int64 parts)
{
    __shared__ wide room[THREADS];
    batch_norm_layout g = *layout;
    int64 blocks = gridDim.x / g.C, c = blockIdx.x / blocks, part = blockIdx.x % blocks, at = c * g.L;
    const wide *of_channel = sums + 2 * c * parts;
    wide sum = add_parts(of_channel, parts, 2, room), product = add_parts(of_channel + 1, parts, 2, room) * invstd[c];
    if (threadIdx.x == 0 && part == 0) {
        dshift[c] = (real)sum;
        dscale[c] = (real)product;
    }
    if (!dx)
        return;
    wide count = (wide)(g.N * g.L);
    real base = training ? (real)(sum / count) : 0, tilt = training ? (real)(product / count * invstd[c]) : 0;
    affine a = {mean[c], invstd[c] * scale[c], shift[c]};
    channel from = {x + at, dy + at, relu && y ? y + at : nullptr, g.x, g.dy, g.y, g.N, g.L};
    if (dresidual) { /* it is d already */
        from.dy = dresidual + at;
        from.to_dy = g.dresidual;
        from.y = nullptr;
        relu = 0;
    }
    dx += at;
    if (is_packed(from, dx, g.dx))
        grad_part<true>(from, a, relu, base, tilt, dx, g.dx, set_out<true>(g.N, g.L, part, blocks));
    else
        grad_part<false>(from, a, relu, base, tilt, dx, g.dx, set_out<false>(g.N, g.L, part, blocks));
}
