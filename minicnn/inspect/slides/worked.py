"""The worked examples of the slides, by name, each computed by running layers, networks and operations.

Claims refer to them by name. A dict holds several answers to one question.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ... import ops
from ...geometry import output_formula, output_size
from ...layers import BatchNorm2d, GlobalAvgPool2d
from .measure import Net, conv, info, net, note, pool, side, stack
from .papers import PAPERS

MIB = 2**20


def fit(size: int, window: int, stride: int) -> dict[str, Any]:
    """Whether a window fits a map evenly: the quotient as it is, and what floor and ceil make of it."""
    shown = output_formula(size, window, stride, 0, 0).rpartition(" = ")[2]
    floor = output_size(size, window, stride)
    ceil = output_size(size, window, stride, ceil_mode=True)
    return {"value": float(shown), "fits": floor == ceil, "floor": floor, "ceil": ceil}


def of_alexnet(layer: str, compute: Callable[[], Any]) -> Callable[[], Any]:
    """An example about a layer of AlexNet that needs no network to be computed."""

    def computed() -> Any:
        note("alexnet", layer)
        return compute()

    return computed


def same_padding(window: int) -> int:
    """The padding with which a convolution of stride 1 keeps the size of its map."""
    return next(p for p in range(window) if side(32, window, 1, p) == 32)


def repeated(size: int, window: int, times: int) -> list[int]:
    """The sides of the maps when a convolution is repeated."""
    sizes = []
    for _ in range(times):
        size = side(size, window)
        sizes.append(size)
    return sizes


def chw(one: Net) -> list[int]:
    """The shape of a network's output, (C, H, W)."""
    return list(one.summary.output_shape)


def neurons(name: str) -> list[int]:
    """The outputs of each convolution and linear layer."""
    return [row.neurons for row in net(name).rows if row.macs]


def field(count: int, stride: int = 1) -> list[tuple[int, Any]]:
    """Receptive field and jump behind each of `count` 3x3 convolutions."""
    rows = stack((63, 63, 1), 1, (3,) * count, stride, 1).convs
    return [(row.field.vertical.size, row.field.vertical.jump) for row in rows if row.field is not None]


def coefficient(*windows: int) -> int:
    """What multiplies C*C in the weights of convolutions from C to C channels."""
    C = 4
    return stack((15, 15, C), C, windows).weights() // (C * C)


def three_for_one() -> dict[str, Any]:
    """Weights of three 3x3 convolutions and of one 7x7, for each C*C, and their ratio."""
    several, one = coefficient(3, 3, 3), coefficient(7)
    return {"stack_coefficient": several, "single_coefficient": one, "ratio": round(several / one, 3)}


def spatial() -> str:
    """Which sizes of a convolution's output the formula for n_out gives, where all three differ."""
    H, W, C = conv((9, 14, 2), 5, 3).output
    given = (output_size(9, 3), output_size(14, 3))
    return "n_in, n_out are the spatial sizes" if given == (H, W) and C not in given else "not the spatial sizes"


def vgg_rows() -> list[list[Any]]:
    """Layer by layer: numbers in the output, weights."""
    one = net("vgg_d")
    rows: list[list[Any]] = [["INPUT", int(np.prod(one.input_shape)), 0]]
    block, number = 1, 0
    for row in one.of("Conv2d", "MaxPool2d", "Linear"):
        number += 1
        if row.kind == "MaxPool2d":
            block, number = block + 1, 0
        name = {"Conv2d": f"conv conv{block}_{number}", "MaxPool2d": "maxpool", "Linear": "fc"}[row.kind]
        rows.append([name, int(np.prod(row.output_shape)), one.weights(row.path)])
    return rows


def vgg_memory() -> dict[str, Any]:
    """The numbers that VGG-16 keeps of one image, and their size in float32."""
    stored = net("vgg_d").summary.activation_bytes
    return {"values": stored // 4, "bytes": stored, "MB": round(stored / 1e6, 2), "MiB": round(stored / MIB, 2)}


def factored(before: tuple[int, int], *after: tuple[int, int]) -> dict[str, Any]:
    """Weights of one window for one channel, and of the windows that take its place."""
    one, several = stack((9, 9, 1), 1, (before,)).weights(), stack((9, 9, 1), 1, after).weights()
    return {"before": one, "after": several, "reduction": round(1 - several / one, 4)}


def reduced() -> int:
    """Multiply-adds of 16 filters of 1x1 and then 32 of 5x5 on 32x32x200."""
    return conv((32, 32, 200), 16, 1).macs + conv((32, 32, 16), 32, 5, 1, 2).macs


def averaged() -> str:
    """What global average pooling does to a map, found by running it."""
    x = np.arange(2 * 3 * 4 * 5, dtype=np.float32).reshape(2, 3, 4, 5)
    layer = GlobalAvgPool2d()
    mean = np.allclose(ops.adaptive_avg_pool2d(x, 1).numpy()[:, :, 0, 0], x.mean((2, 3)))
    return f"{'mean over h*w' if mean else 'no mean'}; {sum(p.size for p in layer.parameters())} params"


def times_less() -> dict[str, Any]:
    """How many times more parameters AlexNet and VGG-16 have than GoogLeNet."""
    one = info("googlenet").parameters
    return {
        "alexnet_ratio": round(info("alexnet").parameters / one, 2),
        "vgg16_ratio": round(info("vgg_d").parameters / one, 2),
    }


def googlenet_parts() -> dict[str, tuple[str, ...]]:
    """The rows of GoogLeNet's table 1 and the paths of the layers that each stands for."""
    rows = [row for row in net("googlenet").rows if row.kind in ("Conv2d", "Concat", "Linear")]
    modules = [row.path for row in rows if row.kind == "Concat"]
    convs = [
        row.path for row in rows if row.kind == "Conv2d" and not any(row.path.startswith(m + ".") for m in modules)
    ]
    linear = next(row.path for row in rows if row.kind == "Linear")
    names = ("3a", "3b", "4a", "4b", "4c", "4d", "4e", "5a", "5b")
    named = {name: (path,) for name, path in zip(names, modules)}
    return {"conv1": (convs[0],), "conv2": tuple(convs[1:]), **named, "linear": (linear,)}


def googlenet_row(name: str) -> dict[str, Any]:
    """Weights, also in units of 1024, and multiply-adds of a row of GoogLeNet's table."""
    one, paths = net("googlenet"), googlenet_parts()[name]
    weights = one.weights(*paths)
    return {"weights": weights, "weights_Ki": round(weights / 1024, 1), "macs": one.macs_of(*paths)}


def residual_flops(depth: int, projections: bool, v15: bool) -> dict[str, Any]:
    """Multiply-adds of a ResNet, and of its variants where there are such."""
    return {
        "macs": net(f"resnet{depth}").macs,
        "option_A": None if projections else net(f"resnet{depth}", shortcut="A").macs,
        "v15": net(f"resnet{depth}_v1.5").macs if v15 else None,
    }


def size(name: str) -> dict[str, Any]:
    """The parameters of a network, and their size in float32."""
    count = info(name).parameters
    return {"params": count, "MiB": round(4 * count / MIB, 2)}


def batch_norm(x: tuple[float, ...] = (1, 2, 3, 4)) -> list[float]:
    """A batch through batch norm as in training, with eps 0."""
    layer = BatchNorm2d(1, eps=0.0)
    return [float(y) for y in layer(np.array(x, np.float32)[:, None]).numpy()[:, 0]]


def reduction() -> dict[str, Any]:
    """The grid reduction of the paper's example, and the one in the network."""
    one = stack((35, 35, 320), 640, (3,), 2)
    first = next(row for row in net("inception_v3").of("Concat") if row.output_shape[1:] == (17, 17))
    actual = [list(first.input_shape), list(first.output_shape)]
    text = "->".join(str(shape).replace(" ", "") for shape in actual)
    return {"side": one.output[0], "generic": chw(one), "actual_net": text}


def connections_1998() -> int:
    """LeNet-5 of 1998: each unit's weighted inputs and, if it has one, its bias."""
    one = net("lenet5_1998")
    total = 0
    for row in one.rows:
        units = int(np.prod(row.output_shape))
        if row.kind == "Subsample2d":
            R, S = one.layer(row).kernel_size
            total += units * (R * S + 1)
        elif row.leaf and row.macs:
            total += row.macs + (units if row.parameters else 0)
    return total


def lenet() -> dict[str, Any]:
    """LeNet-5 of 1998 and as it is taught now: parameters, and the connections of the first."""
    return {
        "trainable": info("lenet5_1998").parameters,
        "connections": connections_1998(),
        "modern": info("lenet5").parameters,
    }


def rates() -> list[float]:
    """The learning rates of BN-x5 and BN-x30."""
    base = float(PAPERS["bn_inception"]["learning rate of Inception"])
    return [5 * base, 30 * base]


ADDED = (
    np.array([[32, -12, 22], [-10, -41, 1], [-30, 10, -2]], np.float32),
    np.array([[20, 3, 8], [41, 19, 21], [5, 52, 12]], np.float32),
)


def summed() -> list[list[int]]:
    """The sum of the slide's two matrices."""
    return [[int(value) for value in row] for row in ops.add(*ADDED).numpy()]


def rectified() -> list[list[int]]:
    """The ReLU of that sum."""
    return [[int(value) for value in row] for row in ops.relu(ops.add(*ADDED)).numpy()]


EXAMPLES: dict[str, Callable[[], Any]] = {
    "conv_7_3_s1": lambda: side(7, 3),
    "conv_7_3_s2": lambda: side(7, 3, 2),
    "conv_7_3_s3": lambda: fit(7, 3, 3),
    "conv_7_3_s1_p1": lambda: side(7, 3, 1, 1),
    "same_pad_3": lambda: same_padding(3),
    "same_pad_5": lambda: same_padding(5),
    "same_pad_7": lambda: same_padding(7),
    "shrink_32_5x5": lambda: repeated(32, 5, 2),
    "six_5x5_filters": lambda: chw(conv((32, 32, 3), 6, 5)),
    "conv_10_5x5_p2": lambda: chw(conv((32, 32, 3), 10, 5, 1, 2)),
    "params_760": lambda: conv((32, 32, 3), 10, 5, 1, 2).parameters,
    "params_per_filter_76": lambda: conv((32, 32, 3), 1, 5, 1, 2).parameters,
    "neurons_28x28x5": lambda: conv((32, 32, 3), 5, 5).summary.total_neurons,
    "alex_conv1_size": of_alexnet("conv1", lambda: side(227, 11, 4)),
    "alex_conv1_224": lambda: {
        "value": fit(224, 11, 4)["value"], "fits": fit(224, 11, 4)["fits"], "with_pad2_floor": side(224, 11, 4, 2)
    },
    "alex_conv1_params_bias": lambda: net("alexnet").convs[0].parameters,
    "alex_conv1_params_nobias": lambda: net("alexnet").weights(net("alexnet").convs[0].path),
    "alex_pool1": of_alexnet("pool1", lambda: pool((55, 55, 96), 3, 2).output[0]),
    "alex_pool1_params": lambda: net("alexnet").pools[0].parameters,
    "alex_conv2": of_alexnet("conv2", lambda: side(27, 5, 1, 2)),
    "alex_pool2": of_alexnet("pool2", lambda: pool((27, 27, 256), 3, 2).output[0]),
    "alex_conv3": of_alexnet("conv3", lambda: side(13, 3, 1, 1)),
    "alex_pool5": of_alexnet("pool5", lambda: pool((13, 13, 256), 3, 2).output[0]),
    "alex_flatten": lambda: net("alexnet").of("Flatten")[0].output_shape[0],
    "alex_total_ungrouped": lambda: info("alexnet").parameters,
    "alex_vs_lenet": lambda: {"alexnet": info("alexnet").parameters, "lenet5": info("lenet5").parameters},
    "alex_neurons": lambda: neurons("alexnet_grouped"),
    "alex_neurons_total": lambda: {
        "computed": net("alexnet_grouped").summary.total_neurons,
        "sum_of_paper_list": sum(map(int, PAPERS["alexnet"]["neurons"].split(", "))),
    },
    "alex_params_paper": lambda: info("alexnet_grouped").parameters,
    "alex_connections": lambda: info("alexnet_grouped").macs,
    "vgg_5x5_out": lambda: side(7, 5),
    "vgg_3x3_twice": lambda: repeated(7, 3, 2),
    "vgg_params_225": lambda: stack((7, 7, 3), 3, (5,)).weights(),
    "vgg_params_162": lambda: stack((7, 7, 3), 3, (3, 3)).weights(),
    "three_3x3_rf": lambda: field(3)[-1][0],
    "two_3x3_rf": lambda: field(2)[-1][0],
    "three_3x3_params": three_for_one,
    "rf_two_stride2": lambda: {"r": [r for r, _ in field(2, 2)], "j": [j for _, j in field(2, 2)]},
    "out_formula_002": spatial,
    "params_alexnet": lambda: info("alexnet").parameters,
    "params_vgg16": lambda: info("vgg16").parameters,
    "params_vgg19": lambda: info("vgg19").parameters,
    "vgg16_memory_rows": vgg_rows,
    "vgg16_memory_total": vgg_memory,
    "vgg16_params_total_nobias": lambda: net("vgg_d").weights(),
    "vgg_table2": lambda: [
        round(info(f"vgg_{letter}").parameters / 10**6) for letter in ("a", "b", "c", "d", "e")
    ],
    "conv1x1_163M": lambda: conv((32, 32, 200), 32, 5, 1, 2).macs,
    "conv1x1_reduced": reduced,
    "naive_concat": lambda: chw(net("inception_naive")),
    "naive_854M": lambda: net("inception_naive").macs,
    "bottleneck_358M": lambda: net("inception_bottleneck").macs,
    "bottleneck_concat": lambda: chw(net("inception_bottleneck")),
    "gap": averaged,
    "googlenet_12x_27x": times_less,
    "googlenet_table1": lambda: {name: googlenet_row(name) for name in googlenet_parts()},
    "factor_3x3": lambda: factored((3, 3), (3, 1), (1, 3)),
    "factor_7x7": lambda: factored((7, 7), (1, 7), (7, 1)),
    "resnet_add": summed,
    "resnet_relu": rectified,
    "resnet18_flops": lambda: residual_flops(18, False, False),
    "resnet34_flops": lambda: residual_flops(34, False, False),
    "resnet50_flops": lambda: residual_flops(50, True, True),
    "resnet101_flops": lambda: residual_flops(101, True, True),
    "resnet152_flops": lambda: residual_flops(152, True, True),
    "nin_size": lambda: size("nin_imagenet"),
    "alexnet_size": lambda: size("alexnet_grouped"),
    "fc7_128_ratio": lambda: net("cnn_m").of("Linear")[1].output_shape[0] // net("cnn_m_128").of("Linear")[1].output_shape[0],
    "bn_forward": batch_norm,
    "conv_caffe": lambda: {
        "params_on_rgb": conv((227, 227, 3), 96, 11, 4).parameters, "out_227": conv((227, 227, 3), 96, 11, 4).output[0]
    },
    "bnx5_lr": rates,
    "inceptionv3_reduce": reduction,
    "lenet_paper": lenet,
    "densenet121_depth": lambda: net("densenet121").depth,
    "densenet169_depth": lambda: net("densenet169").depth,
    "densenet201_depth": lambda: net("densenet201").depth,
    "densenet264_depth": lambda: net("densenet264").depth,
}  # fmt: skip
