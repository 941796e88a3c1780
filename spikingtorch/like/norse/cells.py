"""The cells without recurrent weights; each takes its parameters p as LIFCell does."""

from collections.abc import Mapping
from typing import Any, ClassVar, Unpack

from torch import Tensor

from spikingtorch import functional as F
from spikingtorch.like.norse import parameters
from spikingtorch.like.norse.cell import Cell, cell_params
from spikingtorch.like.options import Common
from spikingtorch.like.steps import norse as steps
from spikingtorch.like.steps import norse_nonlinear as nonlinear


class LIFCell(Cell[parameters.LIFParameters]):
    """Apply Norse's LIFCell, a current-based LIF neuron, to an input, one step of time a call.

    For each entry of the input, with H(0) = 0,

        j = i[t-1] + x[t],  u[t] = v[t-1] + dt tau_mem_inv ((v_leak - v[t-1]) + j),  i[t] = j - dt tau_syn_inv j
        s[t] = H(u[t] - v_th),  v[t] = v_reset where s[t] = 1, else u[t]

    Args:
        p: its parameters.
        dt: length of a step, in s.
        **options: recurrent and returns, as in StepLayer.
    """

    kind = parameters.LIFParameters
    makes = (steps.lif_cell_step, steps.CurrentState)


class LIFRefracCell(Cell[parameters.LIFRefracParameters]):
    """Apply Norse's LIFRefracCell, which rests after a spike, to an input, one step of time a call.

    For each entry of the input, with v', i, s' as in LIFCell,

        m = H(rho[t-1]),  v[t] = (1 - m) v' + m v[t-1],  s[t] = (1 - m) s'
        rho[t] = (1 - s[t]) relu(rho[t-1] - m) + s[t] rho_reset

    Args:
        p: its parameters; ``p.lif`` are those of LIFCell.
        dt: length of a step, in s.
        **options: recurrent and returns, as in StepLayer.
    """

    kind = parameters.LIFRefracParameters
    makes = (steps.lif_refrac_cell_step, steps.RefractoryCellState)


class LIFBoxCell(Cell[parameters.LIFBoxParameters]):
    """Apply Norse's LIFBoxCell, a LIF neuron without a current, to an input, one step of time a call.

    For each entry of the input, with H(0) = 0,

        u[t] = v[t-1] + dt tau_mem_inv ((x[t] + v_leak) - v[t-1])
        s[t] = H(u[t] - v_th),  v[t] = reset_method(s[t], u[t], v_reset, v_th)
    """

    kind = parameters.LIFBoxParameters
    makes = (steps.lif_box_cell_step, steps.BoxState)


class IAFCell(Cell[parameters.IAFParameters]):
    """Apply Norse's IAFCell to an input, one step of time a call.

    For each entry of the input, with H(0) = 0,

        u[t] = v[t-1] + x[t],  s[t] = H(u[t] - v_th),  v[t] = v_reset where s[t] = 1, else u[t]

    Args:
        p: its parameters.
        dt: has no effect, as in Norse.
        **options: recurrent and returns, as in StepLayer.
    """

    attribute_names: ClassVar[Mapping[str, str]] = {"threshold": "v_th"}

    kind = parameters.IAFParameters
    makes = (F.if_step, F.IFState)
    starts: ClassVar[Mapping[str, str]] = {}

    def _params_of(self, p: parameters.IAFParameters, dt: float) -> dict[str, Any]:  # noqa: ARG002
        params = cell_params(type(self).__name__, p)
        return {"threshold": params.pop("v_th")} | params

    def rest_state(self, x: Tensor) -> F.IFState:
        """Return v = v_reset, with the gradient of v_reset, which Norse's other cells do not have."""
        start: Any = self.v_reset
        return F.IFState(v=F.zeros_state(F.IFState, x).v + start)

    @staticmethod
    def param_map(stored: dict[str, Any]) -> dict[str, Any]:
        """Return the parameters with v_reset turned into a reset rule."""
        params = dict(stored)
        return {"reset": F.ToValue(params.pop("v_reset"))} | params


class LICell(Cell[parameters.LIParameters]):
    """Apply Norse's LICell, a readout whose output is its membrane, to an input, one step of time a call.

    For each entry of the input,

        j = i[t-1] + x[t],  v[t] = v[t-1] + dt tau_mem_inv ((v_leak - v[t-1]) + j),  i[t] = j - dt tau_syn_inv j
    """

    kind = parameters.LIParameters
    makes = (steps.li_cell_step, steps.CurrentState)


class LIBoxCell(Cell[parameters.LIBoxParameters]):
    """Apply Norse's LIBoxCell, a readout without a current, to an input, one step of time a call.

    For each entry of the input, v[t] = v[t-1] + dt tau_mem_inv ((v_leak - v[t-1]) + x[t]).
    """

    kind = parameters.LIBoxParameters
    makes = (steps.li_box_cell_step, steps.BoxState)


class LSNNCell(Cell[parameters.LSNNParameters]):
    """Apply Norse's LSNNCell, whose threshold rises with each spike, to an input, one step of time a call.

    For each entry of the input, with H(0) = 0,

        u[t] = v[t-1] + dt tau_mem_inv ((v_leak - v[t-1]) + i[t-1]),  i[t] = i[t-1] - dt tau_syn_inv i[t-1] + x[t]
        c = b[t-1] + dt tau_adapt_inv (v_th - b[t-1]),  s[t] = H(u[t] - c),  b[t] = c + s[t] beta
        v[t] = v_reset where s[t] = 1, else u[t]
    """

    kind = parameters.LSNNParameters
    makes = (steps.lsnn_cell_step, steps.LSNNState)
    starts: ClassVar[Mapping[str, str]] = {"v": "v_leak", "b": "v_th"}


class LIFExCell(Cell[parameters.LIFExParameters]):
    """Apply Norse's LIFExCell, an exponential integrate-and-fire neuron, to an input, one step of time a call.

    For each entry of the input, as in LIFCell with

        u[t] = v[t-1] + dt tau_mem_inv ((v_leak - v[t-1]) + delta_T exp((v[t-1] - v_th) / delta_T) + j)
    """

    kind = parameters.LIFExParameters
    makes = (nonlinear.lif_ex_cell_step, steps.CurrentState)


class LIFAdExCell(Cell[parameters.LIFAdExParameters]):
    """Apply Norse's LIFAdExCell, an exponential integrate-and-fire neuron with adaptation, one step of time a call.

    For each entry of the input, as in LIFCell with

        u[t] = v[t-1] + dt tau_mem_inv ((v_leak - v[t-1]) + delta_T exp((v[t-1] - v_th) / delta_T) + j - a[t-1])
        a[t] = a[t-1] + dt tau_ada_inv (adaptation_current (v[t-1] - v_leak) - a[t-1]) + s[t] adaptation_spike
    """

    kind = parameters.LIFAdExParameters
    makes = (nonlinear.lif_adex_cell_step, nonlinear.AdExCellState)


class LIFAdExRefracCell(Cell[parameters.LIFAdExRefracParameters]):
    """Apply Norse's LIFAdExRefracCell, an LIFAdExCell that rests after a spike, to an input, one step of time a call.

    For each entry of the input, with v', i, a, s' as in LIFAdExCell, the rest of LIFRefracCell.

    Args:
        p: its parameters; ``p.lif_adex`` are those of LIFAdExCell.
        dt: length of a step, in s.
        **options: recurrent and returns, as in StepLayer.
    """

    kind = parameters.LIFAdExRefracParameters
    makes = (nonlinear.lif_adex_refrac_cell_step, nonlinear.RefractoryAdExCellState)


class IzhikevichCell(Cell[parameters.IzhikevichSpikingBehavior]):
    """Apply Norse's IzhikevichCell to an input, one step of time a call.

    For each entry of the input, with H(0) = 0 and rate = tau_inv dt,

        p = v[t-1] + rate (sq v[t-1]^2 + mn v[t-1] + bias - u[t-1] + x[t]),  s[t] = H(p - v_th)
        q = u[t-1] + rate a (b v[t-1] - u[t-1])
        v[t] = c where s[t] = 1, else p;  u[t] = q + s[t] d

    Args:
        spiking_method: its parameters p, and its first state s.
        dt: length of a step, in s.
        **options: recurrent and returns, as in StepLayer.
    """

    kind = parameters.IzhikevichSpikingBehavior
    makes = (nonlinear.izhikevich_cell_step, nonlinear.IzhikevichCellState)
    given_as = "spiking_method"
    starts: ClassVar[Mapping[str, str]] = {"v": "v_start", "u": "u_start"}

    def __init__(
        self, spiking_method: parameters.IzhikevichSpikingBehavior, dt: float = 0.001, **options: Unpack[Common]
    ) -> None:
        super().__init__(spiking_method, dt, **options)
        self.v_start, self.u_start = (float(value) for value in spiking_method.s)

    def _params_of(self, p: parameters.IzhikevichSpikingBehavior, dt: float) -> dict[str, Any]:
        return cell_params(type(self).__name__, p.p) | {"dt": dt}

    @staticmethod
    def param_map(stored: dict[str, Any]) -> dict[str, Any]:
        """Return the parameters with the rates from tau_inv, dt and a, and the curve."""
        params = dict(stored)
        rate = params.pop("tau_inv") * params.pop("dt")
        curve = nonlinear.Curve(params.pop("sq"), params.pop("mn"), params.pop("bias"))
        rate_u = rate * params.pop("a")
        return params | {"rate": rate, "rate_u": rate_u, "curve": curve}
