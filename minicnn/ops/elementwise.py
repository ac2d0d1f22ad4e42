"""Arithmetic element by element, with NumPy's broadcasting; the operators of Tensor."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from ..autograd import differentiable
from ..errors import ArgumentError, DTypeError, ShapeError
from ..tensor import Tensor, as_tensor
from .shape import astype, sum_to


def _result(op: str, *operands: Any) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """Shape and dtype of an element-by-element result; a floating operand decides over an integer one."""
    shapes = [x.shape for x in operands]
    shape = shapes[0]
    if any(other != shape for other in shapes):
        try:
            shape = np.broadcast_shapes(*shapes)
        except ValueError:
            raise ShapeError(
                f"{op}: shapes {' and '.join(map(str, shapes))} do not broadcast: from the right, each pair of sizes must "
                "be equal or one of them 1"
            ) from None
    dtype = operands[0].dtype
    if any(x.dtype != dtype for x in operands):
        floating = [x.dtype for x in operands if x.dtype.kind == "f"]
        dtype = np.result_type(*(floating or [x.dtype for x in operands]))
    return shape, dtype


def _back(gradient: Tensor, like: Tensor | Any) -> Tensor:
    """A gradient brought to the shape and dtype of the operand that it belongs to."""
    return astype(sum_to(gradient, like.shape), like.dtype)


class _Like:
    """Shape and dtype of an operand whose values the backward does not need."""

    def __init__(self, array: Any) -> None:
        self.shape, self.dtype = array.shape, array.dtype


@differentiable
def _add(kernels, needs, a, b):
    y = kernels.empty(*_result("add", a, b))
    kernels.add(a, b, out=y)
    return y, [], functools.partial(_add_backward, _Like(a), _Like(b))


def _add_backward(a, b, saved, dy, needs):
    return _back(dy, a) if needs[0] else None, _back(dy, b) if needs[1] else None


@differentiable
def _subtract(kernels, needs, a, b):
    y = kernels.empty(*_result("subtract", a, b))
    if y.dtype.kind == "b":
        raise DTypeError("subtract: both operands are bool: use != for where they differ, or .astype('float32')")
    kernels.subtract(a, b, out=y)
    return y, [], functools.partial(_subtract_backward, _Like(a), _Like(b))


def _subtract_backward(a, b, saved, dy, needs):
    return _back(dy, a) if needs[0] else None, _back(-dy, b) if needs[1] else None


@differentiable
def _multiply(kernels, needs, a, b):
    y = kernels.empty(*_result("multiply", a, b))
    kernels.multiply(a, b, out=y)
    saved = [b if needs[0] else None, a if needs[1] else None]
    return y, saved, functools.partial(_multiply_backward, _Like(a), _Like(b))


def _multiply_backward(like_a, like_b, saved, dy, needs):
    b, a = saved
    return _back(dy * b, like_a) if needs[0] else None, _back(dy * a, like_b) if needs[1] else None


@differentiable
def _divide(kernels, needs, a, b):
    shape, dtype = _result("divide", a, b)
    y = kernels.empty(shape, dtype if dtype.kind == "f" else np.dtype(np.float32))
    kernels.divide(a, b, out=y)
    saved = [b, a if needs[1] else None]
    return y, saved, functools.partial(_divide_backward, _Like(a))


def _divide_backward(like_a, saved, dy, needs):
    b, a = saved
    return _back(dy / b, like_a) if needs[0] else None, _back(-dy * a / (b * b), b) if needs[1] else None


@differentiable
def _power(kernels, needs, a, b):
    y = kernels.empty(*_result("power", a, b))
    try:
        kernels.power(a, b, out=y)
    except (TypeError, ValueError) as error:  # NumPy looks at the values of integers only
        raise ArgumentError(f"power: dtypes {a.dtype} and {b.dtype}: {error} Use .astype('float32')") from None
    return y, [a, b], _power_backward


def _power_backward(saved, dy, needs):
    a, b = saved
    da = db = None
    if needs[0]:
        # b*a**(b - 1) is 0*inf at a = 0, b = 0, where the derivative is 0.
        slope = where(b == 0, 0.0, b * power(a, where(b == 0, 1.0, b - 1)))
        da = _back(dy * slope, a)
    if needs[1]:
        base = where(a > 0, a, 1.0)  # log(1) is 0, whose derivatives stay finite where log(a) has none
        db = _back(dy * where(a > 0, power(base, b) * log(base), 0.0), b)
    return da, db


@differentiable
def _maximum(kernels, needs, a, b):
    y = kernels.empty(*_result("maximum", a, b))
    kernels.maximum(a, b, out=y)
    return y, [a, b], _maximum_backward


def _maximum_backward(saved, dy, needs):
    a, b = saved
    return _extremum_gradients(a > b, a, b, dy, needs)


@differentiable
def _minimum(kernels, needs, a, b):
    y = kernels.empty(*_result("minimum", a, b))
    kernels.minimum(a, b, out=y)
    return y, [a, b], _minimum_backward


def _minimum_backward(saved, dy, needs):
    a, b = saved
    return _extremum_gradients(a < b, a, b, dy, needs)


def _extremum_gradients(first: Tensor, a: Tensor, b: Tensor, dy: Tensor, needs: tuple[bool, ...]) -> Any:
    """dy goes to the operand that was taken, half to each on a tie."""
    share = where(a == b, 0.5, astype(first, dy.dtype))
    return _back(dy * share, a) if needs[0] else None, _back(dy * (1.0 - share), b) if needs[1] else None


def _binary(op: Callable[..., Tensor], name: str, doc: str) -> Callable[[Any, Any], Tensor]:
    first, second = f"{name}: a", f"{name}: b"

    def call(a: Any, b: Any) -> Tensor:
        if not isinstance(a, Tensor):
            a = as_tensor(a, b if isinstance(b, Tensor) else None, first)
        if not isinstance(b, Tensor):
            b = as_tensor(b, a, second)
        return op(a, b)

    call.__name__ = call.__qualname__ = name
    call.__doc__ = doc
    return call


add = _binary(_add, "add", "a + b, element by element; the shapes broadcast.")
subtract = _binary(_subtract, "subtract", "a - b, element by element; the shapes broadcast.")
multiply = _binary(_multiply, "multiply", "a * b, element by element; the shapes broadcast.")
divide = _binary(_divide, "divide", "a / b, element by element; the shapes broadcast; integers give float32.")
power = _binary(_power, "power", "a ** b, element by element. The derivative by b takes a > 0.")
maximum = _binary(_maximum, "maximum", "The larger of a and b; on a tie each gets half the gradient; NaN wins.")
minimum = _binary(_minimum, "minimum", "The smaller of a and b; on a tie each gets half the gradient; NaN wins.")


def _comparison(name: str, sign: str) -> Callable[[Any, Any], Tensor]:
    def rule(kernels, needs, a, b):
        y = kernels.empty(_result(name, a, b)[0], np.dtype(bool))
        getattr(kernels, name)(a, b, out=y)
        return y, [], None

    rule.__name__ = name
    op = differentiable(rule)
    first, second = f"{name}: a", f"{name}: b"

    def call(a: Any, b: Any) -> Tensor:
        # A truth value has no derivative: detached operands record nothing.
        a = as_tensor(a, b if isinstance(b, Tensor) else None, first)
        return op(a.detach(), as_tensor(b, a, second).detach())

    call.__name__ = call.__qualname__ = name
    call.__doc__ = f"a {sign} b, element by element: a bool Tensor, without gradient."
    return call


greater = _comparison("greater", ">")
greater_equal = _comparison("greater_equal", ">=")
less = _comparison("less", "<")
less_equal = _comparison("less_equal", "<=")
equal = _comparison("equal", "==")
not_equal = _comparison("not_equal", "!=")


@differentiable
def _where(kernels, needs, condition, a, b):
    shape = _result("where", condition, a, b)[0]
    y = kernels.empty(shape, _result("where", a, b)[1])
    kernels.where(condition, a, b, out=y)
    return y, [condition], functools.partial(_where_backward, _Like(a), _Like(b))


def _where_backward(a, b, saved, dy, needs):
    (condition,) = saved
    return (
        None,
        _back(where(condition, dy, 0.0), a) if needs[1] else None,
        _back(where(condition, 0.0, dy), b) if needs[2] else None,
    )


def where(condition: Any, a: Any, b: Any) -> Tensor:
    """a where `condition` (bool) holds, else b; the shapes broadcast."""
    like = a if isinstance(a, Tensor) else b if isinstance(b, Tensor) else None
    chosen = as_tensor(condition, like, "where: condition").detach()
    return _where(chosen, as_tensor(a, like, "where: a"), as_tensor(b, like, "where: b"))


def _floating(x: Tensor) -> Tensor:
    return x if x.dtype.kind == "f" else astype(x, np.float32)


def _unary(name: str, backward: Callable[..., Any], save: str, doc: str) -> Callable[[Any], Tensor]:
    """An operation of one operand whose backward needs its input ("x") or its output ("y")."""

    def rule(kernels, needs, x):
        y = kernels.empty(x.shape, x.dtype)
        getattr(kernels, name)(x, out=y)
        return y, [x if save == "x" else y], backward

    rule.__name__ = name
    op = differentiable(rule)
    what = f"{name}: x"

    def call(x: Any) -> Tensor:
        return op(_floating(as_tensor(x, what=what)))

    call.__name__ = call.__qualname__ = name
    call.__doc__ = f"{doc} Element by element; integers become float32. Raises DTypeError where x is not numbers."
    return call


def _absolute_backward(saved, dy, needs):
    return (dy * sign(saved[0]),)


exp = _unary("exp", lambda saved, dy, needs: (dy * saved[0],), "y", "e ** x; infinity where it is too large.")
log = _unary("log", lambda saved, dy, needs: (dy / saved[0],), "x", "Natural logarithm of x; -inf at 0, NaN below.")
sqrt = _unary("sqrt", lambda saved, dy, needs: (dy * 0.5 / saved[0],), "y", "Square root of x; NaN below 0.")
absolute = _unary("absolute", _absolute_backward, "x", "|x|; the derivative at 0 is 0.")
sign = _unary("sign", lambda saved, dy, needs: (dy * 0.0,), "x", "-1, 0 or 1; the derivative is 0.")


def negative(x: Any) -> Tensor:
    """-x, element by element."""
    x = as_tensor(x, what="negative: x")
    return subtract(0, x) if x.dtype.kind in "ub" else multiply(x, -1)  # 0 - x would make 0 of -0


def clip(x: Any, low: float, high: float) -> Tensor:
    """x limited to low .. high, element by element; the bounds may be Tensors that broadcast with x.

    The gradient passes where low < x < high. Raises DTypeError where one is not a number.
    """
    x = as_tensor(x, what="clip: x")
    return minimum(maximum(x, as_tensor(low, x, "clip: low")), as_tensor(high, x, "clip: high"))


def _swapped(op: Callable[[Any, Any], Tensor]) -> Callable[[Any, Any], Tensor]:
    return lambda self, other: op(other, self)


for _name, _method in {
    "__add__": add, "__radd__": _swapped(add), "__sub__": subtract, "__rsub__": _swapped(subtract),
    "__mul__": multiply, "__rmul__": _swapped(multiply), "__truediv__": divide, "__rtruediv__": _swapped(divide),
    "__pow__": power, "__rpow__": _swapped(power), "__neg__": negative, "__abs__": absolute,
    "__gt__": greater, "__ge__": greater_equal, "__lt__": less, "__le__": less_equal,
    "__eq__": equal, "__ne__": not_equal,
    "exp": exp, "log": log, "sqrt": sqrt, "abs": absolute, "clip": clip,
}.items():  # fmt: skip
    setattr(Tensor, _name, _method)
