"""Inception networks and Xception: the sizes of the papers' tables, auxiliary classifiers, options, and modules as data."""

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

import minicnn
from minicnn import Tensor, models, ops
from minicnn.errors import ArgumentError, ShapeError
from minicnn.layers import AvgPool2d, BatchNorm2d, Concat, Conv2d, Linear, MaxPool2d, Residual, Sequential, trace
from minicnn.models.inception import Stack

REFERENCE = Path(__file__).parent / "reference"
ZOO = json.loads((REFERENCE / "zoo.json").read_text())
TABLES = json.loads((REFERENCE / "layer_tables.json").read_text())

STAGES = {  # (channels, side) of the maps, from the papers' tables and figures
    "googlenet": {
        "conv1": (64, 112), "pool1": (64, 56), "conv2": (192, 56), "pool2": (192, 28), "inception3a": (256, 28),
        "inception3b": (480, 28), "pool3": (480, 14), "inception4a": (512, 14), "inception4d": (528, 14),
        "inception4e": (832, 14), "pool4": (832, 7), "inception5a": (832, 7), "inception5b": (1024, 7), "pool": (1024, 1),
    },
    "googlenet_torchvision": {"inception3a": (256, 28), "pool4": (832, 7), "inception5b": (1024, 7)},
    "bn_inception": {
        "inception3a": (256, 28), "inception3b": (320, 28), "inception3c": (576, 14), "inception4a": (576, 14),
        "inception4d": (576, 14), "inception4e": (1024, 7), "inception5b": (1024, 7),
    },
    "bn_inception_caffe": {"inception4c": (608, 14), "inception4d": (608, 14), "inception4e": (1056, 7)},
    "inception_v3": {
        "conv1": (32, 149), "conv2": (32, 147), "conv3": (64, 147), "pool1": (64, 73), "conv4": (80, 73),
        "conv5": (192, 71), "pool2": (192, 35), "inception_a1": (256, 35), "inception_a3": (288, 35),
        "reduction_a": (768, 17), "inception_b4": (768, 17), "reduction_b": (1280, 8), "inception_c2": (2048, 8),
    },
    "inception_v4": {
        "stem1": (160, 73), "stem2": (192, 71), "stem3": (384, 35), "inception_a4": (384, 35), "reduction_a": (1024, 17),
        "inception_b7": (1024, 17), "reduction_b": (1536, 8), "inception_c3": (1536, 8), "pool": (1536, 1),
    },
    "inception_resnet_v1": {
        "conv6": (256, 35), "inception_a5": (256, 35), "reduction_a": (896, 17), "inception_b10": (896, 17),
        "reduction_b": (1792, 8), "inception_c5": (1792, 8),
    },
    "inception_resnet_v2_paper": {
        "stem3": (384, 35), "inception_a5": (384, 35), "reduction_a": (1152, 17), "inception_b10": (1152, 17),
        "reduction_b": (2144, 8), "inception_c5": (2144, 8),
    },
    "inception_resnet_v2_slim": {
        "stem": (320, 35), "inception_a10": (320, 35), "reduction_a": (1088, 17), "inception_b20": (1088, 17),
        "reduction_b": (2080, 8), "inception_c10": (2080, 8), "conv_last": (1536, 8),
    },
    "xception": {
        "conv1": (32, 149), "conv2": (64, 147), "block1": (128, 74), "block2": (256, 37), "block3": (728, 19),
        "block11": (728, 19), "block12": (1024, 10), "sep3": (1536, 10), "sep4": (2048, 10), "pool": (2048, 1),
    },
}  # fmt: skip


def traced(name):
    return trace(models.create(name, device="meta"), models.info(name).input_shape).records


def on_meta(*shape):
    return ops.broadcast_to(Tensor(np.zeros((1,) * len(shape), np.float32)).to("meta"), shape)


def images(size, count=2):
    return Tensor(np.random.default_rng(0).standard_normal((count, 3, size, size)).astype(np.float32))


@pytest.mark.parametrize("name", STAGES)
def test_the_maps_have_the_sizes_of_the_paper(name):
    shapes = {record.path: record.output for record in traced(name)}
    for stage, (channels, side) in STAGES[name].items():
        assert shapes[stage] == (channels, side, side), stage


def kind(layer, record):
    """What the reference's tables say about a layer; None for what they leave out."""
    if isinstance(layer, Conv2d):
        macs = layer.macs(record.input, record.output)
        top, _, left, _ = layer.padding
        return "conv", *layer.kernel_size, *layer.stride, top, left, layer.in_channels, *record.output, macs
    if isinstance(layer, (MaxPool2d, AvgPool2d)):
        name = "maxpool" if isinstance(layer, MaxPool2d) else "avgpool"
        return name, *layer.kernel_size, *layer.stride, *record.output
    return ("fc", layer.in_features, layer.out_features) if isinstance(layer, Linear) else None


def row(entry):
    out = entry["out"]
    if entry["type"] == "conv":
        pad = [int(side) for side in entry["pad"].strip("()").split(", ")]
        return "conv", *entry["k"], *entry["s"], pad[0], pad[-1], entry["cin"], *out, entry["macs"]
    if entry["type"] == "fc":
        return "fc", entry["cin"], out[0]
    return (entry["type"], entry["k"], entry["k"], entry["s"], entry["s"], *out) if entry["type"] != "gap" else None


@pytest.mark.parametrize("name", ["googlenet_aux", "bn_inception", "inception_resnet_v1", "inception_resnet_v2_paper"])
def test_the_layers_are_those_of_the_reference(name):
    own = Counter(filter(None, (kind(record.layer, record) for record in traced(name))))
    assert own == Counter(filter(None, map(row, TABLES[name])))


def test_the_rows_of_googlenets_table():
    summary = minicnn.summary("googlenet")
    for name, facts in ZOO["googlenet"]["table1"].items():
        prefix = {"linear": "fc"}.get(name, name if name.startswith("conv") else f"inception{name}")
        rows = [r for r in summary.rows if r.leaf and r.path.split(".")[0].removesuffix("_reduce") == prefix]
        weights = sum(r.parameters - r.output_shape[0] for r in rows if r.parameters)  # without biases
        assert (weights, sum(r.macs for r in rows)) == (facts["weights"], facts["macs"]), name


def test_the_modules_of_the_lectures():
    naive, bottleneck = traced("inception_naive"), traced("inception_bottleneck")
    assert naive[0].output == (672, 28, 28) and bottleneck[0].output == (480, 28, 28)
    macs = {record.path: record.layer.macs(record.input, record.output) for record in bottleneck}
    assert macs["3x3.3x3.conv"] == 86_704_128  # what the slide counts twice
    assert sum(macs.values()) + macs["3x3.3x3.conv"] == 358_055_936
    small = models.create("inception_bottleneck", in_channels=6, filters=(1, 2, 3, 4, 5, 6))
    assert small(Tensor(np.ones((2, 6, 4, 4), np.float32))).shape == (2, 1 + 3 + 5 + 6, 4, 4)
    assert models.create("inception_naive", in_channels=4, filters=(1, 2, 3))(on_cpu(2, 4, 5, 5)).shape == (2, 10, 5, 5)


def on_cpu(*shape):
    return Tensor(np.random.default_rng(1).standard_normal(shape).astype(np.float32))


# Auxiliary classifiers


@pytest.mark.parametrize(("name", "heads"), [("googlenet", 2), ("googlenet_torchvision", 2), ("inception_v3", 1)])
def test_auxiliary_classifiers_answer_in_training_only(name, heads):
    model = models.create(f"{name}_aux", device="meta", num_classes=7)
    x = on_meta(2, *models.info(name).input_shape)
    assert [y.shape for y in model(x)] == [(2, 7)] * (1 + heads)
    assert model.eval()(x).shape == (2, 7)
    assert model.train()(x)[0].shape == (2, 7)
    extra = model.state_dict().keys() - models.create(name, device="meta").state_dict().keys()
    assert {path.split(".")[0] for path in extra} == ({"aux"} if heads == 1 else {"aux1", "aux2"})


def test_in_use_a_network_with_heads_is_the_one_without():
    first = models.create("googlenet_torchvision_aux", num_classes=5).eval()
    second = models.create("googlenet_torchvision", num_classes=5).eval()
    loaded = second.load_state_dict(first.state_dict(), strict=False)
    assert not loaded.missing and all(name.startswith("aux") for name in loaded.unexpected)
    x = images(64)
    with minicnn.no_grad():
        assert (first(x).numpy() == second(x).numpy()).all()


def test_the_heads_read_the_modules_that_the_paper_names_and_send_gradients_there():
    model = models.create("googlenet_torchvision_aux", num_classes=5)
    labels = Tensor(np.arange(2))
    _, aux1, aux2 = model(images(64))
    heads = ((aux1, "inception4a", "inception4b"), (aux2, "inception4d", "inception4e"))
    for head, reached, not_reached in heads:
        model.zero_grad()
        ops.cross_entropy(head, labels).backward(retain_graph=True)
        assert all(p.grad is not None and p.grad.numpy().any() for p in getattr(model, reached).parameters())
        assert all(p.grad is None for p in getattr(model, not_reached).parameters())
        assert all(p.grad is None for p in model.fc.parameters())


@pytest.mark.parametrize("name", ["googlenet_aux", "inception_v3_aux"])
def test_in_training_an_input_too_small_for_the_heads_is_refused_with_the_right_size(name):
    size = models.info(name).input_shape[1]
    model = models.create(name, device="meta")
    with pytest.raises(ShapeError) as caught:
        model(on_meta(2, 3, 96, 96))
    message = str(caught.value)
    assert message.startswith("aux") and message.endswith(f"{size}x{size}") and "\n" not in message
    assert model.eval()(on_meta(2, 3, 96, 96)).shape == (2, 1000)


# Details that counts do not see: stored logits cover the networks of torchvision and timm, not the others


@pytest.mark.parametrize(
    ("name", "eps", "count_pad"),
    [
        ("bn_inception", 1e-3, False), ("bn_inception_caffe", 1e-5, True), ("inception_v3", 1e-3, True),
        ("inception_v4", 1e-3, False), ("inception_resnet_v1", 1e-3, None), ("inception_resnet_v2_slim", 1e-3, False),
    ],
)  # fmt: skip
def test_batch_norms_and_average_pools(name, eps, count_pad):
    layers = [layer for _, layer in models.create(name, device="meta").named_layers()]
    assert {layer.eps for layer in layers if isinstance(layer, BatchNorm2d)} == {eps}
    pads = {layer.count_include_pad for layer in layers if isinstance(layer, AvgPool2d)}
    assert pads == (set() if count_pad is None else {count_pad})


def test_the_paper_network_normalises_as_caffe_does_and_with_batch_norm_not_at_all():
    model = models.create("googlenet", device="meta")
    norm = model["norm1"]
    assert (norm.size, norm.alpha, norm.beta, norm.k, norm.alpha_over_size) == (5, 1e-4, 0.75, 1.0, True)
    names = list(dict(model.named_children()))
    assert names[:7] == ["conv1", "pool1", "norm1", "conv2_reduce", "conv2", "norm2", "pool2"]
    normed = models.create("googlenet", device="meta", batch_norm=True)
    assert "norm1" not in dict(normed.named_children()) and normed["conv1"]["conv"].bias is None
    assert normed["inception3a"]["5x5"]["5x5"]["conv"].kernel_size == (5, 5)


def test_residuals_are_scaled_and_the_last_released_one_is_linear():
    def blocks(**options):
        model = models.create("inception_resnet_v2_slim", device="meta", blocks=(1, 1, 2), **options)
        found = [layer for layer in model if isinstance(layer, Residual)]
        return [(b.add.coefficients and b.add.coefficients[0], "after" in dict(b.named_children())) for b in found]

    assert blocks() == [(0.17, True), (0.1, True), (0.2, True), (None, False)]
    assert blocks(scale=0.3) == [(0.3, True), (0.3, True), (0.3, True), (None, False)]
    paper = models.create("inception_resnet_v1", device="meta", scale=(0.1, 0.2, 0.3))
    assert paper["inception_c5"].add.coefficients == (0.3, 1.0) and isinstance(
        paper["inception_c5"].after, minicnn.layers.ReLU
    )


def test_a_residual_of_scale_zero_passes_its_input_on():
    model = models.create("inception_resnet_v1", scale=0.0, num_classes=3).eval()
    x = on_cpu(1, 256, 5, 5)
    with minicnn.no_grad():
        assert (model["inception_a1"](x).numpy() == np.maximum(x.numpy(), 0)).all()


def test_xceptions_shortcuts_see_the_input_before_its_relu():
    model = models.create("xception", num_classes=3, middle=1).eval()
    block = model["block4"]
    for layer in (block.body["bn3"].scale, block.body["bn3"].shift):
        layer.data[...] = 0
    x = on_cpu(1, 728, 3, 3)
    with minicnn.no_grad():
        assert (block(x).numpy() == x.numpy()).all()
    assert [name for name, _ in model["block1"].body.named_children()] == [
        "sep1",
        "bn1",
        "relu2",
        "sep2",
        "bn2",
        "pool",
    ]
    assert model["block5"].body["sep1"]["pointwise"].out_channels == 728  # the last block widens late


# Options


@pytest.mark.parametrize(
    ("name", "options", "shape"),
    [
        ("inception_v4", {"blocks": (1, 1, 1)}, (3, 75, 75)),
        ("inception_resnet_v1", {"blocks": [1, 2, 1]}, (3, 75, 75)),
        ("xception", {"middle": 0}, (3, 32, 32)),
        ("bn_inception", {"caffe": True, "separable": True}, (3, 64, 64)),
        ("googlenet", {"batch_norm": True, "separable": True}, (3, 64, 64)),
    ],
)
def test_smaller_networks_of_the_same_plan_learn(name, options, shape):
    model = models.create(name, num_classes=4, dropout=0.0, **options)
    optimizer = minicnn.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    x, labels = on_cpu(4, *shape), Tensor(np.arange(4))
    losses = []
    for _ in range(6):
        loss = ops.cross_entropy(model(x), labels)
        losses.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert losses[0] < 3 and min(losses[1:]) < 0.8 * losses[0]


@pytest.mark.parametrize(
    ("name", "options", "text"),
    [
        ("googlenet", {"aux": 1}, "aux is 1: it must be True or False"),
        ("googlenet", {"torchvision": "yes"}, "torchvision is 'yes': it must be True or False"),
        ("bn_inception", {"caffe": None}, "caffe is None: it must be True or False"),
        ("inception_v3", {"aux": "no"}, "aux is 'no': it must be True or False"),
        ("inception_v4", {"blocks": (4, 7)}, "inception_v4: blocks is [4, 7]: it must hold three numbers"),
        (
            "inception_resnet_v1",
            {"blocks": (5, 0, 5)},
            "it must hold three numbers of modules A, B and C, each at least 1",
        ),
        ("inception_resnet_v1", {"scale": "small"}, "scale is 'small': it must be a finite number, or three"),
        ("inception_resnet_v1", {"scale": (0.1, 0.2)}, "scale is [0.1, 0.2]: it must be a finite number, or three"),
        ("inception_resnet_v1", {"version": 3}, "version is 3: it must be 1 or 2"),
        ("inception_resnet_v1", {"released": True}, "only version 2 was released"),
        ("inception_resnet_v1", {"released": 1}, "released is 1: it must be True or False"),
        ("xception", {"middle": -1}, "middle is -1: it must be an integer of at least 0"),
        ("xception", {"dropout": 1.0}, "p is 1.0"),
        ("inception_naive", {"filters": (1, 2)}, "filters is [1, 2]: it must hold 3 numbers of filters"),
        ("inception_bottleneck", {"filters": 64}, "filters is 64: it must hold 6 numbers of filters"),
        ("inception_bottleneck", {"filters": (1, 2, 3, 4, 5, 0)}, "it must hold 6 numbers of filters, each at least 1"),
    ],
)
def test_a_value_that_breaks_a_rule_is_refused(name, options, text):
    with pytest.raises(ArgumentError) as caught:
        models.create(name, device="meta", **options)
    message = str(caught.value)
    assert text in message and message.startswith(f"models.create('{name}'): ") and "\n" not in message


# Modules as data


def test_a_plan_reads_like_a_figure():
    net = Stack(3, count_pad=False).add({
        "conv": "3x3/2V 8",
        "module": {
            "1x1": "1x1 4", "7x7": "1x1 2, 1x7 3, 7x1 5, 1x7 6", "pool": "avg 3x3, 1x1 7",
            "fork": ["1x1 2", {"a": "1x3 3", "b": "3x1 4"}],
        },
        "shrink": {"conv": "3x3/2V 9", "pool": "max 3x3/2V"},
        "last": "max 2x2/2 ceil",
    })  # fmt: skip
    model = net.network()
    assert isinstance(model, Sequential) and net.widths == {"conv": 8, "module": 24, "shrink": 33, "last": 33}
    module = model["module"]
    assert isinstance(module, Concat) and [name for name, _ in module["7x7"].named_children()] == [
        "1x1", "1x7", "7x1", "1x7_2",
    ]  # fmt: skip
    wide, tall = module["7x7"]["1x7"]["conv"], module["7x7"]["7x1"]["conv"]
    assert wide.kernel_size == (1, 7) and wide.padding == (0, 0, 3, 3)
    assert tall.kernel_size == (7, 1) and tall.padding == (3, 3, 0, 0)
    assert isinstance(module["fork"]["fork"], Concat) and not module["pool"]["pool"].count_include_pad
    shapes = {r.path: r.output for r in trace(model, (3, 16, 16)).records}
    assert [shapes[name] for name in net.widths] == [(8, 7, 7), (24, 7, 7), (33, 3, 3), (33, 2, 2)]


@pytest.mark.parametrize("step", ["3x3", "max 3x3 64", "3x3/2 64 ceil", "3 64", "avg 3x3, ", "min 3x3"])
def test_a_step_that_says_nothing_is_refused(step):
    with pytest.raises(ArgumentError, match="is no step: it must read like 3x3/2V 64 or max 3x3/2"):
        Stack(3).build(step, 3)


@pytest.mark.parametrize(
    "name, options, norms, batch_norms",
    [
        ("googlenet", {}, 2, 0), ("googlenet", {"lrn": False}, 0, 0), ("googlenet", {"batch_norm": True}, 0, 57),
        ("googlenet", {"batch_norm": True, "lrn": True}, 2, 57), ("bn_inception", {}, 0, 69),
        ("bn_inception", {"batch_norm": False}, 0, 0),
    ],
)  # fmt: skip
def test_normalisation_on_and_off(name, options, norms, batch_norms):
    model = models.create(name, device="meta", **options)
    kinds = [type(layer).__name__ for _, layer in model.named_layers()]
    assert (kinds.count("LocalResponseNorm"), kinds.count("BatchNorm2d")) == (norms, batch_norms)
    convolutions = [layer for _, layer in model.named_layers() if type(layer).__name__ == "Conv2d"]
    assert all((layer.bias is None) == (batch_norms > 0) for layer in convolutions)
