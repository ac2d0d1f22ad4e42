"""Inception-v3. Szegedy et al. 2015, "Rethinking the Inception architecture for computer vision", arXiv:1512.00567."""

from __future__ import annotations

from ..layers import AvgPool2d, Flatten, GlobalAvgPool2d, Layer, Sequential
from .chain import linear
from .inception import Plan, Stack
from .registry import register

PAPER = (
    "Szegedy, Vanhoucke, Ioffe, Shlens and Wojna 2015, Rethinking the Inception architecture for computer vision, "
    "arXiv:1512.00567"
)

STEM: dict[str, Plan] = {
    "conv1": "3x3/2V 32", "conv2": "3x3V 32", "conv3": "3x3 64", "pool1": "max 3x3/2V",
    "conv4": "1x1 80", "conv5": "3x3V 192", "pool2": "max 3x3/2V",
}  # fmt: skip
"""299x299x3 -> 35x35x192. The released Inception-ResNet-v2 begins with it too."""


def module_a(proj: int) -> Plan:
    """35x35: 5x5, and a second one as two 3x3."""
    return {
        "1x1": "1x1 64",
        "5x5": "1x1 48, 5x5 64",
        "3x3dbl": "1x1 64, 3x3 96, 3x3 96",
        "pool": f"avg 3x3, 1x1 {proj}",
    }


def module_b(n: int) -> Plan:
    """17x17: 7x7 as 1x7 and 7x1, once and twice, with n filters inside."""
    return {
        "1x1": "1x1 192",
        "7x7": f"1x1 {n}, 1x7 {n}, 7x1 192",
        "7x7dbl": f"1x1 {n}, 7x1 {n}, 1x7 {n}, 7x1 {n}, 1x7 192",
        "pool": "avg 3x3, 1x1 192",
    }


FORK = {"1x3": "1x3 384", "3x1": "3x1 384"}
MODULE_C: Plan = {  # 8x8: 3x3 as 1x3 and 3x1 side by side
    "1x1": "1x1 320",
    "3x3": ["1x1 384", FORK],
    "3x3dbl": ["1x1 448, 3x3 384", FORK],
    "pool": "avg 3x3, 1x1 192",
}
REDUCTION_A: Plan = {"3x3": "3x3/2V 384", "3x3dbl": "1x1 64, 3x3 96, 3x3/2V 96", "pool": "max 3x3/2V"}
REDUCTION_B: Plan = {
    "3x3": "1x1 192, 3x3/2V 320",
    "7x7": "1x1 192, 1x7 192, 7x1 192, 3x3/2V 192",
    "pool": "max 3x3/2V",
}

NOTES = (
    "The released network: 35x35x288, 17x17x768, 8x8x1280 and 8x8x2048. The slide's grid reduction from 35x35x320 to "
    "17x17x640 is the paper's example of the idea, not a layer of the network. Google's has 1001 classes (one for the "
    "background) and batch norms without a scale, 23,817,352 parameters with 1000 classes; its average pools leave the "
    "padding out of the divisor, those of torchvision, as here, count it. torchvision's dropout is 0.5."
)


@register(
    "inception_v3_aux", title="Inception-v3 with its auxiliary classifier", paper=PAPER, year=2015,
    input_shape=(3, 299, 299), decks=("002",), aux=True,
    notes="As it is trained: a classifier more, on the 17x17x768 map. It counts in the parameters and multiply-adds stated "
    "here; in use it does not run. " + NOTES,
)  # fmt: skip
@register(
    "inception_v3", title="Inception-v3", paper=PAPER, year=2015, input_shape=(3, 299, 299), decks=("002",),
    aliases=("googlenet_v3",), notes=NOTES,
)  # fmt: skip
def inception_v3(*, num_classes: int = 1000, in_channels: int = 3, dropout: float = 0.2, aux: bool = False) -> Layer:
    """Inception-v3 for 299x299 images: (N, in_channels, H, W) -> (N, num_classes); at least 75x75.

    aux: one more classifier. In training the network then returns (logits, aux), both (N, num_classes), and the released
        network's loss is loss(logits) + 0.4*loss(aux); in evaluation it returns the logits only. The head needs maps of
        17x17, so in training the input must be about 299x299.
    """
    net = Stack(in_channels).add({
        **STEM,
        "inception_a1": module_a(32), "inception_a2": module_a(64), "inception_a3": module_a(64),
        "reduction_a": REDUCTION_A,
        "inception_b1": module_b(128), "inception_b2": module_b(160), "inception_b3": module_b(160),
        "inception_b4": module_b(192),
        "reduction_b": REDUCTION_B,
        "inception_c1": MODULE_C, "inception_c2": MODULE_C,
    })  # fmt: skip
    net.classifier(num_classes, dropout)
    source = "inception_b4"
    return net.network({"aux": (head(net.widths[source], num_classes), source)} if aux else None)


def head(channels: int, num_classes: int) -> Sequential:
    """The auxiliary classifier: a pool to 5x5, 128 filters of 1x1, 768 of 5x5, one linear layer."""
    net = Stack(channels).add({"pool": AvgPool2d(5, 3), "conv1": "1x1 128", "conv2": "5x5V 768"})
    return Sequential({
        **net.layers, "mean": GlobalAvgPool2d(), "flatten": Flatten(), "fc": linear(net.channels, num_classes),
    })  # fmt: skip
