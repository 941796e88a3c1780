"""The raw operators: the two passes of a scan on tensors without gradients, and the scan of exported programs.

Their schema carries the program as text, so an exported graph, a compiled artefact or a spawned process finds
everything in the call. ``autograd`` computes gradients. A raw operator raises an error for a tensor that requires a
gradient, because torch would otherwise continue without it. An exported program contains no autograd Function and no
transform. It calls ``scan_exported``, which has the gradient of plain autograd.
"""

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from spikingtorch.functional.core import allocation
from spikingtorch.functional.core.shapes import with_time
from spikingtorch.functional.core.torch_private import BelowAutograd
from spikingtorch.functional.core.tree import Gradients, Tensors
from spikingtorch.functional.fused.ir import DTYPES, depends_over_time, from_text
from spikingtorch.functional.fused.runtime import checks
from spikingtorch.functional.fused.runtime.executable import Executable
from spikingtorch.functional.fused.runtime.recurrent.executable import executable, kept_tensors
from spikingtorch.functional.fused.runtime.scan_spec import ScanSpec
from spikingtorch.functional.fused.runtime.targets import TARGETS, target_on

library = torch.library.Library("spikingtorch", "DEF")
_GIVEN = "Tensor[] states, Tensor[] xs, Tensor[] params"
library.define(f"scan_forward({_GIVEN}, float[] scalars, str program, int dim, bool keep) -> Tensor[]")
# one list of tensors, with their counts: what AOTInductor compiles hands over None for an empty list
library.define("scan_exported(Tensor[] tensors, int[] counts, float[]? scalars, str program, int dim) -> Tensor[]")
library.define(
    f"scan_backward({_GIVEN}, Tensor[] kept, Tensor?[] cotangents, float[] scalars, str program, int dim,"
    " bool[] wanted) -> Tensor[]"
)


def forward(
    states: Tensors, xs: Tensors, params: Tensors, scalars: Sequence[float], program: str, dim: int, keep: bool
) -> list[Tensor]:
    """Return final states and outputs and, with ``keep``, the states that the backward pass starts from."""
    tensors = (*states, *xs, *params)
    launched = _executable((states, xs, params), scalars, program, dim).forward(tensors, scalars, keep=keep)
    return [*launched.finals, *launched.outs, *launched.kept]


def backward(
    states: Tensors,
    xs: Tensors,
    params: Tensors,
    kept: Tensors,
    cotangents: Gradients,
    scalars: Sequence[float],
    program: str,
    dim: int,
    wanted: Sequence[bool],
) -> list[Tensor]:
    """Return the wanted gradients of states, inputs and parameters, each in the shape of its tensor."""
    tensors = (*states, *xs, *params)
    # torch does so for tensors, but not for optional ones
    given = [None if cotangent is None else written_out(cotangent) for cotangent in cotangents]
    run = _executable((states, xs, params), scalars, program, dim)
    checks.check_backward_counts(run.program, given, wanted)
    return run.backward(tensors, kept, given, scalars, tuple(wanted))


def _executable(groups: tuple[Tensors, ...], scalars: Sequence[float], program: str, dim: int) -> Executable:
    details = from_text(program)
    states, xs, params = groups
    checks.check_counts(details, states, xs, params, scalars)
    counts = len(states), len(xs), len(params), len(details.outs)
    differentiable = tuple([node >= 0 for node in details.gradients])
    spec = ScanSpec(program, dim, True, differentiable, counts)
    return executable(spec, (*states, *xs, *params), keeps_format=False)


def written_out(tensor: Tensor) -> Tensor:
    """Return a tensor whose memory holds its numbers, for one that torch has lazily marked as negated or zero."""
    return allocation.like(tensor).copy_(tensor) if tensor.is_neg() or tensor._is_zerotensor() else tensor


def _fake_forward(
    states: Tensors, xs: Tensors, params: Tensors, scalars: Sequence[float], program: str, dim: int, keep: bool
) -> list[Tensor]:
    checks.check_devices((*states, *xs, *params))
    known = from_text(program)
    shape, steps, make = checks.neurons(known, states, xs, params, dim), xs[0].shape[dim], xs[0].new_empty
    finals = [(DTYPES[dtype], shape) for dtype in known.states]
    outs = [(DTYPES[dtype], with_time(shape, dim, steps)) for dtype in known.outs]
    if known.product is not None:
        kept = kept_tensors(known, shape, steps)
    else:
        over = with_time(shape, dim, target_on(xs[0].device).kept_steps(known, steps))
        kept = [(DTYPES[dtype], over) for dtype in known.states]
    return [make(size, dtype=dtype) for dtype, size in (*finals, *outs, *(kept if keep else ()))]


def _fake_gradients(*arguments: Any) -> list[Tensor]:
    """Return memory for the gradients of the first tensors that the last argument wants."""
    tensors = _tensors_of(arguments)
    checks.check_devices(tensors)
    return [leaf.new_empty(leaf.shape) for leaf, want in zip(tensors, arguments[-1], strict=False) if want]


def _tensors_of(arguments: Sequence[Any]) -> list[Tensor]:
    leaves = [leaf for each in arguments for leaf in (each if isinstance(each, list | tuple) else (each,))]
    return [leaf for leaf in leaves if isinstance(leaf, Tensor)]


def _refusing(operator: Any) -> Callable[..., Any]:
    """Return the operator for tensors that autograd records: none of them may require a gradient."""

    def call(*args: Any) -> Any:
        if torch.is_grad_enabled() and any(tensor.requires_grad for tensor in _tensors_of(args)):
            raise RuntimeError(
                f"{operator}: an input requires a gradient, and the raw operator has none. "
                "Call spikingtorch.functional.scan, which has"
            )
        with BelowAutograd():
            return operator(*args)

    return call


def implement(name: str, implementation: Callable[..., Any]) -> None:
    """Register the function of an operator of the library for tensors of every target."""
    for target in TARGETS:
        library.impl(name, implementation, target.dispatch_key)


def register(name: str, implementation: Callable[..., Any], fake: Callable[..., Any]) -> None:
    """Register a raw operator of the library, and its function for tensors without numbers."""
    implement(name, implementation)
    torch.library.register_fake(f"spikingtorch::{name}", fake, lib=library)
    library.impl(name, _refusing(getattr(torch.ops.spikingtorch, name).default), "Autograd")


register("scan_forward", forward, _fake_forward)
register("scan_backward", backward, _fake_gradients)


def _exported(
    tensors: list[Tensor], counts: Sequence[int], scalars: Sequence[float] | None, program: str, dim: int
) -> list[Tensor]:
    states, xs, params = in_groups(tensors, counts)
    return forward(states, xs, params, scalars or (), program, dim, False)


def fake_exported(
    tensors: list[Tensor], counts: Sequence[int], scalars: Sequence[float] | None, program: str, dim: int
) -> list[Tensor]:
    """Return tensors without numbers, of the shapes and dtypes of what ``scan_exported`` returns."""
    states, xs, params = in_groups(tensors, counts)
    return _fake_forward(states, xs, params, scalars or (), program, dim, False)


def in_groups(tensors: Sequence[Tensor], counts: Sequence[int]) -> list[list[Tensor]]:
    """Return the states, inputs and parameters among tensors."""
    rest = iter(tensors)
    return [list(itertools.islice(rest, count)) for count in counts]


implement("scan_exported", _exported)
torch.library.register_fake("spikingtorch::scan_exported", fake_exported, lib=library)


def _save(ctx: Any, inputs: tuple[Any, ...], output: list[Tensor]) -> None:
    tensors, ctx.counts, scalars, ctx.program, ctx.dim = inputs
    ctx.scalars, states = scalars or (), ctx.counts[0]
    known = from_text(ctx.program)
    ctx.outputs = states + len(known.outs)
    depends = depends_over_time(known.depends, states)
    spec = ScanSpec(ctx.program, ctx.dim, True, (), (*ctx.counts, len(known.outs)), depends=depends)
    needed = tuple([tensor.requires_grad for tensor in tensors])
    ctx.mark_non_differentiable(*[output[k] for k in spec.without_gradient(needed)])
    ctx.save_for_backward(*tensors)


def _exported_gradient(ctx: Any, cotangents: list[Tensor | None]) -> Any:
    """Return the gradients.

    The scan runs again for the states that they start from: their number would not be free in an exported program.
    """
    groups = in_groups(ctx.saved_tensors, ctx.counts)
    needed = zip(ctx.needs_input_grad[0], from_text(ctx.program).gradients, strict=True)
    wanted = [need and node >= 0 for need, node in needed]
    options = ctx.scalars, ctx.program, ctx.dim
    with torch.no_grad():
        kept = torch.ops.spikingtorch.scan_forward(*groups, *options, True)[ctx.outputs :]
    found = iter(torch.ops.spikingtorch.scan_backward(*groups, kept, cotangents, *options, wanted))
    return [next(found) if want else None for want in wanted], None, None, None, None


torch.library.register_autograd("spikingtorch::scan_exported", _exported_gradient, setup_context=_save, lib=library)
