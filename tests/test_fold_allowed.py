"""Networks that mode "auto" must fold, with the numbers of mode "step"."""

import copy
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations, parametrize
from torch.utils.checkpoint import checkpoint

import spikingtorch as st
from spikingtorch import functional as SF
from spikingtorch.testing import assert_close
from tests.nets_that_step import Two, differences, run, train
from tests.test_tutorial import NET, NEURONS, PRELUDE


def through(net: Any, x: Tensor, init: Any) -> Tensor:
    out: Tensor = net.module(x)
    return out


def over_channels(net: Any, x: Tensor, init: Any) -> Tensor:
    out: Tensor = net.module(x.view(-1, 2, 2)).flatten(1)
    return out


def images(net: Any, x: Tensor, init: Any) -> Tensor:
    out: Tensor = net.module(x.view(-1, 1, 2, 2)).flatten(1)
    return out


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


class Deep(Two):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(OrderedDict(a=nn.Linear(4, 4), b=nn.ReLU(inplace=True), c=nn.LayerNorm(4)))
        self.blocks = nn.ModuleList([Block(), Block()])

    def forward(self, x: Tensor, init: Any) -> Tensor:
        x = self.sl1(self.l1(self.stem(x)), init)
        for block in self.blocks:
            x = block(x, init)
        out: Tensor = self.sl2(self.l2(x), init)
        return out


class Conductance(Two):
    def __init__(self) -> None:
        super().__init__(sl1=st.BioLIF(0.5, v0=0.1, track_act=True))
        self.inhibition = nn.Linear(4, 6)

    def forward(self, x: Tensor, init: Any) -> Tensor:
        s = self.sl1(self.l1(x).relu(), self.inhibition(x).relu(), init)
        out: Tensor = self.sl2(self.l2(s), init)
        return out


class ThetaState(NamedTuple):
    v: Tensor
    a: Tensor


def theta_step(state: ThetaState, x: Tensor, *, decay: Any, rise: Any, surrogate: Any) -> tuple[ThetaState, Tensor]:
    u = decay * state.v + x
    spike = surrogate(u - 0.3 - state.a)
    return ThetaState((1 - spike) * u, decay * state.a + rise * spike), spike


def theta() -> st.StepLayer:
    return st.StepLayer(theta_step, ThetaState, decay=0.9, rise=0.1, surrogate=SF.Arctan(), learnable="rise")


class Square(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.square()


def weight_norm() -> nn.Module:
    net = Two()
    parametrizations.weight_norm(net.l1)
    parametrizations.orthogonal(net.l2)
    return net


def own_parametrization() -> nn.Module:
    net = Two()
    parametrize.register_parametrization(net.l1, "weight", Square())
    return net


def shared_linear(net: Any, x: Tensor, init: Any) -> Tensor:
    out: Tensor = x + net.l3(net.l3(x))
    return out


def own_attention(net: Any, x: Tensor, init: Any) -> Tensor:
    tokens = x.view(-1, 2, 2)
    return F.scaled_dot_product_attention(tokens, tokens, tokens).flatten(1)


def attention_heads(net: Any, x: Tensor, dropout: float) -> Tensor:
    q, k, v = net.l3(x).view(-1, 3, 2, 2, 2).unbind(1)  # of four axes, for which torch has a kernel that may draw
    return F.scaled_dot_product_attention(q, k, v, dropout_p=dropout).flatten(1)


def float32_table(net: Any, x: Tensor, init: Any) -> Tensor:
    out: Tensor = x.float() @ net.table
    return out


def checked_shape(net: Any, x: Tensor, init: Any) -> Tensor:
    assert x.ndim == 2
    assert x.shape[1] == 4
    return x


def checkpointed(net: Any, x: Tensor, init: Any) -> Tensor:
    out: Tensor = checkpoint(net.l3, x, use_reentrant=False)
    return out


def read_by_size(net: Any, x: Tensor, init: Any) -> Tensor:
    N = x.shape[0]
    return x.view(N, 2, -1).transpose(1, 2).reshape(N, -1)


MUST: dict[str, Callable[[], nn.Module]] = {
    "two": Two,
    "deep": Deep,
    "BioLIF": Conductance,
    "own step": lambda: Two(sl1=theta()),
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
    "InstanceNorm": lambda: Two(over_channels, module=nn.InstanceNorm1d(2)),
    "BatchNorm in eval": lambda: Two(through, module=nn.BatchNorm1d(4)).eval(),
    "frozen BatchNorm": lambda: Two(lambda net, x, init: F.batch_norm(x, net.m, net.m + 1), m=nn.Buffer(torch.ones(4))),
    "max pool": lambda: Two(images, module=nn.MaxPool2d(2, 1, 0), l1=nn.Linear(1, 6)),
    "average pool": lambda: Two(images, module=nn.AdaptiveAvgPool2d(1), l1=nn.Linear(1, 6)),
    "conv": lambda: Two(images, module=nn.Conv2d(1, 1, 3, padding=1)),
    "transposed conv": lambda: Two(images, module=nn.ConvTranspose2d(1, 1, 1)),
    "upsample": lambda: Two(images, module=nn.Upsample(scale_factor=2), l1=nn.Linear(16, 6)),
    "unfold": lambda: Two(images, module=nn.Unfold(2), l1=nn.Linear(4, 6), sl2=st.LI()),
    "embedding": lambda: Two(lambda net, x, init: net.e(x.mul(5).long()).mean(1), e=nn.Embedding(5, 4)),
    "weight norm": weight_norm,
    "own parametrization": own_parametrization,
    "spectral norm in eval": lambda: parametrized_spectral().eval(),
    "shared linear": lambda: Two(shared_linear, l3=nn.Linear(4, 4)),
    "own attention": lambda: Two(own_attention),
    "attention without dropout draws nothing": lambda: Two(
        lambda net, x, init: attention_heads(net, x, 0.0), l3=nn.Linear(4, 24), l1=nn.Linear(8, 6)
    ),
    "shape": lambda: Two(checked_shape),
    "views": lambda: Two(read_by_size),
    "checkpoint": lambda: Two(checkpointed, l3=nn.Linear(4, 4)),
    "no_grad": lambda: Two(lambda net, x, init: x + quiet(net, x), l3=nn.Linear(4, 4)),
    "detached": lambda: Two(between=lambda net, x, init: x.detach()),
    "einsum": lambda: Two(lambda net, x, init: torch.einsum("nf,gf->ng", x, net.l3.weight), l3=nn.Linear(4, 4)),
    "vmap": lambda: Two(lambda net, x, init: torch.vmap(lambda one: one / (1 + one.sum()))(x)),
    "zero-init residual": lambda: Two(lambda net, x, init: x + net.g * x.tanh(), g=nn.Parameter(torch.zeros(4))),
    "constant attributes": lambda: Two(sizes=[1, 2], options={"a": (1, None)}, name="net"),
    "tuple made anew": lambda: Two(sets_shape, shape=(1,)),
}


def sets_shape(net: Any, x: Tensor, init: Any) -> Tensor:
    net.shape = tuple(x.shape[1:])
    return x


def quiet(net: Any, x: Tensor) -> Tensor:
    with torch.no_grad():
        out: Tensor = net.l3(x)
        return out


def parametrized_spectral() -> nn.Module:
    net = Two()
    parametrizations.spectral_norm(net.l1)
    return net


@pytest.mark.parametrize("name", MUST)
def test_folds(name: str) -> None:
    torch.manual_seed(0)
    net = MUST[name]().double()
    got = run(net, "auto", train())
    report = got.model.explain()
    assert report.mode == "fold", report.reason
    assert not got.warned
    want = run(net, "step", train())
    assert not differences(got, want, 1e-9)
    assert want.outputs[0].abs().sum() > 0
    for one, other in zip(got.model._layers(), want.model._layers(), strict=True):
        if one.v is not None:
            assert_close(one.v, other.v)
        assert_close(one.s, other.s)


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


def test_plain_tensor_attribute_keeps_the_trial_in_float32() -> None:
    torch.manual_seed(0)
    net = Two(float32_table, table=torch.rand(4, 4))
    got = run(net, "auto", train(dtype=torch.float32))
    assert got.model.explain().mode == "fold", got.model.explain().reason
    assert not differences(got, run(net, "step", train(dtype=torch.float32)), 1e-5)


def test_tutorial_folds() -> None:
    names: dict[str, Any] = {}
    for block in (PRELUDE, NEURONS, NET):
        exec(block, names)
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
    "Dropout1d": lambda: Two(over_channels, module=nn.Dropout1d(0.5)),
    "Dropout2d": lambda: Two(lambda net, x, init: net.module(x[..., None, None]).flatten(1), module=nn.Dropout2d(0.5)),
    "attention with dropout": lambda: Two(
        lambda net, x, init: attention_heads(net, x, 0.5), l3=nn.Linear(4, 24), l1=nn.Linear(8, 6)
    ),
    "AlphaDropout": lambda: Two(through, module=nn.AlphaDropout(0.5)),
    "dropout of spikes": lambda: Two(between=lambda net, x, init: F.dropout(x, 0.5, net.training)),
    "noise": lambda: Two(lambda net, x, init: x + torch.randn_like(x)),
    "noise of a shape": lambda: Two(lambda net, x, init: x + torch.randn(x.shape[0], 1)),
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
    model = st.SpikingNet(copy.deepcopy(net), 3)
    assert model.explain(train()).mode == "fold", model.explain().reason
    one, again, other = (run(net, "auto", train(), seed=seed).outputs[0] for seed in (0, 0, 1))
    assert torch.equal(one, again)
    assert not torch.equal(one, other)


class Dropped(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.dropout = nn.Dropout(0.5)
        self.sl = st.McPitts(0.5)

    def forward(self, x: Tensor, init: Any) -> Tensor:
        out: Tensor = self.sl(self.dropout(x), init)
        return out


def test_dropout_draws_a_mask_for_each_step_and_sample() -> None:
    model = st.SpikingNet(Dropped(), 400)
    torch.manual_seed(0)
    masks = model(torch.ones(6, 5, 400))
    assert model.explain().mode == "fold"
    assert abs(float(masks.mean()) - 0.5) < 0.02
    flat = masks.reshape(30, 400)
    agree = torch.stack([(flat[i] == flat[j]).float().mean() for i in range(30) for j in range(i)])
    assert agree.max() < 0.65
    assert torch.equal(model.eval()(torch.ones(6, 5, 400)), torch.ones(6, 5, 400))


# --- networks that could fold -----------------------------------------------------------------------------------------


class NoisyState(NamedTuple):
    v: Tensor


def noisy_step(state: NoisyState, x: Tensor, *, decay: Any) -> tuple[NoisyState, Tensor]:
    u = decay * state.v + x + torch.randn_like(x)
    spike = (u > 0.3).to(u)
    return NoisyState(u * (1 - spike)), spike


def test_network_of_noisy_neurons_folds() -> None:
    model = st.SpikingNet(Two(sl1=st.StepLayer(noisy_step, NoisyState, decay=0.9)).double(), 3)
    assert model.explain(train()).mode == "fold", model.explain().reason


def centring_step(state: NoisyState, x: Tensor, *, decay: Any) -> tuple[NoisyState, Tensor]:
    u = decay * state.v + x - x.mean(0)
    return NoisyState(u), u


def test_neurons_that_see_each_other_fold() -> None:
    torch.manual_seed(0)
    net = Two(sl1=st.StepLayer(centring_step, NoisyState, decay=0.9)).double()
    got = run(net, "auto", train())
    assert got.model.explain().mode == "fold"
    assert not differences(got, run(net, "step", train()), 1e-9)
