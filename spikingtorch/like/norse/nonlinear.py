"""LIFExCell, LIFAdExCell and IzhikevichCell, whose membrane grows by itself; their arguments are as in LIFCell."""

from collections.abc import Mapping
from typing import Any, ClassVar, Unpack

from spikingtorch.like.norse.cell import Cell, cell_params
from spikingtorch.like.norse.parameters import (
    IzhikevichSpikingBehavior,
    LIFAdExParameters,
    LIFAdExRefracParameters,
    LIFExParameters,
)
from spikingtorch.like.options import Common
from spikingtorch.like.steps import norse as linear
from spikingtorch.like.steps import norse_nonlinear as steps


class LIFExCell(Cell[LIFExParameters]):
    """Apply Norse's LIFExCell, an exponential integrate-and-fire neuron, to an input, one step of time a call.

    For each entry of the input, as in LIFCell with

        u[t] = v[t-1] + dt tau_mem_inv ((v_leak - v[t-1]) + delta_T exp((v[t-1] - v_th) / delta_T) + j)
    """

    kind = LIFExParameters
    makes = (steps.lif_ex_cell_step, linear.CurrentState)


class LIFAdExCell(Cell[LIFAdExParameters]):
    """Apply Norse's LIFAdExCell, an exponential integrate-and-fire neuron with adaptation, one step of time a call.

    For each entry of the input, as in LIFCell with

        u[t] = v[t-1] + dt tau_mem_inv ((v_leak - v[t-1]) + delta_T exp((v[t-1] - v_th) / delta_T) + j - a[t-1])
        a[t] = a[t-1] + dt tau_ada_inv (adaptation_current (v[t-1] - v_leak) - a[t-1]) + s[t] adaptation_spike
    """

    kind = LIFAdExParameters
    makes = (steps.lif_adex_cell_step, steps.AdExCellState)


class LIFAdExRefracCell(Cell[LIFAdExRefracParameters]):
    """Apply Norse's LIFAdExRefracCell, an LIFAdExCell that rests after a spike, to an input, one step of time a call.

    For each entry of the input, with v', i, a, s' as in LIFAdExCell, the rest of LIFRefracCell.

    Args:
        p: its parameters; ``p.lif_adex`` are those of LIFAdExCell.
        dt: length of a step, in s.
        **options: recurrent and returns, as in StepLayer.
    """

    kind = LIFAdExRefracParameters
    makes = (steps.lif_adex_refrac_cell_step, steps.RefractoryAdExCellState)


class IzhikevichCell(Cell[IzhikevichSpikingBehavior]):
    """Apply Norse's IzhikevichCell to an input, one step of time a call.

    For each entry of the input, with H(0) = 0 and rate = tau_inv dt,

        p = v[t-1] + rate (sq v[t-1]^2 + mn v[t-1] + bias - u[t-1] + x[t]),  s[t] = H(p - v_th)
        q = u[t-1] + rate a (b v[t-1] - u[t-1])
        v[t] = c where s[t] = 1, else p;  u[t] = q + s[t] d

    Args:
        spiking_method: its parameters p, and where it starts, s.
        dt: length of a step, in s.
        **options: recurrent and returns, as in StepLayer.
    """

    kind = IzhikevichSpikingBehavior
    makes = (steps.izhikevich_cell_step, steps.IzhikevichCellState)
    given_as = "spiking_method"
    starts: ClassVar[Mapping[str, str]] = {"v": "v_start", "u": "u_start"}

    def __init__(self, spiking_method: IzhikevichSpikingBehavior, dt: float = 0.001, **options: Unpack[Common]) -> None:
        super().__init__(spiking_method, dt, **options)
        self.v_start, self.u_start = (float(value) for value in spiking_method.s)

    def _params_of(self, p: IzhikevichSpikingBehavior, dt: float) -> dict[str, Any]:
        return cell_params(type(self).__name__, p.p) | {"dt": dt}

    @staticmethod
    def param_map(stored: dict[str, Any]) -> dict[str, Any]:
        """Return the parameters with the rates that tau_inv, dt and a make, and the curve."""
        params = dict(stored)
        rate = params.pop("tau_inv") * params.pop("dt")
        curve = steps.Curve(params.pop("sq"), params.pop("mn"), params.pop("bias"))
        rate_u = rate * params.pop("a")
        return params | {"rate": rate, "rate_u": rate_u, "curve": curve}
