"""Receptive fields: what part of the input each number of a layer's output sees, followed through a `Trace`."""

from __future__ import annotations

from typing import NamedTuple

from ..geometry import Field
from ..layers import Linear, Trace
from ..layers.tracing import Record


class FieldPair(NamedTuple):
    """The receptive field along both axes, in input pixels."""

    vertical: Field
    horizontal: Field


class _Seen(NamedTuple):
    field: FieldPair
    extent: tuple[int, int]
    """The map that the fields tile, remembered through Flatten."""


def fields(trace: Trace) -> list[FieldPair | None]:
    """The receptive field of every record; for a container that of its last layer. None where the input is no map.

    Where branches meet, the widest counts. What a layer without a window does (ReLU, a layer of one's own) counts as
    element by element.
    """
    if len(trace.input_shape) != 3:
        return [None] * len(trace.records)
    start = _Seen(FieldPair(Field(), Field()), (trace.input_shape[1], trace.input_shape[2]))
    seen: dict[int, _Seen] = {-1: start}
    result: list[FieldPair | None] = [None] * len(trace.records)
    for record in trace.records:
        if record.leaf:
            seen[record.index] = _through(
                record, _widest([seen[source] for source in record.sources if source in seen] or [start])
            )
            result[record.index] = seen[record.index].field
    for record in reversed(trace.records):  # children stand behind their parents
        if record.parent >= 0 and result[record.parent] is None:
            result[record.parent] = result[record.index]
    return result


def _widest(several: list[_Seen]) -> _Seen:
    first = several[0]
    if len(several) == 1:
        return first
    axes = [max((one.field[axis] for one in several), key=lambda field: field.size) for axis in (0, 1)]
    return _Seen(FieldPair(axes[0], axes[1]), first.extent)


def _through(record: Record, seen: _Seen) -> _Seen:
    field, extent = seen.field, seen.extent
    window = record.layer.window(record.input) if len(record.input) == 3 else None
    if window is not None:
        top, _, left, _ = window.padding
        field = FieldPair(
            field.vertical.through(window.size[0], window.stride[0], top, window.dilation[0]),
            field.horizontal.through(window.size[1], window.stride[1], left, window.dilation[1]),
        )
    elif isinstance(record.layer, Linear) and len(record.output) == 1:
        field, extent = FieldPair(field.vertical.through(extent[0]), field.horizontal.through(extent[1])), (1, 1)
    if len(record.output) == 3:
        extent = (record.output[1], record.output[2])
    return _Seen(field, extent)
