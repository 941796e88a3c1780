"""Gradients of layers that skip zeros, and layers too small for it: nobody looks until they change."""

import copy
from collections.abc import Sequence
from functools import partial
from typing import Any

import pytest
import torch
import torch.nn.functional as nnf
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

import spikingtorch as st
from spikingtorch.functional.sparse import crossover, kernels
from spikingtorch.functional.sparse.automatic import Automatic
from tests.event_driven.networks import SMALL, Net, model_of, outcome, reasons, spikes
from tests.folded_layer import Coded
from tests.rounding import Change, assert_as_exact, changed
from tests.surroundings import calls_of

pytestmark = pytest.mark.usefixtures("one_thread")


def gradients(call: Any, x: Tensor, parameters: Any) -> list[Tensor | None]:
    """Return the gradients of input and weights, by ``backward``, which checkpoint asks for."""
    leaves = [x.clone().requires_grad_(), *parameters]
    for leaf in leaves:
        leaf.grad = None
    out = call(leaves[0])
    g = torch.randint(-4, 5, out.shape, generator=torch.Generator().manual_seed(2)) / 4
    out.backward(g.to(out.dtype))
    return [leaf.grad for leaf in leaves]


class Checkpointed(Net):
    """Its second convolution and what follows are computed twice."""

    reentrant = False

    def forward(self, x: Tensor, init: Any) -> Any:
        h = self.l1(self.conv1(x), init)
        later: Any = checkpoint(lambda h: self.conv2(h).cos(), h, use_reentrant=self.reentrant)
        return later.flatten(1)[:, :84] @ self.out.weight.T


@pytest.mark.parametrize("reentrant", [False, True])
def test_checkpoint_inside(reentrant: bool, runs: list[int]) -> None:
    """The second run is outside of the call, so that the first is dense as well."""

    def of(event_driven: str, change: Change = torch.clone) -> list[Tensor | None]:
        net = Checkpointed()
        net.reentrant = reentrant
        model = changed(model_of(event_driven, net, mode="step"), change)
        return gradients(model, change(spikes()), model.parameters())

    got = of("on")
    assert_as_exact(got, partial(of, "off"))
    assert runs == [3 * 2 * 8 * 8] * 4
    assert got[0] is not None


@pytest.mark.parametrize("reentrant", [False, True])
def test_checkpoint_around(reentrant: bool) -> None:
    model, x = model_of(), spikes()
    got = gradients(lambda x: checkpoint(model, x, use_reentrant=reentrant), x, model.parameters())

    def plain(change: Change) -> list[Tensor | None]:
        dense = changed(model, change)
        return gradients(dense, change(x), dense.parameters())

    assert_as_exact(got, plain)


class PartlyCompiled(Net):
    """Its second convolution is compiled."""

    def __init__(self) -> None:
        super().__init__()
        self.compiled: Any = torch.compile(self.conv2, backend="aot_eager")

    def forward(self, x: Tensor, init: Any) -> Tensor:
        h = self.l2(self.compiled(self.l1(self.conv1(x), init)), init)
        return nnf.linear(h.flatten(1)[:, :84], self.out.weight) + self.kernel.sum()


def test_a_compiled_part(runs: list[int]) -> None:
    model, dense = model_of(net=PartlyCompiled(), mode="step"), model_of("off", PartlyCompiled(), mode="step")
    for _ in range(2):
        assert torch.equal(model(spikes()), dense(spikes()))
    assert reasons(model) == {"conv1": None, "out": None}
    assert len(runs) == 2 * 4 * 2


@pytest.fixture
def input_gradients(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The channels of each convolution whose input gradient is a kernel's, small ones too."""
    monkeypatch.setattr(crossover, "_FEW_PRODUCTS", 0)
    return calls_of(monkeypatch, kernels, "input_gradient", lambda result, s, *others: s.channels)


def few() -> nn.Module:
    """Return a network of few channels, and few outputs."""
    torch.manual_seed(0)
    parts = {"conv1": nn.Conv2d(2, 4, 3, padding=1), "s1": st.LIF(v0=0.5), "conv2": nn.Conv2d(4, 9, 3, padding=1)}
    return Coded(lambda net, x, init: net.conv2(net.s1(net.conv1(x), init)).mean((2, 3)), **parts)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last], ids=["first", "last"])
@pytest.mark.parametrize(("make", "channels"), [(Net, [5, 2]), (few, [4, 2])])
def test_gradients_of_few_channels(
    make: Any, channels: list[int], layout: Any, input_gradients: list[int], monkeypatch: Any, runs: list[int]
) -> None:
    """They are kernels' where the outputs are torch's own, and those of weights where outputs are few as well."""
    weights = calls_of(monkeypatch, kernels, "dense_weight_gradient", lambda result, s, *others: s.channels)
    net, x = make().to(memory_format=layout), spikes()
    dense = model_of("off", net)
    got = outcome(model_of("auto", net), x)
    assert input_gradients == weights == channels
    want = outcome(dense, x)
    assert not runs
    assert torch.equal(got[0], want[0])
    assert_as_exact(got, lambda change: outcome(changed(dense, change), change(x)))
    assert [g.stride() for g in got[1:]] == [g.stride() for g in want[1:]]


def test_second_derivatives(input_gradients: list[int]) -> None:
    def second(event_driven: str, change: Change = torch.clone) -> Sequence[Tensor]:
        torch.manual_seed(0)
        smooth = Coded(lambda net, x, init: net.layer(x).tanh(), layer=nn.Conv2d(2, 3, 3, padding=1))
        model = changed(model_of(event_driven, smooth), change)
        leaves = [change(spikes()).requires_grad_(), *model.parameters()]
        first = torch.autograd.grad(model(leaves[0]).square().sum(), leaves, create_graph=True)
        return torch.autograd.grad(torch.stack([(g**2).sum() for g in first]).sum(), leaves)

    got = second("auto")
    assert input_gradients == [2]  # the last of the passes records no graph
    assert_as_exact(got, partial(second, "off"))


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The functions that the mode was asked about."""
    return calls_of(monkeypatch, Automatic, "__torch_function__", lambda result, mode, function, *others: function)


def looked(looks: list[Any], model: st.SpikingNet, x: Tensor) -> bool:
    """Run a model, and say whether its layers were looked at."""
    looks.clear()
    model(x)
    return bool(looks)


def wide(N: int = 30, T: int = 50) -> Tensor:
    return (torch.rand(N, T, 256, generator=torch.Generator().manual_seed(0)) < 0.05).float()


def wide_net(outputs: int = 512) -> st.SpikingNet:
    return st.SpikingNet(nn.Sequential(nn.Linear(256, outputs), st.LIF()))


def test_a_second_call(looks: list[Any]) -> None:
    model, x = model_of("auto"), spikes()
    assert looked(looks, model, x)
    said = model.explain().products
    assert {line.reason for line in said} == {SMALL}
    assert not looked(looks, model, x)
    assert model.explain().products == said
    assert not looked(looks, model, spikes(1.0))  # numbers make no difference
    assert looked(looks, model, spikes(T=3))
    with torch.no_grad():
        assert looked(looks, model, x)
        assert not looked(looks, model, x)
    for mode in ("step", "fold"):  # of which nothing is proven: what they compute may depend on numbers
        other = model_of("auto", mode=mode)
        assert all(looked(looks, other, x) for _ in range(3))


def test_a_large_batch_between_small_ones(looks: list[Any], runs: list[int]) -> None:
    model = wide_net()
    assert looked(looks, model, wide(2))
    for _ in range(2):
        model(wide())
        assert reasons(model) == {"0": None}
    assert len(runs) == 2
    assert not looked(looks, model, wide(2))
    assert reasons(model) == {"0": SMALL}
    model(torch.rand(30, 50, 256))  # dense, and the next one may be sparse
    model(wide())
    assert len(runs) == 3
    chunked = st.SpikingNet(model.net, time_chunk=49)
    for _ in range(3):
        chunked(wide())
    assert len(runs) == 6
    assert reasons(chunked) == {"0": SMALL}  # of the last step


def test_what_has_changed_is_looked_at_again(looks: list[Any], runs: list[int]) -> None:
    model, x = model_of("auto"), spikes()
    model(x)
    model.load_state_dict(copy.deepcopy(model.state_dict()), assign=True)
    assert looked(looks, model, x)
    assert set(reasons(model)) == {"conv1", "conv2", "out", "kernel"}
    model.get_parameter("net.conv1.weight").requires_grad_(False)
    assert looked(looks, model, x)
    assert not runs
    model.event_driven = "on"
    model(x)
    assert len(runs) == 4
    model.event_driven = "auto"
    model(x)
    assert set(reasons(model).values()) == {SMALL}
    other: Any = wide_net(2)
    for _ in range(2):
        other(wide())
    other.net[0] = nn.Linear(256, 512)
    other(wide())
    assert len(runs) == 5


def test_what_passes_is_not_remembered(runs: list[int]) -> None:
    model = wide_net()
    torch.use_deterministic_algorithms(True)
    try:
        for _ in range(2):
            model(wide())
    finally:
        torch.use_deterministic_algorithms(False)
    assert not runs
    model(wide())
    assert len(runs) == 1
