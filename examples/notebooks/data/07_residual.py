"""The curves of lesson 7: plain and residual nets of 20 and 56 layers on a part of CIFAR-10.

OMP_NUM_THREADS=1 python examples/notebooks/data/07_residual.py [NAME ...]

All four networks, unless some are named. It writes 07_residual.json beside this file, after each network, and needs the
full CIFAR-10 (`minicnn.data.cifar10` finds it). The recipe is that of section 4.2 in He et al. 2015, arXiv:1512.03385, but
for fewer pictures, of half the size, in batches of 64, for 8 epochs, without augmentation, and with a learning rate that
rises to 0.1 and falls (one cycle).
A file that holds runs with other settings is left as it is.
"""

import dataclasses
import json
import sys
import time
from pathlib import Path

import minicnn
from minicnn import data, layers, models, optim
from minicnn.training import Trainer, environment, evaluate

FILE = Path(__file__).with_suffix(".json")
NAMES = ["cifar_plain20", "cifar_plain56", "cifar_resnet20", "cifar_resnet56"]
SETTINGS = {
    "seed": 0, "train_pictures": 5_120, "test_pictures": 1_000, "side": 16, "epochs": 8, "batch_size": 64, "lr": 0.1,
    "momentum": 0.9, "weight_decay": 1e-4, "precision": "high",
}  # fmt: skip
SHRINK = {"stage2.block1": layers.PadShortcut(32, 2), "stage3.block1": layers.PadShortcut(64, 2)}
"""The shortcuts of the blocks that halve the map."""


def halved(dataset, count):
    """The first `count` pictures, each pixel the mean of 2x2."""
    part = dataset.subset(range(count))
    images = part.images.reshape(count, 3, 16, 2, 16, 2).mean((3, 5)).round().astype("uint8")
    return dataclasses.replace(part, images=images)


def percent_wrong(accuracies):
    """Errors in %, for accuracies from 0 to 1."""
    return [round(100 * (1 - accuracy), 2) for accuracy in accuracies]


def errors_without(model, batches):
    """The error in %, with each block in turn replaced by its shortcut; in plain nets by the one that it would have."""
    errors = {}
    for stage in ("stage1", "stage2", "stage3"):
        for name, block in list(model[stage].named_children()):
            model[stage][name] = SHRINK.get(f"{stage}.{name}", layers.Identity())
            (errors[f"{stage}.{name}"],) = percent_wrong([evaluate(model, batches).accuracy])
            model[stage][name] = block
    return errors


def train(name):
    """Train one network. Returns what is to be kept of it."""
    began = time.process_time()
    minicnn.manual_seed(SETTINGS["seed"])
    train = halved(data.cifar10(True), SETTINGS["train_pictures"])
    test = halved(data.cifar10(False), SETTINGS["test_pictures"])
    normalise = data.Normalize(*train.statistics())
    batches = data.Loader(train, SETTINGS["batch_size"], normalise, seed=SETTINGS["seed"])
    held_out = data.Loader(test, 500, normalise, shuffle=False)
    model = models.create(name)
    optimizer = optim.SGD(model.parameters(), SETTINGS["lr"], SETTINGS["momentum"], SETTINGS["weight_decay"])
    schedule = optim.OneCycle(SETTINGS["epochs"] * len(batches))
    history = Trainer(model, optimizer, batches, held_out, schedule=schedule).fit(SETTINGS["epochs"])
    return {
        "train_loss": [round(loss, 4) for loss in history.column("train_loss")],
        "train_error": percent_wrong(history.column("train_accuracy")),
        "test_error": percent_wrong(history.column("test_accuracy")),
        "test_error_without": errors_without(model, held_out),
        "cpu_seconds": round(time.process_time() - began),
        "environment": environment(),
    }


if __name__ == "__main__":
    minicnn.set_precision(SETTINGS["precision"])
    kept = {
        "command": "OMP_NUM_THREADS=1 python examples/notebooks/data/07_residual.py",
        "settings": SETTINGS,
        "runs": {},
    }
    if FILE.exists():
        kept = json.loads(FILE.read_text())
        if kept["settings"] != SETTINGS:
            sys.exit(f"{FILE.name} has runs with other settings: delete it, then run all networks again")
    for name in sys.argv[1:] or NAMES:
        print(name)
        kept["runs"][name] = train(name)
        FILE.write_text(json.dumps(kept, indent=1) + "\n")
