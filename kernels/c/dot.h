/* The microkernel of split panels for AVX512-BF16: VDPBF16PS adds, in 16 lanes, the two products of two pairs to a float. */
#ifndef MINICNN_DOT_H
#define MINICNN_DOT_H

#include <immintrin.h>

/* Rows of a panel, as many as of float32's. */
#define TALL MR

INLINE void dot_begin(void) {}
INLINE void dot_end(void) {}

INLINE void dot_rows(
    const int mr, int terms, int64_t kc, const pair *a, int64_t part_a, const pair *b, int64_t part_b, float *tile, int add)
{
    __m512 sum[MR][2];
#pragma GCC unroll 16
    for (int i = 0; i < mr; i++)
        sum[i][0] = sum[i][1] = _mm512_setzero_ps();
    for (int term = 6 - terms; term < 6; term++) {
        const pair *from_a = a + term_parts[term][0] * part_a, *from_b = b + term_parts[term][1] * part_b;
        for (int64_t k = 0; k < kc; k += 2) {
            __m512bh b0 = (__m512bh)_mm512_load_si512(from_b), b1 = (__m512bh)_mm512_load_si512(from_b + 16);
#pragma GCC unroll 16
            for (int i = 0; i < mr; i++) {
                __m512bh row = (__m512bh)_mm512_set1_epi32((int)from_a[i * (STEP / 2)]);
                sum[i][0] = _mm512_dpbf16_ps(sum[i][0], row, b0);
                sum[i][1] = _mm512_dpbf16_ps(sum[i][1], row, b1);
            }
            from_b += 32;
            from_a++;
            if ((k + 2) % STEP == 0)
                from_a += (16 - 1) * (STEP / 2);
        }
    }
#pragma GCC unroll 16
    for (int i = 0; i < mr; i++)
        for (int j = 0; j < 2; j++) {
            float *t = tile + 32 * i + 16 * j;
            _mm512_store_ps(t, add ? _mm512_add_ps(_mm512_load_ps(t), sum[i][j]) : sum[i][j]);
        }
}

/* tile (mr x 32) = or += split panel of A times split panel of B; a part of them takes part_a and part_b pairs. */
static __attribute__((noinline)) void dot(
    int terms, int mr, int64_t kc, const pair *a, int64_t part_a, const pair *b, int64_t part_b, float *tile, int add)
{
#define ROWS(n) case n: dot_rows(n, terms, kc, a, part_a, b, part_b, tile, add); break
    switch (mr) {
        ROWS(1); ROWS(2); ROWS(3); ROWS(4); ROWS(5); ROWS(6); ROWS(7);
        ROWS(8); ROWS(9); ROWS(10); ROWS(11); ROWS(12); ROWS(13); ROWS(14);
    }
#undef ROWS
}

#endif
