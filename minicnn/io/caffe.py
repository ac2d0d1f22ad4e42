"""What may stand in a Caffe network description: its messages, their fields, types and defaults; both dialects of layers.

`read` checks a parsed text against these tables once and for all; `layers` gives its layers in one form, whether they are
written as `layer { type: "Convolution" }` or as `layers { type: CONVOLUTION }`, and only those of the phase asked for.
Source: Caffe's file format, github.com/BVLC/caffe, src/caffe/proto/caffe.proto.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from ..errors import short
from ..geometry import LONGEST
from .textformat import Message, Place, Value


class Field(NamedTuple):
    """The type of a field, and what it is where the text does not give it."""

    kind: str
    """whole, number, truth, string, word, or the name of a message in MESSAGES; "any" for a message that is not read."""
    default: Any = None
    least: float | None = None
    many: bool = False
    words: tuple[str, ...] = ()


def _whole(default: int | None = None, least: int = 0, many: bool = False) -> Field:
    return Field("whole", default, least, many)


def _number(default: float | None = None, least: float | None = None, many: bool = False) -> Field:
    return Field("number", default, least, many)


def _word(*words: str, default: str | None = None) -> Field:
    return Field("word", default, words=words)


YES, NO, TEXT, TEXTS = Field("truth", True), Field("truth", False), Field("string"), Field("string", many=True)
ENGINE, PHASE = _word("DEFAULT", "CAFFE", "CUDNN"), _word("TRAIN", "TEST")
FILLER, ANY = Field("filler"), Field("any", many=True)

WINDOW = {
    **{f"{name}_{axis}": _whole(least=least) for name, least in (("kernel", 1), ("stride", 1), ("pad", 0)) for axis in "hw"},
    "engine": ENGINE,
}  # fmt: skip
RULE = {
    "phase": PHASE, "min_level": _whole(least=-LONGEST), "max_level": _whole(least=-LONGEST), "stage": TEXTS,
    "not_stage": TEXTS,
}  # fmt: skip
WEIGHTED = {"num_output": _whole(least=1), "bias_term": YES, "weight_filler": FILLER, "bias_filler": FILLER}
AXIS = _whole(1, -LONGEST)

# The parameters of the kinds of layers that `prototxt` builds.
PARAMETERS: dict[str, dict[str, Field]] = {
    "batch_norm_param": {
        "use_global_stats": Field("truth"), "moving_average_fraction": _number(0.999, 0), "eps": _number(1e-5, 0),
    },
    "concat_param": {"axis": AXIS, "concat_dim": _whole()},
    "convolution_param": {
        **WINDOW, **WEIGHTED, "kernel_size": _whole(least=1, many=True), "stride": _whole(least=1, many=True),
        "pad": _whole(many=True), "dilation": _whole(least=1, many=True), "group": _whole(1, 1), "axis": AXIS,
        "force_nd_im2col": NO,
    },
    "dropout_param": {"dropout_ratio": _number(0.5, 0), "scale_train": YES},
    "eltwise_param": {
        "operation": _word("PROD", "SUM", "MAX", default="SUM"), "coeff": _number(many=True), "stable_prod_grad": YES,
    },
    "flatten_param": {"axis": AXIS, "end_axis": _whole(-1, -LONGEST)},
    "inner_product_param": {**WEIGHTED, "axis": AXIS, "transpose": NO},
    "input_param": {"shape": Field("shape", many=True)},
    "lrn_param": {
        "local_size": _whole(5, 1), "alpha": _number(1.0, 0), "beta": _number(0.75), "k": _number(1.0),
        "norm_region": _word("ACROSS_CHANNELS", "WITHIN_CHANNEL", default="ACROSS_CHANNELS"), "engine": ENGINE,
    },
    "pooling_param": {
        **WINDOW, "pool": _word("MAX", "AVE", "STOCHASTIC", default="MAX"), "kernel_size": _whole(least=1),
        "stride": _whole(least=1), "pad": _whole(), "global_pooling": NO,
        "round_mode": _word("CEIL", "FLOOR", default="CEIL"),
    },
    "relu_param": {"negative_slope": _number(0.0), "engine": ENGINE},
    "scale_param": {
        "axis": AXIS, "num_axes": _whole(1, -1), "filler": FILLER, "bias_term": NO, "bias_filler": FILLER,
    },
    "sigmoid_param": {"engine": ENGINE},
    "softmax_param": {"axis": AXIS, "engine": ENGINE},
    "tanh_param": {"engine": ENGINE},
}  # fmt: skip

# Those that Caffe has too, and of which nothing is needed here.
OTHERS = (
    "accuracy", "argmax", "bias", "blob", "contrastive_loss", "crop", "data", "dummy_data", "elu", "embed", "exp",
    "hdf5_data", "hdf5_output", "hinge_loss", "image_data", "infogain_loss", "log", "loss", "memory_data", "mvn",
    "parameter", "power", "prelu", "python", "recurrent", "reduction", "reshape", "slice", "spp", "threshold", "tile",
    "transform", "window_data",
)  # fmt: skip
COMMON = {
    "name": TEXT, "bottom": TEXTS, "top": TEXTS, "include": Field("rule", many=True), "exclude": Field("rule", many=True),
    "loss_weight": _number(many=True), "blobs": ANY, **{name: Field(name) for name in PARAMETERS},
    **{f"{name}_param": Field("any") for name in OTHERS},
}  # fmt: skip

# The types of the old dialect that these rooms know, under their names in the new one.
OLD_TYPES = {
    "ACCURACY": "Accuracy", "CONCAT": "Concat", "CONVOLUTION": "Convolution", "DATA": "Data", "DROPOUT": "Dropout",
    "ELTWISE": "Eltwise", "FLATTEN": "Flatten", "HDF5_DATA": "HDF5Data", "IMAGE_DATA": "ImageData",
    "INNER_PRODUCT": "InnerProduct", "LRN": "LRN", "MEMORY_DATA": "MemoryData", "POOLING": "Pooling", "RELU": "ReLU",
    "SIGMOID": "Sigmoid", "SILENCE": "Silence", "SOFTMAX": "Softmax", "SOFTMAX_LOSS": "SoftmaxWithLoss",
    "SPLIT": "Split", "TANH": "TanH", "WINDOW_DATA": "WindowData",
}  # fmt: skip

MESSAGES: dict[str, dict[str, Field]] = {
    **PARAMETERS,
    "network": {
        "name": TEXT, "layer": Field("layer", many=True), "layers": Field("layers", many=True), "input": TEXTS,
        "input_dim": _whole(least=1, many=True), "input_shape": Field("shape", many=True), "state": Field("state"),
        "force_backward": NO, "debug_info": NO,
    },
    "layer": {
        **COMMON, "type": TEXT, "param": Field("param", many=True), "phase": PHASE,
        "propagate_down": Field("truth", many=True),
    },
    "layers": {
        **COMMON, "type": Field("word"), "param": TEXTS, "blobs_lr": _number(least=0, many=True),
        "weight_decay": _number(least=0, many=True), "blob_share_mode": Field("word", many=True),
    },
    "param": {
        "name": TEXT, "share_mode": _word("STRICT", "PERMISSIVE", default="STRICT"), "lr_mult": _number(1.0, 0),
        "decay_mult": _number(1.0, 0),
    },
    "filler": {
        "type": Field("string", "constant"), "value": _number(), "min": _number(), "max": _number(), "mean": _number(),
        "std": _number(), "sparse": _whole(-1, -1), "variance_norm": _word("FAN_IN", "FAN_OUT", "AVERAGE"),
    },
    "shape": {"dim": _whole(least=1, many=True)},
    "state": {"phase": PHASE, "level": _whole(0, -LONGEST), "stage": TEXTS},
    "rule": RULE,
}  # fmt: skip


SOLVER = (
    "base_lr",
    "lr_policy",
    "max_iter",
    "momentum",
    "net",
    "solver_mode",
    "test_iter",
    "train_net",
    "weight_decay",
)


class Fields:
    """A message whose fields were checked: `fields[name]` is the value or its default, a list for a repeated field."""

    def __init__(self, kind: str, place: Place, given: dict[str, list[tuple[Any, int]]]) -> None:
        self.kind, self.place, self._given = kind, place, given

    def __getitem__(self, name: str) -> Any:
        declared, given = MESSAGES[self.kind][name], self._given.get(name, [])
        if declared.many:
            return [value for value, _ in given]
        return given[0][0] if given else declared.default

    def __contains__(self, name: str) -> bool:
        return name in self._given

    def lines(self, name: str) -> list[int]:
        """The line of each value that the text gives."""
        return [line for _, line in self._given.get(name, [])]

    def at(self, name: str) -> Place:
        """Where a field stands, or where the message begins if it is not given."""
        lines = self.lines(name)
        return self.place.at(lines[-1]) if lines else self.place


def read(message: Message, kind: str, place: Place) -> Fields:
    """Check a message against MESSAGES[kind]. Raises ArgumentError for an unknown field, a wrong type or a bad value."""
    table, shown = MESSAGES[kind], "the network" if kind == "network" else kind
    place = place.at(message.line)
    given: dict[str, list[tuple[Any, int]]] = {}
    for name, value in message.fields:
        here = place.at(value.line)
        if name not in table:
            near = difflib.get_close_matches(name, table, n=1)
            hint = f"did you mean {near[0]}?" if near else f"it has {_listed(table)}"
            if kind == "network" and name in SOLVER:
                hint = "this describes a solver: give the file of the network"
            raise here.error(f"{shown} has no field {short(name)!r}: {hint}")
        if name in given and not table[name].many:
            raise here.error(f"{name} is given twice in {shown}: give it once")
        given.setdefault(name, []).append((_checked(name, value, table[name], here), value.line))
    return Fields(kind, place, given)


def _listed(names: Any) -> str:
    most = 12
    listed = list(names)
    return ", ".join(listed[:most]) + (f" and {len(listed) - most} more" if len(listed) > most else "")


def _checked(name: str, value: Value, field: Field, place: Place) -> Any:
    """The value as its field's type has it."""
    data, kind = value.data, field.kind
    if kind == "any" or kind in MESSAGES:
        if value.kind != "message":
            raise place.error(f"{name} is {value}: it must be a message: write {name} {{ ... }}")
        if kind in ("layer", "layers"):  # read later, when the phase is known and the layer has a name
            return data
        return data if kind == "any" else read(data, kind, place)
    if kind == "string" and value.kind == "string":
        return data
    if kind == "word" and value.kind in ("word", "number"):
        return _worded(name, value, field.words, place)
    if kind == "truth" and str(data) in TRUTHS and value.kind in ("word", "number"):
        return TRUTHS[str(data)]
    if kind in ("whole", "number") and value.kind == "number":
        return _counted(name, data, field, place)
    rule = {
        "string": 'a string in quotes, such as "data"', "whole": "a whole number", "number": "a number",
        "truth": "true or false", "word": f"one of {', '.join(field.words)}, without quotes" if field.words
        else "a word without quotes",
    }[kind]  # fmt: skip
    raise place.error(f"{name} is {value}: it must be {rule}")


TRUTHS = {"true": True, "True": True, "t": True, "1": True, "false": False, "False": False, "f": False, "0": False}


def _worded(name: str, value: Value, words: tuple[str, ...], place: Place) -> str:
    """A word, or its number."""
    data = value.data
    if isinstance(data, int) and 0 <= data < len(words):
        return words[data]
    if value.kind == "word" and (not words or data in words):
        return str(data)
    raise place.error(f"{name} is {value}: it must be {'one of ' + ', '.join(words) if words else 'a word'}")


def _counted(name: str, data: Any, field: Field, place: Place) -> Any:
    shown = Value("number", data, 0)
    if field.kind == "whole" and not isinstance(data, int):
        raise place.error(f"{name} is {shown}: it must be a whole number")
    if field.least is not None and not data >= field.least:
        raise place.error(f"{name} is {shown}: it must be at least {field.least:g}")
    if field.kind == "whole" and data > LONGEST:
        raise place.error(f"{name} is {shown}: it must be at most {LONGEST}")
    try:
        finite = math.isfinite(data)
    except OverflowError:  # an integer of hundreds of digits
        finite = False
    if not finite:
        raise place.error(f"{name} is {shown}: it must be finite")
    return data if field.kind == "whole" else float(data)


class Param(NamedTuple):
    """What a layer says about one of its parameters: the factors, and the name under which it is shared, or ""."""

    lr_mult: float
    decay_mult: float
    name: str
    place: Place


@dataclass(eq=False)
class Described:
    """One layer of the description."""

    name: str
    type: str
    place: Place
    bottoms: list[tuple[str, Place]]
    tops: list[tuple[str, Place]]
    params: list[Param]
    fields: Fields
    loss_weight: float = 1.0
    left_out: bool = False
    """Whether its rules leave it out of the phase asked for."""

    def given(self, parameters: str) -> Fields:
        """Its parameters of this name, such as convolution_param; all defaults if there are none."""
        found = self.fields[parameters]
        return Fields(parameters, self.place, {}) if found is None else found


def inputs(network: Fields) -> list[tuple[str, Place, list[int]]]:
    """The inputs that stand outside the layers, with their sizes: `input`, and `input_shape` or four `input_dim` each."""
    names, dims, shapes = network["input"], network["input_dim"], [shape["dim"] for shape in network["input_shape"]]
    if dims and shapes:
        raise network.at("input_dim").error("input_dim and input_shape are both given: keep one of them")
    if dims:
        if len(dims) != 4 * len(names):
            rule = f"each of the {len(names)} inputs needs four, (batch, channels, height, width)"
            raise network.at("input_dim").error(f"input_dim is given {len(dims)} times: {rule}")
        shapes = [dims[i : i + 4] for i in range(0, len(dims), 4)]
    elif shapes and len(shapes) != len(names):
        raise network.at("input_shape").error(
            f"input_shape is given {len(shapes)} times: it must be given once for each of the {len(names)} inputs"
        )
    places = [network.place.at(line, f"input {name}") for name, line in zip(names, network.lines("input"))]
    return list(zip(names, places, shapes or [[]] * len(names)))


def layers(network: Fields, phase: str) -> list[Described]:
    """The layers in the order of the text. Raises ArgumentError for a description that is not well formed."""
    both = [(network.lines(kind), kind) for kind in ("layer", "layers") if kind in network]
    if len(both) == 2:
        raise network.at("layers").error(
            f"a network is written with `layer` or with `layers`, not both: `layer` first stands in line {both[0][0][0]}"
        )
    if not both:
        raise network.place.error("there are no layers: a network is written as layer { ... } layer { ... }")
    kind = both[0][1]
    found = [_described(message, kind, network.place) for message in network[kind]]
    for layer in found:
        layer.left_out = not _included(layer.fields, phase, network["state"])
    return found


def _described(message: Message, kind: str, place: Place) -> Described:
    # Errors inside name the layer: its name and type are looked up before anything is checked.
    first = {name: str(value.data) for name, value in reversed(message.fields) if value.kind in ("string", "word")}
    old = OLD_TYPES.get(first.get("type", ""), first.get("type", ""))
    named = first.get("name") or first.get("top") or f"a {kind}"
    place = place.at(message.line, f"{named[:60]} ({old[:60]})" if old else named[:60])
    fields = read(message, kind, place)
    if not fields["type"]:
        known = 'type: "Convolution"' if kind == "layer" else "type: CONVOLUTION"
        raise place.error(f"type is missing: every layer has one, such as {known}")
    loss_weights = fields["loss_weight"]
    return Described(
        named, old, place, _ends(fields, "bottom"), _ends(fields, "top"),
        _params(fields) if kind == "layer" else _old_params(fields), fields, loss_weights[0] if loss_weights else 1.0,
    )  # fmt: skip


def _ends(fields: Fields, name: str) -> list[tuple[str, Place]]:
    return [(end, fields.place.at(line)) for end, line in zip(fields[name], fields.lines(name))]


def _params(fields: Fields) -> list[Param]:
    params = []
    for spec in fields["param"]:
        if spec["share_mode"] != "STRICT":
            raise spec.at("share_mode").error(
                "share_mode is PERMISSIVE: only parameters of one shape are shared: STRICT"
            )
        params.append(Param(spec["lr_mult"], spec["decay_mult"], spec["name"] or "", spec.place))
    return params


def _old_params(fields: Fields) -> list[Param]:
    """The same from `blobs_lr`, `weight_decay` and the names in `param`."""
    rates, decays, names = fields["blobs_lr"], fields["weight_decay"], fields["param"]
    most = max(("blobs_lr", "weight_decay", "param"), key=lambda name: len(fields[name]))
    return [
        Param(
            rates[i] if i < len(rates) else 1.0, decays[i] if i < len(decays) else 1.0,
            names[i] if i < len(names) else "", fields.place.at(line),
        )
        for i, line in enumerate(fields.lines(most))
    ]  # fmt: skip


def _included(layer: Fields, phase: str, state: Fields | None) -> bool:
    """Whether the rules keep a layer: any `include` that is met; without one, no `exclude` that is."""
    includes, excludes = layer["include"], layer["exclude"]
    if includes and excludes:
        raise layer.at("exclude").error("a layer has include or exclude, not both: keep one of them")
    level, stages = (state["level"], state["stage"]) if state else (0, [])
    if includes:
        return any(_met(rule, phase, level, stages) for rule in includes)
    return not any(_met(rule, phase, level, stages) for rule in excludes)


def _met(rule: Fields, phase: str, level: int, stages: Sequence[str]) -> bool:
    return (
        rule["phase"] in (None, phase)
        and (rule["min_level"] is None or rule["min_level"] <= level)
        and (rule["max_level"] is None or level <= rule["max_level"])
        and all(stage in stages for stage in rule["stage"])
        and not any(stage in stages for stage in rule["not_stage"])
    )
