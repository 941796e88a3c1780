"""DelayedRecurrence: recurrent weights whose spikes come back after a delay for each neuron that sends them."""

from typing import Any

import torch
from torch import Tensor, nn

from spikingtorch.functional import lift
from spikingtorch.layers.constants import WithConstants
from spikingtorch.layers.limits import Limits
from spikingtorch.validation import check_count, check_parameter, has_values


class DelayedRecurrence(WithConstants, nn.Linear):  # pyright: ignore[reportIncompatibleMethodOverride]
    """Recurrent weights from all neurons to all, ``recurrent=`` of a layer, with a learned delay for each sender.

        i[t] = W sum over k of spread[k] s[t-k],      k = 1 .. 1 + longest
        spread[k] = max(0, b - |k - 1 - delay|) / b^2,      b = 1 + width

    Spikes are delayed before the product, so that a step has one. Narrow the spread in training, down to width 0: a
    delay then shares a spike among the two steps beside it.

    Args:
        neurons: number of neurons of the layer, on its last axis.
        longest: the longest delay beyond the one step that recurrence takes; ``delay``, (neurons,), is kept within it.
        width: in steps, 0 or more; ``layer.recurrent.width = 2.0`` sets it later. ``state_dict`` has it.

    Source: "DelRec: learning delays in recurrent spiking neural networks", arXiv:2509.24852.

    >>> from spikingtorch import LIF, SpikingNet
    >>> layer = LIF(recurrent=DelayedRecurrence(5, longest=10, width=3.0))
    >>> SpikingNet(layer)(torch.rand(2, 50, 5)).shape
    torch.Size([2, 50, 5])
    """

    def __init__(self, neurons: int, longest: int, width: float = 0.0) -> None:
        super().__init__(neurons, neurons, bias=False)
        self.longest, self.width = check_count("DelayedRecurrence", "longest", longest), width
        self.delay = nn.Parameter(longest * torch.rand(neurons))
        self.spread()

    def spread(self) -> Tensor:
        """Return the share of a spike that arrives k = 1, 2, ... steps later, shape (1 + longest, neurons)."""
        check_parameter("DelayedRecurrence", "width", self.width, least=0.0)
        delay, reach = Limits(least=0.0, most=self.longest).within(lift(self.delay)), 1.0 + self.width
        later = torch.arange(self.longest + 1, dtype=delay.dtype, device=delay.device).unsqueeze(1)
        return (reach - (later - delay).abs()).relu() / reach**2

    def clamp_(self) -> None:
        """Clamp delays that an optimizer has moved out of their limits."""
        if has_values(self.delay):
            Limits(least=0.0, most=self.longest).clamp("DelayedRecurrence", "delay", self.delay)

    def round_(self) -> "DelayedRecurrence":
        """Round delays to whole steps, and set width to 0: a spike then acts once, with its whole weight."""
        with torch.no_grad():
            self.delay.round_()
        self.width = 0.0
        return self

    def _constants(self) -> dict[str, Any]:
        return {"longest": self.longest, "width": float(self.width)}
