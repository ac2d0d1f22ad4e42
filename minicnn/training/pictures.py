"""Pictures of a run, as PNG: curves, classified test images, first-layer filters, the confusion matrix.

Drawn with matplotlib's object interface: no window, no global state.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..data import Dataset
from ..data.files import extra
from ..io.files import replacing
from ..layers import Conv2d, Layer
from .history import History
from .metrics import Evaluation

TRAIN, TEST, WRONG = "#1f77b4", "#d95f02", "#c1121f"


def _figure(width: float, height: float) -> Any:
    figure = extra("matplotlib.figure", "drawing pictures").Figure(figsize=(width, height), layout="constrained")
    extra("matplotlib.backends.backend_agg", "drawing pictures").FigureCanvasAgg(figure)
    return figure


def _save(figure: Any, path: str | Path) -> None:
    """Whole or not at all; the bytes depend on nothing but the picture. Raises CheckpointError."""
    with replacing(path) as part:
        figure.savefig(part, format="png", dpi=120, metadata={"Software": None})


def draw_all(
    folder: Path, history: History, result: Evaluation, test: Dataset, model: Layer, watched: str = "test"
) -> list[str]:  # fmt: skip
    """All pictures of a finished run into its folder. Returns their names. Raises CheckpointError, DataError."""
    names = []
    if history.rows:
        learning_curves(history, folder / "curves.png", watched)
        names.append("curves.png")
    predictions(test, result, folder / "predictions.png")
    confusion_matrix(result.confusion(), test.classes, folder / "confusion.png")
    names += ["predictions.png", "confusion.png"]
    first = next((layer for _, layer in model.named_layers() if isinstance(layer, Conv2d)), None)
    if first is not None and first.weight.shape[1] in (1, 3):
        filters(first.weight.numpy(), folder / "filters.png")
        names.append("filters.png")
    return names


def learning_curves(history: History, path: str | Path, watched: str = "test") -> None:
    """Loss, accuracy and learning rate, epoch by epoch, in training and on the images that were watched."""
    figure = _figure(11, 3.4)
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
    _save(figure, path)


def predictions(test: Dataset, result: Evaluation, path: str | Path, rows: int = 4, columns: int = 8) -> None:
    """Test images with the network's answers; where it is wrong, in red with the right class below."""
    count = min(rows * columns, len(result.labels))
    chosen = np.linspace(0, len(result.labels) - 1, count).astype(int)
    figure = _figure(columns * 1.35, rows * 1.75 + 0.4)
    grid = figure.subplots(rows, columns, squeeze=False).ravel()
    images = np.asarray(test.images[chosen])
    for axis in grid:
        axis.set_axis_off()
    for axis, index, image in zip(grid, chosen, images):
        axis.imshow(image.transpose(1, 2, 0).squeeze(), cmap="gray", interpolation="nearest")
        guess, truth = int(result.predictions[index]), int(result.labels[index])
        text = f"{test.classes[guess]} {result.probabilities[index, guess]:.0%}"
        text += "\n" if guess == truth else f"\nis {test.classes[truth]}"
        axis.set_title(text, fontsize=8.5, color="black" if guess == truth else WRONG, pad=3)
    right = int((result.predictions[chosen] == result.labels[chosen]).sum())
    figure.suptitle(f"{right} of these {count} right; {result.accuracy:.1%} of all {len(result.labels):,}", fontsize=11)
    _save(figure, path)


def filters(weight: np.ndarray, path: str | Path) -> None:
    """The filters of a first layer, (K, 1 or 3, R, S), as small images; each is scaled on its own, zero is grey."""
    count = len(weight)
    about = int(np.ceil(np.sqrt(count * 1.6)))
    columns = next((c for c in range(about, 2 * about) if count % c == 0), about)  # full rows, where that can be
    rows = -(-count // columns)
    _, channels, height, width = weight.shape
    peak = np.abs(weight).max((1, 2, 3), keepdims=True)
    tiles = 0.5 + weight / np.where(peak > 0, peak, 1) / 2
    sheet = np.ones((rows * (height + 1) - 1, columns * (width + 1) - 1, channels))
    for k, tile in enumerate(tiles):
        top, left = (k // columns) * (height + 1), (k % columns) * (width + 1)
        sheet[top : top + height, left : left + width] = tile.transpose(1, 2, 0)
    figure = _figure(7, 7 * sheet.shape[0] / sheet.shape[1] + 0.4)
    axis = figure.subplots()
    axis.imshow(sheet.squeeze(), cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    axis.set_axis_off()
    axis.set_title(f"the {count} filters of the first layer, {height}x{width}", fontsize=11, loc="left")
    _save(figure, path)


def confusion_matrix(matrix: np.ndarray, classes: Sequence[str], path: str | Path) -> None:
    """How often the images of each class (rows) were taken for each class (columns), in per cent of the row."""
    share = 100 * matrix / np.maximum(matrix.sum(1, keepdims=True), 1)
    side = max(4.5, 0.62 * len(classes))
    figure = _figure(side + 1.2, side + 0.4)
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
    _save(figure, path)
