"""Deck 002, second part: GoogLeNet with its table, BN-Inception, Inception-v3 and v4, ResNet, DenseNet."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ...geometry import Shape
from ...layers import BatchNorm2d, Conv2d
from ...tensor import Tensor
from ..modules import build
from . import deck_004
from .claim import Claim, Formula, Holds
from .measure import Net, depth_of, hwc, input_of, net, stack
from .papers import PAPERS
from .quotes import errors, quoted
from .tables import TABLE_IS_OFF, Reasons, dense_blocks, dense_sizes, googlenet, transitions
from .worked import EXAMPLES, googlenet_parts

OCR = "GoogLeNet table OCR: conv1 27K; 3b lost 96; 4b lost 224; 4d 12/238/3z; 4d 19M"

TABLE = """
conv1  |           | 1 |                        | 27K   | 34M
conv2  | 56x56x192 | 2 | 64 192                 | 112K  | 360M
3a     |           | 2 | 64 06 128 16 32 32     | 159K  | 128M
3b     | 28x28x480 | 2 | 128 128 192 32 64      | 380K  | 304M
4a     |           | 2 | 192 96 208 16 48 64    | 364K  |
4b     | 14x14x512 | 2 | 160 112 24 24 64 64    | 437K  | 85EM
4c     | 14x14x512 | 2 | 128 128 256 24 64 64   | 463K  | 100M
4d     |           | 2 | 12 144 238 3z 64 64    | SR0K  | 19M
4e     | 14x14x832 | 2 | 256 160 320 32 128 128 | B40K  | 170M
5a     |           | 2 | 256 160 320 3z 128 128 | 1072K | 54M
5b     |           | 2 | 384 192 384 48 128 128 | 1388K | 7IM
linear |           | 1 |                        | 1000K |
"""
"""The deck's table as its text reads; cells that hold nothing readable are left out. Deck 004 has it whole."""

REASONS: Reasons = {
    ("conv1", "params"): ("only a separable first convolution has 2.7K", ""),
    ("conv1", "ops"): ("only a separable first convolution has 34 million", ""),
    ("5a", "ops"): (TABLE_IS_OFF, ""),
    **{(row, "params"): (TABLE_IS_OFF, "") for row in ("4a", "4b", "4c", "4d", "4e", "5a", "5b")},
}


def _modules(name: str) -> list[Shape]:
    """The outputs of the concatenations and residual sums that are no part of another, height x width x channels."""
    one = net(name)
    rows = one.of("Concat", "Residual")
    outer = [row for row in rows if not any(row.path.startswith(other.path + ".") for other in rows)]
    return [hwc(row.output_shape) for row in outer]


def _count(name: str, kind: str, size: Shape) -> int:
    """How many modules of a kind give maps of this size from maps of this size."""
    one = net(name)
    rows = [row for row in one.of(kind) if hwc(row.output_shape) == size]
    outer = [
        row for row in rows if not any(row.path.startswith(other.path + ".") for other in rows if other is not row)
    ]
    return sum(hwc(row.input_shape) == size for row in outer)


def _largest(name: str, side: int) -> tuple[int, ...]:
    """The shape of the last module whose maps have this side."""
    return [shape for shape in _modules(name) if shape[0] == side][-1]


def _first(name: str, side: int) -> tuple[int, ...]:
    """The input of the first module that reads maps of this side: what the layers before it give."""
    one = net(name)
    return next(hwc(row.input_shape) for row in one.of("Concat", "Residual") if row.input_shape[1] == side)


def _doubles() -> list[tuple[int, int]]:
    """The filters of the pairs of 3x3 convolutions in the inception modules of BN-Inception."""
    one, found = net("bn_inception"), []
    convs = [(row, one.layer(row)) for row in one.convs]
    for (row, layer), (after, following) in zip(convs, convs[1:]):
        both = layer.kernel_size == following.kernel_size == (3, 3) and following.in_channels == layer.out_channels
        if both and row.path.rpartition(".")[0].rpartition(".")[0] == after.path.rpartition(".")[0].rpartition(".")[0]:
            found.append((layer.out_channels, following.out_channels))
    return found


def _normed() -> Holds:
    one = net("bn_inception")
    return Holds(
        len(one.convs) == len(one.of("BatchNorm2d")), f"{len(one.convs)} convolutions, {len(one.of('BatchNorm2d'))} BN"
    )


def _no_five() -> Holds:
    windows = {net("bn_inception").layer(row).kernel_size for row in net("bn_inception").convs}
    return Holds(
        (5, 5) not in windows and bool(_doubles()),
        ", ".join("x".join(map(str, window)) for window in sorted(windows)) + f"; {len(_doubles())} pairs of 3x3",
    )


def _statistics(training: bool) -> str:
    """What batch norm normalises with, found by running it with running statistics that differ from the batch's."""
    layer = BatchNorm2d(1, eps=0.0)
    layer.running_mean = Tensor(np.full(1, 100, np.float32))
    layer.train(training)
    y = layer(np.array([1, 2, 3, 4], np.float32)[:, None]).numpy()
    return "the mini-batch" if abs(float(y.mean())) < 1e-3 else "the moving average"


def _rate() -> str:
    return f"Inception's is {PAPERS['bn_inception']['learning rate of Inception']}"


def _reduced(part: int) -> Callable[[], tuple[int, ...]]:
    """Input (0) and output (1) of the first grid reduction of Inception-v3."""

    def shape() -> tuple[int, ...]:
        row = next(row for row in net("inception_v3").of("Concat") if row.output_shape[1] == 17)
        return hwc(row.input_shape if part == 0 else row.output_shape)

    return shape


def _has(name: str, *wanted: tuple[int, int]) -> Holds:
    """Whether a network has convolutions with these windows, and how many."""
    one = net(name)
    found = [one.layer(row).kernel_size for row in one.convs]
    return Holds(
        all(window in found for window in wanted), ", ".join(f"{found.count((R, S))} of {R}x{S}" for R, S in wanted)
    )


def _conv_beside_pool() -> tuple[int, ...]:
    return Net(*build("conv_beside_pool")).output


def _conv_before_pool() -> tuple[int, ...]:
    return hwc(Net(*build("conv_then_pool")).convs[0].output_shape)


def _final() -> tuple[str, int]:
    """The last maps of Inception-v3 and what its linear layer makes of them, with a class for the background."""
    one = net("inception_v3", num_classes=1001)
    maps = one.of("GlobalAvgPool2d", "AdaptiveAvgPool2d", "AvgPool2d")[-1].input_shape
    return "x".join(map(str, hwc(maps))), one.of("Linear")[-1].output_shape[0]


def _linear_1x1() -> int:
    """The filters of the last convolution in the B blocks' bodies: the one without an activation."""
    one = net("inception_resnet_v2_paper")
    block = next(row for row in one.of("Residual") if row.output_shape[1] == 17)
    last = [row for row in one.inside(block.path) if row.kind == "Conv2d"][-1]
    return last.output_shape[0]


def _b_convs() -> tuple[str, ...]:
    """The other convolutions of the B block: window and filters."""
    one = net("inception_resnet_v2_paper")
    block = next(row for row in one.of("Residual") if row.output_shape[1] == 17)
    layers = [one.layer(row) for row in one.inside(block.path) if row.kind == "Conv2d"][:-1]
    return tuple(f"{m.kernel_size[0]}x{m.kernel_size[1]} {m.out_channels}" for m in layers)


def _c_layers() -> list[Conv2d]:
    """The convolutions of Inception-v4's first C module."""
    one = net("inception_v4")
    size = (8, 8, 1536)
    path = next(row.path for row in one.of("Concat") if hwc(row.output_shape) == hwc(row.input_shape) == size)
    return [one.layer(row) for row in one.inside(path) if row.kind == "Conv2d"]


def _written(layer: Conv2d) -> str:
    return f"{layer.kernel_size[0]}x{layer.kernel_size[1]} {layer.out_channels}"


def _c_convs(*filters: int) -> tuple[str, ...]:
    """Those with so many filters, in order of windows."""
    return tuple(sorted(_written(layer) for layer in _c_layers() if layer.out_channels in filters))


def _c_pair() -> tuple[Conv2d, Conv2d]:
    """The one with 448 filters and the one that reads its maps."""
    layers = _c_layers()
    first = next(layer for layer in layers if layer.out_channels == 448)
    return first, next(layer for layer in layers if layer.in_channels == first.out_channels)


def _c_windows() -> tuple[str, ...]:
    """The filters of the first of the two, and the windows of both, in whatever order they run."""
    pair = _c_pair()
    return (str(pair[0].out_channels), ", ".join(sorted("{}x{}".format(*layer.kernel_size) for layer in pair)))


def _c_order() -> str:
    first, second = map(_written, _c_pair())
    return (
        "the slide has them in the order of the paper's figure; the released network, which the zoo has, turns the two "
        f"windows: {first}, then {second}, at the same cost"
    )


def _kept(name: str) -> float:
    return round(1 - net(name).layer(net(name).of("Dropout")[-1]).p, 4)


def _three_by_three() -> tuple[str, ...]:
    one = net("resnet34")
    return tuple(dict.fromkeys("{}x{}".format(*one.layer(row).kernel_size) for row in one.convs))


def _only_three(name: str) -> Holds:
    one = net(name)
    threes = sum(one.layer(row).kernel_size == (3, 3) for row in one.convs)
    return Holds(threes == len(one.convs), f"{threes} of {len(one.convs)}")


def _plain_equal() -> Holds:
    """Whether the plain and the residual net have the same convolutions outside the shortcuts."""
    plain, res = net("plain34"), net("resnet34")
    here = [plain.spec(row) for row in plain.convs]
    there = [res.spec(row) for row in res.convs if "shortcut" not in row.path]
    return Holds(here == there, f"{len(here)} convolutions each")


def _dense(depth: int, *printed: str) -> Claim:
    whole = tuple(map(str, deck_004.DENSENET[depth]))
    lost = printed != whole
    return Claim(
        f"DenseNet-{depth}: dense blocks x {', '.join(printed)}", printed,
        dense_blocks(f"densenet{depth}"),
        "deck 004 has the same table whole" if lost else "",
        erratum="DenseNet repeats x3, x2, x16 lost" if lost else "", meant=whole if lost else "",
    )  # fmt: skip


STEM = "v4 stem 35x35x684; v2 898, 1702"
V1 = "Inception-ResNet-v2 with 35x35x256, 17x17x896, 8x8x1792"
V2 = "inception_resnet_v2_paper"


def _schema(side: int) -> Callable[[], str]:
    """Why a size of the figure is not Inception-ResNet-v2's."""

    def text() -> str:
        released = "x".join(map(str, _largest("inception_resnet_v2_slim", side)))
        return f"the paper's schema shows Inception-ResNet-v1's sizes; v2 as released has {released}"

    return text


CLAIMS: dict[str, list[Claim]] = {
    "GoogLeNet": [
        Claim("1x1 convolutions, 3x3, 5x5 and 3x3 max pooling in a module", ("1x1", "3x3", "5x5"), lambda: tuple(sorted(
            {"{}x{}".format(*net("googlenet").layer(row).kernel_size) for row in net("googlenet").inside(googlenet_parts()["3a"][0])
             if row.kind == "Conv2d"}))),
        Claim("Widths of inception modules ranges from 256 filters (in early modules) to 1024", ("256", "1024"),
              lambda: (_modules("googlenet")[0][2], _modules("googlenet")[-1][2])),
        Claim("the figure's widths: 256 480 480 512 512 512 (the rest is lost)", ("256", "480", "480", "512", "512", "512"),
              lambda: tuple(row.output_shape[0] for row in net("googlenet").of("Concat", "MaxPool2d") if "." not in row.path)[2:8],
              "modules and the pools between them"),
        Claim("second max pool: output size", "28x28x192", lambda: hwc(net("googlenet").pools[1].output_shape)),
        *googlenet(TABLE, REASONS, deck_004.GOOGLENET, OCR),
    ],
    "BN-Inception": [
        Claim("5 x 5 convolution layers are converted to two consecutive 3 x 3 convolution layers", "", _no_five),
        Claim("with up to 128 filters", "128", lambda: max(max(pair) for pair in _doubles()), "the paper's table goes on to 256",
              erratum="double 3x3 with up to 128 filters"),
        Claim("Adopt the BN layer after each convolution layer", "", _normed),
        Claim("During training, moving average is used to calculate the mean and variance", "the moving average",
              lambda: _statistics(True), "training normalises with the mini-batch; the moving averages are for use",
              erratum="during training, moving average is used ... during testing, whole training set", about=("bn_inception",)),
        Claim("During testing, the mean and variance are calculated using the entire training set", "the entire training set",
              lambda: _statistics(False), "the moving averages that were kept in training are used",
              erratum="during training, moving average is used ... during testing, whole training set", about=("bn_inception",)),
        Claim("BN-x5: Initial learning rate is increased by a factor of 5 to 0.0075", "0.0075", None, _rate, "bnx5_lr",
              about=("bn_inception",)),
        Claim("BN-x30: Initial learning rate is increased by a factor of 30 to 0.045", "0.045", None, _rate, "bnx5_lr",
              about=("bn_inception",)),
    ],
    "Inception-v3": [
        Claim("By using 3 x 3 filter, number of parameters = 3 x 3", "9", lambda: EXAMPLES["factor_3x3"]()["before"], example="factor_3x3"),
        Claim("By using 3 x 1 and 1 x 3 filters, number of parameters", "6", lambda: EXAMPLES["factor_3x3"]()["after"],
              example="factor_3x3"),
        Claim("number of parameters = 3x14+1x3 = 6", Formula("3*14 + 1*3", 3 * 14 + 1 * 3), lambda: EXAMPLES["factor_3x3"]()["after"],
              example="factor_3x3", erratum="3x14+1x3", meant=Formula("3*1 + 1*3", 3 * 1 + 1 * 3)),
        Claim("Number of parameters is reduced by 33%", "33%", lambda: 100 * EXAMPLES["factor_3x3"]()["reduction"], example="factor_3x3"),
        Claim("7 x 7 conv becomes 1 x 7 and 7 x 1 convs", "", lambda: Holds(
            EXAMPLES["factor_7x7"]()["after"] < EXAMPLES["factor_7x7"]()["before"],
            "{before} -> {after} weights".format(**EXAMPLES["factor_7x7"]())), example="factor_7x7"),
        Claim("Two 1x7 and 7x1 replacing two 7x7 (n = 7): windows in the network", "",
              lambda: _has("inception_v3", (1, 7), (7, 1))),
        Claim("Three types of inception modules (A, B, C): maps of 35, 17 and 8", "3",
              lambda: len({shape[0] for shape in _modules("inception_v3")})),
        Claim("grid reduction in general: 35x35x320 -> 17x17x640 by 3x3, stride 2", "17x17x640",
              lambda: hwc(tuple(EXAMPLES["inceptionv3_reduce"]()["generic"])), "2*320 filters behind no pool",
              example="inceptionv3_reduce"),
        Claim("half by conv with stride 2, half by max pooling, concatenated", "17x17x640", _conv_beside_pool),
        Claim("each half: 17x17x320", "17x17x320", lambda: stack((35, 35, 320), 320, (3,), 2).output),
        Claim("35x35x640 by the conv before the pool", "35x35x640", _conv_before_pool),
        Claim("the grid reduction of GoogleNet-v3: 35x35x320", "35x35x320", _reduced(0),
              "a general example of the paper; the network has 288 -> 768", erratum="Inception-v3 35x35x320 -> 17x17x640"),
        Claim("the grid reduction of GoogleNet-v3: -> 17x17x640", "17x17x640", _reduced(1),
              "a general example of the paper; the network has 288 -> 768", erratum="Inception-v3 35x35x320 -> 17x17x640"),
        Claim("Input: 299x299x3 (one copy is damaged)", "299x299x3", input_of("inception_v3")),
        Claim("4x Inception Module B", "4", lambda: _count("inception_v3", "Concat", (17, 17, 768))),
        Claim("2x Inception Module C", "2", lambda: sum(shape == (8, 8, 2048) for shape in _modules("inception_v3"))),
        Claim("Output: 8x8x2048", "8x8x2048", lambda: _largest("inception_v3", 8)),
        Claim("Final part: 8x8x2048 -> 1001", ("8x8x2048", "1001"), _final,
              "computed with num_classes=1001: Google's network has a class for the background beside ImageNet's 1000"),
        Claim("Auxiliary Classifier", "1", lambda: len(net("inception_v3_aux").of("Linear")) - len(net("inception_v3").of("Linear"))),
    ],
    "ResNet": [
        Claim("'Ultra-deep' 152-layer nets", "152", lambda: net("resnet152").depth),
        *quoted(("ImageNet Detection: better than 2nd", "16%"), ("ImageNet Localization: better than 2nd", "27%"),
                ("COCO Detection: better than 2nd", "11%"), ("COCO Segmentation: better than 2nd", "12%"), about=("resnet152",)),
        *[Claim(f"CIFAR-10 plain nets, {depth}-layer", str(depth), depth_of(f"cifar_plain{depth}"))
          for depth in (20, 32, 44, 56)],
        *[Claim(f"CIFAR-10 ResNets, {depth}-layer", str(depth), depth_of(f"cifar_resnet{depth}"))
          for depth in (20, 32, 44, 56)],
        Claim("Plain nets: stacking 3x3 conv layers", "", lambda: _only_three("cifar_plain56")),
        *quoted(("56-layer net has higher training error and test error than 20-layer net", "the curves"), about=("cifar_plain56",)),
        Claim("Basic design: VGG style, all 3 x 3 conv", ("3x3",), _three_by_three,
              "the first convolution is 7x7, and projections on shortcuts are 1x1"),
        Claim("no FC layer", "0", lambda: len(net("resnet34").of("Linear")), "no hidden one; the deck's figure ends in fc 1000 too"),
        Claim("no dropout", "0", lambda: len(net("resnet34").of("Dropout"))),
        Claim("34-layer plain, 34-layer residual: 7x7 conv, 64, /2", "7x7 conv 64 /2", lambda: net("plain34").spec(net("plain34").convs[0])),
        Claim("34-layer plain, 34-layer residual: the same convolutions", "", _plain_equal),
        Claim("34-layer plain: its depth", "34", lambda: net("plain34").depth),
        Claim("ImageNet plain nets: plain-18", "18", lambda: net("plain18").depth),
        Claim("size: 224 (VGG-19's first convolutions)", "224", lambda: net("vgg_e").convs[0].output_shape[1]),
        Claim("output size: 56 behind pool, /2; 7 at the end", ("56", "7"),
              lambda: (net("resnet34").pools[0].output_shape[1], net("resnet34").convs[-1].output_shape[1])),
        Claim("VGG-19: fc 4096, fc 4096, fc 1000", ("4096", "4096", "1000"),
              lambda: tuple(row.output_shape[0] for row in net("vgg_e").of("Linear"))),
        Claim("ImageNet ResNets: 18-layer, 34-layer", ("18", "34"), lambda: (net("resnet18").depth, net("resnet34").depth)),
        Claim("ResNet-151 [5]", "151", lambda: net("resnet152").depth, "a slip of the paper: there is only ResNet-152",
              erratum="ResNet-151"),
    ],
    "Inception-v4": [
        Claim("Input (299x299x3)", "299x299x3", input_of("inception_v4")),
        Claim("Stem: 35x35x684", "35x35x684", lambda: _first("inception_v4", 35), erratum=STEM,
              meant="35x35x384"),
        Claim("4 x Inception-A: 35x35x384", "35x35x384", lambda: _largest("inception_v4", 35)),
        Claim("4 x Inception-A", "4", lambda: _count("inception_v4", "Concat", (35, 35, 384))),
        Claim("Reduction-A: 17x17x1024", "17x17x1024", lambda: _first("inception_v4", 17)),
        Claim("7 x Inception-B", "7", lambda: _count("inception_v4", "Concat", (17, 17, 1024))),
        Claim("3 x Inception-C", "3", lambda: _count("inception_v4", "Concat", (8, 8, 1536))),
        Claim("3 x Inception-C: 8x8x1536", "8x8x1536", lambda: _largest("inception_v4", 8)),
        Claim("Inception-C: 1x1 Conv (256), 1x1 Conv (384), 1x3 Conv (256) and 3x1 Conv (256), twice each",
              ("1x1 256", "1x1 256", "1x1 384", "1x1 384", "1x3 256", "1x3 256", "3x1 256", "3x1 256"),
              lambda: _c_convs(256, 384)),
        Claim("Inception-C: 1x3 Conv (448), then 3x1 Conv: filters of the first, both windows", ("448", "1x3, 3x1"), _c_windows,
              _c_order),
        Claim("Average Pooling: 1536", "1536", lambda: net("inception_v4").of("Linear")[0].input_shape[0]),
        Claim("Dropout (keep 0.8)", "0.8", lambda: _kept("inception_v4")),
        Claim("Softmax: 1000", "1000", lambda: net("inception_v4").summary.output_shape[0]),
    ],
    "Inception-ResNet": [
        Claim("Inception-ResNet-v2: Input (299x299x3)", "299x299x3", input_of(V2)),
        Claim("Inception-ResNet-v2: 5x Inception-resnet-A", "5", lambda: _count(V2, "Residual", (35, 35, 384))),
        Claim("10x Inception-resnet-B", "10", lambda: _count(V2, "Residual", (17, 17, 1152))),
        Claim("Inception-ResNet-v2, A blocks: 35x35x256", "35x35x256", lambda: _largest(V2, 35), _schema(35), erratum=V1),
        Claim("Inception-ResNet-v2, B blocks: 17x17x896 (read as 898)", "17x17x896", lambda: _largest(V2, 17), _schema(17), erratum=V1),
        Claim("Inception-ResNet-v2, C blocks: 8x8x1792 (read as 1702)", "8x8x1792", lambda: _largest(V2, 8), _schema(8), erratum=V1),
        Claim("Remark: the same three sizes in Inception-ResNet-v1", "", lambda: tuple(
            "x".join(map(str, _largest("inception_resnet_v1", side))) for side in (35, 17, 8)), ours=True),
        Claim("Output 17x17x898", "17x17x898", lambda: _largest("inception_resnet_v1", 17),
              erratum=STEM, meant="17x17x896"),
        Claim("Output: 8x8x1702", "8x8x1702", lambda: _largest("inception_resnet_v1", 8),
              erratum=STEM, meant="8x8x1792"),
        Claim("Inception-resnet-B: 1x1 Conv (1154 Linear)", "1154", _linear_1x1,
              "a slip of the paper: the sum needs the block's 1152 channels", erratum="1154 linear filters"),
        Claim("Inception-resnet-B: 1x1 (192), 1x1 (128), 1x7 (160), 7x1 (192)", ("1x1 192", "1x1 128", "1x7 160", "7x1 192"), _b_convs),
        *errors("002", "bn_inception", "inception_v3", "inception_v4", "inception_resnet_v1", V2, "resnet152"),
    ],
    "DenseNet": [
        Claim("transition: 1 x 1 convolution that halves the number of feature maps, 2 x 2 pooling with a stride of 2", "", transitions),
        Claim("output sizes: 112 x 112, 56 x 56, 28 x 28, 14 x 14, 7 x 7, 1 x 1",
              ("112x112", "56x56", "28x28", "14x14", "7x7", "1x1"), dense_sizes),
        Claim("7 x 7 conv, stride 2; 3 x 3 max pool, stride 2", ("7x7 conv 64 /2", "3x3 max /2"),
              lambda: (net("densenet121").spec(net("densenet121").convs[0]), net("densenet121").spec(net("densenet121").pools[0]))),
        _dense(121, "6", "12", "24", "16"),
        _dense(169, "6", "12", "3", "3"),
        _dense(201, "6", "12", "4", "3"),
        _dense(264, "6", "12", "64", "48"),
        Claim("Dense-264, its depth", "264", lambda: net("densenet264").depth, "1 + 2*(6 + 12 + 64 + 48) + 3 + 1 = 265 layers",
              erratum="DenseNet-264"),
        Claim("7 x 7 global average pool, 1000D fully-connected", ("1000",),
              lambda: tuple(row.output_shape[0] for row in net("densenet121").of("Linear"))),
    ],
}  # fmt: skip
