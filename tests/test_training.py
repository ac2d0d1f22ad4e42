"""The Trainer, its checkpoints, history and pictures; weights in files."""

import errno
import math
import os
import signal
import threading

import numpy as np
import pytest

import minicnn
from minicnn import Tensor, data, io, layers, ops, optim, training
from minicnn.errors import ArgumentError, CheckpointError, MinicnnError
from minicnn.training import checkpoint, pictures
from minicnn.training.trainer import Every


def dataset(count=40, seed=0):
    """Two classes that differ in brightness, 1x6x6."""
    labels = np.arange(count) % 2
    noise = np.random.default_rng(seed).integers(0, 120, (count, 1, 6, 6))
    return data.Dataset(
        (noise + 100 * labels[:, None, None, None]).astype(np.uint8), labels, ("dark", "bright"), "tiny"
    )


def trainer(out=None, seed=0, count=40, **options):
    minicnn.manual_seed(seed)
    model = layers.Sequential(
        layers.Conv2d(1, 4, 3), layers.BatchNorm2d(4), layers.ReLU(), layers.Flatten(), layers.Dropout(0.3),
        layers.Linear(64, 2),
    )  # fmt: skip
    augment = data.Compose([data.RandomHorizontalFlip(), data.Normalize([0.4], [0.2])])
    train = data.Loader(dataset(count), 8, augment, seed=seed)
    test = data.Loader(dataset(20, 1), 7, data.Normalize([0.4], [0.2]), shuffle=False)
    settings = {"schedule": optim.OneCycle(50), "out": out, "say": lambda line: None, **options}
    optimizer = optim.SGD(model.parameters(), 0.05, 0.9, nesterov=True)
    return training.Trainer(model, optimizer, train, settings.pop("test", test), **settings)


def weights(one):
    return {name: values.numpy().copy() for name, values in one.model.state_dict().items()}


def same(one, two):
    assert all(np.array_equal(a, b) for a, b in zip(weights(one).values(), weights(two).values()))
    assert one.history.rows == two.history.rows


def test_it_learns_and_writes_down_what_happened(tmp_path):
    lines = []
    one = trainer(tmp_path / "run", say=lines.append)
    history = one.fit(6)
    assert history.column("epoch") == [1, 2, 3, 4, 5, 6] and history.column("steps") == [5, 10, 15, 20, 25, 30]
    assert history.rows[-1]["test_accuracy"] > 0.9 and one.evaluate().accuracy == history.rows[-1]["test_accuracy"]
    assert len(lines) == 6 and all(len(line) < 80 for line in lines)
    assert training.History.read(tmp_path / "run/history.csv").rows == [
        {k: float(v) for k, v in row.items()} for row in history.rows
    ]
    assert len((tmp_path / "run/times.csv").read_text().splitlines()) == 7
    assert sorted(p.name for p in (tmp_path / "run").iterdir()) == [
        "checkpoint.previous.safetensors", "checkpoint.safetensors", "history.csv", "times.csv",
    ]  # fmt: skip


def test_it_is_the_plain_loop():
    one = trainer()
    one.fit(2)
    minicnn.manual_seed(0)
    other = trainer(schedule=None)
    model, optimizer = other.model, other.optimizer
    schedule = optim.Scheduler(optimizer, optim.OneCycle(50))
    for _ in range(2):
        for images, labels in other.train:
            loss = minicnn.ops.cross_entropy(model(Tensor(images)), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    assert all(np.array_equal(a, b) for a, b in zip(weights(one).values(), weights(other).values()))


@pytest.mark.parametrize("steps", [1, 4, 5, 7, 10, 14, 15])
def test_going_on_is_bit_for_bit(tmp_path, steps):
    whole = trainer()
    whole.fit(3)
    first = trainer(tmp_path)
    first.fit(3, steps)
    second = trainer(tmp_path, seed=7)
    second.train.seed = 0
    second.start(resume=True)
    assert second.steps == steps
    second.fit(3)
    same(whole, second)


def test_going_on_in_the_same_process():
    whole, parts = trainer(), trainer()
    minicnn.manual_seed(1)
    whole.fit(3)
    minicnn.manual_seed(1)
    for steps in (2, 3, 5, 9):
        parts.fit(3, steps)
    parts.fit(3)
    same(whole, parts)


@pytest.mark.parametrize("kind", [optim.Adam, optim.AdamW])
def test_other_optimisers_and_schedules_go_on_too(tmp_path, kind):
    def one(out):
        made = trainer(out, clip_norm=1.0, stopping=training.EarlyStopping(9))
        made.optimizer = kind(made.model.parameters(), 0.01)
        made.scheduler = optim.Scheduler(made.optimizer, optim.Warmup(optim.ReduceOnPlateau(patience=0), 3))
        return made

    whole = one(tmp_path / "whole")
    whole.fit(4)
    one(tmp_path / "parts").fit(4, 8)
    parts = one(tmp_path / "parts")
    parts.start(resume=True)
    parts.fit(4)
    same(whole, parts)


def test_without_a_checkpoint_resuming_starts_at_the_beginning(tmp_path):
    one = trainer(tmp_path / "new")
    assert not one.start(resume=True)
    assert one.fit(1).rows == trainer().fit(1).rows


def test_a_new_run_puts_the_old_checkpoint_aside(tmp_path):
    trainer(tmp_path).fit(2)
    lines = []
    one = trainer(tmp_path, say=lines.append)
    assert not one.start()
    assert [p.name for p in tmp_path.iterdir()] == ["checkpoint.old.safetensors"]
    assert "checkpoint.old.safetensors" in lines[0]
    assert not trainer(tmp_path).start(resume=True)


def test_resuming_elsewhere_is_refused_with_the_reason(tmp_path, monkeypatch):
    trainer(tmp_path, config={"lr": 1, "pair": (1, 2)}).fit(2, 3)
    monkeypatch.setattr(checkpoint, "environment", checkpoint.environment)
    real = checkpoint.environment()
    for name, value in (("threads", 99), ("instruction set", "other"), ("backend", "other"), ("precision", "medium")):
        monkeypatch.setattr("minicnn.training.trainer.environment", lambda _, n=name, v=value: {**real, n: v})
        with pytest.raises(CheckpointError, match=f"{name} was .*, is {value!r}.*--resume-anyway"):
            trainer(tmp_path, config={"lr": 1, "pair": (1, 2)}).start(resume=True)
    monkeypatch.undo()
    with pytest.raises(CheckpointError, match="lr was 1, is 2"):
        trainer(tmp_path, config={"lr": 2, "pair": (1, 2)}).start(resume=True)
    lines = []
    one = trainer(tmp_path, config={"lr": 2}, say=lines.append)
    assert one.start(resume=True, anyway=True) and one.steps == 3 and "not bit for bit: lr was 1" in lines[0]
    assert trainer(tmp_path, config={"lr": 1, "pair": (1, 2)}).start(resume=True)


def damage(path, how):
    content = bytearray(path.read_bytes())
    if how == "truncate":
        content = content[: len(content) // 2]
    elif how == "empty":
        content = bytearray()
    elif how == "text":
        content = bytearray(b"not a checkpoint")
    else:
        content[{"header": 300, "data": len(content) - 5, "length": 2}[how]] ^= 4
    path.write_bytes(content)


DAMAGES = ["truncate", "empty", "text", "header", "data", "length"]


@pytest.mark.parametrize("how", DAMAGES)
def test_a_damaged_checkpoint_falls_back_to_the_one_before(tmp_path, how):
    whole = trainer()
    whole.fit(3)
    trainer(tmp_path).fit(3, 10)
    damage(tmp_path / checkpoint.NAME, how)
    lines = []
    one = trainer(tmp_path, say=lines.append)
    one.start(resume=True)
    assert one.steps == 5 and checkpoint.PREVIOUS in lines[0]
    one.fit(3)
    same(whole, one)


@pytest.mark.parametrize("how", DAMAGES)
def test_where_all_are_damaged_it_says_so_and_nothing_changes(tmp_path, how):
    trainer(tmp_path).fit(2)
    for name in (checkpoint.NAME, checkpoint.PREVIOUS):
        damage(tmp_path / name, how)
    one = trainer(tmp_path)
    before = weights(one)
    with pytest.raises(CheckpointError, match="damaged.*start over without --resume"):
        one.start(resume=True)
    assert all(np.array_equal(a, b) for a, b in zip(before.values(), weights(one).values()))


def test_a_checkpoint_of_another_network_is_refused(tmp_path):
    trainer(tmp_path).fit(1)
    other = trainer(tmp_path)
    other.model = layers.Sequential(layers.Flatten(), layers.Linear(36, 2))
    with pytest.raises(CheckpointError, match="do not fit"):
        other.start(resume=True)


@pytest.mark.parametrize("number, words", [(errno.ENOSPC, "the disk is full"), (errno.EACCES, "permission denied")])
def test_a_checkpoint_that_cannot_be_written_leaves_the_old_one(tmp_path, monkeypatch, number, words):
    one = trainer(tmp_path)
    one.fit(1)
    before = (tmp_path / checkpoint.NAME).read_bytes()

    def refuse(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(CheckpointError, match=f"checkpoint.safetensors could not be written: {words}"):
        one.save()
    monkeypatch.undo()
    assert (tmp_path / checkpoint.NAME).read_bytes() == before
    assert not [p for p in tmp_path.iterdir() if p.name.endswith(".part")]


def test_a_file_size_limit_is_reported_as_such(tmp_path):
    resource = pytest.importorskip("resource")
    one = trainer(tmp_path)
    one.fit(1)
    before = (tmp_path / checkpoint.NAME).read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        with pytest.raises(CheckpointError, match="could not be written"):
            one.save()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert (tmp_path / checkpoint.NAME).read_bytes() == before


def test_a_folder_that_is_a_file_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(CheckpointError, match="choose another folder"):
        trainer(tmp_path / "file" / "run").fit(1)


def test_unfinished_files_of_a_killed_process_are_removed(tmp_path):
    (tmp_path / ".checkpoint.safetensors.1-2.part").mkdir()
    (tmp_path / ".checkpoint.safetensors.1-2.part" / "checkpoint.safetensors").write_text("half")
    trainer(tmp_path).start(resume=True)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("place", ["training", "evaluation"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_saves_and_says_where(tmp_path, place, number):
    whole = trainer()
    whole.fit(3)
    lines = []
    one = trainer(tmp_path, say=lines.append, command="run --resume")
    calls = 0

    def interrupt(layer, inputs, output):
        nonlocal calls
        calls += layer.training == (place == "training")
        if calls == (7 if place == "training" else 4):
            os.kill(os.getpid(), number)

    before = signal.getsignal(number)
    with one.model.register_forward_hook(interrupt), pytest.raises(KeyboardInterrupt):
        one.fit(3)
    assert signal.getsignal(number) is before
    assert f"after step {7 if place == 'training' else 10}" in lines[-1] and "to go on:\n  run --resume" in lines[-1]
    second = trainer(tmp_path)
    second.start(resume=True)
    second.fit(3)
    same(whole, second)


def test_it_trains_in_another_thread():
    one = trainer()
    thread = threading.Thread(target=one.fit, args=(1,))
    thread.start()
    thread.join()
    assert one.epoch == 1


def test_early_stopping_takes_the_best_weights(tmp_path):
    one = trainer(tmp_path, stopping=training.EarlyStopping(2, "test_accuracy"))
    history = one.fit(30)
    best = one.stopping.best_epoch
    assert len(history.rows) == best + 2 < 30
    assert one.evaluate().accuracy == history.rows[best - 1]["test_accuracy"]
    again = trainer(tmp_path, stopping=training.EarlyStopping(2, "test_accuracy"))
    again.start(resume=True)
    again.fit(30)
    same(one, again)


def test_early_stopping_watches():
    stopping = training.EarlyStopping(2, min_delta=0.1)
    seen = [stopping.observe({"epoch": i, "test_loss": loss}) for i, loss in enumerate([1, 0.95, 0.85, 0.8, 0.76])]
    assert seen == [True, False, True, False, False] and stopping.stopped and stopping.best_epoch == 2


def test_auxiliary_classifiers_count_in_training_only():
    def network():
        minicnn.manual_seed(3)
        nodes = {
            "flat": layers.Flatten(),
            "main": (layers.Linear(36, 2), "flat"),
            "aux": (layers.Linear(36, 2), "flat"),
        }
        return layers.Graph(nodes, outputs="main", training_outputs="aux")

    def loader():
        return data.Loader(dataset(8), 8, data.Normalize([0.4], [0.2]), shuffle=False)

    ((images, labels),) = loader()
    main, aux = (ops.cross_entropy(logits, labels).item() for logits in network()(Tensor(images)))
    for weight in (0.0, 0.5):
        model = network()
        one = training.Trainer(
            model,
            optim.SGD(model.parameters(), 0.0),
            loader(),
            loader(),
            auxiliary_weight=weight,
            say=lambda line: None,
        )
        (row,) = one.fit(1).rows
        assert row["train_loss"] == pytest.approx(main + weight * aux, rel=1e-6)
        assert row["test_loss"] == pytest.approx(main, rel=1e-6)


def test_a_loss_that_is_no_number_ends_the_run(tmp_path):
    one = trainer(tmp_path)
    one.fit(2, 6)
    one.model[5].weight.data[0, 0] = math.nan
    with pytest.raises(MinicnnError, match="the loss became nan at step 6: lower the learning rate"):
        one.fit(2)


@pytest.mark.parametrize("worst", [math.nan, math.inf])
def test_a_test_loss_that_is_no_number_is_written_down(tmp_path, worst):
    def build():
        def loss(logits, labels):
            return ops.cross_entropy(logits, labels) * (1.0 if one.model.training else worst)

        one = trainer(tmp_path, loss=loss, stopping=training.EarlyStopping(2))
        return one

    one = build()
    one.fit(1)
    one = build()
    assert one.start(resume=True)
    assert [row["test_loss"] for row in one.fit(9).rows] == pytest.approx([worst] * len(one.history.rows), nan_ok=True)
    assert one.stopping.stopped and one.stopping.best_epoch == (0 if math.isnan(worst) else 1)
    found = training.History.read(tmp_path / "history.csv").column("test_loss")
    assert found == pytest.approx([worst] * len(found), nan_ok=True)


def test_checkpoints_within_an_epoch(tmp_path, monkeypatch):
    one = trainer(tmp_path, checkpoint_every=2)
    saved = []
    monkeypatch.setattr(one, "save", lambda: saved.append(one.steps))
    one.fit(2)
    assert saved == [2, 4, 5, 6, 8, 10, 10]
    assert not Every("60s").due(5) and Every(5).due(10) and not Every(5).due(11)


@pytest.mark.parametrize("every", [0, -1, "5m", "s", 1.5, True, None, ""])
def test_bad_intervals_are_named(every):
    with pytest.raises(ArgumentError, match="checkpoint_every is"):
        Every(every)


def test_bad_arguments_are_named():
    with pytest.raises(ArgumentError, match="epochs is -1"):
        trainer().fit(-1)
    with pytest.raises(ArgumentError, match="give a loader as test"):
        trainer(test=None, schedule=optim.ReduceOnPlateau())
    one = trainer()
    with pytest.raises(ArgumentError, match="give it one of its own"):
        training.Trainer(one.model, one.optimizer, one.train, one.train)
    with pytest.raises(ArgumentError, match="create it with out"):
        trainer().start(resume=True)
    with pytest.raises(ArgumentError, match="patience is 0"):
        training.EarlyStopping(0)
    with pytest.raises(ArgumentError, match="no test loader"):
        trainer(test=None).evaluate()


def test_evaluation():
    one = trainer()
    random_state = minicnn.random.get_state()
    result = one.evaluate()
    assert one.model.training and minicnn.random.get_state() == random_state
    assert result.probabilities.shape == (20, 2)
    np.testing.assert_allclose(result.probabilities.sum(1), 1, rtol=1e-6)
    confusion = result.confusion()
    assert confusion.sum() == 20 and confusion.trace() == round(20 * result.accuracy)
    assert (confusion.sum(1) == [10, 10]).all()


def test_pictures(tmp_path):
    image = pytest.importorskip("PIL.Image")
    one = trainer(tmp_path)
    one.fit(2)
    names = pictures.draw_all(tmp_path, one.history, one.evaluate(), dataset(20, 1), one.model)
    assert names == ["curves.png", "predictions.png", "confusion.png", "filters.png"]
    for name in names:
        with image.open(tmp_path / name) as picture:
            assert min(picture.size) > 200
    before = (tmp_path / "curves.png").read_bytes()
    pictures.learning_curves(one.history, tmp_path / "curves.png")
    assert (tmp_path / "curves.png").read_bytes() == before


def test_weights_in_a_file(tmp_path):
    one, two = trainer(seed=1), trainer(seed=2)
    io.save_weights(one.model, tmp_path / "w.safetensors")
    io.load_weights(two.model, tmp_path / "w.safetensors")
    same(one, two)
    safetensors = pytest.importorskip("safetensors.numpy")
    assert set(safetensors.load_file(tmp_path / "w.safetensors")) == set(weights(one))
    assert (tmp_path / "w.safetensors").stat().st_mode & 0o077 == (0o666 & ~umask()) & 0o077


def umask():
    mask = os.umask(0)
    os.umask(mask)
    return mask


@pytest.mark.parametrize("how", DAMAGES)
def test_damaged_weights_change_nothing(tmp_path, how):
    path = tmp_path / "w.safetensors"
    io.save_weights(trainer(seed=1).model, path)
    damage(path, how)
    two = trainer(seed=2)
    before = weights(two)
    with pytest.raises(CheckpointError, match="w.safetensors"):
        io.load_weights(two.model, path)
    assert all(np.array_equal(a, b) for a, b in zip(before.values(), weights(two).values()))


def test_every_flipped_bit_is_seen(tmp_path):
    path = tmp_path / "w.safetensors"
    io.write_archive(path, {"x": np.arange(6.0).reshape(2, 3), "n": np.array(3)}, {"k": [1, None, "x"]})
    content = path.read_bytes()
    arrays, stored = io.read_archive(path)
    assert (
        arrays["x"].tolist() == [[0, 1, 2], [3, 4, 5]] and arrays["n"].shape == () and stored == {"k": [1, None, "x"]}
    )
    for place in range(8, len(content)):
        path.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
        try:
            found = io.read_archive(path)
        except CheckpointError:
            continue
        # A flip in our key's name makes it a file of someone else's, which has no checksum; spaces are spaces.
        assert found[1] is None or found[1] == stored, place


def test_a_flipped_bit_in_the_key_of_the_checksum_is_seen(tmp_path):
    model = layers.Sequential(layers.Linear(2, 2))
    path = tmp_path / "weights.safetensors"
    io.save_weights(model, path)
    whole = path.read_bytes()
    place = whole.index(b'"minicnn":') + 1
    for offset in range(len("minicnn")):
        broken = bytearray(whole)
        broken[place + offset] ^= 1
        path.write_bytes(broken)
        with pytest.raises(CheckpointError, match="damaged"):
            io.load_weights(model, path)


def test_missing_and_foreign_files(tmp_path):
    with pytest.raises(CheckpointError, match="there is no such file"):
        io.load_weights(trainer().model, tmp_path / "none")
    io.save_weights(trainer().model, tmp_path / "w.safetensors")
    with pytest.raises(CheckpointError, match="is not a minicnn checkpoint"):
        training.read_checkpoint(tmp_path / "w.safetensors")
