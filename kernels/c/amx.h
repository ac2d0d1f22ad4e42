/* The microkernel of split panels for AMX: TDPBF16PS multiplies two tiles, of 16 rows of 16 pairs each, and adds the 16 x 16
 * sums to a third. With MINICNN_EMULATE_AMX the same source computes with tiles in plain C, for tests.
 *
 * Written without a machine that has AMX: its numbers are tested by emulation, its speed is only counted. Over 32 k, two
 * tiles of rows and a term take 4 products, of 16 cycles each, and 4 loads, of 8, beside them: 1,024 operations a cycle to the
 * 64 of float32 multiply-adds, so 171 with 6 terms, 341 with 3, before packing and splitting. */
#ifndef MINICNN_AMX_H
#define MINICNN_AMX_H

#ifdef MINICNN_EMULATE_AMX
#include "amx_emulation.h"
#else
#include <immintrin.h>
#endif

/* Rows of a panel: two tiles. With the two of B four sums, so that a load serves two products. */
#define TALL 32

/* What gcc's tile intrinsics do not tell it: that they read memory. */
#define SETTLE __asm__ volatile("" ::: "memory")

/* All eight tiles have 16 rows of 64 bytes, always: panels are filled up. Each thread configures its own, and releases them, so
 * that the system need not keep 8 KiB more for every thread that once multiplied. */
INLINE void dot_begin(void)
{
    static const struct {
        uint8_t palette, start_row, reserved[14];
        uint16_t bytes[16];
        uint8_t rows[16];
    } tiles = {1, 0, {0}, {64, 64, 64, 64, 64, 64, 64, 64}, {16, 16, 16, 16, 16, 16, 16, 16}};
    SETTLE;
    _tile_loadconfig(&tiles);
}

INLINE void dot_end(void) { _tile_release(); }

/* tile (mr x 32, filled up to 16 or 32 rows) = split panel of A times split panel of B; a part of them takes part_a and part_b
 * pairs. Sums are tiles 0 to 3, A is 4 and 5, B is 6 and 7. */
static __attribute__((noinline)) void dot_tiles(
    int terms, int64_t kc, const pair *a, int64_t part_a, const pair *b, int64_t part_b, float *tile, const int two)
{
    const int64_t line = STEP / 2 * sizeof(pair), row = 32 * sizeof(float), steps = ceil_div(kc, STEP);
    SETTLE;
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
    for (int term = 6 - terms; term < 6; term++) {
        const pair *from_a = a + term_parts[term][0] * part_a, *from_b = b + term_parts[term][1] * part_b;
        for (int64_t step = 0; step < steps; step++) {
            _tile_loadd(4, from_a, line);
            _tile_loadd(6, from_b, row);
            _tile_loadd(7, from_b + 16, row);
            _tile_dpbf16ps(0, 4, 6);
            _tile_dpbf16ps(1, 4, 7);
            if (two) {
                _tile_loadd(5, from_a + 16 * (STEP / 2), line);
                _tile_dpbf16ps(2, 5, 6);
                _tile_dpbf16ps(3, 5, 7);
            }
            from_a += (two ? 32 : 16) * (STEP / 2);
            from_b += STEP / 2 * 32;
        }
    }
    _tile_stored(0, tile, row);
    _tile_stored(1, tile + 16, row);
    if (two) {
        _tile_stored(2, tile + 16 * 32, row);
        _tile_stored(3, tile + 16 * 32 + 16, row);
    }
    SETTLE;
}

/* The same, or += it. The processor would take a tiny sum so far for 0: it is added here. */
static void dot(
    int terms, int mr, int64_t kc, const pair *a, int64_t part_a, const pair *b, int64_t part_b, float *tile, int add)
{
    const int rows = mr > 16 ? 32 : 16;
    float more[32 * 32] __attribute__((aligned(LINE)));
    dot_tiles(terms, kc, a, part_a, b, part_b, add ? more : tile, rows == 32);
    for (int i = 0; add && i < rows * 32; i++)
        tile[i] += more[i];
}

#endif
