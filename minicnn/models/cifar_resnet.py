"""Plain and residual networks for CIFAR-10: section 4.2 of He, Zhang, Ren and Sun 2015, arXiv:1512.03385."""

from __future__ import annotations

from collections.abc import Sequence

from ..errors import check
from ..geometry import is_integer
from ..layers import Layer, ReLU, Sequential
from ..layers.arguments import DEEPEST, counts
from .registry import register
from .resnet import PAPER, Shortcut, basic, check_shortcut, conv_bn, flag, head, residual, stages


def repeats(model: str, depth: int, convolutions: int, others: int = 2) -> int:
    """How many blocks each of three stages has, for a network of `depth` = 3*n*convolutions + others layers.

    Raises ArgumentError, with the nearest depths, for one that does not come out even.
    """
    each = 3 * convolutions
    n = (depth - others) // each if is_integer(depth) and depth <= DEEPEST else 0
    low = each * max(n, 1) + others
    check(
        n >= 1 and depth == low,
        f"{model}: depth is {depth!r}: it must be {each}*n + {others}, three stages of n blocks of {convolutions} "
        f"convolutions: {low} or {low + each} would do, up to {DEEPEST}",
    )
    return n


def cifar_resnet(
    *, num_classes: int = 10, in_channels: int = 3, depth: int = 20, widths: Sequence[int] = (16, 32, 64),
    shortcut: Shortcut = "A", zero_gamma: bool = False,
) -> Sequential:  # fmt: skip
    """A residual network for 32x32 images.

    depth: weighted layers, 6*n + 2. widths: channels of the three stages, on maps of 32, 16 and 8.
    shortcut: "A" pads with zeros, "B" projects where the shape changes, "C" always; None leaves shortcuts out.
    zero_gamma: start the last scale of each block at 0, so that every block begins as its shortcut.
    """
    n = repeats("cifar_resnet", depth, 2)
    first, _, last = widths = counts(widths, "cifar_resnet: widths", 3)
    check_shortcut("cifar_resnet", shortcut)
    flag(zero_gamma, "cifar_resnet: zero_gamma")

    def block(stage: int, number: int, channels: int, width: int, stride: int) -> Layer:
        return residual(basic(channels, width, stride), shortcut, channels, width, stride, zero_gamma)

    return Sequential({
        **conv_bn(1, in_channels, first, 3), "relu1": ReLU(),
        **stages((n, n, n), widths, first, block),
        **head(last, num_classes),
    })  # fmt: skip


for _depth in (20, 32, 44, 56, 110):
    _unnamed = " The slides do not name this depth." if _depth == 110 else ""
    register(
        f"cifar_plain{_depth}", title=f"Plain net of {_depth} layers for CIFAR-10", paper=PAPER, year=2015,
        input_shape=(3, 32, 32), decks=("002",), depth=_depth, shortcut=None,
        notes="The residual net without its shortcuts, which have no parameters: the counts are the same." + _unnamed,
    )(cifar_resnet)  # fmt: skip
    register(
        f"cifar_resnet{_depth}", title=f"ResNet-{_depth} for CIFAR-10", paper=PAPER, year=2015,
        input_shape=(3, 32, 32), decks=("002",), depth=_depth,
        notes="Shortcuts without parameters (option A), as in the paper. Scale and shift of the batch norms are counted "
        "here. Projections (option B) add 2,752 parameters." + _unnamed,
    )(cifar_resnet)  # fmt: skip
