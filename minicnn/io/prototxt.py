"""`load_prototxt`: a network from a Caffe description, with Caffe's layer names, sizes, initial weights and factors."""

from __future__ import annotations

import difflib
import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from ..autograd import no_grad
from ..errors import ArgumentError, MinicnnError, ShapeError, check
from ..geometry import Shape, is_integer
from ..layers import Flatten, Graph, Layer, Parameter, Sequential, default_device
from ..models.registry import Recipe
from ..tensor import Tensor
from . import caffe, caffe_layers
from .caffe import Described, Fields, Param
from .caffe_layers import Made
from .textformat import Place, parse

TEXT = "the description"
"""What errors call a text that came without a file."""
LARGEST = 2**48
"""Most numbers in one blob, which no machine holds: a slip of the pen in the file."""


def load_prototxt(
    path_or_text: str | Path, *, phase: Literal["TEST", "TRAIN"] = "TEST", input_shape: Shape | None = None,
    device: str = "cpu",
) -> Graph | Sequential:  # fmt: skip
    """Build the network that a Caffe prototxt describes, with fresh weights.

    path_or_text: a path, or the text itself (a str with a bracket or a line break). phase: which layers count, where the
        file has some for "TRAIN" or "TEST" alone (`include`, `exclude`).
    input_shape: (C, H, W) without the batch, where the file does not say it (its data come from a database) or another
        is wanted. device: as in `models.create`; on "meta" the weights take no memory.

    The layers keep the file's names ("/", "." and the like become "_"; a Flatten stands before an InnerProduct that
    reads maps). A chain gives a Sequential, anything else a Graph; `.recipe.input_shape` is the input's shape. Behind
    them lie the rules of Caffe: pooling rounds up and leaves out a last window that would start in the padding, an
    average divides by the part of the window inside the padded map, LRN divides alpha by the window. `lr_mult` and
    `decay_mult` are set on the parameters, and `minicnn.optim` uses them. A weight without a filler keeps the layer's
    own initial values (Caffe's would be zeros, to be loaded over). A BatchNorm and the Scale behind it become one
    BatchNorm2d if the Scale has a bias.

    Data, losses and accuracies are left out: the network returns what SoftmaxWithLoss reads, the scores for
    `ops.cross_entropy` (with several losses, the one of the greatest loss_weight always and the others behind it in
    training; `.loss_weights` has the weights in that order). Without a loss it returns what no layer reads.

    Raises ArgumentError, with file, line, layer and field, for a text that breaks the format, a layer that is not known,
    a value that breaks its rule, and sizes that do not fit.
    Source: Jia et al. 2014, arXiv:1408.5093; caffe.berkeleyvision.org/tutorial/layers.html.
    """
    check(phase in ("TEST", "TRAIN"), f"load_prototxt: phase is {phase!r}: it must be 'TEST' or 'TRAIN'")
    if input_shape is not None:
        good = (
            isinstance(input_shape, (tuple, list)) and input_shape and all(is_integer(n) and n > 0 for n in input_shape)
        )
        check(
            good,
            f"load_prototxt: input_shape is {input_shape!r}: it must be sizes of at least 1, such as (3, 227, 227)",
        )
    text, source = _text(path_or_text)
    network = caffe.read(parse(text, source), "network", Place(source, 1))
    builder = _Builder(network, phase, input_shape, device)
    builder.declare_inputs()
    for layer in builder.layers:
        builder.build(layer)
    model = builder.network()
    title = network["name"] or ("network" if source == TEXT else Path(source).stem)
    model.recipe = Recipe(f"{title}.prototxt", {}, builder.input_shape)
    return model


def _text(given: str | Path) -> tuple[str, str]:
    """The text, and what to call it in errors."""
    if isinstance(given, str) and re.search(r"[{\n]", given):
        return given, TEXT
    if not isinstance(given, (str, Path)) or not str(given):
        raise ArgumentError(f"load_prototxt: path_or_text is {given!r}: it must be a path or a prototxt's text")
    try:
        return Path(given).read_text(encoding="utf-8-sig"), str(given)
    except FileNotFoundError:
        raise ArgumentError(f"{given}: there is no such file") from None
    except UnicodeDecodeError:
        hint = "weights in a .caffemodel are not read" if str(given).endswith("model") else "give a prototxt"
        raise ArgumentError(f"{given} is no text: {hint}") from None
    except (OSError, ValueError) as error:
        raise ArgumentError(f"{given} cannot be read: {error}") from error


@dataclass
class _Blob:
    """What a name means at some line: the output of a node, an input of the network, or nothing that is there."""

    place: Place
    node: str = ""
    output: Tensor | None = None
    """On meta, a batch of one. None for an input that no layer has read, and for what was left out."""
    shape: Shape = ()
    """Of an input, as far as the file gives it."""
    crop: Any = None
    """The side that an input's pictures are cut to, which leaves their channels open."""
    absent: str = ""
    """Why there is nothing to read."""


class _Builder:
    """Goes through the layers in order; `blobs` is what each name means so far."""

    def __init__(self, description: Fields, phase: str, input_shape: Shape | None, device: str) -> None:
        self.description, layers = description, caffe.layers(description, phase)
        self.layers = [layer for layer in layers if not layer.left_out]
        self.left_out = [layer for layer in layers if layer.left_out]
        self.phase, self.wanted, self.device = phase, input_shape, device
        self.blobs: dict[str, _Blob] = {}
        self.input: _Blob | None = None
        self.nodes: dict[str, tuple[Any, ...]] = {}
        self.unread: dict[str, None] = {}
        """Nodes that no layer has read, in order."""
        self.losses: list[tuple[float, str]] = []
        self.merged: set[int] = set()
        """Scale layers (by id) that a BatchNorm2d has taken in."""
        self.shared: dict[str, Parameter] = {}

    # Inputs

    @property
    def input_shape(self) -> Shape:
        assert self.input is not None and self.input.output is not None
        return self.input.output.shape[1:]

    def declare_inputs(self) -> None:
        """The inputs that stand outside the layers; for a piece of a description, what its first layer reads."""
        for name, place, dims in caffe.inputs(self.description):
            self.define(name, _Blob(place, shape=tuple(dims[1:])))
        brought = self.blobs or any(layer.type in caffe_layers.DATA for layer in self.layers)
        if self.wanted is not None and not brought and self.layers:
            for name, place in self.layers[0].bottoms[:1]:
                self.define(name, _Blob(place))

    def define_data(self, layer: Described) -> None:
        """The tops of a layer that brings data. Which of them is the network's input shows when a layer reads it."""
        shapes = [shape["dim"] for shape in layer.given("input_param")["shape"]] if layer.type == "Input" else []
        if not layer.tops:
            raise layer.place.error('top is missing: name what the layer brings, such as top: "data"')
        if len(shapes) not in (0, 1, len(layer.tops)):
            raise layer.place.error(
                f"there are {len(shapes)} shapes and {len(layer.tops)} tops: give one shape for each"
            )
        transform = getattr(layer.fields["transform_param"], "fields", [])
        crop = [value.data for name, value in transform if name == "crop_size" and isinstance(value.data, int)]
        for i, (name, place) in enumerate(layer.tops):
            dims = shapes[i if len(shapes) > 1 else 0] if shapes else []
            self.define(name, _Blob(place, shape=tuple(dims[1:]), crop=crop[0] if crop else None))

    def _use_input(self, blob: _Blob, name: str, place: Place) -> None:
        """Make an input of the file the input of the network."""
        if self.input is not None:
            raise place.error(
                f"bottom {name!r} is a second input, of line {blob.place.line}; the first is of line {self.input.place.line}: "
                "a network has one input; labels may be read by SoftmaxWithLoss and Accuracy alone"
            )
        shape = tuple(self.wanted) if self.wanted is not None else blob.shape
        if not shape:
            side = "H, W" if blob.crop is None else f"{blob.crop}, {blob.crop}"
            raise blob.place.error(
                f"the file does not say what size {name!r} has: give load_prototxt(..., input_shape=(C, {side})), or on "
                f"the command line --input Cx{side.replace(', ', 'x')}"
            )
        if math.prod(shape) > LARGEST:
            raise blob.place.error(f"{name!r} has {math.prod(shape):,} numbers: the limit is 2**48")
        blob.output, blob.node = Tensor(np.broadcast_to(np.float32(0), (1, *shape)), device="meta"), "input"
        self.input = blob

    # Names

    def define(self, name: str, blob: _Blob) -> None:
        """Let `name` mean this from here on."""
        before = self.blobs.get(name)
        if before is not None:
            raise blob.place.error(
                f"top {name!r} is made in line {before.place.line} already: give one of them another name"
            )
        self.blobs[name] = blob

    def look(self, name: str, place: Place) -> _Blob:
        """What a bottom means. Raises ArgumentError where it means nothing."""
        blob = self.blobs.get(name)
        if blob is None:
            raise place.error(f"bottom {name!r} is the top of no layer before it: {self._hint(name, place.line)}")
        if blob.absent:
            raise place.error(f"bottom {name!r} is not there: {blob.absent}")
        return blob

    def read(self, name: str, place: Place) -> _Blob:
        """The blob that a layer reads to compute with it."""
        blob = self.look(name, place)
        if not blob.node:
            self._use_input(blob, name, place)
        self.unread.pop(blob.node, None)
        return blob

    def _hint(self, name: str, line: int) -> str:
        other = "TRAIN" if self.phase == "TEST" else "TEST"
        for layer in self.left_out:
            if any(top == name for top, _ in layer.tops):
                return (
                    f"the layer of line {layer.place.line} makes it and is left out in this phase: try phase={other!r}"
                )
        for layer in self.layers:
            if any(top == name for top, _ in layer.tops) and layer.place.line > line:
                return f"line {layer.place.line} makes it: put that layer first"
        near = difflib.get_close_matches(name, self.blobs, n=1)
        if not self.blobs:
            return "for a description without its input give load_prototxt(..., input_shape=(C, H, W))"
        return f"did you mean {near[0]!r}?" if near else f"there are {', '.join(self.blobs)}"

    def legal(self, name: str) -> str:
        """A name as a container takes it, and as no other node has it."""
        plain = re.sub(r"\W", "_", name, flags=re.ASCII).lstrip("_") or "layer"
        if plain in TAKEN:
            plain += "_"
        number, free = 2, plain
        while free in self.nodes:
            free, number = f"{plain}_{number}", number + 1
        return free

    # Layers

    def build(self, layer: Described) -> None:
        """Add one layer of the description."""
        kind = layer.type
        if kind in caffe_layers.DATA:
            return self.define_data(layer)
        if kind in caffe_layers.LEFT_OUT:
            return self._leave_out(layer)
        if kind == "Split":
            return self._split(layer)
        if kind not in caffe_layers.KINDS:
            known = [*caffe_layers.KINDS, *caffe_layers.DATA, *caffe_layers.LEFT_OUT, "Split"]
            near = difflib.get_close_matches(kind, known, n=1, cutoff=0.7)
            hint = f"did you mean {near[0]}? " if near else ""
            raise layer.place.error(
                f"a layer of type {kind!r} is not known: {hint}the known ones are {', '.join(sorted(known))}"
            )
        if id(layer) in self.merged:
            made_of = self.blobs[layer.bottoms[0][0]]
            return self._name_top(layer, made_of.node, made_of.output)
        entry = caffe_layers.KINDS[kind]
        self._count(layer, "bottom", layer.bottoms, entry.least, entry.most)
        self._count(layer, "top", layer.tops, 1, 1)
        blobs = [self.read(name, place) for name, place in layer.bottoms]
        inputs: list[Tensor] = [blob.output for blob in blobs if blob.output is not None]
        sources = [blob.node for blob in blobs]
        if kind == "InnerProduct" and inputs[0].ndim > 2:
            flat = self.legal(f"{layer.name}_flatten")
            self.nodes[flat] = (Flatten(), *sources)
            inputs, sources = [Flatten()(inputs[0])], [flat]
        try:
            if any(x.ndim != 4 for x in inputs) and entry.maps:
                raise ShapeError(f"bottom is of shape {tuple(inputs[0].shape[1:])}: it must be maps, (C, H, W)")
            scale = self._scale_behind(layer) if kind == "BatchNorm" else None
            made = entry.make(layer, [x.shape[1:] for x in inputs], self.phase, scale)
            node, output = self._place(made, scale or layer, inputs)
        except MinicnnError as error:
            if str(error).startswith(f"{layer.place.source}, line"):
                raise
            raise layer.place.error(str(error), type(error)) from error
        if output.size > LARGEST:
            raise layer.place.error(f"its output has {output.size:,} numbers: the limit is 2**48")
        name = self.legal(layer.name)
        self.nodes[name] = (node, *sources)
        self.unread[name] = None
        if scale is not None:
            self.merged.add(id(scale))
        self._name_top(layer, name, output)

    def _place(self, made: Made, owner: Described, inputs: list[Tensor]) -> tuple[Layer, Tensor]:
        """The layer on the wanted device, and what it gives on meta. `owner` has the factors of its parameters."""
        with default_device("meta"):
            twin = made.make()
        caffe_layers.set_up(twin, made, owner.params)
        with no_grad():
            output = twin.eval()(*inputs)
        if self.device == "meta":
            layer = twin.train()
        else:
            with default_device(self.device):
                layer = made.make()
            caffe_layers.set_up(layer, made, owner.params)
        self._share(layer, made, owner.params)
        return layer, output

    def _share(self, layer: Layer, made: Made, params: list[Param]) -> None:
        """Let parameters of one name be one parameter, the first."""
        for attribute, param in zip(made.fillers, params):
            own: Any = layer._parameters[attribute]
            first = self.shared.setdefault(param.name, own) if param.name else own
            if first is own:
                continue
            for what, mine, theirs in (
                ("shape", own.shape, first.shape), ("lr_mult", own.lr_mult, first.lr_mult),
                ("decay_mult", own.decay_mult, first.decay_mult),
            ):  # fmt: skip
                if mine != theirs:
                    raise param.place.error(
                        f"param {param.name!r} is shared: its {what} is {mine} here and {theirs} before: they must agree"
                    )
            setattr(layer, attribute, first)

    def _name_top(self, layer: Described, node: str, output: Tensor | None) -> None:
        top, place = layer.tops[0]
        if any(top == bottom for bottom, _ in layer.bottoms):  # in place
            del self.blobs[top]
        self.define(top, _Blob(place, node, output))

    def _count(self, layer: Described, what: str, found: list[Any], least: int, most: int | None) -> None:
        if len(found) < least or (most is not None and len(found) > most):
            rule = f"exactly {least}" if least == most else f"at least {least}"
            given = f"{what} is given {len(found)} times" if found else f"{what} is missing"
            raise layer.place.error(f"{given}: a layer of type {layer.type} has {rule}")

    def _scale_behind(self, layer: Described) -> Described | None:
        """The Scale that alone reads a BatchNorm's output and can be one layer with it, or None."""
        top, readers = layer.tops[0][0], []
        for later in self.layers[self.layers.index(layer) + 1 :]:
            readers += [later] * any(top == name for name, _ in later.bottoms)
            if any(top == name for name, _ in later.tops):
                break
        scale = readers[0] if len(readers) == 1 and readers[0].type == "Scale" else None
        if scale is None or len(scale.bottoms) != 1 or len(scale.tops) != 1:
            return None
        given = scale.given("scale_param")
        return scale if given["bias_term"] and given["axis"] == 1 and given["num_axes"] == 1 else None

    def _split(self, layer: Described) -> None:
        self._count(layer, "bottom", layer.bottoms, 1, 1)
        self._count(layer, "top", layer.tops, 1, None)
        for top, _ in layer.tops:
            self.define(top, self.look(*layer.bottoms[0]))

    def _leave_out(self, layer: Described) -> None:
        """Losses, accuracies and the like: what they read must be there; a loss marks an output of the network."""
        if layer.type == "SoftmaxWithLoss":
            self._count(layer, "bottom", layer.bottoms, 2, None)
            blob = self.read(*layer.bottoms[0])
            if blob.node == "input":
                raise layer.place.error("its bottom is the network's input: a loss reads what a layer computed")
            self.losses.append((layer.loss_weight, blob.node))
            self.unread[blob.node] = None
        for name, place in layer.bottoms:
            blob = self.look(name, place)
            if layer.type == "Silence":
                self.unread.pop(blob.node, None)
        for top, place in layer.tops:
            self.define(top, _Blob(place, absent=f"it comes from a layer of type {layer.type}, which is left out"))

    # The whole

    def network(self) -> Graph | Sequential:
        """What was built, from the input to the outputs."""
        if not self.unread:
            raise self.description.place.error(
                f"no layer computes an output in phase {self.phase}: give one, such as a Convolution"
            )
        weights: dict[str, float] = {}
        for weight, node in self.losses:
            weights[node] = weights.get(node, 0.0) + weight
        main, auxiliary = list(self.unread), []
        if weights:
            best = max(reversed(list(weights)), key=lambda node: weights[node])
            main, auxiliary = [best], [node for node in weights if node != best and weights[node]]
        nodes = self._leading_to([*main, *auxiliary])
        before, chain = "input", len(main) == 1 and not auxiliary
        for name, (_, *sources) in nodes.items():
            chain, before = chain and sources == [before], name
        if chain:
            return Sequential({name: entry[0] for name, entry in nodes.items()})
        model = Graph(nodes, outputs=main, training_outputs=auxiliary)
        if weights:
            model.loss_weights = tuple(weights[node] for node in (*main, *auxiliary))
        return model

    def _leading_to(self, outputs: list[str]) -> dict[str, tuple[Any, ...]]:
        """The nodes without which the outputs could not be computed."""
        needed, waiting = set(), list(outputs)
        while waiting:
            name = waiting.pop()
            if name not in needed and name != "input":
                needed.add(name)
                waiting += self.nodes[name][1:]
        return {name: entry for name, entry in self.nodes.items() if name in needed}


TAKEN = {"input", "inputs", "sources", "inlinable", *dir(Graph), *dir(Sequential), "training", "loss_weights", "recipe"}
"""Names that a container has for itself."""
