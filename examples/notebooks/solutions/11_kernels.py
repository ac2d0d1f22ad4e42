"""Solutions of 11_kernels.ipynb: what fills its exercise cells."""

import numpy as np

# 1. 2*MR + 3 registers: 14 rows fill 31 of 32, 6 rows 15 of 16.
rows_avx512, rows_avx2 = 14, 6


# 2. One image: 9216*4096 multiply-adds on as many weights, half an operation for each byte; 128 share the weights.
def product_intensity(M, K, N):
    return 2 * M * K * N / (4 * (M * K + K * N + M * N))


# 3. 2*N^3 operations on 12*N^2 bytes are N/6; the roof's edge is at 500/40 = 12.5.
smallest_side = 75


# 4. Half of what is cut off carries over into the upper half; at a tie only where its last bit is 1.
def bfloat16_bits(x):
    bits = x.view(np.uint32)
    return ((bits + 0x7FFF + (bits >> 16 & 1)) & 0xFFFF0000).view(np.float32)


# 5. A NaN fails both comparisons, and so the last branch hands it on.
relu6_source = """
void relu6(const real *x, real *y, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        y[i] = x[i] < 0 ? 0 : x[i] > 6 ? 6 : x[i];
}
void relu6_grad(const real *dy, const real *x, real *dx, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        dx[i] = x[i] > 0 && x[i] < 6 ? dy[i] : 0;
}
"""
