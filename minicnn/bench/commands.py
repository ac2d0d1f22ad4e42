"""The commands `minicnn bench` and `minicnn profile`."""

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from ..arguments import DEVICES, network, one_of
from ..arguments import shape as image
from ..errors import check
from ..io.files import check_writable


def bench(
    things: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="WHAT ...",
            help="Networks, for whole steps of them; or kernels, such as conv2d. Default: a bit of everything.",
            show_default=False,
        ),
    ] = None,
    full: Annotated[bool, typer.Option("--full", help="Everything: about twenty minutes on two cores.")] = False,
    only: Annotated[
        list[str] | None, typer.Option(help="limits, gemm, convs, calls or steps; may be repeated.")
    ] = None,
    rounds: Annotated[int | None, typer.Option(help="Turns of each candidate.", min=1)] = None,
    precision: Annotated[
        list[str] | None, typer.Option(help="highest, high, medium; default: all that differ here.")
    ] = None,
    isa: Annotated[str | None, typer.Option(help="Hold the CPU's libraries to avx2, avx512, ...")] = None,
    threads: Annotated[int | None, typer.Option(help="Of all libraries.", min=1)] = None,
    shape: Annotated[str | None, typer.Option(help="With conv2d: the input, CxHxW such as 64x56x56.")] = None,
    filters: Annotated[int, typer.Option(help="With --shape.", min=1)] = 64,
    kernel: Annotated[int, typer.Option(help="With --shape: the window's side.", min=1)] = 3,
    stride: Annotated[int, typer.Option(help="With --shape.", min=1)] = 1,
    padding: Annotated[int | None, typer.Option(help="With --shape; default: half the window.", min=0)] = None,
    dilation: Annotated[int, typer.Option(help="With --shape.", min=1)] = 1,
    groups: Annotated[int, typer.Option(help="With --shape.", min=1)] = 1,
    batch: Annotated[
        int | None, typer.Option(help="Images; default: each network's own; with --shape 16, on a GPU 128.", min=1)
    ] = None,
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
    json: Annotated[Path | None, typer.Option(help="Write the results, with every time, to this file.")] = None,
    plot: Annotated[
        Path | None,
        typer.Option(help="Draw the roofline to this .png, .svg or .pdf; with --compare: the second file's."),
    ] = None,
    compare: Annotated[
        tuple[Path, Path] | None, typer.Option(metavar="OLD NEW", help="Measure nothing: say what got slower.")
    ] = None,
) -> None:
    """How fast this machine or its GPU computes. Beside it stand its own limits and, where it is installed, PyTorch.

    Results are checked before anything is timed; the candidates take turns, and medians are shown. `minicnn bench conv2d
    --shape 64x56x56 --filters 64 --kernel 3` is the loop in which one writes a kernel: in a checkout it builds first.
    """
    from . import kernels, machine
    from .compare import compare as comparison
    from .device import get
    from .plot import check_plot
    from .run import load, save, select
    from .run import run as measure

    if compare is not None:
        old, new = (load(path) for path in compare)
        lines, slower = comparison(old, new)
        print("\n".join(lines))
        _roofline(new, plot)
        raise typer.Exit(1 if slower else 0)
    wanted = machine.environment(isa, threads)
    if not machine.holds(wanted):
        raise typer.Exit(machine.fresh(sys.argv[1:], wanted))
    get(one_of(DEVICES, device, "--device"))  # says at once what is missing
    options = select(things or [], full, only or [], rounds, precision or [], device)
    options.batch = batch
    check(
        shape is not None or (filters, kernel, stride, padding, dilation, groups) == (64, 3, 1, None, 1, 1),
        "bench: filters, kernel, stride, padding, dilation and groups describe a convolution whose input is --shape: give it too",
    )
    check(
        batch is None or shape is not None or "steps" in options.parts,
        f"bench: batch is {batch}, but kernels and single convolutions have their own shapes: add a network, or --shape to conv2d",
    )
    if shape is not None:
        images = batch or (128 if device == "cuda" else 16)
        options.cases = kernels.at_shape(
            things or [], image(shape, "--shape"), filters, kernel, stride, padding, dilation, groups, images
        )
    if plot is not None:
        check_plot(plot, options.parts)
    for path in filter(None, (json, plot)):
        check_writable(path)
    if "kernels" in options.parts and device == "cpu":
        kernels.build(print)
    result = measure(options, keep=lambda part: None if json is None else save(part, json))
    if json is not None:
        save(result, json)
    _roofline(result, plot)
    if any("failed" in row for row in result["rows"]):
        raise typer.Exit(1)


def _roofline(result: dict[str, Any], path: Path | None) -> None:
    if path is not None:
        from ..inspect import save_figure
        from .plot import roofline

        save_figure(roofline(result), path)
        print(path)


def profile(
    name: Annotated[str, typer.Argument(help="A network of the zoo, such as resnet18, or a Caffe .prototxt file.")],
    batch: Annotated[int | None, typer.Option(help="Images; default: as in minicnn bench.", min=1)] = None,
    rounds: Annotated[int, typer.Option(help="Steps of which the median is taken.", min=1)] = 5,
    top: Annotated[int | None, typer.Option(help="Show so many layers, the slowest first.", min=1)] = None,
    input: Annotated[str | None, typer.Option(help="Another input shape, as CxHxW: 3x224x224.")] = None,
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
) -> None:
    """Where a training step's time goes. Each layer, forward and backward, with its share and GFLOP/s."""
    from .device import get
    from .profile import profile as measure
    from .profile import show

    model, size = network(name, input, "cpu")
    found = measure(model, batch, rounds, size, get(one_of(DEVICES, device, "--device")))
    show(found._replace(title=Path(name).name), top)
