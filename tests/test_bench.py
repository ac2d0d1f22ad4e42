"""The benchmark on tiny shapes: rows, files, comparisons. Times are not judged. PyTorch is hidden."""

import copy
import itertools
import json
import math
import os

import numpy as np
import pytest

from minicnn import Tensor, errors, geometry, layers
from minicnn.bench import (
    alone,
    calls,
    cases,
    compare,
    convs,
    device,
    gemm,
    kernels,
    limits,
    machine,
    measure,
    plot,
    profile,
    report,
    steps,
)
from minicnn.bench import run as whole
from minicnn.cli import app

TINY = geometry.conv2d((2, 4, 6, 6), (8, 2, 3, 3), 2, 1, 1, 2)


@pytest.fixture(autouse=True)
def without_torch(monkeypatch):
    monkeypatch.setattr(machine, "torch", lambda: None)
    monkeypatch.setattr(limits, "BYTES", 2**16)
    monkeypatch.setattr(limits, "ROUNDS", 2)
    monkeypatch.setattr(cases, "TURN", 1e-4)
    monkeypatch.setattr(cases, "rng", np.random.default_rng(0))


@pytest.fixture(scope="module")
def rows():
    """A result of tiny shapes, with limits of round numbers."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(machine, "torch", lambda: None)
        patch.setattr(cases, "rng", np.random.default_rng(0))  # whichever tests ran before
        found = cases.measure(next(gemm.cases([(4, 5, 6)])), 2, ["highest"])
        for case in convs.cases(TINY):
            found += cases.measure(case, 2, ["highest"])
    limit = {"fma_f32": 100.0, "copy": 10.0}
    rows = [report.finish(row, limit) for row in found]
    return {"format": whole.FORMAT, "machine": machine.facts(), "limits": limit, "rows": rows, "geometric_means": {}}


def test_rows_without_pytorch_have_no_ratio(rows):
    assert [report.label(row) for row in rows["rows"]] == [
        "4x5 5x6", *[f"2x4x6x6 8 3x3/2 G2 {what}" for what in ("y", "dx", "dw")]
    ]  # fmt: skip
    for row in rows["rows"]:
        assert (
            row["ratio"] is None and row["best_torch"] is None and row["seconds"] > 0 and row["error"]["minicnn"] < 1e-6
        )
        assert math.isclose(row["share"] * row["seconds"], max(row["flops"] / 1e11, row["bytes"] / 1e10))
        assert len(report.line(row)) <= 80
    assert report.geometric_means(rows["rows"]) == {}


def test_ratio_to_the_better_of_pytorchs_layouts(rows):
    row = copy.deepcopy(rows["rows"][0])
    row["times"] = {"minicnn": [2.0, 1.0, 3.0], "torch": [9.0], "torch channels_last": [5.0], "numpy": [1.0]}
    report.finish(row, {})
    assert (
        row["seconds"] == 2
        and row["ratio"] == 2.5
        and row["best_torch"] == "torch channels_last"
        and row["share"] is None
    )
    assert report.geometric_means([row, {**row, "ratio": 10.0}]) == {"gemm highest": pytest.approx(5)}


def test_a_wrong_result_is_not_timed(monkeypatch):
    case = next(gemm.cases([(8, 8, 8)]))
    kernels = device.CPU.kernels
    right = kernels.matmul

    def wrong(a, b, out):
        right(a, b, out)
        out *= 1 + 1e-5

    monkeypatch.setattr(kernels, "matmul", wrong)
    (row,) = cases.measure(case, 1, ["highest"])
    assert "off by 1e-05" in row["failed"] and "times" not in row
    row = report.finish(row, {})
    assert "FAILED" in report.line(row) and report.geometric_means([row]) == {}


def test_files(rows, tmp_path):
    path = tmp_path / "a.json"
    whole.save(rows, path)
    assert whole.load(path) == json.loads(json.dumps(rows))
    for text in ("{}", json.dumps({"format": whole.FORMAT})):
        path.write_text(text)
        with pytest.raises(errors.ArgumentError, match="measure again"):
            whole.load(path)
    with pytest.raises(errors.ArgumentError, match="b.json cannot be read: No such file"):
        whole.load(tmp_path / "b.json")


def test_comparison_names_what_got_slower(rows):
    old, new = copy.deepcopy(rows), copy.deepcopy(rows)
    for row in old["rows"] + new["rows"]:
        row["times"]["minicnn"] = [1.0, 1.1, 1.2, 1.1, 1.0]
    new["rows"][1]["times"]["minicnn"] = [2.0, 2.1, 2.2, 2.0, 2.1]
    new["rows"][2]["times"]["minicnn"] = [0.5, 0.6, 0.5, 0.6, 0.5]
    new["rows"][3]["times"]["minicnn"] = [1.15, 1.1, 1.3, 1.2, 1.0]  # noise
    lines, slower = compare.compare(old, new)
    assert slower == ["convs 2x4x6x6 8 3x3/2 G2 y"]
    assert any("x1.91" in line for line in lines) and "faster: 1 of 4 rows:" in lines
    for result, times in ((old, [1.0]), (new, [2.0])):  # all that PyTorch did took twice as long too
        for row in result["rows"]:
            row["times"]["torch"] = times
    assert compare.compare(old, new)[1] == []
    new["machine"]["isa"] = "avx2048"
    assert "isa differs" in compare.compare(old, new)[0][0]


def test_comparison_names_what_fails_its_check_now(rows):
    new = copy.deepcopy(rows)
    del new["rows"][1]["times"]
    new["rows"][1]["failed"] = "off by 1"
    lines, slower = compare.compare(rows, new)
    assert slower == ["convs 2x4x6x6 8 3x3/2 G2 y"] and "fails its check now: 1 rows:" in lines
    assert compare.compare(new, new)[1] == []


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["lenet5", "--plot", "a.banana"], "must end in one of"),
        (["lenet5", "--plot", "a.png"], "nothing to plot"),
        (["lenet5", "--json", "."], "could not be written: it is a folder"),
        (["lenet5", "--json", os.devnull], "could not be written: it is a folder or a device"),
        (["conv2d", "--plot", "file/a.png"], "a part of that path is a file"),
        (["conv2d", "--kernel", "5"], "whose input is --shape"),
        (["conv2d", "--batch", "4"], "add a network, or --shape"),
        (["conv2d", "resnet18"], "conv2d is a kernel"),
        (["inception_v3_aux"], "has auxiliary classifiers, aux:"),
    ],
)
def test_what_cannot_be_is_refused_first(options, said, monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(whole, "run", lambda *_, **__: pytest.fail("it measured"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(SystemExit) as left:
        app(["bench", *options])
    assert left.value.code and said in " ".join(capsys.readouterr().err.split())
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_pytorchs_twins():
    torch = pytest.importorskip("torch")
    from minicnn.bench import twin

    x = np.random.default_rng(0).standard_normal((2, 3, 7, 8), np.float32)
    layer = layers.Sequential(layers.AdaptiveAvgPool2d((2, 3)))
    np.testing.assert_allclose(twin.build(layer)(torch.from_numpy(x)), layer(Tensor(x)).numpy(), rtol=1e-5, atol=1e-6)
    with pytest.raises(errors.ArgumentError, match="PyTorch has no ScaledTanh"):
        twin.build(layers.Sequential(layers.ScaledTanh()))


def test_a_convolution_that_pytorch_has_no_memory_for():
    torch = pytest.importorskip("torch")
    g = geometry.conv2d((2**20, 2**12, 8, 8), (2**12, 2**12, 3, 3))
    x, w, dy = (torch.empty(1).expand(shape) for shape in (g.input_shape, g.weight_shape, g.output_shape))
    for what in convs.DIRECTIONS:
        with pytest.raises(errors.OutOfMemory, match="1048576x4096x8x8 4096 3x3 is compared with"):
            convs._theirs(g, what, torch, x, w, dy)
    with pytest.raises(RuntimeError, match="channels"):
        convs._theirs(g, "y", torch, x[:, :7], w, dy)


def test_comparison_on_the_command_line(rows, tmp_path, capsys):
    slow = copy.deepcopy(rows)
    for row in slow["rows"]:
        row["times"]["minicnn"] = [9.0, 9.0]
    for name, result in (("old", rows), ("new", slow)):
        whole.save(result, tmp_path / name)
    with pytest.raises(SystemExit) as left:
        app(["bench", "--compare", str(tmp_path / "old"), str(tmp_path / "new")])
    assert left.value.code == 1 and "slower: 4 of 4 rows:" in capsys.readouterr().out


def test_roofline(rows):
    figure = plot.roofline(rows)
    assert any("100 GFLOP/s" in text.get_text() for text in figure.axes[0].texts)
    with pytest.raises(errors.ArgumentError, match="nothing to plot"):
        plot.roofline({**rows, "rows": []})


def test_the_rooflines_words_stand_apart(rows):
    times = {"seconds": 7e-3, "best_torch": "torch", "times": {"torch": [36e-3]}}
    row = {**rows["rows"][0], "flops": 36e6, "bytes": 1e6, **times}
    levels = [{**row, "precision": level} for level in ("highest", "high", "medium")]
    figure = plot.roofline({**rows, "limits": {"fma_f32": 120.0, "copy": 22.0}, "rows": levels})
    figure.canvas.draw()
    (axes,) = figure.axes
    boxes = [each.get_window_extent() for each in (axes.get_legend(), *axes.texts)]
    assert len(boxes) == 3 and not any(a.overlaps(b) for a, b in itertools.combinations(boxes, 2))


@pytest.mark.skipif("c" not in machine.backends.available(), reason="needs the C kernels")
def test_limits():
    found = limits.measure()
    assert {"fma_f32", "fma_f64", "copy", "read"} <= set(found) and min(found.values()) > 0


def test_steps(monkeypatch):
    monkeypatch.setattr(steps.alone, "measure", lambda *_: {"memory": 1.0, "faults": 0.0})
    monkeypatch.setattr(
        device.CPU, "take_turns", lambda calls, *_: {who: [call() or 1.0] for who, call in calls.items()}
    )
    found = list(steps.measure("lenet5", 1, ["highest"], batch=8))
    assert [row["what"] for row in found] == ["train", "infer"]
    assert found[1]["flops"] == 2 * 8 * 416_520 and found[0]["flops"] < 3 * found[1]["flops"]
    for row in found:
        assert len(report.line(report.finish(row, {}))) <= 80


def test_steps_notice_a_wrong_gradient(monkeypatch):
    right = steps.ours

    def wrong(name, batch, dtype=np.float32, *rest, **more):
        network = right(name, batch, dtype, *rest, **more)

        def gradients(*which):
            loss, found = network.gradients(*which)
            is_exact = dtype == np.float64 and machine.backends.current() == "numpy"
            return loss, found if is_exact else {path: values * 1.01 for path, values in found.items()}

        return network._replace(gradients=gradients)

    if "c" in machine.backends.available():
        monkeypatch.setattr(steps, "ours", wrong)
        rows = list(steps.measure("lenet5", 1, ["highest"], batch=8))
        assert len(rows) == 2 and all("gradient is off by 0.01" in row["failed"] for row in rows)


def test_memory_and_faults_of_this_process():
    assert math.isnan(alone.high_water()) or alone.high_water() > 1
    assert math.isnan(alone.faults()) or alone.faults() > 0


def test_a_process_that_ends_early_has_no_memory():
    found = alone.measure("no such network", "minicnn", 1, "train", "highest")
    assert found.keys() == {"memory", "faults"} and all(map(math.isnan, found.values()))


def test_calls():
    rows = list(calls.measure(1))
    assert all(row["times"]["minicnn"][0] > 0 for row in rows)
    names = {row["name"] for row in rows}
    assert names >= {"batch_norm + relu, training", "batch_norm + relu, in use", "cross_entropy"}


def test_kernels_have_cases_that_are_right():
    assert "conv2d" in kernels.names() and kernels.known("max_pool2d_g") and not kernels.known("resnet18")
    (case,) = kernels.at_shape(["conv2d_weight"], (4, 6, 6), 8, 3, 1, None, 1, 2, 1)
    assert case.name == "conv2d_weight_grad"
    cases.measure(case, 1, ["highest"])
    with pytest.raises(errors.ArgumentError, match="shape goes with conv2d"):
        kernels.at_shape(["relu"], (4, 6, 6), 8, 3, 1, None, 1, 1, 1)


def test_options_are_checked():
    with pytest.raises(errors.ArgumentError, match="only is 'speed'"):
        whole.select([], False, ["speed"], None, [])
    with pytest.raises(errors.ArgumentError, match="precision is 'low'"):
        whole.select([], False, [], None, ["low"])
    with pytest.raises(errors.ArgumentError, match="isa is 'mmx'"):
        machine.environment("mmx", None)
    assert whole.select(["vgg16"], False, [], 2, []).networks == ["vgg_d"]
    assert machine.environment("avx2", 1)["ONEDNN_MAX_CPU_ISA"] == "AVX2" and machine.holds({})


def test_profile():
    found = profile.profile("lenet5", 2, 1)
    assert [row.kind for row in found.rows][0].startswith("Conv2d") and all(row.backward > 0 for row in found.rows)
    text = [line for line, _ in profile.lines(found, top=2)]
    assert max(map(len, text)) <= 80 and any("other layers" in line for line in text)


def test_profile_of_a_network_with_an_auxiliary_classifier():
    nodes = {
        "conv": layers.Conv2d(1, 2, 3), "flat": layers.Flatten(), "fc": layers.Linear(8, 5), "aux": (layers.Linear(8, 5), "flat"),
    }  # fmt: skip
    model = layers.Graph(nodes, outputs="fc", training_outputs="aux")
    found = profile.profile(model, 2, 1, (1, 4, 4))
    assert {row.path for row in found.rows if row.backward} == set(nodes)


def test_the_error_of_a_sum_in_a_row():
    draw = np.random.default_rng(0)
    terms = draw.standard_normal((4096, 500))
    exact = np.cumsum(terms, 0)[-1]
    found = np.cumsum(terms.astype(np.float32), 0, np.float32)[-1]
    assert measure.relative_error(found, exact) == pytest.approx(measure.in_a_row(4096), rel=0.3)


def test_turns():
    times = measure.take_turns({"a": lambda: None, "b": lambda: None}, 3, 1e-5)
    assert {who: len(each) for who, each in times.items()} == {"a": 3, "b": 3}
    assert measure.relative_error(np.array([1.0, 2.2]), np.array([1.0, 2.0])) == pytest.approx(0.2 / 5**0.5)
