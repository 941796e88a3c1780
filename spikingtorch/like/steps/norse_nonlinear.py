"""Steps in the order of operations of Norse 1.1.0: neurons whose membrane grows by itself; see ``steps.norse``."""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from spikingtorch.functional.spike import Surrogate
from spikingtorch.like.steps.norse import SUPER, CurrentState, Value, fired, reset_value, with_rest


class AdExCellState(NamedTuple):
    """State of ``lif_adex_cell_step``: v, the membrane, i, the current, and a, the adaptation."""

    v: Tensor
    i: Tensor
    a: Tensor


class RefractoryAdExCellState(NamedTuple):
    """State of ``lif_adex_refrac_cell_step``: v, i, a and rho, the number of steps that are left to rest."""

    v: Tensor
    i: Tensor
    a: Tensor
    rho: Tensor


class IzhikevichCellState(NamedTuple):
    """State of ``izhikevich_cell_step``: v, the membrane, and u, the recovery."""

    v: Tensor
    u: Tensor


class Curve(NamedTuple):
    """The parabola sq v^2 + mn v + bias of an IzhikevichCell."""

    sq: Value = 0.04
    mn: Value = 5.0
    bias: Value = 140.0


def lif_ex_cell_step(
    state: CurrentState,
    x: Tensor,
    *,
    leak: Value,
    syn: Value,
    delta_T: Value = 0.5,
    v_leak: Value = 0.0,
    v_th: Value = 1.0,
    **firing: Any,
) -> tuple[CurrentState, Tensor]:
    """Advance an ``LIFExCell`` by one step."""
    j = state.i + x
    growth = delta_T * torch.exp((state.v - v_th) / delta_T)
    v, s = fired(state.v + leak * ((v_leak - state.v) + growth + j), v_th, **firing)
    return CurrentState(v, j + syn * j), s


def lif_adex_cell_step(
    state: AdExCellState,
    x: Tensor,
    *,
    leak: Value,
    syn: Value,
    ada: Value,
    adaptation_current: Value = 4.0,
    adaptation_spike: Value = 0.02,
    delta_T: Value = 0.5,
    v_leak: Value = 0.0,
    v_th: Value = 1.0,
    **firing: Any,
) -> tuple[AdExCellState, Tensor]:
    """Advance an ``LIFAdExCell`` by one step."""
    j = state.i + x
    growth = delta_T * torch.exp((state.v - v_th) / delta_T)
    u = state.v + leak * ((v_leak - state.v) + growth + j - state.a)
    a = state.a + ada * (adaptation_current * (state.v - v_leak) - state.a)
    v, s = fired(u, v_th, **firing)
    return AdExCellState(v, j + syn * j, a + s * adaptation_spike), s


def lif_adex_refrac_cell_step(
    state: RefractoryAdExCellState, x: Tensor, *, rho_reset: Value = 5.0, surrogate: Surrogate = SUPER, **params: Any
) -> tuple[RefractoryAdExCellState, Tensor]:
    """Advance an ``LIFAdExRefracCell`` by one step; ``**params`` are those of ``lif_adex_cell_step``."""
    after, s = lif_adex_cell_step(AdExCellState(state.v, state.i, state.a), x, surrogate=surrogate, **params)
    return with_rest(state, after, s, rho_reset, surrogate)


def izhikevich_cell_step(
    state: IzhikevichCellState,
    x: Tensor,
    *,
    rate: Value,
    rate_u: Value,
    b: Value,
    c: Value,
    d: Value,
    curve: Curve = Curve(),  # noqa: B008
    v_th: Value = 30.0,
    surrogate: Surrogate = SUPER,
) -> tuple[IzhikevichCellState, Tensor]:
    """Advance an ``IzhikevichCell`` by one step."""
    v, u = state
    p = v + rate * (curve.sq * (v * v) + curve.mn * v + curve.bias - u + x)
    q = u + rate_u * (b * v - u)
    s = surrogate(p - v_th)
    return IzhikevichCellState(v=reset_value(s, p, c, v_th), u=(1 - s) * q + s * (q + d)), s
