"""Files of weights from elsewhere: PyTorch's formats, hostile and damaged files."""

from __future__ import annotations

import json
import os
import pickle
import struct
import zipfile

import numpy as np
import pytest
import torch_files as torch
from small_weights import FORMATS, OURS, assert_equal, constants, drawn, refused, shapes_of, small, values_of, write
from torch_files import Call, Global, Reference, View

from minicnn import io, layers, models
from minicnn.errors import ArgumentError, CheckpointError
from minicnn.io.names import COUNTER
from minicnn.io.pickled import read_pickled

pytest.importorskip("safetensors")


# ---- formats


@pytest.mark.parametrize("form", FORMATS)
def test_files_of_pytorch_are_read(tmp_path, rng, form):
    state = drawn(rng)
    write(tmp_path / "w.pth", {**state, f"bn.{COUNTER}": np.array(7)}, form)
    model = small()
    loaded = io.load_weights(model, tmp_path / "w.pth")
    assert loaded == ([], [])
    found = values_of(model)
    assert_equal({OURS.get(name, name): value for name, value in state.items()}, found)
    assert all(value.dtype == np.float32 for value in found.values())
    read = io.read_weights(tmp_path / "w.pth")
    assert_equal({**state, f"bn.{COUNTER}": np.array(7)}, {name: read[name] for name in [*state, f"bn.{COUNTER}"]})


@pytest.mark.parametrize("legacy", [False, True])
def test_views_of_shared_storages(tmp_path, rng, legacy):
    base = rng.random(40, dtype=np.float32)
    views = {
        "part": (base, View(base, 5, (2, 3), (3, 1)), base[5:11].reshape(2, 3)),
        "transposed": (base, View(base, 1, (2, 3), (1, 4)), base[1:13].reshape(3, 4).T[:2]),
        "step": (base, View(base, 0, (4,), (10,)), base[::10]),
        "expanded": (base, View(base, 39, (3, 2), (0, 0)), np.full((3, 2), base[39])),
        "number": (base, View(base, 2, (), ()), base[2]),
        "empty": (base, View(base, 40, (0, 5), (5, 1)), np.zeros((0, 5), np.float32)),
    }
    torch.save(tmp_path / "w.pt", {name: view for name, (_, view, _) in views.items()}, legacy)
    assert_equal({name: expected for name, (_, _, expected) in views.items()}, read_pickled(tmp_path / "w.pt"))


def test_a_part_of_a_storage_in_the_older_format(tmp_path):
    numbers = np.arange(10, dtype=np.float32)
    identity = ("storage", Global("torch", "FloatStorage"), "0", "cpu", 10, ("1", 4, 5))
    state = {"x": torch.tensor(Reference(identity), 1, (2, 2), (2, 1))}
    (tmp_path / "w.pt").write_bytes(torch.legacy_bytes(state, {"0": numbers}))
    assert read_pickled(tmp_path / "w.pt")["x"].tolist() == [[5, 6], [7, 8]]
    identity = (*identity[:5], ("1", 4, 7))
    state = {"x": torch.tensor(Reference(identity), 1, (2, 2), (2, 1))}
    (tmp_path / "w.pt").write_bytes(torch.legacy_bytes(state, {"0": numbers}))
    with pytest.raises(CheckpointError, match="reaches to number 11 of a storage of 10"):
        read_pickled(tmp_path / "w.pt")


@pytest.mark.parametrize("legacy", [False, True])
def test_other_floats_become_the_models(tmp_path, rng, legacy):
    state = drawn(rng)
    halves = {name: (value.view(np.uint32) >> 16).astype(np.uint16) for name, value in state.items()}
    for kind, converted, expected in (
        ("float16", lambda name: state[name].astype(np.float16), lambda name: state[name].astype(np.float16)),
        ("float64", lambda name: state[name].astype(np.float64), lambda name: state[name]),
        ("bfloat16", halves.get, lambda name: (halves[name].astype(np.uint32) << 16).view(np.float32)),
    ):
        torch.save(tmp_path / "w.pth", {name: converted(name) for name in state}, legacy)
        model = small()
        io.load_weights(model, tmp_path / "w.pth")
        for name, value in values_of(model).items():
            there = {ours: name for name, ours in OURS.items()}.get(name, name)
            assert value.dtype == np.float32
            np.testing.assert_array_equal(value, expected(there).astype(np.float32), err_msg=f"{kind} {name}")
    model = small().to(dtype="float64")
    io.load_weights(model, tmp_path / "w.pth")
    assert all(value.dtype == np.float64 for value in values_of(model).values())


def test_bfloat16_in_safetensors(tmp_path):
    header = json.dumps({
        "a": {"dtype": "BF16", "shape": [2, 1], "data_offsets": [4, 8]},
        "b": {"dtype": "BF16", "shape": [2], "data_offsets": [0, 4]},
    }).encode()  # fmt: skip
    data = struct.pack("<4H", 0x3F80, 0xC000, 0x4049, 0x7F80)  # 1, -2, 3.140625, infinity
    (tmp_path / "w.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + data)
    read = io.read_weights(tmp_path / "w.safetensors")
    assert read["a"].tolist() == [[3.140625], [np.inf]] and read["b"].tolist() == [1, -2]


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("wrap", [None, "state_dict", "model", "model_state_dict"])
def test_what_stands_around_the_weights(tmp_path, rng, legacy, wrap):
    state = drawn(rng)
    for prefix in ("", "module.", "module.model."):
        torch.save(tmp_path / "w.pth", {prefix + name: value for name, value in state.items()}, legacy, wrap)
        model = small()
        io.load_weights(model, tmp_path / "w.pth")
        np.testing.assert_array_equal(model.conv.weight.numpy(), state["conv.weight"])


def test_a_wrappers_name_that_is_the_models_own(tmp_path, rng):
    state = drawn(rng)
    for prefix in ("model.", "module.model."):
        torch.save(tmp_path / "w.pth", {prefix + name: value for name, value in state.items()})
        model = layers.Sequential({"model": small()})
        assert io.load_weights(model, tmp_path / "w.pth") == ([], [])
        np.testing.assert_array_equal(model.model.conv.weight.numpy(), state["conv.weight"])


def test_a_model_without_memory_takes_no_weights(tmp_path, rng):
    torch.save(tmp_path / "w.pth", constants(shapes_of("resnet18")))
    with pytest.raises(CheckpointError, match="on the meta device"):
        io.load_weights(models.create("resnet18", device="meta"), tmp_path / "w.pth")


def test_numbers_that_do_not_fit_the_dtype(tmp_path, rng):
    state = drawn(rng)
    torch.save(tmp_path / "w.pth", {**state, "fc.bias": np.array([1e300, 0])})
    refused(small(), tmp_path / "w.pth", "fc.bias is float64 and has numbers too large for float32")
    torch.save(tmp_path / "w.pth", {**state, "fc.bias": np.array([1, 0])})
    refused(small(), tmp_path / "w.pth", "fc.bias is int64: weights must be floating-point")


# ---- hostile files


def reference(**changes):
    parts = {
        "word": "storage",
        "kind": Global("torch", "FloatStorage"),
        "key": "0",
        "place": "cpu",
        "size": 8,
        **changes,
    }
    return Reference(tuple(parts.values()))


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize(
    ("offset", "shape", "strides"),
    [
        (1, (8,), (1,)),
        (0, (9,), (1,)),
        (0, (3, 3), (4, 1)),
        (0, (2,), (8,)),
        (8, (), ()),
        (9, (0,), (1,)),
        (-1, (2,), (1,)),
        (0, (-2,), (1,)),
        (1, (2,), (-1,)),
        (0, (2, 2), (1,)),
        (0, (2**62, 2**62), (0, 0)),
        (2**63, (2,), (1,)),
        (0, (2,), (2**64,)),
        (0, (1,) * 33, (1,) * 33),
        (True, (2,), (1,)),
        (0.5, (2,), (1,)),
        (0, [2], (1,)),
        (0, (2.0,), (1,)),
        (0, "2", (1,)),
    ],
)
def test_tensors_that_leave_their_storage_are_refused(tmp_path, legacy, offset, shape, strides):
    state = {"x": torch.tensor(reference(), offset, shape, strides)}
    numbers = {"0": np.zeros(8, np.float32)}
    if legacy:
        (tmp_path / "w.pth").write_bytes(torch.legacy_bytes(state, numbers))
    else:
        torch.zip_bytes(tmp_path / "w.pth", state, numbers)
    refused(small(), tmp_path / "w.pth", "was refused: ")


@pytest.mark.parametrize("legacy", [False, True])
def test_a_view_of_any_size_takes_no_memory(tmp_path, legacy):
    torch.save(tmp_path / "w.pth", {"conv.weight": View(np.zeros(1, np.float32), 0, (2**30, 2**12), (0, 0))}, legacy)
    refused(small(), tmp_path / "w.pth", r"wrong shape: conv.weight is \(1073741824, 4096\)")


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize(
    "value",
    [
        torch.tensor(reference(size=9), 0, (2,), (1,)),
        torch.tensor(reference(size=7), 0, (2,), (1,)),
        torch.tensor(reference(key="1"), 0, (2,), (1,)),
        torch.tensor(reference(key="../../0"), 0, (2,), (1,)),
        torch.tensor(reference(key=0), 0, (2,), (1,)),
        torch.tensor(reference(kind="FloatStorage"), 0, (2,), (1,)),
        torch.tensor(reference(kind=Global("torch", "ComplexFloatStorage")), 0, (2,), (1,)),
        torch.tensor(reference(word="module"), 0, (2,), (1,)),
        torch.tensor(reference(size=2**62), 0, (2,), (1,)),
        torch.tensor(Reference(()), 0, (2,), (1,)),
        torch.tensor("no storage", 0, (2,), (1,)),
        Call(Global("torch._utils", "_rebuild_parameter"), ("no tensor", True)),
        Call("text", ()),
        Call(Global("torch", "FloatStorage"), ()),
        Global("builtins", "eval"),
        Global("torch.nn.modules.conv", "Conv2d"),
        5,
    ],
)
def test_pickles_of_other_things_are_refused(tmp_path, legacy, value):
    numbers = {"0": np.zeros(8, np.float32)}
    for content in ({"x": value}, [value]):
        if legacy:
            (tmp_path / "w.pth").write_bytes(torch.legacy_bytes(content, numbers))
        else:
            torch.zip_bytes(tmp_path / "w.pth", content, numbers)
        refused(small(), tmp_path / "w.pth", "was refused: ")


class Hostile:
    def __reduce__(self):
        return os.system, ("touch hostile_was_here",)


@pytest.mark.parametrize("protocol", [0, 2, 4])
@pytest.mark.parametrize("legacy", [False, True])
def test_a_hostile_pickle_runs_nothing(tmp_path, monkeypatch, legacy, protocol):
    monkeypatch.chdir(tmp_path)
    attack = pickle.dumps({"conv.weight": Hostile()}, protocol=protocol)
    path = tmp_path / "w.pth"
    if legacy:
        path.write_bytes(torch.legacy_bytes(attack, {}))
    else:
        torch.zip_bytes(path, attack, {})
    refused(small(), path, "was refused: it asks for (posix|nt).system")
    path.write_bytes(attack)  # a bare pickle
    refused(small(), path, "was refused")
    hidden = torch.legacy_bytes({}, {}).replace(torch.pickled(1001), attack)
    path.write_bytes(hidden)
    refused(small(), path, "was refused: it asks for (posix|nt).system")
    assert not (tmp_path / "hostile_was_here").exists()


SHARED = b"]" + b"".join(
    b"r" + struct.pack("<I", level) + b"0(" + (b"j" + struct.pack("<I", level)) * 10 + b"l" for level in range(40)
)
"""Lists of ten times the same list, 40 deep: to print it would take 10**40 words."""


@pytest.mark.parametrize(
    "program",
    [
        b"\x80\x02N" + b"\x85" * 200_000 + b"}" + b"N\x85s.",
        b"\x80\x02}(N" + b"\x85" * 200_000 + b"Nu.",
        b"\x80\x02Nr\xff\xff\xff\x7f.",
        b"\x80\x05\x96\xff\xff\xff\xff\xff\xff\xff\x7f.",
        b"\x80\x02\x8b\xff\xff\xff\x7f.",
        b"\x80\x02\x8a\xff" + b"\x7f" * 255 + b".",
        b"\x80\x02" + b"0" * 10 + b".",
        b"\x80\x02].]",
        b"\x80\x02]q\x00h\x00a.",
        b"\x80\x02(((((.",
        b"\x80\x02c" + b"x" * 100_000 + b"\ny\n.",
        b"\x80\x02ccollections\nOrderedDict\n)\x81.",
        b"\x80\x02cos\nsystem\nX\x01\x00\x00\x00aR.",
        b"\x80\x04)" + b"\x85" * 200_000 + b"\x8c\x06system\x93.",
        b"\x80\x02ccollections\nOrderedDict\n](](" + b")" + b"\x85" * 200_000 + b"K\x01ee\x85R.",
        b"\x80\x04" + SHARED + b"\x8c\x06system\x93.",
    ],
)
def test_pickles_made_to_break_the_reader_are_refused(tmp_path, program):
    torch.zip_bytes(tmp_path / "w.pth", program, {})
    assert len(refused(small(), tmp_path / "w.pth", "was refused")) < 800


def test_zip_files_that_are_not_pytorchs(tmp_path, rng):
    path = tmp_path / "w.pth"
    state, storages = torch.describe(drawn(rng))
    torch.zip_bytes(path, state, storages, compression=zipfile.ZIP_DEFLATED)
    refused(small(), path, "is compressed, or larger than the file")
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("readme.txt", "hello")
    refused(small(), path, "must have one data.pkl")
    torch.zip_bytes(path, state, {})
    refused(small(), path, "archive/data/0 is missing")
    torch.zip_bytes(path, state, storages)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("archive/constants.pkl", "")
    refused(small(), path, "TorchScript")


def test_big_endian_files(tmp_path, rng):
    state = drawn(rng)
    described, storages = torch.describe(state)
    swapped = {key: array.byteswap() for key, array in storages.items()}
    path = tmp_path / "w.pth"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a/data.pkl", torch.pickled(described))
        archive.writestr("a/byteorder", "big")
        for key, array in swapped.items():
            archive.writestr(f"a/data/{key}", array.tobytes())
    model = small()
    io.load_weights(model, path)
    np.testing.assert_array_equal(model.conv.weight.numpy(), state["conv.weight"])


# ---- damage


@pytest.mark.parametrize("form", FORMATS)
def test_truncated_files_are_refused(tmp_path, rng, form):
    path = tmp_path / ("w.safetensors" if form == "safetensors" else "w.pth")
    write(path, drawn(rng), form)
    content = path.read_bytes()
    model = small()
    for length in [*range(0, 40), *range(40, len(content) - 20, 37), *range(len(content) - 20, len(content))]:
        path.write_bytes(content[:length])
        refused(model, path, "w")
    path.write_bytes(content + b"\0")
    if form != "zip":  # which may end in a comment
        refused(model, path, "w")


@pytest.mark.parametrize("form", FORMATS)
def test_flipped_bits_are_refused_or_harmless(tmp_path, rng, form):
    path = tmp_path / ("w.safetensors" if form == "safetensors" else "w.pth")
    state = drawn(rng)
    write(path, state, form)
    content = path.read_bytes()
    original = small()
    io.load_weights(original, path)
    expected = values_of(original)
    numbers = b"".join([value.tobytes() for value in state.values()])
    model = small()
    before = values_of(model)
    refusals = 0
    for place in range(0, len(content), 2 if form == "zip" else 1):
        bit = rng.integers(0, 8)
        path.write_bytes(content[:place] + bytes([content[place] ^ (1 << bit)]) + content[place + 1 :])
        try:
            io.load_weights(model, path)
        except CheckpointError:
            refusals += 1
            assert_equal(before, values_of(model))
            continue
        found = values_of(model)
        changed = sum([(found[name] != expected[name]).sum() for name in found])
        # Only the zip format has checksums. Elsewhere a bit of a number flips unseen, and in the older one a stride's.
        assert changed <= {"zip": 0, "safetensors": 1, "legacy": 12}[form], place
        model.load_state_dict(before)
    if form != "zip":
        assert refusals > (len(content) - len(numbers)) * 0.5


@pytest.mark.parametrize(
    "data",
    [
        [1], "x", 5, *({"kind": "weights", "recipe": recipe} for recipe in (5, "ab", ["lenet5"], [5, 6], ["lenet5", None])),
        *({"kind": "checkpoint", "config": {"network": network}} for network in (5, {"a": 1}, {"name": "x", "options": []})),
    ],
)  # fmt: skip
def test_nonsense_with_a_valid_checksum_is_refused(tmp_path, data):
    model, path = small(), tmp_path / "w.safetensors"
    io.write_archive(path, {f"model/{name}": value for name, value in values_of(model).items()}, data)
    refused(model, path, "is damaged")


def test_legacy_storage_keys_are_text(tmp_path):
    whole = torch.legacy_bytes({}, {})
    assert whole.endswith(b"].") or b"]" in whole
    (tmp_path / "w.pth").write_bytes(whole[: whole.rindex(b"\x80\x02")] + b"\x80\x02(" + SHARED + b"l.")
    refused(small(), tmp_path / "w.pth", "was refused")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no pipes with names here")
def test_a_pipe_is_neither_read_nor_replaced(tmp_path):
    pipe = tmp_path / "pipe.safetensors"
    os.mkfifo(pipe)
    refused(small(), pipe, "no ordinary file")
    with pytest.raises(CheckpointError, match="no ordinary file"):
        io.save_weights(small(), pipe)
    assert pipe.is_fifo()


def test_a_link_stays_a_link(tmp_path):
    target, link = tmp_path / "target.safetensors", tmp_path / "link.safetensors"
    io.save_weights(small(), target)
    link.symlink_to(target)
    one, two = small(), small()
    io.save_weights(one, link)
    assert link.is_symlink()
    io.load_weights(two, target)
    assert_equal(values_of(one), values_of(two))


@pytest.mark.parametrize("path", [None, 5, "", "a\0b"])
def test_paths_that_are_none(path):
    for call in (io.save_weights, io.load_weights):
        with pytest.raises(ArgumentError, match="path is"):
            call(small(), path)
        with pytest.raises(ArgumentError, match="must be a Layer"):
            call(None, "w.safetensors")
    with pytest.raises(ArgumentError, match="strict is 'no'"):
        io.load_weights(small(), "w.safetensors", strict="no")


def test_a_folder_and_nothing(tmp_path):
    (tmp_path / "folder.pth").mkdir()
    for name in ("none.pth", "none.safetensors", "folder.pth"):
        refused(small(), tmp_path / name, "no such file|no ordinary file")
    for content in (b"", b"hello", b"\0" * 100):
        for name in ("w.pth", "w.safetensors", "w"):
            (tmp_path / name).write_bytes(content)
            refused(small(), tmp_path / name, "use a copy of it|damaged")
