"""The networks that come trained: that they are as good as their files say, and whether they load."""

import dataclasses
import sys

import numpy as np
import pytest

import minicnn
from minicnn import Tensor, cli, data, io, layers, models, ops
from minicnn.errors import ArgumentError, CheckpointError, DataError
from minicnn.models import pretrained
from minicnn.training import Job, Predictor, evaluate
from minicnn.training.checkpoint import write_checkpoint
from minicnn.training.make_weights import make_weights

pytest.importorskip("PIL.Image")
library = pytest.importorskip("safetensors.numpy")

NAMES = {  # what is asked of each: right answers among CIFAR-10's test images, and bytes at most
    "alexnet_cifar": (0.87, 5_000_000),
    "cifar_resnet20": (0.91, 1_200_000),
}


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
    """Another folder of trained networks, which is empty."""
    monkeypatch.setattr(pretrained, "FOLDER", tmp_path / "weights")
    (tmp_path / "weights").mkdir()
    pretrained.trained.cache_clear()
    yield tmp_path / "weights"
    pretrained.trained.cache_clear()


def test_these_come_trained():
    assert pretrained.names() == sorted(NAMES)
    assert [name for name in models.names(all=True) if models.info(name).trained] == [
        name for name in models.names() if name in NAMES
    ]


@pytest.mark.parametrize("name", NAMES)
def test_what_is_said_of_it(name):
    least, most = NAMES[name]
    found = models.info(name).trained
    assert least <= found.accuracy < 1 and found.path.stat().st_size <= most
    assert found.classes == data.cifar10_sample(False).classes
    # of all 50,000 training images, as anybody computes them
    np.testing.assert_allclose(found.mean, (0.4914, 0.4822, 0.4465), atol=1e-4)
    np.testing.assert_allclose(found.std, (0.2470, 0.2435, 0.2616), atol=1e-4)
    told = " ".join(str(models.info(name)).split())
    assert f"{100 * found.accuracy:.2f}%" in told and f"made by minicnn train --model {name}" in told


def numbers(name):
    """The images and labels of the sample's 500 test images, as the network takes them."""
    sample, found = data.cifar10_sample(False), models.info(name).trained
    mean, std = (np.array(values).reshape(3, 1, 1) for values in (found.mean, found.std))
    return ((sample.images / 255 - mean) / std).astype(np.float32), sample.labels


@pytest.mark.parametrize("name", NAMES)
def test_it_knows_the_images_of_the_sample(name, backend):
    images, labels = numbers(name)
    model = models.create(name, pretrained=True)
    assert model.training and model(Tensor(images[:2])).requires_grad
    model.eval()
    with minicnn.no_grad():
        answers = model(Tensor(images)).numpy().argmax(1)
    # 500 images are a sample of 10,000: three standard deviations
    accuracy = models.info(name).trained.accuracy
    assert (answers == labels).mean() > accuracy - 3 * (accuracy * (1 - accuracy) / 500) ** 0.5


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_its_accuracy_is_the_one_that_is_told(name):
    try:
        test = data.cifar10(False, sources=("cache",), say=lambda line: None)
    except DataError:
        pytest.skip("CIFAR-10 is not in the cache")
    run = Predictor(name)
    result = evaluate(run.model, data.Loader(test, 500, run.normalize, shuffle=False))
    assert abs(result.accuracy - models.info(name).trained.accuracy) < 0.001


@pytest.mark.parametrize("name", NAMES)
def test_its_file_is_a_checkpoint_of_the_weights_alone(name):
    path = models.info(name).trained.path
    arrays, found = io.read_archive(path)  # which compares the checksum
    theirs = library.load_file(path)
    state = models.create(name, pretrained=True).state_dict()
    assert {f"model/{key}" for key in state} == set(theirs) == set(arrays)
    for key, values in state.items():
        np.testing.assert_array_equal(values.numpy(), theirs[f"model/{key}"])
    assert set(found) == {"kind", "format", "config", "environment", "history", "command"}
    model = models.create(name, **found["config"]["network"]["options"])
    assert io.load_weights(model, path) == ([], [])


@pytest.mark.parametrize("name", NAMES)
def test_its_command_is_the_one_that_made_it(name, monkeypatch):
    jobs = []
    monkeypatch.setattr(cli, "run", jobs.append)
    found = models.info(name).trained
    program, *arguments = found.command.split()
    with pytest.raises(SystemExit) as left:
        cli.app(arguments)
    assert (program, left.value.code or 0) == ("minicnn", 0)
    (job,) = jobs
    _, stored = io.read_archive(found.path)
    assert job.settings() == {key: stored["config"][key] for key in job.settings()} | {"sample_epochs": job.epochs}
    assert "--seed" in arguments and stored["config"]["seed"] == job.seed
    assert (job.precision, job.threads) == (stored["environment"]["precision"], stored["environment"]["threads"])
    assert found.options == {**job.options, "num_classes": 10, "in_channels": 3}
    assert len(stored["history"]) == job.epochs and stored["history"][-1]["test_accuracy"] == found.accuracy


def test_the_options_are_those_of_the_training():
    model = models.create(
        "alexnet_cifar", pretrained=True, batch_norm=True, num_classes=10, widths=(48, 64, 128, 128, 96)
    )
    assert model.recipe.options["batch_norm"] is True
    again = models.create(model.recipe.name, **model.recipe.options)
    again.load_state_dict(model.state_dict())
    minicnn.manual_seed(5)
    other = models.create("alexnet_cifar", pretrained=True)
    for key, values in other.state_dict().items():
        np.testing.assert_array_equal(values.numpy(), again.state_dict()[key].numpy())
    model.recipe.options["batch_norm"] = False  # which is the caller's own
    assert models.create("alexnet_cifar", pretrained=True).recipe.options["batch_norm"] is True


def test_it_goes_on_learning_with_other_classes():
    images, labels = numbers("cifar_resnet20")
    model = models.create("cifar_resnet20", pretrained=True)
    model.fc = layers.Linear(64, 2)
    loss = ops.cross_entropy(model(Tensor(images[:8])), labels[:8] % 2)
    loss.backward()
    assert all(np.abs(parameter.grad.numpy()).max() > 0 for parameter in model.parameters())


@pytest.mark.parametrize(
    ("name", "options", "text"),
    [
        ("resnet18", {}, "it does not come trained: alexnet_cifar and cifar_resnet20 do"),
        ("cifar_resnet20", {"num_classes": 5}, "num_classes is 5: the weights were trained with 10: leave it out"),
        ("cifar_resnet20", {"depth": 32}, "depth is 32: the weights were trained with 20"),
        ("alexnet_cifar", {"batch_norm": False}, "batch_norm is False: the weights were trained with True"),
        ("alexnet_cifar", {"drop": 0.1}, "has no option 'drop'"),
        ("cifar_resnet20", {"device": "meta"}, "device is 'meta', which holds no numbers: leave one of the two out"),
        ("cifar_resnet20", {"pretrained": "yes"}, "pretrained is 'yes': it must be True or False"),
    ],
)
def test_a_mistake_gets_one_line_that_helps(name, options, text):
    with pytest.raises(ArgumentError) as caught:
        models.create(name, **{"pretrained": True, **options})
    assert text in str(caught.value) and name in str(caught.value) and "\n" not in str(caught.value)


def test_it_needs_no_safetensors(monkeypatch):
    for module in ("safetensors", "safetensors.numpy"):
        monkeypatch.setitem(sys.modules, module, None)
    models.create("cifar_resnet20", pretrained=True)
    assert "pretrained" in str(models.info("cifar_resnet20"))


@pytest.mark.parametrize("damage", ["empty", "short", "text", "nothing", "facts", "history", "dtype", "bit"])
def test_a_damaged_file(elsewhere, damage):
    path = elsewhere / "cifar_resnet20.safetensors"
    shipped = pretrained.Path(pretrained.__file__).parent / "weights" / path.name
    whole = shipped.read_bytes()
    arrays, stored = io.read_archive(shipped)
    io.write_archive(path, arrays, {**stored, "history": []})
    path.write_bytes(
        {
            "empty": b"",
            "short": whole[:-5],
            "text": b"version https://git",
            "nothing": (4).to_bytes(8, "little") + b"null",
            "facts": whole.replace(b"history", b"hist0ry"),
            "history": path.read_bytes(),  # an empty one
            "dtype": whole.replace(b'"F32"', b'"I32"'),
            "bit": whole[:-2] + bytes([whole[-2] ^ 1]) + whole[-1:],
        }[damage]
    )
    for call in (
        lambda: models.create("cifar_resnet20", pretrained=True),
        lambda: models.info("cifar_resnet20").trained,
    ):
        with pytest.raises(CheckpointError, match=r"cifar_resnet20\.safetensors is damaged .*: install minicnn again"):
            call()


def test_predict_takes_its_name(tmp_path, monkeypatch, capsys):
    from PIL import Image

    monkeypatch.chdir(tmp_path)
    sample = data.cifar10_sample(False)
    ships = np.flatnonzero(sample.labels == sample.classes.index("ship"))[:10]
    for number in ships:
        Image.fromarray(sample.images[number].transpose(1, 2, 0)).resize((320, 320)).save(f"{number}.png")
    with pytest.raises(SystemExit) as left:
        cli.app(["predict", "cifar_resnet20", *(f"{number}.png" for number in ships), "--top", "1"])
    lines = capsys.readouterr().out.splitlines()
    assert not left.value.code and sum("ship" in line for line in lines) >= 8
    # a run of that name is meant first
    (tmp_path / "cifar_resnet20").mkdir()
    with pytest.raises(CheckpointError, match="there is no such file"):
        Predictor("cifar_resnet20")
    with pytest.raises(CheckpointError, match="there is no such file"):
        Predictor("resnet18")


def a_run(folder, **changes):
    """The checkpoint of a run that `make_weights` takes: LeNet-5 with random weights, the rest as training writes it."""
    model = models.create("lenet5", num_classes=10, in_channels=3)
    job = dataclasses.replace(Job(), model="lenet5", epochs=2, sample_epochs=2)
    config = {
        **job.settings(), "images": 50_000, "classes": list("abcdefghij"), "input_shape": [3, 32, 32], "mean": [0.5] * 3, "std": [0.25] * 3,
        "network": {"name": "lenet5", "options": {"activation": "relu", **model.recipe.options}},
    }  # fmt: skip
    rows = [{"epoch": number, "test_accuracy": number / 10} for number in (1, 2)]
    stored = {"config": config, "environment": {"precision": "high", "threads": 3}, "history": rows, "epoch": 2}
    for key, value in changes.items():
        (config if key in config else stored)[key] = value
    folder.mkdir(exist_ok=True)
    arrays = {f"model/{key}": values.numpy() for key, values in model.state_dict().items()}
    write_checkpoint(folder, {**arrays, "optimizer/0/momentum": np.zeros(3, np.float32)}, stored)
    return model


def test_make_weights(elsewhere, tmp_path):
    model = a_run(tmp_path / "run")
    make_weights(tmp_path / "run", elsewhere)
    found = models.info("lenet5").trained
    assert found.command == (
        "minicnn train --model lenet5 --option activation=relu --epochs 2 --batch-size 128 --lr 0.035 --seed 0 "
        "--precision high --threads 3"
    )
    assert (found.accuracy, found.mean) == (0.2, (0.5, 0.5, 0.5)) and pretrained.names() == ["lenet5"]
    copy = models.create("lenet5", pretrained=True).state_dict()
    for key, values in model.state_dict().items():
        np.testing.assert_array_equal(values.numpy(), copy[key].numpy())


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"epoch": 1}, "has 1 trained epochs: it must have 2"),
        ({"images": 2_000}, "has 2000 training images: it must have 50000"),
        ({"weight_decay": 0.1}, "weight_decay is 0.1: the command must leave it at 0.0005"),
        ({"validation": 0.1}, "validation is 0.1: the command must leave it at 0.0"),
    ],
)
def test_make_weights_refuses_what_no_command_repeats(elsewhere, tmp_path, changes, text):
    a_run(tmp_path / "run", **changes)
    with pytest.raises(CheckpointError, match=text):
        make_weights(tmp_path / "run", elsewhere)
    assert not list(elsewhere.iterdir())
