"""Writing a file whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

from ..errors import CheckpointError

PART = ".part"
"""How the names of unfinished files end."""


@contextlib.contextmanager
def replacing(path: str | Path, previous: str | Path | None = None) -> Iterator[Path]:
    """A temporary path for the body to write; afterwards it is flushed to the disk and takes `path`'s place.

    previous: where the file that was at `path` goes.
    Raises CheckpointError with the reason and the way out where the folder or the file cannot be written. After any
    failure, an interruption included, the older file is untouched and the temporary one gone; only a process that is
    killed leaves one behind (see `remove_parts`).
    """
    path = Path(path)
    # A folder beside it, because a library may write temporary files of its own next to where it is told to write.
    workshop = path.with_name(f".{path.name}.{os.getpid()}-{time.monotonic_ns()}{PART}")
    part = workshop / path.name
    try:
        workshop.mkdir(parents=True)
        yield part
        with part.open("rb+") as file:
            os.fsync(file.fileno())
        if previous is not None and path.exists():
            _keep(path, Path(previous), workshop / "previous")
        os.replace(part, path)
        _flush_folder(path.parent)
    except OSError as error:
        raise unwritable(path, error) from error
    finally:
        shutil.rmtree(workshop, ignore_errors=True)


@contextlib.contextmanager
def unwritable_as_error(path: Path) -> Iterator[Path]:
    """Turn an OSError of the body, which writes at `path`, into a CheckpointError. Gives `path`."""
    try:
        yield path
    except OSError as error:
        raise unwritable(path, error) from error


def unwritable(path: Path, error: Exception) -> CheckpointError:
    """The error for a file that could not be written; libraries hide the operating system's number in their text."""
    number, text = getattr(error, "errno", None), str(error)
    if number in (errno.ENOSPC, getattr(errno, "EDQUOT", None)) or "No space left" in text:
        reason = "the disk is full: free some space, or write to a folder on another disk"
    elif number in (errno.EACCES, errno.EPERM, errno.EROFS) or "ermission denied" in text:
        reason = "permission denied: change the folder's permissions, or write to another one"
    elif isinstance(error, (NotADirectoryError, FileExistsError)):
        reason = "a part of that path is a file: choose another folder"
    else:
        reason = text
    return CheckpointError(f"{path} could not be written: {reason}; what was there before is untouched")


def _keep(path: Path, previous: Path, link: Path) -> None:
    """Let a file have a second name; where the file system has no links, move it."""
    try:
        os.link(path, link)
    except OSError:
        os.replace(path, previous)
    else:
        os.replace(link, previous)


def _flush_folder(folder: Path) -> None:
    """Make the new name last through a power failure, where the system offers that for folders."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def remove_parts(folder: Path) -> None:
    """Delete what a killed process left unfinished in a folder of which this process is the only writer."""
    for workshop in folder.glob(f".*{PART}"):
        shutil.rmtree(workshop, ignore_errors=True)
