"""A trained network and the pictures of its user."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .. import models, ops
from ..autograd import no_grad
from ..data import Normalize, read_picture
from ..errors import CheckpointError, MinicnnError
from ..tensor import Tensor
from .checkpoint import read_checkpoint, with_prefix


class Predictor:
    """The network of a checkpoint, with the names of its classes and the normalisation of its training.

    path: a checkpoint, the folder of a run, or, where there is neither, the name of a network that comes trained.
    Raises CheckpointError where it cannot be read, or does not say what network it holds.
    """

    def __init__(self, path: str | Path) -> None:
        shipped = None if Path(path).exists() else models.pretrained.trained(str(path))
        arrays, data = read_checkpoint(shipped.path if shipped else path)
        try:
            self._build(path, arrays, data["config"])
        except MinicnnError:
            raise
        except (KeyError, TypeError, ValueError, AttributeError) as error:  # the checksum is no secret
            raise CheckpointError(
                f"{path} is damaged: its config makes no sense ({error}): use a copy of it"
            ) from error

    def _build(self, path: str | Path, arrays: dict[str, np.ndarray], config: dict[str, Any]) -> None:
        missing = [name for name in ("network", "input_shape", "classes", "mean", "std") if name not in config]
        if missing:
            raise CheckpointError(
                f"{path} does not hold the config of its network ({', '.join(missing)}): it was written by a Trainer without it; "
                "use one that `minicnn train` wrote"
            )
        self.classes: list[str] = config["classes"]
        self.size: tuple[int, int] = tuple(config["input_shape"][1:])
        self.normalize = Normalize(config["mean"], config["std"])
        self.model = models.create(config["network"]["name"], **config["network"]["options"])
        self.model.load_state_dict(with_prefix("model/", arrays))
        self.model.eval()

    def probabilities(self, images: np.ndarray) -> np.ndarray:
        """images: uint8 (N, C, H, W) of the network's size. Returns float32 (N, classes)."""
        with no_grad():
            return ops.softmax(self.model(Tensor(self.normalize(images)))).numpy()

    def top(self, path: str | Path, count: int = 3) -> list[tuple[str, float]]:
        """The most probable classes of a photograph, scaled to cover the network's input and cut around its middle.

        Raises DataError, naming the file, if it cannot be read.
        """
        return self.rank(self.probabilities(read_picture(path, self.size)[None])[0], count)

    def rank(self, probabilities: Sequence[float] | np.ndarray, count: int) -> list[tuple[str, float]]:
        """The `count` most probable classes of one row, most probable first."""
        row = np.asarray(probabilities)
        return [(self.classes[i], float(row[i])) for i in np.argsort(-row, kind="stable")[:count]]
