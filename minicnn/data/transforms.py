"""Transforms of whole batches: sizes, crops and flips.

Each is a small object, called as `transform(images, draw)` with images (N, C, H, W), uint8 or float; it gives a new array
and never writes into the one it was given. Those that draw lots ask `draw` (see `Draw`) for uniform numbers per
sample and are otherwise pure functions; the others ignore it, and may be called without.
Colours are in `colour.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np

from ..errors import ArgumentError, DTypeError, ShapeError, check
from ..geometry import LONGEST, is_integer, is_number, pair, sides
from .draw import Draw, integers

Transform = Callable[[np.ndarray, Any], np.ndarray]


class _Shown:
    """A repr made of the arguments: the attributes without an underscore."""

    def __repr__(self) -> str:
        shown = ", ".join(f"{name}={value!r}" for name, value in vars(self).items() if not name.startswith("_"))
        return f"{type(self).__name__}({shown})"


def check_images(who: object, images: np.ndarray) -> None:
    """Raise ShapeError unless images is an array (N, C, H, W)."""
    shape = getattr(images, "shape", None)
    check(
        isinstance(images, np.ndarray) and images.ndim == 4,
        f"{type(who).__name__}: images has shape {shape}: it must be an array (N, C, H, W); one image needs images[None]",
        ShapeError,
    )
    check(
        images.dtype.kind in "fiub",
        f"{type(who).__name__}: images has dtype {images.dtype}: it must be uint8 or floating",
        DTypeError,
    )


def check_draw(who: object, draw: Draw | None, images: np.ndarray) -> Draw:
    """Raise ArgumentError unless `draw` was given and is for as many samples as there are images."""
    name = type(who).__name__
    if not isinstance(draw, Draw):
        found = "missing" if draw is None else f"a {type(draw).__name__}"
        raise ArgumentError(f"{name}: draw is {found}: give minicnn.data.Draw(seed, epoch, sample_indices)")
    check(
        len(draw.samples) == len(images),
        f"{name}: draw is for {len(draw.samples)} samples but there are {len(images)} images: give one index per image",
    )
    return draw


class Compose(_Shown):
    """One transform after another; each draws its own numbers, even where two are equal."""

    def __init__(self, transforms: list[Transform]):
        for transform in transforms:
            check(callable(transform), f"Compose: transforms holds {transform!r}, which cannot be called")
        self.transforms = list(transforms)

    def draws(self, draw: Draw | None) -> list[Draw | None]:
        """What each of the transforms draws its numbers from."""
        return [None if draw is None else draw.within(str(place)) for place in range(len(self.transforms))]

    def __call__(self, images: np.ndarray, draw: Draw | None = None) -> np.ndarray:
        for transform, own in zip(self.transforms, self.draws(draw)):
            images = transform(images, own)
        return images


class Resize(_Shown):
    """Resize by bilinear interpolation; smaller pictures average over what they lose (antialiasing), as in Pillow.

    size: (height, width), or the length of the shorter side, the other following in proportion
    uint8 stays uint8 (rounded); other dtypes become float32.
    """

    def __init__(self, size: int | tuple[int, int]):
        pair(size, "Resize: size", 1)
        self.size = size

    def __call__(self, images: np.ndarray, draw: Draw | None = None) -> np.ndarray:
        check_images(self, images)
        H, W = images.shape[2:]
        check(min(H, W) > 0, f"Resize: images has shape {images.shape}: there is no pixel to enlarge", ShapeError)
        if is_integer(self.size):
            short = min(H, W)
            height, width = (max(1, int(self.size * side / short)) for side in (H, W))
        else:
            height, width = self.size  # type: ignore[misc]
        if (height, width) == (H, W):
            return images.copy()
        result = _weights(H, height) @ images.astype(np.float32) @ _weights(W, width).T
        return np.rint(result, out=result).clip(0, 255).astype(np.uint8) if images.dtype == np.uint8 else result


@lru_cache(maxsize=64)
def _weights(size: int, places: int) -> np.ndarray:
    """What each of `places` new pixels takes from `size` old ones: float32 (places, size), rows adding up to 1."""
    scale = size / places
    reach = max(scale, 1.0)
    centres = (np.arange(places) + 0.5) * scale
    triangle = np.maximum(1 - np.abs((np.arange(size) + 0.5 - centres[:, None]) / reach), 0)
    weights = (triangle / triangle.sum(1, keepdims=True)).astype(np.float32)
    weights.setflags(write=False)
    return weights


class _Crop(_Shown):
    def __init__(self, size: int | tuple[int, int]):
        self.size = pair(size, f"{type(self).__name__}: size", 1)

    def _room(self, images: np.ndarray, padding: tuple[int, int, int, int] = (0, 0, 0, 0)) -> tuple[int, int]:
        """How far the crop can move down and right. Raises ShapeError if it is larger than the padded images."""
        check_images(self, images)
        top, bottom, left, right = padding
        h, w = self.size
        H, W = images.shape[2] + top + bottom, images.shape[3] + left + right
        check(
            h <= H and w <= W,
            f"{type(self).__name__}: a {h}x{w} crop does not fit {H}x{W} images: give a smaller size, more padding, or "
            "Resize first",
            ShapeError,
        )
        return H - h, W - w

    def _at(self, images: np.ndarray, top: int, left: int) -> np.ndarray:
        return images[:, :, top : top + self.size[0], left : left + self.size[1]]


class CenterCrop(_Crop):
    """The middle of each image; of an odd remainder the smaller half is cut above and to the left.

    size: (height, width) or the side of a square.      Raises ShapeError if the crop is larger than the images.
    """

    def __call__(self, images: np.ndarray, draw: Draw | None = None) -> np.ndarray:
        down, right = self._room(images)
        return self._at(images, down // 2, right // 2).copy()


class FiveCrop(_Crop):
    """The four corners and the middle: (N, 5, C, h, w), in the order top left, top right, bottom left, bottom right,
    middle. For evaluation: feed the network `crops.reshape(-1, C, h, w)` and average the five answers.

    size: (height, width) or the side of a square.      Raises ShapeError if the crop is larger than the images.
    """

    def __call__(self, images: np.ndarray, draw: Draw | None = None) -> np.ndarray:
        down, right = self._room(images)
        places = [(0, 0), (0, right), (down, 0), (down, right), (down // 2, right // 2)]
        return np.stack([self._at(images, *place) for place in places], axis=1)


class TenCrop(FiveCrop):
    """The five crops of `FiveCrop`, then their mirror images: (N, 10, C, h, w), as AlexNet is evaluated.

    Source: Krizhevsky, Sutskever and Hinton 2012, section 4.1.
    """

    def __call__(self, images: np.ndarray, draw: Draw | None = None) -> np.ndarray:
        five = super().__call__(images)
        return np.concatenate([five, five[..., ::-1]], axis=1)


class RandomCrop(_Crop):
    """A crop at a random place of each image, after padding it with `fill`.

    size: (height, width) or the side of a square
    padding: pixels, an int, (vertical, horizontal) or (top, bottom, left, right)
    Raises ShapeError if the crop is larger than the padded images.
    """

    def __init__(self, size: int | tuple[int, int], padding: int | tuple[int, ...] = 0, fill: float = 0):
        super().__init__(size)
        check(is_number(fill), f"RandomCrop: fill is {fill!r}: it must be a number")
        self.padding, self.fill = sides(padding, "RandomCrop: padding"), fill  # type: ignore[arg-type]

    def corners(self, images: np.ndarray, draw: Draw | None) -> tuple[np.ndarray, np.ndarray]:
        """The row and the column of each image where its crop begins, (N,) each; negative ones lie in the padding."""
        down, across = self._room(images, self.padding)
        place = check_draw(self, draw, images)("crop", 2)
        return integers(place[:, 0], down + 1) - self.padding[0], integers(place[:, 1], across + 1) - self.padding[2]

    def __call__(self, images: np.ndarray, draw: Draw | None = None) -> np.ndarray:
        rows, columns = self.corners(images, draw)
        top, bottom, left, right = self.padding
        if any(self.padding):
            N, C, H, W = images.shape
            padded = np.full((N, C, H + top + bottom, W + left + right), self.fill, images.dtype)
            padded[:, :, top : top + H, left : left + W] = images
            images = padded
        windows = np.lib.stride_tricks.sliding_window_view(images, self.size, axis=(2, 3))
        return windows[np.arange(len(images)), :, rows + top, columns + left]


class RandomHorizontalFlip(_Shown):
    """Each image mirrored left to right with probability p."""

    def __init__(self, p: float = 0.5):
        check(isinstance(p, (int, float)) and 0 <= p <= 1, f"RandomHorizontalFlip: p is {p!r}: it must be in 0 .. 1")
        self.p = p

    def chosen(self, images: np.ndarray, draw: Draw | None) -> np.ndarray:
        """Which of the images are mirrored: bool (N,)."""
        check_images(self, images)
        return check_draw(self, draw, images)("flip")[:, 0] < self.p

    def __call__(self, images: np.ndarray, draw: Draw | None = None) -> np.ndarray:
        chosen = self.chosen(images, draw)
        result = images.copy()
        result[chosen] = images[chosen, :, :, ::-1]
        return result


class Cutout(_Shown):
    """A square of each image, around a random centre, set to `fill`; what lies outside the image is lost.

    size: the square's side in pixels. After Normalize, the default fill 0 is the mean colour.
    Source: DeVries and Taylor 2017, arXiv:1708.04552.
    """

    def __init__(self, size: int, fill: float = 0):
        check(
            is_integer(size) and 1 <= size <= LONGEST,
            f"Cutout: size is {size!r}: it must be a whole number of at least 1 pixel",
        )
        check(is_number(fill), f"Cutout: fill is {fill!r}: it must be a number")
        self.size, self.fill = int(size), fill

    def __call__(self, images: np.ndarray, draw: Draw | None = None) -> np.ndarray:
        check_images(self, images)
        centre = check_draw(self, draw, images)("cutout", 2)
        cut = [self._line(centre[:, axis], images.shape[2 + axis]) for axis in (0, 1)]
        hole = cut[0][:, None, :, None] & cut[1][:, None, None, :]
        return np.where(hole, np.asarray(self.fill, images.dtype), images)

    def _line(self, uniform: np.ndarray, length: int) -> np.ndarray:
        start = integers(uniform, length)[:, None] - self.size // 2
        pixels = np.arange(length)
        return (pixels >= start) & (pixels < start + self.size)
