"""Where a benchmark computes: the arrays there, the clock, PyTorch. A GPU's times are those between two of its events."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from .. import backends
from ..backends.reference import Reference
from . import machine
from .measure import Clock, take_turns

TF32 = "torch tf32"
"""PyTorch where it may round the factors of float32 products to 11 bits, as a candidate: in channels_last where that matters."""


class _ArrayCode(Reference):
    """The reference with CuPy's memory in place of the CPU's."""

    def empty(self, shape: Any, dtype: Any) -> Any:
        return self.xp.empty(shape, dtype)


class Device(Clock):
    """The CPU: all that follows is the same for its user on both."""

    name = "cpu"
    reference: Any = Reference(np)
    """The kernels in plain array code, on this device's arrays."""

    @property
    def kernels(self) -> Any:
        return backends.get(backends.current())

    def array(self, x: np.ndarray) -> Any:
        """The numbers on the device."""
        return x

    def take_turns(
        self, calls: Mapping[str, Callable[[], Any]], rounds: int, least: float, budget: float = math.inf
    ) -> dict[str, list[float]]:
        """`measure.take_turns` by this clock."""
        return take_turns(calls, rounds, least, budget, self)

    def facts(self) -> dict[str, Any]:
        """What a reader of the figures must know."""
        return machine.facts()

    def release(self) -> None:
        """Give back the memory that no library uses at the moment, where they keep it from each other."""

    # PyTorch

    torch_device = "cpu"

    def torch(self) -> Any:
        """PyTorch, or None where it is not installed or does not know the device."""
        return machine.torch()

    def tensor(self, x: np.ndarray) -> Any:
        """The numbers for PyTorch, on the device."""
        return self.torch().from_numpy(x).to(self.torch_device)

    def result(self, x: Any) -> Any:
        """What a candidate computed, as an array of the device."""
        return np.asarray(x)


class Cuda(Device):
    """A GPU, through CuPy. CuPy and PyTorch give their work to the same stream, the default one, so one clock serves both."""

    name = "cuda"

    def __init__(self) -> None:
        """Raises BackendError, with what is missing, where there is none."""
        self.xp = backends.get("cuda").xp
        self.reference = _ArrayCode(self.xp)
        if self.torch():
            self._allow_tf32(False)  # which cuDNN's convolutions else use

    @property
    def kernels(self) -> Any:
        return backends.get("cuda")

    def array(self, x: np.ndarray) -> Any:
        return self.xp.asarray(x)

    def result(self, x: Any) -> Any:
        return self.xp.asarray(x)

    def mark(self) -> Any:
        """An event that the GPU reaches once it has done what it was given before."""
        event = self.xp.cuda.Event()
        event.record()
        return event

    def between(self, start: Any, end: Any) -> float:
        end.synchronize()
        return float(self.xp.cuda.get_elapsed_time(start, end)) / 1e3

    def take_turns(
        self, calls: Mapping[str, Callable[[], Any]], rounds: int, least: float, budget: float = math.inf
    ) -> dict[str, list[float]]:
        with self._tuned():
            return super().take_turns(calls, rounds, least, budget)

    @contextlib.contextmanager
    def _tuned(self) -> Iterator[None]:
        """cuDNN tries its algorithms at the first call of a shape, which is unmeasured; not in the checks before."""
        torch = self.torch()
        if torch:
            torch.backends.cudnn.benchmark = True
        try:
            yield
        finally:
            if torch:
                torch.backends.cudnn.benchmark = False

    torch_device = "cuda"

    def torch(self) -> Any:
        torch = machine.torch()
        return torch if torch and torch.cuda.is_available() else None

    def with_tf32(self, call: Callable[[], Any]) -> Callable[[], Any]:
        """A call of PyTorch's whose products and convolutions round their factors to TF32."""

        def run() -> Any:
            self._allow_tf32(True)
            try:
                return call()
            finally:
                self._allow_tf32(False)

        return run

    def _allow_tf32(self, allowed: bool) -> None:
        torch = self.torch()
        torch.set_float32_matmul_precision("high" if allowed else "highest")
        torch.backends.cudnn.allow_tf32 = allowed

    def facts(self) -> dict[str, Any]:
        cuda, torch = self.xp.cuda.runtime.runtimeGetVersion(), self.torch()
        return machine.facts() | {
            "processor": self.kernels.device_name(),
            "backend": self.name,
            "isa": f"sm_{self.xp.cuda.Device().compute_capability}",
            "compiler": f"CuPy {self.xp.__version__} with CUDA {cuda // 1000}.{cuda % 1000 // 10}",
            "torch": f"{torch.__version__} with cuDNN {torch.backends.cudnn.version()}" if torch else None,
        }

    # Memory

    def release(self) -> None:
        self.xp.get_default_memory_pool().free_all_blocks()
        if self.torch():
            self.torch().cuda.empty_cache()

    def peak(self, who: str, step: Callable[[], Any]) -> float:
        """MiB that a library's pool takes from the GPU so that a step can run: CuPy's, which counts no other peak, or PyTorch's."""
        self.release()
        if who == "minicnn":
            step()
            return float(self.kernels.memory_reserved()) / 2**20
        with self._tuned():
            self.torch().cuda.reset_peak_memory_stats()
            step()
        return float(self.torch().cuda.max_memory_reserved()) / 2**20


CPU = Device()


def get(name: str) -> Device:
    """The device called "cpu" or "cuda". Raises BackendError where it is not there."""
    return Cuda() if name == "cuda" else CPU
