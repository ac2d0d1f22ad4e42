"""Every option of every network: any value works or gets one line that helps, soon and whatever its size."""

import re
import time

import numpy as np
import pytest

import minicnn
from minicnn import Tensor, models, ops
from minicnn.errors import ArgumentError, MinicnnError, ShapeError
from minicnn.layers import Conv2d, Dropout, Linear, default_device, trace
from minicnn.layers.arguments import DEEPEST

NAN, INF = float("nan"), float("inf")
NUMBERS = [-1, 0, 1, 2**31, 10**9, 10**30, 10**5000, 0.5, 2.5, 1e308, NAN, INF, True, False]
VALUES = [
    None, "", "x\ny", {}, {"a": 1}, [], [[1]] * 5, [None] * 3, ["x"] * 3,
    *NUMBERS, *([number] * length for number in NUMBERS for length in (1, 2, 3, 4, 5, 6)),
]  # fmt: skip


def _first_of_each_builder():
    builders = {models.registry._entries[name].build: name for name in reversed(models.names(all=True))}
    return set(builders.values())


FIRST = _first_of_each_builder()
NAMES = [pytest.param(name, marks=[] if name in FIRST else [pytest.mark.slow]) for name in models.names(all=True)]


@pytest.mark.parametrize("name", NAMES)
def test_any_value_of_an_option_works_or_gets_one_line(name):
    for key in models.options(name):
        for value in VALUES:
            start = time.process_time()
            try:
                model = models.create(name, device="meta", **{key: value})
                trace(model, model.recipe.input_shape)
            except MinicnnError as error:
                assert "\n" not in str(error) and len(str(error)) < 1000, f"{key}: {error}"
            except Exception as error:
                pytest.fail(f"{key}={value!r:.40}: {type(error).__name__}: {error}")
            assert time.process_time() - start < 5, f"{key} took long"


@pytest.mark.parametrize(
    ("name", "options", "text"),
    [
        ("pattern", {"m": 10**9}, "pattern: m is 1000000000: it must be at most 10000"),
        ("pattern", {"n": 10**9}, "pattern: n adds up to 3000000000: it must be at most 10000"),
        ("pattern", {"m": 9999, "n": 1}, "the images need at least 2**9999x2**9999 pixels"),
        ("pattern", {"n": 5000}, "pattern: n adds up to 15000"),
        ("pattern", {"k": 10**9}, "pattern: k is 1000000000: it must be at most 10000"),
        ("pattern", {"text": "[(CONV-RELU)*999999999]*1"}, "pattern: n adds up to 999999999"),
        ("pattern", {"text": f"[(CONV-RELU)*{'9' * 5000}]*1"}, "it must have the form"),
        ("wrn_28_10_cifar10", {"depth": 6 * 10**9 + 4}, "10 or 16 would do, up to 10000"),
        ("cifar_resnet20", {"depth": 6 * 10**9 + 2}, "8 or 14 would do, up to 10000"),
        ("resnet18", {"blocks": [10**9] * 4}, "resnet: blocks adds up to 4000000000: it must be at most 10000"),
        ("preact_resnet18", {"blocks": [9999, 2]}, "preact_resnet: blocks adds up to 10001"),
        ("densenet121", {"blocks": [10**9]}, "densenet: blocks adds up to 1000000000"),
        ("inception_v4", {"blocks": [10**9] * 3}, "inception_v4: blocks adds up to 3000000000"),
        ("xception", {"middle": 10**9}, "xception: middle is 1000000000: it must be at most 10000"),
        ("alexnet", {"hidden": [1] * 10_001}, "alexnet: hidden holds 10001 integers: it may hold at most 10000"),
        ("alexnet", {"num_classes": 2**31}, "num_classes is 2147483648: it must be at most 2147483647"),
        ("alexnet", {"in_channels": 10**30}, "in_channels is an integer of 100 bits: it must fit into 64"),
        ("pattern", {"input_size": 10**9}, "in_features is "),
        ("densenet121", {"growth_rate": 10**9}, "out_channels is 4000000000: it must be at most 2147483647"),
        ("resnet18", {"widths": [2**30] * 4}, "elements: the limit is 2**58"),
        ("alexnet_cifar", {"widths": None}, "alexnet_cifar: widths is None: it must be 5 integers"),
        ("alexnet_cifar", {"hidden": 2.5}, "alexnet_cifar: hidden is 2.5: it must be 2 integers"),
        ("densenet121", {"dropout": []}, "Dropout: p is []"),
        ("densenet121", {"dropout": False}, "Dropout: p is False"),
        ("wrn_28_10_cifar10", {"dropout": ""}, "Dropout: p is ''"),
        ("inception_resnet_v1", {"scale": INF}, "scale is inf: it must be a finite number"),
        ("inception_resnet_v1", {"scale": [0.1, NAN, 0.1]}, "it must be a finite number"),
        ("inception_resnet_v1", {"version": True}, "version is True"),
        ("xception", {"in_channels": None}, "in_channels is None: it must be an integer of at least 1"),
    ],
)
def test_what_is_wrong_is_named(name, options, text):
    with pytest.raises(ArgumentError, match="^models.create") as caught:
        models.create(name, device="meta", **options)
    assert text in str(caught.value) and "\n" not in str(caught.value)


def test_no_dropout_is_no_layer():
    for name in ("densenet121", "wrn_28_10_cifar10"):
        for dropout, some in ((0, False), (0.0, False), (0.1, True)):
            layers = models.create(name, device="meta", dropout=dropout).named_layers()
            assert any(isinstance(layer, Dropout) for _, layer in layers) is some


def test_as_many_layers_as_there_may_be_can_be_made():
    # A chain of light layers; what it costs stays in proportion.
    model = models.create("pattern", device="meta", n=DEEPEST // 3, pool=False, widths=[1, 1, 1], hidden=1)
    assert sum(isinstance(layer, Conv2d) for _, layer in model.named_layers()) == DEEPEST // 3 * 3


def test_a_weights_file_that_names_an_endless_network_is_refused_at_once(tmp_path):
    model = models.create("pattern", widths=[1, 1, 1])
    recipe, path = model.recipe, tmp_path / "weights.safetensors"
    model.recipe = recipe._replace(options={"n": 10**9})
    minicnn.io.save_weights(model, path)
    model.recipe = recipe
    with pytest.raises(MinicnnError, match="load them into models.create.'pattern', n=1000000000"):
        minicnn.io.load_weights(model, path)


def test_sizes_beyond_any_array_are_refused_by_name():
    with default_device("meta"):
        for make, text in (
            (lambda: Linear(2**31 - 1, 2**31 - 1), "a parameter of shape (2147483647, 2147483647) would have"),
            (lambda: Linear(10**30, 1), "Linear: in_features is 1" + "0" * 30 + ": it must be at most 2147483647"),
            (lambda: Conv2d(1, 10**30, 3), "out_channels is"),
            (lambda: Conv2d(2**20, 2**20, 2**12), "the limit is 2**58"),
        ):
            with pytest.raises(ArgumentError, match=re.escape(text)):
                make()
    with pytest.raises(ArgumentError, match=r"input_shape is \(3, 99999999999, 99999999999\): it has 29,.*: the limit"):
        minicnn.summary("resnet18", (3, 99_999_999_999, 99_999_999_999))


def test_names_wants_a_string():
    with pytest.raises(ArgumentError, match=r"models\.names: pattern is 5: it must be a string"):
        models.names(5)


# Too small an input in training


def images(*shape):
    return ops.broadcast_to(Tensor(np.zeros((1,) * len(shape), np.float32)).to("meta"), shape)


@pytest.mark.parametrize(
    ("name", "least"),
    [("resnet18", 33), ("cifar_resnet20", 5), ("densenet121", 61), ("xception", 39), ("inception_v3", 107)],
)
def test_training_on_one_image_names_the_size_that_it_takes(name, least):
    model = models.create(name, device="meta")
    for size in (1, least - 1):
        with pytest.raises(ShapeError) as caught:
            model(images(1, 3, size, size))
        assert str(caught.value).endswith(f"at least {least}x{least} to be trained on one image at a time")
    assert "use a larger batch or .eval()" in str(caught.value)
    model(images(1, 3, least, least))
    model(images(2, 3, least - 1, least - 1))
    model.freeze()(images(1, 3, least - 1, least - 1))


def test_a_batch_norm_behind_linear_gets_no_advice_on_sizes():
    net = models.create("alexnet_cifar", device="meta", batch_norm=True)
    with pytest.raises(ShapeError, match=r"bn1 .*use a larger batch or \.eval\(\); .* takes inputs of 3x32x32$"):
        net(images(1, 3, 1, 1))
