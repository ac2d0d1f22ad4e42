/* What the machine can do at most, for the benchmark: the sums are of no use, but the compiler must not see that. */
#ifndef real
#define SOURCE "limits.c"
#include "twice.h"

/* Elements that one thread reads or writes: a part of n. */
static int64_t share(int64_t n, int index, int count) { return n / count * index + smaller(n % count, index); }

void limit_copy(const float *x, float *out, int64_t n, int threads)
{
#pragma omp parallel num_threads(threads) if (threads > 1)
    {
        int64_t first = share(n, thread_index(), thread_count()), end = share(n, thread_index() + 1, thread_count());
        memcpy(out + first, x + first, (size_t)(end - first) * sizeof *x);
    }
}

void limit_read(const float *x, int64_t n, float *out, int threads)
{
    float sum = 0;
#pragma omp parallel for simd num_threads(threads) if (threads > 1) reduction(+ : sum) schedule(static)
    for (int64_t i = 0; i < n; i++)
        sum += x[i];
    *out = sum;
}

#else

/* As many independent chains as a microkernel has sums: their latency overlaps, and no register is spilt. */
#define CHAINS (2 * MR)
typedef real NAME(limit_vector) __attribute__((vector_size(VECTOR_BYTES)));

int64_t NAME(limit_flops_fma)(void) { return 2 * CHAINS * (VECTOR_BYTES / REAL_BYTES); }

void NAME(limit_fma)(int64_t rounds, double *out, int threads)
{
    double sum = 0;
#pragma omp parallel num_threads(threads) if (threads > 1) reduction(+ : sum)
    {
        NAME(limit_vector) s[CHAINS], half, one;
        for (int i = 0; i < VECTOR_BYTES / REAL_BYTES; i++)
            half[i] = (real)0.5, one[i] = 1 + i;
#pragma GCC unroll 32
        for (int i = 0; i < CHAINS; i++)
            s[i] = one + (real)i; /* alike, they would be computed once */
        for (int64_t round = 0; round < rounds; round++) {
#pragma GCC unroll 32
            for (int i = 0; i < CHAINS; i++)
                s[i] = s[i] * half + one;
        }
#pragma GCC unroll 32
        for (int i = 0; i < CHAINS; i++)
            sum += s[i][0] + s[i][VECTOR_BYTES / REAL_BYTES - 1];
    }
    *out = sum;
}

#endif
