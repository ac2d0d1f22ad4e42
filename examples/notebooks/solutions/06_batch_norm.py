"""Solutions of 06_batch_norm.ipynb: what fills its exercise cells."""

import math

import numpy as np

AXES = (0, 2, 3)  # of maps (N, C, H, W): all but the channels


def per_channel(values):
    return values[None, :, None, None]


def normal_and_inverse(x, eps):
    distance = x - x.mean(AXES, keepdims=True)
    inverse = 1 / np.sqrt((distance**2).mean(AXES, keepdims=True) + eps)
    return distance * inverse, inverse


# 1. One mean and one variance for each channel.
def forward(x, scale, shift, eps):
    return per_channel(scale) * normal_and_inverse(x, eps)[0] + per_channel(shift)


# 2. The mean off the gradient, and its part along the normalised numbers.
def backward(dy, x, scale, eps):
    normal, inverse = normal_and_inverse(x, eps)
    along = normal * (dy * normal).mean(AXES, keepdims=True)
    dx = per_channel(scale) * inverse * (dy - dy.mean(AXES, keepdims=True) - along)
    return dx, (dy * normal).sum(AXES), dy.sum(AXES)


# 3. For each filter two more (scale and shift) and one less (the bias): as many as there are filters.
added_to_vgg16 = 2 * 64 + 2 * 128 + 3 * 256 + 6 * 512

# 4. The start's weight is (1 - momentum)**steps.
steps_with_a_tenth = math.ceil(math.log(0.01) / math.log(0.9))
steps_with_a_hundredth = math.ceil(math.log(0.01) / math.log(0.99))


# 5. The line a*x + b of channel c reaches filter k with weight[k, c]: a goes into the weight, b into the bias.
def fold_in_front(weight, scale, shift, mean, variance, eps):
    a = scale / np.sqrt(variance + eps)
    b = shift - a * mean
    return weight * per_channel(a), weight[:, :, 0, 0] @ b
