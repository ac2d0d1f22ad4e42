"""Solutions of 03_lenet_alexnet.ipynb: what fills its exercise cells."""

import math


# 1. A window of weights for each map that a filter sees, and a bias for each filter: 5*5*60 + 16.
def table_parameters(table, window):
    return sum(window * window * len(maps) + 1 for maps in table)


# 2. The formula, again and again.
def sides(side, windows):
    found = []
    for window, stride, padding in windows:
        side = (side + 2 * padding - window) // stride + 1
        found.append(side)
    return found


# 3. Two channels on either side, as far as there are any.
def lrn(a, n=5, k=2.0, alpha=1e-4, beta=0.75):
    normed = []
    for i in range(len(a)):
        around = a[max(0, i - n // 2) : i + n // 2 + 1]
        normed.append(a[i] / (k + alpha * sum(around**2)) ** beta)
    return normed


# 4. Each step leaves 1 - lr*decay of it: (1 - lr*decay)**steps <= 1/2. With AlexNet's 0.01 and 0.0005: 138,629 steps.
def steps_to_half(lr, decay):
    return math.ceil(math.log(0.5) / math.log(1 - lr * decay))


# 5. Each filter sees C/G channels.
def grouped_parameters(C, K, R, G):
    return (R * R * C // G + 1) * K
