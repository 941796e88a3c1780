"""The chain of a network's layers, as one step shows it: each takes the output of the layer before it."""

import copy
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from spikingtorch.functional.core.tree import tree_map
from spikingtorch.layers.base import StatefulLayer
from spikingtorch.layers.frame import Frame
from spikingtorch.quantize.errors import IntegerError
from spikingtorch.quantize.inputs import leave_inputs
from spikingtorch.spikingnet import SpikingNet


class Call(NamedTuple):
    """One layer of the chain.

    Attributes:
        path: of the layer in the network.
        layer: the layer; a copy in evaluation.
        before, after: shapes of a sample of its input and its output.
    """

    path: str
    layer: nn.Module
    before: tuple[int, ...]
    after: tuple[int, ...]


def chain_of(model: SpikingNet, x: Tensor) -> list[Call]:
    """Return the layers of a network in the order of their calls.

    The network runs one step, as a copy. Its layers have to be a chain: two branches, a sum, or a function between two
    layers are refused, because nothing would tell the integers of it.

    Args:
        model: the network.
        x: an input (N, T, ...).

    Raises:
        IntegerError: the layers are no chain.
    """
    with torch.inference_mode(False), torch.no_grad():  # in inference mode nobody would see writes in place
        return _watched(_by_steps(model), x)


def _watched(whole: SpikingNet, x: Tensor) -> list[Call]:
    net, watch = whole.net, _Watch()
    # those of the user run between the first and the last one
    hooks: list[Any] = [net.register_forward_pre_hook(watch.start, with_kwargs=True, prepend=True)]
    hooks += watch.changes("", whole)
    for path, layer in _leaves("", net):
        hooks.append(layer.register_forward_pre_hook(partial(watch.arrive, path), with_kwargs=True))
        hooks += watch.changes(path, layer)
        hooks.append(layer.register_forward_hook(partial(watch.leave, path), with_kwargs=True))
    hooks.append(net.register_forward_hook(watch.end))
    around = Frame(whole._layers(), is_pure=True)
    around.advance = _at_rest

    def run() -> None:
        with around:
            whole(torch.zeros_like(x[:1, :1]))

    try:
        whole.alone(run)
    finally:
        for hook in hooks:
            hook.remove()
    if watch.problem is not None:
        raise watch.problem
    if not watch.calls:
        raise IntegerError("", "chain", "the network calls no layer")
    return watch.calls


def _at_rest(layer: Any, inputs: Any, *start: Any) -> Any:
    """Return outputs of the right form: of zeros, with which neurons whose overflow is an error do not raise."""
    return layer._advance_one(tree_map(torch.zeros_like, inputs), *start)


def _by_steps(model: SpikingNet) -> SpikingNet:
    """Return a copy of a network, in evaluation, which takes its input as it is and runs step by step."""
    whole = copy.deepcopy(model).eval()
    leave_inputs(whole)
    plain = {"statistics": "step", "hooks": "step", "recompute": False, "truncate": False, "time_chunk": None}
    for name, value in {**plain, "mode": "step", "batch_first": True, "warn_silent": False}.items():
        setattr(whole, name, value)
    return whole


def _leaves(path: str, module: nn.Module) -> list[tuple[str, nn.Module]]:
    """Return the layers that compute: those with a state, and modules without others inside."""
    parts = [(name, part) for name, part in module.named_children() if name != "parametrizations"]
    if isinstance(module, StatefulLayer) or not parts:
        return [(path, module)]
    return [leaf for name, part in parts for leaf in _leaves(f"{path}.{name}" if path else name, part)]


class _Seen:
    """Values of a moment, and their versions."""

    def keep(self, values: Any) -> None:
        self.values, self.versions = values, [getattr(value, "_version", 0) for value in values]

    def same(self, values: Any) -> bool:
        """Return whether values are those that were kept, and nobody has written on them."""
        versions = [getattr(value, "_version", 0) for value in values]
        return versions == self.versions and all(a is b for a, b in zip(values, self.values, strict=True))


class _Watch:
    """Follows the value that goes through a network."""

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self.problem: IntegerError | None = None
        self.value: Tensor | None = None
        self.version = 0
        self.from_where = "the input of the network"

    def changes(self, path: str, module: nn.Module) -> list[Any]:
        """Return hooks that look whether those between them change what a module takes or returns."""
        before, after = _Seen(), _Seen()

        def differs(seen: "_Seen", what: str, value: Any) -> None:
            if not seen.same(value):
                self._refuse(path, f"a forward hook changes its {what}, which integers do not know of; remove the hook")

        return [
            module.register_forward_pre_hook(lambda _, args: before.keep(args), prepend=True),
            module.register_forward_pre_hook(lambda _, args: differs(before, "input", args)),
            module.register_forward_hook(lambda _, __, out: after.keep((out,)), prepend=True),
            module.register_forward_hook(lambda _, __, out: differs(after, "output", (out,))),
        ]

    def start(self, _net: nn.Module, args: Any, kwargs: Any) -> None:
        if self.value is None:
            self._take(_first(args, kwargs))

    def arrive(self, path: str, layer: nn.Module, args: Any, kwargs: Any) -> None:
        given = _first(args, kwargs)
        if self.value is None and not self.calls:
            self._take(given)  # the network is this layer
        if any(call.layer is layer for call in self.calls):
            self._refuse(path, "it is called twice in a step; give each call a layer of its own")
        elif not self._is_value(given):
            self._refuse(path, f"its input is not {self.from_where}: {_ADVICE}")
        elif self._shape(given) != self._shape(self.value):
            flat = Call(f"{path}: flatten", nn.Flatten(), self._shape(self.value), self._shape(given))
            if len(flat.after) != 1:
                self._refuse(path, f"its input has another shape than {self.from_where}; use nn.Flatten")
            self.calls.append(flat)

    def leave(self, path: str, layer: nn.Module, args: Any, kwargs: Any, out: Any) -> None:
        given = _first(args, kwargs)
        if not isinstance(given, Tensor) or not isinstance(out, Tensor):
            self._refuse(path, f"it takes a {type(given).__name__} and returns a {type(out).__name__}, not one tensor")
            return
        if out.dtype != given.dtype:
            why = f"it takes {given.dtype} and returns {out.dtype}; call it without torch.autocast in forward"
            self.problem = self.problem or IntegerError(path, "dtype", why)
        self.calls.append(Call(path, layer, self._shape(given), self._shape(out)))
        self.from_where = f"the output of layer {path!r}"
        self._take(out)

    def end(self, _net: nn.Module, _args: Any, out: Any) -> None:
        if not self._is_value(out) or self._shape(out) != self._shape(self.value):
            self._refuse("", f"the output of the network is not {self.from_where}: {_ADVICE}")

    def _take(self, value: Any) -> None:
        self.value = value if isinstance(value, Tensor) else None
        self.version = 0 if self.value is None else self.value._version

    def _is_value(self, given: Any) -> bool:
        """Return whether a tensor is the value, unchanged, or a reshaped view of it."""
        last = self.value
        if not isinstance(given, Tensor) or last is None or given._version != self.version:
            return False
        if given is last:
            return True
        same = given.data_ptr() == last.data_ptr() and given.numel() == last.numel() and given.dtype == last.dtype
        return same and given.is_contiguous() and last.is_contiguous() and len(given) == len(last)

    def _refuse(self, path: str, message: str) -> None:
        self.problem = self.problem or IntegerError(path, "chain", message)

    @staticmethod
    def _shape(tensor: Any) -> tuple[int, ...]:
        return tuple(tensor.shape[1:])


_ADVICE = (
    "a branch, a sum, a skip connection or a function of torch is in between, and integers are written for a chain of "
    "layers alone; make it a chain, or convert its parts"
)


def _first(args: Any, kwargs: Any) -> Any:
    return args[0] if args else next(iter(kwargs.values()), None)
