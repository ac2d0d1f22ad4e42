"""What moves a window over maps, in plain array code: convolution and pooling, the part of `Reference` for them.

A convolution is an honest im2col and matrix product. The rules for a kernel are those of `reference`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from .. import geometry as sizes

Array = Any
CHUNK = 2**24
"""Most elements of an im2col matrix that is held at a time: whole batches would need gigabytes."""


class Windows:
    """The kernels of `Reference` that move windows; it gives them arrays and ReLU."""

    xp: Any
    empty: Callable[[sizes.Shape, Any], Array]
    zeros: Callable[[sizes.Shape, Any], Array]
    relu: Callable[..., None]

    # Convolution

    def im2col(self, x: Array, geometry: sizes.Conv2d, out: Array) -> None:
        """x (N, C, H, W) -> out (N, C*R*S, P*Q): one column per place of the window."""
        g = geometry
        images = self._pad(x, g.padding, 0)
        rows, columns = g.stride
        down, across = g.dilation
        n, c, h, w = images.strides
        windows = self.xp.lib.stride_tricks.as_strided(
            images, (len(x), g.C, g.R, g.S, g.P, g.Q), (n, c, h * down, w * across, h * rows, w * columns)
        )
        self.xp.copyto(out.reshape(windows.shape), windows)

    def col2im(self, columns: Array, geometry: sizes.Conv2d, out: Array) -> None:
        """The transpose of im2col: columns (N, C*R*S, P*Q) added up where they came from, out (N, C, H, W)."""
        g = geometry
        top, bottom, left, right = g.padding
        padded = self.zeros((len(columns), g.C, g.H + top + bottom, g.W + left + right), out.dtype)
        windows = columns.reshape(len(columns), g.C, g.R, g.S, g.P, g.Q)
        for r in range(g.R):
            for s in range(g.S):
                padded[_places(g, r * g.dilation[0], s * g.dilation[1])] += windows[:, :, r, s]
        self.xp.copyto(out, padded[:, :, top : top + g.H, left : left + g.W])

    def conv2d(
        self, x: Array, weight: Array, bias: Array | None, geometry: sizes.Conv2d, relu: bool, out: Array
    ) -> None:
        """Cross-correlate x (N, C, H, W) with weight (K, C/G, R, S), add bias (K,), then ReLU if asked."""
        g = geometry
        for images in self._chunks(g):
            columns = self._columns(x[images], g)
            filters = weight.reshape(g.G, g.K // g.G, -1)
            y = out[images].reshape(len(columns), g.G, g.K // g.G, g.P * g.Q)
            self.xp.matmul(filters, columns, out=y)
        if bias is not None:
            self.xp.add(out, bias.reshape(-1, 1, 1), out=out)
        if relu:
            self.relu(out, out=out)

    def conv2d_input_grad(self, dy: Array, weight: Array, geometry: sizes.Conv2d, out: Array) -> None:
        """dx (N, C, H, W) from dy (N, K, P, Q) and weight (K, C/G, R, S): a transposed convolution."""
        g = geometry
        filters = weight.reshape(g.G, g.K // g.G, -1).swapaxes(-1, -2)
        for images in self._chunks(g):
            part = dy[images]
            columns = self.xp.matmul(filters, part.reshape(len(part), g.G, g.K // g.G, g.P * g.Q))
            self.col2im(columns.reshape(len(part), g.C * g.R * g.S, g.P * g.Q), g, out[images])

    def conv2d_weight_grad(self, dy: Array, x: Array, geometry: sizes.Conv2d, out: Array) -> None:
        """dweight (K, C/G, R, S) from dy (N, K, P, Q) and x (N, C, H, W)."""
        g = geometry
        dw = out.reshape(g.G, g.K // g.G, -1)
        dw[...] = 0
        for images in self._chunks(g):
            columns = self._columns(x[images], g)
            part = dy[images].reshape(len(columns), g.G, g.K // g.G, g.P * g.Q)
            dw += self.xp.matmul(part, columns.swapaxes(-1, -2)).sum(axis=0)

    def channel_sum(self, dy: Array, out: Array) -> None:
        """Sum of dy (N, K, ...) over all axes but the channels: the gradient of a bias (K,)."""
        self.xp.sum(dy, axis=(0, *range(2, dy.ndim)), out=out)

    def _chunks(self, g: sizes.Conv2d) -> Iterator[slice]:
        size = max(1, CHUNK // max(1, g.C * g.R * g.S * g.P * g.Q))
        return (slice(first, min(first + size, g.N)) for first in range(0, g.N, size))

    def _columns(self, x: Array, g: sizes.Conv2d) -> Array:
        columns = self.empty((len(x), g.C * g.R * g.S, g.P * g.Q), x.dtype)
        self.im2col(x, g, columns)
        return columns.reshape(len(x), g.G, -1, g.P * g.Q)

    def _pad(
        self, x: Array, padding: tuple[int, int, int, int], value: float, height: int = 0, width: int = 0
    ) -> Array:
        """x with a border of `value`, at least `height` x `width` in all."""
        top, bottom, left, right = padding
        h, w = x.shape[2:]
        shape = (*x.shape[:2], max(h + top + bottom, height), max(w + left + right, width))
        if shape == x.shape:
            return x
        padded = self.empty(shape, x.dtype)
        padded[...] = value
        padded[:, :, top : top + h, left : left + w] = x
        return padded

    # Pooling

    def max_pool2d(self, x: Array, geometry: sizes.Pool2d, out: Array, indices: Array) -> None:
        """Maximum of each window; indices (int32, shaped like out) hold r*S + s of the first maximum; NaN wins."""
        g = geometry
        padded = self._pad(x, g.padding, -np.inf, *_reach(g))
        for r in range(g.R):
            for s in range(g.S):
                seen = padded[_places(g, r, s)]
                if r == s == 0:
                    self.xp.copyto(out, seen)
                    indices[...] = 0
                else:
                    better = (seen > out) | (seen != seen)
                    self.xp.copyto(out, seen, where=better)
                    self.xp.copyto(indices, r * g.S + s, where=better)
        if g.padding[0] or g.padding[2]:
            self._leave_padding(geometry, out, indices)

    def _leave_padding(self, g: sizes.Pool2d, out: Array, indices: Array) -> None:
        """A window of -inf alone must still point at a pixel, not at the padding."""
        xp = self.xp
        first_row = xp.maximum(0, g.padding[0] - xp.arange(g.P) * g.stride[0])
        first_column = xp.maximum(0, g.padding[2] - xp.arange(g.Q) * g.stride[1])
        first = (first_row[:, None] * g.S + first_column).astype(indices.dtype)
        xp.copyto(indices, xp.broadcast_to(first, indices.shape), where=out == -np.inf)

    def max_pool2d_grad(self, dy: Array, indices: Array, geometry: sizes.Pool2d, out: Array) -> None:
        """dx (N, C, H, W): dy added to the pixel that each window took."""
        g = geometry
        padded = self.zeros((g.N, g.C, *_extent(g)), out.dtype)
        for r in range(g.R):
            for s in range(g.S):
                padded[_places(g, r, s)] += self.xp.where(indices == r * g.S + s, dy, 0)
        self.xp.copyto(out, padded[:, :, g.padding[0] : g.padding[0] + g.H, g.padding[2] : g.padding[2] + g.W])

    def max_pool2d_gather(self, x: Array, indices: Array, geometry: sizes.Pool2d, out: Array) -> None:
        """The pixel of x (N, C, H, W) that each window took: the transpose of max_pool2d_grad."""
        g = geometry
        padded = self._pad(x, g.padding, 0, *_reach(g))
        for r in range(g.R):
            for s in range(g.S):
                self.xp.copyto(out, padded[_places(g, r, s)], where=indices == r * g.S + s)

    def avg_pool2d(self, x: Array, geometry: sizes.Pool2d, out: Array) -> None:
        """Sum of each window over its divisor: the window's pixels inside the padded map, or inside the map alone."""
        g = geometry
        padded = self._pad(x, g.padding, 0, *_reach(g))
        out[...] = 0
        for r in range(g.R):
            for s in range(g.S):
                out += padded[_places(g, r, s)]
        self.xp.divide(out, self._divisors(g, out.dtype), out=out)

    def avg_pool2d_grad(self, dy: Array, geometry: sizes.Pool2d, out: Array) -> None:
        """dx (N, C, H, W): each dy shared out over its window."""
        g = geometry
        padded = self.zeros((g.N, g.C, *_extent(g)), out.dtype)
        share = dy / self._divisors(g, dy.dtype)
        for r in range(g.R):
            for s in range(g.S):
                padded[_places(g, r, s)] += share
        self.xp.copyto(out, padded[:, :, g.padding[0] : g.padding[0] + g.H, g.padding[2] : g.padding[2] + g.W])

    def _divisors(self, g: sizes.Pool2d, dtype: Any) -> Array:
        counts = []
        for size, window, places, stride, before, after in (
            (g.H, g.R, g.P, g.stride[0], *g.padding[:2]),
            (g.W, g.S, g.Q, g.stride[1], *g.padding[2:]),
        ):
            low, high = (-before, size + after) if g.count_include_pad else (0, size)
            start = np.arange(places) * stride - before
            counts.append(np.minimum(start + window, high) - np.maximum(start, low))
        return self.xp.asarray(np.multiply.outer(*counts), dtype=dtype)

    def adaptive_avg_pool2d(self, x: Array, out: Array) -> None:
        """x (N, C, H, W) -> out (N, C, P, Q): the mean of each of P x Q windows that cover the map."""
        for p, (top, bottom) in enumerate(sizes.bins(x.shape[2], out.shape[2])):
            for q, (left, right) in enumerate(sizes.bins(x.shape[3], out.shape[3])):
                out[:, :, p, q] = x[:, :, top:bottom, left:right].mean(axis=(2, 3))

    def adaptive_avg_pool2d_grad(self, dy: Array, out: Array) -> None:
        out[...] = 0
        for p, (top, bottom) in enumerate(sizes.bins(out.shape[2], dy.shape[2])):
            for q, (left, right) in enumerate(sizes.bins(out.shape[3], dy.shape[3])):
                share = dy[:, :, p, q] / ((bottom - top) * (right - left))
                out[:, :, top:bottom, left:right] += share[:, :, None, None]


def _places(g: Any, r: int, s: int) -> tuple[Any, slice, slice]:
    """Where the pixel at (r, s) of every window lies in the padded map."""
    rows, columns = g.stride
    return ..., slice(r, r + (g.P - 1) * rows + 1, rows), slice(s, s + (g.Q - 1) * columns + 1, columns)


def _reach(g: sizes.Pool2d) -> tuple[int, int]:
    """How far the windows reach: in ceil mode, past the padded map."""
    return (g.P - 1) * g.stride[0] + g.R, (g.Q - 1) * g.stride[1] + g.S


def _extent(g: sizes.Pool2d) -> tuple[int, int]:
    reach = _reach(g)
    top, bottom, left, right = g.padding
    return max(g.H + top + bottom, reach[0]), max(g.W + left + right, reach[1])
