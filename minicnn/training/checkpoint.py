"""Checkpoints: all that a run needs to go on bit for bit, as arrays and plain data in one file."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from .. import backends
from ..backends.native import default_threads
from ..errors import CheckpointError
from ..io.archive import read_archive, write_archive
from ..version import __version__

NAME = "checkpoint.safetensors"
PREVIOUS = "checkpoint.previous.safetensors"
OLD = "checkpoint.old.safetensors"
"""The last checkpoint of an earlier run into the same folder."""
FORMAT = 1
HEAD = {"kind": "checkpoint", "format": FORMAT}


def environment(device: str = "cpu") -> dict[str, Any]:
    """What, besides the numbers in a checkpoint, decides the bits of a result on this device."""
    if device == "cuda":
        return {
            "backend": "cuda", "device": backends.get("cuda").device_name(), "precision": backends.get_precision(),
            "NumPy": np.__version__, "minicnn": __version__,
        }  # fmt: skip
    name = backends.current()
    if name == "c":
        from ..backends import c

        built = c.build_info()
        instructions, threads, compiler = built["isa"], built["threads"], built["compiler"]
    else:  # the threads of NumPy's matrix products
        instructions, compiler, threads = "NumPy's own", "none", default_threads()
    return {
        "backend": name, "instruction set": instructions, "threads": threads, "precision": backends.get_precision(),
        "compiler": compiler, "NumPy": np.__version__, "minicnn": __version__,
    }  # fmt: skip


def json_like(data: Any) -> Any:
    """Plain data as they come back from JSON: tuples become lists."""
    return json.loads(json.dumps(data))


def differences(saved: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """`name was ..., is ...` for everything that differs."""
    names = dict.fromkeys([*saved, *now])
    return [
        f"{name} was {saved.get(name)!r}, is {now.get(name)!r}" for name in names if saved.get(name) != now.get(name)
    ]


def write_checkpoint(folder: Path, arrays: dict[str, np.ndarray], data: dict[str, Any]) -> Path:
    """Write the checkpoint of a folder; the one before it is kept under another name. Raises CheckpointError."""
    path = folder / NAME
    write_archive(path, arrays, {**HEAD, **data}, folder / PREVIOUS)
    return path


def read_checkpoint(path: str | Path) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """The arrays and data of one checkpoint file (or the newest in a folder). Raises CheckpointError."""
    if Path(path).is_dir():
        path = Path(path) / NAME
    arrays, data = read_archive(path)
    if data is None or data.get("kind") != "checkpoint":
        raise CheckpointError(f"{path} is not a minicnn checkpoint: give a file that training wrote, such as {NAME}")
    if data.get("format") != FORMAT:
        raise CheckpointError(
            f"{path} has format {data.get('format')}, this version reads {FORMAT}: use the minicnn that wrote it"
        )
    return arrays, data


def newest_checkpoint(folder: Path, say: Callable[[str], None]) -> tuple[dict[str, np.ndarray], dict[str, Any]] | None:
    """The newest checkpoint of a folder that can be read, or None where there is none yet.

    A damaged one is said aloud and its predecessor taken. Raises CheckpointError where all there are are damaged.
    """
    failures = []
    for path in (folder / NAME, folder / PREVIOUS):
        if not path.exists():
            continue
        try:
            found = read_checkpoint(path)
        except CheckpointError as error:
            failures.append(str(error))
            continue
        for failure in failures:
            say(f"{failure}; going on from the one before it, {path.name}")
        return found
    if failures:
        raise CheckpointError("; ".join(failures) + "; or start over without --resume")
    return None


def with_prefix(prefix: str, arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The arrays whose names start with `prefix`, without it."""
    return {name[len(prefix) :]: array for name, array in arrays.items() if name.startswith(prefix)}
