"""The autograd engine: `differentiable`, `backward`, `grad`, `no_grad`. It knows no operation and no backend by name.

An operation is declared once, as a rule: a function that computes with the backend's kernels and returns its outputs,
the list of what it saved, and a plain function for the backward, written with differentiable operations on Tensors.
A call under recording leaves a `Node`; `backward` walks the nodes from the last to the first, with a loop, not by
recursion. A node refers to its inputs and never to its outputs, so memory is freed by reference counting alone.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

from . import backends
from .errors import GradientError, where
from .mode import checksum, look_for_anomaly, mode, no_grad, recording
from .tensor import Tensor, Version

__all__ = ["Node", "backward", "differentiable", "first_order", "grad", "joining", "no_grad", "view"]


class _Saved:
    """Something that a node keeps for its backward, and the version that it had."""

    __slots__ = ("array", "checksum", "output", "tensor", "version", "was")

    def __init__(self, array: Any, tensor: Tensor | None, output: int, version: Version | None) -> None:
        self.tensor = tensor  # an input, with its history; or None
        self.array = array if tensor is None else None
        self.output = output  # number of the output that it is, or -1
        self.version = version
        self.was = 0 if version is None else version.value
        self.checksum = checksum(array) if mode.anomaly else None


class Node:
    """One recorded call: what its backward needs, and where the gradients of its inputs go."""

    __slots__ = (
        "attributes",
        "backward",
        "edges",
        "freed",
        "kernels",
        "name",
        "outputs",
        "parts",
        "precision",
        "saved",
        "where",
    )

    def __init__(
        self, name: str, backward: Callable[..., Any], edges: list[Edge], outputs: list[tuple[tuple[int, ...], Any]],
        kernels: Any, attributes: dict[str, Any], parts: bool,
    ) -> None:  # fmt: skip
        self.parts = parts  # its gradients are parts of dy that do not overlap
        self.name, self.backward, self.edges, self.outputs = name, backward, edges, outputs
        self.kernels, self.attributes = kernels, attributes
        self.precision = backends.get_precision()
        self.where = where() if mode.anomaly else ""
        self.saved: list[_Saved | None] = []
        self.freed = False

    def describe(self) -> str:
        return f"{self.where}: {self.name}" if self.where else self.name

    def unpack(self) -> list[Tensor | None]:
        """What was saved, as Tensors; a saved output is rebuilt here, so that node and output form no cycle."""
        return [None if item is None else self._restore(item) for item in self.saved]

    def _restore(self, item: _Saved) -> Tensor:
        replaced = item.tensor is not None and item.tensor._version is not item.version
        if replaced or (item.version is not None and item.version.value != item.was):
            raise GradientError(
                f"{self.describe()}: an array that its backward needs was changed in place after the forward: "
                "change a copy, or change it after backward()"
            )
        array = item.array if item.tensor is None else item.tensor.data
        if item.checksum is not None and item.checksum != checksum(array):
            raise GradientError(
                f"{self.describe()}: an array that its backward needs was changed after the forward through a NumPy "
                "view: change a copy, or change it after backward()"
            )
        if item.tensor is not None:
            return item.tensor
        if item.output >= 0:
            return Tensor._from_array(array, self, item.output, item.version)
        return Tensor._from_array(array)


Edge = tuple[Node, int] | Tensor | None
"""Where a gradient goes: an output of a node, a leaf, or nowhere."""


def edge_of(tensor: Tensor | None) -> Edge:
    if tensor is None or not tensor.requires_grad:
        return None
    return tensor if tensor._node is None else (tensor._node, tensor._index)


def differentiable(rule: Callable[..., Any]) -> Callable[..., Any]:
    """Make an operation on Tensors from a rule on arrays.

    rule(kernels, needs, *arrays, **attributes) returns (output or tuple of outputs, saved, backward); `needs` says
    which inputs need a gradient, `saved` lists arrays (inputs, outputs or others) and None, and
    backward(saved, dy, needs, **attributes) gives one gradient (Tensor or None) per input.
    The operation takes Tensors or None by position and attributes by name.
    """
    return _operation(rule, view=False)


def view(rule: Callable[..., Any]) -> Callable[..., Any]:
    """`differentiable` for a rule whose output may share memory with its first input: they share a version counter."""
    return _operation(rule, view=True)


def joining(rule: Callable[..., Any]) -> Callable[..., Any]:
    """`view` for a rule that joins its inputs: the gradients are views on parts of dy that do not overlap.

    Where the engine owns dy it owns each of them, and adds to them in place.
    """
    return _operation(rule, view=True, parts=True)


def _operation(rule: Callable[..., Any], *, view: bool, parts: bool = False) -> Callable[..., Any]:
    name = rule.__name__.strip("_")

    @functools.wraps(rule)
    def operation(*tensors: Tensor | None, **attributes: Any) -> Any:
        arrays = [None if t is None else t.data for t in tensors]
        kernels = backends.of(arrays, name)
        recorded = mode.recording
        needs = tuple([recorded and t is not None and t.requires_grad for t in tensors])
        if True in needs and len(set(map(id, arrays))) < len(arrays):
            arrays = _distinct(kernels, arrays, tensors)
        result, saved, backward = rule(kernels, needs, *arrays, **attributes)
        several = type(result) is tuple
        results = result if several else (result,)
        if mode.anomaly:
            look_for_anomaly(name, where(), arrays, results, "forward")
        version = None
        if view and tensors[0] is not None and backends.may_share(arrays[0], results[0]):
            version = tensors[0]._version
        if True not in needs:
            outputs = [Tensor._from_array(r, version=version) for r in results]
            return tuple(outputs) if several else outputs[0]
        node = Node(
            name, backward, [edge_of(t) if n else None for t, n in zip(tensors, needs)],
            [(r.shape, r.dtype) for r in results], kernels, attributes, parts,
        )  # fmt: skip
        outputs = [Tensor._from_array(r, node, i, version) for i, r in enumerate(results)]
        node.saved = [None if s is None else _save(s, arrays, tensors, results, outputs) for s in saved]
        return tuple(outputs) if several else outputs[0]

    operation.rule = rule  # type: ignore[attr-defined]
    return operation


def _distinct(kernels: Any, arrays: list[Any], tensors: tuple[Any, ...]) -> list[Any]:
    """The arrays, with views where two Tensors have the same one, so that `_save` knows whose history belongs to it."""
    owners: dict[int, Any] = {}
    return [
        array
        if array is None or owners.setdefault(id(array), tensor) is tensor
        else kernels.reshape(array, array.shape)
        for array, tensor in zip(arrays, tensors)
    ]


def _save(
    array: Any, arrays: list[Any], tensors: tuple[Any, ...], results: tuple[Any, ...], outputs: list[Tensor]
) -> _Saved:
    for i, candidate in enumerate(arrays):
        if candidate is array:
            return _Saved(array, tensors[i], -1, tensors[i]._version)
    for i, candidate in enumerate(results):
        if candidate is array:
            return _Saved(array, None, i, outputs[i]._version)
    return _Saved(array, None, -1, None)


def first_order(composition: Callable[..., Any]) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Declare a fused gradient: rule(kernels, *arrays, **attributes) -> arrays, for the first order only.

    Where it would have to be recorded (`create_graph=True`), `composition` is called instead: the same result,
    spelled out in differentiable operations.
    """

    def decorate(rule: Callable[..., Any]) -> Callable[..., Any]:
        name = rule.__name__.strip("_")

        @functools.wraps(rule)
        def operation(*tensors: Tensor | None, **attributes: Any) -> Any:
            if mode.recording and any(t is not None and t.requires_grad for t in tensors):
                return composition(*tensors, **attributes)
            arrays = [None if t is None else t.data for t in tensors]
            result = rule(backends.of(arrays, name), *arrays, **attributes)
            if type(result) is tuple:
                return tuple(None if r is None else Tensor._from_array(r) for r in result)
            return Tensor._from_array(result)

        operation.composition = composition  # type: ignore[attr-defined]
        return operation

    return decorate


class _Pending:
    """The gradient that has arrived so far for one place, and whether its array is the engine's own."""

    __slots__ = ("owned", "total")

    def __init__(self, total: Tensor, owned: bool) -> None:
        self.total, self.owned = total, owned

    def add(self, gradient: Tensor) -> None:
        if mode.recording:
            self.total, self.owned = self.total + gradient, False
        elif self.owned and self.total.dtype == gradient.dtype:
            total = self.total.data
            backends.of([total], "add").add(total, gradient.data, out=total)
        else:
            self.total, self.owned = self.total + gradient, True


def _order(starts: list[Node]) -> list[Node]:
    """The nodes behind `starts`, every node before those that it was computed from."""
    waiting: dict[Node, int] = {}
    stack = list(dict.fromkeys(starts))
    seen = set(stack)
    while stack:
        for edge in stack.pop().edges:
            if type(edge) is tuple:
                parent = edge[0]
                waiting[parent] = waiting.get(parent, 0) + 1
                if parent not in seen:
                    seen.add(parent)
                    stack.append(parent)
    ready = [node for node in dict.fromkeys(starts) if not waiting.get(node)]
    order: list[Node] = []
    while ready:
        node = ready.pop()
        order.append(node)
        for edge in node.edges:
            if type(edge) is tuple:
                waiting[edge[0]] -= 1
                if not waiting[edge[0]]:
                    ready.append(edge[0])
    return order


def _useful(order: list[Node], wanted: dict[Any, None]) -> dict[Node, tuple[bool, ...]]:
    """For each node on a way to something wanted: which of its edges lead there."""
    useful: dict[Node, tuple[bool, ...]] = {}
    for node in reversed(order):
        leads = tuple([_key(e) in wanted or (type(e) is tuple and e[0] in useful) for e in node.edges])
        if True in leads:
            useful[node] = leads
    return useful


def _key(edge: Edge) -> Any:
    return (edge[0], edge[1]) if type(edge) is tuple else id(edge)


def _run(
    starts: list[tuple[Tensor, Tensor]], wanted: dict[Any, None] | None, retain_graph: bool, create_graph: bool
) -> dict[Any, tuple[Tensor, Edge, bool]]:
    """Push gradients from `starts` down. Gives the gradient of every leaf, or of every edge key in `wanted`."""
    pending: dict[Any, _Pending] = {}
    arrived: dict[Any, tuple[Tensor, Edge, bool]] = {}
    edges: dict[Any, Edge] = {}

    def arrive(edge: Edge, gradient: Tensor, owned: bool) -> None:
        key = _key(edge)
        if key in pending:
            pending[key].add(gradient)
        else:
            pending[key] = _Pending(gradient, owned)
            edges[key] = edge

    for tensor, gradient in starts:
        arrive(edge_of(tensor), gradient, False)
    order = _order([t._node for t, _ in starts if t._node is not None])
    useful = None if wanted is None else _useful(order, wanted)
    with recording(create_graph):
        for node in order:
            dys: list[Tensor | None] = []
            owned = False
            for index in range(len(node.outputs)):
                key = (node, index)
                found = pending.pop(key, None)
                if found is not None:
                    owned = found.owned
                    if wanted is not None and key in wanted:
                        arrived[key] = (found.total, edges[key], owned)
                        owned = False  # it is a result
                dys.append(None if found is None else found.total)
                found = None
            if all(dy is None for dy in dys) or (useful is not None and node not in useful):
                continue
            needs = tuple([edge is not None for edge in node.edges]) if useful is None else useful[node]
            _step(node, dys, node.parts and owned, needs, arrive, retain_graph)
            dys.clear()
    for key, item in pending.items():
        if wanted is None or key in wanted:
            arrived[key] = (item.total, edges[key], item.owned)
    return arrived


def _step(
    node: Node, dys: list[Tensor | None], parts: bool, needs: tuple[bool, ...], arrive: Callable[..., None],
    retain_graph: bool,
) -> None:  # fmt: skip
    """Run one node's backward and hand its gradients on. parts: they are parts of dy, which the engine owns."""
    if node.freed:
        raise GradientError(
            f"{node.describe()}: backward through a graph that was freed by an earlier backward: "
            "call the first one with retain_graph=True, or compute the loss again"
        )
    with backends.using(node.kernels, node.precision):
        filled = [
            Tensor._from_array(node.kernels.zeros(shape, dtype)) if dy is None else dy
            for dy, (shape, dtype) in zip(dys, node.outputs)
        ]
        saved = node.unpack()
        anomaly, mode.anomaly = mode.anomaly, False  # this node is looked at as a whole, below
        try:
            gradients = node.backward(saved, filled[0] if len(filled) == 1 else filled, needs, **node.attributes)
        finally:
            mode.anomaly = anomaly
        if anomaly:
            inputs = [t.data for t in (*filled, *saved) if t is not None]
            look_for_anomaly(node.name, node.where, inputs, [g.data for g in gradients if g is not None], "backward")
        # An array may be adopted as a .grad only if nobody else can hold it.
        others = [id(_root(t.data)) for t in (*filled, *saved, *gradients) if t is not None]
        for edge, need, gradient in zip(node.edges, needs, gradients):
            if need and gradient is not None:
                data = gradient.data
                arrive(edge, gradient, parts or (_root(data) is data and others.count(id(data)) == 1))
        if not retain_graph:
            node.saved, node.freed = [], True


def _root(array: Any) -> Any:
    """The array that owns the memory: itself, unless it is a view."""
    return array.base if isinstance(array.base, type(array)) else array


def _initial(tensor: Tensor, gradient: Any, what: str) -> Tensor:
    if not tensor.requires_grad:
        raise GradientError(
            f"{what}: the output does not depend on anything that requires a gradient: create the inputs with "
            "requires_grad=True and stay with Tensors (.numpy() cuts the history); for a higher derivative call the first "
            "grad with create_graph=True"
        )
    if gradient is None:
        if tensor.size != 1:
            raise GradientError(
                f"{what}: the output has shape {tensor.shape}; without a gradient it must be a scalar: "
                "reduce it with .sum() or .mean(), or give a gradient of its shape"
            )
        kernels = backends.of([tensor.data], what)
        ones = kernels.empty(tensor.shape, tensor.dtype)
        kernels.fill(ones, 1)
        return Tensor._from_array(ones)
    gradient = gradient if isinstance(gradient, Tensor) else Tensor(gradient, dtype=tensor.dtype, device=tensor.device)
    if gradient.shape != tensor.shape:
        raise GradientError(
            f"{what}: the gradient has shape {gradient.shape}, the output {tensor.shape}: they must agree"
        )
    return gradient if gradient.dtype == tensor.dtype else gradient.astype(tensor.dtype)


def backward(tensor: Tensor, gradient: Any = None, *, retain_graph: bool = False, create_graph: bool = False) -> None:
    """Add the derivatives of `tensor` to the `.grad` of every leaf that it was computed from.

    gradient: shaped like `tensor`, the derivative of the loss by it; may be left out for a scalar.
    retain_graph: keep what was saved, so that backward can be called again (implied by create_graph).
    create_graph: record the backward itself, so that `.grad` can be differentiated; `grad` leaves no reference
    cycle behind and is to be preferred.
    Raises GradientError for a non-scalar without a gradient, a freed graph, or an array changed in place.
    """
    start = _initial(tensor, gradient, "backward")
    arrived = _run([(tensor, start)], None, retain_graph or create_graph, create_graph)
    for total, leaf, owned in arrived.values():
        assert isinstance(leaf, Tensor)
        with recording(create_graph):
            if leaf.grad is not None:
                leaf.grad = leaf.grad + total
            else:
                leaf.grad = total if owned and _root(total.data) is total.data else total.copy()


def _listed(what: str, values: Any) -> list[Tensor]:
    try:
        listed = [values] if isinstance(values, Tensor) else list(values)
    except TypeError:
        listed = [values]
    for value in listed:
        if not isinstance(value, Tensor):
            raise GradientError(f"grad: {what} holds {type(value).__name__} {str(value)[:60]!r}: it must hold Tensors")
    return listed


def grad(
    outputs: Tensor | Sequence[Tensor], inputs: Tensor | Sequence[Tensor], grad_outputs: Any = None, *,
    create_graph: bool = False, retain_graph: bool | None = None,
) -> Any:  # fmt: skip
    """The derivatives of `outputs` by `inputs`, shaped like `inputs`; leaves every `.grad` alone.

    grad_outputs: one gradient per output, None for scalars. create_graph: record, for higher derivatives.
    Returns a Tensor for one input, a tuple for a sequence; an input that does not matter gets zeros.
    """
    one = isinstance(inputs, Tensor)
    targets, heads = _listed("inputs", inputs), _listed("outputs", outputs)
    if grad_outputs is None:
        given: list[Any] = [None] * len(heads)
    else:
        given = [grad_outputs] if isinstance(outputs, Tensor) else list(grad_outputs)
    if len(given) != len(heads):
        raise GradientError(f"grad: {len(heads)} outputs but {len(given)} grad_outputs: give one for each")
    for number, target in enumerate(targets):
        if not target.requires_grad:
            raise GradientError(f"grad: input {number} does not require a gradient: create it with requires_grad=True")
    starts = [(head, _initial(head, gradient, "grad")) for head, gradient in zip(heads, given)]
    keys = [_key(edge_of(target)) for target in targets]
    retain = create_graph if retain_graph is None else retain_graph
    arrived = _run(starts, dict.fromkeys(keys), retain, create_graph)
    results = []
    for target, key in zip(targets, keys):
        if key in arrived:
            total, _, owned = arrived[key]
            own = owned and _root(total.data) is total.data
            results.append(total if create_graph else total.detach() if own else total.detach().copy())
        else:
            results.append(Tensor._from_array(backends.of([target.data], "grad").zeros(target.shape, target.dtype)))
    return results[0] if one else tuple(results)
