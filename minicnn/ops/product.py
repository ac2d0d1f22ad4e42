"""Matrix products: matmul and linear."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..autograd import differentiable
from ..errors import DTypeError, ShapeError
from ..geometry import LIMIT
from ..tensor import Tensor, as_tensor
from .activation import relu_grad
from .reduction import sum as _sum
from .shape import _reshape, astype, sum_to, swapaxes


def floating(op: str, *tensors: Any) -> list[Any]:
    """The tensors (or arrays, or None) in one floating dtype, the widest of theirs. Raises DTypeError for integers."""
    what = f"{op}: an operand"
    tensors = tuple([t if t is None else as_tensor(t, what=what) for t in tensors])
    dtypes = {t.dtype for t in tensors if t is not None}
    for dtype in dtypes:
        if dtype.kind != "f":
            raise DTypeError(f"{op}: an operand has dtype {dtype}: it must be floating: use .astype('float32')")
    if len(dtypes) == 1:
        return list(tensors)
    widest = np.result_type(*dtypes)
    return [None if t is None else astype(t, widest) for t in tensors]


@differentiable
def _matmul(kernels, needs, a, b):
    leading = a.shape[:-2]
    if b.shape[:-2] != leading:
        try:
            leading = np.broadcast_shapes(leading, b.shape[:-2])
        except ValueError:
            raise ShapeError(f"matmul: the leading axes of {a.shape} and {b.shape} do not broadcast") from None
    y = kernels.empty((*leading, a.shape[-2], b.shape[-1]), a.dtype)
    kernels.matmul(a, b, out=y)
    return y, [a if needs[1] else None, b if needs[0] else None], _matmul_backward(a.shape, b.shape)


def _matmul_backward(a_shape, b_shape):
    def backward(saved, dy, needs):
        a, b = saved
        return (
            sum_to(_matmul(dy, swapaxes(b, -1, -2)), a_shape) if needs[0] else None,
            sum_to(_matmul(swapaxes(a, -1, -2), dy), b_shape) if needs[1] else None,
        )

    return backward


def matmul(a: Any, b: Any) -> Tensor:
    """The matrix product (..., M, K) @ (..., K, N) -> (..., M, N), as in NumPy: leading axes broadcast, vectors are
    rows on the left and columns on the right. Raises ShapeError if the inner sizes differ.
    """
    like = a if isinstance(a, Tensor) else b if isinstance(b, Tensor) else None
    a, b = floating("matmul", as_tensor(a, like, "matmul: a"), as_tensor(b, like, "matmul: b"))
    if not a.ndim or not b.ndim or a.shape[-1] != b.shape[-2 if b.ndim > 1 else 0]:
        raise ShapeError(
            f"matmul: {a.shape} @ {b.shape}: the last size of the first must be the last but one of the second"
        )
    for x in (a, b):
        if x.size > LIMIT:  # a broadcast view: no memory holds so many
            raise ShapeError(f"matmul: {a.shape} @ {b.shape}: an operand has {x.size:,} elements: the limit is 2**58")
    row, column = a.ndim == 1, b.ndim == 1
    y = _matmul(_reshape(a, shape=(1, *a.shape)) if row else a, _reshape(b, shape=(*b.shape, 1)) if column else b)
    if row or column:
        end = y.shape[-2:]
        y = _reshape(y, shape=(*y.shape[:-2], *(() if row else end[:1]), *(() if column else end[1:])))
    return y


@differentiable
def _linear(kernels, needs, x, weight, bias, *, relu):
    y = kernels.empty((x.shape[0], weight.shape[0]), x.dtype)
    kernels.linear(x, weight, bias, relu, out=y)
    return y, [x if needs[1] else None, weight if needs[0] else None, y if relu else None], _linear_backward


def _linear_backward(saved, dy, needs, *, relu):
    x, weight, y = saved
    if relu:
        dy = relu_grad(dy, y)
    return (
        _matmul(dy, weight) if needs[0] else None,
        _matmul(swapaxes(dy, 0, 1), x) if needs[1] else None,
        _sum(dy, 0) if needs[2] else None,
    )


def linear(x: Any, weight: Tensor, bias: Tensor | None = None, *, relu: bool = False) -> Tensor:
    """x @ weight.T + bias, then ReLU if asked.

    x: (N, in) or (..., in)      weight: (out, in)      bias: (out,) or None
    Returns (N, out). Raises ShapeError if the sizes disagree.
    """
    x, weight = as_tensor(x, what="linear: x"), as_tensor(weight, what="linear: weight")
    x, weight, bias = floating("linear", x, weight, bias)
    if weight.ndim != 2:
        raise ShapeError(f"linear: weight has shape {weight.shape}: it must be (out, in)")
    if not x.ndim or x.shape[-1] != weight.shape[1]:
        raise ShapeError(
            f"linear: x has shape {x.shape} and weight {weight.shape}: the last size of x must be {weight.shape[1]}: "
            + (
                "flatten maps first, with ops.flatten(x) or layers.Flatten()"
                if x.ndim > 2
                else f"give the layer in_features={x.shape[-1] if x.ndim else 1}, or a map of another size"
            )
        )
    if bias is not None and bias.shape != weight.shape[:1]:
        raise ShapeError(f"linear: bias has shape {bias.shape}: it must be ({weight.shape[0]},), one for each output")
    if x.ndim == 2:
        return _linear(x, weight, bias, relu=bool(relu))
    rows = 1
    for size in x.shape[:-1]:
        rows *= size
    y = _linear(_reshape(x, shape=(rows, x.shape[-1])), weight, bias, relu=bool(relu))
    return _reshape(y, shape=(*x.shape[:-1], weight.shape[0]))


Tensor.__matmul__ = matmul
Tensor.__rmatmul__ = lambda self, other: matmul(other, self)
