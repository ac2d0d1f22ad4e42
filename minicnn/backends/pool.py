"""The memory pool of the CPU: blocks are reused between training steps, so that a steady loop takes no new pages.

An array from `empty` lies in a block of the pool. The block comes back when the last array or view on it has died,
never before. Free blocks are kept up to `limit` bytes and are given to the system by `clear`.
"""

from __future__ import annotations

import math
import threading
from collections import defaultdict
from typing import Any

import numpy as np

from ..errors import OutOfMemory, ShapeError, check
from ..geometry import is_integer

SMALL = 2048
"""Bytes below which NumPy's own allocator does as well."""
ALIGN = 64
"""Bytes: a cache line, and the widest vector register."""


class _Pool:
    def __init__(self) -> None:
        self.lock = threading.RLock()  # re-entrant: a block may die while the pool works in the same thread
        self.free: dict[int, list[np.ndarray]] = defaultdict(list)
        self.limit = 4 << 30
        self.system = self.reused = self.free_bytes = self.used_bytes = 0

    def take(self, size: int) -> np.ndarray:
        with self.lock:
            blocks = self.free.get(size)
            if blocks:
                self.reused += 1
                self.free_bytes -= size
                self.used_bytes += size
                return blocks.pop()
        block = self._fresh(size + ALIGN)
        with self.lock:
            self.system += 1
            self.used_bytes += size
        return block

    def _fresh(self, size: int) -> np.ndarray:
        """A block from the system; where it has no more, the free blocks of other sizes go back first."""
        try:
            try:
                return np.empty(size, np.uint8)
            except MemoryError:
                clear()
                return np.empty(size, np.uint8)
        except (MemoryError, ValueError) as error:  # ValueError: more than any machine can address
            raise OutOfMemory(
                f"there is no memory for an array of {size / 2**30:,.1f} GiB ({error}): use a smaller batch or a smaller "
                "input; under minicnn.no_grad() nothing is kept for a backward"
            ) from None

    def give(self, size: int, block: np.ndarray) -> None:
        with self.lock:
            self.used_bytes -= size
            if self.free_bytes + size <= self.limit:
                self.free_bytes += size
                self.free[size].append(block)


_pool = _Pool()


class _Owner:
    """Owns a block as long as an array on it lives; the array refers to it as its base."""

    __slots__ = ("__array_interface__", "block", "size")

    def __init__(self, block: np.ndarray, size: int, interface: dict[str, Any]) -> None:
        self.block, self.size, self.__array_interface__ = block, size, interface

    def __del__(self, give: Any = _pool.give) -> None:
        give(self.size, self.block)


def _rounded(size: int) -> int:
    """The size class: steps of an eighth of a power of two, so that at most an eighth is wasted."""
    step = max(ALIGN, 1 << max(0, size.bit_length() - 4))
    return -(-size // step) * step


def empty(shape: tuple[int, ...], dtype: Any) -> np.ndarray:
    """An array with undefined contents, aligned to 64 bytes. Raises OutOfMemory when the system has no more."""
    dtype = np.dtype(dtype)
    size = math.prod(shape) * dtype.itemsize
    if size < SMALL:
        return _small(shape, dtype)
    size = _rounded(size)
    block = _pool.take(size)
    address = block.__array_interface__["data"][0]
    address += -address % ALIGN
    interface = {"data": (address, False), "shape": shape, "typestr": dtype.str, "version": 3}
    return np.asarray(_Owner(block, size, interface))


def _small(shape: tuple[int, ...], dtype: Any) -> np.ndarray:
    try:
        return np.empty(shape, dtype)
    except ValueError as error:
        raise ShapeError(f"an array cannot have the shape {shape}: {error}") from None


def statistics() -> dict[str, int]:
    """Blocks taken from the system and reused so far, and the bytes that are free and in use now."""
    with _pool.lock:
        return {name: getattr(_pool, name) for name in ("system", "reused", "free_bytes", "used_bytes", "limit")}


def set_limit(limit: int) -> None:
    """Keep at most `limit` bytes of free blocks."""
    check(is_integer(limit) and limit >= 0, f"set_limit: limit is {limit!r}: it must be a number of bytes, at least 0")
    with _pool.lock:
        _pool.limit = int(limit)
        if _pool.free_bytes > limit:
            clear()


def clear() -> None:
    """Give all free blocks back to the system."""
    with _pool.lock:
        _pool.free.clear()
        _pool.free_bytes = 0
