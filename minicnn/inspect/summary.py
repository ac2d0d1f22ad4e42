"""`summary`: a network layer by layer, with the arithmetic of every size and every count.

*Parameters* are learnable numbers; running statistics are not. *MACs* are the multiply-adds of convolutions and linear
layers for one sample. *Activation bytes* count the input and every layer's float32 output once; what can be computed in
place (ReLU, dropout, flatten) is not counted again. *Neurons* are the outputs of convolutions and linear layers.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any, NamedTuple

from .. import models
from ..errors import ArgumentError, ShapeError, check
from ..geometry import Gemm, Shape, is_integer
from ..layers import Layer, Trace, trace
from ..layers.tracing import Record, printable
from ..layers.window import Window
from . import markup, table
from .fields import FieldPair, fields


@dataclasses.dataclass(frozen=True)
class Row:
    """One call of one layer. Shapes are without the batch; counts are the layer's own, so that a sum over rows is right."""

    path: str
    name: str
    """The path as seen from the row that it belongs to; the kind for a model that is a single layer."""
    kind: str
    depth: int
    """0 for the layers of the model; the model itself has no row unless it is a single layer or computes something."""
    leaf: bool
    """Whether it is a layer that calls no other; the rest are containers."""
    input_shape: Shape = ()
    output_shape: Shape = ()
    size_formula: str = ""
    """How the output size comes about, such as `(227 + 2*0 - 11)/4 + 1 = 55`; of a quotient that is not whole also what
    it was rounded to: `(112 + 2*0 - 3)/2 + 1 = 55.5, ceil: 56`."""
    size_note: str = ""
    """What the rounding left over, such as `the last window hangs over by 1 row and 1 column`."""
    parameters: int = 0
    parameter_formula: str = ""
    """Such as `(11*11*3 + 1)*96 = 34,944`."""
    macs: int = 0
    macs_formula: str = ""
    """Such as `55*55*96 * 11*11*3 = 105,415,200`."""
    gemm: Gemm | None = None
    """The matrix product behind a convolution or a linear layer, of each group, for one sample."""
    neurons: int = 0
    activation_bytes: int = 0
    window: Window | None = None
    field: FieldPair | None = None
    """The receptive field of each output number: size, jump and where the first one is centred."""
    inside: int = 0
    """Parameters including those of the layers inside."""
    note: str = ""
    """"shared" where the parameters were counted before, "not called" for a layer that took no part, "3 layers" where a
    container stands for those inside."""
    arguments: str = ""
    """What the layer was made with, such as `3, 96, kernel_size=11, stride=4`."""

    @property
    def receptive_field(self) -> int | None:
        """The size of the receptive field in input pixels (the larger one, if it is not square)."""
        return None if self.field is None else max(axis.size for axis in self.field)

    @property
    def jump(self) -> float | None:
        """Input pixels between the fields of neighbouring outputs (the larger, if they differ)."""
        return None if self.field is None else max(axis.jump for axis in self.field)

    @property
    def offset(self) -> float | None:
        """Where the first output's field is centred in the input, vertically; 0.5 is the centre of the first pixel."""
        return None if self.field is None else self.field.vertical.start


class Activation(NamedTuple):
    """One layer's output in memory, as float32."""

    path: str
    shape: Shape
    bytes: int


@dataclasses.dataclass(frozen=True)
class Summary:
    """A network's rows and totals. `print(summary)` shows a table of 80 columns; notebooks show it by themselves."""

    title: str
    input_shape: Shape
    rows: list[Row]
    largest_activation: Activation
    """The largest single array among the input (path "input") and the outputs."""

    @property
    def total_parameters(self) -> int:
        return sum(row.parameters for row in self.rows)

    @property
    def total_macs(self) -> int:
        return sum(row.macs for row in self.rows)

    @property
    def total_neurons(self) -> int:
        return sum(row.neurons for row in self.rows)

    @property
    def parameter_bytes(self) -> int:
        """The parameters as float32."""
        return 4 * self.total_parameters

    @property
    def activation_bytes(self) -> int:
        """The float32 input and every layer's output, in bytes, for one sample."""
        return 4 * math.prod(self.input_shape) + sum(row.activation_bytes for row in self.rows)

    @property
    def output_shape(self) -> Shape:
        """The shape of the last output."""
        called = [row for row in self.rows if row.output_shape]
        return called[-1].output_shape if called else self.input_shape

    def fold(self, depth: int) -> Summary:
        """The same network with `depth` levels of rows: a container at the last one stands for all that is inside it.

        Totals stay as they are. Raises ArgumentError for a depth below 1.
        """
        check(
            is_integer(depth) and depth >= 1,
            f"summary: depth is {depth!r}: it must be an integer of at least 1; 1 shows the outermost layers alone",
        )
        rows: list[list[Row]] = []
        for row in self.rows:
            if row.depth < depth or not rows:
                rows.append([row])
            else:
                rows[-1].append(row)
        return dataclasses.replace(self, rows=[_folded(row, inside) for row, *inside in rows])

    def to_text(self, width: int = 80, formulas: bool = True) -> str:
        """A plain table, by default of 80 columns; a wider one has more columns.

        formulas: whether the arithmetic of each layer follows on the lines below it.
        """
        return table.text(self, width, formulas)

    def to_markdown(self) -> str:
        """A Markdown table."""
        return markup.markdown(self)

    def to_latex(self) -> str:
        """A LaTeX longtable, with the rules of the package booktabs."""
        return markup.latex(self)

    def to_html(self) -> str:
        """A page of its own: nothing is loaded, and it follows the reader's choice of light or dark."""
        return markup.page(self)

    def to_json(self) -> str:
        """Everything as JSON."""
        return markup.json_text(self)

    def print(self, width: int | None = None, formulas: bool = True) -> None:
        """Show it in the terminal, in colour and as wide as that is; into a file plain and 80 columns wide."""
        table.show(self, width, formulas)

    def __str__(self) -> str:
        return self.to_text()

    __repr__ = __str__

    def __rich_console__(self, console: Any, options: Any) -> Any:
        return table.segments(self, options.max_width, True)

    def _repr_html_(self) -> str:
        return markup.fragment(self)


def _folded(row: Row, inside: list[Row]) -> Row:
    """A row that stands for those inside it too."""
    if not inside:
        return row
    leaves = sum(other.leaf for other in inside)
    whole = [row, *inside]
    return dataclasses.replace(
        row,
        parameters=sum(other.parameters for other in whole),
        parameter_formula="",
        macs=sum(other.macs for other in whole),
        neurons=sum(other.neurons for other in whole),
        activation_bytes=sum(other.activation_bytes for other in whole),
        note=f"{leaves} layer{'s' if leaves != 1 else ''}",
    )


def traced(what: str, model_or_name: Layer | str, input_shape: Shape | None) -> Trace:
    """The run of a model of the zoo, or of one's own, on the meta device. what: who asks.

    Raises ArgumentError for something else or without a shape, ShapeError where the shapes do not fit.
    """
    if isinstance(model_or_name, str):
        model = models.create(model_or_name, device="meta")
    elif isinstance(model_or_name, Layer):
        model = model_or_name
    else:
        raise ArgumentError(
            f"{what}: model is {type(model_or_name).__name__}: it must be a Layer or the name of a network"
        )
    if input_shape is None:
        if model.recipe is None:
            raise ArgumentError(f"{what}: input_shape is missing: give the shape of one input, such as (3, 224, 224)")
        input_shape = model.recipe.input_shape
    try:
        return trace(model, input_shape)
    except ShapeError as error:
        if len(input_shape) == 4:
            error.args = (f"{error}; input_shape leaves the batch out: {tuple(input_shape[1:])}",)
        raise


def summary(model_or_name: Layer | str, input_shape: Shape | None = None, depth: int | None = None) -> Summary:
    """Run a model on the meta device, in milliseconds and without memory, and tell what each layer did.

    model_or_name: a Layer, or a name of the zoo. input_shape: (C, H, W) without the batch; models of the zoo know theirs.
    depth: how many levels of containers to show, all by default.
    Raises ShapeError where the shapes do not fit, with the layer's path.
    """
    found = traced("summary", model_or_name, input_shape)
    model = found.model
    rows = _rows(model, found.records, fields(found))
    outputs = [Activation(row.path or row.name, row.output_shape, row.activation_bytes) for row in rows]
    largest = max([Activation("input", found.input_shape, 4 * math.prod(found.input_shape)), *outputs], key=_bytes)
    alias = f" ({model_or_name})" if isinstance(model_or_name, str) and model.recipe.name != model_or_name else ""
    whole = Summary(_title(model) + alias, found.input_shape, rows, largest)
    return whole if depth is None else whole.fold(depth)


def _bytes(activation: Activation) -> int:
    return activation.bytes


def _title(model: Layer) -> str:
    if model.recipe is None:
        return printable(type(model).__name__)
    options = ", ".join(f"{name}={value!r}" for name, value in model.recipe.options.items())
    return f"{model.recipe.name}({options})" if options else model.recipe.name


def _rows(model: Layer, records: list[Record], seen: list[FieldPair | None]) -> list[Row]:
    counted: set[int] = set()
    rows = []
    top = 0 if len(records) == 1 else 1
    for record, field in zip(records, seen):
        layer = record.layer
        own = list(layer._parameters.values())
        new = [p for p in own if id(p) not in counted]
        counted.update(map(id, new))
        parameters, macs = sum(p.size for p in new), record.macs
        if record.depth < top and not parameters and not record.computes:
            continue
        elements = sum(math.prod(shape) for shape in record.outputs)
        says = layer.macs_formula(record.input, record.output) if macs else ""
        rows.append(
            Row(
                path=record.path,
                name=_name(record.path, records[record.parent].path if record.parent >= 0 else "") or record.kind,
                kind=record.kind,
                depth=max(record.depth - top, 0),
                leaf=record.leaf,
                input_shape=record.input,
                output_shape=record.output,
                size_formula=layer.size_formula(record.inputs, record.output) if record.leaf else "",
                size_note=layer.size_note(record.inputs, record.output) if record.leaf else "",
                parameters=parameters,
                parameter_formula=_formula(layer, parameters),
                macs=macs,
                macs_formula=f"{says} = {macs:,}" if says else "",
                gemm=layer.gemm(record.input, record.output) if macs else None,
                neurons=elements if macs else 0,
                activation_bytes=4 * elements if record.computes and not layer.in_place else 0,
                window=layer.window(record.input) if record.leaf and len(record.input) == 3 else None,
                field=field,
                inside=sum(p.size for p in (layer.parameters() if layer._children else own)),
                note="shared" if own and not new else "",
                arguments=layer.extra_repr(),
            )
        )
    return _with_not_called(model, rows, counted)


def _name(path: str, parent: str) -> str:
    return path[len(parent) + 1 :] if parent and path.startswith(parent + ".") else path


def _formula(layer: Layer, parameters: int) -> str:
    """The layer's own formula and what it comes to; nothing where it would not be true (parameters shared or inside)."""
    formula = layer.parameter_formula() if parameters == sum(p.size for p in layer._parameters.values()) else ""
    return f"{formula} = {parameters:,}" if formula and parameters else ""


def _with_not_called(model: Layer, rows: list[Row], counted: set[int]) -> list[Row]:
    """The rows, and behind those of the container that they belong to the layers whose parameters took no part."""
    for path, layer in model.named_layers():
        new = [p for p in layer._parameters.values() if id(p) not in counted]
        counted.update(map(id, new))
        count = sum(p.size for p in new)
        if count:
            path, kind = printable(path), printable(type(layer).__name__)
            parent, place = _home(rows, path)
            row = Row(
                path=path,
                name=_name(path, parent.path if parent else "") or kind,
                kind=kind,
                depth=parent.depth + 1 if parent else 0,
                leaf=True,
                parameters=count,
                parameter_formula=_formula(layer, count),
                inside=sum(p.size for p in layer.parameters()),
                note="not called",
                arguments=layer.extra_repr(),
            )
            rows = [*rows[:place], row, *rows[place:]]
    return rows


def _home(rows: list[Row], path: str) -> tuple[Row | None, int]:
    """The row of the nearest layer around `path`, or None, and the place behind all that is inside it."""
    while "." in path:
        path = path.rpartition(".")[0]
        for place, row in enumerate(rows):
            if row.path == path:
                after = place + 1
                while after < len(rows) and rows[after].depth > row.depth:
                    after += 1
                return row, after
    return None, len(rows)
