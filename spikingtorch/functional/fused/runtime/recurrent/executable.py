"""A recurrence that is ready to run: the kernel of its neuron one step at a time, and one product between two steps.

    currents[t] = x[t] + synapse(s[t-1])          s[t], state[t] = step(state[t-1], currents[t])

A neuron may have more outputs than s, called records. They do not feed back, and the kernel writes them as well.

Backward, the gradient of currents[t] goes through the transposed synapse to s[t-1]. The gradient of the weights is one
product over all steps at the end, because the currents are linear in the weights. The gradient of the neuron's
parameters comes at the end of a block of steps: see ``blocks``.

The loop over the steps is ``c_loop``, in C, or ``torch_loop``. In the loops all arrays are contiguous, with time first.
"""

import math
from collections.abc import Sequence
from functools import partial, reduce
from itertools import accumulate
from typing import Any, cast

import torch
from torch import Tensor

from spikingtorch.functional.core import allocation
from spikingtorch.functional.core.lru import LRUCache
from spikingtorch.functional.core.precision import without_autocast
from spikingtorch.functional.core.tree import Gradients, Tensors
from spikingtorch.functional.fused.ir import DTYPES, Program, from_text
from spikingtorch.functional.fused.runtime import checks
from spikingtorch.functional.fused.runtime import executable as elementwise
from spikingtorch.functional.fused.runtime.executable import Executable
from spikingtorch.functional.fused.runtime.layout import expanded, layouts_of, sum_to
from spikingtorch.functional.fused.runtime.recurrent import blocks, c_abi, c_loop, steps, torch_loop
from spikingtorch.functional.fused.runtime.recurrent.steps import Cotangents, Neuron, RecurrentArgs, Saved
from spikingtorch.functional.fused.runtime.recurrent.synapses import IN_C, SYNAPSES, LinearMap
from spikingtorch.functional.fused.runtime.scan_spec import ScanSpec
from spikingtorch.functional.recurrent import PRODUCTS, misfit

_LIMIT = 1024
_RULES = {name: synapse for synapse, name in PRODUCTS.items()} | {IN_C: next(iter(PRODUCTS))}


class RecurrentExecutable(Executable):
    """The scan of a recurrence on tensors of one layout: see ``Executable``, whose launchers are loops here."""

    def __init__(self, spec: ScanSpec, tensors: Tensors, *, keeps_format: bool) -> None:
        super().__init__(spec, tensors, keeps_format=keeps_format)
        assert self.program.product is not None, "a recurrence"
        self._synapse, self._weight, self._text = self.program.product
        neuron, self.saves_states = from_text(self._text), True
        self._differentiable = tuple([node >= 0 for node in neuron.gradients])
        dtype = DTYPES[neuron.outs[0]]
        if self._synapse not in SYNAPSES or (self._synapse == IN_C and not c_abi.available(dtype)):
            raise ValueError(f"scan: got synapse {self._synapse!r} for {dtype}, expected one of {', '.join(SYNAPSES)}")
        shape, weight = self.shape, tensors[spec.given_states + spec.counts[1] + self._weight].shape
        wrong = "there are none" if 0 in shape else misfit(_RULES[self._synapse], shape, weight)
        if wrong:
            raise ValueError(f"scan: weight has shape {tuple(weight)} for spikes of shape {shape}; {wrong}")

    def assemble_forward(self, given: Sequence[Tensor], keep: bool, count: bool) -> Any:
        """Return the loop over the steps, as a launcher."""
        return partial(self._forward_loop, keep)

    def assemble_backward(self, given: Gradients, kept: int, wanted: Sequence[bool]) -> Any:
        """Return the loop back, as a launcher."""
        first, outs = len(wanted) + kept, len(wanted) + kept + self.spec.counts[0]
        coming = *given[first:outs], *[None if c is None else self._placement.unfold(c) for c in given[outs:]]
        saved, form = cast(Tensors, given[len(wanted) : first]), (self.shape, self.steps, self.spec.dim)
        expected = [(*each, None) for each in kept_tensors(self.program, self.shape, self.steps)]
        checks.check_backward(self.program, form, (saved, expected), coming, wanted)
        return partial(self._backward_loop, tuple(wanted), kept)

    def _forward_loop(
        self, keep: bool, given: Tensors, scalars: Sequence[float], spare: Tensors
    ) -> tuple[list[Tensor], Any]:
        """Return the results, and whether all inputs are finite: a tensor, so that only who asks waits for a device."""
        # detached, so that autograd records nothing: an interrupt could leave a mode without gradients switched on
        given = [tensor.detach() for tensor in given]
        with without_autocast(given[0].device):
            neuron, taken = self._taken(given, scalars)
            if self._synapse == IN_C:
                finals, records, trace = c_loop.forward(neuron, taken, keep)
            else:
                finals, records, trace = torch_loop.forward(neuron, SYNAPSES[self._synapse], taken)
            finite = reduce(torch.logical_and, [x.sum().isfinite() for x in taken.xs])
            over_time = [trace.outs, *records]
            outs = [self._given_out(each, keep and each is trace.outs) for each in over_time]
            lasts = [each[-1].clone() for each in over_time] if self.spec.fold else []
            kept = [trace.outs, trace.currents, *trace.states] if keep else []
            # a copy, because results of an operator share no memory
            return [*finals, trace.outs[-1].clone(), *outs, *lasts, *kept], finite

    def _backward_loop(
        self, wanted: tuple[bool, ...], kept: int, given: Gradients, scalars: Sequence[float]
    ) -> tuple[list[Tensor], bool]:
        """Return the wanted gradients."""
        given = [None if tensor is None else tensor.detach() for tensor in given]
        leaves = cast(Tensors, given[: len(wanted)])
        saved, cotangents = given[len(wanted) : len(wanted) + kept], given[len(wanted) + kept :]
        with without_autocast(leaves[0].device):
            neuron, taken = self._taken(leaves, scalars)
            outs, currents, *states = map(allocation.contiguous, cast(Tensors, saved))
            trace, coming, wants = Saved(outs, currents, states), self._coming(cotangents), self._grouped(wanted)
            rule, in_c = SYNAPSES[self._synapse], self._synapse == IN_C
            walk = c_loop.backward if in_c else partial(torch_loop.backward, rule)
            every = c_abi.CHUNK if in_c else 1
            found, of_params = blocks.walk_back(walk, every, neuron, taken, trace, coming, wants)
            of_states = [None if place is None else place.array[0].clone() for place in found.of_states]
            of_weight = _of_weight(rule, found.of_currents, taken, outs) if wants.weight else None
            grads = [*of_states, found.of_s, found.of_currents, *found.of_others, *of_params]
            grads.insert(len(grads) - len(of_params) + self._weight, of_weight)
            chosen = [k for k, want in enumerate(wanted) if want]
            return [self._in_shape(cast(Tensor, grads[k]), leaves[k], k) for k in chosen], True

    def _grouped(self, items: Sequence[Any]) -> RecurrentArgs:
        """Return states, inputs and parameters, or values for them, by their roles."""
        states, xs, params, _ = self._groups(items)
        params = [*params]
        weight = params.pop(self._weight)
        return RecurrentArgs(states[:-1], states[-1], xs, weight, params)

    def _taken(self, given: Tensors, scalars: Sequence[float]) -> tuple[Neuron, RecurrentArgs]:
        """Return the neuron and the tensors as the loops take them."""
        states, s, xs, weight, params = self._grouped(given)
        neuron = Neuron(self._text, tuple(scalars), self._differentiable)
        streams = [self._in_front(self._placement.unfold(x)) for x in xs]
        first, *others = [allocation.contiguous(state.expand(self.shape)) for state in (s, *states)]
        return neuron, RecurrentArgs(others, first, streams, weight, steps.flat(params, self.shape))

    def _in_front(self, stream: Tensor) -> Tensor:
        """Return an unfolded array over time as (T, *N)."""
        return allocation.contiguous(expanded(stream, self.shape, self.spec.dim).movedim(self.spec.dim, 0))

    def _given_out(self, over_time: Tensor, copy: bool) -> Tensor:
        """Return an array over time for the caller, in memory of its own if it is saved as well; never a view."""
        dim, fold = self.spec.dim, self.spec.fold
        if dim == 0 and not copy:
            return over_time
        moved = over_time.movedim(0, dim)
        shape = moved.shape if fold is None else (math.prod(fold), *self.shape[1:])
        found = allocation.empty(shape, over_time.dtype, over_time.device)
        found.view(moved.shape).copy_(moved)
        return found

    def _coming(self, cotangents: Gradients) -> Cotangents:
        """Return the incoming gradients as the loops take them."""
        ends = self.spec.counts[0]
        *finals, of_s = [None if c is None else allocation.contiguous(c.expand(self.shape)) for c in cotangents[:ends]]
        outs, *records = [None if c is None else self._in_front(self._placement.unfold(c)) for c in cotangents[ends:]]
        return Cotangents(finals, of_s, outs, records)

    def _in_shape(self, grad: Tensor, leaf: Tensor, place: int) -> Tensor:
        """Return a gradient in the shape of its tensor, the one at a place among states, inputs and parameters."""
        states, xs, *_ = accumulate(self.spec.counts)
        if states <= place < xs:
            found = sum_to(grad.movedim(0, self.spec.dim), self._placement.unfold(leaf).shape).contiguous()
            return found if self.spec.fold is None else found.flatten(0, 1)
        if place == xs + self._weight:
            return grad
        return sum_to(grad.view(leaf.shape if grad.numel() == 1 else self.shape), leaf.shape)


def _of_weight(rule: LinearMap, of_currents: Tensor, given: RecurrentArgs, outs: Tensor) -> Tensor:
    """Return the gradient of the weights: one product for all steps but the first, which the initial output drives."""
    first = rule.of_weight(of_currents[:1], given.s[None], given.weight)
    return first if len(of_currents) == 1 else first + rule.of_weight(of_currents[1:], outs[:-1], given.weight)


def kept_tensors(program: Program, shape: Sequence[Any], T: Any) -> list[tuple[torch.dtype, tuple[Any, ...]]]:
    """Return dtype and shape of all that a forward pass keeps for the gradient: outputs, currents, and states."""
    assert program.product is not None, "a recurrence"
    steps_of_states = c_loop.kept_steps(T) if program.product.synapse == IN_C else T + 1
    spikes, *_ = program.outs
    found = [(spikes, T), (program.xs[0], T), *[(state, steps_of_states) for state in program.states[:-1]]]
    return [(DTYPES[dtype], (length, *shape)) for dtype, length in found]


_executables: LRUCache[RecurrentExecutable] = LRUCache(_LIMIT)


def executable(spec: ScanSpec, tensors: Tensors, *, keeps_format: bool) -> Executable:
    """Return the executable of a scan, with or without a product, for tensors with this layout in memory."""
    if from_text(spec.program).product is None:
        return elementwise.executable(spec, tensors, keeps_format=keeps_format)
    key = (spec, keeps_format, *layouts_of(tensors))
    return _executables.get_or_make(key, partial(RecurrentExecutable, spec, tensors, keeps_format=keeps_format))
