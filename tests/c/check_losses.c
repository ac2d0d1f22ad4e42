/* Softmax and cross-entropy. */
#ifndef real
#define SOURCE "check_losses.c"
#include "driver.h"
#include "twice.h"
#else

#include "check.h"

typedef struct {
    int64_t N, C;
    double smoothing;
    int weighted;
} NAME(loss_case);

/* Logarithm of the sum of a row's exponentials, and its largest number. */
static double NAME(log_sum)(const real *x, int64_t C)
{
    double most = (double)x[0], sum = 0;
    for (int64_t c = 0; c < C; c++)
        most = fmax(most, (double)x[c]);
    for (int64_t c = 0; c < C; c++)
        sum += exp((double)x[c] - most);
    return most + log(sum);
}

static void NAME(check_log_softmax)(const void *options)
{
    NAME(loss_case) l = *(const NAME(loss_case) *)options;
    describe("N %lld, C %lld", (long long)l.N, (long long)l.C);
    real *x = NAME(input)(l.N * l.C), *out = NAME(output)(l.N * l.C);
    for (int64_t i = 0; i < l.N * l.C; i++)
        x[i] *= 10;
    CALL(log_softmax)(x, l.N, l.C, out, threads);
    for (int64_t n = 0; n < l.N && comparing(); n++) {
        double shift = NAME(log_sum)(x + n * l.C, l.C);
        for (int64_t i = n * l.C; i < (n + 1) * l.C; i++)
            agree(i, (double)out[i], (double)x[i] - shift, 32 * EPSILON * 30);
    }
}

static void NAME(check_cross_entropy)(const void *options)
{
    NAME(loss_case) l = *(const NAME(loss_case) *)options;
    describe("N %lld, C %lld, smoothing %g, weighted %d", (long long)l.N, (long long)l.C, l.smoothing, l.weighted);
    const int64_t ignore = -100;
    real *x = NAME(input)(l.N * l.C), *weights = l.weighted ? NAME(input)(l.C) : NULL, *dloss = NAME(input)(l.N);
    int64_t *labels = take(INPUT, l.N * (int64_t)sizeof(int64_t), sizeof(int64_t));
    for (int64_t n = 0; n < l.N; n++)
        labels[n] = n % 3 == 2 ? ignore : n % 3 == 1 ? l.C - 1 : draw_below(l.C);
    for (int64_t i = 0; i < l.N * l.C; i++)
        x[i] *= 10;
    real *out = NAME(output)(l.N), *p = NAME(output)(l.N * l.C), *dx = NAME(output)(l.N * l.C);
    CALL(cross_entropy)(x, labels, weights, l.smoothing, ignore, l.N, l.C, out, p, threads);
    CALL(cross_entropy_grad)(dloss, p, labels, weights, l.smoothing, ignore, l.N, l.C, dx, threads);
    for (int64_t n = 0; n < l.N && comparing(); n++) {
        double shift = NAME(log_sum)(x + n * l.C, l.C);
        sum_of loss = {0, 0}, whole = {0, 0};
        for (int pass = 0; pass < 2; pass++) /* the gradient needs the sum of all targets */
            for (int64_t c = 0; c < l.C; c++) {
                int64_t i = n * l.C + c;
                double t = l.smoothing / (double)l.C + (c == labels[n] ? 1 - l.smoothing : 0);
                double share = exp((double)x[i] - shift);
                t *= labels[n] == ignore ? 0 : weights ? (double)weights[c] : 1;
                if (pass == 0) {
                    add_term(&loss, -t * ((double)x[i] - shift));
                    loss.size += fabs(t) * 30;
                    add_term(&whole, t);
                    agree(i, (double)p[i], share, 64 * EPSILON);
                } else
                    agree(i, (double)dx[i], (share * whole.value - t) * (double)dloss[n], 128 * EPSILON * (whole.size + fabs(t)));
            }
        NAME(agree_sum)(n, out[n], loss);
    }
}

void NAME(losses)(void)
{
    static const int64_t shapes[][2] = {{1, 1}, {5, 10}, {300, 17}, {2, 1000}, {33, 3}, {64, 1003}};
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        NAME(loss_case) l = {.N = shapes[i][0], .C = shapes[i][1]};
        run(NAME(check_log_softmax), &l);
        for (l.weighted = 0; l.weighted < 2; l.weighted++)
            for (int smoothed = 0; smoothed < 2; smoothed++) {
                l.smoothing = smoothed ? 0.1 : 0;
                run(NAME(check_cross_entropy), &l);
            }
    }
}

#endif
