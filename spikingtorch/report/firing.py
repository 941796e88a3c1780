"""How often the neurons of a layer fire, which of them never do, and which always."""

from typing import NamedTuple

import torch
from torch import Tensor

from spikingtorch.layers.steplayer import StepLayer
from spikingtorch.watching.fires import fires


class Firing(NamedTuple):
    """What the neurons of one layer gave out over all samples and steps.

    Attributes:
        name: of the layer in the network.
        kind: its class.
        fires: whether its outputs are spikes; those of a readout are not.
        counts: steps of all samples at which each neuron gave out something else than zero, shape (*neurons,).
        steps: how many steps of samples there were.
    """

    name: str
    kind: str
    fires: bool
    counts: Tensor
    steps: int

    @property
    def neurons(self) -> int:
        """Number of neurons."""
        return self.counts.numel()

    @property
    def rates(self) -> Tensor:
        """Share of the steps at which each neuron fired, shape (*neurons,)."""
        return self.counts / self.steps

    @property
    def silent(self) -> Tensor:
        """Which neurons never fired."""
        return self.counts == 0

    @property
    def saturated(self) -> Tensor:
        """Which neurons fired at every step."""
        return self.counts >= self.steps


class Counts:
    """The spikes of the neurons of one layer, added up.

    Args:
        name: of the layer.
        layer: the layer.
    """

    def __init__(self, name: str, layer: StepLayer) -> None:
        self._name, self._layer = name, layer
        self._counts: Tensor | None = None
        self.steps = 0

    def add(self, spikes: Tensor) -> None:
        """Add spikes (N, T, *neurons)."""
        found = (spikes != 0).sum((0, 1), dtype=torch.float64).cpu()
        if self._counts is not None and self._counts.shape != found.shape:
            shapes = f"{tuple(found.shape)}, and had {tuple(self._counts.shape)} before"
            raise ValueError(f"layer {self._name} has neurons of shape {shapes}; give batches of one shape")
        self._counts = found if self._counts is None else self._counts + found
        self.steps += spikes.shape[0] * spikes.shape[1]

    def firing(self) -> Firing:
        """Return what was counted."""
        assert self._counts is not None
        return Firing(self._name, type(self._layer).__name__, fires(self._layer), self._counts, self.steps)
