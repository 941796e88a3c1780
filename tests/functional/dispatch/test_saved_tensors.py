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
from spikingtorch.testing import assert_close
from tests.folded_layer import CALLS, IMAGES, N, Took, draw, last, over_time

pytestmark = pytest.mark.usefixtures("afresh")
SHAPE = (3, 5)
CHANGES: dict[str, Callable[[Tensor], Tensor]] = {
    "another dtype": lambda saved: saved.double(),
    "fewer of the last axis": lambda saved: saved[..., :1],
    "one more axis": lambda saved: saved[None],
    "fewer of the first axis": lambda saved: saved[:1] if saved.ndim else saved[None],
    "another device": lambda saved: saved.to("meta"),
}
MESSAGE = re.compile(
    r"^scan: a tensor saved for the backward pass, torch.float32 of .* came back as torch.*The hooks of"
)


def numbers(*shape: int) -> Tensor:
    return draw(0, *shape, dtype=torch.float32)


def scanned(steps: int, *, recurrent: bool) -> Tensor:
    step: Any = F.Recurrent(F.lif_step) if recurrent else F.lif_step
    state: Any = F.LIFState(numbers(*SHAPE))
    state = F.RecurrentState(state, numbers(*SHAPE)) if recurrent else state
    params = {"decay": numbers(5), "threshold": 0.7} | ({"recurrent_weight": numbers(5, 5)} if recurrent else {})
    x = numbers(steps, *SHAPE).requires_grad_()
    out: Tensor = F.scan(step, state, x, params=params, backend="fused")[1]
    return out


# steps, and whether the outputs come back; few steps of the latter are a loop in Python
@pytest.mark.sampled
@pytest.mark.parametrize("road", [(20, False), (2, False), (20, True), (5, True)], ids=str)
@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("calls", [0, 1, 2])
def test_hook_that_hands_back_something_else(road: tuple[int, bool], change: str, calls: int) -> None:
    for _ in range(calls):  # the first call takes another road than the next ones
        scanned(road[0], recurrent=road[1]).sum().backward()
    hooked = 0
    for chosen in range(10):  # there are fewer tensors
        places, differs = itertools.count(), list[bool]()

        def unpack(tensor: Tensor, chosen: int = chosen, places: Any = places, differs: Any = differs) -> Tensor:
            after = CHANGES[change](tensor) if next(places) == chosen else tensor
            differs.append(checks.forms([after]) != checks.forms([tensor]))
            return after

        with saved_tensors_hooks(lambda tensor: tensor, unpack):
            out = scanned(road[0], recurrent=road[1])
        message = ""
        try:
            out.sum().backward()
        except ValueError as error:
            message = str(error)
        assert bool(MESSAGE.search(message)) == any(differs), message
        hooked += any(differs)
    assert hooked >= 3


HARMLESS: dict[str, Callable[[Tensor], Tensor]] = {
    "as it was": lambda saved: saved,
    "contiguous": lambda saved: saved.contiguous(),
    "transposed": lambda saved: saved.mT.contiguous().mT if saved.ndim > 1 else saved,
}


@pytest.mark.parametrize("form", [torch.clone, last], ids=["contiguous", "channels-last"])
@pytest.mark.parametrize("name", HARMLESS | CHANGES)
def test_hook_on_a_layer(name: str, form: Callable[[Tensor], Tensor], took: Took) -> None:
    model = over_time(st.LIF(3.0, 0.4), *IMAGES)
    for k in range(CALLS):
        x, pull = (form(draw(k + place, N, 4, *IMAGES, dtype=torch.float32)) for place in (0, 99))
        (want,) = torch.autograd.grad(model(x.requires_grad_()), x, pull)
        out = model(x)
        node: Any = out.grad_fn
        while "FusedScan" not in node.name():
            node = node.next_functions[0][0]
        (saved,) = node._raw_saved_tensors
        saved.register_hooks(lambda tensor: tensor.detach(), (HARMLESS | CHANGES)[name])
        if name in HARMLESS:
            assert_close(torch.autograd.grad(out, x, pull)[0], want)
        else:
            with pytest.raises(ValueError, match=MESSAGE):
                out.backward(pull)
    assert took.trains == 2 * CALLS
