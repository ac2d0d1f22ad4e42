"""A `Summary` as Markdown, LaTeX, HTML and JSON."""

from __future__ import annotations

import html as escaping
import json
import re
from typing import TYPE_CHECKING, Any

from .table import along, count_text, gemm_text, notable_kind, notable_output, notable_parameters, shape_text, totals

if TYPE_CHECKING:
    from .fields import FieldPair
    from .summary import Row, Summary

HEAD = (
    "layer",
    "kind",
    "output",
    "size",
    "parameters",
    "MACs",
    "GEMM MxNxK",
    "neurons",
    "bytes",
    "field",
    "jump",
    "offset",
)
WORDS = 4
"""The first so many columns hold words, the others numbers."""


def _size(row: Row) -> str:
    return "; ".join(filter(None, (row.size_formula, row.size_note)))


def _cells(row: Row) -> list[str]:
    return [
        notable_kind(row), notable_output(row), _size(row), row.parameter_formula or notable_parameters(row),
        row.macs_formula or count_text(row.macs), gemm_text(row.gemm), count_text(row.neurons),
        count_text(row.activation_bytes), along(row, "size"), along(row, "jump"), along(row, "start"),
    ]  # fmt: skip


def _caption(whole: Summary) -> str:
    return f"{whole.title}, input {shape_text(whole.input_shape)}"


def _plainly(text: str) -> str:
    """The text with what Markdown, or maths within it, would take for a sign of its own escaped."""
    return re.sub(r"([\\`*_<|$])", r"\\\1", text)


def markdown(whole: Summary) -> str:
    def line(cells: list[str]) -> str:
        return "| " + " | ".join(map(_plainly, cells)) + " |"

    rule = "|" + " --- |" * WORDS + " ---: |" * (len(HEAD) - WORDS)
    rows = [line([row.path or row.name, *_cells(row)]) for row in whole.rows]
    sums = [f"- {name}: {_plainly(value)}" for name, value in totals(whole)]
    return "\n".join([f"**{_plainly(_caption(whole))}**", "", line(list(HEAD)), rule, *rows, "", *sums])


LATEX = {
    **{character: "\\" + character for character in "&%$#_{}"},
    "\\": "\\textbackslash{}", "~": "\\textasciitilde{}", "^": "\\textasciicircum{}", "<": "\\textless{}",
    ">": "\\textgreater{}", "|": "\\textbar{}", '"': "\\textquotedbl{}", "*": "$\\cdot$", "[": "{[}", "]": "{]}",
}  # fmt: skip


def _latex(text: str) -> str:
    """The text with what LaTeX would read as commands escaped, times as dots, and minus signs as such."""
    escaped = "".join(LATEX.get(character, character) for character in text)
    escaped = re.sub(r"(?<=\d)x(?=\d)", r"$\\times$", escaped)
    return re.sub(r" - (?=[\d(])", " $-$ ", re.sub(r"^-(?=\d)", "$-$", escaped))


def latex(whole: Summary) -> str:
    def line(cells: list[str]) -> str:
        return " & ".join(cells) + " \\\\"

    rows = [
        line([f"\\hspace*{{{row.depth}em}}" * bool(row.depth) + _latex(row.name), *map(_latex, _cells(row))])
        for row in whole.rows
    ]
    sums = "; ".join(f"{name}: {value}" for name, value in totals(whole))
    head = line(list(map(_latex, HEAD)))
    return "\n".join([
        "% needs \\usepackage{booktabs,longtable}, and a wide page: \\usepackage[a3paper,landscape]{geometry}",
        "\\begingroup\\scriptsize",
        f"\\begin{{longtable}}{{{'l' * WORDS}{'r' * (len(HEAD) - WORDS)}}}",
        f"\\caption{{{_latex(_caption(whole))}. {_latex(sums)}.}}\\\\",
        "\\toprule", head, "\\midrule", "\\endfirsthead", "\\toprule", head, "\\midrule", "\\endhead",
        *rows,
        "\\bottomrule", "\\end{longtable}", "\\endgroup",
    ])  # fmt: skip


# Colours are the reader's own, thinned: so the table is legible on light and on dark ground, in any notebook's theme.
STYLE = """
.minicnn-summary { overflow-x: auto; color: inherit; font-size: 13px; line-height: 1.35; }
.minicnn-summary table { border-collapse: collapse; border: none; font-variant-numeric: tabular-nums; margin: 0; }
.minicnn-summary caption { text-align: left; font-weight: 600; padding: 4px 0 8px; color: inherit; }
.minicnn-summary table th, .minicnn-summary table td { padding: 3px 7px; text-align: right; vertical-align: top;
  white-space: nowrap; border: none; border-bottom: 1px solid rgba(128, 128, 128, .25); color: inherit; }
.minicnn-summary table th { font-weight: 600; border-bottom: 2px solid rgba(128, 128, 128, .6); }
.minicnn-summary table .w { text-align: left; }
.minicnn-summary table tr.c td { font-weight: 600; background: rgba(128, 128, 128, .1); }
.minicnn-summary small { display: block; font-size: 11px; opacity: .75; font-weight: 400; }
.minicnn-summary .w small { white-space: normal; max-width: 19em; }
.minicnn-summary table td.t { text-align: left; border-bottom: none; padding-top: 8px; }
"""
PAGE_HEAD = ("layer", "kind", "output", "parameters", "MACs", "neurons", "bytes", "field", "jump", "offset")


def fragment(whole: Summary) -> str:
    """A table with its style, to stand within a page: what notebooks show."""

    def cell(main: str, *below: str, words: bool = False, attributes: str = "") -> str:
        small = "".join(f"<small>{escaping.escape(text)}</small>" for text in below if text)
        return f"<td{' class=w' if words else ''}{attributes}>{escaping.escape(main)}{small}</td>"

    def line(row: Row) -> str:
        place = f' style="padding-left: {7 + 16 * row.depth}px" title="{escaping.escape(row.path or row.name)}"'
        gemm = f"GEMM {gemm_text(row.gemm)}" if row.gemm is not None else ""
        cells = [
            cell(row.name, words=True, attributes=place),
            cell(notable_kind(row), row.arguments, words=True),
            cell(notable_output(row), row.size_formula, row.size_note, words=True),
            cell(notable_parameters(row), row.parameter_formula.rpartition(" = ")[0]),
            cell(count_text(row.macs), row.macs_formula.rpartition(" = ")[0], gemm),
            *map(cell, _cells(row)[-5:]),
        ]
        return f"<tr{'' if row.leaf else ' class=c'}>{''.join(cells)}</tr>"

    head = "".join(f"<th{' class=w' if place < 3 else ''}>{name}</th>" for place, name in enumerate(PAGE_HEAD))
    rows = "\n".join(map(line, whole.rows))
    sums = "<br>".join(escaping.escape(f"{name}: {value}") for name, value in totals(whole))
    return (
        f'<div class="minicnn-summary"><style>{STYLE}</style>\n<table>\n<caption>{escaping.escape(_caption(whole))}'
        f"</caption>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{rows}\n</tbody>\n"
        f'<tfoot><tr><td class=t colspan="{len(PAGE_HEAD)}">{sums}</td></tr></tfoot>\n</table></div>'
    )


def page(whole: Summary) -> str:
    """A whole page around `fragment`."""
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="color-scheme" content="light dark">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escaping.escape(whole.title)}</title>\n</head>\n"
        f'<body style="font-family: system-ui, sans-serif; margin: 1.5em">\n{fragment(whole)}\n</body>\n</html>'
    )


def json_text(whole: Summary) -> str:
    content = {
        "title": whole.title,
        "input_shape": whole.input_shape,
        "output_shape": whole.output_shape,
        "total_parameters": whole.total_parameters,
        "parameter_bytes": whole.parameter_bytes,
        "total_macs": whole.total_macs,
        "total_neurons": whole.total_neurons,
        "activation_bytes": whole.activation_bytes,
        "largest_activation": whole.largest_activation._asdict(),
        "rows": [_plain(row) for row in whole.rows],
    }
    return json.dumps(content, indent=1)


def _plain(row: Row) -> dict[str, Any]:
    return {
        **vars(row),
        "gemm": None if row.gemm is None else {**row.gemm._asdict(), "macs": row.gemm.macs},
        "window": None if row.window is None else row.window._asdict(),
        "field": _plain_field(row.field),
    }


def _plain_field(field: FieldPair | None) -> Any:
    return None if field is None else {name: axis._asdict() for name, axis in field._asdict().items()}
