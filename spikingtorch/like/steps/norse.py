"""Steps in Norse 1.1.0's order of operations, with inverse time constants times the length of a step.

In all of them H(0) = 0, and the gradient flows through the reset unless ``passes`` is ``stopped``,

    leak = dt tau_mem_inv,  syn = -dt tau_syn_inv
    s[t] = H(u[t] - v_th),  v[t] = (1 - s[t]) u[t] + s[t] v_reset

    state, x                 the state at t-1 and the input of this step, each of shape (*N,)
    leak, syn, adapt, ada    inverse time constants times dt; that of the current with a minus
    v_leak                   membrane without input
    v_th, v_reset            membrane above which the neuron fires, and after a spike
    surrogate                spike function, with H(0) = 0
    passes                   what the reset sees of a spike: itself, or ``stopped``

Parameters are broadcastable to (*N,); ``**firing`` are those that ``fired`` takes besides. A step returns the state at
t and the spikes, each of shape (*N,). The IAFCell of Norse is ``if_step`` of ``spikingtorch.functional``.
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
    u: Tensor,
    v_th: Value = 1.0,
    v_reset: Value = 0.0,
    surrogate: Surrogate = SUPER,
    passes: Passes = as_it_is,
) -> tuple[Tensor, Tensor]:
    """Return v[t] and s[t] of a membrane u[t], each of shape (*N,)."""
    s = surrogate(u - v_th)
    return reset_value(passes(s), u, v_reset, v_th), s


def lif_cell_step(
    state: CurrentState, x: Tensor, *, leak: Value, syn: Value, v_leak: Value = 0.0, **firing: Any
) -> tuple[CurrentState, Tensor]:
    """Advance an LIFCell by one step.

    j = i[t-1] + x[t],  u[t] = v[t-1] + leak ((v_leak - v[t-1]) + j),  i[t] = j + syn j
    """
    j = state.i + x
    v, s = fired(state.v + leak * ((v_leak - state.v) + j), **firing)
    return CurrentState(v, j + syn * j), s


def held(state: Any, after: Any, fired: Tensor, rho_reset: Value, surrogate: Surrogate) -> tuple[Any, Tensor]:
    """Return state and spikes of a refractory neuron, from those of the neuron without rest.

        m = H(rho[t-1]),  v[t] = (1 - m) v' + m v[t-1],  s[t] = (1 - m) s'
        rho[t] = (1 - s[t]) relu(rho[t-1] - m) + s[t] rho_reset

    Args:
        state: v[t-1], rho[t-1] and the other fields, each of shape (*N,).
        after: v' and the other fields, after a step of the neuron without rest.
        fired: s', its spikes, shape (*N,).
        rho_reset: number of steps to rest after a spike.
        surrogate: spike function, with H(0) = 0; m has its derivative as well.

    Returns:
        The state at t and s[t], of shape (*N,).
    """
    m = surrogate(state.rho)
    s = (1 - m) * fired
    rho = (1 - s) * torch.relu(state.rho - m) + s * rho_reset
    return state._replace(**after._asdict() | {"v": (1 - m) * after.v + m * state.v, "rho": rho}), s


def lif_refrac_cell_step(
    state: RefractoryCellState, x: Tensor, *, rho_reset: Value = 5.0, surrogate: Surrogate = SUPER, **params: Any
) -> tuple[RefractoryCellState, Tensor]:
    """Advance an LIFRefracCell, whose membrane is held for some steps after a spike, by one step.

        v', i[t], s' as v, i, s of ``lif_cell_step``;  v[t], rho[t], s[t] = held(v', s')

    Its own parameters:
        rho_reset: number of steps to rest after a spike.
        surrogate: spike function, with H(0) = 0; that of ``held`` as well.
        **params: those of ``lif_cell_step``.
    """
    after, s = lif_cell_step(CurrentState(state.v, state.i), x, surrogate=surrogate, **params)
    return held(state, after, s, rho_reset, surrogate)


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
    """Advance an LIFBoxCell, a LIF neuron without a current, by one step.

        u[t] = v[t-1] + leak ((x[t] + v_leak) - v[t-1]),  v[t] = reset_method(s[t], u[t], v_reset, v_th)

    Its own parameters:
        reset_method: ``reset_value``, ``reset_subtract``, or a function like them.
    """
    u = state.v + leak * (x + v_leak - state.v)
    s = surrogate(u - v_th)
    return BoxState(v=reset_method(s, u, v_reset, v_th)), s


def li_cell_step(
    state: CurrentState, x: Tensor, *, leak: Value, syn: Value, v_leak: Value = 0.0
) -> tuple[CurrentState, Tensor]:
    """Advance an LICell, a readout that never spikes, by one step.

        j = i[t-1] + x[t],  v[t] = v[t-1] + leak ((v_leak - v[t-1]) + j),  i[t] = j + syn j

    Returns:
        The state at t and v[t], of shape (*N,).
    """
    j = state.i + x
    v = state.v + leak * ((v_leak - state.v) + j)
    return CurrentState(v=v, i=j + syn * j), v


def li_box_cell_step(state: BoxState, x: Tensor, *, leak: Value, v_leak: Value = 0.0) -> tuple[BoxState, Tensor]:
    """Advance an LIBoxCell, a readout without a current, by one step.

        v[t] = v[t-1] + leak ((v_leak - v[t-1]) + x[t])

    Returns:
        The state v[t] and v[t], each of shape (*N,).
    """
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
    """Advance an LSNNCell, a LIF neuron whose threshold rises with each spike, by one step.

        u[t] = v[t-1] + leak ((v_leak - v[t-1]) + i[t-1]),  i[t] = i[t-1] + syn i[t-1] + x[t]
        c = b[t-1] + adapt (v_th - b[t-1]),  s[t] = H(u[t] - c),  b[t] = c + s[t] beta

    Its own parameters:
        x: input of this step, which reaches the membrane in the next one.
        beta: rise of the threshold with a spike.
        v_th: threshold at rest.
    """
    u = state.v + leak * ((v_leak - state.v) + state.i)
    i = state.i + syn * state.i
    c = state.b + adapt * (v_th - state.b)
    s = surrogate(u - c)
    return LSNNState(v=reset_value(passes(s), u, v_reset, v_th), i=i + x, b=c + passes(s) * beta), s
