/* Steps of the optimisers: one pass over a parameter, in place. */
#ifndef real
#define SOURCE "optim.c"
#include "twice.h"
#else

void NAME(sgd)(
    real *w, const real *g, real *v, double lr, double momentum, double weight_decay, int nesterov, int64_t count, int threads)
{
    real rate = (real)lr, keep = (real)momentum, decay = (real)weight_decay;
    threads = team(threads, count, STREAM);
    if (!v) {
#pragma omp parallel for simd num_threads(threads) if (parallel : threads > 1) schedule(static)
        for (int64_t i = 0; i < count; i++)
            w[i] -= rate * (decay != 0 ? g[i] + decay * w[i] : g[i]);
        return;
    }
#pragma omp parallel for simd num_threads(threads) if (parallel : threads > 1) schedule(static)
    for (int64_t i = 0; i < count; i++) {
        real step = decay != 0 ? g[i] + decay * w[i] : g[i];
        v[i] = keep * v[i] + step;
        w[i] -= rate * (nesterov ? step + keep * v[i] : v[i]);
    }
}

void NAME(adam)(
    real *w, const real *g, real *m, real *v, double lr, double beta1, double beta2, double eps, double weight_decay,
    int decoupled, int64_t step, int64_t count, int threads)
{
    real shrink = (real)(decoupled ? 1 - lr * weight_decay : 1), decay = (real)(decoupled ? 0 : weight_decay);
    real b1 = (real)beta1, b2 = (real)beta2, c1 = (real)(1 - beta1), c2 = (real)(1 - beta2), small = (real)eps;
    real rate = (real)(lr / (1 - pow(beta1, (double)step))), correction = (real)(1 - pow(beta2, (double)step));
    threads = team(threads, count, STREAM);
#pragma omp parallel for simd num_threads(threads) if (parallel : threads > 1) schedule(static)
    for (int64_t i = 0; i < count; i++) {
        real d = decay != 0 ? g[i] + decay * w[i] : g[i];
        m[i] = b1 * m[i] + c1 * d;
        v[i] = b2 * v[i] + c2 * d * d;
        w[i] = w[i] * shrink - rate * m[i] / (MATH(sqrt)(v[i] / correction) + small);
    }
}

#endif
