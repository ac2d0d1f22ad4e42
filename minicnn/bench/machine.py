"""Where a benchmark runs: the machine and the versions, the environment that holds all libraries to the same, PyTorch."""

from __future__ import annotations

import datetime
import functools
import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np

import minicnn

from .. import backends
from ..backends import native
from ..errors import check

ISAS = {
    "generic": {"ONEDNN_MAX_CPU_ISA": "SSE41", "ATEN_CPU_CAPABILITY": "default", "MKL_ENABLE_INSTRUCTIONS": "SSE4_2"},
    "avx2": {"ONEDNN_MAX_CPU_ISA": "AVX2", "ATEN_CPU_CAPABILITY": "avx2", "MKL_ENABLE_INSTRUCTIONS": "AVX2"},
    "avx512": {
        "ONEDNN_MAX_CPU_ISA": "AVX512_CORE",
        "ATEN_CPU_CAPABILITY": "avx512",
        "MKL_ENABLE_INSTRUCTIONS": "AVX512",
    },
    "avx512_bf16": {"ONEDNN_MAX_CPU_ISA": "AVX512_CORE_BF16", "ATEN_CPU_CAPABILITY": "avx512"},
    "amx": {"ATEN_CPU_CAPABILITY": "avx512"},
}
"""What holds PyTorch's libraries to the instruction set that MINICNN_ISA names."""
OPENBLAS = {"generic": "Nehalem", "avx2": "Haswell", "avx512": "SkylakeX"}
"""The processor that NumPy's BLAS is told to be on."""


def environment(isa: str | None, threads: int | None) -> dict[str, str]:
    """The environment variables that a process must begin with, for this instruction set and number of threads."""
    wanted: dict[str, str] = {}
    if isa is not None:
        check(isa in ISAS, f"bench: isa is {isa!r}: it must be one of {', '.join(ISAS)}")
        wanted |= {"MINICNN_ISA": isa, **ISAS[isa]}
        if isa in OPENBLAS:
            wanted["OPENBLAS_CORETYPE"] = OPENBLAS[isa]
    if threads is not None:
        wanted |= dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), str(threads))
    return wanted


def holds(wanted: dict[str, str]) -> bool:
    """Whether this process began with these environment variables."""
    return all(os.environ.get(name) == value for name, value in wanted.items())


def fresh(arguments: list[str], wanted: dict[str, str]) -> int:
    """Run the command with these arguments in a new process with that environment; gives its exit status."""
    line = [sys.executable, "-c", "from minicnn.cli import app; app()", *arguments]
    return subprocess.run(line, env={**os.environ, **wanted}).returncode


@functools.cache
def torch() -> Any:
    """PyTorch, with as many threads as minicnn has, or None where it is not installed."""
    try:
        import torch
    except ImportError:
        return None
    torch.set_num_threads(backends.get_num_threads())
    return torch


def precisions(device: str = "cpu") -> list[str]:
    """The levels of `set_precision` at which a device computes products or 3x3 convolutions differently, the first is "highest"."""
    before = backends.get_precision()
    draw = np.random.default_rng(0)
    a, x, w = (
        minicnn.Tensor(draw.standard_normal(shape, np.float32), device=device)
        for shape in ((256, 256), (4, 64, 28, 28), (64, 64, 3, 3))
    )
    found: dict[bytes, str] = {}
    try:
        for level in backends.PRECISIONS:
            backends.set_precision(level)
            results = a @ a, minicnn.ops.conv2d(x, w, None, 1, 1)
            found.setdefault(b"".join(result.numpy().tobytes() for result in results), level)
    finally:
        backends.set_precision(before)
    return list(found.values())


def facts() -> dict[str, Any]:
    """What a reader of the figures must know of the machine and the software."""
    here: dict[str, Any] = {
        "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "minicnn": minicnn.__version__,
        "commit": commit(),
        "processor": processor(),
        "system": f"{platform.system()} {platform.machine()}",
        "backend": backends.current(),
        "isa": None,
        "compiler": None,
        "threads": backends.get_num_threads(),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "torch": torch().__version__ if torch() else None,
    }
    if here["backend"] == "c":
        from ..backends import c

        built = c.build_info()
        here |= {"isa": built["isa"], "compiler": built["compiler"]}
    return here


def processor() -> str:
    """The processor as the system names it."""
    path = Path("/proc/cpuinfo")
    for line in path.read_text().splitlines() if path.exists() else []:
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def checkout() -> Path | None:
    """The source tree that minicnn is used from, or None for an installed one."""
    root = Path(minicnn.__file__).resolve().parent.parent
    return root if (root / "setup.py").exists() and (root / "kernels" / "minicnn.h").exists() else None


def commit() -> str | None:
    """The commit of the checkout, with a + where files were changed since."""
    root = checkout()
    if root is None:
        return None
    try:
        line = ["git", "-C", str(root), "describe", "--always", "--dirty=+", "--exclude=*", "--abbrev=12"]
        return subprocess.run(line, capture_output=True, text=True, check=True).stdout.strip() or None
    except (OSError, subprocess.CalledProcessError):
        return None


def default_threads() -> int:
    """As many as this process may use processors, or OMP_NUM_THREADS."""
    return native.default_threads()
