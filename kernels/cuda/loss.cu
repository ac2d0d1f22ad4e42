/* Softmax and cross-entropy. A row has `width` threads, a power of two, so that a block has THREADS/width rows at a time. */
#include "real.cuh"

/* As many threads for a row of C numbers as have something to do. */
__device__ inline int width_of(int64 C)
{
    int width = 1;
    while (width < C && width < THREADS)
        width *= 2;
    return width;
}

/* The largest of what the threads of a row bring, or the sum, for each of them. room: THREADS shared numbers. The largest may pass
 * a NaN by: the sum of exponentials becomes NaN all the same. */
__device__ inline wide over_row(wide v, int width, bool largest, wide *room)
{
    int lane = threadIdx.x % width;
    wide *mine = room + threadIdx.x;
    __syncthreads();
    *mine = v;
    for (int half = width / 2; half > 0; half /= 2) {
        __syncthreads();
        if (lane < half)
            *mine = !largest ? *mine + mine[half] : mine[half] > *mine ? mine[half] : *mine;
    }
    __syncthreads();
    return mine[-lane];
}

/* The rows for a block, and in each the columns for a thread: none in rows that there are not. */
#define ROWS(n, N, width) \
    for (int64 n = (int64)blockIdx.x * (THREADS / width) + threadIdx.x / width, first = n - threadIdx.x / width; first < (N); \
         n += (int64)gridDim.x * (THREADS / width), first += (int64)gridDim.x * (THREADS / width))
#define COLUMNS(c, C, width) for (int64 c = n < N ? threadIdx.x % width : (C); c < (C); c += width)

KERNEL NAME(log_softmax)(const real *x, int64 N, int64 C, real *out)
{
    __shared__ wide room[THREADS];
    int width = width_of(C);
    ROWS(n, N, width) {
        const real *row = x + smaller(n, N - 1) * C;
        real most = row[0];
        COLUMNS(c, C, width)
            most = row[c] > most ? row[c] : most;
        most = (real)over_row(most, width, true, room);
        wide sum = 0;
        COLUMNS(c, C, width)
            sum += exp(row[c] - most);
        real shift = (real)log(over_row(sum, width, false, room));
        COLUMNS(c, C, width)
            out[n * C + c] = row[c] - most - shift;
    }
}

/* Target of class c in a row that counts. */
__device__ inline real target(int64 c, int64 label, const real *weights, real rest, real extra)
{
    real t = c == label ? rest + extra : rest;
    return weights ? t * weights[c] : t;
}

KERNEL NAME(cross_entropy)(
    const real *logits, const int64 *labels, const real *weights, double smoothing, int64 ignore, int64 N, int64 C, real *out,
    real *probabilities)
{
    __shared__ wide room[THREADS];
    int width = width_of(C);
    real rest = (real)(smoothing / (double)larger(1, C)), extra = (real)(1 - smoothing);
    ROWS(n, N, width) {
        int64 at = smaller(n, N - 1), label = labels[at];
        const real *x = logits + at * C;
        real *p = probabilities + at * C, most = x[0];
        COLUMNS(c, C, width)
            most = x[c] > most ? x[c] : most;
        most = (real)over_row(most, width, true, room);
        wide sum = 0, loss = 0;
        COLUMNS(c, C, width) {
            p[c] = exp(x[c] - most);
            sum += p[c];
        }
        sum = over_row(sum, width, false, room);
        real whole = (real)sum, shift = (real)log(sum);
        COLUMNS(c, C, width) {
            p[c] /= whole;
            real t = label == ignore ? 0 : target(c, label, weights, rest, extra);
            if (t != 0)
                loss -= (wide)t * (x[c] - most - shift);
        }
        loss = over_row(loss, width, false, room);
        if (n < N && threadIdx.x % width == 0)
            out[n] = (real)loss;
    }
}

KERNEL NAME(cross_entropy_grad)(
    const real *dloss, const real *probabilities, const int64 *labels, const real *weights, double smoothing, int64 ignore, int64 N,
    int64 C, real *out)
{
    __shared__ wide room[THREADS];
    int width = width_of(C);
    real rest = (real)(smoothing / (double)larger(1, C)), extra = (real)(1 - smoothing);
    ROWS(n, N, width) {
        int64 label = labels[smaller(n, N - 1)];
        wide sum = 0;
        COLUMNS(c, C, width)
            sum += label == ignore ? 0 : target(c, label, weights, rest, extra);
        real whole = (real)over_row(sum, width, false, room);
        COLUMNS(c, C, width) {
            real t = label == ignore ? 0 : target(c, label, weights, rest, extra);
            out[n * C + c] = (probabilities[n * C + c] * whole - t) * dloss[n];
        }
    }
}
