"""Claims that are only quoted: results of experiments, from the table of published results; settings and years."""

from __future__ import annotations

import re

from ..published import CIFAR10, IMAGENET, WINNERS, Result
from .claim import Claim


def errors(deck: str, *networks: str, reason: str = "", erratum: str = "") -> list[Claim]:
    """The error rates that a deck states, one claim for each of its lines; only of these networks, if there are any."""
    found: dict[str, list[Result]] = {}
    for result in (*IMAGENET, *CIFAR10):
        if result.deck == deck and (not networks or result.network in networks):
            found.setdefault(result.words, []).append(result)
    claims = []
    for words, results in found.items():
        numbers = tuple(
            _printed(error, words) for result in results for error in (result.top1, result.top5) if error is not None
        )
        notes = dict.fromkeys(note for result in results for note in (result.note, reason) if note)
        about = tuple(result.network for result in results)
        claims.append(Claim(words, numbers, reason="; ".join(notes), erratum=erratum, about=about))
    return claims


def _printed(error: float, words: str) -> str:
    """An error rate as the slide prints it, with its zeros; as a number where the slide's text has lost the point."""
    return next((token for token in re.findall(r"\d+\.\d+", words) if float(token) == error), f"{error:g}")


def winners(deck: str) -> list[Claim]:
    """The top-5 errors of the challenge's winners, from the chart whose text is left."""
    return [
        Claim(f"ILSVRC {winner.year}, top-5 error of {winner.name}", f"{winner.top5:g}%",
              about=(winner.network,) if winner.network else ())
        for winner in WINNERS if winner.deck == deck
    ]  # fmt: skip


def quoted(*pairs: tuple[str, str], about: tuple[str, ...] = (), reason: str = "") -> list[Claim]:
    """Further results, settings or years, as (statement, printed) pairs."""
    return [Claim(statement, printed, reason=reason, about=about) for statement, printed in pairs]
