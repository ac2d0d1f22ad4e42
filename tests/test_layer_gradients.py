"""Gradient checks over every layer: float64, by the input and by every parameter, first and second order."""

from __future__ import annotations

import numpy as np
import pytest

import minicnn
from minicnn import Tensor, layers
from minicnn.layers import Layer

CLASSES = {
    name: value
    for name in layers.__all__
    if isinstance(value := getattr(layers, name), type) and issubclass(value, Layer)
}
ABSTRACT = {"Layer", "Container"}


def graph():
    nodes = {"a": (layers.Conv2d(2, 3, 1), "input"), "b": (layers.Tanh(), "a"), "sum": (layers.Add(), "a", "b")}
    return layers.Graph(nodes)


def residual():
    body = layers.Sequential(layers.Conv2d(2, 2, 3, padding=1, bias=False), layers.BatchNorm2d(2))
    return layers.Residual(body, after=layers.ReLU())


def maximum():  # of x and tanh(x), which agree nowhere but at 0
    return layers.Graph({"tanh": (layers.Tanh(), "input"), "max": (layers.Maximum(), "input", "tanh")})


IMAGE, TWO = [(2, 2, 5, 4)], [(2, 3, 2, 2), (2, 3, 2, 2)]
# name of the class, what else the case is about: (how it is made, shapes of the inputs)
CASES = {
    "AdaptiveAvgPool2d": (lambda: layers.AdaptiveAvgPool2d((2, 3)), IMAGE),
    "Add": (layers.Add, TWO),
    "Add weighted": (lambda: layers.Add([0.5, -2.0]), TWO),
    "AvgPool2d": (lambda: layers.AvgPool2d(3, 2, padding=1, ceil_mode=True, count_include_pad=False), IMAGE),
    "BatchNorm1d": (lambda: layers.BatchNorm1d(3), [(5, 3)]),
    "BatchNorm2d": (lambda: layers.BatchNorm2d(2), IMAGE),
    "BatchNorm2d in use": (lambda: layers.BatchNorm2d(2).eval(), IMAGE),
    "BatchNorm2d plain": (lambda: layers.BatchNorm2d(2, affine=False), IMAGE),
    "Cat": (layers.Cat, TWO),
    "Concat": (lambda: layers.Concat(layers.Identity(), layers.Conv2d(2, 3, 1)), IMAGE),
    "Conv2d": (lambda: layers.Conv2d(2, 4, (3, 2), stride=2, padding="valid", groups=2), IMAGE),
    "Conv2d same": (lambda: layers.Conv2d(2, 3, (3, 2), padding="same", dilation=(1, 2)), IMAGE),
    "ConvTranspose2d": (lambda: layers.ConvTranspose2d(2, 4, 3, 2, 1, output_padding=1, groups=2), IMAGE),
    "Dropout": (lambda: layers.Dropout(0.4).eval(), [(3, 4)]),
    "Flatten": (layers.Flatten, IMAGE),
    "GlobalAvgPool2d": (layers.GlobalAvgPool2d, IMAGE),
    "Graph": (graph, IMAGE),
    "Identity": (layers.Identity, IMAGE),
    "Linear": (lambda: layers.Linear(4, 3), [(3, 4)]),
    "LocalResponseNorm": (lambda: layers.LocalResponseNorm(3, alpha=0.5), [(2, 5, 2, 2)]),
    "LogSoftmax": (layers.LogSoftmax, [(3, 4, 2)]),
    "Maximum": (maximum, [(3, 4)]),
    "MaxPool2d": (lambda: layers.MaxPool2d(3, 2, padding=1, ceil_mode=True), IMAGE),
    "Multiply": (layers.Multiply, TWO),
    "PadShortcut": (lambda: layers.PadShortcut(5, stride=2), IMAGE),
    "RadialBasis": (lambda: layers.RadialBasis([[1, -1, 1], [1, 1, -1]]), [(4, 3)]),
    "ReLU": (layers.ReLU, [(3, 4)]),
    "Residual": (residual, IMAGE),
    "Residual scaled": (lambda: layers.Residual(layers.Conv2d(2, 3, 1), layers.Conv2d(2, 3, 1), None, 0.3), IMAGE),
    "ScaledTanh": (layers.ScaledTanh, [(3, 4)]),
    "Scale": (lambda: layers.Scale(2), IMAGE),
    "Scale without shift": (lambda: layers.Scale(4, bias=False), [(3, 4)]),
    "Sequential": (lambda: layers.Sequential(layers.Conv2d(2, 3, 3), layers.ReLU(), layers.Flatten()), IMAGE),
    "Sigmoid": (layers.Sigmoid, [(3, 4)]),
    "Softmax": (layers.Softmax, [(3, 4)]),
    "Subsample2d": (lambda: layers.Subsample2d(2), IMAGE),
    "TableConv2d": (lambda: layers.TableConv2d(2, [(0,), (0, 1), (1,)], (3, 2)), IMAGE),
    "Tanh": (layers.Tanh, [(3, 4)]),
    "ZeroPad2d": (lambda: layers.ZeroPad2d((1, 0, 2, 1)), IMAGE),
}  # fmt: skip


def test_every_layer_has_a_gradient_check():
    assert {name.split()[0] for name in CASES} == set(CLASSES) - ABSTRACT


@pytest.mark.parametrize("name", CASES)
def test_gradients(name, backend, rng):
    make, shapes = CASES[name]
    layer = make().to(dtype=np.float64)
    owners = [(owner, key) for _, owner in layer.named_layers() for key in owner._parameters]

    def call(*tensors):
        """The layer as a function of its inputs and its parameters."""
        inputs, values = tensors[: len(shapes)], tensors[len(shapes) :]
        before = [getattr(owner, key) for owner, key in owners]
        try:
            for (owner, key), value in zip(owners, values):
                object.__setattr__(owner, key, value)
            return layer(*inputs)
        finally:
            for (owner, key), value in zip(owners, before):
                object.__setattr__(owner, key, value)

    # Distinct steps of 0.01 around no multiple of it: no ties, and no number at a kink.
    inputs = []
    for shape in shapes:
        size = int(np.prod(shape))
        inputs.append((rng.permutation(size).reshape(shape) - size / 2) * 0.03 + 0.017)
    values = [p.numpy() + 0.1 * rng.standard_normal(p.shape) for p in (getattr(owner, key) for owner, key in owners)]
    tensors = [Tensor(array, requires_grad=True) for array in (*inputs, *values)]
    minicnn.gradcheck(call, tensors, eps=1e-6, rtol=1e-4, atol=5e-6)
