"""The summary as text, Markdown, LaTeX, HTML and JSON."""

import html.parser
import io
import json
import re

import pytest
from rich.console import Console

import minicnn
from minicnn.layers import Conv2d, Layer, ReLU, Sequential

NAMES = ("alexnet", "lenet5", "vgg_d", "googlenet", "densenet121", "inception_v4")


def test_the_table_fits_eighty_columns_and_shows_more_where_there_is_room():
    for name in NAMES:
        summary = minicnn.summary(name)
        assert max(map(len, summary.to_text().splitlines())) <= 80
        assert str(summary) == repr(summary) == summary.to_text()
        for width in (100, 120, 160):
            assert max(map(len, summary.to_text(width).splitlines())) <= width
    text = minicnn.summary("alexnet").to_text()
    for part in (
        "(227 + 2*0 - 11)/4 + 1 = 55", "(11*11*3 + 1)*96 = 34,944 parameters", "55*55*96 * 11*11*3 = 105,415,200 MACs",
        "GEMM (MxNxK) 96x3025x363", "290,400 neurons, jump 4, offset 5.5", "62,378,344 = 249.51 MB", "1,135,256,096", "659,272",
        "1,161,600 bytes: conv1, 96x55x55",
    ):  # fmt: skip
        assert part in text
    wide = minicnn.summary("alexnet").to_text(150, formulas=False)
    head = wide.splitlines()[2].split("  ")
    columns = ["layer", "kind", "window", "output", "parameters", "MACs", "GEMM MxNxK", "neurons", "bytes", "field", "jump", "offset"]  # fmt: skip
    assert [cell.strip() for cell in head if cell.strip()] == columns
    row = next(line for line in wide.splitlines() if line.startswith("conv1"))
    assert re.split(r"\s{2,}", row) == [
        "conv1", "Conv2d", "11x11/4", "96x55x55", "34,944", "105,415,200", "96x3025x363", "290,400", "1,161,600", "11",
        "4", "5.5",
    ]  # fmt: skip


def test_formulas_can_be_left_out():
    summary = minicnn.summary("alexnet")
    bare = summary.to_text(80, formulas=False).splitlines()
    assert len(bare) == len(summary.rows) + 5 + 6 and not any("=" in line for line in bare[:-6])
    assert max(map(len, summary.to_text(64, formulas=False).splitlines()[:-6])) <= 75  # names and counts stay whole


def test_names_that_do_not_fit_stand_on_a_line_of_their_own():
    long = "branch_with_a_name_that_is_much_too_long_for_a_column_of_a_table_"
    summary = minicnn.summary(Sequential({"block": Sequential({long + "1": ReLU(), long + "2": ReLU()})}), (3, 4, 4))
    lines = summary.to_text().splitlines()
    assert f"  {long}1" in lines and f"  {long}2" in lines and max(map(len, lines)) <= 80
    short = minicnn.summary(Sequential({"x" * 300: Conv2d(1, 1, 1)}), (1, 2, 2)).to_text(40)
    assert "x" * 300 in short.splitlines()


def test_a_terminal_gets_colour_and_its_width_and_a_file_neither(capsys, monkeypatch):
    summary = minicnn.summary("googlenet")
    summary.print()
    assert capsys.readouterr().out == summary.to_text() + "\n"
    summary.print(width=100, formulas=False)
    assert capsys.readouterr().out == summary.to_text(100, formulas=False) + "\n"
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    for name, setting in (("TERM", "xterm-256color"), ("COLUMNS", "120"), ("LINES", "40"), ("FORCE_COLOR", "1")):
        monkeypatch.setenv(name, setting)
    monkeypatch.delenv("NO_COLOR", raising=False)
    summary.print()
    out = capsys.readouterr().out
    assert "\x1b[" in out and re.sub(r"\x1b\[[0-9;]*m", "", out) == summary.to_text(120) + "\n"
    file = io.StringIO()
    Console(file=file, width=90, color_system=None).print(summary)
    assert file.getvalue() == summary.to_text(90) + "\n"


def test_markdown():
    summary = minicnn.summary("lenet5")
    table = [line for line in summary.to_markdown().splitlines() if line.startswith("|")]
    assert len(table) == len(summary.rows) + 2 and {line.count("|") for line in table} == {13}
    assert "(5\\*5\\*1 + 1)\\*6 = 156" in table[2]
    awkward = minicnn.summary(Sequential({"a|b": ReLU(), "_c_": ReLU(), "<i>`": ReLU()}), (3,)).to_markdown()
    assert "a\\|b" in awkward and "\\_c\\_" in awkward and "\\<i>\\`" in awkward


def test_latex():
    summary = minicnn.summary("lenet5")
    latex = summary.to_latex()
    body = latex[latex.index("\\endhead") : latex.index("\\bottomrule")].splitlines()[1:]
    assert len(body) == len(summary.rows) and all(line.endswith("\\\\") and line.count(" & ") == 11 for line in body)
    assert "(5$\\cdot$5$\\cdot$1 + 1)$\\cdot$6 = 156" in body[0] and "6$\\times$28$\\times$28" in body[0]
    assert latex.count("\\begin{") == latex.count("\\end{") and latex.count("$") % 2 == 0
    names = ["a_b", "50%", "x&y", "#1", "{z}", "$", "~", "^", "\\", "[t]", "<>|"]
    latex = minicnn.summary(Sequential({name: ReLU() for name in names}), (3,)).to_latex()
    for escaped in (
        "a\\_b", "50\\%", "x\\&y", "\\#1", "\\{z\\}", "\\$", "\\textasciitilde{}", "\\textasciicircum{}", "\\textbackslash{}",
        "{[}t{]}", "\\textless{}\\textgreater{}\\textbar{}",
    ):  # fmt: skip
        assert f"\n{escaped} & ReLU" in latex


class Reader(html.parser.HTMLParser):
    """Checks that what opens closes, and keeps the cells of each row and every address."""

    def __init__(self):
        super().__init__()
        self.open, self.rows, self.links = [], [], []

    def handle_starttag(self, tag, attributes):
        self.links += [text for name, text in attributes if name in ("src", "href")]
        if tag not in ("meta", "br"):
            self.open.append(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "td" in self.open or "th" in self.open:
            self.rows[-1][-1] += data


def test_html():
    summary = minicnn.summary("alexnet")
    page, fragment = summary.to_html(), summary._repr_html_()
    reader = Reader()
    reader.feed(page)
    assert not reader.open and not reader.links and "http" not in page and "url(" not in page
    assert len(reader.rows) == len(summary.rows) + 2 and {len(cells) for cells in reader.rows[:-1]} == {10}
    first = reader.rows[1]
    assert first[0] == "conv1" and first[2] == "96x55x55(227 + 2*0 - 11)/4 + 1 = 55"
    assert first[3] == "34,944(11*11*3 + 1)*96" and first[4] == "105,415,20055*55*96 * 11*11*3GEMM 96x3025x363"
    assert first[5:] == ["290,400", "1,161,600", "11", "4", "5.5"]
    assert page.startswith("<!doctype html>") and 'content="light dark"' in page and fragment in page
    assert fragment.startswith("<div") and "<style>" in fragment
    style = fragment[fragment.index("<style>") : fragment.index("</style>")]
    assert all(line.startswith((".minicnn-summary", " ", "<style>")) or not line for line in style.splitlines())
    assert not re.search(r"(?<!-)color: (?!inherit)", style)  # black or white would vanish on one ground
    awkward = minicnn.summary(Sequential({'<b>"&': ReLU()}), (3,)).to_html()
    assert "&lt;b&gt;&quot;&amp;" in awkward and "<b>" not in awkward


def test_names_hold_any_character():
    odd = type("Odd\x1b\n", (Layer,), {"forward": lambda self, x: self.inner(x)})()
    odd.inner = Conv2d(3, 4, 3)
    unused = type("Un\x07used", (Layer,), {"forward": lambda self, x: x})()
    unused.conv = Conv2d(1, 1, 1)
    whole = minicnn.summary(Sequential({"a\x1b[31m\nb\0": odd, "$x$": ReLU(), "c\ud800\r": unused}), (3, 5, 5))
    for text in (whole.to_text(), whole.to_markdown(), whole.to_latex(), whole.to_html(), whole.to_json()):
        assert all(line.isprintable() for line in text.split("\n")) and text.encode()
    assert [row.path for row in whole.rows if row.leaf] == [
        "a\\x1b[31m\\nb\\x00.inner", "$x$", "c\\ud800\\r", "c\\ud800\\r.conv",
    ]  # fmt: skip
    assert whole.rows[0].kind == "Odd\\x1b\\n" and whole.rows[-1].note == "not called"
    assert "\n| \\$x\\$ | ReLU |" in whole.to_markdown()
    assert minicnn.summary(odd, (3, 5, 5)).title == "Odd\\x1b\\n"
    first = type("A*b$", (Sequential,), {})({"c*": ReLU()})
    assert "**A\\*b\\$, input 3**" in minicnn.summary(first, (3,)).to_markdown()


def test_json_has_everything():
    summary = minicnn.summary("alexnet_grouped")
    data = json.loads(summary.to_json())
    assert (
        data["title"] == "alexnet_grouped" and data["input_shape"] == [3, 227, 227] and data["output_shape"] == [1000]
    )
    for total in ("total_parameters", "total_macs", "total_neurons", "activation_bytes", "parameter_bytes"):
        assert data[total] == getattr(summary, total)
    assert data["largest_activation"] == {"path": "conv1", "shape": [96, 55, 55], "bytes": 1_161_600}
    assert len(data["rows"]) == len(summary.rows)
    conv2 = next(row for row in data["rows"] if row["path"] == "conv2")
    for name, expected in {
        "kind": "Conv2d", "depth": 0, "leaf": True, "input_shape": [96, 27, 27], "output_shape": [256, 27, 27],
        "size_formula": "(27 + 2*2 - 5)/1 + 1 = 27", "size_note": "", "parameters": 307_456,
        "parameter_formula": "(5*5*96/2 + 1)*256 = 307,456", "macs": 223_948_800, "neurons": 186_624,
        "gemm": {"M": 128, "N": 729, "K": 1200, "groups": 2, "macs": 223_948_800}, "activation_bytes": 746_496,
        "window": {"size": [5, 5], "stride": [1, 1], "padding": [2, 2, 2, 2], "dilation": [1, 1], "ceil_mode": False},
        "field": dict.fromkeys(("vertical", "horizontal"), {"size": 51, "jump": 8, "start": 9.5}),
        "arguments": "96, 256, kernel_size=5, padding=2, groups=2", "note": "", "inside": 307_456,
    }.items():  # fmt: skip
        assert conv2[name] == expected, name


@pytest.mark.parametrize("format", ["text", "markdown", "latex", "html", "json"])
def test_every_format_takes_every_kind_of_row(format):
    """Shared, not called, folded, without a map, without a window."""
    shared = Conv2d(3, 3, 1)
    for model, shape in ((Sequential(shared, Sequential(shared)), (3, 2, 2)), (Sequential(), (3,)), (ReLU(), (3,))):
        for depth in (None, 1):
            assert getattr(minicnn.summary(model, shape, depth), f"to_{format}")()
