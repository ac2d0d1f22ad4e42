"""Batches for training: shuffled by seed, prepared ahead in a thread, resumable in the middle of an epoch."""

from __future__ import annotations

import atexit
import sys
import threading
import weakref
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from .. import backends
from ..errors import ArgumentError, check
from ..geometry import is_integer
from .batches import OnCpu, OnCuda
from .dataset import Dataset, permutation
from .draw import Draw
from .transforms import Transform

Batch = tuple[Any, np.ndarray]


class Loader:
    """Iterate over a dataset in batches of (images float32 (B, C, H, W), labels int64 (B,)).

    dataset: a Dataset      batch_size: images in a batch; the last of an epoch may be smaller
    transform: called as `transform(images, draw)` on each batch of uint8 images (see `transforms.py`); what is still
        uint8 afterwards is scaled to 0 .. 1
    shuffle: a new order every epoch, a pure function of (seed, epoch)      drop_last: leave a smaller last batch out
    device: where the images are: "cpu" (NumPy's arrays), or "cuda" (CuPy's): then they are copied ahead beside the
        computation, and crops, mirror images and normalisation are the GPU's work, with the CPU's numbers to the bit. The
        labels stay on the CPU, where losses check them
    seed: of the order and of the transforms' random numbers, 0 .. 2**32 - 1
    prefetch: batches prepared ahead by a thread; 0 prepares them when asked      epoch: the first epoch's number

    Each `for` passes over one epoch from its first batch, and finishing it moves on to the next epoch; leaving early does
    not. After `load_state_dict` the next pass starts where the state was taken, with the very same batches.
    Raises ArgumentError, and BackendError without the device; errors of the transform or the dataset come out of the iteration.
    """

    def __init__(
        self,
        dataset: Dataset,
        batch_size: int,
        transform: Transform | None = None,
        *,
        shuffle: bool = True,
        drop_last: bool = False,
        device: str = "cpu",
        seed: int = 0,
        prefetch: int = 2,
        epoch: int = 0,
    ):
        check(
            isinstance(dataset, Dataset),
            f"Loader: dataset is a {type(dataset).__name__}: it must be a minicnn.data.Dataset",
        )
        check(
            transform is None or callable(transform),
            f"Loader: transform is {transform!r}: it must be callable, or None",
        )
        check(device in ("cpu", "cuda"), f"Loader: device is {device!r}: it must be cpu or cuda")
        if device == "cuda":
            backends.get("cuda")  # which says here what is missing
        self.dataset, self.transform, self.device = dataset, transform, device
        self.batch_size = _whole("batch_size", batch_size, 1)
        self.prefetch = _whole("prefetch", prefetch, 0)
        self.shuffle, self.drop_last = bool(shuffle), bool(drop_last)
        self.seed, self.epoch = _whole("seed", seed, 0, 2**32 - 1), _whole("epoch", epoch, 0)
        check(
            len(self) > 0,
            f"Loader: batch_size is {batch_size} but there are {len(dataset)} images and drop_last leaves the only batch out: "
            "give a smaller batch_size",
        )
        self._batch = 0
        self._resume = 0
        self._pass: object = None

    def __len__(self) -> int:
        """Batches in an epoch."""
        whole, rest = divmod(len(self.dataset), self.batch_size)
        return whole + (rest > 0 and not self.drop_last)

    def __repr__(self) -> str:
        return (
            f"Loader({self.dataset.name}: {len(self)} batches of {self.batch_size}, shuffle={self.shuffle}, "
            f"seed={self.seed}, epoch={self.epoch}, transform={self.transform!r})"
        )

    def order(self, epoch: int) -> np.ndarray:
        """The indices of the dataset's images in the order of an epoch, (N,)."""
        if not self.shuffle:
            return np.arange(len(self.dataset))
        return permutation("data.shuffle", len(self.dataset), epoch, self.seed)

    def __iter__(self) -> Iterator[Batch]:
        first, self._resume, self._batch = self._resume, 0, self._resume
        this = self._pass = object()
        return self._run(this, self.epoch, first)

    def _run(self, this: object, epoch: int, first: int) -> Iterator[Batch]:
        # Not a method of the batches' maker: the thread must hold no reference to this generator, or leaving a loop
        # early would not end it.
        make = _Maker(self, epoch)
        batches = (make(place) for place in range(first, len(self)))
        ahead = _Ahead(batches, self.prefetch) if self.prefetch and first < len(self) else None
        try:
            place = first
            for images, labels in ahead or batches:
                images, place = make.way.end(images), place + 1
                if self._pass is this:
                    self._batch = place
                yield images, labels
                del images, labels  # or the last batch would live on while the next one is awaited
            if self._pass is this:
                self.epoch, self._batch = epoch + 1, 0
        finally:
            if ahead is not None:
                ahead.close()

    def state_dict(self) -> dict[str, int]:
        """Where the iteration stands, in a few integers: take it between batches. `batch` counts those handed out."""
        return {
            "seed": self.seed, "epoch": self.epoch, "batch": self._batch, "batch_size": self.batch_size,
            "images": len(self.dataset), "shuffle": int(self.shuffle), "drop_last": int(self.drop_last),
        }  # fmt: skip

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Go on where `state_dict` was taken: the next pass gives the epoch's remaining batches, perhaps none.

        Raises ArgumentError where that cannot be: in the middle of an epoch with other batches or another dataset.
        """
        check(isinstance(state, dict), f"Loader.load_state_dict: state is {state!r}: it must be what state_dict() gave")
        missing = [name for name in ("seed", "epoch", "batch") if name not in state]
        check(not missing, f"Loader.load_state_dict: the state lacks {', '.join(missing)}: is it a loader's state?")
        batch = _whole("state['batch']", state["batch"], 0, len(self))
        if batch:
            mine = self.state_dict()
            for name in ("batch_size", "images", "shuffle", "drop_last"):
                if state.get(name, mine[name]) != mine[name]:
                    raise ArgumentError(
                        f"Loader.load_state_dict: the state was taken after batch {batch} of an epoch with {name} "
                        f"{state[name]}, but here {name} is {mine[name]}: the remaining batches would differ; use the same "
                        "settings, or a state taken between epochs"
                    )
        self.seed, self.epoch = _whole("state['seed']", state["seed"], 0, 2**32 - 1), _whole("epoch", state["epoch"], 0)
        self._batch = self._resume = batch
        self._pass = None


def _whole(name: str, value: Any, minimum: int, maximum: int | None = None) -> int:
    rule = f"of at least {minimum}" if maximum is None else f"in {minimum} .. {maximum}"
    good = is_integer(value) and value >= minimum and (maximum is None or value <= maximum)
    check(good, f"Loader: {name} is {value!r}: it must be a whole number {rule}")
    return int(value)


class _Maker:
    """Makes the batches of one epoch, each by its place."""

    def __init__(self, loader: Loader, epoch: int):
        self.dataset, self.size = loader.dataset, loader.batch_size
        on_cpu = loader.device == "cpu"
        self.way = OnCpu(loader.transform) if on_cpu else OnCuda(loader.transform, loader.dataset.images.shape)
        self.seed, self.epoch, self.order = loader.seed, epoch, loader.order(epoch)
        self.tables: dict = {}

    def __call__(self, place: int) -> Batch:
        samples = self.order[place * self.size : (place + 1) * self.size]
        draw = Draw(self.seed, self.epoch, samples, tables=self.tables)
        return self.way.begin(self.dataset.images[samples], draw), self.dataset.labels[samples]


_live: weakref.WeakSet[_Ahead] = weakref.WeakSet()


class _Ahead:
    """An iterator that runs another one in a daemon thread, at most `room` items ahead."""

    def __init__(self, items: Iterator[Batch], room: int):
        self._queue = _Queue(room)
        self._thread = threading.Thread(target=_work, args=(items, self._queue.put), name="minicnn-loader", daemon=True)
        _live.add(self)
        self._thread.start()

    def __iter__(self) -> _Ahead:
        return self

    def __next__(self) -> Batch:
        item, error = self._queue.get()
        if error is not None:
            try:
                raise error  # with the thread's traceback, to which the consumer's is added
            finally:
                del error  # or the traceback would hold itself alive
        if item is None:
            raise StopIteration
        return item

    def close(self) -> None:
        """End the thread: at once, or when the batch in its hands is ready."""
        self._queue.close()
        # While the interpreter goes down, daemon threads stand still: waiting for one would be for ever.
        if self._thread is not threading.current_thread() and not sys.is_finalizing():
            self._thread.join(timeout=10)
        _live.discard(self)


class _Queue:
    """What the two threads share. Both sides' waits end when it is closed."""

    def __init__(self, room: int):
        self.items: deque[tuple[Batch | None, BaseException | None]] = deque()
        self.room, self.closed, self.changed = room, False, threading.Condition()

    def put(self, item: Batch | None, error: BaseException | None = None) -> bool:
        """Wait for room and hand over. False once nobody wants any more."""
        with self.changed:
            while len(self.items) >= self.room and not self.closed:
                self.changed.wait()
            if not self.closed:
                self.items.append((item, error))
                self.changed.notify_all()
            return not self.closed

    def get(self) -> tuple[Batch | None, BaseException | None]:
        with self.changed:
            while not self.items and not self.closed:
                self.changed.wait(1.0)  # a limit, because Windows lets Ctrl-C interrupt only limited waits
            if self.closed:
                return None, None
            self.changed.notify_all()
            return self.items.popleft()

    def close(self) -> None:
        with self.changed:
            self.closed = True
            self.items.clear()
            self.changed.notify_all()


def _work(items: Iterator[Batch], put: Callable[..., bool]) -> None:
    try:
        for item in items:
            if not put(item):
                return
            del item
        put(None)
    except BaseException as error:  # whatever it is belongs to the consumer
        put(None, error)


@atexit.register
def _close_all() -> None:
    for ahead in list(_live):
        ahead.close()
