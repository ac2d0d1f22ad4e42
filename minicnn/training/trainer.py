"""The Trainer: the plain training loop, with checkpoints, a history, and a way to stop and go on bit for bit."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from .. import backends, ops, random
from ..data import Loader
from ..errors import ArgumentError, CheckpointError, MinicnnError, check
from ..files import remove_parts
from ..geometry import is_integer, is_number
from ..io.archive import write_archive
from ..io.files import unwritable_as_error
from ..layers import Layer
from ..optim import Constant, Optimizer, Schedule, Scheduler, clip_grad_norm
from ..optim.schedules import watcher_of
from . import checkpoint
from .checkpoint import (
    NAME,
    OLD,
    PREVIOUS,
    differences,
    environment,
    json_like,
    newest_checkpoint,
    with_prefix,
    write_checkpoint,
)  # fmt: skip
from .history import History
from .metrics import LATE, Evaluation, Loss, Mean, evaluate, on_device_of
from .progress import Progress, duration
from .stopping import EarlyStopping

BEST = "best.safetensors"


class Every:
    """When a checkpoint is due: every so many steps (`200`) or seconds (`"60s"`). Raises ArgumentError for other things."""

    def __init__(self, every: int | str) -> None:
        text = str(every)
        number = text[:-1] if text.endswith("s") else text
        good = not isinstance(every, bool) and number.isdecimal() and int(number) > 0
        check(
            good,
            f"checkpoint_every is {every!r}: it must be a number of steps, such as 200, or of seconds, such as 60s",
        )
        self.seconds = int(number) if text.endswith("s") else None
        self.steps = None if text.endswith("s") else int(number)
        self.last = time.monotonic()

    def due(self, step: int) -> bool:
        if self.steps is not None:
            return step % self.steps == 0
        return self.seconds is not None and time.monotonic() - self.last >= self.seconds


class Trainer:
    """Trains a classifier, epoch by epoch, and leaves in a folder all that is needed to see how it went and to go on.

    model, optimizer: the optimiser must hold the model's parameters
    train, test: loaders; `test` is evaluated after every epoch (give a validation split to choose by it), or None
    schedule: of the optimiser's steps; a ReduceOnPlateau is shown the test loss after every epoch
    loss: loss(logits, labels) -> the mean over the batch      clip_norm: limit on the gradients' joint norm, or None
    auxiliary_weight: of the losses of auxiliary classifiers, which a model returns behind the logits in training only:
        0.3 for GoogLeNet (arXiv:1409.4842), 0.4 for Inception-v3
    stopping: an EarlyStopping, or None: then the best weights are kept and taken at the end
    out: the folder for checkpoint.safetensors, history.csv and times.csv; None writes nothing
    checkpoint_every: steps (200) or seconds ("60s") between checkpoints within an epoch; one is written after each epoch too
    config: plain data that goes into the checkpoint; resuming compares it      command: what to type to go on
    say: called with each line for the user      progress: whether to show a bar on a terminal

    Everything that decides the result is in the checkpoint: weights, running statistics, the optimiser's and the
    schedule's state, the loader's position, the random state, half an epoch's sums. So a run that was killed at any
    moment and resumed ends with the same bits as one that was not.
    """

    def __init__(
        self,
        model: Layer,
        optimizer: Optimizer,
        train: Loader,
        test: Loader | None = None,
        *,
        schedule: Schedule | None = None,
        loss: Loss = ops.cross_entropy,
        auxiliary_weight: float = 0.3,
        clip_norm: float | None = None,
        stopping: EarlyStopping | None = None,
        out: str | Path | None = None,
        checkpoint_every: int | str = "60s",
        config: dict[str, Any] | None = None,
        command: str = "the same command with --resume",
        say: Callable[[str], None] = print,
        progress: bool = True,
    ) -> None:
        for needy, name in ((stopping, "stopping"), (watcher_of(schedule), "ReduceOnPlateau")):
            check(needy is None or test is not None, f"Trainer: {name} needs results to watch: give a loader as test")
        self.model, self.optimizer, self.train, self.test = model, optimizer, train, test
        self.scheduler = Scheduler(optimizer, Constant() if schedule is None else schedule)
        check(
            test is not train,
            "Trainer: test is the loader that it trains with, whose position it counts by: give it one of its own",
        )
        check(is_number(auxiliary_weight), f"Trainer: auxiliary_weight is {auxiliary_weight!r}: it must be a number")
        self.loss, self.auxiliary_weight, self.clip_norm, self.stopping = loss, auxiliary_weight, clip_norm, stopping
        self.out = None if out is None else Path(out)
        self.every = Every(checkpoint_every)
        self.config, self.command, self.say, self.bar = config or {}, command, say, progress
        self.history = History()
        self.epoch = 0
        """Epochs that are over."""
        self.steps = 0
        """Optimiser steps since the start of the run."""
        self.mean = Mean()
        """Of the epoch so far."""
        self._unread: deque[tuple[Callable[[], list[np.ndarray]], np.ndarray, int]] = deque()
        self._lr = 0.0
        self._seconds = 0.0
        self._asked_to_stop = ""
        self._ready = False

    def fit(self, epochs: int, steps: int | None = None) -> History:
        """Train until `epochs` are over, or `steps` steps of the run are (or early stopping stops). Returns the history.

        Ctrl-C ends the step in hand, saves, says where and how to go on, and raises KeyboardInterrupt.
        Raises MinicnnError where the loss is no longer finite, CheckpointError where a file cannot be written.
        """
        for name, value in (("epochs", epochs), ("steps", steps)):
            check(
                value is None or (is_integer(value) and value >= 0),
                f"fit: {name} is {value!r}: it must be an integer of at least 0",
            )
        if not self._ready:
            self.start()
        limit = epochs * len(self.train) if steps is None else min(steps, epochs * len(self.train))
        self.progress = Progress(epochs, self.bar)
        if self.steps >= limit and not self._trained():
            self.say("Nothing is left to train: all steps asked for are done")
        try:
            with self._signals():
                while not (self.stopping and self.stopping.stopped) and (self.steps < limit or self._trained()):
                    self._train_epoch(limit)
                    if self._trained():
                        self._end_epoch()
                    else:
                        self.save()
        finally:
            self.progress.close()
        if self.stopping is not None and self.stopping.stopped:
            self._take_best(self.stopping)
        return self.history

    def _trained(self) -> bool:
        """Whether all batches of the epoch in hand are done, and only its evaluation is missing."""
        return self.train.epoch > self.epoch

    def _train_epoch(self, limit: int) -> None:
        """The batches of one epoch, or what is left of them below the limit on steps."""
        if self._trained():
            return
        position = self.train.state_dict()
        self.train.load_state_dict(position)  # or a pass that was left early would begin anew
        self.model.train()
        self.progress.start(self.epoch, len(self.train), position["batch"])
        for images, labels in self.train:
            self.step(images, labels)
            self.progress.step(self.mean, len(labels), (limit - self.steps) * self.train.batch_size)
            self._stop_if_asked()
            if self.steps >= limit and self.train.state_dict()["batch"] < len(self.train):
                break
            if self.every.due(self.steps):
                self.save()
        self._seconds = self.progress.trained()

    def _end_epoch(self) -> None:
        """Evaluate, write the epoch down, and save."""
        self._read()
        row: dict[str, Any] = {"epoch": self.epoch + 1, "steps": self.steps, "lr": self._lr}
        row |= {"train_loss": self.mean.loss, "train_accuracy": self.mean.accuracy}
        if self.test is not None:
            result = evaluate(self.model, self.test, self.loss, lambda images: self._stop_if_asked())
            row |= {"test_loss": result.loss, "test_accuracy": result.accuracy}
            self.scheduler.observe(result.loss)
        if self.stopping is not None and self.stopping.observe(row) and self.out is not None:
            write_archive(self.out / BEST, self._weights(), {**checkpoint.HEAD, "config": self.config})
        self.history.add(**row)
        images, self.mean, self.epoch = self.mean.images, Mean(), self.epoch + 1
        self.save()
        self.progress.finish()
        if self.out is not None:
            self.history.write(self.out / "history.csv")
        self._report(row, images)

    def _report(self, row: dict[str, Any], images: int) -> None:
        """Say how the epoch went, and note its time, which is no part of the history."""
        line = f"epoch {row['epoch']:>3}  loss {row['train_loss']:.3f}  accuracy {row['train_accuracy']:6.1%}"
        if "test_loss" in row:
            line += f"  test loss {row['test_loss']:.3f}  accuracy {row['test_accuracy']:6.1%}"
        seconds, self._seconds = self._seconds, 0.0
        self.say(f"{line}  {duration(seconds)}")
        if self.out is not None:
            with unwritable_as_error(self.out / "times.csv") as path, path.open("a", encoding="ascii") as file:
                if file.tell() == 0:
                    file.write("epoch,seconds,images_per_second\n")
                file.write(f"{row['epoch']},{seconds:.3f},{images / seconds if seconds else 0:.1f}\n")

    def step(self, images: Any, labels: np.ndarray) -> None:
        """One step: forward, backward, update. images: float32 (N, C, H, W), on the model's device or the CPU; labels: (N,)."""
        outputs = self.model(on_device_of(self.model, images))
        logits, *auxiliary = outputs if isinstance(outputs, tuple) else (outputs,)
        loss = self.loss(logits, labels)
        for others in auxiliary:
            loss = loss + self.auxiliary_weight * self.loss(others, labels)
        self._unread.append((backends.fetch(loss.data, logits.data), labels, self.steps))
        self._read(LATE if self.model.device == "cuda" else 0)
        self.optimizer.zero_grad()
        loss.backward()
        if self.clip_norm is not None:
            clip_grad_norm(self.model.parameters(), self.clip_norm)
        self.optimizer.step()
        self._lr = self.optimizer.param_groups[0]["lr"]
        self.scheduler.step()
        self.steps += 1

    def _read(self, left: int = 0) -> None:
        """Read the losses and logits of all steps but the last `left`."""
        while len(self._unread) > left:
            fetched, labels, step = self._unread.popleft()
            loss, logits = fetched()
            value = loss.item()
            if not np.isfinite(value):
                raise MinicnnError(
                    f"the loss became {value} at step {step}: lower the learning rate (it is {self.optimizer.param_groups[0]['lr']:g}), "
                    "or find the first NaN with minicnn.detect_anomaly()"
                )
            self.mean.add(value, logits, labels)

    def evaluate(self, loader: Loader | None = None) -> Evaluation:
        """Evaluate on a loader, by default the test one."""
        loader = self.test if loader is None else loader
        if loader is None:
            raise ArgumentError("evaluate: the Trainer has no test loader: give one")
        return evaluate(self.model, loader, self.loss)

    # Saving and going on

    def start(self, resume: bool = False, anyway: bool = False) -> bool:
        """Begin a run, or with `resume` go on from the newest checkpoint in the folder, if there is one yet.

        anyway: go on even where backend, instruction set, threads, precision, versions or the config differ, so that the
        result will not be the same bit for bit. Returns whether it goes on.
        Raises CheckpointError where they differ, or where the checkpoints are damaged or do not fit this model.
        """
        self._ready = True
        if self.out is None:
            check(not resume, "resume: the Trainer has no folder to go on from: create it with out")
        else:
            with unwritable_as_error(self.out) as folder:
                folder.mkdir(parents=True, exist_ok=True)
            remove_parts(self.out)
            found = newest_checkpoint(self.out, self.say) if resume else None
            if found is not None:
                self._restore(*found, anyway)
                self.history.write(self.out / "history.csv")
                return True
            self._put_aside()
        self.train.load_state_dict({**self.train.state_dict(), "epoch": 0, "batch": 0})
        return False

    def _put_aside(self) -> None:
        """Make room for a new run: the checkpoint of an earlier one gets another name, its history and times go."""
        assert self.out is not None
        with unwritable_as_error(self.out) as folder:
            for name in (NAME, PREVIOUS):
                if (folder / name).exists():
                    os.replace(folder / name, folder / OLD)
                    if name == NAME:
                        (folder / PREVIOUS).unlink(missing_ok=True)
                    self.say(f"Starting over in {folder};\n  the checkpoint of the earlier run is now {OLD}")
            for name in ("history.csv", "times.csv", BEST):
                (folder / name).unlink(missing_ok=True)

    def _weights(self) -> dict[str, np.ndarray]:
        return {f"model/{name}": values.numpy() for name, values in self.model.state_dict().items()}

    def save(self) -> Path | None:
        """Write a checkpoint of this moment, between two steps. Returns its path. Raises CheckpointError."""
        self._read()
        self.every.last = time.monotonic()
        if self.out is None:
            return None
        arrays = self._weights()
        optimizer = self.optimizer.state_dict()
        plain: dict[str, dict[str, int]] = {}
        for index, values in optimizer.pop("state").items():
            plain[index] = {}
            for slot, value in values.items():
                if is_integer(value):
                    plain[index][slot] = int(value)
                else:
                    arrays[f"optimizer/{index}/{slot}"] = value
        data = {
            "config": self.config, "environment": environment(self.model.device), "epoch": self.epoch, "steps": self.steps, "lr": self._lr,
            "mean": vars(self.mean), "history": self.history.rows, "loader": self.train.state_dict(),
            "optimizer": {**optimizer, "state": plain}, "scheduler": self.scheduler.state_dict(),
            "stopping": self.stopping.state_dict() if self.stopping else None, "random": random.get_state(),
        }  # fmt: skip
        return write_checkpoint(self.out, arrays, data)

    def _restore(self, arrays: dict[str, np.ndarray], data: dict[str, Any], anyway: bool) -> None:
        changed = differences(data["environment"], environment(self.model.device)) + differences(
            data["config"], json_like(self.config)
        )
        if changed and not anyway:
            raise CheckpointError(
                f"the run in {self.out} cannot go on bit for bit: {'; '.join(changed)}: set it as it was, or go on with "
                "--resume-anyway and another result"
            )
        if changed:
            self.say(f"Going on all the same, not bit for bit: {'; '.join(changed)}")
        optimizer = data["optimizer"]
        for name, array in with_prefix("optimizer/", arrays).items():
            index, slot = name.split("/")
            optimizer["state"].setdefault(index, {})[slot] = array
        if (self.stopping is None) != (data["stopping"] is None):
            raise CheckpointError("the saved run and this one differ in early stopping: use it in both or in neither")
        self.model.load_state_dict(with_prefix("model/", arrays))
        self.optimizer.load_state_dict(optimizer)
        self.scheduler.load_state_dict(data["scheduler"])
        if self.stopping is not None:
            self.stopping.load_state_dict(data["stopping"])
        self.train.load_state_dict(data["loader"])
        random.set_state(data["random"])
        self.history, self.mean = History(data["history"]), Mean(**data["mean"])
        self.epoch, self.steps, self._lr = data["epoch"], data["steps"], data["lr"]
        self.say(f"Going on from epoch {self.epoch + 1}, step {self.steps}, as saved in {self.out}")

    def _take_best(self, stopping: EarlyStopping) -> None:
        why = f"Stopped early: no better {stopping.watch} in {stopping.patience} epochs"
        if stopping.best is None:
            self.say(f"{why}, and none that is a number; keeping the last weights")
            return
        self.say(f"{why}; taking epoch {stopping.best_epoch}")
        if self.out is not None:
            arrays, _ = checkpoint.read_checkpoint(self.out / BEST)
            self.model.load_state_dict(with_prefix("model/", arrays))

    # Ctrl-C

    @contextlib.contextmanager
    def _signals(self) -> Iterator[None]:
        """Inside, Ctrl-C and SIGTERM wait for the end of the step, so that what is saved is whole; a second one does not."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return

        def note(number: int, frame: Any) -> None:
            if self._asked_to_stop:
                raise KeyboardInterrupt
            self._asked_to_stop = signal.Signals(number).name

        before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            self._asked_to_stop = ""
            for number, handler in before.items():
                signal.signal(number, handler)

    def _stop_if_asked(self) -> None:
        if not self._asked_to_stop:
            return
        self.progress.close()
        path = self.save()
        kept = (
            f"saved in {path}; to go on:\n  {self.command}" if path else "nothing was saved: the Trainer has no folder"
        )
        cause = "Ctrl-C" if self._asked_to_stop == "SIGINT" else self._asked_to_stop
        self.say(f"Stopped by {cause} after step {self.steps}: {kept}")
        raise KeyboardInterrupt
