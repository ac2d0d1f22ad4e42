"""Products of matrices, beside NumPy's BLAS and PyTorch's."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np

from .cases import Case, normal

SHAPES = [
    *[(size, size, size) for size in (256, 512, 1024, 2048)],
    (16, 9216, 4096),  # M, K, N: the first linear layer of AlexNet for a batch of 16, and its weights' gradient
    (4096, 16, 9216),
    (64, 576, 3136),  # a 3x3 convolution of ResNet's first stage
    (2048, 512, 49),  # a 1x1 convolution of its last
]
ON_GPU = [
    *[(size, size, size) for size in (1024, 2048, 4096, 8192)],
    (128, 9216, 4096),
    (4096, 128, 9216),
    (64, 576, 3136),
    (2048, 512, 49),
]


def cases(shapes: list[tuple[int, int, int]] = SHAPES) -> Iterator[Case]:
    for M, K, N in shapes:
        a, b, out = normal(M, K), normal(K, N), np.empty((M, N), np.float32)
        yield Case(
            "gemm", f"{M}x{K} {K}x{N}", "", 2.0 * M * K * N, 4.0 * (a.size + b.size + out.size),
            "matmul", (a, b, out), out, _theirs, (a, b, np.empty_like(out)),
            {"numpy": partial(np.matmul, a, b, out=np.empty_like(out))}, exact=True,
        )  # fmt: skip


def _theirs(torch: Any, a: Any, b: Any, out: Any) -> Any:
    return torch.mm(a, b, out=out)
