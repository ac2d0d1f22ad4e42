"""Gradient checks over every operation: float64, every input, first and second order, every backend."""

from __future__ import annotations

import numpy as np
import pytest

import minicnn
from minicnn import Tensor, ops
from minicnn.errors import DTypeError, GradientError
from minicnn.random import Key

LABELS = np.array([2, 0, 3, 1])


def away(values: np.ndarray, least: float = 0.05) -> np.ndarray:
    """Values moved away from 0, where ReLU, abs and sign have their kink."""
    return values + np.copysign(least, values)


def distinct(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Numbers at least 0.01 apart: no ties in a maximum."""
    size = int(np.prod(shape))
    return (rng.permutation(size).reshape(shape) - size / 2) * 0.01 + 0.003


def norm_with_extras(x, scale, shift, residual):
    return ops.batch_norm(x, scale, shift, residual=residual, relu=True)


def norm_evaluating(x, scale, shift):
    mean, var = Tensor(np.array([0.1, -0.2, 0.3])), Tensor(np.array([0.5, 1.0, 2.0]))
    return ops.batch_norm(x, scale, shift, mean, var, training=False)


# name: (function, shapes of the inputs, how the numbers are made)
CASES = {
    "add": (lambda a, b: a + b, [(3, 4), (4,)], "normal"),
    "subtract": (lambda a, b: a - b, [(2, 1, 4), (3, 1)], "normal"),
    "multiply": (lambda a, b: a * b, [(3, 4), (3, 1)], "normal"),
    "divide": (lambda a, b: a / b, [(3, 4), (3, 4)], "away"),
    "power": (lambda a, b: a**b, [(3, 4), (4,)], "positive"),
    "square of a negative": (lambda a: a**2, [(3, 4)], "normal"),
    "maximum": (lambda a, b: ops.maximum(a, b), [(3, 4), (3, 4)], "distinct"),
    "minimum": (lambda a, b: ops.minimum(a, b), [(3, 4), (3, 4)], "distinct"),
    "where": (lambda a, b: ops.where(np.eye(3, 4) > 0, a, b), [(3, 4), (4,)], "normal"),
    "clip": (lambda a: ops.clip(a, -0.04, 0.05), [(3, 4)], "distinct"),
    "negative": (lambda a: -a, [(3, 4)], "normal"),
    "exp": (lambda a: ops.exp(a), [(3, 4)], "normal"),
    "log": (lambda a: ops.log(a), [(3, 4)], "positive"),
    "sqrt": (lambda a: ops.sqrt(a), [(3, 4)], "positive"),
    "absolute": (lambda a: abs(a), [(3, 4)], "away"),
    "sign": (lambda a: ops.sign(a) * a, [(3, 4)], "away"),
    "relu": (ops.relu, [(3, 4)], "away"),
    "sigmoid": (ops.sigmoid, [(3, 4)], "normal"),
    "tanh": (ops.tanh, [(3, 4)], "normal"),
    "dropout": (lambda a: ops.dropout(a, 0.4, key=Key(1, 2, 3)), [(6, 7)], "normal"),
    "sum": (lambda a: a.sum((0, 2)), [(2, 3, 4)], "normal"),
    "sum keepdims": (lambda a: a.sum(-1, keepdims=True), [(2, 3, 4)], "normal"),
    "mean": (lambda a: a.mean(1), [(2, 3, 4)], "normal"),
    "prod": (lambda a: a.prod((0, 2)), [(2, 3, 4)], "normal"),
    "prod of zeros": (lambda a: a.prod(1), [(4, 5)], "zeros"),
    "prod of one": (lambda a: a.prod(1, keepdims=True), [(3, 1)], "normal"),
    "var": (lambda a: a.var(1), [(2, 3, 4)], "normal"),
    "std": (lambda a: a.std(1), [(2, 3, 4)], "normal"),
    "max": (lambda a: a.max(1), [(2, 3, 4)], "distinct"),
    "min": (lambda a: a.min((0, 2)), [(2, 3, 4)], "distinct"),
    "reshape": (lambda a: a.reshape(4, -1), [(2, 3, 4)], "normal"),
    "flatten": (lambda a: a.flatten(), [(2, 3, 4)], "normal"),
    "squeeze": (lambda a: a.squeeze((0, 2)), [(1, 3, 1, 4)], "normal"),
    "expand_dims": (lambda a: a.expand_dims((0, -1)), [(3, 4)], "normal"),
    "transpose": (lambda a: a.transpose(2, 0, 1), [(2, 3, 4)], "normal"),
    "swapaxes": (lambda a: a.swapaxes(0, -1), [(2, 3, 4)], "normal"),
    "broadcast_to": (lambda a: ops.broadcast_to(a, (2, 3, 4)), [(3, 1)], "normal"),
    "slices": (lambda a: a[1:, ::2, None], [(3, 5)], "normal"),
    "fancy index": (lambda a: a[[0, 2, 0]], [(3, 5)], "normal"),
    "mask": (lambda a: a[np.eye(3, 5) > 0], [(3, 5)], "normal"),
    "cat": (lambda a, b: ops.cat([a, b, a], 1), [(2, 3, 2), (2, 1, 2)], "normal"),
    "stack": (lambda a, b: ops.stack([a, b], 1), [(2, 3), (2, 3)], "normal"),
    "pad": (lambda a: ops.pad(a, [(1, 0), (0, 2)], 7.0), [(2, 3)], "normal"),
    "copy": (lambda a: a.copy(), [(2, 3)], "normal"),
    "matmul": (lambda a, b: a @ b, [(2, 3, 4), (4, 5)], "normal"),
    "matmul broadcast": (lambda a, b: a @ b, [(2, 1, 3, 4), (3, 4, 2)], "normal"),
    "matmul vectors": (lambda a, b: a @ b, [(4,), (4,)], "normal"),
    "linear": (lambda x, w, b: ops.linear(x, w, b), [(3, 4), (5, 4), (5,)], "normal"),
    "linear relu": (lambda x, w, b: ops.linear(x, w, b, relu=True), [(3, 4), (5, 4), (5,)], "normal"),
    "conv2d": (lambda x, w, b: ops.conv2d(x, w, b, padding=1), [(2, 3, 5, 4), (4, 3, 3, 3), (4,)], "normal"),
    "conv2d relu": (lambda x, w, b: ops.conv2d(x, w, b, relu=True), [(2, 2, 4, 4), (3, 2, 2, 3), (3,)], "normal"),
    "conv2d strided": (
        lambda x, w: ops.conv2d(x, w, stride=(2, 3), padding=(0, 1, 2, 1), dilation=(1, 2)),
        [(1, 2, 6, 7), (3, 2, 3, 2)], "normal",
    ),
    "conv2d groups": (lambda x, w: ops.conv2d(x, w, groups=2, stride=2, padding=1), [(2, 4, 5, 5), (6, 2, 3, 3)], "normal"),
    "conv2d depthwise": (lambda x, w: ops.conv2d(x, w, groups=3), [(2, 3, 4, 4), (6, 1, 2, 2)], "normal"),
    "conv_transpose2d": (
        lambda x, w, b: ops.conv_transpose2d(x, w, b, stride=2, padding=1, output_padding=1),
        [(2, 3, 3, 4), (3, 2, 3, 3), (2,)], "normal",
    ),
    "im2col": (lambda x: ops.im2col(x, (2, 3), stride=2, padding=1), [(2, 2, 4, 5)], "normal"),
    "col2im": (lambda c: ops.col2im(c, (2, 2, 4, 4), 2, stride=1), [(2, 8, 9)], "normal"),
    "max_pool2d": (lambda x: ops.max_pool2d(x, 3, 2), [(2, 2, 7, 5)], "distinct"),
    "max_pool2d ceil": (lambda x: ops.max_pool2d(x, (3, 2), 2, padding=1, ceil_mode=True), [(1, 2, 6, 6)], "distinct"),
    "avg_pool2d": (lambda x: ops.avg_pool2d(x, 3, 2, padding=1, ceil_mode=True), [(2, 2, 6, 5)], "normal"),
    "avg_pool2d inside": (lambda x: ops.avg_pool2d(x, 3, 2, padding=1, count_include_pad=False), [(1, 2, 6, 5)], "normal"),
    "adaptive_avg_pool2d": (lambda x: ops.adaptive_avg_pool2d(x, (2, 3)), [(2, 2, 5, 7)], "normal"),
    "global_avg_pool2d": (ops.global_avg_pool2d, [(2, 3, 4, 3)], "normal"),
    "batch_norm": (lambda x, g, b: ops.batch_norm(x, g, b), [(4, 3, 2, 2), (3,), (3,)], "normal"),
    "batch_norm vectors": (lambda x, g, b: ops.batch_norm(x, g, b), [(6, 3), (3,), (3,)], "normal"),
    "batch_norm evaluating": (norm_evaluating, [(4, 3, 2, 2), (3,), (3,)], "normal"),
    "batch_norm residual relu": (norm_with_extras, [(4, 3, 2, 2), (3,), (3,), (4, 3, 2, 2)], "normal"),
    "local_response_norm": (lambda x: ops.local_response_norm(x, 5, alpha=0.5), [(2, 7, 2, 3)], "normal"),
    "local_response_norm paper": (
        lambda x: ops.local_response_norm(x, 4, alpha=0.2, beta=0.6, k=2.0, alpha_over_size=False), [(2, 7, 2)], "normal",
    ),
    "log_softmax": (lambda x: ops.log_softmax(x, 1), [(3, 4, 2)], "normal"),
    "softmax": (lambda x: ops.softmax(x), [(3, 4)], "normal"),
    "cross_entropy": (lambda x: ops.cross_entropy(x, LABELS), [(4, 5)], "normal"),
    "cross_entropy options": (
        lambda x: ops.cross_entropy(x, np.array([2, -1, 3, 1]), Tensor(np.arange(1.0, 6)), -1, label_smoothing=0.2),
        [(4, 5)], "normal",
    ),
    "cross_entropy maps": (
        lambda x: ops.cross_entropy(x, np.array([[[2, 0]], [[1, 1]]]), reduction="none"), [(2, 3, 1, 2)], "normal",
    ),
    "hinge_loss": (lambda x: ops.hinge_loss(x, LABELS), [(4, 5)], "distinct"),
    "mse_loss": (lambda x, y: ops.mse_loss(x, y), [(3, 4), (3, 4)], "normal"),
}  # fmt: skip

WITHOUT_DERIVATIVE = {
    "argmax",
    "equal",
    "not_equal",
    "less",
    "less_equal",
    "greater",
    "greater_equal",
    "astype",
    "getitem",
}


def test_every_op_has_a_gradient_check():
    tested = {name.split()[0] for name in CASES}
    assert set(ops.__all__) <= tested | WITHOUT_DERIVATIVE


@pytest.mark.parametrize("name", CASES)
def test_gradients(name, backend, rng):
    function, shapes, kind = CASES[name]
    inputs = []
    for shape in shapes:
        values = rng.standard_normal(shape)
        if kind == "away":
            values = away(values, 0.3)
        elif kind == "positive":
            values = np.abs(values) + 0.3
        elif kind == "zeros":
            values[np.triu_indices(len(values), 1, values.shape[1])] = 0  # none to four in a row
        elif kind == "distinct":
            values = distinct(rng, shape) + 0.004 * len(inputs)
        inputs.append(Tensor(values, requires_grad=True))
    minicnn.gradcheck(function, inputs, eps=1e-5 if kind != "distinct" else 1e-6, rtol=1e-4, atol=2e-6)


def test_third_derivative(backend):
    x = Tensor(np.array([0.3, -0.7]), requires_grad=True)
    y = ops.tanh(x).sum()
    for _ in range(3):
        y = minicnn.grad(y, x, create_graph=True).sum()
    t = np.tanh(x.numpy())
    assert y.item() == pytest.approx(np.sum(-2 * (1 - t**2) * (1 - 3 * t**2)), rel=1e-12)


def test_gradcheck_sees_a_wrong_gradient():
    from minicnn.autograd import differentiable

    @differentiable
    def wrong(kernels, needs, x):
        y = kernels.empty(x.shape, x.dtype)
        kernels.multiply(x, x, out=y)
        return y, [x], lambda saved, dy, needs: (dy * saved[0],)  # forgot the 2

    with pytest.raises(GradientError, match="derivative by input 0"):
        minicnn.gradcheck(wrong, Tensor(np.array([1.0, 2.0]), requires_grad=True))


def test_gradcheck_sees_a_wrong_second_derivative():
    def first_right_second_wrong(x):
        return (x.detach() * x).sum() + (x * x).sum() * 0.5 - (x.detach() * x.detach()).sum() * 0.5

    with pytest.raises(GradientError, match="the second derivative"):
        minicnn.gradcheck(first_right_second_wrong, Tensor(np.array([1.0, 2.0]), requires_grad=True))


def test_gradcheck_refuses_float32():
    with pytest.raises(DTypeError, match="input 0 has dtype float32"):
        minicnn.gradcheck(ops.relu, Tensor([1.0], requires_grad=True))
