"""Initial weights: their spread, their fans, their names in Caffe, and that a seed repeats them."""

import math

import numpy as np
import pytest

import minicnn
from minicnn import Tensor
from minicnn.errors import ArgumentError
from minicnn.layers import Conv2d, ConvTranspose2d, Linear, ReLU, Sequential, init


def weight(*shape):
    return Tensor(np.full(shape, np.nan, np.float32))


@pytest.mark.parametrize(
    ("fill", "variance"),
    [
        (init.he_normal, 2 / 450),
        (init.he_uniform, 2 / 450),
        (lambda w: init.he_normal(w, "fan_out"), 2 / 1800),
        (lambda w: init.he_normal(w, negative_slope=1.0), 1 / 450),
        (init.xavier_uniform, 1 / 1125),
        (init.xavier_normal, 1 / 1125),
        (lambda w: init.xavier_normal(w, gain=2.0, mode="fan_in"), 4 / 450),
        (lambda w: init.gaussian(w, 0.01), 1e-4),
        (lambda w: init.uniform(w, -3, 3), 3),
        (init.filler("msra"), 2 / 450),
        (init.filler("msra", variance_norm="FAN_OUT"), 2 / 1800),
        (init.filler("xavier"), 1 / 450),
        (init.filler("xavier", variance_norm="AVERAGE"), 1 / 1125),
        (init.filler("gaussian", std=0.5), 0.25),
        (init.filler("uniform", min=-3, max=3), 3),
    ],
)
def test_the_spread_of_a_filler(fill, variance):
    w = weight(200, 50, 3, 3)
    assert fill(w) is w
    values = w.numpy()
    assert abs(values.mean()) < 0.02 * math.sqrt(variance)
    assert values.var() == pytest.approx(variance, rel=0.02)


def test_constants_means_and_bounds():
    assert (init.filler("constant", value=0.5)(weight(3)).numpy() == 0.5).all()
    assert (init.constant(weight(2, 2)).numpy() == 0).all()
    assert init.gaussian(weight(10000), 0.1, mean=3).numpy().mean() == pytest.approx(3, abs=0.01)
    values = init.xavier_uniform(weight(100, 200)).numpy()
    bound = math.sqrt(6 / 300)
    assert values.min() >= -bound and values.max() <= bound and values.max() > 0.95 * bound
    assert init.fans(weight(6, 2, 5, 3)) == (30, 90)


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda: init.filler("bilinear"), "kind is 'bilinear'"),
        (lambda: init.filler("gaussian", sigma=1), "no option 'sigma': it takes mean, std"),
        (lambda: init.filler("msra", variance_norm="fan_in"), "FAN_IN, FAN_OUT, AVERAGE"),
        (lambda: init.he_normal(weight(3)), "must be (out, in) or"),
        (lambda: init.he_normal(weight(3, 3), "fan"), "mode is 'fan'"),
        (lambda: init.gaussian(weight(3), -1), "std is -1"),
        (lambda: init.uniform(weight(3), 1, 0), "low is 1"),
        (lambda: init.fill(None, init.he_normal), "must be a Layer"),
    ],
)
def test_a_bad_argument_is_named(call, text):
    with pytest.raises(ArgumentError) as caught:
        call()
    assert text in str(caught.value)


def test_a_seed_repeats_the_weights_and_every_parameter_gets_its_own():
    def make():
        minicnn.manual_seed(11)
        return Sequential(Linear(8, 8), ReLU(), Linear(8, 8))

    first, second = make(), make()
    assert (first[0].weight.numpy() == second[0].weight.numpy()).all()
    assert (first[0].weight.numpy() != first[2].weight.numpy()).any()
    assert not first[0].bias.numpy().any()


def test_the_default_keeps_the_size_of_activations_through_a_deep_plain_net():
    net = Sequential(*[layer for _ in range(20) for layer in (Linear(256, 256), ReLU())])
    x = Tensor(np.random.default_rng(0).standard_normal((32, 256)).astype(np.float32))
    ratio = float((net(x).numpy() ** 2).mean() / (x.numpy() ** 2).mean())
    assert 0.1 < ratio < 3
    for layer in (Conv2d(4, 512, 3), ConvTranspose2d(512, 4, 3)):
        assert layer.weight.numpy().var() == pytest.approx(2 / (36 if isinstance(layer, Conv2d) else 4608), rel=0.1)


def test_fill_reaches_weights_and_biases_of_a_whole_model():
    net = Sequential(Conv2d(3, 4, 3), Sequential(Linear(4, 4, bias=False)))
    assert init.fill(net, init.filler("constant", value=2), init.filler("constant", value=1)) is net
    assert (
        (net[0].weight.numpy() == 2).all()
        and (net[0].bias.numpy() == 1).all()
        and (net[1][0].weight.numpy() == 2).all()
    )
