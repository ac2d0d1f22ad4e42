/* The geometries of kernels/minicnn.h, field by field: a kernel takes a pointer to one in the device's memory. */
#ifndef MINICNN_GEOMETRY_CUH
#define MINICNN_GEOMETRY_CUH
#include "real.cuh"

typedef struct {
    int64 N, C, H, W, K, R, S, P, Q, G;
    int64 stride_h, stride_w, top, left, dilation_h, dilation_w;
} conv2d_geometry;

typedef struct {
    int64 N, C, H, W, R, S, P, Q;
    int64 stride_h, stride_w, top, bottom, left, right;
    int64 count_include_pad;
} pool2d_geometry;

typedef struct {
    int64 N, C, L;
    int64 x, residual, y, dy, dx, dresidual;
} batch_norm_layout;

#endif
