"""Norse: cells that take and return a state, in a loop over ``unbind``, which avoids the cost of indexing."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import norse.torch as norse
import torch
from norse.torch.functional.iaf import IAFFeedForwardState
from norse.torch.functional.lif_refrac import LIFRefracParameters
from torch import Tensor, nn
from torch.nn.functional import linear

from benchmarks.networks import Synapses, by_layer
from benchmarks.peers import BesideLIF, Library
from benchmarks.subject import Implementation, Run
from benchmarks.suite import DECAY

NAME = "norse"
# dt is one millisecond: dv = dt tau_mem_inv (x - v)
INVERSE_TAU = torch.tensor((1.0 - DECAY) / 1e-3)


def cell(decay: float) -> tuple[Any, Any]:
    """Return the cheapest cell, without a synaptic current, and the state that it starts from."""
    if decay == 1.0:
        # left to itself, the cell makes a gradient for its resting potential, and so for all cells of the process
        return norse.IAFCell(), IAFFeedForwardState(v=torch.zeros(()))
    return norse.LIFBoxCell(norse.LIFBoxParameters(tau_mem_inv=INVERSE_TAU)), None


def implementation(run: Run, decay: float = DECAY, weight: Tensor | None = None) -> Implementation:
    """Return what computes with a cell; norse 1.1 ignores the slope of its surrogate, 1 / (1 + |u|)^2."""
    gain = 1.0 if decay == 1.0 else 1.0 - decay
    return Implementation(run, lambda u: u / (1.0 + u.abs()), gain=gain, weight=weight)


def over_time(step: Callable[[Tensor, Any], tuple[Tensor, Any]], start: Callable[[], Any]) -> Run:
    """Return the loop over steps that hands the state through."""

    def run(xs: Tensor) -> Tensor:
        state, spikes = start(), []
        for x in xs.unbind(0):
            spike, state = step(x, state)
            spikes.append(spike)
        return torch.stack(spikes)

    return run


def box(decay: float) -> Implementation:
    """Return ``LIFBoxCell`` or ``IAFCell``."""
    step, start = cell(decay)
    return implementation(over_time(step, lambda: start), decay)


def lifted(decay: float) -> Implementation:
    """Return ``Lift(LIFBoxCell)``, the multi-step form; its backward pass costs O(T^2)."""
    module = norse.Lift(cell(decay)[0])
    return implementation(lambda xs: module(xs)[0], decay)


def recurrent(weight: Tensor) -> Implementation:
    """Return ``LIFRecurrentCell``, whose synaptic current decays within a step, with an identity as input weights."""
    N, own = len(weight), (weight / (1.0 - DECAY)).requires_grad_()
    p = norse.LIFParameters(tau_syn_inv=torch.tensor(1.0 / 1e-3), tau_mem_inv=INVERSE_TAU)
    step = norse.LIFRecurrentCell(N, N, p=p, input_weights=torch.eye(N), recurrent_weights=own, autapses=True)
    return implementation(over_time(step, lambda: None), weight=own)._replace(detached=True)


def recurrent_box(weight: Tensor) -> Implementation:
    """Return ``LIFBoxCell``, which has no recurrent form, with a product of matrices around it."""
    own, inner = (weight / (1.0 - DECAY)).requires_grad_(), cell(DECAY)[0]

    def step(x: Tensor, state: tuple[Any, Tensor]) -> tuple[Tensor, tuple[Any, Tensor]]:
        spike, inside = inner(x + linear(state[1], own), state[0])
        return spike, (inside, spike)

    return implementation(over_time(step, lambda: (None, torch.zeros(len(own)))), weight=own)


def network_over_time(net: nn.Sequential) -> Run:
    """Return ``SequentialState`` in a loop over steps."""
    return over_time(norse.SequentialState(*net), lambda: None)


def stream(net: nn.Sequential) -> Run:
    """Return ``SequentialState`` that goes on from the step before, without its graph."""
    sequence, state = norse.SequentialState(*net), None

    def step(x: Tensor) -> Tensor:
        nonlocal state
        out: Tensor
        out, state = sequence(x, state)
        if torch.is_grad_enabled():
            state = [each and type(each)(*[tensor.detach() for tensor in each]) for each in state]
        return out

    return step


def network(synapses: Synapses, decay: float) -> Implementation:
    """Return ``SequentialState``, which takes and returns a list of states, in a loop over steps."""
    net = norse.SequentialState(*[module for synapse in synapses for module in (synapse, cell(decay)[0])])
    start = cell(decay)[1]
    # a list of its own for each run, because the network writes into it
    return implementation(over_time(net, lambda: [None, start] * len(synapses)), decay)


RECURRENT = {NAME: recurrent, f"{NAME}, LIFBoxCell": recurrent_box}
NETWORKS = {NAME: network, f"{NAME}, by layer": by_layer(box)}
BESIDE_LIF = BesideLIF(
    SimpleNamespace(**{"LIFRefracParameters": LIFRefracParameters, **vars(norse)}),
    lambda neuron: over_time(neuron, lambda: None),
)
LIBRARY = Library({NAME: box, f"{NAME}, Lift": lifted}, RECURRENT, NETWORKS, beside_lif=BESIDE_LIF)
