"""A `Summary` for the terminal.

The table is laid out here and not by rich, which only colours it: the arithmetic stands on lines of its own below its
row, across the columns, and thousands of rows take milliseconds.
"""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

from ..geometry import Gemm, Shape

if TYPE_CHECKING:
    from .summary import Row, Summary

WIDTH = 80


def shape_text(shape: Shape) -> str:
    """96x55x55; a dash for no shape."""
    return "x".join(map(str, shape)) or "-"


def megabytes(count: int) -> str:
    """Bytes as megabytes of 10**6: 60.95 MB; below one as kilobytes of 10**3."""
    return f"{count / 1e6:,.2f} MB" if count >= 10**6 else f"{count / 1e3:.1f} kB"


def count_text(value: float | None) -> str:
    """34,944; nothing for 0 and None."""
    return f"{value:,}" if value else ""


def pixels(value: float) -> str:
    """A size or a place in the input as short as it can be: 11, 5.5, 1.33."""
    return f"{value:.0f}" if value == int(value) else f"{value:.2f}".rstrip("0")


def along(row: Row, what: str) -> str:
    """The field's `size`, `jump` or `start`: one number where both axes agree, else vertical x horizontal."""
    if row.field is None:
        return ""
    return "x".join(dict.fromkeys(pixels(getattr(axis, what)) for axis in row.field))


def window_text(row: Row) -> str:
    """The window and its stride: 3x3/2."""
    if row.window is None:
        return ""
    (R, S), stride = row.window.size, row.window.stride
    step = "" if stride == (1, 1) else f"/{stride[0]}" if stride[0] == stride[1] else f"/{stride[0]}x{stride[1]}"
    return f"{R}x{S}{step}"


def gemm_text(gemm: Gemm | None) -> str:
    """M x N x K: 96x3025x363; before it how many, for several groups."""
    if gemm is None:
        return ""
    return (f"{gemm.groups} of " if gemm.groups > 1 else "") + f"{gemm.M}x{gemm.N}x{gemm.K}"


def notable_output(row: Row) -> str:
    """The output's shape, or that there is none."""
    return row.note if row.note == "not called" else shape_text(row.output_shape)


def notable_parameters(row: Row) -> str:
    """How many, or that they were counted before."""
    return count_text(row.parameters) or (row.note if row.note == "shared" else "")


def notable_kind(row: Row) -> str:
    """The kind of layer; of a folded container also how many layers are inside."""
    return f"{row.kind}, {row.note}" if row.note.endswith(("layer", "layers")) else row.kind


def totals(whole: Summary) -> list[tuple[str, str]]:
    """What stands below the table: names and what they come to."""
    largest = whole.largest_activation
    return [
        ("parameters", f"{whole.total_parameters:,} = {megabytes(whole.parameter_bytes)} as float32"),
        ("multiply-adds", f"{whole.total_macs:,} for one input"),
        ("neurons", f"{whole.total_neurons:,}"),
        (
            "activations",
            f"{whole.activation_bytes:,} bytes = {megabytes(whole.activation_bytes)} for one input, as float32",
        ),
        ("largest", f"{largest.bytes:,} bytes: {largest.path}, {shape_text(largest.shape)}"),
        ("field", "pixels an output sees; jump: to the next; offset: the first's"),
    ]


class _Column(NamedTuple):
    head: str
    cell: Callable[[Row], str]
    right: bool = True
    wanted: int = 0
    """0 for a column that is always there, else its turn when there is room."""


COLUMNS = (
    _Column("layer", lambda row: "  " * row.depth + row.name, False),
    _Column("kind", notable_kind, False),
    _Column("window", window_text, False, 2),
    _Column("output", notable_output, False),
    _Column("parameters", notable_parameters),
    _Column("MACs", lambda row: count_text(row.macs)),
    _Column("GEMM MxNxK", lambda row: gemm_text(row.gemm), True, 6),
    _Column("neurons", lambda row: count_text(row.neurons), True, 5),
    _Column("bytes", lambda row: count_text(row.activation_bytes), True, 1),
    _Column("field", lambda row: along(row, "size")),
    _Column("jump", lambda row: along(row, "jump"), True, 3),
    _Column("offset", lambda row: along(row, "start"), True, 4),
)
GAP, KIND, NAME = 2, 11, 12
"""Columns between cells; what kinds and names are left at least. A longer name stands on a line of its own."""

Line = tuple[str, str]
"""A line and what it is: title, head, rule, container, layer, formula, total."""

STYLES = {"title": "bold", "head": "bold", "rule": "dim", "container": "bold", "formula": "cyan"}


def text(whole: Summary, width: int, formulas: bool) -> str:
    """The table as plain text."""
    return "\n".join(line for line, _ in _lines(whole, width, formulas))


def show(whole: Summary, width: int | None, formulas: bool) -> None:
    """Print it: in colour, and as wide as it is, in a terminal; plain elsewhere."""
    if sys.stdout is None or not sys.stdout.isatty():  # None: it was closed
        print(text(whole, WIDTH if width is None else width, formulas))
        return
    from rich.console import Console
    from rich.segment import Segments

    console = Console(width=width)
    console.print(Segments(segments(whole, console.width, formulas)), end="", soft_wrap=True)


def segments(whole: Summary, width: int, formulas: bool) -> Iterator[Any]:
    """The lines as rich takes them."""
    from rich.segment import Segment
    from rich.style import Style

    styles = {name: Style.parse(style) for name, style in STYLES.items()}
    for line, kind in _lines(whole, width, formulas):
        yield Segment(line, styles.get(kind))
        yield Segment.line()


def _lines(whole: Summary, width: int, formulas: bool) -> Iterator[Line]:
    chosen, widths = _layout(whole, width)
    rule = "-" * _span(widths)
    yield f"{whole.title}: input {shape_text(whole.input_shape)}", "title"
    yield "", ""
    yield _line([column.head for column in chosen], chosen, widths), "head"
    yield rule, "rule"
    shown = {column.head for column in chosen}
    for row in whole.rows:
        cells = [column.cell(row) for column in chosen]
        kind = "layer" if row.leaf else "container"
        if len(cells[0]) > widths[0]:
            yield cells[0], kind
            cells[0] = ""
        yield _line(cells, chosen, widths), kind
        if formulas:
            for line in _below(row, shown, max(width, WIDTH // 2)):
                yield line, "formula"
    yield rule, "rule"
    for name, value in totals(whole):
        yield f"{name:<16}{value}", "total"


def _layout(whole: Summary, width: int) -> tuple[list[_Column], list[int]]:
    """The columns that there is room for, and how wide they are."""
    wide = {column.head: max([len(column.head), *[len(column.cell(row)) for row in whole.rows]]) for column in COLUMNS}
    heads = {column.head for column in COLUMNS if not column.wanted}
    for column in sorted((column for column in COLUMNS if column.wanted), key=lambda column: column.wanted):
        if _span([wide[head] for head in (*heads, column.head)]) <= width:
            heads.add(column.head)
    chosen = [column for column in COLUMNS if column.head in heads]
    widths = [wide[column.head] for column in chosen]
    for place, least in ((1, KIND), (0, NAME)):  # counts are never cut
        widths[place] = min(widths[place], max(widths[place] - (_span(widths) - width), least))
    return chosen, widths


def _span(widths: list[int]) -> int:
    return sum(widths) + GAP * (len(widths) - 1)


def _line(cells: list[str], columns: list[_Column], widths: list[int]) -> str:
    """Names to the left, numbers to the right; a kind that does not fit loses its end."""
    shown = []
    for cell, column, width in zip(cells, columns, widths):
        cell = cell if len(cell) <= width else cell[: width - 1] + "~"
        shown.append(cell.rjust(width) if column.right else cell.ljust(width))
    return (" " * GAP).join(shown).rstrip()


def _below(row: Row, shown: set[str], width: int) -> Iterator[str]:
    """The arithmetic, and what has no column, in as few lines as it fits."""
    parts = [
        row.size_formula,
        row.size_note,
        row.parameter_formula and f"{row.parameter_formula} parameters",
        row.macs_formula and f"{row.macs_formula} MACs",
    ]
    if "GEMM MxNxK" not in shown and row.gemm is not None and row.gemm.M > 1:  # not a matrix times a vector
        parts.append(f"GEMM (MxNxK) {gemm_text(row.gemm)}")
    more = {"neurons": f"{row.neurons:,} neurons" if row.neurons else ""}
    more["bytes"] = f"{row.activation_bytes:,} bytes" if row.activation_bytes else ""
    if row.window is not None and row.field is not None:
        more |= {"jump": f"jump {along(row, 'jump')}", "offset": f"offset {along(row, 'start')}"}
    parts.append(", ".join(said for head, said in more.items() if said and head not in shown))
    start = "  " * row.depth + "    "
    room = max(width - len(start), 24)
    line = ""
    for part in [piece for text in parts if text for piece in textwrap.wrap(text, room)]:
        if line and len(line) + len(part) + 4 > room:
            yield start + line
            line = ""
        line += "    " * bool(line) + part
    if line:
        yield start + line
