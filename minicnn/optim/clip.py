"""Limits on gradients, between backward() and step()."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from .. import backends
from ..autograd import no_grad
from ..tensor import Tensor
from .optimizer import number


def _with_gradients(parameters: Iterable[Tensor] | Tensor) -> list[Tensor]:
    given = [parameters] if isinstance(parameters, Tensor) else parameters
    return [p.grad for p in given if p.grad is not None]


def clip_grad_norm(parameters: Iterable[Tensor] | Tensor, max_norm: float) -> float:
    """Scale all gradients together so that their joint Euclidean norm is at most `max_norm`, in place.

    Returns the norm before, summed in float64; call it with float("inf") to measure only. A norm that is infinite or NaN
    makes the gradients NaN or leaves them so: look at what is returned, or train under `detect_anomaly()`.
    Raises ArgumentError unless max_norm > 0.
    Source: Pascanu, Mikolov and Bengio 2013, arXiv:1211.5063.
    """
    if max_norm != float("inf"):
        max_norm = number("clip_grad_norm", "max_norm", max_norm, "a number above 0", 0, open=True)
    gradients = _with_gradients(parameters)
    with no_grad():
        norm = float(sum(_square(g) for g in gradients)) ** 0.5  # of all at once: a GPU is waited for once
    scale = max_norm / (norm + 1e-6)
    if scale < 1:
        for g in gradients:
            backends.of([g.data], "clip_grad_norm").multiply(g.data, _like(scale, g), out=g.data)
            g._changed()
    return norm


def clip_grad_value(parameters: Iterable[Tensor] | Tensor, value: float) -> None:
    """Limit every element of every gradient to -value .. value, in place. Raises ArgumentError unless value > 0."""
    value = number("clip_grad_value", "value", value, "a number above 0", 0, open=True)
    for g in _with_gradients(parameters):
        kernels = backends.of([g.data], "clip_grad_value")
        kernels.minimum(g.data, _like(value, g), out=g.data)
        kernels.maximum(g.data, _like(-value, g), out=g.data)
        g._changed()


def _square(gradient: Tensor) -> Any:
    wide = gradient.astype(np.float64)
    return (wide * wide).sum()


def _like(value: float, gradient: Tensor) -> Any:
    return backends.as_operand(value, gradient.data)
