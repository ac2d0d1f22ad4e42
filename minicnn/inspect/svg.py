"""A canvas for SVG pictures. It knows where everything lies, so that nothing is cut off and tests can see overlaps."""

from __future__ import annotations

import base64
import contextlib
from collections.abc import Iterator, Sequence
from html import escape as escape_signs
from pathlib import Path
from typing import NamedTuple

from ..errors import check
from ..io.files import replacing
from ..layers.tracing import printable

Point = tuple[float, float]

FILLS = {
    "input": "#cfd6dd", "conv": "#f3c25f", "pool": "#e07a6e", "linear": "#77aee0", "join": "#8592a0", "norm": "#a78bd6",
    "activation": "#3fa27f", "dropout": "#b0b0b0", "other": "#c3cf8a",
}  # fmt: skip
"""The colour of each kind of layer; they stand out on white and on black."""
HUES = ("#d07f22", "#3d84c6", "#379a6c", "#a062c4", "#c2504c", "#8a8f2e")
"""Colours of lines that have to be told apart."""

STYLE = """
.m-page{fill:#fff}.m-text{fill:#1f2328}.m-dim{fill:#59636e}.m-wire{fill:none;stroke:#59636e;stroke-width:1.1}
.m-tip{fill:#59636e}.m-frame{fill:#8592a0;fill-opacity:.09;stroke:#8592a0;stroke-dasharray:4 3}
.m-outline{fill:none;stroke:#1f2328;stroke-width:2}.m-box{stroke:#30363d;stroke-width:.7;stroke-linejoin:round}.m-arc{fill:none;stroke-width:1.3}
.m-text,.m-dim{font-family:Helvetica,Arial,sans-serif}
@media (prefers-color-scheme:dark){.m-page{fill:#0d1117}.m-text{fill:#e6edf3}.m-dim{fill:#9aa4af}
.m-outline{stroke:#e6edf3}.m-wire{stroke:#9aa4af}.m-tip{fill:#9aa4af}}"""

_NARROW, _WIDE = set("ijl.,:;|!'()[]{}/ tfrI-"), set("mwMW@%")


def text_width(text: str, size: float) -> float:
    """About how wide a text is in pixels: rather too much, because the reader's font is not known."""
    units = sum(0.38 if c in _NARROW else 0.95 if c in _WIDE or ord(c) > 0x2000 else 0.63 for c in text)
    return size * units


def escape(text: str) -> str:
    """The text for an SVG file, whatever is in it: control characters, which XML knows no way to write, are spelt out."""
    return escape_signs("\n".join(map(printable, text.split("\n"))))


def _number(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")


class Box(NamedTuple):
    """Where something lies, in pixels, and the paths of the layers that it stands for."""

    x: float
    y: float
    width: float
    height: float
    names: tuple[str, ...] = ()


class Canvas:
    """Shapes in the order in which they are painted. x grows to the right, y downwards; any origin will do."""

    def __init__(self) -> None:
        self.shapes: list[str] = []
        self.boxes: list[Box] = []
        """What stands for layers; these must not overlap."""
        self.texts: list[Box] = []
        self.kinds: dict[str, None] = {}
        """The kinds of boxes that were drawn, for the legend."""
        self._corners: list[Point] = []

    def _reach(self, *points: Point) -> None:
        self._corners.extend(points)

    @contextlib.contextmanager
    def titled(self, title: str) -> Iterator[None]:
        """What is drawn inside shows `title` under the mouse."""
        self.shapes.append(f"<g><title>{escape(title)}</title>")
        yield
        self.shapes.append("</g>")

    def box(self, x: float, y: float, width: float, height: float, kind: str, names: Sequence[str] = (), depth: float = 0,
            legend: bool = True) -> None:  # fmt: skip
        """A rectangle, or with `depth` the front and the top of a block that reaches so many pixels to the right and up.

        x, y, width, height: of the front. `side` adds the right side, once for blocks that stand side by side.
        """
        colour = f'class="m-box" fill="{FILLS[kind]}"'
        a, b, c, d = map(_number, (x, y, width, height))
        self.shapes.append(f'<rect x="{a}" y="{b}" width="{c}" height="{d}" {colour}/>')
        if depth:
            e = _number(depth)
            self.shapes.append(f'<path d="M{a} {b}l{e}-{e}h{c}l-{e} {e}z" {colour}/>')
        if names:
            self.boxes.append(Box(x, y - depth, width + depth, height + depth, tuple(names)))
        if legend:
            self.kinds[kind] = None
        self._reach((x, y - depth), (x + width + depth, y + height))

    def side(self, x: float, y: float, height: float, depth: float, kind: str) -> None:
        """The right side of a block, in the shade. x, y: the upper right corner of its front."""
        if depth:
            e, h = _number(depth), _number(height)
            path = f'<path d="M{_number(x)} {_number(y)}l{e}-{e}v{h}l-{e} {e}z" '
            self.shapes.append(f'{path}class="m-box" fill="{FILLS[kind]}"/>{path}fill-opacity=".2"/>')

    def circle(self, x: float, y: float, radius: float, kind: str, names: Sequence[str] = ()) -> None:
        self.shapes.append(
            f'<circle cx="{_number(x)}" cy="{_number(y)}" r="{_number(radius)}" class="m-box" fill="{FILLS[kind]}"/>'
        )
        if names:
            self.boxes.append(Box(x - radius, y - radius, 2 * radius, 2 * radius, tuple(names)))
        self._reach((x - radius, y - radius), (x + radius, y + radius))

    def plus(self, x: float, y: float, reach: float) -> None:
        """A white plus sign."""
        a, b, c = _number(x - reach), _number(y), _number(2 * reach)
        path = f"M{a} {b}h{c}M{_number(x)} {_number(y - reach)}v{c}"
        self.shapes.append(f'<path d="{path}" stroke="#fff" stroke-width="1.6"/>')

    def area(self, x: float, y: float, width: float, height: float, colour: str, opacity: float = 0.25) -> None:
        """A rectangle in a colour of its own, see-through, with a firm border."""
        a, b, c, d = map(_number, (x, y, width, height))
        self.shapes.append(
            f'<rect x="{a}" y="{b}" width="{c}" height="{d}" fill="{colour}" fill-opacity="{opacity}" stroke="{colour}"/>'
        )
        self._reach((x, y), (x + width, y + height))

    def name(self, x: float, y: float, width: float, height: float, *names: str) -> None:
        """Remember what layers a region stands for."""
        self.boxes.append(Box(x, y, width, height, names))

    def frame(self, x: float, y: float, width: float, height: float) -> None:
        a, b, c, d = map(_number, (x, y, width, height))
        self.shapes.append(f'<rect x="{a}" y="{b}" width="{c}" height="{d}" rx="5" class="m-frame"/>')
        self._reach((x, y), (x + width, y + height))

    def outline(self, x: float, y: float, width: float, height: float) -> None:
        """A firm border around what is there already."""
        a, b, c, d = map(_number, (x, y, width, height))
        self.shapes.append(f'<rect x="{a}" y="{b}" width="{c}" height="{d}" class="m-outline"/>')
        self._reach((x, y), (x + width, y + height))

    def wire(self, *points: Point, tip: bool = False) -> None:
        """A line through the points, with an arrowhead at the last one."""
        path = "M" + "L".join(f"{_number(x)} {_number(y)}" for x, y in points)
        self.shapes.append(f'<path d="{path}" class="m-wire"/>')
        if tip:
            (x, y), (before, above) = points[-1], points[-2]
            along, down = (x > before) - (x < before), (y > above) - (y < above)  # the direction: -1, 0 or 1 each
            corners = (
                (0, 0),
                (-5 * along - 3 * down, -5 * down - 3 * along),
                (-5 * along + 3 * down, -5 * down + 3 * along),
            )
            head = " ".join(f"{_number(x + dx)},{_number(y + dy)}" for dx, dy in corners)
            self.shapes.append(f'<polygon points="{head}" class="m-tip"/>')
        self._reach(*points)

    def curve(self, start: Point, end: Point) -> None:
        """A line that leaves and arrives horizontally."""
        middle = (start[0] + end[0]) / 2
        rest = " ".join(map(_number, (middle, start[1], middle, end[1], *end)))
        self.shapes.append(f'<path d="M{_number(start[0])} {_number(start[1])}C{rest}" class="m-wire"/>')
        self._reach(start, end)

    def arc(self, start: Point, end: Point, height: float, colour: str) -> None:
        """A bow over what lies between two points; `height` pixels high."""
        y = min(start[1], end[1]) - height / 0.75
        numbers = (start[0], y, end[0], y, *end)
        self.shapes.append(
            f'<path d="M{_number(start[0])} {_number(start[1])}C{" ".join(map(_number, numbers))}" class="m-arc" '
            f'stroke="{colour}"/>'
        )
        self._reach(start, end, (start[0], min(start[1], end[1]) - height))

    def dot(self, x: float, y: float) -> None:
        self.shapes.append(f'<circle cx="{_number(x)}" cy="{_number(y)}" r="2.6" class="m-tip"/>')

    def text(
        self, x: float, y: float, text: str, size: float = 9.5, anchor: str = "middle", *, dim: bool = False,
        bold: bool = False,
    ) -> None:  # fmt: skip
        """A line of text, unless it is empty. y: its baseline. anchor: start, middle or end."""
        if not text:
            return
        weight = ' font-weight="bold"' if bold else ""
        width = text_width(text, size) * (1.08 if bold else 1)
        left = x - width * {"start": 0, "middle": 0.5, "end": 1}[anchor]
        self.shapes.append(
            f'<text x="{_number(x)}" y="{_number(y)}" font-size="{_number(size)}" text-anchor="{anchor}"{weight} '
            f'class="{"m-dim" if dim else "m-text"}">{escape(text)}</text>'
        )
        self.texts.append(Box(left, y - 0.75 * size, width, size))
        self._reach((left, y - 0.8 * size), (left + width, y + 0.25 * size))

    def cells(self, x: float, y: float, cell: float, count: int, height: float, colour: str, opacity: float) -> None:
        """`count` boxes of equal width side by side, as one shape; without gaps where they are too narrow for any."""
        gap = f' stroke-dasharray="{cell - 1:.3f} 1"' if cell >= 4 else ""
        self.shapes.append(
            f'<path d="M{x:.2f} {_number(y + height / 2)}h{cell * count:.2f}" stroke="{colour}" stroke-opacity="{opacity}" '
            f'stroke-width="{_number(height)}"{gap}/>'
        )
        self._reach((x, y), (x + cell * count, y + height))

    def include(self, other: Canvas, attributes: str = "") -> None:
        """All of another canvas, as one group. attributes: of its element."""
        self.shapes += [f"<g{attributes}>", *other.shapes, "</g>"]
        self.boxes += other.boxes
        self.texts += other.texts
        self.reach(other)

    def reach(self, other: Canvas) -> None:
        """Grow to where another canvas reaches, without drawing it."""
        self._corners += other._corners

    @property
    def bounds(self) -> Box:
        """The smallest rectangle around everything."""
        xs, ys = [x for x, _ in self._corners], [y for _, y in self._corners]
        return Box(min(xs), min(ys), max(xs) - min(xs), max(ys) - min(ys))

    def view(self, margin: float = 14) -> Box:
        """What the picture shows: the bounds and a margin, in whole pixels."""
        x, y, width, height, _ = self.bounds
        left, top = int(x - margin) - 1, int(y - margin) - 1
        return Box(left, top, int(x + width + margin) + 1 - left, int(y + height + margin) + 1 - top)

    def to_svg(self, title: str) -> str:
        """The picture as the text of an SVG file."""
        x, y, width, height, _ = self.view()
        head = (
            f'<svg xmlns="http://www.w3.org/2000/svg" role="img" width="{width}" height="{height}" '
            f'viewBox="{x} {y} {width} {height}">\n<title>{escape(title)}</title>\n<style>{STYLE}\n</style>\n'
            f'<rect x="{x}" y="{y}" width="{width}" height="{height}" class="m-page"/>\n'
        )
        return head + "\n".join(self.shapes) + "\n</svg>\n"


class Picture:
    """An SVG picture. Notebooks show it by themselves; `print` gives its text, `save` writes it."""

    def __init__(self, canvas: Canvas, title: str) -> None:
        self.title = title
        self.svg = canvas.to_svg(title)
        """The text of the SVG file."""
        self.boxes, self.texts = canvas.boxes, canvas.texts
        """Where the layers and the labels lie, in the coordinates of the viewBox."""
        self.view = canvas.view()

    def save(self, path: str | Path) -> None:
        """Write the .svg file, whole or not at all. Raises ArgumentError, or CheckpointError where the disk refuses."""
        check(Path(path).suffix.lower() == ".svg", f"save: the file is {str(path)!r}: its name must end in .svg")
        with replacing(path) as part:
            part.write_text(self.svg, encoding="utf-8")

    def _repr_html_(self) -> str:
        """As an image: what notebooks show of SVG itself before they are trusted is a refusal."""
        data = base64.b64encode(self.svg.encode()).decode()
        return f'<img alt="{escape(self.title)}" style="max-width:100%" src="data:image/svg+xml;base64,{data}"/>'

    def __str__(self) -> str:
        return self.svg

    def __repr__(self) -> str:
        return f"<Picture: {self.title}, {self.view.width:g}x{self.view.height:g}>"
