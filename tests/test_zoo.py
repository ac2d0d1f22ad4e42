"""Every network of the registry: its facts against tests/reference/zoo.json, its options, its errors, and that it trains."""

import json
import re
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

import minicnn
from minicnn import Tensor, backends, models, ops
from minicnn.errors import ArgumentError, ShapeError
from minicnn.layers import BatchNorm2d, Conv2d, Linear

ZOO = json.loads((Path(__file__).parent / "reference" / "zoo.json").read_text())
NAMES = sorted({*ZOO, *models.names(all=True)})
VARIANTS = {  # as released by others, not as a paper or a slide has it
    "alexnet_torchvision", "bn_inception_caffe", "bn_inception_sepconv1", "googlenet_sepconv1", "googlenet_torchvision",
    "googlenet_torchvision_aux", "inception_resnet_v2_slim", "resnet101_v1.5", "resnet152_v1.5", "resnet50_caffe",
    "resnet50_v1.5",
}  # fmt: skip


def on_meta(*shape):
    """Images of this shape without memory."""
    return ops.broadcast_to(Tensor(np.zeros((1,) * len(shape), np.float32)).to("meta"), shape)


# What it is


@pytest.mark.parametrize("name", ZOO)
def test_a_network_has_the_parameters_and_multiply_adds_of_the_reference(name):
    info = models.info(name)
    assert (info.parameters, info.macs) == (ZOO[name]["parameters"], ZOO[name]["macs"])
    assert list(info.input_shape) == ZOO[name]["input"]
    assert set(info.decks) == {file[:3] for file in ZOO[name]["decks"]}


@pytest.mark.parametrize("name", ZOO)
def test_the_parameters_are_where_the_reference_has_them(name):
    counts = Counter()
    for _, layer in models.create(name, device="meta").named_layers():
        kind = {Conv2d: "weights", Linear: "weights", BatchNorm2d: "bn_affine"}.get(type(layer), "other")
        for parameter, values in layer._parameters.items():
            counts["biases" if kind == "weights" and parameter == "bias" else kind] += values.size
    parts = ZOO[name]["breakdown"]
    assert counts["weights"] == parts["conv_weights"] + parts["fc_weights"]
    assert counts["biases"] == parts["conv_biases"] + parts["fc_biases"]
    assert (counts["bn_affine"], counts["other"]) == (parts["bn_affine"], parts["other"])


def test_names_lists_what_slides_and_papers_have_and_on_request_the_variants():
    every, listed = models.names(all=True), models.names()
    assert len(set(every)) == len(every) and set(ZOO) <= set(every)
    assert not VARIANTS & set(listed)
    assert [name for name in every if not models.info(name).reference] == listed


@pytest.mark.parametrize("name", NAMES)
def test_a_network_is_described_and_runs_on_meta(name):
    info, options = models.info(name), models.options(name)
    assert info.name == name and info.title and info.paper and 1980 < info.year < 2030 and "\n" not in info.notes
    assert len(info.input_shape) == 3 and set(info.decks) <= {"000", "001", "002", "003", "004"}
    model = models.create(name, device="meta").eval()
    assert {p.device for p in model.parameters()} == {"meta"}
    assert model.recipe == models.Recipe(name, {}, info.input_shape)
    with minicnn.no_grad():
        y = model(on_meta(2, *info.input_shape))
    assert y.shape == (2, options["num_classes"]) if "num_classes" in options else y.shape[0] == 2


@pytest.mark.parametrize("name", [name for name in NAMES if name in models.names(all=True)])
def test_the_number_of_classes_and_of_channels_can_be_chosen(name):
    known, (_, H, W) = models.options(name), models.info(name).input_shape
    given = {key: value for key, value in {"num_classes": 7, "in_channels": 1}.items() if key in known}
    assert name.startswith(("inception_naive", "inception_bottleneck")) or len(given) == 2
    model = models.create(name, device="meta", **given).eval()
    assert model.recipe.input_shape[0] == given.get("in_channels", models.info(name).input_shape[0])
    with minicnn.no_grad():
        y = model(on_meta(1, model.recipe.input_shape[0], H, W))
    assert "num_classes" not in given or y.shape == (1, 7)
    for key in given:
        for value in (0, -1, 2.5, "3"):
            with pytest.raises(
                ArgumentError, match=re.escape(f"models.create({name!r}): {key} is {value!r}: it must be")
            ):
                models.create(name, device="meta", **{key: value})
    with pytest.raises(ArgumentError, match=rf"models.create: {re.escape(name)} has no option 'colour': .*it takes"):
        models.create(name, device="meta", colour=1)


# What it says when something is wrong


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("resnet5", "resnet50"), ("ResNet-50", "resnet50"), ("vgg_19", "vgg19"), ("densenet12", "densenet121"),
        ("googelnet", "googlenet"), ("inceptionv3", "inception_v3"), ("resnext50", "resnext50_32x4d"),
    ],
)  # fmt: skip
def test_an_unknown_name_gets_the_nearest(name, near):
    with pytest.raises(ArgumentError) as caught:
        models.create(name)
    message = str(caught.value)
    assert message.startswith(f"models: there is no network called {name!r}: did you mean ") and "\n" not in message
    assert near in message


def refusal(model, *shape):
    with pytest.raises(ShapeError) as caught, minicnn.no_grad():
        model(on_meta(*shape))
    message = str(caught.value)
    assert "\n" not in message
    return message


@pytest.mark.parametrize(
    "name",
    [
        "nin_imagenet",
        "googlenet",
        "inception_v3",
        "inception_v4",
        "xception",
        "densenet121",
        "densenet264",
        "all_cnn_c",
    ],
)
def test_too_small_an_input_names_the_layer_and_the_least_size_that_works(name):
    model = models.create(name, device="meta").eval()
    C, H, _ = models.info(name).input_shape
    message = refusal(model, 2, C, 2, 2)
    found = re.search(r"^[\w.]+ \(\w+\): .*does not fit.*; the network needs an input of at least (\d+)x\1$", message)
    assert found, message
    least = int(found[1])
    assert 2 < least <= H
    with minicnn.no_grad():
        assert model(on_meta(1, C, least, least)).shape[0] == 1
    assert refusal(model, 1, C, least - 1, least - 1).endswith(f"at least {least}x{least}")


@pytest.mark.parametrize("name", ["lenet5", "alexnet", "vgg_d", "cnn_f", "overfeat_fast"])
def test_a_network_with_a_fixed_input_names_it(name):
    model = models.create(name, device="meta").eval()
    C, H, W = models.info(name).input_shape
    for size in (H // 8, H // 2, 2 * H):
        message = refusal(model, 1, C, size, size)
        assert message.endswith((f"takes inputs of {C}x{H}x{W}", f"needs an input of at least {H}x{W}")), message


@pytest.mark.parametrize(
    "name", ["vgg_d", "googlenet", "resnet50", "cifar_preact_resnet164", "densenet121", "xception"]
)
def test_a_wrong_number_of_channels_names_the_right_one(name):
    C, H, W = models.info(name).input_shape
    for wrong in (1, C + 1):
        message = refusal(models.create(name, device="meta").eval(), 1, wrong, H, W)
        assert f"x has {wrong} channels" in message and f"takes {C}" in message
        assert message.endswith(f"takes inputs of {C}x{H}x{W}") and re.match(r"[\w.]+ \(Conv2d\): ", message)


# That it trains


@pytest.fixture
def fast_backend():
    with minicnn.use_backend("c" if "c" in backends.available() else "numpy"):
        yield
    backends.pool.clear()  # the next network wants blocks of other sizes


def loss_of(outputs, labels):
    """Cross-entropy; of auxiliary outputs 0.3 times (GoogLeNet's weight); of modules, on the mean of each map."""
    total = 0.0
    for place, y in enumerate(outputs if isinstance(outputs, tuple) else (outputs,)):
        logits = y.mean((2, 3)) if y.ndim == 4 else y
        total = total + ops.cross_entropy(logits, labels) * (0.3 if place else 1.0)
    return total


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_a_network_trains_at_its_own_resolution(name, fast_backend):
    rng = np.random.default_rng(0)
    model = models.create(name)
    x = Tensor(rng.standard_normal((2, *models.info(name).input_shape), np.float32))
    labels = Tensor(rng.integers(0, models.options(name).get("num_classes", 10), 2))
    optimizer = minicnn.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    loss = loss_of(model(x), labels)
    loss.backward()
    assert np.isfinite(loss.item())
    before = {}
    for path, parameter in model.named_parameters():
        assert parameter.grad is not None, f"{path} took no part"
        gradient = parameter.grad.numpy().reshape(-1)
        largest = max(gradient.argmax(), gradient.argmin(), key=lambda place: abs(gradient[place]))  # NaN is both
        assert np.isfinite(gradient[largest]) and gradient[largest], f"{path}: largest gradient {gradient[largest]}"
        before[path] = largest, parameter.numpy().reshape(-1)[largest]
    optimizer.step()
    for path, parameter in model.named_parameters():
        place, value = before[path]
        moved = parameter.numpy().reshape(-1)[place]
        assert np.isfinite(moved) and moved != value, f"{path} did not move from {value}"
