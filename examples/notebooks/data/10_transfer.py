"""Transfer between two halves of CIFAR-10's classes, after Yosinski et al. 2014, arXiv:1411.1792: makes 10_transfer.json.

OMP_NUM_THREADS=1 python examples/notebooks/data/10_transfer.py --seeds 2

Every seed draws images, weights and orders of its own. The file grows after each split of each seed; what it has is not
run again, and one that holds runs with other settings is left as it is. Needs the whole CIFAR-10, for the tests.
"""

import argparse
import json
import sys
import time
from pathlib import Path

import numpy as np

import minicnn
from minicnn import data, models, optim
from minicnn.training import Trainer, environment, evaluate

FILE = Path(__file__).with_suffix(".json")
SPLITS = {
    "similar": (("airplane", "automobile", "cat", "deer", "frog"), ("bird", "dog", "horse", "ship", "truck")),
    "dissimilar": (("bird", "cat", "deer", "dog", "frog", "horse"), ("airplane", "automobile", "ship", "truck")),
}
NETWORK = {"widths": (16, 32, 48, 48, 48), "hidden": (96, 64), "dropout": 0.0, "batch_norm": True}
TREATMENTS = {  # B is the target; of each, the n
    "similar": {"AnB": (1, 3, 5, 7), "BnB": (1, 3, 5, 7), "AnB+": (3, 5, 7), "BnB+": (3, 5, 7)},
    "dissimilar": {"AnB": (1, 3, 5, 7), "BnB": (1, 3, 5, 7), "AnB+": (5,), "BnB+": (5,)},
}
SETTINGS = {"images": 1000, "epochs": 16, "batch": 100, "lr": 0.1, "momentum": 0.9, "weight_decay": 5e-4}


def task(dataset, classes):
    """The images of some classes, labelled 0, 1, ... in their order."""
    chosen = dataset.subset(np.flatnonzero(np.isin(dataset.labels, [dataset.classes.index(name) for name in classes])))
    labels = [classes.index(dataset.classes[label]) for label in chosen.labels]
    return data.Dataset(chosen.images, labels, classes)


def fresh(classes, seed):
    """A network that has learnt nothing yet."""
    minicnn.manual_seed(seed)
    return models.create("alexnet_cifar", num_classes=len(classes), **NETWORK)


def first(model, n):
    """Layers 1 to n with all that follows each: normalisation, ReLU, pool."""
    names = [name for name, _ in model.named_children()]
    return model[: names.index(f"{'conv' if n < 5 else 'fc'}{n + 1}")]


def train(model, images, seed):
    """Train what is not frozen. Returns the model."""
    augment = [data.RandomCrop(32, padding=2), data.RandomHorizontalFlip(), data.Normalize(*images.statistics())]
    batches = data.Loader(images, SETTINGS["batch"], data.Compose(augment), seed=seed)
    rates = {name: SETTINGS[name] for name in ("lr", "momentum", "weight_decay")}
    schedule = optim.OneCycle(SETTINGS["epochs"] * len(batches))
    trainer = Trainer(
        model, optim.SGD(model.parameters(), **rates), batches, schedule=schedule, say=lambda line: None, progress=False
    )
    trainer.fit(SETTINGS["epochs"])
    return model


def results(split, seed):
    """The test accuracy of both bases and of all networks that start with layers of one, as rows of the file."""
    whole, tests = (data.cifar10(train, say=lambda line: None) for train in (True, False))
    tasks = SPLITS[split]
    images = [data.split(task(whole, classes), SETTINGS["images"], seed)[1] for classes in tasks]
    bases = [train(fresh(classes, seed), chosen, seed) for classes, chosen in zip(tasks, images)]

    def row(model, target, treatment, n):
        normalize = data.Normalize(*images[target].statistics())
        batches = data.Loader(task(tests, tasks[target]), 500, normalize, shuffle=False)
        accuracy = evaluate(model, batches).accuracy
        print(f"seed {seed} {split} target {target} {treatment.replace('n', str(n))}: {accuracy:.2%}", flush=True)
        return [split, seed, target, treatment, n, round(accuracy, 4)]

    rows = []
    for target, classes in enumerate(tasks):
        rows.append(row(bases[target], target, "base", 0))
        for treatment, depths in TREATMENTS[split].items():
            source = bases[target if treatment.startswith("B") else 1 - target]
            for n in depths:
                model = fresh(classes, seed + 1000)  # with other weights than the base began with
                first(model, n).load_state_dict(first(source, n).state_dict())
                if not treatment.endswith("+"):
                    first(model, n).freeze()
                rows.append(row(train(model, images[target], seed + 1000), target, treatment, n))
    return rows


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=2)
    seeds = parser.parse_args().seeds
    minicnn.set_precision("medium")
    about = {
        "command": f"OMP_NUM_THREADS=1 python examples/notebooks/data/10_transfer.py --seeds {seeds}",
        "environment": environment(), "network": NETWORK, "settings": SETTINGS, "splits": SPLITS,
        "columns": ["split", "seed", "target", "treatment", "n", "accuracy"],
    }  # fmt: skip
    about = json.loads(json.dumps(about))  # tuples become lists, as in the file
    stored = json.loads(FILE.read_text()) if FILE.exists() else {**about, "seconds": [], "rows": []}
    other = [name for name in about if name != "command" and stored[name] != about[name]]
    if other:
        sys.exit(f"{FILE.name} has runs that differ in {' and '.join(other)}: delete it, then run all seeds again")
    wanted = [(split, seed) for seed in range(seeds) for split in SPLITS]
    for split, seed in wanted[len(stored["seconds"]) :]:
        start = time.process_time()
        stored["rows"] += results(split, seed)
        stored["seconds"].append(round(time.process_time() - start))
        FILE.write_text(json.dumps({**stored, **about}, indent=1).replace("\n   ", " ").replace("\n  ]", "]"))
