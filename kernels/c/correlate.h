/* The correlation that conv2d and its input gradient are made of, as one product per group and block of the output:
 * rows are filters, columns are output pixels (n, p, q) jointly, so that small maps still give wide products.
 *
 * A job copies the part of its images that it will see to a stripe of scratch memory, with its border of zeros and, where
 * windows move by more than a pixel, split by phase (column modulo step). There every row of the im2col matrix is
 * contiguous, so the packing is a plain copy without any test for the border. The zeros at the left of a line serve
 * as those at the right of the line before. Where few filters would not repay the packing of broken rows, the product
 * runs over the border too, so that all lines of an image are one row, and what it gives there is left out. Where there
 * is neither border nor step, the images themselves serve. Included once per real type.
 */
#include "product.h"

/* y[n][g][m][p][q] = bias + sum over c, a, b of w[g][m][c][a][b] * x[n][g][c][p*step_h + down[a]][q*step_w + across[b]],
 * where x is 0 outside of its H x W. C channels and M filters are those of one group. */
typedef struct {
    int64_t N, G, C, M, H, W, P, Q, R, S;
    int64_t step_h, step_w;
    const int64_t *down, *across; /* R and S offsets */
    const real *x;                /* (N, G*C, H, W) */
    const real *w;
    int64_t w_group, w_m, w_c; /* strides of w; its taps lie at w_tap[a*S + b] */
    const int64_t *w_tap;
    real *y;
    int64_t y_image, y_m, y_row, y_col; /* group strides are M*y_m */
    const real *bias;                   /* (G*M,) or NULL */
    int relu, terms;
} NAME(correlation);

/* How it is cut. A stripe holds, for each image and channel, phases_h x phases_w planes of `height` x `width`. */
typedef struct {
    int64_t K, kc, direct, images, lines; /* a job's block: this many images, or lines of one image */
    int64_t places; /* columns of the product for a line of the output: Q, or the width of a stripe */
    int64_t blocks_n, blocks_p;
    int64_t first_down, first_across, phases_h, phases_w, height, width, plane, channel, image;
    int mr, terms;
    int64_t filters, groups; /* packed at a time */
    int64_t tables, packed, split, stripe, per_thread; /* split: of one group */
} NAME(layout);

#define correlation NAME(correlation)
#define layout NAME(layout)

/* The block of images or lines that keeps the threads evenly busy on full panels. */
static void NAME(choose_block)(const correlation *c, layout *l, int threads)
{
    int64_t pixels = c->P * c->Q, best = INT64_MAX, most = 2 * NC;
    int whole = pixels <= most;
    int64_t size = whole ? pixels : c->Q, count = whole ? c->N : c->P;
    for (int64_t block = 1; block <= larger(1, smaller(count, most / size)); block++) {
        int64_t jobs = c->G * ceil_div(count, block) * (whole ? 1 : c->N);
        int64_t cost = ceil_div(jobs, threads) * (round_up(block * size, NR) + NR / 4);
        if (cost <= best) {
            best = cost;
            l->images = whole ? block : 1;
            l->lines = whole ? c->P : block;
        }
    }
    l->blocks_n = ceil_div(c->N, l->images);
    l->blocks_p = ceil_div(c->P, l->lines);
}

static void NAME(span)(const int64_t *offsets, int64_t n, int64_t *first, int64_t *last)
{
    *first = *last = n ? offsets[0] : 0;
    for (int64_t i = 1; i < n; i++) {
        *first = smaller(*first, offsets[i]);
        *last = larger(*last, offsets[i]);
    }
}

static layout NAME(lay_out)(const correlation *c, int threads)
{
    layout l = {.K = c->C * c->R * c->S};
    int64_t last_down, last_across;
    NAME(choose_block)(c, &l, threads);
    NAME(span)(c->down, c->R, &l.first_down, &last_down);
    NAME(span)(c->across, c->S, &l.first_across, &last_across);
    l.direct = l.K == 0 || (c->step_h == 1 && c->step_w == 1 && l.first_down >= 0 && last_down + c->P <= c->H
                            && l.first_across >= 0 && last_across + c->Q <= c->W);
    if (!l.direct) {
        last_down -= l.first_down;
        last_across -= l.first_across;
        l.phases_h = smaller(c->step_h, last_down + 1);
        l.phases_w = smaller(c->step_w, last_across + 1);
        l.height = l.lines + last_down / c->step_h;
        l.width = c->Q + last_across / c->step_w;
        if (l.phases_w == 1) { /* zeros at both ends of a line need not be there twice */
            int64_t left = ceil_div(larger(0, -l.first_across), c->step_w);
            int64_t right = l.width - (l.first_across < c->W ? (c->W - 1 - l.first_across) / c->step_w + 1 : 0);
            l.width -= larger(0, smaller(left, right));
        }
        l.plane = l.height * l.width;
        l.channel = l.phases_h * l.phases_w * l.plane;
        l.image = c->C * l.channel;
        l.stripe = round_up(l.images * l.image + l.width + last_across + NR, LINE);
    }
    /* Packing a broken row costs about as much as 16 filters' products with it. */
    int repays = l.width >= c->Q && c->M * (l.width - c->Q) < 16 * c->Q;
    l.places = !l.direct && repays ? l.width : c->Q;
    l.terms = NAME(terms_for)(c->terms, c->M, l.K);
    l.mr = NAME(panel_rows)(c->M, l.terms);
    l.filters = NAME(rows_at_once)(c->M, l.K, l.mr);
    l.groups = l.filters >= c->M ? larger(1, smaller(c->G, (1 << 20) / larger(1, l.filters * l.K))) : 1;
    l.kc = NAME(block_length)(l.filters, l.K, 1, l.terms);
    l.tables = round_up(2 * l.K * (int64_t)sizeof(int64_t) / REAL_BYTES, LINE);
    l.packed = round_up(l.groups * l.filters * l.K, LINE);
    l.split = NAME(split_room)(l.filters, l.K, l.mr, l.kc, l.terms);
    l.per_thread = l.stripe + round_up(NAME(multiply_scratch)(l.filters, l.K, l.terms), LINE);
    return l;
}

UNUSED static int64_t NAME(correlate_scratch)(const correlation *c, int threads)
{
    layout l = NAME(lay_out)(c, threads);
    return (l.tables + l.packed + l.groups * l.split + threads * l.per_thread) * REAL_BYTES + 4096;
}

/* Fill a stripe with what a block of images n0 .. n1 - 1 and lines p0 .. p1 - 1 will see. */
static void NAME(fill_stripe)(
    const correlation *c, const layout *l, int64_t group, int64_t n0, int64_t n1, int64_t p0, int64_t p1, real *stripe)
{
    int64_t height = l->height - (l->lines - (p1 - p0));
    for (int64_t n = n0; n < n1; n++)
        for (int64_t channel = 0; channel < c->C; channel++) {
            const real *x = c->x + ((n * c->G + group) * c->C + channel) * c->H * c->W;
            for (int64_t phase = 0; phase < l->phases_h * l->phases_w; phase++) {
                real *plane = stripe + (n - n0) * l->image + channel * l->channel + phase * l->plane;
                int64_t across = l->first_across + phase % l->phases_w, step = c->step_w;
                int64_t low = smaller(l->width, across < 0 ? ceil_div(-across, step) : 0);
                int64_t high = larger(low, smaller(l->width, across < c->W ? (c->W - 1 - across) / step + 1 : 0));
                /* A line more where the block is a short one: the zeros at its left are those at the right of the last. */
                memset(plane, 0, (size_t)(smaller(height + 1, l->height) * l->width) * REAL_BYTES);
                for (int64_t i = 0; i < height; i++) {
                    int64_t h = (p0 + i) * c->step_h + l->first_down + phase / l->phases_w;
                    const real *from = x + h * c->W + across;
                    real *line = plane + i * l->width;
                    if (h < 0 || h >= c->H)
                        continue;
                    if (step == 1)
                        NAME(copy_line)(from + low, line + low, high - low);
                    else if (step == 2)
                        for (int64_t j = low; j < high; j++)
                            line[j] = from[j * 2];
                    else
                        for (int64_t j = low; j < high; j++)
                            line[j] = from[j * step];
                }
            }
        }
    memset(stripe + (n1 - n0) * l->image, 0, (size_t)(l->stripe - (n1 - n0) * l->image) * REAL_BYTES);
}

/* Where row k = (c, a, b) of the im2col matrix begins in x or in a stripe, and of the weights in w. Whether the latter are
 * simply one after the other. */
static int NAME(fill_tables)(const correlation *c, const layout *l, int64_t *rows, int64_t *taps)
{
    int plain = 1;
    for (int64_t channel = 0, k = 0; channel < c->C; channel++)
        for (int64_t a = 0; a < c->R; a++)
            for (int64_t b = 0; b < c->S; b++, k++) {
                plain &= k == channel * c->w_c + c->w_tap[a * c->S + b];
                taps[k] = channel * c->w_c + c->w_tap[a * c->S + b];
                if (l->direct) {
                    rows[k] = channel * c->H * c->W + c->down[a] * c->W + c->across[b];
                    continue;
                }
                int64_t down = c->down[a] - l->first_down, across = c->across[b] - l->first_across;
                int64_t phase = down % c->step_h * l->phases_w + across % c->step_w;
                rows[k] = channel * l->channel + phase * l->plane + down / c->step_h * l->width + across / c->step_w;
            }
    return plain;
}

/* scratch: correlate_scratch bytes for this number of threads, aligned to LINE. */
static void NAME(correlate)(const correlation *c, void *scratch, int threads)
{
    threads = team(threads, c->N * c->G * c->M * c->P * c->Q * larger(8, c->C * c->R * c->S), 100000);
    layout l = NAME(lay_out)(c, threads);
    int64_t *rows = scratch, *taps = rows + l.K;
    real *packed = (real *)scratch + l.tables, *split = packed + l.packed, *private = split + l.groups * l.split;
    rows_of w_ks = {NAME(fill_tables)(c, &l, rows, taps) ? NULL : taps, 1};
    columns from = l.direct ? (columns){c->P, c->Q, c->G * c->C * c->H * c->W, c->W, 1, c->Q}
                            : (columns){l.lines, l.places, l.image, l.width, 1, l.places};
    columns to = {c->P, l.places, c->y_image, c->y_row, c->y_col, c->Q};
    int64_t blocks = l.blocks_n * l.blocks_p;

#pragma omp parallel num_threads(threads) if (threads > 1)
    for (int64_t g0 = 0; g0 < c->G; g0 += l.groups)
        for (int64_t m0 = 0; m0 < c->M; m0 += l.filters) {
            int64_t groups = smaller(l.groups, c->G - g0), filters = smaller(l.filters, c->M - m0);
            int64_t panels = ceil_div(filters, l.mr);
            int64_t m_jobs = groups * blocks >= threads ? 1 : smaller(panels, ceil_div(threads, groups * blocks));
#pragma omp for schedule(static)
            for (int64_t job = 0; job < groups * panels; job++) {
                int64_t group = job / panels, first = job % panels * l.mr;
                NAME(pack_a)(c->w + (g0 + group) * c->w_group + m0 * c->w_m, c->w_m, w_ks, first,
                             (int)smaller(l.mr, filters - first), filters, l.K, l.kc, packed + group * l.filters * l.K);
                NAME(split_panels)(packed + group * l.filters * l.K, first, l.mr, filters, l.K, l.kc, l.terms,
                                   (pair *)(split + group * l.split));
            }
#pragma omp for schedule(dynamic)
            for (int64_t job = 0; job < groups * blocks * m_jobs; job++) {
                int64_t group = job / (blocks * m_jobs), block = job / m_jobs % blocks, part = job % m_jobs;
                int64_t n0 = block / l.blocks_p * l.images, n1 = smaller(c->N, n0 + l.images);
                int64_t p0 = block % l.blocks_p * l.lines, p1 = smaller(c->P, p0 + l.lines);
                real *stripe = private + thread_index() * l.per_thread;
                const real *b = c->x + (n0 * c->G + g0 + group) * c->C * c->H * c->W + p0 * c->W;
                if (!l.direct) {
                    NAME(fill_stripe)(c, &l, g0 + group, n0, n1, p0, p1, stripe);
                    b = stripe;
                }
                int64_t filter = (g0 + group) * c->M + m0;
                product p = {
                    .packed = packed + group * l.filters * l.K, .split = (pair *)(split + group * l.split),
                    .terms = l.terms, .mr = l.mr, .M = filters, .K = l.K, .kc = l.kc,
                    .b = b, .ks = {rows, 0}, .from = from, .slack = !l.direct,
                    .c = c->y + n0 * c->y_image + filter * c->y_m + p0 * c->y_row, .c_row = c->y_m, .to = to,
                    .row_bias = c->bias ? c->bias + filter : NULL, .relu = c->relu,
                };
                p.from.rows = p.to.rows = p1 - p0;
                p.from = NAME(merged)(p.from);
                p.to = NAME(merged)(p.to);
                NAME(multiply)(&p, panels * part / m_jobs, panels * (part + 1) / m_jobs, 0, (n1 - n0) * (p1 - p0) * l.places,
                               stripe + l.stripe);
            }
        }
}
