"""Deck 001: batch norm, LeNet against AlexNet, VGG, 1x1 convolutions, the inception module, ResNet, ResNeXt."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .claim import Claim, Formula, Holds
from .measure import conv, hwc, info, net, stack
from .tables import some, windows
from .worked import EXAMPLES, averaged, times_less

TITLE = 'Sharif University, "Modern CNN Architectures", 2022'


def _by_hand(x: tuple[float, ...] = (1, 2, 3, 4)) -> list[float]:
    """The slide's four lines, with gamma = 1, beta = 0 and epsilon = 0."""
    m = len(x)
    mu = sum(x) / m
    variance = sum((one - mu) ** 2 for one in x) / m
    return [(one - mu) / variance**0.5 for one in x]


def _all(name: str, kind: str, *wanted: tuple[str, Any]) -> Holds:
    """Whether all layers of a kind have the wanted arguments."""
    one = net(name)
    layers = [one.layer(row) for row in one.of(kind)]
    right = sum(all(getattr(layer, key) == value for key, value in wanted) for layer in layers)
    return Holds(right == len(layers) > 0, f"{right} of {len(layers)}")


def _activation(name: str) -> str:
    """The first layer behind a convolution that is no convolution, pool or norm."""
    return next(row.kind for row in net(name).rows if row.kind in ("ReLU", "Tanh", "Sigmoid", "ScaledTanh"))


def _lenet_windows() -> tuple[str, ...]:
    one = net("lenet5")
    layers = [one.layer(row) for row in (*one.convs[:2], *one.of("AvgPool2d", "MaxPool2d")[:1])]
    return tuple(f"{layer.kernel_size[0]}x{layer.kernel_size[1]}, stride {layer.stride[0]}" for layer in layers)


def _term(name: str, filters: int, window: int, place: int = 0) -> Callable[[], int]:
    """Multiply-adds of the convolution of an inception module with this window and number of filters."""

    def macs() -> int:
        one = net(name)
        found = [
            row for row in one.convs
            if one.layer(row).out_channels == filters and one.layer(row).kernel_size == (window, window)
        ]  # fmt: skip
        return found[place].macs

    return macs


def _pool_depth() -> Holds:
    naive, reduced = net("inception_naive").output, net("inception_bottleneck").output
    return Holds(reduced[2] < naive[2], "x".join(map(str, reduced)))


def _no_parameters() -> Holds:
    one = net("nin_imagenet")
    rows = one.of("GlobalAvgPool2d", "AdaptiveAvgPool2d")
    return Holds(
        bool(rows) and not sum(row.parameters for row in rows), f"{sum(row.parameters for row in rows)} parameters"
    )


def _no_linear() -> Holds:
    linear = sum(len(net(name).of("Linear")) for name in ("nin_imagenet", "nin_cifar10"))
    ones = sum(net("nin_imagenet").layer(row).kernel_size == (1, 1) for row in net("nin_imagenet").convs)
    return Holds(not linear and ones > 0, f"{ones} 1x1 convolutions, {linear} FC")


def _averaged() -> Holds:
    found = averaged()
    return Holds(found.startswith("mean over h*w"), found)


def _blocks(name: str) -> Holds:
    """Whether the body of every residual block is two 3x3 convolutions."""
    one = net(name)
    bodies = [row.path for row in one.rows if row.path.endswith("body")]
    kinds = [[one.layer(row).kernel_size for row in one.convs if row.path.startswith(body + ".")] for body in bodies]
    right = sum(windows == [(3, 3), (3, 3)] for windows in kinds)
    return Holds(right == len(kinds) > 0, f"{right} of {len(kinds)} in ResNet-34")


def _halved() -> Holds:
    """Whether the filters double wherever the stride of a residual block is 2."""
    one = net("resnet34")
    shapes = list(dict.fromkeys(row.output_shape for row in one.convs[1:]))
    right = all(b[0] == 2 * a[0] and b[1] * 2 == a[1] for a, b in zip(shapes, shapes[1:]))
    return Holds(right, ", ".join("x".join(map(str, hwc(shape))) for shape in shapes))


def _averaged_last() -> Holds:
    """Whether what follows the last block is a global average pool."""
    rows = net("resnet34").rows
    last = max(place for place, row in enumerate(rows) if row.kind == "ReLU")
    after = [row.kind for row in rows[last + 1 :] if row.leaf]
    return Holds(after[0] in ("GlobalAvgPool2d", "AdaptiveAvgPool2d"), ", ".join(after))


def _normed() -> Holds:
    one = net("resnet34")
    return Holds(
        len(one.convs) == len(one.of("BatchNorm2d")), f"{len(one.convs)} CONV, {len(one.of('BatchNorm2d'))} BN"
    )


def _pathways() -> Holds:
    one = net("resnext50_32x4d")
    groups = {one.layer(row).groups for row in one.convs} - {1}
    return Holds(len(groups) == 1, f"g = {groups.pop()} in the paper's")


def _deeper() -> Holds:
    few, many = info("plain18").parameters, info("plain34").parameters
    return Holds(many > few, f"{few:,} with 18 layers, {many:,} with 34")


NAIVE, BOTTLENECK = "inception_naive", "inception_bottleneck"
TERMS = ((64, 1, 0, 256), (64, 1, 1, 256), (128, 1, 0, 256), (192, 3, 0, 64), (96, 5, 0, 64), (64, 1, 2, 256))
"""The deck's six convolutions: filters, window, which of those that are alike, channels of the input."""
FIVE = "the conv trunk without the classifier has 5.97 M, cut off; the whole network has 7.0 M"

CLAIMS: dict[str, list[Claim]] = {
    "Batch normalization": [
        Claim("mini-batch mean, variance, normalize (of 1, 2, 3, 4)",
              Formula("(x - mu)/sqrt(var), var = sum((x - mu)^2)/m", _by_hand()), EXAMPLES["bn_forward"],
              "the variance is the biased one: it divides by m, not by m - 1", example="bn_forward"),
    ],
    "LeNet and AlexNet": [
        Claim("LeNet: Conv filters were 5x5, stride 1; Pooling layers 2x2, stride 2",
              ("5x5, stride 1", "5x5, stride 1", "2x2, stride 2"), _lenet_windows),
        Claim("(CONV1): 96 11x11 filters applied at stride 4", "11x11 conv 96 /4",
              lambda: net("alexnet").spec(net("alexnet").convs[0])),
        Claim("Why is the output volume size 55? (227-11)/4+1", "55", EXAMPLES["alex_conv1_size"], example="alex_conv1_size"),
        Claim("total number of parameters in the first layer: (11*11*3 + 1)*96", "35K", EXAMPLES["alex_conv1_params_bias"],
              "with biases; another deck leaves them out (34,848) and prints 35K too", example="alex_conv1_params_bias",
              erratum="conv1 = 35K"),
        Claim("(POOL1): 3x3 filters applied at stride 2", "3x3 max /2", lambda: net("alexnet").spec(net("alexnet").pools[0])),
        Claim("Why is the output volume size 27? (55-3)/2+1", "27", EXAMPLES["alex_pool1"], example="alex_pool1"),
        Claim("(POOL1): What is the number of parameters? Zero!", "0", EXAMPLES["alex_pool1_params"],
              example="alex_pool1_params"),
        Claim("62M parameters vs 61K parameters: AlexNet's", "62M", lambda: EXAMPLES["alex_vs_lenet"]()["alexnet"],
              example="alex_vs_lenet"),
        Claim("62M parameters vs 61K parameters: LeNet's", "61K", lambda: EXAMPLES["alex_vs_lenet"]()["lenet5"],
              "of the net as it is taught", example="alex_vs_lenet", erratum="LeNet 61K"),
        Claim("Remark on LeNet-5 as it was published: its parameters", "", lambda: EXAMPLES["lenet_paper"]()["trainable"],
              "C3 sees some maps only, and the outputs are fixed codes",
              example="lenet_paper", erratum="LeNet 61K", ours=True),
        Claim("ReLU vs Sigmoid: LeNet's activation", "Sigmoid", lambda: _activation("lenet5_1998"),
              "LeNet-5 has a scaled hyperbolic tangent: 1.7159 tanh(2x/3)", erratum="ReLU vs Sigmoid (LeNet)"),
        Claim("ReLU vs Sigmoid: AlexNet's activation", "ReLU", lambda: _activation("alexnet")),
        Claim("Use of Regularization Techniques (Dropout)", "",
              some("alexnet", "dropout layers", "Dropout")),
        Claim("Use of Normalization", "",
              some("alexnet", "local response norms", "LocalResponseNorm")),
    ],
    "VGGNet": [
        Claim("Only 3x3 CONV", ("3x3",), windows("vgg_a", "vgg_b", "vgg_c", "vgg_d", "vgg_e"),
              "configuration C has 1x1 convolutions; the others have 3x3 only"),
        Claim("3x3 CONV with stride 1, pad 1 (VGG-16)", "",
              lambda: _all("vgg_d", "Conv2d", ("kernel_size", (3, 3)), ("stride", (1, 1)), ("padding", (1, 1, 1, 1)))),
        Claim("2x2 MAX POOL with stride 2 (VGG-16)", "",
              lambda: _all("vgg_d", "MaxPool2d", ("kernel_size", (2, 2)), ("stride", (2, 2)))),
        Claim("Stack of three 3x3 conv (stride 1) layers has same effective receptive field as one 7x7", "7",
              EXAMPLES["three_3x3_rf"], example="three_3x3_rf"),
        Claim("Receptive field of one 7x7 conv layer", "7", lambda: stack((9, 9, 1), 1, (7,)).convs[0].receptive_field),
        Claim("Fewer parameters: 3 x (3^2 C^2) vs. 7^2 C^2",
              Formula("3*3^2, 7^2", (3 * 3**2, 7**2)),
              lambda: tuple(EXAMPLES["three_3x3_params"]()[key] for key in ("stack_coefficient", "single_coefficient")),
              "weights for each C^2: 0.551 of them", example="three_3x3_params"),
    ],
    "Network in Network, 1x1 convolution, global average pooling": [
        Claim("1x1 Convolution; GAP layer instead of FC layers", "", _no_linear),
        Claim("32x32x200 to 32x32x32 using 32x5x5 filters", "32x32x32", lambda: conv((32, 32, 200), 32, 5, 1, 2).output,
              "with padding 2"),
        Claim("(32x32x200) x (5x5x32) operations",
              Formula("(32*32*200)*(5*5*32)", 32 * 32 * 200 * 5 * 5 * 32), EXAMPLES["conv1x1_163M"], example="conv1x1_163M"),
        Claim("we need ~163M operations", "163M", EXAMPLES["conv1x1_163M"], example="conv1x1_163M"),
        Claim("Instead we can use 1x1 convolution (the figure is not in the text: 16 filters of 1x1 first)", "",
              lambda: Holds(EXAMPLES["conv1x1_reduced"]() < EXAMPLES["conv1x1_163M"](),
                            f"{EXAMPLES['conv1x1_reduced']():,} operations"),
              "a tenth of them", example="conv1x1_reduced"),
        Claim("h x w x d is reduced to 1 x 1 x d by taking the average of all hw values", "", _averaged, example="gap"),
        Claim("There is no parameter to optimize in the GAP", "", _no_parameters),
    ],
    "GoogLeNet": [
        Claim("Only 5 million parameters!", "5 million", lambda: info("googlenet").parameters, FIVE,
              erratum="5 million params; 12x, 27x"),
        Claim("12x less than AlexNet", "12x", lambda: times_less()["alexnet_ratio"], "60/5; with the real counts 62.4/7.0",
              example="googlenet_12x_27x", erratum="5 million params; 12x, 27x"),
        Claim("27x less than VGG-16", "27x", lambda: times_less()["vgg16_ratio"], "138/5; with the real counts 138.4/7.0",
              example="googlenet_12x_27x", erratum="5 million params; 12x, 27x"),
        Claim("No longer multiple expensive FC layers", "",
              some("googlenet", "FC layer", "Linear")),
    ],
    "Naive inception module": [
        Claim("Multiple receptive field sizes for convolution (1x1, 3x3, 5x5)", ("5x5", "3x3", "1x1"), windows(NAIVE)),
        Claim("Pooling operation (3x3)", "3x3 max", lambda: net(NAIVE).spec(net(NAIVE).pools[0])),
        Claim("output size after filter concatenation: 28x28x(128 + 192 + 96 + 256)", "28x28x672", lambda: net(NAIVE).output,
              example="naive_concat"),
        Claim("[1x1 conv, 128]", Formula("28*28*128*1*1*256", 28 * 28 * 128 * 1 * 1 * 256), _term(NAIVE, 128, 1)),
        Claim("[3x3 conv, 192]", Formula("28*28*192*3*3*256", 28 * 28 * 192 * 3 * 3 * 256), _term(NAIVE, 192, 3)),
        Claim("[5x5 conv, 96]", Formula("28*28*96*5*5*256", 28 * 28 * 96 * 5 * 5 * 256), _term(NAIVE, 96, 5)),
        Claim("Total: 854M ops", "854M", EXAMPLES["naive_854M"], example="naive_854M"),
    ],
    "Inception module with bottlenecks": [
        *[
            Claim(f"[{window}x{window} conv, {filters}]" + (f", number {place + 1}" if filters == 64 else ""),
                  Formula(f"28*28*{filters}*{window}*{window}*{channels}", 28 * 28 * filters * window * window * channels),
                  _term(BOTTLENECK, filters, window, place))
            for filters, window, place, channels in TERMS
        ],
        Claim("Total: 358M ops", "358M", EXAMPLES["bottleneck_358M"],
              "the six terms add up to 271,351,808; 358M counts the 3x3 term twice", example="bottleneck_358M",
              erratum="inception bottleneck Total: 358M ops"),
        Claim("Compared to 854M ops for naive version", "854M", lambda: info(NAIVE).macs),
        Claim("Bottleneck can also reduce depth after pooling layer", "", _pool_depth, "672 channels without",
              example="bottleneck_concat"),
    ],
    "ResNet and ResNeXt": [
        Claim("deeper models have more parameters than shallower ones", "", _deeper),
        Claim("Every residual block has two 3x3 conv layers", "", lambda: _blocks("resnet34"),
              "ResNet-50 and deeper have 1x1, 3x3 and 1x1"),
        Claim("double size of filters and downsample spatially using stride 2", "", _halved),
        Claim("No FC layers besides FC 1000", ("1000",),
              lambda: tuple(row.output_shape[0] for row in net("resnet34").of("Linear"))),
        Claim("Global average pooling layer after last conv layer", "",
              _averaged_last),
        Claim("Batch Normalization after every CONV layer", "", _normed),
        Claim("No dropout used", "0", lambda: len(net("resnet34").of("Dropout"))),
        Claim("ResNeXt: multiple parallel pathways, g of them", "", _pathways),
    ],
}  # fmt: skip
