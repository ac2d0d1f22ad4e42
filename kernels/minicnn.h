/* Every native kernel: its prototype and its contract. C and cffi read this very file (cffi without the lines that begin
 * with #), so it holds nothing but declarations.
 *
 * Letters. N images, C channels, H x W input, K filters, R x S window, P x Q output, G groups, L = H*W pixels of a map.
 * A product of matrices is (M x K) times (K x N); it is cut into blocks of MC x KC and KC x NC, which are packed, and into
 * register tiles of MR x NR.
 *
 * Rules that hold for all. Arrays are contiguous in C order (NCHW), aligned to their elements, and do not overlap, unless it
 * says otherwise. The caller has checked every shape. A kernel writes all of its outputs and nothing else, returns nothing,
 * and neither allocates, prints nor exits. Memory that it works in is `scratch`: at least as many bytes as the function
 * ..._scratch says for the same sizes and threads, aligned to 64. `threads` is the most threads to use; small
 * work runs on one. The same inputs, instruction set and number of threads give the same bits. NaN and
 * infinity pass through. _f32 kernels take float, _f64 double.
 */
#ifndef MINICNN_H
#define MINICNN_H
#include <stdint.h>

/* A convolution: x (N, C, H, W), weight (K, C/G, R, S), y (N, K, P, Q). Padding below and at the right follows from P and Q. */
typedef struct {
    int64_t N, C, H, W, K, R, S, P, Q, G;
    int64_t stride_h, stride_w, top, left, dilation_h, dilation_w;
} conv2d_geometry;

/* A pooling: x (N, C, H, W), y (N, C, P, Q). In ceil mode the last windows may reach past the padding. */
typedef struct {
    int64_t N, C, H, W, R, S, P, Q;
    int64_t stride_h, stride_w, top, bottom, left, right;
    int64_t count_include_pad; /* average pooling: whether padding counts in the divisor */
} pool2d_geometry;

/* A batch normalisation: N images of C channels of L numbers. An array may be channels of a wider one: in each, an image is
 * contiguous, and from one image to the next it is so many numbers. */
typedef struct {
    int64_t N, C, L;
    int64_t x, residual, y, dy, dx, dresidual;
} batch_norm_layout;

/* What was compiled: the compiler; OpenMP's version or 0 (then every kernel runs on one thread). */
const char *minicnn_compiler(void);
int minicnn_openmp(void);
/* What this processor and system can run: 4 AMX with bfloat16, 3 AVX512-BF16, 2 AVX-512 (F, BW, CD, DQ, VL), 1 AVX2 and FMA,
 * 0 none of them (or not x86-64). */
int minicnn_cpu_level(void);
/* To be called once before the kernels are: 1 if they may be. What was compiled for AMX asks the system to permit it, Linux alone
 * so far. */
int minicnn_ready(void);
/* The `terms` (below) that serve a precision best here: 0 highest, 1 high, 2 medium. */
int minicnn_terms(int precision);

/* ---- The machine's limits, for the benchmark ---- */

/* Every thread does `rounds` rounds of limit_flops_...() operations on vectors that stay in registers: multiplications and
 * additions, fused where the instruction set can. out: one number, of no meaning. */
int64_t limit_flops_fma_f32(void);
int64_t limit_flops_fma_f64(void);
void limit_fma_f32(int64_t rounds, double *out, int threads);
void limit_fma_f64(int64_t rounds, double *out, int threads);

/* Copy n numbers; read n numbers (out: their sum, in some order). */
void limit_copy(const float *x, float *out, int64_t n, int threads);
void limit_read(const float *x, int64_t n, float *out, int threads);

/* ---- Matrix products ----
 *
 * terms: how a product of float32 numbers may be computed, here and in convolutions. 0: by float32 multiply-adds. 1, 3 or 6: as
 * so many products of bfloat16 numbers, exact and summed in float32, where the instruction set has such and it is faster:
 * the relative error is about 2**-8, 2**-16 or that of float32 (kernels/c/split.h). Where numbers are too large or too small for
 * that, and for infinities and NaN, it is float32. _f64 kernels compute in float64 whatever the terms are. */

/* out[b] (M, N) = a[b] (M, K) times b[b] (K, N) for `batch` members. Number (m, k) of a lies at offset + m*a_row + k*a_col,
 * likewise b, any strides; out is contiguous. offsets: three numbers for each member, those of a, b and out; or NULL for one
 * member at 0. */
int64_t matmul_scratch_f32(int64_t batch, int64_t M, int64_t K, int64_t N, int terms, int threads);
int64_t matmul_scratch_f64(int64_t batch, int64_t M, int64_t K, int64_t N, int terms, int threads);
void matmul_f32(const float *a, const float *b, float *out, int64_t batch, const int64_t *offsets, int64_t M, int64_t K,
    int64_t N, int64_t a_row, int64_t a_col, int64_t b_row, int64_t b_col, int terms, void *scratch,
    int threads);
void matmul_f64(const double *a, const double *b, double *out, int64_t batch, const int64_t *offsets, int64_t M, int64_t K,
    int64_t N, int64_t a_row, int64_t a_col, int64_t b_row, int64_t b_col, int terms, void *scratch,
    int threads);

/* out (N, O) = x (N, I) times weight (O, I) transposed + bias (O) or NULL, then ReLU if asked. */
int64_t linear_scratch_f32(int64_t N, int64_t I, int64_t O, int terms, int threads);
int64_t linear_scratch_f64(int64_t N, int64_t I, int64_t O, int terms, int threads);
void linear_f32(const float *x, const float *weight, const float *bias, float *out, int64_t N, int64_t I, int64_t O, int
    relu, int terms, void *scratch, int threads);
void linear_f64(const double *x, const double *weight, const double *bias, double *out, int64_t N, int64_t I, int64_t O, int
    relu, int terms, void *scratch, int threads);

/* ---- Convolution ---- */

/* out (N, C*R*S, P*Q): the pixels under the window at each of its places, 0 in the padding. */
void im2col_f32(const float *x, const conv2d_geometry *geometry, float *out, int threads);
void im2col_f64(const double *x, const conv2d_geometry *geometry, double *out, int threads);

/* The transpose of im2col: columns (N, C*R*S, P*Q) added up where they came from, out (N, C, H, W). */
void col2im_f32(const float *columns, const conv2d_geometry *geometry, float *out, int threads);
void col2im_f64(const double *columns, const conv2d_geometry *geometry, double *out, int threads);

/* out (N, K, P, Q) = x correlated with weight, + bias (K) or NULL, then ReLU if asked. For the size of the scratch: `taps` is
 * room for R + S + R*S int64 numbers. */
int64_t conv2d_scratch_f32(const conv2d_geometry *geometry, void *taps, int terms, int threads);
int64_t conv2d_scratch_f64(const conv2d_geometry *geometry, void *taps, int terms, int threads);
void conv2d_f32(const float *x, const float *weight, const float *bias, const conv2d_geometry *geometry, int relu, float
    *out, int terms, void *scratch, int threads);
void conv2d_f64(const double *x, const double *weight, const double *bias, const conv2d_geometry *geometry, int relu, double
    *out, int terms, void *scratch, int threads);

/* out (N, C, H, W): the gradient of x from dy (N, K, P, Q). What lies beside dy is multiplied as 0, so weight must be finite:
 * infinity times 0 is NaN. */
int64_t conv2d_input_grad_scratch_f32(const conv2d_geometry *geometry, void *taps, int terms, int threads);
int64_t conv2d_input_grad_scratch_f64(const conv2d_geometry *geometry, void *taps, int terms, int threads);
void conv2d_input_grad_f32(const float *dy, const float *weight, const conv2d_geometry *geometry, float *out, int terms,
    void *scratch, int threads);
void conv2d_input_grad_f64(const double *dy, const double *weight, const conv2d_geometry *geometry, double *out, int
    terms, void *scratch, int threads);

/* out (K, C/G, R, S): the gradient of weight from dy (N, K, P, Q) and x. */
int64_t conv2d_weight_grad_scratch_f32(const conv2d_geometry *geometry, void *taps, int terms, int threads);
int64_t conv2d_weight_grad_scratch_f64(const conv2d_geometry *geometry, void *taps, int terms, int threads);
void conv2d_weight_grad_f32(const float *dy, const float *x, const conv2d_geometry *geometry, float *out, int terms, void
    *scratch, int threads);
void conv2d_weight_grad_f64(const double *dy, const double *x, const conv2d_geometry *geometry, double *out, int terms,
    void *scratch, int threads);

/* The same by Winograd's minimal filtering, for stride and dilation 1 and one group. F(2x2, 3x3), with a 3x3 window and tile 2,
 * takes 4/9 of the multiplications and rounds like plain float32; F(4x4, 3x3), with tile 4, takes a quarter, and F(2x2, 5x5), not
 * for the weight gradient, 9/25: the relative Frobenius error is about 1e-6 in float32, and a large pixel spoils small results
 * beside it. A 5x5 window has tile 2 alone. Where a number is infinite, NaN or beyond 1e14 (float64: 1e149), and with F(2x2, 3x3)
 * where a pixel is 2**14 (2**43) times the mean around it, as exponents go, the result is conv2d's with `terms`, bit for bit.
 * winograd_tile: which tile is the fastest for conv2d (kind 0), its input gradient (1), its weight gradient (2); `most`: 2 for the
 * accuracy of plain float32, else 4; 0: none, the plain kernel is. */
int winograd_tile_f32(const conv2d_geometry *geometry, int kind, int most);
int winograd_tile_f64(const conv2d_geometry *geometry, int kind, int most);
int64_t winograd_conv2d_scratch_f32(int tile, const conv2d_geometry *geometry, void *taps, int terms, int threads);
int64_t winograd_conv2d_scratch_f64(int tile, const conv2d_geometry *geometry, void *taps, int terms, int threads);
void winograd_conv2d_f32(int tile, const float *x, const float *weight, const float *bias, const conv2d_geometry *geometry,
    int relu, float *out, int terms, void *scratch, int threads);
void winograd_conv2d_f64(int tile, const double *x, const double *weight, const double *bias, const conv2d_geometry *geometry,
    int relu, double *out, int terms, void *scratch, int threads);
int64_t winograd_conv2d_input_grad_scratch_f32(int tile, const conv2d_geometry *geometry, void *taps, int terms, int threads);
int64_t winograd_conv2d_input_grad_scratch_f64(int tile, const conv2d_geometry *geometry, void *taps, int terms, int threads);
void winograd_conv2d_input_grad_f32(int tile, const float *dy, const float *weight, const conv2d_geometry *geometry, float *out,
    int terms, void *scratch, int threads);
void winograd_conv2d_input_grad_f64(int tile, const double *dy, const double *weight, const conv2d_geometry *geometry, double *out,
    int terms, void *scratch, int threads);
int64_t winograd_conv2d_weight_grad_scratch_f32(int tile, const conv2d_geometry *geometry, void *taps, int terms, int threads);
int64_t winograd_conv2d_weight_grad_scratch_f64(int tile, const conv2d_geometry *geometry, void *taps, int terms, int threads);
void winograd_conv2d_weight_grad_f32(int tile, const float *dy, const float *x, const conv2d_geometry *geometry, float *out, int
    terms, void *scratch, int threads);
void winograd_conv2d_weight_grad_f64(int tile, const double *dy, const double *x, const conv2d_geometry *geometry, double *out, int
    terms, void *scratch, int threads);

/* out (K): the sum of dy (N, K, L) over all but the channels. */
void channel_sum_f32(const float *dy, int64_t N, int64_t K, int64_t L, float *out, int threads);
void channel_sum_f64(const double *dy, int64_t N, int64_t K, int64_t L, double *out, int threads);

/* out = dy where y > 0, else 0*dy, all (N, K, L); sums (K): its sum over all but the channels. out may be dy. */
void relu_grad_sum_f32(const float *dy, const float *y, int64_t N, int64_t K, int64_t L, float *out, float *sums, int threads);
void relu_grad_sum_f64(const double *dy, const double *y, int64_t N, int64_t K, int64_t L, double *out, double *sums, int threads);

/* ---- Pooling ---- */

/* out: the maximum of each window; indices (N, C, P, Q): r*S + s of its first maximum. A NaN wins, the last one if several. */
void max_pool2d_f32(const float *x, const pool2d_geometry *geometry, float *out, int32_t *indices, int threads);
void max_pool2d_f64(const double *x, const pool2d_geometry *geometry, double *out, int32_t *indices, int threads);

/* out (N, C, H, W): dy (N, C, P, Q) added to the pixels that the indices name. */
void max_pool2d_grad_f32(const float *dy, const int32_t *indices, const pool2d_geometry *geometry, float *out, int threads);
void max_pool2d_grad_f64(const double *dy, const int32_t *indices, const pool2d_geometry *geometry, double *out, int
    threads);

/* out (N, C, P, Q): the pixels that the indices name. */
void max_pool2d_gather_f32(const float *x, const int32_t *indices, const pool2d_geometry *geometry, float *out, int
    threads);
void max_pool2d_gather_f64(const double *x, const int32_t *indices, const pool2d_geometry *geometry, double *out, int
    threads);

/* out (N, C, P, Q): the sum of each window over its number of pixels. */
void avg_pool2d_f32(const float *x, const pool2d_geometry *geometry, float *out, int threads);
void avg_pool2d_f64(const double *x, const pool2d_geometry *geometry, double *out, int threads);

/* out (N, C, H, W): each number of dy (N, C, P, Q) shared out over its window. */
void avg_pool2d_grad_f32(const float *dy, const pool2d_geometry *geometry, float *out, int threads);
void avg_pool2d_grad_f64(const double *dy, const pool2d_geometry *geometry, double *out, int threads);

/* out: the mean of each of P x Q windows that cover a map. x holds `planes` = N*C maps of H x W, out of P x Q. Window p of P
 * has the rows p*H/P, rounded down, to (p + 1)*H/P, rounded up; columns alike. H, W, P and Q are at least 1. */
void adaptive_avg_pool2d_f32(const float *x, int64_t planes, int64_t H, int64_t W, int64_t P, int64_t Q, float *out, int
    threads);
void adaptive_avg_pool2d_f64(const double *x, int64_t planes, int64_t H, int64_t W, int64_t P, int64_t Q, double *out, int
    threads);

/* out (planes, H, W): each number of dy (planes, P, Q) shared out over its window. */
void adaptive_avg_pool2d_grad_f32(const float *dy, int64_t planes, int64_t H, int64_t W, int64_t P, int64_t Q, float *out,
    int threads);
void adaptive_avg_pool2d_grad_f64(const double *dy, int64_t planes, int64_t H, int64_t W, int64_t P, int64_t Q, double *out,
    int threads);

/* ---- Normalisation; x is (N, C, L) ---- */

/* y = (x - mean)*invstd*scale + shift per channel, + residual or NULL, then ReLU if asked. invstd = 1/sqrt(var + eps), (C), is
 * given back. y may be x or residual. */
void batch_norm_f32(const float *x, const float *scale, const float *shift, const float *mean, const float *var,
    const float *residual, const batch_norm_layout *layout, int relu, double eps, float *y, float *invstd, int threads);
void batch_norm_f64(const double *x, const double *scale, const double *shift, const double *mean, const double *var,
    const double *residual, const batch_norm_layout *layout, int relu, double eps, double *y, double *invstd, int threads);

/* batch_norm with the mean and the biased variance of each channel of x; they are given back as mean and invstd =
 * 1/sqrt(variance + eps), both (C). running_mean and running_var, (C) or NULL: running += momentum*(x's - running), with the
 * unbiased variance. y may be residual. N*L is at least 2. */
void batch_norm_training_f32(const float *x, const float *scale, const float *shift, const float *residual,
    const batch_norm_layout *layout, int relu, double eps, double momentum, float *y, float *mean, float *invstd,
    float *running_mean, float *running_var, int threads);
void batch_norm_training_f64(const double *x, const double *scale, const double *shift, const double *residual,
    const batch_norm_layout *layout, int relu, double eps, double momentum, double *y, double *mean, double *invstd,
    double *running_mean, double *running_var, int threads);

/* Gradients of batch_norm; training: mean and invstd came from x. relu: ReLU followed; then dy counts only where y > 0, or where
 * y is NULL (there was no residual) where (x - mean)*invstd*scale + shift is. dresidual: what of dy counts. dx and
 * dresidual may be NULL; either, but not both, may be dy. */
void batch_norm_grad_f32(const float *dy, const float *x, const float *y, const float *scale, const float *shift,
    const float *mean, const float *invstd, const batch_norm_layout *layout, int relu, int training, float *dx,
    float *dresidual, float *dscale, float *dshift, int threads);
void batch_norm_grad_f64(const double *dy, const double *x, const double *y, const double *scale, const double *shift,
    const double *mean, const double *invstd, const batch_norm_layout *layout, int relu, int training, double *dx,
    double *dresidual, double *dscale, double *dshift, int threads);

/* scale = k + alpha * (sum of x**2 over the channels c - size/2 .. c + (size - 1)/2); out = x * scale**-beta. */
void local_response_norm_f32(const float *x, int64_t N, int64_t C, int64_t L, int64_t size, double alpha, double beta,
    double k, float *out, float *scale, int threads);
void local_response_norm_f64(const double *x, int64_t N, int64_t C, int64_t L, int64_t size, double alpha, double beta,
    double k, double *out, double *scale, int threads);

/* out: the gradient of x, from dy and the scale that local_response_norm gave. */
int64_t local_response_norm_grad_scratch_f32(int64_t C, int threads);
int64_t local_response_norm_grad_scratch_f64(int64_t C, int threads);
void local_response_norm_grad_f32(const float *dy, const float *x, const float *scale, int64_t N, int64_t C, int64_t L,
    int64_t size, double alpha, double beta, float *out, void *scratch, int threads);
void local_response_norm_grad_f64(const double *dy, const double *x, const double *scale, int64_t N, int64_t C, int64_t L,
    int64_t size, double alpha, double beta, double *out, void *scratch, int threads);

/* ---- Element by element; out may be an input ---- */

/* 1 if all numbers are finite, else 0. */
int all_finite_f32(const float *x, int64_t count, int threads);
int all_finite_f64(const double *x, int64_t count, int threads);

/* max(x, 0); a NaN stays a NaN. */
void relu_f32(const float *x, float *out, int64_t count, int threads);
void relu_f64(const double *x, double *out, int64_t count, int threads);

/* dy where y > 0, else 0*dy. */
void relu_grad_f32(const float *dy, const float *y, float *out, int64_t count, int threads);
void relu_grad_f64(const double *dy, const double *y, double *out, int64_t count, int threads);

/* 1/(1 + exp(-x)): 0 at -infinity, 1 at infinity. */
void sigmoid_f32(const float *x, float *out, int64_t count, int threads);
void sigmoid_f64(const double *x, double *out, int64_t count, int threads);

/* The hyperbolic tangent: -1 at -infinity, 1 at infinity; -0 stays -0. */
void tanh_f32(const float *x, float *out, int64_t count, int threads);
void tanh_f64(const double *x, double *out, int64_t count, int threads);

/* dy*y*(1 - y) and dy*(1 - y*y): the gradients, from the outputs y. */
void sigmoid_grad_f32(const float *dy, const float *y, float *out, int64_t count, int threads);
void sigmoid_grad_f64(const double *dy, const double *y, double *out, int64_t count, int threads);
void tanh_grad_f32(const float *dy, const float *y, float *out, int64_t count, int threads);
void tanh_grad_f64(const double *dy, const double *y, double *out, int64_t count, int threads);

/* out = x*scale where word i of Philox 4x32-10 with key (seed, stream) and counter (i/4, step) is at least threshold, else 0*x. */
void dropout_f32(const float *x, double scale, uint64_t threshold, uint32_t seed, uint32_t stream, uint64_t step, float
    *out, int64_t count, int threads);
void dropout_f64(const double *x, double scale, uint64_t threshold, uint32_t seed, uint32_t stream, uint64_t step, double
    *out, int64_t count, int threads);

/* ---- Losses; x and logits are (N, C) ---- */

/* x minus the logarithm of its row's sum of exponentials. */
void log_softmax_f32(const float *x, int64_t N, int64_t C, float *out, int threads);
void log_softmax_f64(const double *x, int64_t N, int64_t C, double *out, int threads);

/* out (N): -sum over c of t*w[c]*log p[c] with t = smoothing/C, + 1 - smoothing at the label; 0 where the label is `ignore`.
 * weights w (C) or NULL. probabilities (N, C): softmax of the logits. labels are 0 .. C - 1 or `ignore`. */
void cross_entropy_f32(const float *logits, const int64_t *labels, const float *weights, double smoothing, int64_t ignore,
    int64_t N, int64_t C, float *out, float *probabilities, int threads);
void cross_entropy_f64(const double *logits, const int64_t *labels, const double *weights, double smoothing, int64_t ignore,
    int64_t N, int64_t C, double *out, double *probabilities, int threads);

/* out (N, C): the gradient of the logits, from dloss (N). */
void cross_entropy_grad_f32(const float *dloss, const float *probabilities, const int64_t *labels, const float *weights,
    double smoothing, int64_t ignore, int64_t N, int64_t C, float *out, int threads);
void cross_entropy_grad_f64(const double *dloss, const double *probabilities, const int64_t *labels, const double *weights,
    double smoothing, int64_t ignore, int64_t N, int64_t C, double *out, int threads);

/* ---- Optimiser steps, in place ---- */

/* g' = g + weight_decay*w; v = momentum*v + g'; w -= lr*(g' + momentum*v if nesterov, else v). Without v (NULL): w -= lr*g'. */
void sgd_f32(float *w, const float *g, float *v, double lr, double momentum, double weight_decay, int nesterov, int64_t
    count, int threads);
void sgd_f64(double *w, const double *g, double *v, double lr, double momentum, double weight_decay, int nesterov, int64_t
    count, int threads);

/* Adam, or with `decoupled` AdamW; step counts from 1. */
void adam_f32(float *w, const float *g, float *m, float *v, double lr, double beta1, double beta2, double eps, double
    weight_decay, int decoupled, int64_t step, int64_t count, int threads);
void adam_f64(double *w, const double *g, double *m, double *v, double lr, double beta1, double beta2, double eps, double
    weight_decay, int decoupled, int64_t step, int64_t count, int threads);

#endif
