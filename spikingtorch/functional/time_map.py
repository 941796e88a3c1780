"""Apply a layer without a state over time."""

import functools
from collections.abc import Callable
from typing import Any, TypeVar

import torch

Out = TypeVar("Out")


def time_map(function: Callable[..., Out], xs: Any, *, dim: int = 0) -> Out:
    """Apply a function that has no state to every step of a sequence, all steps at once.

        out[t] = function(x[t])

    It is ``torch.func.vmap`` over time: a convolution or a matrix product between two neurons runs once over all steps,
    not T times. Random numbers of the function (dropout) are drawn anew for each step.

    Args:
        function: maps one step of a batch, such as ``nn.Conv2d(...)`` or ``lambda x: F.linear(x, weight)``; pure, so no
            batch norm in training.
        xs: tensors with time along ``dim``, or a tree of them.
        dim: the axis of time, in xs and in the outputs.

    Returns:
        The outputs, with time along ``dim``.

    Raises:
        TypeError: the function is, or contains, a layer that keeps a state from step to step.

    >>> time_map(torch.nn.Linear(4, 2), torch.ones(8, 32, 4)).shape  # 8 steps of 32 samples
    torch.Size([8, 32, 2])
    """
    called: Any = function
    while isinstance(called, functools.partial):
        called = called.func
    owner = getattr(called, "__self__", called)
    for module in owner.modules() if isinstance(owner, torch.nn.Module) else ():
        if getattr(module, "keeps_state", False):
            raise TypeError(
                f"time_map: {type(module).__name__} keeps a state from step to step; use scan, or SpikingNet"
            )

    def step(x: Any) -> Out:  # vmap reads the name of its function, and torch.compile cannot trace the name of a module
        return function(x)

    mapped: Callable[[Any], Out] = torch.func.vmap(step, in_dims=dim, out_dims=dim, randomness="different")
    return mapped(xs)
