"""The zoo: architectures as data, composed from containers, one file per family."""

from . import (
    alexnet,
    allcnn,
    bn_inception,
    cifar_resnet,
    clarifai,
    cnn_fms,
    densenet,
    googlenet,
    inception,
    inception_v3,
    inception_v4,
    lenet,
    nin,
    overfeat,
    pattern,
    preact,
    pretrained,
    resnet,
    vgg,
    xception,
)
from .pretrained import Trained
from .registry import Info, Recipe, create, info, names, options, register

__all__ = [
    "Info", "Recipe", "Trained", "alexnet", "allcnn", "bn_inception", "cifar_resnet", "clarifai", "cnn_fms", "create",
    "densenet", "googlenet", "inception", "inception_v3", "inception_v4", "info", "lenet", "names", "nin", "options",
    "overfeat", "pattern", "preact", "pretrained", "register", "resnet", "vgg", "xception",
]  # fmt: skip
