"""The loop in which one writes a kernel: build, check against the NumPy backend, time one shape. And the shapes of all kernels."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from .. import geometry
from ..errors import BackendError, check
from ..random import Key
from . import convs, gemm, machine
from .cases import Case, normal
from .device import CPU


def build(say: Callable[[str], None]) -> None:
    """Build the kernels in place, where this is a checkout and a source is newer than what was built. Raises BackendError."""
    root = machine.checkout()
    if root is None:
        return
    kernels = root / "kernels"
    sources = [root / "setup.py", *kernels.glob("*.h"), *kernels.glob("c/*.[ch]")]
    built = [*kernels.glob("_c*.so"), *kernels.glob("_c*.pyd")]
    if built and min(map(_changed, built)) >= max(map(_changed, sources)):
        return
    command = ["setup.py", "-q", "build_ext", "--inplace"]
    say(f"building: python {' '.join(command)}")
    done = subprocess.run([sys.executable, *command], cwd=root)
    check(not done.returncode, "bench: the kernels could not be built: see the compiler's messages above", BackendError)
    for path in built:  # setuptools leaves a module alone whose objects did not change
        path.touch()


def _changed(path: Path) -> float:
    return path.stat().st_mtime


CONVOLUTIONS = [  # N, C, K, size, window, stride, padding, groups
    (128, 64, 128, 16, 3, 1, 1, 1),
    (128, 192, 192, 8, 3, 1, 1, 1),
    (128, 3, 64, 32, 3, 1, 1, 1),
    (16, 3, 96, 227, 11, 4, 0, 1),
    (16, 96, 256, 27, 5, 1, 2, 1),
    (16, 256, 384, 13, 3, 1, 1, 1),
    (16, 256, 256, 14, 1, 1, 0, 1),
    (16, 128, 128, 28, 3, 2, 1, 1),
    (16, 144, 144, 28, 3, 1, 1, 144),
]


def names() -> list[str]:
    """The kernels that can be timed by name."""
    return sorted(name for _, made in FAMILIES.values() for name in made)


def known(name: str) -> bool:
    """Whether a kernel's name begins so."""
    return any(kernel.startswith(name) for kernel in names())


def at_shape(
    kernels: list[str], shape: Any, filters: int, kernel: int, stride: int, padding: int | None, dilation: int, groups: int,
    batch: int,
) -> list[Case]:  # fmt: skip
    """The convolution that the command's options describe. Raises ArgumentError, ShapeError."""
    check(
        len(kernels) == 1 and kernels[0].startswith("conv2d"),
        f"bench: shape goes with conv2d, conv2d_input_grad or conv2d_weight_grad, not with {' '.join(kernels) or 'nothing'}",
    )
    weight = (filters, max(shape[0] // groups, 1), kernel, kernel)
    inside = kernel // 2 if padding is None else padding
    g = geometry.conv2d((batch, *shape), weight, stride, inside, dilation, groups, op="bench conv2d")
    return list(convolution(g, kernels[0]))


def cases(kernel: str) -> Iterator[Case]:
    """The shapes of the kernels whose names begin so."""
    for make, made in FAMILIES.values():
        if any(name.startswith(kernel) for name in made):
            yield from (case for case in make() if case.name.startswith(kernel))


def convolution(g: geometry.Conv2d, kernel: str = "conv2d") -> Iterator[Case]:
    """The kernels at one geometry whose names begin so."""
    for case in convs.cases(g, "kernels"):
        name, shape = convs.DIRECTIONS[case.what], case.name
        if name.startswith(kernel):
            case.name, case.what = name, shape
            yield case


def _case(
    kernel: str, x: np.ndarray, traffic: float, out: np.ndarray, *given: Any, theirs: Any = None,
    operands: tuple[np.ndarray, ...] = (), note: str = "",
) -> Case:  # fmt: skip
    """The kernel called with `given`; theirs: the same in PyTorch, as a function of it and of `operands`, or else x."""
    shape = " ".join(filter(None, ["x".join(map(str, x.shape)), note]))
    return Case("kernels", kernel, shape, 0.0, traffic, kernel, given, out, theirs, operands or (x,))


def _convolutions() -> Iterator[Case]:
    for N, C, K, size, window, stride, padding, groups in CONVOLUTIONS:
        shapes = (N, C, size, size), (K, C // groups, window, window)
        yield from convolution(geometry.conv2d(*shapes, stride, padding, 1, groups))


def _products() -> Iterator[Case]:
    for case in gemm.cases():
        case.part, case.name, case.what = "kernels", "matmul", case.name
        yield case
    for N, inputs, outputs in [(16, 9216, 4096), (128, 1024, 512), (16, 4096, 1000)]:
        x, w, bias, out = (
            normal(N, inputs),
            normal(outputs, inputs),
            normal(outputs),
            np.empty((N, outputs), np.float32),
        )
        case = _case(
            "linear", x, 4.0 * (x.size + w.size + out.size), out, x, w, bias, False, out, note=f"to {outputs}",
            theirs=lambda torch, *xs: torch.nn.functional.linear(*xs), operands=(x, w, bias),
        )  # fmt: skip
        case.flops = 2.0 * N * inputs * outputs
        yield case


def _pools() -> Iterator[Case]:
    for shape, window, stride in [((128, 64, 32, 32), 3, 2), ((16, 96, 55, 55), 3, 2), ((32, 64, 56, 56), 2, 2)]:
        x, g = normal(*shape), geometry.pool2d(shape, window, stride, 0)
        out, indices = np.empty(g.output_shape, np.float32), np.empty(g.output_shape, np.int32)
        dx, dy, note = np.empty_like(x), normal(*g.output_shape), f"{window}x{window}/{stride}"
        CPU.reference.max_pool2d(x, g, out, indices)
        traffic, p = 4.0 * (x.size + out.size), (window, stride)
        yield _case(
            "max_pool2d", x, traffic + indices.nbytes, out, x, g, out, indices, note=note,
            theirs=lambda torch, x, p=p: torch.nn.functional.max_pool2d(x, *p, return_indices=True)[0],
        )  # fmt: skip
        yield _case("max_pool2d_grad", x, traffic + indices.nbytes, dx, dy, indices, g, dx, note=note)
        yield _case(
            "avg_pool2d", x, traffic, out, x, g, out, note=note,
            theirs=lambda torch, x, p=p: torch.nn.functional.avg_pool2d(x, *p),
        )  # fmt: skip
        yield _case("avg_pool2d_grad", x, traffic, dx, dy, g, dx, note=note)
    for shape, size in [((128, 256, 8, 8), 1), ((16, 512, 7, 7), 1), ((16, 256, 13, 13), 6)]:
        x, out = normal(*shape), np.empty((*shape[:2], size, size), np.float32)
        dy, dx, traffic, note = normal(*out.shape), np.empty_like(x), 4.0 * (x.size + out.size), f"to {size}x{size}"
        yield _case(
            "adaptive_avg_pool2d", x, traffic, out, x, out, note=note,
            theirs=lambda torch, x, size=size: torch.nn.functional.adaptive_avg_pool2d(x, size),
        )  # fmt: skip
        yield _case(
            "adaptive_avg_pool2d_grad", x, traffic, dx, dy, dx, note=note,
            theirs=lambda torch, *xs: torch.ops.aten._adaptive_avg_pool2d_backward(*xs), operands=(dy, x),
        )  # fmt: skip


def _norms() -> Iterator[Case]:
    for shape in [(128, 64, 16, 16), (16, 96, 55, 55)]:
        x, dy, residual = normal(*shape), normal(*shape), normal(*shape)
        out, scale = np.empty_like(x), np.empty_like(x)
        one, zero, mean, var = (np.full(shape[1], v, np.float32) for v in (1, 0, 0, 1))
        dscale, dshift, size = np.empty_like(one), np.empty_like(one), float(x.nbytes)
        total = np.empty_like(mean)
        yield _case("channel_sum", x, size, total, x, total)
        yield _case("batch_norm", x, 2 * size, out, x, one, zero, zero, one, None, True, out)
        yield _case("batch_norm", x, 3 * size, out, x, one, zero, zero, one, residual, True, out, note="+ x")
        yield _case(
            "batch_norm_training", x, 2 * size, out, x, one, zero, None, None, None, 0.1, 1e-5, False, out, mean, var,
            theirs=lambda torch, x: torch.nn.functional.batch_norm(x, None, None, training=True),
        )  # fmt: skip
        grads = (None, dscale, dshift)
        yield _case("batch_norm_grad", x, 3 * size, out, dy, x, None, one, zero, zero, one, False, True, out, *grads)
        yield _case(
            "local_response_norm", x, 3 * size, out, x, 5, 1e-4, 0.75, 2.0, out, scale,
            theirs=lambda torch, x: torch.nn.functional.local_response_norm(x, 5, 5e-4, 0.75, 2.0),
        )  # fmt: skip
        full = np.empty_like(x)
        CPU.reference.local_response_norm(x, 5, 1e-4, 0.75, 2.0, out, full)
        yield _case("local_response_norm_grad", x, 4 * size, out, dy, x, full, 5, 1e-4, 0.75, out)


def _streams() -> Iterator[Case]:
    x, dy, out = normal(1 << 23), normal(1 << 23), np.empty(1 << 23, np.float32)
    size = float(x.nbytes)
    yield _case("relu", x, 2 * size, out, x, out, theirs=lambda torch, x: torch.relu(x))
    yield _case("relu_grad", x, 3 * size, out, dy, x, out)
    yield _case("dropout", x, 2 * size, out, x, 0.5, Key(1, 2, 3), out)
    for kernel in ("sigmoid", "tanh"):
        for shape in [(128, 6, 28, 28), (1 << 23,)]:
            part = x[: int(np.prod(shape))].reshape(shape)
            y = np.empty_like(part)
            yield _case(
                kernel, part, 2.0 * part.nbytes, y, part, y,
                theirs=lambda torch, x, kernel=kernel: getattr(torch, kernel)(x),
            )  # fmt: skip
    w, v, m = normal(1 << 23), np.zeros(1 << 23, np.float32), np.zeros(1 << 23, np.float32)
    yield _case(
        "sgd", x, 5 * size, v, w, dy, v, 0.0, 0.0, 0.0, False
    )  # a rate of 0: a call changes nothing for the next
    yield _case("adam", x, 7 * size, v, w, dy, m, v, 0.0, 0.0, 0.0, 1e-8, 0.0, False, 1)
    for rows, classes in [(128, 10), (128, 1000)]:
        logits, labels = normal(rows, classes), np.random.default_rng(0).integers(0, classes, rows)
        y, loss = np.empty_like(logits), np.empty(rows, np.float32)
        yield _case(
            "log_softmax", logits, 2.0 * logits.nbytes, y, logits, y,
            theirs=lambda torch, x: torch.log_softmax(x, 1),
        )  # fmt: skip
        yield _case(
            "cross_entropy", logits, 2.0 * logits.nbytes, loss, logits, labels, None, 0.0, -100, loss, y,
            theirs=lambda torch, *xs: torch.nn.functional.cross_entropy(*xs, reduction="none"), operands=(logits, labels),
        )  # fmt: skip


FAMILIES: dict[str, tuple[Callable[[], Iterator[Case]], tuple[str, ...]]] = {
    "conv2d": (_convolutions, ("conv2d", "conv2d_input_grad", "conv2d_weight_grad")),
    "matmul": (_products, ("matmul", "linear")),
    "max_pool2d": (_pools, (
        "max_pool2d", "max_pool2d_grad", "avg_pool2d", "avg_pool2d_grad", "adaptive_avg_pool2d", "adaptive_avg_pool2d_grad",
    )),
    "batch_norm": (_norms, (
        "channel_sum", "batch_norm", "batch_norm_training", "batch_norm_grad", "local_response_norm",
        "local_response_norm_grad",
    )),
    "relu": (_streams, (
        "relu", "relu_grad", "dropout", "sigmoid", "tanh", "sgd", "adam", "log_softmax", "cross_entropy",
    )),
}  # fmt: skip
"""Who makes the cases of which kernels."""
