"""The leaky neuron by one step of Euler's method, as SpikingJelly writes it: the base of ParametricLIF."""

import math
from typing import NamedTuple, overload

import torch
from torch import Tensor

from spikingtorch.functional.firing import fire
from spikingtorch.functional.reset import Reset, to_zero
from spikingtorch.functional.spike import Surrogate
from spikingtorch.functional.surrogate import Sigmoid


@overload
def leak_from_w(w: float) -> float: ...
@overload
def leak_from_w(w: Tensor) -> Tensor: ...
def leak_from_w(w: Tensor | float) -> Tensor | float:
    """Return ``k = 1 / (1 + exp(-w))``, a leak between 0 and 1 for a w that may learn without limits.

    Args:
        w: any number; the time constant is 1 / k = 1 + exp(-w) steps.
    """
    if isinstance(w, Tensor):
        return torch.sigmoid(w)
    # the exponential of a number below zero, which cannot overflow
    small = math.exp(-abs(w))
    return 1.0 / (1.0 + small) if w >= 0.0 else small / (1.0 + small)


class EulerLIFState(NamedTuple):
    """State of ``euler_lif_step``: v, the membrane after the reset."""

    v: Tensor


def euler_lif_step(
    state: EulerLIFState,
    x: Tensor,
    *,
    leak: Tensor | float,
    v_rest: Tensor | float = 0.0,
    threshold: Tensor | float = 1.0,
    surrogate: Surrogate = Sigmoid(beta=5.0),
    reset: Reset = to_zero,
) -> tuple[EulerLIFState, Tensor]:
    """Advance a leaky integrate-and-fire neuron by one step of Euler's method.

        u[t] = v[t-1] + leak (x[t] - (v[t-1] - v_rest))
        s[t] = H(u[t] - threshold)              H(0) = 1
        v[t] = reset(u[t], s[t], threshold)

    Args:
        state: v[t-1], shape (*N,).
        x: input current of this step, in units of the membrane, shape (*N,).
        leak: length of a step over the membrane time constant, in [0, 1], broadcastable to (*N,).
        v_rest: membrane without input, broadcastable to (*N,).
        threshold: membrane at which the neuron fires, broadcastable to (*N,).
        surrogate: spike function.
        reset: what a spike does to the membrane.

    Returns:
        The state v[t] and the spikes s[t], each of shape (*N,).

    Source: W. Fang et al., "Incorporating learnable membrane time constant to enhance learning of spiking neural
    networks", ICCV 2021, doi:10.1109/ICCV48922.2021.00266.

    >>> euler_lif_step(EulerLIFState(v=torch.tensor([1.0, 1.0])), torch.tensor([0.5, 1.0]), leak=0.5)
    (EulerLIFState(v=tensor([0.7500, 0.0000])), tensor([0., 1.]))
    """
    u = state.v + leak * (x - (state.v - v_rest))
    v, out, _, _ = fire(u, threshold, surrogate, reset)
    return EulerLIFState(v=v), out
