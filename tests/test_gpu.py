"""On a real GPU: `pytest -m gpu`. Everything else is tested by emulation (test_cuda_kernels.py, test_cuda_networks.py)."""

from __future__ import annotations

import numpy as np
import pytest

import minicnn
from minicnn import Tensor, backends, models, ops, optim, selftest
from minicnn.errors import BackendError

pytestmark = pytest.mark.gpu


@pytest.fixture(autouse=True)
def _gpu():
    try:
        backends.get("cuda")
    except BackendError as error:
        pytest.skip(str(error))


@pytest.mark.parametrize(
    ("name", "check"), list(selftest.checks("cuda")), ids=lambda value: value if isinstance(value, str) else ""
)
def test_selftest(name, check):
    check()


def _loss(model, images, labels):
    outputs = model(images)
    logits, *others = outputs if isinstance(outputs, tuple) else (outputs,)
    loss = ops.cross_entropy(logits, labels)
    for other in others:
        loss = loss + ops.cross_entropy(other, labels)
    return loss


@pytest.mark.slow
@pytest.mark.parametrize("name", models.names())
def test_one_training_step(name):
    """Every network of the zoo: the loss before and after a step on the CPU and on the GPU."""
    images = np.random.default_rng(0).standard_normal((2, *models.info(name).input_shape)).astype(np.float32)
    losses = []
    for device in ("cpu", "cuda"):
        minicnn.manual_seed(0)
        model = models.create(name)
        model.to(device).eval()  # no dropout, and no batch normalisation of two images, which multiplies rounding
        optimizer = optim.SGD(model.parameters(), lr=1e-4, momentum=0.9)
        for _ in range(2):
            loss = _loss(model, Tensor(images, device=device), np.array([1, 0]))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
    assert losses[:2] == pytest.approx(losses[2:], rel=1e-3)


def test_too_little_memory_is_an_error_and_leaves_the_process_usable():
    with pytest.raises(BackendError, match="device's memory"):
        backends.get("cuda").empty((2**50,), np.float32)
    assert Tensor(np.ones(3, np.float32), device="cuda").sum().item() == 3


def test_the_same_steps_give_the_same_bits():
    weights = []
    for _ in range(2):
        minicnn.manual_seed(1)
        model = models.create("cifar_resnet20", device="cuda")
        optimizer = optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
        images = Tensor(np.random.default_rng(0).standard_normal((16, 3, 32, 32)).astype(np.float32), device="cuda")
        for _ in range(3):
            optimizer.zero_grad()
            ops.cross_entropy(model(images), np.arange(16) % 10).backward()
            optimizer.step()
        weights.append([p.numpy() for p in model.parameters()])
    assert all(np.array_equal(a, b) for a, b in zip(*weights))
