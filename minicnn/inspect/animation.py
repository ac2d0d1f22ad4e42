"""Pictures that move: `Animation`, and the window of a convolution sliding over its input, with the sum at each place."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from .. import geometry
from ..errors import ArgumentError, ShapeError, check
from ..geometry import Padding, Pair, is_integer, is_number
from ..layers.window import Window
from .svg import Canvas, Picture, text_width

CELL, GAP = 38.0, 16.0
"""Pixels: the side of a number's box, and what lies between the grids of two channels."""
NUMBER, WORDS, HEAD = 15.0, 18.0, 20.0
"""Font sizes in pixels, of pictures about 900 pixels wide."""
WINDOW, FILTER, OUTPUT, INPUT = "#E69F00", "#56B4E9", "#009E73", "#8592A0"
"""Colours that the colour-blind tell apart (Okabe and Ito 2008)."""
SIDE, CHANNELS, PLACES = 11, 3, 81
"""The largest input with its padding, the most channels and the most outputs that can be read."""


class Part(NamedTuple):
    """What is seen from frame `first` to the one before `last`."""

    canvas: Canvas
    first: int
    last: int


class Animation(Picture):
    """Frames that follow each other for ever, as one SVG file without any script.

    Notebooks and browsers show it moving; `animation[k]` is frame k, a Picture that stands still, and
    `len(animation)` counts them. Where the reader's system asks for no motion, the last frame stands.
    """

    def __init__(self, parts: list[Part], seconds: float, title: str) -> None:
        """seconds: for which each frame is seen."""
        check(
            is_number(seconds) and seconds > 0, f"Animation: seconds is {seconds!r}: it must be a number greater than 0"
        )
        self.parts, self.seconds = parts, seconds
        self._count = max(part.last for part in parts)
        whole = Canvas()
        spans = {(part.first, part.last): None for part in parts if part.last - part.first < self._count}
        whole.shapes.append(f"<style>{''.join(self._rule(*span) for span in spans)}{STILL}</style>")
        for part in parts:
            still = part.last - part.first == self._count
            last = " m-last" if part.last == self._count else ""
            whole.include(part.canvas, "" if still else f' class="m-part{last} m-{part.first}-{part.last}"')
        super().__init__(whole, title)

    def _rule(self, first: int, last: int) -> str:
        """When a part is seen, in per cent of the time."""
        name, shown, hidden = f"m-{first}-{last}", "visibility:visible", "visibility:hidden"
        steps = [(0, hidden)] * bool(first) + [(first, shown)] + [(last, hidden)] * (last < self._count)
        frames = "".join(f"{100 * frame / self._count:.4g}%{{{what}}}" for frame, what in steps)
        return f"@keyframes {name}{{{frames}}}.{name}{{animation:{name} {self._count * self.seconds:g}s step-end infinite}}"

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, frame: int) -> Picture:
        if not is_integer(frame) or not -self._count <= frame < self._count:
            raise IndexError(f"Animation: there is no frame {frame!r}: there are {self._count}, from 0")
        place, canvas = frame % self._count, Canvas()
        for part in self.parts:
            if part.first <= place < part.last:
                canvas.include(part.canvas)
            canvas.reach(part.canvas)
        return Picture(canvas, f"{self.title}, frame {place + 1} of {self._count}")


STILL = (
    ".m-part{visibility:hidden}"
    "@media (prefers-reduced-motion:reduce){.m-part{animation:none}.m-last{visibility:visible}}"
)  # fmt: skip


def animate_convolution(
    x: Any, weight: Any, bias: float = 0.0, stride: Pair = 1, padding: Padding = 0, dilation: Pair = 1,
    seconds: float = 1.5,
) -> Animation:  # fmt: skip
    """The window of one filter slides over its input; at each place the sum of products stands below, with its numbers.

    x: (H, W) or (C, H, W), at most three channels and 11x11 pixels with the padding; small whole numbers read best
    weight: (R, S) or (C, R, S), one filter      bias, stride, padding, dilation: as in `Conv2d`
    seconds: for each place
    Raises ShapeError where the window does not fit, ArgumentError for what is too large to be read.
    """
    what = "animate_convolution"
    pixels, taps = (_channels(what, name, values) for name, values in (("x", x), ("weight", weight)))
    check(is_number(bias), f"{what}: bias is {bias!r}: it must be a number")
    sizes = geometry.conv2d((1, *pixels.shape), (1, *taps.shape), stride, padding, dilation, op=what)
    top, bottom, left, right = sizes.padding
    padded = np.pad(pixels, ((0, 0), (top, bottom), (left, right)))
    check(
        max(padded.shape[1:]) <= SIDE and sizes.C <= CHANNELS and sizes.P * sizes.Q <= PLACES,
        f"{what}: the input is {_shape(pixels)}, {_shape(padded)} with its padding, and gives {sizes.P}x{sizes.Q} outputs: "
        f"at most {SIDE}x{SIDE} pixels, {CHANNELS} channels and {PLACES} outputs can be read: give less",
    )
    window = Window((sizes.R, sizes.S), sizes.stride, sizes.padding, sizes.dilation)
    step = "x".join(map(str, dict.fromkeys(sizes.stride)))
    title = f"{sizes.R}x{sizes.S} filter, stride {step}: {window.formula(pixels.shape)}"
    scene = _Scene(padded, taps, sizes)
    count = sizes.P * sizes.Q
    parts, numbers = [Part(scene.grids(title, pixels), 0, count)], Part(scene.numbers(), 0, count)
    for place in range(count):
        p, q = divmod(place, sizes.Q)
        rows = p * sizes.stride[0] + np.arange(sizes.R) * sizes.dilation[0]
        columns = q * sizes.stride[1] + np.arange(sizes.S) * sizes.dilation[1]
        products = padded[:, rows[:, None], columns]
        value = float((products * taps).sum() + bias)
        parts.append(Part(scene.moving(p, q, rows, columns, _sum(products, taps, bias, value)), place, place + 1))
        parts.append(Part(scene.result(p, q, value), place, count))
    return Animation([*parts, numbers], seconds, f"{what}: {title}")


class _Scene:
    """Where everything lies: the input's channels below each other, the filter's beside them, the output."""

    def __init__(self, padded: np.ndarray, taps: np.ndarray, sizes: geometry.Conv2d) -> None:
        self.padded, self.taps, self.sizes = padded, taps, sizes
        self.C, self.H, self.W = padded.shape
        self.filter_x = self.W * CELL + 70
        self.output_x = self.filter_x + sizes.S * CELL + 70
        self.height = self.C * (self.H * CELL + GAP) - GAP
        self.output_y = (self.height - sizes.P * CELL) / 2

    def grid(self, channel: int) -> float:
        """The top of a channel's grid."""
        return channel * (self.H * CELL + GAP)

    def filter_y(self, channel: int) -> float:
        return self.grid(channel) + (self.H - self.sizes.R) * CELL / 2

    def inside(self, row: int, column: int) -> bool:
        """Whether a pixel belongs to the input and not to its padding."""
        top, bottom, left, right = self.sizes.padding
        return top <= row < self.H - bottom and left <= column < self.W - right

    def grids(self, title: str, pixels: np.ndarray) -> Canvas:
        """What stands in all frames, below all that moves."""
        canvas, sizes = Canvas(), self.sizes
        canvas.text(0, -52, title, HEAD, "start", bold=True)
        padding = ", padding pale" if self.padded.shape != pixels.shape else ""
        canvas.text(0, -14, f"input {_shape(pixels)}{padding}", WORDS, "start")
        canvas.text(self.filter_x, -14, f"filter {_shape(self.taps)}", WORDS, "start")
        canvas.text(self.output_x, -14, f"output {sizes.P}x{sizes.Q}", WORDS, "start")
        for channel, row, column in np.ndindex(self.padded.shape):
            opacity = 0.22 if self.inside(row, column) else 0.03
            canvas.area(column * CELL, self.grid(channel) + row * CELL, CELL, CELL, INPUT, opacity)
        for channel, row, column in np.ndindex(self.taps.shape):
            canvas.area(self.filter_x + column * CELL, self.filter_y(channel) + row * CELL, CELL, CELL, FILTER, 0.45)
        for p, q in np.ndindex(sizes.P, sizes.Q):
            canvas.area(self.output_x + q * CELL, self.output_y + p * CELL, CELL, CELL, OUTPUT, 0.04)
        for channel in range(self.C):
            middle = self.grid(channel) + self.H * CELL / 2 + 8
            canvas.text(self.filter_x - 35, middle, "*", 26)
        canvas.text(self.output_x - 35, self.height / 2 + 8, "=", 26)
        return canvas

    def numbers(self) -> Canvas:
        """The numbers of the input and the filter, above all that moves."""
        canvas = Canvas()
        for channel, row, column in np.ndindex(self.padded.shape):
            x, y = column * CELL, self.grid(channel) + row * CELL
            _number(canvas, x, y, self.padded[channel, row, column], dim=not self.inside(row, column))
        for channel, row, column in np.ndindex(self.taps.shape):
            x, y = self.filter_x + column * CELL, self.filter_y(channel) + row * CELL
            _number(canvas, x, y, self.taps[channel, row, column])
        return canvas

    def moving(self, p: int, q: int, rows: np.ndarray, columns: np.ndarray, sums: list[list[str]]) -> Canvas:
        """The window at one place, and its sum."""
        canvas = Canvas()
        for channel in range(self.C):
            if self.sizes.dilation == (1, 1):
                x, y = columns[0] * CELL, self.grid(channel) + rows[0] * CELL
                self._window(canvas, x, y, len(columns) * CELL, len(rows) * CELL)
            else:
                for row in rows:
                    for column in columns:
                        self._window(canvas, column * CELL, self.grid(channel) + row * CELL, CELL, CELL)
        x, y = self.output_x + q * CELL, self.output_y + p * CELL
        canvas.area(x, y, CELL, CELL, OUTPUT, 0.5)
        canvas.outline(x, y, CELL, CELL)
        canvas.name(x, y, CELL, CELL, f"output {p},{q}")
        width = self.output_x + self.sizes.Q * CELL
        lines = [line for pieces in sums for line in _wrapped(pieces, max(int(width / (0.5 * WORDS)), 88))]
        for number, line in enumerate(lines):
            canvas.text(0, self.height + 36 + 1.4 * WORDS * number, line, WORDS, "start")
        return canvas

    def _window(self, canvas: Canvas, x: float, y: float, width: float, height: float) -> None:
        canvas.area(x, y, width, height, WINDOW, 0.4)
        canvas.outline(x, y, width, height)
        canvas.name(x, y, width, height, "window")

    def result(self, p: int, q: int, value: float) -> Canvas:
        """An output, which stays once it is there."""
        canvas, x, y = Canvas(), self.output_x + q * CELL, self.output_y + p * CELL
        canvas.area(x, y, CELL, CELL, OUTPUT, 0.22)
        _number(canvas, x, y, value)
        return canvas


def _number(canvas: Canvas, x: float, y: float, value: float, *, dim: bool = False) -> None:
    """A number in the middle of a box, smaller where it is long."""
    text = _short(value)
    canvas.text(
        x + CELL / 2,
        y + CELL / 2 + 0.35 * NUMBER,
        text,
        NUMBER * min(1, (CELL - 4) / text_width(text, NUMBER)),
        dim=dim,
    )


def _sum(pixels: np.ndarray, taps: np.ndarray, bias: float, value: float) -> list[list[str]]:
    """pixel*weight + ... = value, a sum for each channel and one for all of them, in pieces that stay together."""
    total = [f"+ {_signed(bias)} (bias)"] * bool(bias) + [f"= {_short(value)}"]
    rows = [_added([f"{_signed(a)}*{_signed(b)}" for a, b in zip(x.flat, w.flat)]) for x, w in zip(pixels, taps)]
    if len(rows) == 1:
        return [rows[0] + total]
    sums = [float(each) for each in (pixels * taps).sum((1, 2))]
    shown = [[f"channel {c}: {row[0]}", *row[1:], f"= {_short(each)}"] for c, (row, each) in enumerate(zip(rows, sums))]
    return [*shown, _added([_signed(each) for each in sums]) + total]


def _added(terms: list[str]) -> list[str]:
    return [terms[0], *[f"+ {term}" for term in terms[1:]]]


def _wrapped(pieces: list[str], width: int) -> list[str]:
    """The pieces in lines of about `width` signs."""
    lines = [pieces[0]]
    for piece in pieces[1:]:
        if len(lines[-1]) + len(piece) < width:
            lines[-1] += f" {piece}"
        else:
            lines.append(piece)
    return lines


def _short(value: float) -> str:
    """At most two digits behind the point: 7, -0.5, 0.33; 4e-03 for what would vanish."""
    if 0 < abs(value) < 0.005:
        return f"{value:.0e}"
    return f"{value:.2f}".rstrip("0").rstrip(".")


def _signed(value: float) -> str:
    return f"({_short(value)})" if value < 0 else _short(value)


def _shape(array: np.ndarray) -> str:
    return "x".join(map(str, array.shape if len(array) > 1 else array.shape[1:]))


def _channels(what: str, name: str, values: Any) -> np.ndarray:
    """(C, H, W) in float64."""
    try:
        array = np.asarray(values.numpy() if hasattr(values, "numpy") else values, np.float64)
    except (TypeError, ValueError):
        raise ArgumentError(f"{what}: {name} is {type(values).__name__}: it must be numbers in rows") from None
    array = array[None] if array.ndim == 2 else array
    if array.ndim != 3 or not array.size or not np.isfinite(array).all():
        raise ShapeError(f"{what}: {name} has shape {array.shape}: it must be finite numbers, (H, W) or (C, H, W)")
    return array
