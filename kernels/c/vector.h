/* Vectors of the compiler, as wide as the instruction set's registers. Included once per real type. */

#define LANES (VECTOR_BYTES / REAL_BYTES)

typedef real NAME(vector) __attribute__((vector_size(VECTOR_BYTES)));
typedef real NAME(unaligned) __attribute__((vector_size(VECTOR_BYTES), aligned(REAL_BYTES), may_alias));
typedef integer NAME(choice) __attribute__((vector_size(VECTOR_BYTES)));

#define vector NAME(vector)
#define unaligned NAME(unaligned)
#define choice NAME(choice)

/* Of two vectors, one behind the other: the lower and the upper halves interleaved, and every second number. */
#undef LOWER
#undef UPPER
#undef EVEN
#undef ODD
#if VECTOR_BYTES / REAL_BYTES == 16
#define LOWER 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23
#define UPPER 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31
#define EVEN 0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30
#define ODD 1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31
#elif VECTOR_BYTES / REAL_BYTES == 8
#define LOWER 0, 8, 1, 9, 2, 10, 3, 11
#define UPPER 4, 12, 5, 13, 6, 14, 7, 15
#define EVEN 0, 2, 4, 6, 8, 10, 12, 14
#define ODD 1, 3, 5, 7, 9, 11, 13, 15
#elif VECTOR_BYTES / REAL_BYTES == 4
#define LOWER 0, 4, 1, 5
#define UPPER 2, 6, 3, 7
#define EVEN 0, 2, 4, 6
#define ODD 1, 3, 5, 7
#else
#define LOWER 0, 2
#define UPPER 1, 3
#define EVEN 0, 2
#define ODD 1, 3
#endif
#ifdef __clang__
#define SHUFFLE(a, b, which) __builtin_shufflevector(a, b, which)
#else
#define SHUFFLE(a, b, which) __builtin_shuffle(a, b, (choice){which})
#endif

/* In a loop that copies or clears a few numbers: gcc shall not make a call of memcpy or memset of it. */
#define FEW __asm__ volatile("")

/* Copy n numbers in pieces of a fixed size, if there are that many; the last begins early enough to end with them. */
INLINE int NAME(copy_pieces)(const int piece, const real *src, real *dst, int64_t n)
{
    if (n < piece || piece == 0)
        return 0;
    for (int64_t i = 0; i < n - piece; i += piece) {
        FEW;
        memcpy(dst + i, src + i, (size_t)piece * REAL_BYTES);
    }
    memcpy(dst + n - piece, src + n - piece, (size_t)piece * REAL_BYTES);
    return 1;
}

/* Copy n numbers. */
INLINE void NAME(copy_line)(const real *src, real *dst, int64_t n)
{
    (void)(NAME(copy_pieces)(LANES, src, dst, n) || NAME(copy_pieces)(LANES / 2, src, dst, n)
           || NAME(copy_pieces)(LANES / 4, src, dst, n) || NAME(copy_pieces)(LANES / 8, src, dst, n)
           || NAME(copy_pieces)(LANES / 16, src, dst, n));
}
