"""Create states, and reset part of a batch."""

from typing import Any, TypeVar

import torch
from torch import Tensor

from spikingtorch.functional.core.precision import lift
from spikingtorch.functional.core.tree import tree_map

S = TypeVar("S")


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


def inner_rest(step: Any, neuron: Any, like: Tensor) -> Any:
    """Return the state at rest of a step, from the state of the neuron inside."""
    around = getattr(step, "at_rest", None)
    return neuron if around is None else around(neuron, like)


def reset_where(mask: Tensor, state: S, rest: S | None = None) -> S:
    """Return the state with the masked samples at rest, and the others unchanged.

    Args:
        mask: bool, shape (N,), true for a sample that starts again.
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
