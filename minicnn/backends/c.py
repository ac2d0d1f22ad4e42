"""The C backend: the kernels of `kernels/minicnn.h` behind the methods of `Reference`, from which it inherits the rest.

The op has checked every shape; what C cannot take (views, other dtypes) `kernel` sees to.
"""

from __future__ import annotations

import functools
import os
import threading
from typing import Any

import numpy as np

from .. import geometry as sizes
from ..random import Key
from . import PRECISIONS, get_precision
from .native import Kernels, built, choose, default_threads, kernel, module
from .reference import Array, Reference


class _Threads:
    number = default_threads()


def set_num_threads(n: int) -> None:
    """Compute with at most `n` threads."""
    _Threads.number = n


def get_num_threads() -> int:
    return _Threads.number


if hasattr(os, "register_at_fork"):
    # OpenMP's threads do not come along into a forked process, and waiting for them would never end.
    os.register_at_fork(after_in_child=lambda: set_num_threads(1))


def _pixels(x: Array) -> int:
    """Numbers of a map of x (N, C, ...)."""
    size = 1
    for length in x.shape[2:]:
        size *= length
    return size


class C(Reference):
    """Native kernels on the CPU."""

    name = "c"

    def __init__(self, level: str, kernels: Any = None) -> None:
        """level: an instruction set, one of `usable()`; kernels: the module to use instead of the one built for it."""
        super().__init__(np)
        self.level, self.module = level, kernels or module(level)
        self.terms = {name: int(self.module.lib.minicnn_terms(i)) for i, name in enumerate(PRECISIONS)}
        """For each precision the terms, see `minicnn.h`, that the matrix products compute."""
        self.kernels = {
            np.dtype(np.float32): Kernels(self.module, "_f32", "float"),
            np.dtype(np.float64): Kernels(self.module, "_f64", "double"),
        }

    @functools.cached_property
    def native(self) -> frozenset[str]:
        """The kernels that are native; the others are the reference's."""
        return frozenset(name for name, method in vars(C).items() if hasattr(method, "is_native"))

    def _tile_and_terms(self) -> tuple[int, int]:
        """For the precision in force the largest tile of minimal filtering, which AMX outruns, and the terms."""
        level = get_precision()
        return 0 if self.terms["high"] else 2 if level == "highest" else 4, self.terms[level]

    # Element by element

    @kernel("out")
    def relu(self, k: Any, x: Array, out: Array) -> None:
        k.relu(k.p(x), k.p(out), x.size, _Threads.number)

    @kernel("out")
    def relu_grad(self, k: Any, dy: Array, y: Array, out: Array) -> None:
        k.relu_grad(k.p(dy), k.p(y), k.p(out), y.size, _Threads.number)

    @kernel("out", "sums")
    def relu_grad_sum(self, k: Any, dy: Array, y: Array, out: Array, sums: Array) -> None:
        N, channels = y.shape[:2]
        k.relu_grad_sum(k.p(dy), k.p(y), N, channels, _pixels(y), k.p(out), k.p(sums), _Threads.number)

    @kernel("out")
    def sigmoid_grad(self, k: Any, dy: Array, y: Array, out: Array) -> None:
        k.sigmoid_grad(k.p(dy), k.p(y), k.p(out), y.size, _Threads.number)

    @kernel("out")
    def tanh_grad(self, k: Any, dy: Array, y: Array, out: Array) -> None:
        k.tanh_grad(k.p(dy), k.p(y), k.p(out), y.size, _Threads.number)

    @kernel("out")
    def sigmoid(self, k: Any, x: Array, out: Array) -> None:
        k.sigmoid(k.p(x), k.p(out), x.size, _Threads.number)

    @kernel("out")
    def tanh(self, k: Any, x: Array, out: Array) -> None:
        k.tanh(k.p(x), k.p(out), x.size, _Threads.number)

    @kernel("out")
    def dropout(self, k: Any, x: Array, p: float, key: Key, out: Array) -> None:
        k.dropout(k.p(x), 1 / (1 - p), round(p * 2**32), *key, k.p(out), x.size, _Threads.number)

    # Matrix products

    def matmul(self, a: Array, b: Array, out: Array) -> None:
        k = self.kernels.get(out.dtype)
        if k is None or a.dtype != out.dtype or b.dtype != out.dtype or a.ndim < 2 or b.ndim < 2:
            super().matmul(a, b, out)
            return
        if not (out.flags.c_contiguous and out.flags.aligned):
            whole = np.empty(out.shape, out.dtype)
            self.matmul(a, b, whole)
            np.copyto(out, whole)
            return
        if not out.size:
            return
        a, b = _on_grid(a), _on_grid(b)
        (a_at, a_row, a_col), (b_at, b_row, b_col) = _operand(k, a), _operand(k, b)
        M, K = a.shape[-2:]
        N, threads = b.shape[-1], _Threads.number
        batch, offsets = 1, k.null
        if out.ndim > 2:
            batch = out.size // (M * N)
            offsets = k.offsets(out.shape[:-2], *[(x.shape[:-2], x.strides[:-2]) for x in (a, b, out)], out.itemsize)
        terms = self.terms[get_precision()]
        scratch = k.scratch(k.matmul_scratch(batch, M, K, N, terms, threads))
        k.matmul(a_at, b_at, k.p(out), batch, offsets, M, K, N, a_row, a_col, b_row, b_col, terms, scratch, threads)

    matmul.is_native = True  # type: ignore[attr-defined]

    @kernel("out")
    def linear(self, k: Any, x: Array, weight: Array, bias: Array | None, relu: bool, out: Array) -> None:
        if not out.size:
            return
        terms, threads = self.terms[get_precision()], _Threads.number
        (N, I), O = x.shape, len(weight)
        scratch = k.scratch(k.linear_scratch(N, I, O, terms, threads))
        k.linear(k.p(x), k.p(weight), k.p(bias), k.p(out), N, I, O, relu, terms, scratch, threads)

    # Convolution

    @kernel("out")
    def im2col(self, k: Any, x: Array, geometry: sizes.Conv2d, out: Array) -> None:
        g = _sized(geometry, x)
        k.im2col(k.p(x), k.conv2d_geometry(g), k.p(out), _Threads.number)

    @kernel("out")
    def col2im(self, k: Any, columns: Array, geometry: sizes.Conv2d, out: Array) -> None:
        g = _sized(geometry, out)
        k.col2im(k.p(columns), k.conv2d_geometry(g), k.p(out), _Threads.number)

    @kernel("out")
    def conv2d(
        self, k: Any, x: Array, weight: Array, bias: Array | None, geometry: sizes.Conv2d, relu: bool, out: Array
    ) -> None:
        if not out.size:
            return
        (tile, terms), threads = self._tile_and_terms(), _Threads.number
        run, room = k.conv2d_way("conv2d", geometry, tile, terms, threads)
        run(
            k.p(x), k.p(weight), k.p(bias), k.conv2d_geometry(geometry), relu, k.p(out), terms, k.scratch(room), threads
        )

    @kernel("out")
    def conv2d_input_grad(self, k: Any, dy: Array, weight: Array, geometry: sizes.Conv2d, out: Array) -> None:
        if not out.size:
            return
        (tile, terms), threads = self._tile_and_terms(), _Threads.number
        if not k.all_finite(k.p(weight), weight.size, threads):
            return Reference.conv2d_input_grad(self, dy, weight, geometry, out)
        run, room = k.conv2d_way("conv2d_input_grad", geometry, tile, terms, threads)
        run(k.p(dy), k.p(weight), k.conv2d_geometry(geometry), k.p(out), terms, k.scratch(room), threads)

    @kernel("out")
    def conv2d_weight_grad(self, k: Any, dy: Array, x: Array, geometry: sizes.Conv2d, out: Array) -> None:
        (tile, terms), threads = self._tile_and_terms(), _Threads.number
        run, room = k.conv2d_way("conv2d_weight_grad", geometry, tile, terms, threads)
        run(k.p(dy), k.p(x), k.conv2d_geometry(geometry), k.p(out), terms, k.scratch(room), threads)

    @kernel("out")
    def channel_sum(self, k: Any, dy: Array, out: Array) -> None:
        k.channel_sum(k.p(dy), dy.shape[0], dy.shape[1], _pixels(dy), k.p(out), _Threads.number)

    # Pooling

    @kernel("out", "indices", others=("indices",))
    def max_pool2d(self, k: Any, x: Array, geometry: sizes.Pool2d, out: Array, indices: Array) -> None:
        if indices.dtype != np.int32:
            return Reference.max_pool2d(self, x, geometry, out, indices)
        k.max_pool2d(k.p(x), k.pool2d_geometry(geometry), k.p(out), k.int32(indices), _Threads.number)

    @kernel("out", others=("indices",))
    def max_pool2d_grad(self, k: Any, dy: Array, indices: Array, geometry: sizes.Pool2d, out: Array) -> None:
        k.max_pool2d_grad(k.p(dy), k.int32(indices), k.pool2d_geometry(geometry), k.p(out), _Threads.number)

    @kernel("out", others=("indices",))
    def max_pool2d_gather(self, k: Any, x: Array, indices: Array, geometry: sizes.Pool2d, out: Array) -> None:
        k.max_pool2d_gather(k.p(x), k.int32(indices), k.pool2d_geometry(geometry), k.p(out), _Threads.number)

    @kernel("out")
    def avg_pool2d(self, k: Any, x: Array, geometry: sizes.Pool2d, out: Array) -> None:
        k.avg_pool2d(k.p(x), k.pool2d_geometry(geometry), k.p(out), _Threads.number)

    @kernel("out")
    def avg_pool2d_grad(self, k: Any, dy: Array, geometry: sizes.Pool2d, out: Array) -> None:
        k.avg_pool2d_grad(k.p(dy), k.pool2d_geometry(geometry), k.p(out), _Threads.number)

    @kernel("out")
    def adaptive_avg_pool2d(self, k: Any, x: Array, out: Array) -> None:
        planes = x.shape[0] * x.shape[1]
        k.adaptive_avg_pool2d(k.p(x), planes, *x.shape[2:], *out.shape[2:], k.p(out), _Threads.number)

    @kernel("out")
    def adaptive_avg_pool2d_grad(self, k: Any, dy: Array, out: Array) -> None:
        planes = out.shape[0] * out.shape[1]
        k.adaptive_avg_pool2d_grad(k.p(dy), planes, *out.shape[2:], *dy.shape[2:], k.p(out), _Threads.number)

    # Normalisation

    @kernel("out", "invstd", images=("x", "residual", "out"))
    def batch_norm(
        self, k: Any, x: Array, scale: Array, shift: Array, mean: Array, var: Array, eps: float, residual: Array | None,
        relu: bool, out: Array, invstd: Array,
    ) -> None:  # fmt: skip
        k.batch_norm(
            k.images(x), k.p(scale), k.p(shift), k.p(mean), k.p(var), k.images(residual), _layout(k, x, residual, out), relu,
            eps, k.images(out), k.p(invstd), _Threads.number,
        )  # fmt: skip

    @kernel("out", "mean", "invstd", "running_mean", "running_var", images=("x", "residual", "out"))
    def batch_norm_training(
        self, k: Any, x: Array, scale: Array, shift: Array, residual: Array | None, running_mean: Array | None,
        running_var: Array | None, momentum: float, eps: float, relu: bool, out: Array, mean: Array, invstd: Array,
    ) -> None:  # fmt: skip
        k.batch_norm_training(
            k.images(x), k.p(scale), k.p(shift), k.images(residual), _layout(k, x, residual, out), relu, eps, momentum,
            k.images(out), k.p(mean), k.p(invstd), k.changed(running_mean), k.changed(running_var), _Threads.number,
        )  # fmt: skip

    @kernel("dx", "dresidual", "dscale", "dshift", images=("dy", "x", "y", "dx", "dresidual"))
    def batch_norm_grad(
        self, k: Any, dy: Array, x: Array, y: Array | None, scale: Array, shift: Array, mean: Array, invstd: Array,
        relu: bool, training: bool, dx: Array | None, dresidual: Array | None, dscale: Array, dshift: Array,
    ) -> None:  # fmt: skip
        k.batch_norm_grad(
            k.images(dy), k.images(x), k.images(y), k.p(scale), k.p(shift), k.p(mean), k.p(invstd),
            _layout(k, x, None, y, dy, dx, dresidual), relu, training, k.images(dx), k.images(dresidual), k.p(dscale),
            k.p(dshift), _Threads.number,
        )  # fmt: skip

    @kernel("out", "scale")
    def local_response_norm(
        self, k_: Any, x: Array, size: int, alpha: float, beta: float, k: float, out: Array, scale: Array
    ) -> None:
        N, channels = x.shape[:2]
        k_.local_response_norm(
            k_.p(x), N, channels, _pixels(x), size, alpha, beta, k, k_.p(out), k_.p(scale), _Threads.number
        )

    @kernel("out")
    def local_response_norm_grad(
        self, k: Any, dy: Array, x: Array, scale: Array, size: int, alpha: float, beta: float, out: Array
    ) -> None:
        (N, channels), threads = x.shape[:2], _Threads.number
        scratch = k.scratch(k.local_response_norm_grad_scratch(channels, threads))
        k.local_response_norm_grad(
            k.p(dy), k.p(x), k.p(scale), N, channels, _pixels(x), size, alpha, beta, k.p(out), scratch, threads
        )

    # Losses

    @kernel("out")
    def log_softmax(self, k: Any, x: Array, out: Array) -> None:
        if x.size:
            k.log_softmax(k.p(x), x.size // x.shape[-1], x.shape[-1], k.p(out), _Threads.number)

    @kernel("out", "probabilities", others=("labels",))
    def cross_entropy(
        self, k: Any, logits: Array, labels: Array, weights: Array | None, smoothing: float, ignore: int,
        out: Array, probabilities: Array,
    ) -> None:  # fmt: skip
        if not logits.size:
            return Reference.cross_entropy(self, logits, labels, weights, smoothing, ignore, out, probabilities)
        labels = k.int64(labels)
        k.cross_entropy(
            k.p(logits), labels, k.p(weights), smoothing, ignore, *logits.shape, k.p(out), k.p(probabilities),
            _Threads.number,
        )  # fmt: skip

    @kernel("out", others=("labels",))
    def cross_entropy_grad(
        self, k: Any, dloss: Array, probabilities: Array, labels: Array, weights: Array | None, smoothing: float,
        ignore: int, out: Array,
    ) -> None:  # fmt: skip
        if not out.size:
            return
        labels = k.int64(labels)
        k.cross_entropy_grad(
            k.p(dloss), k.p(probabilities), labels, k.p(weights), smoothing, ignore, *out.shape, k.p(out),
            _Threads.number,
        )  # fmt: skip

    # Optimiser steps

    @kernel("w", "v")
    def sgd(
        self, k: Any, w: Array, g: Array, v: Array | None, lr: float, momentum: float, weight_decay: float,
        nesterov: bool,
    ) -> None:  # fmt: skip
        k.sgd(k.p(w), k.p(g), k.p(v), lr, momentum, weight_decay, nesterov, w.size, _Threads.number)

    @kernel("w", "m", "v")
    def adam(
        self, k: Any, w: Array, g: Array, m: Array, v: Array, lr: float, beta1: float, beta2: float, eps: float,
        weight_decay: float, decoupled: bool, step: int,
    ) -> None:  # fmt: skip
        k.adam(
            k.p(w), k.p(g), k.p(m), k.p(v), lr, beta1, beta2, eps, weight_decay, decoupled, step, w.size,
            _Threads.number,
        )  # fmt: skip


def _layout(
    k: Any, x: Array, residual: Array | None, y: Array | None, dy: Array | None = None, dx: Array | None = None,
    dresidual: Array | None = None,
) -> Any:  # fmt: skip
    """Sizes and the steps from image to image, for batch normalisation."""
    steps = [0 if a is None else a.strides[0] // a.itemsize for a in (x, residual, y, dy, dx, dresidual)]
    return k.batch_norm_layout(x.shape[0], x.shape[1], _pixels(x), *steps)


def _sized(g: sizes.Conv2d, images: Array) -> sizes.Conv2d:
    """The geometry for as many images as there are: the reference passes chunks of a batch."""
    if g.N == len(images):
        return g
    return sizes.Conv2d(len(images), g.C, g.H, g.W, g.K, g.R, g.S, g.P, g.Q, g.G, g.stride, g.padding, g.dilation)


def _on_grid(x: Array) -> Array:
    """x, or a copy where its strides are not whole numbers of elements."""
    flags = x.flags
    if flags.aligned and (flags.forc or not any([stride % x.itemsize for stride in x.strides])):
        return x
    return x.copy()


def _operand(k: Any, x: Array) -> tuple[Any, int, int]:
    """Where the first element of x lies, and the steps, in elements, to the next row and the next column."""
    flags, (row, column), size = x.flags, x.strides[-2:], x.itemsize
    at = k.p(x) if flags.c_contiguous else k.p(x.T) if flags.f_contiguous else k.strided(x)
    return at, row // size, column // size


_lock = threading.Lock()
_loaded: list[C] = []


def load() -> C:
    """The C backend. Raises BackendError, with the reason and the remedy, where it cannot be had."""
    with _lock:
        if not _loaded:
            _loaded.append(C(choose()))
        return _loaded[0]


def build_info() -> dict[str, Any]:
    """What was built and what is in use: compiler, openmp (its version or 0), isas, isa, terms, threads. Raises BackendError.

    terms: for each precision how many products of bfloat16 numbers make up one of float32 numbers; 0: none.
    """
    c = load()
    lib = c.module.lib
    return {
        "compiler": c.module.ffi.string(lib.minicnn_compiler()).decode(),
        "openmp": int(lib.minicnn_openmp()),
        "isas": built(),
        "isa": c.level,
        "terms": dict(c.terms),
        "threads": get_num_threads() if lib.minicnn_openmp() else 1,
    }
