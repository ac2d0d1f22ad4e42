"""VGG and AlexNet, which torchvision numbers by their place, ReLUs, pools and dropout included."""

from __future__ import annotations

from ...layers import AdaptiveAvgPool2d, Flatten, Layer, LocalResponseNorm
from .table import Table


def places(model: Layer) -> dict[str, str]:
    """torchvision's names by place. Local response normalisation, which it does not have, has no place."""
    rows: dict[str, str] = {}
    part, place = "features", 0
    for name, layer in model.named_children():
        if isinstance(layer, Flatten):
            part, place = "classifier", 0
        elif not isinstance(layer, (AdaptiveAvgPool2d, LocalResponseNorm)):
            rows[name] = f"{part}.{place}"
            place += 1
    return rows


def timm_vgg(model: Layer) -> dict[str, str]:
    """timm's: the convolutions by place, and the hidden linear layers as convolutions over the whole map."""
    return {**places(model), "fc6": "pre_logits.fc1", "fc7": "pre_logits.fc2", "fc8": "head.fc"}


ALEXNET = {"alexnet_torchvision": "alexnet"}
VGG = {"vgg_a": "vgg11", "vgg_b": "vgg13", "vgg_d": "vgg16", "vgg_e": "vgg19"}

TABLES = (
    Table("torchvision", ("alexnet*",), ALEXNET, places, classifiers=("fc8",)),
    Table("torchvision", ("vgg_*",), VGG, places, classifiers=("fc8",)),
    Table("timm", ("vgg_*",), VGG, timm_vgg, classifiers=("fc8",), windows={"fc6": 7, "fc7": 1}),
)
