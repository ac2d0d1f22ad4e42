"""Operations that move numbers and do not change them: reshape, transpose, index, cat, pad, broadcast, cast; sum_to."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..autograd import differentiable, joining, view
from ..backends import as_dtype, as_operand
from ..errors import ArgumentError, IndexingError, MinicnnError, ShapeError
from ..geometry import is_integer
from ..tensor import Tensor, as_tensor, plain_index


@view
def _reshape(kernels, needs, x, *, shape):
    return kernels.reshape(x, shape), [], functools.partial(_reshape_backward, x.shape)


def _reshape_backward(before, saved, dy, needs, *, shape):
    return (_reshape(dy, shape=before),)


def reshape(x: Any, *shape: Any) -> Tensor:
    """The same numbers in another shape: reshape(x, 2, -1) or reshape(x, (2, -1)); -1 is worked out.

    Raises ShapeError if the numbers of elements differ.
    """
    x = as_tensor(x, what="reshape: x")
    sizes = _tuple("reshape: shape", shape[0]) if len(shape) == 1 and not is_integer(shape[0]) else shape
    if not all(map(is_integer, sizes)) or sizes.count(-1) > 1 or min(sizes, default=0) < -1:
        raise ShapeError(f"reshape: shape is {sizes}: it must hold sizes of at least 0, and at most one -1")
    known = math.prod(size for size in sizes if size != -1)
    if -1 in sizes and known and x.size % known == 0:
        sizes = tuple(x.size // known if size == -1 else int(size) for size in sizes)
    if -1 in sizes or math.prod(sizes) != x.size:
        raise ShapeError(f"reshape: {x.shape} has {x.size} elements and cannot become {sizes}: the numbers must agree")
    return _reshape(x, shape=tuple(map(int, sizes)))


def _tuple(name: str, values: Any) -> tuple[Any, ...]:
    try:
        return tuple(values)
    except TypeError:
        raise ShapeError(f"{name} is {values!r}: it must be integers, or a tuple or list of them") from None


def flatten(x: Any, start: int = 1) -> Tensor:
    """All axes from `start` on as one: (N, C, H, W) becomes (N, C*H*W)."""
    x = as_tensor(x, what="flatten: x")
    if not is_integer(start) or not 0 <= start < max(x.ndim, 1):
        raise ShapeError(f"flatten: start is {start}: it must be an axis of {x.shape}")
    return _reshape(x, shape=(*x.shape[:start], math.prod(x.shape[start:])))


def squeeze(x: Any, axis: int | tuple[int, ...] | None = None) -> Tensor:
    """x without an axis of size 1, several, or all of them: (N, C, 1, 1) becomes (N, C) with axis=(2, 3). A view.

    Raises ShapeError for an axis of another size.
    """
    x = as_tensor(x, what="squeeze: x")
    if axis is None:
        axis = tuple(a for a, size in enumerate(x.shape) if size == 1)
    dropped = {_axis("squeeze", a, x.ndim) for a in (axis if isinstance(axis, tuple) else (axis,))}
    for a in sorted(dropped):
        if x.shape[a] != 1:
            raise ShapeError(f"squeeze: axis {a} of {x.shape} has size {x.shape[a]}: only an axis of size 1 can go")
    return _reshape(x, shape=tuple(size for a, size in enumerate(x.shape) if a not in dropped))


def expand_dims(x: Any, axis: int | tuple[int, ...]) -> Tensor:
    """x with a new axis of size 1, or several, which stand at `axis` in the result: (C, H, W) becomes (1, C, H, W). A view.

    Raises ShapeError for an axis that the result does not have.
    """
    x = as_tensor(x, what="expand_dims: x")
    listed = axis if isinstance(axis, tuple) else (axis,)
    ndim = x.ndim + len(listed)
    new = {_axis("expand_dims", a, ndim) for a in listed}
    if len(new) != len(listed):
        raise ShapeError(f"expand_dims: axis is {axis}: it must not name an axis twice")
    sizes = iter(x.shape)
    return _reshape(x, shape=tuple(1 if a in new else next(sizes) for a in range(ndim)))


@view
def _transpose(kernels, needs, x, *, axes):
    return kernels.transpose(x, axes), [], _transpose_backward


def _transpose_backward(saved, dy, needs, *, axes):
    return (_transpose(dy, axes=tuple(axes.index(axis) for axis in range(len(axes)))),)


def transpose(x: Any, *axes: Any) -> Tensor:
    """The axes in another order, as in NumPy; without `axes`, in reverse order."""
    x = as_tensor(x, what="transpose: x")
    order = _tuple("transpose: axes", axes[0]) if len(axes) == 1 and not is_integer(axes[0]) else axes
    order = tuple(reversed(range(x.ndim))) if not order else tuple(_axis("transpose", a, x.ndim) for a in order)
    if sorted(order) != list(range(x.ndim)):
        raise ShapeError(f"transpose: axes are {order}: they must name each of the {x.ndim} axes of {x.shape} once")
    return _transpose(x, axes=order)


def swapaxes(x: Any, first: int, second: int) -> Tensor:
    """Two axes exchanged."""
    x = as_tensor(x, what="swapaxes: x")
    order = list(range(x.ndim))
    a, b = _axis("swapaxes", first, x.ndim), _axis("swapaxes", second, x.ndim)
    order[a], order[b] = order[b], order[a]
    return _transpose(x, axes=tuple(order))


def _axis(op: str, axis: Any, ndim: int) -> int:
    if not is_integer(axis) or not -ndim <= axis < ndim:
        raise ShapeError(f"{op}: axis is {axis!r}: it must be an integer in {-ndim} .. {ndim - 1}")
    return int(axis) % ndim


@view
def _broadcast_to(kernels, needs, x, *, shape):
    return kernels.broadcast_to(x, shape), [], functools.partial(_broadcast_backward, x.shape)


def _broadcast_backward(before, saved, dy, needs, *, shape):
    return (sum_to(dy, before),)


def broadcast_to(x: Any, shape: Sequence[int]) -> Tensor:
    """x repeated along new axes and axes of size 1. Raises ShapeError if the shapes do not broadcast."""
    x, shape = as_tensor(x, what="broadcast_to: x"), _tuple("broadcast_to: shape", shape)
    if x.shape == shape:
        return x
    try:
        fits = all(map(is_integer, shape)) and np.broadcast_shapes(x.shape, shape) == shape
    except ValueError:
        fits = False
    if not fits:
        raise ShapeError(f"broadcast_to: {x.shape} does not broadcast to {shape}")
    return _broadcast_to(x, shape=shape)


@differentiable
def _sum_axes(kernels, needs, x, *, axes, shape):
    """Sum over `axes`; `shape` is the result's, with those axes left out or of size 1."""
    y = kernels.empty(shape, x.dtype)
    kernels.sum(x, axes, out=y)
    return y, [], functools.partial(_sum_axes_backward, x.shape)


def _sum_axes_backward(before, saved, dy, needs, *, axes, shape):
    kept = tuple(1 if axis in axes else size for axis, size in enumerate(before))
    return (broadcast_to(_reshape(dy, shape=kept) if kept != shape else dy, before),)


def sum_to(x: Tensor, shape: tuple[int, ...]) -> Tensor:
    """The transpose of broadcast_to: sums over what broadcasting would repeat."""
    if x.shape == shape:
        return x
    new = x.ndim - len(shape)
    axes = tuple(range(new)) + tuple(new + i for i, size in enumerate(shape) if size == 1 and x.shape[new + i] != 1)
    return _sum_axes(x, axes=axes, shape=shape)


@differentiable
def _astype(kernels, needs, x, *, dtype):
    y = kernels.empty(x.shape, dtype)
    kernels.copy(x, out=y)
    return y, [], functools.partial(_astype_backward, x.dtype)


def _astype_backward(before, saved, dy, needs, *, dtype):
    return (astype(dy, before),)


def astype(x: Tensor, dtype: Any) -> Tensor:
    """The same numbers in another dtype; gradients flow between floating ones."""
    dtype = as_dtype(dtype, "astype")
    if x.dtype == dtype:
        return x
    return _astype(x if dtype.kind == "f" else x.detach(), dtype=dtype)


@differentiable
def _copy(kernels, needs, x):
    y = kernels.empty(x.shape, x.dtype)
    kernels.copy(x, out=y)
    return y, [], _copy_backward


def _copy_backward(saved, dy, needs):
    return (dy,)


def copy(x: Tensor) -> Tensor:
    """The same numbers in memory of their own, contiguous."""
    return _copy(as_tensor(x, what="copy: x"))


def _is_basic(index: Any) -> bool:
    parts = index if isinstance(index, tuple) else (index,)
    return all(part is None or part is Ellipsis or isinstance(part, slice) or is_integer(part) for part in parts)


def _getitem_rule(kernels, needs, x, *, index):
    try:
        y = kernels.getitem(x, index)
        if isinstance(y, np.generic):  # a view of the one element, as for any other part
            y = kernels.getitem(x, (*(index if isinstance(index, tuple) else (index,)), ...))
    except (IndexError, OverflowError, TypeError, ValueError) as error:
        raise IndexingError(f"getitem: index {index!r} on shape {x.shape}: {error}") from None
    return y, [], functools.partial(_getitem_backward, x.shape)


def _getitem_backward(before, saved, dy, needs, *, index):
    return (_scatter(dy, index=index, shape=before),)


_getitem_rule.__name__ = "getitem"
_slice = view(_getitem_rule)
_gather = differentiable(_getitem_rule)


@differentiable
def _scatter(kernels, needs, x, *, index, shape):
    """Zeros of `shape` with x added at `index`: the transpose of indexing."""
    y = kernels.zeros(shape, x.dtype)
    (kernels.assign if _is_basic(index) else kernels.add_at)(y, index, x)
    return y, [], _scatter_backward


def _scatter_backward(saved, dy, needs, *, index, shape):
    return (getitem(dy, index),)


def getitem(x: Any, index: Any) -> Tensor:
    """x[index] as in NumPy: integers, slices, None, ..., integer arrays and bool masks. Slices are views."""
    index = plain_index(index)
    return (_slice if _is_basic(index) else _gather)(as_tensor(x, what="getitem: x"), index=index)


@joining
def _cat(kernels, needs, *arrays, axis, joins=None):
    """joins: how many joins in a row will read the result first: their channels find room behind it. None: no such chain."""
    shape = list(arrays[0].shape)
    starts = [0]
    for array in arrays:
        starts.append(starts[-1] + array.shape[axis])
    shape[axis] = starts[-1]
    dtype = np.result_type(*(a.dtype for a in arrays))
    before = (slice(None),) * axis
    places = [(*before, slice(first, last)) for first, last in zip(starts, starts[1:])]
    fresh = joins is None or axis != 1 or arrays[0].dtype != dtype
    if fresh:
        y = kernels.empty(tuple(shape), dtype)
    else:  # each join of the chain probably adds as much as this one; if not, one of them copies
        y = kernels.extended(arrays[0], starts[-1], joins * (starts[-1] - starts[1]))
    for number in range(0 if fresh else 1, len(arrays)):
        kernels.assign(y, places[number], arrays[number])
    return y, [], functools.partial(_cat_backward, places, [a.dtype for a in arrays])


def _cat_backward(places, dtypes, saved, dy, needs, *, axis, joins=None):
    return [astype(getitem(dy, place), dtype) if need else None for place, dtype, need in zip(places, dtypes, needs)]


def _parts(op: str, tensors: Any) -> list[Tensor]:
    try:
        return [as_tensor(t, what=f"{op}: tensors") for t in tensors]
    except TypeError as error:
        if isinstance(error, MinicnnError):
            raise
        raise ArgumentError(f"{op}: tensors is {type(tensors).__name__}: it must be a list of Tensors") from None


def cat(tensors: Sequence[Any], axis: int = 1) -> Tensor:
    """Tensors one behind the other along `axis` (channels by default). The other sizes must agree (ShapeError)."""
    return chained_cat(tensors, axis, None)


def chained_cat(tensors: Sequence[Any], axis: int, joins: int | None) -> Tensor:
    """`cat` for one of a chain, in which each join reads the one before it first, and `joins` more follow.

    Such a chain copies every channel once: the result may lie in the memory of the first Tensor, with the others behind it.
    """
    parts = _parts("cat", tensors)
    if not parts:
        raise ArgumentError("cat: the list of tensors is empty: it needs at least one")
    axis = _axis("cat", axis, parts[0].ndim)
    rest = [(*t.shape[:axis], *t.shape[axis + 1 :]) for t in parts]
    if any(t.ndim != parts[0].ndim for t in parts) or any(r != rest[0] for r in rest):
        shapes = ", ".join(str(t.shape) for t in parts)
        raise ShapeError(f"cat: shapes {shapes} along axis {axis}: all other sizes must agree")
    return _cat(*parts, axis=axis, joins=joins)


def stack(tensors: Sequence[Any], axis: int = 0) -> Tensor:
    """Tensors of one shape along a new axis."""
    parts = _parts("stack", tensors)
    if not parts:
        raise ArgumentError("stack: the list of tensors is empty: it needs at least one")
    axis = _axis("stack", axis, parts[0].ndim + 1)
    return cat([reshape(t, (*t.shape[:axis], 1, *t.shape[axis:])) for t in parts], axis)


@differentiable
def _pad(kernels, needs, x, *, widths, value):
    shape = tuple(before + size + after for size, (before, after) in zip(x.shape, widths))
    inside = tuple(slice(before, before + size) for size, (before, _) in zip(x.shape, widths))
    y = kernels.empty(shape, x.dtype)
    kernels.fill(y, value)
    kernels.assign(y, inside, x)
    return y, [], functools.partial(_pad_backward, inside)


def _pad_backward(inside, saved, dy, needs, *, widths, value):
    return (getitem(dy, inside),)


def pad(x: Any, widths: Sequence[tuple[int, int]], value: float = 0.0) -> Tensor:
    """A border of `value`: widths holds (before, after) for each axis, as in numpy.pad."""
    x = as_tensor(x, what="pad: x")
    if not isinstance(value, (int, float, np.integer, np.floating)):
        raise ArgumentError(f"pad: value is {value!r}: it must be a number")
    if x.dtype.kind != "f":
        if not float(value).is_integer():
            raise ArgumentError(f"pad: value is {value!r} but x has dtype {x.dtype}: it must be a whole number")
        value = as_operand(int(value), x.data).item()
    pairs = [tuple(w) if isinstance(w, (tuple, list)) else (w, w) for w in _tuple("pad: widths", widths)]
    if len(pairs) != x.ndim or any(len(p) != 2 or not all(map(is_integer, p)) or min(p) < 0 for p in pairs):
        raise ShapeError(
            f"pad: widths are {list(widths)}: they must be (before, after), at least 0, for each axis of {x.shape}"
        )
    return _pad(x, widths=tuple((int(p[0]), int(p[1])) for p in pairs), value=value)


for _name, _method in {
    "reshape": reshape, "flatten": flatten, "transpose": transpose, "swapaxes": swapaxes, "astype": astype,
    "squeeze": squeeze, "expand_dims": expand_dims, "copy": copy, "__getitem__": getitem, "T": property(lambda self: transpose(self)),
}.items():  # fmt: skip
    setattr(Tensor, _name, _method)
