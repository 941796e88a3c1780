"""One number as the spike times of several neurons, each with a Gaussian receptive field."""

import warnings
from numbers import Integral
from typing import Any

import torch
from torch import Tensor

from spikingtorch import validation as checks
from spikingtorch.functional.core.names import level_of_user
from spikingtorch.functional.core.precision import lifted_dtype
from spikingtorch.spikeio._checks import Encoder, check_batch, check_no_gradient, check_number
from spikingtorch.spikeio.latency import check_threshold, latency_spikes


class PopulationEncoder(Encoder):
    """Population code: M neurons for each number; the closer it is to a neuron's centre, the earlier its spike.

    Neuron m = 1 .. M has a Gaussian receptive field over the range [low, high],

        g_m(x) = exp(-(x - c_m)^2 / (2 sigma^2))
        c_m    = low + (2 m - 3) / 2 * (high - low) / (M - 2)
        sigma  = (high - low) / (beta (M - 2))

    and spikes once, at step

        k = round((T - 1) (1 - g_m(x)) / (1 - threshold)),

    if g_m(x) is at least the threshold, and otherwise not at all. With 10 steps and a threshold of 0.1 these are the
    times of the source. They are 0 at a centre and 10 far from it; times above 9 are left out.

    The first and the last centre lie outside of the range by half the distance between two. A number outside of the
    range gives a warning, because it may excite no neuron. Spike times have no gradient: an input that requires one is
    an error; ``responses`` has one.

    Args:
        nsteps: number of steps T.
        neurons: number M of neurons for each number, 3 or more.
        low: lower end of the range.
        high: upper end of the range.
        beta: sharpness of the fields; the source uses values from 1 to 2.
        threshold: smallest response that spikes, at least 0 and below 1.
        batch_first: False for sequences (T, N, ..., M), time first.

    Raises:
        ValueError: an argument is not valid; x holds NaN or infinite values or requires a gradient.
        TypeError: x is not floating.

    Source: S. M. Bohte, J. N. Kok and H. La Poutre, Neurocomputing 48, 17 (2002),
    https://doi.org/10.1016/S0925-2312(01)00658-0.

    >>> encoder = PopulationEncoder(10, neurons=4)
    >>> encoder(torch.rand(32, 5)).shape  # 5 numbers, 4 neurons each
    torch.Size([32, 10, 5, 4])
    >>> encoder.centres
    tensor([-0.2500,  0.2500,  0.7500,  1.2500])
    """

    _shown = (
        *("nsteps={0.nsteps}", "neurons={0.neurons}", "low={0.low:g}", "high={0.high:g}"),
        *("beta={0.beta:g}", "threshold={0.threshold:g}"),
    )

    def __init__(
        self,
        nsteps: int,
        neurons: int,
        low: float = 0.0,
        high: float = 1.0,
        *,
        beta: float = 1.5,
        threshold: float = 0.1,
        batch_first: bool = True,
    ) -> None:
        super().__init__(nsteps, batch_first=batch_first)
        owner = "PopulationEncoder"
        given: Any = neurons
        if isinstance(given, bool) or not isinstance(given, Integral) or int(given) < 3:
            raise ValueError(f"{owner}: neurons={neurons!r}, expected a whole number of 3 or more for each input")
        for name, value in (("low", low), ("high", high), ("beta", beta)):
            least = 0.0 if name == "beta" else None
            check_number(owner, name, value, "scale the input instead", above=least)
        if not low < high:
            raise ValueError(f"{owner}: low={low!r} and high={high!r}, expected low below high, the range of the input")
        self.neurons, self.low, self.high, self.beta = int(neurons), float(low), float(high), float(beta)
        self.threshold = check_threshold(owner, threshold)

    @property
    def centres(self) -> Tensor:
        """Centres of the receptive fields, shape (M,)."""
        return self._centres(torch.get_default_dtype(), None)

    @property
    def sigma(self) -> float:
        """Width of the receptive fields."""
        return (self.high - self.low) / (self.beta * (self.neurons - 2))

    def responses(self, x: Tensor) -> Tensor:
        """Return g_m(x), shape (N, ..., M), for numbers x (N, ...); it has a gradient. Half precision gives float32."""
        check_batch("PopulationEncoder", x)
        lifted = x.to(lifted_dtype(x)).unsqueeze(-1)
        return torch.exp(-(((lifted - self._centres(lifted.dtype, x.device)) / self.sigma) ** 2) / 2.0)

    def encode(self, x: Tensor) -> Tensor:
        """Return spikes (N, T, ..., M), 0 or 1 in the dtype of x, for numbers x (N, ...)."""
        least, most = check_batch("PopulationEncoder", x)
        fix = "Encode x.detach(), or take encoder.responses(x), which has a gradient"
        check_no_gradient("PopulationEncoder", x, "the times of spikes", fix)
        if x.numel() > 0 and checks.has_values(x) and (least < self.low or most > self.high):
            warnings.warn(
                f"PopulationEncoder: inputs reach from {least:.3g} to {most:.3g}, outside of the range from "
                f"low={self.low:g} to high={self.high:g}, where few neurons respond. Widen the range, or clamp x",
                stacklevel=level_of_user(),
            )
        return latency_spikes(self.responses(x), self.nsteps, "linear", self.threshold).to(x.dtype)

    def _centres(self, dtype: torch.dtype, device: torch.device | None) -> Tensor:
        # in Python's double precision, because not every device has it
        spacing = (self.high - self.low) / (self.neurons - 2)
        centres = [self.low + (2 * m - 3) / 2 * spacing for m in range(1, self.neurons + 1)]
        return torch.tensor(centres, dtype=dtype, device=device)
