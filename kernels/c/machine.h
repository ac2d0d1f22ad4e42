/* What the kernels know of the machine: vector and tile sizes, threads. */
#ifndef MINICNN_MACHINE_H
#define MINICNN_MACHINE_H

#include <stdint.h>
#ifdef _OPENMP
#include <omp.h>
#endif

/* Bytes of a vector register, and the rows of a register tile: MR x 2 vectors of sums, 2 of B and a broadcast of A
 * must fit the register file (32 registers with AVX-512 and on arm64, else 16). */
#if defined(__AVX512F__) || defined(MINICNN_EMULATE_AMX)
#define VECTOR_BYTES 64
#define MR 14
#elif defined(__AVX2__)
#define VECTOR_BYTES 32
#define MR 6
#elif defined(__aarch64__)
#define VECTOR_BYTES 16
#define MR 12
#else
#define VECTOR_BYTES 16
#define MR 6
#endif

/* A cache line; scratch memory is divided in multiples of it, so that packed panels are aligned. */
#define LINE 64

#define INLINE static inline __attribute__((always_inline))
#define UNUSED __attribute__((unused))

static inline int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }
static inline int64_t larger(int64_t a, int64_t b) { return a > b ? a : b; }
static inline int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }
static inline int64_t round_up(int64_t a, int64_t b) { return ceil_div(a, b) * b; }

/* Threads for `work` elements or multiply-adds, when one thread should get at least `least` of them. Tests under a sanitizer
 * share out the smallest work too (MINICNN_EAGER_THREADS). */
static inline int team(int threads, int64_t work, int64_t least)
{
#ifdef MINICNN_EAGER_THREADS
    least = 1;
#endif
    return (int)larger(1, smaller(threads, work / least));
}

static inline int thread_index(void)
{
#ifdef _OPENMP
    return omp_get_thread_num();
#else
    return 0;
#endif
}

/* How many threads the team really has: the runtime may grant fewer than were asked for. */
static inline int thread_count(void)
{
#ifdef _OPENMP
    return omp_get_num_threads();
#else
    return 1;
#endif
}

/* Elements of an array that one thread should at least have, for kernels that stream through memory. */
#define STREAM 32768

#endif
