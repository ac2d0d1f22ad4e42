/* What maximum and average pooling share. */
#ifndef MINICNN_POOL_CUH
#define MINICNN_POOL_CUH
#include "geometry.cuh"

/* A thread of a gradient takes so many pixels of a column, one below the other: it reads each window once for all of them, and the
 * threads of a warp lie along a row. */
#define STRIP 4

/* Numbers first .. end - 1. */
typedef struct {
    int64 first, end;
} range;

/* a / b, rounded down, for a of at least 0: the usual strides need no division, which is slow. */
__device__ inline int64 over(int64 a, int64 b) { return b == 1 ? a : b == 2 ? a >> 1 : a / b; }

/* The pixels 0 .. size - 1 under the window at `place`. */
__device__ inline range pixels_under(int64 place, int64 stride, int64 before, int64 window, int64 size)
{
    int64 start = place * stride - before;
    return {larger(0, start), smaller(size, start + window)};
}

/* The windows 0 .. places - 1 that lie on any of the pixels first .. last. */
__device__ inline range windows_on(int64 first, int64 last, int64 stride, int64 before, int64 window, int64 places)
{
    int64 ahead = first + before - window; /* a window that begins here ends just before `first` */
    return {ahead < 0 ? 0 : over(ahead, stride) + 1, smaller(places, over(last + before, stride) + 1)};
}

#endif
