"""Run a recurrence through a matrix with its loop over time in C: see dense_loop.h."""

import ctypes
from collections.abc import Sequence
from typing import Any, NamedTuple

from torch import Tensor

from spikingtorch.functional.core import memory
from spikingtorch.functional.core.threads import threads_for
from spikingtorch.functional.fused.recurrent import c_abi, steps
from spikingtorch.functional.fused.recurrent.c_abi import CHUNK, Carried, CKernel, Place
from spikingtorch.functional.fused.recurrent.steps import Cotangents, Neuron, RecurrentArgs, RecurrentGrads, Saved
from spikingtorch.functional.fused.runtime.cpu import CPU

# the number of steps that outweighs the work that is done once
FEWEST = 8
# bytes of a matrix: 2048 neurons in float32
_LARGEST = 2**24
# multiplications of a product that one thread does in the time of one step of a neuron, about
_PRODUCTS_A_STEP = 16


class StateBuffer(NamedTuple):
    """Memory of a value that is carried over the steps: shape (slots, *N), and the slots between two chunks."""

    memory: Tensor
    chunk: int

    def place(self, rows: int, first: int = 0) -> Place:
        """Return the memory as the C loop takes it."""
        return c_abi.place(self.memory, rows, first, self.chunk)


def runs_in_c(s: Tensor, x: Tensor) -> bool:
    """Return True if a recurrence runs here, and not with torch's products from Python.

    Both were measured on two threads, forward and backward, for 1 to 64 samples. With up to 1024 neurons this loop is
    1.2 to 3 times as fast. With 2048 neurons it is 1.4 to 2.5 times as fast if the outputs are spikes, and 0.8 to 1.6
    times if no output is zero. With 4096 neurons it is mostly slower, because each thread reads the whole matrix at
    every step. For few samples, torch shares one product among all threads, but some threads would be idle here: hence
    the second factor. The work that is done once, mainly the copy of the matrix, takes as long as four to eight steps
    from Python.

    Args:
        s: output before the first step, (*N,).
        x: the first input, (T, *N).
    """
    if s.device.type != CPU.device or x.shape[0] < FEWEST or x.dtype != s.dtype or not c_abi.available(s.dtype):
        return False
    size = s.shape[-1]
    idle = c_abi.threads_here() * size // s.numel()  # threads for one sample
    return bool(size * size * s.element_size() * max(idle, 1) <= _LARGEST)


def kept_steps(steps: Any) -> Any:
    """Return the number of kept states: one before every CHUNK steps."""
    return (steps + CHUNK - 1) // CHUNK


def forward(neuron: Neuron, given: RecurrentArgs, keep: bool) -> tuple[list[Tensor], list[Tensor], Saved]:
    """Return the states after the last step, the records, and the trace; without ``keep``, its outputs alone."""
    given, rows = _laid_out(given), _rows(given)
    x, s, T = given.xs[0], given.s, len(given.xs[0])
    outs, currents = memory.like(x), memory.empty((T if keep else 1, *s.shape), x.dtype, x.device)
    records = steps.empty_records(neuron, T, s)
    slots = _slots(given, CHUNK, 0)
    kept = [memory.empty((kept_steps(T), *s.shape), state.dtype, state.device) for state in given.states if keep]
    finals = [memory.like(state) for state in given.states]
    begins = [*(each.memory for each in slots), *kept]
    for over_time, state in zip(begins, [*given.states] * (2 if keep else 1), strict=True):
        over_time[0] = state
    driven = c_abi.place(currents, rows) if keep else c_abi.same(currents, rows)
    weights = c_abi.matrix(given.weight, across=True)
    loop = _loop(given, weights, c_abi.place(outs, rows, first=-1), c_abi.place(x, rows), driven)
    loop.first = s.data_ptr()
    written = [c_abi.place(each, rows) for each in (outs, *records)]
    loop.forward = _forward_kernel(neuron, given, slots, (currents, driven), written)
    kept_at = [c_abi.place(each, rows, chunk=1) for each in kept] if keep else [Place()] * len(finals)
    carried = [Carried(each.place(rows), at, f.data_ptr()) for each, at, f in zip(slots, kept_at, finals, strict=True)]
    loop.states, loop.carried = len(carried), (Carried * len(carried))(*carried)
    c_abi.functions(s.dtype).forward_loop(ctypes.byref(loop))
    return finals, records, Saved(outs, currents, kept)


def backward(
    neuron: Neuron, given: RecurrentArgs, trace: Saved, cotangents: Cotangents, wanted: RecurrentArgs
) -> RecurrentGrads:
    """Return the gradients at all steps."""
    given = _laid_out(given)
    rows, full, weights = _rows(given), any(wanted.params), c_abi.matrix(given.weight, across=False)
    slots, of_slots, grads = _room(neuron, given, cotangents, wanted)
    spikes = c_abi.place(grads.of_spikes, rows) if full else c_abi.same(grads.of_spikes, rows)
    of_outs = Place() if cotangents.outs is None else c_abi.place(cotangents.outs, rows)
    loop = _loop(given, weights, c_abi.place(grads.of_currents, rows, first=1), of_outs, spikes)
    loop.of_first = 0 if grads.of_s is None else grads.of_s.data_ptr()
    driven, unused = c_abi.place(trace.currents, rows), [memory.like(given.s), *steps.empty_records(neuron, 1, given.s)]
    nowhere = [c_abi.same(each, rows) for each in unused]
    loop.forward = _forward_kernel(neuron, given, slots, (trace.currents, driven), nowhere)
    loop.backward = _backward_kernel(neuron, given, trace, (slots, of_slots), grads, spikes, cotangents.records)
    carried = [
        Carried(each.place(rows), c_abi.place(kept, rows, chunk=1))
        for each, kept in zip(slots, trace.states, strict=True)
    ]
    of_carried = [Carried(each.place(rows)) for each in of_slots if each is not None]
    loop.states, loop.carried = len(carried), (Carried * len(carried))(*carried)
    loop.of_states, loop.of_carried = len(of_carried), (Carried * len(of_carried))(*of_carried)
    c_abi.functions(given.s.dtype).backward_loop(ctypes.byref(loop))
    return grads


def _room(
    neuron: Neuron, given: RecurrentArgs, cotangents: Cotangents, wanted: RecurrentArgs
) -> tuple[list[StateBuffer], list[StateBuffer | None], RecurrentGrads]:
    """Return the memory of states and of gradients; the incoming gradients after the last step are in place."""
    T, flows = len(given.xs[0]), neuron.differentiable[: len(given.states)]
    # the gradients of parameters need states, and gradients of states and spikes, of all steps
    full = any(wanted.params)
    slots = _slots(given, T, CHUNK) if full else _slots(given, CHUNK, 0)
    of_slots = [
        each._replace(memory=memory.like(each.memory)) if flow else None
        for each, flow in zip(slots, flows, strict=True)
    ]
    for of, final in zip(of_slots, cotangents.finals, strict=True):
        if of is not None:
            of.memory[T if full else (T - 1) % CHUNK + 1] = 0.0 if final is None else final
    of_currents, of_others, of_spikes, of_s = steps.gradient_arrays(neuron, given, cotangents, wanted)
    states, of_states = [each.memory for each in slots], [each and each.memory for each in of_slots]
    first = [None if of is None else of[0] for of in of_states]
    return slots, of_slots, RecurrentGrads(of_currents, of_others, first, of_s, states, of_states, of_spikes)


def _forward_kernel(
    neuron: Neuron,
    given: RecurrentArgs,
    slots: Sequence[StateBuffer],
    driven: tuple[Tensor, Place],
    outs: Sequence[Place],
) -> CKernel:
    """Return the kernel of a step, from one slot of the states to the next."""
    rows, params = _rows(given), given.params
    step = steps.forward_step(neuron, [each.memory for each in slots], [driven[0], *given.xs[1:]], params)
    places = [
        *(each.place(rows) for each in slots),
        driven[1],
        *(c_abi.place(other, rows) for other in given.xs[1:]),
        *(c_abi.same(param, rows) for param in params),
        *(each.place(rows, first=1) for each in slots),
        *outs,
    ]
    return c_abi.kernel(step, places, neuron.scalars)


def _backward_kernel(
    neuron: Neuron,
    given: RecurrentArgs,
    trace: Saved,
    slots: tuple[Sequence[StateBuffer], Sequence[StateBuffer | None]],
    grads: RecurrentGrads,
    spikes: Place,
    of_records: Sequence[Tensor | None],
) -> CKernel:
    """Return the kernel of a step back, from one slot of the states' gradients to the slot before."""
    rows, params, streams = _rows(given), given.params, [trace.currents, *given.xs[1:]]
    states, of_states, of_outs = grads.states_over_time, grads.of_states_over_time, [grads.of_spikes, *of_records]
    step = steps.backward_step(neuron, states, streams, params, of_states, of_outs, grads.of_others)
    there, drives = [each for each in slots[1] if each is not None], neuron.differentiable[len(states)]
    places = [
        *(each.place(rows) for each in slots[0]),
        *(c_abi.place(stream, rows) for stream in streams),
        *(c_abi.same(param, rows) for param in params),
        *(each.place(rows, first=1) for each in there),
        spikes,
        *(c_abi.place(of, rows) for of in of_records if of is not None),
        *(each.place(rows) for each in there),
        *([c_abi.place(grads.of_currents, rows)] if drives else []),
        *(c_abi.place(of, rows) for of in grads.of_others if of is not None),
    ]
    return c_abi.kernel(step, places, neuron.scalars)


def _loop(given: RecurrentArgs, weights: c_abi.Matrix, source: Place, base: Place, target: Place) -> c_abi.Loop:
    """Return a pass without its kernels and carried values."""
    rows, size, T = _rows(given), len(given.weight), len(given.xs[0])
    threads, rows_per_group = teams(rows, given.s.numel() * T * (1 + size // _PRODUCTS_A_STEP))
    return c_abi.Loop(threads, rows, rows_per_group, T, weights.record, source, base, target)


def teams(rows: int, work: int) -> tuple[int, int]:
    """Return how many threads share the rows, and how many rows a thread takes through time together.

    Args:
        rows: the number of rows.
        work: work of all steps, in steps of a neuron.
    """
    threads = min(threads_for(work), rows)
    groups = threads * -(-rows // (threads * c_abi.ROWS))
    rows_per_group = -(-rows // groups)
    return min(threads, -(-rows // rows_per_group)), rows_per_group


def _rows(given: RecurrentArgs) -> int:
    """Return the number of samples."""
    return int(given.s.numel()) // len(given.weight)


def _slots(given: RecurrentArgs, steps: int, chunk: int) -> list[StateBuffer]:
    shape = (steps + 1, *given.s.shape)
    return [StateBuffer(memory.empty(shape, state.dtype, state.device), chunk) for state in given.states]


def _laid_out(given: RecurrentArgs) -> RecurrentArgs:
    """Return the tensors with the parameters in the layout that C reads."""
    return given._replace(params=steps.flat(given.params, given.s.shape))
