"""Writing a file whole or not at all, with a CheckpointError where the disk refuses."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path

from ..errors import CheckpointError
from ..files import explained, whole


@contextlib.contextmanager
def replacing(path: str | Path, previous: str | Path | None = None) -> Iterator[Path]:
    """A temporary path for the body to write; afterwards it is flushed to the disk and takes `path`'s place.

    previous: where the file that was at `path` goes.
    Raises CheckpointError with the reason and the way out where the folder or the file cannot be written. After any
    failure, an interruption included, the older file is untouched and the temporary one gone.
    """
    with unwritable_as_error(Path(path)), whole(path, previous) as part:
        yield part


def check_writable(path: str | Path) -> None:
    """Raise CheckpointError where no file can be written at `path`: before what it is to hold is worked out."""
    path = Path(path)
    with unwritable_as_error(path):
        if path.exists() and not path.is_file():
            raise OSError("it is a folder or a device, no ordinary file")
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path.parent):
            pass


@contextlib.contextmanager
def unwritable_as_error(path: Path) -> Iterator[Path]:
    """Turn an OSError of the body, which writes at `path`, into a CheckpointError. Gives `path`."""
    room = "free some space, or write to a folder on another disk"
    with explained(f"{path} could not be written", CheckpointError, room=room, place="write to another folder"):
        yield path
