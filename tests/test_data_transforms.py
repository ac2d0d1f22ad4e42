"""Transforms: against naive loops, and the promise that a sample's lot depends on nothing but the sample."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minicnn import data, random
from minicnn.data.draw import integers, normal
from minicnn.errors import ArgumentError, DataError, ShapeError

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (7, 3, 10, 12), dtype=np.uint8)
VALUES, VECTORS = np.array([0.2, 0.02, 0.003]), np.linalg.qr(RNG.standard_normal((3, 3)))[0]
AUGMENTATIONS = [
    data.RandomCrop((8, 9), padding=2),
    data.RandomCrop(10),
    data.RandomHorizontalFlip(),
    data.Cutout(5),
    data.ColorJitterPCA((VALUES, VECTORS)),
    data.Compose([data.RandomCrop(8, (1, 2, 0, 3), fill=9), data.RandomHorizontalFlip(0.3), data.Cutout(3)]),
]
PLAIN = [
    data.Resize((5, 20)),
    data.CenterCrop(7),
    data.FiveCrop((5, 6)),
    data.TenCrop(9),
    data.ToFloat(),
    data.Normalize([0.5] * 3, [0.25] * 3),
]


def draw(samples, seed=3, epoch=2):
    return data.Draw(seed, epoch, np.asarray(samples))


# ---- random numbers


def test_draw_is_a_function_of_seed_name_epoch_and_sample():
    samples = np.array([5, 0, 70_000, 5])
    first = draw(samples)("crop", 2)
    assert first.shape == (4, 2) and (first >= 0).all() and (first < 1).all()
    assert (first[0] == first[3]).all() and len(np.unique(first)) == 6
    assert (draw(samples)("crop", 2) == first).all()
    for sample, row in zip(samples, first):
        # The very numbers of minicnn.random: a block of four for each sample.
        words = random.philox(random.key("data.crop", 2, 3), 4, 4 * int(sample))
        assert (words[:2] * 2.0**-32 == row).all()
        assert (draw([sample])("crop", 2)[0] == row).all()
    for other in (draw(samples, seed=4), draw(samples, epoch=3), draw(samples).within("0")):
        assert not (other("crop", 2) == first).any()
    assert not (draw(samples)("flip", 2) == first).any()
    assert draw([])("crop", 5).shape == (0, 5) and draw(samples)("crop", 9).shape == (4, 9)
    with pytest.raises(ArgumentError, match="count is 0"):
        draw(samples)("crop", 0)


def test_tables_shared_by_an_epoch_change_nothing():
    tables = {}
    for samples in ([3, 1], [900, 2], [2, 3]):
        shared = data.Draw(3, 2, np.array(samples), tables=tables)
        assert (shared("crop", 2) == draw(samples)("crop", 2)).all()


def test_integers_and_normal():
    assert integers(np.array([0.0, 0.24, 0.25, 0.999999]), 4).tolist() == [0, 0, 1, 3]
    numbers = normal(draw(np.arange(20_000))("n", 6))
    assert numbers.shape == (20_000, 3) and np.isfinite(normal(np.array([[0.0, 0.0], [1 - 2**-32, 0.5]]))).all()
    assert abs(numbers.mean()) < 0.02 and abs(numbers.std() - 1) < 0.02
    assert np.abs(np.corrcoef(numbers.T) - np.eye(3)).max() < 0.03


@pytest.mark.parametrize("transform", AUGMENTATIONS + PLAIN, ids=repr)
@settings(max_examples=15, deadline=None)
@given(order=st.permutations(range(7)), cut=st.integers(1, 6))
def test_a_sample_does_not_depend_on_its_batch(transform, order, cut):
    whole = transform(IMAGES, draw(np.arange(100, 107)))
    order = np.array(order)
    parts = [transform(IMAGES[part], draw(100 + part)) for part in (order[:cut], order[cut:])]
    assert np.concatenate(parts).tobytes() == np.ascontiguousarray(whole[order]).tobytes()


@pytest.mark.parametrize("transform", AUGMENTATIONS + PLAIN, ids=repr)
def test_every_transform(transform):
    before, lots = IMAGES.tobytes(), draw(np.arange(7))
    result = transform(IMAGES, lots)
    assert IMAGES.tobytes() == before and not np.shares_memory(result, IMAGES)
    assert (transform(IMAGES, lots) == result).all()
    strided = np.asfortranarray(IMAGES)
    strided.setflags(write=False)
    assert (transform(strided, lots) == result).all()
    floats = transform(IMAGES.astype(np.float32) / 255, lots)
    assert floats.dtype == np.float32 and floats.shape == result.shape
    empty = transform(IMAGES[:0], draw([]))
    assert empty.shape == (0, *result.shape[1:]) and empty.dtype == result.dtype
    assert repr(transform).startswith(type(transform).__name__ + "(")


@pytest.mark.parametrize("transform", AUGMENTATIONS, ids=repr)
def test_random_ones_need_a_draw_of_the_right_size(transform):
    with pytest.raises(ArgumentError, match="draw is missing: give minicnn.data.Draw"):
        transform(IMAGES)
    with pytest.raises(ArgumentError, match="draw is for 3 samples but there are 7 images"):
        transform(IMAGES, draw([1, 2, 3]))


@pytest.mark.parametrize("transform", AUGMENTATIONS[:-1] + PLAIN[:4], ids=repr)
def test_one_image_is_no_batch(transform):
    with pytest.raises(ShapeError, match=r"it must be an array \(N, C, H, W\)"):
        transform(IMAGES[0], draw([0, 1, 2]))


# ---- what each one does


def test_random_crop_against_a_loop():
    crop, lots = data.RandomCrop((8, 9), padding=(1, 2, 3, 0), fill=7), draw(np.arange(7))
    padded = np.pad(IMAGES, ((0, 0), (0, 0), (1, 2), (3, 0)), constant_values=7)
    place = lots("crop", 2)
    for index, image in enumerate(crop(IMAGES, lots)):
        top, left = int(place[index, 0] * 6), int(place[index, 1] * 7)
        assert (image == padded[index, :, top : top + 8, left : left + 9]).all()
    lots = draw(np.arange(4000))
    everywhere = data.RandomCrop(2)(np.arange(16, dtype=np.uint8).reshape(1, 1, 4, 4).repeat(4000, 0), lots)[:, 0, 0, 0]
    counts = np.bincount(everywhere)[[0, 1, 2, 4, 5, 6, 8, 9, 10]]
    assert counts.sum() == 4000 and counts.min() > 350  # every place is as likely as any other: 444


def test_flip():
    lots = draw(np.arange(7))
    assert (data.RandomHorizontalFlip(1)(IMAGES, lots) == IMAGES[..., ::-1]).all()
    assert (data.RandomHorizontalFlip(0)(IMAGES, lots) == IMAGES).all()
    half = data.RandomHorizontalFlip()(IMAGES, lots)
    for index, number in enumerate(lots("flip")[:, 0]):
        assert (half[index] == (IMAGES[index, :, :, ::-1] if number < 0.5 else IMAGES[index])).all()
    with pytest.raises(ArgumentError, match=r"p is 1.5: it must be in 0 .. 1"):
        data.RandomHorizontalFlip(1.5)


def test_equal_transforms_in_a_compose_draw_different_numbers():
    images = np.arange(1000, dtype=np.float32).repeat(2).reshape(1000, 1, 1, 2) + np.array([0, 0.5], np.float32)
    twice = data.Compose([data.RandomHorizontalFlip(), data.RandomHorizontalFlip()])(images, draw(np.arange(1000)))
    assert 400 < (twice != images).all(axis=(1, 2, 3)).sum() < 600  # were they equal, nothing would be flipped


def test_cutout_against_a_loop():
    lots = draw(np.arange(7))
    result, centre = data.Cutout(5, fill=1)(IMAGES, lots), lots("cutout", 2)
    for index, image in enumerate(IMAGES):
        y, x = int(centre[index, 0] * 10), int(centre[index, 1] * 12)
        expected = image.copy()
        expected[:, max(y - 2, 0) : y + 3, max(x - 2, 0) : x + 3] = 1
        assert (result[index] == expected).all()


def test_crops():
    center = data.CenterCrop((4, 5))(IMAGES)
    assert (center == IMAGES[:, :, 3:7, 3:8]).all()
    five, ten = data.FiveCrop((4, 5))(IMAGES), data.TenCrop((4, 5))(IMAGES)
    assert five.shape == (7, 5, 3, 4, 5) and ten.shape == (7, 10, 3, 4, 5)
    assert (five[:, 0] == IMAGES[:, :, :4, :5]).all() and (five[:, 1] == IMAGES[:, :, :4, 7:]).all()
    assert (five[:, 2] == IMAGES[:, :, 6:, :5]).all() and (five[:, 3] == IMAGES[:, :, 6:, 7:]).all()
    assert (five[:, 4] == center).all()
    assert (ten[:, :5] == five).all() and (ten[:, 5:] == five[..., ::-1]).all()
    scaled = data.Normalize([0.1, 0.2, 0.3], [1, 2, 3])
    assert (scaled(ten)[:, 6] == scaled(ten[:, 6])).all()


@pytest.mark.parametrize(
    "transform", [data.CenterCrop(11), data.FiveCrop((3, 13)), data.TenCrop(11), data.RandomCrop(15, 2)]
)
def test_a_crop_larger_than_the_image(transform):
    with pytest.raises(ShapeError, match=r"Crop: a \d+x\d+ crop does not fit 1\dx1\d images: give a smaller size"):
        transform(IMAGES, draw(np.arange(7)))


@pytest.mark.parametrize("size", [0, -1, 2.5, "8", (1, 2, 3), True])
def test_bad_sizes(size):
    for kind in (data.CenterCrop, data.RandomCrop, data.FiveCrop, data.Resize, data.Cutout):
        with pytest.raises(ArgumentError, match="size is"):
            kind(size)


def bilinear(image, height, width):
    """One channel, pixel by pixel: every new pixel is an average under a triangle as wide as the step."""
    H, W = image.shape
    result = np.zeros((height, width))
    for p in range(height):
        for q in range(width):
            total = weight = 0.0
            for h in range(H):
                for w in range(W):
                    dy = abs((h + 0.5) - (p + 0.5) * H / height) / max(H / height, 1)
                    dx = abs((w + 0.5) - (q + 0.5) * W / width) / max(W / width, 1)
                    here = max(1 - dy, 0) * max(1 - dx, 0)
                    total, weight = total + here * image[h, w], weight + here
            result[p, q] = total / weight
    return result


@pytest.mark.parametrize("size", [(5, 6), (20, 7), (1, 1), (10, 24), (13, 11)])
def test_resize_against_a_loop(size):
    floats = IMAGES[:1, :1].astype(np.float32)
    expected = bilinear(floats[0, 0].astype(np.float64), *size)
    assert np.abs(data.Resize(size)(floats)[0, 0] - expected).max() < 1e-3
    assert np.abs(data.Resize(size)(IMAGES[:1, :1])[0, 0] - expected).max() <= 0.501


def test_resize_agrees_with_pillow():
    image = pytest.importorskip("PIL.Image")
    picture = image.fromarray(np.ascontiguousarray(IMAGES[0].transpose(1, 2, 0)))
    for height, width in [(5, 6), (20, 30), (7, 25)]:
        pillow = np.asarray(picture.resize((width, height), image.Resampling.BILINEAR)).transpose(2, 0, 1)
        assert np.abs(data.Resize((height, width))(IMAGES)[0].astype(int) - pillow).max() <= 1


def test_resize_to_a_shorter_side():
    assert data.Resize(5)(IMAGES).shape == (7, 3, 5, 6)
    assert data.Resize(20)(IMAGES.swapaxes(2, 3)).shape == (7, 3, 24, 20)
    assert (data.Resize(10)(IMAGES) == IMAGES).all()


def test_normalize():
    mean, std = (0.1, 0.5, 0.9), (0.2, 0.3, 0.4)
    expected = (IMAGES / 255 - np.reshape(mean, (3, 1, 1))) / np.reshape(std, (3, 1, 1))
    for images in (IMAGES, data.ToFloat()(IMAGES), IMAGES / 255):
        result = data.Normalize(mean, std)(images)
        assert result.dtype == np.float32 and np.abs(result - expected).max() < 1e-5
    assert repr(data.Normalize(mean, std)) == "Normalize(mean=(0.1, 0.5, 0.9), std=(0.2, 0.3, 0.4))"
    with pytest.raises(ShapeError, match="must be 1, as many as mean has numbers"):
        data.Normalize([0.5], [0.5])(IMAGES)
    with pytest.raises(ArgumentError, match="std greater than 0"):
        data.Normalize([0.5], [0])
    with pytest.raises(ArgumentError, match="mean has 2 numbers and std 1"):
        data.Normalize([0.5, 0.5], [1])


def test_principal_components_and_jitter():
    colours = RNG.multivariate_normal([120, 130, 110], VECTORS @ np.diag([900, 200, 30]) @ VECTORS.T, (20, 40, 40))
    images = np.clip(colours, 0, 255).astype(np.uint8).transpose(0, 3, 1, 2)
    values, vectors = data.principal_components(images)
    covariance = np.cov(images.transpose(1, 0, 2, 3).reshape(3, -1) / 255, bias=True)
    assert np.allclose(vectors @ np.diag(values) @ vectors.T, covariance, atol=1e-12)
    assert (np.diff(values) < 0).all() and np.allclose(vectors.T @ vectors, np.eye(3))
    dataset = data.Dataset(images, np.zeros(20, int), ("one",))
    assert all((a == b).all() for a, b in zip(data.principal_components(dataset), (values, vectors)))
    lots = draw(np.arange(20))
    moved = data.ColorJitterPCA((values, vectors), 0.1)(images, lots) - data.ToFloat()(images)
    factors = normal(lots("colour", 6)) * 0.1
    expected = (factors * values) @ vectors.T
    assert np.allclose(moved, expected[:, :, None, None], atol=1e-6)
    with pytest.raises(ShapeError, match="must have 3 channels"):
        data.ColorJitterPCA((values, vectors))(images[:, :1], lots)
    with pytest.raises(ArgumentError, match="components has shapes"):
        data.ColorJitterPCA((values, vectors[:2]))


# ---- datasets


def make(count=60, classes=3, seed=0):
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 256, (count, 1, 4, 4), dtype=np.uint8)
    return data.Dataset(images, rng.integers(0, classes, count), tuple("abcdefgh"[:classes]), "made")


def test_dataset_checks_what_it_is_given():
    images, labels, classes = np.zeros((4, 1, 2, 2), np.uint8), [0, 1, 1, 0], ("a", "b")
    dataset = data.Dataset(images, labels, classes)
    assert len(dataset) == 4 and dataset.labels.dtype == np.int64
    assert repr(dataset) == "Dataset(dataset: 4 images 1x2x2, 2 classes, from given arrays)"
    for arguments, message in [
        ((images, labels[:3], classes), "there are 4 images but 3 labels"),
        ((images[:0], np.zeros(0, int), classes), "it has no images"),
        ((images, [0, 1, 2, 0], classes), r"label 2 \(first at image 2\) names no class: labels must be in 0 .. 1"),
        ((images, [0, -1, 1, 0], classes), r"label -1 \(first at image 1\)"),
        ((images, [0.0, 1, 1, 0], classes), "labels has shape .* and dtype float64"),
        ((images.astype(float), labels, classes), "images has shape .* and dtype float64: it must be a uint8 array"),
        ((images[0], labels, classes), "it must be a uint8 array"),
    ]:
        with pytest.raises(DataError, match=message):
            data.Dataset(*arguments)
    for bad in ([], [4], [-1], [[0]], [0.5]):
        with pytest.raises(DataError, match="subset: indices must be whole numbers in 0 .. 3"):
            dataset.subset(bad)


def test_statistics():
    images = np.random.default_rng(0).integers(0, 256, (2345, 3, 4, 5), dtype=np.uint8)
    mean, std = data.Dataset(images, np.zeros(2345, int), ("a",)).statistics()
    assert np.allclose(mean, images.mean((0, 2, 3)) / 255) and np.allclose(std, images.std((0, 2, 3)) / 255)


@settings(max_examples=30, deadline=None)
@given(st.integers(2, 80), st.integers(1, 5), st.data())
def test_split(count, classes, choose):
    dataset, seed = make(count, classes), choose.draw(st.integers(0, 2**32 - 1))
    size = choose.draw(st.integers(1, count - 1))
    rest, chosen = data.split(dataset, size, seed)
    assert len(chosen) == size and len(rest) == count - size
    rows = lambda part: sorted(image.tobytes() for image in part.images)  # noqa: E731
    assert sorted(rows(rest) + rows(chosen)) == rows(dataset)
    amounts, share = (np.bincount(part.labels, minlength=classes) for part in (dataset, chosen))
    assert (np.abs(share - amounts * size / count) < 1).all()  # each class in proportion
    again = data.split(dataset, size, seed)[1]
    assert (again.images == chosen.images).all() and (again.labels == chosen.labels).all()


def test_split_by_fraction():
    dataset = make()
    assert len(data.split(dataset, 0.25)[1]) == 15
    assert (data.split(dataset, 0.25, 1)[1].images != data.split(dataset, 0.25, 2)[1].images).any()
    for size in (0, 60, -1, 0.0, 1.0, 0.001, "half", True):
        with pytest.raises(ArgumentError, match="split: size is"):
            data.split(dataset, size)


def test_the_numbers_stay_what_they_are():
    """A change here changes every training run that was ever resumed or reproduced."""
    lots = data.Draw(1, 2, np.arange(100))
    result = AUGMENTATIONS[-1](np.arange(256, dtype=np.uint8).repeat(3 * 100).reshape(100, 3, 16, 16), lots)
    images = np.arange(60, dtype=np.uint8).reshape(60, 1, 1, 1)
    dataset = data.Dataset(images, np.arange(60) % 7, tuple("abcdefg"))
    chosen = data.split(dataset, 20, 7)[1]
    order = data.Loader(dataset, 8, seed=5).order(3)
    found = hashlib.sha256(result.tobytes() + chosen.images.tobytes() + order.astype("<i8").tobytes()).hexdigest()
    assert found == "b3e9f60628fb926e3324d49ab852aaa6d4f4814f0ac205934b68112bc56812f9"
