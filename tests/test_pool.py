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


def test_memory_serves_arrays_of_other_sizes():
    """What neighbours gave back is one piece: it holds a larger array, and many smaller ones."""
    size = 1 << 20
    arrays = [pool.empty((size,), np.uint8) for _ in range(8)]
    for array in arrays:
        array[...] = 1
    before = pool.statistics()
    del arrays, array
    for pieces in (1, 3, 20):
        several = [pool.empty((8 * size // pieces - 64,), np.uint8) for _ in range(pieces)]
        assert len({array.ctypes.data for array in several}) == pieces
        del several
    after = pool.statistics()
    assert after["system"] == before["system"] and after["used_bytes"] == before["used_bytes"] - 8 * size


def test_arrays_in_use_never_overlap(rng):
    """Random sizes, taken and given back in random order; each array holds its own number until it dies."""
    live: list[tuple[int, np.ndarray]] = []
    for number in range(2000):
        if live and rng.random() < 0.5:
            own, array = live.pop(int(rng.integers(len(live))))
            assert (array == own).all()
        else:
            array = pool.empty((int(2 ** rng.uniform(8, 17)),), np.int32)
            array[...] = number
            live.append((number, array))
        if number % 500 == 0:
            pool.clear()
    heap = pool._pool.heap
    assert all((array == own).all() for own, array in live)
    del live, array
    pool.statistics()
    assert sorted(heap.order) == heap.order == sorted((size, start) for start, (size, _) in heap.pieces.items())
    assert heap.pages == sum(pages for _, pages in heap.pieces.values())


def test_large_blocks_beyond_the_limit_go_back():
    pool.set_limit(1 << 20)
    arrays = [pool.empty((1 << 19,), np.uint8) for _ in range(8)]
    first = arrays[0]
    first[...] = 3
    del arrays
    assert pool.statistics()["free_bytes"] <= 1 << 20 and (first == 3).all()
    pool.clear()
    assert pool.statistics()["free_bytes"] == 0 and (first == 3).all()


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
