"""Firing rates of a layer, with its silent and its saturated neurons."""

from typing import NamedTuple

import torch
from torch import Tensor

from spikingtorch.layers.steplayer import StepLayer
from spikingtorch.plot.rates import Activity
from spikingtorch.watching.fires import fires


class Firing(NamedTuple):
    """The outputs of the neurons of one layer over all samples and steps.

    Attributes:
        name: of the layer in the network.
        kind: its class.
        fires: whether its outputs are spikes; a readout has other outputs.
        counts: number of steps of all samples at which each neuron's output was not zero, shape (*neurons,).
        at_steps: number of nonzero outputs at each step, over all samples, shape (T,).
        samples: number of samples that had each step, shape (T,); it drops after the end of a short sample.
    """

    name: str
    kind: str
    fires: bool
    counts: Tensor
    at_steps: Tensor
    samples: Tensor

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


class Counts:
    """The sum of the spikes of one layer's neurons.

    Args:
        name: of the layer.
        layer: the layer.
    """

    def __init__(self, name: str, layer: StepLayer) -> None:
        self._name, self._layer = name, layer
        self._counts: Tensor | None = None
        self._at_steps = self._samples = torch.zeros(0, dtype=torch.float64)

    def add(self, spikes: Tensor) -> None:
        """Add spikes (N, T, *neurons)."""
        fired = spikes != 0
        found = fired.sum((0, 1), dtype=torch.float64).cpu()
        if self._counts is not None and self._counts.shape != found.shape:
            shapes = f"{tuple(found.shape)}, and had {tuple(self._counts.shape)} before"
            raise ValueError(f"layer {self._name} has neurons of shape {shapes}; give batches of one shape")
        self._counts = found if self._counts is None else self._counts + found
        self._at_steps = _added(self._at_steps, fired.transpose(0, 1).flatten(1).sum(1, dtype=torch.float64).cpu())
        self._samples = _added(self._samples, torch.full((spikes.shape[1],), float(len(spikes)), dtype=torch.float64))

    def firing(self) -> Firing | None:
        """Return the counts; None if the layer did not run."""
        if self._counts is None:
            return None
        kind = type(self._layer).__name__
        return Firing(self._name, kind, fires(self._layer), self._counts, self._at_steps, self._samples)


def _added(one: Tensor, other: Tensor) -> Tensor:
    """Return the sum of two sequences of numbers; the shorter one is extended by zeros."""
    total = torch.zeros(max(len(one), len(other)), dtype=one.dtype)
    total[: len(one)] += one
    total[: len(other)] += other
    return total
