"""SynapseFilter and VotingLayer."""

import math
from typing import Any, Unpack

import torch
from torch import Tensor, nn

from spikingtorch.like.options import Common, tensor
from spikingtorch.like.spikingjelly.node import WithStepMode, above_one
from spikingtorch.like.steps.spikingjelly import FilterState, synapse_filter_step


class SynapseFilter(WithStepMode):
    """Apply SpikingJelly's SynapseFilter, a current that spikes refresh, to an input, one step of time a call.

    For each entry of the input, with the output i[t],

        i[t] = i[t-1] - (1 - x[t]) i[t-1] / tau + x[t]

    Args:
        tau: time constant in steps, above 1.
        learnable: train it, as 1 / tau = sigmoid(w) with w an ``nn.Parameter`` that starts at -log(tau - 1).
        step_mode: "s", a call takes one step; or "m", all steps of a sequence, (T, N, ...).
        **options: recurrent and returns, as in StepLayer.
    """

    def __init__(
        self,
        tau: float = 100.0,
        learnable: bool = False,
        step_mode: str = "s",
        **options: Unpack[Common],
    ) -> None:
        above_one("SynapseFilter", "tau", tau)
        time: dict[str, Any] = {"w": tensor(-math.log(tau - 1.0))} if learnable else {"tau": tau}
        super().__init__(synapse_filter_step, FilterState, options, learnable=["w"] if learnable else (), **time)
        self.step_mode = step_mode

    @staticmethod
    def param_map(stored: dict[str, Any]) -> dict[str, Any]:
        """Return the inverse of the time constant."""
        return {"rate": torch.sigmoid(stored["w"]) if "w" in stored else 1.0 / stored["tau"]}


class VotingLayer(nn.Module):
    """Average the votes of each class, as SpikingJelly's VotingLayer does.

        y[n, c] = mean over k < voting_size of x[n, c voting_size + k]

    Args:
        voting_size: number of neurons that vote for a class.
        step_mode: "s" for an input (N, classes voting_size), as in a ``SpikingNet``; "m" for (T, N, ...).

    >>> VotingLayer(2)(torch.tensor([[1.0, 0.0, 1.0, 1.0]]))
    tensor([[0.5000, 1.0000]])
    """

    def __init__(self, voting_size: int = 10, step_mode: str = "s") -> None:
        super().__init__()
        if step_mode not in ("s", "m"):
            raise ValueError(f"VotingLayer: step_mode={step_mode!r}, expected 's' or 'm'")
        self.voting_size = voting_size
        self.step_mode = step_mode

    def forward(self, x: Tensor) -> Tensor:
        """Return the votes, shape (N, classes), or (T, N, classes)."""
        if self.step_mode == "m":
            return torch.nn.functional.avg_pool1d(x, self.voting_size, self.voting_size)
        return torch.nn.functional.avg_pool1d(x.unsqueeze(1), self.voting_size, self.voting_size).squeeze(1)

    def extra_repr(self) -> str:
        """Return the number of voters, and the step mode if it is not "s"."""
        return f"voting_size={self.voting_size}" + ("" if self.step_mode == "s" else f", step_mode={self.step_mode!r}")
