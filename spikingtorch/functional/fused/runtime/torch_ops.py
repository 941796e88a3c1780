"""The raw operators: a scan forward and backward, on tensors without gradients, and the scan of exported programs.

Their schema carries the program as text, so that an exported graph, a compiled artefact or a spawned process finds
everything in the call. Gradients are the business of ``autograd``: a raw operator that is handed a tensor that requires
one raises, for torch would otherwise go on without it. An exported program knows no autograd Function, and no
transform: it calls ``scan_exported``, which has the gradient of plain autograd.
"""

import itertools
import math
from collections.abc import Callable, Hashable, Sequence
from typing import Any

import torch
from torch import Tensor

from spikingtorch.functional.core.lru import LRUCache
from spikingtorch.functional.core.shapes import with_time
from spikingtorch.functional.fused.ir import DTYPES, from_text
from spikingtorch.functional.fused.runtime import checks, memory
from spikingtorch.functional.fused.runtime.kernels import backward_kernel, forward_kernel
from spikingtorch.functional.fused.runtime.layout import arrange, expanded, is_narrow, kept_steps
from spikingtorch.functional.fused.runtime.records import ArgumentBuffer, Launcher

_LIMIT = 1024

# kernels with the records of their arrays, for tensors that lie in memory as others did
_ready: LRUCache[Launcher] = LRUCache(_LIMIT)
# the shape of the neurons, for tensors that were found to fit
_checked: LRUCache[tuple[int, ...]] = LRUCache(_LIMIT)

library = torch.library.Library("spikingtorch", "DEF")
library.define(
    "scan_forward(Tensor[] states, Tensor[] xs, Tensor[] params, float[] scalars, str program, int dim, bool keep)"
    " -> Tensor[]"
)
library.define(
    "scan_exported(Tensor[] states, Tensor[] xs, Tensor[] params, float[] scalars, str program, int dim, bool keep)"
    " -> Tensor[]"
)
library.define(
    "scan_backward(Tensor[] states, Tensor[] xs, Tensor[] params, Tensor[] kept, Tensor?[] cotangents, float[] scalars,"
    " str program, int dim, bool[] wanted) -> Tensor[]"
)


def forward(
    states: Sequence[Tensor],
    xs: Sequence[Tensor],
    params: Sequence[Tensor],
    scalars: Sequence[float],
    program: str,
    dim: int,
    keep: bool,
    last: bool = False,
) -> list[Tensor]:
    """Return final states and outputs.

    With ``last``, then the outputs of the last step in memory of their own; with ``keep``, the states that the backward
    pass starts from.
    """
    given = (*states, *xs, *params)
    key = forward_key(states, xs, params, scalars, program, dim, keep, last)
    known = find_launcher(key)
    if known is not None:
        return known(given, scalars)
    details, shape = from_text(program), _checked.get(key)
    if shape is None:
        shape = checks.check_forward(details, states, xs, params, scalars, dim)
        _checked.keep(key, shape)
    if is_narrow(shape, dim, xs[0].shape[dim], _uniform(params, program)):
        in_front = [_to_front(x, shape, dim) for x in xs]
        found = forward(states, in_front, params, scalars, program, 0, keep, last)
        outputs = len(details.outs)
        at_rest = {*range(len(states)), *range(len(states) + outputs, len(states) + outputs * (1 + last))}
        return [each if k in at_rest else _from_front(each, dim) for k, each in enumerate(found)]
    layout, streams = arrange(shape, xs, dim)
    finals = [memory.empty(shape, DTYPES[dtype]) for dtype in details.states]
    outs = [layout.stream(DTYPES[dtype]) for dtype in details.outs]
    lasts = [memory.empty(shape, out.dtype) for out in outs if last]
    kept = [layout.stream(final.dtype, kept_steps(layout.steps)) for final in finals if keep]
    if math.prod(shape):
        records = ArgumentBuffer(layout)
        records.static(states)
        records.over_time(streams)
        records.static([*params, *finals])
        records.over_time(outs)
        records.static(lasts if last else [None] * len(outs))
        records.over_time(kept if keep else [None] * len(states))
        kernel = forward_kernel(program)
        kernel(layout.neuron_steps, records.fields, scalars)
        fresh = [*finals, *outs, *lasts, *kept]
        if records.point_to((*given, *fresh)):
            _ready.keep(key, Launcher(kernel, layout.neuron_steps, records, fresh))
    return [*finals, *outs, *lasts, *kept]


def backward(
    states: Sequence[Tensor],
    xs: Sequence[Tensor],
    params: Sequence[Tensor],
    kept: Sequence[Tensor],
    cotangents: Sequence[Tensor | None],
    scalars: Sequence[float],
    program: str,
    dim: int,
    wanted: Sequence[bool],
) -> list[Tensor]:
    """Return the wanted gradients of states, inputs and parameters, each of the shape of what it is the gradient of."""
    leaves = (*states, *xs, *params)
    # torch does so for tensors, and leaves out those that may be missing
    cotangents = [None if cotangent is None else written_out(cotangent) for cotangent in cotangents]
    given = (*leaves, *kept, *cotangents)
    key = backward_key(states, xs, params, kept, cotangents, scalars, program, dim, wanted)
    known = find_launcher(key)
    if known is not None:
        return sum_to_shapes(known(given, scalars), [leaf for leaf, want in zip(leaves, wanted, strict=True) if want])
    shape = _checked.get(key)
    if shape is None:
        details = from_text(program)
        shape = checks.check_forward(details, states, xs, params, scalars, dim)
        checks.check_backward(details, shape, xs[0].shape[dim], dim, kept, cotangents, wanted)
        _checked.keep(key, shape)
    # a kernel reads one for each neuron, where vmap hands over one for all members of its batch
    of_finals = [c if c is None or c.shape == shape else c.expand(shape) for c in cotangents[: len(states)]]
    of_outs = cotangents[len(states) :]
    first, last = len(states), len(states) + len(xs)
    if is_narrow(shape, dim, xs[0].shape[dim], _uniform(params, program)):
        in_front = [None if t is None else _to_front(t, shape, dim) for t in (*xs, *kept, *of_outs)]
        end = len(xs) + len(kept)
        streams, stored, outs = in_front[: len(xs)], in_front[len(xs) : end], in_front[end:]
        moved = backward(states, streams, params, stored, [*of_finals, *outs], scalars, program, 0, wanted)  # type: ignore[arg-type]
        chosen = [(k, leaf) for k, (leaf, want) in enumerate(zip(leaves, wanted, strict=True)) if want]
        pairs = zip(moved, chosen, strict=True)
        back = [_from_front(grad, dim) if first <= k < last else grad for grad, (k, _) in pairs]
        return sum_to_shapes(back, [leaf for _, leaf in chosen])
    layout, placed_streams = arrange(shape, [*xs, *kept, *(c for c in of_outs if c is not None)], dim)
    placed = iter(placed_streams)

    def fresh_like(leaf: Tensor, index: int) -> Tensor:
        stream = first <= index < last
        return layout.stream(leaf.dtype) if stream else memory.empty(shape, leaf.dtype)

    grads = [fresh_like(leaf, k) if want else None for k, (leaf, want) in enumerate(zip(leaves, wanted, strict=True))]
    if math.prod(shape):
        records = ArgumentBuffer(layout)
        records.static(states)
        records.over_time([next(placed) for _ in xs])
        records.static(params)
        records.over_time([*(next(placed) for _ in kept), *([None] * (len(states) - len(kept)))])
        records.static(of_finals)
        records.over_time([None if c is None else next(placed) for c in of_outs])
        records.static(grads[:first])
        records.over_time(grads[first:last])
        records.static(grads[last:])
        kernel = backward_kernel(program, tuple(wanted[last:]))
        kernel(layout.neuron_steps, records.fields, scalars)
        fresh = [grad for grad in grads if grad is not None]
        if records.point_to((*given, *fresh)):
            _ready.keep(key, Launcher(kernel, layout.neuron_steps, records, fresh))
    wanted_leaves = [leaf for leaf, want in zip(leaves, wanted, strict=True) if want]
    return sum_to_shapes([grad for grad in grads if grad is not None], wanted_leaves)


def find_launcher(key: Hashable) -> Launcher | None:
    """Return the kernel of a key, if it has run; not if its tensors had to be copied first."""
    return _ready.get(key)


def forward_key(
    states: Sequence[Tensor],
    xs: Sequence[Tensor],
    params: Sequence[Tensor],
    scalars: Sequence[float],
    program: str,
    dim: int,
    keep: bool,
    last: bool = False,
) -> Hashable:
    """Return what a forward pass is found by."""
    given = layouts_of((*states, *xs, *params))
    return ("forward", program, dim, keep, last, len(states), len(xs), len(scalars), *given)


def backward_key(
    states: Sequence[Tensor],
    xs: Sequence[Tensor],
    params: Sequence[Tensor],
    kept: Sequence[Tensor],
    cotangents: Sequence[Tensor | None],
    scalars: Sequence[float],
    program: str,
    dim: int,
    wanted: Sequence[bool],
) -> Hashable:
    """Return what a backward pass is found by."""
    given = layouts_of((*states, *xs, *params, *kept, *cotangents))
    counts = len(states), len(xs), len(params), len(kept), len(scalars)
    return ("backward", program, dim, *wanted, *counts, *given)


def layouts_of(tensors: Sequence[Tensor | None]) -> list[Any]:
    """Return how tensors lie in memory."""
    return [None if t is None else (t.dtype, t.shape, t.stride()) for t in tensors]


def _uniform(params: Sequence[Tensor], program: str) -> list[Tensor]:
    """Return the parameters that the program takes for one number."""
    kinds = from_text(program).params
    return [param for param, (_, uniform) in zip(params, kinds, strict=True) if uniform]


def written_out(tensor: Tensor) -> Tensor:
    """Return a tensor whose memory holds its numbers, where torch has only noted that it is negated or zero."""
    return memory.like(tensor).copy_(tensor) if tensor.is_neg() or tensor._is_zerotensor() else tensor


def _to_front(stream: Tensor, shape: tuple[int, ...], dim: int) -> Tensor:
    """Return a stream with time in front, in which all neurons of a step lie beside each other."""
    return memory.contiguous(expanded(stream, shape, dim).movedim(dim, 0))


def _from_front(stream: Tensor, dim: int) -> Tensor:
    """Return a stream with time where the caller has it."""
    return stream.movedim(0, dim).contiguous()


def sum_to_shapes(grads: Sequence[Tensor], leaves: Sequence[Tensor]) -> list[Tensor]:
    """Return gradients per neuron in the shapes of what they are the gradients of."""
    pairs = zip(grads, leaves, strict=True)
    return [grad if grad.shape == leaf.shape else grad.sum_to_size(leaf.shape) for grad, leaf in pairs]


def _fake_forward(
    states: Sequence[Tensor],
    xs: Sequence[Tensor],
    params: Sequence[Tensor],
    scalars: Sequence[float],
    program: str,
    dim: int,
    keep: bool,
) -> list[Tensor]:
    checks.check_devices((*states, *xs, *params))
    known = from_text(program)
    shape, steps = checks.neurons(states, xs, params, dim), xs[0].shape[dim]
    over_time = [(dtype, steps) for dtype in known.outs] + [(d, kept_steps(steps)) for d in known.states if keep]
    make = xs[0].new_empty
    return [
        *(make(shape, dtype=DTYPES[dtype]) for dtype in known.states),
        *(make(with_time(shape, dim, length), dtype=DTYPES[dtype]) for dtype, length in over_time),
    ]


def _fake_backward(
    states: Sequence[Tensor], xs: Sequence[Tensor], params: Sequence[Tensor], *rest: Any
) -> list[Tensor]:
    leaves = (*states, *xs, *params)
    checks.check_devices((*leaves, *rest[0], *rest[1]))
    return [leaf.new_empty(leaf.shape) for leaf, want in zip(leaves, rest[-1], strict=True) if want]


def _refusing(operator: Any) -> Callable[..., Any]:
    """Return the operator for tensors that autograd watches: none of them may want a gradient."""

    def call(*args: Any) -> Any:
        leaves = [leaf for arg in args for leaf in (arg if isinstance(arg, list | tuple) else (arg,))]
        tensors = [leaf for leaf in leaves if isinstance(leaf, Tensor)]
        if torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors):
            raise RuntimeError(
                f"{operator}: an input requires a gradient, and the raw operator has none. "
                "Call spikingtorch.functional.scan, which has"
            )
        with torch._C._AutoDispatchBelowAutograd():
            return operator(*args)

    return call


def register(name: str, implementation: Callable[..., Any], fake: Callable[..., Any]) -> None:
    """Register a raw operator that the library defines, and what it does to tensors without numbers."""
    library.impl(name, implementation, "CPU")
    torch.library.register_fake(f"spikingtorch::{name}", fake, lib=library)
    library.impl(name, _refusing(getattr(torch.ops.spikingtorch, name).default), "Autograd")


register("scan_forward", forward, _fake_forward)
register("scan_backward", backward, _fake_backward)

library.impl("scan_exported", forward, "CPU")
torch.library.register_fake("spikingtorch::scan_exported", _fake_forward, lib=library)


def _save(ctx: Any, inputs: tuple[Any, ...], output: list[Tensor]) -> None:
    states, xs, params, ctx.scalars, ctx.program, ctx.dim, _ = inputs
    ctx.counts = len(states), len(xs), len(params)
    ctx.outputs = len(states) + len(from_text(ctx.program).outs)
    ctx.save_for_backward(*states, *xs, *params, *output[ctx.outputs :])


def _exported_gradient(ctx: Any, cotangents: list[Tensor | None]) -> Any:
    leaves = sum(ctx.counts)
    groups = [*ctx.counts, len(ctx.saved_tensors) - leaves]
    ends = list(itertools.accumulate(groups))
    states, xs, params, kept = (
        list(ctx.saved_tensors[end - size : end]) for end, size in zip(ends, groups, strict=True)
    )
    needed = [need for group in ctx.needs_input_grad[:3] for need in group]
    wanted = [need and node >= 0 for need, node in zip(needed, from_text(ctx.program).gradients, strict=True)]
    found = iter(
        torch.ops.spikingtorch.scan_backward(
            states, xs, params, kept, cotangents[: ctx.outputs], ctx.scalars, ctx.program, ctx.dim, wanted
        )
    )
    grads = [next(found) if want else None for want in wanted]
    split = [grads[end - size : end] for end, size in zip(ends[:3], groups[:3], strict=True)]
    return (*split, None, None, None, None)


torch.library.register_autograd("spikingtorch::scan_exported", _exported_gradient, setup_context=_save, lib=library)
