"""A PyTorch network that computes what one of minicnn's does, made from its containers, with the same weights."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import nn

from ..errors import ArgumentError
from ..layers.containers import Container


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
    makers: dict[str, Any] = {
        "GlobalAvgPool2d": lambda: nn.AdaptiveAvgPool2d(1), "Cat": Join, "Add": Sum, "PadShortcut": lambda: Pad(layer),
        "AdaptiveAvgPool2d": lambda: nn.AdaptiveAvgPool2d(layer.output_size),
    }  # fmt: skip
    make = makers.get(kind, getattr(nn, kind, None))
    if make is None:
        raise ArgumentError(
            f"bench: PyTorch has no {kind} to measure beside: minicnn profile times such a network alone"
        )
    return make()


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
    layout: Any = {"memory_format": torch.channels_last}
    return network.to(**layout) if channels_last else network


def without_dropout(network: nn.Module) -> None:
    """Let it train, its dropout layers but pass on what they get."""
    network.train()
    for module in network.modules():
        if isinstance(module, nn.Dropout):
            module.eval()


def nudge(network: nn.Module, images: torch.Tensor, by: float, seed: int = 0) -> torch.Tensor:
    """Change every weight in place by about this part of itself; the images, changed likewise."""
    draw = torch.Generator(images.device).manual_seed(seed)
    with torch.no_grad():
        for p in network.parameters():
            p.mul_(torch.randn(p.shape, generator=draw, device=p.device).mul_(by).add_(1))
        return images * (1 + by * torch.randn(images.shape, generator=draw, device=images.device))


def jumps(model: Any, images: torch.Tensor, labels: torch.Tensor, by: float, tries: int) -> Iterator[np.ndarray]:
    """For each of so many nudges of pixels and weights: which images' gradients jumped."""

    def gradients(pixels: torch.Tensor) -> torch.Tensor:
        x = pixels.requires_grad_()
        loss = nn.functional.cross_entropy(network(x), labels, reduction="sum")
        (dx,) = torch.autograd.grad(loss, [x])
        return dx.flatten(1)

    network = build(model).to(images.device)
    without_dropout(network)
    weights = [p.detach().clone() for p in network.parameters()]
    exact = gradients(images.clone())
    for seed in range(tries):
        with torch.no_grad():
            for p, w in zip(network.parameters(), weights, strict=True):
                p.copy_(w)
        moved = gradients(nudge(network, images, by, seed)) - exact
        yield (moved.norm(dim=1) > 1e-4 * exact.norm(dim=1)).cpu().numpy()
