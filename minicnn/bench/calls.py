"""Python's share of a call: what an operation costs where there is next to nothing to compute."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np

import minicnn

from .. import Tensor, ops
from . import machine
from .measure import take_turns


def measure(rounds: int) -> Iterator[dict[str, Any]]:
    """A row for each operation on a few numbers, recorded for a backward and not.

    The time is Python's: the kernels take some tenths of a microsecond for so little, on one thread.
    """
    torch = machine.torch()
    draw = np.random.default_rng(0)
    shapes = {
        "x": (1, 2, 4, 4), "w": (2, 2, 3, 3), "scale": (2,), "shift": (2,), "row": (2, 4), "matrix": (4, 4),
    }  # fmt: skip
    a = {name: draw.standard_normal(shape, np.float32) for name, shape in shapes.items()}
    given = {"mean": np.zeros(2, np.float32), "var": np.ones(2, np.float32), "labels": np.array([1, 3])}
    mine: dict[str, Any] = {name: Tensor(array, requires_grad=True) for name, array in a.items()}
    mine |= given | {name: Tensor(given[name].copy()) for name in ("mean", "var")}
    calls: dict[str, Callable[[Any, Any], Any]] = {
        "relu": lambda f, t: f.relu(t["x"]),
        "add": lambda f, t: t["x"] + t["x"],
        "conv2d": lambda f, t: f.conv2d(t["x"], t["w"], None, 1, 1),
        "linear": lambda f, t: f.linear(t["row"], t["matrix"]),
        "max_pool2d": lambda f, t: f.max_pool2d(t["x"], 2),
        "batch_norm + relu, training": lambda f, t: _batch_norm_relu(f, t, True),
        "batch_norm + relu, in use": lambda f, t: _batch_norm_relu(f, t, False),
        "cross_entropy": lambda f, t: f.cross_entropy(t["row"], t["labels"]),
    }
    theirs = {}
    if torch:
        theirs = {name: torch.from_numpy(array).requires_grad_() for name, array in a.items()}
        theirs |= {name: torch.from_numpy(array) for name, array in given.items()}
    for name, call in calls.items():
        for what, quiet in (("recorded", False), ("no_grad", True)):
            both: dict[str, Callable[[], Any]] = {"minicnn": partial(call, ops, mine)}
            if torch:
                both["torch"] = partial(call, torch.nn.functional, theirs)
            if quiet:
                both = {who: partial(_without_grad, each, who) for who, each in both.items()}
            yield {
                "part": "calls", "name": name, "what": what, "precision": "highest", "flops": 0.0, "bytes": 0.0,
                "times": take_turns(both, rounds, 0.02),
            }  # fmt: skip


def _batch_norm_relu(f: Any, t: Any, training: bool) -> Any:
    """As a layer calls it: one operation of ours, two of PyTorch's."""
    if f is ops:
        return ops.batch_norm(t["x"], t["scale"], t["shift"], t["mean"], t["var"], training, relu=True)
    return f.relu(f.batch_norm(t["x"], t["mean"], t["var"], t["scale"], t["shift"], training))


def _without_grad(call: Callable[[], Any], who: str) -> None:
    with minicnn.no_grad() if who == "minicnn" else machine.torch().no_grad():
        call()
