"""Guards: a step is found again as the same while nothing that it reads is another object, and only then."""

import types
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from spikingtorch import functional as F
from spikingtorch.functional.dispatch import signature
from spikingtorch.functional.fused.trace.step_key import guarded_key
from spikingtorch.testing import assert_close

Change = Callable[[float], None]


def rebound() -> tuple[Any, Change]:
    gain = 0.5

    def step(state: F.IFState, x: Tensor) -> tuple[F.IFState, Tensor]:
        v = gain * state.v + x
        return F.IFState(v), v

    def change(value: float) -> None:
        nonlocal gain
        gain = value

    return step, change


def listed() -> tuple[Any, Change]:
    gains = [0.5, 1.0]

    def step(state: F.IFState, x: Tensor) -> tuple[F.IFState, Tensor]:
        v = gains[0] * state.v + gains[1] * x
        return F.IFState(v), v

    return step, lambda value: gains.__setitem__(0, value)


def longer() -> tuple[Any, Change]:
    gains = [0.5]

    def step(state: F.IFState, x: Tensor) -> tuple[F.IFState, Tensor]:
        v = sum(gains) * state.v + x
        return F.IFState(v), v

    return step, gains.append


def nested() -> tuple[Any, Change]:
    gains = {"of": {"state": 0.5}}

    def step(state: F.IFState, x: Tensor) -> tuple[F.IFState, Tensor]:
        v = gains["of"]["state"] * state.v + x
        return F.IFState(v), v

    return step, lambda value: gains["of"].update(state=value)


def slotless() -> tuple[Any, Change]:
    held = types.SimpleNamespace(gain=0.5)  # takes no weak reference

    def step(state: F.IFState, x: Tensor) -> tuple[F.IFState, Tensor]:
        v = held.gain * state.v + x
        return F.IFState(v), v

    return step, lambda value: setattr(held, "gain", value)


def default() -> tuple[Any, Change]:
    def step(state: F.IFState, x: Tensor, gain: float = 0.5) -> tuple[F.IFState, Tensor]:
        v = gain * state.v + x
        return F.IFState(v), v

    return step, lambda value: setattr(step, "__defaults__", (value,))


STEPS = [rebound, listed, longer, nested, slotless, default]


@pytest.mark.parametrize("make", STEPS, ids=lambda make: make.__name__)
def test_what_a_step_reads_changes_between_two_calls(make: Callable[[], tuple[Any, Change]]) -> None:
    step, change = make()
    x = torch.rand(6, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    state = F.IFState(torch.zeros(3, dtype=torch.float64))
    seen = []
    for value in (None, None, 0.25, 0.125, 0.125):
        if value is not None:
            change(value)
        first, again = (F.scan(step, state, x, backend="fused") for _ in range(2))
        want = F.scan(step, state, x, backend="loop")
        assert_close([*first, *again], [*want, *want])
        seen.append(again[1])
    assert torch.equal(seen[0], seen[1])
    assert not torch.equal(seen[1], seen[2])
    assert not torch.equal(seen[2], seen[3])


@pytest.mark.parametrize("make", [rebound, listed, nested, default], ids=lambda make: make.__name__)
def test_an_unchanged_step_is_not_walked_through_again(
    make: Callable[[], tuple[Any, Change]], monkeypatch: pytest.MonkeyPatch
) -> None:
    step, _ = make()
    walked = []

    def counted(*values: Any) -> Any:
        walked.append(values)
        return guarded_key(*values)

    monkeypatch.setattr(signature, "guarded_key", counted)
    for _ in range(4):
        F.scan(step, F.IFState(torch.zeros(3)), torch.rand(6, 3))
    assert len(walked) == 1


def test_a_step_that_died_is_forgotten() -> None:
    step, _ = rebound()
    before = len(signature._parameters._entries)
    F.scan(step, F.IFState(torch.zeros(3)), torch.rand(6, 3))
    assert len(signature._parameters._entries) == before + 1
    del step, _
    assert len(signature._parameters._entries) == before
