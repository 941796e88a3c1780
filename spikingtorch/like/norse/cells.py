"""LIFCell, IAFCell, the leaky integrators, and what goes with them: each takes its parameters p as LIFCell does."""

from collections.abc import Mapping
from typing import Any, ClassVar

from torch import Tensor

from spikingtorch import functional as F
from spikingtorch.like.norse.cell import Cell, cell_params
from spikingtorch.like.norse.parameters import (
    IAFParameters,
    LIBoxParameters,
    LIFBoxParameters,
    LIFParameters,
    LIFRefracParameters,
    LIParameters,
    LSNNParameters,
)
from spikingtorch.like.steps import norse as steps


class LIFCell(Cell[LIFParameters]):
    """Apply Norse's LIFCell, a current-based LIF neuron, to an input, one step of time a call.

    For each entry of the input, with H(0) = 0,

        j = i[t-1] + x[t],  u[t] = v[t-1] + dt tau_mem_inv ((v_leak - v[t-1]) + j),  i[t] = j - dt tau_syn_inv j
        s[t] = H(u[t] - v_th),  v[t] = v_reset where s[t] = 1, else u[t]

    Args:
        p: its parameters.
        dt: length of a step, in s.
        **options: recurrent and returns, as in StepLayer.
    """

    kind = LIFParameters
    makes = (steps.lif_cell_step, steps.CurrentState)


class LIFRefracCell(Cell[LIFRefracParameters]):
    """Apply Norse's LIFRefracCell, which rests after a spike, to an input, one step of time a call.

    For each entry of the input, with v', i, s' as in LIFCell,

        m = H(rho[t-1]),  v[t] = (1 - m) v' + m v[t-1],  s[t] = (1 - m) s'
        rho[t] = (1 - s[t]) relu(rho[t-1] - m) + s[t] rho_reset

    Args:
        p: its parameters; ``p.lif`` are those of LIFCell.
        dt: length of a step, in s.
        **options: recurrent and returns, as in StepLayer.
    """

    kind = LIFRefracParameters
    makes = (steps.lif_refrac_cell_step, steps.RefractoryCellState)


class LIFBoxCell(Cell[LIFBoxParameters]):
    """Apply Norse's LIFBoxCell, a LIF neuron without a current, to an input, one step of time a call.

    For each entry of the input, with H(0) = 0,

        u[t] = v[t-1] + dt tau_mem_inv ((x[t] + v_leak) - v[t-1])
        s[t] = H(u[t] - v_th),  v[t] = reset_method(s[t], u[t], v_reset, v_th)
    """

    kind = LIFBoxParameters
    makes = (steps.lif_box_cell_step, steps.BoxState)


class IAFCell(Cell[IAFParameters]):
    """Apply Norse's IAFCell to an input, one step of time a call.

    For each entry of the input, with H(0) = 0,

        u[t] = v[t-1] + x[t],  s[t] = H(u[t] - v_th),  v[t] = v_reset where s[t] = 1, else u[t]

    Args:
        p: its parameters.
        dt: has no effect, as in Norse.
        **options: recurrent and returns, as in StepLayer.
    """

    attribute_names: ClassVar[Mapping[str, str]] = {"threshold": "v_th"}

    kind = IAFParameters
    makes = (F.if_step, F.IFState)
    starts: ClassVar[Mapping[str, str]] = {}

    def _params_of(self, p: IAFParameters, dt: float) -> dict[str, Any]:  # noqa: ARG002
        params = cell_params(type(self).__name__, p)
        return {"threshold": params.pop("v_th")} | params

    def rest_state(self, x: Tensor) -> F.IFState:
        """Return v = v_reset, with its gradient, which Norse's other cells do not have."""
        start: Any = self.v_reset
        return F.IFState(v=F.zeros_state(F.IFState, x).v + start)

    @staticmethod
    def param_map(stored: dict[str, Any]) -> dict[str, Any]:
        """Return the parameters with v_reset turned into a reset rule."""
        params = dict(stored)
        return {"reset": F.ToValue(params.pop("v_reset"))} | params


class LICell(Cell[LIParameters]):
    """Apply Norse's LICell, a readout whose output is its membrane, to an input, one step of time a call.

    For each entry of the input,

        j = i[t-1] + x[t],  v[t] = v[t-1] + dt tau_mem_inv ((v_leak - v[t-1]) + j),  i[t] = j - dt tau_syn_inv j
    """

    kind = LIParameters
    makes = (steps.li_cell_step, steps.CurrentState)


class LIBoxCell(Cell[LIBoxParameters]):
    """Apply Norse's LIBoxCell, a readout without a current, to an input, one step of time a call.

    For each entry of the input, v[t] = v[t-1] + dt tau_mem_inv ((v_leak - v[t-1]) + x[t]).
    """

    kind = LIBoxParameters
    makes = (steps.li_box_cell_step, steps.BoxState)


class LSNNCell(Cell[LSNNParameters]):
    """Apply Norse's LSNNCell, whose threshold rises with each spike, to an input, one step of time a call.

    For each entry of the input, with H(0) = 0,

        u[t] = v[t-1] + dt tau_mem_inv ((v_leak - v[t-1]) + i[t-1]),  i[t] = i[t-1] - dt tau_syn_inv i[t-1] + x[t]
        c = b[t-1] + dt tau_adapt_inv (v_th - b[t-1]),  s[t] = H(u[t] - c),  b[t] = c + s[t] beta
        v[t] = v_reset where s[t] = 1, else u[t]
    """

    kind = LSNNParameters
    makes = (steps.lsnn_cell_step, steps.LSNNState)
    starts: ClassVar[Mapping[str, str]] = {"v": "v_leak", "b": "v_th"}
