"""The weights of a model in a file of their own: minicnn's, PyTorch's, or another program's safetensors."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ..errors import ArgumentError, CheckpointError, check
from ..layers import Layer
from ..layers.base import Loaded
from ..tensor import Tensor
from . import origin
from .archive import ordinary, read_archive, write_archive
from .names import COUNTER, LIBRARIES, TABLES, Table

PREFIXES = ("module.", "_orig_mod.", "model.")
"""What wrappers of PyTorch put in front of every name."""
MOST_LISTED = 30


def save_weights(model: Layer, path: str | Path, names: str | None = None) -> None:
    """Write all parameters and buffers to a safetensors file; whole or not at all.

    names: None for their paths in the model, or "torchvision" or "timm" for the names that the library's own network
        has; what it reads is then complete, counters of batch norms included.
    Raises ArgumentError where the library has no such network, CheckpointError where the file cannot be written; an
    older file then stays as it was.
    """
    _check_arguments("save_weights", model, path)
    table = None if names is None else _table_for_saving(model, names)
    state = {name: values.numpy() for name, values in model.state_dict().items()}
    data: dict[str, Any] = {"kind": "weights", "recipe": list(model.recipe) if model.recipe else None}
    if table is not None:
        translated = table.names(model)
        state = {translated[ours]: values.reshape(table.shape(ours, values.shape)) for ours, values in state.items()}
        state.update(table.counters(model))
        data["names"] = names
    write_archive(path, state, data)


def _check_arguments(where: str, model: Any, path: Any) -> None:
    check(isinstance(model, Layer), f"{where}: model is {type(model).__name__}: it must be a Layer")
    good = isinstance(path, (str, os.PathLike)) and str(path) not in ("", ".") and "\0" not in str(path)
    check(good, f"{where}: path is {path!r}: it must be the path of a file")


def _table_for_saving(model: Layer, names: str) -> Table:
    check(
        names in LIBRARIES, f"save_weights: names is {names!r}: it must be {' or '.join(LIBRARIES)}, or None for ours"
    )
    check(
        model.recipe is not None,
        f"save_weights: names is {names!r}: the model must be one of the zoo's, made by models.create",
    )
    name, options = model.recipe.name, model.recipe.options
    tables = [table for table in TABLES if table.fits(name)]
    for table in tables:
        if table.library == names and any(origin.same(name, options, other, {}) for other in table.published):
            return table
    theirs = {f"{table.library} has {', '.join(table.published)}" for table in tables}
    raise ArgumentError(
        f"save_weights: names is {names!r}: {names} has no network like this {name}, so its names would lead to wrong "
        f"outputs{''.join([f'; {text}' for text in sorted(theirs)])}; without names, minicnn can load the file"
    )


class _File(NamedTuple):
    """What lies in a file."""

    arrays: dict[str, np.ndarray]
    recipe: tuple[str, dict[str, Any]] | None
    """The zoo's name and options, where minicnn wrote it."""
    own: bool
    """Whether the names are our paths, for certain."""


def _read(path: Path) -> _File:
    from . import pickled  # which not everybody who imports minicnn needs

    ordinary(path)
    try:
        with path.open("rb") as file:
            beginning = file.read(len(pickled.LEGACY))
    except OSError:
        beginning = b""  # the reader below says why
    if beginning.startswith((pickled.ZIP, pickled.LEGACY)) or not (
        beginning[8:9] == b"{" or path.suffix in ("", ".safetensors")
    ):
        return _File(pickled.read_pickled(path), None, False)
    arrays, data = read_archive(path)
    if data is None:
        return _File(arrays, None, False)
    if data.get("kind") == "checkpoint":  # a training run's
        config = data.get("config")
        network = config.get("network") if isinstance(config, dict) else None
        recipe = [network.get("name"), network.get("options")] if isinstance(network, dict) else network
        start = "model/"
        arrays = {name.removeprefix(start): array for name, array in arrays.items() if name.startswith(start)}
        return _File(arrays, _said(path, recipe), True)
    return _File(arrays, _said(path, data.get("recipe")), "names" not in data)


def _said(path: Path, recipe: Any) -> tuple[str, dict[str, Any]] | None:
    """The name and options of a network, as a file of ours says them; the checksum is no secret, so anything may stand there."""
    if recipe is None:
        return None
    if isinstance(recipe, list) and len(recipe) >= 2 and isinstance(recipe[0], str) and isinstance(recipe[1], dict):
        return recipe[0], recipe[1]
    raise CheckpointError(f"{path} is damaged: it says {str(recipe)[:80]!r} of its network: use a copy of it")


def read_weights(path: str | Path) -> dict[str, np.ndarray]:
    """The arrays in a file of weights by the names they have there, without a model: .safetensors, .pth or .pt.

    Nothing in the file is executed. Raises CheckpointError for a file that is missing, truncated, damaged or refused.
    """
    return _read(Path(path)).arrays


class _Fit(NamedTuple):
    """A file's arrays beside a model's parameters and buffers."""

    pairs: dict[str, str]
    """{our path: the file's name} of those that are in both."""
    missing: list[str]
    unexpected: list[str]
    left_out: list[str]
    """In the file for training only, and not in the model."""
    wrong: list[str]
    classes: int | None
    """The file's number of classes, where all that is wrong is that."""

    @property
    def fits(self) -> bool:
        return not (self.missing or self.unexpected or self.wrong)


PLAIN = Table("PyTorch", (), {}, {})
"""A model whose layers are called as in the file, with PyTorch's names for what is in a batch norm."""


def _fit(model: Layer, arrays: Mapping[str, np.ndarray], table: Table | None) -> _Fit:
    """How a file fits a model by a table's names; None for our own."""
    state = model.state_dict()
    names = {name: name for name in state} if table is None else table.names(model)
    given = {name if table is None else table.modern(name): name for name in arrays}
    missing = [
        theirs if theirs == ours else f"{theirs} ({ours})" for ours, theirs in names.items() if theirs not in given
    ]
    heads = table.training_only if table else ()
    if any(theirs.startswith(heads) for theirs in names.values()):
        heads = ()
    known = set(names.values())
    others = [file_name for name, file_name in given.items() if name not in known]
    left_out = [name for name in others if name.startswith(heads)]
    pairs = {ours: given[theirs] for ours, theirs in names.items() if theirs in given}
    wrong, classes = [], set()
    for ours, name in pairs.items():
        expected = table.shape(ours, state[ours].shape) if table else state[ours].shape
        shape = arrays[name].shape
        if shape != expected:
            wrong.append(f"{name} is {shape}, the model has {expected}")
            last = table is not None and ours.rpartition(".")[0] in table.classifiers
            classes.add(shape[0] if last and shape[1:] == expected[1:] and shape else None)
    only = classes.pop() if len(classes) == 1 else None
    return _Fit(pairs, missing, [name for name in others if name not in left_out], left_out, wrong, only)


class _Reading(NamedTuple):
    """One way to understand a file's names."""

    arrays: dict[str, np.ndarray]
    table: Table | None
    fit: _Fit


def _readings(model: Layer, file: _File) -> list[_Reading]:
    """The ways to understand a file's names, those that fit better first."""
    if file.own:
        return [_Reading(file.arrays, None, _fit(model, file.arrays, None))]
    tables = [table for table in TABLES if model.recipe is not None and table.fits(model.recipe.name)]
    readings = [
        _Reading(arrays, table, _fit(model, arrays, table))
        for arrays in _peeled(file.arrays)
        for table in (None, *tables, PLAIN)
    ]
    return sorted(readings, key=lambda reading: (-len(reading.fit.pairs), len(reading.fit.wrong)))


def _peeled(arrays: dict[str, np.ndarray]) -> list[dict[str, np.ndarray]]:
    """Without PyTorch's counters; and without what wrappers put in front of every name, one after the other."""
    result = [{name: array for name, array in arrays.items() if not name.endswith(COUNTER)}]
    while last := result[-1]:
        prefix = next((prefix for prefix in PREFIXES if all(name.startswith(prefix) for name in last)), None)
        if prefix is None:
            break
        result.append({name.removeprefix(prefix): array for name, array in last.items()})
    return result


def _listed(kind: str, entries: list[str]) -> str:
    more = f" and {len(entries) - MOST_LISTED} more" if len(entries) > MOST_LISTED else ""
    return f"{kind}: {', '.join(entries[:MOST_LISTED])}{more}"


def _converted(name: str, array: np.ndarray, like: Tensor) -> np.ndarray:
    """The numbers in the parameter's dtype and shape."""
    if array.dtype.kind != "f":
        raise CheckpointError(f"{name} is {array.dtype}: weights must be floating-point numbers")
    if array.dtype != like.dtype:
        with np.errstate(all="ignore"):
            converted = array.astype(like.dtype)
        if (np.isinf(converted) & np.isfinite(array)).any():
            raise CheckpointError(f"{name} is {array.dtype} and has numbers too large for {like.dtype}")
        array = converted
    return array.reshape(like.shape)


def load_weights(model: Layer, path: str | Path, strict: bool = True, anyway: bool = False) -> Loaded:
    """Copy the weights in a file into a model: minicnn's own files (a training run's checkpoint too), or torchvision's
    and timm's, as .safetensors, .pth or .pt (the zip format and the one before it).

    Nothing in the file is executed. Foreign names are translated for the networks of the zoo; a dictionary around the
    weights, `module.` in front of the names, DenseNet's old names, counters of batch norms, and auxiliary heads that the
    model does not have, are no obstacle. float16, bfloat16 and float64 numbers become the model's dtype.
    strict: whether a missing or an unexpected name is an error; a wrong shape always is.
    anyway: whether to load weights that fit, but were trained in a network that computes something else.
    Returns the names that were missing in the file, and those in the file that the model has no place for. Raises
    CheckpointError for a file that is missing, truncated, damaged or refused, for every name that does not fit, and
    for weights of another network, with its name in the zoo; the model then stays as it was. Files of others have no
    checksum: a flipped bit inside a number goes unseen there, except in the zip format.
    """
    _check_arguments("load_weights", model, path)
    for name, value in (("strict", strict), ("anyway", anyway)):
        check(isinstance(value, bool), f"load_weights: {name} is {value!r}: it must be True or False")
    path = Path(path)
    file = _read(path)
    recipe = model.recipe
    kind = recipe.name if recipe else type(model).__name__
    arrays, table, fit = _readings(model, file)[0]
    missing, unexpected = (fit.missing, fit.unexpected) if strict else ([], [])
    if missing or unexpected or fit.wrong or not fit.pairs:
        parts = [
            _listed(text, names)
            for text, names in (("missing", missing), ("unexpected", unexpected), ("wrong shape", fit.wrong))
            if names
        ]
        if not fit.pairs:
            parts = [f"none of its {len(arrays)} names is one of the model's {len(fit.missing)}"]
        hint = _hint(model, file, fit, table)
        raise CheckpointError(f"{path} does not fit this {kind}{hint and '; ' + hint}: {'; '.join(parts)}")
    if not anyway and recipe is not None:
        _refuse_another_network(model, path, file, table)
    state = model.state_dict()
    try:
        values = {ours: _converted(name, arrays[name], state[ours]) for ours, name in fit.pairs.items()}
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}") from None
    model.load_state_dict(values, strict=False)
    return Loaded(fit.missing, [*fit.unexpected, *fit.left_out])


def _hint(model: Layer, file: _File, fit: _Fit, table: Table | None) -> str:
    """What the file is, where that is known, and what to do."""
    if file.recipe is not None:
        return f"it was written from {_recipe(*file.recipe)}"
    if model.recipe is not None and fit.classes is not None and not fit.missing and not fit.unexpected:
        last = (table.classifiers if table else ("",))[-1]
        return (
            f"it has {fit.classes} classes: make the model with num_classes={fit.classes}; to fine-tune for other classes, "
            f"load into that and then give it a new {last or 'last layer'}"
        )
    found = origin.matches({name: array.shape for name, array in _peeled(file.arrays)[-1].items()})
    if model.recipe is not None and model.recipe.name in [match.name for match in found]:
        return ""
    return f"it fits {' and '.join([f'{match}, here {match.advice}' for match in found])}" if found else ""


def _refuse_another_network(model: Layer, path: Path, file: _File, table: Table | None) -> None:
    """Raise CheckpointError where weights that fit in shape belong to a network that computes something else."""
    name, options = model.recipe.name, model.recipe.options
    if file.recipe is not None:
        if origin.same(name, options, *file.recipe):
            return
        what, right = f"weights of {file.recipe[0]}", _recipe(*file.recipe)
    elif table is None or table is PLAIN:
        return
    else:
        found = origin.lookalikes(model)
        if not found or any(origin.same(name, options, match.name, {}) for match in found):
            return
        what, right = f"weights of {found[0]}", " or ".join(match.advice for match in found)
    raise CheckpointError(
        f"{path} holds {what}, which fit this {name} in shape but were trained in a network that computes something else: "
        f"load them into {right}; or, to load them here all the same, load_weights(..., anyway=True)"
    )


def _recipe(name: str, options: Mapping[str, Any]) -> str:
    return f"models.create({name!r}{''.join([f', {key}={value!r}' for key, value in options.items()])})"
