"""The registry, and every model in it: its counts, its outputs, its options, and that it trains."""

import time
import tracemalloc

import numpy as np
import pytest

import minicnn
from minicnn import Tensor, models, ops
from minicnn.errors import ArgumentError, ShapeError

COUNTS = {  # parameters and multiply-adds: the facts, stated apart from the code that computes them
    "lenet5": (61_706, 416_520),
    "alexnet": (62_378_344, 1_135_256_096),
    "alexnet_grouped": (60_965_224, 724_406_816),
}


def batch(name, size=2):
    shape = models.info(name).input_shape
    return Tensor(np.random.default_rng(0).standard_normal((size, *shape)).astype(np.float32))


@pytest.mark.parametrize("name", COUNTS)
def test_counts(name):
    info = models.info(name)
    assert (info.parameters, info.macs) == COUNTS[name]
    summary = minicnn.summary(name)
    assert (summary.total_parameters, summary.total_macs) == COUNTS[name]


def test_alexnet_grouped_has_the_papers_layers_and_our_count_of_neurons():
    assert minicnn.summary("alexnet_grouped").total_neurons == 659_272
    shapes = [row.output_shape for row in minicnn.summary("alexnet").rows if row.kind in ("Conv2d", "MaxPool2d")]
    maps = [(96, 55), (96, 27), (256, 27), (256, 13), (384, 13), (384, 13), (256, 13), (256, 6)]
    assert shapes == [(channels, size, size) for channels, size in maps]


@pytest.mark.parametrize("name", ["lenet5", "alexnet_cifar"])
def test_a_model_trains(name, backend):
    minicnn.manual_seed(0)
    model = models.create(name, dropout=0.0) if "dropout" in models.options(name) else models.create(name)
    x, labels = batch(name, 4), Tensor(np.arange(4))
    losses = []
    for _ in range(5):
        loss = ops.cross_entropy(model(x), labels)
        losses.append(loss.item())
        assert losses[0] < 3, "training starts near equal probabilities, log(10)"
        model.zero_grad()
        loss.backward()
        with minicnn.no_grad():
            for parameter in model.parameters():
                parameter.copy_(parameter - 0.002 * parameter.grad)
    assert losses[-1] < losses[0]


def test_creating_alexnet_on_meta_takes_milliseconds_and_no_memory():
    models.create("alexnet", device="meta")
    tracemalloc.start()
    start = time.perf_counter()
    model = models.create("alexnet", device="meta")
    elapsed = time.perf_counter() - start
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert sum(p.size for p in model.parameters()) == 62_378_344
    assert elapsed < 0.1 and peak < 500_000


def test_names_and_patterns():
    assert {"lenet5", "alexnet", "alexnet_grouped", "alexnet_cifar"} <= set(models.names())
    assert set(models.names("alexnet*")) >= {"alexnet", "alexnet_grouped", "alexnet_cifar"}
    assert "lenet5" not in models.names("alexnet*") and models.names("nothing*") == []


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda: models.create("alexnt"), "did you mean alexnet"),
        (lambda: models.info("zzz"), "models.names(all=True), or minicnn compare --list, lists them"),
        (
            lambda: models.create("alexnet", drop=0.1),
            "has no option 'drop': did you mean dropout? it takes num_classes=1000",
        ),
        (lambda: models.create("alexnet", device="meta", norm="both"), "norm is 'both'"),
        (
            lambda: models.create("alexnet", device="meta", num_classes=0),
            "models.create('alexnet'): num_classes is 0: it must be an integer of at least 1",
        ),
        (lambda: models.create("lenet5", activation="gelu"), "tanh, relu, sigmoid"),
        (lambda: models.create("lenet5", pool="min"), "must be avg or max"),
        (
            lambda: models.create("alexnet_cifar", widths=(1, 2)),
            "alexnet_cifar: widths is [1, 2]: it must be 5 integers",
        ),
        (lambda: models.create("alexnet_cifar", hidden=(1,)), "hidden is [1]: it must be 2 integers"),
        (lambda: models.create("alexnet", device="tpu"), "must be cpu, cuda or meta"),
        (
            lambda: models.register("alexnet", title="", paper="", year=0, input_shape=(1, 1, 1))(lambda: None),
            "already",
        ),
    ],
)
def test_a_mistake_gets_one_line_that_helps(call, text):
    with pytest.raises(ArgumentError) as caught:
        call()
    assert text in str(caught.value) and "\n" not in str(caught.value)


def test_an_input_that_does_not_fit_names_the_one_that_does():
    model = models.create("alexnet", device="meta")
    for shape in ((1, 3, 32, 32), (1, 3, 224, 224), (1, 1, 227, 227)):
        with pytest.raises(ShapeError, match="takes inputs of 3x227x227"):
            model(Tensor(np.zeros(shape, np.float32)).to("meta"))


def test_options():
    def kinds(**options):
        return [type(layer).__name__ for layer in models.create("alexnet", device="meta", **options)][:4]

    assert kinds() == ["Conv2d", "ReLU", "LocalResponseNorm", "MaxPool2d"]
    assert kinds(norm="after") == ["Conv2d", "ReLU", "MaxPool2d", "LocalResponseNorm"]
    assert kinds(norm=None) == ["Conv2d", "ReLU", "MaxPool2d", "Conv2d"]
    minicnn.summary(models.create("alexnet", device="meta", padding=2), (3, 224, 224))
    grey = models.create("alexnet", device="meta", in_channels=1, num_classes=7)
    assert grey.recipe.input_shape == (1, 227, 227) and minicnn.summary(grey).output_shape == (7,)
    assert minicnn.summary(models.create("lenet5", padding=2, activation="relu", pool="max"), (1, 28, 28)).rows
    slim = models.create("alexnet_cifar", widths=(8, 8, 8, 8, 8), hidden=(16, 16), batch_norm=True, num_classes=3)
    assert slim.conv1.bias is None and slim(batch("alexnet_cifar")).shape == (2, 3)
    sizes = [row.output_shape[1:] for row in minicnn.summary("alexnet_cifar").rows if row.kind == "MaxPool2d"]
    assert sizes == [(16, 16), (8, 8), (4, 4)]


def test_a_seed_and_a_recipe_make_the_same_model_again():
    minicnn.manual_seed(5)
    first = models.create("lenet5", num_classes=4)
    minicnn.manual_seed(5)
    second = models.create(first.recipe.name, **first.recipe.options)
    for name, values in first.state_dict().items():
        assert (second.state_dict()[name].numpy() == values.numpy()).all()


def test_options_are_plain_data(tmp_path):
    import json

    model = models.create(
        "alexnet_cifar", widths=np.array([4, 4, 4, 4, 4]), hidden=(np.int64(8), 8), dropout=np.float32(0.5)
    )
    assert model.recipe.options == {"widths": [4] * 5, "hidden": [8, 8], "dropout": 0.5}
    assert json.loads(json.dumps(model.recipe.options)) == model.recipe.options
    minicnn.io.save_weights(model, tmp_path / "weights.safetensors")
    again = models.create(model.recipe.name, **model.recipe.options)
    minicnn.io.load_weights(again, tmp_path / "weights.safetensors")
    with pytest.raises(ArgumentError, match="alexnet_cifar.*: dropout is <object.*: it must be numbers"):
        models.create("alexnet_cifar", dropout=object())


def test_facts_for_people():
    text = str(models.info("vgg16"))
    assert max(map(len, text.splitlines())) <= 80
    for words in ("vgg_d (also", "vgg16", "138,357,544", "15,470,264,320", "3x224x224", "num_classes=1000"):
        assert words in text
    assert models.names("vgg16") == models.names("VGG_D") == ["vgg_d"]


def test_the_batch_is_no_part_of_an_input_shape():
    with pytest.raises(ShapeError, match=r"leaves the batch out: \(3, 227, 227\)"):
        minicnn.summary("alexnet", (1, 3, 227, 227))
