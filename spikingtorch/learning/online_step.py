"""One step of a network, from a state that requires gradients; what its layers saw in it; and how it is undone."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from threading import get_ident
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.func import functional_call

from spikingtorch import functional as F
from spikingtorch.fold.guard import modules_of
from spikingtorch.functional.core.surroundings import RandomNumbers
from spikingtorch.functional.core.tree import tree_map
from spikingtorch.functional.eligibility import Partials, partials
from spikingtorch.layers.base import Memory, StatefulLayer
from spikingtorch.layers.steplayer import StepLayer
from spikingtorch.layers.streams import _named
from spikingtorch.learning.online_synapses import Product, synapses_of
from spikingtorch.spikingnet import SpikingNet
from spikingtorch.spikingnet.contents import Contents
from spikingtorch.spikingnet.trail import Trail

Memories = dict[StatefulLayer, Any]
# a function of a layer and its output, whose result the layers above get, unless it is None
Outward = Callable[[StatefulLayer, Any], Any]
Advance = Callable[[Any, Any, bool | Tensor, Tensor | None], Any]
# the products of modules; None for a module that has not been called once, with gradients
Products = dict[Any, Product | None]
TWICE = (
    "learning.online: the network calls {} twice in a step, and both calls share one state. Make a layer for each place"
)
_HIDDEN = {
    name: f"learning.online: the network asks a {{}} for its .{name} within a step, and the gradient through it would "
    f"be lost. {remedy}, or train with back-propagation through time"
    for name, remedy in (
        ("v", "Make the layer with returns=('spikes', 'v')"),
        ("state", "Make the layer with returns=, which names fields of the state, or take rule='exact'"),
        ("s", "Make the layer recurrent"),
    )
} | {
    "detach_": "learning.online: the network calls detach_() of a {} within a step, and traces do not follow it. Start "
    "a new sequence there with init=True, or take rule='exact'"
}
# of a parameter, besides its value
_NOTED = ("requires_grad", "grad", "_backward_hooks", "_post_accumulate_grad_hooks")


class Tape(NamedTuple):
    """What one step of a network has computed."""

    state: dict[str, Tensor] | None  # the state before the step, leaves of the graph; None at the start of a sequence
    after: dict[str, Tensor]  # the state after the step, with its graph
    memories: Memories  # the same as the layers keep it
    out: Any  # the output of the network, with its graph
    inputs: dict[StatefulLayer, Any]  # the input of each layer with a state, in the order of the calls
    products: Products  # those of each ``nn.Linear`` and convolution


class Stepper:
    """Runs single steps of a network and leaves the network's own state alone."""

    def __init__(self, model: SpikingNet) -> None:
        self.net = model.net
        if inner := [name for name, each in self.net.named_modules() if isinstance(each, SpikingNet)]:
            raise ValueError(
                f"learning.online: {inner[0]} is a SpikingNet within a network, which runs over time by itself. Hand "
                f"its net over: {inner[0]}.net"
            )
        self.model = SpikingNet(model.net, mode="step", event_driven=model.event_driven, warn_silent=False)
        found = self.net.named_modules()
        # the layers with a state, by their paths in the network
        self.layers = {path: each for path, each in found if isinstance(each, StatefulLayer) and not each.memoryless}
        self._multiplying = [each for each in self.net.modules() if synapses_of(each)]

    def run(
        self,
        memories: Memories | None,
        x: Tensor,
        init: bool | Tensor,
        outward: Outward | None = None,
        trail: Trail | None = None,
    ) -> Tape:
        """Run one step from a state that requires gradients, or at rest without memories; ``trail`` takes checksums."""
        inputs: dict[StatefulLayer, Any] = {}

        def arrive(path: str, layer: Any, args: Any, kwargs: Any) -> None:
            if layer in inputs:
                raise ValueError(TWICE.format(f"layer {path}"))
            inputs[layer] = args[0] if args else kwargs["x"]

        def leave(layer: Any, _: Any, out: Any) -> Any:
            return None if outward is None else outward(layer, out)

        hooks: list[Any] = []
        for path, layer in self.layers.items():
            hooks.append(layer.register_forward_pre_hook(partial(arrive, path), with_kwargs=True))
            hooks.append(layer.register_forward_hook(leave))
        before = {layer: _leaves(each) for layer, each in (memories or {}).items() if each is not None}
        products: Products = dict.fromkeys(self._multiplying)
        try:
            # an output is no part of the state
            out, after = self.run_layers(before, x, init, None, products, {"s": _HIDDEN["s"]}, trail)
        finally:
            for hook in hooks:
                hook.remove()
        if trail is not None:
            trail.end(self.layers.values(), after, out)
        state = None if memories is None else self.named(before)
        return Tape(state, self.named(after), after, out, inputs, products)

    def run_layers(
        self,
        memories: Memories,
        x: Tensor,
        init: bool | Tensor,
        advance: Advance | None,
        products: Products,
        hides: dict[str, str] = _HIDDEN,
        trail: Trail | None = None,
    ) -> tuple[Any, Memories]:
        """Run one step; return the output and the memories, and put the products into ``products``.

        ``Frame`` describes ``advance``, None for the layers' own way, and ``hides``.
        """
        met, me = list[Any](), get_ident()

        def multiply(module: Any, args: Any, out: Any) -> None:
            if get_ident() == me:
                met.append(module)
                once = met.count(module) == 1 and torch.is_grad_enabled()
                products[module] = Product.of(module, args[0], out) if once else None

        # before the module's own hooks, which may return something else
        hooks = [module.register_forward_hook(multiply, prepend=True) for module in products]
        try:
            return self.model._advance_layers(x, init, memories, advance, hides, trail)
        finally:
            for hook in hooks:
                hook.remove()

    def named(self, memories: Memories) -> dict[str, Tensor]:
        """Return the tensors of memories by the names of ``model.get_state()``."""
        found: dict[str, Tensor] = {}
        for path, layer in self.layers.items():
            if (memory := memories.get(layer)) is not None:
                found |= dict(zip(*_named(path, (memory.state, {})), strict=True))
        return found


def _leaves(memory: Memory) -> Memory:
    """Return a memory whose state has no graph and requires gradients."""
    act = tree_map(torch.Tensor.detach, memory.act)
    return memory._replace(state=tree_map(leaf_of, memory.state), output=None, act=act, plain=False)


def leaf_of(value: Tensor) -> Tensor:
    """Return a value without its graph; a floating one requires a gradient if gradients are recorded."""
    leaf = value.detach()
    return leaf.requires_grad_(torch.is_grad_enabled()) if leaf.is_floating_point() else leaf


class Before(NamedTuple):
    """A network as it was before trial steps: the contents of its modules, and what puts it back."""

    contents: Contents
    put_back: Callable[[], None]


@contextmanager
def undone(model: SpikingNet, device: torch.device) -> Iterator[Before]:
    """Undo all that a block can change: what modules hold, values, gradients and hooks of tensors, random numbers.

    Monitors of the network count nothing meanwhile.
    """
    modules = modules_of(model.net)
    contents, numbers = Contents(modules, (model, ())), RandomNumbers.now(device)
    held: list[Any] = [table for module in modules for table in (module._parameters, module._buffers)]
    tensors = {each for table in held for each in table.values() if each is not None}
    noted = [(each, name, getattr(each, name, None)) for each in tensors if each.is_leaf for name in _NOTED]
    tables = [(table, {**table}) for table in (*held, *[there for *_, there in noted if isinstance(there, dict)])]
    tensors |= {there for *_, there in noted if isinstance(there, Tensor)}
    values = [(each, each.detach().clone()) for each in tensors]
    cells: list[Any] = [each._cell for each in modules if isinstance(each, StatefulLayer)]
    monitors = [cell.monitor for cell in cells]

    def put_back() -> None:
        contents.put_back([])
        for each, name, there in noted:
            if getattr(each, name, None) is not there:
                setattr(each, name, there)
        for table, entries in tables:
            table.clear()
            table.update(entries)
        with torch.no_grad():
            for each, value in values:
                if each.layout is not torch.strided or not torch.equal(each, value):
                    each.data.copy_(value)  # graphs that hold the tensor stay valid
        numbers.put_back()

    try:
        for cell in cells:
            cell.monitor = None
        yield Before(contents, put_back)
    finally:
        put_back()
        for cell, monitor in zip(cells, monitors, strict=True):
            cell.monitor = monitor


class Moment(NamedTuple):
    """The neurons of a layer before a step, as tensors without a graph."""

    layer: Any
    state: Any  # the state of its neurons; None for a layer that advances in its own way
    z: Tensor  # their input, recurrent currents included
    s: Tensor | None  # the spikes that come back to a recurrent layer; None for other layers
    init: bool | Tensor  # as the layer got it
    starts: bool  # whether all samples start a new sequence
    params: dict[str, Any] | None = None  # of the step, if they are known

    @classmethod
    def of(cls, layer: StepLayer, state: Any, z: Tensor, init: bool | Tensor, starts: bool) -> "Moment":
        """Return what the neurons of a layer see, from its whole state and input."""
        with torch.no_grad():
            z, state = F.lift(z.detach()), tree_map(torch.Tensor.detach, state)
            if layer.synapse is None:
                return cls(layer, state, z, None, init, starts)
            current = layer.synapse(state.s, F.lift(layer._recurrent_weight()))
            return cls(layer, state.neuron, z + current, state.s, init, starts)

    def step(self, state: Any, given: Tensor, own: dict[str, Tensor] | None = None) -> tuple[Any, tuple[()]]:
        """Advance the neurons without their recurrence; ``own`` parameters may also set the state at rest."""
        neurons = _Neurons(self.layer)
        if own is None:
            return neurons(state, given, False), ()
        init: bool | Tensor = True if self.starts else self.init
        return functional_call(neurons, {f"layer.{name}": each for name, each in own.items()}, (state, given, init)), ()

    def partials(self) -> Partials:
        """Return the derivatives of the next state by state and input."""
        return partials(self.step, self.state, self.z)

    def of_parameter(self, name: str, value: Tensor) -> tuple[Tensor, ...]:
        """Return the derivative of the next state of each neuron by its entry of a parameter."""

        def by_parameter(_: Any, entries: Tensor) -> tuple[Any, tuple[()]]:
            return self.step(self.state, self.z, own={name: entries})

        return partials(by_parameter, (), value.detach().expand_as(self.z)).of_input


class _Neurons(nn.Module):
    """The neurons of a layer as a function of their parameters, state and input."""

    def __init__(self, layer: StepLayer) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, state: Any, z: Tensor, init: bool | Tensor) -> Any:
        """Return the next state of the neurons."""
        step, params = self.layer.whole_step()
        rest = self.layer.initial_state(z) if init is not False else state
        if isinstance(step, F.Recurrent):
            step, params = step.step, {name: each for name, each in params.items() if name != "recurrent_weight"}
            rest = rest.neuron if init is not False else state
        if init is not False:
            state = rest if init is True else F.reset_where(init, state, rest)
        return step(state, z, **params)[0]
