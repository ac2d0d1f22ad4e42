"""What the lessons share: pictures that can be read from the last row, and the check of an exercise."""

from __future__ import annotations

from typing import Any

import matplotlib
import numpy as np

COLOURS = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000"]
"""Colours that the colour-blind tell apart (Okabe and Ito 2008), in the order in which plots take them."""


def style() -> None:
    """Large letters, thick lines, COLOURS."""
    matplotlib.rcParams.update(
        {
            "figure.figsize": (10, 5),
            "figure.constrained_layout.use": True,
            "font.size": 16,
            "axes.prop_cycle": matplotlib.cycler(color=COLOURS),
            "axes.spines.top": False,
            "axes.spines.right": False,
            "lines.linewidth": 2.5,
            "image.cmap": "cividis",
            "image.interpolation": "nearest",
        }
    )


def check(what: str, yours: Any, right: Any, tolerance: float = 1e-6) -> None:
    """Say whether the answer to an exercise is right. yours: a number or an array; None or ... is no answer yet."""
    if yours is None or yours is ...:
        print(f"{what}: not answered yet")
        return
    yours, right = np.asarray(getattr(yours, "data", yours)), np.asarray(getattr(right, "data", right))
    if yours.shape != right.shape:
        print(f"{what}: not yet: the shape is {yours.shape}, it should be {right.shape}")
    elif np.allclose(yours, right, rtol=tolerance, atol=tolerance):
        print(f"{what}: right")
    else:
        print(f"{what}: not yet: {np.array2string(yours, threshold=8, precision=6)} is not what comes out")
