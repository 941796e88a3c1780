"""The older spikingtorch, version 0.1.3, from its documented interface: a loop over steps, and layers with a state.

Its membrane v is that before the reset, and s the spike of the step before.
"""

from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.inputs import THRESHOLD
from benchmarks.networks.architectures import Synapses
from benchmarks.peer_neurons import Peer, Spike, logistic


class Neurons(nn.Module):
    """IF, and with a decay below one LIF(decay=decay)."""

    def __init__(self, decay: float) -> None:
        super().__init__()
        self.decay = decay

    def reset(self, x: Tensor) -> None:
        """Start from rest."""
        self.v = torch.zeros_like(x)
        self.s = torch.zeros_like(x)

    def forward(self, x: Tensor, init: bool = False) -> Tensor:
        """Advance one step."""
        if init:
            self.reset(x)
        kept = (1 - self.s) * self.v
        self.v = kept + x if self.decay == 1.0 else self.decay * kept + x
        self.s = Spike.apply(self.v - THRESHOLD)  # type: ignore[no-untyped-call]
        return self.s


class Net(nn.Module):
    """A network as its tutorial writes one: ``init`` goes to each layer of neurons."""

    def __init__(self, synapses: Synapses, neurons: Synapses) -> None:
        super().__init__()
        self.synapses = nn.ModuleList(synapses)
        self.neurons = nn.ModuleList(neurons)

    def forward(self, x: Tensor, init: Any) -> Tensor:
        """Advance one step, or whatever a folded ``init`` stands for."""
        for synapse, neurons in zip(self.synapses, self.neurons, strict=True):
            x = neurons(synapse(x), init)
        return x


def network(synapses: Synapses, decay: float) -> Peer:
    """Return what ``SpikingNet`` was: (N, T, ...) in, one call of the network a step, (N, T, ...) out."""
    net = Net(synapses, [Neurons(decay) for _ in synapses])

    def run(xs: Tensor) -> Tensor:
        return torch.stack([net(xs[:, t], t == 0) for t in range(xs.shape[1])], 1)

    return Peer(run, logistic, time=1)
