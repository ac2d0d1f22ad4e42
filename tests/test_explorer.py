"""The explorer's page: what is in the file, and how it behaves in a browser without a window."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest
from browser import CHROMIUM, Browser

import minicnn
from minicnn import Tensor, inspect, models, ops, summary
from minicnn.cli import app
from minicnn.data import Normalize, cifar10_sample
from minicnn.errors import ArgumentError

needs_browser = pytest.mark.skipif(CHROMIUM is None, reason="Chromium is missing: apt install chromium")


@pytest.fixture(scope="module")
def zoo(tmp_path_factory):
    path = tmp_path_factory.mktemp("explorer") / "zoo.html"
    with pytest.raises(SystemExit) as left:
        app(["explore", "-o", str(path)])
    assert not left.value.code
    return path


@pytest.fixture(scope="module")
def data(zoo):
    """What the page holds."""
    return json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', zoo.read_text("utf-8"))[1])


@pytest.fixture(scope="module")
def chromium():
    with Browser() as browser:
        yield browser


@pytest.fixture
def page(chromium, zoo):
    """The page, freshly loaded, with AlexNet. Afterwards: it has made no mistake and asked for nothing."""
    chromium.open(zoo, "alexnet")
    yield chromium
    assert not chromium.heard("Runtime.exceptionThrown", "Log.entryAdded")
    asked = [event["request"]["url"] for event in chromium.heard("Network.requestWillBeSent")]
    assert {url.partition("#")[0] for url in asked} == {zoo.as_uri()}


def text(page, selector="#details"):
    return page.js(f"document.querySelector({selector!r}).innerText")


def choose(page, number, name):
    page.js(
        f"(() => {{ const s = document.querySelectorAll('#chooser select')[{number}]; s.value = {name!r};"
        " s.dispatchEvent(new Event('change')); })()"
    )


def layer(name, path):
    """The number that the page knows a layer by, as a selector of its box."""
    paths = [row.path for row in summary(name).rows if row.leaf]
    return f'.box[data-layer="{paths.index(path)}"]'


def test_one_file_that_loads_nothing(zoo):
    html = zoo.read_text(encoding="utf-8")
    assert zoo.stat().st_size < 4e6
    assert not re.search(
        r"(src|href)\s*=|@import|fetch\(|XMLHttpRequest|import\s*\(|url\(", html.partition('id="data"')[0]
    )
    assert html.count("</script>") == 2 and "/* " not in html.partition("<script>")[0].partition("</style>")[2]


def test_a_name_that_is_no_page(tmp_path):
    with pytest.raises(ArgumentError, match=r"must end in \.html"):
        inspect.explore(tmp_path / "zoo.txt")


def test_every_layer_is_in_the_diagram(data):
    """The parts of each network hold every layer once."""

    def numbers(part):
        if isinstance(part, int):
            return [part]
        if isinstance(part, list):
            return [number for inner in part for number in numbers(inner)]
        if isinstance(part, dict):
            return [number for key, inner in part.items() if key != "block" for number in numbers(inner)]
        return []

    assert [network["name"] for network in data["networks"]] == models.names(all=True)
    for network in data["networks"]:
        found = sorted(numbers(network["parts"]))
        assert found == list(range(len(network["layers"]))), network["name"]


def test_claims_name_layers_that_there_are(data):
    paths = {
        name: {path for path, _ in models.create(name, device="meta").named_layers()} for name in models.names(all=True)
    }
    spoken = [claim for claim in data["claims"] if any(claim["layers"].values())]
    assert len(spoken) > 150
    for claim in spoken:
        for name, layers in claim["layers"].items():
            assert set(layers) <= paths[name], claim
    first = next(claim for claim in data["claims"] if claim["statement"] == "Layer1: Conv(11x11x96, stride 4)")
    assert first["layers"] == {"alexnet": ["conv1"]}


@needs_browser
def test_a_click_on_a_layer_shows_its_arithmetic_and_the_slides(page):
    assert "62,378,344" in text(page, "#totals") and "1,135,256,096" in text(page, "#totals")
    page.click(layer("alexnet", "conv1"))
    shown = text(page)
    for expected in ("(227 + 2*0 - 11)/4 + 1 = 55", "(11*11*3 + 1)*96 = 34,944", "55*55*96 * 11*11*3 = 105,415,200",
                     "4*96*55*55 = 1,161,600 bytes", "11×11 pixels", "Layer1: Conv(11x11x96, stride 4)"):  # fmt: skip
        assert expected in shown, expected


@needs_browser
def test_another_input_size_and_the_layer_that_no_longer_fits(page):
    choose(page, 0, "vgg_d")
    page.type('[data-key="0:input:1"]', "256")
    failure = text(page, ".failure")
    assert "fc6 (Linear) does not fit" in failure and "in_features=28672" in failure
    assert page.js(f"document.querySelector({layer('vgg_d', 'fc6')!r}).classList.contains('fail')")
    assert "128×112×128" in text(page, layer("vgg_d", "conv2_1"))
    page.click('[data-key="0:adapt"]')
    assert page.js("!document.querySelector('.failure')")
    more = 138_357_544 + (512 * 8 * 7 - 25_088) * 4096
    assert f"{more:,}" in text(page, "#totals")
    page.click('[data-key="0:reset"]')
    assert "138,357,544" in text(page, "#totals") and "made with" not in text(page, "#totals")


@needs_browser
def test_an_argument_changed_by_typing_and_by_steps(page):
    page.click(layer("alexnet", "conv1"))
    page.type('[data-key="argument:stride"]', "2")
    assert "(227 + 2*0 - 11)/2 + 1 = 109" in text(page)
    assert page.js("document.activeElement.dataset.key") == "argument:stride"
    page.click('[data-key="argument:stride+"]')
    page.click('[data-key="argument:stride+"]')
    assert "made with" not in text(page, "#totals")  # 4 again: as it was made
    page.type('[data-key="argument:out_channels"]', "64")
    assert "conv2 (Conv2d) does not fit" in text(page, ".failure") and "in_channels=64" in text(page, ".failure")
    page.click('[data-key="0:adapt"]')
    page.type('[data-key="argument:out_channels"]', "48")  # what is behind it goes on following
    fewer = 62_378_344 - (11 * 11 * 3 + 1) * 48 - 5 * 5 * 48 * 256
    assert f"{fewer:,}" in text(page, "#totals") and "1 layer" in text(page, ".edits")


@needs_browser
def test_with_the_keyboard_alone(page):
    page.js(f"document.querySelector({layer('alexnet', 'conv1')!r}).focus()")
    page.key("Enter")
    assert text(page, "#details h2") == "conv1"
    page.key("ArrowDown")
    page.key("ArrowDown")
    assert text(page, "#details h2") == "conv2"
    page.key("Escape")
    assert page.js("!document.querySelector('#details h2')")


@needs_browser
def test_two_networks_and_equal_blocks_unfolded(page):
    choose(page, 0, "resnet18")
    choose(page, 1, "googlenet")
    assert "11,689,512" in text(page, "#totals")
    assert f"{models.info('googlenet').parameters:,}" in text(page, "#totals")
    assert page.js("location.hash") == "#resnet18+googlenet"
    before = page.js("document.querySelectorAll('.box').length")
    page.click('[aria-expanded="false"]')
    assert page.js("document.querySelectorAll('.box').length") > before


@needs_browser
def test_on_a_telephone(page):
    page.size(390, 844)
    for name in ("alexnet", "inception_v4", "densenet121"):
        choose(page, 0, name)
        assert page.js("document.documentElement.scrollWidth") <= 390, name
    choose(page, 0, "vgg_d")
    page.click(layer("vgg_d", "conv3_2"))
    bottom, top = page.js("(r => [r.bottom, r.top])(document.querySelector('#details').getBoundingClientRect())")
    assert bottom == 844 and top > 300
    page.click("#details .close")
    assert page.js("document.querySelector('#details').children.length") == 0


@needs_browser
@pytest.mark.slow
def test_every_network_can_be_drawn_and_looked_into(page):
    for name in models.names(all=True):
        choose(page, 0, name)
        parameters, macs = models.info(name).parameters, models.info(name).macs
        assert f"{parameters:,}" in text(page, "#totals") and f"{macs:,}" in text(page, "#totals"), name
        for share in (0, 0.4, 1):
            chosen = page.js(
                "(() => { const boxes = [...document.querySelectorAll('.box[data-layer]')];"
                f" const box = boxes[Math.round({share} * (boxes.length - 1))]; box.click(); return +box.dataset.layer; }})()"
            )
            row = [row for row in summary(name).rows if row.leaf][chosen]
            shown = text(page)
            assert row.path in shown and row.macs_formula in shown and row.size_formula in shown, (name, row.path)


# The trained network


@pytest.fixture(scope="module")
def trained():
    """The network as it comes with the package, its pictures as it takes them, and their probabilities, in percent."""
    pytest.importorskip("PIL.Image")
    facts, model = models.info("cifar_resnet20").trained, models.create("cifar_resnet20", pretrained=True).eval()
    pictures = Normalize(facts.mean, facts.std)(cifar10_sample(False).images[:20])
    with minicnn.no_grad():
        return model, pictures, 100 * ops.softmax(model(Tensor(pictures))).numpy()


TRIAL = "trialOf(networks.get('cifar_resnet20'))"


def until(page, condition):
    page.js(f"(async () => {{ while (!({condition})) await new Promise((resume) => setTimeout(resume, 5)); }})()")


def answer(page):
    """What the page's network says when it has looked: the class, and the percent of each."""
    until(page, f"!{TRIAL}.running")
    shares = page.js("[...document.querySelectorAll('.classes .number')].map((share) => parseFloat(share.innerText))")
    return text(page, ".answer").partition(",")[0], np.array(shares)


def caption(page):
    return text(page, ".seen figcaption")


@needs_browser
def test_a_picture_through_the_trained_network(page, data, trained):
    page.click("header button")
    assert text(page, "h2") == "ResNet-20 for CIFAR-10"
    model, pictures, shares = trained
    for number in (3, 8, 19):
        page.click(f".samples label:nth-child({number + 1})")
        name, found = answer(page)
        assert name == data["trained"]["classes"][shares[number].argmax()]
        np.testing.assert_allclose(found, shares[number], atol=1)
        assert data["trained"]["classes"][number % 10] in caption(page)
    page.click(layer("cifar_resnet20", "conv1"))
    page.click('[data-key="member:2"]')  # its ReLU, which is drawn as one box with it
    assert text(page, "#details h2") == "relu1" and "16 maps of 32×32" in text(page, ".sheet")
    for number in (19, 4):  # the maps follow the picture
        page.click(f".samples label:nth-child({number + 1})")
        answer(page)
        maps = inspect.feature_maps(model, pictures[number : number + 1], "relu1")[0]
        drawn = page.js(
            "(() => { const sheet = document.querySelector('.sheet canvas'), step = 64 + 2;"
            " const { data, width } = sheet.getContext('2d').getImageData(0, 0, sheet.width, sheet.height);"
            " return [...Array(16 * 32 * 32).keys()].map((at) => { const k = at >> 10, y = (at >> 5) & 31, x = at & 31;"
            " return data[4 * (((k >> 2) * step + 2 * y) * width + (k % 4) * step + 2 * x) + 2]; }); })()"
        )  # the blue of each number: 255 for 0, none for the largest
        np.testing.assert_allclose(drawn, 255 * (1 - maps / maps.max()).ravel(), atol=3)


@needs_browser
def test_a_picture_with_the_keyboard_alone(page, trained):
    page.click("header button")
    page.js("document.querySelector('.samples input:checked').focus()")
    page.key("ArrowRight")
    assert page.js("document.querySelectorAll('.samples input')[1].checked") and "test picture" in caption(page)
    _, before = answer(page)
    page.js("document.querySelector('.tools [type=range]').focus()")
    for _ in range(8):
        page.key("ArrowRight")  # as wide as a brush can be
    page.js("document.querySelector('.easel').focus()")
    for key in (" ", *["ArrowLeft"] * 9, " ", *["ArrowUp"] * 9, " "):
        page.key(key)
    _, after = answer(page)
    assert np.abs(after - before).max() > 0.1 and caption(page).endswith("painted on")
    assert page.js("!document.querySelector('.samples :checked')")
    page.js("document.querySelector('.classes :checked').focus()")
    evidence = page.js("document.querySelector('.seen').innerText")
    page.key("ArrowDown")
    assert page.js("document.querySelector('.seen').innerText") != evidence
    np.testing.assert_array_equal(answer(page)[1], after)


@needs_browser
def test_the_brush_stands_where_the_mouse_painted(page, trained):
    page.click("header button")
    page.js("document.querySelector('.easel').focus()")
    for _ in range(9):
        page.key("ArrowLeft")
    before = page.js(f"{TRIAL}.pixels().join()")
    ring = "(({ left, top }) => [left, top])(document.querySelector('.brush').style)"
    for button, place, painted in (("right", ["21.875%", "50%"], False), ("left", ["50%", "50%"], True)):
        page.click(".easel", button)
        assert page.js(ring) == place and (page.js(f"{TRIAL}.pixels().join()") != before) == painted


@needs_browser
def test_painting_on_a_telephone(page, trained):
    page.size(390, 844)
    page.click("header button")
    page.click(layer("cifar_resnet20", "conv1"))
    page.click("#details .close")
    assert page.js("document.documentElement.scrollWidth") <= 390
    assert (
        page.js("Math.max(...[...document.querySelectorAll('.trial *')].map((e) => e.getBoundingClientRect().right))")
        <= 390
    )
    _, before = answer(page)
    page.js("document.querySelector('.easel').scrollIntoView({ block: 'center' })")
    left, top, side = page.js(
        "(({ x, y, width }) => [x, y, width])(document.querySelector('.easel').getBoundingClientRect())"
    )
    scrolled = page.js("scrollY")
    page.touch(*((left + side * share, top + side * (1 - share)) for share in (0.2, 0.4, 0.6, 0.8)))
    _, after = answer(page)
    assert np.abs(after - before).max() > 0.1 and page.js("scrollY") == scrolled
    blue = page.js("[...document.querySelector('.easel').getContext('2d').getImageData(16, 16, 1, 1).data]")
    assert blue == [0x2C, 0x7F, 0xD1, 255]
    page.click(".tools button")
    colours = page.js(f"{TRIAL}.pixels().join()").split(",")
    assert set(colours[:1024]) == {str(0x2C)} and set(colours[2048:]) == {str(0xD1)}


@needs_browser
def test_a_file_of_ones_own(page, trained, tmp_path):
    from PIL import Image

    page.click("header button")
    picture = np.zeros((200, 300, 3), np.uint8)
    picture[..., 1] = 255  # green, at the sides, which are cut off
    picture[:100, 50:250] = 255, 0, 0
    picture[100:, 50:250] = 0, 0, 255
    Image.fromarray(picture).save(tmp_path / "flag.png")
    page.choose_file(".file input", tmp_path / "flag.png")
    until(page, f"{TRIAL}.said === 'flag.png'")
    pixels = np.array(page.js(f"[...{TRIAL}.pixels()]")).reshape(3, 32, 32)
    assert (pixels[1] < 8).all() and (pixels[0, :15] > 247).all() and (pixels[2, 17:] > 247).all()
    _, found = answer(page)
    (tmp_path / "words.txt").write_text("no picture")
    page.choose_file(".file input", tmp_path / "words.txt")
    until(page, "document.querySelector('.seen figcaption').innerText !== 'flag.png'")
    assert caption(page) == "words.txt is no picture that this browser can read"
    np.testing.assert_array_equal(answer(page)[1], found)


@needs_browser
def test_the_trained_network_is_the_one_as_it_was_made(page, trained):
    page.click("header button")
    choose(page, 1, "cifar_resnet20")
    assert page.js("document.querySelectorAll('.trial').length") == 1
    assert page.js("document.querySelector('.network:first-child').contains(document.querySelector('.trial'))")
    page.type('[data-key="0:input:1"]', "64")
    assert page.js("!document.querySelector('.trial')") and "undo the changes" in text(page, "#networks")
    page.click('[data-key="0:reset"]')
    assert page.js("document.querySelectorAll('.trial').length") == 1


@needs_browser
def test_a_page_without_a_trained_network(chromium, zoo, data, tmp_path):
    html = zoo.read_text(encoding="utf-8")
    start, end = html.index('id="data">') + len('id="data">'), html.index("</script>")
    bare = json.dumps({**data, "trained": None}).replace("</", "<\\/")
    (tmp_path / "bare.html").write_text(html[:start] + bare + html[end:], encoding="utf-8")
    chromium.open(tmp_path / "bare.html", "cifar_resnet20")
    assert not chromium.heard("Runtime.exceptionThrown", "Log.entryAdded")
    assert chromium.js("document.querySelectorAll('.box').length") > 5
    assert chromium.js("!document.querySelector('.trial, header button')")
