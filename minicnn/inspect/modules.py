"""Modules that the lectures set against each other, and the comparisons by name.

A module is built for a number of channels C, where the lectures leave that open; `channels=None` takes the deck's number.
"""

from __future__ import annotations

import difflib
import textwrap
from collections.abc import Callable, Sequence
from typing import NamedTuple

from .. import models
from ..errors import ArgumentError, check, short
from ..geometry import Shape
from ..layers import (
    BatchNorm2d,
    Concat,
    Conv2d,
    Flatten,
    GlobalAvgPool2d,
    Layer,
    Linear,
    MaxPool2d,
    ReLU,
    Residual,
    Sequential,
    default_device,
)


class Module(NamedTuple):
    """How to build a module for C channels, and what it is."""

    title: str
    build: Callable[[int], Layer]
    channels: int
    """C, if nobody says otherwise."""
    side: int
    """Height and width of its input."""
    least: int = 1
    """The smallest C that it can be built for."""


def _convs(*windows: tuple[int, int]) -> Callable[[int], Layer]:
    """One behind the other, padded to keep the size of the map: without, a stack works on larger maps on its way than
    one window with the same field does, and the multiply-adds would compare the maps, not the windows."""
    return lambda C: Sequential(*[Conv2d(C, C, (R, S), padding=(R // 2, S // 2)) for R, S in windows])


# Deck 002 leaves open what the convolutions of a grid reduction are, but for the 3x3 one of stride 2. All are 3x3 here,
# so that only the order differs.


def _conv_then_pool(C: int) -> Layer:
    return Sequential({"conv": Conv2d(C, 2 * C, 3, padding=1), "pool": MaxPool2d(3, 2)})


def _pool_then_conv(C: int) -> Layer:
    return Sequential({"pool": MaxPool2d(3, 2), "conv": Conv2d(C, 2 * C, 3, padding=1)})


def _side_by_side(C: int) -> Layer:
    return Concat({"conv": Conv2d(C, C, 3, stride=2), "pool": MaxPool2d(3, 2)})


def _residual(C: int, inner: int, *windows: int) -> Layer:
    body: dict[str, Layer] = {}
    channels = C
    for number, window in enumerate(windows, 1):
        last = number == len(windows)
        filters = C if last else inner
        body[f"conv{number}"] = Conv2d(channels, filters, window, padding=window // 2, bias=False)
        body[f"bn{number}"] = BatchNorm2d(filters)
        if not last:
            body[f"relu{number}"] = ReLU()
        channels = filters
    return Residual(Sequential(body), after=ReLU())


MODULES = {
    "one_5x5": Module("one 5x5 convolution, C to C channels, same size", _convs((5, 5)), 3, 28),
    "two_3x3": Module("two 3x3 convolutions, C to C channels, same size", _convs((3, 3), (3, 3)), 3, 28),
    "one_7x7": Module("one 7x7 convolution, C to C channels, same size", _convs((7, 7)), 1, 28),
    "three_3x3": Module("three 3x3 convolutions, C to C channels, same size", _convs((3, 3), (3, 3), (3, 3)), 1, 28),
    "one_3x3": Module("one 3x3 convolution, C to C channels, same size", _convs((3, 3)), 1, 28),
    "3x1_1x3": Module("a 3x1 and a 1x3 convolution, C to C channels, same size", _convs((3, 1), (1, 3)), 1, 28),
    "7x1_1x7": Module("a 7x1 and a 1x7 convolution, C to C channels, same size", _convs((7, 1), (1, 7)), 1, 28),
    "5x5_direct": Module("32 filters of 5x5 on C channels", lambda C: Conv2d(C, 32, 5, padding=2), 200, 32),
    "5x5_behind_1x1": Module(
        "16 filters of 1x1, then 32 of 5x5",
        lambda C: Sequential(Conv2d(C, 16, 1), ReLU(), Conv2d(16, 32, 5, padding=2)), 200, 32,
    ),
    "conv_then_pool": Module("2C filters of 3x3, then a pool: too expensive", _conv_then_pool, 320, 35),
    "pool_then_conv": Module("a pool, then 2C filters of 3x3: too greedy", _pool_then_conv, 320, 35),
    "conv_beside_pool": Module("C filters of 3x3, stride 2, beside a pool: neither", _side_by_side, 320, 35),
    "basic_block": Module("residual block of two 3x3 convolutions", lambda C: _residual(C, C, 3, 3), 64, 56),
    "bottleneck_block": Module(
        "residual block 1x1, 3x3, 1x1; C/4 channels inside", lambda C: _residual(C, C // 4, 1, 3, 1), 256, 56, 4
    ),
    "flatten_fc": Module("flatten, then 1000 classes", lambda C: Sequential(Flatten(), Linear(C * 7 * 7, 1000)), 512, 7),
    "gap_fc": Module(
        "global average pool, then 1000 classes",
        lambda C: Sequential(GlobalAvgPool2d(), Flatten(), Linear(C, 1000)), 512, 7,
    ),
    "full_3x3": Module("a 3x3 convolution, C to C channels, same size", lambda C: Conv2d(C, C, 3, padding=1), 128, 28),
    "separable_3x3": Module(
        "a 3x3 convolution of each channel by itself, then 1x1",
        lambda C: Sequential(Conv2d(C, C, 3, padding=1, groups=C, bias=False), Conv2d(C, C, 1)), 128, 28,
    ),
}  # fmt: skip

COMPARISONS: dict[str, tuple[str, ...]] = {
    "5x5": ("one_5x5", "two_3x3"),
    "7x7": ("one_7x7", "three_3x3"),
    "3x3": ("one_3x3", "3x1_1x3"),
    "factorised_7x7": ("one_7x7", "7x1_1x7"),
    "bottleneck": ("5x5_direct", "5x5_behind_1x1"),
    "inception": ("inception_naive", "inception_bottleneck"),
    "reduction": ("pool_then_conv", "conv_then_pool", "conv_beside_pool"),
    "residual": ("basic_block", "bottleneck_block"),
    "classifier": ("flatten_fc", "gap_fc"),
    "separable": ("full_3x3", "separable_3x3"),
    "winners": ("alexnet", "clarifai", "googlenet", "resnet152"),
}
"""Comparisons by name. What is no module is a network of the zoo."""


def build(name: str, channels: int | None = None) -> tuple[Layer, Shape]:
    """A module on the meta device and the shape (C, H, W) of its input."""
    check(name in MODULES, f"compare: there is no module called {name!r}: there are {', '.join(MODULES)}")
    module = MODULES[name]
    C = module.channels if channels is None else channels
    check(
        C >= module.least,
        f"compare: channels (--channels) is {C}: it must be an integer of at least {module.least} for {name}",
    )
    with default_device("meta"):
        return module.build(C), (C, module.side, module.side)


def expand(names: Sequence[str]) -> list[str]:
    """Names of comparisons replaced by what they compare."""
    return [part for name in names for part in COMPARISONS.get(name, (name,))]


def listing() -> str:
    """What `minicnn compare --list` prints."""
    lines = ["comparisons:"]
    lines += [f"  {name:<16} {' '.join(parts)}" for name, parts in COMPARISONS.items()]
    lines += ["", "modules (C: --channels, or the number behind them):"]
    lines += [f"  {name:<16} {module.title} ({module.channels})" for name, module in MODULES.items()]
    lines += ["", "networks, by year (in brackets: other names of the same):"]
    lines += _networks()
    lines += ["", "layers, written out:", "  'Conv2d(3, 8, 5)' 'Sequential(Conv2d(3, 8, 3), ReLU())' --input 3x32x32"]
    return "\n".join(lines)


def _networks() -> list[str]:
    years: dict[int, list[str]] = {}
    for info in map(models.info, models.names(all=True)):
        aliases = f"\N{NO-BREAK SPACE}({', '.join(info.aliases)})" if info.aliases else ""
        years.setdefault(info.year, []).append(info.name + aliases)
    return [
        line.replace("\N{NO-BREAK SPACE}", " ")
        for year in sorted(years)
        for line in textwrap.wrap(", ".join(years[year]), 80, initial_indent=f"  {year}  ", subsequent_indent=" " * 8)
    ]


def unknown(name: str, networks: Sequence[str]) -> ArgumentError:
    """The error for a name that is neither, with the nearest ones."""
    near = difflib.get_close_matches(name, [*networks, *MODULES, *COMPARISONS], n=3, cutoff=0.6)
    hint = f"did you mean {' or '.join(near)}?" if near else "minicnn compare --list shows what there is"
    return ArgumentError(f"compare: there is no network, module or comparison called {short(name)!r}: {hint}")
