"""Leaky integrators: LIF, also by Euler's method, the older package's SpikingDecay, and a readout without spikes."""

import math
from typing import NamedTuple, overload

import torch
from torch import Tensor

from spikingtorch.functional.firing import fire
from spikingtorch.functional.reset import Reset, to_zero
from spikingtorch.functional.spike import Surrogate
from spikingtorch.functional.surrogate import Sigmoid


@overload
def decay_from_tau(tau: float) -> float: ...
@overload
def decay_from_tau(tau: Tensor) -> Tensor: ...
def decay_from_tau(tau: Tensor | float) -> Tensor | float:
    """Return ``a = exp(-1 / tau)``, the share of the membrane kept over one step.

    Args:
        tau: membrane time constant, in steps, positive.

    >>> round(decay_from_tau(8.0), 4)
    0.8825
    """
    # this gives the bits of -1 / tau, for which torch multiplies by -1.0 in another dtype
    return torch.exp(-torch.reciprocal(tau)) if isinstance(tau, Tensor) else math.exp(-1.0 / tau)


@overload
def gain_from_tau(tau: float) -> float: ...
@overload
def gain_from_tau(tau: Tensor) -> Tensor: ...
def gain_from_tau(tau: Tensor | float) -> Tensor | float:
    """Return ``b = tau (1 - exp(-1 / tau))``, the gain for a current that is constant during a step.

    Args:
        tau: membrane time constant, in steps, positive.

    >>> round(gain_from_tau(8.0), 4)
    0.94
    """
    # expm1: 1 - exp(-1 / tau) loses four of float32's seven digits at tau = 1000
    return -tau * torch.expm1(-torch.reciprocal(tau)) if isinstance(tau, Tensor) else -tau * math.expm1(-1.0 / tau)


class LIFState(NamedTuple):
    """State of ``lif_step``: v, the membrane after the reset."""

    v: Tensor


def lif_step(
    state: LIFState,
    x: Tensor,
    *,
    decay: Tensor | float,
    gain: Tensor | float = 1.0,
    threshold: Tensor | float = 1.0,
    surrogate: Surrogate = Sigmoid(beta=5.0),
    reset: Reset = to_zero,
) -> tuple[LIFState, Tensor]:
    """Advance a leaky integrate-and-fire neuron by one step.

        u[t] = decay v[t-1] + gain x[t]
        s[t] = H(u[t] - threshold)              H(0) = 1
        v[t] = reset(u[t], s[t], threshold)

    Args:
        state: v[t-1], shape (*N,).
        x: input current of this step, shape (*N,).
        decay: share of the membrane kept over a step, in [0, 1], broadcastable to (*N,); see ``decay_from_tau``.
        gain: membrane per unit of current, broadcastable to (*N,); see ``gain_from_tau``.
        threshold: membrane at which the neuron fires, broadcastable to (*N,).
        surrogate: spike function.
        reset: what a spike does to the membrane.

    Returns:
        The state v[t] and the spikes s[t], each of shape (*N,).

    Source: W. Gerstner, W. M. Kistler, R. Naud, L. Paninski, "Neuronal Dynamics", section 1.3 (2014),
    doi:10.1017/CBO9781107447615; gain and decay as in A. Yanguas-Gil, arXiv:2007.06176.

    >>> state = LIFState(v=torch.full((2,), 1.0))
    >>> lif_step(state, torch.tensor([0.25, 0.5]), decay=0.5)
    (LIFState(v=tensor([0.7500, 0.0000])), tensor([0., 1.]))
    """
    u = decay * state.v + gain * x
    v, out, _, _ = fire(u, threshold, surrogate, reset)
    return LIFState(v=v), out


class SpikingDecayState(NamedTuple):
    """State of ``spiking_decay_step``: v, the membrane after the reset."""

    v: Tensor


def spiking_decay_step(
    state: SpikingDecayState,
    x: Tensor,
    *,
    tau: Tensor | float,
    threshold: Tensor | float = 1.0,
    surrogate: Surrogate = Sigmoid(beta=5.0),
    reset: Reset = to_zero,
) -> tuple[SpikingDecayState, Tensor]:
    """Advance a neuron whose membrane is divided by tau at each step.

        u[t] = v[t-1] / tau + x[t]
        s[t] = H(u[t] - threshold)              H(0) = 1
        v[t] = reset(u[t], s[t], threshold)

    ``tau`` divides the membrane: no unit, positive, broadcastable to (*N,). Below 1, the membrane grows by itself. The
    input x is in units of the membrane, and the other arguments are those of ``lif_step``.

    Returns:
        The state v[t] and the spikes s[t], each of shape (*N,).

    Source: SpikingDecay of spikingtorch 0.1.3, which returned s[t-1].
    """
    u = state.v / tau + x
    v, out, _, _ = fire(u, threshold, surrogate, reset)
    return SpikingDecayState(v=v), out


class LIState(NamedTuple):
    """State of ``li_step``: v, the membrane."""

    v: Tensor


def li_step(state: LIState, x: Tensor, *, decay: Tensor | float, gain: Tensor | float = 1.0) -> tuple[LIState, Tensor]:
    """Advance a leaky integrator, a readout that never spikes, by one step.

        v[t] = decay v[t-1] + gain x[t]

    Args:
        state: v[t-1], shape (*N,).
        x: input current of this step, shape (*N,).
        decay: share of the membrane kept over a step, in [0, 1], broadcastable to (*N,); see ``decay_from_tau``.
        gain: membrane per unit of current, broadcastable to (*N,); see ``gain_from_tau``.

    Returns:
        The state v[t] and the output v[t], each of shape (*N,).

    >>> li_step(LIState(v=torch.ones(1)), torch.ones(1), decay=0.5)
    (LIState(v=tensor([1.5000])), tensor([1.5000]))
    """
    v = decay * state.v + gain * x
    return LIState(v=v), v


@overload
def leak_from_w(w: float) -> float: ...
@overload
def leak_from_w(w: Tensor) -> Tensor: ...
def leak_from_w(w: Tensor | float) -> Tensor | float:
    """Return ``k = 1 / (1 + exp(-w))``, a leak between 0 and 1 for an unbounded learnable w.

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

    ``leak`` is the length of a step divided by the membrane time constant, in [0, 1]. ``v_rest`` is the membrane
    without input. Both are broadcastable to (*N,). The input current x is in units of the membrane, and the other
    arguments are those of ``lif_step``.

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
