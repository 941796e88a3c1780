"""Time to the first spike: the stronger an input, the earlier its only spike."""

import math
import warnings
from typing import Literal, get_args

import torch
from torch import Tensor

from spikingtorch.functional.core.names import level_of_user
from spikingtorch.functional.core.precision import lifted_dtype
from spikingtorch.spikeio._checks import Encoder, check_batch, check_no_gradient, check_number, over_time

Code = Literal["linear", "logarithmic"]


class LatencyEncoder(Encoder):
    """Time-to-spike code (latency, time to first spike): one spike for each input, earlier for larger inputs.

    With i = ``scale x``, the spike comes at step

        k = round((T - 1) (1 - i) / (1 - threshold))            code="linear"
        k = round((T - 1) log(i) / log(threshold))              code="logarithmic"

    so an input of 1 spikes at step 0 and one at the threshold at step T - 1. An input at or above the threshold has
    exactly one spike, an input below it none. Halves round to the even step. In the logarithmic code a common factor,
    such as brighter light, moves all spikes by the same time, except for rounding to steps.

    An input above 1 spikes at step 0, with a warning. The step of a spike has no gradient, so an input that requires
    one is an error. Half precision is computed in float32. The threshold is rounded to the dtype of the computation.

    Args:
        nsteps: number of steps T.
        scale: factor of the input.
        code: "linear" or "logarithmic".
        threshold: smallest input that spikes, at least 0 (above 0 in the logarithmic code) and below 1. The default is
            0 in the linear code, where a black pixel spikes last, and 0.01 in the logarithmic code.
        batch_first: False for sequences (T, N, ...), time first.

    Raises:
        ValueError: nsteps, scale, code or threshold is not valid; x holds NaN or infinite values or requires a
            gradient.
        TypeError: x is not floating.

    Source of the logarithmic code: J. J. Hopfield, Nature 376, 33 (1995), https://doi.org/10.1038/376033a0.

    >>> LatencyEncoder(5)(torch.tensor([[1.0, 0.75, 0.0]]))[0].T
    tensor([[1., 0., 0., 0., 0.],
            [0., 1., 0., 0., 0.],
            [0., 0., 0., 0., 1.]])
    >>> LatencyEncoder(5, code="logarithmic", threshold=0.0625)(torch.tensor([[0.5, 0.25, 0.0]]))[0].T
    tensor([[0., 1., 0., 0., 0.],
            [0., 0., 1., 0., 0.],
            [0., 0., 0., 0., 0.]])
    """

    _shown = (*Encoder._shown, "code={0.code!r}", "threshold={0.threshold:g}")

    def __init__(
        self,
        nsteps: int,
        scale: float = 1.0,
        *,
        code: Code = "linear",
        threshold: float | None = None,
        batch_first: bool = True,
    ) -> None:
        super().__init__(nsteps, scale, batch_first)
        if code not in get_args(Code):
            raise ValueError(f"LatencyEncoder: code={code!r} is not one of 'linear', 'logarithmic'")
        if threshold is None:
            threshold = 0.0 if code == "linear" else 0.01
        self.code: Code = code
        self.threshold = check_threshold("LatencyEncoder", threshold, positive=code == "logarithmic")

    def encode(self, x: Tensor) -> Tensor:
        """Return spikes (N, T, ...), 0 or 1 in the dtype of x, for inputs x (N, ...)."""
        bounds = check_batch("LatencyEncoder", x)
        check_no_gradient("LatencyEncoder", x, "the times of spikes", "Encode x.detach()")
        highest = max(self.scale * bound for bound in bounds)
        if highest > 1.0 and not math.isclose(highest, 1.0, rel_tol=1e-3):
            warnings.warn(
                f"LatencyEncoder: inputs reach {highest:.3g}, and all above 1 spike at step 0. Divide the input by its "
                "maximum, or lower scale",
                stacklevel=level_of_user(),
            )
        return latency_spikes(self.scale * x.to(lifted_dtype(x)), self.nsteps, self.code, self.threshold).to(x.dtype)


def latency_spikes(i: Tensor, nsteps: int, code: Code, threshold: float) -> Tensor:
    """Return one spike, a bool, for each input (N, ...) at or above the threshold; see ``LatencyEncoder``."""
    clipped = i.clamp(threshold, 1.0)
    late = (1.0 - clipped) / (1.0 - threshold) if code == "linear" else torch.log(clipped) / math.log(threshold)
    k = torch.round((nsteps - 1) * late).unsqueeze(1)
    steps = torch.arange(nsteps, device=i.device).reshape(-1, *(1,) * (i.ndim - 1))
    return (steps == k) & over_time(i >= threshold, nsteps)


def check_threshold(owner: str, threshold: float, *, positive: bool = False) -> float:
    """Return a threshold in [0, 1), or in (0, 1), or raise."""
    least = 0.0 if positive else None
    check_number(owner, "threshold", threshold, "scale the input instead", above=least, least=0.0)
    if threshold >= 1.0:
        raise ValueError(f"{owner}: threshold={threshold!r}, expected a value below 1, the largest input")
    return float(threshold)
