/* The weight gradient of a 3x3 convolution by minimal filtering. The naive version is Reference.conv2d_weight_grad;
 * winograd.h says what the algorithm is.
 *
 * For each of the 36 taps the transformed dy (filters x tiles) times the transformed x (tiles x channels) is contracted
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
    int mr;
    int64_t panels_m, panels_c, block_m, jobs;
    int64_t tap_x, tap_dy, tap_sum; /* strides */
    int64_t lines, sums, all_sums;
} NAME(cut);

#define cut NAME(cut)

static cut NAME(make_cut)(const conv2d_geometry *g, int threads)
{
    cut c = {.across = ceil_div(g->Q, 4), .mr = NAME(panel_rows)(g->K, 0)};
    c.rows = g->N * ceil_div(g->P, 4);
    c.panels_m = ceil_div(g->K, c.mr);
    c.panels_c = ceil_div(g->C, NR);
    /* The sums of all taps pass through the cache once for each block of tiles. */
    int64_t width = c.panels_m * c.mr + c.panels_c * NR, most = larger(BLOCK_BOTH / REAL_BYTES, TAPS * g->K * g->C);
    c.rows_block = larger(1, smaller(c.rows, most / (TAPS * width * larger(1, c.across))));
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
    c.lines = 6 * larger(g->W, g->Q) * larger(NR, WIDE_MR) + LINE;
    c.sums = TAPS * c.tap_sum;
    c.all_sums = c.sums * (c.rows_block < c.rows ? c.jobs : threads);
    return c;
}

static int64_t NAME(cut_scratch)(const cut *c, int threads)
{
    return TAPS * (c->tap_x + c->tap_dy) + threads * round_up(c->lines, LINE) + c->all_sums;
}

/* dst[i*step + c] = pixel i of channel c, for n channels that lie `area` apart. */
static void NAME(channels_last)(const real *x, int64_t area, int64_t n, int64_t pixels, real *dst, int64_t step)
{
    int64_t whole = pixels / LANES * LANES;
    if (whole) {
        NAME(turn)(x, area, n, whole, dst, step, whole * step, 0);
        x += pixels - LANES;
        dst += (pixels - LANES) * step;
        pixels = pixels > whole ? LANES : 0;
    }
    if (pixels)
        NAME(turn)(x, area, n, pixels, dst, step, pixels * step, 0);
}

/* Transform one row of tiles in n channels of an image (channels, H, W): for x 6x6 pixels each, for dy 4x4. The first lies at
 * (top, left), and what is outside of the image is 0. dst[tap][tile][n]. Returns whether they are tame. */
INLINE int NAME(transform_row)(
    const int size, const real *image, int64_t H, int64_t W, int64_t top, int64_t left, int64_t across, int64_t n,
    const int64_t step, real *lines, real *dst, int64_t tap)
{
    const real nothing[NR > WIDE_MR ? NR : WIDE_MR] __attribute__((aligned(LINE))) = {0};
    vector squares[(NR > WIDE_MR ? NR : WIDE_MR) / LANES] = {{0}};
    int64_t h0 = smaller(H, larger(0, top)), h1 = larger(h0, smaller(H, top + size));
    int tame = 1;
    NAME(channels_last)(image + h0 * W, H * W, n, (h1 - h0) * W, lines, step);
    for (int64_t tile = 0; tile < across; tile++, dst += size == 6 ? NR : n) {
        const real *at[6][6];
        for (int i = 0; i < size; i++)
            for (int j = 0; j < size; j++) {
                int64_t h = top + i, w = left + 4 * tile + j;
                at[i][j] = h >= h0 && h < h1 && w >= 0 && w < W ? lines + ((h - h0) * W + w) * step : nothing;
            }
        for (int64_t c = 0; c < n; c += LANES) {
            vector t[6][6], from[6], to[6];
#pragma GCC unroll 6
            for (int i = 0; i < size; i++) {
#pragma GCC unroll 6
                for (int j = 0; j < size; j++)
                    from[j] = *(const vector *)(at[i][j] + c);
                if (size == 6)
                    NAME(transform_pixels)(from, t[i]);
                else
                    NAME(transform_filter)(4, from, t[i]);
            }
#pragma GCC unroll 6
            for (int j = 0; j < 6; j++) {
#pragma GCC unroll 6
                for (int i = 0; i < size; i++)
                    from[i] = t[i][j];
                if (size == 6)
                    NAME(transform_pixels)(from, to);
                else
                    NAME(transform_filter)(4, from, to);
#pragma GCC unroll 6
                for (int i = 0; i < 6; i++) {
                    real *d = dst + (6 * i + j) * tap + c;
                    squares[c / LANES] += to[i] * to[i];
                    /* What a whole vector overwrites the next tiles write; behind the last one other threads write. */
                    if (size == 6 || tile * n + c + LANES <= across * n)
                        *(unaligned *)d = to[i];
                    else
                        for (int64_t k = 0; k < smaller(LANES, n - c); k++)
                            d[k] = to[i][k];
                }
            }
        }
    }
    for (int64_t c = 0; c < n; c++)
        tame &= squares[c / LANES][c % LANES] < LIMIT;
    return tame;
}

/* Row `row` of tiles of all images, which is number `at` of its block, in one panel of x (job < panels_c) or of dy. */
static int NAME(transform_job)(
    const conv2d_geometry *g, const cut *c, const real *dy, const real *x, int64_t row, int64_t at, int64_t job, real *to_x,
    real *to_dy, real *lines)
{
    int64_t down = ceil_div(g->P, 4), n = row / down, top = row % down * 4;
    if (job < c->panels_c) {
        int64_t first = job * NR;
        return NAME(transform_row)(6, x + (n * g->C + first) * g->H * g->W, g->H, g->W, top - g->top, -g->left, c->across,
                                   smaller(NR, g->C - first), NR, lines, to_x + (first * c->tiles + at * c->across * NR), c->tap_x);
    }
    int64_t first = (job - c->panels_c) * c->mr, mr = smaller(c->mr, g->K - first);
    return NAME(transform_row)(4, dy + (n * g->K + first) * g->P * g->Q, g->P, g->Q, top, 0, c->across, mr, WIDE_MR, lines,
                               to_dy + first * c->tiles + at * c->across * mr, c->tap_dy);
}

/* Add the products of `tiles` tiles to the sums of a job. Each product is summed up by itself: adding to one number over all
 * tiles of a large batch would round far more. */
static void NAME(add_tiles)(
    const conv2d_geometry *g, const cut *c, int64_t job, int64_t tiles, const real *x, const real *dy, real *sums, int add)
{
    int64_t m0 = job / c->panels_c * c->block_m, m1 = smaller(c->panels_m, m0 + c->block_m), channel = job % c->panels_c * NR;
    int64_t most = ceil_div(tiles, larger(1, ceil_div(tiles, KC / 2)));
    real product[MR * NR] __attribute__((aligned(LINE)));
    for (int tap = 0; tap < TAPS; tap++)
        for (int64_t k = 0; k < tiles; k += most)
            for (int64_t m = m0; m < m1; m++) {
                int64_t first = m * c->mr, mr = smaller(c->mr, g->K - first);
                real *to = sums + tap * c->tap_sum + (m - m0) * c->mr * NR;
                int later = add || k > 0;
                NAME(micro)((int)mr, smaller(most, tiles - k), dy + tap * c->tap_dy + first * c->tiles + k * mr,
                            x + tap * c->tap_x + channel * c->tiles + k * NR, later ? product : to, 0);
                for (int64_t i = 0; later && i < mr * NR; i += LANES)
                    *(vector *)(to + i) += *(const vector *)(product + i);
            }
}

/* The gradients of a job's weights from its sums. */
static void NAME(write_weights)(const conv2d_geometry *g, const cut *c, int64_t job, const real *sums, real *out)
{
    int64_t first = job / c->panels_c * c->block_m * c->mr, last = smaller(g->K, first + c->block_m * c->mr);
    int64_t channel = job % c->panels_c * NR, n = smaller(NR, g->C - channel);
    real rows[9][NR] __attribute__((aligned(LINE)));
    for (int64_t m = first; m < last; m++, sums += NR) {
        for (int half = 0; half < NR; half += LANES) {
            vector t[6][3], from[6], y[3];
#pragma GCC unroll 6
            for (int j = 0; j < 6; j++) {
#pragma GCC unroll 6
                for (int i = 0; i < 6; i++)
                    from[i] = *(const vector *)(sums + (6 * i + j) * c->tap_sum + half);
                NAME(transform_back)(3, from, t[j]);
            }
#pragma GCC unroll 3
            for (int i = 0; i < 3; i++) {
                for (int j = 0; j < 6; j++)
                    from[j] = t[j][i];
                NAME(transform_back)(3, from, y);
                for (int j = 0; j < 3; j++)
                    *(vector *)(rows[3 * i + j] + half) = y[j];
            }
        }
        NAME(turn)(rows[0], NR, 9, n, out + (m * g->C + channel) * 9, 9, n * 9, 0);
    }
}

int64_t NAME(winograd_conv2d_weight_grad_scratch)(const conv2d_geometry *g, void *taps, int terms, int threads)
{
    int64_t most = 0;
    for (int t = 1; t <= threads; t++) {
        cut c = NAME(make_cut)(g, t);
        most = larger(most, NAME(cut_scratch)(&c, t));
    }
    return larger(most * REAL_BYTES + 4096, NAME(conv2d_weight_grad_scratch)(g, taps, terms, threads));
}

void NAME(winograd_conv2d_weight_grad)(
    const real *dy, const real *x, const conv2d_geometry *g, real *out, int terms, void *scratch, int threads)
{
    int asked = threads;
    threads = team(threads, g->N * g->K * g->P * g->Q * g->C, 10000);
    cut c = NAME(make_cut)(g, threads);
    int wild = c.rows * c.across == 0;
    real *to_x = scratch, *to_dy = to_x + TAPS * c.tap_x, *all_sums = to_dy + TAPS * c.tap_dy, *all_lines = all_sums + c.all_sums;
    int64_t panels = c.panels_c + c.panels_m;
#pragma omp parallel num_threads(threads) reduction(| : wild) if (threads > 1)
    {
        real *lines = all_lines + thread_index() * round_up(c.lines, LINE);
        for (int64_t row = 0; row < c.rows; row += c.rows_block) {
            int64_t rows = smaller(c.rows_block, c.rows - row);
#pragma omp for schedule(dynamic)
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
