/* What every file of kernels begins with. A file is compiled once for each number type, with -DREAL_BYTES=4 or 8, and its kernels
 * are the twins of those in kernels/c: the same names, shapes and contracts (kernels/minicnn.h), without `threads` and `scratch`.
 *
 * Rules that hold for all. Sizes and index products are 64-bit. A kernel works for any grid: whoever launches decides (the loops
 * below go round). No sum depends on the order in which blocks run: the same inputs give the same bits.
 */
#ifndef MINICNN_REAL_CUH
#define MINICNN_REAL_CUH

typedef long long int64; /* NVRTC has no <stdint.h> */

#if REAL_BYTES == 4
typedef float real;
#define NAME(function) function##_f32
#else
typedef double real;
#define NAME(function) function##_f64
#endif
typedef double wide; /* of long sums */

/* The threads of a block, where a kernel does not say otherwise: so many are launched. */
#define THREADS 256

#define KERNEL extern "C" __global__ void __launch_bounds__(THREADS)

/* for (int64 i ...): every thread of the grid takes its share of 0 .. count - 1. */
#define SHARE(i, count) \
    for (int64 i = (int64)blockIdx.x * blockDim.x + threadIdx.x; i < (count); i += (int64)gridDim.x * blockDim.x)

__device__ inline int64 smaller(int64 a, int64 b) { return a < b ? a : b; }
__device__ inline int64 larger(int64 a, int64 b) { return a > b ? a : b; }
__device__ inline int64 ceil_div(int64 a, int64 b) { return (a + b - 1) / b; }

/* The sum of v over the THREADS threads of a block, for all of them; room: THREADS numbers of shared memory. */
__device__ inline wide block_sum(wide v, wide *room)
{
    __syncthreads();
    room[threadIdx.x] = v;
    for (int half = THREADS / 2; half > 0; half /= 2) {
        __syncthreads();
        if ((int)threadIdx.x < half)
            room[threadIdx.x] += room[threadIdx.x + half];
    }
    __syncthreads();
    return room[0];
}

#endif
