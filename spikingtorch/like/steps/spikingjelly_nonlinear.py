"""Steps in the order of operations of SpikingJelly 2.0.0: neurons whose membrane grows by itself.

H(0) = 1, and s and v after the reset are those of ``steps.spikingjelly``. So are the parameters, except a0, the
curvature, and v_c, the membrane above which it grows by itself.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from spikingtorch.functional.firing import fire
from spikingtorch.functional.reset import Reset, to_zero
from spikingtorch.functional.spike import Surrogate
from spikingtorch.like.steps.spikingjelly import SIGMOID, NodeState, Value, fired


class AdaptiveNodeState(NamedTuple):
    """State of ``izhikevich_node_step``: v, the membrane after the reset, and w, the recovery."""

    v: Tensor
    w: Tensor


def qif_node_step(
    state: NodeState,
    x: Tensor,
    *,
    tau: Value,
    v_c: Value = 0.8,
    a0: Value = 1.0,
    v_rest: Value = 0.0,
    **firing: Any,
) -> tuple[NodeState, Tensor]:
    """Advance a QIFNode, a quadratic integrate-and-fire neuron, by one step.

    u[t] = v[t-1] + (x[t] + a0 (v[t-1] - v_rest) (v[t-1] - v_c)) / tau
    """
    return fired(state.v + (x + a0 * (state.v - v_rest) * (state.v - v_c)) / tau, **firing)


def eif_node_step(
    state: NodeState,
    x: Tensor,
    *,
    tau: Value,
    delta_T: Value = 1.0,
    theta_rh: Value = 0.8,
    v_rest: Value = 0.0,
    **firing: Any,
) -> tuple[NodeState, Tensor]:
    """Advance an EIFNode, an exponential integrate-and-fire neuron, by one step.

        u[t] = v[t-1] + (x[t] + v_rest - v[t-1] + delta_T exp((v[t-1] - theta_rh) / delta_T)) / tau

    Its own parameters:
        delta_T: sharpness of the exponential.
        theta_rh: membrane where it begins.
    """
    growth = delta_T * torch.exp((state.v - theta_rh) / delta_T)
    return fired(state.v + (x + v_rest - state.v + growth) / tau, **firing)


def izhikevich_node_step(
    state: AdaptiveNodeState,
    x: Tensor,
    *,
    tau: Value,
    tau_w: Value,
    a: Value,
    b: Value,
    v_c: Value = 0.8,
    a0: Value = 1.0,
    v_rest: Value = -0.1,
    threshold: Value = 1.0,
    surrogate: Surrogate = SIGMOID,
    reset: Reset = to_zero,
) -> tuple[AdaptiveNodeState, Tensor]:
    """Advance an IzhikevichNode, a quadratic neuron with a recovery, by one step.

        u[t] = v[t-1] + (x[t] + a0 (v[t-1] - v_rest) (v[t-1] - v_c) - w[t-1]) / tau
        w[t] = w[t-1] + (a (u[t] - v_rest) - w[t-1]) / tau_w + b s[t]

    Its own parameters:
        tau_w: time constant of the recovery in steps.
        a: recovery per unit of the membrane.
        b: recovery per spike.
    """
    u = state.v + (x + a0 * (state.v - v_rest) * (state.v - v_c) - state.w) / tau
    v, out, count, _ = fire(u, threshold, surrogate, reset)
    w = state.w + (a * (u - v_rest) - state.w) / tau_w + b * count
    return AdaptiveNodeState(v=v, w=w), out
