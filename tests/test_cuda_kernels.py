"""The CUDA kernels, emulated on the CPU, against the reference: both dtypes, awkward shapes, work cut up in several ways.

Most tests are those of the C kernels: here `c` is the CUDA backend.
"""

from __future__ import annotations

import concurrent.futures
import re
import shutil

import emulated_cuda
import numpy as np
import pytest
import test_kernels_drawn as drawn
from emulated_cuda import FOLDER
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from test_kernels import (  # noqa: F401
    DTYPES,
    LARGER,
    REFERENCE,
    both,
    check_convolution,
    close,
    convolutions,
    normal,
    test_adam,
    test_batch_norm,
    test_batch_norm_in_training,
    test_batch_norm_takes_channels_of_a_wider_array,
    test_convolution_agrees_with_its_definition,
    test_cross_entropy,
    test_dropout_draws_the_same_bits,
    test_gradients_of_activations,
    test_linear,
    test_local_response_norm,
    test_nan_and_infinity_pass_through,
    test_other_dtypes_go_to_the_reference,
    test_pooling,
    test_relu,
    test_sgd,
    test_statistics_of_images_far_apart,
    test_strided_and_read_only_arrays,
    test_the_same_bits_again_and_wherever_the_arrays_lie,
)
from test_kernels_drawn import (  # noqa: F401
    _threads,
    test_adaptive_pooling,
    test_element_by_element,
    test_losses_of_odd_numbers,
    test_optimisers,
    test_sigmoid_and_tanh,
)
from test_kernels_drawn import test_batch_norm as test_drawn_batch_norm  # noqa: F401
from test_kernels_drawn import test_cross_entropy as test_drawn_cross_entropy  # noqa: F401
from test_kernels_drawn import test_local_response_norm as test_drawn_local_response_norm  # noqa: F401

from minicnn import data, geometry
from minicnn.backends import cuda, cuda_convolution, cuda_norms
from minicnn.backends.reference import Reference
from minicnn.bench import limits
from minicnn.data.draw import Draw, integers
from minicnn.errors import BackendError

pytestmark = pytest.mark.skipif(bool(emulated_cuda.missing()), reason=emulated_cuda.missing())
CUDA = emulated_cuda.backend()

CUTS = {
    "as on a device": {},
    "one block": {"BLOCKS": 1, "STRETCH": 1024},
    "three blocks": {"BLOCKS": 3, "LEAST": 300, "PART": 40, "STRETCH": 512},
}
"""How the backend cuts work: the blocks of a grid at most, and how much a block takes."""
WHOLE, *_, SMALL = CUTS


def pytest_generate_tests(metafunc):
    """Tests that take `c` run with each cut; those that draw their shapes meet small parts anyway, and run with one."""
    is_drawn = hasattr(metafunc.function, "hypothesis")
    chosen = [SMALL] if is_drawn else CUTS if "c" in metafunc.fixturenames else [WHOLE]
    metafunc.parametrize("cut", chosen, indirect=True)


@pytest.fixture(autouse=True)
def cut(request, monkeypatch):
    for name, value in CUTS[request.param].items():
        for module in (cuda, cuda_convolution, cuda_norms):
            if hasattr(module, name):
                monkeypatch.setattr(module, name, value)
    monkeypatch.delenv("MINICNN_CUDA_CONV", raising=False)
    monkeypatch.setattr(drawn, "C", dict.fromkeys(drawn.C, CUDA))
    cuda.Cuda._stretches.cache_clear()
    yield
    cuda.Cuda._stretches.cache_clear()


@pytest.fixture
def c():
    return CUDA


@pytest.fixture(params=DTYPES, ids=["float32", "float64"])
def dtype(request):
    return request.param


@pytest.fixture(scope="module", autouse=True)
def launched(request):
    """How often each kernel has been launched so far, by this module."""
    if len(request.session.items) > 100:  # else few files may do, each when it is needed
        with concurrent.futures.ThreadPoolExecutor() as pool:
            for path in FOLDER.glob("*.cu"):
                for dtype in DTYPES:
                    pool.submit(emulated_cuda.compiled, path.read_text(), cuda.options(np.dtype(dtype)))
    before = emulated_cuda.launches.copy()
    return lambda: emulated_cuda.launches - before


def test_what_is_native():
    """What is not here is the reference's, CuPy's kernels: nothing falls back in silence."""
    assert CUDA.native == {
        "linear", "im2col", "col2im", "conv2d", "conv2d_input_grad", "conv2d_weight_grad", "channel_sum",
        "max_pool2d", "max_pool2d_grad", "max_pool2d_gather", "avg_pool2d", "avg_pool2d_grad", "adaptive_avg_pool2d",
        "adaptive_avg_pool2d_grad", "batch_norm", "batch_norm_training", "batch_norm_grad", "local_response_norm",
        "local_response_norm_grad", "relu", "relu_grad", "relu_grad_sum",
        "sigmoid_grad", "tanh_grad", "sigmoid", "tanh", "dropout", "log_softmax", "cross_entropy", "cross_entropy_grad", "sgd", "adam",
    }  # fmt: skip
    for name in (*CUDA.native, "sgd_many", "adam_many"):
        assert getattr(cuda.Cuda, name).__wrapped__ is not getattr(Reference, name)


# Convolution

SMALLER = [
    geometry.conv2d((2, 3, 7, 6), (4, 3, 3, 3)),
    geometry.conv2d((1, 1, 1, 1), (1, 1, 1, 1)),
    geometry.conv2d((2, 3, 9, 9), (1, 3, 3, 3), 1, 1),
    geometry.conv2d((3, 1, 9, 9), (5, 1, 3, 3), 1, 1),
    geometry.conv2d((2, 5, 6, 12), (7, 5, 1, 7), 1, (0, 3)),
    geometry.conv2d((2, 5, 12, 6), (7, 5, 7, 1), 1, (3, 0)),
    geometry.conv2d((2, 17, 5, 5), (33, 17, 1, 1)),
    geometry.conv2d((2, 12, 12, 12), (9, 4, 1, 1), 1, 0, 1, 3),
    geometry.conv2d((2, 6, 5, 5), (9, 6, 1, 1), 1, 1),
    geometry.conv2d((1, 2, 11, 9), (3, 2, 3, 3), 1, 2, 2),
    geometry.conv2d((2, 3, 17, 15), (5, 3, 3, 3), (2, 3), 2, (3, 2)),
    geometry.conv2d((2, 3, 7, 8), (5, 3, 3, 2), (2, 3), (1, 2, 0, 3)),
    geometry.conv2d((2, 16, 9, 9), (8, 16, 1, 1), 2),
    geometry.conv2d((2, 2, 9, 9), (3, 2, 2, 2), 4),
    geometry.conv2d((2, 2, 3, 4), (3, 2, 2, 2), 7),
    geometry.conv2d((3, 6, 5, 5), (4, 3, 3, 3), 1, 1, 1, 2),
    geometry.conv2d((2, 5, 6, 7), (10, 1, 3, 3), 2, 1, 1, 5),
    geometry.conv2d((2, 19, 13, 11), (37, 19, 3, 3), 1, 1),
    geometry.conv2d((1, 33, 9, 9), (130, 33, 3, 3), 1, 1),
    geometry.conv2d((1, 130, 6, 6), (40, 130, 3, 3), 2, 1),
    geometry.conv2d((0, 4, 5, 6), (3, 4, 3, 3), 1, 1),
    geometry.conv2d((4, 2, 20, 20), (70, 2, 3, 3), 1, 1),
]
WAYS = ("", "naive", "columns", "tiles 128", "tiles 64", "tiles 32")
"""How to convolve: by rule, or as forced, the tiles with so many rows."""


def force(monkeypatch, way):
    name, _, rows = way.partition(" ")
    monkeypatch.setenv("MINICNN_CUDA_CONV", name)
    if rows:
        monkeypatch.setattr(cuda_convolution, "_tile_rows", lambda *sizes: int(rows))


def is_slow(way, g):
    """A block for each weight, in naive weight gradients, takes seconds."""
    return way == "naive" and np.prod(g.weight_shape) > 1000


@pytest.mark.parametrize("way, g", [(way, g) for way in WAYS for g in SMALLER if not is_slow(way, g)], ids=str)
def test_each_way_to_convolve(way, g, dtype, monkeypatch):
    force(monkeypatch, way)
    check_convolution(CUDA, g, dtype)


@pytest.mark.parametrize("g", LARGER, ids=lambda g: f"{g.input_shape}{g.weight_shape}")
def test_larger_convolution(g, dtype):
    check_convolution(CUDA, g, dtype)


@settings(max_examples=150, deadline=None, derandomize=True)
@given(g=convolutions(), way=st.sampled_from(WAYS), dtype=st.sampled_from(DTYPES))
def test_drawn_convolution(g, way, dtype):
    assume(not is_slow(way, g))
    with pytest.MonkeyPatch.context() as monkeypatch:
        force(monkeypatch, way)
        check_convolution(CUDA, g, dtype)


@pytest.mark.parametrize("way", ["naive", "columns", "tiles"])
@pytest.mark.parametrize("odd", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize(
    "g",
    [geometry.conv2d((2, 3, 9, 9), (4, 3, 3, 3), 2, 1), geometry.conv2d((2, 3, 12, 12), (4, 3, 1, 1))],
    ids=["3x3", "1x1"],
)
def test_nan_and_infinity_reach_the_same_numbers_each_way(g, odd, way, dtype, monkeypatch):
    monkeypatch.setenv("MINICNN_CUDA_CONV", way)
    x, w, dy = normal(g.input_shape, dtype), normal(g.weight_shape, dtype), normal(g.output_shape, dtype)
    x[0, 1, 4, 3] = dy[1, 2, 2, 2] = odd
    for kernel, given_, shape in (
        ("conv2d", (x, w, None, g, True), g.output_shape),
        ("conv2d_input_grad", (dy, w, g), g.input_shape),
        ("conv2d_weight_grad", (dy, x, g), g.weight_shape),
    ):
        mine, theirs = np.empty(shape, dtype), np.empty(shape, dtype)
        getattr(CUDA, kernel)(*given_, mine)
        getattr(REFERENCE, kernel)(*given_, theirs)
        for find in (np.isnan, np.isposinf, np.isneginf):
            np.testing.assert_array_equal(find(mine), find(theirs), kernel)


def chosen(g):
    return [cuda_convolution.way(g, kind) for kind in ("conv2d", "conv2d_input_grad", "conv2d_weight_grad")]


def test_the_rule_for_ways_to_convolve(monkeypatch):
    assert chosen(geometry.conv2d((8, 64, 28, 28), (64, 64, 3, 3), 1, 1)) == ["tiles"] * 3
    assert chosen(geometry.conv2d((8, 64, 28, 28), (64, 64, 1, 1))) == ["columns", "columns", "tiles"]
    assert chosen(geometry.conv2d((8, 64, 7, 7), (64, 64, 1, 1))) == ["tiles"] * 3
    assert chosen(geometry.conv2d((8, 24, 9, 9), (24, 1, 3, 3), 1, 1, 1, 24)) == ["naive"] * 3
    assert chosen(geometry.conv2d((8, 3, 32, 32), (2, 3, 3, 3))) == ["naive", "tiles", "naive"]
    assert [cuda_convolution._tile_rows(*sizes) for sizes in ((512, 264), (64, 264), (64, 1), (20, 1))] == [
        128, 64, 32, 32,
    ]  # fmt: skip
    monkeypatch.setenv("MINICNN_CUDA_CONV", "fast")
    with pytest.raises(BackendError, match="MINICNN_CUDA_CONV is 'fast': it must be one of naive, columns, tiles"):
        chosen(geometry.conv2d((1, 1, 3, 3), (1, 1, 1, 1)))


@pytest.mark.parametrize("way", ["", "tiles"])
def test_coordinates_beyond_32_bits(way, monkeypatch):
    """In tiles they would overflow: the naive kernels compute."""
    monkeypatch.setenv("MINICNN_CUDA_CONV", way)
    far = 2**31 - 1
    g = geometry.conv2d((1, 4, 3, 3), (4, 4, 2, 2), (far, 1), (far, far, 0, 0))
    x, w, dy = normal(g.input_shape, np.float64), normal(g.weight_shape, np.float64), normal(g.output_shape, np.float64)
    y, dx, dw = np.empty(g.output_shape), np.empty(g.input_shape), np.empty(g.weight_shape)
    CUDA.conv2d(x, w, None, g, False, y)
    CUDA.conv2d_input_grad(dy, w, g, dx)
    CUDA.conv2d_weight_grad(dy, x, g, dw)
    # The three windows stand at rows -far, 0 and far of the map: only the second meets it, with all its rows.
    assert not y[:, :, ::2].any()
    near = geometry.conv2d((1, 4, 3, 3), (4, 4, 2, 2), (2, 1))
    for mine, kernel, given_ in (
        (y[:, :, 1:2], "conv2d", (x, w, None, near, False)),
        (dx, "conv2d_input_grad", (dy[:, :, 1:2], w, near)),
        (dw, "conv2d_weight_grad", (dy[:, :, 1:2], x, near)),
    ):
        theirs = np.empty(mine.shape)
        getattr(REFERENCE, kernel)(*given_, theirs)
        close(mine, theirs, 16)


BARRIER = re.compile(r"__syncthreads\(\);")


def barriers(*names):
    """Those of some files: the name and the number in the file."""
    return [(name, i) for name in names for i, _ in enumerate(BARRIER.finditer((FOLDER / name).read_text()))]


def lacking(name, which, folder, monkeypatch):
    """The backend, of sources without one of the barriers."""
    folder = shutil.copytree(FOLDER, folder / "cuda")
    text = (folder / name).read_text()
    barrier = list(BARRIER.finditer(text))[which]
    (folder / name).write_text(text[: barrier.start()] + ";" + text[barrier.end() :])
    monkeypatch.setattr(cuda, "folder", lambda: folder)
    planted = cuda.Cuda(emulated_cuda.emulated)
    planted.address = emulated_cuda.address
    return planted


@pytest.mark.slow
@pytest.mark.parametrize("name, which", barriers("tile.cuh", "conv.cu", "conv_weight.cu"))
def test_each_barrier_of_the_tiles_is_missed(name, which, tmp_path, monkeypatch):
    monkeypatch.setattr(cuda_convolution, "PART", 50)
    monkeypatch.setenv("MINICNN_CUDA_CONV", "tiles")
    planted = lacking(name, which, tmp_path, monkeypatch)
    with pytest.raises(AssertionError, match=r"tiles_\d+_f32"):
        for g in (SMALLER[16], geometry.conv2d((2, 16, 9, 9), (8, 16, 1, 1), 2)):  # the second has a phase without taps
            x, w, dy, y, dx, dw = (
                normal(shape, np.float32) for shape in (g.input_shape, g.weight_shape, g.output_shape) * 2
            )
            planted.conv2d(x, w, None, g, False, y)
            planted.conv2d_input_grad(dy, w, g, dx)
            planted.conv2d_weight_grad(dy, x, g, dw)


# Pooling


def test_averages_of_nan_and_infinity(c, dtype):
    g = geometry.pool2d((2, 3, 9, 8), (3, 2), (2, 1), (1, 1, 0, 1), True)
    for odd in (np.nan, np.inf):
        x, dy = normal(g.input_shape, dtype), normal(g.output_shape, dtype)
        x[0, 1, 4, 4] = dy[1, 2, 3, 3] = odd
        both(c, "avg_pool2d", {"x": x}, {"out": g.output_shape}, dtype, 6, geometry=g)
        both(c, "avg_pool2d_grad", {"dy": dy}, {"out": g.input_shape}, dtype, 6, geometry=g)
        both(c, "adaptive_avg_pool2d", {"x": x}, {"out": (2, 3, 4, 3)}, dtype, 9)
        both(c, "adaptive_avg_pool2d_grad", {"dy": dy}, {"out": (2, 3, 11, 19)}, dtype, 9)


@pytest.mark.parametrize("shape", [(1, 1, 1, 1), (2, 3, 20, 31), (1, 1, 112, 112), (1, 2, 300, 2), (1, 2, 2, 300)])
@pytest.mark.parametrize("size", [(1, 1), (1, 3), (6, 6), (9, 70)])
def test_adaptive_pooling_of_larger_maps(c, dtype, shape, size):
    pooled = (*shape[:2], *size)
    both(c, "adaptive_avg_pool2d", {"x": normal(shape, dtype) + 1}, {"out": pooled}, dtype)
    both(c, "adaptive_avg_pool2d_grad", {"dy": normal(pooled, dtype)}, {"out": shape}, dtype, size[0] * size[1])


@pytest.mark.parametrize(
    "window, stride, padding", [((112, 112), 1, 0), ((50, 60), (7, 9), (25, 20, 30, 10)), ((120, 130), 1, 0)]
)
def test_averages_of_large_windows(c, dtype, window, stride, padding):
    g = geometry.pool2d((1, 1, 120, 130), window, stride, padding, False, False)
    x, dy = np.abs(normal(g.input_shape, dtype)), normal(g.output_shape, dtype)
    both(c, "avg_pool2d", {"x": x}, {"out": g.output_shape}, dtype, 4, geometry=g)
    both(c, "avg_pool2d_grad", {"dy": dy}, {"out": g.input_shape}, dtype, 50, geometry=g)


def test_indices_of_pooling(c, dtype):
    """int64 in another order than the maps; and those that lie outside of a window lead nowhere outside of the map."""
    g = geometry.pool2d((2, 3, 8, 8), 3, 2, 1)
    x, dy = normal((8, 8, 3, 2), dtype).T, normal(g.output_shape, dtype)
    results = []
    for backend, kind in ((c, np.int64), (c, np.int32), (REFERENCE, np.int32)):
        out, indices = np.empty(g.output_shape, dtype), np.empty(g.output_shape[::-1], kind).T
        backend.max_pool2d(x, g, out, indices)
        dx, taken = np.empty(g.input_shape, dtype), np.empty(g.output_shape, dtype)
        backend.max_pool2d_grad(dy, indices, g, dx)
        backend.max_pool2d_gather(x, indices, g, taken)
        results.append((out, indices, taken, dx))
    for mine in results[:2]:
        for a, b in zip(mine, results[2]):
            np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-6)
    wild = np.random.default_rng(0).integers(-50, 50, g.output_shape).astype(np.int32)
    c.max_pool2d_grad(dy, wild, g, dx)
    c.max_pool2d_gather(x, wild, g, taken)


# Normalisation and sums over channels


@pytest.mark.parametrize(
    "shape", [(1, 1, 1, 1), (4, 5), (0, 3, 2, 2), (5, 6, 7, 7), (2, 3, 50, 52), (3, 300), (7, 2, 1, 8)]
)
def test_sums_over_channels(c, dtype, shape):
    y, dy = normal(shape, dtype), normal(shape, dtype, 1)
    count = y.size // shape[1]
    both(c, "relu_grad_sum", {"dy": dy, "y": y}, {"out": shape, "sums": shape[1:2]}, dtype, count)
    both(c, "channel_sum", {"dy": dy}, {"out": shape[1:2]}, dtype, count)
    in_place = dy.copy()
    c.relu_grad_sum(in_place, y, in_place, np.empty(shape[1:2], dtype))
    np.testing.assert_array_equal(in_place, dy * (y > 0))


def test_sums_are_accurate(c):
    x = np.full((4, 2, 128, 128), 1000.1, np.float32)
    mean, invstd, total, var = *np.empty((3, 2), np.float32), np.zeros(2, np.float32)
    one, y = np.ones(2, np.float32), np.empty_like(x)
    c.batch_norm_training(x, one, one, None, None, var, 1.0, 1e-5, False, y, mean, invstd)
    c.channel_sum(x, total)
    np.testing.assert_allclose(mean, x[0, 0, 0, 0], rtol=1e-6)
    np.testing.assert_allclose(total, float(x[0, 0, 0, 0]) * 4 * 128 * 128, rtol=1e-6)
    assert var.max() < 1e-6


@pytest.mark.parametrize("shape", [(3, 4, 6, 6), (3, 4, 5, 5), (40, 2, 8, 8)])
def test_batch_norm_in_place(c, dtype, shape):
    """As the ops call it: out may be x or the residual, dx or dresidual may be dy."""

    def per_channel():
        return np.empty((2, shape[1]), dtype)

    x, residual, dy = normal(shape, dtype), normal(shape, dtype, 1), normal(shape, dtype, 2)
    scale, shift = normal((2, shape[1]), dtype, 3)
    y, (mean, invstd) = np.empty_like(x), per_channel()
    c.batch_norm_training(x, scale, shift, residual, None, None, 0.1, 1e-3, True, y, mean, invstd)
    again = residual.copy()
    c.batch_norm_training(x, scale, shift, again, None, None, 0.1, 1e-3, True, again, *per_channel())
    np.testing.assert_array_equal(again, y)
    var = np.abs(mean) + 1
    c.batch_norm(x, scale, shift, mean, var, 1e-3, residual, False, y, per_channel()[0])
    for own in (True, False):
        again = (x if own else residual).copy()
        a, b = (again, residual) if own else (x, again)
        c.batch_norm(a, scale, shift, mean, var, 1e-3, b, False, again, per_channel()[0])
        np.testing.assert_array_equal(again, y)
    for output in (y, None):

        def grad(dy, dx, dresidual, output=output):
            sums = per_channel()
            c.batch_norm_grad(dy, x, output, scale, shift, mean, invstd, True, True, dx, dresidual, *sums)
            return sums

        dx, dresidual, other = np.empty((3, *shape), dtype)
        sums = grad(dy, dx, dresidual)
        again = dy.copy()
        np.testing.assert_array_equal(grad(again, again, other), sums)
        np.testing.assert_array_equal((again, other), (dx, dresidual))
        again = dy.copy()
        np.testing.assert_array_equal(grad(again, other, again), sums)
        np.testing.assert_array_equal((other, again), (dx, dresidual))
        np.testing.assert_array_equal(grad(dy, None, None), sums)
        np.testing.assert_array_equal(grad(dy, None, other), sums)
        np.testing.assert_array_equal(other, dresidual)
        grad(dy, other, None)
        close(other, dx, 4, 8)


@pytest.mark.parametrize("size", [(5, 7), (4, 6)])
def test_batch_norm_takes_channels_of_arrays_of_different_widths(c, dtype, size, monkeypatch):
    """As they lie: nothing is copied and what is beside them stays."""

    def copy(x):
        raise AssertionError("copied")

    monkeypatch.setattr(type(c.xp), "ascontiguousarray", staticmethod(copy), raising=False)
    names = ("x", "residual", "y", "dy", "dx", "dresidual")
    wide = {name: normal((3, 5 + i, *size), dtype, i) for i, name in enumerate(names)}
    part = {name: a[:, i % 2 : i % 2 + 4] for i, (name, a) in enumerate(wide.items())}
    kept = {name: a.copy() for name, a in wide.items()}
    scale, shift, mean, invstd = normal((4,), dtype, 8) * np.ones((4, 1), dtype)
    results = [], []
    for arrays, found in zip((part, {n: a.copy() for n, a in part.items()}), results):
        x, residual, y, dy, dx, dresidual = arrays.values()
        c.batch_norm_training(x, scale, shift, residual, None, None, 0.1, 1e-3, True, y, mean, invstd)
        found += [y.copy(), mean.copy(), invstd.copy()]
        for output in (y, None):
            for second in (dresidual, None):
                sums = np.empty((2, 4), dtype)
                c.batch_norm_grad(dy, x, output, scale, shift, mean, invstd, True, True, dx, second, *sums)
                found += [dx.copy(), dresidual.copy(), sums]
        c.batch_norm(x, scale, shift, mean, np.abs(mean), 1e-3, residual, True, y, invstd)
        found += [y.copy()]
    for mine, theirs in zip(*results):
        np.testing.assert_array_equal(mine, theirs)
    for i, name in enumerate(wide):
        if name in ("y", "dx", "dresidual"):
            kept[name][:, i % 2 : i % 2 + 4] = part[name]
        np.testing.assert_array_equal(wide[name], kept[name])


def test_batch_norm_of_nothing(c, dtype):
    x, v = np.empty((0, 3, 2, 2), dtype), np.ones((6, 3), dtype)
    c.batch_norm(x, *v[:4], 1e-3, None, True, x, v[4])
    np.testing.assert_allclose(v[4], (1 + 1e-3) ** -0.5, rtol=1e-6)
    c.batch_norm_grad(x, x, None, *v[:4], True, True, x, None, v[4], v[5])
    assert not v[4:].any()


def test_batch_norm_of_nan_and_infinity(c, dtype):
    x = normal((2, 3, 4, 4), dtype)
    x[0, 1, 0, 0], x[1, 2, 1, 1] = np.nan, np.inf
    one, mean, invstd, y = np.ones(3, dtype), *np.empty((2, 3), dtype), np.empty_like(x)
    c.batch_norm_training(x, one, one, None, None, None, 0.1, 1e-3, True, y, mean, invstd)
    assert np.isfinite(y[:, 0]).all() and np.isnan(y[:, 1:]).all()


@pytest.mark.slow
@pytest.mark.parametrize("which", range(3))
def test_each_barrier_of_batch_norm_is_missed(which, tmp_path, monkeypatch):
    c = lacking("batch_norm.cu", which, tmp_path, monkeypatch)
    x, v, y = normal((4, 3, 9, 9), np.float32), np.ones((4, 3), np.float32), np.empty((4, 3, 9, 9), np.float32)
    with pytest.raises(AssertionError, match=r"batch_norm\w*_f32.*is a barrier missing"):
        c.batch_norm(x, v[0], v[1], v[2], v[3], 1e-3, None, False, y, np.empty(3, np.float32))
        c.batch_norm_training(x, v[0], v[1], None, None, None, 0.1, 1e-3, False, y, *np.empty((2, 3), np.float32))


# Losses


@pytest.mark.slow
@pytest.mark.parametrize("which", range(3))
def test_each_barrier_of_the_losses_is_missed(which, tmp_path, monkeypatch):
    c = lacking("loss.cu", which, tmp_path, monkeypatch)
    x = normal((40, 10), np.float32)
    with pytest.raises(AssertionError, match=r"log_softmax_f32.*is a barrier missing"):
        c.log_softmax(x, np.empty_like(x))


@pytest.mark.parametrize("shape", [(3, 7), (2, 3, 5), (5,), (0, 4), (4, 0), (1000, 3), (2, 700), (9, 1)])
def test_log_softmax(c, dtype, shape):
    both(c, "log_softmax", {"x": normal(shape, dtype)}, {"out": shape}, dtype, shape[-1], 5)


@pytest.mark.parametrize("kind", [np.int32, np.int64])
def test_labels(c, dtype, kind):
    logits, weights = normal((5, 4), dtype), np.abs(normal((4,), dtype))
    labels = np.array([0, 9, 3, 9, 2, 9, -1, 9, 1, 9], kind)[::2]
    results = []
    for backend in (c, REFERENCE):
        loss, p, dlogits = np.empty(5, dtype), np.empty((5, 4), dtype), np.empty((5, 4), dtype)
        backend.cross_entropy(logits, labels, weights, 0.1, -1, loss, p)
        backend.cross_entropy_grad(loss, p, labels, weights, 0.1, -1, dlogits)
        results.append((loss, p, dlogits))
    for mine, theirs in zip(*results):
        close(mine, theirs, 4, 4)
    loss = np.full(3, 7, dtype)
    c.cross_entropy(np.empty((3, 0), dtype), np.full(3, -1, kind), None, 0.0, -1, loss, np.empty((3, 0), dtype))
    assert not loss.any()


# Optimisers: many parameters in one launch


@pytest.mark.parametrize("kind", ["sgd", "momentum", "adam"])
def test_many_parameters(c, dtype, kind, launched):
    shapes = [(3, 5), (1,), (0, 4), (2500,), (1024,), (7, 3, 3), (4097,)]
    mine, theirs = ([[np.abs(normal(s, dtype, seed)) for s in shapes] for seed in range(4)] for _ in range(2))
    mine[0][-1] = np.append(dtype(0), theirs[0][-1])[1:]  # lies badly for packs
    name = "adam" if kind == "adam" else "sgd"
    before = launched()[f"{name}_many{cuda.SUFFIXES[np.dtype(dtype)]}"]
    if kind == "adam":
        options = (0.1, 0.9, 0.999, 1e-8, 0.1, True, 3)
    elif kind == "momentum":
        options, mine, theirs = (0.1, 0.9, 0.01, True), mine[:3], theirs[:3]
    else:
        options, mine, theirs = (0.1, 0.0, 0.0, False), [*mine[:2], None], theirs[:2]
    getattr(c, f"{name}_many")(*mine, *options)
    for arrays in zip(*theirs):
        none = (None,) if kind == "sgd" else ()
        getattr(c, name)(*arrays, *none, *options)
    for group, others in zip(mine, theirs):
        for a, b in zip(group, others):
            np.testing.assert_array_equal(a, b)
    assert launched()[f"{name}_many{cuda.SUFFIXES[np.dtype(dtype)]}"] == before + 1
    c.sgd_many([], [], None, 0.1, 0.0, 0.0, False)


@pytest.mark.slow
@pytest.mark.parametrize("which", range(2))
def test_each_barrier_of_adam_is_missed(which, tmp_path, monkeypatch):
    c = lacking("optim.cu", which, tmp_path, monkeypatch)
    w, g, m, v = np.ones((4, 300), np.float32)
    with pytest.raises(AssertionError, match=r"adam\w*_f32.*is a barrier missing"):
        c.adam(w, g, m, v, 0.1, 0.9, 0.999, 1e-8, 0.0, False, 1)
        c.adam_many([w], [g], [m], [v], 0.1, 0.9, 0.999, 1e-8, 0.0, False, 1)


def test_many_parameters_of_which_some_are_no_plain_arrays(c, dtype):
    """Views, and a dtype without kernels."""
    w = [np.zeros((5, 4), dtype)[:, ::2], np.zeros(3, dtype)]
    c.sgd_many(w, [np.ones(a.shape, dtype) for a in w], None, 0.5, 0.0, 0.0, False)
    half = [np.zeros(3, np.float16)]
    c.sgd_many(half, [np.ones(3, np.float16)], None, 0.5, 0.0, 0.0, False)
    assert all((a == -0.5).all() for a in (*w, *half))


# Augmentation


@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("channels", [1, 3])
def test_augment(c, dtype, channels, channels_last):
    """What the transforms do to the same pictures."""
    rng, samples = np.random.default_rng(0), np.array([5, 0, 3, 3, *range(20)])
    images = rng.integers(0, 256, (20, channels, 9, 8)).astype(np.uint8)
    mean, std = rng.random(channels) * 0.5, rng.random(channels) + 0.2
    crop, flip = data.RandomCrop((7, 10), padding=(2, 1, 3, 2), fill=9), data.RandomHorizontalFlip()
    expected = images[samples]
    for transform in (crop, flip, data.Normalize(mean, std)):
        expected = transform(expected, Draw(1, 2, samples))
    at, flips = Draw(1, 2, samples)("crop", 2), Draw(1, 2, samples)("flip")[:, 0] < 0.5
    rows, columns = integers(at[:, 0], 9 + 3 - 7 + 1) - 2, integers(at[:, 1], 8 + 5 - 10 + 1) - 3
    places = np.stack([samples, rows, columns, flips], axis=1).astype(np.int64)
    if channels_last:
        images = np.ascontiguousarray(images.transpose(0, 2, 3, 1))
    out = np.empty((len(samples), channels, 7, 10), dtype)
    c.augment(images, places, (1 / (255 * std)).astype(dtype), (-mean / std).astype(dtype), 9, channels_last, out)
    np.testing.assert_allclose(out, expected, rtol=1e-5, atol=1e-6)


def test_the_limit_of_multiply_adds(c, dtype):
    """s = s/2 + one, three times, from 16 numbers in each thread; the benchmark counts two operations for each."""
    out = np.empty(2 * 256, dtype)
    c.launch("limit_fma", out, 0, 3, out, grid=(2,))
    one = 1.0 + np.arange(256)
    total = sum((one + i) / 8 + one * 1.75 for i in range(limits.CHAINS))
    np.testing.assert_array_equal(out, np.tile(total, 2))


def test_every_kernel_has_been_launched(request, launched):
    """By the tests above: stays the last one."""
    options = request.config.option
    if options.keyword or any("::" in name for name in options.file_or_dir):
        pytest.skip("only a part of this module has run")
    suffixes = cuda.SUFFIXES.values()
    assert set(launched()) == {name + suffix for name in cuda.sources() for suffix in suffixes}
