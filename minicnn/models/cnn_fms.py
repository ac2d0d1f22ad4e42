"""CNN-F, CNN-M and CNN-S: fast, medium, slow. Chatfield et al. 2014, "Return of the devil in the details"."""

from __future__ import annotations

import functools
from collections.abc import Sequence

from ..errors import check
from ..layers import Sequential
from .chain import Norm, Stage, chain
from .registry import register

PAPER = (
    "Chatfield, Simonyan, Vedaldi and Zisserman 2014, Return of the devil in the details: delving deep into "
    "convolutional nets, arXiv:1405.3531"
)

# The paper's table 1
TABLE = {
    "F": [
        Stage(64, 11, stride=4, lrn=True, pool=(3, 2)),
        Stage(256, 5, padding=2, lrn=True, pool=(3, 2)),
        Stage(256, 3, padding=1),
        Stage(256, 3, padding=1),
        Stage(256, 3, padding=1, pool=(3, 2)),
    ],
    "M": [
        Stage(96, 7, stride=2, lrn=True, pool=(3, 2)),
        Stage(256, 5, stride=2, padding=1, lrn=True, pool=(3, 2)),
        Stage(512, 3, padding=1),
        Stage(512, 3, padding=1),
        Stage(512, 3, padding=1, pool=(3, 2)),
    ],
    "S": [
        Stage(96, 7, stride=2, lrn=True, pool=(3, 3)),
        Stage(256, 5, padding=1, pool=(2, 2)),
        Stage(512, 3, padding=1),
        Stage(512, 3, padding=1),
        Stage(512, 3, padding=1, pool=(3, 3)),
    ],
}


enter = functools.partial(register, paper=PAPER, year=2014, input_shape=(3, 224, 224), decks=("002",))
NARROW = "CNN-M with {0} units in the last hidden layer, so that {0} numbers describe a picture. "


@enter(
    "cnn_s_released",
    title="CNN-S, as released",
    notes="The published weights belong to a net without padding in convolution 2: maps of 33 instead of 35, and as many "
    "parameters.",
    reference=True,
    model="S",
    padding=0,
)
@enter(
    "cnn_s",
    title="CNN-S",
    notes="The paper's table pads convolution 2 by 1 (maps of 109, 37, 35, 18 and 6); the released model does not pad it: "
    "cnn_s_released.",
    model="S",
)
@enter(
    "cnn_m_128",
    title="CNN-M 128",
    notes=NARROW.format("128") + "The slide: 2 % worse, and 32 times smaller.",
    model="M",
    hidden=(4096, 128),
)
@enter(
    "cnn_m_1024",
    title="CNN-M 1024",
    notes=NARROW.format("1,024") + "The slide: a little better.",
    model="M",
    hidden=(4096, 1024),
)
@enter(
    "cnn_m_2048",
    title="CNN-M 2048",
    notes=NARROW.format("2,048") + "The slide: little difference.",
    model="M",
    hidden=(4096, 2048),
)
@enter(
    "cnn_m",
    title="CNN-M",
    notes="Like Clarifai's, with more filters. The table's \"x2 pool\" is a 3x3 window with stride 2 whose division rounds "
    "up: maps of 109, 54, 26, 13 and 6.",
    model="M",
)
@enter(
    "cnn_f",
    title="CNN-F",
    notes="Like AlexNet, with fewer filters. One of the deck's two tables seems to print 3x3 for convolution 2; it is 5x5. "
    'The table\'s "x2 pool" is a 3x3 window with stride 2 whose division rounds up: maps of 54, 27, 13 and 6.',
    model="F",
)
def cnn_fms(
    *, num_classes: int = 1000, in_channels: int = 3, dropout: float = 0.5, model: str = "F", norm: Norm = "before",
    padding: int | None = None, hidden: Sequence[int] = (4096, 4096), batch_norm: bool = False,
) -> Sequential:  # fmt: skip
    """One of the three networks for 224x224 images.

    model: F, M or S. norm: local response normalisation before the pool (the paper), after it, or None. padding: of the
    second convolution, the table's if None. hidden: units of the two hidden linear layers. batch_norm: one behind each
    convolution (which has no bias then).
    """
    check(model in [*TABLE], f"cnn_fms: model is {model!r}: it must be F, M or S")
    stages = list(TABLE[model])
    if padding is not None:
        stages[1] = stages[1]._replace(padding=padding)
    return chain(
        "cnn_fms", stages, 6, hidden=hidden, num_classes=num_classes, in_channels=in_channels, dropout=dropout,
        norm=norm, batch_norm=batch_norm, ceil_mode=True,
    )  # fmt: skip
