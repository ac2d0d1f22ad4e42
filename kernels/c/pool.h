/* What maximum and average pooling share. Included once per real type. */
#include "vector.h"

/* The taps of the window at place p that fall on a pixel 0 .. size - 1. */
UNUSED static void NAME(taps)(int64_t place, int64_t stride, int64_t before, int64_t size, int64_t window, int64_t *first, int64_t *end)
{
    int64_t start = place * stride - before;
    *first = larger(0, -start);
    *end = smaller(window, size - start);
}

/* Columns that are put together side by side, a multiple of 16, and the largest step between them. */
#define SPAN 64
#define STRIDES 4

/* Pixels of a row from the sums for each column of a stride, columns first .. first + n*step - 1 of the padded row. Of the sums
 * whole vectors are read. */
UNUSED static void NAME(interleave)(
    const real *const *sums, int64_t first, int64_t n, int64_t step, int64_t left, int64_t W, real *row)
{
    for (int64_t i0 = 0; i0 < n; i0 += SPAN) {
        real pixels[SPAN * STRIDES] __attribute__((aligned(LINE)));
        int64_t at = first + i0 * step, some = smaller(SPAN, n - i0);
        int64_t low = larger(0, left - at), high = smaller(some * step, W + left - at);
        const real *from = step == 1 ? sums[0] + i0 : pixels;
        if (high <= low)
            continue;
        if (step == 2)
            for (int64_t i = 0; i < some; i += LANES) {
                vector even = *(const unaligned *)(sums[0] + i0 + i), odd = *(const unaligned *)(sums[1] + i0 + i);
                *(vector *)(pixels + 2 * i) = SHUFFLE(even, odd, LOWER);
                *(vector *)(pixels + 2 * i + LANES) = SHUFFLE(even, odd, UPPER);
            }
        else if (step > 2)
            for (int64_t v = 0; v < step; v++)
                for (int64_t i = 0; i < some; i++)
                    pixels[step * i + v] = sums[v][i0 + i];
        NAME(copy_line)(from + low, row + at + low - left, high - low);
    }
}

/* 3x3 windows around every pixel of a small map, as in inception modules. The map is taken as one long row, in which the
 * pixels above and below lie W away: rows of 7 or 14 pixels would leave most of a vector empty. */
#define MAP 2048

UNUSED static int NAME(around)(const pool2d_geometry *g)
{
    int ones = g->stride_h == 1 && g->stride_w == 1 && g->top == 1 && g->bottom == 1 && g->left == 1 && g->right == 1;
    return ones && g->R == 3 && g->S == 3 && g->P == g->H && g->Q == g->W && (g->H + 2) * g->W + 32 <= MAP;
}

/* Whether each pixel of a map has one at its left, and at its right. */
UNUSED static void NAME(neighbours)(const pool2d_geometry *g, integer *left, integer *right)
{
    for (int64_t i = 0; i < MAP; i++) {
        left[i] = i % g->W > 0;
        right[i] = i % g->W < g->W - 1;
    }
}
