"""Window: what a layer moves over its map, from which output sizes and receptive fields are worked out."""

from __future__ import annotations

from typing import NamedTuple

from .. import geometry
from ..geometry import Shape


class Window(NamedTuple):
    """Sizes in pixels, (vertical, horizontal)."""

    size: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[int, int, int, int]
    """top, bottom, left, right"""
    dilation: tuple[int, int] = (1, 1)
    ceil_mode: bool = False

    def formula(self, input_shape: Shape) -> str:
        """The output-size formula for maps of `input_shape` (C, H, W), and what rounding made of it.

        One where both axes agree, else "... by ...": `(112 + 2*0 - 3)/2 + 1 = 55.5, rounded up to 56`.
        """
        vertical, horizontal = (self._axis(axis, input_shape[1 + axis]) for axis in (0, 1))
        return vertical if vertical == horizontal else f"{vertical} by {horizontal}"

    def _axis(self, axis: int, size: int) -> str:
        window, stride, dilation = self.size[axis], self.stride[axis], self.dilation[axis]
        before, after = self.padding[2 * axis], self.padding[2 * axis + 1]
        text = geometry.output_formula(size, window, stride, before, after, dilation)
        floor = geometry.output_size(size, window, stride, before, after, dilation)
        places = geometry.output_size(size, window, stride, before, after, dilation, self.ceil_mode)
        if (size + before + after - dilation * (window - 1) - 1) % stride == 0:
            return text
        if places > floor:
            return f"{text}, rounded up to {places}"
        return f"{text}, rounded down to {places}" + (" (no window may start in the padding)" if self.ceil_mode else "")
