"""All steps of a folded layer straight to the kernels: odd inputs, the outputs of the last step, orders of memory."""

import math
from collections.abc import Callable
from typing import Any
from unittest import mock

import pytest
import torch
from torch import Tensor

import spikingtorch as st
from spikingtorch import functional as F
from spikingtorch.functional.dispatch import folded
from spikingtorch.functional.dispatch.signature import FoldedStep
from spikingtorch.functional.fused.runtime.assembly import Assembly
from spikingtorch.functional.fused.runtime.cpu import CLaunch
from spikingtorch.testing import assert_close
from tests.folded_layer import CALLS, IMAGES, UNWRITTEN, N, Took, agrees, draw, held, last, learning, over_time, repeat

ODD = [math.nan, math.inf, -math.inf]

# --- inputs that are not finite ---------------------------------------------------------------------------------------


@pytest.fixture
def saw(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """What the kernels of forward passes say of their inputs: whether they are finite."""
    found: list[bool] = []
    run = CLaunch.__call__

    def call(kernel: CLaunch, *args: Any) -> bool:
        finite = run(kernel, *args)
        if kernel.name == "forward":
            found.append(finite)
        return finite

    monkeypatch.setattr(CLaunch, "__call__", call)
    return found


def reads_the_first(state: F.IFState, xs: tuple[Tensor, Tensor]) -> tuple[F.IFState, Tensor]:
    v = state.v + xs[0]
    return F.IFState(v), (v > 1.0).to(v.dtype)


# neurons and steps: fewer than a vector, tails of a block, more than one thread takes
@pytest.mark.parametrize("size", [(1, 1, 1), (2, 5, 3), (2, 18, 257), (3, 40, 600)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16, torch.bfloat16], ids=str)
def test_kernel_sees_odd_inputs(dtype: torch.dtype, size: tuple[int, int, int], saw: list[bool]) -> None:
    state = F.IFState(torch.zeros(size[0], size[2]).to(torch.promote_types(dtype, torch.float32)))
    rest, bounds = torch.zeros(size, dtype=dtype), torch.finfo(dtype)

    def finite(place: tuple[int, ...], value: float, *, second: bool = False) -> bool:
        x = rest.clone()
        x[place] = value
        F.scan(reads_the_first, state, (rest, x) if second else (x, rest), dim=1, backend="fused")
        return saw[-1]

    for place in ((0, 0, 0), tuple(n - 1 for n in size), tuple(n // 2 for n in size)):
        assert all(finite(place, value) for value in (0.0, bounds.max, bounds.min, bounds.tiny / 2))
        assert not any(finite(place, value, second=second) for value in ODD for second in (False, True))


def test_what_looks_odd_and_is_finite(saw: list[bool]) -> None:
    def counts(state: F.IFState, xs: tuple[Tensor, Tensor]) -> tuple[F.IFState, Tensor]:
        return F.IFState(state.v + xs[0]), torch.where(xs[1] > 2, xs[0], state.v)

    x = torch.full((5, 3), torch.finfo(torch.float32).max)  # the sum overflows
    F.scan(reads_the_first, F.IFState(torch.zeros(3)), (x, x), backend="fused")
    F.scan(counts, F.IFState(torch.zeros(3)), (torch.rand(4, 3), torch.full((4, 3), 2**31 - 1)), backend="fused")
    assert saw == [True, True]


@pytest.mark.parametrize("value", [0.0, *ODD])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_layer_refuses_odd_inputs_and_keeps_its_state(dtype: torch.dtype, value: float, took: Took) -> None:
    model = over_time(learning().to(dtype), use=lambda layer, x, init: layer(x / x.abs().clamp(max=0.5), init))
    repeat(model, took, lambda k: (draw(k, dtype=dtype) + 0.1).requires_grad_())
    layer, scans = held(model), took.scans
    before, s = layer._memory, layer.s.clone()
    x = draw(9, dtype=dtype) + 0.1
    x[2, 4, 5] = value  # zero is odd for the layer alone, which is given 0 / 0
    with pytest.raises(ValueError, match="SpikingNet: x" if value else "LIF: x"):
        model(x)
    assert took.scans == scans
    assert layer._memory is before
    assert torch.equal(layer.s, s)
    assert agrees(model, draw(10, dtype=dtype).add(0.1).requires_grad_(), took)


# --- cotangents and outputs -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", UNWRITTEN)
@pytest.mark.parametrize("backend", ["loop", "fused"])
def test_cotangents_of_a_scan_that_are_not_written_out(backend: Any, name: str) -> None:
    x, state = draw(0, 20, 3, 1).requires_grad_(), F.IFState(torch.zeros(3, 1).double())
    pull = UNWRITTEN[name](draw(1, 20, 3, 1))
    for _ in range(3):
        out = F.scan(F.if_step, state, x, params={"threshold": 1.0}, backend=backend)[1]
        want = F.scan(F.if_step, state, x, params={"threshold": 1.0}, backend="loop")[1]
        assert_close(torch.autograd.grad(out, x, pull), torch.autograd.grad(want, x, pull + 0.0))


@pytest.mark.parametrize("size", [IMAGES, (1, 3, 2)])
@pytest.mark.parametrize(("own", "other"), [(torch.clone, last), (last, torch.clone)])
def test_cotangents_in_the_other_format_find_their_kernel(
    own: Callable[[Tensor], Tensor], other: Callable[[Tensor], Tensor], size: tuple[int, ...], took: Took
) -> None:
    model = over_time(st.LIF(3.0, 0.4, learnable=True).double(), *size)
    repeat(model, took, lambda k: own(draw(k, N, 4, *size)).requires_grad_())
    with mock.patch.object(Assembly, "backward", autospec=True, side_effect=Assembly.backward) as made:
        for k in range(CALLS):
            x, pull = own(draw(k, N, 4, *size)).requires_grad_(), draw(k + 99, N, 4, *size)
            leaves = [x, *model.parameters()]
            found = [torch.autograd.grad(model(x), leaves, pulled) for pulled in (own(pull), other(pull))]
            assert_close(found[1], found[0])
    assert made.call_count <= 1


@pytest.mark.parametrize("shape", [(3, 7), (4096, 2), (2, 300)])  # the second of them is brought to the front
def test_last_outputs(shape: tuple[int, int]) -> None:
    x = torch.rand(shape[0], 20, shape[1], generator=torch.Generator().manual_seed(0))
    state, params = F.IFState(torch.zeros(shape)), {"threshold": 1.0}
    (v,), out = F.scan(F.if_step, state, x, params=params, dim=1, backend="loop")
    taken = FoldedStep.of(F.if_step, F.IFState, params)
    assert taken is not None
    signed = taken.signature([x.flatten(0, 1)], (shape[0], 20))
    assert signed is not None
    for found in (folded.first(signed, state, x, (shape[0], 20)), folded.run(signed), folded.run(signed, counts=[])):
        assert found is not None
        assert_close([*found.finals, found.outs, found.last], [v, out.flatten(0, 1), out[:, -1]])
        assert found.last.is_contiguous()
    assert found is not None
    assert found.fired is not None
    assert torch.equal(found.fired, out.sum(1, dtype=torch.int32))
