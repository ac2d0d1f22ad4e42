"""The C kernels against the reference: both dtypes, awkward shapes, every instruction set that this machine has."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from minicnn import errors, geometry
from minicnn.backends import c as c_backend
from minicnn.backends import native
from minicnn.backends.native import usable
from minicnn.backends.reference import Reference
from minicnn.random import Key

try:
    C = c_backend.load()
except errors.BackendError as error:
    pytest.skip(f"backend c: {error}", allow_module_level=True)

pytestmark = pytest.mark.usefixtures("threads")
REFERENCE = Reference(np)
ISAS = usable()
DTYPES = (np.float32, np.float64)

examples = settings(
    max_examples=150, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@pytest.fixture(params=ISAS, scope="module")
def c(request):
    return c_backend.C(request.param)


@pytest.fixture(params=DTYPES, ids=["float32", "float64"])
def dtype(request):
    return request.param


@pytest.fixture(autouse=True, scope="module")
def scratch_holds_no_zeros():
    """A kernel that reads what it did not write finds NaN."""

    def scratch(kernels, size):
        block = plain(kernels, size)
        kernels._ffi.memmove(block, b"\xff" * size, size)
        return block

    plain = native.Kernels.scratch
    native.Kernels.scratch = scratch
    yield
    native.Kernels.scratch = plain


def normal(shape, dtype, seed=0):
    return np.random.default_rng([seed, *shape]).standard_normal(shape).astype(dtype)


def close(actual, expected, terms=1, scale=1.0):
    """Equal but for rounding in a sum of `terms` products whose size is `scale`."""
    eps = np.finfo(actual.dtype).eps
    np.testing.assert_allclose(actual, expected, rtol=8 * eps, atol=2 * eps * scale * (16 + terms))


def both(c, kernel, arrays, outs, dtype, terms=1, scale=1.0, **options):
    """Run a kernel on the C backend in `dtype` and in the reference in float64, from the same numbers, and compare."""
    arrays = {name: None if a is None else a.astype(dtype) if a.dtype.kind == "f" else a for name, a in arrays.items()}
    mine = {name: np.full(shape, 7, dtype) for name, shape in outs.items()}
    getattr(c, kernel)(**arrays, **options, **mine)
    wide = {n: None if a is None else a.astype(np.float64) if a.dtype.kind == "f" else a for n, a in arrays.items()}
    theirs = {name: np.full(shape, 7.0) for name, shape in outs.items()}
    getattr(REFERENCE, kernel)(**wide, **options, **theirs)
    for name in outs:
        assert mine[name].dtype == dtype
        close(mine[name], theirs[name], terms, scale)


def test_what_is_native():
    """What is not here is the reference's: nothing falls back in silence."""
    assert C.native == {
        "matmul", "linear", "im2col", "col2im", "conv2d", "conv2d_input_grad", "conv2d_weight_grad", "channel_sum",
        "max_pool2d", "max_pool2d_grad", "max_pool2d_gather", "avg_pool2d", "avg_pool2d_grad", "adaptive_avg_pool2d",
        "adaptive_avg_pool2d_grad", "batch_norm", "batch_norm_training", "batch_norm_grad", "local_response_norm",
        "local_response_norm_grad", "relu", "relu_grad", "relu_grad_sum",
        "sigmoid_grad", "tanh_grad", "sigmoid", "tanh", "dropout", "log_softmax", "cross_entropy", "cross_entropy_grad", "sgd", "adam",
    }  # fmt: skip
    assert all(name in vars(c_backend.C) for name in C.native)


# Matrix products

SIZES = [
    (1, 1, 1),
    (1, 300, 1),
    (7, 5, 3),
    (13, 1, 33),
    (14, 256, 32),
    (15, 257, 33),
    (29, 600, 65),
    (200, 3, 300),
    (300, 20, 2),
]


@pytest.mark.parametrize("M, K, N", SIZES)
@pytest.mark.parametrize("layout", ["nn", "tn", "nt", "tt"])
def test_matmul(c, dtype, M, K, N, layout):
    a = normal((M, K), dtype) if layout[0] == "n" else normal((K, M), dtype).T
    b = normal((K, N), dtype, 1) if layout[1] == "n" else normal((N, K), dtype, 1).T
    both_out = np.empty((M, N), dtype)
    c.matmul(a, b, both_out)
    close(both_out, a.astype(np.float64) @ b.astype(np.float64), K)


@pytest.mark.parametrize(
    "left, right", [((2, 3), (2, 3)), ((2, 1), (3,)), ((), (4,)), ((5, 1, 2), (3, 1)), ((0,), (1,)), ((1,), (1,))]
)
def test_matmul_broadcasts(c, dtype, left, right):
    a, b = normal((*left, 5, 7), dtype), normal((*right, 9, 7), dtype).swapaxes(-1, -2)
    out = np.empty((*np.broadcast_shapes(left, right), 5, 9), dtype)
    c.matmul(a, b, out)
    close(out, a.astype(np.float64) @ b.astype(np.float64), 7)


def test_matmul_takes_any_view(c, dtype):
    a, b = normal((40, 30), dtype)[::-2, 1::3], normal((10, 1), dtype)
    b = np.broadcast_to(b, (10, 6))
    out = np.zeros((20, 12), dtype)
    c.matmul(a, b, out[:, ::2])
    close(np.ascontiguousarray(out[:, ::2]), a.astype(np.float64) @ b, 10)
    assert not out[:, 1::2].any()


@pytest.mark.parametrize("N, I, O", [(1, 1, 1), (1, 300, 40), (16, 513, 70), (130, 33, 5), (0, 4, 5)])
@pytest.mark.parametrize("bias, relu", [(False, False), (True, False), (True, True)])
def test_linear(c, dtype, N, I, O, bias, relu):
    arrays = {
        "x": normal((N, I), dtype),
        "weight": normal((O, I), dtype),
        "bias": normal((O,), dtype) if bias else None,
    }
    both(c, "linear", arrays, {"out": (N, O)}, dtype, I, relu=relu)


# Convolution


@st.composite
def convolutions(draw):
    groups = draw(st.sampled_from([1, 1, 2, 3]))
    R, S = draw(st.integers(1, 4)), draw(st.integers(1, 4))
    stride = draw(st.tuples(st.integers(1, 5), st.integers(1, 3)))
    dilation = draw(st.tuples(st.integers(1, 3), st.integers(1, 2)))
    padding = tuple(draw(st.integers(0, 3)) for _ in range(4))
    H, W = draw(st.integers(1, 19)), draw(st.integers(1, 40))
    C_, K = groups * draw(st.integers(1, 9)), groups * draw(st.integers(1, 17))
    try:
        return geometry.conv2d(
            (draw(st.integers(0, 5)), C_, H, W), (K, C_ // groups, R, S), stride, padding, dilation, groups
        )
    except errors.ShapeError:
        assume(False)


LARGER = [
    geometry.conv2d((3, 40, 13, 13), (70, 40, 3, 3), 1, 1),
    geometry.conv2d((9, 3, 35, 33), (24, 3, 11, 11), 4, 2),
    geometry.conv2d((2, 70, 4, 4), (33, 70, 2, 2), 1, 0),
    geometry.conv2d((40, 33, 2, 2), (20, 33, 3, 3), 1, 1),
    geometry.conv2d((1, 5, 30, 600), (6, 5, 3, 3), 1, 1),
    geometry.conv2d((4, 16, 28, 28), (8, 16, 1, 1), 1, 0),
    geometry.conv2d((4, 16, 27, 27), (8, 16, 1, 1), 2, 0),
    geometry.conv2d((3, 24, 9, 9), (24, 1, 3, 3), 1, 1, 1, 24),
    geometry.conv2d((2, 300, 6, 6), (1030, 300, 1, 1), 1, 0),
    geometry.conv2d((3, 4, 5, 6), (70, 4, 5, 6), 2, (0, 1, 0, 1)),
    geometry.conv2d((2, 2, 5, 5), (3, 2, 5, 5), 1, (6, 4, 7, 4)),
]


def check_convolution(c, g, dtype):
    x, w, b, dy = (
        normal(g.input_shape, dtype),
        normal(g.weight_shape, dtype),
        normal((g.K,), dtype),
        normal(g.output_shape, dtype),
    )
    window, options = (g.C // g.G) * g.R * g.S, {"geometry": g}
    both(c, "conv2d", {"x": x, "weight": w, "bias": b}, {"out": g.output_shape}, dtype, window, relu=True, **options)
    both(
        c, "conv2d", {"x": x, "weight": w, "bias": None}, {"out": g.output_shape}, dtype, window, relu=False, **options
    )
    both(c, "conv2d_input_grad", {"dy": dy, "weight": w}, {"out": g.input_shape}, dtype, g.K * g.R * g.S, **options)
    both(c, "conv2d_weight_grad", {"dy": dy, "x": x}, {"out": g.weight_shape}, dtype, g.N * g.P * g.Q, **options)
    both(c, "im2col", {"x": x}, {"out": g.columns_shape}, dtype, **options)
    both(c, "col2im", {"columns": normal(g.columns_shape, dtype)}, {"out": g.input_shape}, dtype, g.R * g.S, **options)


@examples
@given(g=convolutions())
def test_convolution(c, dtype, g):
    check_convolution(c, g, dtype)


@pytest.mark.parametrize("g", LARGER, ids=lambda g: f"{g.input_shape}{g.weight_shape}")
def test_larger_convolution(c, dtype, g):
    check_convolution(c, g, dtype)


def test_convolution_in_blocks_of_unequal_height(c, dtype):
    """With two threads an image is cut into 14 and 13 lines: the short block's last line has its zeros at the right."""
    c_backend.set_num_threads(2)
    g = geometry.conv2d((4, 24, 27, 27), (64, 24, 5, 5), 1, 2)
    check_convolution(c, g, dtype)


@pytest.mark.parametrize("K", [3, 200])
@pytest.mark.parametrize("H", [17, 23])
def test_convolution_reads_no_scratch_that_it_has_not_written(c, dtype, H, K, monkeypatch):
    """Borders of zeros that lines share, where a thread's only block is the last, of fewer lines."""
    k = c.kernels[np.dtype(dtype)]

    def scratch(size):
        room = np.full(size // 8 + 8, np.nan)
        return k._ffi.from_buffer(k._byte, room[-room.ctypes.data % 64 // 8 :].view(np.uint8))

    monkeypatch.setattr(k, "scratch", scratch)
    for threads in (2, 3):
        c_backend.set_num_threads(threads)
        for window, padding in (((1, 3), (0, 1)), ((3, 5), (0, 0, 3, 1))):
            g = geometry.conv2d((1, 64, H, 31), (K, 64, *window), 1, padding)
            x, w = normal(g.input_shape, dtype), normal(g.weight_shape, dtype)
            for _ in range(4):  # which thread takes which block is not fixed
                out = np.empty(g.output_shape, dtype)
                c.conv2d(x, w, None, g, False, out)
                assert np.isfinite(out).all()


def test_convolution_agrees_with_its_definition(c, dtype):
    """Seven loops: the one check that shares no idea with the kernels."""
    g = geometry.conv2d((2, 4, 6, 5), (6, 2, 3, 2), (2, 1), (1, 0, 2, 1), (1, 2), 2)
    x, w, out = normal(g.input_shape, dtype), normal(g.weight_shape, dtype), np.empty(g.output_shape, dtype)
    c.conv2d(x, w, None, g, False, out)
    naive = np.zeros(g.output_shape)
    for n, k, p, q in np.ndindex(g.output_shape):
        for channel, r, s in np.ndindex(g.weight_shape[1:]):
            h, v = p * 2 + r - 1, q + s * 2 - 2
            if 0 <= h < g.H and 0 <= v < g.W:
                naive[n, k, p, q] += float(x[n, k // 3 * 2 + channel, h, v]) * float(w[k, channel, r, s])
    close(out, naive, 12)


# Pooling


@st.composite
def poolings(draw):
    window = draw(st.tuples(st.integers(1, 4), st.integers(1, 5)))
    stride = draw(st.tuples(st.integers(1, 5), st.integers(1, 4)))
    padding = tuple(draw(st.integers(0, window[i // 2] // 2)) for i in range(4))
    shape = (draw(st.integers(0, 3)), draw(st.integers(1, 3)), draw(st.integers(1, 17)), draw(st.integers(1, 70)))
    try:
        return geometry.pool2d(shape, window, stride, padding, draw(st.booleans()), draw(st.booleans()))
    except errors.ShapeError:
        assume(False)


# 3x3 windows around every pixel, with kernels of their own while a map is small.
around = st.builds(
    lambda height, width, pad: geometry.pool2d((2, 3, height, width), 3, 1, 1, False, pad),
    st.integers(1, 45), st.integers(1, 45), st.booleans(),
)  # fmt: skip
quarters = st.builds(
    lambda height, width: geometry.pool2d((2, 3, 2 * height, 2 * width), 2, 2), st.integers(1, 20), st.integers(1, 600)
)


@examples
@given(
    g=st.one_of(poolings(), around, quarters), ties=st.booleans(), odd=st.sampled_from([None, np.nan, -np.inf, np.inf])
)
def test_pooling(c, dtype, g, ties, odd):
    x = normal(g.input_shape, dtype)
    if ties:
        x = np.round(x)
    if odd is not None:
        x[np.random.default_rng(0).random(x.shape) < 0.4] = odd
    results = []
    for backend in (c, REFERENCE):
        out, indices = np.empty(g.output_shape, dtype), np.full(g.output_shape, -1, np.int32)
        backend.max_pool2d(x, g, out, indices)
        dx, dy, taken = np.empty(g.input_shape, dtype), normal(g.output_shape, dtype), np.empty(g.output_shape, dtype)
        backend.max_pool2d_grad(dy, indices, g, dx)
        backend.max_pool2d_gather(x, indices, g, taken)
        results.append((out, indices, taken, dx))
    (out, indices, taken, dx), expected = results
    for mine, theirs in zip((out, indices, taken), expected):
        np.testing.assert_array_equal(mine, theirs)
    close(dx, expected[3], g.R * g.S)
    x = normal(g.input_shape, dtype)
    both(c, "avg_pool2d", {"x": x}, {"out": g.output_shape}, dtype, g.R * g.S, geometry=g)
    both(c, "avg_pool2d_grad", {"dy": dy}, {"out": g.input_shape}, dtype, g.R * g.S, geometry=g)


# Normalisation

MAPS = [(1, 1, 1, 1), (2, 3, 5, 7), (4, 5), (3, 2, 4), (65, 70), (2, 9, 33, 35), (5, 40, 3, 3)]


@pytest.mark.parametrize("shape", MAPS)
def test_batch_norm(c, dtype, shape):
    channels, count = shape[1], int(np.prod(shape)) // shape[1]
    x, dy, residual = normal(shape, dtype) + 3, normal(shape, dtype, 1), normal(shape, dtype, 5)
    both(c, "channel_sum", {"dy": dy}, {"out": (channels,)}, dtype, count)
    mean = x.mean(axis=(0, *range(2, x.ndim)))
    scale, shift, invstd = (
        normal((channels,), dtype, 2),
        normal((channels,), dtype, 3),
        np.abs(normal((channels,), dtype, 4)),
    )
    common = {"x": x, "scale": scale, "shift": shift, "mean": mean}
    var, eps = invstd**-2, 0.01
    for add, relu in ((None, False), (None, True), (residual, True)):
        given, outs = {**common, "var": var, "residual": add}, {"out": shape, "invstd": (channels,)}
        both(c, "batch_norm", given, outs, dtype, 1, 8, relu=relu, eps=eps)
        y, invstd = np.empty_like(x), np.empty_like(invstd)
        c.batch_norm(**given, eps=eps, relu=relu, out=y, invstd=invstd)
        for training in (False, True):
            outs = {"dx": shape, "dresidual": shape, "dscale": (channels,), "dshift": (channels,)}
            arrays = {**common, "invstd": invstd, "dy": dy, "y": None if add is None else y}
            both(c, "batch_norm_grad", arrays, outs, dtype, count, 8, relu=relu, training=training)


def training(backend, x, residual, relu, dtype):
    """What batch norm gives in training, with running statistics of 2 and 3."""
    channels = x.shape[1]
    scale, shift = normal((channels,), dtype, 2).astype(x.dtype), normal((channels,), dtype, 3).astype(x.dtype)
    y, mean, invstd, running_mean, running_var = np.empty_like(x), *np.full((4, channels), 2, x.dtype)
    running_var += 1
    backend.batch_norm_training(x, scale, shift, residual, running_mean, running_var, 0.1, 1e-3, relu, y, mean, invstd)
    return y, mean, invstd, running_mean, running_var


@pytest.mark.parametrize("shape", MAPS[1:])
@pytest.mark.parametrize("offset", [0, 1000])
def test_batch_norm_in_training(c, dtype, shape, offset):
    x, residual = normal(shape, dtype) + dtype(offset), normal(shape, dtype, 1)
    for add, relu in ((None, False), (None, True), (residual, True)):
        mine = training(c, x, add, relu, dtype)
        theirs = training(REFERENCE, x.astype(np.float64), add if add is None else add.astype(np.float64), relu, dtype)
        for a, b, size in zip(mine, theirs, (8 + offset, 4 + offset, 4, 2 + offset, 4)):
            close(a, b, 16, size)


def test_batch_norm_takes_channels_of_a_wider_array(c, dtype):
    """As they lie: nothing is copied and what is beside them stays."""
    shape, channels = (3, 4, 5, 7), 4
    wide = {
        name: normal((3, 9, 5, 7), dtype, i) for i, name in enumerate(("x", "residual", "y", "dy", "dx", "dresidual"))
    }
    part = {name: a[:, i : i + channels] for i, (name, a) in enumerate(wide.items())}
    kept = {name: a.copy() for name, a in wide.items()}
    scale, shift, mean, invstd = normal((channels,), dtype, 8) * np.ones((4, 1), dtype)
    outs = [], []
    for arrays, results in zip((part, {n: a.copy() for n, a in part.items()}), outs):
        x, residual, y, dy, dx, dresidual = arrays.values()
        c.batch_norm_training(x, scale, shift, residual, None, None, 0.1, 1e-3, True, y, mean, invstd)
        results += [y.copy()]
        c.batch_norm(x, scale, shift, mean, np.abs(mean), 1e-3, residual, True, y, invstd)
        dscale, dshift = np.empty_like(scale), np.empty_like(scale)
        c.batch_norm_grad(dy, x, y, scale, shift, mean, invstd, True, True, dx, dresidual, dscale, dshift)
        results += [y, dx, dresidual, dscale, dshift]
    for mine, theirs in zip(*outs):
        np.testing.assert_array_equal(mine, theirs)
    for i, name in enumerate(wide):
        if name in ("y", "dx", "dresidual"):
            kept[name][:, i : i + channels] = part[name]
        np.testing.assert_array_equal(wide[name], kept[name])
    assert part["dx"].shape == shape


def test_reductions_are_accurate(c):
    x = np.full((4, 2, 512, 512), 1000.1, np.float32)
    mean, invstd, total, var = *np.empty((3, 2), np.float32), np.zeros(2, np.float32)
    one, y = np.ones(2, np.float32), np.empty_like(x)
    c.batch_norm_training(x, one, one, None, None, var, 1.0, 1e-5, False, y, mean, invstd)
    c.channel_sum(x, total)
    np.testing.assert_allclose(mean, x[0, 0, 0, 0], rtol=1e-6)
    np.testing.assert_allclose(total, float(x[0, 0, 0, 0]) * 4 * 512 * 512, rtol=1e-6)
    assert var.max() < 1e-6


def test_statistics_of_images_far_apart(c):
    """The first image says nothing of the others, and the mean is large beside the deviation."""
    x = normal((6, 2, 40, 41), np.float32)
    x[1:] += 300
    x[:, 1] += 5000
    one, mean, invstd, y = np.ones(2, np.float32), *np.empty((2, 2), np.float32), np.empty_like(x)
    c.batch_norm_training(x, one, one, None, None, None, 0.1, 0.0, False, y, mean, invstd)
    wide = x.astype(np.float64)
    np.testing.assert_allclose(mean, wide.mean(axis=(0, 2, 3)), rtol=2e-7)
    np.testing.assert_allclose(invstd, 1 / wide.std(axis=(0, 2, 3)), rtol=1e-6)


def test_what_is_constant_is_not_written(c, dtype):
    x, y = normal((2, 3, 4, 5), dtype), np.empty((2, 3, 4, 5), dtype)
    one, mean, invstd, running = np.ones((4, 3), dtype)
    running = np.ones(3, dtype)
    running.flags.writeable = False
    with pytest.raises((BufferError, ValueError)):
        c.batch_norm_training(x, one, one, None, running, None, 0.1, 1e-3, False, y, mean, invstd)
    assert (running == 1).all()


@pytest.mark.parametrize("size, beta", [(1, 0.75), (4, 0.75), (5, 0.75), (5, 0.5), (50, 1.0)])
@pytest.mark.parametrize("shape", [(1, 1, 1, 1), (2, 7, 5, 15), (0, 3, 2, 2), (2, 3)])
def test_local_response_norm(c, dtype, shape, size, beta):
    x, dy = normal(shape, dtype), normal(shape, dtype, 1)
    outs = {"out": shape, "scale": shape}
    both(c, "local_response_norm", {"x": x}, outs, dtype, size, 4, size=size, alpha=0.3, beta=beta, k=2.0)
    scale = np.empty_like(x)
    c.local_response_norm(x, size, 0.3, beta, 2.0, np.empty_like(x), scale)
    arrays = {"dy": dy, "x": x, "scale": scale}
    both(c, "local_response_norm_grad", arrays, {"out": shape}, dtype, size, 4, size=size, alpha=0.3, beta=beta)


# Element by element, losses, optimisers


@pytest.mark.parametrize("shape", [(), (0,), (1,), (3, 5), (100_001,)])
def test_relu(c, dtype, shape):
    x = np.array(normal(shape or (1,), dtype).reshape(shape))
    out = np.empty_like(x)
    c.relu(x, out)
    np.testing.assert_array_equal(out, np.maximum(x, 0))
    dy, dx = np.ones_like(x), np.empty_like(x)
    c.relu_grad(dy, out, dx)
    np.testing.assert_array_equal(dx, x > 0)
    c.relu(x, x)
    np.testing.assert_array_equal(out, x)


@pytest.mark.parametrize("shape", [(1, 1, 1, 1), (4, 5), (0, 3, 2, 2), (5, 6, 7, 7), (2, 3, 150, 151)])
def test_gradients_of_activations(c, dtype, shape):
    y, dy = normal(shape, dtype), normal(shape, dtype, 1)
    for name in ("sigmoid_grad", "tanh_grad"):
        both(c, name, {"dy": dy, "y": y}, {"out": shape}, dtype, 1, 30)
    both(c, "relu_grad_sum", {"dy": dy, "y": y}, {"out": shape, "sums": shape[1:2]}, dtype, y.size // shape[1], 1)


@pytest.mark.parametrize("count", [1, 3, 127, 128, 129, 100_003])
@pytest.mark.parametrize("p", [0.0, 0.5, 0.999])
def test_dropout_draws_the_same_bits(c, dtype, count, p):
    x = normal((count,), dtype)
    mine, theirs = np.empty_like(x), np.empty_like(x)
    for key in (Key(0, 0, 0), Key(2**32 - 1, 123, 2**40 + 5)):
        c.dropout(x, p, key, mine)
        REFERENCE.dropout(x, p, key, theirs)
        np.testing.assert_array_equal(mine != 0, theirs != 0)
        close(mine, theirs, 1, 1000)


@pytest.mark.parametrize("N, classes", [(1, 1), (5, 10), (300, 17), (2, 1000)])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("weighted", [False, True])
def test_cross_entropy(c, dtype, N, classes, smoothing, weighted):
    logits = 5 * normal((N, classes), dtype)
    labels = np.random.default_rng(0).integers(0, classes, N)
    labels[::3] = -100
    common = {"labels": labels, "weights": np.abs(normal((classes,), dtype)) if weighted else None}
    options = {"smoothing": smoothing, "ignore": -100}
    both(c, "log_softmax", {"x": logits}, {"out": (N, classes)}, dtype, classes, 5)
    outs = {"out": (N,), "probabilities": (N, classes)}
    both(c, "cross_entropy", {"logits": logits, **common}, outs, dtype, classes, 20, **options)
    p = np.empty((N, classes), dtype)
    c.cross_entropy(logits, labels, common["weights"], smoothing, -100, np.empty(N, dtype), p)
    arrays = {"dloss": normal((N,), dtype), "probabilities": p, **common}
    both(c, "cross_entropy_grad", arrays, {"out": (N, classes)}, dtype, classes, 4, **options)


@pytest.mark.parametrize("count", [0, 1, 33, 100_001])
@pytest.mark.parametrize("momentum, decay, nesterov", [(None, 0.0, False), (0.9, 0.0, False), (0.9, 0.01, True)])
def test_sgd(c, dtype, count, momentum, decay, nesterov):
    results = []
    for backend, kind in ((c, dtype), (REFERENCE, np.float64)):
        w, g, v = (normal((count,), dtype, seed).astype(kind) for seed in range(3))
        backend.sgd(w, g, None if momentum is None else v, 0.1, momentum or 0, decay, nesterov)
        results.append((w, g, v))
    for mine, theirs in zip(*results):
        close(mine, theirs, 4)


@pytest.mark.parametrize("decay, decoupled", [(0.0, False), (0.1, False), (0.1, True)])
def test_adam(c, dtype, decay, decoupled):
    results = []
    for backend, kind in ((c, dtype), (REFERENCE, np.float64)):
        w, g, m, v = (normal((1001,), dtype, seed).astype(kind) for seed in range(4))
        v = np.abs(v)
        for step in (1, 2):
            backend.adam(w, g, m, v, 0.1, 0.9, 0.999, 1e-8, decay, decoupled, step)
        results.append((w, g, m, v))
    for mine, theirs in zip(*results):
        close(mine, theirs, 4, 8)


# What Python sees to


@pytest.mark.parametrize("odd", [np.inf, -np.inf, np.nan])
@pytest.mark.parametrize("stride", [1, 2])
def test_what_is_beside_the_map_does_not_meet_infinite_weights(c, dtype, odd, stride):
    g = geometry.conv2d((2, 3, 8, 9), (20, 3, 3, 3), stride, 1)
    dy, weight = normal(g.output_shape, dtype, 0), normal(g.weight_shape, dtype, 1)
    weight[3, 1, 0, 2] = odd
    exact, dx = (np.empty(g.input_shape, kind) for kind in (np.float64, dtype))
    REFERENCE.conv2d_input_grad(dy.astype(np.float64), weight.astype(np.float64), g, exact)
    c.conv2d_input_grad(dy, weight, g, dx)
    finite = np.isfinite(exact)
    assert 0 < finite[:, 1].sum() < finite[:, 1].size and finite[:, 0].all()
    close(dx[finite], exact[finite], 60, 8)
    np.testing.assert_array_equal(dx[~finite], exact[~finite])


def test_nan_and_infinity_pass_through(c, dtype):
    x = np.array([np.nan, np.inf, -np.inf, 3e38, -1], dtype)
    out = np.empty_like(x)
    c.relu(x, out)
    np.testing.assert_array_equal(out, [np.nan, np.inf, 0, x[3], 0])
    g = geometry.conv2d((1, 1, 1, 5), (1, 1, 1, 1))
    image = np.empty((1, 1, 1, 5), dtype)
    c.conv2d(x.reshape(1, 1, 1, 5), np.ones((1, 1, 1, 1), dtype), np.zeros(1, dtype), g, True, image)
    np.testing.assert_array_equal(image.reshape(-1), out)
    rows = np.empty((5, 1), dtype)
    c.linear(x.reshape(5, 1), np.ones((1, 1), dtype), None, True, rows)
    np.testing.assert_array_equal(rows.reshape(-1), out)
    loss, p = np.empty(1, dtype), np.empty((1, 5), dtype)
    c.cross_entropy(x.reshape(1, 5), np.array([1]), None, 0.0, -100, loss, p)
    assert np.isnan(loss).all() and np.isnan(p).all()


def test_strided_and_read_only_arrays(c, dtype):
    g = geometry.conv2d((2, 3, 7, 6), (4, 3, 3, 3), 1, 1)
    x, w = normal((7, 6, 3, 2), dtype).transpose(3, 2, 0, 1), normal((4, 3, 3, 6), dtype)[..., ::2]
    x.flags.writeable = False
    whole = np.zeros((2, 4, 7, 12), dtype)
    c.conv2d(x, w, None, g, False, whole[..., ::2])
    expected = np.empty(g.output_shape)
    REFERENCE.conv2d(x.astype(np.float64), w.astype(np.float64), None, g, False, expected)
    close(np.ascontiguousarray(whole[..., ::2]), expected, 27)
    assert not whole[..., 1::2].any()
    v = np.zeros((5, 4), dtype)[:, ::2]
    c.sgd(v, np.ones((5, 2), dtype), None, 0.5, 0, 0, False)
    assert (v == -0.5).all()


def test_other_dtypes_go_to_the_reference(c):
    x = np.array([-1, 2], np.float16)
    out = np.empty_like(x)
    c.relu(x, out)
    assert out.tolist() == [0, 2]
    c.matmul(np.ones((2, 3), np.int64), np.ones((3, 2), np.int64), total := np.empty((2, 2), np.int64))
    assert (total == 3).all()


def test_the_same_bits_again_and_wherever_the_arrays_lie(c, dtype):
    g = geometry.conv2d((5, 20, 9, 9), (30, 20, 3, 3), 1, 1)
    x, w, dy = normal(g.input_shape, dtype), normal(g.weight_shape, dtype), normal(g.output_shape, dtype)
    results = []
    for shift in (0, 1, 3):
        room = np.empty(x.size + shift, dtype)
        moved = room[shift:].reshape(x.shape)
        moved[...] = x
        out, dx, dw = np.empty(g.output_shape, dtype), np.empty_like(x), np.empty_like(w)
        c.conv2d(moved, w, None, g, False, out)
        c.conv2d_input_grad(dy, w, g, dx)
        c.conv2d_weight_grad(dy, moved, g, dw)
        results.append((out, dx, dw))
    for other in results[1:]:
        for mine, theirs in zip(results[0], other):
            np.testing.assert_array_equal(mine, theirs)


@pytest.mark.parametrize("wanted, reason", [("sse9", "must be one of generic, avx2, avx512"), ("avx512", "")])
def test_a_forced_instruction_set(wanted, reason):
    code = "from minicnn.backends import c; from minicnn import errors\ntry: print(c.build_info()['isa'])\nexcept errors.BackendError as e: print(e)"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "MINICNN_ISA": wanted},
        capture_output=True,
        text=True,
        check=True,
    )
    if not reason:
        reason = wanted if wanted in ISAS else "possible here"
    assert reason in done.stdout


def test_build_info_says_what_is_in_use():
    info = c_backend.build_info()
    assert info["isa"] in info["isas"] and info["compiler"] and info["threads"] >= 1
