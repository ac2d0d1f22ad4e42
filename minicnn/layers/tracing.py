"""What calls what, with which shapes: `trace` runs a model on the meta device and writes it down.

Summaries, receptive fields and diagrams read its records. A layer of one's own is called like any other and shows up.
"""

from __future__ import annotations

import contextlib
import copy
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..autograd import no_grad
from ..backends.meta import listening
from ..errors import ArgumentError, calls
from ..geometry import LIMIT, Shape, elements, is_integer
from ..tensor import Tensor
from .base import Layer
from .parameter import Parameter


class _Tracing(threading.local):
    active = False


_tracing = _Tracing()


def active() -> bool:
    """Whether this thread is tracing: then containers run everything, auxiliary heads included."""
    return _tracing.active


@dataclass
class Record:
    """One call of one layer. Shapes are without the batch."""

    index: int
    """Its place in `Trace.records`: parents before what they call, in the order of the calls."""
    path: str
    """As `named_layers` gives it, but `printable`, and so is `kind`."""
    layer: Layer
    kind: str
    depth: int
    """0 for the model itself."""
    parent: int
    """Index of the record of the layer that called it; -1 for the model."""
    inputs: tuple[Shape, ...]
    outputs: tuple[Shape, ...]
    sources: tuple[int, ...]
    """For a leaf: the records of the leaves whose outputs it read; -1 is the network's input."""
    leaf: bool = True
    """Whether it called no other layer."""
    computes: bool = True
    """Whether the output is its own work: a leaf, or a layer that ends in an operation outside its inner layers."""
    repeated: bool = False
    """Whether the same layer was called before: its parameters count once."""
    counted: int = 0
    """The multiply-adds of its own operations, without those of the layers inside, as the meta backend counted them."""

    @property
    def input(self) -> Shape:
        """The shape of its first input."""
        return self.inputs[0] if self.inputs else ()

    @property
    def output(self) -> Shape:
        """The shape of its first output."""
        return self.outputs[0] if self.outputs else ()

    @property
    def macs(self) -> int:
        """Multiply-adds for one sample: what the layer says, or, where it does not say, what was counted."""
        kind = type(self.layer)
        if kind.macs is Layer.macs and kind.gemm is Layer.gemm:
            return self.counted
        return self.layer.macs(self.input, self.output)


@dataclass
class Trace:
    """All calls of one run."""

    model: Layer
    input_shape: Shape
    records: list[Record] = field(default_factory=list)

    @property
    def leaves(self) -> list[Record]:
        """The calls of layers that called no other, in order."""
        return [record for record in self.records if record.leaf]


def on_meta(model: Layer) -> tuple[Any, dict[int, Layer]]:
    """A twin of the model on the meta device, which shares nothing with it, and the original of each of its layers."""
    memo: dict[int, Any] = {}
    for tensor in (*model.parameters(), *model.buffers()):
        # Zero strides: a shape without memory, whatever the size.
        empty = Tensor(np.broadcast_to(np.zeros((), tensor.dtype), tensor.shape), device="meta")
        memo[id(tensor)] = Parameter(empty) if isinstance(tensor, Parameter) else empty
    for _, layer in model.named_layers():
        memo[id(layer._hooks)] = {}
    try:
        for _, layer in reversed(list(model.named_layers())):  # from the inside out: without recursion
            twin = copy.deepcopy(layer, memo)
    except Exception as error:
        raise ArgumentError(
            f"trace: {type(model).__name__} cannot be copied ({error}): keep open files, locks and the like out of its attributes"
        ) from error
    return twin, {id(memo[id(layer)]): layer for _, layer in model.named_layers() if id(layer) in memo}


def printable(text: str) -> str:
    """The text with control characters and the like spelt out: a layer's name may hold any, a table or a picture none."""
    return "".join([c if c.isprintable() else c.encode("unicode_escape").decode() for c in text])


@contextlib.contextmanager
def nesting(what: str, model: Layer) -> Iterator[None]:
    """Say what to do where layers lie inside one another too deep for what happens within."""
    try:
        yield
    except RecursionError:
        raise ArgumentError(
            f"{what}: {type(model).__name__} contains itself, or more layers inside one another than Python's limit of "
            f"{sys.getrecursionlimit()} nested calls allows: nest fewer, or raise it with sys.setrecursionlimit(10_000)"
        ) from None


def trace(model: Layer, input_shape: Shape) -> Trace:
    """Run `model` on one input of `input_shape`, (C, H, W) without a batch, on the meta device, as in use (`eval`).

    It takes milliseconds and no memory, and leaves the model alone. Raises ShapeError where the shapes do not fit.
    """
    if not isinstance(model, Layer):
        raise ArgumentError(f"trace: model is {type(model).__name__}: it must be a Layer")
    shape = tuple(input_shape) if isinstance(input_shape, (tuple, list)) else ()
    if not shape or not all(is_integer(size) and size >= 1 for size in shape):
        raise ArgumentError(
            f"input_shape is {input_shape!r}: it must hold sizes of at least 1, (C, H, W) without the batch"
        )
    if elements(shape) > LIMIT:
        raise ArgumentError(f"input_shape is {input_shape!r}: it has {elements(shape):,} elements: the limit is 2**58")
    with nesting("trace", model):
        return _traced(model, shape)


def _traced(model: Layer, shape: Shape) -> Trace:
    twin, originals = on_meta(model)
    twin.eval()
    recorder = _Recorder({id(layer): printable(path) for path, layer in twin.named_layers()}, originals)
    for _, layer in twin.named_layers():
        layer._hooks = {0: recorder}
    x = Tensor(np.broadcast_to(np.float32(0), (1, *shape)), device="meta")
    recorder.known[id(x)] = (x, [])
    outer, calls.stack = calls.stack, []
    try:
        with _recording(recorder), no_grad():
            twin(x)
    finally:
        calls.stack = outer
    records = recorder.records()
    recorder.known.clear()  # the twin's hooks refer to the recorder: without its calls there is no cycle
    recorder.open.clear()
    return Trace(model, shape, records)


@dataclass
class _Call:
    layer: Layer
    inputs: tuple[Shape, ...]
    outputs: tuple[Shape, ...]
    sources: list[_Call]
    inside: list[_Call]
    computes: bool
    macs: int
    read: bool = False
    record: Record | None = None


class _Recorder:
    """The hook of every layer of the twin. A call is over before its caller's, so the tree grows from its leaves."""

    def __init__(self, paths: dict[int, str], originals: dict[int, Layer]) -> None:
        self.paths, self.originals = paths, originals
        self.known: dict[int, tuple[Any, list[_Call]]] = {}
        """By id: a tensor (kept, so that ids stay unique) and the calls that gave it; none for the network's input."""
        self.open: dict[int, list[_Call]] = {}
        """By depth: the finished calls whose caller is still running."""
        self.macs: dict[int, int] = {}
        """By depth: the multiply-adds that the layer now running there did itself."""

    def count(self, macs: int) -> None:
        depth = len(calls.stack)
        self.macs[depth] = self.macs.get(depth, 0) + macs

    def __call__(self, layer: Layer, inputs: tuple[Any, ...], output: Any) -> Any:
        depth = len(calls.stack)
        inside = self.open.pop(depth + 1, [])
        siblings = self.open.setdefault(depth, [])
        given, results = _tensors(inputs), _tensors(output)
        computes = not inside or any(id(y) not in self.known for y in results)
        macs = self.macs.pop(depth, 0)
        call = _Call(layer, _shapes(given), _shapes(results), [], inside, computes, macs)
        siblings.append(call)
        if not inside:
            for x in given:
                call.sources += self._sources(x, siblings[:-1])
            if len(results) == 1 and output is results[0] and any(output is x for x in given):
                output = results[0] = output.detach()  # the input itself: a new name, so that readers find this call
        for y in results:
            if not inside:
                self.known[id(y)] = (y, [call])
            elif id(y) not in self.known:  # computed by operations outside any layer
                self.known[id(y)] = (y, _unread(inside))
        return output

    def _sources(self, x: Any, siblings: list[_Call]) -> list[_Call]:
        """The calls that x comes from. An operation outside any layer gave an unknown x: then all that is not read yet."""
        found = self.known[id(x)][1] if id(x) in self.known else _unread(siblings)
        for call in found:
            call.read = True
        return found

    def records(self) -> list[Record]:
        records: list[Record] = []
        seen: set[int] = set()
        stack = [(call, 0, -1) for call in reversed(self.open.get(1, []))]
        while stack:
            call, depth, parent = stack.pop()
            layer = self.originals.get(id(call.layer), call.layer)
            call.record = Record(
                len(records), self.paths.get(id(call.layer), ""), layer, printable(type(layer).__name__), depth, parent,
                call.inputs, call.outputs, (), not call.inside, call.computes, id(layer) in seen, call.macs,
            )  # fmt: skip
            seen.add(id(layer))
            records.append(call.record)
            stack.extend([(inner, depth + 1, call.record.index) for inner in reversed(call.inside)])
        self._link(self.open.get(1, []))
        return records

    def _link(self, calls: list[_Call]) -> None:
        for call in calls:
            if call.record is not None and not call.inside:
                sources = dict.fromkeys(source.record.index for source in call.sources if source.record is not None)
                call.record.sources = tuple(sources) or (-1,)
            self._link(call.inside)


def _unread(calls: list[_Call]) -> list[_Call]:
    leaves: list[_Call] = []
    for call in calls:
        leaves += _unread(call.inside) if call.inside else [call]
    return [leaf for leaf in leaves if not leaf.read] or leaves[-1:]


def _tensors(value: Any) -> list[Any]:
    if isinstance(value, Tensor):
        return [value]
    if isinstance(value, dict):
        value = tuple(value.values())
    return [x for item in value for x in _tensors(item)] if isinstance(value, (list, tuple)) else []


def _shapes(tensors: list[Any]) -> tuple[Shape, ...]:
    return tuple([tuple(x.shape[1:]) for x in tensors])


@contextlib.contextmanager
def _recording(recorder: _Recorder) -> Iterator[None]:
    before, _tracing.active = _tracing.active, True
    heard, listening.listener = listening.listener, recorder.count
    try:
        yield
    finally:
        _tracing.active, listening.listener = before, heard
