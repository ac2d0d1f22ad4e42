/* Element by element: activations, dropout, steps of the optimisers. */
#ifndef real
#define SOURCE "check_elements.c"
#include "driver.h"
enum { RELU, SIGMOID, TANH };
#include "twice.h"
#else

#include "check.h"

typedef struct {
    int64_t count;
    int which, in_place;
} NAME(element_case);

static void NAME(check_function)(const void *options)
{
    NAME(element_case) c = *(const NAME(element_case) *)options;
    describe("%lld numbers, in place %d", (long long)c.count, c.in_place);
    static const double odd[] = {NAN, INFINITY, -INFINITY, 0.0, -0.0, 1e30, -1e30, 1e-30};
    real *before = NULL, *x = c.in_place ? NAME(changed)(c.count, &before) : NAME(input)(c.count);
    for (int64_t i = 0; i < c.count; i++) {
        x[i] = i % 9 == 8 ? (real)odd[i / 9 % 8] : 20 * x[i];
        if (before)
            before[i] = x[i];
    }
    real *out = c.in_place ? x : NAME(output)(c.count);
    if (c.which == RELU)
        CALL(relu)(x, out, c.count, threads);
    else if (c.which == SIGMOID)
        CALL(sigmoid)(x, out, c.count, threads);
    else
        CALL(tanh)(x, out, c.count, threads);
    for (int64_t i = 0; i < c.count && comparing(); i++) {
        double v = (double)(before ? before : x)[i];
        double expected = c.which == RELU ? (v < 0 ? 0 : v) : c.which == SIGMOID ? 1 / (1 + exp(-v)) : tanh(v);
        double tiny = REAL_BYTES == 4 ? FLT_MIN : DBL_MIN;
        agree(i, (double)out[i], expected, c.which == RELU ? 0 : 4 * EPSILON * fabs(expected) + tiny);
    }
    free(before);
}

static void NAME(check_finite)(const void *options)
{
    int64_t count = *(const int64_t *)options;
    static const double odd[] = {NAN, INFINITY, -INFINITY};
    describe("%lld numbers", (long long)count);
    real *x = NAME(input)(count);
    agree(-1, CALL(all_finite)(x, count, threads), 1, 0);
    for (int i = 0; i < 9 && count; i++) {
        int64_t place = i / 3 * (count - 1) / 2;
        real before = x[place];
        x[place] = (real)odd[i % 3];
        agree(place, CALL(all_finite)(x, count, threads), 0, 0);
        x[place] = before;
    }
}

static void NAME(check_gradient)(const void *options)
{
    NAME(element_case) c = *(const NAME(element_case) *)options;
    describe("%lld numbers, in place %d", (long long)c.count, c.in_place);
    real *before = NULL, *dy = c.in_place ? NAME(changed)(c.count, &before) : NAME(input)(c.count);
    real *y = NAME(input)(c.count), *out = c.in_place ? dy : NAME(output)(c.count);
    if (c.which == RELU)
        CALL(relu_grad)(dy, y, out, c.count, threads);
    else if (c.which == SIGMOID)
        CALL(sigmoid_grad)(dy, y, out, c.count, threads);
    else
        CALL(tanh_grad)(dy, y, out, c.count, threads);
    for (int64_t i = 0; i < c.count && comparing(); i++) {
        double d = (double)(before ? before : dy)[i], v = (double)y[i];
        double expected = c.which == RELU ? (v > 0 ? d : 0) : c.which == SIGMOID ? d * v * (1 - v) : d * (1 - v * v);
        agree(i, (double)out[i], expected, c.which == RELU ? 0 : 4 * EPSILON);
    }
    free(before);
}

typedef struct {
    int64_t N, K, L;
    int in_place;
} NAME(map_case);

static void NAME(check_relu_grad_sum)(const void *options)
{
    NAME(map_case) c = *(const NAME(map_case) *)options;
    describe("N %lld, K %lld, L %lld, in place %d", (long long)c.N, (long long)c.K, (long long)c.L, c.in_place);
    int64_t count = c.N * c.K * c.L;
    real *before = NULL, *dy = c.in_place ? NAME(changed)(count, &before) : NAME(input)(count);
    real *y = NAME(input)(count), *out = c.in_place ? dy : NAME(output)(count), *sums = NAME(output)(c.K);
    CALL(relu_grad_sum)(dy, y, c.N, c.K, c.L, out, sums, threads);
    for (int64_t k = 0; k < c.K && comparing(); k++) {
        sum_of sum = {0, 0};
        for (int64_t j = 0; j < c.N * c.L; j++) {
            int64_t i = (j / c.L * c.K + k) * c.L + j % c.L;
            double expected = y[i] > 0 ? (double)(before ? before : dy)[i] : 0;
            agree(i, (double)out[i], expected, 0);
            add_term(&sum, expected);
        }
        NAME(agree_sum)(k, sums[k], sum);
    }
    free(before);
}

/* Word `i` of Philox 4x32-10, from the paper's own description. */
static uint32_t NAME(philox_word)(uint32_t seed, uint32_t stream, uint64_t step, uint64_t i)
{
    uint32_t c[4] = {(uint32_t)(i / 4), (uint32_t)(i / 4 >> 32), (uint32_t)step, (uint32_t)(step >> 32)};
    for (int round = 0; round < 10; round++) {
        uint64_t p0 = (uint64_t)0xD2511F53 * c[0], p1 = (uint64_t)0xCD9E8D57 * c[2];
        uint32_t next[4] = {(uint32_t)(p1 >> 32) ^ c[1] ^ seed, (uint32_t)p1, (uint32_t)(p0 >> 32) ^ c[3] ^ stream, (uint32_t)p0};
        memcpy(c, next, sizeof c);
        seed += 0x9E3779B9u;
        stream += 0xBB67AE85u;
    }
    return c[i % 4];
}

static void NAME(check_dropout)(const void *options)
{
    NAME(element_case) c = *(const NAME(element_case) *)options;
    describe("%lld numbers, in place %d", (long long)c.count, c.in_place);
    const uint32_t seed = 0xFFFFFFF0u, stream = 77;
    const uint64_t step = ((uint64_t)1 << 40) + 5, thresholds[] = {0, 1u << 31, 4000000000u};
    uint64_t threshold = thresholds[c.which];
    real *before = NULL, *x = c.in_place ? NAME(changed)(c.count, &before) : NAME(input)(c.count);
    real *out = c.in_place ? x : NAME(output)(c.count);
    CALL(dropout)(x, 1.25, threshold, seed, stream, step, out, c.count, threads);
    for (int64_t i = 0; i < c.count && comparing(); i++) {
        int kept = NAME(philox_word)(seed, stream, step, (uint64_t)i) >= threshold;
        agree(i, (double)out[i], kept ? 1.25 * (double)(before ? before : x)[i] : 0, 2 * EPSILON);
    }
    free(before);
}

typedef struct {
    int64_t count;
    double momentum, decay;
    int velocity, flag; /* nesterov, or decoupled */
} NAME(step_case);

static void NAME(check_sgd)(const void *options)
{
    NAME(step_case) c = *(const NAME(step_case) *)options;
    describe("%lld numbers, momentum %g, decay %g, velocity %d, nesterov %d", (long long)c.count, c.momentum, c.decay,
             c.velocity, c.flag);
    real *w_before, *v_before = NULL, *w = NAME(changed)(c.count, &w_before), *g = NAME(input)(c.count);
    real *v = c.velocity ? NAME(changed)(c.count, &v_before) : NULL;
    CALL(sgd)(w, g, v, 0.1, c.momentum, c.decay, c.flag, c.count, threads);
    for (int64_t i = 0; i < c.count && comparing(); i++) {
        double d = (double)g[i] + c.decay * (double)w_before[i], speed = v ? c.momentum * (double)v_before[i] + d : d;
        double step = v && c.flag ? d + c.momentum * speed : speed;
        agree(i, (double)w[i], (double)w_before[i] - 0.1 * step, 16 * EPSILON);
        if (v)
            agree(i, (double)v[i], speed, 16 * EPSILON);
    }
    free(w_before);
    free(v_before);
}

static void NAME(check_adam)(const void *options)
{
    NAME(step_case) c = *(const NAME(step_case) *)options;
    describe("%lld numbers, decay %g, decoupled %d", (long long)c.count, c.decay, c.flag);
    const double lr = 0.1, beta1 = 0.9, beta2 = 0.99, eps = 1e-8;
    const int64_t step = 3;
    real *w_before, *m_before, *v_before, *w = NAME(changed)(c.count, &w_before), *g = NAME(input)(c.count);
    real *m = NAME(changed)(c.count, &m_before), *v = NAME(changed)(c.count, &v_before);
    for (int64_t i = 0; i < c.count; i++)
        v[i] = v_before[i] = v[i] * v[i] + (real)0.01;
    CALL(adam)(w, g, m, v, lr, beta1, beta2, eps, c.decay, c.flag, step, c.count, threads);
    for (int64_t i = 0; i < c.count && comparing(); i++) {
        double old = (double)w_before[i], d = (double)g[i] + (c.flag ? 0 : c.decay * old);
        double first = beta1 * (double)m_before[i] + (1 - beta1) * d, second = beta2 * (double)v_before[i] + (1 - beta2) * d * d;
        double size = sqrt(second / (1 - pow(beta2, (double)step))) + eps, rate = lr / (1 - pow(beta1, (double)step));
        agree(i, (double)m[i], first, 16 * EPSILON);
        agree(i, (double)v[i], second, 16 * EPSILON);
        agree(i, (double)w[i], old * (c.flag ? 1 - lr * c.decay : 1) - rate * first / size, 64 * EPSILON * (1 + rate / size));
    }
    free(w_before);
    free(m_before);
    free(v_before);
}

void NAME(elements)(void)
{
    static const int64_t counts[] = {0, 1, 3, 15, 17, 127, 128, 129, 1000, 100003};
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++) {
        NAME(element_case) c = {.count = counts[i]};
        run(NAME(check_finite), &counts[i]);
        for (c.in_place = 0; c.in_place < 2; c.in_place++) {
            for (c.which = RELU; c.which <= TANH; c.which++) {
                run(NAME(check_function), &c);
                run(NAME(check_gradient), &c);
                run(NAME(check_dropout), &c);
            }
        }
        for (int flags = 0; flags < 8; flags++) {
            NAME(step_case) s = {c.count, flags & 4 ? 0.9 : 0, flags & 2 ? 0.01 : 0, flags >> 2, flags & 1 & flags >> 2};
            run(NAME(check_sgd), &s);
            if (flags < 4) {
                s.flag = flags & 1;
                run(NAME(check_adam), &s);
            }
        }
    }
    static const int64_t shapes[][3] = {{1, 1, 1}, {0, 3, 4}, {2, 3, 35}, {65, 70, 1}, {3, 5, 1155}, {700, 150, 1}, {2, 4, 13001}};
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
        for (int in_place = 0; in_place < 2; in_place++) {
            NAME(map_case) c = {shapes[i][0], shapes[i][1], shapes[i][2], in_place};
            run(NAME(check_relu_grad_sum), &c);
        }
}

#endif
