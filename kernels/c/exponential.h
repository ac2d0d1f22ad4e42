/* The exponential without a branch or a call, so that loops over it become vectors. Included once per real type.
 *
 * e**x = 2**n * e**r with n the whole number nearest to x/log(2), so that |r| <= log(2)/2, and e**r from its series: the terms
 * that are left out are below the rounding. A NaN stays one, whatever n it gives.
 */
#ifndef MINICNN_EXPONENTIAL_H
#define MINICNN_EXPONENTIAL_H
#define MANTISSA (REAL_BYTES == 4 ? 23 : 52)
#define BIAS (REAL_BYTES == 4 ? 127 : 1023)
/* Added to a number and taken away again it rounds to a whole number, which stands in the lowest bits in between. */
#define ROUNDER ((real)1.5 / (REAL_BYTES == 4 ? (real)FLT_EPSILON : (real)DBL_EPSILON))
#define EXP_LOWEST (REAL_BYTES == 4 ? (real)-104 : (real)-746)
#define EXP_HIGHEST (REAL_BYTES == 4 ? (real)89 : (real)710)
#endif

/* 2**n from rounded = n + ROUNDER. */
INLINE real NAME(power_of_2)(real rounded)
{
    word bits;
    real power;
    memcpy(&bits, &rounded, sizeof bits);
    bits = (bits << MANTISSA) + ((word)BIAS << MANTISSA);
    memcpy(&power, &bits, sizeof power);
    return power;
}

/* e**r - 1 and, in *rounded, n + ROUNDER. */
INLINE real NAME(reduced_expm1)(real x, real *rounded)
{
    *rounded = x * (real)1.4426950408889634 + ROUNDER;
    real n = *rounded - ROUNDER;
    /* log(2) in two parts: n times the first is exact. */
    real r = x - n * (real)(355.0 / 512) + n * (real)2.1219444005469058e-4;
#if REAL_BYTES == 4
    real series = (real)(1.0 / 5040);
#else
    real series = (real)(1.0 / 6227020800);
    series = series * r + (real)(1.0 / 479001600);
    series = series * r + (real)(1.0 / 39916800);
    series = series * r + (real)(1.0 / 3628800);
    series = series * r + (real)(1.0 / 362880);
    series = series * r + (real)(1.0 / 40320);
    series = series * r + (real)(1.0 / 5040);
#endif
    series = series * r + (real)(1.0 / 720);
    series = series * r + (real)(1.0 / 120);
    series = series * r + (real)(1.0 / 24);
    series = series * r + (real)(1.0 / 6);
    series = series * r + (real)(1.0 / 2);
    return r + r * r * series;
}

INLINE real NAME(exponential)(real x)
{
    real rounded;
    x = x < EXP_LOWEST ? EXP_LOWEST : x;
    x = x > EXP_HIGHEST ? EXP_HIGHEST : x;
    real y = 1 + NAME(reduced_expm1)(x, &rounded), n = rounded - ROUNDER;
    /* In two steps: 2**n itself may be too large or too small for the type. */
    real half = n * (real)0.5 + ROUNDER;
    return y * NAME(power_of_2)(half) * NAME(power_of_2)(n - (half - ROUNDER) + ROUNDER);
}

/* With y = e**(-2|x|) - 1: -y/(2 + y). Nothing cancels, near 0 neither. */
INLINE real NAME(hyperbolic_tangent)(real x)
{
    real rounded, size = MATH(fabs)(x);
    size = size > 20 ? 20 : size;
    real y = NAME(reduced_expm1)(-2 * size, &rounded), power = NAME(power_of_2)(rounded);
    y = power * y + (power - 1);
    return MATH(copysign)(y / (2 + y), x);
}
