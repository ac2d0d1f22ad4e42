"""Pictures of a run, as PNG: curves, classified test images, first-layer filters, the confusion matrix.

Drawn with matplotlib's object interface: no window, no global state.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ..data import Dataset
from ..inspect.galleries import plot_answers, plot_filters
from ..inspect.plots import blank, save_figure
from ..layers import Conv2d, Layer
from .history import History
from .metrics import Evaluation

TRAIN, TEST = "#1f77b4", "#d95f02"


def draw_all(
    folder: Path, history: History, result: Evaluation, test: Dataset, model: Layer, watched: str = "test"
) -> list[str]:  # fmt: skip
    """All pictures of a finished run into its folder. Returns their names. Raises CheckpointError, DataError."""
    names = []
    if history.rows:
        learning_curves(history, folder / "curves.png", watched)
        names.append("curves.png")
    save_figure(plot_answers(test, result), folder / "predictions.png")
    confusion_matrix(result.confusion(), test.classes, folder / "confusion.png")
    names += ["predictions.png", "confusion.png"]
    first = next((layer for _, layer in model.named_layers() if isinstance(layer, Conv2d)), None)
    if first is not None and first.weight.shape[1] in (1, 3):
        save_figure(plot_filters(first.weight), folder / "filters.png")
        names.append("filters.png")
    return names


def learning_curves(history: History, path: str | Path, watched: str = "test") -> None:
    """Loss, accuracy and learning rate, epoch by epoch, in training and on the images that were watched."""
    figure = blank(11, 3.4)
    axes = figure.subplots(1, 3)
    epochs = history.column("epoch")
    dots = {"marker": "o", "markersize": 3} if len(epochs) < 30 else {}
    for axis, name, scale in ((axes[0], "loss", 1.0), (axes[1], "accuracy", 100.0)):
        for part, label, colour in (("train", "training (augmented)", TRAIN), ("test", watched, TEST)):
            points = [(e, scale * y) for e, y in zip(epochs, history.column(f"{part}_{name}")) if y is not None]
            if points:
                final = f": {points[-1][1]:.1f}" if name == "accuracy" else ""
                axis.plot(*zip(*points), color=colour, label=label + final, **dots)
        axis.set_title(name if name == "loss" else "accuracy, %", fontsize=11, loc="left")
        axis.legend(frameon=False, fontsize=9, loc="upper right" if name == "loss" else "lower right")
    axes[2].plot(epochs, history.column("lr"), color="#555555", **dots)
    axes[2].set_title("learning rate at the end of the epoch", fontsize=11, loc="left")
    axes[2].set_ylim(bottom=0)
    for axis in axes:
        axis.set_xlabel("epoch")
        axis.xaxis.get_major_locator().set_params(integer=True)
        axis.grid(alpha=0.25)
        axis.spines[["top", "right"]].set_visible(False)
    save_figure(figure, path)


def confusion_matrix(matrix: np.ndarray, classes: Sequence[str], path: str | Path) -> None:
    """How often the images of each class (rows) were taken for each class (columns), in per cent of the row."""
    share = 100 * matrix / np.maximum(matrix.sum(1, keepdims=True), 1)
    side = max(4.5, 0.62 * len(classes))
    figure = blank(side + 1.2, side + 0.4)
    axis = figure.subplots()
    axis.imshow(share, cmap="Blues", vmin=0, vmax=100)
    if len(classes) <= 30:
        for i, j in np.ndindex(*share.shape):
            text = f"{share[i, j]:.0f}"
            if text != "0":
                colour = "white" if share[i, j] > 70 else "black"
                axis.text(j, i, text, ha="center", va="center", fontsize=9, color=colour)
    axis.set_xticks(range(len(classes)), classes, rotation=45, ha="right", rotation_mode="anchor")
    axis.set_yticks(range(len(classes)), classes)
    axis.set_xlabel("taken for")
    axis.set_ylabel("is")
    axis.set_title(
        f"per cent of each class; {np.trace(matrix) / max(matrix.sum(), 1):.1%} right", fontsize=11, loc="left"
    )
    axis.tick_params(length=0)
    axis.spines[:].set_visible(False)
    save_figure(figure, path)
