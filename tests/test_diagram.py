"""Diagrams and receptive-field pictures: what they show, and that nothing overlaps or is cut off."""

import itertools
import random
import re
import xml.etree.ElementTree as xml
from pathlib import Path

import numpy as np
import pytest

from minicnn import Tensor, models, ops
from minicnn.errors import ArgumentError, ShapeError
from minicnn.inspect import animate_field, diagram, field_picture
from minicnn.inspect.structure import Block, Chain, Dense, Fork, Heads, Op, Repeat, Web, records, structure
from minicnn.layers import (
    Add,
    AvgPool2d,
    BatchNorm2d,
    Cat,
    Concat,
    Conv2d,
    Dropout,
    Flatten,
    GlobalAvgPool2d,
    Graph,
    Identity,
    Layer,
    Linear,
    MaxPool2d,
    ReLU,
    Residual,
    Sequential,
    trace,
)

SVG = "{http://www.w3.org/2000/svg}"


def conv(channels, filters, window=3, stride=1):
    return Conv2d(channels, filters, window, stride, padding=window // 2)


def apart(a, b, slack):
    return (
        a.x + a.width <= b.x + slack or b.x + b.width <= a.x + slack
        or a.y + a.height <= b.y + slack or b.y + b.height <= a.y + slack
    )  # fmt: skip


def check_picture(picture):
    """Well-formed, nothing on top of something else, nothing outside."""
    root = xml.fromstring(picture.svg)
    assert root.tag == SVG + "svg" and root.get("viewBox") == " ".join(f"{v:g}" for v in picture.view[:4])
    assert len(picture.svg) < 200_000
    assert all(apart(a, b, 0.1) for a, b in itertools.combinations(picture.boxes, 2))
    assert all(apart(a, b, 1.5) for a, b in itertools.combinations(picture.texts, 2))
    assert all(apart(a, b, 1.5) for a in picture.texts for b in picture.boxes)
    x, y, width, height, _ = picture.view
    for box in picture.boxes + picture.texts:
        assert x <= box.x and y <= box.y and box.x + box.width <= x + width and box.y + box.height <= y + height
    # What the file itself says, read without the canvas.
    for rect in root.iter(SVG + "rect"):
        left, top = float(rect.get("x")), float(rect.get("y"))
        assert x <= left and left + float(rect.get("width")) <= x + width
        assert y <= top and top + float(rect.get("height")) <= y + height
    for text in root.iter(SVG + "text"):
        assert x < float(text.get("x")) < x + width and y < float(text.get("y")) < y + height and text.text
    return root


def texts(picture):
    return [text.text for text in xml.fromstring(picture.svg).iter(SVG + "text")]


def parts(model, shape):
    return structure(trace(model, shape))


ZOO = (
    "lenet5", "alexnet", "vgg_e", "nin_imagenet", "googlenet_aux", "inception_v3_aux", "inception_v4", "resnet152",
    "plain34", "resnext50_32x4d", "inception_resnet_v1", "densenet264", "preact_resnet50", "xception", "wrn_28_10_cifar10",
)  # fmt: skip


@pytest.mark.parametrize("name", ZOO)
def test_networks_of_the_zoo(name):
    picture = diagram(name)
    root = check_picture(picture)
    assert root.find(SVG + "title").text.startswith(models.info(name).title)
    found = trace(models.create(name, device="meta"), models.info(name).input_shape)
    ran = sorted(record.path for record in found.records if record.leaf)
    assert sorted(record.path for record in records(structure(found)) if record.leaf) == ran
    shown = [name for box in picture.boxes for name in box.names]
    assert len(shown) == len(set(shown)) and set(shown) <= {*ran, "input"}


def test_a_thousand_layers_are_folded():
    picture = diagram("cifar_preact_resnet1001")
    check_picture(picture)
    assert sum("110 times" in text for text in texts(picture)) == 3 and len(picture.svg) < 50_000


def test_a_chain_says_the_sizes_and_the_counts():
    shown = texts(diagram("alexnet"))
    for text in ("AlexNet", "conv1", "conv 11x11 /4", "55x55x96", "34,944", "max 3x3 /2", "fc6", "37,752,832", "1000"):
        assert text in shown
    assert "62,378,344 parameters, 1,135,256,096 multiply-adds for one input" in shown
    assert "conv 5x5, 2 groups" in texts(diagram("alexnet_grouped"))


def test_boxes_are_to_scale():
    boxes = {box.names[0]: box for box in diagram("vgg_d").boxes}
    fronts = {name: box.height / 1.3 for name, box in boxes.items() if name.startswith("conv")}
    assert fronts["conv1_1"] / fronts["conv3_1"] == pytest.approx((224 / 56) ** 0.5, rel=0.02)
    strip, depth = 4, 0.3  # the ReLU, and the perspective, which add to the width
    width = {name: boxes[name].width - depth * fronts[name] - strip for name in fronts}
    assert width["conv4_1"] / width["conv1_2"] == pytest.approx((512 / 64) ** 0.5, rel=0.02)


def test_small_layers_join_the_box_beside_them():
    model = Sequential(conv(3, 4), BatchNorm2d(4), ReLU(), MaxPool2d(2), Flatten(), Linear(64, 5), Dropout(0.5))
    first, pool, last = parts(model, (3, 8, 8)).parts
    assert [[r.kind for r in op.records] for op in (first, pool, last)] == [
        ["Conv2d", "BatchNorm2d", "ReLU"], ["MaxPool2d", "Flatten"], ["Linear", "Dropout"],
    ]  # fmt: skip
    before = Sequential(BatchNorm2d(3), ReLU(), conv(3, 4), BatchNorm2d(4), conv(4, 4), ReLU())
    assert [[r.path for r in op.records] for op in parts(before, (3, 8, 8)).parts] == [["0", "1", "2"], ["3", "4", "5"]]


def test_branches_sums_and_dense_blocks():
    (block,) = parts(Concat(conv(3, 4), Sequential(conv(3, 2), conv(2, 6)), Identity()), (3, 8, 8)).parts
    assert isinstance(block, Fork) and [len(branch.parts) for branch in block.branches] == [1, 2, 0]
    assert block.join.record.kind == "Cat" and [r.kind for r in block.join.before] == ["Identity"]

    chain = parts(Sequential(Residual(conv(3, 3)), Residual(conv(3, 4, 1), conv(3, 4), ReLU())), (3, 8, 8))
    plain, projected = chain.parts
    assert isinstance(plain, Block) and isinstance(projected.inner.parts[0], Fork)
    assert [r.kind for r in projected.inner.parts[0].join.after] == ["ReLU"]

    def layer(channels):
        return Concat(Identity(), Sequential(BatchNorm2d(channels), conv(channels, 2)))

    (dense,) = parts(Sequential(*[layer(3 + 2 * n) for n in range(7)]), (3, 8, 8)).parts
    assert isinstance(dense, Dense) and len(dense.steps) == 7
    picture = diagram(Sequential(*[layer(3 + 2 * n) for n in range(7)]), (3, 8, 8))
    check_picture(picture)
    assert "dense block: 7 layers, 2 new channels each" in texts(picture) and "4 more" in texts(picture)
    assert picture.svg.count('class="m-arc"') == 5 * 4 / 2


@pytest.mark.parametrize("name, output", [("inception_naive", "28x28x672"), ("inception_bottleneck", "28x28x480")])
def test_a_join_that_ends_a_network_tells_its_output(name, output):
    picture = diagram(name)
    check_picture(picture)
    assert "concat" in texts(picture) and output in texts(picture)
    join = max(picture.boxes, key=lambda box: box.x)
    ends = re.findall(r'<path d="M[^"]*L([-\d.]+) [-\d.]+" class="m-wire"', picture.svg)
    assert max(map(float, ends)) <= join.x  # no wire that leads nowhere


def test_joins_without_a_frame_tell_their_output():
    picture = diagram(Residual(conv(3, 8), conv(3, 8, 1), ReLU()), (3, 6, 6))
    check_picture(picture)
    assert "sum" in texts(picture) and texts(picture).count("6x6x8") == 3
    shown = texts(diagram(heads(), (3, 8, 8)))
    assert "sum" in shown and shown.count("8x8x4") == 4  # stem, left, right, sum
    framed = diagram(Sequential(Residual(conv(3, 3)), Concat(conv(3, 4), conv(3, 1))), (3, 8, 8))
    assert not {"sum", "concat"} & set(texts(framed))  # the frames' headings do


def test_the_lenet_of_1998_says_its_windows():
    picture = diagram("lenet5_1998")
    check_picture(picture)
    shown = texts(picture)
    assert shown.count("conv 5x5") == 3 and shown.count("subsample 2x2 /2") == 2 and "activation" in shown
    assert "m-box" in picture.svg and picture.svg.count('fill="#3fa27f"/>') >= 6  # a strip for each ScaledTanh


def test_equal_blocks_are_drawn_once():
    model = Sequential({f"block{n}": Residual(conv(3, 3)) for n in range(6)})
    (repeat,) = parts(model, (3, 8, 8)).parts
    assert isinstance(repeat, Repeat) and len(repeat.others) == 5
    assert "block0 ... block5: 6 times" in texts(diagram(model, (3, 8, 8)))
    few, many = Sequential(*[conv(3, 3) for _ in range(4)]), Sequential(*[conv(3, 3) for _ in range(5)])
    assert len(parts(few, (3, 8, 8)).parts) == 4 and len(parts(many, (3, 8, 8)).parts) == 1
    assert "5 times" in texts(diagram(many, (3, 8, 8)))


def heads():
    return Graph(
        {
            "stem": (conv(3, 4), "input"),
            "left": (conv(4, 4), "stem"),
            "right": (Sequential(conv(4, 2), conv(2, 4)), "stem"),
            "sum": (Add(), "left", "right", "stem"),
            "pool": (GlobalAvgPool2d(), "sum"),
            "flat": (Flatten(), "pool"),
            "fc": (Linear(4, 10), "flat"),
            "aux": (Sequential(AvgPool2d(4), Flatten(), Linear(16, 10)), "sum"),
        },
        outputs="fc",
        training_outputs="aux",
    )


@pytest.mark.parametrize("training", [True, False])
def test_heads_leave_the_main_way(training):
    model = heads().train(training)
    chain = parts(model, (3, 8, 8))
    assert [type(part) for part in chain.parts] == [Op, Fork, Heads, Op, Op]
    assert len(chain.parts[1].branches) == 3
    picture = diagram(model, (3, 8, 8))
    check_picture(picture)
    assert "aux" in texts(picture) and model.training is training


def test_a_graph_that_is_neither_chain_nor_fork():
    model = Graph(
        {
            "a": (conv(3, 4), "input"), "b": (conv(4, 4), "a"), "c": (Cat(), "a", "b"), "d": (conv(8, 4), "c"),
            "e": (Cat(), "b", "d"), "f": (Cat(), "a", "e"), "end": (conv(12, 2), "f"),
        }
    )  # fmt: skip
    chain = parts(model, (3, 8, 8))
    fork = chain.parts[1]  # from a to f: the input passed on, and b to e
    assert isinstance(fork, Fork) and not fork.branches[0].parts
    assert isinstance(fork.branches[1].parts[0], Web) and fork.branches[1].parts[0].reads == [(-1,), (-1, 0), (1,)]
    assert sorted(r.path for r in records(chain)) == ["a", "b", "c", "d", "e", "end", "f"]
    check_picture(diagram(model, (3, 8, 8)))


def drawn_graph(seed):
    """A network of random layers that read random ones before them."""
    draw = random.Random(seed)
    nodes, channels = {}, {"input": 3}
    for number in range(draw.randint(2, 14)):
        name, before = f"n{number}", draw.choice(list(channels)[-4:])
        C = channels[before]
        kind = draw.choice(["conv", "conv", "small", "sum", "cat", "residual", "concat"])
        if kind == "sum":
            reads = [other for other in channels if channels[other] == C]
            nodes[name] = (Add(), *draw.sample(reads, min(len(reads), 2)))
        elif kind == "cat":
            nodes[name] = (Cat(), *draw.sample(list(channels), min(len(channels), draw.choice([2, 3]))))
            C = sum(channels[read] for read in nodes[name][1:])
        else:
            if kind == "conv":
                layer, C = conv(C, 4), 4
            elif kind == "small":
                layer = draw.choice([ReLU(), BatchNorm2d(C), Identity()])
            elif kind == "residual":
                layer = Residual(conv(C, C))
            else:
                layer, C = Concat(conv(C, 2), Sequential(conv(C, 2), ReLU())), 4
            nodes[name] = (layer, before)
        channels[name] = C
    return Graph(nodes, outputs=name, training_outputs=draw.choice([[], ["n0"], ["n1"]]))


@pytest.mark.parametrize("seed", range(60))
def test_random_graphs(seed):
    model = drawn_graph(seed)
    ran = sorted(record.path for record in trace(model, (3, 8, 8)).records if record.leaf)
    assert sorted(record.path for record in records(parts(model, (3, 8, 8))) if record.leaf) == ran
    check_picture(diagram(model, (3, 8, 8)))


class Own(Layer):
    """A block of one's own, with a sum outside any layer."""

    def __init__(self, channels):
        self.conv = conv(channels, channels)
        self.scale = conv(channels, channels, 1)

    def forward(self, x):
        return ops.relu(self.conv(x) + self.scale(x))


class Whole(Layer):
    def __init__(self):
        self.first, self.own, self.last = conv(3, 4), Own(4), conv(8, 2)

    def forward(self, x):
        x = self.first(x)
        return self.last(ops.cat([self.own(x), x]))


def test_layers_of_ones_own_are_one_box():
    chain = parts(Sequential(conv(3, 4), Own(4), MaxPool2d(2)), (3, 8, 8))
    assert [part.record.kind for part in chain.parts] == ["Conv2d", "Own", "MaxPool2d"]
    picture = diagram(Sequential(conv(3, 4), Own(4), MaxPool2d(2)), (3, 8, 8))
    check_picture(picture)
    assert "Own" in texts(picture)
    # A whole network with a forward of its own is drawn by what reads what.
    shown = {record.path for record in records(parts(Whole(), (3, 8, 8)))}
    assert shown == {"first", "own", "last"}
    check_picture(diagram(Whole(), (3, 8, 8)))


class Special(Sequential):
    def forward(self, x):
        return super().forward(x) * 2


@pytest.mark.parametrize("model", [Linear(3, 4), Special(Linear(3, 4)), Sequential(Linear(3, 4), ReLU()), Sequential()])
def test_small_and_odd_models(model):
    check_picture(diagram(model, (3,)))


def test_shared_layers_are_drawn_where_they_run():
    shared = conv(3, 3)
    model = Sequential(shared, MaxPool2d(2), shared)
    assert [part.record.path for part in parts(model, (3, 8, 8)).parts] == ["0", "1", "0"]
    check_picture(diagram(model, (3, 8, 8)))


def test_names_are_escaped():
    picture = diagram(Sequential({'<script>&"': conv(3, 4)}), (3, 8, 8))
    check_picture(picture)
    assert '<script>&"' in texts(picture) and "<script>" not in picture.svg


def test_names_hold_any_character():
    kind = type("Odd\x1b", (Layer,), {"forward": lambda self, x: self.inner(x)})
    odd = kind()
    odd.inner = conv(4, 4)
    model = Sequential({"a\x1b[31m\nb": conv(3, 4), "c\0\ud800": odd, "d": MaxPool2d(2)})
    for picture in (diagram(model, (3, 8, 8)), diagram(odd, (4, 8, 8)), field_picture(model, None, (3, 8, 8))):
        check_picture(picture)
        assert picture.svg.encode()
    assert "a\\x1b[31m\\nb" in texts(diagram(model, (3, 8, 8)))
    check_picture(field_picture(model, "a\x1b[31m\nb", (3, 8, 8)))


def test_layers_inside_one_another_without_end():
    itself = type("Itself", (Layer,), {"forward": lambda self, x: self.inner(x)})()
    itself.inner, itself.me = conv(3, 3), itself
    check_picture(diagram(itself, (3, 4, 4)))
    endless = Sequential(conv(3, 3))
    endless.append(endless)
    twice = type("Twice", (Layer,), {"again": True})()
    twice.inner, twice.me = conv(3, 3), twice

    def forward(self, x):
        self.again = not self.again
        return self.inner(x) if self.again else self.me(x)

    type(twice).forward = forward
    for model in (endless, twice):
        with pytest.raises(ArgumentError, match=f"{type(model).__name__} contains itself, or more layers"):
            diagram(model, (3, 4, 4))


def test_a_picture_is_shown_saved_and_printed(tmp_path):
    picture = diagram("lenet5")
    assert picture.svg == str(picture) and "LeNet-5" in repr(picture)
    picture.save(tmp_path / "new" / "lenet5.svg")
    assert (tmp_path / "new" / "lenet5.svg").read_text(encoding="utf-8") == picture.svg
    assert "prefers-color-scheme:dark" in picture.svg and not re.search(r"var\(|url\(|<image|href", picture.svg)


def test_drawing_leaves_the_model_alone():
    model = models.create("alexnet_cifar")
    before = model.state_dict()
    assert diagram(model).svg == diagram("alexnet_cifar").svg
    assert model.training and all((model.state_dict()[key].numpy() == before[key].numpy()).all() for key in before)


@pytest.mark.parametrize(
    "arguments, error, words",
    [
        (("alexnett",), ArgumentError, "did you mean alexnet"),
        ((3,), ArgumentError, "diagram: model is int: it must be a Layer"),
        ((Sequential(conv(3, 4)),), ArgumentError, "diagram: input_shape is missing"),
        (("alexnet", (3, 20, 20)), ShapeError, "window does not fit"),
        (("alexnet", (3, 0, 20)), ArgumentError, "input_shape is"),
        ((Sequential(conv(3, 4)), (4, 8, 8)), ShapeError, "4 channels"),
    ],
)
def test_what_cannot_be_drawn(arguments, error, words):
    with pytest.raises(error, match=re.escape(words)):
        diagram(*arguments)


def test_chain_of_an_empty_network():
    assert isinstance(parts(Sequential(), (3, 8, 8)), Chain)


# Receptive fields


def widths(picture):
    """How wide the rows are, in units of the top one's."""
    top = picture.boxes[-1].width
    return {box.names[0]: round(box.width / top, 6) for box in picture.boxes}


@pytest.mark.parametrize("count, field", [(1, 3), (2, 5), (3, 7)])
def test_a_stack_of_3x3_windows(count, field):
    model = Sequential({f"conv{n}": Conv2d(3, 3, 3) for n in range(1, count + 1)})
    picture = field_picture(model, input_shape=(3, 9, 9))
    check_picture(picture)
    rows = ["input", *model._children]
    assert widths(picture) == {name: 2 * (count - place) + 1 for place, name in enumerate(rows)}
    shown = texts(picture)
    assert f"{field} pixels seen" in shown and f"1 unit: it sees {field}x{field}" in shown
    assert f"{field}x{field} pixels of the input; the next unit's field lies 1 further" in shown


def test_the_field_is_what_the_unit_really_depends_on():
    model = Sequential(
        Conv2d(1, 1, 5, stride=2, padding=2), AvgPool2d(3, 2), Conv2d(1, 1, (3, 1), padding=(1, 0), bias=False)
    )  # fmt: skip
    for parameter in model.parameters():
        parameter.data = np.ones(parameter.shape, "float32")
    x = Tensor(np.zeros((1, 1, 40, 40), "float32"), requires_grad=True)
    y = model(x)
    unit = (y.shape[2] - 1) // 2
    y[0, 0, unit, unit].backward()
    rows, columns = np.nonzero(x.grad.numpy()[0, 0])
    expected = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)

    root = check_picture(field_picture(model, input_shape=(1, 40, 40)))
    rects = [rect for rect in root.iter(SVG + "rect") if rect.get("fill")]
    page = next(rect for rect in rects if rect.get("class") == "m-box")
    left, top, scale = float(page.get("x")), float(page.get("y")), float(page.get("width")) / 40
    area = rects[rects.index(page) + 1]  # the largest is painted first
    x, y, width, height = (float(area.get(key)) for key in ("x", "y", "width", "height"))
    drawn = ((x - left) / scale, (y - top) / scale, (x - left + width) / scale, (y - top + height) / scale)
    assert drawn == pytest.approx(expected, abs=0.1)


@pytest.mark.parametrize("name", ["alexnet", "vgg_e", "googlenet", "resnet152", "densenet121", "xception"])
def test_fields_of_the_zoo(name):
    picture = field_picture(name)
    check_picture(picture)
    assert 3 <= len(picture.boxes) <= 11
    names = [box.names[0] for box in picture.boxes[1:]]
    again = field_picture(name, names)
    assert [box.names[0] for box in again.boxes[1:]] == names


def test_the_input_is_outlined_where_fields_are_larger():
    picture = field_picture("resnet50")
    root = check_picture(picture)
    rects = [rect for rect in root.iter(SVG + "rect") if rect.get("class") != "m-page"]
    widths = [float(rect.get("width")) for rect in rects]
    (place,) = [n for n, rect in enumerate(rects) if rect.get("class") == "m-outline"]
    assert place == len(rects) - 1  # over all fields
    assert widths[place] / 224 == pytest.approx(300 / 483, rel=1e-3)
    label = next(text for text in root.iter(SVG + "text") if text.text == "the input, 224x224 pixels")
    middle = float(rects[place].get("x")) + widths[place] / 2
    bottom = float(rects[place].get("y")) + widths[place]
    assert float(label.get("x")) == pytest.approx(middle, abs=0.1) and float(label.get("y")) > bottom
    starts = re.findall(r'<path d="M([-\d.]+) ([-\d.]+)L', picture.svg)  # a line ties it to the outline
    assert any((float(x), float(y)) == pytest.approx((middle, bottom), abs=0.1) for x, y in starts)
    assert any("padding around the 224x224 input included" in text for text in texts(picture))


def test_the_way_of_the_widest_field():
    five = Sequential(conv(4, 2, 1), conv(2, 2, 5))
    model = Sequential(conv(3, 4), Concat(five, conv(4, 2, 1), Sequential(MaxPool2d(3, 1, 1), conv(4, 2, 1))), ReLU())
    picture = field_picture(model, input_shape=(3, 16, 16))
    assert [box.names[0] for box in picture.boxes] == ["input", "Conv2d 0", "Conv2d 1.0.1"]
    assert "1 unit: it sees 7x7" in texts(picture)


def test_named_layers_of_a_field_picture():
    picture = field_picture("alexnet", ["conv2", "conv1"])
    assert [box.names for box in picture.boxes] == [("input",), ("conv1",), ("conv2",)]
    assert "51 pixels seen" in texts(picture) and "11 units seen, each sees 11x11" in texts(picture)
    assert "1 unit: it sees 99x99" in texts(field_picture("alexnet", "conv3"))


class Halves(Layer):
    def forward(self, x):
        return x[:, :, ::2, ::2]


@pytest.mark.parametrize(
    "arguments, words",
    [
        (("alexnet", ["conv6"]), "layers has 'conv6', which is no layer that ran: did you mean conv"),
        (("alexnet", []), "layers is empty"),
        (("alexnet", ["fc6"]), "the field of fc6 is not known"),
        ((Sequential(Linear(3, 4)), None, (3,)), "receptive fields need maps"),
        ((Sequential(ReLU()), None, (3, 8, 8)), "no layer has a window"),
        ((Sequential(Halves(), conv(3, 4)), ["1"], (3, 8, 8)), "the field of 1 is not known"),
        (("alexnett",), "did you mean alexnet"),
        ((None,), "field_picture: model is NoneType"),
    ],
)
def test_fields_that_cannot_be_drawn(arguments, words):
    with pytest.raises(ArgumentError, match=re.escape(words)):
        field_picture(*arguments)


def test_a_picture_is_svg(tmp_path):
    with pytest.raises(ArgumentError, match=r"must end in \.svg"):
        diagram("lenet5").save(tmp_path / "lenet5.png")
    assert not list(tmp_path.iterdir())


DOCS = Path(__file__).parent.parent / "docs"


@pytest.mark.skipif(not DOCS.is_dir(), reason="outside a checkout there are no pictures to compare with")
@pytest.mark.parametrize(
    "name, draw",
    [("alexnet", diagram), ("googlenet", diagram), ("alexnet_field", field_picture), ("vgg_d_growth", animate_field)],
)
def test_the_pictures_of_the_documentation_are_up_to_date(name, draw):
    shown = (DOCS / f"{name}.svg").read_text(encoding="utf-8")
    assert shown == draw(name.removesuffix("_field").removesuffix("_growth")).svg, (
        "remake it with minicnn draw, in the folder docs"
    )
