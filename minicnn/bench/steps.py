"""Whole training steps and inference: forward, loss, backward and SGD with momentum, beside PyTorch's.

Before anything is timed, logits, loss and gradients must be right: to 1e-8 of PyTorch's float64 ones in float64, and in float32
within `ALL` of the error that PyTorch's own float32 makes in the worse of its layouts, all gradients taken together, and each
parameter's within `EACH` of the worst parameter's. A constant bound would be either loose or wrong: deep batch-normalised networks
multiply rounding by thousands, and a ReLU or a max pool whose input lies within rounding of its kink sends a gradient another
way, and neither side is wrong. Where images of a network do not depend on each other, those on a kink run along but do not
count (`on_a_kink`), as long as others remain. Elsewhere kinks befall PyTorch's float32 in the same measure, in one batch of
pictures more, in another less: errors of gradients are medians over DRAWS batches.
"""

from __future__ import annotations

import copy
import gc
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from functools import partial
from typing import Any, NamedTuple

import numpy as np

import minicnn

from .. import backends, models, ops, optim
from ..layers import trace
from ..tensor import Tensor
from . import alone
from .device import CPU, TF32, Cuda, Device
from .measure import BITS, in_a_row, relative_error

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
CUDA_BATCH = {
    "alexnet_cifar": 128,
    "cifar_resnet20": 512,
    "alexnet": 128,
    "vgg_d": 64,
    "resnet50": 128,
    "googlenet": 128,
}
"""Likewise on a GPU."""
LR, MOMENTUM, DECAY = 1e-4, 0.9, 5e-4
"""Small, so that no network diverges on noise (VGG-16 did with 0.01): NaN is other work than numbers."""
LAYOUTS = {"torch": False, "torch channels_last": True}
EXACT = 1e-8
ALL, EACH = 1.5, 2.0
"""How many times PyTorch's error: of all gradients (or the logits), and of a single parameter's, whose few numbers scatter more."""
COARSER = {level: 2.0 ** (24 - bits) for level, bits in BITS.items()}
"""By how much a level rounds more coarsely than float32; errors grow at most in proportion."""
DRAWS = 3
NUDGE = 1e-6
FLOOR = {"cpu": 2.0**-22, "cuda": in_a_row(2**14)}
"""An error below this is float32's own rounding, whatever PyTorch's is: a GPU's threads add thousands of pixels for a weight."""
USELESS = 1.0
"""An error as large as the gradient is wrong at any precision."""

TURN = 0.1
"""Seconds that a turn takes at least."""
BUDGET = {"cpu": {"train": 12.0, "infer": 4.0}, "cuda": {"train": 4.0, "infer": 1.5}}
"""Seconds for the turns of a network, all candidates together, by device."""

Step = Callable[[], Any]


Gradients = tuple[float, dict[str, np.ndarray]]
"""The loss, and the gradients by parameter."""


class Network(NamedTuple):
    """A contestant: what it does in a step, and what the check needs of it."""

    train: Step
    infer: Step
    gradients: Callable[[np.ndarray, int], Gradients]
    """Of labels and the number of the draw of pictures: one step without update and without dropout."""
    logits: Callable[[], np.ndarray]
    """Of inference."""


def batch_of(name: str, device: str = "cpu") -> int:
    """Images in a step of a network: of one that is not listed, as many as 2**34 multiply-adds take, 2**39 on a GPU."""
    batches, most = (CUDA_BATCH, 2**39) if device == "cuda" else (BATCH, 2**34)
    return batches.get(models.info(name).name) or int(np.clip(most // models.info(name).macs, 1, 128))


def inputs(name: str, batch: int, dtype: Any = np.float32, draw: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Pictures of noise, and labels; other ones for every draw."""
    random = np.random.default_rng(draw)
    images = random.standard_normal((batch, *models.info(name).input_shape), np.float32)
    return images.astype(dtype), random.integers(0, classes(name), batch)


def classes(name: str) -> int:
    return int(trace(models.create(name, device="meta"), models.info(name).input_shape).records[0].output[0])


def model_of(name: str) -> Any:
    minicnn.manual_seed(0)
    return models.create(name)


def ours(name: str, batch: int, dtype: Any = np.float32, on: Device = CPU, source: Any = None) -> Network:
    """minicnn's, on the backend and at the precision that are set when it is called. source: a model whose weights to copy."""
    model = copy.deepcopy(source) if source else model_of(name)
    model.to(on.name, dtype)
    optimizer = optim.SGD(model.parameters(), lr=LR, momentum=MOMENTUM, weight_decay=DECAY)

    def pictures(draw: int) -> Any:
        return on.array(inputs(name, batch, dtype, draw)[0])

    images, labels = pictures(0), inputs(name, batch)[1]

    def loss(images: Any = images, labels: np.ndarray = labels) -> Tensor:
        return ops.cross_entropy(model(Tensor(images)), labels)

    def train() -> None:
        model.train()
        value = loss()
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
        value.item()

    def infer() -> Tensor:
        model.eval()
        with minicnn.no_grad():
            return model(Tensor(images))

    def gradients(labels: np.ndarray, draw: int) -> Gradients:
        model.train()
        for _, layer in model.named_layers():
            if type(layer).__name__ == "Dropout":
                layer.eval()
        optimizer.zero_grad()
        value = loss(pictures(draw), labels)
        value.backward()
        return value.item(), {path: values(p.grad) for path, p in model.named_parameters()}

    return Network(train, infer, gradients, lambda: infer().numpy().copy())


def values(gradient: Tensor | None) -> np.ndarray:
    """A copy: the next step writes where they are. A parameter that took no part has none, and fails the check."""
    return np.full((1,), np.nan) if gradient is None else gradient.numpy().copy()


def theirs(
    name: str, batch: int, dtype: Any = np.float32, channels_last: bool = False, on: Device = CPU, source: Any = None
) -> Network:
    """The same in PyTorch, with the same weights."""
    from . import twin

    torch = on.torch()
    source = source or model_of(name)
    network = twin.build(source, dtype=dtype, channels_last=channels_last).to(on.torch_device)
    paths = [path for path, _ in source.named_parameters()]
    del source
    optimizer = torch.optim.SGD(network.parameters(), lr=LR, momentum=MOMENTUM, weight_decay=DECAY)

    def pictures(draw: int) -> Any:
        images = on.tensor(inputs(name, batch, dtype, draw)[0])
        return images.to(memory_format=torch.channels_last) if channels_last else images

    images, labels = pictures(0), on.tensor(inputs(name, batch)[1])

    def loss(images: Any = images, labels: Any = labels) -> Any:
        return torch.nn.functional.cross_entropy(network(images), labels)

    def train() -> None:
        network.train()
        value = loss()
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
        value.item()

    def infer() -> Any:
        network.eval()
        with torch.inference_mode():
            return network(images)

    def gradients(labels: np.ndarray, draw: int) -> Gradients:
        twin.without_dropout(network)
        optimizer.zero_grad()
        value = loss(pictures(draw), on.tensor(labels))
        value.backward()
        parameters: Any = network.parameters()
        return value.item(), {path: p.grad.cpu().numpy().copy() for path, p in zip(paths, parameters)}

    return Network(train, infer, gradients, lambda: infer().cpu().numpy().copy())


def make(name: str, who: str, batch: int, on: Device = CPU, source: Any = None) -> Network:
    """The contestant called `who`: minicnn, or one of LAYOUTS."""
    if who == "minicnn":
        return ours(name, batch, on=on, source=source)
    return theirs(name, batch, channels_last=LAYOUTS[who], on=on, source=source)


class Errors(NamedTuple):
    """How far logits, a loss and its gradients are from the exact ones, relatively."""

    infer: float
    loss: float
    train: float
    """Of all gradients together."""
    each: dict[str, float]


def errors(found: Gradients, exact: Gradients, logits: float) -> Errors:
    """logits: their error."""
    (loss, gradients), (true_loss, true) = found, exact
    each = {path: relative_error(gradients[path], values) for path, values in true.items()}
    norms = {path: float(np.linalg.norm(values)) for path, values in true.items()}
    total = np.sqrt(sum((each[path] * norms[path]) ** 2 for path in each)) / np.sqrt(sum(n**2 for n in norms.values()))
    return Errors(logits, abs(loss - true_loss) / abs(true_loss), float(total), each)


def typical(draws: list[Errors]) -> Errors:
    """The medians."""
    infer, loss, train = (float(np.median([getattr(e, what) for e in draws])) for what in ("infer", "loss", "train"))
    return Errors(infer, loss, train, {path: float(np.median([e.each[path] for e in draws])) for path in draws[0].each})


def under(setting: Callable[[], AbstractContextManager[Any]], network: Network) -> Network:
    """A network that is checked under a setting, such as a precision."""

    def gradients(labels: np.ndarray, draw: int) -> Gradients:
        with setting():
            return network.gradients(labels, draw)

    def logits() -> np.ndarray:
        with setting():
            return network.logits()

    return network._replace(gradients=gradients, logits=logits)


def agree(
    name: str, batch: int, levels: list[str], makers: dict[str, Network], on: Device = CPU, source: Any = None
) -> tuple[dict[str, Any], dict[str, str]]:
    """The errors by precision, of what is measured and by contestant; and why a precision failed, of those that did.

    The exact answers are PyTorch's in float64, or without PyTorch the NumPy backend's. Of a GPU without PyTorch they are the
    CPU's, for as many images as one measures there.
    """
    if on is not CPU and not on.torch() and batch > batch_of(name):
        batch = batch_of(name)
        makers = {"minicnn": ours(name, batch, on=on, source=source)}
    if on.torch():
        exact = theirs(name, batch, np.float64, on=on, source=source)
        others = {who: makers[who] for who in LAYOUTS}
    else:
        plain = partial(minicnn.use_backend, "numpy" if on is CPU else backends.current())
        exact = under(plain, ours(name, batch, np.float64, source=source))
        others = {"numpy": under(plain, ours(name, batch, source=source))}
    mine = {level: under(partial(backends.use_precision, level), makers["minicnn"]) for level in levels}
    wide = ours(name, batch, np.float64, on, source)
    checked = {"wide": wide, **others, **mine}
    true = exact.logits()  # all logits before a step changes the running statistics
    logits = {who: relative_error(network.logits(), true) for who, network in checked.items()}
    draws: dict[str, list[Errors]] = {who: [] for who in checked}
    for draw in range(DRAWS):
        _, labels = inputs(name, batch, draw=draw)
        if on.torch():
            labels[on_a_kink(name, batch, on, source, draw)] = -100  # what the loss ignores
        answer = exact.gradients(labels, draw)
        for who, network in checked.items():
            draws[who].append(errors(network.gradients(labels, draw), answer, logits[who]))
    found = {who: typical(each) for who, each in draws.items()}
    wrong_in_float64 = wrong(found["wide"], EXACT, EXACT, EXACT, EXACT)
    rounding = [found[who] for who in others]
    most = {what: max(FLOOR[on.name], *(getattr(e, what) for e in rounding)) for what in ("infer", "loss", "train")}
    worst = max(most["train"], *(error for e in rounding for error in e.each.values()))
    shown, failed = {}, {}
    for level in levels:
        infer, loss, train = (min(USELESS, ALL * COARSER[level] * most[what]) for what in ("infer", "loss", "train"))
        reason = wrong(found[level], infer, loss, train, min(USELESS, EACH * COARSER[level] * worst))
        if wrong_in_float64 or reason:
            failed[level] = f"in float64 {wrong_in_float64}" if wrong_in_float64 else str(reason)
        other = "torch" if on.torch() else "numpy"
        shown[level] = {
            w: {"minicnn": getattr(found[level], w), other: max(getattr(e, w) for e in rounding)}
            for w in ("infer", "train")
        }
    return shown, failed


def wrong(found: Errors, infer: float, loss: float, train: float, each: float) -> str | None:
    """What is further off than it may be."""
    rows = [("logits are", found.infer, infer), ("loss is", found.loss, loss), ("gradient is", found.train, train)]
    rows += [(f"gradient of {path} is", error, each) for path, error in found.each.items()]
    for what, error, bound in rows:
        if not error <= bound:
            return f"the {what} off by {error:.2g}: at most {bound:.2g} is right"
    return None


def on_a_kink(name: str, batch: int, on: Device = CPU, source: Any = None, draw: int = 0) -> np.ndarray:
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
    images, labels = map(on.tensor, inputs(name, batch, draw=draw))
    for jumping in twin.jumps(source or model_of(name), images, labels, by=NUDGE, tries=5):
        jumps |= jumping
        if batch - jumps.sum() < 4:
            return none
    return jumps


def flops(name: str, batch: int) -> dict[str, float]:
    """Of inference, and of a training step: a gradient of the pictures is not computed."""
    records = trace(models.create(name, device="meta"), models.info(name).input_shape).records
    macs = [(r.layer.macs(r.input, r.output), -1 in r.sources) for r in records if r.leaf]
    return {
        "train": 2.0 * batch * sum(count * (2 if first else 3) for count, first in macs),
        "infer": 2.0 * batch * sum(count for count, _ in macs),
    }


def measure(
    name: str, rounds: int, levels: list[str], batch: int | None = None, on: Device = CPU
) -> Iterator[dict[str, Any]]:
    """The rows of one network: training and inference at each precision."""
    name, batch = models.info(name).name, batch or batch_of(name, on.name)
    torch_too = list(LAYOUTS) if on.torch() else []
    source = model_of(name)  # made once: of the largest networks it takes seconds
    makers = {who: make(name, who, batch, on, source) for who in ("minicnn", *torch_too)}
    found, failed = agree(name, batch, levels, makers, on, source)
    del source
    on.release()
    right = [level for level in levels if level not in failed]

    def call(who: str, what: str, level: str) -> Step:
        step = getattr(makers[who], what)

        def run() -> None:
            with backends.use_precision(level):
                step()

        return run

    times = {}
    for what in ("train", "infer"):
        calls = {f"minicnn {level}": call("minicnn", what, level) for level in right}
        calls |= {who: getattr(makers[who], what) for who in torch_too}
        if torch_too and isinstance(on, Cuda):
            calls[TF32] = on.with_tf32(calls["torch channels_last"])
        times[what] = on.take_turns(calls, rounds, TURN, BUDGET[on.name][what]) if right else {}
    calls.clear()  # they keep networks alive
    on_gpu = _needs_on_gpu(makers, on) if isinstance(on, Cuda) and right else {}
    makers.clear()
    on.release()
    for what in ("train", "infer"):
        theirs_at = {who: each for who, each in times[what].items() if not who.startswith("minicnn")}
        best = min((who for who in torch_too if right), key=lambda who: np.median(theirs_at[who]), default=None)
        for level in levels:
            row = {
                "part": "steps", "name": name, "batch": batch, "what": what, "precision": level,
                "flops": flops(name, batch)[what], "error": found[level][what],
            }  # fmt: skip
            if level in failed:
                yield row | {"failed": failed[level]}
                continue
            if level == right[0]:  # the others need about the same memory
                needs = _needs(name, best, batch, what, level) if on is CPU else on_gpu[what]
            yield row | {"times": {"minicnn": times[what][f"minicnn {level}"], **theirs_at}, **needs}


Needs = dict[str, dict[str, float]]
"""Memory (MiB) and page faults, by contestant."""


def _needs(name: str, best: str | None, batch: int, what: str, level: str) -> Needs:
    """Of a process that does nothing else: ours, and that of the best of PyTorch's layouts."""
    process = {"minicnn": alone.measure(name, "minicnn", batch, what, level)}
    if best:
        process[best] = alone.measure(name, best, batch, what, "highest")
    return {key: {who: each[key] for who, each in process.items()} for key in ("memory", "faults")}


def _needs_on_gpu(makers: dict[str, Network], on: Cuda) -> dict[str, Needs]:
    """The memory of a training step; inference has its gradients and momentum still there. Of PyTorch's layouts one is kept."""
    makers.pop("torch", None)
    gc.collect()
    return {
        "train": {"memory": {who: on.peak(who, network.train) for who, network in makers.items()}},
        "infer": {"memory": {}},
    }
