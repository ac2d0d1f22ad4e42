/* Pooling. Windows of the usual sizes take a plane in spans of columns: what a row of pixels gives along the row is worked out
 * once, in vectors, and then put together with the rows above and below. The others go one output after the other.
 * Included once per real type. */

/* The taps of the window at place p that fall on a pixel 0 .. size - 1. */
UNUSED static void NAME(taps)(int64_t place, int64_t stride, int64_t before, int64_t size, int64_t window, int64_t *first, int64_t *end)
{
    int64_t start = place * stride - before;
    *first = larger(0, -start);
    *end = smaller(window, size - start);
}

/* Outputs that are computed side by side, a multiple of 16, and what the windows may be for that. */
#define SPAN 64
#define WINDOW 16
#define STRIDES 4

UNUSED static int NAME(usual)(const pool2d_geometry *g)
{
    return g->R <= WINDOW && g->S <= WINDOW && g->stride_w <= STRIDES && g->Q > 2;
}

/* line[q] = from[q*step]: with `step` known the compiler makes vectors and shuffles of it. */
INLINE void NAME(every)(const real *from, int64_t step, int64_t n, real *line)
{
    for (int64_t q = 0; q < n; q++)
        line[q] = from[q * step];
}

/* phases[v][i]: column first + i*step + v of a line of W pixels, `filling` outside of it. */
UNUSED static void NAME(split)(
    const real *line, int64_t W, int64_t first, int64_t step, int64_t n, real filling, real phases[][SPAN + WINDOW])
{
    for (int64_t v = 0; v < step; v++) {
        int64_t at = first + v;
        int64_t low = smaller(n, at < 0 ? ceil_div(-at, step) : 0);
        int64_t high = larger(low, smaller(n, at < W ? (W - 1 - at) / step + 1 : 0));
        for (int64_t i = 0; i < low; i++)
            phases[v][i] = filling;
        if (step == 1)
            NAME(every)(line + at + low, 1, high - low, phases[v] + low);
        else if (step == 2)
            NAME(every)(line + at + 2 * low, 2, high - low, phases[v] + low);
        else
            NAME(every)(line + at + step * low, step, high - low, phases[v] + low);
        for (int64_t i = high; i < n; i++)
            phases[v][i] = filling;
    }
}

/* The gradients of maximum and mean. Pixel column i*stride + v of the padded row gets something from the windows i - j
 * whose tap j*stride + v lies on it: for each v the windows' numbers are added up in vectors, and then interleaved. */

/* Pixels of a row from the sums for each column of a stride, columns first .. first + n*step - 1 of the padded row. */
UNUSED static void NAME(interleave)(real sums[][SPAN], int64_t first, int64_t n, int64_t step, int64_t left, int64_t W, real *row)
{
    real pixels[SPAN * STRIDES];
    int64_t low = larger(0, left - first), high = smaller(n * step, W + left - first);
    if (high <= low)
        return;
    real *to = step == 1 ? sums[0] : pixels;
    if (step == 2)
        for (int64_t i = 0; i < n; i++) {
            pixels[2 * i] = sums[0][i];
            pixels[2 * i + 1] = sums[1][i];
        }
    else if (step > 2)
        for (int64_t v = 0; v < step; v++)
            for (int64_t i = 0; i < n; i++)
                pixels[step * i + v] = sums[v][i];
    memcpy(row + first + low - left, to + low, (size_t)(high - low) * REAL_BYTES);
}

/* The windows along an axis that lie on a pixel: low .. high - 1. */
UNUSED static void NAME(covering)(
    int64_t pixel, int64_t before, int64_t window, int64_t stride, int64_t places, int64_t *low, int64_t *high)
{
    int64_t at = pixel + before;
    *low = at < window ? 0 : (at - window) / stride + 1;
    *high = smaller(places, at / stride + 1);
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
