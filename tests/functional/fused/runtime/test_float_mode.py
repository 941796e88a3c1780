"""Kernels take subnormal numbers as their caller does, on every thread of a team."""

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch.utils import _pytree as pytree

from spikingtorch import functional as F
from tests.fused import Scan
from tests.surroundings import on_threads

T, SIZE = 20, 4096  # so much that a team of threads works on it
TINY = 1e-39  # subnormal in float32


@pytest.fixture(autouse=True)
def threads() -> Iterator[None]:
    """Use two threads, and put back their number and the mode of this one."""
    with on_threads(2):
        yield
    torch.set_flush_denormal(False)


def drawn(*shape: int) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(0)) * TINY


def neurons() -> Scan:
    return Scan(F.lif_step, F.LIFState(drawn(SIZE)), drawn(T, SIZE), {"decay": 0.99})


def recurrence() -> Scan:
    """Return neurons that the loop in C takes through time, with outputs that are no spikes."""
    params = {"decay": 0.5, "recurrent_weight": torch.eye(128) * 0.1}
    step: Any = F.Recurrent(F.li_step)
    return Scan(step, F.RecurrentState(F.LIState(drawn(16, 128)), drawn(16, 128)), drawn(T, 16, 128), params)


def flush(on: bool) -> None:
    """Set the mode of this thread, and of no thread of the team."""
    if not torch.set_flush_denormal(on):
        pytest.skip("this processor keeps subnormal numbers")


def assert_small(found: Any, nothing: bool) -> None:
    """Assert that all numbers are zero, or none."""
    torch.set_flush_denormal(False)  # which takes them for zero as well
    assert {bool(number) for leaf in pytree.tree_leaves(found) for number in leaf.flatten()} == {not nothing}


@pytest.mark.parametrize("scan", [neurons(), recurrence()], ids=["neurons", "recurrence"])
def test_all_threads_follow_their_caller(scan: Scan) -> None:
    for on in (False, True, False):
        flush(on)
        assert_small(scan.run("fused")[0], nothing=on)


def test_gradients_follow_as_well() -> None:
    cotangent = drawn(SIZE)  # made before, because a flushing thread makes no subnormal numbers
    for on in (False, True, False):
        watched, leaves = neurons().watched(["['state'].v"])
        state, _ = watched.run("fused")
        flush(on)
        assert_small(torch.autograd.grad(state.v, [*leaves.values()], cotangent), nothing=on)
