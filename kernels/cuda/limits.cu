/* What the device can do at most, for the benchmark: the sums are of no use, but the compiler must not see that. */
#include "real.cuh"

#define CHAINS 16 /* independent of each other: their latency overlaps, and no register is spilt */

/* Unlike its twin's, every thread's sum is stored: out has a number for each. A round is 2 * CHAINS operations. */
KERNEL NAME(limit_fma)(int64 rounds, real *out)
{
    real s[CHAINS], one = 1 + (real)threadIdx.x, sum = 0;
    for (int i = 0; i < CHAINS; i++)
        s[i] = one + (real)i; /* alike, they would be computed once */
#pragma unroll 8
    for (int64 round = 0; round < rounds; round++) {
#pragma unroll
        for (int i = 0; i < CHAINS; i++)
            s[i] = s[i] * (real)0.5 + one;
    }
    for (int i = 0; i < CHAINS; i++)
        sum += s[i];
    out[(int64)blockIdx.x * blockDim.x + threadIdx.x] = sum;
}
