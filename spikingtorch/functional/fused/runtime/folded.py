"""All steps of a folded layer at once, from rest: what comes in and goes out is (N T, ...), straight to the kernels."""

from collections.abc import Sequence
from operator import and_
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd import Function

from spikingtorch.functional.core.modes import are_plain_cpu, in_eager
from spikingtorch.functional.fused.runtime import checks, memory, torch_ops
from spikingtorch.functional.fused.runtime.autograd import FusedScanGradient
from spikingtorch.functional.fused.runtime.direct import DirectScan
from spikingtorch.functional.fused.runtime.layout import CHUNK
from spikingtorch.functional.fused.runtime.memory_format import Order
from spikingtorch.functional.fused.runtime.records import Launcher, TensorSpec
from spikingtorch.functional.fused.runtime.second_derivative import Reference, is_differentiated


class Train(NamedTuple):
    """What a scan found, none of it known to autograd.

    Attributes:
        finals: the states after the last step.
        outs: folded outputs.
        last: those of the last step, in memory of their own.
        kept: the states that the backward pass starts from.
    """

    finals: list[Tensor]
    outs: Tensor
    last: Tensor
    kept: list[Tensor]


class FoldedScan:
    """The scan of a program, for inputs and parameters that lie in memory as these do.

    It runs once to get hold of its kernel.

    Args:
        scan: the program.
        order: of the axes in memory, where that is another one than they have.
        size: N samples and T steps.
        states: dtype of each state.
        xs: folded inputs, (N T, ...).
        numbers: parameters that are tensors.
        scalars: floats of the program.
        saves_states: whether there is to be a backward pass.

    Raises:
        LookupError: there is no kernel that takes them as they are, or the output is not like the input.
    """

    def __init__(
        self,
        scan: DirectScan,
        order: Order | None,
        size: tuple[int, int],
        states: Sequence[torch.dtype],
        xs: Sequence[Tensor],
        numbers: Sequence[Tensor],
        scalars: tuple[float, ...],
        saves_states: bool,
    ) -> None:
        self.scan, self._order, self._size = scan, order, size
        self.differentiable = scan.differentiable[scan.counts[0] :]  # inputs and parameters
        x, (N, T) = xs[0], size
        # one zero stands for all neurons
        self._rest = [memory.empty((1,) * x.ndim, dtype).zero_() for dtype in states]
        streams = [self._over_time(each) for each in xs]
        in_order = order is None or all([number.numel() == 1 for number in numbers])
        if not in_order or not all([stream.is_contiguous() for stream in streams]):
            raise LookupError("inputs or parameters that lie in memory in another order than the neurons")
        arguments = (self._rest, streams, numbers, scalars, scan.program, scan.dim)
        keep = saves_states and scan.saves_states and T > CHUNK  # the first states of all are at rest
        found = torch_ops.forward(*arguments, keep, last=True)
        ready = torch_ops.find_launcher(torch_ops.forward_key(*arguments, keep, last=True))
        outs = found[len(states) : len(states) + scan.counts[3]]
        self._saved = checks.forms([*xs, *numbers, *found[len(states) + 2 * len(outs) :]])
        if ready is None or [out.shape for out in outs] != [streams[0].shape]:
            raise LookupError("tensors that are copied for the kernel, or an output that is not like the input")
        self._folded = (x.shape, x.stride())
        of_step = ((N, *x.shape[1:]), x.stride())
        finals, out = [TensorSpec(*of_step, dtype) for dtype in states], outs[0].dtype
        self._forward = ready.into([*finals, TensorSpec(*self._folded, out), TensorSpec(*of_step, out)])
        self._backward: dict[tuple[bool, ...], tuple[Any, Launcher]] = {}

    def forward(self, tensors: Sequence[Tensor], scalars: tuple[float, ...]) -> Train | None:
        """Return what the scan finds for inputs and parameters; None if an input is NaN or infinite."""
        found, finite = self._forward.run((*self._rest, *tensors), scalars)
        if not finite:
            return None
        states = len(self._rest)
        return Train(found[:states], found[states], found[states + 1], found[states + 2 :])

    def backward(
        self,
        tensors: Sequence[Tensor],
        kept: Sequence[Tensor],
        cotangent: Tensor,
        scalars: tuple[float, ...],
        wanted: tuple[bool, ...],
    ) -> list[Tensor]:
        """Return the wanted gradients of inputs and parameters, for a cotangent of the folded outputs."""
        if cotangent.stride() != self._folded[1] and not self._over_time(cotangent).is_contiguous():
            # what flattens channels-last images hands back contiguous ones
            shape, strides = self._folded
            cotangent = memory.empty_strided(shape, strides, dtype=cotangent.dtype, device=memory.CPU).copy_(cotangent)
        # the saved tensors as well: hooks on them hand back what they like
        given = torch_ops.layouts_of((*tensors, *kept, cotangent))
        known = self._backward.get(wanted)
        if known is not None and known[0] == given:
            found = known[1]((*self._rest, *tensors, *kept, cotangent), scalars)
            return torch_ops.sum_to_shapes(found, [leaf for leaf, want in zip(tensors, wanted, strict=True) if want])
        self.check_saved((*tensors, *kept))
        xs, numbers, cotangents = self._arranged(tensors, cotangent)
        program, dim, all_wanted = self.scan.program, self.scan.dim, self._of_all(wanted)
        arguments = (self._rest, xs, numbers, kept, cotangents, scalars, program, dim, all_wanted)
        gradients = torch_ops.backward(*arguments)
        ready = torch_ops.find_launcher(torch_ops.backward_key(*arguments))
        if ready is not None:
            places = [TensorSpec(*self._folded, x.dtype) for x, want in zip(xs, wanted, strict=False) if want]
            self._backward[wanted] = given, ready.into(places)
        return self._fold(gradients, wanted)

    def by_loop(
        self,
        reference: Reference,
        tensors: Sequence[Tensor],
        cotangent: Tensor,
        scalars: tuple[float, ...],
        wanted: tuple[bool, ...],
    ) -> list[Tensor]:
        """Return what ``backward`` does, attached to a graph of its own."""
        xs, numbers, cotangents = self._arranged(tensors, cotangent)
        given, all_wanted = [*self._rest, *xs, *numbers], self._of_all(wanted)
        found = reference.gradients(given, cotangents, self.scan.dim, all_wanted, self.scan.program, scalars)
        return self._fold(found, wanted)

    def in_sight(
        self,
        tensors: Sequence[Tensor],
        kept: Sequence[Tensor],
        cotangent: Tensor,
        scalars: tuple[float, ...],
        wanted: tuple[bool, ...],
    ) -> list[Tensor]:
        """Return what ``backward`` does, in sight of torch."""
        self.check_saved((*tensors, *kept))
        xs, numbers, cotangents = self._arranged(tensors, cotangent)
        options = self.scan.program, self.scan.dim, scalars, self.scan.counts, self._of_all(wanted)
        found = FusedScanGradient.apply(*options, *self._rest, *xs, *numbers, *kept, *cotangents)  # type: ignore[no-untyped-call]
        return self._fold(found, wanted)

    def check_saved(self, tensors: Sequence[Tensor]) -> None:
        """Raise ValueError unless what was saved for the backward pass has come back in its form."""
        checks.check_saved(tensors, self._saved)

    def _arranged(
        self, tensors: Sequence[Tensor], cotangent: Tensor
    ) -> tuple[Sequence[Tensor], Sequence[Tensor], Sequence[Tensor | None]]:
        """Return inputs over time, parameters, and the cotangents of final states and outputs over time."""
        inputs = self.scan.counts[1]
        cotangents = [*[None] * len(self._rest), self._over_time(cotangent)]
        return [*map(self._over_time, tensors[:inputs])], tensors[inputs:], cotangents

    def _of_all(self, wanted: tuple[bool, ...]) -> tuple[bool, ...]:
        return (*[False] * len(self._rest), *wanted)

    def _over_time(self, folded: Tensor) -> Tensor:
        """Return (N, T, ...) with the other axes in the order of memory."""
        stream: Tensor = folded.unflatten(0, self._size)
        return stream if self._order is None else self._order.stream(stream)

    def _fold(self, gradients: Sequence[Tensor], wanted: tuple[bool, ...]) -> list[Tensor]:
        """Return gradients, those of inputs as the inputs came in."""
        back = None if self._order is None else self._order.back()
        streams = sum(wanted[: self.scan.counts[1]])
        in_order = [grad if back is None else back.stream(grad) for grad in gradients[:streams]]
        return [*[grad.flatten(0, 1) for grad in in_order], *gradients[streams:]]


class FusedTrain(Function):
    """``apply(scan, train, scalars, reference, *xs, *params)``.

    Returns the outputs of a scan that has run, with their gradient.
    """

    @classmethod
    def apply(cls, *args: Any) -> Any:
        """Run it, without the look at transforms: there is none around ordinary tensors."""
        return super(Function, cls).apply(*args)  # type: ignore[misc]

    @staticmethod
    def forward(
        ctx: Any, scan: FoldedScan, train: Train, scalars: tuple[float, ...], reference: Reference, *tensors: Tensor
    ) -> Tensor:
        """Return the outputs; save inputs, parameters and the states that the backward pass starts from."""
        ctx.scan, ctx.scalars, ctx.reference, ctx.leaves = scan, scalars, reference, len(tensors)
        ctx.save_for_backward(*tensors, *train.kept)
        if not train.outs.is_floating_point():
            ctx.mark_non_differentiable(train.outs)
        ctx.set_materialize_grads(False)
        return train.outs

    @staticmethod
    def backward(ctx: Any, cotangent: Tensor | None) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Return the gradients, straight from the kernel unless torch has to see them computed."""
        folded: FoldedScan = ctx.scan
        wanted = tuple(map(and_, ctx.needs_input_grad[4:], folded.differentiable))
        if cotangent is None or not any(wanted):
            return (None,) * (4 + len(wanted))
        saved: tuple[Tensor, ...] = ctx.saved_tensors
        tensors, kept = saved[: ctx.leaves], saved[ctx.leaves :]
        if is_differentiated(tensors, wanted):
            found = folded.by_loop(ctx.reference, tensors, cotangent, ctx.scalars, wanted)
        elif in_eager() and are_plain_cpu((*saved, cotangent)):
            found = folded.backward(tensors, kept, cotangent, ctx.scalars, wanted)
        else:
            found = folded.in_sight(tensors, kept, cotangent, ctx.scalars, wanted)
        grads = iter(found)
        return (None, None, None, None, *[next(grads) if want else None for want in wanted])
