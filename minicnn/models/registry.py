"""The registry of the zoo: what there is (`names`), what it is (`info`), and building it (`create`)."""

from __future__ import annotations

import dataclasses
import difflib
import fnmatch
import functools
import inspect
import textwrap
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from ..errors import ArgumentError, MinicnnError, check
from ..geometry import Shape
from ..layers import Layer, default_device, trace
from ..layers.arguments import count
from . import pretrained as weights
from .pretrained import Trained

Builder = Callable[..., Layer]


@dataclasses.dataclass(frozen=True)
class Info:
    """The facts about a network."""

    name: str
    title: str
    paper: str
    year: int
    decks: tuple[str, ...]
    """The lecture decks that show it, by their number."""
    input_shape: Shape
    """(C, H, W)"""
    notes: str = ""
    """Where slides, paper and released code differ."""
    reference: bool = False
    """Whether it is a variant for cross-checking, not a network of the slides or papers."""
    aliases: tuple[str, ...] = ()
    """Other names of the same network."""

    @property
    def parameters(self) -> int:
        """Learnable numbers, counted in the network as built."""
        return _counts(self.name)[0]

    @property
    def macs(self) -> int:
        """Multiply-adds of convolutions and linear layers for one image, counted in the network as built."""
        return _counts(self.name)[1]

    @property
    def trained(self) -> Trained | None:
        """How the weights that come with the package were made, what they are worth, and what their images are; None
        where there are none."""
        return weights.trained(self.name)

    def __str__(self) -> str:
        """For people: all of it in lines of 80 columns."""
        also = f" (also {', '.join(self.aliases)})" if self.aliases else ""
        trained = self.trained
        made = f"{trained.accuracy:.2%} of CIFAR-10's test images right; made by {trained.command}" if trained else ""
        lines = [
            ("name", f"{self.name}{also}: {self.title}"),
            ("paper", self.paper),
            ("decks", ", ".join(self.decks) or "none: a variant that other libraries have"),
            ("input", "x".join(map(str, self.input_shape))),
            ("parameters", f"{self.parameters:,}"),
            ("MACs", f"{self.macs:,}"),
            ("notes", self.notes),
            ("options", ", ".join(f"{key}={value!r}" for key, value in options(self.name).items())),
            ("pretrained", made),
        ]
        return "\n".join(
            textwrap.fill(text, 80, initial_indent=f"{head:<12}", subsequent_indent=" " * 12, break_on_hyphens=False)
            for head, text in lines
            if text
        )


class Recipe(NamedTuple):
    """How a model was made: `create(recipe.name, **recipe.options)` makes it again. Plain data, fit for a checkpoint."""

    name: str
    options: dict[str, Any]
    input_shape: Shape
    """(C, H, W)"""


class _Entry(NamedTuple):
    info: Info
    build: Builder
    fixed: Mapping[str, Any]
    """Options of the builder that this name sets."""


_entries: dict[str, _Entry] = {}
_aliases: dict[str, str] = {}


def register(
    name: str, *, title: str, paper: str, year: int, input_shape: Shape, decks: tuple[str, ...] = (), notes: str = "",
    reference: bool = False, aliases: tuple[str, ...] = (), **fixed: Any,
) -> Callable[[Builder], Builder]:  # fmt: skip
    """Enter a builder, a function of keyword options that returns a Layer, under `name`.

    aliases: other names for it. fixed: options of the builder with other defaults under this name. Stack several to
    enter several networks.
    """

    def enter(build: Builder) -> Builder:
        for new in (name, *aliases):
            check(
                new not in _entries and new not in _aliases,
                f"register: {new!r} is in the zoo already: choose another name",
            )
        _entries[name] = _Entry(
            Info(name, title, paper, year, decks, input_shape, notes, reference, aliases), build, fixed
        )
        _aliases.update(dict.fromkeys(aliases, name))
        return build

    return enter


def names(pattern: str | None = None, *, all: bool = False) -> list[str]:
    """The names in the zoo, in order; `all` adds cross-check variants, such as torchvision's.

    pattern: a shell pattern such as "alex*"; a network is found by its other names too ("vgg16" is vgg_d).
    """
    check(
        pattern is None or isinstance(pattern, str),
        f"models.names: pattern is {pattern!r}: it must be a string such as 'alex*'",
    )
    chosen = [entry.info for entry in _entries.values() if all or not entry.info.reference]
    return [
        info.name
        for info in chosen
        if pattern is None or any(fnmatch.fnmatchcase(name, pattern.lower()) for name in (info.name, *info.aliases))
    ]


def _entry(name: str) -> _Entry:
    if isinstance(name, str) and (found := _aliases.get(name, name)) in _entries:
        return _entries[found]
    known, wanted = [*_entries, *_aliases], str(name).lower()
    longer = [candidate for candidate in known if wanted and candidate.startswith(wanted)]
    near = list(dict.fromkeys([*longer[:2], *difflib.get_close_matches(wanted, known, n=3, cutoff=0.65)]))[:3]
    hint = (
        f"did you mean {' or '.join(near)}?"
        if near
        else "models.names(all=True), or minicnn compare --list, lists them"
    )
    raise ArgumentError(f"models: there is no network called {name!r}: {hint}")


def info(name: str) -> Info:
    """The facts about a network: title, paper, year, decks, input_shape, parameters, macs, notes."""
    return _entry(name).info


def options(name: str) -> dict[str, Any]:
    """The options that `create(name, ...)` takes, with their defaults."""
    entry = _entry(name)
    parameters = inspect.signature(entry.build).parameters
    return {key: parameter.default for key, parameter in parameters.items()} | dict(entry.fixed)


def _plain(what: str, value: Any) -> Any:
    """An option as JSON can hold it: NumPy's numbers and arrays, and tuples, become Python's numbers and lists."""
    if isinstance(value, (np.ndarray, np.generic)):
        value = value.tolist()
    if isinstance(value, (list, tuple)):
        return [_plain(what, item) for item in value]
    if isinstance(value, Mapping):
        return {str(key): _plain(what, item) for key, item in value.items()}
    if isinstance(value, int) and value.bit_length() > 63:  # Python may refuse to print it
        raise ArgumentError(f"{what} is an integer of {value.bit_length()} bits: it must fit into 64, with its sign")
    check(
        value is None or isinstance(value, (bool, int, float, str)),
        f"{what} is {value!r}: it must be numbers, truth values, strings, None, or lists of them: a checkpoint keeps it",
    )
    return value


def create(name: str, *, device: str = "cpu", pretrained: bool = False, **given: Any) -> Layer:
    """Build a network with fresh weights: a function of `minicnn.manual_seed` and of nothing else. Or with trained ones.

    device: "cpu", "cuda" or "meta" (shapes only: any network in milliseconds, without memory).
    pretrained: take the weights that come with the package, and the options that they were trained with;
        `models.info(name).trained` tells what they are. The network is in training mode, as every new one: call
        `.eval()` to classify.
    given: the network's own options, such as num_classes or in_channels; `models.options(name)` lists them. An option
    called input_size, where there is one, is the height and width of the images.
    Its `.recipe` says how to make it again. Raises ArgumentError for an unknown name, with the nearest, or option,
    for a value that is not plain data, and with `pretrained` for a network that does not come trained, or not so.
    """
    entry, known = _entry(name), options(name)
    given = {key: _plain(f"models.create({name!r}): {key}", value) for key, value in given.items()}
    for key in given:
        if key not in known:
            near = difflib.get_close_matches(key, known, n=1)
            hint = f"did you mean {near[0]}? " if near else ""
            listed = ", ".join(f"{option}={value!r}" for option, value in known.items())
            raise ArgumentError(f"models.create: {name} has no option {key!r}: {hint}it takes {listed}")
    for key in ("num_classes", "in_channels"):
        if key in given:
            count(given[key], f"models.create({name!r}): {key}")
    _check_flags(entry, given)
    check(
        isinstance(pretrained, bool), f"models.create({name!r}): pretrained is {pretrained!r}: it must be True or False"
    )
    if pretrained:
        given = _trained_options(entry.info, device, given)
    try:
        with default_device(device):
            model = entry.build(**{**entry.fixed, **given})
    except MinicnnError as error:
        error.locate(f"models.create({name!r})")
        raise
    C, H, W = entry.info.input_shape
    model.recipe = Recipe(
        entry.info.name,
        dict(given),
        (given.get("in_channels", C), given.get("input_size", H), given.get("input_size", W)),
    )
    if pretrained:
        model.load_state_dict(weights.weights(entry.info.name))
    return model


def _trained_options(info: Info, device: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """The options that a network was trained with, which those given must not contradict."""
    where, found = f"models.create({info.name!r}, pretrained=True)", info.trained
    if found is None:
        raise ArgumentError(f"{where}: it does not come trained: {' and '.join(weights.names())} do")
    check(device != "meta", f"{where}: device is 'meta', which holds no numbers: leave one of the two out")
    for key, value in given.items():
        fixed = _plain(key, found.options.get(key, options(info.name)[key]))
        check(
            value == fixed,
            f"{where}: {key} is {value!r}: the weights were trained with {fixed!r}: leave it out, and change the network that you get",
        )
    return dict(found.options)


def _check_flags(entry: _Entry, given: Mapping[str, Any]) -> None:
    """An option that its builder declares as a bool must be one: batch_norm="no" would count as true."""
    parameters = inspect.signature(entry.build).parameters
    for key, value in given.items():
        if parameters[key].annotation in (bool, "bool"):
            check(
                isinstance(value, bool),
                f"models.create({entry.info.name!r}): {key} is {value!r}: it must be True or False",
            )


@functools.cache
def _counts(name: str) -> tuple[int, int]:
    model = create(name, device="meta")
    records = trace(model, info(name).input_shape).records
    return sum(p.size for p in model.parameters()), sum(r.layer.macs(r.input, r.output) for r in records)
