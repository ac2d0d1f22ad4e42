"""What the machine can do at most: multiply-adds that stay in registers, bytes from and to memory."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from .. import backends
from .measure import seconds

BYTES = 2**28
"""Of each array that is streamed: more than any cache."""
ROUNDS = 15
"""A limit is the best of so many: a disturbed one is none."""
PAUSE = 0.1
"""Seconds between rounds: a disturbance may last longer than all of them."""


def measure() -> dict[str, float]:
    """GFLOP/s and GB/s by name, as `minicnn bench` prints them; empty where the C backend is not there.

    fma_f32, fma_f64: multiply-adds (2 operations each) of vector registers, with all threads; *_1: with one. copy: bytes
    read and written; read: bytes read. A kernel limit_NAME of kernels/minicnn.h counts where it was built and runs here.
    """
    if "c" not in backends.available():
        return {}
    k, threads = backends.get("c").module, backends.get_num_threads()
    calls: dict[str, tuple[Callable[[], Any], float]] = {}
    for name in ("fma_f32", "fma_f64", "bf16", "amx"):
        for n in sorted({1, threads}):
            each = _flops(k, name)
            if each:
                rounds = max(1, round(2e9 / each))
                run: Any = partial(getattr(k.lib, f"limit_{name}"), rounds, k.ffi.new("double *"), n)
                calls[name if n == threads else f"{name}_1"] = run, n * rounds * each
    x, y = np.ones(BYTES // 4, np.float32), np.zeros(BYTES // 4, np.float32)
    a, b = k.ffi.from_buffer("float[]", x), k.ffi.from_buffer("float[]", y)
    calls["read"] = partial(k.lib.limit_read, a, x.size, k.ffi.new("float *"), threads), x.nbytes
    calls["copy"] = partial(k.lib.limit_copy, a, b, x.size, threads), 2 * x.nbytes
    times: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(ROUNDS):
        time.sleep(PAUSE)
        for name, (call, _) in calls.items():
            times[name].append(seconds(call))
    return {name: work / min(times[name]) / 1e9 for name, (_, work) in calls.items()}


def _flops(k: Any, name: str) -> int:
    """Operations in a round of the kernel limit_NAME, or 0 where there is none or this processor cannot run it.

    limit_NAME(rounds, out, threads) does `rounds` rounds of limit_flops_NAME() operations in every thread.
    """
    flops: Any = getattr(k.lib, f"limit_flops_{name}", None)
    return int(flops()) if flops else 0
