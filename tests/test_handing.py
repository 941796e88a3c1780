"""Networks whose layers are handed init by the network: nn.Sequential, blocks in it, layers called without init."""

import copy
import pickle
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from spikingtorch import IF, LI, LIF, BioLIF, SpikingNet

MODES: Any = ("auto", "step", "fold")


class Block(nn.Module):
    """Takes init, as documented."""

    def __init__(self) -> None:
        super().__init__()
        self.linear, self.neurons = nn.Linear(8, 8), LIF(tau=3.0, v0=0.3)

    def forward(self, x: Tensor, init: bool | Tensor) -> Any:
        return x + self.neurons(self.linear(x), init)


class Documented(nn.Module):
    """Hands init to each module of another network by hand."""

    def __init__(self, layers: nn.Module) -> None:
        super().__init__()
        self.layers = layers

    def forward(self, x: Tensor, init: bool | Tensor) -> Any:
        return _by_hand(self.layers, x, init)


def _by_hand(module: Any, x: Tensor, init: Any) -> Any:
    if isinstance(module, nn.Sequential):
        for child in module:
            x = _by_hand(child, x, init)
        return x
    return module(x, init) if isinstance(module, Block | LIF | IF | LI) else module(x)


class OwnForward(nn.Module):
    """Calls an nn.Sequential, and takes x alone."""

    def __init__(self, layers: nn.Module) -> None:
        super().__init__()
        self.layers = layers

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.layers(x)
        return out


def network() -> nn.Sequential:
    torch.manual_seed(0)
    inner = nn.Sequential(Block(), nn.Linear(8, 8), IF(v0=0.5, recurrent=nn.Linear(8, 8, bias=False)))
    return nn.Sequential(nn.Linear(5, 8), LIF(v0=0.4), inner, Block(), nn.Linear(8, 3), LI(tau=2.0)).double()


def gradients(model: SpikingNet, init: list[Any]) -> list[Tensor]:
    """Return outputs of calls on end, and the gradients of random cotangents."""
    generator, results = torch.Generator().manual_seed(1), []
    for start in init:
        x = torch.rand(4, 6, 5, dtype=torch.double, generator=generator) * 2
        out = model(x, init=start)
        (out * torch.rand(out.shape, dtype=torch.double, generator=generator)).sum().backward()
        results.append(out.detach())
    return results + [weight.grad for weight in model.parameters() if weight.grad is not None]


INITS: Any = [[True, True], [True, False], [True, torch.tensor([True, False, False, True])]]


@pytest.mark.parametrize("init", INITS, ids=["anew", "on", "some"])
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("own", [False, True], ids=["sequential", "own forward"])
def test_layers_and_blocks_in_a_sequential_get_what_one_hands_them_by_hand(own: bool, mode: Any, init: Any) -> None:
    net = network()
    expected = gradients(SpikingNet(Documented(copy.deepcopy(net)), 3, mode="step"), init)
    model = SpikingNet(OwnForward(net) if own else net, mode=mode)
    found = gradients(model, init)
    assert len(found) == len(expected) > 10
    for one, other in zip(found, expected, strict=True):
        assert torch.allclose(one, other, rtol=1e-12, atol=1e-12)
    assert model.explain().mode == ("step" if mode == "step" else "fold")


def test_a_network_with_blocks_is_looked_at_in_passing() -> None:
    model = SpikingNet(network())
    model(torch.rand(4, 6, 5, dtype=torch.double))
    assert model._policy._states[0].look.holds()


@pytest.mark.parametrize(
    "kind", [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))], ids=["copy", "pickle"]
)
def test_a_copy_hands_init_to_its_own_modules(kind: Any) -> None:
    model = SpikingNet(network(), mode="step")
    x = torch.rand(4, 6, 5, dtype=torch.double)
    other = kind(model)
    model(x)
    assert torch.equal(other(x), model(x))
    hooks = [[len(module._forward_pre_hooks) for module in each.modules()] for each in (model, other)]
    assert hooks[0] == hooks[1]


def test_an_explicit_false_stays_false() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.on, self.neurons = LI(decay=0.5), LI(decay=0.5)

        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            return self.on(x, False), self.neurons(x)

    model = SpikingNet(Net(), mode="step")
    x = torch.ones(2, 1, 1)
    model(x)
    on, neurons = model(x, init=torch.tensor([True, False]))
    assert on.flatten().tolist() == [1.5, 1.5]
    assert neurons.flatten().tolist() == [1.0, 1.5]
    with pytest.warns(RuntimeWarning, match="without handing it the init that forward was given"):
        SpikingNet(Net())(torch.ones(2, 3, 1))


def test_outside_of_a_network_a_layer_goes_on() -> None:
    layer = LI(decay=0.5)
    SpikingNet(nn.Sequential(layer), mode="step")(torch.ones(1, 2, 1))
    assert layer(torch.ones(1, 1)).item() == 1.75
    SpikingNet(nn.Sequential(block := Block()))
    with pytest.raises(TypeError, match="init"):
        block(torch.ones(1, 8))


def test_nothing_is_handed_after_a_call_that_fails() -> None:
    model = SpikingNet(nn.Sequential(nn.Linear(5, 8), layer := LIF(), Block()), mode="step")
    with pytest.raises(ValueError, match=r"x has shape \(1, 2, 7\)"):
        model(torch.ones(1, 2, 7))
    assert layer._frame is None


@pytest.mark.parametrize("mode", MODES)
def test_checkpoint_around_layers_that_take_init_by_themselves(mode: Any) -> None:
    class Net(OwnForward):
        def forward(self, x: Tensor) -> Tensor:
            out: Tensor = checkpoint(self.layers, x, use_reentrant=False)
            return out

    def layers() -> nn.Sequential:
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(5, 8), LIF(v0=0.3), Block(), nn.Linear(8, 3), LIF(v0=0.3)).double()

    expected = gradients(SpikingNet(OwnForward(layers()), mode=mode), [True, False])
    found = gradients(SpikingNet(Net(layers()), mode=mode), [True, False])
    for one, other in zip(found, expected, strict=True):
        assert torch.equal(one, other)


def test_layers_of_two_inputs_take_it_too() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.neurons = BioLIF(nudt=0.5)

        def forward(self, x: Tensor) -> Any:
            return self.neurons(x, 0.5 * x)

    model, x = SpikingNet(Net()), torch.rand(4, 5, 6) * 9
    assert torch.equal(model(x), SpikingNet(Net(), mode="step")(x))
    assert model(x).any()
    assert model.explain().mode == "fold"


@pytest.mark.long
def test_in_functional_calls_and_compiled() -> None:
    model = SpikingNet(network().float())
    x = torch.rand(4, 6, 5)
    expected = model(x)
    assert torch.equal(torch.func.functional_call(model, dict(model.named_parameters()), (x,)), expected)
    compiled = torch.compile(model, backend="eager", fullgraph=True)
    assert torch.equal(compiled(x), expected)
    assert torch.equal(compiled(x), expected)


class Ambiguous(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.neurons = LIF()

    def forward(self, x: Tensor, start: bool = False) -> Any:
        return self.neurons(x, start)


class NoInput(nn.Module):
    def forward(self) -> None: ...


@pytest.mark.parametrize(
    "net", [nn.Identity(), nn.Linear(2, 2), nn.Sequential(nn.Linear(2, 2)), NoInput(), Ambiguous()]
)
def test_networks_that_no_init_reaches_are_refused(net: nn.Module) -> None:
    with pytest.raises(TypeError, match=r"must take two arguments, forward\(self, x, init\)"):
        SpikingNet(net)


class Second(nn.Module):
    """A block that takes init in another place than the second."""

    def __init__(self) -> None:
        super().__init__()
        self.neurons = LIF(tau=3.0, v0=0.3)


class After(Second):
    def forward(self, x: Tensor, scale: float = 1.0, init: Any = None) -> Any:
        return self.neurons(x * scale, init)


class ByName(Second):
    def forward(self, x: Tensor, *, init: Any = True) -> Any:
        return self.neurons(x, init)


class Required(Second):
    def forward(self, x: Tensor, *, init: Any) -> Any:
        return self.neurons(x, init)


INPUTS, MASK = torch.rand(4, 9, 8, generator=torch.Generator().manual_seed(5)), torch.tensor([True, False] * 2)


def twice(model: SpikingNet) -> Tensor:
    """Return the outputs of two calls, in the second of which some samples go on."""
    return torch.stack([model(INPUTS), model(INPUTS, MASK)])


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("kind", [After, ByName, Required])
def test_init_is_handed_by_its_name_wherever_it_stands(kind: Any, mode: Any) -> None:
    want = twice(SpikingNet(LIF(tau=3.0, v0=0.3), mode="step"))
    assert want.any()
    wrapped = torch.optim.swa_utils.AveragedModel(kind())
    for net in (kind(), nn.Sequential(kind()), wrapped):
        assert torch.equal(twice(SpikingNet(net, mode=mode)), want)


class Residual(nn.Sequential):
    def forward(self, input: Tensor) -> Any:
        return input + super().forward(input)  # type: ignore[no-untyped-call]


@pytest.mark.parametrize("mode", MODES)
def test_an_nn_sequential_with_a_forward_of_its_own_hands_init_on(mode: Any) -> None:
    want = twice(SpikingNet(Residual(LIF(tau=3.0, v0=0.3)), mode="step"))
    assert torch.equal(twice(SpikingNet(Residual(ByName()), mode=mode)), want)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("kind", [After, ByName, Required, Block])
def test_a_network_that_is_changed_hands_init_to_its_new_modules(kind: Any, mode: Any) -> None:
    torch.manual_seed(0)
    block = kind()
    want = twice(SpikingNet(nn.Sequential(block), mode="step"))
    layers = nn.Sequential(LIF())
    model = SpikingNet(layers, mode=mode)
    model(INPUTS)
    layers[0] = block
    assert torch.equal(twice(model), want)
    model.net = block
    assert torch.equal(twice(model), want)
    model.net = nn.Linear(8, 8)
    with pytest.raises(TypeError, match="must take two arguments"):
        model(INPUTS)
