"""Whose weights they are: telling apart networks of the zoo, by what they compute and by their names elsewhere."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from ..errors import MinicnnError
from ..geometry import Shape
from ..layers import AdaptiveAvgPool2d, Dropout, Layer
from ..models import create
from .names import COUNTER, TABLES, Table

IRRELEVANT = ("num_classes", "in_channels", "dropout")
"""Options that shapes show, or that change nothing in use."""


class Match(NamedTuple):
    """A network of the zoo that a file's names and shapes fit."""

    name: str
    table: Table
    classes: int
    """In the file."""

    def __str__(self) -> str:
        return f"{self.table.library}'s {self.table.published[self.name]}"

    @property
    def advice(self) -> str:
        """How to make it."""
        given = "" if self.classes == 1000 else f", num_classes={self.classes}"
        return f"models.create({self.name!r}{given})"


def _structure(name: str, options: Mapping[str, Any]) -> list[str]:
    """What computes, without what changes nothing in use and at the network's own resolution."""
    model = create(name, device="meta", **options)
    layers = [
        (path, layer) for path, layer in model.named_layers() if not isinstance(layer, (Dropout, AdaptiveAvgPool2d))
    ]
    return [f"{path} {layer!r}" for path, layer in layers if not any(layer.children())]


def _relevant(options: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in options.items() if key not in IRRELEVANT}


def same(name: str, options: Mapping[str, Any], other: str, other_options: Mapping[str, Any]) -> bool:
    """Whether two recipes make networks that compute the same, apart from the number of classes and input channels."""
    one, two = _relevant(options), _relevant(other_options)
    try:
        return (name, one) == (other, two) or _structure(name, one) == _structure(other, two)
    except MinicnnError:  # a recipe of another version
        return False


@functools.cache
def _expected(table: Table, name: str) -> tuple[dict[str, Shape], frozenset[str]]:
    """{their name: shape} of a network that the library has; and which of these the number of classes decides."""
    model = create(name, device="meta")
    shapes = {ours: values.shape for ours, values in model.state_dict().items()}
    translated = table.names(model)
    decided = frozenset([theirs for ours, theirs in translated.items() if ours.rpartition(".")[0] in table.classifiers])
    return {theirs: table.shape(ours, shapes[ours]) for ours, theirs in translated.items()}, decided


def _fits(given: Mapping[str, Shape], table: Table, name: str) -> tuple[int, Match] | None:
    """How many names are left over, and the match."""
    expected, decided = _expected(table, name)
    if not all(theirs in expected or theirs.startswith(table.training_only) for theirs in given):
        return None
    classes = 0
    for theirs, shape in expected.items():
        found = given.get(theirs)
        if found is None or len(found) != len(shape):
            return None
        if theirs in decided:
            classes, found, shape = classes or found[0], found[1:], shape[1:]
        if found != shape:
            return None
    return len(given) - len(expected), Match(name, table, classes)


def matches(given: Mapping[str, Shape], tables: Iterable[Table] = TABLES) -> list[Match]:
    """The networks that a file's {name: shape} fit: the number of classes may differ, and heads for training be left over.

    Those that leave nothing over come first.
    """
    found: dict[str, tuple[int, Match]] = {}
    for table in tables:
        modern = {table.modern(name): shape for name, shape in given.items() if not name.endswith(COUNTER)}
        for name in table.published:
            if name not in found and (entry := _fits(modern, table, name)):
                found[name] = entry
    return [match for _, match in sorted(found.values(), key=lambda entry: entry[0])]


def lookalikes(model: Layer) -> list[Match]:
    """The libraries' networks that have the names and shapes of a network of the zoo, apart from the classes."""
    name, options = model.recipe.name, model.recipe.options
    given = {key: options[key] for key in ("num_classes", "in_channels") if key in options}
    found: dict[str, Match] = {}
    for table in [table for table in TABLES if table.fits(name)]:
        own = _body(model, table)
        for other in table.published:
            if other not in found and _body(create(other, device="meta", **given), table) == own:
                found[other] = Match(other, table, given.get("num_classes", 1000))
    return list(found.values())


def _body(model: Layer, table: Table) -> dict[str, Shape]:
    shapes = {path: values.shape for path, values in model.state_dict().items()}
    return {path: shape for path, shape in shapes.items() if path.rpartition(".")[0] not in table.classifiers}
