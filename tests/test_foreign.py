"""Spike functions and neurons of other libraries, by stand-ins: none of the libraries is installed."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import spikingtorch as st
from spikingtorch import foreign, like
from spikingtorch import functional as F
from tests.folded_layer import Coded

LIF: Any = st.LIF


def of(module: str, made: Any, name: str | None = None) -> Any:
    """Return a function or a class as if it stood in a module of another library."""
    made.__module__ = module
    made.__qualname__ = name or made.__qualname__.rpartition("<locals>.")[2]
    return made


def above(u: Tensor) -> Tensor:
    return (u > 0).to(u.dtype)


def fast_sigmoid(slope: float = 25) -> Callable[[Tensor], Tensor]:
    """Return a spike function in the way of snnTorch, as a function inside of another one."""

    def inner(u: Tensor) -> Tensor:
        return above(u) + 0.0 * slope * u

    return of("snntorch.surrogate", inner, "fast_sigmoid.<locals>.inner")


class ATan(nn.Module):
    """A spike function in the way of SpikingJelly, a module."""

    def __init__(self, alpha: float = 2.0) -> None:
        super().__init__()
        self.spiking, self.alpha = True, alpha

    def forward(self, u: Tensor) -> Tensor:
        return F.Arctan(self.alpha)(u)


class QPseudoSpike(ATan):
    """One that has no equal here."""


def primitive(function: ATan) -> ATan:
    """Return a spike function that is to give out its primitive."""
    function.spiking = False
    return function


class FastSigmoid(torch.autograd.Function):
    """The same as an autograd Function, with a second argument."""

    @staticmethod
    def forward(ctx: Any, u: Tensor, slope: float) -> Tensor:
        return above(u)


JELLY = "spikingjelly.activation_based.surrogate"
of("snntorch.surrogate", fast_sigmoid)
of("snntorch.surrogate", FastSigmoid)
of(JELLY, ATan)
of(JELLY, QPseudoSpike)

WRITE: dict[str, list[Callable[[], object]]] = {
    r"LIF: surrogate is snnTorch's fast_sigmoid; write surrogate=like\.snntorch\.fast_sigmoid\(slope=25\) \(from sp": [
        lambda: LIF(surrogate=fast_sigmoid(25)),
        lambda: LIF(surrogate=F.Strict(fast_sigmoid(25))),
    ],
    r"Leaky: spike_grad is snnTorch's fast_sigmoid; write spike_grad=like\.snntorch\.fast_sigmoid\(\) \(": [
        lambda: like.snntorch.Leaky(0.9, spike_grad=fast_sigmoid)  # type: ignore[arg-type]
    ],
    r"LIF: surrogate is snnTorch's fast_sigmoid; write surrogate=like\.snntorch\.fast_sigmoid\(\) \(": [
        lambda: LIF(surrogate=fast_sigmoid)
    ],
    r"LIF: surrogate is snnTorch's FastSigmoid; write surrogate=like\.snntorch\.fast_sigmoid\(\) \(": [
        lambda: LIF(surrogate=FastSigmoid),
        lambda: LIF(surrogate=FastSigmoid.apply),
    ],
    r"LIF: surrogate is SpikingJelly's ATan; write surrogate=like\.spikingjelly\.ATan\(\) \(from": [
        lambda: LIF(surrogate=ATan)
    ],
    r"LIFNode: surrogate_function is SpikingJelly's ATan; write surrogate_function=like\.spikingjelly\.ATan\(\) \(": [
        lambda: like.spikingjelly.LIFNode(surrogate_function=ATan)  # type: ignore[arg-type]
    ],
    r"IFNode: surrogate_function is Spik.*; write surrogate_function=like\.spikingjelly\.ATan\(": [
        lambda: like.spikingjelly.IFNode(surrogate_function=primitive(ATan())),
        lambda: like.spikingjelly.IFNode(surrogate_function=ATan(torch.tensor(3.0))),  # type: ignore[arg-type]
    ],
    r"IFNode: surrogate_function is SpikingJelly's QPseudoSpike; take a surrogate of spikingtorch\.functional": [
        lambda: like.spikingjelly.IFNode(surrogate_function=QPseudoSpike())
    ],
    r"LIF: surrogate is snnTorch's LSO; take a surrogate of spikingtorch\.functional, surrogate=Arctan\(alpha=": [
        lambda: LIF(surrogate=of("snntorch.surrogate", lambda u: above(u), "LSO.<locals>.inner"))
    ],
    r"surrogate_function=ATan makes a surrogate when it is called; write surrogate_function=ATan\(\)$": [
        lambda: like.spikingjelly.LIFNode(surrogate_function=like.spikingjelly.ATan)  # type: ignore[arg-type]
    ],
    r"LIF: surrogate=atan makes a surrogate when it is called; write surrogate=atan\(\)$": [
        lambda: LIF(surrogate=like.snntorch.atan)
    ],
}


@pytest.mark.parametrize("message", WRITE, ids=range(len(WRITE)))
def test_what_to_write_in_place_of_a_spike_function(message: str) -> None:
    for make in WRITE[message]:
        with pytest.raises(TypeError, match=message):
            make()


def test_a_layer_like_theirs_takes_a_spike_function_that_they_have_made() -> None:
    assert like.spikingjelly.IFNode(surrogate_function=ATan(3.0)).surrogate_function == F.Arctan(3.0)
    assert like.spikingjelly.LIFNode(surrogate_function=ATan()).surrogate_function == like.spikingjelly.ATan()
    fast: Any = fast_sigmoid(10.0)
    assert like.snntorch.Leaky(0.9, spike_grad=fast).spike_grad == like.snntorch.fast_sigmoid(10.0)


def test_a_spike_function_that_works_is_taken_whosever_it_is() -> None:
    x = torch.tensor([[0.5, 2.0]])
    assert torch.equal(st.IF(surrogate=ATan(2.0))(x), st.IF(surrogate=F.Arctan(2.0))(x))


@pytest.mark.parametrize("package", foreign.LIBRARIES)
def test_the_names_are_those_of_like(package: str) -> None:
    neurons, functions = foreign.LIBRARIES[package].neurons, foreign.LIBRARIES[package].functions
    module = getattr(like, package)
    assert neurons == {
        name
        for name in module.__all__
        if isinstance(getattr(module, name), type) and issubclass(getattr(module, name), st.StepLayer)
    }
    assert all(callable(getattr(module, name)().primitive) for name in functions)


class IFNode(nn.Module):
    """A neuron in the way of SpikingJelly, which keeps its membrane until somebody resets it."""

    def __init__(self) -> None:
        super().__init__()
        self._memories: dict[str, Any] = {"v": 0.0}
        self._memories_rv: dict[str, Any] = {"v": 0.0}

    def forward(self, x: Tensor) -> Tensor:
        u = self._memories["v"] + x
        spikes: Tensor = (u >= 1.0).to(x.dtype)
        self._memories["v"] = (1.0 - spikes) * u
        return spikes

    def reset(self) -> None:
        self._memories["v"] = 0.0


class Leaky(nn.Module):
    """A neuron in the way of snnTorch: the membrane is a buffer that goes into no state dict."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("beta", torch.tensor(0.9))
        self.register_buffer("mem", torch.zeros(0), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        self.mem: Tensor = 0.9 * (self.mem if self.mem.shape == x.shape else torch.zeros_like(x)) + x
        return (self.mem > 1.0).to(x.dtype)

    def reset(self) -> None:
        self.mem = torch.zeros_like(self.mem)


class StatefulLayer(nn.Module):
    """A layer in the way of Sinabs, all of whose buffers are states."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("v_mem", torch.zeros(0))

    def forward(self, x: Tensor) -> Tensor:
        self.v_mem: Tensor = (self.v_mem if self.v_mem.shape == x.shape else torch.zeros_like(x)) + x
        return torch.relu(self.v_mem)

    def reset(self) -> None:
        self.v_mem = torch.zeros_like(self.v_mem)


class SqueezeMixin:
    """What makes a layer of Sinabs take batch and time as one axis."""

    batch_size, num_timesteps = 2, -1

    def __init__(self, batch_size: int = 2, num_timesteps: int = -1) -> None:
        super().__init__()
        self.batch_size, self.num_timesteps = batch_size, num_timesteps


class Squeezed(SqueezeMixin, StatefulLayer):
    """A layer in the way of Sinabs that takes batch and time as one axis."""


of("spikingjelly.activation_based.neuron", IFNode)
of("snntorch._neurons.leaky", Leaky)
for kind in (StatefulLayer, SqueezeMixin, Squeezed):
    of("sinabs.layers", kind)


def test_a_network_says_whose_neuron_does_not_know_where_a_sequence_starts() -> None:
    model = st.SpikingNet(nn.Sequential(nn.Linear(3, 4), IFNode(), nn.Linear(4, 2), st.IF()))
    message = (
        r"step by step, slower, because it holds 1, the IFNode of SpikingJelly, whose state init does not reset, so "
        r"that it goes on from call to call\. To let it fold, take like\.spiki"
    )
    with pytest.warns(RuntimeWarning, match=message):
        model(torch.rand(2, 6, 3))


class Own(IFNode):
    """A class of the user's on top of theirs."""


@pytest.mark.filterwarnings("ignore:SpikingNet. Sequential runs step by step")
@pytest.mark.parametrize(
    ("kind", "said"),
    [
        (IFNode, r"layer 1 is the IFNode of SpikingJelly, .* state \(v\) .* take like\.spikingjelly\.IFNode\(\.\.\.\)"),
        (Own, r"layer 1 is the IFNode of SpikingJelly, .* before each call: spikingjelly.*reset_net\(net\)$"),
        (Leaky, r"layer 1 is the Leaky of snnTorch, .* state \(mem\) .*snntorch\.utils\.reset\(net\)$"),
        (
            Squeezed,
            r"the Squeezed of Sinabs, .* \(v_mem\) .* sequence from rest, reset it .*sinabs\.utils\.reset_states",
        ),
    ],
)
@pytest.mark.parametrize("mode", ["auto", "step"])
def test_a_state_of_theirs_is_no_start_of_a_sequence(kind: Any, said: str, mode: Any) -> None:
    theirs = kind()
    model = st.SpikingNet(nn.Sequential(nn.Linear(3, 4), theirs, LIF()), mode=mode)
    x = torch.rand(2, 5, 3)
    first = model(x)
    for start in (True, torch.tensor([True, False])):
        with pytest.raises(RuntimeError, match=said):
            model(x, start)
    model(x, init=False)  # a stream goes on, theirs too
    theirs.reset()
    assert torch.equal(model(x), first)


@pytest.mark.filterwarnings("ignore:SpikingNet. Sequential runs step by step")
def test_an_exchanged_module_is_found() -> None:
    net = nn.Sequential(nn.Linear(3, 4), nn.Identity(), LIF())
    model, x = st.SpikingNet(net), torch.rand(2, 5, 3)
    model(x)
    net[1] = IFNode()
    model(x)
    with pytest.raises(RuntimeError, match="layer 1 is the IFNode of SpikingJelly"):
        model(x)


def resets(net: Any, x: Tensor, init: bool) -> Tensor:
    """Reset a neuron of theirs where a sequence starts, or hand it its state."""
    if init:
        net.mem = torch.zeros_like(x)
        net.theirs.reset()
    out = net.theirs(x, net.mem) if net.hands else net.theirs(x)
    return net.ours(out, init)


class Handed(Leaky):
    """A neuron of theirs that may be handed its membrane."""

    def forward(self, x: Tensor, mem: Tensor | None = None) -> Tensor:
        return super().forward(x)

    def reset(self) -> None:
        """Leave the membrane of the last call: that which is handed counts."""


of("snntorch._neurons.leaky", Handed)


@pytest.mark.filterwarnings("ignore:SpikingNet. Coded runs step by step")
@pytest.mark.parametrize("hands", [False, True])
def test_a_network_may_reset_a_neuron_of_theirs_or_hand_it_a_state(hands: bool) -> None:
    net = Coded(resets, hands=hands, theirs=Handed() if hands else Leaky(), ours=LIF())
    model, x = st.SpikingNet(net), torch.rand(2, 5, 3)
    first, second = model(x), model(x)
    assert hands or torch.equal(first, second)
    assert not vars(model.net.get_submodule("theirs"))["_forward_pre_hooks"]


@pytest.mark.filterwarnings("ignore:SpikingNet. Coded runs step by step")
def test_no_state_is_handed_by_none() -> None:
    net = Coded(lambda net, x, init: net.ours(net.theirs(x, None), init), theirs=Handed(), ours=LIF())
    model, x = st.SpikingNet(net), torch.rand(2, 5, 3)
    model(x)
    with pytest.raises(RuntimeError, match="layer theirs is the Handed of snnTorch"):
        model(x)


class IAF(StatefulLayer):
    """A neuron in the way of Sinabs."""


class IAFSqueeze(IAF):
    """The same for batch and time as one axis."""


for kind in (IAF, IAFSqueeze):
    of("sinabs.layers", kind)


def test_a_module_that_is_made_of_another_one_is_told_the_like_of_that() -> None:
    stays = "whose state init does not reset, so that it goes on from call to call"
    assert foreign.neuron_of_theirs(IAFSqueeze()) == (f"the IAFSqueeze of Sinabs, {stays}", "like.sinabs.IAF(...)")
