"""The slides' claims: every worked example and every erratum is there, and a wrong computation shows.

What is right comes from tests/reference (worked_examples.json, slides_errata.json, zoo.json), which the package does not read.
"""

import json
import re
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from minicnn import geometry, layers, ops
from minicnn.cli import app
from minicnn.errors import ArgumentError, ShapeError
from minicnn.inspect import check_slides
from minicnn.inspect.slides import (
    DECKS,
    QUOTED,
    REMARK,
    VERDICTS,
    WRONG,
    Claim,
    Formula,
    Holds,
    evaluate,
    measure,
    worked,
)
from minicnn.inspect.slides.claim import CUT, DIFFERS, KINDS, OTHER, SPOILT, Cited, Kibi, judge, parse, shown
from minicnn.inspect.slides.worked import EXAMPLES
from minicnn.models import registry

HERE = Path(__file__).parent
WORKED = {
    example["id"]: example for example in json.loads((HERE / "reference/worked_examples.json").read_text("utf-8"))
}
ERRATA = json.loads((HERE / "reference/slides_errata.json").read_text("utf-8"))
ZOO = json.loads((HERE / "reference/zoo.json").read_text("utf-8"))
PAGE = HERE.parent / "docs/slides.md"


@pytest.fixture(scope="module")
def report():
    return check_slides()


def decks(entry):
    names = entry["deck"] if isinstance(entry["deck"], list) else [entry["deck"]]
    return [name[:3] for name in names]


def same(found, expected):
    """Whether a result is the expected one, floats to the digits that are stored; what the slide says is not compared."""
    if isinstance(expected, dict):
        return all(same(found[key], value) for key, value in expected.items() if not key.startswith("slide_"))
    if isinstance(expected, list):
        return len(found) == len(expected) and all(map(same, found, expected))
    if isinstance(expected, str):
        return found.casefold() == expected.casefold()
    if isinstance(expected, float):
        return found == pytest.approx(expected, rel=5e-4)
    return type(found) is type(expected) and found == expected


@pytest.mark.parametrize("name", WORKED)
def test_worked_example(name):
    assert same(EXAMPLES[name](), WORKED[name]["expected"])


def test_every_worked_example_has_a_line(report):
    assert set(EXAMPLES) == set(WORKED) and len(WORKED) == 76
    lines = {}
    for line in report.lines:
        for name in line.example.split():
            lines.setdefault(name, []).append(line)
    assert set(lines) == set(WORKED)
    for name, example in WORKED.items():
        found = {line.deck for line in lines[name]}
        assert found & set(decks(example)) or example["deck"] == "paper", (name, found)
        if "slide_error" in example:
            remarked = example["deck"] == "paper" and any(line.kind == DIFFERS for line in lines[name])
            assert remarked or any(line.verdict == WRONG for line in lines[name]), name


@pytest.mark.parametrize("erratum", ERRATA, ids=lambda erratum: erratum["slide"][:40])
def test_no_erratum_passes_as_right(report, erratum):
    lines = [line for line in report.lines if line.erratum == erratum["slide"]]
    assert {line.deck for line in lines} >= set(decks(erratum))
    assert all(line.verdict != "agrees" and line.reason for line in lines)
    for deck in decks(erratum):
        verdicts = [line.verdict for line in lines if line.deck == deck]
        if erratum["kind"] == "not comparable":
            assert set(verdicts) == {QUOTED}
        elif erratum["kind"] == "paper error":  # no slide repeats it: a remark of ours, whose two numbers differ
            assert verdicts == [REMARK] and [line.kind for line in lines] == [DIFFERS]
        elif erratum["slide"] == "conv1 = 35K":  # rounds both counts rightly; what is wrong is to leave the biases out
            assert any(line.verdict == WRONG for line in lines)
        else:
            assert WRONG in verdicts


def test_every_erratum_named_is_in_the_list(report):
    assert len(ERRATA) == 36
    assert {line.erratum for line in report.lines} - {""} == {erratum["slide"] for erratum in ERRATA}


def numbers(text):
    """The numbers of a text: 62,378,344 as 62378344, 8.80 as 8.8."""
    found = re.findall(r"\d{1,3}(?:,\d{3})+|\d+\.?\d*", text)
    return {f"{float(digits.replace(',', '').rstrip('.')):.9g}" for digits in found}


NOT_IN_THE_DECK = {
    ("googlenet", "004"): {"1"},  # "Table 1" and its columns are named, not claimed
    ("vgg_a", "003"): {"2"}, ("vgg_a_lrn", "003"): {"2"}, ("vgg_b", "003"): {"2"}, ("vgg_c", "003"): {"2"},
    ("vgg_d", "003"): {"2"}, ("vgg_e", "003"): {"2"},  # "Table 2"
}  # fmt: skip


@pytest.mark.parametrize("name", [name for name, entry in ZOO.items() if entry.get("slide_claims")])
def test_what_the_slides_claim_of_a_network_is_there(report, name):
    for deck, claim in ZOO[name]["slide_claims"].items():
        lines = [line for line in report.lines if line.deck == deck[:3] and name in line.networks]
        assert lines, deck
        around = [line for line in report.lines if line.deck == deck[:3]]
        said = set().union(*(numbers(f"{line.statement} {line.slide}") for line in around))
        missing = numbers(claim) - said - NOT_IN_THE_DECK.get((name, deck[:3]), set())
        assert not missing, (deck, claim)


def test_wrong_lines_say_why_and_others_compute(report):
    assert report.checked == sum(line.verdict != REMARK for line in report.lines) > 600
    for line in report.lines:
        assert line.verdict in (*VERDICTS, REMARK)
        assert "not computed" not in line.reason and "no reason" not in line.reason, line
        assert (line.computed == "") == (line.verdict == QUOTED), line
        if line.verdict == WRONG or line.kind:
            assert line.reason, line


def test_no_statement_is_checked_twice(report):
    seen = [(line.deck, line.topic, line.statement, line.slide, line.computed) for line in report.lines]
    assert len(set(seen)) >= len(seen) - 16  # rows of VGG-16's memory table are alike


def test_a_planted_error_is_found():
    """The same claim, computed rightly and wrongly, and a computation that fails."""
    right = evaluate("000", "", Claim("params: 5x5x3x3", "225", lambda: 225))
    assert right.verdict == "agrees" and not right.reason
    planted = evaluate("000", "", Claim("params: 5x5x3x3", "225", lambda: 226))
    assert planted.verdict == WRONG and planted.reason == "no reason is recorded"

    def fails():
        raise ShapeError("no room")

    assert evaluate("000", "", Claim("", "225", fails)).reason == "not computed: no room"


def test_no_claim_knows_its_verdict():
    """Whatever a claim prints, another computed value makes it wrong."""
    claims = [claim for module in DECKS.values() for topic in module.CLAIMS.values() for claim in topic]
    for claim in claims:
        if claim.compute is not None:
            value = Holds(False, "-") if claim.printed == "" else 123456789.5
            planted = Claim(claim.statement, claim.printed, lambda value=value: value, claim.reason)
            assert evaluate("003", "", planted).verdict == WRONG, claim
    assert len(claims) > 600


def forget():
    for remembered in (measure._net, measure.conv, measure.stack, measure.pool, registry._counts):
        remembered.cache_clear()


@pytest.mark.parametrize(
    "kind, method, least", [(layers.Conv2d, "macs", 12), (layers.Conv2d, "window", 2), (layers.MaxPool2d, "forward", 6)]
)
def test_a_wrong_library_shows(monkeypatch, kind, method, least):
    """A layer that counts, sees or computes something else than it should turns lines wrong that were right."""

    def wrong():
        return {line[:4] for deck in ("001", "003") for line in check_slides(deck, wrong=True).lines}

    before, right = wrong(), getattr(kind, method)
    spoilt = {
        "macs": lambda self, *shapes: 2 * right(self, *shapes),
        "window": lambda self, shape: right(self, shape)._replace(size=(5, 5)),
        "forward": lambda self, x: right(self, x)[:, :, 1:],
    }[method]
    forget()
    try:
        monkeypatch.setattr(kind, method, spoilt)
        assert len(wrong() - before) >= least
    finally:
        forget()


def test_numbers_in_reasons_are_computed_or_printed(report):
    """A reason may repeat a long number only if something computes it."""
    long = r"\d{1,3}(?:,\d{3})+"
    computed = {number for line in report.lines for number in re.findall(long, line.computed)}
    claims = {
        claim.statement: claim for module in DECKS.values() for topic in module.CLAIMS.values() for claim in topic
    }
    for line in report.lines:
        if not callable(claims[line.statement].reason):
            reason = re.sub(r"cut off, not rounded, which gives [\d,]+", "", line.reason)
            assert set(re.findall(long, reason)) <= computed, line


@pytest.mark.parametrize(
    "printed, value, verdict",
    [
        ("55", 55, "agrees"), ("62,378,344", 62378344, "agrees"), ("62,378,344", 62378345, "wrong"),
        ("55x55x96", (55, 55, 96), "agrees"), ("55x55x96", (55, 55, 97), "wrong"), ("55x55", (55, 55, 1), "wrong"),
        ("35K", 34944, "rounded"), ("36K", 35500, "rounded"), ("35K", 35500, "wrong"), ("34K", 34500, "rounded"),
        ("35K", 34500, "rounded"), ("35K", 35501, "wrong"), ("35K", 34499, "wrong"),
        ("163M", 163840000, "wrong"), ("164M", 163840000, "rounded"), ("163M", 163000000, "agrees"),
        ("~1.28 M", 1254250, "wrong"), ("~1 M", 885610, "rounded"), ("5 million", 6998552, "wrong"),
        ("1.8 x 10^9", 1814073344, "rounded"), ("3.8 x 10^9", 3857973248, "wrong"), ("2.33", 7 / 3, "rounded"),
        ("800K", 802816, "rounded"), ("800K", 805001, "wrong"), ("60000000", 60965224, "wrong"),
        ("60000000", 60400000, "rounded"), ("224", 227, "wrong"), ("110", 111, "wrong"), ("0", 0, "agrees"),
        ("33%", 100 / 3, "rounded"), ("0.0075", 0.0075, "agrees"), ("159K", Kibi(163328), "wrong"), ("160K", Kibi(163328), "rounded"),
        ("112K", Kibi(114688), "agrees"), ("437K", Kibi(448512), "wrong"), ("3z", 32, "wrong"), ("SR0K", 590, "wrong"),
        (("28", "24"), (28, 24), "agrees"), (("28", "24"), (28, 23), "wrong"), (("28", "24"), (28,), "wrong"),
        (("3.2M", "1,728"), (3211264, 1728), "rounded"), (("3x3",), ("3x3", "1x1"), "wrong"),
        ("NIPS 2014", "NIPS 2012", "wrong"), ("1e-5", Cited(1e-4), "wrong"), ("NIPS 2012", Cited("NIPS 2012"), "agrees"), ("relu", "ReLU", "agrees"),
        (Formula("2*3", 6), 6, "agrees"), (Formula("2*3", 6), 7, "wrong"), (Formula("a, b", (1, 2.5)), (1, 2.5), "agrees"),
        ("", Holds(True, "yes"), "agrees"), ("", Holds(False, "no"), "wrong"),
    ],
)  # fmt: skip
def test_verdicts(printed, value, verdict):
    assert judge(printed, value)[0] == verdict


def test_a_number_cut_off_is_called_that():
    assert judge("163M", 163840000)[1] == "cut off, not rounded, which gives 164 M"
    assert judge("3.8 x 10^9", 3857973248)[1] == "cut off, not rounded, which gives 3.9 x 10^9"
    assert judge("159K", Kibi(163328)).detail == "cut off, not rounded, which gives 160 K"
    assert judge("163M", 163840000).cut and not judge("162M", 163840000).cut and not judge("164M", 163840000).cut
    assert judge(("163M", "1"), (163840000, 1)).cut and not judge(("163M", "1"), (163840000, 2)).cut
    assert judge("35K", 34944)[1] == "to 35K"


@pytest.mark.parametrize(
    "printed, value, more, kind, detail",
    [
        ("55", 55, {}, "", ""),
        ("163M", 163840000, {}, CUT, "cut off"),
        ("55", 56, {}, OTHER, "no reason"),
        ("3z", 32, {"meant": "32"}, SPOILT, "spoilt by the text recognition, for 32"),
        ("3z", 31, {"meant": "32"}, OTHER, "spoilt by the text recognition, for 32"),  # the slide is wrong as well
        ("B40K", Kibi(867328), {"meant": "840K"}, CUT, "for 840K; cut off, not rounded"),
        (("12", "3z"), (112, 32), {"meant": ("112", "32")}, SPOILT, "for 112; 32"),
    ],
)
def test_kinds_of_wrong(printed, value, more, kind, detail):
    line = evaluate("002", "", Claim("", printed, lambda: value, **more))
    assert line.kind == kind and detail in line.reason and (line.verdict == WRONG) == bool(kind)


def test_the_kinds_are_counted(report):
    wrong = [line for line in report.lines if line.verdict == WRONG]
    assert all(line.kind in KINDS for line in wrong) and all(
        line.kind in (("", DIFFERS) if line.verdict == REMARK else ("",)) for line in report.lines if line not in wrong
    )
    kinds = report.kinds()
    assert sum(kinds.values()) == len(wrong) and kinds[SPOILT] == 19
    assert {line.erratum for line in wrong if line.kind == SPOILT} == {
        erratum["slide"] for erratum in ERRATA if erratum["kind"] in ("OCR", "extraction")
    }
    last = " ".join(report.to_text().rpartition("\n\n")[2].split())
    counted = f"{len(wrong)} wrong (19 spoilt by text recognition, {kinds[CUT]} cut off, {kinds[OTHER]} others)"
    assert counted in last and counted in report.to_markdown()
    assert json.loads(report.to_json())["wrong"] == kinds
    others = tuple(line for line in wrong if line.kind == OTHER)
    text = replace(report, lines=(*others[:1], *[line for line in wrong if line.kind == CUT][:1])).to_text()
    assert text.endswith("2 wrong (1 cut off, 1 other)")
    assert replace(report, lines=others).to_text().endswith(f"{len(others)} wrong")  # nothing to count apart


def test_remarks_are_not_the_slides(report):
    """What no slide states is never called wrong or right, and is counted apart."""
    claims = {
        claim.statement: claim for module in DECKS.values() for topic in module.CLAIMS.values() for claim in topic
    }
    remarks = [line for line in report.lines if line.verdict == REMARK]
    assert remarks and all(claims[line.statement].ours and line.statement.startswith("Remark") for line in remarks)
    assert len(remarks) == sum(claim.ours for claim in claims.values()) == len(report.lines) - report.checked
    assert all(line.verdict == WRONG for line in check_slides(wrong=True).lines)
    assert f"{report.checked} statements: " in " ".join(report.to_text().split())
    assert f"beside them {len(remarks)} remarks of ours" in " ".join(report.to_text().split())
    assert "| not on the slide |" in report.to_markdown() and "(not on the" in report.to_text()


@pytest.mark.parametrize(
    "printed, value, kind, reason",
    [("55", 54.25, DIFFERS, "differs; why"), ("2.7K", 2712, "", "rounded to 2.7K; why"), ("55", 55, "", "agrees; why"), ("", 60000, "", "why")],
)  # fmt: skip
def test_a_remark(printed, value, kind, reason):
    line = evaluate("004", "", Claim("", printed, lambda: value, "why", ours=True))
    assert (line.verdict, line.kind, line.reason) == (REMARK, kind, reason)


def fails(*arguments, **options):
    raise ShapeError("nothing computes")


CITATIONS = {
    # where a paper appeared and what its authors set stands in the paper alone
    "Striving for Simplicity: The All Convolutional Net (CVPR 2014)", "(Krizhevsky NIPS 2014)", "Weight decay of 1e-5",
}  # fmt: skip
"""The claims whose function needs no layer, operation or formula of sizes: what they give is typed, and says so."""


def untouched():
    """The claims that still compute, and what they give, where no layer, operation or formula of sizes works."""
    left = {}
    for module in DECKS.values():
        for claim in (claim for claims in module.CLAIMS.values() for claim in claims if claim.compute is not None):
            try:
                left[claim.statement] = claim.compute()
            except ShapeError as error:
                assert "nothing computes" in str(error)
    return left


def test_every_claim_computes(monkeypatch):
    """A value typed in beside its claim shows: it is still there when the library computes nothing."""
    forget()
    try:
        # a new network's layers may be built; to run one, or to ask for a size, a field or initial weights, fails
        monkeypatch.setattr(layers.Layer, "__call__", fails)
        for name in ("conv2d", "pad", "add", "relu", "adaptive_avg_pool2d"):
            monkeypatch.setattr(ops, name, fails)
        for name in ("he_normal", "xavier_normal"):
            monkeypatch.setattr(layers.init, name, fails)
        monkeypatch.setattr(geometry.Field, "__new__", fails)
        for name in ("output_size", "output_formula"):
            monkeypatch.setattr(geometry, name, fails)
            monkeypatch.setattr(worked, name, fails)
        for module in [*sys.modules.values()]:
            if getattr(module, "__name__", "").startswith("minicnn") and getattr(module, "trace", None) is layers.trace:
                monkeypatch.setattr(module, "trace", fails)
        left = untouched()
        assert set(left) == CITATIONS and all(isinstance(value, Cited) for value in left.values())
        typed = Claim("Layer1, output of the convolution", "55x55x96", lambda: (55, 55, 96))
        monkeypatch.setitem(DECKS["000"].CLAIMS, "planted", [typed])
        assert set(untouched()) - CITATIONS == {typed.statement}
    finally:
        forget()


@pytest.mark.parametrize(
    "value, slide, text",
    [((55, 55, 96), "55x55x96", "55x55x96"), (("3x3", "1x1"), "3x3", "3x3; 1x1"), ((9216, 10), "9216; 10", "9,216; 10"),
     (54.25, "55", "54.25"), (62378344, "62M", "62,378,344"), (1e-4, "1e-5", "1e-4"), (0.0075, "0.0075", "0.0075"), (Kibi(9408), "2.7K", "9.2K"), (8.91, "12x", "8.91"),
     (Cited(1e-4), "1e-5", "the paper: 1e-4")],
)  # fmt: skip
def test_shown(value, slide, text):
    assert shown(value, slide) == text


@pytest.mark.parametrize("printed, number, step", [("35K", 35000, 1000), ("1.3 M", 1300000, 100000), ("800K", 800000, 10000),
                                                  ("1000K", 10**6, 10**5), ("224", 224, 1), ("100", 100, 1)])  # fmt: skip
def test_parse(printed, number, step):
    assert parse(printed)[:2] == (number, step)


def test_choices(report):
    one = check_slides("003")
    assert {line.deck for line in one.lines} == {"003"} and one.lines == tuple(
        line for line in report.lines if line.deck == "003"
    )
    wrong = check_slides("003", wrong=True)
    assert wrong.checked == len(one.lines) and {line.verdict for line in wrong.lines} == {WRONG}
    with pytest.raises(ArgumentError, match="deck is '005': it must be one of 000, 001"):
        check_slides("005")


def test_forms(report):
    text = report.to_text()
    assert max(map(len, text.splitlines())) <= 80 and str(report) == text
    assert max(map(len, report.to_text(100).splitlines())) <= 100
    for form, header, mark in ((text, "the slide  ", ""), (report.to_markdown(), "| statement", r"- \*+")):
        legend = form[: form.index(header)]
        assert all(re.search(rf"^{mark}{verdict}\b", legend, re.MULTILINE) for verdict in (*VERDICTS, REMARK))
    content = json.loads(report.to_json())
    assert len(content["lines"]) == len(report.lines) and sum(content["counts"].values()) == report.checked
    for line in report.to_markdown().splitlines():
        if line.startswith("|"):
            assert len(re.findall(r"(?<!\\)\|", line)) == 5


def test_the_random_state_is_left_alone():
    from minicnn import random

    before = random.get_state()
    check_slides("003")
    assert random.get_state() == before


@pytest.mark.skipif(not PAGE.exists(), reason="the documents are not beside an installed package")
def test_the_page_is_up_to_date(report):
    """`minicnn slides --format markdown > docs/slides.md` makes it again."""
    assert PAGE.read_text("utf-8") == report.to_markdown() + "\n"


def command(*arguments):
    with pytest.raises(SystemExit) as left:
        app(["slides", *arguments])
    return left.value.code or 0


def test_the_command(capsys):
    assert command("--deck", "003", "--wrong") == 0
    out = capsys.readouterr().out
    assert "24M" in out and "15,237,608" in out and max(map(len, out.splitlines())) <= 80
    assert command("--deck", "001", "--format", "json") == 0
    assert json.loads(capsys.readouterr().out)["decks"]
    assert command("--deck", "9") == 1 and "must be one of 000" in capsys.readouterr().err
    assert command("--help") == 0
    out = capsys.readouterr().out
    assert all(re.search(rf"^ *{verdict}  ", out, re.MULTILINE) for verdict in VERDICTS)
    assert command("--format", "pdf") == 2 and "none of text, markdown, json" in capsys.readouterr().err
