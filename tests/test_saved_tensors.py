"""Hooks on saved tensors that hand back something else: an error says what came back, whichever road the scan took."""

import itertools
import re
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks

import spikingtorch as st
from spikingtorch import functional as F
from spikingtorch.functional.fused.runtime import checks
from tests.caches import forget
from tests.folded_layer import CALLS, Took, over_time
from tests.widths import drawn

SHAPE = (3, 5)


@pytest.fixture(autouse=True)
def afresh(monkeypatch: pytest.MonkeyPatch) -> None:
    forget(monkeypatch)


def numbers(*shape: int) -> Tensor:
    return drawn(torch.float32, shape, 0)


CHANGES: dict[str, Callable[[Tensor], Tensor]] = {
    "another dtype": lambda saved: saved.double(),
    "fewer of the last axis": lambda saved: saved[..., :1],
    "one more axis": lambda saved: saved[None],
    "fewer of the first axis": lambda saved: saved[:1] if saved.ndim else saved[None],
    "another device": lambda saved: saved.to("meta"),
}
MESSAGE = re.compile(r"^scan: a tensor saved for the backward pass, .* came back as torch.*The hooks of")


def scanned(step: Any, state: Any, steps: int, **params: Any) -> Tensor:
    x = numbers(steps, *SHAPE).requires_grad_()
    out: Tensor = F.scan(step, state, x, params={"decay": numbers(5), "threshold": 0.7} | params, backend="fused")[1]
    return out


def plain(steps: int) -> Tensor:
    return scanned(F.lif_step, F.LIFState(numbers(*SHAPE)), steps)


def recurrent(steps: int) -> Tensor:
    state = F.RecurrentState(F.LIFState(numbers(*SHAPE)), numbers(*SHAPE))
    return scanned(F.Recurrent(F.lif_step), state, steps, recurrent_weight=numbers(5, 5))


ROADS: dict[str, Callable[[], Tensor]] = {
    "scan": lambda: plain(20),
    "few steps": lambda: plain(2),
    "recurrence in C": lambda: recurrent(20),
    "recurrence in Python": lambda: recurrent(5),
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("road", ROADS)
@pytest.mark.parametrize("calls", [0, 1, 2])
def test_hook_that_hands_back_something_else(road: str, change: str, calls: int) -> None:
    for _ in range(calls):  # the first call takes another road than the next ones
        ROADS[road]().sum().backward()
    hooked = 0
    for chosen in range(10):  # there are fewer tensors
        places, differs = itertools.count(), list[bool]()

        def unpack(tensor: Tensor, chosen: int = chosen, places: Any = places, differs: Any = differs) -> Tensor:
            after = CHANGES[change](tensor) if next(places) == chosen else tensor
            differs.append(checks.forms([after]) != checks.forms([tensor]))
            return after

        with saved_tensors_hooks(lambda tensor: tensor, unpack):
            out = ROADS[road]()
        message = ""
        try:
            out.sum().backward()
        except ValueError as error:
            message = str(error)
        assert bool(MESSAGE.search(message)) == any(differs), message
        hooked += any(differs)
    assert hooked >= 3


@pytest.mark.parametrize("change", CHANGES)
def test_hook_on_a_layer(change: str, took: Took) -> None:
    model = over_time(st.LIF(tau=3.0, v0=torch.tensor([0.4])))
    for call in range(CALLS):
        x = drawn(torch.float32, (2, 18, 6), call).requires_grad_()
        before, out = took.trains, model(x)
        if took.trains > before:
            node: Any = out.grad_fn
            while "FusedScan" not in node.name():
                node = node.next_functions[0][0]
            node._raw_saved_tensors[0].register_hooks(lambda tensor: tensor.detach(), CHANGES[change])
            with pytest.raises(ValueError, match=MESSAGE):
                out.sum().backward()
    assert took.trains >= CALLS - 2
