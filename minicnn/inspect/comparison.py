"""`compare`: networks, modules or layers side by side."""

from __future__ import annotations

import dataclasses
import json
import math
import textwrap
from collections.abc import Callable, Sequence
from typing import Any

from .. import models
from ..errors import ArgumentError, check, short
from ..geometry import Shape
from ..layers import Layer, trace
from ..layers.tracing import printable
from . import modules
from .expression import layer_from
from .summary import Row, Summary, summary
from .table import shape_text

Thing = str | Layer | tuple[str, Layer]


def depth(model: Layer, input_shape: Shape) -> int:
    """The convolutions and linear layers on the longest way through the model: 16 for VGG-16, 50 for ResNet-50.

    Projections on shortcuts and short branches do not count: they lie beside a longer way. A separable convolution
    counts twice. input_shape: (C, H, W).
    """
    deepest = {-1: 0}
    for record in trace(model, input_shape).leaves:
        before = max((deepest[source] for source in record.sources if source in deepest), default=0)
        deepest[record.index] = before + bool(record.layer.macs(record.input, record.output))
    return max(deepest.values())


@dataclasses.dataclass(frozen=True)
class Entry:
    """What is compared of one network, module or layer. Counts are for one input."""

    name: str
    title: str
    input_shape: Shape
    """(C, H, W)"""
    output_shape: Shape
    parameters: int
    weights: int
    """Parameters without biases and without the scales and shifts of norms."""
    macs: int
    """Multiply-adds of convolutions and linear layers."""
    neurons: int
    """Outputs of convolutions and linear layers."""
    activation_bytes: int
    depth: int
    """Convolutions and linear layers on the longest way through."""
    field: int | None
    """The receptive field of the last map, in input pixels (the larger side): what convolutions and pools see, without
    global pools and linear layers, which see everything. None where there is no map, or its field is not known."""
    year: int | None
    paper: str


QUANTITIES: tuple[tuple[str, Callable[[Entry], Any]], ...] = (
    ("input", lambda e: shape_text(e.input_shape)),
    ("output", lambda e: shape_text(e.output_shape)),
    ("parameters", lambda e: e.parameters),
    ("weights alone", lambda e: e.weights),
    ("multiply-adds", lambda e: e.macs),
    ("neurons", lambda e: e.neurons),
    ("activation bytes", lambda e: e.activation_bytes),
    ("weight layers", lambda e: e.depth),
    ("receptive field", lambda e: e.field),
    ("year", lambda e: None if e.year is None else str(e.year)),
)
RATIOS = ("parameters", "weights alone", "multiply-adds", "activation bytes")
"""Quantities that are also given as multiples of the first column's."""
FIELD_NOTE = "receptive field: of the last map; global pools and linear layers see it all"


@dataclasses.dataclass(frozen=True)
class Comparison:
    """Entries side by side. `print(comparison)` shows a table of 80 columns."""

    entries: tuple[Entry, ...]

    def _table(self, entries: Sequence[Entry]) -> list[list[str]]:
        first = self.entries[0]
        rows = [["", *[entry.name for entry in entries]]]
        for name, value in QUANTITIES:
            cells = [value(entry) for entry in entries]
            if all(cell is None for cell in cells):
                continue
            rows.append([name, *["-" if cell is None else _number(cell) for cell in cells]])
            if name in RATIOS and value(first):
                rows.append(["  / the first", *[_ratio(cell / value(first)) for cell in cells]])
        return rows

    def to_text(self, width: int = 80) -> str:
        """A plain table at most `width` columns wide; what does not fit beside each other comes below."""
        blocks, start = [], 0
        whole = self._table(self.entries)
        widths = [max(len(row[column]) for row in whole) for column in range(len(whole[0]))]
        while start < len(self.entries):
            stop, used = start, widths[0]
            while stop < len(self.entries) and (stop == start or used + 2 + widths[stop + 1] <= width):
                used += 2 + widths[stop + 1]
                stop += 1
            table, chosen = self._table(self.entries[start:stop]), [widths[0], *widths[start + 1 : stop + 1]]
            lines = [
                "  ".join([row[0].ljust(chosen[0]), *[cell.rjust(w) for cell, w in zip(row[1:], chosen[1:])]]).rstrip()
                for row in table
            ]
            lines.insert(1, "-" * min(used, width))
            blocks.append("\n".join(lines))
            start = stop
        return "\n\n".join([*blocks, "\n".join(self._legend(width))])

    @property
    def _has_fields(self) -> bool:
        return any(entry.field is not None for entry in self.entries)

    def _legend(self, width: int) -> list[str]:
        lines = textwrap.wrap(FIELD_NOTE, width, subsequent_indent="    ") if self._has_fields else []
        for entry in self.entries:
            text = ": ".join(part for part in (entry.name, entry.title, entry.paper) if part)
            if text != entry.name:
                lines += textwrap.wrap(text, width, subsequent_indent="    ")
        return lines

    def to_markdown(self) -> str:
        """A Markdown table and what the columns are."""
        rows = self._table(self.entries)
        lines = ["| " + " | ".join(_escape(cell) for cell in row) + " |" for row in rows]
        lines.insert(1, "| --- |" + " ---: |" * len(self.entries))
        notes = [f"- {FIELD_NOTE}"] if self._has_fields else []
        notes += [
            "- " + _escape(": ".join(part for part in (entry.name, entry.title, entry.paper) if part))
            for entry in self.entries
            if entry.title or entry.paper
        ]
        return "\n".join([*lines, *(["", *notes] if notes else [])])

    def to_json(self) -> str:
        """Everything as JSON: a list of entries."""
        return json.dumps([dataclasses.asdict(entry) for entry in self.entries], indent=1)

    def __str__(self) -> str:
        return self.to_text()

    __repr__ = __str__

    def _repr_markdown_(self) -> str:
        return self.to_markdown()


def _number(cell: Any) -> str:
    return f"{cell:,}" if isinstance(cell, int) else str(cell)


def _ratio(value: float) -> str:
    return f"{value:.3g}" if value < 1000 else f"{value:,.0f}"


def _escape(text: str) -> str:
    return text.replace("|", "\\|").replace("*", "\\*").replace("_", "\\_")


def compare(*things: Thing, input_shape: Shape | None = None, channels: int | None = None) -> Comparison:
    """Set networks, modules or layers side by side: parameters, multiply-adds, neurons, memory, depth, receptive field.

    things: names of the zoo ("alexnet"), of modules ("two_3x3") or of comparisons ("5x5"; `modules.COMPARISONS`), layers
        written out ("Conv2d(3, 8, 5)"), Layers, or (title, Layer) pairs. Two at least.
    input_shape: (C, H, W) of one input, for all of them; networks and modules know theirs, layers do not.
    channels: C of the modules, which else is the lectures'.
    Everything runs on the meta device, in milliseconds. Raises ArgumentError and ShapeError.
    """
    check(
        channels is None or (isinstance(channels, int) and channels >= 1),
        f"compare: channels is {channels!r}: it must be an integer of at least 1",
    )
    spread: list[Thing] = []
    for thing in things:
        spread += modules.expand([thing]) if isinstance(thing, str) else [thing]
    check(
        len(spread) >= 2,
        f"compare: there {'is nothing' if not spread else f'is only {short(repr(things[0]))}'} to compare: give two networks, modules "
        f"or layers, or one of the comparisons {', '.join(modules.COMPARISONS)}",
    )
    if channels is not None:
        check(
            any(thing in modules.MODULES for thing in spread if isinstance(thing, str)),
            f"compare: channels is {channels}: it is the C of modules, and there is none here: leave it out",
        )
    return Comparison(tuple([_entry(thing, input_shape, channels) for thing in spread]))


def _entry(thing: Thing, input_shape: Shape | None, channels: int | None) -> Entry:
    year, paper, title, shape = None, "", "", None
    if isinstance(thing, str) and thing in modules.MODULES:
        name, (model, shape) = thing, modules.build(thing, channels)
        title = modules.MODULES[thing].title + f", C = {shape[0]}"
    elif isinstance(thing, str) and "(" in thing:
        name, model = thing, layer_from(thing)
    elif isinstance(thing, str):
        known = models.names(all=True)
        aliases = [alias for one in known for alias in models.info(one).aliases]
        if thing not in known and thing not in aliases:
            raise modules.unknown(thing, [*known, *aliases])
        facts = models.info(thing)
        name, model = thing, models.create(thing, device="meta")
        year, paper, shape = facts.year, facts.paper, facts.input_shape
    elif isinstance(thing, tuple) and len(thing) == 2 and isinstance(thing[0], str) and isinstance(thing[1], Layer):
        name, model = thing
    elif isinstance(thing, Layer):
        model = thing
        name = model.recipe.name if model.recipe is not None else type(model).__name__
    else:
        raise ArgumentError(f"compare: {thing!r}: it must be a name, a Layer or a (title, Layer) pair")
    if shape is None and model.recipe is not None:
        shape = model.recipe.input_shape
    shape = input_shape if input_shape is not None else shape
    if shape is None:
        raise ArgumentError(
            f"compare: {short(name)} does not know its input: give input_shape (--input), such as (3, 32, 32)"
        )
    return _measured(name, title, model, summary(model, shape), year, paper)


def _measured(name: str, title: str, model: Layer, whole: Summary, year: int | None, paper: str) -> Entry:
    maps = [row for row in whole.rows if row.leaf and _is_map(row)]
    return Entry(
        name=printable(name),
        title=title,
        input_shape=whole.input_shape,
        output_shape=whole.output_shape,
        parameters=whole.total_parameters,
        weights=sum(math.prod(p.shape) for p in model.parameters() if len(p.shape) > 1),
        macs=whole.total_macs,
        neurons=whole.total_neurons,
        activation_bytes=whole.activation_bytes,
        depth=depth(model, whole.input_shape),
        field=maps[-1].receptive_field if maps else None,
        year=year,
        paper=paper,
    )


def _is_map(row: Row) -> bool:
    """Whether a unit of this layer's output may see less than everything: not so behind a global pool."""
    if len(row.input_shape) != 3 or len(row.output_shape) != 3:
        return False
    if row.output_shape[1:] != (1, 1):
        return True
    return row.macs > 0 and row.input_shape[1:] != (1, 1)
