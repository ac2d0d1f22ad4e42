"""`summary`: a network layer by layer, with the arithmetic of every size and every count.

*Parameters* are learnable numbers; running statistics are not. *MACs* are the multiply-adds of convolutions and linear
layers for one sample. *Activation bytes* count the input and every layer's float32 output once; what can be computed in
place (ReLU, dropout, flatten) is not counted again. *Neurons* are the outputs of convolutions and linear layers.
"""

from __future__ import annotations

import dataclasses
import math

from .. import models
from ..errors import ArgumentError
from ..geometry import Shape
from ..layers import Layer, trace
from ..layers.tracing import Record
from . import render
from .fields import FieldPair, fields


@dataclasses.dataclass(frozen=True)
class Row:
    """One call of one layer. Shapes are without the batch; counts are the layer's own, so that a sum over rows is right."""

    path: str
    kind: str
    depth: int
    """0 for the layers of the model; the model itself has no row unless it is a single layer."""
    leaf: bool
    """Whether it is a layer that calls no other; the rest are containers."""
    input_shape: Shape
    output_shape: Shape
    size_formula: str
    """How the output size comes about, such as `(227 + 2*0 - 11)/4 + 1 = 55`."""
    parameters: int
    parameter_formula: str
    """Such as `(11*11*3 + 1)*96 = 34,944`."""
    macs: int
    neurons: int
    activation_bytes: int
    field: FieldPair | None
    """The receptive field of each output number."""
    inside: int
    """Parameters including those of the layers inside."""
    note: str = ""
    """"shared" where the parameters were counted before, "not called" for a layer that took no part."""

    @property
    def name(self) -> str:
        """The last part of the path."""
        return self.path.rpartition(".")[2] or self.kind

    @property
    def receptive_field(self) -> int | None:
        """The size of the receptive field in input pixels (the larger one, if it is not square)."""
        return None if self.field is None else max(axis.size for axis in self.field)


@dataclasses.dataclass(frozen=True)
class Summary:
    """A network's rows and totals. `print(summary)` shows a table of 80 columns; notebooks show it by themselves."""

    title: str
    input_shape: Shape
    rows: list[Row]

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
    def activation_bytes(self) -> int:
        """The float32 input and every layer's output, in bytes, for one sample."""
        return 4 * math.prod(self.input_shape) + sum(row.activation_bytes for row in self.rows)

    @property
    def output_shape(self) -> Shape:
        return self.rows[-1].output_shape if self.rows else self.input_shape

    def to_text(self, width: int = 80, formulas: bool = True) -> str:
        """A plain table at most `width` columns wide; `formulas` puts each layer's arithmetic on a line below it."""
        return render.text(self, width, formulas)

    def to_markdown(self) -> str:
        """A Markdown table."""
        return render.markdown(self)

    def to_latex(self) -> str:
        """A LaTeX tabular, with the rules of the package booktabs."""
        return render.latex(self)

    def to_html(self) -> str:
        """An HTML table."""
        return render.html(self)

    def to_json(self) -> str:
        """Everything as JSON."""
        return render.json_text(self)

    def __str__(self) -> str:
        return self.to_text()

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return self.to_html()


def summary(model_or_name: Layer | str, input_shape: Shape | None = None) -> Summary:
    """Run a model on the meta device, in milliseconds and without memory, and tell what each layer did.

    model_or_name: a Layer, or a name of the zoo. input_shape: (C, H, W) without the batch; models of the zoo know theirs.
    Raises ShapeError where the shapes do not fit, with the layer's path.
    """
    if isinstance(model_or_name, str):
        model, title = models.create(model_or_name, device="meta"), model_or_name
    elif isinstance(model_or_name, Layer):
        model = model_or_name
        title = model.recipe.name if model.recipe is not None else type(model).__name__
    else:
        raise ArgumentError(
            f"summary: model is {type(model_or_name).__name__}: it must be a Layer or the name of a network"
        )
    if input_shape is None:
        if model.recipe is None:
            raise ArgumentError("summary: input_shape is missing: give the shape of one input, such as (3, 224, 224)")
        input_shape = model.recipe.input_shape
    traced = trace(model, input_shape)
    return Summary(title, traced.input_shape, _rows(model, traced.records, fields(traced)))


def _rows(model: Layer, records: list[Record], seen: list[FieldPair | None]) -> list[Row]:
    counted: set[int] = set()
    rows = []
    top = 0 if len(records) == 1 else 1
    for record, field in zip(records, seen):
        layer = record.layer
        own = list(layer.parameters()) if record.leaf else list(layer._parameters.values())
        new = [p for p in own if id(p) not in counted]
        counted.update(map(id, new))
        parameters = sum(p.size for p in new)
        if record.depth < top and not parameters and not record.computes:
            continue
        macs = layer.macs(record.input, record.output)
        elements = sum(math.prod(shape) for shape in record.outputs)
        rows.append(
            Row(
                record.path, record.kind, max(record.depth - top, 0), record.leaf, record.input, record.output,
                layer.size_formula(record.inputs, record.output) if record.leaf else "",
                parameters, _formula(layer, parameters), macs, elements if macs else 0,
                4 * elements if record.computes and not layer.in_place else 0, field,
                sum(p.size for p in layer.parameters()), "shared" if own and not new else "",
            )
        )  # fmt: skip
    return rows + _not_called(model, counted)


def _formula(layer: Layer, parameters: int) -> str:
    """The layer's own formula and what it comes to; nothing where it would not be true (parameters shared or inside)."""
    formula = layer.parameter_formula() if parameters == sum(p.size for p in layer._parameters.values()) else ""
    return f"{formula} = {parameters:,}" if formula and parameters else ""


def _not_called(model: Layer, counted: set[int]) -> list[Row]:
    rows = []
    for path, layer in model.named_layers():
        new = [p for p in layer._parameters.values() if id(p) not in counted]
        counted.update(map(id, new))
        count = sum(p.size for p in new)
        if count:
            kind, depth = type(layer).__name__, path.count(".")
            rows.append(
                Row(
                    path,
                    kind,
                    depth,
                    True,
                    (),
                    (),
                    "",
                    count,
                    _formula(layer, count),
                    0,
                    0,
                    0,
                    None,
                    count,
                    "not called",
                )
            )
    return rows
