"""Max, average and adaptive average pooling."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import geometry as sizes
from ..autograd import differentiable
from ..errors import ArgumentError
from ..geometry import Padding, Pair
from ..tensor import Tensor, as_tensor
from .elementwise import _floating


@differentiable
def _max_pool2d(kernels, needs, x, *, geometry):
    y = kernels.empty(geometry.output_shape, x.dtype)
    indices = kernels.empty(geometry.output_shape, np.dtype(np.int32))
    kernels.max_pool2d(x, geometry, out=y, indices=indices)
    return y, [indices], _max_pool2d_backward


def _max_pool2d_backward(saved, dy, needs, *, geometry):
    return (_max_pool2d_grad(dy, saved[0], geometry=geometry),)


@differentiable
def _max_pool2d_grad(kernels, needs, dy, indices, *, geometry):
    dx = kernels.empty(geometry.input_shape, dy.dtype)
    kernels.max_pool2d_grad(dy, indices, geometry, out=dx)
    return dx, [indices], _max_pool2d_grad_backward


def _max_pool2d_grad_backward(saved, ddx, needs, *, geometry):
    return _max_pool2d_gather(ddx, saved[0], geometry=geometry), None


@differentiable
def _max_pool2d_gather(kernels, needs, x, indices, *, geometry):
    y = kernels.empty(geometry.output_shape, x.dtype)
    kernels.max_pool2d_gather(x, indices, geometry, out=y)
    return y, [indices], _max_pool2d_gather_backward


def _max_pool2d_gather_backward(saved, dy, needs, *, geometry):
    return _max_pool2d_grad(dy, saved[0], geometry=geometry), None


def max_pool2d(
    x: Any, kernel_size: Pair, stride: Pair | None = None, padding: Padding = 0, ceil_mode: bool = False
) -> Tensor:
    """The maximum of each window; the gradient goes to the first maximum.

    x: (N, C, H, W)      kernel_size, stride: pixels, int or (vertical, horizontal); stride is kernel_size if None
    padding: at most half the window; never taken. ceil_mode: round up, but no window starts in the padding.
    Returns (N, C, P, Q), P = floor((H + 2*padding - R)/stride) + 1. Raises ShapeError if a window does not fit.
    """
    x = _floating(as_tensor(x, what="max_pool2d: x"))
    window = sizes.pool2d(x.shape, kernel_size, stride, padding, ceil_mode, True, "max_pool2d")
    return _max_pool2d(x, geometry=window)


@differentiable
def _avg_pool2d(kernels, needs, x, *, geometry):
    y = kernels.empty(geometry.output_shape, x.dtype)
    kernels.avg_pool2d(x, geometry, out=y)
    return y, [], _avg_pool2d_backward


def _avg_pool2d_backward(saved, dy, needs, *, geometry):
    return (_avg_pool2d_grad(dy, geometry=geometry),)


@differentiable
def _avg_pool2d_grad(kernels, needs, dy, *, geometry):
    dx = kernels.empty(geometry.input_shape, dy.dtype)
    kernels.avg_pool2d_grad(dy, geometry, out=dx)
    return dx, [], _avg_pool2d_grad_backward


def _avg_pool2d_grad_backward(saved, ddx, needs, *, geometry):
    return (_avg_pool2d(ddx, geometry=geometry),)


def avg_pool2d(
    x: Any, kernel_size: Pair, stride: Pair | None = None, padding: Padding = 0, ceil_mode: bool = False,
    count_include_pad: bool = True,
) -> Tensor:  # fmt: skip
    """The mean of each window; shapes as in `max_pool2d`.

    count_include_pad: whether padding counts in the divisor. What a window of ceil mode sees beyond it never counts.
    """
    x = _floating(as_tensor(x, what="avg_pool2d: x"))
    window = sizes.pool2d(x.shape, kernel_size, stride, padding, ceil_mode, count_include_pad, "avg_pool2d")
    return _avg_pool2d(x, geometry=window)


@differentiable
def _adaptive_avg_pool2d(kernels, needs, x, *, size):
    y = kernels.empty((*x.shape[:2], *size), x.dtype)
    kernels.adaptive_avg_pool2d(x, out=y)
    before = x.shape[2:]

    def backward(saved, dy, needs, *, size):
        return (_adaptive_avg_pool2d_grad(dy, size=before),)

    return y, [], backward


@differentiable
def _adaptive_avg_pool2d_grad(kernels, needs, dy, *, size):
    dx = kernels.empty((*dy.shape[:2], *size), dy.dtype)
    kernels.adaptive_avg_pool2d_grad(dy, out=dx)
    before = dy.shape[2:]

    def backward(saved, ddx, needs, *, size):
        return (_adaptive_avg_pool2d(ddx, size=before),)

    return dx, [], backward


def adaptive_avg_pool2d(x: Any, output_size: Pair = 1) -> Tensor:
    """The means of P x Q windows that cover the map evenly: x (N, C, H, W) -> (N, C, P, Q) = output_size."""
    x = _floating(as_tensor(x, what="adaptive_avg_pool2d: x"))
    sizes._images("adaptive_avg_pool2d", x.shape)
    size = sizes.pair(sizes.hashable(output_size), "adaptive_avg_pool2d: output_size", 1)
    if min(x.shape[2:]) < 1:
        raise ArgumentError(f"adaptive_avg_pool2d: x has shape {x.shape}: the map must have at least one pixel")
    return _adaptive_avg_pool2d(x, size=size)


def global_avg_pool2d(x: Any) -> Tensor:
    """The mean of each whole map: (N, C, H, W) -> (N, C, 1, 1). Source: Lin, Chen and Yan 2013, arXiv:1312.4400."""
    return adaptive_avg_pool2d(x, 1)
