"""Plain data beside the arrays of a file, with a checksum over both: what lies in a safetensors file's metadata under KEY."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import numpy as np

KEY = "minicnn"
BEGINNING = '{"sha256":'
"""How what lies under that key begins."""


def seal(arrays: Mapping[str, np.ndarray], data: Mapping[str, Any]) -> str:
    """JSON-able data as text, with the checksum. The same content always gives the same text."""
    text = json.dumps(data, sort_keys=True, separators=(",", ":"))
    return json.dumps({"sha256": _digest(arrays, text), "data": text}, separators=(",", ":"))


def unseal(arrays: Mapping[str, np.ndarray], sealed: str) -> dict[str, Any]:
    """The data that were sealed with these arrays. Raises ValueError where the arrays or the text are others."""
    try:
        wrapped = json.loads(sealed)
        text = wrapped["data"]
        if wrapped["sha256"] == _digest(arrays, text) and isinstance(data := json.loads(text), dict):
            return data
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        pass
    raise ValueError("its contents do not match its checksum")


def _digest(arrays: Mapping[str, np.ndarray], text: str) -> str:
    """SHA-256 over the names, dtypes, shapes and bytes of the arrays, and the JSON text."""
    total = hashlib.sha256(text.encode())
    for name in sorted(arrays):
        array = arrays[name]
        total.update(f"\0{name}\0{array.dtype.str}\0{array.shape}\0".encode())
        total.update(array.reshape(-1).view(np.uint8).data)
    return total.hexdigest()
