"""The network that runs in the explorer's page: Node computes every layer's maps, and minicnn the same in float64."""

from __future__ import annotations

import base64
import contextlib
import json
import shutil
import subprocess
from importlib.resources import files

import numpy as np
import pytest

import minicnn
from minicnn import Tensor, data, models, ops
from minicnn.inspect import class_activation, explorer
from minicnn.models import pretrained

NODE = shutil.which("node") or shutil.which("nodejs")
needs_node = pytest.mark.skipif(NODE is None, reason="Node is missing: apt install nodejs")
pytest.importorskip("PIL.Image")

DRIVER = """
const fs = require("fs");
const given = JSON.parse(fs.readFileSync(process.argv[2], "utf8"));
const found = eval(given.expression);
fs.writeFileSync(process.argv[3], new Float32Array(found.flatMap((values) => Array.from(values))));
"""
NETWORK = """(() => {
  const { trained } = given, weights = weightsOf(trained), [network] = unpacked(given);
  const { rows } = compute(network, network.input);
  return given.pictures.flatMap((text) => {
    const outputs = [...forward(network, rows, weights, normalized(bytesOf(text), trained))];
    return [...outputs, softmax(outputs.at(-1)), classActivation(network, rows, weights, outputs, 3)];
  });
})()"""


@pytest.fixture
def node(tmp_path):
    """A function that gives the numbers of an expression over what it is given, end to end."""

    def run(expression, **given):
        source = files(explorer)
        scripts = [source.joinpath(name).read_text(encoding="utf-8") for name in explorer.ARITHMETIC]
        (tmp_path / "run.js").write_text("\n".join([*scripts, DRIVER]), encoding="utf-8")
        (tmp_path / "given.json").write_text(json.dumps({"expression": expression, **given}))
        subprocess.run([NODE, tmp_path / "run.js", tmp_path / "given.json", tmp_path / "found"], check=True, timeout=60)
        return np.fromfile(tmp_path / "found", "<f4")

    return run


@pytest.fixture(scope="module")
def trained():
    return explorer.trained()


@pytest.fixture(scope="module")
def pictures():
    """uint8 (N, 3, 32, 32): photographs, noise, one colour."""
    noise = np.random.default_rng(3).integers(0, 256, (1, 3, 32, 32), np.uint8)
    return np.concatenate([data.cifar10_sample(False).images[[0, 8]], noise, np.full_like(noise, 255)])


def test_the_page_has_the_weights_that_come_with_the_package(trained):
    state = models.create(trained["network"], pretrained=True).state_dict()
    assert set(trained["weights"]) == set(state)
    for name, text in trained["weights"].items():
        theirs = state[name].numpy()
        ours = np.frombuffer(base64.b64decode(text), "<f2").reshape(theirs.shape)
        np.testing.assert_allclose(ours, theirs, rtol=2**-11, atol=2**-25, err_msg=name)  # rounded to float16


def test_the_pictures_are_the_first_of_the_sample(trained):
    sample = data.cifar10_sample(False)
    assert len(trained["pictures"]) == 20 and trained["classes"] == sample.classes
    for number, picture in enumerate(trained["pictures"]):
        pixels = np.frombuffer(base64.b64decode(picture["pixels"]), np.uint8)
        np.testing.assert_array_equal(pixels.reshape(3, 32, 32), sample.images[number])
        assert picture["label"] == sample.labels[number]


def as_in_the_page(trained, dtype):
    """The network with the page's weights."""
    model = models.create(trained["network"]).to(dtype=dtype).eval()
    rounded = {key: np.frombuffer(base64.b64decode(text), "<f2") for key, text in trained["weights"].items()}
    state = model.state_dict()
    model.load_state_dict({key: rounded[key].reshape(state[key].shape).astype(dtype) for key in state})
    return model


@needs_node
def test_every_map_of_every_layer(node, trained, pictures):
    made = {}
    network = explorer.network(trained["network"], made)
    found = node(
        NETWORK, trained=trained, networks=[network], made=[json.loads(layer) for layer in made],
        pictures=[base64.b64encode(picture.tobytes()).decode() for picture in pictures],
    )  # fmt: skip
    model = as_in_the_page(trained, "float64")
    mean, std = (np.array(trained[key]).reshape(3, 1, 1) for key in ("mean", "std"))
    x = (pictures / 255 - mean) / std
    expected = {}
    with minicnn.use_backend("numpy"), contextlib.ExitStack() as hooks:
        for path, layer in model.named_layers():
            keep = lambda _, inputs, output, path=path: expected.update({path: output.numpy().copy()})  # noqa: E731
            hooks.enter_context(layer.register_forward_hook(keep))
        model(Tensor(x))
    expected = {path: expected[path] for path, *_ in network["layers"]}
    with minicnn.use_backend("numpy"):
        expected["softmax"] = ops.softmax(Tensor(expected["fc"])).numpy()
        expected["class activation"] = class_activation(model, x, [3] * len(x))
    assert len(found) == sum(values.size for values in expected.values())
    for number in range(len(x)):
        for path, values in expected.items():
            ours, found = np.split(found, [values[number].size])
            error = np.abs(ours - values[number].ravel()).max() / np.abs(values[number]).max()
            assert error < 1e-5, (number, path, error)


def test_rounded_weights_give_the_same_probabilities(trained):
    x = Tensor(data.Normalize(trained["mean"], trained["std"])(data.cifar10_sample(False).images[:20]))
    model = models.create(trained["network"], pretrained=True).eval()
    with minicnn.no_grad():
        found, expected = (ops.softmax(each(x)).numpy() for each in (as_in_the_page(trained, "float32"), model))
    np.testing.assert_allclose(found, expected, atol=0.01)


@needs_node
def test_convolutions_of_other_kinds(node, rng):
    """Groups, uneven strides, sides and dilations, padding beyond the window, and a bias."""
    cases, expected = [], []
    for groups, window, stride, padding, dilation in [
        (1, (1, 1), (1, 1), (0, 0, 0, 0), (1, 1)),
        (1, (3, 2), (2, 3), (2, 1, 0, 3), (1, 1)),
        (2, (3, 3), (1, 2), (1, 1, 1, 1), (2, 1)),
        (6, (2, 5), (4, 1), (5, 5, 5, 5), (1, 3)),
        (3, (3, 3), (5, 5), (0, 0, 7, 7), (1, 1)),
        (2, (1, 4), (2, 2), (0, 2, 1, 0), (1, 2)),
    ]:
        x, weight, bias = (
            rng.normal(size=(1, 6, 9, 13)),
            rng.normal(size=(12, 6 // groups, *window)),
            rng.normal(size=12),
        )
        y = ops.conv2d(
            Tensor(x), Tensor(weight), Tensor(bias), stride=stride, padding=padding, dilation=dilation, groups=groups
        ).numpy()
        args = dict(
            in_channels=6,
            out_channels=12,
            kernel_size=window,
            stride=stride,
            padding=padding,
            dilation=dilation,
            groups=groups,
        )
        cases.append({"args": args, "x": x.ravel().tolist(), "weight": weight.ravel().tolist(), "bias": bias.tolist()})
        expected.append(y.ravel())
    found = node(
        """given.cases.map(({ args, x, weight, bias }) => {
          const inputs = [[6, 9, 13]], output = KINDS.Conv2d.output(args, inputs);
          return RUNS.Conv2d({ args, inputs, output }, [x], { weight, bias });
        })""",
        cases=cases,
    )
    np.testing.assert_allclose(found, np.concatenate(expected), rtol=1e-5, atol=1e-5)


def test_without_weights_the_page_goes_without(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(pretrained, "FOLDER", tmp_path)
    pretrained.trained.cache_clear()
    assert explorer.trained() is None
    pretrained.trained.cache_clear()
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("explore: the page has no trained network") and "cifar_resnet20" in line
