"""What AlexNet and its descendants are: numbered convolutions, some normalised and pooled, then linear layers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

from ..errors import check
from ..layers import (
    AdaptiveAvgPool2d,
    BatchNorm2d,
    Conv2d,
    Dropout,
    Flatten,
    Layer,
    Linear,
    LocalResponseNorm,
    MaxPool2d,
    ReLU,
    Sequential,
    init,
)
from ..layers.arguments import counts

Norm = Literal["before", "after"] | None


class Stage(NamedTuple):
    """One column of such a paper's table: a convolution with its ReLU, and what stands behind it."""

    filters: int
    window: int
    stride: int = 1
    padding: int = 0
    groups: int = 1
    lrn: bool = False
    """Whether local response normalisation follows."""
    pool: tuple[int, int] | None = None
    """Window and stride of the max pooling behind it."""


def chain(
    name: str, stages: Sequence[Stage], side: int, *, hidden: Sequence[int], num_classes: int, in_channels: int,
    dropout: float, norm: Norm = None, batch_norm: bool = False, ceil_mode: bool = False,
    adaptive: bool = False, drop_first: bool = False,
) -> Sequential:  # fmt: skip
    """conv1, relu1, norm1, pool1, conv2, ..., flatten, fc6, relu6, drop6, ...: the layers carry their stage's number.

    name: of the network, for errors. side: height and width of the last maps. hidden: units of the hidden linear layers.
    norm: where local response normalisation stands, before or behind the pool; None for none.
    batch_norm: one between each convolution (without bias then) and its ReLU. ceil_mode: of the pools.
    adaptive: average the last maps to side x side, so that other inputs fit. drop_first: dropout in front of the hidden
    linear layers, not behind them.
    """
    check(norm in ("before", "after", None), f"{name}: norm is {norm!r}: it must be before, after or None")
    parts: dict[str, Layer] = {}
    channels = in_channels
    for number, stage in enumerate(stages, 1):
        parts[f"conv{number}"] = Conv2d(
            channels, stage.filters, stage.window, stage.stride, stage.padding, groups=stage.groups, bias=not batch_norm
        )
        if batch_norm:
            parts[f"bn{number}"] = BatchNorm2d(stage.filters)
        parts[f"relu{number}"] = ReLU()
        if stage.lrn and norm == "before":
            parts[f"norm{number}"] = lrn()
        if stage.pool:
            parts[f"pool{number}"] = MaxPool2d(*stage.pool, ceil_mode=ceil_mode)
        if stage.lrn and norm == "after":
            parts[f"norm{number}"] = lrn()
        channels = stage.filters
    if adaptive:
        parts["average"] = AdaptiveAvgPool2d(side)
    parts["flatten"] = Flatten()
    features = channels * side * side
    number = len(stages)
    for units in counts(hidden, f"{name}: hidden"):
        number += 1
        if drop_first:
            parts[f"drop{number}"] = Dropout(dropout)
        parts |= {f"fc{number}": linear(features, units), f"relu{number}": ReLU()}
        if not drop_first:
            parts[f"drop{number}"] = Dropout(dropout)
        features = units
    parts[f"fc{number + 1}"] = linear(features, num_classes)
    return Sequential(parts)


def lrn() -> LocalResponseNorm:
    """Local response normalisation with AlexNet's numbers, as the paper prints them; its descendants took them over."""
    return LocalResponseNorm(5, 1e-4, 0.75, 2.0, alpha_over_size=False)


def linear(inputs: int, units: int) -> Linear:
    """A linear layer with AlexNet's initial weights: so small that training starts near equal probabilities."""
    layer = Linear(inputs, units)
    init.gaussian(layer.weight, 0.01)
    return layer
