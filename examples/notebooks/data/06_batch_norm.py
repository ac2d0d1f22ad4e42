"""What lesson 6 plots of learning with and without batch norm: eight runs of one network on all of CIFAR-10.

OMP_NUM_THREADS=1 python examples/notebooks/data/06_batch_norm.py

Writes 06_batch_norm.json beside itself. The rates are those of Ioffe and Szegedy 2015, arXiv:1502.03167, section 4.2.1.
Seconds are processor time; the stored ones are wall clock, on a machine that had other work.
"""

import json
import time
from pathlib import Path

import numpy as np

import minicnn
from minicnn import Tensor, data, layers, ops, optim
from minicnn.training import environment, evaluate

SEED, STEPS, BATCH, EVERY, TESTED = 0, 3000, 64, 150, 2000
RUNS = [  # factor of the rate 0.0015, batch norm, activation
    (1, False, "ReLU"), (5, False, "ReLU"), (30, False, "ReLU"), (5, False, "Sigmoid"),
    (1, True, "ReLU"), (5, True, "ReLU"), (30, True, "ReLU"), (5, True, "Sigmoid"),
]  # fmt: skip


def network(batch_norm, activation="ReLU"):
    """Twelve 3x3 convolutions, each with an activation; the mean; ten classes.

    Three times halved in size and, from 16 filters, twice doubled in width.
    """
    parts, channels = [], 3
    for filters in (16, 32, 64):
        for stride in (2, 1, 1, 1):
            parts.append(layers.Conv2d(channels, filters, 3, stride, padding=1, bias=not batch_norm))
            parts += [layers.BatchNorm2d(filters)] if batch_norm else []
            parts.append(getattr(layers, activation)())
            channels = filters
    return layers.Sequential(parts, layers.GlobalAvgPool2d(), layers.Flatten(), layers.Linear(channels, 10))


def learn(train, test, normalize, factor, batch_norm, activation):
    """One run: every EVERY steps the mean loss of the steps since, and how many of the test images are right, in %."""
    minicnn.manual_seed(SEED)
    model = network(batch_norm, activation)
    optimizer = optim.SGD(model.parameters(), lr=0.0015 * factor, momentum=0.9)
    loader = data.Loader(train, BATCH, normalize, drop_last=True, seed=SEED)
    losses, run = [], {"factor": factor, "batch_norm": batch_norm, "activation": activation, "loss": [], "accuracy": []}
    start = time.process_time()
    while len(losses) < STEPS:
        for images, labels in loader:
            loss = ops.cross_entropy(model(Tensor(images)), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
            if len(losses) % EVERY == 0:
                accuracy = evaluate(model, data.Loader(test, 200, normalize, shuffle=False)).accuracy
                run["loss"].append(round(float(np.mean(losses[-EVERY:])), 4))
                run["accuracy"].append(round(100 * accuracy, 2))
            if len(losses) == STEPS:
                break
    return run | {"seconds": round(time.process_time() - start, 1)}


def main():
    train, test = data.cifar10(), data.cifar10(train=False).subset(np.arange(TESTED))
    normalize = data.Normalize(*train.statistics())
    about = {
        "command": "OMP_NUM_THREADS=1 python examples/notebooks/data/06_batch_norm.py",
        "dataset": f"{train.name}, tested on the first {TESTED} test images", "seed": SEED, "batch": BATCH,
        "steps": [*range(EVERY, STEPS + 1, EVERY)], "environment": environment(), "runs": [],
    }  # fmt: skip
    for settings in RUNS:
        about["runs"].append(learn(train, test, normalize, *settings))
        print(settings, about["runs"][-1]["accuracy"][-1], "%", flush=True)
        Path(__file__).with_suffix(".json").write_text(json.dumps(about, indent=1) + "\n")


if __name__ == "__main__":
    main()
