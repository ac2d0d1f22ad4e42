"""Networks from Caffe descriptions: whole networks against known counts, sizes and divisors against loops, every error.

The descriptions are this test's own. References: published counts, the zoo's facts, and plain NumPy.
"""

import json
import math
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import minicnn
from minicnn import Tensor, layers, models, ops, optim
from minicnn.errors import ArgumentError, MinicnnError, ShapeError
from minicnn.io import load_prototxt
from minicnn.io.textformat import parse

ROOT = Path(__file__).parent.parent
ZOO = json.loads((Path(__file__).parent / "reference" / "zoo.json").read_text())
ZOO = ZOO.get("architectures", ZOO)
LENET = ROOT / "examples" / "lenet.prototxt"


def layer(kind, name, bottom, top=None, inside=""):
    bottoms = "".join(f' bottom: "{one}"' for one in ([bottom] if isinstance(bottom, str) else bottom))
    return f'layer {{ name: "{name}" type: "{kind}"{bottoms} top: "{top or name}" {inside} }}\n'


def data(*shape):
    dims = " ".join(f"dim: {size}" for size in (1, *shape))
    return f'layer {{ name: "data" type: "Input" top: "data" input_param {{ shape {{ {dims} }} }} }}\n'


def conv(name, bottom, filters, window, inside="", relu=True):
    inside = f"convolution_param {{ num_output: {filters} kernel_size: {window} {inside} }}"
    return layer("Convolution", name, bottom, None, inside) + (
        layer("ReLU", f"relu_{name}", name, name) if relu else ""
    )


def pool(name, bottom, window, stride, inside="", kind="MAX"):
    inside = f"pooling_param {{ pool: {kind} kernel_size: {window} stride: {stride} {inside} }}"
    return layer("Pooling", name, bottom, None, inside)


def lrn(name, bottom, size=5, alpha=0.0001, inside=""):
    return layer("LRN", name, bottom, None, f"lrn_param {{ local_size: {size} alpha: {alpha} beta: 0.75 {inside} }}")


def linear(name, bottom, units, inside=""):
    return layer("InnerProduct", name, bottom, None, f"inner_product_param {{ num_output: {units} {inside} }}")


def numbers(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def alexnet():
    """Two groups, normalisation before the pools; the paper's alpha of 1e-4 is 5e-4 over a window of 5, and k is 2."""
    text = data(3, 227, 227)
    text += (
        conv("conv1", "data", 96, 11, "stride: 4")
        + lrn("norm1", "conv1", 5, 0.0005, "k: 2")
        + pool("p1", "norm1", 3, 2)
    )
    text += conv("conv2", "p1", 256, 5, "pad: 2 group: 2") + lrn("norm2", "conv2", 5, 0.0005, "k: 2")
    text += (
        pool("p2", "norm2", 3, 2)
        + conv("conv3", "p2", 384, 3, "pad: 1")
        + conv("conv4", "conv3", 384, 3, "pad: 1 group: 2")
    )
    text += conv("conv5", "conv4", 256, 3, "pad: 1 group: 2") + pool("p5", "conv5", 3, 2)
    for number, before in ((6, "p5"), (7, "fc6")):
        name = f"fc{number}"
        text += linear(name, before, 4096) + layer("ReLU", f"relu{number}", name, name)
        text += layer("Dropout", f"drop{number}", name, name, "dropout_param { dropout_ratio: 0.5 }")
    return 'name: "AlexNet"\n' + text + linear("fc8", "fc7", 1000)


INCEPTION = {  # 1x1, 3x3 reduced, 3x3, 5x5 reduced, 5x5, pool projected
    "3a": (64, 96, 128, 16, 32, 32), "3b": (128, 128, 192, 32, 96, 64), "4a": (192, 96, 208, 16, 48, 64),
    "4b": (160, 112, 224, 24, 64, 64), "4c": (128, 128, 256, 24, 64, 64), "4d": (112, 144, 288, 32, 64, 64),
    "4e": (256, 160, 320, 32, 128, 128), "5a": (256, 160, 320, 32, 128, 128), "5b": (384, 192, 384, 48, 128, 128),
}  # fmt: skip


def inception(name, bottom, widths):
    one, reduce3, three, reduce5, five, projected = widths
    n = f"inception_{name}/"
    text = conv(f"{n}1x1", bottom, one, 1)
    text += conv(f"{n}3x3_reduce", bottom, reduce3, 1) + conv(f"{n}3x3", f"{n}3x3_reduce", three, 3, "pad: 1")
    text += conv(f"{n}5x5_reduce", bottom, reduce5, 1) + conv(f"{n}5x5", f"{n}5x5_reduce", five, 5, "pad: 2")
    text += pool(f"{n}pool", bottom, 3, 1, "pad: 1") + conv(f"{n}pool_proj", f"{n}pool", projected, 1)
    return text + layer("Concat", f"{n}output", [f"{n}{end}" for end in ("1x1", "3x3", "5x5", "pool_proj")])


def googlenet():
    text = (
        data(3, 224, 224)
        + conv("conv1/7x7_s2", "data", 64, 7, "pad: 3 stride: 2")
        + pool("pool1", "conv1/7x7_s2", 3, 2)
    )
    text += lrn("norm1", "pool1") + conv("conv2/3x3_reduce", "norm1", 64, 1)
    text += (
        conv("conv2/3x3", "conv2/3x3_reduce", 192, 3, "pad: 1")
        + lrn("norm2", "conv2/3x3")
        + pool("pool2", "norm2", 3, 2)
    )
    before = "pool2"
    for name, widths in INCEPTION.items():
        text += inception(name, before, widths)
        before = f"inception_{name}/output"
        if name in ("3b", "4e"):
            text += pool(f"pool{name[0]}", before, 3, 2)
            before = f"pool{name[0]}"
    text += pool("pool5", before, 7, 1, kind="AVE") + layer("Dropout", "drop", "pool5", "pool5")
    return text + linear("classifier", "pool5", 1000) + layer("Softmax", "prob", "classifier")


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


def residual(scale="bias_term: true", norm="", more=""):
    scale = f"scale_param {{ {scale} }}"
    norm = f"batch_norm_param {{ {norm} }}"
    text = data(4, 6, 6) + conv("res_branch", "data", 4, 3, "pad: 1 bias_term: false", relu=False)
    text += layer("BatchNorm", "bn", "res_branch", "res_branch", norm)
    text += layer("Scale", "scale", "res_branch", "res_branch", scale + more)
    text += layer("Eltwise", "sum", ["data", "res_branch"]) + layer("ReLU", "sum_relu", "sum", "sum")
    return text


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


# Initial weights, factors, sharing


@pytest.mark.parametrize(
    ("filler", "mean", "std", "most"),
    [
        ('type: "gaussian" std: 0.2 mean: 1', 1, 0.2, None), ('type: "uniform" min: -1 max: 3', 1, 4 / 12**0.5, 3),
        ("value: 0.3", 0.3, 0, None), ('type: "xavier" std: 9', 0, (1 / 100) ** 0.5, (3 / 100) ** 0.5),
        ('type: "xavier" variance_norm: FAN_OUT', 0, (1 / 400) ** 0.5, (3 / 400) ** 0.5),
        ('type: "msra" variance_norm: AVERAGE', 0, (2 / 250) ** 0.5, None), ("", 0, 0, None),
    ],
)  # fmt: skip
def test_fillers(filler, mean, std, most):
    model = load_prototxt(
        data(100) + linear("fc", "data", 400, f"weight_filler {{ {filler} }} bias_filler {{ value: 1 }}")
    )
    weights = model.fc.weight.numpy()
    assert abs(weights.mean() - mean) < 0.02 and abs(weights.std() - std) < 0.01 and (model.fc.bias.numpy() == 1).all()
    assert most is None or np.abs(weights).max() <= most


def test_the_same_seed_gives_the_same_weights():
    minicnn.manual_seed(3)
    first = load_prototxt(LENET).state_dict()
    minicnn.manual_seed(3)
    assert all(
        (values.numpy() == first[name].numpy()).all() for name, values in load_prototxt(LENET).state_dict().items()
    )


def test_the_factors_reach_the_optimizer():
    params = "param { lr_mult: 0.5 decay_mult: 2 } param { lr_mult: 0 }"
    model = load_prototxt(
        data(3) + layer("InnerProduct", "fc", "data", None, f"{params} inner_product_param {{ num_output: 2 }}")
    )
    weight, bias = model.fc.weight.numpy().copy(), model.fc.bias.numpy().copy()
    optimizer = optim.SGD(model.parameters(), lr=0.1, weight_decay=0.01)
    x = numbers(4, 3)
    model(Tensor(x)).sum().backward()
    optimizer.step()
    gradient = np.broadcast_to(x.sum(0), (2, 3))
    np.testing.assert_allclose(
        model.fc.weight.numpy(), weight - 0.05 * (gradient + 0.02 * weight), rtol=1e-5, atol=1e-6
    )
    assert (model.fc.bias.numpy() == bias).all()


def test_parameters_of_one_name_are_one():
    def two(second='param { name: "w" }', units=3):
        text = data(3) + layer(
            "InnerProduct", "a", "data", None, 'param { name: "w" } inner_product_param { num_output: 3 }'
        )
        return load_prototxt(
            text + layer("InnerProduct", "b", "a", None, f"{second} inner_product_param {{ num_output: {units} }}")
        )

    model = two()
    assert model.a.weight is model.b.weight and model.a.bias is not model.b.bias
    assert sum(p.size for p in model.parameters()) == 9 + 3 + 3
    with pytest.raises(ArgumentError, match=r"line 3: b \(InnerProduct\): param 'w' is shared: its shape is"):
        two(units=4)
    with pytest.raises(ArgumentError, match="its lr_mult is 2"):
        two('param { name: "w" lr_mult: 2 }')


# Phases, losses, both dialects

TRAIN_VAL = (
    """
name: "Two phases"
layer { name: "data" type: "Data" top: "data" top: "label" include { phase: TRAIN } transform_param { crop_size: 12 }
        data_param { source: "train" batch_size: 64 backend: LMDB } }
layer { name: "data" type: "Data" top: "data" top: "label" include { phase: TEST } data_param { source: "val" } }
"""
    + conv("conv1", "data", 4, 3)
    + linear("aux", "conv1", 5)
    + layer("SoftmaxWithLoss", "aux_loss", ["aux", "label"], None, "loss_weight: 0.3 include { phase: TRAIN }")
    + linear("fc", "conv1", 5)
    + layer("SoftmaxWithLoss", "loss", ["fc", "label"])
    + layer("Accuracy", "accuracy", ["fc", "label"], None, "include { phase: TEST } accuracy_param { top_k: 2 }")
    + layer("Softmax", "prob", "fc", None, "exclude { phase: TRAIN }")
)


def test_phases():
    test = load_prototxt(TRAIN_VAL, input_shape=(3, 12, 12))
    assert isinstance(test, layers.Sequential)  # the auxiliary scores and the probabilities lead to no loss
    assert [name for name, _ in test.named_children()] == ["conv1", "relu_conv1", "fc_flatten", "fc"]
    train = load_prototxt(TRAIN_VAL, phase="TRAIN", input_shape=(3, 12, 12))
    assert train.recipe.name == "Two phases.prototxt" and train.loss_weights == (1, 0.3)
    x = Tensor(numbers(2, 3, 12, 12))
    assert train.eval()(x).shape == (2, 5)
    main, auxiliary = train.train()(x)
    labels = np.array([1, 4])
    loss = ops.cross_entropy(main, labels) + ops.cross_entropy(auxiliary, labels) * 0.3
    optimizer = optim.SGD(train.parameters(), lr=0.01)
    loss.backward()
    assert all(parameter.grad is not None for parameter in train.parameters())
    optimizer.step()
    with pytest.raises(
        ArgumentError, match=r"line 5: data \(Data\): the file does not say what size 'data' has: give .*input_shape"
    ):
        load_prototxt(TRAIN_VAL)
    with pytest.raises(
        ArgumentError, match=r"line 3: .*input_shape=\(C, 12, 12\)\), or on the command line --input Cx12x12"
    ):
        load_prototxt(TRAIN_VAL, phase="TRAIN")


def test_stages_and_levels():
    def kept(rule, head=""):
        return hasattr(
            load_prototxt(head + data(4) + layer("TanH", "a", "data", "data", rule) + linear("b", "data", 2)), "a"
        )

    for rule, wanted in (
        ('include { stage: "x" }', False), ('include { not_stage: "x" }', True), ("exclude { min_level: 1 }", True),
        ("include { max_level: -1 } include { phase: TEST }", True), ("include { min_level: 0 phase: TRAIN }", False),
    ):  # fmt: skip
        assert kept(rule) == wanted
    assert kept('include { stage: "x" min_level: 2 }', 'state { level: 2 stage: "x" }')


def test_the_old_dialect_gives_the_same_network():
    old = """
input: "data" input_dim: 10 input_dim: 3 input_dim: 8 input_dim: 9
layers { name: "conv1" type: CONVOLUTION bottom: "data" top: "conv1" blobs_lr: 1 blobs_lr: 2 weight_decay: 1
         weight_decay: 0 convolution_param { num_output: 4 kernel_size: 3 } }
layers { name: "relu1" type: RELU bottom: "conv1" top: "conv1" }
layers { name: "pool1" type: POOLING bottom: "conv1" top: "pool1" pooling_param { pool: AVE kernel_size: 3 stride: 2 } }
layers { name: "norm1" type: LRN bottom: "pool1" top: "norm1" lrn_param { alpha: 0.1 } }
layers { name: "fc" type: INNER_PRODUCT bottom: "norm1" top: "fc" inner_product_param { num_output: 5 } }
layers { name: "drop" type: DROPOUT bottom: "fc" top: "fc" }
layers { name: "prob" type: SOFTMAX bottom: "fc" top: "prob" }
"""
    new = data(3, 8, 9) + conv("conv1", "data", 4, 3) + pool("pool1", "conv1", 3, 2, kind="AVE")
    new += layer("LRN", "norm1", "pool1", None, "lrn_param { alpha: 0.1 }")
    new += linear("fc", "norm1", 5) + layer("Dropout", "drop", "fc", "fc") + layer("Softmax", "prob", "fc")
    first, second = load_prototxt(old).eval(), load_prototxt(new).eval()
    assert first.recipe.input_shape == second.recipe.input_shape == (3, 8, 9)
    assert (first.conv1.bias.lr_mult, first.conv1.weight.decay_mult, first.conv1.bias.decay_mult) == (2, 1, 0)
    second.load_state_dict(first.state_dict())
    x = Tensor(numbers(2, 3, 8, 9))
    np.testing.assert_allclose(first(x).numpy(), second(x).numpy(), rtol=1e-6)


def test_every_way_to_name_the_input():
    body = linear("fc", "x", 2)
    for head in (
        'input: "x" input_shape { dim: 1 dim: 4 }', 'input: "x" input_shape: < dim: [1, 4] >',
        'layer { name: "in" type: "Input" top: "x" input_param { shape { dim: 1 dim: 4 } } }',
        'layer { name: "in" type: "Input" top: "x" top: "label" input_param { shape: { dim: 1; dim: 4, } shape { dim: 1 } } }',
    ):  # fmt: skip
        model = load_prototxt(head + "\n" + body)
        assert model.recipe.input_shape == (4,) and model(Tensor(numbers(3, 4))).shape == (3, 2)
    assert load_prototxt('input: "x"\n' + body, input_shape=(7,)).recipe.input_shape == (7,)
    with pytest.raises(ShapeError, match="network.prototxt as it was created takes inputs of 4"):
        load_prototxt('input: "x" input_shape { dim: 1 dim: 4 }\n' + body)(Tensor(numbers(3, 5)))


def test_names_are_made_legal_and_unique():
    text = data(3) + linear("a.b/c", "data", 3) + linear("a_b_c", "a.b/c", 3) + linear("train", "a_b_c", 3)
    text += linear("input", "train", 3) + linear("_order", "input", 3) + linear("é", "_order", 3)
    model = load_prototxt(text)
    assert [name for name, _ in model.named_children()] == ["a_b_c", "a_b_c_2", "train_", "input_", "order", "layer"]


def test_in_place_layers_and_splits():
    text = data(3, 4, 4) + layer("TanH", "t", "data") + layer("Sigmoid", "before", "t") + layer("ReLU", "r", "t", "t")
    text += 'layer { name: "s" type: "Split" bottom: "t" top: "t1" top: "t2" }\n'
    model = load_prototxt(text + layer("Eltwise", "sum", ["before", "t1", "t2"]))
    x = numbers(1, 3, 4, 4)
    tanh = np.tanh(x)
    np.testing.assert_allclose(
        model(Tensor(x)).numpy(), 1 / (1 + np.exp(-tanh)) + 2 * np.maximum(tanh, 0), rtol=1e-4, atol=1e-5
    )
    two = load_prototxt(data(3, 4, 4) + layer("TanH", "a", "data") + layer("Sigmoid", "b", "data"))
    assert two.outputs == ("a", "b")
    silent = (
        data(3, 4, 4)
        + layer("TanH", "a", "data")
        + layer("Sigmoid", "b", "data")
        + 'layer { type: "Silence" bottom: "a" }'
    )
    assert [name for name, _ in load_prototxt(silent).named_children()] == ["b"]


# Files, the command line, what is wrong


def test_files(tmp_path):
    path = tmp_path / "small.prototxt"
    path.write_text("\ufeff" + data(3) + linear("fc", "data", 2), encoding="utf-8")
    for given_path in (path, str(path)):
        assert load_prototxt(given_path).recipe.name == "small.prototxt"
    path.write_text(data(3) + "\n\nlayer { }")
    with pytest.raises(ArgumentError, match=re.escape(f"{path}, line 4: a layer: type is missing")):
        load_prototxt(path)
    for wrong, text in (
        (tmp_path / "none.prototxt", "no such file"), (tmp_path, "cannot be read"), ("", "must be a path"),
        (None, "must be a path"), ("\0", "cannot be read|no such file"),
    ):  # fmt: skip
        with pytest.raises(ArgumentError, match=text):
            load_prototxt(wrong)
    (tmp_path / "net.caffemodel").write_bytes(b"\x0a\xff\xfe")
    with pytest.raises(ArgumentError, match="weights in a .caffemodel are not read"):
        load_prototxt(tmp_path / "net.caffemodel")
    with pytest.raises(ArgumentError, match="phase is 'train'"):
        load_prototxt(path, phase="train")
    with pytest.raises(ArgumentError, match="input_shape is"):
        load_prototxt(path, input_shape=(3, 0))


def test_the_command_line_shows_a_description(capsys):
    from minicnn.cli import app

    def call(*arguments):
        with pytest.raises(SystemExit) as left:
            app(["summary", *map(str, arguments)])
        return left.value.code or 0, *capsys.readouterr()

    status, out, _ = call(LENET)
    assert status == 0 and "431,080" in out and "input 1x28x28" in out and "(28 + 2*0 - 5)/1 + 1 = 24" in out
    status, out, _ = call(LENET, "--input", "1x32x32")
    assert status == 0 and "input 1x32x32" in out
    status, _, error = call("nowhere.prototxt")
    assert status == 1 and error == "error: nowhere.prototxt: there is no such file\n"


WRONG = [
    # the format
    ('name: "a', "line 1: '\"a' cannot be read: a string ends on the line"),
    ("a\n@", "line 2: '@' cannot be read"), ("layer {\n\n", "line 1: a bracket is opened here and never closed"),
    ("}\n", "line 1: '}' stands where the name of a field must be"), ("layer { > }", "'>' stands where"),
    ("name \n 3", "'3' stands where ':' or '{' behind name must be"), ("name: \n}", "line 2: '}' stands where the value of name"),
    ("input_dim: [1 2]\n", "'2' stands where ',' or ']' must be"), ("input_dim: 12a\n", "cannot be read"),
    ("input_dim: -x\n", "'x' stands where a number must be"), ("input_dim: 089\n", "'089' stands where a number"),
    ("input_dim: " + "9" * 5000 + "\n", "stands where a number"), ("a {" * 60, "more than 50 messages lie inside one another"),
    # fields
    ('name: "x"\nname: "y"', "line 2: name is given twice in the network"), ("name: x\n", "name is x: it must be a string in quotes"),
    ('nam: "x"\n', "the network has no field 'nam': did you mean name?"), ('net: "x"\n', "describes a solver"),
    ("input_dim: 1.5\n", "input_dim is 1.5: it must be a whole number"), ("input_dim: 0\n", "input_dim is 0: it must be at least 1"),
    ("input_dim: 0xffffffff\n", "it must be at most 2147483647"), ("layer: 3\n", "layer is 3: it must be a message"),
    ("\nforce_backward: 2\n", "force_backward is 2: it must be true or false"), ("\n", "line 1: there are no layers"),
    ('layer { type: RELU }', "type is RELU: it must be a string in quotes"),
    ('layers { type: "ReLU" }', 'type is "ReLU": it must be a word without quotes'),
    ('layer { type: "ReLU" }\nlayers { type: RELU }', "line 2: a network is written with `layer` or with `layers`"),
    ('layer { name: "a" include { phase: TRAIN } }', "type is missing"),
    ('layer { name: "a" type: "ReLU" include { } exclude { } }', r"a (ReLU): a layer has include or exclude, not both"),
    ('layer { name: "a" type: "ReLU" include { phase: 3 } }', "phase is 3: it must be one of TRAIN, TEST"),
    ('layer { name: "a" type: "ReLU" param { share_mode: PERMISSIVE } }', "share_mode is PERMISSIVE"),
    ('layer { name: "a" type: "ReLU" param { lr_mult: -1 } }', "lr_mult is -1: it must be at least 0"),
    ('layer { name: "a" type: "ReLU" include { phase: TRAIN } }', "no layer computes an output in phase TEST"),
    ('input: "a" input_dim: 3\n', "input_dim is given 1 times: each of the 1 inputs needs four"),
    ('input: "a" input_shape { dim: 1 } input_shape { dim: 1 }\n', "input_shape is given 2 times"),
    ('input: "a" input_shape { dim: 1 } input_dim: 1\n', "both given"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "message"), WRONG)
def test_a_broken_text_is_refused_with_its_line(text, message):
    if "layer" not in text and "\n" not in text:
        text += "\n"
    if message.startswith("input_") or "both given" in message:
        text += 'layer { name: "r" type: "ReLU" bottom: "a" top: "r" }'
    with pytest.raises(ArgumentError, match=r"^the description, line \d+: ") as caught:
        load_prototxt(text)
    assert message in str(caught.value)


BODY = [
    # layers and what they read
    ('layer { name: "a" type: "Deconvolution" }', "a (Deconvolution): a layer of type 'Deconvolution' is not known: did you mean Convolution?"),
    ('layer { name: "a" type: "PReLU" }', "'PReLU' is not known: did you mean ReLU? the known ones are Accuracy, BatchNorm"),
    ("layers { name: 'a' type: BNLL }", "'BNLL' is not known: the known ones"),
    (layer("ReLU", "r", "dat"), "r (ReLU): bottom 'dat' is the top of no layer before it: did you mean 'data'?"),
    (layer("ReLU", "r", "s") + layer("ReLU", "s", "data"), "bottom 's' is the top of no layer before it: line 3 makes it"),
    (layer("ReLU", "r", "data", "r", "include { phase: TRAIN }") + layer("ReLU", "s", "r"), "is left out in this phase: try phase='TRAIN'"),
    (layer("ReLU", "r", "data") + layer("TanH", "r", "data"), "top 'r' is made in line 2 already"),
    ('layer { name: "r" type: "ReLU" top: "r" }', "bottom is missing: a layer of type ReLU has exactly 1"),
    ('layer { name: "r" type: "ReLU" bottom: "data" }', "top is missing"),
    (layer("Eltwise", "e", "data"), "bottom is given 1 times: a layer of type Eltwise has at least 2"),
    (layer("ReLU", "r", ["data", "data"]), "bottom is given 2 times"),
    (layer("SoftmaxWithLoss", "l", ["data", "data"]), "its bottom is the network's input"),
    (layer("Input", "i", [], "i") + layer("Eltwise", "e", ["data", "i"]), "bottom 'i' is a second input, of line 2"),
    ('layer { name: "i" type: "Input" }', "top is missing: name what the layer brings"),
    ('layer { name: "i" type: "Input" top: "i" input_param { shape { dim: 1 } shape { dim: 1 } } }', "there are 2 shapes and 1 tops"),
    (layer("ReLU", "r", "data") + layer("Accuracy", "acc", ["r", "data"]) + layer("ReLU", "s", "acc"), "it comes from a layer of type Accuracy"),
    (layer("Accuracy", "acc", ["r", "label"]), "bottom 'r' is the top of no layer"),
    # sizes
    (conv("c", "data", 4, 11, relu=False), "c (Convolution): Conv2d: conv2d: a 11x11 window does not fit a 8x8 map"),
    (linear("f", "data", 4) + conv("c", "f", 4, 1), "bottom is of shape (4,): it must be maps, (C, H, W)"),
    (conv("c", "data", 5, 1, relu=False) + layer("Eltwise", "e", ["c", "data"]), "e (Eltwise): Add: the inputs have shapes (1, 5, 8, 8), (1, 3, 8, 8)"),
    (conv("c", "data", 5, 2, relu=False) + layer("Concat", "e", ["c", "data"]), "e (Concat): Cat: cat: shapes"),
    (conv("c", "data", 2147483647, 9, "pad: 2147483647 kernel_size: 2147483647"), "line 2: c (Convolution)"),
    (linear("f", "data", 2147483647) + linear("g", "f", 2147483647), "g (InnerProduct): the layer would have 4,611"),
    # the fields of each kind
    (conv("c", "data", 4, 0), "kernel_size is 0: it must be at least 1"), (conv("c", "data", 0, 1), "num_output is 0"),
    (layer("Convolution", "c", "data"), "num_output is missing in convolution_param: give it, such as num_output: 96"),
    (layer("Convolution", "c", "data", None, "convolution_param { num_output: 1 }"), "kernel_size is missing"),
    (conv("c", "data", 4, 1, "kernel_h: 1"), "kernel_h and kernel_size are both given"),
    (layer("Convolution", "c", "data", None, "convolution_param { num_output: 1 kernel_h: 1 }"), "kernel_h is given and kernel_w is missing"),
    (conv("c", "data", 4, 1, "stride: [1, 1, 1]"), "stride is given 3 times"), (conv("c", "data", 4, 1, "group: 2"), "group is 2: it must divide the 3"),
    (conv("c", "data", 4, 1, "axis: 2"), "axis is 2: only 1"), (conv("c", "data", 4, 1, "axis: 9"), "axis is 9: the input has 4 axes"),
    (conv("c", "data", 4, 1, "kernal: 3"), "c (Convolution): convolution_param has no field 'kernal': did you mean kernel_"),
    (conv("c", "data", 4, 1, "weight_filler { type: 'bilinear' }"), "kind is 'bilinear': it must be one of constant, gaussian"),
    (conv("c", "data", 4, 1, "bias_filler { type: 'xavier' }"), "it must be (out, in)"),
    (conv("c", "data", 4, 1, "weight_filler { sparse: 3 }"), "sparse is 3"),
    (conv("c", "data", 4, 1, "weight_filler { type: 'gaussian' std: -1 }"), "std is -1"),
    (conv("c", "data", 4, 1, "weight_filler { std: nan }"), "std is nan: it must be a number"), (conv("c", "data", 4, 1, "weight_filler { std: 1e999 }"), "std is inf: it must be finite"),
    (conv("c", "data", 4, 1, "bias_term: 2"), "bias_term is 2: it must be true or false"),
    (layer("ReLU", "r", "data", None, "param { }"), "param is given 1 times: the layer has 0 parameters"),
    (layer("ReLU", "r", "data", None, "relu_param { negative_slope: 0.1 }"), "negative_slope is 0.1: only 0"),
    (layer("ReLU", "r", "data", None, "convoluton_param { }"), "layer has no field 'convoluton_param': did you mean convolution_param?"),
    (layer("LRN", "n", "data", None, "lrn_param { norm_region: WITHIN_CHANNEL }"), "norm_region is WITHIN_CHANNEL: only ACROSS_CHANNELS is known"),
    (lrn("n", "data", 4), "local_size is 4: it must be odd"), (lrn("n", "data", 3, 0.1, "k: 0"), "k is 0.0: it must be positive"),
    (pool("p", "data", 3, 2, kind="STOCHASTIC"), "pool is STOCHASTIC: only MAX and AVE"), (pool("p", "data", 3, 2, kind="MIN"), "pool is MIN: it must be one of MAX, AVE"),
    (pool("p", "data", 1, 8, "pad: 2"), "at most half the 1x1 window"), (pool("p", "data", 1, 3, "round_mode: 1 global_pooling: true"), "kernel_size is given beside global_pooling"),
    (layer("Pooling", "p", "data", None, "pooling_param { global_pooling: true stride: 2 }"), "global_pooling has no stride"),
    (layer("Pooling", "p", "data", None, "pooling_param { }"), "kernel_size is missing in pooling_param"),
    (pool("p", "data", 1, 2), "would at last start outside the map of 8, and see nothing: give round_mode: FLOOR"),
    (layer("Dropout", "d", "data", None, "dropout_param { dropout_ratio: 1 }"), "dropout_ratio is 1: it must be less than 1"),
    (layer("Dropout", "d", "data", None, "dropout_param { scale_train: false }"), "scale_train is false"),
    (layer("Concat", "c", "data", None, "concat_param { axis: 0 }"), "axis is 0, the batch"), (layer("Concat", "c", "data", None, "concat_param { axis: 1 concat_dim: 1 }"), "both given"),
    (layer("Eltwise", "e", ["data", "data"], None, "eltwise_param { coeff: 1 }"), "coeff is given 1 times: there are 2 bottoms"),
    (layer("Eltwise", "e", ["data", "data"], None, "eltwise_param { operation: MAX coeff: 1 coeff: 1 }"), "only a SUM has coefficients"),
    (layer("Flatten", "f", "data", None, "flatten_param { axis: 2 }"), "axis is 2: only all axes behind the batch"),
    (linear("f", "data", 2, "axis: 2"), "axis is 2: only 1"), (linear("f", "data", 2, "transpose: true"), "transpose is true"),
    (layer("Softmax", "s", "data", None, "softmax_param { axis: 4 }"), "axis is 4: the input has 4 axes"),
    (layer("BatchNorm", "b", "data", None, "batch_norm_param { moving_average_fraction: 2 }"), "it must be in 0 .. 1"),
    (layer("BatchNorm", "b", "data", None, "param { } " * 4), "param is given more than three times"),
    (layer("Scale", "s", "data", None, "scale_param { axis: 2 }"), "axis is 2: only 1"), (layer("Scale", "s", "data", None, "scale_param { num_axes: 2 }"), "num_axes is 2: only 1"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "message"), BODY)
def test_a_wrong_layer_is_refused_with_its_line_and_name(text, message):
    head = data(3, 8, 8) if "layers" not in text else 'input: "data" input_dim: [1, 3, 8, 8]\n'
    with pytest.raises(ArgumentError) as caught:
        load_prototxt(head + text, device="meta")
    assert message in str(caught.value) and re.match(r"the description, line [2-5]: \w+ \(\w+\): ", str(caught.value))


def test_inputs_beyond_all_bounds_are_refused():
    with pytest.raises(ArgumentError, match="the limit is"):
        load_prototxt(data(*[2147483647] * 3) + layer("ReLU", "r", "data"))


def test_the_text_format():
    message = parse(
        'a: \'x\\n\\x41\\101"\' "y" b: -1.5e2f, c < d: .5; > e: [TRUE, 0x1F, 010] f [{}, {g: - 3}] # end', "text"
    )
    values = [(name, value.kind, value.data) for name, value in message.fields if value.kind != "message"]
    assert values == [
        ("a", "string", 'x\nAA"y'), ("b", "number", -150.0), ("e", "word", "TRUE"), ("e", "number", 31), ("e", "number", 8),
    ]  # fmt: skip
    inner = {name: value.data.fields for name, value in message.fields if value.kind == "message"}
    assert inner["c"][0][1].data == 0.5 and inner["f"][0][1].data == -3 and parse("", "text").fields == []


# No text whatever may raise another exception than the library's

PIECES = re.findall(r'"[^"]*"|\w+|[^\w\s]|\n', TRAIN_VAL + residual())[:400] + [
    "[", "]", "<", ">", "'", '"', "\\", "-", "-1", "0", "1e999", "0x7fffffff", "9" * 30, "nan", "#", "layers", "CONVOLUTION",
    "\x00", "é", "{", "}", "param", "input_shape", "group: 2", "global_pooling: true", '"Scale"', '"BatchNorm"', "\r",
]  # fmt: skip
FUZZ = settings(
    max_examples=150, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True, database=None
)


def refused_or_built(text):
    try:
        model = load_prototxt(text + "\n", input_shape=(3, 12, 12), device="meta")
    except MinicnnError as error:
        assert str(error)
    else:
        assert minicnn.summary(model).rows


@FUZZ
@given(st.text(max_size=200) | st.lists(st.sampled_from(PIECES), max_size=60).map(" ".join))
def test_any_text_is_refused_or_built(text):
    refused_or_built(text)


@FUZZ
@given(st.data())
def test_any_change_to_a_description_is_refused_or_built(draw):
    text = draw.draw(st.sampled_from([TRAIN_VAL, residual("bias_term: true", "eps: 0.1"), LENET.read_text()]))
    pieces = re.findall(r'"[^"]*"|[\w.]+|[^\w\s]|\s+', text)
    for _ in range(draw.draw(st.integers(1, 3))):
        place = draw.draw(st.integers(0, len(pieces) - 1))
        pieces[place] = draw.draw(
            st.sampled_from(["", *PIECES, pieces[place] * 2, *pieces[:: max(1, len(pieces) // 50)]])
        )
    refused_or_built("".join(pieces))
