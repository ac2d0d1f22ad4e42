"""Where the parts of a network go in a picture. Everything flows from left to right along an axis."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from ..layers.tracing import Record
from .structure import Block, Chain, Dense, Fork, Heads, Op, Part, Repeat, Web, records
from .svg import HUES, Canvas, text_width

SMALL, LINE, PAD = 9.5, 11.5, 9.0
"""Size of the labels, distance of their lines, room for the arrows on each side of a box; pixels."""
STRIP = 4.0
"""Width of what a batch norm or a ReLU adds to the box beside it."""


class Look(Protocol):
    """What boxes look like and say."""

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


class Element:
    """Something with a width, and a reach above and below the axis on which a wire comes in and goes out."""

    width = up = down = 0.0

    def draw(self, canvas: Canvas, x: float, y: float) -> None:
        """Paint it. x: its left side. y: its axis."""
        raise NotImplementedError


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
        with canvas.titled(self.look.about(self.op)):
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


class Fan(Element):
    """Branches side by side; a sum's shortcut runs above its body."""

    LEAD = 10.0
    GAP = 7.0

    def __init__(self, branches: list[Element], join: Op | None, look: Look) -> None:
        self.branches, self.join, self.look = branches, join, look
        self.sum = join is not None and look.kind(join) == "join" and join.record.kind == "Add"
        if self.sum:  # the longest way is the axis, the shortcuts run above it
            self.branches = sorted(branches, key=lambda branch: branch.width)
        self.offsets = []
        y = 0.0
        for branch in self.branches:
            self.offsets.append(y + branch.up)
            y += branch.up + branch.down + self.GAP
        axis = self.offsets[-1] if self.sum else (self.offsets[0] + self.offsets[-1]) / 2
        self.offsets = [offset - axis for offset in self.offsets]
        self.inner = max(branch.width for branch in self.branches)
        self.strips = [] if join is None else look.strips(join.after)
        self.join_width = (18.0 if self.sum else 8.0 if join else 0.0) + (STRIP * len(self.strips) + 4) * bool(
            self.strips
        )
        self.width = 2 * self.LEAD + self.inner + self.join_width + 4
        self.up = axis + 4
        self.down = max(y - self.GAP - axis, 12)

    def draw(self, canvas: Canvas, x: float, y: float) -> None:
        fork, start = x + 4, x + self.LEAD
        meet = start + self.inner + self.LEAD
        canvas.wire((x, y), (fork, y))
        canvas.wire((fork, y + min(0, *self.offsets)), (fork, y + max(0, *self.offsets)))
        canvas.dot(fork, y)
        for branch, offset in zip(self.branches, self.offsets):
            left, level = start + (self.inner - branch.width) / 2, y + offset
            canvas.wire((fork, level), (left, level))
            if not self.sum:
                canvas.wire((left + branch.width, level), (meet, level), tip=self.join is not None)
            elif offset:
                canvas.wire((left + branch.width, level), (meet + 8, level), (meet + 8, y - 8), tip=True)
            else:
                canvas.wire((left + branch.width, level), (meet, level), tip=True)
            branch.draw(canvas, left, level)
        end = meet
        if self.join is not None:
            end = self._join(canvas, meet, y)
        else:
            canvas.wire((meet, y + min(0, *self.offsets)), (meet, y + max(0, *self.offsets)))
        canvas.wire((end, y), (x + self.width, y))

    def _join(self, canvas: Canvas, x: float, y: float) -> float:
        assert self.join is not None
        names = [record.path or record.kind for record in self.join.records]
        with canvas.titled(self.look.about(self.join)):
            if self.sum:
                canvas.circle(x + 8, y, 8, "join", names)
                canvas.plus(x + 8, y, 3.5)
                canvas.kinds["join"] = None
                x += 18
            else:
                top, bottom = min(self.offsets) - 8, max(self.offsets) + 8
                canvas.box(x, y + top, 8, bottom - top, "join", names)
                x += 8
            for kind in self.strips:
                canvas.wire((x - 2, y), (x + 4, y))
                canvas.box(x + 2, y - 8, STRIP, 16, kind)
                x += STRIP
        return x + (2 if self.strips else 0)


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


class DenseRow(Element):
    """A dense block: from the input and from each layer an arc to every later one."""

    POINT = 16.0
    RISE = 13.0
    SKIP = 70.0

    def __init__(self, bodies: list[Element], missing: int, joins: Sequence[Sequence[str]]) -> None:
        """bodies: the layers to draw. missing: how many are left out before the last. joins: the names at each point."""
        self.bodies, self.missing, self.joins = bodies, missing, joins
        self.width = sum(body.width for body in bodies) + self.POINT * (len(bodies) + 1) + (self.SKIP if missing else 0)
        self.reach = max(body.up for body in bodies) + 6
        self.up = self.reach + self.RISE * (len(bodies) + bool(missing) - 1)
        self.down = max(body.down for body in bodies)

    def draw(self, canvas: Canvas, x: float, y: float) -> None:
        points = [x + self.POINT / 2]
        place = x + self.POINT
        canvas.wire((x, y), (place, y))
        for number, body in enumerate(self.bodies):
            if self.missing and number == len(self.bodies) - 1:
                canvas.text(place + (self.SKIP - 16) / 2, y + 16, f"{self.missing} more", SMALL, dim=True)
                for step in range(3):
                    canvas.dot(place + (self.SKIP - 16) / 2 - 10 + 10 * step, y)
                place += self.SKIP
                points.append(place - self.POINT / 2)
                canvas.wire((place - self.POINT, y), (place, y))
            body.draw(canvas, place, y)
            place += body.width
            points.append(place + self.POINT / 2)
            canvas.wire((place, y), (place + self.POINT, y))
            place += self.POINT
        for first, start in enumerate(points):
            for second, end in enumerate(points[first + 1 :], first + 1):
                height = self.reach + self.RISE * (second - first - 1)
                canvas.arc((start, y), (end, y), height, HUES[first % len(HUES)])
        for point, names in zip(points[1:], self.joins):
            with canvas.titled("concatenation: " + ", ".join(names)):
                canvas.circle(point, y, 3.2, "join", names)
        canvas.dot(points[0], y)


class WebGrid(Element):
    """Layers in columns by how far they are from the input, with a curve for each connection."""

    BETWEEN = 26.0

    def __init__(self, parts: list[Element], reads: list[tuple[int, ...]], ends: list[int]) -> None:
        self.parts: list[Element] = [*parts, Wire()]
        self.edges = [(read, reader) for reader, several in enumerate(reads) for read in several]
        last = len(parts)
        self.edges += [(end, last) for end in ends]
        rank = {-1: -1}
        for number in range(last + 1):  # in running order: what is read comes first
            rank[number] = 1 + max(rank[read] for read, reader in self.edges if reader == number)
        # A connection that passes columns gets a place in each of them, so that it runs between the boxes.
        links: list[tuple[int, int]] = []
        columns: list[list[int]] = [[] for _ in range(rank[last] + 1)]
        for number in range(last + 1):
            columns[rank[number]].append(number)
        for read, reader in self.edges:
            before = read
            for column in range(rank[read] + 1, rank[reader]):
                self.parts.append(Wire())
                columns[column].append(len(self.parts) - 1)
                links.append((before, len(self.parts) - 1))
                before = len(self.parts) - 1
            links.append((before, reader))
        self.links, self.columns = links, columns
        self.level: dict[int, float] = {-1: 0.0}
        for several in columns:
            self._stack(several)
        self.level[last] = 0.0  # the end is on the axis
        self.widths = [max(self.parts[number].width for number in several) for several in columns]
        self.width = sum(self.widths) + self.BETWEEN * len(columns)
        numbers = [number for several in columns for number in several]
        self.up = max(self.parts[n].up - self.level[n] for n in numbers)
        self.down = max(self.parts[n].down + self.level[n] for n in numbers)

    def _stack(self, column: list[int]) -> None:
        """Set the levels in a column, in the order of the mean level of what each reads."""

        def mean(number: int) -> float:
            levels = [self.level[read] for read, reader in self.links if reader == number]
            return sum(levels) / len(levels)

        column.sort(key=mean)
        height = sum(self.parts[n].up + self.parts[n].down for n in column) + 8 * (len(column) - 1)
        y = (mean(column[0]) - self.parts[column[0]].up) if len(column) == 1 else -height / 2
        for number in column:
            self.level[number] = y + self.parts[number].up
            y += self.parts[number].up + self.parts[number].down + 8

    def draw(self, canvas: Canvas, x: float, y: float) -> None:
        ports = {-1: (x, y)}
        place = x + self.BETWEEN
        for column, width in zip(self.columns, self.widths):
            for number in column:
                part, level = self.parts[number], y + self.level[number]
                for read, reader in self.links:
                    if reader == number:
                        canvas.curve(ports[read], (place, level))
                left = place + (width - part.width) / 2
                canvas.wire((place, level), (left, level))
                part.draw(canvas, left, level)
                canvas.wire((left + part.width, level), (place + width, level))
                ports[number] = (place + width, level)
            place += width + self.BETWEEN


def arrange(part: Part, look: Look, framed: bool = False) -> Element:
    """The element for a part. framed: whether a frame is around it already."""
    if isinstance(part, Op):
        return Slab(part, look)
    if isinstance(part, Chain):
        items = [arrange(inner, look, framed) for inner in part.parts]
        return items[0] if len(items) == 1 and not isinstance(items[0], Hanging) else Row(items) if items else Wire()
    if isinstance(part, Fork):
        return Fan([arrange(branch, look, True) for branch in part.branches], part.join, look)
    if isinstance(part, Web):
        return WebGrid([arrange(inner, look, framed) for inner in part.parts], part.reads, part.ends)
    if isinstance(part, Heads):
        return Hanging([_head(chain, look) for chain in part.chains])
    if isinstance(part, Dense):
        return Frame(_dense_row(part, look), look.caption(part))
    if isinstance(part, Repeat):
        if isinstance(part.part, Op):
            names = [record.path for op in (part.part, *part.others) for record in records(op)]
            return Slab(part.part, look, 1 + len(part.others), names)
        inner = part.part.inner if isinstance(part.part, Block) else part.part
        return Frame(arrange(inner, look, True), look.caption(part))
    inner_element = arrange(part.inner, look, True)
    return inner_element if framed else Frame(inner_element, look.caption(part))


def ends(items: Sequence[Element]) -> None:
    """Let no wire leave the last box of a chain."""
    if items and isinstance(items[-1], Slab):
        items[-1].goes = False


def _head(chain: Chain, look: Look) -> Element:
    items = [arrange(part, look, True) for part in chain.parts]
    ends(items)
    return Frame(Row(items), look.caption(chain), goes=False)


SHOWN = 3
"""How many layers of a longer dense block are drawn: the first ones and the last."""


def _dense_row(part: Dense, look: Look) -> Element:
    count = len(part.steps)
    chosen = list(range(count)) if count <= SHOWN + 1 else [*range(SHOWN - 1), count - 1]
    bodies = [arrange(part.body(number), look, True) for number in chosen]
    missing = count - len(chosen)

    def joined(number: int) -> list[str]:
        fork = part.steps[number].inner.parts[0]
        assert isinstance(fork, Fork) and fork.join is not None
        return [record.path for record in fork.join.records]

    joins = [joined(number) for number in chosen]
    if missing:  # the point behind the gap stands for all that were left out
        between = part.steps[SHOWN - 1 : count - 1]
        left_out = [record.path for step in between for record in records(step) if record.leaf]
        joins.insert(SHOWN - 1, left_out)
    return DenseRow(bodies, missing, joins)


def in_rows(items: list[Element], gap: float, aspect: float, widest: float) -> list[Row]:
    """Split a chain so that the rows are about equally long and the whole about `aspect` times as wide as high."""
    whole = Row(items, gap)
    height = whole.up + whole.down + 30
    count = max(round((whole.width / (aspect * height)) ** 0.5), -(-int(whole.width) // int(widest)), 1)
    low, high = max(item.width for item in items), whole.width
    for _ in range(20):  # the least width that `count` rows can do with
        middle = (low + high) / 2
        low, high = (low, middle) if len(_split(items, gap, middle)) <= count else (middle, high)
    return [Row(row, gap) for row in _split(items, gap, high)]


def _split(items: list[Element], gap: float, width: float) -> list[list[Element]]:
    rows: list[list[Element]] = [[]]
    used = 0.0
    for item in items:
        if rows[-1] and not isinstance(item, Hanging) and used + item.width > width + 0.01:
            rows.append([])
            used = 0.0
        rows[-1].append(item)
        used += item.width + (0 if isinstance(item, Hanging) else gap)
    return rows
