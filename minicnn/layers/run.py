"""How containers run: the one place that orders, inlines and fuses layers.

A container says what it is made of: `nodes()`, each a name, a layer and the names of its inputs. From these a plan is
made once: a flat list of steps, nested containers inlined, and

    Conv2d or Linear, then ReLU                       -> one call of its `fused(relu=True)`
    BatchNorm2d, then ReLU                            -> the same
    BatchNorm2d, then Add, then (or not) ReLU         -> one call of its `fused(residual=..., relu=...)`
    Cat, then Cat behind its result, and so on        -> each copies only what it adds: a dense block

where nothing else reads what lies between. Results are the same as without (batch norm to rounding). A layer that has
a forward hook, or a `forward` of its own, is left alone. `use_fusion(False)` and anomaly mode turn all of it off.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from ..errors import ArgumentError, MinicnnError, calls, where
from ..mode import mode
from .activation import ReLU
from .base import Layer, structure
from .shape import Add, Cat, Identity

if TYPE_CHECKING:
    from .containers import Container


class _Fusion:
    on = True


class use_fusion:
    """Turn fusion on or off: a plain call for the whole process, `with use_fusion(False):` until the end of the block.

    The switch is global: it holds for every thread.
    """

    def __init__(self, flag: bool) -> None:
        self.before, _Fusion.on = _Fusion.on, bool(flag)

    def __enter__(self) -> None:
        return None

    def __exit__(self, *_: Any) -> None:
        _Fusion.on = self.before


class Node(NamedTuple):
    """One layer inside a container, and where its inputs come from: names of other nodes or of the container's inputs."""

    name: str
    layer: Layer
    inputs: tuple[str, ...]


class _Step:
    """One call of a plan, while it is being made. Values are numbered; number 0 and on are the container's inputs."""

    __slots__ = ("join", "joins", "layer", "relu", "sources", "target")

    def __init__(self, layer: Layer, sources: list[int], target: int) -> None:
        self.layer, self.sources, self.target = layer, sources, target
        self.relu = False
        self.join: Layer | None = None
        self.joins: int | None = None  # of a Cat in a chain: how many follow


class Fused:
    """A layer called together with what follows it."""

    __slots__ = ("join", "layer", "relu")

    def __init__(self, layer: Any, join: Layer | None, relu: bool) -> None:
        self.layer, self.join, self.relu = layer, join, relu

    def __call__(self, x: Any, residual: Any = None) -> Any:
        stack = calls.stack
        stack.append(self.layer)
        try:
            if residual is not None and residual.shape != x.shape and self.join is not None:
                stack[-1] = self.join
                self.join.forward(x, residual)  # says what is wrong with the shapes
            return self.layer.fused(x, residual, self.relu)
        except MinicnnError as error:
            error.locate(where())
            raise
        finally:
            stack.pop()


class Chained:
    """A Cat called with the number of those that follow in its chain."""

    __slots__ = ("joins", "layer")

    def __init__(self, layer: Any, joins: int) -> None:
        self.layer, self.joins = layer, joins

    def __call__(self, *inputs: Any) -> Any:
        stack = calls.stack
        stack.append(self.layer)
        try:
            return self.layer.chained(inputs, self.joins)
        except MinicnnError as error:
            error.locate(where())
            raise
        finally:
            stack.pop()


class Plan(NamedTuple):
    """The steps of a container: (call, number of its input or numbers, number of its output, numbers no longer needed)."""

    version: int
    fused: bool
    all_outputs: bool
    steps: list[tuple[Any, Any, int, tuple[int, ...]]]
    size: int
    outputs: list[int]


def run(container: Container, inputs: tuple[Any, ...]) -> Any:
    """Call the container's layers in order. One output comes as it is, several as a tuple."""
    plan = container.__dict__.get("_plan")
    fuse = _Fusion.on and not mode.anomaly
    all_outputs = container.all_outputs()
    if (
        plan is None or plan.version != structure.version or plan.fused is not fuse
        or plan.all_outputs is not all_outputs
    ):  # fmt: skip
        plan = container.__dict__["_plan"] = _make(container, fuse, all_outputs)
    if len(inputs) != len(container.inputs):
        raise ArgumentError(
            f"{type(container).__name__} was called with {len(inputs)} inputs: it takes {len(container.inputs)} "
            f"({', '.join(container.inputs)})"
        )
    values: list[Any] = [None] * plan.size
    values[: len(inputs)] = inputs
    for call, source, target, dead in plan.steps:
        if type(source) is int:
            values[target] = call(values[source])
        else:
            values[target] = call(*[values[number] for number in source])
        for number in dead:
            values[number] = None
    if len(plan.outputs) == 1:
        return values[plan.outputs[0]]
    return tuple([values[number] for number in plan.outputs])


def _make(container: Container, fuse: bool, all_outputs: bool) -> Plan:
    version = structure.version  # read first: a change meanwhile makes the plan old at once
    steps: list[_Step] = []
    inputs = len(container.inputs)
    outputs = _expand(container, list(range(inputs)), container.outputs, steps, inputs, fuse)
    size = inputs + len(steps)
    steps = _needed(steps, outputs)
    if fuse:
        steps = _fuse(steps, outputs)
    last: dict[int, int] = {}
    for place, step in enumerate(steps):
        for number in step.sources:
            last[number] = place
    dead: list[list[int]] = [[] for _ in steps]
    for number, place in last.items():
        if number not in outputs:
            dead[place].append(number)
    made = []
    for step, gone in zip(steps, dead):
        call: Any = Fused(step.layer, step.join, step.relu) if step.relu or step.join else step.layer
        if step.joins is not None:
            call = Chained(step.layer, step.joins)
        made.append((call, step.sources[0] if len(step.sources) == 1 else step.sources, step.target, tuple(gone)))
    return Plan(version, fuse, all_outputs, made, size, outputs)


def _expand(
    container: Any, sources: list[int], wanted: tuple[str, ...], steps: list[_Step], inputs: int, inline: bool
) -> list[int]:
    """Append the steps of a container that reads the values `sources`; give the numbers of the values `wanted`.

    A module's function, not one inside `_make`: a function that calls itself through a closure is a reference cycle.
    """
    numbers = dict(zip(container.inputs, sources))
    for node in container.nodes():
        given = [numbers[name] for name in node.inputs]
        if inline and len(given) == 1 and _does(node.layer, Identity):
            numbers[node.name] = given[0]
        elif inline and _inlinable(node.layer):
            inner: Any = node.layer
            (numbers[node.name],) = _expand(inner, given, inner.outputs, steps, inputs, inline)
        else:
            numbers[node.name] = inputs + len(steps)
            steps.append(_Step(node.layer, given, numbers[node.name]))
    return [numbers[name] for name in wanted]


def _inlinable(layer: Layer) -> bool:
    return getattr(layer, "inlinable", False) and not layer._hooks and _plain(layer, "nodes")


def _does(layer: Layer, kind: type[Layer]) -> bool:
    """Whether calling this layer is calling `kind.forward`, and nothing else."""
    return type(layer).forward is kind.forward and "forward" not in layer.__dict__ and not layer._hooks


def _plain(layer: Layer, method: str) -> bool:
    """Whether `method` still describes what forward does: no class further down has a forward of its own."""
    if "forward" in layer.__dict__:
        return False
    for cls in type(layer).__mro__:
        if method in cls.__dict__:
            return True
        if "forward" in cls.__dict__:
            return False
    return False


def _needed(steps: list[_Step], outputs: list[int]) -> list[_Step]:
    """Only the steps that the outputs depend on."""
    wanted = set(outputs)
    kept = []
    for step in reversed(steps):
        if step.target in wanted:
            wanted.update(step.sources)
            kept.append(step)
    return kept[::-1]


def _fuse(steps: list[_Step], outputs: list[int]) -> list[_Step]:
    """Let layers take over the sums and ReLUs behind them."""
    readers: dict[int, int] = dict.fromkeys(outputs, 1)
    for step in steps:
        for number in step.sources:
            readers[number] = readers.get(number, 0) + 1
    places: list[_Step | None] = list(steps)
    made_at: dict[int, int] = {}  # number of a value -> place of the step that gives it

    def maker(number: int, what: str) -> _Step | None:
        """The step that gives this value, if it can take over `what` and nobody else reads the value."""
        step = places[made_at[number]] if number in made_at and readers[number] == 1 else None
        if step is None or step.relu or what not in step.layer.fuses or (what == "residual" and step.join is not None):
            return None
        return step if not step.layer._hooks and _plain(step.layer, "fused") else None

    for place, step in enumerate(steps):
        layer, sources = step.layer, step.sources
        made_at[step.target] = place
        if layer._hooks or "forward" in layer.__dict__:
            continue
        if type(layer).forward is ReLU.forward and len(sources) == 1:
            before = maker(sources[0], "relu")
            if before is not None:
                made_at[step.target] = made_at[sources[0]]
                places[place] = None
                before.relu, before.target = True, step.target
        elif isinstance(layer, Add) and type(layer).forward is Add.forward and len(sources) == 2:
            for own, other in (sources, sources[::-1]):
                norm = maker(own, "residual") if own != other and layer.coefficients is None else None
                if norm is not None:  # it moves to where the sum is: the other operand must be there
                    places[made_at[own]], places[place] = None, norm
                    norm.join, norm.sources, norm.target = layer, [norm.sources[0], other], step.target
                    break
    fused = [step for step in places if step is not None]
    _chain(fused, outputs)
    return fused


def _chain(steps: list[_Step], outputs: list[int]) -> None:
    """Tell each Cat in a chain, in which one reads the other first, how many follow.

    What goes out ends a chain: whoever changes one output in place shall not change another.
    """
    following: dict[int, int] = {}  # number of a value -> how many joins in a row begin with it
    joins = [step for step in steps if _does(step.layer, Cat) and getattr(step.layer, "axis", 0) == 1 and step.sources]
    for step in reversed(joins):
        step.joins = following.get(step.target, 0)
        first = step.sources[0]
        if first not in outputs:
            following[first] = max(following.get(first, 0), step.joins + 1)
    made = {step.target for step in joins}.difference(outputs)
    for step in joins:
        if not step.joins and step.sources[0] not in made:
            step.joins = None  # it stands alone
