"""Steps in Norse 1.1.0's order of operations, with inverse time constants times the length of a step.

The classes of ``like.norse`` have the equations and the parameters; H(0) = 0.

    state, x                 the state at t-1 and the input of this step, each of shape (*N,)
    leak, syn, adapt, ada    inverse time constants times dt: dt tau_mem_inv, -dt tau_syn_inv, and those of adaptations
    passes                   what the reset sees of a spike: itself, or ``stopped``, which has no gradient
    rate, rate_u             tau_inv dt, and tau_inv dt a

Parameters are broadcastable to (*N,); ``**firing`` are those that ``fired`` takes besides. A step returns the state at
t and the spikes, or the membrane of a readout, each of shape (*N,). The IAFCell of Norse is ``if_step`` of
``spikingtorch.functional``.
"""

from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

import torch
from torch import Tensor

from spikingtorch.functional.firing import Strict
from spikingtorch.functional.spike import Surrogate
from spikingtorch.functional.surrogate import FastSigmoid

Value: TypeAlias = Tensor | float
Passes: TypeAlias = Callable[[Tensor], Tensor]
ResetMethod: TypeAlias = Callable[[Tensor, Tensor, Value, Value], Tensor]
SUPER: Surrogate = Strict(FastSigmoid(beta=1.0))


class BoxState(NamedTuple):
    """State of neurons with only a membrane: v."""

    v: Tensor


class CurrentState(NamedTuple):
    """State of neurons with a membrane v and a current i."""

    v: Tensor
    i: Tensor


class RefractoryCellState(NamedTuple):
    """State of ``lif_refrac_cell_step``: v, i and rho, the number of steps that are left to rest."""

    v: Tensor
    i: Tensor
    rho: Tensor


class LSNNState(NamedTuple):
    """State of ``lsnn_cell_step``: v, i and b, the threshold."""

    v: Tensor
    i: Tensor
    b: Tensor


def reset_value(z: Tensor, v: Tensor, reset: Value, th: Value) -> Tensor:  # noqa: ARG001
    """Return (1 - z) v + z reset: a spike sets the membrane to a value."""
    return (1 - z) * v + z * reset


def reset_subtract(z: Tensor, v: Tensor, reset: Value, th: Value) -> Tensor:  # noqa: ARG001
    """Return (1 - z) v + z (v - th): a spike subtracts the threshold."""
    return (1 - z) * v + z * (v - th)


def as_it_is(s: Tensor) -> Tensor:
    """Return a spike unchanged: its gradient flows through its effect on the neuron."""
    return s


def stopped(s: Tensor) -> Tensor:
    """Return a spike without its gradient."""
    return s.detach()


def fired(
    u: Tensor, v_th: Value = 1.0, v_reset: Value = 0.0, surrogate: Surrogate = SUPER, passes: Passes = as_it_is
) -> tuple[Tensor, Tensor]:
    """Return v[t] and s[t] of a membrane u[t], each of shape (*N,)."""
    s = surrogate(u - v_th)
    return reset_value(passes(s), u, v_reset, v_th), s


def lif_cell_step(
    state: CurrentState, x: Tensor, *, leak: Value, syn: Value, v_leak: Value = 0.0, **firing: Any
) -> tuple[CurrentState, Tensor]:
    """Advance an ``LIFCell`` by one step."""
    j = state.i + x
    v, s = fired(state.v + leak * ((v_leak - state.v) + j), **firing)
    return CurrentState(v, j + syn * j), s


def with_rest(state: Any, after: Any, fired: Tensor, rho_reset: Value, surrogate: Surrogate) -> tuple[Any, Tensor]:
    """Return state and spikes of a refractory neuron, from ``after`` and ``fired`` of the neuron without rest."""
    m = surrogate(state.rho)
    s = (1 - m) * fired
    rho = (1 - s) * torch.relu(state.rho - m) + s * rho_reset
    return state._replace(**after._asdict() | {"v": (1 - m) * after.v + m * state.v, "rho": rho}), s


def lif_refrac_cell_step(
    state: RefractoryCellState, x: Tensor, *, rho_reset: Value = 5.0, surrogate: Surrogate = SUPER, **params: Any
) -> tuple[RefractoryCellState, Tensor]:
    """Advance an ``LIFRefracCell`` by one step; ``**params`` are those of ``lif_cell_step``."""
    after, s = lif_cell_step(CurrentState(state.v, state.i), x, surrogate=surrogate, **params)
    return with_rest(state, after, s, rho_reset, surrogate)


def lif_box_cell_step(
    state: BoxState,
    x: Tensor,
    *,
    leak: Value,
    v_leak: Value = 0.0,
    v_th: Value = 1.0,
    v_reset: Value = 0.0,
    reset_method: ResetMethod = reset_value,
    surrogate: Surrogate = SUPER,
) -> tuple[BoxState, Tensor]:
    """Advance an ``LIFBoxCell`` by one step."""
    u = state.v + leak * (x + v_leak - state.v)
    s = surrogate(u - v_th)
    return BoxState(v=reset_method(s, u, v_reset, v_th)), s


def li_cell_step(
    state: CurrentState, x: Tensor, *, leak: Value, syn: Value, v_leak: Value = 0.0
) -> tuple[CurrentState, Tensor]:
    """Advance an ``LICell`` by one step."""
    j = state.i + x
    v = state.v + leak * ((v_leak - state.v) + j)
    return CurrentState(v=v, i=j + syn * j), v


def li_box_cell_step(state: BoxState, x: Tensor, *, leak: Value, v_leak: Value = 0.0) -> tuple[BoxState, Tensor]:
    """Advance an ``LIBoxCell`` by one step."""
    v = state.v + leak * ((v_leak - state.v) + x)
    return BoxState(v=v), v


def lsnn_cell_step(
    state: LSNNState,
    x: Tensor,
    *,
    leak: Value,
    syn: Value,
    adapt: Value,
    beta: Value = 1.8,
    v_leak: Value = 0.0,
    v_th: Value = 1.0,
    v_reset: Value = 0.0,
    surrogate: Surrogate = SUPER,
    passes: Passes = as_it_is,
) -> tuple[LSNNState, Tensor]:
    """Advance an ``LSNNCell`` by one step; x reaches the membrane in the next one."""
    u = state.v + leak * ((v_leak - state.v) + state.i)
    i = state.i + syn * state.i
    c = state.b + adapt * (v_th - state.b)
    s = surrogate(u - c)
    return LSNNState(v=reset_value(passes(s), u, v_reset, v_th), i=i + x, b=c + passes(s) * beta), s
