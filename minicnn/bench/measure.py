"""How a time is taken: candidates take turns, so that a disturbance hits all alike, and medians are compared."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

ROUNDS = 7
BITS = {"highest": 24, "high": 16, "medium": 8}
"""Significant bits that a level of precision keeps of every factor."""
FEWEST = 3
"""Rounds, however long they take."""
REST = 0.005
"""Seconds before a turn: the threads of another library wait a while for more work before they sleep, and take a core."""
BLAS_REST = 0.1
"""Seconds after a turn of NumPy's BLAS, whose threads wait longer: with 0.005 the next product took twice its time."""
LONG = 0.1
"""A call of so many seconds needs no other to warm up."""


class Clock:
    """The CPU's."""

    def mark(self) -> Any:
        """This moment."""
        return time.perf_counter()

    def between(self, start: Any, end: Any) -> float:
        """Seconds from one mark to another."""
        return float(end - start)

    def seconds(self, call: Callable[[], Any], repeats: int = 1) -> float:
        """How long one of `repeats` calls takes."""
        start = self.mark()
        for _ in range(repeats):
            call()
        return self.between(start, self.mark()) / repeats


def take_turns(
    calls: Mapping[str, Callable[[], Any]], rounds: int = ROUNDS, least: float = 0.1, budget: float = math.inf,
    clock: Clock | None = None,
) -> dict[str, list[float]]:  # fmt: skip
    """Seconds that one call takes, for each candidate `rounds` times. A turn repeats a call for `least` seconds.

    Before every turn the candidate runs once unmeasured: it warms its caches and wakes its own threads; and before that all
    rest, longer after the candidate "numpy". budget: seconds of all turns after which there are no more rounds, if there were
    `FEWEST`. clock: by default the CPU's.
    """
    clock = clock or Clock()
    repeats: dict[str, int] = {}
    took: dict[str, float] = {}
    times: dict[str, list[float]] = {name: [] for name in calls}
    for name, call in calls.items():
        call()
        took[name] = clock.seconds(call)
        repeats[name] = max(1, round(least / max(took[name], 1e-9)))
    *_, before = "", *calls
    spent = 0.0
    for done in range(rounds):
        if done >= FEWEST and spent * (done + 1) / done > budget:
            break
        for name, call in calls.items():
            time.sleep(BLAS_REST if before == "numpy" else REST)
            start = time.perf_counter()
            if took[name] < LONG:
                call()
            times[name].append(clock.seconds(call, repeats[name]))
            spent += time.perf_counter() - start
            before = name
    return times


def median(times: list[float]) -> float:
    return statistics.median(times)


def spread(times: list[float]) -> tuple[float, float]:
    """The quartiles of the times: where the middle half of them lies."""
    low, high = np.percentile(times, [25, 75])
    return float(low), float(high)


def relative_error(result: np.ndarray, exact: np.ndarray) -> float:
    """The Frobenius norm of the difference, over that of the exact one (float64)."""
    size, part = exact.size, 2**20  # in parts that stay in the cache
    flat, true = result.reshape(-1), exact.reshape(-1)
    off = sum(_square(flat[i : i + part] - true[i : i + part]) for i in range(0, size, part))
    scale = sum(_square(true[i : i + part]) for i in range(0, size, part))
    return float(np.sqrt(off / scale)) if scale else float(np.sqrt(off))


def in_a_row(terms: float) -> float:
    """The error of a float32 sum whose terms, of random signs, are added one after the other, as a thread of a GPU does.

    After k of n terms the sum is about sqrt(k) and its rounding, even in +-2**-24 of it, has the variance k * 2**-48 / 3.
    """
    return 2.0**-24 * math.sqrt(terms / 6)


def _square(x: np.ndarray) -> float:
    return float(x @ x)
