"""Receptive fields: what part of the input each number of a layer's output sees, followed through a `Trace`."""

from __future__ import annotations

import math
from typing import NamedTuple

from ..geometry import Field, bins
from ..layers import AdaptiveAvgPool2d, ConvTranspose2d, Linear, Trace, ZeroPad2d
from ..layers.tracing import Record


class FieldPair(NamedTuple):
    """The receptive field along both axes, in input pixels."""

    vertical: Field
    horizontal: Field

    def area(self, row: int, column: int) -> tuple[int, int, int, int]:
        """The pixels that the output at (row, column) sees: (top, bottom, left, right), bottom and right not included.

        What lies below 0 or beyond the input is padding.
        """
        sides = []
        for field, place in ((self.vertical, row), (self.horizontal, column)):
            first = math.floor(field.start + field.jump * place - field.size / 2)
            sides += [first, first + field.size]
        return sides[0], sides[1], sides[2], sides[3]


class _Seen(NamedTuple):
    field: FieldPair
    extent: tuple[int, int]
    """The map that the fields tile, remembered through Flatten."""


def fields(trace: Trace) -> list[FieldPair | None]:
    """The receptive field of every record; for a container that of its last layer. None where it is not known.

    Where branches meet, all that they see together counts. A layer without a window that keeps the size of the map
    (ReLU, a layer of one's own) counts as element by element; one that makes a vector of a map sees all of it. Behind a
    layer of one's own that changes the size of the map without telling its `window`, nothing is known, nor behind such an
    operation outside any layer, nor where the input is no map.
    """
    if len(trace.input_shape) != 3:
        return [None] * len(trace.records)
    start = _Seen(FieldPair(Field(), Field()), (trace.input_shape[1], trace.input_shape[2]))
    seen: dict[int, _Seen | None] = {-1: start}
    result: list[FieldPair | None] = [None] * len(trace.records)
    for record in trace.records:
        if record.leaf:
            after = seen[record.index] = _through(record, [seen.get(source) for source in record.sources])
            result[record.index] = after.field if after is not None else None
    last = {record.parent: record.index for record in trace.records}
    for record in reversed(trace.records):  # children stand behind their parents
        parent = trace.records[record.parent]
        if record.parent >= 0 and record.index == last.get(record.parent) and record.output[1:] == parent.output[1:]:
            result[record.parent] = result[record.index]
    return result


def _through(record: Record, sources: list[_Seen | None]) -> _Seen | None:
    """What the outputs of this call see, when its inputs see `sources`."""
    known = [source for source in sources if source is not None]
    if not known or len(known) < len(sources):
        return None
    sizes = [shape[1:] for shape in record.inputs if len(shape) == 3]
    if sizes and any(source.extent not in (*sizes, (1, 1)) for source in known):
        return None  # an operation outside any layer came between
    field, extent = known[0]
    for other in known[1:]:
        if other.field != field:
            field = FieldPair(*[mine.joined(its) for mine, its in zip(field, other.field)])
    before, after = record.input, record.output
    if len(after) == 3 and len(before) == 3:
        through = _window(record, field)
        return None if through is None else _Seen(through, (after[1], after[2]))
    mixes = isinstance(record.layer, Linear) or math.prod(after) != math.prod(before)
    if len(after) == 1 and mixes:  # each number sees the whole map
        field, extent = FieldPair(field.vertical.through(extent[0]), field.horizontal.through(extent[1])), (1, 1)
    return _Seen(field, extent)


def _window(record: Record, field: FieldPair) -> FieldPair | None:
    layer, before, after = record.layer, record.input, record.output
    window = layer.window(before)
    if window is not None:
        return FieldPair(
            *[
                field[axis].through(
                    window.size[axis], window.stride[axis], window.padding[2 * axis], window.dilation[axis]
                )
                for axis in (0, 1)
            ]
        )
    if isinstance(layer, ConvTranspose2d):
        return FieldPair(
            *[
                field[axis].through_transposed(
                    layer.kernel_size[axis], layer.stride[axis], layer.padding[2 * axis], layer.dilation[axis]
                )
                for axis in (0, 1)
            ]
        )
    if isinstance(layer, AdaptiveAvgPool2d):
        return FieldPair(*[_adaptive(field[axis], before[1 + axis], after[1 + axis]) for axis in (0, 1)])
    if isinstance(layer, ZeroPad2d):
        return FieldPair(*[field[axis].through(1, 1, layer.padding[2 * axis]) for axis in (0, 1)])
    return field if before[1:] == after[1:] else None


def _adaptive(field: Field, size: int, places: int) -> Field:
    """Behind windows that differ in size: the largest one, and the average jump."""
    longest = max(end - start for start, end in bins(size, places))
    stride = size / places
    first = field.through(bins(size, places)[0][1])
    return Field(
        field.through(longest).size, field.jump * (int(stride) if stride == int(stride) else stride), first.start
    )
