"""Networks that mode "auto" must fold, with the numbers of mode "step"."""

import copy
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations, parametrize, spectral_norm
from torch.utils.checkpoint import checkpoint

import spikingtorch as st
from spikingtorch import functional as SF
from spikingtorch.testing import assert_close
from tests.nets_that_step import Hole, Own, Two, besides, centred, differences, parameter, run, through, train, with_l1
from tests.test_tutorial import NET


def shaped(*shape: int) -> Hole:
    """Return code that calls a module of the network with features of another shape."""
    return lambda net, x, init: net.module(x.view(-1, *shape)).flatten(1)


images = shaped(1, 2, 2)


class Block(nn.Module):
    """A container of the user's, with a residual connection."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(6, 6), nn.Linear(6, 6)])
        self.neurons = nn.ModuleDict({"a": st.LIF(v0=0.3), "b": st.IF(v0=0.4)})

    def forward(self, x: Tensor, init: Any) -> Tensor:
        for layer, name in zip(self.layers, self.neurons, strict=True):
            x = x + self.neurons[name](layer(x), init)
        return x


def deep(net: Any, x: Tensor, init: Any) -> Tensor:
    x = net.sl1(net.l1(net.stem(x)), init)
    for block in net.blocks:
        x = block(x, init)
    out: Tensor = net.sl2(net.l2(x), init)
    return out


def conductance(net: Any, x: Tensor, init: Any) -> Tensor:
    out: Tensor = net.sl2(net.l2(net.sl1(net.l1(x).relu(), net.inhibition(x).relu(), init)), init)
    return out


class State(NamedTuple):
    v: Tensor
    a: Tensor


def adapting_step(state: State, x: Tensor, *, decay: Any, rise: Any, surrogate: Any) -> tuple[State, Tensor]:
    u = decay * state.v + x
    spike = surrogate(u - 0.3 - state.a)
    return State((1 - spike) * u, decay * state.a + rise * spike), spike


def noisy_step(state: State, x: Tensor, *, decay: Any) -> tuple[State, Tensor]:
    u = decay * state.v + x + torch.randn_like(x)
    spike = (u > 0.3).to(u)
    return State(u * (1 - spike), state.a), spike


def centring_step(state: State, x: Tensor, *, decay: Any) -> tuple[State, Tensor]:
    u = decay * state.v + centred(x)
    return State(u, state.a), u


class Square(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.square()


def own_attention(net: Any, x: Tensor, init: Any) -> Tensor:
    tokens = x.view(-1, 2, 2)
    return F.scaled_dot_product_attention(tokens, tokens, tokens).flatten(1)


def attention_heads(dropout: float) -> Two:
    def code(net: Any, x: Tensor, init: Any) -> Tensor:
        q, k, v = net.l3(x).view(-1, 3, 2, 2, 2).unbind(1)  # of four axes, for which torch has a kernel that may draw
        return F.scaled_dot_product_attention(q, k, v, dropout_p=dropout).flatten(1)

    return Two(code, l3=nn.Linear(4, 24), l1=nn.Linear(8, 6))


def checked_shape(net: Any, x: Tensor, init: Any) -> Tensor:
    assert x.ndim == 2
    assert x.shape[1] == 4
    return x


def quiet(net: Any, x: Tensor, init: Any) -> Tensor:
    with torch.no_grad():
        more = net.l3(x)
    out: Tensor = x + more
    return out


def read_by_size(net: Any, x: Tensor, init: Any) -> Tensor:
    N = x.shape[0]
    return x.view(N, 2, -1).transpose(1, 2).reshape(N, -1)


MUST: dict[str, Callable[[], nn.Module]] = {
    "two": Two,
    "deep": lambda: Own(
        deep,
        stem=nn.Sequential(OrderedDict(a=nn.Linear(4, 4), b=nn.ReLU(inplace=True), c=nn.LayerNorm(4))),
        blocks=nn.ModuleList([Block(), Block()]),
    ),
    "BioLIF": lambda: Own(conductance, sl1=st.BioLIF(0.5, v0=0.1, track_act=True), inhibition=nn.Linear(4, 6)),
    "own step": lambda: Two(
        sl1=st.StepLayer(adapting_step, State, decay=0.9, rise=0.1, surrogate=SF.Arctan(), learnable="rise")
    ),
    "neurons that see each other": lambda: Two(sl1=st.StepLayer(centring_step, State, decay=0.9)),
    "readout": lambda: Two(sl1=st.CoarseLIF(8.0, v0=0.3), sl2=st.LI()),
    "relu": lambda: Two(lambda net, x, init: F.relu(x)),
    "gelu": lambda: Two(lambda net, x, init: F.gelu(x) + torch.tanh(x).clamp(min=0)),
    "in place": lambda: Two(lambda net, x, init: F.relu(net.l3(x), inplace=True), l3=nn.Linear(4, 4)),
    "softmax over features": lambda: Two(lambda net, x, init: x.softmax(-1)),
    "mean over features": lambda: Two(lambda net, x, init: x - x.mean(1, keepdim=True)),
    "roll over features": lambda: Two(lambda net, x, init: x.roll(1, 1)),
    "normalize": lambda: Two(lambda net, x, init: F.normalize(x)),
    "LayerNorm": lambda: Two(through, module=nn.LayerNorm(4)),
    "RMSNorm": lambda: Two(through, module=nn.RMSNorm(4)),
    "GroupNorm": lambda: Two(through, module=nn.GroupNorm(2, 4)),
    "InstanceNorm": lambda: Two(shaped(2, 2), module=nn.InstanceNorm1d(2)),
    "tracked InstanceNorm in eval": lambda: Two(
        shaped(1, 4), module=nn.InstanceNorm1d(1, track_running_stats=True)
    ).eval(),
    "BatchNorm in eval": lambda: Two(through, module=nn.BatchNorm1d(4)).eval(),
    "frozen BatchNorm": lambda: Two(lambda net, x, init: F.batch_norm(x, net.m, net.m + 1), m=nn.Buffer(torch.ones(4))),
    "mixes in training only": lambda: Two(lambda net, x, init: centred(x) if net.training else x).eval(),
    "max pool": lambda: Two(images, module=nn.MaxPool2d(2, 1, 0), l1=nn.Linear(1, 6)),
    "average pool": lambda: Two(images, module=nn.AdaptiveAvgPool2d(1), l1=nn.Linear(1, 6)),
    "conv": lambda: Two(images, module=nn.Conv2d(1, 1, 3, padding=1)),
    "transposed conv": lambda: Two(images, module=nn.ConvTranspose2d(1, 1, 1)),
    "upsample": lambda: Two(images, module=nn.Upsample(scale_factor=2), l1=nn.Linear(16, 6)),
    "unfold": lambda: Two(images, module=nn.Unfold(2), l1=nn.Linear(4, 6), sl2=st.LI()),
    "embedding": lambda: Two(lambda net, x, init: net.e(x.mul(5).long()).mean(1), e=nn.Embedding(5, 4)),
    "weight norm": lambda: with_l1(parametrizations.weight_norm),
    "orthogonal": lambda: with_l1(parametrizations.orthogonal),
    "own parametrization": lambda: with_l1(lambda l1: parametrize.register_parametrization(l1, "weight", Square())),
    "spectral norm in eval": lambda: with_l1(parametrizations.spectral_norm).eval(),
    "shared linear": lambda: Two(lambda net, x, init: x + net.l3(net.l3(x)), l3=nn.Linear(4, 4)),
    "old spectral norm in eval": lambda: with_l1(spectral_norm).eval(),
    "own attention": lambda: Two(own_attention),
    "attention without dropout draws nothing": lambda: attention_heads(0.0),
    "shape": lambda: Two(checked_shape),
    "views": lambda: Two(read_by_size),
    "checkpoint": lambda: Two(lambda net, x, init: checkpoint(net.l3, x, use_reentrant=False), l3=nn.Linear(4, 4)),
    "no_grad": lambda: Two(quiet, l3=nn.Linear(4, 4)),
    "detached": lambda: Two(between=lambda net, x, init: x.detach()),
    "einsum": lambda: Two(lambda net, x, init: torch.einsum("nf,gf->ng", x, net.l3.weight), l3=nn.Linear(4, 4)),
    "vmap": lambda: Two(lambda net, x, init: torch.vmap(lambda one: one / (1 + one.sum()))(x)),
    "zero-init residual": lambda: Two(lambda net, x, init: x + net.g * x.tanh(), g=parameter(4)),
    "constant attributes": lambda: Two(sizes=[1, 2], options={"a": (1, None)}, name="net"),
    "tuple made anew": lambda: Two(besides(lambda net, x: setattr(net, "shape", tuple(x.shape[1:]))), shape=(1,)),
}


@pytest.mark.sampled
@pytest.mark.parametrize("name", MUST)
def test_folds(name: str) -> None:
    torch.manual_seed(0)
    net = MUST[name]().double()
    got, want = run(net, "auto", train()), run(net, "step", train())
    report = got.model.explain()
    assert report.mode == "fold", report.reason
    assert all(text.startswith("scan: centring_step") for text in got.warned)
    assert not differences(got, want, 1e-9)
    assert want.outputs[0].abs().sum() > 0
    for one, other in zip(got.model._layers(), want.model._layers(), strict=True):
        if one.v is not None:
            assert_close(one.v, other.v)
        assert_close(one.s, other.s)


@pytest.mark.sampled
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", ["two", "deep", "BioLIF", "own step", "conv", "LayerNorm"])
def test_folds_in_other_precisions(name: str, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    net = MUST[name]().to(dtype)
    x = train(dtype=dtype)
    got, want = run(net, "auto", x), run(net, "step", x)
    assert got.model.explain().mode == "fold", got.model.explain().reason
    assert not got.warned
    assert got.outputs[0].dtype == dtype
    # a sum over more rows may round in another order, and now and then a neuron lies that close to its threshold
    assert (got.outputs[0] != want.outputs[0]).float().mean() < 0.03


def test_network_that_runs_in_float32_alone_folds() -> None:
    torch.manual_seed(0)
    net = Two(lambda net, x, init: x.float() @ net.table, table=torch.rand(4, 4))
    x = train(dtype=torch.float32)
    got = run(net, "auto", x)
    assert got.model.explain().mode == "fold", got.model.explain().reason
    assert not differences(got, run(net, "step", x), 1e-5)


def test_tutorial_folds() -> None:
    names: dict[str, Any] = {}
    exec(NET, names)
    torch.manual_seed(0)
    model = names["model"].double()
    x = torch.rand(4, 8, 1, 28, 28, dtype=torch.float64)
    step = st.SpikingNet(copy.deepcopy(model.net), 10, mode="step")
    assert torch.equal(model(x), step(x))
    assert model.explain().mode == "fold"


# --- random numbers, a draw for each step and sample ------------------------------------------------------------------

NOISY: dict[str, Callable[[], nn.Module]] = {
    "Dropout": lambda: Two(through, module=nn.Dropout(0.5)),
    "F.dropout": lambda: Two(lambda net, x, init: F.dropout(x, 0.5, net.training)),
    "Dropout1d": lambda: Two(shaped(2, 2), module=nn.Dropout1d(0.5)),
    "Dropout2d": lambda: Two(shaped(4, 1, 1), module=nn.Dropout2d(0.5)),
    "attention with dropout": lambda: attention_heads(0.5),
    "AlphaDropout": lambda: Two(through, module=nn.AlphaDropout(0.5)),
    "dropout of spikes": lambda: Two(between=lambda net, x, init: F.dropout(x, 0.5, net.training)),
    "noise": lambda: Two(lambda net, x, init: x + torch.randn_like(x)),
    "noise of a shape": lambda: Two(lambda net, x, init: x + torch.randn(x.shape[0], 1)),
    "noisy neurons": lambda: Two(sl1=st.StepLayer(noisy_step, State, decay=0.9)),
    "drop path": lambda: Two(lambda net, x, init: x * (torch.rand(x.shape[0], 1) < 0.5)),
    "bernoulli": lambda: Two(lambda net, x, init: torch.bernoulli(x)),
    "encoder": lambda: Two(lambda net, x, init: (torch.rand_like(x) < x).to(x)),
    "gumbel": lambda: Two(lambda net, x, init: F.gumbel_softmax(x)),
    "uniform": lambda: Two(lambda net, x, init: x + torch.empty_like(x).uniform_(-1, 1)),
    "normal": lambda: Two(lambda net, x, init: torch.normal(x, 1.0)),
    "poisson": lambda: Two(lambda net, x, init: torch.poisson(x)),
}


@pytest.mark.parametrize("name", NOISY)
def test_folds_with_a_draw_for_each_step_and_sample(name: str) -> None:
    net = NOISY[name]().double()
    one, again, other = (run(net, "auto", train(), seed=seed) for seed in (0, 0, 1))
    assert one.model.explain().mode == "fold", one.model.explain().reason
    assert torch.equal(one.outputs[0], again.outputs[0])
    assert not torch.equal(one.outputs[0], other.outputs[0])


def test_dropout_draws_a_mask_for_each_step_and_sample() -> None:
    net = Own(lambda net, x, init: net.sl1(net.l1(x), init), l1=nn.Dropout(0.5), l2=None, sl1=st.McPitts(0.5))
    model = st.SpikingNet(net, 400)
    torch.manual_seed(0)
    masks = model(torch.ones(6, 5, 400))
    assert model.explain().mode == "fold"
    assert abs(float(masks.mean()) - 0.5) < 0.02
    flat = masks.reshape(30, 400)
    agree = torch.stack([(flat[i] == flat[j]).float().mean() for i in range(30) for j in range(i)])
    assert agree.max() < 0.65
    assert torch.equal(model.eval()(torch.ones(6, 5, 400)), torch.ones(6, 5, 400))
