"""Masked: a step for samples that end at different times."""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from spikingtorch.functional.core.contract import check_kind
from spikingtorch.functional.core.tree import tree_map


class Masked(NamedTuple):
    """The step of a neuron, for samples of which some have ended.

        state[t], out[t] = step(state[t-1], x[t])   where running[t]
                         = state[t-1], 0            elsewhere

    Its input is a pair, (x, running); running is bool and broadcasts to the state, (N, 1, ...) for samples (N, ...).
    x may have any finite value if a sample does not run. No gradient reaches it there.

    Args:
        step: the step of the neuron, ``(state, x, **params) -> (state, out)``.

    >>> from spikingtorch.functional import IFState, if_step, scan
    >>> xs = torch.full((3, 2), 0.4)
    >>> running = torch.tensor([[True, True], [True, False], [True, False]])
    >>> scan(Masked(if_step), IFState(v=torch.zeros(2)), (xs, running))
    (IFState(v=tensor([0.0000, 0.4000])), tensor([[0., 0.],
            [0., 0.],
            [1., 0.]]))
    """

    step: Callable[..., tuple[Any, Any]]

    def __call__(self, state: Any, x: Any, **params: Any) -> Any:
        """Advance one step.

        Args:
            state: the state of the neuron.
            x: its input, and bools of the running samples.
            **params: its parameters.
        """
        inputs, running = x
        after, out = self.step(state, inputs, **params)
        check_kind(self.step, state, after)
        held = tree_map(lambda new, old: torch.where(_along(running, new), new, old), after, state)
        return held, tree_map(lambda each: torch.where(_along(running, each), each, torch.zeros_like(each)), out)


def _along(running: Tensor, leaf: Tensor) -> Tensor:
    """Return which samples are running, (N, 1, ...), with as many axes as a leaf."""
    if running.ndim == leaf.ndim or any([size != 1 for size in running.shape[1:]]):
        return running
    return running.reshape(*running.shape[:1], *(1,) * (leaf.ndim - 1))
