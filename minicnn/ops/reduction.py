"""Sums, means, products and extrema over axes.

axis: an integer, negative from the end, a tuple of them, or None for all      keepdims: keep them, with size 1
Every function raises ShapeError for an axis that x does not have or that is named twice.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .. import backends
from ..autograd import differentiable
from ..errors import ShapeError
from ..tensor import Tensor, as_tensor
from .elementwise import sqrt as _sqrt
from .shape import _axis, _reshape, _sum_axes, _transpose, astype, broadcast_to, cat, copy

Axes = int | tuple[int, ...] | None


def _axes(op: str, x: Tensor, axis: Axes, keepdims: bool) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The axes, all of them for None, and the shape of the result."""
    listed = range(x.ndim) if axis is None else axis if isinstance(axis, tuple) else (axis,)
    axes = tuple(_axis(op, a, x.ndim) for a in listed)
    if len(set(axes)) != len(axes):
        raise ShapeError(f"{op}: axis is {axis}: it must not name an axis twice")
    if keepdims:
        return axes, tuple(1 if a in axes else size for a, size in enumerate(x.shape))
    return axes, tuple(size for a, size in enumerate(x.shape) if a not in axes)


def _some_axes(op: str, x: Tensor, axis: Axes, keepdims: bool) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """`_axes` for what needs at least one number."""
    axes, shape = _axes(op, x, axis, keepdims)
    if not math.prod(x.shape[a] for a in axes):
        raise ShapeError(f"{op}: shape is {x.shape}: there is nothing to choose from along axis {axis}")
    return axes, shape


def sum(x: Any, axis: Axes = None, keepdims: bool = False) -> Tensor:
    """Sum over an axis, several, or all; integers and truth values are added up as int64.

    x: (N, C, H, W), say      Returns (N, C) for axis=(2, 3), with keepdims (N, C, 1, 1), for axis=None ().
    Raises ShapeError for an axis that x does not have or that is named twice.
    """
    x = as_tensor(x, what="sum: x")
    x = x if x.dtype.kind == "f" else astype(x, np.int64)
    axes, shape = _axes("sum", x, axis, keepdims)
    return _sum_axes(x, axes=axes, shape=shape)


def mean(x: Any, axis: Axes = None, keepdims: bool = False) -> Tensor:
    """Arithmetic mean over an axis, several, or all; of nothing: NaN; of integers: float32.

    Shapes and errors as in `sum`.
    """
    x = as_tensor(x, what="mean: x")
    axes, shape = _axes("mean", x, axis, keepdims)
    count = math.prod(x.shape[a] for a in axes)
    # The sum of float16 may pass its largest number, 65504, where the mean does not.
    exact = astype(x, np.float32) if x.dtype.kind != "f" or x.dtype.itemsize < 4 else x
    y = _sum_axes(exact, axes=axes, shape=shape) * (1 / count if count else math.nan)
    return astype(y, x.dtype) if x.dtype.kind == "f" else y


def prod(x: Any, axis: Axes = None, keepdims: bool = False) -> Tensor:
    """Product over an axis, several, or all; of nothing: 1; integers and truth values are multiplied as int64.

    The halves are multiplied with each other until one number is left. So no derivative divides by an x, and those of
    every order hold at zeros too. Shapes and errors as in `sum`.
    """
    x = as_tensor(x, what="prod: x")
    x = x if x.dtype.kind == "f" else astype(x, np.int64)
    axes, shape = _axes("prod", x, axis, keepdims)
    kept = tuple(a for a in range(x.ndim) if a not in axes)
    count = math.prod(x.shape[a] for a in axes)
    if not count:
        return Tensor(np.ones(shape, x.dtype), device=x.device)
    rows = _reshape(_transpose(x, axes=axes + kept), shape=(count, *(x.shape[a] for a in kept)))
    if count == 1:
        return copy(_reshape(rows, shape=shape))
    while count > 1:
        half, odd = divmod(count, 2)
        product = rows[:half] * rows[half : 2 * half]
        rows = cat([product, rows[2 * half :]], 0) if odd else product
        count = half + odd
    return _reshape(rows, shape=shape)


def var(x: Any, axis: Axes = None, keepdims: bool = False) -> Tensor:
    """Mean square of the distance from the mean (biased: divided by the count). Shapes and errors as in `sum`."""
    x = as_tensor(x, what="var: x")
    distance = x - mean(x, axis, keepdims=True)
    return mean(distance * distance, axis, keepdims)


def std(x: Any, axis: Axes = None, keepdims: bool = False) -> Tensor:
    """Square root of `var`; where that is 0 the derivative is no number. Shapes and errors as in `sum`."""
    return _sqrt(var(x, axis, keepdims))


@differentiable
def _max(kernels, needs, x, *, axes, shape):
    y = kernels.empty(shape, x.dtype)
    kernels.max(x, axes, out=y)
    return y, [x, y], _extremum_backward


@differentiable
def _min(kernels, needs, x, *, axes, shape):
    y = kernels.empty(shape, x.dtype)
    kernels.min(x, axes, out=y)
    return y, [x, y], _extremum_backward


def _extremum_backward(saved, dy, needs, *, axes, shape):
    x, y = saved
    kept = tuple(1 if axis in axes else size for axis, size in enumerate(x.shape))
    taken = astype(x == broadcast_to(_reshape(y, shape=kept), x.shape), dy.dtype)
    share = _reshape(dy, shape=kept) / sum(taken, axes, keepdims=True)
    return (taken * share,)


def max(x: Any, axis: Axes = None, keepdims: bool = False) -> Tensor:
    """Largest number along an axis, several, or all; equal ones share the gradient; NaN wins.

    Shapes as in `sum`. Raises ShapeError as there, and where there is no number to choose.
    """
    x = as_tensor(x, what="max: x")
    axes, shape = _some_axes("max", x, axis, keepdims)
    return _max(x, axes=axes, shape=shape)


def min(x: Any, axis: Axes = None, keepdims: bool = False) -> Tensor:
    """Smallest number along an axis, several, or all; equal ones share the gradient; NaN wins.

    Shapes as in `sum`. Raises ShapeError as there, and where there is no number to choose.
    """
    x = as_tensor(x, what="min: x")
    axes, shape = _some_axes("min", x, axis, keepdims)
    return _min(x, axes=axes, shape=shape)


def argmax(x: Any, axis: int | None = None) -> Tensor:
    """Where the first of the largest numbers stands (int64) along an axis, or in the flattened array; no gradient.

    x: (N, C), say      Returns (N,) for axis=1, () for None. Raises ShapeError as `max` does.
    """
    x = as_tensor(x, what="argmax: x")
    axes, shape = _some_axes("argmax", x, None if axis is None else (axis,), False)
    kernels = backends.of([x.data], "argmax")
    y = kernels.empty(shape, np.dtype(np.int64))
    kernels.argmax(x.data, None if axis is None else axes[0], out=y)
    return Tensor(y)


for _name, _method in {
    "sum": sum,
    "mean": mean,
    "prod": prod,
    "var": var,
    "std": std,
    "max": max,
    "min": min,
    "argmax": argmax,
}.items():
    setattr(Tensor, _name, _method)
