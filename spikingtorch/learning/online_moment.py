"""What a layer saw and did in one step, and the derivatives of its outputs and of its next state.

A layer hands leaves of the graph on to the layers above. It turns the gradients of these leaves into those of its input
and of its state before the step:

    dL/dz = (ds/dz) dL/ds,     dL/dh = (ds/dh) dL/ds
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.func import functional_call

from spikingtorch import functional as F
from spikingtorch.functional.core.tree import tree_map
from spikingtorch.functional.eligibility import Partials, partials
from spikingtorch.layers.steplayer import StepLayer
from spikingtorch.learning.online_gradients import pass_on


class Moment(NamedTuple):
    """The neurons of a layer before a step, as tensors without a graph.

    Attributes:
        layer: the layer.
        state: the state of its neurons; None for a layer that advances in its own way.
        z: their input, recurrent currents included.
        s: the spikes that come back to a recurrent layer; None for other layers.
        init: as the layer got it.
        starts: whether all samples start a new sequence.
        params: of the step, if they are known.
    """

    layer: Any
    state: Any
    z: Tensor
    s: Tensor | None
    init: bool | Tensor
    starts: bool
    params: dict[str, Any] | None = None

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
        """Advance the neurons by one step, without their recurrence.

        Args:
            state: their state.
            given: their input.
            own: parameters instead of the layer's; they may also set the state at rest.
        """
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
        each = value.detach().expand_as(self.z)

        def by_parameter(_: Any, entries: Tensor) -> tuple[Any, tuple[()]]:
            return self.step(self.state, self.z, own={name: entries})

        return partials(by_parameter, (), each).of_input


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
        z = summed([grad * of_input[at][0] for at, grad in given])
        if self.moment.starts:
            return z, None
        number = len(of_state[given[0][0]])
        return z, [summed([grad * of_state[at][k][0] for at, grad in given]) for k in range(number)]


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


def summed(parts: list[Tensor]) -> Tensor:
    """Return the sum of some tensors."""
    return parts[0] if len(parts) == 1 else sum(parts[1:], parts[0])
