"""Where the parts of a network go in a picture: an element for each part, and the rows that the whole is split into."""

from __future__ import annotations

from collections.abc import Sequence

from .branches import DenseRow, Fan, WebGrid
from .elements import Element, Frame, Hanging, Look, Row, Slab, Wire
from .structure import Block, Chain, Dense, Fork, Heads, Op, Part, Repeat, Web, records


def arrange(part: Part, look: Look, framed: bool = False) -> Element:
    """The element for a part. framed: whether a frame is around it already."""
    if isinstance(part, Op):
        return Slab(part, look)
    if isinstance(part, Chain):
        items = [arrange(inner, look, framed) for inner in part.parts]
        return items[0] if len(items) == 1 and not isinstance(items[0], Hanging) else Row(items) if items else Wire()
    if isinstance(part, Fork):
        label = [] if framed or part.join is None else look.lines(part.join)
        return Fan([arrange(branch, look, True) for branch in part.branches], part.join, look, label)
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
        if isinstance(part.part, Block):
            return Frame(arrange(part.part.inner, look, True), look.caption(part))
        return Frame(arrange(part.part, look, not isinstance(part.part, Fork)), look.caption(part))
    inner_element = arrange(part.inner, look, True)
    return inner_element if framed else Frame(inner_element, look.caption(part))


def ends(items: Sequence[Element]) -> None:
    """Let no wire leave the last box or join of a chain."""
    if items and isinstance(items[-1], (Slab, Fan)):
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
