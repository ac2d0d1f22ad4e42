"""What is said where CUDA cannot be used: every case is simulated, no GPU and no CuPy are needed."""

import os
import subprocess
import sys
import types
from pathlib import Path

import numpy as np
import pytest

from minicnn.backends import driver
from minicnn.backends.driver import Driver
from minicnn.errors import BackendError

HOPPER, PASCAL = (9, 0), (6, 1)
CUDA_13, CUDA_12 = Driver((13, 0), 0, 1, HOPPER), Driver((12, 4), 0, 1, HOPPER)
SCRIPT = Path(__file__).parent.parent / "benchmarks" / "gpu_acceptance.sh"
needs_bash = pytest.mark.skipif(sys.platform == "win32", reason="a script for bash")
BANNER = """
================================================================
Failed to import CuPy.

If you installed CuPy via wheels (cupy-cudaXXX or cupy-rocm-X-X), make sure that the package matches.

Original error:
  ImportError: libcublas.so.13: cannot open shared object file: No such file or directory
================================================================
"""


class Library:
    """Stands in for libcuda.so.1."""

    def __init__(self, version=13000, status=0, gpus=1, capability=HOPPER):
        self.version, self.status, self.gpus, self.capability = version, status, gpus, capability

    def cuDriverGetVersion(self, out):
        out._obj.value = self.version
        return 0 if self.version else 34

    def cuInit(self, flags):
        return self.status

    def cuDeviceGetCount(self, out):
        out._obj.value = self.gpus
        return 0

    def cuDeviceGet(self, out, number):
        out._obj.value = number
        return 0

    def cuDeviceGetAttribute(self, out, attribute, gpu):
        out._obj.value = self.capability[{75: 0, 76: 1}[attribute]]
        return 0


@pytest.fixture
def machine(monkeypatch):
    """Set up a machine: its driver, the CuPy packages, and with what CuPy fails, if it does."""

    def prepare(found, packages=(), fails=None, visible=None):
        def fail(*_):
            raise fails

        cupy = types.ModuleType("cupy")
        cupy.zeros = np.zeros if fails is None else fail
        monkeypatch.setattr(driver, "find", lambda: found)
        monkeypatch.setattr(driver, "installed", lambda: {name: "14.2.0" for name in packages})
        monkeypatch.setattr(driver.importlib.util, "find_spec", lambda name: None)
        monkeypatch.setitem(sys.modules, "cupy", cupy)
        if visible is None:
            monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
        else:
            monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
        return cupy

    return prepare


@pytest.mark.parametrize(
    "library, found",
    [
        (Library(), CUDA_13),
        (Library(12040, gpus=8, capability=PASCAL), Driver((12, 4), 0, 8, PASCAL)),
        (Library(12090, status=100), Driver((12, 9), 100)),
        (Library(gpus=0), Driver((13, 0))),
        (Library(version=0), Driver()),
        (object(), Driver()),
    ],
    ids=["13.0", "12.4", "no device", "no GPU", "stub", "another library"],
)
def test_the_driver_is_asked_without_cupy(monkeypatch, library, found):
    monkeypatch.setattr(driver.ctypes, "CDLL", lambda name: library)
    assert driver.find() == found


def test_a_missing_driver_is_no_error(monkeypatch):
    monkeypatch.setattr(driver, "LIBRARY", "libthere-is-no-such.so.1")
    assert driver.find() == Driver()


@pytest.mark.parametrize(
    "found, name",
    [
        (Driver(), None),
        (Driver((11, 8)), None),
        (CUDA_12, "cupy-cuda12x"),
        (CUDA_13, "cupy-cuda13x"),
        (Driver((13, 1), 0, 1, (7, 5)), "cupy-cuda13x"),
        (Driver((13, 0), 0, 1, PASCAL), "cupy-cuda12x"),
        (Driver((13, 0), 100), "cupy-cuda13x"),
        (Driver((14, 0), 0, 1, HOPPER), "cupy-cuda13x"),
    ],
)
def test_the_package_that_fits(found, name):
    assert driver.package(found) == name


INSTALL_12, INSTALL_13 = 'pip install -U "cupy-cuda12x[ctk]"', 'pip install -U "cupy-cuda13x[ctk]"'
NVRTC = RuntimeError("CuPy failed to load libnvrtc.so.13: OSError: libnvrtc.so.13: cannot open shared object file")
HEADERS = RuntimeError("/tmp/x.cubin.cu(8): remark: y\n/tmp/x.cubin.cu(9): catastrophic error: cannot open source file")
LATER = RuntimeError("cudaErrorInsufficientDriver: CUDA driver version is insufficient for CUDA runtime version")
FULL = RuntimeError("cudaErrorMemoryAllocation: out of memory")


@pytest.mark.parametrize(
    "found, packages, fails, visible, said",
    [
        (Driver(), (), None, None, ["no NVIDIA driver", "version 525", "CPU"]),
        (Driver((11, 4), 0, 1, HOPPER), (), None, None, ["CUDA 11.4", "update the driver", "580"]),
        (Driver((12, 4), 100), (), None, None, ["sees no GPU", "nvidia-smi -L"]),
        (Driver((12, 4), 100), (), None, "", ["CUDA_VISIBLE_DEVICES is ''", "unset it"]),
        (Driver((13, 0)), (), None, "7", ["CUDA_VISIBLE_DEVICES is '7'", "unset it"]),
        (Driver((13, 0), 803), (), None, None, ["does not start (cuInit: 803)", "restart"]),
        (CUDA_12, (), None, None, ["not installed", INSTALL_12]),
        (CUDA_13, (), None, None, ["not installed", INSTALL_13]),
        (CUDA_13, ("cupy-cuda13x", "cupy-cuda12x"), None, None, ["uninstall -y cupy-cuda13x cupy-cuda12x", INSTALL_13]),
        (CUDA_12, ("cupy-cuda13x",), None, None, ["runs 12.4", "580", "pip uninstall -y cupy-cuda13x", INSTALL_12]),
        (Driver((13, 0), 0, 1, PASCAL), ("cupy-cuda13x",), None, None, ["compute capability 6.1", INSTALL_12]),
        (CUDA_13, ("cupy-cuda11x",), None, None, ["not of CUDA 12 or 13", "pip uninstall -y cupy-cuda11x", INSTALL_13]),
        (CUDA_13, ("cupy-rocm-7-0",), None, None, ["not of CUDA 12 or 13", INSTALL_13]),
        (CUDA_13, ("cupy-cuda13x",), ImportError(BANNER), None, ["libcublas.so.13: cannot open", INSTALL_13]),
        (CUDA_13, ("cupy-cuda13x",), NVRTC, None, ["libnvrtc.so.13", INSTALL_13]),
        (CUDA_13, ("cupy-cuda12x",), HEADERS, None, ["cannot open source file", INSTALL_12]),
        (CUDA_12, ("cupy",), LATER, None, ["later CUDA than the driver runs (12.4)", INSTALL_12]),
        (CUDA_13, ("cupy-cuda13x",), FULL, None, ["no memory left", "nvidia-smi"]),
        (CUDA_13, ("cupy-cuda13x",), KeyError(), None, ["KeyError", INSTALL_13]),
    ],
)
def test_each_obstacle_is_one_line_with_the_remedy(machine, found, packages, fails, visible, said):
    machine(found, packages, fails, visible)
    with pytest.raises(BackendError) as caught:
        driver.import_cupy()
    message = str(caught.value)
    assert message.startswith("backend cuda: ") and "\n" not in message and len(message) < 400
    for words in said:
        assert words in message


@pytest.mark.parametrize("packages", [("cupy-cuda13x",), ("cupy-cuda12x",), ("cupy",)])
def test_cupy_is_given_once_it_has_computed(machine, packages):
    cupy = machine(CUDA_13, packages)
    assert driver.import_cupy() is cupy


def test_a_failing_import_is_a_line_too(machine, monkeypatch):
    machine(CUDA_13, ("cupy-cuda13x",))
    monkeypatch.setitem(sys.modules, "cupy", None)  # importing it raises ModuleNotFoundError
    with pytest.raises(BackendError, match="CuPy does not work here"):
        driver.import_cupy()


@pytest.mark.parametrize(
    "found, packages, line",
    [
        (Driver(), (), "not installed; without an NVIDIA driver there is no use for it"),
        (CUDA_13, (), "not installed; cupy-cuda13x fits the NVIDIA driver, which runs CUDA 13.0"),
        (CUDA_12, ("cupy",), "14.2.0 (cupy); cupy-cuda12x fits the NVIDIA driver, which runs CUDA 12.4"),
        (Driver((11, 4)), (), "not installed; no package fits the NVIDIA driver, which runs CUDA 11.4"),
    ],
)
def test_the_line_of_info(machine, found, packages, line):
    machine(found, packages)
    assert driver.cupy_line() == line


def test_installed_packages_are_those_of_this_environment(monkeypatch):
    def version(name):
        if name != "cupy-cuda12x":
            raise driver.metadata.PackageNotFoundError(name)
        return "14.1.0"

    monkeypatch.setattr(driver.metadata, "version", version)
    assert driver.installed() == {"cupy-cuda12x": "14.1.0"}


def acceptance(folder, programs, *arguments, **environment):
    """Run the script with these programs in place of the machine's."""
    for name, code in programs.items():
        (folder / name).write_text(f"#!/bin/sh\n{code}\n")
        (folder / name).chmod(0o755)
    path = f"{folder}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "OUT": str(folder / "out"), **environment}
    command = ["bash", str(SCRIPT), *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=60)


@needs_bash
def test_acceptance_without_a_gpu_says_so_in_one_line(tmp_path):
    done = acceptance(tmp_path, {"nvidia-smi": "echo No devices were found; exit 6"})
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr.count("\n") == 1 and "no NVIDIA GPU" in done.stderr


@needs_bash
def test_acceptance_goes_on_after_a_failure(tmp_path):
    python = 'case "$*" in *"-m pytest"*) echo 1 failed; exit 1;; esac; echo "ran $*"'
    programs = {"nvidia-smi": "echo NVIDIA H200", "compute-sanitizer": "exit 0", "fake": python}
    done = acceptance(tmp_path, programs, "--here", PYTHON=str(tmp_path / "fake"))
    table = [line.rsplit(maxsplit=1)[0].split(maxsplit=1) for line in done.stdout.split("\n\n")[-1].splitlines()]
    assert done.returncode == 1 and "--device cuda" in done.stdout
    assert [[name, result.strip()] for name, result in table] == [
        ["step", "result"], ["build", "passed"], ["info", "passed"], ["tests", "failed, status 1"],
        ["selftest", "passed"], ["sanitizer", "passed"], ["bench", "passed"], ["train", "passed"],
        ["zoo", "failed, status 1"], ["all", "2 failed"],
    ]  # fmt: skip
