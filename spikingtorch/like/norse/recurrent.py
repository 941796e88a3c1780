"""The recurrent cells: the cells of the same name without "Recurrent", plus input and recurrent weights.

All of them take the arguments of LIFRecurrentCell.
"""

from collections.abc import Mapping
from typing import Any, ClassVar, Generic, Unpack

import torch
from torch import Tensor, nn

from spikingtorch import functional as F
from spikingtorch.layers.recurrent import Synapse, Weights
from spikingtorch.like.layer import named
from spikingtorch.like.norse import cells, parameters
from spikingtorch.like.norse.cell import Cell, P
from spikingtorch.like.options import Common, own_weights
from spikingtorch.like.steps.norse import stopped


class Connected(Common, total=False):
    """Arguments of every recurrent cell besides its sizes and the parameters of its neurons.

    Attributes:
        input_weights: shape (hidden_size, input_size); random by default. A tensor becomes an ``nn.Parameter``.
        recurrent_weights: shape (hidden_size, hidden_size); random by default. A tensor becomes an ``nn.Parameter``.
        autapses: whether neurons feed back to themselves. If not, the diagonal is set to zero, and never trained.
        dt: length of a step, in s.
    """

    input_weights: Tensor | None
    recurrent_weights: Tensor | None
    autapses: bool
    dt: float


class RecurrentCell(Cell[P], Generic[P]):
    """A cell with weights from its inputs and from its own spikes of the step before."""

    attribute_names: ClassVar[Mapping[str, str]] = {**Cell.attribute_names, "recurrent": "recurrent_weights"}
    recurrent: Any = named("recurrent_weights")

    def __init__(self, input_size: int, hidden_size: int, p: P | None = None, **connected: Unpack[Connected]) -> None:
        owner, given = type(self).__name__, dict[str, Any](connected)
        own_weights(owner, given, "recurrent_weights")
        inputs = given.pop("input_weights", None)
        recurrent, dt = given.pop("recurrent_weights", None), given.pop("dt", 0.001)
        autapses = bool(given.pop("autapses", False))
        inputs = _weights(owner, "input_weights", inputs, hidden_size, input_size)
        recurrent = _weights(owner, "recurrent_weights", recurrent, hidden_size, hidden_size)
        if not autapses:
            with torch.no_grad():
                recurrent.fill_diagonal_(0.0)
        super().__init__(p, dt, recurrent=recurrent, **given)
        self.autapses = autapses
        self.input_weights = inputs

    def _synapse_of(self, recurrent: Weights) -> Synapse:  # noqa: ARG002
        return F.dense

    def _recurrent_weight(self) -> Tensor:
        weight = super()._recurrent_weight()
        if self.autapses:
            return weight
        itself = torch.eye(len(weight), dtype=torch.bool, device=weight.device)
        return torch.where(itself, weight.detach(), weight)

    def forward(self, x: Tensor, init: bool | Tensor | None = None) -> Tensor:
        """Advance one step by an input of shape (N, ..., input_size), floating; see ``StepLayer.forward``."""
        output: Tensor = self._advance(torch.nn.functional.linear(x, self.input_weights), init)
        return output


def _weights(owner: str, name: str, given: Tensor | None, rows: int, columns: int) -> nn.Parameter:
    """Return weights of a shape: the given ones, or normal ones of standard deviation sqrt(2 / rows)."""
    if given is None:
        return nn.Parameter(torch.randn(rows, columns) * torch.sqrt(2.0 / torch.tensor(rows)))
    if not isinstance(given, Tensor) or given.shape != (rows, columns):
        what = f"has shape {tuple(given.shape)}" if isinstance(given, Tensor) else f"is a {type(given).__name__}"
        raise ValueError(f"{owner}: {name} {what}, expected a tensor ({rows}, {columns})")
    return given if isinstance(given, nn.Parameter) else nn.Parameter(given.detach().clone())


class LIFRecurrentCell(RecurrentCell[parameters.LIFParameters], cells.LIFCell):
    """Apply Norse's LIFRecurrentCell to an input, one step of time a call.

    As in LIFCell with x'[t] = input_weights x[t] + recurrent_weights s[t-1] in place of x[t]; no gradient flows
    through the reset.

    Args:
        input_size: number of inputs.
        hidden_size: number of neurons.
        p: parameters of the neurons; None for the default ones.
        **connected: input_weights=None, recurrent_weights=None, autapses=False, dt=0.001; returns, as in StepLayer.
    """

    extra: ClassVar[Mapping[str, Any]] = {"passes": stopped}


class LIFRefracRecurrentCell(RecurrentCell[parameters.LIFRefracParameters], cells.LIFRefracCell):
    """Apply Norse's LIFRefracRecurrentCell to an input, one step of time a call.

    As in LIFRefracCell with x'[t] as in LIFRecurrentCell; no gradient flows through the reset of the membrane.
    """

    extra: ClassVar[Mapping[str, Any]] = {"passes": stopped}


class LSNNRecurrentCell(RecurrentCell[parameters.LSNNParameters], cells.LSNNCell):
    """Apply Norse's LSNNRecurrentCell to an input, one step of time a call.

    As in LSNNCell with x'[t] as in LIFRecurrentCell; no gradient flows through the reset and the adaptation.
    """

    extra: ClassVar[Mapping[str, Any]] = {"passes": stopped}


class LIFExRecurrentCell(RecurrentCell[parameters.LIFExParameters], cells.LIFExCell):
    """Apply Norse's LIFExRecurrentCell to an input, one step of time a call.

    As in LIFExCell with x'[t] as in LIFRecurrentCell; the gradient flows through the reset.
    """


class LIFAdExRecurrentCell(RecurrentCell[parameters.LIFAdExParameters], cells.LIFAdExCell):
    """Apply Norse's LIFAdExRecurrentCell to an input, one step of time a call.

    As in LIFAdExCell with x'[t] as in LIFRecurrentCell; the gradient flows through the reset.
    """


class LIFAdExRefracRecurrentCell(RecurrentCell[parameters.LIFAdExRefracParameters], cells.LIFAdExRefracCell):
    """Apply Norse's LIFAdExRefracRecurrentCell to an input, one step of time a call.

    As in LIFAdExRefracCell with x'[t] as in LIFRecurrentCell; the gradient flows through the reset.
    """


class IzhikevichRecurrentCell(RecurrentCell[parameters.IzhikevichSpikingBehavior], cells.IzhikevichCell):
    """Apply Norse's IzhikevichRecurrentCell to an input, one step of time a call.

    As in IzhikevichCell with x'[t] as in LIFRecurrentCell; the gradient flows through the reset.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        spiking_method: parameters.IzhikevichSpikingBehavior,
        **connected: Unpack[Connected],
    ) -> None:
        super().__init__(input_size, hidden_size, spiking_method, **connected)
