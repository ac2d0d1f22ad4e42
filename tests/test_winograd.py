"""Convolution by minimal filtering: against the reference, the plain kernels and hostile numbers."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import minicnn
from minicnn import errors, geometry
from minicnn.backends import c as c_backend
from minicnn.backends.native import CONVOLUTIONS, usable
from minicnn.backends.reference import Reference

try:
    C = c_backend.load()
except errors.BackendError as error:
    pytest.skip(f"backend c: {error}", allow_module_level=True)

REFERENCE = Reference(np)
FIVE = [
    geometry.conv2d((1, 1, 5, 5), (1, 1, 5, 5), 1, 0),
    geometry.conv2d((2, 17, 5, 6), (15, 17, 5, 5), 1, 2),
    geometry.conv2d((3, 40, 13, 13), (70, 40, 5, 5), 1, 2),
    geometry.conv2d((1, 5, 11, 301), (6, 5, 5, 5), 1, 0),
    geometry.conv2d((9, 300, 7, 7), (31, 300, 5, 5), 1, 2),
    geometry.conv2d((2, 3, 1, 2), (4, 3, 5, 5), 1, (6, 4, 7, 4)),
    geometry.conv2d((20, 9, 30, 30), (13, 9, 5, 5), 1, 1),
]
FROBENIUS = {(np.float32, 2): 5e-7, (np.float32, 4): 2e-6, (np.float64, 2): 1e-15, (np.float64, 4): 4e-15}
"""The largest relative error, in the Frobenius norm, of up to 300 channels, by dtype and tile."""
TILES = (2, 4)

GEOMETRIES = [
    geometry.conv2d((1, 1, 1, 1), (1, 1, 3, 3), 1, 1),
    geometry.conv2d((1, 1, 3, 3), (1, 1, 3, 3), 1, 0),
    geometry.conv2d((1, 16, 4, 4), (14, 16, 3, 3), 1, 1),
    geometry.conv2d((2, 17, 5, 6), (15, 17, 3, 3), 1, 0),
    geometry.conv2d((3, 40, 13, 13), (70, 40, 3, 3), 1, 1),
    geometry.conv2d((40, 33, 2, 2), (20, 33, 3, 3), 1, 1),
    geometry.conv2d((1, 5, 11, 301), (6, 5, 3, 3), 1, 1),
    geometry.conv2d((1, 5, 301, 3), (64, 5, 3, 3), 1, 1),
    geometry.conv2d((9, 300, 7, 7), (31, 300, 3, 3), 1, 1),
    geometry.conv2d((3, 31, 14, 14), (300, 31, 3, 3), 1, 1),
    geometry.conv2d((2, 20, 28, 28), (20, 20, 3, 3), 1, 2),
    geometry.conv2d((2, 3, 8, 9), (4, 3, 3, 3), 1, (0, 1, 2, 0)),
    geometry.conv2d((2, 3, 1, 2), (4, 3, 3, 3), 1, (6, 4, 7, 4)),
    geometry.conv2d((20, 9, 30, 30), (13, 9, 3, 3), 1, 1),
]


@pytest.fixture(params=usable(), scope="module")
def c(request):
    return c_backend.C(request.param)


@pytest.fixture(params=[np.float32, np.float64], ids=["float32", "float64"])
def dtype(request):
    return request.param


@pytest.fixture(params=TILES, ids=["2x2", "4x4"])
def tile(request):
    return request.param


@pytest.fixture(params=[1, 2, 3], ids=["1 thread", "2 threads", "3 threads"])
def threads(request):
    before = c_backend.get_num_threads()
    c_backend.set_num_threads(request.param)
    yield request.param
    c_backend.set_num_threads(before)


def normal(shape, dtype, seed=0):
    return np.random.default_rng([seed, *shape]).standard_normal(shape).astype(dtype)


def run(c, kernel, arrays, g, *, tile=0, threads=1, relu=False):
    """Call a kernel, tile 0: the plain one, whether it pays or not, with scratch full of NaN; nothing beside `out` may change."""
    dtype = arrays[0].dtype
    k = c.kernels[dtype]
    shapes = (g.output_shape, g.input_shape, g.weight_shape)
    shape = shapes[CONVOLUTIONS.index(kernel)]
    way, tiles = ("winograd_", (tile,)) if tile else ("", ())
    taps = c.module.ffi.new("int64_t[]", g.R + g.S + g.R * g.S)
    room = getattr(k, f"{way}{kernel}_scratch")(*tiles, k.conv2d_geometry(g), taps, 0, threads)
    scratch = k.scratch(room)
    np.frombuffer(c.module.ffi.buffer(scratch), np.uint8)[:] = 255
    framed = np.full(int(np.prod(shape)) + 128, 7, dtype)
    options = (relu,) if kernel == "conv2d" else ()
    out = framed[64:-64]
    getattr(k, way + kernel)(*tiles, *map(k.p, arrays), k.conv2d_geometry(g), *options, k.p(out), 0, scratch, threads)
    assert (framed[:64] == 7).all() and (framed[-64:] == 7).all()
    return out.reshape(shape)


def operands(g, dtype):
    """For each kernel its arrays."""
    x, w, dy = (normal(shape, dtype, i) for i, shape in enumerate((g.input_shape, g.weight_shape, g.output_shape)))
    return {"conv2d": [x, w, normal((g.K,), dtype)], "conv2d_input_grad": [dy, w], "conv2d_weight_grad": [dy, x]}


def expected(kernel, arrays, g, relu=False):
    shapes = (g.output_shape, g.input_shape, g.weight_shape)
    out = np.empty(shapes[CONVOLUTIONS.index(kernel)])
    wide = [None if a is None else a.astype(np.float64) for a in arrays]
    getattr(REFERENCE, kernel)(*wide, g, *([relu] if kernel == "conv2d" else []), out)
    return out


def error(actual, right):
    return np.linalg.norm(actual - right) / np.linalg.norm(right)


def error_of_sums(kernel, arrays, g, actual, right):
    """The same, relative to what sums of such products amount to when their signs are random: a few may cancel."""
    squares = expected(kernel, [a.astype(np.float64) ** 2 for a in arrays], g)
    return np.linalg.norm(actual - right) / np.sqrt(squares.sum())


def check_all(c, g, dtype, tile, threads):
    five = g.R == 5
    for kernel, arrays in operands(g, dtype).items():
        if five and kernel == "conv2d_weight_grad":
            continue
        for relu in (False, True) if kernel == "conv2d" else (False,):
            right = expected(kernel, arrays, g, relu)
            mine = run(c, kernel, arrays, g, tile=tile, threads=threads, relu=relu)
            assert error_of_sums(kernel, arrays, g, mine, right) <= FROBENIUS[dtype, 4 if five else tile], kernel
            again = run(c, kernel, arrays, g, tile=tile, threads=threads, relu=relu)
            np.testing.assert_array_equal(mine, again)


@pytest.mark.parametrize("g", GEOMETRIES, ids=str)
def test_the_reference(c, dtype, tile, threads, g):
    check_all(c, g, dtype, tile, threads)


@pytest.mark.parametrize("g", FIVE, ids=str)
def test_windows_of_five(c, dtype, threads, g):
    check_all(c, g, dtype, 2, threads)


@settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_drawn_geometries(c, dtype, tile, data):
    draw = data.draw
    N, channels, K = draw(st.integers(1, 5)), draw(st.integers(1, 70)), draw(st.integers(1, 70))
    padding = draw(st.tuples(*[st.integers(0, 3)] * 4))
    H = draw(st.integers(max(1, 3 - padding[0] - padding[1]), 20))
    W = draw(st.integers(max(1, 3 - padding[2] - padding[3]), 40))
    check_all(
        c, geometry.conv2d((N, channels, H, W), (K, channels, 3, 3), 1, padding), dtype, tile, draw(st.integers(1, 3))
    )


@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan, "max", "large", "small", 0.0])
@pytest.mark.parametrize("place", [0, 1])
@pytest.mark.parametrize("kernel", CONVOLUTIONS)
def test_hostile_numbers(dtype, tile, threads, kernel, value, place):
    """What the transforms would spoil is computed plainly: the very bits of the plain kernel."""
    g = geometry.conv2d((3, 16, 9, 10), (18, 16, 3, 3), 1, 1)
    limits = np.finfo(dtype)
    special = {
        "max": limits.max,
        "large": dtype(1e30) if dtype == np.float32 else dtype(1e290),
        "small": limits.tiny / 8,
    }
    arrays = operands(g, dtype)[kernel]
    flat = arrays[place].reshape(-1)
    flat[[0, flat.size // 2, flat.size - 1]] = special.get(value, value)
    mine = run(C, kernel, arrays, g, tile=tile, threads=threads)
    plain = run(C, kernel, arrays, g, threads=threads)
    if value in ("small", 0.0):
        assert error(mine, expected(kernel, arrays, g)) <= FROBENIUS[dtype, tile]
    else:
        np.testing.assert_array_equal(mine, plain)


def test_products_of_large_numbers(dtype, tile, threads):
    """As large as they may be without the plain path nothing overflows."""
    g = geometry.conv2d((2, 40, 8, 8), (20, 40, 3, 3), 1, 1)
    scale = dtype(1e13) if dtype == np.float32 else dtype(1e148)
    for kernel, arrays in operands(g, dtype).items():
        large = [a * scale if a.ndim == 4 else a * scale * scale for a in arrays]
        assert (
            error(run(C, kernel, large, g, tile=tile, threads=threads) / scale / scale, expected(kernel, arrays, g))
            < 2e-6
        )


def test_tiny_numbers(dtype, tile, threads):
    """Products below the smallest number vanish as they do in the plain kernel; denormal numbers are numbers."""
    g = geometry.conv2d((2, 20, 8, 8), (20, 20, 3, 3), 1, 1)
    tiny = np.finfo(dtype).tiny
    for kernel, arrays in operands(g, dtype).items():
        small = [arrays[0] * tiny, *arrays[1:]]
        small[2:] = [np.zeros_like(b) for b in small[2:]]
        mine = run(C, kernel, small, g, tile=tile, threads=threads)
        assert error(mine.astype(np.float64) / tiny, expected(kernel, small, g) / tiny) < 1e-4


def test_the_plain_kernels_serve_where_it_does_not_pay():
    k = C.kernels[np.dtype(np.float32)]
    one = geometry.conv2d((16, 64, 56, 56), (64, 64, 3, 3), 1, 1)
    five = geometry.conv2d((16, 64, 56, 56), (64, 64, 5, 5), 1, 2)
    others = [
        geometry.conv2d((16, 64, 56, 56), (64, 64, 3, 3), 2, 1),
        geometry.conv2d((16, 64, 56, 56), (64, 64, 3, 3), 1, 2, 2),
        geometry.conv2d((16, 64, 56, 56), (64, 32, 3, 3), 1, 1, 1, 2),
        geometry.conv2d((16, 64, 56, 56), (64, 64, 7, 7), 1, 3),
        geometry.conv2d((16, 64, 56, 56), (64, 64, 5, 3), 1, 2),
        geometry.conv2d((16, 3, 56, 56), (64, 3, 3, 3), 1, 1),
        geometry.conv2d((1, 64, 1, 1), (64, 64, 3, 3), 1, 1),
    ]
    for kind, name in enumerate(CONVOLUTIONS):
        for most in (0, *TILES):
            assert k.winograd_tile(k.conv2d_geometry(one), kind, most) == most
            assert all(k.conv2d_way(name, g, most, 0, 2)[0] == getattr(k, name) for g in others)
        assert k.winograd_tile(k.conv2d_geometry(five), kind, 2) == 0
        assert k.winograd_tile(k.conv2d_geometry(five), kind, 4) == (0 if kind == 2 else 2)
        assert k.conv2d_way(name, one, 0, 0, 2)[0] == getattr(k, name)
        way = k.conv2d_way(name, one, 4, 0, 2)[0]
        assert way.func == getattr(k, "winograd_" + name) and way.args == (4,)


def test_what_the_precision_permits():
    for level, most in (("highest", 2), ("high", 4), ("medium", 4)):
        with minicnn.backends.using(WITHOUT_AMX, level):
            assert WITHOUT_AMX._tile_and_terms() == (most, WITHOUT_AMX.terms[level])


# Channels, side of the images, filters: of the 3x3 convolutions of the zoo.
ZOO = [(32, 16, 32), (64, 28, 64), (128, 14, 32), (192, 8, 384), (256, 14, 256), (512, 7, 512)]


def windows(x):
    """x (N, C, H, W) as the 3x3 windows around its pixels: (N, C, H, W, 3, 3)."""
    return np.lib.stride_tricks.sliding_window_view(np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1))), (3, 3), (2, 3))


def error_of_a_chain(kernel, arrays):
    """The relative error of plain float32: one chain of fused multiply-adds for each of some results."""
    if kernel == "conv2d_weight_grad":
        dy, x = arrays
        a = dy[:, :8].transpose(1, 0, 2, 3).reshape(8, -1)
        b = windows(x[:, :8]).transpose(0, 2, 3, 1, 4, 5).reshape(a.shape[1], -1)
    else:
        x, w = arrays[:2]
        if kernel == "conv2d_input_grad":
            w = w.transpose(1, 0, 2, 3)[..., ::-1, ::-1]
        a = w[:8].reshape(8, -1)
        b = windows(x).transpose(1, 4, 5, 0, 2, 3).reshape(a.shape[1], -1)[:, ::7]
    wide, sums = b.astype(np.float64), np.float32(0)
    for column, row in zip(a.T.astype(np.float64), wide):
        sums = (sums + column[:, None] * row).astype(np.float32)
    return error(sums, a @ wide)


@pytest.mark.parametrize("sizes", ZOO, ids=str)
def test_small_tiles_are_as_accurate_as_float32(c, sizes):
    """Within 1.5 times the error of one chain of sums, after ReLU too, where no signs cancel."""
    channels, side, K = sizes
    g = geometry.conv2d((4, channels, side, side), (K, channels, 3, 3), 1, 1)
    for kernel, arrays in operands(g, np.float32).items():
        for first in (arrays[0], np.maximum(arrays[0], 0)):
            given = [first, *arrays[1:]]
            mine = error(run(c, kernel, given, g, tile=2), expected(kernel, given, g))
            assert mine <= 1.5 * error_of_a_chain(kernel, given), kernel


def test_an_output_of_a_small_tile_feels_its_own_window_alone(c):
    """A large pixel leaves what does not see it as accurate as it was."""
    g = geometry.conv2d((1, 16, 12, 12), (16, 16, 3, 3), 1, 1)
    for kernel, where in (("conv2d", (6, 6)), ("conv2d", (5, 7)), ("conv2d_input_grad", (6, 7))):
        arrays = operands(g, np.float32)[kernel]
        arrays[0][0, :, where[0], where[1]] = 1e4
        wrong = np.abs(run(c, kernel, arrays, g, tile=2) - expected(kernel, arrays, g))
        away = np.abs(np.indices((12, 12)) - np.reshape(where, (2, 1, 1))).max(0) > 1
        assert wrong[..., away].max() < 2e-5 < wrong[..., ~away].max()


@pytest.mark.parametrize("padding", [0, 1, 2])
def test_a_huge_pixel_does_not_round_for_others(c, padding):
    """Not even within the window, where the plain sum meets it with a weight of 0: such images go the plain way."""
    g = geometry.conv2d((2, 16, 12, 12), (16, 16, 3, 3), 1, padding)
    for kernel, arrays in operands(g, np.float32).items():
        identity = np.zeros(g.weight_shape, np.float32)
        identity[np.arange(16), np.arange(16), 1, 1] = 1
        for place in ((0, 0), (6, 7), (arrays[0].shape[2] - 1, 3)):
            given = [arrays[0].copy(), identity if kernel != "conv2d_weight_grad" else arrays[1], *arrays[2:]]
            given[0][0, :, place[0], place[1]] = 1e8
            plain = run(c, kernel, given, g)
            np.testing.assert_array_equal(run(c, kernel, given, g, tile=2), plain)


def test_whole_numbers_are_exact_in_small_tiles(c):
    g = geometry.conv2d((2, 20, 9, 10), (18, 20, 3, 3), 1, 1)
    draw = np.random.default_rng(0)
    for kernel, arrays in operands(g, np.float32).items():
        whole = [draw.integers(-100, 101, array.shape).astype(np.float32) for array in arrays]
        np.testing.assert_array_equal(run(c, kernel, whole, g, tile=2), expected(kernel, whole, g))


WITHOUT_AMX = c_backend.C(min(usable(), key=lambda level: level == "amx"))


def test_gradients_at_high_precision(rng):
    with minicnn.backends.using(WITHOUT_AMX, "high"):
        x, w, b = (
            minicnn.Tensor(rng.standard_normal(shape), requires_grad=True)
            for shape in ((4, 12, 15, 16), (10, 12, 3, 3), (10,))
        )
        k, g = WITHOUT_AMX.kernels[np.dtype(np.float64)], geometry.conv2d(x.shape, w.shape, 1, 1)
        assert all(k.winograd_tile(k.conv2d_geometry(g), kind, 4) for kind in range(3))
        minicnn.gradcheck(lambda x, w, b: minicnn.ops.conv2d(x, w, b, padding=1), [x, w, b])


def test_a_backward_has_the_precision_of_its_forward(rng):
    x = rng.standard_normal((4, 16, 12, 12)).astype(np.float32)
    w = rng.standard_normal((16, 16, 3, 3)).astype(np.float32)

    def gradients(forward, backward):
        xt, wt = minicnn.Tensor(x, requires_grad=True), minicnn.Tensor(w, requires_grad=True)
        try:
            minicnn.set_precision(forward)
            y = minicnn.ops.conv2d(xt, wt, padding=1)
            minicnn.set_precision(backward)
            (y * y).sum().backward()
        finally:
            minicnn.set_precision("highest")
        return np.concatenate([xt.grad.numpy().ravel(), wt.grad.numpy().ravel()])

    with minicnn.backends.using(WITHOUT_AMX, None):
        assert (gradients("high", "highest") == gradients("high", "high")).all()
        assert (gradients("high", "high") != gradients("highest", "high")).any()
