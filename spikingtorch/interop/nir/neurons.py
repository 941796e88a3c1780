"""The neurons of NIR as steps: affine maps of state and input, with numbers from ``discretise``."""

from typing import NamedTuple

from torch import Tensor

from spikingtorch import functional as F


class LeakyState(NamedTuple):
    """State of ``leaky_step`` and ``leaky_readout_step``: v, the membrane after the reset."""

    v: Tensor


def leaky_step(
    state: LeakyState,
    x: Tensor,
    *,
    decay: Tensor | float,
    gain: Tensor | float,
    offset: Tensor | float,
    threshold: Tensor | float,
    surrogate: F.Surrogate,
    reset: F.Reset,
) -> tuple[LeakyState, Tensor]:
    """Advance an IF or LIF neuron of NIR by one step.

        u[t] = decay v[t-1] + gain x[t] + offset
        s[t] = surrogate(u[t] - threshold),  v[t] = reset(u[t], s[t], threshold)

    State and input have the shape (*N,), to which the parameters broadcast: the share of the membrane kept over a step,
    the membrane per unit of input, and the contribution of the leak at each step. With ``F.Strict``, the neuron fires
    only above the threshold, as in NIR.
    """
    u = decay * state.v + gain * x + offset
    v, out, _, _ = F.fire(u, threshold, surrogate, reset)
    return LeakyState(v), out


def leaky_readout_step(
    state: LeakyState, x: Tensor, *, decay: Tensor | float, gain: Tensor | float, offset: Tensor | float
) -> tuple[LeakyState, Tensor]:
    """Advance an I or LI neuron of NIR by one step: ``leaky_step`` without a threshold, with the output v[t]."""
    v = decay * state.v + gain * x + offset
    return LeakyState(v), v


class CubaState(NamedTuple):
    """State of ``cuba_step`` and ``cuba_readout_step``: v, the membrane after the reset, and i, the current."""

    v: Tensor
    i: Tensor


def cuba_step(
    state: CubaState,
    x: Tensor,
    *,
    decay_syn: Tensor | float,
    gain_syn: Tensor | float,
    decay: Tensor | float,
    carry: Tensor | float,
    gain: Tensor | float,
    offset: Tensor | float,
    threshold: Tensor | float,
    surrogate: F.Surrogate,
    reset: F.Reset,
) -> tuple[CubaState, Tensor]:
    """Advance a CubaLIF neuron of NIR by one step.

        i[t] = decay_syn i[t-1] + gain_syn x[t],  u[t] = decay v[t-1] + carry i[t-1] + gain x[t] + offset
        s[t] = surrogate(u[t] - threshold),  v[t] = reset(u[t], s[t], threshold)

    ``decay_syn`` is the share of the current kept over a step. A unit of input adds ``gain_syn`` to the current, and a
    unit of the current before the step adds ``carry`` to the membrane. The other parameters are those of
    ``leaky_step``.
    """
    i = decay_syn * state.i + gain_syn * x
    u = decay * state.v + carry * state.i + gain * x + offset
    v, out, _, _ = F.fire(u, threshold, surrogate, reset)
    return CubaState(v, i), out


def cuba_readout_step(
    state: CubaState,
    x: Tensor,
    *,
    decay_syn: Tensor | float,
    gain_syn: Tensor | float,
    decay: Tensor | float,
    carry: Tensor | float,
    gain: Tensor | float,
    offset: Tensor | float,
) -> tuple[CubaState, Tensor]:
    """Advance a CubaLI neuron of NIR by one step: ``cuba_step`` without a threshold, with the output v[t]."""
    i = decay_syn * state.i + gain_syn * x
    v = decay * state.v + carry * state.i + gain * x + offset
    return CubaState(v, i), v
