"""What the engine does in this thread: whether it records, and whether it looks for anomalies."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from .errors import AnomalyError


class Mode(threading.local):
    recording = True
    anomaly = False


mode = Mode()


def is_recording() -> bool:
    """Whether operations in this thread are being recorded for a backward."""
    return mode.recording


@contextlib.contextmanager
def recording(flag: bool) -> Iterator[None]:
    before, mode.recording = mode.recording, flag
    try:
        yield
    finally:
        mode.recording = before


def no_grad() -> contextlib.AbstractContextManager[None]:
    """A context (and decorator) in which nothing is recorded: for evaluation and for changing parameters."""
    return recording(False)


def enable_grad() -> contextlib.AbstractContextManager[None]:
    """The opposite of `no_grad`, for use inside it."""
    return recording(True)


@contextlib.contextmanager
def detect_anomaly() -> Iterator[None]:
    """Look at every result, forward and backward, and raise AnomalyError where a NaN or an infinity first appears.

    The message names the operation and the layer. Also compares checksums of what was saved for the backward, and
    so sees changes made through a NumPy view, which version counters cannot. Slow: for finding errors.
    """
    before, mode.anomaly = mode.anomaly, True
    try:
        yield
    finally:
        mode.anomaly = before


def checksum(array: Any) -> int | None:
    return hash(array.tobytes()) if isinstance(array, np.ndarray) else None


def look_for_anomaly(name: str, layer: str, inputs: Sequence[Any], results: Sequence[Any], direction: str) -> None:
    """Raise AnomalyError if a result holds a NaN or infinity that no input held."""
    if all(is_finite(r) for r in results) or not all(is_finite(a) for a in inputs):
        return
    bad = next(r for r in results if not is_finite(r))
    kind = "a NaN" if bool((bad != bad).any()) else "an infinity"
    error = AnomalyError(f"{layer + ': ' if layer else ''}{name}: {kind} first appeared here, in the {direction}")
    error.located = bool(layer)  # the layers that it passes on its way out add nothing
    try:
        raise error
    finally:
        del error  # or its traceback would hold this frame, and the frame the error


def is_finite(array: Any) -> bool:
    if array is None or getattr(array.dtype, "kind", "") != "f" or not hasattr(array, "__array_interface__"):
        return True
    return bool(np.isfinite(array).all())
