"""Plots with matplotlib: published errors beside counted costs, the ImageNet winners, where memory and parameters are.

Each returns a Figure, made with the object interface (no window, no global state); `save_figure` writes it.
"""

from __future__ import annotations

import math
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple

from .. import models
from ..data.files import extra
from ..errors import check
from ..geometry import Shape
from ..io.files import replacing
from ..layers import Layer
from . import published
from .comparison import depth as depth_of
from .diagrams import heading
from .summary import Row, summary

FORMATS = (".png", ".svg", ".pdf")
DECKS = {"000": "#d95f02", "001": "#7570b3", "002": "#1f77b4", "003": "#1b9e77", "004": "#c2378c"}
MARKERS = {published.CROP: "o", published.SCALE: "s", "10 crops": "D", published.UNSTATED: "^", published.PLAIN: "o"}
METRICS = {"top-1": "top1", "top-5": "top5"}
MOST = 40
"""How many bars fit beside each other."""


def blank(width: float, height: float) -> Any:
    """An empty figure of so many inches, which notebooks show by themselves, as they do not for figures without pyplot."""
    figure = extra("matplotlib.figure", "plotting").Figure(figsize=(width, height), layout="constrained")
    extra("matplotlib.backends.backend_agg", "plotting").FigureCanvasAgg(figure)
    figure._repr_png_ = partial(_png, figure)
    return figure


def _png(figure: Any) -> bytes:
    file = BytesIO()
    figure.savefig(file, format="png", metadata={"Software": None})
    return file.getvalue()


def figure_format(path: str | Path, what: str) -> str:
    """The ending of a figure's file, one of FORMATS. what: who asks, for the message. Raises ArgumentError for another."""
    suffix = Path(path).suffix.lower()
    check(suffix in FORMATS, f"{what}: the file is {str(path)!r}: its name must end in one of {', '.join(FORMATS)}")
    return suffix


def save_figure(figure: Any, path: str | Path) -> None:
    """Write a figure as .png, .svg or .pdf, whole or not at all. Raises ArgumentError, CheckpointError."""
    suffix = figure_format(path, "save_figure")
    matplotlib = extra("matplotlib", "plotting")
    # Nothing of the day or of chance gets into the file.
    metadata = {".png": {"Software": None}, ".svg": {"Date": None}, ".pdf": {"CreationDate": None}}[suffix]
    with replacing(path) as part, matplotlib.rc_context({"svg.hashsalt": "minicnn"}):
        figure.savefig(part, format=suffix[1:], dpi=120, metadata=metadata)


def plot_errors(data: str = "imagenet") -> Any:
    """Multiply-adds against error; the area of a point is the number of parameters.

    data: "imagenet" (top-1 and top-5 error, of one network at one scale of the picture) or "cifar10".
    The errors are those that the decks state (`published`); multiply-adds and parameters are counted. Colours tell the
    deck, shapes how it was measured: only equal shapes may be compared. Raises ArgumentError, DataError.
    """
    check(data in ("imagenet", "cifar10"), f"plot_errors: data is {data!r}: it must be imagenet or cifar10")
    if data == "imagenet":
        figure = blank(13, 6.4)
        shown = [(f"{word} error, %", published.compared(metric), metric) for word, metric in METRICS.items()]
    else:
        figure = blank(7, 5.4)
        shown = [("error without augmentation, %", published.CIFAR10, "top1")]
    panels: list[tuple[Any, list[_Dot], Any]] = []
    for axes, (word, results, metric) in zip(figure.subplots(1, len(shown), squeeze=False)[0], shown):
        dots, unit = [], 2.5e5 if data == "imagenet" else 2.5e3
        for result in results:
            info = models.info(result.network)
            dot = _Dot(result.network, info.macs / 1e9, getattr(result, metric), info.parameters / unit + 6)
            axes.scatter(
                [dot.x], [dot.y], s=dot.area, marker=MARKERS[result.protocol], color=DECKS[result.deck], alpha=0.55,
                linewidths=0.8, edgecolors="black", gid=dot.name,
            )  # fmt: skip
            dots.append(dot)
        axes.set_xscale("log")
        axes.set_xlabel("multiply-adds for one image, billions (counted)")
        axes.set_ylabel(f"{word} (the decks')")
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
        axes.margins(0.09)
        axes.xaxis.set_major_formatter("{x:g}")
        axes.xaxis.set_major_locator(extra("matplotlib.ticker", "plotting").LogLocator(subs=(1, 2, 5)))
        axes.minorticks_off()
        sizes = {millions: millions * 1e6 / unit + 6 for millions in ((10, 100) if data == "imagenet" else (1,))}
        legend = _keys(axes, {r.deck for r in results}, {r.protocol for r in results}, {} if panels else sizes)
        panels.append((axes, dots, legend))
    name = {"imagenet": "ImageNet", "cifar10": "CIFAR-10"}[data]
    figure.suptitle(f"{name}: error against work; the larger a point, the more parameters", fontsize=13)
    figure.canvas.draw()  # now everything is in its place
    for axes, dots, legend in panels:
        _label(axes, dots, legend)
    return figure


class _Dot(NamedTuple):
    name: str
    x: float
    y: float
    area: float
    """In square points."""


def _keys(axes: Any, decks: set[str], protocols: set[str], sizes: dict[int, float]) -> Any:
    """A legend of the decks, the protocols that occur, and how large so many million parameters are drawn."""
    line = extra("matplotlib.lines", "plotting").Line2D
    keys = [line([], [], linestyle="", alpha=0.7, marker="o", color=DECKS[d], label=f"deck {d}") for d in sorted(decks)]
    for protocol, marker in MARKERS.items():
        if protocol in protocols:
            keys.append(line([], [], linestyle="", alpha=0.7, marker=marker, color="#777777", label=protocol))
    for millions, area in sizes.items():
        label = f"{millions} million parameters"
        key = {"marker": "o", "markersize": area**0.5, "markerfacecolor": "none", "color": "#777777", "label": label}
        keys.append(line([], [], linestyle="", **key))
    return axes.legend(handles=keys, fontsize=8, frameon=False, loc="lower left", labelspacing=0.7)


def _label(axes: Any, dots: list[_Dot], legend: Any) -> None:
    """Names beside the points, each where it covers the least of what is there already."""
    inside, backwards = axes.get_window_extent(), axes.transData.inverted()
    at = axes.transData.transform([(dot.x, dot.y) for dot in dots]).tolist()
    radii = [dot.area**0.5 / 2 * axes.figure.dpi / 72 for dot in dots]
    taken = [(x - r, y - r, x + r, y + r) for (x, y), r in zip(at, radii)] + [legend.get_window_extent().extents]
    for dot, (x, y), radius in sorted(zip(dots, at, radii), key=lambda each: each[1][1]):
        note = axes.text(dot.x, dot.y, dot.name, fontsize=8)
        box = note.get_window_extent()
        note.remove()

        def area(choice: tuple[float, int, int]) -> tuple[float, float, float, float]:
            far, across, up = choice
            left = x + across * (radius + far) - box.width * (1 - across) / 2  # noqa: B023
            low = y + up * (radius + far) - box.height * (1 - up) / 2  # noqa: B023
            return left, low, left + box.width, low + box.height  # noqa: B023

        def cost(choice: tuple[float, int, int]) -> float:
            place = area(choice)
            out = max(inside.x0 - place[0], 0) + max(place[2] - inside.x1, 0)
            return sum(_common(place, other) for other in taken) + 1e3 * out + 6 * choice[0]

        ways = [(1, 0), (-1, 0), (0, 1), (0, -1), (1, 1), (1, -1), (-1, 1), (-1, -1)]
        best = min([(far, *way) for far in (3.0, 14.0, 28.0, 44.0) for way in ways], key=cost)
        place = area(best)
        taken.append(place)
        arrow = {"arrowstyle": "-", "color": "#999999", "linewidth": 0.6, "shrinkB": 2} if best[0] > 3 else None
        where = backwards.transform((place[0], place[1] + box.height * 0.2))
        axes.annotate(dot.name, (dot.x, dot.y), where, fontsize=8, arrowprops=arrow).set_in_layout(False)


def _common(a: tuple[float, ...], b: tuple[float, ...]) -> float:
    """The area that two rectangles share."""
    return max(min(a[2], b[2]) - max(a[0], b[0]), 0) * max(min(a[3], b[3]) - max(a[1], b[1]), 0)


def _depth(name: str) -> int:
    return depth_of(models.create(name, device="meta"), models.info(name).input_shape)


def plot_winners() -> Any:
    """The ImageNet challenge by year: top-5 error as bars, the number of layers as a line, as two of the decks chart it."""
    winners = published.WINNERS
    figure = blank(9, 5.4)
    depth, axes = figure.subplots(2, 1, sharex=True, height_ratios=[1, 1.6])
    places = list(range(len(winners)))
    bars = axes.bar(places, [w.top5 for w in winners], color=[DECKS[w.deck] for w in winners], alpha=0.75, width=0.62)
    above = {"textcoords": "offset points", "ha": "center", "fontsize": 9}
    for place, bar, winner in zip(places, bars, winners):
        axes.annotate(f"{winner.top5:g} %", (place, winner.top5), (0, 3), **above)
        bar.set_gid(f"{winner.name} {winner.year}")
    axes.set_xticks(places, [f"{w.name}\n{w.year}" for w in winners])
    axes.set_ylabel("top-5 error, %")
    axes.set_ylim(0, 32)
    deep = [(place, _depth(winner.network)) for place, winner in zip(places, winners) if winner.network is not None]
    depth.plot(*zip(*deep), color="#777777", marker="o", linewidth=1.2)
    for place, layers in deep:
        depth.annotate(f"{layers} layers", (place, layers), (-12, 7), **above)
    depth.set_yscale("log")
    depth.set_ylim(4, 500)
    depth.yaxis.set_major_formatter("{x:g}")
    depth.set_ylabel("layers with weights")
    for each in (axes, depth):
        each.spines[["top", "right"]].set_visible(False)
    patch = extra("matplotlib.patches", "plotting").Patch
    keys = [patch(color=DECKS[d], alpha=0.75, label=f"deck {d}") for d in sorted({w.deck for w in winners})]
    axes.legend(handles=keys, frameon=False, fontsize=9, loc="upper right")
    figure.suptitle("ImageNet challenge: error and depth (2011: no deck's text has the number)", fontsize=12)
    return figure


def plot_memory(model_or_name: Layer | str, input_shape: Shape | None = None) -> Any:
    """Memory of the outputs and parameters, layer by layer: most memory is in the early convolutions, most parameters in
    the late linear layers.

    Networks of more than forty layers are shown block by block.
    """
    whole = summary(model_or_name, input_shape)
    memory, parameters = _grouped(whole.rows)
    memory = {"input": 4 * math.prod(whole.input_shape), **memory}
    parameters = {"input": 0, **parameters}
    names = list(memory)
    figure = blank(max(7.0, 0.3 * len(names) + 2.5), 6)
    upper, lower = figure.subplots(2, 1, sharex=True)
    places = list(range(len(names)))
    upper.bar(places, [memory[name] / 2**20 for name in names], color="#1f77b4", width=0.75)
    lower.bar(places, [parameters[name] / 1e6 for name in names], color="#d95f02", width=0.75)
    upper.set_ylabel("outputs, MiB")
    lower.set_ylabel("parameters, millions")
    total, count = sum(memory.values()), sum(parameters.values())
    upper.set_title(f"memory of the outputs for one input: {total / 2**20:,.1f} MiB (float32)", fontsize=11, loc="left")
    lower.set_title(f"parameters: {count:,}", fontsize=11, loc="left")
    lower.set_xticks(places, names, rotation=60, ha="right", rotation_mode="anchor", fontsize=8)
    for axes in (upper, lower):
        axes.grid(axis="y", alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
        axes.margins(x=0.01)
    figure.suptitle(heading(model_or_name), fontsize=13)
    return figure


def _grouped(rows: list[Row]) -> tuple[dict[str, int], dict[str, int]]:
    """Bytes of the outputs and parameters by layer; by the containers around them where there are too many."""
    rows = [row for row in rows if row.activation_bytes or row.parameters]
    deepest = max([row.path.count(".") + 1 for row in rows], default=1)
    for depth in range(deepest, 0, -1):
        names = [".".join(row.path.split(".")[:depth]) or row.kind for row in rows]
        if len(set(names)) <= MOST:
            break
    memory, parameters = dict.fromkeys(names, 0), dict.fromkeys(names, 0)
    for name, row in zip(names, rows):
        memory[name] += row.activation_bytes
        parameters[name] += row.parameters
    return memory, parameters
