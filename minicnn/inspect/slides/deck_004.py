"""Deck 004, in Korean: AlexNet, VGG, GoogLeNet with its table, ResNet with its table, DenseNet with its table.

Statements are translated.
"""

from __future__ import annotations

from functools import partial

from ... import models
from .claim import Claim, Holds
from .measure import Net, depth_of, hwc, info, input_of, net
from .tables import (
    TABLE_IS_OFF,
    Reasons,
    dense_blocks,
    dense_sizes,
    googlenet,
    residual_stage,
    smaller,
    some,
    transitions,
    vgg_column,
)
from .worked import EXAMPLES, googlenet_row

TITLE = 'a Korean deck, "#3 CNN"'

VGG = {
    "a": ("conv3-64", "conv3-128", "2 conv3-256", "2 conv3-512", "2 conv3-512"),
    "a_lrn": ("conv3-64", "conv3-128", "2 conv3-256", "2 conv3-512", "2 conv3-512"),
    "b": ("2 conv3-64", "2 conv3-128", "2 conv3-256", "2 conv3-512", "2 conv3-512"),
    "c": ("2 conv3-64", "2 conv3-128", "2 conv3-256, conv1-256", "2 conv3-512, conv1-512", "2 conv3-512, conv1-512"),
    "d": ("2 conv3-64", "2 conv3-128", "3 conv3-256", "3 conv3-512", "3 conv3-512"),
    "e": ("2 conv3-64", "2 conv3-128", "4 conv3-256", "4 conv3-512", "4 conv3-512"),
}
"""The columns of the deck's table, from pool to pool; "2 conv3-64" stands for two of them."""

GOOGLENET = """
conv1  | 112x112x64 | 1 |                       | 2.7K  | 34M
maxpool 1 | 56x56x64 | 0 | | |
conv2  | 56x56x192  | 2 | 64 192                | 112K  | 360M
maxpool 2 | 28x28x192 | 0 | | |
3a     | 28x28x256  | 2 | 64 96 128 16 32 32    | 159K  | 128M
3b     | 28x28x480  | 2 | 128 128 192 32 96 64  | 380K  | 304M
maxpool 3 | 14x14x480 | 0 | | |
4a     | 14x14x512  | 2 | 192 96 208 16 48 64   | 364K  | 73M
4b     | 14x14x512  | 2 | 160 112 224 24 64 64  | 437K  | 88M
4c     | 14x14x512  | 2 | 128 128 256 24 64 64  | 463K  | 100M
4d     | 14x14x528  | 2 | 112 144 288 32 64 64  | 580K  | 119M
4e     | 14x14x832  | 2 | 256 160 320 32 128 128 | 840K | 170M
maxpool 4 | 7x7x832 | 0 | | |
5a     | 7x7x832    | 2 | 256 160 320 32 128 128 | 1072K | 54M
5b     | 7x7x1024   | 2 | 384 192 384 48 128 128 | 1388K | 71M
avgpool | 1x1x1024  | 0 | | |
dropout | 1x1x1024  | 0 | | |
linear | 1x1x1000   | 1 |                       | 1000K | 1M
softmax | 1x1x1000  | 0 | | |
"""

ROWS = "params rows 4a 364K, 4c 463K, 4d 580K, 4e 840K, 5a 1072K, 5b 1388K"
CONV1 = "conv1 2.7K / 34M ops"
SEPARABLE = "the row describes a separable first convolution (the last lines); a plain 7x7"
REASONS: Reasons = {
    ("conv1", "params"): (lambda: f"{SEPARABLE} has {googlenet_row('conv1')['weights']:,} weights", CONV1),
    ("conv1", "ops"): (SEPARABLE + " has three times as many", CONV1),
    **{(row, "params"): (TABLE_IS_OFF, ROWS) for row in ("4a", "4c", "4d", "4e", "5a", "5b")},
    ("4b", "params"): (TABLE_IS_OFF, ""),
    ("5a", "ops"): (TABLE_IS_OFF, ROWS),
}

BASIC = ("[3x3, 64; 3x3, 64]", "[3x3, 128; 3x3, 128]", "[3x3, 256; 3x3, 256]", "[3x3, 512; 3x3, 512]")
BOTTLENECK = (
    "[1x1, 64; 3x3, 64; 1x1, 256]", "[1x1, 128; 3x3, 128; 1x1, 512]", "[1x1, 256; 3x3, 256; 1x1, 1024]",
    "[1x1, 512; 3x3, 512; 1x1, 2048]",
)  # fmt: skip
RESNET = (
    (18, BASIC, (2, 2, 2, 2), "1.8 x 10^9"), (34, BASIC, (3, 4, 6, 3), "3.6 x 10^9"), (50, BOTTLENECK, (3, 4, 6, 3), "3.8 x 10^9"),
    (101, BOTTLENECK, (3, 4, 23, 3), "7.6 x 10^9"), (152, BOTTLENECK, (3, 8, 36, 3), "11.3 x 10^9"),
)  # fmt: skip
"""The columns of the deck's table: depth, blocks, their numbers, FLOPs."""

DENSENET = {121: (6, 12, 24, 16), 169: (6, 12, 32, 32), 201: (6, 12, 48, 32), 264: (6, 12, 64, 48)}
"""Pairs of convolutions in the four dense blocks of the deck's table."""


def _macs(example: str) -> int:
    return int(EXAMPLES[example]()["macs"])


def _end() -> tuple[str, ...]:
    """What ResNet-50's average pool and its linear layers give."""
    one = net("resnet50")
    H, W, _ = hwc(one.of("GlobalAvgPool2d", "AdaptiveAvgPool2d", "AvgPool2d")[-1].output_shape)
    return (f"{H}x{W}", *(str(row.output_shape[0]) for row in one.of("Linear")))


def _resnet() -> list[Claim]:
    claims = [
        Claim("conv1, 112x112: 7x7, 64, stride 2", ("112x112", "7x7 conv 64 /2"),
              lambda: ("x".join(map(str, net("resnet50").convs[0].output_shape[1:])), net("resnet50").spec(net("resnet50").convs[0]))),
        Claim("conv2_x, 56x56: 3x3 max pool, stride 2", ("56x56", "3x3 max /2"),
              lambda: ("x".join(map(str, net("resnet50").pools[0].output_shape[1:])), net("resnet50").spec(net("resnet50").pools[0]))),
        Claim("output sizes of conv2_x to conv5_x", ("56x56", "28x28", "14x14", "7x7"),
              lambda: tuple(dict.fromkeys("x".join(map(str, row.output_shape[1:])) for row in net("resnet50").of("Residual")))),
    ]  # fmt: skip
    for depth, blocks, counts, _ in RESNET:
        name = f"resnet{depth}"
        claims += [
            Claim(f"{depth}-layer, conv{stage + 2}_x", f"{block} x {count}", residual_stage(name, stage))
            for stage, (block, count) in enumerate(zip(blocks, counts))
        ]
        claims.append(Claim(f"{depth}-layer: its depth", str(depth), depth_of(name),
                            "convolutions and linear layers on the longest way"))  # fmt: skip
    claims.append(Claim("1x1: average pool, 1000-d fc", ("1x1", "1000"), _end))
    for depth, _, _, flops in RESNET:
        example = f"resnet{depth}_flops"
        claims.append(Claim(f"FLOPs, {depth}-layer", flops, partial(_macs, example),
                            "multiply-adds: one for a multiplication and an addition", example, "ResNet FLOPs"))  # fmt: skip
    return claims


def _preactivated() -> Holds:
    """Whether the body of every block starts with batch norm and ReLU, in all pre-activation networks."""
    right = total = 0
    for name in models.names("preact_*"):
        one = net(name)
        for row in one.of("Residual"):
            inner = [kind.kind for kind in one.inside(row.path) if kind.leaf and ".body." in kind.path]
            before = inner[:2] if "Conv2d" not in inner[:2] else _in_front(one, row.path)
            total += 1
            right += before == ["BatchNorm2d", "ReLU"]
    return Holds(right == total > 0, f"{right} of {total} blocks")


def _in_front(one: Net, path: str) -> list[str]:
    """The two layers, without pools, that run before a block's first convolution."""
    rows = [row for row in one.rows if row.leaf and row.kind != "MaxPool2d"]
    first = next(place for place, row in enumerate(rows) if row.path.startswith(path + ".") and row.kind == "Conv2d")
    return [row.kind for row in rows[first - 2 : first]]


def _heads() -> Holds:
    heads = info("googlenet_aux").parameters - info("googlenet").parameters
    linear = len(net("googlenet_aux").of("Linear")) - len(net("googlenet").of("Linear"))
    return Holds(heads > 0, f"{linear // 2} heads, {heads:,} parameters")


def _concat() -> Holds:
    """Whether a module's output has as many channels as its branches together."""
    one = net("inception_bottleneck")
    cat = one.of("Cat", "Concat")[-1]
    widths = [row.output_shape[0] for row in one.convs]
    ends = [widths[0], widths[2], widths[4], widths[5]]  # of the branches: the others are reductions
    return Holds(sum(ends) == cat.output_shape[0], f"{' + '.join(map(str, ends))} = {cat.output_shape[0]}")


def _dense_depth(depth: int) -> Claim:
    off = depth == 264
    return Claim(
        f"DenseNet-{depth}: its depth", str(depth), EXAMPLES[f"densenet{depth}_depth"],
        "1 + 2*(6 + 12 + 64 + 48) + 3 + 1: the paper's name is off by one" if off else "",
        f"densenet{depth}_depth", "DenseNet-264" if off else "",
    )  # fmt: skip


CLAIMS: dict[str, list[Claim]] = {
    "AlexNet": [
        Claim("a parallel structure for two GPUs", "2",
              lambda: max(net("alexnet_grouped").layer(row).groups for row in net("alexnet_grouped").convs)),
        Claim("uses relu", "", some("alexnet_grouped", "ReLU", "ReLU")),
        Claim("lrn - local response normalization", "", some("alexnet_grouped", "LRN", "LocalResponseNorm")),
        Claim("against overfitting: dropout", "", some("alexnet_grouped", "dropout layers", "Dropout")),
        Claim("against overfitting: batch normalize", "", some("alexnet_grouped", "batch norms", "BatchNorm2d"),
            "AlexNet is of 2012, batch norm of 2015; it has LRN, dropout, augmentation and weight decay",
            erratum="AlexNet fights overfitting with batch normalize"),
    ],
    "VGG": [
        Claim("3x3 convolution, stride 1 (VGG16)", ("3x3, stride 1",), lambda: tuple(dict.fromkeys(
            f"{m.kernel_size[0]}x{m.kernel_size[1]}, stride {m.stride[0]}"
            for m in map(net("vgg_d").layer, net("vgg_d").convs)))),
        Claim("it has many parameters (VGG16)", "", lambda: Holds(
            info("vgg_d").parameters > 2 * info("alexnet").parameters, f"{info('vgg_d').parameters:,}")),
        Claim("11, 11, 13, 16, 16 and 19 weight layers", ("11", "11", "13", "16", "16", "19"),
              lambda: tuple(net(f"vgg_{letter}").depth for letter in VGG)),
        Claim("input (224 x 224 RGB image)", "224x224x3", input_of("vgg_e")),
        *[Claim(f"ConvNet Configuration, column {letter.upper().replace('_', '-')}", column, vgg_column(letter))
          for letter, column in VGG.items()],
        Claim("LRN in column A-LRN", "1", lambda: len(net("vgg_a_lrn").of("LocalResponseNorm"))),
        Claim("maxpool, five times", "5", lambda: len(net("vgg_e").pools)),
        Claim("FC-4096, FC-4096, FC-1000", ("4096", "4096", "1000"),
              lambda: tuple(row.output_shape[0] for row in net("vgg_e").of("Linear"))),
    ],
    "GoogLeNet": [
        Claim("22 layers", "22", lambda: net("googlenet").depth),
        Claim("22 layers but 5 million parameters", "5 million", lambda: info("googlenet").parameters,
              "the conv trunk without the classifier has 5.97 M, cut off; the whole network has 7.0 M"),
        Claim("auxiliary classifier", "", _heads),
        Claim("1x1 convolution filters regulate the parameters", "", smaller("inception_bottleneck", "inception_naive")),
        Claim("channel-wise concat", "", _concat),
    ],
    "GoogLeNet, table 1": [
        *googlenet(GOOGLENET, REASONS),
        Claim("Remark on conv1's 2.7K params: what a separable first convolution has", "2.7K",
              lambda: net("googlenet_sepconv1").weights(*[row.path for row in net("googlenet_sepconv1").convs[:2]]),
              "7*7*3*8 + 24*64; here K is 1000", ours=True),
        Claim("Remark on conv1's 34M ops: what a separable first convolution has", "34M",
              lambda: sum(row.macs for row in net("googlenet_sepconv1").convs[:2]), ours=True),
        Claim("max pool 3x3/2, four times", ("3x3 max /2",) * 4,
              lambda: tuple(net("googlenet").spec(row) for row in net("googlenet").pools if row.path.count(".") == 0)),
        Claim("convolution 3x3/1, 192", "3x3 conv 192", lambda: net("googlenet").spec(net("googlenet").convs[2])),
        Claim("convolution 7x7/2", "7x7 conv 64 /2", lambda: net("googlenet").spec(net("googlenet").convs[0])),
        Claim("avg pool 7x7/1: its window, the whole map", "7x7",
              lambda: net("googlenet").of("GlobalAvgPool2d", "AdaptiveAvgPool2d", "AvgPool2d")[-1].input_shape[1:]),
        Claim("dropout (40%)", "40%", lambda: round(100 * net("googlenet").layer(net("googlenet").of("Dropout")[-1]).p)),
    ],
    "ResNet": [
        Claim("deep networks of 100 layers or more", "",
              lambda: Holds(min(net("resnet101").depth, net("resnet152").depth) >= 100, f"{net('resnet101').depth}, {net('resnet152').depth}")),
        Claim("Figure 5: a building block (on 56x56 feature maps) for ResNet-34", "[3x3, 64; 3x3, 64] x 3",
              residual_stage("resnet34", 0), "the figure itself is not in the text; compared with the table"),
        *_resnet(),
        Claim("pre-activation structure", "", _preactivated),
    ],
    "DenseNet": [
        Claim("output sizes: 112x112, 56x56, 28x28, 14x14, 7x7, 1x1",
              ("112x112", "56x56", "28x28", "14x14", "7x7", "1x1"), dense_sizes),
        Claim("Convolution: 7x7 conv, stride 2; Pooling: 3x3 max pool, stride 2", ("7x7 conv 64 /2", "3x3 max /2"),
              lambda: (net("densenet121").spec(net("densenet121").convs[0]), net("densenet121").spec(net("densenet121").pools[0]))),
        *[
            Claim(f"DenseNet-{depth}: dense blocks (1x1 conv, 3x3 conv) x {', '.join(map(str, blocks))}",
                  tuple(map(str, blocks)),
                  dense_blocks(f"densenet{depth}"))
            for depth, blocks in DENSENET.items()
        ],
        Claim("Transition layers: 1x1 conv, 2x2 average pool, stride 2", "", transitions),
        Claim("7x7 global average pool, 1000D fully-connected", ("1000",),
              lambda: tuple(row.output_shape[0] for row in net("densenet121").of("Linear"))),
        *[_dense_depth(depth) for depth in DENSENET],
    ],
}  # fmt: skip
