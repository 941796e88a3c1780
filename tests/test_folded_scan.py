"""All steps of a folded layer straight to the kernels: odd inputs, the outputs of the last step, orders of memory."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

import spikingtorch as st
from spikingtorch import functional as F
from spikingtorch.functional.dispatch import folded
from spikingtorch.functional.fused.runtime.cpu import CLaunch
from spikingtorch.functional.fused.runtime.executable import Executable
from spikingtorch.functional.fused.runtime.launcher import Launcher
from spikingtorch.testing import assert_close
from tests.fold_nets import span
from tests.folded_layer import CALLS, M, N, Took, agrees, draw, held, learning, over_time, repeat

DTYPES = [torch.float32, torch.float64, torch.float16, torch.bfloat16]
ODD = [math.nan, math.inf, -math.inf]

# --- inputs that are not finite ---------------------------------------------------------------------------------------


class Saw:
    """What the kernels of forward passes say of their inputs."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.finite: list[bool] = []
        run = CLaunch.__call__

        def call(kernel: CLaunch, *args: Any) -> bool:
            finite = run(kernel, *args)
            if kernel.name == "forward":
                self.finite.append(finite)
            return finite

        monkeypatch.setattr(CLaunch, "__call__", call)


@pytest.fixture
def saw(monkeypatch: pytest.MonkeyPatch) -> Saw:
    return Saw(monkeypatch)


def two(state: F.IFState, xs: tuple[Tensor, Tensor]) -> tuple[F.IFState, Tensor]:
    """Return a step that reads the first of its inputs alone."""
    v = state.v + xs[0]
    return F.IFState(v), (v > 1.0).to(v.dtype)


# neurons and steps: fewer than a vector, tails of a block, more than one thread takes
@pytest.mark.parametrize("size", [(1, 1, 1), (2, 5, 3), (2, 18, 257), (3, 40, 600)])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_kernel_sees_odd_inputs(dtype: torch.dtype, size: tuple[int, int, int], saw: Saw) -> None:
    state = F.IFState(torch.zeros(size[0], size[2]).to(torch.promote_types(dtype, torch.float32)))
    rest = torch.zeros(size, dtype=dtype)
    bounds = torch.finfo(dtype)
    places = [(0, 0, 0), (size[0] - 1, size[1] - 1, size[2] - 1), (size[0] // 2, size[1] // 2, size[2] // 2)]

    def finite(x: Tensor, place: tuple[int, int, int], value: float, *, second: bool = False) -> bool:
        x = x.clone()
        x[place] = value
        F.scan(two, state, (rest, x) if second else (x, rest), dim=1, backend="fused")
        return saw.finite[-1]

    for place in places:
        assert all(finite(rest, place, value) for value in (0.0, bounds.max, bounds.min, bounds.tiny / 2))
        assert not any(finite(rest, place, value) for value in ODD)
        assert not any(finite(rest, place, value, second=True) for value in ODD)


def test_sum_that_overflows_is_no_odd_input(saw: Saw) -> None:
    x = torch.full((2, 5, 3), torch.finfo(torch.float32).max)
    F.scan(two, F.IFState(torch.zeros(2, 3)), (x, x), dim=1, backend="fused")
    assert saw.finite == [True]


def test_integers_are_finite(saw: Saw) -> None:
    def step(state: F.IFState, xs: tuple[Tensor, Tensor]) -> tuple[F.IFState, Tensor]:
        return F.IFState(state.v + xs[0]), torch.where(xs[1] > 2, xs[0], state.v)

    F.scan(step, F.IFState(torch.zeros(3)), (torch.rand(4, 3), torch.full((4, 3), 2**31 - 1)), backend="fused")
    assert saw.finite == [True]


@pytest.mark.parametrize("value", ODD)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_layer_refuses_odd_inputs_and_keeps_its_state(dtype: torch.dtype, value: float, took: Took) -> None:
    model = over_time(learning().to(dtype), use=lambda layer, x, init: layer(x / x.abs().clamp(max=0.5), init))
    repeat(model, took, lambda k: (draw(k, dtype=dtype) + 0.1).requires_grad_())
    layer = held(model)
    model(draw(1, dtype=dtype) + 0.1)
    before, s = layer._memory, layer.s.clone()
    layer._fold = None
    x = draw(9, dtype=dtype) + 0.1
    x[2, 4, 5] = 0.0  # for the layer alone, which divides by it
    scans = took.scans
    with pytest.raises(ValueError, match="LIF: x"):
        model(x)
    assert took.scans == scans
    assert layer._memory is before
    assert torch.equal(layer.s, s)
    assert agrees(model, draw(10, dtype=dtype).add(0.1).requires_grad_(), took)


# --- sizes and orders -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("T", [2, 15, 16, 17, 33])
@pytest.mark.parametrize("name", ["decay", "v0", "nothing"])
def test_trains_around_a_chunk(T: int, name: str, took: Took) -> None:
    learnable = () if name == "nothing" else name
    layer = st.LIF(decay=torch.tensor(0.8), v0=span(0.3, 0.6, M), learnable=learnable).double()
    model = over_time(layer)
    for k in range(CALLS):
        agrees(model, draw(k, N, T, M).requires_grad_(), took)
    assert took.trains >= CALLS - 2


IMAGES = (4, 2, 3)
KINDS: dict[str, Callable[[], st.StepLayer]] = {
    "floats": lambda: st.LIF(3.0, 0.4),
    "learnable": lambda: st.LIF(3.0, 0.4, learnable=True),
    "subtracts": lambda: st.IF(0.4, reset=F.by_subtraction, learnable=True),
    "readout": lambda: st.LI(3.0, learnable=True),
    "two inputs": lambda: st.BioLIF(0.5, 0.2, learnable=True),
    "spiking decay": lambda: st.SpikingDecay(2.0, 0.4, learnable=True),
}


def last(x: Tensor) -> Tensor:
    """Return (N, T, C, ...) whose images are channels-last."""
    return x.movedim(2, -1).contiguous().movedim(-1, 2)


@pytest.mark.parametrize("T", [4, 20])
@pytest.mark.parametrize("shape", [IMAGES, (4, 2, 3, 2), (4, 1, 3)])
@pytest.mark.parametrize("kind", KINDS)
def test_channels_last(kind: str, shape: tuple[int, ...], T: int, took: Took) -> None:
    model = over_time(KINDS[kind]().double(), *shape)
    for k in range(2 * CALLS):
        # cotangents in either format
        x, pull = last(draw(k, N, T, *shape)).requires_grad_(), draw(k + 99, N, T, *shape)
        agrees(model, x, took, last(pull) if k % 3 else pull)
    assert took.trains >= 2 * CALLS - 2
    model(last(draw(1, N, T, *shape)))
    folded = model.net(last(draw(1, N * T, 1, *shape))[:, 0], True)
    for own in (held(model).s, folded):
        assert own.permute(0, *range(2, own.ndim), 1).is_contiguous()


def test_channels_last_and_contiguous_in_turns(took: Took) -> None:
    model = over_time(st.LIF(3.0, 0.4, learnable=True).double(), *IMAGES)
    for k in range(12):
        x = draw(k, N, 4, *IMAGES)
        agrees(model, (last(x) if k // 3 % 2 else x).requires_grad_(), took)
    assert took.trains >= 1


@pytest.mark.parametrize("size", [(4, 1, 1), (4, 2, 3), (3,)])
def test_channels_last_with_a_parameter_that_would_be_copied(size: tuple[int, ...], took: Took) -> None:
    model = over_time(st.LIF(3.0, span(0.3, 0.6, *size), learnable=True).double(), *IMAGES)
    for k in range(CALLS):
        agrees(model, last(draw(k, N, 4, *IMAGES)).requires_grad_(), took)
    assert took.scans == CALLS


def test_channels_last_without_gradients(took: Took) -> None:
    repeat(over_time(st.LIF(3.0, 0.4), *IMAGES), took, lambda k: last(draw(k, N, 4, *IMAGES, dtype=torch.float32)))
    assert took.trains == 0


@pytest.mark.parametrize("size", [IMAGES, (1, 3, 2)])
@pytest.mark.parametrize("form", ["channels-last", "contiguous"])
def test_cotangents_in_the_other_format_find_their_kernel(
    form: str, size: tuple[int, ...], took: Took, monkeypatch: pytest.MonkeyPatch
) -> None:
    own, other = (last, torch.clone) if form == "channels-last" else (torch.clone, last)
    model = over_time(st.LIF(3.0, 0.4, learnable=True).double(), *size)
    repeat(model, took, lambda k: own(draw(k, N, 4, *size)).requires_grad_())
    anew, launcher = [], Executable.backward_launcher

    def made(*args: Any) -> Launcher:
        anew.append(args)
        return launcher(*args)

    monkeypatch.setattr(Executable, "backward_launcher", made)
    for k in range(CALLS):
        pull = draw(k + 99, N, 4, *size)
        x = own(draw(k, N, 4, *size)).requires_grad_()
        found = [torch.autograd.grad(model(x), (x, *model.parameters()), pulled) for pulled in (own(pull), other(pull))]
        assert_close(found[1], found[0])
    assert len(anew) <= 1


# --- the outputs of the last step -------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(3, 7), (4096, 2), (2, 300)])  # the second of them is brought to the front
def test_last_outputs(shape: tuple[int, int]) -> None:
    x = torch.rand(shape[0], 20, shape[1], generator=torch.Generator().manual_seed(0))
    state, params = F.IFState(torch.zeros(shape)), {"threshold": 1.0}
    (v,), out = F.scan(F.if_step, state, x, params=params, dim=1, backend="loop")
    signed = folded.signature(F.if_step, F.IFState, [x.flatten(0, 1)], params, (shape[0], 20))
    assert signed is not None
    for found in (folded.first(signed, state, x, (shape[0], 20)), folded.run(signed)):
        assert found is not None
        assert_close([*found.state, found.outs, found.last], [v, out.flatten(0, 1), out[:, -1]])
        assert found.last.is_contiguous()


# --- what autograd hands over -----------------------------------------------------------------------------------------

UNPACKS: dict[str, Callable[[Tensor], Tensor]] = {
    "contiguous": lambda saved: saved.contiguous(),
    "transposed": lambda saved: saved.mT.contiguous().mT if saved.ndim > 1 else saved,
    "as they were": lambda saved: saved,
}


def hooked(out: Tensor, unpack: Callable[[Tensor], Tensor]) -> int:
    """Register a hook on each tensor that the scan behind an output has saved, and say how many there are."""
    node: Any = out.grad_fn
    while "FusedScan" not in node.name():
        node = node.next_functions[0][0]
    saved = node._raw_saved_tensors
    for each in saved:
        each.register_hooks(lambda tensor: tensor.detach(), unpack)
    return len(saved)


@pytest.mark.parametrize("name", UNPACKS)
@pytest.mark.parametrize("form", [lambda x: x, last], ids=["plain", "channels-last"])
def test_hooks_on_what_the_scan_saved(form: Callable[[Tensor], Tensor], name: str, took: Took) -> None:
    model = over_time(st.LIF(3.0, 0.4).double(), *IMAGES)
    for k in range(2 * CALLS):
        x, pull = form(draw(k, N, 4, *IMAGES)).requires_grad_(), form(draw(k + 99, N, 4, *IMAGES))
        (want,) = torch.autograd.grad(model(x), x, pull)
        before, out = took.trains, model(x)
        if took.trains > before:
            assert hooked(out, UNPACKS[name]) == 1
        assert_close(torch.autograd.grad(out, x, pull)[0], want)
    assert took.trains >= 2 * CALLS


def test_hook_that_hands_back_another_type(took: Took) -> None:
    model = over_time(st.LIF(3.0, 0.4).double())
    repeat(model, took)
    x = draw(1).requires_grad_()
    out = model(x)
    hooked(out, lambda saved: saved.float())
    with pytest.raises(
        ValueError, match=r"saved for the backward pass, torch.float64 of .* came back as torch.float32"
    ):
        torch.autograd.grad(out, x, draw(2))


COTANGENTS: dict[str, Callable[[Tensor], Tensor]] = {
    "negated": lambda pull: torch._neg_view(pull),  # pyright: ignore[reportPrivateImportUsage]
    "imaginary": lambda pull: torch.complex(pull, pull).conj().imag,
    "zero": lambda pull: torch._efficientzerotensor(pull.shape, dtype=pull.dtype),  # pyright: ignore
}


@pytest.mark.parametrize("name", COTANGENTS)
@pytest.mark.parametrize("backend", ["loop", "fused"])
def test_cotangents_that_are_not_written_out(backend: Any, name: str) -> None:
    x, state = draw(0, 20, 3, 1).requires_grad_(), F.IFState(torch.zeros(3, 1).double())
    pull = COTANGENTS[name](draw(1, 20, 3, 1))
    for _ in range(3):
        out = F.scan(F.if_step, state, x, params={"threshold": 1.0}, backend=backend)[1]
        want = F.scan(F.if_step, state, x, params={"threshold": 1.0}, backend="loop")[1]
        got, expected = (torch.autograd.grad(each, x, c)[0] for each, c in ((out, pull), (want, pull + 0.0)))
        assert_close(got, expected)


@pytest.mark.parametrize("name", COTANGENTS)
def test_cotangents_of_a_layer_that_are_not_written_out(name: str, took: Took) -> None:
    model = over_time(st.LIF(3.0, 0.4).double(), 1)
    for k in range(CALLS):
        agrees(model, draw(k, N, 4, 1).requires_grad_(), took, COTANGENTS[name](draw(k + 9, N, 4, 1)))
    assert took.trains >= CALLS - 2
