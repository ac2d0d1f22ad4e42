"""Let a network come with the package: python -m minicnn.training.make_weights RUN

RUN is the folder that `minicnn train` left, after all its epochs on all of CIFAR-10. What it takes to compute, and how it was
made, goes to models/weights/NAME.safetensors; the optimiser's state does not.
"""

import shlex
import sys
from pathlib import Path
from typing import Any

from ..errors import CheckpointError, check
from ..io import write_archive
from ..models.pretrained import FOLDER
from .checkpoint import HEAD, read_checkpoint
from .job import Job


def command(config: dict[str, Any], environment: dict[str, Any]) -> str:
    """The `minicnn train` that made a checkpoint. Raises CheckpointError where no such command could have."""
    chosen = ("epochs", "batch_size", "lr", "seed")
    for name, value in Job().settings().items():
        check(
            name in (*chosen, "model", "sample_epochs") or config[name] == value,
            f"{name} is {config[name]}: the command must leave it at {value}",
            CheckpointError,
        )
    words = ["minicnn train --model", config["model"]]
    for name, value in config["network"]["options"].items():
        if name not in ("num_classes", "in_channels"):  # which the data decide
            words.append(f"--option {shlex.quote(f'{name}={value}')}")
    words += [f"--{name.replace('_', '-')} {config[name]}" for name in chosen]
    return " ".join([*words, *(f"--{name} {environment[name]}" for name in ("precision", "threads"))])


def make_weights(run: str | Path, folder: Path = FOLDER) -> Path:
    """Write the network of a finished run to `folder`. Returns the path. Raises CheckpointError."""
    arrays, data = read_checkpoint(run)
    config = data["config"]
    for what, found, needed in (
        ("trained epochs", data["epoch"], config["epochs"]), ("training images", config["images"], 50_000)
    ):  # fmt: skip
        check(found == needed, f"{run} has {found} {what}: it must have {needed}", CheckpointError)
    kept = {name: data[name] for name in ("config", "environment", "history")}
    path = folder / f"{config['network']['name']}.safetensors"
    write_archive(
        path,
        {name: array for name, array in arrays.items() if name.startswith("model/")},
        {**HEAD, **kept, "command": command(config, data["environment"])},
    )
    return path


if __name__ == "__main__":
    print(make_weights(sys.argv[1]))
