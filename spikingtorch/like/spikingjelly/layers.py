"""SynapseFilter and VotingLayer."""

import math
from typing import Any, Unpack

import torch
from torch import Tensor, nn

from spikingtorch.like.layer import LikeLayer
from spikingtorch.like.options import Common, tensor
from spikingtorch.like.spikingjelly.node import above_one
from spikingtorch.like.steps.spikingjelly_synapse import FilterState, synapse_filter_step


class SynapseFilter(LikeLayer):
    """Apply SpikingJelly's SynapseFilter, a current that spikes refresh, to an input, one step of time a call.

    For each entry of the input, and giving out i[t],

        i[t] = i[t-1] - (1 - x[t]) i[t-1] / tau + x[t]

    Args:
        tau: time constant in steps, above 1.
        learnable: train it, as 1 / tau = sigmoid(w) with w an ``nn.Parameter`` that starts at -log(tau - 1).
        step_mode: has no effect, since a ``SpikingNet`` runs over time.
        **options: recurrent and returns, as in StepLayer.
    """

    def __init__(
        self,
        tau: float = 100.0,
        learnable: bool = False,
        step_mode: str = "s",  # noqa: ARG002
        **options: Unpack[Common],
    ) -> None:
        above_one("SynapseFilter", "tau", tau)
        time: dict[str, Any] = {"w": tensor(-math.log(tau - 1.0))} if learnable else {"tau": tau}
        super().__init__(synapse_filter_step, FilterState, options, learnable=["w"] if learnable else (), **time)

    @staticmethod
    def param_map(stored: dict[str, Any]) -> dict[str, Any]:
        """Return the inverse of the time constant."""
        return {"rate": torch.sigmoid(stored["w"]) if "w" in stored else 1.0 / stored["tau"]}


class VotingLayer(nn.Module):
    """Average the votes of each class, as SpikingJelly's VotingLayer does.

        y[n, c] = mean over k < voting_size of x[n, c voting_size + k]

    Args:
        voting_size: number of neurons that vote for a class.
        step_mode: has no effect, since a ``SpikingNet`` runs over time.

    >>> VotingLayer(2)(torch.tensor([[1.0, 0.0, 1.0, 1.0]]))
    tensor([[0.5000, 1.0000]])
    """

    def __init__(self, voting_size: int = 10, step_mode: str = "s") -> None:  # noqa: ARG002
        super().__init__()
        self.voting_size = voting_size

    def forward(self, x: Tensor) -> Tensor:
        """Return the votes, shape (N, classes), of spikes of shape (N, classes voting_size)."""
        return torch.nn.functional.avg_pool1d(x.unsqueeze(1), self.voting_size, self.voting_size).squeeze(1)

    def extra_repr(self) -> str:
        """Name the number of voters."""
        return f"voting_size={self.voting_size}"
