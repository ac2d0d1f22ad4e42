"""Clarifai's network (ZFNet). Zeiler and Fergus 2013, "Visualizing and understanding convolutional networks"."""

from __future__ import annotations

from collections.abc import Sequence

from ..errors import check
from ..layers import Sequential
from ..layers.arguments import counts
from .chain import Norm, Stage, chain
from .registry import register

PAPER = "Zeiler and Fergus 2013, Visualizing and understanding convolutional networks, arXiv:1311.2901"


@register(
    "clarifai_wide",
    title="Clarifai, wide",
    paper=PAPER,
    year=2013,
    input_shape=(3, 224, 224),
    decks=("002",),
    notes="With 512, 1024 and 512 filters in convolutions 3, 4 and 5: the paper's best single network.",
    widths=(96, 256, 512, 1024, 512),
)
@register(
    "clarifai",
    title="Clarifai (ZFNet)",
    paper=PAPER,
    year=2013,
    input_shape=(3, 224, 224),
    decks=("002",),
    notes="The slide says that all but the first layer is as in AlexNet; but convolution 2 has stride 2 as well. Its table "
    "ends in 4096 units, where 1000 are meant, and pads convolution 2 instead of convolution 1, which gives maps of 109 "
    "and 54 instead of 110 and 55, and 1,164,942,368 multiply-adds (padding=(0, 1)). The paper normalises behind the "
    "pools, the table before them. Parameters are the same in all these readings.",
    aliases=("zfnet",),
)
def clarifai(
    *, num_classes: int = 1000, in_channels: int = 3, dropout: float = 0.5, norm: Norm = "after",
    padding: Sequence[int] = (1, 0), widths: Sequence[int] = (96, 256, 384, 384, 256),
    hidden: Sequence[int] = (4096, 4096), batch_norm: bool = False,
) -> Sequential:  # fmt: skip
    """AlexNet with smaller windows and steps in front, for 224x224 images: maps of 110, 55, 26 and 13.

    norm: local response normalisation before the pool, after it (the paper), or None. padding: pixels, of the first and
    the second convolution. widths: filters of the five convolutions. hidden: units of the hidden linear layers.
    batch_norm: one behind each convolution (which has no bias then).
    """
    a, b, c, d, e = counts(widths, "clarifai: widths", 5)
    check(
        isinstance(padding, (tuple, list)) and len(padding) == 2,
        f"clarifai: padding is {padding!r}: it must hold the pixels of the first and the second convolution",
    )
    first, second = padding
    stages = [
        Stage(a, 7, stride=2, padding=first, lrn=True, pool=(3, 2)),
        Stage(b, 5, stride=2, padding=second, lrn=True, pool=(3, 2)),
        Stage(c, 3, padding=1),
        Stage(d, 3, padding=1),
        Stage(e, 3, padding=1, pool=(3, 2)),
    ]
    return chain(
        "clarifai", stages, 6, hidden=hidden, num_classes=num_classes, in_channels=in_channels, dropout=dropout,
        norm=norm, batch_norm=batch_norm, ceil_mode=True,
    )  # fmt: skip
