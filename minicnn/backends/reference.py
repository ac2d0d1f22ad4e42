"""Every kernel in plain array code: the specification that the C and CUDA backends are tested against.

`Reference(numpy)` is the NumPy backend; the native backends inherit and override what they have natively. The caller
(an op) has checked every shape; a kernel writes into the arrays it is given and returns nothing. Letters as in
`minicnn.geometry`. A convolution is an honest im2col and matrix product.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from .. import geometry as sizes
from ..random import Key, philox
from . import pool

Array = Any
CHUNK = 2**24
"""Most elements of an im2col matrix that is held at a time: whole batches would need gigabytes."""


class Reference:
    """Kernels over an array module `xp` (numpy or cupy), for any float dtype."""

    name = "numpy"
    device = "cpu"

    def __init__(self, xp: Any = np) -> None:
        self.xp = xp

    # Memory and views

    def empty(self, shape: sizes.Shape, dtype: Any) -> Array:
        """An array whose contents are undefined, from the memory pool."""
        return pool.empty(shape, dtype)

    def zeros(self, shape: sizes.Shape, dtype: Any) -> Array:
        out = self.empty(shape, dtype)
        out[...] = 0
        return out

    def asarray(self, values: Any, dtype: Any = None) -> Array:
        return self.xp.asarray(values, dtype=dtype)

    def reshape(self, x: Array, shape: sizes.Shape) -> Array:
        """A view where the memory layout allows it, else a copy."""
        return x.reshape(shape)

    def transpose(self, x: Array, axes: sizes.Shape) -> Array:
        return x.transpose(axes)

    def broadcast_to(self, x: Array, shape: sizes.Shape) -> Array:
        return self.xp.broadcast_to(x, shape)

    def getitem(self, x: Array, index: Any) -> Array:
        return x[index]

    def copy(self, x: Array, out: Array) -> None:
        self.xp.copyto(out, x, casting="unsafe")

    def assign(self, out: Array, index: Any, values: Array) -> None:
        out[index] = values

    def add_at(self, out: Array, index: Any, values: Array) -> None:
        """out[index] += values, where places that `index` names more than once get every value."""
        self.xp.add.at(out, index, values)

    def fill(self, out: Array, value: float) -> None:
        out[...] = value

    # Element by element; the operands broadcast

    def add(self, a: Array, b: Array, out: Array) -> None:
        self.xp.add(a, b, out=out)

    def subtract(self, a: Array, b: Array, out: Array) -> None:
        self.xp.subtract(a, b, out=out)

    def multiply(self, a: Array, b: Array, out: Array) -> None:
        self.xp.multiply(a, b, out=out)

    def divide(self, a: Array, b: Array, out: Array) -> None:
        self.xp.divide(a, b, out=out)

    def power(self, a: Array, b: Array, out: Array) -> None:
        self.xp.power(a, b, out=out)

    def maximum(self, a: Array, b: Array, out: Array) -> None:
        self.xp.maximum(a, b, out=out)

    def minimum(self, a: Array, b: Array, out: Array) -> None:
        self.xp.minimum(a, b, out=out)

    def greater(self, a: Array, b: Array, out: Array) -> None:
        self.xp.greater(a, b, out=out)

    def greater_equal(self, a: Array, b: Array, out: Array) -> None:
        self.xp.greater_equal(a, b, out=out)

    def less(self, a: Array, b: Array, out: Array) -> None:
        self.xp.less(a, b, out=out)

    def less_equal(self, a: Array, b: Array, out: Array) -> None:
        self.xp.less_equal(a, b, out=out)

    def equal(self, a: Array, b: Array, out: Array) -> None:
        self.xp.equal(a, b, out=out)

    def not_equal(self, a: Array, b: Array, out: Array) -> None:
        self.xp.not_equal(a, b, out=out)

    def where(self, condition: Array, a: Array, b: Array, out: Array) -> None:
        out[...] = self.xp.where(condition, a, b)

    def exp(self, x: Array, out: Array) -> None:
        self.xp.exp(x, out=out)

    def log(self, x: Array, out: Array) -> None:
        self.xp.log(x, out=out)

    def sqrt(self, x: Array, out: Array) -> None:
        self.xp.sqrt(x, out=out)

    def absolute(self, x: Array, out: Array) -> None:
        self.xp.absolute(x, out=out)

    def sign(self, x: Array, out: Array) -> None:
        self.xp.sign(x, out=out)

    def relu(self, x: Array, out: Array) -> None:
        """max(x, 0); a NaN stays a NaN."""
        self.xp.maximum(x, 0, out=out)

    def relu_grad(self, dy: Array, y: Array, out: Array) -> None:
        """dy where the output y was positive, else 0."""
        self.xp.multiply(dy, y > 0, out=out)

    def sigmoid(self, x: Array, out: Array) -> None:
        self.xp.negative(x, out=out)
        self.xp.exp(out, out=out)
        self.xp.add(out, 1, out=out)
        self.xp.reciprocal(out, out=out)

    def tanh(self, x: Array, out: Array) -> None:
        self.xp.tanh(x, out=out)

    def dropout(self, x: Array, p: float, key: Key, out: Array) -> None:
        """out = x/(1 - p) where word i of philox(key) is at least p*2**32, else 0; i counts in C order."""
        words = self.xp.asarray(philox(key, x.size)).reshape(x.shape)
        self.xp.multiply(x, words >= round(p * 2**32), out=out)
        self.xp.multiply(out, out.dtype.type(1 / (1 - p)), out=out)

    # Reductions

    def sum(self, x: Array, axes: sizes.Shape, out: Array) -> None:
        """Sum over `axes`; `out` has the reduced axes left out or of size 1. float16 is added up in float32."""
        dtype = np.float32 if out.dtype == np.float16 else out.dtype
        out[...] = self.xp.sum(x, axis=axes, dtype=dtype).reshape(out.shape)

    def max(self, x: Array, axes: sizes.Shape, out: Array) -> None:
        out[...] = self.xp.max(x, axis=axes).reshape(out.shape)

    def min(self, x: Array, axes: sizes.Shape, out: Array) -> None:
        out[...] = self.xp.min(x, axis=axes).reshape(out.shape)

    def argmax(self, x: Array, axis: int | None, out: Array) -> None:
        """Index (int64) of the first maximum along `axis`, or in the flattened array."""
        out[...] = self.xp.argmax(x, axis=axis)

    # Matrix products

    def matmul(self, a: Array, b: Array, out: Array) -> None:
        """(..., M, K) @ (..., K, N) -> (..., M, N); leading axes broadcast; operands may be transposed views."""
        self.xp.matmul(a, b, out=out)

    def linear(self, x: Array, weight: Array, bias: Array | None, relu: bool, out: Array) -> None:
        """x (N, I) @ weight (O, I) transposed + bias (O,) -> (N, O), then ReLU if asked."""
        self.xp.matmul(x, weight.T, out=out)
        if bias is not None:
            self.xp.add(out, bias, out=out)
        if relu:
            self.relu(out, out=out)

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

    # Normalisation

    def batch_norm_statistics(self, x: Array, mean: Array, var: Array) -> None:
        """Mean and (biased) variance of x (N, C, ...) per channel, each (C,)."""
        axes = (0, *range(2, x.ndim))
        self.xp.mean(x, axis=axes, out=mean)
        self.xp.mean(self.xp.square(x - _per_channel(mean, x)), axis=axes, out=var)

    def batch_norm(
        self, x: Array, scale: Array, shift: Array, mean: Array, invstd: Array, residual: Array | None, relu: bool,
        out: Array,
    ) -> None:  # fmt: skip
        """(x - mean)*invstd*scale + shift per channel, + residual (shaped like x) if given, then ReLU if asked."""
        slope = invstd * scale
        self.xp.subtract(x, _per_channel(mean, x), out=out)
        self.xp.multiply(out, _per_channel(slope, x), out=out)
        self.xp.add(out, _per_channel(shift, x), out=out)
        if residual is not None:
            self.xp.add(out, residual, out=out)
        if relu:
            self.relu(out, out=out)

    def batch_norm_grad(
        self, dy: Array, x: Array, scale: Array, mean: Array, invstd: Array, training: bool,
        dx: Array | None, dscale: Array, dshift: Array,
    ) -> None:  # fmt: skip
        """Gradients of batch_norm without residual and ReLU. With `training`, mean and invstd came from x itself.

        Source: Ioffe and Szegedy 2015, arXiv:1502.03167, section 3.
        """
        axes, count = (0, *range(2, x.ndim)), x.size // max(1, x.shape[1])
        normal = (x - _per_channel(mean, x)) * _per_channel(invstd, x)
        self.xp.sum(dy, axis=axes, out=dshift)
        self.xp.sum(dy * normal, axis=axes, out=dscale)
        if dx is None:
            return
        self.xp.copyto(dx, dy)
        if training and count:
            dx -= _per_channel(dshift / count, x)
            dx -= normal * _per_channel(dscale / count, x)
        dx *= _per_channel(scale * invstd, x)

    def local_response_norm(
        self, x: Array, size: int, alpha: float, beta: float, k: float, out: Array, scale: Array
    ) -> None:
        """scale = k + alpha * (sum of x**2 over `size` channels around each); out = x * scale**-beta.

        Source: Krizhevsky et al. 2012, section 3.3. `alpha` is the factor of the sum: Caffe's reading passes alpha/size.
        """
        self.channel_window_sum(x * x, size, scale)
        scale *= alpha
        scale += k
        self.xp.multiply(x, scale**-beta, out=out)

    def local_response_norm_grad(
        self, dy: Array, x: Array, scale: Array, size: int, alpha: float, beta: float, out: Array
    ) -> None:
        shrunk = scale**-beta
        ratio = dy * x * shrunk / scale
        self.channel_window_sum(ratio, size, out, mirrored=True)
        out *= -2 * alpha * beta
        out *= x
        out += dy * shrunk

    def channel_window_sum(self, x: Array, size: int, out: Array, mirrored: bool = False) -> None:
        """Sum of x (N, C, ...) over the channels c - size//2 .. c + (size - 1)//2 that exist; mirrored: its transpose."""
        below, above = size // 2, (size - 1) // 2
        if mirrored:
            below, above = above, below
        channels = x.shape[1]
        out[...] = x
        for offset in range(1, min(below, channels - 1) + 1):
            out[:, offset:] += x[:, : channels - offset]
        for offset in range(1, min(above, channels - 1) + 1):
            out[:, : channels - offset] += x[:, offset:]

    # Losses

    def log_softmax(self, x: Array, out: Array) -> None:
        """Over the last axis."""
        xp = self.xp
        if not x.size:
            return
        xp.subtract(x, x.max(axis=-1, keepdims=True), out=out)
        xp.subtract(out, xp.log(xp.exp(out).sum(axis=-1, keepdims=True)), out=out)

    def cross_entropy(
        self, logits: Array, labels: Array, weights: Array | None, smoothing: float, ignore: int,
        out: Array, probabilities: Array,
    ) -> None:  # fmt: skip
        """Loss of each row of logits (N, C), out (N,), and its softmax (N, C).

        With target t = (1 - smoothing)*onehot(label) + smoothing/C and class weights w (C,): -sum_c t_c w_c log p_c,
        and 0 where the label is `ignore`. Labels (int64) are 0 .. C-1 or `ignore`.
        """
        xp = self.xp
        self.log_softmax(logits, probabilities)
        targets = self._targets(labels, weights, smoothing, ignore, probabilities)
        terms = xp.where(targets != 0, targets * probabilities, 0)
        xp.negative(xp.sum(terms, axis=1), out=out)
        xp.exp(probabilities, out=probabilities)

    def cross_entropy_grad(
        self, dloss: Array, probabilities: Array, labels: Array, weights: Array | None, smoothing: float, ignore: int,
        out: Array,
    ) -> None:  # fmt: skip
        """dlogits (N, C) from dloss (N,)."""
        targets = self._targets(labels, weights, smoothing, ignore, probabilities)
        out[...] = (probabilities * targets.sum(axis=1, keepdims=True) - targets) * dloss[:, None]

    def _targets(self, labels: Array, weights: Array | None, smoothing: float, ignore: int, like: Array) -> Array:
        xp, (rows, classes) = self.xp, like.shape
        targets = xp.full((rows, classes), smoothing / max(1, classes), dtype=like.dtype)
        counted = labels != ignore
        targets[xp.arange(rows)[counted], labels[counted]] += 1 - smoothing
        targets[~counted] = 0
        return targets if weights is None else targets * weights

    # Optimiser steps: one pass over the parameter, in place

    def sgd(
        self, w: Array, g: Array, v: Array | None, lr: float, momentum: float, weight_decay: float, nesterov: bool
    ) -> None:
        """g' = g + weight_decay*w; v = momentum*v + g'; w -= lr*(g' + momentum*v if nesterov else v). g is only read."""
        step = g + weight_decay * w if weight_decay else g
        if v is not None:
            v *= momentum
            v += step
            step = step + momentum * v if nesterov else v
        w -= lr * step

    def adam(
        self, w: Array, g: Array, m: Array, v: Array, lr: float, beta1: float, beta2: float, eps: float,
        weight_decay: float, decoupled: bool, step: int,
    ) -> None:  # fmt: skip
        """Adam (Kingma and Ba 2015, arXiv:1412.6980), or with `decoupled` AdamW (arXiv:1711.05101). step counts from 1."""
        if decoupled:
            w *= 1 - lr * weight_decay
        elif weight_decay:
            g = g + weight_decay * w
        m *= beta1
        m += (1 - beta1) * g
        v *= beta2
        v += (1 - beta2) * g * g
        denominator = self.xp.sqrt(v / (1 - beta2**step))
        denominator += eps
        w -= (lr / (1 - beta1**step)) * m / denominator


# NaN and infinity are legal numbers here: they pass through without NumPy's warnings.
for _name, _kernel in list(vars(Reference).items()):
    if not _name.startswith("_"):
        setattr(Reference, _name, np.errstate(all="ignore")(_kernel) if callable(_kernel) else _kernel)


def _per_channel(values: Array, x: Array) -> Array:
    return values.reshape(-1, *(1,) * (x.ndim - 2))


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
