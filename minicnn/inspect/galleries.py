"""Figures of pictures and of what a network sees in them: filters, feature maps, heat, patches, answers.

Each returns a matplotlib Figure, for a notebook or for `save_figure`. Pictures are (N, C, H, W), C 1 or 3: uint8 as they
are; floats, such as normalised ones, stretched from their smallest value (black) to their largest (white), each on its own.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..data.files import extra
from ..errors import ShapeError, check
from . import plots

if TYPE_CHECKING:
    from ..data import Dataset
    from ..training.metrics import Evaluation
    from .evidence import Patches

TITLE, WORDS = 16, 13
"""Font sizes in points, on figures about 10 inches wide."""
FOR, AGAINST, WRONG = "#D55E00", "#0072B2", "#C1121F"
"""Colours that the colour-blind tell apart (Okabe and Ito 2008): what speaks for a class and against it; red words are
wrong answers, and say so."""
MOST = 64
"""Filters or maps in a figure; the first ones are shown."""


def plot_filters(weight: Any) -> Any:
    """The filters (K, C, R, S) of a convolution. Those of a first layer (C 1 or 3) in its colours, each scaled on its own,
    zero grey; of a later layer a row for each filter and a column for each channel (16 of each at most), blue below zero
    and orange above, all on one scale."""
    weight = np.asarray(weight.numpy() if hasattr(weight, "numpy") else weight)
    _four("plot_filters", "weight", weight, "(K, C, R, S)")
    K, C, R, S = weight.shape
    if C in (1, 3):
        shown = weight[:MOST]
        peak = np.abs(shown).max((1, 2, 3), keepdims=True)
        tiles = 0.5 + shown / np.where(peak > 0, peak, 1) / 2
        title = f"{_of(len(shown), K)} filters, {R}x{S}, each on its own scale; grey is 0"
        return _sheet(tiles.transpose(0, 2, 3, 1), _columns(len(tiles)), title, cmap="gray", vmin=0, vmax=1)
    shown = weight[:16, :16]
    title = f"{_of(len(shown), K)} filters (rows), {_of(shown.shape[1], C)} channels (columns), {R}x{S}"
    tiles = shown.reshape(-1, R, S, 1)
    scale = {**_scale(shown), "cmap": _signed().with_extremes(bad="#DDDDDD")}  # or what is near 0 would have no edge
    return _sheet(tiles, shown.shape[1], title, "weight", **scale)


def plot_maps(maps: Any, title: str = "") -> Any:
    """The feature maps (K, P, Q) of one picture, numbered, on one scale: cividis from 0, or, where some values are
    negative, blue below zero and orange above. The first 64 are shown."""
    maps = np.asarray(maps)
    if maps.ndim != 3 or not maps.size:
        raise ShapeError(f"plot_maps: maps has shape {maps.shape}: it must be (K, P, Q): feature_maps(...)[0]")
    shown = maps[:MOST]
    title = f"{title + ': ' if title else ''}{_of(len(shown), len(maps))} maps, {maps.shape[1]}x{maps.shape[2]}"
    numbers = [str(number) for number in range(len(shown))]
    return _sheet(shown[..., None], _columns(len(shown)), title, "activation", numbers, **_scale(shown))


def plot_heat(pictures: Any, heat: Any, titles: Sequence[str] = (), unit: str = "") -> Any:
    """Pictures (N, C, H, W) above, below what `heat` (N, P, Q) says about them, stretched over the picture in pale grey.

    heat: from `saliency`, `occlusion` or `class_activation`: orange is above zero, blue below, both the stronger the
    larger; each picture on its own scale, its largest value below it. titles: one for each picture. unit: of the heat.
    """
    heat = np.asarray(heat)
    _four("plot_heat", "pictures", pictures, "(N, C, H, W)")
    if heat.ndim != 3 or len(heat) != len(pictures):
        raise ShapeError(f"plot_heat: heat has shape {heat.shape}: it must be (N, P, Q), for {len(pictures)} pictures")
    N, _, H, W = pictures.shape
    tall = H / W
    figure = _blank(max(1.75 * N, 5), 1.75 * 2 * tall + 0.9)
    grid = figure.subplots(2, N, squeeze=False)
    for number, (upper, lower) in enumerate(grid.T):
        picture, values = _seen(pictures[number]), heat[number]
        peak = float(np.abs(values).max())
        upper.imshow(picture, cmap="gray", interpolation="nearest")
        grey = 0.4 + 0.6 * (picture.mean(2) if picture.ndim == 3 else picture)  # pale, so that colours show on black
        lower.imshow(grey, cmap="gray", interpolation="nearest", vmin=0, vmax=1)
        lower.imshow(_tint(values / (peak or 1)), extent=(-0.5, W - 0.5, H - 0.5, -0.5), interpolation="bilinear")
        lower.set_xlim(-0.5, W - 0.5)
        lower.set_ylim(H - 0.5, -0.5)
        if number < len(titles):
            upper.set_title(titles[number], fontsize=WORDS)
        lower.set_xlabel(f"full colour: {peak:.3g}", fontsize=WORDS - 2)
        for axes in (upper, lower):
            _bare(axes)
    patch = extra("matplotlib.patches", "plotting").Patch
    signed = bool(heat.min() < 0)
    above = ", ".join(["above zero"] * signed + [unit] * bool(unit)) or "largest values"
    keys = [patch(color=FOR, label=above)] + [patch(color=AGAINST, label="below zero")] * signed
    figure.legend(handles=keys, loc="outside lower center", ncols=2, frameon=False, fontsize=WORDS)
    return figure


def plot_patches(pictures: Any, patches: Patches, channels: Sequence[int] | None = None) -> Any:
    """The patches of pictures (N, C, H, W) that excite each channel most, strongest first, with the activation.

    channels: those to show, by default the first eight. Pixels outside a picture are grey.
    """
    channels = range(min(8, len(patches.values))) if channels is None else channels
    check(len(channels), "plot_patches: channels is empty: name at least one")
    grey = 128 if getattr(pictures, "dtype", None) == np.uint8 else 0
    count = patches.values.shape[1]
    rows = [patches.cut(pictures, channel, grey) for channel in channels]
    tall = rows[0].shape[2] / rows[0].shape[3]
    figure = _blank(1.05 * count + 1.3, (1.0 * tall + 0.3) * len(channels) + 0.5)
    grid = figure.subplots(len(channels), count, squeeze=False)
    for channel, row, several in zip(channels, grid, rows):
        for axes, patch, value in zip(row, several, patches.values[channel]):
            axes.imshow(_seen(patch), cmap="gray", interpolation="nearest")
            axes.set_xlabel(f"{value:.3g}", fontsize=WORDS - 3, labelpad=2)
            _bare(axes)
        row[0].set_ylabel(f"{channel}", fontsize=TITLE, rotation=0, ha="right", va="center", labelpad=10)
    height, width = rows[0].shape[2:]
    figure.suptitle(f"strongest patches by channel, {height}x{width} pixels; below: activation", fontsize=TITLE)
    return figure


def plot_answers(test: Dataset, result: Evaluation, chosen: Any = None, columns: int = 8) -> Any:
    """Test pictures with the network's answers; where it is wrong, in red with the right class below.

    test: what was evaluated, in that order      result: from `training.evaluate`
    chosen: the numbers of the pictures, such as `result.misclassified()[:24]`; by default 32 over the whole set
    """
    if chosen is None:
        chosen = np.linspace(0, len(result.labels) - 1, min(32, len(result.labels))).astype(int)
    chosen = np.asarray(chosen)
    check(
        chosen.ndim == 1 and chosen.size and chosen.dtype.kind in "iu",
        f"plot_answers: chosen has shape {chosen.shape} and dtype {chosen.dtype}: it must be numbers of pictures, at least one",
    )
    columns = min(columns, len(chosen))
    rows = math.ceil(len(chosen) / columns)
    figure = _blank(max(columns * 1.55, 5), rows * 2.05 + 0.5)
    grid = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes in grid:
        axes.set_axis_off()
    for axes, index, picture in zip(grid, chosen, np.asarray(test.images[chosen])):
        axes.imshow(_seen(picture), cmap="gray", interpolation="nearest")
        guess, truth = int(result.predictions[index]), int(result.labels[index])
        text = f"{test.classes[guess]} {result.probabilities[index, guess]:.0%}"
        text += "\n" if guess == truth else f"\nis {test.classes[truth]}"
        axes.set_title(text, fontsize=WORDS - 2, color="black" if guess == truth else WRONG, pad=3)
    right = int((result.predictions[chosen] == result.labels[chosen]).sum())
    whole = f"{right} of these {len(chosen)} right; {result.accuracy:.1%} of all {len(result.labels):,}"
    figure.suptitle(whole, fontsize=TITLE)
    return figure


# What they share


def _blank(width: float, height: float) -> Any:
    figure = plots.blank(width, height)
    figure.get_layout_engine().set(h_pad=0.08, w_pad=0.05)  # inches: titles stand at the edge
    return figure


def _four(what: str, name: str, array: Any, rule: str) -> None:
    if len(array.shape) != 4 or 0 in array.shape:
        raise ShapeError(f"{what}: {name} has shape {tuple(array.shape)}: it must be {rule}")


def _of(shown: int, count: int) -> str:
    return f"{count}" if shown == count else f"{shown} of {count}"


def _columns(count: int) -> int:
    """Columns of a sheet about twice as wide as high, with full rows where that can be."""
    about = max(1, math.ceil(math.sqrt(count * 1.8)))
    return next((columns for columns in range(about, 2 * about) if count % columns == 0), about)


def _seen(picture: Any) -> np.ndarray:
    """A picture (C, H, W) as matplotlib takes it, 0 .. 1: (H, W, 3) or (H, W)."""
    picture = np.asarray(picture)
    check(picture.shape[0] in (1, 3), f"pictures have {picture.shape[0]} channels: they must be grey (1) or RGB (3)")
    if picture.dtype == np.uint8:
        picture = picture / 255
    else:
        low, high = picture.min(), picture.max()
        picture = (picture - low) / (high - low) if high > low else np.full(picture.shape, 0.5)
    return picture.transpose(1, 2, 0).squeeze(-1) if len(picture) == 1 else picture.transpose(1, 2, 0)


def _scale(values: np.ndarray) -> dict[str, Any]:
    """A colour scale from 0, or around it where there are values below."""
    peak = float(np.abs(values).max()) or 1.0
    return (
        {"cmap": _signed(), "vmin": -peak, "vmax": peak}
        if values.min() < 0
        else {"cmap": "cividis", "vmin": 0, "vmax": peak}
    )


def _signed() -> Any:
    colours = [AGAINST, "#FFFFFF", FOR]
    return extra("matplotlib.colors", "plotting").LinearSegmentedColormap.from_list("signed", colours)


def _tint(share: np.ndarray) -> np.ndarray:
    """Colours (P, Q, 4) for shares from -1 to 1: FOR or AGAINST, see-through towards 0."""
    rgb = extra("matplotlib.colors", "plotting").to_rgb
    colour = np.where(share[..., None] >= 0, rgb(FOR), rgb(AGAINST))
    return np.concatenate([colour, 0.85 * np.abs(share)[..., None]], axis=-1)


def _bare(axes: Any) -> None:
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set_visible(False)


def _sheet(
    tiles: np.ndarray, columns: int, title: str, unit: str = "", labels: Sequence[str] = (), **scale: Any
) -> Any:  # fmt: skip
    """Tiles (N, R, S, C) as one image, with a bar for the scale where it has a unit."""
    N, R, S, C = tiles.shape
    rows = math.ceil(N / columns)
    gap = max(1, round(0.08 * S))
    width = columns * (S + gap) - gap
    wide = 10.0
    bar = 0.12 * wide if unit else 0
    line = 1.2 * (WORDS - 2) / 72 * width / (wide - bar)  # of numbers, in pixels of the sheet
    above = max(gap, round(0.3 * R), math.ceil(line)) if labels else gap
    lead = above if labels else 0
    sheet = np.full((rows * (R + above) - above + lead, width, C), np.nan)
    for number, tile in enumerate(tiles):
        top, left = (number // columns) * (R + above) + lead, (number % columns) * (S + gap)
        sheet[top : top + R, left : left + S] = tile
    if C == 3:
        sheet = np.where(np.isnan(sheet), 1, sheet)
    figure = _blank(wide, min(max((wide - bar) * sheet.shape[0] / width, 1.2), 12) + 0.45)
    axes = figure.subplots()
    shown = axes.imshow(sheet.squeeze(-1) if C == 1 else sheet, interpolation="nearest", **scale)
    for number, label in enumerate(labels):
        top, left = (number // columns) * (R + above) + lead, (number % columns) * (S + gap)
        axes.text(left - 0.5, top - 0.5 - 0.04 * R, label, fontsize=WORDS - 2, ha="left", va="bottom")
    axes.set_axis_off()
    axes.set_title(title, fontsize=TITLE, loc="left")
    if unit:
        scale_bar = figure.colorbar(shown, ax=axes, shrink=0.9, pad=0.02)
        scale_bar.set_label(unit, fontsize=WORDS)
        scale_bar.ax.tick_params(labelsize=WORDS)
    return figure
