"""A step of a network in which each layer keeps its derivatives, so that no graph of autograd goes through neurons.

Each layer hands a leaf of the graph on to the layers above. The gradient of a loss reaches the leaves of the last
layers first. Each layer, the last one first, turns it into the gradient of its input and of its state before the step:

    dL/dz = (ds/dz) dL/ds,     dL/dh = (ds/dh) dL/ds

A kernel of the step has computed both derivatives along with the step. What leads from the layers below to z is left to
autograd, but for an ``nn.Linear``.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from spikingtorch import functional as F
from spikingtorch.functional.core.compare import cached_step
from spikingtorch.functional.core.precision import lift, rounded
from spikingtorch.functional.core.tree import leaves_of, tree_map
from spikingtorch.functional.eligibility import Linearized, Partials, floating
from spikingtorch.layers.base import Memory, StatefulLayer
from spikingtorch.layers.checkpoint import region
from spikingtorch.layers.frame import frame_of
from spikingtorch.layers.steplayer import StepLayer
from spikingtorch.learning.online_gradients import pass_on
from spikingtorch.learning.online_moment import Moment
from spikingtorch.learning.online_step import TWICE, Memories, leaf_of


class Local(NamedTuple):
    """A layer in one step.

    Attributes:
        moment: what its neurons saw.
        z: its input, with the graph that leads to it.
        outs: the leaves that stand for its floating outputs.
        made: these outputs with their graph, if autograd differentiates the layer; else empty.
        before: the floating tensors of the neurons' state before the step, leaves of this graph.
        of_out: derivatives of the outputs by state and input, (1, N, ...), if the step has computed them.
        of_state: the same for the next state.
        version: of a tensor z as the layer got it.
    """

    moment: Moment
    z: Any
    outs: list[Tensor]
    made: list[Tensor]
    before: list[Tensor]
    of_out: Partials | None = None
    of_state: Partials | None = None
    version: int = 0

    def pull(self, grads: list[Tensor | None]) -> tuple[Tensor | None, list[Tensor] | None]:
        """Turn the gradients of the outputs into those of the input and of the state before the step.

        Returns:
            The gradient of the input, or None if autograd has passed it on already; and that of each floating tensor of
            the state, or None if there was no state.
        """
        given = [(at, grad) for at, grad in enumerate(grads) if grad is not None]
        if self.of_out is None:
            pairs = [(self.made[at], grad) for at, grad in given if self.made[at].requires_grad]
            pass_on(pairs)
            found = [(torch.zeros_like(leaf) if leaf.grad is None else leaf.grad) for leaf in self.before]
            for leaf in self.before:
                leaf.grad = None
            return None, found or None
        of_state, of_input, _ = self.of_out
        z = _summed([grad * of_input[at][0] for at, grad in given])
        if self.moment.starts:
            return z, None
        number = len(of_state[given[0][0]])
        return z, [_summed([grad * of_state[at][k][0] for at, grad in given]) for k in range(number)]


class LayerSteps:
    """Advances the layers of a network in one of its steps, and keeps what each of them did.

    Args:
        elementwise: the layers whose neurons are known to depend on themselves alone.
        rule: whose traces need to know what the neurons saw.
    """

    def __init__(self, elementwise: frozenset[StatefulLayer], rule: str) -> None:
        self.elementwise = elementwise
        self.of_states, self.traced = rule == "diagonal", rule != "last_step"

    def begin(self, before: Memories) -> None:
        """Begin a step from these memories."""
        self.before = before
        self.found: dict[StatefulLayer, Local] = {}

    def advance(self, layer: Any, inputs: Any, init: bool | Tensor, running: Tensor | None) -> Any:
        """Advance a layer by one step, in place of its own ``_advance_one``."""
        if region() is not None:
            raise ValueError(
                "learning.online: the network runs layers inside checkpoint, which runs them again in a backward pass "
                "that an online rule does not have. Leave checkpoint out"
            )
        if layer.memoryless:
            return layer._advance_one(inputs, init, running)
        if layer in self.found:
            raise ValueError(TWICE.format(f"a {type(layer).__name__}"))
        frame = frame_of(layer)
        assert frame is not None
        if init is not frame.init:
            raise ValueError(
                f"learning.online: the network hands a {type(layer).__name__} another init than the step got, and its "
                "traces do not follow it. Pass init on as it is, or take rule='exact'"
            )
        starts = init is True or frame.memories.get(layer) is None
        if not starts and frame.memories[layer] is not self.before.get(layer):
            raise ValueError(
                f"learning.online: the network sets the state of a {type(layer).__name__} within a step, and its "
                "traces do not follow it. Start a new sequence there, or take rule='exact'"
            )
        if layer in self.elementwise and not any([each.requires_grad for each in layer.parameters()]):
            return self._linearized(layer, inputs, init, starts)
        return self._recorded(layer, inputs, init, running, starts)

    def _linearized(self, layer: Any, x: Tensor, init: bool | Tensor, starts: bool) -> Any:
        """Advance a layer whose derivatives come with its step."""
        step, params = layer._returning()
        if any([isinstance(each, Tensor) and each.requires_grad for each in params.values()]):
            return self._recorded(layer, x, init, None, starts)  # trained, and yet no parameter of the layer
        with torch.no_grad():
            first = layer._check_inputs(x.detach())
            memory = layer._start(first, init)
            layer._starts(memory, params, first)
            linearized = cached_step(Linearized, step, self.of_states)
            xs = lift(first).unsqueeze(0)
            state, (out, of_out, of_state) = F.scan(linearized, memory.state, xs, params=params)
            out = tree_map(lambda leaf: leaf.squeeze(0), out)
            layer._remember(memory, state, layer._spikes(out), layer._spikes(out))
        handed = tree_map(leaf_of, rounded(out, first.dtype))
        moment = Moment(layer, memory.state, first, None, init, starts, params)
        self.found[layer] = Local(moment, x, leaves_of(handed), [], [], of_out, of_state, x._version)
        return handed

    def _recorded(self, layer: Any, inputs: Any, init: bool | Tensor, running: Tensor | None, starts: bool) -> Any:
        """Advance a layer that autograd differentiates, from a state that requires gradients."""
        first, frame = leaves_of(inputs)[0], frame_of(layer)
        moment, version = Moment(layer, None, first, None, init, starts), first._version
        assert frame is not None
        leaves: list[Tensor] = []
        if not starts:
            known: Memory = frame.memories[layer]
            state = tree_map(leaf_of, known.state)
            if getattr(layer, "synapse", None) is not None:
                state = state._replace(s=state.s.detach())  # the past through recurrent spikes is left out
            leaves = [leaf for leaf in floating(state)[0] if leaf.requires_grad]
            frame.memories[layer] = known._replace(state=state)
        if isinstance(layer, StepLayer) and not layer.runs_own_step:
            memory = frame.memories[layer] = layer._start(first, init)
            if self.traced:
                moment = Moment.of(layer, memory.state, first, init, starts)
            out = layer._advance_one(inputs, False, running)
        else:
            out = layer._advance_one(inputs, init, running)
        frame.memories[layer] = layer._cut(frame.memories[layer])
        handed = tree_map(leaf_of, out)
        self.found[layer] = Local(moment, inputs, floating(handed)[0], floating(out)[0], leaves, version=version)
        return handed


def _summed(parts: list[Tensor]) -> Tensor:
    return parts[0] if len(parts) == 1 else sum(parts[1:], parts[0])
