"""Files: where datasets are kept, writing them whole or not at all, reading archives without trusting them.

Every failure of the disk becomes a DataError that says what to do; nothing half-written stays under a final name.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import importlib
import os
import shutil
import sys
import tarfile
import tempfile
import time
import zlib
from collections.abc import Callable, Container, Iterator
from pathlib import Path
from types import ModuleType

from .. import files
from ..errors import DataError

Say = Callable[[str], None]
DAMAGED = (tarfile.TarError, EOFError, zlib.error, OverflowError)
"""What reading a truncated or damaged archive raises (a bad gzip header is an OSError without an errno)."""


def say_aloud(message: str) -> None:
    """Print one plain line on standard error: how the datasets report their steps unless told otherwise."""
    print(message, file=sys.stderr, flush=True)


def extra(module: str, purpose: str) -> ModuleType:
    """Import a module of the `train` extra. Raises DataError with the command that installs it."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        package = {"PIL": "Pillow"}.get(module.partition(".")[0], module)
        raise DataError(f'{purpose} needs {package}, which is not installed: pip install -e ".[train]"') from error


def cache_dir() -> Path:
    """Where downloads are kept: $MINICNN_CACHE, else `minicnn` in the platform's cache folder."""
    if chosen := os.environ.get("MINICNN_CACHE"):
        return Path(chosen).expanduser()
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA") or "~/AppData/Local"
    elif sys.platform == "darwin":
        base = "~/Library/Caches"
    else:
        base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(base).expanduser() / "minicnn"


ROOM = "free some space, or set MINICNN_CACHE to a folder on another disk"


class DiskFull(DataError):
    """The disk or the user's share of it is full. No other source of a dataset would help."""


def explained(doing: str) -> contextlib.AbstractContextManager[None]:
    """Turn an OSError of the body into a DataError: what was being done, why it failed, and the way out."""
    place = "give another folder (data_dir, or MINICNN_CACHE for the cache)"
    return files.explained(doing, DataError, DiskFull, room=ROOM, place=place)


def digest(data: bytes | memoryview, algorithm: str = "md5") -> str:
    """The checksum of `data` in hexadecimal."""
    return hashlib.new(algorithm, data, usedforsecurity=False).hexdigest()


def read(path: Path) -> bytes:
    """The bytes of a file. Raises DataError."""
    with explained(f"reading {path}"):
        return path.read_bytes()


def is_file(path: Path) -> bool:
    """Whether there is a file at `path`. Raises DataError where that cannot be seen."""
    with explained(f"looking at {path}"):
        try:
            path.stat()
        except (FileNotFoundError, NotADirectoryError):
            return False
        return path.is_file()


def write(path: Path, data: bytes) -> None:
    """Write a file whole or not at all.

    Raises DataError; after any failure, an interruption included, the temporary file is gone and an older file stays.
    """
    with explained(f"writing {path}"), files.whole(path) as part:
        part.write_bytes(data)


@contextlib.contextmanager
def workshop(folder: Path, target: Path) -> Iterator[Path]:
    """A temporary folder inside `folder`, on the same disk; removed whatever happens.

    target: the folder that is going to be filled. Call it under `lock(folder)`, for it also removes what a killed
    process left in either.
    """
    with explained(f"preparing {folder}"):
        folder.mkdir(parents=True, exist_ok=True)
        for left in folder.glob(".work-*"):
            shutil.rmtree(left, ignore_errors=True)
        files.remove_parts(target)
        place = Path(tempfile.mkdtemp(prefix=".work-", dir=folder))
    try:
        yield place
    finally:
        shutil.rmtree(place, ignore_errors=True)


def _try_lock(file: int) -> bool:
    try:
        if sys.platform == "win32":
            import msvcrt

            msvcrt.locking(file, msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EACCES, errno.EAGAIN, errno.EWOULDBLOCK, errno.EDEADLK):
            return False
        # A file system without locks: go on. Files are renamed into place whole, so the worst is work done twice.
    return True


@contextlib.contextmanager
def lock(folder: Path, say: Say) -> Iterator[None]:
    """Let one process or thread at a time prepare `folder`; the others wait, and say so. A dead owner's lock is free."""
    with explained(f"preparing {folder}"):
        folder.mkdir(parents=True, exist_ok=True)
        file = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT, 0o666)
    try:
        told = False
        while not _try_lock(file):
            if not told:
                say(f"another process is preparing {folder}: waiting for it")
                told = True
            time.sleep(0.1)
        yield
    finally:
        os.close(file)  # closing lets the lock go


def tar_members(path: Path, wanted: Container[str], limit: int) -> dict[str, bytes]:
    """Plain files of a .tar.gz by their base name, read into memory: nothing is extracted, no path in it is trusted.

    wanted: the base names to read (the first of a name counts)      limit: largest size of one, in bytes
    Raises DataError if the archive is damaged or a wanted member is larger than `limit`.
    """
    found: dict[str, bytes] = {}
    with explained(f"reading {path}"):
        try:
            with tarfile.open(path, "r:gz") as archive:
                for member in archive:
                    name = member.name.replace("\\", "/").rpartition("/")[2]
                    if not member.isreg() or name not in wanted or name in found:
                        continue
                    if member.size > limit:
                        raise DataError(
                            f"{path}: {name} has {member.size:,} bytes, at most {limit:,} were expected: "
                            "this is not the dataset's archive; download it again"
                        )
                    content = archive.extractfile(member)
                    assert content is not None
                    found[name] = content.read()
                    if len(found[name]) != member.size:
                        raise EOFError("unexpected end of data")
        except DAMAGED as error:
            raise damaged(path, error) from error
        except OSError as error:
            if error.errno is None:
                raise damaged(path, error) from error
            raise
    return found


def damaged(path: Path, error: Exception) -> DataError:
    """The error for a truncated or damaged archive."""
    return DataError(f"{path} is truncated or damaged ({error}): delete it and download it again")
