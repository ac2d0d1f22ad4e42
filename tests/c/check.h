/* What the checks of both real types share. Included once per real type, by way of the kernels' own twice.h. */
#define EPSILON ((double)(REAL_BYTES == 4 ? FLT_EPSILON : DBL_EPSILON))
#define TEXT_OF(x) #x
#define TEXT(x) TEXT_OF(x)
#define CALL(kernel) (mark(TEXT(NAME(kernel))), NAME(kernel))

/* An array of random numbers that is only read. */
UNUSED static real *NAME(input)(int64_t count)
{
    real *x = take(INPUT, count * REAL_BYTES, REAL_BYTES);
    for (int64_t i = 0; i < count; i++)
        x[i] = (real)draw();
    return x;
}

UNUSED static real *NAME(output)(int64_t count) { return take(OUTPUT, count * REAL_BYTES, REAL_BYTES); }

/* An array that a kernel changes in place, and a copy of what it held, to be freed. */
UNUSED static real *NAME(changed)(int64_t count, real **before)
{
    real *x = take(INOUT, count * REAL_BYTES, REAL_BYTES);
    *before = malloc((size_t)(count * REAL_BYTES) + 1);
    for (int64_t i = 0; i < count; i++)
        (*before)[i] = x[i] = (real)draw();
    return x;
}

/* A sum of terms in double precision, and the sum of their sizes, which bounds the rounding. */
#ifndef MINICNN_CHECK_H
#define MINICNN_CHECK_H
typedef struct {
    double value, size;
} sum_of;

static inline void add_term(sum_of *sum, double term)
{
    sum->value += term;
    sum->size += fabs(term);
}
#endif

/* What of a sum of products may be lost that was computed with so many `terms` (minicnn.h). Rounding grows with the root of the
 * number of products; a few dozen units are enough for all that is tried here. */
UNUSED static double NAME(loss)(int terms)
{
    double lost = REAL_BYTES == 8 ? 0 : terms == 1 ? 1.0 / 128 : terms == 3 ? 1.0 / 32768 : 0;
    return lost + 32 * EPSILON;
}

UNUSED static void NAME(agree_sum)(int64_t i, real actual, sum_of sum) { agree(i, (double)actual, sum.value, 32 * EPSILON * sum.size); }

/* Run a check for each number of terms that these kernels know: more than one only where they split numbers. */
#ifndef MINICNN_ALL_TERMS_H
#define MINICNN_ALL_TERMS_H
static const int all_terms[] = {0, 6, 3, 1};
#endif
#define RUN_FOR_TERMS(check, options) \
    for (int known = REAL_BYTES == 4 && minicnn_terms(2) ? 4 : 1, t = 0; t < known; t++) { \
        (options)->terms = all_terms[t]; \
        run(check, options); \
    }
