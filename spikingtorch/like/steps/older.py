"""The step of spikingtorch 0.1.3 that ``spikingtorch.functional`` has no equal of: SpikingDecay."""

from typing import NamedTuple

from torch import Tensor

from spikingtorch.functional.firing import fire
from spikingtorch.functional.reset import to_zero
from spikingtorch.functional.spike import Surrogate
from spikingtorch.functional.surrogate import Sigmoid


class DelayedDecayState(NamedTuple):
    """State of ``delayed_decay_step``: v, the membrane after the reset, and s, the last spike."""

    v: Tensor
    s: Tensor


def delayed_decay_step(
    state: DelayedDecayState,
    x: Tensor,
    *,
    decay: Tensor | float,
    threshold: Tensor | float = 1.0,
    surrogate: Surrogate = Sigmoid(beta=5.0),
) -> tuple[DelayedDecayState, Tensor]:
    """Advance SpikingDecay of spikingtorch 0.1.3, which gives out the spike of the step before.

        u[t] = decay v[t-1] + x[t],  s[t] = H(u[t] - threshold),  v[t] = (1 - s[t]) u[t],  out[t] = s[t-1]

    Args:
        state: v[t-1] and s[t-1], each of shape (*N,).
        x: input of this step, shape (*N,).
        decay: 1 / tau.
        threshold: membrane at which the neuron fires.
        surrogate: spike function, with H(0) = 1.

    Returns:
        The state at t and s[t-1], of shape (*N,).
    """
    u = decay * state.v + x
    v, _, _, s = fire(u, threshold, surrogate, to_zero)
    return DelayedDecayState(v=v, s=s), state.s
