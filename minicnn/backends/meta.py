"""The meta backend: shapes and dtypes without memory. Its kernels do nothing: the ops compute every shape.

The kernels that multiply and add tell a listener how often, so that whoever runs a model here can count what it computes.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from typing import Any

import numpy as np


class MetaArray:
    """A shape and a dtype, standing where an array would."""

    __slots__ = ("dtype", "shape")
    __array_ufunc__ = None

    base = None

    def __init__(self, shape: tuple[int, ...], dtype: Any) -> None:
        self.shape, self.dtype = tuple(shape), np.dtype(dtype)

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def size(self) -> int:
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        """The bytes that the array would take."""
        return self.size * self.dtype.itemsize

    def astype(self, dtype: Any) -> MetaArray:
        return MetaArray(self.shape, dtype)

    def copy(self) -> MetaArray:
        return self

    def __repr__(self) -> str:
        return f"MetaArray(shape={self.shape}, dtype={self.dtype})"


class _Listening(threading.local):
    listener: Callable[[int], None] | None = None


listening = _Listening()
"""Whom this thread's kernels tell their multiply-adds."""


class Meta:
    """Answers to every kernel's name with a function that does nothing."""

    name = "meta"
    device = "meta"

    def empty(self, shape: tuple[int, ...], dtype: Any) -> MetaArray:
        return MetaArray(shape, dtype)

    zeros = empty

    def asarray(self, values: Any, dtype: Any = None) -> MetaArray:
        return MetaArray(values.shape, dtype or values.dtype)

    def reshape(self, x: MetaArray, shape: tuple[int, ...]) -> MetaArray:
        return MetaArray(shape, x.dtype)

    broadcast_to = reshape

    def transpose(self, x: MetaArray, axes: tuple[int, ...]) -> MetaArray:
        return MetaArray(tuple(x.shape[axis] for axis in axes), x.dtype)

    def extended(self, x: MetaArray, channels: int, room: int) -> MetaArray:
        return MetaArray((x.shape[0], channels, *x.shape[2:]), x.dtype)

    def getitem(self, x: MetaArray, index: Any) -> MetaArray:
        # Elements of zero bytes: NumPy does the index arithmetic and takes no memory.
        return MetaArray(np.empty(x.shape, "V0")[index].shape, x.dtype)

    def conv2d(self, x: Any, weight: Any, bias: Any, geometry: Any, relu: bool, out: MetaArray) -> None:
        _tell(geometry.macs)

    def conv2d_input_grad(self, dy: Any, weight: Any, geometry: Any, out: MetaArray) -> None:
        _tell(geometry.macs)

    def linear(self, x: MetaArray, weight: Any, bias: Any, relu: bool, out: MetaArray) -> None:
        _tell(out.size * x.shape[-1])

    def matmul(self, a: MetaArray, b: Any, out: MetaArray) -> None:
        _tell(out.size * a.shape[-1])

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        return _nothing


def _tell(macs: int) -> None:
    if listening.listener is not None:
        listening.listener(macs)


def _nothing(*arrays: Any, **attributes: Any) -> None:
    """A kernel on meta."""
