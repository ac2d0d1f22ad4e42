"""A small network, files of its weights, and what loading one must do: for the tests of weights from elsewhere."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch_files as torch
from torch_files import View

from minicnn import io, layers
from minicnn.errors import CheckpointError

REFERENCE = Path(__file__).parent / "reference"
STATES = json.loads((REFERENCE / "state_dicts.json").read_text())
FORMATS = ["zip", "legacy", "safetensors"]


def small() -> layers.Layer:
    """A network of one's own, with PyTorch's habits in its names."""
    return layers.Sequential({
        "conv": layers.Conv2d(2, 3, 2), "bn": layers.BatchNorm2d(3), "flatten": layers.Flatten(),
        "fc": layers.Linear(3, 2),
    })  # fmt: skip


SHAPES = {
    "conv.weight": (3, 2, 2, 2), "conv.bias": (3,), "bn.weight": (3,), "bn.bias": (3,), "bn.running_mean": (3,),
    "bn.running_var": (3,), "fc.weight": (2, 3), "fc.bias": (2,),
}  # fmt: skip
OURS = {"bn.weight": "bn.scale", "bn.bias": "bn.shift"}


def drawn(rng, shapes=SHAPES):
    return {name: rng.random(shape, dtype=np.float32) for name, shape in shapes.items()}


def constants(shapes, value=0.5):
    """Tensors of any size in a file of a few bytes: views of one number."""
    number = np.full(1, value, np.float32)
    return {name: View(number, 0, tuple(shape), (0,) * len(shape)) for name, shape in shapes.items()}


def shapes_of(name):
    return {key: tuple(shape) for key, shape in STATES[name]["tensors"]}


def write(path, state, form):
    if form == "safetensors":
        import safetensors.numpy

        safetensors.numpy.save_file(state, path)
    else:
        torch.save(path, state, legacy=form == "legacy")


def values_of(model):
    return {name: values.numpy().copy() for name, values in model.state_dict().items()}


def assert_equal(one, two):
    assert list(one) == list(two)
    for name in one:
        np.testing.assert_array_equal(one[name], two[name], err_msg=name)


def refused(model, path, match, **options):
    """Loading must raise CheckpointError, in one line, and change nothing. Returns the message."""
    before = values_of(model)
    with pytest.raises(CheckpointError, match=match) as caught:
        io.load_weights(model, path, **options)
    assert_equal(before, values_of(model))
    assert "\n" not in str(caught.value) and path.name in str(caught.value)
    return str(caught.value)
