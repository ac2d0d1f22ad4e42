"""A `Summary` as text, Markdown, LaTeX, HTML and JSON."""

from __future__ import annotations

import dataclasses
import html as escaping
import json
from typing import TYPE_CHECKING

from ..geometry import Shape

if TYPE_CHECKING:
    from .summary import Row, Summary

HEAD = ("layer", "kind", "output", "parameters", "MACs", "field")
LONG = (
    "layer", "kind", "size formula", "output", "parameter formula", "parameters", "MACs", "activation bytes",
    "receptive field",
)  # fmt: skip


def shape_text(shape: Shape) -> str:
    """96x55x55; a dash for no shape."""
    return "x".join(map(str, shape)) or "-"


def megabytes(count: int) -> str:
    """Bytes as MiB: 58.1 MiB."""
    return f"{count / 2**20:.1f} MiB" if count >= 2**20 else f"{count / 2**10:.1f} KiB"


def _number(value: int | None) -> str:
    return f"{value:,}" if value else ""


def _cells(row: Row) -> tuple[str, ...]:
    parameters = _number(row.parameters) or (row.note if row.note else "")
    return (
        "  " * row.depth + row.name, row.kind, shape_text(row.output_shape), parameters, _number(row.macs),
        _number(row.receptive_field),
    )  # fmt: skip


def _totals(whole: Summary) -> list[tuple[str, str]]:
    return [
        ("parameters", f"{whole.total_parameters:,} ({megabytes(4 * whole.total_parameters)} as float32)"),
        ("multiply-adds", f"{whole.total_macs:,} for one input"),
        (
            "activations",
            f"{whole.activation_bytes:,} bytes ({megabytes(whole.activation_bytes)}) for one input, as float32",
        ),
    ]


def text(whole: Summary, width: int, formulas: bool) -> str:
    table = [HEAD, *map(_cells, whole.rows)]
    widths = [max(len(line[column]) for line in table) for column in range(len(HEAD))]
    # What is too wide is taken from the names; counts are never cut.
    for column in (0, 1):
        spare = width - (sum(widths) + 2 * (len(widths) - 1))
        if spare < 0:
            widths[column] = max(widths[column] + spare, 8)
    lines = [
        f"{whole.title}: input {shape_text(whole.input_shape)}",
        "",
        _line(HEAD, widths),
        "-" * min(width, _span(widths)),
    ]
    for row, cells in zip(whole.rows, table[1:]):
        lines.append(_line(cells, widths))
        if formulas:
            lines += _below(row, width)
    lines += ["-" * min(width, _span(widths)), *(f"{name:<14}{value}" for name, value in _totals(whole))]
    return "\n".join(lines)


def _below(row: Row, width: int) -> list[str]:
    """The arithmetic, on one line if it fits, else on one line each."""
    parts = [
        part for part in (row.size_formula, row.parameter_formula and f"{row.parameter_formula} parameters") if part
    ]
    start = "  " * row.depth + "    "
    together = start + "    ".join(parts)
    return [] if not parts else [together] if len(together) <= width else [start + part for part in parts]


def _span(widths: list[int]) -> int:
    return sum(widths) + 2 * (len(widths) - 1)


def _line(cells: tuple[str, ...], widths: list[int]) -> str:
    """Names to the left, numbers to the right; a name that does not fit loses its end."""
    shown = []
    for column, (cell, width) in enumerate(zip(cells, widths)):
        cell = cell if len(cell) <= width else cell[: width - 1] + "~"
        shown.append(cell.ljust(width) if column < 3 else cell.rjust(width))
    return "  ".join(shown).rstrip()


def _long(row: Row) -> tuple[str, ...]:
    formula = row.parameter_formula.rpartition(" = ")[0] or row.note
    return (
        row.path or row.name, row.kind, row.size_formula, shape_text(row.output_shape), formula, _number(row.parameters),
        _number(row.macs), _number(row.activation_bytes), _number(row.receptive_field),
    )  # fmt: skip


def markdown(whole: Summary) -> str:
    def line(cells: tuple[str, ...]) -> str:
        return "| " + " | ".join(cell.replace("|", "\\|").replace("*", "\\*") for cell in cells) + " |"

    rule = "|" + "|".join([" --- "] * 5 + [" ---: "] * 4) + "|"
    rows = [line(_long(row)) for row in whole.rows]
    totals = [f"- {name}: {value}" for name, value in _totals(whole)]
    title = f"**{whole.title}**, input {shape_text(whole.input_shape)}"
    return "\n".join([title, "", line(LONG), rule, *rows, "", *totals])


def latex(whole: Summary) -> str:
    special = {c: "\\" + c for c in "&%$#_{}"} | {
        "\\": "\\textbackslash{}",
        "~": "\\textasciitilde{}",
        "^": "\\textasciicircum{}",
    }

    def line(cells: tuple[str, ...]) -> str:
        return " & ".join("".join(special.get(c, c) for c in cell).replace("*", "$\\cdot$") for cell in cells) + " \\\\"

    rows = [line(_long(row)) for row in whole.rows]
    totals = [f"% {name}: {value}" for name, value in _totals(whole)]
    head = [f"% {whole.title}, input {shape_text(whole.input_shape)}", "\\begin{tabular}{lllllrrrr}", "\\toprule"]
    return "\n".join([*head, line(LONG), "\\midrule", *rows, "\\bottomrule", "\\end{tabular}", *totals])


def html(whole: Summary) -> str:
    def line(cells: tuple[str, ...], tag: str) -> str:
        styled = [
            f'<{tag} style="text-align:{"left" if column < 5 else "right"}">{escaping.escape(cell)}</{tag}>'
            for column, cell in enumerate(cells)
        ]
        return f"<tr>{''.join(styled)}</tr>"

    rows = "\n".join(line(_long(row), "td") for row in whole.rows)
    totals = "<br>".join(escaping.escape(f"{name}: {value}") for name, value in _totals(whole))
    title = escaping.escape(f"{whole.title}, input {shape_text(whole.input_shape)}")
    return (
        f"<table>\n<caption>{title}</caption>\n<thead>{line(LONG, 'th')}</thead>\n<tbody>\n{rows}\n</tbody>\n"
        f'<tfoot><tr><td colspan="{len(LONG)}" style="text-align:left">{totals}</td></tr></tfoot>\n</table>'
    )


def json_text(whole: Summary) -> str:
    content = {
        "title": whole.title,
        "input_shape": whole.input_shape,
        "total_parameters": whole.total_parameters,
        "total_macs": whole.total_macs,
        "total_neurons": whole.total_neurons,
        "activation_bytes": whole.activation_bytes,
        "rows": [dataclasses.asdict(row) for row in whole.rows],
    }
    return json.dumps(content, indent=1)
