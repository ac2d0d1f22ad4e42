"""The lessons in examples/notebooks: what is stored in them, and that running them gives it again.

Each notebook runs once, as it is, with the blanks that a student gets; then its checks are made again with the answers of
`solutions/`.
"""

from __future__ import annotations

import ast
import copy
import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import minicnn

FOLDER = Path(__file__).parents[1] / "examples" / "notebooks"
LESSONS = sorted(FOLDER.glob("*.ipynb"))
MOST_BYTES = 1_500_000
NO_NETWORK = dict.fromkeys(("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"), "http://127.0.0.1:9")

lesson = pytest.mark.parametrize("path", LESSONS, ids=[path.stem for path in LESSONS])


def code_cells(notebook):
    return [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]


def source(cell):
    return "".join(cell["source"])


def printed(cell):
    """What a cell printed."""
    return "".join("".join(output["text"]) for output in cell["outputs"] if output["output_type"] == "stream")


def has_checks(cell):
    return any(line.lstrip().startswith("check(") for line in source(cell).splitlines())


def verdicts(cell):
    """What the checks of a cell said: right, not yet or not answered yet."""
    return re.findall(r": (right|not yet|not answered yet)\b", printed(cell))


def shown(cell):
    """The outputs of a cell: texts as they are, of anything else (pictures, pages) the kind."""
    found = [("stream", printed(cell))]
    for output in cell["outputs"]:
        data = output.get("data", {})
        plain = list(data) == ["text/plain"]  # beside a picture it names its class and its size
        found += [(kind, "".join(data[kind]) if plain else "") for kind in sorted(data)]
    return found


def kinds(cell):
    return [kind for kind, _ in shown(cell)]


def is_blank(node):
    return (isinstance(node, ast.Constant) and node.value is ...) or any(map(is_blank, getattr(node, "elts", ())))


def blanks(notebook):
    """The names that the student fills in: what is set to ..., and functions that have it for an answer."""
    names = set()
    for cell in code_cells(notebook):
        for statement in ast.parse(source(cell)).body if "..." in source(cell) else ():
            parts = [part.value for part in ast.walk(statement) if isinstance(part, (ast.Assign, ast.Return, ast.Expr))]
            if any(map(is_blank, parts)) and isinstance(statement, ast.FunctionDef):
                names.add(statement.name)
            elif any(map(is_blank, parts)):
                names |= {part.id for part in ast.walk(statement) if isinstance(part, ast.Name)}
    return names


def solved(notebook, solutions):
    """A copy that makes each cell's checks once more at its end, with the names as they were there and the answers."""
    notebook = copy.deepcopy(notebook)
    cells, answered = [], []
    for number, cell in enumerate(notebook["cells"]):
        cells.append(cell)
        if cell["cell_type"] == "code":
            cell["outputs"] = []
            if has_checks(cell):
                more = {**cell, "metadata": {"added": True}}
                cells.append({**more, "id": f"names-{number}", "source": f"_names_{number} = dict(globals())"})
                with_answers = [
                    "import runpy\n",
                    f"_answers = runpy.run_path('solutions/{solutions.name}')\n",
                    f"_names_{number}.update((name, _answers[name]) for name in {sorted(blanks(notebook))})\n",
                    f"exec({source(cell)!r}, _names_{number})\n",
                ]
                answered.append({**more, "id": f"answered-{number}", "source": with_answers})
    return {**notebook, "cells": cells + answered}


def test_a_check_tells_right_from_wrong(capsys, monkeypatch):
    monkeypatch.syspath_prepend(FOLDER)
    from lessons import check

    third = np.float32(1) / 3
    for right in (minicnn.Tensor([2.0, third]), [2, 1 / 3]):
        check("", minicnn.Tensor([2.0, third]), right)
    for wrong in ([2, 0.3334], [2], 2, "two", ["2", "1/3"], [np.nan, np.nan]):
        check("", wrong, [2, 1 / 3])
    check("", "NumPy", "NumPy")
    for blank in (None, ..., (2, ...)):
        check("", blank, [2, 1 / 3])
    said = [line.split(": ")[1] for line in capsys.readouterr().out.splitlines()]
    assert said == ["right"] * 2 + ["not yet"] * 6 + ["right"] + ["not answered yet"] * 3


@lesson
def test_what_is_stored(path):
    notebook = json.loads(path.read_text())
    cells = code_cells(notebook)
    assert path.stat().st_size <= MOST_BYTES
    assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1)), "run it from top to bottom"
    outputs = [output for cell in cells for output in cell["outputs"]]
    assert not [output for output in outputs if output["output_type"] == "error" or output.get("name") == "stderr"]
    assert not [output for output in outputs if " at 0x" in str(output.get("data", {}).get("text/plain"))], (
        "end it with ;"
    )
    assert any("image/png" in output.get("data", {}) for output in outputs), "no picture is stored"


@lesson
def test_exercises_are_left_to_the_student(path):
    checks = [cell for cell in code_cells(json.loads(path.read_text())) if has_checks(cell)]
    assert len(checks) >= 3
    for cell in checks:
        assert set(verdicts(cell)) == {"not answered yet"}, source(cell)


@pytest.mark.slow
@pytest.mark.notebook
@lesson
def test_running_gives_what_is_stored_and_the_solutions_are_right(path, tmp_path):
    for name in ("nbmake", "ipykernel"):
        if importlib.util.find_spec(name) is None:
            pytest.skip(f"{name} is not installed: pip install -e '.[dev]'")
    stored = json.loads(path.read_text())
    for file in FOLDER.iterdir():
        if file.suffix != ".ipynb":
            (tmp_path / file.name).symlink_to(file)
    ran = tmp_path / path.name
    ran.write_text(json.dumps(solved(stored, FOLDER / "solutions" / f"{path.stem}.py")))
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "--nbmake",
        "--overwrite",
        "--nbmake-timeout=300",
        "-p",
        "no:cacheprovider",
    ]
    environment = {**os.environ, **NO_NETWORK, "MINICNN_CACHE": str(tmp_path / "cache"), "PYTHONWARNINGS": "default"}
    environment.pop("MPLBACKEND", None)  # notebooks have their own, which puts figures into cells
    done = subprocess.run([*command, path.name], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr

    cells = code_cells(json.loads(ran.read_text()))
    added = [cell for cell in cells if "added" in cell["metadata"]]
    for cell in added[len(added) // 2 :]:  # the names were kept in as many cells before
        assert set(verdicts(cell)) == {"right"}, printed(cell) + source(cell)
    again = [cell for cell in cells if "added" not in cell["metadata"]]
    for was, now in zip(code_cells(stored), again, strict=True):
        look = kinds if "varies" in was["metadata"].get("tags", ()) else shown
        assert look(now) == look(was), source(was)
