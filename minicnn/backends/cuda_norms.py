"""Normalisation, losses, optimiser steps and augmentation on CUDA: the part of `Cuda` for all that memory limits.

A sum over a channel takes two launches: many blocks add up a part each, then each block of the next kernel adds up
the parts of its channel, in their order.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..geometry import Shape
from .launch import BLOCKS, SUFFIXES, THREADS, kernel
from .reference import Array, Reference

FILL = 16 * 132
"""Blocks that fill a large device (an H200 has 132 multiprocessors) a few times over: it is never idle for long."""
LEAST = 2048
"""Numbers that are worth a block."""
RUN = 8
"""As in norm.cu."""
STRETCH = 16384
"""Numbers of a parameter that one block of an optimiser's step takes."""


class Norms:
    """The kernels of `Cuda` for normalisation, losses, optimisers and augmentation; it launches them."""

    xp: Any
    empty: Callable[[Shape, Any], Array]
    launch: Callable[..., None]
    on_device: Callable[[tuple[int, ...]], Array]

    # Sums over channels

    @kernel("out")
    def channel_sum(self, dy: Array, out: Array) -> None:
        N, K, L = _shape(dy)
        parts = _parts(K, N * L)
        sums = self.empty((K, parts), np.float64)
        self.launch("channel_sum", dy, 0, dy, N, K, L, out, sums, grid=(K * parts,))
        if parts > 1:
            self.launch("channel_total", dy, 0, sums, parts, out, grid=(K,))

    @kernel("out", "sums")
    def relu_grad_sum(self, dy: Array, y: Array, out: Array, sums: Array) -> None:
        N, K, L = _shape(y)
        parts = _parts(K, N * L)
        some = self.empty((K, parts), np.float64)
        self.launch("relu_grad_sum", dy, 0, dy, y, N, K, L, out, sums, some, grid=(K * parts,))
        if parts > 1:
            self.launch("channel_total", dy, 0, some, parts, sums, grid=(K,))

    # Normalisation

    @kernel("out", "invstd", images=("x", "residual", "out"))
    def batch_norm(
        self, x: Array, scale: Array, shift: Array, mean: Array, var: Array, eps: float, residual: Array | None,
        relu: bool, out: Array, invstd: Array,
    ) -> None:  # fmt: skip
        N, C, L = _shape(x)
        layout = self._layout(x, residual, out)
        self.launch(
            "batch_norm", x, 0,
            x, scale, shift, mean, var, residual, layout, relu, float(eps), out, invstd, grid=(C * _parts(C, N * L),),
        )  # fmt: skip

    @kernel("out", "mean", "invstd", "running_mean", "running_var", images=("x", "residual", "out"))
    def batch_norm_training(
        self, x: Array, scale: Array, shift: Array, residual: Array | None, running_mean: Array | None,
        running_var: Array | None, momentum: float, eps: float, relu: bool, out: Array, mean: Array, invstd: Array,
    ) -> None:  # fmt: skip
        N, C, L = _shape(x)
        parts, layout = _parts(C, N * L), self._layout(x, residual, out)
        sums = self.empty((C, 2 * parts + 1), np.float64)
        self.launch("batch_norm_spread", x, 0, x, layout, sums, grid=(C * parts,))
        self.launch(
            "batch_norm_training", x, 0,
            x, scale, shift, residual, layout, relu, float(eps), float(momentum), out, mean, invstd,
            running_mean, running_var, sums, parts, grid=(C * parts,),
        )  # fmt: skip

    @kernel("dx", "dresidual", "dscale", "dshift", images=("dy", "x", "y", "dx", "dresidual"))
    def batch_norm_grad(
        self, dy: Array, x: Array, y: Array | None, scale: Array, shift: Array, mean: Array, invstd: Array,
        relu: bool, training: bool, dx: Array | None, dresidual: Array | None, dscale: Array, dshift: Array,
    ) -> None:  # fmt: skip
        N, C, L = _shape(x)
        parts, layout = _parts(C, N * L), self._layout(x, None, y, dy, dx, dresidual)
        sums = self.empty((C, parts, 2), np.float64)
        given = (dy, x, y, scale, shift, mean, invstd, layout, relu)
        self.launch("batch_norm_grad_sums", x, 0, *given, dresidual, sums, grid=(C * parts,))
        blocks = 1 if dx is None else parts
        self.launch(
            "batch_norm_grad", x, 0, *given, training, dx, dresidual, dscale, dshift, sums, parts, grid=(C * blocks,)
        )

    def _layout(
        self, x: Array, residual: Array | None, y: Array | None, dy: Array | None = None, dx: Array | None = None,
        dresidual: Array | None = None,
    ) -> Array:  # fmt: skip
        """Sizes and the steps from image to image, for batch normalisation."""
        steps = [0 if a is None else a.strides[0] // a.itemsize for a in (x, residual, y, dy, dx, dresidual)]
        return self.on_device((*_shape(x), *steps))

    @kernel("out", "scale")
    def local_response_norm(
        self, x: Array, size: int, alpha: float, beta: float, k: float, out: Array, scale: Array
    ) -> None:
        N, C, L = _shape(x)
        self.launch(
            "local_response_norm", x, N * -(-C // RUN) * L,
            x, N, C, L, int(size), float(alpha), float(beta), float(k), out, scale,
        )  # fmt: skip

    @kernel("out")
    def local_response_norm_grad(
        self, dy: Array, x: Array, scale: Array, size: int, alpha: float, beta: float, out: Array
    ) -> None:
        N, C, L = _shape(x)
        self.launch(
            "local_response_norm_grad", x, N * -(-C // RUN) * L,
            dy, x, scale, N, C, L, int(size), float(alpha), float(beta), out,
        )  # fmt: skip

    # Losses

    @kernel("out")
    def log_softmax(self, x: Array, out: Array) -> None:
        C = x.shape[-1]
        N = x.size // max(1, C)
        self.launch("log_softmax", x, 0, x, N, C, out, grid=_rows(N, C))

    @kernel("out", "probabilities", others=("labels",))
    def cross_entropy(
        self, logits: Array, labels: Array, weights: Array | None, smoothing: float, ignore: int,
        out: Array, probabilities: Array,
    ) -> None:  # fmt: skip
        N, C = logits.shape
        if not C:
            out[...] = 0
        self.launch(
            "cross_entropy", logits, 0,
            logits, labels.astype(np.int64, copy=False), weights, float(smoothing), int(ignore), N, C,
            out, probabilities, grid=_rows(N, C),
        )  # fmt: skip

    @kernel("out", others=("labels",))
    def cross_entropy_grad(
        self, dloss: Array, probabilities: Array, labels: Array, weights: Array | None, smoothing: float, ignore: int,
        out: Array,
    ) -> None:  # fmt: skip
        N, C = out.shape
        self.launch(
            "cross_entropy_grad", out, 0,
            dloss, probabilities, labels.astype(np.int64, copy=False), weights, float(smoothing), int(ignore), N, C,
            out, grid=_rows(N, C),
        )  # fmt: skip

    # Optimiser steps

    @kernel("w", "v")
    def sgd(
        self, w: Array, g: Array, v: Array | None, lr: float, momentum: float, weight_decay: float, nesterov: bool
    ) -> None:
        self.launch(
            "sgd", w, _packs(w), w, g, v, float(lr), float(momentum), float(weight_decay), bool(nesterov), w.size
        )

    @kernel("w", "m", "v")
    def adam(
        self, w: Array, g: Array, m: Array, v: Array, lr: float, beta1: float, beta2: float, eps: float,
        weight_decay: float, decoupled: bool, step: int,
    ) -> None:  # fmt: skip
        self.launch(
            "adam", w, _packs(w),
            w, g, m, v, float(lr), float(beta1), float(beta2), float(eps), float(weight_decay), bool(decoupled),
            int(step), w.size,
        )  # fmt: skip

    def sgd_many(
        self, w: Sequence[Array], g: Sequence[Array], v: Sequence[Array] | None, lr: float, momentum: float,
        weight_decay: float, nesterov: bool,
    ) -> None:  # fmt: skip
        """`sgd` on each of many parameters, in one launch where they are of float32 or float64 and contiguous."""
        if not _plain(w, v):
            Reference.sgd_many(self, w, g, v, lr, momentum, weight_decay, nesterov)  # type: ignore[arg-type]
            return
        g = [self.xp.ascontiguousarray(a) for a in g]
        records = self._records(w, g, v)
        if len(records):
            self.launch(
                "sgd_many", w[0], 0,
                records, len(records), float(lr), float(momentum), float(weight_decay), bool(nesterov),
                grid=(min(len(records), BLOCKS),),
            )  # fmt: skip

    def adam_many(
        self, w: Sequence[Array], g: Sequence[Array], m: Sequence[Array], v: Sequence[Array], lr: float, beta1: float,
        beta2: float, eps: float, weight_decay: float, decoupled: bool, step: int,
    ) -> None:  # fmt: skip
        """`adam` on each of many parameters, in one launch where they are of float32 or float64 and contiguous."""
        if not _plain(w, m, v):
            Reference.adam_many(self, w, g, m, v, lr, beta1, beta2, eps, weight_decay, decoupled, step)  # type: ignore[arg-type]
            return
        g = [self.xp.ascontiguousarray(a) for a in g]
        records = self._records(w, g, m, v)
        if len(records):
            self.launch(
                "adam_many", w[0], 0,
                records, len(records), float(lr), float(beta1), float(beta2), float(eps), float(weight_decay),
                bool(decoupled), int(step), grid=(min(len(records), BLOCKS),),
            )  # fmt: skip

    def _records(self, w: Sequence[Array], *others: Sequence[Array] | None) -> Array:
        """What `sgd_many` and `adam_many` in optim.cu read: a row for each stretch of each parameter."""
        addresses = tuple([tuple([self.address(a) for a in arrays]) if arrays else None for arrays in (w, *others)])
        return self._stretches(addresses, tuple([a.size for a in w]))

    def address(self, x: Array) -> int:
        """Where an array begins in the device's memory."""
        return int(x.data.ptr)

    @functools.lru_cache(64)  # noqa: B019  there is one backend in a process
    def _stretches(self, addresses: tuple[tuple[int, ...] | None, ...], sizes: tuple[int, ...]) -> Array:
        """The arrays mostly lie where they lay a step before: then this is on the device already."""
        counts = np.array(sizes, np.int64)
        pieces = -(-counts // STRETCH)
        which = np.repeat(np.arange(len(counts)), pieces)
        first = (np.arange(len(which)) - np.repeat(np.cumsum(pieces) - pieces, pieces)) * STRETCH
        columns = [0 * first if a is None else np.array(a, np.int64)[which] for a in addresses]
        return self.xp.asarray(np.stack([*columns, first, np.minimum(STRETCH, counts[which] - first)], axis=1))

    # Augmentation

    def augment(
        self, images: Array, places: Array, slope: Array, shift: Array, fill: float, channels_last: bool, out: Array
    ) -> None:
        """Crop, mirror and normalise pictures: out (N, C, P, Q), of float32 or float64.

        images: uint8 (any number, C, H, W), or with `channels_last` (any number, H, W, C); contiguous
        places: int64 (N, 4): the picture's number, the row and the column where its P x Q crop begins, and whether it
            is mirrored left to right; outside the picture lies `fill`, 0 .. 255
        slope, shift: (C,), of out's dtype: a pixel v becomes v*slope + shift
        """
        _, *picture = images.shape
        H, W = picture[:2] if channels_last else picture[1:]
        self.launch(
            "augment", out, out.size,
            images, places, slope, shift, *out.shape[:2], H, W, *out.shape[2:], float(fill), bool(channels_last), out,
        )  # fmt: skip


def _plain(*arrays: Sequence[Array] | None) -> bool:
    """Whether all are contiguous and of float32 or float64; an optimiser passes those of one dtype together."""
    return all(a.flags.c_contiguous and a.dtype in SUFFIXES for group in arrays if group for a in group)


def _shape(x: Array) -> tuple[int, int, int]:
    """Images, channels and the numbers of a map of x (N, C, ...)."""
    return x.shape[0], x.shape[1], math.prod(x.shape[2:])


def _parts(channels: int, count: int) -> int:
    """Into how many parts each of the channels, of `count` numbers, is cut: a block for each."""
    return max(1, min(FILL // max(1, channels), count // LEAST, THREADS))


def _rows(N: int, C: int) -> tuple[int]:
    """The grid for N rows of C numbers: a row has as many threads as its length, to a power of two, or a block."""
    width = min(THREADS, 1 << max(0, C - 1).bit_length())
    return (min(-(-N // (THREADS // width)), BLOCKS) if C else 0,)


def _packs(x: Array) -> int:
    return -(-x.nbytes // 16)
