/* The heart of every matrix product: packing, the microkernel and the write-back. Included once per real type.
 *
 * A product C (M x N) = A (M x K) B (K x N) is cut into panels: A into `mr` rows, B into NR columns, K into blocks of KC. A
 * packed panel of A holds for each k its mr numbers, a packed panel of B its NR numbers, one k after the other, so that the
 * microkernel reads both straight through. Operands are abstract until they are packed: a row k of B starts at a
 * tabled or strided offset, and its columns are runs of neighbours in memory. A matrix has one run; in the im2col view of
 * an image a run is what lies side by side in one row of pixels. So a convolution needs no column matrix.
 */

#include "vector.h"

#define NR (2 * LANES)
#define KC 192

#define run NAME(run)
#define columns NAME(columns)
#define rows_of NAME(rows_of)

/* `length` columns of a panel, from column `at` on, that lie one `step` apart from `offset`. */
typedef struct {
    int64_t at, length, offset;
} run;

/* Column j = (n*rows + i)*width + q of an operand lies at n*image + i*row + q*step; those with q >= valid are left out. */
typedef struct {
    int64_t rows, width, image, row, step, valid;
} columns;

/* Row k of an operand starts at table[k], or without a table at k*stride. */
typedef struct {
    const int64_t *table;
    int64_t stride;
} rows_of;

/* Columns whose rows of pixels follow each other without a gap are longer runs. */
UNUSED static columns NAME(merged)(columns c)
{
    if (c.row == c.width * c.step && c.valid == c.width) {
        c.width *= c.rows;
        c.row = c.width * c.step;
        c.rows = 1;
        if (c.image == c.row)
            c.width = INT64_MAX / 4;
        c.valid = c.width;
    }
    return c;
}

/* The runs of columns first .. first + count - 1; at most NR of them. */
static int NAME(find_runs)(const columns *c, int64_t first, int64_t count, run *runs)
{
    int found = 0;
    int64_t line = first / c->width, q = first % c->width;
    int64_t n = line / c->rows, i = line % c->rows;
    for (int64_t at = 0; at < count;) {
        int64_t length = smaller(c->width - q, count - at), good = smaller(length, c->valid - q);
        if (good > 0)
            runs[found++] = (run){at, good, n * c->image + i * c->row + q * c->step};
        at += length;
        q = 0;
        if (++i == c->rows)
            i = 0, n++;
    }
    return found;
}

/* dst[k*step + i] = row i at k, for LANES numbers k and i; rows from n on are read as row 0. Writes whole vectors. Every
 * round of interleaving turns one bit of the place in a vector into a bit of the vector's number. */
INLINE void NAME(transpose)(const real *rows, int64_t stride, int n, real *dst, int64_t step)
{
    vector a[LANES], b[LANES];
#pragma GCC unroll 16
    for (int i = 0; i < LANES; i++)
        a[i] = *(const unaligned *)(rows + (i < n ? i * stride : 0));
#pragma GCC unroll 4
    for (int width = 1; width < LANES; width *= 2) {
#pragma GCC unroll 8
        for (int i = 0; i < LANES / 2; i++) {
            b[2 * i] = SHUFFLE(a[i], a[i + LANES / 2], LOWER);
            b[2 * i + 1] = SHUFFLE(a[i], a[i + LANES / 2], UPPER);
        }
#pragma GCC unroll 16
        for (int i = 0; i < LANES; i++)
            a[i] = b[i];
    }
#pragma GCC unroll 16
    for (int i = 0; i < LANES; i++)
        *(unaligned *)(dst + i * step) = a[i];
}

/* dst[k*step + i] = src[i*stride + k] for n rows i and K columns k. What lies between n and step in a line is overwritten,
 * and up to `room` numbers after dst may be: so the lines go up and, within them, the vectors down.
 * What lies `ahead` of src, if not 0, will be needed soon. */
static void NAME(turn)(
    const real *src, int64_t stride, int64_t n, int64_t K, real *dst, int64_t step, int64_t room, int64_t ahead)
{
    int64_t last = (n - 1) / LANES * LANES, k = 0;
    for (; k + LANES <= K && (k + LANES - 1) * step + last + LANES <= room; k += LANES)
        for (int64_t i = last; i >= 0; i -= LANES) {
            if (ahead)
                for (int64_t j = i; j < smaller(n, i + LANES); j++)
                    __builtin_prefetch(src + j * stride + k + ahead, 0, 2);
            NAME(transpose)(src + i * stride + k, stride, (int)smaller(LANES, n - i), dst + k * step + i, step);
        }
    for (; k + LANES <= K && n <= LANES; k += LANES) { /* where vectors would end behind the last line */
        real lines[LANES * LANES] __attribute__((aligned(LINE)));
        NAME(transpose)(src + k, stride, (int)n, lines, LANES);
        for (int i = 0; i < LANES; i++)
            NAME(copy_line)(lines + i * LANES, dst + (k + i) * step, n);
    }
    for (; k < K; k++)
        for (int64_t i = 0; i < n; i++)
            dst[k * step + i] = src[i * stride + k];
}

/* `turn` where nothing may be written behind the K lines: the last vectors begin early enough to end with them. (Where n is no
 * multiple of LANES and the lines touch, the last are turned number by number.) */
UNUSED static void NAME(turn_line)(const real *src, int64_t stride, int64_t n, int64_t K, real *dst, int64_t step)
{
    int64_t whole = K / LANES * LANES, early = K - LANES;
    NAME(turn)(src, stride, n, whole, dst, step, whole * step, 0);
    if (whole && whole < K)
        NAME(turn)(src + early, stride, n, LANES, dst + early * step, step, LANES * step, 0);
    else if (!whole)
        NAME(turn)(src, stride, n, K, dst, step, K * step, 0);
}

/* Numbers between those that are packed and those that are fetched from memory. */
#define SOON 128

/* Pack rows m0 .. m0 + mr - 1 of the M rows of A, whose number (m, k) lies at a[m*stride + offset of k]. The blocks of
 * kc numbers k follow each other, in each the panels: dst[k0*M + m0*(length of the block) + k*mr + i]. */
UNUSED static void NAME(pack_a)(
    const real *a, int64_t stride, rows_of ks, int64_t m0, int mr, int64_t M, int64_t K, int64_t kc, real *restrict dst)
{
    a += m0 * stride;
    for (int64_t k0 = 0; k0 < K; k0 += kc) {
        int64_t length = smaller(kc, K - k0);
        real *panel = dst + k0 * M + m0 * length;
        if (!ks.table && ks.stride == 1) {
            NAME(turn)(a + k0, stride, mr, length, panel, mr, length * mr, SOON);
            continue;
        }
        for (int64_t k = 0; k < length; k++)
            for (int i = 0; i < mr; i++)
                panel[k * mr + i] = a[i * stride + (ks.table ? ks.table[k0 + k] : (k0 + k) * ks.stride)];
    }
}

/* Copy n numbers. With slack, whole vectors: up to LANES - 1 numbers more are read and written. */
INLINE void NAME(copy_run)(const real *src, real *dst, int64_t n, int slack)
{
    int64_t i = 0;
    for (; i + LANES <= n; i += LANES)
        *(unaligned *)(dst + i) = *(const unaligned *)(src + i);
    if (i < n) {
        if (slack)
            *(unaligned *)(dst + i) = *(const unaligned *)(src + i);
        else
            for (; i < n; i++)
                dst[i] = src[i];
    }
}

/* Pack rows k0 .. k0 + kc - 1 of a panel of B with unit column step; columns from count on become 0. With slack, b may be
 * read and dst written LANES - 1 numbers further. */
INLINE void NAME(pack_b_runs)(
    const real *b, rows_of ks, int64_t k0, int64_t kc, const run *runs, int found, int64_t count, real *dst, const int slack)
{
    for (int64_t k = k0; k < k0 + kc; k++, dst += NR) {
        const real *row = b + (ks.table ? ks.table[k] : k * ks.stride);
        if (found == 1 && count == NR) {
            const unaligned *from = (const unaligned *)(row + runs->offset);
            ((vector *)dst)[0] = from[0];
            ((vector *)dst)[1] = from[1];
            continue;
        }
        for (int f = 0; f < found; f++)
            NAME(copy_run)(row + runs[f].offset, dst + runs[f].at, runs[f].length, slack);
        for (int64_t j = count; j < NR; j++)
            dst[j] = 0;
    }
}

/* As above for one run with any column step; a transposed matrix is contiguous along k. */
static void NAME(pack_b_strided)(
    const real *b, rows_of ks, int64_t k0, int64_t kc, const run *runs, int64_t step, int64_t count, real *dst)
{
    b += runs->offset + k0 * ks.stride;
    if (ks.stride == 1)
        NAME(turn)(b, step, (int)count, kc, dst, NR, kc * NR, NR * step);
    else
        for (int64_t k = 0; k < kc; k++)
            for (int64_t j = 0; j < count; j++)
                dst[k * NR + j] = b[k * ks.stride + j * step];
    for (int64_t k = 0; k < kc && count < NR; k++)
        for (int64_t j = count; j < NR; j++)
            dst[k * NR + j] = 0;
}

static void NAME(pack_b)(
    const real *b, rows_of ks, int64_t k0, int64_t kc, const columns *c, int64_t first, int64_t count, int slack, real *dst)
{
    run runs[NR];
    int found = NAME(find_runs)(c, first, count, runs);
    if (c->step != 1)
        NAME(pack_b_strided)(b, ks, k0, kc, runs, c->step, count, dst);
    else if (slack)
        NAME(pack_b_runs)(b, ks, k0, kc, runs, found, count, dst, 1);
    else
        NAME(pack_b_runs)(b, ks, k0, kc, runs, found, count, dst, 0);
}

/* tile (mr x NR) = or += panel of A times panel of B, over kc. The rows of B's panel follow each other (packed) or begin
 * where `ks` says, counted from b. tile and a packed b are aligned to LINE. */
INLINE void NAME(micro_rows)(
    const int mr, int64_t kc, const real *a, const real *b, rows_of ks, const int packed, real *tile, int add)
{
    vector sum[MR][2];
    vector *t = (vector *)tile;
#pragma GCC unroll 16
    for (int i = 0; i < mr; i++)
        sum[i][0] = sum[i][1] = (vector){0};
    if (packed && add) /* the tile, too, comes from the second-level cache, or from further away */
#pragma GCC unroll 16
        for (int i = 0; i < mr; i++) {
            __builtin_prefetch(t + 2 * i, 1);
            __builtin_prefetch(t + 2 * i + 1, 1);
        }
    for (int64_t k = 0; k < kc; k++) {
        const unaligned *row = (const unaligned *)(b + (packed ? k * NR : ks.table ? ks.table[k] : k * ks.stride));
        vector b0 = row[0], b1 = row[1];
        __builtin_prefetch(a + 24 * mr); /* A comes from the second-level cache */
#pragma GCC unroll 16
        for (int i = 0; i < mr; i++) {
            sum[i][0] += a[i] * b0;
            sum[i][1] += a[i] * b1;
        }
        a += mr;
    }
    /* A block's sum is made apart and then added: rounding grows with the length of a chain of sums. */
#pragma GCC unroll 16
    for (int i = 0; i < mr; i++) {
        t[2 * i] = add ? t[2 * i] + sum[i][0] : sum[i][0];
        t[2 * i + 1] = add ? t[2 * i + 1] + sum[i][1] : sum[i][1];
    }
}

/* A panel may have any height up to MR: each has its own code, so that the sums stay in registers. */
#define ROWS(n) case n: NAME(micro_rows)(n, kc, a, b, ks, PACKED, tile, add); break
#define TO_6 ROWS(1); ROWS(2); ROWS(3); ROWS(4); ROWS(5); ROWS(6)
#define TO_12 TO_6; ROWS(7); ROWS(8); ROWS(9); ROWS(10); ROWS(11); ROWS(12)
#if MR > 12
#define HEIGHTS TO_12; ROWS(13); ROWS(14)
#elif MR > 6
#define HEIGHTS TO_12
#else
#define HEIGHTS TO_6
#endif
static __attribute__((noinline)) void NAME(micro)(int mr, int64_t kc, const real *a, const real *b, real *tile, int add)
{
    const rows_of ks = {NULL, NR};
#define PACKED 1
    switch (mr) {
        HEIGHTS;
    }
#undef PACKED
}

/* As many panels of A read a panel of B in place: packing it would cost more. */
#define IN_PLACE 5

/* The same for a panel of B that was not packed. */
UNUSED static __attribute__((noinline)) void NAME(micro_in_place)(
    int mr, int64_t kc, const real *a, const real *b, rows_of ks, real *tile, int add)
{
#define PACKED 0
    switch (mr) {
        HEIGHTS;
    }
#undef PACKED
}
#undef ROWS
#undef TO_6
#undef TO_12
#undef HEIGHTS

#include "split.h"

/* The height of the panels that cut M rows most evenly. */
UNUSED static int NAME(panel_rows)(int64_t M, int terms)
{
    int64_t most = terms ? TALL : MR, rows = ceil_div(larger(M, 1), ceil_div(larger(M, 1), most));
    return (int)(terms && TALL > MR ? round_up(rows, 16) : rows);
}

/* tile (mr x NR) = or += panel of A times panel of B, from their parts where there are any and both panels fit: `slot` is
 * what split_a made of a, and `split` and `reach_b` what split_b made of b. */
UNUSED static void NAME(panel_product)(
    UNUSED int terms, int mr, int64_t kc, const real *a, UNUSED const pair *slot, const real *b, UNUSED const pair *split,
    UNUSED reach reach_b, real *tile, int add)
{
#if SPLIT
    reach reach_a;
    if (terms)
        memcpy(&reach_a, slot, sizeof(reach));
    if (terms && fit(reach_a, reach_b)) {
        dot(terms, mr, kc, slot + LINE / 4, NAME(part_a)(mr, kc), split, NAME(part_b)(kc), tile, add);
        return;
    }
#endif
    if (TALL == MR || mr <= MR) {
        NAME(micro)(mr, kc, a, b, tile, add);
        return;
    }
    real rows[MR * KC]; /* a panel of split numbers may be too tall for micro */
    for (int first = 0; first < mr; first += MR) {
        int n = (int)smaller(MR, mr - first);
        for (int64_t k = 0; k < kc; k++)
            for (int i = 0; i < n; i++)
                rows[k * n + i] = a[k * mr + first + i];
        NAME(micro)(n, kc, rows, b, tile + first * NR, add);
    }
}
