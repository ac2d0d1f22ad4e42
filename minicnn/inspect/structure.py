"""What a diagram draws: a network taken apart into boxes, chains, forks and blocks, read from the containers' `nodes()`.

Two rules keep pictures readable: what works on single numbers (batch norm, ReLU, dropout, ...) becomes part of the box
beside it, and equal things in a row are drawn once. Nothing is left out: every layer that ran is named by some part.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

from ..layers import Add, Cat, Flatten, Identity, Trace
from ..layers.containers import Container
from ..layers.containers import Sequential as Chained
from ..layers.tracing import Record

LEAST_EQUAL = 5
"""From so many equal single boxes in a row on they are drawn once; equal blocks from two on."""


@dataclass
class Op:
    """One box: a layer, and the small ones that belong to it."""

    record: Record
    before: list[Record] = field(default_factory=list)
    after: list[Record] = field(default_factory=list)

    @property
    def records(self) -> list[Record]:
        return [*self.before, self.record, *self.after]


@dataclass
class Chain:
    """Parts one behind the other. An empty one is a wire."""

    parts: list[Part] = field(default_factory=list)


@dataclass
class Fork:
    """Branches side by side, and the layer that joins them; without one they simply meet."""

    branches: list[Chain]
    join: Op | None


@dataclass
class Web:
    """Layers that are neither a chain nor a fork: what each reads, by number; -1 is what comes in."""

    parts: list[Chain]
    reads: list[tuple[int, ...]]
    ends: list[int]
    """Those whose output goes on."""


@dataclass
class Block:
    """A container that is drawn with a frame around it."""

    record: Record
    inner: Chain


@dataclass
class Repeat:
    """Equal parts in a row: the first is drawn."""

    part: Part
    others: list[Part]


@dataclass
class Dense:
    """Layers each of which adds channels to what came in: a dense block."""

    steps: list[Block]

    def body(self, number: int) -> Chain:
        """What computes the new channels of a step."""
        fork = self.steps[number].inner.parts[0]
        assert isinstance(fork, Fork)
        return next(branch for branch in fork.branches if branch.parts)


@dataclass
class Heads:
    """Chains that leave the main way here and do not come back: auxiliary classifiers."""

    chains: list[Chain]


Part = Op | Chain | Fork | Web | Block | Repeat | Dense | Heads
_Node = tuple[Record, tuple[str, ...]]


def structure(traced: Trace) -> Chain:
    """The parts of a network that ran."""
    return _Reader(traced.records).root()


def records(part: Part) -> Iterator[Record]:
    """Every layer that a part stands for, the repeated ones included; containers when they have a frame."""
    if isinstance(part, Op):
        yield from part.records
    elif isinstance(part, Block):
        yield part.record
        yield from records(part.inner)
    else:
        for inner in _inside(part):
            yield from records(inner)


def _inside(part: Part) -> Sequence[Part]:
    if isinstance(part, Chain):
        return part.parts
    if isinstance(part, Fork):
        return [*part.branches, *([part.join] if part.join else [])]
    if isinstance(part, Web):
        return part.parts
    if isinstance(part, Repeat):
        return [part.part, *part.others]
    if isinstance(part, Dense):
        return part.steps
    if isinstance(part, Heads):
        return part.chains
    return []


def branched(part: Part) -> bool:
    """Whether there is anything but boxes in a row."""
    if isinstance(part, Repeat):
        return branched(part.part)
    return any(branched(inner) for inner in part.parts) if isinstance(part, Chain) else not isinstance(part, Op)


def like(part: Part) -> object:
    """What two parts have in common that are drawn the same."""
    if isinstance(part, Op):
        return tuple([(r.kind, r.layer.extra_repr(), r.inputs, r.outputs) for r in part.records]), len(part.before)
    if isinstance(part, Block):
        return part.record.kind, like(part.inner)
    links = (part.reads, part.ends) if isinstance(part, Web) else None
    return type(part).__name__, tuple([like(inner) for inner in _inside(part)]), str(links)


def opens(record: Record) -> bool:
    """Whether a layer is a container that runs as its `nodes()` say, so that it can be drawn from them."""
    layer = record.layer
    return (
        isinstance(layer, Container)
        and type(layer).forward is Container.forward
        and "forward" not in vars(layer)
        and not record.leaf
    )


def small(record: Record) -> bool:
    """Whether a layer of minicnn's own works number by number, so that it needs no box: ReLU, batch norm, Flatten, ..."""
    layer = record.layer
    own = type(layer).__module__.startswith("minicnn.layers.") and len(record.inputs) == 1 and record.leaf
    if not own or isinstance(layer, (Add, Cat)):
        return False
    return isinstance(layer, Flatten) or (
        record.input == record.output
        and (len(record.input) != 3 or layer.window(record.input) is None)
        and not layer.macs(record.input, record.output)
    )


class _Reader:
    def __init__(self, records: list[Record]) -> None:
        self.records = records
        self.children: dict[int, list[Record]] = {}
        for record in records:
            self.children.setdefault(record.parent, []).append(record)

    def root(self) -> Chain:
        top = self.records[0]
        if opens(top):
            return self.open(top)
        if top.leaf:
            return Chain([Op(top)])
        return self.by_flow(top)  # somebody's own network: one box would say nothing

    def open(self, record: Record) -> Chain:
        """The parts of a container."""
        layer = record.layer
        assert isinstance(layer, Container)
        called = list(self.children.get(record.index, []))
        nodes: dict[str, _Node] = {}
        for node in layer.nodes():
            place = next((i for i, child in enumerate(called) if child.layer is node.layer), None)
            if place is not None:  # else nothing reads it, and it did not run
                nodes[node.name] = (called.pop(place), node.inputs)
        return self.compose(nodes, [name for name in layer.outputs if name in nodes][:1])

    def by_flow(self, top: Record) -> Chain:
        """The parts of a layer with a forward of its own, from who read whose output."""
        own = {record.index: record for record in self.children[top.index]}
        above: dict[int, int] = {}
        for record in self.records[1:]:
            above[record.index] = record.index if record.index in own else above[record.parent]
        reads: dict[int, dict[str, None]] = {index: {} for index in own}
        for record in self.records[1:]:
            for source in record.sources if record.leaf else ():
                reader, giver = above[record.index], above.get(source, -1)
                if reader != giver:
                    reads[reader][str(giver)] = None
        nodes = {str(index): (record, tuple(reads[index])) for index, record in own.items()}
        return self.compose(nodes, [list(nodes)[-1]])

    def compose(self, nodes: dict[str, _Node], outputs: list[str]) -> Chain:
        """A chain from a graph: the way to the output, with what leaves it and does not come back as heads."""
        wanted = set(outputs)
        for name, (_, reads) in reversed(nodes.items()):
            if name in wanted:
                wanted.update(reads)
        main = [name for name in nodes if name in wanted] or list(nodes)
        heads: dict[str, list[Chain]] = {}
        for group in _groups([name for name in nodes if name not in main], nodes):
            sources = [read for name in group for read in nodes[name][1] if read in main]
            chain = self.section(group, nodes, set(group[-1:]), {})
            heads.setdefault(sources[0] if sources else "", []).append(chain)  # "" is the input
        whole = self.section(main, nodes, set(outputs) & set(main), heads)
        return Chain([Heads(heads[""]), *whole.parts]) if "" in heads else whole

    def section(
        self, names: list[str], nodes: dict[str, _Node], ends: set[str], heads: dict[str, list[Chain]],
        wires: bool = False,
    ) -> Chain:  # fmt: skip
        """Names in running order -> a chain. It is cut wherever everything passes through one node.

        wires: whether Identity alone may become an empty chain.
        """
        inside, parts = set(names), []
        last: dict[str, int] = {}
        for place, name in enumerate(names):
            for read in nodes[name][1]:
                last[read if read in inside else ""] = place
        for name in ends:
            last[name] = len(names)
        waiting: list[str] = []
        cut = ""
        for place, name in enumerate(names):
            waiting.append(name)
            if all(last.get(other, -1) <= place for other in (cut, *waiting[:-1])):
                if len(waiting) > 1:
                    parts += self.fork(waiting[:-1], name, nodes, cut)
                else:
                    parts += self.node(nodes[name][0])
                hanging = [chain for other in waiting for chain in heads.get(other, ())]
                if hanging:
                    parts.append(Heads(hanging))
                waiting, cut = [], name
        if waiting:
            groups = _groups(waiting, nodes)
            if len(groups) == 1:
                parts.append(self.web(waiting, nodes, ends))
            else:
                branches = [self.section(group, nodes, ends & set(group), heads) for group in groups]
                parts.append(Fork(branches + ([Chain()] if cut in ends else []), None))
        return tidy(Chain(parts), wires)

    def fork(self, names: list[str], join: str, nodes: dict[str, _Node], cut: str) -> list[Part]:
        """What lies between a cut and the next one, `join`."""
        record, reads = nodes[join]
        groups = _groups(names, nodes)
        branches: list[Chain] = []
        done: list[list[str]] = []
        passed: list[Record] = []  # Identity: the branch is a wire, and the join names it
        for read in reads:
            group = next((group for group in groups if read in group), None)
            if group is None:
                branches.append(Chain())
            elif group not in done:
                done.append(group)
                ends = set(reads) & set(group)
                branches.append(self.section(group, nodes, ends, {}, wires=True))
                if not branches[-1].parts:
                    passed += [nodes[name][0] for name in group]
        joins = record.leaf and isinstance(record.layer, (Add, Cat))
        if len(branches) == 1:  # all in one piece that cannot be cut
            return [*branches[0].parts, *([Op(record)] if joins else self.node(record))]
        return [Fork(branches, Op(record, before=passed))] if joins else [Fork(branches, None), *self.node(record)]

    def web(self, names: list[str], nodes: dict[str, _Node], ends: set[str]) -> Web:
        number = {name: place for place, name in enumerate(names)}
        reads = [tuple(dict.fromkeys([number.get(read, -1) for read in nodes[name][1]])) for name in names]
        chains = [Chain(self.node(nodes[name][0])) for name in names]
        return Web(chains, reads, [number[name] for name in names if name in ends] or [len(names) - 1])

    def node(self, record: Record) -> list[Part]:
        """A layer as parts: a chain's own, or one block, or one box."""
        if not opens(record):
            return [Op(record)]
        inner = self.open(record)
        return list(inner.parts) if isinstance(record.layer, Chained) else [Block(record, inner)]


def _groups(names: list[str], nodes: dict[str, _Node]) -> list[list[str]]:
    """The names in groups that do not read each other."""
    group = {name: [name] for name in names}
    for name in names:
        for read in nodes[name][1]:
            if read in group and group[read] is not group[name]:
                joined = group[read] + group[name]
                for member in joined:
                    group[member] = joined
    return [sorted(each, key=names.index) for each in {id(each): each for each in group.values()}.values()]


def tidy(chain: Chain, wires: bool = False) -> Chain:
    """Small layers go into the boxes beside them, dense layers into dense blocks, equal parts are folded."""
    if wires and all(isinstance(part, Op) and isinstance(part.record.layer, Identity) for part in chain.parts):
        return Chain()
    return Chain(_folded(_dense(_absorbed(chain.parts))))


def _absorbed(parts: Sequence[Part]) -> list[Part]:
    """Small layers belong to the box before them; where a chain begins with one (pre-activation), to the box behind."""
    done: list[Part] = []
    pending: list[Record] = []
    leads = bool(parts) and isinstance(parts[0], Op) and small(parts[0].record)
    for part in parts:
        if isinstance(part, Op) and small(part.record) and not (part.before or part.after):
            last = done[-1] if done else None
            taker = last if isinstance(last, Op) else last.join if isinstance(last, Fork) else None
            if taker is not None and not leads and not pending:
                taker.after.append(part.record)
            else:
                pending.append(part.record)
            continue
        if pending:
            if isinstance(part, Op):
                part = replace(part, before=[*pending, *part.before])
            else:
                done.append(Op(pending[0], after=pending[1:]))
            pending = []
        done.append(part)
    if pending:
        last = done[-1] if done else None
        if isinstance(last, Op):
            last.after.extend(pending)
        else:
            done.append(Op(pending[0], after=pending[1:]))
    return done


def _dense(parts: list[Part]) -> list[Part]:
    done: list[Part] = []
    for part in parts:
        if not _grows(part):
            done.append(part)
        elif done and isinstance(done[-1], Dense):
            done[-1].steps.append(part)  # type: ignore[arg-type]
        else:
            done.append(Dense([part]))  # type: ignore[list-item]
    return [part.steps[0] if isinstance(part, Dense) and len(part.steps) == 1 else part for part in done]


def _grows(part: Part) -> bool:
    """Whether a block passes its input on and puts new channels behind it."""
    if not isinstance(part, Block) or len(part.inner.parts) != 1:
        return False
    fork = part.inner.parts[0]
    return (
        isinstance(fork, Fork) and fork.join is not None and isinstance(fork.join.record.layer, Cat)
        and len(fork.branches) == 2 and sum(not branch.parts for branch in fork.branches) == 1
    )  # fmt: skip


def _folded(parts: list[Part]) -> list[Part]:
    done: list[Part] = []
    for part in parts:
        last = done[-1] if done else None
        first = last.part if isinstance(last, Repeat) else last
        if first is not None and not isinstance(part, (Heads, Dense)) and like(first) == like(part):
            if isinstance(last, Repeat):
                last.others.append(part)
            else:
                done[-1] = Repeat(first, [part])
        else:
            done.append(part)
    unfolded: list[Part] = []
    for part in done:
        if isinstance(part, Repeat) and isinstance(part.part, Op) and len(part.others) + 1 < LEAST_EQUAL:
            unfolded += [part.part, *part.others]
        else:
            unfolded.append(part)
    return unfolded
