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
    shapes = {"x": (1, 2, 4, 4), "w": (2, 2, 3, 3), "one": (2,), "row": (2, 4), "matrix": (4, 4)}
    a = {name: draw.standard_normal(shape, np.float32) for name, shape in shapes.items()}
    mine = {name: Tensor(array, requires_grad=True) for name, array in a.items()}
    calls: dict[str, Callable[[Any, Any], Any]] = {
        "relu": lambda f, t: f.relu(t["x"]),
        "add": lambda f, t: t["x"] + t["x"],
        "conv2d": lambda f, t: f.conv2d(t["x"], t["w"], None, 1, 1),
        "linear": lambda f, t: f.linear(t["row"], t["matrix"]),
        "max_pool2d": lambda f, t: f.max_pool2d(t["x"], 2),
    }
    theirs = {}
    if torch:
        theirs = {name: torch.from_numpy(array).requires_grad_() for name, array in a.items()}
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


def _without_grad(call: Callable[[], Any], who: str) -> None:
    with minicnn.no_grad() if who == "minicnn" else machine.torch().no_grad():
        call()
