"""Writing a file whole or not at all, and saying why the disk refused."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

from .errors import MinicnnError

PART = ".part"
"""How the names of unfinished files end."""


@contextlib.contextmanager
def whole(path: str | Path, previous: str | Path | None = None) -> Iterator[Path]:
    """A temporary path for the body to write; afterwards it is flushed to the disk and takes `path`'s place.

    previous: where the file that was at `path` goes. Folders that are missing are made.
    Raises what the disk raises: put `explained` around it. After any failure, an interruption included, the older file
    is untouched and the temporary one gone; only a process that is killed leaves one behind (see `remove_parts`).
    """
    path = Path(os.path.realpath(path))  # a link stays, and what it points to is replaced
    if path.exists() and not path.is_file() and not path.is_dir():
        raise OSError("it is a device or a pipe, no ordinary file")
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
    finally:
        shutil.rmtree(workshop, ignore_errors=True)


@contextlib.contextmanager
def explained(
    failed: str, error: type[MinicnnError], full: type[MinicnnError] | None = None, *, room: str, place: str
) -> Iterator[None]:
    """Turn an OSError of the body into an `error`: what failed, why, and the way out.

    full: the class for a full disk, if another      room, place: what helps a full disk, and missing permissions
    """
    try:
        yield
    except OSError as cause:
        # Libraries hide the operating system's number in their text.
        number, text = cause.errno, str(cause)
        if number in (errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC)) or "No space left" in text:
            error = full or error
            reason = f"the disk is full ({text}); nothing half-written was left behind: {room}"
        elif number in (errno.EACCES, errno.EPERM, errno.EROFS) or "ermission denied" in text:
            reason = f"permission denied ({text}): change the permissions, or {place}"
        elif isinstance(cause, (NotADirectoryError, FileExistsError)):
            reason = f"a part of that path is a file ({text}): choose another folder"
        else:
            reason = text
        raise error(f"{failed}: {reason}") from cause


def remove_parts(folder: Path) -> None:
    """Delete what a killed process left unfinished in a folder of which this process is the only writer."""
    for part in folder.glob(f".*{PART}"):
        if part.is_file():
            part.unlink(missing_ok=True)
        else:
            shutil.rmtree(part, ignore_errors=True)


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
