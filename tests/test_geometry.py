"""Size arithmetic against the lectures' numbers and against counting."""

from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minicnn import Tensor, data, geometry, layers, ops
from minicnn.errors import ArgumentError, ShapeError


@pytest.mark.parametrize(
    "size, window, stride, padding, expected",
    [
        (7, 3, 1, 0, 5), (7, 3, 2, 0, 3), (7, 3, 3, 0, 2), (7, 3, 1, 1, 7), (32, 5, 1, 0, 28), (28, 5, 1, 0, 24),
        (32, 5, 1, 2, 32), (227, 11, 4, 0, 55), (55, 3, 2, 0, 27), (27, 5, 1, 2, 27), (13, 3, 1, 1, 13), (13, 3, 2, 0, 6),
        (224, 7, 2, 3, 112), (224, 3, 1, 1, 224),
    ],
)  # fmt: skip
def test_the_lectures_output_sizes(size, window, stride, padding, expected):
    assert geometry.output_size(size, window, stride, padding, padding) == expected


def count(size, window, stride, before, after, dilation, ceil_mode):
    """Slide the window by hand: starts 0, stride, ... while the window lies inside; one more in ceil mode if part does."""
    total, span = size + before + after, dilation * (window - 1) + 1
    places = [start for start in range(0, total, stride) if start + span <= total]
    if ceil_mode and places and places[-1] + span < total and places[-1] + stride < size + before:
        places.append(places[-1] + stride)
    return len(places)


@given(
    size=st.integers(1, 40), window=st.integers(1, 9), stride=st.integers(1, 7), before=st.integers(0, 4),
    after=st.integers(0, 4), dilation=st.integers(1, 3), ceil_mode=st.booleans(),
)  # fmt: skip
def test_output_size_counts_places(size, window, stride, before, after, dilation, ceil_mode):
    if ceil_mode:  # pooling: at most half the window is padding
        before, after, dilation = min(before, window // 2), min(after, window // 2), 1
    expected = count(size, window, stride, before, after, dilation, ceil_mode)
    assert max(0, geometry.output_size(size, window, stride, before, after, dilation, ceil_mode)) == expected


def test_formulas_show_their_numbers():
    assert geometry.output_formula(227, 11, 4, 0, 0) == "(227 + 2*0 - 11)/4 + 1 = 55"
    assert geometry.output_formula(224, 11, 4, 0, 0) == "(224 + 2*0 - 11)/4 + 1 = 54.25"
    assert geometry.output_formula(8, 2, 2, 0, 1) == "(8 + 0 + 1 - 2)/2 + 1 = 4.5"


def test_macs_of_alexnets_first_convolution():
    assert geometry.conv2d((1, 3, 227, 227), (96, 3, 11, 11), 4).macs == 105_415_200


@given(size=st.integers(1, 50), places=st.integers(1, 50))
def test_adaptive_windows_cover_the_map(size, places):
    bins = geometry.bins(size, places)
    assert len(bins) == places and bins[0][0] == 0 and bins[-1][1] == size
    covered = np.zeros(size, bool)
    for start, end in bins:
        assert start < end
        covered[start:end] = True
    assert covered.all()


def test_three_3x3_see_what_one_7x7_sees():
    field = geometry.Field()
    for _ in range(3):
        field = field.through(3, 1, 1)
    assert field == geometry.Field(7, 1, 0.5) == geometry.Field().through(7, 1, 3)


def test_alexnets_receptive_field():
    field = geometry.Field()
    for window, stride, padding in [
        (11, 4, 0),
        (3, 2, 0),
        (5, 1, 2),
        (3, 2, 0),
        (3, 1, 1),
        (3, 1, 1),
        (3, 1, 1),
        (3, 2, 0),
    ]:
        field = field.through(window, stride, padding)
    assert field.size == 195 and field.jump == 32


def test_what_was_looked_up_before_does_not_decide_what_is_accepted():
    shape, weight = (1, 1, 9, 9), (1, 1, 3, 3)
    assert geometry.conv2d(shape, weight, geometry.hashable((2, 2))).P == 4
    for stride in ((2.0, 2.0), (True, 1), 2.0, True, {2}, np.ones((2, 2))):
        with pytest.raises(ArgumentError, match="stride is"):
            geometry.conv2d(shape, weight, geometry.hashable(stride))


def test_a_window_that_does_not_fit_says_what_would():
    with pytest.raises(
        ShapeError, match=r"a 3x3 window does not fit a 2x5 map: \(2 \+ 2\*0 - 3\)/1 \+ 1 = 0.*at least 3x3"
    ):
        geometry.conv2d((1, 1, 2, 5), (1, 1, 3, 3))


@pytest.mark.parametrize("value", [-1, (0, -1), (0, 0, 0, -1), "a", (1, 2, 3), 2**31])
def test_a_bad_padding_names_its_owner(value):
    x, w = Tensor(np.ones((1, 2, 5, 5))), Tensor(np.ones((2, 2, 3, 3)))
    for owner, call in {
        "conv2d": lambda: ops.conv2d(x, w, padding=value),
        "conv_transpose2d": lambda: ops.conv_transpose2d(x, w, padding=value),
        "im2col": lambda: ops.im2col(x, 3, padding=value),
        "max_pool2d": lambda: ops.max_pool2d(x, 3, padding=value),
        "avg_pool2d": lambda: ops.avg_pool2d(x, 3, padding=value),
        "Conv2d": lambda: layers.Conv2d(2, 2, 3, padding=value),
        "ConvTranspose2d": lambda: layers.ConvTranspose2d(2, 2, 3, padding=value),
        "MaxPool2d": lambda: layers.MaxPool2d(3, padding=value),
        "ZeroPad2d": lambda: layers.ZeroPad2d(value),
        "RandomCrop": lambda: data.RandomCrop(3, padding=value),
    }.items():
        with pytest.raises(ArgumentError, match=f"^{owner}: padding is {re.escape(repr(value))}: it must be"):
            call()
