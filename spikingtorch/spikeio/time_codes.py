"""Codes of time: the stronger an input, the earlier its spike; and spikes where a signal has changed."""

import math
import warnings
from numbers import Integral
from typing import Any, Literal, NamedTuple, get_args

import torch
from torch import Tensor

from spikingtorch import axes
from spikingtorch import validation as checks
from spikingtorch.functional import scan, zeros_state
from spikingtorch.functional.core.names import level_of_user
from spikingtorch.functional.core.precision import lifted_dtype
from spikingtorch.spikeio._checks import (
    Encoder,
    OverTime,
    check_batch,
    check_no_gradient,
    check_number,
    check_sequence,
    over_time,
    warn_above_one,
)

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
        warn_above_one("LatencyEncoder", self.scale, bounds, "inputs reach {:.3g}, and all above 1 spike at step 0")
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


class _Level(NamedTuple):
    """Reference level, in thresholds above the first value of the signal."""

    k: Tensor


class DeltaEncoder(OverTime):
    """Delta code (step forward): a spike when the signal has moved by a threshold since the last spike.

    A reference level starts at the first value of the signal and follows it by one threshold a spike:

        b[0]   = x[0]
        on[t]  = H(x[t] - b[t-1] - threshold)           H(0) = 1
        off[t] = H(b[t-1] - x[t] - threshold)
        b[t]   = b[t-1] + threshold (on[t] - off[t])

    There is no spike at step 0, and at most one at each later step. A signal that jumps by n thresholds and stays there
    spikes at n steps. ``x[0] + threshold * cumsum(on - off)`` gives the level b again. The level stays within a
    threshold of a signal that moves by at most one threshold per step. It is x[0] plus a whole number of thresholds, so
    it does not drift.

    The axis of the polarity comes after time, 0 for off and 1 for on, as in ``events_to_sequence``.
    These spikes have no gradient: a signal that requires one is an error. Half precision is computed in float32.

    Args:
        threshold: change that causes a spike, above 0. It holds for all channels: divide each channel by its scale
            first.
        batch_first: False for signals (T, N, ...) and spikes (T, N, 2, ...), time first.

    Raises:
        ValueError: the threshold is not above 0; the signal has no steps, holds NaN or infinite values, or requires a
            gradient.
        TypeError: the signal is not floating.

    Source: B. Petro, N. Kasabov and R. M. Kiss, IEEE Trans. Neural Netw. Learn. Syst. 31, 358 (2020),
    https://doi.org/10.1109/TNNLS.2019.2906158, where a change must be above the threshold, not at it.

    >>> signal = torch.tensor([0.0, 1.0, 1.5, 2.0, 0.5, 0.5])
    >>> off, on = DeltaEncoder(1.0)(signal.reshape(1, 6, 1)).unbind(2)
    >>> on.flatten()
    tensor([0., 1., 0., 1., 0., 0.])
    >>> off.flatten()
    tensor([0., 0., 0., 0., 1., 0.])
    """

    _shown = ("threshold={0.threshold:g}",)

    def __init__(self, threshold: float, *, batch_first: bool = True) -> None:
        super().__init__(batch_first)
        check_number("DeltaEncoder", "threshold", threshold, "divide each channel by its own", above=0.0)
        self.threshold = float(threshold)

    def forward(self, x: Tensor) -> Tensor:
        """Return spikes (N, T, 2, ...), off and on, 0 or 1 in the dtype of x, for a signal x (N, T, ...)."""
        sequence = check_sequence("DeltaEncoder", x, self.batch_first)
        checks.value_range("DeltaEncoder", "x", x)
        check_no_gradient("DeltaEncoder", x, "spikes of a delta code", "Encode x.detach()")
        signal = sequence.detach().to(lifted_dtype(x))
        first = signal[:, 0]

        def step(state: _Level, inputs: tuple[Tensor, Tensor]) -> tuple[_Level, tuple[Tensor, Tensor]]:
            now, origin = inputs
            moved = now - (origin + state.k * self.threshold)
            off, on = (moved <= -self.threshold).to(now.dtype), (moved >= self.threshold).to(now.dtype)
            return _Level(state.k + (on - off)), (off, on)

        inputs = (signal, first.unsqueeze(1).expand_as(signal))
        spikes = torch.stack(scan(step, zeros_state(_Level, first), inputs, dim=1)[1], 2)
        return axes.samples_first(spikes if spikes.dtype == x.dtype else spikes.to(x.dtype), self.batch_first)
