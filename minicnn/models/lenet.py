"""LeNet-5. LeCun, Bottou, Bengio and Haffner 1998, "Gradient-based learning applied to document recognition"."""

from __future__ import annotations

from typing import Literal

from ..errors import check
from ..layers import AvgPool2d, Conv2d, Flatten, Layer, Linear, MaxPool2d, ReLU, Sequential, Sigmoid, Tanh, init
from .registry import register

ACTIVATIONS: dict[str, type[Layer]] = {"tanh": Tanh, "relu": ReLU, "sigmoid": Sigmoid}


@register(
    "lenet5",
    title="LeNet-5",
    paper="LeCun, Bottou, Bengio and Haffner 1998, Gradient-based learning applied to document recognition",
    year=1998,
    input_shape=(1, 32, 32),
    decks=("000", "001"),
    notes="As it is taught: C3 sees all maps of S2, the pools have no weights, and the output is a linear layer. The net "
    "of 1998 has a connection table for C3, a learned coefficient and bias for each pooled map, and radial basis "
    "outputs: 60,000 trainable numbers. Caffe's LeNet (20, 50 and 500 units) is another network.",
)
def lenet5(
    *, num_classes: int = 10, in_channels: int = 1, activation: Literal["tanh", "relu", "sigmoid"] = "tanh",
    pool: Literal["avg", "max"] = "avg", padding: int = 0,
) -> Sequential:  # fmt: skip
    """LeNet-5 for 32x32 images, or with padding=2 for 28x28 ones (MNIST as it comes)."""
    check(
        activation in ACTIVATIONS, f"lenet5: activation is {activation!r}: it must be one of {', '.join(ACTIVATIONS)}"
    )
    check(pool in ("avg", "max"), f"lenet5: pool is {pool!r}: it must be avg or max")
    act, shrink = ACTIVATIONS[activation], AvgPool2d if pool == "avg" else MaxPool2d
    model = Sequential({
        "c1": Conv2d(in_channels, 6, 5, padding=padding), "act1": act(), "s2": shrink(2),
        "c3": Conv2d(6, 16, 5), "act3": act(), "s4": shrink(2),
        "c5": Conv2d(16, 120, 5), "act5": act(), "flatten": Flatten(),
        "f6": Linear(120, 84), "act6": act(),
        "output": Linear(84, num_classes),
    })  # fmt: skip
    return model if activation == "relu" else init.fill(model, init.xavier_uniform)
