"""Runs killed with kill -9 at random moments, and resumed, end with the same weights and the same history file."""

import os
import random
import subprocess
import sys
import time

import pytest

from minicnn.training import read_checkpoint

pytest.importorskip("safetensors")

SCRIPT = """
import sys
from minicnn.training import Job, run
from minicnn import data
import minicnn.training.job as job

def small(train=True):
    whole = data.cifar10_sample(train)
    return whole.subset(range(160 if train else 40))

job.cifar10_sample = small
run(Job(model="lenet5", sample_epochs=EPOCHS, batch_size=16, data="sample", out=sys.argv[1], checkpoint_every="1",
        resume="--resume" in sys.argv, threads=1, plots=False, validation=0.25, patience=99))
"""


def start(folder, epochs, *options):
    script = SCRIPT.replace("EPOCHS", str(epochs))
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, "-c", script, str(folder), *options],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment,
    )  # fmt: skip


def finish(folder, epochs, *options):
    process = start(folder, epochs, *options)
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 0, output
    return output


def compare(one, two):
    assert (one / "history.csv").read_bytes() == (two / "history.csv").read_bytes()
    (arrays, data), (others, other) = read_checkpoint(one), read_checkpoint(two)
    assert list(arrays) == list(others) and data == other
    assert all(arrays[name].tobytes() == others[name].tobytes() for name in arrays)
    assert (one / "checkpoint.safetensors").read_bytes() == (two / "checkpoint.safetensors").read_bytes()


def kill_and_resume(tmp_path, kills, epochs, seed):
    chance = random.Random(seed)
    finish(tmp_path / "idle", 1)
    began = time.monotonic()
    finish(tmp_path / "idle", 1, "--resume")
    idle = time.monotonic() - began  # what a process takes that has nothing to do
    began = time.monotonic()
    finish(tmp_path / "whole", epochs)
    work = time.monotonic() - began - idle
    steps = []
    for kill in range(kills):
        process = start(tmp_path / "killed", epochs, "--resume")
        # The first dies before it can have written anything, the others somewhere in their share of the work.
        time.sleep(0.05 if kill == 0 else 0.7 * idle + chance.random() * work / kills)
        process.kill()
        process.communicate()
        found = (tmp_path / "killed" / "checkpoint.safetensors").exists()
        steps.append(read_checkpoint(tmp_path / "killed")[1]["steps"] if found else 0)
    assert steps[0] == 0 and steps == sorted(steps)
    finish(tmp_path / "killed", epochs, "--resume")
    print("killed at steps", steps)
    compare(tmp_path / "whole", tmp_path / "killed")
    assert not list((tmp_path / "killed").glob(".*"))


def test_two_kills(tmp_path):
    kill_and_resume(tmp_path, 2, 15, seed=1)


@pytest.mark.slow
def test_ten_kills(tmp_path):
    kill_and_resume(tmp_path, 10, 80, seed=2)


def test_a_finished_run_resumes_to_itself(tmp_path):
    finish(tmp_path / "run", 1)
    before = {path.name: path.read_bytes() for path in (tmp_path / "run").iterdir()}
    assert "Test accuracy" in finish(tmp_path / "run", 1, "--resume")
    assert {path.name: path.read_bytes() for path in (tmp_path / "run").iterdir()} == before


@pytest.mark.parametrize("moment", ["checkpoint", "before the checkpoint takes its place", "history"])
def test_death_in_the_middle_of_writing(tmp_path, moment):
    """The process dies at the worst moments of a save: each os.replace in turn does not happen."""
    finish(tmp_path / "whole", 2)
    place = {"checkpoint": 7, "before the checkpoint takes its place": 8, "history": 19}[moment]
    dying = f"""
import os
real, count = os.replace, 0
def replace(*names):
    global count
    count += 1
    if count == {place}:
        os._exit(9)
    real(*names)
os.replace = replace
"""
    script = dying + SCRIPT.replace("EPOCHS", "2")
    process = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "killed")],
        capture_output=True, env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert process.returncode == 9, process.stderr
    finish(tmp_path / "killed", 2, "--resume")
    compare(tmp_path / "whole", tmp_path / "killed")
