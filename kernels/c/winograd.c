/* Convolution by minimal filtering, and its input gradient, which is the same with the filters turned over. The naive
 * version is Reference.conv2d; winograd.h says what the algorithm is.
 *
 * A tile is 2x2 outputs, or for 3x3 windows 4x4 too; the tiles of all images, in rows, are the columns of 16 or 36 products, one
 * for each tap: filters x channels times channels x tiles. The products of a block run while its transformed tiles are in the
 * cache, and go straight on to the transform back. Of the two operands the smaller is transformed beforehand, for all threads;
 * the other in pieces by the thread that needs it.
 */
#ifndef real
#define SOURCE "winograd.c"
#include "twice.h"
#else

#include "winograd_tiles.h"

static int NAME(taps_of)(int tile, int window) { return (tile + window - 1) * (tile + window - 1); }

static plan NAME(make_plan)(const filtering *f, int threads)
{
    plan p = {.across = ceil_div(f->Q, f->tile), .down = ceil_div(f->P, f->tile), .mr = NAME(panel_rows)(f->M, 0),
              .taps = NAME(taps_of)(f->tile, f->window)};
    p.tiles = f->N * p.across * p.down;
    p.panels_t = ceil_div(p.tiles, NR);
    p.panels_m = ceil_div(f->M, p.mr);
    p.filters_first = p.tiles > f->M;
    p.tap_v = f->C * NR + APART;
    p.panel_v = p.taps * p.tap_v;
    int64_t few = larger(1, BLOCK_SUMS / (p.mr * NR * REAL_BYTES * p.taps));
    if (p.filters_first) {
        p.block_t = p.panels_t >= 8 * threads && 2 * p.panel_v * REAL_BYTES <= BLOCK_TILES ? 2 : 1;
        p.block_m = larger(1, smaller(p.panels_m, few / p.block_t));
        p.tap_u = round_up(f->C * f->M, LINE) + APART;
        p.shared = p.taps * p.tap_u;
        p.own = p.block_t * p.panel_v;
    } else {
        p.block_t = p.panels_t;
        p.block_m = larger(1, smaller(p.panels_m, few / p.block_t));
        p.tap_u = round_up(f->C * p.block_m * p.mr, LINE) + APART;
        p.shared = p.panels_t * p.panel_v;
        p.own = p.taps * p.tap_u;
    }
    p.tap_m = p.block_t * p.block_m * p.mr * NR + APART;
    p.per_thread = p.own + p.taps * p.tap_m;
    return p;
}

/* A block: filter panels m0 .. m1 - 1, whose transforms begin at u, and tile panels t0 .. t1 - 1, theirs at v. */
static void NAME(filter_block)(
    const filtering *f, const plan *p, int64_t m0, int64_t m1, const real *u, int64_t t0, int64_t t1, const real *v, real *sums)
{
    /* Sums of few channels, added apart, round less: that keeps F(2, 3) as accurate as the plain kernel. */
    int64_t blocks = ceil_div(f->C, p->taps == 16 ? KC / 3 : KC), most = ceil_div(f->C, larger(1, blocks)), size = p->mr * NR;
    for (int tap = 0; tap < p->taps; tap++)
        for (int64_t c = 0; c < f->C; c += most) {
            int64_t kc = smaller(most, f->C - c);
            for (int64_t t = t0; t < t1; t++)
                for (int64_t m = m0; m < m1; m++) {
                    int mr = (int)smaller(p->mr, f->M - m * p->mr);
                    NAME(micro)(mr, kc, u + tap * p->tap_u + (m - m0) * p->mr * f->C + c * mr,
                                v + (t - t0) * p->panel_v + tap * p->tap_v + c * NR,
                                sums + tap * p->tap_m + ((t - t0) * (m1 - m0) + m - m0) * size, c > 0);
                }
        }
    for (int64_t t = t0; t < t1; t++) {
        stretch s[NR];
        int64_t found = NAME(find_stretches)(p, t * NR, smaller(NR, p->tiles - t * NR), s);
        for (int64_t m = m0 * p->mr; m < smaller(f->M, m1 * p->mr); m++)
            NAME(write_tiles)(f, p, m, s, found, sums + (t - t0) * (m1 - m0) * size + (m - m0 * p->mr) * NR);
    }
}

/* Returns whether the results hold. */
static int NAME(filter)(const filtering *f, real *scratch, int threads)
{
    if (f->N * f->M * f->P * f->Q * f->C == 0)
        return 0;
    threads = team(threads, f->N * f->M * f->P * f->Q * f->C, 10000);
    plan p = NAME(make_plan)(f, threads);
    int64_t blocks_t = ceil_div(p.panels_t, p.block_t), blocks_m = ceil_div(p.panels_m, p.block_m), slices = smaller(f->C, 16);
    int wild = 0;
#pragma omp parallel num_threads(threads) reduction(| : wild) if (threads > 1)
    {
        real *own = scratch + p.shared + thread_index() * p.per_thread, *sums = own + p.own;
        if (p.filters_first) {
#pragma omp for schedule(dynamic)
            for (int64_t m = 0; m < p.panels_m; m++)
                wild |= !NAME(pack_filters)(f, &p, m, scratch + m * p.mr * f->C);
#pragma omp for schedule(dynamic)
            for (int64_t block = 0; block < blocks_t; block++) {
                int64_t t0 = block * p.block_t, t1 = smaller(p.panels_t, t0 + p.block_t);
                for (int64_t t = t0; t < t1; t++)
                    wild |= !NAME(pack_tiles)(f, &p, t, 0, f->C, own + (t - t0) * p.panel_v);
                for (int64_t m = 0; m < p.panels_m; m += p.block_m)
                    NAME(filter_block)(f, &p, m, smaller(p.panels_m, m + p.block_m), scratch + m * p.mr * f->C, t0, t1, own, sums);
            }
        } else {
#pragma omp for schedule(dynamic)
            for (int64_t job = 0; job < p.panels_t * slices; job++) {
                int64_t t = job / slices, slice = job % slices;
                wild |= !NAME(pack_tiles)(f, &p, t, f->C * slice / slices, f->C * (slice + 1) / slices, scratch + t * p.panel_v);
            }
#pragma omp for schedule(dynamic)
            for (int64_t block = 0; block < blocks_m; block++) {
                int64_t m0 = block * p.block_m, m1 = smaller(p.panels_m, m0 + p.block_m);
                for (int64_t m = m0; m < m1; m++)
                    wild |= !NAME(pack_filters)(f, &p, m, own + (m - m0) * p.mr * f->C);
                NAME(filter_block)(f, &p, m0, m1, own, 0, p.panels_t, scratch, sums);
            }
        }
    }
    return !wild;
}

/* The costs in multiply-adds, as measured with AVX-512 on an AMD Zen 5: of a tile's channel at each tap, likewise of a filter's;
 * the plain kernel too does more for a pixel's channel than to multiply. The weight gradient of minimal filtering fills up its
 * panels of channels; that of 5x5 windows has hardly paid. */
int NAME(winograd_tile)(const conv2d_geometry *g, int kind, int most)
{
    enum { WEIGHT = 13, PIXEL = 90, FEWEST = 8 };
    int window = (int)g->R;
    if (window != g->S || (window != 3 && (window != 5 || kind == 2)) || g->stride_h != 1 || g->stride_w != 1
        || g->dilation_h != 1 || g->dilation_w != 1 || g->G != 1 || g->C < FEWEST || g->K < FEWEST)
        return 0;
    int64_t height = kind == 1 ? g->H : g->P, width = kind == 1 ? g->W : g->Q;
    int64_t columns = kind == 2 ? round_up(g->C, NR) : g->C, tap = kind == 2 ? 50 : 28;
    int64_t best = g->N * height * width * (window * window * g->C * g->K + PIXEL * (g->C + g->K));
    int tile = 0;
    for (int n = 2; n + window <= most + 3; n += 2) { /* a tile is no wider than that of a 3x3 window */
        int64_t tiles = g->N * ceil_div(height, n) * ceil_div(width, n), taps = NAME(taps_of)(n, window);
        int64_t cost = taps * (tiles * (columns * g->K + tap * (columns + g->K)) + WEIGHT * g->C * g->K);
        if (cost < best) {
            best = cost;
            tile = n;
        }
    }
    return tile;
}

static filtering NAME(filtering_of)(int tile, const conv2d_geometry *g, int gradient)
{
    int window = (int)g->R;
    if (gradient)
        return (filtering){.N = g->N, .tile = tile, .C = g->K, .M = g->C, .H = g->P, .W = g->Q, .P = g->H, .Q = g->W,
                           .top = window - 1 - g->top, .left = window - 1 - g->left, .window = window, .w_m = window * window,
                           .w_c = g->C * window * window, .turned = 1};
    return (filtering){.N = g->N, .tile = tile, .C = g->C, .M = g->K, .H = g->H, .W = g->W, .P = g->P, .Q = g->Q, .top = g->top,
                       .left = g->left, .window = window, .w_m = g->C * window * window, .w_c = window * window};
}

static int64_t NAME(filter_scratch)(filtering f, int threads)
{
    int64_t most = 0;
    for (int t = 1; t <= threads; t++) {
        plan p = NAME(make_plan)(&f, t);
        most = larger(most, p.shared + t * p.per_thread);
    }
    return most * REAL_BYTES + 4096;
}

int64_t NAME(winograd_conv2d_scratch)(int tile, const conv2d_geometry *g, void *taps, int terms, int threads)
{
    return larger(NAME(filter_scratch)(NAME(filtering_of)(tile, g, 0), threads), NAME(conv2d_scratch)(g, taps, terms, threads));
}

void NAME(winograd_conv2d)(
    int tile, const real *x, const real *weight, const real *bias, const conv2d_geometry *g, int relu, real *out, int terms,
    void *scratch, int threads)
{
    filtering f = NAME(filtering_of)(tile, g, 0);
    f.x = x, f.w = weight, f.bias = bias, f.relu = relu, f.y = out;
    if (!NAME(filter)(&f, scratch, threads))
        NAME(conv2d)(x, weight, bias, g, relu, out, terms, scratch, threads);
}

int64_t NAME(winograd_conv2d_input_grad_scratch)(int tile, const conv2d_geometry *g, void *taps, int terms, int threads)
{
    return larger(NAME(filter_scratch)(NAME(filtering_of)(tile, g, 1), threads),
                  NAME(conv2d_input_grad_scratch)(g, taps, terms, threads));
}

void NAME(winograd_conv2d_input_grad)(
    int tile, const real *dy, const real *weight, const conv2d_geometry *g, real *out, int terms, void *scratch, int threads)
{
    filtering f = NAME(filtering_of)(tile, g, 1);
    f.x = dy, f.w = weight, f.y = out;
    if (!NAME(filter)(&f, scratch, threads))
        NAME(conv2d_input_grad)(dy, weight, g, out, terms, scratch, threads);
}

#endif
