/* matmul and linear. */
#ifndef real
#define SOURCE "check_products.c"
#include "driver.h"
#include "twice.h"
#else

#include "check.h"

/* Sizes, the strides of the operands (0: whatever is contiguous), members, and whether the members share a. */
typedef struct {
    int64_t M, K, N, a_row, a_col, b_row, b_col, batch;
    int shared, bias, relu, terms;
    double extreme; /* a number of each operand */
} NAME(product_case);

static int64_t NAME(reach)(int64_t rows, int64_t row, int64_t columns, int64_t column)
{
    return rows && columns ? (rows - 1) * llabs(row) + (columns - 1) * column + 1 : 0;
}

/* out = a b for matrices of any strides; rows of a may go backwards. */
static void NAME(check_matmul)(const void *options)
{
    NAME(product_case) c = *(const NAME(product_case) *)options;
    describe("M %lld, K %lld, N %lld, strides %lld %lld, %lld %lld, batch %lld, terms %d, extreme %g", (long long)c.M, (long long)c.K,
             (long long)c.N, (long long)c.a_row, (long long)c.a_col, (long long)c.b_row, (long long)c.b_col, (long long)c.batch,
             c.terms, c.extreme);
    int64_t a_size = NAME(reach)(c.M, c.a_row, c.K, c.a_col), b_size = NAME(reach)(c.K, c.b_row, c.N, c.b_col);
    real *a = NAME(input)(a_size * (c.shared ? 1 : c.batch)), *b = NAME(input)(b_size * c.batch);
    real *out = NAME(output)(c.batch * c.M * c.N);
    if (c.extreme != 0 && c.K)
        a[a_size / 2] = (real)c.extreme, b[b_size / 3] = (real)(0.1 / c.extreme);
    a += c.a_row < 0 ? -(c.M - 1) * c.a_row : 0;
    int64_t *offsets = NULL;
    if (c.batch > 1) {
        offsets = take(INPUT, 3 * c.batch * (int64_t)sizeof(int64_t), sizeof(int64_t));
        for (int64_t i = 0; i < c.batch; i++) {
            offsets[3 * i] = c.shared ? 0 : i * a_size;
            offsets[3 * i + 1] = (c.batch - 1 - i) * b_size;
            offsets[3 * i + 2] = i * c.M * c.N;
        }
    }
    void *room = scratch(CALL(matmul_scratch)(c.batch, c.M, c.K, c.N, c.terms, threads));
    CALL(matmul)(a, b, out, c.batch, offsets, c.M, c.K, c.N, c.a_row, c.a_col, c.b_row, c.b_col, c.terms, room, threads);
    for (int64_t i = 0; i < c.batch * c.M * c.N && comparing(); i++) {
        int64_t member = i / (c.M * c.N), m = i / c.N % c.M, n = i % c.N;
        const real *left = a + (offsets ? offsets[3 * member] : 0), *right = b + (offsets ? offsets[3 * member + 1] : 0);
        sum_of sum = {0, 0};
        for (int64_t k = 0; k < c.K; k++)
            add_term(&sum, (double)left[m * c.a_row + k * c.a_col] * (double)right[k * c.b_row + n * c.b_col]);
        agree(i, (double)out[i], sum.value, NAME(loss)(c.terms) * sum.size);
    }
}

static void NAME(check_linear)(const void *options)
{
    NAME(product_case) c = *(const NAME(product_case) *)options;
    int64_t N = c.M, I = c.K, O = c.N;
    describe("N %lld, I %lld, O %lld, bias %d, relu %d, terms %d", (long long)N, (long long)I, (long long)O, c.bias, c.relu,
             c.terms);
    real *x = NAME(input)(N * I), *weight = NAME(input)(O * I), *bias = c.bias ? NAME(input)(O) : NULL, *out = NAME(output)(N * O);
    void *room = scratch(CALL(linear_scratch)(N, I, O, c.terms, threads));
    CALL(linear)(x, weight, bias, out, N, I, O, c.relu, c.terms, room, threads);
    for (int64_t i = 0; i < N * O && comparing(); i++) {
        sum_of sum = {0, 0};
        for (int64_t k = 0; k < I; k++)
            add_term(&sum, (double)x[i / O * I + k] * (double)weight[i % O * I + k]);
        add_term(&sum, bias ? (double)bias[i % O] : 0);
        sum.value = c.relu && sum.value < 0 ? 0 : sum.value;
        agree(i, (double)out[i], sum.value, NAME(loss)(c.terms) * sum.size);
    }
}

void NAME(products)(void)
{
    /* One, odd, a little less and more than any tile and block, few columns, few rows, nothing to add up. */
    static const int64_t sizes[][3] = {
        {1, 1, 1}, {1, 300, 1}, {7, 5, 3}, {13, 1, 33}, {14, 256, 32}, {15, 257, 33}, {29, 520, 65}, {5, 0, 4}, {97, 40, 50},
        {6, 513, 17}, {130, 20, 2}, {1100, 9, 5}, {5, 9, 1100}, {3, 260, 530}, {90, 70, 80},
    };
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        int64_t M = sizes[i][0], K = sizes[i][1], N = sizes[i][2];
        NAME(product_case) c = {.M = M, .K = K, .N = N, .batch = 1, .bias = i % 3 > 0, .relu = i % 3 > 1};
        for (int layout = 0; layout < 4; layout++) {
            c.a_row = layout & 1 ? 1 : K, c.a_col = layout & 1 ? M : 1;
            c.b_row = layout & 2 ? 1 : N, c.b_col = layout & 2 ? K : 1;
            c.extreme = layout == 1 ? 1e37 : layout == 2 ? 1e-37 : 0;
            RUN_FOR_TERMS(NAME(check_matmul), &c)
        }
        RUN_FOR_TERMS(NAME(check_linear), &c)
    }
    static const NAME(product_case) others[] = {
        {.M = 19, .K = 10, .N = 21, .a_row = -11, .a_col = 1, .b_row = 21, .b_col = 1, .batch = 1},
        {.M = 20, .K = 10, .N = 6, .a_row = 45, .a_col = 4, .b_row = 1, .b_col = 0, .batch = 1},
        {.M = 5, .K = 7, .N = 9, .a_row = 7, .a_col = 1, .b_row = 9, .b_col = 1, .batch = 6},
        {.M = 17, .K = 33, .N = 41, .a_row = 1, .a_col = 17, .b_row = 82, .b_col = 2, .batch = 3, .shared = 1},
        {.M = 40, .K = 31, .N = 3, .a_row = 31, .a_col = 1, .b_row = 1, .b_col = 31, .batch = 5},
        {.M = 1, .K = 1, .N = 1, .a_row = 1, .a_col = 1, .b_row = 1, .b_col = 1, .batch = 50},
    };
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        NAME(product_case) c = others[i];
        RUN_FOR_TERMS(NAME(check_matmul), &c)
    }
}

#endif
