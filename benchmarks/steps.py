"""Time whole training steps: forward, loss, backward, SGD with momentum; NumPy and C backends and PyTorch.

    python benchmarks/steps.py                      all three networks, interleaved; prints a Markdown table
    python benchmarks/steps.py alexnet_cifar        one of them

PyTorch (CPU build) takes part where it is installed. Correctness first: before anything is timed, the loss and every
gradient must agree with PyTorch's. All contestants run in one process in turn, round after round, with the same number
of threads; the table gives medians. Peak memory is measured in a process of its own for each contestant.
"""

from __future__ import annotations

import argparse
import math
import os
import platform
import statistics
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

import minicnn
from minicnn import Tensor, models, ops, optim

BATCH = {"lenet5": 128, "alexnet_cifar": 128, "alexnet": 16}
LR, MOMENTUM, DECAY = 0.01, 0.9, 5e-4


def inputs(name: str) -> tuple[np.ndarray, np.ndarray]:
    draw = np.random.default_rng(0)
    shape = (BATCH[name], *models.info(name).input_shape)
    classes = 1000 if name == "alexnet" else 10
    return draw.standard_normal(shape, dtype=np.float32), draw.integers(0, classes, BATCH[name])


def ours(name: str, backend: str, evaluating: bool = False, dtype=np.float32):
    """A function that does one step and gives the loss, and the model."""
    minicnn.manual_seed(0)
    model = models.create(name)
    if evaluating:
        model.eval()
    optimizer = optim.SGD(model.parameters(), lr=LR, momentum=MOMENTUM, weight_decay=DECAY)
    images, labels = inputs(name)
    images = images.astype(dtype)
    for parameter in model.parameters():
        parameter.data = parameter.numpy().astype(dtype)

    def step(labels=labels, update: bool = True) -> float:
        with minicnn.use_backend(backend):
            loss = ops.cross_entropy(model(Tensor(images)), labels)
            optimizer.zero_grad()
            loss.backward()
            if update:
                optimizer.step()
            return loss.item()

    return step, model


def theirs(name: str, threads: int, evaluating: bool = False, dtype=np.float32):
    """The same step in PyTorch, with the same weights."""
    import torch
    from torch import nn

    torch.set_num_threads(threads)
    minicnn.manual_seed(0)
    source = models.create(name)
    network = nn.Sequential(*(converted(layer, nn) for layer in source_layers(source)))
    with torch.no_grad():
        for mine, yours in zip(source.parameters(), network.parameters(), strict=True):
            yours.copy_(torch.from_numpy(mine.numpy()))
    network.train(not evaluating)
    network.to(torch.from_numpy(np.zeros(0, dtype)).dtype)
    optimizer = torch.optim.SGD(network.parameters(), lr=LR, momentum=MOMENTUM, weight_decay=DECAY)
    images, labels = inputs(name)
    images = torch.from_numpy(images.astype(dtype))

    def step(labels=labels, update: bool = True) -> float:
        loss = nn.functional.cross_entropy(network(images), torch.from_numpy(labels))
        optimizer.zero_grad()
        loss.backward()
        if update:
            optimizer.step()
        return loss.item()

    return step, network


def source_layers(model):
    """The layers that compute, in order: the networks here are plain chains."""
    return [layer for _, layer in model.named_layers() if not list(layer.children())]


def converted(layer, nn):
    kind = type(layer).__name__
    if kind == "Conv2d":
        k, c, r, s = layer.weight.shape
        return nn.Conv2d(
            c * layer.groups,
            k,
            (r, s),
            layer.stride,
            padding_pair(layer.padding),
            layer.dilation,
            layer.groups,
            layer.bias is not None,
        )
    if kind == "Linear":
        return nn.Linear(layer.weight.shape[1], layer.weight.shape[0], layer.bias is not None)
    if kind in ("MaxPool2d", "AvgPool2d"):
        return getattr(nn, kind)(
            layer.kernel_size, layer.stride, padding_pair(layer.padding), ceil_mode=layer.ceil_mode
        )
    if kind == "LocalResponseNorm":
        alpha = layer.alpha if layer.alpha_over_size else layer.alpha * layer.size
        return nn.LocalResponseNorm(layer.size, alpha, layer.beta, layer.k)
    if kind == "Dropout":
        return nn.Dropout(layer.p)
    return getattr(nn, kind)()


def padding_pair(padding):
    if isinstance(padding, tuple) and len(padding) == 4:
        assert padding[0] == padding[1] and padding[2] == padding[3]
        return padding[0], padding[2]
    return padding


def agree(name: str, threads: int) -> None:
    """Loss and gradients must be PyTorch's float64 ones, or there is nothing to time: to 1e-8 in float64, 1e-5 in float32.

    Images that lie on a kink do not count in the loss, and so in no gradient; they run along.
    """
    _, labels = inputs(name)
    labels[on_a_kink(name, threads)] = -100  # what the loss ignores
    step, network = theirs(name, threads, True, np.float64)
    exact_loss = step(labels, update=False)
    exact = [p.grad.numpy() for p in network.parameters()]
    for backend in contestants(False):
        for dtype, tolerance in ((np.float64, 1e-8), (np.float32, 1e-5)):
            step, model = ours(name, backend, True, dtype)
            loss = step(labels, update=False)
            who = f"{name}, {backend}, {dtype.__name__}"
            assert abs(loss - exact_loss) <= tolerance * exact_loss, f"{who}: loss {loss}, not {exact_loss}"
            for (path, mine), true in zip(model.named_parameters(), exact, strict=True):
                error = np.linalg.norm(mine.grad.numpy() - true) / np.linalg.norm(true)
                assert error <= tolerance, f"{who}: gradient of {path} is off by {error:.2g}"


def on_a_kink(name: str, threads: int) -> np.ndarray:
    """Which images' gradients jump when weights and pixels move by float32's rounding, as measured in float64 by PyTorch.

    Rounding then sends a gradient through another pixel of a max pool, or not through a ReLU, and neither side is wrong.
    """
    import torch

    def gradients(noise: float):
        with torch.no_grad():
            for p, w in zip(network.parameters(), weights, strict=True):
                p.copy_(w * (1 + noise * torch.randn_like(w)))
        x = (images * (1 + noise * torch.randn_like(images))).requires_grad_()
        torch.nn.functional.cross_entropy(network(x), labels, reduction="sum").backward()
        return x.grad.flatten(1)

    _, network = theirs(name, threads, True, np.float64)
    weights = [p.detach().clone() for p in network.parameters()]
    images, labels = (torch.from_numpy(array) for array in inputs(name))
    images = images.double()
    exact = gradients(0)
    jumps = torch.zeros(len(images), dtype=torch.bool)
    torch.manual_seed(0)
    for _ in range(10):  # a kink shows in half of them
        jumps |= (gradients(1e-6) - exact).norm(dim=1) > 1e-4 * exact.norm(dim=1)
    assert jumps.sum() <= len(images) - 4, f"{name}: {jumps.sum()} of {len(images)} images lie on a kink: too many"
    return jumps.numpy()


def contestants(torch: bool) -> list[str]:
    names = [b for b in ("numpy", "c") if b in minicnn.backends.available()]
    return names + ["torch"] if torch else names


def maker(name: str, who: str, threads: int):
    return theirs(name, threads)[0] if who == "torch" else ours(name, who)[0]


def peak_memory(name: str, who: str, threads: int) -> float:
    """MiB at the peak of a process that does five steps."""
    line = [sys.executable, __file__, name, "--threads", str(threads), "--memory-of", who]
    return float(subprocess.run(line, capture_output=True, text=True, check=True, env=os.environ).stdout.split()[-1])


def high_water() -> float:
    """MiB that this process held at most. (ru_maxrss would count the parent's, which a child inherits.)"""
    status = Path("/proc/self/status")  # elsewhere than on Linux there is none: not measured
    for line in status.read_text().splitlines() if status.exists() else []:
        if line.startswith("VmHWM:"):
            return float(line.split()[1]) / 1024
    return math.nan


def has_torch() -> bool:
    try:
        import torch  # noqa: F401
    except ImportError:
        return False
    return True


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("networks", nargs="*", default=list(BATCH), help=f"out of {', '.join(BATCH)}")
    parser.add_argument(
        "--threads",
        type=int,
        default=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
    )
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--memory-of", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    minicnn.set_num_threads(arguments.threads)
    if arguments.memory_of:
        step = maker(arguments.networks[0], arguments.memory_of, arguments.threads)
        for _ in range(5):
            step()
        print(high_water())
        return
    torch = has_torch()
    print(
        f"{platform.machine()}, {arguments.threads} threads, NumPy {np.__version__}, minicnn {minicnn.__version__}"
        + (f", PyTorch {__import__('torch').__version__}" if torch else "")
    )
    print("\n| network (batch) | contestant | step, ms | images/s | speed against PyTorch | peak memory, MiB |")
    print("| --- | --- | ---: | ---: | ---: | ---: |")
    for name in arguments.networks:
        if torch:
            agree(name, arguments.threads)
        steps = {who: maker(name, who, arguments.threads) for who in contestants(torch)}
        times: dict[str, list[float]] = {who: [] for who in steps}
        for step in steps.values():
            step()
            step()
        for _ in range(arguments.rounds):
            for who, step in steps.items():
                repeats = max(1, round(0.3 / times[who][-1])) if times[who] else 1
                start = time.perf_counter()
                for _ in range(repeats):
                    step()
                times[who].append((time.perf_counter() - start) / repeats)
        median = {who: statistics.median(values[1:]) for who, values in times.items()}
        del steps
        for who in median:
            ratio = f"{median['torch'] / median[who]:.2f}" if torch else "-"
            print(
                f"| {name} ({BATCH[name]}) | {who} | {median[who] * 1e3:.1f} | {BATCH[name] / median[who]:,.0f} | {ratio} | "
                f"{peak_memory(name, who, arguments.threads):,.0f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
