"""Pre-activation residual networks: batch norm and ReLU come before each convolution, and the shortcut stays clean.

He, Zhang, Ren and Sun 2016, "Identity mappings in deep residual networks", arXiv:1603.05027; Zagoruyko and Komodakis 2016,
"Wide residual networks", arXiv:1605.07146. Where the paper leaves a choice: fb.resnet.torch (`preresnet.lua`) for ImageNet
and two 3x3 convolutions, resnet-1k-layers for bottlenecks on CIFAR.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

from ..layers import BatchNorm2d, Conv2d, Dropout, Layer, MaxPool2d, PadShortcut, ReLU, Residual, Sequential
from ..layers.arguments import DEEPEST, count, counts
from .cifar_resnet import repeats
from .registry import register
from .resnet import BLOCKS, BOTTLENECK, WIDE, check_shortcut, flag, head, stages

PAPER = "He, Zhang, Ren and Sun 2016, Identity mappings in deep residual networks, arXiv:1603.05027"


def norm_relu(number: int, channels: int) -> dict[str, Layer]:
    """A batch norm and a ReLU."""
    return {f"bn{number}": BatchNorm2d(channels), f"relu{number}": ReLU()}


def conv(number: int, channels: int, filters: int, window: int, stride: int = 1) -> dict[str, Layer]:
    """A convolution without a bias that keeps the size of the map (at stride 1)."""
    return {f"conv{number}": Conv2d(channels, filters, window, stride, padding=window // 2, bias=False)}


def basic(channels: int, width: int, stride: int, dropout: float = 0.0) -> dict[str, Layer]:
    """Two 3x3 convolutions, from the first on; what comes before it, `unit` adds."""
    drop: dict[str, Layer] = {"drop": Dropout(dropout)} if dropout else {}
    return {**conv(1, channels, width, 3, stride), **norm_relu(2, width), **drop, **conv(2, width, width, 3)}


def bottleneck_block(channels: int, inner: int, width: int, stride: int, stride_on: str) -> dict[str, Layer]:
    """1x1, 3x3 and 1x1, from the first convolution on; what comes before it, `unit` adds."""
    first, second = (stride, 1) if stride_on == "1x1" else (1, stride)
    return {
        **conv(1, channels, inner, 1, first),
        **norm_relu(2, inner), **conv(2, inner, inner, 3, second),
        **norm_relu(3, inner), **conv(3, inner, width, 1),
    }  # fmt: skip


def unit(
    body: dict[str, Layer], channels: int, width: int, stride: int, shortcut: Literal["A", "B"],
    activation: Literal["inside", "shared", "done"],
) -> Layer:  # fmt: skip
    """A residual block: nothing follows the sum.

    activation: where the first batch norm and ReLU are: inside the body, so that the shortcut is the input itself;
        before both ways (the first block of a stage); or done already, behind the first convolution of the network.
    """
    if activation == "inside":
        return Residual(Sequential({**norm_relu(1, channels), **body}))
    way: Layer | None = None
    if stride > 1 or channels != width:
        way = PadShortcut(width, stride) if shortcut == "A" else Conv2d(channels, width, 1, stride, bias=False)
    block = Residual(Sequential(body), way)
    return block if activation == "done" else Sequential({**norm_relu(1, channels), "unit": block})


def preact_resnet(
    *, num_classes: int = 1000, in_channels: int = 3, blocks: Sequence[int] = (2, 2, 2, 2),
    widths: Sequence[int] = (64, 128, 256, 512), bottleneck: Sequence[int] | None = None, stem: int = 64,
) -> Sequential:  # fmt: skip
    """A pre-activation residual network for 224x224 images.

    blocks: how many there are in each stage. widths: channels that each stage gives. stem: filters of the first layer.
    bottleneck: for each stage the channels inside its blocks of 1x1, 3x3 and 1x1; None for blocks of two 3x3.
    """
    blocks = counts(blocks, "preact_resnet: blocks", most=DEEPEST)
    widths = counts(widths, "preact_resnet: widths", len(blocks))
    inner = None if bottleneck is None else counts(bottleneck, "preact_resnet: bottleneck", len(blocks))
    count(stem, "preact_resnet: stem")

    def block(stage: int, number: int, channels: int, width: int, stride: int) -> Layer:
        if inner is None:
            body = basic(channels, width, stride)
        else:
            body = bottleneck_block(channels, inner[stage], width, stride, "3x3")
        return unit(body, channels, width, stride, "B", "inside" if number else "shared" if stage else "done")

    return Sequential({
        "conv1": Conv2d(in_channels, stem, 7, stride=2, padding=3, bias=False), **norm_relu(1, stem),
        "pool1": MaxPool2d(3, 2, padding=1),
        **stages(blocks, widths, stem, block),
        "bn": BatchNorm2d(widths[-1]), "relu": ReLU(),
        **head(widths[-1], num_classes),
    })  # fmt: skip


def _small(
    num_classes: int, in_channels: int, n: int, stem: int, widths: tuple[int, ...],
    body: Callable[[int, int, int], dict[str, Layer]], shortcut: Literal["A", "B"],
) -> Sequential:  # fmt: skip
    """Three stages of n blocks on maps of 32, 16 and 8."""

    def block(stage: int, number: int, channels: int, width: int, stride: int) -> Layer:
        return unit(body(channels, width, stride), channels, width, stride, shortcut, "inside" if number else "shared")

    return Sequential({
        **conv(1, in_channels, stem, 3),
        **stages((n, n, n), widths, stem, block),
        "bn": BatchNorm2d(widths[-1]), "relu": ReLU(),
        **head(widths[-1], num_classes),
    })  # fmt: skip


def cifar_preact_resnet(
    *, num_classes: int = 10, in_channels: int = 3, depth: int = 110, widths: Sequence[int] = (16, 32, 64),
    bottleneck: bool = False, shortcut: Literal["A", "B"] = "A",
) -> Sequential:  # fmt: skip
    """A pre-activation residual network for 32x32 images.

    depth: weighted layers: 6*n + 2, or 9*n + 2 with bottlenecks. widths: channels of the 3x3 convolutions in the three
    stages. bottleneck: blocks of 1x1, 3x3 and 1x1, which give four times as many channels, instead of two 3x3.
    shortcut: where the shape changes, "A" pads with zeros and "B" projects.
    """
    flag(bottleneck, "cifar_preact_resnet: bottleneck")
    n = repeats("cifar_preact_resnet", depth, 3 if bottleneck else 2)
    widths = counts(widths, "cifar_preact_resnet: widths", 3)
    check_shortcut("cifar_preact_resnet", shortcut, ("A", "B"))
    if not bottleneck:
        return _small(num_classes, in_channels, n, widths[0], widths, basic, shortcut)

    def body(channels: int, width: int, stride: int) -> dict[str, Layer]:
        return bottleneck_block(channels, width // 4, width, stride, "1x1")

    return _small(num_classes, in_channels, n, widths[0], tuple([4 * w for w in widths]), body, shortcut)


def wide_resnet(
    *, num_classes: int = 10, in_channels: int = 3, depth: int = 28, widen: int = 10,
    widths: Sequence[int] = (16, 32, 64), dropout: float = 0.0,
) -> Sequential:  # fmt: skip
    """A wide residual network for 32x32 images.

    depth: convolutions, the three projections included: 6*n + 4. widen: factor on the `widths` of the three stages.
    dropout: between the two convolutions of each block (0.3 in the paper, where it is used).
    """
    n = repeats("wide_resnet", depth, 2, others=4)
    count(widen, "wide_resnet: widen")
    widths = counts(widths, "wide_resnet: widths", 3)
    dropout = Dropout(dropout).p  # checked, 0 too, which leaves the layers out

    def body(channels: int, width: int, stride: int) -> dict[str, Layer]:
        return basic(channels, width, stride, dropout)

    return _small(num_classes, in_channels, n, widths[0], tuple([widen * w for w in widths]), body, "B")


MORE_BLOCKS = {**BLOCKS, 200: (3, 24, 36, 3), 269: (3, 30, 48, 8)}
PROJECTION = "Projections are 1x1 convolutions without bias or batch norm; in a bottleneck the 3x3 convolution strides."

for _depth, _decks, _more in (
    (18, ("004",), ""), (34, ("004",), ""), (50, ("004",), ""), (101, ("004",), ""), (152, ("004",), ""),
    (200, ("004",), " A ResNet-200 with the activations behind the sums (timm) has 64,673,832 parameters."),
    (269, ("002", "004"), ""),
):  # fmt: skip
    _wide: dict[str, Any] = dict(BOTTLENECK) if _depth >= 50 else {}
    register(
        f"preact_resnet{_depth}", title=f"Pre-activation ResNet-{_depth}", paper=PAPER, year=2016,
        input_shape=(3, 224, 224), decks=_decks, blocks=MORE_BLOCKS[_depth], **_wide,
        notes="The slides show the block and no numbers. " + PROJECTION + _more,
    )(preact_resnet)  # fmt: skip

for _depth, _bottleneck, _more in (
    (110, False, "Blocks of two 3x3 convolutions, shortcuts without parameters."),
    (164, True, "Bottlenecks and projections, as in the authors' code."),
    (1001, True, "Bottlenecks and projections, as in the authors' code. The paper's 10.2 million leaves out the batch norms."),
):  # fmt: skip
    register(
        f"cifar_preact_resnet{_depth}", title=f"Pre-activation ResNet-{_depth} for CIFAR-10", paper=PAPER, year=2016,
        input_shape=(3, 32, 32), decks=("002",), depth=_depth, bottleneck=_bottleneck,
        shortcut="B" if _bottleneck else "A", notes="On a reading list. " + _more,
    )(cifar_preact_resnet)  # fmt: skip

register(
    "wrn_28_10_cifar10", title="WRN-28-10 for CIFAR-10", paper=WIDE, year=2016, input_shape=(3, 32, 32), decks=("002",),
    notes="On a reading list. Pre-activation blocks of two 3x3 convolutions, ten times as wide as ResNet-26's; the 28 layers "
    "include the three projections.",
)(wide_resnet)  # fmt: skip
