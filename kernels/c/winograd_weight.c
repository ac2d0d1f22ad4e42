/* The weight gradient of a 3x3 convolution by minimal filtering. The naive version is Reference.conv2d_weight_grad;
 * winograd.h says what the algorithm is.
 *
 * For each of the 16 or 36 taps the transformed dy (filters x tiles) times the transformed x (tiles x channels) is contracted
 * over the tiles of all images; only the sums are transformed back. Here the numbers of a vector are neighbouring channels.
 * Blocks of tile rows are transformed by all threads together, then each job adds them to its part of the sums: no number
 * is the sum of what several threads have found, so the bits do not depend on their number.
 */
#ifndef real
#define SOURCE "winograd_weight.c"
#include "twice.h"
#else

#include "winograd.h"

/* Filters lie in panels of mr, channels in panels of NR; a job is block_m panels of filters by one of channels. */
typedef struct {
    int64_t across, rows, rows_block, tiles; /* tiles per row; rows in all images, in a block; tiles of a block */
    int tile, mr, taps;
    int64_t panels_m, panels_c, block_m, jobs;
    int64_t tap_x, tap_dy, tap_sum; /* strides */
    int64_t lines, sums, all_sums;
} NAME(cut);

#define cut NAME(cut)

static cut NAME(make_cut)(int tile, const conv2d_geometry *g, int threads)
{
    cut c = {.across = ceil_div(g->Q, tile), .tile = tile, .mr = NAME(panel_rows)(g->K, 0), .taps = (tile + 2) * (tile + 2)};
    c.rows = g->N * ceil_div(g->P, tile);
    c.panels_m = ceil_div(g->K, c.mr);
    c.panels_c = ceil_div(g->C, NR);
    /* The sums of all taps pass through the cache once for each block of tiles: few blocks where they are large. */
    int64_t width = c.panels_m * c.mr + c.panels_c * NR, most = larger(BLOCK_BOTH / REAL_BYTES, 2 * c.taps * g->K * g->C);
    c.rows_block = larger(1, smaller(c.rows, most / (c.taps * width * larger(1, c.across))));
    c.rows_block = larger(1, ceil_div(c.rows, larger(1, ceil_div(c.rows, c.rows_block))));
    c.tiles = c.rows_block * c.across;
    c.block_m = 1;
    for (int64_t block = 1, best = INT64_MAX; block <= smaller(c.panels_m, 6); block++) {
        int64_t cost = ceil_div(ceil_div(c.panels_m, block) * c.panels_c, threads) * (4 * block + 1);
        if (cost <= best) {
            best = cost;
            c.block_m = block;
        }
    }
    c.jobs = ceil_div(c.panels_m, c.block_m) * c.panels_c;
    c.tap_x = c.panels_c * NR * c.tiles + APART;
    c.tap_dy = round_up(c.panels_m * c.mr * c.tiles + LANES, LINE) + APART;
    c.tap_sum = c.block_m * c.mr * NR + APART;
    c.lines = (tile + 2) * (tile * c.across + 2) * larger(NR, WIDE_MR) + LINE;
    c.sums = c.taps * c.tap_sum;
    c.all_sums = c.sums * (c.rows_block < c.rows ? c.jobs : threads);
    return c;
}

static int64_t NAME(cut_scratch)(const cut *c, int threads)
{
    return c->taps * (c->tap_x + c->tap_dy) + threads * round_up(c->lines, LINE) + c->all_sums;
}

/* Transform one row of tiles in n channels of an image (channels, H, W): of x (`is_x`) all pixels that the tile's outputs see,
 * of dy the outputs. `unusual`: not all pixels are inner ones of a tile. The first lies at (top, -left), and what is outside of
 * the image is 0. dst[tap][tile][n]. Returns whether they are tame. */
INLINE int NAME(transform_row)(
    const int tile, const int is_x, const real *image, int64_t H, int64_t W, int64_t top, int64_t left, int64_t across, int64_t n,
    int unusual, real *lines, real *dst, int64_t tap)
{
    const int wide = tile + 2, size = is_x ? wide : tile;
    const int64_t step = is_x ? NR : WIDE_MR, width = tile * across + size - tile;
    const real nothing[NR > WIDE_MR ? NR : WIDE_MR] __attribute__((aligned(LINE))) = {0};
    vector squares[(NR > WIDE_MR ? NR : WIDE_MR) / LANES] = {{0}};
    const real *rows[6];
    int64_t steps[6];
    magnitudes pixels = {{0}, {0}, {0}};
    choice lane = {0}; /* behind the last channel there may be anything */
    for (int i = 0; i < LANES; i++)
        lane[i] = i;
    for (int i = 0; i < size; i++) {
        int64_t h = top + i;
        real *row = lines + i * width * step;
        rows[i] = h >= 0 && h < H ? row : nothing;
        steps[i] = h >= 0 && h < H ? step : 0;
        if (steps[i]) {
            memset(row, 0, (size_t)(left * step * REAL_BYTES));
            NAME(turn_line)(image + h * W, H * W, n, W, row + left * step, step);
            memset(row + (left + W) * step, 0, (size_t)((width - left - W) * step * REAL_BYTES));
        }
    }
    for (int64_t t = 0; t < across; t++, dst += is_x ? NR : n) {
        for (int64_t c = 0; c < n; c += LANES) {
            vector half[6][6], from[6], to[6], sum = squares[c / LANES];
#pragma GCC unroll 6
            for (int i = 0; i < size; i++) {
#pragma GCC unroll 6
                for (int j = 0; j < size; j++)
                    from[j] = *(const vector *)(rows[i] + j * steps[i] + c);
                if (wide == 4)
                    for (int j = 0; j < size; j++)
                        if (!is_x || unusual || ((i == 1 || i == 2) && (j == 1 || j == 2)))
                            NAME(note)(from[j], lane < (integer)(n - c), &pixels);
                if (is_x)
                    NAME(transform_pixels)(wide, from, half[i]);
                else
                    NAME(transform_filter)(wide, tile, from, half[i]);
            }
#pragma GCC unroll 6
            for (int j = 0; j < wide; j++) {
#pragma GCC unroll 6
                for (int i = 0; i < size; i++)
                    from[i] = half[i][j];
                if (is_x)
                    NAME(transform_pixels)(wide, from, to);
                else
                    NAME(transform_filter)(wide, tile, from, to);
#pragma GCC unroll 6
                for (int i = 0; i < wide; i++) {
                    real *d = dst + (wide * i + j) * tap + c;
                    sum += to[i] * to[i];
                    /* What a whole vector overwrites the next tiles write; behind the last one other threads write. */
                    if (is_x || t * n + c + LANES <= across * n)
                        *(unaligned *)d = to[i];
                    else
                        for (int64_t k = 0; k < smaller(LANES, n - c); k++)
                            d[k] = to[i][k];
                }
            }
            squares[c / LANES] = sum;
        }
        for (int i = 0; i < size; i++)
            rows[i] += tile * steps[i];
    }
    int tame = NAME(is_even)(pixels);
    for (int64_t c = 0; c < n; c++)
        tame &= squares[c / LANES][c % LANES] < LIMIT;
    return tame;
}

/* Row `row` of tiles of all images, which is number `at` of its block, in one panel of x (job < panels_c) or of dy. */
INLINE int NAME(transform_job_of)(
    const int tile, const conv2d_geometry *g, const cut *c, const real *dy, const real *x, int64_t row, int64_t at, int64_t job,
    real *to_x, real *to_dy, real *lines)
{
    int64_t down = ceil_div(g->P, tile), n = row / down, top = row % down * tile;
    int unusual = g->top != 1 || g->left != 1 || g->P != g->H || g->Q != g->W;
    if (job < c->panels_c) {
        int64_t first = job * NR;
        return NAME(transform_row)(tile, 1, x + (n * g->C + first) * g->H * g->W, g->H, g->W, top - g->top, g->left, c->across,
                                   smaller(NR, g->C - first), unusual, lines, to_x + (first * c->tiles + at * c->across * NR),
                                   c->tap_x);
    }
    int64_t first = (job - c->panels_c) * c->mr, mr = smaller(c->mr, g->K - first);
    return NAME(transform_row)(tile, 0, dy + (n * g->K + first) * g->P * g->Q, g->P, g->Q, top, 0, c->across, mr, 0, lines,
                               to_dy + first * c->tiles + at * c->across * mr, c->tap_dy);
}

static __attribute__((noinline)) int NAME(transform_job)(
    const conv2d_geometry *g, const cut *c, const real *dy, const real *x, int64_t row, int64_t at, int64_t job, real *to_x,
    real *to_dy, real *lines)
{
    return c->tile == 2 ? NAME(transform_job_of)(2, g, c, dy, x, row, at, job, to_x, to_dy, lines)
                        : NAME(transform_job_of)(4, g, c, dy, x, row, at, job, to_x, to_dy, lines);
}

/* Add the products of `tiles` tiles to the sums of a job. Short sums are added to longer ones and these to the whole: adding
 * to one number over all tiles of a large batch would round far more. */
static void NAME(add_tiles)(
    const conv2d_geometry *g, const cut *c, int64_t job, int64_t tiles, const real *x, const real *dy, real *sums, int add)
{
    int64_t m0 = job / c->panels_c * c->block_m, m1 = smaller(c->panels_m, m0 + c->block_m), channel = job % c->panels_c * NR;
    const int64_t inner = KC / 4, outer = 2 * KC;
    real product[MR * NR] __attribute__((aligned(LINE)));
    for (int tap = 0; tap < c->taps; tap++)
        for (int64_t k0 = 0; k0 < tiles; k0 += outer)
            for (int64_t m = m0; m < m1; m++) {
                int64_t first = m * c->mr, mr = smaller(c->mr, g->K - first), k1 = smaller(tiles, k0 + outer);
                real *to = sums + tap * c->tap_sum + (m - m0) * c->mr * NR;
                int later = add || k0 > 0;
                for (int64_t k = k0; k < k1; k += inner)
                    NAME(micro)((int)mr, smaller(inner, k1 - k), dy + tap * c->tap_dy + first * c->tiles + k * mr,
                                x + tap * c->tap_x + channel * c->tiles + k * NR, later ? product : to, k > k0);
                for (int64_t i = 0; later && i < mr * NR; i += LANES)
                    *(vector *)(to + i) += *(const vector *)(product + i);
            }
}

/* The gradients of a job's weights from its sums. */
INLINE void NAME(write_weights_of)(
    const int tile, const conv2d_geometry *g, const cut *c, int64_t job, const real *sums, real *out)
{
    const int wide = tile + 2;
    int64_t first = job / c->panels_c * c->block_m * c->mr, last = smaller(g->K, first + c->block_m * c->mr);
    int64_t channel = job % c->panels_c * NR, n = smaller(NR, g->C - channel);
    real rows[9][NR] __attribute__((aligned(LINE)));
    for (int64_t m = first; m < last; m++, sums += NR) {
        for (int half = 0; half < NR; half += LANES) {
            vector t[6][3], from[6], y[3];
#pragma GCC unroll 6
            for (int j = 0; j < wide; j++) {
#pragma GCC unroll 6
                for (int i = 0; i < wide; i++)
                    from[i] = *(const vector *)(sums + (wide * i + j) * c->tap_sum + half);
                NAME(transform_back)(wide, 3, from, t[j]);
            }
#pragma GCC unroll 3
            for (int i = 0; i < 3; i++) {
#pragma GCC unroll 6
                for (int j = 0; j < wide; j++)
                    from[j] = t[j][i];
                NAME(transform_back)(wide, 3, from, y);
                for (int j = 0; j < 3; j++)
                    *(vector *)(rows[3 * i + j] + half) = y[j];
            }
        }
        NAME(turn)(rows[0], NR, 9, n, out + (m * g->C + channel) * 9, 9, n * 9, 0);
    }
}

static __attribute__((noinline)) void NAME(write_weights)(
    const conv2d_geometry *g, const cut *c, int64_t job, const real *sums, real *out)
{
    if (c->tile == 2)
        NAME(write_weights_of)(2, g, c, job, sums, out);
    else
        NAME(write_weights_of)(4, g, c, job, sums, out);
}

int64_t NAME(winograd_conv2d_weight_grad_scratch)(int tile, const conv2d_geometry *g, void *taps, int terms, int threads)
{
    int64_t most = 0;
    for (int t = 1; t <= threads; t++) {
        cut c = NAME(make_cut)(tile, g, t);
        most = larger(most, NAME(cut_scratch)(&c, t));
    }
    return larger(most * REAL_BYTES + 4096, NAME(conv2d_weight_grad_scratch)(g, taps, terms, threads));
}

void NAME(winograd_conv2d_weight_grad)(
    int tile, const real *dy, const real *x, const conv2d_geometry *g, real *out, int terms, void *scratch, int threads)
{
    int asked = threads;
    threads = team(threads, g->N * g->K * g->P * g->Q * g->C, 10000);
    cut c = NAME(make_cut)(tile, g, threads);
    int wild = c.rows * c.across == 0;
    real *to_x = scratch, *to_dy = to_x + c.taps * c.tap_x, *all_sums = to_dy + c.taps * c.tap_dy;
    real *all_lines = all_sums + c.all_sums;
    int64_t panels = c.panels_c + c.panels_m;
#pragma omp parallel num_threads(threads) reduction(| : wild) if (threads > 1)
    {
        real *lines = all_lines + thread_index() * round_up(c.lines, LINE);
        for (int64_t row = 0; row < c.rows; row += c.rows_block) {
            int64_t rows = smaller(c.rows_block, c.rows - row), chunk = ceil_div(rows * panels, 16 * threads);
#pragma omp for schedule(dynamic, chunk)
            for (int64_t job = 0; job < rows * panels; job++)
                wild |= !NAME(transform_job)(g, &c, dy, x, row + job % rows, job % rows, job / rows, to_x, to_dy, lines);
#pragma omp for schedule(dynamic)
            for (int64_t job = 0; job < c.jobs; job++) {
                real *sums = all_sums + (c.rows_block < c.rows ? job : thread_index()) * c.sums;
                NAME(add_tiles)(g, &c, job, rows * c.across, to_x, to_dy, sums, row > 0);
                if (row + rows == c.rows)
                    NAME(write_weights)(g, &c, job, sums, out);
            }
        }
    }
    if (wild)
        NAME(conv2d_weight_grad)(dy, x, g, out, terms, scratch, asked);
}

#endif
