"""A folder of pictures, one folder per class, decoded when they are asked for."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import DataError, check
from ..geometry import pair
from .dataset import Dataset
from .files import explained, extra

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm")


def image_folder(path: str | Path, size: int | tuple[int, int], classes: Sequence[str] | None = None) -> Dataset:
    """Pictures in folders, one folder per class: `path/cat/1.jpg`, `path/dog/rex/2.png`, ...

    size: (height, width) or the side of a square; pictures are scaled to cover it and cut around their middle
    classes: the names of the folders, in the order of the labels; by default all of them, sorted
    Returns a Dataset of RGB images (N, 3, height, width) that are decoded when indexed, not before.
    Raises DataError if the folder, a class or every picture is missing; when indexed, for a picture that cannot be read.
    """
    extra("PIL.Image", "reading a folder of pictures")
    both, root = pair(size, "image_folder: size", 1), Path(path).expanduser()
    with explained(f"looking into {root}"):
        check(root.is_dir(), f"image_folder: path is {str(path)!r}: there is no such folder", DataError)
        names = sorted(entry.name for entry in root.iterdir() if entry.is_dir() and not entry.name.startswith("."))
        names = names if classes is None else list(classes)
        check(
            bool(names),
            f"image_folder: path is {str(path)!r}: it holds no folders: make one for each class and put its pictures in it",
            DataError,
        )
        files: list[Path] = []
        labels: list[int] = []
        for label, name in enumerate(names):
            check(
                (root / name).is_dir(), f"image_folder: there is no folder {root / name} for class {name!r}", DataError
            )
            found = sorted(
                file for file in (root / name).rglob("*") if file.suffix.lower() in SUFFIXES and file.is_file()
            )
            files += found
            labels += [label] * len(found)
    check(
        bool(files),
        f"image_folder: there are no pictures in the folders of {root}: it looks for {', '.join(SUFFIXES)}",
        DataError,
    )
    return Dataset(Pictures(files, both), np.array(labels), tuple(names), root.name, str(root))


class Pictures:
    """Pictures that are decoded when indexed, otherwise like a uint8 array (N, 3, height, width)."""

    dtype = np.dtype(np.uint8)

    def __init__(self, files: Sequence[Path], size: tuple[int, int]):
        self.files, self.size = list(files), size

    @property
    def shape(self) -> tuple[int, ...]:
        return (len(self.files), 3, *self.size)

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: Any) -> np.ndarray:
        """Decode: an int gives (3, H, W); a slice or an array of indices gives (M, 3, H, W)."""
        chosen = np.arange(len(self.files))[index]
        if np.ndim(chosen) == 0:
            return read_picture(self.files[int(chosen)], self.size)
        result = np.empty((len(chosen), 3, *self.size), np.uint8)
        for place, which in enumerate(chosen):
            result[place] = read_picture(self.files[int(which)], self.size)
        return result

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        check(copy is not False, "Pictures: they are decoded into a new array: copy=False cannot be", DataError)
        return self[:].astype(dtype or self.dtype, copy=False)

    def subset(self, indices: np.ndarray) -> Pictures:
        """The pictures at `indices`, still not decoded."""
        return Pictures([self.files[int(index)] for index in indices], self.size)


def read_picture(path: str | Path, size: int | tuple[int, int]) -> np.ndarray:
    """One picture as RGB, uint8 (3, height, width), turned upright, scaled to cover `size` and cut around its middle.

    Raises DataError, naming the file, if it is not a picture, damaged, truncated or unreasonably large.
    """
    pillow, operations = (extra(f"PIL.{name}", f"reading {path}") for name in ("Image", "ImageOps"))
    height, width = pair(size, "read_picture: size", 1)
    try:
        with pillow.open(path) as picture:
            upright = operations.exif_transpose(picture).convert("RGB")
            fitted = operations.fit(upright, (width, height), pillow.Resampling.BILINEAR)
            return np.ascontiguousarray(np.asarray(fitted).transpose(2, 0, 1))
    except FileNotFoundError:
        raise DataError(f"the picture {path} cannot be read: there is no such file") from None
    except Exception as error:  # decoders raise nearly anything
        raise DataError(f"the picture {path} cannot be read ({error}): repair it or leave it out") from error
