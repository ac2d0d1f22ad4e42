"""ReLU, sigmoid, tanh and dropout."""

from __future__ import annotations

from typing import Any

from .. import random
from ..autograd import differentiable, first_order
from ..errors import ArgumentError
from ..geometry import is_number
from ..tensor import Tensor, as_tensor
from .elementwise import _floating


@differentiable
def _relu(kernels, needs, x):
    y = kernels.empty(x.shape, x.dtype)
    kernels.relu(x, out=y)
    return y, [y], _relu_backward


def _relu_backward(saved, dy, needs):
    return (relu_grad(dy, saved[0]),)


@differentiable
def relu_grad(kernels, needs, dy, y):
    dx = kernels.empty(dy.shape, dy.dtype)
    kernels.relu_grad(dy, y, out=dx)
    return dx, [y], _relu_grad_backward


def _relu_grad_backward(saved, ddx, needs):
    return relu_grad(ddx, saved[0]) if needs[0] else None, None


def relu(x: Any) -> Tensor:
    """max(x, 0); the derivative at 0 is 0; a NaN stays one. Source: Nair and Hinton 2010."""
    return _relu(_floating(as_tensor(x, what="relu: x")))


@differentiable
def _sigmoid(kernels, needs, x):
    y = kernels.empty(x.shape, x.dtype)
    kernels.sigmoid(x, out=y)
    return y, [y], _sigmoid_backward


def _sigmoid_backward(saved, dy, needs):
    return (_sigmoid_grad(dy, saved[0]),)


@first_order(lambda dy, y: dy * y * (1.0 - y))
def _sigmoid_grad(kernels, dy, y):
    dx = kernels.empty(dy.shape, dy.dtype)
    kernels.sigmoid_grad(dy, y, out=dx)
    return dx


def sigmoid(x: Any) -> Tensor:
    """1/(1 + e**-x), element by element: 0 .. 1, shaped like x. Raises DTypeError where x is not numbers."""
    return _sigmoid(_floating(as_tensor(x, what="sigmoid: x")))


@differentiable
def _tanh(kernels, needs, x):
    y = kernels.empty(x.shape, x.dtype)
    kernels.tanh(x, out=y)
    return y, [y], _tanh_backward


def _tanh_backward(saved, dy, needs):
    return (_tanh_grad(dy, saved[0]),)


@first_order(lambda dy, y: dy * (1.0 - y * y))
def _tanh_grad(kernels, dy, y):
    dx = kernels.empty(dy.shape, dy.dtype)
    kernels.tanh_grad(dy, y, out=dx)
    return dx


def tanh(x: Any) -> Tensor:
    """Hyperbolic tangent, element by element: -1 .. 1, shaped like x. Raises DTypeError where x is not numbers."""
    return _tanh(_floating(as_tensor(x, what="tanh: x")))


@differentiable
def _dropout(kernels, needs, x, *, p, key):
    y = kernels.empty(x.shape, x.dtype)
    kernels.dropout(x, p, key, out=y)
    return y, [], _dropout_backward  # the mask is drawn again: it is a function of the key


def _dropout_backward(saved, dy, needs, *, p, key):
    return (_dropout(dy, p=p, key=key),)


def dropout(x: Any, p: float = 0.5, training: bool = True, key: random.Key | None = None) -> Tensor:
    """Set each number to 0 with probability p and multiply the rest by 1/(1 - p); x itself unless `training`.

    p: 0 <= p < 1. key: where the random numbers start; without one the next key of stream "dropout".
    Source: Srivastava et al. 2014, JMLR 15.
    """
    if not is_number(p) or not 0 <= p < 1:
        raise ArgumentError(f"dropout: p is {p!r}: it must be a number of at least 0 and less than 1")
    if key is not None and not isinstance(key, random.Key):
        raise ArgumentError(f"dropout: key is {key!r}: it must be a minicnn.random.Key, such as random.key('dropout')")
    x = _floating(as_tensor(x, what="dropout: x"))
    if not training or p == 0:
        return x
    return _dropout(x, p=float(p), key=random.next_key("dropout") if key is None else key)
