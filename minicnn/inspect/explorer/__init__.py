"""The explorer: the zoo in one page that needs nothing else, with its own arithmetic (see `arithmetic.js`)."""

from __future__ import annotations

import base64
import json
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np

from ... import models
from ...data.files import say_aloud
from ...data.sample import cifar10_sample
from ...errors import MinicnnError, check
from ...io.files import replacing
from ...layers import (
    AdaptiveAvgPool2d,
    Add,
    AvgPool2d,
    BatchNorm2d,
    Cat,
    Conv2d,
    Dropout,
    Flatten,
    GlobalAvgPool2d,
    Identity,
    Layer,
    Linear,
    LocalResponseNorm,
    MaxPool2d,
    PadShortcut,
    RadialBasis,
    ReLU,
    ScaledTanh,
    Subsample2d,
    TableConv2d,
    Tanh,
)
from ...layers.tracing import Record
from ...models import pretrained
from ..galleries import AGAINST, FOR
from ..slides import check_slides
from ..structure import Block, Chain, Dense, Fork, Heads, Op, Part, Repeat, structure
from ..summary import traced
from ..svg import FILLS

SCRIPTS = (
    "arithmetic.js", "layers.js", "network.js", "forward.js", "diagram.js", "details.js", "picture.js", "page.js"
)  # fmt: skip
ARITHMETIC = SCRIPTS[:4]
"""Those that run without a page."""

_POOL = ("kernel_size", "stride", "padding", "ceil_mode")
ARGUMENTS: dict[type[Layer], tuple[str, ...]] = {
    Conv2d: ("in_channels", "out_channels", "kernel_size", "stride", "padding", "dilation", "groups", "bias"),
    TableConv2d: ("in_channels", "out_channels", "kernel_size", "connections"),
    Linear: ("in_features", "out_features", "bias"),
    MaxPool2d: _POOL, AvgPool2d: _POOL, Subsample2d: ("channels", "kernel_size"),
    AdaptiveAvgPool2d: ("output_size",), GlobalAvgPool2d: ("output_size",),
    BatchNorm2d: ("num_features", "eps"), LocalResponseNorm: ("size", "alpha", "beta", "k", "alpha_over_size"),
    PadShortcut: ("channels", "stride"), Add: ("coefficients",), Dropout: ("p",), ScaledTanh: ("amplitude", "slope"),
    Cat: (), Flatten: (), Identity: (), ReLU: (), Tanh: (), RadialBasis: (),
}  # fmt: skip
"""The layers that the page knows, and the attributes of each that its arithmetic needs."""
TRAINED, PICTURES = "cifar_resnet20", 20
"""The network that looks at pictures in the page, and how many of the test pictures of the sample it comes with."""


def explore(path: str | Path) -> None:
    """Write the explorer, one HTML file of a few MB that loads nothing. Takes seconds.

    A trained network in it looks at pictures; where its weights or Pillow are missing, a line on standard error says so,
    and the page goes without.
    Raises ArgumentError for a name that does not end in .html, CheckpointError where the disk refuses.
    """
    check(Path(path).suffix.lower() == ".html", f"explore: the file is {str(path)!r}: its name must end in .html")
    with replacing(path) as part:
        part.write_text(page(), encoding="utf-8")


def page() -> str:
    """The text of the page."""
    source = files(__name__)
    scripts = "\n".join(source.joinpath(name).read_text(encoding="utf-8") for name in SCRIPTS)
    data = json.dumps(contents(), ensure_ascii=False, separators=(",", ":")).replace("</", "<\\/")
    html = source.joinpath("page.html").read_text(encoding="utf-8")
    for place, text in {
        "/* style */": source.joinpath("page.css").read_text(encoding="utf-8"),
        "/* scripts */": scripts,
        "/* data */": data,
    }.items():
        html = html.replace(place, text)
    return html


def contents() -> dict[str, Any]:
    """What the page shows, as JSON can hold it.

    networks: facts, layers and parts of each. A layer is [path, number in `made`, the layers it reads; without them the
    one before it], -1 the input; parts are those of `structure`, with the numbers of layers in place of records.
    made: [kind, arguments], each once. claims: those of the slides that are about a network, and the layers of each.
    trained: see `trained`.
    """
    made: dict[str, int] = {}
    networks = [network(name, made) for name in models.names(all=True)]
    report = check_slides()
    claims = [
        {
            "deck": line.deck, "statement": line.statement, "slide": line.slide, "computed": line.computed,
            "verdict": line.verdict, "reason": line.reason, "networks": line.networks, "layers": line.layers,
        }
        for line in report.lines
        if line.networks
    ]  # fmt: skip
    return {
        "networks": networks,
        "made": [json.loads(layer) for layer in made],
        "claims": claims,
        "decks": report.titles,
        "fills": FILLS,
        "trained": trained(),
    }


def trained() -> dict[str, Any] | None:
    """The network that looks at pictures. None where it or they are missing: that is said, and the page goes without.

    weights: float16 in base64, by their names in its state dict. pictures: the number of the class, and uint8
    (3, 32, 32) in base64. above, below: the colours of numbers above and below zero.
    """
    try:
        facts, weights, sample = pretrained.trained(TRAINED), pretrained.weights(TRAINED), cifar10_sample(False)
    except MinicnnError as error:
        say_aloud(f"explore: the page has no trained network to show pictures to: {error}")
        return None
    assert facts is not None

    def text(array: np.ndarray) -> str:
        return base64.b64encode(array.tobytes()).decode("ascii")

    return {
        "network": TRAINED, "classes": facts.classes, "mean": facts.mean, "std": facts.std, "accuracy": facts.accuracy,
        "weights": {name: text(values.astype("<f2")) for name, values in weights.items()},
        "pictures": [
            {"label": int(label), "pixels": text(image)}
            for image, label in zip(sample.images[:PICTURES], sample.labels)
        ],
        "above": FOR, "below": AGAINST,
    }  # fmt: skip


def network(name: str, made: dict[str, int]) -> dict[str, Any]:
    """One of `networks` in `contents`; `made` grows by the layers that were not in it."""
    info, found = models.info(name), traced("explore", name, None)
    numbers = {record.index: number for number, record in enumerate(found.leaves)}
    numbers[-1] = -1
    layers: list[list[Any]] = []
    for number, record in enumerate(found.leaves):
        kind = json.dumps([record.kind, arguments(record.layer)])
        sources = [numbers[source] for source in record.sources]
        entry = [record.path, made.setdefault(kind, len(made))]
        layers.append(entry if sources == [number - 1] else [*entry, sources])
    return {
        "name": name, "aliases": info.aliases, "title": info.title, "paper": info.paper, "year": info.year,
        "decks": info.decks, "notes": info.notes, "input": info.input_shape, "layers": layers,
        "parts": _parts(structure(found), numbers),
    }  # fmt: skip


def arguments(layer: Layer) -> dict[str, Any]:
    """What a layer was made with, as far as the page's arithmetic needs it. KeyError for a kind it does not know."""
    given = {name: getattr(layer, name) for name in ARGUMENTS[type(layer)]}
    if "bias" in given:
        given["bias"] = given["bias"] is not None
    if isinstance(layer, BatchNorm2d):
        given["affine"] = layer.scale is not None
    if isinstance(layer, RadialBasis):
        given = {"in_features": layer.codes.shape[1], "out_features": layer.codes.shape[0]}
    return given


def _parts(part: Part, numbers: dict[int, int]) -> Any:
    """A part of a `structure`: a list is a chain, a number or {op, before, after} a box; others are named by a key."""

    def several(parts: Any) -> list[Any]:
        return [_parts(inner, numbers) for inner in parts]

    def layers(records: list[Record]) -> list[int]:
        return [numbers[record.index] for record in records]

    if isinstance(part, Chain):
        return several(part.parts)
    if isinstance(part, Op):
        op = numbers[part.record.index]
        if not (part.before or part.after):
            return op
        return {"op": op, "before": layers(part.before), "after": layers(part.after)}
    if isinstance(part, Fork):
        return {"fork": several(part.branches), "join": None if part.join is None else _parts(part.join, numbers)}
    if isinstance(part, Block):
        return {"block": part.record.path, "inner": _parts(part.inner, numbers)}
    if isinstance(part, Repeat):
        return {"repeat": several([part.part, *part.others])}
    if isinstance(part, Dense):
        return {"dense": several(part.steps)}
    assert isinstance(part, Heads)
    return {"heads": several(part.chains)}
