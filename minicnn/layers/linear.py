"""Linear."""

from __future__ import annotations

import math
from typing import Any

from .. import ops
from ..geometry import Gemm, Shape
from ..tensor import Tensor
from . import init
from .arguments import count
from .base import Layer
from .parameter import new_parameter


class Linear(Layer):
    """Every output a weighted sum of all inputs: (N, in_features) -> (N, out_features), weight (out, in), bias (out,)."""

    fuses = frozenset({"relu"})

    def __init__(self, in_features: int, out_features: int, bias: bool = True) -> None:
        self.in_features = count(in_features, "Linear: in_features")
        self.out_features = count(out_features, "Linear: out_features")
        self.weight = new_parameter((self.out_features, self.in_features), init.he_normal)
        self.bias = new_parameter((self.out_features,)) if bias else None

    def forward(self, x: Any) -> Tensor:
        return ops.linear(x, self.weight, self.bias)

    def fused(self, x: Any, residual: Tensor | None = None, relu: bool = False) -> Tensor:
        """forward with the ReLU behind it."""
        return ops.linear(x, self.weight, self.bias, relu=relu)

    def gemm(self, input_shape: Shape, output_shape: Shape) -> Gemm:
        """Samples by outputs by inputs; for one sample there is one row, so that it is a matrix times a vector."""
        return Gemm(math.prod(output_shape[:-1]), self.out_features, self.in_features)

    def macs_formula(self, input_shape: Shape, output_shape: Shape) -> str:
        rows = "".join(f"{size}*" for size in output_shape[:-1])
        return f"{rows}{self.out_features} * {self.in_features}"

    def parameter_formula(self) -> str:
        return (
            f"({self.in_features} + 1)*{self.out_features}"
            if self.bias is not None
            else f"{self.in_features}*{self.out_features}"
        )

    def extra_repr(self) -> str:
        return f"{self.in_features}, {self.out_features}" + ("" if self.bias is not None else ", bias=False")
