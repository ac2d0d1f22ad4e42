"""The `minicnn` command: info, train, summary, compare, slides, draw, plot, explore, predict, bench, selftest, profile."""

import io
import os
import platform
import sys
import textwrap
from ast import literal_eval
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from .arguments import DEVICES, network, one_of, shape
from .bench.commands import bench, profile
from .errors import BackendError, DataError, MinicnnError
from .training.job import Job, run
from .version import __version__


class _App(typer.Typer):
    """Shows an error of minicnn or of the system as one line, with exit status 1, in place of a traceback."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, io.TextIOWrapper):  # a file name may hold what the terminal's encoding does not have
                stream.reconfigure(errors="backslashreplace")
        try:
            try:
                return super().__call__(*args, **kwargs)
            finally:
                _flush()
        except BrokenPipeError:  # nobody reads on: as with `| head`
            sys.exit(1)
        except (MinicnnError, OSError) as error:
            print(f"error: {error}", file=sys.stderr)
            sys.exit(1)
        except MemoryError as error:  # NumPy's and CuPy's
            print(f"error: there is no memory for that: use a smaller batch or input: {error}", file=sys.stderr)
            sys.exit(1)


def _flush() -> None:
    """Write what was printed. Where that fails the rest is dropped, or it would fail once more when Python ends."""
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise


def _new_app(**options: Any) -> _App:
    return _App(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None, **options)


app = _new_app(
    no_args_is_help=True, help="Convolutional networks from scratch, with the arithmetic beside every layer."
)


def _show_version(wanted: bool) -> None:
    if wanted:
        print(f"minicnn {__version__}")
        raise typer.Exit


@app.callback()
def _main(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None: ...


@app.command()
def info(
    name: Annotated[str | None, typer.Argument(help="A network of the zoo: its paper, counts, notes, options.")] = None,
) -> None:
    """What computes here, and what is missing; or a network's facts."""
    if name is not None:
        from . import models

        print(models.info(name))
        return
    import numpy as np

    from . import backends
    from .backends import driver
    from .training.checkpoint import environment

    def line(name: str, value: object) -> None:
        lines = textwrap.wrap(str(value), 80 - 17, break_long_words=False, break_on_hyphens=False)
        print(f"{name:<16} " + f"\n{'':17}".join(lines))

    print(f"{'minicnn':<16} {__version__} in {Path(__file__).parent}")  # a path may have spaces: it stays in one line
    line("Python", f"{platform.python_version()} on {platform.system()} {platform.machine()}, {os.cpu_count()} CPUs")
    line("NumPy", np.__version__)
    for name in ("c", "numpy", "cuda", "meta"):
        try:
            backends.get(name)
            line(f"backend {name}", "available")
        except BackendError as error:
            line(f"backend {name}", f"not available: {str(error).removeprefix(f'backend {name}: ')}")
    here = environment()
    line("in use", f"backend {here['backend']}, precision {here['precision']}, {here['threads']} threads")
    if here["backend"] == "c":
        from .backends import c, native

        built = c.build_info()
        line("compiler", built["compiler"])
        line("instruction set", f"{built['isa']}, of {', '.join(built['isas'])}; MINICNN_ISA forces a lower one")
        split = [f"{level} from {n} of bfloat16" for level, n in built["terms"].items() if n]
        line("products", ", ".join(split) or "of float32 at every precision")
        line("OpenMP", built["openmp"] or f"not there: one thread: {native.OPENMP_REMEDY}")
    line("CuPy", driver.cupy_line())
    missing = [name for name in ("matplotlib", "PIL", "pooch", "safetensors", "tqdm") if not _importable(name)]
    line("for training", "complete" if not missing else f"lacks {', '.join(missing)}: pip install -e '.[train]'")


def _importable(module: str) -> bool:
    from importlib.util import find_spec

    return find_spec(module) is not None


def training_command(defaults: Job) -> Callable[..., None]:
    """A command-line function whose options stand at the settings of `defaults`."""
    shown = ", ".join(f"{name}={value}" for name, value in defaults.options.items())
    standing = f" Those of {defaults.model} begin as {shown}." if shown else ""
    meant = f" The other settings here are meant for {defaults.model}; minicnn train has plainer ones." if shown else ""

    def train(
        model: Annotated[str, typer.Option(help=f"A network of the zoo for 32x32 images.{meant}")] = defaults.model,
        option: Annotated[
            list[str] | None, typer.Option(help=f"Of the network, as NAME=VALUE; more than one is fine.{standing}")
        ] = None,
        epochs: Annotated[
            int | None,
            typer.Option(help=f"Default: {defaults.epochs}, or {defaults.sample_epochs} on the sample.", min=1),
        ] = None,
        batch_size: Annotated[int, typer.Option(help="Images in a step.", min=1)] = defaults.batch_size,
        lr: Annotated[float, typer.Option(help="Peak of the one-cycle learning rate.")] = defaults.lr,
        seed: Annotated[int, typer.Option(help="Of weights, order, augmentation, dropout.", min=0)] = defaults.seed,
        validation: Annotated[
            float, typer.Option(help="Share of the training images held back, and evaluated after each epoch.")
        ] = defaults.validation,
        patience: Annotated[
            int, typer.Option(help="Stop after so many epochs without progress on them; 0 never does.", min=0)
        ] = defaults.patience,
        data: Annotated[str, typer.Option(help="auto: the first source that works; sample.")] = defaults.data,
        data_dir: Annotated[str | None, typer.Option(help="Folder or archive with CIFAR-10.")] = defaults.data_dir,
        out: Annotated[str, typer.Option(help="Folder for all that the run writes.")] = defaults.out,
        device: Annotated[str, typer.Option(help="cpu or cuda.")] = defaults.device,
        backend: Annotated[str | None, typer.Option(help="On the CPU: c or numpy.")] = defaults.backend,
        precision: Annotated[
            str | None, typer.Option(help="Of products: highest (default), high or medium, which are faster.")
        ] = defaults.precision,
        threads: Annotated[int | None, typer.Option(help="Of the C backend.", min=1)] = defaults.threads,
        checkpoint_every: Annotated[
            str, typer.Option(help="Steps (200) or seconds (60s) between checkpoints in an epoch.")
        ] = defaults.checkpoint_every,
        steps: Annotated[int | None, typer.Option(help="Stop after so many steps.", min=0)] = defaults.steps,
        resume: Annotated[
            bool, typer.Option("--resume", help="Go on where the run in OUT stopped, bit for bit.")
        ] = False,
        resume_anyway: Annotated[
            bool, typer.Option("--resume-anyway", help="Go on even if threads or settings differ.")
        ] = False,
        no_plots: Annotated[bool, typer.Option("--no-plots", help="Draw no pictures.")] = False,
    ) -> None:
        """Train a network on CIFAR-10. Stop with Ctrl-C, go on with --resume."""
        options = {**(defaults.options if model == defaults.model else {}), **_options(option or [])}
        job = replace(
            defaults, model=model, options=options, batch_size=batch_size, lr=lr, seed=seed, validation=validation, patience=patience,
            data=data, data_dir=data_dir, out=out, device=device, backend=backend, precision=precision, threads=threads, steps=steps,
            resume=resume, checkpoint_every=checkpoint_every, resume_anyway=resume_anyway,
            plots=defaults.plots and not no_plots,
        )  # fmt: skip
        if epochs is not None:
            job = replace(job, epochs=epochs, sample_epochs=epochs)
        try:
            run(job)
        except KeyboardInterrupt:
            raise typer.Exit(130) from None

    return train


def _options(given: list[str]) -> dict[str, Any]:
    """The options NAME=VALUE of a network: values are Python's, or else text."""
    options = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not (name.isidentifier() and equals):
            raise typer.BadParameter(f"{text!r} is not of the form NAME=VALUE, such as depth=32", param_hint="--option")
        try:
            options[name] = literal_eval(value)
        except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
            options[name] = value
    return options


def run_example(defaults: Job) -> None:
    """Run the training command as a script of its own, with other defaults: for `examples/`."""
    script = _new_app()
    script.command()(training_command(defaults))
    script()


app.command("train")(training_command(Job()))


def _format(chosen: str, formats: tuple[str, ...]) -> str:
    """--format, the name of a method without its to_."""
    if chosen not in formats:
        raise typer.BadParameter(f"{chosen!r} is none of {', '.join(formats)}", param_hint="--format")
    return f"to_{chosen}"


@app.command()
def summary(
    name: Annotated[str, typer.Argument(help="A network of the zoo, such as alexnet, or a Caffe .prototxt file.")],
    input: Annotated[str | None, typer.Option(help="Another input shape, as CxHxW: 3x224x224.")] = None,
    format: Annotated[str, typer.Option(help="text, markdown, latex, html or json.")] = "text",
    depth: Annotated[int | None, typer.Option(help="Levels of containers to show; the rest is folded.", min=1)] = None,
    width: Annotated[
        int | None, typer.Option(help="Columns of text; default: the terminal's, or 80 in a file.", min=40)
    ] = None,
    formulas: Annotated[bool, typer.Option(help="Show the arithmetic below each layer.")] = True,
) -> None:
    """The layers of a network, with the arithmetic. Sizes, parameters, multiply-adds, receptive fields."""
    from .inspect import summary as summarise

    method = _format(format, ("text", "markdown", "latex", "html", "json"))
    model, size = network(name, input)
    whole = summarise(model, size, depth)
    if format == "text":
        whole.print(width, formulas)
    else:
        print(getattr(whole, method)())


@app.command()
def compare(
    things: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="A B ...",
            help="Networks, modules, layers written out as 'Conv2d(3, 8, 5)', .prototxt files; or one comparison, such as 5x5.",
            show_default=False,
        ),
    ] = None,
    list_: Annotated[bool, typer.Option("--list", help="List what can be compared.")] = False,
    input: Annotated[str | None, typer.Option(help="The input shape of all of them, as CxHxW: 3x224x224.")] = None,
    channels: Annotated[int | None, typer.Option(help="C of the modules; default: the lectures'.", min=1)] = None,
    format: Annotated[str, typer.Option(help="text, markdown or json.")] = "text",
) -> None:
    """Networks, modules or layers side by side. Parameters, multiply-adds, memory, depth, receptive field."""
    from .inspect import compare as comparison
    from .inspect.modules import listing

    method = _format(format, ("text", "markdown", "json"))
    if list_:
        print(listing())
        return
    networks = [
        (Path(thing).name, network(thing, input)[0]) if thing.endswith(".prototxt") else thing for thing in things or []
    ]
    print(getattr(comparison(*networks, input_shape=shape(input), channels=channels), method)())


@app.command()
def slides(
    deck: Annotated[str | None, typer.Option(help="One deck only: 000 to 004.")] = None,
    wrong: Annotated[bool, typer.Option("--wrong", help="Only what is wrong.")] = False,
    format: Annotated[str, typer.Option(help="text, markdown or json.")] = "text",
) -> None:
    """Every number on the lecture slides, beside the computed one. With a verdict.

    \b
    agrees    equal
    rounded   the computed number, rounded to the nearest at the printed precision
    wrong     neither, with the reason: cut off, spoilt by text recognition, ...
    quoted    an experiment's result, a setting, a year: not computed
    """
    from .inspect import check_slides

    method = _format(format, ("text", "markdown", "json"))
    print(getattr(check_slides(deck, wrong), method)())


@app.command()
def draw(
    name: Annotated[str, typer.Argument(help="A network of the zoo, such as alexnet, or a Caffe .prototxt file.")],
    what: Annotated[
        str,
        typer.Option(
            help="diagram: the layers; field: what a unit sees; growth: how the field grows; memory: of each."
        ),
    ] = "diagram",
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="The file; default: NAME.svg and the like, here.")
    ] = None,
    input: Annotated[str | None, typer.Option(help="Another input shape, as CxHxW: 3x224x224.")] = None,
    layer: Annotated[
        list[str] | None, typer.Option(help="With field or growth: a layer to show; may be repeated.")
    ] = None,
) -> None:
    """Draw a network, its receptive fields or its memory. The first two as SVG (growth moves), memory by layer as PNG, SVG or PDF."""
    from . import inspect

    kinds = ("diagram", "field", "growth", "memory")
    if what not in kinds:
        raise typer.BadParameter(f"{what!r} is none of {', '.join(kinds)}", param_hint="--what")
    if layer and what not in ("field", "growth"):
        raise typer.BadParameter("goes with --what field or growth", param_hint="--layer")
    model, size = network(name, input)
    stem = Path(name).stem if name.endswith(".prototxt") else name
    path = out or Path(stem + {"diagram": ".svg", "memory": "_memory.png"}.get(what, f"_{what}.svg"))
    if what == "memory":
        inspect.save_figure(inspect.plot_memory(model, size), path)
    elif what == "diagram":
        inspect.diagram(model, size).save(path)
    else:
        {"field": inspect.field_picture, "growth": inspect.animate_field}[what](model, layer, size).save(path)
    print(path)


@app.command()
def plot(
    what: Annotated[
        str, typer.Argument(help="errors or cifar10: against multiply-adds; winners: of ImageNet, by year.")
    ],
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="The file: .png, .svg or .pdf; default: WHAT.png, here.")
    ] = None,
) -> None:
    """Plot the lectures' error rates. Beside them stands what the library counts."""
    from . import inspect

    figures = {
        "errors": inspect.plot_errors,
        "cifar10": lambda: inspect.plot_errors("cifar10"),
        "winners": inspect.plot_winners,
    }
    if what not in figures:
        raise typer.BadParameter(f"{what!r} is none of {', '.join(figures)}", param_hint="WHAT")
    path = out or Path(f"{what}.png")
    inspect.save_figure(figures[what](), path)
    print(path)


@app.command()
def explore(
    out: Annotated[Path, typer.Option("--out", "-o", help="The file to write.")] = Path("zoo.html"),
) -> None:
    """Write the explorer, a page of its own. It loads nothing, and every layer of the zoo can be looked at and changed in it."""
    from .inspect import explore as write

    write(out)
    print(out)


@app.command()
def predict(
    checkpoint: Annotated[
        Path,
        typer.Argument(
            help="What training wrote, checkpoint.safetensors or its folder; or a network that comes trained: cifar_resnet20."
        ),
    ],
    pictures: Annotated[list[Path], typer.Argument(help="Photographs.")],
    top: Annotated[int, typer.Option(help="How many classes to name.", min=1)] = 3,
) -> None:
    """Say what is on photographs. They are scaled and cut to the size of the network's input."""
    from .training.predict import Predictor

    predictor = Predictor(checkpoint)
    failures = 0
    width = min(max(len(str(picture)) for picture in pictures), 40)
    for picture in pictures:
        try:
            answers = predictor.top(picture, top)
        except DataError as error:
            failures += 1
            print(f"error: {error}", file=sys.stderr)
            continue
        print(f"{picture!s:<{width}}  " + "  ".join(f"{name} {share:.1%}" for name, share in answers))
    if failures:
        raise typer.Exit(1)


@app.command()
def selftest(device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu") -> None:
    """Check that a device computes what it should. Operations, gradients, training steps; it takes seconds."""
    from . import selftest as tests

    if tests.run(one_of(DEVICES, device, "--device")):
        raise typer.Exit(1)


app.command()(bench)
app.command()(profile)
