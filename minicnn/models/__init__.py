"""The zoo: architectures as data, composed from containers, one file per family."""

from . import (
    alexnet,
    bn_inception,
    cifar_resnet,
    densenet,
    googlenet,
    inception,
    inception_v3,
    inception_v4,
    lenet,
    preact,
    resnet,
    xception,
)
from .registry import Info, Recipe, create, info, names, options, register

__all__ = [
    "Info", "Recipe", "alexnet", "bn_inception", "cifar_resnet", "create", "densenet", "googlenet", "inception",
    "inception_v3", "inception_v4", "info", "lenet", "names", "options", "preact", "register", "resnet", "xception",
]  # fmt: skip
