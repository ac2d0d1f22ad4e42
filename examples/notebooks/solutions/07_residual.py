"""Solutions of 07_residual.ipynb: what fills its exercise cells."""

import math

# 1. Each of the 64 filters of each convolution has a single 1.
ones, zeros = 2 * 64, 2 * (3 * 3 * 64 * 64 - 64)

# 2. 1 + w, where the ReLU lets it pass: at w = -2 the sum is negative.
dx_half, dx_two = 0.5, 0


# 3. A weight for each pair of channels, and a scale and a shift for each filter.
def projection(channels, filters):
    return channels * filters + 2 * filters


# 4. At each place: down, 3x3 inside, up.
def bottleneck_work(side, channels, inner):
    return side * side * (2 * channels * inner + 9 * inner * inner)


# 5. As many as there are ways to choose the k bodies.
def paths(n, k):
    return math.comb(n, k)
