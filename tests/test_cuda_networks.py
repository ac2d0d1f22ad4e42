"""Device "cuda" from end to end without a GPU: a stand-in for CuPy, as strict as it is, and emulated kernels."""

from __future__ import annotations

import fake_cupy
import numpy as np
import pytest
from test_gradients import CASES as OPERATIONS
from test_gradients import away, distinct
from test_layer_gradients import CASES as LAYERS

import minicnn
from minicnn import Tensor, backends, data, io, layers, models, ops, optim, selftest, training
from minicnn.errors import BackendError, GradientError, OutOfMemory
from minicnn.models.densenet import densenet

pytestmark = pytest.mark.usefixtures("cupy")


@pytest.fixture(autouse=True)
def by_rule(monkeypatch):
    monkeypatch.delenv("MINICNN_CUDA_CONV", raising=False)


def normal(*shape, seed=0):
    return np.random.default_rng([seed, *shape]).standard_normal(shape).astype(np.float32)


def weights(model):
    return {name: values.numpy() for name, values in model.state_dict().items()}


# Arrays


def test_the_device_is_there():
    assert "cuda" in backends.available()
    assert backends.get("cuda").device_name() == "emulation"
    assert training.environment("cuda")["device"] == "emulation"


def test_there_and_back():
    values = normal(3, 4)
    x = Tensor(values).to("cuda")
    assert x.device == "cuda" and x.shape == (3, 4) and x.dtype == np.float32 and "device='cuda'" in repr(x)
    assert x.to("cuda") is x
    assert type(x.numpy()) is np.ndarray
    np.testing.assert_array_equal(x.numpy(), values)
    back = x.to("cpu")
    assert back.device == "cpu"
    np.testing.assert_array_equal(back.numpy(), values)
    values[:] = 0
    assert x.numpy().any() and Tensor([1.5], device="cuda").item() == 1.5
    assert x[0].to("meta").shape == (4,)


def test_the_stand_in_refuses_what_cupy_refuses():
    x = Tensor(normal(3), device="cuda").data
    with pytest.raises(TypeError, match="Implicit conversion"):
        np.asarray(x)
    for mixed in (lambda: x + np.ones(3), lambda: np.ones(3) * x, lambda: x.__setitem__(slice(None), np.ones(3))):
        with pytest.raises(TypeError):
            mixed()


@pytest.mark.parametrize(
    "mixed",
    [
        lambda here, there: here + there,
        lambda here, there: ops.cat([there, here], 0),
        lambda here, there: ops.where(here > 0, there, there),
        lambda here, there: ops.linear(there, here),
        lambda here, there: there + here.numpy(),
    ],
)
def test_devices_do_not_mix(mixed):
    with pytest.raises(BackendError, match=r"one operand is on (cpu|cuda), another on (cpu|cuda): move one with .to\("):
        mixed(Tensor(normal(2, 2)), Tensor(normal(2, 2), device="cuda"))


def test_numbers_go_along():
    def results(x, scalar):
        return [x + scalar, scalar - x, x * scalar, scalar / x, abs(x) ** scalar, ops.maximum(x, scalar),
                ops.where(x > scalar, x, scalar)]  # fmt: skip

    here, there = Tensor(normal(2, 3)), Tensor(normal(2, 3), device="cuda")
    for scalar in (2, 0.5, np.float32(0.5), np.float64(2), np.array(2.0), Tensor(3.0)):
        for mine, theirs in zip(results(there, scalar), results(here, scalar)):
            assert mine.device == "cuda" and mine.dtype == theirs.dtype
            np.testing.assert_allclose(mine.numpy(), theirs.numpy(), rtol=1e-6)


def full(*args, **kwargs):
    raise MemoryError("out of memory allocating 8 bytes")


def test_too_little_memory_is_an_error_and_leaves_the_process_usable(monkeypatch, cupy):
    x = Tensor(normal(3), device="cuda")
    with monkeypatch.context() as patch:
        patch.setattr(cupy, "empty", full)
        with pytest.raises(OutOfMemory, match=r"an array of shape \(3,\) does not fit into the device's memory"):
            ops.relu(x)
    assert (ops.relu(x) >= 0).numpy().all()


@pytest.mark.parametrize(
    "name, use",
    [
        ("asarray", lambda x: Tensor(normal(3), device="cuda")),
        ("ascontiguousarray", lambda x: ops.relu(x.T)),
        ("matmul", lambda x: x @ x),
        ("sum", lambda x: x.sum()),
    ],
)
def test_too_little_memory_for_a_copy_or_an_intermediate_result(name, use, monkeypatch, cupy):
    x = Tensor(normal(4, 4), device="cuda")
    monkeypatch.setattr(cupy, name, full)
    with pytest.raises(
        OutOfMemory, match=r"cuda: \w+: the device's memory is full: take a smaller batch \(out of memory"
    ):
        use(x)


# Operations and layers: none of them moves numbers to the CPU or mixes devices

MIXED = {"where", "batch_norm evaluating", "cross_entropy options"}
"""Cases that bring Tensors of their own from the CPU."""


@pytest.mark.parametrize("name", sorted(set(OPERATIONS) - MIXED))
def test_gradients(name, rng):
    function, shapes, kind = OPERATIONS[name]
    inputs = []
    for shape in shapes:
        values = distinct(rng, shape) + 0.004 * len(inputs)
        if kind != "distinct":
            values = away(rng.standard_normal(shape), 0.3)
        inputs.append(Tensor(abs(values) if kind == "positive" else values, device="cuda", requires_grad=True))
    minicnn.gradcheck(function, inputs, eps=1e-6, rtol=1e-4, atol=5e-6, samples=2)


def test_gradcheck_sees_a_wrong_gradient():
    x = Tensor(np.array([1.0, 2.0]), device="cuda", requires_grad=True)
    with pytest.raises(GradientError, match="derivative by input 0"):
        minicnn.gradcheck(lambda x: x.detach() * x, x)


@pytest.mark.parametrize("name", LAYERS)
def test_layers(name, rng):
    make, shapes = LAYERS[name]
    arrays, results = [rng.standard_normal(shape).astype(np.float32) for shape in shapes], []
    for device in ("cpu", "cuda"):
        minicnn.manual_seed(0)
        layer = make().to(device)
        inputs = [Tensor(a, device=device, requires_grad=True) for a in arrays]
        y = layer(*inputs)
        (y * y).sum().backward()
        assert y.device == device
        results.append([y.numpy(), *(x.grad.numpy() for x in (*inputs, *layer.parameters()))])
    for mine, theirs in zip(*results):
        np.testing.assert_allclose(mine, theirs, rtol=1e-4, atol=1e-5)


# Networks


def steps(model, optimizer, images, labels, count=2):
    """The losses of training steps, with the same dropout on every device."""
    losses = []
    for step in range(count):
        minicnn.manual_seed(step)
        loss = ops.cross_entropy(model(Tensor(images, device=model.device)), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def compare(make, optimizer, shape, tolerance=1e-6):
    """Train the same network on both devices, from the same weights and images."""
    found = []
    for device in ("cpu", "cuda"):
        minicnn.manual_seed(0)
        model = make()
        model.to(device)
        losses = steps(model, optimizer(model.parameters()), normal(*shape), np.arange(1, 1 + 2 * shape[0], 2) % 10)
        found.append((losses, weights(model)))
    (losses, theirs), (found_losses, mine) = found
    assert found_losses == pytest.approx(losses, rel=tolerance, abs=tolerance)
    for name in theirs:
        np.testing.assert_allclose(mine[name], theirs[name], rtol=tolerance, atol=tolerance, err_msg=name)


@pytest.mark.parametrize("name", ["lenet5", "cifar_resnet20"])
def test_two_training_steps(name):
    compare(
        lambda: models.create(name),
        lambda parameters: optim.SGD(parameters, lr=0.01, momentum=0.9),
        (2, *models.info(name).input_shape),
    )


def branches():
    """A little of everything: groups, branches, both poolings, normalisation over channels and over images, dropout."""
    return layers.Sequential(
        layers.Conv2d(3, 8, 5, stride=2, padding=2), layers.ReLU(), layers.LocalResponseNorm(5),
        layers.Concat(
            layers.Conv2d(8, 4, 1, bias=False),  # which batch norm would take away
            layers.Sequential(layers.Conv2d(8, 4, 3, padding=1, groups=2), layers.Tanh()),
            layers.Sequential(layers.MaxPool2d(3, 1, padding=1), layers.Conv2d(8, 4, 1), layers.Sigmoid()),
        ),
        layers.BatchNorm2d(12), layers.ReLU(), layers.AvgPool2d(2), layers.Flatten(), layers.Dropout(0.4),
        layers.Linear(12 * 4 * 3, 10),
    )  # fmt: skip


@pytest.mark.parametrize(
    "optimizer",
    [
        lambda parameters: optim.SGD(parameters, lr=0.05, momentum=0.9, nesterov=True, weight_decay=1e-3),
        lambda parameters: optim.SGD(parameters, lr=0.05),
        lambda parameters: optim.Adam(parameters, lr=1e-3, weight_decay=1e-3),
        lambda parameters: optim.AdamW(parameters, lr=1e-3),
    ],
    ids=["momentum", "sgd", "adam", "adamw"],
)
def test_each_optimizer(optimizer):
    compare(branches, optimizer, (4, 3, 16, 12), tolerance=1e-5)


@pytest.mark.parametrize("kind", [lambda p: optim.SGD(p, 0.1, 0.9), lambda p: optim.Adam(p, 0.1)], ids=["sgd", "adam"])
def test_an_optimizer_goes_along_with_its_model(kind):
    """To a device and back between steps: the momentum travels."""
    results = []
    for places in (["cpu"] * 4, ["cpu", "cuda", "cuda", "cpu"]):
        minicnn.manual_seed(0)
        model = layers.Linear(5, 3)
        optimizer = kind(model.parameters())
        for place in places:
            model.to(place)
            steps(model, optimizer, normal(4, 5), np.array([0, 1, 2, 1]), 1)
        results.append(weights(model))
    for name in results[0]:
        np.testing.assert_allclose(results[1][name], results[0][name], rtol=1e-5, atol=1e-6)


def test_a_step_waits_for_nothing(monkeypatch):
    """Until somebody asks for numbers none comes back from the device."""

    def wait(*_):
        raise AssertionError("the CPU waits for the device")

    minicnn.manual_seed(0)
    model = branches()
    model.to("cuda")
    optimizer = optim.Adam(model.parameters(), lr=1e-3)
    with monkeypatch.context() as patch:
        for name in ("get", "item", "tolist", "__bool__", "__int__", "__float__"):
            patch.setattr(fake_cupy.ndarray, name, wait, raising=name not in ("item", "tolist"))
        loss = ops.cross_entropy(model(Tensor(normal(4, 3, 16, 12), device="cuda")), np.array([1, 0, 3, 9]))
        loss.backward()
        optimizer.step()
    assert np.isfinite(loss.item())


def test_gradients_of_a_network():
    """In float64, by the images and by all weights."""
    minicnn.manual_seed(1)
    model = layers.Sequential(
        layers.Conv2d(2, 4, 3, padding=1), layers.BatchNorm2d(4), layers.Tanh(), layers.AvgPool2d(2), layers.Flatten(),
        layers.Linear(16, 3),
    )  # fmt: skip
    model.to("cuda", np.float64)
    parameters = dict(model.named_parameters())

    def loss(x, *values):
        for parameter, value in zip(parameters.values(), values):
            parameter.data = value.data
        return ops.cross_entropy(model(x), np.array([0, 2, 1]))

    x = Tensor(normal(3, 2, 4, 4).astype(np.float64), device="cuda", requires_grad=True)
    minicnn.gradcheck(loss, x, rtol=1e-4, samples=4)
    value = loss(x)
    value.backward()
    with minicnn.no_grad():
        for parameter in parameters.values():
            gradient, before = parameter.grad.numpy(), parameter.numpy()
            at = tuple(n // 2 for n in parameter.shape)
            slope = []
            for sign in (1, -1):
                moved = before.copy()
                moved[at] += sign * 1e-5
                parameter.data = Tensor(moved, device="cuda").data
                slope.append(loss(x).item())
            parameter.data = Tensor(before, device="cuda").data
            assert gradient[at] == pytest.approx((slope[0] - slope[1]) / 2e-5, rel=1e-5, abs=1e-8)


@pytest.mark.parametrize("train", [False, True])
def test_a_dense_network(train):
    """Whose layers join what they compute to what is there."""
    minicnn.manual_seed(0)
    model = densenet(num_classes=10, blocks=(2, 3), growth_rate=4)
    model.train(train)
    outputs = []
    for device in ("cpu", "cuda"):
        model.to(device)
        x = Tensor(normal(2, 3, 64, 64), device=device, requires_grad=train)
        y = model(x)
        if train:
            (y * y).sum().backward()
        outputs.append([y.numpy(), *([x.grad.numpy()] if train else [])])
    for mine, theirs in zip(*outputs):
        np.testing.assert_allclose(mine, theirs, rtol=1e-4, atol=1e-4 * abs(theirs).max())


def test_files_know_no_device(tmp_path):
    model = models.create("lenet5", device="cuda")
    io.save_weights(model, tmp_path / "lenet5.safetensors")
    for device in ("cpu", "cuda"):
        minicnn.manual_seed(7)
        other = models.create("lenet5", device=device)
        io.load_weights(other, tmp_path / "lenet5.safetensors")
        assert other.device == device
        for name, values in weights(model).items():
            np.testing.assert_array_equal(weights(other)[name], values)


# Training


def trainer(device, out=None, **options):
    labels = np.arange(24) % 2
    noise = np.random.default_rng(0).integers(0, 120, (24, 1, 6, 6))
    images = (noise + 100 * labels[:, None, None, None]).astype(np.uint8)
    minicnn.manual_seed(0)
    model = layers.Sequential(
        layers.Conv2d(1, 4, 3), layers.BatchNorm2d(4), layers.ReLU(), layers.Flatten(), layers.Dropout(0.3),
        layers.Linear(64, 2),
    )  # fmt: skip
    model.to(device)
    loader = data.Loader(
        data.Dataset(images, labels, ("dark", "bright"), "tiny"),
        8,
        data.Compose([data.RandomHorizontalFlip(), data.Normalize([0.4], [0.2])]),
        device=device,
        seed=0,
    )
    optimizer = optim.SGD(model.parameters(), 0.05, 0.9, nesterov=True)
    settings = {"schedule": optim.OneCycle(12), "out": out, "say": lambda line: None, **options}
    return training.Trainer(model, optimizer, loader, None, **settings)


def test_a_trainer_does_the_same_on_both_devices():
    (here := trainer("cpu")).fit(2)
    (there := trainer("cuda")).fit(2)
    assert there.steps == here.steps == 6
    for name, values in weights(here.model).items():
        np.testing.assert_allclose(weights(there.model)[name], values, rtol=1e-5, atol=1e-5, err_msg=name)
    assert there.evaluate(there.train).accuracy == here.evaluate(here.train).accuracy
    for mine, theirs in zip(there.history.rows, here.history.rows):
        assert mine["train_loss"] == pytest.approx(theirs["train_loss"], rel=1e-5)


def test_a_run_goes_on_bit_for_bit(tmp_path):
    (whole := trainer("cuda", tmp_path / "whole")).start()
    whole.fit(2)
    (part := trainer("cuda", tmp_path / "parts")).start()
    part.fit(1)
    rest = trainer("cuda", tmp_path / "parts")
    assert rest.start(resume=True) and rest.model.device == "cuda" and rest.steps == 3
    rest.fit(2)
    for name, values in weights(whole.model).items():
        np.testing.assert_array_equal(weights(rest.model)[name], values)


def test_nan_is_noticed_a_few_steps_late():
    one = trainer("cuda", clip_norm=1.0)
    with minicnn.no_grad():
        next(iter(one.model.parameters())).data[...] = np.nan
    with pytest.raises(minicnn.errors.MinicnnError, match="the loss became nan at step 0"):
        one.fit(1)


@pytest.mark.slow
def test_selftest(monkeypatch):
    monkeypatch.setattr(selftest, "STEPS", 2)
    lines = []
    assert selftest.run("cuda", lines.append) == 0, lines
    assert len(lines) == 1
