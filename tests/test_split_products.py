"""Products of float32 numbers from their bfloat16 parts: accuracy, edge tiles, hostile numbers, and set_precision."""

from __future__ import annotations

import contextlib
import importlib.util
import shutil
import subprocess

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from split_kernels import emulated_amx

import minicnn
from minicnn import backends, geometry
from minicnn.backends import c as c_backend
from minicnn.backends import native
from minicnn.backends.reference import Reference

if "c" not in backends.available():
    pytest.skip("backend c is not built", allow_module_level=True)

pytestmark = pytest.mark.usefixtures("threads")
REFERENCE = Reference(np)
SPLIT = [level for level in native.usable() if level in ("avx512_bf16", "amx")]
TERMS = (1, 3, 6)
BOUNDS = {1: 4e-3, 3: 8e-6, 6: 3e-7}
"""Relative errors in the Frobenius norm, of sums that do not cancel more than random numbers do."""


@pytest.fixture(scope="module", params=[*SPLIT, "emulated amx"])
def c(request):
    if request.param != "emulated amx":
        return c_backend.C(request.param)
    return emulated_amx() or pytest.skip("emulated amx: no C compiler here, or no sources")


@contextlib.contextmanager
def using(c, terms):
    """Compute products of so many terms, 0: of float32, and no convolution by minimal filtering."""
    c._tile_and_terms, before, c.terms = lambda: (0, terms), c.terms, dict.fromkeys(c.terms, terms)
    yield
    del c._tile_and_terms
    c.terms = before


def normal(shape, seed=0):
    return np.random.default_rng([seed, *shape]).standard_normal(shape, np.float32)


def matmul(c, terms, a, b):
    out = np.full((len(a), b.shape[1]), 7, np.float32)
    with using(c, terms):
        c.matmul(a, b, out)
    return out


def error(actual, expected):
    return float(np.linalg.norm(actual - expected) / np.linalg.norm(expected))


# Accuracy

ZOO = [
    # N, C, H, W, K, R, S, stride, padding, groups: windows and channels of the zoo on small maps
    (2, 3, 32, 32, 64, 11, 11, 4, 2, 1),
    (1, 3, 30, 30, 64, 7, 7, 2, 3, 1),
    (1, 3, 20, 20, 64, 3, 3, 1, 1, 1),
    (2, 64, 9, 9, 192, 5, 5, 1, 2, 1),
    (1, 96, 9, 9, 256, 5, 5, 1, 2, 2),
    (1, 64, 14, 14, 64, 3, 3, 1, 1, 1),
    (1, 256, 7, 7, 256, 3, 3, 2, 1, 1),
    (3, 512, 4, 4, 512, 3, 3, 1, 1, 1),
    (1, 256, 10, 10, 64, 1, 1, 1, 0, 1),
    (1, 64, 10, 10, 256, 1, 1, 2, 0, 1),
    (2, 1024, 5, 5, 33, 1, 1, 1, 0, 1),
    (1, 160, 9, 9, 192, 1, 7, 1, (0, 3), 1),
    (1, 192, 9, 9, 48, 7, 1, 1, (3, 0), 1),
    (2, 24, 12, 12, 24, 3, 3, 1, 1, 24),
]


def geometry_of(N, C, H, W, K, R, S, stride, padding, groups):
    return geometry.conv2d((N, C, H, W), (K, C // groups, R, S), stride, padding, 1, groups)


def convolutions(c, g, x, w, dy):
    """The three products of a convolution, in the dtype of x."""
    results = [np.empty(shape, x.dtype) for shape in (g.output_shape, g.input_shape, g.weight_shape)]
    c.conv2d(x, w, None, g, False, results[0])
    c.conv2d_input_grad(dy, w, g, results[1])
    c.conv2d_weight_grad(dy, x, g, results[2])
    return results


@pytest.mark.parametrize("sizes", ZOO, ids=str)
def test_convolutions_of_the_zoo(c, sizes):
    """6 terms are at least as accurate as float32 but for a factor of 1.5; the others are as accurate as they promise."""
    g = geometry_of(*sizes)
    x, w, dy = np.maximum(normal(g.input_shape), 0), normal(g.weight_shape), normal(g.output_shape)
    expected = convolutions(REFERENCE, g, *[array.astype(np.float64) for array in (x, w, dy)])
    errors = {}
    for terms in (0, *TERMS):
        with using(c, terms):
            errors[terms] = [error(mine, theirs) for mine, theirs in zip(convolutions(c, g, x, w, dy), expected)]
    for plain, one, three, six in zip(*[errors[terms] for terms in (0, *TERMS)]):
        assert one < BOUNDS[1] and three < BOUNDS[3]
        assert six <= 1.5 * plain + 1e-9


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    st.sampled_from(TERMS), st.integers(1, 80), st.one_of(st.integers(1, 70), st.integers(250, 270)), st.integers(1, 70),
    st.sampled_from(["nn", "tn", "nt", "tt"]),
)  # fmt: skip
def test_edge_tiles(c, terms, M, K, N, layout):
    a = normal((M, K)) if layout[0] == "n" else normal((K, M)).T
    b = normal((K, N), 1) if layout[1] == "n" else normal((N, K), 1).T
    magnitude = np.abs(a).astype(np.float64) @ np.abs(b)
    wrong = np.abs(matmul(c, terms, a, b) - a.astype(np.float64) @ b)
    assert (wrong <= {1: 2**-7, 3: 2**-15, 6: 4e-7}[terms] * magnitude).all()


@pytest.mark.parametrize("terms", TERMS)
def test_whole_numbers_are_exact(c, terms):
    """Of 8, 16 and 24 bits, in sums below 2**24: every product, pair and padding is where it should be."""
    bits = {1: 8, 3: 12, 6: 12}[terms]
    draw = np.random.default_rng(0)
    for M, K, N in ((16, 16, 1), (33, 33, 33), (70, 300, 65), (97, 64, 31)):
        a = draw.integers(-(2**bits) + 1, 2**bits, (M, K)).astype(np.float32)
        b = draw.integers(-15, 16, (K, N)).astype(np.float32)
        np.testing.assert_array_equal(matmul(c, terms, a, b), a.astype(np.int64) @ b.astype(np.int64))


def test_linear_adds_its_bias(c):
    x, weight, bias = normal((40, 100)), normal((50, 100), 1), normal((50,))
    for terms in TERMS:
        out = np.empty((40, 50), np.float32)
        with using(c, terms):
            c.linear(x, weight, bias, True, out)
        assert error(out, np.maximum(x.astype(np.float64) @ weight.T + bias, 0)) < BOUNDS[terms]


def test_the_same_bits_again(c):
    a, b = normal((100, 700)), normal((700, 300))
    for terms in TERMS:
        np.testing.assert_array_equal(matmul(c, terms, a, b), matmul(c, terms, a, b))


# Numbers that have no parts

TINY = float(np.finfo(np.float32).smallest_subnormal)
HUGE = float(np.finfo(np.float32).max)


@pytest.mark.parametrize("terms", TERMS)
@pytest.mark.parametrize("odd", [np.inf, -np.inf, np.nan, HUGE, -HUGE, 3.39e38, 2.0**127, TINY, 2.0**-126, 2.0**-110])
@pytest.mark.parametrize("side", ["a", "b"])
def test_numbers_without_parts(c, terms, odd, side):
    """Beside others and alone in their sum: as float32 has it, where the parts would give infinity, NaN or 0."""
    a, b = normal((70, 300)), normal((300, 75))
    (a if side == "a" else b)[40, 40] = odd
    if side == "a":
        b[40, ::2] = np.sign(b[40, ::2])
    else:
        a[::2, 40] = np.sign(a[::2, 40])
    check(c, terms, a, b)
    alone_a, alone_b = np.zeros_like(a), np.zeros_like(b)
    alone_a[3, 40], alone_b[40, 5] = (odd, 0.75) if side == "a" else (0.75, odd)
    check(c, terms, alone_a, alone_b)


def check(c, terms, a, b):
    with np.errstate(all="ignore"):
        expected = a.astype(np.float64) @ b.astype(np.float64)
        expected[np.abs(expected) > HUGE] *= np.inf
        magnitude = np.nan_to_num(np.abs(a.astype(np.float64)) @ np.abs(b.astype(np.float64)))
        out = matmul(c, terms, a, b)
        np.testing.assert_array_equal(np.isnan(out), np.isnan(expected))
        np.testing.assert_array_equal(np.isinf(out), np.isinf(expected))
        finite = np.isfinite(expected)
        wrong = np.abs(out - expected)[finite]
    assert (
        wrong <= {1: 2**-7, 3: 2**-15, 6: 4e-7}[terms] * magnitude[finite] + len(b) * TINY
    ).all()  # as float32 itself


@pytest.mark.parametrize("terms", TERMS)
@pytest.mark.parametrize(
    "of_a, of_b", [(1e-30, 1e30), (1e-25, 1e-12), (1e-22, 1e-22), (1e18, 1e18), (1e-38, 1), (1e30, 1e-5)]
)
def test_scales(c, terms, of_a, of_b):
    """What matters is the size of the products: none is lost, whatever the numbers' own."""
    a, b = normal((50, 64)) * np.float32(of_a), normal((64, 40), 1) * np.float32(of_b)
    check(c, terms, a, b)


@pytest.mark.parametrize("terms", TERMS)
def test_only_the_panels_concerned(c, terms):
    """A huge number in one row and column leaves the others as they were, bit for bit."""
    a, b = normal((200, 100)), normal((100, 200))
    before = matmul(c, terms, a, b)
    a[199, 7], b[50, 199] = np.inf, HUGE
    after = matmul(c, terms, a, b)
    np.testing.assert_array_equal(after[:160, :160], before[:160, :160])
    check(c, terms, a, b)


def test_convolutions_of_hostile_images(c):
    g = geometry_of(2, 32, 9, 9, 48, 3, 3, 1, 1, 1)
    x, w, dy = normal(g.input_shape), normal(g.weight_shape), normal(g.output_shape)
    x[0, 3, 4, 4], w[20, 5, 1, 1], dy[1, 7, 3, 3] = np.inf, TINY, np.nan
    expected = convolutions(REFERENCE, g, *[array.astype(np.float64) for array in (x, w, dy)])
    for terms in TERMS:
        with using(c, terms):
            for mine, theirs in zip(convolutions(c, g, x, w, dy), expected):
                finite = np.isfinite(theirs)
                np.testing.assert_array_equal(np.isfinite(mine), finite)
                assert error(mine[finite], theirs[finite]) < BOUNDS[terms]


# Who chooses


def test_the_precision_chooses_the_terms(c):
    """And in a backward it is that of the forward."""
    x = minicnn.Tensor(normal((2, 32, 8, 8)), requires_grad=True)
    weight = minicnn.Tensor(normal((32, 32, 3, 3)), requires_grad=True)
    results = {}
    before, c.terms = c.terms, {"highest": 6, "high": 3, "medium": 1}
    try:
        for level in minicnn.backends.PRECISIONS:
            x.grad = weight.grad = None
            with minicnn.backends.using(c, None):
                minicnn.set_precision(level)
                y = minicnn.ops.conv2d(x, weight, padding=1)
                minicnn.set_precision("highest")
                (y * y).sum().backward()
            results[level] = [y.numpy(), x.grad.numpy(), weight.grad.numpy()]
    finally:
        c.terms = before
        minicnn.set_precision("highest")
    for highest, high, medium in zip(*results.values()):
        assert 1e-7 < error(high, highest) < 1e-4 < error(medium, highest) < 1e-2


def test_what_each_module_offers():
    for level in native.usable():
        lib = native.module(level).lib
        offered = [lib.minicnn_terms(precision) for precision in range(3)]
        assert offered == {"avx512_bf16": [0, 0, 1], "amx": [6, 3, 1]}.get(level, [0, 0, 0])
    assert set(c_backend.build_info()["terms"]) == set(backends.PRECISIONS)


def test_tile_instructions_are_in_one_module_only():
    objdump = shutil.which("objdump")
    if not objdump:
        pytest.skip("objdump is not there")
    tiles, dots = ("tdpbf16ps", "tileload", "tilestore", "ldtilecfg", "tilerelease", "tilezero"), ("vdpbf16ps",)
    for level in native.built():
        module = importlib.util.find_spec(f"minicnn_kernels.{native.LEVELS[level]}").origin
        code = subprocess.run([objdump, "-d", module], capture_output=True, text=True, check=True).stdout
        for names, owner in ((tiles, "amx"), (dots, "avx512_bf16")):
            found = [name for name in names if name in code]
            assert found == (list(names) if level == owner else []), level
