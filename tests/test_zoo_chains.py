"""The networks that are chains: layer by layer against the reference tables, their options, the lecture's pattern."""

import json
from pathlib import Path

import numpy as np
import pytest

import minicnn
from minicnn import Tensor, models, ops
from minicnn.errors import ArgumentError, ShapeError
from minicnn.layers import Dropout, LocalResponseNorm
from minicnn.models.pattern import TEXT, Parsed, parse

REFERENCE = Path(__file__).parent / "reference"
ZOO = json.loads((REFERENCE / "zoo.json").read_text())
TABLES = json.loads((REFERENCE / "layer_tables.json").read_text())
CHAINS = [name for name in TABLES if name.split("_")[0] in (
    "lenet5", "allcnn", "strided", "convpool", "all", "alexnet", "clarifai", "overfeat", "cnn", "nin",
)]  # fmt: skip
KINDS = {
    "Conv2d": "conv", "MaxPool2d": "maxpool", "AvgPool2d": "avgpool", "Linear": "fc", "GlobalAvgPool2d": "gap",
}  # fmt: skip


def create(name, **options):
    return models.create(name, device="meta", **options)


def kinds(model, *which):
    return [type(layer).__name__ for layer in model if not which or isinstance(layer, which)]


def on_meta(*shape):
    return ops.broadcast_to(Tensor(np.zeros((1,) * len(shape), np.float32)).to("meta"), shape)


def images(*shape):
    return Tensor(np.random.default_rng(0).standard_normal(shape).astype(np.float32))


def test_all_tables_of_chains_are_compared():
    assert len(CHAINS) == 1 + 12 + 2 + 2 + 2 + 7 + 2


@pytest.mark.parametrize("name", CHAINS)
def test_every_layer_is_the_reference_tables(name):
    model = create(name)
    rows = [row for row in minicnn.summary(model).rows if row.kind in KINDS]
    assert [KINDS[row.kind] for row in rows] == [entry["type"] for entry in TABLES[name]]
    for row, entry in zip(rows, TABLES[name]):
        layer = model[row.path]
        assert (row.parameters, row.macs) == (entry.get("params", 0), entry.get("macs", 0))
        assert row.output_shape == tuple(entry["out"][: len(row.output_shape)])
        if entry["type"] == "conv":
            assert [*layer.kernel_size] == entry["k"] and [*layer.stride] == entry["s"]
            assert set(layer.padding) == {int(entry["pad"])} and layer.groups == entry["groups"]
            assert (layer.in_channels, layer.bias is not None) == (entry["cin"], entry["bias"])
        elif entry["type"] in ("maxpool", "avgpool"):
            assert (layer.kernel_size, layer.stride) == ((entry["k"],) * 2, (entry["s"],) * 2)
            assert set(layer.padding) == {int(entry["pad"])}


@pytest.mark.parametrize("name", ["alexnet_torchvision", "vgg_a", "vgg_b", "vgg_d", "vgg_e"])
def test_tensors_are_those_of_published_weights(name):
    """In their order and shape; only the names differ."""
    tensors = json.loads((REFERENCE / "state_dicts.json").read_text())[name]["tensors"]
    assert [[*p.shape] for p in create(name).parameters()] == [shape for _, shape in tensors]


# Options


def counts(name, shape=None, **options):
    summary = minicnn.summary(create(name, **options), shape)
    return summary.total_parameters, summary.total_macs


def test_other_readings_of_a_paper_are_options():
    for name in (name for name, entry in ZOO.items() if "macs_8x8" in entry):
        assert counts(name, padding=1) == (ZOO[name]["parameters"], ZOO[name]["macs_8x8"])
    clarifai = ZOO["clarifai"]
    assert counts("clarifai", padding=(0, 1)) == (clarifai["parameters"], clarifai["macs_slide_padding"])
    nin = ZOO["nin_imagenet"]
    assert counts("nin_imagenet", (3, 227, 227)) == (nin["parameters"], nin["macs_227"])
    assert counts("cnn_s", padding=0) == counts("cnn_s_released")
    assert counts("cnn_f", model="M", hidden=(4096, 128)) == counts("cnn_m_128")
    assert counts("overfeat_fast", (3, 221, 221), model="accurate") == counts("overfeat_accurate")
    assert counts("vgg_a", config="E") == counts("vgg_e")


@pytest.mark.parametrize("name", ["vgg_a", "vgg_b", "vgg_d", "vgg_e"])
def test_vgg_has_its_other_names(name):
    layers = sum(len(p.shape) > 1 for p in create(name).parameters())
    assert models.info(f"vgg{layers}").name == name


def test_local_response_normalisation_can_move_and_go():
    assert kinds(create("alexnet"))[:5] == ["Conv2d", "ReLU", "LocalResponseNorm", "MaxPool2d", "Conv2d"]
    assert kinds(create("clarifai"))[:5] == ["Conv2d", "ReLU", "MaxPool2d", "LocalResponseNorm", "Conv2d"]
    assert kinds(create("clarifai", norm="before")) == kinds(create("alexnet"))
    number = {
        "alexnet": 2, "alexnet_torchvision": 0, "clarifai": 2, "overfeat_fast": 0, "cnn_f": 2, "cnn_m": 2, "cnn_s": 1,
        "vgg_a": 0, "vgg_a_lrn": 1,
    }  # fmt: skip
    for name, layers in number.items():
        assert len(kinds(create(name), LocalResponseNorm)) == layers
    for name in ("alexnet", "clarifai", "cnn_f"):
        assert not kinds(create(name, norm=None), LocalResponseNorm)
    assert kinds(create("vgg_a", norm=True)) == kinds(create("vgg_a_lrn"))


@pytest.mark.parametrize("name", ["alexnet", "clarifai", "overfeat_fast", "cnn_f", "vgg_c", "pattern"])
def test_batch_norm_takes_the_place_of_the_biases(name):
    plain, normal = create(name), create(name, batch_norm=True)
    filters = sum(layer.out_channels for layer in plain if type(layer).__name__ == "Conv2d")
    assert kinds(normal)[:3] == ["Conv2d", "BatchNorm2d", "ReLU"] and normal[0].bias is None
    assert counts(name, batch_norm=True)[0] == counts(name)[0] + filters


def test_dropout_stands_where_the_papers_have_it():
    def places(name, **options):
        model = create(name, **options)
        return {path: layer.p for path, layer in model.named_children() if isinstance(layer, Dropout)}

    assert places("all_cnn_c") == {"drop0": 0.2, "drop1": 0.5, "drop2": 0.5}
    assert set(places("all_cnn_c", dropout=0.1, dropout_input=0.1).values()) == {0.1}
    assert places("nin_imagenet") == {"drop3": 0.5} and places("nin_cifar10") == {"drop1": 0.5, "drop2": 0.5}
    assert places("vgg_d", dropout=0.3) == {"drop6": 0.3, "drop7": 0.3}
    names = list(create("alexnet_torchvision")._children)
    assert names[-8:] == ["flatten", "drop6", "fc6", "relu6", "drop7", "fc7", "relu7", "fc8"]
    names = list(create("alexnet")._children)
    assert names[-8:] == ["flatten", "fc6", "relu6", "drop6", "fc7", "relu7", "drop7", "fc8"]


@pytest.mark.parametrize(("name", "side"), [("alexnet_torchvision", 64), ("vgg_a", 32)])
def test_an_adaptive_pool_takes_other_sizes(name, side):
    model = create(name, adaptive=True, num_classes=5)
    assert model(on_meta(2, 3, side, side)).shape == (2, 5)
    assert counts(name, adaptive=True) == counts(name)


def test_widths_can_be_chosen():
    slim = models.create(
        "vgg_a", widths=(4, 4, 8, 8, 8), hidden=(16, 16), num_classes=3, adaptive=True, batch_norm=True
    )
    assert slim.train()(images(2, 3, 32, 32)).shape == (2, 3)
    assert models.create("all_cnn_a", widths=(4, 8))(images(2, 3, 32, 32)).shape == (2, 10)
    deep = create("alexnet", hidden=(64,))
    assert deep.fc7.in_features == 64 and deep.fc7.out_features == 1000


@pytest.mark.parametrize(
    ("name", "options", "text"),
    [
        ("alexnet", {"widths": (96, 256)}, "alexnet: widths is [96, 256]: it must be 5 integers"),
        ("alexnet", {"hidden": ()}, "alexnet: hidden is []: it must be a list of integers"),
        ("alexnet", {"batch_norm": "no"}, "models.create('alexnet'): batch_norm is 'no': it must be True or False"),
        ("clarifai", {"norm": "behind"}, "clarifai: norm is 'behind': it must be before, after or None"),
        ("clarifai", {"padding": 1}, "clarifai: padding is 1: it must hold the pixels"),
        ("clarifai", {"padding": (1, -1)}, "Conv2d: padding is -1"),
        ("overfeat_fast", {"model": "quick"}, "overfeat: model is 'quick': it must be fast or accurate"),
        ("overfeat_fast", {"norm": "before"}, "has no option 'norm'"),
        ("cnn_f", {"model": ["F"]}, "cnn_fms: model is ['F']: it must be F, M or S"),
        ("vgg_d", {"config": "F"}, "vgg: config is 'F': it must be one of A, B, C, D, E"),
        ("vgg_d", {"hidden": (4096, 0)}, "vgg: hidden[1] is 0: it must be an integer of at least 1"),
        ("vgg_d", {"dropout": 1.0}, "Dropout: p is 1.0"),
        ("all_cnn_c", {"base": "D"}, "allcnn: base is 'D': it must be A, B, C"),
        ("all_cnn_c", {"form": None}, "allcnn: form is None: it must be model, strided, convpool, all"),
        ("all_cnn_c", {"widths": (96, 192, 192)}, "must be 2 integers"),
        ("nin_cifar10", {"dropout": -1}, "Dropout: p is -1"),
    ],
)
def test_a_bad_option_gets_one_line_that_helps(name, options, text):
    with pytest.raises(ArgumentError) as caught:
        create(name, **options)
    assert text in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "size", "text"),
    [
        ("nin_imagenet", 18, r"pool1 \(MaxPool2d\): .* the network needs an input of at least 55x55"),
        ("nin_cifar10", 2, r"pool1 \(MaxPool2d\): .* the network needs an input of at least 6x6"),
        ("all_cnn_c", 5, r"conv3_1 \(Conv2d\): .* the network needs an input of at least 9x9"),
        ("allcnn_model_a", 3, r"pool2 \(MaxPool2d\): .* the network needs an input of at least 12x12"),
        ("alexnet_torchvision", 40, r"pool5 \(MaxPool2d\): .* the network needs an input of at least 63x63"),
        ("lenet5_1998", 28, r"c5 \(Conv2d\): .* the network needs an input of at least 32x32"),
        ("vgg_d", 16, r"pool5 \(MaxPool2d\): .* vgg_d as it was created takes inputs of 3x224x224"),
        ("overfeat_accurate", 40, r"conv2 \(Conv2d\): .* takes inputs of 3x221x221"),
        ("pattern", 3, r"pool2 \(MaxPool2d\): .* pattern as it was created takes inputs of 3x32x32"),
        ("clarifai", 240, r"fc6 \(Linear\): .* clarifai as it was created takes inputs of 3x224x224"),
    ],
)
def test_an_input_too_small_is_told_which_one_fits(name, size, text):
    channels = models.info(name).input_shape[0]
    with pytest.raises(ShapeError, match=text) as caught:
        create(name)(on_meta(1, channels, size, size))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["all_cnn_c", "allcnn_model_a", "nin_cifar10"])
def test_every_class_starts_alive_behind_the_last_relu(name):
    """A class whose score is 0 everywhere would get no gradient and stay at 0 for ever."""
    scores = models.create(name).eval()(images(2, 3, 32, 32)).numpy()
    assert scores.min() > 0.05


# The pattern


@pytest.mark.parametrize(
    ("text", "parsed"),
    [
        (TEXT, (None, None, None, None)),
        ("[(CONV-RELU)^N-POOL?]^M-(FC-RELU)^K,SOFTMAX", (None, None, None, None)),
        ("$[(conv-relu)*2 - pool]*3 - (fc-relu)*1, softmax$", (2, 3, 1, True)),
        ("[(CONV-RELU)*4]*1-(FC-RELU)*0", (4, 1, 0, False)),
        ("[(CONV-RELU)*12-POOL?]*M, SOFTMAX", (12, None, 0, None)),
    ],
)
def test_the_pattern_is_read(text, parsed):
    assert parse(text) == Parsed(*parsed)


@pytest.mark.parametrize("text", ["", "CONV-RELU", "[(CONV-RELU)*X-POOL]*3", "[(CONV-RELU)*2-POOL]*3-(FC)*1", None, 7])
def test_another_text_is_refused(text):
    with pytest.raises(ArgumentError, match=r"pattern: text is .*\(CONV-RELU\)\*N") as caught:
        parse(text)
    assert "\n" not in str(caught.value)


def test_the_pattern_is_built_as_its_text_says():
    model = create("pattern", text="[(CONV-RELU)*2-POOL]*3-(FC-RELU)*1, SOFTMAX", dropout=0.5)
    stage = ["Conv2d", "ReLU"] * 2 + ["MaxPool2d"]
    assert kinds(model) == [*stage * 3, "Flatten", "Linear", "ReLU", "Dropout", "Linear"]
    assert [model[f"conv{stage}_2"].out_channels for stage in (1, 2, 3)] == [32, 64, 128]
    assert kinds(create("pattern", n=1, m=2, k=0, pool=(True, False))) == [
        "Conv2d", "ReLU", "MaxPool2d", "Conv2d", "ReLU", "Flatten", "Linear",
    ]  # fmt: skip
    # What the text says in numbers holds, whatever the options are
    assert counts("pattern", text="[(CONV-RELU)*1]*2", n=3, m=9, k=2, pool=True) == counts(
        "pattern", n=1, m=2, k=0, pool=False
    )


@pytest.mark.parametrize(
    ("name", "n"), [("vgg_a", (1, 1, 2, 2, 2)), ("vgg_d", (2, 2, 3, 3, 3)), ("vgg_e", (2, 2, 4, 4, 4))]
)
def test_vgg_is_a_case_of_the_pattern(name, n):
    widths = (64, 128, 256, 512, 512)
    model = create("pattern", n=n, m=5, k=2, widths=widths, hidden=4096, num_classes=1000, input_size=224)
    assert model.recipe.input_shape == (3, 224, 224)
    summary = minicnn.summary(model)
    assert (summary.total_parameters, summary.total_macs) == (ZOO[name]["parameters"], ZOO[name]["macs"])
    again = create(model.recipe.name, **model.recipe.options)
    assert again.recipe == model.recipe


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (
            {"m": 6},
            "there are 6 pools and input_size is 32: every pool halves the map, so the images need at least 64x64",
        ),
        ({"m": 0}, "pattern: m is 0"),
        ({"k": -1}, "pattern: k is -1: it must be an integer of at least 0"),
        ({"n": (2, 2)}, "pattern: n is [2, 2]: it must be one value, or a list of 3"),
        ({"n": 0}, "pattern: n[0] is 0"),
        ({"pool": (True, 1, False)}, "it must be True, False or 3 of them"),
        ({"pool": "?"}, "pattern: pool is '?'"),
        ({"widths": (8, 8)}, "pattern: widths is [8, 8]: it must be 3 integers"),
        ({"hidden": (8, 8)}, "pattern: hidden is [8, 8]: it must be one value, or a list of 1"),
        ({"window": 4}, "pattern: window is 4: it must be odd"),
        ({"input_size": 0}, "input_size is 0"),
        ({"text": "[(CONV-RELU)*0-POOL]*3"}, "pattern: n[0] is 0"),
    ],
)
def test_a_pattern_that_cannot_be_is_refused(options, text):
    with pytest.raises(ArgumentError) as caught:
        create("pattern", **options)
    assert text in str(caught.value) and "\n" not in str(caught.value)
