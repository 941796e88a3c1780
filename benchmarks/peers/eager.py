"""Loops over time in eager torch: a plain one, and the older spikingtorch as documented; and a bound on all of them."""

from typing import Any

import torch
from torch import Tensor, nn

from benchmarks import convolutional
from benchmarks.networks import Stepped, Synapses, by_layer, chain
from benchmarks.peers import Library
from benchmarks.subject import Implementation, loop
from benchmarks.suite import BETA, DECAY, THRESHOLD


class _Spike(torch.autograd.Function):
    """The surrogate as most people write it."""

    @staticmethod
    def forward(ctx: Any, u: Tensor) -> Tensor:
        ctx.save_for_backward(u)
        return (u >= 0).to(u.dtype)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        (u,) = ctx.saved_tensors
        phi = torch.sigmoid(BETA * u)
        return gradients[0] * (BETA * phi * (1.0 - phi))


def spike_of(u: Tensor) -> Tensor:
    """Return H(u) with its surrogate gradient."""
    return _Spike.apply(u)  # type: ignore[no-untyped-call]


def neuron(decay: float, weight: Tensor | None = None) -> Implementation:
    """Return a LIF neuron, recurrent if it has weights."""
    said = Implementation(torch.relu, weight=None if weight is None else weight.clone().requires_grad_())
    return said._replace(run=loop(spike_of, decay, said))


class _OlderNeurons(nn.Module):
    """IF, and with a decay below one LIF; v is the membrane before the reset, s the spike of the step before."""

    def __init__(self, decay: float) -> None:
        super().__init__()
        self.decay = decay

    def forward(self, x: Tensor, init: bool = False) -> Tensor:
        if init:
            self.v, self.s = torch.zeros_like(x), torch.zeros_like(x)
        kept = (1 - self.s) * self.v
        self.v = kept + x if self.decay == 1.0 else self.decay * kept + x
        self.s = spike_of(self.v - THRESHOLD)
        return self.s


def older_network(synapses: Synapses, decay: float) -> Implementation:
    """Return the ``SpikingNet`` of version 0.1.3: (N, T, ...) in, one call of the network a step, (N, T, ...) out."""
    net = Stepped(synapses, [_OlderNeurons(decay) for _ in synapses])
    return Implementation(lambda xs: torch.stack([net(xs[:, t], t == 0) for t in range(xs.shape[1])], 1), time=1)


NETWORKS = {"eager loop": by_layer(neuron), "older spikingtorch": older_network}
NETWORKS["ReLU, no neurons"] = lambda synapses, _: Implementation(chain(synapses, [torch.relu] * len(synapses)))


def without_neurons(layers: convolutional.Layers) -> convolutional.Network:
    """Return the network with batch norm by layer, with ReLU in place of neurons."""
    return convolutional.Network(convolutional.by_layer(layers, [torch.relu] * len(layers.synapses)))


LIBRARY = Library(
    {"eager loop": neuron},
    {"eager loop": lambda weight: neuron(DECAY, weight)},
    NETWORKS,
    {"ReLU, no neurons": without_neurons},
)
