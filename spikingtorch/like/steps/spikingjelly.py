"""Steps in SpikingJelly 2.0.0's order of operations, which divides by time constants.

The classes of ``like.spikingjelly`` have the equations and the parameters. H(0) = 1, and the gradient flows through the
reset unless the rule is detached.

    state, x      the state at t-1 and the input current of this step, each of shape (*N,)
    tau           time constant of the membrane in steps, or its inverse where ``charge`` takes a rate
    charge        ``decayed_input`` or ``whole_input``, or these by a rate
    below         what is taken off the membrane before ``act``: 0, or the threshold
    scale         1, or k to reset in units before the scaling
    rate          inverse of the time constant of a current

Parameters are broadcastable to (*N,); ``**firing`` are threshold, surrogate and reset. A step returns the state at t
and its output, each of shape (*N,). SpikingJelly's IFNode is ``if_step``, its CUBALIFNode ``cuba_lif_step`` of
``spikingtorch.functional``.
"""

from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

import torch
from torch import Tensor

from spikingtorch.functional.core.compare import compared_by_type
from spikingtorch.functional.firing import fire
from spikingtorch.functional.reset import Reset, to_zero
from spikingtorch.functional.spike import Surrogate
from spikingtorch.functional.surrogate import Sigmoid

Value: TypeAlias = Tensor | float
Charge: TypeAlias = Callable[[Tensor, Tensor, Value, Value], Tensor]
SIGMOID: Surrogate = Sigmoid(beta=4.0)


class NodeState(NamedTuple):
    """State of a node with only a membrane: v, after the reset."""

    v: Tensor


def decayed_input(v: Tensor, x: Tensor, tau: Value, v_rest: Value) -> Tensor:
    """Return u = v + (x - (v - v_rest)) / tau."""
    return v + (x - (v - v_rest)) / tau


def whole_input(v: Tensor, x: Tensor, tau: Value, v_rest: Value) -> Tensor:
    """Return u = v - (v - v_rest) / tau + x."""
    return v - (v - v_rest) / tau + x


def decayed_input_by_rate(v: Tensor, x: Tensor, rate: Value, v_rest: Value) -> Tensor:
    """Return u = v + (x - (v - v_rest)) rate."""
    return v + (x - (v - v_rest)) * rate


def whole_input_by_rate(v: Tensor, x: Tensor, rate: Value, v_rest: Value) -> Tensor:
    """Return u = v - (v - v_rest) rate + x."""
    return v - (v - v_rest) * rate + x


def fired(
    u: Tensor, threshold: Value = 1.0, surrogate: Surrogate = SIGMOID, reset: Reset = to_zero
) -> tuple[NodeState, Tensor]:
    """Return the state v[t] and the spikes s[t] of a membrane u[t], each of shape (*N,)."""
    v, out, _, _ = fire(u, threshold, surrogate, reset)
    return NodeState(v=v), out


def lif_node_step(
    state: NodeState, x: Tensor, *, tau: Value, charge: Charge = decayed_input, v_rest: Value = 0.0, **firing: Any
) -> tuple[NodeState, Tensor]:
    """Advance a ``LIFNode``, or a ``ParametricLIFNode``, by one step."""
    return fired(charge(state.v, x, tau, v_rest), **firing)


def liaf_node_step(
    state: NodeState,
    x: Tensor,
    *,
    tau: Value,
    act: Callable[[Tensor], Tensor],
    below: Value = 0.0,
    charge: Charge = decayed_input,
    v_rest: Value = 0.0,
    **firing: Any,
) -> tuple[NodeState, Tensor]:
    """Advance a ``LIAFNode`` by one step; its spike resets the membrane, but is not an output."""
    u = charge(state.v, x, tau, v_rest)
    return fired(u, **firing)[0], act(u - below)


def klif_node_step(
    state: NodeState,
    x: Tensor,
    *,
    k: Value,
    tau: Value,
    scale: Value = 1.0,
    charge: Charge = decayed_input,
    v_rest: Value = 0.0,
    threshold: Value = 1.0,
    surrogate: Surrogate = SIGMOID,
    reset: Reset = to_zero,
) -> tuple[NodeState, Tensor]:
    """Advance a ``KLIFNode`` by one step."""
    u = torch.relu(k * charge(state.v, x, tau, v_rest))
    s = surrogate(u - threshold)
    return NodeState(v=reset(u / scale, s, threshold / scale)), s


class FilterState(NamedTuple):
    """State of ``synapse_filter_step``: i, the current."""

    i: Tensor


def synapse_filter_step(state: FilterState, x: Tensor, *, rate: Value) -> tuple[FilterState, Tensor]:
    """Advance a ``SynapseFilter`` by one step."""
    i = state.i - (1.0 - x) * state.i * rate + x
    return FilterState(i=i), i


class CombinedState(NamedTuple):
    """State of ``Combined``: the state of the neuron, and y, its output in the step before."""

    neuron: Any
    y: Tensor


@compared_by_type
class Combined(NamedTuple):
    """The step of an ElementWiseRecurrentContainer: y[t] = step(rule(y[t-1], x[t])).

    Args:
        step: the step, ``(state, x, **params) -> (state, y)``.
        rule: a function of y[t-1] and x[t].

    >>> from spikingtorch.functional import IFState, if_step
    >>> state = CombinedState(IFState(v=torch.zeros(1)), y=torch.ones(1))
    >>> Combined(if_step, torch.add)(state, torch.full((1,), 0.5))[1]
    tensor([1.])
    """

    step: Callable[..., tuple[Any, Tensor]]
    rule: Callable[[Tensor, Tensor], Tensor]

    def __call__(self, state: CombinedState, x: Tensor, **params: Any) -> tuple[CombinedState, Tensor]:
        """Advance one step."""
        neuron, out = self.step(state.neuron, self.rule(state.y, x), **params)
        return CombinedState(neuron, out), out


class AdaptiveNodeState(NamedTuple):
    """State of ``izhikevich_node_step``: v, the membrane after the reset, and w, the recovery."""

    v: Tensor
    w: Tensor


def qif_node_step(
    state: NodeState, x: Tensor, *, tau: Value, v_c: Value = 0.8, a0: Value = 1.0, v_rest: Value = 0.0, **firing: Any
) -> tuple[NodeState, Tensor]:
    """Advance a ``QIFNode`` by one step."""
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
    """Advance an ``EIFNode`` by one step."""
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
    """Advance an ``IzhikevichNode`` by one step."""
    u = state.v + (x + a0 * (state.v - v_rest) * (state.v - v_c) - state.w) / tau
    v, out, count, _ = fire(u, threshold, surrogate, reset)
    w = state.w + (a * (u - v_rest) - state.w) / tau_w + b * count
    return AdaptiveNodeState(v=v, w=w), out
