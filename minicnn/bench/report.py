"""The results as text: a table for each part, at most 80 columns wide, and geometric means."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import Any

from .measure import median

Rows = list[dict[str, Any]]


def finish(row: dict[str, Any], limits: dict[str, float]) -> dict[str, Any]:
    """The row with what follows from its times: seconds, GFLOP/s, share of the limit, speed against PyTorch."""
    seconds = median(row["times"]["minicnn"])
    others = {who: median(times) for who, times in row["times"].items() if who.startswith("torch")}
    row["seconds"] = seconds
    row["gflops"] = row["flops"] / seconds / 1e9 if row.get("flops") else None
    row["gbytes"] = row["bytes"] / seconds / 1e9 if row.get("bytes") else None
    row["share"], row["limit"] = share(row, limits)
    row["best_torch"] = min(others, key=lambda who: others[who], default=None)
    row["ratio"] = others[row["best_torch"]] / seconds if others else None
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


def geometric_means(rows: Rows) -> dict[str, float]:
    """Of the speeds against PyTorch, by part, kind and precision."""
    groups: dict[str, list[float]] = {}
    for row in rows:
        if row["ratio"] is not None:
            groups.setdefault(f"{row['part']} {row['what']} {row['precision']}", []).append(row["ratio"])
    return {name: math.exp(sum(map(math.log, ratios)) / len(ratios)) for name, ratios in groups.items()}


def heading(facts: dict[str, Any]) -> Iterator[str]:
    """Machine and versions."""
    torch = f"PyTorch {facts['torch']}" if facts["torch"] else "no PyTorch: no ratios"
    yield f"minicnn {facts['minicnn']}" + (f" ({facts['commit']})" if facts["commit"] else "") + f", {facts['date']}"
    yield f"{facts['processor']}, {facts['system']}, {facts['threads']} threads"
    yield f"{facts['backend']} backend, {facts['isa'] or '-'}, {facts['compiler'] or '-'}, NumPy {facts['numpy']}, {torch}"


def limit_lines(limits: dict[str, float]) -> Iterator[str]:
    for name, value in limits.items():
        unit = "GB/s" if name in ("read", "copy") else "GFLOP/s"
        yield f"limit {name:<12}{value:8.0f} {unit}"


NAME = 30
"""Columns for the name of a row."""


def head(part: str) -> str:
    line = f"{part:<{NAME}}{'ms':>9}{'GFLOP/s':>8}{'limit':>6}{'/torch':>7}{'error':>7}"
    return line + (f"{'MiB':>6}{'torch':>7}" if part == "steps" else "")


def line(row: dict[str, Any]) -> str:
    """One row: time, rate, share of the limit, how many times as fast as PyTorch, error, peak memory and PyTorch's."""
    cells = [
        f"{label(row)[:NAME]:<{NAME}}",
        f"{row['seconds'] * 1e3:9.{digits(row['seconds'] * 1e3)}f}",
        f"{row['gflops']:8.0f}" if row["gflops"] else f"{'-':>8}",
        f"{row['share']:6.0%}" if row["share"] is not None else f"{'-':>6}",
        f"{row['ratio']:7.2f}" if row["ratio"] is not None else f"{'':>7}",
        f"{row['error']['minicnn']:7.0e}" if row.get("error") else f"{'':>7}",
    ]
    if row["part"] == "steps":
        cells.append(f"{row['memory']['minicnn']:6.0f}")
        cells.append(f"{row['memory'][row['best_torch']]:7.0f}" if row["best_torch"] else "")
    return "".join(cells).rstrip()


def label(row: dict[str, Any]) -> str:
    name = f"{row['name']} ({row['batch']})" if row["part"] == "steps" else row["name"]
    return " ".join(filter(None, [name, row["what"], row["precision"] if row["precision"] != "highest" else ""]))


def digits(value: float) -> int:
    """So many behind the point that four or so digits show."""
    return 4 if value < 0.1 else 3 if value < 1 else 2 if value < 10 else 1


def mean_lines(means: dict[str, float]) -> Iterable[str]:
    return [f"geometric mean, {name}: {value:.2f} times PyTorch's speed" for name, value in means.items()]
