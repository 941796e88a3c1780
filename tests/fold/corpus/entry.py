"""An entry of the corpus: a network, what mode "auto" is to make of it, how it is called, and what changes."""

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

import spikingtorch as st
from tests.nets_that_step import Hole, Own, Two, nothing, readout

Code = Callable[[Any, Tensor], Any]
FOLDS = "folds"

# shapes of a sample at one step: features; channels, height and width; tokens and features; features of ``Two``
VECTOR, IMAGE, SEQUENCE, FOUR = (6,), (4, 8, 8), (5, 8), (4,)


@dataclass(frozen=True)
class Entry:
    """A network, and how it is called. The name of an entry says what nothing else in the corpus has.

    Attributes:
        make: builds the network; in training mode unless ``training`` says otherwise.
        expected: FOLDS; a pattern of what the report says if it steps; None where either is right, as long as the
            numbers are those of its steps.
        then: the same of the report after the last call; None if nothing is asked.
        change: what is done to the network after the first call.
        batches: numbers of samples of the calls.
        shape: of a sample at one step.
        dtype: of weights and inputs.
        training: whether the network trains, or is evaluated.
        gradients: whether it is differentiated.
        draws: whether its numbers depend on how often random numbers are drawn.
        precisions: whether it is called with dtypes of fewer bits as well.
        each_time: whether each run of the tests has it, not only one in many.
        input: all inputs, (N, T, *shape), if noise does not do.
    """

    make: Callable[[], nn.Module]
    expected: str | None
    then: str | None = None
    change: Callable[[Any], object] | None = None
    batches: tuple[int, ...] = (4, 4, 2)
    shape: tuple[int, ...] = VECTOR
    dtype: torch.dtype = torch.float64
    training: bool = True
    gradients: bool = True
    draws: bool = False
    precisions: bool = False
    input: Tensor | None = None
    each_time: bool = False

    def network(self) -> nn.Module:
        """Return the network, the same one each time."""
        torch.manual_seed(0)
        return self.make().to(self.dtype).train(self.training)


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


class Whole(NamedTuple):
    """What builds a whole network from its parts, in place of code between two layers."""

    build: Callable[..., nn.Module]
    shape: tuple[int, ...] = FOUR


def two(before: Hole = nothing, between: Hole = nothing, after: Hole = nothing) -> Whole:
    """Return two linear and two spiking layers with code around them."""
    return Whole(partial(Two, before, between, after))


def own(code: Hole) -> Whole:
    """Return the same layers, called by code."""
    return Whole(partial(Own, code))


def reads_out(code: Hole) -> Whole:
    """Return two layers that hand on what code makes of their input, so that small differences are seen."""
    return Whole(partial(readout, code))


def _entry(expected: str | None, code: Code | Whole, options: dict[str, Any]) -> Entry:
    known = {field.name for field in fields(Entry)}
    how = {name: value for name, value in options.items() if name in known}
    parts = {name: make for name, make in options.items() if name not in known}
    whole = code if isinstance(code, Whole) else Whole(partial(Between, code), VECTOR)
    how.setdefault("shape", whole.shape)
    return Entry(lambda: whole.build(**{name: make() for name, make in parts.items()}), expected, **how)


def folds(code: Code | Whole, **options: Any) -> Entry:
    """Return an entry whose steps are merged into its batch.

    Args:
        code: called with the network and the spikes of its first layer; or a whole network.
        options: fields of an entry; all others are parts of the network: what makes each, by name.
    """
    return _entry(FOLDS, code, options)


def steps(code: Code | Whole, says: str = "", **options: Any) -> Entry:
    """Return an entry whose steps are run one by one; the report says why."""
    return _entry(says, code, options)


def hides(code: Code | Whole, **options: Any) -> Entry:
    """Return an entry that hides what must not fold; whichever way it runs, its numbers are those of its steps."""
    return _entry(None, code, options)


def each_time(entries: dict[str, Entry]) -> dict[str, Entry]:
    """Return entries that each run of the tests has."""
    return {name: replace(entry, each_time=True) for name, entry in entries.items()}


def module(net: Any, x: Tensor) -> Any:
    """Call the part of this name."""
    return net.module(x)


def linear(inputs: int = 6, outputs: int = 6) -> Callable[[], nn.Linear]:
    """Return what makes a linear layer."""
    return lambda: nn.Linear(inputs, outputs)


def norm() -> nn.Module:
    return nn.BatchNorm1d(6)


def parametrized(register: Callable[..., object], *options: Any) -> Callable[[], nn.Linear]:
    """Return what makes a linear layer to which something has been done."""

    def make() -> nn.Linear:
        layer = nn.Linear(6, 6)
        register(layer, *options)
        return layer

    return make


def weight(*shape: int) -> Callable[[], nn.Parameter]:
    """Return what makes a parameter of random numbers."""
    return lambda: nn.Parameter(torch.randn(shape, dtype=torch.float64))


def buffer(*shape: int) -> Callable[[], nn.Buffer]:
    """Return what makes a buffer of numbers in [0, 1)."""
    return lambda: nn.Buffer(torch.rand(shape, dtype=torch.float64))
