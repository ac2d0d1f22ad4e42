"""MNIST and Fashion-MNIST: 70,000 grey pictures of 28x28, kept in IDX files.

Sources: LeCun, Bottou, Bengio and Haffner 1998, "Gradient-Based Learning Applied to Document Recognition";
Xiao, Rasul and Vollgraf 2017, arXiv:1708.07747.
"""

from __future__ import annotations

import gzip
import io
import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ..errors import DataError, check
from .dataset import Dataset
from .download import fetch
from .files import DAMAGED, DiskFull, Say, cache_dir, damaged, digest, is_file, lock, read, say_aloud, workshop
from .files import write as write_whole


class Collection(NamedTuple):
    """Where a dataset in MNIST's four files comes from."""

    name: str
    folder: str
    classes: tuple[str, ...]
    mirrors: tuple[str, ...]
    md5: dict[str, str]


MNIST = Collection(
    "MNIST",
    "mnist",
    tuple("0123456789"),
    ("https://ossci-datasets.s3.amazonaws.com/mnist/", "http://yann.lecun.com/exdb/mnist/"),
    {
        "train-images-idx3-ubyte.gz": "f68b3c2dcbeaaa9fbdd348bbdeb94873",
        "train-labels-idx1-ubyte.gz": "d53e105ee54ea40749a09fcbcd1e9432",
        "t10k-images-idx3-ubyte.gz": "9fb629c4189551a2d022fa330f9573f3",
        "t10k-labels-idx1-ubyte.gz": "ec29112dd5afa0611ce80d1b7f02629c",
    },
)
FASHION_MNIST = Collection(
    "Fashion-MNIST",
    "fashion-mnist",
    ("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
    ("http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",),
    {
        "train-images-idx3-ubyte.gz": "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
        "train-labels-idx1-ubyte.gz": "25c81989df183df01b3e8a0aad5dffbe",
        "t10k-images-idx3-ubyte.gz": "bef4ecab320f06d8554ea6380940ec79",
        "t10k-labels-idx1-ubyte.gz": "bb300cfdad3c16e7a12a480ee83cd310",
    },
)
LARGEST = 64 << 20
"""Bytes that one unpacked file may have; MNIST's largest has 47 million."""


def mnist(train: bool = True, data_dir: str | Path | None = None, *, say: Say = say_aloud) -> Dataset:
    """MNIST: handwritten digits, 60,000 training or 10,000 test images, uint8 (N, 1, 28, 28).

    data_dir: a folder with the IDX files, packed (.gz) or not; if given, nothing is downloaded
    say: called with one line for each step
    Raises DataError if it cannot be had, naming each place and why, or if a file is damaged.
    """
    return _collection(MNIST, train, data_dir, say)


def fashion_mnist(train: bool = True, data_dir: str | Path | None = None, *, say: Say = say_aloud) -> Dataset:
    """Fashion-MNIST: articles of clothing in MNIST's form; arguments and errors as for `mnist`."""
    return _collection(FASHION_MNIST, train, data_dir, say)


def parse_idx(data: bytes, rank: int, name: str = "IDX data") -> np.ndarray:
    """The uint8 array in an IDX file: 0, 0, type (8 is uint8), rank, the sizes as big-endian uint32, the content.

    rank: the expected number of axes      name: what to call the file in an error
    Raises DataError if it is another kind of file, or truncated, or too long.
    """
    check(
        len(data) >= 4 and data[:3] == b"\0\0\x08" and data[3] == rank,
        f"{name} starts with {data[:4].hex(' ') or 'nothing'}: an IDX file of {rank} axes of uint8 starts with 00 00 08 "
        f"{rank:02x}; is it another file, or still packed?",
        DataError,
    )
    start = 4 + 4 * rank
    check(len(data) >= start, f"{name} is truncated: it ends within its header; fetch it again", DataError)
    shape = tuple(int(size) for size in np.frombuffer(data, ">u4", rank, 4))
    check(
        len(data) - start == math.prod(shape),
        f"{name} is truncated or too long: its header says {'x'.join(map(str, shape))} bytes but {len(data) - start:,} "
        "follow; fetch it again",
        DataError,
    )
    return np.frombuffer(data, np.uint8, offset=start).reshape(shape)


def _collection(kind: Collection, train: bool, data_dir: str | Path | None, say: Say) -> Dataset:
    part = "train" if train else "t10k"
    names = [name for name in kind.md5 if name.startswith(part)]
    if data_dir is not None:
        folder = Path(data_dir).expanduser()
        say(f"{kind.name}: reading {folder}")
        files = [_open(folder, name) for name in names]
    else:
        folder = cache_dir() / kind.folder
        files = [_unpacked(data, folder / name) for name, data in zip(names, _cached(kind, names, folder, say))]
    images = parse_idx(files[0], 3, str(folder / names[0]))
    labels = parse_idx(files[1], 1, str(folder / names[1]))
    name = f"{kind.name} {'training' if train else 'test'}"
    return Dataset(images[:, None].copy(), labels.astype(np.int64), kind.classes, name, str(folder))


def _open(folder: Path, name: str) -> bytes:
    for path in (folder / name, folder / name.removesuffix(".gz")):
        if is_file(path):
            return _unpacked(read(path), path)
    raise DataError(f"data_dir is {str(folder)!r}: there is neither {name} nor {name.removesuffix('.gz')} in it")


def _unpacked(data: bytes, path: Path) -> bytes:
    if path.suffix != ".gz":
        return data
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(data)) as file:
            content = file.read(LARGEST + 1)
    except (*DAMAGED, OSError) as error:
        raise damaged(path, error) from error
    check(len(content) <= LARGEST, f"{path} unpacks to more than {LARGEST:,} bytes: it is not the dataset", DataError)
    return content


def _cached(kind: Collection, names: Sequence[str], folder: Path, say: Say) -> list[bytes]:
    """The packed files from the cache, fetched where they are missing or damaged."""

    def good(name: str) -> bytes | None:
        if not is_file(folder / name):
            return None
        data = read(folder / name)
        return data if digest(data) == kind.md5[name] else None

    say(f"{kind.name}: looking in the cache, {folder}")
    found = {name: good(name) for name in names}
    if not all(data is not None for data in found.values()):
        with lock(folder, say), workshop(folder, folder) as place:
            for name in names:
                data = found[name] or good(name)  # another process may have fetched it by now
                if data is None:
                    data = _from_mirrors(kind, name, folder, place, say)
                    write_whole(folder / name, data)
                found[name] = data
    return [data for data in found.values() if data is not None]


def _from_mirrors(kind: Collection, name: str, folder: Path, place: Path, say: Say) -> bytes:
    failures = [f"cache: {folder / name} is missing or damaged"]
    for mirror in kind.mirrors:
        try:
            say(f"{kind.name}: downloading {mirror}{name}")
            fetch(mirror + name, place / name, f"md5:{kind.md5[name]}")
            return read(place / name)
        except DiskFull:
            raise
        except DataError as error:
            failures.append(str(error))
            say(f"{kind.name}: {error}")
    raise DataError(
        f"{kind.name} could not be had:\n  " + "\n  ".join(failures) + f"\nThe way out: fetch the four files from "
        f"{kind.mirrors[0]} on any machine and give their folder as data_dir, or put them into {folder}"
    )
