"""Deck 000: LeNet, strides and pools, AlexNet layer by layer, VGG's small windows, ResNet."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ... import ops
from .claim import Cited, Claim, Formula, Holds
from .measure import hwc, info, input_of, net, stack
from .papers import PAPERS
from .quotes import errors, quoted
from .tables import smaller
from .worked import EXAMPLES, fit

TITLE = "D.-G. Choi, Hanbat National University: lecture 7"


def _conv(number: int) -> Any:
    return net("alexnet").convs[number - 1]


def _spec(number: int) -> Callable[[], str]:
    """A convolution of AlexNet as the slides write it: 11x11x96, stride 4; with the padding if there is some."""

    def text() -> str:
        layer = net("alexnet").layer(_conv(number))
        R, S = layer.kernel_size
        padding = f", pad {layer.padding[0]}" if layer.padding[0] else ""
        return f"{R}x{S}x{layer.out_channels}, stride {layer.stride[0]}{padding}"

    return text


def _pools() -> tuple[str, ...]:
    one = net("alexnet")
    layers = [one.layer(row) for row in one.pools]
    return tuple(f"{p.kernel_size[0]}x{p.kernel_size[1]}, stride {p.stride[0]}" for p in layers)


def _out(kind: str, number: int) -> Callable[[], tuple[int, ...]]:
    return lambda: hwc(net("alexnet").of(kind)[number - 1].output_shape)


def _linear() -> tuple[int, ...]:
    rows = net("alexnet").of("Linear")
    return (rows[0].input_shape[0], *[row.output_shape[0] for row in rows])


def _specs(name: str, *places: int) -> Callable[[], tuple[str, ...]]:
    def texts() -> tuple[str, ...]:
        one = net(name)
        rows = one.of("Conv2d", "MaxPool2d")
        return tuple(one.spec(rows[place]) for place in places)

    return texts


def _matrix(example: str) -> Callable[[], tuple[int, ...]]:
    return lambda: tuple(value for row in EXAMPLES[example]() for value in row)


LOOSE = "the paper rounds loosely; its table of layers, with biases, gives the computed number"
C_NETS = "the paper's ~1.3 M does not follow from its own table of layers"
ALL_CNN = (
    ("Model A", "allcnn_model_a", "0.9 M"), ("Strided-CNN-A", "strided_cnn_a", "0.9 M"),
    ("ConvPool-CNN-A", "convpool_cnn_a", "1.28 M"), ("ALL-CNN-A", "all_cnn_a", "1.28 M"),
    ("Model B", "allcnn_model_b", "1 M"), ("Strided-CNN-B", "strided_cnn_b", "1 M"),
    ("ConvPool-CNN-B", "convpool_cnn_b", "1.35 M"), ("ALL-CNN-B", "all_cnn_b", "1.35 M"),
    ("Model C", "allcnn_model_c", "1.3 M"), ("Strided-CNN-C", "strided_cnn_c", "1.3 M"),
    ("ConvPool-CNN-C", "convpool_cnn_c", "1.4 M"), ("ALL-CNN-C", "all_cnn_c", "1.4 M"),
)  # fmt: skip
"""The deck's table: name, network of the zoo, parameters as printed."""


def _all_cnn(title: str, name: str, printed: str) -> Claim:
    small_c = printed == "1.3 M"
    return Claim(
        f"{title}: # parameters", f"~{printed}", lambda: info(name).parameters, C_NETS if small_c else LOOSE,
        erratum="Model C / Strided-CNN-C ~1.3 M" if small_c else "A ~0.9M, B ~1M, ConvPool/All A 1.28M, B 1.35M, C 1.4M",
    )  # fmt: skip


MIXED = "ResNet performance table mixes protocols"
PROTOCOLS = (
    "the table mixes protocols and is not comparable: VGG's are of a single scale, ResNet-34's, -50's and -101's of one "
    "crop by two other programs, plain-34's of ten crops"
)


def _dense() -> Holds:
    """Whether the first dense block gives its input and all that its layers add."""
    one = net("densenet121")
    first = one.pools[0].output_shape[0]
    widest = max(row.output_shape[0] for row in one.rows if row.output_shape[1:] == (56, 56))
    grown = [row for row in one.convs if row.output_shape[1:] == (56, 56) and one.layer(row).kernel_size == (3, 3)]
    growth = grown[0].output_shape[0]
    return Holds(widest == first + growth * len(grown), f"{first} + {len(grown)}*{growth} = {widest} channels")


def _extreme() -> Holds:
    """Whether every window larger than 1x1 behind the two first convolutions sees one channel only."""
    one = net("xception")
    large = [one.layer(row) for row in one.convs if one.layer(row).kernel_size == (3, 3)][2:]
    alone = sum(layer.groups == layer.in_channels for layer in large)
    return Holds(alone == len(large) > 0, f"{alone} of {len(large)} 3x3 see one channel")


CLAIMS: dict[str, list[Claim]] = {
    "LeNet-5": [
        *quoted(("Review: LeNet-5, LeCun et al. (1998)", "1998"), about=("lenet5",)),
    ],
    "Stride against pooling: All-CNN": [
        Claim("Input 32x32 RGB image", "32x32x3", input_of("all_cnn_c")),
        Claim("Strided-CNN-C: 3x3 conv. 96, then with stride r = 2; 192, then with r = 2",
              ("3x3 conv 96", "3x3 conv 96 /2", "3x3 conv 192", "3x3 conv 192 /2"), _specs("strided_cnn_c", 0, 1, 2, 3)),
        Claim("ConvPool-CNN-C: 3x3 conv. 96 three times, 3x3 max-pooling stride 2",
              ("3x3 conv 96", "3x3 conv 96", "3x3 conv 96", "3x3 max /2"), _specs("convpool_cnn_c", 0, 1, 2, 3)),
        Claim("ConvPool-CNN-C: 3x3 conv. 192 three times, 3x3 max-pooling stride 2",
              ("3x3 conv 192", "3x3 conv 192", "3x3 conv 192", "3x3 max /2"), _specs("convpool_cnn_c", 4, 5, 6, 7)),
        Claim("All-CNN-C: 3x3 conv. 192 twice, then with stride r = 2",
              ("3x3 conv 192", "3x3 conv 192", "3x3 conv 192 /2"), _specs("all_cnn_c", 3, 4, 5)),
        *[_all_cnn(*row) for row in ALL_CNN],
        *errors("000", *[name for _, name, _ in ALL_CNN], reason="CIFAR-10 classification error"),
        Claim("Striving for Simplicity: The All Convolutional Net (CVPR 2014)", "CVPR 2014",
              lambda: Cited(PAPERS["all_cnn"]["venue"]), "it is a workshop paper of ICLR 2015, arXiv:1412.6806",
              erratum="Striving for Simplicity ... (CVPR 2014)", about=("all_cnn_c",)),
    ],
    "AlexNet": [
        *quoted(("[Krizhevsky et al. 2012]", "2012"), about=("alexnet",)),
        Claim("Input: 227 X 227 X 3", "227x227x3", input_of("alexnet")),
        Claim("Remark on the paper, [Krizhevsky et al. 2012]: its input of 224 in place of the deck's 227; (224 - 11)/4 + 1",
              Formula("the paper: 55", 55), lambda: fit(224, 11, 4)["value"],
              "224 without padding gives no whole number; 227, or 224 with padding 2, gives 55",
              ours=True,
              example="alex_conv1_224", erratum="AlexNet input 227", about=("alexnet",)),
        Claim("Layer1: Conv(11x11x96, stride 4)", "11x11x96, stride 4", _spec(1)),
        Claim("output: (N - F)/stride + 1 = (227 - 11)/4 + 1", "55", EXAMPLES["alex_conv1_size"], example="alex_conv1_size",
              about=("alexnet",)),
        Claim("Layer1, output of the convolution", "55x55x96", _out("Conv2d", 1)),
        Claim("Max Pooling(3x3, stride 2), three times", ("3x3, stride 2",) * 3, _pools),
        Claim("output: (55 - 3)/2 + 1", "27", EXAMPLES["alex_pool1"], example="alex_pool1"),
        Claim("Layer1, output of the pool", "27x27x96", _out("MaxPool2d", 1)),
        Claim("Layer2: Conv(5x5x256, stride 1, pad 2)", "5x5x256, stride 1, pad 2", _spec(2)),
        Claim("5 X 5, padding 2: the figure's table of zeros has 9 rows and 9 columns", "9x9",
              lambda: tuple(ops.pad([[1.0] * 5] * 5, ((2, 2), (2, 2))).shape)),
        Claim("27 with padding 2 on both sides", "31", lambda: ops.pad([[1.0] * 27], ((0, 0), (2, 2))).shape[1]),
        Claim("output: (31 - 5)/1 + 1", "27", EXAMPLES["alex_conv2"], example="alex_conv2"),
        Claim("Layer2, output of the convolution", "27x27x256", _out("Conv2d", 2)),
        Claim("output: (27 - 3)/2 + 1", "13", EXAMPLES["alex_pool2"], example="alex_pool2"),
        Claim("Layer2, output of the pool", "13x13x256", _out("MaxPool2d", 2)),
        Claim("Layer3: Conv(3x3x384, stride 1, pad 1)", "3x3x384, stride 1, pad 1", _spec(3)),
        Claim("output: (15 - 3)/1 + 1", "13", EXAMPLES["alex_conv3"], example="alex_conv3"),
        Claim("Layer3, output", "13x13x384", _out("Conv2d", 3)),
        Claim("Layer4: Conv(3x3x384, stride 1, pad 1)", "3x3x384, stride 1, pad 1", _spec(4)),
        Claim("Layer4, output: (15 - 3)/1 + 1", "13x13x384", _out("Conv2d", 4)),
        Claim("Layer5: Conv(3x3x256, stride 1, pad 1)", "3x3x256, stride 1, pad 1", _spec(5)),
        Claim("Layer5, output of the convolution: (15 - 3)/1 + 1", "13x13x256", _out("Conv2d", 5)),
        Claim("output: (13 - 3)/2 + 1", "6", EXAMPLES["alex_pool5"], example="alex_pool5"),
        Claim("Layer5, output of the pool", "6x6x256", _out("MaxPool2d", 3)),
        Claim("Layer6: [Input] 6 X 6 X 256", "9216", EXAMPLES["alex_flatten"], example="alex_flatten"),
        Claim("Layer6: 9216 -> 4096 -> 4096 -> 1000", ("9216", "4096", "4096", "1000"), _linear),
    ],
    "VGG: 5x5 against 3x3": [
        *quoted(("[Simonyan et al. 2014]", "2014"), about=("vgg_d",)),
        Claim("e.g. N = 7, F = 3: stride 1 => (7 - 3)/1 + 1", "5", EXAMPLES["conv_7_3_s1"], example="conv_7_3_s1"),
        Claim("stride 2 => (7 - 3)/2 + 1", "3", EXAMPLES["conv_7_3_s2"], example="conv_7_3_s2"),
        Claim("stride 3 => (7 - 3)/3 + 1", "2.33", lambda: EXAMPLES["conv_7_3_s3"]()["value"], example="conv_7_3_s3",
              reason="the window does not fit evenly: floor gives 2, ceil 3"),
        Claim("output: (7 - 5)/1 + 1", "3", EXAMPLES["vgg_5x5_out"], example="vgg_5x5_out"),
        Claim("output of three 5x5 filters on 7x7x3", "3x3x3", lambda: stack((7, 7, 3), 3, (5,)).output),
        Claim("output: (7 - 3)/1 + 1 = 5, (5 - 3)/1 + 1 = 3", ("5", "3"), lambda: tuple(EXAMPLES["vgg_3x3_twice"]()),
              example="vgg_3x3_twice"),
        Claim("output of three 3x3 filters on 7x7x3", "5x5x3", lambda: stack((7, 7, 3), 3, (3,)).output),
        Claim("output of 3x3 filters twice", "3x3x3", lambda: stack((7, 7, 3), 3, (3, 3)).output),
        Claim("params: 5x5x3x3", "225", EXAMPLES["vgg_params_225"], "without biases; with them 228",
              example="vgg_params_225"),
        Claim("params: (3x3x3x3) + (3x3x3x3)", "162", EXAMPLES["vgg_params_162"], "without biases; with them 168",
              example="vgg_params_162"),
        Claim("5x5 vs 3x3 Filter: what two 3x3 layers see of the input", "5", EXAMPLES["two_3x3_rf"], example="two_3x3_rf"),
    ],
    "VGG against AlexNet": [
        Claim("AlexNet, parameters", "62,378,344", EXAMPLES["params_alexnet"],
              "in one piece, every filter sees all channels; in two groups, as in the paper, there are 60,965,224",
              example="params_alexnet alex_total_ungrouped"),
        Claim("VGG16, parameters", "138,357,544", EXAMPLES["params_vgg16"], example="params_vgg16"),
        Claim("VGG19, parameters", "143,667,240", EXAMPLES["params_vgg19"], example="params_vgg19"),
        *errors("000", "alexnet"),
        *quoted(("VGG16 138,357,544 27.00", "27.00"), ("VGG19 143,667,240 27.30", "27.30"), about=("vgg_d", "vgg_e"),
                reason="of the paper, at a single scale"),
    ],
    "ResNet": [
        *quoted(("[He Kaiming et al. 2015]", "2015"), about=("resnet34",)),
        Claim("Matrix addition, [32 -12 22; -10 -41 1; -30 10 -2] + [20 3 8; 41 19 21; 5 52 12]", ("52", "-9", "30", "31", "-22", "22", "-25", "62", "10"),
              _matrix("resnet_add"), example="resnet_add"),
        Claim("ReLU of the sum", ("52", "0", "30", "31", "0", "22", "0", "62", "10"), _matrix("resnet_relu"),
              example="resnet_relu"),
        *errors("000", "vgg_d", reason=PROTOCOLS, erratum=MIXED),
        *errors("000", "vgg_e", "plain34", "resnet34", "resnet50", "resnet101", reason="not comparable, as above",
                erratum=MIXED),
    ],
    "Further architectures": [
        Claim("DenseNet, key idea: Concat All of Layers", "",
              _dense),
        Claim("Inception(GoogLeNet), key idea: 1x1 Convolution (reduce params)", "", smaller("inception_bottleneck", "inception_naive"), about=("googlenet",)),
        Claim("xception, key idea: extreme Inception", "", _extreme),
    ],
}  # fmt: skip
