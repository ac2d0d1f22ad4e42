"""The checked claims as text, Markdown and JSON."""

from __future__ import annotations

import collections
import dataclasses
import itertools
import json
import textwrap
from typing import Any

from .claim import AGREES, CUT, KINDS, OTHER, QUOTED, REMARK, ROUNDED, SPOILT, VERDICTS, WRONG, Line

INTRODUCTION = """\
Every worked example and every number that the five lecture decks state about architectures and arithmetic, beside what
the code computes when it runs. This page is written by `minicnn slides --format markdown`; nothing in the column
"computed" is typed, but for what stands behind "the paper:", which no code can compute."""

MEANINGS = {
    AGREES: "the numbers are equal, or the statement in words holds.",
    ROUNDED: "the slide's number is the computed one, rounded to the nearest at the precision that is printed.",
    WRONG: (
        "it is not, for the reason given. Counted apart: what only the recognition of the slides' text has spoilt, where "
        "the slide itself is right; numbers cut off in place of rounded."
    ),
    QUOTED: "an error rate, a training time, a setting, a year or the like, which no code can compute; it is not checked.",
    REMARK: "a line of ours, which is not on the slide and is not counted among its statements.",
}

LABELS = {SPOILT: "spoilt by text recognition", CUT: "cut off", OTHER: "others"}


@dataclasses.dataclass(frozen=True)
class Report:
    """Checked claims. `print(report)` shows them at 80 columns."""

    titles: dict[str, str]
    """Of the decks, by number."""
    lines: tuple[Line, ...]
    checked: int
    """How many statements of the slides were checked; `lines` may hold the wrong ones only, and has our remarks too."""

    def counts(self) -> dict[str, int]:
        """How many lines there are of each verdict; remarks have none."""
        found = collections.Counter(line.verdict for line in self.lines)
        return {verdict: found[verdict] for verdict in VERDICTS}

    def kinds(self) -> dict[str, int]:
        """How many of the wrong lines are of each kind."""
        found = collections.Counter(line.kind for line in self.lines if line.verdict == WRONG)
        return {kind: found[kind] for kind in KINDS}

    def _tally(self) -> str:
        counted = ", ".join(
            f"{count} {'agree' if verdict == AGREES and count > 1 else verdict}"
            for verdict, count in self.counts().items()
            if count
        )
        kinds = {kind: count for kind, count in self.kinds().items() if count}
        if set(kinds) - {OTHER}:
            labels = LABELS | ({OTHER: "other"} if kinds.get(OTHER) == 1 else {})
            apart = ", ".join(f"{count} {labels[kind]}" for kind, count in kinds.items())
            counted = counted.replace(WRONG, f"{WRONG} ({apart})")
        remarks = sum(line.verdict == REMARK for line in self.lines)
        count = len(self.lines) - remarks
        shown = f"{count} of {self.checked} statements" if count < self.checked else f"{count} statements"
        if remarks:
            counted += f"; beside them {remarks} remark{'s' if remarks > 1 else ''} of ours"
        return f"{shown}: {counted}" if counted else f"{self.checked} statements, none of them wrong"

    def _grouped(self) -> Any:
        return itertools.groupby(self.lines, key=lambda line: (line.deck, line.topic))

    def to_text(self, width: int = 80) -> str:
        """One statement after the other at most `width` columns wide: verdict, statement, the slide's number, ours."""
        verdict, number = 8, max((width - 8) // 4, 10)
        statement = width - verdict - 2 * number - 3
        columns = (verdict, statement, number, number)
        text = []
        for name, meaning in MEANINGS.items():
            text += textwrap.wrap(meaning, width, initial_indent=f"{name:9}", subsequent_indent=" " * 9)
        text += ["", _beside(columns, ("", "statement", "the slide", "computed"))]
        deck = ""
        for (of, topic), lines in self._grouped():
            if of != deck:
                deck = of
                text += ["", "=" * width, f"deck {deck}: {self.titles[deck]}", "=" * width]
            text += ["", topic, "-" * len(topic)]
            for line in lines:
                text.append(
                    _beside(
                        columns,
                        (line.verdict, line.statement, line.slide or f"({_no_number(line)})", line.computed or "-"),
                    )
                )
                if line.reason:
                    text += textwrap.wrap(
                        line.reason, width, initial_indent=" " * (verdict + 3), subsequent_indent=" " * (verdict + 3)
                    )
        return "\n".join([*text, "", *textwrap.wrap(self._tally(), width)])

    def to_markdown(self) -> str:
        """A page with a table for each topic."""
        text = ["# The slides, checked", "", INTRODUCTION, ""]
        for name, meaning in MEANINGS.items():
            style = _style(name) or "*"
            text += textwrap.wrap(f"- {style}{name}{style}: {meaning}", 120, subsequent_indent="  ")
        text += ["", f"{self._tally()}."]
        deck = ""
        for (of, topic), lines in self._grouped():
            if of != deck:
                deck = of
                text += ["", f"## Deck {deck}: {_escape(self.titles[deck])}"]
            text += [
                "",
                f"### {_escape(topic)}",
                "",
                "| statement | the slide | computed | verdict |",
                "| --- | ---: | ---: | --- |",
            ]
            for line in lines:
                style = _style(line.verdict)
                said = f"{style}{line.verdict}{style}" + (f": {_escape(line.reason)}" if line.reason else "")
                cells = (_escape(line.statement), _escape(line.slide) or _no_number(line), _escape(line.computed), said)
                text.append("| " + " | ".join(cells) + " |")
        return "\n".join(text)

    def to_json(self) -> str:
        """Everything as JSON."""
        content = {
            "decks": self.titles,
            "counts": self.counts(),
            "wrong": self.kinds(),
            "lines": [{key: value for key, value in line._asdict().items() if key != "value"} for line in self.lines],
        }
        return json.dumps(content, indent=1, ensure_ascii=False)

    def __str__(self) -> str:
        return self.to_text()

    __repr__ = __str__

    def _repr_markdown_(self) -> str:
        return self.to_markdown()


def _no_number(line: Line) -> str:
    """What stands in place of the slide's number."""
    return "not on the slide" if line.verdict == REMARK else "in words"


def _style(verdict: str) -> str:
    return "**" if verdict == WRONG else ""


def _escape(text: str) -> str:
    for letter in "\\|*_`<>[]~":
        text = text.replace(letter, "\\" + letter)
    return text


def _beside(widths: tuple[int, ...], cells: tuple[str, ...]) -> str:
    """Cells beside each other, each wrapped to its width."""
    wrapped = [textwrap.wrap(cell, width) or [""] for cell, width in zip(cells, widths)]
    rows = itertools.zip_longest(*wrapped, fillvalue="")
    return "\n".join(" ".join(part.ljust(width) for part, width in zip(row, widths)).rstrip() for row in rows)
