"""Batches on device "cuda", and what travels in a training step, on a stand-in for CuPy that copies as late as it may."""

from __future__ import annotations

import threading

import emulated_cuda
import fake_streams
import numpy as np
import pytest

import minicnn
from minicnn import Tensor, backends, data, models, optim, training
from minicnn.backends import cuda_copies
from minicnn.errors import ArgumentError, BackendError, OutOfMemory, ShapeError
from minicnn.training import job

COUNT, MEAN, STD = 21, (0.5, 0.4, 0.3), (0.2, 0.3, 0.1)
PIXELS = np.random.default_rng(0).integers(0, 256, (COUNT, 3, 9, 8), dtype=np.uint8)
DATASET = data.Dataset(PIXELS, np.arange(COUNT) % 5, tuple("abcde"), "made")
CROP, FLIP, NORMALIZE = data.RandomCrop(7, (2, 1, 0, 3), fill=9), data.RandomHorizontalFlip(), data.Normalize(MEAN, STD)
AUGMENT = data.Compose([CROP, FLIP, NORMALIZE])
ON_THE_GPU = {
    "nothing": None,
    "normalised": NORMALIZE,
    "to float": data.ToFloat(),
    "cropped": data.RandomCrop((5, 8)),
    "mirrored": data.RandomHorizontalFlip(0.8),
    "all": AUGMENT,
    "some": data.Compose([data.RandomCrop(11, padding=2, fill=255.0), data.ToFloat()]),
}
ON_THE_CPU = {
    "another order": data.Compose([FLIP, CROP, NORMALIZE]),
    "twice": data.Compose([FLIP, FLIP, NORMALIZE]),
    "another transform": data.Compose([CROP, data.Cutout(3), NORMALIZE]),
    "a fill that is no pixel": data.RandomCrop(7, 2, fill=0.5),
    "nested": data.Compose([data.Compose([CROP, FLIP]), NORMALIZE]),
    "five crops": data.Compose([data.FiveCrop(5), NORMALIZE]),
    "a function": lambda images, draw: images[..., ::2].astype(np.float64),
}


@pytest.fixture(autouse=True)
def no_mistakes(cupy):
    fake_streams.mistakes.clear()
    fake_streams.counts.clear()
    yield
    Stream = fake_streams.Stream
    backends.get("cuda").copies.stream.synchronize()
    Stream.null.synchronize()
    assert not fake_streams.mistakes
    assert not [thread for thread in threading.enumerate() if thread.name == "minicnn-loader"]


def loader(transform=AUGMENT, batch_size=8, device="cuda", **options):
    return data.Loader(DATASET, batch_size, transform, device=device, **{"seed": 4, **options})


def bits(batches):
    """What is on the device is read when all batches are there."""
    batches = list(batches)
    return [(backends.to_numpy(images).tobytes(), images.shape, labels.tobytes()) for images, labels in batches]


# Batches


@pytest.mark.parametrize("name", [*ON_THE_GPU, *ON_THE_CPU])
@pytest.mark.parametrize("prefetch", [0, 2])
def test_the_batches_are_the_cpus_to_the_bit(name, prefetch):
    transform = {**ON_THE_GPU, **ON_THE_CPU}[name]
    here, there = loader(transform, device="cpu"), loader(transform, prefetch=prefetch)
    launched = emulated_cuda.launches["augment_f32"]
    for _ in range(2):
        assert bits(there) == bits(here)
    assert emulated_cuda.launches["augment_f32"] - launched == (2 * len(here) if name in ON_THE_GPU else 0)


def test_what_a_batch_is():
    for images, labels in loader():
        assert backends.device_of(images) == "cuda" and images.dtype == np.float32
        assert images.shape == (len(labels), 3, 7, 7) and type(labels) is np.ndarray
        assert Tensor(images).data is images


class Decoded:
    """Images whose pixels lie in Fortran's order."""

    shape, dtype = PIXELS.shape, PIXELS.dtype

    def __getitem__(self, index):
        return np.asfortranarray(PIXELS[index])


def test_pixels_that_do_not_lie_as_the_kernel_reads_them():
    for images in (PIXELS.transpose(0, 2, 3, 1).copy().transpose(0, 3, 1, 2), Decoded()):
        dataset = data.Dataset(images, DATASET.labels, DATASET.classes)
        assert bits(data.Loader(dataset, 8, AUGMENT, seed=4, device="cuda")) == bits(loader(device="cpu"))


@pytest.mark.parametrize("prefetch", [0, 3])
def test_leaving_and_going_on(prefetch):
    whole = loader(device="cpu")
    expected = [bits(whole) for _ in range(2)]
    first = loader(prefetch=prefetch)
    batches = iter(first)
    seen = [next(batches)]
    state = first.state_dict()
    batches.close()
    assert bits(first) == expected[0]  # what was under way when the pass was left disturbs nothing
    second = loader()
    second.load_state_dict(state)
    assert bits(seen) + bits(second) == expected[0]
    assert bits(second) == expected[1]
    on_the_cpu = loader(device="cpu")
    on_the_cpu.load_state_dict(state)
    assert bits(on_the_cpu) == expected[0][1:]


def test_two_passes_at_once():
    one, other = loader(), loader(NORMALIZE, shuffle=False)
    pairs = list(zip(one, other))
    assert bits(a for a, _ in pairs) == bits(loader(device="cpu"))
    assert bits(b for _, b in pairs) == bits(loader(NORMALIZE, shuffle=False, device="cpu"))


@pytest.mark.parametrize("prefetch", [0, 2])
def test_errors(prefetch, monkeypatch):
    with pytest.raises(ArgumentError, match="Loader: device is 'gpu': it must be cpu or cuda"):
        loader(device="gpu")
    for transform in (data.Normalize([0.5], [0.2]), data.RandomCrop(12)):
        with pytest.raises(ShapeError, match=r"Normalize: images has shape|RandomCrop: a 12x12 crop does not fit 9x8"):
            list(loader(transform, prefetch=prefetch))
    with pytest.raises(ZeroDivisionError):
        list(loader(lambda images, draw: 1 / 0, prefetch=prefetch))
    monkeypatch.setattr(backends, "get", lambda name: (_ for _ in ()).throw(BackendError("there is no GPU")))
    with pytest.raises(BackendError, match="there is no GPU"):
        loader()


@pytest.mark.parametrize("prefetch", [0, 2])
def test_too_little_memory_for_a_batch(prefetch, monkeypatch, cupy):
    def full(values, dtype=None):
        if len(values) == 8:
            raise MemoryError("out of memory allocating 8 bytes")
        return asarray(values, dtype)

    asarray = cupy.asarray
    monkeypatch.setattr(cupy, "asarray", full)
    with pytest.raises(OutOfMemory, match="cuda: send: the device's memory is full: take a smaller batch"):
        list(loader(prefetch=prefetch))


# Copies


def test_nothing_has_arrived_before_it_was_waited_for(cupy):
    """Of the stand-in: what follows relies on it."""
    copies = backends.get("cuda").copies
    (there,), copied = copies.send([np.arange(3.0, dtype=np.float32)])
    assert np.isnan(there.get()).all()
    cupy.cuda.get_current_stream().wait_event(copied)
    assert (there.get() == [0, 1, 2]).all()
    del there
    assert not fake_streams.mistakes
    (there,), copied = copies.send([np.ones(3, np.float32)])
    copied.synchronize()
    there + 1
    del there
    assert fake_streams.mistakes.pop().startswith("memory of another stream was given back")
    host = np.ndarray(3, np.float32, cupy.cuda.alloc_pinned_memory(12))
    cupy.asarray(np.ones(3, np.float32)).get(out=host, blocking=False)
    assert not host.any()
    del host
    fake_streams.Stream.null.synchronize()
    assert fake_streams.mistakes.pop().startswith("the CPU's memory was given back")


def test_the_cpu_waits_for_nothing(monkeypatch):
    copies, values = backends.get("cuda").copies, np.arange(6.0, dtype=np.float32)
    sent = copies.send([values])
    values[:] = 0
    there = copies.receive(sent, lambda x: x * 2)
    fetched = copies.fetch([there, there[:1]])
    assert fake_streams.counts["waits"] == 0
    there *= 0  # later work
    doubled, first = fetched()
    assert (doubled == [0, 2, 4, 6, 8, 10]).all() and (first == [0]).all()
    assert fake_streams.counts == {"to device": 1, "to cpu": 2, "waits": 1}


def test_what_is_fetched_and_never_read_is_kept_all_the_same():
    copies = backends.get("cuda").copies
    copies.fetch([backends.get("cuda").asarray(np.ones(3, np.float32))])
    fake_streams.Stream.null.synchronize()


def test_a_cpu_that_is_far_ahead_waits():
    """Or the batches of a loop that reads no result would fill the device."""
    copies = backends.get("cuda").copies
    for _ in range(5 * cuda_copies.MOST):
        copies.receive(copies.send([np.ones(3, np.float32)]), lambda x: x + 1)
    assert 3 * cuda_copies.MOST <= fake_streams.counts["waits"] <= 4 * cuda_copies.MOST
    assert len(copies._used) <= cuda_copies.MOST


def test_fetching_from_the_cpu_copies_nothing():
    x = np.arange(3.0)
    (same,) = backends.fetch(x)()
    assert same is x


# Steps: what travels, and how often the CPU waits


SLOW = [pytest.param(name, marks=pytest.mark.slow) for name in ("alexnet_cifar", "cifar_resnet20")]


def trainer(name, batch_size=2, **options):
    shape = models.info(name).input_shape
    labels = np.arange(4 * batch_size) % 10
    images = np.random.default_rng(1).integers(0, 256, (len(labels), *shape), dtype=np.uint8)
    minicnn.manual_seed(0)
    model = models.create(name, device="cuda")
    transform = data.Compose([data.RandomCrop(shape[1:], padding=2), data.RandomHorizontalFlip(), data.ToFloat()])
    batches = data.Loader(
        data.Dataset(images, labels, tuple("0123456789")), batch_size, transform, device="cuda", prefetch=0
    )
    optimizer = optim.SGD(model.parameters(), 0.01, 0.9, nesterov=True, weight_decay=1e-4)
    return training.Trainer(model, optimizer, batches, say=lambda line: None, **options)


@pytest.mark.parametrize("name", ["lenet5", *SLOW])
def test_what_travels_in_a_step(name):
    """Pixels, places and labels to the device, loss and logits back, one wait for the step before the last, one copy of the loss's
    slope to each row: no more, whatever the network. And the optimiser's table of addresses, where gradients lie elsewhere
    than a step before."""
    one, kernels, steps, ends, stream = trainer(name), backends.get("cuda"), [], [], fake_streams.Stream.null
    for images, labels in one.train:
        one.step(images, labels)
        ends.append(stream.given)
        steps.append({**fake_streams.counts, "tables": kernels._stretches.cache_info().misses})
        fake_streams.counts.clear()
    steps[-1]["to device"] -= steps[-1].pop("tables") - steps[-2]["tables"]
    assert steps[-1] == {"to device": 3, "to cpu": 2, "waits": 1, "copies": 1}
    assert ends[-4] < stream.known <= ends[-3], "another step was waited for"


def test_what_travels_when_gradients_are_clipped():
    """One wait, for the norm of all of them, behind which there is none left for the step before the last."""
    one = trainer("lenet5", clip_norm=1e-3)
    for images, labels in one.train:
        fake_streams.counts.clear()
        one.step(images, labels)
    assert fake_streams.counts["waits"] == 1 and fake_streams.counts["to cpu"] == 3


def test_what_travels_in_an_evaluation():
    """Besides the batches and what scales them: labels there, results back, one wait a batch, for the one before the last."""
    one, stream, seen = trainer("lenet5"), fake_streams.Stream.null, []
    one.evaluate(one.train)  # which brings the layers' geometries to the device
    fake_streams.counts.clear()
    batches = len(one.train)
    result = training.evaluate(one.model, one.train, each=lambda images: seen.append((stream.known, stream.given)))
    assert fake_streams.counts == {"to device": 3 * batches + 2, "to cpu": 3 * batches, "waits": batches}
    assert seen[-4][1] >= seen[-2][0] > seen[-3][0], "another batch was waited for"
    assert len(result.labels) == len(one.train.dataset)


@pytest.mark.parametrize("way", ["step", "evaluate"])
def test_a_gpus_batches_and_a_model_on_the_cpu(way):
    """Would come back silently, a wait for each."""
    one = trainer("lenet5")
    one.model.to("cpu")
    use = {"step": lambda: one.step(*next(iter(one.train))), "evaluate": lambda: one.evaluate(one.train)}[way]
    fake_streams.counts.clear()
    with pytest.raises(
        BackendError, match=r"the images are on cuda, the model on cpu: move the model with .to\('cuda'\), or"
    ):
        use()
    assert not fake_streams.counts["to cpu"]


def test_the_cpus_batches_and_a_model_on_a_gpu():
    one = trainer("lenet5")
    for images, labels in one.train:
        one.step(backends.to_numpy(images), labels)
    one.save()  # which reads what is under way
    assert np.isfinite(one.mean.loss) and one.mean.images == 8


def test_a_job_tells_the_memory(monkeypatch, tmp_path):
    """The peak that it says is the pool's."""
    images = np.random.default_rng(2).integers(0, 256, (12, 3, 32, 32), dtype=np.uint8)
    dataset = data.Dataset(images, np.arange(12) % 10, tuple("0123456789"), "tiny", "the embedded sample")
    monkeypatch.setattr(job, "_data", lambda *_: (dataset, dataset))
    results = []
    for device in ("cpu", "cuda"):
        lines = []
        settings = {"sample_epochs": 1, "batch_size": 4, "plots": False, "out": str(tmp_path / device)}
        results.append(training.run(training.Job("lenet5", device=device, **settings), say=lines.append))
        told = [line for line in lines if "GPU memory" in line]
        taken = backends.get("cuda").memory_reserved() / 2**20
        wanted = [f"GPU memory: at most {taken:,.0f} MiB, as taken from the device by CuPy's pool"]
        assert told == (wanted if device == "cuda" else [])
    assert taken > 0
    here, there = results
    np.testing.assert_allclose(there.probabilities, here.probabilities, rtol=1e-3, atol=1e-4)


def test_the_memory_reserved_is_the_most_that_was_in_use():
    kernels = backends.get("cuda")
    before = kernels.memory_reserved()
    large = kernels.empty((before + 2**20,), np.uint8)
    after = kernels.memory_reserved()
    assert after >= before + 2**20
    del large
    assert kernels.memory_reserved() == after
