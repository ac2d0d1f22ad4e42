"""The optimisers: SGD, Adam, AdamW. A step is one pass of one fused kernel over each parameter, in place."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from .. import backends
from ..errors import ArgumentError, CheckpointError, DTypeError, GradientError, MinicnnError, check
from ..geometry import is_integer
from ..tensor import Tensor


def number(
    owner: str, name: str, value: Any, rule: str, low: float, high: float = float("inf"), *, open: bool = False
) -> float:
    """`value` as a float, checked: low <= value < high, or low < value where `open`. Raises ArgumentError with `rule`."""
    try:
        x = float(value)
    except (TypeError, ValueError):
        x = float("nan")
    good = not isinstance(value, bool) and (low < x if open else low <= x) and x < high
    check(good, f"{owner}: {name} is {value!r}: it must be {rule}")
    return x


class Optimizer:
    """What all optimisers share: groups of parameters, their settings, the state of each parameter.

    parameters: Tensors, or group dicts such as {"params": [...], "lr": 0.01, "weight_decay": 0}; what a group does not
        set comes from the arguments. As in Caffe, `lr_mult` and `decay_mult` multiply the learning rate and the weight
        decay: set them in a group, on a parameter (as attributes), or both.
    param_groups: the groups; a schedule changes their "lr".

    A parameter whose `.grad` is None, or that does not require a gradient (is frozen), is left alone: neither weight
    decay nor momentum moves it.
    Raises ArgumentError for no parameters, for one given twice, or for a setting out of its range.
    """

    slots: tuple[str, ...] = ()
    """Names of the arrays that each parameter has beside it, such as momentum's `v`."""

    def __init__(self, parameters: Iterable[Any], defaults: dict[str, Any]) -> None:
        self.name = type(self).__name__
        self.defaults = {**defaults, "lr_mult": 1.0, "decay_mult": 1.0}
        if isinstance(parameters, (Tensor, Mapping)):
            raise DTypeError(
                f"{self.name}: parameters is a {type(parameters).__name__}: it must be a list: put it into [ ]"
            )
        given = list(parameters)
        check(given, f"{self.name}: parameters is empty: give model.parameters()")
        groups = given if isinstance(given[0], Mapping) else [{"params": given}]
        self.param_groups: list[dict[str, Any]] = []
        self.state: dict[Tensor, dict[str, Any]] = {}
        for group in groups:
            self.add_param_group(group)

    def add_param_group(self, group: Mapping[str, Any]) -> None:
        """Add parameters with their own settings, for instance layers that are thawed later."""
        where = f"{self.name}: group {len(self.param_groups)}"
        if not isinstance(group, Mapping) or "params" not in group:
            raise DTypeError(
                f'{where} is {str(group)[:60]}: it must be a dict with "params", such as {{"params": [...], "lr": 0.01}}'
            )
        unknown = set(group) - set(self.defaults) - {"params"}
        check(
            not unknown,
            f"{where}: {', '.join(sorted(unknown))} is no setting of {self.name}: it has {', '.join(self.defaults)}",
        )
        params = [group["params"]] if isinstance(group["params"], Tensor) else list(group["params"])
        known = {p for g in self.param_groups for p in g["params"]}
        for i, p in enumerate(params):
            if not isinstance(p, Tensor):
                raise DTypeError(f"{where}: parameter {i} is a {type(p).__name__}: it must be a Tensor")
            check(
                p.is_leaf,
                f"{where}: parameter {i} {p.shape} was computed from others: only leaves can be optimised",
                GradientError,
            )
            check(p not in known, f"{where}: parameter {i} {p.shape} is given twice: each may be in one group, once")
            known.add(p)
        settings = {**self.defaults, **{k: v for k, v in group.items() if k != "params"}}
        for name in ("lr", "weight_decay", "lr_mult", "decay_mult"):
            settings[name] = number(where, name, settings[name], "a number of at least 0", 0)
        self.check_settings(where, settings)
        self.param_groups.append({"params": params, **settings})

    def check_settings(self, where: str, settings: dict[str, Any]) -> None:
        """Check and normalise the settings that belong to one kind of optimiser."""

    def update(
        self, w: Any, g: Any, state: dict[str, Any], lr: float, weight_decay: float, group: dict[str, Any]
    ) -> None:
        """Call the kernel on the arrays of one parameter; SGD and Adam define `update_all` in its place."""
        raise MinicnnError(f"{type(self).__name__}.update: an optimiser of your own must define it")

    def update_all(
        self, arrays: list[tuple[Any, Any, dict[str, Any]]], lr: float, weight_decay: float, group: dict[str, Any]
    ) -> None:
        """`update` for each of many parameters, (w, g, state), of one device, dtype, learning rate and decay."""
        for w, g, state in arrays:
            self.update(w, g, state, lr, weight_decay, group)

    def parameters(self) -> list[Tensor]:
        """All parameters, in the order of the groups: their numbers in `state_dict`."""
        return [p for group in self.param_groups for p in group["params"]]

    def zero_grad(self) -> None:
        """Forget the gradients."""
        for p in self.parameters():
            p.grad = None

    def step(self) -> None:
        """Change every parameter that has a gradient. Raises GradientError where a gradient does not fit its parameter."""
        for group in self.param_groups:
            alike: dict[Any, list[Any]] = {}
            learning = [p for p in group["params"] if p.grad is not None and p.requires_grad]
            for p in learning:
                w, g = p.data, p.grad.data
                if g.shape != w.shape or g.dtype != w.dtype:
                    raise GradientError(
                        f"{self.name}: a gradient is {g.dtype} {g.shape}, its parameter {w.dtype} {w.shape}: they must agree: "
                        "call zero_grad() after changing a parameter's shape or dtype"
                    )
                state = self.state.get(p)
                if state is None:
                    kernels = backends.of([w], self.name)
                    state = self.state[p] = {slot: kernels.zeros(w.shape, w.dtype) for slot in self.slots_of(group)}
                for slot in self.slots_of(group):
                    value = state.get(slot)
                    if value is not None and (type(value) is not type(w) or value.dtype != w.dtype):
                        state[slot] = self._beside(p, value)  # the parameter has moved
                lr = group["lr"] * group["lr_mult"] * getattr(p, "lr_mult", 1.0)
                decay = group["weight_decay"] * group["decay_mult"] * getattr(p, "decay_mult", 1.0)
                alike.setdefault((lr, decay, w.dtype, p.device), []).append((w, g, state))
            for (lr, decay, *_), arrays in alike.items():
                self.update_all(arrays, lr, decay, group)
            for p in learning:
                p._changed()

    def slots_of(self, group: dict[str, Any]) -> tuple[str, ...]:
        return self.slots

    def _beside(self, p: Tensor, value: Any) -> Any:
        """A copy of an array of the state, of the parameter's device and dtype."""
        kernels = backends.of([p.data], self.name)
        mine = kernels.empty(p.shape, p.dtype)
        kernels.copy(backends.to_device(value, p.device), out=mine)
        return mine

    def state_dict(self) -> dict[str, Any]:
        """All that a checkpoint needs: {"groups": plain settings, "state": {number: {name: array or integer}}}.

        The arrays are NumPy arrays that share memory with the optimiser: write them or copy them before the next step.
        """
        groups, start = [], 0
        for group in self.param_groups:
            settings = {k: v for k, v in group.items() if k != "params"}
            groups.append({**settings, "params": list(range(start, start + len(group["params"])))})
            start += len(group["params"])
        state = {
            str(i): {k: v if is_integer(v) else backends.to_numpy(v) for k, v in self.state[p].items()}
            for i, p in enumerate(self.parameters())
            if p in self.state
        }
        return {"name": self.name, "groups": groups, "state": state}

    def load_state_dict(self, saved: Mapping[str, Any]) -> None:
        """Go on where `state_dict` was taken. Changes nothing, and raises CheckpointError, where it does not fit."""
        check(
            saved.get("name") == self.name,
            f"{self.name}: the saved state is of {saved.get('name')}: use that optimiser",
            CheckpointError,
        )
        sizes = [len(g["params"]) for g in self.param_groups]
        found = [len(g["params"]) for g in saved["groups"]]
        check(
            sizes == found,
            f"{self.name}: the groups have {sizes} parameters, the saved ones {found}: they must agree",
            CheckpointError,
        )
        states: dict[Tensor, dict[str, Any]] = {}
        parameters = self.parameters()
        for index, values in saved["state"].items():
            p = parameters[int(index)]
            states[p] = {}
            for slot, value in values.items():
                if is_integer(value):
                    states[p][slot] = int(value)
                    continue
                if value.shape != p.shape or value.dtype != p.dtype:
                    raise CheckpointError(
                        f"{self.name}: the saved {slot} of parameter {index} is {value.dtype} {value.shape}, the parameter "
                        f"{p.dtype} {p.shape}: the checkpoint belongs to another network"
                    )
                states[p][slot] = self._beside(p, value)
        for group, settings in zip(self.param_groups, saved["groups"]):
            group.update({k: tuple(v) if isinstance(v, list) else v for k, v in settings.items() if k != "params"})
        self.state = states

    def __repr__(self) -> str:
        lines = []
        for group in self.param_groups:
            settings = ", ".join(
                f"{k}={v}" for k, v in group.items() if k != "params" and (k in ("lr",) or v != self.defaults.get(k))
            )
            lines.append(f"{len(group['params'])} parameters: {settings}")
        return f"{self.name}({'; '.join(lines)})"


class SGD(Optimizer):
    """Gradient descent with momentum, as PyTorch has it: g' = g + weight_decay*w; v = momentum*v + g'; w -= lr*v.

    lr: at least 0.      momentum: 0 .. 1 (1 excluded).      weight_decay: at least 0; the L2 penalty's slope.
    nesterov: look ahead: w -= lr*(g' + momentum*v); needs a momentum.
    (In Caffe the learning rate is inside v; the two agree as long as it is constant.)
    Raises ArgumentError for a value out of its range.
    Source: Polyak 1964; Sutskever, Martens, Dahl and Hinton 2013, "On the importance of initialization and momentum".
    """

    def __init__(
        self, parameters: Iterable[Any], lr: float, momentum: float = 0, weight_decay: float = 0, nesterov: bool = False
    ) -> None:  # fmt: skip
        super().__init__(
            parameters, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay, "nesterov": nesterov}
        )

    def check_settings(self, where: str, settings: dict[str, Any]) -> None:
        momentum = settings["momentum"] = number(
            where, "momentum", settings["momentum"], "at least 0 and less than 1", 0, 1
        )
        settings["nesterov"] = bool(settings["nesterov"])
        if settings["nesterov"] and not momentum:
            raise ArgumentError(f"{where}: nesterov is True, momentum 0: nesterov needs a momentum, such as 0.9")

    def slots_of(self, group: dict[str, Any]) -> tuple[str, ...]:
        return ("v",) if group["momentum"] else ()

    def update_all(
        self, arrays: list[tuple[Any, Any, dict[str, Any]]], lr: float, weight_decay: float, group: dict[str, Any]
    ) -> None:
        w, g, states = zip(*arrays)
        kernels, momentum = backends.of(w[:1], self.name), group["momentum"]
        for values, state in zip(w, states):
            if momentum and "v" not in state:  # the momentum was set after the first step
                state["v"] = kernels.zeros(values.shape, values.dtype)
        v = [state["v"] for state in states] if momentum else None
        kernels.sgd_many(w, g, v, lr, momentum, weight_decay, group["nesterov"])


class Adam(Optimizer):
    """Steps scaled by running means m of the gradient and v of its square: w -= lr*m^ / (sqrt(v^) + eps).

    m = b1*m + (1 - b1)*g; v = b2*v + (1 - b2)*g*g; m^ = m/(1 - b1**t), v^ = v/(1 - b2**t), t = 1, 2, ...
    lr: at least 0.      betas: (b1, b2), each 0 .. 1 (1 excluded).      eps: more than 0.
    weight_decay: at least 0; here it is added to the gradient (L2); AdamW decays the weights themselves.
    Raises ArgumentError for a value out of its range.
    Source: Kingma and Ba 2015, arXiv:1412.6980.
    """

    slots = ("m", "v")
    decoupled = False

    def __init__(
        self, parameters: Iterable[Any], lr: float = 1e-3, betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-8,
        weight_decay: float = 0,
    ) -> None:  # fmt: skip
        super().__init__(parameters, {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay})

    def check_settings(self, where: str, settings: dict[str, Any]) -> None:
        betas = settings["betas"]
        pair = isinstance(betas, (tuple, list)) and len(betas) == 2
        check(pair, f"{where}: betas is {betas!r}: it must be two numbers, such as (0.9, 0.999)")
        rule = "two numbers of at least 0 and less than 1"
        settings["betas"] = tuple(number(where, "betas", b, rule, 0, 1) for b in betas)
        settings["eps"] = number(where, "eps", settings["eps"], "a number above 0", 0, open=True)

    def update_all(
        self, arrays: list[tuple[Any, Any, dict[str, Any]]], lr: float, weight_decay: float, group: dict[str, Any]
    ) -> None:
        (beta1, beta2), eps = group["betas"], group["eps"]
        alike: dict[int, list[Any]] = {}
        for w, g, state in arrays:
            step = state["step"] = state.get("step", 0) + 1
            alike.setdefault(step, []).append((w, g, state["m"], state["v"]))
        for step, some in alike.items():
            kernels = backends.of(some[0][:1], self.name)
            kernels.adam_many(*zip(*some), lr, beta1, beta2, eps, weight_decay, self.decoupled, step)


class AdamW(Adam):
    """Adam with decoupled weight decay: w -= lr*weight_decay*w before the step, whatever the gradient's scale.

    The arguments are Adam's; weight_decay is 0.01 unless given.
    Source: Loshchilov and Hutter 2019, arXiv:1711.05101.
    """

    decoupled = True

    def __init__(
        self, parameters: Iterable[Any], lr: float = 1e-3, betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-8,
        weight_decay: float = 0.01,
    ) -> None:  # fmt: skip
        super().__init__(parameters, lr, betas, eps, weight_decay)
