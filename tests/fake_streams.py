"""Time in the stand-in for CuPy: streams whose copies happen as late as they may, and what is then wrong.

Kernels on the default stream compute at once. A copy on another stream, and any copy to the CPU, happens only when somebody waits
for it: until then nothing has arrived. That the default stream is done with something nobody knows before having waited for it.
"""

from __future__ import annotations

import collections
import threading
import time
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np

counts: collections.Counter[str] = collections.Counter()
"""Copies "to device" and "to cpu", "waits" of the CPU for the device, and "copies" that only make arrays contiguous."""
mistakes: list[str] = []
"""What would be a race on a GPU."""
_local = threading.local()


class Event:
    """A moment of a stream: after `number` pieces of work."""

    stream: Stream | None = None

    def record(self, stream: Stream | None = None) -> None:
        self.stream = stream or current()
        self.number, self.at = self.stream.add(), time.perf_counter()

    @property
    def done(self) -> bool:
        assert self.stream, "the event was not recorded"
        return self.number <= self.stream.known

    def synchronize(self) -> None:
        counts["waits"] += not self.done
        assert self.stream
        self.stream.run(self.number)
        self.stream.known = max(self.stream.known, self.number)


def elapsed(start: Event, end: Event) -> float:
    """Milliseconds, which CuPy says once both have passed."""
    if not (start.done and end.done):
        raise RuntimeError("cudaErrorNotReady: device not ready")
    return (end.at - start.at) * 1e3


class Stream:
    """CuPy's Stream."""

    null: Stream

    def __init__(self, null: bool = False, non_blocking: bool = False) -> None:
        assert null or non_blocking, "the default stream would wait for this one, and this one for it"
        self.given = self.known = 0
        self.work: collections.deque[tuple[int, Callable[[], None]]] = collections.deque()
        self.lock = threading.RLock()

    def add(self, work: Callable[[], None] | None = None) -> int:
        """Give the stream something to do: now that it is the default stream's own, `work` is what is left of it."""
        with self.lock:
            self.given += 1
            if work is not None:
                self.work.append((self.given, work))
            return self.given

    def run(self, number: int) -> None:
        with self.lock:
            while self.work and self.work[0][0] <= number:
                self.work.popleft()[1]()

    def record(self) -> Event:
        event = Event()
        event.record(self)
        return event

    def wait_event(self, event: Event) -> None:
        assert event.stream
        event.stream.run(event.number)

    def synchronize(self) -> None:
        self.record().synchronize()

    def __enter__(self) -> Stream:
        _local.streams = [*getattr(_local, "streams", []), self]
        return self

    def __exit__(self, *_: Any) -> None:
        _local.streams.pop()


Stream.null = Stream(null=True)


def current() -> Stream:
    """The stream of this thread."""
    streams = getattr(_local, "streams", [])
    return streams[-1] if streams else Stream.null


def arrive(out: np.ndarray, values: np.ndarray) -> None:
    """Copy what is on the CPU to the device, on the current stream, from a copy as CuPy does."""
    counts["to device"] += 1
    if current() is Stream.null:
        out[...] = values
    else:
        target, staged = weakref.ref(out), values.copy()
        current().add(lambda: _land(target, staged, None))


def leave(values: np.ndarray, out: np.ndarray, blocking: bool, stream: Stream) -> None:
    """Copy what is on the device to the CPU."""
    counts["to cpu"] += 1
    target, then = weakref.ref(out), values.copy() if stream is Stream.null else values
    stream.add(lambda: _land(target, then, "the CPU's memory was given back before the copy to it had ended"))
    if blocking:
        stream.synchronize()


def _land(target: Callable[[], np.ndarray | None], values: np.ndarray, otherwise: str | None) -> None:
    out = target()
    if out is not None:
        out[...] = values
    elif otherwise:
        mistakes.append(otherwise)


class Pool:
    """CuPy's memory pool, as far as it counts: it takes what is in use at once and gives nothing back."""

    def __init__(self) -> None:
        self.used = self.total = 0

    def take(self, array: np.ndarray) -> None:
        size = -(-array.nbytes // 512) * 512
        self.used += size
        self.total = max(self.total, self.used)
        weakref.finalize(array, self._give, size)

    def _give(self, size: int) -> None:
        self.used -= size

    def total_bytes(self) -> int:
        return self.total

    def free_all_blocks(self) -> None:
        self.total = self.used
