"""AlexNet. Krizhevsky, Sutskever and Hinton 2012, "ImageNet classification with deep convolutional neural networks"."""

from __future__ import annotations

from collections.abc import Sequence

from ..layers import BatchNorm2d, Conv2d, Dropout, Flatten, Layer, Linear, MaxPool2d, ReLU, Sequential
from ..layers.arguments import counts
from .chain import Norm, Stage, chain, linear
from .registry import register

PAPER = "Krizhevsky, Sutskever and Hinton 2012, ImageNet classification with deep convolutional neural networks"


@register(
    "alexnet_torchvision",
    title="AlexNet as in torchvision",
    paper="Krizhevsky 2014, One weird trick for parallelizing convolutional neural networks, arXiv:1404.5997",
    year=2014,
    input_shape=(3, 224, 224),
    notes="Not the network of the slides, but the one that pretrained weights are found for: fewer filters (64, 192, 384, "
    "256, 256), padding 2 in the first convolution, no normalisation, an average over 6x6 places in front of the linear "
    "layers, and dropout in front of them instead of behind them.",
    reference=True,
    widths=(64, 192, 384, 256, 256),
    padding=2,
    norm=None,
    adaptive=True,
    drop_first=True,
)
@register(
    "alexnet_grouped",
    title="AlexNet in two groups",
    paper=PAPER,
    year=2012,
    input_shape=(3, 227, 227),
    decks=("002", "004"),
    notes="As it was trained on two GPUs: convolutions 2, 4 and 5 see half the channels. 60,965,224 parameters are the "
    "paper's 60 million, cut off, not rounded. It has 659,272 neurons, where the paper says 650,000 (and lists 253,440 "
    "for the first layer, which is 290,400), and 724 million connections, where it says 630 million.",
    groups=2,
)
@register(
    "alexnet",
    title="AlexNet",
    paper=PAPER,
    year=2012,
    input_shape=(3, 227, 227),
    decks=("000", "001", "003"),
    notes="In one piece: every filter sees all channels. The paper says 224x224, which does not give 55x55 maps; 227x227 "
    "without padding does (or 224x224 with padding=2). One deck normalises behind the pools, the paper before them; "
    "normalisation has no parameters.",
)
def alexnet(
    *, num_classes: int = 1000, in_channels: int = 3, dropout: float = 0.5, groups: int = 1, norm: Norm = "before",
    padding: int = 0, widths: Sequence[int] = (96, 256, 384, 384, 256), hidden: Sequence[int] = (4096, 4096),
    batch_norm: bool = False, adaptive: bool = False, drop_first: bool = False,
) -> Sequential:  # fmt: skip
    """AlexNet for 227x227 images, or with padding=2 for 224x224 ones.

    groups: 2 as on the paper's two GPUs. norm: local response normalisation before the pool (the paper), after it, or
    None. padding: of the first convolution. widths: filters of the five convolutions. hidden: units of the hidden linear
    layers. batch_norm: one behind each convolution (which has no bias then). adaptive: average the last maps to 6x6, so
    that other sizes of image fit. drop_first: dropout in front of the hidden linear layers, not behind them.
    """
    a, b, c, d, e = counts(widths, "alexnet: widths", 5)
    stages = [
        Stage(a, 11, stride=4, padding=padding, lrn=True, pool=(3, 2)),
        Stage(b, 5, padding=2, groups=groups, lrn=True, pool=(3, 2)),
        Stage(c, 3, padding=1),
        Stage(d, 3, padding=1, groups=groups),
        Stage(e, 3, padding=1, groups=groups, pool=(3, 2)),
    ]
    return chain(
        "alexnet", stages, 6, hidden=hidden, num_classes=num_classes, in_channels=in_channels, dropout=dropout,
        norm=norm, batch_norm=batch_norm, adaptive=adaptive, drop_first=drop_first,
    )  # fmt: skip


@register(
    "alexnet_cifar",
    title="AlexNet for 32x32 images",
    paper=PAPER + " (its plan; the widths are this project's)",
    year=2012,
    input_shape=(3, 32, 32),
    notes="AlexNet's plan at the size of CIFAR-10: five convolutions, three overlapping pools (maps of 16, 8 and 4), three "
    "linear layers, ReLU and dropout. No local response normalisation: it costs time and gains nothing here.",
)
def alexnet_cifar(
    *, num_classes: int = 10, in_channels: int = 3, widths: Sequence[int] = (48, 64, 128, 128, 96),
    hidden: Sequence[int] = (256, 128), dropout: float = 0.2, batch_norm: bool = False,
) -> Sequential:  # fmt: skip
    """AlexNet's plan for 32x32 images.

    widths: filters of the five convolutions. hidden: units of the two hidden linear layers. dropout: behind each of
    them. batch_norm: whether each convolution is followed by one (and has no bias then).
    """
    a, b, c, d, e = counts(widths, "alexnet_cifar: widths", 5)
    f, g = counts(hidden, "alexnet_cifar: hidden", 2)

    def conv(number: int, channels: int, filters: int, window: int) -> dict[str, Layer]:
        parts: dict[str, Layer] = {
            f"conv{number}": Conv2d(channels, filters, window, padding="same", bias=not batch_norm)
        }
        if batch_norm:
            parts[f"bn{number}"] = BatchNorm2d(filters)
        return {**parts, f"relu{number}": ReLU()}

    return Sequential({
        **conv(1, in_channels, a, 5), "pool1": MaxPool2d(3, 2, padding=1),  # 16x16
        **conv(2, a, b, 3), "pool2": MaxPool2d(3, 2, padding=1),  # 8x8
        **conv(3, b, c, 3),
        **conv(4, c, d, 3),
        **conv(5, d, e, 3), "pool5": MaxPool2d(3, 2, padding=1),  # 4x4
        "flatten": Flatten(),
        "fc6": Linear(e * 4 * 4, f), "relu6": ReLU(), "drop6": Dropout(dropout),
        "fc7": Linear(f, g), "relu7": ReLU(), "drop7": Dropout(dropout),
        "fc8": linear(g, num_classes),
    })  # fmt: skip
