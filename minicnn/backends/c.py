"""The C backend: the kernels of `kernels/minicnn.h` behind the methods of `Reference`, which it inherits the rest from.

Each method checks nothing: the op has. It sees to what C cannot: arrays that are not contiguous are copied, other dtypes
than float32 and float64 go to the reference, scratch memory comes from the pool.
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
import inspect
import os
import threading
from collections.abc import Callable
from typing import Any

import numpy as np

from .. import geometry as sizes
from ..errors import BackendError
from ..random import Key
from . import pool
from .reference import Array, Reference

LEVELS = ("generic", "avx2", "avx512")
"""The instruction sets, lowest first; module `_c` is generic, `_c_avx2` and `_c_avx512` the others."""

REMEDY = """install a C compiler (Debian, Ubuntu: apt install gcc; Fedora: dnf install gcc; macOS: xcode-select --install; \
Windows: conda install -c conda-forge clang, then set CC=clang) and, in the source tree, run: pip install -e ."""


def _default_threads() -> int:
    """OMP_NUM_THREADS where it is set, else as many as this process may use processors."""
    wanted = os.environ.get("OMP_NUM_THREADS", "").split(",")[0].strip()
    if wanted.isdigit() and int(wanted) > 0:
        return int(wanted)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class _Threads:
    number = _default_threads()


def set_num_threads(n: int) -> None:
    """Compute with at most `n` threads."""
    _Threads.number = n


def get_num_threads() -> int:
    return _Threads.number


def _module(level: str) -> Any:
    name = "_c" if level == "generic" else f"_c_{level}"
    return importlib.import_module(f"minicnn_kernels.{name}")


def _built() -> list[str]:
    built = []
    for level in LEVELS:
        if importlib.util.find_spec("minicnn_kernels") and importlib.util.find_spec(
            f"minicnn_kernels.{'_c' if level == 'generic' else '_c_' + level}"
        ):
            built.append(level)
    return built


def _choose() -> str:
    """The instruction set to compute with. Raises BackendError."""
    try:
        highest = LEVELS[_module("generic").lib.minicnn_cpu_level()]
    except ImportError as error:
        raise BackendError(f"backend c: the C kernels are not built ({error}): {REMEDY}") from None
    built = [level for level in _built() if LEVELS.index(level) <= LEVELS.index(highest)]
    wanted = os.environ.get("MINICNN_ISA", "")
    if not wanted:
        return built[-1]
    if wanted not in LEVELS:
        raise BackendError(f"MINICNN_ISA is {wanted!r}: it must be one of {', '.join(LEVELS)}")
    if wanted not in built:
        reason = "was not built" if wanted not in _built() else "is not supported by this processor"
        raise BackendError(f"MINICNN_ISA is {wanted!r}, which {reason}: possible here: {', '.join(built)}")
    return wanted


class _Kernels:
    """The kernels for one dtype, without their suffix, and how arrays are handed to them."""

    def __init__(self, module: Any, dtype: np.dtype, suffix: str, pointer: str) -> None:
        self.dtype = dtype
        self.ffi = module.ffi
        for name in dir(module.lib):
            if name.endswith(suffix):
                setattr(self, name[: -len(suffix)], getattr(module.lib, name))
        array, number, index = (module.ffi.typeof(text) for text in (f"{pointer}[]", f"{pointer} *", "int64_t[]"))
        null, from_buffer, cast = module.ffi.NULL, module.ffi.from_buffer, module.ffi.cast
        int32 = module.ffi.typeof("int32_t[]")
        byte = module.ffi.typeof("char[]")

        self.p = lambda x: null if x is None else from_buffer(array, x)
        self.strided = lambda x: cast(number, x.__array_interface__["data"][0])
        self.int64 = lambda x: from_buffer(index, x)
        self.int32 = lambda x: from_buffer(int32, x)
        self.null = null

        def scratch(size: int) -> Any:
            return from_buffer(byte, pool.empty((max(size, pool.SMALL),), np.uint8))

        self.scratch = scratch

        def conv_taps(g: sizes.Conv2d) -> Any:
            return module.ffi.new("int64_t[]", g.R + g.S + g.R * g.S)

        @functools.lru_cache(maxsize=4096)
        def conv2d(g: sizes.Conv2d) -> Any:
            return module.ffi.new(
                "conv2d_geometry *",
                (g.N, g.C, g.H, g.W, g.K, g.R, g.S, g.P, g.Q, g.G, *g.stride, g.padding[0], g.padding[2], *g.dilation),
            )

        @functools.lru_cache(maxsize=4096)
        def pool2d(g: sizes.Pool2d) -> Any:
            return module.ffi.new(
                "pool2d_geometry *",
                (g.N, g.C, g.H, g.W, g.R, g.S, g.P, g.Q, *g.stride, *g.padding, int(g.count_include_pad)),
            )

        @functools.lru_cache(maxsize=4096)
        def conv_scratch(g: sizes.Conv2d, kernel: str, threads: int) -> int:
            size = getattr(self, kernel + "_scratch")
            if kernel == "conv2d_weight_grad":
                return size(conv2d(g), threads)
            return size(conv2d(g), conv_taps(g), threads)

        @functools.lru_cache(maxsize=4096)
        def offsets(*operands: tuple[sizes.Shape, sizes.Shape]) -> Any:
            """The offsets, in numbers, of the members of a batch in each operand, given by shape and strides of the batch."""
            shape = np.broadcast_shapes(*(shape for shape, _ in operands))
            table = np.zeros((*shape, len(operands)), np.int64)
            for i, (own, strides) in enumerate(operands):
                new = len(shape) - len(own)
                for axis, (size, stride) in enumerate(zip(own, strides)):
                    if size > 1:
                        places = np.arange(size) * stride
                        table[..., i] += places.reshape(-1, *(1,) * (len(shape) - new - axis - 1))
            return module.ffi.new("int64_t[]", table.reshape(-1).tolist())

        self.conv2d_geometry, self.pool2d_geometry = conv2d, pool2d
        self.conv_scratch, self.offsets = conv_scratch, offsets


def _ready(x: Array, dtype: Any) -> Array:
    """x itself where C can read it, else a contiguous copy."""
    flags = x.flags
    if flags.c_contiguous and flags.aligned and x.dtype == dtype:
        return x
    return np.require(x, dtype, ["C", "A", "O"] if flags.c_contiguous else ["C", "A"])


NATIVE: set[str] = set()


def native(*outputs: str, others: tuple[str, ...] = ()) -> Callable[[Callable[..., None]], Any]:
    """Make a method of C from a function (self, k, *arguments): it is called with the kernels `k` of the arrays' dtype,
    arrays contiguous, `outputs` written back. `others` have dtypes of their own; the rest must share one, or the
    reference computes. Results without elements need no computing.
    """

    def decorate(function: Callable[..., None]) -> Any:
        name = function.__name__
        reference = getattr(Reference, name)
        names = list(inspect.signature(function).parameters)[2:]
        written = [names.index(output) for output in outputs]
        reals = [i for i, parameter in enumerate(names) if parameter not in others]
        NATIVE.add(name)

        @functools.wraps(reference)
        def method(self: C, *args: Any, **kwargs: Any) -> None:
            if kwargs:
                args += tuple([kwargs[parameter] for parameter in names[len(args) :]])
            dtype = args[0].dtype
            k = self.kernels.get(dtype)
            if k is None:
                return reference(self, *args)
            copied = None
            for i in reals:
                array = args[i]
                if type(array) is np.ndarray:
                    if array.dtype is not dtype and array.dtype != dtype:
                        return reference(self, *args)
                    flags = array.flags
                    if not (flags.c_contiguous and flags.aligned):
                        if copied is None:
                            copied = list(args)
                        copied[i] = np.array(array, order="C")
            for i in written:
                array = args[i]
                if array is not None and i not in reals and not array.flags.c_contiguous:
                    copied = copied or list(args)
                    copied[i] = np.array(array, order="C")
            if copied is None:
                return function(self, k, *args)
            function(self, k, *copied)
            for i in written:
                if copied[i] is not args[i]:
                    np.copyto(args[i], copied[i])
            return None

        return method

    return decorate


def _pixels(x: Array) -> int:
    """Numbers of a map of x (N, C, ...)."""
    size = 1
    for length in x.shape[2:]:
        size *= length
    return size


class C(Reference):
    """Native kernels on the CPU."""

    name = "c"
    native: frozenset[str]

    def __init__(self, level: str) -> None:
        super().__init__(np)
        self.level = level
        module = _module(level)
        self.lib, self.ffi = module.lib, module.ffi
        self.kernels = {
            np.dtype(np.float32): _Kernels(module, np.dtype(np.float32), "_f32", "float"),
            np.dtype(np.float64): _Kernels(module, np.dtype(np.float64), "_f64", "double"),
        }

    # Element by element

    @native("out")
    def relu(self, k: Any, x: Array, out: Array) -> None:
        if x.shape != out.shape:
            return Reference.relu(self, x, out)
        k.relu(k.p(x), k.p(out), x.size, _Threads.number)

    @native("out")
    def relu_grad(self, k: Any, dy: Array, y: Array, out: Array) -> None:
        k.relu_grad(k.p(dy), k.p(y), k.p(out), y.size, _Threads.number)

    @native("out")
    def dropout(self, k: Any, x: Array, p: float, key: Key, out: Array) -> None:
        k.dropout(k.p(x), 1 / (1 - p), round(p * 2**32), *key, k.p(out), x.size, _Threads.number)

    # Matrix products

    def matmul(self, a: Array, b: Array, out: Array) -> None:
        k = self.kernels.get(out.dtype)
        if k is None or a.dtype != out.dtype or b.dtype != out.dtype or a.ndim < 2 or b.ndim < 2:
            return super().matmul(a, b, out)
        if not (out.flags.c_contiguous and out.flags.aligned):
            whole = np.empty(out.shape, out.dtype)
            self.matmul(a, b, whole)
            np.copyto(out, whole)
            return None
        if not out.size:
            return None
        a, b = _on_grid(a), _on_grid(b)
        size, threads = out.itemsize, _Threads.number
        M, K = a.shape[-2:]
        N = b.shape[-1]
        if out.ndim == 2:
            batch, offsets = 1, k.null
        else:
            batch = out.size // (M * N)
            steps = [tuple([s // size for s in x.strides[:-2]]) for x in (a, b, out)]
            offsets = k.offsets(*zip((a.shape[:-2], b.shape[:-2], out.shape[:-2]), steps))
        a_row, a_col, b_row, b_col = (*a.strides[-2:], *b.strides[-2:])
        k.matmul(
            k.strided(a), k.strided(b), k.strided(out), batch, offsets, M, K, N, a_row // size, a_col // size, b_row // size,
            b_col // size, k.scratch(k.matmul_scratch(batch, M, K, N, threads)), threads,
        )  # fmt: skip
        return None

    NATIVE.add("matmul")

    @native("out")
    def linear(self, k: Any, x: Array, weight: Array, bias: Array | None, relu: bool, out: Array) -> None:
        if not out.size:
            return
        threads = _Threads.number
        (N, I), O = x.shape, len(weight)
        scratch = k.scratch(k.linear_scratch(N, I, O, threads))
        k.linear(k.p(x), k.p(weight), k.p(bias), k.p(out), N, I, O, relu, scratch, threads)

    # Convolution

    @native("out")
    def im2col(self, k: Any, x: Array, geometry: sizes.Conv2d, out: Array) -> None:
        g = _sized(geometry, x)
        k.im2col(k.p(x), k.conv2d_geometry(g), k.p(out), _Threads.number)

    @native("out")
    def col2im(self, k: Any, columns: Array, geometry: sizes.Conv2d, out: Array) -> None:
        g = _sized(geometry, out)
        k.col2im(k.p(columns), k.conv2d_geometry(g), k.p(out), _Threads.number)

    @native("out")
    def conv2d(
        self, k: Any, x: Array, weight: Array, bias: Array | None, geometry: sizes.Conv2d, relu: bool, out: Array
    ) -> None:
        if not out.size:
            return
        threads = _Threads.number
        scratch = k.scratch(k.conv_scratch(geometry, "conv2d", threads))
        k.conv2d(k.p(x), k.p(weight), k.p(bias), k.conv2d_geometry(geometry), relu, k.p(out), scratch, threads)

    @native("out")
    def conv2d_input_grad(self, k: Any, dy: Array, weight: Array, geometry: sizes.Conv2d, out: Array) -> None:
        if not out.size:
            return
        threads = _Threads.number
        scratch = k.scratch(k.conv_scratch(geometry, "conv2d_input_grad", threads))
        k.conv2d_input_grad(k.p(dy), k.p(weight), k.conv2d_geometry(geometry), k.p(out), scratch, threads)

    @native("out")
    def conv2d_weight_grad(self, k: Any, dy: Array, x: Array, geometry: sizes.Conv2d, out: Array) -> None:
        threads = _Threads.number
        scratch = k.scratch(k.conv_scratch(geometry, "conv2d_weight_grad", threads))
        k.conv2d_weight_grad(k.p(dy), k.p(x), k.conv2d_geometry(geometry), k.p(out), scratch, threads)

    @native("out")
    def channel_sum(self, k: Any, dy: Array, out: Array) -> None:
        k.channel_sum(k.p(dy), dy.shape[0], dy.shape[1], _pixels(dy), k.p(out), _Threads.number)

    # Pooling

    @native("out", "indices", others=("indices",))
    def max_pool2d(self, k: Any, x: Array, geometry: sizes.Pool2d, out: Array, indices: Array) -> None:
        if indices.dtype != np.int32:
            return Reference.max_pool2d(self, x, geometry, out, indices)
        k.max_pool2d(k.p(x), k.pool2d_geometry(geometry), k.p(out), k.int32(indices), _Threads.number)

    @native("out", others=("indices",))
    def max_pool2d_grad(self, k: Any, dy: Array, indices: Array, geometry: sizes.Pool2d, out: Array) -> None:
        indices = _ready(indices, np.int32)
        k.max_pool2d_grad(k.p(dy), k.int32(indices), k.pool2d_geometry(geometry), k.p(out), _Threads.number)

    @native("out", others=("indices",))
    def max_pool2d_gather(self, k: Any, x: Array, indices: Array, geometry: sizes.Pool2d, out: Array) -> None:
        indices = _ready(indices, np.int32)
        k.max_pool2d_gather(k.p(x), k.int32(indices), k.pool2d_geometry(geometry), k.p(out), _Threads.number)

    @native("out")
    def avg_pool2d(self, k: Any, x: Array, geometry: sizes.Pool2d, out: Array) -> None:
        k.avg_pool2d(k.p(x), k.pool2d_geometry(geometry), k.p(out), _Threads.number)

    @native("out")
    def avg_pool2d_grad(self, k: Any, dy: Array, geometry: sizes.Pool2d, out: Array) -> None:
        k.avg_pool2d_grad(k.p(dy), k.pool2d_geometry(geometry), k.p(out), _Threads.number)

    # Normalisation

    @native("mean", "var")
    def batch_norm_statistics(self, k: Any, x: Array, mean: Array, var: Array) -> None:
        N, channels = x.shape[:2]
        k.batch_norm_statistics(k.p(x), N, channels, _pixels(x), k.p(mean), k.p(var), _Threads.number)

    @native("out")
    def batch_norm(
        self, k: Any, x: Array, scale: Array, shift: Array, mean: Array, invstd: Array, residual: Array | None, relu: bool,
        out: Array,
    ) -> None:  # fmt: skip
        N, channels = x.shape[:2]
        k.batch_norm(
            k.p(x), k.p(scale), k.p(shift), k.p(mean), k.p(invstd), k.p(residual), relu, N, channels, _pixels(x), k.p(out),
            _Threads.number,
        )  # fmt: skip

    @native("dx", "dscale", "dshift")
    def batch_norm_grad(
        self, k: Any, dy: Array, x: Array, scale: Array, mean: Array, invstd: Array, training: bool,
        dx: Array | None, dscale: Array, dshift: Array,
    ) -> None:  # fmt: skip
        N, channels = x.shape[:2]
        k.batch_norm_grad(
            k.p(dy), k.p(x), k.p(scale), k.p(mean), k.p(invstd), training, N, channels, _pixels(x), k.p(dx), k.p(dscale),
            k.p(dshift), _Threads.number,
        )  # fmt: skip

    @native("out", "scale")
    def local_response_norm(
        self, k_: Any, x: Array, size: int, alpha: float, beta: float, k: float, out: Array, scale: Array
    ) -> None:
        N, channels = x.shape[:2]
        k_.local_response_norm(
            k_.p(x), N, channels, _pixels(x), size, alpha, beta, k, k_.p(out), k_.p(scale), _Threads.number
        )

    @native("out")
    def local_response_norm_grad(
        self, k: Any, dy: Array, x: Array, scale: Array, size: int, alpha: float, beta: float, out: Array
    ) -> None:
        (N, channels), threads = x.shape[:2], _Threads.number
        scratch = k.scratch(k.local_response_norm_grad_scratch(channels, threads))
        k.local_response_norm_grad(
            k.p(dy), k.p(x), k.p(scale), N, channels, _pixels(x), size, alpha, beta, k.p(out), scratch, threads
        )

    # Losses

    @native("out")
    def log_softmax(self, k: Any, x: Array, out: Array) -> None:
        if x.size:
            k.log_softmax(k.p(x), x.size // x.shape[-1], x.shape[-1], k.p(out), _Threads.number)

    @native("out", "probabilities", others=("labels",))
    def cross_entropy(
        self, k: Any, logits: Array, labels: Array, weights: Array | None, smoothing: float, ignore: int,
        out: Array, probabilities: Array,
    ) -> None:  # fmt: skip
        if not logits.size:
            return Reference.cross_entropy(self, logits, labels, weights, smoothing, ignore, out, probabilities)
        labels = k.int64(_ready(labels, np.int64))
        k.cross_entropy(
            k.p(logits), labels, k.p(weights), smoothing, ignore, *logits.shape, k.p(out), k.p(probabilities),
            _Threads.number,
        )  # fmt: skip

    @native("out", others=("labels",))
    def cross_entropy_grad(
        self, k: Any, dloss: Array, probabilities: Array, labels: Array, weights: Array | None, smoothing: float,
        ignore: int, out: Array,
    ) -> None:  # fmt: skip
        if not out.size:
            return
        labels = k.int64(_ready(labels, np.int64))
        k.cross_entropy_grad(
            k.p(dloss), k.p(probabilities), labels, k.p(weights), smoothing, ignore, *out.shape, k.p(out), _Threads.number
        )

    # Optimiser steps

    @native("w", "v")
    def sgd(
        self, k: Any, w: Array, g: Array, v: Array | None, lr: float, momentum: float, weight_decay: float, nesterov: bool
    ) -> None:
        k.sgd(k.p(w), k.p(g), k.p(v), lr, momentum, weight_decay, nesterov, w.size, _Threads.number)

    @native("w", "m", "v")
    def adam(
        self, k: Any, w: Array, g: Array, m: Array, v: Array, lr: float, beta1: float, beta2: float, eps: float,
        weight_decay: float, decoupled: bool, step: int,
    ) -> None:  # fmt: skip
        k.adam(
            k.p(w), k.p(g), k.p(m), k.p(v), lr, beta1, beta2, eps, weight_decay, decoupled, step, w.size, _Threads.number
        )


C.native = frozenset(NATIVE)


def _sized(g: sizes.Conv2d, images: Array) -> sizes.Conv2d:
    """The geometry for as many images as there are: the reference passes chunks of a batch."""
    if g.N == len(images):
        return g
    return sizes.Conv2d(len(images), g.C, g.H, g.W, g.K, g.R, g.S, g.P, g.Q, g.G, g.stride, g.padding, g.dilation)


def _on_grid(x: Array) -> Array:
    """x, or a copy where its strides are not whole numbers of elements."""
    size = x.itemsize
    if x.flags.aligned and all(stride % size == 0 for stride in x.strides):
        return x
    return np.require(x.copy(), None, ["C", "A"])


_lock = threading.Lock()
_loaded: list[C] = []


def load() -> C:
    """The C backend. Raises BackendError, with the reason and the remedy, where it cannot be had."""
    with _lock:
        if not _loaded:
            _loaded.append(C(_choose()))
        return _loaded[0]


def build_info() -> dict[str, Any]:
    """What was built and what is in use: compiler, openmp (its version or 0), isas, isa, threads. Raises BackendError."""
    c = load()
    return {
        "compiler": c.ffi.string(c.lib.minicnn_compiler()).decode(),
        "openmp": int(c.lib.minicnn_openmp()),
        "isas": _built(),
        "isa": c.level,
        "threads": get_num_threads() if c.lib.minicnn_openmp() else 1,
    }
