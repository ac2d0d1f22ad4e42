"""The exercises of lesson 1, answered."""

from minicnn import Tensor, ops

P, Q = (64 + 2 * 1 - 5) // 2 + 1, (48 + 2 * 1 - 5) // 2 + 1  # 30.5 and 22.5, rounded down, and 1
padding = 3  # with 2 it is (224 + 2*2 - 7)/2 + 1 = 111.5: 111
parameters = (11 * 11 * 3 + 1) * 96


def as_printed(x, weight):
    return ops.conv2d(x, Tensor(weight[:, :, ::-1, ::-1].copy()))  # turned, in every channel


def convolve(x, weight, bias):
    K, _, R, S = weight.shape
    columns = ops.im2col(x[None], (R, S)).numpy()[0]
    maps = weight.reshape(K, -1) @ columns + bias[:, None]
    return maps.reshape(K, x.shape[1] - R + 1, x.shape[2] - S + 1)
