"""Layer: attributes, states, devices, hooks, errors; and every layer against the operation or plain NumPy."""

import copy
import gc
import pickle

import numpy as np
import pytest

import minicnn
from minicnn import Tensor, ops
from minicnn.errors import ArgumentError, CheckpointError, MinicnnError, ShapeError
from minicnn.layers import (
    AdaptiveAvgPool2d,
    Add,
    AvgPool2d,
    BatchNorm1d,
    BatchNorm2d,
    Cat,
    Concat,
    Conv2d,
    ConvTranspose2d,
    Dropout,
    Flatten,
    GlobalAvgPool2d,
    Identity,
    Layer,
    Linear,
    LocalResponseNorm,
    LogSoftmax,
    Maximum,
    MaxPool2d,
    Multiply,
    PadShortcut,
    Parameter,
    ReLU,
    Residual,
    Scale,
    Sequential,
    Sigmoid,
    Softmax,
    Tanh,
    ZeroPad2d,
    default_device,
)  # fmt: skip


def images(*shape, seed=0):
    return Tensor(np.random.default_rng(seed).standard_normal(shape).astype(np.float32))


def small():
    return Sequential(
        {
            "conv": Conv2d(3, 4, 3),
            "bn": BatchNorm2d(4),
            "relu": ReLU(),
            "flatten": Flatten(),
            "fc": Linear(4 * 4 * 4, 5),
        }
    )


class Doubled(Layer):
    """A layer of one's own: a parameter, a buffer, a child and a forward written by hand."""

    def __init__(self):
        self.scale = Parameter(np.full(3, 2, np.float32))
        self.register_buffer("offset", Tensor(np.ones(3, np.float32)))
        self.inner = Conv2d(3, 3, 1)

    def forward(self, x):
        return self.inner(x * self.scale.reshape(3, 1, 1)) + self.offset.reshape(3, 1, 1)


# Every layer computes what its operation computes


def test_layers_compute_what_their_operations_compute():
    x = images(2, 4, 7, 6)
    conv = Conv2d(4, 6, (3, 2), stride=(2, 1), padding=(1, 0), dilation=1, groups=2)
    up = ConvTranspose2d(4, 6, 3, stride=2, padding=1, output_padding=1, groups=2)
    lrn = LocalResponseNorm(5, 1e-4, 0.75, 2.0, alpha_over_size=False)
    pairs = [
        (conv, ops.conv2d(x, conv.weight, conv.bias, (2, 1), (1, 0), 1, 2)),
        (up, ops.conv_transpose2d(x, up.weight, up.bias, 2, 1, 1, 2)),
        (MaxPool2d(3, 2, 1, ceil_mode=True), ops.max_pool2d(x, 3, 2, 1, True)),
        (AvgPool2d(3, 2, 1, count_include_pad=False), ops.avg_pool2d(x, 3, 2, 1, False, False)),
        (AdaptiveAvgPool2d((3, 2)), ops.adaptive_avg_pool2d(x, (3, 2))),
        (GlobalAvgPool2d(), x.mean((2, 3), keepdims=True)),
        (lrn, ops.local_response_norm(x, 5, 1e-4, 0.75, 2.0, alpha_over_size=False)),
        (ReLU(), ops.relu(x)), (Sigmoid(), ops.sigmoid(x)), (Tanh(), ops.tanh(x)),
        (Softmax(), ops.softmax(x, 1)), (LogSoftmax(), ops.log_softmax(x, 1)),
        (Flatten(), x.reshape(2, -1)), (Identity(), x), (Dropout(0.5).eval(), x),
    ]  # fmt: skip
    for layer, expected in pairs:
        np.testing.assert_allclose(layer(x).numpy(), expected.numpy(), rtol=1e-6, atol=1e-6, err_msg=repr(layer))


def test_linear_is_a_matrix_product():
    layer = Linear(4, 3)
    x = images(5, 4)
    np.testing.assert_allclose(layer(x).numpy(), x.numpy() @ layer.weight.numpy().T + layer.bias.numpy(), rtol=1e-5)
    assert Linear(4, 3, bias=False).bias is None


def test_batch_norm_normalises_moves_its_statistics_and_uses_them():
    layer, x = BatchNorm2d(3, momentum=0.25), images(4, 3, 5, 5) * 3 + 2
    y = layer(x).numpy()
    np.testing.assert_allclose(y.mean((0, 2, 3)), 0, atol=1e-5)
    np.testing.assert_allclose(y.var((0, 2, 3)), 1, atol=1e-3)
    np.testing.assert_allclose(layer.running_mean.numpy(), 0.25 * x.numpy().mean((0, 2, 3)), rtol=1e-5)
    unbiased = x.numpy().var((0, 2, 3), ddof=1)
    np.testing.assert_allclose(layer.running_var.numpy(), 0.75 + 0.25 * unbiased, rtol=1e-4)
    layer.eval()
    mean, var = layer.running_mean.numpy().copy(), layer.running_var.numpy().copy()
    column = (1, 3, 1, 1)
    expected = (x.numpy() - mean.reshape(column)) / np.sqrt(var.reshape(column) + 1e-5)
    np.testing.assert_allclose(layer(x).numpy(), expected, rtol=1e-4, atol=1e-5)
    assert (layer.running_mean.numpy() == mean).all()
    plain = BatchNorm1d(3, affine=False, track_running_stats=False).eval()
    assert not plain.state_dict() and plain(images(8, 3)).shape == (8, 3)


def test_padding_same_keeps_the_size_of_the_map():
    for window in (1, 2, 3, 5, (2, 5)):
        assert Conv2d(2, 3, window, padding="same", dilation=2)(images(1, 2, 9, 8)).shape == (1, 3, 9, 8)
    assert Conv2d(2, 3, 2, padding="same").padding == (0, 1, 0, 1)
    assert Conv2d(2, 3, 3, padding="valid")(images(1, 2, 9, 8)).shape == (1, 3, 7, 6)


def test_the_layers_that_move_numbers():
    x = images(2, 3, 5, 5)
    padded = ZeroPad2d((1, 0, 2, 0))(x).numpy()
    assert padded.shape == (2, 3, 6, 7)
    assert (padded[:, :, 1:, 2:] == x.numpy()).all() and (padded[:, :, 0] == 0).all()
    short = PadShortcut(5, stride=2)(x).numpy()
    assert (short[:, :3] == x.numpy()[:, :, ::2, ::2]).all() and (short[:, 3:] == 0).all()
    assert Cat()(x, x, x).shape == (2, 9, 5, 5)
    np.testing.assert_allclose(Add((0.5, 2.0))(x, x).numpy(), 2.5 * x.numpy(), rtol=1e-6)


def test_scale_and_the_joins_work_number_by_number():
    x, y = images(2, 3, 5, 5), images(2, 3, 5, 5) * 2 - 1
    scale = Scale(3)
    assert (scale(x).numpy() == x.numpy()).all() and scale.parameter_formula() == "2*3"
    scale.load_state_dict({"scale": np.float32([1, 2, 3]), "shift": np.float32([0, 0, 5])})
    np.testing.assert_allclose(scale(x).numpy()[:, 2], 3 * x.numpy()[:, 2] + 5, rtol=1e-6)
    plain = Scale(3, bias=False)
    assert list(plain.state_dict()) == ["scale"] and plain.parameter_formula() == "3" and "bias=False" in repr(plain)
    assert (Multiply()(x, y, y).numpy() == x.numpy() * y.numpy() * y.numpy()).all()
    assert (Maximum()(x, y, 0 * x).numpy() == np.maximum(np.maximum(x.numpy(), y.numpy()), 0)).all()
    for call, text in (
        (lambda: Scale(0), "num_features is 0"), (lambda: scale(images(2, 4, 5, 5)), r"must be \(N, 3, ...\)"),
        (lambda: Multiply()(x, x[:1]), "equal to be multiplied"), (lambda: Maximum()(), "equal to be compared"),
    ):  # fmt: skip
        with pytest.raises(ArgumentError, match=text):
            call()


def test_dropout_drops_in_training_only():
    layer, x = Dropout(0.25), Tensor(np.ones((100, 100), np.float32))
    y = layer(x).numpy()
    assert 0.2 < (y == 0).mean() < 0.3 and np.allclose(y[y != 0], 4 / 3)
    assert layer.eval()(x) is x


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: Conv2d(0, 4, 3), "in_channels is 0"),
        (lambda: Conv2d(3, 4, 0), "kernel_size is 0"),
        (lambda: Conv2d(3, 4, 3, stride=0), "stride is 0"),
        (lambda: Conv2d(3, 4, 3, padding=-1), "padding is -1"),
        (lambda: Conv2d(3, 4, 3, padding="sane"), "'same' or 'valid'"),
        (lambda: Conv2d(3, 4, 3, 2, padding="same"), "only at stride 1"),
        (lambda: Conv2d(3, 4, 3, groups=2), "must divide in_channels=3 and out_channels=4"),
        (lambda: Conv2d(3, 4.0, 3), "out_channels is 4.0"),
        (lambda: Linear(3, -1), "out_features is -1"),
        (lambda: MaxPool2d(2, padding=2), "at most half the 2x2 window"),
        (lambda: AdaptiveAvgPool2d(0), "output_size is 0"),
        (lambda: BatchNorm2d(4, momentum=1.5), "momentum is 1.5"),
        (lambda: BatchNorm2d(4, eps=-1), "eps is -1"),
        (lambda: LocalResponseNorm(5, k=0), "k is 0"),
        (lambda: Dropout(1.0), "p is 1.0"),
        (lambda: Dropout("0.5"), "p is '0.5'"),
        (lambda: Softmax("channels"), "axis is 'channels'"),
    ],
)
def test_a_bad_argument_is_named_when_the_layer_is_made(make, text):
    with pytest.raises(ArgumentError) as caught:
        make()
    assert text in str(caught.value)


# Attributes


def test_parameters_buffers_and_children_are_found_by_attribute():
    layer = Doubled()
    names = [name for name, _ in layer.named_parameters()]
    assert names == ["scale", "inner.weight", "inner.bias"]
    assert [name for name, _ in layer.named_buffers()] == ["offset"]
    assert [path for path, _ in layer.named_layers()] == ["", "inner"]
    assert list(layer.state_dict()) == ["scale", "offset", "inner.weight", "inner.bias"]
    layer.scale = None
    layer.inner = Identity()
    assert not list(layer.parameters()) and layer.scale is None
    layer.offset = Tensor(np.zeros(3, np.float32))
    assert list(layer.state_dict()) == ["offset"]
    del layer.offset
    assert not layer.state_dict()


def test_a_shared_parameter_counts_once_and_is_saved_under_each_name():
    a, b = Linear(3, 3), Linear(3, 3)
    b.weight = a.weight
    net = Sequential(a, b)
    assert len(list(net.parameters())) == 3
    assert sorted(net.state_dict()) == ["0.bias", "0.weight", "1.bias", "1.weight"]


def test_a_list_of_layers_as_attribute_is_refused():
    layer = Layer()
    with pytest.raises(ArgumentError, match=r"use Sequential\(\*layers\)"):
        layer.blocks = [ReLU(), ReLU()]


def test_a_name_that_every_layer_uses_is_refused_and_layers_is_free():
    layer = Layer()
    with pytest.raises(ArgumentError, match="choose another name"):
        layer.window = 3
    with pytest.raises(ArgumentError, match="choose another name"):
        layer.training = ReLU()
    layer.layers = Sequential(Linear(2, 2))
    assert len(list(layer.train().parameters())) == 2


def test_a_layer_without_forward_says_what_to_do():
    with pytest.raises(MinicnnError, match=r"define forward\(self, x\)"):
        Layer()(images(1, 2))


def test_apply_visits_children_before_parents():
    seen = []
    net = Sequential(Sequential(ReLU()), Tanh())
    assert net.apply(lambda layer: seen.append(type(layer).__name__)) is net
    assert seen.index("ReLU") < seen.index("Sequential") and seen[-1] == "Sequential" and len(seen) == 4


def test_repr_is_nested_and_shows_what_differs_from_the_defaults():
    text = repr(Sequential(Conv2d(3, 4, 3, stride=2, padding=1, bias=False), Sequential(MaxPool2d(2, ceil_mode=True))))
    assert text == (
        "Sequential(\n  (0): Conv2d(3, 4, kernel_size=3, stride=2, padding=1, bias=False)\n"
        "  (1): Sequential(\n    (0): MaxPool2d(kernel_size=2, stride=2, ceil_mode=True)\n  )\n)"
    )
    assert repr(BatchNorm2d(4, eps=1e-3)) == "BatchNorm2d(4, eps=0.001)"


# States


def test_state_dict_round_trip():
    first, second = small(), small()
    first(images(4, 3, 6, 6))  # moves the running statistics
    assert second.load_state_dict(first.state_dict()) == ([], [])
    for name, values in first.state_dict().items():
        assert (second.state_dict()[name].numpy() == values.numpy()).all()
    assert second.conv.weight.data is not first.conv.weight.data
    second.load_state_dict({name: values.numpy().astype(np.float64) for name, values in first.state_dict().items()})
    assert second.conv.weight.dtype == np.float32


def test_a_state_that_does_not_fit_is_listed_and_changes_nothing():
    net = small()
    before = {name: values.numpy().copy() for name, values in net.state_dict().items()}
    state = {name: np.zeros(values.shape, np.float32) for name, values in net.state_dict().items()}
    del state["conv.bias"], state["bn.running_mean"]
    state["extra"] = np.zeros(1)
    state["fc.weight"] = np.zeros((5, 63), np.float32)
    with pytest.raises(CheckpointError) as caught:
        net.load_state_dict(state)
    text = str(caught.value)
    assert "missing: conv.bias, bn.running_mean" in text and "unexpected: extra" in text
    assert "fc.weight is (5, 63), the model has (5, 64)" in text
    with pytest.raises(CheckpointError, match="wrong shape"):
        net.load_state_dict(state, strict=False)
    assert all((net.state_dict()[name].numpy() == values).all() for name, values in before.items())
    del state["fc.weight"]
    loaded = net.load_state_dict(state, strict=False)
    assert loaded.missing == ["conv.bias", "bn.running_mean", "fc.weight"] and loaded.unexpected == ["extra"]
    assert not net.conv.weight.numpy().any()


def test_train_and_eval_reach_every_layer():
    net = small()
    assert all(layer.training for _, layer in net.named_layers())
    assert net.eval() is net and not any(layer.training for _, layer in net.named_layers())
    assert all(layer.training for _, layer in net.train().named_layers())


def test_a_frozen_batch_norm_keeps_and_uses_its_running_statistics():
    net = small()
    x = images(4, 3, 6, 6)
    net(x)
    net.freeze()
    assert not any(p.requires_grad for p in net.parameters())
    mean = net.bn.running_mean.numpy().copy()
    frozen = net.train()(x).numpy()
    assert (net.bn.running_mean.numpy() == mean).all()
    assert (frozen == net.eval()(x).numpy()).all()
    assert len(list(net.parameters())) == 6, "a frozen parameter is still a parameter"
    net.unfreeze().train()(x)
    assert all(p.requires_grad for p in net.parameters()) and (net.bn.running_mean.numpy() != mean).any()


def test_freezing_a_part_leaves_its_gradients_out():
    net = small()
    net.conv.freeze()
    net(images(2, 3, 6, 6)).sum().backward()
    assert net.conv.weight.grad is None and net.fc.weight.grad is not None
    net.zero_grad()
    assert net.fc.weight.grad is None
    net.requires_grad_(False)
    assert not net(images(2, 3, 6, 6)).requires_grad


def test_to_keeps_the_parameter_objects():
    net = small()
    before = list(net.parameters())
    assert net.to(dtype=np.float64) is net
    assert all(a is b for a, b in zip(before, net.parameters())) and before[0].dtype == np.float64
    assert net(Tensor(np.ones((2, 3, 6, 6)))).dtype == np.float64
    assert net.to("meta").device == "meta" and net.bn.running_mean.device == "meta"
    with pytest.raises(MinicnnError, match="no values"):
        net.to("cpu")
    with pytest.raises(CheckpointError, match="meta device"):
        net.load_state_dict(small().state_dict())


def test_copies_and_pickles_are_equal_and_share_nothing():
    net = small().eval()
    x = images(2, 3, 6, 6)
    y = net(x).numpy()
    for twin in (copy.deepcopy(net), pickle.loads(pickle.dumps(net))):
        assert (twin(x).numpy() == y).all()
        twin.fc.bias.copy_(1) if not twin.fc.bias.requires_grad else twin.requires_grad_(False).fc.bias.copy_(1)
        assert (net(x).numpy() == y).all()


def test_new_parameters_on_meta_take_no_memory_and_no_random_numbers():
    minicnn.manual_seed(3)
    with default_device("meta"):
        big = Linear(1_000_000, 1_000_000)
    assert big.weight.device == "meta" and big.weight.requires_grad
    assert big(Tensor(np.zeros((1, 1_000_000), np.float32)).to("meta")).shape == (1, 1_000_000)
    weight = Linear(3, 3).weight.numpy()
    minicnn.manual_seed(3)
    assert (Linear(3, 3).weight.numpy() == weight).all()
    with pytest.raises(ArgumentError, match="must be cpu, cuda or meta"), default_device("gpu"):
        pass


# Hooks and errors


def test_hooks_see_and_replace_outputs_until_removed():
    net = small().eval()
    x = images(2, 3, 6, 6)
    plain, seen = net(x).numpy(), []
    with net.conv.register_forward_hook(
        lambda layer, inputs, output: seen.append((layer, inputs[0].shape, output.shape))
    ):
        assert (net(x).numpy() == plain).all()
    assert seen == [(net.conv, (2, 3, 6, 6), (2, 4, 4, 4))]
    handle = net.fc.register_forward_hook(lambda layer, inputs, output: output * 2)
    np.testing.assert_allclose(net(x).numpy(), 2 * plain)
    handle.remove()
    handle.remove()
    assert (net(x).numpy() == plain).all() and len(seen) == 1


def test_an_error_names_the_layer_and_the_input_that_the_network_needs():
    net = Sequential({"features": Sequential(Conv2d(3, 4, 3), ReLU(), MaxPool2d(2), MaxPool2d(3, 2))})
    with pytest.raises(ShapeError) as caught:
        net(images(1, 3, 6, 6))
    text = str(caught.value)
    assert text.startswith("features.3 (MaxPool2d): ") and "a 3x3 window does not fit a 2x2 map" in text
    assert text.endswith("the network needs an input of at least 8x8")
    assert net(images(1, 3, 8, 8)).shape == (1, 4, 1, 1)


def test_an_error_in_a_layer_alone_or_of_ones_own_is_named_too():
    with pytest.raises(ShapeError, match=r"^Conv2d: conv2d: x has 2 channels"):
        Conv2d(3, 4, 3)(images(1, 2, 6, 6))
    net = Sequential({"own": Doubled()})
    with pytest.raises(ShapeError, match=r"^own \(Doubled\): "):
        net(images(1, 5, 6, 6))
    assert not minicnn.errors.calls.stack


def test_anomaly_mode_names_the_layer_once():
    net = Sequential({"scale": Linear(2, 2), "relu": ReLU(), "conv": Linear(2, 2)})
    net.requires_grad_(False)["conv"].weight.copy_(3e38)
    net["scale"].weight.copy_(10)
    with (
        pytest.raises(minicnn.errors.AnomalyError, match=r"^conv \(Linear\): linear: an infinity"),
        minicnn.detect_anomaly(),
    ):
        net(Tensor(np.ones((1, 2), np.float32)))


def test_memory_is_freed_by_reference_counting_alone():
    import weakref

    gc.collect()
    gc.disable()
    try:
        body = Sequential(Conv2d(4, 4, 3, padding=1), BatchNorm2d(4))
        net = Sequential(
            Conv2d(3, 4, 3), ReLU(), Residual(body, after=ReLU()), Concat(Identity(), ReLU()), GlobalAvgPool2d()
        )
        for _ in range(2):
            loss = net(images(2, 3, 6, 6)).sum()
            loss.backward()
        dead = [weakref.ref(t) for t in (net, loss, body, *net.parameters())]
        del net, loss, body
        assert [ref() for ref in dead] == [None] * len(dead)
    finally:
        gc.enable()
