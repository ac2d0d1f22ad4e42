"""Who computes: one dispatch point (`of`), the devices, and the choice of backend on the CPU.

A device is where an array lives ("cpu", "cuda", "meta"); the arrays decide. On the CPU the backend is "c" where it was
built, else "numpy"; `use_backend` or the environment variable MINICNN_BACKEND overrides.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import math
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from ..errors import BackendError, DTypeError, check
from .meta import Meta, MetaArray
from .reference import Reference

log = logging.getLogger("minicnn")
CPU = ("c", "numpy")
PRECISIONS = ("highest", "high", "medium")
DATA = "Tensor: data"
"""What messages call a value that no operation has named."""


class _Choice(threading.local):
    override: Any = None
    precision: str | None = None


_choice = _Choice()
_precision = "highest"
_meta = Meta()


@functools.cache
def get(name: str) -> Any:
    """The backend called `name`. Raises BackendError, with the reason and the remedy, where it cannot be had."""
    if name == "numpy":
        return Reference(np)
    if name == "meta":
        return _meta
    if name == "c":
        from . import c

        return c.load()
    if name == "cuda":
        from . import cuda

        return cuda.load()
    raise BackendError(f"backends.get: name is {name!r}: it must be one of c, numpy, cuda, meta")


@functools.cache
def _default_cpu() -> Any:
    """The backend for CPU arrays, chosen at the first use; says once, as a log line, what is missing for speed."""
    wanted = os.environ.get("MINICNN_BACKEND", "")
    if wanted:
        check(wanted in CPU, f"MINICNN_BACKEND is {wanted!r}: it must be c or numpy", BackendError)
        return get(wanted)
    from . import c, native

    try:
        kernels = get("c")
    except BackendError as error:
        if os.environ.get("MINICNN_ISA") and native.built():
            raise  # what was asked for cannot be had, as with MINICNN_BACKEND
        log.warning("minicnn: %s; going on with the NumPy backend, which is several times slower", error)
        return get("numpy")
    if not c.build_info()["openmp"] and native.default_threads() > 1:
        log.warning("minicnn: the C kernels were built without OpenMP and use one thread: %s", native.OPENMP_REMEDY)
    return kernels


def available() -> list[str]:
    """The backends that work here, out of "c", "numpy", "cuda", "meta"."""
    names = []
    for name in ("c", "numpy", "cuda", "meta"):
        try:
            get(name)
        except BackendError:
            continue
        names.append(name)
    return names


def of(arrays: Sequence[Any], op: str) -> Any:
    """The backend that computes on these arrays (None and 0-d CPU numbers go along). Raises BackendError on a mixture."""
    device = ""
    for array in arrays:
        if array is None:
            continue
        here = "cpu" if type(array) is np.ndarray else device_of(array)
        if here != device:
            if not device or (device == "cpu" and _goes_along(arrays)):
                device = here
            elif here != "cpu" or array.shape:
                raise BackendError(
                    f"{op}: one operand is on {device}, another on {here}: move one with .to({device!r})"
                )
    if device == "cpu":
        return _choice.override or _default_cpu()
    return _meta if device == "meta" else get("cuda") if device == "cuda" else _choice.override or _default_cpu()


def _goes_along(arrays: Sequence[Any]) -> bool:
    return all(a is None or not a.shape for a in arrays if isinstance(a, np.ndarray) or a is None)


def use_backend(name: str) -> contextlib.AbstractContextManager[None]:
    """Compute on the CPU with this backend, "c" or "numpy", in this thread, inside `with use_backend(name):`.

    For a whole program set the environment variable MINICNN_BACKEND. Raises BackendError where it cannot be had.
    """
    check(name in CPU, f"use_backend: name is {name!r}: it must be c or numpy", BackendError)
    return _using(get(name))


@contextlib.contextmanager
def _using(kernels: Any) -> Iterator[None]:
    with using(kernels, _choice.precision):
        yield


class using:
    """Compute on the CPU with these kernels and this precision: for the engine, and for `use_backend`."""

    __slots__ = ("before", "kernels", "precision")

    def __init__(self, kernels: Any, precision: str | None) -> None:
        self.kernels, self.precision = kernels, precision

    def __enter__(self) -> None:
        self.before = (_choice.override, _choice.precision)
        if self.kernels.device == "cpu":
            _choice.override = self.kernels
        _choice.precision = self.precision

    def __exit__(self, *_: Any) -> None:
        _choice.override, _choice.precision = self.before


def current() -> str:
    """The name of the backend that computes on CPU arrays in this thread."""
    return str((_choice.override or _default_cpu()).name)


def set_precision(level: str) -> None:
    """How accurate float32 matrix products and convolutions are: "highest" (float32, the default), "high" or "medium".

    highest: as accurate as float32 multiply-adds, whatever the numbers.
    high: may take two bfloat16 numbers for each float32: a relative error of about 2**-16 in each product.
    medium: may take one bfloat16 number: about 2**-8.

    Inputs, outputs and sums are float32 at every level. Infinities, NaN and numbers whose products would leave
    2**-96 .. 2**96 are multiplied as at "highest". The C backend uses a level where it is faster: with AMX
    "high" and "medium", with AVX512-BF16 "medium". Without AMX most 3x3 convolutions, of float64 too, run by Winograd's
    minimal filtering: at "highest" with 2x2 outputs, which is as accurate as the plain sum (and where a few huge pixels would
    make it less so, the plain sum is taken); below with 4x4, and 5x5 windows too, with relative errors of about 2**-20 of
    the largest numbers around. The rest, and the NumPy and CUDA backends, is at "highest".
    """
    _check_precision("set_precision", level)
    global _precision
    _precision = level


@contextlib.contextmanager
def use_precision(level: str) -> Iterator[None]:
    """Compute at this level of `set_precision`, in this thread, inside `with use_precision(level):`, whatever that has set."""
    _check_precision("use_precision", level)
    with using(_choice.override or _default_cpu(), level):
        yield


def _check_precision(who: str, level: str) -> None:
    check(level in PRECISIONS, f"{who}: level is {level!r}: it must be one of {', '.join(PRECISIONS)}")


def get_precision() -> str:
    """The level that `set_precision` set: "highest", "high" or "medium". In a backward: that of the forward."""
    return _choice.precision or _precision


def set_num_threads(n: int) -> None:
    """Compute with `n` threads in the C backend, 1 .. 1024. NumPy's own products follow OMP_NUM_THREADS.

    A forked process begins with one: OpenMP's threads stay behind in its parent.
    """
    from ..geometry import is_integer
    from . import c, native

    most = native.MOST_THREADS
    check(is_integer(n) and 1 <= n <= most, f"set_num_threads: n is {n!r}: it must be an integer in 1 .. {most}")
    c.set_num_threads(int(n))


def get_num_threads() -> int:
    """With how many threads the C backend computes at most."""
    from . import c

    return int(c.get_num_threads())


# Arrays and devices


def device_of(array: Any) -> str:
    """Where an array lives: "cpu", "meta" or "cuda"."""
    if isinstance(array, np.ndarray):
        return "cpu"
    return "meta" if isinstance(array, MetaArray) else "cuda"


def to_device(array: Any, device: str, what: str = "to") -> Any:
    """The array on a device ("cpu", "cuda", "meta"): itself where it is there already. what: who asks, for messages.

    Raises BackendError for a device that does not exist or is not there, and for meta arrays, which have no values to move.
    """
    here = device_of(array)
    if here == device:
        return array
    check(
        device in ("cpu", "cuda", "meta"), f"{what}: device is {device!r}: it must be cpu, cuda or meta", BackendError
    )
    if device == "meta":
        return MetaArray(array.shape, array.dtype)
    return to_numpy(array) if device == "cpu" else get("cuda").asarray(array)


def to_numpy(array: Any) -> np.ndarray:
    """The array's values: itself on the CPU, a copy from a GPU. Raises BackendError on meta, where there are none."""
    if isinstance(array, np.ndarray):
        return array
    if isinstance(array, MetaArray):
        raise BackendError(
            f"a Tensor on the meta device has a shape {array.shape} but no values: build it with device='cpu'; "
            "a summary or diagram runs a model on meta, where its forward cannot ask for numbers"
        )
    return array.get()


def fetch(*arrays: Any) -> Callable[[], list[np.ndarray]]:
    """Start copying arrays of one device to the CPU. What is returned gives their values, as `to_numpy` does: of a GPU once what
    was launched before has ended, whatever came after."""
    if device_of(arrays[0]) == "cuda":
        return get("cuda").copies.fetch(arrays)
    return lambda: [to_numpy(array) for array in arrays]


def may_share(a: Any, b: Any) -> bool:
    """Whether two arrays of one device may lie in the same memory."""
    if isinstance(a, np.ndarray):
        return np.may_share_memory(a, b)
    return not isinstance(a, MetaArray)


def _is_array(value: Any) -> bool:
    return isinstance(value, (np.ndarray, MetaArray)) or type(value).__module__.split(".")[0] == "cupy"


def as_dtype(value: Any, what: str) -> np.dtype[Any]:
    """The dtype called `value`, in this machine's byte order. Raises DTypeError unless it is of plain numbers."""
    try:
        dtype = np.dtype(value)
    except (TypeError, ValueError, DeprecationWarning) as error:
        raise DTypeError(f"{what}: dtype is {value!r}: it must be one such as 'float32': {error}") from None
    if dtype.kind not in "fiub":
        raise DTypeError(f"{what}: dtype is {dtype}: it must be floating, integer or bool")
    return dtype.newbyteorder("=")


def as_array(value: Any, dtype: Any = None, what: str = DATA) -> Any:
    """An array from anything: arrays and NumPy numbers keep their dtype, lists and Python numbers become float32.

    An array stays the same array, unless it is of a subclass (a view then) or of foreign byte order (a copy).
    what: the operation and its argument, for messages. Raises DTypeError for what are not numbers.
    """
    if isinstance(value, (int, float)) and not isinstance(value, np.generic):
        return _number(value, np.dtype(bool if isinstance(value, bool) and dtype is None else dtype or np.float32))
    if not _is_array(value) and not isinstance(value, np.generic):
        array = _listed(value, what)
        return array if array.dtype == (dtype or np.float32) else _cast(array, np.dtype(dtype or np.float32))
    array = value if type(value) is np.ndarray or not isinstance(value, (np.ndarray, np.generic)) else np.asarray(value)
    _check_kind(array, what)
    return array if array.dtype.isnative else array.astype(array.dtype.newbyteorder("="))


def _check_kind(array: Any, what: str) -> None:
    if array.dtype.kind not in "fiub":
        raise DTypeError(f"{what} has dtype {array.dtype}: it must be floating, integer or bool")


def _number(value: float, dtype: np.dtype[Any]) -> np.ndarray:
    """A Python number as an array without axes; one too large for a floating dtype becomes an infinity."""
    try:
        if -60_000 < value < 60_000:  # no floating dtype overflows, and setting errstate costs time
            return np.asarray(value, dtype)
        with np.errstate(over="ignore"):
            return np.asarray(value, dtype)
    except (OverflowError, ValueError):
        if dtype.kind == "f":
            return np.asarray(math.inf if value > 0 else -math.inf, dtype)
        raise DTypeError(
            f"{str(value)[:60]} does not fit into {dtype}: take a number in its range, or .astype('float32') first"
        ) from None


def _listed(value: Any, what: str) -> np.ndarray:
    """The numbers of a list (of lists, of Tensors, ...), in the dtype that NumPy finds for them."""
    try:
        array = np.asarray(value)
        if array.dtype.kind not in "fiub":
            raise TypeError("these are not numbers")
    except (TypeError, ValueError, OverflowError) as error:
        raise DTypeError(f"{what} is {type(value).__name__} {str(value)[:60]!r}: it must be numbers: {error}") from None
    return array


def _cast(array: Any, dtype: np.dtype[Any]) -> Any:
    with np.errstate(over="ignore", invalid="ignore"):
        return array.astype(dtype)


def as_operand(value: Any, like: Any, what: str = DATA) -> Any:
    """The other operand of `like`: Python numbers and lists take its dtype (a float beside integers becomes float32)."""
    if hasattr(value, "_node"):
        return value._data
    if _is_array(value):
        return as_array(value, what=what)
    if isinstance(value, np.generic):
        array = as_array(value, what=what)
        return _cast(array, like.dtype) if like.dtype.kind == "f" else array
    if isinstance(value, (int, float)):
        floating = isinstance(value, float) and like.dtype.kind != "f"
        return _number(value, np.dtype(np.float32) if floating else like.dtype)
    array = _listed(value, what)
    floating = array.dtype.kind == "f" and like.dtype.kind != "f"
    array = _cast(array, np.dtype(np.float32) if floating else like.dtype)
    return to_device(array, device_of(like)) if array.shape else array
