"""Caffe descriptions: initial weights and factors, phases, dialects, and every error. The texts are this test's own."""

import re

import numpy as np
import pytest
from caffe_texts import LENET, conv, data, layer, linear, lrn, numbers, pool, residual
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import minicnn
from minicnn import Tensor, layers, ops, optim
from minicnn.errors import ArgumentError, MinicnnError, ShapeError
from minicnn.io import load_prototxt
from minicnn.io.textformat import parse

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
    ("input_dim: " + "9" * 5000 + "\n", "stands where a number"), ("input_dim: 0x" + "9" * 5000 + "\n", "stands where a number"),
    ("input_dim: 0" + "7" * 5000 + "\n", "stands where a number"), ("a" * 5000 + " 1", "behind aaa"), ("a: 1" + "0" * 5000, "000...' stands"),
    ("a {" * 60, "more than 50 messages lie inside one another"),
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
    assert message in str(caught.value) and len(str(caught.value)) < 1000


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
