"""The state of a layer: how it starts, what it survives, what copies it."""

import copy
from functools import partial
from typing import Any

import pytest
import torch
from torch import nn

import spikingtorch as st
from tests.every_layer import COPIES, call, leaves_of
from tests.every_layer import MAKERS as ALL
from tests.folded_layer import draw

RECURRENT: dict[str, Any] = {
    "alone": None,
    "dense": nn.Linear(3, 3, bias=False),
    "convolution": nn.Conv1d(5, 5, 3, padding="same", bias=False),
    "channels": torch.tensor([-0.5, 1.0, 0.3, -10.0, 0.2]).reshape(5, 1),
}
MAKERS = ALL | {"resting": partial(st.IF, threshold=0.5, refractory=2.0)}
X, Y = 1.2 * draw(0, 4, 5, 3).float(), 1.2 * draw(1, 4, 5, 3).float()


# all synapses for those that differ in how they keep a state, one each for the others
KINDS = {"IF", "CoarseLIF", "McPitts", "BioLIF", "LI", "Delay", "Izhikevich", "StochasticLIF", "resting"}
MADE = [
    f"{name}, {kind}"
    for row, name in enumerate(MAKERS)
    for column, kind in enumerate(RECURRENT)
    if name in KINDS or row % len(RECURRENT) == column
]


@pytest.fixture(params=MADE)
def layer(request: pytest.FixtureRequest) -> Any:
    name, kind = request.param.split(", ")
    return MAKERS[name](recurrent=copy.deepcopy(RECURRENT[kind]))


def test_first_call_and_init_start_at_rest(layer: Any) -> None:
    names = list(layer.state_dict())
    assert {*names} == {"_extra_state", *dict(layer.named_parameters())}
    assert (layer.v, layer.s) == (None, None)
    first = call(layer, X)
    assert torch.equal(layer.s, first)
    call(layer, X)
    assert torch.equal(call(layer, X, True), first)
    layer.reset()
    assert (layer.v, layer.s) == (None, None)
    assert torch.equal(call(layer, X), first)
    layer.reset(X)
    assert torch.equal(call(layer, X), first)
    assert list(layer.state_dict()) == names


@pytest.mark.parametrize("cut", [False, True])
def test_detach_cuts_the_graph(layer: Any, cut: bool) -> None:
    x = X.clone().requires_grad_()
    call(layer, x)
    if cut:
        layer.detach_()
    (gradient,) = torch.autograd.grad(call(layer, Y).sum() + 0.0 * x.sum(), x)
    assert bool(gradient.any()) == (not cut and not layer.memoryless)


@pytest.mark.parametrize("way", COPIES)
def test_copies_carry_the_state_without_its_graph_and_share_nothing(layer: Any, way: str) -> None:
    call(layer, X.clone().requires_grad_(), True)
    twin = COPIES[way](layer)
    assert layer.s.requires_grad
    assert not twin.s.requires_grad
    before = [leaf.clone() for leaf in leaves_of(layer.state)]
    got = call(twin, Y)
    assert all(map(torch.equal, leaves_of(layer.state), before))
    assert torch.equal(got, call(layer, Y))
    params = [*layer.parameters(), *twin.parameters()]
    assert len({parameter.data_ptr() for parameter in params}) == len(params)


def test_a_shallow_copy_has_a_state_of_its_own(layer: Any) -> None:
    call(layer, X)
    twin = copy.copy(layer)
    want = call(copy.deepcopy(layer), Y)
    call(twin, Y)
    twin.reset()
    assert torch.equal(call(layer, Y), want)


def test_moves_with_the_module(layer: Any) -> None:
    call(layer, X, True)
    layer.double()
    assert layer.s.dtype == torch.float64
    call(layer, X.double())
    layer.to("meta")
    assert layer.s.device.type == "meta"


def test_init_resets_some_samples(layer: Any) -> None:
    call(layer, X, True)
    going_on, anew = copy.deepcopy(layer), copy.deepcopy(layer)
    got = call(layer, Y, torch.tensor([True, False, True, False]))
    assert torch.equal(got[1::2], call(going_on, Y)[1::2])
    assert torch.equal(got[::2], call(anew, Y, True)[::2])
    if layer.v is not None:
        assert torch.equal(layer.v[1::2], going_on.v[1::2])
        assert torch.equal(layer.v[::2], anew.v[::2])


def test_survives_transforms(layer: Any) -> None:
    first = call(layer, X, True)
    layer.reset()
    torch.func.vmap(lambda x: call(layer, x, True))(X[None])
    assert layer.v is None
    assert torch.equal(call(copy.deepcopy(layer), X), first)
    torch.func.grad(lambda x: call(layer, x, True).sum())(X)
    assert torch.equal(call(COPIES["pickle"](layer), X), first)
    torch.func.jvp(lambda x: call(layer, x, True), (X,), (X,))
    assert torch.equal(call(layer, X), first)


def test_empty_batch(layer: Any) -> None:
    assert call(layer, X[:0], True).shape == (0, 5, 3)


def test_half_precision_keeps_its_state_in_float32() -> None:
    x = torch.full((1,), 0.01, dtype=torch.bfloat16)
    layer, exact = st.LIF(tau=100.0), st.LIF(tau=100.0)
    for t in range(60):
        assert layer(x, t == 0).dtype == torch.bfloat16
        exact(x.float(), t == 0)
    assert layer.v is not None
    assert exact.v is not None
    assert layer.v.dtype == torch.float32
    assert torch.equal(layer.v, exact.v)
    assert layer.to(torch.float16).v.dtype == torch.float32  # type: ignore[union-attr]


def test_init_mask_on_a_first_call_starts_every_sample() -> None:
    assert st.IF()(torch.ones(2, 1), torch.tensor([True, False])).tolist() == [[1.0], [1.0]]


def test_biolif_counts_its_activity() -> None:
    layer: Any = st.BioLIF(0.5, v0=0.1, track_act=True)
    before = layer.act
    x = torch.full((2, 3), 2.0, requires_grad=True)
    for t in range(3):
        layer(x, 0 * x, t == 0)
    assert layer.act.tolist() == torch.full((2, 3), 3.0).tolist()
    assert torch.autograd.grad(layer.act.sum(), x)[0].any()
    layer(x, 0 * x, torch.tensor([True, False]))
    assert layer.act[:, 0].tolist() == [1.0, 4.0]
    for t in range(300):  # bfloat16 counts to 256
        layer(x.bfloat16(), x.bfloat16(), t == 0)
    assert layer.act.tolist() == torch.full((2, 3), 300.0).tolist()
    untracked: Any = st.BioLIF(0.5)
    untracked(x, x)
    assert before is untracked.act is None
