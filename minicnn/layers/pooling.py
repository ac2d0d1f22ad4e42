"""MaxPool2d, AvgPool2d, AdaptiveAvgPool2d and GlobalAvgPool2d."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .. import geometry, ops
from ..errors import check
from ..geometry import Padding, Pair, Shape
from ..tensor import Tensor
from .arguments import compact
from .base import Layer
from .window import Window, by


class _Pool2d(Layer):
    def _arguments(self, kernel_size: Pair, stride: Pair | None, padding: Padding, ceil_mode: bool) -> None:
        name = type(self).__name__
        self.kernel_size = R, S = geometry.pair(kernel_size, f"{name}: kernel_size", 1)
        self.stride = self.kernel_size if stride is None else geometry.pair(stride, f"{name}: stride", 1)
        self.padding = geometry.sides(padding, f"{name}: padding")
        check(
            max(self.padding[:2]) <= R // 2 and max(self.padding[2:]) <= S // 2,
            f"{name}: padding is {padding!r}: it may be at most half the {R}x{S} window, or a window could see nothing "
            "but padding",
        )
        self.ceil_mode = bool(ceil_mode)

    def window(self, input_shape: Shape) -> Window:
        return Window(self.kernel_size, self.stride, self.padding, (1, 1), self.ceil_mode)

    def extra_repr(self) -> str:
        parts = [f"kernel_size={compact(self.kernel_size)}, stride={compact(self.stride)}"]
        if any(self.padding):
            parts.append(f"padding={compact(self.padding)}")
        if self.ceil_mode:
            parts.append("ceil_mode=True")
        return ", ".join(parts)


class MaxPool2d(_Pool2d):
    """The maximum of each window: (N, C, H, W) -> (N, C, P, Q), P = floor((H + top + bottom - R)/stride) + 1.

    kernel_size, stride: pixels, int or (vertical, horizontal); stride is kernel_size if None (no overlap).
    padding: at most half the window; int, (vertical, horizontal) or (top, bottom, left, right).
    ceil_mode: round the division up (Caffe does); a window may not start in the padding.
    """

    def __init__(
        self, kernel_size: Pair, stride: Pair | None = None, padding: Padding = 0, ceil_mode: bool = False
    ) -> None:
        self._arguments(kernel_size, stride, padding, ceil_mode)

    def forward(self, x: Any) -> Tensor:
        return ops.max_pool2d(x, self.kernel_size, self.stride, self.padding, self.ceil_mode)


class AvgPool2d(_Pool2d):
    """The mean of each window; shapes and arguments as in `MaxPool2d`.

    count_include_pad: whether padding counts in the divisor.
    """

    def __init__(
        self, kernel_size: Pair, stride: Pair | None = None, padding: Padding = 0, ceil_mode: bool = False,
        count_include_pad: bool = True,
    ) -> None:  # fmt: skip
        self._arguments(kernel_size, stride, padding, ceil_mode)
        self.count_include_pad = bool(count_include_pad)

    def forward(self, x: Any) -> Tensor:
        return ops.avg_pool2d(x, self.kernel_size, self.stride, self.padding, self.ceil_mode, self.count_include_pad)

    def extra_repr(self) -> str:
        return super().extra_repr() + ("" if self.count_include_pad else ", count_include_pad=False")


class AdaptiveAvgPool2d(Layer):
    """The means of P x Q windows that cover the map evenly: (N, C, H, W) -> (N, C, P, Q), (P, Q) = output_size."""

    def __init__(self, output_size: Pair = 1) -> None:
        self.output_size = geometry.pair(output_size, f"{type(self).__name__}: output_size", 1)

    def forward(self, x: Any) -> Tensor:
        return ops.adaptive_avg_pool2d(x, self.output_size)

    def window(self, input_shape: Shape) -> Window | None:
        (H, W), (P, Q) = input_shape[1:], self.output_size
        if H % P or W % Q:
            return None  # the windows differ in size
        R, S = H // P, W // Q
        return Window((R, S), (R if P > 1 else 1, S if Q > 1 else 1), (0, 0, 0, 0))  # a single window does not move

    def size_formula(self, input_shapes: Sequence[Shape], output_shape: Shape) -> str:
        if len(input_shapes[0]) != 3 or self.window(input_shapes[0]) is not None:
            return super().size_formula(input_shapes, output_shape)
        axes = []
        for size, places in zip(input_shapes[0][1:], self.output_size):
            lengths = sorted({end - start for start, end in geometry.bins(size, places)})
            axes.append(f"{places} windows of {' or '.join(map(str, lengths))} over {size}")
        return by(axes)

    def extra_repr(self) -> str:
        return f"output_size={compact(self.output_size)}"


class GlobalAvgPool2d(AdaptiveAvgPool2d):
    """The mean of each whole map: (N, C, H, W) -> (N, C, 1, 1). Source: Lin, Chen and Yan 2013, arXiv:1312.4400."""

    def __init__(self) -> None:
        super().__init__(1)

    def extra_repr(self) -> str:
        return ""
