"""Layers that move numbers and do not change them: Flatten, Identity, ZeroPad2d, PadShortcut; the joins Add and Cat."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

from .. import geometry, ops
from ..errors import ShapeError, check
from ..geometry import Padding, Shape
from ..ops.shape import chained_cat
from ..tensor import Tensor, as_tensor
from .arguments import compact, count
from .base import Layer
from .window import Window, by


class Identity(Layer):
    """The input itself."""

    in_place = True

    def forward(self, x: Any) -> Any:
        return x


class Flatten(Layer):
    """All axes from `start` on as one: (N, C, H, W) -> (N, C*H*W)."""

    in_place = True

    def __init__(self, start: int = 1) -> None:
        self.start = count(start, "Flatten: start", 0)

    def forward(self, x: Any) -> Tensor:
        return ops.flatten(x, self.start)

    def size_formula(self, input_shapes: Sequence[Shape], output_shape: Shape) -> str:
        return f"{'*'.join(map(str, input_shapes[0]))} = {output_shape[0]:,}" if len(output_shape) == 1 else ""

    def extra_repr(self) -> str:
        return "" if self.start == 1 else f"start={self.start}"


class ZeroPad2d(Layer):
    """A border of zeros: (N, C, H, W) -> (N, C, H + top + bottom, W + left + right).

    padding: pixels, int, (vertical, horizontal) or (top, bottom, left, right).
    """

    def __init__(self, padding: Padding) -> None:
        self.padding = geometry.sides(padding, "ZeroPad2d: padding")

    def forward(self, x: Any) -> Tensor:
        top, bottom, left, right = self.padding
        return ops.pad(x, ((0, 0), (0, 0), (top, bottom), (left, right)))

    def size_formula(self, input_shapes: Sequence[Shape], output_shape: Shape) -> str:
        sides = zip(input_shapes[0][-2:], self.padding[::2], self.padding[1::2])
        return by([f"{size} + {before} + {after} = {size + before + after}" for size, before, after in sides])

    def extra_repr(self) -> str:
        return f"padding={compact(self.padding)}"


class PadShortcut(Layer):
    """The shortcut without parameters: every stride-th pixel, and channels of zeros up to `channels`.

    (N, C, H, W) -> (N, channels, ceil(H/stride), ceil(W/stride)).
    Source: option A of He, Zhang, Ren and Sun 2015, arXiv:1512.03385.
    """

    def __init__(self, channels: int, stride: int = 1) -> None:
        self.channels, self.stride = count(channels, "PadShortcut: channels"), count(stride, "PadShortcut: stride")

    def forward(self, x: Any) -> Tensor:
        x = as_tensor(x)
        if x.ndim != 4 or x.shape[1] > self.channels:
            raise ShapeError(f"x has shape {x.shape}: it must be (N, C, H, W) with at most {self.channels} channels")
        y = x[:, :, :: self.stride, :: self.stride] if self.stride > 1 else x
        missing = self.channels - x.shape[1]
        return ops.pad(y, ((0, 0), (0, missing), (0, 0), (0, 0))) if missing else y

    def window(self, input_shape: Shape) -> Window | None:
        return Window((1, 1), (self.stride, self.stride), (0, 0, 0, 0)) if self.stride > 1 else None

    def size_formula(self, input_shapes: Sequence[Shape], output_shape: Shape) -> str:
        channels = input_shapes[0][0]
        more = f"{channels} + {self.channels - channels} of zeros = {self.channels} channels"
        return "; ".join(filter(None, (super().size_formula(input_shapes, output_shape), more)))

    def extra_repr(self) -> str:
        return f"{self.channels}, stride={self.stride}"


class Add(Layer):
    """The sum of several inputs of one shape, each times its coefficient if there are any: a join.

    Containers fuse a batch norm, the sum behind it and the ReLU behind that.
    """

    def __init__(self, coefficients: Sequence[float] | None = None) -> None:
        good = coefficients is None or (
            isinstance(coefficients, (tuple, list)) and all(map(geometry.is_number, coefficients))
        )
        check(good, f"Add: coefficients is {coefficients!r}: it must be a list of numbers, one for each input")
        self.coefficients = None if coefficients is None else tuple(map(float, coefficients))

    def forward(self, *inputs: Any) -> Tensor:
        inputs = tuple([as_tensor(x) for x in inputs])
        shapes = [x.shape for x in inputs]
        if not shapes or shapes.count(shapes[0]) != len(shapes):
            raise ShapeError(f"the inputs have shapes {', '.join(map(str, shapes))}: all must be equal to be added")
        if self.coefficients is None:
            return functools.reduce(ops.add, inputs)
        if len(inputs) != len(self.coefficients):
            raise ShapeError(
                f"there are {len(inputs)} inputs and {len(self.coefficients)} coefficients: give one for each"
            )
        return functools.reduce(ops.add, [x if c == 1 else x * c for x, c in zip(inputs, self.coefficients)])

    def size_formula(self, input_shapes: Sequence[Shape], output_shape: Shape) -> str:
        weights = "" if self.coefficients is None else f", times {' and '.join(f'{c:g}' for c in self.coefficients)}"
        return f"sum of {len(input_shapes)} inputs of {'x'.join(map(str, output_shape))}{weights}"

    def extra_repr(self) -> str:
        return "" if self.coefficients is None else f"coefficients={self.coefficients}"


class Cat(Layer):
    """Several inputs one behind the other along `axis`, the channels by default: a join."""

    def __init__(self, axis: int = 1) -> None:
        check(geometry.is_integer(axis), f"Cat: axis is {axis!r}: it must be an integer")
        self.axis = int(axis)

    def forward(self, *inputs: Any) -> Tensor:
        return ops.cat(inputs, self.axis)

    def chained(self, inputs: Sequence[Any], joins: int) -> Tensor:
        """For containers: one of a chain in which each Cat reads the one before it first, and `joins` more follow."""
        return chained_cat(inputs, self.axis, joins)

    def size_formula(self, input_shapes: Sequence[Shape], output_shape: Shape) -> str:
        if self.axis != 1:
            return ""
        return f"{' + '.join(str(shape[0]) for shape in input_shapes)} = {output_shape[0]:,} channels"

    def extra_repr(self) -> str:
        return "" if self.axis == 1 else f"axis={self.axis}"
