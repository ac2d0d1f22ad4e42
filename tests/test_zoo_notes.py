"""The numbers in the notes of the zoo: each is a count of some network or layer, or is worked out here, or is quoted."""

import functools
import math
import re

import minicnn
from minicnn import models


def parameters(name, **options):
    return sum(p.size for p in models.create(name, device="meta", **options).parameters())


def macs(name, shape=None, **options):
    return minicnn.summary(models.create(name, device="meta", **options), shape).total_macs


def weights(name):
    """Parameters without biases (and without the scales of batch norms)."""
    return sum(p.size for p in models.create(name, device="meta").parameters() if p.ndim > 1)


def statistics(name):
    return sum(buffer.size for buffer in models.create(name, device="meta").buffers())


def conv1(name):
    """Weights and multiply-adds of the layers whose path begins with conv1."""
    rows = [row for row in minicnn.summary(name).rows if row.path.startswith("conv1.") and row.gemm]
    model = models.create(name, device="meta")
    shapes = [p.shape for path, p in model.named_parameters() if path.startswith("conv1.") and len(p.shape) == 4]
    return sum(a * b * c * d for a, b, c, d in shapes), sum(row.macs for row in rows)


def scales(name):
    """The scales of the batch norms, which slim leaves out."""
    return sum(
        p.size
        for path, p in models.create(name, device="meta").named_parameters()
        if path.endswith(("bn.scale", "scale"))
    )


def connections(name):
    """As the paper of 1998 counts: each weight and each bias, for every unit that uses it; four pixels and a bias in a pool."""
    whole = minicnn.summary(name)
    pooled = sum(5 * math.prod(row.output_shape) for row in whole.rows if row.kind == "Subsample2d")
    return whole.total_macs + sum(row.neurons for row in whole.rows if row.kind != "RadialBasis") + pooled


WORKED_OUT = {
    "1,105,996,320": lambda: macs("nin_imagenet", (3, 227, 227)),
    "10,375,680": lambda: macs("all_cnn_c", padding=1) - macs("all_cnn_c"),
    "1,089,536": lambda: weights("inception_naive"),
    "2,712": lambda: conv1("googlenet_sepconv1")[0],
    "34,019,328": lambda: conv1("googlenet_sepconv1")[1],
    "173,824": lambda: parameters("resnet18") - parameters("resnet18", shortcut="A"),
    "19,267,584": lambda: macs("resnet18") - macs("resnet18", shortcut="A"),
    "231,211,008": lambda: macs("resnet50_v1.5") - macs("resnet50"),
    "1,164,942,368": lambda: macs("clarifai", padding=(0, 1)),
    "5,973,552": lambda: parameters("googlenet") - (1024 + 1) * 1000,
    "6,379,728": lambda: parameters("googlenet_aux") - parameters("googlenet"),
    "23,817,352": lambda: parameters("inception_v3") - scales("inception_v3"),
    "42,681,353": lambda: parameters("inception_v4", num_classes=1001),
    "55,845,001": lambda: parameters("inception_resnet_v2_slim", num_classes=1001),
    "138,344,128": lambda: weights("vgg_d"),
    "13,416": lambda: parameters("vgg_d") - weights("vgg_d"),
    "15,237,608": lambda: minicnn.summary("vgg_d").activation_bytes // 4,
    "22,910,480": lambda: parameters("xception") + statistics("xception"),
    "54,528": lambda: statistics("xception"),
    "64,673,832": lambda: parameters(
        "resnet50", blocks=(3, 24, 36, 3), stride_on="3x3"
    ),
    "340,908": lambda: connections("lenet5_1998"),
}  # fmt: skip
QUOTED = {"650,000", "253,440", "5,369"}
"""The papers' own numbers, which the notes set against ours."""


@functools.cache
def counted():
    found = set()
    for name in models.names(all=True):
        whole = minicnn.summary(name)
        found |= {whole.total_parameters, whole.total_macs, whole.total_neurons, whole.activation_bytes}
        for row in whole.rows:
            found |= {row.parameters, row.macs, row.neurons}
    return {f"{number:,}" for number in found}


def test_every_number_in_the_notes_is_counted_or_worked_out():
    loose = {}
    for name in models.names(all=True):
        for number in re.findall(r"\d{1,3}(?:,\d{3})+", models.info(name).notes):
            if number not in WORKED_OUT and number not in QUOTED and number not in counted():
                loose[number] = name
    assert not loose


def test_what_is_worked_out():
    notes = " ".join(models.info(name).notes for name in models.names(all=True))
    for number, work in WORKED_OUT.items():
        assert f"{work():,}" == number and number in notes
