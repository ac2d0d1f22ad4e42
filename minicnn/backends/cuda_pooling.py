"""Maximum, average and adaptive average pooling on CUDA: the part of `Cuda` for `max_pool.cu` and `avg_pool.cu`."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from .. import geometry as sizes
from .launch import kernel
from .reference import Array, Reference

STRIP = 4
"""As in pool.cuh."""
WARP = 32


class Pooling:
    """The pooling kernels of `Cuda`, which launches them."""

    launch: Callable[..., None]
    on_device: Callable[[tuple[int, ...]], Array]

    @kernel("out", "indices", others=("indices",))
    def max_pool2d(self, x: Array, geometry: sizes.Pool2d, out: Array, indices: Array) -> None:
        if indices.dtype != np.int32:
            return Reference.max_pool2d(self, x, geometry, out, indices)  # type: ignore[arg-type]
        self.launch("max_pool2d", out, out.size, x, self._pool2d(geometry), out, indices)

    @kernel("out", others=("indices",))
    def max_pool2d_grad(self, dy: Array, indices: Array, geometry: sizes.Pool2d, out: Array) -> None:
        indices = indices.astype(np.int32, copy=False)
        self.launch("max_pool2d_grad", out, _strips(out), dy, indices, self._pool2d(geometry), out)

    @kernel("out", others=("indices",))
    def max_pool2d_gather(self, x: Array, indices: Array, geometry: sizes.Pool2d, out: Array) -> None:
        indices = indices.astype(np.int32, copy=False)
        self.launch("max_pool2d_gather", out, out.size, x, indices, self._pool2d(geometry), out)

    @kernel("out")
    def avg_pool2d(self, x: Array, geometry: sizes.Pool2d, out: Array) -> None:
        lanes = 1 if geometry.R * geometry.S < WARP else WARP
        self.launch("avg_pool2d", out, out.size * lanes, x, self._pool2d(geometry), out)

    @kernel("out")
    def avg_pool2d_grad(self, dy: Array, geometry: sizes.Pool2d, out: Array) -> None:
        self.launch("avg_pool2d_grad", out, _strips(out), dy, self._pool2d(geometry), out)

    @kernel("out")
    def adaptive_avg_pool2d(self, x: Array, out: Array) -> None:
        N, C, H, W = x.shape
        P, Q = out.shape[2:]
        lanes = 1 if H * W < WARP // 2 * P * Q else WARP
        self.launch("adaptive_avg_pool2d", out, out.size * lanes, x, N * C, H, W, P, Q, out)

    @kernel("out")
    def adaptive_avg_pool2d_grad(self, dy: Array, out: Array) -> None:
        N, C, H, W = out.shape
        self.launch("adaptive_avg_pool2d_grad", out, out.size, dy, N * C, H, W, *dy.shape[2:], out)

    def _pool2d(self, g: sizes.Pool2d) -> Array:
        """The fields of a pool2d_geometry, on the device."""
        return self.on_device((*g.input_shape, g.R, g.S, g.P, g.Q, *g.stride, *g.padding, g.count_include_pad))


def _strips(out: Array) -> int:
    """The threads of a gradient: each has STRIP pixels of a column."""
    N, C, H, W = out.shape
    return N * C * -(-H // STRIP) * W
