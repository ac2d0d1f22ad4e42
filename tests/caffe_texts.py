"""Descriptions of networks in Caffe's language, written for the tests."""

from pathlib import Path

import numpy as np

LENET = Path(__file__).parent.parent / "examples" / "lenet.prototxt"


def layer(kind, name, bottom, top=None, inside=""):
    bottoms = "".join(f' bottom: "{one}"' for one in ([bottom] if isinstance(bottom, str) else bottom))
    return f'layer {{ name: "{name}" type: "{kind}"{bottoms} top: "{top or name}" {inside} }}\n'


def data(*shape):
    dims = " ".join(f"dim: {size}" for size in (1, *shape))
    return f'layer {{ name: "data" type: "Input" top: "data" input_param {{ shape {{ {dims} }} }} }}\n'


def conv(name, bottom, filters, window, inside="", relu=True):
    inside = f"convolution_param {{ num_output: {filters} kernel_size: {window} {inside} }}"
    return layer("Convolution", name, bottom, None, inside) + (
        layer("ReLU", f"relu_{name}", name, name) if relu else ""
    )


def pool(name, bottom, window, stride, inside="", kind="MAX"):
    inside = f"pooling_param {{ pool: {kind} kernel_size: {window} stride: {stride} {inside} }}"
    return layer("Pooling", name, bottom, None, inside)


def lrn(name, bottom, size=5, alpha=0.0001, inside=""):
    return layer("LRN", name, bottom, None, f"lrn_param {{ local_size: {size} alpha: {alpha} beta: 0.75 {inside} }}")


def linear(name, bottom, units, inside=""):
    return layer("InnerProduct", name, bottom, None, f"inner_product_param {{ num_output: {units} {inside} }}")


def numbers(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def alexnet():
    """Two groups, normalisation before the pools; the paper's alpha of 1e-4 is 5e-4 over a window of 5, and k is 2."""
    text = data(3, 227, 227)
    text += (
        conv("conv1", "data", 96, 11, "stride: 4")
        + lrn("norm1", "conv1", 5, 0.0005, "k: 2")
        + pool("p1", "norm1", 3, 2)
    )
    text += conv("conv2", "p1", 256, 5, "pad: 2 group: 2") + lrn("norm2", "conv2", 5, 0.0005, "k: 2")
    text += (
        pool("p2", "norm2", 3, 2)
        + conv("conv3", "p2", 384, 3, "pad: 1")
        + conv("conv4", "conv3", 384, 3, "pad: 1 group: 2")
    )
    text += conv("conv5", "conv4", 256, 3, "pad: 1 group: 2") + pool("p5", "conv5", 3, 2)
    for number, before in ((6, "p5"), (7, "fc6")):
        name = f"fc{number}"
        text += linear(name, before, 4096) + layer("ReLU", f"relu{number}", name, name)
        text += layer("Dropout", f"drop{number}", name, name, "dropout_param { dropout_ratio: 0.5 }")
    return 'name: "AlexNet"\n' + text + linear("fc8", "fc7", 1000)


INCEPTION = {  # 1x1, 3x3 reduced, 3x3, 5x5 reduced, 5x5, pool projected
    "3a": (64, 96, 128, 16, 32, 32), "3b": (128, 128, 192, 32, 96, 64), "4a": (192, 96, 208, 16, 48, 64),
    "4b": (160, 112, 224, 24, 64, 64), "4c": (128, 128, 256, 24, 64, 64), "4d": (112, 144, 288, 32, 64, 64),
    "4e": (256, 160, 320, 32, 128, 128), "5a": (256, 160, 320, 32, 128, 128), "5b": (384, 192, 384, 48, 128, 128),
}  # fmt: skip


def inception(name, bottom, widths):
    one, reduce3, three, reduce5, five, projected = widths
    n = f"inception_{name}/"
    text = conv(f"{n}1x1", bottom, one, 1)
    text += conv(f"{n}3x3_reduce", bottom, reduce3, 1) + conv(f"{n}3x3", f"{n}3x3_reduce", three, 3, "pad: 1")
    text += conv(f"{n}5x5_reduce", bottom, reduce5, 1) + conv(f"{n}5x5", f"{n}5x5_reduce", five, 5, "pad: 2")
    text += pool(f"{n}pool", bottom, 3, 1, "pad: 1") + conv(f"{n}pool_proj", f"{n}pool", projected, 1)
    return text + layer("Concat", f"{n}output", [f"{n}{end}" for end in ("1x1", "3x3", "5x5", "pool_proj")])


def googlenet():
    text = (
        data(3, 224, 224)
        + conv("conv1/7x7_s2", "data", 64, 7, "pad: 3 stride: 2")
        + pool("pool1", "conv1/7x7_s2", 3, 2)
    )
    text += lrn("norm1", "pool1") + conv("conv2/3x3_reduce", "norm1", 64, 1)
    text += (
        conv("conv2/3x3", "conv2/3x3_reduce", 192, 3, "pad: 1")
        + lrn("norm2", "conv2/3x3")
        + pool("pool2", "norm2", 3, 2)
    )
    before = "pool2"
    for name, widths in INCEPTION.items():
        text += inception(name, before, widths)
        before = f"inception_{name}/output"
        if name in ("3b", "4e"):
            text += pool(f"pool{name[0]}", before, 3, 2)
            before = f"pool{name[0]}"
    text += pool("pool5", before, 7, 1, kind="AVE") + layer("Dropout", "drop", "pool5", "pool5")
    return text + linear("classifier", "pool5", 1000) + layer("Softmax", "prob", "classifier")


def residual(scale="bias_term: true", norm="", more=""):
    scale = f"scale_param {{ {scale} }}"
    norm = f"batch_norm_param {{ {norm} }}"
    text = data(4, 6, 6) + conv("res_branch", "data", 4, 3, "pad: 1 bias_term: false", relu=False)
    text += layer("BatchNorm", "bn", "res_branch", "res_branch", norm)
    text += layer("Scale", "scale", "res_branch", "res_branch", scale + more)
    text += layer("Eltwise", "sum", ["data", "res_branch"]) + layer("ReLU", "sum_relu", "sum", "sum")
    return text
