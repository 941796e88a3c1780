"""Layers for the fuzzer of networks that a user could have written."""

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from spikingtorch import LIF, StepLayer
from spikingtorch import functional as F


class Adaptive(NamedTuple):
    """A membrane, and what recent spikes added to its threshold."""

    v: Tensor
    a: Tensor


class Pausing(NamedTuple):
    """A membrane, and how many steps it still rests."""

    v: Tensor
    left: Tensor


class Fired(NamedTuple):
    """A membrane, and whether it has just spiked."""

    v: Tensor
    fired: Tensor


class Last(NamedTuple):
    """The last input itself, no copy of it."""

    last: Tensor


def adaptive_step(state: Adaptive, x: Tensor, *, decay: Any, surrogate: Any) -> tuple[Adaptive, Tensor]:
    u = decay * state.v + x
    spike = surrogate(u - 0.4 - state.a)
    return Adaptive((1 - spike) * u, decay * state.a + 0.3 * spike), spike


def pausing_step(state: Pausing, x: Tensor, *, threshold: Any, surrogate: Any) -> tuple[Pausing, Tensor]:
    u = torch.where(state.left > 0, state.v, 0.8 * state.v + x)
    spike = surrogate(u - threshold)
    left = torch.where(spike.detach() > 0.5, 2, (state.left - 1).clamp(min=0))
    return Pausing((1 - spike) * u, left), spike


def fired_step(state: Fired, x: Tensor, *, threshold: Any, surrogate: Any) -> tuple[Fired, Tensor]:
    u = torch.where(state.fired, 0.2 * state.v, 0.8 * state.v + x)
    spike = surrogate(u - threshold)
    return Fired(u - 0.3 * spike, spike.detach() > 0.5), spike


def difference_step(state: Last, x: Tensor, *, share: Any) -> tuple[Last, Tensor]:
    return Last(x), x - share * state.last


def lateral_step(state: F.LIFState, x: Tensor, *, threshold: Any, surrogate: Any) -> tuple[F.LIFState, Tensor]:
    """Advance neurons that inhibit each other, which no kernel does."""
    u = 0.7 * state.v + x - 0.5 * x.mean(-1, keepdim=True)
    spike = surrogate(u - threshold)
    return F.LIFState((1 - spike) * u), spike


def pair_step(state: F.LIFState, x: Tensor, *, threshold: Any, surrogate: Any) -> tuple[F.LIFState, Any]:
    """Advance a neuron that shows its membrane, and whether it is large."""
    u = 0.7 * state.v + x
    spike = surrogate(u - threshold)
    return F.LIFState(u - spike * threshold), (spike, u, u > 0.9)


class Gained:
    """A step with a number of its own, which somebody may change."""

    def __init__(self) -> None:
        self.gain = 0.9

    def __call__(self, state: F.LIFState, x: Tensor, *, threshold: Any, surrogate: Any) -> tuple[F.LIFState, Tensor]:
        u = 0.6 * state.v + self.gain * x
        spike = surrogate(u - threshold)
        return F.LIFState(u * (1 - spike)), spike


class Own(StepLayer):
    """A step of a user's, whose counters and flags have dtypes of their own."""

    def rest_state(self, x: Tensor) -> Any:
        rest = super().rest_state(x)
        if isinstance(rest, Pausing):
            return rest._replace(left=rest.left.long())
        return rest._replace(fired=rest.fired.bool()) if isinstance(rest, Fired) else rest


class Raised(LIF):
    """A neuron that learns where it rests."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.rest = nn.Parameter(torch.tensor(0.2))

    def rest_state(self, x: Tensor) -> F.LIFState:
        return F.LIFState(self.rest.expand_as(x))


class Parametric(LIF):
    """A neuron that learns its leak through a sigmoid."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.w = nn.Parameter(torch.tensor(0.6))

    def step_params(self) -> dict[str, Any]:
        return super().step_params() | {"decay": torch.sigmoid(self.w)}


class Noisy(LIF):
    """A neuron whose threshold is drawn at random whenever its parameters are asked for."""

    def step_params(self) -> dict[str, Any]:
        return super().step_params() | {"threshold": 0.4 + 0.2 * torch.rand((), dtype=torch.float64)}


class Slope(nn.Module):
    """A surrogate that learns its slope, and is a module."""

    def __init__(self) -> None:
        super().__init__()
        self.beta = nn.Parameter(torch.tensor(3.0))

    def forward(self, u: Tensor) -> Tensor:
        smooth = torch.sigmoid(self.beta * u)
        return (u >= 0).to(u) + smooth - smooth.detach()
