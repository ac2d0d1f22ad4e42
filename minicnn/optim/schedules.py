"""Learning-rate schedules: pure functions of the step number, and the object that applies one to an optimiser.

A schedule called with a step number (0, 1, 2, ...) gives the factor by which every group's own learning rate is
multiplied. Whether a step is a batch or an epoch is for the caller to choose. Being pure functions, they resume from an
integer; only `ReduceOnPlateau`, which watches a result, holds a few numbers of its own.

    scheduler = Scheduler(optimizer, Warmup(Cosine(steps=5000), steps=500))
    for images, labels in batches:
        ...
        optimizer.step()
        scheduler.step()
"""

from __future__ import annotations

import bisect
import math
from collections.abc import Sequence
from typing import Any, Protocol

from ..errors import ArgumentError, CheckpointError, check
from ..geometry import is_integer
from .optimizer import Optimizer, number


class Schedule(Protocol):
    """Anything that gives a factor for a step number; a function will do."""

    def __call__(self, step: int) -> float: ...


def _count(owner: str, name: str, value: Any, low: int = 1) -> int:
    check(is_integer(value) and value >= low, f"{owner}: {name} is {value!r}: it must be an integer of at least {low}")
    return int(value)


class _Shown:
    """Shows the arguments, such as `Cosine(steps=100, end=0.0)`."""

    def __repr__(self) -> str:
        public = {k: v for k, v in vars(self).items() if not k.startswith("_")}
        return f"{type(self).__name__}({', '.join(f'{k}={v!r}' for k, v in public.items())})"


class Constant(_Shown):
    """Always 1."""

    def __call__(self, step: int) -> float:
        return 1.0


class Step(_Shown):
    """Multiply by `gamma` every `step_size` steps. Raises ArgumentError unless step_size >= 1 and gamma >= 0."""

    def __init__(self, step_size: int, gamma: float = 0.1) -> None:
        self.step_size = _count("Step", "step_size", step_size)
        self.gamma = number("Step", "gamma", gamma, "a number of at least 0", 0)

    def __call__(self, step: int) -> float:
        return float(self.gamma ** (step // self.step_size))


class MultiStep(_Shown):
    """Multiply by `gamma` at each of the steps in `milestones`. Raises ArgumentError unless they rise."""

    def __init__(self, milestones: Sequence[int], gamma: float = 0.1) -> None:
        self.milestones = [_count("MultiStep", "a milestone", m, 0) for m in milestones]
        rising = all(a < b for a, b in zip(self.milestones, self.milestones[1:]))
        check(rising, f"MultiStep: milestones is {self.milestones}: they must rise, such as [30, 60, 90]")
        self.gamma = number("MultiStep", "gamma", gamma, "a number of at least 0", 0)

    def __call__(self, step: int) -> float:
        return float(self.gamma ** bisect.bisect_right(self.milestones, step))


class Polynomial(_Shown):
    """(1 - step/steps) ** power, Caffe's "poly"; 0 from `steps` on. Power 1 is a straight line."""

    def __init__(self, steps: int, power: float = 1.0) -> None:
        self.steps = _count("Polynomial", "steps", steps)
        self.power = number("Polynomial", "power", power, "a number above 0", 0, open=True)

    def __call__(self, step: int) -> float:
        return float((1 - min(step, self.steps) / self.steps) ** self.power)


class Cosine(_Shown):
    """Half a cosine from 1 down to `end` (0 .. 1) over `steps` steps; `end` afterwards.

    Source: Loshchilov and Hutter 2017, "SGDR", arXiv:1608.03983 (without the restarts).
    """

    def __init__(self, steps: int, end: float = 0.0) -> None:
        self.steps = _count("Cosine", "steps", steps)
        self.end = number("Cosine", "end", end, "a number of at least 0", 0)

    def __call__(self, step: int) -> float:
        return _cosine(1.0, self.end, min(step, self.steps) / self.steps)


class OneCycle(_Shown):
    """Half a cosine up from `start` to 1 over the first `warmup` share of the steps, half a cosine down to `end` over the rest.

    steps: the number of steps of the whole training; step numbers run from 0 to steps - 1.
    warmup: the share of the steps that goes up, 0 .. 1 (1 excluded).      start, end: factors of the peak, at least 0.
    The optimiser's own learning rate is the peak. The shape and the default start are PyTorch's; its momentum cycle is left out.
    Source: Smith and Topin 2018, "Super-convergence", arXiv:1708.07120.
    """

    def __init__(self, steps: int, warmup: float = 0.3, start: float = 0.04, end: float = 4e-6) -> None:
        self.steps = _count("OneCycle", "steps", steps)
        self.warmup = number("OneCycle", "warmup", warmup, "at least 0 and less than 1", 0, 1)
        self.start = number("OneCycle", "start", start, "a number of at least 0", 0)
        self.end = number("OneCycle", "end", end, "a number of at least 0", 0)

    def __call__(self, step: int) -> float:
        peak = self.warmup * self.steps - 1
        last = self.steps - 1
        if step < peak:
            return _cosine(self.start, 1.0, step / peak)
        rest = last - max(peak, 0.0)
        return _cosine(1.0, self.end, min((step - max(peak, 0.0)) / rest, 1.0) if rest > 0 else 0.0)


def _cosine(start: float, end: float, share: float) -> float:
    """From `start` at share 0 to `end` at share 1 along half a cosine."""
    return end + (start - end) * (1 + math.cos(math.pi * share)) / 2


class Warmup(_Shown):
    """A straight line from `start` up to 1 over `steps` steps, then the other schedule from its beginning.

    Source: Goyal et al. 2017, "Accurate, large minibatch SGD", arXiv:1706.02677.
    """

    def __init__(self, schedule: Schedule, steps: int, start: float = 0.0) -> None:
        check(callable(schedule), f"Warmup: schedule is {schedule!r}: it must be a schedule, such as Cosine(1000)")
        self.schedule = schedule
        self.steps = _count("Warmup", "steps", steps, 0)
        self.start = number("Warmup", "start", start, "a number of at least 0", 0)

    def __call__(self, step: int) -> float:
        if step < self.steps:
            # The first step already moves a little: step + 1, so that start = 0 does not waste it.
            return (self.start + (1 - self.start) * (step + 1) / (self.steps + 1)) * self.schedule(0)
        return self.schedule(step - self.steps)


class ReduceOnPlateau(_Shown):
    """Multiply by `factor` when a watched result has not improved for more than `patience` observations.

    mode: "min" (a loss) or "max" (an accuracy).      factor: between 0 and 1.
    threshold: the relative improvement that counts.      floor: the smallest factor that it goes down to.
    Call `observe(result)`, usually once an epoch. A NaN counts as no improvement.
    """

    def __init__(
        self, mode: str = "min", factor: float = 0.1, patience: int = 10, threshold: float = 1e-4, floor: float = 0.0
    ) -> None:  # fmt: skip
        check(mode in ("min", "max"), f"ReduceOnPlateau: mode is {mode!r}: it must be min or max")
        self.mode = mode
        self.factor = number("ReduceOnPlateau", "factor", factor, "between 0 and 1", 0, 1, open=True)
        self.patience = _count("ReduceOnPlateau", "patience", patience, 0)
        self.threshold = number("ReduceOnPlateau", "threshold", threshold, "a number of at least 0", 0)
        self.floor = number("ReduceOnPlateau", "floor", floor, "0 .. 1", 0, 1)
        self._scale, self._best, self._waited = 1.0, math.inf if mode == "min" else -math.inf, 0

    def __call__(self, step: int) -> float:
        return self._scale

    def observe(self, result: float) -> None:
        """Take note of the newest result."""
        result = float(result)
        if math.isinf(self._best):
            better = result < self._best if self.mode == "min" else result > self._best
        else:
            margin = self.threshold * abs(self._best)
            better = result < self._best - margin if self.mode == "min" else result > self._best + margin
        self._waited = 0 if better else self._waited + 1
        if better:
            self._best = result
        if self._waited > self.patience:
            self._scale, self._waited = max(self._scale * self.factor, self.floor), 0

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps: {"scale": factor so far, "best": result or None, "waited": epochs}."""
        best = None if math.isinf(self._best) else self._best  # JSON has no infinity
        return {"scale": self._scale, "best": best, "waited": self._waited}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where `state_dict` was taken. Raises KeyError where a value is missing."""
        self._scale, self._waited = float(state["scale"]), int(state["waited"])
        worst = math.inf if self.mode == "min" else -math.inf
        self._best = worst if state["best"] is None else float(state["best"])


def watcher_of(schedule: Any) -> ReduceOnPlateau | None:
    """The ReduceOnPlateau in a schedule, if there is one."""
    while isinstance(schedule, Warmup):
        schedule = schedule.schedule
    return schedule if isinstance(schedule, ReduceOnPlateau) else None


class Scheduler:
    """Sets the learning rate of every group of an optimiser: the group's own rate times the schedule's factor.

    The rate of step 0 is set at once; call `step()` after each `optimizer.step()` (or after each epoch).
    schedule: one of this module, or any function of the step number.
    """

    def __init__(self, optimizer: Optimizer, schedule: Schedule) -> None:
        check(callable(schedule), f"Scheduler: schedule is {schedule!r}: it must be a function of the step number")
        self.optimizer, self.schedule = optimizer, schedule
        self.step_number = 0
        self.base_lrs: list[float] = [group["lr"] for group in optimizer.param_groups]
        self._apply()

    def _apply(self) -> None:
        factor = self.schedule(self.step_number)
        if not (isinstance(factor, (int, float)) and math.isfinite(factor) and factor >= 0):
            raise ArgumentError(
                f"Scheduler: {self.schedule!r} gave {factor!r} at step {self.step_number}: it must give a number of at least 0"
            )
        for lr, group in zip(self.base_lrs, self.optimizer.param_groups):
            group["lr"] = lr * factor

    def step(self) -> None:
        """Go to the next step."""
        self.step_number += 1
        self._apply()

    def observe(self, result: float) -> None:
        """Show the newest result to a ReduceOnPlateau (also inside a Warmup); other schedules do not look at it."""
        watcher = watcher_of(self.schedule)
        if watcher is not None:
            watcher.observe(result)
            self._apply()

    @property
    def last_lrs(self) -> list[float]:
        """The learning rate of each group now."""
        return [group["lr"] for group in self.optimizer.param_groups]

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps: {"step": integer, "base_lrs": one for each group, "watched": the plateau's state or None}."""
        watcher = watcher_of(self.schedule)
        return {
            "step": self.step_number,
            "base_lrs": self.base_lrs,
            "watched": watcher.state_dict() if watcher else None,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where `state_dict` was taken. Raises CheckpointError where the groups or the schedule differ in kind."""
        watcher = watcher_of(self.schedule)
        fits = len(state["base_lrs"]) == len(self.optimizer.param_groups) and (watcher is None) == (
            state["watched"] is None
        )
        check(
            fits,
            f"Scheduler: the saved state does not fit {self.schedule!r}: use the schedule of the saved run",
            CheckpointError,
        )
        self.step_number, self.base_lrs = int(state["step"]), [float(lr) for lr in state["base_lrs"]]
        if watcher is not None:
            watcher.load_state_dict(state["watched"])
        self._apply()
