/* Steps of the optimisers: one pass over a parameter, in place, or over many of them in one launch. */
#include "pack.cuh"

/* 0 .. count - 1 shared out: `first` is the first for this thread, and it is `step` numbers (or packs) to the next. */
typedef struct {
    int64 first, step, count;
} portion;

__device__ inline portion of_grid(int64 count)
{
    return {(int64)blockIdx.x * blockDim.x + threadIdx.x, (int64)gridDim.x * blockDim.x, count};
}

__device__ inline portion of_block(int64 count) { return {threadIdx.x, blockDim.x, count}; }

typedef struct {
    real rate, keep, decay;
    bool nesterov;
} sgd_rule;

__device__ inline void sgd_step(real *w, real g, real *v, const sgd_rule &r)
{
    real step = r.decay != 0 ? g + r.decay * *w : g;
    if (v) {
        *v = r.keep * *v + step;
        step = r.nesterov ? step + r.keep * *v : *v;
    }
    *w -= r.rate * step;
}

__device__ inline void sgd_portion(real *w, const real *g, real *v, const sgd_rule &r, portion p)
{
    int64 packs = is_whole(w, 0) && is_whole(g, 0) && is_whole(v, 0) ? p.count / LANES : 0;
    for (int64 i = p.first; i < packs; i += p.step) {
        pack a = ((const pack *)w)[i], b = ((const pack *)g)[i], c = {};
        if (v)
            c = ((const pack *)v)[i];
#pragma unroll
        for (int k = 0; k < LANES; k++)
            sgd_step(a.lane + k, b.lane[k], v ? c.lane + k : nullptr, r);
        ((pack *)w)[i] = a;
        if (v)
            ((pack *)v)[i] = c;
    }
    for (int64 i = packs * LANES + p.first; i < p.count; i += p.step)
        sgd_step(w + i, g[i], v ? v + i : nullptr, r);
}

KERNEL NAME(sgd)(
    real *w, const real *g, real *v, double lr, double momentum, double weight_decay, int64 nesterov, int64 count)
{
    sgd_portion(w, g, v, {(real)lr, (real)momentum, (real)weight_decay, nesterov != 0}, of_grid(count));
}

/* records (count, 5): addresses of w, g and v (or 0), from which number on, and how many; a block takes a record at a time. */
KERNEL NAME(sgd_many)(const int64 *records, int64 count, double lr, double momentum, double weight_decay, int64 nesterov)
{
    for (int64 i = blockIdx.x; i < count; i += gridDim.x) {
        const int64 *to = records + 5 * i, from = to[3];
        sgd_portion((real *)to[0] + from, (const real *)to[1] + from, to[2] ? (real *)to[2] + from : nullptr,
            {(real)lr, (real)momentum, (real)weight_decay, nesterov != 0}, of_block(to[4]));
    }
}

typedef struct {
    real b1, b2, c1, c2, shrink, decay, rate, correction, small;
} adam_rule;

__device__ inline adam_rule make_adam_rule(
    double lr, double beta1, double beta2, double eps, double weight_decay, int64 decoupled, int64 step)
{
    return {(real)beta1, (real)beta2, (real)(1 - beta1), (real)(1 - beta2), (real)(decoupled ? 1 - lr * weight_decay : 1),
        (real)(decoupled ? 0 : weight_decay), (real)(lr / (1 - pow(beta1, (double)step))), (real)(1 - pow(beta2, (double)step)),
        (real)eps};
}

__device__ inline void adam_step(real *w, real g, real *m, real *v, const adam_rule &r)
{
    real d = r.decay != 0 ? g + r.decay * *w : g;
    *m = r.b1 * *m + r.c1 * d;
    *v = r.b2 * *v + r.c2 * d * d;
    *w = *w * r.shrink - r.rate * *m / (sqrt(*v / r.correction) + r.small);
}

__device__ inline void adam_portion(real *w, const real *g, real *m, real *v, const adam_rule &r, portion p)
{
    int64 packs = is_whole(w, 0) && is_whole(g, 0) && is_whole(m, 0) && is_whole(v, 0) ? p.count / LANES : 0;
    for (int64 i = p.first; i < packs; i += p.step) {
        pack a = ((const pack *)w)[i], b = ((const pack *)g)[i], c = ((const pack *)m)[i], d = ((const pack *)v)[i];
#pragma unroll
        for (int k = 0; k < LANES; k++)
            adam_step(a.lane + k, b.lane[k], c.lane + k, d.lane + k, r);
        ((pack *)w)[i] = a;
        ((pack *)m)[i] = c;
        ((pack *)v)[i] = d;
    }
    for (int64 i = packs * LANES + p.first; i < p.count; i += p.step)
        adam_step(w + i, g[i], m + i, v + i, r);
}

KERNEL NAME(adam)(
    real *w, const real *g, real *m, real *v, double lr, double beta1, double beta2, double eps, double weight_decay,
    int64 decoupled, int64 step, int64 count)
{
    __shared__ adam_rule r;
    if (threadIdx.x == 0) /* powers take long */
        r = make_adam_rule(lr, beta1, beta2, eps, weight_decay, decoupled, step);
    __syncthreads();
    adam_portion(w, g, m, v, r, of_grid(count));
}

/* records (count, 6): addresses of w, g, m and v, from which number on, and how many. */
KERNEL NAME(adam_many)(
    const int64 *records, int64 count, double lr, double beta1, double beta2, double eps, double weight_decay, int64 decoupled,
    int64 step)
{
    __shared__ adam_rule r;
    if (threadIdx.x == 0)
        r = make_adam_rule(lr, beta1, beta2, eps, weight_decay, decoupled, step);
    __syncthreads();
    for (int64 i = blockIdx.x; i < count; i += gridDim.x) {
        const int64 *to = records + 6 * i, from = to[4];
        adam_portion((real *)to[0] + from, (const real *)to[1] + from, (real *)to[2] + from, (real *)to[3] + from, r,
            of_block(to[5]));
    }
}
