"""The meta backend: shapes and dtypes without memory. Its kernels do nothing: the ops compute every shape."""

from __future__ import annotations

import math
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

    def getitem(self, x: MetaArray, index: Any) -> MetaArray:
        # Elements of zero bytes: NumPy does the index arithmetic and takes no memory.
        return MetaArray(np.empty(x.shape, "V0")[index].shape, x.dtype)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        return _nothing


def _nothing(*arrays: Any, **attributes: Any) -> None:
    """A kernel on meta."""
