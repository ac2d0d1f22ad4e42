"""Animations: the numbers in them computed anew, where the windows lie, and what is seen when."""

import base64
import html
import re
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest

import minicnn
from minicnn import Tensor, models, ops
from minicnn.errors import ArgumentError, ShapeError, WindowError
from minicnn.inspect import Animation, animate_convolution, animate_field, fields
from minicnn.layers import Concat, Conv2d, Layer, MaxPool2d, ReLU, Sequential, trace

SVG = "{http://www.w3.org/2000/svg}"


def words(picture):
    """The lines of text in a picture."""
    return [html.unescape(text) for text in re.findall(r"<text[^>]*>([^<]*)</text>", picture.svg)]


def sums(picture):
    """The sums below the grids, each in one piece: pixel*weight + ... = value."""
    joined = []
    for line in words(picture):
        if line.startswith(("+ ", "= ")):
            joined[-1] += " " + line
        else:
            joined.append(line)
    return [line.replace(" (bias)", "") for line in joined if "=" in line and not line.startswith(("=", f"{line[0]}x"))]


def numbers(picture):
    """How many boxes hold a number."""
    return len([word for word in words(picture) if re.fullmatch(r"-?[\d.]+", word)])


CASES = [
    ((7, 7), (3, 3), {}),
    ((7, 7), (3, 3), {"stride": 2, "bias": 1}),
    ((5, 4), (2, 3), {"padding": (1, 0, 2, 1), "bias": -2}),
    ((6, 6), (2, 2), {"dilation": (2, 3), "stride": (1, 2)}),
    ((1, 1), (1, 1), {}),
]


@pytest.mark.parametrize("x_shape, w_shape, options", CASES)
def test_each_sum_comes_to_what_the_convolution_gives(rng, x_shape, w_shape, options):
    x, weight = rng.integers(-3, 4, x_shape), rng.integers(-2, 3, w_shape)
    film = animate_convolution(x, weight, **options)
    places = {name: value for name, value in options.items() if name != "bias"}
    y = ops.conv2d(Tensor(x[None, None] * 1.0), Tensor(weight[None, None] * 1.0), **places).numpy()[0, 0]
    y = y + options.get("bias", 0)
    assert len(film) == y.size
    for frame, value in enumerate(y.flat):
        ((left, right),) = [line.split("=") for line in sums(film[frame])]
        assert eval(left) == value == float(right)
        assert left.count("*") == weight.size
        assert numbers(film[frame]) - numbers(film[0]) == frame  # the outputs so far stand in their boxes


def test_the_channels_add_up(rng):
    x, weight = rng.integers(-3, 4, (3, 5, 5)), rng.integers(-2, 3, (3, 3, 3))
    film = animate_convolution(Tensor(x * 1.0), weight, bias=3, stride=2, padding=1)
    y = ops.conv2d(Tensor(x[None] * 1.0), Tensor(weight[None] * 1.0), stride=2, padding=1).numpy()[0, 0] + 3
    for frame, value in enumerate(y.flat):
        *channels, last = [line.split("=") for line in sums(film[frame])]
        for number, (left, right) in enumerate(channels):
            assert left.startswith(f"channel {number}: ") and eval(left.split(":")[1]) == float(right)
        left, right = last
        assert len(channels) == 3 and eval(left) == value == float(right) == sum(float(c[1]) for c in channels) + 3


@pytest.mark.parametrize("options", [{}, {"stride": 2}, {"stride": 2, "padding": 1}])
def test_the_window_lies_where_the_output_comes_from(options):
    """Moved by the stride times the box's side for each output, from the corner of the padding."""
    film = animate_convolution(np.ones((7, 7)), np.ones((3, 3)), **options)
    windows = [next(box for box in film[k].boxes if box.names == ("window",)) for k in range(len(film))]
    outputs = [next(box for box in film[k].boxes if box.names[0].startswith("output")) for k in range(len(film))]
    side, stride = windows[0].width / 3, options.get("stride", 1)
    columns = round(len(film) ** 0.5)
    for k, (window, output) in enumerate(zip(windows, outputs)):
        p, q = divmod(k, columns)
        assert (window.x / side, window.y / side) == (q * stride, p * stride) and window.height == 3 * side
        assert (output.x - outputs[0].x, output.y - outputs[0].y) == (q * side, p * side)
        assert output.names == (f"output {p},{q}",)


def test_the_title_has_the_formula():
    film = animate_convolution(np.ones((7, 7)), np.ones((3, 3)), stride=2)
    assert film.title == "animate_convolution: 3x3 filter, stride 2: (7 + 2*0 - 3)/2 + 1 = 3"
    assert "3x3 filter, stride 2: (7 + 2*0 - 3)/2 + 1 = 3" in words(film[0])


def seen_at(film, share):
    """The texts that CSS shows at a share of the cycle, from the rules in the file."""
    rules = {}
    for name, steps in re.findall(r"@keyframes (\S+?)\{((?:[\d.]+%\{[^}]*\})+)\}", film.svg):
        rules[name] = [(float(at), what) for at, what in re.findall(r"([\d.]+)%\{visibility:(\w+)\}", steps)]
    found = []
    for group in ElementTree.fromstring(film.svg).findall(f"{SVG}g"):
        name = group.get("class", "").split(" ")[-1]
        state = "visible" if not name else [what for at, what in rules[name] if at <= 100 * share][-1]
        if state == "visible":
            found += [text.text for text in group.iter(f"{SVG}text")]
    return found


@pytest.mark.parametrize(
    "film",
    [
        animate_convolution(np.eye(4), np.ones((2, 2)), bias=1),
        animate_field("lenet5"),
        animate_convolution(np.eye(2), np.ones((2, 2))),
    ],
    ids=["convolution", "field", "one frame"],
)
def test_the_file_shows_the_frames_one_after_the_other(film):
    for frame in range(len(film)):
        still = [text.text for text in ElementTree.fromstring(film[frame].svg).iter(f"{SVG}text")]
        for part in (0.02, 0.5, 0.98):
            assert seen_at(film, (frame + part) / len(film)) == still
    assert film[-1].svg == film[len(film) - 1].svg
    views = {film[frame].view for frame in range(len(film))} | {film.view}
    assert len(views) == 1  # nothing jumps


def test_how_notebooks_show_it(tmp_path):
    """As an image: SVG itself is refused until a notebook is trusted."""
    film = animate_convolution(np.eye(3), np.ones((2, 2)), seconds=0.5)
    for picture in (film, film[2]):
        form = r'<img alt="[^"]*" style="[^"]*" src="data:image/svg\+xml;base64,([^"]*)"/>'
        data = re.fullmatch(form, picture._repr_html_())[1]
        assert base64.b64decode(data).decode() == picture.svg == str(picture)
        assert not hasattr(picture, "_repr_svg_")
    assert "animation:m-0-1 2s step-end infinite" in film.svg and "<script" not in film.svg
    film.save(tmp_path / "film.svg")
    assert (tmp_path / "film.svg").read_text(encoding="utf-8") == film.svg
    with pytest.raises(IndexError, match="no frame 4: there are 4"):
        film[4]


def test_they_stay_small():
    film = animate_convolution(np.ones((7, 7)), np.ones((3, 3)), padding=1)
    assert len(film) == 49 and len(film.svg) < 80_000
    assert len(animate_field("vgg_d").svg) < 100_000


@pytest.mark.parametrize(
    "call, error, words",
    [
        (lambda: animate_convolution(np.ones((2, 2)), np.ones((3, 3))), WindowError, "3x3 window does not fit a 2x2"),
        (lambda: animate_convolution(np.ones((12, 3)), np.ones((3, 3))), ArgumentError, "12x3.* at most 11x11"),
        (lambda: animate_convolution(np.ones((4, 5, 5)), np.ones((4, 3, 3))), ArgumentError, "3 channels"),
        (lambda: animate_convolution(np.ones((10, 10)), np.ones((1, 1))), ArgumentError, "10x10 outputs"),
        (lambda: animate_convolution(np.ones((2, 5, 5)), np.ones((3, 3))), ShapeError, "x has 2 channels"),
        (lambda: animate_convolution(np.ones(5), np.ones((3, 3))), ShapeError, r"x has shape \(5,\)"),
        (lambda: animate_convolution(np.ones((5, 5)), [[1], [2, 3]]), ArgumentError, "weight is list: .* numbers"),
        (lambda: animate_convolution(np.eye(3) * np.nan, np.ones((2, 2))), ShapeError, "finite numbers"),
        (lambda: animate_convolution(np.eye(3), np.eye(2), bias="1"), ArgumentError, "bias is '1'"),
        (lambda: animate_convolution(np.eye(3), np.eye(2), seconds=0), ArgumentError, "seconds is 0: .* greater"),
        (lambda: animate_field("vgg_d", ["conv9"]), ArgumentError, "animate_field: layers has 'conv9'"),
        (lambda: animate_field("vgg_d", []), ArgumentError, "animate_field: layers is empty"),
        (lambda: animate_field(Sequential(ReLU()), input_shape=(3, 4, 4)), ArgumentError, "no layer has a window"),
        (lambda: animate_field(Sequential(ReLU()), input_shape=(3,)), ArgumentError, "give .C, H, W."),
    ],
)
def test_what_is_refused(call, error, words):
    with pytest.raises(error, match=words):
        call()


def net():
    return Sequential(
        Conv2d(3, 2, 3, padding=1), ReLU(), Conv2d(2, 2, (3, 5), (2, 1)), MaxPool2d(2), Conv2d(2, 2, 3, dilation=2)
    )


def pixels(film, frame, names):
    """The field's rectangle in a frame, in pixels of the input: (top, bottom, left, right)."""
    boxes = film[frame].boxes
    whole = next(box for box in boxes if box.names == ("the input",))
    field = [box for box in boxes if box.names == (names[frame],)][-1]
    side = whole.width / 40
    edges = [(field.y - whole.y), (field.y + field.height - whole.y), (field.x - whole.x)]
    return [round(edge / side, 3) for edge in (*edges, field.x + field.width - whole.x)]


def test_the_rectangles_are_what_has_a_gradient():
    """A unit's gradient, all weights positive, is not zero exactly inside; and each field lies in the next."""
    model = net()
    for parameter in model.parameters():
        parameter.data = np.ones(parameter.shape, "float32")
    film = animate_field(model, input_shape=(3, 36, 40))
    names = ["input", "Conv2d 0", "Conv2d 2", "MaxPool2d 3", "Conv2d 4"]
    assert len(film) == len(names)
    records = trace(model, (3, 36, 40))
    known = {record.path: pair for record, pair in zip(records.records, fields(records))}
    x = np.ones((1, 3, 36, 40), "float32") + np.arange(40, dtype="float32") / 100
    inner = None
    for frame in range(1, len(film)):
        path = names[frame].split()[1]
        area = pixels(film, frame, names)
        pair, part = known[path], model[: int(path) + 1]
        row = (area[0] + pair.vertical.size / 2 - pair.vertical.start) / pair.vertical.jump
        column = (area[2] + pair.horizontal.size / 2 - pair.horizontal.start) / pair.horizontal.jump
        assert row == int(row) and column == int(column)
        hit = reached(part, x, int(row), int(column))
        rows, columns = np.flatnonzero(hit.any(1)), np.flatnonzero(hit.any(0))
        assert area == [rows[0], rows[-1] + 1, columns[0], columns[-1] + 1]
        if inner:
            assert area[0] <= inner[0] and area[2] <= inner[2] and area[1] >= inner[1] and area[3] >= inner[3]
        inner = area


def reached(part, x, row, column):
    """Pixels with a gradient; max pooling passes one on only, so it becomes an average, which passes all."""
    layers = [minicnn.layers.AvgPool2d(2) if isinstance(layer, MaxPool2d) else layer for layer in part]
    pixels = Tensor(x, requires_grad=True)
    y = Sequential(*layers)(pixels)
    chosen = np.zeros(y.shape, "float32")
    chosen[:, :, row, column] = 1
    return minicnn.grad(y, pixels, Tensor(chosen)).numpy()[0].any(0)


@pytest.mark.parametrize("name", ["vgg_d", "alexnet", "resnet18", "lenet5", "inception_v3", "densenet121"])
def test_the_formulas_come_to_the_fields(name):
    film = animate_field(name)
    counted = 0
    for frame in range(len(film)):
        (line,) = [line for line in words(film[frame]) if line.startswith(("field ", "vertical: field "))]
        for part in line.replace("vertical: ", "").replace("horizontal: ", "").split("; "):
            size, jump = part.split(", ")
            for sum_ in (size, jump):
                if "=" in sum_:
                    left, right = sum_.replace("field", "").replace("jump", "").replace("pixels", "").split("=")
                    assert eval(left) == float(right)
                    counted += 1
    assert counted >= len(film) // 2


def test_vgg_layer_by_layer():
    """Simonyan and Zisserman: two 3x3 see 5x5, three see 7x7; behind the last pool 212."""
    film = animate_field("vgg_d")
    lines = [next(line for line in words(film[k]) if line.startswith("field ")) for k in range(len(film))]
    assert lines[1] == "field 1 + (3 - 1)*1 = 3 pixels, jump 1*1 = 1"
    assert lines[2] == "field 3 + (3 - 1)*1 = 5 pixels, jump 1*1 = 1"
    assert lines[3] == "field 5 + (2 - 1)*1 = 6 pixels, jump 1*2 = 2"
    assert lines[-1] == "field 196 + (2 - 1)*16 = 212 pixels, jump 16*2 = 32"
    assert len(film) == 19 and isinstance(film, Animation)


def test_named_layers_take_the_windows_between_along():
    film = animate_field(models.create("vgg_d", device="meta")[:10], ["conv1_2", "conv2_2"], (3, 32, 32))
    lines = [next(line for line in words(film[k]) if line.startswith("field ")) for k in range(3)]
    assert lines[1] == "field 1 + (3 - 1)*1 + (3 - 1)*1 = 5 pixels, jump 1*1*1 = 1"
    assert lines[2] == "field 5 + (2 - 1)*1 + (3 - 1)*2 + (3 - 1)*2 = 14 pixels, jump 1*2*1*1 = 2"


def test_a_user_s_own_layer_and_branches():
    class Own(Layer):
        def __init__(self):
            self.conv = Conv2d(3, 4, 3, padding=1)

        def forward(self, x):
            return ops.relu(self.conv(x))

    uneven = Concat(Conv2d(4, 2, 3, padding=(0, 2, 0, 2)), Conv2d(4, 2, 3, padding=(2, 0, 2, 0)))
    film = animate_field(Sequential(Own(), uneven), ["0.conv", "1.cat"], (3, 12, 12))
    lines = [next(line for line in words(film[k]) if line.startswith("field ")) for k in range(3)]
    assert lines == [
        "field 1 pixel, jump 1 pixel", "field 1 + (3 - 1)*1 = 3 pixels, jump 1*1 = 1", "field 7 pixels, jump 1"
    ]  # fmt: skip


def overlap(a, b):
    across = min(a.x + a.width, b.x + b.width) - max(a.x, b.x)
    return across > 1 and min(a.y + a.height, b.y + b.height) - max(a.y, b.y) > 1


def check_frames(film, frames):
    for frame in frames:
        picture = film[frame]
        x, y, width, height, _ = picture.view
        for number, text in enumerate(picture.texts):
            assert x <= text.x and text.x + text.width <= x + width
            assert y <= text.y and text.y + text.height <= y + height
            assert not any(overlap(text, other) for other in picture.texts[:number])


def test_no_text_lies_on_another():
    pixels = np.arange(81).reshape(9, 9) - 40
    film = animate_convolution(pixels, [[1, -2, 10], [-20, 0, 1]], bias=-1, stride=(1, 2), padding=1)
    check_frames(film, (0, 20, -1))
    decimals = np.linspace(-1.234, 1234.5, 75).reshape(3, 5, 5)
    check_frames(animate_convolution(decimals, decimals[:, :2, :2] / 100, bias=0.001, padding=1), (0, -1))
    check_frames(animate_field("lenet5"), range(5))


@pytest.mark.slow
@pytest.mark.parametrize("name", models.names(all=True))
def test_the_field_of_every_network_grows(name):
    film = animate_field(name)
    check_frames(film, (0, len(film) // 2, -1))
    assert 2 <= len(film) <= 25 and len(film.svg) < 150_000
