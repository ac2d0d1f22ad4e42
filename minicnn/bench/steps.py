"""Whole training steps and inference: forward, loss, backward and SGD with momentum, beside PyTorch's.

Before anything is timed, the loss and every gradient must be right: to 1e-8 of PyTorch's float64 ones in float64, and in
float32 within `SLACK` of the error that PyTorch's own float32 makes. A constant bound would be either loose or wrong: deep
batch-normalised networks multiply rounding by thousands, and a ReLU or a max pool whose input lies within rounding of its kink
sends a gradient another way, and neither side is wrong. Where images of a network do not depend on each other, those on a kink
run along but do not count (`on_a_kink`), as long as others remain. Elsewhere kinks befall PyTorch's float32 in the same
measure; as they scatter, its error is the largest of several: both layouts, as they are and with every pixel and weight moved
by some `NUDGE` of itself, which is what float32's rounding in a long sum comes to.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

import minicnn

from .. import backends, models, ops, optim
from ..errors import check
from ..layers import trace
from ..tensor import Tensor
from . import alone, machine
from .measure import relative_error, take_turns

BATCH = {
    "lenet5": 128,
    "alexnet_cifar": 128,
    "cifar_resnet20": 128,
    "alexnet": 16,
    "vgg_d": 4,
    "resnet18": 16,
    "resnet50": 8,
    "googlenet": 16,
    "densenet121": 8,
    "inception_v3": 8,
}
"""The networks that are measured, and the images in a step."""
LR, MOMENTUM, DECAY = 0.01, 0.9, 5e-4
LAYOUTS = {"torch": False, "torch channels_last": True}
EXACT = 1e-8
SLACK = {"highest": 2.0, "high": 2.0**9, "medium": 2.0**17}
"""How many times the error of PyTorch's float32 is allowed. The lower levels keep 16 and 8 of float32's 24 significant bits."""
NUDGE = 1e-6
FLOOR = 1e-6
"""An error below this is float32's own rounding, whatever PyTorch's is."""

Step = Callable[[], Any]


class Network(NamedTuple):
    """A contestant: what it does in a step, and what the check needs of it."""

    train: Step
    infer: Step
    gradients: Callable[..., tuple[float, dict[str, np.ndarray]]]
    """Of labels: the loss and the gradients of one step without update and without dropout."""


def batch_of(name: str) -> int:
    """Images in a step of a network: of one that is not listed, as many as 2**34 multiply-adds take."""
    return BATCH.get(models.info(name).name) or int(np.clip(2**34 // models.info(name).macs, 1, 128))


def inputs(name: str, batch: int, dtype: Any = np.float32) -> tuple[np.ndarray, np.ndarray]:
    """Pictures of noise, and labels."""
    draw = np.random.default_rng(0)
    images = draw.standard_normal((batch, *models.info(name).input_shape), np.float32)
    return images.astype(dtype), draw.integers(0, classes(name), batch)


def classes(name: str) -> int:
    return int(trace(models.create(name, device="meta"), models.info(name).input_shape).records[0].output[0])


def model_of(name: str) -> Any:
    minicnn.manual_seed(0)
    return models.create(name)


def ours(name: str, batch: int, dtype: Any = np.float32) -> Network:
    """minicnn's, on the backend and at the precision that are set when it is called."""
    model = model_of(name)
    for parameter in model.parameters():
        parameter.data = parameter.numpy().astype(dtype)
    optimizer = optim.SGD(model.parameters(), lr=LR, momentum=MOMENTUM, weight_decay=DECAY)
    images, labels = inputs(name, batch, dtype)

    def loss(labels: np.ndarray = labels) -> Tensor:
        return ops.cross_entropy(model(Tensor(images)), labels)

    def train() -> None:
        model.train()
        value = loss()
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
        value.item()

    def infer() -> None:
        model.eval()
        with minicnn.no_grad():
            model(Tensor(images))

    def gradients(labels: np.ndarray) -> tuple[float, dict[str, np.ndarray]]:
        model.train()
        for _, layer in model.named_layers():
            if type(layer).__name__ == "Dropout":
                layer.eval()
        optimizer.zero_grad()
        value = loss(labels)
        value.backward()
        return value.item(), {path: values(p.grad) for path, p in model.named_parameters()}

    return Network(train, infer, gradients)


def values(gradient: Tensor | None) -> np.ndarray:
    """A copy: the next step writes where they are. A parameter that took no part has none, and fails the check."""
    return np.full((1,), np.nan) if gradient is None else gradient.numpy().copy()


def theirs(name: str, batch: int, dtype: Any = np.float32, channels_last: bool = False) -> Network:
    """The same in PyTorch, with the same weights."""
    from . import twin

    torch = machine.torch()
    source = model_of(name)
    network = twin.build(source, dtype=dtype, channels_last=channels_last)
    paths = [path for path, _ in source.named_parameters()]
    del source
    optimizer = torch.optim.SGD(network.parameters(), lr=LR, momentum=MOMENTUM, weight_decay=DECAY)
    images, labels = (torch.from_numpy(array) for array in inputs(name, batch, dtype))
    if channels_last:
        images = images.to(memory_format=torch.channels_last)

    def loss(images: Any = images, labels: Any = labels) -> Any:
        return torch.nn.functional.cross_entropy(network(images), labels)

    def train() -> None:
        network.train()
        value = loss()
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
        value.item()

    def infer() -> None:
        network.eval()
        with torch.inference_mode():
            network(images)

    def gradients(labels: np.ndarray, nudge: float = 0) -> tuple[float, dict[str, np.ndarray]]:
        twin.without_dropout(network)
        optimizer.zero_grad()
        value = loss(twin.nudge(network, images, nudge) if nudge else images, torch.from_numpy(labels))
        value.backward()
        parameters: Any = network.parameters()
        return value.item(), {path: p.grad.numpy().copy() for path, p in zip(paths, parameters)}

    return Network(train, infer, gradients)


@contextlib.contextmanager
def at(precision: str) -> Iterator[None]:
    """Compute at this precision inside the block."""
    before = backends.get_precision()
    backends.set_precision(precision)
    try:
        yield
    finally:
        backends.set_precision(before)


def make(name: str, who: str, batch: int) -> Network:
    """The contestant called `who`: minicnn, or one of LAYOUTS."""
    return ours(name, batch) if who == "minicnn" else theirs(name, batch, channels_last=LAYOUTS[who])


class Errors(NamedTuple):
    """How far a loss and its gradients are from the exact ones, relatively."""

    loss: float
    all: float
    """Of all gradients together."""
    each: dict[str, float]


def errors(found: tuple[float, dict[str, np.ndarray]], exact: tuple[float, dict[str, np.ndarray]]) -> Errors:
    each = {path: relative_error(found[1][path], true) for path, true in exact[1].items()}
    norms = {path: float(np.linalg.norm(true)) for path, true in exact[1].items()}
    total = np.sqrt(sum((each[path] * norms[path]) ** 2 for path in each)) / np.sqrt(sum(n**2 for n in norms.values()))
    return Errors(abs(found[0] - exact[0]) / abs(exact[0]), float(total), each)


def plain_errors(name: str, batch: int, labels: np.ndarray, exact: Any) -> list[Errors]:
    """Of float32 as others compute it."""
    if not machine.torch():
        with minicnn.use_backend("numpy"):
            return [errors(ours(name, batch).gradients(labels), exact)]
    found = []
    for channels_last in LAYOUTS.values():
        network = theirs(name, batch, channels_last=channels_last)
        found += [errors(network.gradients(labels, nudge), exact) for nudge in (0, NUDGE)]
    return found


def agree(name: str, batch: int, levels: list[str]) -> dict[str, dict[str, float]]:
    """Check the loss and the gradients; gives the error of all gradients, by precision and contestant.

    The exact ones are PyTorch's in float64, or without PyTorch the NumPy backend's. Raises BackendError.
    """
    _, labels = inputs(name, batch)
    if machine.torch():
        labels[on_a_kink(name, batch)] = -100  # what the loss ignores
        exact = theirs(name, batch, np.float64).gradients(labels)
    else:
        with minicnn.use_backend("numpy"):
            exact = ours(name, batch, np.float64).gradients(labels)
    same = dict.fromkeys(exact[1], EXACT)
    _within(name, "float64", errors(ours(name, batch, np.float64).gradients(labels), exact), EXACT, EXACT, same)
    plain = plain_errors(name, batch, labels, exact)
    loss, everything = (max(FLOOR, *(getattr(e, what) for e in plain)) for what in ("loss", "all"))
    network, result = ours(name, batch), {}
    for level in levels:
        slack = SLACK[level]
        # The few numbers of one parameter scatter more than all together.
        each = {path: 2 * slack * max(everything, *(e.each[path] for e in plain)) for path in exact[1]}
        with at(level):
            mine = errors(network.gradients(labels), exact)
        _within(name, level, mine, slack * max(loss, everything), slack * everything, each)
        result[level] = {"minicnn": mine.all, "torch" if machine.torch() else "numpy": everything}
    return result


def on_a_kink(name: str, batch: int) -> np.ndarray:
    """Which images' gradients jump when weights and pixels move by float32's rounding, as PyTorch finds.

    None, where batch normalisation makes one of them all, and where fewer than 4 would remain: deep networks have so many
    ReLUs that some always lie on their kinks.
    """
    from . import twin

    none = np.zeros(batch, bool)
    if batch < 8 or any(
        type(layer).__name__ == "BatchNorm2d" for _, layer in models.create(name, device="meta").named_layers()
    ):
        return none
    jumps = none.copy()
    for jumping in twin.jumps(model_of(name), *inputs(name, batch), by=NUDGE, tries=5):
        jumps |= jumping
        if batch - jumps.sum() < 4:
            return none
    return jumps


def _within(name: str, level: str, found: Errors, loss: float, everything: float, each: dict[str, float]) -> None:
    rows = [("loss", found.loss, loss), ("gradient", found.all, everything)]
    rows += [(f"gradient of {path}", found.each[path], bound) for path, bound in each.items()]
    for what, error, bound in rows:
        check(
            error <= bound,
            f"bench: {name} at {level}: the {what} is off by {error:.2g}: at most {bound:.2g} is right: not timed",
            minicnn.errors.BackendError,
        )


def flops(name: str, batch: int) -> dict[str, float]:
    """Of inference, and of a training step: a gradient of the pictures is not computed."""
    records = trace(models.create(name, device="meta"), models.info(name).input_shape).records
    macs = [(r.layer.macs(r.input, r.output), -1 in r.sources) for r in records if r.leaf]
    return {
        "train": 2.0 * batch * sum(count * (2 if first else 3) for count, first in macs),
        "infer": 2.0 * batch * sum(count for count, _ in macs),
    }


def measure(name: str, rounds: int, levels: list[str], batch: int | None = None) -> Iterator[dict[str, Any]]:
    """The rows of one network: training and inference at each precision."""
    name, batch = models.info(name).name, batch or batch_of(name)
    found = agree(name, batch, levels)
    torch_too = list(LAYOUTS) if machine.torch() else []
    makers = {who: make(name, who, batch) for who in ("minicnn", *torch_too)}

    def call(who: str, what: str, level: str) -> Step:
        step = getattr(makers[who], what)

        def run() -> None:
            with at(level):
                step()

        return run

    times = {}
    for what in ("train", "infer"):
        calls = {f"minicnn {level}": call("minicnn", what, level) for level in levels}
        calls |= {who: getattr(makers[who], what) for who in torch_too}
        times[what] = take_turns(calls, rounds, 0.3)
    makers.clear()
    for what in ("train", "infer"):
        theirs_at = {who: times[what][who] for who in torch_too}
        best = min(theirs_at, key=lambda who: np.median(theirs_at[who]), default=None)
        alike = {best: alone.measure(name, best, batch, what, "highest")} if best else {}
        for level in levels:
            process = {"minicnn": alone.measure(name, "minicnn", batch, what, level), **alike}
            yield {
                "part": "steps", "name": name, "batch": batch, "what": what, "precision": level,
                "flops": flops(name, batch)[what],
                "times": {"minicnn": times[what][f"minicnn {level}"], **theirs_at},
                "error": found[level],
                "memory": {who: each["memory"] for who, each in process.items()},
                "faults": {who: each["faults"] for who, each in process.items()},
            }  # fmt: skip
