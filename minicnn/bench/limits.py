"""What the machine can do at most: multiply-adds that stay in registers, bytes from and to memory."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import backends
from .measure import median, seconds

BYTES = 2**28
"""Of each array that is streamed: more than any cache."""
ROUNDS = 9


def measure() -> dict[str, float]:
    """GFLOP/s and GB/s by name, as `minicnn bench` prints them; empty where the C backend is not there.

    fma_f32, fma_f64: multiply-adds (2 operations each) of vector registers, with all threads; *_1: with one. copy: bytes
    read and written; read: bytes read. A kernel limit_NAME of kernels/minicnn.h counts where it was built and runs here.
    """
    if "c" not in backends.available():
        return {}
    k, threads = backends.get("c").module, backends.get_num_threads()
    found: dict[str, float] = {}
    for name in ("fma_f32", "fma_f64", "bf16", "amx"):
        for n in sorted({1, threads}):
            rate = _compute(k, name, n)
            if rate:
                found[name if n == threads else f"{name}_1"] = rate
    x, y = np.ones(BYTES // 4, np.float32), np.zeros(BYTES // 4, np.float32)
    a, b, out = (k.ffi.from_buffer("float[]", array) for array in (x, y, np.zeros(1, np.float32)))
    read = [seconds(lambda: k.lib.limit_read(a, x.size, out, threads)) for _ in range(ROUNDS)]
    copy = [seconds(lambda: k.lib.limit_copy(a, b, x.size, threads)) for _ in range(ROUNDS)]
    return found | {"read": x.nbytes / median(read) / 1e9, "copy": 2 * x.nbytes / median(copy) / 1e9}


def _compute(k: Any, name: str, threads: int) -> float:
    """GFLOP/s of the kernel limit_NAME, or 0 where there is none or this processor cannot run it.

    limit_NAME(rounds, out, threads) does `rounds` rounds of limit_flops_NAME() operations in every thread; 0 of them:
    this processor cannot.
    """
    run: Any = getattr(k.lib, f"limit_{name}", None)
    flops: Any = getattr(k.lib, f"limit_flops_{name}", None)
    each = flops() if run and flops else 0
    if not each:
        return 0.0
    out = k.ffi.new("double *")
    rounds = max(1, round(2e9 / each))
    times = [seconds(lambda: run(rounds, out, threads)) for _ in range(ROUNDS)]
    return float(threads * rounds * each / median(times) / 1e9)
