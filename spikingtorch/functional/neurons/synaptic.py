"""Leaky neurons behind a synapse: the input feeds a decaying current, or it is a conductance."""

from typing import NamedTuple

import torch
from torch import Tensor

from spikingtorch.functional.firing import fire
from spikingtorch.functional.reset import Reset, to_zero
from spikingtorch.functional.spike import Surrogate
from spikingtorch.functional.surrogate import Sigmoid


class CubaLIFState(NamedTuple):
    """State of ``cuba_lif_step``: v, the membrane after the reset, and i, the synaptic current."""

    v: Tensor
    i: Tensor


def cuba_lif_step(
    state: CubaLIFState,
    x: Tensor,
    *,
    decay_syn: Tensor | float,
    decay: Tensor | float,
    gain: Tensor | float = 1.0,
    threshold: Tensor | float = 1.0,
    surrogate: Surrogate = Sigmoid(beta=5.0),
    reset: Reset = to_zero,
) -> tuple[CubaLIFState, Tensor]:
    """Advance a current-based LIF neuron by one step: the input feeds a current, the current the membrane.

        i[t] = decay_syn i[t-1] + x[t]
        u[t] = decay v[t-1] + gain i[t]
        s[t] = H(u[t] - threshold)              H(0) = 1
        v[t] = reset(u[t], s[t], threshold)

    Args:
        state: v[t-1] and i[t-1], each of shape (*N,).
        x: input of this step, in units of the current, shape (*N,).
        decay_syn: share of the current kept over a step, in [0, 1], broadcastable to (*N,).
        decay: share of the membrane kept over a step, in [0, 1], broadcastable to (*N,).
        gain: membrane per unit of current, broadcastable to (*N,).
        threshold: membrane at which the neuron fires, broadcastable to (*N,).
        surrogate: spike function.
        reset: what a spike does to the membrane.

    Returns:
        The state v[t], i[t] and the spikes s[t], each of shape (*N,).

    Source: W. Gerstner, W. M. Kistler, R. Naud, L. Paninski, "Neuronal Dynamics", section 3.1 (2014),
    doi:10.1017/CBO9781107447615.
    """
    i = decay_syn * state.i + x
    u = decay * state.v + gain * i
    v, out, _, _ = fire(u, threshold, surrogate, reset)
    return CubaLIFState(v=v, i=i), out


class AlphaLIFState(NamedTuple):
    """State of ``alpha_lif_step``: v, the membrane after the reset, i, the current, and r, which i follows."""

    v: Tensor
    i: Tensor
    r: Tensor


def alpha_lif_step(
    state: AlphaLIFState,
    x: Tensor,
    *,
    decay_rise: Tensor | float,
    gain_rise: Tensor | float,
    decay_syn: Tensor | float,
    decay: Tensor | float,
    gain: Tensor | float = 1.0,
    threshold: Tensor | float = 1.0,
    surrogate: Surrogate = Sigmoid(beta=5.0),
    reset: Reset = to_zero,
) -> tuple[AlphaLIFState, Tensor]:
    """Advance a LIF neuron whose synaptic current rises with one time constant and decays with another.

        r[t] = decay_rise r[t-1] + gain_rise x[t]
        i[t] = decay_syn i[t-1] + r[t]
        u[t] = decay v[t-1] + gain i[t]
        s[t] = H(u[t] - threshold)              H(0) = 1
        v[t] = reset(u[t], s[t], threshold)

    A spike causes a current that is a difference of two exponentials. If both decays are equal, it is the alpha
    function n decay^n. ``decay_rise`` is the share of r kept over a step, in [0, 1], and ``gain_rise`` is r per unit of
    input. Both are broadcastable to (*N,). ``gain_rise = 1 - decay_rise`` keeps the charge of ``cuba_lif_step``. The
    other arguments are those of ``cuba_lif_step``.

    Returns:
        The state v[t], i[t], r[t] and the spikes s[t], each of shape (*N,).

    Source: W. Gerstner, W. M. Kistler, R. Naud, L. Paninski, "Neuronal Dynamics", section 3.1 (2014),
    doi:10.1017/CBO9781107447615.
    """
    r = decay_rise * state.r + gain_rise * x
    i = decay_syn * state.i + r
    u = decay * state.v + gain * i
    v, out, _, _ = fire(u, threshold, surrogate, reset)
    return AlphaLIFState(v=v, i=i, r=r), out


class BioLIFState(NamedTuple):
    """State of ``biolif_step``: v, the membrane after the reset."""

    v: Tensor


class BioLIFInput(NamedTuple):
    """Input of ``biolif_step``: the excitatory and the inhibitory conductance."""

    excitatory: Tensor
    inhibitory: Tensor


def biolif_step(
    state: BioLIFState,
    x: BioLIFInput | tuple[Tensor, Tensor],
    *,
    nudt: Tensor | float,
    threshold: Tensor | float = 0.5,
    surrogate: Surrogate = Sigmoid(beta=5.0),
    reset: Reset = to_zero,
) -> tuple[BioLIFState, Tensor]:
    """Advance a conductance-based LIF neuron with shunting inhibition by one step.

        nu[t] = 1 + xe[t] + xi[t]
        a[t]  = exp(-nudt nu[t])                no gradient flows through a
        u[t]  = a[t] v[t-1] + (xe[t] / nu[t]) (1 - a[t])
        s[t]  = H(u[t] - threshold)             H(0) = 1
        v[t]  = reset(u[t], s[t], threshold)

    Args:
        state: v[t-1], shape (*N,), in units of the excitatory reversal potential.
        x: the pair (xe, xi) of conductances in units of the leak, each of shape (*N,); nu must not be zero.
        nudt: leak rate times the length of a step, no unit, positive, broadcastable to (*N,).
        threshold: membrane at which the neuron fires, broadcastable to (*N,).
        surrogate: spike function.
        reset: what a spike does to the membrane.

    Returns:
        The state v[t] and the spikes s[t], each of shape (*N,).

    Source: BioLIF of spikingtorch 0.1.3; A. Yanguas-Gil, arXiv:2007.06176.
    """
    xe, xi = x
    nu = 1.0 + xe + xi
    a = torch.exp(-nudt * nu).detach()
    u = a * state.v + (xe / nu) * (1.0 - a)
    v, out, _, _ = fire(u, threshold, surrogate, reset)
    return BioLIFState(v=v), out
