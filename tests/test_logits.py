"""The outputs of 24 networks, with weights made by a rule and loaded from files with the libraries' names.

Counts do not see an epsilon, a padding side, ceil mode or a ReLU's place; logits do.
"""

from __future__ import annotations

import json
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch_files

import minicnn
from minicnn import Tensor, io, models
from minicnn.io.names import COUNTER

pytest.importorskip("safetensors")

REFERENCE = Path(__file__).parent / "reference"
LOGITS = json.loads((REFERENCE / "logits.json").read_text())
STATES = json.loads((REFERENCE / "state_dicts.json").read_text())
TOLERANCE = 1e-5


def drawn(key: int, shape: tuple[int, ...]) -> np.ndarray:
    return np.random.Generator(np.random.Philox(key=key)).random(shape)


def by_rule(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """The values of a tensor: a function of its name and shape."""
    if name.endswith(COUNTER):
        return np.zeros(shape, np.int64)
    u = drawn(zlib.crc32(name.encode()), shape)
    if name.endswith("running_var") or (name.endswith("weight") and len(shape) == 1):
        values = 0.5 + u
    elif name.endswith(("running_mean", "bias")):
        values = 0.2 * (u - 0.5)
    else:
        values = (2 * u - 1) * np.sqrt(6 / np.prod(shape[1:]))
    return values.astype(np.float32)


def loaded(name: str, folder: Path) -> minicnn.layers.Layer:
    """The network with the weights of the rule, through a file: .pth for half of them, .safetensors for the others."""
    state = {key: by_rule(key, tuple(shape)) for key, shape in STATES[name]["tensors"]}
    path = folder / ("w.pth" if list(STATES).index(name) % 2 else "w.safetensors")
    if path.suffix == ".pth":
        torch_files.save(path, state)
    else:
        import safetensors.numpy

        safetensors.numpy.save_file(state, path)
    model = models.create(name).eval()
    try:
        assert io.load_weights(model, path) == ([], [])
    finally:
        path.unlink()
    return model


@pytest.mark.slow
@pytest.mark.parametrize("name", LOGITS)
def test_logits_are_the_librarys(name, tmp_path):
    model = loaded(name, tmp_path)
    x = Tensor((drawn(0, (2, *models.info(name).input_shape)) * 4 - 2).astype(np.float32))
    expected = np.array(LOGITS[name]["logits"])
    with minicnn.no_grad():
        for backend in [known for known in minicnn.backends.available() if known in minicnn.backends.CPU]:
            with minicnn.use_backend(backend):
                differences = np.abs(model(x).numpy() - expected).max(1) / np.abs(expected).max(1)
            print(f"{name} {backend} {differences.max():.2e}")
            assert differences.max() <= TOLERANCE, backend
