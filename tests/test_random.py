"""Philox and its keys."""

from __future__ import annotations

import numpy as np
import pytest

import minicnn
from minicnn import ops, random
from minicnn.errors import ArgumentError
from minicnn.random import Key


@pytest.mark.parametrize(
    "key, counter, expected",
    [  # the known answers published with Random123 for philox4x32-10
        ((0, 0), (0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
        ((0xFFFFFFFF, 0xFFFFFFFF), (2**64 - 1, 2**64 - 1), (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
        (
            (0xA4093822, 0x299F31D0),
            (0x85A308D3243F6A88, 0x0370734413198A2E),
            (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
        ),
    ],
)
def test_known_answers(key, counter, expected):
    block, step = counter
    words = random._blocks(Key(*key, step), np.array([block], np.uint64))
    assert tuple(map(int, words[0])) == expected


def test_any_part_of_a_stream_can_be_computed_alone():
    key = Key(1, 2, 3)
    whole = random.philox(key, 100)
    assert (random.philox(key, 60, first=40) == whole[40:]).all()


def test_uniform_numbers_are_uniform():
    numbers = random.uniform(Key(5, 6, 7), 100_000)
    assert 0 <= numbers.min() and numbers.max() < 1
    counts = np.histogram(numbers, 20, (0, 1))[0]
    assert ((counts - 5000) ** 2 / 5000).sum() < 60  # chi-squared, 19 degrees of freedom


def test_state_goes_on_where_it_was():
    minicnn.manual_seed(7)
    random.next_key("a")
    state = random.get_state()
    following = [random.next_key("a"), random.next_key("b")]
    random.set_state(state)
    assert [random.next_key("a"), random.next_key("b")] == following
    assert following[0] != following[1]


@pytest.mark.parametrize("seed", [-1, 2**32, 1.5, "x", True])
def test_bad_seeds(seed):
    with pytest.raises(ArgumentError, match="manual_seed: seed is"):
        minicnn.manual_seed(seed)


def test_dropout_keeps_the_mean_and_the_share(backend):
    x = np.ones(200_000, np.float32)
    y = ops.dropout(x, 0.3).numpy()
    assert abs((y == 0).mean() - 0.3) < 0.005 and abs(y.mean() - 1) < 0.01
    assert np.unique(y).tolist() == pytest.approx([0, 1 / 0.7])


def test_dropout_is_the_same_on_every_backend():
    masks = []
    for name in minicnn.backends.available():
        if name in minicnn.backends.CPU:
            with minicnn.use_backend(name):
                masks.append(ops.dropout(np.ones((3, 7, 11), np.float32), 0.5, key=Key(3, 1, 4)).numpy())
    assert all((mask == masks[0]).all() for mask in masks)
