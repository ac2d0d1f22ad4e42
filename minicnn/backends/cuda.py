"""The CUDA backend: the kernels of `kernels/cuda` behind the methods of `Reference`, which CuPy's arrays give the rest.

CuPy compiles a file of kernels at its first use and keeps what came out on disk. The op has checked every shape; what a kernel
cannot take (views, other dtypes) `launch.kernel` sees to. Nothing here waits for the device.
"""

from __future__ import annotations

import functools
import re
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from .. import geometry as sizes
from ..errors import OutOfMemory
from ..random import Key
from . import driver
from .cuda_convolution import Convolution
from .cuda_copies import Copies
from .cuda_norms import Norms
from .cuda_pooling import Pooling
from .launch import BLOCKS, NULL, SUFFIXES, THREADS, kernel, with_room
from .reference import Array, Reference


def folder() -> Path:
    """Where the CUDA sources are."""
    import minicnn_kernels

    return Path(minicnn_kernels.__path__[0], "cuda")


@functools.cache
def sources() -> dict[str, str]:
    """For each kernel the file that defines it."""
    found = {}
    for path in sorted(folder().glob("*.cu")):
        for name in re.findall(r"^KERNEL\s+NAME\((\w+)\)", path.read_text(), re.M):
            found[name] = path.name
    return found


def options(dtype: np.dtype[Any]) -> tuple[str, ...]:
    """What the compiler is told for kernels of this dtype. CuPy keeps what it compiled under the text of the file and these
    options; what the file includes is no part of that, so its hash is an option."""
    return ("-std=c++17", f"-I{folder()}", f"-DREAL_BYTES={dtype.itemsize}", f"-DHEADERS=0x{_headers():x}")


@functools.cache
def _headers() -> int:
    return zlib.crc32(b"".join(path.read_bytes() for path in sorted(folder().glob("*.cuh"))))


class Cuda(Convolution, Pooling, Norms, Reference):
    """Native kernels on a CUDA device."""

    name = "cuda"
    device = "cuda"

    def __init__(self, xp: Any) -> None:
        """xp: CuPy, or what stands in for it in tests."""
        super().__init__(xp)
        self._function = functools.cache(self._compiled)
        self.on_device = functools.lru_cache(4096)(self._on_device)

    @functools.cached_property
    def native(self) -> frozenset[str]:
        """The kernels that are native; the others are the reference's."""
        return frozenset(name for name in dir(type(self)) if hasattr(getattr(type(self), name), "is_native"))

    # Launching

    def launch(self, name: str, like: Array, work: int, *args: Any, grid: tuple[int, ...] | None = None) -> None:
        """Start the kernel `name` for the dtype of `like` with THREADS threads a block: on `grid`, or with a thread for each of
        `work` numbers, up to BLOCKS blocks. Python's integers and truth values become int64, floats float64, None NULL."""
        if grid is None:
            grid = (min(-(-work // THREADS), BLOCKS),)
        if 0 in grid:
            return
        values = [NULL if a is None else int(a) if type(a) is bool else a for a in args]
        self._function(name, like.dtype)(grid, (THREADS,), tuple(values))

    def _compiled(self, name: str, dtype: np.dtype[Any]) -> Any:
        return self._module(sources()[name], dtype).get_function(name + SUFFIXES[dtype])

    @functools.cache  # noqa: B019  there is one backend in a process
    def _module(self, file: str, dtype: np.dtype[Any]) -> Any:
        return self.xp.RawModule(code=Path(folder(), file).read_text(), options=options(dtype))

    def _on_device(self, values: tuple[int, ...]) -> Array:
        """A geometry's fields as int64 numbers in the device's memory, copied there once."""
        return self.xp.asarray(np.array(values, np.int64))

    # The device

    def device_name(self) -> str:
        """What is computed on: "NVIDIA H200", say."""
        return str(self.xp.cuda.runtime.getDeviceProperties(self.xp.cuda.Device().id)["name"].decode())

    # Memory

    @functools.cached_property
    def copies(self) -> Copies:
        """What travels between the CPU and the device beside the computation."""
        return Copies(self.xp)

    def memory_reserved(self) -> int:
        """Bytes that CuPy's memory pool has taken from the device: arrays, and what it keeps for later ones. Not the CUDA
        context and the compiled kernels. It gives nothing back before the device is full or `free_all_blocks` is called, so
        until then this is the peak too."""
        return int(self.xp.get_default_memory_pool().total_bytes())

    def empty(self, shape: sizes.Shape, dtype: Any) -> Array:
        """An array whose contents are undefined, from CuPy's memory pool. Raises OutOfMemory where there is no room."""
        try:
            return self.xp.empty(shape, dtype)
        except MemoryError as error:
            raise OutOfMemory(
                f"backend cuda: an array of shape {shape} does not fit into the device's memory: take a smaller batch ({error})"
            ) from None

    def extended(self, x: Array, channels: int, room: int) -> Array:
        """Always a copy: unlike the CPU's memory pool, CuPy's does not know who has put something behind x."""
        out = self.empty((x.shape[0], channels, *x.shape[2:]), x.dtype)
        out[:, : x.shape[1]] = x
        return out

    # Element by element

    @kernel("out")
    def relu(self, x: Array, out: Array) -> None:
        self.launch("relu", out, out.size, x, out, out.size)

    @kernel("out")
    def relu_grad(self, dy: Array, y: Array, out: Array) -> None:
        self.launch("relu_grad", out, out.size, dy, y, out, out.size)

    @kernel("out")
    def sigmoid(self, x: Array, out: Array) -> None:
        self.launch("sigmoid", out, out.size, x, out, out.size)

    @kernel("out")
    def tanh(self, x: Array, out: Array) -> None:
        self.launch("tanh", out, out.size, x, out, out.size)

    @kernel("out")
    def sigmoid_grad(self, dy: Array, y: Array, out: Array) -> None:
        self.launch("sigmoid_grad", out, out.size, dy, y, out, out.size)

    @kernel("out")
    def tanh_grad(self, dy: Array, y: Array, out: Array) -> None:
        self.launch("tanh_grad", out, out.size, dy, y, out, out.size)

    @kernel("out")
    def dropout(self, x: Array, p: float, key: Key, out: Array) -> None:
        seed, stream, step = np.uint32(key.seed), np.uint32(key.stream), np.uint64(key.step)
        self.launch(
            "dropout", out, -(-out.size // 4),
            x, 1 / (1 - p), np.uint64(round(p * 2**32)), seed, stream, step, out, out.size,
        )  # fmt: skip


def _along(method: Callable[..., None]) -> Callable[..., None]:
    """A method of the reference that takes arrays without axes from the CPU, as `backends.of` lets them go along: as numbers."""

    @functools.wraps(method)
    def along(self: Cuda, *args: Any, **kwargs: Any) -> None:
        method(self, *[a[()] if type(a) is np.ndarray else a for a in args], **kwargs)

    return along


for _name in (
    "add", "subtract", "multiply", "divide", "power", "maximum", "minimum", "greater", "greater_equal", "less", "less_equal",
    "equal", "not_equal", "where", "copy",
):  # fmt: skip
    setattr(Cuda, _name, _along(getattr(Reference, _name)))
for _name in dir(Reference):
    if not _name.startswith("_") and callable(getattr(Cuda, _name)):
        setattr(Cuda, _name, with_room(getattr(Cuda, _name)))


@functools.cache
def load() -> Cuda:
    """The CUDA backend. Raises BackendError, with what is missing and the remedy, where it cannot be had."""
    return Cuda(driver.import_cupy())
