"""The command line and the examples, run as a user runs them."""

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from caffe_texts import conv, data, linear

import minicnn
from minicnn.cli import app

ROOT = Path(__file__).parent.parent
EXAMPLES = ROOT / "examples"


@pytest.fixture
def cli(capsys):
    """Call the command; gives (exit status, stdout, stderr)."""

    def call(*arguments):
        with pytest.raises(SystemExit) as left:
            app([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return left.value.code or 0, captured.out, captured.err

    return call


def command(line, **environment):
    """Run `minicnn` and a rest of a line in a shell; gives (exit status, stdout, stderr)."""
    line = f"{shlex.quote(sys.executable)} -c 'from minicnn.cli import app; app()' {line}"
    done = subprocess.run(line, shell=True, capture_output=True, env={**os.environ, **environment}, timeout=60)
    return done.returncode, done.stdout.decode(), done.stderr.decode()


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run of a few steps, through the command."""
    folder = tmp_path_factory.mktemp("cli") / "run"
    with pytest.raises(SystemExit) as left:
        app(["train", "--model", "lenet5", "--data", "sample", "--steps", "3", "--epochs", "1", "--out", str(folder)])
    assert not left.value.code
    return folder


def test_version_and_help(cli):
    assert cli("--version") == (0, f"minicnn {minicnn.__version__}\n", "")
    assert "..." not in cli("--help")[1].partition("Commands:")[2]  # no command's line is cut off
    for command in ("train", "summary", "predict", "info", "bench", "profile"):
        status, out, _ = cli(command, "--help")
        assert status == 0 and all(len(line) <= 80 for line in out.splitlines())


def test_info(cli):
    status, out, _ = cli("info")
    assert status == 0
    for word in ("backend c", "backend numpy", "backend cuda", "NumPy", "CuPy", "in use", "threads"):
        assert word in out
    first, *rest = out.splitlines()
    assert first.endswith(str(Path(minicnn.__file__).parent)) and all(len(line) <= 80 for line in rest)


def test_summary(cli):
    status, out, _ = cli("summary", "alexnet")
    assert status == 0 and "62,378,344" in out and all(len(line) <= 80 for line in out.splitlines())
    status, out, _ = cli("summary", "lenet5", "--format", "json")
    assert status == 0 and json.loads(out)
    for format in ("markdown", "latex", "html"):
        assert cli("summary", "lenet5", "--format", format)[0] == 0
    status, out, _ = cli("summary", "googlenet", "--depth", "1", "--no-formulas", "--width", "100")
    assert status == 0 and "Concat, " in out and "=" not in out.partition("parameters  ")[0]
    assert out == minicnn.summary("googlenet", depth=1).to_text(100, formulas=False) + "\n"
    status, out, err = cli("summary", "alexnet_cifar", "--input", "3x40x40")
    assert status == 1 and "the last size of x must be 1536" in err


def test_profile_of_a_caffe_network(cli, tmp_path):
    (tmp_path / "a.prototxt").write_text(data(1, 8, 8) + conv("conv1", "data", 4, 3) + linear("fc", "conv1", 5))
    status, out, err = cli("profile", tmp_path / "a.prototxt", "--batch", "2", "--rounds", "1")
    assert status == 0 and "a.prototxt: a training step of 2 images" in out and "conv1 " in out, err


@pytest.mark.parametrize(
    "arguments, status, words",
    [
        (["summary", "alexnett"], 1, "did you mean alexnet"),
        (["summary", "alexnet", "--input", "3x10"], 2, "CxHxW"),
        (["summary", "alexnet", "--format", "pdf"], 2, "none of text"),
        (["summary", "alexnet", "--input", "3x20x20"], 1, "window does not fit"),
        (["summary", "alexnet", "--depth", "0"], 2, "depth"),
        (["summary", "alexnet", "--width", "10"], 2, "width"),
        (["train", "--model", "alexnet", "--data", "sample"], 1, "made for 227x227 images"),
        (["train", "--data", "mine"], 1, "data is 'mine'"),
        (["train", "--data", "sample", "--lr", "-1"], 1, "lr is -1"),
        (["train", "--data", "sample", "--checkpoint-every", "often"], 1, "checkpoint_every is 'often'"),
        (["train", "--data", "sample", "--backend", "gpu"], 1, "'gpu'"),
        (["train", "--data", "sample", "--patience", "3"], 1, "--validation 0.1"),
        (["train", "--data-dir", "/nonexistent"], 1, "no such file or folder"),
        (["train", "--epochs", "0"], 2, "epochs"),
        (["predict", "/nonexistent", "x.png"], 1, "there is no such file"),
        (["profile", "lenet5", "--batch", "99999999999999"], 1, "there is no memory"),
        (["fly"], 2, "fly"),
    ],
)
def test_errors_are_one_line_and_a_status(cli, arguments, status, words, tmp_path):
    if arguments[0] == "train":
        arguments = [*arguments, "--out", tmp_path / "run"]
    code, out, err = cli(*arguments)
    assert code == status and words in err + out and "Traceback" not in err
    if status == 1:
        assert err.startswith("error: ") or "\nerror: " in err


@pytest.mark.skipif("cuda" in minicnn.backends.available(), reason="needs a machine without a GPU")
def test_a_missing_gpu_is_said_before_data_are_looked_for(cli):
    status, out, err = cli("train", "--device", "cuda", "--data-dir", "/nonexistent")
    assert status == 1 and err.startswith("error: backend cuda: ") and err.count("\n") == 1 and not out


@pytest.mark.skipif(os.name != "posix", reason="needs a shell")
def test_output_that_cannot_be_written(tmp_path):
    if Path("/dev/full").exists():
        for name in ("lenet5", "resnet152"):  # one fits into Python's buffer, the other does not
            status, _, err = command(f"summary {name} > /dev/full")
            assert status == 1 and err.startswith("error: [Errno 28]") and err.count("\n") == 1
    assert command("summary lenet5 >&-") == (0, "", "")
    assert command("summary resnet152 | head -n 1")[1:] == ("resnet152: input 3x224x224\n", "")
    path = shlex.quote(str(tmp_path / "\u00e9.svg"))
    status, out, err = command(f"draw lenet5 -o {path}", PYTHONUTF8="1", PYTHONIOENCODING="ascii")
    assert (status, err) == (0, "") and out.endswith("\\xe9.svg\n") and (tmp_path / "\u00e9.svg").exists()
    status, out, err = command(f"summary {shlex.quote(chr(233))}", PYTHONUTF8="1", PYTHONIOENCODING="ascii")
    assert (
        status == 1
        and err.startswith("error: models: there is no network called '\\xe9': ")
        and "compare --list" in err
    )


def test_training_leaves_its_results(trained):
    names = {path.name for path in trained.iterdir()}
    assert {"checkpoint.safetensors", "predictions.png", "confusion.png", "filters.png"} <= names


def test_predict(cli, trained, tmp_path):
    image = pytest.importorskip("PIL.Image")
    image.new("RGB", (300, 200), (90, 120, 200)).save(tmp_path / "sky.png")
    image.new("L", (10, 20)).save(tmp_path / "grey.png")
    for checkpoint in (trained, trained / "checkpoint.safetensors"):
        status, out, _ = cli("predict", checkpoint, tmp_path / "sky.png", tmp_path / "grey.png")
        lines = out.splitlines()
        assert status == 0 and len(lines) == 2 and all(line.count("%") == 3 for line in lines)
    (tmp_path / "bad.png").write_text("no picture")
    status, out, err = cli("predict", trained, tmp_path / "bad.png", tmp_path / "sky.png", "--top", 1)
    assert status == 1 and "bad.png cannot be read" in err and out.count("%") == 1


def run(script, *arguments):
    command = [sys.executable, "-W", "error", str(EXAMPLES / script), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=300)


@pytest.mark.skipif(not EXAMPLES.is_dir(), reason="outside a checkout there are no examples")
def test_examples(tmp_path):
    done = run("train_by_hand.py", "--steps", 2)
    assert done.returncode == 0 and "test accuracy" in done.stdout, done.stderr
    done = run(
        "train_alexnet_cifar.py",
        "--data",
        "sample",
        "--steps",
        2,
        "--out",
        tmp_path / "run",
        "--no-plots",
        "--batch-size",
        16,
    )
    assert done.returncode == 0, done.stderr
    assert "Test accuracy" in done.stdout and "minicnn predict" in done.stdout
    done = run("train_alexnet_cifar.py", "--data", "sample", "--resume", "--out", tmp_path / "run")
    assert done.returncode == 1 and "batch_size was 16, is 128" in done.stderr and "Traceback" not in done.stderr


def test_options_of_a_network(cli, tmp_path):
    few = ["train", "--data", "sample", "--steps", 0, "--no-plots", "--precision", "medium", "--out", tmp_path]
    status, out, err = cli(
        *few, "--option", "batch_norm=True", "--option", "widths=(4, 4, 4, 4, 4)", "--option", "pool=x"
    )
    assert status == 1 and "alexnet_cifar" in err and "pool" in err
    status, out, err = cli(*few, "--option", "batch_norm=True", "--option", "hidden=(8, 8)")
    assert status == 0 and "alexnet_cifar: 376,410 parameters" in out, err
    assert minicnn.get_precision() == "highest"
    status, out, err = cli(*few, "--option", "batch_norm")
    assert status == 2 and "'batch_norm' is not of the form NAME=VALUE" in err
    for option in ("name=alexnet", "device=meta", "num_classes=5", "dropout={[]: 1}"):
        status, out, err = cli(*few, "--option", option)
        assert status == 1 and (option.split("=")[0] in err.lower()) and "Traceback" not in err


def test_importing_the_command_imports_nothing_heavy():
    code = "import sys, minicnn.cli; print([m for m in ('matplotlib', 'PIL', 'tqdm', 'pooch', 'cupy', 'safetensors') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stdout + done.stderr
