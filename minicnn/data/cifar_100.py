"""CIFAR-100: as CIFAR-10, but 100 fine classes in 20 coarse ones. Kept as the pickled files, which have known md5 sums."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from ..errors import DataError, check
from . import pickles
from .cifar import PIXELS, TORONTO
from .dataset import Dataset
from .download import fetch
from .files import DiskFull, Say, cache_dir, digest, explained, is_file, lock, read, say_aloud, tar_members, workshop
from .files import write as write_whole

MD5 = {
    "train": "16019d7e3df5f24257cddd939b257f8d",
    "test": "f0ef6b0ae62326f3e7ffdfab6717acfc",
    "meta": "7973b15100ade9c7d40fb424638fde48",
}
FOLDER, ARCHIVE = "cifar-100-python", "cifar-100-python.tar.gz"
OFFICIAL = (TORONTO + ARCHIVE, "md5:eb9058c3a382ffc7106e4002c42a8d85", 169_001_437)
BINARY_FOLDER, BINARY_ARCHIVE = "cifar-100-binary", "cifar-100-binary.tar.gz"
LIMIT = 200 << 20


def cifar100(
    train: bool = True, data_dir: str | Path | None = None, *, coarse: bool = False, say: Say = say_aloud
) -> Dataset:
    """CIFAR-100: 50,000 training or 10,000 test images, uint8 (N, 3, 32, 32).

    data_dir: where the files lie: a folder with the pickled files (train, test, meta) or the binary ones (train.bin,
        test.bin and the class names), in it or in the folder that the archive makes, or an archive, or a folder with
        one; if given, nothing is downloaded
    coarse: the 20 superclasses instead of the 100 classes      say: called with one line for each step
    Raises DataError if it cannot be had, naming each place and why, or if a file is damaged.
    """
    part = "train" if train else "test"
    if data_dir is not None:
        place = Path(data_dir).expanduser()
        say(f"CIFAR-100: reading {place}")
        return _given(place, part, coarse)
    folder = cache_dir() / FOLDER
    say(f"CIFAR-100: looking in the cache, {folder}")
    failures = []
    try:
        return _pickled(_files(folder, (part, "meta")), part, coarse, folder)
    except DataError as error:
        failures.append(f"cache: {error}")
        say(f"CIFAR-100: {failures[-1]}")
    try:
        with lock(folder.parent, say), workshop(folder.parent, folder) as place:
            with contextlib.suppress(DataError):  # another process may have fetched it by now
                return _pickled(_files(folder, (part, "meta")), part, coarse, folder)
            say(f"CIFAR-100: downloading {OFFICIAL[0]} ({OFFICIAL[2] / 1e6:,.0f} MB)")
            fetch(OFFICIAL[0], place / ARCHIVE, OFFICIAL[1], OFFICIAL[2])
            for name, data in _members(place / ARCHIVE, tuple(MD5)).items():
                write_whole(folder / name, data)
        return _pickled(_files(folder, (part, "meta")), part, coarse, folder)
    except DiskFull:
        raise
    except DataError as error:
        failures.append(f"official: {error}")
        say(f"CIFAR-100: {failures[-1]}")
    raise DataError(
        "CIFAR-100 could not be had:\n  "
        + "\n  ".join(failures)
        + f"\nThe way out: fetch {OFFICIAL[0]} on any machine and "
        f"give its path as data_dir (--data-dir), or put its files into {folder}"
    )


def _verified(name: str, data: bytes, where: Path) -> bytes:
    check(
        digest(data) == MD5[name],
        f"{where}: {name} has the md5 sum {digest(data)} instead of {MD5[name]}: it is truncated or another file; delete it "
        "and fetch it again",
        DataError,
    )
    return data


def _files(folder: Path, names: Iterable[str]) -> dict[str, bytes]:
    missing = [name for name in names if not is_file(folder / name)]
    check(not missing, f"{folder}: there is no {', '.join(missing)}", DataError)
    return {name: _verified(name, read(folder / name), folder) for name in names}


def _members(archive: Path, names: Sequence[str]) -> dict[str, bytes]:
    found = tar_members(archive, names, LIMIT)
    missing = [name for name in names if name not in found]
    check(not missing, f"{archive}: there is no {', '.join(missing)} in it: it is not CIFAR-100's archive", DataError)
    return {name: _verified(name, found[name], archive) for name in names}


def _given(place: Path, part: str, coarse: bool) -> Dataset:
    kind = "coarse" if coarse else "fine"
    binary = (f"{part}.bin", f"{kind}_label_names.txt")
    if is_file(place):
        if "binary" not in place.name:
            return _pickled(_members(place, (part, "meta")), part, coarse, place)
        found = tar_members(place, binary, LIMIT)
        return _binary(found, binary, coarse, place)
    with explained(f"looking into {place}"):
        check(place.is_dir(), f"data_dir is {str(place)!r}: there is no such file or folder", DataError)
        list(place.iterdir())
    for folder in (place, place / FOLDER):
        if is_file(folder / part):
            return _pickled(_files(folder, (part, "meta")), part, coarse, folder)
    for folder in (place, place / BINARY_FOLDER):
        if is_file(folder / binary[0]):
            found = {name: read(folder / name) for name in binary if is_file(folder / name)}
            return _binary(found, binary, coarse, folder)
    for name in (ARCHIVE, BINARY_ARCHIVE):
        if is_file(place / name):
            return _given(place / name, part, coarse)
    raise DataError(
        f"data_dir is {str(place)!r}: CIFAR-100 is not in it: it must hold {part} and meta, {FOLDER}/, {ARCHIVE}, "
        f"{binary[0]} and {binary[1]}, {BINARY_FOLDER}/ or {BINARY_ARCHIVE}"
    )


def _pickled(files: dict[str, bytes], part: str, coarse: bool, where: Path) -> Dataset:
    kind = "coarse" if coarse else "fine"
    batch = pickles.load(files[part], str(where / part))
    names = pickles.load(files["meta"], str(where / "meta")).get(f"{kind}_label_names")
    images, labels = batch.get("data"), batch.get(f"{kind}_labels")
    if not isinstance(images, np.ndarray) or images.dtype != np.uint8 or images.shape[1:] != (PIXELS,):
        raise DataError(f"{where / part} does not hold CIFAR-100 images: 'data' must be a uint8 array (N, {PIXELS})")
    if not isinstance(names, list) or not isinstance(labels, list) or not all(type(label) is int for label in labels):
        raise DataError(f"{where} does not hold CIFAR-100: {kind}_labels and {kind}_label_names must be lists")
    return _dataset(images, np.array(labels, np.int64), names, part, coarse, where)


def _binary(files: dict[str, bytes], names: tuple[str, str], coarse: bool, where: Path) -> Dataset:
    missing = [name for name in names if name not in files]
    check(not missing, f"{where}: there is no {', '.join(missing)}", DataError)
    data, part = files[names[0]], names[0].removesuffix(".bin")
    check(
        len(data) > 0 and len(data) % (2 + PIXELS) == 0,
        f"{where}: {names[0]} has {len(data):,} bytes, which is not a whole number of records of {2 + PIXELS:,}: it is "
        "truncated; fetch it again",
        DataError,
    )
    records = np.frombuffer(data, np.uint8).reshape(-1, 2 + PIXELS)  # coarse label, fine label, pixels
    classes = files[names[1]].decode("utf-8", "replace").split()
    return _dataset(records[:, 2:], records[:, 0 if coarse else 1], classes, part, coarse, where)


def _dataset(images: np.ndarray, labels: np.ndarray, classes: list, part: str, coarse: bool, where: Path) -> Dataset:
    name = f"CIFAR-100 {'training' if part == 'train' else 'test'}" + (", coarse" if coarse else "")
    return Dataset(np.ascontiguousarray(images).reshape(-1, 3, 32, 32), labels, tuple(classes), name, str(where))
