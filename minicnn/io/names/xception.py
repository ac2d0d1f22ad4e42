"""Xception. timm calls the paper's network legacy_xception."""

from __future__ import annotations

from .table import Table

# Their blocks count every step, ReLUs included; the first block has none at its beginning.
STEPS = {"1.body": ("block1", (0, 3, 6)), "{i}.body": ("block{i}", (1, 4, 7))}

ROWS = {
    **{
        f"block{ours}.{part}{number}{inner}": f"{theirs}.rep.{place + shift}{their_inner}"
        for ours, (theirs, places) in STEPS.items()
        for number, place in enumerate(places, 1)
        for part, shift, inner, their_inner in (
            ("sep", 0, ".depthwise", ".conv1"), ("sep", 0, ".pointwise", ".pointwise"), ("bn", 1, "", ""),
        )
    },
    "block{i}.shortcut.conv": "block{i}.skip",
    "block{i}.shortcut.bn": "block{i}.skipbn",
    "sep{i}.depthwise": "conv{i}.conv1",
    "sep{i}.pointwise": "conv{i}.pointwise",
}  # fmt: skip

TABLES = (Table("timm", ("xception",), {"xception": "legacy_xception"}, ROWS),)
