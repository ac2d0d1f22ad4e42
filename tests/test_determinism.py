"""The same seed, instruction set and number of threads give the same bits, in another process too."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from minicnn import errors
from minicnn.backends import native

try:
    LEVELS = native.usable()
except errors.BackendError as error:
    pytest.skip(f"backend c: {error}", allow_module_level=True)

# Convolutions of many kinds, batch normalisation, both poolings, dropout, linear layers, the loss and an optimiser.
SCRIPT = """
import hashlib, sys
import numpy as np
import minicnn

def train(name, threads, seed):
    minicnn.set_num_threads(threads)
    minicnn.manual_seed(seed)
    model = minicnn.models.create(name)
    optimiser = minicnn.optim.SGD(model.parameters(), lr=0.01, momentum=0.9, weight_decay=1e-4)
    draw = np.random.default_rng(seed)
    for _ in range(3):
        images = minicnn.Tensor(draw.standard_normal((10, 3, 32, 32)).astype(np.float32))
        optimiser.zero_grad()
        minicnn.ops.cross_entropy(model(images), draw.integers(0, 10, 10)).backward()
        optimiser.step()
    return hashlib.sha256(b"".join(x.numpy().tobytes() for x in model.state_dict().values())).hexdigest()

for name in ("alexnet_cifar", "cifar_resnet20"):
    for threads, seed in ((1, 0), (2, 0), (3, 0), (2, 1)):
        print(name, threads, seed, train(name, threads, seed))
"""


@pytest.mark.parametrize("level", LEVELS)
def test_training_gives_the_same_bits_in_two_processes(level):
    runs = [
        subprocess.Popen(
            [sys.executable, "-c", SCRIPT],
            env={**os.environ, "MINICNN_ISA": level},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    (first, errors_of_first), (second, _) = (process.communicate(timeout=300) for process in runs)
    assert not errors_of_first and runs[0].returncode == 0
    assert first == second
    hashes = [line.split()[-1] for line in first.splitlines()]
    assert len(hashes) == 8
    assert hashes[1] != hashes[3] and hashes[5] != hashes[7], "another seed, other weights"
