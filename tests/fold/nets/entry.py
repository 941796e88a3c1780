"""An entry of the table: a network, why it is in the table, what is expected of it, and how it is called."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

import spikingtorch as st

Code = Callable[[Any, Tensor], Any]
Make = Callable[[], nn.Module]
FOLDS = "folds"

# shapes of a sample at one step: features; channels, height and width; tokens and features; features of ``Two``
VECTOR, IMAGE, SEQUENCE, FOUR = (6,), (4, 8, 8), (5, 8), (4,)


@dataclass(frozen=True)
class Entry:
    """A network, and how it is called.

    Attributes:
        reason: why it is in the table: what nothing else in it has.
        make: builds it; in training mode unless it says otherwise.
        expected: FOLDS; a pattern of what the report says if it steps; None where either is right, as long as the
            numbers are those of its steps.
        shape: of a sample at one step.
        dtype: of weights and inputs.
        training: whether the network trains, or is evaluated.
        gradients: whether it is differentiated.
        draws: whether its numbers depend on how often random numbers are drawn.
        precisions: whether it is called with dtypes of fewer bits as well.
        input: all inputs, (N, T, *shape), if noise of several batches does not do.
        kept: what the network leaves somewhere else, and what clears that place before.
    """

    reason: str
    make: Make
    expected: str | None
    shape: tuple[int, ...] = VECTOR
    dtype: torch.dtype = torch.float64
    training: bool = True
    gradients: bool = True
    draws: bool = False
    precisions: bool = False
    input: Tensor | None = None
    kept: tuple[Callable[[], Any], Callable[[], object]] | None = None

    def network(self) -> nn.Module:
        """Return the network, the same one each time."""
        torch.manual_seed(0)
        return self.make().to(self.dtype).train(self.training)


def folds(reason: str, make: Make, shape: tuple[int, ...] = VECTOR, **how: Any) -> Entry:
    """Return an entry whose steps are merged into its batch."""
    return Entry(reason, make, FOLDS, shape, **how)


def steps(reason: str, make: Make, says: str = "", shape: tuple[int, ...] = VECTOR, **how: Any) -> Entry:
    """Return an entry whose steps are run one by one; the report says why."""
    return Entry(reason, make, says, shape, **how)


def hides(reason: str, make: Make, shape: tuple[int, ...] = VECTOR, **how: Any) -> Entry:
    """Return an entry that hides what must not fold; whichever way it runs, its numbers are those of its steps."""
    return Entry(reason, make, None, shape, **how)


def of_four_features(entries: dict[str, Entry]) -> dict[str, Entry]:
    """Return entries whose networks are ``Two`` or like it."""
    return {name: replace(entry, shape=FOUR) for name, entry in entries.items()}


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


def between(code: Code, **parts: Callable[[], Any]) -> Make:
    """Return what builds a network with code between two layers, and by name what makes its parts."""
    return lambda: Between(code, **{name: make() for name, make in parts.items()})


def module(make: Callable[[], Any]) -> Make:
    """Return what builds a network with a module between two layers."""
    return between(lambda net, x: net.module(x), module=make)


def weight(*shape: int) -> Callable[[], nn.Parameter]:
    """Return what makes a parameter of random numbers."""
    return lambda: nn.Parameter(torch.randn(shape, dtype=torch.float64))


def buffer(*shape: int) -> Callable[[], nn.Buffer]:
    """Return what makes a buffer of numbers in [0, 1)."""
    return lambda: nn.Buffer(torch.rand(shape, dtype=torch.float64))


def linear(inputs: int = 6, outputs: int = 6) -> Callable[[], nn.Linear]:
    """Return what makes a linear layer."""
    return lambda: nn.Linear(inputs, outputs)
