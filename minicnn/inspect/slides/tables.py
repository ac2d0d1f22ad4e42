"""Tables that several decks show, row by row: VGG's, GoogLeNet's, ResNet's and DenseNet's."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ...layers import Softmax
from ..summary import Row
from .claim import Claim, Holds, Kibi
from .measure import Net, hwc, info, net
from .worked import googlenet_parts

Reasons = Mapping[tuple[str, str], tuple[str | Callable[[], str], str]]
"""By (row, column) of GoogLeNet's table: why a cell is wrong, and the erratum that it stands for."""

TABLE_IS_OFF = "the paper's table is off; the count follows from its own widths"


def windows(*names: str) -> Callable[[], tuple[str, ...]]:
    """The different windows of the convolutions of some networks, the largest first."""

    def texts() -> tuple[str, ...]:
        found = {net(name).layer(row).kernel_size for name in names for row in net(name).convs}
        return tuple(f"{R}x{S}" for R, S in sorted(found, reverse=True))

    return texts


def vgg_column(letter: str) -> Callable[[], tuple[str, ...]]:
    """A column of VGG's table: from pool to pool the convolutions, such as "2 conv3-256, conv1-256"."""

    def cells() -> tuple[str, ...]:
        one = net(f"vgg_{letter}")
        stages: list[list[str]] = [[]]
        for row in one.of("Conv2d", "MaxPool2d"):
            if row.kind == "MaxPool2d":
                stages.append([])
            else:
                layer = one.layer(row)
                stages[-1].append(f"conv{layer.kernel_size[0]}-{layer.out_channels}")
        return tuple(_runs(stage) for stage in stages if stage)

    return cells


def _runs(words: list[str]) -> str:
    """Equal neighbours counted: "2 conv3-256, conv1-256"."""
    runs: list[tuple[str, int]] = []
    for word in words:
        if runs and runs[-1][0] == word:
            runs[-1] = (word, runs[-1][1] + 1)
        else:
            runs.append((word, 1))
    return ", ".join(word if count == 1 else f"{count} {word}" for word, count in runs)


def _widths(name: str) -> Callable[[], tuple[int, ...]]:
    """The filters of an inception module's convolutions, in the order of the table."""

    def widths() -> tuple[int, ...]:
        rows = [
            row for path in googlenet_parts()[name] for row in net("googlenet").inside(path) if row.kind == "Conv2d"
        ]
        return tuple(row.output_shape[0] for row in rows)

    return widths


def _parts(name: str) -> list[list[Row]]:
    """The rows of the summary, layer by layer, that a row of GoogLeNet's table stands for."""
    one, parts = net("googlenet"), googlenet_parts()
    if name in parts:
        return [one.inside(path) for path in parts[name]]
    if name == "softmax":  # the network gives the scores of the classes; the softmax is in the loss
        return [Net(Softmax(), one.summary.output_shape).rows]
    kind, _, number = name.partition(" ")
    outer = [row for row in one.rows if "." not in row.path and row.kind in WITHOUT_WEIGHTS[kind]]
    return [[outer[int(number or 1) - 1]]]


WITHOUT_WEIGHTS = {"maxpool": ("MaxPool2d",), "avgpool": ("GlobalAvgPool2d", "AvgPool2d"), "dropout": ("Dropout",)}
"""The kinds of layers that GoogLeNet's table has rows for beside its convolutions, modules and linear layer."""


def _output(name: str) -> Callable[[], tuple[int, ...]]:
    def output() -> tuple[int, ...]:
        shape = _parts(name)[-1][0].output_shape
        return hwc(shape) if len(shape) == 3 else (1, 1, *shape)

    return output


def _depth(name: str) -> Callable[[], int]:
    """The most convolutions and linear layers in any branch."""

    def depth() -> int:
        counts: dict[str, int] = {}
        for rows in _parts(name):
            for row in rows:
                if row.macs:
                    branch = row.path[len(rows[0].path) + 1 :].partition(".")[0] if name[0] in "345" else ""
                    counts[branch] = counts.get(branch, 0) + 1
        return max(counts.values(), default=0)

    return depth


def _weights(name: str) -> Callable[[], Kibi]:
    return lambda: Kibi(net("googlenet").weights(*googlenet_parts()[name]))


def _ops(name: str) -> Callable[[], int]:
    return lambda: net("googlenet").macs_of(*googlenet_parts()[name])


UNITS = "weights alone, in units of 1024"


WITH_WEIGHTS = ("conv1", "conv2", "3a", "3b", "4a", "4b", "4c", "4d", "4e", "5a", "5b", "linear")
"""The rows of the table that the worked example is about."""

WIDTHS = "#1x1, #3x3 reduce, #3x3, #5x5 reduce, #5x5, pool proj"


TITLES = {
    "conv1": "first convolution", "conv2": "second convolution", "avgpool": "avg pool",
    **{f"maxpool {number}": f"max pool, number {number}" for number in (1, 2, 3, 4)},
}  # fmt: skip


def _in_units(reason: str | Callable[[], str]) -> str | Callable[[], str]:
    if callable(reason):
        return lambda: f"{reason()}; {UNITS}"
    return f"{reason}; {UNITS}" if reason else UNITS


def _cells(line: str) -> tuple[str, dict[str, str | tuple[str, ...]]]:
    """The name of a row of GoogLeNet's table, and its cells by column."""
    name, output, depth, widths, params, ops = (cell.strip() for cell in line.split("|"))
    return name, {"output size": output, "depth": depth, WIDTHS: tuple(widths.split()), "params": params, "ops": ops}


def googlenet(table: str, reasons: Reasons, whole: str = "", erratum_of_spoilt: str = "") -> list[Claim]:
    """Claims for rows `name | output | depth | widths | params | ops`; an empty cell is passed over.

    whole: the same table where the text recognition has not spoilt it. A cell that differs means what is there, and
    stands for the erratum `erratum_of_spoilt`.
    """
    claims = []
    right = dict(map(_cells, whole.strip().splitlines()))
    for line in table.strip().splitlines():
        name, printed_cells = _cells(line)
        title = f"inception ({name})" if name[0] in "345" else TITLES.get(name, name)
        computes: dict[str, Callable[[], Any]] = {
            "output size": _output(name),
            "depth": _depth(name),
            WIDTHS: _widths(name),
            "params": _weights(name),
            "ops": _ops(name),
        }
        for column, compute in computes.items():
            printed = printed_cells[column]
            if not printed:
                continue
            reason, erratum = reasons.get((name, column), ("", ""))
            if column == "params":
                reason = _in_units(reason)
            meant = right[name][column] if right and right[name][column] != printed else ""
            shown = column if name[0] in "345" or column != WIDTHS else "#3x3 reduce, #3x3"
            claims.append(
                Claim(
                    f"{title}: {shown}", printed, compute, reason, "googlenet_table1" if name in WITH_WEIGHTS else "",
                    erratum_of_spoilt if meant else erratum, meant,
                )
            )  # fmt: skip
    return claims


def residual_stage(name: str, stage: int) -> Callable[[], str]:
    """The blocks of a stage as the table shows them: [1x1, 64; 3x3, 64; 1x1, 256] x 3."""

    def blocks() -> str:
        one = net(name)
        sizes = (56, 28, 14, 7)
        rows = [row for row in one.of("Residual") if row.output_shape[1] == sizes[stage]]
        shapes = []
        for row in rows:
            convs = [inner for inner in one.inside(row.path + ".body") if inner.kind == "Conv2d"]
            layers = [one.layer(conv) for conv in convs]
            shapes.append("; ".join(f"{m.kernel_size[0]}x{m.kernel_size[1]}, {m.out_channels}" for m in layers))
        return " + ".join(f"[{shape}] x {shapes.count(shape)}" for shape in dict.fromkeys(shapes))

    return blocks


def _pairs(name: str, size: int) -> int:
    """How many pairs of a 1x1 and a 3x3 convolution the dense block with maps of `size` has; 0 unless they are pairs."""
    one = net(name)
    windows = [one.layer(row).kernel_size[0] for row in one.convs if row.output_shape[1] == size]
    threes = windows.count(3)
    return threes if windows[: 2 * threes] == [1, 3] * threes else 0


def dense_blocks(name: str) -> Callable[[], tuple[int, ...]]:
    """The pairs in each of the four dense blocks."""
    return lambda: tuple(_pairs(name, size) for size in (56, 28, 14, 7))


def dense_sizes() -> tuple[str, ...]:
    """The sides of the maps: first convolution, pool, then block and transition in turn."""
    one = net("densenet121")
    sides = dict.fromkeys(row.output_shape[1] for row in one.rows if len(row.output_shape) == 3)
    return tuple(f"{side}x{side}" for side in sides)


def some(name: str, words: str, *kinds: str) -> Callable[[], Holds]:
    """Whether a network has layers of these kinds, and how many."""

    def found() -> Holds:
        count = len(net(name).of(*kinds))
        return Holds(count > 0, f"{count} {words}")

    return found


def smaller(name: str, other: str) -> Callable[[], Holds]:
    """Whether a network has fewer parameters than another."""

    def found() -> Holds:
        few, many = info(name).parameters, info(other).parameters
        return Holds(few < many, f"{many:,} -> {few:,}")

    return found


def transitions() -> Holds:
    """Whether each transition halves the number of maps with 1x1 convolutions, and their sides with a 2x2 average pool."""
    one = net("densenet121")
    pools = [row for row in one.of("AvgPool2d")]
    right = 0
    for row in pools:
        before = [conv for conv in one.convs if conv.output_shape == row.input_shape][-1]
        layer, window = one.layer(before), one.layer(row)
        halves = layer.in_channels == 2 * layer.out_channels and layer.kernel_size == (1, 1)
        right += halves and window.kernel_size == window.stride == (2, 2)
    return Holds(right == len(pools) > 0, f"{right} of {len(pools)}")
