"""`minicnn bench --device cuda` without a GPU: the stand-in for CuPy, tiny shapes; PyTorch's CPU build, where there is one, plays its
part. Times are not judged."""

from __future__ import annotations

import gc
import json
import os

import numpy as np
import pytest

from minicnn import backends, geometry
from minicnn.bench import cases, convs, device, gemm, kernels, limits, machine, profile, report, steps
from minicnn.bench import run as whole
from minicnn.cli import app

pytestmark = pytest.mark.usefixtures("cupy")

TINY = geometry.conv2d((2, 4, 6, 6), (8, 2, 3, 3), 2, 1, 1, 2)


@pytest.fixture(autouse=True)
def tiny(monkeypatch):
    monkeypatch.delenv("MINICNN_CUDA_CONV", raising=False)
    monkeypatch.setattr(machine, "torch", lambda: None)
    monkeypatch.setattr(cases, "rng", np.random.default_rng(0))
    for name, value in {"BYTES": 2**12, "ROUNDS": 2, "PAUSE": 0, "SIDE": 8, "BLOCKS": 1, "TIMES": 2}.items():
        monkeypatch.setattr(limits, name, value)
    for module in (cases, steps):
        monkeypatch.setattr(module, "TURN", 0)
        monkeypatch.setattr(module, "BUDGET", 0 if module is cases else {"cuda": {"train": 0, "infer": 0}})


@pytest.fixture
def on():
    return device.get("cuda")


@pytest.fixture
def torch(monkeypatch):
    """PyTorch as if the CPU was its GPU; which of its calls may use TF32 is noted."""
    torch = pytest.importorskip("torch")
    monkeypatch.setattr(machine, "torch", lambda: torch)
    monkeypatch.setattr(device.Cuda, "torch_device", "cpu")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", lambda: None)
    monkeypatch.setattr(torch.cuda, "max_memory_reserved", lambda: 3 * 2**20)
    before = torch.backends.cudnn.allow_tf32, torch.get_float32_matmul_precision()
    yield torch
    torch.backends.cudnn.allow_tf32 = before[0]
    torch.set_float32_matmul_precision(before[1])


def test_limits(on):
    found = limits.measure(on)
    assert list(found) == ["fma_f32", "sgemm", "copy"] and min(found.values()) > 0
    assert [line.split()[-1] for line in report.limit_lines(found)] == ["GFLOP/s", "GFLOP/s", "GB/s"]


def test_the_clock_waits_for_the_event(on, cupy):
    start, end = on.mark(), on.mark()
    with pytest.raises(RuntimeError, match="cudaErrorNotReady"):
        cupy.cuda.get_elapsed_time(start, end)
    assert 0 <= on.between(start, end) < 60


def test_each_way_of_a_convolution(on):
    for case, chosen, others in zip(
        convs.cases(TINY), ("tiles", "naive", "tiles"), ({"columns"}, {"columns", "tiles"}, {"columns"})
    ):
        (row,) = cases.measure(case, 1, ["highest"], on)
        assert row["way"] == chosen and set(row["times"]) == {"minicnn", *(f"minicnn {way}" for way in others)}
        assert all(error < 1e-6 for error in row["error"].values())
        first, ways = report.line(report.finish(row, {"fma_f32": 1.0, "copy": 1.0}), "cuda").split("\n")
        assert len(first) <= 80 and ways.startswith(f"  {chosen}, columns takes ") and "naive takes" not in ways
        assert len(report.head("convs", "cuda")) == 80 and row["ratio"] is None and row["share"] > 0


def test_a_way_that_computes_something_else_fails_the_row(on, monkeypatch):
    right = on.kernels.conv2d

    def wrong(*args):
        right(*args)
        if os.environ.get("MINICNN_CUDA_CONV") == "columns":
            args[-1].array[...] *= 1.001

    monkeypatch.setattr(on.kernels, "conv2d", wrong, raising=False)
    (row,) = cases.measure(next(convs.cases(TINY)), 1, ["highest"], on)
    assert "result of minicnn columns is off by 0.001" in row["failed"] and "times" not in row


def test_asking_for_the_naive_way(on, monkeypatch):
    monkeypatch.setenv("MINICNN_CUDA_CONV", "naive")
    (row,) = cases.measure(next(convs.cases(TINY)), 1, ["highest"], on)
    assert row["way"] == "naive" and set(row["times"]) == {"minicnn", "minicnn columns", "minicnn tiles"}
    assert os.environ["MINICNN_CUDA_CONV"] == "naive"


def test_other_kernels_run_too(on):
    for case in (*kernels.cases("log_softmax"), *kernels.cases("cross_entropy")):
        (row,) = cases.measure(case, 1, ["highest"], on)
        assert "failed" not in row and set(row["times"]) == {"minicnn"}, row


def test_pytorch_takes_part_at_both_precisions(on, torch):
    on = device.get("cuda")  # once more, with PyTorch there
    allowed = []

    def watched(call):
        def run(*args):
            allowed.append((torch.backends.cudnn.allow_tf32, torch.get_float32_matmul_precision()))
            return call(*args)

        return run

    case = next(convs.cases(TINY))
    case.theirs = watched(case.theirs)
    (row,) = cases.measure(case, 1, ["highest"], on)
    assert set(row["times"]) == {"minicnn", "minicnn columns", "torch", "torch channels_last", "torch tf32"}
    assert set(allowed) == {(False, "highest"), (True, "high")} and allowed[0] == (False, "highest")
    assert not torch.backends.cudnn.allow_tf32 and not torch.backends.cudnn.benchmark
    row["times"] |= {"minicnn": [2.0], "torch": [3.0], "torch channels_last": [4.0], "torch tf32": [1.0]}
    report.finish(row, {})
    assert row["ratio"] == 1.5 and row["best_torch"] == "torch" and row["ratio_tf32"] == 0.5
    assert report.geometric_means([row]) == {
        "convs y highest": pytest.approx(1.5), "convs y highest against TF32": pytest.approx(0.5)
    }  # fmt: skip
    (row,) = cases.measure(next(gemm.cases([(4, 5, 6)])), 1, ["highest"], on)
    assert set(row["times"]) == {"minicnn", "torch", "torch tf32"}
    assert list(limits.measure(on)) == ["fma_f32", "sgemm", "tf32", "copy"]


@pytest.mark.parametrize("with_torch", [False, True], ids=["alone", "with PyTorch"])
def test_steps(with_torch, request):
    if with_torch:
        request.getfixturevalue("torch")
    train, infer = steps.measure("lenet5", 1, ["highest"], 8, device.get("cuda"))
    torchs = {"torch", "torch channels_last", "torch tf32"} if with_torch else set()
    for row in (train, infer):
        assert "failed" not in row, row
        assert set(row["times"]) == {"minicnn", *torchs} and row["error"]["minicnn"] < 1e-5
        line = report.line(report.finish(row, {}), "cuda")
        assert len(line) <= 80 and "nan" not in line
    assert infer["memory"] == {} and train["memory"]["minicnn"] > 0
    assert len(report.head("steps", "cuda")) <= 80
    assert (train["ratio_tf32"] is not None) == with_torch


def test_memory_is_measured_without_the_other_layout(torch, monkeypatch):
    from minicnn.bench import twin

    there = []
    monkeypatch.setattr(
        device.Cuda, "peak", lambda *_: there.append(sum(type(x) is twin.Chain for x in gc.get_objects())) or 1.0
    )
    train, _ = steps.measure("lenet5", 1, ["highest"], 8, device.get("cuda"))
    assert there == [1, 1] and set(train["memory"]) == {"minicnn", "torch channels_last"}


def test_without_pytorch_few_images_are_checked_on_the_cpu(monkeypatch):
    seen = []
    right = steps.ours

    def watched(name, batch, *rest, **more):
        seen.append(batch)
        return right(name, batch, *rest, **more)

    monkeypatch.setattr(steps, "ours", watched)
    monkeypatch.setitem(steps.BATCH, "lenet5", 2)
    assert all("failed" not in row for row in steps.measure("lenet5", 1, ["highest"], 5, device.get("cuda")))
    assert seen == [5, 2, 2, 2, 2]


def test_steps_notice_a_wrong_gradient(monkeypatch):
    kernels = backends.get("cuda")
    right = kernels.tanh_grad

    def wrong(dy, y, out):
        right(dy, y, out)
        out *= 1.01

    monkeypatch.setattr(kernels, "tanh_grad", wrong, raising=False)
    rows = list(steps.measure("lenet5", 1, ["highest"], 8, device.get("cuda")))
    assert len(rows) == 2 and all("gradient is off by" in row["failed"] for row in rows)


def test_profile(on):
    found = profile.profile("lenet5", 2, 1, on=on)
    assert all(row.forward > 0 and row.backward > 0 for row in found.rows) and found.step > 0


def test_batches():
    asked = {"alexnet": 128, "resnet50": 128, "vgg_d": 64, "googlenet": 128, "cifar_resnet20": 512}
    assert {name: steps.batch_of(name, "cuda") for name in asked} == asked
    assert steps.batch_of("vgg_a", "cuda") > steps.batch_of("vgg_a")


def run(*arguments):
    with pytest.raises(SystemExit) as left:
        app([*map(str, arguments)])
    return left.value.code or 0


def test_networks_on_the_command_line(tmp_path, capsys):
    path = tmp_path / "a.json"
    assert run("bench", "lenet5", "--device", "cuda", "--batch", 4, "--rounds", 1, "--json", path) == 0
    text = capsys.readouterr().out
    assert "emulation" in text and "no PyTorch with CUDA: no ratios" in text and "lenet5 4 train" in text
    result = json.loads(path.read_text())
    here = result["machine"]
    assert (here["processor"], here["backend"], here["isa"]) == ("emulation", "cuda", "sm_90")
    assert here["torch"] is None and here["compiler"] == "CuPy 14.0.0 with CUDA 13.0"
    assert [row["batch"] for row in result["rows"]] == [4, 4] and max(map(len, text.splitlines())) <= 100


def test_one_shape_on_the_command_line(capsys):
    shape = ["--shape", "4x6x6", "--filters", 8, "--batch", 2, "--rounds", 1]
    assert run("bench", "conv2d", *shape, "--device", "cuda") == 0
    text = capsys.readouterr().out
    assert text.count("columns takes") == 3 and "conv2d_weight_grad 2x4x6x6 8 3x3" in text


def test_everything_on_a_gpu(monkeypatch, capsys):
    options = whole.select([], True, [], None, [], "cuda")
    assert options.parts == ("limits", "gemm", "convs", "steps") and "resnet50" in options.networks
    with pytest.raises(SystemExit):
        app(["bench", "--device", "cuda", "--only", "calls"])
    assert "on device cuda it must be one of limits, gemm, convs, steps" in capsys.readouterr().err


def test_the_roofline_knows_a_gpu(on):
    from minicnn.bench import plot

    (row,) = cases.measure(next(convs.cases(TINY)), 1, ["highest"], on)
    limit = {"fma_f32": 100.0, "tf32": 500.0, "copy": 10.0}
    figure = plot.roofline({"machine": on.facts(), "limits": limit, "rows": [report.finish(row, limit)]})
    assert any("TF32" in text.get_text() for text in figure.axes[0].texts)


def test_without_a_gpu_one_line_says_so(monkeypatch, capsys):
    def missing(name):
        raise backends.BackendError("backend cuda: no NVIDIA driver was found")

    monkeypatch.setattr(backends, "get", missing)
    for command in (["bench", "lenet5"], ["profile", "lenet5"]):
        assert run(*command, "--device", "cuda") == 1
        assert capsys.readouterr().err == "error: backend cuda: no NVIDIA driver was found\n"
    assert run("bench", "--device", "tpu") == 2 and "none of cpu, cuda" in capsys.readouterr().err
