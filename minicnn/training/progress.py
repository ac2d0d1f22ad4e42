"""What a person at the terminal sees: a bar while an epoch runs, a line when it is over. Eighty columns."""

from __future__ import annotations

import shutil
import sys
import time
from typing import Any

from .metrics import Mean


def duration(seconds: float) -> str:
    """4:07, or 1:02:03."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


class Progress:
    """Counts the images of this process and shows a bar on a terminal; elsewhere, or without tqdm, no bar.

    epochs: of the run      shown: whether to show a bar at all
    """

    def __init__(self, epochs: int, shown: bool = True) -> None:
        self.epochs, self.shown = epochs, shown
        self.bar: Any = None
        self.images, self.seconds, self.overhead, self.rounds = 0, 0.0, 0.0, 0
        self.began = time.perf_counter()

    def start(self, epoch: int, batches: int, done: int) -> None:
        """An epoch begins (or goes on), with `done` of its batches behind it."""
        self.epoch, self.began, self.here = epoch, time.perf_counter(), 0
        self.close()
        if self.shown and sys.stderr.isatty():
            try:
                from tqdm import tqdm
            except ImportError:
                self.shown = False
                return
            columns = min(80, shutil.get_terminal_size().columns - 1)
            self.bar = tqdm(
                total=batches, initial=done, ncols=columns, leave=False, bar_format="{desc} {bar} {percentage:3.0f}%"
            )

    def step(self, mean: Mean, images: int, images_left: int) -> None:
        """A batch of `images` is done; `images_left` remain in the whole run."""
        self.here += images
        if self.bar is not None:
            rate = self.rate()
            left = duration(images_left / rate + self.overhead_of_an_epoch() * (self.epochs - self.epoch))
            text = f"epoch {self.epoch + 1}/{self.epochs} loss {mean.loss:.3f} acc {mean.accuracy:.1%} {rate:,.0f}/s {left} left"
            self.bar.set_description_str(text, refresh=False)
            self.bar.update()

    def rate(self) -> float:
        """Images each second in training, over this process."""
        seconds = self.seconds + time.perf_counter() - self.began
        return (self.images + self.here) / max(seconds, 1e-9)

    def trained(self) -> float:
        """The training part of an epoch is over. Returns its seconds."""
        seconds = time.perf_counter() - self.began
        self.images, self.seconds, self.here = self.images + self.here, self.seconds + seconds, 0
        self.began = time.perf_counter()
        if self.bar is not None:
            self.bar.set_description_str(f"epoch {self.epoch + 1}/{self.epochs} evaluating")
        return seconds

    def finish(self) -> None:
        """Evaluation and saving are over too."""
        self.overhead, self.rounds = self.overhead + time.perf_counter() - self.began, self.rounds + 1
        self.close()

    def overhead_of_an_epoch(self) -> float:
        """Seconds for evaluation and saving, as seen so far."""
        return self.overhead / self.rounds if self.rounds else 0.0

    def close(self) -> None:
        """Take the bar away."""
        if self.bar is not None:
            self.bar.close()
            self.bar = None
