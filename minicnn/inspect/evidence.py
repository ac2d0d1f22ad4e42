"""What a trained network sees in a picture: feature maps, saliency, class activation, occlusion, the patches that excite
a layer most.

Plain functions: a model, images as it takes them (float (N, C, H, W), normalised as in training) and arrays back. They
run the model as in use (`eval`), and leave it, its modes and its gradients as they were. `galleries` draws what they give.
A "score" is what the network puts out for a class: a logit in all networks of the zoo but `lenet5_1998` with its codes, where
it is minus a squared distance.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from ..autograd import grad, no_grad
from ..errors import DTypeError, ShapeError, check
from ..geometry import is_integer, is_number
from ..layers import AdaptiveAvgPool2d, AvgPool2d, Layer, trace
from ..mode import enable_grad
from ..tensor import Tensor
from .field_pictures import no_layer
from .fields import fields

BATCH = 64
"""Images that `top_patches` runs at once."""


def feature_maps(model: Layer, images: Any, path: str) -> np.ndarray:
    """What the layer at `path` puts out for images (N, C, H, W): (N, K, P, Q), or (N, K) behind Flatten.

    path: as in `model.named_layers()`, such as "conv1" or "stage1.block1"; "" is the model itself. A convolution's
    output is before its ReLU: name the ReLU for what goes on. Raises ArgumentError for a layer that is not there or
    did not run once.
    """
    what, outputs = "feature_maps", []
    x, layer = _images(what, model, images), _layer(what, model, path)
    with _in_use(model), no_grad(), layer.register_forward_hook(lambda _, inputs, output: outputs.append(output)):
        model(Tensor(x, device=model.device))
    _once(what, path, len(outputs))
    check(
        isinstance(outputs[0], Tensor), f"{what}: the layer {path!r} puts out several Tensors: name a layer inside it"
    )
    return outputs[0].numpy().copy()


def saliency(model: Layer, images: Any, labels: Any) -> np.ndarray:
    """How much each pixel matters to the score of a class: (N, H, W), the largest |d score / d pixel| of its channels.

    images: (N, C, H, W)      labels: (N,) the class asked for, for each image; its own need not be it
    Units: score per unit of the normalised pixel. Source: Simonyan, Vedaldi and Zisserman 2013, arXiv:1312.6034, section 3.1.
    """
    x = _images("saliency", model, images)
    labels = _labels("saliency", labels, len(x))
    pixels = Tensor(x, requires_grad=True, device=model.device)
    with _in_use(model), enable_grad():
        scores = model(pixels)
        dx = grad(scores, pixels, _one_hot("saliency", scores, labels))
    return np.abs(dx.numpy()).max(1)


def class_activation(model: Layer, images: Any, labels: Any, path: str | None = None) -> np.ndarray:
    """Where a network that ends in global average pooling sees a class: sum over k of w[class, k] * maps[n, k], (N, P, Q).

    images: (N, C, H, W)      labels: (N,) the class asked for, for each image
    maps are those that the pooling averages, w the weights of the linear layer behind it: the mean of the result, plus the
    bias, is the score. Where no layer follows, as in Network in Network and All-CNN, it is the map of the class. The last
    layer that averages whole maps is taken for the pooling.
    path: a layer whose output serves in their place, w being the sums of d score / d maps over each map: for networks
        without that pooling (AlexNet, VGG), or to look at an earlier layer. (N, P, Q) has that layer's P and Q.
    Raises ArgumentError for a network without global average pooling, unless `path` is given.
    Source: Zhou et al. 2016, arXiv:1512.04150, equation 2; with path, Selvaraju et al. 2017, arXiv:1610.02391, equation 1
    (times P*Q, and without the ReLU: what speaks against the class is negative).
    """
    what = "class_activation"
    x = _images(what, model, images)
    labels = _labels(what, labels, len(x))
    pools = [layer for _, layer in model.named_layers() if isinstance(layer, (AvgPool2d, AdaptiveAvgPool2d))]
    watched = pools if path is None else [_layer(what, model, path)]
    seen: list[tuple[Tensor, Tensor]] = []

    def cut(layer: Layer, inputs: tuple[Any, ...], output: Any) -> Tensor | None:
        """Go on from a leaf, whose gradient says what each map, or its mean, is worth."""
        if path is None and output.shape[2:] != (1, 1):
            return None
        check(
            isinstance(output, Tensor) and output.ndim == 4,
            f"{what}: {path!r} puts out {_shape(output)}: name a layer that puts out maps (N, K, P, Q)",
        )
        leaf = Tensor(output.detach(), requires_grad=True)
        seen.append((inputs[0].detach() if path is None else leaf.detach(), leaf))
        return leaf

    with _in_use(model), enable_grad(), contextlib.ExitStack() as hooks:
        for layer in watched:
            hooks.enter_context(layer.register_forward_hook(cut))
        scores = model(Tensor(x, device=model.device))
        chosen = _one_hot(what, scores, labels)
        if path is None:
            check(
                seen,
                f"{what}: {type(model).__name__} has no global average pooling: give path, a layer that puts out maps, "
                "such as its last convolution",
            )
        else:
            _once(what, path, len(seen))
        maps, leaf = seen[-1]
        check(scores.requires_grad, f"{what}: the score does not depend on the output of {path or 'the pooling'!r}")
        weights = grad(scores, leaf, chosen).numpy().sum((2, 3), keepdims=True)
    return (weights * maps.numpy()).sum(1)


def occlusion(
    model: Layer, images: Any, labels: Any, size: int = 8, stride: int | None = None, fill: float = 0.0
) -> np.ndarray:  # fmt: skip
    """How far the score of a class falls when a square is covered: (N, H, W), at each pixel the mean over the squares on it.

    images: (N, C, H, W)      labels: (N,) the class asked for, for each image
    size, stride: pixels; the squares start at 0, stride, 2*stride, ..., and the last ones end with the picture; stride is
        half the size if None
    fill: what covers; 0 is the mean colour after `Normalize`
    Positive where the square hid what speaks for the class. It costs one run per square.
    Source: Zeiler and Fergus 2013, arXiv:1311.2901, section 4.2.
    """
    what = "occlusion"
    x = _images(what, model, images)
    labels = _labels(what, labels, len(x))
    sides = x.shape[2:]
    check(
        is_integer(size) and 1 <= size <= min(sides),
        f"{what}: size is {size!r}: it must be a whole number of pixels from 1 to {min(sides)}, the smaller side",
    )
    stride = (size + 1) // 2 if stride is None else stride
    check(
        is_integer(stride) and 1 <= stride <= size,
        f"{what}: stride is {stride!r}: it must be a whole number from 1 to size, {size}, or pixels are left out",
    )
    check(is_number(fill), f"{what}: fill is {fill!r}: it must be a number")
    tops, lefts = ([*range(0, side - size, stride), side - size] for side in sides)
    fall, squares = np.zeros((len(x), *sides), x.dtype), np.zeros(sides, x.dtype)

    def score(pixels: np.ndarray) -> np.ndarray:
        scores = model(Tensor(pixels, device=model.device))
        return (scores.numpy() * _one_hot(what, scores, labels).numpy()).sum(1)

    with _in_use(model), no_grad():
        whole = score(x)
        for top in tops:
            for left in lefts:
                square = np.s_[..., top : top + size, left : left + size]
                covered = x.copy()
                covered[square] = fill
                fall[square] += (whole - score(covered))[:, None, None]
                squares[square] += 1
    return fall / squares


class Patches(NamedTuple):
    """What `top_patches` found for each of K channels, the strongest first."""

    values: np.ndarray
    """(K, count) the activations"""
    images: np.ndarray
    """(K, count) the number of the image"""
    areas: np.ndarray
    """(K, count, 4) the pixels seen: top, bottom, left, right; bottom and right not included, beyond the image padding"""

    def cut(self, pictures: Any, channel: int, fill: float = 0) -> np.ndarray:
        """The patches of one channel out of pictures (N, C, H, W), as given to `top_patches` or as they were before
        normalisation: (count, C, height, width). fill: for padding. A field larger than the picture is cut at its edges."""
        check(
            is_integer(channel) and 0 <= channel < len(self.values),
            f"cut: channel is {channel!r}: there are {len(self.values)}, from 0",
        )
        H, W = pictures.shape[2:]
        cut = []
        for number, (top, bottom, left, right) in zip(self.images[channel], self.areas[channel]):
            if bottom - top > H:
                top, bottom = 0, H
            if right - left > W:
                left, right = 0, W
            picture = np.asarray(pictures[int(number)])
            patch = np.full((len(picture), bottom - top, right - left), fill, picture.dtype)
            rows, columns = slice(max(top, 0), min(bottom, H)), slice(max(left, 0), min(right, W))
            inside = picture[:, rows, columns]
            patch[:, rows.start - top : rows.stop - top, columns.start - left : columns.stop - left] = inside
            cut.append(patch)
        return np.stack(cut)


def top_patches(model: Layer, images: Any, path: str, count: int = 9) -> Patches:
    """The parts of images that excite each channel of the layer at `path` most, one of each image at most.

    images: (N, C, H, W), an array or whatever gives arrays for slices      path: as in `feature_maps`; for a linear layer,
    whole images come out      count: how many for each channel, at most N
    The part is the receptive field of the strongest place; of equally strong ones the first counts. It keeps 16 bytes for
    each channel and image. Raises ArgumentError where the receptive field is not known (see `fields`).
    Source: Zeiler and Fergus 2013, arXiv:1311.2901, figure 2.
    """
    what = "top_patches"
    layer = _layer(what, model, path)
    _images(what, model, images[:1])
    check(
        is_integer(count) and 1 <= count <= len(images),
        f"{what}: count is {count!r}: it must be a whole number from 1 to {len(images)}, the number of images",
    )
    found = trace(model, tuple(images.shape[1:]))
    known = [pair for record, pair in zip(found.records, fields(found)) if record.layer is layer]
    check(
        known and known[0] is not None,
        f"{what}: the receptive field of {path!r} is not known: name a layer without a layer of one's own before it that "
        "changes the size of the map",
    )
    values, places = [], []
    for start in range(0, len(images), BATCH):
        maps = feature_maps(model, images[start : start + BATCH], path)
        shape = maps.shape[2:] or (1, 1)
        flat = maps.reshape(*maps.shape[:2], -1)
        values.append(flat.max(2))
        places.append(flat.argmax(2))
    strength, place = np.concatenate(values).T, np.concatenate(places).T
    chosen = np.argsort(-strength, axis=1, kind="stable")[:, :count]
    rows, columns = np.unravel_index(np.take_along_axis(place, chosen, 1), shape)
    pair = known[0]
    areas = [[pair.area(int(row), int(column)) for row, column in zip(*each)] for each in zip(rows, columns)]  # type: ignore[union-attr]
    return Patches(np.take_along_axis(strength, chosen, 1), chosen, np.array(areas))


# What they share


@contextlib.contextmanager
def _in_use(model: Layer) -> Iterator[None]:
    """The model in `eval`; afterwards each layer is in the mode in which it was."""
    modes = [(layer, layer.training) for _, layer in model.named_layers()]
    model.eval()
    try:
        yield
    finally:
        for layer, training in modes:
            layer.training = training


def _images(what: str, model: Layer, images: Any) -> np.ndarray:
    check(isinstance(model, Layer), f"{what}: model is {type(model).__name__}: it must be a Layer, trained")
    array = np.asarray(images.numpy() if isinstance(images, Tensor) else images)
    if array.ndim != 4 or not array.size:
        raise ShapeError(
            f"{what}: images has shape {array.shape}: it must be (N, C, H, W); one image needs images[None]"
        )
    if array.dtype.kind != "f":
        raise DTypeError(
            f"{what}: images has dtype {array.dtype}: give what the network was trained on: Normalize(mean, std)(images)"
        )
    return array


def _labels(what: str, labels: Any, count: int) -> np.ndarray:
    array = np.asarray(labels)
    check(
        array.dtype.kind in "iu" and array.shape == (count,),
        f"{what}: labels has dtype {array.dtype} and shape {array.shape}: it must be whole numbers, ({count},), one for each image",
    )
    return array


def _one_hot(what: str, scores: Any, labels: np.ndarray) -> Tensor:
    """(N, classes), like the scores: 1 where the class is the one asked for."""
    check(
        isinstance(scores, Tensor) and scores.ndim == 2,
        f"{what}: the network puts out {_shape(scores)}: it must be scores (N, classes)",
    )
    classes = scores.shape[1]
    check(
        0 <= labels.min() and labels.max() < classes,
        f"{what}: labels reach from {labels.min()} to {labels.max()}: the network has {classes} classes, from 0",
    )
    chosen = (labels[:, None] == np.arange(classes)).astype(scores.dtype)
    return Tensor(chosen, device=scores.device)


def _shape(output: Any) -> str:
    return f"shape {output.shape}" if isinstance(output, Tensor) else type(output).__name__


def _layer(what: str, model: Layer, path: str) -> Layer:
    check(isinstance(model, Layer), f"{what}: model is {type(model).__name__}: it must be a Layer, trained")
    layers = dict(model.named_layers())
    if path not in layers:
        raise no_layer(what, "path", str(path), [name for name in layers if name])
    return layers[path]


def _once(what: str, path: str, times: int) -> None:
    check(
        times == 1,
        f"{what}: the layer {path!r} ran {times} times"
        + (": give each call a layer of its own" if times else " when the network was in use: name another"),
    )
