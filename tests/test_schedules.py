"""Schedules against their formulas, at their corners, and how they are applied, resumed and refused."""

import math

import numpy as np
import pytest

from minicnn import Tensor, optim
from minicnn.errors import ArgumentError, CheckpointError


def optimizer(*lrs):
    return optim.SGD([{"params": [Tensor([1.0], requires_grad=True)], "lr": lr} for lr in lrs], 1.0)


def values(schedule, steps):
    return [schedule(step) for step in steps]


def test_step_and_multi_step():
    assert values(optim.Step(3, 0.5), range(7)) == [1, 1, 1, 0.5, 0.5, 0.5, 0.25]
    assert values(optim.MultiStep([2, 3], 0.1), range(5)) == pytest.approx([1, 1, 0.1, 0.01, 0.01])
    assert values(optim.MultiStep([]), [0, 100]) == [1, 1]


def test_polynomial_and_cosine():
    assert values(optim.Polynomial(4, 2), range(6)) == pytest.approx([1, 9 / 16, 4 / 16, 1 / 16, 0, 0])
    assert values(optim.Polynomial(4), range(6)) == pytest.approx([1, 0.75, 0.5, 0.25, 0, 0])
    expected = [0.2 + 0.8 * (1 + math.cos(math.pi * t / 10)) / 2 for t in range(11)]
    assert values(optim.Cosine(10, end=0.2), range(11)) == pytest.approx(expected)
    assert optim.Cosine(10)(99) == pytest.approx(0)


def test_one_cycle():
    """PyTorch's numbers for OneCycleLR(max_lr=1, total_steps=10), its defaults: peak at step 0.3*10 - 1."""
    expected = [
        0.04, 0.52, 1.0, 0.9504846320, 0.8117456540, 0.6112620220, 0.3887419780, 0.1882583460, 0.0495193680, 4e-06,
    ]  # fmt: skip
    assert values(optim.OneCycle(10), range(10)) == pytest.approx(expected, abs=1e-9)
    assert optim.OneCycle(10)(50) == pytest.approx(4e-6)
    assert optim.OneCycle(10, warmup=0)(0) == 1
    assert values(optim.OneCycle(1), range(2)) == [1, 1]
    assert max(values(optim.OneCycle(1000, 0.25), range(1000))) == pytest.approx(1, abs=1e-4)


def test_warm_up():
    assert values(optim.Warmup(optim.Constant(), 4), range(6)) == pytest.approx([0.2, 0.4, 0.6, 0.8, 1, 1])
    assert values(optim.Warmup(optim.Constant(), 1, start=0.5), range(3)) == pytest.approx([0.75, 1, 1])
    assert values(optim.Warmup(optim.Step(2, 0.1), 2), range(5)) == pytest.approx([1 / 3, 2 / 3, 1, 1, 0.1])


def test_plateau():
    schedule = optim.ReduceOnPlateau(factor=0.5, patience=1, floor=0.2)
    seen = []
    for result in [3, 2, 2, 2, 1.9, float("nan"), 5, 5, 5]:
        schedule.observe(result)
        seen.append(schedule(0))
    assert seen == [1, 1, 1, 0.5, 0.5, 0.5, 0.25, 0.25, 0.2]
    rising = optim.ReduceOnPlateau("max", patience=0)
    for result in [0.1, 0.2, 0.2]:
        rising.observe(result)
    assert rising(0) == pytest.approx(0.1)


def test_a_zero_loss_and_negative_results_are_no_progress_in_themselves():
    schedule = optim.ReduceOnPlateau(patience=0)
    for result in [-1.0, -1.0]:
        schedule.observe(result)
    assert schedule(0) == pytest.approx(0.1)


def test_application_scales_every_group():
    sgd = optimizer(0.1, 1.0)
    scheduler = optim.Scheduler(sgd, optim.Step(2, 0.1))
    seen = [scheduler.last_lrs]
    for _ in range(2):
        scheduler.step()
        seen.append(scheduler.last_lrs)
    np.testing.assert_allclose(seen, [[0.1, 1], [0.1, 1], [0.01, 0.1]])
    assert optim.Scheduler(optimizer(2.0), lambda step: 1 / (step + 2)).last_lrs == [1.0]


@pytest.mark.parametrize(
    "make",
    [
        lambda: optim.Cosine(20),
        lambda: optim.Warmup(optim.OneCycle(20), 3),
        lambda: optim.Warmup(optim.ReduceOnPlateau(patience=0), 3),
    ],
)
def test_resuming_gives_the_same_rates(make):
    one = optim.Scheduler(optimizer(0.3), make())
    for step in range(7):
        one.step()
        one.observe(1.0 + step)
    two = optim.Scheduler(optimizer(0.9), make())
    two.load_state_dict(one.state_dict())
    assert two.last_lrs == one.last_lrs
    for step in range(7):
        for scheduler in (one, two):
            scheduler.step()
            scheduler.observe(0.5 + step)
        assert two.last_lrs == one.last_lrs


def test_a_state_of_another_kind_is_refused():
    state = optim.Scheduler(optimizer(0.3), optim.ReduceOnPlateau()).state_dict()
    with pytest.raises(CheckpointError, match="does not fit Cosine"):
        optim.Scheduler(optimizer(0.3), optim.Cosine(3)).load_state_dict(state)


@pytest.mark.parametrize(
    "make, words",
    [
        (lambda: optim.Step(0), "step_size is 0: it must be an integer of at least 1"),
        (lambda: optim.Step(3, -1), "gamma is -1"),
        (lambda: optim.MultiStep([30, 20]), "they must rise"),
        (lambda: optim.MultiStep([1.5]), "a milestone is 1.5"),
        (lambda: optim.Polynomial(10, 0), "power is 0"),
        (lambda: optim.Cosine(-1), "steps is -1"),
        (lambda: optim.OneCycle(10, warmup=1), "warmup is 1"),
        (lambda: optim.Warmup(5, 5), "schedule is 5"),
        (lambda: optim.Warmup(optim.Constant(), -1), "steps is -1"),
        (lambda: optim.ReduceOnPlateau("best"), "mode is 'best'"),
        (lambda: optim.ReduceOnPlateau(factor=1), "factor is 1"),
        (lambda: optim.ReduceOnPlateau(patience=-1), "patience is -1"),
        (lambda: optim.Scheduler(optimizer(1.0), 0.1), "schedule is 0.1"),
        (lambda: optim.Scheduler(optimizer(1.0), lambda step: float("nan")), "gave nan at step 0"),
    ],
)
def test_bad_arguments_are_named(make, words):
    with pytest.raises(ArgumentError, match=words):
        make()
