"""What the machine can do at most: multiply-adds that stay in registers, bytes from and to memory; a GPU's products of cuBLAS."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from .. import backends
from ..backends.launch import BLOCKS, THREADS
from .cases import normal
from .device import CPU, Cuda, Device

BYTES = 2**28
"""Of each array that is streamed: more than any cache."""
ROUNDS = 15
"""A limit is the best of so many: a disturbed one is none."""
PAUSE = 0.1
"""Seconds between rounds: a disturbance may last longer than all of them."""
CHAINS, TIMES = 16, 4096
"""As in kernels/cuda/limits.cu; and rounds of them."""
SIDE = 8192
"""Of the square matrices that cuBLAS multiplies."""

Calls = dict[str, tuple[Callable[[], Any], float]]
"""What to do and how many operations or bytes that is, by the limit's name."""


def measure(on: Device = CPU) -> dict[str, float]:
    """GFLOP/s and GB/s by name, as `minicnn bench` prints them; empty on a CPU without the C backend.

    fma_f32, fma_f64: multiply-adds (2 operations each) of registers, on a CPU with all threads; *_1: with one. copy: bytes
    read and written; read: bytes read. A kernel limit_NAME of kernels/minicnn.h counts where it was built and runs here.
    Of a GPU sgemm: large float32 products of cuBLAS; tf32: the same by PyTorch in TF32, on tensor cores.
    """
    calls = _of_gpu(on) if isinstance(on, Cuda) else _of_cpu() if "c" in backends.available() else {}
    times: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(ROUNDS if calls else 0):
        time.sleep(PAUSE)
        for name, (call, _) in calls.items():
            times[name].append(on.seconds(call))
    return {name: work / min(times[name]) / 1e9 for name, (_, work) in calls.items()}


def _of_gpu(on: Cuda) -> Calls:
    xp, kernels = on.xp, on.kernels
    sums = xp.empty((BLOCKS * THREADS,), np.float32)
    run = partial(kernels.launch, "limit_fma", sums, 0, TIMES, sums, grid=(BLOCKS,))
    square = normal(SIDE, SIDE)  # of equal numbers the product would take less power, and time
    a = on.array(square)
    x, y = (on.array(np.ones(BYTES // 4, np.float32)) for _ in range(2))
    calls: Calls = {"fma_f32": (run, 2.0 * CHAINS * TIMES * sums.size)}
    calls["sgemm"] = partial(xp.matmul, a, a, out=xp.empty(a.shape, a.dtype)), 2.0 * SIDE**3
    if torch := on.torch():
        b = on.tensor(square)
        calls["tf32"] = on.with_tf32(partial(torch.mm, b, b)), 2.0 * SIDE**3
    calls["copy"] = partial(xp.copyto, y, x), 2.0 * BYTES
    return calls


def _of_cpu() -> Calls:
    k, threads = backends.get("c").module, backends.get_num_threads()
    calls: Calls = {}
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
    return calls


def _flops(k: Any, name: str) -> int:
    """Operations in a round of the kernel limit_NAME, or 0 where there is none or this processor cannot run it.

    limit_NAME(rounds, out, threads) does `rounds` rounds of limit_flops_NAME() operations in every thread.
    """
    flops: Any = getattr(k.lib, f"limit_flops_{name}", None)
    return int(flops()) if flops else 0
