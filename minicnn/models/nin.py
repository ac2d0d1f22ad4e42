"""Network in Network. Lin, Chen and Yan 2013, "Network in network"."""

from __future__ import annotations

from ..layers import Conv2d, Dropout, Flatten, GlobalAvgPool2d, Layer, MaxPool2d, ReLU, Sequential, init
from .registry import register

PAPER = "Lin, Chen and Yan 2013, Network in network, arXiv:1312.4400"


def mlpconv(
    number: int, channels: int, widths: tuple[int, int, int], window: int, stride: int = 1, padding: int = 0
) -> dict[str, Layer]:
    """A convolution and two 1x1 convolutions, each with ReLU: a small network that slides over the maps."""
    a, b, c = widths
    return {
        f"conv{number}": Conv2d(channels, a, window, stride, padding), f"relu{number}": ReLU(),
        f"cccp{number}a": Conv2d(a, b, 1), f"relu{number}a": ReLU(),
        f"cccp{number}b": Conv2d(b, c, 1), f"relu{number}b": ReLU(),
    }  # fmt: skip


def shrink(number: int, dropout: float | None = None) -> dict[str, Layer]:
    """Overlapping max pooling, whose division rounds up, and dropout if asked."""
    parts: dict[str, Layer] = {f"pool{number}": MaxPool2d(3, 2, ceil_mode=True)}
    return parts if dropout is None else {**parts, f"drop{number}": Dropout(dropout)}


def classes(model: Sequential, last: str) -> Sequential:
    """Add the head: each map of the convolution called `last` is a class, and the mean of the map its score."""
    init.gaussian(model[last].weight, 0.01)
    # A ReLU stands behind the scores, in the papers too. From 0 some classes, and soon all, would stay at 0 for ever.
    init.constant(model[last].bias, 1.0)
    return model.append(GlobalAvgPool2d(), "average").append(Flatten(), "flatten")


@register(
    "nin_imagenet",
    title="Network in Network, ImageNet",
    paper=PAPER,
    year=2013,
    input_shape=(3, 224, 224),
    decks=("001", "002"),
    notes="AlexNet's windows with 1x1 convolutions behind each, and global average pooling instead of fc6 and fc7: the "
    "authors' released network. 7,595,176 numbers are 28.97 MiB, the slide's 29 megabytes. At 227x227 the first maps are 55x55 and "
    "the multiply-adds 1,105,996,320. A ReLU stands even behind the last 1x1 convolution, as in every layer of the paper.",
    aliases=("nin",),
)
def nin_imagenet(*, num_classes: int = 1000, in_channels: int = 3, dropout: float = 0.5) -> Sequential:
    """Network in Network for 224x224 images: maps of 54, 27, 13 and 6. dropout: behind the third pool."""
    return classes(
        Sequential(
            mlpconv(1, in_channels, (96, 96, 96), 11, stride=4), shrink(1),
            mlpconv(2, 96, (256, 256, 256), 5, padding=2), shrink(2),
            mlpconv(3, 256, (384, 384, 384), 3, padding=1), shrink(3, dropout),
            mlpconv(4, 384, (1024, 1024, num_classes), 3, padding=1),
        ),
        "cccp4b",
    )  # fmt: skip


@register(
    "nin_cifar10",
    title="Network in Network, CIFAR-10",
    paper=PAPER,
    year=2013,
    input_shape=(3, 32, 32),
    decks=("001",),
    notes="The paper's network for CIFAR-10, with the widths of the authors' released definition (192, 160, 96; 192; 192, "
    "192, 10). The slide shows the idea and no numbers.",
)
def nin_cifar10(*, num_classes: int = 10, in_channels: int = 3, dropout: float = 0.5) -> Sequential:
    """Network in Network for 32x32 images: maps of 32, 16 and 8. dropout: behind both pools."""
    return classes(
        Sequential(
            mlpconv(1, in_channels, (192, 160, 96), 5, padding=2), shrink(1, dropout),
            mlpconv(2, 96, (192, 192, 192), 5, padding=2), shrink(2, dropout),
            mlpconv(3, 192, (192, 192, num_classes), 3, padding=1),
        ),
        "cccp3b",
    )  # fmt: skip
