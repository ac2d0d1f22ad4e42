"""Sequential, Concat, Residual and Graph; fusion gives what the layers give one by one."""

import copy
import sys
import threading

import numpy as np
import pytest

import minicnn
from minicnn import Tensor, ops
from minicnn.errors import ArgumentError, MinicnnError, ShapeError
from minicnn.layers import (
    Add,
    BatchNorm2d,
    Cat,
    Concat,
    Conv2d,
    Dropout,
    Flatten,
    GlobalAvgPool2d,
    Graph,
    Identity,
    Layer,
    Linear,
    MaxPool2d,
    Parameter,
    ReLU,
    Residual,
    Sequential,
    Tanh,
    trace,
    use_fusion,
)  # fmt: skip
from minicnn.layers.run import Fused


def images(*shape, seed=0):
    return Tensor(np.random.default_rng(seed).standard_normal(shape).astype(np.float32))


def conv_bn(channels, filters, *more):
    return Sequential(Conv2d(channels, filters, 3, padding=1, bias=False), BatchNorm2d(filters), *more)


def residual_net():
    """Every pattern that fuses, and some that look like one and must not."""
    relu = ReLU()
    return Sequential(
        {
            "stem": Sequential(Conv2d(3, 8, 3, padding=1), relu),
            "identity": Residual(Sequential(conv_bn(8, 8, ReLU()), conv_bn(8, 8)), after=relu),
            "projection": Residual(conv_bn(8, 6), conv_bn(8, 6), after=ReLU()),
            "no_relu": Residual(conv_bn(6, 6)),
            "scaled": Residual(conv_bn(6, 6), after=ReLU(), scale=0.3),
            "branches": Concat(Identity(), conv_bn(6, 2, ReLU()), conv_bn(6, 2)),
            "join_relu": ReLU(),
            "doubled": Graph({"bn": (BatchNorm2d(10), "input"), "sum": (Add(), "bn", "bn"), "relu": (ReLU(), "sum")}),
            "twice": Graph({"bn": (BatchNorm2d(10), "input"), "relu": (ReLU(), "bn"), "cat": (Cat(), "bn", "relu")}),
            "head": Sequential(GlobalAvgPool2d(), Flatten(), Linear(20, 7), ReLU(), Dropout(0.5), Linear(7, 4)),
        }
    )


def fused_steps(net):
    return [step[0] for step in net.__dict__["_plan"].steps if isinstance(step[0], Fused)]


# Fusion


@pytest.mark.parametrize("training", [True, False])
def test_fused_and_unfused_agree_forward_and_backward(backend, training):
    net = residual_net().train(training)
    twin = copy.deepcopy(net)
    results = []
    for model, flag in ((net, True), (twin, False)):
        minicnn.manual_seed(1)
        x = images(4, 3, 6, 6)
        x.requires_grad = True
        with use_fusion(flag):
            y = model(x)
            (y * y).sum().backward()
        results.append([y.numpy(), x.grad.numpy(), *(p.grad.numpy() for p in model.parameters())])
        results[-1] += [b.numpy() for b in model.buffers()]
    for fused, plain in zip(*results):
        np.testing.assert_allclose(fused, plain, rtol=1e-4, atol=1e-4 * max(1e-2, abs(plain).max()))
    assert len(results[0]) == len(results[1]) > 30
    assert fused_steps(net) and not fused_steps(twin)


def test_what_is_fused_and_what_is_not():
    net = residual_net()
    net(images(2, 3, 6, 6))
    found = [(type(step.layer).__name__, step.join is not None, step.relu) for step in fused_steps(net)]
    assert found == [
        ("Conv2d", False, True),  # stem
        ("BatchNorm2d", False, True), ("BatchNorm2d", True, True),  # identity
        ("BatchNorm2d", True, True),  # projection: the body's norm takes the sum
        ("BatchNorm2d", True, False),  # no_relu
        ("BatchNorm2d", False, True),  # in a branch
        ("Linear", False, True),  # head
    ]  # fmt: skip


def test_hooks_subclasses_and_anomaly_mode_turn_fusion_off():
    class Own(Conv2d):
        def forward(self, x):
            return super().forward(x) * 0

    net = Sequential(Own(3, 4, 1), ReLU(), Conv2d(4, 4, 1), ReLU())
    x = images(1, 3, 2, 2)
    net(x)
    assert [step.layer for step in fused_steps(net)] == [net[2]] and not net[:2](x).numpy().any()
    with net[3].register_forward_hook(lambda *_: None):
        net(x)
        assert not fused_steps(net)
    net(x)
    assert fused_steps(net)
    with minicnn.detect_anomaly():
        net(x)
        assert not fused_steps(net)


def test_use_fusion_is_a_switch_and_a_context():
    net, x = Sequential(Linear(3, 3), ReLU()), images(1, 3)
    use_fusion(False)
    try:
        net(x)
        assert not fused_steps(net)
        with use_fusion(True):
            net(x)
            assert fused_steps(net)
        net(x)
        assert not fused_steps(net)
    finally:
        use_fusion(True)


def test_a_change_of_structure_is_seen():
    net, x = Sequential(Linear(3, 3), ReLU()), Tensor(np.full((1, 3), -1, np.float32))
    assert (net(x).numpy() >= 0).all()
    net[1] = Tanh()
    assert (net(x).numpy() < 0).any() or (net[0](x).numpy() >= 0).all()
    np.testing.assert_allclose(net(x).numpy(), np.tanh(net[0](x).numpy()), rtol=1e-6)
    net.append(Linear(3, 2))
    assert net(x).shape == (1, 2)
    del net[-1]
    net[0].forward = lambda x: x
    np.testing.assert_allclose(net(x).numpy(), np.tanh(x.numpy()), rtol=1e-6)


def test_an_error_inside_a_fused_pair_names_the_right_layer():
    net = Sequential({"block": Residual(conv_bn(3, 4), after=ReLU())})
    for flag in (True, False):
        with (
            use_fusion(flag),
            pytest.raises(ShapeError, match=r"^block\.add \(Add\): the inputs have shapes \(2, 4, 5, 5\), \(2, 3"),
        ):
            net(images(2, 3, 5, 5))
        with use_fusion(flag), pytest.raises(ShapeError, match=r"^block\.body\.0 \(Conv2d\): "):
            net(images(2, 5, 5, 5))
    with pytest.raises(ShapeError, match=r"^0 \(Conv2d\): .*does not fit"):
        Sequential(Conv2d(3, 4, 3), ReLU())(images(1, 3, 2, 2))


def test_one_model_runs_in_several_threads():
    net, x, results = residual_net().eval(), images(2, 3, 6, 6), []
    expected = net(x).numpy()
    threads = [threading.Thread(target=lambda: results.append(net(x).numpy())) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 4 and all((y == expected).all() for y in results)


# Sequential


def test_sequential_by_number_name_and_slice():
    net = Sequential(("a", Linear(2, 3)), ReLU(), ("c", Linear(3, 4)))
    assert [name for name, _ in net.named_children()] == ["a", "1", "c"]
    assert (
        net[0] is net["a"] is net.a and net[-1] is net.c and len(net) == 3 and net.a in net and list(net)[1] is net[1]
    )
    part = net[1:]
    assert isinstance(part, Sequential) and part[1] is net.c and list(part._children) == ["1", "c"]
    assert list(Sequential([ReLU(), Tanh()])._children) == ["0", "1"]
    assert list(Sequential({"x": ReLU()})._children) == ["x"]
    x = images(1, 2)
    assert Sequential()(x) is x
    with pytest.raises(IndexError):
        net[3]
    with pytest.raises(ArgumentError, match="no layer is called 'd': there are a, 1, c"):
        net["d"]


@pytest.mark.parametrize(
    ("layers", "text"),
    [
        ((("a.b", ReLU()),), "may not contain a dot"),
        ((("forward", ReLU()),), "choose another name"),
        ((("training", ReLU()),), "choose another name"),
        ((("a", ReLU()), ("a", ReLU())), "two layers are called 'a'"),
        ((ReLU,), "write Conv2d\\(...\\) with parentheses"),
        ((None,), "must be a Layer"),
        ((("", ReLU()),), "not empty"),
    ],
)
def test_sequential_refuses_what_it_cannot_hold(layers, text):
    with pytest.raises(ArgumentError, match=text):
        Sequential(*layers)


def test_a_container_counts_its_inputs():
    with pytest.raises(MinicnnError, match=r"was called with 2 inputs: it takes 1"):
        Sequential(ReLU())(images(1), images(1))


def test_a_thousand_and_one_layers_run_forward_and_backward():
    layers = [layer for _ in range(500) for layer in (Linear(4, 4), ReLU())]
    net = Sequential(*layers, Linear(4, 4))
    x = Tensor(np.ones((2, 4), np.float32), requires_grad=True)
    net(x).sum().backward()
    assert len(net) == 1001 and x.grad.shape == (2, 4) and net[0].weight.grad is not None
    assert len(trace(net, (4,)).leaves) == 1001


# Concat, Residual, Graph


def test_concat_joins_branches_along_the_channels():
    x = images(2, 3, 4, 4)
    net = Concat(Identity(), ("b", Conv2d(3, 2, 1)))
    assert list(net._children) == ["0", "b", "cat"] and len(net) == 2 and net[1] is net.b
    np.testing.assert_array_equal(net(x).numpy(), np.concatenate([x.numpy(), net.b(x).numpy()], 1))
    assert net.append(Tanh())(x).shape == (2, 8, 4, 4) and net[2](x).shape == x.shape
    with pytest.raises(ShapeError, match=r"^1\.cat \(Cat\): cat: shapes"):
        Sequential(Identity(), Concat(Identity(), MaxPool2d(2)))(x)
    with pytest.raises(ArgumentError, match="there are no branches"):
        Concat()


def test_residual_is_body_plus_shortcut():
    x = images(2, 3, 4, 4)
    body, short = Conv2d(3, 5, 1), Conv2d(3, 5, 1)
    expected = 0.25 * body(x).numpy() + short(x).numpy()
    np.testing.assert_allclose(Residual(body, short, scale=0.25)(x).numpy(), expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(
        Residual(body, short, ReLU(), 0.25)(x).numpy(), np.maximum(expected, 0), rtol=1e-5, atol=1e-6
    )
    np.testing.assert_allclose(Residual(Identity())(x).numpy(), 2 * x.numpy())


def test_graph_runs_nodes_in_any_order_and_auxiliary_heads_in_training_only():
    calls = []

    class Spy(Identity):
        def forward(self, x):
            calls.append(1)
            return x

    net = Graph(
        {
            "out": (Add(), "a", "b"),
            "a": (Linear(3, 2), "input"),
            "b": (Tanh(), "a"),
            "aux": Sequential(Spy(), Linear(2, 1)),  # reads b, the node before it
        },
        outputs="out",
        training_outputs="aux",
    )
    x = images(2, 3)
    main, aux = net(x)
    np.testing.assert_allclose(aux.numpy(), net.aux(ops.tanh(net.a(x))).numpy())
    calls.clear()
    assert (net.eval()(x).numpy() == main.numpy()).all() and not calls, "in use nobody needs the auxiliary head"
    assert [r.path for r in trace(net, (3,)).leaves] == ["a", "b", "out", "aux.0", "aux.1"]
    pair = Graph({"sum": (Add(), "left", "right")}, inputs=("left", "right"))
    assert pair(x, x).shape == (2, 3)
    several = Graph({"a": ReLU(), "b": (Tanh(), "input")}, outputs=("a", "b"))
    assert len(several(x)) == 2
    assert (Sequential(Identity(), several)(x)[1].numpy() == ops.tanh(x).numpy()).all()


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: Graph({}), "nodes is empty"),
        (lambda: Graph({"a": (ReLU(), "b")}), "a reads 'b', which is no node"),
        (lambda: Graph({"a": (ReLU(), "b"), "b": (ReLU(), "a")}), "a, b read each other in a circle"),
        (lambda: Graph({"a": ReLU()}, outputs="c"), "'c' is no node and cannot be an output"),
        (lambda: Graph({"input": ReLU()}), "choose another name"),
    ],
)
def test_graph_refuses_what_cannot_run(make, text):
    with pytest.raises(ArgumentError, match=text):
        make()


# Tracing


class Own(Layer):
    """A layer with a hand-written forward: layers, an operation between them, and one at the end."""

    def __init__(self):
        self.first, self.second = Conv2d(3, 4, 3, padding=1), Conv2d(4, 3, 1)
        self.gain = Parameter(np.ones(1, np.float32))

    def forward(self, x):
        return x + self.second(ops.tanh(self.first(x))) * self.gain


def test_a_layer_of_ones_own_works_everywhere_and_is_traced():
    net = Sequential({"own": Own(), "relu": ReLU(), "fc": Sequential(Flatten(), Linear(48, 2))})
    net(images(2, 3, 4, 4)).sum().backward()
    records = trace(net, (3, 4, 4)).records
    assert [(r.path, r.depth, r.leaf) for r in records] == [
        ("", 0, False), ("own", 1, False), ("own.first", 2, True), ("own.second", 2, True), ("relu", 1, True),
        ("fc", 1, False), ("fc.0", 2, True), ("fc.1", 2, True),
    ]  # fmt: skip
    by_path = {r.path: r for r in records}
    assert by_path["own"].computes and not by_path["fc"].computes
    assert by_path["own.second"].sources == (by_path["own.first"].index,)
    assert by_path["relu"].sources == (by_path["own.second"].index,)
    assert by_path["own"].layer is net.own and by_path["own"].output == (3, 4, 4)
    assert not net.own._hooks and net.training and net.own.gain.device == "cpu"


def test_layers_many_levels_deep():
    def nested(levels, kind):
        model = Linear(2, 2)
        for _ in range(levels):
            model = kind(model)
        return model

    for kind, levels in ((Sequential, 150), (Residual, 150)):
        assert len(trace(nested(levels, kind), (2,)).leaves) == (1 if kind is Sequential else levels + 1)
    deep = nested(500, Sequential)
    deep(images(1, 2))
    with pytest.raises(ArgumentError, match="trace: Sequential contains itself, or more layers inside one another"):
        trace(deep, (2,))
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(10_000)  # the way out that the message names
    try:
        assert len(trace(deep, (2,)).records) == 501
    finally:
        sys.setrecursionlimit(before)


def test_a_trace_says_where_every_input_comes_from():
    net = Sequential(Conv2d(3, 4, 1), Residual(Conv2d(4, 4, 1)), Concat(Identity(), ReLU()))
    records = trace(net, (3, 5, 5)).records
    index = {r.path: r.index for r in records}
    sources = {r.path: tuple(r.sources) for r in records if r.leaf}
    assert sources["0"] == (-1,)
    assert sources["1.add"] == (index["1.body"], index["0"])
    assert sources["2.0"] == sources["2.1"] == (index["1.add"],)
    assert sources["2.cat"] == (index["2.0"], index["2.1"])
    with pytest.raises(ArgumentError, match=r"input_shape is \(3, 0, 5\)"):
        trace(net, (3, 0, 5))
    with pytest.raises(ShapeError, match=r"^0 \(Conv2d\)"):
        trace(net, (4, 5, 5))


def test_a_layer_called_twice_is_marked():
    relu = ReLU()
    assert [r.repeated for r in trace(Sequential(relu, Sequential(relu)), (2,)).leaves] == [False, True]
