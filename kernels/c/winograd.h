/* Winograd's minimal filtering for 3x3 windows that move by one pixel: Winograd 1980, Lavin and Gray 2016, arXiv:1509.09308.
 *
 * Correlating n + 2 numbers d with 3 weights g gives n outputs; the products of two polynomials that it is made of are fixed
 * by their values at n + 2 points. F(n, 3): y = A' [(G g) * (B' d)], * number by number: n + 2 multiplications for n outputs. A
 * tile of 2x2 outputs takes 16 where the sum as it stands takes 36, one of 4x4 takes 36 of 144. Summed over channels, tap by
 * tap of the 16 or 36, these are matrix products. The weight gradient is F(3, n): 3x3 outputs, the tile of dy is the filter; B
 * is the same.
 *
 * The points are 0, 1, -1 and infinity for n = 2; 0, a, -a, b, -b and infinity for n = 4. With N(p) the product of p - q over the other finite points q,
 *
 *     A' column of p: 1, p, p^2, ...      G row of p: 1, p, p^2, ... / N(p)      B' row of p: coefficients of the product of x - q
 *     of infinity:    0, ..., 0, 1        0, ..., 0, 1                           of the product over all
 *
 * For n = 4:
 *
 *     B' = [ a2b2      0     -a2-b2    0      1   0 ]      the row of 0
 *          [ 0     -/+a b2   -b2      +/-a    1   0 ]      of a and -a
 *          [ 0     -/+b a2   -a2      +/-b    1   0 ]      of b and -b
 *          [ 0       a2b2     0     -a2-b2    0   1 ]      of infinity
 *
 * Rounding: each transform adds numbers of opposite sign, so that an output carries the rounding of larger sums. The relative
 * Frobenius error in float32 of n = 2 is that of plain sums, 2e-7 to 3e-7: fewer additions make up for it. An output depends on
 * no pixel beyond its window, since the tap of 0 is in the first sum alone and that of infinity in the last. So the precision
 * "highest" takes n = 2. For n = 4 the error is 1.5e-6 (64 channels) to 2.8e-6 (512) with the customary points 1 and 2; with 5/8
 * and 3/2, whose products are exact in binary too, 7e-7 to 1.2e-6, and an output feels the size of the pixels beside its own
 * window. F(6, 3) would pass 4e-6.
 *
 * Infinities, NaN and numbers beyond LIMIT would not give what the plain kernel gives: the transforms add up the squares of all
 * that they make, and where a sum passes the bound the kernel starts anew in the plain manner.
 */
#include "product.h"

#define POINT_A ((real)0.625)
#define POINT_B ((real)1.5)
/* The square of the largest transformed number; the square root leaves room for products, their sum and the way back. */
#define LIMIT (sizeof(real) == 4 ? (real)1e30f : (real)1e300)
/* Bytes: of a block's transformed tiles in conv2d, its sums, and of both operands in the weight gradient. */
#define BLOCK_TILES (1 << 20)
#define BLOCK_SUMS (1 << 19)
#define BLOCK_BOTH (8 << 20)
/* Between the taps of a packed operand, lest power-of-two strides all meet in the same cache sets. */
#define APART (2 * LINE)
/* MR filters in whole vectors. */
#define WIDE_MR ((MR + LANES - 1) / LANES * LANES)

/* v = B' d for tiles of n. */
INLINE void NAME(transform_pixels)(const int n, const vector *d, vector *v)
{
    if (n == 2) {
        v[0] = d[0] - d[2];
        v[1] = d[2] + d[1];
        v[2] = d[2] - d[1];
        v[3] = d[3] - d[1];
        return;
    }
    const real a = POINT_A, b = POINT_B, a2 = a * a, b2 = b * b;
    vector ea = d[4] - b2 * d[2], oa = a * d[3] - a * b2 * d[1];
    vector eb = d[4] - a2 * d[2], ob = b * d[3] - b * a2 * d[1];
    v[0] = d[4] - (a2 + b2) * d[2] + a2 * b2 * d[0];
    v[1] = ea + oa;
    v[2] = ea - oa;
    v[3] = eb + ob;
    v[4] = eb - ob;
    v[5] = d[5] - (a2 + b2) * d[3] + a2 * b2 * d[1];
}

/* u = G g for tiles of n and r numbers g: 3 weights, or the n numbers of dy. */
INLINE void NAME(transform_filter)(const int n, const int r, const vector *g, vector *u)
{
    if (n == 2) {
        vector even = (real)0.5 * (r == 3 ? g[0] + g[2] : g[0]), odd = (real)0.5 * g[1];
        u[0] = g[0];
        u[1] = even + odd;
        u[2] = even - odd;
        u[3] = g[r - 1];
        return;
    }
    const real a = POINT_A, b = POINT_B, a2 = a * a, b2 = b * b;
    const real n0 = 1 / (a2 * b2), na = 1 / (2 * a2 * (a2 - b2)), nb = 1 / (2 * b2 * (b2 - a2));
    vector ea = na * g[0] + a2 * na * g[2], oa = a * na * g[1];
    vector eb = nb * g[0] + b2 * nb * g[2], ob = b * nb * g[1];
    if (r == 4) {
        oa += a * a2 * na * g[3];
        ob += b * b2 * nb * g[3];
    }
    u[0] = n0 * g[0];
    u[1] = ea + oa;
    u[2] = ea - oa;
    u[3] = eb + ob;
    u[4] = eb - ob;
    u[5] = g[r - 1];
}

/* y = A' m for tiles of n: r numbers y, n or 3. */
INLINE void NAME(transform_back)(const int n, const int r, const vector *m, vector *y)
{
    if (n == 2) {
        vector sum = m[1] + m[2], difference = m[1] - m[2];
        y[0] = m[0] + sum;
        y[1] = difference;
        if (r == 3)
            y[2] = sum;
        y[r - 1] += m[3];
        return;
    }
    const real a = POINT_A, b = POINT_B, a2 = a * a, b2 = b * b;
    vector sa = m[1] + m[2], da = m[1] - m[2], sb = m[3] + m[4], db = m[3] - m[4];
    y[0] = m[0] + sa + sb;
    y[1] = a * da + b * db;
    y[2] = a2 * sa + b2 * sb;
    if (r == 4)
        y[3] = a * a2 * da + b * b2 * db;
    y[r - 1] += m[5];
}

/* Whether the sums of squares are such that the results hold. */
INLINE int NAME(is_tame)(vector squares)
{
    int tame = 1;
    for (int i = 0; i < LANES; i++)
        tame &= squares[i] < LIMIT;
    return tame;
}
