"""The coarse LIF neuron, which is at rest for part of the step after a spike."""

from typing import NamedTuple, overload

from torch import Tensor

from spikingtorch.functional.firing import fire
from spikingtorch.functional.neurons.leaky import gain_from_tau
from spikingtorch.functional.reset import Reset, to_zero
from spikingtorch.functional.spike import Surrogate
from spikingtorch.functional.surrogate import Sigmoid


@overload
def refractory_gain_from_tau(tau: float) -> float: ...
@overload
def refractory_gain_from_tau(tau: Tensor) -> Tensor: ...
def refractory_gain_from_tau(tau: Tensor | float) -> Tensor | float:
    """Return ``c = tau (1 - b)`` with ``b = tau (1 - exp(-1 / tau))``, the gain in the step after a spike.

    Args:
        tau: membrane time constant, in steps, positive.

    >>> round(refractory_gain_from_tau(8.0), 4)
    0.4798
    """
    if isinstance(tau, Tensor):
        # b is close to 1: in float32 the difference keeps three digits at tau = 1000
        precise = tau.double()
        return (precise * (1.0 - gain_from_tau(precise))).to(tau.dtype)
    return tau * (1.0 - gain_from_tau(tau))


class CoarseLIFState(NamedTuple):
    """State of ``coarse_lif_step``: v, the membrane after the reset, and s, the last spike."""

    v: Tensor
    s: Tensor


def coarse_lif_step(
    state: CoarseLIFState,
    x: Tensor,
    *,
    decay: Tensor | float,
    gain: Tensor | float,
    refractory_gain: Tensor | float,
    threshold: Tensor | float = 1.0,
    surrogate: Surrogate = Sigmoid(beta=5.0),
    reset: Reset = to_zero,
) -> tuple[CoarseLIFState, Tensor]:
    """Advance a LIF neuron on a time step as coarse as its refractory time.

        u[t] = decay v[t-1] + ((1 - s[t-1]) gain + s[t-1] refractory_gain) x[t]
        s[t] = H(u[t] - threshold)              H(0) = 1
        v[t] = reset(u[t], s[t], threshold)

    A neuron that has just fired integrates only the rest of the step. So its gain is smaller: ``refractory_gain``,
    broadcastable to (*N,); see ``refractory_gain_from_tau``. The other arguments are those of ``lif_step``. The
    published model resets the membrane to zero.

    Returns:
        The state v[t], s[t] and the spikes s[t], each of shape (*N,).

    Source: A. Yanguas-Gil, "Coarse scale representation of spiking neural networks", arXiv:2007.06176.
    """
    u = decay * state.v + ((1.0 - state.s) * gain + state.s * refractory_gain) * x
    v, out, _, fired = fire(u, threshold, surrogate, reset)
    return CoarseLIFState(v=v, s=fired), out
