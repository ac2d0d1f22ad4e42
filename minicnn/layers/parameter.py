"""Parameter, and where and how new ones are made."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from .. import geometry
from ..backends import pool
from ..errors import check
from ..geometry import Shape, is_number
from ..tensor import Tensor


class _Defaults(threading.local):
    device = "cpu"


_defaults = _Defaults()


@contextlib.contextmanager
def default_device(device: str) -> Iterator[None]:
    """Make new parameters on "cpu", "cuda" or "meta" inside the `with`, in this thread; on meta none is initialised."""
    check(device in ("cpu", "cuda", "meta"), f"default_device: device is {device!r}: it must be cpu, cuda or meta")
    before, _defaults.device = _defaults.device, device
    try:
        yield
    finally:
        _defaults.device = before


class Parameter(Tensor):
    """A Tensor that is learned.

    lr_mult, decay_mult: factors on the learning rate and the weight decay of this parameter alone, as in Caffe.
    """

    __slots__ = ("decay_mult", "lr_mult")

    lr_mult: float
    decay_mult: float

    def __init__(self, data: Any, requires_grad: bool = True, *, lr_mult: float = 1.0, decay_mult: float = 1.0) -> None:
        for name, factor in (("lr_mult", lr_mult), ("decay_mult", decay_mult)):
            check(is_number(factor) and factor >= 0, f"Parameter: {name} is {factor!r}: it must be at least 0")
        super().__init__(data, requires_grad)
        self.lr_mult, self.decay_mult = lr_mult, decay_mult


def new_array(shape: Shape, value: float = 0.0) -> Tensor:
    """A float32 Tensor filled with `value` on the default device; on meta it takes no memory."""
    size = geometry.elements(shape)
    check(size <= geometry.LIMIT, f"a parameter of shape {shape} would have {size:,} elements: the limit is 2**58")
    if _defaults.device == "meta":
        return Tensor(np.broadcast_to(np.float32(0), shape), device="meta")
    array = pool.empty(shape, np.float32)
    array[...] = value
    return Tensor(array, device=_defaults.device)


def new_parameter(shape: Shape, fill: Callable[[Tensor], Any] | None = None, value: float = 0.0) -> Parameter:
    """A float32 parameter on the default device, filled by `fill` (see `init`) or with `value`."""
    parameter = Parameter(new_array(shape, value))
    if fill is not None:
        fill(parameter)
    return parameter
