"""The summary: counts, formulas, rounding, folding, layers of one's own, and every network of the zoo."""

import collections
import json
import pathlib
import re
import time

import numpy as np
import pytest

import minicnn
from minicnn import models, ops
from minicnn.errors import ArgumentError, ShapeError
from minicnn.geometry import Gemm
from minicnn.layers import (
    AdaptiveAvgPool2d,
    Add,
    BatchNorm2d,
    Concat,
    Conv2d,
    ConvTranspose2d,
    Flatten,
    GlobalAvgPool2d,
    Graph,
    Identity,
    Layer,
    Linear,
    LocalResponseNorm,
    MaxPool2d,
    PadShortcut,
    Parameter,
    ReLU,
    Residual,
    Sequential,
    ZeroPad2d,
    trace,
)  # fmt: skip

REFERENCE = pathlib.Path(__file__).parent / "reference"


def reference(name):
    return json.loads((REFERENCE / f"{name}.json").read_text())


def value(formula):
    """What a formula comes to when Python works it out, and what it says it comes to."""
    left, _, right = formula.rpartition(" = ")
    return eval(left), int(right.replace(",", ""))


def test_vgg16_against_the_rows_of_the_slide():
    summary = minicnn.summary("vgg_d")
    (rows,) = [e["expected"] for e in reference("worked_examples") if e["id"] == "vgg16_memory_rows"]
    named, *rows = rows
    assert named == ["INPUT", int(np.prod(summary.input_shape)), 0]
    shown = [row for row in summary.rows if row.activation_bytes]
    assert len(shown) == len(rows)
    for row, (_, numbers, weights) in zip(shown, rows):
        biases = row.output_shape[0] if row.parameters else 0
        assert (row.activation_bytes, row.parameters) == (4 * numbers, weights + biases)
    assert summary.activation_bytes == 60_950_432 and summary.total_parameters == 138_357_544
    assert summary.total_macs == 15_470_264_320 and summary.parameter_bytes == 4 * 138_357_544
    assert summary.largest_activation.bytes == 4 * 64 * 224 * 224
    assert summary.largest_activation.shape == (64, 224, 224)


@pytest.mark.parametrize("name", sorted(reference("layer_tables")))
def test_shapes_parameters_and_macs_against_the_layer_tables(name):
    def whole(shape):
        return (*shape, 1, 1)[:3] if len(shape) == 1 else tuple(shape)

    expected = collections.Counter(
        (entry["type"], tuple(entry["out"]), entry["params"] - (2 * entry["out"][0] if entry.get("bn") else 0), entry["macs"])
        for entry in reference("layer_tables")[name]
    )  # fmt: skip
    kinds = {
        "Conv2d": "conv", "MaxPool2d": "maxpool", "AvgPool2d": "avgpool", "Linear": "fc", "GlobalAvgPool2d": "gap",
        "AdaptiveAvgPool2d": "gap",
    }  # fmt: skip
    found = collections.Counter(
        (kinds[row.kind], whole(row.output_shape), row.parameters, row.macs)
        for row in minicnn.summary(name).rows
        if row.kind in kinds
    )
    assert found == expected


def test_the_arithmetic_of_every_network():
    """Formulas come to the counts, products of matrices to the multiply-adds, and these to what the kernels did."""
    for name in models.names(all=True):
        summary = minicnn.summary(name)
        for row in summary.rows:
            assert bool(row.parameter_formula) == bool(row.parameters and row.note != "shared"), (name, row.path)
            assert not row.parameters or value(row.parameter_formula) == (row.parameters, row.parameters)
            assert not row.macs_formula or value(row.macs_formula) == (row.macs, row.macs)
            assert row.gemm is None or row.gemm.macs == row.macs
            assert row.field is not None and row.note == ""
        lines = summary.to_text().splitlines()
        assert max(map(len, lines)) <= 80, name
        starts = {re.match(r" *\S*", line).group() for line in lines}
        assert not [row.path for row in summary.rows if "  " * row.depth + row.name not in starts]  # no name is cut
        traced = trace(models.create(name, device="meta"), summary.input_shape)
        if name != "lenet5_1998":  # its filters leave out some maps, which the kernel computes all the same
            assert all(record.counted == record.macs for record in traced.records), name


def test_a_thousand_layers_in_well_under_a_second():
    start = time.perf_counter()
    summary = minicnn.summary("cifar_preact_resnet1001")
    assert time.perf_counter() - start < 2.5  # 0.45 s where nothing else runs
    assert len(summary.rows) > 3000
    start = time.perf_counter()
    summary.to_text()
    assert time.perf_counter() - start < 0.5


def test_alexnet_shows_its_arithmetic():
    rows = {row.path: row for row in minicnn.summary("alexnet").rows}
    assert rows["conv1"].size_formula == "(227 + 2*0 - 11)/4 + 1 = 55" and rows["conv1"].size_note == ""
    assert rows["conv1"].parameter_formula == "(11*11*3 + 1)*96 = 34,944"
    assert rows["conv1"].macs_formula == "55*55*96 * 11*11*3 = 105,415,200"
    assert rows["conv1"].gemm == Gemm(M=96, N=3025, K=363)
    assert rows["conv1"].output_shape == (96, 55, 55) and rows["conv1"].input_shape == (3, 227, 227)
    assert rows["conv1"].neurons == 290_400 and rows["conv1"].activation_bytes == 4 * 290_400
    assert rows["relu1"].activation_bytes == 0 and rows["relu1"].size_formula == ""
    assert rows["norm1"].size_formula == "sums over 5 neighbouring channels: the size stays"
    assert rows["flatten"].size_formula == "256*6*6 = 9,216"
    assert rows["fc6"].parameter_formula == "(9216 + 1)*4096 = 37,752,832"
    assert rows["fc6"].macs_formula == "4096 * 9216 = 37,748,736" and rows["fc6"].gemm == (1, 4096, 9216, 1)
    layers = ("conv1", "pool1", "conv2", "pool2", "conv5", "pool5")
    assert [rows[name].receptive_field for name in layers] == [11, 19, 51, 67, 163, 195]
    assert [rows[name].jump for name in layers] == [4, 8, 8, 16, 16, 32]
    assert [rows[name].offset for name in layers] == [5.5, 9.5, 9.5, 17.5, 17.5, 33.5]
    grouped = {row.path: row for row in minicnn.summary("alexnet_grouped").rows}["conv2"]
    assert grouped.parameter_formula == "(5*5*96/2 + 1)*256 = 307,456" and grouped.gemm == (128, 729, 1200, 2)
    assert grouped.macs_formula == "27*27*256 * 5*5*96/2 = 223,948,800"


@pytest.mark.parametrize(
    ("layer", "shape", "formula", "note"),
    [
        (Conv2d(3, 1, 7, 2, 3), (3, 224, 224), "(224 + 2*3 - 7)/2 + 1 = 112.5, floor: 112",
         "not seen: 1 row and 1 column of the padding"),
        (Conv2d(3, 1, 11, 4), (3, 224, 224), "(224 + 2*0 - 11)/4 + 1 = 54.25, floor: 54",
         "not seen at the end: 1 row and 1 column"),
        (MaxPool2d(3, 2), (1, 112, 112), "(112 + 2*0 - 3)/2 + 1 = 55.5, floor: 55",
         "not seen at the end: 1 row and 1 column"),
        (MaxPool2d(3, 2, ceil_mode=True), (1, 112, 112), "(112 + 2*0 - 3)/2 + 1 = 55.5, ceil: 56",
         "the last window hangs over by 1 row and 1 column"),
        (MaxPool2d(2, 2, 1, True), (1, 5, 5),
         "(5 + 2*1 - 2)/2 + 1 = 3.5, floor: 3 (no window may start in the padding)",
         "not seen: 1 row and 1 column of the padding"),
        (MaxPool2d(2, (3, 2)), (1, 8, 7), "(8 + 2*0 - 2)/3 + 1 = 3 by (7 + 2*0 - 2)/2 + 1 = 3.5, floor: 3",
         "not seen at the end: 1 column"),
        (Conv2d(1, 1, 1, (4, 3), (0, 0, 0, 1)), (1, 8, 8), "(8 + 2*0 - 1)/4 + 1 = 2.75, floor: 2 by "
         "(8 + 0 + 1 - 1)/3 + 1 = 3.667, floor: 3", "not seen at the end: 3 rows and 1 column"),
        (Conv2d(1, 1, 3, 4, (0, 1, 0, 3)), (1, 8, 8), "(8 + 0 + 1 - 3)/4 + 1 = 2.5, floor: 2 by "
         "(8 + 0 + 3 - 3)/4 + 1 = 3", "not seen at the end: 1 row"),
        (Conv2d(1, 1, 3, padding=(0, 1, 0, 1)), (1, 4, 4), "(4 + 0 + 1 - 3)/1 + 1 = 3", ""),
        (Conv2d(1, 1, (3, 1)), (1, 5, 5), "(5 + 2*0 - 3)/1 + 1 = 3 by (5 + 2*0 - 1)/1 + 1 = 5", ""),
        (Conv2d(1, 1, 3, dilation=2), (1, 9, 9), "(9 + 2*0 - 2*(3 - 1) - 1)/1 + 1 = 5", ""),
        (Conv2d(1, 1, 2, 3), (1, 4000, 4000), "(4000 + 2*0 - 2)/3 + 1 = 1333.67, floor: 1333",
         "not seen at the end: 2 rows and 2 columns"),
        (ConvTranspose2d(1, 1, 3, 2, 1, 1), (1, 4, 4), "(4 - 1)*2 - 2 + 1*(3 - 1) + 1 + 1 = 8", ""),
        (GlobalAvgPool2d(), (1, 7, 7), "(7 + 2*0 - 7)/1 + 1 = 1", ""),
        (AdaptiveAvgPool2d(3), (1, 6, 6), "(6 + 2*0 - 2)/2 + 1 = 3", ""),
        (AdaptiveAvgPool2d((3, 2)), (1, 7, 7), "3 windows of 3 over 7 by 2 windows of 4 over 7", ""),
        (AdaptiveAvgPool2d(4), (1, 7, 7), "4 windows of 2 or 3 over 7", ""),
        (AdaptiveAvgPool2d(5), (1, 8, 8), "5 windows of 2 or 3 over 8", ""),
        (Concat(Identity(), Conv2d(2, 3, 1)), (2, 4, 4), "2 + 3 = 5 channels", ""),
        (Flatten(), (256, 6, 6), "256*6*6 = 9,216", ""),
        (ZeroPad2d((1, 2, 0, 3)), (2, 4, 4), "4 + 1 + 2 = 7 by 4 + 0 + 3 = 7", ""),
        (PadShortcut(32, 2), (16, 9, 9), "(9 + 2*0 - 1)/2 + 1 = 5; 16 + 16 of zeros = 32 channels", ""),
        (LocalResponseNorm(5), (16, 9, 9), "sums over 5 neighbouring channels: the size stays", ""),
        (Residual(Identity()), (2, 3, 3), "sum of 2 inputs of 2x3x3", ""),
        (Residual(Identity(), scale=0.2), (2, 3, 3), "sum of 2 inputs of 2x3x3, times 0.2 and 1", ""),
        (ReLU(), (2, 3, 3), "", ""),
    ],
)  # fmt: skip
def test_size_formulas(layer, shape, formula, note):
    row = minicnn.summary(layer, shape).rows[-1]
    assert (row.size_formula, row.size_note) == (formula, note)
    for part in formula.partition(";")[0].split(" by "):  # the arithmetic is right, not only printed
        left, equals, right = re.sub(r", (floor|ceil).*| channels", "", part).partition(" = ")
        if equals:
            assert eval(left) == pytest.approx(float(right.replace(",", "")), rel=1e-3)


@pytest.mark.parametrize(
    ("layer", "shape", "formula", "count", "macs", "gemm"),
    [
        (Conv2d(4, 6, (3, 2), groups=2), (4, 5, 5), "(3*2*4/2 + 1)*6", 78, 6 * 3 * 4 * 12, (3, 12, 12, 2)),
        (Conv2d(4, 8, 3, groups=4), (4, 3, 3), "(3*3*1 + 1)*8", 80, 72, (2, 1, 9, 4)),
        (Conv2d(4, 6, 3, bias=False), (4, 3, 3), "3*3*4*6", 216, 216, (6, 1, 36, 1)),
        (ConvTranspose2d(4, 6, 2, 2), (4, 3, 3), "(2*2*4 + 1)*6", 102, 4 * 9 * 6 * 4, (24, 9, 4, 1)),
        (ConvTranspose2d(4, 6, 3, groups=2), (4, 3, 3), "(3*3*4/2 + 1)*6", 114, 4 * 9 * 9 * 3, (27, 9, 2, 2)),
        (Linear(5, 3), (7, 5), "(5 + 1)*3", 18, 105, (7, 3, 5, 1)),
        (Linear(5, 3, bias=False), (5,), "5*3", 15, 15, (1, 3, 5, 1)),
        (BatchNorm2d(8), (8, 3, 3), "2*8", 16, 0, None),
    ],
)
def test_parameters_macs_and_products_of_matrices(layer, shape, formula, count, macs, gemm):
    (row,) = minicnn.summary(layer, shape).rows
    assert row.parameter_formula == f"{formula} = {count}" and eval(formula) == count == row.parameters
    assert row.macs == macs and row.gemm == gemm and bool(row.macs_formula) == bool(macs)
    assert not macs or value(row.macs_formula) == (macs, macs)
    assert trace(layer, shape).records[0].counted == macs


class Own(Layer):
    """A hand-written forward with a parameter and an operation of its own."""

    def __init__(self):
        self.gain = Parameter(np.ones((3, 1, 1), np.float32))
        self.inner, self.spare = Conv2d(3, 3, 3, padding=1), Linear(2, 2)

    def forward(self, x):
        return ops.tanh(self.inner(x)) * self.gain + x


def test_layers_of_ones_own_shared_layers_and_layers_that_are_not_called():
    shared = Conv2d(3, 3, 1)
    model = Sequential({"own": Own(), "a": shared, "b": Sequential(shared)})
    summary = minicnn.summary(model, (3, 4, 4))
    rows = {row.path: row for row in summary.rows}
    assert [row.path for row in summary.rows] == ["own", "own.inner", "own.spare", "a", "b", "a"]
    assert [row.name for row in summary.rows] == ["own", "inner", "spare", "a", "b", "a"]
    assert rows["own"].parameters == 3 and rows["own"].inside == 3 + 84 + 6
    assert rows["own"].parameter_formula == "3*1*1 = 3" and rows["own"].activation_bytes == 4 * 48
    assert rows["own.spare"].note == "not called" and rows["own.spare"].parameters == 6
    first, again = summary.rows[3], summary.rows[5]
    assert again.note == "shared" and again.parameters == 0 and again.macs == first.macs == 144
    assert summary.total_parameters == sum(p.size for p in model.parameters()) == 3 + 84 + 6 + 12
    assert summary.total_macs == 16 * 81 + 2 * 144
    assert summary.output_shape == (3, 4, 4)
    text = summary.to_text()
    assert "not called" in text and "shared" in text


class ByHand(Layer):
    """Products outside any layer."""

    def __init__(self):
        self.filters, self.table = Parameter(np.zeros((4, 3, 3, 3))), Parameter(np.zeros((16, 5)))
        self.inner = ReLU()

    def forward(self, x):
        y = self.inner(ops.conv2d(x, self.filters, stride=2))
        return ops.matmul(ops.flatten(y, 2), self.table[:4])


class Box(Layer):
    """The same as one box."""

    def __init__(self):
        self.weight = Parameter(np.zeros((2, 3)))

    def forward(self, x):
        return ops.linear(x, self.weight)


def test_hand_written_forwards_are_one_row_and_count():
    model = Sequential(ByHand(), Flatten(), Linear(20, 3), Box(), Sequential())
    summary = minicnn.summary(model, (3, 5, 5))
    rows = {row.path: row for row in summary.rows}
    assert rows["0"].macs == 4 * 4 * 27 + 4 * 4 * 5 and rows["0"].parameters == 108 + 80
    assert rows["0"].neurons == 20 and rows["0"].gemm is None and rows["0"].macs_formula == ""
    assert rows["3"].macs == 6 and rows["3"].leaf and rows["0.inner"].macs == 0
    assert summary.total_macs == 432 + 80 + 60 + 6
    assert summary.total_parameters == sum(p.size for p in model.parameters())


def test_a_layer_called_twice_and_weights_that_are_tied():
    class Twice(Layer):
        def __init__(self):
            self.conv = Conv2d(2, 2, 1)
            self.other = Conv2d(2, 2, 1)
            self.other.weight = self.conv.weight

        def forward(self, x):
            return self.other(self.conv(self.conv(x)))

    summary = minicnn.summary(Twice(), (2, 3, 3))
    assert [row.note for row in summary.rows] == ["", "shared", ""]
    assert [row.parameters for row in summary.rows] == [6, 0, 2]
    assert summary.rows[2].parameter_formula == ""  # only the bias is its own
    assert summary.total_parameters == 8 and summary.total_macs == 3 * 36


def test_what_containers_fuse_counts_once():
    norm = Sequential(Conv2d(2, 2, 3, padding=1, bias=False), BatchNorm2d(2))
    summary = minicnn.summary(Residual(norm, after=ReLU()), (2, 4, 4))
    by_kind = {row.kind: row for row in summary.rows}
    assert list(by_kind) == ["Sequential", "Conv2d", "BatchNorm2d", "Add", "ReLU"]
    assert summary.total_parameters == 36 + 4 and summary.total_macs == 36 * 16
    assert summary.activation_bytes == 4 * 32 * 4  # the input, the convolution, the batch norm, the sum


def test_folding_keeps_the_totals():
    for name in ("vgg_d", "googlenet", "lenet5"):
        whole = minicnn.summary(name)
        for depth in (1, 2, 3, 9):
            part = whole.fold(depth)
            assert minicnn.summary(name, depth=depth).to_text() == part.to_text()
            assert max(row.depth for row in part.rows) < depth or not whole.rows
            for total in ("total_parameters", "total_macs", "total_neurons", "activation_bytes", "output_shape"):
                assert getattr(part, total) == getattr(whole, total)
            assert part.largest_activation == whole.largest_activation
        assert whole.fold(9) == whole
    module = {row.path: row for row in minicnn.summary("googlenet").fold(1).rows}["inception3a"]
    # Szegedy et al. 2014, table 1: 64, 96 -> 128, 16 -> 32, 32 filters on 192 channels, with biases
    parameters = 193 * 64 + 193 * 96 + (9 * 96 + 1) * 128 + 193 * 16 + (25 * 16 + 1) * 32 + 193 * 32
    assert module.parameters == parameters == 163_696 and module.note.endswith("layers")
    assert "Concat, " in minicnn.summary("googlenet", depth=1).to_text(120, formulas=False)
    for depth in (0, -1, 1.5, "2", True):
        with pytest.raises(ArgumentError, match="summary: depth is .* at least 1"):
            minicnn.summary("lenet5", depth=depth)


def test_a_summary_leaves_the_model_alone():
    model = Sequential(Conv2d(3, 4, 3), BatchNorm2d(4), ReLU())
    seen = []
    model[0].register_forward_hook(lambda *_: seen.append(1))
    before = {name: values.numpy().copy() for name, values in model.state_dict().items()}
    minicnn.summary(model, (3, 8, 8))
    assert not seen and model.training and len(model[0]._hooks) == 1 and not model[1]._hooks
    assert all((model.state_dict()[name].numpy() == values).all() for name, values in before.items())
    from minicnn.backends.meta import listening

    assert listening.listener is None


def test_graphs_and_joins():
    net = Graph({"a": Conv2d(1, 2, 1), "b": (Conv2d(1, 2, 1), "input"), "sum": (Add(), "a", "b")})
    summary = minicnn.summary(net, (1, 4, 4))
    assert [row.name for row in summary.rows] == ["a", "b", "sum"] and summary.total_macs == 64
    assert summary.rows[2].size_formula == "sum of 2 inputs of 2x4x4"


def test_bad_arguments_are_named():
    with pytest.raises(ArgumentError, match="input_shape is missing"):
        minicnn.summary(Sequential(ReLU()))
    with pytest.raises(ArgumentError, match="must be a Layer or the name"):
        minicnn.summary(3)
    with pytest.raises(ArgumentError, match="did you mean lenet5"):
        minicnn.summary("lenet")
    with pytest.raises(ShapeError, match=r"^pool2 \(MaxPool2d\).*3x227x227"):
        minicnn.summary("alexnet", (3, 32, 32))
