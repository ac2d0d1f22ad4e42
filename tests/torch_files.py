"""PyTorch's two file formats, written by hand: what a test needs, no PyTorch."""

from __future__ import annotations

import struct
import zipfile
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

KINDS = {
    "float32": "FloatStorage", "float64": "DoubleStorage", "float16": "HalfStorage", "int64": "LongStorage",
    "uint16": "BFloat16Storage", "uint8": "ByteStorage", "bool": "BoolStorage",
}  # fmt: skip
MAGIC = 0x1950A86A20F9469CFC6C


class Global(NamedTuple):
    """A name that the pickle asks for."""

    module: str
    name: str


class Call(NamedTuple):
    """A call that the pickle asks for."""

    function: Global
    arguments: tuple


class Reference(NamedTuple):
    """Something that lies outside of the pickle."""

    identity: tuple


class View(NamedTuple):
    """A tensor: a view of an array's numbers, in numbers."""

    array: np.ndarray
    offset: int
    shape: tuple
    strides: tuple


def encode(value: Any) -> bytes:
    """The instructions of protocol 2 that make the value."""
    if isinstance(value, Global):
        return f"c{value.module}\n{value.name}\n".encode()
    if isinstance(value, Call):
        return encode(value.function) + encode(value.arguments) + b"R"
    if isinstance(value, Reference):
        return encode(value.identity) + b"Q"
    if value is None or isinstance(value, bool):
        return {None: b"N", True: b"\x88", False: b"\x89"}[value]
    if isinstance(value, int):
        data = value.to_bytes((value.bit_length() // 8) + 1, "little", signed=True)
        return b"\x8a" + bytes([len(data)]) + data
    if isinstance(value, float):
        return b"G" + struct.pack(">d", value)
    if isinstance(value, str):
        data = value.encode()
        return b"X" + struct.pack("<I", len(data)) + data
    if isinstance(value, tuple):
        return b"(" + b"".join(map(encode, value)) + b"t"
    if isinstance(value, list):
        return b"](" + b"".join(map(encode, value)) + b"e"
    if isinstance(value, Mapping):
        return b"}(" + b"".join([encode(key) + encode(item) for key, item in value.items()]) + b"u"
    raise TypeError(type(value))


def pickled(value: Any) -> bytes:
    return b"\x80\x02" + encode(value) + b"."


def reference(array: np.ndarray, key: str, size: int | None = None, legacy: bool = False) -> Reference:
    """A storage."""
    kind = Global("torch", KINDS[array.dtype.name])
    identity = ("storage", kind, key, "cpu", array.size if size is None else size)
    return Reference((*identity, None) if legacy else identity)


def tensor(storage: Reference, offset: Any, shape: Any, strides: Any) -> Call:
    empty = Call(Global("collections", "OrderedDict"), ())
    arguments = (storage, offset, shape, strides, False, empty)
    return Call(Global("torch._utils", "_rebuild_tensor_v2"), arguments)


def describe(state: Mapping[str, Any], legacy: bool = False) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """What the pickle holds for arrays and views by name, and the storages by key. Arrays that are one share theirs."""
    storages: dict[str, np.ndarray] = {}
    described = {}
    for name, value in state.items():
        if isinstance(value, np.ndarray):
            value = np.ascontiguousarray(value).reshape(value.shape)
            view = View(value, 0, value.shape, tuple([step // value.itemsize for step in value.strides]))
        elif isinstance(value, View):
            view = value
        else:
            described[name] = value
            continue
        key = next((key for key, known in storages.items() if known is view.array), str(len(storages)))
        storages[key] = view.array
        described[name] = tensor(reference(view.array, key, legacy=legacy), *view[1:])
    return described, storages


def zip_bytes(path: Any, value: Any, storages: Mapping[str, np.ndarray], **options: Any) -> None:
    """Write the format since PyTorch 1.6; options go to zipfile."""
    with zipfile.ZipFile(path, "w", **options) as archive:
        archive.writestr("archive/data.pkl", value if isinstance(value, bytes) else pickled(value))
        archive.writestr("archive/byteorder", "little")
        for key, array in storages.items():
            archive.writestr(f"archive/data/{key}", array.tobytes())
        archive.writestr("archive/version", "3\n")


def legacy_bytes(value: Any, storages: Mapping[str, np.ndarray]) -> bytes:
    """The older format."""
    system = {"protocol_version": 1001, "little_endian": True, "type_sizes": {"short": 2, "int": 4, "long": 4}}
    parts = [pickled(MAGIC), pickled(1001), pickled(system), value if isinstance(value, bytes) else pickled(value)]
    parts.append(pickled(sorted(storages)))
    for key in sorted(storages):
        parts += [struct.pack("<q", storages[key].size), storages[key].tobytes()]
    return b"".join(parts)


def save(path: Any, state: Mapping[str, Any], legacy: bool = False, wrap: str | None = None) -> None:
    """Write arrays and views by name, perhaps in a dictionary under the name `wrap`."""
    described, storages = describe(state, legacy)
    value = described if wrap is None else {"epoch": 3, "best": 0.5, wrap: described, "optimizer": {"state": {0: []}}}
    if legacy:
        path.write_bytes(legacy_bytes(value, storages))
    else:
        zip_bytes(path, value, storages)
