"""A stand-in for CuPy on the CPU: as strict as CuPy about what it mixes with, and its RawModule runs kernels by emulation.

`install()` puts it in sys.modules as `cupy`. Then device "cuda" works without a GPU: whole networks run on the CUDA backend, and
what CuPy would refuse (a NumPy array among its own, an implicit copy to the CPU) is refused here. What is copied and when is
`fake_streams`' matter.
"""

from __future__ import annotations

import operator
import sys
import types
from typing import Any

import emulated_cuda
import numpy as np
from fake_streams import Event, Pool, Stream, arrive, counts, current, elapsed, leave, mistakes


class Flags:
    """Those that CuPy has."""

    def __init__(self, flags: Any) -> None:
        self.c_contiguous, self.f_contiguous, self.owndata = flags.c_contiguous, flags.f_contiguous, flags.owndata
        self.forc = flags.forc


class ndarray:
    """An array "on the device"."""

    __array_priority__ = 100

    def __init__(self, array: np.ndarray) -> None:
        self._array, self.home, self.used = array, current(), 0

    @property
    def array(self) -> np.ndarray:
        """What is here in the place of the device's memory. Whoever asks for it uses it, on the default stream."""
        self.used = Stream.null.given + 1
        return self._array

    def __del__(self) -> None:
        if self.home is not Stream.null and self.used > Stream.null.known:
            mistakes.append(
                "memory of another stream was given back before the default stream was known to be done with it"
            )

    def __array__(self, *_: Any, **__: Any) -> np.ndarray:
        raise TypeError("Implicit conversion to a NumPy array is not allowed. Please use `.get()`.")

    __array_ufunc__ = None

    @property
    def flags(self) -> Flags:
        return Flags(self.array.flags)

    @property
    def base(self) -> ndarray | None:
        return None if self.array.base is None else ndarray(self.array.base)

    def get(
        self, stream: Stream | None = None, order: str = "C", out: np.ndarray | None = None, blocking: bool = True
    ) -> np.ndarray:
        out = np.empty(self.shape, self.dtype) if out is None else out
        leave(self.array, out, blocking, stream or current())
        return out

    def item(self) -> Any:
        return self.get().item()

    def tolist(self) -> Any:
        return self.get().tolist()

    def __getitem__(self, index: Any) -> ndarray:
        return ndarray(np.asarray(self.array[_index(index)]))

    def __setitem__(self, index: Any, values: Any) -> None:
        self.array[_index(index)] = bare(values)

    def __len__(self) -> int:
        return len(self.array)

    def __bool__(self) -> bool:
        return bool(self.get())

    def __int__(self) -> int:
        return int(self.get())

    def __float__(self) -> float:
        return float(self.get())

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
    counts["to device"] += isinstance(index, np.ndarray)
    return index if isinstance(index, np.ndarray) else bare(index)


def dressed(value: Any) -> Any:
    """NumPy's arrays as those of the device: CuPy's reductions give arrays without axes, not numbers."""
    if isinstance(value, (np.ndarray, np.generic)):
        return ndarray(np.asarray(value))
    if isinstance(value, tuple) and any(isinstance(v, np.ndarray) for v in value):
        return tuple(map(dressed, value))
    return value


pool = Pool()


def _empty(shape: Any, dtype: Any = float) -> ndarray:
    array = emulated_cuda.Emulated.empty(shape, dtype)
    pool.take(array)
    return ndarray(array)


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
    if isinstance(values, ndarray):
        return values if dtype in (None, values.array.dtype) else values.astype(dtype)
    if type(values).__module__ == "torch":  # whose arrays CuPy takes as they are
        values = values.numpy()
    array = np.array(values, dtype=dtype)
    if not array.ndim:
        return ndarray(array)
    out = _empty(array.shape[::-1], array.dtype).T if array.flags.fnc else _empty(array.shape, array.dtype)
    arrive(out._array, array)
    return out


def _ascontiguousarray(x: ndarray) -> ndarray:
    if x.flags.c_contiguous:
        return x
    counts["copies"] += 1
    return ndarray(np.ascontiguousarray(x.array))


def install() -> types.ModuleType:
    """Make `import cupy` find the stand-in, as if there was one device."""
    cupy = _CuPy("cupy")
    cupy.__version__ = "14.0.0"
    cupy.__spec__ = types.SimpleNamespace(name="cupy")  # type: ignore[assignment]
    ndarray.__module__ = "cupy"
    cupy.ndarray, cupy.asarray, cupy.array, cupy.RawModule = ndarray, asarray, asarray, RawModule
    cupy.empty, cupy.ascontiguousarray, cupy.add = _empty, _ascontiguousarray, _calling(np.add)
    cupy.add.at = _add_at
    runtime = {
        "getDeviceCount": lambda: 1,
        "getDeviceProperties": lambda number: {"name": b"emulation"},
        "runtimeGetVersion": lambda: 13000,
    }
    cupy.cuda = types.SimpleNamespace(
        runtime=types.SimpleNamespace(**runtime),
        Device=lambda: types.SimpleNamespace(id=0, compute_capability="90"),
        Stream=Stream,
        Event=Event,
        get_current_stream=current,
        get_elapsed_time=elapsed,
        alloc_pinned_memory=bytearray,
    )
    cupy.get_default_memory_pool = lambda: pool
    sys.modules["cupy"] = cupy
    return cupy
