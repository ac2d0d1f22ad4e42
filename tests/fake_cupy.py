"""A stand-in for CuPy on the CPU: as strict as CuPy about what it mixes with, and its RawModule runs kernels by emulation.

`install()` puts it in sys.modules as `cupy`. Then device "cuda" works without a GPU: whole networks run on the CUDA backend, and
what CuPy would refuse (a NumPy array among its own, an implicit copy to the CPU) is refused here.
"""

from __future__ import annotations

import contextlib
import operator
import sys
import time
import types
from collections.abc import Iterator
from typing import Any

import emulated_cuda
import numpy as np
import pytest

from minicnn import backends
from minicnn.backends import cuda, driver


class Flags:
    """Those that CuPy has."""

    def __init__(self, flags: Any) -> None:
        self.c_contiguous, self.f_contiguous, self.owndata = flags.c_contiguous, flags.f_contiguous, flags.owndata
        self.forc = flags.forc


class ndarray:
    """An array "on the device"."""

    __array_priority__ = 100

    def __init__(self, array: np.ndarray) -> None:
        self.array = array

    def __array__(self, *_: Any, **__: Any) -> np.ndarray:
        raise TypeError("Implicit conversion to a NumPy array is not allowed. Please use `.get()`.")

    __array_ufunc__ = None

    @property
    def flags(self) -> Flags:
        return Flags(self.array.flags)

    @property
    def base(self) -> ndarray | None:
        return None if self.array.base is None else ndarray(self.array.base)

    def get(self) -> np.ndarray:
        return self.array.copy()

    def __getitem__(self, index: Any) -> ndarray:
        return ndarray(np.asarray(self.array[_index(index)]))

    def __setitem__(self, index: Any, values: Any) -> None:
        self.array[_index(index)] = bare(values)

    def __len__(self) -> int:
        return len(self.array)

    def __bool__(self) -> bool:
        return bool(self.array)

    def __int__(self) -> int:
        return int(self.array)

    def __float__(self) -> float:
        return float(self.array)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name == "ctypes":
            raise AttributeError(name)
        if name == "data":
            return types.SimpleNamespace(ptr=emulated_cuda.address(self.array))
        value = getattr(self.array, name)
        return dressed(value) if not callable(value) else _calling(value)


def _operator(name: str) -> Any:
    function = getattr(operator, name)

    def forward(self: ndarray, other: Any) -> Any:
        return dressed(function(self.array, bare(other)))

    def backward(self: ndarray, other: Any) -> Any:
        return dressed(function(bare(other), self.array))

    def in_place(self: ndarray, other: Any) -> ndarray:
        self.array[...] = function(self.array, bare(other))
        return self

    return forward, backward, in_place


for _name in ("add", "sub", "mul", "truediv", "floordiv", "mod", "pow", "matmul"):
    for _prefix, _method in zip(("", "r", "i"), _operator(_name)):
        setattr(ndarray, f"__{_prefix}{_name}__", _method)
for _name in ("lt", "le", "eq", "ne", "gt", "ge"):
    setattr(ndarray, f"__{_name}__", _operator(_name)[0])
ndarray.__hash__ = object.__hash__  # type: ignore[method-assign]
for _name, _sign in (("neg", operator.neg), ("invert", operator.invert), ("abs", abs)):
    setattr(ndarray, f"__{_name}__", lambda self, sign=_sign: ndarray(sign(self.array)))
for _name, _two in (("and", operator.and_), ("or", operator.or_)):
    setattr(ndarray, f"__{_name}__", lambda self, other, two=_two: ndarray(two(self.array, bare(other))))


def bare(value: Any) -> Any:
    """The NumPy array inside; what CuPy refuses is refused."""
    if isinstance(value, ndarray):
        return value.array
    if isinstance(value, np.ndarray):
        raise TypeError(f"Unsupported type {type(value)}")
    if isinstance(value, (tuple, list)):
        return type(value)(map(bare, value))
    return value


def _index(index: Any) -> Any:
    """CuPy takes NumPy's arrays as indices."""
    if isinstance(index, tuple):
        return tuple(map(_index, index))
    return index if isinstance(index, np.ndarray) else bare(index)


def dressed(value: Any) -> Any:
    """NumPy's arrays as those of the device: CuPy's reductions give arrays without axes, not numbers."""
    if isinstance(value, (np.ndarray, np.generic)):
        return ndarray(np.asarray(value))
    if isinstance(value, tuple) and any(isinstance(v, np.ndarray) for v in value):
        return tuple(map(dressed, value))
    return value


def _empty(shape: Any, dtype: Any = float) -> ndarray:
    array = emulated_cuda.Emulated.empty(shape, dtype)
    Pool.held += array.nbytes
    return ndarray(array)


class Pool:
    """CuPy's memory pool, as if nothing was given back before one asks for it."""

    held = 0

    def total_bytes(self) -> int:
        return Pool.held

    def free_all_blocks(self) -> None:
        Pool.held = 0


class Event:
    """A moment, which is known once one has waited for it."""

    at: float | None = None
    reached = False

    def record(self) -> None:
        self.at = time.perf_counter()

    def synchronize(self) -> None:
        assert self.at is not None, "the event was not recorded"
        self.reached = True


def get_elapsed_time(start: Event, end: Event) -> float:
    """Milliseconds."""
    if start.at is None or end.at is None or not end.reached:
        raise RuntimeError("cudaErrorNotReady: device not ready")
    return (end.at - start.at) * 1e3


def _add_at(out: ndarray, index: Any, values: Any) -> None:
    np.add.at(out.array, _index(index), bare(values))


def _calling(function: Any) -> Any:
    def call(*args: Any, **kwargs: Any) -> Any:
        with np.errstate(all="ignore"):
            out = kwargs.get("out")
            value = function(*map(bare, args), **{name: bare(v) for name, v in kwargs.items()})
        return out if isinstance(out, ndarray) else dressed(value)

    return call


class RawModule:
    """A file of kernels, compiled for emulation."""

    def __init__(self, *, code: str, options: tuple[str, ...] = ()) -> None:
        self.module = emulated_cuda.RawModule(code=code, options=options)

    def get_function(self, name: str) -> Any:
        function = self.module.get_function(name)

        def call(grid: tuple[int, ...], block: tuple[int, ...], args: tuple[Any, ...], **kwargs: Any) -> None:
            function(grid, block, tuple(map(bare, args)), **kwargs)

        return call


class _CuPy(types.ModuleType):
    def __getattr__(self, name: str) -> Any:
        value = getattr(np, name)
        if isinstance(value, types.ModuleType):
            return _CuPyPart(value)
        return _calling(value) if callable(value) and not isinstance(value, type) else value


class _CuPyPart:
    def __init__(self, module: types.ModuleType) -> None:
        self.module = module

    def __getattr__(self, name: str) -> Any:
        value = getattr(self.module, name)
        return _CuPyPart(value) if isinstance(value, types.ModuleType) else _calling(value)


def asarray(values: Any, dtype: Any = None) -> ndarray:
    """A copy on the device of what is on the CPU; what is there already stays."""
    if isinstance(values, ndarray) and dtype in (None, values.array.dtype):
        return values
    if type(values).__module__ == "torch":  # whose arrays CuPy takes as they are
        values = values.numpy()
    return ndarray(np.array(values.array if isinstance(values, ndarray) else values, dtype=dtype))


def install() -> types.ModuleType:
    """Make `import cupy` find the stand-in, as if there was one device."""
    cupy = _CuPy("cupy")
    cupy.__version__ = "14.0.0"
    cupy.__spec__ = types.SimpleNamespace(name="cupy")  # type: ignore[assignment]
    ndarray.__module__ = "cupy"
    cupy.ndarray, cupy.asarray, cupy.array, cupy.RawModule = ndarray, asarray, asarray, RawModule
    cupy.empty, cupy.add = _empty, _calling(np.add)
    cupy.add.at = _add_at
    runtime = {
        "getDeviceCount": lambda: 1,
        "getDeviceProperties": lambda number: {"name": b"emulation"},
        "runtimeGetVersion": lambda: 13000,
    }
    cupy.cuda = types.SimpleNamespace(
        runtime=types.SimpleNamespace(**runtime),
        Device=lambda: types.SimpleNamespace(id=0, compute_capability="90"),
        Event=Event,
        get_elapsed_time=get_elapsed_time,
    )
    cupy.get_default_memory_pool = Pool
    sys.modules["cupy"] = cupy
    return cupy


@contextlib.contextmanager
def in_use() -> Iterator[types.ModuleType]:
    """The stand-in, found and installed as CuPy; what has been there before is there afterwards."""
    cached = backends.get, cuda.load, cuda.sources
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "cupy", None)
        stand_in = install()
        patch.setattr(driver, "import_cupy", lambda: stand_in)
        patch.setattr(cuda, "folder", lambda: emulated_cuda.FOLDER)
        for function in cached:
            function.cache_clear()
        yield stand_in
    for function in cached:
        function.cache_clear()
