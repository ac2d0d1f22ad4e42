"""The memory pool."""

from __future__ import annotations

import gc

import numpy as np
import pytest

from minicnn import Tensor, ops
from minicnn.backends import pool


@pytest.fixture(autouse=True)
def _fresh():
    pool.clear()
    limit = pool.statistics()["limit"]
    yield
    pool.set_limit(limit)


def test_arrays_are_aligned_and_writable():
    for shape in ((1000,), (3, 5, 777), (2**20,)):
        array = pool.empty(shape, np.float32)
        assert array.shape == shape and array.flags.writeable and array.flags.c_contiguous
        assert array.ctypes.data % pool.ALIGN == 0


def test_a_block_comes_back_when_the_last_view_dies():
    array = pool.empty((1000, 10), np.float64)
    view = array[5:].reshape(-1)[3:]
    view[...] = 7
    before = pool.statistics()["free_bytes"]
    del array
    other = pool.empty((1000, 10), np.float64)
    other[...] = 0
    assert pool.statistics()["free_bytes"] == before and (view == 7).all()
    del view
    assert pool.statistics()["free_bytes"] > before


def test_blocks_are_reused():
    first = pool.empty((5000,), np.float32)
    del first
    before = pool.statistics()
    second = pool.empty((5001,), np.float32)  # the same size class
    after = pool.statistics()
    assert after["reused"] == before["reused"] + 1 and after["system"] == before["system"]
    del second


def test_the_pool_is_bounded_and_can_be_emptied():
    pool.set_limit(100_000)
    arrays = [pool.empty((20_000,), np.uint8) for _ in range(20)]
    del arrays
    assert pool.statistics()["free_bytes"] <= 100_000
    pool.clear()
    assert pool.statistics()["free_bytes"] == 0


def test_small_and_empty_arrays():
    assert pool.empty((0, 3), np.float32).shape == (0, 3)
    assert pool.empty((), np.float32).shape == ()


def test_a_steady_loop_takes_nothing_from_the_system(backend, rng):
    w = Tensor(rng.standard_normal((8, 3, 3, 3)).astype(np.float32), requires_grad=True)
    x = Tensor(rng.standard_normal((4, 3, 16, 16)).astype(np.float32))

    def step():
        y = ops.max_pool2d(ops.conv2d(x, w, padding=1, relu=True), 2)
        w.grad = None
        ops.cross_entropy(y.flatten(), np.arange(4)).backward()

    gc.disable()
    try:
        for _ in range(3):
            step()
        before = pool.statistics()
        for _ in range(20):
            step()
        after = pool.statistics()
    finally:
        gc.enable()
    assert after["system"] == before["system"] and after["reused"] > before["reused"]
    assert after["used_bytes"] == before["used_bytes"]
