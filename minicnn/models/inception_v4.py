"""Inception-v4 and Inception-ResNet.

Szegedy, Ioffe, Vanhoucke and Alemi 2016, "Inception-v4, Inception-ResNet and the impact of residual connections on
learning", arXiv:1602.07261.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal

from ..errors import check
from ..geometry import is_integer, is_number
from ..layers import Conv2d, Layer, ReLU, Residual, Sequential
from ..layers.arguments import DEEPEST, counts
from .inception import Plan, Stack
from .inception_v3 import STEM as STEM_V3
from .registry import register

PAPER = (
    "Szegedy, Ioffe, Vanhoucke and Alemi 2016, Inception-v4, Inception-ResNet and the impact of residual connections on "
    "learning, arXiv:1602.07261"
)


def stem(seven: str) -> dict[str, Plan]:
    """299x299x3 -> 35x35x384 (figure 3). seven: how the 7x7 convolution is split."""
    return {
        "conv1": "3x3/2V 32", "conv2": "3x3V 32", "conv3": "3x3 64",
        "stem1": {"pool": "max 3x3/2V", "3x3": "3x3/2V 96"},
        "stem2": {"3x3": "1x1 64, 3x3V 96", "7x7": f"1x1 64, {seven}, 3x3V 96"},
        "stem3": {"3x3": "3x3/2V 192", "pool": "max 3x3/2V"},
    }  # fmt: skip


MODULE_A: Plan = {  # figure 4, 35x35x384
    "1x1": "1x1 96",
    "3x3": "1x1 64, 3x3 96",
    "3x3dbl": "1x1 64, 3x3 96, 3x3 96",
    "pool": "avg 3x3, 1x1 96",
}
MODULE_B: Plan = {  # figure 5, 17x17x1024
    "1x1": "1x1 384",
    "7x7": "1x1 192, 1x7 224, 7x1 256",
    "7x7dbl": "1x1 192, 7x1 192, 1x7 224, 7x1 224, 1x7 256",
    "pool": "avg 3x3, 1x1 128",
}
FORK = {"1x3": "1x3 256", "3x1": "3x1 256"}
MODULE_C: Plan = {  # figure 6, 8x8x1536
    "1x1": "1x1 256",
    "3x3": ["1x1 384", FORK],
    "3x3dbl": ["1x1 384, 3x1 448, 1x3 512", FORK],
    "pool": "avg 3x3, 1x1 256",
}
REDUCTION_B: Plan = {  # figure 8, 17x17x1024 -> 8x8x1536
    "3x3": "1x1 192, 3x3/2V 192",
    "7x7": "1x1 256, 1x7 256, 7x1 320, 3x3/2V 320",
    "pool": "max 3x3/2V",
}


def reduction_a(k: int, l: int, m: int, n: int) -> Plan:
    """35x35 -> 17x17 (figure 7), with the four widths of table 1."""
    return {"3x3": f"3x3/2V {n}", "3x3dbl": f"1x1 {k}, 3x3 {l}, 3x3/2V {m}", "pool": "max 3x3/2V"}


def repeated(kind: str, count: int, plan: Plan) -> dict[str, Plan]:
    """The same module several times: inception_a1, inception_a2, ..."""
    return {f"inception_{kind}{number + 1}": plan for number in range(count)}


@register(
    "inception_v4", title="Inception-v4", paper=PAPER, year=2016, input_shape=(3, 299, 299), decks=("002",),
    notes="The average pools leave the padding out of the divisor, as in the released network. The stem's 7x7 convolution "
    "is 1x7 then 7x1, as released; the paper's figure has them the other way round; in module C it is 3x1 448, then 1x3 512, where the "
    "paper and the slide have 1x3 448, then 3x1 512. Copies with 1001 classes have "
    "42,681,353 parameters.",
)  # fmt: skip
def inception_v4(
    *, num_classes: int = 1000, in_channels: int = 3, dropout: float = 0.2, blocks: Sequence[int] = (4, 7, 3)
) -> Layer:
    """Inception-v4 for 299x299 images: (N, in_channels, H, W) -> (N, num_classes); at least 75x75.

    blocks: how many modules A, B and C there are. dropout: the paper keeps 0.8.
    """
    a, b, c = three("inception_v4", blocks)
    net = Stack(in_channels, count_pad=False).add({
        **stem("1x7 64, 7x1 64"),
        **repeated("a", a, MODULE_A),
        "reduction_a": reduction_a(192, 224, 256, 384),
        **repeated("b", b, MODULE_B),
        "reduction_b": REDUCTION_B,
        **repeated("c", c, MODULE_C),
    })  # fmt: skip
    return net.classifier(num_classes, dropout).network()


def three(name: str, blocks: Any) -> tuple[int, ...]:
    """How many modules A, B and C there are. Raises ArgumentError unless it is three whole numbers of at least 1."""
    good = isinstance(blocks, (tuple, list)) and len(blocks) == 3 and all(is_integer(n) and n >= 1 for n in blocks)
    check(good, f"{name}: blocks is {blocks!r}: it must hold three numbers of modules A, B and C, each at least 1")
    return counts(blocks, f"{name}: blocks", 3, DEEPEST)


# Inception-ResNet: a module's branches, concatenated, are brought back to the width of its input by a linear 1x1
# convolution, scaled down and added to that input.

STEM_V1: dict[str, Plan] = {  # figure 14: 299x299x3 -> 35x35x256
    "conv1": "3x3/2V 32", "conv2": "3x3V 32", "conv3": "3x3 64", "pool1": "max 3x3/2V",
    "conv4": "1x1 80", "conv5": "3x3V 192", "conv6": "3x3/2V 256",
}  # fmt: skip
STEM_RELEASED: dict[str, Plan] = {  # 35x35x320
    **STEM_V3,
    "stem": {
        "1x1": "1x1 96",
        "5x5": "1x1 48, 5x5 64",
        "3x3dbl": "1x1 64, 3x3 96, 3x3 96",
        "pool": "avg 3x3, 1x1 64",
    },
}
MODULES: dict[int, dict[str, Plan]] = {
    1: {
        "a": {"1x1": "1x1 32", "3x3": "1x1 32, 3x3 32", "3x3dbl": "1x1 32, 3x3 32, 3x3 32"},
        "reduction_a": reduction_a(192, 192, 256, 384),
        "b": {"1x1": "1x1 128", "7x7": "1x1 128, 1x7 128, 7x1 128"},
        "reduction_b": {
            "3x3_1": "1x1 256, 3x3/2V 384",
            "3x3_2": "1x1 256, 3x3/2V 256",
            "3x3dbl": "1x1 256, 3x3 256, 3x3/2V 256",
            "pool": "max 3x3/2V",
        },
        "c": {"1x1": "1x1 192", "3x3": "1x1 192, 1x3 192, 3x1 192"},
    },
    2: {
        "a": {"1x1": "1x1 32", "3x3": "1x1 32, 3x3 32", "3x3dbl": "1x1 32, 3x3 48, 3x3 64"},
        "reduction_a": reduction_a(256, 256, 384, 384),
        "b": {"1x1": "1x1 192", "7x7": "1x1 128, 1x7 160, 7x1 192"},
        "reduction_b": {
            "3x3_1": "1x1 256, 3x3/2V 384",
            "3x3_2": "1x1 256, 3x3/2V 288",
            "3x3dbl": "1x1 256, 3x3 288, 3x3/2V 320",
            "pool": "max 3x3/2V",
        },
        "c": {"1x1": "1x1 192", "3x3": "1x1 192, 1x3 224, 3x1 256"},
    },
}  # figures 10 to 13 and 15 for version 1, 16 to 19 for version 2, and table 1 for the widths of reduction A


@register(
    "inception_resnet_v2_slim", title="Inception-ResNet-v2, released", paper=PAPER, year=2016, input_shape=(3, 299, 299),
    decks=("002",), reference=True, version=2, released=True, blocks=(10, 20, 10),
    notes="The network that Google released, and that Keras and timm have: twice as many modules as in the paper, the stem "
    "of Inception-v3 with one more module, maps of 35x35x320, 17x17x1088 and 8x8x2080, no ReLU and no scaling in the last "
    "module, and a 1x1 convolution to 1536 channels at the end. Google's batch norms have no scale. With 1001 classes it "
    "has 55,845,001 parameters.",
)  # fmt: skip
@register(
    "inception_resnet_v2_paper", title="Inception-ResNet-v2", paper=PAPER, year=2016, input_shape=(3, 299, 299),
    decks=("002",), aliases=("inception_resnet_v2",), version=2,
    notes="As the paper's text and figures describe it: 35x35x384, 17x17x1152 and 8x8x2144. The slide gives it the sizes "
    "256, 896 and 1792, which are version 1's: the paper draws both in one figure. 1154 filters (on the slide too) and 2048 "
    "in the paper's figures are misprints for 1152 and 2144, or the sum would not be possible. The released network, "
    "inception_resnet_v2_slim, is another and has 55.8 million parameters.",
)  # fmt: skip
@register(
    "inception_resnet_v1", title="Inception-ResNet-v1", paper=PAPER, year=2016, input_shape=(3, 299, 299),
    decks=("002",), version=1,
    notes="35x35x256, 17x17x896 and 8x8x1792, with 5, 10 and 5 modules. The ports for face recognition add a sixth module "
    "C, which is linear.",
)  # fmt: skip
def inception_resnet(
    *, num_classes: int = 1000, in_channels: int = 3, dropout: float = 0.2, version: Literal[1, 2] = 2,
    blocks: Sequence[int] = (5, 10, 5), scale: float | Sequence[float] = (0.17, 0.1, 0.2), released: bool = False,
) -> Layer:  # fmt: skip
    """Inception-ResNet for 299x299 images: (N, in_channels, H, W) -> (N, num_classes); at least 75x75.

    version: 1, or 2, which is wider. blocks: how many modules A, B and C there are.
    scale: what each module is multiplied by before it is added to its input, one number or one each for A, B and C;
        the paper recommends 0.1 to 0.3, and these are the released network's.
    released: the stem, the last module (neither scaled nor followed by a ReLU) and the final convolution of the network
        that was released for version 2.
    """
    name = "inception_resnet"
    check(is_integer(version) and version in (1, 2), f"{name}: version is {version!r}: it must be 1 or 2")
    check(not released or version == 2, f"{name}: released is True with version={version}: only version 2 was released")
    repeats = dict(zip("abc", three(name, blocks)))
    given: Any = [scale] * 3 if is_number(scale) else scale
    good = (
        isinstance(given, (tuple, list)) and len(given) == 3 and all(is_number(s) and math.isfinite(s) for s in given)
    )
    check(good, f"{name}: scale is {scale!r}: it must be a finite number, or three for the modules A, B and C")
    scales: dict[str, float] = dict(zip("abc", given))
    modules = MODULES[version]

    net = Stack(in_channels, count_pad=False)
    net.add(STEM_RELEASED if released else STEM_V1 if version == 1 else stem("7x1 64, 1x7 64"))
    for kind in "abc":
        for number in range(1, repeats[kind] + 1):
            last = released and kind == "c" and number == repeats["c"]
            block = residual(net, modules[kind], 1.0 if last else scales[kind], not last)
            net.add({f"inception_{kind}{number}": block})
        if kind != "c":
            net.add({f"reduction_{kind}": modules[f"reduction_{kind}"]})
    if released:
        net.add({"conv_last": "1x1 1536"})
    return net.classifier(num_classes, dropout).network()


def residual(net: Stack, plan: Plan, scale: float, relu: bool) -> Residual:
    """A module of Inception-ResNet on `net`: scale * (branches, then a linear 1x1) + input, and ReLU."""
    branches, filters = net.build(plan, net.channels)
    body = Sequential({"branches": branches, "linear": Conv2d(filters, net.channels, 1)})
    return Residual(body, after=ReLU() if relu else None, scale=scale)
