"""Softmax and the losses: cross-entropy, hinge, squared error."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..autograd import differentiable, first_order
from ..errors import ArgumentError, DTypeError, ShapeError
from ..geometry import is_integer, is_number
from ..tensor import Tensor, as_tensor
from .elementwise import _floating, exp, maximum
from .reduction import mean as _mean
from .reduction import sum as _sum
from .shape import _axis, _reshape, astype, broadcast_to, getitem, transpose


@differentiable
def _log_softmax(kernels, needs, x):
    y = kernels.empty(x.shape, x.dtype)
    kernels.log_softmax(x, out=y)
    return y, [y], _log_softmax_backward


def _log_softmax_backward(saved, dy, needs):
    (y,) = saved
    return (dy - exp(y) * _sum(dy, -1, keepdims=True),)


def log_softmax(x: Any, axis: int = -1) -> Tensor:
    """x - log(sum(e**x)) along `axis`, without overflow."""
    x = _floating(as_tensor(x, what="log_softmax: x"))
    axis = _axis("log_softmax", axis, x.ndim)
    if axis == x.ndim - 1:
        return _log_softmax(x)
    order = (*(a for a in range(x.ndim) if a != axis), axis)
    back = tuple(order.index(a) for a in range(x.ndim))
    return transpose(_log_softmax(transpose(x, order)), back)


def softmax(x: Any, axis: int = -1) -> Tensor:
    """e**x / sum(e**x) along `axis`: probabilities."""
    return exp(log_softmax(x, axis))


@differentiable
def _cross_entropy(kernels, needs, logits, labels, weights, *, smoothing, ignore, part):
    loss = kernels.empty(logits.shape[:1], logits.dtype)
    probabilities = kernels.empty(logits.shape, logits.dtype)
    kernels.cross_entropy(logits, labels, weights, smoothing, ignore, loss, probabilities)
    if part is not None:
        rows, loss = loss, kernels.empty((), logits.dtype)
        kernels.sum(rows, (0,), loss)
        kernels.multiply(loss, part, loss)
    return loss, [logits, probabilities, labels, weights], _cross_entropy_backward


def _cross_entropy_backward(saved, dloss, needs, *, smoothing, ignore, part):
    if part is not None:
        dloss = broadcast_to(dloss * part, saved[0].shape[:1])
    return _cross_entropy_grad(dloss, *saved, smoothing=smoothing, ignore=ignore), None, None


def _cross_entropy_grad_composed(dloss, logits, probabilities, labels, weights, *, smoothing, ignore):
    rows, classes = logits.shape
    counted = astype(labels != ignore, logits.dtype).reshape(rows, 1)
    onehot = astype(labels.reshape(rows, 1) == Tensor(np.arange(classes), device=labels.device), logits.dtype)
    targets = ((1 - smoothing) * onehot + smoothing / classes) * counted
    if weights is not None:
        targets = targets * weights
    slope = exp(log_softmax(logits)) * _sum(targets, 1, keepdims=True) - targets
    return slope * dloss.reshape(rows, 1)


@first_order(_cross_entropy_grad_composed)
def _cross_entropy_grad(kernels, dloss, logits, probabilities, labels, weights, *, smoothing, ignore):
    dx = kernels.empty(logits.shape, logits.dtype)
    kernels.cross_entropy_grad(dloss, probabilities, labels, weights, smoothing, ignore, out=dx)
    return dx


def _plain(op: str, labels: Any) -> np.ndarray:
    """Labels as an array of the dtype that they have: a list of whole numbers stays whole."""
    try:
        return labels.numpy() if isinstance(labels, Tensor) else np.asarray(labels)
    except ValueError as error:
        raise ShapeError(f"{op}: labels are no array: {error}") from None


def _labels(op: str, labels: Any, logits: Tensor, ignore: int | None = None) -> tuple[Tensor, bool]:
    """Labels as an int64 Tensor, checked: one for each row of logits, each 0 .. C-1 or `ignore`; and whether all are classes.

    Of labels that are not on the CPU the latter is not known, and False.
    """
    values = labels if isinstance(labels, Tensor) else Tensor._from_array(_plain(op, labels))
    if values.dtype.kind not in "iu":
        raise DTypeError(
            f"{op}: labels have dtype {values.dtype}: they must be integers, such as numpy.array([3, 0, 9])"
        )
    if values.shape != logits.shape[:1]:
        raise ShapeError(
            f"{op}: labels have shape {values.shape}: they must be {logits.shape[:1]}, one for each row of the logits {logits.shape}"
        )
    values = values if values.dtype == np.int64 else astype(values, np.int64)
    all_count = values.device == "cpu"
    if all_count and values.size:
        numbers, classes = values.data, logits.shape[1]
        if np.maximum.reduce(numbers.view(np.uint64), axis=None) >= classes:  # a negative one is a huge one there
            all_count = False
            wrong = (numbers < 0) | (numbers >= classes)
            if ignore is not None:
                wrong &= numbers != ignore
            if wrong.any():
                raise ArgumentError(
                    f"{op}: a label is {numbers[wrong][0]}: it must be 0 .. {classes - 1}"
                    + (f" or ignore_index ({ignore})" if ignore is not None else "")
                )
        elif ignore is not None and 0 <= ignore < classes:
            all_count = not (numbers == ignore).any()
    return values.to(logits.device), all_count


def _reduced(op: str, loss: Tensor, reduction: str, weight: Tensor | float | None = None) -> Tensor:
    if reduction == "none":
        return loss
    if reduction == "sum":
        return _sum(loss)
    if reduction != "mean":
        raise ArgumentError(f"{op}: reduction is {reduction!r}: it must be mean, sum or none")
    return _mean(loss) if weight is None else _sum(loss) / weight


def cross_entropy(
    logits: Any, labels: Any, weight: Tensor | None = None, ignore_index: int = -100, reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> Tensor:  # fmt: skip
    """Softmax and negative log-likelihood of the labels, in one pass.

    logits: (N, C) or (N, C, H, W)      labels: integers (N,) or (N, H, W), 0 .. C-1 or ignore_index
    weight: (C,), one for each class; "mean" divides by the sum of the labels' weights.
    label_smoothing: 0 .. 1, the share of the target spread evenly over all classes (Szegedy et al. 2015, arXiv:1512.00567).
    Returns a scalar, or with reduction="none" the loss of each label. Raises ArgumentError for a label out of range.
    """
    logits = _floating(as_tensor(logits, what="cross_entropy: logits"))
    if logits.ndim < 2 or not logits.shape[1]:
        raise ShapeError(f"cross_entropy: logits have shape {logits.shape}: they must be (N, C) or (N, C, H, W)")
    if not is_number(label_smoothing) or not 0 <= label_smoothing <= 1:
        raise ArgumentError(f"cross_entropy: label_smoothing is {label_smoothing!r}: it must be a number in 0 .. 1")
    if not is_integer(ignore_index) or not -(2**63) <= ignore_index < 2**63:
        raise ArgumentError(f"cross_entropy: ignore_index is {ignore_index!r}: it must be an integer; -100 is no label")
    if weight is not None:
        weight = astype(as_tensor(weight, logits, "cross_entropy: weight").detach(), logits.dtype)
        if weight.shape != logits.shape[1:2]:
            raise ShapeError(
                f"cross_entropy: weight has shape {weight.shape}: it must be {logits.shape[1:2]}, one for each class"
            )
    outer = (logits.shape[0], *logits.shape[2:])
    if logits.ndim > 2:
        classes = logits.shape[1]
        logits = transpose(logits, (0, *range(2, logits.ndim), 1)).reshape(-1, classes)
        labels = _plain("cross_entropy", labels)
        if labels.shape != outer:
            raise ShapeError(f"cross_entropy: labels have shape {labels.shape}: they must be {outer}")
        labels = labels.reshape(-1)
    labels, all_count = _labels("cross_entropy", labels, logits, ignore_index)
    alike = weight is None and logits.device != "meta" and (all_count or not (labels == ignore_index).data.any())
    part = None  # of each row in the mean, which is taken at once; but a sum of float16 numbers may pass the largest
    if alike and reduction == "mean" and logits.dtype.itemsize > 2:
        part = 1 / logits.shape[0] if logits.shape[0] else math.nan
    loss = _cross_entropy(logits, labels, weight, smoothing=float(label_smoothing), ignore=int(ignore_index), part=part)
    if part is not None:
        return loss
    if reduction == "none":
        return _reshape(loss, shape=outer)
    if alike:
        return _reduced("cross_entropy", loss, reduction)
    counted = labels != ignore_index
    share = astype(counted, logits.dtype)
    if weight is not None:
        zero = astype(astype(counted, np.int64) * labels, np.int64) if logits.device != "meta" else None
        share = share * (getitem(weight, zero) if zero is not None else share)
    return _reduced("cross_entropy", loss, reduction, _sum(share))


def hinge_loss(scores: Any, labels: Any, margin: float = 1.0, reduction: str = "mean") -> Tensor:
    """Multi-class hinge: the sum over wrong classes of max(0, s_wrong - s_right + margin).

    scores: (N, C)      labels: integers (N,). Source: Weston and Watkins 1999.
    """
    scores = _floating(as_tensor(scores, what="hinge_loss: scores"))
    if scores.ndim != 2:
        raise ShapeError(f"hinge_loss: scores have shape {scores.shape}: they must be (N, C)")
    if not is_number(margin):
        raise ArgumentError(f"hinge_loss: margin is {margin!r}: it must be a number")
    labels, _ = _labels("hinge_loss", labels, scores)
    rows, classes = scores.shape
    onehot = astype(labels.reshape(rows, 1) == Tensor(np.arange(classes), device=labels.device), scores.dtype)
    right = _sum(scores * onehot, 1, keepdims=True)
    margins = maximum(scores - right + margin, 0.0) * (1.0 - onehot)
    return _reduced("hinge_loss", _sum(margins, 1), reduction)


def mse_loss(x: Any, target: Any, reduction: str = "mean") -> Tensor:
    """Mean of (x - target)**2; the shapes broadcast.

    reduction: "mean" or "sum", which give (), or "none", which gives the shape that x and target broadcast to.
    Raises ShapeError if they do not broadcast, ArgumentError for another reduction, DTypeError for what are not numbers.
    """
    distance = as_tensor(x, what="mse_loss: x") - target
    return _reduced("mse_loss", distance * distance, reduction)
