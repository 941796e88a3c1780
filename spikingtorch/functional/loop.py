"""The reference loop: one step after the other, in Python. It takes every step, under every transform."""

from collections.abc import Callable
from typing import Any, TypeAlias, TypeVar

import torch
from torch import Tensor

from spikingtorch.functional.core import contract
from spikingtorch.functional.core.precision import lift, rounded
from spikingtorch.functional.core.shapes import without_time
from spikingtorch.functional.core.sharing import unshared
from spikingtorch.functional.core.torch_private import pytree
from spikingtorch.functional.core.tree import tree_map

S = TypeVar("S")
Out = TypeVar("Out")
Step: TypeAlias = Callable[..., tuple[S, Out]]


def loop(step: Step[S, Out], state: S, xs: Any, params: dict[str, Any], dim: int, dtype: torch.dtype) -> tuple[S, Out]:
    """Run a step over time, with the arguments of ``scan``; outputs are rounded to a dtype of 16 bits."""
    final, outputs = _steps(step, lift(state), lift(xs), lift(params), dim)
    return unshared(final, (state, xs, params)), rounded(outputs, dtype)


def no_steps(step: Step[S, Out], state: S, xs: Any, params: dict[str, Any], dim: int, dtype: torch.dtype) -> Out:
    """Return outputs of length zero; their structure is that of one step on zeros."""

    def first(leaf: Tensor) -> Tensor:
        return leaf.new_zeros(without_time(leaf.shape, dim))

    with torch.no_grad():
        _, out = contract.checked(step)(lift(state), tree_map(first, lift(xs)), **lift(params))
    return rounded(tree_map(lambda leaf: torch.stack([leaf], dim).narrow(dim, 0, 0), out), dtype)


def _steps(step: Step[S, Out], state: S, xs: Any, params: dict[str, Any], dim: int) -> tuple[S, Out]:
    leaves, spec = pytree.tree_flatten(xs)
    outputs: list[Out] = []
    # unbind, not xs[t]: the backward pass of an index writes a zero tensor of the size of xs at each step
    for slices in zip(*(leaf.unbind(dim) for leaf in leaves), strict=True):
        x = pytree.tree_unflatten(slices, spec)
        advance = step if outputs else contract.checked(step)
        state, out = advance(state, x, **params)
        outputs.append(out)
    return state, tree_map(lambda *steps: torch.stack(steps, dim), *outputs)
