"""Batch normalisation (with residual add and ReLU fused) and local response normalisation."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..autograd import differentiable, first_order
from ..errors import ArgumentError, ShapeError, WindowError
from ..geometry import LONGEST, is_integer, is_number
from ..tensor import Tensor, as_tensor
from .activation import relu_grad
from .elementwise import _floating, power
from .product import floating
from .reduction import mean as _mean
from .reduction import sum as _sum


@differentiable
def _batch_norm(kernels, needs, x, scale, shift, residual, mean, var, *, training, eps, relu):
    y, invstd = kernels.empty(x.shape, x.dtype), kernels.empty(scale.shape, x.dtype)
    kernels.batch_norm(x, scale, shift, mean, var, eps, residual, relu, out=y, invstd=invstd)
    return y, _kept(x, scale, shift, residual, mean, invstd, y, relu), _batch_norm_backward


@differentiable
def _batch_norm_training(kernels, needs, x, scale, shift, residual, running_mean, running_var, *, momentum, eps, relu):
    y = kernels.empty(x.shape, x.dtype)
    mean, invstd = kernels.empty(scale.shape, x.dtype), kernels.empty(scale.shape, x.dtype)
    kernels.batch_norm_training(
        x, scale, shift, residual, running_mean, running_var, momentum, eps, relu, out=y, mean=mean, invstd=invstd
    )
    return y, _kept(x, scale, shift, residual, mean, invstd, y, relu), _batch_norm_training_backward


def _kept(x, scale, shift, residual, mean, invstd, y, relu):
    """What the backward needs. Where ReLU cut off it sees from x, unless a residual came between."""
    return [x, scale, shift, mean, invstd, y if relu and residual is not None else None]


def _batch_norm_backward(saved, dy, needs, *, training, eps, relu):
    x, scale, shift, mean, invstd, y = saved
    masked = relu and needs[3]
    dx, dresidual, dscale, dshift = _batch_norm_grad(
        dy, x, y, scale, shift, mean, invstd,
        relu=relu, training=training, eps=eps, need_dx=needs[0], need_masked=masked,
    )  # fmt: skip
    return dx, dscale, dshift, (dresidual if masked else dy) if needs[3] else None, None, None


def _batch_norm_training_backward(saved, dy, needs, *, momentum, eps, relu):
    return _batch_norm_backward(saved, dy, needs, training=True, eps=eps, relu=relu)


def _batch_norm_grad_composed(
    dy, x, y, scale, shift, mean, invstd, *, relu, training, eps, need_dx, need_masked
):  # fmt: skip
    """The gradients spelled out, so that they can be differentiated: mean and variance are functions of x again."""
    axes = (0, *range(2, x.ndim))
    column = (1, -1, *(1,) * (x.ndim - 2))
    slope = scale.reshape(column)
    if training:
        distance = x - _mean(x, axes, keepdims=True)
        inverse = power(_mean(distance * distance, axes, keepdims=True) + eps, -0.5)
        normal = distance * inverse
    else:
        inverse = invstd.reshape(column)
        normal = (x - mean.reshape(column)) * inverse
    if relu:
        dy = relu_grad(dy, (normal * slope + shift.reshape(column)).detach() if y is None else y)
    changed = dy
    if training:
        changed = dy - (_mean(dy, axes, keepdims=True) + normal * _mean(dy * normal, axes, keepdims=True))
    dx = slope * inverse * changed
    return dx, dy, _sum(dy * normal, axes), _sum(dy, axes)


@first_order(_batch_norm_grad_composed)
def _batch_norm_grad(
    kernels, dy, x, y, scale, shift, mean, invstd, *, relu, training, eps, need_dx, need_masked
):  # fmt: skip
    dx, dresidual = (kernels.empty(x.shape, x.dtype) if need else None for need in (need_dx, need_masked))
    dscale, dshift = kernels.empty(scale.shape, x.dtype), kernels.empty(scale.shape, x.dtype)
    kernels.batch_norm_grad(dy, x, y, scale, shift, mean, invstd, relu, training, dx, dresidual, dscale, dshift)
    return dx, dresidual, dscale, dshift


def batch_norm(
    x: Any, scale: Tensor | None = None, shift: Tensor | None = None, running_mean: Tensor | None = None,
    running_var: Tensor | None = None, training: bool = True, momentum: float = 0.1, eps: float = 1e-5, *,
    residual: Tensor | None = None, relu: bool = False,
) -> Tensor:  # fmt: skip
    """Bring each channel to mean 0 and variance 1, then scale and shift it; add `residual`; then ReLU if asked.

    x: (N, C, ...)      scale, shift, running_mean, running_var: (C,)      residual: shaped like x
    training: normalise with the batch's own statistics and move the running ones towards them:
        running += momentum*(batch - running), with the unbiased variance; else normalise with the running ones.
    Raises ShapeError if shapes disagree or if a training batch has one value per channel.
    Source: Ioffe and Szegedy 2015, arXiv:1502.03167.
    """
    x = _floating(as_tensor(x, what="batch_norm: x"))
    if x.ndim < 2:
        raise ShapeError(f"batch_norm: x has shape {x.shape}: it must be (N, C, ...)")
    x, scale, shift, residual = floating("batch_norm", x, scale, shift, residual)
    running_mean, running_var = [v if v is None else as_tensor(v) for v in (running_mean, running_var)]
    channels = x.shape[1]
    for name, values in zip(
        ("scale", "shift", "running_mean", "running_var"), (scale, shift, running_mean, running_var)
    ):
        if values is not None and values.shape != (channels,):
            raise ShapeError(
                f"batch_norm: {name} has shape {values.shape}: it must be ({channels},), one for each channel of x {x.shape}"
            )
    if residual is not None and residual.shape != x.shape:
        raise ShapeError(f"batch_norm: residual has shape {residual.shape}: it must be {x.shape}, like x")
    if not training and (running_mean is None or running_var is None):
        raise ArgumentError(
            "batch_norm: training is False but there are no running statistics: give running_mean and running_var"
        )
    if not is_number(eps) or eps < 0:
        raise ArgumentError(f"batch_norm: eps is {eps!r}: it must be a number of at least 0")
    if not is_number(momentum) or not 0 <= momentum <= 1:
        raise ArgumentError(f"batch_norm: momentum is {momentum!r}: it must be a number in 0 .. 1")
    scale = _constant(x, 1.0) if scale is None else scale
    shift = _constant(x, 0.0) if shift is None else shift
    if training:
        count = x.size // max(channels, 1)
        if count == 1:
            raise WindowError(  # as where a window does not fit: a larger input helps
                f"batch_norm: x has shape {x.shape}: training needs more than one value per channel: use a larger batch or .eval()"
            )
        if count:
            return _train(x, scale, shift, residual, running_mean, running_var, momentum, eps, relu)
        mean, var = _constant(x, 0.0), _constant(x, 1.0)  # an empty batch: nothing to normalise, and statistics stay
    else:
        mean, var = floating("batch_norm", x, running_mean.detach(), running_var.detach())[1:]  # type: ignore[union-attr]
    return _batch_norm(x, scale, shift, residual, mean, var, training=bool(training), eps=float(eps), relu=bool(relu))


def _constant(x: Tensor, value: float) -> Tensor:
    return Tensor(np.full(x.shape[1:2], value, x.dtype), device=x.device)


def _train(x, scale, shift, residual, running_mean, running_var, momentum, eps, relu):
    moved = [running for running in (running_mean, running_var) if running is not None]
    for running in moved:
        running._writable("batch_norm: running statistics")
    y = _batch_norm_training(
        x, scale, shift, residual, *(running if running is None else running.detach() for running in (running_mean, running_var)),
        momentum=float(momentum), eps=float(eps), relu=bool(relu),
    )  # fmt: skip
    for running in moved:
        running._changed()
    return y


@differentiable
def _local_response_norm(kernels, needs, x, *, size, alpha, beta, k):
    y, scale = kernels.empty(x.shape, x.dtype), kernels.empty(x.shape, x.dtype)
    kernels.local_response_norm(x, size, alpha, beta, k, out=y, scale=scale)
    return y, [x, scale], _local_response_norm_backward


def _local_response_norm_backward(saved, dy, needs, *, size, alpha, beta, k):
    x, scale = saved
    return (_local_response_norm_grad(dy, x, scale, size=size, alpha=alpha, beta=beta, k=k),)


def _local_response_norm_grad_composed(dy, x, scale, *, size, alpha, beta, k):
    scale = k + alpha * _channel_window_sum(x * x, size=size, mirrored=False)
    ratio = dy * x * power(scale, -beta - 1)
    return dy * power(scale, -beta) - 2 * alpha * beta * x * _channel_window_sum(ratio, size=size, mirrored=True)


@first_order(_local_response_norm_grad_composed)
def _local_response_norm_grad(kernels, dy, x, scale, *, size, alpha, beta, k):
    dx = kernels.empty(x.shape, x.dtype)
    kernels.local_response_norm_grad(dy, x, scale, size, alpha, beta, out=dx)
    return dx


@differentiable
def _channel_window_sum(kernels, needs, x, *, size, mirrored):
    y = kernels.empty(x.shape, x.dtype)
    kernels.channel_window_sum(x, size, out=y, mirrored=mirrored)
    return y, [], _channel_window_sum_backward


def _channel_window_sum_backward(saved, dy, needs, *, size, mirrored):
    return (_channel_window_sum(dy, size=size, mirrored=not mirrored),)


def local_response_norm(
    x: Any, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0, *, alpha_over_size: bool = True
) -> Tensor:
    """Divide each number by (k + a * sum of squares over `size` neighbouring channels)**beta.

    x: (N, C, ...). The two published readings differ in a: alpha/size (Caffe and PyTorch, the default), or alpha
    as printed in the paper (alpha_over_size=False, with size=5, alpha=1e-4, beta=0.75, k=2).
    Source: Krizhevsky, Sutskever and Hinton 2012, section 3.3.
    """
    x = _floating(as_tensor(x, what="local_response_norm: x"))
    if x.ndim < 2:
        raise ShapeError(f"local_response_norm: x has shape {x.shape}: it must be (N, C, ...)")
    if not is_integer(size) or not 1 <= size <= LONGEST:
        raise ArgumentError(f"local_response_norm: size is {size!r}: it must be an integer of at least 1")
    if not all(map(is_number, (k, alpha, beta))) or k <= 0 or alpha < 0:
        raise ArgumentError(
            f"local_response_norm: k is {k!r}, alpha {alpha!r} and beta {beta!r}: all must be numbers, "
            "k must be positive and alpha at least 0"
        )
    factor = alpha / size if alpha_over_size else alpha
    return _local_response_norm(x, size=int(size), alpha=float(factor), beta=float(beta), k=float(k))
