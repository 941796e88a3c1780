"""The parts of a recurrence, and the kernels of its neuron for one step, whose neurons are one axis."""

from collections.abc import Sequence
from itertools import chain
from typing import Any, NamedTuple

import torch
from torch import Tensor

from spikingtorch.functional.core import memory
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
    params: Sequence[Any]  # parameters of the neuron, broadcastable to (*N,)

    def flattened(self) -> list[Any]:
        """Return all of them in one list."""
        return [*self.states, self.s, *self.xs, self.weight, *self.params]


def with_synapse(row: Sequence[bool], states: int, xs: int, driven: bool) -> tuple[bool, ...]:
    """Return a value for each tensor of a recurrence, from the values for the tensors of its neuron.

    Args:
        row: of each state, input and parameter.
        states: the number of states.
        xs: the number of inputs.
        driven: the value for the output and for the weights, which act through the first input.
    """
    return (*row[:states], driven, *row[states : states + xs], driven, *row[states + xs :])


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


class RecurrentGrads(NamedTuple):
    """The results of the walk back through the steps."""

    of_currents: Tensor  # gradient of the input current of the neuron, (T, *N)
    of_others: Gradients  # of the other inputs, None where it is not wanted
    of_states: Gradients  # of the states before the first step, None where the program has none
    of_s: Tensor | None  # of the output before the first step, if it is wanted
    states_over_time: Tensors  # states before each step, (T or more, *N); empty unless a parameter wants its gradient
    of_states_over_time: Gradients  # gradients of the states, (T + 1, *N); likewise
    of_spikes: Tensor  # gradients of the outputs, (T, *N); likewise


def forward_step(neuron: Neuron, states: Tensors, streams: Tensors, params: Tensors) -> Launcher:
    """Return the kernel of a step: states, inputs and parameters, then states after it and outputs.

    Args:
        neuron: the neuron.
        states: arrays over time, (steps, *N).
        streams: the inputs, (T, *N).
        params: as from ``flat``.
    """
    groups = [_row(s) for s in states], [_line(i) for i in streams], params
    return _executable(neuron, groups).forward_launcher([*chain(*groups)], keep=False)


def backward_step(
    neuron: Neuron,
    states: Tensors,
    streams: Tensors,
    params: Tensors,
    of_states: Gradients,
    of_outs: Gradients,
    of_others: Gradients,
) -> Launcher:
    """Return the kernel of a step back: states, inputs and parameters; cotangents; gradients of states and inputs.

    Args:
        neuron: the neuron.
        states: arrays over time, (steps, *N).
        streams: the inputs, (T, *N).
        params: as from ``flat``.
        of_states: arrays for the gradients of the states, None where there is none.
        of_outs: arrays for those of the outputs, None for zero.
        of_others: arrays for those of the inputs but the first, None where it is not wanted.
    """
    flows, drives = [g is not None for g in of_states], neuron.differentiable[len(states)]
    wants = (*flows, drives, *(g is not None for g in of_others), *[False] * len(params))
    groups = [_row(s) for s in states], [_line(i) for i in streams], params
    cotangents = [
        *(None if g is None else _row(g) for g in of_states),
        *(None if g is None else _line(g) for g in of_outs),
    ]
    return _executable(neuron, groups).assemble_backward((*chain(*groups), *cotangents), 0, wants)


def flat(params: Tensors, shape: torch.Size) -> list[Tensor]:
    """Return the parameters with one value per neuron, all neurons on one axis; single numbers stay single."""
    return [param if param.numel() == 1 else memory.contiguous(param.expand(shape)).view(-1) for param in params]


def gradient_arrays(
    neuron: Neuron, given: RecurrentArgs, cotangents: Cotangents, wanted: RecurrentArgs
) -> tuple[Tensor, list[Tensor | None], Tensor, Tensor | None]:
    """Return memory for the gradients of the currents, of the other inputs, of the outputs, and of the first output.

    The memory of the outputs holds the gradient of the last output. It holds all steps if the parameters need them.
    """
    (x, *others), s = given.xs, given.s
    of_currents = memory.like(x) if neuron.differentiable[len(given.states)] else memory.like(x).zero_()
    of_others = [memory.like(other) if want else None for other, want in zip(others, wanted.xs[1:], strict=True)]
    of_spikes = memory.empty((len(x) if any(wanted.params) else 1, *s.shape), s.dtype, s.device)
    last = [cotangents.s, None if cotangents.outs is None else cotangents.outs[-1]]
    of_spikes[-1] = sum((g for g in last if g is not None), start=0.0)
    return of_currents, of_others, of_spikes, memory.like(s) if wanted.s else None


def empty_records(neuron: Neuron, steps: int, s: Tensor) -> list[Tensor]:
    """Return memory for the outputs that do not feed back, (steps, *N) each; s is one step."""
    return [memory.empty((steps, *s.shape), dtype, s.device) for dtype in neuron.records]


def _executable(neuron: Neuron, groups: tuple[Tensors, ...]) -> Executable:
    """Return the executable of one step for states, inputs and parameters with this layout in memory."""
    states, streams, params = groups
    counts = len(states), len(streams), len(params), 1 + len(neuron.records)
    spec = ScanSpec(neuron.program, 0, True, neuron.differentiable, counts)
    return executable(spec, [*chain(*groups)], keeps_format=False)


def _row(over_time: Tensor) -> Tensor:
    """Return the first step of a state."""
    return over_time[0].view(-1)


def _line(stream: Tensor) -> Tensor:
    """Return the first step of a stream."""
    return stream[:1].view(1, -1)
