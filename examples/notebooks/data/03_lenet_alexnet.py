"""The runs behind lesson 3: a small AlexNet on photographs of CIFAR-10, with one thing changed at a time.

OMP_NUM_THREADS=1 python examples/notebooks/data/03_lenet_alexnet.py

Needs the whole of CIFAR-10 (see minicnn/data/cifar.py). Writes 03_lenet_alexnet.json beside itself, anew after each run.
"""

import dataclasses
import json
import time
from pathlib import Path

import numpy as np

import minicnn
from minicnn import data, layers, optim
from minicnn.layers import init
from minicnn.training import Trainer, environment

FILE = Path(__file__).with_suffix(".json")
BATCH, TESTS, PRECISION = 128, 2_500, "medium"
MANY, FEW = {"seeds": (0, 1), "images": 10_000, "epochs": 8}, {"seeds": (0,), "images": 2_000, "epochs": 30}
ALPHA = 1e-4 * 62**2
"""The paper's alpha is for pixels of 0 .. 255. Here they are divided by their standard deviation, 62 (green) to 67 (blue)."""

RUNS = {
    "ReLU": MANY,
    "tanh": {**MANY, "activation": layers.Tanh, "lr": 0.05},
    "sigmoid": {**MANY, "activation": layers.Sigmoid, "lr": 0.2},
    "LRN": {**MANY, "lrn": ALPHA},
    "two groups": {**MANY, "groups": 2},
    "neither": FEW,
    "dropout": {**FEW, "dropout": 0.5},
    "weight decay": {**FEW, "weight_decay": 5e-3},
    "both": {**FEW, "dropout": 0.5, "weight_decay": 5e-3},
}
"""By name: what differs from ReLU and nothing else. lr: chosen by hand in runs of three epochs, which are not stored;
sigmoid learned at none of the rates tried. The other runs have ReLU's."""


def small_alexnet(activation=layers.ReLU, lrn=None, groups=1, dropout=0.0):
    """AlexNet's plan for 32x32 images. lrn: alpha of the normalisation behind convolutions 1 and 2; None leaves it out."""

    def conv(number, channels, filters, window, groups=1):
        convolution = layers.Conv2d(channels, filters, window, padding="same", groups=groups)
        return {f"conv{number}": convolution, f"act{number}": activation()}

    def norm(number):
        if lrn is None:
            return {}
        return {f"norm{number}": layers.LocalResponseNorm(5, lrn, 0.75, 2.0, alpha_over_size=False)}

    network = layers.Sequential({
        **conv(1, 3, 16, 5), **norm(1), "pool1": layers.MaxPool2d(3, 2, padding=1),  # 16x16x16
        **conv(2, 16, 32, 5, groups), **norm(2), "pool2": layers.MaxPool2d(3, 2, padding=1),  # 32x8x8
        **conv(3, 32, 48, 3),
        **conv(4, 48, 48, 3, groups),
        **conv(5, 48, 32, 3, groups), "pool5": layers.MaxPool2d(3, 2, padding=1),  # 32x4x4
        "flatten": layers.Flatten(),
        "fc6": layers.Linear(32 * 4 * 4, 128), "act6": activation(), "drop6": layers.Dropout(dropout),
        "fc7": layers.Linear(128, 128), "act7": activation(), "drop7": layers.Dropout(dropout),
        "fc8": layers.Linear(128, 10),
    })  # fmt: skip
    if activation is not layers.ReLU:
        init.fill(network, init.xavier_uniform)
    init.gaussian(network["fc8"].weight, 0.01)  # as AlexNet's
    return network


def first(dataset, count):
    return dataclasses.replace(dataset, images=dataset.images[:count], labels=dataset.labels[:count])


def train(images, tests, seed, epochs, lr=0.02, weight_decay=0.0, **options):
    """One run. Returns what is stored of it."""
    minicnn.manual_seed(seed)
    network = small_alexnet(**options)
    normalize = data.Normalize(*images.statistics())
    batches = data.Loader(images, BATCH, normalize, seed=seed)
    optimizer = optim.SGD(network.parameters(), lr, momentum=0.9, weight_decay=weight_decay)
    schedule = optim.OneCycle(epochs * len(batches))
    test_batches = data.Loader(tests, 500, normalize, shuffle=False)
    start = time.process_time()
    history = Trainer(network, optimizer, batches, test_batches, schedule=schedule, progress=False).fit(epochs)
    seconds = time.process_time() - start
    weights = [p.numpy() for p in network.parameters() if p.ndim > 1]
    columns = ("train_loss", "train_accuracy", "test_loss", "test_accuracy")
    return {
        "seed": seed,
        **{name: [round(value, 4) for value in history.column(name)] for name in columns},
        "weight_norm": round(float(np.sqrt(sum((w**2).sum() for w in weights))), 2),
        "seconds": round(seconds, 1),
    }


def main():
    images, tests = data.cifar10(), first(data.cifar10(train=False), TESTS)
    minicnn.set_precision(PRECISION)
    found = {
        "command": "OMP_NUM_THREADS=1 python examples/notebooks/data/03_lenet_alexnet.py",
        "environment": environment("cpu"),
        "tests": TESTS,
        "runs": {name: [] for name in RUNS},
    }
    for name, options in RUNS.items():
        seeds, count, options = options["seeds"], options["images"], dict(options)
        del options["seeds"], options["images"]
        for seed in seeds:
            print(f"{name}, seed {seed}", flush=True)
            found["runs"][name].append(train(first(images, count), tests, seed, **options))
            FILE.write_text(json.dumps(found) + "\n")


if __name__ == "__main__":
    main()
