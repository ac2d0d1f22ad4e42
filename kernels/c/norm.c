/* Sums over channels, batch normalisation, local response normalisation. x is (N, C, L), L the pixels of a map. */
#ifndef real
#define SOURCE "norm.c"
#include "twice.h"
#else

/* Independent sums that the compiler keeps in vectors. Each stays short in `real`; what it gives is added up in double,
 * still one for each lane, so that the lanes meet only once a channel. */
#define SUMS (256 / REAL_BYTES)
#define STRETCH (16 * SUMS)

static double NAME(meet)(const double *lanes)
{
    double total = 0;
    for (int lane = 0; lane < SUMS; lane++)
        total += lanes[lane];
    return total;
}

static void NAME(sum)(const real *x, int64_t n, double *total)
{
    for (int64_t start = 0; start < n; start += STRETCH) {
        int64_t end = smaller(n, start + STRETCH), i = start;
        real sums[SUMS] = {0};
        for (; i + SUMS <= end; i += SUMS)
            for (int lane = 0; lane < SUMS; lane++)
                sums[lane] += x[i + lane];
        for (int lane = 0; i < end; i++, lane++)
            sums[lane] += x[i];
        for (int lane = 0; lane < SUMS; lane++)
            total[lane] += sums[lane];
    }
}

/* Sum of (x - mean)**2. */
static void NAME(squares)(const real *x, real mean, int64_t n, double *total)
{
    for (int64_t start = 0; start < n; start += STRETCH) {
        int64_t end = smaller(n, start + STRETCH), i = start;
        real sums[SUMS] = {0};
        for (; i + SUMS <= end; i += SUMS)
            for (int lane = 0; lane < SUMS; lane++)
                sums[lane] += (x[i + lane] - mean) * (x[i + lane] - mean);
        for (int lane = 0; i < end; i++, lane++)
            sums[lane] += (x[i] - mean) * (x[i] - mean);
        for (int lane = 0; lane < SUMS; lane++)
            total[lane] += sums[lane];
    }
}

/* Sums of dy and of dy*(x - mean). */
static void NAME(moments)(const real *dy, const real *x, real mean, int64_t n, double *zeroth, double *first)
{
    for (int64_t start = 0; start < n; start += STRETCH) {
        int64_t end = smaller(n, start + STRETCH), i = start;
        real sums[SUMS] = {0}, products[SUMS] = {0};
        for (; i + SUMS <= end; i += SUMS)
            for (int lane = 0; lane < SUMS; lane++) {
                sums[lane] += dy[i + lane];
                products[lane] += dy[i + lane] * (x[i + lane] - mean);
            }
        for (int lane = 0; i < end; i++, lane++) {
            sums[lane] += dy[i];
            products[lane] += dy[i] * (x[i] - mean);
        }
        for (int lane = 0; lane < SUMS; lane++) {
            zeroth[lane] += sums[lane];
            first[lane] += products[lane];
        }
    }
}

void NAME(channel_sum)(const real *dy, int64_t N, int64_t K, int64_t L, real *out, int threads)
{
    threads = team(threads, N * K * L, STREAM);
    if (L == 1) { /* a matrix: whole rows are added, the columns shared out */
#pragma omp parallel for num_threads(threads) if (threads > 1) schedule(static)
        for (int64_t k0 = 0; k0 < K; k0 += 64) {
            double sums[64] = {0};
            int64_t width = smaller(64, K - k0);
            for (int64_t n = 0; n < N; n++)
                for (int64_t k = 0; k < width; k++)
                    sums[k] += dy[n * K + k0 + k];
            for (int64_t k = 0; k < width; k++)
                out[k0 + k] = (real)sums[k];
        }
        return;
    }
#pragma omp parallel for num_threads(threads) if (threads > 1) schedule(static)
    for (int64_t k = 0; k < K; k++) {
        double total[SUMS] = {0};
        for (int64_t n = 0; n < N; n++)
            NAME(sum)(dy + (n * K + k) * L, L, total);
        out[k] = (real)NAME(meet)(total);
    }
}

void NAME(batch_norm_statistics)(const real *x, int64_t N, int64_t C, int64_t L, real *mean, real *var, int threads)
{
    threads = team(threads, N * C * L, STREAM);
    double count = (double)(N * L);
#pragma omp parallel for num_threads(threads) if (threads > 1) schedule(static)
    for (int64_t c = 0; c < C; c++) {
        double total[SUMS] = {0}, squares[SUMS] = {0};
        for (int64_t n = 0; n < N; n++)
            NAME(sum)(x + (n * C + c) * L, L, total);
        mean[c] = (real)(NAME(meet)(total) / count);
        for (int64_t n = 0; n < N; n++)
            NAME(squares)(x + (n * C + c) * L, mean[c], L, squares);
        var[c] = (real)(NAME(meet)(squares) / count);
    }
}

void NAME(batch_norm)(
    const real *x, const real *scale, const real *shift, const real *mean, const real *invstd, const real *residual,
    int relu, int64_t N, int64_t C, int64_t L, real *out, int threads)
{
    threads = team(threads, N * C * L, STREAM);
#pragma omp parallel for num_threads(threads) if (threads > 1) schedule(static)
    for (int64_t plane = 0; plane < N * C; plane++) {
        int64_t c = plane % C;
        real centre = mean[c], slope = invstd[c] * scale[c], base = shift[c];
        const real *from = x + plane * L, *add = residual ? residual + plane * L : NULL;
        real *to = out + plane * L;
        if (add)
#pragma omp simd
            for (int64_t i = 0; i < L; i++) {
                real v = (from[i] - centre) * slope + base + add[i];
                to[i] = relu && v < 0 ? 0 : v;
            }
        else
#pragma omp simd
            for (int64_t i = 0; i < L; i++) {
                real v = (from[i] - centre) * slope + base;
                to[i] = relu && v < 0 ? 0 : v;
            }
    }
}

void NAME(batch_norm_grad)(
    const real *dy, const real *x, const real *scale, const real *mean, const real *invstd, int training, int64_t N, int64_t C,
    int64_t L, real *dx, real *dscale, real *dshift, int threads)
{
    threads = team(threads, N * C * L, STREAM);
    double count = (double)(N * L);
#pragma omp parallel for num_threads(threads) if (threads > 1) schedule(static)
    for (int64_t c = 0; c < C; c++) {
        double sums[SUMS] = {0}, products[SUMS] = {0};
        for (int64_t n = 0; n < N; n++)
            NAME(moments)(dy + (n * C + c) * L, x + (n * C + c) * L, mean[c], L, sums, products);
        double sum = NAME(meet)(sums), product = NAME(meet)(products) * invstd[c];
        dshift[c] = (real)sum;
        dscale[c] = (real)product;
        if (!dx)
            continue;
        real slope = scale[c] * invstd[c], centre = mean[c];
        real base = training ? (real)(sum / count) : 0, tilt = training ? (real)(product / count * invstd[c]) : 0;
        for (int64_t n = 0; n < N; n++) {
            const real *d = dy + (n * C + c) * L, *from = x + (n * C + c) * L;
            real *to = dx + (n * C + c) * L;
            if (training)
#pragma omp simd
                for (int64_t i = 0; i < L; i++)
                    to[i] = (d[i] - base - (from[i] - centre) * tilt) * slope;
            else
#pragma omp simd
                for (int64_t i = 0; i < L; i++)
                    to[i] = d[i] * slope;
        }
    }
}

/* Pixels whose channels are normalised together: a line of the cache of each channel. */
#define PIXELS (256 / REAL_BYTES)

/* s**-beta; AlexNet's 3/4 needs no logarithm. */
INLINE real NAME(shrink)(real s, real beta)
{
    if (beta == (real)0.75) {
        real root = MATH(sqrt)(s);
        return 1 / (root * MATH(sqrt)(root));
    }
    return MATH(pow)(s, -beta);
}

void NAME(local_response_norm)(
    const real *x, int64_t N, int64_t C, int64_t L, int64_t size, double alpha, double beta, double k, real *out, real *scale,
    int threads)
{
    int64_t below = size / 2, above = (size - 1) / 2, stretches = ceil_div(L, PIXELS);
    real a = (real)alpha, b = (real)beta, base = (real)k;
    threads = team(threads, N * C * L, STREAM / 4);
#pragma omp parallel for num_threads(threads) if (threads > 1) schedule(static)
    for (int64_t job = 0; job < N * stretches; job++) {
        int64_t first = job % stretches * PIXELS, width = smaller(PIXELS, L - first);
        int64_t start = job / stretches * C * L + first;
        for (int64_t c = 0; c < C; c++) {
            real sum[PIXELS] = {0}, *s = scale + start + c * L;
            for (int64_t o = larger(0, c - below); o <= smaller(C - 1, c + above); o++)
                for (int64_t i = 0; i < width; i++)
                    sum[i] += x[start + o * L + i] * x[start + o * L + i];
            for (int64_t i = 0; i < width; i++)
                s[i] = base + a * sum[i];
            if (b == (real)0.75)
                for (int64_t i = 0; i < width; i++)
                    out[start + c * L + i] = x[start + c * L + i] * NAME(shrink)(s[i], (real)0.75);
            else
                for (int64_t i = 0; i < width; i++)
                    out[start + c * L + i] = x[start + c * L + i] * NAME(shrink)(s[i], b);
        }
    }
}

int64_t NAME(local_response_norm_grad_scratch)(int64_t C, int threads) { return threads * C * PIXELS * REAL_BYTES + 4096; }

void NAME(local_response_norm_grad)(
    const real *dy, const real *x, const real *scale, int64_t N, int64_t C, int64_t L, int64_t size, double alpha, double beta,
    real *out, void *scratch, int threads)
{
    int64_t below = (size - 1) / 2, above = size / 2, stretches = ceil_div(L, PIXELS);
    real b = (real)beta, factor = (real)(-2 * alpha * beta);
    threads = team(threads, N * C * L, STREAM / 4);
#pragma omp parallel for num_threads(threads) if (threads > 1) schedule(static)
    for (int64_t job = 0; job < N * stretches; job++) {
        int64_t first = job % stretches * PIXELS, width = smaller(PIXELS, L - first);
        int64_t start = job / stretches * C * L + first;
        real *ratios = (real *)scratch + thread_index() * C * PIXELS;
        for (int64_t c = 0; c < C; c++) {
            int64_t at = start + c * L;
            for (int64_t i = 0; i < width; i++) {
                real s = scale[at + i], shrunk = b == (real)0.75 ? NAME(shrink)(s, (real)0.75) : NAME(shrink)(s, b);
                real share = dy[at + i] * shrunk;
                ratios[c * PIXELS + i] = share * x[at + i] / s;
                out[at + i] = share;
            }
        }
        for (int64_t c = 0; c < C; c++) {
            int64_t at = start + c * L;
            real sum[PIXELS] = {0};
            for (int64_t o = larger(0, c - below); o <= smaller(C - 1, c + above); o++)
                for (int64_t i = 0; i < width; i++)
                    sum[i] += ratios[o * PIXELS + i];
            for (int64_t i = 0; i < width; i++)
                out[at + i] += factor * x[at + i] * sum[i];
        }
    }
}

#endif
