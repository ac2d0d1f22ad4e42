"""Receptive fields: against the closed formula, against the published ones, and against what really reaches an output."""

import itertools

import numpy as np
import pytest

import minicnn
from minicnn import Tensor, ops
from minicnn.geometry import Field
from minicnn.inspect import fields
from minicnn.layers import (
    AdaptiveAvgPool2d,
    AvgPool2d,
    BatchNorm2d,
    Concat,
    Conv2d,
    ConvTranspose2d,
    Flatten,
    GlobalAvgPool2d,
    Identity,
    Layer,
    Linear,
    MaxPool2d,
    PadShortcut,
    ReLU,
    Residual,
    Sequential,
    ZeroPad2d,
    trace,
)  # fmt: skip


def closed(windows):
    """Size, jump and centre of windows (size, stride, padding): r = 1 + sum (k - 1) * product of the strides before."""
    strides = [1, *itertools.accumulate((stride for _, stride, _ in windows), lambda a, b: a * b)]
    size = 1 + sum((k - 1) * jump for (k, _, _), jump in zip(windows, strides))
    padding = sum(p * jump for (_, _, p), jump in zip(windows, strides))
    return size, strides[-1], size / 2 - padding


VGG = [(3, 1, 1), (3, 1, 1), (2, 2, 0)] * 2 + [(3, 1, 1), (3, 1, 1), (3, 1, 1), (2, 2, 0)] * 3


@pytest.mark.parametrize(
    ("name", "windows", "published"),
    [
        ("vgg_d", VGG, 212),
        ("alexnet", [(11, 4, 0), (3, 2, 0), (5, 1, 2), (3, 2, 0), (3, 1, 1), (3, 1, 1), (3, 1, 1), (3, 2, 0)], 195),
        ("lenet5", [(5, 1, 0), (2, 2, 0), (5, 1, 0), (2, 2, 0)], 16),
    ],
)
def test_chains_against_the_closed_formula(name, windows, published):
    rows = [row for row in minicnn.summary(name).rows if row.window is not None]
    for place, row in enumerate(rows[: len(windows)]):
        assert (row.receptive_field, row.jump, row.offset) == closed(windows[: place + 1])
    assert rows[len(windows) - 1].receptive_field == published


@pytest.mark.parametrize(("name", "size"), [("resnet50", 483), ("resnet101", 1027), ("resnet152", 1507)])
def test_residual_networks_as_published(name, size):
    """Araujo, Norris and Sim 2019, table 1: up to the last residual block."""
    assert [row for row in minicnn.summary(name).rows if row.kind == "Residual"][-1].receptive_field == size


def net(*layers):
    return Sequential(*layers)


NETWORKS = {
    "convolutions": net(Conv2d(1, 2, 3, 2, 1), Conv2d(2, 2, (3, 5), 1, (0, 2)), Conv2d(2, 1, 2)),
    "dilation": net(Conv2d(1, 1, 3, dilation=(2, 3), padding=2), Conv2d(1, 1, 3, 2, dilation=2)),
    "asymmetric": net(Conv2d(1, 1, 3, 2, padding=(0, 1, 1, 0)), Conv2d(1, 1, 2, 1, padding=(1, 0, 0, 1))),
    "pools": net(MaxPool2d(3, 2, ceil_mode=True), Conv2d(1, 1, 3), AvgPool2d(2), ReLU()),
    "padded": net(ZeroPad2d((2, 1, 0, 3)), Conv2d(1, 1, 4, 2)),
    "branches": net(
        Conv2d(1, 2, 3, 2), Concat(Conv2d(2, 1, 1), Conv2d(2, 1, 5, padding=2), Conv2d(2, 1, 3, padding=1))
    ),
    "uneven": net(Concat(Conv2d(1, 1, 3, padding=(0, 2, 0, 2)), Conv2d(1, 1, 3, padding=(2, 0, 1, 1)))),
    "residual": net(Residual(net(Conv2d(1, 1, 3, padding=1), BatchNorm2d(1))), Conv2d(1, 1, 3)),
    "shortcut": net(Residual(Conv2d(1, 4, 1, 2), PadShortcut(4, 2)), Conv2d(4, 1, 3)),
    "transposed": net(Conv2d(1, 1, 3, 2), ConvTranspose2d(1, 1, 4, 2, 1)),
    "transposed odd": net(Conv2d(1, 1, 3, 2), ConvTranspose2d(1, 1, 3, 1, 1), Conv2d(1, 1, 3)),
    "adaptive": net(Conv2d(1, 1, 3), AdaptiveAvgPool2d(9)),
    "global": net(Conv2d(1, 1, 3), GlobalAvgPool2d()),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_against_what_reaches_an_output(name):
    """The gradient of one output, all weights 1, is not zero exactly in its field."""
    model = NETWORKS[name].eval()
    for parameter in model.parameters():
        parameter.data = np.ones(parameter.shape, np.float32)
    x = Tensor(1 + np.arange(29 * 29, dtype=np.float32).reshape(1, 1, 29, 29) / 1000, requires_grad=True)
    records = trace(model, (1, 29, 29))
    pair = fields(records)[0]
    y = model(x)
    for p, q in {(y.shape[2] // 2, y.shape[3] // 2), (y.shape[2] // 3, y.shape[3] // 2)}:
        chosen = np.zeros(y.shape, np.float32)
        chosen[:, :, p, q] = 1
        dx = minicnn.grad(ops.sum(model(x) * Tensor(chosen)), [x])[0].numpy()[0, 0]
        if "pool" in name:  # only the maximum of a window has a gradient: ask which inputs matter
            dx = reached(model, x, p, q)
        for axis, place in ((0, p), (1, q)):
            hit = np.flatnonzero(dx.any(axis=1 - axis))
            field = pair[axis]
            centre = field.start + place * field.jump
            assert hit[-1] - hit[0] + 1 == field.size
            # Behind a transposed convolution of stride 2 every other output lies on either side of the average.
            slack = 0.5 if name == "transposed" else 0
            assert (hit[0] + hit[-1] + 1) / 2 == pytest.approx(centre, abs=slack)
            if not slack:
                assert pair.area(p, q)[2 * axis : 2 * axis + 2] == (hit[0], hit[-1] + 1)


def reached(model, x, p, q):
    """The inputs that change output (p, q) when they become very large."""
    before, found = model(x).numpy()[..., p, q], np.zeros(x.shape[2:], bool)
    for place in np.ndindex(found.shape):
        changed = x.numpy().copy()
        changed[(0, 0, *place)] = 1e4
        found[place] = (model(Tensor(changed)).numpy()[..., p, q] != before).any()
    return found


def test_one_more_window_by_hand():
    assert Field().through(11, 4) == (11, 4, 5.5) and Field().through(3, 1, 1) == (3, 1, 0.5)
    assert Field(3, 2, 1.5).through(3, 2, 1, dilation=2) == (11, 4, 3.5)
    assert Field(3, 2, 1.5).through_transposed(4, 2, 1) == (5, 1, 1.0)
    assert Field(3, 1, 0.5).joined(Field(5, 1, 1.5)) == (5, 1, 1.5)
    assert Field(3, 1, -1.5).joined(Field(3, 1, 2.5)) == (7, 1, 0.5)


class Shrink(Layer):
    """Changes the size of the map and does not say how."""

    def forward(self, x):
        return x[:, :, ::2, 1:]


class Mean(Layer):
    def forward(self, x):
        return ops.mean(x, (2, 3))


class Halved(Layer):
    """Pools outside any layer, behind a layer."""

    def __init__(self):
        self.conv = Conv2d(1, 1, 3, padding=1)

    def forward(self, x):
        return ops.max_pool2d(self.conv(x), 2)


def test_nothing_is_known_behind_an_operation_outside_any_layer():
    traced = trace(Sequential(Halved(), Conv2d(1, 1, 3, padding=1)), (1, 8, 8))
    known = {record.path: pair for record, pair in zip(traced.records, fields(traced))}
    assert known["0.conv"].vertical.size == 3
    assert known["0"] is None and known["1"] is None and known[""] is None


def test_what_is_known_behind_vectors_and_layers_of_ones_own():
    def known(model, shape):
        traced = trace(model, shape)
        return [field for record, field in zip(traced.records, fields(traced)) if record.leaf]

    last = known(net(Conv2d(1, 2, 3), Flatten(), Linear(2 * 4 * 5, 3), ReLU(), Linear(3, 3)), (1, 6, 7))
    assert [(pair.vertical.size, pair.horizontal.size) for pair in last] == [(3, 3), (3, 3), (6, 7), (6, 7), (6, 7)]
    assert known(net(Conv2d(1, 2, 3), Mean()), (1, 6, 7))[-1].vertical.size == 6
    uneven = known(AdaptiveAvgPool2d(3), (1, 7, 7))[0].vertical
    assert uneven == (3, pytest.approx(7 / 3), 1.5)  # rows 0..2, 2..4, 4..6
    assert known(net(ReLU(), Shrink(), Conv2d(1, 1, 1)), (1, 6, 6))[1:] == [None, None]
    assert known(Linear(3, 2), (3,)) == [None]
    assert minicnn.summary(Linear(3, 2), (3,)).rows[0].receptive_field is None
    wide = known(net(Concat(Conv2d(1, 1, 1), Conv2d(1, 1, (5, 3), padding=(2, 1))), Identity()), (1, 8, 8))[-1]
    assert (wide.vertical.size, wide.horizontal.size) == (5, 3)
    text = minicnn.summary(net(Conv2d(1, 1, (5, 3))), (1, 8, 8)).to_text()
    assert "  5x3" in text and "2.5x1.5" in text
