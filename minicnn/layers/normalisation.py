"""BatchNorm2d (any (N, C, ...)), BatchNorm1d and LocalResponseNorm."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .. import ops
from ..errors import check
from ..geometry import Shape, is_number
from ..tensor import Tensor
from .arguments import count
from .base import Layer
from .parameter import new_array, new_parameter


class BatchNorm2d(Layer):
    """Bring each channel to mean 0 and variance 1, then scale and shift it by learned numbers: (N, C, ...) -> the same.

    In training it uses the batch's statistics and moves the running ones: running += momentum*(batch - running); in
    use, or frozen, it normalises with the running ones. Parameters scale and shift (C,); buffers running_mean and
    running_var (C,). eps: added to the variance. affine: whether there are scale and shift.
    track_running_stats: False always uses the batch's. Source: Ioffe and Szegedy 2015, arXiv:1502.03167.
    """

    fuses = frozenset({"relu", "residual"})
    running_mean: Tensor | None
    running_var: Tensor | None

    def __init__(
        self, num_features: int, eps: float = 1e-5, momentum: float = 0.1, affine: bool = True,
        track_running_stats: bool = True,
    ) -> None:  # fmt: skip
        name = type(self).__name__
        self.num_features = count(num_features, f"{name}: num_features")
        check(is_number(eps) and eps >= 0, f"{name}: eps is {eps!r}: it must be at least 0")
        check(
            is_number(momentum) and 0 <= momentum <= 1,
            f"{name}: momentum is {momentum!r}: it must be in 0 .. 1; PyTorch's 0.1 is Caffe's 0.9",
        )
        self.eps, self.momentum = float(eps), float(momentum)
        shape = (self.num_features,)
        self.scale = new_parameter(shape, value=1.0) if affine else None
        self.shift = new_parameter(shape) if affine else None
        if track_running_stats:
            self.register_buffer("running_mean", new_array(shape, 0.0))
            self.register_buffer("running_var", new_array(shape, 1.0))
        else:
            self.running_mean = self.running_var = None

    def forward(self, x: Any) -> Tensor:
        return self.fused(x)

    def fused(self, x: Any, residual: Tensor | None = None, relu: bool = False) -> Tensor:
        """forward, then the sum with `residual`, then ReLU."""
        return ops.batch_norm(
            x, self.scale, self.shift, self.running_mean, self.running_var,
            self.running_mean is None or (self.training and not self.frozen), self.momentum, self.eps,
            residual=residual, relu=relu,
        )  # fmt: skip

    def parameter_formula(self) -> str:
        return f"2*{self.num_features}" if self.scale is not None else ""

    def extra_repr(self) -> str:
        parts = [f"{self.num_features}"]
        parts += [] if self.eps == 1e-5 else [f"eps={self.eps:g}"]
        parts += [] if self.momentum == 0.1 else [f"momentum={self.momentum:g}"]
        parts += [] if self.scale is not None else ["affine=False"]
        parts += [] if self.running_mean is not None else ["track_running_stats=False"]
        return ", ".join(parts)


class BatchNorm1d(BatchNorm2d):
    """`BatchNorm2d` under the name used behind Linear: (N, C) or (N, C, L)."""


class LocalResponseNorm(Layer):
    """Divide each number by (k + a * sum of squares over `size` neighbouring channels)**beta: (N, C, ...) -> the same.

    a is alpha/size (Caffe and PyTorch, the default), or alpha as the paper prints it (alpha_over_size=False; its
    numbers are size=5, alpha=1e-4, beta=0.75, k=2). Source: Krizhevsky, Sutskever and Hinton 2012, section 3.3.
    """

    def __init__(
        self, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0, alpha_over_size: bool = True
    ) -> None:
        self.size = count(size, "LocalResponseNorm: size")
        check(is_number(alpha) and alpha >= 0, f"LocalResponseNorm: alpha is {alpha!r}: it must be at least 0")
        check(is_number(beta), f"LocalResponseNorm: beta is {beta!r}: it must be a number")
        check(
            is_number(k) and k > 0,
            f"LocalResponseNorm: k is {k!r}: it must be positive, or a black region would be divided by 0",
        )
        self.alpha, self.beta, self.k, self.alpha_over_size = float(alpha), float(beta), float(k), bool(alpha_over_size)

    def forward(self, x: Any) -> Tensor:
        return ops.local_response_norm(
            x, self.size, self.alpha, self.beta, self.k, alpha_over_size=self.alpha_over_size
        )

    def size_formula(self, input_shapes: Sequence[Shape], output_shape: Shape) -> str:
        return f"sums over {self.size} neighbouring channels: the size stays"

    def extra_repr(self) -> str:
        text = f"{self.size}, alpha={self.alpha:g}, beta={self.beta:g}, k={self.k:g}"
        return text + ("" if self.alpha_over_size else ", alpha_over_size=False")
