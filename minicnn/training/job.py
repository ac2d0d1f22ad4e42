"""A whole training job: data, network, optimiser, schedule, Trainer, pictures. `minicnn train` and the example run it."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import shlex
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .. import backends, models, ops, random
from ..data import Compose, Dataset, Loader, Normalize, RandomCrop, RandomHorizontalFlip, cifar10, cifar10_sample, split
from ..errors import check
from ..optim import SGD, OneCycle
from .metrics import Evaluation
from .stopping import EarlyStopping
from .trainer import Trainer


@dataclasses.dataclass(frozen=True)
class Job:
    """The settings of a run on CIFAR-10, and their defaults: this table is the only place where they stand."""

    model: str = "alexnet_cifar"
    """Any network of the zoo; `minicnn.models.names()` lists them."""
    options: dict[str, Any] = dataclasses.field(default_factory=dict)
    """Its options, as `models.create` takes them."""
    epochs: int = 14
    """On the full data set (50,000 images)."""
    sample_epochs: int = 16
    """On the embedded sample (2,000 images)."""
    batch_size: int = 128
    lr: float = 0.035
    """The peak of the one-cycle schedule."""
    warmup: float = 0.2
    """The share of all steps on the way up to the peak."""
    momentum: float = 0.9
    """Nesterov's."""
    weight_decay: float = 5e-4
    label_smoothing: float = 0.05
    crop_padding: int = 4
    """Pixels around the image from which a random crop is cut; and half of the images are mirrored."""
    validation: float = 0.0
    """The share of the training images that is held back and evaluated in place of the test images."""
    patience: int = 0
    """Stop early after so many epochs without a better loss on the images held back; 0 never does."""
    seed: int = 0

    # Where, and with what; these are no part of the result
    data: str = "auto"
    """auto (cache, official archive, npm, embedded sample) or sample."""
    data_dir: str | None = None
    out: str = "runs/alexnet_cifar"
    device: str = "cpu"
    """cpu or cuda."""
    backend: str | None = None
    """On the CPU: c or numpy."""
    precision: str | None = None
    """Of products: highest, high or medium; None: what `minicnn.set_precision` says."""
    threads: int | None = None
    checkpoint_every: str = "60s"
    steps: int | None = None
    """Stop after so many steps, for trying things out."""
    resume: bool = False
    resume_anyway: bool = False
    plots: bool = True

    def settings(self) -> dict[str, Any]:
        """What decides the result: the fields above `data`, by name, but the network's options, which its recipe tells in full."""
        names = [field.name for field in dataclasses.fields(self)]
        return {name: getattr(self, name) for name in names[: names.index("data")] if name != "options"}


def run(job: Job, command: str | None = None, say: Callable[[str], None] = print) -> Evaluation:
    """Do a job: train (or go on), evaluate with the final weights, draw the pictures, say where everything lies.

    command: what the user typed, for saying how to go on. Returns the evaluation on the test images.
    Raises MinicnnError, and KeyboardInterrupt after Ctrl-C, when everything is saved.
    """
    check(job.device in ("cpu", "cuda"), f"device is {job.device!r}: it must be cpu or cuda")
    if job.device == "cuda":
        backends.get("cuda")  # which says what is missing, before data are looked for
    for name in ("batch_size", "epochs", "sample_epochs"):
        check(getattr(job, name) >= 1, f"{name} is {getattr(job, name)!r}: it must be at least 1")
    check(
        not job.patience or job.validation > 0,
        f"patience is {job.patience}: stopping early needs images held back: add --validation 0.1",
    )
    with contextlib.ExitStack() as stack:
        if job.backend:
            stack.enter_context(backends.use_backend(job.backend))
        if job.precision is not None:
            stack.enter_context(backends.use_precision(job.precision))
        if job.threads is not None:
            backends.set_num_threads(job.threads)
        return _run(job, command or _command(), say)


def _command() -> str:
    """The command line of this process, with --resume."""
    program = "minicnn" if Path(sys.argv[0]).name == "minicnn" else f"python {shlex.quote(sys.argv[0])}"
    given = [shlex.quote(argument) for argument in sys.argv[1:] if argument != "--resume"]
    return " ".join([program, *given, "--resume"])


def _data(job: Job, say: Callable[[str], None]) -> tuple[Dataset, Dataset]:
    check(
        job.data in ("auto", "sample"), f"data is {job.data!r}: it must be auto or sample; a folder goes to --data-dir"
    )
    if job.data == "sample":
        return cifar10_sample(True), cifar10_sample(False)
    train = cifar10(True, job.data_dir, say=say)
    if "sample" in train.source:
        return train, cifar10_sample(False)
    return train, cifar10(False, job.data_dir, say=lambda line: None)


def _run(job: Job, command: str, say: Callable[[str], None]) -> Evaluation:
    train, test = _data(job, say)
    sample = "sample" in train.source
    epochs = job.sample_epochs if sample else job.epochs
    mean, std = train.statistics()
    held: Dataset | None = None
    if job.validation:
        train, held = split(train, job.validation, job.seed)

    random.manual_seed(job.seed)
    for name in job.options:
        check(name not in ("num_classes", "in_channels"), f"options has {name}: the data decides it: leave it out")
        known = [option for option in models.options(job.model) if option not in ("num_classes", "in_channels")]
        check(name in known, f"options has {name}: {job.model} has no such option: it has {', '.join(known)}")
    options = {**job.options, "num_classes": len(train.classes)}
    if "in_channels" in models.options(job.model):
        options["in_channels"] = 3
    size = models.info(job.model).input_shape[-1]
    check(
        size <= 64,
        f"model is {job.model!r}, made for {size}x{size} images: CIFAR-10 has 32x32: take alexnet_cifar, all_cnn_c, cifar_resnet20 or the like",
    )
    model = models.create(job.model, device=job.device, **options)

    size = model.recipe.input_shape[-1]
    augment: list[Any] = [RandomCrop(size, padding=job.crop_padding), RandomHorizontalFlip(), Normalize(mean, std)]
    batches = Loader(train, job.batch_size, Compose(augment), device=job.device, seed=job.seed)
    test_batches, watched = (
        Loader(some, 500, Normalize(mean, std), shuffle=False, device=job.device) for some in (test, held or test)
    )

    optimizer = SGD(model.parameters(), job.lr, job.momentum, job.weight_decay, nesterov=job.momentum > 0)
    config = {
        **job.settings(), "epochs": epochs, "dataset": train.name, "images": len(train), "classes": list(train.classes),
        "network": {"name": model.recipe.name, "options": model.recipe.options}, "input_shape": list(model.recipe.input_shape),
        "mean": list(mean), "std": list(std),
    }  # fmt: skip
    trainer = Trainer(
        model, optimizer, batches, watched, schedule=OneCycle(epochs * len(batches), job.warmup),
        loss=functools.partial(ops.cross_entropy, label_smoothing=job.label_smoothing),
        stopping=EarlyStopping(job.patience) if job.patience else None, out=job.out,
        checkpoint_every=job.checkpoint_every, config=config, command=command, say=say,
    )  # fmt: skip
    _announce(job, trainer, epochs, say)
    trainer.start(job.resume or job.resume_anyway, job.resume_anyway)
    trainer.fit(epochs, job.steps)
    result = trainer.evaluate(test_batches)
    _conclude(job, trainer, result, test, say)
    return result


def _announce(job: Job, trainer: Trainer, epochs: int, say: Callable[[str], None]) -> None:
    """What is about to be done, in a few lines."""
    from .checkpoint import environment

    here = environment(job.device)
    count = sum(p.size for p in trainer.model.parameters())
    say(f"{job.model}: {count:,} parameters; {trainer.train.dataset.name}: {len(trainer.train.dataset):,} images")
    say(
        f"{epochs} epochs of {len(trainer.train)} batches of {job.batch_size}; one-cycle learning rate, peak {job.lr:g}"
    )
    where = (
        here["device"]
        if job.device == "cuda"
        else f"instruction set {here['instruction set']}, {here['threads']} threads"
    )
    say(f"backend {here['backend']}, {where}")


def _conclude(job: Job, trainer: Trainer, result: Evaluation, test: Dataset, say: Callable[[str], None]) -> None:
    """Draw the pictures, and say where everything lies."""
    assert trainer.out is not None
    files = ["checkpoint.safetensors", "history.csv"]
    if job.plots:
        from . import pictures

        files += pictures.draw_all(
            trainer.out, trainer.history, result, test, trainer.model, "validation" if job.validation else "test"
        )
    say(f"Test accuracy {result.accuracy:.2%} on {len(test):,} images")
    if job.device == "cuda":
        taken = backends.get("cuda").memory_reserved() / 2**20
        say(f"GPU memory: at most {taken:,.0f} MiB, as taken from the device by CuPy's pool")
    say(f"In {trainer.out}:\n" + textwrap.fill(", ".join(files), 80, initial_indent="  ", subsequent_indent="  "))
    say(f"Your own photographs:\n  minicnn predict {trainer.out / files[0]} PICTURE...")
