"""What a network sees in a picture: against finite differences, closed forms and loops."""

import numpy as np
import pytest

import minicnn
from minicnn import Tensor, inspect, models, ops
from minicnn.errors import ArgumentError, DTypeError, ShapeError
from minicnn.inspect import class_activation, feature_maps, occlusion, saliency, top_patches
from minicnn.layers import (
    AvgPool2d,
    BatchNorm2d,
    Conv2d,
    Dropout,
    Flatten,
    GlobalAvgPool2d,
    Layer,
    Linear,
    MaxPool2d,
    ReLU,
    Sequential,
    Tanh,
)


def smooth():
    """No kinks: finite differences are exact to their order."""
    return Sequential(
        Conv2d(3, 4, 3, 2, 1), Tanh(), BatchNorm2d(4), Conv2d(4, 5, 2), Tanh(), AvgPool2d(2, 1), Flatten(),
        Dropout(0.5), Linear(5 * 2 * 2, 4),
    ).to(dtype="float64")  # fmt: skip


def pooled(classes=4):
    layers = {"conv": Conv2d(3, 6, 3, 1, 1), "relu": ReLU(), "last": Conv2d(6, 5, 3, 2, 1), "norm": BatchNorm2d(5),
              "act": ReLU(), "pool": GlobalAvgPool2d(), "flatten": Flatten(), "drop": Dropout(0.5),
              "fc": Linear(5, classes)}  # fmt: skip
    return Sequential(layers).to(dtype="float64")


class Own(Layer):
    """A user's own: a forward by hand, with operations outside any layer."""

    def __init__(self):
        self.conv = Conv2d(3, 4, 3, padding=1)
        self.pool = GlobalAvgPool2d()
        self.fc = Linear(4, 3)

    def forward(self, x):
        y = ops.relu(self.conv(x)) * 2
        return self.fc(self.pool(y).flatten(1))


@pytest.fixture
def images(rng):
    return rng.normal(size=(3, 3, 7, 8))


def output(model, x):
    """The scores in use."""
    return model.eval()(Tensor(x)).numpy()


def test_saliency_against_finite_differences(backend, images):
    model, labels, h = smooth(), np.array([2, 0, 2]), 1e-5
    found = saliency(model, images, labels)
    slope = np.zeros(images.shape)
    for place in np.ndindex(*images.shape):
        for sign in (1, -1):
            moved = images.copy()
            moved[place] += sign * h
            slope[place] += sign * output(model, moved)[place[0], labels[place[0]]] / (2 * h)
    assert found.shape == (3, 7, 8)
    np.testing.assert_allclose(found, np.abs(slope).max(1), rtol=1e-6, atol=1e-9)


def test_feature_maps_are_what_the_layers_give(backend, images):
    model = pooled().eval()
    x = Tensor(images)
    conv = model.conv(x)
    np.testing.assert_allclose(feature_maps(model, images, "conv"), conv.numpy(), rtol=1e-12)
    relu = np.maximum(conv.numpy(), 0)
    np.testing.assert_allclose(feature_maps(model, x, "relu"), relu, rtol=1e-12)
    for path in ("fc", ""):
        np.testing.assert_allclose(feature_maps(model, images, path), output(model, images), rtol=1e-12)
    assert feature_maps(model, images, "flatten").shape == (3, 5)
    before = images.copy()
    feature_maps(Sequential(Flatten()), images, "0")[:] = 0  # a copy: the images stay
    np.testing.assert_array_equal(images, before)


def test_class_activation_is_the_weighted_sum_of_the_maps(backend, images):
    model, labels = pooled(), np.array([3, 0, 1])
    found = class_activation(model, images, labels)
    maps = feature_maps(model, images, "act")
    weight, bias = model.fc.weight.numpy(), model.fc.bias.numpy()
    closed = np.stack([sum(weight[c, k] * maps[n, k] for k in range(5)) for n, c in enumerate(labels)])
    np.testing.assert_allclose(found, closed, rtol=1e-10, atol=1e-12)
    scores = output(model, images)[np.arange(3), labels]
    np.testing.assert_allclose(found.mean((1, 2)) + bias[labels], scores, rtol=1e-10)
    np.testing.assert_allclose(class_activation(model, images, labels, "act"), found, rtol=1e-10, atol=1e-12)


def test_class_activation_where_the_pooling_is_the_end(images):
    model = Sequential(Conv2d(3, 4, 3), ReLU(), GlobalAvgPool2d(), Flatten())
    labels = np.array([3, 0, 1])
    found = class_activation(model, images.astype("float32"), labels)
    maps = feature_maps(model, images.astype("float32"), "1")
    np.testing.assert_allclose(found, maps[np.arange(3), labels], rtol=1e-6)


def test_class_activation_of_a_layer_of_a_network_without_pooling(images):
    """Behind a linear layer the slope of the score is its weights: their sums over each map count."""
    model = Sequential(Conv2d(3, 2, 3), Flatten(), Linear(2 * 5 * 6, 4)).to(dtype="float64")
    labels = np.array([1, 2, 3])
    worth = model[2].weight.numpy().reshape(4, 2, 30).sum(2)[labels]
    closed = np.einsum("nk,nkpq->npq", worth, feature_maps(model, images, "0"))
    np.testing.assert_allclose(class_activation(model, images, labels, "0"), closed, rtol=1e-10)
    with pytest.raises(ArgumentError, match="Sequential has no global average pooling: give path"):
        class_activation(model, images, labels)


def by_pixels(model, x, labels, size, stride, fill):
    """For each pixel the squares on it, one after the other."""
    N, _, H, W = x.shape
    starts = [sorted({*range(0, side - size + 1, stride), side - size}) for side in (H, W)]
    result = np.zeros((N, H, W))
    for n, row, column in np.ndindex(N, H, W):
        falls = []
        for top in starts[0]:
            for left in starts[1]:
                if top <= row < top + size and left <= column < left + size:
                    hidden = x[n : n + 1].copy()
                    hidden[0, :, top : top + size, left : left + size] = fill
                    falls.append(output(model, x[n : n + 1])[0, labels[n]] - output(model, hidden)[0, labels[n]])
        result[n, row, column] = np.mean(falls)
    return result


@pytest.mark.parametrize("size, stride, fill", [(3, 2, 0.0), (7, 7, 0.5), (4, 3, -1.0), (1, 1, 0.0), (5, None, 0.0)])
def test_occlusion_against_a_loop(images, size, stride, fill):
    model, labels = pooled(), np.array([3, 0, 1])
    found = occlusion(model, images, labels, size, stride, fill)
    stride = stride or 3  # half of 5, rounded up
    np.testing.assert_allclose(found, by_pixels(model, images, labels, size, stride, fill), rtol=1e-9, atol=1e-12)


def test_occlusion_is_zero_where_the_network_does_not_look(images):
    model = Sequential(Conv2d(3, 2, 3), Flatten(), Linear(2 * 5 * 6, 4)).to(dtype="float64")
    model[2].weight.data = model[2].weight.numpy() * (np.arange(60) % 6 < 2)  # places whose windows end with column 3
    found = occlusion(model, images, np.zeros(3, int), 2, 2)
    assert np.abs(found[:, :, :4]).min() > 0 and not found[:, :, 4:].any()


def strongest(model, images, path, channel, pad):
    """All places of all images, by hand: (value, image, row, column) of each image's best, best first."""
    best = []
    for number in range(len(images)):
        maps = feature_maps(model, images[number : number + 1], path)[0, channel]
        places = [(-maps[p, q], number, p, q) for p, q in np.ndindex(maps.shape)]
        best.append(min(places))
    return sorted(best)


@pytest.mark.parametrize("count", [1, 4, 70])
def test_top_patches_against_brute_force(rng, count):
    images = rng.normal(size=(70, 3, 9, 8)).astype("float32")  # more than one batch
    model = Sequential({"conv": Conv2d(3, 4, 3, 2, 1), "relu": ReLU(), "deep": Conv2d(4, 5, 2), "act": ReLU()})
    found = top_patches(model, images, "deep", count)
    assert found.values.shape == found.images.shape == (5, count) and found.areas.shape == (5, count, 4)
    for channel in range(5):
        for place, (value, number, p, q) in enumerate(strongest(model, images, "deep", channel, 1)[:count]):
            assert found.images[channel, place] == number
            assert found.values[channel, place] == pytest.approx(-value, rel=1e-5)
            # 3x3 windows, stride 2, padding 1, then 2x2: 5 pixels from 2p - 1
            assert found.areas[channel, place].tolist() == [2 * p - 1, 2 * p + 4, 2 * q - 1, 2 * q + 4]
    patch = found.cut(images, 2)
    padded = np.pad(images, ((0, 0), (0, 0), (5, 5), (5, 5)))
    for place in range(count):
        top, bottom, left, right = found.areas[2, place] + 5
        np.testing.assert_array_equal(patch[place], padded[found.images[2, place], :, top:bottom, left:right])


def test_a_patch_makes_the_activation(rng):
    """What is cut out excites the unit as much as the whole picture did."""
    images = rng.normal(size=(6, 3, 10, 10)).astype("float32")
    model = Sequential(Conv2d(3, 4, 3, 2), ReLU(), MaxPool2d(2, 1), Conv2d(4, 3, 2))
    found = top_patches(model, images, "3", 3)
    for channel in range(3):
        for patch, value in zip(found.cut(images, channel), found.values[channel]):
            assert model(Tensor(patch[None])).numpy()[0, channel].max() == pytest.approx(value, rel=1e-5)


def test_equally_strong_ones_come_in_order():
    model = Sequential(Conv2d(1, 1, 1, bias=False))
    model[0].weight.data = np.ones((1, 1, 1, 1), "float32")
    images = np.ones((100, 1, 3, 3), "float32")
    images[50:60] = 2
    found = top_patches(model, images, "0", 40)
    assert found.images.tolist() == [[*range(50, 60), *range(30)]]
    assert not found.areas[0, :, [0, 2]].any()  # the first place of each


def test_fields_larger_than_the_picture_give_all_of_it(rng):
    images = rng.normal(size=(4, 3, 6, 12)).astype("float32")
    model = Sequential(Conv2d(3, 4, 7, padding=3), Flatten(), Linear(4 * 6 * 12, 2))
    assert top_patches(model, images, "0", 2).cut(images, 0).shape == (2, 3, 6, 7)
    whole = top_patches(model, images, "2", 2)
    np.testing.assert_array_equal(whole.cut(images, 1), images[whole.images[1]])
    order = np.argsort(-output(model, images)[:, 1])[:2]
    assert whole.images[1].tolist() == order.tolist()


def test_the_model_is_left_as_it_was(images):
    model, labels = pooled(), np.array([3, 0, 1])
    model.train()
    model.norm.eval()
    ops.sum(model(Tensor(images))).backward()
    grads = {name: p.grad.numpy().copy() for name, p in model.named_parameters()}
    state = {name: values.numpy().copy() for name, values in model.state_dict().items()}
    with minicnn.no_grad():
        for call in (
            lambda: feature_maps(model, images, "act"),
            lambda: saliency(model, images, labels),
            lambda: class_activation(model, images, labels),
            lambda: occlusion(model, images, labels, 4),
            lambda: top_patches(model, images, "act", 2),
        ):
            assert np.array_equal(np.asarray(call()[0]), np.asarray(call()[0]))  # and dropout drops nothing
    assert [layer.training for layer in model] == [path != "norm" for path, _ in model.named_children()]
    assert not any(layer._hooks for _, layer in model.named_layers())
    for name, p in model.named_parameters():
        np.testing.assert_array_equal(p.grad.numpy(), grads[name])
    for name, values in model.state_dict().items():
        np.testing.assert_array_equal(values.numpy(), state[name])
    with pytest.raises(ShapeError):
        saliency(model, images[:, :2], labels)
    assert model.training and not model.norm.training


def test_a_layer_of_ones_own(images):
    model, x, labels = Own(), images.astype("float32"), np.array([0, 1, 2])
    maps = np.maximum(feature_maps(model, x, "conv"), 0) * 2
    closed = np.einsum("nk,nkpq->npq", model.fc.weight.numpy()[labels], maps)
    np.testing.assert_allclose(class_activation(model, x, labels), closed, rtol=1e-4, atol=1e-6)
    assert saliency(model, x, labels).shape == (3, 7, 8) == occlusion(model, x, labels, 3).shape
    assert top_patches(model, x, "conv", 2).areas.shape == (4, 2, 4)


GLOBAL = ["cifar_resnet20", "all_cnn_c", "nin", "resnet18", "resnet50", "cifar_preact_resnet110", "googlenet_aux",
          "inception_v3_aux", "densenet121", "xception", "bn_inception", "inception_v4"]  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("name", GLOBAL)
def test_class_activation_over_the_zoo(name):
    """The mean of the map, plus the bias, is the score, for all networks that end in global average pooling."""
    model, (C, H, W) = models.create(name), models.info(name).input_shape
    x = np.random.default_rng(0).normal(size=(1, C, H, W)).astype("float32")
    scores = output(model, x)[0]
    label = int(scores.argmax())
    linear = [layer for _, layer in model.named_layers() if isinstance(layer, Linear)]
    own = [layer for layer in linear if layer is list(model._children.values())[-1]]
    bias = own[0].bias.numpy()[label] if own else 0.0
    found = class_activation(model, x, [label])
    assert found.shape[0] == 1 and found.mean() + bias == pytest.approx(scores[label], rel=1e-4, abs=1e-5)


@pytest.mark.parametrize("name", ["lenet5", "lenet5_1998", "alexnet_cifar", "cifar_resnet20", "all_cnn_c"])
def test_small_networks_of_the_zoo(name):
    model, (C, H, W) = models.create(name), models.info(name).input_shape
    x = np.random.default_rng(0).normal(size=(2, C, H, W)).astype("float32")
    conv = next(path for path, layer in model.named_layers() if isinstance(layer, Conv2d))
    assert saliency(model, x, [0, 1]).any() and occlusion(model, x, [0, 1], 16, 16).shape == (2, H, W)
    assert class_activation(model, x, [0, 1], conv).shape[1:] == feature_maps(model, x, conv).shape[2:]
    patches = top_patches(model, x, conv, 2)
    assert patches.cut(x, 0).shape[:2] == (2, C)


class Twice(Layer):
    def __init__(self):
        self.conv, self.unused = Conv2d(3, 3, 3, padding=1), ReLU()

    def forward(self, x):
        return self.conv(self.conv(x))


X, Y = np.zeros((2, 3, 6, 6), "float32"), [0, 1]


@pytest.mark.parametrize(
    "call, error, words",
    [
        (lambda: saliency("alexnet", X, Y), ArgumentError, "saliency: model is str: it must be a Layer"),
        (lambda: saliency(Own(), X[0], Y), ShapeError, r"images has shape \(3, 6, 6\): .* images\[None\]"),
        (lambda: saliency(Own(), X[:0], []), ShapeError, r"images has shape \(0, 3, 6, 6\)"),
        (lambda: saliency(Own(), X.astype("uint8"), Y), DTypeError, r"dtype uint8: .* Normalize\(mean, std\)"),
        (lambda: saliency(Own(), X, [0]), ArgumentError, r"labels has dtype int64 and shape \(1,\): .* \(2,\)"),
        (lambda: occlusion(Own(), X, [0.0, 1.0]), ArgumentError, "labels has dtype float64"),
        (lambda: saliency(Own(), X, [0, 3]), ArgumentError, "labels reach from 0 to 3: the network has 3 classes"),
        (lambda: class_activation(Own(), X, [-1, 0]), ArgumentError, "labels reach from -1 to 0"),
        (lambda: saliency(Conv2d(3, 2, 3), X, Y), ArgumentError, r"puts out shape \(2, 2, 4, 4\): .* scores"),
        (lambda: feature_maps(Own(), X, "cov"), ArgumentError, "path has 'cov', .* did you mean conv?"),
        (lambda: feature_maps(Twice(), X, "conv"), ArgumentError, "'conv' ran 2 times: give each call"),
        (lambda: feature_maps(Twice(), X, "unused"), ArgumentError, "'unused' ran 0 times .* name another"),
        (lambda: class_activation(Own(), X, Y, "fc"), ArgumentError, r"'fc' puts out shape \(2, 3\): name a layer"),
        (lambda: occlusion(Own(), X, Y, 7), ArgumentError, "size is 7: .* from 1 to 6"),
        (lambda: occlusion(Own(), X, Y, 2, 3), ArgumentError, "stride is 3: .* from 1 to size, 2"),
        (lambda: occlusion(Own(), X, Y, 2, 2, "grey"), ArgumentError, "fill is 'grey': it must be a number"),
        (lambda: top_patches(Own(), [1, 2], "conv", 1), ShapeError, r"top_patches: images has shape \(1,\)"),
        (lambda: top_patches(Own(), X, "conv", 3), ArgumentError, "count is 3: .* from 1 to 2"),
        (lambda: top_patches(Own(), X, "conv", 1).cut(X, 4), ArgumentError, "channel is 4: there are 4, from 0"),
    ],
)
def test_what_is_refused(call, error, words):
    with pytest.raises(error, match=words):
        call()


def test_an_unknown_receptive_field_is_refused():
    class Crop(Layer):
        def forward(self, x):
            return x[:, :, 1:-1, 1:-1]

    with pytest.raises(ArgumentError, match="top_patches: the receptive field of '1' is not known"):
        top_patches(Sequential(Crop(), Conv2d(3, 2, 1)), X, "1", 1)


def test_all_names_are_there():
    assert all(hasattr(inspect, name) for name in inspect.__all__)
