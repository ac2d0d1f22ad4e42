"""On a real GPU: `pytest -m gpu`. Everything else is tested by emulation (test_cuda_kernels.py, test_cuda_networks.py)."""

from __future__ import annotations

import copy

import numpy as np
import pytest
from test_zoo import loss_of

import minicnn
from minicnn import Tensor, backends, data, models, ops, optim, selftest, training
from minicnn.errors import BackendError, OutOfMemory

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


def one_step(source, images, device, dtype):
    """The loss of a training step, the gradients and the weights after it, by parameter."""
    minicnn.manual_seed(0)  # the same dropout everywhere
    model = copy.deepcopy(source).to(device, dtype)
    loss = loss_of(model(Tensor(images.astype(dtype), device=device)), np.array([1, 0]))
    loss.backward()
    gradients = [p.grad.numpy() for p in model.parameters()]
    optim.SGD(model.parameters(), lr=0.01, momentum=0.9).step()
    return loss.item(), gradients, [p.numpy() for p in model.parameters()]


def difference(found, exact):
    """The relative one of lists of arrays, all together."""
    off = sum(float(np.sum((a - b) ** 2)) for a, b in zip(found, exact, strict=True))
    return (off / sum(float(np.sum(b**2)) for b in exact)) ** 0.5


@pytest.mark.slow
@pytest.mark.parametrize("name", models.names())
def test_one_training_step(name):
    """Every network of the zoo, in float64, which leaves no room for more than rounding; and the loss in float32."""
    images = np.random.default_rng(0).standard_normal((2, *models.info(name).input_shape))
    minicnn.manual_seed(0)
    source = models.create(name)
    loss, gradients, weights = one_step(source, images, "cpu", np.float64)
    found, found_gradients, found_weights = one_step(source, images, "cuda", np.float64)
    assert np.isfinite(loss) and found == pytest.approx(loss, rel=1e-9)
    assert difference(found_gradients, gradients) < 1e-7 and difference(found_weights, weights) < 1e-9
    assert one_step(source, images, "cuda", np.float32)[0] == pytest.approx(loss, rel=1e-2)


def test_too_little_memory_is_an_error_and_leaves_the_process_usable():
    with pytest.raises(OutOfMemory, match="device's memory"):
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


# Copies: what only a device shows is whether they run beside the computation, and in which order

PIXELS = np.random.default_rng(0).integers(0, 256, (200, 3, 32, 32), dtype=np.uint8)
DATASET = data.Dataset(PIXELS, np.arange(200) % 10, tuple("0123456789"), "made")
AUGMENT = [
    data.RandomCrop(32, padding=4, fill=9),
    data.RandomHorizontalFlip(),
    data.Normalize([0.5, 0.4, 0.3], [0.2] * 3),
]


def occupied():
    """Keep the default stream busy for a fifth of a second or more. Returns the event of its end."""
    import cupy

    x = cupy.zeros((8192, 8192), np.float32)
    x @ x
    cupy.cuda.get_current_stream().synchronize()
    for _ in range(20):
        x @ x
    return cupy.cuda.get_current_stream().record()


@pytest.mark.parametrize("transform", [data.Compose(AUGMENT), data.Compose([*AUGMENT, data.Cutout(8)]), None])
@pytest.mark.parametrize("prefetch", [0, 2])
def test_batches_are_the_cpus_to_the_bit(transform, prefetch):
    """While the device is busy and after it, over memory that earlier batches have left: all are read when the last is there."""
    here = data.Loader(DATASET, 32, transform, seed=1)
    there = data.Loader(DATASET, 32, transform, seed=1, prefetch=prefetch, device="cuda")
    occupied()
    for _ in range(20):
        for (mine, _), (theirs, _) in zip(list(there), list(here)):
            assert np.array_equal(backends.to_numpy(mine), theirs)


def test_copies_pass_by_the_computation():
    copies = backends.get("cuda").copies
    before = backends.get("cuda").asarray(np.arange(3.0))
    copies.send([PIXELS])[1].synchronize()  # to take new memory would wait for all streams
    fetched = copies.fetch([before])
    end = occupied()
    _, copied = copies.send([PIXELS])
    copied.synchronize()
    assert (fetched()[0] == np.arange(3.0)).all()
    assert not end.done


def test_a_step_waits_for_nothing():
    """It is launched while the device is busy with something else."""
    model = models.create("lenet5", device="cuda")
    images = np.random.default_rng(0).integers(0, 256, (64, *models.info("lenet5").input_shape), dtype=np.uint8)
    batches = data.Loader(data.Dataset(images, np.arange(64) % 10, tuple("0123456789")), 16, device="cuda")
    optimizer = optim.SGD(model.parameters(), 0.01, 0.9)
    trainer = training.Trainer(model, optimizer, batches, say=lambda line: None)
    steps = iter(batches)
    for _ in range(3):  # kernels are compiled, memory is taken
        trainer.step(*next(steps))
    trainer._read()
    end = occupied()
    trainer.step(*next(steps))
    assert not end.done


def test_the_memory_reserved():
    import cupy

    large = backends.get("cuda").empty((2**24,), np.uint8)
    used, (_, total) = cupy.get_default_memory_pool().used_bytes(), cupy.cuda.runtime.memGetInfo()
    assert large.nbytes <= used <= backends.get("cuda").memory_reserved() <= total
