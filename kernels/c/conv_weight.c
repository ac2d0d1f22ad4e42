/* The weight gradient of a convolution. The naive version is Reference.conv2d_weight_grad.
 *
 * dweight = dy (filters x pixels) times the im2col matrix (pixels x window), contracted over the pixels of all images.
 * A job copies its images to a stripe of scratch memory with the channels last and a border of zeros: there a row of
 * the window is contiguous for every pixel, whatever the stride, and the packing is a plain copy. Sums are held in tiles
 * that fit the second-level cache: a job takes as many channels as that allows, and all pixels. Where there are fewer
 * such jobs than threads, these share out the pixels; each sums up tiles of its own, which are added in a fixed order.
 */
#ifndef real
#define SOURCE "conv_weight.c"
#include "twice.h"
#else

#include "tile.h"

/* Bytes of tiles that leave room for the rest in the second-level cache. */
#define TILES (640 << 10)
/* Pixels of a stripe, about. */
#define PIXELS 768

typedef struct {
    int64_t C, M, N; /* of one job: channels, filters, and the window's R*S*C numbers */
    int64_t slices;  /* jobs that share the channels of a group */
    int64_t images, lines, blocks_n, blocks_p, parts;
    int64_t height, width; /* of a stripe */
    int mr, terms;
    int64_t tiles, slots, stripe, kc, packed_a, slot, split, per_thread; /* kc: at most; slot: of a split panel of dy */
} NAME(shares);

/* The channels of a job, C or a multiple of 16 whose tiles fit, that keep the threads evenly busy. */
static int64_t NAME(slice)(const conv2d_geometry *g, int64_t C, int64_t M, int threads)
{
    int64_t column = round_up(M, LANES) * g->R * g->S * REAL_BYTES, chosen = C, least = INT64_MAX;
    if (C * column <= TILES)
        return C;
    for (int64_t width = 16; width < C && (width == 16 || width * column <= TILES); width += 16) {
        int64_t work = ceil_div(g->G * ceil_div(C, width), threads) * width;
        if (work <= least) {
            least = work;
            chosen = width;
        }
    }
    return chosen;
}

static NAME(shares) NAME(share)(const conv2d_geometry *g, int terms, int threads)
{
    NAME(shares) s = {.M = g->K / g->G};
    int64_t C = g->C / g->G, pixels = g->P * g->Q, most = PIXELS;
    s.C = NAME(slice)(g, C, s.M, threads);
    s.slices = ceil_div(C, larger(s.C, 1));
    s.N = s.C * g->R * g->S;
    int64_t jobs = g->G * s.slices;
    s.blocks_n = ceil_div(g->N, larger(1, most / larger(pixels, 1)));
    if (jobs < threads)
        s.blocks_n = larger(s.blocks_n, smaller(g->N, ceil_div(threads, jobs)));
    s.images = ceil_div(g->N, larger(s.blocks_n, 1));
    s.blocks_n = ceil_div(g->N, larger(s.images, 1));
    s.blocks_p = pixels <= most ? 1 : ceil_div(g->P, larger(1, most / g->Q));
    s.lines = ceil_div(g->P, s.blocks_p);
    s.blocks_p = ceil_div(g->P, s.lines);
    s.parts = jobs >= threads ? 1 : larger(1, smaller(s.blocks_n * s.blocks_p, ceil_div(threads, jobs)));
    s.height = (s.lines - 1) * g->stride_h + (g->R - 1) * g->dilation_h + 1;
    s.width = (g->Q - 1) * g->stride_w + (g->S - 1) * g->dilation_w + 1;
    s.terms = NAME(terms_for)(terms, s.M, pixels);
    s.mr = NAME(panel_rows)(s.M, s.terms);
    s.tiles = round_up(s.M, s.mr) * round_up(s.N, NR);
    s.slots = s.parts > 1 ? jobs * s.parts : threads;
    s.stripe = round_up(larger(s.images * s.height * s.width * s.C + NR, s.N), LINE);
    s.kc = KC / 2; /* short sums, added apart: there are many pixels; and split operands have room, as in block_length */
    s.packed_a = round_up(s.kc * s.M, LINE);
    s.slot = NAME(split_slot)(s.terms, s.mr, s.kc);
    s.split = ceil_div(s.M, s.mr) * s.slot + (s.terms ? parts_of(s.terms) * NAME(part_b)(s.kc) : 0);
    s.per_thread = s.stripe + s.packed_a + s.split + s.kc * NR + LINE
                   + round_up(s.kc * (int64_t)sizeof(int64_t) / REAL_BYTES, LINE);
    return s;
}

int64_t NAME(conv2d_weight_grad_scratch)(const conv2d_geometry *g, UNUSED void *taps, int terms, int threads)
{
    int64_t most = 0;
    for (int t = 1; t <= threads; t++) {
        NAME(shares) s = NAME(share)(g, terms, t);
        most = larger(most, s.slots * s.tiles + t * s.per_thread);
    }
    return most * REAL_BYTES + 4096;
}

/* Lines p0 .. p1 - 1 of the images n0 .. n1 - 1 as the windows see them: stripe[n][h][w][c], from this channel on. */
static void NAME(channels_last)(
    const real *x, const conv2d_geometry *g, const NAME(shares) *s, int64_t channel, int64_t n0, int64_t n1, int64_t p0,
    int64_t p1, real *stripe)
{
    int64_t low = smaller(s->width, g->left), high = larger(low, smaller(s->width, g->W + g->left));
    int64_t height = s->height - (s->lines - (p1 - p0)) * g->stride_h, area = g->H * g->W;
    int whole = s->width == g->W && g->left == 0 && g->top == 0 && p0 * g->stride_h + height <= g->H;
    for (int64_t n = n0; n < n1; n++) {
        if (whole) { /* lines without a border are one long line */
            NAME(turn_line)(x + (n * g->C + channel) * area + p0 * g->stride_h * g->W, area, s->C, height * g->W,
                            stripe + (n - n0) * s->height * s->width * s->C, s->C);
            continue;
        }
        for (int64_t i = 0; i < height; i++) {
            real *line = stripe + ((n - n0) * s->height + i) * s->width * s->C;
            int64_t h = p0 * g->stride_h + i - g->top;
            if (h < 0 || h >= g->H) {
                memset(line, 0, (size_t)(s->width * s->C) * REAL_BYTES);
                continue;
            }
            const real *from = x + (n * g->C + channel) * area + h * g->W - g->left;
            memset(line, 0, (size_t)(low * s->C) * REAL_BYTES);
            NAME(turn)(from + low, area, s->C, high - low, line + low * s->C, s->C, (s->width - low) * s->C, 0);
            memset(line + high * s->C, 0, (size_t)((s->width - high) * s->C) * REAL_BYTES);
        }
    }
}

/* Add the products of a block's pixels to the tiles. */
static void NAME(add_block)(
    const real *dy, const conv2d_geometry *g, const NAME(shares) *s, int64_t group, int64_t n0, int64_t n1, int64_t p0,
    int64_t p1, const real *stripe, real *tiles, real *scratch, int *started)
{
    real *packed_a = scratch, *packed_b = packed_a + s->packed_a + s->split;
    pair *split_a = (pair *)(packed_a + s->packed_a), *split_b = split_a + ceil_div(s->M, s->mr) * s->slot;
    int64_t *at_x = (int64_t *)(packed_b + s->kc * NR + LINE), area = (p1 - p0) * g->Q;
    columns window = {g->S, s->C, g->dilation_h * s->width * s->C, g->dilation_w * s->C, 1, s->C};
    window = NAME(merged)(window);
    int64_t pixels = (n1 - n0) * (p1 - p0) * g->Q, blocks = ceil_div(pixels, s->kc), kc_most = ceil_div(pixels, larger(blocks, 1));
    if (s->terms) {
        kc_most = round_up(kc_most, STEP);
        dot_begin();
    }
    for (int64_t first = 0; first < pixels; first += kc_most) {
        int64_t kc = smaller(kc_most, pixels - first), q = first % g->Q, line = first / g->Q;
        int64_t p = line % (p1 - p0), n = line / (p1 - p0);
        for (int64_t k = 0; k < kc; k++) {
            at_x[k] = ((n * s->height + p * g->stride_h) * s->width + q * g->stride_w) * s->C;
            if (++q == g->Q) {
                q = 0;
                if (++p == p1 - p0)
                    p = 0, n++;
            }
        }
        for (int64_t m = 0; m < s->M; m += s->mr) {
            int mr = (int)smaller(s->mr, s->M - m);
            real *panel = packed_a + m * kc;
            /* The pixels of one image lie side by side. */
            for (int64_t k = 0, length; k < kc; k += length) {
                int64_t image = (first + k) / area, pixel = (first + k) % area;
                length = smaller(kc - k, area - pixel);
                const real *from = dy + ((n0 + image) * g->K + group * s->M + m) * g->P * g->Q + p0 * g->Q + pixel;
                NAME(turn)(from, g->P * g->Q, mr, length, panel + k * mr, mr, (kc - k) * mr, 4 * LANES);
            }
            if (s->terms)
                NAME(split_a)(s->terms, panel, mr, kc, split_a + m / s->mr * s->slot);
        }
        real *tile = tiles;
        for (int64_t j = 0; j < s->N; j += NR) {
            int64_t width = smaller(NR, s->N - j), few = s->M <= IN_PLACE * s->mr;
            run place[NR];
            if (!s->terms && few && NAME(find_runs)(&window, j, width, place) == 1) {
                for (int64_t m = 0; m < s->M; m += s->mr, tile += s->mr * NR)
                    NAME(micro_in_place)((int)smaller(s->mr, s->M - m), kc, packed_a + m * kc, stripe + place->offset,
                                         (rows_of){at_x, 0}, tile, *started);
                continue;
            }
            NAME(pack_b)(stripe, (rows_of){at_x, 0}, 0, kc, &window, j, width, 1, packed_b);
            reach b = s->terms ? NAME(split_b)(s->terms, packed_b, kc, split_b) : NOTHING;
            for (int64_t m = 0; m < s->M; m += s->mr, tile += s->mr * NR)
                NAME(panel_product)(s->terms, (int)smaller(s->mr, s->M - m), kc, packed_a + m * kc,
                                    split_a + m / s->mr * s->slot, packed_b, split_b, b, tile, *started);
        }
        *started = 1;
    }
    if (s->terms)
        dot_end();
}

/* out[c][r][s] of filter m and a job's channels: the sum over the parts of their tiles. row: room for N numbers. */
static void NAME(gather_filter)(
    const conv2d_geometry *g, const NAME(shares) *s, const real *tiles, int64_t parts, int64_t m, real *row, real *out)
{
    int64_t panels = ceil_div(s->M, s->mr), window = g->R * g->S;
    real *sums = window == 1 ? out : row;
    for (int64_t j = 0; j < s->N; j += NR, tiles += panels * s->mr * NR) {
        const real *at = tiles + m / s->mr * s->mr * NR + m % s->mr * NR;
        int64_t n = smaller(NR, s->N - j);
        NAME(copy_line)(at, sums + j, n);
        for (int64_t part = 1; part < parts; part++)
            for (int64_t i = 0; i < n; i++)
                sums[j + i] += at[part * s->tiles + i];
    }
    if (window > 1) /* channels come last in the tiles, first in the weights */
        NAME(turn)(row, s->C, window, s->C, out, window, window * s->C, 0);
}

/* The shares of slice number `slice` of a group: the last may have fewer channels. */
static NAME(shares) NAME(slice_of)(const conv2d_geometry *g, NAME(shares) s, int64_t slice)
{
    s.C = smaller(s.C, g->C / g->G - slice * s.C);
    s.N = s.C * g->R * g->S;
    return s;
}

void NAME(conv2d_weight_grad)(
    const real *dy, const real *x, const conv2d_geometry *g, real *out, int terms, void *scratch, int threads)
{
    threads = team(threads, g->N * g->K * g->P * g->Q * (g->C / g->G) * g->R * g->S, 100000);
    NAME(shares) s = NAME(share)(g, terms, threads);
    real *all_tiles = scratch, *private = all_tiles + s.slots * s.tiles;
    int64_t blocks = s.blocks_n * s.blocks_p, window = g->R * g->S, filter = g->C / g->G * window;
#pragma omp parallel num_threads(threads) if (threads > 1)
    {
        real *stripe = private + thread_index() * s.per_thread;
#pragma omp for schedule(dynamic)
        for (int64_t job = 0; job < g->G * s.slices * s.parts; job++) {
            int64_t slice = job / s.parts % s.slices, group = job / s.parts / s.slices, part = job % s.parts;
            real *tiles = all_tiles + (s.parts > 1 ? job : thread_index()) * s.tiles;
            NAME(shares) own = NAME(slice_of)(g, s, slice);
            int started = 0;
            for (int64_t block = blocks * part / s.parts; block < blocks * (part + 1) / s.parts; block++) {
                int64_t n0 = block / s.blocks_p * s.images, n1 = smaller(g->N, n0 + s.images);
                int64_t p0 = block % s.blocks_p * s.lines, p1 = smaller(g->P, p0 + s.lines);
                NAME(channels_last)(x, g, &own, group * (g->C / g->G) + slice * s.C, n0, n1, p0, p1, stripe);
                NAME(add_block)(dy, g, &own, group, n0, n1, p0, p1, stripe, tiles, stripe + s.stripe, &started);
            }
            if (!started)
                memset(tiles, 0, (size_t)s.tiles * REAL_BYTES);
            for (int64_t m = 0; m < s.M && s.parts == 1; m++)
                NAME(gather_filter)(g, &own, tiles, 1, m, stripe, out + (group * s.M + m) * filter + slice * s.C * window);
        }
        if (s.parts > 1) {
#pragma omp for schedule(static)
            for (int64_t job = 0; job < g->K * s.slices; job++) {
                int64_t k = job / s.slices, slice = job % s.slices;
                NAME(shares) own = NAME(slice_of)(g, s, slice);
                NAME(gather_filter)(g, &own, all_tiles + (k / s.M * s.slices + slice) * s.parts * s.tiles, s.parts, k % s.M,
                                    stripe, out + k * filter + slice * s.C * window);
            }
        }
    }
}

#endif
