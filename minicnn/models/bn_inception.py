"""BN-Inception (GoogLeNet-v2). Ioffe and Szegedy 2015, "Batch normalization", arXiv:1502.03167."""

from __future__ import annotations

from ..layers import Layer
from .inception import Plan, Stack
from .registry import register

PAPER = (
    "Ioffe and Szegedy 2015, Batch normalization: accelerating deep network training by reducing internal covariate shift, "
    "arXiv:1502.03167"
)
SEPARABLE = "whose first convolution is separable: 8 filters of 7x7 for each colour, then 64 of 1x1, 2,712 weights"


def module(one: int, three: tuple[int, int], double: tuple[int, int], pool: str, proj: int) -> Plan:
    """A row of the paper's table: 1x1; 3x3 reduce and 3x3; double 3x3 reduce and twice 3x3; pool and its projection."""
    return {
        "1x1": f"1x1 {one}",
        "3x3": f"1x1 {three[0]}, 3x3 {three[1]}",
        "3x3dbl": f"1x1 {double[0]}, 3x3 {double[1]}, 3x3 {double[1]}",
        "pool": f"{pool} 3x3, 1x1 {proj}",
    }


def reduction(three: tuple[int, int], double: tuple[int, int]) -> Plan:
    """A row with stride 2: no 1x1 branch, and the pool passes its input on."""
    return {
        "3x3": f"1x1 {three[0]}, 3x3/2 {three[1]}",
        "3x3dbl": f"1x1 {double[0]}, 3x3 {double[1]}, 3x3/2 {double[1]}",
        "pool": "max 3x3/2 ceil",
    }


@register(
    "bn_inception_caffe", title="BN-Inception of Caffe", paper=PAPER, year=2015, input_shape=(3, 224, 224),
    decks=("002",), reference=True, caffe=True,
    notes="The network as ported to Caffe and from there to PyTorch: 128 filters in the pool projections of 4c and 4d, so "
    "that the stages have 608, 608 and 1056 channels, and biases in the convolutions although a batch norm follows.",
)  # fmt: skip
@register(
    "bn_inception_sepconv1", title="BN-Inception with a separable first convolution", paper=PAPER, year=2015,
    input_shape=(3, 224, 224), decks=("002",), reference=True, separable=True,
    notes=f"The network of TensorFlow's slim, {SEPARABLE}.",
)  # fmt: skip
@register(
    "bn_inception", title="BN-Inception", paper=PAPER, year=2015, input_shape=(3, 224, 224), decks=("002",),
    aliases=("googlenet_v2", "inception_v2"),
    notes="Two 3x3 convolutions take the place of each 5x5. The slide says with up to 128 filters; the table has 160, 192, "
    "224 and 256 from 4c on. The pool projections of 4c and 4d have 96 filters here, so that the stages have 576, 576 and "
    f"1024 channels; Caffe's port has 128 (bn_inception_caffe). Google's released network has one {SEPARABLE} "
    "(bn_inception_sepconv1). The table was checked against ports, not against the paper itself.",
)  # fmt: skip
def bn_inception(
    *, num_classes: int = 1000, in_channels: int = 3, dropout: float = 0.0, separable: bool = False, caffe: bool = False,
    batch_norm: bool = True,
) -> Layer:  # fmt: skip
    """BN-Inception for 224x224 images: (N, in_channels, H, W) -> (N, num_classes).

    Other sizes: multiples of 32 from 64 on; the branches of a module with stride 2 do not agree on an odd map.
    dropout: none in the paper, because batch norm already regularises.
    separable: the first convolution, each colour by itself and then 1x1.
    batch_norm: False gives every convolution a bias instead, for comparing the two.
    caffe: the port's widths, biases, eps (1e-5) and average pools, which count their padding.
    """
    proj = 128 if caffe else 96
    net = Stack(in_channels, batch_norm=batch_norm, bias=caffe, eps=1e-5 if caffe else 1e-3, count_pad=caffe)
    if separable:
        net.separable("conv1", 64, window=7, stride=2, multiplier=8)
    else:
        net.add({"conv1": "7x7/2 64"})
    net.add({
        "pool1": "max 3x3/2 ceil",
        "conv2_reduce": "1x1 64", "conv2": "3x3 192", "pool2": "max 3x3/2 ceil",
        "inception3a": module(64, (64, 64), (64, 96), "avg", 32),
        "inception3b": module(64, (64, 96), (64, 96), "avg", 64),
        "inception3c": reduction((128, 160), (64, 96)),
        "inception4a": module(224, (64, 96), (96, 128), "avg", 128),
        "inception4b": module(192, (96, 128), (96, 128), "avg", 128),
        "inception4c": module(160, (128, 160), (128, 160), "avg", proj),
        "inception4d": module(96, (128, 192), (160, 192), "avg", proj),
        "inception4e": reduction((128, 192), (192, 256)),
        "inception5a": module(352, (192, 320), (160, 224), "avg", 128),
        "inception5b": module(352, (192, 320), (192, 224), "max", 128),
    })  # fmt: skip
    return net.classifier(num_classes, dropout).network()
