"""What the lessons share: pictures that can be read from the last row, and the check of an exercise."""

from __future__ import annotations

from typing import Any

import matplotlib
import matplotlib.patches
import matplotlib.pyplot as plt
import numpy as np

from minicnn import Tensor

COLOURS = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000"]
"""Colours that the colour-blind tell apart (Okabe and Ito 2008), in the order in which plots take them."""


def style() -> None:
    """Large letters, thick lines, COLOURS."""
    matplotlib.rcParams.update(
        {
            "figure.figsize": (10, 5),
            "figure.constrained_layout.use": True,
            "figure.dpi": 80,
            "font.size": 16,
            "axes.prop_cycle": matplotlib.cycler(color=COLOURS),
            "axes.spines.top": False,
            "axes.spines.right": False,
            "lines.linewidth": 2.5,
            "image.cmap": "cividis",
            "image.interpolation": "nearest",
        }
    )


def grid(
    axes: Any, values: Any, title: str = "", window: tuple[int, int, int, int] | None = None, form: str = "g",
    size: int = 16, limits: tuple[float | None, float | None] = (None, None),
) -> None:  # fmt: skip
    """Draw a matrix with its numbers in it; NaN stays empty. The corners of cell (row, column) lie at whole numbers.

    window: top, left, height and width, in cells, of a frame around some of them. form: how a number is written.
    size: of the letters, in points. limits: the numbers that get the darkest and the lightest colour.
    """
    values = np.asarray(values, dtype=float) + 0.0  # no -0
    low, high = limits
    axes.pcolormesh(values, vmin=low, vmax=high, alpha=0.35, edgecolors="white", linewidth=1)
    for (row, column), value in np.ndenumerate(values):
        if np.isfinite(value):
            axes.text(column + 0.5, row + 0.5, f"{value:{form}}", ha="center", va="center", fontsize=size)
    if window is not None:
        top, left, height, width = window
        look = {"fill": False, "edgecolor": COLOURS[1], "linewidth": 4, "clip_on": False, "zorder": 3}
        axes.add_patch(matplotlib.patches.Rectangle((left, top), width, height, **look))
    axes.set_title(title, fontsize=16)
    axes.set(aspect="equal", xticks=[], yticks=[])
    axes.invert_yaxis()
    axes.spines[["left", "bottom"]].set_visible(False)


def draw_tape(steps: dict[Any, int], leaves: dict[int, str]) -> None:
    """Draw recorded operations as boxes, and the Tensors that want a gradient as ellipses; the loss is on the right.

    steps: each node, and how far it is from the loss. leaves: the name of each such Tensor, by its id.
    """
    columns: dict[int, dict[Any, str]] = {}
    for node, step in steps.items():
        columns.setdefault(step, {})[node] = f"{node.name}\n{node.outputs[0][0] or 'a number'}"
        for edge in node.edges:
            if isinstance(edge, Tensor):
                columns.setdefault(step + 1, {})[id(edge)] = f"{leaves[id(edge)]}\n{edge.shape or 'a number'}"
    tallest = max(map(len, columns.values()))
    _, axes = plt.subplots(figsize=(13, 0.6 + tallest))
    places = {}
    for step, column in columns.items():
        for row, (key, text) in enumerate(column.items()):
            places[key] = -step, row - (len(column) - 1) / 2
            kind, colour = ("ellipse", COLOURS[1]) if isinstance(key, int) else ("round", COLOURS[0])
            box = {"boxstyle": kind, "facecolor": "white", "edgecolor": colour, "linewidth": 2}
            axes.text(*places[key], text, ha="center", va="center", fontsize=14, bbox=box, zorder=2)
    for node in steps:
        for edge in node.edges:
            if edge is not None:
                start = places[id(edge) if isinstance(edge, Tensor) else edge[0]]
                axes.plot(*zip(start, places[node]), color="grey", zorder=1)
    axes.set(xlim=(-max(columns) - 0.5, 0.5), ylim=(-tallest / 2, tallest / 2))
    axes.axis("off")


def large(picture: Any, times: float) -> Any:
    """A drawing of the library, so many times its size, but no wider than the page."""
    from IPython.display import HTML

    size = f"width:{picture.view.width * times:g}px;max-width:100%"
    return HTML(picture._repr_html_().replace("max-width:100%", size))


def check(what: str, yours: Any, right: Any, tolerance: float = 1e-6) -> None:
    """Say whether the answer to an exercise is right.

    yours: numbers, an array or a Tensor, words; None or ... , alone or in a list, is no answer yet.
    tolerance: of numbers, relative and absolute.
    """
    if any(part is None or part is ... for part in (yours if isinstance(yours, (list, tuple)) else [yours])):
        print(f"{what}: not answered yet")
        return
    yours, right = np.asarray(yours), np.asarray(right)
    numbers = yours.dtype.kind in "biuf" and right.dtype.kind in "biuf"
    if yours.shape != right.shape:
        print(f"{what}: not yet: the shape is {yours.shape}, it should be {right.shape}")
    elif np.allclose(yours, right, rtol=tolerance, atol=tolerance) if numbers else np.array_equal(yours, right):
        print(f"{what}: right")
    else:
        print(f"{what}: not yet: {np.array2string(yours, threshold=8, precision=6)} is not what comes out")
