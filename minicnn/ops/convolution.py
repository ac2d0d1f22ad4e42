"""Convolution and its two gradients, which are each other's derivatives; im2col and col2im."""

from __future__ import annotations

from typing import Any

from .. import geometry as sizes
from ..autograd import differentiable, first_order
from ..errors import ArgumentError, ShapeError
from ..geometry import Padding, Pair
from ..tensor import Tensor, as_tensor
from .activation import relu_grad
from .product import floating
from .shape import _tuple


@differentiable
def _conv2d(kernels, needs, x, weight, bias, *, geometry, relu):
    y = kernels.empty(geometry.output_shape, x.dtype)
    kernels.conv2d(x, weight, bias, geometry, relu, out=y)
    return y, [x if needs[1] else None, weight if needs[0] else None, y if relu else None], _conv2d_backward


def _conv2d_backward(saved, dy, needs, *, geometry, relu):
    x, weight, y = saved
    dbias = None
    if relu and needs[2]:
        dy, dbias = _relu_grad_sum(dy, y)
    elif relu:
        dy = relu_grad(dy, y)
    elif needs[2]:
        dbias = channel_sum(dy)
    return (
        conv2d_input_grad(dy, weight, geometry=geometry) if needs[0] else None,
        conv2d_weight_grad(dy, x, geometry=geometry) if needs[1] else None,
        dbias,
    )


def _relu_grad_sum_composed(dy, y):
    dy = relu_grad(dy, y)
    return dy, channel_sum(dy)


@first_order(_relu_grad_sum_composed)
def _relu_grad_sum(kernels, dy, y):
    """The gradient of ReLU's input, and of the bias before it."""
    dx, dbias = kernels.empty(y.shape, y.dtype), kernels.empty(y.shape[1:2], y.dtype)
    kernels.relu_grad_sum(dy, y, out=dx, sums=dbias)
    return dx, dbias


@differentiable
def conv2d_input_grad(kernels, needs, dy, weight, *, geometry):
    """dx (N, C, H, W) of a convolution from dy (N, K, P, Q): also called transposed convolution."""
    dx = kernels.empty(geometry.input_shape, dy.dtype)
    kernels.conv2d_input_grad(dy, weight, geometry, out=dx)
    return dx, [dy if needs[1] else None, weight if needs[0] else None], _conv2d_input_grad_backward


def _conv2d_input_grad_backward(saved, ddx, needs, *, geometry):
    dy, weight = saved
    return (
        _conv2d(ddx, weight, None, geometry=geometry, relu=False) if needs[0] else None,
        conv2d_weight_grad(dy, ddx, geometry=geometry) if needs[1] else None,
    )


@differentiable
def conv2d_weight_grad(kernels, needs, dy, x, *, geometry):
    """dweight (K, C/G, R, S) of a convolution from dy (N, K, P, Q) and x (N, C, H, W)."""
    dw = kernels.empty(geometry.weight_shape, dy.dtype)
    kernels.conv2d_weight_grad(dy, x, geometry, out=dw)
    return dw, [dy if needs[1] else None, x if needs[0] else None], _conv2d_weight_grad_backward


def _conv2d_weight_grad_backward(saved, ddw, needs, *, geometry):
    dy, x = saved
    return (
        _conv2d(x, ddw, None, geometry=geometry, relu=False) if needs[0] else None,
        conv2d_input_grad(dy, ddw, geometry=geometry) if needs[1] else None,
    )


@differentiable
def channel_sum(kernels, needs, dy):
    """The sum of dy (N, K, ...) over all axes but the channels, (K,): the gradient of a bias."""
    db = kernels.empty(dy.shape[1:2], dy.dtype)
    kernels.channel_sum(dy, out=db)
    shape = dy.shape

    def backward(saved, ddb, needs):
        from .shape import _reshape, broadcast_to

        return (broadcast_to(_reshape(ddb, shape=(shape[1], *(1,) * (len(shape) - 2))), shape),)

    return db, [], backward


def conv2d(
    x: Any, weight: Tensor, bias: Tensor | None = None, stride: Pair = 1, padding: Padding = 0, dilation: Pair = 1,
    groups: int = 1, *, relu: bool = False,
) -> Tensor:  # fmt: skip
    """Convolve images with a bank of filters (cross-correlation, as networks have it), then ReLU if asked.

    x: (N, C, H, W)      weight: (K, C/G, R, S)      bias: (K,) or None
    stride, dilation: pixels, int or (vertical, horizontal)
    padding: pixels, int, (vertical, horizontal) or (top, bottom, left, right)
    Returns (N, K, P, Q), P = floor((H + top + bottom - dilation*(R - 1) - 1) / stride) + 1, likewise Q.
    Raises ShapeError if the channel counts disagree or P or Q would be less than 1.
    Source: Dumoulin and Visin 2016, arXiv:1603.07285.
    """
    x, weight = as_tensor(x, what="conv2d: x"), as_tensor(weight, what="conv2d: weight")
    x, weight, bias = floating("conv2d", x, weight, bias)
    geometry = sizes.conv2d(x.shape, weight.shape, stride, padding, dilation, groups)
    if bias is not None and bias.shape != (geometry.K,):
        raise ShapeError(f"conv2d: bias has shape {bias.shape}: it must be ({geometry.K},), one for each filter")
    return _conv2d(x, weight, bias, geometry=geometry, relu=bool(relu))


def conv_transpose2d(
    x: Any, weight: Tensor, bias: Tensor | None = None, stride: Pair = 1, padding: Padding = 0,
    output_padding: Pair = 0, groups: int = 1, dilation: Pair = 1,
) -> Tensor:  # fmt: skip
    """The transpose of `conv2d`: x (N, K, P, Q), weight (K, C/G, R, S), bias (C,) -> (N, C, H, W),
    H = (P - 1)*stride - top - bottom + dilation*(R - 1) + output_padding + 1, likewise W.

    stride, padding, dilation, output_padding: pixels, int or (vertical, horizontal)
    Raises ShapeError if the channel counts disagree, H or W would be less than 1, or output_padding is not less than the
    stride or the dilation.
    """
    x, weight = as_tensor(x, what="conv_transpose2d: x"), as_tensor(weight, what="conv_transpose2d: weight")
    x, weight, bias = floating("conv_transpose2d", x, weight, bias)
    if not sizes.is_integer(groups) or groups < 1:
        raise ArgumentError(f"conv_transpose2d: groups is {groups!r}: it must be an integer of at least 1")
    sizes._images("conv_transpose2d", x.shape)
    steps, spread, more = (
        sizes.pair(value, f"conv_transpose2d: {name}", least)
        for value, name, least in (
            (stride, "stride", 1),
            (dilation, "dilation", 1),
            (output_padding, "output_padding", 0),
        )
    )
    if weight.ndim != 4 or weight.shape[0] != x.shape[1]:
        raise ShapeError(
            f"conv_transpose2d: x has {x.shape[1]} channels and weight {weight.shape}: it must be ({x.shape[1]}, C/groups, R, S)"
        )
    border = sizes.sides(padding, "conv_transpose2d: padding")
    size = [
        (x.shape[2 + i] - 1) * steps[i]
        - border[2 * i]
        - border[2 * i + 1]
        + spread[i] * (weight.shape[2 + i] - 1)
        + more[i]
        + 1
        for i in (0, 1)
    ]
    if min(size) < 1 or more[0] >= max(steps[0], spread[0]) or more[1] >= max(steps[1], spread[1]):
        raise ShapeError(
            f"conv_transpose2d: the result would be {size[0]}x{size[1]} with output_padding={more}: it must be at least "
            "1x1, and output_padding less than the stride or the dilation"
        )
    shape = (x.shape[0], weight.shape[1] * groups, *size)
    geometry = sizes.conv2d(shape, weight.shape, steps, border, spread, groups, "conv_transpose2d")
    if bias is not None and bias.shape != (geometry.C,):
        raise ShapeError(
            f"conv_transpose2d: bias has shape {bias.shape}: it must be ({geometry.C},), one for each channel of the result"
        )
    y = conv2d_input_grad(x, weight, geometry=geometry)
    return y if bias is None else y + bias.reshape(-1, 1, 1)


@differentiable
def _im2col(kernels, needs, x, *, geometry):
    columns = kernels.empty(geometry.columns_shape, x.dtype)
    kernels.im2col(x, geometry, out=columns)
    return columns, [], _im2col_backward


def _im2col_backward(saved, dcolumns, needs, *, geometry):
    return (_col2im(dcolumns, geometry=geometry),)


@differentiable
def _col2im(kernels, needs, columns, *, geometry):
    x = kernels.empty(geometry.input_shape, columns.dtype)
    kernels.col2im(columns, geometry, out=x)
    return x, [], _col2im_backward


def _col2im_backward(saved, dx, needs, *, geometry):
    return (_im2col(dx, geometry=geometry),)


def _window_geometry(
    op: str, shape: Any, kernel_size: Pair, stride: Pair, padding: Padding, dilation: Pair
) -> sizes.Conv2d:
    sizes._images(op, tuple(shape))
    window = sizes.pair(kernel_size, f"{op}: kernel_size", 1)
    weight = (1, shape[1], *window)
    return sizes.conv2d(tuple(shape), weight, stride, padding, dilation, 1, op)


def im2col(x: Any, kernel_size: Pair, stride: Pair = 1, padding: Padding = 0, dilation: Pair = 1) -> Tensor:
    """The windows of images as columns: x (N, C, H, W) -> (N, C*R*S, P*Q).

    A convolution is then one matrix product: weight.reshape(K, C*R*S) @ im2col(x).
    Source: Chellapilla, Puri and Simard 2006.
    """
    x = as_tensor(x, what="im2col: x")
    return _im2col(x, geometry=_window_geometry("im2col", x.shape, kernel_size, stride, padding, dilation))


def col2im(
    columns: Any, input_shape: tuple[int, int, int, int], kernel_size: Pair, stride: Pair = 1, padding: Padding = 0,
    dilation: Pair = 1,
) -> Tensor:  # fmt: skip
    """The transpose of im2col: columns (N, C*R*S, P*Q) added up where they came from, (N, C, H, W) = input_shape."""
    columns, input_shape = as_tensor(columns, what="col2im: columns"), _tuple("col2im: input_shape", input_shape)
    if not all(map(sizes.is_integer, input_shape)):
        raise ShapeError(f"col2im: input_shape is {input_shape}: it must be (N, C, H, W)")
    geometry = _window_geometry("col2im", input_shape, kernel_size, stride, padding, dilation)
    if columns.shape != geometry.columns_shape:
        raise ShapeError(
            f"col2im: columns have shape {columns.shape}: for input_shape {tuple(input_shape)} it must be {geometry.columns_shape}"
        )
    return _col2im(columns, geometry=geometry)
