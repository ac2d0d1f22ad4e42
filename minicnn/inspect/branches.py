"""Elements in which the way parts: branches side by side, dense blocks, and graphs that are neither."""

from __future__ import annotations

from collections.abc import Sequence

from .elements import LINE, SMALL, STRIP, Element, Look, Wire
from .structure import Op
from .svg import HUES, Canvas, text_width


class Fan(Element):
    """Branches side by side; a sum's shortcut runs above its body."""

    LEAD = 10.0
    GAP = 7.0
    goes = True
    """Whether a wire leads away from it."""

    def __init__(self, branches: list[Element], join: Op | None, look: Look, label: Sequence[str] = ()) -> None:
        """label: stands behind the join, below the wire; for joins whose output no frame tells."""
        self.branches, self.join, self.look, self.label = branches, join, look, label
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
        self.label_width = max([text_width(line, SMALL) + 6 for line in label], default=0.0)
        self.width = 2 * self.LEAD + self.inner + self.join_width + 4 + self.label_width
        self.up = axis + 4
        self.down = max(y - self.GAP - axis, 12, LINE * (len(label) + 1))

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
        if self.goes or self.join is None:
            canvas.wire((end, y), (x + self.width, y))
        top = y + 3 if self.goes else y - LINE * len(self.label) / 2
        for number, line in enumerate(self.label):
            canvas.text(end + 5, top + LINE * number + 0.75 * LINE, line, SMALL, "start", dim=number > 0)

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
        canvas.kinds["join"] = None
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
