"""A dataset is plain arrays: images, labels, the names of the classes, and where it all came from."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np

from .. import random
from ..errors import DataError, check
from ..geometry import is_integer


class Images(Protocol):
    """What `Dataset.images` must offer: a uint8 array of shape (N, C, H, W), or something that decodes on indexing."""

    @property
    def shape(self) -> tuple[int, ...]: ...
    @property
    def dtype(self) -> np.dtype: ...
    def __getitem__(self, index: Any) -> np.ndarray: ...


@dataclass(frozen=True, eq=False)
class Dataset:
    """Images with labels.

    images: uint8 (N, C, H, W), 0 .. 255, RGB or grey      labels: int64 (N,), each an index into `classes`
    classes: the names      name: of the dataset      source: where it came from, for logs and figures
    Raises DataError if the counts differ, nothing is there, or a label names no class.
    """

    images: Images
    labels: np.ndarray
    classes: tuple[str, ...]
    name: str = "dataset"
    source: str = "given arrays"

    def __post_init__(self) -> None:
        where, labels = f"Dataset {self.name!r}", _array(f"Dataset {self.name!r}: labels", self.labels)
        shape, dtype = getattr(self.images, "shape", None), getattr(self.images, "dtype", None)
        check(
            shape is not None and len(shape) == 4 and dtype == np.uint8,
            f"{where}: images has shape {shape} and dtype {dtype}: it must be a uint8 array (N, C, H, W)",
            DataError,
        )
        check(
            labels.ndim == 1 and labels.dtype.kind in "iu",
            f"{where}: labels has shape {labels.shape} and dtype {labels.dtype}: it must be whole numbers (N,)",
            DataError,
        )
        check(
            len(labels) == shape[0],  # type: ignore[index]
            f"{where}: there are {shape[0]} images but {len(labels)} labels: give one label per image",  # type: ignore[index]
            DataError,
        )
        check(len(labels) > 0, f"{where}: it has no images: give at least one", DataError)
        classes = tuple(map(str, self.classes))
        low, high = int(labels.min()), int(labels.max())
        if low < 0 or high >= len(classes):
            bad = low if low < 0 else high
            raise DataError(
                f"{where}: label {bad} (first at image {int(np.argmax(labels == bad))}) names no class: labels must be in "
                f"0 .. {len(classes) - 1}, for there are {len(classes)} classes"
            )
        object.__setattr__(self, "labels", np.ascontiguousarray(labels, np.int64))
        object.__setattr__(self, "classes", classes)

    def __len__(self) -> int:
        return len(self.labels)

    def __repr__(self) -> str:
        count, *image = self.images.shape
        size = "x".join(map(str, image))
        return f"Dataset({self.name}: {count} images {size}, {len(self.classes)} classes, from {self.source})"

    def subset(self, indices: Any) -> Dataset:
        """The images at `indices`, whole numbers (M,) in 0 .. N - 1, in that order. Raises DataError."""
        indices = _array("subset: indices", indices)
        check(
            indices.ndim == 1 and indices.dtype.kind in "iu" and indices.size > 0
            and 0 <= indices.min() and indices.max() < len(self),
            f"subset: indices must be whole numbers in 0 .. {len(self) - 1}, at least one of them",
            DataError,
        )  # fmt: skip
        chosen = self.images.subset(indices) if hasattr(self.images, "subset") else self.images[indices]
        return replace(self, images=chosen, labels=self.labels[indices])

    def statistics(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Mean and standard deviation per channel, of pixels from 0 to 1, over all images: for `Normalize`."""
        count, channels = 0, self.images.shape[1]
        total, squares = np.zeros(channels, np.int64), np.zeros(channels, np.int64)  # exact, whatever the chunks
        for start in range(0, len(self), 1000):
            pixels = np.asarray(self.images[start : start + 1000])
            total += pixels.sum((0, 2, 3), dtype=np.int64)
            squares += np.square(pixels, dtype=np.uint16).sum((0, 2, 3), dtype=np.int64)
            count += pixels[:, 0].size
        mean = total / count
        deviation = np.sqrt(np.maximum(squares / count - mean**2, 0))
        return tuple((mean / 255).tolist()), tuple((deviation / 255).tolist())


def _array(name: str, values: Any) -> np.ndarray:
    try:
        return np.asarray(values)
    except ValueError as error:
        raise DataError(f"{name} is no array: {error}") from None


def split(dataset: Dataset, size: float | int, seed: int = 0) -> tuple[Dataset, Dataset]:
    """Cut a dataset in two, for training and for validation, each class in proportion.

    size: of the second part, a fraction between 0 and 1 or a number of images      seed: which images are chosen
    Returns (the rest, the chosen part), both in the dataset's order; the same seed always gives the same parts.
    Raises ArgumentError if either part would be empty.
    """
    check(
        isinstance(dataset, Dataset), f"split: dataset is a {type(dataset).__name__}: it must be a minicnn.data.Dataset"
    )
    total = len(dataset)
    if is_integer(size):
        count = int(size)
    else:
        check(
            isinstance(size, (float, np.floating)) and 0 < size < 1,
            f"split: size is {size!r}: it must be a fraction between 0 and 1, or a whole number of images",
        )
        count = round(size * total)
    check(
        0 < count < total,
        f"split: size is {size!r}, which chooses {count} of {total} images: both parts must hold at least one",
    )
    # Largest remainders: each class gives its exact share, rounded so that the shares add up.
    amounts = np.bincount(dataset.labels, minlength=len(dataset.classes))
    exact = amounts * count / total
    shares = np.floor(exact).astype(np.int64)
    shares[np.argsort(shares - exact, kind="stable")[: count - shares.sum()]] += 1
    order = permutation("data.split", total, 0, seed)
    by_class = order[np.argsort(dataset.labels[order], kind="stable")]
    starts = np.cumsum(amounts) - amounts
    chosen = np.zeros(total, bool)
    for start, share in zip(starts, shares):
        chosen[by_class[start : start + share]] = True
    return dataset.subset(np.flatnonzero(~chosen)), dataset.subset(np.flatnonzero(chosen))


def permutation(stream: str, count: int, epoch: int, seed: int) -> np.ndarray:
    """0 .. count - 1 in an order that is a pure function of (seed, stream, epoch), the same under every NumPy."""
    return np.argsort(random.philox(random.key(stream, epoch, seed), count), kind="stable")
