"""The embedded sample: real CIFAR-10, the first 200 training and 50 test images of each class, inside the package.

Two pictures in `sample/`, made by `make_sample.py`: tiles of 32x32, one class after another, so that the labels
follow from the order. Source, citation and terms: NOTICE.
"""

from __future__ import annotations

from importlib import resources

import numpy as np

from ..errors import DataError
from .dataset import Dataset
from .files import digest, extra

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
PER_CLASS = {"train": 200, "test": 50}
COLUMNS = 50
"""Tiles in a row of either picture."""
SHA256 = {
    "train": "ec322825144100d0e2e64c5da41049ba427838007c94c7893d2155e452272e8d",
    "test": "b24037057127dfebe67106f277228786f888437d45ba6a92ceaaab8add33b1fc",
}
"""Of the decoded images, uint8 (N, 3, 32, 32), in the order of `cifar10_sample`."""


def cifar10_sample(train: bool = True) -> Dataset:
    """The embedded sample: 2,000 training or 500 test images of CIFAR-10, uint8 (N, 3, 32, 32); label i is i % 10.

    Raises DataError where Pillow is missing or the picture is damaged.
    """
    part = "train" if train else "test"
    pillow = extra("PIL.Image", "reading the embedded CIFAR-10 sample")
    try:
        path = resources.files(__package__) / "sample" / f"{part}.png"
        with path.open("rb") as file, pillow.open(file) as picture:
            images = from_tiles(np.asarray(picture), len(CLASSES))
    except (OSError, ValueError, SyntaxError) as error:
        raise DataError(f"the embedded sample's {part}.png cannot be read ({error}): install minicnn again") from error
    if digest(images.data, "sha256") != SHA256[part]:
        raise DataError(f"the embedded sample's {part}.png is not the one that was shipped: install minicnn again")
    labels = np.arange(len(images)) % len(CLASSES)
    return Dataset(images, labels, CLASSES, f"CIFAR-10 sample {part}", "the sample inside minicnn")


def from_tiles(picture: np.ndarray, classes: int) -> np.ndarray:
    """A picture of tiles (rows*32, 50*32, 3), class after class, as images (N, 3, 32, 32), the classes taking turns."""
    rows = picture.shape[0] // 32
    tiles = picture.reshape(rows, 32, COLUMNS, 32, 3).transpose(0, 2, 4, 1, 3).reshape(classes, -1, 3, 32, 32)
    return np.ascontiguousarray(tiles.swapaxes(0, 1)).reshape(-1, 3, 32, 32)


def to_tiles(images: np.ndarray, classes: int) -> np.ndarray:
    """The inverse of `from_tiles`."""
    tiles = images.reshape(-1, classes, 3, 32, 32).swapaxes(0, 1).reshape(-1, COLUMNS, 3, 32, 32)
    return tiles.transpose(0, 3, 1, 4, 2).reshape(len(tiles) * 32, COLUMNS * 32, 3)
