"""Arrays and plain data in one file: the safetensors format, with a checksum over everything.

The JSON header names each array's dtype, shape and place; our own data, as JSON, lie in its metadata under "minicnn".
Nothing in such a file is ever executed. Any program that reads safetensors reads the arrays.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from ..errors import CheckpointError, MinicnnError
from ..seal import BEGINNING, KEY, seal, unseal
from .files import replacing


def _safetensors() -> ModuleType:
    try:
        import safetensors.numpy
    except ImportError:
        raise MinicnnError(
            'weights and checkpoints need safetensors, which is not installed: pip install -e ".[train]"'
        ) from None
    return safetensors


def bfloat16(halves: np.ndarray) -> np.ndarray:
    """float32 numbers from bfloat16 ones, their upper halves, which come as unsigned integers."""
    return (halves.astype(np.uint32) << 16).view(np.float32)


def write_archive(
    path: str | Path, arrays: Mapping[str, Any], data: Mapping[str, Any], previous: str | Path | None = None
) -> None:
    """Write arrays by name, and JSON-able data, to `path`, whole or not at all.

    previous: where the file that was there goes. The same content always gives the same bytes.
    Raises CheckpointError where it cannot be written; then the older file is untouched.
    """
    plain = {name: np.asarray(array, order="C") for name, array in arrays.items()}
    sealed = seal(plain, data)
    library = _safetensors()
    with replacing(path, previous) as part:
        part.touch()
        mode = part.stat().st_mode  # what any new file has here; the library makes its files private
        try:
            library.numpy.save_file(plain, part, {KEY: sealed})
            part.chmod(mode)
        except library.SafetensorError as error:
            raise OSError(str(error)) from error


def ordinary(path: str | Path) -> None:
    """Raises CheckpointError for a folder, a device or a pipe, whose reading might never end."""
    if os.path.exists(path) and not os.path.isfile(path):
        raise CheckpointError(f"{path} is no ordinary file: give the path of a file of weights")


def _array(file: Any, path: str | Path, name: str) -> np.ndarray:
    """One array of an opened file. bfloat16, which NumPy does not have, comes as float32."""
    if file.get_slice(name).get_dtype() != "BF16":
        return file.get_tensor(name)
    with open(path, "rb") as raw:  # the library has checked the header
        length = int.from_bytes(raw.read(8), "little")
        entry = json.loads(raw.read(length))[name]
        start, end = entry["data_offsets"]
        raw.seek(8 + length + start)
        return bfloat16(np.frombuffer(raw.read(end - start), "<u2")).reshape(entry["shape"])


def read_archive(path: str | Path) -> tuple[dict[str, np.ndarray], dict[str, Any] | None]:
    """The arrays and the data of a file; None for the data of a safetensors file that minicnn did not write.

    bfloat16 arrays come as float32.

    Raises CheckpointError where there is no such file, or it is truncated, damaged or something else.
    """
    library = _safetensors()
    ordinary(path)
    try:
        with library.safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
            sealed = metadata.get(KEY)
            arrays = {name: _array(file, path, name) for name in file.keys()}
    except FileNotFoundError:
        raise CheckpointError(f"{path}: there is no such file") from None
    except (OSError, ValueError, TypeError, AttributeError, library.SafetensorError) as error:
        raise CheckpointError(
            f"{path} cannot be read: it is truncated, damaged or not a safetensors file ({error}): use a copy"
        ) from error
    if sealed is None and not any(value.startswith(BEGINNING) for value in metadata.values()):
        return arrays, None
    try:
        return arrays, unseal(arrays, sealed or "")  # ours without the key: the key itself was hit
    except ValueError as error:
        raise CheckpointError(f"{path} is damaged: {error}: use a copy of it") from error
