"""One step of a network with a state that requires gradients, and what each layer got in this step."""

from collections.abc import Callable
from functools import partial
from threading import get_ident
from typing import Any, NamedTuple

import torch
from torch import Tensor

from spikingtorch.functional.core.tree import tree_map
from spikingtorch.layers.base import Memory, StatefulLayer
from spikingtorch.layers.streams import _named
from spikingtorch.learning.online_gradients import Product
from spikingtorch.learning.online_synapses import synapses_of
from spikingtorch.learning.online_trial import Before
from spikingtorch.spikingnet import SpikingNet
from spikingtorch.spikingnet.trail import Trail

Memories = dict[StatefulLayer, Any]
# a function that a layer's output passes through on its way to the layers above
Outward = Callable[[StatefulLayer, Any], Any]
TWICE = (
    "learning.online: the network calls {} twice in a step, and both calls share one state. Make a layer for each place"
)
Advance = Callable[[Any, Any, bool | Tensor, Tensor | None], Any]
Products = dict[Any, Product | None]


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


class Tape(NamedTuple):
    """What one step of a network has computed.

    Attributes:
        state: the state before the step, leaves of the graph; None at the start of a sequence.
        after: the state after the step, with its graph.
        memories: the same as the layers keep it.
        out: the output of the network, with its graph.
        inputs: the input of each layer with a state, in the order of the calls.
        products: those of each ``nn.Linear`` and convolution; None for one that has been called twice.
    """

    state: dict[str, Tensor] | None
    after: dict[str, Tensor]
    memories: Memories
    out: Any
    inputs: dict[StatefulLayer, Any]
    products: Products


class Stepper:
    """Runs single steps of a network and leaves the network's own state alone.

    Args:
        model: the network.
    """

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
        self, memories: Memories | None, x: Tensor, init: bool | Tensor, outward: Outward, trail: Trail | None = None
    ) -> Tape:
        """Run one step from a state that requires gradients.

        Args:
            memories: the memories to start from; None at rest.
            x: input of one step, shape (N, ...).
            init: as in a call of the network.
            outward: a function of a layer and its output, whose result the layers above get, unless it is None.
            trail: takes checksums of the step.
        """
        inputs: dict[StatefulLayer, Any] = {}

        def arrive(path: str, layer: Any, args: Any, kwargs: Any) -> None:
            if layer in inputs:
                raise ValueError(TWICE.format(f"layer {path}"))
            inputs[layer] = args[0] if args else kwargs["x"]

        hooks: list[Any] = []
        handed: Any = outward
        for path, layer in self.layers.items():
            hooks.append(layer.register_forward_pre_hook(partial(arrive, path), with_kwargs=True))
            hooks.append(layer.register_forward_hook(lambda layer, _, out: handed(layer, out)))
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
        """Run one step; return the output and the memories.

        Args:
            memories: the memories to start from.
            x: input of one step, shape (N, ...).
            init: as in a call of the network.
            advance: see ``Frame.advance``; None for the layers' own way.
            products: takes the products of these modules; None for one that has not been called once, with gradients.
            hides: see ``Frame``.
            trail: takes checksums of the step.
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

    def rehearse(self, x: Tensor, outward: Outward, before: Before) -> Tape:
        """Run a step at rest, twice from the same network, which is left as it was.

        Raises:
            RuntimeError: the second one computes other numbers, or a step writes on a tensor that is no buffer.
        """

        def trial(trail: Trail) -> Tape:
            tape = self.run(None, x, True, outward, trail)
            before.put_back()
            if (found := before.contents.overwritten()) is not None:
                raise RuntimeError(
                    f"learning.online: a step writes on {found[0]}, a tensor of shape {tuple(found[1].shape)} that is "
                    f"no buffer, and trial steps changed it. Register it: self.register_buffer({found[0]!r}, tensor)"
                )
            return tape

        trails = Trail(), Trail()
        tape = [trial(trail) for trail in trails][1]
        trails[0].check(
            trails[1], self.net, "learning.online: it has run a step twice to find what leads to each layer"
        )
        return tape

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
