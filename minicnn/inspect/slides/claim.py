"""A claim of the slides, and the verdict on it: what is printed is compared with what the code computes.

Nothing here knows a verdict beforehand. A claim holds the number as the slide prints it and a function that computes it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, NamedTuple

from ...errors import MinicnnError
from . import measure

AGREES, ROUNDED, WRONG, QUOTED = "agrees", "rounded", "wrong", "quoted"
VERDICTS = (AGREES, ROUNDED, WRONG, QUOTED)
REMARK = "remark"
"""In place of a verdict: the slide does not state this, so it can be neither right nor wrong about it."""

SPOILT, CUT, OTHER = "spoilt", "cut off", "other"
KINDS = (SPOILT, CUT, OTHER)
"""What kind of wrong a line is: only the text recognition is to blame, the slide's own number is right; cut off, not
rounded; anything else."""
DIFFERS = "differs"
"""The kind of a remark whose two numbers are not the same."""

UNITS = {"K": 1000, "M": 10**6, "million": 10**6, "Million": 10**6}
"""Factors. Other words behind a number (MB, Ki, %, x) are its unit, in which the code computes too."""

NUMBER = re.compile(r"(?P<digits>-?[\d,]*\.?\d+)(?: ?x ?10\^(?P<power>\d+))?\s*(?P<unit>[A-Za-z%]*)")
SHAPE = re.compile(r"\d+(x\d+)+")


class Kibi(NamedTuple):
    """A count to compare with a number of K, where K is 1024."""

    number: int


class Formula(NamedTuple):
    """A formula that a slide prints without its value, and that value, worked out as the slide says."""

    text: str
    value: Any


class Cited(NamedTuple):
    """What a paper prints and no code can compute; shown as "the paper: ..."."""

    value: Any


class Judged(NamedTuple):
    """A verdict, a detail such as "to 35,000", and whether the number was cut off in place of rounded."""

    verdict: str
    detail: str = ""
    cut: bool = False


class Holds(NamedTuple):
    """What a statement in words comes to: whether it holds, and what was found."""

    truth: bool
    found: str


@dataclass(frozen=True)
class Claim:
    """One statement of a slide."""

    statement: str
    printed: str | tuple[str, ...] | Formula
    """What the slide prints; several numbers as a tuple. "" for a statement in words, whose function gives `Holds`."""
    compute: Callable[[], Any] | None = None
    """Gives what the code finds; None for what no code can find, such as the result of an experiment: only quoted."""
    reason: str | Callable[[], str] = ""
    """Why the slide is wrong, or what should be known; a function where it has numbers that nothing else computes."""
    example: str = ""
    """The worked example that this is, a key of `worked.EXAMPLES`; two of them with a space between."""
    erratum: str = ""
    """The entry of the list of errata that this line stands for, by the words that it quotes."""
    meant: str | tuple[str, ...] | Formula = ""
    """What the slide itself shows, where the text recognition has spoilt its text; "" where it has not."""
    ours: bool = False
    """Whether this is a remark of ours, which the slide does not say."""
    about: tuple[str, ...] = ()
    """Networks of the zoo that it is about; those that `compute` looks at need not be named."""


class Line(NamedTuple):
    """A claim after the code has run."""

    deck: str
    topic: str
    statement: str
    slide: str
    computed: str
    verdict: str
    kind: str
    """One of `KINDS` for what is wrong, `DIFFERS` for a remark that says so, else ""."""
    reason: str
    example: str
    erratum: str
    networks: tuple[str, ...]
    layers: dict[str, tuple[str, ...]]
    """The paths of the layers that the function picked out one by one, by network."""
    value: Any
    """What the function gave; None for what is quoted."""


def evaluate(deck: str, topic: str, claim: Claim) -> Line:
    """Run the claim's function and compare. A function that fails makes the line wrong, and the reason says so."""
    printed, slide = claim.printed, _text(claim.printed)
    value, computed, verdict, kind = None, "", QUOTED, ""
    with measure.looking() as looked:
        reason = recorded = claim.reason() if callable(claim.reason) else claim.reason
        if claim.compute is not None:
            try:
                value = claim.compute()
                verdict, kind, detail = _judge(claim, value)
                computed = shown(value, slide) + _unit(printed, value)
            except MinicnnError as error:
                verdict, kind, detail = WRONG, OTHER, f"not computed: {error}"
            if claim.ours:
                verdict, kind, detail = _remark(verdict, detail)
            reason = _reason(verdict, detail, recorded)
    return Line(
        deck, topic, claim.statement, slide, computed, verdict, kind, reason, claim.example, claim.erratum,
        tuple(dict.fromkeys((*claim.about, *looked))), {name: tuple(paths) for name, paths in looked.items()}, value,
    )  # fmt: skip


def _text(printed: str | tuple[str, ...] | Formula) -> str:
    if isinstance(printed, Formula):
        return printed.text
    return "; ".join(printed) if isinstance(printed, tuple) else printed


def _judge(claim: Claim, value: Any) -> tuple[str, str, str]:
    """The verdict, the kind of what is wrong and a detail. What the slide itself shows decides on the kind."""
    if claim.ours and not claim.printed:
        return REMARK, "", ""  # there is nothing to compare with
    found = judge(claim.printed, value)
    if found.verdict != WRONG:
        return found.verdict, "", found.detail
    if not claim.meant:
        return WRONG, CUT if found.cut else OTHER, found.detail
    spoilt, slide = f"spoilt by the text recognition, for {_text(claim.meant)}", judge(claim.meant, value)
    if slide.verdict != WRONG:
        return WRONG, SPOILT, spoilt
    return WRONG, CUT if slide.cut else OTHER, "; ".join(part for part in (spoilt, slide.detail) if part)


def _remark(verdict: str, detail: str) -> tuple[str, str, str]:
    """What a comparison comes to that no slide makes: it says so in its detail, and is no verdict."""
    if verdict == REMARK:
        return verdict, "", ""
    found = DIFFERS if verdict == WRONG else verdict
    return REMARK, DIFFERS if found == DIFFERS else "", f"{found} {detail}".strip()


def _reason(verdict: str, detail: str, recorded: str) -> str:
    if verdict == WRONG and not recorded:
        return detail or "no reason is recorded"
    return "; ".join(part for part in (detail, recorded) if part)


def judge(printed: str | tuple[str, ...] | Formula, value: Any) -> Judged:
    """The verdict on a printed number or text, given what was computed.

    `agrees` if equal; `rounded` if it is the computed number rounded to the nearest at the printed precision; else
    `wrong`. Of several numbers the worst counts.
    """
    if isinstance(value, Cited):
        value = value.value
    if isinstance(value, Holds):
        return Judged(AGREES if value.truth else WRONG)
    if isinstance(printed, Formula):
        return Judged(AGREES if _equal(printed.value, value) else WRONG)
    if isinstance(value, Kibi):
        value = Fraction(value.number * UNITS["K"], 1024)
    if isinstance(printed, tuple) or (isinstance(value, tuple) and not SHAPE.fullmatch(printed)):
        parts = (printed,) if isinstance(printed, str) else printed
        values = value if isinstance(value, tuple) else (value,)
        if len(parts) != len(values):
            return Judged(WRONG)
        judged = [judge(part, one) for part, one in zip(parts, values)]
        worst = max((one.verdict for one in judged), key=(AGREES, ROUNDED, WRONG).index)
        those = [one for one in judged if one.verdict == worst]
        details = dict.fromkeys(one.detail for one in those if one.detail)
        return Judged(worst, "; ".join(details), all(one.cut for one in those))
    if isinstance(value, str):
        return Judged(AGREES if _plain(printed) == _plain(value) else WRONG)
    if SHAPE.fullmatch(printed):
        return Judged(AGREES if tuple(map(int, printed.split("x"))) == value else WRONG)
    return _number(printed, value)


def _plain(text: str) -> str:
    return " ".join(text.casefold().split())


def _equal(one: Any, other: Any) -> bool:
    if isinstance(one, (tuple, list)) and isinstance(other, (tuple, list)):
        return len(one) == len(other) and all(map(_equal, one, other))
    if isinstance(one, (tuple, list)) or isinstance(other, (tuple, list)):
        return False
    if isinstance(one, float) or isinstance(other, float):
        return math.isclose(one, other, rel_tol=1e-6)
    return bool(one == other)


def _number(printed: str, value: Any) -> Judged:
    try:
        number, step, unit = parse(printed)
    except ValueError:
        return Judged(WRONG)
    exact = Fraction(value)
    if exact == number or (isinstance(value, float) and math.isclose(float(number), value, rel_tol=1e-9)):
        return Judged(AGREES)
    half_up, half_even = (exact / step + Fraction(1, 2)) // 1 * step, round(exact / step) * step
    if number in (half_up, half_even):
        return Judged(ROUNDED, f"to {printed.lstrip('~ ')}")
    if 0 < exact - number < step:
        return Judged(WRONG, f"cut off, not rounded, which gives {_short(half_up, unit)}", cut=True)
    return Judged(WRONG)


def parse(printed: str) -> tuple[Fraction, Fraction, str]:
    """A printed number, the step of its last digit that counts, and its unit: "1.3 M" gives 1,300,000, 100,000, "M".

    Zeros at the end of a whole number of five digits or more, or one with a unit, do not count beyond the second digit.
    """
    found = NUMBER.fullmatch(printed.strip().lstrip("~ "))
    if found is None:
        raise ValueError(f"{printed!r} is no number")
    digits, unit = found["digits"].replace(",", ""), found["unit"]
    factor = Fraction(UNITS.get(unit, 1)) * 10 ** int(found["power"] or 0)
    whole, _, decimals = digits.lstrip("-").partition(".")
    places = -len(decimals)
    if not decimals and (unit or len(whole) >= 5):
        places = min(len(whole) - len(whole.rstrip("0")), max(len(whole) - 2, 0))
    return Fraction(digits) * factor, Fraction(10) ** places * factor, unit


def _unit(printed: Any, value: Any) -> str:
    """The unit of the slide's number, if the computed one is in it too: " MB", "x"."""
    found = NUMBER.fullmatch(printed.lstrip("~ ")) if isinstance(printed, str) else None
    if found is None or isinstance(value, bool) or not isinstance(value, (int, float)):
        return ""
    return {"MB": " MB", "Megabytes": " MiB", "%": "%", "x": "x"}.get(found["unit"], "")


def _short(number: Fraction, unit: str) -> str:
    scaled = number / UNITS.get(unit, 1)
    if unit in UNITS:
        return f"{float(scaled):,.10g} {unit}"
    if number >= 10**8 and not unit:
        return f"{float(number) / 10**9:.10g} x 10^9"
    return f"{float(number):,.10g}"


def shown(value: Any, slide: str = "") -> str:
    """A computed value as text, in the manner of the slide: 55x55x96, 62,378,344, 54.25."""
    if isinstance(value, Cited):
        return f"the paper: {shown(value.value, slide)}"
    if isinstance(value, Holds):
        return value.found
    if isinstance(value, Kibi):
        return f"{value.number / 1024:,.1f}K"
    if isinstance(value, dict):
        return ", ".join(f"{key} {shown(part)}" for key, part in value.items() if part is not None)
    if isinstance(value, (tuple, list)):
        sizes = SHAPE.fullmatch(slide) and all(isinstance(part, int) for part in value)
        return "x".join(map(str, value)) if sizes else "; ".join(map(shown, value))
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    if isinstance(value, (float, Fraction)):
        number = float(value)
        if 0 < abs(number) < 1e-3:
            mantissa, _, power = f"{number:.3e}".partition("e")
            return f"{float(mantissa):g}e{int(power)}"
        return f"{number:,.4g}" if abs(number) < 1000 else f"{number:,.1f}"
    return str(value)
