"""Time one kernel: the C backend beside the NumPy backend and, where it is installed, PyTorch, and the machine's limit.

    python benchmarks/kernels.py conv2d        all shapes of the kernels whose names begin so; without a name, all
    python benchmarks/kernels.py conv2d --no-numpy --repeat 30

In a checkout whose C sources are newer than what was built of them, it builds first. Results are compared first. Then the candidates take turns, so that a disturbance hits all alike, and the medians are
printed. The limit is measured too: multiply-adds that stay in registers, and a copy of large arrays; a kernel is set
beside the one that it would meet first.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import minicnn
from minicnn import geometry
from minicnn.backends import c as c_backend
from minicnn.backends.reference import Reference
from minicnn.random import Key

try:
    import torch
    import torch.nn.functional as functional
except ImportError:
    torch = None


def build() -> None:
    """Build the extension modules in place where this is a checkout and a source is newer than one of them."""
    root = Path(__file__).resolve().parent.parent
    kernels = root / "kernels"
    sources = [*kernels.glob("*.h"), *kernels.glob("c/*.[ch]")]
    if not sources or not (root / "setup.py").exists():
        return
    if Path(minicnn.__file__).resolve().parent.parent != root:
        print(f"not built: the minicnn in use lies in {Path(minicnn.__file__).parent}, not in this checkout")
        return
    built = [*kernels.glob("_c*.so"), *kernels.glob("_c*.pyd")]
    if built and min(map(_changed, built)) >= max(map(_changed, sources)):
        return
    command = ["setup.py", "-q", "build_ext", "--inplace"]
    print("building: python", *command, flush=True)
    subprocess.run([sys.executable, *command], cwd=root, check=True)


def _changed(path: Path) -> float:
    return path.stat().st_mtime


build()
C, NUMPY = c_backend.load(), Reference(np)
rng = np.random.default_rng(0)


@dataclass
class Case:
    """One kernel at one shape. `call(backend)` computes into `out`; `torch` gives the same numbers, or is None."""

    kernel: str
    shape: str
    flops: float
    bytes: float
    call: Callable[[Any], None]
    out: np.ndarray
    torch: Callable[[], Any] | None = None


def normal(*shape: int) -> np.ndarray:
    return rng.standard_normal(shape, np.float32)


def tensor(x: np.ndarray) -> Any:
    return torch.from_numpy(x)


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


def convolutions() -> Iterator[Case]:
    for N, channels, K, size, window, stride, padding, groups in CONVOLUTIONS:
        x, w = normal(N, channels, size, size), normal(K, channels // groups, window, window)
        g = geometry.conv2d(x.shape, w.shape, stride, padding, 1, groups)
        y, dy, dx, dw = (
            np.empty(g.output_shape, np.float32),
            normal(*g.output_shape),
            np.empty_like(x),
            np.empty_like(w),
        )
        shape = f"{N}x{channels}x{size}x{size} {K}x{window}x{window}/{stride}" + f" groups {groups}" * (groups > 1)
        flops, traffic = 2.0 * g.macs, 4.0 * (x.size + w.size + y.size)
        if torch:
            tx, tw, tdy = tensor(x), tensor(w), tensor(dy)

            def forward(tx=tx, tw=tw, args=(stride, padding, 1, groups)):
                return functional.conv2d(tx, tw, None, *args)

            def backward(i, tx=tx, tw=tw, tdy=tdy, stride=stride, padding=padding, groups=groups):
                mask = [i == 0, i == 1, False]
                gradients = torch.ops.aten.convolution_backward(
                    tdy, tx, tw, None, [stride] * 2, [padding] * 2, [1, 1], False, [0, 0], groups, mask
                )
                return gradients[i]

        def call(backend, name, *arrays, g=g):
            getattr(backend, name)(*arrays[:-1], g, out=arrays[-1])

        yield Case(
            "conv2d", shape, flops, traffic, lambda b, a=(x, w, g, y): b.conv2d(a[0], a[1], None, a[2], False, a[3]), y,
            forward if torch else None,
        )  # fmt: skip
        for i, (name, arrays) in enumerate([("conv2d_input_grad", (dy, w, dx)), ("conv2d_weight_grad", (dy, x, dw))]):
            yield Case(
                name, shape, flops, traffic, lambda b, call=call, name=name, arrays=arrays: call(b, name, *arrays),
                arrays[-1], (lambda backward=backward, i=i: backward(i)) if torch else None,
            )  # fmt: skip


def products() -> Iterator[Case]:
    for M, K, N in [(2048, 2048, 2048), (1024, 1024, 1024), (16, 4096, 9216), (4096, 16, 9216), (300, 300, 300)]:
        a, b, out = normal(M, K), normal(K, N), np.empty((M, N), np.float32)
        yield Case(
            "matmul", f"{M}x{K} {K}x{N}", 2.0 * M * K * N, 4.0 * (a.size + b.size + out.size),
            lambda backend, p=(a, b, out): backend.matmul(*p), out,
            (lambda p=(a, b): torch.mm(tensor(p[0]), tensor(p[1]))) if torch else None,
        )  # fmt: skip
    for N, inputs, outputs in [(16, 9216, 4096), (128, 1024, 512), (16, 4096, 1000)]:
        x, w, bias, out = (
            normal(N, inputs),
            normal(outputs, inputs),
            normal(outputs),
            np.empty((N, outputs), np.float32),
        )
        yield Case(
            "linear", f"{N}x{inputs} {outputs}", 2.0 * N * inputs * outputs, 4.0 * (x.size + w.size + out.size),
            lambda backend, p=(x, w, bias, out): backend.linear(*p[:3], False, p[3]), out,
            (lambda p=(x, w, bias): functional.linear(*map(tensor, p))) if torch else None,
        )  # fmt: skip


def pools() -> Iterator[Case]:
    for shape, window, stride, padding in [
        ((128, 64, 32, 32), 3, 2, 0),
        ((16, 96, 55, 55), 3, 2, 0),
        ((32, 64, 56, 56), 2, 2, 0),
    ]:
        x = normal(*shape)
        g = geometry.pool2d(shape, window, stride, padding)
        out, indices, dx = np.empty(g.output_shape, np.float32), np.empty(g.output_shape, np.int32), np.empty_like(x)
        dy, name = normal(*g.output_shape), "x".join(map(str, shape)) + f" {window}x{window}/{stride}"
        C.max_pool2d(x, g, out, indices)
        traffic = 4.0 * (x.size + 2 * out.size)
        yield Case(
            "max_pool2d", name, 0, traffic, lambda b, p=(x, g, out, indices): b.max_pool2d(*p), out,
            (lambda x=x, p=(window, stride): functional.max_pool2d(tensor(x), *p, return_indices=True)[0]) if torch else None,
        )  # fmt: skip
        yield Case("max_pool2d_grad", name, 0, traffic, lambda b, p=(dy, indices, g, dx): b.max_pool2d_grad(*p), dx)
        yield Case(
            "avg_pool2d", name, 0, traffic, lambda b, p=(x, g, out): b.avg_pool2d(*p), out,
            (lambda x=x, p=(window, stride): functional.avg_pool2d(tensor(x), *p)) if torch else None,
        )  # fmt: skip
        yield Case("avg_pool2d_grad", name, 0, traffic, lambda b, p=(dy, g, dx): b.avg_pool2d_grad(*p), dx)
    for shape, size in [((128, 256, 8, 8), 1), ((16, 512, 7, 7), 1), ((16, 256, 13, 13), 6)]:
        x, out = normal(*shape), np.empty((*shape[:2], size, size), np.float32)
        dy, dx, name = normal(*out.shape), np.empty_like(x), "x".join(map(str, shape)) + f" to {size}x{size}"
        traffic = 4.0 * (x.size + out.size)
        yield Case(
            "adaptive_avg_pool2d", name, 0, traffic, lambda b, p=(x, out): b.adaptive_avg_pool2d(*p), out,
            (lambda x=x, size=size: functional.adaptive_avg_pool2d(tensor(x), size)) if torch else None,
        )  # fmt: skip
        yield Case(
            "adaptive_avg_pool2d_grad", name, 0, traffic, lambda b, p=(dy, dx): b.adaptive_avg_pool2d_grad(*p), dx,
            (lambda p=(dy, x): torch.ops.aten._adaptive_avg_pool2d_backward(*map(tensor, p))) if torch else None,
        )  # fmt: skip


def norms() -> Iterator[Case]:
    for shape in [(128, 64, 16, 16), (16, 96, 55, 55)]:
        x, dy, out, scale = normal(*shape), normal(*shape), np.empty(shape, np.float32), np.empty(shape, np.float32)
        one, zero, mean, var = (np.full(shape[1], v, np.float32) for v in (1, 0, 0, 0))
        dscale, dshift, name, size = np.empty_like(one), np.empty_like(one), "x".join(map(str, shape)), 4.0 * x.size
        yield Case("channel_sum", name, 0, size, lambda b, p=(x, mean): b.channel_sum(*p), mean)
        yield Case(
            "batch_norm_statistics", name, 0, size, lambda b, p=(x, mean, var): b.batch_norm_statistics(*p), var,
            (lambda x=x: tensor(x).var((0, 2, 3), unbiased=False)) if torch else None,
        )  # fmt: skip
        p = (x, one, zero, zero, one, None, True, out)
        yield Case("batch_norm", name, 0, 2 * size, lambda b, p=p: b.batch_norm(*p), out)
        p = (dy, x, one, zero, one, True, out, dscale, dshift)
        yield Case("batch_norm_grad", name, 0, 3 * size, lambda b, p=p: b.batch_norm_grad(*p), out)
        p = (x, 5, 1e-4, 0.75, 2.0, out, scale)
        yield Case(
            "local_response_norm", name, 0, 3 * size, lambda b, p=p: b.local_response_norm(*p), out,
            (lambda x=x: functional.local_response_norm(tensor(x), 5, 5e-4, 0.75, 2.0)) if torch else None,
        )  # fmt: skip
        C.local_response_norm(*p)
        p = (dy, x, scale, 5, 1e-4, 0.75, out)
        yield Case("local_response_norm_grad", name, 0, 4 * size, lambda b, p=p: b.local_response_norm_grad(*p), out)


def streams() -> Iterator[Case]:
    x, dy, out = normal(1 << 23), normal(1 << 23), np.empty(1 << 23, np.float32)
    name, size, key = "8388608", 4.0 * x.size, Key(1, 2, 3)
    yield Case(
        "relu",
        name,
        0,
        2 * size,
        lambda b: b.relu(x, out),
        out,
        (lambda: functional.relu(tensor(x))) if torch else None,
    )
    yield Case("relu_grad", name, 0, 3 * size, lambda b: b.relu_grad(dy, x, out), out)
    yield Case("dropout", name, 0, 2 * size, lambda b: b.dropout(x, 0.5, key, out), out)
    for kernel in ("sigmoid", "tanh"):
        for shape in [(128, 6, 28, 28), (1 << 23,)]:
            part = x[: int(np.prod(shape))].reshape(shape)
            y = np.empty_like(part)
            yield Case(
                kernel, "x".join(map(str, shape)), 0, 8.0 * part.size,
                lambda b, kernel=kernel, p=(part, y): getattr(b, kernel)(*p), y,
                (lambda kernel=kernel, part=part: getattr(torch, kernel)(tensor(part))) if torch else None,
            )  # fmt: skip
    w, v, m = normal(1 << 23), np.zeros(1 << 23, np.float32), np.zeros(1 << 23, np.float32)
    yield Case("sgd", name, 0, 5 * size, lambda b: b.sgd(w, dy, v, 0.0, 0.0, 0.0, False), v)
    yield Case("adam", name, 0, 7 * size, lambda b: b.adam(w, dy, m, v, 0.0, 0.0, 0.0, 1e-8, 0.0, False, 1), v)
    for rows, classes in [(128, 10), (128, 1000)]:
        logits, labels = normal(rows, classes), rng.integers(0, classes, rows)
        y = np.empty_like(logits)
        yield Case(
            "log_softmax", f"{rows}x{classes}", 0, 8.0 * logits.size, lambda b, p=(logits, y): b.log_softmax(*p), y,
            (lambda x=logits: functional.log_softmax(tensor(x), 1)) if torch else None,
        )  # fmt: skip
        loss, p = np.empty(rows, np.float32), np.empty((rows, classes), np.float32)
        yield Case(
            "cross_entropy", f"{rows}x{classes}", 0, 8.0 * logits.size,
            lambda b, a=(logits, labels, None, 0.0, -100, loss, p): b.cross_entropy(*a), loss,
            (lambda a=(logits, labels): functional.cross_entropy(*map(tensor, a), reduction="none")) if torch else None,
        )  # fmt: skip


def seconds(call: Callable[[], Any]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def limits() -> tuple[float, float]:
    """Multiply-adds of the fastest product, as GFLOP/s, and bytes of a copy that is larger than any cache, as GB/s."""
    a, out = normal(1024, 1024), np.empty((1024, 1024), np.float32)
    flops = 2 * 1024**3 / min(seconds(lambda: C.matmul(a, a, out)) for _ in range(30))
    x, y = normal(1 << 26), np.empty(1 << 26, np.float32)
    return flops / 1e9, 2 * x.nbytes / min(seconds(lambda: C.relu(x, y)) for _ in range(10)) / 1e9


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kernel", nargs="?", default="", help="the beginning of a kernel's name")
    parser.add_argument("--repeat", type=int, default=9)
    parser.add_argument("--no-numpy", action="store_true", help="check against NumPy, but do not time it")
    parser.add_argument("--threads", type=int, default=c_backend.get_num_threads())
    options = parser.parse_args()
    c_backend.set_num_threads(options.threads)
    if torch:
        torch.set_num_threads(options.threads)
    print(", ".join(f"{name} {value}" for name, value in c_backend.build_info().items()))
    gflops, gbytes = limits()
    print(f"limits as measured now: {gflops:.0f} GFLOP/s (product of 1024^3), {gbytes:.0f} GB/s (stream)")
    print(
        f"{'kernel':26}{'shape':36}{'C ms':>9}{'NumPy ms':>10}{'torch ms':>10}{'C/torch':>9}{'rate':>13}{'of limit':>9}"
    )
    for family in (convolutions, products, pools, norms, streams):
        for case in family():
            if not case.kernel.startswith(options.kernel):
                continue
            case.call(NUMPY)
            expected = case.out.copy()
            case.call(C)
            scale = np.abs(expected).max(initial=1e-6)
            np.testing.assert_allclose(case.out, expected, rtol=0, atol=2e-5 * scale, err_msg=case.kernel)
            calls: dict[str, Callable[[], Any]] = {"c": lambda case=case: case.call(C)}
            if case.torch:
                result = case.torch().numpy()
                np.testing.assert_allclose(result, expected, rtol=0, atol=2e-5 * scale, err_msg=case.kernel)
                calls["torch"] = case.torch
            if not options.no_numpy:
                calls["numpy"] = lambda case=case: case.call(NUMPY)
            times: dict[str, list[float]] = {name: [] for name in calls}
            for turn in range(options.repeat):
                for name, call in calls.items():
                    if name != "numpy" or turn < 3:
                        call()  # warm caches and threads: each library has its own
                        times[name].append(seconds(call))
            ms = {name: 1e3 * statistics.median(values) for name, values in times.items()}
            rate, limit, unit = case.bytes / 1e6 / ms["c"], gbytes, "GB/s"
            if case.flops / gflops > case.bytes / gbytes:
                rate, limit, unit = case.flops / 1e6 / ms["c"], gflops, "GFLOP/s"
            cells = [f"{ms[n]:10.3f}" if n in ms else f"{'-':>10}" for n in ("numpy", "torch")]
            ratio = f"{ms['c'] / ms['torch']:9.2f}" if "torch" in ms else f"{'-':>9}"
            print(
                f"{case.kernel:26}{case.shape:36}{ms['c']:9.3f}{''.join(cells)}{ratio}{rate:7.0f} {unit:7}{rate / limit:6.0%}"
            )


if __name__ == "__main__":
    main()
