"""Weights under the names of torchvision and timm, and what does not fit."""

from __future__ import annotations

import numpy as np
import pytest
import torch_files as torch
from small_weights import STATES, assert_equal, constants, drawn, refused, shapes_of, small, values_of

from minicnn import io, models
from minicnn.errors import ArgumentError
from minicnn.io.names import COUNTER, LIBRARIES, TABLES

pytest.importorskip("safetensors")


@pytest.mark.parametrize("name", STATES)
def test_names_are_the_librarys(name):
    library, _, there = STATES[name]["source"].split()
    (table,) = [table for table in TABLES if table.library == library and name in table.published]
    assert table.published[name] == there and table.fits(name)
    model = models.create(name, device="meta")
    names, state = table.names(model), model.state_dict()
    shapes = {theirs: table.shape(ours, state[ours].shape) for ours, theirs in names.items()}
    assert len(shapes) == len(state)
    assert {**shapes, **dict.fromkeys(table.counters(model), ())} == shapes_of(name)


def test_every_table_is_of_networks_in_the_zoo():
    known = models.names(all=True)
    for table in TABLES:
        assert all(name in known and table.fits(name) for name in table.published)
        for name in table.published:
            model = models.create(name, device="meta")
            paths = dict(model.named_layers())
            assert any(path in paths for path in table.classifiers)
            assert len(set(table.names(model).values())) == len(model.state_dict())


def test_timms_vgg_has_convolutions_over_the_whole_map(tmp_path):
    (table,) = [table for table in TABLES if table.library == "timm" and "vgg_d" in table.published]
    model = models.create("vgg_d", device="meta")
    names = table.names(model)
    assert names["fc6.weight"] == "pre_logits.fc1.weight" and names["fc8.bias"] == "head.fc.bias"
    assert table.shape("fc6.weight", (4096, 25088)) == (4096, 512, 7, 7)
    assert table.shape("fc7.weight", (4096, 4096)) == (4096, 4096, 1, 1)
    narrow = models.create("vgg_a", widths=(2, 2, 2, 2, 3), hidden=(4, 5), num_classes=6)
    names = table.names(narrow)
    state = {theirs: narrow.state_dict()[ours].numpy() for ours, theirs in names.items()}
    weights = np.arange(4 * 3 * 7 * 7, dtype=np.float32).reshape(4, 3, 7, 7)
    state.update({
        "pre_logits.fc1.weight": weights,
        "pre_logits.fc2.weight": state["pre_logits.fc2.weight"].reshape(5, 4, 1, 1),
    })  # fmt: skip
    torch.save(tmp_path / "w.pth", state)
    io.load_weights(narrow, tmp_path / "w.pth")
    np.testing.assert_array_equal(narrow.fc6.weight.numpy(), weights.reshape(4, -1))


@pytest.mark.parametrize("name", ["resnet18", "densenet121", "googlenet_torchvision_aux"])
def test_saved_under_the_librarys_names(tmp_path, name):
    import safetensors.numpy

    path = tmp_path / "w.safetensors"
    model, again = models.create(name), models.create(name)
    io.save_weights(model, path, names="torchvision")
    assert {key: value.shape for key, value in safetensors.numpy.load_file(path).items()} == shapes_of(name)
    io.load_weights(again, path)
    assert_equal(values_of(model), values_of(again))


def test_names_of_a_library_that_lacks_the_network(tmp_path):
    path = tmp_path / "w.safetensors"
    for name, options, names, match in (
        ("resnet50", {}, "torchvision", "names is 'torchvision': torchvision has no network like this resnet50.*v1.5"),
        ("resnet18", {"shortcut": "A"}, "timm", "no network like this resnet18"),
        ("lenet5", {}, "timm", "no network like this lenet5"),
        ("inception_v4", {}, "torchvision", "torchvision has no network.*; timm has inception_v4"),
        ("resnet18", {}, "keras", "names is 'keras': it must be torchvision or timm"),
    ):
        with pytest.raises(ArgumentError, match=match):
            io.save_weights(models.create(name, device="meta", **options), path, names=names)
    with pytest.raises(ArgumentError, match="must be one of the zoo's"):
        io.save_weights(small(), path, names="timm")
    assert not path.exists() and LIBRARIES == ("torchvision", "timm")


def test_densenets_old_names(tmp_path):
    old = {
        name.replace("norm1", "norm.1").replace("norm2", "norm.2").replace("conv1", "conv.1").replace("conv2", "conv.2")
        if "denselayer" in name
        else name: shape
        for name, shape in shapes_of("densenet121").items()
        if not name.endswith(COUNTER)
    }
    assert "features.denseblock1.denselayer1.norm.1.weight" in old
    torch.save(tmp_path / "w.pth", constants(old))
    model = models.create("densenet121")
    assert io.load_weights(model, tmp_path / "w.pth") == ([], [])
    assert all((values == 0.5).all() for values in values_of(model).values())


@pytest.mark.parametrize(
    ("with_heads", "without", "start"),
    [("googlenet_torchvision_aux", "googlenet_torchvision", "aux"), ("inception_v3_aux", "inception_v3", "AuxLogits")],
)
def test_auxiliary_heads(tmp_path, with_heads, without, start):
    shapes = shapes_of(with_heads)
    path = tmp_path / "w.pth"
    torch.save(path, constants(shapes))
    missing, unexpected = io.load_weights(models.create(without), path)
    assert not missing and unexpected
    assert all(name.startswith(start) for name in unexpected)
    torch.save(path, constants({name: shape for name, shape in shapes.items() if not name.startswith(start)}))
    assert io.load_weights(models.create(without), path) == ([], [])
    model = models.create(with_heads)
    refused(model, path, f"it fits torchvision's .*models.create.'{without}'.*missing: {start}")
    missing, unexpected = io.load_weights(model, path, strict=False)
    assert all(start in name for name in missing) and not unexpected


# ---- what does not fit


def test_every_name_that_does_not_fit_is_listed(tmp_path, rng):
    path = tmp_path / "w.pth"
    state = drawn(rng)
    del state["fc.bias"]
    torch.save(path, {**state, "fc.extra": state["bn.bias"], "bn.bias": np.zeros(4, np.float32)})
    message = refused(
        small(), path, r"missing: fc.bias; unexpected: fc.extra; wrong shape: bn.bias is \(4,\), the model has \(3,\)"
    )
    assert "this Sequential" in message
    refused(small(), path, "this Sequential: wrong shape: bn.bias is", strict=False)
    torch.save(path, {**state, "fc.extra": state["bn.bias"]})
    model = small()
    assert io.load_weights(model, path, strict=False) == (["fc.bias"], ["fc.extra"])
    np.testing.assert_array_equal(model.bn.shift.numpy(), state["bn.bias"])
    torch.save(path, {"other": state["bn.bias"]})
    refused(small(), path, "none of its 1 names is one of the model's 8", strict=False)


@pytest.mark.parametrize(
    ("name", "options", "match"),
    [
        ("resnet50", {}, r"holds weights of torchvision's resnet50.*models.create\('resnet50_v1.5'\).*anyway=True"),
        ("resnet50_v1.5", {"stride_on": "1x1"}, "load them into models.create.'resnet50_v1.5'"),
        ("resnet50_caffe", {}, r"it fits torchvision's resnet50, here models.create\('resnet50_v1.5'\): missing: conv1.bias"),
        ("resnet101_v1.5", {}, r"here models.create\('resnet50_v1.5'\): missing: layer3.6.conv1.weight"),
        ("lenet5", {}, r"it fits torchvision's resnet50, here models.create\('resnet50_v1.5'\): none of its 267 names"),
        ("resnet50_v1.5", {"num_classes": 10}, "1000 classes: make the model with num_classes=1000; to fine-tune .* give it a new fc: wrong shape: fc.weight"),
    ],
)  # fmt: skip
def test_weights_of_another_network_are_refused_with_its_name(tmp_path, name, options, match):
    path = tmp_path / "resnet50.pth"
    torch.save(path, constants(shapes_of("resnet50_v1.5")))
    refused(models.create(name, **options), path, match)


def test_the_same_network_by_another_recipe(tmp_path):
    path = tmp_path / "resnet50.pth"
    torch.save(path, constants(shapes_of("resnet50_v1.5")))
    for name, options in (("resnet50_v1.5", {}), ("resnet50", {"stride_on": "3x3"})):
        model = models.create(name, **options)
        assert io.load_weights(model, path) == ([], [])
    model = models.create("resnet50")
    io.load_weights(model, path, anyway=True)
    assert (model.fc.weight.numpy() == 0.5).all()


def test_torchvisions_pool_before_the_linear_layers(tmp_path):
    torch.save(tmp_path / "alexnet.pth", constants(shapes_of("alexnet_torchvision")))
    same = {"widths": (64, 192, 384, 256, 256), "padding": 2, "norm": None}
    io.load_weights(models.create("alexnet", **same), tmp_path / "alexnet.pth")
    refused(models.create("alexnet", **{**same, "norm": "after"}), tmp_path / "alexnet.pth", "'alexnet_torchvision'")


def test_our_own_files_name_their_network(tmp_path):
    narrow = {"widths": (2, 2, 2, 2, 2), "hidden": (3, 3)}
    path = tmp_path / "w.safetensors"
    one = models.create("vgg_a", **narrow, num_classes=4)
    io.save_weights(one, path)
    two = models.create("vgg_a_lrn", **narrow, num_classes=4)
    refused(
        two, path, r"weights of vgg_a, which fit this vgg_a_lrn in shape.*models.create\('vgg_a', hidden=.*anyway=True"
    )
    io.load_weights(two, path, anyway=True)
    assert_equal(values_of(one), values_of(two))
    io.load_weights(models.create("vgg_a", **narrow, num_classes=4, dropout=0.1), path)
    refused(models.create("vgg_b", **narrow), path, r"it was written from models.create\('vgg_a'.*: missing: conv1_2")


def test_a_training_runs_checkpoint_is_read(tmp_path):
    model = models.create("lenet5")
    arrays = {f"model/{name}": value for name, value in values_of(model).items()}
    head = {"kind": "checkpoint", "format": 1, "config": {"network": {"name": "lenet5", "options": {}}}}
    path = tmp_path / "checkpoint.safetensors"
    io.write_archive(path, {**arrays, "optimizer/step": np.array(3)}, head)
    again = models.create("lenet5")
    assert io.load_weights(again, path) == ([], [])
    assert_equal(values_of(model), values_of(again))
