/* Convolution as a product of matrices of which the second is never written down (implicit GEMM), for conv.cu and conv_weight.cu.
 *
 * A block computes a tile of MC x NC numbers of A (M x K) times B (K x N), each thread MR x NR of them in registers. KC columns
 * of A and KC rows of B lie in shared memory, twice: the threads multiply the ones while they fetch the next.
 *
 * B is made of pixels. Each of its rows and columns has a place, and where they meet stands the pixel at the sum of the two
 * places, 0 outside the map. Of the two one is a tap (c, r, s) of the window and one a pixel (n, p, q) of the result, where the
 * window stands. With taps as rows this is a convolution, and A the filters; with pixels as rows its weight gradient, and A is dy.
 * To find a place takes divisions, so places are listed: those of the tile's columns once, those of rows THREADS at a time.
 */
#ifndef MINICNN_TILE_CUH
#define MINICNN_TILE_CUH
#include "geometry.cuh"

#define NC 128
#define KC 8
#define PAD 4 /* numbers at the end of a row that spread columns over the banks of shared memory; rows stay aligned */
#define OUTSIDE (-(1 << 30)) /* a place that is in no map, whatever is added: coordinates are less than 2**29 */

/* Two blocks share a processor, so that one computes while the other waits: that leaves 128 registers to a thread, too few for
 * float64. */
#undef KERNEL
#define KERNEL extern "C" __global__ void __launch_bounds__(THREADS, 8 / REAL_BYTES)

/* y[n][m][p][q] = sum over c, r, s of w[m][c][r][s] times the pixel x[n][c][p*step_h + r*tap_h + first_h][likewise], for each of G
 * groups of C channels and M filters: the maps of x are H x W and contiguous, numbers of w and y lie as far apart as it says. */
typedef struct {
    int64 N, G, C, M, H, W, P, Q, R, S;
    int64 step_h, step_w, tap_h, tap_w, first_h, first_w;
    int64 w_group, w_m, w_c, w_row, w_col, w_first;
    int64 y_m, y_row, y_col, y_first;
} correlation;

struct alignas(16) place {
    int64 at; /* in the array of images */
    int h, w; /* in a map */
};

/* Four numbers that are read and written at once. */
struct alignas(16) four {
    real v[4];
};

/* What the threads of a block share. MC is 128, 64 or 32. */
template <int MC> struct tiles {
    static constexpr int MR = MC == 128 ? 8 : 4, NR = MC == 32 ? 4 : 8, DOWN = MC / MR, ACROSS = NC / NR;
    alignas(16) real a[2 * KC][MC + PAD];
    alignas(16) real b[2 * KC][NC + PAD];
    place row[THREADS], column[NC];
    int64 row_beside[THREADS]; /* where the same number of K begins in A; -1: there is none */
    int64 column_beside[NC];   /* where the column begins in the result; -1: it has none */
    correlation c;
};

__device__ inline correlation forward(const conv2d_geometry *g)
{
    int64 C = g->C / g->G, M = g->K / g->G, window = g->R * g->S;
    correlation c;
    c.N = g->N, c.G = g->G, c.C = C, c.M = M, c.H = g->H, c.W = g->W, c.P = g->P, c.Q = g->Q, c.R = g->R, c.S = g->S;
    c.step_h = g->stride_h, c.step_w = g->stride_w, c.tap_h = g->dilation_h, c.tap_w = g->dilation_w;
    c.first_h = -g->top, c.first_w = -g->left;
    c.w_group = M * C * window, c.w_m = C * window, c.w_c = window, c.w_row = g->S, c.w_col = 1, c.w_first = 0;
    c.y_m = g->P * g->Q, c.y_row = g->Q, c.y_col = 1, c.y_first = 0;
    return c;
}

/* Taps of one axis that meet dy at the pixels phase, phase + stride, ...: `taps` of them, number `first_tap` and every so many. At
 * the first pixel the first meets number `first` of dy, and each the number `step` further on. */
typedef struct {
    int64 taps, first_tap, every, first, step, pixels;
} phase_axis;

__device__ inline phase_axis along(int64 phase, int64 stride, int64 dilation, int64 before, int64 window, int64 size)
{
    int64 tap = 0, every = 1;
    while (tap < window && (phase + before - tap * dilation) % stride != 0)
        tap++;
    while (tap + every < window && every * dilation % stride != 0)
        every++;
    int64 taps = tap < window ? (window - 1 - tap) / every + 1 : 0;
    return phase_axis{
        taps, tap, every, (phase + before - tap * dilation) / stride, -(every * dilation / stride), ceil_div(size - phase, stride)};
}

/* The part of the input gradient at the pixels (phase_h + i*stride_h, phase_w + j*stride_w): there always the same taps of the
 * window meet dy, one pixel apart, so that each phase is a correlation of dy with those taps. */
__device__ inline correlation input_phase(const conv2d_geometry *g, int64 phase_h, int64 phase_w)
{
    phase_axis h = along(phase_h, g->stride_h, g->dilation_h, g->top, g->R, g->H);
    phase_axis w = along(phase_w, g->stride_w, g->dilation_w, g->left, g->S, g->W);
    int64 C = g->C / g->G, M = g->K / g->G, window = g->R * g->S;
    correlation c;
    c.N = g->N, c.G = g->G, c.C = M, c.M = C, c.H = g->P, c.W = g->Q, c.P = h.pixels, c.Q = w.pixels, c.R = h.taps, c.S = w.taps;
    c.step_h = 1, c.step_w = 1, c.tap_h = h.step, c.tap_w = w.step, c.first_h = h.first, c.first_w = w.first;
    c.w_group = M * C * window, c.w_m = window, c.w_c = C * window, c.w_row = h.every * g->S, c.w_col = w.every;
    c.w_first = h.first_tap * g->S + w.first_tap;
    c.y_m = g->H * g->W, c.y_row = g->stride_h * g->W, c.y_col = g->stride_w, c.y_first = phase_h * g->W + phase_w;
    return c;
}

/* The place of pixel number `index`, counted (n, p, q), and where it lies in y. */
__device__ inline place pixel_place(const correlation *c, int64 index, int64 *in_y)
{
    int64 line = index / c->Q, q = index - line * c->Q, n = line / c->P, p = line - n * c->P;
    int64 h = p * c->step_h + c->first_h, w = q * c->step_w + c->first_w;
    *in_y = n * c->G * c->M * c->y_m + c->y_first + p * c->y_row + q * c->y_col;
    return place{n * c->G * c->C * c->H * c->W + h * c->W + w, (int)h, (int)w};
}

/* The place of tap number `index`, counted (c, r, s), and where it lies in a filter. */
__device__ inline place tap_place(const correlation *c, int64 index, int64 *in_w)
{
    int64 line = index / c->S, s = index - line * c->S, channel = line / c->R, r = line - channel * c->R;
    int64 h = r * c->tap_h, w = s * c->tap_w;
    *in_w = c->w_first + channel * c->w_c + r * c->w_row + s * c->w_col;
    return place{(channel * c->H + h) * c->W + w, (int)h, (int)w};
}

__device__ inline void list_place(const correlation *c, bool taps, int64 index, int64 count, place *listed, int64 *beside)
{
    *beside = -1;
    *listed = index >= count ? place{0, OUTSIDE, OUTSIDE} : taps ? tap_place(c, index, beside) : pixel_place(c, index, beside);
}

__device__ inline real pixel(const real *x, place row, place column, int H, int W)
{
    bool inside = (unsigned)(row.h + column.h) < (unsigned)H && (unsigned)(row.w + column.w) < (unsigned)W;
    return inside ? x[row.at + column.at] : 0;
}

/* A warp's threads stand in a rectangle of 4 x 8: they read few different numbers of shared memory. */
template <int MC> __device__ inline int thread_row()
{
    return threadIdx.x / 32 / (tiles<MC>::ACROSS / 8) * 4 + threadIdx.x % 32 / 8;
}
template <int MC> __device__ inline int thread_column()
{
    return threadIdx.x / 32 % (tiles<MC>::ACROSS / 8) * 8 + threadIdx.x % 8;
}

/* sum += rows of A times a tile's columns of B, over first .. end - 1 of K, which are taps or else pixels. Row m of A begins at
 * a + m*a_row; there are `rows`. The columns are listed; the caller need not have waited for all threads. */
template <int MC, bool TAPS>
__device__ inline void multiply(
    const real *a, int64 a_row, int64 rows, const real *x, int64 first, int64 end, tiles<MC> *t,
    real (&sum)[tiles<MC>::MR][tiles<MC>::NR])
{
    constexpr int MR = tiles<MC>::MR, NR = tiles<MC>::NR, DOWN = tiles<MC>::DOWN, ACROSS = tiles<MC>::ACROSS;
    constexpr int OF_A = MC * KC / THREADS, OF_B = NC * KC / THREADS;
    const int H = (int)t->c.H, W = (int)t->c.W, id = threadIdx.x, down = thread_row<MC>(), across = thread_column<MC>();
    real next_a[OF_A], next_b[OF_B];

    /* Which numbers of B a thread fetches: threads side by side take pixels side by side. */
    auto row = [&](int i) { return TAPS ? id / NC + i * (THREADS / NC) : id % KC; };
    auto column = [&](int i) { return TAPS ? id % NC : id / KC + i * (THREADS / KC); };
    auto fetch = [&](int k) {
        int64 beside = t->row_beside[k + id % KC];
#pragma unroll
        for (int i = 0; i < OF_A; i++) {
            int m = id / KC + i * (THREADS / KC);
            next_a[i] = beside >= 0 && m < rows ? a[beside + m * a_row] : 0;
        }
#pragma unroll
        for (int i = 0; i < OF_B; i++)
            next_b[i] = pixel(x, t->row[k + row(i)], t->column[column(i)], H, W);
    };
    auto store = [&](int half) {
#pragma unroll
        for (int i = 0; i < OF_A; i++)
            t->a[half * KC + id % KC][id / KC + i * (THREADS / KC)] = next_a[i];
#pragma unroll
        for (int i = 0; i < OF_B; i++)
            t->b[half * KC + row(i)][column(i)] = next_b[i];
    };

    for (int64 listed = first; listed < end; listed += THREADS) {
        list_place(&t->c, TAPS, listed + id, end, &t->row[id], &t->row_beside[id]);
        __syncthreads();
        int steps = (int)ceil_div(smaller(THREADS, end - listed), KC);
        fetch(0);
        store(0);
        __syncthreads();
        for (int step = 0; step < steps; step++) {
            if (step + 1 < steps)
                fetch((step + 1) * KC);
#pragma unroll
            for (int k = 0; k < KC; k++) {
                const real *from_a = t->a[step % 2 * KC + k], *from_b = t->b[step % 2 * KC + k];
                four p[MR / 4], q[NR / 4];
#pragma unroll
                for (int i = 0; i < MR / 4; i++)
                    p[i] = *(const four *)(from_a + (i * DOWN + down) * 4);
#pragma unroll
                for (int j = 0; j < NR / 4; j++)
                    q[j] = *(const four *)(from_b + (j * ACROSS + across) * 4);
#pragma unroll
                for (int i = 0; i < MR; i++)
#pragma unroll
                    for (int j = 0; j < NR; j++)
                        sum[i][j] += p[i / 4].v[i % 4] * q[j / 4].v[j % 4];
            }
            if (step + 1 < steps)
                store((step + 1) % 2);
            __syncthreads();
        }
    }
}

/* Write a tile, + bias or NULL, then ReLU if asked: row m, of which there are `rows`, begins at y + m*y_row. The numbers go through
 * shared memory, so that threads side by side write numbers side by side. */
template <int MC>
__device__ inline void write_tile(
    const real (&sum)[tiles<MC>::MR][tiles<MC>::NR], const real *bias, int64 relu, real *y, int64 y_row, int64 rows, tiles<MC> *t)
{
    constexpr int MR = tiles<MC>::MR, NR = tiles<MC>::NR, DOWN = tiles<MC>::DOWN, ACROSS = tiles<MC>::ACROSS;
    static_assert(DOWN <= 2 * KC, "rows of the tile pass through b");
    const int id = threadIdx.x, down = thread_row<MC>(), across = thread_column<MC>();
    __syncthreads();
    int64 at = t->column_beside[id % NC];
#pragma unroll
    for (int i = 0; i < MR; i++) {
#pragma unroll
        for (int j = 0; j < NR / 4; j++)
            *(four *)&t->b[down][(j * ACROSS + across) * 4] =
                four{sum[i][4 * j], sum[i][4 * j + 1], sum[i][4 * j + 2], sum[i][4 * j + 3]};
        __syncthreads();
        for (int line = id / NC; line < DOWN; line += THREADS / NC) {
            int m = (i / 4 * DOWN + line) * 4 + i % 4;
            if (at >= 0 && m < rows) {
                real v = t->b[line][id % NC];
                if (bias)
                    v += bias[m];
                y[at + m * y_row] = relu && v < 0 ? 0 : v;
            }
        }
        __syncthreads();
    }
}

#endif
