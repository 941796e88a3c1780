"""Other libraries' neurons over time, each in the fastest form that its documentation shows for a CPU.

Every import of a library stands inside its function: a worker loads only the one that it times.
"""

import math
from collections.abc import Callable, Container

import torch
from torch import Tensor

from benchmarks import recurrent_peers
from benchmarks.case import Size
from benchmarks.inputs import DECAY, THRESHOLD, draw, draw_weight
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
from benchmarks.subject import Subject, from_torch
from benchmarks.workloads import RECURRENT


def eager(decay: float = DECAY) -> Peer:
    """Return a plain loop over time in eager torch, without any library."""

    def run(xs: Tensor) -> Tensor:
        v = torch.zeros_like(xs[0])
        spikes = []
        for x in xs.unbind(0):
            u = v + x if decay == 1.0 else decay * v + x
            spike: Tensor = Spike.apply(u - THRESHOLD)  # type: ignore[no-untyped-call]
            v = (1.0 - spike) * u
            spikes.append(spike)
        return torch.stack(spikes)

    return Peer(run, logistic)


def spikingjelly(decay: float = DECAY) -> Peer:
    """Return ``LIFNode`` in multi-step mode, which runs a registered operator with a backward pass of its own."""
    from spikingjelly.activation_based import functional

    node = spikingjelly_node(decay)

    def run(xs: Tensor) -> Tensor:
        functional.reset_net(node)
        spikes: Tensor = node(xs)
        return spikes

    return Peer(run, logistic)


def snntorch(decay: float = DECAY) -> Peer:
    """Return ``Leaky`` that holds its own state, in a loop; 15 % faster than with the state handed through."""
    neuron = snntorch_neuron(decay)

    def run(xs: Tensor) -> Tensor:
        neuron.reset_mem()
        return torch.stack([neuron(x) for x in xs.unbind(0)])

    return snntorch_peer(run)


def norse(decay: float = DECAY) -> Peer:
    """Return ``LIFBoxCell`` in a loop over ``unbind``, which avoids the cost of ``Lift``'s indexing."""
    cell, start = norse_cell(decay)

    def run(xs: Tensor) -> Tensor:
        state = start
        spikes = []
        for x in xs.unbind(0):
            spike, state = cell(x, state)
            spikes.append(spike)
        return torch.stack(spikes)

    return norse_peer(run, decay)


def norse_lift() -> Peer:
    """Return ``Lift(LIFBoxCell)``, its multi-step form; its backward pass costs O(T^2)."""
    from norse.torch import Lift

    lifted = Lift(norse_cell(DECAY)[0])
    return norse_peer(lambda xs: lifted(xs)[0], DECAY)


def sinabs(decay: float = DECAY) -> Peer:
    """Return ``LIF``, batch first, with one spike a step and reset to zero; its backward pass costs O(T^2)."""
    from sinabs.activation import MembraneReset, SingleSpike
    from sinabs.layers import LIF

    layer = LIF(tau_mem=-1.0 / math.log(decay), spike_fn=SingleSpike, reset_fn=MembraneReset(), norm_input=False)
    # nobody else computes the gradient of a time constant here
    layer.requires_grad_(False)

    def run(xs: Tensor) -> Tensor:
        layer.reset_states()
        spikes: Tensor = layer(xs)
        return spikes

    return sinabs_peer(run)


PEERS: dict[str, Callable[[], Peer]] = {
    "eager loop": eager,
    "spikingjelly": spikingjelly,
    "snntorch": snntorch,
    "norse": norse,
    "norse, Lift": norse_lift,
    "sinabs": sinabs,
}


def neuron(name: str, model: str, size: Size) -> Subject:
    """Return the LIF neuron of a peer, by itself or recurrent."""
    return _subject(_peer(name, model, size), size)


def known(model: str) -> Container[str]:
    """Return the names of the peers that have a neuron."""
    return recurrent_peers.PEERS if model == RECURRENT else PEERS


def _peer(name: str, model: str, size: Size) -> Peer:
    if model == RECURRENT:
        return recurrent_peers.PEERS[name](torch.from_numpy(draw_weight(size.N)))
    return PEERS[name]()


def _subject(peer: Peer, size: Size) -> Subject:
    xs, cotangent = draw(size)
    weights = [] if peer.weight is None else [peer.weight]
    return from_torch(peer.run, xs, cotangent, time=peer.time, scale=1.0 / peer.gain, weights=weights)


def documented(peer: Peer, decay: float = DECAY) -> Callable[[Tensor], Tensor]:
    """Return a plain loop over time, time first, that computes what a peer's neuron documents."""

    def run(xs: Tensor) -> Tensor:
        v = spike = torch.zeros_like(xs[0])
        spikes = []
        for x in xs.unbind(0):
            current = x if peer.weight is None else x + spike @ peer.weight.T
            u = decay * v + peer.gain * current
            phi = peer.primitive(u - THRESHOLD)
            spike = (u >= THRESHOLD).to(u.dtype) + (phi - phi.detach())
            v = (1.0 - (spike.detach() if peer.detached else spike)) * u
            spikes.append(spike)
        return torch.stack(spikes)

    return run


def as_documented(name: str, model: str, size: Size) -> Subject:
    """Return a plain loop that computes what a peer documents, to check the peer against."""
    peer = _peer(name, model, size)
    return _subject(peer._replace(run=documented(peer), time=0), size)
