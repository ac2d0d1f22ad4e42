"""Check derivatives against finite differences."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from . import random
from .autograd import grad, no_grad
from .errors import DTypeError, GradientError, check
from .mode import enable_grad
from .tensor import Tensor


def gradcheck(
    fn: Callable[..., Tensor | Sequence[Tensor]], inputs: Tensor | Sequence[Tensor], *, eps: float = 1e-6,
    rtol: float = 1e-5, atol: float = 1e-6, order: int = 2, samples: int = 24, seed: int = 0,
) -> None:  # fmt: skip
    """Raise GradientError if a derivative of `fn` is wrong at `inputs`.

    fn(*inputs) gives a Tensor or several; inputs: float64 Tensors, those with requires_grad are checked.
    The outputs are projected on a random vector; the derivative of that number is compared with central differences of
    step `eps`, along one random direction and for up to `samples` single elements of every input. order=2 checks the
    derivatives of the derivatives in the same way. |analytic - numeric| <= atol + rtol*|numeric| must hold.
    Keep away from kinks (ReLU at 0, ties in a maximum): there a difference has no limit. `fn` must be a function:
    dropout takes a fixed key.
    """
    tensors = [inputs] if isinstance(inputs, Tensor) else list(inputs)
    checked = [number for number, tensor in enumerate(tensors) if tensor.requires_grad]
    check(checked, "gradcheck: no input requires a gradient: create one with requires_grad=True", GradientError)
    for number in checked:
        check(
            tensors[number].dtype == np.float64,
            f"gradcheck: input {number} has dtype {tensors[number].dtype}: it must be float64, or rounding hides errors",
            DTypeError,
        )
    check(order in (1, 2), f"gradcheck: order is {order!r}: it must be 1 or 2")
    draw = random.generator(random.key("gradcheck", seed=seed))
    projections: dict[tuple[str, int], Tensor] = {}

    def project(values: Sequence[Tensor], what: str) -> Tensor:
        total = None
        for i, value in enumerate(values):
            if (what, i) not in projections:
                projections[what, i] = Tensor(draw.standard_normal(value.shape), device=value.device)
            term = (value * projections[what, i]).sum()
            total = term if total is None else total + term
        assert total is not None
        return total

    def first(*arguments: Tensor) -> Tensor:
        result = fn(*arguments)
        return project([result] if isinstance(result, Tensor) else result, "output")

    def second(*arguments: Tensor) -> Tensor:
        with enable_grad():
            leaves = [
                Tensor(a.data, requires_grad=True) if number in checked and not a.requires_grad else a
                for number, a in enumerate(arguments)
            ]
            gradients = grad(first(*leaves), [leaves[number] for number in checked], create_graph=True)
        return project(gradients, "gradient")

    _compare(first, tensors, checked, eps, rtol, atol, samples, draw, "derivative")
    if order == 2:
        _compare(second, tensors, checked, eps, rtol, atol, samples, draw, "second derivative")


def _compare(
    scalar: Callable[..., Tensor], tensors: list[Tensor], checked: list[int], eps: float, rtol: float, atol: float,
    samples: int, draw: np.random.Generator, what: str,
) -> None:  # fmt: skip
    value = scalar(*tensors)
    if value.requires_grad:
        analytic = [g.numpy() for g in grad(value, [tensors[number] for number in checked])]
    else:  # a second derivative that is zero everywhere
        analytic = [np.zeros(tensors[number].shape) for number in checked]
    for number, gradient in zip(checked, analytic):
        if gradient.shape != tensors[number].shape:
            raise GradientError(
                f"gradcheck: the {what} by input {number} has shape {gradient.shape}, not {tensors[number].shape}"
            )
        for direction, name in _directions(tensors[number].shape, samples, draw):
            numeric = _slope(scalar, tensors, number, direction, eps)
            exact = float((gradient * direction).sum())
            if not abs(exact - numeric) <= atol + rtol * abs(numeric):
                raise GradientError(
                    f"gradcheck: the {what} by input {number}, {name}, is {exact:.9g}; central differences give {numeric:.9g}"
                )


def _directions(shape: tuple[int, ...], samples: int, draw: np.random.Generator) -> Any:
    """One random direction, then single elements: all of them, or `samples` drawn ones."""
    size = int(np.prod(shape))
    if not size:
        return
    yield draw.standard_normal(shape) / np.sqrt(size), "along a random direction"
    chosen = range(size) if size <= samples else sorted(draw.choice(size, samples, replace=False).tolist())
    for element in chosen:
        direction = np.zeros(shape)
        direction.flat[element] = 1
        yield direction, f"element {tuple(map(int, np.unravel_index(element, shape)))}"


def _slope(
    scalar: Callable[..., Tensor], tensors: list[Tensor], number: int, direction: np.ndarray, eps: float
) -> float:
    values = []
    with no_grad():
        for sign in (1, -1):
            moved = list(tensors)
            there = tensors[number].numpy() + sign * eps * direction
            moved[number] = Tensor(there, device=tensors[number].device)
            values.append(scalar(*moved).item())
    return (values[0] - values[1]) / (2 * eps)
