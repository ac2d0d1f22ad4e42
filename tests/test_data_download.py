"""Downloads, writing whole or not at all, locks, and pickles that are not trusted."""

from __future__ import annotations

import http.server
import os
import pickle
import threading
import time

import numpy as np
import pytest
from data_helpers import everything_below, full_disk, md5, quiet

from minicnn import data
from minicnn.data import download, files, pickles
from minicnn.errors import DataError

pytest.importorskip("pooch")


# ---- pickles


class Hostile:
    def __reduce__(self):
        return os.system, ("touch hostile_was_here",)


PYTHON2 = (  # {'data': array([[7, 8]], uint8), 'labels': [3]} as Python 2 wrote it
    b"(dp0\nS'data'\np1\ncnumpy.core.multiarray\n_reconstruct\np2\n(cnumpy\nndarray\np3\n(I0\ntp4\nS'b'\np5\ntp6\nRp7\n"
    b"(I1\n(I1\nI2\ntp8\ncnumpy\ndtype\np9\n(S'u1'\np10\nI0\nI1\ntp11\nRp12\n(I3\nS'|'\np13\nNNNI-1\nI-1\nI0\ntp14\nb"
    b"I00\nS'\\x07\\x08'\np15\ntp16\nbsS'labels'\np17\n(lp18\nI3\nas."
)


@pytest.mark.parametrize("protocol", [0, 1, 2, 3, 4])
def test_pickles_of_arrays_are_read(protocol):
    content = {"data": np.arange(6, dtype=np.uint8).reshape(2, 3), "labels": [1, 2], "batch_label": "one"}
    read = pickles.load(pickle.dumps(content, protocol=protocol), "batch")
    assert (read.pop("data") == content.pop("data")).all() and read == content
    assert pickles.load(PYTHON2, "batch")["data"].tolist() == [[7, 8]]


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_a_hostile_pickle_runs_nothing(tmp_path, monkeypatch, protocol):
    monkeypatch.chdir(tmp_path)
    attack = pickle.dumps({"data": Hostile(), "labels": []}, protocol=protocol)
    with pytest.raises(DataError, match="was refused: it asks for (posix|nt).system"):
        pickles.load(attack, "batch")
    assert not (tmp_path / "hostile_was_here").exists()


@pytest.mark.parametrize(
    "content",
    [
        pickle.dumps([1]),
        b"",
        b"not a pickle",
        PYTHON2[:-40],
        PYTHON2.replace(b"S'u1'", b"S'O8'"),
        PYTHON2.replace(b"S'|'\np13\nN", b"S'|'\np13\nI1\n"),
        PYTHON2.replace(b"(I1\nI2\nt", b"(I9\nI9\nt"),
        pickle.dumps({"data": np.array([None, 1], object)}),
        pickle.dumps({"data": {1, 2}}),
        b"cbuiltins\neval\n(S'1'\ntR.",
        b"cnumpy\nload\n(S'x'\ntR.",
    ],
)
def test_other_pickles_are_refused(content):
    with pytest.raises(DataError, match="batch was refused"):
        pickles.load(content, "batch")


# ---- downloads


@pytest.fixture
def server():
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            if self.path == "/missing":
                self.send_error(404)
                return
            self.send_response(200)
            self.send_header("Content-Length", "100000")
            self.end_headers()
            self.wfile.write(bytes(50000 if self.path == "/cut" else 100000))

        def log_message(self, *arguments):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        threading.Thread(target=running.serve_forever, args=(0.02,), daemon=True).start()
        yield f"http://127.0.0.1:{running.server_port}/"
        running.shutdown()


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


SUM = "md5:" + md5(bytes(100000))


def test_fetch(server, tmp_path):
    download.fetch(server + "file", tmp_path / "sub" / "file", SUM)
    assert (tmp_path / "sub" / "file").read_bytes() == bytes(100000)
    assert everything_below(tmp_path) == ["sub", "sub/file"]


@pytest.mark.parametrize(
    "name, checksum, message",
    [
        ("file", "md5:" + "0" * 32, "does not have the checksum md5:0000"),
        ("cut", SUM, "downloading http.*(IncompleteRead|checksum)"),
        ("missing", SUM, "404"),
    ],
)
def test_fetch_that_fails_leaves_nothing(server, tmp_path, name, checksum, message):
    with pytest.raises(DataError, match=message):
        download.fetch(server + name, tmp_path / name, checksum)
    assert everything_below(tmp_path) == []


def test_fetch_without_a_server(tmp_path):
    with pytest.raises(DataError, match="downloading http://127.0.0.1:9/x: .*refused"):
        download.fetch("http://127.0.0.1:9/x", tmp_path / "x", SUM)


def test_fetch_onto_a_full_disk(server, tmp_path, monkeypatch):
    monkeypatch.setattr(download.Watch, "update", full_disk)
    with pytest.raises(DataError, match="downloading http.*: the disk is full"):
        download.fetch(server + "file", tmp_path / "file", SUM)
    assert everything_below(tmp_path) == []


def test_fetch_gives_up_what_is_too_slow(server, tmp_path, monkeypatch):
    monkeypatch.setattr(download, "SETTLING", 0.0)
    monkeypatch.setattr(download, "PATIENCE", 0.0)
    with pytest.raises(DataError, match="would take about .* minutes at the speed seen .*: given up"):
        download.fetch(server + "file", tmp_path / "file", SUM)
    assert everything_below(tmp_path) == []


def test_watch_judges_by_the_speed_seen():
    now = [0.0]
    watch = download.Watch("archive", 170_000_000, clock=lambda: now[0])
    for _ in range(20):  # 1 MB/s: 170 s
        now[0] += 1
        watch.update(1_000_000)
    watch = download.Watch("archive", 170_000_000, clock=lambda: now[0])
    with pytest.raises(
        download.TooSlow, match="about 28 minutes at the speed seen \\(100 kB/s\\), more than 10: given up after 7 s"
    ):
        for _ in range(20):
            now[0] += 1
            watch.update(100_000)
    assert watch.done == 700_000  # given up as soon as the speed can be judged
    watch = download.Watch("archive", 170_000_000, clock=lambda: now[0])
    now[0] += 4  # a slow start is no slow download
    for _ in range(20):
        now[0] += 1
        watch.update(1_000_000)
    watch = download.Watch("npm", 1000, clock=lambda: now[0])
    with pytest.raises(download.TooSlow, match="nothing has arrived for 30 seconds"):
        for _ in range(32):
            now[0] += 1
            watch.update(0)


# ---- writing


def test_write_leaves_the_old_file_when_it_fails(tmp_path, monkeypatch):
    files.write(tmp_path / "a", b"old")
    for broken in ("fsync", "replace"):
        with monkeypatch.context() as patch:
            patch.setattr(os, broken, full_disk)
            with pytest.raises(DataError, match="writing .*a: the disk is full"):
                files.write(tmp_path / "a", b"new")
        assert everything_below(tmp_path) == ["a"] and (tmp_path / "a").read_bytes() == b"old"
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(DataError):
        files.write(tmp_path / "file" / "a", b"new")


def test_cache_dir(monkeypatch, tmp_path):
    monkeypatch.setenv("MINICNN_CACHE", str(tmp_path / "here"))
    assert data.cache_dir() == tmp_path / "here"
    monkeypatch.delenv("MINICNN_CACHE")
    assert data.cache_dir().name == "minicnn" and data.cache_dir().is_absolute()


def test_lock_says_that_it_waits(tmp_path):
    said, order = [], []
    first = files.lock(tmp_path, quiet)
    first.__enter__()

    def second():
        with files.lock(tmp_path, said.append):
            order.append("second")

    thread = threading.Thread(target=second)
    thread.start()
    time.sleep(0.25)
    order.append("first")
    first.__exit__(None, None, None)
    thread.join()
    assert order == ["first", "second"] and len(said) == 1 and "waiting" in said[0]
