"""The fused scan as autograd Functions: its gradient, and what vmap makes of both."""

import inspect
from collections.abc import Container, Sequence
from typing import Any, TypeAlias

import torch
from torch import Tensor
from torch._C._functorch import peek_interpreter_stack
from torch.autograd import Function

from spikingtorch.functional.fused.runtime import checks, torch_ops  # noqa: F401 - operators registers the raw ones
from spikingtorch.functional.fused.runtime.second_derivative import Reference, is_differentiated

# how many states, inputs, parameters and outputs a call has; a plain tuple, which torch.compile takes apart
Counts: TypeAlias = tuple[int, int, int, int]


def fused_scan(
    program: str,
    dim: int,
    saves_states: bool,
    differentiable: tuple[bool, ...],
    scalars: tuple[float, ...],
    counts: Counts,
    reference: Reference | None,
    tensors: Sequence[Tensor],
) -> tuple[Tensor, ...]:
    """Return final states and outputs, differentiable, and whatever else is kept for the gradient.

    Args:
        program: the program, as text.
        dim: axis of time in the inputs, which all have the axes of the neurons.
        saves_states: whether the gradient of the program needs the states.
        differentiable: for each tensor, whether the program has a gradient of it.
        scalars: floats of the program.
        counts: how many tensors of each kind there are.
        reference: the scan by the loop, for second derivatives; None inside torch.compile, which takes none.
        tensors: states before the first step, inputs, and parameters that are tensors.
    """
    states, xs, params = _split(tensors, counts)
    if torch.compiler.is_exporting():
        return tuple(torch.ops.spikingtorch.scan_exported(states, xs, params, scalars, program, dim, saves_states))
    transformed = torch.compiler.is_compiling() or peek_interpreter_stack() is not None
    if transformed or (torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors)):
        found = FusedScan.apply(program, dim, saves_states, differentiable, scalars, counts, reference, *tensors)  # type: ignore[no-untyped-call]
    else:
        found = torch.ops.spikingtorch.scan_forward(states, xs, params, scalars, program, dim, False)
    return tuple(found)


class FusedScan(Function):
    """``apply(program, dim, saves_states, differentiable, scalars, counts, reference, *states, *xs, *params)``.

    Returns ``(*finals, *outs, *kept)``.
    """

    @staticmethod
    def forward(
        program: str,
        dim: int,
        saves_states: bool,
        differentiable: tuple[bool, ...],
        scalars: tuple[float, ...],
        counts: Counts,
        reference: Reference | None,
        *tensors: Tensor,
    ) -> tuple[Tensor, ...]:
        """Return final states, outputs and, with ``keeps``, the states that the backward pass starts from."""
        states, xs, params = _split(tensors, counts)
        return tuple(torch.ops.spikingtorch.scan_forward(states, xs, params, scalars, program, dim, saves_states))

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        """Save tensors and kept states; only results that are floating have a gradient."""
        ctx.program, ctx.dim, _, ctx.differentiable, ctx.scalars, ctx.counts, ctx.reference, *tensors = inputs
        states, _, _, outs = ctx.counts
        results, kept = output[: states + outs], output[states + outs :]
        checks.save(ctx, (*tensors, *kept))
        ctx.mark_non_differentiable(*kept, *[out for out in results if not out.is_floating_point()])
        ctx.set_materialize_grads(False)

    @staticmethod
    def backward(ctx: Any, *cotangents: Tensor | None) -> Any:
        """Return None for each option, then the gradients of the tensors, None where one is not wanted."""
        states, xs, params, outs = ctx.counts
        given = cotangents[: states + outs]
        needed = ctx.needs_input_grad[7:]
        wanted = tuple([need and has for need, has in zip(needed, ctx.differentiable, strict=True)])
        if not any(wanted) or all(cotangent is None for cotangent in given):
            return (None,) * (7 + states + xs + params)
        saved = checks.saved(ctx)  # once: checkpoint unpacks them a single time
        if ctx.reference is not None and is_differentiated(saved, wanted):
            tensors = saved[: len(wanted)]
            found = ctx.reference.gradients(tensors, given, ctx.dim, wanted, ctx.program, ctx.scalars)
            return (*(None,) * 7, *[found.pop(0) if want else None for want in wanted])
        options = (ctx.program, ctx.dim, ctx.scalars, ctx.counts, wanted)
        # torch.compile knows no Function in a Function, and takes no second derivative through a backward pass anyway
        function: Any = FusedScanGradient
        gradient = function.forward if torch.compiler.is_dynamo_compiling() else function.apply
        found = list(gradient(*options, *saved, *given))
        return (*(None,) * 7, *[found.pop(0) if want else None for want in wanted])

    @staticmethod
    def vmap(  # pyright: ignore[reportIncompatibleMethodOverride]
        info: Any,
        in_dims: tuple[Any, ...],
        program: str,
        dim: int,
        saves_states: bool,
        differentiable: tuple[bool, ...],
        scalars: tuple[float, ...],
        counts: Counts,
        reference: Reference | None,
        *tensors: Tensor,
    ) -> Any:
        """Scan with the batch as one more axis of the neurons, the first, so that time is one axis further on."""
        streams = range(counts[0], counts[0] + counts[1])
        moved = _batch_first(tensors, in_dims[7:], counts, streams)
        found = FusedScan.apply(program, dim + 1, saves_states, differentiable, scalars, counts, reference, *moved)  # type: ignore[no-untyped-call]
        return found, (0,) * len(found)


class FusedScanGradient(Function):
    """``apply(program, dim, scalars, counts, wanted, *states, *xs, *params, *kept, *cotangents)``.

    Returns the gradients of the wanted states, inputs and parameters, in this order.
    """

    @staticmethod
    def forward(
        program: str,
        dim: int,
        scalars: tuple[float, ...],
        counts: Counts,
        wanted: tuple[bool, ...],
        *tensors: Tensor,
    ) -> tuple[Tensor, ...]:
        """Return the wanted gradients, each of the shape of what it is the gradient of."""
        states, xs, params = _split(tensors[: len(wanted)], counts)
        rest = list(tensors[len(wanted) :])
        first = len(rest) - counts[0] - counts[3]
        kept, cotangents = rest[:first], rest[first:]
        found = torch.ops.spikingtorch.scan_backward(
            states, xs, params, kept, cotangents, scalars, program, dim, list(wanted)
        )
        return tuple(found)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        """Keep nothing: a second derivative is the loop's to compute."""

    @staticmethod
    def backward(ctx: Any, *cotangents: Tensor | None) -> Any:
        """Raise: torch.func differentiates a gradient a second time that was chosen to be a first one."""
        raise RuntimeError(
            "scan: the fused backend has no second derivative inside torch.func. Call scan(..., backend='loop'), which "
            "has all of them"
        )

    @staticmethod
    def vmap(  # pyright: ignore[reportIncompatibleMethodOverride]
        info: Any,
        in_dims: tuple[Any, ...],
        program: str,
        dim: int,
        scalars: tuple[float, ...],
        counts: Counts,
        wanted: tuple[bool, ...],
        *tensors: Any,
    ) -> Any:
        """Differentiate with the batch as the first axis of the neurons, which every gradient has too."""
        states, xs, _, outs = counts
        first_out = len(tensors) - outs
        kept = range(len(wanted), first_out - states)
        streams = {*range(states, states + xs), *kept, *range(first_out, len(tensors))}
        moved = _batch_first(tensors, in_dims[5:], counts, streams)
        # a gradient belongs to each member of the batch, though what it is the gradient of may be shared
        leaves = [
            leaf.expand(info.batch_size, *leaf.shape[1:]) if want else leaf
            for leaf, want in zip(moved[: len(wanted)], wanted, strict=True)
        ]
        rest = moved[len(wanted) :]
        found = FusedScanGradient.apply(program, dim + 1, scalars, counts, wanted, *leaves, *rest)  # type: ignore[no-untyped-call]
        return found, (0,) * len(found)


# torch looks up the signature of forward at every call, which takes longer than the kernel of a small layer
_forward: Any
for _forward in (FusedScan.forward, FusedScanGradient.forward):
    _forward.__signature__ = inspect.signature(_forward)


def _split(tensors: Sequence[Tensor], counts: Counts) -> tuple[list[Tensor], list[Tensor], list[Tensor]]:
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
