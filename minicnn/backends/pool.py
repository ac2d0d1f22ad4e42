"""The memory pool of the CPU: memory is reused between training steps, so that a steady loop takes no new pages.

An array from `empty` lies in a block of the pool. The block comes back when the last array or view on it has died,
never before. Free memory is kept up to `limit` bytes; `clear` gives it back to the system.

Large blocks are cut from a heap: the smallest free piece that holds a block serves, and what comes back joins its free
neighbours. So memory that one layer gave up serves the next one, whatever their sizes. Small blocks are kept by size,
apart from the heap, which they would cut up.
"""

from __future__ import annotations

import bisect
import math
import mmap
import sys
import threading
from collections import defaultdict, deque
from collections.abc import Callable
from typing import Any

import numpy as np

from ..errors import OutOfMemory, ShapeError, check
from ..geometry import is_integer

SMALL = 2048
"""Bytes below which NumPy's own allocator does as well."""
LARGE = 1 << 16
"""Bytes from which a block is cut from the heap."""
ALIGN = 64
"""Bytes: a cache line, and the widest vector register."""
SEGMENT = 1 << 26 if sys.platform == "win32" else 1 << 30
"""Bytes that the heap reserves at once. Elsewhere than on Windows, pages that nothing was written to take no memory."""


class _Heap:
    """Best fit with immediate joining of neighbours. A piece has a start, a size, and bytes of it that hold pages."""

    def __init__(self) -> None:
        self.segments: dict[int, tuple[int, Any, np.ndarray]] = {}  # start -> bytes, the mapping, its bytes as an array
        self.pieces: dict[int, tuple[int, int]] = {}  # start -> size, pages
        self.starts: dict[int, int] = {}  # end -> start
        self.order: list[tuple[int, int]] = []  # (size, start), sorted
        self.pages = 0  # bytes of free pieces that hold pages

    def take(self, size: int) -> tuple[int, int]:
        """The start of a block, and how many of its bytes are pages that were used before."""
        place = bisect.bisect_left(self.order, (size, 0))
        if place == len(self.order):
            self._reserve(size)
            place = bisect.bisect_left(self.order, (size, 0))
        fitting = self.order[place:]
        used = (piece for piece in fitting if self.pieces[piece[1]][1] >= size)
        whole, start = next(used, fitting[0])  # the smallest that needs no new pages
        pages = self._remove(start)[1]
        known = min(size, pages)
        if whole > size:
            self._put(start + size, whole - size, pages - known)
        return start, known

    def give(self, start: int, size: int, keep: bool) -> None:
        """Take a block back; unless `keep`, its pages go to the system."""
        pages = size if keep or not self._discard(start, size) else 0
        left = self.starts.get(start)
        if left is not None:
            more, held = self._remove(left)
            start, size, pages = left, size + more, pages + held
        if start + size in self.pieces:
            more, held = self._remove(start + size)
            size, pages = size + more, pages + held
        self._put(start, size, pages)

    def clear(self) -> None:
        for start, (size, pages) in list(self.pieces.items()):
            segment = self.segments.get(start)
            if segment is not None and segment[0] == size:
                self._remove(start)
                del self.segments[start]
            elif pages and self._discard(start, size):
                self._remove(start)
                self._put(start, size, 0)

    def segment_of(self, address: int) -> np.ndarray:
        """What keeps the memory at an address."""
        return self.segments[max(start for start in self.segments if start <= address)][2]

    def _put(self, start: int, size: int, pages: int) -> None:
        self.pieces[start] = size, pages
        self.starts[start + size] = start
        bisect.insort(self.order, (size, start))
        self.pages += pages

    def _remove(self, start: int) -> tuple[int, int]:
        size, pages = self.pieces.pop(start)
        del self.starts[start + size]
        del self.order[bisect.bisect_left(self.order, (size, start))]
        self.pages -= pages
        return size, pages

    def _reserve(self, size: int) -> None:
        for length in (max(SEGMENT, size + 2 * ALIGN), size + 2 * ALIGN):
            try:
                private = {"flags": mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS} if hasattr(mmap, "MAP_PRIVATE") else {}
                memory = mmap.mmap(-1, length, **private)
                break
            except (OSError, OverflowError, ValueError) as error:
                failure = error
        else:
            raise MemoryError(str(failure))
        if hasattr(mmap, "MADV_HUGEPAGE"):
            memory.madvise(mmap.MADV_HUGEPAGE)
        array = np.frombuffer(memory, np.uint8)
        start = array.__array_interface__["data"][0]
        # A gap at the end keeps pieces of different segments apart, wherever the system puts them.
        inside = (length - ALIGN) // ALIGN * ALIGN
        self.segments[start] = inside, memory, array
        self._put(start, inside, 0)

    def _discard(self, start: int, size: int) -> bool:
        """Give the pages of a piece to the system, where that is possible."""
        if not hasattr(mmap, "MADV_DONTNEED"):
            return False
        base = max(s for s in self.segments if s <= start)
        first, last = -(-(start - base) // mmap.PAGESIZE), (start + size - base) // mmap.PAGESIZE
        if last > first:
            self.segments[base][1].madvise(mmap.MADV_DONTNEED, first * mmap.PAGESIZE, (last - first) * mmap.PAGESIZE)
        return True


class _Pool:
    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.heap = _Heap()
        self.bins: dict[int, list[tuple[int, np.ndarray]]] = defaultdict(list)
        # Blocks whose arrays have died wait here: one may die at any time, also while the pool works in this thread.
        self.returned: deque[tuple[int, int, np.ndarray]] = deque()
        self.limit = 4 << 30
        self.system = self.reused = self.bin_bytes = self.used_bytes = 0

    @property
    def free_bytes(self) -> int:
        return self.bin_bytes + self.heap.pages

    def take(self, size: int) -> tuple[int, np.ndarray]:
        """The address of a block of this size, and what keeps its memory."""
        with self.lock:
            if self.returned:
                self.drain()
            if size < LARGE:
                blocks = self.bins[size]
                known = size if blocks else 0
                address, memory = blocks.pop() if blocks else self._or_clear(_block, size)
                self.bin_bytes -= known
            else:
                address, known = self._or_clear(self.heap.take, size)
                memory = self.heap.segment_of(address)
            self.reused += known >= size
            self.system += known < size
            self.used_bytes += size
            return address, memory

    def _or_clear(self, take: Callable[[int], Any], size: int) -> Any:
        """take(size); where the system has no more memory, all that is free goes back first."""
        try:
            try:
                return take(size)
            except MemoryError:
                clear()
                return take(size)
        except MemoryError as error:
            raise OutOfMemory(
                f"there is no memory for an array of {size / 2**30:,.1f} GiB ({error}): use a smaller batch or a smaller "
                "input; under minicnn.no_grad() nothing is kept for a backward"
            ) from None

    def drain(self) -> None:
        """Take back the blocks whose arrays have died."""
        while self.returned:
            address, size, memory = self.returned.popleft()
            self.used_bytes -= size
            keep = self.free_bytes + size <= self.limit
            if size >= LARGE:
                self.heap.give(address, size, keep)
            elif keep:
                self.bin_bytes += size
                self.bins[size].append((address, memory))


def _block(size: int) -> tuple[int, np.ndarray]:
    """The address of new memory, and what keeps it."""
    block = np.empty(size + ALIGN, np.uint8)
    address = block.__array_interface__["data"][0]
    return address + -address % ALIGN, block


_pool = _Pool()


class _Owner:
    """Owns a block as long as an array on it lives; the array refers to it as its base."""

    __slots__ = ("__array_interface__", "address", "filled", "memory", "size")

    def __init__(self, address: int, size: int, memory: np.ndarray, interface: dict[str, Any]) -> None:
        self.address, self.size, self.memory, self.__array_interface__ = address, size, memory, interface
        self.filled = -1  # channels in use, where `extended` left room behind them

    def __del__(self, give: Any = _pool.returned.append) -> None:
        give((self.address, self.size, self.memory))


def _rounded(size: int) -> int:
    """The bytes of a block. Small ones have size classes in steps of an eighth of a power of two."""
    step = ALIGN if size >= LARGE else max(ALIGN, 1 << max(0, size.bit_length() - 4))
    return -(-size // step) * step


def empty(shape: tuple[int, ...], dtype: Any) -> np.ndarray:
    """An array with undefined contents, aligned to 64 bytes. Raises OutOfMemory when the system has no more."""
    dtype = np.dtype(dtype)
    size = math.prod(shape) * dtype.itemsize
    if size < SMALL:
        return _small(shape, dtype)
    size = _rounded(size)
    address, memory = _pool.take(size)
    interface = {"data": (address, False), "shape": shape, "typestr": dtype.str, "version": 3}
    return np.asarray(_Owner(address, size, memory, interface))


def _small(shape: tuple[int, ...], dtype: Any) -> np.ndarray:
    try:
        return np.empty(shape, dtype)
    except ValueError as error:
        raise ShapeError(f"an array cannot have the shape {shape}: {error}") from None


def extended(x: np.ndarray, channels: int, room: int) -> np.ndarray:
    """An array (N, channels, ...) that begins with the channels of x; those behind are for the caller to write.

    Where x came from here, nothing was put behind it yet and there is room, it lies in the same memory; else x is copied to
    a new place that leaves room for `room` channels more. Blocks that join something to their input, layer after layer,
    so copy every channel once.
    """
    buffer, before = x.base, x.shape[1]
    owner = buffer.base if type(buffer) is np.ndarray else None
    if (
        type(owner) is _Owner and x.dtype == buffer.dtype and x.strides == buffer.strides
        and x.shape[::2] == buffer.shape[::2] and x.shape[3:] == buffer.shape[3:] and buffer.shape[1] >= channels
        and x.__array_interface__["data"][0] == owner.address
    ):  # fmt: skip
        with _pool.lock:
            if owner.filled == before:
                owner.filled = channels
                return buffer[:, :channels]
    buffer = empty((x.shape[0], channels + room, *x.shape[2:]), x.dtype)
    if type(buffer.base) is _Owner:
        buffer.base.filled = channels
    out = buffer[:, :channels]
    out[:, :before] = x
    return out


def statistics() -> dict[str, int]:
    """Blocks that took new pages from the system and blocks that did not, and the bytes that are free and in use now."""
    with _pool.lock:
        _pool.drain()
        return {name: getattr(_pool, name) for name in ("system", "reused", "free_bytes", "used_bytes", "limit")}


def set_limit(limit: int) -> None:
    """Keep at most `limit` bytes of free memory."""
    check(is_integer(limit) and limit >= 0, f"set_limit: limit is {limit!r}: it must be a number of bytes, at least 0")
    with _pool.lock:
        _pool.limit = int(limit)
        _pool.drain()
        if _pool.free_bytes > limit:
            clear()


def clear() -> None:
    """Give all free memory back to the system."""
    with _pool.lock:
        _pool.drain()
        _pool.bins.clear()
        _pool.bin_bytes = 0
        _pool.heap.clear()
