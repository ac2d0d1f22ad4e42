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

        One where both axes agree, else "... by ...": `(112 + 2*0 - 3)/2 + 1 = 55.5, ceil: 56`.
        """
        return by([self._formula(axis, input_shape[1 + axis]) for axis in (0, 1)])

    def rounding(self, input_shape: Shape) -> str:
        """What became of the division's remainder: `the last row and column are not seen`; "" where there is none."""
        kinds = [self._remainder(axis, input_shape[1 + axis]) for axis in (0, 1)]
        said: dict[str, list[str]] = {}
        for (what, pixels), name in zip(kinds, ("row", "column")):
            if what:
                said.setdefault(what, []).append(f"{pixels} {name}{'s' if pixels > 1 else ''}")
        return "; ".join(what.format(" and ".join(amounts)) for what, amounts in said.items())

    def _sizes(self, axis: int, size: int) -> tuple[int, int, int, int, int, int]:
        before, after = self.padding[2 * axis], self.padding[2 * axis + 1]
        return size, self.size[axis], self.stride[axis], before, after, self.dilation[axis]

    def _formula(self, axis: int, size: int) -> str:
        sizes = self._sizes(axis, size)
        text, places = geometry.output_formula(*sizes), geometry.output_size(*sizes, self.ceil_mode)
        if not self._left(axis, size):
            return text
        if places > geometry.output_size(*sizes):
            return f"{text}, ceil: {places}"
        return f"{text}, floor: {places}" + (" (no window may start in the padding)" if self.ceil_mode else "")

    def _left(self, axis: int, size: int) -> int:
        """The remainder: how many pixels the last window of a rounded-down number lies before the end of the padding."""
        size, window, stride, before, after, dilation = self._sizes(axis, size)
        return (size + before + after - dilation * (window - 1) - 1) % stride

    def _remainder(self, axis: int, size: int) -> tuple[str, int]:
        left, sizes, after = self._left(axis, size), self._sizes(axis, size), self.padding[2 * axis + 1]
        if not left:
            return "", 0
        if geometry.output_size(*sizes, self.ceil_mode) > geometry.output_size(*sizes):
            return "the last window hangs over by {}", self.stride[axis] - left
        return ("not seen at the end: {}", left - after) if left > after else ("not seen: {} of the padding", left)


def by(axes: list[str]) -> str:
    """One text where both axes agree, else both: "(vertical) by (horizontal)"."""
    return axes[0] if axes[0] == axes[1] else " by ".join(axes)
