"""Deck 003: the convolution layer and its arithmetic, AlexNet, VGG's memory and parameters, how ResNet is trained."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np

from ... import ops, random
from ...layers import init
from ...tensor import Tensor
from . import deck_004
from .claim import Cited, Claim, Formula, Holds
from .measure import conv, hwc, info, input_of, net, note, pool, side, stack
from .papers import PAPERS
from .quotes import quoted, winners
from .tables import vgg_column, windows
from .worked import EXAMPLES, vgg_memory, vgg_rows

TITLE = '"Lecture 7: Convolutional Neural Networks"'


def _convolution() -> Holds:
    """The formula's convolution against the layer: equal with the filter turned by 180 degrees."""
    f = np.arange(49, dtype=np.float32).reshape(7, 7) % 5
    g = np.arange(9, dtype=np.float32).reshape(3, 3)
    by_formula = np.array([
        [sum(f[x + 2 - a, y + 2 - b] * g[a, b] for a in range(3) for b in range(3)) for y in range(5)] for x in range(5)
    ])  # fmt: skip
    layer = ops.conv2d(f[None, None], Tensor(g[None, None])).numpy()[0, 0]
    turned = ops.conv2d(f[None, None], Tensor(g[::-1, ::-1].copy()[None, None])).numpy()[0, 0]
    return Holds(
        np.array_equal(turned, by_formula),
        ", ".join(
            f"{words} {'equal' if np.array_equal(found, by_formula) else 'different'}"
            for words, found in (("as it is", layer), ("filter turned", turned))
        ),
    )


def _dot_product() -> Holds:
    x = np.arange(49, dtype=np.float32).reshape(7, 7)
    g = np.arange(9, dtype=np.float32).reshape(3, 3)
    y = ops.conv2d(x[None, None], Tensor(g[None, None])).numpy()[0, 0]
    products = (x[2:5, 3:6] * g).sum()
    return Holds(bool(y[2, 3] == products), f"the layer {y[2, 3]:g}, the sum of the products {products:g}")


def _does_not_fit() -> Holds:
    """Whether the windows leave pixels over."""
    found = EXAMPLES["conv_7_3_s3"]()
    return Holds(not found["fits"], f"{found['value']}, floor {found['floor']}, ceil {found['ceil']}")


def _by_formula(padded: bool) -> Holds:
    """(W - F + 2P)/S + 1 against layers, over a range of sizes W, windows F, strides S and paddings P.

    Where the division is not even, a layer takes the floor: those are left out.
    """
    grid = itertools.product((7, 32, 227), (1, 3, 5, 11), (1, 2, 4), (0, 1, 2) if padded else (0,))
    even = [(W, F, S, P) for W, F, S, P in grid if F <= W + 2 * P and (W - F + 2 * P) % S == 0]
    right = sum(side(W, F, S, P) == (W - F + 2 * P) // S + 1 for W, F, S, P in even)
    return Holds(right == len(even), f"{right} of {len(even)} layers")


def _shapes() -> tuple[str, ...]:
    """The simplified AlexNet of the deck, which normalises behind the pools."""
    one = net("alexnet", norm="after")
    kinds = ("Conv2d", "MaxPool2d", "LocalResponseNorm", "Linear")
    return tuple("x".join(map(str, hwc(row.output_shape))) for row in one.of(*kinds))


def _alexnet(number: int) -> Callable[[], str]:
    def text() -> str:
        one = net("alexnet", norm="after")
        layer = one.layer(one.convs[number - 1])
        return f"{layer.out_channels} {layer.kernel_size[0]}x{layer.kernel_size[1]}, stride {layer.stride[0]}, pad {layer.padding[0]}"

    return text


SHAPES = (
    "55x55x96", "27x27x96", "27x27x96", "27x27x256", "13x13x256", "13x13x256", "13x13x384", "13x13x384", "13x13x256",
    "6x6x256", "4096", "4096", "1000",
)  # fmt: skip
"""As the deck lists them: CONV1, POOL1, NORM1, CONV2, POOL2, NORM2, CONV3, CONV4, CONV5, POOL3, FC6, FC7, FC8."""

MEMORY = """
INPUT: [224x224x3] | 150K | 0
CONV3-64: [224x224x64] | 3.2M | 1,728
CONV3-64: [224x224x64] | 3.2M | 36,864
POOL2: [112x112x64] | 800K | 0
CONV3-128: [112x112x128] | 1.6M | 73,728
CONV3-128: [112x112x128] | 1.6M | 147,456
POOL2: [56x56x128] | 400K | 0
CONV3-256: [56x56x256] | 800K | 294,912
CONV3-256: [56x56x256] | 800K | 589,824
CONV3-256: [56x56x256] | 800K | 589,824
POOL2: [28x28x256] | 200K | 0
CONV3-512: [28x28x512] | 400K | 1,179,648
CONV3-512: [28x28x512] | 400K | 2,359,296
CONV3-512: [28x28x512] | 400K | 2,359,296
POOL2: [14x14x512] | 100K | 0
CONV3-512: [14x14x512] | 100K | 2,359,296
CONV3-512: [14x14x512] | 100K | 2,359,296
CONV3-512: [14x14x512] | 100K | 2,359,296
POOL2: [7x7x512] | 25K | 0
FC: [1x1x4096] | 4096 | 102,760,448
FC: [1x1x4096] | 4096 | 16,777,216
FC: [1x1x1000] | 1000 | 4,096,000
"""
"""The deck's rows of VGG-16: layer, numbers in memory, weights."""


def _memory() -> list[Claim]:
    def row(place: int) -> Callable[[], tuple[int, int]]:
        def numbers() -> tuple[int, int]:
            _, memory, weights = vgg_rows()[place]
            rows = net("vgg_d").of("Conv2d", "MaxPool2d", "Linear")
            note("vgg_d", rows[max(place - 1, 0)].path)  # of the input the layer that reads it
            return memory, weights

        return numbers

    claims = []
    for place, line in enumerate(MEMORY.strip().splitlines()):
        layer, memory, params = line.split(" | ")
        claims.append(
            Claim(
                f"{layer} memory, params", (memory, params), row(place), example="vgg16_memory_rows", about=("vgg_d",)
            )
        )
    return claims


def _early() -> Holds:
    """Whether the first stages hold most of the numbers."""
    rows = vgg_rows()
    early = sum(row[1] for row in rows[:7])
    return Holds(
        2 * early > sum(row[1] for row in rows), f"{early / sum(row[1] for row in rows):.0%} before POOL2 number 2"
    )


def _late() -> Holds:
    rows = vgg_rows()
    late = sum(row[2] for row in rows if row[0] == "fc")
    return Holds(2 * late > sum(row[2] for row in rows), f"{late / sum(row[2] for row in rows):.0%} in FC")


LOST = ("conv3-64", "conv3-128", "2 conv3-256", "2 conv3-512", "2 conv3-512")
"""Every column of the table as the text of its first copy has it, from pool to pool: that of A."""

SECOND = {
    "b": ("2 conv3-64", "2 conv3-128", "2 conv3-256", "2 conv3-512", "2 conv3-512"),
    "c": ("2 conv3-64", "2 conv3-128", "2 conv3-256, conv1-256", "2 conv3-512, conv1-512", "2 conv3-512, conv1-512"),
    "d": ("2 conv3-64", "2 conv3-128", "3 conv3-256", "3 conv3-512", "3 conv3-512"),
}
"""The columns that the second copy of the table has, beside the memory."""


def _one_by_one() -> Holds:
    """Whether a 1x1 convolution changes the number of maps alone."""
    one = conv((56, 56, 64), 32, 1)
    before, after = hwc(one.input_shape), one.output
    found = " -> ".join("x".join(map(str, shape)) for shape in (before, after))
    return Holds(before[:2] == after[:2] and before[2] != after[2], found)


def _same_size() -> Holds:
    """Whether padding (F - 1)/2 keeps the size of a 32x32 map, for odd windows F of up to 11."""
    sides = [side(32, F, 1, (F - 1) // 2) for F in (1, 3, 5, 7, 9, 11)]
    return Holds(set(sides) == {32}, f"{sides.count(32)} of {len(sides)} layers")


def _filter() -> str:
    """The weights of one filter, height x width x channels."""
    one = conv((32, 32, 3), 1, 5)
    _, C, R, S = one.layer(one.convs[0]).weight.shape
    return f"{R}x{S}x{C}"


def _gain() -> float:
    """The variance of He's initial weights as a multiple of Xavier's, from the same random numbers."""
    before, variances = random.get_state(), []
    try:
        for draw in (init.he_normal, init.xavier_normal):
            random.set_state({"seed": 0, "step": 0})
            variances.append(float(draw(Tensor(np.zeros((8, 8, 3, 3))), mode="fan_in").numpy().var()))
    finally:
        random.set_state(before)
    return variances[0] / variances[1]


def _conv_arguments() -> int:
    """How many of K, F, S and P change what a convolution gives when each is changed by itself."""
    others = ((5, 3, 1, 0), (4, 5, 1, 0), (4, 3, 2, 0), (4, 3, 1, 1))
    return sum(conv((9, 9, 3), *other).output != conv((9, 9, 3), 4, 3, 1, 0).output for other in others)


def _pool_arguments() -> int:
    """How many of F and S change what a pool gives when each is changed by itself."""
    return sum(pool((9, 9, 3), F, S).output != pool((9, 9, 3), 2, 2).output for F, S in ((4, 2), (2, 3)))


def _pattern(name: str) -> str:
    """The runs of convolutions before each pool, and the linear layers."""
    runs, count = [], 0
    for row in net(name).of("Conv2d", "MaxPool2d"):
        if row.kind == "MaxPool2d":
            runs.append(count)
            count = 0
        else:
            count += 1
    return f"N = {min(runs)} to {max(runs)}, M = {len(runs)}, K = {len(net(name).of('Linear')) - 1}"


def _fits_pattern() -> Holds:
    found = _pattern("vgg_e")
    hidden = len(net("vgg_e").of("Linear")) - 1
    return Holds(0 <= hidden <= 2, found)


CLAIMS: dict[str, list[Claim]] = {
    "Convolution layer": [
        Claim("5x5x3 filter on a 32x32x3 image: one activation map", "28x28x1", lambda: conv((32, 32, 3), 1, 5).output,
              "the size that the deck gives for six filters"),
        Claim("Filters always extend the full depth: 5x5x3", ("5x5x3",), _filter),
        Claim("6 5x5 filters: new image of size 28x28x6", "28x28x6", lambda: conv((32, 32, 3), 6, 5).output,
              example="six_5x5_filters"),
        Claim("example 5x5 filters (32 total)", "32", lambda: conv((32, 32, 3), 32, 5).output[2]),
        Claim("We call the layer convolutional: f[x,y] * g[x,y] = sum f[n1,n2] g[x-n1,y-n2]", "", _convolution,
              "the layer does not turn the filter: strictly it is a cross-correlation"),
        Claim("elementwise multiplication and sum of a filter and the signal", "", _dot_product),
        Claim("7x7 input, 3x3 filter => 5x5 output", "5x5x1", lambda: conv((7, 7, 1), 1, 3).output),
        Claim("stride 1 => (7 - 3)/1 + 1", "5", EXAMPLES["conv_7_3_s1"], example="conv_7_3_s1"),
        Claim("with stride 2 => 3x3 output!", "3x3x1", lambda: conv((7, 7, 1), 1, 3, 2).output),
        Claim("stride 2 => (7 - 3)/2 + 1", "3", EXAMPLES["conv_7_3_s2"], example="conv_7_3_s2"),
        Claim("cannot apply 3x3 filter on 7x7 input with stride 3: doesn't fit!", "", _does_not_fit, example="conv_7_3_s3",
              reason="libraries take the floor and leave a row and a column out"),
        Claim("stride 3 => (7 - 3)/3 + 1", "2.33", lambda: EXAMPLES["conv_7_3_s3"]()["value"], example="conv_7_3_s3"),
        Claim("pad with 1 pixel border: 7x7 output!", "7", EXAMPLES["conv_7_3_s1_p1"], example="conv_7_3_s1_p1"),
        Claim("zero-padding with (F-1)/2 will preserve size spatially", "", _same_size, "F = 1, 3, ... 11, on a 32x32 map"),
        Claim("F = 3 => zero pad with 1", "1", EXAMPLES["same_pad_3"], example="same_pad_3"),
        Claim("F = 5 => zero pad with 2", "2", EXAMPLES["same_pad_5"], example="same_pad_5"),
        Claim("F = 7 => zero pad with 3", "3", EXAMPLES["same_pad_7"], example="same_pad_7"),
        Claim("32x32 input convolved repeatedly with 5x5 filters: 32 -> 28 -> 24", ("28", "24"),
              lambda: tuple(EXAMPLES["shrink_32_5x5"]()), example="shrink_32_5x5"),
    ],
    "Examples time": [
        Claim("10 5x5 filters with stride 1, pad 2: (32 + 2*2 - 5)/1 + 1", "32", lambda: side(32, 5, 1, 2)),
        Claim("Output volume size", "32x32x10", lambda: conv((32, 32, 3), 10, 5, 1, 2).output, example="conv_10_5x5_p2"),
        Claim("each filter has 5*5*3 + 1 params", "76", EXAMPLES["params_per_filter_76"], example="params_per_filter_76"),
        Claim("Number of parameters in this layer: 76*10", "760", EXAMPLES["params_760"], example="params_760"),
    ],
    "Summary of the conv layer": [
        Claim("Requires four hyperparameters: number of filters, extent, stride, zero padding", "4",
              _conv_arguments, "each changes the layer's output"),
        Claim("W2 = (W1 - F + 2P)/S + 1", "", lambda: _by_formula(True),
              "wherever the division is even; else the layer takes the floor. "
              "W1 = 7, 32, 227; F = 1, 3, 5, 11; S = 1, 2, 4; P = 0, 1, 2"),
        Claim("D2 = K", "10", lambda: conv((32, 32, 3), 10, 5).output[2], "with the K = 10 of the example"),
        Claim("F*F*D1 weights per filter, (F*F*D1)*K weights and K biases (F = 5, D1 = 3, K = 10)",
              Formula("(5*5*3)*10 + 10", 5 * 5 * 3 * 10 + 10), lambda: conv((32, 32, 3), 10, 5).parameters),
        Claim("1x1 convolution layers make perfect sense", "", _one_by_one),
        Claim("Caffe: num_output 96, kernel_size 11, stride 4 on 227x227x3", "55x55x96",
              lambda: conv((227, 227, 3), 96, 11, 4).output, "the size is that of AlexNet's CONV1 further on",
              example="conv_caffe"),
        *quoted(("Caffe: lr_mult of filters and biases", "1, 2"), ("Caffe: decay_mult of filters and biases", "1, 0"),
                ("Caffe: std of the filters' gaussian, value of the biases", "0.01, 0"),
                reason="settings; minicnn.io.load_prototxt reads this very text"),
        Claim("An activation map is a 28x28 sheet of neuron outputs; 5 filters: (28x28x5)", "28x28x5",
              lambda: conv((32, 32, 3), 5, 5).output),
        Claim("neurons arranged in a 3D grid (28x28x5)", Formula("28*28*5", 28 * 28 * 5), EXAMPLES["neurons_28x28x5"],
              example="neurons_28x28x5"),
        Claim("There will be 5 different neurons all looking at the same region in the input volume", "5",
              lambda: conv((32, 32, 3), 5, 5).output[2]),
        Claim("5x5 filter -> 5x5 receptive field for each neuron", "5", lambda: stack((9, 9, 1), 1, (5,)).convs[0].receptive_field),
    ],
    "Pooling layer": [
        Claim("Common settings: F = 2, S = 2 (on 224x224x64)", "112x112x64", lambda: pool((224, 224, 64), 2, 2).output,
              "the size is that of VGG's first pool"),
        Claim("Common settings: F = 3, S = 2 (on 55x55x96)", "27x27x96", lambda: pool((55, 55, 96), 3, 2).output,
              "the size is that of AlexNet's first pool"),
        Claim("Requires three hyperparameters: their spatial extent F, the stride S", "3",
              _pool_arguments, "the slide lists two, and there are two without padding"),
        Claim("W2 = (W1 - F)/S + 1", "", lambda: _by_formula(False)),
        Claim("D2 = D1", "96", lambda: pool((55, 55, 96), 3, 2).output[2]),
        Claim("Introduces zero parameters", "0", lambda: pool((55, 55, 96), 3, 2).parameters),
    ],
    "AlexNet": [
        *quoted(("[Krizhevsky et al. 2012]", "2012"), about=("alexnet",)),
        Claim("Input: 227x227x3 images", "227x227x3", input_of("alexnet")),
        Claim("First layer (CONV1): 96 11x11 filters applied at stride 4, pad 0", "96 11x11, stride 4, pad 0", _alexnet(1)),
        Claim("what is the output volume size? Hint: (227-11)/4+1", "55", EXAMPLES["alex_conv1_size"],
              example="alex_conv1_size"),
        Claim("Parameters: (11*11*3)*96 = 35K", "35K", EXAMPLES["alex_conv1_params_nobias"], "weights alone",
              example="alex_conv1_params_nobias"),
        Claim("Parameters: (11*11*3)*96, of the whole layer", Formula("(11*11*3)*96", 11 * 11 * 3 * 96),
              EXAMPLES["alex_conv1_params_bias"], "the 96 biases are left out; with them it is 35K all the same",
              erratum="conv1 = 35K"),
        Claim("(POOL1): 3x3 filters applied at stride 2. Hint: (55-3)/2+1", "27", EXAMPLES["alex_pool1"], example="alex_pool1"),
        Claim("Parameters (POOL1): 0!", "0", EXAMPLES["alex_pool1_params"], example="alex_pool1_params"),
        Claim("CONV2: 256 5x5 filters at stride 1, pad 2", "256 5x5, stride 1, pad 2", _alexnet(2)),
        Claim("CONV3: 384 3x3 filters at stride 1, pad 1", "384 3x3, stride 1, pad 1", _alexnet(3)),
        Claim("CONV4: 384 3x3 filters at stride 1, pad 1", "384 3x3, stride 1, pad 1", _alexnet(4)),
        Claim("CONV5: 256 3x3 filters at stride 1, pad 1", "256 3x3, stride 1, pad 1", _alexnet(5)),
        Claim("CONV1, MAX POOL1, NORM1, ... [6x6x256] MAX POOL3, FC6, FC7, FC8", SHAPES, _shapes,
              "this deck normalises behind the pools; the paper does before them"),
    ],
    "VGGNet": [
        *quoted(("[Simonyan and Zisserman, 2014]", "2014"), about=("vgg_d",)),
        Claim("Only 3x3 CONV stride 1, pad 1", ("3x3",), windows("vgg_a", "vgg_b", "vgg_c", "vgg_d", "vgg_e"),
              "configuration C has 1x1 convolutions", erratum="only 3x3 conv"),
        Claim("2x2 MAX POOL stride 2", ("2x2 max /2",) * 5,
              lambda: tuple(net("vgg_d").spec(row) for row in net("vgg_d").pools)),
        *winners("003"),
        Claim("11, 11, 13, 16, 16 and 19 weight layers", ("11", "11", "13", "16", "16", "19"),
              lambda: tuple(net(f"vgg_{letter}").depth for letter in ("a", "a_lrn", "b", "c", "d", "e"))),
        Claim("input (224x224 RGB image)", "224x224x3", input_of("vgg_d")),
        *[
            Claim(f"ConvNet Configuration, column {letter.upper().replace('_', '-')}", LOST, vgg_column(letter),
                  "" if whole == LOST else "every column reads like A's",
                  erratum="" if whole == LOST else "VGG table lost rows (all configs equal)",
                  meant="" if whole == LOST else whole)
            for letter, whole in deck_004.VGG.items()
        ],
        *[Claim(f"ConvNet Configuration, second copy, column {letter.upper()}", column, vgg_column(letter))
          for letter, column in SECOND.items()],
        Claim("FC-4096, FC-4096, FC-1000", ("4096", "4096", "1000"),
              lambda: tuple(row.output_shape[0] for row in net("vgg_d").of("Linear"))),
        *[
            Claim(f"Table 2: Number of parameters (in millions), {name}", f"{printed} million", parameters,
                  example="vgg_table2")
            for name, printed, parameters in (
                ("A", 133, lambda: info("vgg_a").parameters), ("A-LRN", 133, lambda: info("vgg_a_lrn").parameters),
                ("B", 133, lambda: info("vgg_b").parameters), ("C", 134, lambda: info("vgg_c").parameters),
                ("D", 138, lambda: info("vgg_d").parameters), ("E", 144, lambda: info("vgg_e").parameters),
            )
        ],
    ],
    "VGG-16, memory and parameters": [
        *_memory(),
        Claim("TOTAL memory: 24M", "24M", lambda: vgg_memory()["values"], "the deck's own rows add up to 15.2M",
              example="vgg16_memory_total", erratum="TOTAL memory 24M * 4 bytes ~= 93MB"),
        Claim("TOTAL memory: 24M * 4 bytes ~= 93MB / image", "93 MB", lambda: vgg_memory()["MB"],
              "15,237,608 numbers of 4 bytes are 60.95 MB or 58.13 MiB; and 24M * 4 would be 96 MB", example="vgg16_memory_total",
              erratum="TOTAL memory 24M * 4 bytes ~= 93MB"),
        *quoted(("TOTAL memory: only forward! for bwd", "~*2"), about=("vgg_d",), reason="depends on what training keeps"),
        Claim("TOTAL params: 138M parameters (not counting biases)", "138M", EXAMPLES["vgg16_params_total_nobias"],
              "with biases 138,357,544", example="vgg16_params_total_nobias"),
        Claim("Most memory is in early CONV", "", _early),
        Claim("Most params are in late FC", "", _late),
    ],
    "ResNet": [
        *quoted(("[He et al., 2015]", "2015"), ("SGD + Momentum (0.9)", "0.9"), ("Learning rate: 0.1", "0.1"),
                ("divided by 10 when validation error plateaus", "10"), ("Mini-batch size 256", "256"), about=("resnet50",)),
        Claim("Weight decay of 1e-5", Formula("1e-5", 1e-5), lambda: Cited(float(PAPERS["resnet"]["weight decay"])),
              "He et al. write 0.0001, which is 1e-4", erratum="weight decay 1e-5"),
        Claim("No dropout used", "0", lambda: len(net("resnet50").of("Dropout"))),
        Claim("Xavier/2 initialization from He et al.", Formula("2/n in place of 1/n", 2.0), _gain,
              "n inputs of each unit; computed: the ratio of the variances of the weights"),
    ],
    "Summary": [
        Claim("[(CONV-RELU)*N-POOL?]*M-(FC-RELU)*K, N up to ~5, 0 <= K <= 2 (VGG-19)", "", _fits_pattern),
    ],
}  # fmt: skip
