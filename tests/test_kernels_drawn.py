"""The C kernels against the reference over drawn shapes; convolution and pooling are in test_kernels.py."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minicnn import errors
from minicnn.backends import c as c_backend
from minicnn.backends.native import usable
from minicnn.backends.reference import Reference
from minicnn.random import Key

try:
    C = {level: c_backend.C(level) for level in usable()}
except errors.BackendError as error:
    pytest.skip(f"backend c: {error}", allow_module_level=True)

REFERENCE = Reference(np)
examples = settings(max_examples=100, deadline=None, derandomize=True)
setups = st.tuples(st.sampled_from(list(C)), st.sampled_from([np.float32, np.float64]), st.integers(1, 3))
seeds = st.integers(0, 2**32 - 1)
sizes = st.integers(0, 40)
maps = st.one_of(
    st.tuples(sizes, st.integers(1, 40)),
    st.tuples(st.integers(0, 5), st.integers(1, 20), st.integers(0, 9), st.integers(1, 50)),
)


@pytest.fixture(autouse=True, scope="module")
def _threads():
    before = c_backend.get_num_threads()
    yield
    c_backend.set_num_threads(before)


def agree(setup, kernel, arrays, outs, terms=1, scale=1.0, **options):
    """One kernel in C and, in float64 and from the same numbers, in the reference; `outs`: a shape or what lies there."""
    level, dtype, threads = setup
    c_backend.set_num_threads(threads)
    results = []
    for backend, kind in ((C[level], dtype), (REFERENCE, np.float64)):
        given = {
            n: a.astype(dtype).astype(kind) if a is not None and a.dtype.kind == "f" else a for n, a in arrays.items()
        }
        made = {
            name: out.astype(dtype).astype(kind) if isinstance(out, np.ndarray) else np.full(out, 7, kind)
            for name, out in outs.items()
        }
        getattr(backend, kernel)(**given, **made, **options)
        results.append(made)
    mine, theirs = results
    eps = np.finfo(dtype).eps
    for name in outs:
        assert mine[name].dtype == dtype
        np.testing.assert_allclose(
            mine[name], theirs[name], rtol=16 * eps, atol=2 * eps * scale * (16 + terms), err_msg=name
        )
    return mine


@examples
@given(setups, seeds, st.tuples(*[st.integers(0, 70)] * 3), st.sampled_from(["nn", "tn", "nt", "tt"]),
       st.lists(st.integers(0, 3), max_size=2), st.lists(st.booleans(), min_size=2, max_size=2))  # fmt: skip
def test_matmul(setup, seed, MKN, layout, batch, repeated):
    (M, K, N), draw = MKN, np.random.default_rng(seed)
    leading = [tuple(1 if once else size for size in batch) for once in repeated]
    a = draw.standard_normal((*leading[0], M, K) if layout[0] == "n" else (*leading[0], K, M))
    b = draw.standard_normal((*leading[1], K, N) if layout[1] == "n" else (*leading[1], N, K))
    out = (*np.broadcast_shapes(*leading), M, N)
    level, dtype, threads = setup
    c_backend.set_num_threads(threads)
    a, b, y = a.astype(dtype), b.astype(dtype), np.full(out, 7, dtype)
    a, b = a if layout[0] == "n" else a.swapaxes(-1, -2), b if layout[1] == "n" else b.swapaxes(-1, -2)
    C[level].matmul(a, b, y)
    eps = np.finfo(dtype).eps
    np.testing.assert_allclose(y, a.astype(np.float64) @ b.astype(np.float64), rtol=8 * eps, atol=2 * eps * (16 + K))


@examples
@given(setups, seeds, sizes, st.integers(1, 300), st.integers(1, 70), st.booleans(), st.booleans())
def test_linear(setup, seed, N, inputs, outputs, bias, relu):
    draw = np.random.default_rng(seed)
    arrays = {"x": draw.standard_normal((N, inputs)), "weight": draw.standard_normal((outputs, inputs))}
    arrays["bias"] = draw.standard_normal(outputs) if bias else None
    agree(setup, "linear", arrays, {"out": (N, outputs)}, inputs, relu=relu)


@examples
@given(setups, seeds, maps, st.booleans(), st.booleans(), st.booleans())
def test_batch_norm(setup, seed, shape, residual, relu, training):
    draw = np.random.default_rng(seed)
    x, dy, channels = draw.standard_normal(shape) + 1, draw.standard_normal(shape), shape[1]
    count = x.size // channels
    agree(setup, "channel_sum", {"dy": dy}, {"out": (channels,)}, count)
    common = {"x": x, "scale": draw.standard_normal(channels), "mean": draw.standard_normal(channels)}
    common["shift"] = draw.standard_normal(channels)
    added = draw.standard_normal(shape) if residual else None
    given = {**common, "var": draw.random(channels), "residual": added}
    made = agree(setup, "batch_norm", given, {"out": shape, "invstd": (channels,)}, 1, 16, relu=relu, eps=0.01)
    common["invstd"] = draw.random(channels) + 0.1
    outs = {"dx": shape, "dresidual": shape, "dscale": (channels,), "dshift": (channels,)}
    arrays = {**common, "dy": dy, "y": made["out"].astype(np.float64) if residual else None}
    agree(setup, "batch_norm_grad", arrays, outs, count, 16, relu=relu, training=training)
    if count > 1:
        names = ("mean", "invstd", "running_mean", "running_var")
        outs = {
            "out": shape,
            **dict.fromkeys(names[:2], (channels,)),
            **{name: np.ones(channels) for name in names[2:]},
        }
        del common["mean"], common["invstd"]
        agree(
            setup,
            "batch_norm_training",
            {**common, "residual": added},
            outs,
            count,
            16,
            momentum=0.1,
            eps=1.0,
            relu=relu,
        )


@examples
@given(setups, seeds, maps, st.integers(1, 12), st.sampled_from([0.5, 0.75, 1.0]), st.sampled_from([1.0, 2.0]))
def test_local_response_norm(setup, seed, shape, size, beta, k):
    draw = np.random.default_rng(seed)
    x, dy = draw.standard_normal(shape), draw.standard_normal(shape)
    options = {"size": size, "alpha": 0.3, "beta": beta}
    made = agree(setup, "local_response_norm", {"x": x}, {"out": shape, "scale": shape}, size, 4, k=k, **options)
    arrays = {"dy": dy, "x": x, "scale": made["scale"].astype(np.float64)}
    agree(setup, "local_response_norm_grad", arrays, {"out": shape}, size, 8, **options)


@examples
@given(
    setups,
    seeds,
    st.tuples(sizes, st.integers(1, 60)),
    st.sampled_from([0.0, 0.1, 1.0]),
    st.booleans(),
    st.integers(-1, 5),
)
def test_cross_entropy(setup, seed, shape, smoothing, weighted, ignore):
    (N, classes), draw = shape, np.random.default_rng(seed)
    labels = np.where(draw.random(N) < 0.3, ignore, draw.integers(0, classes, N))
    labels = np.where((labels >= classes) & (labels != ignore), 0, labels)
    common = {"labels": labels, "weights": draw.random(classes) if weighted else None}
    options, logits = {"smoothing": smoothing, "ignore": ignore}, 5 * draw.standard_normal(shape)
    agree(setup, "log_softmax", {"x": logits}, {"out": shape}, classes, 8)
    outs = {"out": (N,), "probabilities": shape}
    made = agree(setup, "cross_entropy", {"logits": logits, **common}, outs, classes, 40, **options)
    arrays = {"dloss": draw.standard_normal(N), "probabilities": made["probabilities"].astype(np.float64), **common}
    agree(setup, "cross_entropy_grad", arrays, {"out": shape}, classes, 8, **options)


@examples
@given(setups, seeds, st.lists(st.integers(0, 60), max_size=3), st.sampled_from([0.0, 0.3, 0.5]))
def test_element_by_element(setup, seed, shape, p):
    draw, shape = np.random.default_rng(seed), tuple(shape)
    x, dy = np.asarray(draw.standard_normal(shape)), np.asarray(draw.standard_normal(shape))
    made = agree(setup, "relu", {"x": x}, {"out": shape})
    agree(setup, "relu_grad", {"dy": dy, "y": made["out"].astype(np.float64)}, {"out": shape})
    agree(setup, "dropout", {"x": x}, {"out": shape}, p=p, key=Key(seed, 7, seed * seed))


@examples
@given(setups, seeds, st.integers(0, 5000), st.sampled_from([1e-3, 1.0, 30.0, 200.0]))
def test_sigmoid_and_tanh(setup, seed, count, spread):
    """Within a relative error of three epsilon, and for NaN, infinities and zeros exactly the same."""
    level, dtype, threads = setup
    c_backend.set_num_threads(threads)
    x = np.append(spread * np.random.default_rng(seed).standard_normal(count), [np.nan, np.inf, -np.inf, 0.0, -0.0])
    x = x.astype(dtype)
    for kernel in ("sigmoid", "tanh"):
        mine, theirs = np.empty_like(x), np.empty(x.shape)
        getattr(C[level], kernel)(x, mine)
        getattr(REFERENCE, kernel)(x.astype(np.float64), theirs)
        tiny = np.finfo(dtype).tiny  # below it, exp(-x) is infinite
        np.testing.assert_allclose(mine, theirs, rtol=3 * np.finfo(dtype).eps, atol=tiny, err_msg=kernel)
        np.testing.assert_array_equal(mine[-4:], theirs[-4:])
        np.testing.assert_array_equal(np.signbit(mine[-4:]), np.signbit(theirs[-4:]))
        in_place = x.copy()
        getattr(C[level], kernel)(in_place, in_place)
        np.testing.assert_array_equal(in_place, mine)


@examples
@given(setups, seeds, st.tuples(st.integers(0, 3), st.integers(0, 4), st.integers(1, 20), st.integers(1, 40)),
       st.tuples(st.integers(1, 12), st.integers(1, 12)))  # fmt: skip
def test_adaptive_pooling(setup, seed, shape, size):
    draw, pooled = np.random.default_rng(seed), (*shape[:2], *size)
    agree(setup, "adaptive_avg_pool2d", {"x": draw.standard_normal(shape)}, {"out": pooled})
    terms = size[0] * size[1]
    agree(setup, "adaptive_avg_pool2d_grad", {"dy": draw.standard_normal(pooled)}, {"out": shape}, terms)


@examples
@given(setups, seeds, st.integers(1, 60), st.sampled_from([np.nan, np.inf, -np.inf, 1e30]), st.floats(0, 1))
def test_losses_of_odd_numbers(setup, seed, classes, odd, share):
    level, dtype, threads = setup
    c_backend.set_num_threads(threads)
    draw = np.random.default_rng(seed)
    logits = draw.standard_normal((6, classes)).astype(dtype)
    logits[draw.random(logits.shape) < share] = odd
    labels, weights = draw.integers(0, classes, 6), draw.random(classes).astype(dtype)
    for options in ((None, 0.0), (weights, 0.0), (None, 0.1)):
        results = []
        for backend in (C[level], REFERENCE):
            loss, p, y = np.empty(6, dtype), np.empty_like(logits), np.empty_like(logits)
            backend.log_softmax(logits, y)
            backend.cross_entropy(logits, labels, *options, 0 if classes > 1 else -100, loss, p)
            results.append((loss, p, y))
        for mine, theirs in zip(*results):
            np.testing.assert_allclose(mine, theirs, rtol=64 * np.finfo(dtype).eps, atol=64 * np.finfo(dtype).eps)


@examples
@given(
    setups, seeds, st.integers(0, 5000), st.sampled_from([None, 0.5, 0.9]), st.sampled_from([0.0, 0.01]), st.booleans()
)
def test_optimisers(setup, seed, count, momentum, decay, flag):
    w, g, m, v = np.random.default_rng(seed).standard_normal((4, count))
    outs = {"w": w} if momentum is None else {"w": w, "v": v}
    arrays = {"g": g, "v": None} if momentum is None else {"g": g}
    agree(
        setup,
        "sgd",
        arrays,
        outs,
        4,
        lr=0.1,
        momentum=momentum or 0.0,
        weight_decay=decay,
        nesterov=flag and bool(momentum),
    )
    options = {
        "lr": 0.1,
        "beta1": 0.9,
        "beta2": 0.999,
        "eps": 1e-8,
        "weight_decay": decay,
        "decoupled": flag,
        "step": 3,
    }
    agree(setup, "adam", {"g": g}, {"w": w, "m": m, "v": abs(v) + 0.01}, 4, 8, **options)
