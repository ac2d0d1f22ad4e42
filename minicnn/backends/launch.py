"""How the methods of the CUDA backend meet its kernels: what all launches share, and the decorator `kernel`."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any

import numpy as np

from ..errors import OutOfMemory
from .reference import Array, Reference

THREADS = 256
"""As in real.cuh."""
BLOCKS = 4096
"""More than fill a device: each thread then takes several numbers."""
NULL = np.uint64(0)
SUFFIXES = {np.dtype(np.float32): "_f32", np.dtype(np.float64): "_f64"}


def _separate(x: Array) -> bool:
    """Whether each image of x is contiguous, whole elements from the next."""
    return bool(x[:1].flags.c_contiguous) and x.strides[0] % x.itemsize == 0


def with_room(method: Callable[..., Any]) -> Callable[..., Any]:
    """A method that raises OutOfMemory where the device has no room for what it needs, its intermediate results too."""

    @functools.wraps(method)
    def call(*args: Any, **kwargs: Any) -> Any:
        try:
            return method(*args, **kwargs)
        except OutOfMemory:
            raise
        except MemoryError as error:  # CuPy's is one
            raise OutOfMemory(
                f"backend cuda: {method.__name__}: the device's memory is full: take a smaller batch ({error})"
            ) from None

    return call


def kernel(
    *outputs: str, others: tuple[str, ...] = (), images: tuple[str, ...] = ()
) -> Callable[[Callable[..., None]], Any]:
    """Make a backend's method of a function (self, *arguments), which is called with contiguous arrays.

    `outputs` that were not contiguous are written back. Of the `images` only each image must be contiguous: channels of
    a wider array pass as they lie. Where the arrays (but the `others`) do not share float32 or float64, the reference
    computes.
    """

    def decorate(function: Callable[..., None]) -> Any:
        reference = getattr(Reference, function.__name__)
        names = list(inspect.signature(function).parameters)[1:]

        @functools.wraps(reference)
        def method(self: Any, *args: Any, **kwargs: Any) -> None:
            if kwargs:
                args += tuple([kwargs[name] for name in names[len(args) :]])
            dtype, given = args[0].dtype, list(args)
            native = dtype in SUFFIXES
            for i, (name, value) in enumerate(zip(names, args)):
                if isinstance(value, self.xp.ndarray):
                    native = native and (value.dtype == dtype or name in others)
                    if not value.flags.c_contiguous and not (name in images and _separate(value)):
                        given[i] = self.xp.ascontiguousarray(value)
            if not native:
                reference(self, *args)
                return
            function(self, *given)
            for name in outputs:
                i = names.index(name)
                if given[i] is not args[i]:
                    self.xp.copyto(args[i], given[i])

        method.is_native = True  # type: ignore[attr-defined]
        return method

    return decorate
