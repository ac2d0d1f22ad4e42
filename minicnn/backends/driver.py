"""The NVIDIA driver of this machine, the CuPy package that fits it, and what is wrong where CUDA cannot be used.

The driver is asked without CuPy, which may be missing or the wrong one. CuPy 14 comes as cupy-cuda12x and cupy-cuda13x.
Such a package runs with a driver of its CUDA or of a later one (docs.nvidia.com/deploy/cuda-compatibility, "Minor
Version Compatibility"); CUDA 13 has no kernels for GPUs before compute capability 7.5.
"""

from __future__ import annotations

import ctypes
import importlib
import importlib.util
import os
import sys
from importlib import metadata
from typing import Any, NamedTuple

from ..errors import BackendError

LIBRARY = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"
PACKAGES = {13: "cupy-cuda13x", 12: "cupy-cuda12x"}
"""By the CUDA that they are built for."""
DRIVERS = {13: 580, 12: 525}
"""The first driver of each CUDA."""
TURING = (7, 5)
OTHERS = ("cupy", "cupy-cuda11x", "cupy-rocm-7-0", "cupy-rocm-5-0")
"""Names that CuPy also has: built on the spot or by Conda, of earlier releases, for AMD."""
NO_DEVICE = 100  # CUDA_ERROR_NO_DEVICE


class Driver(NamedTuple):
    """What a driver says of itself and of the first GPU."""

    cuda: tuple[int, int] = (0, 0)
    """The latest CUDA that it runs; (0, 0): there is no driver."""
    status: int = 0
    """What it answered to the start, 0 if all is well."""
    gpus: int = 0
    capability: tuple[int, int] = (0, 0)


def find() -> Driver:
    """Ask the driver. Never raises."""
    try:
        library, value, major = ctypes.CDLL(LIBRARY), ctypes.c_int(), ctypes.c_int()
        if library.cuDriverGetVersion(ctypes.byref(value)):
            return Driver()  # what is linked against where there is no driver
        cuda = value.value // 1000, value.value % 1000 // 10
        status = library.cuInit(0) or library.cuDeviceGetCount(ctypes.byref(value))
        if status or not value.value:
            return Driver(cuda, status)
        gpus, gpu = value.value, ctypes.c_int()
        library.cuDeviceGet(ctypes.byref(gpu), 0)
        library.cuDeviceGetAttribute(ctypes.byref(major), 75, gpu)
        library.cuDeviceGetAttribute(ctypes.byref(value), 76, gpu)
        return Driver(cuda, 0, gpus, (major.value, value.value))
    except Exception:  # there is no such library, or it is another
        return Driver()


def package(driver: Driver) -> str | None:
    """The CuPy package that fits; None where none does."""
    major = 12 if driver.cuda[0] > 12 and (0, 0) < driver.capability < TURING else min(driver.cuda[0], 13)
    return PACKAGES.get(major)


def installed() -> dict[str, str]:
    """The CuPy packages in this environment, with their versions."""
    found = {}
    for name in (*PACKAGES.values(), *OTHERS):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            pass
    return found


def cupy_line() -> str:
    """The CuPy that is installed, and the package that fits the driver: for `minicnn info`."""
    driver, has = find(), installed()
    fits = package(driver)
    state = ", ".join(f"{version} ({name})" for name, version in has.items()) or "not installed"
    if not driver.cuda[0]:
        return f"{state}; without an NVIDIA driver there is no use for it"
    return f"{state}; {fits or 'no package'} fits the NVIDIA driver, which runs CUDA {_version(driver)}"


def import_cupy() -> Any:
    """CuPy, once it has computed something on the GPU. Raises BackendError: one line, what is wrong and the remedy."""
    driver = find()
    reason = problem(driver)
    if reason is None:
        try:
            cupy = importlib.import_module("cupy")
            # Compiled for this: what CuPy needs of CUDA (NVRTC, headers) is missed only then.
            if (cupy.zeros(1, "i") + 1)[0].item() == 1:
                return cupy
            reason = "the GPU computes 0 + 1 wrongly: see what nvidia-smi says"
        except Exception as error:
            reason = failure(error, driver)
    raise BackendError(f"backend cuda: {reason}")


def problem(driver: Driver) -> str | None:
    """What is wrong with the driver, the GPU or the packages, with the remedy; None if nothing is."""
    fits = package(driver)
    if not driver.cuda[0]:
        return (
            f"no NVIDIA driver was found ({LIBRARY}): install one of version {DRIVERS[12]} or later, or compute on the "
            "CPU; a container has to be started with --gpus all"
        )
    if fits is None:
        return f"the NVIDIA driver runs CUDA {_version(driver)} at most, CuPy needs 12: {_update(13)}"
    if driver.status == NO_DEVICE or not (driver.status or driver.gpus):
        visible = os.environ.get("CUDA_VISIBLE_DEVICES")
        if visible is None:
            return "the NVIDIA driver sees no GPU: nvidia-smi -L lists those there are"
        return f"no GPU is visible: CUDA_VISIBLE_DEVICES is {visible!r}: unset it, or name a GPU, such as 0"
    if driver.status:
        return f"the NVIDIA driver does not start (cuInit: {driver.status}): see nvidia-smi, restart the machine"
    has = installed()
    if not has and importlib.util.find_spec("cupy") is None:
        return f"CuPy is not installed: {_install(fits)}"
    if len(has) > 1:
        names = " ".join(has)
        return f"several CuPy packages are installed and spoil each other: pip uninstall -y {names}; {_install(fits)}"
    for name in has:
        if name == PACKAGES[13] and fits == PACKAGES[12]:
            why = (
                f"needs a driver that runs CUDA 13, this one runs {_version(driver)}: {_update(13)}, or"
                if driver.cuda[0] < 13
                else f"has no kernels for this GPU of compute capability {'.'.join(map(str, driver.capability))}:"
            )
            return f"{name} {why} pip uninstall -y {name}; {_install(fits)}"
        if name in OTHERS[1:]:
            return f"{name} is not of CUDA 12 or 13: pip uninstall -y {name}; {_install(fits)}"
    return None


def failure(error: Exception, driver: Driver) -> str:
    """What it means, and the remedy, that CuPy could not be imported or did not compute."""
    text = _line(error)
    fits = next((name for name in PACKAGES.values() if name in installed()), package(driver) or "")
    if "InsufficientDriver" in text:
        return f"CuPy is of a later CUDA than the driver runs ({_version(driver)}): {_update(13)}, or {_install(fits)}"
    if "MemoryAllocation" in text or "OutOfMemory" in type(error).__name__:
        return f"the GPU has no memory left ({text}): nvidia-smi shows what holds it"
    return f"CuPy does not work here ({text}): {_install(fits)}, which brings what it needs of CUDA"


def _version(driver: Driver) -> str:
    return f"{driver.cuda[0]}.{driver.cuda[1]}"


def _install(name: str) -> str:
    return f'pip install -U "{name}[ctk]"'


def _update(major: int) -> str:
    return f"update the driver to version {DRIVERS[major]} or later"


def _line(error: Exception) -> str:
    """The line that matters of a message: CuPy's fill a screen."""
    text = str(error).split("Original error:")[-1]
    lines = [line.strip() for line in text.splitlines() if line.strip(" =")] or [type(error).__name__]
    return next((line for line in lines if "error" in line.lower()), lines[0])[:200]
