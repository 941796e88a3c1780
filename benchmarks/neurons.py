"""The steps that ours are timed on: three of the library's, and some that a user might write."""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from benchmarks.inputs import ADAPTIVE, BETA, DECAY, DRIVE, THRESHOLD
from benchmarks.workloads import RECURRENT
from spikingtorch.functional import (
    BioLIFState,
    IFState,
    LIFState,
    Recurrent,
    RecurrentState,
    Sigmoid,
    biolif_step,
    dense,
    if_step,
    lif_step,
)

Curve = Callable[[Tensor], Tensor]

SURROGATE = Sigmoid(beta=BETA)


class AdaptiveState(NamedTuple):
    """Membrane v, adaptation a and synaptic current i."""

    v: Tensor
    a: Tensor
    i: Tensor


def adaptive_step(
    state: AdaptiveState,
    x: Tensor,
    *,
    decay_v: float,
    decay_a: float,
    decay_i: float,
    jump: float,
    surrogate: Sigmoid = SURROGATE,
) -> tuple[AdaptiveState, Tensor]:
    """Advance a LIF neuron with a synaptic current and a threshold that rises with every spike.

    i[t] = decay_i i[t-1] + x[t]
    u[t] = decay_v v[t-1] + (1 - decay_v) i[t]
    s[t] = H(u[t] - 1 - a[t-1])
    a[t] = decay_a a[t-1] + jump s[t]
    v[t] = (1 - s[t]) u[t]
    """
    i = decay_i * state.i + x
    u = decay_v * state.v + (1.0 - decay_v) * i
    spike = surrogate(u - THRESHOLD - state.a)
    a = decay_a * state.a + jump * spike
    return AdaptiveState(v=(1.0 - spike) * u, a=a, i=i), spike


def curved_step(curve: Curve) -> Callable[..., tuple[LIFState, Tensor]]:
    """Return a LIF step with a function in its membrane, u[t] = decay v[t-1] + 0.1 curve(v[t-1]) + x[t]."""

    def step(state: LIFState, x: Tensor, *, decay: float, surrogate: Sigmoid = SURROGATE) -> tuple[LIFState, Tensor]:
        u = decay * state.v + 0.1 * curve(state.v) + x
        spike = surrogate(u - THRESHOLD)
        return LIFState(v=(1.0 - spike) * u), spike

    return step


def curved_adaptive_step(*curves: Curve) -> Callable[..., tuple[AdaptiveState, Tensor]]:
    """Return a step of three states that evaluates each of the curves once.

    i[t] = decay_i i[t-1] + x[t]
    u[t] = decay_v v[t-1] + (1 - decay_v) i[t] + sum of 0.1 curve(v[t-1])
    s[t] = H(u[t] - 1 - a[t-1])
    a[t] = decay_a a[t-1] + jump s[t]
    v[t] = (1 - s[t]) u[t]
    """

    def step(
        state: AdaptiveState,
        x: Tensor,
        *,
        decay_v: float,
        decay_a: float,
        decay_i: float,
        jump: float,
        surrogate: Sigmoid = SURROGATE,
    ) -> tuple[AdaptiveState, Tensor]:
        i = decay_i * state.i + x
        u = decay_v * state.v + (1.0 - decay_v) * i
        for curve in curves:
            u = u + 0.1 * curve(state.v)
        spike = surrogate(u - THRESHOLD - state.a)
        a = decay_a * state.a + jump * spike
        return AdaptiveState(v=(1.0 - spike) * u, a=a, i=i), spike

    return step


class Neuron(NamedTuple):
    """A step with everything that ``scan`` wants beside the inputs.

    Args:
        step: the step.
        state: type of its state, a NamedTuple of tensors that all have the shape of an input.
        params: its parameters.
        drives: the upper end of each input; with more than one, the step takes a tuple.
        exact: the fused backend promises the bits of the loop, since the membrane meets no transcendental function.
        recurrent: the step is a ``Recurrent``, whose spikes come back through a matrix; ``state`` is its neuron's.
    """

    step: Callable[..., tuple[Any, Tensor]]
    state: Callable[..., Any]
    params: dict[str, Any]
    drives: tuple[float, ...] = (DRIVE,)
    exact: bool = True
    recurrent: bool = False

    def zeros(self, shape: tuple[int, ...]) -> Any:
        """Return the state before the first step."""
        fields: tuple[str, ...] = self.state._fields  # type: ignore[attr-defined]
        state = self.state(*(torch.zeros(shape) for _ in fields))
        return RecurrentState(state, torch.zeros(shape)) if self.recurrent else state


def _one(curve: Curve) -> Neuron:
    return Neuron(curved_step(curve), LIFState, {"decay": DECAY}, exact=False)


def _three(*curves: Curve) -> Neuron:
    return Neuron(curved_adaptive_step(*curves), AdaptiveState, ADAPTIVE, exact=False)


def _pow(v: Tensor) -> Tensor:
    return torch.pow(v.abs() + 0.1, 1.7)


def _log(v: Tensor) -> Tensor:
    return torch.log(v.abs() + 1.5)


MODELS = {
    "lif": Neuron(lif_step, LIFState, {"decay": DECAY}),
    "if": Neuron(if_step, IFState, {}),
    # exp in the step makes it one of those that are only near the loop
    "biolif": Neuron(biolif_step, BioLIFState, {"nudt": 0.1}, drives=(4.0, 1.0), exact=False),
    "adaptive": Neuron(adaptive_step, AdaptiveState, ADAPTIVE),
    RECURRENT: Neuron(
        # mypy takes no named tuple for a callable
        Recurrent(lif_step, dense),  # type: ignore[arg-type]
        LIFState,
        {"decay": DECAY, "threshold": THRESHOLD, "surrogate": SURROGATE},
        exact=False,
        recurrent=True,
    ),
}

# the functions that a kernel can inline as polynomials, in steps of one state and of three
SMOOTH = {
    "exp": _one(torch.exp),
    "tanh": _one(torch.tanh),
    "sigmoid": _one(torch.sigmoid),
    "exp, 3 states": _three(torch.exp),
    "tanh, 3 states": _three(torch.tanh),
    "sigmoid, 3 states": _three(torch.sigmoid),
    "exp + tanh + sigmoid, 3 states": _three(torch.exp, torch.tanh, torch.sigmoid),
}

# the functions that it may have to leave to the C library
HARD = {
    "sin": _one(torch.sin),
    "cos": _one(torch.cos),
    "pow": _one(_pow),
    "erf": _one(torch.erf),
    "log": _one(_log),
}

NEURONS = MODELS | SMOOTH | HARD
