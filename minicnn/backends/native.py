"""How the C backend meets its kernels: which extension module serves, and how arrays are handed to C.

`minicnn_kernels._c` runs on any processor; `_c_avx2`, `_c_avx512`, ... hold the same kernels for newer ones.
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
import inspect
import os
from collections.abc import Callable
from typing import Any

import numpy as np

from .. import geometry as sizes
from ..errors import BackendError
from . import pool
from .reference import Array, Reference

_Batch = tuple[sizes.Shape, sizes.Shape]
"""Shape and strides, in bytes, of the leading axes of an operand."""
LEVELS = {
    "generic": "_c",
    "avx2": "_c_avx2",
    "avx512": "_c_avx512",
    "avx512_bf16": "_c_avx512_bf16",
    "amx": "_c_amx",
}
"""The instruction sets, lowest first, and the modules that were compiled for them."""

REMEDY = (
    "install a C compiler (Debian, Ubuntu: apt install gcc; Fedora: dnf install gcc; macOS: xcode-select --install) "
    "and, in the source tree, run: pip install -e . (Windows: with clang-cl, from LLVM, beside Visual Studio's build tools; "
    "or in the Linux of WSL)"
)
CONVOLUTIONS = ("conv2d", "conv2d_input_grad", "conv2d_weight_grad")
"""The kinds of `winograd_tile`, in its order."""
MOST_THREADS = 1024
"""OpenMP ends the process where the system refuses it a thread."""
OPENMP_REMEDY = (
    "install a compiler with OpenMP (macOS: brew install llvm libomp) and, in the source tree, run: pip install -e . "
    "(macOS: with CC=$(brew --prefix llvm)/bin/clang before it; on Windows one thread is all)"
)


WAITING = {"GOMP_SPINCOUNT": "5000", "KMP_BLOCKTIME": "1"}
"""How long idle OpenMP threads turn in circles (gcc: rounds, clang: ms) before they sleep. The default of gcc is several
milliseconds, in which they take the processor from the data loader, NumPy and other programs: beside two busy processes
a training step of lenet5 was up to twenty times slower with it. With 1,000 rounds they sleep between most calls: on a quiet
machine of two cores the steps of lenet5 and cifar_resnet20 take 3 % longer than with 5,000 (5.9 and 5.7 ms, 141.9 and
138.9 ms); beside two busy processes lenet5 takes 11 and 21 ms, with 20,000 rounds 43 ms."""


def module(level: str) -> Any:
    """The extension module for an instruction set. Raises ImportError."""
    # OpenMP reads the environment once, when the first module loads it. What the user has set holds.
    mine = {} if "OMP_WAIT_POLICY" in os.environ else {k: v for k, v in WAITING.items() if k not in os.environ}
    os.environ.update(mine)
    try:
        return importlib.import_module(f"minicnn_kernels.{LEVELS[level]}")
    finally:
        for name in mine:
            del os.environ[name]


def built() -> list[str]:
    """The instruction sets that were compiled at install time."""
    if not importlib.util.find_spec("minicnn_kernels"):
        return []
    return [level for level, name in LEVELS.items() if importlib.util.find_spec(f"minicnn_kernels.{name}")]


def usable() -> list[str]:
    """The instruction sets that were compiled and that may be used here. Raises BackendError if there are none."""
    try:
        highest = module("generic").lib.minicnn_cpu_level()
    except ImportError as error:
        raise BackendError(f"backend c: the C kernels are not built ({error}): {REMEDY}") from None
    levels = list(LEVELS)[: highest + 1]
    return [level for level in built() if level in levels and _ready(level)]


@functools.cache
def _ready(level: str) -> bool:
    """Whether a module loads, the system permits its instructions, and those for split numbers compute what they should."""
    try:
        lib = module(level).lib
    except ImportError:
        return False
    split = {lib.minicnn_terms(precision) for precision in range(3)} - {0}
    return bool(lib.minicnn_ready()) and all(_multiplies(module(level), terms) for terms in split)


def _multiplies(module: Any, terms: int) -> bool:
    """Whether a product of small whole numbers, which is exact at any precision, comes out right."""
    M, K, N = 70, 300, 75
    k = Kernels(module, "_f32", "float")
    a = np.arange(M * K, dtype=np.float32).reshape(M, K) % 61 - 30
    b = np.arange(K * N, dtype=np.float32).reshape(K, N) % 67 - 33
    out = np.empty((M, N), np.float32)
    scratch = k.scratch(k.matmul_scratch(1, M, K, N, terms, 1))
    k.matmul(k.p(a), k.p(b), k.p(out), 1, k.null, M, K, N, K, 1, N, 1, terms, scratch, 1)
    return np.array_equal(out, a.astype(np.int64) @ b.astype(np.int64))


def choose() -> str:
    """The instruction set to compute with: the highest, or the one that MINICNN_ISA names. Raises BackendError."""
    levels = usable()
    wanted = os.environ.get("MINICNN_ISA", "")
    if wanted and wanted not in LEVELS:
        raise BackendError(f"MINICNN_ISA is {wanted!r}: it must be one of {', '.join(LEVELS)}")
    if wanted and wanted not in levels:
        reason = "is not supported by this processor" if wanted in built() else "was not built"
        raise BackendError(f"MINICNN_ISA is {wanted!r}, which {reason}: possible here: {', '.join(levels)}")
    return wanted or levels[-1]


def default_threads() -> int:
    """OMP_NUM_THREADS where it is set, else as many as this process may use processors."""
    wanted = os.environ.get("OMP_NUM_THREADS", "").split(",")[0].strip()
    if wanted.isdigit() and int(wanted) > 0:
        return min(int(wanted), MOST_THREADS)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class Kernels:
    """The kernels of a module for one dtype, without their suffix, and what turns Python's values into theirs."""

    def __init__(self, module: Any, suffix: str, real: str) -> None:
        ffi = self._ffi = module.ffi
        for name in dir(module.lib):
            if name.endswith(suffix):
                setattr(self, name[: -len(suffix)], getattr(module.lib, name))
        self.null = ffi.NULL
        self._real, self._pointer = ffi.typeof(f"{real}[]"), ffi.typeof(f"{real} *")
        self._byte, self._int32, self._int64 = (ffi.typeof(f"{kind}[]") for kind in ("char", "int32_t", "int64_t"))
        # One table per geometry: what C needs to know of it is worked out once.
        self.conv2d_geometry = functools.lru_cache(4096)(self._conv2d_geometry)
        self.pool2d_geometry = functools.lru_cache(4096)(self._pool2d_geometry)
        self.batch_norm_layout = functools.lru_cache(4096)(self._batch_norm_layout)
        self.conv2d_way = functools.lru_cache(4096)(self._conv2d_way)
        self.offsets = functools.lru_cache(4096)(self._offsets)
        from_buffer, real_array, null = ffi.from_buffer, self._real, ffi.NULL
        self.p: Callable[[Array | None], Any] = lambda x: null if x is None else from_buffer(real_array, x)

    def __getattr__(self, name: str) -> Any:
        raise BackendError(
            f"backend c: the built kernels have no {name}: run pip install -e . in the source tree again"
        )

    def strided(self, x: Array) -> Any:
        """The address of the first element of any array; the caller keeps it alive."""
        return self._ffi.cast(self._pointer, x.__array_interface__["data"][0])

    def images(self, x: Array | None) -> Any:
        """The address of images that `kernel` let pass as they lie, or NULL."""
        return self.p(x) if x is None or x.flags.c_contiguous else self.strided(x)

    def changed(self, x: Array | None) -> Any:
        """The address of what the caller's own array holds and the kernel updates. Raises BufferError for a constant one."""
        return self.null if x is None else self._ffi.from_buffer(self._real, x, require_writable=True)

    def int32(self, x: Array) -> Any:
        return self._ffi.from_buffer(self._int32, np.require(x, np.int32, ["C", "A"]))

    def int64(self, x: Array) -> Any:
        return self._ffi.from_buffer(self._int64, np.require(x, np.int64, ["C", "A"]))

    def scratch(self, size: int) -> Any:
        """Memory for a kernel to work in, from the pool, aligned to a cache line."""
        return self._ffi.from_buffer(self._byte, pool.empty((max(size, pool.SMALL),), np.uint8))

    def _conv2d_geometry(self, g: sizes.Conv2d) -> Any:
        top, _, left, _ = g.padding
        values = (g.N, g.C, g.H, g.W, g.K, g.R, g.S, g.P, g.Q, g.G, *g.stride, top, left, *g.dilation)
        return self._ffi.new("conv2d_geometry *", values)

    def _pool2d_geometry(self, g: sizes.Pool2d) -> Any:
        values = (g.N, g.C, g.H, g.W, g.R, g.S, g.P, g.Q, *g.stride, *g.padding, g.count_include_pad)
        return self._ffi.new("pool2d_geometry *", values)

    def _batch_norm_layout(self, *values: int) -> Any:
        return self._ffi.new("batch_norm_layout *", values)

    def _conv2d_way(self, name: str, g: sizes.Conv2d, most: int, terms: int, threads: int) -> tuple[Any, int]:
        """The kernel for a convolution or one of its gradients, and its bytes of scratch.

        most: minimal filtering computes where it pays, with tiles of at most so many outputs a side.
        """
        geometry, taps = self.conv2d_geometry(g), self._ffi.new("int64_t[]", g.R + g.S + g.R * g.S)
        run, scratch = getattr(self, name), getattr(self, name + "_scratch")
        if tile := most and self.winograd_tile(geometry, CONVOLUTIONS.index(name), most):
            run = functools.partial(getattr(self, "winograd_" + name), tile)
            scratch = functools.partial(getattr(self, f"winograd_{name}_scratch"), tile)
        return run, int(scratch(geometry, taps, terms, threads))

    def _offsets(self, shape: sizes.Shape, a: _Batch, b: _Batch, out: _Batch, size: int) -> Any:
        """For each member of a batch of this shape the offset in each operand, in elements of `size` bytes."""
        table = np.zeros((*shape, 3), np.int64)
        for i, (own, strides) in enumerate((a, b, out)):
            for axis, (length, stride) in enumerate(zip(own[::-1], strides[::-1])):
                if length > 1:
                    table[..., i] += (np.arange(length) * stride).reshape(-1, *(1,) * axis)
        return self._ffi.new("int64_t[]", (table // size).reshape(-1).tolist())


def _separate(x: Array) -> bool:
    """Whether each image of x is contiguous, whole elements from the next."""
    flags = x[:1].flags
    return bool(flags.c_contiguous and flags.aligned) and x.strides[0] % x.itemsize == 0


def kernel(
    *outputs: str, others: tuple[str, ...] = (), images: tuple[str, ...] = ()
) -> Callable[[Callable[..., None]], Any]:
    """Make a backend's method of a function (self, k, *arguments).

    It is called with the kernels `k` for the arrays' dtype and with contiguous arrays; `outputs` that were not are written
    back. Of the `images` only each image must be contiguous: channels of a wider array pass as they lie. Where the arrays
    (but the `others`) do not share float32 or float64, the reference computes.
    """

    def decorate(function: Callable[..., None]) -> Any:
        reference = getattr(Reference, function.__name__)
        names = list(inspect.signature(function).parameters)[2:]
        written = [names.index(output) for output in outputs]

        @functools.wraps(reference)
        def method(self: Any, *args: Any, **kwargs: Any) -> None:
            if kwargs:
                args += tuple([kwargs[name] for name in names[len(args) :]])
            dtype = args[0].dtype
            k = self.kernels.get(dtype)
            copies = None
            for name, value in zip(names, args):
                if type(value) is np.ndarray:
                    if value.dtype is not dtype and value.dtype != dtype and name not in others:
                        k = None
                    flags = value.flags
                    if not (flags.c_contiguous and flags.aligned) and not (name in images and _separate(value)):
                        copies = copies or list(args)
                        copies[names.index(name)] = copy = pool.empty(value.shape, value.dtype)
                        np.copyto(copy, value)
            if k is None:
                reference(self, *args)
            elif copies is None:
                function(self, k, *args)
            else:
                function(self, k, *copies)
                for i in written:
                    if copies[i] is not args[i]:
                        np.copyto(args[i], copies[i])

        method.is_native = True  # type: ignore[attr-defined]
        return method

    return decorate
