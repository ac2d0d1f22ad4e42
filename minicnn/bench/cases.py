"""One kernel at one shape: checked, then timed beside what NumPy and PyTorch have for it."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np

from .. import backends, geometry
from ..backends import cuda_convolution
from .device import CPU, TF32, Cuda, Device
from .measure import BITS, in_a_row, relative_error

Call = Callable[[], Any]
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
    """A kernel and what it is called with, as NumPy's arrays: `measure` moves them to the device."""

    part: str
    name: str
    what: str
    flops: float
    bytes: float
    """Read and written at the least."""
    kernel: str
    given: tuple[Any, ...]
    out: np.ndarray
    """The one of `given` that is checked."""
    theirs: Callable[..., Any] | None = None
    """The same in PyTorch, of PyTorch and `operands` as its tensors."""
    operands: tuple[np.ndarray, ...] = ()
    others: dict[str, Call] = field(default_factory=dict)
    """Who else gives the same numbers on the CPU."""
    exact: bool = False
    """The kernel computes at a precision, and float64 is the reference; else it is array code in float32."""
    convolution: geometry.Conv2d | None = None


def measure(case: Case, rounds: int, levels: list[str], on: Device = CPU) -> list[dict[str, Any]]:
    """A row for each precision; one whose result is wrong is not timed: it says why in `failed`.

    Of a convolution on a GPU `way` is how it is computed, and the first row has the times of the other ways too.
    """
    levels = levels if case.exact else ["highest"]
    moved = {id(x): on.array(x) for x in case.given if isinstance(x, np.ndarray)}
    given, out = [moved.get(id(x), x) for x in case.given], moved[id(case.out)]
    compute = partial(getattr(on.kernels, case.kernel), *given)
    chosen, ways = _ways(case, on)
    ours = {level: {"minicnn": _at(level, compute)} for level in levels}
    ours[levels[0]] |= {f"minicnn {way}": _by(way, _at(levels[0], compute)) for way in ways}
    others = _others(case, on)
    check = _exact_errors if case.exact else _compared
    errors, failed = check(case, given, out, ours, others, on)
    calls = {f"{who} at {level}": call for level in levels if level not in failed for who, call in ours[level].items()}
    times = on.take_turns(calls | others, rounds, TURN, BUDGET) if calls else {}
    return [
        {
            "part": case.part, "name": case.name, "what": case.what, "precision": level,
            "flops": case.flops, "bytes": case.bytes, "error": errors[level], **({"way": chosen} if chosen else {}),
            **({"failed": failed[level]} if level in failed else
               {"times": {**{who: times[f"{who} at {level}"] for who in ours[level]}, **{who: times[who] for who in others}}}),
        }
        for level in levels
    ]  # fmt: skip


Errors = tuple[dict[str, dict[str, float]], dict[str, str]]
"""By precision: the errors by who computed, and why it failed if it did."""


def _exact_errors(
    case: Case, given: list[Any], out: Any, ours: dict[str, dict[str, Call]], others: dict[str, Call], on: Device
) -> Errors:
    """The relative errors against float64; of ours none may be larger than `bound`."""
    exact = _exact(case, given, out, on)
    plain = {who: relative_error(on.result(call()), exact) for who, call in others.items() if who != TF32}
    if not plain:
        getattr(on.reference, case.kernel)(*given)
        plain = {"numpy": relative_error(out, exact)}
    most = max(plain.values()) if on is CPU else max(*plain.values(), in_a_row(case.flops / 2 / case.out.size))
    errors: dict[str, dict[str, float]] = {}
    failed: dict[str, str] = {}
    for level, calls in ours.items():
        errors[level] = plain.copy()
        for who, call in calls.items():
            out.fill(np.nan)
            call()
            errors[level][who] = relative_error(out, exact)
            _allow(failed, level, who, errors[level][who], bound(level, most))
    return errors, failed


def _exact(case: Case, given: list[Any], out: Any, on: Device) -> Any:
    """The result in float64: PyTorch's of convolutions, whose array code is slow, or that of array code."""
    if case.convolution and case.theirs and on.torch():
        return on.result(case.theirs(on.torch(), *[on.tensor(x).double() for x in case.operands]))
    wide = {id(x): x.astype(np.float64) for x in given if hasattr(x, "astype") and x is not out}
    wide[id(out)] = on.array(np.empty(out.shape))
    getattr(on.reference, case.kernel)(*[wide.get(id(x), x) for x in given])
    return wide[id(out)]


def bound(level: str, plain: float) -> float:
    """The largest relative error that is right at a precision, where plain float32 has the error `plain`."""
    rounding = 2.0 ** -BITS[level]  # of a factor; that of a sum of products is of its size, as the signs are random
    return PLAIN * max(plain, rounding) if level == "highest" else PLAIN * (plain + 2 * rounding)


def _compared(
    case: Case, given: list[Any], out: Any, ours: dict[str, dict[str, Call]], others: dict[str, Call], on: Device
) -> Errors:
    """The largest difference from the array code, relative to the largest result; likewise the others'."""
    ((level, calls),) = ours.items()
    getattr(on.reference, case.kernel)(*given)
    expected = out.astype(np.float64)
    scale = max(float(abs(expected).max()), 1e-6)
    errors: dict[str, float] = {}
    failed: dict[str, str] = {}
    for who, call in (calls | others).items():
        result = call()
        errors[who] = float(abs((out if who in calls else on.result(result)) - expected).max()) / scale
        _allow(failed, level, who, errors[who], TOLERANCE)
    return {level: errors}, failed


def _allow(failed: dict[str, str], level: str, who: str, error: float, most: float) -> None:
    if not error <= most:
        failed[level] = f"the result of {who} is off by {error:.2g}: at most {most:.2g} is right"


def _at(level: str, compute: Call) -> Call:
    def run() -> None:
        with backends.use_precision(level):
            compute()

    return run


def _ways(case: Case, on: Device) -> tuple[str | None, list[str]]:
    """How a GPU computes a convolution, and how it also could; the naive way only where it is the one."""
    if case.convolution is None or on is CPU:
        return None, []
    chosen = cuda_convolution.way(case.convolution, case.kernel)
    return chosen, [way for way in cuda_convolution.WAYS[1:] if way != chosen]


def _by(way: str, compute: Call) -> Call:
    def run() -> None:
        before = os.environ.get(cuda_convolution.WISH)
        os.environ[cuda_convolution.WISH] = way
        try:
            compute()
        finally:
            if before is None:
                del os.environ[cuda_convolution.WISH]
            else:
                os.environ[cuda_convolution.WISH] = before

    return run


def _others(case: Case, on: Device) -> dict[str, Call]:
    """PyTorch: of convolutions in both layouts, on a GPU with TF32 too; and on the CPU the case's own."""
    others: dict[str, Call] = dict(case.others) if on is CPU else {}
    torch = on.torch()
    if not (torch and case.theirs):
        return others
    tensors = [on.tensor(x) for x in case.operands]
    others["torch"] = partial(case.theirs, torch, *tensors)
    if case.convolution:
        tensors = [x.to(memory_format=torch.channels_last) for x in tensors]
        others["torch channels_last"] = partial(case.theirs, torch, *tensors)
    if isinstance(on, Cuda) and case.exact:
        others[TF32] = on.with_tf32(partial(case.theirs, torch, *tensors))
    return others
