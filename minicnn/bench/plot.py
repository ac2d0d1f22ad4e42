"""The roofline: what products and convolutions reach, beside what memory and multiply-adds allow."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from ..data.files import extra
from ..errors import check
from ..inspect.plots import figure_format
from .measure import median

SERIES = {  # the colours of Okabe and Ito, and shapes, so that nobody depends on colour
    ("minicnn", "highest"): ("#0072B2", "o", "minicnn"),
    ("minicnn", "high"): ("#009E73", "s", "minicnn, high"),
    ("minicnn", "medium"): ("#CC79A7", "^", "minicnn, medium"),
    ("torch", "highest"): ("#E69F00", "x", "PyTorch"),
}
COMPUTE = {
    "fma_f32": "float32 multiply-adds",
    "bf16": "bfloat16 dot products",
    "amx": "AMX bfloat16",
    "tf32": "TF32 products of cuBLAS",
}

SHOWN = ("gemm", "convs", "kernels")
NOTHING = "bench: nothing to plot: the roofline shows gemm, convs and kernels: measure one of them"


def check_plot(path: Path, parts: tuple[str, ...]) -> None:
    """Refuse, before anything is measured, what `roofline` could not draw or save. Raises ArgumentError."""
    figure_format(path, "bench")
    check(set(parts) & set(SHOWN), NOTHING)


def roofline(result: dict[str, Any]) -> Any:
    """GFLOP/s over operations for each byte, of every row that has both. Raises ArgumentError where there is none."""
    limits = result["limits"]
    rows = [row for row in result["rows"] if row.get("flops") and row.get("bytes") and "failed" not in row]
    check(rows, NOTHING)
    figure = extra("matplotlib.figure", "plotting").Figure(figsize=(11, 6.6), layout="constrained")
    extra("matplotlib.backends.backend_agg", "plotting").FigureCanvasAgg(figure)
    axes = figure.subplots()
    for (who, level), (colour, marker, label) in SERIES.items():
        points = [
            _point(row, who) for row in rows if row["precision"] == level and (who == "minicnn" or row["best_torch"])
        ]
        if points:
            x, y = zip(*points)
            edge = {"linewidths": 1.5} if marker == "x" else {"linewidths": 0.5, "edgecolors": "white"}
            axes.scatter(x, y, s=46, marker=marker, color=colour, alpha=0.75, label=label, zorder=3, **edge)
    intensity = [row["flops"] / row["bytes"] for row in rows]
    ridge = limits["fma_f32"] / limits["copy"] if "copy" in limits and "fma_f32" in limits else min(intensity)
    ends = min(*intensity, ridge / 4) / 1.5, max(*intensity, ridge) * 1.5
    for name, words in COMPUTE.items():
        if name in limits:
            if "copy" in limits:
                along = np.geomspace(ends[0], ends[1], 200)
                axes.plot(
                    along, np.minimum(along * limits["copy"], limits[name]), color="black", linewidth=1.8, zorder=2
                )
            axes.annotate(
                f"{words}: {limits[name]:,.0f} GFLOP/s", (ends[1], limits[name]), (0, 5), textcoords="offset points",
                ha="right", va="bottom", fontsize=12, bbox={"facecolor": "white", "edgecolor": "none", "pad": 1, "alpha": 0.8},
            )  # fmt: skip
    if "copy" in limits and "fma_f32" in limits:
        at = ends[0] * 1.2  # left of most points, and below the line: above it is the legend
        axes.annotate(
            f"memory: {limits['copy']:.0f} GB/s", (at, at * limits["copy"]), (8, -4), textcoords="offset points",
            ha="left", va="top", fontsize=12, bbox={"facecolor": "white", "edgecolor": "none", "pad": 1, "alpha": 0.8},
        )  # fmt: skip
    axes.set(xscale="log", yscale="log", xlim=ends)
    axes.set_xlabel("operations for each byte that must be read or written", fontsize=13)
    axes.set_ylabel("GFLOP/s", fontsize=13)
    axes.tick_params(labelsize=12)
    locator = extra("matplotlib.ticker", "plotting").LogLocator
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(locator(subs=(1, 2, 5)))
        axis.set_major_formatter("{x:g}")
    axes.minorticks_off()
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(fontsize=12, frameon=False, loc="upper left")
    here = result["machine"]
    figure.suptitle(f"{here['processor']}, {here['isa']}, {here['threads']} threads", fontsize=14)
    return figure


def _point(row: dict[str, Any], who: str) -> tuple[float, float]:
    seconds = row["seconds"] if who == "minicnn" else median(row["times"][row["best_torch"]])
    return row["flops"] / row["bytes"], row["flops"] / seconds / 1e9
