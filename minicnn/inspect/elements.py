"""What a diagram is laid out from: boxes, rows and frames that know their size. Everything flows from left to right."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Protocol

from ..layers.tracing import Record
from .structure import Op, Part
from .svg import Canvas, text_width

SMALL, LINE, PAD = 9.5, 11.5, 9.0
"""Size of the labels, distance of their lines, room for the arrows on each side of a box; pixels."""
STRIP = 4.0
"""Width of what a batch norm or a ReLU adds to the box beside it."""


class Look(Protocol):
    """What boxes look like and say: `layout` asks, `diagrams` answers."""

    def kind(self, op: Op) -> str:
        """A key of `svg.FILLS`."""

    def size(self, op: Op) -> tuple[float, float, float]:
        """Width, height and depth in pixels."""

    def strips(self, several: Sequence[Record]) -> list[str]:
        """The kinds of the strips that small layers add."""

    def lines(self, op: Op) -> list[str]:
        """The label below a box."""

    def about(self, op: Op) -> str:
        """What shows under the mouse."""

    def caption(self, part: Part) -> list[str]:
        """The heading of a frame."""


class Element(ABC):
    """Something with a width, and a reach above and below the axis on which a wire comes in and goes out."""

    width = up = down = 0.0

    @abstractmethod
    def draw(self, canvas: Canvas, x: float, y: float) -> None:
        """Paint it. x: its left side. y: its axis."""


class Wire(Element):
    """A branch without layers."""

    up = down = 4.0

    def draw(self, canvas: Canvas, x: float, y: float) -> None:
        return None


class Slab(Element):
    """A layer: a block to scale and a label below it."""

    comes = goes = True
    """Whether wires lead to it and away from it."""

    def __init__(self, op: Op, look: Look, times: int = 1, names: Sequence[str] | None = None) -> None:
        self.op, self.look, self.times = op, look, times
        self.names = tuple([record.path or record.kind for record in op.records]) if names is None else tuple(names)
        self.body, self.height, self.depth = look.size(op)
        self.before, self.after = look.strips(op.before), look.strips(op.after)
        self.total = self.body + STRIP * (len(self.before) + len(self.after)) + self.depth
        self.lines = look.lines(op) + ([f"{times} times"] if times > 1 else [])
        label = max([text_width(line, SMALL) for line in self.lines], default=0.0)
        self.width = max(self.total, label) + 2 * PAD
        self.up = (self.height + self.depth) / 2
        self.drop = self.up + 4
        """From the axis to the top of the label."""

    @property
    def down(self) -> float:  # type: ignore[override]
        return self.drop + LINE * len(self.lines)

    def draw(self, canvas: Canvas, x: float, y: float) -> None:
        left, top = x + (self.width - self.total) / 2, y - self.up + self.depth
        if self.comes:
            canvas.wire((x, y), (left, y), tip=True)
        if self.goes:
            canvas.wire((left + self.total, y), (x + self.width, y))
        about = self.look.about(self.op)
        if self.times > 1:
            about += f"\n{self.times} equal ones, to {self.names[-1]}"
        with canvas.titled(about):
            place, main = left, self.look.kind(self.op)
            kinds = [*[(kind, STRIP) for kind in self.before], (main, self.body)]
            for kind, width in [*kinds, *[(kind, STRIP) for kind in self.after]]:
                canvas.box(place, top, width, self.height, kind, depth=self.depth)
                place += width
            canvas.side(place, top, self.height, self.depth, main)
        canvas.name(left, y - self.up, self.total, 2 * self.up, *self.names)
        # Below the centre of the front, not of the whole block; but the label stays in its slot.
        half = max([text_width(line, SMALL) for line in self.lines], default=0.0) / 2
        centre = min(max(left + (self.total - self.depth) / 2, x + half + 1), x + self.width - half - 1)
        for number, line in enumerate(self.lines):
            canvas.text(centre, y + self.drop + LINE * number + 0.75 * LINE, line, SMALL, dim=number > 0)


class Row(Element):
    """Elements one behind the other; heads hang below."""

    def __init__(self, items: Sequence[Element], gap: float = 0.0) -> None:
        self.items, self.gap = list(items), gap
        chain = [item for item in items if not isinstance(item, Hanging)]
        self.width = self.chain_width = sum(item.width for item in chain) + gap * max(len(chain) - 1, 0)
        self.up = max([item.up for item in chain], default=4.0)
        self.level = self.down = max([item.down for item in chain], default=4.0)
        self.places: list[tuple[float, float, float, Element]] = []
        """Of the heads: where the wire leaves the row, x, y below the axis."""
        x = end = 0.0
        for item in items:
            if isinstance(item, Hanging):
                for head in item.heads:
                    start = max(x + 12, end + 16)
                    if start + head.width > self.width:
                        start = max(end + 16, self.width - head.width)
                    self.places.append((x - gap / 2, start, self.level + 18 + head.up, head))
                    end = start + head.width
                    self.down = max(self.down, self.level + 18 + head.up + head.down)
            else:
                x += item.width + gap
        self.width = max(self.width, end)

    def draw(self, canvas: Canvas, x: float, y: float) -> None:
        start = x
        for number, item in enumerate(item for item in self.items if not isinstance(item, Hanging)):
            if number and self.gap:
                canvas.wire((x - self.gap, y), (x, y))
            item.draw(canvas, x, y)
            x += item.width + self.gap
        for leaves, left, below, head in self.places:
            tap = start + leaves
            if start + left >= tap:
                canvas.wire((tap, y), (tap, y + below), (start + left, y + below))
            else:
                turn = start + left - 6
                level = y + self.level + 8
                canvas.wire((tap, y), (tap, level), (turn, level), (turn, y + below), (start + left, y + below))
            canvas.dot(tap, y)
            head.draw(canvas, start + left, y + below)


class Hanging(Element):
    """Auxiliary heads: no width of their own; the row finds room for them below."""

    def __init__(self, heads: list[Element]) -> None:
        self.heads = heads

    def draw(self, canvas: Canvas, x: float, y: float) -> None:
        """Nothing: the row that they hang from draws them."""


class Frame(Element):
    """A dashed frame with a heading."""

    PAD = 6.0

    def __init__(self, inner: Element, caption: Sequence[str], goes: bool = True) -> None:
        self.inner, self.goes = inner, goes
        self.caption = [line for line in caption if line]
        heading = max([1.08 * text_width(line, SMALL) for line in self.caption], default=0.0)
        self.width = max(inner.width, heading + 2) + 2 * self.PAD
        self.up = inner.up + LINE * len(self.caption) + self.PAD
        self.down = inner.down + self.PAD

    def draw(self, canvas: Canvas, x: float, y: float) -> None:
        canvas.frame(x, y - self.up, self.width, self.up + self.down)
        for number, line in enumerate(self.caption):
            where = y - self.up + LINE * (number + 1) - 1
            canvas.text(x + self.PAD, where, line, SMALL, "start", bold=not number, dim=number > 0)
        left = x + (self.width - self.inner.width) / 2
        canvas.wire((x, y), (left, y))
        if self.goes:
            canvas.wire((left + self.inner.width, y), (x + self.width, y))
        self.inner.draw(canvas, left, y)
