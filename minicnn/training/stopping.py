"""Early stopping."""

from __future__ import annotations

import math
from typing import Any

from ..errors import check
from ..geometry import is_integer


class EarlyStopping:
    """Stop when a watched result has not improved for `patience` epochs. A NaN is no improvement.

    patience: epochs, at least 1      watch: "test_loss" (the lower, the better) or "test_accuracy" (the higher)
    min_delta: how much better counts as better
    Source: Prechelt 1998, "Early stopping - but when?". Watch a validation split: what is chosen by the test images no
    longer tests anything.
    """

    def __init__(self, patience: int, watch: str = "test_loss", min_delta: float = 0.0) -> None:
        good = is_integer(patience) and patience >= 1
        check(good, f"EarlyStopping: patience is {patience!r}: it must be an integer of at least 1")
        known = watch in ("test_loss", "test_accuracy")
        check(known, f"EarlyStopping: watch is {watch!r}: it must be test_loss or test_accuracy")
        check(min_delta >= 0, f"EarlyStopping: min_delta is {min_delta!r}: it must be at least 0")
        self.patience, self.watch, self.min_delta = int(patience), watch, float(min_delta)
        self.best: float | None = None
        self.best_epoch = 0
        self.waited = 0

    @property
    def stopped(self) -> bool:
        """Whether the best result is `patience` epochs old."""
        return self.waited >= self.patience

    def observe(self, row: dict[str, Any]) -> bool:
        """Look at an epoch's row of the history. Returns whether it is the best so far."""
        result = float(row[self.watch])
        gain = None if self.best is None else (self.best - result) * (1 if self.watch == "test_loss" else -1)
        better = not math.isnan(result) and (gain is None or gain > self.min_delta)
        self.waited = 0 if better else self.waited + 1
        if better:
            self.best, self.best_epoch = result, row["epoch"]
        return better

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps: {"best": result or None, "best_epoch": integer, "waited": epochs}."""
        return {"best": self.best, "best_epoch": self.best_epoch, "waited": self.waited}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where `state_dict` was taken. Raises KeyError where a value is missing."""
        self.best, self.best_epoch, self.waited = state["best"], int(state["best_epoch"]), int(state["waited"])
