"""`diagram`: a network as a picture, in the manner of the lectures' figures.

Each box is what a layer puts out: as high as its map and as thick as its channels are many, both on a square-root scale;
in a chain it is a block in perspective. Branches are drawn as branches, sums as a circle, concatenations as a bar, dense
blocks with an arc from everything to everything behind it. Strips on a box are the batch norm, ReLU, ... that belong to it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from os.path import commonprefix

from .. import models
from ..geometry import Shape
from ..layers import (
    AdaptiveAvgPool2d,
    Add,
    AvgPool2d,
    Cat,
    Conv2d,
    ConvTranspose2d,
    Dropout,
    Flatten,
    GlobalAvgPool2d,
    Identity,
    Layer,
    Linear,
    MaxPool2d,
    ScaledTanh,
    Subsample2d,
    TableConv2d,
    Trace,
)
from ..layers.arguments import compact
from ..layers.tracing import Record, nesting, printable
from .elements import LINE, SMALL, Element, Look, Row, Slab
from .layout import arrange, ends, in_rows
from .structure import Block, Dense, Op, Part, Repeat, branched, records, structure
from .summary import traced
from .svg import FILLS, Canvas, Picture, text_width

WORDS = {
    "input": "input", "conv": "convolution", "pool": "pooling", "linear": "fully connected", "join": "sum, concatenation",
    "norm": "normalisation", "activation": "activation", "dropout": "dropout", "other": "other layers",
}  # fmt: skip

MOVING: dict[type[Layer], str] = {
    Conv2d: "conv", TableConv2d: "conv", MaxPool2d: "max", AvgPool2d: "avg", Subsample2d: "subsample",
}  # fmt: skip
"""What the layers that move a window are called below a box; others by their class."""


def heading(model_or_name: Layer | str) -> str:
    """What a picture calls a network: its title in the zoo, or else the name of its recipe or its class."""
    if isinstance(model_or_name, str):
        return models.info(model_or_name).title
    if model_or_name.recipe is None:
        return printable(type(model_or_name).__name__)
    name = model_or_name.recipe.name  # a Caffe file's is no name of the zoo
    return models.info(name).title if name in models.names(all=True) else name


def diagram(model_or_name: Layer | str, input_shape: Shape | None = None) -> Picture:
    """Draw a network as SVG.

    model_or_name: a Layer, or a name of the zoo. input_shape: (C, H, W) without the batch; models of the zoo know theirs.
    Returns a Picture: notebooks show it, `.save(path)` writes it, `.svg` is its text.
    Equal blocks in a row are drawn once ("6 times"); a layer with a `forward` of its own is one box.
    Raises ArgumentError for what is no network, ShapeError where the shapes do not fit, with the layer's path.
    """
    found, title = traced("diagram", model_or_name, input_shape), heading(model_or_name)
    with nesting("diagram", found.model):
        return _drawn(found, title)


def _drawn(found: Trace, title: str) -> Picture:
    parts = structure(found)
    flat = not branched(parts)
    look = _Boxes(found, flat)
    start = Slab(Op(_input(found)), look)
    start.comes = False
    items: list[Element] = [start, *[arrange(part, look) for part in parts.parts]]
    ends(items)
    rows = in_rows(items, 0 if flat else 8, 2.2, 1500)
    if flat:
        for row in rows:
            slabs = [slab for slab in row.items if isinstance(slab, Slab)]
            for slab in slabs:  # the labels of a row stand on one line, as in a table
                slab.drop = max(slab.up for slab in slabs) + 6
            row.level = row.down = max(slab.down for slab in slabs)
    canvas = Canvas()
    _draw_rows(canvas, rows, ["layer", "window", "output", "parameters"] if flat else [])
    _heading(canvas, title, found)
    _legend(canvas, flat)
    return Picture(canvas, f"{title}: diagram")


def _input(found: Trace) -> Record:
    shape = found.input_shape
    return Record(-1, "input", Identity(), "input", 0, -1, (shape,), (shape,), ())


def _draw_rows(canvas: Canvas, rows: Sequence[Row], heads: Sequence[str]) -> None:
    y = 0.0
    for number, row in enumerate(rows):
        y += row.up
        if number:
            above, end = y - row.up - 13, rows[number - 1]
            before = y - row.up - 26 - end.down
            right = max(end.chain_width, end.width)  # a head may reach further than the chain
            canvas.wire(
                (end.chain_width, before), (right + 9, before), (right + 9, above), (-9, above), (-9, y), (0, y)
            )
        row.draw(canvas, 0, y)
        if heads:
            top = y + max(slab.drop for slab in row.items if isinstance(slab, Slab))
            for place, word in enumerate(heads):
                canvas.text(-14, top + LINE * place + 0.75 * LINE, word, SMALL, "end", dim=True)
        y += row.down + 26


def _heading(canvas: Canvas, title: str, found: Trace) -> None:
    x, y, _, _, _ = canvas.bounds
    parameters = sum(p.size for p in found.model.parameters())
    macs = sum(record.macs for record in found.records)
    canvas.text(x, y - 30, title, 16, "start", bold=True)
    canvas.text(x, y - 13, f"{parameters:,} parameters, {macs:,} multiply-adds for one input", 11, "start", dim=True)


def _legend(canvas: Canvas, flat: bool) -> None:
    left, top, width, height, _ = canvas.bounds
    x, y = left, top + height + 24
    for kind in [kind for kind in FILLS if kind in canvas.kinds and kind != "input"]:
        step = 24 + text_width(WORDS[kind], SMALL)
        if x > left and x + step > left + max(width, 520):
            x, y = left, y + 15
        canvas.box(x, y - 8, 9, 9, kind, legend=False)
        canvas.text(x + 13, y, WORDS[kind], SMALL, "start", dim=True)
        x += step
    scale = "Height: side of the map. Width: channels. Both grow with the square root."
    canvas.text(left, y + 16, scale, SMALL, "start", dim=True)
    if not flat:
        words = "Below a box: its window and /stride, its output, its parameters."
        canvas.text(left, y + 29, words, SMALL, "start", dim=True)


class _Boxes(Look):
    """How the layers of one network look and what is written on them."""

    def __init__(self, found: Trace, flat: bool) -> None:
        self.flat = flat
        self.endings = Counter(ending for r in found.records if r.leaf for ending in _endings(r.path))
        maps = [max(shape[1:]) for r in found.records for shape in (r.inputs + r.outputs) if len(shape) == 3]
        deepest = max([r.output[0] for r in found.records if len(r.output) == 3], default=1)
        longest = max([r.output[0] for r in found.records if len(r.output) == 1], default=1)
        self.tallest = 128.0 if flat else 54.0
        self.per_map = min(self.tallest / max(maps, default=1) ** 0.5, 16.0 if flat else 7.0)
        self.per_channel = min((44.0 if flat else 30.0) / deepest**0.5, 2.0 if flat else 1.2)
        self.per_unit = min(self.tallest / longest**0.5, 4.0 if flat else 2.0)

    def kind(self, op: Op) -> str:
        return _kind(op.record)

    def strips(self, several: Sequence[Record]) -> list[str]:
        return [kind for kind in map(_strip, several) if kind]

    def size(self, op: Op) -> tuple[float, float, float]:
        shape = op.record.output
        if op.record.path != "input" and _strip(op.record) is not None:  # small layers by themselves
            return 4.0, 18.0, 0.0
        if len(shape) == 3:
            height = max(self.per_map * max(shape[1:]) ** 0.5, 4.0)
            return max(self.per_channel * shape[0] ** 0.5, 3.0), height, height * 0.3 if self.flat else 0.0
        units = shape[0] if shape else 1
        return 8.0, min(max(self.per_unit * units**0.5, 5.0), self.tallest), 3.0 if self.flat else 0.0

    def lines(self, op: Op) -> list[str]:
        record = op.record
        if record.path == "input" and record.index < 0:
            return ["input", "", _shape(record.output), ""] if self.flat else ["input", _shape(record.output)]
        if _strip(record) is not None:
            return []
        count = _parameters(op.records)
        about = [_window(record), _shape(record.output), f"{count:,}" if count else ""]
        return [self.name(record), *about] if self.flat else [line for line in about if line]

    def name(self, record: Record) -> str:
        """As much of the path's end as no other layer has; the kind for a layer that has only a number."""
        if record.path.isdigit() or not record.path:
            return record.kind
        return next((ending for ending in _endings(record.path) if self.endings[ending] == 1), record.path)

    def about(self, op: Op) -> str:
        record = op.record
        if record.index < 0:
            return f"input: {_shape(record.output)}"
        lines = [f"{r.path}: {r.layer!r}" if r.path else repr(r.layer) for r in op.records]
        if not record.leaf:  # its inner layers would fill a page
            lines[len(op.before)] = f"{record.path}: {record.kind}"
        count, macs = _parameters(op.records), record.macs
        lines.append(f"{' and '.join(map(_shape, record.inputs))} -> {_shape(record.output)}")
        if count:
            lines.append(f"{count:,} parameters, {macs:,} multiply-adds")
        return "\n".join(lines)

    def caption(self, part: Part) -> list[str]:
        if isinstance(part, Dense):
            first, last = part.steps[0].record, part.steps[-1].record
            count = _parameters([step.record for step in part.steps])
            grows = {step.record.output[0] - step.record.input[0] for step in part.steps}
            each = f", {grows.pop()} new channels each" if len(grows) == 1 else ""
            name = commonprefix([first.path, last.path]).rpartition(".")[0] or "dense block"
            return [f"{name}: {len(part.steps)} layers{each}", f"{_shape(last.output)}, {count:,} parameters"]
        if isinstance(part, Block):
            return [part.record.path, f"{_shape(part.record.output)}, {_parameters([part.record]):,} parameters"]
        if isinstance(part, Repeat) and isinstance(part.part, Block):
            first, count = part.part.record, _parameters([part.part.record])
            name = _from_to(first.path, next(records(part.others[-1])).path)
            return [f"{name}: {len(part.others) + 1} times", f"{_shape(first.output)}, {count:,} parameters each"]
        if isinstance(part, Repeat):
            return [f"{len(part.others) + 1} times"]
        paths = [record.path for record in records(part)]
        return [commonprefix(paths).rpartition(".")[0] or paths[0]]


def _from_to(first: str, last: str) -> str:
    """stage2.block2 ... block6"""
    same = 0
    for a, b in zip(first.split("."), last.split(".")):
        if a != b:
            break
        same += 1
    return f"{first} ... {'.'.join(last.split('.')[same:])}"


def _kind(record: Record) -> str:
    layer = record.layer
    if record.index < 0:
        return "input"
    moves = record.leaf and len(record.input) == 3 and layer.window(record.input) is not None
    if isinstance(layer, ConvTranspose2d) or (moves and record.macs):
        return "conv"
    if isinstance(layer, AdaptiveAvgPool2d) or moves:
        return "pool"
    if isinstance(layer, Linear):
        return "linear"
    if isinstance(layer, (Add, Cat)):
        return "join"
    return _strip(record) or "other"


def _strip(record: Record) -> str | None:
    """The kind of strip that a small layer adds to a box; "" for none (Flatten), None for what is not small."""
    module = type(record.layer).__module__
    if isinstance(record.layer, (Flatten, Identity)):
        return ""
    if module == "minicnn.layers.normalisation":
        return "norm"
    if isinstance(record.layer, Dropout):
        return "dropout"
    if module == "minicnn.layers.activation" or isinstance(record.layer, ScaledTanh):
        return "activation"
    return None


def _shape(shape: Shape) -> str:
    """55x55x96, as the lectures write it; the units of a linear layer."""
    return "x".join(map(str, (*shape[1:], shape[0]) if len(shape) == 3 else shape))


def _endings(path: str) -> list[str]:
    """conv1, block1.conv1, stage1.block1.conv1; the last part alone only if it is a word"""
    parts = path.split(".")
    return [
        ".".join(parts[start:]) for start in range(len(parts) - 1, -1, -1) if not parts[start].isdigit() or not start
    ]


def _parameters(several: Sequence[Record]) -> int:
    return sum({id(p): p.size for r in several for p in r.layer.parameters()}.values())


def _window(record: Record) -> str:
    """conv 11x11 /4, max 3x3 /2, linear, concat"""
    layer = record.layer
    if isinstance(layer, (Add, Cat)):
        return "sum" if isinstance(layer, Add) else "concat"
    if isinstance(layer, GlobalAvgPool2d):
        return "global avg"
    if isinstance(layer, Linear):
        return "linear"
    if isinstance(layer, AdaptiveAvgPool2d):
        return f"avg to {'x'.join(map(str, layer.output_size))}"
    if isinstance(layer, ConvTranspose2d):  # it has no window on its input
        return _sized("up", layer.kernel_size, layer.stride) + _groups(layer.groups)
    window = layer.window(record.input) if record.leaf and len(record.input) == 3 else None
    if window is None or max(*window.size, *window.stride) == 1 and not isinstance(layer, tuple(MOVING)):
        return record.kind
    groups = getattr(layer, "groups", 1)
    word = next((word for kind, word in MOVING.items() if isinstance(layer, kind)), record.kind)
    if 1 < groups == record.input[0]:
        return _sized("depthwise", window.size, window.stride)
    return _sized(word, window.size, window.stride) + _groups(groups)


def _sized(word: str, size: tuple[int, int], stride: tuple[int, int]) -> str:
    return f"{word} {'x'.join(map(str, size))}" + ("" if stride == (1, 1) else f" /{compact(stride)}")


def _groups(groups: int) -> str:
    return f", {groups} groups" if groups > 1 else ""
