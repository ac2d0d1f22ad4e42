"""The networks that come trained: `weights/NAME.safetensors`, which `python -m minicnn.training.make_weights` writes.

Such a file is the checkpoint of a run, of which the network, the config and the history were kept. All that is known of it is
in it. It is read here without the safetensors library, so that a trained network needs no extra.
"""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ..errors import CheckpointError
from ..seal import KEY, unseal

FOLDER = Path(__file__).parent / "weights"
DTYPES = {"F32": "<f4"}
"""Of the numbers in such a file."""


class Trained(NamedTuple):
    """How a network that comes with the package was trained, and what its images and answers are."""

    path: Path
    options: dict[str, Any]
    """Of the network, as `models.create` takes them."""
    classes: tuple[str, ...]
    mean: tuple[float, ...]
    """Of the training images' channels, from 0 to 1; with `std` what `data.Normalize` takes."""
    std: tuple[float, ...]
    accuracy: float
    """On the 10,000 test images of CIFAR-10, 0 .. 1."""
    command: str
    """What made it."""


def names() -> list[str]:
    """The networks that come trained."""
    return sorted(path.stem for path in FOLDER.glob("*.safetensors"))


@functools.cache
def trained(name: str) -> Trained | None:
    """What is known of a network that comes trained; None for the others. Raises CheckpointError where its file is damaged."""
    return _read(name)[0] if name in names() else None


def weights(name: str) -> dict[str, np.ndarray]:
    """The parameters and buffers of a network that comes trained, by their paths. Raises CheckpointError."""
    return _read(name)[1]


def _read(name: str) -> tuple[Trained, dict[str, np.ndarray]]:
    """A safetensors file is the length of its header, the header as JSON, and the arrays' bytes."""
    path = FOLDER / f"{name}.safetensors"
    try:
        raw = path.read_bytes()
        start = 8 + int.from_bytes(raw[:8], "little")
        header = json.loads(raw[8:start])
        sealed = header.pop("__metadata__")[KEY]
        arrays = {}
        for key, entry in header.items():
            begin, end = entry["data_offsets"]
            values = np.frombuffer(raw[start + begin : start + end], DTYPES[entry["dtype"]])
            arrays[key] = values.reshape(entry["shape"])
        data = unseal(arrays, sealed)
        config = data["config"]
        facts = Trained(
            path, config["network"]["options"], tuple(config["classes"]), tuple(config["mean"]), tuple(config["std"]),
            data["history"][-1]["test_accuracy"], data["command"],
        )  # fmt: skip
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read ({error}): install minicnn again") from error
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{path} is damaged ({error}): install minicnn again") from error
    return facts, {key.removeprefix("model/"): values for key, values in arrays.items()}
