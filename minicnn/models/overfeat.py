"""OverFeat. Sermanet et al. 2013, "OverFeat: integrated recognition, localization and detection"."""

from __future__ import annotations

from collections.abc import Sequence

from ..errors import check
from ..layers import Sequential
from .chain import Stage, chain
from .registry import register

PAPER = (
    "Sermanet, Eigen, Zhang, Mathieu, Fergus and LeCun 2013, OverFeat: integrated recognition, localization and "
    "detection using convolutional networks, arXiv:1312.6229"
)

# The paper's tables 1 (fast, for 231x231) and 3 (accurate, for 221x221): the convolutions, side of the last maps, units
TABLES: dict[str, tuple[list[Stage], int, tuple[int, int]]] = {
    "fast": (
        [
            Stage(96, 11, stride=4, pool=(2, 2)),
            Stage(256, 5, pool=(2, 2)),
            Stage(512, 3, padding=1),
            Stage(1024, 3, padding=1),
            Stage(1024, 3, padding=1, pool=(2, 2)),
        ],
        6,
        (3072, 4096),
    ),
    "accurate": (
        [
            Stage(96, 7, stride=2, pool=(3, 3)),
            Stage(256, 7, pool=(2, 2)),
            Stage(512, 3, padding=1),
            Stage(512, 3, padding=1),
            Stage(1024, 3, padding=1),
            Stage(1024, 3, padding=1, pool=(3, 3)),
        ],
        5,
        (4096, 4096),
    ),
}


@register(
    "overfeat_accurate",
    title="OverFeat, accurate",
    paper=PAPER,
    year=2013,
    input_shape=(3, 221, 221),
    decks=("002",),
    notes="The slides give its errors (Overfeat-7, going by the numbers) but not its layers, which are the paper's table 3. "
    "The paper counts 144 million parameters and 5,369 million connections; here they are 144,656,488 and 5,355,446,784.",
    model="accurate",
)
@register(
    "overfeat_fast",
    title="OverFeat, fast",
    paper=PAPER,
    year=2013,
    input_shape=(3, 231, 231),
    decks=("002",),
    notes="The Overfeat-5 of the slides, going by the numbers. Their table (and the paper's) gives 24x24 as the input of "
    "layer 2: that is its output; its input is 28x28. The slide speaks of 1024 instead of 384 filters in convolutions 4 "
    "and 5, but AlexNet has 256 in the fifth.",
    model="fast",
)
def overfeat(
    *, num_classes: int = 1000, in_channels: int = 3, dropout: float = 0.5, model: str = "fast",
    hidden: Sequence[int] | None = None, batch_norm: bool = False,
) -> Sequential:  # fmt: skip
    """OverFeat's classifier: AlexNet without normalisation, with pools that do not overlap and more filters.

    model: fast (231x231 images) or accurate (221x221). hidden: units of the hidden linear layers, the paper's if None.
    batch_norm: one behind each convolution (which has no bias then).
    """
    check(model in [*TABLES], f"overfeat: model is {model!r}: it must be fast or accurate")
    stages, side, units = TABLES[model]
    return chain(
        "overfeat", stages, side, hidden=units if hidden is None else hidden, num_classes=num_classes,
        in_channels=in_channels, dropout=dropout, batch_norm=batch_norm,
    )  # fmt: skip
