"""The explorer's own arithmetic, run by Node, against minicnn's: every network, other inputs, edited layers, what does not fit."""

from __future__ import annotations

import json
import shutil
import subprocess
import zlib
from importlib.resources import files

import numpy as np
import pytest

from minicnn import models
from minicnn.errors import MinicnnError
from minicnn.inspect import explorer, summary
from minicnn.layers import Linear, PadShortcut, TableConv2d, default_device

NODE = shutil.which("node") or shutil.which("nodejs")
pytestmark = pytest.mark.skipif(NODE is None, reason="Node is missing: apt install nodejs")

DRIVER = """
const fs = require("fs");
const { data, cases } = JSON.parse(fs.readFileSync(process.argv[2], "utf8"));
const networks = new Map(unpacked(data).map((network) => [network.name, network]));
const results = cases.map(({ name, input, edits }) => {
  const network = networks.get(name), numbered = {};
  for (const [path, edit] of Object.entries(edits)) {
    numbered[network.layers.findIndex((layer) => layer.path === path)] = edit;
  }
  const result = compute(network, input, numbered);
  if (result.failure) result.failure.advice = advice(network, input, numbered, result.failure);
  for (const row of result.rows) row.args = row.inputs = undefined;
  return { ...result, edits: undefined, rows: result.failure ? result.rows.map((row) => row.path) : result.rows };
});
fs.writeFileSync(process.argv[3], JSON.stringify(results));
"""


@pytest.fixture(scope="module")
def page_says(tmp_path_factory):
    """A function that gives what the page finds for cases of (network, input, edits by path)."""
    folder = tmp_path_factory.mktemp("explorer")
    source = files(explorer)
    scripts = [source.joinpath(name).read_text(encoding="utf-8") for name in explorer.ARITHMETIC]
    (folder / "run.js").write_text("\n".join([*scripts, DRIVER]), encoding="utf-8")
    data = explorer.contents()

    def run(cases):
        keys = ("name", "input", "edits")
        given, found = folder / "cases.json", folder / "results.json"
        given.write_text(json.dumps({"data": data, "cases": [dict(zip(keys, case)) for case in cases]}))
        subprocess.run([NODE, folder / "run.js", given, found], check=True, timeout=600)
        return json.loads(found.read_text())

    return run


def edited(name, edits):
    """The network with some layers made anew, and None; or None and the path and the reason of one that cannot be."""
    model = models.create(name, device="meta")
    layers = dict(model.named_layers())
    for path, edit in edits.items():
        old = layers[path]
        arguments = {**explorer.arguments(old), **edit}
        arguments = {key: tuple(value) if isinstance(value, list) else value for key, value in arguments.items()}
        arguments.pop("connections", None)
        if isinstance(old, TableConv2d):
            arguments.pop("out_channels")
            arguments["table"] = old.table
        try:
            with default_device("meta"):
                new = type(old)(**arguments)
        except MinicnnError as error:
            return None, (path, str(error))
        parent, _, child = path.rpartition(".")
        layers[parent]._register(child, new)
    return model, None


def plain(row):
    """A row of the summary as the page has it."""
    window = row.window and {
        "size": list(row.window.size), "stride": list(row.window.stride), "padding": list(row.window.padding),
        "dilation": list(row.window.dilation), "ceil": row.window.ceil_mode,
    }  # fmt: skip
    return {
        "path": row.path, "kind": row.kind, "output": list(row.output_shape), "sizeFormula": row.size_formula,
        "sizeNote": row.size_note, "parameters": row.parameters, "parameterFormula": row.parameter_formula,
        "macs": row.macs, "macsFormula": row.macs_formula, "gemm": row.gemm and list(row.gemm),
        "neurons": row.neurons, "bytes": row.activation_bytes, "window": window,
        "field": [axis._asdict() for axis in row.field],
    }  # fmt: skip


def compare(page_says, cases):
    """Compare the page with the library on all cases. Gives how many did not fit."""
    misfits = 0
    for case, page in zip(cases, page_says(cases), strict=True):
        name, shape, edits = case
        model, refused = edited(name, edits)
        if refused is None:
            try:
                whole = summary(model, tuple(shape))
            except MinicnnError as error:
                refused = error
        if refused is None:
            assert page["failure"] is None, (case, page["failure"])
            assert [{k: v for k, v in row.items() if k != "layer"} for row in page["rows"]] == [
                plain(row) for row in whole.rows if row.leaf
            ], case
            totals = (whole.total_parameters, whole.total_macs, whole.total_neurons, whole.activation_bytes)
            assert (page["parameters"], page["macs"], page["neurons"], page["bytes"]) == totals, case
            continue
        misfits += 1
        assert page["failure"] is not None, (case, refused)
        paths = [path for path, layer in (model or models.create(name, device="meta")).named_layers()]
        failure = page["failure"]
        if isinstance(refused, tuple):
            failing = next(path for path in edits if path == refused[0])
            assert (failing, failure["message"], failure["advice"]) == (*refused, ""), case
        else:
            message = "; ".join(filter(None, (failure["message"], failure["advice"])))
            found = [path for path in paths if str(refused).startswith(f"{path} (")]
            assert str(refused).partition(": ")[2] == message, case
            assert len(found) == 1 and len(page["rows"]) == failure["layer"], case
            done = set(page["rows"])
            assert found[0] not in done, case
        assert failure["layer"] == leaf_number(name, refused[0] if isinstance(refused, tuple) else found[0]), case
    return misfits


_leaves: dict[str, dict[str, int]] = {}


def leaf_number(name, path):
    if name not in _leaves:
        rows = [row.path for row in summary(name).rows if row.leaf]
        _leaves[name] = {path: number for number, path in enumerate(rows)}
    return _leaves[name][path]


def sizes(name):
    C, H, W = models.info(name).input_shape
    return [
        (C, H, W),
        (C, H + 1, W + 1),
        (C, 2 * H, W),
        (C, H // 2, W - 3),
        (C, 3, 3),
        (C + 1, H, W),
        (C, 2 * H + 5, 1),
    ]


CHANGES = {
    "kernel_size": ([1, 1], [3, 3], [2, 3], [5, 1], [7, 7], [40, 40], [0, 3]), "stride": ([1, 1], [2, 2], [3, 1], [7, 7], [0, 1]),
    "padding": ([0, 0, 0, 0], [1, 1, 1, 1], [0, 1, 2, 0], [3, 3, 3, 3]), "dilation": ([1, 1], [2, 2], [3, 1]),
    "out_channels": (1, 24, 60), "in_channels": (1, 24, 48), "groups": (1, 2, 3, 4), "bias": (True, False), "ceil_mode": (True, False),
    "num_features": (24, 64), "size": (1, 3), "out_features": (10, 84), "in_features": (100, 4096), "channels": (16, 64),
    "output_size": ([1, 1], [3, 5], [6, 6]),
}  # fmt: skip


def drawn(name, number):
    """Edits of one layer each, with one or two arguments changed, drawn for this network."""
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    model = models.create(name, device="meta")
    kinds = explorer.ARGUMENTS
    layers = {}
    for path, layer in model.named_layers():
        names = [key for key in kinds.get(type(layer), ()) if key in CHANGES]
        if isinstance(layer, TableConv2d):
            names = ["kernel_size"]
        if type(layer).__name__ == "GlobalAvgPool2d":
            names = []
        if names:
            layers.setdefault(type(layer), []).append((path, names))
    for _ in range(number):
        kind = list(layers)[rng.integers(len(layers))]
        path, names = layers[kind][rng.integers(len(layers[kind]))]
        chosen = rng.choice(names, size=min(rng.integers(1, 3), len(names)), replace=False)
        edit = {str(key): CHANGES[key][rng.integers(len(CHANGES[key]))] for key in chosen}
        if kind is PadShortcut and "stride" in edit:  # a single number there
            edit["stride"] = edit["stride"][0]
        yield {path: edit}


def test_every_network_as_it_is_and_on_other_inputs(page_says):
    cases = [(name, shape, {}) for name in models.names(all=True) for shape in sizes(name)[:3]]
    assert 0 < compare(page_says, cases) < len(cases)


@pytest.mark.slow
def test_every_network_with_odd_inputs_and_edited_layers(page_says):
    cases = [(name, shape, {}) for name in models.names(all=True) for shape in sizes(name)[3:]]
    for name in models.names(all=True):
        own = models.info(name).input_shape
        cases += [(name, own, edit) for edit in drawn(name, 3)]
    misfits = compare(page_says, cases)
    assert 0.2 < misfits / len(cases) < 0.8


@pytest.mark.parametrize(
    "name, shape, edits, found",
    [
        ("alexnet", (3, 227, 227), {}, (62_378_344, 1_135_256_096)),
        ("vgg_d", (3, 256, 256), {"fc6": {"in_features": 32_768}}, (138_357_544 + (32_768 - 25_088) * 4096, None)),
        ("vgg_d", (3, 256, 256), {}, "fc6"),
        ("alexnet", (3, 227, 227), {"conv1": {"stride": [16, 16]}}, "pool5"),
        ("alexnet", (3, 227, 227), {"conv2": {"groups": 5}}, "conv2"),
        ("resnet18", (3, 224, 224), {"stage1.block1.body.conv2": {"padding": [0, 0, 0, 0]}}, "stage1.block1.add"),
    ],
)
def test_by_hand(page_says, name, shape, edits, found):
    (page,) = page_says([(name, shape, edits)])
    if isinstance(found, str):
        assert page["failure"]["layer"] == leaf_number(name, found)
    else:
        assert page["failure"] is None and page["parameters"] == found[0] and found[1] in (None, page["macs"])


def test_the_arguments_are_those_that_the_layers_take():
    for name in models.names(all=True):
        for path, layer in models.create(name, device="meta").named_layers():
            if type(layer) in (Linear, TableConv2d) and path:
                assert edited(name, {path: {}})[1] is None
