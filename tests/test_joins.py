"""Chains of joins (dense blocks) copy every channel once; gradients go back as parts of one array."""

from __future__ import annotations

import gc

import numpy as np
import pytest

import minicnn
from minicnn import Tensor, layers, models, ops
from minicnn.backends import pool
from minicnn.errors import GradientError
from minicnn.layers import BatchNorm2d, Cat, Concat, Conv2d, Graph, Identity, ReLU, Sequential


def dense_block(channels: int, growth: int, depth: int) -> Sequential:
    block = Sequential()
    for i in range(depth):
        wide = channels + i * growth
        new = Sequential(BatchNorm2d(wide), ReLU(), Conv2d(wide, growth, 3, padding=1))
        block.append(Concat({"features": Identity(), "new": new}))
    return block


def outputs_of(block, x, kind):
    """What the layers of this kind give when the block runs on x without hooks: the operation is watched instead."""
    seen = []
    chained, plain = kind.chained, kind.forward
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kind, "chained", lambda self, *a: seen.append(chained(self, *a)) or seen[-1])
        block(x)
    assert plain is kind.forward
    return seen


def gradients(block, x):
    block.zero_grad() if hasattr(block, "zero_grad") else None
    for p in block.parameters():
        p.grad = None
    x.grad = None
    y = block(x)
    (y * y * 0.5).sum().backward()
    return [y.numpy().copy(), x.grad.numpy(), *(p.grad.numpy() for p in block.parameters())]


def test_a_chain_lies_in_one_array(backend, rng):
    block = dense_block(8, 4, 5)
    x = Tensor(rng.standard_normal((2, 8, 9, 7)).astype(np.float32))
    maps = outputs_of(block, x, Cat)
    assert [m.shape[1] for m in maps] == [12, 16, 20, 24, 28]
    for m in maps:
        assert np.shares_memory(m.numpy(), maps[-1].numpy()) and (m.numpy() == maps[-1].numpy()[:, : m.shape[1]]).all()
    assert maps[-1].numpy().flags.c_contiguous  # the room was exact


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_chain_computes_what_plain_joins_do(backend, rng, dtype):
    block = dense_block(6, 3, 4)
    for p in block.parameters():
        p.data = p.numpy().astype(dtype)
    x = Tensor(rng.standard_normal((3, 6, 8, 8)).astype(dtype), requires_grad=True)
    chained = gradients(block, x)
    with minicnn.use_fusion(False):
        plain = gradients(block, x)
    for a, b in zip(chained, plain, strict=True):
        np.testing.assert_allclose(
            a, b, rtol=2e-4 if dtype == np.float32 else 1e-10, atol=1e-4 if dtype == np.float32 else 1e-10
        )


def test_gradients_of_leaves_are_whole_arrays(backend, rng):
    """A part of a gradient that the engine owns is not handed out as a .grad: it would keep the whole."""
    a, b = (Tensor(rng.standard_normal((2, 3, 16, 16)), requires_grad=True) for _ in "ab")
    (ops.cat([a, b]) * 3.0).sum().backward()
    assert a.grad.data.flags.c_contiguous and not np.may_share_memory(a.grad.data, b.grad.data)
    assert (a.grad.numpy() == 3).all() and (b.grad.numpy() == 3).all()


def test_a_part_is_added_to_in_place_only_where_the_engine_owns_the_whole(backend, rng):
    x = Tensor(rng.standard_normal((2, 3, 8, 8)), requires_grad=True)
    y = x * 1.0
    joined = ops.cat([y, y * 2.0])
    dy = np.ones(joined.shape)
    joined.backward(dy, retain_graph=True)
    assert (dy == 1).all()  # the user's
    np.testing.assert_allclose(x.grad.numpy(), 3)
    total = (joined * joined).sum()
    first = minicnn.grad(total, [joined, x], retain_graph=True)
    np.testing.assert_allclose(first[0].numpy(), 2 * joined.numpy())  # a result asked for stays what it was
    np.testing.assert_allclose(first[1].numpy(), 2 * joined.numpy()[:, :3] + 4 * joined.numpy()[:, 3:])


def test_the_same_tensor_twice(backend, rng):
    x = Tensor(rng.standard_normal((1, 2, 6, 6)), requires_grad=True)
    y = ops.cat([x, x, x])
    (y * Tensor(np.arange(6.0).reshape(1, 6, 1, 1))).sum().backward()
    assert (x.grad.numpy()[0, :, 0, 0] == [0 + 2 + 4, 1 + 3 + 5]).all()


def test_two_continuations_of_one_prefix(backend, rng):
    """The first takes the room behind it, the second copies."""
    net = Graph({
        "stem": (Conv2d(2, 4, 1), "input"), "a": (Conv2d(4, 3, 1), "stem"), "join": (Cat(), "stem", "a"),
        "left": (Conv2d(7, 3, 1), "join"), "right": (Conv2d(7, 3, 1), "join"),
        "join_left": (Cat(), "join", "left"), "join_right": (Cat(), "join", "right"), "sum": (layers.Add(), "join_left", "join_right"),
    })  # fmt: skip
    x = Tensor(rng.standard_normal((2, 2, 12, 12)).astype(np.float32), requires_grad=True)
    fused = gradients(net, x)
    with minicnn.use_fusion(False):
        plain = gradients(net, x)
    for a, b in zip(fused, plain, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4)


def test_joins_of_growing_width(backend, rng):
    """The room was too small: one of the chain copies once more."""
    block, channels = Sequential(), 2
    for new in (1, 7, 3, 20):
        block.append(Concat(Identity(), Conv2d(channels, new, 1)))
        channels += new
    x = Tensor(rng.standard_normal((2, 2, 16, 16)).astype(np.float32), requires_grad=True)
    fused = gradients(block, x)
    with minicnn.use_fusion(False):
        plain = gradients(block, x)
    for a, b in zip(fused, plain, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4)


def test_an_output_is_not_the_beginning_of_another(backend, rng):
    net = Graph(
        {"a": (Conv2d(3, 4, 1), "input"), "first": (Cat(), "input", "a"), "b": (Conv2d(7, 4, 1), "first"), "second": (Cat(), "first", "b")},
        outputs=("first", "second"),
    )  # fmt: skip
    first, second = net(Tensor(rng.standard_normal((2, 3, 16, 16)).astype(np.float32)))
    assert not np.shares_memory(first.numpy(), second.numpy())


def test_a_change_in_place_is_seen_through_the_chain(backend, rng):
    x = Tensor(rng.standard_normal((2, 3, 16, 16)), requires_grad=True)
    first = ops.shape.chained_cat([x, x * 2.0], 1, 1)
    squares = first * first
    second = ops.shape.chained_cat([first, x], 1, 0)
    assert np.shares_memory(first.numpy(), second.numpy())
    with minicnn.no_grad():
        second[:, :1] = 0.0
    with pytest.raises(GradientError, match="changed in place"):
        squares.sum().backward()


def test_joins_with_hooks_on_meta_and_without_recording(backend, rng):
    block = dense_block(4, 2, 3)
    x = Tensor(rng.standard_normal((2, 4, 16, 16)).astype(np.float32))
    block.eval()
    expected = block(x).numpy().copy()
    with minicnn.no_grad():
        np.testing.assert_array_equal(block(x).numpy(), expected)
    shapes = []
    with block[1].cat.register_forward_hook(lambda layer, inputs, output: shapes.append(output.shape)):
        np.testing.assert_allclose(block(x).numpy(), expected, rtol=1e-5, atol=1e-5)
    assert shapes == [(2, 8, 16, 16)]
    assert dense_block(4, 2, 3).to("meta")(Tensor(x, device="meta")).shape == expected.shape


def test_second_derivatives_through_a_chain(backend, rng):
    block = Sequential(*[Concat(Identity(), Conv2d(2 + i, 1, 1)) for i in range(3)])
    for p in block.parameters():
        p.data = p.numpy().astype(np.float64)
    minicnn.gradcheck(
        lambda x: (block(x) * block(x)).sum(), [Tensor(rng.standard_normal((1, 2, 16, 17)), requires_grad=True)]
    )


def test_a_dense_block_takes_memory_that_grows_with_what_is_computed(rng):
    """The joined maps of a block of L layers are one array, not L."""
    if "c" not in minicnn.backends.available():
        pytest.skip("the C backend takes views of channels as they are; the reference makes copies")
    block = dense_block(8, 8, 12)
    x = Tensor(rng.standard_normal((4, 8, 32, 32)).astype(np.float32))
    gc.collect()
    before = pool.statistics()["used_bytes"]
    y = block(x)
    taken = pool.statistics()["used_bytes"] - before
    one = 4 * 8 * 32 * 32 * 4  # bytes of what a layer adds
    # Kept: the joined map (13), each batch norm's output (1 + 2 + ... + 12 = 78), each new part (a ReLU-less
    # convolution's output is copied and dies). Plain joins would keep 2 + ... + 13 = 90 more.
    assert taken < (13 + 78 + 4) * one and y.shape == (4, 104, 32, 32)


def test_a_network_with_dense_blocks_trains_the_same_with_and_without(rng):
    minicnn.manual_seed(0)
    net = models.create("densenet121", blocks=(2, 3), growth_rate=4, num_classes=3)
    x, labels = Tensor(rng.standard_normal((2, 3, 64, 64)).astype(np.float32)), np.array([0, 2])
    found = []
    for flag in (True, False):
        with minicnn.use_fusion(flag):
            for p in net.parameters():
                p.grad = None
            loss = ops.cross_entropy(net(x), labels)
            loss.backward()
            found.append([loss.numpy().copy(), *(p.grad.numpy().copy() for p in net.parameters())])
    for a, b in zip(*found, strict=True):
        np.testing.assert_allclose(a, b, rtol=5e-3, atol=1e-4)
