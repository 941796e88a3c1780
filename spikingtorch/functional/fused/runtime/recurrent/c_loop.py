"""Run a recurrence through a matrix with its loop over time in C: see dense_loop.h."""

import ctypes
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from spikingtorch.functional.core import allocation
from spikingtorch.functional.core.threads import threads_for
from spikingtorch.functional.fused.runtime.cpu import CPU
from spikingtorch.functional.fused.runtime.recurrent import c_abi, steps
from spikingtorch.functional.fused.runtime.recurrent.c_abi import CHUNK, Carried, CPlace, kernel, place
from spikingtorch.functional.fused.runtime.recurrent.steps import (
    Cotangents,
    Neuron,
    Place,
    RecurrentArgs,
    Saved,
    Slopes,
)

# the number of steps that outweighs the work that is done once
FEWEST = 8
# bytes of a matrix: 2048 neurons in float32
_LARGEST = 2**24
# multiplications of a product that one thread does in the time of one step of a neuron, about
_PRODUCTS_A_STEP = 16


def runs_in_c(s: Tensor, x: Tensor) -> bool:
    """Return True if a recurrence runs here, and not with torch's products from Python.

    Both were measured on two threads, forward and backward, for 1 to 64 samples. With up to 1024 neurons this loop is
    1.2 to 3 times as fast. With 2048 neurons it is 1.4 to 2.5 times as fast if the outputs are spikes, and 0.8 to 1.6
    times if no output is zero. With 4096 neurons it is mostly slower, because each thread reads the whole matrix at
    every step. For few samples, torch shares one product among all threads, but some threads would be idle here: hence
    the second factor. The work that is done once, mainly the copy of the matrix, takes as long as four to eight steps
    from Python.
    """
    if s.device.type != CPU.device or x.dtype != s.dtype or not c_abi.available(s.dtype):
        return False
    size = s.shape[-1]
    if torch.compiler.is_exporting():  # for any number of steps and samples, which may be symbols
        return bool(size * size * s.element_size() <= _LARGEST)
    idle = c_abi.threads_here() * size // s.numel()  # threads for one sample
    return bool(x.shape[0] >= FEWEST and size * size * s.element_size() * max(idle, 1) <= _LARGEST)


def kept_steps(steps: Any) -> Any:
    """Return the number of kept states: one before every CHUNK steps."""
    return (steps + CHUNK - 1) // CHUNK


def forward(neuron: Neuron, given: RecurrentArgs, keep: bool) -> tuple[list[Tensor], list[Tensor], Saved]:
    """Return the states after the last step, the records, and the trace; without ``keep``, its outputs alone."""
    x, s, T, rows = given.xs[0], given.s, len(given.xs[0]), _rows(given)
    outs, currents = allocation.like(x), allocation.empty((T if keep else 1, *s.shape), x.dtype, x.device)
    records = steps.empty_records(neuron, T, s)
    states = steps.fresh(given.states, CHUNK, 0)
    kept = [allocation.empty((kept_steps(T), *s.shape), state.dtype, state.device) for state in given.states if keep]
    finals = [allocation.like(state) for state in given.states]
    begins = [*[place.array for place in states], *kept]
    for over_time, state in zip(begins, [*given.states] * (2 if keep else 1), strict=True):
        over_time[0] = state
    driven = Place(currents, moves=keep)
    weights = c_abi.matrix(given.weight, across=True)
    loop = _loop(given, weights, place(Place(outs, first=-1), rows), place(Place(x), rows), place(driven, rows))
    loop.first = s.data_ptr()
    written = [*map(Place, (outs, *records))]
    loop.forward = kernel(steps.forward_kernel(neuron, given, states, driven, written), rows, neuron.scalars)
    kept_at = [place(Place(each, chunk=1), rows) for each in kept]
    loop.states, loop.carried = _carried(states, rows, kept_at, [final.data_ptr() for final in finals])
    c_abi.functions(s.dtype).forward_loop(ctypes.byref(loop))
    return finals, records, Saved(outs, currents, kept)


def backward(
    neuron: Neuron, given: RecurrentArgs, trace: Saved, cotangents: Cotangents, wanted: RecurrentArgs
) -> Slopes:
    """Return the gradients at all steps."""
    T, rows, weights = len(given.xs[0]), _rows(given), c_abi.matrix(given.weight, across=False)
    # the gradients of parameters need states, and gradients of states and spikes, of all steps
    full = any(wanted.params)
    states = steps.fresh(given.states, T) if full else steps.fresh(given.states, CHUNK, 0)
    found = steps.slopes(neuron, given, cotangents, wanted, states, T if full else (T - 1) % CHUNK + 1)
    of_outs = CPlace() if cotangents.outs is None else place(Place(cotangents.outs), rows)
    source = place(Place(found.of_currents, first=1), rows)
    loop = _loop(given, weights, source, of_outs, place(found.of_spikes, rows))
    loop.of_first = 0 if found.of_s is None else found.of_s.data_ptr()
    driven, unused = Place(trace.currents), [allocation.like(given.s), *steps.empty_records(neuron, 1, given.s)]
    again = steps.forward_kernel(neuron, given, states, driven, [*map(steps.fixed, unused)])
    back = steps.backward_kernel(neuron, given, driven, found, cotangents.records)
    loop.forward, loop.backward = (kernel(each, rows, neuron.scalars) for each in (again, back))
    kept_at = [place(Place(kept, chunk=1), rows) for kept in trace.states]
    loop.states, loop.carried = _carried(states, rows, kept_at)
    loop.of_states, loop.of_carried = _carried([of for of in found.of_states if of is not None], rows)
    c_abi.functions(given.s.dtype).backward_loop(ctypes.byref(loop))
    return found


def _carried(
    states: Sequence[Place], rows: int, kept: Sequence[CPlace] = (), finals: Sequence[int] = ()
) -> tuple[int, Any]:
    """Return the number of values that are carried from chunk to chunk, and their array for C.

    ``kept`` is where one in CHUNK is kept, and ``finals`` are addresses for those after the last step.
    """
    missing = [CPlace()] * len(states), [0] * len(states)
    each = zip(states, kept or missing[0], finals or missing[1], strict=True)
    return len(states), (Carried * len(states))(*[Carried(place(at, rows), *rest) for at, *rest in each])


def _loop(given: RecurrentArgs, weights: c_abi.Matrix, source: CPlace, base: CPlace, target: CPlace) -> c_abi.Loop:
    """Return a pass without its kernels and carried values."""
    rows, size, T = _rows(given), len(given.weight), len(given.xs[0])
    threads, rows_per_group = teams(rows, given.s.numel() * T * (1 + size // _PRODUCTS_A_STEP))
    return c_abi.Loop(threads, rows, rows_per_group, T, weights.record, source, base, target)


def teams(rows: int, work: int) -> tuple[int, int]:
    """Return how many threads share the rows, and how many rows a thread takes through time together.

    ``work`` is that of all steps, in steps of a neuron.
    """
    threads = min(threads_for(work), rows)
    groups = threads * -(-rows // (threads * c_abi.ROWS))
    rows_per_group = -(-rows // groups)
    return min(threads, -(-rows // rows_per_group)), rows_per_group


def _rows(given: RecurrentArgs) -> int:
    """Return the number of samples."""
    return int(given.s.numel()) // len(given.weight)
