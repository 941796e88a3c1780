"""ClipFloor: a ReLU with the levels that a spiking neuron has."""

import math

import torch
from torch import Tensor, nn

from spikingtorch.layers.limits import FLOORED
from spikingtorch.validation import check_count, check_floating, check_parameter


class ClipFloor(nn.Module):
    """A ReLU with a clip at a threshold and L levels, in place of ``nn.ReLU`` while an ANN is trained.

        y = threshold clip(floor(x L / threshold + 1/2) / L, 0, 1)

    A neuron of ``to_spiking`` computes the same from a constant current x in L steps. So an ANN that is trained with it
    loses less accuracy in few steps. The gradient treats rounding as the identity (straight-through). For x it is the
    gradient of threshold clip(x / threshold, 0, 1), and for the threshold

        dy / d threshold = (y - x) / threshold  for 0 < x < threshold,   1  above,   0  below

    Args:
        levels: L, usually 4 to 16; the network may run for more or fewer steps afterwards.
        threshold: the initial largest output, positive; 2 is two standard deviations after batch norm.
        learnable: whether the threshold is trained. It stays above zero.

    Raises:
        ValueError: levels is not a count, or threshold is not positive or is more than one number.
        TypeError: the input is not floating.

    Source: T. Bu et al., ICLR 2022, arXiv:2303.04347.

    >>> ClipFloor(levels=4, threshold=1.0)(torch.tensor([-1.0, 0.1, 0.2, 0.5, 0.9, 2.0])).tolist()
    [0.0, 0.0, 0.25, 0.5, 1.0, 1.0]
    """

    threshold: Tensor

    def __init__(self, levels: int, threshold: float = 2.0, learnable: bool = True) -> None:
        super().__init__()
        self.levels = check_count("ClipFloor", "levels", levels)
        if isinstance(threshold, Tensor) and threshold.numel() != 1:
            raise ValueError(f"ClipFloor: threshold has shape {tuple(threshold.shape)}, expected one number")
        check_parameter("ClipFloor", "threshold", threshold, above=0.0)
        start = torch.tensor(float(threshold))
        if learnable:
            self.threshold = nn.Parameter(start)
        else:
            self.register_buffer("threshold", start)

    def forward(self, x: Tensor) -> Tensor:
        """Return y, of the shape of x."""
        check_floating("ClipFloor", "x", x)
        threshold = FLOORED.within(self.threshold)
        share = (x / threshold).clamp(0.0, 1.0)
        rounded = torch.floor(share * self.levels + 0.5) / self.levels
        return threshold * (share + (rounded - share).detach())

    @property
    def value(self) -> float:
        """The threshold as a number."""
        found = float(FLOORED.within(self.threshold.detach()))
        if not math.isfinite(found):
            raise ValueError(f"ClipFloor: threshold={found}. Look for a training that diverged")
        return found

    def extra_repr(self) -> str:
        """Name the levels and the threshold."""
        return f"levels={self.levels}, threshold={float(self.threshold.detach()):.3g}"
