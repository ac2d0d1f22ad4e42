"""Whether a device computes what it should: `minicnn selftest`, where there is no test suite at hand.

Operations and their gradients are compared with the NumPy backend in float64, gradients with differences, and a network that was
trained for a few steps with one that NumPy has trained. It takes seconds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

import minicnn

from . import backends, models, ops, optim, random
from .errors import MinicnnError
from .gradcheck import gradcheck
from .tensor import Tensor

Case = tuple[Callable[..., Tensor], tuple[tuple[int, ...], ...]]
TOLERANCE = {"float32": 2e-5, "float64": 1e-12}
"""Of relative errors: |found - exact| / |exact|."""
STEPS = 5
DRIFT = 1e-3
"""Of weights after STEPS of training: batch normalisation of four images multiplies rounding. The C backend's is 1.1e-4."""


def _cases() -> dict[str, Case]:
    """Operations and the shapes of their inputs: awkward ones, no multiple of any tile."""
    image = (3, 6, 13, 11)

    def in_use(x: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
        mean, var = (Tensor(np.full(6, value, "f"), device=x.device) for value in (0.25, 2))
        return ops.batch_norm(x, scale, shift, mean, var, training=False)

    return {
        "relu": (ops.relu, ((5, 7, 3),)),
        "sigmoid": (ops.sigmoid, ((5, 7, 3),)),
        "tanh": (ops.tanh, ((5, 7, 3),)),
        "matmul": (ops.matmul, ((3, 17, 40), (3, 40, 9))),
        "linear": (ops.linear, ((9, 33), (17, 33), (17,))),
        "conv2d": (lambda x, w, b: ops.conv2d(x, w, b, padding=1), (image, (10, 6, 3, 3), (10,))),
        "conv2d, stride 2": (lambda x, w: ops.conv2d(x, w, stride=2, padding=2), (image, (70, 6, 5, 5))),
        "conv2d, groups, dilation": (lambda x, w: ops.conv2d(x, w, groups=3, dilation=2), (image, (9, 2, 3, 3))),
        "conv2d, 1x1": (ops.conv2d, (image, (130, 6, 1, 1))),
        "conv2d, depthwise": (lambda x, w: ops.conv2d(x, w, padding=1, groups=6), (image, (6, 1, 3, 3))),
        "max_pool2d": (lambda x: ops.max_pool2d(x, 3, 2, padding=1, ceil_mode=True), (image,)),
        "avg_pool2d": (lambda x: ops.avg_pool2d(x, 3, 2, padding=1), (image,)),
        "adaptive_avg_pool2d": (lambda x: ops.adaptive_avg_pool2d(x, (5, 4)), (image,)),
        "local_response_norm": (lambda x: ops.local_response_norm(x, 5, alpha=0.1), (image,)),
        "batch_norm": (lambda x, s, b: ops.batch_norm(x, s, b), (image, (6,), (6,))),
        "batch_norm, relu": (
            lambda x, s, b, r: ops.batch_norm(x, s, b, residual=r, relu=True), (image, (6,), (6,), image),
        ),
        "batch_norm in use": (in_use, (image, (6,), (6,))),
        "cross_entropy": (lambda x: ops.cross_entropy(x, np.arange(9) % 7, label_smoothing=0.1), ((9, 7),)),
        "cat": (lambda a, b: ops.cat([a, b], 1), (image, (3, 2, 13, 11))),
    }  # fmt: skip


def _results(case: Case, arrays: list[np.ndarray], device: str) -> list[np.ndarray]:
    """The output, and the gradient of each input for a fixed direction."""
    inputs = [Tensor(a, device=device, requires_grad=True) for a in arrays]
    y = case[0](*inputs)
    direction = np.random.default_rng(7).standard_normal(y.shape).astype(arrays[0].dtype)
    (y * Tensor(direction, device=device)).sum().backward()
    return [y.numpy(), *(x.grad.numpy() for x in inputs)]  # type: ignore[union-attr]


def _compare(case: Case, dtype: str, device: str) -> None:
    """Raises MinicnnError where the device is further from NumPy's float64 than rounding explains."""
    draw = np.random.default_rng(0)
    arrays = [draw.standard_normal(shape).astype(dtype) for shape in case[1]]
    with backends.use_backend("numpy"):
        exact = _results(case, [a.astype("float64") for a in arrays], "cpu")
    for i, (found, true) in enumerate(zip(_results(case, arrays, device), exact)):
        error = float(np.linalg.norm(found - true) / max(float(np.linalg.norm(true)), 1e-30))
        if not error <= TOLERANCE[dtype]:
            what = "the output" if i == 0 else f"the gradient of input {i - 1}"
            raise MinicnnError(f"in {dtype} {what} is off by {error:.2g}: at most {TOLERANCE[dtype]:g} is right")


def _differences(device: str) -> None:
    draw = np.random.default_rng(1)
    x, w = (
        Tensor(draw.standard_normal(shape), device=device, requires_grad=True) for shape in ((2, 4, 6, 5), (6, 2, 3, 3))
    )
    gradcheck(lambda x, w: ops.tanh(ops.conv2d(x, w, stride=2, padding=1, groups=2)), [x, w], samples=6)


def _dropout(device: str) -> None:
    """The same mask everywhere."""
    x = np.ones((3, 1001), np.float32)
    key = random.key("selftest", 3, seed=5)
    there, here = (ops.dropout(Tensor(x, device=d), 0.3, key=key).numpy() for d in (device, "cpu"))
    if not np.array_equal(there, here):
        raise MinicnnError(f"{(there != here).sum()} of {x.size} numbers of the mask differ")


def _training(device: str) -> None:
    """Steps of lenet5 and of cifar_resnet20 on random pictures, with NumPy's in float64 beside them."""
    for name in ("lenet5", "cifar_resnet20"):
        draw = np.random.default_rng(2)
        images = draw.standard_normal((4, *models.info(name).input_shape)).astype(np.float32)
        weights = []
        for where, dtype in ((device, "float32"), ("cpu", "float64")):
            minicnn.manual_seed(0)
            with backends.use_backend("numpy" if dtype == "float64" else backends.current()):
                model = models.create(name)
                model.to(where) if dtype == "float32" else _widen(model)
                optimizer = optim.SGD(model.parameters(), lr=0.01, momentum=0.9, weight_decay=5e-4)
                for _ in range(STEPS):
                    loss = ops.cross_entropy(model(Tensor(images.astype(dtype), device=where)), np.array([1, 0, 3, 9]))
                    optimizer.zero_grad()
                    loss.backward()
                    optimizer.step()
                weights.append(np.concatenate([p.numpy().reshape(-1) for p in model.parameters()]))
        error = float(np.linalg.norm(weights[0] - weights[1]) / np.linalg.norm(weights[1]))
        if not error <= DRIFT:
            raise MinicnnError(
                f"{name}: after {STEPS} steps the weights are off by {error:.2g}: at most {DRIFT:g} is right"
            )


def _widen(model: Any) -> None:
    for tensor in (*model.parameters(), *model.buffers()):
        tensor.data = tensor.data.astype(np.float64)


def checks(device: str) -> Iterator[tuple[str, Callable[[], None]]]:
    """Names, and functions that raise where something is wrong."""
    for name, case in _cases().items():
        for dtype in TOLERANCE:
            yield f"{name}, {dtype}", lambda case=case, dtype=dtype: _compare(case, dtype, device)  # type: ignore[misc]
    yield "gradients against differences", lambda: _differences(device)
    yield "dropout draws the CPU's mask", lambda: _dropout(device)
    yield "training steps", lambda: _training(device)


def run(device: str, say: Callable[[str], None] = print) -> int:
    """Run all checks on "cpu" or "cuda", say what fails, and return how many did. Raises BackendError without the device."""
    if device == "cuda":
        backends.get("cuda")
    failed = passed = 0
    for name, function in checks(device):
        try:
            function()
            passed += 1
        except Exception as error:  # whatever it is: the others shall run all the same
            failed += 1
            say(f"FAILED {name}: {type(error).__name__}: {error}")
    say(f"{passed} checks passed on {device}, {failed} failed")
    return failed
