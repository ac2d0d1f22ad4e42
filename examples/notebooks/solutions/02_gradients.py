"""The exercises of lesson 2, answered."""

import numpy as np

# z = 1*2 + 3 = 5, y = 5, the loss is (5 - 9)^2 = 16; dy = 2*(5 - 9) = -8 = dz
dw, db = -8 * 2, -8


def numeric_gradient(f, at, h=1e-6):
    slopes = np.empty(at.shape)
    for place in np.ndindex(at.shape):
        step = np.zeros(at.shape)
        step[place] = h
        slopes[place] = (f(at + step) - f(at - step)) / (2 * h)
    return slopes


def product_backward(W, C, dY):
    return dY @ C.T, W.T @ dY


# 6 wins both upper windows, 7 the lower left and 8 the lower right one
overlapping = [[0, 0, 0, 0, 0], [0, 0, 0, 0, 0], [0, 0, 2, 0, 0], [1, 0, 0, 0, 0], [0, 0, 0, 0, 1]]

central_difference = 0.5  # (3 + h - 3)/2h: below 3, the other one is the maximum
from_the_tape = 1  # the first maximum takes it
