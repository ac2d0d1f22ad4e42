"""Transforms of colours: to floating point, normalised, and AlexNet's jitter along the principal components."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..errors import ShapeError, check
from .draw import Draw, normal
from .transforms import _Shown, check_draw, check_images


class ToFloat(_Shown):
    """uint8 0 .. 255 becomes float32 0 .. 1; floating point becomes float32, its values untouched."""

    def __call__(self, images: np.ndarray, draw: Draw | None = None) -> np.ndarray:
        if images.dtype == np.uint8:
            return np.multiply(images, np.float32(1 / 255), dtype=np.float32)
        return images.astype(np.float32)

    def line(self, shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
        """slope and shift, float32 (C,): of uint8 images (N, C, H, W) a pixel v becomes v*slope + shift, both rounded."""
        return np.full(shape[1], 1 / 255, np.float32), np.zeros(shape[1], np.float32)


class Normalize(_Shown):
    """(image - mean) / std per channel, float32; uint8 images are first scaled to 0 .. 1, as by `ToFloat`.

    mean, std: one number per channel, for pixels from 0 to 1 (`Dataset.statistics()` gives them)
    Takes crops (N, M, C, H, W) as well.      Raises ShapeError if the channel counts differ.
    """

    def __init__(self, mean: Sequence[float], std: Sequence[float]):
        self.mean, self.std = tuple(map(float, np.ravel(mean))), tuple(map(float, np.ravel(std)))
        check(
            len(self.mean) == len(self.std) > 0,
            f"Normalize: mean has {len(self.mean)} numbers and std {len(self.std)}: give one of each per channel",
        )
        check(
            bool(np.isfinite(self.mean + self.std).all()) and min(self.std) > 0,
            f"Normalize: mean is {self.mean} and std is {self.std}: they must be finite, and std greater than 0",
        )
        # image*scale + shift: two passes, in float32
        std_, mean_ = np.array(self.std).reshape(-1, 1, 1), np.array(self.mean).reshape(-1, 1, 1)
        self._shift = (-mean_ / std_).astype(np.float32)
        self._scale = {True: (1 / (255 * std_)).astype(np.float32), False: (1 / std_).astype(np.float32)}

    def _check(self, shape: tuple[int, ...]) -> None:
        channels = len(self.mean)
        check(
            len(shape) >= 3 and shape[-3] == channels,
            f"Normalize: images has shape {shape}: its channels (third from the end) must be {channels}, as many as "
            "mean has numbers",
            ShapeError,
        )

    def line(self, shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
        """slope and shift, float32 (C,): of uint8 images (N, C, H, W) a pixel v becomes v*slope + shift, both rounded."""
        self._check(shape)
        return self._scale[True].reshape(-1), self._shift.reshape(-1)

    def __call__(self, images: np.ndarray, draw: Draw | None = None) -> np.ndarray:
        self._check(images.shape)
        result = np.multiply(images, self._scale[images.dtype == np.uint8], dtype=np.float32, casting="same_kind")
        result += self._shift
        return result


class ColorJitterPCA(_Shown):
    """Move each image's colour along the principal components of the dataset's colours, by normally distributed steps.

    components: (values (3,), vectors (3, 3)) as `principal_components` gives them, for pixels from 0 to 1
    std: of the random factors, which multiply the eigenvalues
    Give it uint8 images or floats from 0 to 1, before Normalize. Returns float32, not clipped.
    Source: Krizhevsky, Sutskever and Hinton 2012, section 4.1.
    """

    def __init__(self, components: tuple[Any, Any], std: float = 0.1):
        values, vectors = (np.asarray(part, np.float64) for part in components)
        check(
            values.ndim == 1 and vectors.shape == (len(values), len(values)),
            f"ColorJitterPCA: components has shapes {values.shape} and {vectors.shape}: they must be (C,) and (C, C)",
        )
        check(std >= 0, f"ColorJitterPCA: std is {std!r}: it must be at least 0")
        self.std = std
        self._steps = vectors * values  # column i: vector i times value i

    def __call__(self, images: np.ndarray, draw: Draw | None = None) -> np.ndarray:
        check_images(self, images)
        channels = len(self._steps)
        check(
            images.shape[1] == channels,
            f"ColorJitterPCA: images has shape {images.shape}: it must have {channels} channels, like the components",
            ShapeError,
        )
        factors = normal(check_draw(self, draw, images)("colour", 2 * channels)) * self.std
        # Summed in a fixed order, not by a matrix product, whose rounding may depend on the batch's size.
        shift = sum(factors[:, i, None] * self._steps[:, i] for i in range(channels))
        result = ToFloat()(images)
        result += np.asarray(shift, np.float32)[:, :, None, None]
        return result


def principal_components(images: Any) -> tuple[np.ndarray, np.ndarray]:
    """Principal components of the colours of uint8 images (N, C, H, W) or of a Dataset, with pixels from 0 to 1.

    Returns (values (C,), vectors (C, C)): the eigenvalues of the covariance of the channels, largest first, and the
    eigenvectors as columns, each with its largest entry positive.
    """
    images = getattr(images, "images", images)
    channels, count = images.shape[1], 0
    total, products = np.zeros(channels), np.zeros((channels, channels))
    for start in range(0, len(images), 1000):
        pixels = np.asarray(images[start : start + 1000]).swapaxes(0, 1).reshape(channels, -1).astype(np.float64)
        total += pixels.sum(1)
        products += pixels @ pixels.T
        count += pixels.shape[1]
    mean = total / count
    values, vectors = np.linalg.eigh((products / count - np.outer(mean, mean)) / 255**2)
    signs = np.sign(vectors[np.abs(vectors).argmax(0), np.arange(channels)])
    return values[::-1].copy(), (vectors * signs)[:, ::-1].copy()
