"""What the commands of `minicnn` are given: devices, shapes, networks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import typer

DEVICES = ("cpu", "cuda")


def one_of(choices: tuple[str, ...], chosen: str, option: str) -> str:
    """The value of an option, if it is one of the choices."""
    if chosen not in choices:
        raise typer.BadParameter(f"{chosen!r} is none of {', '.join(choices)}", param_hint=option)
    return chosen


def shape(input: str | None, option: str = "--input") -> tuple[int, int, int] | None:
    """The option as a shape."""
    if input is None:
        return None
    parts = input.lower().split("x")
    if len(parts) != 3 or not all(part.isdecimal() and int(part) > 0 for part in parts):
        raise typer.BadParameter(f"{input!r} is not of the form CxHxW, such as 3x224x224", param_hint=option)
    return int(parts[0]), int(parts[1]), int(parts[2])


def network(name: str, input: str | None, device: str = "meta") -> tuple[Any, tuple[int, int, int] | None]:
    """What a command is about: the name of a network or the network of a .prototxt file, on a device, and --input as a shape."""
    size = shape(input)
    if not name.endswith(".prototxt"):
        return name, size
    from .io import load_prototxt

    return load_prototxt(Path(name), input_shape=size, device=device), size
