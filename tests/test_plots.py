"""The published numbers, the plots that show them, and the commands that draw."""

import json
import math
import re
from pathlib import Path

import pytest

from minicnn import models
from minicnn.cli import app
from minicnn.errors import ArgumentError, CheckpointError, DataError
from minicnn.inspect import plot_errors, plot_memory, plot_winners, published, save_figure
from minicnn.layers import Conv2d, Linear, ReLU, Sequential, trace

ZOO = json.loads((Path(__file__).parent / "reference" / "zoo.json").read_text(encoding="utf-8"))
EVERY = [*published.IMAGENET, *published.CIFAR10]


@pytest.mark.parametrize("result", EVERY, ids=[f"{r.network}-{r.deck}-{r.top1}-{r.top5}" for r in EVERY])
def test_every_number_is_in_the_words_of_its_deck(result):
    assert result.network in ZOO and result.network in models.names(all=True)
    assert result.deck in ("000", "001", "002", "003", "004") and (result.top1 or result.top5)
    words = result.words
    if result.note == published.POINTS:  # "297" stands for 29.7
        words = re.sub(r"\b(\d\d)(\d)\b", r"\1.\2", words)
    said = [float(number) for number in re.findall(r"(?<![\d.])\d+\.?\d*", words.replace(",", ""))]
    for number in (result.top1, result.top5):
        assert number is None or number in said
        assert number is None or 0 < number < 50
    if result.top1 and result.top5:
        assert result.top5 < result.top1


def test_a_network_that_is_compared_has_one_line():
    for metric in ("top1", "top5"):
        names = [result.network for result in published.compared(metric)]
        assert len(names) == len(set(names)) >= 15
    assert {r.protocol for r in published.compared("top1")} <= set(published.SINGLE)
    assert published.compared("top1")[0] == published.IMAGENET[0]


@pytest.mark.parametrize("winner", [w for w in published.WINNERS if w.network], ids=lambda w: w.name)
def test_the_winners_are_as_deep_as_the_networks(winner):
    found = trace(models.create(winner.network, device="meta"), models.info(winner.network).input_shape)
    depth = {-1: 0}
    for record in found.leaves:
        weighted = isinstance(record.layer, (Conv2d, Linear))
        depth[record.index] = max(depth[source] for source in record.sources) + weighted
    assert (
        max(depth.values())
        == {"alexnet": 8, "clarifai": 8, "vgg_e": 19, "googlenet": 22, "resnet152": 152}[winner.network]
    )
    assert str(winner.top5) in winner.words


def test_errors_are_drawn_where_the_table_has_them():
    pytest.importorskip("matplotlib")
    figure = plot_errors()
    for axes, metric in zip(figure.axes, ("top1", "top5")):
        drawn = {dots.get_gid(): dots for dots in axes.collections}
        results = published.compared(metric)
        assert set(drawn) == {result.network for result in results}
        for result in results:
            ((x, y),) = drawn[result.network].get_offsets().tolist()
            assert x == pytest.approx(ZOO[result.network]["macs"] / 1e9) and y == getattr(result, metric)
            (size,) = drawn[result.network].get_sizes()
            assert size - 6 == pytest.approx(ZOO[result.network]["parameters"] / 2.5e5)
        labels = [text.get_text() for text in axes.texts]
        assert sorted(labels) == sorted(drawn)


def test_the_errors_on_cifar10():
    pytest.importorskip("matplotlib")
    (axes,) = plot_errors("cifar10").axes
    drawn = {dots.get_gid(): dots.get_offsets().tolist()[0] for dots in axes.collections}
    assert {name: y for name, (_, y) in drawn.items()} == {r.network: r.top1 for r in published.CIFAR10}
    assert all(x == pytest.approx(ZOO[name]["macs"] / 1e9) for name, (x, _) in drawn.items())
    with pytest.raises(ArgumentError, match="data is 'mnist': it must be imagenet or cifar10"):
        plot_errors("mnist")


@pytest.mark.parametrize("data", ["imagenet", "cifar10"])
def test_names_do_not_cover_each_other(data):
    pytest.importorskip("matplotlib")
    figure = plot_errors(data)
    figure.canvas.draw()
    for axes in figure.axes:
        boxes = [text.get_window_extent() for text in axes.texts]
        for number, box in enumerate(boxes):
            for other in boxes[:number]:
                wide = min(box.x1, other.x1) - max(box.x0, other.x0)
                high = min(box.y1, other.y1) - max(box.y0, other.y0)
                assert wide <= 1 or high <= 1


def test_winners_are_drawn():
    pytest.importorskip("matplotlib")
    depth, errors = plot_winners().axes
    assert [bar.get_height() for bar in errors.patches] == [winner.top5 for winner in published.WINNERS]
    assert depth.lines[0].get_ydata().tolist() == [8, 8, 19, 22, 152]
    words = [label.get_text() for label in errors.get_xticklabels()]
    assert words[1] == "AlexNet\n2012" and len(words) == len(published.WINNERS)


def test_memory_is_early_and_parameters_are_late():
    pytest.importorskip("matplotlib")
    memory, parameters = plot_memory("vgg_d").axes
    names = [label.get_text() for label in parameters.get_xticklabels()]
    early = {name: bar.get_height() for name, bar in zip(names, memory.patches)}
    late = {name: bar.get_height() for name, bar in zip(names, parameters.patches)}
    assert sum(early.values()) * 2**20 == pytest.approx(60_950_432)  # the worked example's total
    assert sum(late.values()) * 1e6 == pytest.approx(138_357_544)
    assert early["conv1_1"] == early["conv1_2"] == 224 * 224 * 64 * 4 / 2**20 == max(early.values())
    assert late["fc6"] == pytest.approx(102.764544) and late["fc6"] == max(late.values())
    assert memory.get_title(loc="left").endswith("58.1 MiB (float32)")


def test_plots_are_titled_like_diagrams():
    pytest.importorskip("matplotlib")
    title = models.info("vgg_d").title
    for model in ("vgg_d", "vgg16", models.create("vgg_d", device="meta")):
        assert plot_memory(model).get_suptitle() == title
    assert plot_memory(Sequential(Linear(3, 4)), (3,)).get_suptitle() == "Sequential"


@pytest.mark.parametrize("name", ["resnet152", "densenet121", "lenet5"])
def test_deep_networks_are_shown_in_blocks(name):
    pytest.importorskip("matplotlib")
    _, parameters = plot_memory(name).axes
    assert len(parameters.patches) <= 60
    total = math.fsum(bar.get_height() for bar in parameters.patches)
    assert total * 1e6 == pytest.approx(ZOO[name]["parameters"])


def test_memory_of_a_network_of_ones_own():
    pytest.importorskip("matplotlib")
    memory, _ = plot_memory(Sequential(Conv2d(3, 8, 3), ReLU()), (3, 10, 10)).axes
    assert [bar.get_height() * 2**20 for bar in memory.patches] == pytest.approx([4 * 300, 4 * 8 * 64])


@pytest.mark.parametrize("suffix", ["png", "svg", "pdf"])
def test_figures_are_saved_alike_twice(tmp_path, suffix):
    pytest.importorskip("matplotlib")
    for name in ("a", "b"):
        save_figure(plot_winners(), tmp_path / f"{name}.{suffix}")
    first, second = (tmp_path / f"{name}.{suffix}" for name in ("a", "b"))
    assert first.read_bytes() == second.read_bytes() and first.stat().st_size > 1000


def test_notebooks_show_figures():
    pytest.importorskip("matplotlib")
    first, second = plot_winners(), plot_winners()
    assert first._repr_png_() == second._repr_png_() and first._repr_png_().startswith(b"\x89PNG")


def test_figures_that_cannot_be_saved(tmp_path):
    pytest.importorskip("matplotlib")
    with pytest.raises(ArgumentError, match="must end in one of .png, .svg, .pdf"):
        save_figure(plot_winners(), tmp_path / "winners.gif")
    (tmp_path / "file").write_text("")
    with pytest.raises(CheckpointError, match="a part of that path is a file"):
        save_figure(plot_winners(), tmp_path / "file" / "winners.png")


def test_without_matplotlib_the_remedy_is_named(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "matplotlib.figure", None)
    with pytest.raises(DataError, match="plotting needs matplotlib"):
        plot_winners()


@pytest.fixture
def command(capsys, monkeypatch, tmp_path):
    """Call the command in an empty folder; gives (exit status, stdout, stderr)."""
    monkeypatch.chdir(tmp_path)

    def call(*arguments):
        with pytest.raises(SystemExit) as left:
            app(list(arguments))
        captured = capsys.readouterr()
        return left.value.code or 0, captured.out, captured.err

    return call


@pytest.mark.parametrize(
    "arguments, name, start",
    [
        (["draw", "lenet5"], "lenet5.svg", b"<svg"),
        (["draw", "alexnet", "--input", "1x227x227", "-o", "out/a.svg"], None, None),
        (["draw", "resnet18", "--input", "3x300x300", "--what", "field"], "resnet18_field.svg", b"<svg"),
        (["draw", "lenet5", "--what", "field", "--layer", "c3"], "lenet5_field.svg", b"<svg"),
        (["draw", "lenet5", "--what", "growth", "--layer", "c3"], "lenet5_growth.svg", b"<svg"),
        (["draw", "lenet5", "--what", "memory"], "lenet5_memory.png", b"\x89PNG"),
        (["plot", "winners", "-o", "w.pdf"], "w.pdf", b"%PDF"),
        (["plot", "cifar10"], "cifar10.png", b"\x89PNG"),
    ],
)
def test_the_commands_write_a_file(command, tmp_path, arguments, name, start):
    if start and start != b"<svg":
        pytest.importorskip("matplotlib")
    status, out, err = command(*arguments)
    if name is None:
        assert status == 1 and err.startswith("error: ") and "channels" in err
    else:
        assert (status, out, err) == (0, f"{name}\n", "") and (tmp_path / name).read_bytes().startswith(start)


@pytest.mark.parametrize(
    "arguments, status, words",
    [
        (["draw", "alexnett"], 1, "did you mean alexnet"),
        (["draw", "alexnet", "--what", "photo"], 2, "none of diagram, field, growth, memory"),
        (["draw", "alexnet", "--layer", "conv1"], 2, "--what field"),
        (["draw", "alexnet", "--input", "3x10"], 2, "CxHxW"),
        (["draw", "alexnet", "-o", "a.png"], 1, "must end in .svg"),
        (["plot", "sizes"], 2, "none of errors, cifar10, winners"),
    ],
)
def test_the_commands_say_what_is_wrong(command, tmp_path, arguments, status, words):
    code, out, err = command(*arguments)
    assert code == status and words in out + err and not list(tmp_path.iterdir())


def test_help_fits_a_terminal(command):
    for name in ("draw", "plot"):
        status, out, _ = command(name, "--help")
        assert status == 0 and all(len(line) <= 80 for line in out.splitlines())
