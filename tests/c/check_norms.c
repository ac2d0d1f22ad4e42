/* Batch normalisation and local response normalisation. */
#ifndef real
#define SOURCE "check_norms.c"
#include "driver.h"
#include "twice.h"
#else

#include "check.h"

typedef struct {
    int64_t N, C, L;
    int residual, relu, training, in_place; /* 1: y is x, or dx is dy; 2: y is the residual, or dresidual is dy; 3: no dx */
    int64_t gap;                            /* numbers between one image and the next, of an array that is wider */
} NAME(norm_case);

/* Images with gaps in between, and a copy of what they hold. Sixteenths: sums of products of them are exact, so that there is no doubt
 * what is greater than 0. */
static real *NAME(images)(const NAME(norm_case) *c, enum kind kind, int64_t *stride, real **before)
{
    int64_t count = c->C * c->L;
    *stride = count + c->gap;
    count = c->N ? (c->N - 1) * *stride + count : 0;
    real *x = take(kind == OUTPUT ? INOUT : kind, count * REAL_BYTES, REAL_BYTES);
    *before = malloc((size_t)(count * REAL_BYTES) + 1);
    for (int64_t i = 0; i < count; i++)
        (*before)[i] = x[i] = (real)floor(draw() * 16) / 16;
    return x;
}

static real *NAME(sixteenths)(int64_t count)
{
    real *x = NAME(input)(count);
    for (int64_t i = 0; i < count; i++)
        x[i] = (real)floor((double)x[i] * 16) / 16;
    return x;
}

/* The numbers between the images are what they were. */
static void NAME(agree_gaps)(const NAME(norm_case) *c, const real *y, const real *before, int64_t stride)
{
    for (int64_t n = 0; n + 1 < c->N && y; n++)
        for (int64_t i = c->C * c->L; i < stride; i++)
            agree(n * stride + i, (double)y[n * stride + i], (double)before[n * stride + i], 0);
}

static void NAME(tell)(const NAME(norm_case) *c)
{
    describe("N %lld, C %lld, L %lld, residual %d, relu %d, training %d, in place %d, gap %lld", (long long)c->N, (long long)c->C,
             (long long)c->L, c->residual, c->relu, c->training, c->in_place, (long long)c->gap);
}

/* Mean and biased variance of a channel of sixteenths, whose sums are exact. */
static void NAME(moments)(const NAME(norm_case) *c, const real *x, int64_t stride, int64_t channel, double *mean, double *var)
{
    double sum = 0, squares = 0, count = (double)(c->N * c->L);
    for (int64_t i = 0; i < c->N * c->L; i++) {
        double v = (double)x[i / c->L * stride + channel * c->L + i % c->L];
        sum += v;
        squares += v * v;
    }
    *mean = sum / count;
    *var = (squares - sum * *mean) / count;
}

static void NAME(check_batch_norm)(const void *options)
{
    const NAME(norm_case) *c = options;
    batch_norm_layout *l = take(INPUT, sizeof *l, sizeof(int64_t));
    double eps = 0.1, momentum = 0.25, count = (double)(c->N * c->L);
    real *x_before, *y_before = NULL, *add_before = NULL, *mean_before = NULL, *var_before = NULL, *add = NULL, *y;
    NAME(tell)(c);
    *l = (batch_norm_layout){.N = c->N, .C = c->C, .L = c->L};
    real *x = NAME(images)(c, c->in_place == 1 ? INOUT : INPUT, &l->x, &x_before);
    if (c->residual)
        add = NAME(images)(c, c->in_place == 2 ? INOUT : INPUT, &l->residual, &add_before);
    real *scale = NAME(sixteenths)(c->C), *shift = NAME(sixteenths)(c->C), *mean, *invstd;
    real *average = NULL, *spread = NULL, *given = NULL;
    if (c->in_place == 1)
        y = x, l->y = l->x;
    else if (c->in_place == 2 && add)
        y = add, l->y = l->residual;
    else
        y = NAME(images)(c, OUTPUT, &l->y, &y_before);
    if (c->training) {
        mean = NAME(output)(c->C), invstd = NAME(output)(c->C);
        if (c->relu) {
            average = NAME(changed)(c->C, &mean_before);
            spread = NAME(changed)(c->C, &var_before);
        }
        CALL(batch_norm_training)(x, scale, shift, add, l, c->relu, eps, momentum, y, mean, invstd, average, spread, threads);
    } else {
        mean = NAME(sixteenths)(c->C), given = NAME(sixteenths)(c->C), invstd = NAME(output)(c->C);
        for (int64_t k = 0; k < c->C; k++)
            given[k] *= given[k];
        CALL(batch_norm)(x, scale, shift, mean, given, add, l, c->relu, eps, y, invstd, threads);
    }
    for (int64_t k = 0; k < c->C && comparing(); k++) {
        double centre = (double)mean[k], inverse, var;
        if (!c->training) {
            inverse = 1 / sqrt((double)given[k] + eps);
            agree(k, (double)invstd[k], inverse, EPSILON * inverse);
        } else {
            NAME(moments)(c, x_before, l->x, k, &centre, &var);
            inverse = 1 / sqrt(var + eps);
            agree(k, (double)mean[k], centre, 32 * EPSILON);
            agree(k, (double)invstd[k], inverse, 32 * EPSILON * inverse);
            if (average) {
                agree(k, (double)average[k], (double)mean_before[k] + momentum * (centre - (double)mean_before[k]), 32 * EPSILON);
                var *= count / (count - 1);
                double expected = (double)var_before[k] + momentum * (var - (double)var_before[k]);
                agree(k, (double)spread[k], expected, 32 * EPSILON * (1 + var));
            }
        }
        for (int64_t j = 0; j < c->N * c->L; j++) {
            int64_t n = j / c->L, at = k * c->L + j % c->L;
            sum_of sum = {0, 0};
            add_term(&sum, (double)x_before[n * l->x + at] * inverse * (double)scale[k]);
            add_term(&sum, -centre * inverse * (double)scale[k]);
            add_term(&sum, (double)shift[k]);
            add_term(&sum, add ? (double)add_before[n * l->residual + at] : 0);
            sum.value = c->relu && sum.value < 0 ? 0 : sum.value;
            sum.size += fabs(inverse * (double)scale[k]);
            NAME(agree_sum)(n * l->y + at, y[n * l->y + at], sum);
        }
    }
    NAME(agree_gaps)(c, y, y == x ? x_before : y == add ? add_before : y_before, l->y);
    free(x_before), free(y_before), free(add_before), free(mean_before), free(var_before);
}

static void NAME(check_batch_norm_grad)(const void *options)
{
    const NAME(norm_case) *c = options;
    batch_norm_layout *l = take(INPUT, sizeof *l, sizeof(int64_t));
    real *before, *x_before, *y_before = NULL, *dx_before = NULL, *dadd_before = NULL, *y = NULL, *dx = NULL, *dadd = NULL;
    NAME(tell)(c);
    *l = (batch_norm_layout){.N = c->N, .C = c->C, .L = c->L};
    real *dy = NAME(images)(c, c->in_place == 1 || (c->in_place == 2 && c->residual) ? INOUT : INPUT, &l->dy, &before);
    real *x = NAME(images)(c, INPUT, &l->x, &x_before);
    if (c->residual)
        y = NAME(images)(c, INPUT, &l->y, &y_before);
    real *scale = NAME(sixteenths)(c->C), *shift = NAME(sixteenths)(c->C), *mean = NAME(sixteenths)(c->C);
    real *invstd = NAME(sixteenths)(c->C), *dscale = NAME(output)(c->C), *dshift = NAME(output)(c->C);
    if (c->in_place == 1)
        dx = dy, l->dx = l->dy;
    else if (c->in_place != 3)
        dx = NAME(images)(c, OUTPUT, &l->dx, &dx_before);
    if (c->residual && c->in_place == 2)
        dadd = dy, l->dresidual = l->dy;
    else if (c->residual)
        dadd = NAME(images)(c, OUTPUT, &l->dresidual, &dadd_before);
    CALL(batch_norm_grad)(dy, x, y, scale, shift, mean, invstd, l, c->relu, c->training, dx, dadd, dscale, dshift, threads);
    double *given = calloc((size_t)(c->N * c->L) + 1, sizeof *given);
    for (int64_t k = 0; k < c->C && comparing(); k++) {
        sum_of sum = {0, 0}, product = {0, 0};
        double centre = (double)mean[k], inverse = (double)invstd[k], slope = (double)scale[k] * inverse;
        double count = (double)(c->N * c->L);
        for (int64_t j = 0; j < c->N * c->L; j++) {
            int64_t n = j / c->L, at = k * c->L + j % c->L;
            double normal = (double)x_before[n * l->x + at] - centre;
            double out = y ? (double)y_before[n * l->y + at] : normal * slope + (double)shift[k];
            given[j] = c->relu && !(out > 0) ? 0 : (double)before[n * l->dy + at];
            add_term(&sum, given[j]);
            add_term(&product, given[j] * normal * inverse);
        }
        NAME(agree_sum)(k, dshift[k], sum);
        NAME(agree_sum)(k, dscale[k], product);
        for (int64_t j = 0; j < c->N * c->L; j++) {
            int64_t n = j / c->L, at = k * c->L + j % c->L;
            double tilt = ((double)x_before[n * l->x + at] - centre) * inverse / count;
            sum_of term = {0, 0};
            add_term(&term, given[j] * slope);
            if (c->training) {
                add_term(&term, -sum.value / count * slope);
                add_term(&term, -product.value * tilt * slope);
                term.size += (sum.size / count + product.size * fabs(tilt)) * fabs(slope);
            }
            if (dx)
                NAME(agree_sum)(n * l->dx + at, dx[n * l->dx + at], term);
            if (dadd)
                agree(n * l->dresidual + at, (double)dadd[n * l->dresidual + at], given[j], 0);
        }
    }
    NAME(agree_gaps)(c, dx, dx == dy ? before : dx_before, l->dx);
    NAME(agree_gaps)(c, dadd, dadd == dy ? before : dadd_before, l->dresidual);
    free(given), free(before), free(x_before), free(y_before), free(dx_before), free(dadd_before);
}

typedef struct {
    int64_t N, C, L, size;
    double beta;
} NAME(response_case);

static void NAME(check_response)(const void *options)
{
    NAME(response_case) c = *(const NAME(response_case) *)options;
    describe("N %lld, C %lld, L %lld, size %lld, beta %g", (long long)c.N, (long long)c.C, (long long)c.L, (long long)c.size, c.beta);
    int64_t size = c.N * c.C * c.L, below = c.size / 2, above = (c.size - 1) / 2;
    double alpha = 0.3, k = 2;
    real *x = NAME(input)(size), *dy = NAME(input)(size), *out = NAME(output)(size), *scale = NAME(output)(size);
    real *dx = NAME(output)(size);
    CALL(local_response_norm)(x, c.N, c.C, c.L, c.size, alpha, c.beta, k, out, scale, threads);
    void *room = scratch(CALL(local_response_norm_grad_scratch)(c.C, threads));
    CALL(local_response_norm_grad)(dy, x, scale, c.N, c.C, c.L, c.size, alpha, c.beta, dx, room, threads);
    for (int64_t i = 0; i < size && comparing(); i++) {
        int64_t channel = i / c.L % c.C, first = i - channel * c.L;
        sum_of squares = {0, 0}, gradient = {0, 0};
        for (int64_t o = larger(0, channel - below); o <= smaller(c.C - 1, channel + above); o++)
            add_term(&squares, alpha * (double)x[first + o * c.L] * (double)x[first + o * c.L]);
        add_term(&squares, k);
        NAME(agree_sum)(i, scale[i], squares);
        agree(i, (double)out[i], (double)x[i] * pow(squares.value, -c.beta), 32 * EPSILON);
        add_term(&gradient, (double)dy[i] * pow((double)scale[i], -c.beta));
        for (int64_t o = larger(0, channel - above); o <= smaller(c.C - 1, channel + below); o++) {
            double s = (double)scale[first + o * c.L], share = (double)dy[first + o * c.L] * (double)x[first + o * c.L];
            add_term(&gradient, -2 * alpha * c.beta * (double)x[i] * share * pow(s, -c.beta - 1));
        }
        NAME(agree_sum)(i, dx[i], gradient);
    }
}

void NAME(norms)(void)
{
    static const int64_t shapes[][3] = {{1, 1, 2}, {2, 3, 35}, {4, 5, 1}, {3, 2, 4}, {65, 70, 1}, {2, 9, 1155}, {5, 40, 9},
        {3, 4, 9000}, {0, 3, 5}, {1, 2, 64}};
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
        for (int flags = 0; flags < 8; flags++)
            for (int in_place = 0; in_place < 4; in_place++) {
                NAME(norm_case) c = {.N = shapes[i][0], .C = shapes[i][1], .L = shapes[i][2], .residual = flags & 1,
                    .relu = flags >> 1 & 1, .training = flags >> 2, .in_place = in_place, .gap = flags % 3 * 7};
                int enough = c.L < 9000 || in_place == flags % 4, allowed = in_place != 3 && !(c.training && in_place == 1);
                if (!enough || (c.N == 0 && c.training))
                    continue;
                run(NAME(check_batch_norm_grad), &c);
                if (allowed)
                    run(NAME(check_batch_norm), &c);
            }
    static const NAME(response_case) responses[] = {
        {1, 1, 1, 1, 0.75}, {2, 7, 75, 5, 0.75}, {2, 7, 75, 4, 0.5}, {0, 3, 4, 5, 0.75}, {2, 3, 1, 50, 1.0}, {1, 6, 200, 3, 0.6},
        {3, 5, 2000, 5, 0.75},
    };
    for (size_t i = 0; i < sizeof responses / sizeof *responses; i++)
        run(NAME(check_response), &responses[i]);
}

#endif
