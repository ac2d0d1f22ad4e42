"""The weights of a model in a file of their own."""

from __future__ import annotations

from pathlib import Path

from ..layers import Layer
from .archive import read_archive, write_archive


def save_weights(model: Layer, path: str | Path) -> None:
    """Write all parameters and buffers, by their paths in the model, to a safetensors file; whole or not at all.

    Raises CheckpointError where it cannot be written; an older file then stays as it was.
    """
    state = {name: values.numpy() for name, values in model.state_dict().items()}
    write_archive(path, state, {"kind": "weights", "recipe": list(model.recipe) if model.recipe else None})


def load_weights(model: Layer, path: str | Path) -> None:
    """Copy the weights in a safetensors file into a model of the same structure.

    Raises CheckpointError for a file that is missing, truncated, damaged or of another network, naming every weight
    that does not fit; the model then stays as it was.
    """
    arrays, _ = read_archive(path)
    model.load_state_dict(arrays)
