"""LeNet-5 as published in 1998, and the layers that it alone needs."""

import numpy as np
import pytest

import minicnn
from minicnn import Tensor, models, ops
from minicnn.errors import ArgumentError, ShapeError
from minicnn.layers import Conv2d, RadialBasis, ScaledTanh, Subsample2d, TableConv2d
from minicnn.models.lenet import C3, codes


def numbers(*shape):
    return np.random.default_rng(3).standard_normal(shape).astype(np.float32)


def layers_of(name, *kinds):
    return {row.path: row for row in minicnn.summary(name).rows if not kinds or row.kind in kinds}


def test_its_counts_are_the_papers():
    rows = layers_of("lenet5_1998")
    counts = {"c1": 156, "s2": 12, "c3": 1_516, "s4": 32, "c5": 48_120, "f6": 10_164}
    assert {path: rows[path].parameters for path in counts} == counts
    assert models.info("lenet5_1998").parameters == sum(counts.values()) == 60_000
    shapes = [(6, 28, 28), (6, 14, 14), (16, 10, 10), (16, 5, 5), (120, 1, 1), (84,)]
    assert [rows[path].output_shape for path in counts] == shapes
    assert rows["c3"].parameter_formula == "5*5*60 + 16 = 1,516"
    assert rows["s2"].parameter_formula == "(1 + 1)*6 = 12"
    assert rows["s2"].size_formula == "(28 + 2*0 - 2)/2 + 1 = 14"
    assert (rows["c3"].macs, rows["output"].macs) == (150_000, 840)


def test_its_connections_are_the_papers():
    """The paper counts a connection per input of each unit, the bias included: 340,908 with the 840 of the output."""
    rows = layers_of("lenet5_1998")
    units = {path: int(np.prod(rows[path].output_shape)) for path in rows}
    connections = {path: rows[path].macs + units[path] for path in ("c1", "c3", "c5", "f6")}
    connections |= {path: 5 * units[path] for path in ("s2", "s4")}  # four pixels and the bias
    connections["output"] = rows["output"].macs
    assert connections == {
        "c1": 122_304, "s2": 5_880, "c3": 151_600, "s4": 2_000, "c5": 48_120, "f6": 10_164, "output": 840,
    }  # fmt: skip
    assert sum(connections.values()) == 340_908


def test_the_table_of_c3_breaks_the_symmetry_as_in_the_paper():
    assert len(C3) == len(set(C3)) == 16
    assert [len(row) for row in C3] == [3] * 6 + [4] * 9 + [6]
    assert [sum(channel in row for row in C3) for channel in range(6)] == [10] * 6
    assert C3[:6] == tuple(tuple(sorted((start + step) % 6 for step in range(3))) for start in range(6))


def test_the_codes_are_seven_by_twelve_bitmaps_far_from_each_other():
    values = codes()
    assert values.shape == (10, 84) and set(values.ravel()) == {-1.0, 1.0}
    apart = (values[:, None] != values[None]).sum(axis=2)
    assert apart[~np.eye(10, dtype=bool)].min() >= 15
    assert (values == models.create("lenet5_1998").output.codes.numpy()).all()


def test_it_learns(backend):
    """Four noisy pictures: the right code comes nearest within a few steps."""
    minicnn.manual_seed(1)
    model = models.create("lenet5_1998")
    before = {name: p.numpy().copy() for name, p in model.named_parameters()}
    optimizer = minicnn.optim.SGD(model.parameters(), lr=0.002, momentum=0.9)
    x, labels = Tensor(numbers(4, 1, 32, 32)), np.array([3, 1, 4, 5])
    losses = []
    for _ in range(30):
        loss = ops.cross_entropy(model(x), labels)
        losses.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert np.isfinite(losses).all() and losses[-1] < 0.2 * losses[0]
    assert (model(x).numpy().argmax(axis=1) == labels).all()
    assert all((before[name] != p.numpy()).any() for name, p in model.named_parameters())
    assert (model.output.codes.numpy() == codes()).all()


def test_initial_weights_are_the_papers():
    model = models.create("lenet5_1998", output="linear")
    for path, fan in {"c1": 25, "c5": 400, "f6": 120, "output": 84}.items():
        largest = np.abs(model[path].weight.numpy()).max()
        assert 0.8 * 2.4 / fan < largest <= 2.4 / fan * 1.0001
    weight = model.c3.weight.numpy()
    assert 0.9 * 2.4 / 75 < np.abs(weight[:18]).max() <= 2.4 / 75 * 1.0001  # six maps of three channels
    assert 0.9 * 2.4 / 150 < np.abs(weight[54:]).max() <= 2.4 / 150 * 1.0001  # one map of six
    assert np.abs(model.s2.coefficient.numpy()).max() <= 0.6


def test_options():
    three = models.create("lenet5_1998", num_classes=3, in_channels=2)
    assert three(Tensor(numbers(2, 2, 32, 32))).shape == (2, 3)
    wide = models.create("lenet5_1998", num_classes=26, output="linear", device="meta")
    assert minicnn.summary(wide).total_parameters == 60_000 + 85 * 26
    with pytest.raises(ArgumentError, match="num_classes is 26: there are codes for 1 to 10.*output='linear'"):
        models.create("lenet5_1998", num_classes=26)
    with pytest.raises(ArgumentError, match="output is 'softmax': it must be rbf or linear"):
        models.create("lenet5_1998", output="softmax")


def test_table_conv_is_a_convolution_with_holes(backend):
    table = [(0, 2), (1,), (0, 1, 2), (2, 0)]
    layer, dense = TableConv2d(3, table, (3, 2)), Conv2d(3, 4, (3, 2))
    assert layer.weight.shape == (8, 3, 2) and layer.bias.shape == (4,)
    full, places = np.zeros((4, 3, 3, 2), np.float32), iter(layer.weight.numpy())
    for filter, row in enumerate(table):
        for channel in row:
            full[filter, channel] = next(places)
    layer.bias.data = numbers(4)
    dense.load_state_dict({"weight": full, "bias": layer.bias})
    x = Tensor(numbers(2, 3, 6, 5))
    np.testing.assert_allclose(layer(x).numpy(), dense(x).numpy(), rtol=1e-5, atol=1e-6)
    assert layer.macs((3, 6, 5), (4, 4, 4)) == 8 * 6 * 16
    assert "connections=8" in repr(layer)


def test_subsample_scaled_tanh_and_radial_basis_by_hand(backend):
    x = numbers(2, 3, 5, 4)
    layer = Subsample2d(3)
    layer.load_state_dict({"coefficient": [0.5, 1.0, -2.0], "bias": [0.0, 1.0, 2.0]})
    sums = x[:, :, :4].reshape(2, 3, 2, 2, 2, 2).sum(axis=(3, 5))
    expected = sums * np.reshape([0.5, 1.0, -2.0], (3, 1, 1)) + np.reshape([0.0, 1.0, 2.0], (3, 1, 1))
    np.testing.assert_allclose(layer(Tensor(x)).numpy(), expected, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(ScaledTanh()(Tensor([1.0, -1.0, 0.0])).numpy(), [1, -1, 0], atol=1e-4)
    np.testing.assert_allclose(ScaledTanh(2.0, 0.5)(Tensor([3.0])).numpy(), [2 * np.tanh(1.5)], rtol=1e-6)
    scores = RadialBasis([[1, -1], [1, 1]])(Tensor([[1.0, 1.0], [0.0, 3.0]]))
    assert scores.numpy().tolist() == [[-4, 0], [-17, -5]]


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda: TableConv2d(3, [], 3), "table is []"),
        (lambda: TableConv2d(3, [(0,), ()], 3), "a list of channels for each filter"),
        (lambda: TableConv2d(3, [(0,), (3,)], 3), "table[1] is (3,): it must hold different channels from 0 to 2"),
        (lambda: TableConv2d(3, [(1, 1)], 3), "different channels"),
        (lambda: TableConv2d(3, [("a",)], 3), "different channels"),
        (lambda: TableConv2d(0, [(0,)], 3), "in_channels is 0"),
        (lambda: Subsample2d(0), "channels is 0"),
        (lambda: Subsample2d(3, 0), "kernel_size is 0"),
        (lambda: ScaledTanh(0), "amplitude is 0"),
        (lambda: ScaledTanh(1, "x"), "slope is 'x'"),
        (lambda: RadialBasis([1, 2]), "codes has shape (2,)"),
    ],
)
def test_bad_arguments(call, text):
    with pytest.raises(ArgumentError) as caught:
        call()
    assert text in str(caught.value) and "\n" not in str(caught.value)


def test_bad_inputs():
    for layer, x, text in (
        (Subsample2d(3), numbers(2, 4, 6, 6), "must be \\(N, 3, H, W\\)"),
        (RadialBasis([[1, 2, 3]]), numbers(2, 4), "must be \\(N, 3\\)"),
        (TableConv2d(3, [(0,)], 3), numbers(2, 4, 6, 6), "channel"),
        (TableConv2d(3, [(0,)], 3), numbers(2, 3, 2, 2), "does not fit a 2x2 map"),
    ):
        with pytest.raises(ShapeError, match=text):
            layer(Tensor(x))
