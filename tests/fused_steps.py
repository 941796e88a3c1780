"""Steps that the tests of the fused backend share, the loop that they are judged by, and counters of what ran."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from spikingtorch import functional as F
from spikingtorch.functional.fused.runtime import cpu
from spikingtorch.functional.fused.trace import programs
from tests.drawn import uniform
from tests.surroundings import calls_of

DECAY = 0.5  # a number that steps read through this module
T, N = 19, 3  # two chunks of 16 steps, the second one cut short
SURROGATE = F.FastSigmoid(4.0)


class Pair(NamedTuple):
    """A state of two variables, of a user's own type."""

    v: Tensor
    i: Tensor


def leaky(
    state: F.IFState, x: Tensor, *, decay: Any, threshold: Any = 1.0, surrogate: Any = SURROGATE
) -> tuple[F.IFState, Tensor]:
    u = decay * state.v + x
    spike = surrogate(u - threshold)
    return F.IFState(u * (1.0 - spike)), spike


def rest(*shape: int) -> F.IFState:
    return F.IFState(torch.full(shape or (N,), 0.2, dtype=torch.float64))


def draw(*shape: int, seed: int = 0) -> Tensor:
    return uniform(*(shape or (T, N)), seed=seed, dtype=torch.float64)


def loop(step: Callable[..., Any], state: Any, xs: Any, params: Any = None, dim: int = 0) -> tuple[Any, Any]:
    """Return final state and outputs by a for statement."""
    streams, form = pytree.tree_flatten(xs)
    outs = []
    for x in zip(*(stream.unbind(dim) for stream in streams), strict=True):
        state, out = step(state, pytree.tree_unflatten(x, form), **(params or {}))
        outs.append(out)
    return state, pytree.tree_map(lambda *leaves: torch.stack(leaves, dim), *outs)


def flat(results: Any) -> Tensor:
    """Return all results as one vector."""
    return torch.cat([leaf.flatten() for leaf in pytree.tree_leaves(results)])


def value(results: Any) -> Tensor:
    """Return a number that depends on every result, each element weighted by its own cosine."""
    vector = flat(results)
    return vector.double() @ weights(len(vector)).to(vector.device)


def weights(count: int) -> Tensor:
    return torch.cos(torch.arange(count, dtype=torch.float64))


def gradients(function: Callable[..., Tensor], *inputs: Any) -> Any:
    """Return the gradients of a function by torch.autograd.grad, in the form of its inputs."""
    leaves, form = pytree.tree_flatten(inputs)
    leaves = [leaf.detach().clone().requires_grad_() for leaf in leaves]
    found = torch.autograd.grad(function(*pytree.tree_unflatten(leaves, form)), leaves, materialize_grads=True)
    return pytree.tree_unflatten(list(found), form)


def stack(results: list[Any]) -> Any:
    return pytree.tree_map(lambda *leaves: torch.stack(leaves), *results)


class Counts:
    """How many kernels were launched, forward and backward, and how many traces were made."""

    def __init__(self, launches: list[str], traces: list[Any]) -> None:
        self._launches, self._traces = launches, traces

    @property
    def forward(self) -> int:
        return self._launches.count("forward")

    @property
    def backward(self) -> int:
        return self._launches.count("backward")

    @property
    def traces(self) -> int:
        return len(self._traces)


@contextmanager
def counting() -> Iterator[Counts]:
    with pytest.MonkeyPatch.context() as patch:
        launches = calls_of(patch, cpu.CLaunch, "__call__", lambda _, launch, *others: launch.name)
        yield Counts(launches, calls_of(patch, programs, "trace"))
