"""The steps that ours are timed on: some of the library's, and some that a user might write."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

from benchmarks.suite import ADAPTIVE, BETA, DECAY, DRIVE, THRESHOLD
from spikingtorch.functional import BioLIFState, IFState, LIFState, Sigmoid, biolif_step, if_step, lif_step, scan

Curve = Callable[[Tensor], Tensor]
Step = Callable[..., tuple[Any, Tensor]]

SURROGATE = Sigmoid(beta=BETA)


class AdaptiveState(NamedTuple):
    """Membrane v, adaptation a and synaptic current i."""

    v: Tensor
    a: Tensor
    i: Tensor


def own_lif(*curves: Curve) -> Step:
    """Return a LIF step as a user may write it, u[t] = decay v[t-1] + x[t] + sum of 0.1 curve(v[t-1])."""

    def step(state: LIFState, x: Tensor, *, decay: Tensor | float) -> tuple[LIFState, Tensor]:
        u = decay * state.v + x
        for curve in curves:
            u = u + 0.1 * curve(state.v)
        spike = SURROGATE(u - THRESHOLD)
        return LIFState(v=(1.0 - spike) * u), spike

    return step


def adaptive(*curves: Curve) -> Step:
    """Return the step of a LIF neuron with a synaptic current and a threshold that rises with every spike.

    i[t] = decay_i i[t-1] + x[t]
    u[t] = decay_v v[t-1] + (1 - decay_v) i[t] + sum of 0.1 curve(v[t-1])
    s[t] = H(u[t] - 1 - a[t-1])
    a[t] = decay_a a[t-1] + jump s[t]
    v[t] = (1 - s[t]) u[t]
    """

    def step(
        state: AdaptiveState, x: Tensor, *, decay_v: float, decay_a: float, decay_i: float, jump: float
    ) -> tuple[AdaptiveState, Tensor]:
        i = decay_i * state.i + x
        u = decay_v * state.v + (1.0 - decay_v) * i
        for curve in curves:
            u = u + 0.1 * curve(state.v)
        spike = SURROGATE(u - THRESHOLD - state.a)
        return AdaptiveState(v=(1.0 - spike) * u, a=decay_a * state.a + jump * spike, i=i), spike

    return step


class Neuron(NamedTuple):
    """A step with what ``scan`` wants beside the inputs."""

    step: Step
    state: Callable[..., Any]  # a NamedTuple of tensors that all have the shape of an input
    params: dict[str, Any]
    drives: tuple[float, ...] = (DRIVE,)  # the upper end of each input
    exact: bool = True  # the fused backend promises the bits of the loop: nothing transcendental meets the membrane


def scanned(step: Step, state: Callable[..., Any], params: Mapping[str, Any], backend: Any) -> Callable[..., Tensor]:
    """Return a step over time, from a state of zeros, which all have the shape of an input."""
    count = len(getattr(state, "_fields", "v"))

    def run(first: Tensor, *others: Tensor) -> Tensor:
        inputs: Any = (first, *others) if others else first
        rest = state(*(torch.zeros(first.shape[1:], dtype=first.dtype, device=first.device) for _ in range(count)))
        return scan(step, rest, inputs, params=params, backend=backend)[1]

    return run


OWN_STEP = own_lif()
OWN_LAMBDA: Step = lambda state, x, *, decay: (  # noqa: E731
    LIFState(v=(1.0 - (spike := SURROGATE((u := decay * state.v + x) - THRESHOLD))) * u),
    spike,
)


def _one(curve: Curve) -> Neuron:
    return Neuron(own_lif(curve), LIFState, {"decay": DECAY}, exact=False)


def _three(*curves: Curve) -> Neuron:
    return Neuron(adaptive(*curves), AdaptiveState, ADAPTIVE, exact=not curves)


NEURONS = {
    "lif": Neuron(lif_step, LIFState, {"decay": DECAY}),
    "if": Neuron(if_step, IFState, {}),
    "biolif": Neuron(biolif_step, BioLIFState, {"nudt": 0.1}, drives=(4.0, 1.0), exact=False),
    "adaptive": _three(),
    "exp + tanh + sigmoid, 3 states": _three(torch.exp, torch.tanh, torch.sigmoid),
}
# the functions that a kernel can inline as polynomials, in steps of one state and of three
for function in (torch.exp, torch.tanh, torch.sigmoid):
    NEURONS |= {function.__name__: _one(function), f"{function.__name__}, 3 states": _three(function)}
# the functions that it may have to leave to the C library
NEURONS |= {function.__name__: _one(function) for function in (torch.sin, torch.cos, torch.erf)}
NEURONS["pow"] = _one(lambda v: torch.pow(v.abs() + 0.1, 1.7))
NEURONS["log"] = _one(lambda v: torch.log(v.abs() + 1.5))
