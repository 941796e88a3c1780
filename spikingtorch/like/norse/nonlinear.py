"""LIFExCell, LIFAdExCell and IzhikevichCell: cells whose membrane grows by itself."""

from collections.abc import Mapping
from typing import Any, ClassVar

from spikingtorch.layers.recorder import SPIKES
from spikingtorch.layers.rest import RestingLayer
from spikingtorch.layers.returns import Returns
from spikingtorch.like.norse.cell import Cell, cell_params
from spikingtorch.like.norse.parameters import (
    IzhikevichSpikingBehavior,
    LIFAdExParameters,
    LIFExParameters,
)
from spikingtorch.like.options import number
from spikingtorch.like.steps import norse as linear
from spikingtorch.like.steps import norse_nonlinear as steps


class LIFExCell(Cell):
    """Apply Norse's LIFExCell, an exponential integrate-and-fire neuron, to an input, one step of time a call.

    For each entry of the input, as in LIFCell with

        u[t] = v[t-1] + dt tau_mem_inv ((v_leak - v[t-1]) + delta_T exp((v[t-1] - v_th) / delta_T) + j)

    Args:
        p: its parameters.
        dt: length of a step, in s.
        returns: as in StepLayer.
    """

    def __init__(
        self,
        p: LIFExParameters = LIFExParameters(),  # noqa: B008
        dt: float = 0.001,
        returns: Returns = SPIKES,
    ) -> None:
        super().__init__(steps.lif_ex_cell_step, linear.CurrentState, LIFExParameters, p, dt, returns)


class LIFAdExCell(Cell):
    """Apply Norse's LIFAdExCell, an exponential integrate-and-fire neuron with adaptation, one step of time a call.

    For each entry of the input, as in LIFCell with

        u[t] = v[t-1] + dt tau_mem_inv ((v_leak - v[t-1]) + delta_T exp((v[t-1] - v_th) / delta_T) + j - a[t-1])
        a[t] = a[t-1] + dt tau_ada_inv (adaptation_current (v[t-1] - v_leak) - a[t-1]) + s[t] adaptation_spike

    Args:
        p: its parameters.
        dt: length of a step, in s.
        returns: as in StepLayer.
    """

    def __init__(
        self,
        p: LIFAdExParameters = LIFAdExParameters(),  # noqa: B008
        dt: float = 0.001,
        returns: Returns = SPIKES,
    ) -> None:
        super().__init__(steps.lif_adex_cell_step, steps.AdExCellState, LIFAdExParameters, p, dt, returns)


class IzhikevichCell(RestingLayer):
    """Apply Norse's IzhikevichCell to an input, one step of time a call.

    For each entry of the input, with H(0) = 0 and rate = tau_inv dt,

        p = v[t-1] + rate (sq v[t-1]^2 + mn v[t-1] + bias - u[t-1] + x[t]),  s[t] = H(p - v_th)
        q = u[t-1] + rate a (b v[t-1] - u[t-1])
        v[t] = c where s[t] = 1, else p;  u[t] = q + s[t] d

    Args:
        spiking_method: its parameters p, and where it starts, s.
        dt: length of a step, in s.
        returns: as in StepLayer.
    """

    starts: ClassVar[Mapping[str, str]] = {"v": "v_start", "u": "u_start"}

    def __init__(self, spiking_method: IzhikevichSpikingBehavior, dt: float = 0.001, returns: Returns = SPIKES) -> None:
        if not isinstance(spiking_method, IzhikevichSpikingBehavior):
            raise TypeError(
                f"IzhikevichCell: spiking_method is a {type(spiking_method).__name__}, expected "
                "like.norse.IzhikevichSpikingBehavior(p, s)"
            )
        number("IzhikevichCell", "dt", dt, above=0.0)
        params = cell_params("IzhikevichCell", spiking_method.p)
        super().__init__(steps.izhikevich_cell_step, steps.IzhikevichCellState, **params, dt=float(dt), returns=returns)
        self.v_start, self.u_start = (float(value) for value in spiking_method.s)

    @staticmethod
    def param_map(stored: dict[str, Any]) -> dict[str, Any]:
        """Return the parameters with the rates that tau_inv, dt and a make, and the curve."""
        params = dict(stored)
        rate = params.pop("tau_inv") * params.pop("dt")
        curve = steps.Curve(params.pop("sq"), params.pop("mn"), params.pop("bias"))
        rate_u = rate * params.pop("a")
        return params | {"rate": rate, "rate_u": rate_u, "curve": curve}
