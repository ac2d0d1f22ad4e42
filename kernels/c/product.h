/* A block of a matrix product on one thread, from packed A and abstract B to the destination. Included once per real type. */
#include "tile.h"

/* Columns whose sums are held in tiles until all of K has been added. With few rows the packing is most of the work: then,
 * if B's rows are contiguous, blocks of K are WIDE times shorter and those of columns wider: memory is read in long rows. */
#define NC (1024 / REAL_BYTES)
#define WIDE 8

INLINE int64_t NAME(widening)(int64_t M, int64_t step) { return M <= 2 * MR && step == 1 ? WIDE : 1; }

/* About half of a second-level cache of 1 MiB, in numbers: for a block of A; the tiles of a stripe of columns take the other. */
#define HALF (589824 / REAL_BYTES)

/* A length of at most `most`, so that M such rows fit into that half. */
INLINE int64_t NAME(fitting)(int64_t M, int64_t most) { return smaller(most, larger(2 * NR, HALF / larger(M, 1))); }

/* Columns of a stripe: those of B, one `step` apart, that M rows of A take at a time. */
UNUSED static int64_t NAME(stripe)(int64_t M, int64_t step)
{
    return NAME(fitting)(M, NC) / NR * NR * NAME(widening)(M, step);
}

typedef struct {
    const real *packed; /* A, by pack_a: panels of mr rows in blocks of kc */
    const pair *split;  /* the same by split_panels, if terms is not 0 */
    int mr, terms;
    int64_t M, K, kc;
    const real *b;
    rows_of ks;
    columns from;
    int slack; /* b may be read LANES - 1 numbers past any run */
    real *c;   /* row m of C starts at c + m*c_row */
    int64_t c_row;
    columns to;
    const real *row_bias, *column_bias; /* or NULL */
    int relu;
} NAME(product);

#define product NAME(product)

/* The length of the blocks that cut K most evenly, for panels of a matrix of M rows and columns of B one `step` apart. */
UNUSED static int64_t NAME(block_length)(int64_t M, int64_t K, int64_t step, int terms)
{
    int64_t most = NAME(fitting)(M, KC) / NAME(widening)(M, step);
    if (terms) /* whole steps; and the parts of two panels go where two panels of float32 went */
        return round_up(ceil_div(K, ceil_div(K, larger(STEP, terms == 1 ? most : most / 2))), STEP);
    return larger(1, ceil_div(K, larger(1, ceil_div(K, most))));
}

/* Room, in reals, for what split_panels makes of M rows over K. */
UNUSED static int64_t NAME(split_room)(int64_t M, int64_t K, int mr, int64_t kc, int terms)
{
    return terms ? ceil_div(M, mr) * ceil_div(K, kc) * NAME(split_slot)(terms, mr, kc) : 0;
}

/* Split the panel of rows m0 .. of the M rows of A that pack_a has packed. Blocks of kc follow each other, in each the panels. */
UNUSED static void NAME(split_panels)(
    const real *packed, int64_t m0, int mr, int64_t M, int64_t K, int64_t kc, int terms, pair *split)
{
    int64_t slot = NAME(split_slot)(terms, mr, kc), panels = ceil_div(M, mr);
    for (int64_t k0 = 0, block = 0; terms && k0 < K; k0 += kc, block++) {
        int64_t length = smaller(kc, K - k0);
        NAME(split_a)(terms, packed + k0 * M + m0 * length, (int)smaller(mr, M - m0), length,
                      split + (block * panels + m0 / mr) * slot);
    }
}

/* Numbers of scratch that one thread needs to multiply M rows over K. */
UNUSED static int64_t NAME(multiply_scratch)(int64_t M, int64_t K, int terms)
{
    int64_t rows = round_up(M, NAME(panel_rows)(M, terms)), few = 2 * TALL * NC * WIDE; /* for few rows, or few left over */
    int64_t split = terms ? parts_of(terms) * NAME(part_b)(KC) : 0;
    return KC * NR + LINE + split + (NAME(block_length)(M, K, 1, terms) < K ? larger(few, rows * NC) : 0);
}

/* How many of the M rows of A are packed at a time: whole panels, as even shares, of at most about 1024. */
UNUSED static int64_t NAME(rows_at_once)(int64_t M, int64_t K, int mr)
{
    int64_t most = larger(8 * mr, smaller(1024, (1 << 22) / larger(K, 1)));
    return round_up(ceil_div(larger(M, 1), ceil_div(larger(M, 1), most)), mr);
}

/* max(v, 0) that keeps a NaN. */
INLINE real NAME(positive)(real v) { return v < 0 ? 0 : v; }

/* d[j*step] = t[j] + bias, then ReLU if asked. */
INLINE void NAME(write_row)(const real *t, real *d, int64_t n, int64_t step, real bias, int relu)
{
    if (relu)
        for (int64_t j = 0; j < n; j++)
            d[j * step] = NAME(positive)(t[j] + bias);
    else
        for (int64_t j = 0; j < n; j++)
            d[j * step] = t[j] + bias;
}

/* Rows m0 .. m0 + mr - 1 of the destination take a tile: its first columns as the runs say. */
static void NAME(write_tile)(const product *p, real *tile, int64_t m0, int mr, int64_t first, const run *runs, int found)
{
    for (int f = 0; f < found; f++) {
        int64_t n = runs[f].length, step = p->to.step;
        real *t = tile + runs[f].at, *row = p->c + m0 * p->c_row + runs[f].offset;
        for (int i = 0; i < mr; i++, t += NR, row += p->c_row) {
            real bias = p->row_bias ? p->row_bias[m0 + i] : 0;
            for (int64_t j = 0; p->column_bias && j < n; j++)
                t[j] += p->column_bias[first + runs[f].at + j];
            if (step != 1)
                NAME(write_row)(t, row, n, step, bias, p->relu);
            else if (n == NR)
                NAME(write_row)(t, row, NR, 1, bias, p->relu);
            else
                NAME(write_row)(t, row, n, 1, bias, p->relu);
        }
    }
}

/* Fetch one of `parts` parts of a panel of B: rows k0 .. k0 + kc - 1 of NR columns from this offset on. */
INLINE void NAME(fetch_b)(const product *p, int64_t k0, int64_t kc, int64_t offset, int64_t part, int64_t parts)
{
    for (int64_t k = k0 + kc * part / parts; k < k0 + kc * (part + 1) / parts; k++) {
        const real *row = p->b + (p->ks.table ? p->ks.table[k] : k * p->ks.stride) + offset;
        __builtin_prefetch(row);
        __builtin_prefetch(row + LANES);
        __builtin_prefetch(row + NR - 1); /* of a row that begins within a line */
    }
}

/* Whether the microkernel may read a panel of B where it lies: with few panels of A the packing would cost more. */
INLINE int NAME(in_place)(const product *p, int64_t first, int64_t width, int64_t panels, run *place)
{
    return !p->terms && panels <= IN_PLACE && p->from.step == 1 && (width == NR || p->slack)
           && NAME(find_runs)(&p->from, first, width, place) == 1;
}

/* Columns j0 .. j1 - 1 of the panels panel0 .. panel1 - 1. scratch: multiply_scratch numbers, aligned to LINE. */
UNUSED static void NAME(multiply)(const product *p, int64_t panel0, int64_t panel1, int64_t j0, int64_t j1, real *scratch)
{
    real *packed_b = scratch, *split_b = packed_b + KC * NR + LINE;
    real *tiles = split_b + (p->terms ? parts_of(p->terms) * NAME(part_b)(KC) : 0);
    real one_tile[TALL * NR] __attribute__((aligned(LINE)));
    int64_t slot = NAME(split_slot)(p->terms, p->mr, p->kc), panels = ceil_div(p->M, p->mr);
    if (p->terms)
        dot_begin();
    int64_t nc = NAME(stripe)(p->M, p->from.step), blocks = larger(1, ceil_div(p->K, p->kc));
    for (int64_t j = j0; j < j1; j += nc) {
        int64_t count = smaller(nc, j1 - j);
        for (int64_t block = 0; block < blocks; block++) {
            int64_t k0 = block * p->kc, kc = smaller(p->kc, p->K - k0);
            real *tile = blocks == 1 ? one_tile : tiles;
            /* A panel of B stays in the first-level cache while all of A, from the second, passes by. */
            for (int64_t jr = 0; jr < count; jr += NR) {
                run runs[NR], next;
                int64_t width = smaller(NR, count - jr);
                int found = NAME(find_runs)(&p->to, j + jr, width, runs);
                run place[NR];
                int packed = !NAME(in_place)(p, j + jr, width, panel1 - panel0, place);
                if (packed)
                    NAME(pack_b)(p->b, p->ks, k0, kc, &p->from, j + jr, width, p->slack, packed_b);
                reach b = p->terms ? NAME(split_b)(p->terms, packed_b, kc, (pair *)split_b) : NOTHING;
                /* Which panel of B comes then: beside this one, or the first of the next block, or of the next stripe. */
                int beside = jr + NR < count, below = !beside && block + 1 < blocks;
                int64_t then = beside ? j + jr + NR : below ? j : j + nc, then_k = beside ? k0 : below ? k0 + p->kc : 0;
                int fetch = !p->slack && p->from.step == 1 && then < j1 && NAME(find_runs)(&p->from, then, 1, &next);
                for (int64_t panel = panel0; panel < panel1; panel++) {
                    int64_t m0 = panel * p->mr;
                    int mr = (int)smaller(p->mr, p->M - m0);
                    if (fetch)
                        NAME(fetch_b)(p, then_k, smaller(p->kc, p->K - then_k), next.offset, panel - panel0, panel1 - panel0);
                    const real *a = p->packed + k0 * p->M + m0 * kc;
                    if (packed)
                        NAME(panel_product)(p->terms, mr, kc, a, p->split + (block * panels + panel) * slot, packed_b,
                                            (pair *)split_b, b, tile, block > 0);
                    else
                        NAME(micro_in_place)(mr, kc, a, p->b + place->offset + (p->ks.table ? 0 : k0 * p->ks.stride),
                                             (rows_of){p->ks.table ? p->ks.table + k0 : NULL, p->ks.stride}, tile, block > 0);
                    if (block == blocks - 1)
                        NAME(write_tile)(p, tile, m0, mr, j + jr, runs, found);
                    if (blocks > 1)
                        tile += p->mr * NR;
                }
            }
        }
    }
    if (p->terms)
        dot_end();
}
