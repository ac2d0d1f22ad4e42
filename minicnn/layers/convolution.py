"""Conv2d and ConvTranspose2d."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any, Literal

from .. import geometry, ops
from ..errors import ArgumentError, check
from ..geometry import Gemm, Padding, Pair, Shape
from ..tensor import Tensor
from . import init
from .arguments import compact, count
from .base import Layer
from .parameter import new_parameter
from .window import Window, by


class _Convolution(Layer):
    """What both kinds of convolution share: the checked arguments and how they are shown."""

    def _arguments(
        self, in_channels: int, out_channels: int, kernel_size: Pair, stride: Pair, dilation: Pair, groups: int
    ) -> None:
        name = type(self).__name__
        self.in_channels = count(in_channels, f"{name}: in_channels")
        self.out_channels = count(out_channels, f"{name}: out_channels")
        self.kernel_size = geometry.pair(kernel_size, f"{name}: kernel_size", 1)
        self.stride = geometry.pair(stride, f"{name}: stride", 1)
        self.dilation = geometry.pair(dilation, f"{name}: dilation", 1)
        self.groups = count(groups, f"{name}: groups")
        check(
            not (self.in_channels % self.groups or self.out_channels % self.groups),
            f"{name}: groups is {groups}: it must divide in_channels={in_channels} and out_channels={out_channels}",
        )

    padding: tuple[int, int, int, int]
    weight: Tensor
    bias: Tensor | None

    def parameter_formula(self) -> str:
        R, S = self.kernel_size
        per_filter = f"{R}*{S}*{self._part(self.in_channels)}"
        return (
            f"({per_filter} + 1)*{self.out_channels}" if self.bias is not None else f"{per_filter}*{self.out_channels}"
        )

    def _part(self, channels: int) -> str:
        """The channels of one group: 96, or 96/2 in two groups."""
        return f"{channels}" if self.groups == 1 else "1" if self.groups == channels else f"{channels}/{self.groups}"

    def extra_repr(self) -> str:
        parts = [f"{self.in_channels}, {self.out_channels}, kernel_size={compact(self.kernel_size)}"]
        if self.stride != (1, 1):
            parts.append(f"stride={compact(self.stride)}")
        if any(self.padding):
            parts.append(f"padding={compact(self.padding)}")
        if self.dilation != (1, 1):
            parts.append(f"dilation={compact(self.dilation)}")
        if self.groups != 1:
            parts.append(f"groups={self.groups}")
        if self.bias is None:
            parts.append("bias=False")
        return ", ".join(parts)


class Conv2d(_Convolution):
    """Convolve images with a bank of learned filters: (N, in_channels, H, W) -> (N, out_channels, P, Q).

    P = floor((H + top + bottom - dilation*(R - 1) - 1) / stride) + 1, likewise Q; weight (K, C/groups, R, S), bias (K,).
    kernel_size, stride, dilation: pixels, int or (vertical, horizontal).
    padding: pixels, int, (vertical, horizontal) or (top, bottom, left, right); "valid" is 0, and "same" keeps the size
        of the map at stride 1 (an even window gets the odd pixel at the bottom and the right).
    groups: the channels are cut into this many parts that do not see each other.
    Raises ArgumentError for a value that breaks a rule. Source: Dumoulin and Visin 2016, arXiv:1603.07285.
    """

    fuses = frozenset({"relu"})

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: Pair, stride: Pair = 1,
        padding: Padding | Literal["same", "valid"] = 0, dilation: Pair = 1, groups: int = 1, bias: bool = True,
    ) -> None:  # fmt: skip
        self._arguments(in_channels, out_channels, kernel_size, stride, dilation, groups)
        self.padding = self._sides(padding)
        R, S = self.kernel_size
        self.weight = new_parameter((self.out_channels, self.in_channels // self.groups, R, S), init.he_normal)
        self.bias = new_parameter((self.out_channels,)) if bias else None

    def _sides(self, padding: Any) -> tuple[int, int, int, int]:
        if padding == "valid":
            return 0, 0, 0, 0
        if padding == "same":
            if self.stride != (1, 1):
                raise ArgumentError(
                    f"Conv2d: padding is 'same' with stride={compact(self.stride)}: it keeps the size only at stride 1: "
                    "give the pixels"
                )
            (R, S), (down, across) = self.kernel_size, self.dilation
            height, width = down * (R - 1), across * (S - 1)
            return height // 2, height - height // 2, width // 2, width - width // 2
        if isinstance(padding, str):
            raise ArgumentError(f"Conv2d: padding is {padding!r}: it must be pixels, 'same' or 'valid'")
        return geometry.sides(padding, "Conv2d: padding")

    def forward(self, x: Any) -> Tensor:
        return ops.conv2d(x, self.weight, self.bias, self.stride, self.padding, self.dilation, self.groups)

    def fused(self, x: Any, residual: Tensor | None = None, relu: bool = False) -> Tensor:
        """forward with the ReLU behind it."""
        return ops.conv2d(x, self.weight, self.bias, self.stride, self.padding, self.dilation, self.groups, relu=relu)

    def window(self, input_shape: Shape) -> Window:
        return Window(self.kernel_size, self.stride, self.padding, self.dilation)

    def gemm(self, input_shape: Shape, output_shape: Shape) -> Gemm:
        """Filters by pixels by the numbers under the window: the weights times the columns of `im2col`, group by group."""
        (K, P, Q), (R, S), G = output_shape, self.kernel_size, self.groups
        return Gemm(K // G, P * Q, self.in_channels // G * R * S, G)

    def macs_formula(self, input_shape: Shape, output_shape: Shape) -> str:
        (K, P, Q), (R, S) = output_shape, self.kernel_size
        return f"{P}*{Q}*{K} * {R}*{S}*{self._part(self.in_channels)}"


class ConvTranspose2d(_Convolution):
    """The transpose of a convolution, which enlarges maps: (N, in_channels, P, Q) -> (N, out_channels, H, W).

    H = (P - 1)*stride - top - bottom + dilation*(R - 1) + output_padding + 1, likewise W;
    weight (in_channels, out_channels/groups, R, S), bias (out_channels,). Arguments as in `Conv2d`, but padding is in pixels.
    output_padding: rows and columns more at the bottom and right, less than the stride or the dilation, because a stride
        above 1 maps several sizes H to the same P.
    Raises ArgumentError for a bad argument, and when called ShapeError if x has other channels or H or W would be less
    than 1.
    Source: Dumoulin and Visin 2016, arXiv:1603.07285.
    """

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: Pair, stride: Pair = 1, padding: Padding = 0,
        output_padding: Pair = 0, groups: int = 1, bias: bool = True, dilation: Pair = 1,
    ) -> None:  # fmt: skip
        self._arguments(in_channels, out_channels, kernel_size, stride, dilation, groups)
        self.padding = geometry.sides(padding, "ConvTranspose2d: padding")
        self.output_padding = geometry.pair(output_padding, "ConvTranspose2d: output_padding", 0)
        shape = (self.in_channels, self.out_channels // self.groups, *self.kernel_size)
        self.weight = new_parameter(shape, functools.partial(init.he_normal, mode="fan_out"))
        self.bias = new_parameter((self.out_channels,)) if bias else None

    def forward(self, x: Any) -> Tensor:
        return ops.conv_transpose2d(
            x, self.weight, self.bias, self.stride, self.padding, self.output_padding, self.groups, self.dilation
        )

    def size_formula(self, input_shapes: Sequence[Shape], output_shape: Shape) -> str:
        axes = []
        for axis in (0, 1):
            size, border = input_shapes[0][1 + axis], sum(self.padding[2 * axis : 2 * axis + 2])
            reach = f"{self.dilation[axis]}*({self.kernel_size[axis]} - 1) + {self.output_padding[axis]} + 1"
            axes.append(f"({size} - 1)*{self.stride[axis]} - {border} + {reach} = {output_shape[1 + axis]}")
        return by(axes)

    def gemm(self, input_shape: Shape, output_shape: Shape) -> Gemm:
        """The window's numbers by input pixels by input channels: columns that `col2im` adds up, group by group."""
        (C, P, Q), (R, S), G = input_shape, self.kernel_size, self.groups
        return Gemm(self.out_channels // G * R * S, P * Q, C // G, G)

    def macs_formula(self, input_shape: Shape, output_shape: Shape) -> str:
        (C, P, Q), (R, S) = input_shape, self.kernel_size
        return f"{P}*{Q}*{C} * {R}*{S}*{self._part(self.out_channels)}"

    def extra_repr(self) -> str:
        more = "" if self.output_padding == (0, 0) else f", output_padding={compact(self.output_padding)}"
        return super().extra_repr() + more
