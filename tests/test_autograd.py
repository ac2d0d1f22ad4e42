"""The engine: graphs, versions, memory, errors, anomaly mode."""

from __future__ import annotations

import gc
import weakref

import numpy as np
import pytest

import minicnn
from minicnn import Tensor, ops
from minicnn.autograd import Node
from minicnn.errors import AnomalyError, GradientError


def leaf(*values, dtype=np.float64):
    return Tensor(np.array(values, dtype), requires_grad=True)


def test_a_leaf_used_twice_gets_both_gradients(backend):
    x = leaf(2.0, 3.0)
    (x * x + x).sum().backward()
    np.testing.assert_allclose(x.grad.numpy(), [5.0, 7.0])


def test_gradients_add_up_over_backwards(backend):
    x = leaf(2.0)
    for _ in range(3):
        (x * 4.0).sum().backward()
    assert x.grad.item() == 12.0


def test_grad_is_a_tensor_and_aliases_nothing(backend):
    a, b = leaf(1.0, 2.0), leaf(3.0, 4.0)
    start = Tensor(np.ones(2))
    (a + b).backward(start)
    assert isinstance(a.grad, Tensor)
    assert not np.shares_memory(a.grad.numpy(), b.grad.numpy())
    assert not np.shares_memory(a.grad.numpy(), start.numpy())
    a.grad.data[...] = 9
    assert b.grad.tolist() == [1.0, 1.0] and start.tolist() == [1.0, 1.0]


def test_a_gradient_that_is_a_view_is_copied(backend):
    x = Tensor(np.arange(6.0).reshape(2, 3), requires_grad=True)
    start = np.ones((3, 2))
    x.T.backward(start)
    assert not np.shares_memory(x.grad.numpy(), start)


def test_accumulating_does_not_write_into_an_old_gradient(backend):
    x = leaf(1.0)
    (x * 2.0).sum().backward()
    first = x.grad
    (x * 2.0).sum().backward()
    assert first.item() == 2.0 and x.grad.item() == 4.0


def test_intermediate_gradients_through_grad(backend):
    x = leaf(3.0)
    y = x * x
    z = (y * y).sum()
    dy, dx = minicnn.grad(z, [y, x])
    assert dy.item() == 18.0 and dx.item() == 108.0
    assert x.grad is None


def test_grad_of_an_input_that_does_not_matter_is_zero(backend):
    x, y = leaf(3.0), leaf(1.0, 2.0)
    assert minicnn.grad((x * x).sum(), y).tolist() == [0.0, 0.0]


def test_second_backward_through_a_freed_graph(backend):
    x = leaf(2.0)
    y = (x * x).sum()
    y.backward()
    with pytest.raises(GradientError, match="freed by an earlier backward.*retain_graph=True"):
        y.backward()


def test_retain_graph(backend):
    x = leaf(2.0)
    y = (x * x).sum()
    y.backward(retain_graph=True)
    y.backward()
    assert x.grad.item() == 8.0


def test_non_scalar_loss_needs_a_gradient(backend):
    x = leaf(2.0, 3.0)
    with pytest.raises(GradientError, match=r"shape \(2,\); without a gradient it must be a scalar"):
        (x * x).backward()
    with pytest.raises(GradientError, match=r"gradient has shape \(3,\), the output \(2,\)"):
        (x * x).backward(np.ones(3))


def test_nothing_to_differentiate(backend):
    with pytest.raises(GradientError, match="does not depend on anything that requires a gradient"):
        Tensor([1.0]).sum().backward()


@pytest.mark.parametrize("change", ["setitem", "copy_", "data", "view"])
def test_change_in_place_between_forward_and_backward(change, backend):
    x, w = Tensor(np.ones(3)), leaf(1.0, 2.0, 3.0)
    y = (w * x).sum()
    if change == "setitem":
        x[0] = 5.0
    elif change == "copy_":
        x.copy_(np.zeros(3))
    elif change == "data":
        x.data = np.zeros(3)
    else:
        x[1:][0] = 7.0
    with pytest.raises(GradientError, match="multiply: an array that its backward needs was changed in place"):
        y.backward()


def test_change_of_a_saved_output(backend):
    x = leaf(1.0)
    y = ops.exp(x)
    z = y.sum()
    with minicnn.no_grad():
        y[0] = 0.0
    with pytest.raises(GradientError, match="exp"):
        z.backward()


def test_change_of_what_is_not_needed_is_fine(backend):
    x, w = Tensor(np.ones(3)), leaf(1.0, 2.0, 3.0)
    y = (w + x).sum()
    x[0] = 5.0
    y.backward()
    assert w.grad.tolist() == [1, 1, 1]


def test_writing_to_a_tensor_that_is_being_recorded(backend):
    with pytest.raises(GradientError, match=r"under minicnn.no_grad\(\)"):
        leaf(1.0)[0] = 2.0


def test_anomaly_mode_sees_a_change_through_numpy(backend):
    x, w = Tensor(np.ones(3)), leaf(1.0, 2.0, 3.0)
    with minicnn.detect_anomaly():
        y = (w * x).sum()
        x.numpy()[0] = 5
        with pytest.raises(GradientError, match="NumPy view"):
            y.backward()


def test_anomaly_mode_names_the_operation(backend):
    with (
        minicnn.detect_anomaly(),
        pytest.raises(AnomalyError, match="log: an infinity first appeared here, in the forward"),
    ):
        ops.exp(ops.log(leaf(0.0, 1.0)) * 2)


def test_anomaly_mode_names_the_backward(backend):
    with (
        minicnn.detect_anomaly(),
        pytest.raises(AnomalyError, match="sqrt: an infinity first appeared here, in the backward"),
    ):
        ops.sqrt(leaf(0.0, 1.0)).sum().backward()


def test_no_grad_records_nothing(backend):
    x = leaf(1.0)
    with minicnn.no_grad():
        y = x * 2
    assert not y.requires_grad and y.is_leaf


def test_a_frozen_operand_saves_nothing(backend):
    x, w = leaf(1.0, 2.0), Tensor(np.ones(2))
    y = w * x
    assert [item is None for item in y._node.saved] == [True, False]


def test_graphs_of_any_depth(backend):
    x = leaf(1.0)
    y = x
    for _ in range(20_000):
        y = y + 1.0
    y.sum().backward()
    assert x.grad.item() == 1.0


def test_many_paths_take_linear_time(backend):
    x = leaf(1.0)
    y = x
    for _ in range(60):
        y = y + y
    y.sum().backward()
    assert x.grad.item() == 2.0**60


def test_memory_is_freed_by_reference_counting_alone(backend):
    gc.disable()
    try:
        w = Tensor(np.ones((3, 2, 3, 3)), requires_grad=True)
        x = Tensor(np.random.default_rng(0).random((2, 2, 5, 5)), requires_grad=True)
        y = ops.max_pool2d(ops.relu(ops.conv2d(x, w, padding=1)), 2)
        y = ops.batch_norm(ops.sigmoid(y), relu=True)
        loss = ops.cross_entropy(y.flatten(), np.array([0, 1]))
        gradient = minicnn.grad(loss, w, create_graph=True)
        (gradient * gradient).sum().backward()
        watched = [weakref.ref(t) for t in (y, loss, gradient)]
        del y, loss, gradient
        assert [ref() for ref in watched] == [None] * 3
        gc.collect()
        assert not any(issubclass(type(o), Node) for o in gc.get_objects())
    finally:
        gc.enable()


def test_backward_runs_on_the_forwards_backend():
    seen = []

    from minicnn.autograd import differentiable

    @differentiable
    def probe(kernels, needs, x):
        def backward(saved, dy, needs):
            seen.append(minicnn.backends.current())
            return (dy * 1.0,)

        seen.append(kernels.name)
        return x.copy(), [], backward

    x = leaf(1.0)
    with minicnn.use_backend("numpy"):
        y = probe(x)
    y.sum().backward()
    assert seen == ["numpy", "numpy"]


def test_dtypes_of_gradients_follow_the_leaf(backend):
    x = Tensor(np.ones(2, np.float32), requires_grad=True)
    (x * Tensor(np.ones(2, np.float64))).sum().backward()
    assert x.grad.dtype == np.float32
