"""The optimisers, against recurrences written out in NumPy float64; clipping; groups; states; bad arguments."""

import numpy as np
import pytest

from minicnn import Tensor, optim
from minicnn.errors import ArgumentError, CheckpointError, DTypeError, GradientError
from minicnn.layers.base import Parameter

SHAPES = [(5,), (3, 2), (1,), (4, 3, 3, 3), (700,)]


def draw(seed, shape):
    return np.random.default_rng(seed).standard_normal(shape)


def sgd(w, gradients, lr, momentum=0.0, decay=0.0, nesterov=False):
    v = np.zeros_like(w)
    for g in gradients:
        g = g + decay * w
        v = momentum * v + g
        w = w - lr * (g + momentum * v if nesterov else v)
    return w


def adam(w, gradients, lr, betas=(0.9, 0.999), eps=1e-8, decay=0.0, decoupled=False):
    m, v = np.zeros_like(w), np.zeros_like(w)
    for t, g in enumerate(gradients, 1):
        if decoupled:
            w = w - lr * decay * w
        else:
            g = g + decay * w
        m = betas[0] * m + (1 - betas[0]) * g
        v = betas[1] * v + (1 - betas[1]) * g * g
        w = w - lr * (m / (1 - betas[0] ** t)) / (np.sqrt(v / (1 - betas[1] ** t)) + eps)
    return w


CASES = [
    (optim.SGD, {}, sgd, {}),
    (optim.SGD, {"momentum": 0.9}, sgd, {"momentum": 0.9}),
    (optim.SGD, {"momentum": 0.9, "weight_decay": 0.1}, sgd, {"momentum": 0.9, "decay": 0.1}),
    (optim.SGD, {"weight_decay": 0.1}, sgd, {"decay": 0.1}),
    (optim.SGD, {"momentum": 0.8, "weight_decay": 0.1, "nesterov": True}, sgd,
     {"momentum": 0.8, "decay": 0.1, "nesterov": True}),
    (optim.Adam, {}, adam, {}),
    (optim.Adam, {"betas": (0.5, 0.9), "eps": 1e-3, "weight_decay": 0.1}, adam,
     {"betas": (0.5, 0.9), "eps": 1e-3, "decay": 0.1}),
    (optim.AdamW, {"weight_decay": 0.1}, adam, {"decay": 0.1, "decoupled": True}),
]  # fmt: skip


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("kind, options, recurrence, its", CASES)
def test_steps_follow_the_recurrence(kind, options, recurrence, its, dtype):
    for shape in SHAPES:
        start, gradients = draw(0, shape), [draw(s, shape) for s in range(1, 6)]
        w = Tensor(start.astype(dtype), requires_grad=True)
        optimizer = kind([w], lr=0.05, **options)
        for g in gradients:
            w.grad = Tensor(g.astype(dtype))
            optimizer.step()
            np.testing.assert_array_equal(w.grad.numpy(), g.astype(dtype), "a step only reads the gradient")
        expected = recurrence(start, gradients, 0.05, **its)
        np.testing.assert_allclose(w.numpy(), expected, rtol=0, atol=3e-6 if dtype == np.float32 else 1e-13)


def test_steps_are_in_place_and_raise_the_version():
    w = Tensor(np.ones(3), requires_grad=True)
    optimizer, array, version = optim.SGD([w], 0.1, momentum=0.9), w.data, w._version.value
    loss = (w * w).sum()
    loss.backward(retain_graph=True)
    optimizer.step()
    assert w.data is array and w._version.value > version
    with pytest.raises(GradientError, match="changed in place"):
        loss.backward()
    optimizer.zero_grad()
    assert w.grad is None


@pytest.mark.parametrize("kind", [lambda p: optim.SGD(p, 0.1, 0.9), lambda p: optim.Adam(p, 0.1)], ids=["sgd", "adam"])
def test_the_state_follows_a_parameter_to_another_dtype(kind):
    """What it holds is kept, and computed with at the new precision."""
    ends = []
    for before, after in ((np.float64, np.float64), (np.float32, np.float64)):
        w = Tensor(np.array([1.0, -2.0], before), requires_grad=True)
        optimizer = kind([w])
        for dtype in (before, after):
            w.data = w.data.astype(dtype)
            w.grad = Tensor(np.array([1 / 3, 2 / 3], np.float32).astype(dtype))
            optimizer.step()
        ends.append(w.numpy())
        assert {v.dtype for v in optimizer.state[w].values() if not isinstance(v, int)} == {np.dtype(after)}
    np.testing.assert_allclose(*ends, rtol=1e-6)


def test_frozen_and_unused_parameters_stay():
    used, unused, frozen = (Tensor(np.ones(2), requires_grad=True) for _ in range(3))
    optimizer = optim.SGD([used, unused, frozen], 0.1, momentum=0.9, weight_decay=0.5)
    used.grad = Tensor(np.ones(2))
    frozen.grad = Tensor(np.ones(2))
    frozen.requires_grad = False
    optimizer.step()
    assert (used.numpy() != 1).all() and (unused.numpy() == 1).all() and (frozen.numpy() == 1).all()


def test_groups_and_caffe_multipliers():
    """Caffe's usual bias: twice the learning rate, no decay."""
    weight, bias = Parameter(np.ones(2)), Parameter(np.ones(2), lr_mult=2, decay_mult=0)
    other = Parameter(np.ones(2), lr_mult=3)
    groups = [{"params": [weight, bias]}, {"params": other, "lr": 0.01, "lr_mult": 5, "decay_mult": 0.5}]
    optimizer = optim.SGD(groups, lr=0.1, weight_decay=0.5)
    for p in (weight, bias, other):
        p.grad = Tensor(np.full(2, 2.0))
    optimizer.step()
    np.testing.assert_allclose(weight.numpy(), 1 - 0.1 * 2.5)
    np.testing.assert_allclose(bias.numpy(), 1 - 0.2 * 2)
    np.testing.assert_allclose(other.numpy(), 1 - 0.01 * 15 * 2.25)


@pytest.mark.parametrize("kind, options, recurrence, its", CASES)
def test_state_goes_on_bit_for_bit(kind, options, recurrence, its):
    def steps(w, optimizer, seeds):
        for s in seeds:
            w.grad = Tensor(draw(s, (4, 3)).astype(np.float32))
            optimizer.step()

    one = Tensor(np.ones((4, 3), np.float32), requires_grad=True)
    first = kind([one], lr=0.05, **options)
    steps(one, first, range(3))
    two = Tensor(one.numpy().copy(), requires_grad=True)
    second = kind([two], lr=0.7, **options)
    second.load_state_dict(first.state_dict())
    steps(one, first, range(3, 6))
    steps(two, second, range(3, 6))
    np.testing.assert_array_equal(one.numpy(), two.numpy())
    assert second.param_groups[0]["lr"] == 0.05


def test_a_state_that_does_not_fit_changes_nothing():
    w = Tensor(np.ones(3), requires_grad=True)
    optimizer = optim.SGD([w], 0.1, momentum=0.9)
    w.grad = Tensor(np.ones(3))
    optimizer.step()
    state = optimizer.state_dict()
    other = optim.SGD([Tensor(np.ones(4), requires_grad=True)], 0.2, momentum=0.9)
    with pytest.raises(CheckpointError, match=r"\(3,\).*\(4,\).*another network"):
        other.load_state_dict(state)
    assert other.param_groups[0]["lr"] == 0.2
    with pytest.raises(CheckpointError, match="use that optimiser"):
        optim.Adam([w]).load_state_dict(state)
    with pytest.raises(CheckpointError, match="must agree"):
        optim.SGD([w, Tensor(np.ones(1), requires_grad=True)], 0.1).load_state_dict(state)


def test_clip_grad_norm():
    parameters = [Tensor(np.zeros(n), requires_grad=True) for n in (3, 4)]
    for p, g in zip(parameters, ([3.0, 0, 0], [0, 4.0, 0, 0])):
        p.grad = Tensor(np.array(g))
    assert optim.clip_grad_norm(parameters, float("inf")) == 5
    assert optim.clip_grad_norm(parameters, 10) == 5
    assert parameters[0].grad.numpy()[0] == 3
    assert optim.clip_grad_norm(parameters, 1) == 5
    assert optim.clip_grad_norm(parameters, 100) == pytest.approx(1, rel=1e-6)
    assert optim.clip_grad_norm([Tensor([1.0], requires_grad=True)], 1) == 0


def test_the_norm_of_large_gradients_does_not_overflow():
    p = Tensor(np.zeros(4, np.float32), requires_grad=True)
    p.grad = Tensor(np.full(4, 1e30, np.float32))
    assert optim.clip_grad_norm([p], 1.0) == pytest.approx(2e30)
    np.testing.assert_allclose(p.grad.numpy(), 0.5, rtol=1e-6)


def test_clip_grad_value():
    p = Tensor(np.zeros(4), requires_grad=True)
    p.grad = Tensor(np.array([-3.0, -0.5, 0.5, np.inf]))
    optim.clip_grad_value(p, 1)
    np.testing.assert_array_equal(p.grad.numpy(), [-1, -0.5, 0.5, 1])


W = Tensor(np.ones(2), requires_grad=True)


@pytest.mark.parametrize(
    "make, error, words",
    [
        (lambda: optim.SGD([], 0.1), ArgumentError, "parameters is empty"),
        (lambda: optim.SGD(W, 0.1), DTypeError, "must be a list"),
        (lambda: optim.SGD([W, W], 0.1), ArgumentError, "given twice"),
        (lambda: optim.SGD([np.ones(2)], 0.1), DTypeError, "must be a Tensor"),
        (lambda: optim.SGD([W * 2], 0.1), GradientError, "only leaves"),
        (lambda: optim.SGD([W], -1), ArgumentError, "lr is -1: it must be a number of at least 0"),
        (lambda: optim.SGD([W], float("nan")), ArgumentError, "lr is nan"),
        (lambda: optim.SGD([W], "fast"), ArgumentError, "lr is 'fast'"),
        (
            lambda: optim.SGD([W], 0.1, momentum=1),
            ArgumentError,
            "momentum is 1: it must be at least 0 and less than 1",
        ),
        (lambda: optim.SGD([W], 0.1, weight_decay=-1e-4), ArgumentError, "weight_decay is -0.0001"),
        (lambda: optim.SGD([W], 0.1, nesterov=True), ArgumentError, "nesterov needs a momentum"),
        (lambda: optim.SGD([{"params": [W], "speed": 1}], 0.1), ArgumentError, "speed is no setting of SGD"),
        (lambda: optim.SGD([{"lr": 1}], 0.1), DTypeError, 'a dict with "params"'),
        (lambda: optim.SGD([{"params": [W], "lr_mult": -1}], 0.1), ArgumentError, "lr_mult is -1"),
        (lambda: optim.Adam([W], betas=(0.9, 1)), ArgumentError, "betas is 1"),
        (lambda: optim.Adam([W], betas=0.9), ArgumentError, "two numbers"),
        (lambda: optim.AdamW([W], eps=0), ArgumentError, "eps is 0"),
        (lambda: optim.clip_grad_norm([W], 0), ArgumentError, "max_norm is 0"),
        (lambda: optim.clip_grad_value([W], -1), ArgumentError, "value is -1"),
    ],
)
def test_bad_arguments_are_named(make, error, words):
    with pytest.raises(error, match=words):
        make()


def test_a_gradient_of_another_shape_is_refused():
    w = Tensor(np.ones(2), requires_grad=True)
    w.grad = Tensor(np.ones(3))
    with pytest.raises(GradientError, match=r"\(3,\).*\(2,\)"):
        optim.SGD([w], 0.1).step()
