"""`check_slides`: every number that the lecture slides state, beside what the code computes when it runs.

A claim (`claim.py`) holds a statement, the number as the slide prints it and a function that computes it by running
layers and networks (`measure.py`, `worked.py`); the verdict comes from comparing the two. The claims lie in one file per
deck.
"""

from __future__ import annotations

from ...errors import check
from . import deck_000, deck_001, deck_002, deck_003, deck_004
from .claim import AGREES, QUOTED, REMARK, ROUNDED, VERDICTS, WRONG, Claim, Formula, Holds, Line, evaluate
from .report import Report

DECKS = {"000": deck_000, "001": deck_001, "002": deck_002, "003": deck_003, "004": deck_004}

__all__ = [
    "AGREES", "DECKS", "QUOTED", "REMARK", "ROUNDED", "VERDICTS", "WRONG", "Claim", "Formula", "Holds", "Line", "Report",
    "check_slides", "evaluate",
]  # fmt: skip


def check_slides(deck: str | None = None, wrong: bool = False) -> Report:
    """Check what the slides state, in a second or two and without the networks' memory.

    deck: "000" to "004", or None for all. wrong: only what is wrong.
    Raises ArgumentError for a deck that there is not.
    """
    check(deck is None or deck in DECKS, f"check_slides: deck is {deck!r}: it must be one of {', '.join(DECKS)}")
    chosen = DECKS if deck is None else {deck: DECKS[deck]}
    lines = [
        evaluate(number, topic, claim)
        for number, module in chosen.items()
        for topic, claims in module.CLAIMS.items()
        for claim in claims
    ]
    titles = {number: module.TITLE for number, module in chosen.items()}
    checked = sum(line.verdict != REMARK for line in lines)
    return Report(titles, tuple([line for line in lines if not wrong or line.verdict == WRONG]), checked)
