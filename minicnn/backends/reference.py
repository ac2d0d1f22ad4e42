"""Every kernel in plain array code: the specification that the C and CUDA backends are tested against.

`Reference(numpy)` is the NumPy backend; the native backends inherit and override what they have natively. The caller
(an op) has checked every shape; a kernel writes into the arrays it is given and returns nothing. Letters as in
`minicnn.geometry`. Convolution and pooling, which move a window over maps, are in `reference_windows`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .. import geometry as sizes
from ..random import Key, philox
from . import pool
from .reference_windows import Array, Windows


class Reference(Windows):
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

    def extended(self, x: Array, channels: int, room: int) -> Array:
        """x (N, C, ...) with more channels behind its own, for the caller to write: a view where `pool.extended` has room."""
        return pool.extended(x, channels, room)

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

    def relu_grad_sum(self, dy: Array, y: Array, out: Array, sums: Array) -> None:
        """relu_grad of dy (N, K, ...), and its sums over all axes but the channels, (K,)."""
        self.relu_grad(dy, y, out)
        self.channel_sum(out, sums)

    def sigmoid_grad(self, dy: Array, y: Array, out: Array) -> None:
        self.xp.multiply(dy * y, 1 - y, out=out)

    def tanh_grad(self, dy: Array, y: Array, out: Array) -> None:
        self.xp.multiply(dy, 1 - y * y, out=out)

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

    # Normalisation

    def batch_norm(
        self, x: Array, scale: Array, shift: Array, mean: Array, var: Array, eps: float, residual: Array | None, relu: bool,
        out: Array, invstd: Array,
    ) -> None:  # fmt: skip
        """(x - mean)*invstd*scale + shift per channel, + residual (shaped like x) if given, then ReLU if asked.

        invstd = (var + eps)**-0.5, (C,), is given back.
        """
        # Rounded once: where all variances are alike, as in a new network, every layer's rounding points the same way.
        invstd[...] = (var.astype(self.xp.float64) + eps) ** -0.5
        self._normalise(x, scale, shift, mean, invstd, residual, relu, out)

    def _normalise(
        self, x: Array, scale: Array, shift: Array, mean: Array, invstd: Array, residual: Array | None, relu: bool,
        out: Array,
    ) -> None:  # fmt: skip
        slope = invstd * scale
        self.xp.subtract(x, _per_channel(mean, x), out=out)
        self.xp.multiply(out, _per_channel(slope, x), out=out)
        self.xp.add(out, _per_channel(shift, x), out=out)
        if residual is not None:
            self.xp.add(out, residual, out=out)
        if relu:
            self.relu(out, out=out)

    def batch_norm_training(
        self, x: Array, scale: Array, shift: Array, residual: Array | None, running_mean: Array | None,
        running_var: Array | None, momentum: float, eps: float, relu: bool, out: Array, mean: Array, invstd: Array,
    ) -> None:  # fmt: skip
        """batch_norm with the statistics of x (N, C, ...), given back as mean and invstd = (variance + eps)**-0.5, (C,).

        The running statistics, where given, move towards the batch's: running += momentum*(batch - running), with the
        unbiased variance. There are at least two numbers in a channel.
        """
        axes, count = (0, *range(2, x.ndim)), x.size // max(1, x.shape[1])
        self.xp.mean(x, axis=axes, out=mean)
        var = self.xp.mean(self.xp.square(x - _per_channel(mean, x)), axis=axes, dtype=mean.dtype)
        invstd[...] = (var + eps) ** -0.5
        for running, batch in ((running_mean, mean), (running_var, var * (count / (count - 1)))):
            if running is not None:
                running[...] = (1 - momentum) * running + momentum * batch
        self._normalise(x, scale, shift, mean, invstd, residual, relu, out)

    def batch_norm_grad(
        self, dy: Array, x: Array, y: Array | None, scale: Array, shift: Array, mean: Array, invstd: Array,
        relu: bool, training: bool, dx: Array | None, dresidual: Array | None, dscale: Array, dshift: Array,
    ) -> None:  # fmt: skip
        """Gradients of batch_norm. With `training`, mean and invstd came from x itself.

        relu: ReLU followed: dy counts only where its output y was positive; without y (there was no residual) it is
        computed again. dresidual: what of dy counts. dx and dresidual may be None.
        Source: Ioffe and Szegedy 2015, arXiv:1502.03167, section 3.
        """
        axes, count = (0, *range(2, x.ndim)), x.size // max(1, x.shape[1])
        if relu:
            if y is None:
                y = self.empty(x.shape, x.dtype)
                self._normalise(x, scale, shift, mean, invstd, None, False, y)
            dy = dy * (y > 0)
        if dresidual is not None:
            self.xp.copyto(dresidual, dy)
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

    def sgd_many(
        self, w: Sequence[Array], g: Sequence[Array], v: Sequence[Array] | None, lr: float, momentum: float,
        weight_decay: float, nesterov: bool,
    ) -> None:  # fmt: skip
        """`sgd` on each of many parameters of one dtype."""
        for i in range(len(w)):
            self.sgd(w[i], g[i], v[i] if v else None, lr, momentum, weight_decay, nesterov)

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

    def adam_many(
        self, w: Sequence[Array], g: Sequence[Array], m: Sequence[Array], v: Sequence[Array], lr: float, beta1: float,
        beta2: float, eps: float, weight_decay: float, decoupled: bool, step: int,
    ) -> None:  # fmt: skip
        """`adam` on each of many parameters of one dtype."""
        for arrays in zip(w, g, m, v):
            self.adam(*arrays, lr, beta1, beta2, eps, weight_decay, decoupled, step)


# NaN and infinity are legal numbers here: they pass through without NumPy's warnings. What computes nothing needs no such care.
_WITHOUT_ARITHMETIC = ("empty", "zeros", "reshape", "transpose", "broadcast_to", "extended", "getitem")
for _name, _kernel in {**vars(Windows), **vars(Reference)}.items():
    if not _name.startswith("_") and _name not in _WITHOUT_ARITHMETIC:
        setattr(Reference, _name, np.errstate(all="ignore")(_kernel) if callable(_kernel) else _kernel)


def _per_channel(values: Array, x: Array) -> Array:
    return values.reshape(-1, *(1,) * (x.ndim - 2))
