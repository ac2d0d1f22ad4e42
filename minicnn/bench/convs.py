"""Convolutions, forward and both gradients: every distinct one of the networks, or one of the user's."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from .. import geometry, models
from ..layers import Conv2d, trace
from . import machine
from .cases import NUMPY, Case, normal, tensor

WORK, MOST = 2**28, 16
"""A batch has about so many multiply-adds, and at most so many images."""


def of_networks(names: list[str]) -> list[geometry.Conv2d]:
    """The distinct convolutions of these networks, in the order in which they come."""
    found: dict[geometry.Conv2d, None] = {}
    for name in names:
        for record in trace(models.create(name, device="meta"), models.info(name).input_shape).records:
            layer = record.layer
            if isinstance(layer, Conv2d):
                rest = (layer.weight.shape, layer.stride, layer.padding, layer.dilation, layer.groups)
                one = geometry.conv2d((1, *record.input), *rest)
                batch = int(np.clip(WORK // one.macs, 1, MOST))
                found[geometry.conv2d((batch, *record.input), *rest)] = None
    return list(found)


def label(g: geometry.Conv2d) -> str:
    """8x64x56x56 64 3x3/1: N x C x H x W, filters, window and stride."""
    stride = "" if g.stride == (1, 1) else f"/{g.stride[0]}"
    groups = "" if g.G == 1 else f" G{g.G}"
    return f"{g.N}x{g.C}x{g.H}x{g.W} {g.K} {g.R}x{g.S}{stride}{groups}"


DIRECTIONS = {"y": "conv2d", "dx": "conv2d_input_grad", "dw": "conv2d_weight_grad"}
"""What is computed, and the kernel that does."""


def cases(g: geometry.Conv2d, part: str = "convs") -> Iterator[Case]:
    """The three kernels at one geometry."""
    x, w, dy = normal(*g.input_shape), normal(*g.weight_shape), normal(*g.output_shape)
    traffic = 4.0 * (x.size + w.size + dy.size)
    operands = {"y": (x, w, None), "dx": (dy, w), "dw": (dy, x)}
    shapes = {"y": dy.shape, "dx": x.shape, "dw": w.shape}
    for what, kernel in DIRECTIONS.items():
        out = np.empty(shapes[what], np.float32)

        def call(kernels: Any, kernel: str = kernel, given: Any = operands[what], out: np.ndarray = out) -> None:
            rest = (g, False) if kernel == "conv2d" else (g,)
            getattr(kernels, kernel)(*given, *rest, out=out)

        def exact(kernel: str = kernel, given: Any = operands[what], shape: Any = out.shape) -> np.ndarray:
            wide = [array if array is None else array.astype(np.float64) for array in given]
            result = np.empty(shape)
            rest = (g, False) if kernel == "conv2d" else (g,)
            getattr(NUMPY, kernel)(*wide, *rest, out=result)
            return result

        case = Case(part, label(g), what, 2.0 * g.macs, traffic, call, out, {}, exact)
        if machine.torch():
            _add_torch(case, g, x, w, dy)
        yield case


def _add_torch(case: Case, g: geometry.Conv2d, x: np.ndarray, w: np.ndarray, dy: np.ndarray) -> None:
    """PyTorch's, in both layouts; its float64 is the exact result. It cannot pad unevenly: such convolutions stay alone."""
    torch, what = machine.torch(), case.what
    top, bottom, left, right = g.padding
    if (top, left) != (bottom, right):
        return

    def compute(x: Any, w: Any, dy: Any) -> Any:
        rest = (list(g.stride), [top, left], list(g.dilation))
        if what == "y":
            return torch.nn.functional.conv2d(x, w, None, *rest, g.G)
        mask = [what == "dx", what == "dw", False]
        gradients = torch.ops.aten.convolution_backward(dy, x, w, None, *rest, False, [0, 0], g.G, mask)
        return gradients[mask.index(True)]

    plain = [tensor(array) for array in (x, w, dy)]
    last = [array.to(memory_format=torch.channels_last) for array in plain]
    case.others = {"torch": lambda: compute(*plain), "torch channels_last": lambda: compute(*last)}
    case.exact = lambda: compute(*[array.double() for array in plain]).numpy()
