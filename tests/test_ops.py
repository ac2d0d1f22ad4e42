"""Operations against PyTorch's results (tests/goldens), on every backend, in both dtypes; and what they refuse."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

import minicnn
from minicnn import Tensor, ops
from minicnn.errors import ArgumentError, BackendError, DTypeError, MinicnnError, ShapeError

GOLDENS = Path(__file__).parent / "goldens"
sys.path.insert(0, str(GOLDENS))
from cases import CASES, inputs  # noqa: E402

STORED = np.load(GOLDENS / "ops.npz")
TOLERANCE = {np.float32: 2e-6, np.float64: 1e-13}


def close(actual, expected, dtype):
    expected = np.asarray(expected)
    assert actual.shape == expected.shape and actual.dtype == dtype
    scale = np.abs(expected).max(initial=1.0)
    np.testing.assert_allclose(actual, expected, rtol=0, atol=TOLERANCE[dtype] * scale * 4)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", CASES)
def test_agrees_with_pytorch(name, dtype, backend):
    op, _, arguments = CASES[name]
    arguments = dict(arguments)
    tensors = [Tensor(array.astype(dtype), requires_grad=True) for array in inputs(name)]
    statistics = {}
    if op == "cross_entropy":
        labels = np.array(arguments.pop("labels"))
        y = ops.cross_entropy(tensors[0], labels, **arguments)
    elif op == "batch_norm":
        statistics = {"running_mean": Tensor(np.full(3, 0.25, dtype)), "running_var": Tensor(np.full(3, 2.0, dtype))}
        y = ops.batch_norm(*tensors, **statistics, **arguments)
    else:
        y = getattr(ops, op)(*tensors, **arguments)
    close(y.numpy(), STORED[f"{name}/y"], dtype)
    seed = np.cos(np.arange(y.size)).reshape(y.shape).astype(dtype)
    for i, gradient in enumerate(minicnn.grad(y, tensors, seed)):
        close(gradient.numpy(), STORED[f"{name}/d{i}"], dtype)
    for part, tensor in statistics.items():
        close(tensor.numpy(), STORED[f"{name}/{part}"], dtype)


@pytest.mark.parametrize("name", CASES)
def test_meta_gives_the_same_shapes(name):
    op, _, arguments = CASES[name]
    arguments = dict(arguments)
    tensors = [Tensor(array.astype(np.float32)).to("meta") for array in inputs(name)]
    for tensor in tensors:
        tensor.requires_grad = True
    if op == "cross_entropy":
        y = ops.cross_entropy(tensors[0], np.array(arguments.pop("labels")), **arguments)
    elif op == "batch_norm":
        y = ops.batch_norm(
            *tensors, Tensor(np.zeros(3, np.float32)).to("meta"), Tensor(np.ones(3, np.float32)).to("meta"), **arguments
        )
    else:
        y = getattr(ops, op)(*tensors, **arguments)
    assert y.shape == STORED[f"{name}/y"].shape and y.device == "meta"
    gradients = minicnn.grad(y, tensors, Tensor(np.ones(y.shape, np.float32)).to("meta"), create_graph=True)
    assert [g.shape for g in gradients] == [t.shape for t in tensors]


def image(*shape):
    return Tensor(np.ones(shape, np.float32))


W = image(4, 3, 3, 3)
X = image(2, 3, 8, 8)
LABELS = np.array([1, 2])

REFUSED = {
    "conv2d rank": (lambda: ops.conv2d(image(3, 8, 8), W), ShapeError, r"x has shape \(3, 8, 8\): it must be \(N, C, H, W\)"),
    "conv2d weight rank": (lambda: ops.conv2d(X, image(4, 27)), ShapeError, r"weight has shape \(4, 27\)"),
    "conv2d channels": (lambda: ops.conv2d(image(2, 4, 8, 8), W), ShapeError, "x has 4 channels but weight .* takes 3"),
    "conv2d groups": (lambda: ops.conv2d(X, W, groups=2), ShapeError, "groups is 2: it must divide the 3 input channels"),
    "conv2d no groups": (lambda: ops.conv2d(X, W, groups=0), ArgumentError, "groups is 0"),
    "conv2d too small": (
        lambda: ops.conv2d(image(1, 3, 2, 2), W), ShapeError,
        r"a 3x3 window does not fit a 2x2 map: \(2 \+ 2\*0 - 3\)/1 \+ 1 = 0; the map needs to be at least 3x3",
    ),
    "conv2d padding": (lambda: ops.conv2d(X, W, padding=-1), ArgumentError, "padding is -1: it must be at least 0"),
    "conv2d padding kind": (lambda: ops.conv2d(X, W, padding=1.5), ArgumentError, "padding is 1.5"),
    "conv2d stride": (lambda: ops.conv2d(X, W, stride=0), ArgumentError, "stride is 0: it must be at least 1"),
    "conv2d stride pair": (lambda: ops.conv2d(X, W, stride=(1, 2, 3)), ArgumentError, "stride is"),
    "conv2d stride float": (lambda: ops.conv2d(X, W, stride=1.0), ArgumentError, "stride is 1.0"),
    "conv2d stride array": (lambda: ops.conv2d(X, W, stride=np.ones((2, 2))), ArgumentError, "stride is"),
    "conv2d stride set": (lambda: ops.conv2d(X, W, stride={1, 2}), ArgumentError, "stride is"),
    "conv2d dilation": (lambda: ops.conv2d(X, W, dilation=0), ArgumentError, "dilation is 0"),
    "conv2d bias": (lambda: ops.conv2d(X, W, image(3)), ShapeError, r"bias has shape \(3,\): it must be \(4,\)"),
    "conv2d dtype": (lambda: ops.conv2d(Tensor(np.ones((1, 3, 8, 8), int)), W), DTypeError, "dtype int64: it must be floating"),
    "pool stride": (lambda: ops.max_pool2d(X, 2, 0), ArgumentError, "max_pool2d: stride is 0"),
    "pool window": (lambda: ops.max_pool2d(X, 0), ArgumentError, "max_pool2d: kernel_size is 0"),
    "pool too small": (
        lambda: ops.max_pool2d(image(1, 1, 2, 2), 3, 2), ShapeError,
        r"max_pool2d: a 3x3 window does not fit a 2x2 map: \(2 \+ 2\*0 - 3\)/2 \+ 1 = 0.5",
    ),
    "pool padding": (lambda: ops.max_pool2d(X, 3, padding=2), ArgumentError, "at most half the 3x3 window"),
    "pool rank": (lambda: ops.avg_pool2d(image(2, 3), 2), ShapeError, "avg_pool2d: x has shape"),
    "adaptive size": (lambda: ops.adaptive_avg_pool2d(X, 0), ArgumentError, "output_size is 0"),
    "linear sizes": (lambda: ops.linear(image(2, 5), image(4, 6)), ShapeError, "the last size of x must be 6"),
    "linear bias": (lambda: ops.linear(image(2, 5), image(4, 5), image(5)), ShapeError, "bias has shape"),
    "clip": (lambda: ops.clip(X, "a", 1), DTypeError, "clip: low is str 'a': it must be numbers"),
    "add": (lambda: X + "a", DTypeError, "add: b is str 'a'"),
    "swapped": (lambda: "a" * X, DTypeError, "multiply: a is str 'a'"),
    "less": (lambda: X < "a", DTypeError, "less: b is str 'a'"),
    "where": (lambda: ops.where(X > 0, X, "a"), DTypeError, "where: b is str 'a'"),
    "relu": (lambda: ops.relu("a"), DTypeError, "relu: x is str 'a'"),
    "sum": (lambda: ops.sum(np.array([1j])), DTypeError, "sum: x has dtype complex128"),
    "cat": (lambda: ops.cat(["a", "b"]), DTypeError, "cat: tensors is str 'a'"),
    "conv2d operand": (lambda: ops.conv2d("a", W), DTypeError, "conv2d: x is str 'a'"),
    "matmul operand": (lambda: [["a"]] @ X, DTypeError, "matmul: a is list"),
    "to": (lambda: X.to("gpu"), BackendError, "to: device is 'gpu'"),
    "squeeze": (lambda: ops.squeeze(X, 1), ShapeError, "squeeze: axis 1 .* has size 3"),
    "squeeze axis": (lambda: X.squeeze(4), ShapeError, "squeeze: axis is 4"),
    "expand_dims": (lambda: X.expand_dims(6), ShapeError, "expand_dims: axis is 6"),
    "expand_dims twice": (lambda: X.expand_dims((0, -6)), ShapeError, "expand_dims: .*twice"),
    "prod axis": (lambda: X.prod((1, 1)), ShapeError, "prod: axis is .*twice"),
    "matmul": (lambda: ops.matmul(image(2, 3), image(2, 3)), ShapeError, r"\(2, 3\) @ \(2, 3\)"),
    "batch_norm channels": (lambda: ops.batch_norm(X, image(4)), ShapeError, r"scale has shape \(4,\): it must be \(3,\)"),
    "batch_norm one value": (lambda: ops.batch_norm(image(1, 3, 1, 1)), ShapeError, "more than one value per channel"),
    "batch_norm no statistics": (lambda: ops.batch_norm(X, training=False), ArgumentError, "running_mean and running_var"),
    "batch_norm residual": (lambda: ops.batch_norm(X, residual=image(2, 3, 8, 7)), ShapeError, "residual has shape"),
    "lrn size": (lambda: ops.local_response_norm(X, 0), ArgumentError, "size is 0"),
    "lrn k": (lambda: ops.local_response_norm(X, 5, k=0.0), ArgumentError, "k must be positive"),
    "dropout p": (lambda: ops.dropout(X, 1.0), ArgumentError, "p is 1.0"),
    "labels range": (lambda: ops.cross_entropy(image(2, 2), LABELS), ArgumentError, r"a label is 2: it must be 0 .. 1"),
    "labels negative": (lambda: ops.cross_entropy(image(2, 2), np.array([0, -1])), ArgumentError, "a label is -1"),
    "labels dtype": (lambda: ops.cross_entropy(image(2, 3), np.array([0.0, 1.0])), DTypeError, "labels have dtype float64"),
    "labels count": (lambda: ops.cross_entropy(image(3, 3), LABELS), ShapeError, r"labels have shape \(2,\)"),
    "class weights": (lambda: ops.cross_entropy(image(2, 3), LABELS, weight=image(2)), ShapeError, "weight has shape"),
    "smoothing": (lambda: ops.cross_entropy(image(2, 3), LABELS, label_smoothing=1.5), ArgumentError, "label_smoothing is 1.5"),
    "reduction": (lambda: ops.cross_entropy(image(2, 3), LABELS, reduction="avg"), ArgumentError, "reduction is 'avg'"),
    "col2im": (lambda: ops.col2im(image(1, 4, 9), (1, 1, 4, 5), 2), ShapeError, "columns have shape"),
    "output_padding": (
        lambda: ops.conv_transpose2d(image(1, 4, 3, 3), W, stride=2, output_padding=2), ShapeError, "output_padding",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_bad_input_is_refused(name, backend):
    call, error, message = REFUSED[name]
    with pytest.raises(error, match=message):
        call()


def test_sizes_that_overflow_are_refused_before_any_memory_is_touched(backend):
    huge = Tensor(np.broadcast_to(np.float32(0), (2**20, 2**10, 2**10, 2**10)))
    with pytest.raises(ShapeError, match="limit is"):
        ops.conv2d(huge, Tensor(np.broadcast_to(np.float32(0), (1, 2**10, 512, 512))))


def test_an_image_of_more_than_two_billion_elements_has_the_right_geometry():
    x = Tensor(np.broadcast_to(np.float32(0), (3, 2, 40_000, 40_000))).to("meta")
    assert ops.max_pool2d(ops.conv2d(x, image(5, 2, 3, 3).to("meta")), 2).shape == (3, 5, 19_999, 19_999)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_empty_batches(dtype, backend):
    x = Tensor(np.ones((0, 3, 8, 8), dtype), requires_grad=True)
    w = Tensor(np.ones((4, 3, 3, 3), dtype), requires_grad=True)
    y = ops.max_pool2d(ops.conv2d(x, w, relu=True), 2)
    y = ops.avg_pool2d(ops.local_response_norm(ops.batch_norm(y), 3), 2)
    y = ops.linear(y.flatten(), Tensor(np.ones((2, 4), dtype)))
    assert y.shape == (0, 2)
    ops.cross_entropy(y, np.zeros(0, int), reduction="sum").backward()
    assert x.grad.shape == x.shape and (w.grad.numpy() == 0).all()


def test_float16_is_added_up_in_float32(backend):
    ones = Tensor(np.ones((2, 32_768), np.float16), requires_grad=True)
    assert ones.mean().item() == 1 and ones.mean().dtype == np.float16
    assert (ones * 0.5).sum(1).numpy().tolist() == [16_384, 16_384]  # in float16 steps of 0.5 end at 1024
    assert (ones.T * 0.5).sum(0).numpy().tolist() == [16_384, 16_384]
    ones.mean(1).sum().backward()
    assert ones.grad.dtype == np.float16 and np.allclose(ones.grad.numpy(), 1 / 32_768)
    logits = Tensor(np.zeros((65_536, 4), np.float16), requires_grad=True)
    loss = ops.cross_entropy(logits, np.zeros(65_536, np.int64))  # the sum, 90,853, is too large for float16
    assert loss.dtype == np.float16 and loss.item() == pytest.approx(np.log(4), rel=1e-3)


def test_the_mean_loss_of_nothing_is_nan(backend):
    logits = Tensor(np.zeros((0, 4), np.float32), requires_grad=True)
    loss = ops.cross_entropy(logits, np.zeros(0, np.int64))
    assert np.isnan(loss.item())
    loss.backward()
    assert logits.grad.shape == (0, 4)


@pytest.mark.parametrize("axis", [None, 0, -1, (0, 2), (2, 0, 1), ()])
@pytest.mark.parametrize("shape", [(2, 3, 5), (1, 3, 1), (0, 2, 3)])
def test_prod_squeeze_and_expand_dims_agree_with_numpy(shape, axis, backend, rng):
    x = rng.standard_normal(shape)
    for keepdims in (False, True):
        y = ops.prod(x, axis, keepdims)
        np.testing.assert_allclose(y.numpy(), np.prod(x, axis, keepdims=keepdims), rtol=1e-14)
        assert y.shape == np.prod(x, axis, keepdims=keepdims).shape and not np.shares_memory(y.numpy(), x)
    grown = ops.expand_dims(x, 0 if axis is None else axis)
    assert grown.shape == np.expand_dims(x, 0 if axis is None else axis).shape and np.shares_memory(
        grown.numpy(), x
    ) == (x.size > 0)
    assert ops.squeeze(x).shape == x.squeeze().shape
    assert ops.squeeze(grown, 0 if axis is None else axis).shape == x.shape
    assert ops.prod(np.array([[3, 4], [True, 2]])).item() == 24 and ops.prod(Tensor(2.0)).item() == 2


def test_derivatives_of_prod_at_zeros(backend):
    """d(abc)/da = bc and d2(abc)/da db = c, also where a and b are 0."""
    x = Tensor(np.array([0.0, 0.0, 3.0]), requires_grad=True)
    (first,) = minicnn.grad(x.prod(), [x], create_graph=True)
    (second,) = minicnn.grad(first[0], [x])
    assert first.numpy().tolist() == [0, 0, 0] and second.numpy().tolist() == [0, 3, 0]


def test_awkward_memory_works(backend, rng):
    base = rng.standard_normal((8, 8, 3, 2)).astype(np.float32)
    turned = base.transpose(3, 2, 0, 1)  # not contiguous
    turned.flags.writeable = False
    w = rng.standard_normal((3, 3, 3, 4)).astype(np.float32).transpose(3, 2, 0, 1)
    plain = np.ascontiguousarray(turned), np.ascontiguousarray(w)
    for op in (
        lambda x, w: ops.conv2d(x, w, padding=1), lambda x, w: ops.max_pool2d(x, 2), lambda x, w: ops.avg_pool2d(x, 2),
        lambda x, w: ops.batch_norm(x), lambda x, w: ops.relu(x), lambda x, w: ops.local_response_norm(x, 3),
        lambda x, w: ops.dropout(x, 0.5, key=minicnn.random.Key(1, 1, 1)), lambda x, w: ops.log_softmax(x, 1),
        lambda x, w: ops.linear(x[:, 0, 0], x[0, :, 0]), lambda x, w: ops.matmul(x, x.swapaxes(2, 3)), lambda x, w: ops.im2col(x, 3),
    ):  # fmt: skip
        np.testing.assert_allclose(
            op(Tensor(turned), Tensor(w)).numpy(), op(*map(Tensor, plain)).numpy(), rtol=1e-6, atol=1e-6
        )


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_nan_and_infinity_pass_through(value, backend):
    x = np.ones((1, 2, 6, 6), np.float32)
    x[0, 1, 2, 2] = value
    w = np.ones((3, 2, 3, 3), np.float32)

    def bad(y):
        return np.isnan(y.numpy()) if np.isnan(value) else np.isposinf(y.numpy())

    assert bad(ops.conv2d(x, Tensor(w))).all(axis=1).any() and bad(ops.conv2d(x, Tensor(w), relu=True)).any()
    assert not bad(ops.conv2d(x, Tensor(w)))[0, :, 3, 3].any()
    assert bad(ops.max_pool2d(x, 3, 1, 1)).sum() == 9
    assert bad(ops.avg_pool2d(x, 3, 1, 1)).sum() == 9
    assert bad(ops.relu(x)).sum() == 1
    assert not np.isfinite(ops.cross_entropy(x[0, :, 2], np.array([0, 1])).item())
    assert not np.isfinite(ops.batch_norm(x).numpy()[0, 1]).all() and np.isfinite(ops.batch_norm(x).numpy()[0, 0]).all()


def test_max_pool_of_minus_infinity_leads_back_to_a_pixel(backend):
    x = Tensor(np.full((1, 1, 4, 4), -np.inf, np.float32), requires_grad=True)
    ops.max_pool2d(x, 3, 2, 1).sum().backward()
    assert x.grad.numpy().sum() == 4


def test_ties_go_to_the_first_maximum(backend):
    x = Tensor(np.zeros((1, 1, 2, 2), np.float32), requires_grad=True)
    ops.max_pool2d(x, 2).sum().backward()
    assert x.grad.numpy().ravel().tolist() == [1, 0, 0, 0]


def test_both_readings_of_local_response_norm(backend):
    """Section 3.3 of the AlexNet paper by hand, for one pixel of ones with five channels."""
    x = np.ones((1, 5, 1, 1), np.float64)
    counts = np.array([3, 4, 5, 4, 3])
    paper = ops.local_response_norm(x, 5, 1e-4, 0.75, 2.0, alpha_over_size=False).numpy().ravel()
    np.testing.assert_allclose(paper, (2 + 1e-4 * counts) ** -0.75, rtol=1e-14)
    caffe = ops.local_response_norm(x, 5, 1e-4, 0.75, 2.0).numpy().ravel()
    np.testing.assert_allclose(caffe, (2 + 1e-4 / 5 * counts) ** -0.75, rtol=1e-14)


def test_hinge_loss_by_hand(backend):
    """The lecture's cat, car, frog: losses 2.9, 0 and 12.9."""
    scores = np.array([[3.2, 5.1, -1.7], [1.3, 4.9, 2.0], [2.2, 2.5, -3.1]])
    losses = ops.hinge_loss(scores, np.array([0, 1, 2]), reduction="none").numpy()
    np.testing.assert_allclose(losses, [2.9, 0, 12.9], rtol=1e-12)


def test_every_error_is_one_of_ours():
    for call, error, _ in REFUSED.values():
        assert issubclass(error, MinicnnError), call
