"""Two results beside each other: what got slower or faster by more than the noise that the files themselves show."""

from __future__ import annotations

import math
from typing import Any

from . import report
from .measure import median, spread

SAME = ("processor", "isa", "threads", "backend")
"""What must be the same in both for times to be comparable."""


def compare(old: dict[str, Any], new: dict[str, Any]) -> tuple[list[str], list[str]]:
    """Lines that say what changed, and the names of what got slower or fails its check now.

    A row got slower where the middle halves of its times do not overlap: the quarter of the new times that is fastest
    ends above where the slowest quarter of the old begins. What PyTorch's own times rose by is the machine's doing and
    is taken off first.
    """
    lines = []
    for key in SAME:
        if old["machine"][key] != new["machine"][key]:
            lines.append(f"{key} differs: {old['machine'][key]}, now {new['machine'][key]}: times do not compare well")
    before, after = ({_key(row): row for row in result["rows"] if "failed" not in row} for result in (old, new))
    both = [key for key in after if key in before]
    drift = _drift([(before[key], after[key]) for key in both])
    if drift is not None:
        lines.append(f"PyTorch itself took {drift:.2f} times as long; more than 1 is taken off")
    slower, faster = [], []
    for key in both:
        was, now = before[key]["times"]["minicnn"], after[key]["times"]["minicnn"]
        ratio = median(now) / median(was) / max(drift or 1.0, 1.0)
        if spread(now)[0] > spread(was)[1] * max(drift or 1.0, 1.0):
            slower.append((ratio, key, was, now))
        elif spread(now)[1] < spread(was)[0]:
            faster.append((ratio, key, was, now))
    for word, found in (("slower", sorted(slower, reverse=True)), ("faster", sorted(faster))):
        lines.append(f"{word}: {len(found)} of {len(both)} rows" + ":" * bool(found))
        lines += [
            f"  {key:<44}{median(was) * 1e3:9.3f} -> {median(now) * 1e3:9.3f} ms  x{r:.2f}"
            for r, key, was, now in found
        ]
    for word, keys in (
        ("only in the old file", before.keys() - after.keys()),
        ("only in the new file", after.keys() - before.keys()),
    ):
        if keys:
            lines.append(f"{word}: {len(keys)} rows")
    broken = [_key(row) for row in new["rows"] if "failed" in row and _key(row) in before]
    if broken:
        lines += [f"fails its check now: {len(broken)} rows:", *(f"  {key}" for key in broken)]
    return lines, [key for _, key, _, _ in slower] + broken


def _key(row: dict[str, Any]) -> str:
    return " ".join([row["part"], report.label(row), report.LEVELS[row["precision"]]]).strip()


def _drift(pairs: list[tuple[dict[str, Any], dict[str, Any]]]) -> float | None:
    """By what factor PyTorch's times changed, as a geometric mean; None without PyTorch."""
    logs = [
        math.log(median(now["times"][who]) / median(was["times"][who]))
        for was, now in pairs
        for who in now["times"]
        if who.startswith("torch") and who in was["times"]
    ]
    return math.exp(sum(logs) / len(logs)) if logs else None
