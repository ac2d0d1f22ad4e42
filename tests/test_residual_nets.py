"""The residual and the dense families: where they stride, what their options do, and the order of what they compute."""

import json
import re
import time
from pathlib import Path

import numpy as np
import pytest

import minicnn
from minicnn import Tensor, models, ops
from minicnn.errors import ArgumentError
from minicnn.layers import Conv2d, PadShortcut, trace

TENSORS = json.loads((Path(__file__).parent / "reference" / "state_dicts.json").read_text())
FAMILIES = re.compile("resnet[1-9]|resnext|wide|densenet")


def images(*shape):
    return Tensor(np.random.default_rng(0).standard_normal(shape).astype(np.float32))


def lively(model):
    """The model in use, with batch norms that do something."""
    rng = np.random.default_rng(1)
    with minicnn.no_grad():
        for values in (*model.parameters(), *model.buffers()):
            if values.ndim == 1:
                values.copy_(Tensor(rng.uniform(0.5, 1.5, values.shape).astype(np.float32)))
    return model.eval()


def conv_strides(name, **options):
    """The path of each convolution that strides."""
    layers = models.create(name, device="meta", **options).named_layers()
    return [path for path, layer in layers if isinstance(layer, Conv2d) and layer.stride == (2, 2)]


def near(a, b):
    np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", [name for name in TENSORS if FAMILIES.match(name)])
def test_tensors_have_the_shapes_and_the_order_of_the_checkpoint(name):
    own = [list(values.shape) for values in models.create(name, device="meta").state_dict().values()]
    assert own == [shape for tensor, shape in TENSORS[name]["tensors"] if not tensor.endswith("num_batches_tracked")]


@pytest.mark.parametrize(
    ("name", "sizes"),
    [
        ("plain34", [56, 28, 14, 7]), ("resnet152", [56, 28, 14, 7]), ("resnet50_caffe", [56, 28, 14, 7]),
        ("preact_resnet18", [56, 28, 14, 7]), ("cifar_resnet20", [32, 16, 8]), ("wrn_28_10_cifar10", [32, 16, 8]),
    ],
)  # fmt: skip
def test_the_maps_of_the_stages_have_the_papers_sizes(name, sizes):
    records = trace(models.create(name, device="meta"), models.info(name).input_shape).records
    outputs = {record.path: record.output for record in records}
    assert [outputs[f"stage{number}"][1:] for number in range(1, len(sizes) + 1)] == [(size, size) for size in sizes]


def test_the_maps_of_the_dense_blocks_have_the_papers_sizes():
    records = trace(models.create("densenet121", device="meta"), (3, 224, 224)).records
    outputs = {record.path: record.output for record in records}
    assert [outputs[f"block{n}"] for n in (1, 2, 3, 4)] == [(256, 56, 56), (512, 28, 28), (1024, 14, 14), (1024, 7, 7)]
    assert [outputs[f"transition{n}"] for n in (1, 2, 3)] == [(128, 28, 28), (256, 14, 14), (512, 7, 7)]


def test_where_a_residual_network_strides():
    first = [
        "conv1",
        *(f"stage{stage}.block1.{part}" for stage in (2, 3, 4) for part in ("body.conv1", "shortcut.conv")),
    ]
    assert conv_strides("resnet50") == conv_strides("resnet18") == first
    second = [path.replace("body.conv1", "body.conv2") for path in first]
    assert conv_strides("resnet50_v1.5") == conv_strides("resnext50_32x4d") == conv_strides("wide_resnet50_2") == second
    assert conv_strides("resnet50", stride_on="3x3") == second
    assert conv_strides("plain18") == ["conv1", *(f"stage{stage}.block1.conv1" for stage in (2, 3, 4))]
    assert conv_strides("preact_resnet50")[1] == "stage2.block1.unit.body.conv2"
    assert conv_strides("cifar_preact_resnet164")[0] == "stage2.block1.unit.body.conv1"


def counts(name, **options):
    model = models.create(name, device="meta", **options)
    summary = minicnn.summary(model)
    return summary.total_parameters, summary.total_macs


def test_the_shortcuts_of_the_paper_cost_what_it_says():
    assert counts("resnet18", shortcut="A") == counts("plain18") == (11_515_688, 1_794_805_760)
    assert counts("resnet34", shortcut="A") == counts("plain34") == (21_623_848, 3_644_493_824)
    assert counts("resnet18", shortcut=None) == counts("plain18") and counts("plain18", shortcut="B") == counts(
        "resnet18"
    )
    assert (
        counts("cifar_resnet20", shortcut="B")[0] == 272_474 and counts("cifar_resnet110", shortcut="B")[0] == 1_730_714
    )
    # C: three 1x1 projections more of 64, 128, 256 and 512 channels, less the three that B has already, with batch norms
    assert counts("resnet34", shortcut="C")[0] - counts("resnet34")[0] == sum(
        blocks * (width * width + 2 * width) for blocks, width in ((3, 64), (3, 128), (5, 256), (2, 512))
    )


def test_depths_and_widths_can_be_chosen():
    assert counts("cifar_resnet20", depth=110) == counts("cifar_resnet110")
    assert counts("cifar_resnet20", depth=1202)[0] == 19_421_274
    assert counts("cifar_preact_resnet110", depth=164, bottleneck=True, shortcut="B") == counts(
        "cifar_preact_resnet164"
    )
    assert counts("resnet18", blocks=(3, 4, 6, 3)) == counts("resnet34")
    assert counts("densenet121", blocks=(6, 12, 36, 24), growth_rate=48) == counts("densenet161")
    assert counts("wrn_28_10_cifar10", depth=16, widen=1)[0] == 175_066
    assert counts("resnext50_32x4d", cardinality=1, bottleneck=(64, 128, 256, 512)) == counts("resnet50_v1.5")
    slim = models.create("resnet18", blocks=(1, 1), widths=(4, 8), stem=4, num_classes=3)
    assert slim(images(2, 3, 32, 32)).shape == (2, 3)
    plain = models.create("densenet121", blocks=(2, 2), growth_rate=4, bottleneck=None, compression=1.0, stem=6)
    assert plain.block1.layer2.new.conv2.in_channels == 6 + 4 and plain.transition1.conv.out_channels == 6 + 8
    assert "conv1" not in plain.block1.layer1.new._children


def test_dropout_where_the_papers_have_it():
    wide = models.create("wrn_28_10_cifar10", device="meta", depth=10, dropout=0.3)
    assert list(wide.stage1.block1.unit.body._children) == ["conv1", "bn2", "relu2", "drop", "conv2"]
    dense = models.create("densenet121", device="meta", dropout=0.2)
    assert list(dense.block1.layer1.new._children)[3::4] == ["drop1", "drop2"] and dense.transition1.drop.p == 0.2
    assert counts("densenet121", dropout=0.2) == counts("densenet121")


def test_zero_gamma_makes_every_block_its_shortcut():
    model = models.create("cifar_resnet20", depth=8, zero_gamma=True)
    x = images(2, 3, 8, 8)
    before = model[:3](x)
    np.testing.assert_array_equal(model.stage1(before).numpy(), before.numpy())
    assert not model.stage2.block1.body.bn2.scale.numpy().any()
    assert models.create("cifar_resnet20", depth=8).stage2.block1.body.bn2.scale.numpy().all(), "not by default"


def test_a_padding_shortcut_takes_every_other_pixel_and_adds_zeros():
    model = lively(models.create("cifar_resnet20", depth=8))
    x = images(2, 16, 8, 8)
    block = model.stage2.block1
    assert isinstance(block.shortcut, PadShortcut)
    padded = np.zeros((2, 32, 4, 4), np.float32)
    padded[:, :16] = x.numpy()[:, :, ::2, ::2]
    near(block(x), ops.relu(block.body(x) + Tensor(padded)))


def test_pre_activation_blocks_are_as_in_the_paper():
    model = lively(models.create("cifar_preact_resnet110", depth=14))
    x = images(2, 3, 8, 8)
    y = model.conv1(x)
    for stage in (model.stage1, model.stage2, model.stage3):
        block = stage.block1  # its norm and ReLU come before both ways
        a, body = ops.relu(block.bn1(y)), block.unit.body
        way = block.unit.shortcut(a) if "shortcut" in block.unit._children else a
        y = body.conv2(ops.relu(body.bn2(body.conv1(a)))) + way
        body = stage.block2.body  # the shortcut is the sum before, untouched
        y = y + body.conv2(ops.relu(body.bn2(body.conv1(ops.relu(body.bn1(y))))))
    y = model.fc(ops.relu(model.bn(y)).mean((2, 3)))
    near(model(x), y)


def test_the_first_block_for_imagenet_relies_on_the_activation_behind_the_stem():
    model = models.create("preact_resnet50", device="meta")
    assert list(model._children)[:4] == ["conv1", "bn1", "relu1", "pool1"]
    body = "bn1 relu1 conv1 bn2 relu2 conv2 bn3 relu3 conv3".split()
    assert list(model.stage1.block1.body._children) == body[2:] and list(model.stage1.block2.body._children) == body
    shortcut = model.stage2.block1.unit.shortcut
    assert isinstance(shortcut, Conv2d) and shortcut.bias is None and shortcut.stride == (2, 2)


def test_a_dense_layer_sees_all_before_it():
    model = lively(models.create("densenet121", blocks=(3, 2), growth_rate=4))
    features = [images(2, 8, 6, 6)]
    for layer in model.block1:
        new, x = layer.new, ops.cat(features)
        features.append(new.conv2(ops.relu(new.bn2(new.conv1(ops.relu(new.bn1(x)))))))
    near(model.block1(features[0]), ops.cat(features))
    joins = [record for record in trace(model, (3, 32, 32)).leaves if record.kind == "Cat"]
    assert [len(record.inputs) for record in joins] == [2] * 5, "each join takes what there is and one new piece"


def test_a_network_of_1001_layers_is_built_summarised_and_trained():
    start = time.perf_counter()
    minicnn.summary("cifar_preact_resnet1001").to_text()
    model = models.create("cifar_preact_resnet1001")
    optimizer = minicnn.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    loss = ops.cross_entropy(model(images(2, 3, 32, 32)), Tensor(np.array([1, 2])))
    loss.backward()
    before = model.conv1.weight.numpy().copy()
    optimizer.step()
    assert np.isfinite(loss.item()) and (model.conv1.weight.numpy() != before).any()
    assert sum(type(layer) in (Conv2d, type(model.fc)) for _, layer in model.named_layers()) == 1001 + 3  # projections
    assert time.perf_counter() - start < 60, "about 2 s with native kernels"


@pytest.mark.parametrize(
    ("name", "options", "text"),
    [
        ("resnet18", {"blocks": 5}, "resnet: blocks is 5: it must be a list of integers, each at least 1"),
        ("resnet18", {"blocks": []}, "it must be a list of integers"),
        ("resnet18", {"blocks": (2, 0, 2, 2)}, "resnet: blocks[1] is 0: it must be an integer of at least 1"),
        ("resnet18", {"widths": (1, 2)}, "resnet: widths is [1, 2]: it must be 4 integers, each at least 1"),
        ("resnet50", {"bottleneck": (1, 2)}, "resnet: bottleneck is [1, 2]"),
        ("resnet18", {"cardinality": 32}, "cardinality is 32: blocks of two 3x3 have no groups"),
        ("resnext50_32x4d", {"cardinality": 3}, "groups is 3: it must divide"),
        ("resnet18", {"shortcut": "D"}, "shortcut is 'D': it must be A, B, C or None, which leaves the shortcuts out"),
        ("resnet18", {"shortcut": "A", "widths": (64, 32, 16, 8)}, "cannot go from 64 channels to 32"),
        ("resnet18", {"stem": 0}, "resnet: stem is 0: it must be an integer of at least 1"),
        ("preact_resnet18", {"stem": 6.5}, "preact_resnet: stem is 6.5"),
        ("resnet50", {"stride_on": "2x2"}, "stride_on is '2x2': it must be 1x1 or 3x3"),
        ("resnet50", {"caffe": "yes"}, "caffe is 'yes': it must be True or False"),
        ("resnet50", {"zero_gamma": 1}, "zero_gamma is 1: it must be True or False"),
        ("cifar_resnet20", {"depth": 21}, "depth is 21: it must be 6*n + 2, three stages of n blocks of 2 convolutions: 20 or 26"),
        ("cifar_resnet20", {"depth": 2}, "8 or 14 would do"),
        ("cifar_resnet20", {"depth": "20"}, "depth is '20'"),
        ("cifar_resnet20", {"widths": (16, 32)}, "widths is [16, 32]: it must be 3 integers"),
        ("cifar_preact_resnet164", {"depth": 112}, "depth is 112: it must be 9*n + 2"),
        ("cifar_preact_resnet110", {"shortcut": "C"}, "shortcut is 'C': it must be A or B"),
        ("wrn_28_10_cifar10", {"depth": 30}, "depth is 30: it must be 6*n + 4"),
        ("wrn_28_10_cifar10", {"widen": 0.5}, "widen is 0.5"),
        ("wrn_28_10_cifar10", {"dropout": 1}, "Dropout: p is 1"),
        ("densenet121", {"growth_rate": 0}, "growth_rate is 0"),
        ("densenet121", {"compression": 0}, "compression is 0: it must be above 0"),
        ("densenet121", {"compression": 0.001}, "out_channels is 0"),
        ("densenet121", {"bottleneck": 0}, "bottleneck is 0"),
        ("densenet121", {"stem": 0}, "stem is 0"),
    ],
)  # fmt: skip
def test_an_option_that_breaks_a_rule_is_named(name, options, text):
    with pytest.raises(ArgumentError) as caught:
        models.create(name, device="meta", **options)
    message = str(caught.value)
    assert text in message and message.startswith(f"models.create({name!r}): ") and "\n" not in message
