"""The fused scan of ordinary tensors, straight to the kernel: nobody transforms, traces or compiles what is called."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor
from torch.autograd import Function

from spikingtorch.functional.core.modes import are_plain_cpu, in_eager
from spikingtorch.functional.fused.runtime import checks, torch_ops
from spikingtorch.functional.fused.runtime.autograd import Counts, FusedScanGradient
from spikingtorch.functional.fused.runtime.records import Launcher
from spikingtorch.functional.fused.runtime.second_derivative import Reference, is_differentiated

# ways in which the tensors of one backward pass lie in memory that it knows itself; others are looked up
_LAYOUTS = 8


class DirectScan:
    """The scan of a program, for tensors that all lie in memory as those of the first call do.

    Args:
        program: the program, as text.
        dim: axis of time in the inputs, which all have the axes of the neurons.
        saves_states: whether the gradient of the program needs the states.
        differentiable: for each tensor, whether the program has a gradient of it.
        counts: how many states, inputs, parameters and outputs there are.
    """

    def __init__(
        self, program: str, dim: int, saves_states: bool, differentiable: tuple[bool, ...], counts: Counts
    ) -> None:
        self.program = program
        self.dim = dim
        self.saves_states = saves_states
        self.differentiable = differentiable
        self.counts = counts
        self.ends = counts[0], counts[0] + counts[1], sum(counts[:3])
        self._forward: dict[bool, Launcher | None] = {}
        self._backward: dict[Any, Launcher] = {}
        self._saved: list[checks.Form] = []  # what a backward pass starts from

    def __call__(
        self, tensors: Sequence[Tensor], scalars: tuple[float, ...], reference: Reference | None
    ) -> tuple[Sequence[Tensor], Sequence[Tensor]]:
        """Return final states and outputs.

        Args:
            tensors: states, inputs, and parameters that are tensors.
            scalars: floats of the program.
            reference: the scan by the loop, if autograd is to know of it.
        """
        if reference is not None:
            found: Sequence[Tensor] = FusedScanDirect.apply(self, scalars, reference, *tensors)  # type: ignore[no-untyped-call]
        else:
            found = self.forward(tensors, scalars, keep=False)
        return found[: self.counts[0]], found[self.counts[0] :]

    def forward(self, tensors: Sequence[Tensor], scalars: tuple[float, ...], *, keep: bool) -> list[Tensor]:
        """Return final states, outputs and, with ``keep``, the states that the backward pass starts from."""
        ready = self._forward.get(keep)
        if ready is not None:
            return ready(tensors, scalars)
        groups = self._split(tensors)
        found = torch_ops.forward(*groups, scalars, self.program, self.dim, keep)
        if keep == self.saves_states:
            self._saved = checks.forms((*tensors, *found[self.counts[0] + self.counts[3] :]))
        self._forward[keep] = torch_ops.find_launcher(
            torch_ops.forward_key(*groups, scalars, self.program, self.dim, keep)
        )
        return found

    def backward(
        self,
        tensors: Sequence[Tensor],
        kept: Sequence[Tensor],
        cotangents: Sequence[Tensor | None],
        scalars: tuple[float, ...],
        wanted: tuple[bool, ...],
    ) -> list[Tensor]:
        """Return the wanted gradients of states, inputs and parameters."""
        # of the saved tensors as well: hooks on them hand back what they like
        given = (wanted, *torch_ops.layouts_of((*tensors, *kept, *cotangents)))
        ready = self._backward.get(given)
        if ready is not None:
            found = ready((*tensors, *kept, *cotangents), scalars)
            return torch_ops.sum_to_shapes(found, [leaf for leaf, want in zip(tensors, wanted, strict=True) if want])
        self.check_saved((*tensors, *kept))
        arguments = (*self._split(tensors), kept, cotangents, scalars, self.program, self.dim, wanted)
        found = torch_ops.backward(*arguments)
        known = torch_ops.find_launcher(torch_ops.backward_key(*arguments))
        if known is not None and len(self._backward) < _LAYOUTS:
            self._backward[given] = known
        return found

    def check_saved(self, tensors: Sequence[Tensor]) -> None:
        """Raise ValueError unless what was saved for the backward pass has come back in its form."""
        checks.check_saved(tensors, self._saved)

    def _split(self, tensors: Sequence[Tensor]) -> tuple[Sequence[Tensor], Sequence[Tensor], Sequence[Tensor]]:
        states, streams, params = self.ends
        return tensors[:states], tensors[states:streams], tensors[streams:params]


class FusedScanDirect(Function):
    """``apply(scan, scalars, reference, *states, *xs, *params)`` returns ``(*finals, *outs)``."""

    @staticmethod
    def forward(
        ctx: Any, scan: DirectScan, scalars: tuple[float, ...], reference: Reference, *tensors: Tensor
    ) -> tuple[Tensor, ...]:
        """Return final states and outputs; save the tensors and the states that the backward pass starts from."""
        found = scan.forward(tensors, scalars, keep=scan.saves_states)
        results = found[: scan.counts[0] + scan.counts[3]]
        ctx.scan, ctx.scalars, ctx.reference = scan, scalars, reference
        ctx.save_for_backward(*tensors, *found[len(results) :])
        ctx.mark_non_differentiable(*[out for out in results if not out.is_floating_point()])
        ctx.set_materialize_grads(False)
        return tuple(results)

    @staticmethod
    def backward(ctx: Any, *cotangents: Tensor | None) -> Any:
        """Return the gradients, straight from the kernel unless torch has to see them computed."""
        scan: DirectScan = ctx.scan
        wanted = tuple([n and has for n, has in zip(ctx.needs_input_grad[3:], scan.differentiable, strict=True)])
        given = [cotangent for cotangent in cotangents if cotangent is not None]
        if not any(wanted) or not given:
            return (None,) * (3 + len(wanted))
        saved: tuple[Tensor, ...] = ctx.saved_tensors
        tensors, kept = saved[: len(wanted)], saved[len(wanted) :]
        if is_differentiated(tensors, wanted):
            found = ctx.reference.gradients(tensors, cotangents, scan.dim, wanted, scan.program, ctx.scalars)
        elif in_eager() and are_plain_cpu((*saved, *given)):
            found = scan.backward(tensors, kept, cotangents, ctx.scalars, wanted)
        else:
            scan.check_saved(saved)
            options = scan.program, scan.dim, ctx.scalars, scan.counts, wanted
            found = list(FusedScanGradient.apply(*options, *saved, *cotangents))  # type: ignore[no-untyped-call]
        grads = iter(found)
        return (None, None, None, *[next(grads) if want else None for want in wanted])
