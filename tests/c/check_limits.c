/* The machine's limits: that they do what is timed. */
#ifndef real
#define SOURCE "check_limits.c"
#include "driver.h"
#include "twice.h"

/* Eighths: their sum is exact in any order. */
static void check_memory(const void *options)
{
    int64_t n = *(const int64_t *)options, size = (int64_t)sizeof(float);
    describe("%lld numbers", (long long)n);
    float *x = take(INPUT, n * size, size), *out = take(OUTPUT, n * size, size), *sum = take(OUTPUT, size, size);
    double total = 0;
    for (int64_t i = 0; i < n; i++)
        total += (double)(x[i] = (float)floor(draw() * 8) / 8);
    mark("limit_copy");
    limit_copy(x, out, n, threads);
    mark("limit_read");
    limit_read(x, n, sum, threads);
    agree(n, (double)*sum, total, 0);
    for (int64_t i = 0; i < n; i++)
        agree(i, (double)out[i], (double)x[i], 0);
}

void memory(void)
{
    static const int64_t sizes[] = {0, 1, 7, 1000, 100003};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        run(check_memory, &sizes[i]);
}

#else

#include "check.h"

/* Each chain s -> s/2 + lane + 1 comes to 2*(lane + 1); out adds up the first and the last lane of all. */
static void NAME(check_fma)(const void *options)
{
    int64_t rounds = *(const int64_t *)options, lanes = VECTOR_BYTES / REAL_BYTES, team_size = minicnn_openmp() ? threads : 1;
    describe("%lld rounds", (long long)rounds);
    double *out = take(OUTPUT, sizeof *out, sizeof *out);
    int64_t chains = CALL(limit_flops_fma)() / 2 / lanes;
    CALL(limit_fma)(rounds, out, threads);
    if (rounds >= 100) {
        double expected = (double)(team_size * chains * 2 * (1 + lanes));
        agree(rounds, *out, expected, 16 * EPSILON * expected);
    }
}

void NAME(limits)(void)
{
    static const int64_t rounds[] = {0, 1, 200};
    for (size_t i = 0; i < sizeof rounds / sizeof *rounds; i++)
        run(NAME(check_fma), &rounds[i]);
}

#endif
