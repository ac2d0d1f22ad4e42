"""A PyTorch network that computes what one of minicnn's does, made from its containers, with the same weights."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import nn

from minicnn.layers.containers import Container


class Chain(nn.Module):
    """A container's nodes, run in order; a value is dropped after its last reader, as in a hand-written forward."""

    def __init__(self, container: Container) -> None:
        super().__init__()
        self.inputs, self.outputs = container.inputs, container.outputs
        self.steps = [(node.name, node.inputs) for node in container.nodes()]
        self.parts = nn.ModuleList([twin(node.layer) for node in container.nodes()])
        last = {name: i for i, (_, sources) in enumerate(self.steps) for name in sources}
        self.dead = [[n for n, at in last.items() if at == i and n not in self.outputs] for i in range(len(self.steps))]
        readers: dict[str, int] = dict.fromkeys(self.outputs, 1)
        for _, sources in self.steps:
            for name in sources:
                readers[name] = readers.get(name, 0) + 1
        makers = dict(zip((name for name, _ in self.steps), self.parts))
        for (_, sources), part in zip(self.steps, self.parts):
            # What is done in place in torchvision's networks: a ReLU behind a convolution, batch norm or sum of its own.
            if isinstance(part, nn.ReLU) and readers[sources[0]] == 1:
                part.inplace = isinstance(makers.get(sources[0]), (nn.Conv2d, nn.BatchNorm2d, nn.Linear, Sum))

    def forward(self, *inputs: Any) -> Any:
        values = dict(zip(self.inputs, inputs))
        del inputs
        for (name, sources), part, dead in zip(self.steps, self.parts, self.dead):
            given = [values[source] for source in sources]
            for source in dead:
                del values[source]
            values[name] = part(*given)
            del given
        (output,) = self.outputs
        return values[output]


class Join(nn.Module):
    def forward(self, *xs: Any) -> Any:
        return torch.cat(xs, 1)


class Sum(nn.Module):
    def forward(self, x: Any, y: Any) -> Any:
        return x + y


class Pad(nn.Module):
    """The parameter-free shortcut of He et al.: every `stride`-th pixel, new channels of zeros."""

    def __init__(self, layer: Any) -> None:
        super().__init__()
        self.stride, self.channels = layer.stride, layer.channels

    def forward(self, x: Any) -> Any:
        x = x[:, :, :: self.stride, :: self.stride]
        return nn.functional.pad(x, (0, 0, 0, 0, 0, self.channels - x.shape[1]))


def twin(layer: Any) -> nn.Module:
    """The module that does what a layer does; its parameters come in the same order."""
    kind = type(layer).__name__
    if isinstance(layer, Container):
        return Chain(layer)
    if kind == "Conv2d":
        k, c, r, s = layer.weight.shape
        return nn.Conv2d(
            c * layer.groups, k, (r, s), layer.stride, pair(layer.padding), layer.dilation, layer.groups,
            layer.bias is not None,
        )  # fmt: skip
    if kind == "Linear":
        return nn.Linear(layer.weight.shape[1], layer.weight.shape[0], layer.bias is not None)
    if kind == "BatchNorm2d":
        return nn.BatchNorm2d(layer.num_features, layer.eps, layer.momentum)
    if kind == "MaxPool2d":
        return nn.MaxPool2d(layer.kernel_size, layer.stride, pair(layer.padding), ceil_mode=layer.ceil_mode)
    if kind == "AvgPool2d":
        return nn.AvgPool2d(
            layer.kernel_size, layer.stride, pair(layer.padding), layer.ceil_mode, layer.count_include_pad
        )
    if kind == "LocalResponseNorm":
        alpha = layer.alpha if layer.alpha_over_size else layer.alpha * layer.size
        return nn.LocalResponseNorm(layer.size, alpha, layer.beta, layer.k)
    if kind == "Dropout":
        return nn.Dropout(layer.p)
    makers = {"GlobalAvgPool2d": lambda: nn.AdaptiveAvgPool2d(1), "Cat": Join, "Add": Sum, "PadShortcut": lambda: Pad(layer)}
    return makers.get(kind, getattr(nn, kind, None))()


def pair(padding: Any) -> Any:
    """(top, bottom, left, right) as PyTorch writes it."""
    if isinstance(padding, tuple) and len(padding) == 4:
        assert padding[0] == padding[1] and padding[2] == padding[3], "PyTorch has no asymmetric padding"
        return padding[0], padding[2]
    return padding


def build(model: Any, *, dtype: Any = np.float32, channels_last: bool = False) -> nn.Module:
    """The twin of a model, with its weights."""
    network = twin(model)
    with torch.no_grad():
        for mine, yours in zip(model.parameters(), network.parameters(), strict=True):
            yours.copy_(torch.from_numpy(mine.numpy()))
    network.to(torch.from_numpy(np.zeros(0, dtype)).dtype)
    return network.to(memory_format=torch.channels_last) if channels_last else network
