"""Spikes where a signal has changed, as from the pixels of an event camera."""

from typing import NamedTuple

import torch
from torch import Tensor

from spikingtorch import axes
from spikingtorch import validation as checks
from spikingtorch.functional import scan, zeros_state
from spikingtorch.functional.core.precision import lifted_dtype
from spikingtorch.spikeio._checks import OverTime, check_no_gradient, check_number, check_sequence


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
