"""The fused scan as autograd Functions: its gradient, and vmap of both passes."""

from collections.abc import Container, Sequence
from operator import and_
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

from spikingtorch.functional.core.modes import in_eager
from spikingtorch.functional.core.torch_private import dispatch_keys, peek_interpreter_stack
from spikingtorch.functional.core.tree import Gradients, Tensors
from spikingtorch.functional.fused.ir import DTYPES, from_text
from spikingtorch.functional.fused.runtime import (
    checks,
    torch_ops,  # noqa: F401 - torch_ops registers the raw ones
)
from spikingtorch.functional.fused.runtime.executable import Executable, Launched
from spikingtorch.functional.fused.runtime.scan_spec import Counts, ScanSpec, with_zeros
from spikingtorch.functional.fused.runtime.second_derivative import (
    FirstDerivative,
    Reference,
    first_derivative,
    is_differentiated,
    known_signature,
)


def fused_scan(spec: ScanSpec, scalars: tuple[float, ...], reference: Reference | None, tensors: Tensors) -> Tensors:
    """Return final states and outputs, differentiable, and the tensors that are kept for the gradient.

    This takes tensors of every kind, under every transform: states, inputs, and parameters that are tensors. The scan
    is not folded. ``launched`` serves scans that have already run. ``reference`` is the scan by the loop, for second
    derivatives; it is None inside torch.compile, which has none.
    """
    groups = split(tensors, spec.counts)
    if torch.compiler.is_exporting():
        counts = [len(group) for group in groups]
        found: Tensors = torch.ops.spikingtorch.scan_exported([*tensors], counts, scalars, spec.program, spec.dim)
        return found
    # torch.compile takes no Function without a gradient, and it is never inside a transform here
    transformed = not torch.compiler.is_compiling() and peek_interpreter_stack() is not None
    if transformed or (torch.is_grad_enabled() and any([tensor.requires_grad for tensor in tensors])):
        found = FusedScan.apply(spec, scalars, reference, *tensors)  # type: ignore[no-untyped-call]
    else:
        found = torch.ops.spikingtorch.scan_forward(*groups, scalars, spec.program, spec.dim, False)
    return found


def differentiable(launched: Launched, scalars: tuple[float, ...], reference: Reference, tensors: Tensors) -> Tensors:
    """Return the results of a scan that has run on plain tensors, with their gradient."""
    # the C++ apply, without a check for transforms: plain tensors have none around them
    found: Tensors = _apply(launched, scalars, reference, *tensors)
    return found


@known_signature
class FusedScan(Function):
    """``apply(spec, scalars, reference, *states, *xs, *params)``; returns ``(*finals, *outs, *kept)``."""

    @staticmethod
    def forward(
        spec: ScanSpec, scalars: tuple[float, ...], reference: Reference | None, *tensors: Tensor
    ) -> tuple[Tensor, ...]:
        """Return final states, outputs and the states that the backward pass starts from."""
        groups = split(tensors, spec.counts)
        options = scalars, spec.program, spec.dim, spec.saves_states
        return tuple(torch.ops.spikingtorch.scan_forward(*groups, *options))

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        """Save tensors and kept states; a result requires a gradient if it depends on a tensor that does."""
        ctx.spec, ctx.scalars, ctx.reference, *tensors = inputs
        states, _, _, outs = ctx.spec.counts
        results, kept = output[: states + outs], output[states + outs :]
        ctx.executable = None
        checks.save(ctx, (*tensors, *kept))
        constant = ctx.spec.without_gradient(ctx.needs_input_grad[OPTIONS:])
        ctx.mark_non_differentiable(*kept, *[results[k] for k in constant])
        ctx.set_materialize_grads(False)

    @staticmethod
    def backward(ctx: Any, *cotangents: Tensor | None) -> Any:
        """Return None for each option, then the gradients of the tensors, None where one is not wanted."""
        return _input_gradients(ctx, cotangents)

    @staticmethod
    def vmap(  # pyright: ignore[reportIncompatibleMethodOverride]
        info: Any,
        in_dims: tuple[Any, ...],
        spec: ScanSpec,
        scalars: tuple[float, ...],
        reference: Reference | None,
        *tensors: Tensor,
    ) -> Any:
        """Scan with the batch as the first axis of the neurons, so that the axis of time moves by one."""
        streams = range(spec.counts[0], spec.counts[0] + spec.counts[1])
        moved = _batch_first(tensors, in_dims[OPTIONS:], spec.counts, streams)
        batched = spec._replace(dim=spec.dim + 1)
        found = FusedScan.apply(batched, scalars, reference, *moved)  # type: ignore[no-untyped-call]
        return found, (0,) * len(found)


class FusedScanLaunched(Function):
    """``apply(launched, scalars, reference, *tensors)``: the results of a scan that has run on plain tensors."""

    @staticmethod
    def forward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, launched: Launched, scalars: tuple[float, ...], reference: Reference, *tensors: Tensor
    ) -> tuple[Tensor, ...]:
        """Return the results, and save the tensors and the kept states."""
        ctx.executable, ctx.scalars, ctx.reference = launched.executable, scalars, reference
        ctx.spec, results = launched.executable.spec, tuple(launched.results)
        ctx.save_for_backward(*tensors, *launched.kept)
        if constant := launched.executable.without_gradient(ctx.needs_input_grad[OPTIONS:]):
            ctx.mark_non_differentiable(*[results[k] for k in constant])
        ctx.set_materialize_grads(False)
        return results

    @staticmethod
    def backward(ctx: Any, *cotangents: Tensor | None) -> Any:
        """Return None for each option, then the gradients of the tensors, None where one is not wanted."""
        return _input_gradients(ctx, cotangents)


@known_signature
class FusedScanGradient(FirstDerivative):
    """``apply(spec, scalars, wanted, *states, *xs, *params, *kept, *cotangents)``.

    Returns the gradients of the wanted states, inputs and parameters, in this order.
    """

    @staticmethod
    def forward(
        spec: ScanSpec, scalars: tuple[float, ...], wanted: tuple[bool, ...], *tensors: Tensor
    ) -> tuple[Tensor, ...]:
        """Return the wanted gradients, each in the shape of its tensor."""
        groups = split(tensors[: len(wanted)], spec.counts)
        rest = list(tensors[len(wanted) :])
        first = len(rest) - spec.counts[0] - spec.counts[3]
        options = scalars, spec.program, spec.dim, list(wanted)
        return tuple(torch.ops.spikingtorch.scan_backward(*groups, rest[:first], rest[first:], *options))

    @staticmethod
    def vmap(  # pyright: ignore[reportIncompatibleMethodOverride]
        info: Any,
        in_dims: tuple[Any, ...],
        spec: ScanSpec,
        scalars: tuple[float, ...],
        wanted: tuple[bool, ...],
        *tensors: Any,
    ) -> Any:
        """Differentiate with the batch as the first axis of the neurons, and of every gradient."""
        states, xs, _, outs = spec.counts
        first_out = len(tensors) - outs
        kept = range(len(wanted), first_out - states)
        streams = {*range(states, states + xs), *kept, *range(first_out, len(tensors))}
        moved = _batch_first(tensors, in_dims[3:], spec.counts, streams)
        # each member of the batch has its own gradient, though they may share the tensor
        leaves = [
            leaf.expand(info.batch_size, *leaf.shape[1:]) if want else leaf
            for leaf, want in zip(moved[: len(wanted)], wanted, strict=True)
        ]
        batched = spec._replace(dim=spec.dim + 1)
        found = FusedScanGradient.apply(batched, scalars, wanted, *leaves, *moved[len(wanted) :])  # type: ignore[no-untyped-call]
        return found, (0,) * len(found)


OPTIONS = 3  # number of arguments of a Function before its tensors
_apply: Any = getattr(super(Function, FusedScanLaunched), "apply")  # noqa: B009 - torch does not annotate it


def _input_gradients(ctx: Any, cotangents: Gradients) -> Any:
    """Return None for each option of a Function, then the gradients of its tensors, None where one is not wanted.

    ``cotangents`` are those of all results; those of the kept tensors come last and are ignored.
    """
    spec: ScanSpec = ctx.spec
    needed = ctx.needs_input_grad[OPTIONS:]
    wanted = tuple(map(and_, needed, spec.differentiable_of_given))
    given = cotangents[: spec.given_states + spec.counts[3]]
    coming = [cotangent for cotangent in given if cotangent is not None]
    if not coming:
        return (None,) * (OPTIONS + len(wanted))
    saved: tuple[Tensor, ...] = ctx.saved_tensors  # only once, because checkpoint unpacks them a single time
    gradients = iter(_found(ctx, saved, given, coming, wanted) if any(wanted) else ())
    grads = [next(gradients) if want else None for want in wanted]
    if wanted != needed:
        grads = with_zeros(grads, needed, spec.reached([each is not None for each in given]), saved)
    return (*(None,) * OPTIONS, *grads)


def _check_batched(cotangents: Tensors) -> None:
    """Raise under ``is_grads_batched``, whose vmap takes torch's operations and no Function."""
    if not torch.compiler.is_compiling() and any([dispatch_keys(each).has("Batched") for each in cotangents]):
        raise RuntimeError(
            "scan: the fused backend takes no batch of gradients, as from torch.autograd.grad(..., "
            "is_grads_batched=True) or torch.autograd.functional.jacobian(..., vectorize=True). Call "
            "torch.func.jacrev or torch.func.vmap; or scan(..., backend='loop'), a SpikingNet with mode='step'"
        )


def _found(ctx: Any, saved: Tensors, given: Gradients, coming: Tensors, wanted: tuple[bool, ...]) -> list[Tensor]:
    """Return the wanted gradients."""
    executable: Executable | None = ctx.executable
    tensors, kept = saved[: len(wanted)], saved[len(wanted) :]
    spec, scalars = ctx.spec, ctx.scalars
    by_loop: Reference | None = ctx.reference if is_differentiated(tensors, wanted) else None
    eager = executable is not None and in_eager()
    if executable is not None and eager and by_loop is None:
        gradients = executable.gradients(tensors, kept, given, scalars, wanted)
        if gradients is not None:
            return gradients
    if executable is None or not (eager and executable.target.holds([*saved, *coming])):
        checks.check_saved(saved, ctx.saved_forms if executable is None else executable.forms)
        _check_batched(coming)
    whole, tensors, given, all_wanted = _unfolded(spec, tensors, given, wanted)
    found: Tensors
    if by_loop is not None:  # connected to their own graph
        found = by_loop(tensors, given, whole.dim, all_wanted, whole.program, scalars)
    else:  # by an operation that torch sees, because a transform, a compiler or a mode intercepts the call
        found = first_derivative(FusedScanGradient, whole, scalars, all_wanted, *tensors, *kept, *given)
    return _folded(spec, found, wanted)


def _unfolded(
    spec: ScanSpec, tensors: Tensors, cotangents: Gradients, wanted: tuple[bool, ...]
) -> tuple[ScanSpec, Tensors, Gradients, tuple[bool, ...]]:
    """Return a scan that is not folded, with its tensors, its cotangents, and which gradients are wanted."""
    fold, states, xs = spec.fold, spec.counts[0], spec.counts[1]
    if fold is None:
        return spec, tensors, cotangents, wanted
    rank = tensors[0].ndim
    rest = [tensors[0].new_zeros((1,) * rank, dtype=DTYPES[dtype]) for dtype in from_text(spec.program).states]
    over_time = [x.unflatten(0, fold) for x in tensors[:xs]]
    outs = [None if c is None else c.unflatten(0, fold) for c in cotangents]
    whole = spec._replace(fold=None)
    return whole, [*rest, *over_time, *tensors[xs:]], [*[None] * states, *outs], (*[False] * states, *wanted)


def _folded(spec: ScanSpec, found: Tensors, wanted: tuple[bool, ...]) -> list[Tensor]:
    """Return gradients; the gradients of folded inputs have the shape of these inputs."""
    streams = 0 if spec.fold is None else sum(wanted[: spec.counts[1]])
    return [*[grad.flatten(0, 1) for grad in found[:streams]], *found[streams:]]


def split(tensors: Tensors, counts: Counts) -> tuple[list[Tensor], list[Tensor], list[Tensor]]:
    """Return states, inputs and parameters."""
    states, streams = counts[0], counts[0] + counts[1]
    return list(tensors[:states]), list(tensors[states:streams]), list(tensors[streams:])


def _batch_first(
    tensors: Sequence[Any], dims: Sequence[int | None], counts: Counts, streams: Container[int]
) -> list[Any]:
    """Return the tensors with the axis of vmap in front, of length one where a tensor is not mapped."""
    first = counts[0]  # an input has the axes of the neurons, and time
    axes = tensors[first].ndim - (dims[first] is not None)

    def moved(tensor: Tensor, dim: int | None, rank: int) -> Tensor:
        front = tensor[None] if dim is None else tensor.movedim(dim, 0)
        return front[(slice(None), *(None,) * (rank + 1 - front.ndim))]

    return [
        None if tensor is None else moved(tensor, dim, axes if index in streams else axes - 1)
        for index, (tensor, dim) in enumerate(zip(tensors, dims, strict=True))
    ]
