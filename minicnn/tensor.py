"""Tensor: an array, its gradient, and how it was computed.

The operators and methods that compute are attached by the modules of `minicnn.ops`, each beside its operation.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from . import backends
from .errors import ArgumentError, BackendError, DTypeError, GradientError, IndexingError, ShapeError
from .mode import is_recording

if TYPE_CHECKING:
    from .autograd import Node


class Version:
    """Counts the changes of a storage; views share one."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value = 0


class Tensor:
    """An n-dimensional array that remembers how it was computed.

    data: an array (kept as it is, not copied), a number, a (nested) list, or a Tensor. Lists and Python numbers become
        float32; arrays keep their dtype.
    requires_grad: whether `backward` should leave a gradient in `.grad`; needs a floating dtype.
    dtype, device: convert to these ("cpu", "cuda" or "meta").
    Raises DTypeError for data that are not numbers.
    """

    __slots__ = ("__weakref__", "_data", "_index", "_node", "_requires_grad", "_version", "grad")
    __array_ufunc__ = None  # so that ndarray + Tensor calls Tensor.__radd__
    __array_priority__ = 1000

    grad: Tensor | None

    if TYPE_CHECKING:  # attached by minicnn.ops; named here for editors and type checkers
        Operator = Callable[["Tensor", Any], "Tensor"]
        __add__: Operator
        __radd__: Operator
        __sub__: Operator
        __rsub__: Operator
        __mul__: Operator
        __rmul__: Operator
        __truediv__: Operator
        __rtruediv__: Operator
        __pow__: Operator
        __rpow__: Operator
        __matmul__: Operator
        __rmatmul__: Operator
        __gt__: Operator
        __ge__: Operator
        __lt__: Operator
        __le__: Operator
        __getitem__: Operator
        __neg__: Callable[[Tensor], Tensor]
        __abs__: Callable[[Tensor], Tensor]
        T: Tensor

        def __eq__(self, other: Any) -> Tensor: ...  # type: ignore[override]
        def __ne__(self, other: Any) -> Tensor: ...  # type: ignore[override]

        def reshape(self, *shape: Any) -> Tensor: ...
        def flatten(self, start: int = 1) -> Tensor: ...
        def squeeze(self, axis: Any = None) -> Tensor: ...
        def expand_dims(self, axis: Any) -> Tensor: ...
        def transpose(self, *axes: Any) -> Tensor: ...
        def swapaxes(self, first: int, second: int) -> Tensor: ...
        def astype(self, dtype: Any) -> Tensor: ...
        def copy(self) -> Tensor: ...
        def exp(self) -> Tensor: ...
        def log(self) -> Tensor: ...
        def sqrt(self) -> Tensor: ...
        def abs(self) -> Tensor: ...
        def clip(self, low: float, high: float) -> Tensor: ...
        def sum(self, axis: Any = None, keepdims: bool = False) -> Tensor: ...
        def mean(self, axis: Any = None, keepdims: bool = False) -> Tensor: ...
        def prod(self, axis: Any = None, keepdims: bool = False) -> Tensor: ...
        def var(self, axis: Any = None, keepdims: bool = False) -> Tensor: ...
        def std(self, axis: Any = None, keepdims: bool = False) -> Tensor: ...
        def max(self, axis: Any = None, keepdims: bool = False) -> Tensor: ...
        def min(self, axis: Any = None, keepdims: bool = False) -> Tensor: ...
        def argmax(self, axis: int | None = None) -> Tensor: ...

    def __init__(self, data: Any, requires_grad: bool = False, *, dtype: Any = None, device: str | None = None) -> None:
        dtype = None if dtype is None else backends.as_dtype(dtype, "Tensor")
        array = data.data if isinstance(data, Tensor) else backends.as_array(data, dtype)
        if dtype is not None and array.dtype != dtype:
            array = array.astype(dtype)
        if device is not None:
            array = backends.to_device(array, device, "Tensor")
        self._data = array
        self._node: Node | None = None
        self._index = 0
        self._version: Version = data._version if isinstance(data, Tensor) and array is data.data else Version()
        self._requires_grad = False
        self.grad = None
        if requires_grad:
            self.requires_grad = True

    @classmethod
    def _from_array(
        cls, array: Any, node: Node | None = None, index: int = 0, version: Version | None = None
    ) -> Tensor:
        """Wrap an array without any checks: for the engine."""
        tensor = object.__new__(Tensor)
        tensor._data = array
        tensor._node = node
        tensor._index = index
        tensor._version = Version() if version is None else version
        tensor._requires_grad = node is not None
        tensor.grad = None
        return tensor

    # What it is

    @property
    def data(self) -> Any:
        """The array itself: numpy.ndarray, cupy.ndarray or the meta stub. Setting it counts as a change in place."""
        return self._data

    @data.setter
    def data(self, value: Any) -> None:
        array = value.data if isinstance(value, Tensor) else backends.as_array(value, self.dtype)
        if self._node is not None and array.shape != self.shape:
            raise ArgumentError(
                f"data: the new array has shape {array.shape}, the Tensor {self.shape}: a result keeps its shape"
            )
        if self._requires_grad and array.dtype.kind != "f":
            raise DTypeError(f"data: dtype is {array.dtype}: the Tensor requires a gradient, so it must be floating")
        if array is self._data:
            self._changed()
        else:  # another storage, another counter: views of the old one are as they were
            self._data = array
            self._version = value._version if isinstance(value, Tensor) else Version()

    @property
    def requires_grad(self) -> bool:
        """Whether gradients flow to this Tensor."""
        return self._requires_grad

    @requires_grad.setter
    def requires_grad(self, flag: bool) -> None:
        if flag and self._data.dtype.kind != "f":
            raise DTypeError(
                f"requires_grad: dtype is {self.dtype}: only floating Tensors have gradients: use .astype('float32')"
            )
        if not flag and self._node is not None:
            raise GradientError("requires_grad: a computed Tensor cannot stop requiring gradients: use .detach()")
        self._requires_grad = bool(flag)

    @property
    def shape(self) -> tuple[int, ...]:
        return self._data.shape

    @property
    def ndim(self) -> int:
        return len(self._data.shape)

    @property
    def size(self) -> int:
        """Number of elements."""
        return int(self._data.size)

    @property
    def dtype(self) -> np.dtype[Any]:
        return self._data.dtype

    @property
    def device(self) -> str:
        """Where the array lives: "cpu", "cuda" or "meta"."""
        return backends.device_of(self._data)

    @property
    def is_leaf(self) -> bool:
        """Whether it was made by hand, not computed."""
        return self._node is None

    # Values

    def numpy(self) -> np.ndarray:
        """The values as a NumPy array; on the CPU it shares memory with the Tensor."""
        return backends.to_numpy(self._data)

    def item(self) -> float | int | bool:
        """The value of a Tensor with one element, as a Python number."""
        if self.size != 1:
            raise ArgumentError(
                f"item: the Tensor has shape {self.shape}: only one element becomes a number: use .numpy()"
            )
        return self.numpy().item()

    def tolist(self) -> Any:
        return self.numpy().tolist()

    def __float__(self) -> float:
        return float(self.item())

    def __int__(self) -> int:
        return int(self.item())

    def __bool__(self) -> bool:
        return bool(self.item())

    def __len__(self) -> int:
        if not self.shape:
            raise TypeError("len() of a Tensor without axes")
        return self.shape[0]

    def __iter__(self) -> Any:
        """The parts along the first axis."""
        return (self[i] for i in range(len(self)))

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        array = self.numpy()
        if dtype is not None and array.dtype != dtype:
            return array.astype(dtype)
        return array.copy() if copy else array

    def __repr__(self) -> str:
        note = ", requires_grad=True" if self._requires_grad and self._node is None else ""
        note = f", from {self._node.name}" if self._node is not None else note
        if self.device == "meta":
            return f"Tensor(shape={self.shape}, dtype={self.dtype}, device='meta'{note})"
        body = np.array2string(self.numpy(), separator=", ", prefix="Tensor(", threshold=100)
        place = "" if self.device == "cpu" else f", device='{self.device}'"
        kind = "" if self.dtype == np.float32 else f", dtype={self.dtype}"
        return f"Tensor({body}{kind}{place}{note})"

    # History

    def detach(self) -> Tensor:
        """The same array without its history."""
        return Tensor._from_array(self._data, version=self._version)

    def backward(self, grad: Any = None, *, retain_graph: bool = False, create_graph: bool = False) -> None:
        """Leave the derivatives of this Tensor in the `.grad` of every leaf: see `minicnn.autograd.backward`."""
        from .autograd import backward

        backward(self, grad, retain_graph=retain_graph, create_graph=create_graph)

    def zero_grad(self) -> None:
        self.grad = None

    # Changes in place: they raise the version, so that a backward that still needs the old values says so

    def _changed(self) -> None:
        """Say that the array was written to."""
        self._version.value += 1

    def _writable(self, what: str) -> None:
        if self._requires_grad and is_recording():
            raise GradientError(
                f"{what}: the Tensor requires a gradient and its history cannot follow a change in place: "
                "change it under minicnn.no_grad(), or compute a new one with ops.where"
            )

    def copy_(self, values: Any) -> Tensor:
        """Overwrite the values, which broadcast to this shape. Returns self."""
        self._write("copy_", ..., values)
        return self

    def __setitem__(self, index: Any, values: Any) -> None:
        self._write("x[index] = values", plain_index(index), values)

    def _write(self, what: str, index: Any, values: Any) -> None:
        self._writable(what)
        array = backends.as_operand(values, self._data)
        try:
            backends.of([self._data, array], what).assign(self._data, index, array)
        except (IndexError, OverflowError) as error:
            raise IndexingError(f"{what}: index {index!r} on shape {self.shape}: {error}") from None
        except (TypeError, ValueError) as error:
            raise ShapeError(
                f"{what}: {array.dtype} values of shape {array.shape} cannot be written into {self.shape}: {error}"
            ) from None
        self._changed()

    __hash__ = object.__hash__

    def __reduce_ex__(self, protocol: Any) -> Any:
        if self._node is not None:
            raise GradientError(
                f"copy or pickle: the Tensor was computed ({self._node.name}) and its history cannot come along: "
                "use .detach(), or .copy() for a differentiable copy"
            )
        return super().__reduce_ex__(protocol)

    # Devices

    def to(self, device: str) -> Tensor:
        """A copy on another device ("cpu", "cuda", "meta"), a leaf without history; the Tensor itself where it is there."""
        if device == self.device:
            return self
        moved = Tensor(backends.to_device(self._data, device))
        moved._requires_grad = self._requires_grad
        return moved


def plain_index(index: Any) -> Any:
    """An index with its Tensors and lists replaced by arrays."""
    if isinstance(index, tuple):
        return tuple(map(plain_index, index))
    if isinstance(index, list):
        try:
            return np.asarray(index, None if index else np.intp)
        except ValueError as error:
            raise IndexingError(f"getitem: index {index!r} is no array: {error}") from None
    if isinstance(index, Tensor):
        if index.device == "meta":
            raise BackendError("getitem: an index on the meta device has no values")
        return index.data
    return index


def as_tensor(value: Any, like: Tensor | None = None, what: str = backends.DATA) -> Tensor:
    """A Tensor from anything; Python numbers and lists take the dtype and device of `like`.

    what: the operation and its argument, for messages: "clip: low".
    """
    if isinstance(value, Tensor):
        return value
    if like is None:
        return Tensor._from_array(backends.as_array(value, what=what))
    return Tensor._from_array(backends.as_operand(value, like.data, what))
