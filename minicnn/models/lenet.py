"""LeNet-5. LeCun, Bottou, Bengio and Haffner 1998, "Gradient-based learning applied to document recognition"."""

from __future__ import annotations

from typing import Literal

import numpy as np

from .. import geometry
from ..errors import check
from ..layers import (
    AvgPool2d,
    Conv2d,
    Flatten,
    Layer,
    Linear,
    MaxPool2d,
    RadialBasis,
    ReLU,
    ScaledTanh,
    Sequential,
    Sigmoid,
    Subsample2d,
    TableConv2d,
    Tanh,
    init,
)
from .registry import register

PAPER = "LeCun, Bottou, Bengio and Haffner 1998, Gradient-based learning applied to document recognition"

ACTIVATIONS: dict[str, type[Layer]] = {"tanh": Tanh, "relu": ReLU, "sigmoid": Sigmoid}


@register(
    "lenet5",
    title="LeNet-5",
    paper=PAPER,
    year=1998,
    input_shape=(1, 32, 32),
    decks=("000", "001"),
    notes="As it is taught: C3 sees all maps of S2, the pools have no weights, and the output is a linear layer. The net "
    "of 1998 has a connection table for C3, a learned coefficient and bias for each pooled map, and radial basis "
    "outputs, 60,000 trainable numbers in all: lenet5_1998. Caffe's LeNet (20, 50 and 500 units) is another network.",
)
def lenet5(
    *, num_classes: int = 10, in_channels: int = 1, activation: Literal["tanh", "relu", "sigmoid"] = "tanh",
    pool: Literal["avg", "max"] = "avg", padding: int = 0,
) -> Sequential:  # fmt: skip
    """LeNet-5 for 32x32 images, or with padding=2 for 28x28 ones (MNIST as it comes)."""
    check(
        activation in [*ACTIVATIONS],
        f"lenet5: activation is {activation!r}: it must be one of {', '.join(ACTIVATIONS)}",
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


# The paper's table I, by columns: the maps of S2 that each map of C3 is connected to, 60 connections
C3 = (
    (0, 1, 2), (1, 2, 3), (2, 3, 4), (3, 4, 5), (0, 4, 5), (0, 1, 5),
    (0, 1, 2, 3), (1, 2, 3, 4), (2, 3, 4, 5), (0, 3, 4, 5), (0, 1, 4, 5), (0, 1, 2, 5),
    (0, 1, 3, 4), (1, 2, 4, 5), (0, 2, 3, 5),
    (0, 1, 2, 3, 4, 5),
)  # fmt: skip

# Targets of F6: the ten digits as 7x12 bitmaps, drawn for this project in the manner of the paper's figure 3
BITMAPS = """
..###..  ...##..  ..###..  .#####.  ....##.  #######  ...###.  #######  ..###..  ..###..
.##.##.  ..###..  .##.##.  ##...##  ...###.  ##.....  ..##...  #....##  .##.##.  .##.##.
##...##  .####..  ##...##  .....##  ...###.  ##.....  .##....  .....##  ##...##  ##...##
##...##  ...##..  ##...##  .....##  ..####.  ##.....  ##.....  ....##.  ##...##  ##...##
##...##  ...##..  .....##  ....##.  ..#.##.  ##.##..  ##.##..  ....##.  .##.##.  ##...##
##...##  ...##..  ....##.  ..###..  .##.##.  ###.##.  ###.##.  ...##..  ..###..  .##.###
##...##  ...##..  ...##..  ....##.  .#..##.  .....##  ##...##  ...##..  .##.##.  ..##.##
##...##  ...##..  ..##...  .....##  ##..##.  .....##  ##...##  ..##...  ##...##  .....##
##...##  ...##..  .##....  .....##  #######  .....##  ##...##  ..##...  ##...##  .....##
##...##  ...##..  ##.....  .....##  ....##.  .....##  ##...##  ..##...  ##...##  ....##.
.##.##.  ...##..  ##.....  ##...##  ....##.  ##..##.  .##.##.  .##....  .##.##.  ...##..
..###..  .######  #######  .#####.  ....##.  .####..  ..###..  .##....  ..###..  .###...
"""


def codes() -> np.ndarray:
    """(10, 84): for each digit the values that F6 should take, +1 where its bitmap is black, else -1."""
    rows = [line.split() for line in BITMAPS.split("\n") if line]
    return np.array([[1.0 if dot == "#" else -1.0 for row in rows for dot in row[digit]] for digit in range(10)])


@register(
    "lenet5_1998",
    title="LeNet-5 as published",
    paper=PAPER,
    year=1998,
    input_shape=(1, 32, 32),
    decks=("000", "001"),
    notes="60,000 trainable numbers (C1 156, S2 12, C3 1,516, S4 32, C5 48,120, F6 10,164) and 340,908 connections, as in the "
    "paper. The slides speak of 61 thousand, which is lenet5, and of a sigmoid; the paper's is a scaled hyperbolic tangent. "
    "The output gives minus the distances to the fixed codes of the digits, so that the largest wins; the bitmaps of these "
    "codes are drawn anew. The paper's pixels run from -0.1 (white) to 1.175 (black).",
)
def lenet5_1998(*, num_classes: int = 10, in_channels: int = 1, output: Literal["rbf", "linear"] = "rbf") -> Sequential:
    """LeNet-5 of 1998 for 32x32 images: connection table for C3, learned subsampling, scaled tanh, radial basis outputs.

    output: rbf, minus the squared distances of F6 to the codes of the first num_classes digits; or linear, a layer of
    weights and biases. All weights start as in the paper, uniform in -2.4/F .. 2.4/F for a unit of F inputs.
    """
    check(output in ("rbf", "linear"), f"lenet5_1998: output is {output!r}: it must be rbf or linear")
    model = Sequential({
        "c1": Conv2d(in_channels, 6, 5), "act1": ScaledTanh(), "s2": Subsample2d(6), "act2": ScaledTanh(),
        "c3": TableConv2d(6, C3, 5), "act3": ScaledTanh(), "s4": Subsample2d(16), "act4": ScaledTanh(),
        "c5": Conv2d(16, 120, 5), "act5": ScaledTanh(), "flatten": Flatten(),
        "f6": Linear(120, 84), "act6": ScaledTanh(),
    })  # fmt: skip
    if output == "linear":
        model.append(Linear(84, num_classes), "output")
    else:
        check(
            geometry.is_integer(num_classes) and 1 <= num_classes <= 10,
            f"lenet5_1998: num_classes is {num_classes!r}: there are codes for 1 to 10 digits; output='linear' takes any number",
        )
        model.append(RadialBasis(codes()[:num_classes]), "output")
    for name in ("c1", "c5", "f6", "output"):
        layer = model[name]
        if isinstance(layer, (Conv2d, Linear)):
            bound = 2.4 / init.fans(layer.weight)[0]
            init.uniform(layer.weight, -bound, bound)
    return model
