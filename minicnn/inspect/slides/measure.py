"""How the claims look at things: layers and networks run on the meta device, and what their summaries say.

Sizes are given as the slides give them, height x width x channels.
"""

from __future__ import annotations

import contextlib
import contextvars
import functools
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from ... import models
from ...geometry import Shape, elements
from ...layers import Conv2d, Layer, MaxPool2d, Sequential, default_device
from ..comparison import depth
from ..summary import Row, Summary, summary

Looked = dict[str, dict[str, None]]
"""Networks by name, and the paths of the layers in each."""

_looked_at: contextvars.ContextVar[Looked | None] = contextvars.ContextVar("looked_at", default=None)


@contextlib.contextmanager
def looking() -> Iterator[Looked]:
    """What is looked at inside: the networks of the zoo, and of each the layers that are picked out one by one."""
    found: Looked = {}
    token = _looked_at.set(found)
    try:
        yield found
    finally:
        _looked_at.reset(token)


def note(name: str, *paths: str) -> None:
    """Add a network, and layers of it, to what `looking` gives, if it is there."""
    found = _looked_at.get()
    if found is not None and name:  # modules have none
        found.setdefault(name, {}).update(dict.fromkeys(paths))


class Rows(list[Row]):
    """Rows of a network of the zoo. Whoever takes one by its place looks at that layer; whoever counts them, at none."""

    def __init__(self, rows: Iterable[Row], name: str) -> None:
        super().__init__(rows)
        self.name = name

    def __getitem__(self, place: Any) -> Any:
        found = super().__getitem__(place)
        note(self.name, *[row.path for row in (found if isinstance(place, slice) else [found])])
        return found


def info(name: str) -> models.Info:
    """The facts about a network of the zoo."""
    note(name)
    return models.info(name)


class Net:
    """A network or module and its summary. name: in the zoo, if it is there."""

    def __init__(self, model: Layer, input_shape: Shape, name: str = "") -> None:
        self.model, self.input_shape, self.name = model, input_shape, name
        self.summary: Summary = summary(model, input_shape)
        self._layers = dict(model.named_layers())
        self._sizes = [(path, p.shape) for path, p in model.named_parameters()]

    @property
    def rows(self) -> list[Row]:
        return Rows(self.summary.rows, self.name)

    @property
    def parameters(self) -> int:
        return self.summary.total_parameters

    @property
    def macs(self) -> int:
        return self.summary.total_macs

    @property
    def output(self) -> Shape:
        return hwc(self.summary.output_shape)

    @functools.cached_property
    def depth(self) -> int:
        """Convolutions and linear layers on the longest way through."""
        return depth(self.model, self.input_shape)

    def of(self, *kinds: str) -> list[Row]:
        """The rows of layers of these kinds, in order."""
        return Rows([row for row in self.rows if row.kind in kinds], self.name)

    @property
    def convs(self) -> list[Row]:
        return self.of("Conv2d")

    @property
    def pools(self) -> list[Row]:
        return self.of("MaxPool2d")

    def layer(self, row: Row) -> Any:
        """The layer that a row is about."""
        note(self.name, row.path)
        return self._layers[row.path]

    def inside(self, path: str) -> list[Row]:
        """The rows of a layer and of all inside it."""
        note(self.name, path)
        return [row for row in self.rows if row.path == path or row.path.startswith(path + ".")]

    def weights(self, *paths: str) -> int:
        """Weights of convolutions and linear layers, without biases and norms, under the paths (or of the whole)."""
        total = 0
        for path, shape in self._sizes:
            if len(shape) > 1 and (not paths or any(path.startswith(start + ".") for start in paths)):
                total += elements(shape)
        return total

    def macs_of(self, *paths: str) -> int:
        return sum(row.macs for path in paths for row in self.inside(path))

    def spec(self, row: Row) -> str:
        """A convolution or pool as slides write it: `3x3 conv 96`, `5x5 conv 256 /2`, `3x3 max /2`."""
        layer = self.layer(row)
        R, S = layer.kernel_size
        what = f"conv {layer.out_channels}" if row.kind == "Conv2d" else "max" if row.kind == "MaxPool2d" else "avg"
        stride = layer.stride[0]
        return f"{R}x{S} {what}" + (f" /{stride}" if stride > 1 else "")


@functools.cache
def _net(name: str, options: tuple[tuple[str, Any], ...]) -> Net:
    return Net(models.create(name, device="meta", **dict(options)), models.info(name).input_shape, name)


def net(name: str, **options: Any) -> Net:
    """A network of the zoo, built once."""
    note(name)
    return _net(name, tuple(options.items()))


def input_of(name: str) -> Callable[[], Shape]:
    """A function that gives the input with which a network of the zoo runs, height x width x channels."""
    return lambda: hwc(net(name).rows[0].input_shape)


def depth_of(name: str) -> Callable[[], int]:
    """A function that gives the depth of a network of the zoo."""
    return lambda: net(name).depth


def hwc(shape: Shape) -> Shape:
    """(C, H, W) as H, W, C; other shapes as they are."""
    return (shape[1], shape[2], shape[0]) if len(shape) == 3 else shape


@functools.cache
def conv(size: Shape, filters: int, window: int, stride: int = 1, padding: int = 0, bias: bool = True) -> Net:
    """One convolution on an input of `size` (H, W, C), as it runs."""
    H, W, C = size
    with default_device("meta"):
        return Net(Conv2d(C, filters, window, stride, padding, bias=bias), (C, H, W))


@functools.cache
def stack(size: Shape, filters: int, windows: tuple[int, ...], stride: int = 1, padding: int = 0) -> Net:
    """Convolutions without biases, one behind the other."""
    H, W, C = size
    channels = (C, *[filters] * len(windows))
    with default_device("meta"):
        layers = [
            Conv2d(channels[place], filters, window, stride, padding, bias=False)
            for place, window in enumerate(windows)
        ]
        return Net(Sequential(*layers), (C, H, W))


@functools.cache
def pool(size: Shape, window: int, stride: int) -> Net:
    """One max pool on an input of `size` (H, W, C)."""
    H, W, C = size
    return Net(MaxPool2d(window, stride), (C, H, W))


def side(size: int, window: int, stride: int = 1, padding: int = 0) -> int:
    """The side of the map that a convolution gives."""
    return conv((size, size, 1), 1, window, stride, padding).output[0]
