"""`field_picture`: what one unit sees. Its receptive field on the input, and how it widens from layer to layer."""

from __future__ import annotations

import colorsys
import difflib
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from ..errors import ArgumentError, check
from ..geometry import Field, Shape
from ..layers import Layer, Trace
from ..layers.arguments import compact
from ..layers.tracing import Record, printable
from .diagrams import heading
from .elements import SMALL
from .fields import FieldPair, fields
from .summary import traced
from .svg import Canvas, Picture, text_width

MOST = 10
"""How many layers are shown unless they are named."""
SIDE, WIDE, ROW = 300.0, 460.0, 34.0
"""Pixels: the larger side of the input, the width of the input's row, the distance of rows."""
BAR = 13.0


class Level(NamedTuple):
    """A row of the picture: what the unit at the top sees of a layer's output, along one axis."""

    name: str
    window: str
    field: FieldPair
    """Of the units of this layer."""
    first: int
    last: int
    """The units seen."""
    size: int
    """How many there are; units outside are padding."""
    unit: tuple[float, float]
    """In the middle of those seen, vertically and horizontally; between two where their number is even."""

    @property
    def seen(self) -> int:
        return self.last - self.first + 1


def field_picture(
    model_or_name: Layer | str, layers: Sequence[str] | None = None, input_shape: Shape | None = None
) -> Picture:
    """Draw the receptive fields of a network's layers, and how that of the last one comes about.

    layers: paths such as "conv2" or "stage1.block1.body.conv2", by default those with windows on the way to the widest field, at most ten.
    input_shape: (C, H, W) without the batch; models of the zoo know theirs.
    Left, the input with the field of the unit in the middle of each layer. Right, one unit of the last layer at the top,
    below it the units that it sees of each layer, down to the pixels: two 3x3 windows see 5x5.
    Where branches meet, the way with the widest field is followed; the rows show the vertical axis.
    Raises ArgumentError for an unknown layer, or where the field is not known.
    """
    found, title = traced("field_picture", model_or_name, input_shape), heading(model_or_name)
    check(
        len(found.input_shape) == 3,
        f"field_picture: input_shape is {found.input_shape}: receptive fields need maps: give (C, H, W)",
    )
    seen = fields(found)
    levels = stack(found, seen, choose("field_picture", found, seen, layers, MOST))
    canvas = Canvas()
    colours = hues(len(levels) - 1)
    left = _draw_levels(canvas, levels, colours)
    _draw_input(canvas, found, levels[1:], colours, left - 34, (ROW * (len(levels) - 1) + BAR) / 2)
    top, (x, y, _, height, _) = levels[-1], canvas.bounds
    vertical, horizontal = top.field
    canvas.text(x, y - 34, f"{title}: what a unit of {top.name} sees", 16, "start", bold=True)
    H, W = found.input_shape[1:]
    beyond = vertical.size > H or horizontal.size > W
    where = f"pixels, padding around the {H}x{W} input included" if beyond else "pixels of the input"
    about = f"{vertical.size}x{horizontal.size} {where}; the next unit's field lies {vertical.jump:g} further"
    canvas.text(x, y - 16, about, 11, "start", dim=True)
    canvas.text(
        x, y + height + 16, "Pale: padding. Lines: the window of each row on the row below.", SMALL, "start", dim=True
    )
    return Picture(canvas, f"{title}: receptive field of {top.name}")


def choose(
    what: str, found: Trace, seen: list[FieldPair | None], layers: Sequence[str] | None, most: int
) -> list[Record]:  # fmt: skip
    """The layers to show, in running order; the last one is the one at the top."""
    leaves = {record.path or record.kind: record for record in found.leaves}
    if layers is not None:
        names = [printable(str(name)) for name in ([layers] if isinstance(layers, str) else layers)]
        check(names, f"{what}: layers is empty: name at least one layer")
        for name in names:
            if name not in leaves:
                raise no_layer(what, "layers", name, leaves)
        chosen = sorted([leaves[name] for name in dict.fromkeys(names)], key=lambda record: record.index)
        for record in chosen:
            check(
                seen[record.index] is not None and len(record.output) == 3,
                f"{what}: the field of {record.path} is not known: name layers that put out maps, without a layer "
                "of one's own before them that changes the size of the map",
            )
        return chosen
    known = [(record, seen[record.index]) for record in found.leaves if len(record.output) == 3 and not _whole(record)]
    widest = max([(pair.vertical.size, -record.index) for record, pair in known if pair is not None], default=(1, 0))
    check(widest[0] > 1, f"{what}: no layer has a window: name the layers")
    way = [record for record in way_to(found, seen, found.records[-widest[1]]) if _moves(record)]
    if len(way) <= most:
        return way
    return [way[round(place * (len(way) - 1) / (most - 1))] for place in range(most)]


def no_layer(what: str, argument: str, name: str, names: Iterable[str]) -> ArgumentError:
    """The error that `name` is none of `names`, with those that are like it."""
    near = difflib.get_close_matches(name, names := [*names], n=3)
    hint = f"did you mean {' or '.join(near)}?" if near else f"there are {', '.join(names[:12])}, ..."
    return ArgumentError(f"{what}: {argument} has {name!r}, which is no layer that ran: {hint}")


def _whole(record: Record) -> bool:
    """Whether it pools the whole map into one number: then there is nothing to see."""
    return record.output[1:] == (1, 1) and not record.macs


def _moves(record: Record) -> bool:
    window = record.layer.window(record.input) if len(record.input) == len(record.output) == 3 else None
    return window is not None and (max(window.size) > 1 or max(window.stride) > 1)


def way_to(found: Trace, seen: list[FieldPair | None], last: Record) -> list[Record]:
    """The layers from the input to `last`, at joins along the widest field."""
    way = [last]
    while way[-1].sources != (-1,):

        def size(index: int) -> int:
            pair = seen[index] if index >= 0 else None
            return 0 if pair is None else pair.vertical.size

        source = max(way[-1].sources, key=size)
        if source < 0:
            break
        way.append(found.records[source])
    return way[::-1]


def stack(found: Trace, seen: list[FieldPair | None], chosen: list[Record]) -> list[Level]:
    """Rows from the pixels to the last layer chosen."""
    top = chosen[-1]
    shown = {record.index for record in chosen}
    first = last = (top.output[1] - 1) // 2
    unit = (float(first), float((top.output[2] - 1) // 2))
    levels = []
    for record in reversed(way_to(found, seen, top)):
        pair = seen[record.index]
        assert pair is not None
        if record.index in shown:
            levels.append(Level(_name(record), _about(record), pair, first, last, record.output[1], unit))
        window = record.layer.window(record.input) if len(record.input) == 3 else None
        if window is not None:
            before, reach = (
                (window.padding[0], window.padding[2]),
                [d * (s - 1) for d, s in zip(window.dilation, window.size)],
            )
            first = first * window.stride[0] - before[0]
            last = last * window.stride[0] - before[0] + reach[0]
            down, across = (unit[a] * window.stride[a] - before[a] + reach[a] / 2 for a in (0, 1))
            unit = (down, across)
    levels.append(Level("input", "", FieldPair(Field(), Field()), first, last, found.input_shape[1], unit))
    return levels[::-1]


def _name(record: Record) -> str:
    path = record.path or record.kind
    return f"{record.kind} {path}" if path.rpartition(".")[2].isdigit() else path


def _about(record: Record) -> str:
    window = record.layer.window(record.input)
    if window is None:
        return record.kind
    return f"{'x'.join(map(str, window.size))}" + ("" if max(window.stride) == 1 else f" /{compact(window.stride)}")


def hues(count: int) -> list[str]:
    """From blue to red, equally light, so that they stand out on white and on black."""
    hues = [0.6 - 0.6 * place / max(count - 1, 1) for place in range(count)]
    return ["#" + "".join(f"{round(255 * part):02x}" for part in colorsys.hls_to_rgb(hue, 0.5, 0.62)) for hue in hues]


def _draw_input(
    canvas: Canvas, found: Trace, levels: Sequence[Level], colours: Sequence[str], right: float, centre: float
) -> None:  # fmt: skip
    """The input and the fields on it, left of `right`, its middle at the height `centre`."""
    H, W = found.input_shape[1:]
    areas = [(0.0, 0.0, float(W), float(H))]
    for level in levels:
        (vertical, horizontal), (down, across) = level.field, level.unit
        x = horizontal.start + horizontal.jump * across - horizontal.size / 2
        y = vertical.start + vertical.jump * down - vertical.size / 2
        areas.append((x, y, float(horizontal.size), float(vertical.size)))
    low, high = min(x for x, _, _, _ in areas), max(x + w for x, _, w, _ in areas)
    top, bottom = min(y for _, y, _, _ in areas), max(y + h for _, y, _, h in areas)
    scale = SIDE / max(high - low, bottom - top)
    left, up = right - scale * high, centre - scale * (top + bottom) / 2
    canvas.box(left, up, scale * W, scale * H, "input")
    for (x, y, width, height), colour in reversed(list(zip(areas[1:], colours))):
        canvas.area(left + scale * x, up + scale * y, scale * width, scale * height, colour)
    if scale >= 6:
        for x in range(1, W):
            canvas.wire((left + scale * x, up), (left + scale * x, up + scale * H))
        for y in range(1, H):
            canvas.wire((left, up + scale * y), (left + scale * W, up + scale * y))
    # Fields may reach far beyond the input: its outline lies over them all, and its label is tied to it.
    canvas.outline(left, up, scale * W, scale * H)
    words = f"the input, {H}x{W} pixels"
    half = text_width(words, SMALL) / 2
    middle, end = left + scale * W / 2, up + scale * bottom
    if scale * (bottom - H) > 2:
        canvas.wire((middle, up + scale * H), (middle, end + 4))
    canvas.text(max(min(middle, right - half), right - SIDE + half), end + 15, words, SMALL)


def _draw_levels(canvas: Canvas, levels: Sequence[Level], colours: Sequence[str]) -> float:
    """The rows, from the unit at the top to the pixels, around x = 0. Returns their left end."""
    pixels = levels[0]
    scale = min(WIDE / pixels.seen, 40.0)
    middle = (pixels.first + pixels.last + 1) / 2
    edge = scale * pixels.seen / 2 + 14
    left_end = -edge
    for number, level in enumerate(levels):
        y, cell = ROW * (len(levels) - 1 - number), scale * level.field.vertical.jump
        left = row_start(level, scale, middle)
        colour = colours[number - 1] if number else "#8592a0"
        if number:
            below = levels[number - 1]
            start = row_start(below, scale, middle)
            end = start + scale * below.field.vertical.jump * below.seen
            canvas.wire((left, y + BAR), (start, y + ROW))
            canvas.wire((left + cell * level.seen, y + BAR), (end, y + ROW))
        if cell >= 5 and level.seen <= 64:
            for unit in range(level.seen):
                inside = 0 <= level.first + unit < level.size
                canvas.area(left + cell * unit, y, cell, BAR, colour, 0.55 if inside else 0.06)
        else:
            canvas.area(left, y, cell * level.seen, BAR, colour, 0.06)
            first, last = max(level.first, 0), min(level.last, level.size - 1)
            canvas.area(left + cell * (first - level.first), y, cell * (last + 1 - first), BAR, colour, 0.55)
        canvas.name(left, y, cell * level.seen, BAR, level.name)
        label = level.name if len(level.name) <= 28 else "..." + level.name[-25:]
        label += f", {level.window}" if level.window else ""
        canvas.text(-edge - 16, y + BAR - 3, label, SMALL, "end")
        canvas.area(-edge - 10, y + 2, 9, 9, colour, 0.55)
        left_end = min(left_end, -edge - 16 - text_width(label, SMALL))
        if not number:
            words = f"{level.seen} pixels seen"
        else:
            sees = f"{level.field.vertical.size}x{level.field.horizontal.size}"
            words = f"{level.seen} units seen, each sees {sees}" if level.seen > 1 else f"1 unit: it sees {sees}"
        canvas.text(edge, y + BAR - 3, words, SMALL, "start", dim=True)
    return left_end


def row_start(level: Level, scale: float, middle: float) -> float:
    """Where the row of a level begins: a unit stands over the middle of its field, as wide as the jump to the next."""
    field = level.field.vertical
    return scale * (field.start + field.jump * (level.first - 0.5) - middle)
