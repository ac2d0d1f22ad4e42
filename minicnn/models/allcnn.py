"""The twelve All-CNN nets. Springenberg, Dosovitskiy, Brox and Riedmiller 2014, "Striving for simplicity"."""

from __future__ import annotations

from collections.abc import Sequence

from ..errors import check
from ..layers import Conv2d, Dropout, Layer, MaxPool2d, ReLU, Sequential
from ..layers.arguments import counts
from .nin import classes
from .registry import register

PAPER = (
    "Springenberg, Dosovitskiy, Brox and Riedmiller 2014, Striving for simplicity: the all convolutional net, "
    "arXiv:1412.6806"
)

# Table 1: the windows of the convolutions before each of the two places where the maps shrink
BASES = {"A": (5,), "B": (5, 1), "C": (3, 3)}

# Table 2: the four ways in which the maps shrink: name and title of the net, and how
FORMS = {
    "model": ("allcnn_model_{}", "Model {}", "by 3x3 max pooling with stride 2"),
    "strided": ("strided_cnn_{}", "Strided-CNN-{}", "because the last convolution before has stride 2"),
    "convpool": ("convpool_cnn_{}", "ConvPool-CNN-{}", "by pooling, behind one more 3x3 convolution"),
    "all": ("all_cnn_{}", "All-CNN-{}", "by a 3x3 convolution with stride 2 in the pool's place"),
}


def allcnn(
    *, num_classes: int = 10, in_channels: int = 3, base: str = "C", form: str = "all",
    widths: Sequence[int] = (96, 192), dropout: float = 0.5, dropout_input: float = 0.2, padding: int = 0,
) -> Sequential:  # fmt: skip
    """A net for 32x32 images, of convolutions (and, in two forms, pools) alone.

    base: A, B or C, the windows. form: how the maps shrink: model, strided, convpool or all. widths: filters before and
    behind the first shrinking. dropout: behind each shrinking. dropout_input: of the image. padding: of the last 3x3
    convolution; 0 gives the paper's 6x6 maps, 1 the 8x8 maps of several public ports.
    """
    check(base in [*BASES], f"allcnn: base is {base!r}: it must be {', '.join(BASES)}")
    check(form in [*FORMS], f"allcnn: form is {form!r}: it must be {', '.join(FORMS)}")
    first, second = counts(widths, "allcnn: widths", 2)
    parts: dict[str, Layer] = {"drop0": Dropout(dropout_input)}

    def conv(name: str, channels: int, filters: int, window: int, stride: int = 1, padding: int = 0) -> None:
        parts[f"conv{name}"] = Conv2d(channels, filters, window, stride, padding)
        parts[f"relu{name}"] = ReLU()

    channels = in_channels
    for stage, filters in enumerate((first, second), 1):
        rows = [(window, 1) for window in BASES[base]]
        if form == "strided":
            rows[-1] = (rows[-1][0], 2)
        elif form != "model":
            rows.append((3, 2 if form == "all" else 1))
        for number, (window, stride) in enumerate(rows, 1):
            conv(f"{stage}_{number}", channels, filters, window, stride, window // 2)
            channels = filters
        if form in ("model", "convpool"):
            parts[f"pool{stage}"] = MaxPool2d(3, 2, ceil_mode=True)
        parts[f"drop{stage}"] = Dropout(dropout)
    conv("3_1", second, second, 3, padding=padding)
    conv("3_2", second, second, 1)
    conv("3_3", second, num_classes, 1)
    return classes(Sequential(parts), "conv3_3")


def _enter_all() -> None:
    stated = {"A": ("0.9", "1.28"), "B": ("1", "1.35"), "C": ("1.3", "1.4")}  # millions, without and with more layers
    for form, (name, title, how) in FORMS.items():
        for base in BASES:
            more = form in ("convpool", "all")
            notes = (
                f"The maps shrink twice, {how}. The paper and the slide say about {stated[base][more]} million parameters, "
                "rounded loosely. The last 3x3 convolution has no padding, as in the paper (an average over 6x6); with "
                "padding=1 (8x8, as in several ports) there are 10,375,680 multiply-adds more. The slide dates the paper "
                "CVPR 2014; it is a workshop paper of ICLR 2015."
            )
            if base == "C" and not more:
                notes += " Here the stated count does not follow from the table of layers, which gives 954,730."
            if base == "B" and form == "strided":
                notes += " The stride is that of the 1x1 convolution, which sees every fourth place only."
            register(
                name.format(base.lower()), title=title.format(base), paper=PAPER, year=2014, input_shape=(3, 32, 32),
                decks=("000",), notes=notes, base=base, form=form,
            )(allcnn)  # fmt: skip


_enter_all()
