"""How the images of a batch are made: on the CPU, or partly on the GPU, to the same bits.

Each way has two halves: `begin`, in the loader's thread, and `end`, where the batch is used.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import backends
from ..errors import check
from .colour import Normalize, ToFloat
from .draw import Draw
from .transforms import Compose, RandomCrop, RandomHorizontalFlip, Transform

KINDS = (RandomCrop, RandomHorizontalFlip, Normalize, ToFloat)
"""What the CUDA kernel `augment` does: any of these, in this order."""


class OnCpu:
    """Everything on the CPU, ahead of use. transform: as in `Loader`"""

    def __init__(self, transform: Transform | None) -> None:
        self.transform = transform

    def begin(self, images: np.ndarray, draw: Draw) -> Any:
        """images: uint8 (N, C, H, W) as the dataset has them. Returns what `end` takes."""
        if self.transform is not None:
            count, images = len(images), self.transform(images, draw)
            check(
                isinstance(images, np.ndarray) and images.shape[:1] == (count,),
                f"Loader: transform gave {getattr(images, 'shape', type(images).__name__)} for {count} images: it must return an "
                "array of as many",
            )
        return images if images.dtype == np.float32 else ToFloat()(images)

    def end(self, begun: Any) -> Any:
        """The images, float32, on the device."""
        return begun


class OnCuda(OnCpu):
    """Where `augment` does all that the transform asks for, pixels and drawn numbers travel; else the finished batch does.

    shape: of the dataset's images (N, C, H, W)      Raises ShapeError where the transform is for other channels.
    """

    def __init__(self, transform: Transform | None, shape: tuple[int, ...]) -> None:
        super().__init__(transform)
        self.kernels = backends.get("cuda")
        self.copies = self.kernels.copies
        listed = transform.transforms if type(transform) is Compose else [] if transform is None else [transform]
        kinds: list[Any] = [type(part) for part in listed]
        self.parts: dict[Any, Any] = dict(zip(kinds, listed))
        self.fill = self.parts[RandomCrop].fill if RandomCrop in kinds else 0
        self.native = kinds == [kind for kind in KINDS if kind in kinds] and self.fill in range(256)
        if self.native:
            scaling = self.parts.get(Normalize) or ToFloat()
            self.line = [self.kernels.asarray(numbers) for numbers in scaling.line(shape)]

    def begin(self, images: np.ndarray, draw: Draw) -> Any:
        arrays = [images, self._places(images, draw)] if self.native else [super().begin(images, draw)]
        return self.copies.send(arrays)

    def end(self, begun: Any) -> Any:
        return self.copies.receive(begun, self._augmented if self.native else lambda images: images.copy())

    def _places(self, images: np.ndarray, draw: Draw) -> np.ndarray:
        """int64 (N, 4), as `augment` takes them."""
        draws = self.transform.draws(draw) if isinstance(self.transform, Compose) else [draw]
        places = np.zeros((len(images), 4), np.int64)
        places[:, 0] = np.arange(len(images))
        for (kind, part), own in zip(self.parts.items(), draws):
            if kind is RandomCrop:
                places[:, 1], places[:, 2] = part.corners(images, own)
            elif kind is RandomHorizontalFlip:
                places[:, 3] = part.chosen(images, own)
        return places

    def _augmented(self, images: Any, places: Any) -> Any:
        size = self.parts[RandomCrop].size if RandomCrop in self.parts else images.shape[2:]
        out = self.kernels.empty((*images.shape[:2], *size), np.float32)
        self.kernels.augment(images, places, *self.line, self.fill, False, out)
        return out
