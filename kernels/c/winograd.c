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

#include "winograd.h"

/* y[n][m] = bias + sum over c of w[m][c] correlated with x[n][c], 0 outside of x: x (N, C, H, W), y (N, M, P, Q). Filter m of
 * channel c starts at m*w_m + c*w_c; `turned`: it is read from its end. */
typedef struct {
    int64_t N, C, M, H, W, P, Q, top, left;
    const real *x, *w, *bias;
    int64_t w_m, w_c;
    int turned, relu;
    int window, tile; /* 3 or 5; the outputs of a tile are tile x tile, 2 or, for a window of 3, 4 */
    real *y;
} NAME(filtering);

/* How it is cut. The tiles lie in panels of NR, the filters in panels of mr; a block is block_t by block_m panels. */
typedef struct {
    int64_t across, down, tiles; /* per row of an image, rows of tiles per image, in all */
    int mr, taps;
    int64_t panels_t, panels_m, block_t, block_m;
    int filters_first; /* the filters are transformed beforehand */
    int64_t tap_v, panel_v, tap_u, tap_m; /* strides */
    int64_t shared, own, per_thread;
} NAME(plan);

/* Tiles that lie side by side in an image: from column `at` of a panel on `length` of them. */
typedef struct {
    int64_t at, length, n, row, column;
} NAME(stretch);

#define filtering NAME(filtering)
#define plan NAME(plan)
#define stretch NAME(stretch)

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

static int64_t NAME(find_stretches)(const plan *p, int64_t first, int64_t count, stretch *s)
{
    int64_t found = 0, line = first / p->across, column = first % p->across;
    for (int64_t at = 0; at < count; line++, column = 0) {
        int64_t length = smaller(p->across - column, count - at);
        s[found++] = (stretch){at, length, line / p->down, line % p->down, column};
        at += length;
    }
    return found;
}

/* n of the numbers from src on, the others 0. What ends before `end` may be read. */
INLINE vector NAME(load_some)(const real *src, int64_t n, const real *end)
{
    vector v = {0};
    if (end - src < LANES) {
        for (int64_t i = 0; i < smaller(n, LANES); i++)
            v[i] = src[i];
        return v;
    }
    choice lane;
    for (int i = 0; i < LANES; i++)
        lane[i] = i;
    return (vector)((choice)*(const unaligned *)src & (lane < (integer)n));
}

/* to[i] = row i of B' d for a stretch of tiles in one channel, `extent` pixels; what is outside of the image is 0. */
INLINE void NAME(transform_down)(
    const int n, const int wide, const filtering *f, const stretch *s, int64_t c, int64_t extent, int unusual, magnitudes *pixels,
    real (*to)[4 * NR + 2 * LANES])
{
    int64_t from = n * s->column - f->left, low = smaller(extent, larger(0, -from)), high = larger(low, smaller(extent, f->W - from));
    const real *image = f->x + (s->n * f->C + c) * f->H * f->W, *end = f->x + f->N * f->C * f->H * f->W;
    for (int i = 0; i < wide; i++)
        for (int64_t at = 0; at < low; at++) {
            FEW;
            to[i][at] = 0;
        }
    for (int64_t at = low; at < extent; at += LANES) {
        vector d[6], v[6];
#pragma GCC unroll 6
        for (int i = 0; i < wide; i++) {
            int64_t h = n * s->row + i - f->top;
            const real *src = image + h * f->W + from + at;
            d[i] = h < 0 || h >= f->H ? (vector){0} : NAME(load_some)(src, high - at, end);
            __builtin_prefetch(src + 2 * f->H * f->W);
            /* The inner pixels of the tiles are all pixels, unless the padding is an unusual one. */
            if (wide == 4 && (unusual || i == 1 || i == 2))
                NAME(note)(d[i], ~(choice){0}, pixels);
        }
        NAME(transform_pixels)(wide, d, v);
#pragma GCC unroll 6
        for (int i = 0; i < wide; i++)
            *(unaligned *)(to[i] + at) = v[i];
    }
}

/* d[i] = number i of each of LANES tiles that lie n apart in a line, i < n. */
INLINE void NAME(part)(const int n, const real *line, vector *d)
{
    const vector *from = (const vector *)line;
    vector even = SHUFFLE(from[0], from[1], EVEN), odd = SHUFFLE(from[0], from[1], ODD);
    if (n == 2) {
        d[0] = even, d[1] = odd;
        return;
    }
    vector later_even = SHUFFLE(from[2], from[3], EVEN), later_odd = SHUFFLE(from[2], from[3], ODD);
    d[0] = SHUFFLE(even, later_even, EVEN), d[2] = SHUFFLE(even, later_even, ODD);
    d[1] = SHUFFLE(odd, later_odd, EVEN), d[3] = SHUFFLE(odd, later_odd, ODD);
}

/* V[tap][c][tile] = B' d B for the tiles of a panel in the channels c0 .. c1 - 1. Returns whether they are tame. */
INLINE int NAME(pack_tiles_of)(
    const int n, const int r, const filtering *f, const plan *p, int64_t panel, int64_t c0, int64_t c1, real *v)
{
    const int wide = n + r - 1, parts = (wide + n - 1) / n;
    /* The rows of B' d of a stretch; those of the panel: columns 0 .. n - 1 of all tiles side by side, columns n .. 2n - 1, ... */
    real down[6][4 * NR + 2 * LANES], lines[6][3][4 * NR + LANES] __attribute__((aligned(LINE)));
    stretch s[NR];
    int64_t first = panel * NR, count = smaller(NR, p->tiles - first), found = NAME(find_stretches)(p, first, count, s);
    int unusual = f->top != 1 || f->left != 1 || f->P != f->H || f->Q != f->W;
    magnitudes pixels = {{0}, {0}, {0}};
    vector squares = {0};
    for (int64_t c = c0; c < c1; c++) {
        for (int64_t k = 0; k < found; k++) {
            int64_t length = n * s[k].length;
            NAME(transform_down)(n, wide, f, s + k, c, length + r - 1, unusual, &pixels, down);
            /* Whole vectors: what is too much the next stretches overwrite. */
            for (int i = 0; i < wide; i++)
                for (int j = 0; j < parts; j++)
                    for (int64_t at = 0; at < length; at += LANES) {
                        FEW;
                        *(unaligned *)(lines[i][j] + n * s[k].at + at) = *(const unaligned *)(down[i] + n * j + at);
                    }
        }
        for (int i = 0; i < wide && count < NR; i++)
            for (int j = 0; j < parts; j++)
                memset(lines[i][j] + n * count, 0, (size_t)(n * (NR - count) * REAL_BYTES));
        for (int half = 0; half < NR; half += LANES)
#pragma GCC unroll 6
            for (int i = 0; i < wide; i++) {
                vector d[8], to[6];
#pragma GCC unroll 3
                for (int j = 0; j < parts; j++)
                    NAME(part)(n, lines[i][j] + n * half, d + j * n);
                NAME(transform_pixels)(wide, d, to);
#pragma GCC unroll 6
                for (int j = 0; j < wide; j++) {
                    squares += to[j] * to[j];
                    *(vector *)(v + (wide * i + j) * p->tap_v + c * NR + half) = to[j];
                }
            }
    }
    return NAME(is_tame)(squares) && NAME(is_even)(pixels);
}

static __attribute__((noinline)) int NAME(pack_tiles)(
    const filtering *f, const plan *p, int64_t panel, int64_t c0, int64_t c1, real *v)
{
    return f->window == 5 ? NAME(pack_tiles_of)(2, 5, f, p, panel, c0, c1, v)
           : f->tile == 2 ? NAME(pack_tiles_of)(2, 3, f, p, panel, c0, c1, v)
                          : NAME(pack_tiles_of)(4, 3, f, p, panel, c0, c1, v);
}

/* U[tap][c][m] = G g G' for the filters of a panel. Returns whether they are tame. */
INLINE int NAME(pack_filters_of)(
    const int n, const int r, const filtering *f, const plan *p, int64_t panel, real *u)
{
    const int wide = n + r - 1, window = r * r;
    real g[25][WIDE_MR] __attribute__((aligned(LINE)));
    int64_t m0 = panel * p->mr, mr = smaller(p->mr, f->M - m0), all = f->M * f->C * window;
    vector squares = {0};
    for (int64_t c = 0; c < f->C; c++) {
        int64_t at = m0 * f->w_m + c * f->w_c;
        for (int64_t m = 0; m < mr; m += LANES)
            for (int64_t k = 0; k < window; k += LANES) {
                int64_t tap = smaller(k, larger(0, window - LANES)), some = smaller(LANES, mr - m);
                if (at + (m + some - 1) * f->w_m + tap + LANES <= all)
                    NAME(transpose)(f->w + at + m * f->w_m + tap, f->w_m, (int)some, g[tap] + m, WIDE_MR);
                else
                    for (; tap < window; tap++)
                        for (int64_t i = 0; i < LANES; i++)
                            g[tap][m + i] = i < some ? f->w[at + (m + i) * f->w_m + tap] : 0;
            }
        for (int64_t m = 0; m < mr; m += LANES) {
            vector t[5][6], from[5], to[6];
#pragma GCC unroll 5
            for (int i = 0; i < r; i++) {
#pragma GCC unroll 5
                for (int j = 0; j < r; j++)
                    from[j] = *(const vector *)(g[f->turned ? window - 1 - r * i - j : r * i + j] + m);
                NAME(transform_filter)(wide, r, from, t[i]);
            }
#pragma GCC unroll 6
            for (int j = 0; j < wide; j++) {
#pragma GCC unroll 5
                for (int i = 0; i < r; i++)
                    from[i] = t[i][j];
                NAME(transform_filter)(wide, r, from, to);
#pragma GCC unroll 6
                for (int i = 0; i < wide; i++) {
                    real *dst = u + (wide * i + j) * p->tap_u + c * mr + m;
                    squares += to[i] * to[i];
                    /* What a whole vector overwrites the next channels write. */
                    if (c * mr + m + LANES <= f->C * mr)
                        *(unaligned *)dst = to[i];
                    else
                        for (int64_t k = 0; k < mr - m; k++)
                            dst[k] = to[i][k];
                }
            }
        }
    }
    return NAME(is_tame)(squares);
}

static __attribute__((noinline)) int NAME(pack_filters)(const filtering *f, const plan *p, int64_t panel, real *u)
{
    return f->window == 5 ? NAME(pack_filters_of)(2, 5, f, p, panel, u)
           : f->tile == 2 ? NAME(pack_filters_of)(2, 3, f, p, panel, u)
                          : NAME(pack_filters_of)(4, 3, f, p, panel, u);
}

/* The outputs of one filter in one panel of tiles from its sums. */
INLINE void NAME(write_tiles_of)(
    const int n, const int wide, const filtering *f, const plan *p, int64_t m, const stretch *s, int64_t found, const real *sums)
{
    real lines[4][4 * NR] __attribute__((aligned(LINE)));
    real bias = f->bias ? f->bias[m] : 0;
    for (int half = 0; half < NR; half += LANES) {
        vector t[6][4];
#pragma GCC unroll 6
        for (int j = 0; j < wide; j++) {
            vector from[6];
#pragma GCC unroll 6
            for (int i = 0; i < wide; i++)
                from[i] = *(const vector *)(sums + (wide * i + j) * p->tap_m + half);
            NAME(transform_back)(wide, n, from, t[j]);
        }
#pragma GCC unroll 4
        for (int i = 0; i < n; i++) {
            vector from[6], y[4], *to = (vector *)(lines[i] + n * half);
#pragma GCC unroll 6
            for (int j = 0; j < wide; j++)
                from[j] = t[j][i];
            NAME(transform_back)(wide, n, from, y);
#pragma GCC unroll 4
            for (int j = 0; j < n; j++) {
                y[j] += bias;
                if (f->relu)
                    y[j] = (vector)((choice)y[j] & ~(y[j] < 0));
            }
            vector low = SHUFFLE(y[0], y[n / 2], LOWER), high = SHUFFLE(y[0], y[n / 2], UPPER);
            if (n == 2) {
                to[0] = low, to[1] = high;
                continue;
            }
            vector odd_low = SHUFFLE(y[1], y[n - 1], LOWER), odd_high = SHUFFLE(y[1], y[n - 1], UPPER);
            to[0] = SHUFFLE(low, odd_low, LOWER);
            to[1] = SHUFFLE(low, odd_low, UPPER);
            to[2] = SHUFFLE(high, odd_high, LOWER);
            to[3] = SHUFFLE(high, odd_high, UPPER);
        }
    }
    for (int64_t k = 0; k < found; k++) {
        int64_t row = n * s[k].row, column = n * s[k].column, length = smaller(n * s[k].length, f->Q - column);
        real *y = f->y + ((s[k].n * f->M + m) * f->P + row) * f->Q + column;
        for (int64_t i = 0; i < smaller(n, f->P - row); i++) {
            NAME(copy_line)(lines[i] + n * s[k].at, y + i * f->Q, length);
            for (int64_t at = 0; at < length; at += LANES)
                __builtin_prefetch(y + (i + f->P) * f->Q + at, 1);
        }
    }
}

static __attribute__((noinline)) void NAME(write_tiles)(
    const filtering *f, const plan *p, int64_t m, const stretch *s, int64_t found, const real *sums)
{
    if (f->window == 5)
        NAME(write_tiles_of)(2, 6, f, p, m, s, found, sums);
    else if (f->tile == 2)
        NAME(write_tiles_of)(2, 4, f, p, m, s, found, sums);
    else
        NAME(write_tiles_of)(4, 6, f, p, m, s, found, sums);
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
    int64_t columns = kind == 2 ? round_up(g->C, NR) : g->C, tap = kind == 2 ? 50 : 36;
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
