"""A table of names: what the layers of a family of ours are called in another library."""

from __future__ import annotations

import dataclasses
import fnmatch
import re
from collections.abc import Callable, Mapping

import numpy as np

from ...geometry import Shape
from ...layers import BatchNorm2d, Layer

COUNTER = "num_batches_tracked"
"""A number beside each batch norm of PyTorch's, which only a momentum of None needs."""

_HOLE = re.compile(r"\{(\w+)([+-]\d+)?\}")
_NUMBER = r"\d+[a-z]?"
_NORM = {"scale": "weight", "shift": "bias"}


@dataclasses.dataclass(frozen=True, eq=False)
class Table:
    """How one library names what a family of the zoo's networks is made of.

    Both sides of a row begin where the path begins, and what follows stays as it is: with the row
    {"stage{i}.block{j}.body": "layer{i}.{j-1}"}, "stage2.block1.body.conv1.weight" is "layer2.0.conv1.weight" there. A hole such
    as {i} holds a number, perhaps with a letter behind it. The first row that fits is taken; a path that none fits keeps its name.
    The scale and shift of a batch norm are its weight and bias there.
    """

    library: str
    family: tuple[str, ...]
    """The names in the zoo that the rows fit, as shell patterns."""
    published: Mapping[str, str]
    """{the name in the zoo: the name there} of those that the library has."""
    rows: Mapping[str, str] | Callable[[Layer], Mapping[str, str]]
    """Ours to theirs; or what gives them for a model."""
    classifiers: tuple[str, ...] = ("fc",)
    """Our paths of the layers whose size is the number of classes."""
    training_only: tuple[str, ...] = ()
    """How their names of layers begin that only training needs: a file may have them where the model does not."""
    old: tuple[tuple[str, str], ...] = ()
    """(pattern, replacement): how names in older files become those of today."""
    windows: Mapping[str, int] = dataclasses.field(default_factory=dict)
    """{our path of a linear layer: its window there}, where the library has a convolution over the whole map."""

    def fits(self, name: str) -> bool:
        """Whether a network of the zoo is of the family."""
        return any(fnmatch.fnmatchcase(name, pattern) for pattern in self.family)

    def modern(self, name: str) -> str:
        """Their name of today for a name in a file."""
        for pattern, replacement in self.old:
            name = re.sub(pattern, replacement, name)
        return name

    def names(self, model: Layer) -> dict[str, str]:
        """{our path of a parameter or buffer: their name of it}, in our order."""
        rows = self.rows(model) if callable(self.rows) else self.rows
        patterns = [(_pattern(ours), theirs) for ours, theirs in rows.items()]
        norms = {path for path, layer in model.named_layers() if isinstance(layer, BatchNorm2d)}
        result = {}
        for ours in model.state_dict():
            path, _, leaf = ours.rpartition(".")
            result[ours] = _translated(path, patterns) + "." + (_NORM.get(leaf, leaf) if path in norms else leaf)
        return result

    def shape(self, ours: str, shape: Shape) -> Shape:
        """The shape that they give to a parameter or buffer of ours."""
        path, _, leaf = ours.rpartition(".")
        window = self.windows.get(path)
        if window is None or leaf != "weight":
            return shape
        return (shape[0], shape[1] // window**2, window, window)

    def counters(self, model: Layer) -> dict[str, np.ndarray]:
        """The counters of PyTorch's batch norms, by their names, at 0."""
        names = self.names(model)
        means = [theirs for ours, theirs in names.items() if ours.endswith("running_mean")]
        return {name.removesuffix("running_mean") + COUNTER: np.zeros((), np.int64) for name in means}


def _pattern(ours: str) -> re.Pattern[str]:
    parts = _HOLE.split(ours)  # text, name, None, text, name, None, ..., text
    text = "".join(
        [re.escape(part) if i % 3 == 0 else f"(?P<{part}>{_NUMBER})" for i, part in enumerate(parts) if i % 3 < 2]
    )
    return re.compile(text + r"(?=\.|$)")


def _translated(path: str, patterns: list[tuple[re.Pattern[str], str]]) -> str:
    for pattern, theirs in patterns:
        if found := pattern.match(path):

            def filled(hole: re.Match[str], found: re.Match[str] = found) -> str:
                value = found[hole[1]]
                return str(int(value) + int(hole[2])) if hole[2] else value

            return _HOLE.sub(filled, theirs) + path[found.end() :]
    return path
