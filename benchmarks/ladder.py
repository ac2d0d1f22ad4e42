"""The ladder of kernels/README.md, measured here: `python benchmarks/ladder.py [product] [precision] [convolution] [memory]`.

It compiles ladder.c with the system's C compiler in a temporary folder and prints Markdown tables: the rungs of one matrix
product, products at each precision, one convolution from naive loops to minimal filtering, and batch normalisation with
ReLU from separate passes to one kernel. Results are checked before anything is timed; candidates take turns; times are medians.
"""

from __future__ import annotations

import ctypes
import datetime
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

import minicnn
from minicnn import backends, geometry
from minicnn.bench import machine
from minicnn.bench.measure import median, relative_error, take_turns

SOURCE = Path(__file__).with_name("ladder.c")
CONVOLUTION = geometry.conv2d((16, 64, 56, 56), (64, 64, 3, 3), 1, 1)
MAPS = (16, 64, 112, 112)
TEAMS = sorted({1, min(2, backends.get_num_threads())})
"""The numbers of threads to measure."""
PARTS = ("product", "precision", "convolution", "memory")


def compile_ladder(folder: str, *options: str) -> Path:
    """ladder.c compiled into this folder; ends the process with a clear message where that is not possible."""
    compiler = next(filter(None, map(shutil.which, ("gcc", "clang", "cc"))), None)
    if compiler is None:
        sys.exit("ladder: no C compiler was found: neither gcc, clang nor cc is on the PATH (apt install gcc)")
    if platform.machine().lower() in ("x86_64", "amd64"):
        options = ("-mprefer-vector-width=512", *options)
    out = Path(folder, "ladder")
    command = [
        compiler,
        "-std=c11",
        "-O3",
        "-march=native",
        "-ffp-contract=fast",
        *options,
        str(SOURCE),
        "-o",
        str(out),
        "-lm",
    ]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"ladder: {' '.join(command)} failed:\n{done.stderr}")
    return out


def product() -> None:
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run([compile_ladder(folder)], capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"ladder: a rung is wrong: {done.stderr}")
    print(f"One product, 1024 cubed, float32, one thread:\n\n{done.stdout}")


def kernels() -> Any:
    if "c" not in backends.available():
        sys.exit("ladder: the C kernels were not built: `minicnn info` says why")
    return backends.get("c")


def with_(threads: int, precision: str, call: Callable[[], Any]) -> Callable[[], Any]:
    def run() -> None:
        minicnn.set_num_threads(threads)
        minicnn.set_precision(precision)
        call()

    return run


def check(name: str, result: np.ndarray, exact: np.ndarray, most: float) -> float:
    error = relative_error(result, exact)
    if not error < most:
        sys.exit(f"ladder: {name} is wrong: relative error {error:.1e}")
    return error


def table(head: str, rows: list[tuple[Any, ...]]) -> None:
    columns = head.split("|")
    print(f"| {' | '.join(columns)} |\n| {' | '.join(['---'] + ['---:'] * (len(columns) - 1))} |")
    for row in rows:
        print(f"| {' | '.join(f'{cell:.1f}' if isinstance(cell, float) else str(cell) for cell in row)} |")
    print()


def precision() -> None:
    c, random = kernels(), np.random.default_rng(0)
    a, b = (random.standard_normal((1024, 1024), np.float32) for _ in range(2))
    out, exact = np.empty_like(a), a.astype(np.float64) @ b
    calls, errors = {}, {}
    for level in machine.precisions():
        for threads in TEAMS:
            run = calls[level, threads] = with_(threads, level, lambda: c.matmul(a, b, out))
            run()
            errors[level] = check(f"matmul at {level}", out, exact, 1e-2)
    times = take_turns(calls)
    rate = {key: 2 * a.size * 1024 / median(t) / 1e9 for key, t in times.items()}
    print("The library's product, 1024 cubed, float32 in and out, GFLOP/s:\n")
    head = "precision|" + "|".join(f"threads: {n}" for n in TEAMS) + "|relative error"
    table(head, [(level, *[rate[level, n] for n in TEAMS], f"{errors[level]:.1e}") for level in errors])


def convolution() -> None:
    c, random, g = kernels(), np.random.default_rng(0), CONVOLUTION
    x, w = (random.standard_normal(shape, np.float32) for shape in (g.input_shape, g.weight_shape))
    out, exact = np.empty(g.output_shape, np.float32), np.empty(g.output_shape)
    backends.get("numpy").conv2d(x.astype(np.float64), w.astype(np.float64), None, g, False, exact)
    matrix = np.empty((g.N, g.C * g.R * g.S, g.P * g.Q), np.float32)

    def explicit() -> None:
        c.im2col(x, g, matrix)
        c.matmul(w.reshape(g.K, -1), matrix, out.reshape(g.N, g.K, -1))

    def plain() -> None:
        k, threads = c.kernels[x.dtype], backends.get_num_threads()
        run, room = k.conv2d_way("conv2d", g, 0, 0, threads)
        run(k.p(x), k.p(w), k.null, k.conv2d_geometry(g), False, k.p(out), 0, k.scratch(room), threads)

    def direct() -> None:
        c.conv2d(x, w, None, g, False, out)

    ways: dict[str, tuple[str, Callable[[], None], float]] = {
        "im2col, then a product": ("highest", explicit, 2e-6),
        "packing reads the patches": ("highest", plain, 2e-6),
        "minimal filtering, 2x2: `highest`": ("highest", direct, 2e-6),
        "minimal filtering, 4x4: `high`": ("high", direct, 1e-5),
    }
    calls, errors = {}, {}
    with tempfile.TemporaryDirectory() as folder:
        naive = ctypes.CDLL(str(compile_ladder(folder, "-shared", "-fPIC"))).naive_conv2d
        image = np.empty(g.output_shape[1:], np.float32)
        given = [ctypes.c_void_p(array.ctypes.data) for array in (x, w, image)]
        calls["naive loops, one image", 1] = lambda: naive(*given, g.C, g.H, g.K, g.R, 1)
        calls["naive loops, one image", 1]()
        errors["naive loops, one image"] = check("the naive convolution", image, exact[0], 2e-6)
        for name, (level, call, most) in ways.items():
            for threads in TEAMS:
                run = calls[name, threads] = with_(threads, level, call)
                out.fill(0)
                run()
                errors[name] = check(name, out, exact, most)
        times = take_turns(calls)
    done = {key: g.macs / (g.N if key[0].startswith("naive") else 1) for key in calls}
    rate = {key: f"{2 * done[key] / median(t) / 1e9:.1f}" for key, t in times.items()}
    print(
        f"A convolution, {g.N} images of {g.C}x{g.H}x{g.W}, {g.K} filters 3x3; useful GFLOP/s (a sum's own operations):\n"
    )
    head = "rung|" + "|".join(f"threads: {n}" for n in TEAMS) + "|relative error"
    table(head, [(name, *[rate.get((name, n), "") for n in TEAMS], f"{errors[name]:.1e}") for name in errors])


def memory() -> None:
    c, plain, random = kernels(), backends.get("numpy"), np.random.default_rng(0)
    x = random.standard_normal(MAPS, np.float32)
    scale, shift = (random.standard_normal(MAPS[1], np.float32) for _ in range(2))
    exact, out, mean, invstd = np.empty(MAPS), np.empty_like(x), np.empty_like(scale), np.empty_like(scale)

    def normalise(k: Any, relu: bool) -> None:
        k.batch_norm_training(x, scale, shift, None, None, None, 0.1, 1e-5, relu, out, mean, invstd)

    def separate() -> None:
        normalise(c, False)
        c.relu(out, out)

    plain.batch_norm_training(
        x.astype(np.float64), scale.astype(np.float64), shift.astype(np.float64), None, None, None, 0.1, 1e-5, True, exact,
        np.empty(MAPS[1]), np.empty(MAPS[1]),
    )  # fmt: skip
    ways: dict[str, Callable[[], None]] = {
        "array operations (NumPy), one after the other": lambda: normalise(plain, True),
        "a kernel for the normalisation, one for ReLU": separate,
        "one kernel, a channel at a time": lambda: normalise(c, True),
    }
    calls: dict[tuple[str, int], Callable[[], Any]] = {}
    for name, call in ways.items():
        for threads in TEAMS if "NumPy" not in name else [1]:
            run = calls[name, threads] = with_(threads, "highest", call)
            out.fill(0)
            run()
            check(name, out, exact, 2e-6)
    copy, k = "copying the input, for comparison", c.module
    given = [k.ffi.from_buffer("float[]", array.reshape(-1)) for array in (x, out)]
    for threads in TEAMS:
        calls[copy, threads] = partial(k.lib.limit_copy, *given, x.size, threads)
    times = take_turns(calls, least=0.05)
    ms = {key: f"{median(t) * 1e3:.1f}" for key, t in times.items()}
    print(
        f"Batch normalisation in training, then ReLU, of {'x'.join(map(str, MAPS))} ({x.nbytes / 1e6:.0f} MB in, as much out), ms:\n"
    )
    rows = [(name, *[ms.get((name, n), "") for n in TEAMS]) for name in [*ways, copy]]
    table("rung|" + "|".join(f"threads: {n}" for n in TEAMS), rows)


def main(wanted: list[str]) -> None:
    if unknown := set(wanted) - set(PARTS):
        sys.exit(f"ladder: no part is called {', '.join(sorted(unknown))}: there are {', '.join(PARTS)}")
    print(
        f"{datetime.date.today()}, {platform.machine()}, instruction set of the library: {kernels().level}\n",
        flush=True,
    )
    for part in wanted or PARTS:
        globals()[part]()
        sys.stdout.flush()


if __name__ == "__main__":
    main(sys.argv[1:])
