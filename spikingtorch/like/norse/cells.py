"""LIFCell, IAFCell, the leaky integrators, and what goes with them."""

from collections.abc import Mapping
from typing import Any, ClassVar

from torch import Tensor

from spikingtorch import functional as F
from spikingtorch.layers.recorder import SPIKES
from spikingtorch.layers.rest import RestingLayer
from spikingtorch.layers.returns import Returns
from spikingtorch.like.norse.cell import Cell, cell_params, rates
from spikingtorch.like.norse.parameters import (
    IAFParameters,
    LIBoxParameters,
    LIFBoxParameters,
    LIFParameters,
    LIFRefracParameters,
    LIParameters,
    LSNNParameters,
)
from spikingtorch.like.options import number
from spikingtorch.like.steps import norse as steps


class LIFCell(Cell):
    """Apply Norse's LIFCell, a current-based LIF neuron, to an input, one step of time a call.

    For each entry of the input, with H(0) = 0,

        j = i[t-1] + x[t],  u[t] = v[t-1] + dt tau_mem_inv ((v_leak - v[t-1]) + j),  i[t] = j - dt tau_syn_inv j
        s[t] = H(u[t] - v_th),  v[t] = v_reset where s[t] = 1, else u[t]

    Args:
        p: its parameters.
        dt: length of a step, in s.
        returns: as in StepLayer.
    """

    def __init__(
        self,
        p: LIFParameters = LIFParameters(),  # noqa: B008
        dt: float = 0.001,
        returns: Returns = SPIKES,
    ) -> None:
        super().__init__(steps.lif_cell_step, steps.CurrentState, LIFParameters, p, dt, returns)


class LIFRefracCell(RestingLayer):
    """Apply Norse's LIFRefracCell, which rests after a spike, to an input, one step of time a call.

    For each entry of the input, with v', i, s' as in LIFCell,

        m = H(rho[t-1]),  v[t] = (1 - m) v' + m v[t-1],  s[t] = (1 - m) s'
        rho[t] = (1 - s[t]) relu(rho[t-1] - m) + s[t] rho_reset

    Args:
        p: its parameters; ``p.lif`` are those of LIFCell.
        dt: length of a step, in s.
        returns: as in StepLayer.
    """

    starts: ClassVar[Mapping[str, str]] = {"v": "v_leak"}

    def __init__(
        self,
        p: LIFRefracParameters = LIFRefracParameters(),  # noqa: B008
        dt: float = 0.001,
        returns: Returns = SPIKES,
    ) -> None:
        if not isinstance(p, LIFRefracParameters):
            raise TypeError(f"LIFRefracCell: p is a {type(p).__name__}, expected like.norse.LIFRefracParameters(...)")
        number("LIFRefracCell", "dt", dt, above=0.0)
        number("LIFRefracCell", "rho_reset", p.rho_reset)
        lif = cell_params("LIFRefracCell", p.lif)
        super().__init__(
            steps.lif_refrac_cell_step,
            steps.RefractoryCellState,
            **lif,
            rho_reset=p.rho_reset,
            dt=float(dt),
            returns=returns,
        )

    param_map = staticmethod(rates)


class LIFBoxCell(Cell):
    """Apply Norse's LIFBoxCell, a LIF neuron without a current, to an input, one step of time a call.

    For each entry of the input, with H(0) = 0,

        u[t] = v[t-1] + dt tau_mem_inv ((x[t] + v_leak) - v[t-1])
        s[t] = H(u[t] - v_th),  v[t] = reset_method(s[t], u[t], v_reset, v_th)

    Args:
        p: its parameters.
        dt: length of a step, in s.
        returns: as in StepLayer.
    """

    def __init__(
        self,
        p: LIFBoxParameters = LIFBoxParameters(),  # noqa: B008
        dt: float = 0.001,
        returns: Returns = SPIKES,
    ) -> None:
        super().__init__(steps.lif_box_cell_step, steps.BoxState, LIFBoxParameters, p, dt, returns)


class IAFCell(RestingLayer):
    """Apply Norse's IAFCell to an input, one step of time a call.

    For each entry of the input, with H(0) = 0,

        u[t] = v[t-1] + x[t],  s[t] = H(u[t] - v_th),  v[t] = v_reset where s[t] = 1, else u[t]

    Args:
        p: its parameters.
        dt: has no effect, as in Norse.
        returns: as in StepLayer.
    """

    attribute_names: ClassVar[Mapping[str, str]] = {"threshold": "v_th"}

    def __init__(
        self,
        p: IAFParameters = IAFParameters(),  # noqa: B008
        dt: float = 0.001,
        returns: Returns = SPIKES,
    ) -> None:
        if not isinstance(p, IAFParameters):
            raise TypeError(f"IAFCell: p is a {type(p).__name__}, expected like.norse.IAFParameters(...)")
        number("IAFCell", "dt", dt, above=0.0)
        params = cell_params("IAFCell", p)
        super().__init__(F.if_step, F.IFState, threshold=params.pop("v_th"), **params, returns=returns)

    def rest_state(self, x: Tensor) -> F.IFState:
        """Return v = v_reset, with its gradient, which Norse's other cells do not have."""
        start: Any = self.v_reset
        return F.IFState(v=F.zeros_state(F.IFState, x).v + start)

    @staticmethod
    def param_map(stored: dict[str, Any]) -> dict[str, Any]:
        """Return the parameters with v_reset turned into a reset rule."""
        params = dict(stored)
        return {"reset": F.ToValue(params.pop("v_reset"))} | params


class LICell(Cell):
    """Apply Norse's LICell, a readout whose output is its membrane, to an input, one step of time a call.

    For each entry of the input,

        j = i[t-1] + x[t],  v[t] = v[t-1] + dt tau_mem_inv ((v_leak - v[t-1]) + j),  i[t] = j - dt tau_syn_inv j

    Args:
        p: its parameters.
        dt: length of a step, in s.
        returns: as in StepLayer.
    """

    def __init__(
        self,
        p: LIParameters = LIParameters(),  # noqa: B008
        dt: float = 0.001,
        returns: Returns = SPIKES,
    ) -> None:
        super().__init__(steps.li_cell_step, steps.CurrentState, LIParameters, p, dt, returns)


class LIBoxCell(Cell):
    """Apply Norse's LIBoxCell, a readout without a current, to an input, one step of time a call.

    For each entry of the input, v[t] = v[t-1] + dt tau_mem_inv ((v_leak - v[t-1]) + x[t]).

    Args:
        p: its parameters.
        dt: length of a step, in s.
        returns: as in StepLayer.
    """

    def __init__(
        self,
        p: LIBoxParameters = LIBoxParameters(),  # noqa: B008
        dt: float = 0.001,
        returns: Returns = SPIKES,
    ) -> None:
        super().__init__(steps.li_box_cell_step, steps.BoxState, LIBoxParameters, p, dt, returns)


class LSNNCell(Cell):
    """Apply Norse's LSNNCell, whose threshold rises with each spike, to an input, one step of time a call.

    For each entry of the input, with H(0) = 0,

        u[t] = v[t-1] + dt tau_mem_inv ((v_leak - v[t-1]) + i[t-1]),  i[t] = i[t-1] - dt tau_syn_inv i[t-1] + x[t]
        c = b[t-1] + dt tau_adapt_inv (v_th - b[t-1]),  s[t] = H(u[t] - c),  b[t] = c + s[t] beta
        v[t] = v_reset where s[t] = 1, else u[t]

    Args:
        p: its parameters.
        dt: length of a step, in s.
        returns: as in StepLayer.
    """

    starts: ClassVar[Mapping[str, str]] = {"v": "v_leak", "b": "v_th"}

    def __init__(
        self,
        p: LSNNParameters = LSNNParameters(),  # noqa: B008
        dt: float = 0.001,
        returns: Returns = SPIKES,
    ) -> None:
        super().__init__(steps.lsnn_cell_step, steps.LSNNState, LSNNParameters, p, dt, returns)
