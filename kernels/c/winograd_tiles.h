/* The transforms of convolution by minimal filtering: of a panel's tiles, of its filters, and of the products' sums into the
 * outputs. Included once per real type, by winograd.c, which says how they are cut into panels.
 */
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
    int64_t from = n * s->column - f->left, low = smaller(extent, larger(0, -from));
    int64_t high = larger(low, smaller(extent, f->W - from));
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
            __builtin_prefetch(src + 2 * f->H * f->W); /* no prefetcher sees the same rows of the next channels coming */
            /* The inner rows of the tiles are all rows, unless the padding is an unusual one. */
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
    real down[6][4 * NR + 2 * LANES];
    real lines[6][3][4 * NR + LANES] __attribute__((aligned(LINE)));
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
