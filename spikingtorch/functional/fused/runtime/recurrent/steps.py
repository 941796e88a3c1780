"""The parts of a recurrence, and the kernels of its neuron for one step, whose neurons are one axis."""

from collections.abc import Sequence
from itertools import chain
from typing import Any, NamedTuple

import torch
from torch import Tensor

from spikingtorch.functional.core import allocation
from spikingtorch.functional.core.tree import Gradients, Tensors
from spikingtorch.functional.fused.ir import DTYPES, from_text
from spikingtorch.functional.fused.runtime.executable import Executable, Launcher, executable
from spikingtorch.functional.fused.runtime.scan_spec import ScanSpec


class Neuron(NamedTuple):
    """The neuron of a recurrence."""

    program: str  # of one step, as text
    scalars: tuple[float, ...]  # floats of the program
    differentiable: tuple[bool, ...]  # for each state, input and parameter, whether the program has a gradient of it

    @property
    def records(self) -> list[torch.dtype]:
        """The dtypes of the outputs after the first one, which feeds back through the synapse."""
        return [DTYPES[dtype] for dtype in from_text(self.program).outs[1:]]


class RecurrentArgs(NamedTuple):
    """The tensors of a recurrence, or one value for each of them."""

    states: Sequence[Any]  # of the neuron before the first step, (*N,)
    s: Any  # output before the first step, (*N,)
    xs: Sequence[Any]  # inputs, (T, *N)
    weight: Any  # of the synapse
    params: Sequence[Any]  # parameters of the neuron; in the loops as from ``flat``


class Saved(NamedTuple):
    """The values that a forward pass saves."""

    outs: Tensor  # s[0] ... s[T-1], (T, *N)
    currents: Tensor  # the input currents of the neuron, (T, *N)
    states: Tensors  # of the neuron, (steps, *N): before each step and after the last, or before one step in 16


class Cotangents(NamedTuple):
    """The incoming gradients, None for zero."""

    finals: Gradients  # of the states after the last step
    s: Tensor | None  # of the output of the last step, as part of the state
    outs: Tensor | None  # of the outputs that feed back, (T, *N)
    records: Gradients  # of the other outputs, (T, *N) each


class Place(NamedTuple):
    """Where a loop finds an array at each step."""

    array: Tensor  # (steps, *N); one of all steps if it does not move
    first: int = 0  # the step of the array that counts as step 0
    # the number of its steps between two chunks of the loop in C, None for all of them; zero if the chunks share them
    chunk: int | None = None
    moves: bool = True  # whether each step has its own

    @property
    def after(self) -> "Place":
        """The place one step later: of a state, where a step writes what the next one reads."""
        return self._replace(first=1)


class Kernel(NamedTuple):
    """The kernel of a step, and the places of its arrays."""

    launcher: Launcher
    places: list[Place]


class Slopes(NamedTuple):
    """The memory of a walk back through the steps, which holds its results at the end."""

    states: list[Place]  # states before each step
    of_states: list[Place | None]  # gradients of the states, None where the program has none
    of_currents: Tensor  # gradient of the input current of the neuron, (T, *N)
    of_others: Gradients  # of the other inputs, None where it is not wanted
    of_spikes: Place  # gradients of the outputs: of all steps if a parameter wants its gradient
    of_s: Tensor | None  # of the output before the first step, if it is wanted


def fixed(array: Tensor) -> Place:
    """Return the place of an array of all steps."""
    return Place(array, moves=False)


def fresh(states: Sequence[Tensor], steps: int, chunk: int | None = None) -> list[Place]:
    """Return memory for states before each step and after the last."""
    return [Place(allocation.empty((steps + 1, *s.shape), s.dtype, s.device), 0, chunk) for s in states]


def empty_records(neuron: Neuron, steps: int, s: Tensor) -> list[Tensor]:
    """Return memory for the outputs that do not feed back, (steps, *N) each; s is one step."""
    return [allocation.empty((steps, *s.shape), dtype, s.device) for dtype in neuron.records]


def slopes(
    neuron: Neuron, given: RecurrentArgs, cotangents: Cotangents, wanted: RecurrentArgs, states: list[Place], last: int
) -> Slopes:
    """Return memory for the walk back; it holds the incoming gradients after the last step.

    ``given`` and ``wanted`` are the tensors of the forward pass, and whether the gradient of each is wanted; ``states``
    are those before each step. In the array of a state, ``last`` is the place of the one after the last step.
    """
    (x, *others), s, drives = given.xs, given.s, neuron.differentiable[len(states)]
    flows = neuron.differentiable[: len(states)]
    of_states = [
        p._replace(array=allocation.like(p.array)) if flow else None for p, flow in zip(states, flows, strict=True)
    ]
    for of, final in zip(of_states, cotangents.finals, strict=True):
        if of is not None:
            of.array[last] = 0.0 if final is None else final
    full = any(wanted.params)
    of_spikes = allocation.empty((len(x) if full else 1, *s.shape), s.dtype, s.device)
    of_last = [cotangents.s, None if cotangents.outs is None else cotangents.outs[-1]]
    of_spikes[-1] = sum((g for g in of_last if g is not None), start=0.0)
    of_others = [allocation.like(other) if want else None for other, want in zip(others, wanted.xs[1:], strict=True)]
    of_currents = allocation.like(x) if drives else allocation.like(x).zero_()
    of_s = allocation.like(s) if wanted.s else None
    return Slopes(states, of_states, of_currents, of_others, Place(of_spikes, moves=full), of_s)


def forward_kernel(
    neuron: Neuron, given: RecurrentArgs, states: Sequence[Place], driven: Place, written: Sequence[Place]
) -> Kernel:
    """Return the kernel of a step, from the states before it and the input currents to the outputs."""
    others = given.xs[1:]
    groups = _one_step([p.array for p in states], [driven.array, *others], given.params)
    launcher = _executable(neuron, groups).forward_launcher([*chain(*groups)], keep=False)
    read = [*states, driven, *map(Place, others), *map(fixed, given.params)]
    return Kernel(launcher, [*read, *[state.after for state in states], *written])


def backward_kernel(
    neuron: Neuron, given: RecurrentArgs, driven: Place, found: Slopes, of_records: Gradients
) -> Kernel:
    """Return the kernel of a step back: states, inputs and parameters; cotangents; gradients of states and inputs.

    ``driven`` are the input currents, and ``of_records`` the gradients of the outputs after the first, None for zero.
    """
    states, of_states, others = found.states, found.of_states, given.xs[1:]
    flows, drives = [of is not None for of in of_states], neuron.differentiable[len(states)]
    wants = (*flows, drives, *[of is not None for of in found.of_others], *[False] * len(given.params))
    groups = _one_step([p.array for p in states], [driven.array, *others], given.params)
    of_outs = [found.of_spikes.array, *of_records]
    cotangents = [
        *(None if of is None else _row(of.array) for of in of_states),
        *(None if of is None else _line(of) for of in of_outs),
    ]
    launcher = _executable(neuron, groups).backward_launcher([*chain(*groups)], (), cotangents, wants)
    there = [of for of in of_states if of is not None]
    read = [*states, driven, *map(Place, others), *map(fixed, given.params), *[of.after for of in there]]
    coming = [found.of_spikes, *[Place(of) for of in of_records if of is not None]]
    written = [*([found.of_currents] if drives else []), *[of for of in found.of_others if of is not None]]
    return Kernel(launcher, [*read, *coming, *there, *map(Place, written)])


def of_params(
    neuron: Neuron, given: RecurrentArgs, currents: Tensor, found: Slopes, of_records: Gradients, wanted: Sequence[bool]
) -> list[Tensor | None]:
    """Return the gradients of the wanted parameters, None for the others: all steps are samples of one step."""
    if not any(wanted):
        return [None] * len(wanted)
    T, size = len(currents), given.s.numel()
    states = [p.array[:T].view(T, size) for p in found.states]
    streams = [x.view(1, T, size) for x in (currents, *given.xs[1:])]
    of_states = [None if p is None else p.array[1:].view(T, size) for p in found.of_states]
    of_outs = [None if g is None else g.view(1, T, size) for g in (found.of_spikes.array, *of_records)]
    wants = (*[False] * (len(states) + len(streams)), *wanted)
    run, tensors = _executable(neuron, (states, streams, given.params)), [*states, *streams, *given.params]
    grads = iter(run.backward(tensors, (), [*of_states, *of_outs], neuron.scalars, wants))
    return [next(grads) if want else None for want in wanted]


def flat(params: Tensors, shape: Sequence[int]) -> list[Tensor]:
    """Return the parameters with one value per neuron, all neurons on one axis; single numbers stay single."""
    # a single number has no axes, of which there could be more than the one of the neurons
    alone = [param.reshape(()) if param.numel() == 1 else param for param in params]
    return [param if param.ndim == 0 else allocation.contiguous(param.expand(shape)).view(-1) for param in alone]


def _executable(neuron: Neuron, groups: tuple[Tensors, ...]) -> Executable:
    """Return the executable of one step for states, inputs and parameters with this layout in memory."""
    counts = len(groups[0]), len(groups[1]), len(groups[2]), 1 + len(neuron.records)
    spec = ScanSpec(neuron.program, 0, True, neuron.differentiable, counts)
    return executable(spec, [*chain(*groups)], keeps_format=False)


def _one_step(states: Tensors, streams: Tensors, params: Tensors) -> tuple[Tensors, Tensors, Tensors]:
    return list(map(_row, states)), list(map(_line, streams)), params


def _row(over_time: Tensor) -> Tensor:
    """Return the first step of a state."""
    return over_time[0].view(-1)


def _line(stream: Tensor) -> Tensor:
    """Return the first step of a stream."""
    return stream[:1].view(1, -1)
