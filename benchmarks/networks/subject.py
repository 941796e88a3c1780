"""A network of some library, ready to be timed and to be looked at."""

import functools
from collections.abc import Callable

import torch
from torch import Tensor, nn

from benchmarks.case import BOTH, FORWARD, TRAINING, Case, Size
from benchmarks.networks import CHANNELS_LAST, batches
from benchmarks.networks.architectures import ARCHITECTURES, Synapses
from benchmarks.networks.peers import BUILDERS, Builder
from benchmarks.peer_neurons import Peer

LEARNING_RATE = 0.005


class Network:
    """A network with its weights, its inputs and its optimizer.

    Args:
        name: one of ``ARCHITECTURES``.
        size: T steps, B samples in a batch.
        build: makes the network around the synapses. Where a library's neurons multiply their input by a gain, the
            weights are divided by it.

    Attributes:
        peer: the network as a function from spikes to spikes, and what it says it computes.
    """

    def __init__(self, name: str, size: Size, build: Builder) -> None:
        architecture = ARCHITECTURES[name]
        synapses = architecture.synapses(size)
        self.peer = build(synapses, architecture.decay)
        self._size = size
        self._batches = batches(name, size.B)
        self._weights = list(nn.ModuleList(synapses).parameters())
        with torch.no_grad():
            for weight in self._weights:
                weight.div_(self.peer.gain)
        self._optimizer = torch.optim.Adam(self._weights, lr=LEARNING_RATE)
        # drawn at the first call: inference over a thousand steps needs but one batch
        self._batch = functools.cache(lambda k: self._lay_out(*architecture.draw(size, k)))

    def _lay_out(self, spikes: Tensor, classes: Tensor) -> tuple[Tensor, Tensor]:
        return spikes.movedim(0, self.peer.time).contiguous(), classes

    def forward(self) -> None:
        """Compute the spikes of a batch, without what a gradient would need."""
        with torch.no_grad():
            self.peer.run(self._batch(0)[0])

    def both(self) -> None:
        """Compute the spikes of a batch, and the gradient of the weights for the fixed cotangent."""
        torch.autograd.grad(self.peer.run(self._batch(0)[0]), self._weights, self._cotangent)

    @functools.cached_property
    def _cotangent(self) -> Tensor:
        with torch.no_grad():
            spikes = self.peer.run(self._batch(0)[0])
        return torch.randn(spikes.shape, generator=torch.Generator().manual_seed(0))

    def train(self) -> None:
        """Take a step of training on each of the batches: the loss is the cross entropy of the centred counts."""
        for k in range(self._batches):
            spikes, classes = self._batch(k)
            self._optimizer.zero_grad()
            counts = self.peer.run(spikes).sum(self.peer.time) - self._size.T / 2
            nn.functional.cross_entropy(counts, classes).backward()
            self._optimizer.step()

    def calls(self) -> dict[str, Callable[[], object]]:
        """Return what can be timed, by mode."""
        return {FORWARD: self.forward, BOTH: self.both, TRAINING: self.train}

    def spikes(self) -> Tensor:
        """Return the spikes of a batch, (T, B, outputs)."""
        with torch.no_grad():
            return self.peer.run(self._batch(0)[0]).movedim(self.peer.time, 0)

    def gradients(self, cotangent: Tensor) -> list[Tensor]:
        """Return the gradient of each weight for a cotangent (T, B, outputs) of the spikes."""
        spikes = self.peer.run(self._batch(0)[0]).movedim(self.peer.time, 0)
        return list(torch.autograd.grad(spikes, self._weights, cotangent))


def builder(implementation: str) -> Builder:
    """Return what builds the networks of an implementation."""
    if implementation.endswith(CHANNELS_LAST):
        return _channels_last(builder(implementation.removesuffix(CHANNELS_LAST)))
    if implementation in BUILDERS:
        return BUILDERS[implementation]
    from benchmarks.networks import ours

    return ours.network(implementation)


def _channels_last(build: Builder) -> Builder:
    def built(synapses: Synapses, decay: float) -> Peer:
        nn.ModuleList(synapses).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        return build(synapses, decay)

    return built


def network(case: Case) -> Network:
    """Return the network of a case."""
    return Network(case.model, case.size, builder(case.implementation))
