"""The state of a layer: how it starts, what it survives, what copies it."""

import copy
import io
import pickle
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

import spikingtorch as st
from spikingtorch.testing import assert_close
from tests.every_layer import call


def test_first_call_and_init_start_at_rest(layer: st.StepLayer) -> None:
    x = torch.full((2, 3), 0.4)
    first = call(layer, x)
    call(layer, x)
    assert torch.equal(call(layer, x, True), first)
    layer.reset()
    assert torch.equal(call(layer, x), first)
    layer.reset(x)
    assert torch.equal(call(layer, x), first)


def test_state_is_not_in_the_state_dict(layer: st.StepLayer) -> None:
    before = list(layer.state_dict())
    call(layer, torch.ones(2, 3))
    assert list(layer.state_dict()) == before == []


def through_torch_save(layer: st.StepLayer) -> Any:
    buffer = io.BytesIO()
    torch.save(layer, buffer)
    buffer.seek(0)
    return torch.load(buffer, weights_only=False)


def through_pickle(layer: st.StepLayer) -> Any:
    return pickle.loads(pickle.dumps(layer))


@pytest.mark.parametrize("way", [copy.deepcopy, through_pickle, through_torch_save])
def test_copies_carry_the_state_without_its_graph(layer: st.StepLayer, way: Callable[[st.StepLayer], Any]) -> None:
    x = torch.full((2, 3), 0.4, requires_grad=True)
    call(layer, x, True)
    twin = way(layer)
    assert not twin.s.requires_grad
    assert layer.s is not None
    assert layer.s.requires_grad
    assert torch.equal(call(twin, x), call(layer, x))


def test_copies_share_nothing() -> None:
    layer = st.IF()
    layer(torch.full((2,), 0.4))
    twin = copy.deepcopy(layer)
    twin(torch.full((2,), 0.4))
    assert layer.v is not None
    assert layer.v.tolist() == torch.full((2,), 0.4).tolist()


def test_moves_with_the_module(layer: st.StepLayer) -> None:
    x = torch.full((2, 3), 0.4)
    call(layer, x, True)
    layer.double()
    assert layer.s is not None
    assert layer.s.dtype == torch.float64
    call(layer, x.double())
    layer.to("meta")
    assert layer.s.device.type == "meta"


def test_half_precision_keeps_its_state_in_float32() -> None:
    layer = st.LIF(tau=100.0)
    ours = [layer(torch.full((1,), 0.01, dtype=torch.bfloat16), t == 0) for t in range(60)]
    assert ours[0].dtype == torch.bfloat16
    assert layer.v is not None
    assert layer.v.dtype == torch.float32
    exact = st.LIF(tau=100.0)
    for t in range(60):
        exact(torch.full((1,), 0.01, dtype=torch.bfloat16).float(), t == 0)
    assert exact.v is not None
    assert torch.equal(layer.v, exact.v)
    layer.to(torch.float16)
    assert layer.v.dtype == torch.float32


def test_detach_cuts_the_graph() -> None:
    layer = st.IF()
    x = torch.full((1,), 0.4, requires_grad=True)
    layer(x)
    assert layer.v is not None
    assert layer.v.requires_grad
    layer.detach_()
    assert not layer.v.requires_grad
    assert torch.autograd.grad(layer(x).sum(), x)[0].item() == pytest.approx(5 * 0.2689414 * 0.7310586, rel=1e-4)


def test_init_resets_some_samples(layer: st.StepLayer) -> None:
    x = torch.full((4, 3), 0.4)
    call(layer, x, True)
    going_on, anew = copy.deepcopy(layer), copy.deepcopy(layer)
    got = call(layer, x, torch.tensor([True, False, True, False]))
    assert torch.equal(got[1::2], call(going_on, x)[1::2])
    assert torch.equal(got[::2], call(anew, x, True)[::2])
    if layer.v is not None:
        assert torch.equal(layer.v[1::2], going_on.v[1::2])  # type: ignore[index]
        assert torch.equal(layer.v[::2], anew.v[::2])  # type: ignore[index]


def test_init_mask_on_a_first_call_starts_every_sample() -> None:
    assert st.IF()(torch.ones(2, 1), torch.tensor([True, False])).tolist() == [[1.0], [1.0]]


def test_survives_transforms(layer: st.StepLayer) -> None:
    x = torch.full((2, 3), 0.4)
    first = call(layer, x, True)
    layer.reset()
    torch.func.vmap(lambda row: call(layer, row, True))(x)
    assert layer.v is None
    assert torch.equal(call(copy.deepcopy(layer), x), first)
    torch.func.grad(lambda row: call(layer, row, True).sum())(x)
    assert torch.equal(call(pickle.loads(pickle.dumps(layer)), x), first)
    torch.func.jvp(lambda row: call(layer, row, True), (x,), (x,))
    assert torch.equal(call(layer, x), first)


def test_steps_inside_a_transform() -> None:
    layer = st.LIF()

    def total(x: Tensor) -> Tensor:
        return torch.stack([layer(x, t == 0) for t in range(5)]).sum()

    x = torch.tensor([[0.3, 0.6], [0.9, 0.1]])
    want = x.clone().requires_grad_()
    total(want).backward()
    assert want.grad is not None
    assert_close(torch.func.grad(total)(x), want.grad)
    assert_close(torch.func.vmap(torch.func.grad(total))(x), want.grad)


def test_state_of_inference_mode_may_go_on_with_gradients() -> None:
    layer = st.LIF(learnable="tau")
    with torch.inference_mode():
        layer(torch.full((2,), 0.4), True)
    layer(torch.full((2,), 0.4)).sum().backward()
    assert layer.get_parameter("tau").grad is not None


def test_biolif_counts_its_activity() -> None:
    layer = st.BioLIF(0.5, v0=0.1, track_act=True)
    assert layer.act is None
    x = torch.full((2, 3), 2.0, requires_grad=True)
    for t in range(3):
        layer(x, 0 * x, t == 0)
    assert layer.act is not None
    assert layer.act.tolist() == torch.full((2, 3), 3.0).tolist()
    assert torch.autograd.grad(layer.act.sum(), x)[0].abs().sum() > 0
    layer(x, 0 * x, torch.tensor([True, False]))
    assert layer.act[:, 0].tolist() == [1.0, 4.0]
    untracked = st.BioLIF(0.5)
    untracked(x, x)
    assert untracked.act is None


def test_biolif_counts_beyond_256_in_bfloat16() -> None:
    layer = st.BioLIF(0.5, v0=0.01, track_act=True)
    x = torch.ones(1, dtype=torch.bfloat16)
    for t in range(300):
        layer(x, x, t == 0)
    assert layer.act is not None
    assert layer.act.item() == 300
