/* Float32 products from bfloat16 numbers, where the processor multiplies those faster. Included once per real type; only
 * float is ever split.
 *
 * A float is the sum of three bfloat16 numbers, its parts: x = hi + mid + lo, 8 bits each, the next always what
 * rounding left over. Of the nine products of parts that make up x*y, `terms` are computed, each exactly, and summed in
 * float32: 6 leave out what is below 2**-24 x*y, 3 (of two parts each) what is below 2**-16, 1 is the product of the
 * rounded numbers.
 *
 * The instructions take two neighbours along k at a time: a `pair` is one word, the even k in its lower half. A packed panel
 * of B is split into lines of NR pairs, one line for two k. A panel of A is split into blocks of STEP k; a block
 * holds the panel's rows, each a line of STEP/2 pairs; the rows are filled up to a multiple of 16. What lies past the last
 * k is 0. So an AMX tile is 16 lines of 64 bytes in both.
 *
 * Not every float has such parts, and the instructions take denormal numbers for 0. So the magnitudes in a panel are looked at,
 * and panels whose products might suffer are multiplied by `micro`, from the float32 panels, which stay beside the parts.
 */
#undef SPLIT
#if REAL_BYTES == 4 && (defined(__AVX512BF16__) || defined(MINICNN_EMULATE_AMX))
#define SPLIT 1
#else
#define SPLIT 0
#endif

#ifndef STEP
#define STEP 32
typedef uint32_t pair;

/* The exponents, biased by 127 and one bit more, of the smallest number but 0 and the largest; `low` may be one too small. */
typedef struct {
    int32_t low, high;
} reach;

/* Panels without a number have no products to suffer; as with only zeros, any other panel fits. */
#define NOTHING ((reach){511, 0})

/* Parts of a number, for so many terms. */
INLINE int parts_of(int terms) { return terms == 6 ? 3 : terms == 3 ? 2 : terms; }

/* Whether every product of the two panels may be computed from parts: none larger than 2**96, so that sums stay
 * finite, none smaller than 2**-96, so that what matters of the products of their parts is not denormal. */
INLINE int fit(reach a, reach b)
{
    return a.low + b.low >= 2 * 127 - 96 && a.high + b.high <= 2 * 127 + 96;
}
/* Which parts of A and B the last so many terms multiply, the small ones first: added to a large sum they would be rounded. */
UNUSED static const int8_t term_parts[6][2] = {{2, 0}, {1, 1}, {0, 2}, {1, 0}, {0, 1}, {0, 0}};

#endif

#if SPLIT
#if defined(__AMX_BF16__) || defined(MINICNN_EMULATE_AMX)
#include "amx.h"
#else
#include "dot.h"
#endif

typedef pair pairs_vector __attribute__((vector_size(VECTOR_BYTES), aligned(4), may_alias));
typedef float parts_vector __attribute__((vector_size(VECTOR_BYTES)));

_Static_assert(KC % (2 * STEP) == 0, "a block, and half of one, must be whole steps");

/* How many terms to compute of the M x K product that was asked for with so many: 0 if float32 is faster. Splitting B pays where
 * many rows share it. */
UNUSED static int NAME(terms_for)(int terms, int64_t M, int64_t K)
{
    return M >= (terms == 6 ? 32 : 16) && K >= 16 ? terms : 0;
}

/* Rows that a panel of A takes up. */
INLINE int64_t NAME(split_height)(int64_t mr) { return round_up(mr, 16); }

/* Pairs of one part of a panel of A and of B over kc. */
INLINE int64_t NAME(part_a)(int64_t mr, int64_t kc) { return round_up(kc, STEP) / 2 * NAME(split_height)(mr); }
INLINE int64_t NAME(part_b)(int64_t kc) { return round_up(kc, STEP) / 2 * NR; }

/* Room in pairs, and in reals, for a split panel of A; its reach stands in front. */
UNUSED static int64_t NAME(split_slot)(int terms, int64_t mr, int64_t kc)
{
    return terms ? LINE / 4 + parts_of(terms) * NAME(part_a)(mr, kc) : 0;
}

static reach NAME(reach_of)(const float *x, int64_t n)
{
    uint32_t low = UINT32_MAX, high = 0;
    for (int64_t i = 0; i < n; i++) {
        uint32_t bits;
        memcpy(&bits, x + i, 4);
        bits <<= 1;
        high = bits > high ? bits : high;
        low = bits - 1 < low ? bits - 1 : low; /* 0 becomes the largest of all */
    }
    reach r = {(int32_t)(low >> 24), (int32_t)(high >> 24)};
    if (r.low < 127 - 102 || r.high > 253) /* lo would be denormal; hi might be infinite */
        r.low = -1000;
    else if (!high)
        r = NOTHING;
    return r;
}

/* The nearest bfloat16 number, ties to even, of a float that is finite: in the upper half of its word. */
INLINE pairs_vector NAME(rounded)(pairs_vector x) { return (x + 0x7fff + (x >> 16 & 1)) & 0xffff0000; }

/* The parts of two vectors of neighbours along k, `step` pairs apart. */
INLINE void NAME(split_vectors)(pairs_vector even, pairs_vector odd, const int parts, pair *to, int64_t step)
{
#pragma GCC unroll 3
    for (int part = 0; part < parts; part++) {
        pairs_vector e = NAME(rounded)(even), o = NAME(rounded)(odd);
        *(pairs_vector *)(to + part * step) = e >> 16 | o;
        even = (pairs_vector)((parts_vector)even - (parts_vector)e);
        odd = (pairs_vector)((parts_vector)odd - (parts_vector)o);
    }
}

INLINE void NAME(split_lines)(const float *b, int64_t kc, const int parts, pair *to)
{
    const pairs_vector zero = {0};
    int64_t step = NAME(part_b)(kc);
    for (int64_t k = 0; k < round_up(kc, STEP); k += 2, b += 2 * NR, to += NR)
        for (int64_t j = 0; j < NR; j += LANES)
            NAME(split_vectors)(k < kc ? *(const pairs_vector *)(b + j) : zero,
                                k + 1 < kc ? *(const pairs_vector *)(b + NR + j) : zero, parts, to + j, step);
}

/* Split a packed panel of B. */
static reach NAME(split_b)(int terms, const float *b, int64_t kc, pair *to)
{
    if (terms == 1)
        NAME(split_lines)(b, kc, 1, to);
    else if (terms == 3)
        NAME(split_lines)(b, kc, 2, to);
    else
        NAME(split_lines)(b, kc, 3, to);
    return NAME(reach_of)(b, kc * NR);
}

/* Split a packed panel of A into its slot. */
static void NAME(split_a)(int terms, const float *a, int mr, int64_t kc, pair *slot)
{
    int64_t step = NAME(part_a)(mr, kc), height = NAME(split_height)(mr);
    reach r = NAME(reach_of)(a, mr * kc);
    memcpy(slot, &r, sizeof(r));
    slot += LINE / 4;
    for (int64_t k0 = 0; k0 < kc; k0 += STEP)
        for (int64_t i0 = 0; i0 < height; i0 += LANES) {
            /* Columns of pairs first, then turned into the rows' lines. */
            pair columns[3][STEP / 2][LANES] __attribute__((aligned(LINE)));
            int64_t rows = smaller(LANES, mr - i0);
            for (int64_t k = k0; k < k0 + STEP; k += 2) {
                float numbers[2][LANES] __attribute__((aligned(LINE)));
                for (int64_t i = 0; i < LANES; i++) {
                    numbers[0][i] = k < kc && i < rows ? a[k * mr + i0 + i] : 0;
                    numbers[1][i] = k + 1 < kc && i < rows ? a[(k + 1) * mr + i0 + i] : 0;
                }
                NAME(split_vectors)(*(pairs_vector *)numbers[0], *(pairs_vector *)numbers[1], parts_of(terms),
                                    columns[0][(k - k0) / 2], STEP / 2 * LANES);
            }
            for (int part = 0; part < parts_of(terms); part++)
                NAME(transpose)((const real *)columns[part], LANES, LANES,
                                (real *)(slot + part * step + k0 / 2 * height + i0 * (STEP / 2)), STEP / 2);
        }
}
#else
/* The same for numbers that are never split. */
INLINE int NAME(terms_for)(UNUSED int terms, UNUSED int64_t M, UNUSED int64_t K) { return 0; }
UNUSED static int64_t NAME(split_slot)(UNUSED int terms, UNUSED int64_t mr, UNUSED int64_t kc) { return 0; }
INLINE int64_t NAME(part_b)(UNUSED int64_t kc) { return 0; }
INLINE void NAME(split_a)(UNUSED int terms, UNUSED const real *a, UNUSED int mr, UNUSED int64_t kc, UNUSED pair *slot) {}
INLINE reach NAME(split_b)(UNUSED int terms, UNUSED const real *b, UNUSED int64_t kc, UNUSED pair *to) { return NOTHING; }
#endif

#ifndef TALL
#define TALL MR
INLINE void dot_begin(void) {}
INLINE void dot_end(void) {}
#endif
