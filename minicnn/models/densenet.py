"""DenseNet. Huang, Liu, van der Maaten and Weinberger 2016, "Densely connected convolutional networks", arXiv:1608.06993."""

from __future__ import annotations

from collections.abc import Sequence

from ..errors import check
from ..geometry import is_number
from ..layers import (
    AvgPool2d,
    BatchNorm2d,
    Concat,
    Conv2d,
    Dropout,
    Flatten,
    GlobalAvgPool2d,
    Identity,
    Layer,
    Linear,
    MaxPool2d,
    ReLU,
    Sequential,
)
from ..layers.arguments import DEEPEST, count, counts
from .registry import register

PAPER = "Huang, Liu, van der Maaten and Weinberger 2016, Densely connected convolutional networks, arXiv:1608.06993"


def norm_relu_conv(number: str, channels: int, filters: int, window: int, dropout: float) -> dict[str, Layer]:
    """Batch norm, ReLU and a convolution without a bias that keeps the size of the map."""
    parts: dict[str, Layer] = {
        f"bn{number}": BatchNorm2d(channels), f"relu{number}": ReLU(),
        f"conv{number}": Conv2d(channels, filters, window, padding=window // 2, bias=False),
    }  # fmt: skip
    return {**parts, f"drop{number}": Dropout(dropout)} if dropout else parts


def dense_layer(channels: int, growth_rate: int, bottleneck: int | None, dropout: float) -> Concat:
    """What came in, and behind it `growth_rate` new channels computed from all of it.

    Layers in a chain are a dense block: each joins one new piece to what is there, so that a block of L layers has
    2*L connections, not the L*(L + 1)/2 of a drawing with an arrow from every layer to every later one.
    """
    new: dict[str, Layer] = {}
    if bottleneck is not None:
        new |= norm_relu_conv("1", channels, bottleneck * growth_rate, 1, dropout)
        channels = bottleneck * growth_rate
    new |= norm_relu_conv("2", channels, growth_rate, 3, dropout)
    return Concat({"features": Identity(), "new": Sequential(new)})


def densenet(
    *, num_classes: int = 1000, in_channels: int = 3, blocks: Sequence[int] = (6, 12, 24, 16), growth_rate: int = 32,
    bottleneck: int | None = 4, compression: float = 0.5, stem: int | None = None, dropout: float = 0.0,
) -> Sequential:  # fmt: skip
    """A DenseNet for 224x224 images.

    blocks: how many layers each dense block has. growth_rate: channels that each layer adds, the paper's k.
    bottleneck: channels of the 1x1 before each 3x3, as a multiple of growth_rate; None leaves it out.
    compression: share of the channels that a transition keeps. stem: filters of the first layer, 2*growth_rate if None.
    dropout: behind each convolution but the first.
    """
    blocks = counts(blocks, "densenet: blocks", most=DEEPEST)
    count(growth_rate, "densenet: growth_rate")
    if bottleneck is not None:
        count(bottleneck, "densenet: bottleneck")
    check(
        is_number(compression) and 0 < compression <= 1,
        f"densenet: compression is {compression!r}: it must be above 0 and at most 1, which keeps all channels",
    )
    dropout = Dropout(dropout).p  # checked, 0 too, which leaves the layers out
    stem = channels = 2 * growth_rate if stem is None else count(stem, "densenet: stem")

    parts: dict[str, Layer] = {}
    for number, repeats in enumerate(blocks, 1):
        if number > 1:
            kept = int(channels * compression)
            parts[f"transition{number - 1}"] = Sequential(
                {**norm_relu_conv("", channels, kept, 1, dropout), "pool": AvgPool2d(2)}
            )
            channels = kept
        layers = {}
        for place in range(1, repeats + 1):
            layers[f"layer{place}"] = dense_layer(channels, growth_rate, bottleneck, dropout)
            channels += growth_rate
        parts[f"block{number}"] = Sequential(layers)

    return Sequential({
        "conv1": Conv2d(in_channels, stem, 7, stride=2, padding=3, bias=False), "bn1": BatchNorm2d(stem), "relu1": ReLU(),
        "pool1": MaxPool2d(3, 2, padding=1),
        **parts,
        "bn": BatchNorm2d(channels), "relu": ReLU(),
        "pool": GlobalAvgPool2d(), "flatten": Flatten(), "fc": Linear(channels, num_classes),
    })  # fmt: skip


OCR = "One deck's text lost digits of the repeats (x3 for x32); another has them right."

for _depth, _blocks, _growth, _decks, _notes in (
    (121, (6, 12, 24, 16), 32, ("000", "002", "004"), ""),
    (161, (6, 12, 36, 24), 48, (), "Not on the slides: released with the paper, with a growth rate of 48."),
    (169, (6, 12, 32, 32), 32, ("002", "004"), OCR),
    (201, (6, 12, 48, 32), 32, ("002", "004"), OCR),
    (264, (6, 12, 64, 48), 32, ("002", "004"), f"It has 265 weighted layers, the name notwithstanding. {OCR}"),
):
    register(
        f"densenet{_depth}", title=f"DenseNet-{_depth}", paper=PAPER, year=2016, input_shape=(3, 224, 224), decks=_decks,
        blocks=_blocks, growth_rate=_growth, notes=f"{_notes} No convolution has a bias.".strip(),
    )(densenet)  # fmt: skip
