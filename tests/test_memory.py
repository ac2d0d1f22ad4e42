"""Training with the garbage collector off holds a constant amount of memory."""

from __future__ import annotations

import gc

import numpy as np
import pytest

import minicnn
from minicnn import Tensor, models, ops, optim
from minicnn.backends import pool


@pytest.mark.parametrize("name", ["lenet5", "alexnet_cifar"])
def test_training_without_the_garbage_collector(name, backend, rng):
    model = models.create(name)
    optimizer = optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    images = rng.standard_normal((4, *models.info(name).input_shape)).astype(np.float32)
    labels = np.arange(4)

    def step():
        loss = ops.cross_entropy(model(Tensor(images)), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    gc.collect()
    gc.disable()
    try:
        for _ in range(3):
            step()
        early = pool.statistics()
        for _ in range(9):  # until every step finds the memory that the one before it left
            step()
        before, objects = pool.statistics(), len(gc.get_objects())
        for _ in range(10):
            step()
        after = pool.statistics()
        assert after["used_bytes"] == before["used_bytes"] == early["used_bytes"]
        assert after["system"] == before["system"]
        assert before["system"] - early["system"] <= 2, "more than a block or two fell in place late"
        assert before["free_bytes"] - early["free_bytes"] < 0.05 * (early["free_bytes"] + early["used_bytes"])
        assert len(gc.get_objects()) - objects < 50
    finally:
        gc.enable()


def test_double_backward_without_the_garbage_collector(backend, rng):
    """A gradient penalty: derivatives of derivatives leave no cycles behind either."""
    model = models.create("lenet5")
    x = Tensor(rng.standard_normal((2, 1, 32, 32)).astype(np.float32), requires_grad=True)
    weights = list(model.parameters())

    def step():
        loss = ops.cross_entropy(model(x), np.array([1, 2]))
        gradient = minicnn.grad(loss, x, create_graph=True)
        minicnn.grad((gradient * gradient).sum(), weights)

    gc.collect()
    gc.disable()
    try:
        step()
        before, objects = pool.statistics()["used_bytes"], len(gc.get_objects())
        for _ in range(5):
            step()
        assert pool.statistics()["used_bytes"] == before
        assert len(gc.get_objects()) - objects < 50
    finally:
        gc.enable()
