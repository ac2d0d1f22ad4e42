"""Convolutions, forward and both gradients: every distinct one of the networks, or one of the user's."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np

from .. import geometry, models
from ..errors import OutOfMemory
from ..layers import Conv2d, trace
from .cases import Case, normal

WORK = {"cpu": (2**28, 16), "cuda": (2**35, 128)}
"""A batch has about so many multiply-adds, and at most so many images."""


def of_networks(names: list[str], device: str = "cpu") -> list[geometry.Conv2d]:
    """The distinct convolutions of these networks, in the order in which they come."""
    work, most = WORK[device]
    found: dict[geometry.Conv2d, None] = {}
    for name in names:
        for record in trace(models.create(name, device="meta"), models.info(name).input_shape).records:
            layer = record.layer
            if isinstance(layer, Conv2d):
                rest = (layer.weight.shape, layer.stride, layer.padding, layer.dilation, layer.groups)
                one = geometry.conv2d((1, *record.input), *rest)
                batch = int(np.clip(work // one.macs, 1, most))
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
    """The three kernels at one geometry. PyTorch cannot pad unevenly: such convolutions stay alone."""
    x, w, dy = normal(*g.input_shape), normal(*g.weight_shape), normal(*g.output_shape)
    traffic = 4.0 * (x.size + w.size + dy.size)
    y, dx, dw = np.empty_like(dy), np.empty_like(x), np.empty_like(w)
    given: dict[str, Any] = {"y": (x, w, None, g, False, y), "dx": (dy, w, g, dx), "dw": (dy, x, g, dw)}
    top, bottom, left, right = g.padding
    even = (top, left) == (bottom, right)
    for what, kernel in DIRECTIONS.items():
        yield Case(
            part, label(g), what, 2.0 * g.macs, traffic, kernel, given[what], given[what][-1],
            partial(_theirs, g, what) if even else None, (x, w, dy), exact=True, convolution=g,
        )  # fmt: skip


def _theirs(g: geometry.Conv2d, what: str, torch: Any, x: Any, w: Any, dy: Any) -> Any:
    rest = (list(g.stride), [g.padding[0], g.padding[2]], list(g.dilation))
    mask = [what == "dx", what == "dw", False]
    try:
        if what == "y":
            return torch.nn.functional.conv2d(x, w, None, *rest, g.G)
        gradients = torch.ops.aten.convolution_backward(dy, x, w, None, *rest, False, [0, 0], g.G, mask)
    except RuntimeError as error:  # on a CPU PyTorch has no class for it
        if "allocate memory" not in str(error):
            raise
        raise OutOfMemory(
            f"bench: PyTorch, which {label(g)} is compared with, has not enough memory for it: choose a smaller --batch, "
            "--shape or --kernel, or uninstall PyTorch"
        ) from None
    return gradients[mask.index(True)]
