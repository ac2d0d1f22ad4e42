"""Layers, the containers that compose them, and initial weights."""

from . import init
from .activation import Dropout, LogSoftmax, ReLU, Sigmoid, Softmax, Tanh
from .base import Layer
from .containers import Concat, Container, Graph, Residual, Sequential
from .convolution import Conv2d, ConvTranspose2d
from .elementwise import Maximum, Multiply, Scale
from .lenet import RadialBasis, ScaledTanh, Subsample2d, TableConv2d
from .linear import Linear
from .normalisation import BatchNorm1d, BatchNorm2d, LocalResponseNorm
from .parameter import Parameter, default_device
from .pooling import AdaptiveAvgPool2d, AvgPool2d, GlobalAvgPool2d, MaxPool2d
from .run import use_fusion
from .shape import Add, Cat, Flatten, Identity, PadShortcut, ZeroPad2d
from .tracing import Trace, trace

__all__ = [
    "AdaptiveAvgPool2d", "Add", "AvgPool2d", "BatchNorm1d", "BatchNorm2d", "Cat", "Concat", "Container", "Conv2d",
    "ConvTranspose2d", "Dropout", "Flatten", "GlobalAvgPool2d", "Graph", "Identity", "Layer", "Linear",
    "LocalResponseNorm", "LogSoftmax", "MaxPool2d", "Maximum", "Multiply", "PadShortcut", "Parameter", "RadialBasis",
    "ReLU", "Residual", "Scale", "ScaledTanh", "Sequential", "Sigmoid", "Softmax", "Subsample2d", "TableConv2d", "Tanh",
    "Trace", "ZeroPad2d", "default_device", "init", "trace", "use_fusion",
]  # fmt: skip
