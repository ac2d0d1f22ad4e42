"""The layers of LeNet-5 as it was published: TableConv2d, Subsample2d, ScaledTanh, RadialBasis.

Their weights start as the paper says: uniform in -2.4/F .. 2.4/F, F the number of inputs of a unit.
Source: LeCun, Bottou, Bengio and Haffner 1998, Gradient-based learning applied to document recognition, section II
and appendix A.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .. import geometry, ops
from ..autograd import no_grad
from ..errors import ArgumentError, ShapeError, check, short
from ..geometry import Pair, Shape, is_number
from ..tensor import Tensor, as_tensor
from . import init
from .arguments import compact, count
from .base import Layer
from .parameter import new_array, new_parameter
from .window import Window

SPREAD = 2.4


class TableConv2d(Layer):
    """A convolution whose filters see only the channels that a table lists: (N, in_channels, H, W) -> (N, K, P, Q).

    table: for each of the K filters the channels that it is connected to, such as [(0, 1, 2), (1, 2, 3)].
    kernel_size: pixels, int or (vertical, horizontal); the stride is 1, without padding: P = H - R + 1.
    weight (connections, R, S), one window per entry of the table in its order; bias (K,).
    It is computed as one dense convolution with zeros where there is no connection.
    """

    def __init__(self, in_channels: int, table: Sequence[Sequence[int]], kernel_size: Pair) -> None:
        self.in_channels = count(in_channels, "TableConv2d: in_channels")
        self.kernel_size = geometry.pair(kernel_size, "TableConv2d: kernel_size", 1)
        check(
            isinstance(table, (tuple, list)) and table and all(isinstance(row, (tuple, list)) and row for row in table),
            f"TableConv2d: table is {table!r}: it must be a list with a list of channels for each filter",
        )
        for number, row in enumerate(table):
            good = all(geometry.is_integer(channel) and 0 <= channel < self.in_channels for channel in row)
            check(
                good and len(set(row)) == len(row),
                f"TableConv2d: table[{number}] is {row!r}: it must hold different channels from 0 to {self.in_channels - 1}",
            )
        self.table = tuple([tuple(map(int, row)) for row in table])
        self.out_channels = len(self.table)
        self.connections = sum(map(len, self.table))
        # Where in `weight` the window of (filter, channel) lies; the row behind the last is zero.
        self._places = np.full((self.out_channels, self.in_channels), self.connections)
        places = iter(range(self.connections))
        for number, row in enumerate(self.table):
            for channel in row:
                self._places[number, channel] = next(places)
        R, S = self.kernel_size
        fans = np.repeat([len(row) * R * S for row in self.table], [len(row) for row in self.table])
        self.weight = new_parameter((self.connections, R, S), lambda weight: _spread(weight, fans.reshape(-1, 1, 1)))
        self.bias = new_parameter((self.out_channels,))

    def forward(self, x: Any) -> Tensor:
        dense = ops.pad(self.weight, ((0, 1), (0, 0), (0, 0)))[self._places]
        return ops.conv2d(x, dense, self.bias)

    def window(self, input_shape: Shape) -> Window:
        return Window(self.kernel_size, (1, 1), (0, 0, 0, 0))

    def macs(self, input_shape: Shape, output_shape: Shape) -> int:
        """Of the connections that there are; the zeros of the dense convolution do not count."""
        R, S = self.kernel_size
        return self.connections * R * S * output_shape[1] * output_shape[2]

    def macs_formula(self, input_shape: Shape, output_shape: Shape) -> str:
        R, S = self.kernel_size
        return f"{output_shape[1]}*{output_shape[2]} * {R}*{S}*{self.connections}"

    def parameter_formula(self) -> str:
        R, S = self.kernel_size
        return f"{R}*{S}*{self.connections} + {self.out_channels}"

    def extra_repr(self) -> str:
        return f"{self.in_channels}, {self.out_channels}, kernel_size={compact(self.kernel_size)}, connections={self.connections}"


class Subsample2d(Layer):
    """Add up windows that do not overlap, times a learned coefficient, plus a learned bias, one pair for each channel.

    (N, C, H, W) -> (N, C, P, Q), P = floor((H - R)/R) + 1; coefficient (C,), bias (C,).
    kernel_size: pixels, int or (vertical, horizontal).
    """

    def __init__(self, channels: int, kernel_size: Pair = 2) -> None:
        self.channels = count(channels, "Subsample2d: channels")
        self.kernel_size = R, S = geometry.pair(kernel_size, "Subsample2d: kernel_size", 1)
        self.coefficient = new_parameter((self.channels,), lambda coefficient: _spread(coefficient, R * S))
        self.bias = new_parameter((self.channels,))

    def forward(self, x: Any) -> Tensor:
        x = as_tensor(x)
        if x.ndim != 4 or x.shape[1] != self.channels:
            raise ShapeError(f"x has shape {x.shape}: it must be (N, {self.channels}, H, W)")
        R, S = self.kernel_size
        sums = ops.avg_pool2d(x, self.kernel_size) * (R * S)
        return sums * self.coefficient.reshape(1, -1, 1, 1) + self.bias.reshape(1, -1, 1, 1)

    def window(self, input_shape: Shape) -> Window:
        return Window(self.kernel_size, self.kernel_size, (0, 0, 0, 0))

    def parameter_formula(self) -> str:
        return f"(1 + 1)*{self.channels}"

    def extra_repr(self) -> str:
        return f"{self.channels}, kernel_size={compact(self.kernel_size)}"


class ScaledTanh(Layer):
    """amplitude * tanh(slope * x), any shape. With the paper's numbers, the defaults, f(1) = 1 and f(-1) = -1."""

    def __init__(self, amplitude: float = 1.7159, slope: float = 2 / 3) -> None:
        for name, value in (("amplitude", amplitude), ("slope", slope)):
            check(is_number(value) and value > 0, f"ScaledTanh: {name} is {value!r}: it must be a positive number")
        self.amplitude, self.slope = float(amplitude), float(slope)

    def forward(self, x: Any) -> Tensor:
        return ops.tanh(as_tensor(x) * self.slope) * self.amplitude

    def extra_repr(self) -> str:
        return f"amplitude={self.amplitude:g}, slope={self.slope:.4g}"


class RadialBasis(Layer):
    """Minus the squared distance to each of K fixed codes: (N, F) -> (N, K), y[n, k] = -sum((x[n] - codes[k])**2).

    codes: (K, F) numbers, a buffer: nothing here is learned. The paper's outputs are the distances themselves, of which
    the least wins; with the minus, the largest wins, as everywhere else, and the cross-entropy of these scores is the
    paper's discriminative criterion (its equation 9, without the class of rubbish).
    """

    codes: Tensor

    def __init__(self, codes: Any) -> None:
        try:
            values = np.asarray(codes, np.float32)
        except (TypeError, ValueError, OverflowError):  # words, or rows of different lengths
            raise ArgumentError(
                f"RadialBasis: codes is {short(str(codes))}: it must be numbers, as many for each class"
            ) from None
        check(
            values.ndim == 2 and values.size,
            f"RadialBasis: codes has shape {values.shape}: it must be (classes, numbers)",
        )
        self.register_buffer("codes", new_array(values.shape))
        if self.codes.device != "meta":
            with no_grad():
                self.codes.copy_(Tensor(values).to(self.codes.device))

    def forward(self, x: Any) -> Tensor:
        x = as_tensor(x)
        if x.ndim != 2 or x.shape[1] != self.codes.shape[1]:
            raise ShapeError(f"x has shape {x.shape}: it must be (N, {self.codes.shape[1]}), as long as the codes")
        difference = ops.expand_dims(x, 1) - self.codes
        return -(difference * difference).sum(axis=2)

    def macs(self, input_shape: Shape, output_shape: Shape) -> int:
        return self.codes.size

    def macs_formula(self, input_shape: Shape, output_shape: Shape) -> str:
        return f"{self.codes.shape[0]} * {self.codes.shape[1]}"

    def extra_repr(self) -> str:
        return f"{self.codes.shape[1]}, {self.codes.shape[0]}"


def _spread(tensor: Tensor, fan: Any) -> Tensor:
    """Fill with uniform numbers of -2.4/fan .. 2.4/fan; fan is a number or an array that broadcasts to the shape."""
    init.uniform(tensor, -SPREAD, SPREAD)
    if tensor.device != "meta":
        with no_grad():
            scale = np.broadcast_to(1 / np.asarray(fan, np.float32), tensor.shape)
            tensor.copy_(tensor.detach() * Tensor(scale.astype(np.float32)).to(tensor.device))
    return tensor
