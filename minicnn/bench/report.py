"""The results as text: a table for each part, at most 80 columns wide, and geometric means."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import Any

from ..backends.cuda_convolution import WAYS
from .device import TF32
from .measure import median

Rows = list[dict[str, Any]]


def finish(row: dict[str, Any], limits: dict[str, float]) -> dict[str, Any]:
    """The row with what follows from its times: seconds, GFLOP/s, share of the limit, speed against PyTorch."""
    if "failed" in row:
        return row | dict.fromkeys(
            ("seconds", "gflops", "gbytes", "share", "limit", "best_torch", "ratio", "ratio_tf32")
        )
    seconds = median(row["times"]["minicnn"])
    others = {who: median(times) for who, times in row["times"].items() if who.startswith("torch")}
    tf32 = others.pop(TF32, None)
    row["seconds"] = seconds
    row["gflops"] = row["flops"] / seconds / 1e9 if row.get("flops") else None
    row["gbytes"] = row["bytes"] / seconds / 1e9 if row.get("bytes") else None
    row["share"], row["limit"] = share(row, limits)
    row["best_torch"] = min(others, key=lambda who: others[who], default=None)
    row["ratio"] = others[row["best_torch"]] / seconds if others else None
    row["ratio_tf32"] = tf32 / seconds if tf32 else None
    return row


def share(row: dict[str, Any], limits: dict[str, float]) -> tuple[float | None, str | None]:
    """How much of the limit that it would meet first a row reaches, and which one that is."""
    times = {}
    if row.get("flops") and "fma_f32" in limits:
        times["fma_f32"] = row["flops"] / limits["fma_f32"] / 1e9
    if row.get("bytes") and "copy" in limits:
        times["copy"] = row["bytes"] / limits["copy"] / 1e9
    if not times:
        return None, None
    first = max(times, key=lambda name: times[name])
    return times[first] / row["seconds"], first


KINDS = ("convs", "calls", "steps")
"""The parts that have kinds of rows, with a mean for each."""


def geometric_means(rows: Rows) -> dict[str, float]:
    """Of the speeds against PyTorch, by part, kind and precision."""
    groups: dict[str, list[float]] = {}
    for key, against in (("ratio", ""), ("ratio_tf32", " against TF32")):
        for row in rows:
            if row.get(key) is not None:
                kind = [row["what"]] if row["part"] in KINDS and row["what"] else []
                groups.setdefault(" ".join([row["part"], *kind, row["precision"]]) + against, []).append(row[key])
    return {name: math.exp(sum(map(math.log, ratios)) / len(ratios)) for name, ratios in groups.items()}


def heading(facts: dict[str, Any]) -> Iterator[str]:
    """Machine and versions."""
    none = "no PyTorch with CUDA: no ratios" if facts["backend"] == "cuda" else "no PyTorch: no ratios"
    torch = f"PyTorch {facts['torch']}" if facts["torch"] else none
    yield f"minicnn {facts['minicnn']}" + (f" ({facts['commit']})" if facts["commit"] else "") + f", {facts['date']}"
    yield f"{facts['processor']}, {facts['system']}, {facts['threads']} threads"
    yield f"{facts['backend']} backend, {facts['isa'] or '-'}, {facts['compiler'] or '-'}, NumPy {facts['numpy']}, {torch}"


def limit_lines(limits: dict[str, float]) -> Iterator[str]:
    for name, value in limits.items():
        unit = "GB/s" if name in ("read", "copy") else "GFLOP/s"
        yield f"limit {name:<12}{value:8.0f} {unit}"


NAMES = {"steps": 24}
NAME = 43
"""Columns for the name of a row: of a step, of others."""


def head(part: str, device: str = "cpu") -> str:
    line = (
        f"{part:<{_width(part, device) + 5}}{'us' if part == 'calls' else 'ms':>8}{'GF/s':>6}{'limit':>6}{'ratio':>6}"
    )
    line += f"{'tf32':>6}{'error':>6}" if device == "cuda" else f"{'error':>6}"
    faults = "" if device == "cuda" else f"{'faults':>7}"
    return line + (f"{'MiB':>6}{'torch':>6}{faults}" if part == "steps" else "")


def _width(part: str, device: str) -> int:
    """Columns for a row's name: on a GPU there is a ratio more."""
    return NAMES.get(part, NAME if device == "cpu" else NAME - 6)


def line(row: dict[str, Any], device: str = "cpu") -> str:
    """One row: time, rate, share of the limit, how many times as fast as PyTorch, error; of steps peak memory and PyTorch's,
    and page faults once the loop runs steadily. On a GPU the speed against TF32 too, and how convolutions are computed."""
    if "failed" in row:
        return f"{label(row)} {LEVELS[row['precision']]} FAILED, not timed:\n  {row['failed']}"
    width, ms = _width(row["part"], device), row["seconds"] * (1e6 if row["part"] == "calls" else 1e3)
    cells = [
        f"{label(row)[:width]:<{width}}",
        f"{LEVELS[row['precision']]:>5}",
        f"{ms:8.{digits(ms)}f}",
        f"{row['gflops']:6.0f}" if row["gflops"] else f"{'':>6}",
        f"{row['share']:6.0%}" if row["share"] is not None else f"{'':>6}",
        _ratio(row["ratio"]),
        *([_ratio(row["ratio_tf32"])] if device == "cuda" else []),
        f"{row['error']['minicnn']:6.0e}" if row.get("error") else f"{'':>6}",
    ]
    if row["part"] == "steps":
        cells += [f"{mib:6.0f}" for mib in row["memory"].values()]
        if "faults" in row:
            cells.append(f"{'':>{6 * (2 - len(row['memory']))}}{row['faults']['minicnn']:7.0f}")
    return "".join(cells).rstrip() + _ways(row)


def _ratio(value: float | None) -> str:
    return f"{value:6.2f}" if value is not None else f"{'':>6}"


def _ways(row: dict[str, Any]) -> str:
    """A line with the way that a GPU computes a convolution, and the times of the others."""
    if "way" not in row:
        return ""
    times = {who.removeprefix("minicnn "): median(times) for who, times in row["times"].items()}
    others = [f"{way} takes {times[way] * 1e3:.{digits(times[way] * 1e3)}f} ms" for way in WAYS if way in times]
    return f"\n  {', '.join([row['way'], *others])}"


LEVELS = {"highest": "", "high": "high", "medium": "med."}
LEGEND = (
    "limit: share of what the machine could do, multiply-adds or memory, whichever\n"
    "binds; ratio: times PyTorch's speed; error: relative, against float64"
)


def legend(device: str) -> str:
    """What the columns mean."""
    return LEGEND + (
        "\ntf32: times PyTorch's speed where it may use TF32, which is less precise" if device == "cuda" else ""
    )


def label(row: dict[str, Any]) -> str:
    name = f"{row['name']} {row['batch']}" if row["part"] == "steps" else row["name"]
    return f"{name} {row['what']}".rstrip()


def digits(value: float) -> int:
    """So many behind the point that four or so digits show."""
    return 4 if value < 0.1 else 3 if value < 1 else 2 if value < 10 else 1


def mean_lines(means: dict[str, float]) -> Iterable[str]:
    return [f"geometric mean, {name}: {value:.2f} times PyTorch's speed" for name, value in means.items()]
