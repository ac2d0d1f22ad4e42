/* Winograd's minimal filtering for 3x3 and 5x5 windows that move by one pixel: Winograd 1980; Lavin and Gray 2016,
 * arXiv:1509.09308.
 *
 * Correlating n + 2 numbers d with 3 weights g gives n outputs; the products of two polynomials that it is made of are fixed
 * by their values at n + 2 points. F(n, 3): y = A' [(G g) * (B' d)], * number by number: n + 2 multiplications for n outputs. A
 * tile of 2x2 outputs takes 16 where the sum as it stands takes 36, one of 4x4 takes 36 of 144. Summed over channels, tap by
 * tap of the 16 or 36, these are matrix products. The weight gradient is F(3, n): 3x3 outputs, the tile of dy is the filter; B
 * is the same. So it is for 5x5 windows in F(2, 5), 36 of 100 for 2x2 outputs, where the weight gradient would not pay.
 *
 * The points are 0, 1, -1 and infinity for F(2, 3), where the signs of G and B' are turned at 0; 0, a, -a, b, -b and infinity
 * for F(4, 3) and F(2, 5). With N(p) the product of p - q over the other finite points q,
 *
 *     A' column of p: 1, p, p^2, ...      G row of p: 1, p, p^2, ... / N(p)      B' row of p: coefficients of the product of x - q
 *     of infinity:    0, ..., 0, 1        0, ..., 0, 1                           of the product over all
 *
 * For tiles 6 pixels wide:
 *
 *     B' = [ a2b2      0     -a2-b2    0      1   0 ]      the row of 0
 *          [ 0     -/+a b2   -b2      +/-a    1   0 ]      of a and -a
 *          [ 0     -/+b a2   -a2      +/-b    1   0 ]      of b and -b
 *          [ 0       a2b2     0     -a2-b2    0   1 ]      of infinity
 *
 * Rounding: each transform adds numbers of opposite sign, so that an output carries the rounding of larger sums. The relative
 * Frobenius error in float32 of F(2, 3) is that of plain sums, 2e-7 to 3e-7: fewer additions make up for it. An output depends on
 * no pixel beyond its window, since the tap of 0 is in the first sum alone and that of infinity in the last. Within the window
 * a large pixel rounds for all, though the plain sum may meet it with a weight of 0: where pixels differ by more than SPREAD,
 * far more than those and the gradients of networks do (5 to 12), the kernel starts anew in the plain manner. So the precision
 * "highest" takes F(2, 3). For F(4, 3) the error is 1.5e-6 (64 channels) to 2.8e-6 (512) with the customary points 1 and 2; with 5/8
 * and 3/2, whose products are exact in binary too, 7e-7 to 1.2e-6, and an output feels the size of the pixels beside its own
 * window; F(2, 5) is like it. F(6, 3) would pass 4e-6.
 *
 * Infinities, NaN and numbers beyond LIMIT would not give what the plain kernel gives: the transforms add up the squares of all
 * that they make, and where a sum passes the bound the kernel starts anew in the plain manner.
 */
#include "product.h"

#define POINT_A ((real)0.625)
#define POINT_B ((real)1.5)
/* The square of the largest transformed number; the square root leaves room for products, their sum and the way back. */
#define LIMIT (sizeof(real) == 4 ? (real)1e30f : (real)1e300)
/* Powers of two between the largest pixel and the mean of them. */
#define SPREAD (REAL_BYTES == 4 ? 14 : 43)
/* Bytes: of a block's transformed tiles in conv2d, its sums, and of both operands in the weight gradient. */
#define BLOCK_TILES (1 << 20)
#define BLOCK_SUMS (1 << 19)
#define BLOCK_BOTH (8 << 20)
/* Between the taps of a packed operand, lest power-of-two strides all meet in the same cache sets. */
#define APART (2 * LINE)
/* MR filters in whole vectors. */
#define WIDE_MR ((MR + LANES - 1) / LANES * LANES)

/* v = B' d for tiles `wide` pixels wide. */
INLINE void NAME(transform_pixels)(const int wide, const vector *d, vector *v)
{
    if (wide == 4) {
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

/* The even and the odd part of scale * (g[0] + g[1]*p + g[2]*p^2 + ...), r numbers g. */
INLINE void NAME(at_point)(real scale, const real p, const int r, const vector *g, vector *even, vector *odd)
{
    *even = *odd = (vector){0};
#pragma GCC unroll 6
    for (int k = 0; k < r; k++, scale *= p)
        *(k % 2 ? odd : even) += scale * g[k];
}

/* u = G g for r numbers g. */
INLINE void NAME(transform_filter)(const int wide, const int r, const vector *g, vector *u)
{
    const real a = wide == 4 ? 1 : POINT_A, b = POINT_B, a2 = a * a, b2 = b * b;
    const real n0 = wide == 4 ? 1 : 1 / (a2 * b2), na = wide == 4 ? (real)0.5 : 1 / (2 * a2 * (a2 - b2));
    vector even, odd;
    u[0] = n0 * g[0];
    NAME(at_point)(na, a, r, g, &even, &odd);
    u[1] = even + odd;
    u[2] = even - odd;
    if (wide == 6) {
        NAME(at_point)(1 / (2 * b2 * (b2 - a2)), b, r, g, &even, &odd);
        u[3] = even + odd;
        u[4] = even - odd;
    }
    u[wide - 1] = g[r - 1];
}

/* y = A' m, n numbers y. */
INLINE void NAME(transform_back)(const int wide, const int n, const vector *m, vector *y)
{
    const real a = wide == 4 ? 1 : POINT_A, b = POINT_B;
    vector sa = m[1] + m[2], da = m[1] - m[2], sb = {0}, db = {0};
    real pa = 1, pb = 1;
    if (wide == 6)
        sb = m[3] + m[4], db = m[3] - m[4];
#pragma GCC unroll 6
    for (int k = 0; k < n; k++, pa *= a, pb *= b) {
        y[k] = pa * (k % 2 ? da : sa);
        if (wide == 6)
            y[k] += pb * (k % 2 ? db : sb);
    }
    y[0] += m[0];
    y[n - 1] += m[wide - 1];
}

/* Of numbers that are not 0: the sum of their exponents, how many they are, the largest exponent. */
typedef struct {
    choice sum, count, most;
} NAME(magnitudes);

#define magnitudes NAME(magnitudes)

/* Of the numbers of d where `of` is -1. */
INLINE void NAME(note)(vector d, choice of, magnitudes *m)
{
    choice e = ((choice)d >> (REAL_BYTES == 4 ? 23 : 52)) & (REAL_BYTES == 4 ? 255 : 2047) & of, larger = e > m->most;
    m->sum += e;
    m->count -= e > 0;
    m->most = (larger & e) | (~larger & m->most);
}

/* Whether the largest are so near the others that what they round is no loss. */
INLINE int NAME(is_even)(magnitudes m)
{
    int64_t sum = 0, count = 0, most = 0;
    for (int i = 0; i < LANES; i++) {
        sum += m.sum[i];
        count += m.count[i];
        most = larger(most, m.most[i]);
    }
    return most * count - sum <= SPREAD * count;
}

/* Whether the sums of squares are such that the results hold. */
INLINE int NAME(is_tame)(vector squares)
{
    int tame = 1;
    for (int i = 0; i < LANES; i++)
        tame &= squares[i] < LIMIT;
    return tame;
}
