"""The errors of minicnn, and `check`, which raises them.

Every message names the operation, the argument, its value, the rule and the way out. Inside a model the
outermost layer adds the path of the layer that failed: `features.3 (MaxPool2d): a 3x3 window ...`.
"""

from __future__ import annotations

import threading
from typing import Any


class MinicnnError(Exception):
    """Base of every error that minicnn raises on purpose."""

    located = False

    def locate(self, where: str) -> None:
        """Put the path of the failing layer in front of the message, once."""
        if where and not self.located:
            self.located = True
            self.args = (f"{where}: {self.args[0] if self.args else ''}", *self.args[1:])


class ArgumentError(MinicnnError, ValueError):
    """A value breaks the rule for its argument."""


class ShapeError(ArgumentError):
    """Shapes do not fit each other, or a window does not fit its map."""


class IndexingError(ShapeError, IndexError):
    """An index lies outside the array."""


class WindowError(ShapeError):
    """A window does not fit its map, or the map is too small: a model that sees it adds how large its input has to be."""


class DTypeError(MinicnnError, TypeError):
    """A dtype or a type that the operation does not take."""


class BackendError(MinicnnError, RuntimeError):
    """A backend is missing, or was asked for something that it cannot do."""


class OutOfMemory(MinicnnError, MemoryError):
    """An array is larger than what the system, or the GPU, still has."""


class GradientError(MinicnnError, RuntimeError):
    """A derivative that cannot be computed: freed graph, changed array, missing gradient."""


class AnomalyError(GradientError):
    """`detect_anomaly()` saw a NaN or an infinity appear."""


class DataError(MinicnnError, RuntimeError):
    """A dataset or picture that cannot be found, read or trusted."""


class CheckpointError(MinicnnError, RuntimeError):
    """A checkpoint or weights file that cannot be read, or does not belong to this run."""


def check(condition: Any, message: str, error: type[MinicnnError] = ArgumentError) -> None:
    """Raise `error(message)` unless `condition` holds. Off the hot path: the message is built by the caller."""
    if not condition:
        raise error(message)


def short(text: str, most: int = 80) -> str:
    """The text, or its beginning where it is long: for messages that quote what somebody wrote."""
    return text if len(text) <= most else text[: most - 3] + "..."


class _Calls(threading.local):
    def __init__(self) -> None:
        self.stack: list[Any] = []


calls = _Calls()
"""The layers being called in this thread, outermost first. Layers push themselves; errors and anomaly mode read it."""


def where() -> str:
    """The path and kind of the innermost layer being called, such as `features.3 (MaxPool2d)`, or ""."""
    stack = calls.stack
    return stack[0].path_of(stack[-1]) if stack else ""
