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
from spikingtorch.testing import assert_close
from tests.folded_layer import IMAGES, N, draw, last, over_time

pytestmark = pytest.mark.usefixtures("afresh")
SHAPE = (3, 5)
CHANGES: dict[str, Callable[[Tensor], Tensor]] = {
    "another dtype": lambda saved: saved.double(),
    "fewer of the last axis": lambda saved: saved[..., :1],
    "one more axis": lambda saved: saved[None],
    "fewer of the first axis": lambda saved: saved[:1] if saved.ndim else saved[None],
    "another device": lambda saved: saved.to("meta"),
}
HARMLESS: dict[str, Callable[[Tensor], Tensor]] = {
    "as it was": lambda saved: saved,
    "transposed": lambda saved: saved.mT.contiguous().mT if saved.ndim > 1 else saved,
}
SAID = re.compile(r"^scan: a tensor saved for the backward pass, torch.float32 of .* came back as torch.*The hooks of")


def numbers(*shape: int) -> Tensor:
    return draw(0, *shape, dtype=torch.float32)


def scanned(steps: int, *, recurrent: bool) -> Tensor:
    step: Any = F.Recurrent(F.lif_step) if recurrent else F.lif_step
    state: Any = F.LIFState(numbers(*SHAPE))
    state = F.RecurrentState(state, numbers(*SHAPE)) if recurrent else state
    params = {"decay": numbers(5), "threshold": 0.7} | ({"recurrent_weight": numbers(5, 5)} if recurrent else {})
    x = numbers(steps, *SHAPE).requires_grad_()
    return F.scan(step, state, x, params=params, backend="fused")[1]


def hooked(run: Callable[[], Tensor], change: str) -> int:
    """Change one saved tensor after the other; assert that each in another form is an error, and count these."""
    found = 0
    for chosen in range(10):  # there are fewer tensors
        places, differs = itertools.count(), list[bool]()

        def unpack(tensor: Tensor, chosen: int = chosen, places: Any = places, differs: Any = differs) -> Tensor:
            after = (CHANGES | HARMLESS)[change](tensor) if next(places) == chosen else tensor
            differs.append((after.dtype, after.shape, after.device) != (tensor.dtype, tensor.shape, tensor.device))
            return after

        with saved_tensors_hooks(lambda tensor: tensor, unpack):
            out = run()
        message = ""
        try:
            out.sum().backward()
        except ValueError as error:
            message = str(error)
        assert bool(SAID.search(message)) == any(differs), message
        found += any(differs)
    return found


# steps, and whether the outputs come back; few steps of the latter are a loop in Python
@pytest.mark.sampled
@pytest.mark.parametrize("road", [(20, False), (2, False), (20, True), (5, True)], ids=str)
@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("calls", [0, 1, 2])
def test_hook_that_hands_back_something_else(road: tuple[int, bool], change: str, calls: int) -> None:
    for _ in range(calls):  # the first call takes another road than the next ones
        scanned(road[0], recurrent=road[1]).sum().backward()
    assert hooked(lambda: scanned(road[0], recurrent=road[1]), change) >= 3


@pytest.mark.parametrize("form", [torch.clone, last], ids=["contiguous", "channels-last"])
@pytest.mark.parametrize("change", HARMLESS | CHANGES)
def test_hook_on_a_layer(change: str, form: Callable[[Tensor], Tensor]) -> None:
    model = over_time(st.LIF(3.0, 0.4), *IMAGES)
    x, pull = (form(draw(place, N, 4, *IMAGES, dtype=torch.float32)) for place in (0, 99))
    (want,) = torch.autograd.grad(model(x.requires_grad_()), x, pull)
    assert (hooked(lambda: model(x), change) > 0) == (change in CHANGES)
    if change in HARMLESS:
        with saved_tensors_hooks(lambda tensor: tensor, HARMLESS[change]):
            out = model(x)
        assert_close(torch.autograd.grad(out, x, pull)[0], want)
