"""The leaky neuron with escape noise: it fires with a probability that grows with its membrane."""

from typing import NamedTuple, Protocol

from torch import Tensor

from spikingtorch.functional.firing import meets
from spikingtorch.functional.reset import Reset, to_zero
from spikingtorch.functional.surrogate import Sigmoid


class Escape(Protocol):
    """A surrogate whose primitive is a probability: Sigmoid, Arctan, Triangular, Gaussian, Erf and others."""

    def primitive(self, u: Tensor, /) -> Tensor:
        """Return the probability of a spike at u, the membrane minus the threshold."""
        ...


class StochasticLIFState(NamedTuple):
    """State of ``stochastic_lif_step``: v, the membrane after the reset."""

    v: Tensor


class StochasticInput(NamedTuple):
    """Input of ``stochastic_lif_step``: the current, and random numbers that are uniform in [0, 1)."""

    current: Tensor
    noise: Tensor


def stochastic_lif_step(
    state: StochasticLIFState,
    x: StochasticInput | tuple[Tensor, Tensor],
    *,
    decay: Tensor | float,
    gain: Tensor | float = 1.0,
    threshold: Tensor | float = 1.0,
    surrogate: Escape = Sigmoid(beta=5.0),
    reset: Reset = to_zero,
) -> tuple[StochasticLIFState, Tensor]:
    """Advance a LIF neuron with escape noise by one step.

        u[t] = decay v[t-1] + gain current[t]
        p[t] = phi(u[t] - threshold)
        s[t] = 1 where noise[t] < p[t], else 0
        v[t] = reset(u[t], s[t], threshold)

    A neuron fires with probability p. The gradient is the gradient of p, the mean of s given u.

    Args:
        state: v[t-1], shape (*N,).
        x: the pair of the input current and of random numbers that are uniform in [0, 1), each of shape (*N,).
        decay: share of the membrane kept over a step, in [0, 1], broadcastable to (*N,).
        gain: membrane per unit of current, broadcastable to (*N,).
        threshold: membrane around which the neuron fires, broadcastable to (*N,).
        surrogate: its primitive phi is the probability of a spike; Sigmoid(beta) has 1 / beta as its temperature.
        reset: what a spike does to the membrane.

    Returns:
        The state v[t] and the spikes s[t], each of shape (*N,).

    Source: W. Gerstner, W. M. Kistler, R. Naud, L. Paninski, "Neuronal Dynamics", section 9.1 (2014),
    doi:10.1017/CBO9781107447615.
    """
    current, noise = x
    u = decay * state.v + gain * current
    meets(u, threshold, surrogate)
    p = surrogate.primitive(u - threshold)
    s = (noise < p).to(u.dtype) + (p - p.detach())
    return StochasticLIFState(v=reset(u, s, threshold)), s
