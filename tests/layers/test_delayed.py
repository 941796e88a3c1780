"""DelayedLinear: in every way that a network runs, while it learns, rounded, saved and refused."""

import copy
import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

import spikingtorch as st
from spikingtorch import functional as F
from spikingtorch import learning, quantize
from spikingtorch.functional.sparse.delayed import kernels
from spikingtorch.layers import delayed
from spikingtorch.testing import assert_close
from tests.folded_layer import over_time

pytestmark = pytest.mark.usefixtures("one_thread")
X = (torch.rand(3, 30, 20, generator=torch.Generator().manual_seed(0)) < 0.2).float()
PER = pytest.mark.parametrize("per", ["synapse", "axon"])


def made(per: Any = "synapse", width: Any = 2.0, **options: Any) -> st.DelayedLinear:
    torch.manual_seed(1)
    return st.DelayedLinear(20, 15, 9, width, per=per, **options)


@PER
def test_every_way_to_run_has_the_same_bits(per: Any) -> None:
    layer = made(per)
    want = F.delayed_linear(X.transpose(0, 1), layer.weight, layer.delay, 2.0, 9).transpose(0, 1)
    leaves, pull, lengths = [layer.weight, layer.delay], torch.randn_like(want), torch.tensor([30, 3, 17])
    slopes = torch.autograd.grad(want, leaves, pull)
    running = torch.arange(30) < lengths[:, None]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ways: Any = ({}, {"mode": "step"}, {"time_chunk": 7}, {"time_chunk": 7, "recompute": True})
        for options in ways:
            model: Any = st.SpikingNet(nn.Sequential(layer), **options)
            out = model(X)
            assert torch.equal(out, want), options
            assert_close(torch.autograd.grad(out, leaves, pull), slopes)
            parts = [model(X[:, :7]), model(X[:, 7:8], init=False), model(X[:, 8:], init=False)]
            assert torch.equal(torch.cat(parts, 1), want)
            assert torch.equal(model(X, lengths=lengths), want * running[..., None])
            after = model(X, init=False)
            for n, length in enumerate(lengths.tolist()):
                model(X[n : n + 1, :length])
                assert torch.equal(model(X[n : n + 1], init=False), after[n : n + 1])
        recorded = st.record(st.SpikingNet(layer), X)
    assert torch.equal(recorded[""]["spikes"], want)
    assert torch.equal(st.MultiStep(layer)(X.transpose(0, 1), True), want.transpose(0, 1))
    both = st.SpikingNet(nn.Sequential(layer, st.LIF()))
    assert [*st.record(both, X, ("spikes", "v"))["0"]] == ["spikes"]
    assert (both.explain().mode, both.explain().layers[0].backend.backend) == ("fold", "convolution")


@PER
def test_steps_share_kernels_and_learning_renews_them(per: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[Any] = []

    def counted(*given: Any, **named: Any) -> Any:
        calls.append(named)
        return kernels(*given, **named)

    monkeypatch.setattr(delayed, "kernels", counted)
    layer = made(per)
    model = st.SpikingNet(layer, mode="step")
    for init in (True, False):  # a backward pass uses a graph up
        model(X, init=init).square().sum().backward()
    assert len(calls) == 2
    with torch.no_grad():
        before = model(X)
        for change in (
            lambda: layer.weight.mul_(2.0),
            lambda: layer.delay.data.mul_(0.5),
            lambda: setattr(layer, "width", 1),
        ):
            change()
            assert_close(model(X), over_time(copy.deepcopy(layer), 15)(X))
        assert not torch.equal(model(X), before)
        layer.delay.fill_(99.0)
        model(X)
    assert layer.delay.unique().tolist() == [9.0]


def test_rounded_saved_and_in_half_precision() -> None:
    layer, other = made(width=2), made(width=5.0)
    other.load_state_dict(layer.state_dict())
    assert other.width == 2.0
    assert torch.equal(over_time(other, 15)(X), over_time(copy.deepcopy(layer), 15)(X))
    whole = layer.delay.round().long()
    kernel = layer.round_().step_params()["kernel"]
    assert torch.equal(kernel, torch.zeros_like(kernel).scatter_(-1, 9 - whole[..., None], layer.weight[..., None]))
    other.load_state_dict(layer.state_dict())
    assert (other.width, torch.equal(other.delay, whole.float())) == (0.0, True)
    got, exact = layer.bfloat16()(X[:, 0].bfloat16(), True), layer.float()(X[:, 0], True)
    assert torch.equal(got, exact.bfloat16())


def test_a_width_for_each_delay_learns() -> None:
    layer = made(width=torch.full((15, 20), 2.0), learnable=("delay", "width"))
    over_time(layer, 15)(X).square().sum().backward()
    assert {name for name, each in layer.named_parameters() if each.grad is not None and each.grad.all()} == {
        "delay",
        "width",
    }


def test_compiled_and_exported() -> None:
    model, N, T = st.SpikingNet(nn.Sequential(made(), st.LIF())).eval(), *map(torch.export.Dim, "NT")
    want = model(X)
    exported = torch.export.export(model, (X,), dynamic_shapes=({0: N, 1: T},), strict=False).module()
    assert_close(exported(X[:2, :9]), want[:2, :9])
    assert_close(torch.compile(model, fullgraph=True, backend="aot_eager")(X), want)


def learner() -> learning.OnlineLearner:
    return learning.online(st.SpikingNet(nn.Sequential(made(), nn.Linear(15, 2), st.LI())), "last_step")


FAILS: dict[str, Callable[[], Any]] = {
    r"longest=0, expected a whole number of steps": lambda: st.DelayedLinear(2, 3, 0, 1.0),
    r"width=-1.0, expected a finite value at least 0": lambda: made(width=-1.0),
    r"width=0, expected a finite value above 0": lambda: made(width=torch.tensor(0.0)),
    r"per='input', expected 'synapse' or 'axon'": lambda: made("input"),
    r"x has shape \(3, 4\), expected \(N, 20\)": lambda: made()(torch.rand(3, 4)),
    r"mixed dtypes: x is torch.float64 and weight torch.float32": lambda: made()(X[:, 0].double()),
    r"longest cannot change": lambda: setattr(made(), "longest", 3),
    r"\(DelayedLinear\) has weights that cannot be rounded": lambda: quantize.prepare_qat(nn.Sequential(made())),
    r"layer 0 delays its input": lambda: learner().step(X[:, 0]),
}


@pytest.mark.parametrize("message", FAILS)
def test_errors(message: str) -> None:
    with pytest.raises((TypeError, ValueError), match=message):
        FAILS[message]()
