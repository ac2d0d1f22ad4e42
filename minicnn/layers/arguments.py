"""The arguments of layers and networks: whole numbers, checked, and as a layer's `repr` shows them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .. import geometry
from ..errors import check

DEEPEST = 10_000
"""Most layers or blocks of one kind in a network. Larger is a slip, or a file that means harm: building takes time."""


def count(value: Any, name: str, least: int = 1, most: int = geometry.LONGEST) -> int:
    """A checked whole number for argument `name`. most: `DEEPEST`, where it counts layers. Raises ArgumentError."""
    good = geometry.is_integer(value)
    check(good and value >= least, f"{name} is {value!r}: it must be an integer of at least {least}")
    check(value <= most, f"{name} is {value}: it must be at most {most}")
    return int(value)


def counts(values: Any, name: str, length: int | None = None, most: int | None = None) -> tuple[int, ...]:
    """Checked whole numbers of at least 1 for argument `name`, `length` of them, or any number but none.

    most: what they may add up to: `DEEPEST`, where they count layers. Raises ArgumentError.
    """
    several = f"{length} integers" if length else "a list of integers"
    check(
        isinstance(values, (tuple, list)) and len(values) == (length or max(len(values), 1)),
        f"{name} is {values!r}: it must be {several}, each at least 1",
    )
    check(len(values) <= DEEPEST, f"{name} holds {len(values)} integers: it may hold at most {DEEPEST}")
    checked = tuple([count(value, f"{name}[{place}]") for place, value in enumerate(values)])
    check(most is None or sum(checked) <= most, f"{name} adds up to {sum(checked)}: it must be at most {most}")
    return checked


def compact(values: Sequence[int]) -> str:
    """A pair or four sides as short as they can be written: 3, (3, 1), (0, 1, 0, 1)."""
    if len(set(values)) == 1:
        return str(values[0])
    if len(values) == 4 and values[0] == values[1] and values[2] == values[3]:
        return str((values[0], values[2]))
    return str(tuple(values))
