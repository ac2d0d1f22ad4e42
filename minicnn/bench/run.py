"""The whole benchmark in one run: limits, products, convolutions, calls, steps; printed as it goes, and kept as JSON."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path
from typing import Any

from .. import models
from ..backends import PRECISIONS
from ..errors import ArgumentError, check
from ..geometry import Conv2d, conv2d
from ..io.files import replacing
from . import calls, cases, convs, device, gemm, kernels, limits, machine, report, steps
from .cases import Case
from .measure import ROUNDS

PARTS = ("limits", "gemm", "convs", "calls", "steps")
PARTS_ON_GPU = ("limits", "gemm", "convs", "steps")
FORMAT = 1


@dataclass
class Options:
    """What is measured."""

    parts: tuple[str, ...] = PARTS
    networks: list[str] = field(default_factory=lambda: list(steps.BATCH))
    rounds: int = ROUNDS
    precisions: list[str] | None = None
    """None: those at which the machine computes differently."""
    gemms: list[tuple[int, int, int]] = field(default_factory=lambda: gemm.SHAPES)
    convolutions: list[Conv2d] | None = None
    """None: those of the networks."""
    cases: Iterable[Case] = ()
    """Of the part "kernels"."""
    device: str = "cpu"
    batch: int | None = None
    """Of whole steps; None: each network's own."""


def everything_on_gpu() -> Options:
    """All parts but `calls`, which is Python's share: the CPU's."""
    return Options(PARTS_ON_GPU, list(steps.CUDA_BATCH), gemms=gemm.ON_GPU, device="cuda")


def short_on_gpu() -> Options:
    """What takes about a minute."""
    shapes = [
        ((128, 64, 56, 56), (64, 64, 3, 3), 1),
        ((128, 256, 14, 14), (1024, 256, 1, 1), 1),
        ((128, 3, 224, 224), (64, 3, 7, 7), 2),
    ]
    convolutions = [conv2d(x, w, stride, w[2] // 2) for x, w, stride in shapes]
    networks = ["alexnet_cifar", "cifar_resnet20"]
    return replace(everything_on_gpu(), networks=networks, rounds=5, convolutions=convolutions)


def short() -> Options:
    """What takes about a minute."""
    shapes = [(8, 64, 56, 56), (8, 256, 14, 14), (8, 3, 112, 112)]
    weights = [(64, 64, 3, 3), (1024, 256, 1, 1), (64, 3, 7, 7)]
    convolutions = [conv2d(x, w, 1, w[2] // 2) for x, w in zip(shapes, weights)]
    return Options(networks=["lenet5", "alexnet_cifar"], rounds=5, gemms=gemm.SHAPES[:3], convolutions=convolutions)


def select(
    things: list[str], full: bool, only: list[str], rounds: int | None, precisions: list[str], device: str = "cpu"
) -> Options:
    """The options of the command. Raises ArgumentError."""
    parts = PARTS_ON_GPU if device == "cuda" else PARTS
    for part in only:
        check(part in parts, f"bench: only is {part!r}: on device {device} it must be one of {', '.join(parts)}")
    for level in precisions:
        check(level in PRECISIONS, f"bench: precision is {level!r}: it must be one of {', '.join(PRECISIONS)}")
    if device == "cuda":
        options = everything_on_gpu() if full else short_on_gpu()
    else:
        options = Options() if full else short()
    if things and all(kernels.known(thing) for thing in things):
        options = replace(options, parts=("limits", "kernels"), cases=chain(*map(kernels.cases, things)))
    elif things:
        names = [_network(name) for name in things]
        options = replace(options, parts=("limits", "steps"), networks=names, convolutions=None)
    if only:
        options = replace(options, parts=tuple(only))
    return replace(options, rounds=rounds or options.rounds, precisions=precisions or None)


def _network(name: str) -> str:
    """The full name of a network that can be measured. Raises ArgumentError."""
    check(not kernels.known(name), f"bench: {name} is a kernel: give kernels alone, or networks alone")
    model: Any = models.create(name, device="meta")
    check(
        len(model.outputs) == 1,
        f"bench: {name} has auxiliary classifiers, {', '.join(model.outputs[1:])}: measure it without them, or with minicnn profile",
    )
    return models.info(name).name


def run(
    options: Options, say: Callable[[str], None] = print, keep: Callable[[dict[str, Any]], None] = lambda _: None
) -> dict[str, Any]:
    """Measure, saying each row when it is there. The result is what `save` writes; `keep` gets what there is after each part."""
    on = device.get(options.device)
    levels = options.precisions or machine.precisions(on.name)
    facts = on.facts() | {"rounds": options.rounds}
    for text in report.heading(facts):
        say(text)
    found = limits.measure(on)  # every share is one of these
    for text in report.limit_lines(found):
        say(text)
    rows: report.Rows = []
    result = {"format": FORMAT, "machine": facts, "limits": found, "rows": rows, "geometric_means": {}}
    for part in options.parts:
        if part == "limits":
            continue
        say("\n" + report.head(part, on.name))
        for row in measured(part, options, levels, on):
            rows.append(report.finish(row, found))
            say(report.line(rows[-1], on.name))
        on.release()
        keep(result | {"geometric_means": report.geometric_means(rows)})
    result["geometric_means"] = means = report.geometric_means(rows)
    for text in ["", report.legend(on.name), *report.mean_lines(means)] if rows else []:
        say(text)
    if failed := [row for row in rows if "failed" in row]:
        say(f"{len(failed)} of {len(rows)} rows FAILED and were not timed")
    return result


def measured(part: str, options: Options, levels: list[str], on: device.Device) -> Iterator[dict[str, Any]]:
    """The rows of one part."""
    rounds = options.rounds
    if part == "gemm":
        for case in gemm.cases(options.gemms):
            yield from cases.measure(case, rounds, levels, on)
    elif part == "convs":
        geometries = options.convolutions
        for g in convs.of_networks(options.networks, on.name) if geometries is None else geometries:
            for case in convs.cases(g):
                yield from cases.measure(case, rounds, levels, on)
    elif part == "kernels":
        for case in options.cases:
            yield from cases.measure(case, rounds, levels, on)
    elif part == "calls":
        yield from calls.measure(rounds)
    elif part == "steps":
        for name in options.networks:
            yield from steps.measure(name, rounds, levels, options.batch, on)


def save(result: dict[str, Any], path: Path) -> None:
    """Write the result as JSON, whole or not at all."""
    with replacing(path) as part:
        Path(part).write_text(json.dumps(result, indent=1) + "\n")


def load(path: Path) -> dict[str, Any]:
    """A result that `save` wrote. Raises ArgumentError for another file."""
    try:
        result = json.loads(path.read_text())
    except OSError as error:
        raise ArgumentError(f"bench: {path} cannot be read: {error.strerror}: give a file that --json wrote") from None
    except ValueError:
        result = None
    check(
        isinstance(result, dict) and result.get("format") == FORMAT and {"machine", "limits", "rows"} <= result.keys(),
        f"bench: {path} is not what --json wrote in this version: measure again",
    )
    return result
