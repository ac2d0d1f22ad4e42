/* Winograd's minimal filtering for 3x3 windows that move by one pixel: Winograd 1980, Lavin and Gray 2016, arXiv:1509.09308.
 *
 * Correlating n + 2 numbers d with 3 weights g gives n outputs; the products of two polynomials that it is made of are fixed
 * by their values at n + 2 points. F(4, 3): y = A' [(G g) * (B' d)], * number by number: 6 multiplications for 4 outputs, 36 for
 * the 4x4 outputs of a 6x6 tile, where the sum as it stands takes 144. Summed over channels, tap by tap of the 36, that is
 * 36 matrix products. The weight gradient is F(3, 4): 3x3 outputs, the 4x4 tile of dy is the filter; B is the same.
 *
 * The points are 0, a, -a, b, -b and infinity. With N(p) the product of p - q over the other finite points q,
 *
 *     A' column of p: 1, p, p^2, ...      G row of p: 1, p, p^2, ... / N(p)      B' row of p: coefficients of the product of x - q
 *     of infinity:    0, ..., 0, 1        0, ..., 0, 1                           of the product over all five
 *
 *     B' = [ a2b2      0     -a2-b2    0      1   0 ]      the row of 0
 *          [ 0     -/+a b2   -b2      +/-a    1   0 ]      of a and -a
 *          [ 0     -/+b a2   -a2      +/-b    1   0 ]      of b and -b
 *          [ 0       a2b2     0     -a2-b2    0   1 ]      of infinity
 *
 * Rounding: each transform adds numbers of opposite sign, so that an output carries the rounding of larger sums. With the
 * customary 1 and 2 the relative Frobenius error in float32 is 1.5e-6 (64 channels) to 2.8e-6 (512); with 5/8 and 3/2, whose
 * products are exact in binary too, 7e-7 to 1.2e-6; plain sums have 2e-7 to 5e-7. The larger tile F(6, 3) would pass 4e-6.
 * An output also feels the size of the pixels beside its own window, which is why the precision "highest" keeps to plain sums.
 *
 * Infinities, NaN and numbers beyond LIMIT would not give what the plain kernel gives: the transforms add up the squares of all
 * that they make, and where a sum passes the bound the kernel starts anew in the plain manner.
 */
#include "product.h"

#define TAPS 36
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

/* Every second number of two vectors, from the first or the second on. */
#undef EVEN
#undef ODD
#if VECTOR_BYTES / REAL_BYTES == 16
#define EVEN 0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30
#define ODD 1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31
#elif VECTOR_BYTES / REAL_BYTES == 8
#define EVEN 0, 2, 4, 6, 8, 10, 12, 14
#define ODD 1, 3, 5, 7, 9, 11, 13, 15
#elif VECTOR_BYTES / REAL_BYTES == 4
#define EVEN 0, 2, 4, 6
#define ODD 1, 3, 5, 7
#else
#define EVEN 0, 2
#define ODD 1, 3
#endif

/* v = B' d. */
INLINE void NAME(transform_pixels)(const vector d[6], vector v[6])
{
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

/* u = G g for n = 3 or 4 numbers g. */
INLINE void NAME(transform_filter)(const int n, const vector *g, vector u[6])
{
    const real a = POINT_A, b = POINT_B, a2 = a * a, b2 = b * b;
    const real n0 = 1 / (a2 * b2), na = 1 / (2 * a2 * (a2 - b2)), nb = 1 / (2 * b2 * (b2 - a2));
    vector ea = na * g[0] + a2 * na * g[2], oa = a * na * g[1];
    vector eb = nb * g[0] + b2 * nb * g[2], ob = b * nb * g[1];
    if (n == 4) {
        oa += a * a2 * na * g[3];
        ob += b * b2 * nb * g[3];
    }
    u[0] = n0 * g[0];
    u[1] = ea + oa;
    u[2] = ea - oa;
    u[3] = eb + ob;
    u[4] = eb - ob;
    u[5] = g[n - 1];
}

/* y = A' m, n = 3 or 4 numbers y. */
INLINE void NAME(transform_back)(const int n, const vector m[6], vector *y)
{
    const real a = POINT_A, b = POINT_B, a2 = a * a, b2 = b * b;
    vector sa = m[1] + m[2], da = m[1] - m[2], sb = m[3] + m[4], db = m[3] - m[4];
    y[0] = m[0] + sa + sb;
    y[1] = a * da + b * db;
    y[2] = a2 * sa + b2 * sb;
    if (n == 4)
        y[3] = a * a2 * da + b * b2 * db + m[5];
    else
        y[2] += m[5];
}

/* Whether the sums of squares are such that the results hold. */
INLINE int NAME(is_tame)(vector squares)
{
    int tame = 1;
    for (int i = 0; i < LANES; i++)
        tame &= squares[i] < LIMIT;
    return tame;
}
