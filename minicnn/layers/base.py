"""Layer: parameters, buffers and children by attribute; states, devices, hooks, errors."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

from ..autograd import no_grad
from ..backends import as_dtype
from ..errors import ArgumentError, CheckpointError, DTypeError, MinicnnError, ShapeError, calls, check, where
from ..geometry import Gemm, Shape
from ..tensor import Tensor
from .parameter import Parameter
from .window import Window

Self = TypeVar("Self", bound="Layer")
Hook = Callable[["Layer", tuple[Any, ...], Any], Any]


class structure:
    """Counts the changes to any layer's children and hooks, so that a container knows when its plan is out of date."""

    version = 0

    @classmethod
    def changed(cls) -> None:
        cls.version += 1


class Handle:
    """What `register_forward_hook` gives: `remove()` takes the hook away; as a context manager, at the end."""

    def __init__(self, hooks: dict[int, Hook], number: int) -> None:
        self._hooks, self._number = hooks, number

    def remove(self) -> None:
        if self._hooks.pop(self._number, None) is not None:
            structure.changed()

    def __enter__(self) -> Handle:
        return self

    def __exit__(self, *_: Any) -> None:
        self.remove()


class Loaded(NamedTuple):
    """The names that `load_state_dict(strict=False)` passed over."""

    missing: list[str]
    unexpected: list[str]


class Layer:
    """A piece of a network: something to call with Tensors, which may own parameters, buffers and further layers.

    Write one by giving it a `forward`. Parameters and layers are found because they are attributes; a Tensor that is
    not learned but belongs to the state is declared with `register_buffer`. `super().__init__()` is not needed.
    """

    training = True
    frozen = False
    in_place = False
    """Whether the output can take the place of the input, so that it costs no memory of its own (ReLU, Flatten, ...)."""
    fuses: frozenset[str] = frozenset()
    """What its method `fused(x, residual=, relu=)` takes over from the layers behind it: "relu", "residual"."""

    recipe: Any = None
    """For a model of the zoo: the name and options that `models.create` made it from."""

    _parameters: dict[str, Tensor]
    _buffers: dict[str, Tensor]
    _children: dict[str, Layer]
    _hooks: dict[int, Hook]

    def __new__(cls, *_: Any, **__: Any) -> Any:
        self = object.__new__(cls)
        self.__dict__.update(_parameters={}, _buffers={}, _children={}, _hooks={})
        return self

    # What it computes

    def forward(self, *inputs: Any) -> Any:
        """Compute the output. Every kind of layer defines its own."""
        raise MinicnnError(f"{type(self).__name__} has no forward: define forward(self, x) in the class")

    def __call__(self, *inputs: Any, **options: Any) -> Any:
        stack = calls.stack
        stack.append(self)
        try:
            output = self.forward(*inputs, **options)
            if self._hooks:
                for hook in tuple(self._hooks.values()):
                    replaced = hook(self, inputs, output)
                    output = output if replaced is None else replaced
            return output
        except MinicnnError as error:
            error.locate(where())
            if len(stack) == 1 and self._children and isinstance(error, ShapeError):
                from .advice import advise

                advise(self, inputs, error)
            raise
        finally:
            stack.pop()

    def register_forward_hook(self, hook: Hook) -> Handle:
        """Call hook(layer, inputs, output) after each forward; what it returns, if not None, takes the output's place.

        A layer with a hook is not fused with its neighbours. Returns a handle with `.remove()`.
        """
        check(
            callable(hook),
            f"register_forward_hook: hook is {hook!r}: it must be callable as hook(layer, inputs, output)",
        )
        number = max(self._hooks, default=-1) + 1
        self._hooks[number] = hook
        structure.changed()
        return Handle(self._hooks, number)

    # What it is made of

    def __setattr__(self, name: str, value: Any) -> None:
        if isinstance(value, Layer):
            check(
                not hasattr(Layer, name),
                f"{type(self).__name__}.{name}: every Layer has an attribute of that name: choose another name",
            )
            self._register(name, value)
            return
        if isinstance(value, (list, tuple, dict)) and any(
            isinstance(item, Layer) for item in (value.values() if isinstance(value, dict) else value)
        ):
            raise ArgumentError(
                f"{type(self).__name__}.{name} is a {type(value).__name__} of layers, whose parameters would not be "
                "found: use Sequential(*layers) or Sequential({name: layer}), which can be indexed too"
            )
        if name in METHODS and not callable(value):
            raise ArgumentError(
                f"{type(self).__name__}.{name}: every Layer has a method of that name: choose another name"
            )
        state = self.__dict__
        if name in state["_children"]:
            del state["_children"][name]
            structure.changed()
        if isinstance(value, Tensor) and value.is_leaf and name not in state["_buffers"] and value.requires_grad:
            state["_parameters"][name] = value
        elif isinstance(value, Parameter):  # a frozen one
            state["_parameters"][name] = value
        elif name in state["_parameters"]:
            check(
                not isinstance(value, Tensor),
                f"{type(self).__name__}.{name} is a parameter and the new Tensor does not require a gradient: assign "
                f"Parameter(...), or to .{name}.data",
            )
            del state["_parameters"][name]
        elif name in state["_buffers"]:
            if isinstance(value, Tensor):
                state["_buffers"][name] = value
            else:
                del state["_buffers"][name]
        elif name == "forward":
            structure.changed()
        object.__setattr__(self, name, value)

    def __delattr__(self, name: str) -> None:
        for registry in (self._parameters, self._buffers, self._children):
            registry.pop(name, None)
        structure.changed()
        object.__delattr__(self, name)

    def _register(self, name: str, layer: Layer) -> None:
        self._parameters.pop(name, None)
        self._buffers.pop(name, None)
        self._children[name] = layer
        self.__dict__[name] = layer
        structure.changed()

    def register_buffer(self, name: str, values: Tensor) -> None:
        """Keep a Tensor that is part of the state (saved, moved) but not learned, as attribute `name`."""
        check(
            isinstance(name, str) and name.isidentifier(),
            f"register_buffer: name is {name!r}: it must be usable as an attribute",
        )
        check(isinstance(values, Tensor), f"register_buffer: {name} is {type(values).__name__}: it must be a Tensor")
        check(name not in self.__dict__, f"register_buffer: {name!r} is already an attribute: choose another name")
        self._buffers[name] = values
        self.__dict__[name] = values

    def named_layers(self, prefix: str = "") -> Iterator[tuple[str, Layer]]:
        """(path, layer) for this layer (path `prefix`, "" by default) and all inside it, parents first."""
        stack: list[tuple[str, Layer]] = [(prefix, self)]
        seen: set[int] = set()
        while stack:
            path, layer = stack.pop()
            if id(layer) in seen:
                continue
            seen.add(id(layer))
            yield path, layer
            start = path + "." if path else ""
            stack.extend([(start + name, child) for name, child in reversed(layer._children.items())])

    def children(self) -> Iterator[Layer]:
        """The layers directly inside this one."""
        return iter(self._children.values())

    def named_children(self) -> Iterator[tuple[str, Layer]]:
        """(name, layer) for the layers directly inside this one, in the order in which they were added."""
        return iter(self._children.items())

    def named_parameters(self) -> Iterator[tuple[str, Tensor]]:
        """(path, parameter) for every parameter here and inside, each once even where it is shared."""
        return self._named("_parameters")

    def parameters(self) -> Iterator[Tensor]:
        """Every parameter here and inside, each once."""
        return (parameter for _, parameter in self.named_parameters())

    def named_buffers(self) -> Iterator[tuple[str, Tensor]]:
        """(path, buffer) for every buffer here and inside."""
        return self._named("_buffers")

    def buffers(self) -> Iterator[Tensor]:
        """Every buffer here and inside, each once."""
        return (buffer for _, buffer in self.named_buffers())

    def _named(self, registry: str) -> Iterator[tuple[str, Tensor]]:
        seen: set[int] = set()
        for path, layer in self.named_layers():
            for name, values in getattr(layer, registry).items():
                if id(values) not in seen:
                    seen.add(id(values))
                    yield (f"{path}.{name}" if path else name), values

    def path_of(self, layer: Layer) -> str:
        """Where `layer` stands inside this one, and its kind: `features.3 (MaxPool2d)`; the kind alone for itself."""
        kind = type(layer).__name__
        for path, candidate in self.named_layers():
            if candidate is layer:
                return f"{path} ({kind})" if path else kind
        return kind

    def apply(self: Self, fn: Callable[[Layer], Any]) -> Self:
        """Call fn(layer) on every layer inside, then on this one. Returns self."""
        for _, layer in reversed(list(self.named_layers())):
            fn(layer)
        return self

    # State

    def state_dict(self) -> dict[str, Tensor]:
        """Every parameter and buffer by its path. The Tensors share memory with the model's: copy what must not change."""
        state: dict[str, Tensor] = {}
        stack: list[tuple[str, Layer]] = [("", self)]
        while stack:
            start, layer = stack.pop()
            for registry in (layer._parameters, layer._buffers):
                state.update({start + name: values.detach() for name, values in registry.items()})
            stack.extend([(f"{start}{name}.", child) for name, child in reversed(layer._children.items())])
        return state

    def load_state_dict(self, state: Mapping[str, Any], strict: bool = True) -> Loaded:
        """Copy values (Tensors or arrays) into the parameters and buffers of the same paths.

        strict: whether a missing or an unexpected name is an error; a wrong shape always is.
        Returns the missing and the unexpected names. Raises CheckpointError, with every name that does not fit, and
        leaves the model as it was.
        """
        check(
            isinstance(state, Mapping), f"load_state_dict: state is {type(state).__name__}: it must be a dict of values"
        )
        own, given = self.state_dict(), {}
        for name, value in state.items():
            try:
                given[name] = Tensor(value)
            except DTypeError as error:
                raise CheckpointError(f"load_state_dict: {name}: {error}") from None
        missing = [name for name in own if name not in given]
        unexpected = [name for name in given if name not in own]
        wrong = [
            f"{name} is {given[name].shape}, the model has {own[name].shape}"
            for name in own
            if name in given and given[name].shape != own[name].shape
        ]
        parts = [
            f"{kind}: {', '.join(names)}"
            for kind, names in (
                ("missing", missing if strict else []), ("unexpected", unexpected if strict else []), ("wrong shape", wrong)
            )
            if names
        ]  # fmt: skip
        if parts:
            raise CheckpointError(
                f"load_state_dict: the values do not fit this {type(self).__name__}: {'; '.join(parts)}"
            )
        placed = [(own[name], given[name].to(own[name].device)) for name in own if name in given]
        if any(target.device == "meta" for target, _ in placed):
            raise CheckpointError(
                "load_state_dict: the model is on the meta device, without memory: create it on the cpu"
            )
        with no_grad():
            for target, values in placed:
                target.copy_(values)
        return Loaded(missing, unexpected)

    @property
    def device(self) -> str:
        """Where the parameters (else the buffers) are; "cpu" for a layer without any."""
        for values in (*self.parameters(), *self.buffers()):
            return values.device
        return "cpu"

    def to(self: Self, device: str | None = None, dtype: Any = None) -> Self:
        """Move every parameter and buffer to a device and, if asked, to a floating dtype; gradients are dropped.

        The Parameter objects stay the same, so an optimiser keeps working. Returns self.
        """
        check(dtype is None or as_dtype(dtype, "to").kind == "f", f"to: dtype is {dtype!r}: it must be floating")
        for values in (*self.parameters(), *self.buffers()):
            moved = Tensor(values.detach(), dtype=dtype, device=device)
            if moved.data is not values.data:
                values.data = moved.data
                values.grad = None
        return self

    def train(self: Self, mode: bool = True) -> Self:
        """Behave as in training (dropout drops, batch norm uses the batch) or, with False, as in use. Returns self."""
        for _, layer in self.named_layers():
            layer.__dict__["training"] = bool(mode)
        return self

    def eval(self: Self) -> Self:
        """Behave as in use: train(False)."""
        return self.train(False)

    def zero_grad(self) -> None:
        """Forget every gradient."""
        for parameter in self.parameters():
            parameter.grad = None

    def requires_grad_(self: Self, flag: bool = True) -> Self:
        """Turn gradients of all parameters on or off. Returns self. See also `freeze`."""
        for parameter in self.parameters():
            parameter.requires_grad = flag
        return self

    def freeze(self: Self) -> Self:
        """Stop learning here: no gradients, and batch norm keeps and uses its running statistics even in training."""
        return self._freeze(True)

    def unfreeze(self: Self) -> Self:
        """Undo `freeze`."""
        return self._freeze(False)

    def _freeze(self: Self, flag: bool) -> Self:
        for _, layer in self.named_layers():
            layer.__dict__["frozen"] = flag
        return self.requires_grad_(not flag)

    def __getstate__(self) -> dict[str, Any]:
        """What a copy or a pickle takes along: all but the plan, which is worked out again."""
        return {name: value for name, value in self.__dict__.items() if name != "_plan"}

    # What is said about it

    def window(self, input_shape: Shape) -> Window | None:
        """The window that it moves over maps of `input_shape` (C, H, W), or None."""
        return None

    def size_formula(self, input_shapes: Sequence[Shape], output_shape: Shape) -> str:
        """How the output size comes about, with the numbers put in: `(227 + 2*0 - 11)/4 + 1 = 55`; "" if it stays."""
        window = self.window(input_shapes[0]) if input_shapes and len(input_shapes[0]) == 3 else None
        return "" if window is None else window.formula(input_shapes[0])

    def size_note(self, input_shapes: Sequence[Shape], output_shape: Shape) -> str:
        """What the rounding in `size_formula` left over: `not seen at the end: 1 row and 1 column`; "" if nothing."""
        window = self.window(input_shapes[0]) if input_shapes and len(input_shapes[0]) == 3 else None
        return "" if window is None else window.rounding(input_shapes[0])

    def gemm(self, input_shape: Shape, output_shape: Shape) -> Gemm | None:
        """The matrix product that it comes down to, for one sample, or None."""
        return None

    def macs(self, input_shape: Shape, output_shape: Shape) -> int:
        """Multiply-adds for one sample, shapes without the batch; convolutions and linear layers have some."""
        product = self.gemm(input_shape, output_shape)
        return 0 if product is None else product.macs

    def macs_formula(self, input_shape: Shape, output_shape: Shape) -> str:
        """How the multiply-adds are counted, with the numbers put in: `55*55*96 * 11*11*3`; "" without any."""
        return ""

    def parameter_formula(self) -> str:
        """How its own parameters are counted, with the numbers put in: `(11*11*3 + 1)*96`; "" without any."""
        return " + ".join("*".join(map(str, p.shape)) or "1" for p in self._parameters.values())

    def extra_repr(self) -> str:
        """The arguments, for `repr`."""
        return ""

    def __repr__(self) -> str:
        head = f"{type(self).__name__}({self.extra_repr()}"
        if not self._children:
            return head + ")"
        rows = [f"({name}): {child!r}".replace("\n", "\n  ") for name, child in self._children.items()]
        return "\n  ".join([head, *rows]) + "\n)"


METHODS = frozenset(name for name, value in vars(Layer).items() if callable(value) and name != "forward")
"""What an attribute of a layer of one's own may not be called."""
