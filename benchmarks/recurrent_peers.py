"""Other libraries' recurrent LIF neurons over time, u[t] = decay v[t-1] + x[t] + W s[t-1].

Each library's own recurrent layer, in the fastest form that its documentation shows for a CPU; and where that is slower
than its plain neuron with a product of matrices written around it, that too. None has a bias, where it can be without.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from benchmarks.inputs import BETA, DECAY, THRESHOLD
from benchmarks.peer_neurons import (
    Peer,
    Spike,
    logistic,
    norse_cell,
    norse_peer,
    sinabs_peer,
    snntorch_neuron,
    snntorch_peer,
    spikingjelly_node,
)


def eager(weight: Tensor) -> Peer:
    """Return a plain loop over time in eager torch, without any library."""
    weight = weight.clone().requires_grad_()

    def run(xs: Tensor) -> Tensor:
        v = spike = torch.zeros_like(xs[0])
        spikes = []
        for x in xs.unbind(0):
            u = DECAY * v + x + linear(spike, weight)
            spike = Spike.apply(u - THRESHOLD)  # type: ignore[no-untyped-call]
            v = (1.0 - spike) * u
            spikes.append(spike)
        return torch.stack(spikes)

    return Peer(run, logistic, weight=weight)


def spikingjelly(weight: Tensor) -> Peer:
    """Return ``ElementWiseRecurrentContainer`` around ``LIFNode``, with a product in its function of y and x.

    ``LinearRecurrentContainer`` has weights for y and x side by side: with an identity for those of x it computes the
    same, and takes 15 % to 20 % longer.
    """
    from spikingjelly.activation_based import functional, layer

    weight = weight.clone().requires_grad_()
    container = layer.ElementWiseRecurrentContainer(
        spikingjelly_node(DECAY, step_mode="s"), lambda y, x: x + linear(y, weight), step_mode="m"
    )

    def run(xs: Tensor) -> Tensor:
        functional.reset_net(container)
        spikes: Tensor = container(xs)
        return spikes

    return Peer(run, logistic, weight=weight)


def snntorch(weight: Tensor) -> Peer:
    """Return ``RLeaky``, all to all, that holds its own state, in a loop.

    Without ``reset_delay=False``, a reset to zero would take the input of the next step with it. The gradient flows
    through this reset. A reset to zero computes the product twice.
    """
    import snntorch as snn
    from snntorch import surrogate

    neuron = snn.RLeaky(
        beta=DECAY,
        threshold=THRESHOLD,
        spike_grad=surrogate.fast_sigmoid(slope=BETA),
        reset_mechanism="zero",
        reset_delay=False,
        init_hidden=True,
        linear_features=len(weight),
    )
    neuron.recurrent = _linear(weight)

    def run(xs: Tensor) -> Tensor:
        neuron.reset_mem()
        return torch.stack([neuron(x) for x in xs.unbind(0)])

    return snntorch_peer(run)._replace(detached=False, weight=neuron.recurrent.weight)


def snntorch_leaky(weight: Tensor) -> Peer:
    """Return ``Leaky`` and a linear layer that brings its spikes back, in a loop."""
    neuron, recurrent = snntorch_neuron(DECAY), _linear(weight)

    def run(xs: Tensor) -> Tensor:
        neuron.reset_mem()
        spike = torch.zeros_like(xs[0])
        spikes = []
        for x in xs.unbind(0):
            spike = neuron(x + recurrent(spike))
            spikes.append(spike)
        return torch.stack(spikes)

    return snntorch_peer(run)._replace(weight=recurrent.weight)


def norse(weight: Tensor) -> Peer:
    """Return ``LIFRecurrentCell`` in a loop over ``unbind``, which takes half the time of ``LIFRecurrent``.

    Its synaptic current decays within one step, and the weights of its input, which it cannot be without, are an
    identity that asks for no gradient.
    """
    import norse.torch as norse

    gain = 1.0 - DECAY
    recurrent = (weight / gain).requires_grad_()
    # dt is 1 ms
    p = norse.LIFParameters(tau_syn_inv=torch.tensor(1.0 / 1e-3), tau_mem_inv=torch.tensor(gain / 1e-3))
    N = len(weight)
    cell = norse.LIFRecurrentCell(N, N, p=p, input_weights=torch.eye(N), recurrent_weights=recurrent, autapses=True)

    def run(xs: Tensor) -> Tensor:
        state = None
        spikes = []
        for x in xs.unbind(0):
            spike, state = cell(x, state)
            spikes.append(spike)
        return torch.stack(spikes)

    return norse_peer(run, DECAY)._replace(detached=True, weight=recurrent)


def norse_box(weight: Tensor) -> Peer:
    """Return ``LIFBoxCell``, which has no recurrent form, and a linear layer that brings its spikes back, in a loop."""
    cell, start = norse_cell(DECAY)
    peer = norse_peer(lambda xs: xs, DECAY)
    recurrent = _linear(weight / peer.gain)

    def run(xs: Tensor) -> Tensor:
        state, spike = start, torch.zeros_like(xs[0])
        spikes = []
        for x in xs.unbind(0):
            spike, state = cell(x + recurrent(spike), state)
            spikes.append(spike)
        return torch.stack(spikes)

    return peer._replace(run=run, weight=recurrent.weight)


def sinabs(weight: Tensor) -> Peer:
    """Return ``LIFRecurrent``, batch first, with one spike a step and reset to zero; its backward pass costs O(T^2)."""
    from sinabs.activation import MembraneReset, SingleSpike
    from sinabs.layers import LIFRecurrent

    recurrent = _linear(weight)
    layer = LIFRecurrent(
        tau_mem=-1.0 / math.log(DECAY),
        rec_connect=recurrent,
        spike_fn=SingleSpike,
        reset_fn=MembraneReset(),
        norm_input=False,
    )
    # nobody else computes the gradient of a time constant here
    layer.tau_mem.requires_grad_(False)

    def run(xs: Tensor) -> Tensor:
        layer.reset_states()
        spikes: Tensor = layer(xs)
        return spikes

    return sinabs_peer(run)._replace(weight=recurrent.weight)


def _linear(weight: Tensor) -> nn.Linear:
    made = nn.Linear(len(weight), len(weight), bias=False)
    with torch.no_grad():
        made.weight.copy_(weight)
    return made


PEERS: dict[str, Callable[[Tensor], Peer]] = {
    "eager loop": eager,
    "spikingjelly": spikingjelly,
    "snntorch": snntorch,
    "snntorch, Leaky": snntorch_leaky,
    "norse": norse,
    "norse, LIFBoxCell": norse_box,
    "sinabs": sinabs,
}
