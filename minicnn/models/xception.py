"""Xception. Chollet 2016, "Xception: deep learning with depthwise separable convolutions", arXiv:1610.02357."""

from __future__ import annotations

from collections.abc import Sequence

from ..layers import (
    BatchNorm2d,
    Conv2d,
    Dropout,
    Flatten,
    GlobalAvgPool2d,
    Layer,
    MaxPool2d,
    ReLU,
    Residual,
    Sequential,
)
from ..layers.arguments import DEEPEST, count
from .chain import linear
from .registry import register

# Figure 5 of the paper: the filters of the separable convolutions of each block.
ENTRY = ((128, 128), (256, 256), (728, 728))
MIDDLE = (728, 728, 728)
EXIT = (728, 1024)
FINAL = (1536, 2048)


def separable(channels: int, filters: int) -> Sequential:
    """A 3x3 window over each channel by itself, then a 1x1 convolution; nothing between the two."""
    return Sequential({
        "depthwise": Conv2d(channels, channels, 3, padding=1, groups=channels, bias=False),
        "pointwise": Conv2d(channels, filters, 1, bias=False),
    })  # fmt: skip


def block(channels: int, widths: Sequence[int], shrink: bool, relu: bool = True) -> Residual:
    """Separable convolutions, each behind a ReLU, added to the block's input; `shrink` halves the map.

    relu: whether there is one in front of the first convolution. The shortcut sees the input without it.
    """
    body: dict[str, Layer] = {}
    inner = channels
    for number, filters in enumerate(widths, 1):
        if relu or number > 1:
            body[f"relu{number}"] = ReLU()
        body[f"sep{number}"], body[f"bn{number}"] = separable(inner, filters), BatchNorm2d(filters)
        inner = filters
    if not shrink:
        return Residual(Sequential(body))
    body["pool"] = MaxPool2d(3, 2, padding=1)
    shortcut = Sequential({"conv": Conv2d(channels, inner, 1, stride=2, bias=False), "bn": BatchNorm2d(inner)})
    return Residual(Sequential(body), shortcut)


@register(
    "xception", title="Xception", paper="Chollet 2016, Xception: deep learning with depthwise separable convolutions, "
    "arXiv:1610.02357", year=2016, input_shape=(3, 299, 299), decks=("000",),
    notes="Counted are the scale and shift of the batch norms, 22,855,952 numbers; Keras states 22,910,480, with the "
    "54,528 running statistics. Where a map has an even side, Keras pads its stride-2 pools at the bottom and right only; "
    "here, as in timm, they are padded on all sides. The sizes are the same, the numbers are not.",
)  # fmt: skip
def xception(*, num_classes: int = 1000, in_channels: int = 3, dropout: float = 0.5, middle: int = 8) -> Sequential:
    """Xception for 299x299 images: (N, in_channels, H, W) -> (N, num_classes).

    middle: how many blocks the middle flow has. dropout: 0.5 in the paper, for ImageNet.
    """
    count(middle, "xception: middle", 0, DEEPEST)
    layers: dict[str, Layer] = {
        "conv1": Conv2d(in_channels, 32, 3, stride=2, bias=False), "bn1": BatchNorm2d(32), "relu1": ReLU(),
        "conv2": Conv2d(32, 64, 3, bias=False), "bn2": BatchNorm2d(64), "relu2": ReLU(),
    }  # fmt: skip
    plan = [(widths, True) for widths in ENTRY] + [(MIDDLE, False)] * middle + [(EXIT, True)]
    channels = 64
    for number, (widths, shrink) in enumerate(plan, 1):
        layers[f"block{number}"] = block(channels, widths, shrink, relu=number > 1)
        channels = widths[-1]
    for number, filters in enumerate(FINAL, 3):
        layers |= {
            f"sep{number}": separable(channels, filters), f"bn{number}": BatchNorm2d(filters), f"relu{number}": ReLU(),
        }  # fmt: skip
        channels = filters
    return Sequential({
        **layers, "pool": GlobalAvgPool2d(), "flatten": Flatten(), "dropout": Dropout(dropout),
        "fc": linear(channels, num_classes),
    })  # fmt: skip
