"""The pattern of one deck's last page: [(CONV-RELU)*N-POOL?]*M-(FC-RELU)*K, SOFTMAX."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from ..errors import ArgumentError, check
from ..geometry import is_integer
from ..layers import BatchNorm2d, Conv2d, Dropout, Flatten, Layer, Linear, MaxPool2d, ReLU, Sequential
from ..layers.arguments import DEEPEST, count, counts
from .chain import linear
from .registry import register

TEXT = "[(CONV-RELU)*N-POOL?]*M-(FC-RELU)*K, SOFTMAX"

FORM = re.compile(
    r"\[ \(CONV-RELU\) [*^](?P<n>N|\d{1,9}) (?P<pool>-POOL\??)? \] [*^](?P<m>M|\d{1,9})"
    r"(?: -\(FC-RELU\) [*^](?P<k>K|\d{1,9}) )? (?: ,SOFTMAX )?".replace(" ", "")
)


class Parsed(NamedTuple):
    """What a text of the pattern says; None where it leaves a number open with a letter, or the pool with a "?"."""

    n: int | None
    """Convolutions before each pool."""
    m: int | None
    """Stages."""
    k: int | None
    """Hidden linear layers."""
    pool: bool | None


def parse(text: str) -> Parsed:
    """Read `[(CONV-RELU)*N-POOL?]*M-(FC-RELU)*K, SOFTMAX`, with numbers or the letters themselves for N, M and K.

    POOL without "?" is a pool in every stage; without -POOL there is none; without -(FC-RELU)*K no hidden linear layer.
    "^" does for "*", spaces and small letters are allowed. Raises ArgumentError for anything else.
    """
    check(isinstance(text, str), f"pattern: text is {text!r}: it must be a string such as {TEXT!r}")
    found = FORM.fullmatch(re.sub(r"\s|\$", "", text).upper())
    if found is None:
        raise ArgumentError(
            f"pattern: text is {text!r}: it must have the form {TEXT!r}, with numbers or the letters themselves for N, M "
            "and K, such as '[(CONV-RELU)*2-POOL]*3-(FC-RELU)*1, SOFTMAX'"
        )
    number = {
        letter: None if found[letter] == letter.upper() else int(found[letter] or 0) for letter in ("n", "m", "k")
    }
    return Parsed(**number, pool={"-POOL?": None, "-POOL": True}.get(found["pool"], False))


@register(
    "pattern",
    title="The pattern of the typical network",
    paper="The typical architecture, as CS231n and deck 003 summarise it (the widths are this project's)",
    year=2016,
    input_shape=(3, 32, 32),
    decks=("003",),
    notes="[(CONV-RELU)*N-POOL?]*M-(FC-RELU)*K, SOFTMAX: N up to about 5, M large, K from 0 to 2. The options fill the "
    "letters: VGG-16 is n=(2, 2, 3, 3, 3), m=5, k=2. Softmax is in the loss, as in every network here.",
)
def pattern(
    *, num_classes: int = 10, in_channels: int = 3, text: str = TEXT, n: int | Sequence[int] = 2, m: int = 3, k: int = 1,
    pool: bool | Sequence[bool] = True, widths: Sequence[int] | None = None, window: int = 3,
    hidden: int | Sequence[int] = 256, batch_norm: bool = False, dropout: float = 0.0, input_size: int = 32,
) -> Sequential:  # fmt: skip
    """[(CONV-RELU)*N-POOL?]*M-(FC-RELU)*K, and a linear layer for the scores that softmax turns into probabilities.

    text: the pattern; where it has numbers, they hold, where it has letters and "?", the options.
    n: convolutions in each stage, one number or m of them. m: stages. k: hidden linear layers, 0 or more.
    pool: whether a stage ends in 2x2 max pooling, one truth value or m of them.
    widths: filters of the m stages; None doubles from 32 to at most 512. window: odd, with the padding that keeps the
    size. hidden: units of the hidden linear layers, one number or k of them. dropout: behind each of them. batch_norm:
    one behind each convolution (which has no bias then). input_size: height and width of the images.
    Raises ArgumentError if there are more pools than the images can be halved.
    """
    said = parse(text)
    m = count(m if said.m is None else said.m, "pattern: m", most=DEEPEST)
    k = count(k if said.k is None else said.k, "pattern: k", 0, DEEPEST)
    convolutions = counts(_each("n", n if said.n is None else said.n, m), "pattern: n", m, DEEPEST)
    pools = _each("pool", pool if said.pool is None else said.pool, m)
    check(
        all(isinstance(one, bool) for one in pools), f"pattern: pool is {pool!r}: it must be True, False or {m} of them"
    )
    filters = counts(
        [min(32 * 2**stage, 512) for stage in range(m)] if widths is None else widths, "pattern: widths", m
    )
    check(
        is_integer(window) and window >= 1 and window % 2,
        f"pattern: window is {window!r}: it must be odd, such as 3 or 5",
    )
    size = count(input_size, "pattern: input_size")
    halvings = pools.count(True)
    least = 2**halvings if halvings < 32 else f"2**{halvings}"
    check(
        size >= 2**halvings,
        f"pattern: there are {halvings} pools and input_size is {size}: every pool halves the map, so the images need at "
        f"least {least}x{least} pixels: give pool=False for some stages, such as pool=(True, False, ...)",
    )
    parts: dict[str, Layer] = {}
    channels = in_channels
    for stage in range(m):
        for number in range(1, convolutions[stage] + 1):
            place = f"{stage + 1}_{number}"
            parts[f"conv{place}"] = Conv2d(channels, filters[stage], window, padding=window // 2, bias=not batch_norm)
            if batch_norm:
                parts[f"bn{place}"] = BatchNorm2d(filters[stage])
            parts[f"relu{place}"] = ReLU()
            channels = filters[stage]
        if pools[stage]:
            parts[f"pool{stage + 1}"] = MaxPool2d(2)
            size //= 2
    parts["flatten"] = Flatten()
    features = channels * size * size
    units = counts(_each("hidden", hidden, k), "pattern: hidden", k) if k else ()
    for number, width in enumerate(units, 1):
        parts |= {f"fc{number}": Linear(features, width), f"relu{number}": ReLU(), f"drop{number}": Dropout(dropout)}
        features = width
    parts["scores"] = linear(features, num_classes)
    return Sequential(parts)


def _each(argument: str, value: object, length: int) -> list[object]:
    """One value for each of `length` stages, from one for all or a list."""
    if not isinstance(value, (tuple, list)):
        return [value] * length
    check(
        len(value) == length,
        f"pattern: {argument} is {value!r}: it must be one value, or a list of {length}, one for each",
    )
    return list(value)
