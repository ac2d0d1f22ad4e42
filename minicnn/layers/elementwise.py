"""Layers that work number by number: Scale, and the joins Multiply and Maximum (the sum is `Add`)."""

from __future__ import annotations

import functools
from typing import Any

from .. import ops
from ..errors import ShapeError
from ..tensor import Tensor, as_tensor
from .arguments import count
from .base import Layer
from .parameter import new_parameter


class Scale(Layer):
    """x*scale + shift with one learned number of each for every channel: (N, C, ...) -> the same.

    What a batch norm does behind its division; Caffe has the two as layers of their own.
    bias: whether there is a shift. Parameters scale (C,), which starts at 1, and shift (C,), which starts at 0.
    Raises ArgumentError for a bad argument, and when called ShapeError if x has other channels.
    """

    def __init__(self, num_features: int, bias: bool = True) -> None:
        self.num_features = count(num_features, "Scale: num_features")
        self.scale = new_parameter((self.num_features,), value=1.0)
        self.shift = new_parameter((self.num_features,)) if bias else None

    def forward(self, x: Any) -> Tensor:
        x = as_tensor(x)
        if x.ndim < 2 or x.shape[1] != self.num_features:
            raise ShapeError(f"x has shape {x.shape}: it must be (N, {self.num_features}, ...)")
        column = (1, -1, *(1,) * (x.ndim - 2))
        y = x * self.scale.reshape(column)
        return y if self.shift is None else y + self.shift.reshape(column)

    def parameter_formula(self) -> str:
        return f"{self.num_features}" if self.shift is None else f"2*{self.num_features}"

    def extra_repr(self) -> str:
        return f"{self.num_features}" + ("" if self.shift is not None else ", bias=False")


def _equal(inputs: tuple[Any, ...], done: str) -> list[Tensor]:
    """The inputs as Tensors. Raises ShapeError unless there is at least one and all have one shape."""
    tensors = [as_tensor(x) for x in inputs]
    shapes = [x.shape for x in tensors]
    if not shapes or shapes.count(shapes[0]) != len(shapes):
        raise ShapeError(f"the inputs have shapes {', '.join(map(str, shapes))}: all must be equal to be {done}")
    return tensors


class Multiply(Layer):
    """The product of several inputs of one shape, number by number: a join."""

    def forward(self, *inputs: Any) -> Tensor:
        return functools.reduce(ops.multiply, _equal(inputs, "multiplied"))


class Maximum(Layer):
    """The largest of several inputs of one shape, number by number: a join. On a tie they share the gradient."""

    def forward(self, *inputs: Any) -> Tensor:
        return functools.reduce(ops.maximum, _equal(inputs, "compared"))
