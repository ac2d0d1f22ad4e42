"""`animate_field`: the receptive field grows, layer by layer, with the formula and its numbers."""

from __future__ import annotations

import math
from collections.abc import Sequence

from ..errors import check
from ..geometry import Field, Shape
from ..layers import Layer
from ..layers.tracing import Record
from .animation import HEAD, INPUT, Animation, Part
from .animation import WORDS as LARGE
from .diagrams import heading
from .field_pictures import Level, choose, hues, row_start, stack, way_to
from .fields import fields
from .summary import traced
from .svg import Canvas, text_width

MOST = 24
"""How many layers are shown unless they are named."""
SIDE, WIDE, ROW, BAR = 400.0, 440.0, 27.0, 17.0
"""Pixels: the larger side of the input, the width of its row, the distance of rows and their height."""
WORDS = 15.0


def animate_field(
    model_or_name: Layer | str, layers: Sequence[str] | None = None, input_shape: Shape | None = None,
    seconds: float = 2.5,
) -> Animation:  # fmt: skip
    """What one unit sees, layer by layer: `animate_field("vgg_d")`.

    layers, input_shape: as in `field_picture`; by default at most 24 layers      seconds: for each layer
    Left, the field of a unit of the layer on the input, around those of the layers before. Right, one unit of the layer,
    and below it the units of each earlier layer that it sees. Above, how size and jump come about:
    size + (window - 1)*jump = size, jump*stride = jump, from Araujo, Norris and Sim 2019, doi:10.23915/distill.00021.
    Raises ArgumentError for an unknown layer, or where the field is not known.
    """
    what, title = "animate_field", heading(model_or_name)
    found = traced(what, model_or_name, input_shape)
    check(
        len(found.input_shape) == 3,
        f"{what}: input_shape is {found.input_shape}: receptive fields need maps: give (C, H, W)",
    )
    seen = fields(found)
    records = choose(what, found, seen, layers, MOST)
    path = way_to(found, seen, records[-1])
    records = [record for record in path if any(record is each for each in records)]
    whole = stack(found, seen, records)
    # A unit of each layer, every one inside what the next one sees: so the fields lie in each other.
    units = [(math.floor(level.unit[0]), math.floor(level.unit[1])) for level in whole]
    pixel = whole[0]._replace(first=units[0][0], last=units[0][0])
    stacks = [[pixel], *[stack(found, seen, records[:k]) for k in range(1, len(whole))]]
    scene = _Scene(whole, units, found.input_shape)
    count = len(whole)
    parts = [Part(scene.still(title), 0, count)]
    for frame, rows in enumerate(stacks):
        text = ["input: a pixel sees itself", "field 1 pixel, jump 1 pixel"]
        if frame:
            before = path.index(records[frame - 2]) + 1 if frame > 1 else 0
            between = path[before : path.index(records[frame - 1]) + 1]
            text = [_heading(whole[frame]), _growth(whole[frame - 1], whole[frame], between)]
        parts.append(Part(scene.field(frame, 0.08), frame, count))
        parts.append(Part(scene.moving(rows, frame, text), frame, frame + 1))
    return Animation(parts, seconds, f"{title}: the receptive field grows")


def _heading(level: Level) -> str:
    return f"{level.name}{', ' + level.window if level.window else ''}"


def _growth(before: Level, after: Level, between: Sequence[Record]) -> str:
    """How the field of a level follows from that of the one below, with the numbers; both axes where they differ."""
    axes = [_axis(before.field[axis], after.field[axis], between, axis) for axis in (0, 1)]
    return axes[0] if axes[0] == axes[1] else f"vertical: {axes[0]}; horizontal: {axes[1]}"


def _axis(before: Field, after: Field, between: Sequence[Record], axis: int) -> str:
    size, jump = f"{before.size}", before.jump
    total, steps = before.size, f"{before.jump:g}"
    for record in between:
        window = record.layer.window(record.input) if len(record.input) == 3 else None
        if window is None or (window.size[axis] == window.stride[axis] == 1):
            continue
        dilation, taps = window.dilation[axis], window.size[axis]
        size += f" + ({taps} - 1)*{jump:g}" if dilation == 1 else f" + {dilation}*({taps} - 1)*{jump:g}"
        total += math.ceil(dilation * (taps - 1) * jump)
        jump *= window.stride[axis]
        steps += f"*{window.stride[axis]}"
    if (total, jump) != (after.size, after.jump):  # branches meet here, or the layer has no window of one size
        return f"field {after.size} pixels, jump {after.jump:g}"
    return f"field {size} = {after.size} pixels, jump {steps} = {after.jump:g}"


class _Scene:
    """Where everything lies, in all frames alike."""

    def __init__(self, whole: Sequence[Level], units: Sequence[tuple[int, int]], input_shape: Shape) -> None:
        self.whole, self.colours = whole, ["#56B4E9", *hues(len(whole) - 1)]
        self.areas = [level.field.area(*unit) for level, unit in zip(whole, units)]
        _, self.H, self.W = input_shape
        tops, bottoms, lefts, rights = zip(*self.areas, (0, self.H, 0, self.W))
        wide, high = max(rights) - min(lefts), max(bottoms) - min(tops)
        self.pixel = SIDE / max(wide, high)
        self.left, self.top = -self.pixel * min(lefts), -self.pixel * min(tops)
        self.row = max(ROW, min(SIDE / len(whole), 2 * ROW))
        self.bottom = self.pixel * high
        self.labels = self.pixel * wide + 50
        self.rows = self.labels + max(text_width(_heading(level), WORDS) for level in whole) + 20

    def still(self, title: str) -> Canvas:
        """The input, and the names of the layers."""
        canvas = Canvas()
        canvas.text(0, -92, title, HEAD, "start", bold=True)
        x, y, width, height = inside = self._place((0, self.H, 0, self.W))
        canvas.area(*inside, INPUT, 0.15)
        canvas.name(*inside, "the input")
        if self.pixel >= 7:
            for column in range(1, self.W):
                canvas.wire((x + self.pixel * column, y), (x + self.pixel * column, y + height))
            for row in range(1, self.H):
                canvas.wire((x, y + self.pixel * row), (x + width, y + self.pixel * row))
        canvas.text(0, self.bottom + 26, f"the input, {self.H}x{self.W} pixels", WORDS, "start")
        canvas.text(self.rows + WIDE + 45, -10, "units seen", WORDS, "end", dim=True)
        about = "what one unit sees of each layer, as wide as there is room; pale: padding"
        canvas.text(self.labels, self._row(0) + self.row + 16, about, WORDS, "start")
        for number, level in enumerate(self.whole):
            canvas.text(self.labels, self._row(number) + BAR - 4, _heading(level), WORDS, "start", dim=True)
        return canvas

    def _row(self, number: int) -> float:
        return self.row * (len(self.whole) - 1 - number)

    def _place(self, area: tuple[int, int, int, int]) -> tuple[float, float, float, float]:
        """x, y, width and height of pixels (top, bottom, left, right)."""
        top, bottom, left, right = (self.pixel * edge for edge in area)
        return self.left + left, self.top + top, right - left, bottom - top

    def field(self, number: int, opacity: float) -> Canvas:
        """The field of a layer on the input."""
        canvas, place = Canvas(), self._place(self.areas[number])
        canvas.area(*place, self.colours[number], opacity)
        canvas.name(*place, self.whole[number].name)
        return canvas

    def moving(self, rows: Sequence[Level], frame: int, text: Sequence[str]) -> Canvas:
        """The field of a layer, what its unit sees of the layers before, and the formulas."""
        canvas = self.field(frame, 0.45)
        canvas.outline(*self._place(self.areas[frame]))
        canvas.text(0, -60, text[0], LARGE, "start", bold=True)
        canvas.text(0, -34, text[1], LARGE, "start")
        # The rows are as wide as there is room, so that single units show from the first layer on.
        scale = min(WIDE / rows[0].seen, 30.0)
        left, middle = self.rows + WIDE / 2, (rows[0].first + rows[0].last + 1) / 2
        below = 0.0, 0.0
        for number, level in enumerate(rows):
            x, y, cell = left + row_start(level, scale, middle), self._row(number), scale * level.field.vertical.jump
            first, last = max(level.first, 0), min(level.last, level.size - 1)
            ends = x, x + cell * level.seen
            if number:  # the window on the row below
                for top, bottom in zip(ends, below):
                    canvas.wire((top, y + BAR), (bottom, y + self.row))
            below = ends
            if level.seen > last + 1 - first:
                canvas.cells(x, y, cell, level.seen, BAR, self.colours[number], 0.2)
            inside = x + cell * (first - level.first)
            canvas.cells(inside, y, cell, last + 1 - first, BAR, self.colours[number], 0.85)
            canvas.text(self.rows + WIDE + 45, y + BAR - 4, f"{level.seen}", WORDS, "end")
        width = self.rows - self.labels - 8
        canvas.area(self.labels - 8, self._row(frame) - 3, width, BAR + 6, self.colours[frame], 0.35)
        return canvas
