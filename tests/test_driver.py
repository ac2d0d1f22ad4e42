"""The C driver of all kernels (tests/c) knows every kernel. CI builds and runs it: python tests/c/run.py."""

from __future__ import annotations

import re
from pathlib import Path

import minicnn_kernels

DRIVER = Path(__file__).parent / "c"
HEADER = Path(minicnn_kernels.__file__).parent / "minicnn.h"


def test_the_driver_calls_every_kernel():
    """Its check_*.c are compiled for both real types, so that CALL(relu) is relu_f32 and relu_f64."""
    declared = set(re.findall(r"^[a-z][\w ]*?\W\*?(\w+)\(", HEADER.read_text(), re.MULTILINE))
    assert {"relu_f32", "conv2d_scratch_f64", "minicnn_compiler"} <= declared
    text = "".join(path.read_text() for path in sorted(DRIVER.glob("*.c")))
    called = {f"{name}_{suffix}" for name in re.findall(r"\bCALL\((\w+)\)", text) for suffix in ("f32", "f64")}
    called |= {name for name in declared if re.search(rf"\b{name}\(", text)}
    assert declared - called == set(), "write a check in tests/c for these"
    assert called - declared == set(), "the header has no such kernels"
