"""The kinds of layers that a Caffe description may have, and the layer of ours that each becomes."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

from .. import geometry
from ..errors import ArgumentError
from ..geometry import Shape
from ..layers import (
    Add,
    AvgPool2d,
    BatchNorm2d,
    Cat,
    Conv2d,
    Dropout,
    Flatten,
    GlobalAvgPool2d,
    Layer,
    Linear,
    LocalResponseNorm,
    Maximum,
    MaxPool2d,
    Multiply,
    ReLU,
    Scale,
    Sigmoid,
    Softmax,
    Tanh,
    init,
)
from .caffe import Described, Fields, Param


class Made(NamedTuple):
    """How to make a layer, and what fills its parameters."""

    make: Callable[[], Layer]
    fillers: dict[str, Fields | None] = {}
    """By attribute, in the order of Caffe's blobs; None keeps the layer's own initial values."""
    statistics: int = 0
    """Blobs that Caffe counts as parameters and we do not."""


def set_up(layer: Layer, made: Made, params: list[Param]) -> None:
    """Fill the parameters of a new layer and set the factors of their learning rates and weight decays."""
    most = len(made.fillers) or made.statistics
    if len(params) > most:
        raise params[most].place.error(
            f"param is given {len(params)} times: the layer has {most} parameters: leave the rest out"
        )
    for name, filler in made.fillers.items():
        if filler is not None:
            fill(layer._parameters[name], filler)
    for name, param in zip(made.fillers, params):
        parameter: Any = layer._parameters[name]
        parameter.lr_mult, parameter.decay_mult = param.lr_mult, param.decay_mult


FILLERS = {
    "constant": ("value",), "gaussian": ("mean", "std"), "uniform": ("min", "max"), "xavier": ("variance_norm",),
    "msra": ("variance_norm",),
}  # fmt: skip


def fill(parameter: Any, filler: Fields) -> None:
    """Fill a parameter as a filler says. Fields that mean nothing to its type are passed over, as in Caffe."""
    kind = filler["type"]
    if filler["sparse"] >= 0:
        raise filler.at("sparse").error(
            f"sparse is {filler['sparse']}: sparse initial weights are not known: leave it out"
        )
    try:
        given = {name: filler[name] for name in FILLERS.get(kind, ()) if name in filler}
        init.filler(kind, **given)(parameter)
    except ArgumentError as error:
        raise filler.place.error(str(error)) from error


class Kind(NamedTuple):
    make: Callable[[Described, list[Shape], str, Described | None], Made]
    """From the layer, the shapes of its inputs without the batch, the phase, and a Scale to take in."""
    least: int = 1
    most: int | None = 1
    """How many bottoms it has."""
    maps: bool = False
    """Whether it reads maps, (C, H, W), and nothing else."""


def _only(fields: Fields, name: str, value: Any, rule: str) -> None:
    """Refuse any other value of a field. rule: what is not known, and the way out."""
    if fields[name] != value:
        shown = str(fields[name]).lower() if isinstance(value, bool) else fields[name]
        raise fields.at(name).error(f"{name} is {shown}: {rule}")


def _need(fields: Fields, name: str, example: str) -> Any:
    if name not in fields:
        raise fields.place.error(f"{name} is missing in {fields.kind}: give it, such as {example}")
    return fields[name]


def _axes(fields: Fields, name: str, short: str, default: int | None) -> tuple[int, int]:
    """(vertical, horizontal) of a size that is given once for both axes, once for each, or as name_h and name_w."""
    whole, parts = fields[name], (f"{short}_h", f"{short}_w")
    listed = [whole] if isinstance(whole, int) else list(whole or [])
    split = [part for part in parts if part in fields]
    if listed and split:
        raise fields.at(split[0]).error(
            f"{split[0]} and {name} are both given: give {name}, or {parts[0]} and {parts[1]}"
        )
    if len(split) == 1 and short != "pad":
        other = parts[1] if split[0] == parts[0] else parts[0]
        raise fields.at(split[0]).error(f"{split[0]} is given and {other} is missing: give both")
    if split:
        return fields[parts[0]] or 0, fields[parts[1]] or 0
    if len(listed) > 2:
        raise fields.at(name).error(
            f"{name} is given {len(listed)} times: it must be given once, or for height and width"
        )
    if not listed and default is None:
        raise fields.place.error(
            f"{name} is missing in {fields.kind}: give it, such as {name}: 3, or {parts[0]} and {parts[1]}"
        )
    return (listed[0], listed[-1]) if listed else (default or 0, default or 0)


def _axis(fields: Fields, name: str, axes: int) -> int:
    """An axis that may count from the end, checked against the number of axes with the batch."""
    axis = fields[name]
    if not -axes <= axis < axes:
        raise fields.at(name).error(f"{name} is {axis}: the input has {axes} axes: it must be {-axes} .. {axes - 1}")
    return int(axis) % axes


def _weights(fields: Fields) -> dict[str, Fields | None]:
    fillers = {"weight": fields["weight_filler"]}
    return fillers | {"bias": fields["bias_filler"]} if fields["bias_term"] else fillers


def _bounded(fields: Fields, weights: int) -> None:
    if weights > geometry.LIMIT:
        raise fields.at("num_output").error(f"the layer would have {weights:,} weights: the limit is 2**58")


def _convolution(layer: Described, shapes: list[Shape], phase: str, scale: Described | None) -> Made:
    p = layer.given("convolution_param")
    _axes_from_channels(p, 4)
    channels, filters, group = shapes[0][0], _need(p, "num_output", "num_output: 96"), p["group"]
    if channels % group or filters % group:
        raise p.at("group").error(
            f"group is {group}: it must divide the {channels} input channels and num_output={filters}"
        )
    window = _axes(p, "kernel_size", "kernel", None)
    _bounded(p, filters * (channels // group) * window[0] * window[1])
    stride, pad = _axes(p, "stride", "stride", 1), _axes(p, "pad", "pad", 0)
    dilation = _axes(p, "dilation", "dilation", 1)
    make = functools.partial(Conv2d, channels, filters, window, stride, pad, dilation, group, bool(p["bias_term"]))
    return Made(make, _weights(p))


def _axes_from_channels(fields: Fields, axes: int) -> None:
    if _axis(fields, "axis", axes) != 1:
        raise fields.at("axis").error(f"axis is {fields['axis']}: only 1, the channels, is known: leave it out")


def _inner_product(layer: Described, shapes: list[Shape], phase: str, scale: Described | None) -> Made:
    p = layer.given("inner_product_param")
    if p["axis"] != 1:
        raise p.at("axis").error(f"axis is {p['axis']}: only 1, all but the batch, is known: leave it out")
    _only(p, "transpose", False, "weights that lie the other way round are not known: leave it out")
    units = _need(p, "num_output", "num_output: 1000")
    _bounded(p, units * shapes[0][0])
    return Made(functools.partial(Linear, shapes[0][0], units, bool(p["bias_term"])), _weights(p))


def _pooling(layer: Described, shapes: list[Shape], phase: str, scale: Described | None) -> Made:
    p = layer.given("pooling_param")
    size = (shapes[0][1], shapes[0][2])
    if p["pool"] == "STOCHASTIC":
        raise p.at("pool").error("pool is STOCHASTIC: only MAX and AVE are known")
    if p["global_pooling"]:
        for name in ("kernel_size", "kernel_h", "kernel_w"):
            if name in p:
                raise p.at(name).error(
                    f"{name} is given beside global_pooling, whose window is the whole map: keep one of them"
                )
        stride, pad = _axes(p, "stride", "stride", 1), _axes(p, "pad", "pad", 0)
        if (stride, pad) != ((1, 1), (0, 0)):
            raise p.at("global_pooling").error("global_pooling has no stride and no pad: leave them out")
        return Made(functools.partial(MaxPool2d, size, 1) if p["pool"] == "MAX" else GlobalAvgPool2d)
    window = _axes(p, "kernel_size", "kernel", None)
    stride, pad = _axes(p, "stride", "stride", 1), _axes(p, "pad", "pad", 0)
    up = p["round_mode"] == "CEIL"
    if up and pad == (0, 0):
        for axis in (0, 1):
            _inside(p, size[axis], window[axis], stride[axis])
    if p["pool"] == "MAX":
        return Made(functools.partial(MaxPool2d, window, stride, pad, up))
    return Made(functools.partial(AvgPool2d, window, stride, pad, up, count_include_pad=True))


def _inside(fields: Fields, size: int, window: int, stride: int) -> None:
    """Refuse a last window that lies outside the map: without padding Caffe keeps it, and its maximum is -3.4e38."""
    kept = geometry.output_size(size, window, stride, ceil_mode=True)
    if size >= window and geometry.output_size(size + stride - 1, window, stride) != kept:
        raise fields.at("stride").error(
            f"stride is {stride}: a window of {window} would at last start outside the map of {size}, and see nothing: "
            "give round_mode: FLOOR, or another stride"
        )


def _lrn(layer: Described, shapes: list[Shape], phase: str, scale: Described | None) -> Made:
    p = layer.given("lrn_param")
    size = p["local_size"]
    if p["norm_region"] != "ACROSS_CHANNELS":
        raise p.at("norm_region").error("norm_region is WITHIN_CHANNEL: only ACROSS_CHANNELS is known")
    if size % 2 == 0:
        raise p.at("local_size").error(f"local_size is {size}: it must be odd, so that it has a middle")
    return Made(functools.partial(LocalResponseNorm, size, p["alpha"], p["beta"], p["k"], alpha_over_size=True))


def _relu(layer: Described, shapes: list[Shape], phase: str, scale: Described | None) -> Made:
    _only(layer.given("relu_param"), "negative_slope", 0, "only 0, the plain ReLU, is known: leave it out")
    return Made(ReLU)


def _plain(kind: Callable[[], Layer]) -> Kind:
    return Kind(lambda layer, shapes, phase, scale: Made(kind))


def _dropout(layer: Described, shapes: list[Shape], phase: str, scale: Described | None) -> Made:
    p = layer.given("dropout_param")
    _only(p, "scale_train", True, "only true, numbers scaled up in training, is known: leave it out")
    if not p["dropout_ratio"] < 1:
        raise p.at("dropout_ratio").error(f"dropout_ratio is {p['dropout_ratio']:g}: it must be less than 1")
    return Made(functools.partial(Dropout, p["dropout_ratio"]))


def _softmax(layer: Described, shapes: list[Shape], phase: str, scale: Described | None) -> Made:
    return Made(functools.partial(Softmax, _axis(layer.given("softmax_param"), "axis", len(shapes[0]) + 1)))


def _flatten(layer: Described, shapes: list[Shape], phase: str, scale: Described | None) -> Made:
    p, axes = layer.given("flatten_param"), len(shapes[0]) + 1
    for name, wanted in (("axis", 1), ("end_axis", axes - 1)):
        if _axis(p, name, axes) != wanted:
            raise p.at(name).error(f"{name} is {p[name]}: only all axes behind the batch are flattened: leave it out")
    return Made(Flatten)


def _concat(layer: Described, shapes: list[Shape], phase: str, scale: Described | None) -> Made:
    p = layer.given("concat_param")
    if "axis" in p and "concat_dim" in p:
        raise p.at("concat_dim").error("axis and concat_dim are both given: keep axis, the newer one")
    name = "concat_dim" if "concat_dim" in p else "axis"
    axis = _axis(p, name, len(shapes[0]) + 1)
    if axis == 0:
        raise p.at(name).error(f"{name} is {p[name]}, the batch: inputs are joined along 1, the channels, or behind")
    return Made(functools.partial(Cat, axis))


def _eltwise(layer: Described, shapes: list[Shape], phase: str, scale: Described | None) -> Made:
    p = layer.given("eltwise_param")
    operation, coefficients = p["operation"], p["coeff"]
    if coefficients and operation != "SUM":
        raise p.at("coeff").error(f"coeff is given with operation {operation}: only a SUM has coefficients")
    if coefficients and len(coefficients) != len(shapes):
        raise p.at("coeff").error(
            f"coeff is given {len(coefficients)} times: there are {len(shapes)} bottoms: give one for each"
        )
    if operation != "SUM":
        return Made(Multiply if operation == "PROD" else Maximum)
    return Made(functools.partial(Add, None if all(c == 1 for c in coefficients) else coefficients))


def _batch_norm(layer: Described, shapes: list[Shape], phase: str, scale: Described | None) -> Made:
    """With the Scale behind it, if there is one to take in; its parameters are then that layer's."""
    p = layer.given("batch_norm_param")
    fraction, given = p["moving_average_fraction"], p["use_global_stats"]
    if fraction > 1:
        raise p.at("moving_average_fraction").error(f"moving_average_fraction is {fraction:g}: it must be in 0 .. 1")
    if len(layer.params) > 3:
        raise layer.params[3].place.error(
            "param is given more than three times: a BatchNorm has mean, variance and factor"
        )
    momentum = round(1 - fraction, 12)
    tracks = not (given is False and phase == "TEST")  # Caffe then takes the batch's statistics in use too

    def make() -> Layer:
        norm = BatchNorm2d(shapes[0][0], p["eps"], momentum, scale is not None, tracks)
        if given and phase == "TRAIN":
            norm.frozen = True  # the running statistics hold in training too; the scale is learned all the same
        return norm

    return Made(make, _scale_fillers(scale.given("scale_param")) if scale else {}, 3)


def _scale_fillers(fields: Fields) -> dict[str, Fields | None]:
    fillers = {"scale": fields["filler"]}
    return fillers | {"shift": fields["bias_filler"]} if fields["bias_term"] else fillers


def _scale(layer: Described, shapes: list[Shape], phase: str, scale: Described | None) -> Made:
    p = layer.given("scale_param")
    if _axis(p, "axis", len(shapes[0]) + 1) != 1:
        raise p.at("axis").error(f"axis is {p['axis']}: only 1, one number for each channel, is known: leave it out")
    _only(p, "num_axes", 1, "only 1, one number for each channel, is known: leave it out")
    return Made(functools.partial(Scale, shapes[0][0], bool(p["bias_term"])), _scale_fillers(p))


KINDS = {
    "BatchNorm": Kind(_batch_norm), "Concat": Kind(_concat, 1, None), "Convolution": Kind(_convolution, maps=True),
    "Dropout": Kind(_dropout), "Eltwise": Kind(_eltwise, 2, None), "Flatten": Kind(_flatten),
    "InnerProduct": Kind(_inner_product), "LRN": Kind(_lrn), "Pooling": Kind(_pooling, maps=True), "ReLU": Kind(_relu),
    "Scale": Kind(_scale), "Sigmoid": _plain(Sigmoid), "Softmax": Kind(_softmax), "TanH": _plain(Tanh),
}  # fmt: skip
DATA = ("Input", "Data", "HDF5Data", "ImageData", "MemoryData", "WindowData")
"""What brings data: the network's input stands in its place."""
LEFT_OUT = ("SoftmaxWithLoss", "Accuracy", "Silence")
"""What computes no part of the network's answer."""
