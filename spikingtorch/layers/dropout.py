"""Dropout with one mask for a whole sequence."""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from spikingtorch.functional import lift
from spikingtorch.layers.steplayer import StepLayer


class MaskState(NamedTuple):
    """The factor of each neuron: 0, or 1 / (1 - p)."""

    mask: Tensor


def masked_step(state: MaskState, x: Tensor) -> tuple[MaskState, Tensor]:
    """Advance one step: y[t] = mask x[t]."""
    return state, state.mask * x


class SequenceDropout(StepLayer):
    """Dropout that drops the same neurons at all steps of a sequence.

        y[t] = mask x[t] / (1 - p),   mask ~ Bernoulli(1 - p), drawn for each sample and neuron where a sequence starts

    ``nn.Dropout`` draws a new mask at each step, and a neuron that sums over time averages these masks out. In
    evaluation it does nothing. For recurrent networks, see Y. Gal, Z. Ghahramani, NeurIPS 2016.

    Args:
        p: probability to drop a neuron, at least 0 and below 1.

    Raises:
        ValueError: p is not in [0, 1).

    >>> layer = SequenceDropout(0.5)
    >>> _ = torch.manual_seed(0)
    >>> first, second = layer(torch.ones(1, 4), init=True), layer(torch.ones(1, 4))
    >>> first.tolist(), torch.equal(first, second)
    ([[2.0, 0.0, 2.0, 2.0]], True)
    """

    def __init__(self, p: float = 0.5) -> None:
        if not 0.0 <= p < 1.0:
            raise ValueError(f"SequenceDropout: p={p!r}, expected a probability of at least 0 and below 1")
        super().__init__(masked_step, MaskState)
        self.p = float(p)

    def rest_state(self, x: Tensor) -> MaskState:
        """Return a mask for a sequence that starts; ones in evaluation."""
        kept = torch.full_like(lift(x), 1.0 - self.p if self.training else 1.0, requires_grad=False)
        return MaskState(kept.bernoulli() / kept)

    def _constants(self) -> dict[str, Any]:
        return {"p": self.p}

    def extra_repr(self) -> str:
        """Name the probability."""
        return f"p={self.p:g}"
