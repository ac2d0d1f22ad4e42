"""All size arithmetic: output sizes, padding, ceil mode, receptive fields and multiply-adds.

Letters as in the kernels: N images, C channels, H W input, K filters, R S window, P Q output, G groups.
Source of the formulas: Dumoulin and Visin 2016, arXiv:1603.07285.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, wraps
from typing import Any, NamedTuple, ParamSpec, TypeVar

import numpy as np

from .errors import ArgumentError, ShapeError, WindowError

Shape = tuple[int, ...]
Pair = int | tuple[int, int]
Padding = int | tuple[int, int] | tuple[int, int, int, int]

LIMIT = 2**58
"""Largest number of elements of one array; far below what a 64-bit product can hold."""

LONGEST = 2**31 - 1
"""Largest side of a window, stride, padding or dilation."""
P = ParamSpec("P")
R = TypeVar("R")


def is_integer(value: object) -> bool:
    """Whether `value` is a whole number usable as a size (a bool is not)."""
    return isinstance(value, (int, np.integer)) and not isinstance(value, bool)


def is_number(value: object) -> bool:
    """Whether `value` is a real number (no bool, no NaN), usable as a probability, a factor, ..."""
    real = isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(value, bool)
    return real and bool(value == value)


def _cached(function: Callable[P, R]) -> Callable[P, R]:
    """Remember results. Arguments may be lists and arrays too."""
    remembered: Any = lru_cache(maxsize=4096, typed=True)(function)

    @wraps(function)
    def call(*args: P.args, **named: P.kwargs) -> R:
        try:
            return remembered(*args, **named)
        except TypeError:  # a list or an array cannot be looked up
            return remembered(*map(hashable, args), **{name: hashable(value) for name, value in named.items()})

    return call


def hashable(value: Any) -> Any:
    """A list or array as a tuple, and what else cannot be looked up in a cache as its text, for the error."""
    value = value.tolist() if isinstance(value, np.ndarray) else value
    value = tuple(value) if isinstance(value, list) else value
    if isinstance(value, tuple):  # (2.0, 2.0) would be found where (2, 2) is
        return value if all(map(is_integer, value)) else repr(value)
    return value if isinstance(value, (int, float, str, type(None))) else repr(value)


def pair(value: Pair, name: str, minimum: int) -> tuple[int, int]:
    """(vertical, horizontal) from an int or a pair, each at least `minimum`. Raises ArgumentError."""
    if is_integer(value):
        both = (int(value), int(value))  # type: ignore[arg-type]
    elif isinstance(value, (tuple, list)) and len(value) == 2 and all(map(is_integer, value)):
        both = (int(value[0]), int(value[1]))
    else:
        raise ArgumentError(f"{name} is {value!r}: it must be an integer or (vertical, horizontal)")
    if min(both) < minimum or max(both) > LONGEST:
        raise ArgumentError(f"{name} is {value!r}: it must be {_rule(min(both), minimum)}")
    return both


def _rule(smallest: int, minimum: int) -> str:
    return f"at least {minimum}" if smallest < minimum else f"at most {LONGEST}"


def sides(padding: Padding, name: str) -> tuple[int, int, int, int]:
    """(top, bottom, left, right) from an int, (vertical, horizontal) or all four, each at least 0. Raises ArgumentError."""
    if isinstance(padding, (tuple, list)) and len(padding) == 4 and all(map(is_integer, padding)):
        four = tuple(int(side) for side in padding)
        if min(four) < 0 or max(four) > LONGEST:
            raise ArgumentError(f"{name} is {padding!r}: it must be {_rule(min(four), 0)}")
        return four  # type: ignore[return-value]
    if not is_integer(padding) and not (isinstance(padding, (tuple, list)) and len(padding) == 2):
        raise ArgumentError(
            f"{name} is {padding!r}: it must be an integer, (vertical, horizontal) or (top, bottom, left, right)"
        )
    vertical, horizontal = pair(padding, name, 0)  # type: ignore[arg-type]
    return vertical, vertical, horizontal, horizontal


def output_size(
    size: int, window: int, stride: int = 1, before: int = 0, after: int = 0, dilation: int = 1, ceil_mode: bool = False
) -> int:
    """Number of places a window takes along one axis: floor((size + before + after - span) / stride) + 1.

    span = dilation*(window - 1) + 1. With `ceil_mode` the division rounds up, but a window may not start in the
    padding behind the map. May be less than 1: the caller decides whether that is an error.
    """
    room = size + before + after - dilation * (window - 1) - 1
    if not ceil_mode or room < 0:
        return room // stride + 1
    places = -(-room // stride) + 1
    return places - 1 if (places - 1) * stride >= size + before else places


def output_formula(size: int, window: int, stride: int, before: int, after: int, dilation: int = 1) -> str:
    """The output-size formula with its numbers: `(227 + 2*0 - 11)/4 + 1 = 55`; a quotient that is not whole shows."""
    padding = f"2*{before}" if before == after else f"{before} + {after}"
    span = f"{window}" if dilation == 1 else f"{dilation}*({window} - 1) - 1"
    value = (size + before + after - dilation * (window - 1) - 1) / stride + 1
    shown = f"{value:.0f}" if value == int(value) else f"{value:.4g}" if value < 1000 else f"{value:.6g}"
    return f"({size} + {padding} - {span})/{stride} + 1 = {shown}"


@dataclass(frozen=True)
class Conv2d:
    """A checked convolution: x (N, C, H, W) with K filters (K, C/G, R, S) gives (N, K, P, Q)."""

    N: int
    C: int
    H: int
    W: int
    K: int
    R: int
    S: int
    P: int
    Q: int
    G: int
    stride: tuple[int, int]
    padding: tuple[int, int, int, int]
    """top, bottom, left, right"""
    dilation: tuple[int, int]

    def __post_init__(self) -> None:
        # Plain attributes, not properties: they are read on every call.
        for name, value in (
            ("input_shape", (self.N, self.C, self.H, self.W)),
            ("weight_shape", (self.K, self.C // self.G, self.R, self.S)),
            ("output_shape", (self.N, self.K, self.P, self.Q)),
            ("columns_shape", (self.N, self.C * self.R * self.S, self.P * self.Q)),
        ):
            object.__setattr__(self, name, value)

    input_shape = weight_shape = output_shape = columns_shape = ()

    @property
    def macs(self) -> int:
        """Multiply-adds of the whole batch."""
        return self.N * self.K * self.P * self.Q * (self.C // self.G) * self.R * self.S


@dataclass(frozen=True)
class Pool2d:
    """A checked pooling: x (N, C, H, W) under an R x S window gives (N, C, P, Q)."""

    N: int
    C: int
    H: int
    W: int
    R: int
    S: int
    P: int
    Q: int
    stride: tuple[int, int]
    padding: tuple[int, int, int, int]
    """top, bottom, left, right"""
    count_include_pad: bool = True
    """Average pooling only: whether padding counts in the divisor."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "input_shape", (self.N, self.C, self.H, self.W))
        object.__setattr__(self, "output_shape", (self.N, self.C, self.P, self.Q))

    input_shape = output_shape = ()


def _fits(op: str, window: Shape, span: Shape, shape: Shape, stride: Shape, padding: Shape, places: Shape) -> None:
    if min(places) >= 1:
        return
    axis = 0 if places[0] < 1 else 1
    before, after = padding[2 * axis : 2 * axis + 2]
    formula = output_formula(shape[2 + axis], span[axis], stride[axis], before, after)
    raise WindowError(
        f"{op}: a {window[0]}x{window[1]} window does not fit a {shape[2]}x{shape[3]} map: {formula}; "
        f"the map needs to be at least {max(span[0] - padding[0] - padding[1], 1)}x"
        f"{max(span[1] - padding[2] - padding[3], 1)}: give a larger input, a smaller window or more padding"
    )


def _images(op: str, shape: Shape) -> None:
    if len(shape) != 4:
        raise ShapeError(
            f"{op}: x has shape {tuple(shape)}: it must be (N, C, H, W); one image needs x[None], a grey one x[:, None]"
        )


@_cached
def conv2d(
    x_shape: Shape, weight_shape: Shape, stride: Pair = 1, padding: Padding = 0, dilation: Pair = 1, groups: int = 1,
    op: str = "conv2d",
) -> Conv2d:  # fmt: skip
    """Check a convolution and give its sizes. Raises ShapeError or ArgumentError."""
    _images(op, x_shape)
    if len(weight_shape) != 4:
        raise ShapeError(f"{op}: weight has shape {tuple(weight_shape)}: it must be (K, C/groups, R, S)")
    (N, C, H, W), (K, per_group, R, S) = x_shape, weight_shape
    stride, dilation = pair(stride, f"{op}: stride", 1), pair(dilation, f"{op}: dilation", 1)
    padding = sides(padding, f"{op}: padding")
    if not is_integer(groups) or groups < 1:
        raise ArgumentError(f"{op}: groups is {groups!r}: it must be an integer of at least 1")
    if C % groups or K % groups:
        raise ShapeError(f"{op}: groups is {groups}: it must divide the {C} input channels and the {K} filters")
    if per_group * groups != C:
        raise ShapeError(
            f"{op}: x has {C} channels but weight {tuple(weight_shape)} with groups={groups} takes "
            f"{per_group * groups}: the channel counts must agree"
        )
    if min(K, R, S, C) < 1:
        raise ShapeError(f"{op}: weight has shape {tuple(weight_shape)}: every size must be at least 1")
    span = (dilation[0] * (R - 1) + 1, dilation[1] * (S - 1) + 1)
    P = output_size(H, R, stride[0], padding[0], padding[1], dilation[0])
    Q = output_size(W, S, stride[1], padding[2], padding[3], dilation[1])
    _fits(op, (R, S), span, x_shape, stride, padding, (P, Q))
    _bounded(op, max(N, 1) * max(C * H * W, K * P * Q, C * R * S * P * Q))
    return Conv2d(N, C, H, W, K, R, S, P, Q, int(groups), stride, padding, dilation)


@_cached
def pool2d(
    x_shape: Shape, window: Pair, stride: Pair | None = None, padding: Padding = 0, ceil_mode: bool = False,
    count_include_pad: bool = True, op: str = "max_pool2d",
) -> Pool2d:  # fmt: skip
    """Check a pooling and give its sizes. Padding may be at most half the window, so that no window is all padding."""
    _images(op, x_shape)
    N, C, H, W = x_shape
    R, S = pair(window, f"{op}: kernel_size", 1)
    stride = (R, S) if stride is None else pair(stride, f"{op}: stride", 1)
    padding = sides(padding, f"{op}: padding")
    if max(padding[:2]) > R // 2 or max(padding[2:]) > S // 2:
        raise ArgumentError(
            f"{op}: padding is {padding} (top, bottom, left, right): it may be at most half the {R}x{S} window, "
            "or a window could see nothing but padding"
        )
    P = output_size(H, R, stride[0], padding[0], padding[1], 1, ceil_mode)
    Q = output_size(W, S, stride[1], padding[2], padding[3], 1, ceil_mode)
    _fits(op, (R, S), (R, S), x_shape, stride, padding, (P, Q))
    _bounded(op, max(N, 1) * C * max(H * W, P * Q))
    if R * S > LONGEST:
        raise ArgumentError(f"{op}: kernel_size is {(R, S)}: a window may have at most {LONGEST} pixels")
    return Pool2d(N, C, H, W, R, S, P, Q, stride, padding, bool(count_include_pad))


def _bounded(op: str, elements: int) -> None:
    if elements > LIMIT:
        raise ShapeError(f"{op}: the result or its columns would have {elements:,} elements: the limit is 2**58")


def bins(size: int, places: int) -> list[tuple[int, int]]:
    """Start and end of each of `places` adaptive pooling windows over `size` pixels; they cover all of them."""
    return [(place * size // places, -(-(place + 1) * size // places)) for place in range(places)]


def elements(shape: Shape) -> int:
    """Number of elements of an array of this shape."""
    return math.prod(shape)


class Gemm(NamedTuple):
    """The matrix products behind a layer for one input: `groups` of them, each (M x K) times (K x N).

    The letters are those of kernels/minicnn.h, not those of a convolution's arguments.
    """

    M: int
    N: int
    K: int
    groups: int = 1

    @property
    def macs(self) -> int:
        """Multiply-adds of all of them."""
        return self.groups * self.M * self.N * self.K


class Field(NamedTuple):
    """Receptive field along one axis, in input pixels: its size, the jump between neighbours, and where the centre of
    the first one lies (0.5 is the centre of the first pixel).

    Jumps are whole numbers, but behind a transposed convolution or an adaptive pool whose windows differ. Sizes are
    those of the outputs that see most.
    Source: Dang-Ha 2017; Araujo, Norris and Sim 2019, doi:10.23915/distill.00021.
    """

    size: int = 1
    jump: float = 1
    start: float = 0.5

    def through(self, window: int, stride: float = 1, before: int = 0, dilation: int = 1) -> Field:
        """The field after one more window."""
        reach = dilation * (window - 1)
        size = self.size + math.ceil(reach * self.jump)
        return Field(size, self.jump * stride, self.start + (reach / 2 - before) * self.jump)

    def through_transposed(self, window: int, stride: int = 1, before: int = 0, dilation: int = 1) -> Field:
        """The field after a transposed convolution, of the outputs that meet the most inputs.

        Output y meets the inputs i with y = i*stride - before + dilation*r for a tap r of the window.
        """
        reach = dilation * (window - 1)
        step = math.lcm(stride, dilation)  # between the taps that meet an input at the same y
        inputs = reach // step * (step // stride)
        jump = self.jump // stride if self.jump % stride == 0 else self.jump / stride
        size = self.size + math.ceil(inputs * self.jump)
        return Field(size, jump, self.start + (before - reach / 2) * self.jump / stride)

    def joined(self, other: Field) -> Field:
        """What two branches see together, where they meet."""
        first = min(self.start - self.size / 2, other.start - other.size / 2)
        last = max(self.start + self.size / 2, other.start + other.size / 2)
        return Field(math.ceil(last - first), max(self.jump, other.jump), (first + last) / 2)
