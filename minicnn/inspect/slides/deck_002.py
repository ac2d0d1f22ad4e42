"""Deck 002, first part: strides and receptive fields, AlexNet, Clarifai, OverFeat, CNN-F/M/S, VGG, Network in Network.

The text recognition of this deck is damaged in places; what is readable is quoted.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from ...geometry import Field
from . import deck_002_inception
from .claim import Cited, Claim, Formula, Holds
from .measure import Net, conv, hwc, info, input_of, net, pool
from .papers import PAPERS
from .quotes import errors, quoted, winners
from .tables import vgg_column, windows
from .worked import EXAMPLES

TITLE = 'X. Wang, CUHK: "Network Structures", 2019'


def _kinds(name: str, *kinds: str) -> int:
    return len(net(name).of(*kinds))


def _first_layer() -> str:
    P, Q, K = hwc(net("alexnet_grouped").convs[0].output_shape)
    printed = int(PAPERS["alexnet"]["neurons"].partition(",")[0])
    return f"the first layer has {P}*{Q}*{K}; {printed:,}, which the paper prints too, is {P}*{printed // P // K}*{K}"


def _connections() -> str:
    one = net("alexnet_grouped")
    convs, linear = (sum(row.macs for row in one.of(kind)) for kind in ("Conv2d", "Linear"))
    return (
        "it is in the authors' slides of the challenge, not in their paper, and does not follow from the layers: counted "
        f"as multiply-adds, the convolutions have {convs:,} in two groups and the linear layers {linear:,}; in one piece "
        f"all have {info('alexnet').macs:,}"
    )


def _pooled(name: str) -> tuple[int, ...]:
    """The numbers of the convolutions that a max pool follows."""
    number, found = 0, []
    for row in net(name).of("Conv2d", "MaxPool2d"):
        if row.kind == "Conv2d":
            number += 1
        else:
            found.append(number)
    return tuple(found)


def _filters(name: str) -> tuple[int, ...]:
    return tuple(row.output_shape[0] for row in net(name).of("Conv2d", "Linear"))


def _row(name: str) -> Callable[[], tuple[str, ...]]:
    """The convolutions as the deck's table writes them: 64x11x11 st. 4, pad 0."""

    def cells() -> tuple[str, ...]:
        one, texts = net(name), []
        for row in one.convs:
            layer = one.layer(row)
            R, S = layer.kernel_size
            texts.append(f"{layer.out_channels}x{R}x{S} st. {layer.stride[0]}, pad {layer.padding[0]}")
        return tuple(texts)

    return cells


def _cell(name: str, place: int) -> Callable[[], str]:
    return lambda: _row(name)()[place]


def _strides(name: str) -> tuple[str, ...]:
    """The factors by which the pools shrink the maps."""
    return tuple(f"x{net(name).layer(row).stride[0]} pool" for row in net(name).pools)


def _linear(name: str) -> tuple[int, ...]:
    return tuple(row.output_shape[0] for row in net(name).of("Linear"))


def _changed(name: str, other: str) -> str:
    """In which of the convolutions 2 to 5 the stride differs."""
    pairs = zip(net(name).convs[1:], net(other).convs[1:])
    differ = [
        f"conv{number} has stride {net(name).layer(a).stride[0]}"
        for number, (a, b) in enumerate(pairs, 2)
        if net(name).layer(a).stride != net(other).layer(b).stride
    ]
    return ", ".join(differ) or "same"


def _field(part: str) -> Callable[[], tuple[int, ...]]:
    return lambda: tuple(EXAMPLES["rf_two_stride2"]()[part])


def _inputs() -> tuple[int, ...]:
    """The sides of the maps that OverFeat's eight layers read."""
    rows = net("overfeat_fast").of("Conv2d", "Linear")
    return tuple(row.input_shape[1] if len(row.input_shape) == 3 else 1 for row in rows[:5]) + _fc_sides()


def _fc_sides() -> tuple[int, ...]:
    """Of the first linear layer the side of the maps that it reads; the others read numbers."""
    one = net("overfeat_fast")
    side = one.of("Flatten")[0].input_shape[1]
    return (side, *[1 for _ in one.of("Linear")[1:]])


def _overfeat(attribute: str) -> Callable[[], tuple[str, ...]]:
    def cells() -> tuple[str, ...]:
        one = net("overfeat_fast")
        pairs = [getattr(one.layer(row), attribute)[:2] for row in one.convs]
        return tuple(f"{a}x{b}" for a, b in pairs)

    return cells


def _pool_cells(attribute: str) -> tuple[str, ...]:
    one = net("overfeat_fast")
    return tuple("x".join(map(str, getattr(one.layer(row), attribute))) for row in one.pools)


def _shrinks(one: Net) -> Holds:
    """Whether a layer decreases the sides of its maps."""
    before, after = one.input_shape[1:], one.output[:2]
    return Holds(all(a < b for a, b in zip(after, before)), "{}x{} -> {}x{}".format(*before, *after))


def _cccp() -> Holds:
    """Whether two 1x1 convolutions follow each larger one."""
    one = net("nin_imagenet")
    windows = [one.layer(row).kernel_size[0] for row in one.convs]
    right = all(windows[place] > 1 and windows[place + 1 : place + 3] == [1, 1] for place in range(0, len(windows), 3))
    return Holds(right, ", ".join(f"{window}x{window}" for window in windows))


def _against(name: str, other: str) -> Holds:
    """Whether conv3-5 have fewer filters."""
    few, many = ([row.output_shape[0] for row in net(one).convs[2:]] for one in (name, other))
    return Holds(sum(few) < sum(many), f"{few} against {many}")


def _most() -> Holds:
    macs = {name: info(name).macs for name in ("cnn_f", "cnn_m", "cnn_s")}
    return Holds(
        max(macs, key=lambda name: macs[name]) == "cnn_s",
        "multiply-adds: " + ", ".join(f"{name} {count:,}" for name, count in macs.items()),
    )


CNN = (
    ("cnn_f", "CNN-F", ("64x11x11 st. 4, pad 0", "256x5x5 st. 1, pad 2", *(("256x3x3 st. 1, pad 1",) * 3)), ("x2 pool",) * 3),
    ("cnn_m", "CNN-M", ("96x7x7 st. 2, pad 0", "256x5x5 st. 2, pad 1", *(("512x3x3 st. 1, pad 1",) * 3)), ("x2 pool",) * 3),
    ("cnn_s", "CNN-S", ("96x7x7 st. 2, pad 0", "256x5x5 st. 1, pad 1", *(("512x3x3 st. 1, pad 1",) * 3)),
     ("x3 pool", "x2 pool", "x3 pool")),
)  # fmt: skip
"""The deck's first table, where the text recognition leaves it readable."""

NEURONS = "253440 neurons in layer 1; 650000; 630000000"

CLAIMS: dict[str, list[Claim]] = {
    "Strides, sizes, receptive fields": [
        Claim("Max pooling with 2 x 2 kernel and stride 2: decrease spatial dimension", "",
              lambda: _shrinks(pool((8, 8, 1), 2, 2))),
        Claim("Strided convolution with 3 x 3 kernel and stride 2: decrease spatial dimension", "",
              lambda: _shrinks(conv((8, 8, 1), 1, 3, 2, 1))),
        Claim("n_out = floor((n_in + 2p - k)/s) + 1: n_in, n_out are the number of channels",
              "n_in, n_out are the number of channels", EXAMPLES["out_formula_002"],
              "they are the side lengths of the maps", example="out_formula_002",
              erratum="n_in, n_out are the number of channels"),
        Claim("For very first input to a network, we always have r0 = 1 and j0 = 1", ("1", "1"),
              lambda: (Field().size, Field().jump)),
        Claim("receptive fields: r1 = 1 + (3 - 1) x 1 = 3, r2 = 3 + 2 x 2 = 7", ("3", "7"), _field("r"),
              example="rf_two_stride2"),
        Claim("jumps: j1 = 1 x 2 = 2, j2 = 2 x 2 = 4", ("2", "4"), _field("j"), example="rf_two_stride2"),
    ],
    "AlexNet": [
        *quoted(("Krizhevsky 2012", "2012"), about=("alexnet_grouped",)),
        Claim("5 convolutional layers and 2 fully connected layers for learning features", ("5", "2"),
              lambda: (_kinds("alexnet_grouped", "Conv2d"), _kinds("alexnet_grouped", "Linear") - 1),
              "the third fully connected layer is the classifier"),
        Claim("Max-pooling layers follow first, second, and fifth convolutional layers", ("1", "2", "5"),
              lambda: _pooled("alexnet_grouped")),
        Claim("The number of neurons in each layer",
              ("253440", "186624", "64896", "64896", "43264", "4096", "4096", "1000"),
              lambda: tuple(EXAMPLES["alex_neurons"]()), _first_layer, "alex_neurons", NEURONS),
        Claim("650000 neurons", "650000", lambda: EXAMPLES["alex_neurons_total"]()["computed"],
              lambda: f"the paper's own list adds up to {EXAMPLES['alex_neurons_total']()['sum_of_paper_list']:,}", "alex_neurons_total", NEURONS),
        Claim("60000000 parameters", "60000000", EXAMPLES["alex_params_paper"], "in two groups, as on the paper's two GPUs",
              "alex_params_paper"),
        Claim("630000000 connections", "630000000", EXAMPLES["alex_connections"], _connections, "alex_connections", NEURONS),
        Claim("the figure: 27 (behind the first pool), 4096, 4096", ("27", "4096", "4096"),
              lambda: (net("alexnet_grouped").pools[0].output_shape[1], *_linear("alexnet_grouped")[:2])),
        Claim("(Krizhevsky NIPS 2014)", "NIPS 2014", lambda: Cited(PAPERS["alexnet"]["venue"]), "it is the paper of 2012",
              erratum="figure credit Krizhevsky NIPS 2014", about=("alexnet_grouped",)),
        Claim("Two 8-layer AlexNets", "8", lambda: net("alexnet_grouped").depth),
        Claim("two groups of 500 classes", Formula("2*500", 1000), lambda: _linear("alexnet_grouped")[-1]),
        Claim("man-made objects (449 classes) and natural objects (551 classes)", Formula("449 + 551", 449 + 551),
              lambda: _linear("alexnet_grouped")[-1]),
        *errors("002", "alexnet"),
    ],
    "CNN-F, CNN-M, CNN-S": [
        *quoted(("(Chatfield et al. BMVC'14)", "'14"), about=("cnn_f",)),
        *quoted(("mAP: CNN-M > CNN-F", "~2.5%"), ("Smaller dimension downsized to 256, crops and flipping: improvement", "~3%"),
                ("Gray-scale vs. color: drop", "~3%"), ("FC7 to 128: drop", "~2%"), ("ranking hinge loss: improvement", "~2.7%"),
                ("normalising features: accuracy for VOC 2007", "~5%"), about=("cnn_f", "cnn_m", "cnn_m_128")),
        Claim("224 x 224 patches", "224x224", lambda: input_of("cnn_f")()[:2]),
        *[
            claim
            for name, title, convs, pools in CNN
            for claim in (
                Claim(f"{title}: conv1 to conv5", convs, _row(name)),
                Claim(f"{title}: pools behind conv1, conv2, conv5", pools, partial(_strides, name)),
                Claim(f"{title}: full6, full7, full8", ("4096", "4096", "1000"), partial(_linear, name)),
            )
        ],
        Claim("Remark on the released CNN-S: its filters, windows and strides are those of the table",
              ("7x7 conv 96 /2", "5x5 conv 256", *(("3x3 conv 512",) * 3)),
              lambda: tuple(net("cnn_s_released").spec(row) for row in net("cnn_s_released").convs),
              "but its conv2 is not padded, where the table has pad 1", ours=True),
        Claim("CNN-F: conv2, 256x3x3 in another copy of the table", "256x3x3 st. 1, pad 2", _cell("cnn_f", 1),
              "as the first copy has it", meant="256x5x5 st. 1, pad 2",
              erratum="CNN-F conv2 256x3x3 (one of two tables, OCR)"),
        Claim("Decrease the number of nodes in FC7: to 2048", "2048", lambda: _linear("cnn_m_2048")[1]),
        Claim("Decrease the number of nodes in FC7: to 1024", "1024", lambda: _linear("cnn_m_1024")[1]),
        Claim("Decrease the number of nodes in FC7: to 128", "128", lambda: _linear("cnn_m_128")[1]),
        Claim("FC7 to 128: 32x smaller feature", "32x", EXAMPLES["fc7_128_ratio"], example="fc7_128_ratio"),
        Claim("CNN-F: similar to AlexNet, but less channels in conv3-5", "", lambda: _against("cnn_f", "alexnet")),
        Claim("CNN-S: the most complex one", "", _most),
        Claim("The crops are 224 x 224, of pictures of 256", "224x224", lambda: input_of("cnn_s")()[:2]),
        *errors("002", "cnn_f", "cnn_m", "cnn_m_2048", "cnn_s"),
    ],
    "Clarifai": [
        *quoted(("Winner of ILSVRC 2013", "2013"), about=("clarifai",)),
        Claim("Max-pooling layers follow first, second, and fifth convolutional layers", ("1", "2", "5"), lambda: _pooled("clarifai")),
        Claim("11x11 to 7x7, stride 4 to 2 in 1st layer", ("11x11 conv 96 /4", "7x7 conv 96 /2"),
              lambda: (net("alexnet").spec(net("alexnet").convs[0]), net("clarifai").spec(net("clarifai").convs[0]))),
        Claim("Other settings are the same as AlexNet", "same", lambda: _changed("clarifai", "alexnet"),
              "conv2 has stride 2 too", erratum="Clarifai: other settings same as AlexNet; last fc 4096"),
        Claim("96x7x7 st. 2, 256x5x5 st. 2, 384x3x3, 384x3x3, 256x3x3: filters and strides",
              ("7x7 conv 96 /2", "5x5 conv 256 /2", "3x3 conv 384", "3x3 conv 384", "3x3 conv 256"),
              lambda: tuple(net("clarifai").spec(row) for row in net("clarifai").convs)),
        Claim("256x5x5 st. 2, pad 1", "256x5x5 st. 2, pad 1", _cell("clarifai", 1),
              "the paper's figure has maps of 110 and 26, which need the padding in conv1 instead"),
        Claim("4096|4096|4096: the fully connected layers", ("4096", "4096", "4096"), lambda: _linear("clarifai"),
              "the last one has 1000 units, one for each class",
              erratum="Clarifai: other settings same as AlexNet; last fc 4096"),
        Claim("13 13: the side of the last maps", ("13", "13"),
              lambda: tuple(row.output_shape[1] for row in net("clarifai").convs[2:4])),
        Claim("layers 3,4,5: 512,1024,512 maps", ("512", "1024", "512"), lambda: _filters("clarifai_wide")[2:5]),
        *quoted(("reduce the error by", "2%"), ("(Gunji et al., 2012), top-5", "26.2"),
                ("6 convnets, (a) & (b) combined", "36.0, 14.7, 14.8"), about=("clarifai",)),
        *errors("002", "clarifai", "clarifai_wide"),
    ],
    "OverFeat": [
        Claim("Less pooling and more filters (384 => 512 for conv3)", ("384", "512"),
              lambda: (_filters("alexnet")[2], _filters("overfeat_fast")[2])),
        Claim("384=>1024 for conv4", ("384", "1024"), lambda: (_filters("alexnet")[3], _filters("overfeat_fast")[3])),
        Claim("384=>1024 for conv5", ("384", "1024"), lambda: (_filters("alexnet")[4], _filters("overfeat_fast")[4]),
              "AlexNet's conv5 has 256 maps", erratum="384=>1024 for conv4/5"),
        Claim("# channels", ("96", "256", "512", "1024", "1024", "3072", "4096", "1000"), lambda: _filters("overfeat_fast")),
        Claim("Filter size (5x5 is damaged)", ("11x11", "5x5", "3x3", "3x3", "3x3"), _overfeat("kernel_size")),
        Claim("Conv. stride", ("4x4", "1x1", "1x1", "1x1", "1x1"), _overfeat("stride")),
        Claim("Pooling size", ("2x2", "2x2", "2x2"), lambda: _pool_cells("kernel_size")),
        Claim("Pooling stride", ("2x2", "2x2", "2x2"), lambda: _pool_cells("stride")),
        Claim("Zero-Padding size", ("0x0", "0x0", "1x1", "1x1", "1x1"), _overfeat("padding"), "of all four sides; - is none"),
        Claim("Spatial input size: 231x231, 24x24, 12x12, 12x12, 12x12, 6x6, 1x1, 1x1",
              ("231", "24", "12", "12", "12", "6", "1", "1"), _inputs,
              "layer 2 reads 28x28; 24x24 is what it gives", erratum="Overfeat layer-2 spatial input 24x24"),
        *errors("002", "overfeat_fast", "overfeat_accurate"),
        *quoted(("top-5 error (%) of Clarifai, with and without data augmentation", "14.76, 16.5"), about=("clarifai",),
                reason="the text recognition has lost the point of 1476"),
    ],
    "VGG": [
        *quoted(("The deep model VGG in 2014", "2014"), about=("vgg_a",)),
        Claim("Apply 3 x 3 filter for all layers", ("3x3",), windows("vgg_a", "vgg_b", "vgg_c", "vgg_d", "vgg_e"), "configuration C has 1x1 convolutions too"),
        Claim("11 layers (A) to 19 layers (E)", ("11", "19"), lambda: (net("vgg_a").depth, net("vgg_e").depth)),
        Claim("11 layers (A) => 16 layers (D)", ("11", "16"), lambda: (net("vgg_a").depth, net("vgg_d").depth)),
        Claim("11, 11, 13, 16, 16 and 19 weight layers", ("11", "11", "13", "16", "16", "19"),
              lambda: tuple(net(f"vgg_{letter}").depth for letter in ("a", "a_lrn", "b", "c", "d", "e"))),
        Claim("input (224 x 224 RGB image)", "224x224x3", input_of("vgg_a")),
        Claim("conv3-64 ... conv3-512, column D", ("2 conv3-64", "2 conv3-128", "3 conv3-256", "3 conv3-512", "3 conv3-512"),
              vgg_column("d"), "the rows of the columns are torn apart in the text"),
        Claim("conv1-256, conv1-512, conv1-512 (column C)", ("1x1 conv 256", "1x1 conv 512", "1x1 conv 512"), lambda: tuple(
            net("vgg_c").spec(row) for row in net("vgg_c").convs if net("vgg_c").layer(row).kernel_size == (1, 1))),
        Claim("FC-4096, FC-4096, FC-1000", ("4096", "4096", "1000"), lambda: _linear("vgg_e")),
        *errors("002", "vgg_a", "vgg_a_lrn", "vgg_b", "vgg_c", "vgg_d", "vgg_e"),
        *quoted(("Multi-scale averaging improves accuracy: top-1 error from, to", "25.5, 24.8"), about=("vgg_e",)),
        *quoted(("C [256;512] 384, top-1, top-5", "27.3, 8.8"), ("D 256 256, top-1, top-5", "27.0, 8.8"),
                ("E 256 256, top-1, top-5", "27.3, 9.0"), ("E [256;512] 384, top-1, top-5", "25.5, 8.0"),
                ("several scales: B 256", "28.2, 9.6"), ("several scales: C 256", "27.7, 9.2"),
                ("several scales: C 384", "27.8, 9.2"), ("several scales: C [256;512]", "26.3, 8.2"),
                ("several scales: D 256", "26.6, 8.6"), ("several scales: D 384", "26.5, 8.6"),
                ("several scales: E 256", "26.9, 8.7"), ("several scales: E 384", "26.7, 8.6"),
                about=("vgg_b", "vgg_c", "vgg_d", "vgg_e"), reason="of one of several copies of the table, where it is readable"),
    ],
    "Network in Network": [
        Claim("Use 1x1 filters after each convolutional layer", "", _cccp),
        Claim("Remove the two fully connected layers (fc6, fc7)", "0", lambda: _kinds("nin_imagenet", "Linear")),
        Claim("AlexNet: 60 Million parameters", "60 Million", lambda: EXAMPLES["alexnet_size"]()["params"],
              "in two groups", "alexnet_size"),
        Claim("AlexNet: 230 Megabytes", "230 Megabytes", lambda: EXAMPLES["alexnet_size"]()["MiB"], "of 2^20 bytes", "alexnet_size"),
        Claim("NIN: 7.5 Million parameters", "7.5 Million", lambda: EXAMPLES["nin_size"]()["params"], "", "nin_size"),
        Claim("NIN: 29 Megabytes", "29 Megabytes", lambda: EXAMPLES["nin_size"]()["MiB"], "of 2^20 bytes", "nin_size"),
        *errors("002", "nin_imagenet"),
        *quoted(("AlexNet: time to train (GTX Titan)", "8 days"), ("NIN: time to train (GTX Titan)", "4 days"),
                about=("alexnet_grouped", "nin_imagenet")),
    ],
    **deck_002_inception.CLAIMS,
    "Roadmap": [
        *winners("002"),
        *quoted(("ILSVRC 2014, top-5 error of VGG", "7.3"), about=("vgg_e",)),
        Claim("22 layers (GoogleNet)", "22", lambda: net("googlenet").depth),
        Claim("19 layers (VGG)", "19", lambda: net("vgg_e").depth),
        Claim("PReLU (20 layers) -> ResNet (269 layers)", "269", lambda: net("preact_resnet269").depth),
        *quoted(("Inception-ResNet model, arXiv 2016, top-5", "3.1"), ("Residual Network, CVPR 2016, top-5", "4.49"),
                ("VGG, GoogleNet, Classification top-5 error", "9.33, 9.15"),
                about=("inception_resnet_v2_slim", "resnet152", "vgg_e", "googlenet")),
        *quoted(("Wide Residual Networks. BMVC 2016", "2016"), about=("wrn_28_10_cifar10", "wide_resnet50_2")),
        *quoted(("Identity Mappings in Deep Residual Networks. ECCV 2016", "2016"),
                about=("cifar_preact_resnet110", "cifar_preact_resnet164", "cifar_preact_resnet1001")),
    ],
}  # fmt: skip
