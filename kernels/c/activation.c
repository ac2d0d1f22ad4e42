/* Element by element: ReLU, sigmoid, tanh and dropout. */
#ifndef real
#define SOURCE "activation.c"
#include "twice.h"
#else

#include "exponential.h"

int NAME(all_finite)(const real *x, int64_t count, int threads)
{
    int others = 0;
    threads = team(threads, count, STREAM);
#pragma omp parallel for simd num_threads(threads) if (parallel : threads > 1) reduction(| : others) schedule(static)
    for (int64_t i = 0; i < count; i++)
        others |= !(x[i] - x[i] == 0);
    return !others;
}

void NAME(relu)(const real *x, real *out, int64_t count, int threads)
{
    threads = team(threads, count, STREAM);
#pragma omp parallel for simd num_threads(threads) if (parallel : threads > 1) schedule(static)
    for (int64_t i = 0; i < count; i++)
        out[i] = x[i] < 0 ? 0 : x[i];
}

void NAME(relu_grad)(const real *dy, const real *y, real *out, int64_t count, int threads)
{
    threads = team(threads, count, STREAM);
    /* A product as in the reference, so that 0 times NaN is NaN. */
#pragma omp parallel for simd num_threads(threads) if (parallel : threads > 1) schedule(static)
    for (int64_t i = 0; i < count; i++)
        out[i] = dy[i] * (y[i] > 0 ? (real)1 : (real)0);
}

void NAME(sigmoid)(const real *x, real *out, int64_t count, int threads)
{
    threads = team(threads, count, STREAM);
#pragma omp parallel for simd num_threads(threads) if (parallel : threads > 1) schedule(static)
    for (int64_t i = 0; i < count; i++)
        out[i] = 1 / (1 + NAME(exponential)(-x[i]));
}

void NAME(tanh)(const real *x, real *out, int64_t count, int threads)
{
    threads = team(threads, count, STREAM);
#pragma omp parallel for simd num_threads(threads) if (parallel : threads > 1) schedule(static)
    for (int64_t i = 0; i < count; i++)
        out[i] = NAME(hyperbolic_tangent)(x[i]);
}

void NAME(sigmoid_grad)(const real *dy, const real *y, real *out, int64_t count, int threads)
{
    threads = team(threads, count, STREAM);
#pragma omp parallel for simd num_threads(threads) if (parallel : threads > 1) schedule(static)
    for (int64_t i = 0; i < count; i++)
        out[i] = dy[i] * y[i] * (1 - y[i]);
}

void NAME(tanh_grad)(const real *dy, const real *y, real *out, int64_t count, int threads)
{
    threads = team(threads, count, STREAM);
#pragma omp parallel for simd num_threads(threads) if (parallel : threads > 1) schedule(static)
    for (int64_t i = 0; i < count; i++)
        out[i] = dy[i] * (1 - y[i] * y[i]);
}

/* Blocks of four words that are computed side by side. */
#define BLOCKS 32

/* Words of the Philox 4x32-10 blocks first .. first + BLOCKS - 1, word w of block b at words[w][b].
 * Source: Salmon, Moraes, Dror and Shaw 2011, "Parallel random numbers: as easy as 1, 2, 3". */
static void NAME(philox)(uint32_t seed, uint32_t stream, uint64_t step, uint64_t first, uint32_t words[4][BLOCKS])
{
    uint32_t *a = words[0], *b = words[1], *c = words[2], *d = words[3];
    for (int i = 0; i < BLOCKS; i++) {
        a[i] = (uint32_t)(first + (uint64_t)i);
        b[i] = (uint32_t)((first + (uint64_t)i) >> 32);
        c[i] = (uint32_t)step;
        d[i] = (uint32_t)(step >> 32);
    }
    for (int round = 0; round < 10; round++) {
        for (int i = 0; i < BLOCKS; i++) {
            uint64_t left = (uint64_t)a[i] * 0xD2511F53u, right = (uint64_t)c[i] * 0xCD9E8D57u;
            a[i] = (uint32_t)(right >> 32) ^ b[i] ^ seed;
            b[i] = (uint32_t)right;
            c[i] = (uint32_t)(left >> 32) ^ d[i] ^ stream;
            d[i] = (uint32_t)left;
        }
        seed += 0x9E3779B9u;
        stream += 0xBB67AE85u;
    }
}

void NAME(dropout)(
    const real *x, double scale, uint64_t threshold, uint32_t seed, uint32_t stream, uint64_t step, real *out, int64_t count,
    int threads)
{
    threads = team(threads, count, STREAM / 4);
#pragma omp parallel for num_threads(threads) if (threads > 1) schedule(static)
    for (int64_t start = 0; start < count; start += 4 * BLOCKS) {
        uint32_t words[4][BLOCKS];
        real kept[4 * BLOCKS];
        NAME(philox)(seed, stream, step, (uint64_t)start / 4, words);
        for (int i = 0; i < BLOCKS; i++)
            for (int w = 0; w < 4; w++)
                kept[4 * i + w] = words[w][i] >= threshold ? (real)1 : (real)0;
        int64_t n = smaller(4 * BLOCKS, count - start);
        for (int64_t i = 0; i < n; i++)
            out[start + i] = x[start + i] * kept[i] * (real)scale;
    }
}

#endif
