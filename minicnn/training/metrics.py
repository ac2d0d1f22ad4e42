"""What is measured: mean loss and accuracy, evaluation, the confusion matrix."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from .. import backends, ops
from ..autograd import no_grad
from ..errors import BackendError, check
from ..layers import Layer
from ..tensor import Tensor

Loss = Callable[[Tensor, np.ndarray], Tensor]
"""loss(logits (N, classes), labels (N,)) -> the mean over the batch."""
LATE = 2
"""Batches whose results a GPU may still be computing when the CPU goes on: to wait for each would leave it idle in between."""


@dataclass
class Mean:
    """Loss and accuracy summed over batches of any size. Plain numbers, so that a checkpoint can hold half an epoch."""

    loss_sum: float = 0.0
    correct: int = 0
    images: int = 0

    def add(self, loss: float, logits: np.ndarray, labels: np.ndarray) -> None:
        """One batch: its mean loss, its logits (N, classes), its labels (N,)."""
        self.loss_sum += loss * len(labels)
        self.correct += int((logits.argmax(1) == labels).sum())
        self.images += len(labels)

    @property
    def loss(self) -> float:
        return self.loss_sum / self.images if self.images else 0.0

    @property
    def accuracy(self) -> float:
        """0 .. 1"""
        return self.correct / self.images if self.images else 0.0


@dataclass(frozen=True)
class Evaluation:
    """What a network says to a whole dataset.

    loss: the mean      labels: (N,) the true classes      probabilities: float32 (N, classes)
    """

    loss: float
    labels: np.ndarray
    probabilities: np.ndarray

    @property
    def predictions(self) -> np.ndarray:
        """(N,) the most probable classes."""
        return self.probabilities.argmax(1)

    @property
    def accuracy(self) -> float:
        """0 .. 1"""
        return float((self.predictions == self.labels).mean())

    def misclassified(self) -> np.ndarray:
        """The numbers of the images that were taken for another class, the surest mistakes first."""
        wrong = np.flatnonzero(self.predictions != self.labels)
        return wrong[np.argsort(-self.probabilities.max(1)[wrong], kind="stable")]

    def confusion(self) -> np.ndarray:
        """(classes, classes): entry [i, j] counts the images of class i that were taken for class j."""
        classes = self.probabilities.shape[1]
        return np.bincount(self.labels * classes + self.predictions, minlength=classes**2).reshape(classes, classes)


def on_device_of(model: Layer, images: Any) -> Tensor:
    """Images from the CPU, or from where the model is, on the model's device. Raises BackendError for a GPU's and a model on the CPU:
    whoever copied them there did it in vain, and to bring them back would wait for the device at every batch."""
    x = Tensor(images)
    check(
        x.device in ("cpu", model.device),
        f"the images are on {x.device}, the model on {model.device}: move the model with .to({x.device!r}), or make the loader "
        f"with device={model.device!r}",
        BackendError,
    )
    return x.to(model.device)


def evaluate(
    model: Layer, batches: Iterable[Any], loss: Loss = ops.cross_entropy, each: Callable[[int], None] | None = None
) -> Evaluation:
    """Run a model over (images, labels) batches, in evaluation mode and without recording.

    loss: as in training      each: called after each batch with its size; what it raises ends the evaluation
    The model's mode is restored; no random number is drawn. Raises BackendError for images on a GPU and a model on the CPU.
    """
    total = Mean()
    labels: list[np.ndarray] = []
    probabilities: list[np.ndarray] = []
    unread: deque[tuple[Callable[[], list[np.ndarray]], np.ndarray]] = deque()

    def read(left: int) -> None:
        while len(unread) > left:
            fetched, y = unread.popleft()
            value, logits, shares = fetched()
            total.add(value.item(), logits, y)
            labels.append(y)
            probabilities.append(shares)

    before = model.training
    model.eval()
    try:
        with no_grad():
            for x, y in batches:
                logits = model(on_device_of(model, x))
                unread.append((backends.fetch(loss(logits, y).data, logits.data, ops.softmax(logits).data), y))
                read(LATE)
                if each is not None:
                    each(len(y))
        read(0)
    finally:
        model.train(before)
    return Evaluation(total.loss, np.concatenate(labels), np.concatenate(probabilities))
