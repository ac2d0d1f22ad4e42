"""What to add to a shape error that comes out of a whole network: how large its input has to be."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..autograd import no_grad
from ..errors import MinicnnError, ShapeError, WindowError
from ..tensor import Tensor
from .containers import Container
from .normalisation import BatchNorm2d
from .tracing import on_meta

LARGEST = 4096
"""Pixels; a network that needs more is not looked into."""


def advise(model: Any, inputs: tuple[Any, ...], error: ShapeError) -> None:
    """Add the smallest square input that the network takes, or the one that it is made for, to the message of `error`."""
    shape = tuple(getattr(inputs[0], "shape", ())) if len(inputs) == 1 else ()
    if len(shape) < 2:
        return
    recipe, advice = model.recipe, ""
    if isinstance(error, WindowError) and len(shape) == 4:
        smallest = smallest_input(model, shape[1], shape[0])
        if smallest is not None:
            norms = [layer for _, layer in model.named_layers() if isinstance(layer, BatchNorm2d)]
            alone = shape[0] == 1 and any(layer.training and not layer.frozen for layer in norms)
            advice = f"the network needs an input of at least {smallest}x{smallest}"
            advice += " to be trained on one image at a time" if alone else ""
    if not advice and recipe is not None and shape[1:] != recipe.input_shape:
        advice = f"{recipe.name} as it was created takes inputs of {'x'.join(map(str, recipe.input_shape))}"
    if advice:
        error.args = (f"{error.args[0]}; {advice}", *error.args[1:])


def smallest_input(model: Any, channels: int, batch: int = 1) -> int | None:
    """Height and width of the smallest square images that the model takes, `batch` at a time; None if unknown.

    It is found by trying on the meta device. For a model in training the outputs for training only count too: an
    auxiliary classifier needs more than the rest, and a batch norm more than one value in each channel.
    """
    try:
        twin = on_meta(model)[0]
    except MinicnnError:
        return None
    for _, layer in twin.named_layers():
        # These alone decide what fits; others stay in evaluation, where they use up no random numbers.
        layer.__dict__["training"] = layer.training and isinstance(layer, (Container, BatchNorm2d))

    def outcome(size: int) -> str:
        try:
            with no_grad():
                twin(Tensor(np.broadcast_to(np.float32(0), (batch, channels, size, size)), device="meta"))
        except WindowError:
            return "too small"
        except MinicnnError:
            return "wrong"
        return "right"

    low, high = 0, 1  # low is too small, high is not
    while outcome(high) == "too small":
        low, high = high, 2 * high
        if high > LARGEST:
            return None
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if outcome(middle) == "too small" else (low, middle)
    return high if outcome(high) == "right" else None
