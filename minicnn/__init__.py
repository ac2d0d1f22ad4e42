"""minicnn: convolutional networks from scratch, with the arithmetic beside every layer."""

import importlib
from typing import Any

from . import backends, errors, inspect, layers, models, ops, random
from .autograd import grad, no_grad
from .backends import get_num_threads, get_precision, set_num_threads, set_precision, use_backend
from .gradcheck import gradcheck
from .inspect import summary
from .layers import use_fusion
from .mode import detect_anomaly, enable_grad
from .random import manual_seed
from .tensor import Tensor
from .version import __version__

_LAZY = ("data", "io", "optim", "training")
"""Subpackages that are imported when they are first named, so that `import minicnn` stays quick."""

__all__ = [
    "Tensor", "__version__", "backends", "detect_anomaly", "enable_grad", "errors", "get_num_threads", "get_precision",
    "grad", "gradcheck", "inspect", "layers", "manual_seed", "models", "no_grad", "ops", "random", "set_num_threads",
    "set_precision", "summary", "use_backend", "use_fusion",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_LAZY])
