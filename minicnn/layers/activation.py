"""ReLU, Sigmoid, Tanh, Softmax, LogSoftmax and Dropout."""

from __future__ import annotations

from typing import Any

from .. import ops
from ..errors import check
from ..geometry import is_integer, is_number
from ..tensor import Tensor
from .base import Layer


class ReLU(Layer):
    """max(x, 0), any shape. Behind a Conv2d, Linear or BatchNorm2d the containers fuse it. Source: Nair and Hinton 2010."""

    in_place = True

    def forward(self, x: Any) -> Tensor:
        return ops.relu(x)


class Sigmoid(Layer):
    """1/(1 + e**-x), any shape."""

    def forward(self, x: Any) -> Tensor:
        return ops.sigmoid(x)


class Tanh(Layer):
    """Hyperbolic tangent, any shape."""

    def forward(self, x: Any) -> Tensor:
        return ops.tanh(x)


class _AlongAxis(Layer):
    def __init__(self, axis: int = 1) -> None:
        check(
            is_integer(axis), f"{type(self).__name__}: axis is {axis!r}: it must be an integer, the axis of the classes"
        )
        self.axis = int(axis)

    def extra_repr(self) -> str:
        return f"axis={self.axis}"


class Softmax(_AlongAxis):
    """Probabilities along `axis`, the classes: e**x / sum(e**x). Training uses ops.cross_entropy on what comes before."""

    def forward(self, x: Any) -> Tensor:
        return ops.softmax(x, self.axis)


class LogSoftmax(_AlongAxis):
    """Logarithms of the probabilities along `axis`, without overflow."""

    def forward(self, x: Any) -> Tensor:
        return ops.log_softmax(x, self.axis)


class Dropout(Layer):
    """In training, set each number to 0 with probability p and multiply the rest by 1/(1 - p); else do nothing.

    p: 0 <= p < 1. Any shape. Source: Srivastava et al. 2014, JMLR 15.
    """

    in_place = True

    def __init__(self, p: float = 0.5) -> None:
        check(
            is_number(p) and 0 <= p < 1,
            f"Dropout: p is {p!r}: it must be at least 0 and less than 1; 0.5 drops every other number",
        )
        self.p = float(p)

    def forward(self, x: Any) -> Tensor:
        return ops.dropout(x, self.p, self.training)

    def extra_repr(self) -> str:
        return f"p={self.p:g}"
