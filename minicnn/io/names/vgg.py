"""VGG and AlexNet. torchvision numbers their layers by place: convolutions, ReLUs, pools and, further on, dropout."""

from __future__ import annotations

from collections.abc import Callable

from ...layers import Flatten, Layer, LocalResponseNorm
from .table import Table


def named(*linear: str) -> Callable[[Layer], dict[str, str]]:
    """Rows for a model: the layers of the features by their place, the linear layers under the names given.

    Local response normalisation, which the libraries leave out, has no place.
    """

    def rows(model: Layer) -> dict[str, str]:
        result: dict[str, str] = {}
        for name, layer in model.named_children():
            if isinstance(layer, Flatten):
                break
            if not isinstance(layer, LocalResponseNorm):
                result[name] = f"features.{len(result)}"
        return {**result, **dict(zip(("fc6", "fc7", "fc8"), linear))}

    return rows


ALEXNET = {"alexnet_torchvision": "alexnet"}
VGG = {"vgg_a": "vgg11", "vgg_b": "vgg13", "vgg_d": "vgg16", "vgg_e": "vgg19"}

TABLES = (
    Table(
        "torchvision", ("alexnet*",), ALEXNET, named("classifier.1", "classifier.4", "classifier.6"),
        classifiers=("fc8",),
    ),
    Table(
        "torchvision", ("vgg_*",), VGG, named("classifier.0", "classifier.3", "classifier.6"), classifiers=("fc8",)
    ),
    # timm's hidden linear layers are convolutions over the whole map.
    Table(
        "timm", ("vgg_*",), VGG, named("pre_logits.fc1", "pre_logits.fc2", "head.fc"), classifiers=("fc8",),
        windows={"fc6": 7, "fc7": 1},
    ),
)  # fmt: skip
