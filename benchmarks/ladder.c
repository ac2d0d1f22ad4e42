/* The ladder from the naive loop to the tuned kernel: C = A B, N cubed, float32, one thread. kernels/README.md explains it.
 *
 *     gcc -std=c11 -O3 -march=native -mprefer-vector-width=512 -ffp-contract=fast benchmarks/ladder.c -o ladder -lm && ./ladder
 *
 * Every rung is the one before it with one thing changed. Each is compared with the naive loop, then they take turns; a rate
 * is the median of its turns, the limit is the best of its own. Matrices are N x N, row by row; A and C have room for the rows of
 * a last panel that is not full: A's are 0. `python benchmarks/ladder.py` compiles this file, and measures the library beside it.
 */
#define _POSIX_C_SOURCE 200809L
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* Bytes of a vector register; rows of a register tile, so that MR x 2 vectors of sums, 2 of B and one of A fit the registers. */
#if defined(__AVX512F__)
#define VECTOR_BYTES 64
#define MR 14
#elif defined(__AVX__)
#define VECTOR_BYTES 32
#define MR 6
#elif defined(__aarch64__)
#define VECTOR_BYTES 16
#define MR 12
#else
#define VECTOR_BYTES 16
#define MR 6
#endif

enum { N = 1024, LANES = VECTOR_BYTES / 4, NR = 2 * LANES };
/* The rows of the plain tile; the length of a block of K; at most so many rows of A are packed at a time. */
enum { FEW = 4, KC = 192, MC = N / 2 + MR };

#define INLINE static inline __attribute__((always_inline))
typedef float vector __attribute__((vector_size(VECTOR_BYTES)));
typedef float unaligned __attribute__((vector_size(VECTOR_BYTES), aligned(4), may_alias));

static float packed_a[MC * KC] __attribute__((aligned(64))), packed_b[KC * NR] __attribute__((aligned(64)));

/* ---- 1. The definition. B is read down a column: every number from another cache line. ---- */

static void naive(const float *a, const float *b, float *c)
{
    for (int i = 0; i < N; i++)
        for (int j = 0; j < N; j++) {
            float sum = 0;
            for (int k = 0; k < N; k++)
                sum += a[i * N + k] * b[k * N + j];
            c[i * N + j] = sum;
        }
}

/* ---- 2. The same sums with the loops in another order: rows are read side by side, and the compiler uses vectors. ---- */

static void loop_order(const float *restrict a, const float *restrict b, float *restrict c)
{
    memset(c, 0, sizeof(float) * N * N);
    for (int i = 0; i < N; i++)
        for (int k = 0; k < N; k++)
            for (int j = 0; j < N; j++)
                c[i * N + j] += a[i * N + k] * b[k * N + j];
}

/* ---- 3. Sums stay in registers: FEW x NR of them at a time, over kc. ---- */

/* Number (i, k) of A lies at a[i*a_row + k*a_step], row k of B at b + k*b_row. The sums become, or are added to, c. */
INLINE void plain_tile(
    int kc, const float *restrict a, int a_row, int a_step, const float *restrict b, int b_row, float *restrict c, int add)
{
    float sum[FEW][NR] = {{0}};
    for (int k = 0; k < kc; k++)
        for (int i = 0; i < FEW; i++)
            for (int j = 0; j < NR; j++)
                sum[i][j] += a[i * a_row + k * a_step] * b[k * b_row + j];
    for (int i = 0; i < FEW; i++)
        for (int j = 0; j < NR; j++)
            c[i * N + j] = add ? c[i * N + j] + sum[i][j] : sum[i][j];
}

static void register_tile(const float *a, const float *b, float *c)
{
    for (int j = 0; j < N; j += NR)
        for (int i = 0; i < N; i += FEW)
            plain_tile(N, a + i * N, N, 1, b + j, N, c + i * N + j, 0);
}

/* ---- 4. Blocks of K, so short that a panel of B would fit the first-level cache, and rows of A the second. ---- */

static int smaller(int x, int y) { return x < y ? x : y; }

static void blocking(const float *a, const float *b, float *c)
{
    for (int i0 = 0; i0 < N; i0 += N / 2)
        for (int k0 = 0; k0 < N; k0 += KC)
            for (int j = 0; j < N; j += NR)
                for (int i = i0; i < i0 + N / 2; i += FEW)
                    plain_tile(smaller(KC, N - k0), a + i * N + k0, N, 1, b + k0 * N + j, N, c + i * N + j, k0 > 0);
}

/* ---- 5. Both operands are copied to the order in which they are read. ---- */

/* Panels of mr rows; in each the mr numbers of one k, then those of the next. */
INLINE void pack_a(const float *restrict a, int rows, const int mr, int kc, float *restrict to)
{
    for (int i0 = 0; i0 < rows; i0 += mr, to += mr * kc)
        for (int k = 0; k < kc; k++)
            for (int i = 0; i < mr; i++)
                to[k * mr + i] = a[(i0 + i) * N + k];
}

INLINE void pack_b(const float *restrict b, int kc, float *restrict to)
{
    for (int k = 0; k < kc; k++)
        memcpy(to + k * NR, b + k * N, sizeof(float) * NR);
}

/* What computes a tile of C from a panel of A and one of B. */
enum kernel { PLAIN, VECTORS, PREFETCHING };
INLINE void vector_tile(int kc, const float *a, const float *b, float *c, int add, const int prefetching);

INLINE void macro_kernel(const enum kernel kernel, const int mr, const float *a, const float *b, float *c)
{
    const int mc = (N / 2 + mr - 1) / mr * mr;
    for (int i0 = 0; i0 < N; i0 += mc)
        for (int k0 = 0; k0 < N; k0 += KC) {
            int kc = smaller(KC, N - k0), panels = (smaller(mc, N - i0) + mr - 1) / mr;
            pack_a(a + i0 * N + k0, panels * mr, mr, kc, packed_a);
            /* A panel of B stays in the first-level cache while all of A, from the second, passes by. */
            for (int j = 0; j < N; j += NR) {
                pack_b(b + k0 * N + j, kc, packed_b);
                for (int panel = 0; panel < panels; panel++) {
                    float *tile = c + (i0 + panel * mr) * N + j;
                    if (kernel == PLAIN)
                        plain_tile(kc, packed_a + panel * mr * kc, 1, mr, packed_b, NR, tile, k0 > 0);
                    else
                        vector_tile(kc, packed_a + panel * mr * kc, packed_b, tile, k0 > 0, kernel == PREFETCHING);
                }
            }
        }
}

static void packing(const float *a, const float *b, float *c) { macro_kernel(PLAIN, FEW, a, b, c); }

/* ---- 6. The tile fills the register file, and its type says so: MR x 2 vectors of sums. ---- */

INLINE void vector_tile(int kc, const float *a, const float *b, float *c, int add, const int prefetching)
{
    vector sum[MR][2] = {{{0}}};
    /* The tile of C lies in the third-level cache or in memory: it is wanted kc steps from now. */
    for (int i = 0; prefetching && add && i < MR; i++)
        for (int j = 0; j < NR; j += 16)
            __builtin_prefetch(c + i * N + j, 1);
    for (int k = 0; k < kc; k++, a += MR, b += NR) {
        vector b0 = *(const vector *)b, b1 = *(const vector *)(b + LANES);
        if (prefetching)
            __builtin_prefetch(a + 24 * MR); /* A comes from the second-level cache */
#pragma GCC unroll 16
        for (int i = 0; i < MR; i++) {
            sum[i][0] += a[i] * b0;
            sum[i][1] += a[i] * b1;
        }
    }
#pragma GCC unroll 16
    for (int i = 0; i < MR; i++)
#pragma GCC unroll 2
        for (int j = 0; j < 2; j++) {
            unaligned *to = (unaligned *)(c + i * N + j * LANES);
            *to = sum[i][j] + (add ? (vector)*to : (vector){0});
        }
}

static void vectors(const float *a, const float *b, float *c) { macro_kernel(VECTORS, MR, a, b, c); }

/* ---- 7. What will be needed is fetched before it is. ---- */

static void prefetching(const float *a, const float *b, float *c) { macro_kernel(PREFETCHING, MR, a, b, c); }

/* ---- The limit: as many independent multiply-adds as the tile has sums, and nothing else. ---- */

static double fma_limit(void)
{
    const int rounds = 2000000;
    vector sum[2 * MR], half = {0}, one = {0};
    struct timespec start, end;
    half += 0.5f, one += 1;
#pragma GCC unroll 32
    for (int i = 0; i < 2 * MR; i++)
        sum[i] = one + (float)i;
    clock_gettime(CLOCK_MONOTONIC, &start);
    for (int round = 0; round < rounds; round++) {
#pragma GCC unroll 32
        for (int i = 0; i < 2 * MR; i++)
            sum[i] = sum[i] * half + one;
    }
#pragma GCC unroll 32
    for (int i = 0; i < 2 * MR; i++) /* the compiler must not see that the sums are of no use */
        __asm__ volatile("" ::"m"(sum[i]));
    clock_gettime(CLOCK_MONOTONIC, &end);
    double seconds = (double)(end.tv_sec - start.tv_sec) + 1e-9 * (double)(end.tv_nsec - start.tv_nsec);
    return 2.0 * rounds * 2 * MR * LANES / seconds / 1e9;
}

/* ---- The naive convolution, for ladder.py: window R x R, stride 1, `pad` zeros around; x (C, H, H), w (K, C, R, R), y (K, H, H). */

void naive_conv2d(const float *x, const float *w, float *y, int C, int H, int K, int R, int pad)
{
    for (int f = 0; f < K; f++)
        for (int p = 0; p < H; p++)
            for (int q = 0; q < H; q++) {
                float sum = 0;
                for (int c = 0; c < C; c++)
                    for (int r = 0; r < R; r++)
                        for (int s = 0; s < R; s++) {
                            int i = p + r - pad, j = q + s - pad;
                            if (i >= 0 && i < H && j >= 0 && j < H)
                                sum += x[(c * H + i) * H + j] * w[((f * C + c) * R + r) * R + s];
                        }
                y[(f * H + p) * H + q] = sum;
            }
}

/* ---- Check, take turns, print. ---- */

typedef struct {
    const char *name;
    void (*multiply)(const float *, const float *, float *);
    int turns; /* at most */
} rung;

static const rung ladder[] = {
    {"naive: i, j, k", naive, 3},         {"loop order: i, k, j", loop_order, 99}, {"register tile", register_tile, 99},
    {"blocks", blocking, 99},             {"packing", packing, 99},                {"vectors, MR x NR", vectors, 99},
    {"prefetching", prefetching, 99},
};
enum { RUNGS = sizeof ladder / sizeof *ladder, MOST = 99 };

static double seconds_of(const rung *r, const float *a, const float *b, float *c)
{
    struct timespec start, end;
    clock_gettime(CLOCK_MONOTONIC, &start);
    r->multiply(a, b, c);
    clock_gettime(CLOCK_MONOTONIC, &end);
    return (double)(end.tv_sec - start.tv_sec) + 1e-9 * (double)(end.tv_nsec - start.tv_nsec);
}

static int by_size(const void *x, const void *y)
{
    double a = *(const double *)x, b = *(const double *)y;
    return (a > b) - (a < b);
}

static float *matrix(int random)
{
    size_t count = (size_t)(N + MR) * N;
    float *x = aligned_alloc(64, (count * sizeof(float) + 63) / 64 * 64);
    if (!x)
        exit(1);
    for (size_t i = 0; i < count; i++)
        x[i] = random && i < (size_t)N * N ? 2 * (float)rand() / (float)RAND_MAX - 1 : 0;
    return x;
}

int main(int argc, char **argv)
{
    int rounds = argc > 1 ? smaller(atoi(argv[1]), MOST) : 15;
    float *a = matrix(1), *b = matrix(1), *c = matrix(0), *expected = matrix(0);
    static double times[RUNGS][MOST];
    double limit = 0;
    naive(a, b, expected);
    for (int r = 1; r < RUNGS; r++) {
        double off = 0, size = 0;
        ladder[r].multiply(a, b, c);
        for (int i = 0; i < N * N; i++) {
            off += pow((double)c[i] - expected[i], 2);
            size += pow(expected[i], 2);
        }
        if (!(sqrt(off / size) < 2e-6)) {
            fprintf(stderr, "%s: off by %.1e\n", ladder[r].name, sqrt(off / size));
            return 1;
        }
    }
    for (int turn = 0; turn < rounds; turn++) {
        limit = fmax(limit, fma_limit());
        for (int r = 0; r < RUNGS; r++)
            if (turn < ladder[r].turns)
                times[r][turn] = seconds_of(&ladder[r], a, b, c);
    }
    printf("| rung | ms | GFLOP/s | share of the limit |\n| --- | ---: | ---: | ---: |\n");
    for (int r = 0; r < RUNGS; r++) {
        int turns = smaller(rounds, ladder[r].turns);
        qsort(times[r], (size_t)turns, sizeof(double), by_size);
        double rate = 2.0 * N * N * N / times[r][turns / 2] / 1e9;
        printf("| %s | %.1f | %.1f | %.1f %% |\n", ladder[r].name, times[r][turns / 2] * 1e3, rate, 100 * rate / limit);
    }
    printf("| multiply-adds in registers, %d x %d vectors of %d | | %.1f | |\n", MR, 2, LANES, limit);
    return 0;
}
