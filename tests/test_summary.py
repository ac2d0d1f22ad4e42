"""The summary: counts, formulas, rounding, fields, layers of one's own, and every format."""

import json
import time

import numpy as np
import pytest

import minicnn
from minicnn import ops
from minicnn.errors import ArgumentError, ShapeError
from minicnn.inspect import fields
from minicnn.layers import (
    AdaptiveAvgPool2d,
    BatchNorm2d,
    Concat,
    Conv2d,
    ConvTranspose2d,
    Dropout,
    Flatten,
    GlobalAvgPool2d,
    Identity,
    Layer,
    Linear,
    MaxPool2d,
    Parameter,
    ReLU,
    Residual,
    Sequential,
    default_device,
    trace,
)  # fmt: skip


def vgg16():
    """Configuration D of Simonyan and Zisserman 2014, on the meta device."""
    layers, channels = [], 3
    with default_device("meta"):
        for block in ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512)):
            for filters in block:
                layers += [Conv2d(channels, filters, 3, padding=1), ReLU()]
                channels = filters
            layers.append(MaxPool2d(2))
        head = [
            Flatten(),
            Linear(25088, 4096),
            ReLU(),
            Dropout(),
            Linear(4096, 4096),
            ReLU(),
            Dropout(),
            Linear(4096, 1000),
        ]
        return Sequential({"features": Sequential(*layers), "classifier": Sequential(*head)})


def test_vgg16_to_the_last_digit_in_no_time():
    model = vgg16()
    minicnn.summary(model, (3, 224, 224))
    start = time.perf_counter()
    summary = minicnn.summary(model, (3, 224, 224))
    assert time.perf_counter() - start < 0.5
    assert summary.total_parameters == 138_357_544
    assert summary.total_macs == 15_470_264_320
    assert summary.activation_bytes == 60_950_432
    assert sum(row.activation_bytes for row in summary.rows) + 4 * 3 * 224 * 224 == summary.activation_bytes
    last = [row for row in summary.rows if row.path.startswith("features.")][-1]
    assert last.receptive_field == 212 and last.field.vertical.jump == 32


def test_alexnet_shows_its_arithmetic():
    rows = {row.path: row for row in minicnn.summary("alexnet").rows}
    assert rows["conv1"].size_formula == "(227 + 2*0 - 11)/4 + 1 = 55"
    assert rows["conv1"].parameter_formula == "(11*11*3 + 1)*96 = 34,944"
    assert rows["conv1"].output_shape == (96, 55, 55) and rows["conv1"].input_shape == (3, 227, 227)
    assert rows["conv1"].neurons == 290_400 and rows["conv1"].activation_bytes == 4 * 290_400
    assert rows["relu1"].activation_bytes == 0 and rows["relu1"].size_formula == ""
    assert rows["flatten"].size_formula == "256*6*6 = 9216"
    assert rows["fc6"].parameter_formula == "(9216 + 1)*4096 = 37,752,832"
    assert [rows[name].receptive_field for name in ("conv1", "pool1", "conv2", "pool2", "conv5", "pool5")] == [
        11,
        19,
        51,
        67,
        163,
        195,
    ]


@pytest.mark.parametrize(
    ("layer", "shape", "formula"),
    [
        (MaxPool2d(3, 2), (1, 112, 112), "(112 + 2*0 - 3)/2 + 1 = 55.5, rounded down to 55"),
        (MaxPool2d(3, 2, ceil_mode=True), (1, 112, 112), "(112 + 2*0 - 3)/2 + 1 = 55.5, rounded up to 56"),
        (
            MaxPool2d(2, 2, 1, True),
            (1, 5, 5),
            "(5 + 2*1 - 2)/2 + 1 = 3.5, rounded down to 3 (no window may start in the padding)",
        ),
        (Conv2d(1, 1, 3, padding=(0, 1, 0, 1)), (1, 4, 4), "(4 + 0 + 1 - 3)/1 + 1 = 3"),
        (Conv2d(1, 1, (3, 1)), (1, 5, 5), "(5 + 2*0 - 3)/1 + 1 = 3 by (5 + 2*0 - 1)/1 + 1 = 5"),
        (Conv2d(1, 1, 3, dilation=2), (1, 9, 9), "(9 + 2*0 - 2*(3 - 1) - 1)/1 + 1 = 5"),
        (ConvTranspose2d(1, 1, 3, 2, 1, 1), (1, 4, 4), "(4 - 1)*2 - 2 + 1*(3 - 1) + 1 + 1 = 8"),
        (GlobalAvgPool2d(), (1, 7, 7), "(7 + 2*0 - 7)/7 + 1 = 1"),
        (AdaptiveAvgPool2d(3), (1, 7, 7), ""),
        (Concat(Identity(), Conv2d(2, 3, 1)), (2, 4, 4), "2 + 3 = 5 channels"),
    ],
)
def test_size_formulas(layer, shape, formula):
    row = minicnn.summary(layer, shape).rows[-1]
    assert row.size_formula == formula
    for part in formula.split(" by "):  # the arithmetic is right, not only printed
        left, _, right = part.partition(", rounded")[0].replace(" channels", "").partition(" = ")
        if left:
            assert eval(left) == pytest.approx(float(right))


@pytest.mark.parametrize(
    ("layer", "shape", "formula", "count", "macs"),
    [
        (Conv2d(4, 6, (3, 2), groups=2), (4, 5, 5), "(3*2*2 + 1)*6", 78, 6 * 3 * 4 * 12),
        (Conv2d(4, 6, 3, bias=False), (4, 3, 3), "3*3*4*6", 216, 216),
        (ConvTranspose2d(4, 6, 2, 2), (4, 3, 3), "(2*2*4 + 1)*6", 102, 4 * 9 * 6 * 4),
        (Linear(5, 3), (7, 5), "(5 + 1)*3", 18, 105),
        (BatchNorm2d(8), (8, 3, 3), "2*8", 16, 0),
    ],
)
def test_parameters_and_macs(layer, shape, formula, count, macs):
    (row,) = minicnn.summary(layer, shape).rows
    assert row.parameter_formula == f"{formula} = {count}" and eval(formula) == count == row.parameters
    assert row.macs == macs


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
    assert list(rows) == ["own", "own.inner", "a", "b", "own.spare"] and len(summary.rows) == 6
    assert rows["own"].parameters == 3 and rows["own"].inside == 3 + 84 + 6
    assert rows["own"].parameter_formula == "3*1*1 = 3" and rows["own"].activation_bytes == 4 * 48
    assert rows["own.spare"].note == "not called" and rows["own.spare"].parameters == 6
    again = summary.rows[4]
    assert again.note == "shared" and again.parameters == 0 and again.macs == rows["a"].macs == 144
    assert summary.total_parameters == sum(p.size for p in model.parameters()) == 3 + 84 + 6 + 12


def test_fields_take_the_widest_branch():
    net = Sequential(
        Concat(Conv2d(1, 1, 1), Conv2d(1, 1, (5, 3), padding=(2, 1))),
        Residual(Conv2d(2, 2, 3, padding=1)),
        MaxPool2d(2),
    )
    traced = trace(net, (1, 8, 8))
    by_path = {record.path: field for record, field in zip(traced.records, fields(traced))}
    assert (by_path["0"].vertical.size, by_path["0"].horizontal.size) == (5, 3)
    assert by_path["1"].vertical.size == 7 and by_path[""].vertical.size == 8 and by_path[""].vertical.jump == 2
    assert by_path["2"].vertical.start == 1.0
    assert minicnn.summary(Linear(3, 2), (3,)).rows[0].receptive_field is None


def test_the_table_fits_eighty_columns_and_narrower():
    for name in ("alexnet", "lenet5"):
        summary = minicnn.summary(name)
        assert max(map(len, summary.to_text().splitlines())) <= 80
        assert str(summary) == repr(summary) == summary.to_text()
        assert max(map(len, summary.to_text(64, formulas=False).splitlines()[:-4])) <= 64
    text = minicnn.summary("alexnet").to_text()
    assert "(227 + 2*0 - 11)/4 + 1 = 55" in text and "(11*11*3 + 1)*96 = 34,944" in text and "62,378,344" in text
    assert max(map(len, minicnn.summary(vgg16(), (3, 224, 224)).to_text().splitlines())) <= 80


def test_markdown_latex_html_and_json():
    summary = minicnn.summary("lenet5")
    lines = summary.to_markdown().splitlines()
    assert {line.count("|") for line in lines if line.startswith("|")} == {10}
    latex = summary.to_latex()
    assert latex.count("\\\\") == len(summary.rows) + 1 and "\\begin{tabular}" in latex and "\\end{tabular}" in latex
    html = summary.to_html()
    assert html.count("<tr>") == len(summary.rows) + 2 and summary._repr_html_() == html
    assert "&lt;b&gt;" in minicnn.summary(Sequential({"<b>": ReLU()}), (3,)).to_html()
    data = json.loads(summary.to_json())
    assert data["total_parameters"] == 61_706 and data["rows"][0]["output_shape"] == [6, 28, 28]
    assert data["rows"][0]["size_formula"] == "(32 + 2*0 - 5)/1 + 1 = 28" and len(data["rows"]) == len(summary.rows)


def test_a_summary_leaves_the_model_alone():
    model = Sequential(Conv2d(3, 4, 3), BatchNorm2d(4), ReLU())
    seen = []
    model[0].register_forward_hook(lambda *_: seen.append(1))
    before = {name: values.numpy().copy() for name, values in model.state_dict().items()}
    minicnn.summary(model, (3, 8, 8))
    assert not seen and model.training and len(model[0]._hooks) == 1 and not model[1]._hooks
    assert all((model.state_dict()[name].numpy() == values).all() for name, values in before.items())


def test_bad_arguments_are_named():
    with pytest.raises(ArgumentError, match="input_shape is missing"):
        minicnn.summary(Sequential(ReLU()))
    with pytest.raises(ArgumentError, match="must be a Layer or the name"):
        minicnn.summary(3)
    with pytest.raises(ArgumentError, match="did you mean lenet5"):
        minicnn.summary("lenet")
    with pytest.raises(ShapeError, match=r"^pool2 \(MaxPool2d\).*3x227x227"):
        minicnn.summary("alexnet", (3, 32, 32))
