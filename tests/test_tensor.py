"""Tensor: construction, dtypes, operators, indexing, devices."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

import minicnn
from minicnn import Tensor, ops
from minicnn.errors import ArgumentError, BackendError, DTypeError, GradientError, ShapeError


@pytest.mark.parametrize(
    "data, dtype",
    [([1, 2], np.float32), (1.5, np.float32), ([[1.0]], np.float32), (np.arange(3), np.int64),
     (np.float64(2), np.float64), (np.zeros(2, np.float16), np.float16), (True, np.bool_)],
)  # fmt: skip
def test_dtypes(data, dtype):
    assert Tensor(data).dtype == dtype


@pytest.mark.parametrize("data", ["word", ["a"], None, object(), [[1], [1, 2]], np.array(["x"]), np.array([1j])])
def test_what_is_no_number(data):
    with pytest.raises(DTypeError, match="Tensor: data"):
        Tensor(data)


def test_an_array_is_kept_as_it_is():
    array = np.ones(3, np.float32)
    assert Tensor(array).data is array


def test_integers_have_no_gradient():
    with pytest.raises(DTypeError, match="only floating Tensors have gradients"):
        Tensor(np.arange(3), requires_grad=True)


def test_numbers_take_the_tensors_dtype():
    for dtype in (np.float32, np.float64):
        x = Tensor(np.ones(2, dtype))
        for y in (x + 1, 1 - x, x * 2.5, 2 / x, x**2, [1.0, 2.0] + x, np.float64(3) * x, x + np.arange(2)):
            assert y.dtype == dtype


def test_ndarray_on_the_left_gives_a_tensor():
    y = np.ones(2, np.float32) + Tensor([1.0, 2.0])
    assert isinstance(y, Tensor) and y.tolist() == [2.0, 3.0]
    assert isinstance(np.eye(2) @ Tensor(np.ones(2)), Tensor)


def test_comparisons_give_bools_without_history():
    x = Tensor([1.0, 2.0], requires_grad=True)
    assert (x > 1.5).tolist() == [False, True] and (x == 1).tolist() == [True, False]
    assert not (x > 1).requires_grad


def test_reflected_operators(backend):
    x = Tensor(np.array([2.0, 4.0]))
    assert (1 - x).tolist() == [-1, -3] and (8 / x).tolist() == [4, 2] and (2**x).tolist() == [4, 16]


def test_indexing_like_numpy(backend, rng):
    a = rng.standard_normal((3, 4, 5))
    x = Tensor(a)
    for index in (
        0,
        -1,
        slice(1, None),
        (..., 2),
        (slice(None), None, 1),
        [0, 2],
        np.array([[0], [1]]),
        a > 0,
        (1, 2, 3),
    ):
        np.testing.assert_array_equal(x[index].numpy(), a[index])
    with pytest.raises(ShapeError, match="getitem"):
        x[7]


def test_iteration_stops():
    assert [row.tolist() for row in Tensor([[1, 2], [3, 4]])] == [[1, 2], [3, 4]]


def test_setitem_broadcasts():
    x = Tensor(np.zeros((2, 3)))
    x[:, 1] = [1.0, 2.0]
    assert x.tolist() == [[0, 1, 0], [0, 2, 0]]


def test_shapes_that_disagree(backend):
    x = Tensor(np.ones((2, 3)))
    for wrong in (lambda: x + Tensor(np.ones(2)), lambda: x @ x, lambda: x.reshape(4), lambda: x.reshape(-1, -1),
                  lambda: x.transpose(0, 0), lambda: x.sum(2), lambda: ops.cat([x, Tensor(np.ones((3, 3)))], 1),
                  lambda: ops.pad(x, [(1, 1)]), lambda: ops.broadcast_to(x, (3, 3)), lambda: x.sum((0, 0))):  # fmt: skip
        with pytest.raises(ShapeError):
            wrong()


def test_item_needs_one_element():
    assert Tensor([[3.0]]).item() == 3.0
    with pytest.raises(ArgumentError, match=r"item: the Tensor has shape \(2,\)"):
        Tensor([1.0, 2.0]).item()


def test_detach_shares_memory_and_forgets():
    x = Tensor([1.0], requires_grad=True)
    y = (x * 2).detach()
    assert y.is_leaf and not y.requires_grad
    with pytest.raises(GradientError, match="use .detach"):
        (x * 2).requires_grad = False


def test_repr():
    assert repr(Tensor([1.0, 2.0], requires_grad=True)) == "Tensor([1., 2.], requires_grad=True)"
    assert "from multiply" in repr(Tensor([1.0], requires_grad=True) * 2)
    assert repr(Tensor([1.0]).to("meta")) == "Tensor(shape=(1,), dtype=float32, device='meta')"


def test_meta_has_no_values():
    x = Tensor(np.ones((2, 3))).to("meta")
    for ask in (x.item if x.size == 1 else x.numpy, x.tolist, lambda: bool(x[0, 0]), lambda: x[x]):
        with pytest.raises(BackendError, match="meta"):
            ask()


def test_devices_do_not_mix():
    with pytest.raises(BackendError, match="one operand is on .*move one with"):
        Tensor(np.ones(2)).to("meta") + Tensor(np.ones(2))
    with pytest.raises(BackendError, match="must be cpu, cuda or meta"):
        Tensor([1.0]).to("tpu")


def test_use_backend_refuses_other_names():
    with pytest.raises(BackendError, match="must be c or numpy"), minicnn.use_backend("cuda"):
        pass


def test_import_is_light():
    code = (
        "import sys, time; t = time.perf_counter(); import minicnn; print(time.perf_counter() - t); print(*sys.modules)"
    )
    lines = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.splitlines()
    loaded = lines[1].split()
    assert not {"cupy", "matplotlib", "PIL", "rich", "typer", "pooch"} & set(loaded)
