/* Element by element: ReLU, sigmoid, tanh and dropout. */
#include "real.cuh"

KERNEL NAME(relu)(const real *x, real *out, int64 count)
{
    SHARE(i, count)
        out[i] = x[i] < 0 ? 0 : x[i];
}

KERNEL NAME(relu_grad)(const real *dy, const real *y, real *out, int64 count)
{
    /* A product as in the reference, so that 0 times NaN is NaN. */
    SHARE(i, count)
        out[i] = dy[i] * (y[i] > 0 ? (real)1 : (real)0);
}

KERNEL NAME(sigmoid)(const real *x, real *out, int64 count)
{
    SHARE(i, count)
        out[i] = 1 / (1 + exp(-x[i]));
}

KERNEL NAME(tanh)(const real *x, real *out, int64 count)
{
    SHARE(i, count)
        out[i] = tanh(x[i]);
}

KERNEL NAME(sigmoid_grad)(const real *dy, const real *y, real *out, int64 count)
{
    SHARE(i, count)
        out[i] = dy[i] * y[i] * (1 - y[i]);
}

KERNEL NAME(tanh_grad)(const real *dy, const real *y, real *out, int64 count)
{
    SHARE(i, count)
        out[i] = dy[i] * (1 - y[i] * y[i]);
}

/* Word `word` of the Philox 4x32-10 block with this counter.
 * Source: Salmon, Moraes, Dror and Shaw 2011, "Parallel random numbers: as easy as 1, 2, 3". */
__device__ inline void philox(unsigned seed, unsigned stream, unsigned long long step, unsigned long long block, unsigned *words)
{
    unsigned a = (unsigned)block, b = (unsigned)(block >> 32), c = (unsigned)step, d = (unsigned)(step >> 32);
    for (int round = 0; round < 10; round++) {
        unsigned long long left = (unsigned long long)a * 0xD2511F53u, right = (unsigned long long)c * 0xCD9E8D57u;
        a = (unsigned)(right >> 32) ^ b ^ seed;
        b = (unsigned)right;
        c = (unsigned)(left >> 32) ^ d ^ stream;
        d = (unsigned)left;
        seed += 0x9E3779B9u;
        stream += 0xBB67AE85u;
    }
    words[0] = a, words[1] = b, words[2] = c, words[3] = d;
}

/* A thread takes the four numbers of a Philox block. */
KERNEL NAME(dropout)(
    const real *x, double scale, unsigned long long threshold, unsigned seed, unsigned stream, unsigned long long step, real *out,
    int64 count)
{
    SHARE(block, ceil_div(count, 4)) {
        unsigned words[4];
        philox(seed, stream, step, (unsigned long long)block, words);
        for (int64 i = 4 * block; i < smaller(count, 4 * block + 4); i++)
            out[i] = x[i] * (words[i % 4] >= threshold ? (real)1 : (real)0) * (real)scale;
    }
}
