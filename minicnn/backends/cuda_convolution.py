"""Convolution on CUDA: the part of `Cuda` for `conv.cu`, `conv_weight.cu` and `columns.cu`.

There are three ways: `naive` (a thread for each number), `columns` (im2col and a matrix product of cuBLAS: the reference's way,
with our im2col) and `tiles` (the product without the columns, see tile.cuh). MINICNN_CUDA_CONV forces one.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Any

from .. import geometry as sizes
from ..errors import BackendError
from .launch import BLOCKS, kernel
from .reference import Array, Reference

WAYS = ("naive", "columns", "tiles")
WISH = "MINICNN_CUDA_CONV"
"""The environment variable that forces one of them."""
COLUMNS = 128
"""Columns of a tile: NC in tile.cuh."""
ROWS = {128: 1.0, 64: 1.15, 32: 1.4}
"""The rows that a tile may have, and what a row then costs: instructions of the inner loop, relative to the first."""
FULL = 264
"""Blocks that a device runs at once: two on each processor of an H200."""
PART = 512
"""The fewest pixels that a block of the weight gradient sums."""
LIMIT = 2**29
"""Of a pixel's coordinates in tiles, which are 32-bit numbers."""


def way(g: sizes.Conv2d, kind: str) -> str:
    """How to compute conv2d or the gradient that `kind` names: one of WAYS. Raises BackendError for another wish."""
    wanted = os.environ.get(WISH, "")
    if wanted and wanted not in WAYS:
        raise BackendError(f"{WISH} is {wanted!r}: it must be one of {', '.join(WAYS)}")
    top, bottom, left, right = g.padding
    rows = (g.C if kind == "conv2d_input_grad" else g.K) // g.G
    if wanted in ("", "tiles") and max(g.H + top + bottom, g.W + left + right) >= LIMIT:
        return "naive"
    if wanted:
        return wanted
    if _is_product(g) and kind != "conv2d_weight_grad" and g.P * g.Q >= COLUMNS:
        return "columns"
    return "naive" if rows <= 2 else "tiles"  # most of a tile would be empty


def _is_product(g: sizes.Conv2d) -> bool:
    """Whether im2col would change nothing."""
    return g.R == g.S == 1 and g.stride == (1, 1) and not any(g.padding)


def _tile_rows(rows: int, others: int) -> int:
    """The rows of a tile that cost the least for as many `rows`, where `others` tiles stand beside each."""
    return min(ROWS, key=lambda each: -(-(-(-rows // each) * others) // FULL) * each * ROWS[each])


class Convolution:
    """The convolution kernels of `Cuda`, which launches them."""

    xp: Any
    launch: Callable[..., None]
    on_device: Callable[[tuple[int, ...]], Array]
    empty: Callable[[sizes.Shape, Any], Array]

    @kernel("out")
    def im2col(self, x: Array, geometry: sizes.Conv2d, out: Array) -> None:
        places = len(x) * geometry.C * geometry.P * geometry.Q
        self.launch("im2col", out, places, x, self._conv2d(geometry, len(x)), out)

    @kernel("out")
    def col2im(self, columns: Array, geometry: sizes.Conv2d, out: Array) -> None:
        self.launch("col2im", out, out.size, columns, self._conv2d(geometry, len(out)), out)

    @kernel("out")
    def conv2d(
        self, x: Array, weight: Array, bias: Array | None, geometry: sizes.Conv2d, relu: bool, out: Array
    ) -> None:
        g, chosen = geometry, way(geometry, "conv2d")
        if chosen == "columns":
            Reference.conv2d(self, x, weight, None, g, False, out)  # type: ignore[arg-type]
            self._bias_relu(out, bias, relu)
        elif chosen == "naive":
            self.launch("conv2d_naive", out, out.size, x, weight, bias, self._conv2d(g, g.N), relu, out)
        else:
            others = -(-g.N * g.P * g.Q // COLUMNS) * g.G
            self._tiles("conv2d", out, g.K // g.G, others, x, weight, bias, self._conv2d(g, g.N), relu, out)

    @kernel("out")
    def conv2d_input_grad(self, dy: Array, weight: Array, geometry: sizes.Conv2d, out: Array) -> None:
        g, chosen = geometry, way(geometry, "conv2d_input_grad")
        if chosen == "columns" and _is_product(g):
            filters = weight.reshape(g.G, g.K // g.G, g.C // g.G).swapaxes(-1, -2)
            dys, dxs = (a.reshape(g.N, g.G, a.shape[1] // g.G, g.H * g.W) for a in (dy, out))
            self.xp.matmul(filters, dys, out=dxs)
        elif chosen == "columns":
            Reference.conv2d_input_grad(self, dy, weight, g, out)  # type: ignore[arg-type]
        elif chosen == "naive":
            self.launch("conv2d_input_grad_naive", out, out.size, dy, weight, self._conv2d(g, g.N), out)
        else:
            (down, across), (H, W) = g.stride, (g.H, g.W)
            pixels = g.N * -(-H // down) * -(-W // across)
            others = -(-pixels // COLUMNS) * g.G * min(down, H) * min(across, W)
            self._tiles("conv2d_input_grad", out, g.C // g.G, others, dy, weight, self._conv2d(g, g.N), out)

    @kernel("out")
    def conv2d_weight_grad(self, dy: Array, x: Array, geometry: sizes.Conv2d, out: Array) -> None:
        g, chosen = geometry, way(geometry, "conv2d_weight_grad")
        if chosen == "columns":
            Reference.conv2d_weight_grad(self, dy, x, g, out)  # type: ignore[arg-type]
        elif chosen == "naive":
            blocks = min(out.size, BLOCKS)
            self.launch("conv2d_weight_grad_naive", out, 0, dy, x, self._conv2d(g, g.N), out, grid=(blocks,))
        else:
            self._weight_grad_tiles(dy, x, g, out)

    def _weight_grad_tiles(self, dy: Array, x: Array, g: sizes.Conv2d, out: Array) -> None:
        rows, others = g.K // g.G, -(-(g.C // g.G * g.R * g.S) // COLUMNS) * g.G
        each = _tile_rows(rows, others * FULL)
        tiles = -(-rows // each) * others
        parts = max(1, min(-(-2 * FULL // max(1, tiles)), g.N * g.P * g.Q // PART))
        sums = out if parts == 1 else self.empty((parts, *out.shape), out.dtype)
        name, geometry = f"conv2d_weight_grad_tiles_{each}", self._conv2d(g, g.N)
        self.launch(name, out, 0, dy, x, geometry, parts, sums, grid=(tiles * parts,))
        if parts > 1:
            self.launch("conv2d_weight_grad_total", out, out.size, sums, parts, out.size, out)

    @kernel("out")
    def linear(self, x: Array, weight: Array, bias: Array | None, relu: bool, out: Array) -> None:
        self.xp.matmul(x, weight.T, out=out)
        self._bias_relu(out, bias, relu)

    def _tiles(self, name: str, like: Array, rows: int, others: int, *args: Any) -> None:
        each = _tile_rows(rows, others)
        self.launch(f"{name}_tiles_{each}", like, 0, *args, grid=(-(-rows // each) * others,))

    def _bias_relu(self, out: Array, bias: Array | None, relu: bool) -> None:
        if bias is not None or relu:
            N, K = out.shape[:2]
            self.launch("bias_relu", out, out.size, out, bias, relu, K, out.size // max(1, N * K), out.size)

    def _conv2d(self, g: sizes.Conv2d, N: int) -> Array:
        """The fields of a conv2d_geometry for N images, on the device."""
        top, _, left, _ = g.padding
        return self.on_device((N, g.C, g.H, g.W, g.K, g.R, g.S, g.P, g.Q, g.G, *g.stride, top, left, *g.dilation))

    # What the reference's way asks for

    def _chunks(self, g: sizes.Conv2d) -> Iterator[slice]:
        return iter([slice(0, g.N)]) if _is_product(g) else Reference._chunks(self, g)  # type: ignore[arg-type]

    def _columns(self, x: Array, g: sizes.Conv2d) -> Array:
        if _is_product(g):
            return x.reshape(len(x), g.G, g.C // g.G, g.H * g.W)
        return Reference._columns(self, x, g)  # type: ignore[arg-type]
