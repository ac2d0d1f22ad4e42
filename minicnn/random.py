"""Every random number, as a pure function of (seed, stream, step or sample): Philox 4x32-10.

Nothing here depends on what was drawn before, except `next_key`, whose whole state is two integers (`get_state`).
The C and CUDA backends compute the same bits (kernels/minicnn.h).
Source: Salmon, Moraes, Dror and Shaw 2011, "Parallel random numbers: as easy as 1, 2, 3".
"""

from __future__ import annotations

import threading
import zlib
from typing import NamedTuple

import numpy as np

from .errors import check
from .geometry import is_integer


class Key(NamedTuple):
    """Where a sequence of random numbers starts: `seed` and `stream` are the Philox key, `step` the high counter words."""

    seed: int
    """0 .. 2**32 - 1"""
    stream: int
    """0 .. 2**32 - 1"""
    step: int
    """0 .. 2**64 - 1"""


class _State:
    seed = 0
    step = 0
    lock = threading.Lock()


def manual_seed(seed: int) -> None:
    """Start all random numbers over from `seed`, a whole number from 0 to 2**32 - 1."""
    check(
        is_integer(seed) and 0 <= seed < 2**32,
        f"manual_seed: seed is {seed!r}: it must be an integer in 0 .. 2**32 - 1",
    )
    with _State.lock:
        _State.seed, _State.step = int(seed), 0


def get_state() -> dict[str, int]:
    """The seed and how many keys were drawn since: all that a checkpoint needs."""
    with _State.lock:
        return {"seed": _State.seed, "step": _State.step}


def set_state(state: dict[str, int]) -> None:
    """Go on where `get_state` was taken."""
    good = isinstance(state, dict) and is_integer(state.get("seed")) and is_integer(state.get("step"))
    check(good, f"random.set_state: state is {state!r}: it must be what get_state gave, {{'seed': ..., 'step': ...}}")
    with _State.lock:
        _State.seed, _State.step = int(state["seed"]), int(state["step"])


def key(stream: str, step: int = 0, seed: int | None = None) -> Key:
    """The key of a named stream at a step (an epoch, a sample, a training step)."""
    check(
        seed is None or (is_integer(seed) and 0 <= seed < 2**32),
        f"random.key: seed is {seed!r}: it must be an integer in 0 .. 2**32 - 1",
    )
    check(
        is_integer(step) and 0 <= step < 2**64, f"random.key: step is {step!r}: it must be an integer in 0 .. 2**64 - 1"
    )
    return Key(_State.seed if seed is None else seed, zlib.crc32(stream.encode()), step)


def next_key(stream: str) -> Key:
    """A key that was not used before under this seed: for dropout masks and initial weights."""
    with _State.lock:
        _State.step += 1
        return Key(_State.seed, zlib.crc32(stream.encode()), _State.step)


def generator(key: Key) -> np.random.Generator:
    """A NumPy generator that starts at `key`: for shuffles, normal numbers and whatever is drawn once."""
    return np.random.Generator(np.random.Philox(key=(key.seed << 64) | key.stream, counter=[0, 0, 0, key.step]))


_MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
_WEYL = (0x9E3779B9, 0xBB67AE85)


def philox(key: Key, count: int, first: int = 0) -> np.ndarray:
    """`count` random uint32 numbers: number i is word i % 4 of the block with counter (i // 4, step).

    first: index of the first number, a multiple of 4.
    """
    blocks = np.arange(first // 4, first // 4 + -(-count // 4), dtype=np.uint64)
    return _blocks(key, blocks).reshape(-1)[:count]


def _blocks(key: Key, blocks: np.ndarray) -> np.ndarray:
    """The four words of each block (uint64 numbers), (len(blocks), 4) uint32."""
    low, high = np.uint64(0xFFFFFFFF), np.uint64(32)
    a, b = blocks & low, blocks >> high
    c, d = np.full_like(a, key.step & 0xFFFFFFFF), np.full_like(a, key.step >> 32)
    k0, k1 = key.seed, key.stream
    m0, m1 = map(np.uint64, _MULTIPLIERS)
    for _ in range(10):
        left, right = a * m0, c * m1
        a, b, c, d = (right >> high) ^ b ^ np.uint64(k0), right & low, (left >> high) ^ d ^ np.uint64(k1), left & low
        k0, k1 = (k0 + _WEYL[0]) & 0xFFFFFFFF, (k1 + _WEYL[1]) & 0xFFFFFFFF
    return np.stack([a, b, c, d], axis=1).astype(np.uint32)


def uniform(key: Key, count: int) -> np.ndarray:
    """`count` float64 numbers in [0, 1), each from one word of `philox`."""
    return philox(key, count) * 2.0**-32
