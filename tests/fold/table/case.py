"""A network of the table: code between two layers with a state, and what mode "auto" is wanted to make of it."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor, nn

import spikingtorch as st

Code = Callable[[Any, Tensor], Any]
Verdict = Literal["fold", "step"]

# shapes of a sample at one step: features; channels, height and width; tokens and features
VECTOR, IMAGE, SEQUENCE = (6,), (4, 8, 8), (5, 8)


class Between(nn.Module):
    """A spiking layer, code, and a leaky integrator, whose output shows whatever becomes of the code's.

    Args:
        code: what is called with this network and the spikes, (N, ...).
        parts: modules, parameters and other things for the code, which become attributes of this network.
    """

    def __init__(self, code: Code, **parts: Any) -> None:
        super().__init__()
        self.spiking: Any = st.LIF(tau=4.0, v0=0.5)
        self.code = code
        self.readout: Any = st.LI()
        for name, part in parts.items():
            setattr(self, name, part)

    def forward(self, x: Tensor, init: Any) -> Any:
        return self.readout(self.code(self, self.spiking(x, init)), init)


@dataclass(frozen=True)
class Case:
    """How to make a network and call it.

    Attributes:
        wanted: what mode "auto" should come to.
        code: what lies between the layers.
        shape: of a sample at one step.
        parts: by name, what makes a part that the code uses.
        dtype: of weights and inputs.
        training: whether the network trains, or is evaluated.
        gradients: whether it is differentiated.
        draws: whether its numbers depend on how often random numbers are drawn.
    """

    wanted: Verdict
    code: Code
    shape: tuple[int, ...]
    parts: dict[str, Callable[[], Any]]
    dtype: torch.dtype = torch.float64
    training: bool = True
    gradients: bool = True
    draws: bool = False

    def make(self) -> Between:
        """Return the network, the same one each time."""
        torch.manual_seed(0)
        net = Between(self.code, **{name: make() for name, make in self.parts.items()})
        return net.to(self.dtype).train(self.training)


def folds(code: Code, shape: tuple[int, ...] = VECTOR, **parts: Callable[[], Any]) -> Case:
    """Return a case whose steps may be merged into its batch."""
    return Case("fold", code, shape, parts)


def steps(code: Code, shape: tuple[int, ...] = VECTOR, **parts: Callable[[], Any]) -> Case:
    """Return a case whose steps must be run one by one."""
    return Case("step", code, shape, parts)


def evaluated(case: Case) -> Case:
    return replace(case, training=False)


def without_gradients(case: Case) -> Case:
    return replace(case, gradients=False)


def in_float32(case: Case) -> Case:
    return replace(case, dtype=torch.float32)


def drawing(case: Case) -> Case:
    return replace(case, draws=True)


def through(net: Any, x: Tensor) -> Any:
    """Call the network's ``module``."""
    return net.module(x)


def weight(*shape: int) -> Callable[[], nn.Parameter]:
    """Return what makes a parameter of random numbers."""
    return lambda: nn.Parameter(torch.randn(shape, dtype=torch.float64))


def buffer(*shape: int) -> Callable[[], nn.Buffer]:
    """Return what makes a buffer of numbers in [0, 1)."""
    return lambda: nn.Buffer(torch.rand(shape, dtype=torch.float64))


def linear(inputs: int = 6, outputs: int = 6) -> Callable[[], nn.Linear]:
    """Return what makes a linear layer."""
    return lambda: nn.Linear(inputs, outputs)
