"""Initial weights. Each function fills a Tensor in place, from the next key of the random stream "init", and returns it.

Weights are (out, in) or (K, C/G, R, S): fan_in = C/G*R*S numbers go into one output, fan_out = K*R*S come from one input.
The layers' own default is `he_normal` with zero biases: every network of the slides is built of ReLUs, for which it
keeps the size of activations from layer to layer, so that deep plain nets start to learn without further care.
On the meta device there is nothing to fill, and no random number is used up.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any, Literal

import numpy as np

from .. import random
from ..autograd import no_grad
from ..errors import ArgumentError, check
from ..geometry import is_number
from ..tensor import Tensor

Fan = Literal["fan_in", "fan_out", "average"]


def fans(weight: Tensor) -> tuple[int, int]:
    """(fan_in, fan_out) of a weight of two axes or more. Raises ArgumentError for fewer."""
    shape = weight.shape
    check(len(shape) >= 2, f"fans: the weight has shape {shape}: it must be (out, in) or (K, C/groups, R, S)")
    window = math.prod(shape[2:])
    return shape[1] * window, shape[0] * window


def _fan(weight: Tensor, mode: str) -> float:
    check(mode in ("fan_in", "fan_out", "average"), f"init: mode is {mode!r}: it must be fan_in, fan_out or average")
    fan_in, fan_out = fans(weight)
    return {"fan_in": fan_in, "fan_out": fan_out, "average": (fan_in + fan_out) / 2}[mode] or 1.0


def _fill(tensor: Tensor, draw: Callable[[np.random.Generator, tuple[int, ...], Any], np.ndarray] | float) -> Tensor:
    if tensor.device == "meta":
        return tensor
    with no_grad():
        if callable(draw):
            dtype = tensor.dtype if tensor.dtype in (np.float32, np.float64) else np.dtype(np.float32)
            tensor.copy_(Tensor(draw(random.generator(random.next_key("init")), tensor.shape, dtype)).to(tensor.device))
        else:
            tensor.copy_(draw)
    return tensor


def _numbers(name: str, **values: Any) -> None:
    for argument, value in values.items():
        check(is_number(value), f"{name}: {argument} is {value!r}: it must be a number")


def constant(tensor: Tensor, value: float = 0.0) -> Tensor:
    """Every number `value`."""
    _numbers("constant", value=value)
    return _fill(tensor, float(value))


def gaussian(tensor: Tensor, std: float = 0.01, mean: float = 0.0) -> Tensor:
    """Normally distributed numbers; 0.01 is AlexNet's standard deviation."""
    _numbers("gaussian", std=std, mean=mean)
    check(std >= 0, f"gaussian: std is {std!r}: it must be at least 0")

    def draw(generator: np.random.Generator, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
        values = generator.standard_normal(shape, dtype)
        values *= std
        if mean:
            values += mean
        return values

    return _fill(tensor, draw)


def uniform(tensor: Tensor, low: float = 0.0, high: float = 1.0) -> Tensor:
    """Numbers evenly spread over low .. high."""
    _numbers("uniform", low=low, high=high)
    check(low <= high, f"uniform: low is {low!r} and high {high!r}: low must not be greater")

    def draw(generator: np.random.Generator, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
        values = generator.random(shape, dtype)
        values *= high - low
        values += low
        return values

    return _fill(tensor, draw)


def xavier_uniform(weight: Tensor, gain: float = 1.0, mode: Fan = "average") -> Tensor:
    """Uniform with variance gain**2/fan: for tanh, sigmoid and linear outputs. Source: Glorot and Bengio 2010."""
    _numbers("xavier_uniform", gain=gain)
    bound = gain * math.sqrt(3.0 / _fan(weight, mode))
    return uniform(weight, -bound, bound)


def xavier_normal(weight: Tensor, gain: float = 1.0, mode: Fan = "average") -> Tensor:
    """Normal with variance gain**2/fan. Source: Glorot and Bengio 2010."""
    _numbers("xavier_normal", gain=gain)
    return gaussian(weight, gain * math.sqrt(1.0 / _fan(weight, mode)))


def he_uniform(weight: Tensor, mode: Fan = "fan_in", negative_slope: float = 0.0) -> Tensor:
    """Uniform with variance 2/fan: for ReLU, or a leaky one. Source: He, Zhang, Ren and Sun 2015, arXiv:1502.01852."""
    _numbers("he_uniform", negative_slope=negative_slope)
    bound = math.sqrt(6.0 / ((1 + negative_slope**2) * _fan(weight, mode)))
    return uniform(weight, -bound, bound)


def he_normal(weight: Tensor, mode: Fan = "fan_in", negative_slope: float = 0.0) -> Tensor:
    """Normal with variance 2/fan ("msra"). Source: He, Zhang, Ren and Sun 2015, arXiv:1502.01852."""
    _numbers("he_normal", negative_slope=negative_slope)
    return gaussian(weight, math.sqrt(2.0 / ((1 + negative_slope**2) * _fan(weight, mode))))


def filler(kind: str, **options: Any) -> Callable[[Tensor], Tensor]:
    """Caffe's filler of this name, as a function on a Tensor.

    "constant" (value=0), "gaussian" (mean=0, std=1), "uniform" (min=0, max=1), and "xavier" (uniform) and "msra"
    (normal), whose variance_norm is "FAN_IN" (Caffe's default), "FAN_OUT" or "AVERAGE".
    Raises ArgumentError for another name or option.
    """
    norm = {"FAN_IN": "fan_in", "FAN_OUT": "fan_out", "AVERAGE": "average"}
    defaults: dict[str, dict[str, Any]] = {
        "constant": {"value": 0.0}, "gaussian": {"mean": 0.0, "std": 1.0}, "uniform": {"min": 0.0, "max": 1.0},
        "xavier": {"variance_norm": "FAN_IN"}, "msra": {"variance_norm": "FAN_IN"},
    }  # fmt: skip
    check(kind in defaults, f"filler: kind is {kind!r}: it must be one of {', '.join(defaults)}")
    for name in options:
        check(name in defaults[kind], f"filler: {kind} has no option {name!r}: it takes {', '.join(defaults[kind])}")
    given = defaults[kind] | options
    if "variance_norm" in given:
        wanted = given["variance_norm"]
        check(wanted in norm, f"filler: variance_norm is {wanted!r}: it must be one of {', '.join(norm)}")
        by_fan: Callable[..., Tensor] = xavier_uniform if kind == "xavier" else he_normal
        return functools.partial(by_fan, mode=norm[wanted])
    if kind == "uniform":
        return functools.partial(uniform, low=given["min"], high=given["max"])
    plain: Callable[..., Tensor] = constant if kind == "constant" else gaussian
    return functools.partial(plain, **given)


def fill(model: Any, weight: Callable[[Tensor], Any], bias: Callable[[Tensor], Any] | None = None) -> Any:
    """Fill the `weight` (two axes or more) and, if asked, the `bias` of every layer inside `model`. Returns it."""
    if not hasattr(model, "named_layers"):
        raise ArgumentError(f"fill: model is {type(model).__name__}: it must be a Layer")
    for _, layer in model.named_layers():
        own = layer._parameters
        if "weight" in own and own["weight"].ndim >= 2:
            weight(own["weight"])
            if bias is not None and "bias" in own:
                bias(own["bias"])
    return model
