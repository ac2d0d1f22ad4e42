"""Networks from Caffe descriptions: whole networks against known counts, sizes and divisors against loops.

References: published counts, the zoo's facts, and plain NumPy.
"""

import json
import math
from pathlib import Path

import numpy as np
import pytest
from caffe_texts import LENET, alexnet, conv, data, googlenet, inception, layer, linear, lrn, numbers, pool, residual

import minicnn
from minicnn import Tensor, layers, models, ops
from minicnn.errors import ArgumentError
from minicnn.io import load_prototxt

ZOO = json.loads((Path(__file__).parent / "reference" / "zoo.json").read_text())


# Whole networks


def test_the_deck_s_convolution_works_as_it_is_printed():
    # The example of deck 003.
    text = """
layer {
  name: "conv1"
  type: "Convolution"
  bottom: "data"
  top: "conv1"
  # learning rate and decay multipliers for the filters
  param { lr_mult: 1 decay_mult: 1 }
  # learning rate and decay multipliers for the biases
  param { lr_mult: 2 decay_mult: 0 }
  convolution_param {
    num_output: 96      # learn 96 filters
    kernel_size: 11     # each filter is 11x11
    stride: 4           # step 4 pixels between each filter application
    weight_filler {
      type: "gaussian" # initialize the filters from a Gaussian
      std: 0.01        # distribution with stdev 0.01 (default mean: 0)
    }
    bias_filler {
      type: "constant" # initialize the biases to zero (0)
      value: 0
    }
  }
}
"""
    model = load_prototxt(text, input_shape=(3, 227, 227))
    weight, bias = model.conv1.weight, model.conv1.bias
    assert (weight.lr_mult, weight.decay_mult, bias.lr_mult, bias.decay_mult) == (1, 1, 2, 0)
    assert abs(weight.numpy().std() - 0.01) < 1e-4 and abs(weight.numpy().mean()) < 3e-4 and not bias.numpy().any()
    row = minicnn.summary(model).rows[0]
    assert row.output_shape == (96, 55, 55) and row.parameters == 34_944 and row.macs == 105_415_200
    with pytest.raises(ArgumentError, match=r"line 5: conv1 \(Convolution\): bottom 'data' .* input_shape="):
        load_prototxt(text)


def test_lenet_of_the_examples():
    model = load_prototxt(LENET)
    assert isinstance(model, layers.Sequential) and model.recipe.input_shape == (1, 28, 28)
    assert [name for name, _ in model.named_children()] == [
        "conv1", "pool1", "conv2", "pool2", "ip1_flatten", "ip1", "relu1", "ip2", "prob",
    ]  # fmt: skip
    shapes = {name: p.shape for name, p in model.named_parameters()}
    assert shapes["conv1.weight"] == (20, 1, 5, 5) and shapes["conv2.weight"] == (50, 20, 5, 5)
    assert shapes["ip1.weight"] == (500, 800) and shapes["ip2.weight"] == (10, 500)
    assert sum(p.size for p in model.parameters()) == 431_080
    for name, parameter in model.named_parameters():
        assert parameter.lr_mult == (2 if name.endswith("bias") else 1)
        if name.endswith("weight"):  # Caffe's xavier: uniform with variance 1/fan_in
            bound = math.sqrt(3 / math.prod(parameter.shape[1:]))
            assert 0.9 * bound < np.abs(parameter.numpy()).max() <= bound
    assert minicnn.summary(model).total_macs == 20 * 25 * 24**2 + 50 * 20 * 25 * 8**2 + 800 * 500 + 500 * 10
    np.testing.assert_allclose(model(Tensor(numbers(2, 1, 28, 28))).numpy().sum(1), 1, rtol=1e-5)


def test_alexnet_in_two_groups_is_the_zoo_s():
    text, info = alexnet(), models.info("alexnet_grouped")
    model, twin = load_prototxt(text), models.create("alexnet_grouped")
    summary = minicnn.summary(model)
    assert summary.total_parameters == 60_965_224 == info.parameters and summary.total_macs == info.macs
    theirs = dict(zip(twin.state_dict(), model.state_dict().values()))
    assert all(name.startswith("conv") or name.startswith("fc") for name in model.state_dict())
    twin.load_state_dict(theirs)
    x = Tensor(numbers(1, 3, 227, 227))
    with minicnn.no_grad():
        ours, wanted = model.eval()(x).numpy(), twin.eval()(x).numpy()
    np.testing.assert_allclose(ours, wanted, rtol=1e-5, atol=1e-5 * np.abs(wanted).max())
    assert minicnn.summary(load_prototxt(text, device="meta")).total_parameters == 60_965_224


def test_googlenet_has_the_counts_of_the_zoo():
    model = load_prototxt(googlenet(), device="meta")
    summary, wanted = minicnn.summary(model), ZOO["googlenet"]
    assert isinstance(model, layers.Graph) and model.recipe.input_shape == tuple(wanted["input"])
    assert (summary.total_parameters, summary.total_macs) == (wanted["parameters"], wanted["macs"])
    shapes = {row.path: row.output_shape for row in summary.rows}
    assert shapes["inception_3a_output"] == (256, 28, 28) and shapes["inception_4e_output"] == (832, 14, 14)
    assert shapes["pool4"] == (832, 7, 7) and shapes["prob"] == (1000,)


def test_an_inception_module_computes_what_its_branches_compute():
    widths = (2, 3, 4, 1, 2, 3)
    model = load_prototxt(data(5, 9, 9) + inception("x", "data", widths)).eval()
    x, relu = Tensor(numbers(2, 5, 9, 9)), ops.relu
    one, reduce3, three, reduce5, five, projected = (
        getattr(model, f"inception_x_{end}") for end in ("1x1", "3x3_reduce", "3x3", "5x5_reduce", "5x5", "pool_proj")
    )
    branches = (
        one(x), three(relu(reduce3(x))), five(relu(reduce5(x))), projected(ops.max_pool2d(x, 3, 1, 1)),
    )  # fmt: skip
    np.testing.assert_allclose(model(x).numpy(), ops.cat([relu(b) for b in branches]).numpy(), rtol=1e-5, atol=1e-5)


def test_a_residual_block_merges_batch_norm_and_scale(backend):
    more = "param { lr_mult: 3 decay_mult: 0 } param { lr_mult: 4 decay_mult: 0 }"
    model = load_prototxt(
        residual("bias_term: true filler { value: 2 } bias_filler { value: 0.5 }", "eps: 0.001", more)
    )
    norm = model.bn
    assert type(norm) is layers.BatchNorm2d and norm.eps == 0.001 and norm.momentum == 0.001
    assert not hasattr(model, "scale") and [n for n, _ in model.named_children()] == [
        "res_branch",
        "bn",
        "sum",
        "sum_relu",
    ]
    assert (norm.scale.numpy() == 2).all() and (norm.shift.numpy() == 0.5).all()
    assert (norm.scale.lr_mult, norm.shift.lr_mult, norm.scale.decay_mult) == (3, 4, 0)
    assert sum(p.size for p in model.parameters()) == 4 * 4 * 9 + 2 * 4
    x = Tensor(numbers(3, 4, 6, 6))
    y = model.res_branch(x).numpy()
    for training in (True, False):
        mean, var = (y.mean((0, 2, 3), keepdims=True), y.var((0, 2, 3), keepdims=True)) if training else (0, 1)
        wanted = np.maximum(x.numpy() + (y - mean) / np.sqrt(var + 0.001) * 2 + 0.5, 0)
        model.load_state_dict({"bn.running_mean": np.zeros(4), "bn.running_var": np.ones(4)}, strict=False)
        np.testing.assert_allclose(model.train(training)(x).numpy(), wanted, rtol=1e-4, atol=1e-4)


def test_a_scale_that_cannot_be_merged_is_a_layer():
    plain = load_prototxt(residual("filler { value: 3 }"))  # no bias: one number for each channel
    assert type(plain.scale) is layers.Scale and plain.bn.scale is None and plain.scale.shift is None
    assert (plain.scale.scale.numpy() == 3).all() and sum(p.size for p in plain.parameters()) == 4 * 4 * 9 + 4
    # Another layer reads what lies between, or the two stand apart.
    between = (
        data(4, 6, 6)
        + layer("BatchNorm", "bn", "data")
        + layer("Scale", "s", "bn", None, "scale_param { bias_term: true }")
    )
    both = load_prototxt(between + layer("Eltwise", "sum", ["bn", "s"]))
    assert type(both.s) is layers.Scale and both.s.shift is not None
    alone = load_prototxt(between)  # under names of their own, they are merged all the same
    assert [type(child) for child in alone.children()] == [layers.BatchNorm2d] and alone.bn.shift is not None


def test_global_statistics():
    def norm(inside, phase):
        return load_prototxt(
            data(4, 6, 6) + layer("BatchNorm", "bn", "data", None, f"batch_norm_param {{ {inside} }}"), phase=phase
        ).bn

    assert norm("", "TEST").running_mean is not None and not norm("use_global_stats: true", "TEST").frozen
    assert norm("use_global_stats: false", "TEST").running_mean is None
    assert norm("use_global_stats: true", "TRAIN").frozen and not norm("use_global_stats: false", "TRAIN").frozen
    assert norm("moving_average_fraction: 0.9", "TEST").momentum == 0.1


def resnet50():
    """As its authors released it: a bias in the first convolution, the stride on the 1x1, a pool that rounds up."""

    def unit(name, bottom, filters, window, inside="", relu=True):
        text = conv(name, bottom, filters, window, inside, relu=False)
        text += layer("BatchNorm", f"bn{name}", name, name, "batch_norm_param { use_global_stats: true }")
        text += layer("Scale", f"scale{name}", name, name, "scale_param { bias_term: true }")
        return text + (layer("ReLU", f"relu{name}", name, name) if relu else "")

    text = data(3, 224, 224) + unit("1", "data", 64, 7, "stride: 2 pad: 3") + pool("pool1", "1", 3, 2)
    before = "pool1"
    for stage, (blocks, width) in enumerate(((3, 64), (4, 128), (6, 256), (3, 512)), 2):
        for block in range(blocks):
            n, stride = f"{stage}{'abcdef'[block]}", "stride: 2" if block == 0 and stage > 2 else ""
            shortcut, bias = before, "bias_term: false"
            text += unit(f"{n}_2a", before, width, 1, f"{stride} {bias}") + unit(
                f"{n}_2b", f"{n}_2a", width, 3, f"pad: 1 {bias}"
            )
            text += unit(f"{n}_2c", f"{n}_2b", 4 * width, 1, bias, relu=False)
            if block == 0:
                shortcut = f"{n}_1"
                text += unit(shortcut, before, 4 * width, 1, f"{stride} {bias}", relu=False)
            text += layer("Eltwise", n, [shortcut, f"{n}_2c"]) + layer("ReLU", f"relu{n}", n, n)
            before = n
    return text + pool("pool5", before, 7, 1, kind="AVE") + linear("fc1000", "pool5", 1000)


def test_resnet_50_is_the_zoo_s():
    model, twin = load_prototxt(resnet50()).eval(), models.create("resnet50_caffe").eval()
    summary, wanted = minicnn.summary(model), ZOO["resnet50_caffe"]
    assert (summary.total_parameters, summary.total_macs) == (wanted["parameters"], wanted["macs"])
    theirs = dict(zip(model.state_dict(), twin.state_dict().values(), strict=True))
    random = np.random.default_rng(0)
    for name, values in theirs.items():
        if name.endswith(("running_var", "scale")):
            values.copy_(Tensor(random.uniform(0.5, 1, values.shape)))
    model.load_state_dict(theirs)
    x = Tensor(numbers(1, 3, 224, 224))
    with minicnn.no_grad():
        ours, expected = model(x).numpy(), twin(x).numpy()
    np.testing.assert_allclose(ours, expected, rtol=1e-4, atol=1e-5 * np.abs(expected).max())


def test_they_are_drawn():
    for text, words in ((residual(), ("res_branch", "sum")), (LENET, ("ip1", "prob"))):
        picture = minicnn.inspect.diagram(load_prototxt(text, device="meta"))
        assert all(word in picture.svg for word in words)


# Sizes and divisors


@pytest.mark.parametrize(
    ("size", "window", "stride", "pad", "places"),
    [  # by hand: ceil((size + 2 pad - window)/stride) + 1, less one where the last would start in the padding
        (55, 3, 2, 0, 27), (112, 3, 2, 0, 56), (56, 3, 2, 0, 28), (6, 3, 2, 0, 3), (7, 2, 2, 0, 4), (28, 3, 1, 1, 28),
        (4, 2, 2, 1, 3), (5, 2, 2, 1, 3), (6, 3, 3, 1, 3), (5, 3, 3, 1, 2), (7, 3, 3, 1, 3), (1, 1, 1, 0, 1), (3, 2, 3, 1, 2),
    ],
)  # fmt: skip
def test_pooling_sizes_by_hand(size, window, stride, pad, places):
    for kind in ("MAX", "AVE"):
        model = load_prototxt(
            data(1, size, size) + pool("p", "data", window, stride, f"pad: {pad}", kind), device="meta"
        )
        assert minicnn.summary(model).rows[0].output_shape == (1, places, places)


def caffe_pool(x, window, stride, pad, kind):
    """Pooling of one map as Caffe's loops do it."""
    rows, columns = x.shape
    sizes = []
    for size in x.shape:
        places = math.ceil((size + 2 * pad - window) / stride) + 1
        sizes.append(places - 1 if pad and (places - 1) * stride >= size + pad else places)
    y = np.zeros(sizes)
    for p in range(sizes[0]):
        for q in range(sizes[1]):
            top, left = p * stride - pad, q * stride - pad
            bottom, right = min(top + window, rows + pad), min(left + window, columns + pad)
            divisor = (bottom - top) * (right - left)
            seen = x[max(top, 0) : min(bottom, rows), max(left, 0) : min(right, columns)]
            y[p, q] = seen.sum() / divisor if kind == "AVE" else seen.max()
    return y


@pytest.mark.parametrize("kind", ["MAX", "AVE"])
def test_pooling_is_that_of_caffe_s_loops(kind, backend):
    x = numbers(7, 10)
    for window, stride, pad in ((3, 2, 0), (3, 2, 1), (2, 2, 1), (3, 3, 1), (4, 3, 2), (5, 2, 2), (2, 1, 1), (2, 3, 1)):
        model = load_prototxt(data(1, 7, 10) + pool("p", "data", window, stride, f"pad: {pad}", kind))
        y = model(Tensor(x[None, None])).numpy()[0, 0]
        np.testing.assert_allclose(y, caffe_pool(x, window, stride, pad, kind), rtol=1e-5, atol=1e-6)


def test_other_poolings():
    def pooled(inside, shape=(2, 5, 7)):
        model = load_prototxt(data(*shape) + layer("Pooling", "p", "data", None, f"pooling_param {{ {inside} }}"))
        return model(Tensor(x)).numpy()

    x = numbers(1, 2, 5, 7)
    np.testing.assert_allclose(
        pooled("pool: AVE global_pooling: true"), x.mean((2, 3), keepdims=True), rtol=1e-5, atol=1e-6
    )
    assert (pooled("global_pooling: true") == x.max((2, 3), keepdims=True)).all()
    assert pooled("kernel_h: 2 kernel_w: 3 stride_h: 1 stride_w: 2").shape == (1, 2, 4, 3)
    assert pooled("kernel_size: 2 stride: 2 round_mode: FLOOR").shape == (1, 2, 2, 3)
    assert pooled("kernel_size: 2 pad_w: 1").shape == (1, 2, 4, 8)  # the stride is 1 unless given
    assert pooled("kernel_size: 1 stride: 2 round_mode: FLOOR pool: 1").shape == (1, 2, 3, 4)


def test_convolutions_of_every_form():
    def convolved(inside):
        text = data(4, 11, 13) + layer(
            "Convolution", "c", "data", None, f"convolution_param {{ num_output: 6 {inside} }}"
        )
        return load_prototxt(text).c

    assert convolved("kernel_size: 3 kernel_size: 5").kernel_size == (3, 5)
    c = convolved("kernel_h: 2 kernel_w: 3 pad_h: 1 stride_h: 2 stride_w: 1 dilation: 2 group: 2 bias_term: false")
    assert (c.kernel_size, c.stride, c.padding, c.dilation, c.groups) == ((2, 3), (2, 1), (1, 1, 0, 0), (2, 2), 2)
    assert c.bias is None and convolved("kernel_size: [1, 3] pad: [0, 1] axis: -3 engine: CUDNN").padding == (
        0,
        0,
        1,
        1,
    )


def test_lrn_divides_alpha_by_its_window():
    x = numbers(1, 7, 2, 2)
    y = load_prototxt(data(7, 2, 2) + lrn("n", "data", 3, 0.6, "k: 2"))(Tensor(x)).numpy()
    for c in range(7):
        near = x[:, max(c - 1, 0) : c + 2]
        np.testing.assert_allclose(y[:, c], x[:, c] / (2 + 0.2 * (near**2).sum(1)) ** 0.75, rtol=1e-5)
    defaults = load_prototxt(data(7, 2, 2) + layer("LRN", "n", "data")).n
    assert (defaults.size, defaults.alpha, defaults.beta, defaults.k) == (5, 1, 0.75, 1)


def test_eltwise_concat_and_the_rest():
    x = numbers(2, 3, 4, 4)

    def joined(kind, inside=""):
        text = data(3, 4, 4) + layer("Sigmoid", "a", "data") + layer("TanH", "b", "data")
        return load_prototxt(text + layer(kind, "y", ["a", "b"], None, inside))(Tensor(x)).numpy()

    a, b = 1 / (1 + np.exp(-x)), np.tanh(x)
    for inside, wanted in (
        ("", a + b), ("eltwise_param { operation: SUM coeff: 1 coeff: -0.5 }", a - 0.5 * b),
        ("eltwise_param { operation: PROD }", a * b), ("eltwise_param { operation: MAX }", np.maximum(a, b)),
    ):  # fmt: skip
        np.testing.assert_allclose(joined("Eltwise", inside), wanted, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(joined("Concat"), np.concatenate([a, b], 1), rtol=1e-4, atol=1e-5)
    assert joined("Concat", "concat_param { axis: -1 }").shape == (2, 3, 4, 8)
    assert joined("Concat", "concat_param { concat_dim: 2 }").shape == (2, 3, 8, 4)
    flat = load_prototxt(data(3, 4, 4) + layer("Flatten", "f", "data") + linear("fc", "f", 2, "bias_term: false"))
    assert [type(child).__name__ for child in flat.children()] == ["Flatten", "Linear"] and flat.fc.bias is None
    soft = load_prototxt(data(3, 4, 4) + layer("Softmax", "s", "data", None, "softmax_param { axis: -1 }"))
    assert soft.s.axis == 3
