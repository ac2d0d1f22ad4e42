"""`compare`: networks, modules and layers side by side, against numbers worked out by hand or stored."""

import contextlib
import itertools
import json
import re
from pathlib import Path

import pytest

import minicnn
from minicnn import layers
from minicnn.cli import app
from minicnn.errors import ArgumentError, MinicnnError, ShapeError
from minicnn.inspect import compare
from minicnn.inspect.comparison import depth
from minicnn.inspect.expression import KINDS, layer_from
from minicnn.inspect.modules import COMPARISONS, MODULES, build, listing

ZOO = json.loads((Path(__file__).parent / "reference/zoo.json").read_text("utf-8"))


def weights(name, channels=None):
    return [entry.weights for entry in compare(name, channels=channels).entries]


@pytest.mark.parametrize("C", [1, 3, 16])
def test_small_windows_against_large_ones(C):
    assert weights("5x5", C) == [25 * C * C, 18 * C * C]
    assert weights("7x7", C) == [49 * C * C, 27 * C * C]
    assert weights("3x3", C) == [9 * C * C, 6 * C * C]
    assert weights("factorised_7x7", C) == [49 * C * C, 14 * C * C]
    for name, old, new in (("5x5", 25, 18), ("7x7", 49, 27), ("3x3", 9, 6), ("factorised_7x7", 49, 14)):
        entries = compare(name, channels=C).entries  # on maps of the same size they cost as their weights
        assert [entry.macs for entry in entries] == [28 * 28 * old * C * C, 28 * 28 * new * C * C]
        assert {entry.output_shape for entry in entries} == {(C, 28, 28)}
    for name, field in (("5x5", 5), ("7x7", 7), ("3x3", 3)):
        assert [entry.field for entry in compare(name, channels=C).entries] == [field] * 2


def test_the_decks_numbers():
    assert weights("5x5") == [225, 162]
    assert [entry.parameters for entry in compare("5x5").entries] == [228, 168]
    assert [entry.macs for entry in compare("bottleneck").entries] == [163840000, 16384000]
    assert [entry.macs for entry in compare("inception").entries] == [854196224, 271351808]
    assert [entry.output_shape for entry in compare("inception").entries] == [(672, 28, 28), (480, 28, 28)]


def test_grid_reductions():
    entries = compare("reduction").entries
    assert [entry.output_shape for entry in entries] == [(640, 17, 17)] * 3
    by_hand = [640 * 320 * 9 * 17 * 17, 640 * 320 * 9 * 35 * 35, 320 * 320 * 9 * 17 * 17]
    assert [entry.macs for entry in entries] == by_hand
    assert [entry.field for entry in entries] == [3 + 2 * 2, 3 + 2, 3]


def test_the_receptive_field_is_that_of_the_last_map():
    for name, last in (("alexnet", "pool5"), ("vgg_d", "pool5"), ("lenet5", "c5"), ("resnet18", "stage4.block2.after"),
                       ("googlenet_aux", "inception5b.cat"), ("nin_imagenet", "relu4b")):  # fmt: skip
        there = next(row for row in minicnn.inspect.summary(name).rows if row.path == last)
        assert compare(name, "alexnet").entries[0].field == there.receptive_field, name
    assert [entry.field for entry in compare("alexnet", "vgg_d").entries] == [195, 212]
    middle = "Conv2d(3, 8, 3), MaxPool2d(2, 2), "
    whole = ("GlobalAvgPool2d()", "AvgPool2d(7)", "GlobalAvgPool2d(), Conv2d(8, 5, 1)", "Flatten(), Linear(392, 5)")
    entries = compare(*[f"Sequential({middle}{end})" for end in whole], input_shape=(3, 16, 16)).entries
    assert [entry.field for entry in entries] == [4] * 4
    comparison = compare("alexnet", "vgg_d")
    assert "of the last map" in comparison.to_text() and "of the last map" in comparison.to_markdown()
    assert compare("classifier").entries[0].field is None and "last map" not in str(compare("classifier"))


@pytest.mark.parametrize("name, layers_", [("lenet5", 5), ("alexnet", 8), ("vgg_d", 16), ("vgg19", 19), ("googlenet", 22),
                                           ("resnet18", 18), ("resnet50", 50), ("densenet121", 121), ("cifar_resnet20", 20)])  # fmt: skip
def test_depth(name, layers_):
    assert depth(minicnn.models.create(name, device="meta"), minicnn.models.info(name).input_shape) == layers_


def test_depth_counts_the_longest_way():
    block = layers.Residual(layers.Sequential(layers.Conv2d(2, 2, 1), layers.Conv2d(2, 2, 1)), layers.Conv2d(2, 2, 1))
    assert depth(block, (2, 4, 4)) == 2
    assert depth(layers.ReLU(), (2, 4, 4)) == 0


def test_networks():
    names = ("alexnet", "vgg_d", "googlenet", "resnet50")
    for name, entry in zip(names, compare(*names).entries):
        assert (entry.parameters, entry.macs) == (ZOO[name]["parameters"], ZOO[name]["macs"])
        assert entry.year == minicnn.models.info(name).year and entry.paper == minicnn.models.info(name).paper
    assert compare(*names).entries[1].activation_bytes == 60950432
    assert compare(*names).entries[0].neurons == 659272


def test_layers():
    conv = layers.Conv2d(3, 8, 5, padding=2)
    entries = compare(conv, ("mine", layers.Conv2d(3, 8, 3)), "Conv2d(3, 8, 1)", input_shape=(3, 10, 12)).entries
    assert [entry.name for entry in entries] == ["Conv2d", "mine", "Conv2d(3, 8, 1)"]
    assert [entry.output_shape for entry in entries] == [(8, 10, 12), (8, 8, 10), (8, 10, 12)]
    assert [entry.parameters for entry in entries] == [608, 224, 32]
    small = minicnn.models.create("lenet5", device="meta")
    assert compare(small, "alexnet_cifar").entries[0].parameters == 61706


@pytest.mark.parametrize("name", COMPARISONS)
def test_every_comparison(name):
    comparison = compare(name)
    text = comparison.to_text()
    assert len(comparison.entries) == len(COMPARISONS[name]) and max(map(len, text.splitlines())) <= 80
    assert name in listing() and len(json.loads(comparison.to_json())) == len(comparison.entries)


@pytest.mark.parametrize("name", MODULES)
def test_every_module(name):
    layer, shape = build(name, 8)
    assert shape[0] == 8 and layer.device in ("meta", "cpu")
    assert name in listing()


def test_the_columns_wrap():
    comparison = compare(*["alexnet", "vgg16", "googlenet", "resnet50", "densenet121", "inception_v3"])
    text = comparison.to_text()
    assert max(map(len, text.splitlines())) <= 80 and text.count("parameters") == 2
    assert "densenet121" in text and "138,357,544" in text and "2.22" in text
    assert comparison.to_text(200).count("parameters") == 1
    rows = [line for line in comparison.to_markdown().splitlines() if line.startswith("|")]
    assert {line.count("|") for line in rows} == {8}


@pytest.mark.parametrize(
    "things, options, words",
    [
        ((), {}, "nothing to compare: give two networks"),
        (("alexnet",), {}, "only 'alexnet' to compare"),
        (("alexnett", "vgg_d"), {}, "did you mean alexnet"),
        (("two_3x4", "vgg_d"), {}, "did you mean two_3x3"),
        (("qqqq", "vgg_d"), {}, "compare --list"),
        (("Conv2d(3, 8, 3)", "alexnet"), {}, "does not know its input: give input_shape"),
        (("alexnet", "vgg_d"), {"channels": 3}, "there is none here"),
        (("5x5",), {"channels": 0}, "at least 1"),
        ((3, "alexnet"), {}, "3: it must be a name, a Layer"),
        (("Conv3d(3)", "alexnet"), {}, "did you mean Conv2d"),
        (("Conv2d(3, 8, q)", "alexnet"), {}, "neither a layer nor a plain value"),
        (("Conv2d(3,", "alexnet"), {}, "cannot be read"),
        (("__import__('os')", "alexnet"), {}, "there is no layer called '__import__'"),
        (("layers.Conv2d(3, 8, 3)", "alexnet"), {}, "there is no layer called 'layers.Conv2d'"),
        (("Conv2d()", "alexnet"), {}, "missing 3 required"),
        (("Conv2d(3, 8, 0)", "alexnet"), {}, "kernel_size is 0"),
        (("(1, 2)", "alexnet"), {}, "is no layer"),
        ((f"Conv2d({'-' * 900}1, 1, 1)", "ReLU()"), {}, "neither a layer nor a plain value"),
        ((f"Conv2d({'1+' * 2000}1, 1, 1)", "ReLU()"), {}, "neither a layer nor a plain value"),
        ((f"{'a.' * 2000}Conv2d(1, 1, 1)", "ReLU()"), {}, "there is no layer called 'a.a."),
        (("Conv2d(3, 8, 5)" * 10000, "ReLU()"), {}, "..."),
        (("q" * 100000, "ReLU()"), {}, "..."),
        ((f"Conv2d({'q' * 100000}, 1, 1)", "ReLU()"), {}, "..."),
        ((f"{'q' * 100000}(1)", "ReLU()"), {}, "..."),
        ((f"ReLU({' ' * 100000})",), {}, "only 'ReLU("),
        ((f"Conv2d(0x{'f' * 5000}, 1, 1)", "ReLU()"), {}, "4300 digits"),
        (("RadialBasis('x')", "ReLU()"), {}, "RadialBasis: codes is x: it must be numbers"),
        (("RadialBasis([[1], [1, 2]])", "ReLU()"), {}, "as many for each class"),
        (("residual",), {"channels": 3}, "channels (--channels) is 3: it must be an integer of at least 4"),
    ],
)
def test_errors(things, options, words):
    with pytest.raises(ArgumentError, match=re.escape(words)) as caught:
        compare(*things, **options)
    assert len(str(caught.value)) < 800


def test_a_layer_made_of_any_plain_values_is_built_or_refused():
    values = ["'x'", "None", "-1", "0", "1.5", "[]", "{}", "[[1], [1, 2]]", "[None]", "b''", "1j", "0x" + "f" * 5000]
    for kind in KINDS:
        for count in range(4):
            for given in itertools.product(values if count < 3 else values[:6], repeat=count):
                with contextlib.suppress(MinicnnError):
                    layer_from(f"{kind}({', '.join(given)})")


def test_an_input_that_does_not_fit():
    with pytest.raises(ShapeError, match="window does not fit"):
        compare("alexnet", "vgg_d", input_shape=(3, 32, 32))


def test_expressions():
    layer = layer_from("Sequential(Conv2d(3, 8, 3, padding=(1, 1)), ReLU(), MaxPool2d(2))")
    assert [type(part).__name__ for part in layer] == ["Conv2d", "ReLU", "MaxPool2d"] and layer.device == "meta"
    assert layer[0].padding == (1, 1, 1, 1)


def command(*arguments):
    with pytest.raises(SystemExit) as left:
        app(["compare", *arguments])
    return left.value.code or 0


def test_the_command(capsys):
    assert command("5x5", "--channels", "8") == 0
    out = capsys.readouterr().out
    assert "1,152" in out and max(map(len, out.splitlines())) <= 80
    assert command("Conv2d(3, 8, 5)", "Conv2d(3, 8, 3)", "--input", "3x32x32", "--format", "json") == 0
    assert [entry["parameters"] for entry in json.loads(capsys.readouterr().out)] == [608, 224]
    assert command("alexnet", "vgg_d", "--format", "markdown") == 0 and "| parameters |" in capsys.readouterr().out
    assert command("--list") == 0
    out = capsys.readouterr().out
    assert "one_5x5 two_3x3" in out and "densenet264" in out and max(map(len, out.splitlines())) <= 80
    assert all(name in out for known in minicnn.models.names(all=True) for name in minicnn.models.info(known).aliases)
    assert "vgg_d (vgg16)" in out and "  1998  lenet5" in out
    assert command() == 1 and "nothing to compare" in capsys.readouterr().err
    assert command("alexnet", "alexnett") == 1 and "did you mean alexnet" in capsys.readouterr().err
    assert command("5x5", "--input", "3x7") == 2 and "CxHxW" in capsys.readouterr().err


def test_the_command_reads_caffe_descriptions(capsys, tmp_path):
    path = tmp_path / "small.prototxt"
    path.write_text(
        'input: "data" input_dim: 1 input_dim: 3 input_dim: 32 input_dim: 32\n'
        'layer { name: "conv" type: "Convolution" bottom: "data" top: "conv"'
        " convolution_param { num_output: 8 kernel_size: 5 } }"
    )
    assert command(str(path), "alexnet", "--format", "json") == 0
    entry = json.loads(capsys.readouterr().out)[0]
    assert (entry["name"], entry["parameters"], entry["output_shape"]) == ("small.prototxt", 608, [8, 28, 28])
