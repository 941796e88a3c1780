"""The layers of spikingtorch 0.1.3: its names, arguments and order of operations.

The layers of ``spikingtorch`` itself take the same arguments. They differ from these in the last digit of a gain.
SpikingDecay also differs in its output: the current spike there, and the spike before it here, as in 0.1.3.

>>> import torch
>>> layer = SpikingDecay(tau=2.0)
>>> [layer(torch.tensor([1.5]), init=(t == 0)).item() for t in range(4)]
[0.0, 1.0, 1.0, 1.0]
"""

import math
from typing import Any, NamedTuple, Unpack

from torch import Tensor

from spikingtorch import functional as F
from spikingtorch.functional.firing import fire
from spikingtorch.functional.reset import to_zero
from spikingtorch.functional.spike import Surrogate
from spikingtorch.functional.surrogate import Sigmoid
from spikingtorch.like.layer import LikeLayer
from spikingtorch.like.options import Common, number


class DelayedDecayState(NamedTuple):
    """State of ``delayed_decay_step``: v, the membrane after the reset, and s, the last spike."""

    v: Tensor
    s: Tensor


def delayed_decay_step(
    state: DelayedDecayState,
    x: Tensor,
    *,
    decay: Tensor | float,
    threshold: Tensor | float = 1.0,
    surrogate: Surrogate = Sigmoid(beta=5.0),
) -> tuple[DelayedDecayState, Tensor]:
    """Advance ``SpikingDecay`` of spikingtorch 0.1.3 by one step; its output is the spike of the step before."""
    u = decay * state.v + x
    v, _, _, s = fire(u, threshold, surrogate, to_zero)
    return DelayedDecayState(v=v, s=s), state.s


__all__ = ["IF", "LIF", "CoarseLIF", "McPitts", "SpikingDecay", "SpikingLayer"]


def _firing(owner: str, v0: float, beta: float) -> dict[str, Any]:
    number(owner, "v0", v0)
    number(owner, "beta", beta, above=0.0)
    return {"threshold": float(v0), "surrogate": F.Sigmoid(float(beta))}


class IF(LikeLayer):
    """Apply integrate-and-fire neurons: v = (1 - s) v + x, s = H(v - v0).

    Args:
        v0: threshold.
        beta: slope of the sigmoid whose derivative is that of a spike.
        **options: recurrent and returns, as in StepLayer.
    """

    def __init__(self, v0: float = 1, beta: float = 5, **options: Unpack[Common]) -> None:
        super().__init__(F.if_step, F.IFState, options, **_firing("IF", v0, beta))


class LIF(LikeLayer):
    """Apply leaky neurons: v = (1 - s) a v + b x, s = H(v - v0); a = exp(-1 / tau) and b = tau (1 - a).

    Args:
        tau: time constant in steps; not used with ``decay``.
        v0: threshold.
        beta: slope of the sigmoid whose derivative is that of a spike.
        decay: a, with b = 1, in place of tau.
        **options: recurrent and returns, as in StepLayer.
    """

    def __init__(
        self, tau: float = 8, v0: float = 1, beta: float = 5, decay: float | None = None, **options: Unpack[Common]
    ) -> None:
        number("LIF", "tau", tau, above=0.0)
        a = math.exp(-1.0 / tau) if decay is None else decay
        number("LIF", "decay", a)
        b = tau * (1 - a) if decay is None else 1.0
        super().__init__(F.lif_step, F.LIFState, options, decay=a, gain=b, **_firing("LIF", v0, beta))


class McPitts(LikeLayer):
    """Apply neurons without a memory: s = H(x - thr).

    Args:
        thr: threshold.
        beta: slope of the sigmoid whose derivative is that of a spike.
        **options: recurrent and returns, as in StepLayer.
    """

    def __init__(self, thr: float, beta: float = 3, **options: Unpack[Common]) -> None:
        super().__init__(F.mcpitts_step, F.McPittsState, options, **_firing("McPitts", thr, beta))


class SpikingDecay(LikeLayer):
    """Apply neurons whose membrane is divided by tau: v = (1 - s) v / tau + x, s = H(v - v0); the output is the last s.

    Args:
        tau: divisor of the membrane.
        v0: threshold.
        beta: slope of the sigmoid whose derivative is that of a spike.
        **options: recurrent and returns, as in StepLayer.
    """

    def __init__(self, tau: float, v0: float = 1, beta: float = 5, **options: Unpack[Common]) -> None:
        number("SpikingDecay", "tau", tau, above=0.0)
        firing = _firing("SpikingDecay", v0, beta)
        super().__init__(delayed_decay_step, DelayedDecayState, options, decay=1 / tau, **firing)


class CoarseLIF(LikeLayer):
    """Apply neurons that rest in the step after a spike: v = (1 - s)(a v + b x) + s c x, s = H(v - v0).

    a = exp(-1 / tau), b = tau (1 - a), c = tau (1 - b)

    Args:
        tau: time constant in steps.
        v0: threshold.
        beta: slope of the sigmoid whose derivative is that of a spike.
        **options: recurrent and returns, as in StepLayer.
    """

    def __init__(self, tau: float, v0: float = 1, beta: float = 5, **options: Unpack[Common]) -> None:
        number("CoarseLIF", "tau", tau, above=0.0)
        a = math.exp(-1.0 / tau)
        b = tau * (1 - a)
        gains: dict[str, Any] = {"decay": a, "gain": b, "refractory_gain": tau * (1 - b)}
        super().__init__(F.coarse_lif_step, F.CoarseLIFState, options, **gains, **_firing("CoarseLIF", v0, beta))


SpikingLayer = CoarseLIF  # its other name in 0.1.3
