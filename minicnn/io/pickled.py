"""Tensors by name from PyTorch's files (.pth, .pt), the zip format and the one before it, without running anything.

Both hold a pickle that describes tensors as views of numbered storages, and the storages as plain bytes. `minicnn.pickles`
reads the pickle; every size, offset and stride in it is checked against the bytes that are really there.
"""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from .. import pickles
from ..errors import CheckpointError
from ..pickles import Refused
from .archive import bfloat16

ZIP = b"PK\x03\x04"
_MAGIC, _PROTOCOL = 0x1950A86A20F9469CFC6C, 1001
LEGACY = b"\x80\x02\x8a\x0a" + _MAGIC.to_bytes(10, "little")
"""How the files begin."""

WRAPPERS = ("state_dict", "model_state_dict", "model", "network", "net", "module", "weights")
"""Where training scripts put the weights in a dictionary with other things."""


class Kind(NamedTuple):
    """What a storage's class says of its numbers."""

    dtype: str
    brain: bool = False
    """Whether they are bfloat16, the upper halves of float32, which NumPy does not have."""


class _Storage(NamedTuple):
    """Numbers of one kind; bytes come later."""

    kind: Kind
    key: str
    size: int
    """Of the whole storage, in numbers."""
    start: int
    """Where this one begins, where it is a part of the whole."""
    length: int


class _Tensor(NamedTuple):
    """A view of a storage, in numbers."""

    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    def of(self, numbers: np.ndarray) -> np.ndarray:
        """The view, once the whole storage's numbers are there."""
        part = numbers[self.storage.start : self.storage.start + self.storage.length]
        return np.lib.stride_tricks.as_strided(
            part[self.offset :], self.shape, [step * part.itemsize for step in self.strides], writeable=False
        )


class _Dictionary(dict):
    """An OrderedDict, whose attributes are of no interest."""

    def __init__(self, pairs: Any = ()) -> None:
        super().__init__()
        for key, item in pairs:
            if not isinstance(key, str):
                raise Refused(f"a key is a {type(key).__name__}")
            self[key] = item

    def __setstate__(self, state: Any) -> None:
        pass


def _count(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 2**48:
        raise Refused("a size, stride or offset is no whole number of at least 0")
    return value


def _tensor(storage: Any, offset: Any, shape: Any, strides: Any, *_: Any) -> _Tensor:
    if not isinstance(storage, _Storage) or not isinstance(shape, tuple) or not isinstance(strides, tuple):
        raise Refused("a tensor without a storage, a shape and strides")
    view = _Tensor(storage, _count(offset), tuple(map(_count, shape)), tuple(map(_count, strides)))
    if len(shape) != len(strides) or len(shape) > 32:
        raise Refused(f"a tensor with {len(shape)} sizes and {len(strides)} strides")
    last = view.offset + sum([(size - 1) * stride for size, stride in zip(view.shape, view.strides)])
    if 0 not in shape and last >= storage.length:
        raise Refused(f"a tensor reaches to number {last} of a storage of {storage.length}")
    if 0 in shape and view.offset > storage.length:
        raise Refused(f"a tensor begins at number {view.offset} of a storage of {storage.length}")
    return view


def _parameter(tensor: Any, *_: Any) -> _Tensor:
    if not isinstance(tensor, _Tensor):
        raise Refused("a parameter without a tensor")
    return tensor


_ADMITTED: dict[tuple[str, str], Any] = {
    ("collections", "OrderedDict"): _Dictionary,
    ("torch._utils", "_rebuild_tensor"): _tensor,
    ("torch._utils", "_rebuild_tensor_v2"): _tensor,
    ("torch._utils", "_rebuild_parameter"): _parameter,
    ("torch._utils", "_rebuild_parameter_with_state"): _parameter,
    ("torch", "FloatStorage"): Kind("f4"),
    ("torch", "DoubleStorage"): Kind("f8"),
    ("torch", "HalfStorage"): Kind("f2"),
    ("torch", "BFloat16Storage"): Kind("u2", brain=True),
    ("torch", "LongStorage"): Kind("i8"),
    ("torch", "IntStorage"): Kind("i4"),
    ("torch", "ShortStorage"): Kind("i2"),
    ("torch", "CharStorage"): Kind("i1"),
    ("torch", "ByteStorage"): Kind("u1"),
    ("torch", "BoolStorage"): Kind("?"),
}


class _Storages:
    """The storages that a pickle refers to, by their keys."""

    def __init__(self) -> None:
        self.known: dict[str, _Storage] = {}

    def __call__(self, reference: Any) -> _Storage:
        if not isinstance(reference, tuple) or len(reference) not in (5, 6) or reference[0] != "storage":
            raise Refused("it refers to something that is no storage")
        _, kind, key, _, size, *rest = reference
        part = rest[0] if rest else None
        if not isinstance(kind, Kind) or not isinstance(key, str):
            raise Refused("a storage without a kind and a key")
        whole = _Storage(kind, key, _count(size), 0, _count(size))
        if self.known.setdefault(key, whole) != whole:
            raise Refused(f"two storages are called {key[:80]}")
        if part is None:
            return whole
        if not isinstance(part, tuple) or len(part) != 3:
            raise Refused("a part of a storage without a place")
        start, length = _count(part[1]), _count(part[2])
        if start + length > whole.size:
            raise Refused(f"a part reaches to number {start + length} of a storage of {whole.size}")
        return whole._replace(start=start, length=length)


def _numbers(data: bytes, storage: _Storage, order: str) -> np.ndarray:
    numbers = np.frombuffer(data, np.dtype(order + storage.kind.dtype))
    if len(numbers) != storage.size:
        raise Refused(f"storage {storage.key[:80]} has {len(numbers)} numbers instead of {storage.size}")
    return bfloat16(numbers) if storage.kind.brain else numbers


def _zip(path: Path) -> tuple[Any, dict[str, np.ndarray]]:
    """The pickle's value and the storages' numbers, of the format since PyTorch 1.6."""
    left = path.stat().st_size
    with zipfile.ZipFile(path) as archive:
        pickled = [name for name in archive.namelist() if name.rpartition("/")[2] == "data.pkl"]
        if len(pickled) != 1:
            raise Refused(
                f"it is a zip file, but not one of PyTorch's: it must have one data.pkl, and has {len(pickled)}"
            )
        folder = pickled[0][: -len("data.pkl")]
        if folder + "constants.pkl" in archive.namelist():
            raise Refused("it is a TorchScript program: load it in PyTorch and save its state_dict()")

        def read(name: str) -> bytes:
            nonlocal left
            try:
                member = archive.getinfo(folder + name)
            except KeyError:
                raise Refused(f"{folder}{name} is missing from it") from None
            left -= member.file_size
            # PyTorch never compresses. What claims more than the file's size would fill the memory.
            if member.compress_type != zipfile.ZIP_STORED or member.file_size != member.compress_size or left < 0:
                raise Refused(f"{folder}{name} is compressed, or larger than the file")
            return archive.read(member)

        big = folder + "byteorder" in archive.namelist() and read("byteorder") == b"big"
        storages = _Storages()
        value = pickles.load(io.BytesIO(read("data.pkl")), _ADMITTED, storages)
        known = storages.known.values()
        return value, {s.key: _numbers(read("data/" + s.key), s, ">" if big else "<") for s in known}


def _legacy(path: Path) -> tuple[Any, dict[str, np.ndarray]]:
    """The same of the older format: four pickles, then the keys of the storages, then each one's size and bytes."""
    size = path.stat().st_size
    with path.open("rb") as file:
        if pickles.load(file, {}) != _MAGIC or pickles.load(file, {}) != _PROTOCOL:
            raise Refused("its first numbers are not PyTorch's")
        system = pickles.load(file, {})
        order = "<" if not isinstance(system, dict) or system.get("little_endian", True) else ">"
        storages = _Storages()
        value = pickles.load(file, _ADMITTED, storages)
        keys = pickles.load(file, {})
        if (
            not isinstance(keys, list)
            or not all(isinstance(key, str) for key in keys)
            or sorted(keys) != sorted(storages.known)
        ):
            raise Refused("the storages in it are not those that its tensors need")
        numbers = {}
        for key in map(str, keys):
            storage = storages.known[key]
            length = int.from_bytes(_exactly(file, 8, size), "little" if order == "<" else "big")
            if length != storage.size:
                raise Refused(f"storage {key[:80]} has {length} numbers instead of {storage.size}")
            data = _exactly(file, length * np.dtype(storage.kind.dtype).itemsize, size)
            numbers[key] = _numbers(data, storage, order)
        if file.read(1):
            raise Refused("something follows behind its end")
        return value, numbers


def _exactly(file: BinaryIO, count: int, size: int) -> bytes:
    if count > size - file.tell():
        raise Refused(f"it ends {count - (size - file.tell())} bytes too early")
    return file.read(count)


def _weights(value: Any) -> dict[str, _Tensor]:
    """The tensors by name: in the value itself, or in a dictionary within it."""

    def tensors(value: Any) -> dict[str, _Tensor]:
        entries = value.items() if isinstance(value, dict) else ()
        return {name: item for name, item in entries if isinstance(name, str) and isinstance(item, _Tensor)}

    candidates = [value.get(name) for name in WRAPPERS] if isinstance(value, dict) else []
    for candidate in (*candidates, value):
        if found := tensors(candidate):
            return found
    raise Refused("there is no dictionary of tensors in it: save model.state_dict()")


def read_pickled(path: str | Path) -> dict[str, np.ndarray]:
    """The tensors in a file of PyTorch's, by name, read-only; bfloat16 comes as float32.

    They may lie in a dictionary under a usual name such as "state_dict" or "model"; what else it holds is left out.
    Raises CheckpointError for a file that is missing, truncated or damaged, or asks for anything but tensors in plain
    containers; nothing of it has run then.
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            legacy = file.read(len(ZIP)) != ZIP
        value, numbers = (_legacy if legacy else _zip)(path)
        return {name: tensor.of(numbers[tensor.storage.key]) for name, tensor in _weights(value).items()}
    except FileNotFoundError:
        raise CheckpointError(f"{path}: there is no such file") from None
    except Exception as error:  # a damaged file can raise nearly anything
        reason = " ".join(str(error).split())[:300] or type(error).__name__
        raise CheckpointError(
            f"{path} was refused: {reason}: a file may hold only tensors in plain containers, and this one is damaged or "
            "something else: use a copy of it, or save model.state_dict() in PyTorch"
        ) from error
