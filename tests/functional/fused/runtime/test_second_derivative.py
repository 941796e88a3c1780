"""Second derivatives, for which the step runs once more: its numbers may have changed, and leaves may be shared.

The values of others are those of a way to call a scan, in ``tests/ways.py``.
"""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from spikingtorch import functional as F
from spikingtorch.testing import assert_close
from tests.fused_steps import N, T, draw
from tests.ways import WAYS, Function, watched


def test_a_tensor_in_two_places() -> None:
    def two_places(run: Callable[..., Any]) -> Function:
        return lambda a: run(F.lif_step, F.LIFState(a), draw(T, 3, N), {"decay": 0.5, "threshold": a})

    WAYS["double backward"].check(two_places, draw(3, N))


def fixed(scale: list[float]) -> tuple[Any, Callable[[float], Any]]:
    """Return a step that holds a number, and what changes it."""

    def step(state: F.LIFState, x: Tensor) -> tuple[F.LIFState, Tensor]:
        v = scale[0] * state.v + x * x
        return F.LIFState(v), v

    return step, lambda number: scale.__setitem__(0, number)


def by_default() -> tuple[Any, Callable[[float], Any]]:
    def step(state: F.LIFState, x: Tensor, *, scale: float = 0.5) -> tuple[F.LIFState, Tensor]:
        v = scale * state.v + x * x
        return F.LIFState(v), v

    defaults: Any = step.__kwdefaults__
    return step, lambda number: defaults.update(scale=number)


@pytest.mark.parametrize("default", [False, True])
def test_a_number_that_changes_between_the_passes(default: bool) -> None:
    """It is an error, but for a default, which is an argument that the call has had."""
    step, change = by_default() if default else fixed([0.5])
    for _ in range(3):
        change(0.5)
        (xs,) = watched([draw(T, N)])
        spikes = F.scan(step, F.LIFState(torch.zeros(N).double()), xs)[1]
        (want,) = torch.autograd.grad(spikes.sum(), xs, retain_graph=True)
        change(0.6)
        if default:
            assert_close(torch.autograd.grad(spikes.sum(), xs, create_graph=True)[0], want)
            continue
        with pytest.raises(RuntimeError, match=r"changed between the forward and the backward pass.*in params"):
            torch.autograd.grad(spikes.sum(), xs, create_graph=True)
