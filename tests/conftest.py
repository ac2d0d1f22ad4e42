"""What all tests share: the backends and the dtypes."""

from __future__ import annotations

import os
import sys
import zlib

# Before OpenMP starts: threads that wait shall not take the cores from the other processes of pytest -n.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import numpy as np
import pytest

import minicnn
from minicnn import backends

CPU_BACKENDS = [name for name in backends.available() if name in backends.CPU]


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers():
    """Processes of `pytest -n auto`: some tests take 2 GB of memory."""
    return min(4, os.cpu_count() or 1)


@pytest.fixture(params=CPU_BACKENDS)
def backend(request):
    """Run the test on each backend that computes on the CPU here."""
    with minicnn.use_backend(request.param):
        yield request.param


@pytest.fixture(params=[1, 3], ids=["1 thread", "3 threads"])
def threads(request):
    """Run the test with each number of threads of the C backend."""
    before = backends.get_num_threads()
    backends.set_num_threads(request.param)
    yield request.param
    backends.set_num_threads(before)


@pytest.fixture
def rng(request):
    """Numbers that depend on the test alone."""
    return np.random.default_rng(zlib.crc32(request.node.name.encode()))


@pytest.fixture(scope="module")
def cupy():
    """The stand-in for CuPy, found and installed as CuPy; what has been there before is there afterwards."""
    import emulated_cuda
    import fake_cupy

    from minicnn.backends import cuda, driver

    if emulated_cuda.missing():
        pytest.skip(emulated_cuda.missing())
    cached = backends.get, cuda.load, cuda.sources
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "cupy", None)
        stand_in = fake_cupy.install()
        patch.setattr(driver, "import_cupy", lambda: stand_in)
        patch.setattr(cuda, "folder", lambda: emulated_cuda.FOLDER)
        for function in cached:
            function.cache_clear()
        yield stand_in
    for function in cached:
        function.cache_clear()


@pytest.fixture(autouse=True)
def _seed():
    minicnn.manual_seed(0)


def pytest_report_header(config):
    missing = sorted({"c", "cuda"} - set(backends.available()))
    lines = [f"minicnn backends: {', '.join(backends.available())}"]
    for name in missing:
        try:
            backends.get(name)
        except minicnn.errors.BackendError as error:
            lines.append(f"not tested: backend {name}: {error}")
    return lines
