"""What a hostile or careless caller can do: odd values for every argument, shared arrays, copies, huge sizes."""

from __future__ import annotations

import copy
import gc
import os
import pickle
import signal
import threading

import numpy as np
import pytest

import minicnn
from minicnn import Tensor, backends, data, layers, ops, random
from minicnn.autograd import differentiable
from minicnn.backends import c as c_backend
from minicnn.backends import native, pool
from minicnn.errors import (
    ArgumentError,
    BackendError,
    CheckpointError,
    DataError,
    DTypeError,
    GradientError,
    IndexingError,
    MinicnnError,
    OutOfMemory,
    ShapeError,
)


def leaf(*values):
    return Tensor(np.array(values, np.float64), requires_grad=True)


# The engine


def test_a_detached_tensor_beside_its_own_history_stays_a_constant(backend):
    x = leaf(3.0)
    slope = minicnn.grad((x * x.detach()).sum(), x, create_graph=True)
    assert slope.item() == 3.0 and not slope.requires_grad


def test_two_tensors_on_one_array_keep_their_histories_apart(backend):
    array = np.array([3.0])
    x, y = Tensor(array, requires_grad=True), Tensor(array, requires_grad=True)
    slope = minicnn.grad((x * y).sum(), x, create_graph=True)
    assert [g.item() for g in minicnn.grad(slope.sum(), [x, y])] == [0.0, 1.0]


def test_gradients_with_a_graph_alias_nothing(backend):
    a, b, start = leaf(1.0, 2.0), leaf(3.0, 4.0), Tensor(np.ones(2))
    (a + b).backward(start, create_graph=True)
    assert not np.shares_memory(a.grad.numpy(), b.grad.numpy())
    assert not np.shares_memory(a.grad.numpy(), start.numpy())


def test_results_of_grad_alias_nothing(backend):
    a, b, start = leaf(1.0, 2.0), leaf(3.0, 4.0), Tensor(np.ones(2))
    da, db = minicnn.grad(a + b, [a, b], start)
    assert not np.shares_memory(da.numpy(), db.numpy()) and not np.shares_memory(da.numpy(), start.numpy())


def test_a_gradient_and_a_view_of_it_may_both_be_handed_out(backend):
    @differentiable
    def pair(kernels, needs, x, y):
        def backward(saved, dy, needs):
            dx = dy * 1.0
            return dx, dx.reshape(-1)

        return x.sum() + y.sum() + np.zeros((2, 1)), [], backward

    x, y = Tensor(np.ones((2, 1)), requires_grad=True), leaf(1.0, 1.0)
    (pair(x, y) + x * 5.0).sum().backward()
    assert x.grad.tolist() == [[6.0], [6.0]] and y.grad.tolist() == [1.0, 1.0]


def test_grad_by_an_intermediate_leaves_what_lies_behind_it_alone(backend):
    x = leaf(1.0, 2.0)
    y = x * 2.0
    minicnn.grad((y * y).sum(), y)
    y.sum().backward()
    assert x.grad.tolist() == [2.0, 2.0]


def test_grad_computes_only_what_was_asked_for(backend):
    asked = []

    @differentiable
    def product(kernels, needs, a, b):
        def backward(saved, dy, needs):
            asked.append(needs)
            return dy * 3.0 if needs[0] else None, dy * 2.0 if needs[1] else None

        return a * b, [], backward

    a, b = leaf(2.0), leaf(3.0)
    assert minicnn.grad(product(a, b).sum(), b).item() == 2.0
    assert asked == [(False, True)]


def test_a_reshape_that_copies_has_a_version_of_its_own(backend):
    x, w = Tensor(np.arange(6.0).reshape(2, 3)), Tensor(np.ones((2, 3)), requires_grad=True)
    y = (w * x).sum()
    x.T.reshape(-1).copy_(0.0)
    y.backward()
    np.testing.assert_array_equal(w.grad.numpy(), np.arange(6.0).reshape(2, 3))


def test_data_taken_from_a_tensor_brings_its_version(backend):
    w, source, x = leaf(1.0, 2.0), Tensor(np.array([5.0, 6.0])), Tensor(np.ones(2))
    x.data = source
    y = (w * x).sum()
    source.copy_(0.0)
    with pytest.raises(GradientError, match="changed in place"):
        y.backward()


def test_new_data_leave_views_of_the_old_alone(backend):
    w, x = leaf(1.0, 2.0), Tensor(np.ones(2))
    y = (w * x.detach()).sum()
    x.data = np.zeros(2)
    y.backward()
    assert w.grad.tolist() == [1.0, 1.0]


def test_data_of_a_parameter_stay_floating():
    with pytest.raises(DTypeError, match="requires a gradient"):
        leaf(1.0).data = np.arange(3)


def test_one_element_is_a_view_like_any_other_part():
    x = Tensor(np.zeros(3))
    x[1].copy_(5.0)
    assert x.tolist() == [0.0, 5.0, 0.0]


def test_anomalies_leave_no_cycle():
    gc.collect()
    gc.disable()
    try:
        for _ in range(3):
            with minicnn.detect_anomaly(), pytest.raises(GradientError):
                ops.log(leaf(-1.0))
        # type: isinstance asks the objects, some of which (in PyTorch) warn
        assert not [o for o in gc.get_objects() if issubclass(type(o), GradientError)]
    finally:
        gc.enable()


@pytest.mark.parametrize("what", [copy.deepcopy, copy.copy, pickle.dumps])
def test_copies_of_computed_tensors_are_refused(what):
    with pytest.raises(GradientError, match="use .detach"):
        what(leaf(1.0) * 2.0)


def test_copies_of_leaves():
    x = leaf(1.0)
    (x * 2.0).sum().backward()
    for twin in (copy.deepcopy(x), pickle.loads(pickle.dumps(x))):
        assert twin.requires_grad and twin.grad.item() == 2.0 and not np.shares_memory(twin.data, x.data)


def test_a_deep_graph_dies_without_recursion():
    y = leaf(1.0)
    for _ in range(20_000):
        y = ops.tanh(y)
    del y


def test_derivative_by_the_exponent_at_bases_without_logarithm():
    a, b = leaf(0.0, -2.0, 2.0), leaf(0.5, 1.5, 2.0)
    slope = minicnn.grad((a**b).sum(), b, create_graph=True)
    for second in minicnn.grad(slope.sum(), [a, b]):
        assert np.isfinite(second.numpy()).all()


def test_threads_with_backends_of_their_own():
    failures = []

    def train(name):
        try:
            for _ in range(3):
                with minicnn.use_backend(name):
                    net = layers.Sequential(
                        layers.Conv2d(1, 2, 3), layers.ReLU(), layers.Flatten(), layers.Linear(8, 2)
                    )
                    ops.cross_entropy(net(np.ones((2, 1, 4, 4), np.float32)), [0, 1]).backward()
                    assert backends.current() == name
        except BaseException as error:
            failures.append(error)

    threads = [
        threading.Thread(target=train, args=(name,)) for name in 2 * backends.available() if name in backends.CPU
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures


# Numbers that are not floating


def test_sums_of_integers_and_truth_values_count(backend):
    assert (Tensor([1, 2, 3]) == Tensor([1, 2, 4])).sum().item() == 2
    assert Tensor(np.full(10, 200, np.uint8)).sum().item() == 2000
    assert Tensor(np.full((2, 3), 200, np.uint8)).sum(0).dtype == np.int64


def test_smallest_and_negative_of_integers(backend):
    assert Tensor(np.array([7, 3], np.uint8)).min().item() == 3
    assert Tensor(np.array([True, False])).min().item() is False
    assert Tensor(np.array([-(2**63), 5])).min().item() == -(2**63)
    assert (-Tensor(np.array([1, 2], np.uint8))).tolist() == [255, 254]
    assert np.signbit((-Tensor([0.0])).numpy()).all()


def test_floats_in_a_list_beside_integers_are_not_cut_off():
    assert (Tensor(np.array([1, 2])) + [1.5, 2.5]).tolist() == [2.5, 4.5]


def test_numbers_too_large_for_floating_dtypes_are_infinite():
    assert (
        Tensor(1e300).item() == np.inf
        and Tensor(10**400).item() == np.inf
        and (Tensor(1.0) - 10**400).item() == -np.inf
    )
    assert (Tensor(np.ones(1, np.float16)) * 1e6).item() == np.inf


def test_foreign_arrays_become_plain_ones(backend):
    swapped = Tensor(np.arange(3, dtype=">f4"))
    assert swapped.dtype.isnative and swapped.sum().item() == 3.0 and swapped.astype(">f8").dtype.isnative
    assert type(Tensor(np.ones((2, 2)).view(np.matrix)).data) is np.ndarray


def test_argmax():
    x = Tensor(np.array([[1.0, 5.0], [7.0, 2.0]]))
    assert x.argmax().item() == 2 and x.argmax(-1).tolist() == [1, 0]
    assert x.to("meta").argmax(0).shape == (2,)


X, INT = Tensor(np.ones((2, 4, 6, 6), np.float32)), Tensor(np.arange(3))
W, FLAT = Tensor(np.ones((2, 4, 3, 3), np.float32)), Tensor(np.ones((3, 4), np.float32))
REFUSED = {
    "text": (lambda: Tensor("3"), DTypeError, "must be numbers"),
    "texts": (lambda: Tensor(["1", "2"]), DTypeError, "must be numbers"),
    "text beside a tensor": (lambda: X + "3", DTypeError, "must be numbers"),
    "array of text": (lambda: X + np.array(["a"]), DTypeError, "dtype <U1"),
    "array of objects": (lambda: INT + np.array([1, 2, 3], object), DTypeError, "dtype object"),
    "complex array": (lambda: X * np.ones(6, complex), DTypeError, "dtype complex128"),
    "complex dtype": (lambda: Tensor([1.0], dtype=complex), DTypeError, "complex128: it must be floating"),
    "astype complex": (lambda: X.astype(complex), DTypeError, "astype: dtype is complex128"),
    "astype nonsense": (lambda: X.astype("abc"), DTypeError, "astype: dtype is 'abc'"),
    "integer out of range": (lambda: Tensor(np.ones(2, np.int8)) + 300, DTypeError, "300 does not fit into int8"),
    "huge integer": (lambda: INT + 2**64, DTypeError, "does not fit into int64"),
    "difference of bools": (lambda: Tensor(True) - Tensor(True), DTypeError, "both operands are bool"),
    "negative bool": (lambda: -Tensor(True), DTypeError, "both operands are bool"),
    "negative power of integers": (lambda: INT**-1, ArgumentError, "negative integer powers"),
    "copy_ of another shape": (lambda: Tensor(np.ones(2)).copy_(np.ones(3)), ShapeError, r"\(3,\) cannot be written into \(2,\)"),
    "setitem of another shape": (lambda: Tensor(np.ones(2)).__setitem__(0, [1, 2]), ShapeError, "cannot be written"),
    "setitem far out": (lambda: Tensor(np.ones(2)).__setitem__(2**63, 1), IndexingError, "index 9223372036854775808"),
    "setitem by text": (lambda: Tensor(np.ones(2)).__setitem__("a", 1), IndexingError, "index 'a'"),
    "setitem of a read-only array": (
        lambda: Tensor(np.broadcast_to(1.0, (2,))).__setitem__(0, 1), ShapeError, "read-only"),
    "setitem from meta": (lambda: Tensor(np.ones(2)).copy_(Tensor(np.ones(2), device="meta")), MinicnnError, "meta"),
    "getitem far out": (lambda: X[2**63], IndexingError, "index 9223372036854775808"),
    "slice of floats": (lambda: X[1.5:], IndexingError, "slice indices must be integers"),
    "slice without step": (lambda: X[::0], IndexingError, "step cannot be zero"),
    "ragged index": (lambda: X[[1, [2, 3]]], IndexingError, "is no array"),
    "reshape None": (lambda: X.reshape(None), ShapeError, "reshape: shape is None"),
    "transpose float": (lambda: X.transpose(1.5), ShapeError, "transpose: axes is 1.5"),
    "flatten float": (lambda: X.flatten(1.0), ShapeError, "start is 1.0"),
    "broadcast_to int": (lambda: ops.broadcast_to(X, 5), ShapeError, "broadcast_to: shape is 5"),
    "pad widths": (lambda: ops.pad(X, 1), ShapeError, "pad: widths is 1"),
    "pad value": (lambda: ops.pad(X, [1] * 4, "a"), ArgumentError, "value is 'a'"),
    "pad integers with NaN": (lambda: ops.pad(INT, [1], np.nan), ArgumentError, "whole number"),
    "pad too wide": (lambda: ops.pad(X, [(2**62, 0), 0, 0, 0]), OutOfMemory, "no memory for an array of"),
    "cat of a number": (lambda: ops.cat(5), ArgumentError, "must be a list of Tensors"),
    "argmax axis": (lambda: X.argmax(9), ShapeError, "argmax: axis is 9"),
    "argmax of nothing": (lambda: Tensor([]).argmax(), ShapeError, "nothing to choose from"),
    "conv2d stride": (lambda: ops.conv2d(X, W[:, :, :1, :1], stride=2**63), ArgumentError, "at most 2147483647"),
    "conv2d groups": (lambda: ops.conv2d(X, W, groups=[1]), ArgumentError, r"groups is \(1,\)"),
    "conv2d weight": (lambda: ops.conv2d(X, None), DTypeError, "NoneType"),
    "conv2d bias": (lambda: ops.conv2d(X, W, "a"), DTypeError, "str 'a'"),
    "conv_transpose2d groups": (lambda: ops.conv_transpose2d(X, W, groups=None), ArgumentError, "groups is None"),
    "conv_transpose2d bias": (
        lambda: ops.conv_transpose2d(X, Tensor(np.ones((4, 2, 3, 3))), np.ones(1)), ShapeError, r"bias has shape \(1,\)"),
    "max_pool2d ceil_mode": (lambda: ops.max_pool2d(X, "a", ceil_mode=[]), ArgumentError, "kernel_size is 'a'"),
    "max_pool2d window": (lambda: ops.max_pool2d(X, 2**20, padding=2**19), ArgumentError, "at most 2147483647 pixels"),
    "adaptive_avg_pool2d": (lambda: ops.adaptive_avg_pool2d(X, 2**30), OutOfMemory, "use a smaller batch"),
    "col2im": (lambda: ops.col2im(X, 5, 2), ShapeError, "input_shape is 5"),
    "batch_norm eps": (lambda: ops.batch_norm(X, eps=np.nan), ArgumentError, "eps is nan"),
    "batch_norm momentum": (lambda: ops.batch_norm(X, momentum=None), ArgumentError, "momentum is None"),
    "batch_norm scale": (lambda: ops.batch_norm(X, "a"), DTypeError, "str 'a'"),
    "local_response_norm beta": (lambda: ops.local_response_norm(X, 3, beta="a"), ArgumentError, "beta 'a'"),
    "dropout p": (lambda: ops.dropout(X, "a"), ArgumentError, "p is 'a'"),
    "dropout key": (lambda: ops.dropout(X, 0.5, key=3), ArgumentError, "key is 3"),
    "smoothing": (lambda: ops.cross_entropy(FLAT, [0, 1, 2], label_smoothing=None), ArgumentError, "label_smoothing is None"),
    "ignore_index": (lambda: ops.cross_entropy(FLAT, [0, 1, 2], ignore_index=0.5), ArgumentError, "ignore_index is 0.5"),
    "ragged labels": (lambda: ops.cross_entropy(FLAT, [0, [1]]), ShapeError, "labels are no array"),
    "margin": (lambda: ops.hinge_loss(FLAT, [0, 1, 2], margin=None), ArgumentError, "margin is None"),
    "grad of a number": (lambda: minicnn.grad(5, X), GradientError, "outputs holds int '5'"),
    "grad by text": (lambda: minicnn.grad(leaf(1.0), ["a"]), GradientError, "inputs holds str 'a'"),
    "pool limit": (lambda: pool.set_limit("a"), ArgumentError, "limit is 'a'"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_bad_input_is_refused(name, backend):
    call, error, message = REFUSED[name]
    with pytest.raises(error, match=message):
        call()


def test_arrays_serve_as_weights_and_statistics(backend):
    assert ops.conv2d(X, W.numpy(), np.ones(2, np.float32)).shape == (2, 2, 4, 4)
    mean, var = np.zeros(4, np.float32), np.ones(4, np.float32)
    ops.batch_norm(X, np.ones(4, np.float32), None, mean, var)
    np.testing.assert_allclose(mean, 0.1)


def test_flags_may_be_anything_that_is_true_or_false(backend):
    for flag in (np.True_, 1, "yes"):
        assert ops.conv2d(X, -W, relu=flag).numpy().max() == 0 and ops.linear(FLAT, -FLAT, relu=flag).numpy().max() == 0
        assert ops.batch_norm(X, relu=flag, training=flag).numpy().min() >= 0


def test_softmax_over_no_classes(backend):
    assert ops.softmax(Tensor(np.ones((2, 0)))).shape == (2, 0)


def test_products_of_views_that_no_memory_could_hold(backend):
    row = Tensor(np.broadcast_to(np.float32(1), (1, 2**61 - 1)))
    with pytest.raises(ShapeError, match="matmul: .* the limit is 2\\*\\*58"):
        row @ row.T
    with pytest.raises(OutOfMemory):
        ops.relu(Tensor(np.broadcast_to(np.float32(1), (1, 2**50))))


def test_what_is_missing_for_speed_is_said_once(monkeypatch, caplog):
    choose = backends._default_cpu.__wrapped__

    def refuse(name):
        if name == "c":
            raise BackendError("backend c: the C kernels are not built: install a C compiler")
        return get(name)

    get = backends.get
    monkeypatch.setattr(backends, "get", refuse)
    monkeypatch.delenv("MINICNN_BACKEND", raising=False)
    assert choose().name == "numpy"
    (record,) = caplog.records
    assert "install a C compiler" in record.message and "NumPy backend, which is several times slower" in record.message


def test_a_forced_instruction_set_that_cannot_be_had_is_an_error(monkeypatch):
    if "c" not in backends.available():
        pytest.skip("the C backend is not built")
    monkeypatch.delenv("MINICNN_BACKEND", raising=False)
    monkeypatch.setenv("MINICNN_ISA", "sse9")
    monkeypatch.setattr(backends, "get", lambda name: native.choose())
    with pytest.raises(BackendError, match="MINICNN_ISA is 'sse9': it must be one of generic"):
        backends._default_cpu.__wrapped__()


def test_kernels_without_openmp_say_so(monkeypatch, caplog):
    if "c" not in backends.available():
        pytest.skip("the C backend is not built")
    monkeypatch.delenv("MINICNN_BACKEND", raising=False)
    monkeypatch.setattr(native, "default_threads", lambda: 4)
    monkeypatch.setattr(c_backend, "build_info", lambda: {"openmp": 0})
    assert backends._default_cpu.__wrapped__().name == "c"
    (record,) = caplog.records
    assert "one thread" in record.message and "libomp" in record.message


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
@pytest.mark.filterwarnings("ignore:This process.*is multi-threaded:DeprecationWarning")
def test_a_forked_process_computes(backend):
    before = backends.get_num_threads()
    backends.set_num_threads(2)
    try:
        x, w = Tensor(np.ones((8, 16, 28, 28), np.float32)), Tensor(np.ones((16, 16, 3, 3), np.float32))
        ops.conv2d(x, w)  # on two threads, which a child does not get
        child = os.fork()
        if not child:
            signal.alarm(20)
            right = bool((ops.conv2d(x, w).numpy() == 144).all()) and backends.get_num_threads() == 1
            os._exit(0 if right else 1)
        assert os.waitpid(child, 0)[1] == 0
    finally:
        backends.set_num_threads(before)


# The pool


def test_memory_that_cannot_be_had_is_not_counted():
    before = pool.statistics()["used_bytes"]
    for shape in [(2**50,), (2**63,), (2**40, 2**40)]:
        with pytest.raises(OutOfMemory, match="no memory for an array of"):
            pool.empty(shape, np.float32)
    assert pool.statistics()["used_bytes"] == before


def test_free_blocks_go_back_before_memory_is_said_to_be_out(monkeypatch):
    pool.clear()
    del (array := [pool.empty((5000,), np.float32)])[0]
    assert pool.statistics()["free_bytes"] and not array
    real, calls = np.empty, []

    def once(*arguments):
        calls.append(pool.statistics()["free_bytes"])
        if len(calls) == 1:
            raise MemoryError
        return real(*arguments)

    monkeypatch.setattr(pool.np, "empty", once)
    pool.empty((9000,), np.float32)
    assert calls[0] > 0 and calls[1] == 0


# Layers


def test_a_container_does_not_spell_out_its_layers_for_nothing():
    net = layers.ReLU()
    for _ in range(300):  # a repr of each would recurse, and take quadratic time
        net = layers.Sequential(net)
    assert net(Tensor([1.0])).item() == 1.0


def test_layers_in_a_dict_are_refused():
    layer = layers.Layer()
    with pytest.raises(ArgumentError, match="blocks is a dict of layers"):
        layer.blocks = {"a": layers.ReLU()}
    with pytest.raises(ArgumentError, match="blocks is a list of layers"):
        layer.blocks = [layers.ReLU(), None]


def test_a_parameter_is_not_lost_by_assignment():
    layer = layers.Linear(2, 2)
    with pytest.raises(ArgumentError, match="weight is a parameter.*assign Parameter"):
        layer.weight = Tensor(np.ones((2, 2)))
    layer.weight = layers.Parameter(np.ones((2, 2), np.float32))
    layer.bias = None
    assert [name for name, _ in layer.named_parameters()] == ["weight"]


LINEAR, IMAGES = layers.Linear(2, 2), np.zeros((2, 3, 4, 4), np.uint8)
REFUSED_BY_LAYERS = {
    "eps": (lambda: layers.BatchNorm2d(2, eps=np.nan), ArgumentError, "eps is nan"),
    "momentum": (lambda: layers.BatchNorm2d(2, momentum="a"), ArgumentError, "momentum is 'a'"),
    "alpha": (lambda: layers.LocalResponseNorm(3, alpha=None), ArgumentError, "alpha is None"),
    "beta": (lambda: layers.LocalResponseNorm(3, beta="a"), ArgumentError, "beta is 'a'"),
    "k": (lambda: layers.LocalResponseNorm(3, k=np.nan), ArgumentError, "k is nan"),
    "coefficients": (lambda: layers.Add(3), ArgumentError, "coefficients is 3"),
    "scale": (lambda: layers.Residual(LINEAR, scale=None), ArgumentError, "scale is None"),
    "lr_mult": (lambda: layers.Parameter([1.0], lr_mult="a"), ArgumentError, "lr_mult is 'a'"),
    "size": (lambda: layers.Linear(2**30, 2**20), OutOfMemory, "no memory"),
    "inputs": (lambda: layers.Graph({"a": (LINEAR,)}, inputs=5), ArgumentError, "inputs is 5"),
    "no inputs": (lambda: layers.Graph({"a": (LINEAR,)}, inputs=()), ArgumentError, "inputs is empty"),
    "no outputs": (lambda: layers.Graph({"a": (LINEAR,)}, outputs=()), ArgumentError, "outputs is empty"),
    "node": (lambda: layers.Graph({"a": ()}), ArgumentError, "a is tuple"),
    "index": (lambda: layers.Sequential(LINEAR)[1.5], IndexingError, "index is 1.5"),
    "hook": (lambda: LINEAR.register_forward_hook(None), ArgumentError, "hook is None"),
    "buffer": (lambda: LINEAR.register_buffer(5, Tensor(1.0)), ArgumentError, "name is 5"),
    "state": (lambda: LINEAR.load_state_dict(None), ArgumentError, "state is NoneType"),
    "value": (lambda: LINEAR.load_state_dict({"weight": "a"}), CheckpointError, "weight: Tensor: data is str"),
    "dtype": (lambda: LINEAR.to(dtype=int), ArgumentError, "must be floating"),
    "gain": (lambda: layers.init.xavier_normal(LINEAR.weight, gain="a"), ArgumentError, "gain is 'a'"),
    "std": (lambda: layers.init.gaussian(LINEAR.weight, std=None), ArgumentError, "std is None"),
    "input_shape": (lambda: minicnn.summary(LINEAR, 5), ArgumentError, "input_shape is 5"),
    "random state": (lambda: random.set_state({}), ArgumentError, "state is {}"),
    "step of a key": (lambda: random.key("a", -1), ArgumentError, "step is -1"),
    "seed of a key": (lambda: random.key("a", seed=1.5), ArgumentError, "seed is 1.5"),
    "negative sample": (lambda: data.Draw(0, 0, [-1]), ArgumentError, "samples is"),
    "draw": (lambda: data.RandomCrop(2)(IMAGES, "a"), ArgumentError, "draw is a str"),
    "images of objects": (lambda: data.CenterCrop(2)(IMAGES.astype(object)), DTypeError, "dtype object"),
    "fill": (lambda: data.Cutout(2, "a"), ArgumentError, "fill is 'a'"),
    "ragged labels": (lambda: data.Dataset(IMAGES, [0, [1]], ("a", "b")), DataError, "labels is no array"),
    "ragged subset": (lambda: data.Dataset(IMAGES, [0, 1], ("a", "b")).subset([0, [1]]), DataError, "indices is no array"),
    "split": (lambda: data.split(None, 0.5), ArgumentError, "dataset is a NoneType"),
    "loader state": (
        lambda: data.Loader(data.Dataset(IMAGES, [0, 1], ("a", "b")), 1).load_state_dict(None),
        ArgumentError, "state is None"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED_BY_LAYERS)
def test_layers_and_data_refuse_bad_input(name):
    call, error, message = REFUSED_BY_LAYERS[name]
    with pytest.raises(error, match=message):
        call()
