"""Inception modules, written as the papers' figures write them, and the two of the lectures.

A figure is a tree of small boxes. Here it is data:

    {"1x1": "1x1 64", "3x3": "1x1 96, 3x3 128", "pool": "max 3x3, 1x1 32"}

Each string is a branch from the input to the concatenation: `1x7 224` is a convolution with a 1x7 window and 224
filters, with what stands behind every convolution of that network (batch norm, ReLU); `max 3x3` and `avg 3x3` are pools.
`/2` is the stride. Windows are padded so that stride 1 keeps the size of the map; `V` (valid, the figures' letter) is
without padding, `ceil` without padding and with the output size rounded up, as Caffe pools.
A list runs its parts in order, so that a branch can fork: ["1x1 384", {"1x3": "1x3 384", "3x1": "3x1 384"}].
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from ..errors import ArgumentError, check
from ..geometry import is_integer
from ..layers import (
    AvgPool2d,
    BatchNorm2d,
    Concat,
    Conv2d,
    Dropout,
    Flatten,
    GlobalAvgPool2d,
    Graph,
    Layer,
    MaxPool2d,
    ReLU,
    Sequential,
)
from .chain import linear
from .registry import register

Plan = str | Sequence[Any] | Mapping[str, Any]

STEP = re.compile(
    r"(?:(?P<pool>max|avg) )?(?P<R>\d+)x(?P<S>\d+)(?:/(?P<stride>\d+))?(?P<valid>V)?(?: (?P<filters>\d+))?(?P<ceil> ceil)?"
)


class Stack:
    """Layers one behind the other, made from plans, with the channels counted along.

    channels: of the input, then of what the last layer gives. layers: by name, in order.
    batch_norm: a batch norm with `eps` behind each convolution, which then has no bias unless `bias`.
    count_pad: whether average pools count the padding in their divisor.
    """

    def __init__(
        self, channels: int, *, batch_norm: bool = True, bias: bool = False, eps: float = 1e-3, count_pad: bool = True
    ) -> None:
        self.channels, self.batch_norm, self.eps, self.count_pad = channels, batch_norm, eps, count_pad
        self.bias = bias or not batch_norm
        self.layers: dict[str, Layer] = {}
        self.widths: dict[str, int] = {}
        """By name: the channels behind that layer."""

    def add(self, parts: Mapping[str, Plan | Layer]) -> Stack:
        """Append layers: plans, or Layers that leave the number of channels as it is. Returns self."""
        for name, part in parts.items():
            if isinstance(part, Layer):
                self.layers[name] = part
            else:
                self.layers[name], self.channels = self.build(part, self.channels)
            self.widths[name] = self.channels
        return self

    def build(self, plan: Plan, channels: int) -> tuple[Layer, int]:
        """The layer that a plan describes, for `channels` input channels, and how many it gives."""
        if isinstance(plan, Mapping):
            branches = {name: self.build(branch, channels) for name, branch in plan.items()}
            return Concat({name: layer for name, (layer, _) in branches.items()}), sum(n for _, n in branches.values())
        steps = plan.split(", ") if isinstance(plan, str) else [s for part in plan for s in _split(part)]
        chain: dict[str, Layer] = {}
        for step in steps:
            layer, channels = self._step(step, channels) if isinstance(step, str) else self.build(step, channels)
            name = _name(step)
            again = sum(1 for other in chain if other.partition("_")[0] == name)
            chain[f"{name}_{again + 1}" if again else name] = layer
        return (layer, channels) if len(chain) == 1 else (Sequential(chain), channels)

    def _step(self, step: str, channels: int) -> tuple[Layer, int]:
        found = STEP.fullmatch(step)
        if found is None or bool(found["pool"]) is bool(found["filters"]) or (found["filters"] and found["ceil"]):
            raise ArgumentError(f"inception: {step!r} is no step: it must read like 3x3/2V 64 or max 3x3/2")
        window, stride = (int(found["R"]), int(found["S"])), int(found["stride"] or 1)
        padding = (0, 0) if found["valid"] or found["ceil"] else (window[0] // 2, window[1] // 2)
        if found["pool"] == "max":
            return MaxPool2d(window, stride, padding, bool(found["ceil"])), channels
        if found["pool"] == "avg":
            return AvgPool2d(window, stride, padding, bool(found["ceil"]), count_include_pad=self.count_pad), channels
        filters = int(found["filters"])
        return self.behind(Conv2d(channels, filters, window, stride, padding, bias=self.bias)), filters

    def behind(self, conv: Conv2d, **before: Layer) -> Sequential:
        """A convolution with what stands behind each: (batch norm and) ReLU. before: layers in front of it."""
        norm = {"bn": BatchNorm2d(conv.out_channels, self.eps)} if self.batch_norm else {}
        return Sequential({**before, "conv": conv, **norm, "relu": ReLU()})

    def separable(self, name: str, filters: int, window: int, stride: int, multiplier: int) -> Stack:
        """Append a separable convolution: `multiplier` filters for each input channel by itself, then a 1x1. Returns self."""
        inner = self.channels * multiplier
        # Nothing stands between the two, so the depthwise bias would add nothing to the other.
        depthwise = Conv2d(self.channels, inner, window, stride, window // 2, groups=self.channels, bias=False)
        self.layers[name] = self.behind(Conv2d(inner, filters, 1, bias=self.bias), depthwise=depthwise)
        self.channels = self.widths[name] = filters
        return self

    def classifier(self, num_classes: int, dropout: float) -> Stack:
        """Append the mean of each map, dropout and the last linear layer, which starts with small weights. Returns self."""
        self.add({"pool": GlobalAvgPool2d(), "flatten": Flatten(), "dropout": Dropout(dropout)})
        self.layers["fc"] = linear(self.channels, num_classes)
        return self

    def network(self, aux: Mapping[str, tuple[Layer, str]] | None = None) -> Layer:
        """The whole as a Sequential, or with auxiliary heads {name: (head, the layer that it reads)} as a Graph."""
        if not aux:
            return Sequential(self.layers)
        return Graph({**self.layers, **aux}, outputs="fc", training_outputs=list(aux))


def _split(part: Any) -> list[Any]:
    return part.split(", ") if isinstance(part, str) else [part]


def _name(step: Any) -> str:
    if not isinstance(step, str):
        return "fork"
    words = step.split()
    return "pool" if words[0] in ("max", "avg") else words[0].partition("/")[0].rstrip("V")


def widths(name: str, given: Any, count: int) -> tuple[int, ...]:
    """The numbers of filters of a module as a tuple. Raises ArgumentError unless there are `count`, of at least 1."""
    good = isinstance(given, (tuple, list)) and len(given) == count and all(is_integer(n) and n >= 1 for n in given)
    check(good, f"{name}: filters is {given!r}: it must hold {count} numbers of filters, each at least 1")
    return tuple(given)


PAPER = "Szegedy, Liu, Jia et al. 2014, Going deeper with convolutions, arXiv:1409.4842"


@register(
    "inception_naive",
    title="Inception module, naive",
    paper=PAPER,
    year=2014,
    input_shape=(256, 28, 28),
    decks=("001", "004"),
    notes="One module, without a classifier. The deck's 854 million operations are the multiply-adds of its three "
    "convolutions, 854,196,224; the pool has none. It has 1,089,536 weights, and 416 biases that the deck leaves out. The "
    "pool passes all 256 channels on, so the output has 672, and from module to module it only grows.",
)
def inception_naive(*, in_channels: int = 256, filters: Sequence[int] = (128, 192, 96)) -> Layer:
    """The naive module: convolutions of three sizes and a max pool side by side.

    (N, in_channels, H, W) -> (N, sum(filters) + in_channels, H, W). filters: of the 1x1, 3x3 and 5x5 convolution.
    """
    one, three, five = widths("inception_naive", filters, 3)
    return _module(in_channels, {
        "1x1": f"1x1 {one}", "3x3": f"3x3 {three}", "5x5": f"5x5 {five}", "pool": "max 3x3",
    })  # fmt: skip


@register(
    "inception_bottleneck",
    title="Inception module with 1x1 bottlenecks",
    paper=PAPER,
    year=2014,
    input_shape=(256, 28, 28),
    decks=("001", "004"),
    notes="One module, without a classifier. The six convolutions that the deck lists add up to 271,351,808 multiply-adds; "
    "its total of 358 million, which other lectures have too, counts the 3x3 convolution's 86,704,128 twice. The output "
    "has 480 channels.",
)
def inception_bottleneck(*, in_channels: int = 256, filters: Sequence[int] = (128, 64, 192, 64, 96, 64)) -> Layer:
    """The module of GoogLeNet: 1x1 convolutions reduce the channels before the large windows and behind the pool.

    (N, in_channels, H, W) -> (N, K, H, W). filters: in the order of the paper's table: 1x1, 3x3 reduce, 3x3, 5x5 reduce,
    5x5, pool projection; K is the sum without the two reductions.
    """
    return _module(in_channels, bottleneck(*widths("inception_bottleneck", filters, 6)))


def bottleneck(
    one: int, three_reduce: int, three: int, five_reduce: int, five: int, proj: int, window: int = 5
) -> Plan:
    """A row of GoogLeNet's table as a plan. window: of the branch called 5x5."""
    return {
        "1x1": f"1x1 {one}",
        "3x3": f"1x1 {three_reduce}, 3x3 {three}",
        "5x5": f"1x1 {five_reduce}, {window}x{window} {five}",
        "pool": f"max 3x3, 1x1 {proj}",
    }


def _module(in_channels: int, plan: Plan) -> Layer:
    return Stack(in_channels, batch_norm=False).build(plan, in_channels)[0]
