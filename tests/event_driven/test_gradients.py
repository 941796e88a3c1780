"""Gradients of layers that skip zeros: checkpoint, transforms, second derivatives, few channels."""

import copy
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import pytest
import torch
import torch.nn.functional as nnf
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

import spikingtorch as st
from spikingtorch.functional.sparse import crossover, kernels
from tests.event_driven.networks import Net, model_of, outcome, reasons, spikes
from tests.noted import calls_of
from tests.rounding import Change, assert_as_exact, changed

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

    def forward(self, x: Tensor, init: Any) -> Tensor:
        h = self.l1(self.conv1(x), init)
        later: Any = checkpoint(lambda h: self.conv2(h).cos(), h, use_reentrant=self.reentrant)
        out: Tensor = later.flatten(1)[:, :84] @ self.out.weight.T
        return out


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


@pytest.mark.long
def test_transforms_compilation_and_export(runs: list[int]) -> None:
    model, x = model_of(mode="fold"), spikes()
    want = outcome(model, x)
    runs.clear()
    params = {name: weight.detach() for name, weight in model.named_parameters()}
    grads = torch.func.grad(lambda p: torch.func.functional_call(model, p, (x,)).sum())(params)
    assert set(grads) == set(params)
    compiled: Any = torch.compile(copy.deepcopy(model), backend="eager")
    torch.testing.assert_close(compiled(x), want[0])
    exported = torch.export.export(copy.deepcopy(model), (x,)).module()
    torch.testing.assert_close(exported(x), want[0])
    assert not runs


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


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last], ids=["first", "last"])
def test_input_gradients_of_few_channels(layout: Any, input_gradients: list[int], runs: list[int]) -> None:
    """They are kernels' where the outputs are torch's own."""
    net, x = Net().to(memory_format=layout), spikes()  # type: ignore[call-overload]
    dense = model_of("off", net)
    got, want = outcome(model_of("auto", net), x), outcome(dense, x)
    assert input_gradients == [5, 2]
    assert not runs
    assert torch.equal(got[0], want[0])
    assert_as_exact(got, lambda change: outcome(changed(dense, change), change(x)))
    assert [g.stride() for g in got[1:]] == [g.stride() for g in want[1:]]


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last], ids=["first", "last"])
def test_weight_gradients_of_few_outputs(layout: Any, monkeypatch: pytest.MonkeyPatch, runs: list[int]) -> None:
    """They are kernels' too, of a layer as well whose input has no gradient."""

    class Few(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.conv1, self.s1 = nn.Conv2d(2, 4, 3, padding=1), st.LIF(v0=0.5)
            self.conv2 = nn.Conv2d(4, 9, 3, padding=1)

        def forward(self, x: Tensor, init: Any) -> Tensor:
            out: Tensor = self.conv2(self.s1(self.conv1(x), init)).mean((2, 3))
            return out

    monkeypatch.setattr(crossover, "_FEW_PRODUCTS", 0)
    found = calls_of(monkeypatch, kernels, "dense_weight_gradient", lambda result, s, *others: s.channels)
    net, x = Few().to(memory_format=layout), spikes()  # type: ignore[call-overload]
    dense = model_of("off", net)
    got = outcome(model_of("auto", net), x)
    assert found == [4, 2]
    assert not runs
    assert torch.equal(got[0], dense(x))
    assert_as_exact(got, lambda change: outcome(changed(dense, change), change(x)))


def test_input_gradients_that_are_not_finite(input_gradients: list[int]) -> None:
    def of(event_driven: str, change: Change = torch.clone) -> Sequence[Tensor]:
        x = change(spikes()).requires_grad_()
        out = changed(model_of(event_driven), change)(x)
        g = torch.zeros_like(out)
        g[0, 1, 0] = torch.inf
        return torch.autograd.grad(out, x, g)

    got = of("auto")
    assert input_gradients
    assert_as_exact(got, partial(of, "off"))


class Smooth(nn.Module):
    """A layer without spikes, and a function of what comes out of it."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor, init: Any) -> Tensor:
        out: Tensor = self.layer(x).tanh()
        return out


# a layer, its inputs, which networks skip their zeros, and the channels of the input gradients by kernels: the last of
# the passes records no graph
SMOOTH: dict[str, tuple[Callable[[], nn.Module], Tensor, str, list[int]]] = {
    "linear": (lambda: nn.Linear(6, 4), (torch.arange(48).view(2, 4, 6) % 3 == 0).float(), "on", []),
    "of few channels": (lambda: nn.Conv2d(2, 3, 3, padding=1), spikes(), "auto", [2]),
}


@pytest.mark.parametrize("name", SMOOTH)
def test_second_derivatives(name: str, input_gradients: list[int]) -> None:
    make, inputs, event_driven, channels = SMOOTH[name]

    def second(event_driven: str, change: Change = torch.clone) -> Sequence[Tensor]:
        torch.manual_seed(0)
        model, x = changed(model_of(event_driven, Smooth(make())), change), change(inputs).requires_grad_()
        leaves = [x, *model.parameters()]
        first = torch.autograd.grad(model(x).square().sum(), leaves, create_graph=True)
        return torch.autograd.grad(torch.stack([(g**2).sum() for g in first]).sum(), leaves)

    got = second(event_driven)
    assert input_gradients == channels
    assert_as_exact(got, partial(second, "off"))
