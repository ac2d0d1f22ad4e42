"""Products of matrices, beside NumPy's BLAS and PyTorch's."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np

from . import machine
from .cases import Case, normal, tensor

SHAPES = [
    *[(size, size, size) for size in (256, 512, 1024, 2048)],
    (16, 9216, 4096),  # M, K, N: the first linear layer of AlexNet for a batch of 16, and its weights' gradient
    (4096, 16, 9216),
    (64, 576, 3136),  # a 3x3 convolution of ResNet's first stage
    (2048, 512, 49),  # a 1x1 convolution of its last
]


def cases(shapes: list[tuple[int, int, int]] = SHAPES) -> Iterator[Case]:
    for M, K, N in shapes:
        a, b, out = normal(M, K), normal(K, N), np.empty((M, N), np.float32)
        others: dict[str, Any] = {"numpy": partial(np.matmul, a, b, out=np.empty_like(out))}
        if torch := machine.torch():
            others["torch"] = partial(torch.mm, tensor(a), tensor(b), out=torch.empty(M, N))
        exact: Any = partial(np.matmul, a, b, dtype=np.float64)
        traffic = 4.0 * (a.size + b.size + out.size)
        yield Case(
            "gemm", f"{M}x{K} {K}x{N}", "", 2.0 * M * K * N, traffic, partial(_ours, a, b, out), out, others, exact
        )


def _ours(a: np.ndarray, b: np.ndarray, out: np.ndarray, kernels: Any) -> None:
    kernels.matmul(a, b, out)
