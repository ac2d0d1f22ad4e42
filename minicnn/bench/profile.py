"""Where a training step's time goes: each layer's forward and backward, by clocks around their calls; a GPU's are events.

The forward's clocks stand around the calls of the container's plan (`layers/run.py`), so that what is fused is one row. The
nodes that a call records belong to it: their backward functions get clocks of their own. Layers inside a layer with a
`forward` of its own are one row.
"""

from __future__ import annotations

import statistics
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

from .. import models, ops, optim
from ..errors import check
from ..layers import Layer, trace
from ..layers.containers import Container
from ..tensor import Tensor
from .device import CPU, Device
from .steps import batch_of, model_of

Marks = list[tuple[Any, Any]]
WARM = 2
REST = "(loss, update, engine)"


class Row(NamedTuple):
    """One layer, with what was fused into it."""

    path: str
    kind: str
    forward: float
    backward: float
    """Seconds."""
    macs: int
    """Of the forward, for the whole batch."""


class Profile(NamedTuple):
    title: str
    batch: int
    step: float
    """Seconds of a whole step."""
    rows: list[Row]


class _Clock:
    """When each layer began and ended, in one step."""

    def __init__(self, on: Device) -> None:
        self.on = on
        self.forward: dict[str, Marks] = defaultdict(list)
        self.backward: dict[str, Marks] = defaultdict(list)

    def seconds(self, marks: Marks) -> float:
        return sum(self.on.between(start, end) for start, end in marks)

    def around(self, path: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*inputs: Any) -> Any:
            start = self.on.mark()
            result = call(*inputs)
            self.forward[path].append((start, self.on.mark()))
            for node in _new_nodes(result, inputs):
                node.backward = self._backward(path, node.backward)
            return result

        return timed

    def _backward(self, path: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*given: Any, **attributes: Any) -> Any:
            start = self.on.mark()
            try:
                return function(*given, **attributes)
            finally:
                self.backward[path].append((start, self.on.mark()))

        return timed


def _new_nodes(result: Tensor, inputs: tuple[Tensor, ...]) -> Iterator[Any]:
    """The nodes recorded between the inputs and the result."""
    seen = {id(x._node) for x in inputs}
    todo = [result._node]
    while todo:
        node = todo.pop()
        if node is None or id(node) in seen:
            continue
        seen.add(id(node))
        yield node
        todo += [edge[0] for edge in node.edges if type(edge) is tuple]


def profile(
    model_or_name: Layer | str, batch: int | None = None, rounds: int = 5, input_shape: Any = None, on: Device = CPU
) -> Profile:
    """Train some steps on noise and take medians. Raises ArgumentError for a layer that is no container."""
    if isinstance(model_or_name, str):
        batch = batch or batch_of(model_or_name, on.name)
        input_shape = input_shape or models.info(model_or_name).input_shape
        model: Any = model_of(model_or_name)
    else:
        model, batch = model_or_name, batch or 1
    model.to(on.name)
    check(
        isinstance(model, Container),
        f"profile: the model is a {type(model).__name__}: it must be a container, such as Sequential: only those call their "
        "layers where a clock can stand",
    )
    shape = input_shape or model.recipe.input_shape
    records = trace(model, shape).records
    macs: dict[str, int] = defaultdict(int)
    paths: dict[int, str] = {}
    for record in records:
        paths.setdefault(id(record.layer), record.path)
        if record.leaf:
            macs[record.path] += batch * record.layer.macs(record.input, record.output)
    draw = np.random.default_rng(0)
    images = Tensor(draw.standard_normal((batch, *shape), np.float32), device=on.name)
    labels = draw.integers(0, records[0].output[0], batch)
    optimizer = optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    model.train()

    def step() -> None:
        answers = model(images)
        logits, *auxiliary = answers if isinstance(answers, tuple) else (answers,)
        loss = ops.cross_entropy(logits, labels)
        for others in auxiliary:
            loss = loss + ops.cross_entropy(others, labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    for _ in range(WARM):
        step()
    clocks, whole = [], []
    plan = model.__dict__["_plan"]
    calls = list(plan.steps)
    try:
        for _ in range(rounds):
            clock = _Clock(on)
            plan.steps[:] = [(clock.around(paths.get(id(_layer(call)), "?"), call), *rest) for call, *rest in calls]
            whole.append(on.seconds(step))
            clocks.append(clock)
    finally:
        plan.steps[:] = calls
    rows = [
        Row(
            path, _kind(call),
            statistics.median(clock.seconds(clock.forward[path]) for clock in clocks),
            statistics.median(clock.seconds(clock.backward[path]) for clock in clocks),
            sum(count for inner, count in macs.items() if inner == path or inner.startswith(path + ".")),
        )
        for path, call in {paths.get(id(_layer(call)), "?"): call for call, *_ in calls}.items()
    ]  # fmt: skip
    title = model_or_name if isinstance(model_or_name, str) else type(model).__name__
    return Profile(title, batch, statistics.median(whole), rows)


def _layer(call: Any) -> Layer:
    return getattr(call, "layer", call)


def _kind(call: Any) -> str:
    """Conv2d + ReLU: the layer and what was fused into it."""
    parts = [type(_layer(call)).__name__]
    if _layer(call) is not call:
        parts += ["Add"] * (call.join is not None) + ["ReLU"] * call.relu
    return " + ".join(parts)


def lines(found: Profile, top: int | None = None) -> Iterator[tuple[str, str]]:
    """The table in 80 columns: a line and what it is."""
    inside = sum(row.forward + row.backward for row in found.rows)
    step = max(found.step, inside)
    yield f"{found.title}: a training step of {found.batch} images takes {step * 1e3:.1f} ms", "title"
    yield "", ""
    yield f"{'layer':<25}{'kind':<19}{'forward':>8}{'backward':>9}{'ms':>7}{'share':>6}{'GF/s':>6}", "head"
    yield "-" * 80, "rule"
    rows = found.rows
    if top is not None:
        rows = sorted(rows, key=lambda row: row.forward + row.backward, reverse=True)[:top]
    for row in rows:
        yield _line(row.path, row.kind, row.forward, row.backward, step, row.macs), "layer"
    if len(rows) < len(found.rows):
        left = [row for row in found.rows if row not in rows]
        forward, backward = sum(row.forward for row in left), sum(row.backward for row in left)
        yield _line(f"({len(left)} other layers)", "", forward, backward, step, sum(row.macs for row in left)), "layer"
    yield _line(REST, "", 0, step - inside, step, 0), "layer"
    yield "-" * 80, "rule"
    kinds: dict[str, list[Row]] = defaultdict(list)
    for row in found.rows:
        kinds[row.kind].append(row)
    for kind, group in sorted(kinds.items(), key=lambda each: -sum(row.forward + row.backward for row in each[1])):
        forward, backward = sum(row.forward for row in group), sum(row.backward for row in group)
        yield _line(f"all {kind}"[:44], "", forward, backward, step, sum(row.macs for row in group), 44), "total"


def _line(name: str, kind: str, forward: float, backward: float, step: float, macs: int, wide: int = 25) -> str:
    both = forward + backward
    name = name if len(name) < wide else "~" + name[len(name) - wide + 2 :]  # the end of a path tells it from others
    kind = kind if len(kind) < 19 else kind[:17] + "~"
    rate = f"{6 * macs / both / 1e9:6.0f}" if macs and both else f"{'':>6}"
    shown = f"{forward * 1e3:8.2f}" if forward else f"{'':>8}"
    return f"{name:<{wide}}{kind:<{44 - wide}}{shown}{backward * 1e3:9.2f}{both * 1e3:7.2f}{both / step:6.1%}{rate}".rstrip()


def show(found: Profile, top: int | None = None) -> None:
    """Print it: in colour in a terminal, plain elsewhere."""
    if sys.stdout is None or not sys.stdout.isatty():
        print("\n".join(line for line, _ in lines(found, top)))
        return
    from rich.console import Console
    from rich.text import Text

    from ..inspect.table import STYLES

    console = Console()
    for line, kind in lines(found, top):
        console.print(Text(line, STYLES.get(kind, "")), soft_wrap=True)
