"""Copies between the CPU and the GPU for which neither waits.

What CuPy 14 does, on which this relies: `asarray` puts what comes from the CPU into pinned memory and copies it from there on the
current stream, and holds that memory until the copy has ended. What is freed goes back to the memory of the stream on which it was
allocated, whose next array may lie there at once, whatever other streams still do with it. Pinned memory too is given on at once.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .launch import with_room
from .reference import Array

MOST = 8
"""Arrivals and departures that may be under way: a CPU that is further ahead of the GPU waits."""

Sent = tuple[list[Array], Any]
"""Arrays on the device, and the event after which they are there."""


class Copies:
    """What travels to and from the device; one for all, so that it outlives what is under way. xp: CuPy, or its stand-in"""

    def __init__(self, xp: Any) -> None:
        self.xp = xp
        self.stream = xp.cuda.Stream(non_blocking=True)  # else it and the default stream would wait for each other
        self._used: deque[tuple[Any, Any]] = deque()
        self._lock = threading.Lock()

    @with_room
    def send(self, arrays: Sequence[np.ndarray]) -> Sent:
        """Start copying arrays to the device beside what is computed there, from any thread: for `receive`."""
        with self.stream:
            return [self.xp.asarray(np.ascontiguousarray(a)) for a in arrays], self.stream.record()

    @with_room
    def receive(self, sent: Sent, use: Callable[..., Array]) -> Array:
        """use(*arrays), launched on the current stream to run when they are there. What it gives must not lie in them: they are
        given back afterwards."""
        arrays, copied = sent
        now = self.xp.cuda.get_current_stream()
        now.wait_event(copied)
        result = use(*arrays)
        self._keep(now.record(), arrays)
        return result

    def fetch(self, arrays: Sequence[Array]) -> Callable[[], list[np.ndarray]]:
        """Start copying arrays to the CPU. What is returned gives them; it waits for these copies and for nothing launched later."""
        now = self.xp.cuda.get_current_stream()
        here = [np.ndarray(a.shape, a.dtype, self.xp.cuda.alloc_pinned_memory(a.nbytes)) for a in arrays]
        for array, pinned in zip(arrays, here):
            array.get(out=pinned, blocking=False)
        copied = now.record()
        self._keep(copied, here)

        def wait() -> list[np.ndarray]:
            copied.synchronize()
            return [pinned.copy() for pinned in here]

        return wait

    def _keep(self, event: Any, arrays: Any) -> None:
        """Hold arrays until the event: their memory must not be given to others before."""
        with self._lock:
            self._used.append((event, arrays))
            while self._used and (len(self._used) > MOST or self._used[0][0].done):
                self._used[0][0].synchronize()
                self._used.popleft()
