"""GoogLeNet (Inception-v1). Szegedy, Liu, Jia et al. 2014, "Going deeper with convolutions", arXiv:1409.4842."""

from __future__ import annotations

from ..errors import check
from ..layers import AdaptiveAvgPool2d, AvgPool2d, Dropout, Flatten, Layer, Linear, LocalResponseNorm, ReLU, Sequential
from .chain import linear
from .inception import PAPER, Plan, Stack, bottleneck
from .registry import register

MODULES = {  # table 1: 1x1, 3x3 reduce, 3x3, 5x5 reduce, 5x5, pool projection
    "3a": (64, 96, 128, 16, 32, 32),
    "3b": (128, 128, 192, 32, 96, 64),
    "4a": (192, 96, 208, 16, 48, 64),
    "4b": (160, 112, 224, 24, 64, 64),
    "4c": (128, 128, 256, 24, 64, 64),
    "4d": (112, 144, 288, 32, 64, 64),
    "4e": (256, 160, 320, 32, 128, 128),
    "5a": (256, 160, 320, 32, 128, 128),
    "5b": (384, 192, 384, 48, 128, 128),
}
HEADS = {"aux1": "inception4a", "aux2": "inception4d"}
"""The auxiliary classifiers, and the modules that they read."""

TORCHVISION = (
    "torchvision's network, which came from TensorFlow: batch norm (eps 0.001) instead of biases and of local response "
    "normalisation, the branch called 5x5 has 3x3 windows (an old mistake that was kept), the fourth pool is 2x2, and "
    "dropout is 0.2. It is not the network of the paper. "
)


@register(
    "googlenet_torchvision_aux", title="GoogLeNet of torchvision with auxiliary classifiers", paper=PAPER, year=2014,
    input_shape=(3, 224, 224), reference=True, batch_norm=True, torchvision=True, aux=True, dropout=0.2,
    notes=TORCHVISION + "Its heads average over an even 4x4 grid, whatever the size of the map; torchvision returns the "
    "second head before the first.",
)  # fmt: skip
@register(
    "googlenet_torchvision", title="GoogLeNet of torchvision", paper=PAPER, year=2014, input_shape=(3, 224, 224),
    reference=True, batch_norm=True, torchvision=True, dropout=0.2, notes=TORCHVISION.strip(),
)  # fmt: skip
@register(
    "googlenet_sepconv1", title="GoogLeNet with a separable first convolution", paper=PAPER, year=2014,
    input_shape=(3, 224, 224), decks=("004",), reference=True, separable=True,
    notes="Explains the first row of the paper's table, 2.7K parameters and 34M operations: 8 filters of 7x7 for each "
    "colour, then 64 of 1x1, are 7*7*3*8 + 24*64 = 2,712 weights and 34,019,328 multiply-adds. A plain 7x7 convolution to 64 "
    "maps has 9,408 weights and 118,013,952 multiply-adds.",
)  # fmt: skip
@register(
    "googlenet_aux", title="GoogLeNet with auxiliary classifiers", paper=PAPER, year=2014, input_shape=(3, 224, 224),
    decks=("004",), aux=True,
    notes="As it is trained: two classifiers more, behind modules 4a and 4d, with 6,379,728 parameters. They count in the "
    "parameters and multiply-adds stated here; in use they do not run, and the network is googlenet.",
)  # fmt: skip
@register(
    "googlenet", title="GoogLeNet", paper=PAPER, year=2014, input_shape=(3, 224, 224), decks=("001", "002", "004"),
    aliases=("inception_v1",),
    notes="The paper's network as Caffe runs it: biases, no batch norm, local response normalisation, pools that round up. "
    "The slides' 5 million parameters are the 5,973,552 without the classifier, cut off; with it there are 6,998,552, so "
    "that AlexNet has 8.9 times and VGG-16 19.8 times as many, not 12 and 27 times. In the paper's table K is 1024 "
    "parameters, and several rows are off: 4a, 4c, 4d, 4e, 5a and 5b have 366.8, 497.5, 590.5, 847.0, 1018.0 and 1409.0 K, "
    "module 5a has 51 million operations where it says 54, and the first row fits only a separable convolution "
    "(googlenet_sepconv1). One deck's copy of the table has reading errors; the other's is right.",
)  # fmt: skip
def googlenet(
    *, num_classes: int = 1000, in_channels: int = 3, dropout: float = 0.4, aux: bool = False, batch_norm: bool = False,
    lrn: bool | None = None, separable: bool = False, torchvision: bool = False,
) -> Layer:  # fmt: skip
    """GoogLeNet for 224x224 images: (N, in_channels, H, W) -> (N, num_classes).

    aux: two more classifiers. In training the network then returns (logits, aux1, aux2), all (N, num_classes), and the
        paper's loss is loss(logits) + 0.3*loss(aux1) + 0.3*loss(aux2); in evaluation it returns the logits only. The
        heads need maps of 14x14, so in training the input must be 224x224 (any size, if torchvision).
    batch_norm: a batch norm behind each convolution, instead of biases.
    lrn: local response normalisation behind the first pool and the first 3x3 convolution; None: unless there is batch norm.
    separable: the first convolution, each colour by itself and then 1x1 (the first row of the paper's table).
    torchvision: 3x3 windows in the branches called 5x5, a 2x2 window in the fourth pool, and heads for maps of any size.
    """
    modules = {f"inception{name}": bottleneck(*row, window=3 if torchvision else 5) for name, row in MODULES.items()}

    def stage(number: int) -> dict[str, Plan]:
        return {name: plan for name, plan in modules.items() if name.startswith(f"inception{number}")}

    check(lrn is None or isinstance(lrn, bool), f"googlenet: lrn is {lrn!r}: it must be True, False or None")
    with_lrn = not batch_norm if lrn is None else lrn

    def norm(number: int) -> dict[str, Layer]:
        return {} if not with_lrn else {f"norm{number}": LocalResponseNorm(5, 1e-4, 0.75, 1.0)}

    net = Stack(in_channels, batch_norm=batch_norm)
    if separable:
        net.separable("conv1", 64, window=7, stride=2, multiplier=8)
    else:
        net.add({"conv1": "7x7/2 64"})
    net.add({
        "pool1": "max 3x3/2 ceil", **norm(1),
        "conv2_reduce": "1x1 64", "conv2": "3x3 192", **norm(2), "pool2": "max 3x3/2 ceil",
        **stage(3), "pool3": "max 3x3/2 ceil",
        **stage(4), "pool4": "max 2x2/2 ceil" if torchvision else "max 3x3/2 ceil",
        **stage(5),
    })  # fmt: skip
    net.classifier(num_classes, dropout)
    if not aux:
        return net.network()
    return net.network({
        name: (head(net.widths[source], num_classes, batch_norm, torchvision), source) for name, source in HEADS.items()
    })  # fmt: skip


def head(channels: int, num_classes: int, batch_norm: bool, any_size: bool) -> Sequential:
    """An auxiliary classifier: a pool to 4x4, 128 filters of 1x1, 1024 hidden units, dropout 0.7.

    any_size: whether the pool gives 4x4 for a map of any size, or has the paper's 5x5 window and stride 3.
    """
    pool = AdaptiveAvgPool2d(4) if any_size else AvgPool2d(5, 3)
    net = Stack(channels, batch_norm=batch_norm).add({"pool": pool, "conv": "1x1 128"})
    return Sequential({
        **net.layers, "flatten": Flatten(),
        "fc1": Linear(128 * 4 * 4, 1024), "relu1": ReLU(), "dropout": Dropout(0.7), "fc2": linear(1024, num_classes),
    })  # fmt: skip
