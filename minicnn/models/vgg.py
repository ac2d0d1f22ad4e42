"""The very deep nets, VGG. Simonyan and Zisserman 2014, "Very deep convolutional networks"."""

from __future__ import annotations

import functools
from collections.abc import Sequence

from ..errors import check
from ..layers import (
    AdaptiveAvgPool2d,
    BatchNorm2d,
    Conv2d,
    Dropout,
    Flatten,
    Layer,
    MaxPool2d,
    ReLU,
    Sequential,
)
from ..layers.arguments import counts
from .chain import linear, lrn
from .registry import register

# The paper's table 1: the windows of the convolutions between the pools
TABLE: dict[str, tuple[tuple[int, ...], ...]] = {
    "A": ((3,), (3,), (3, 3), (3, 3), (3, 3)),
    "B": ((3, 3), (3, 3), (3, 3), (3, 3), (3, 3)),
    "C": ((3, 3), (3, 3), (3, 3, 1), (3, 3, 1), (3, 3, 1)),
    "D": ((3, 3), (3, 3), (3, 3, 3), (3, 3, 3), (3, 3, 3)),
    "E": ((3, 3), (3, 3), (3, 3, 3, 3), (3, 3, 3, 3), (3, 3, 3, 3)),
}

enter = functools.partial(
    register,
    paper="Simonyan and Zisserman 2014, Very deep convolutional networks for large-scale image recognition, arXiv:1409.1556",
    year=2014,
    input_shape=(3, 224, 224),
)
DECKS = ("002", "003", "004")


@enter(
    "vgg_e",
    title="VGG E (VGG-19)",
    decks=("000", *DECKS),
    notes="16 convolutions and 3 linear layers.",
    aliases=("vgg19",),
    config="E",
)
@enter(
    "vgg_d",
    title="VGG D (VGG-16)",
    decks=("000", *DECKS),
    notes="13 convolutions and 3 linear layers; 138,344,128 weights, as one deck's rows add up to, and 13,416 biases. That "
    "deck's total of 24 million activations (93 MB) for one image is wrong: its rows add up to 15,237,608 numbers, "
    "60.95 MB or 58.1 MiB.",
    aliases=("vgg16",),
    config="D",
)
@enter(
    "vgg_c",
    title="VGG C",
    decks=DECKS,
    notes="The third convolution of stages 3 to 5 is 1x1: not all of the paper's nets have 3x3 windows only. One deck's "
    "table has lost these rows.",
    config="C",
)
@enter(
    "vgg_b",
    title="VGG B (VGG-13)",
    decks=DECKS,
    notes="Two convolutions between all pools.",
    aliases=("vgg13",),
    config="B",
)
@enter(
    "vgg_a_lrn",
    title="VGG A-LRN",
    decks=DECKS,
    notes="A with local response normalisation behind the first convolution. It has no parameters, and by the paper's "
    "table it does not help.",
    config="A",
    norm=True,
)
@enter("vgg_a", title="VGG A (VGG-11)", decks=DECKS, notes="The smallest of the six.", aliases=("vgg11",), config="A")
def vgg(
    *, num_classes: int = 1000, in_channels: int = 3, config: str = "D", dropout: float = 0.5, norm: bool = False,
    batch_norm: bool = False, widths: Sequence[int] = (64, 128, 256, 512, 512), hidden: Sequence[int] = (4096, 4096),
    adaptive: bool = False,
) -> Sequential:  # fmt: skip
    """Small windows, many layers, for 224x224 images: maps of 224, 112, 56, 28, 14 and, at the end, 7.

    config: A, B, C, D or E, a column of the paper's table. norm: local response normalisation behind the first
    convolution. batch_norm: one behind each convolution (which has no bias then). widths: filters between the pools.
    hidden: units of the two hidden linear layers. dropout: behind each of them. adaptive: average the last maps to 7x7,
    so that other sizes of image fit.
    """
    check(config in [*TABLE], f"vgg: config is {config!r}: it must be one of {', '.join(TABLE)}")
    parts: dict[str, Layer] = {}
    channels = in_channels
    for stage, (filters, windows) in enumerate(zip(counts(widths, "vgg: widths", 5), TABLE[config]), 1):
        for number, window in enumerate(windows, 1):
            place = f"{stage}_{number}"
            parts[f"conv{place}"] = Conv2d(channels, filters, window, padding=window // 2, bias=not batch_norm)
            if batch_norm:
                parts[f"bn{place}"] = BatchNorm2d(filters)
            parts[f"relu{place}"] = ReLU()
            if norm and place == "1_1":
                parts["norm1_1"] = lrn()
            channels = filters
        parts[f"pool{stage}"] = MaxPool2d(2, 2)
    if adaptive:
        parts["average"] = AdaptiveAvgPool2d(7)
    a, b = counts(hidden, "vgg: hidden", 2)
    return Sequential(parts, {
        "flatten": Flatten(),
        "fc6": linear(channels * 7 * 7, a), "relu6": ReLU(), "drop6": Dropout(dropout),
        "fc7": linear(a, b), "relu7": ReLU(), "drop7": Dropout(dropout),
        "fc8": linear(b, num_classes),
    })  # fmt: skip
