"""Firing rates of a layer, with its silent and its saturated neurons, and words for them."""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from spikingtorch.layers.steplayer import StepLayer
from spikingtorch.plot.rates import Activity
from spikingtorch.units import percent
from spikingtorch.watching.fires import fires

# the number of indices to name; shares of neurons below these are no reason to act; the rate of a busy layer
LISTED = 20
FEW, MANY = 0.05, 0.5
_FEW_SATURATED, _BUSY = 0.01, 0.5


class Firing(NamedTuple):
    """The outputs of the neurons of one layer over all samples and steps."""

    name: str  # of the layer in the network
    kind: str  # its class
    fires: bool  # whether its outputs are spikes; a readout has other outputs
    counts: Tensor  # number of steps of all samples at which each neuron's output was not zero, shape (*neurons,)
    at_steps: Tensor  # number of nonzero outputs at each step, over all samples, shape (T,)
    samples: Tensor  # number of samples that had each step, shape (T,); it drops after the end of a short sample

    @classmethod
    def of(cls, name: str, layer: StepLayer) -> "Firing":
        """Return the counts of a layer before its first step."""
        return cls(name, type(layer).__name__, fires(layer), *[torch.zeros(0, dtype=torch.float64)] * 3)

    def plus(self, spikes: Tensor) -> "Firing":
        """Return the counts plus spikes (N, T, *neurons)."""
        fired = spikes != 0
        found = fired.sum((0, 1), dtype=torch.float64).cpu()
        if self.steps and self.counts.shape != found.shape:
            shapes = f"{tuple(found.shape)}, and had {tuple(self.counts.shape)} before"
            raise ValueError(f"layer {self.name} has neurons of shape {shapes}; give batches of one shape")
        at_steps = fired.transpose(0, 1).flatten(1).sum(1, dtype=torch.float64).cpu()
        samples = torch.full((spikes.shape[1],), float(len(spikes)), dtype=torch.float64)
        return self._replace(
            counts=self.counts + found if self.steps else found,
            at_steps=_added(self.at_steps, at_steps),
            samples=_added(self.samples, samples),
        )

    @property
    def steps(self) -> int:
        """Number of steps of all samples."""
        return int(self.samples.sum())

    @property
    def neurons(self) -> int:
        """Number of neurons."""
        return self.counts.numel()

    @property
    def rates(self) -> Tensor:
        """Share of the steps at which each neuron fired, shape (*neurons,)."""
        return self.counts / self.steps

    @property
    def activity(self) -> Activity:
        """The same data, for pictures."""
        shares = (self.at_steps / (self.samples * self.neurons)).numpy()
        return Activity(self.rates.flatten().numpy(), shares, int(self.samples[0]))

    @property
    def silent(self) -> Tensor:
        """The neurons that never fired."""
        return self.counts == 0

    @property
    def saturated(self) -> Tensor:
        """The neurons that fired at every step."""
        return self.counts >= self.steps

    @property
    def many_silent(self) -> bool:
        """Whether so many neurons are silent that something is to be done."""
        # in an image, places without input may be silent, but a channel should not be
        channels = self.counts.ndim > 1 and not bool(self.silent.flatten(1).all(1).any())
        return share(self.silent) >= (MANY if channels else FEW)

    @property
    def many_saturated(self) -> bool:
        """Whether so many neurons are saturated that something is to be done."""
        return share(self.saturated) >= _FEW_SATURATED

    @property
    def is_busy(self) -> bool:
        """Whether the layer fires so much that it takes much energy."""
        return bool(self.rates.mean() > _BUSY) and not self.many_saturated

    @property
    def shares(self) -> str:
        """The shares of silent and saturated neurons, in words."""
        return f"{percent(share(self.silent))} silent, {percent(share(self.saturated))} saturated"


def _added(one: Tensor, other: Tensor) -> Tensor:
    """Return the sum of two sequences of numbers; the shorter one is extended by zeros."""
    return pad_sequence([one, other]).sum(1)


def share(chosen: Tensor) -> float:
    """Return the share of chosen neurons."""
    return float(chosen.double().mean())


def named(layer: str) -> str:
    """Return a layer's name for pictures: numbers of nn.Sequential get a word, because legends hide underscores.

    >>> named("0"), named("_hidden"), named("sl1")
    ('layer 0', 'layer _hidden', 'sl1')
    """
    return f"layer {layer}" if layer.isdecimal() or layer.startswith("_") else layer


def which(chosen: Tensor) -> str:
    """Return the number of chosen neurons, and their indices.

    >>> which(torch.tensor([True, False, True])), which(torch.arange(40) < 22)[-22:]
    ('2 of 3 neurons (0, 2)', '17, 18, 19 and 2 more)')
    >>> which(torch.tensor([[[True, True]], [[True, False]]]))
    '3 of 4 neurons, among them the whole of channel 0,'
    """
    head = f"{int(chosen.sum()):,} of {chosen.numel():,} neurons"
    if chosen.ndim <= 1:
        return f"{head} ({_listed(chosen.reshape(-1))})"
    channels = chosen.flatten(1).all(1)
    if not channels.any():
        return f"{head}, but no whole channel,"
    noun = "channel" if channels.sum() == 1 else "channels"
    return f"{head}, among them the whole of {noun} {_listed(channels)},"


def _listed(chosen: Tensor) -> str:
    indices = chosen.nonzero().flatten().tolist()
    shown = ", ".join(map(str, indices[:LISTED]))
    return shown if len(indices) <= LISTED else f"{shown} and {len(indices) - LISTED:,} more"
