"""Steps in the order of operations of snnTorch 1.0.0: neurons that feed back to themselves; see ``steps.snntorch``.

``weight`` is that of a neuron's own last spike, V of snnTorch.
"""

from typing import NamedTuple

from torch import Tensor

from spikingtorch.functional.spike import Surrogate
from spikingtorch.like.steps.snntorch import ATAN, LeakyState, Mechanism, Value, delayed_reset, reset_due


class RLeakyState(NamedTuple):
    """State of ``rleaky_step``: v, the membrane before the reset, and s, the output."""

    v: Tensor
    s: Tensor


class RSynapticState(NamedTuple):
    """State of ``rsynaptic_step``: v, the membrane before the reset, i, the current, and s, the output."""

    v: Tensor
    i: Tensor
    s: Tensor


def fed_leaky_step(
    state: LeakyState,
    x: Tensor,
    *,
    beta: Value,
    threshold: Value = 1.0,
    surrogate: Surrogate = ATAN,
    reset_mechanism: Mechanism = "subtract",
) -> tuple[LeakyState, Tensor]:
    """Advance an RLeaky neuron whose recurrent current is part of its input by one step.

        u = beta v[t-1] + x[t]
        subtract:  v[t] = u - r[t] threshold,    zero:  v[t] = u - r[t] u,    none:  v[t] = u

    It differs from ``leaky_step`` in the reset to zero, which takes the input off as well.
    """
    r = reset_due(state.v, threshold, surrogate)
    u = delayed_reset(beta * state.v + x, r, threshold, reset_mechanism)
    return LeakyState(v=u), surrogate(u - threshold)


def rleaky_step(
    state: RLeakyState,
    x: Tensor,
    *,
    beta: Value,
    weight: Value,
    threshold: Value = 1.0,
    surrogate: Surrogate = ATAN,
    reset_mechanism: Mechanism = "subtract",
) -> tuple[RLeakyState, Tensor]:
    """Advance an RLeaky neuron, which feeds back to itself, by one step.

    u = beta v[t-1] + x[t] + weight s[t-1]
    subtract:  v[t] = u - r[t] threshold,    zero:  v[t] = u - r[t] u,    none:  v[t] = u
    """
    r = reset_due(state.v, threshold, surrogate)
    u = delayed_reset(beta * state.v + x + state.s * weight, r, threshold, reset_mechanism)
    s = surrogate(u - threshold)
    return RLeakyState(v=u, s=s), s


def rsynaptic_step(
    state: RSynapticState,
    x: Tensor,
    *,
    alpha: Value,
    beta: Value,
    weight: Value,
    threshold: Value = 1.0,
    surrogate: Surrogate = ATAN,
    reset_mechanism: Mechanism = "subtract",
) -> tuple[RSynapticState, Tensor]:
    """Advance an RSynaptic neuron, which feeds back to its own current, by one step.

    i[t] = alpha i[t-1] + x[t] + weight s[t-1],  u = beta v[t-1] + i[t]
    subtract:  v[t] = u - r[t] threshold,    zero:  v[t] = u - r[t] u,    none:  v[t] = u
    """
    r = reset_due(state.v, threshold, surrogate)
    i = alpha * state.i + x + state.s * weight
    u = delayed_reset(beta * state.v + i, r, threshold, reset_mechanism)
    s = surrogate(u - threshold)
    return RSynapticState(v=u, i=i, s=s), s
