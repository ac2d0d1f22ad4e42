"""Containers: Sequential, Concat, Residual and Graph. They say what they are made of; `run` runs it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ..errors import ArgumentError, IndexingError, check
from ..geometry import is_integer, is_number
from . import tracing
from .base import Layer
from .run import Node, run
from .shape import Add, Cat

Named = Layer | tuple[str, Layer] | Mapping[str, Layer]


class Container(Layer):
    """A layer that is described by its `nodes()`; what runs, fuses, traces and draws it reads them."""

    inputs: tuple[str, ...] = ("input",)
    """The names of what it is called with."""
    inlinable = True
    """Whether a container around it may run its nodes as if they were its own (one input, one output)."""

    @property
    def outputs(self) -> tuple[str, ...]:
        """The names of the nodes (or inputs) that it returns."""
        nodes = self.nodes()
        return (nodes[-1].name if nodes else self.inputs[0],)

    def all_outputs(self) -> bool:
        """Whether outputs for training only are wanted now."""
        return False

    def nodes(self) -> list[Node]:
        """The layers inside, in an order in which they can run, and where the inputs of each come from."""
        return []

    def forward(self, *inputs: Any) -> Any:
        return run(self, inputs)

    def _add(self, name: str, layer: Any) -> None:
        kind = type(self).__name__
        check(
            isinstance(name, str) and name, f"{kind}: a layer's name is {name!r}: it must be a string that is not empty"
        )
        check("." not in name, f"{kind}: a layer's name is {name!r}: it may not contain a dot, which separates paths")
        check(
            name != "input" and not hasattr(type(self), name) and (name not in self.__dict__ or name in self._children),
            f"{kind}: a layer's name is {name!r}: every {kind} has that word already: choose another name",
        )
        check(name not in self._children, f"{kind}: two layers are called {name!r}: give each its own name")
        if not isinstance(layer, Layer):  # not check(): the repr of a whole network would be made for nothing
            raise ArgumentError(
                f"{kind}: {name} is {type(layer).__name__} {layer!r}: it must be a Layer"
                + ("; write Conv2d(...) with parentheses" if isinstance(layer, type) else "")
            )
        self._register(name, layer)


def _pairs(layers: Sequence[Any]) -> Iterator[tuple[str | None, Any]]:
    """(name or None, layer) from layers, (name, layer) pairs, mappings and lists of these."""
    for item in layers:
        if isinstance(item, Mapping):
            yield from item.items()
        elif isinstance(item, tuple) and len(item) == 2 and isinstance(item[0], str):
            yield item
        elif isinstance(item, (list, tuple)) or (hasattr(item, "__next__") and not isinstance(item, Layer)):
            yield from _pairs(list(item))
        else:
            yield None, item


class _List(Container):
    """What Sequential and Concat share: layers by number or by name."""

    def __init__(self, *layers: Named | Sequence[Named]) -> None:
        for name, layer in _pairs(layers):
            self.append(layer, name)

    def append(self, layer: Layer, name: str | None = None) -> Any:
        """Add a layer at the end; without a name it is called by its number. Returns self."""
        self._add(str(len(self)) if name is None else name, layer)
        return self

    def _items(self) -> list[tuple[str, Layer]]:
        return list(self._children.items())

    def __len__(self) -> int:
        return len(self._items())

    def __bool__(self) -> bool:
        return True

    def __iter__(self) -> Iterator[Layer]:
        return iter([layer for _, layer in self._items()])

    def __contains__(self, layer: object) -> bool:
        return any(layer is own for own in self)

    def _name(self, index: int | str) -> str:
        names = [name for name, _ in self._items()]
        if isinstance(index, str):
            check(index in names, f"{type(self).__name__}: no layer is called {index!r}: there are {', '.join(names)}")
            return index
        if not is_integer(index) or not -len(names) <= index < len(names):
            raise IndexingError(f"{type(self).__name__}: index is {index!r}: there are {len(names)} layers")
        return names[index]

    def __getitem__(self, index: int | str | slice) -> Any:
        if isinstance(index, slice):
            return type(self)(*self._items()[index])
        return self._children[self._name(index)]

    def __setitem__(self, index: int | str, layer: Layer) -> None:
        name = self._name(index)
        check(isinstance(layer, Layer), f"{type(self).__name__}: {name} is {type(layer).__name__}: it must be a Layer")
        self._register(name, layer)

    def __delitem__(self, index: int | str) -> None:
        delattr(self, self._name(index))


class Sequential(_List):
    """Layers one after the other, the output of each the input of the next.

    layers: Layers, which are called "0", "1", ..., (name, Layer) pairs, or one mapping {name: Layer}.
    They are found by number, by name and by slice: net[0], net["conv1"], net[:3], net.conv1.
    """

    def nodes(self) -> list[Node]:
        names = ("input", *self._children)
        return [Node(name, layer, (before,)) for before, (name, layer) in zip(names, self._children.items())]


class Concat(_List):
    """Branches side by side on one input, joined along the channels: inception modules, dense blocks.

    branches: Layers, (name, Layer) pairs or one mapping; their maps must have one size. Identity() passes the input on.
    (N, C, H, W) -> (N, sum of the branches' channels, P, Q). Source: Szegedy et al. 2014, arXiv:1409.4842.
    """

    def __init__(self, *branches: Named | Sequence[Named]) -> None:
        self.cat = Cat()
        super().__init__(*branches)
        check(len(self), "Concat: there are no branches: it needs at least one; Identity() passes the input on")

    def append(self, layer: Layer, name: str | None = None) -> Any:
        """Add a branch; without a name it is called by its number. Returns self."""
        super().append(layer, name)
        self._children["cat"] = self._children.pop("cat")  # the join stays last
        return self

    def _items(self) -> list[tuple[str, Layer]]:
        return [(name, layer) for name, layer in self._children.items() if name != "cat"]

    def nodes(self) -> list[Node]:
        branches = [Node(name, layer, ("input",)) for name, layer in self._items()]
        return [*branches, Node("cat", self.cat, tuple([branch.name for branch in branches]))]


class Residual(Container):
    """body(x)*scale + shortcut(x), and `after` on the sum.

    body: a Layer. shortcut: None for x itself, or a Layer (a projection, PadShortcut) that gives the body's shape.
    after: what follows the sum, usually ReLU(), or None. scale: of the body (0.1 to 0.3 in Inception-ResNet).
    A batch norm at the end of the body, the sum and a ReLU are fused. Source: He et al. 2015, arXiv:1512.03385.
    """

    def __init__(
        self, body: Layer, shortcut: Layer | None = None, after: Layer | None = None, scale: float = 1.0
    ) -> None:
        check(is_number(scale), f"Residual: scale is {scale!r}: it must be a number")
        self._add("body", body)
        if shortcut is not None:
            self._add("shortcut", shortcut)
        self._add("add", Add(None if scale == 1 else (scale, 1.0)))
        if after is not None:
            self._add("after", after)

    def nodes(self) -> list[Node]:
        parts = self._children
        nodes = [Node("body", parts["body"], ("input",))]
        if "shortcut" in parts:
            nodes.append(Node("shortcut", parts["shortcut"], ("input",)))
        nodes.append(Node("add", parts["add"], ("body", "shortcut" if "shortcut" in parts else "input")))
        if "after" in parts:
            nodes.append(Node("after", parts["after"], ("add",)))
        return nodes


def _names(argument: str, value: Any) -> tuple[str, ...]:
    names = (value,) if isinstance(value, str) else tuple(value) if isinstance(value, (tuple, list)) else None
    if names is None or not all(isinstance(name, str) for name in names):
        raise ArgumentError(f"Graph: {argument} is {value!r}: it must be a name or a list of names")
    return names


class Graph(Container):
    """Named nodes, for what is neither a chain nor made of blocks: {name: (layer, input name, ...)}.

    nodes: for each node a layer (several inputs go to a join such as Add or Cat, or to any layer that takes them) and
        the names of its inputs: other nodes, in any order, or the graph's inputs. (layer,) alone reads the node before.
    inputs: the names of what the graph is called with. outputs: the nodes that it returns, by default the last one;
        several come as a tuple.
    training_outputs: nodes returned behind those in training only: auxiliary classifiers.
    Raises ArgumentError for an unknown name or a circle.
    """

    def __init__(
        self, nodes: Mapping[str, Any], inputs: Sequence[str] = ("input",), outputs: Sequence[str] | str | None = None,
        training_outputs: Sequence[str] | str = (),
    ) -> None:  # fmt: skip
        check(
            isinstance(nodes, Mapping) and nodes,
            "Graph: nodes is empty or no mapping: it must be {name: (layer, input, ...)}",
        )
        self.inputs = _names("inputs", inputs)
        check(self.inputs, "Graph: inputs is empty: a network needs at least one")
        names = [*self.inputs, *nodes]
        self.sources: dict[str, tuple[str, ...]] = {}
        before = self.inputs[0]
        for name, entry in nodes.items():
            layer, *sources = entry if isinstance(entry, (tuple, list)) and entry else (entry,)
            self._add(name, layer)
            self.sources[name] = tuple(sources) or (before,)
            for source in self.sources[name]:
                check(
                    source in names,
                    f"Graph: {name} reads {source!r}, which is no node and no input: there are {', '.join(names)}",
                )
            before = name
        self._order = self._sorted()
        self._main = (before,) if outputs is None else _names("outputs", outputs)
        self._extra = _names("training_outputs", training_outputs)
        check(self._main, "Graph: outputs is empty: a network needs at least one")
        for name in (*self._main, *self._extra):
            check(name in names, f"Graph: {name!r} is no node and cannot be an output: there are {', '.join(names)}")
        self.inlinable = len(self.inputs) == 1 and len(self._main) == 1 and not self._extra

    def _sorted(self) -> list[str]:
        """The nodes, each behind those that it reads."""
        done: dict[str, None] = {}
        waiting = list(self.sources)
        while waiting:
            ready = [n for n in waiting if all(s in done or s in self.inputs for s in self.sources[n])]
            check(
                ready,
                f"Graph: {', '.join(waiting)} read each other in a circle: a network must lead from inputs to outputs",
            )
            done.update(dict.fromkeys(ready))
            waiting = [n for n in waiting if n not in done]
        return list(done)

    @property
    def outputs(self) -> tuple[str, ...]:
        return self._main + self._extra if self.all_outputs() else self._main

    def all_outputs(self) -> bool:
        return bool(self._extra) and (self.training or tracing.active())

    def nodes(self) -> list[Node]:
        return [Node(name, self._children[name], self.sources[name]) for name in self._order]
