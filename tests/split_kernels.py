"""The kernels that multiply parts of float32 numbers: those of this machine, and AMX's with its tiles in plain C."""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from minicnn.backends import c as c_backend
from minicnn.backends import native

KERNELS = Path(__file__).resolve().parent.parent / "kernels"
SOURCES = ("activation.c", "gemm.c", "conv.c", "conv_weight.c", "info.c")
OPTIONS = ["-std=c11", "-O2", "-fno-math-errno", "-ffp-contract=fast", "-Wno-psabi", "-shared", "-fPIC"]
MARCH = {"generic": [], "avx2": ["-march=x86-64-v3"], "avx512": ["-march=x86-64-v4"]}


@functools.cache
def emulated_amx() -> Any:
    """The C backend with the products of `amx`, whose tile instructions `amx_emulation.h` replaces. None without a compiler."""
    from cffi import FFI

    compiler = shutil.which(os.environ.get("CC", "cc"))
    if not compiler or not (KERNELS / "c").is_dir():
        return None
    march = [MARCH[level] for level in native.usable() if level in MARCH][-1]
    with tempfile.TemporaryDirectory() as folder:
        library = str(Path(folder, "emulated.so"))
        sources = [str(KERNELS / "c" / name) for name in SOURCES]
        paths = ["-I", str(KERNELS), "-I", str(Path(__file__).parent)]
        for openmp in (["-fopenmp"], []):
            command = [
                compiler,
                *OPTIONS,
                *march,
                *openmp,
                "-DMINICNN_EMULATE_AMX",
                *paths,
                *sources,
                "-o",
                library,
                "-lm",
            ]
            done = subprocess.run(command, capture_output=True, text=True)
            if done.returncode == 0:
                break
        assert done.returncode == 0, done.stderr
        ffi = FFI()
        lines = (KERNELS / "minicnn.h").read_text().splitlines()
        ffi.cdef("\n".join("" if line.startswith("#") else line for line in lines))
        opened = ffi.dlopen(library)
    names = [name for name in dir(opened) if name.startswith(("all_finite", "matmul", "linear", "conv2d", "minicnn"))]
    module = SimpleNamespace(
        ffi=ffi, lib=SimpleNamespace(**{name: getattr(opened, name) for name in names}), file=opened
    )
    return c_backend.C("amx", module)
