"""States: making one, lifting its precision, resetting part of a batch."""

from types import FunctionType
from typing import Any, TypeVar, cast

import torch
from torch import Tensor

from spikingtorch.functional._tree import leaves_of, tree_map

S = TypeVar("S")

_HALF = (torch.float16, torch.bfloat16)
_WITHOUT_TENSORS = (float, FunctionType)  # as most parameters are


def lift(tree: S) -> S:
    """Return the tree with its float16 and bfloat16 tensors as float32, everything else as it is.

    A membrane adds many small inputs: eight bits of mantissa lose those below 1/256 of its value. So every backend
    computes in float32 and rounds only what leaves the scan.
    """
    if isinstance(tree, Tensor):
        return cast(S, _lift_leaf(tree))
    if type(tree) in _WITHOUT_TENSORS:
        return tree
    halves = any([isinstance(leaf, Tensor) and leaf.dtype in _HALF for leaf in leaves_of(tree)])
    return tree_map(_lift_leaf, tree) if halves else tree


def lifted_dtype(tensor: Tensor) -> torch.dtype:
    """Return the dtype that a tensor is computed in."""
    return torch.float32 if tensor.dtype in _HALF else tensor.dtype


def _lift_leaf(leaf: Any) -> Any:
    return leaf.float() if isinstance(leaf, Tensor) and leaf.dtype in _HALF else leaf


def zeros_state(state_type: type[S], like: Tensor) -> S:
    """Return a state at rest: every field zero, in the shape, dtype and device of ``like``.

    Args:
        state_type: a NamedTuple of tensors, such as LIFState or your own.
        like: input of one step, shape (*N,); float16 and bfloat16 give a float32 state.

    >>> from spikingtorch.functional import LIFState
    >>> zeros_state(LIFState, torch.ones(2))
    LIFState(v=tensor([0., 0.]))
    """
    fields: tuple[str, ...] = getattr(state_type, "_fields", ())
    return state_type(*[lift(torch.zeros_like(like, requires_grad=False)) for _ in fields])


def reset_where(mask: Tensor, state: S, rest: S | None = None) -> S:
    """Return the state with the samples chosen by the mask at rest, the others untouched.

    Args:
        mask: bool, shape (N,), true for a sample that starts anew.
        state: tensors of shape (N, ...).
        rest: the state at rest; zeros by default.

    >>> from spikingtorch.functional import LIFState
    >>> reset_where(torch.tensor([True, False]), LIFState(v=torch.ones(2, 3)))
    LIFState(v=tensor([[0., 0., 0.],
            [1., 1., 1.]]))
    """

    def reset(leaf: Tensor, at_rest: Tensor) -> Tensor:
        chosen = mask.reshape(-1, *(1,) * (leaf.ndim - 1))
        return torch.where(chosen, at_rest, leaf)

    return tree_map(reset, state, tree_map(torch.zeros_like, state) if rest is None else rest)
