"""Layers inside ``torch.utils.checkpoint``, which calls them a second time in the backward pass."""

import gc
import weakref
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

import spikingtorch as st
from spikingtorch.fold.policy import Mode
from spikingtorch.testing import assert_close

Run = Callable[..., Tensor]


def plain(function: Run, *args: Any) -> Tensor:
    return function(*args)


def repeated(function: Run, *args: Any) -> Tensor:
    found: Tensor = checkpoint(function, *args, use_reentrant=False)
    return found


class Net(nn.Module):
    """Linear, layer, Linear, layer; parts of it run inside checkpoint."""

    def __init__(self, run: Run, recurrent: bool = False, **options: Any) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.run = run
        self.l1, self.l2 = nn.Linear(10, 12), nn.Linear(12, 8)
        weights = nn.Linear(12, 12, bias=False) if recurrent else None
        self.n1, self.n2 = st.LIF(tau=4.0, v0=0.3, recurrent=weights, **options), st.CoarseLIF(tau=3.0, v0=0.1)
        self.double()

    def forward(self, x: Tensor, init: Any) -> Tensor:
        hidden = self.run(lambda x: self.n1(self.l1(x), init), x)
        return self.n2(self.l2(hidden), init)  # type: ignore[no-any-return]


def draw(seed: int = 0, T: int = 9) -> Tensor:
    return torch.rand(3, T, 10, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def gradients(out: Tensor, net: nn.Module) -> list[Tensor]:
    cotangent = torch.rand(out.shape, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    return list(torch.autograd.grad(out, list(net.parameters()), cotangent))


def state_of(net: Any) -> list[Tensor]:
    return [net.n1.v.clone(), net.n1.s.clone(), net.n2.v.clone()]


@pytest.mark.parametrize("recurrent", [False, True])
@pytest.mark.parametrize("learnable", [(), "tau"])
@pytest.mark.parametrize("mode", ["step", "fold", "auto"])
def test_layer_starts_from_the_state_that_it_started_from(mode: Mode, learnable: Any, recurrent: bool) -> None:
    want_net, net = (Net(run, recurrent, learnable=learnable) for run in (plain, repeated))
    want_model, model = st.SpikingNet(want_net, 8, mode="step"), st.SpikingNet(net, 8, mode=mode)
    for seed in range(3):
        want, out = want_model(draw(seed)), model(draw(seed))
        assert torch.equal(out, want)
        after = state_of(net)
        assert_close(gradients(out, net), gradients(want, want_net))
        assert_close(state_of(net), after)


def test_gradients_of_several_calls_in_any_order() -> None:
    want_net, net = Net(plain), Net(repeated)
    want_model, model = st.SpikingNet(want_net, 8, mode="step"), st.SpikingNet(net, 8)
    outs, wants = ([each(draw(k)) for k in range(3)] for each in (model, want_model))
    for k in (1, 0, 2):
        assert_close(gradients(outs[k], net), gradients(wants[k], want_net))


@pytest.mark.parametrize("mode", ["step", "auto"])
def test_a_stream_goes_on_from_where_it_was(mode: Mode) -> None:
    """The backward pass of one chunk runs before the next chunk, as in truncated training."""
    nets = [Net(plain), Net(repeated), Net(plain)]
    models = [st.SpikingNet(nets[0], 8, mode="step"), *(st.SpikingNet(net, 8, mode=mode) for net in nets[1:])]
    calls: list[Any] = [
        models[0],
        models[1],
        lambda x, init: repeated(models[2], x, init),
    ]  # the whole network inside checkpoint
    for k in range(4):
        outs = [call(draw(k), k == 0) for call in calls]
        found = [gradients(out, net) for out, net in zip(outs, nets, strict=True)]
        assert torch.equal(outs[1], outs[0])
        assert torch.equal(outs[2], outs[0])
        assert_close(found[1], found[0])
        assert_close(found[2], found[0])


def steps_in_one_region(layer: st.StepLayer, xs: Tensor, run: Run) -> Tensor:
    """Call a layer for all steps inside one checkpoint, and read its state between them."""

    def region(xs: Tensor) -> Tensor:
        outs = []
        for t, x in enumerate(xs):
            out = layer(x, init=t == 0)
            outs.append(out * torch.sigmoid(layer.v))  # type: ignore[arg-type]
        return torch.stack(outs)

    return run(region, xs)


def test_many_calls_and_the_state_between_them() -> None:
    layer: Any = st.LIF(tau=4.0, v0=0.4, learnable="tau").double()
    xs = draw()[0]
    found = []
    for run in (plain, repeated):
        leaf = xs.clone().requires_grad_()
        out = steps_in_one_region(layer, leaf, run)
        layer(torch.full((10,), 0.2, dtype=torch.float64), init=True)
        kept = layer.v.clone()
        found.append(torch.autograd.grad(out.square().sum(), [leaf, layer.tau]))
        assert torch.equal(layer.v, kept)
    assert_close(found[1], found[0])


def test_state_read_before_the_first_call_is_refused() -> None:
    layer, x = st.LIF(tau=4.0), torch.rand(3).requires_grad_()
    layer(torch.rand(3), init=True)
    out = repeated(lambda x: layer(x * torch.sin(layer.v) * x), x)  # type: ignore[arg-type]
    with pytest.raises(RuntimeError, match="reads the state of a spiking layer before it calls the layer"):
        out.sum().backward()


def test_calls_that_only_the_second_run_makes_are_refused() -> None:
    layer, x, runs = st.LIF(tau=4.0, learnable="tau"), torch.rand(3).requires_grad_(), []

    def region(x: Tensor) -> Tensor:
        runs.append(1)
        if len(runs) == 1:
            return torch.sin(x).exp().cos()
        return layer(x)  # type: ignore[no-any-return]

    out = repeated(region, x)
    with pytest.raises(RuntimeError, match="more often in the backward pass"):
        out.sum().backward()


def test_reentrant_calls_do_not_go_on_from_each_other() -> None:
    """The backward pass repeats the last call first, whose state is that of another sequence."""
    layer, x = st.LIF(tau=4.0, v0=0.4), torch.rand(3).requires_grad_()
    model = st.SpikingNet(Net(plain).float(), 8)
    y = torch.rand(2, 4, 10).requires_grad_()
    calls = [(layer, x), (model, y)]
    for call, given in calls:
        outs = [checkpoint(call, given, init, use_reentrant=True) for init in (True, False, True)]
        with pytest.raises(RuntimeError, match="use_reentrant=False and one checkpoint"):
            torch.stack([out.sum() for out in outs]).sum().backward()


def test_state_read_after_a_reentrant_call_is_refused() -> None:
    layer, x = st.LIF(tau=4.0, v0=0.4), torch.rand(3).requires_grad_()
    out = checkpoint(lambda x: layer(x, True) * torch.sin(layer.v), x, use_reentrant=True)  # type: ignore[arg-type]
    layer(torch.rand(3))
    with pytest.raises(RuntimeError, match=r"LIF\.v: called in a backward pass"):
        out.sum().backward()


@pytest.mark.parametrize("kind", ["reentrant", "nested"])
def test_what_cannot_know_its_start_is_an_error(kind: str) -> None:
    layer, xs = st.LIF(tau=4.0, v0=0.4), draw()[0].requires_grad_()

    def inner(x: Tensor, init: bool) -> Tensor:
        y = repeated(layer, x, init)
        return y * torch.sin(y)  # so that the outer checkpoint has to run the inner one once more

    def once(x: Tensor, init: bool) -> Tensor:
        if kind == "nested":
            return repeated(inner, x, init)
        found: Tensor = checkpoint(layer, x, init, use_reentrant=True)
        return found

    out = torch.stack([once(x, t == 0) for t, x in enumerate(xs)])
    with pytest.raises(RuntimeError, match="use_reentrant=False and one checkpoint"):
        out.sum().backward()


def test_one_checkpoint_in_another() -> None:
    found = []
    for run in (plain, repeated):
        layer: Any = st.LIF(tau=4.0, v0=0.4, learnable="tau").double()
        xs = draw()[0].requires_grad_()
        regions = [
            lambda x, init=t == 0, layer=layer, run=run: run(lambda x: torch.sin(layer(x, init)) * x, x)
            for t in range(len(xs))
        ]
        out = torch.stack([run(region, x) for region, x in zip(regions, xs, strict=True)])
        found.append(torch.autograd.grad(out.square().sum(), [xs, layer.tau]))
    assert_close(found[1], found[0])


@pytest.mark.parametrize("options", [{}, {"time_chunk": 4}, {"time_chunk": 4, "truncate": True}])
@pytest.mark.parametrize("mode", ["step", "auto"])
@pytest.mark.parametrize("reentrant", [False, True])
def test_a_whole_network_is_as_it_was(reentrant: bool, mode: Mode, options: Any) -> None:
    """What is called between the passes goes on after the backward pass."""
    nets = [Net(plain), Net(plain)]
    models = [st.SpikingNet(net, 8, mode=mode, **options) for net in nets]
    found = []
    for model, net in zip(models, nets, strict=True):
        x = draw().requires_grad_()
        out = checkpoint(model, x, use_reentrant=reentrant) if net is nets[1] else model(x)
        model(draw(1))
        cotangent = torch.rand(out.shape, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
        net.zero_grad()
        out.backward(cotangent)
        grads = [parameter.grad for parameter in net.parameters()]
        found.append([out, x.grad, *grads, model(draw(2), init=False), *state_of(net)])
    assert_close(found[1], found[0])


def test_a_network_that_decides_after_its_first_call_goes_the_same_way_in_both_runs() -> None:
    class Lazy(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear, self.neurons = nn.LazyLinear(5), st.LIF(v0=0.3)

        def forward(self, x: Tensor, init: Any) -> Tensor:
            return self.neurons(self.linear(x), init)  # type: ignore[no-any-return]

    model = st.SpikingNet(Lazy(), 5)
    x = torch.rand(2, 6, 4).requires_grad_()
    for _ in range(2):
        repeated(model, x).sum().backward()
    assert model.explain().mode == "fold"
    assert x.grad is not None


def test_graphs_and_their_states_are_freed() -> None:
    layer, x = st.LIF(tau=4.0, learnable="tau"), torch.rand(3, 10).requires_grad_()
    gone = []
    for backward in (True, False):
        out = steps_in_one_region(layer, x, repeated)
        if backward:
            out.sum().backward()
        layer.reset()
        gone.append(weakref.ref(out))
        del out
    gc.collect()
    assert [each() for each in gone] == [None, None]
    assert len(layer._recomputation._starts) == 0
    assert len(layer._recomputation._repetitions) == 0


def test_second_derivatives_through_checkpoint() -> None:
    found = []
    for run in (plain, repeated):
        model = st.SpikingNet(Net(run), 8)
        x = draw().requires_grad_()
        (grad,) = torch.autograd.grad(model(x).square().sum(), x, create_graph=True)
        found.append(torch.autograd.grad(grad.square().sum(), list(model.parameters()), allow_unused=True))
    want, got = ([g for g in each if g is not None] for each in found)
    assert_close(got, want)
