"""Residual networks for ImageNet: plain, ResNet, ResNeXt, wide.

He, Zhang, Ren and Sun 2015, "Deep residual learning for image recognition", arXiv:1512.03385, table 1; Xie et al. 2016,
"Aggregated residual transformations for deep neural networks", arXiv:1611.05431, table 1; Zagoruyko and Komodakis 2016,
"Wide residual networks", arXiv:1605.07146.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

from ..errors import check
from ..layers import (
    BatchNorm2d,
    Conv2d,
    Flatten,
    GlobalAvgPool2d,
    Layer,
    Linear,
    MaxPool2d,
    PadShortcut,
    ReLU,
    Residual,
    Sequential,
    init,
)
from ..layers.arguments import DEEPEST, count, counts
from .registry import register

PAPER = "He, Zhang, Ren and Sun 2015, Deep residual learning for image recognition, arXiv:1512.03385"
RESNEXT = "Xie, Girshick, Dollar, Tu and He 2016, Aggregated residual transformations, arXiv:1611.05431"
WIDE = "Zagoruyko and Komodakis 2016, Wide residual networks, arXiv:1605.07146"

Shortcut = Literal["A", "B", "C"] | None


# The blocks, which the networks for CIFAR share


def conv_bn(
    number: int, channels: int, filters: int, window: int, stride: int = 1, groups: int = 1
) -> dict[str, Layer]:
    """A convolution that keeps the size of the map (at stride 1), without a bias, and its batch norm."""
    conv = Conv2d(channels, filters, window, stride, padding=window // 2, groups=groups, bias=False)
    return {f"conv{number}": conv, f"bn{number}": BatchNorm2d(filters)}


def basic(channels: int, width: int, stride: int) -> Sequential:
    """Two 3x3 convolutions."""
    return Sequential({
        **conv_bn(1, channels, width, 3, stride), "relu1": ReLU(),
        **conv_bn(2, width, width, 3),
    })  # fmt: skip


def bottleneck_block(
    channels: int, inner: int, width: int, stride: int, stride_on: str = "1x1", groups: int = 1
) -> Sequential:
    """1x1 to `inner` channels, 3x3, 1x1 to `width` channels; `stride_on` says which convolution strides."""
    first, second = (stride, 1) if stride_on == "1x1" else (1, stride)
    return Sequential({
        **conv_bn(1, channels, inner, 1, first), "relu1": ReLU(),
        **conv_bn(2, inner, inner, 3, second, groups), "relu2": ReLU(),
        **conv_bn(3, inner, width, 1),
    })  # fmt: skip


def check_shortcut(model: str, shortcut: Any, kinds: tuple[Any, ...] = ("A", "B", "C", None)) -> None:
    """Raises ArgumentError for a kind of shortcut that there is not."""
    check(
        shortcut in kinds,
        f"{model}: shortcut is {shortcut!r}: it must be "
        f"{', '.join(map(str, kinds[:-1]))} or {kinds[-1]}"
        + (", which leaves the shortcuts out" if kinds[-1] is None else ""),
    )


def residual(body: Sequential, shortcut: Shortcut, channels: int, width: int, stride: int, zero_gamma: bool) -> Layer:
    """`body` beside a shortcut of the kind wanted, with a ReLU behind their sum; without shortcut, body and ReLU."""
    if shortcut is None:
        return body.append(ReLU(), "relu")
    if zero_gamma:
        init.constant(body[-1].scale, 0.0)
    changes = stride > 1 or channels != width
    way: Layer | None = None
    if shortcut == "A" and changes:
        check(channels <= width, f"shortcut A cannot go from {channels} channels to {width}: widths must not shrink")
        way = PadShortcut(width, stride)
    elif shortcut == "C" or changes:
        way = Sequential({"conv": Conv2d(channels, width, 1, stride, bias=False), "bn": BatchNorm2d(width)})
    return Residual(body, way, ReLU())


def stages(
    blocks: Sequence[int], widths: Sequence[int], channels: int, block: Callable[[int, int, int, int, int], Layer]
) -> dict[str, Layer]:
    """Stage upon stage, all but the first at half the size of the one before.

    block: called with the number of its stage and its number in there, both from 0, its input channels, its output
        channels and its stride, it gives a layer.
    """
    result: dict[str, Layer] = {}
    for stage, (repeats, width) in enumerate(zip(blocks, widths)):
        layers: dict[str, Layer] = {}
        for number in range(repeats):
            layers[f"block{number + 1}"] = block(stage, number, channels, width, 2 if stage and not number else 1)
            channels = width
        result[f"stage{stage + 1}"] = Sequential(layers)
    return result


def head(channels: int, num_classes: int) -> dict[str, Layer]:
    """The mean of each map, and one linear layer."""
    return {"pool": GlobalAvgPool2d(), "flatten": Flatten(), "fc": Linear(channels, num_classes)}


def flag(value: Any, name: str) -> None:
    """Raises ArgumentError unless `value` is a truth value."""
    check(isinstance(value, bool), f"{name} is {value!r}: it must be True or False")


# The networks


def resnet(
    *, num_classes: int = 1000, in_channels: int = 3, blocks: Sequence[int] = (2, 2, 2, 2),
    widths: Sequence[int] = (64, 128, 256, 512), bottleneck: Sequence[int] | None = None, cardinality: int = 1,
    stem: int = 64, shortcut: Shortcut = "B", stride_on: Literal["1x1", "3x3"] = "1x1", caffe: bool = False,
    zero_gamma: bool = False,
) -> Sequential:  # fmt: skip
    """A residual network for 224x224 images.

    blocks: how many there are in each stage. widths: channels that each stage gives. stem: filters of the first layer.
    bottleneck: for each stage the channels inside its blocks of 1x1, 3x3 and 1x1; None for blocks of two 3x3.
    cardinality: groups of the 3x3 inside a bottleneck (ResNeXt).
    shortcut: "A" pads with zeros, "B" projects where the shape changes, "C" always; None leaves shortcuts out.
    stride_on: the convolution of a bottleneck that strides, the first 1x1 (paper) or the 3x3 (v1.5).
    caffe: as in the released prototxt, conv1 keeps a bias and the pool rounds up in place of its padding.
    zero_gamma: start the last scale of each block at 0, so that every block begins as its shortcut.
    """
    blocks = counts(blocks, "resnet: blocks", most=DEEPEST)
    widths = counts(widths, "resnet: widths", len(blocks))
    inner = None if bottleneck is None else counts(bottleneck, "resnet: bottleneck", len(blocks))
    count(stem, "resnet: stem")
    count(cardinality, "resnet: cardinality")
    check(
        inner is not None or cardinality == 1,
        f"resnet: cardinality is {cardinality}: blocks of two 3x3 have no groups: give the widths of a bottleneck",
    )
    check_shortcut("resnet", shortcut)
    check(stride_on in ("1x1", "3x3"), f"resnet: stride_on is {stride_on!r}: it must be 1x1 or 3x3")
    flag(caffe, "resnet: caffe")
    flag(zero_gamma, "resnet: zero_gamma")

    def block(stage: int, number: int, channels: int, width: int, stride: int) -> Layer:
        if inner is None:
            body = basic(channels, width, stride)
        else:
            body = bottleneck_block(channels, inner[stage], width, stride, stride_on, cardinality)
        return residual(body, shortcut, channels, width, stride, zero_gamma)

    return Sequential({
        "conv1": Conv2d(in_channels, stem, 7, stride=2, padding=3, bias=caffe), "bn1": BatchNorm2d(stem), "relu1": ReLU(),
        "pool1": MaxPool2d(3, 2, padding=0 if caffe else 1, ceil_mode=caffe),
        **stages(blocks, widths, stem, block),
        **head(widths[-1], num_classes),
    })  # fmt: skip


BLOCKS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}
"""How many blocks each stage has, by depth; from 50 on they are bottlenecks."""
BOTTLENECK = {"bottleneck": (64, 128, 256, 512), "widths": (256, 512, 1024, 2048)}

OPTION_A = (
    "Counted with projections (option B), as released. With shortcuts that have no parameters (option A) there are 173,824 "
    "parameters and 19,267,584 MACs fewer, which fits the rounded numbers of the paper and the slides best. What they call "
    "FLOPs are multiply-adds."
)
STRIDE = (
    "As in the paper, a stage's first 1x1 convolution strides. In torchvision and others (v1.5) the 3x3 does: as many "
    "parameters, 231,211,008 MACs more, other outputs; weights cannot be exchanged. What the slides call FLOPs are "
    "multiply-adds: those of ResNet-50 cut off after one digit, of the deeper two rounded."
)
CAFFE = (
    "The prototxt of the authors keeps a bias in conv1 (64 more parameters), and Caffe's pool rounds up where others "
    "pad: the maps have the same size, shifted by a pixel."
)


def _enter(name: str, title: str, decks: tuple[str, ...], notes: str, **more: Any) -> None:
    given: dict[str, Any] = {"paper": PAPER, "year": 2015, **more}
    register(name, title=title, input_shape=(3, 224, 224), decks=decks, notes=notes, **given)(resnet)


def _depth(depth: int) -> Mapping[str, Any]:
    return {"blocks": BLOCKS[depth], **(BOTTLENECK if depth >= 50 else {})}


for _layers, _decks in ((18, ("002",)), (34, ("000", "002"))):
    _enter(
        f"plain{_layers}", f"Plain-{_layers}", _decks,
        f"ResNet-{_layers} without its shortcuts; as many parameters and MACs as with shortcuts of option A.",
        shortcut=None, **_depth(_layers),
    )  # fmt: skip
_enter("resnet18", "ResNet-18", ("002", "004"), OPTION_A, **_depth(18))
_enter("resnet34", "ResNet-34", ("000", "002", "004"), OPTION_A, **_depth(34))
_enter("resnet50", "ResNet-50", ("000", "004"), f"{STRIDE} {CAFFE}", **_depth(50))
_enter("resnet101", "ResNet-101", ("000", "004"), STRIDE, **_depth(101))
_enter(
    "resnet152", "ResNet-152", ("002", "004"),
    f"{STRIDE} A table of the Inception-v4 paper, which one deck shows, calls it ResNet-151.", **_depth(152),
)  # fmt: skip
_enter("resnet50_caffe", "ResNet-50 as its authors released it", (), CAFFE, caffe=True, reference=True, **_depth(50))
for _layers in (50, 101, 152):
    _enter(
        f"resnet{_layers}_v1.5", f"ResNet-{_layers} v1.5", (),
        f"A stage's first 3x3 convolution strides, not the 1x1 before it: torchvision's resnet{_layers}.",
        reference=True, stride_on="3x3", **_depth(_layers),
    )  # fmt: skip

# In the blocks of ResNeXt, cardinality x channels in each group make the first stage's bottleneck: 32 x 4 = 128.
for _name, _title, _blocks, _first, _cardinality, _notes in (
    ("resnext50_32x4d", "ResNeXt-50 (32x4d)", BLOCKS[50], 128, 32, "The slides describe it and give no number."),
    ("resnext101_32x4d", "ResNeXt-101 (32x4d)", BLOCKS[101], 128, 32, "Not named on the slides."),
    (
        "resnext101_32x8d", "ResNeXt-101 (32x8d)", BLOCKS[101], 256, 32,
        "Not named on the slides nor in the first paper: torchvision has it, after Mahajan et al. 2018.",
    ),
    ("resnext101_64x4d", "ResNeXt-101 (64x4d)", BLOCKS[101], 256, 64, "Not named on the slides."),
):  # fmt: skip
    _enter(
        _name, _title, ("001",), f"{_notes} The 3x3 convolutions stride, as in the authors' code and in torchvision.",
        paper=RESNEXT, year=2016, blocks=_blocks, widths=BOTTLENECK["widths"],
        bottleneck=(_first, 2 * _first, 4 * _first, 8 * _first), cardinality=_cardinality, stride_on="3x3",
    )  # fmt: skip

_enter(
    "wide_resnet50_2", "Wide ResNet-50-2", ("002",),
    "On a reading list only. ResNet-50 with bottlenecks twice as wide inside; the 3x3 convolutions stride, as in "
    "torchvision and the authors' code.",
    paper=WIDE, year=2016, blocks=BLOCKS[50], widths=BOTTLENECK["widths"], bottleneck=(128, 256, 512, 1024),
    stride_on="3x3",
)  # fmt: skip
