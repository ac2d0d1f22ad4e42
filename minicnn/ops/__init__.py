"""Differentiable operations, one file per family, forward beside backward."""

from .activation import dropout, relu, sigmoid, tanh
from .convolution import col2im, conv2d, conv_transpose2d, im2col
from .elementwise import (
    absolute,
    add,
    clip,
    divide,
    equal,
    exp,
    greater,
    greater_equal,
    less,
    less_equal,
    log,
    maximum,
    minimum,
    multiply,
    negative,
    not_equal,
    power,
    sign,
    sqrt,
    subtract,
    where,
)  # fmt: skip
from .loss import cross_entropy, hinge_loss, log_softmax, mse_loss, softmax
from .normalisation import batch_norm, local_response_norm
from .pooling import adaptive_avg_pool2d, avg_pool2d, global_avg_pool2d, max_pool2d
from .product import linear, matmul
from .reduction import argmax, max, mean, min, prod, std, sum, var
from .shape import (
    astype,
    broadcast_to,
    cat,
    copy,
    expand_dims,
    flatten,
    getitem,
    pad,
    reshape,
    squeeze,
    stack,
    swapaxes,
    transpose,
)  # fmt: skip

__all__ = [
    "absolute", "adaptive_avg_pool2d", "add", "argmax", "astype", "avg_pool2d", "batch_norm", "broadcast_to", "cat",
    "clip", "col2im", "conv2d", "conv_transpose2d", "copy", "cross_entropy", "divide", "dropout", "equal", "exp",
    "expand_dims", "flatten", "getitem", "global_avg_pool2d", "greater", "greater_equal", "hinge_loss", "im2col",
    "less", "less_equal", "linear", "local_response_norm", "log", "log_softmax", "matmul", "max", "max_pool2d",
    "maximum", "mean", "min", "minimum", "mse_loss", "multiply", "negative", "not_equal", "pad", "power", "prod",
    "relu", "reshape", "sigmoid", "sign", "softmax", "sqrt", "squeeze", "stack", "std", "subtract", "sum", "swapaxes",
    "tanh", "transpose", "var", "where",
]  # fmt: skip
