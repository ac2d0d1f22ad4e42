"""The loader: the same batches whatever happens around them, and no thread left behind."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
import threading
import time
import traceback

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minicnn import data
from minicnn.errors import ArgumentError

COUNT = 53
RNG = np.random.default_rng(0)
DATASET = data.Dataset(
    RNG.integers(0, 256, (COUNT, 3, 6, 6), dtype=np.uint8), np.arange(COUNT) % 5, tuple("abcde"), "made"
)
AUGMENT = data.Compose([data.RandomCrop(6, 2), data.RandomHorizontalFlip(), data.Normalize([0.5] * 3, [0.25] * 3)])


def threads():
    return [thread for thread in threading.enumerate() if thread.name == "minicnn-loader"]


@pytest.fixture(autouse=True)
def no_thread_is_left():
    assert not threads()
    yield
    assert not threads()


def bits(batches):
    return [(images.tobytes(), labels.tobytes()) for images, labels in batches]


def loader(batch_size=8, **options):
    return data.Loader(DATASET, batch_size, AUGMENT, **{"seed": 4, **options})


def test_an_epoch():
    batches = list(loader())
    assert len(batches) == len(loader()) == 7
    assert [len(labels) for _, labels in batches] == [8] * 6 + [5]
    for images, labels in batches:
        assert type(images) is np.ndarray and images.dtype == np.float32 and images.shape == (len(labels), 3, 6, 6)
        assert labels.dtype == np.int64
    assert len(list(loader(drop_last=True))) == len(loader(drop_last=True)) == 6
    plain = list(data.Loader(DATASET, 8, shuffle=False))
    assert (np.concatenate([labels for _, labels in plain]) == DATASET.labels).all()
    assert np.allclose(np.concatenate([images for images, _ in plain]) * 255, DATASET.images, atol=1e-4)
    assert plain[0][0].flags.writeable and not np.shares_memory(plain[0][0], DATASET.images)


def test_every_epoch_has_its_own_order():
    one = loader()
    orders = [one.order(epoch) for epoch in range(3)]
    for order in orders:
        assert (np.sort(order) == np.arange(COUNT)).all()
    assert (orders[0] != orders[1]).any() and (orders[1] != orders[2]).any()
    assert (loader(seed=5).order(0) != orders[0]).any() and (loader(batch_size=3).order(0) == orders[0]).all()
    first, second = bits(one), bits(one)
    assert one.epoch == 2 and first != second
    assert bits(loader()) == first and bits(loader(epoch=1)) == second


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 4), st.integers(0, 4), st.integers(1, 60))
def test_reading_ahead_changes_nothing(prefetch, other, batch_size):
    assert bits(loader(batch_size, prefetch=prefetch)) == bits(loader(batch_size, prefetch=other))


def test_a_sample_is_the_same_in_batches_of_any_size():
    def samples(batch_size):
        return np.concatenate([images for images, _ in loader(batch_size)]).tobytes()

    assert samples(1) == samples(8) == samples(50) == samples(COUNT) == samples(1000)


@settings(max_examples=40, deadline=None)
@given(
    epoch=st.integers(0, 2), stop=st.integers(0, 7), batch_size=st.just(8), prefetch=st.integers(0, 3),
    again=st.integers(0, 3), drop_last=st.booleans(), shuffle=st.booleans(),
)  # fmt: skip
def test_resuming_gives_the_very_same_remaining_batches(epoch, stop, batch_size, prefetch, again, drop_last, shuffle):
    options = dict(batch_size=batch_size, drop_last=drop_last, shuffle=shuffle)
    undisturbed = loader(**options)
    expected = [bits(undisturbed) for _ in range(4)]
    stop = min(stop, len(undisturbed))

    first = loader(**options, prefetch=prefetch)
    for _ in range(epoch):
        list(first)
    running = iter(first)
    seen = bits(next(running) for _ in range(stop))
    state = first.state_dict()
    running.close()
    assert state == first.state_dict() and all(type(number) is int for number in state.values())
    assert state["epoch"] == epoch and state["batch"] == stop

    second = loader(**{**options, "seed": 99}, prefetch=again)
    second.load_state_dict(state)
    assert second.state_dict() == state
    assert seen + bits(second) == expected[epoch]
    assert bits(second) == expected[epoch + 1]


def test_the_state_between_batches():
    one = loader()
    assert one.state_dict()["batch"] == 0
    for place, _ in enumerate(one, 1):
        assert (one.state_dict()["epoch"], one.state_dict()["batch"]) == (0, place)
    assert (one.state_dict()["epoch"], one.state_dict()["batch"]) == (1, 0)


def test_leaving_early_starts_the_epoch_over():
    one, expected = loader(), bits(loader())
    for _ in one:
        break
    next(iter(one))
    assert one.epoch == 0 and bits(one) == expected


def test_states_that_do_not_fit():
    state = {**loader().state_dict(), "batch": 3}
    for options, message in [
        (dict(batch_size=9), "batch_size 8, but here batch_size is 9: the remaining batches would differ"),
        (dict(shuffle=False), "shuffle 1, but here shuffle is 0"),
        (dict(drop_last=True), "drop_last 0, but here"),
    ]:
        with pytest.raises(ArgumentError, match=message):
            loader(**options).load_state_dict(state)
        loader(**options).load_state_dict({**state, "batch": 0})  # between epochs anything goes
    with pytest.raises(ArgumentError, match="images 53, but here images is 20"):
        data.Loader(DATASET.subset(np.arange(20)), 8).load_state_dict({**state, "batch": 1})
    with pytest.raises(ArgumentError, match="the state lacks seed, batch"):
        loader().load_state_dict({"epoch": 1})
    with pytest.raises(ArgumentError, match=r"batch'\] is 8: it must be a whole number in 0 .. 7"):
        loader().load_state_dict({**state, "batch": 8})


@pytest.mark.parametrize(
    "options, message",
    [
        (dict(batch_size=0), "batch_size is 0: it must be a whole number of at least 1"),
        (dict(batch_size=2.0), "batch_size is 2.0"),
        (dict(prefetch=-1), "prefetch is -1"),
        (dict(seed=-1), r"seed is -1: it must be a whole number in 0 .. 4294967295"),
        (dict(seed=2**32), "seed is 4294967296"),
        (dict(epoch=-1), "epoch is -1"),
        (dict(batch_size=54, drop_last=True), "batch_size is 54 but there are 53 images and drop_last"),
    ],
)
def test_bad_arguments(options, message):
    with pytest.raises(ArgumentError, match=message):
        loader(**options)
    with pytest.raises(ArgumentError, match="dataset is a ndarray"):
        data.Loader(DATASET.images, 8)
    with pytest.raises(ArgumentError, match="transform is 5"):
        data.Loader(DATASET, 8, 5)


def test_loader_is_shown():
    assert repr(loader()).startswith("Loader(made: 7 batches of 8, shuffle=True, seed=4, epoch=0, transform=Compose(")


# ---- threads


class Mistake(Exception):
    pass


@pytest.mark.parametrize("prefetch", [0, 2])
def test_an_error_comes_out_with_its_traceback(prefetch):
    def a_broken_transform(images, draw):
        if 20 in draw.samples:
            raise Mistake("on purpose")
        return images

    broken = data.Loader(DATASET, 8, a_broken_transform, shuffle=False, prefetch=prefetch)
    seen = []
    with pytest.raises(Mistake, match="on purpose") as caught:
        for _, labels in broken:
            seen.append(labels)
    assert len(seen) == 2  # the batches before it arrived
    assert any(frame.name == "a_broken_transform" for frame in traceback.extract_tb(caught.value.__traceback__))
    assert broken.state_dict()["batch"] == 2


@pytest.mark.parametrize(
    ("transform", "said"),
    [
        (lambda images, draw: None, "gave NoneType for 8 images"),
        (lambda images, draw: list(images), "gave list for 8"),
        (lambda images, draw: images[:3], r"gave \(3, 3, 6, 6\) for 8"),
        (lambda images, draw: np.float32(1), r"gave \(\) for 8"),
    ],
)
def test_a_transform_that_gives_no_images(transform, said):
    with pytest.raises(ArgumentError, match=said):
        next(iter(data.Loader(DATASET, 8, transform)))


@pytest.mark.parametrize("leave", ["break", "close", "error", "forget"])
def test_leaving_early_ends_the_thread_promptly(leave):
    one, start = loader(batch_size=2, prefetch=3), time.monotonic()
    if leave == "break":
        for _ in one:
            assert len(threads()) == 1
            break
    elif leave == "close":
        running = iter(one)
        next(running)
        running.close()
    elif leave == "error":
        try:
            for _ in one:
                raise Mistake
        except Mistake:
            pass
    else:
        running = iter(one)
        next(running)
        del running
    assert not threads() and time.monotonic() - start < 5


def test_the_thread_never_gets_further_ahead_than_told():
    made = []

    def count(images, draw):
        made.append(len(images))
        return images

    for handed, _ in enumerate(data.Loader(DATASET, 1, count, prefetch=3), 1):
        if handed <= 5:
            time.sleep(0.01)
            assert len(made) <= handed + 4  # three waiting and one in hand


def test_two_passes_at_once():
    one = loader()
    for (left, _), (right, _) in zip(one, one):
        assert left.tobytes() == right.tobytes()


def test_nothing_is_kept_alive():
    """Memory is freed by reference counting alone."""
    import weakref

    one = loader()
    gc.disable()
    try:
        last = None
        for images, _ in one:
            assert last is None or last() is None
            last = weakref.ref(images)
            del images, _
        alive = weakref.ref(one)
        del one
        assert alive() is None and last() is None
    finally:
        gc.enable()


PROGRAM = """
import signal, sys, numpy as np
from minicnn import data
signal.signal(signal.SIGINT, signal.default_int_handler)  # what runs in the background may have been told to ignore it
def slow(images, draw):
    import time; time.sleep(0.01); return images
dataset = data.Dataset(np.zeros((1000, 3, 32, 32), np.uint8), np.zeros(1000, int), ("a",))
running = iter(data.Loader(dataset, 2, slow, prefetch=2))
next(running)
print("ready", flush=True)
{rest}
"""


ENVIRONMENT = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}


@pytest.mark.parametrize(
    "rest, code",
    [
        ("", 0),
        ("sys.exit(3)", 3),
        ("raise ValueError", 1),
        ("sys.modules['kept'] = running; del running", 0),
        ("cycle = [running]; cycle.append(cycle); del running", 0),
    ],
)
def test_the_interpreter_can_exit_in_the_middle(rest, code):
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(rest=rest)], env=ENVIRONMENT, capture_output=True, timeout=60
    )
    assert done.returncode == code and done.stdout.strip() == b"ready", done.stderr
    assert b"Fatal" not in done.stderr and b"Exception ignored" not in done.stderr


@pytest.mark.skipif(os.name != "posix", reason="sends a POSIX signal")
def test_ctrl_c_ends_it():
    rest = "for _ in running: pass"
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM.format(rest=rest)],
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdout.readline().strip() == b"ready"
        time.sleep(0.1)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=30)
    assert b"KeyboardInterrupt" in errors and b"Fatal" not in errors and process.returncode != 0
