"""The sigma-delta neuron, which sends how much its activation has changed."""

from typing import NamedTuple

import torch
from torch import Tensor

from spikingtorch.functional.firing import meets
from spikingtorch.functional.spike import Surrogate
from spikingtorch.functional.surrogate import Sigmoid


class SigmaDeltaState(NamedTuple):
    """State of ``sigma_delta_step``: v, the sum of the inputs, and sent, the sum of the outputs."""

    v: Tensor
    sent: Tensor


def sigma_delta_step(
    state: SigmaDeltaState,
    x: Tensor,
    *,
    threshold: Tensor | float = 0.1,
    surrogate: Surrogate = Sigmoid(beta=5.0),
) -> tuple[SigmaDeltaState, Tensor]:
    """Advance a sigma-delta neuron by one step.

        v[t]    = v[t-1] + x[t]
        e[t]    = max(v[t], 0) - sent[t-1]
        out[t]  = e[t] H(|e[t]| - threshold)    H(0) = 1
        sent[t] = sent[t-1] + out[t]

    It sums the changes that it receives and sends those of its activation, a ReLU, once they are large enough. What it
    has sent is never further from the activation than the threshold. The output is graded, and may be negative.

    Args:
        state: v[t-1] and sent[t-1], each of shape (*N,).
        x: change of the input at this step, shape (*N,).
        threshold: least change that is sent, positive, broadcastable to (*N,).
        surrogate: spike function of ``|e| - threshold``.

    Returns:
        The state v[t], sent[t] and the output out[t], each of shape (*N,).

    Source: P. O'Connor, M. Welling, "Sigma delta quantized networks", ICLR 2017, arXiv:1611.02024.
    """
    v = state.v + x
    e = torch.relu(v) - state.sent
    meets(e, threshold, surrogate)
    out = e * surrogate(e.abs() - threshold)
    return SigmaDeltaState(v=v, sent=state.sent + out), out
