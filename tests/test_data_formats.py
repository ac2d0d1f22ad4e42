"""CIFAR-100, MNIST and Fashion-MNIST, and a folder of pictures."""

from __future__ import annotations

import gzip
import pickle
import struct

import numpy as np
import pytest
from data_helpers import everything_below, md5, quiet, tar

from minicnn import data
from minicnn.data import cifar_100, idx
from minicnn.errors import ArgumentError, DataError

image = pytest.importorskip("PIL.Image")


@pytest.fixture
def no_network(monkeypatch):
    def fetch(url, path, checksum, size=0):
        raise DataError(f"downloading {url}: no route to host")

    for module in (cifar_100, idx):
        monkeypatch.setattr(module, "fetch", fetch)


# ---- CIFAR-100


@pytest.fixture
def fake100(monkeypatch, tmp_path):
    rng = np.random.default_rng(3)
    members = {}
    for part, count in (("train", 12), ("test", 6)):
        members[part] = pickle.dumps(
            {
                "data": rng.integers(0, 256, (count, 3072), dtype=np.uint8),
                "fine_labels": rng.integers(0, 100, count).tolist(),
                "coarse_labels": rng.integers(0, 20, count).tolist(),
            },
            protocol=2,
        )
    names = {"fine_label_names": [f"f{i}" for i in range(100)], "coarse_label_names": [f"c{i}" for i in range(20)]}
    members["meta"] = pickle.dumps(names, protocol=2)
    monkeypatch.setattr(cifar_100, "MD5", {name: md5(content) for name, content in members.items()})
    monkeypatch.setenv("MINICNN_CACHE", str(tmp_path / "cache"))
    return members


@pytest.mark.parametrize("coarse", [False, True])
def test_cifar100(fake100, tmp_path, monkeypatch, coarse):
    archive = tar(tmp_path / "cifar-100-python.tar.gz", {f"cifar-100-python/{n}": c for n, c in fake100.items()})
    monkeypatch.setattr(cifar_100, "fetch", lambda url, path, checksum, size: path.write_bytes(archive.read_bytes()))
    expected = pickle.loads(fake100["test"])
    results = [
        data.cifar100(False, tmp_path, coarse=coarse, say=quiet),
        data.cifar100(False, archive, coarse=coarse, say=quiet),
        data.cifar100(False, coarse=coarse, say=quiet),
        data.cifar100(False, coarse=coarse, say=quiet),
        data.cifar100(False, tmp_path / "cache", coarse=coarse, say=quiet),
    ]
    binary = tmp_path / "binary"
    binary.mkdir()
    columns = [np.array(expected[key], np.uint8)[:, None] for key in ("coarse_labels", "fine_labels")]
    (binary / "test.bin").write_bytes(np.concatenate([*columns, expected["data"]], axis=1).tobytes())
    for kind, count in (("fine", 100), ("coarse", 20)):
        (binary / f"{kind}_label_names.txt").write_text("\n".join(f"{kind[0]}{i}" for i in range(count)) + "\n")
    results.append(data.cifar100(False, binary, coarse=coarse, say=quiet))
    for result in results:
        assert (result.images.reshape(-1, 3072) == expected["data"]).all()
        assert result.labels.tolist() == expected["coarse_labels" if coarse else "fine_labels"]
        assert len(result.classes) == (20 if coarse else 100) and result.classes[1] == ("c1" if coarse else "f1")
    (binary / "test.bin").write_bytes(bytes(3073))
    with pytest.raises(DataError, match="not a whole number of records"):
        data.cifar100(False, binary, say=quiet)


def test_cifar100_that_cannot_be_had(fake100, no_network, tmp_path):
    with pytest.raises(DataError, match=r"(?s)cache: .*official: .*no route to host.*The way out: fetch"):
        data.cifar100(say=quiet)
    with pytest.raises(DataError, match="CIFAR-100 is not in it"):
        data.cifar100(True, tmp_path, say=quiet)


# ---- IDX


def idx_bytes(array):
    return struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape) + array.tobytes()


@pytest.fixture
def digits(monkeypatch, tmp_path):
    rng = np.random.default_rng(1)
    contents = {}
    for part, count in (("train", 9), ("t10k", 4)):
        contents[f"{part}-images-idx3-ubyte"] = idx_bytes(rng.integers(0, 256, (count, 28, 28), dtype=np.uint8))
        contents[f"{part}-labels-idx1-ubyte"] = idx_bytes(rng.integers(0, 10, count, dtype=np.uint8))
    packed = {f"{name}.gz": gzip.compress(content) for name, content in contents.items()}
    md5s = {name: md5(content) for name, content in packed.items()}
    monkeypatch.setattr(idx, "MNIST", idx.MNIST._replace(md5=md5s))
    monkeypatch.setattr(idx, "FASHION_MNIST", idx.FASHION_MNIST._replace(md5=md5s))
    monkeypatch.setenv("MINICNN_CACHE", str(tmp_path / "cache"))
    return contents, packed


@pytest.mark.parametrize("which", [data.mnist, data.fashion_mnist])
@pytest.mark.parametrize("form", [0, 1])
def test_mnist_from_a_folder(digits, tmp_path, form, which):
    for name, content in digits[form].items():
        (tmp_path / name).write_bytes(content)
    for train, count in ((True, 9), (False, 4)):
        dataset = which(train, tmp_path, say=quiet)
        assert dataset.images.shape == (count, 1, 28, 28) and len(dataset.classes) == 10
        assert dataset.images.tobytes() == digits[0][f"{'train' if train else 't10k'}-images-idx3-ubyte"][16:]


def test_mnist_from_its_mirrors(digits, tmp_path, monkeypatch):
    asked = []

    def fetch(url, path, checksum, size=0):
        asked.append(url)
        if "ossci" in url:
            raise DataError("downloading: no route to host")
        path.write_bytes(digits[1][path.name])

    monkeypatch.setattr(idx, "fetch", fetch)
    assert len(data.mnist(say=quiet)) == 9
    assert len(asked) == 4 and len(data.mnist(say=quiet)) == 9 and len(asked) == 4
    assert everything_below(tmp_path / "cache" / "mnist") == [
        "train-images-idx3-ubyte.gz",
        "train-labels-idx1-ubyte.gz",
    ]
    (tmp_path / "cache" / "mnist" / "train-labels-idx1-ubyte.gz").write_bytes(b"damaged")
    assert len(data.mnist(say=quiet)) == 9 and len(asked) == 6


def test_mnist_that_cannot_be_had(digits, no_network, tmp_path):
    with pytest.raises(DataError, match=r"(?s)MNIST could not be had.*ossci.*yann.*The way out: fetch the four files"):
        data.mnist(say=quiet)
    with pytest.raises(DataError, match="there is neither train-images-idx3-ubyte.gz nor"):
        data.mnist(True, tmp_path, say=quiet)


@pytest.mark.parametrize(
    "content, message",
    [
        (b"", "starts with nothing"),
        (b"\0\0\x0d\x01", "starts with 00 00 0d 01"),
        (b"\0\0\x08\x03", "starts with 00 00 08 03"),
        (b"\0\0\x08\x01\0\0", "ends within its header"),
        (idx_bytes(np.zeros(9, np.uint8))[:-1], "its header says 9 bytes but 8 follow"),
        (idx_bytes(np.zeros(9, np.uint8)) + b"x", "its header says 9 bytes but 10 follow"),
        (b"\0\0\x08\x01\xff\xff\xff\xff", "its header says 4294967295 bytes but 0 follow"),
    ],
)
def test_damaged_idx(content, message):
    with pytest.raises(DataError, match=message):
        data.parse_idx(content, 1)


def test_truncated_gzip(digits, tmp_path):
    for name, content in digits[1].items():
        (tmp_path / name).write_bytes(content[:-20])
    with pytest.raises(DataError, match="train-images-idx3-ubyte.gz is truncated or damaged"):
        data.mnist(True, tmp_path, say=quiet)


# ---- a folder of pictures


@pytest.fixture
def pictures(tmp_path):
    for place, name in enumerate(["cat", "dog"]):
        (tmp_path / name / "deeper").mkdir(parents=True)
        for index in range(3):
            colour = (200 * place, 50 * index, 9)
            image.new("RGB", (40 + index, 30), colour).save(
                tmp_path / name / ("deeper" if index else ".") / f"{index}.png"
            )
    (tmp_path / "cat" / "notes.txt").write_text("not a picture")
    return tmp_path


def test_image_folder(pictures):
    dataset = data.image_folder(pictures, (16, 20))
    assert dataset.images.shape == (6, 3, 16, 20) and dataset.classes == ("cat", "dog")
    assert dataset.labels.tolist() == [0, 0, 0, 1, 1, 1]
    assert dataset.images[np.array([5, 0])][:, :, 3, 3].tolist() == [[200, 100, 9], [0, 0, 9]]
    assert dataset.images[-1].shape == (3, 16, 20) and dataset.images[2:4].shape[0] == 2
    assert (np.asarray(dataset.images) == dataset.images[:]).all()
    assert dataset.subset([4]).images[0].shape == (3, 16, 20)
    only = data.image_folder(pictures, 8, classes=["dog"])
    assert len(only) == 3 and only.classes == ("dog",)
    assert sum(len(labels) for _, labels in data.Loader(dataset, 4)) == 6


def test_image_folder_is_lazy_and_names_what_cannot_be_read(pictures):
    (pictures / "dog" / "bad.jpg").write_bytes(b"\xff\xd8\xff\xe0 nonsense")
    whole = (pictures / "cat" / "0.png").read_bytes()
    (pictures / "dog" / "cut.png").write_bytes(whole[:60])
    dataset = data.image_folder(pictures, 8)
    for name in ("bad.jpg", "cut.png"):
        index = [file.name for file in dataset.images.files].index(name)
        with pytest.raises(DataError, match=f"the picture .*{name} cannot be read"):
            dataset.images[index]
    with pytest.raises(DataError, match="cannot be read"):
        list(data.Loader(dataset, 8))


def test_image_folder_that_holds_nothing(tmp_path):
    with pytest.raises(DataError, match="there is no such folder"):
        data.image_folder(tmp_path / "missing", 8)
    with pytest.raises(DataError, match="it holds no folders"):
        data.image_folder(tmp_path, 8)
    (tmp_path / "cat").mkdir()
    with pytest.raises(DataError, match="there are no pictures"):
        data.image_folder(tmp_path, 8)
    with pytest.raises(DataError, match="there is no folder .* for class 'dog'"):
        data.image_folder(tmp_path, 8, classes=["dog"])
    with pytest.raises(ArgumentError, match="size is 0"):
        data.image_folder(tmp_path, 0)
