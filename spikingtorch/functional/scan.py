"""scan: a step, over time."""

from collections.abc import Callable, Mapping
from typing import Any, Literal, TypeAlias, TypeVar

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from spikingtorch.functional import _contract as contract
from spikingtorch.functional._tree import tree_map
from spikingtorch.functional.state import lift

S = TypeVar("S")
Out = TypeVar("Out")
Step: TypeAlias = Callable[..., tuple[S, Out]]
Backend: TypeAlias = Literal["auto", "loop"]


def scan(
    step: Step[S, Out],
    state: S,
    xs: Any,
    *,
    params: Mapping[str, Any] | None = None,
    dim: int = 0,
    backend: Backend = "auto",
) -> tuple[S, Out]:
    """Run a step over time.

        state[t], out[t] = step(state[t-1], x[t], **params)         t = 0 ... T-1

    Args:
        step: a pure function ``(state, x, **params) -> (state, out)``. It must not write on its arguments.
        state: state before the first step, a tree of tensors; the step returns the same structure, shapes and dtypes.
        xs: inputs, a tree of tensors whose axis ``dim`` is time and has the same length T in all of them. At least one
            is floating. float16 and bfloat16 are computed in float32; only ``out`` is rounded, to the dtype of xs.
        params: keyword arguments of every step: floats, tensors, surrogates, reset rules. Tensors get their gradient.
        dim: the axis of time, in xs and in the outputs.
        backend: "loop", a Python loop over the steps, which works for every step, under every transform and to any order
            of derivative; "auto", the fastest backend that is exact here, which is the loop in this version.

    Returns:
        The state after the last step, and the outputs with time stacked along ``dim``.

    Raises:
        ValueError: a shape, a length, a device or the backend does not fit.
        TypeError: something is not a tensor, or dtypes are mixed.

    >>> from spikingtorch.functional import IFState, if_step
    >>> xs = torch.tensor([[0.6], [0.6], [0.6], [0.6]])
    >>> state, spikes = scan(if_step, IFState(v=torch.zeros(1)), xs)
    >>> spikes.flatten()
    tensor([0., 1., 0., 1.])
    """
    kwargs = dict(params or {})
    T = contract.check_inputs(state, xs, kwargs, dim)
    if backend not in ("auto", "loop"):
        raise ValueError(f"scan: backend={backend!r} is not one of 'auto', 'loop'")
    dtype = contract.output_dtype(xs)
    state, xs, kwargs = lift(state), lift(xs), lift(kwargs)
    if T == 0:
        return state, _no_steps(step, state, xs, kwargs, dim, dtype)
    state, outputs = _loop(step, state, xs, kwargs, dim)
    return state, _round(outputs, dtype)


def one_step(
    step: Step[S, Out], state: S, x: Any, params: Mapping[str, Any], *, check: bool
) -> tuple[S, Out]:
    """Run one step as scan would, for callers that hold the state between steps.

    Args:
        step: as in scan.
        state: state, in the precision that the step computes in.
        x: input of the step.
        params: keyword arguments of the step.
        check: check arguments and step as scan does before its first step.
    """
    kwargs = dict(params)
    if check:
        contract.check_kinds(x, state, kwargs)
        step = contract.checked(step)
    state, out = step(state, lift(x), **kwargs)
    return state, _round(out, contract.output_dtype(x))


def _loop(step: Step[S, Out], state: S, xs: Any, params: dict[str, Any], dim: int) -> tuple[S, Out]:
    leaves, spec = pytree.tree_flatten(xs)
    outputs: list[Out] = []
    # unbind, not xs[t]: the backward pass of an index writes a zero tensor as large as xs for each step
    for slices in zip(*(leaf.unbind(dim) for leaf in leaves), strict=True):
        x = pytree.tree_unflatten(slices, spec)
        advance = step if outputs else contract.checked(step)
        state, out = advance(state, x, **params)
        outputs.append(out)
    return state, tree_map(lambda *steps: torch.stack(steps, dim), *outputs)


def _no_steps(step: Step[S, Out], state: S, xs: Any, params: dict[str, Any], dim: int, dtype: torch.dtype) -> Out:
    """Return outputs of length zero; their structure is that of one step on zeros."""

    def first(leaf: Tensor) -> Tensor:
        shape = list(leaf.shape)
        del shape[dim]
        return leaf.new_zeros(shape)

    with torch.no_grad():
        _, out = contract.checked(step)(state, tree_map(first, xs), **params)
    return _round(tree_map(lambda leaf: torch.stack([leaf], dim).narrow(dim, 0, 0), out), dtype)


def _round(outputs: Out, dtype: torch.dtype) -> Out:
    if dtype not in (torch.float16, torch.bfloat16):
        return outputs
    return tree_map(lambda leaf: leaf.to(dtype) if leaf.dtype == torch.float32 else leaf, outputs)
