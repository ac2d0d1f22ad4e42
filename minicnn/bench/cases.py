"""One kernel at one shape: checked, then timed beside what NumPy and PyTorch have for it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .. import backends
from ..backends.reference import Reference
from . import machine
from .measure import BITS, relative_error, take_turns

NUMPY = Reference(np)
PLAIN = 1.5
"""How many times the error of plain float32 `highest` may have."""
TOLERANCE = 2e-5
"""For kernels whose reference is the NumPy backend's float32: of the largest result."""
TURN = 0.03
"""Seconds that a turn takes at least."""
BUDGET = 1.5
"""Seconds for the turns of a case, all candidates together."""

rng = np.random.default_rng(0)


def normal(*shape: int) -> np.ndarray:
    return rng.standard_normal(shape, np.float32)


@dataclass
class Case:
    """`call(backend)` computes into `out`; each of `others` gives the same numbers, by the name of who computes them."""

    part: str
    name: str
    what: str
    flops: float
    bytes: float
    """Read and written at the least."""
    call: Callable[[Any], None]
    out: np.ndarray
    others: dict[str, Callable[[], Any]] = field(default_factory=dict)
    exact: Callable[[], np.ndarray] | None = None
    """The float64 result, for the kernels that compute at a precision; without it the NumPy backend is the reference."""


def measure(case: Case, rounds: int, levels: list[str]) -> list[dict[str, Any]]:
    """A row for each precision; one whose result is wrong is not timed: it says why in `failed`."""
    ours = backends.get(backends.current())
    levels = levels if case.exact else ["highest"]
    failed: dict[str, str] = {}
    errors = _exact_errors(case, ours, levels, failed) if case.exact else _compared(case, ours, failed)

    def at_level(level: str) -> Callable[[], None]:
        def run() -> None:
            with backends.use_precision(level):
                case.call(ours)

        return run

    calls: dict[str, Callable[[], Any]] = {
        f"minicnn {level}": at_level(level) for level in levels if level not in failed
    }
    times = take_turns(calls | case.others, rounds, TURN, BUDGET) if calls else {}
    return [
        {
            "part": case.part, "name": case.name, "what": case.what, "precision": level,
            "flops": case.flops, "bytes": case.bytes, "error": errors[level],
            **({"failed": failed[level]} if level in failed else
               {"times": {"minicnn": times[f"minicnn {level}"], **{who: times[who] for who in case.others}}}),
        }
        for level in levels
    ]  # fmt: skip


def _exact_errors(case: Case, ours: Any, levels: list[str], failed: dict[str, str]) -> dict[str, dict[str, float]]:
    """The relative errors against float64, by precision and who computed; none may be larger than `bound`."""
    assert case.exact is not None
    exact = case.exact()
    plain = {who: relative_error(np.asarray(call()), exact) for who, call in case.others.items()}
    if not plain:
        case.call(NUMPY)
        plain = {"numpy": relative_error(case.out, exact)}
    found = {}
    for level in levels:
        case.out.fill(np.nan)
        with backends.use_precision(level):
            case.call(ours)
        error = relative_error(case.out, exact)
        _allow(failed, level, level, error, bound(level, max(plain.values())))
        found[level] = {"minicnn": error, **plain}
    return found


def bound(level: str, plain: float) -> float:
    """The largest relative error that is right at a precision, where plain float32 has the error `plain`."""
    rounding = 2.0 ** -BITS[level]  # of a factor; that of a sum of products is of its size, as the signs are random
    return PLAIN * max(plain, rounding) if level == "highest" else PLAIN * (plain + 2 * rounding)


def _compared(case: Case, ours: Any, failed: dict[str, str]) -> dict[str, dict[str, float]]:
    """The largest difference from the NumPy backend, relative to the largest result; likewise the others'."""
    case.call(NUMPY)
    expected = case.out.astype(np.float64)
    scale = np.abs(expected).max(initial=1e-6)
    case.call(ours)
    results = {"minicnn": case.out, **{who: np.asarray(call()) for who, call in case.others.items()}}
    errors = {who: float(np.abs(result - expected).max(initial=0) / scale) for who, result in results.items()}
    for who, error in errors.items():
        _allow(failed, "highest", who, error, TOLERANCE)
    return {"highest": errors}


def _allow(failed: dict[str, str], level: str, who: str, error: float, most: float) -> None:
    if not error <= most:
        failed[level] = f"the result of {who} is off by {error:.2g}: at most {most:.2g} is right"


def tensor(x: np.ndarray) -> Any:
    return machine.torch().from_numpy(x)
