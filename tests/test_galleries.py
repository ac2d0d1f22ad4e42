"""Figures of pictures: what is in them, pixel by pixel, and what is written beside."""

import numpy as np
import pytest

from minicnn.data import Dataset
from minicnn.errors import ArgumentError, ShapeError
from minicnn.inspect import (
    Patches,
    plot_answers,
    plot_filters,
    plot_heat,
    plot_maps,
    plot_patches,
    save_figure,
)  # fmt: skip
from minicnn.layers import Conv2d
from minicnn.training.metrics import Evaluation

pytest.importorskip("matplotlib")


def drawn(axes):
    return [np.asarray(image.get_array()) for image in axes.images]


def test_filters_of_a_first_layer(rng):
    weight = rng.normal(size=(6, 3, 5, 4))
    weight[2] = 0
    figure = plot_filters(weight)
    (sheet,) = drawn(figure.axes[0])
    columns = round((sheet.shape[1] + 1) / 5)
    for k in range(6):
        top, left = (k // columns) * 6, (k % columns) * 5
        tile = sheet[top : top + 5, left : left + 4].transpose(2, 0, 1)
        peak = np.abs(weight[k]).max()
        np.testing.assert_allclose(tile, 0.5 + weight[k] / peak / 2 if peak else np.full((3, 5, 4), 0.5), rtol=1e-12)
    assert figure.axes[0].get_title(loc="left") == "6 filters, 5x4, each on its own scale; grey is 0"


def test_filters_of_a_later_layer():
    layer = Conv2d(32, 64, 3)
    figure = plot_filters(layer.weight)
    (sheet,) = drawn(figure.axes[0])
    assert sheet.shape == (16 * 4 - 1, 16 * 4 - 1)
    np.testing.assert_array_equal(sheet[4 * 3 : 4 * 3 + 3, 4 * 5 : 4 * 5 + 3], layer.weight.numpy()[3, 5])
    assert figure.axes[0].get_title(loc="left") == "16 of 64 filters (rows), 16 of 32 channels (columns), 3x3"
    assert figure.axes[1].get_ylabel() == "weight"


@pytest.mark.parametrize("low, name", [(0.0, "cividis"), (-2.0, "signed")])
def test_maps_share_a_scale(rng, low, name):
    maps = np.maximum(rng.normal(size=(70, 4, 6)), low)
    figure = plot_maps(maps, "conv1")
    (image,) = figure.axes[0].images
    assert image.get_cmap().name == name and image.get_clim() == (-np.abs(maps).max() if low else 0, np.abs(maps).max())
    assert (
        figure.axes[0].get_title(loc="left") == "conv1: 64 of 70 maps, 4x6"
        and figure.axes[1].get_ylabel() == "activation"
    )
    assert [text.get_text() for text in figure.axes[0].texts] == [str(number) for number in range(64)]
    sheet = drawn(figure.axes[0])[0]
    assert np.isclose(np.nansum(sheet), maps[:64].sum()) and (~np.isnan(sheet)).sum() == 64 * 24


@pytest.mark.parametrize("shape", [(64, 8, 8), (64, 32, 32), (64, 1, 1), (24, 8, 8)])
def test_numbers_of_maps_stand_clear_of_the_row_above(shape):
    figure = plot_maps(np.ones(shape))
    figure.canvas.draw()
    axes = figure.axes[0]
    tiled = np.flatnonzero(~np.isnan(drawn(axes)[0]).all(1))
    for text in axes.texts:
        box = text.get_window_extent().transformed(axes.transData.inverted())
        assert not ((tiled + 0.5 > box.y1) & (tiled - 0.5 < box.y0)).any(), (text.get_text(), box)


def test_heat_lies_on_the_pale_picture(rng):
    pictures = rng.integers(0, 256, (3, 3, 8, 6), dtype=np.uint8)
    heat = rng.normal(size=(3, 4, 3))
    heat[1] = 0
    figure = plot_heat(pictures, heat, ["cat", "dog", "ship"], "score")
    upper, lower = figure.axes[:3], figure.axes[3:]
    for n in range(3):
        np.testing.assert_allclose(drawn(upper[n])[0], pictures[n].transpose(1, 2, 0) / 255)
        grey, tint = drawn(lower[n])
        np.testing.assert_allclose(grey, 0.4 + 0.6 * pictures[n].mean(0) / 255)
        peak = np.abs(heat[n]).max()
        np.testing.assert_allclose(tint[..., 3], 0.85 * np.abs(heat[n]) / (peak or 1))
        assert ((tint[..., 0] > 0.5) == (heat[n] >= 0)).all()  # orange above zero, blue below
        assert tuple(lower[n].images[1].get_extent()) == (-0.5, 5.5, 7.5, -0.5)
        assert lower[n].get_xlabel() == f"full colour: {peak:.3g}"
    assert [axes.get_title() for axes in upper] == ["cat", "dog", "ship"]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["above zero, score", "below zero"]
    for unit, label in (("", "largest values"), ("score", "score")):
        assert [t.get_text() for t in plot_heat(pictures, np.abs(heat), unit=unit).legends[0].get_texts()] == [label]


def test_patches_are_cut_from_the_pictures(rng):
    pictures = rng.integers(0, 256, (4, 1, 6, 6), dtype=np.uint8)
    areas = np.array([[[0, 3, 1, 4], [-1, 2, 4, 7]], [[2, 5, 2, 5], [3, 6, 3, 6]]])
    patches = Patches(np.array([[2.5, 1.25], [4, 3]]), np.array([[3, 0], [1, 2]]), areas)
    figure = plot_patches(pictures, patches)
    first, second = figure.axes[:2]
    np.testing.assert_allclose(drawn(first)[0], pictures[3, 0, 0:3, 1:4] / 255)
    np.testing.assert_allclose(drawn(second)[0][1:, :2], pictures[0, 0, 0:2, 4:6] / 255)
    assert (drawn(second)[0][0] == 128 / 255).all() and (drawn(second)[0][:, 2] == 128 / 255).all()
    assert [axes.get_xlabel() for axes in figure.axes] == ["2.5", "1.25", "4", "3"]
    assert [axes.get_ylabel() for axes in figure.axes] == ["0", "", "1", ""]
    assert plot_patches(pictures, patches, [1]).axes[0].get_ylabel() == "1"
    with pytest.raises(ArgumentError, match="channels is empty"):
        plot_patches(pictures, patches, [])


def evaluation():
    labels = np.array([0, 1, 0, 1, 1])
    shares = np.array([[0.9, 0.1], [0.6, 0.4], [0.2, 0.8], [0.3, 0.7], [0.95, 0.05]], "float32")
    return Evaluation(1.0, labels, shares)


def test_the_surest_mistakes_come_first():
    assert evaluation().misclassified().tolist() == [4, 2, 1]
    perfect = Evaluation(0.0, np.array([0, 1]), np.eye(2, dtype="float32"))
    assert perfect.misclassified().shape == (0,)


def test_answers_say_what_is_wrong(rng):
    pictures = rng.integers(0, 256, (5, 3, 4, 4), dtype=np.uint8)
    result = evaluation()
    test = Dataset(pictures, result.labels, ("cat", "dog"))
    figure = plot_answers(test, result)
    said = [axes.get_title() for axes in figure.axes]
    assert said == ["cat 90%\n", "cat 60%\nis dog", "dog 80%\nis cat", "dog 70%\n", "cat 95%\nis dog"]
    assert [axes.title.get_color() == "black" for axes in figure.axes] == [True, False, False, True, False]
    assert figure.get_suptitle() == "2 of these 5 right; 40.0% of all 5"
    figure = plot_answers(test, result, result.misclassified()[:2], columns=3)
    assert [axes.get_title() for axes in figure.axes] == ["cat 95%\nis dog", "dog 80%\nis cat"]
    np.testing.assert_allclose(drawn(figure.axes[0])[0], pictures[4].transpose(1, 2, 0) / 255)
    with pytest.raises(ArgumentError, match=r"chosen has shape \(0,\)"):
        plot_answers(test, result, [])


def test_floats_are_stretched(rng):
    normalised = rng.normal(size=(2, 3, 4, 4))
    normalised[1] = 7
    first, second, *_ = plot_heat(normalised, np.ones((2, 4, 4))).axes
    assert drawn(first)[0].min() == 0 and drawn(first)[0].max() == 1 and (drawn(second)[0] == 0.5).all()


@pytest.mark.parametrize(
    "call, words",
    [
        (lambda: plot_filters(np.ones((3, 5, 5))), r"weight has shape \(3, 5, 5\): it must be \(K, C, R, S\)"),
        (lambda: plot_maps(np.ones((1, 3, 5, 5))), r"maps has shape \(1, 3, 5, 5\): .* feature_maps\(...\)\[0\]"),
        (lambda: plot_heat(np.ones((3, 5, 5)), np.ones((3, 5, 5))), "pictures has shape"),
        (lambda: plot_heat(np.ones((2, 3, 5, 5)), np.ones((1, 5, 5))), "heat has shape .* for 2 pictures"),
        (lambda: plot_heat(np.ones((1, 4, 5, 5)), np.ones((1, 5, 5))), "4 channels"),
    ],
)
def test_what_is_refused(call, words):
    with pytest.raises((ShapeError, ArgumentError), match=words):
        call()


def test_one_picture_and_one_map_are_enough(rng, tmp_path):
    one = rng.normal(size=(1, 1, 1, 1))
    for number, figure in enumerate([plot_filters(one), plot_maps(one[0]), plot_heat(one, one[0])]):
        save_figure(figure, tmp_path / f"{number}.png")
        assert (tmp_path / f"{number}.png").stat().st_size > 500
