"""Reading the pickled ("python version") CIFAR files without running anything that they contain.

`minicnn.pickles` reads them; the names it is given here stand for functions of ours that make nothing but plain arrays.
"""

from __future__ import annotations

import io
import re
from typing import Any

import numpy as np

from .. import pickles
from ..errors import DataError
from ..pickles import Refused


class _DType:
    """What a pickled dtype becomes: the name of a number type and its byte order. NumPy would believe any state."""

    def __init__(self, spec: str, align: bool = False, copy: bool = False) -> None:
        if not isinstance(spec, str) or not re.fullmatch(r"[<>|=]?[biuf][1248]", spec):
            raise Refused(f"dtype {spec!r} is not a plain number")
        self.dtype = np.dtype(spec)

    def __setstate__(self, state: tuple) -> None:
        order, structure = state[1], state[2:5]
        if structure != (None, None, None):
            raise Refused("a dtype with fields")
        self.dtype = self.dtype.newbyteorder(order)


class _Array:
    """What a pickled array becomes until all of its state has arrived."""

    array: np.ndarray

    def __setstate__(self, state: tuple) -> None:
        _, shape, dtype, fortran, data = state
        content = data.encode("latin1") if isinstance(data, str) else data
        if not isinstance(dtype, _DType) or not isinstance(content, bytes) or not isinstance(shape, tuple):
            raise Refused("an array without plain content")
        self.array = np.frombuffer(content, dtype.dtype).reshape(shape, order="F" if fortran else "C")


def _reconstruct(kind: object, shape: object, code: object) -> _Array:
    return _Array()


def _latin1(text: str, encoding: str) -> bytes:
    if encoding not in ("latin1", "latin-1", "iso-8859-1"):
        raise Refused(f"encoding {encoding!r}")
    return text.encode("latin1")


_ADMITTED = {
    ("numpy.core.multiarray", "_reconstruct"): _reconstruct,
    ("numpy._core.multiarray", "_reconstruct"): _reconstruct,
    ("numpy", "ndarray"): _Array,
    ("numpy", "dtype"): _DType,
    ("_codecs", "encode"): _latin1,  # how old protocols spell bytes
}


def _plain(value: Any) -> Any:
    if isinstance(value, _Array):
        return value.array
    if isinstance(value, list) and not any(isinstance(item, (list, _Array)) for item in value):
        return [_plain(item) for item in value]  # flat: lists that hold each other would never end
    if value is None or isinstance(value, (bool, int, float, str, bytes)):
        return value
    raise Refused(f"it holds a {type(value).__name__}")


def load(data: bytes, name: str) -> dict[str, Any]:
    """The dictionary in a pickle: numbers, text, lists and arrays of numbers, and nothing else.

    name: what to call it in an error. Text of Python 2 is read as latin-1.
    Raises DataError for anything else, before any of it has run.
    """
    try:
        value = pickles.load(io.BytesIO(data), _ADMITTED)
        if not isinstance(value, dict):
            raise Refused(f"it holds a {type(value).__name__}, not a dictionary")
        return {_plain(key): _plain(item) for key, item in value.items()}
    except Exception as error:  # a damaged pickle can raise nearly anything
        raise DataError(
            f"{name} was refused: {error}: a pickle may hold only arrays of numbers, lists and text, and this one is "
            "damaged or not CIFAR's; download the dataset again, better the binary version"
        ) from error
