"""What a network does with init and with its spiking layers, in the network of two linear and two spiking layers."""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrize

import spikingtorch as st
from spikingtorch import functional as SF
from tests.fold.nets.entry import Entry, folds, hides, of_four_features, steps
from tests.nets_that_step import Own, Two, besides, centred, with_l1

INIT = "init"
ON_INIT: dict[str, tuple[Callable[[Tensor, Any], Tensor], str]] = {
    "if init": (lambda x, init: 2 * x if init else x, INIT),
    "not init": (lambda x, init: x if not init else 2 * x, INIT),
    "init == True": (lambda x, init: 2 * x if init == True else x, INIT),  # noqa: E712
    "init != False": (lambda x, init: 2 * x if init != False else x, INIT),  # noqa: E712
    "x * init": (lambda x, init: x + x * init, INIT),
    "init * x": (lambda x, init: x + init * x, INIT),
    "float(init)": (lambda x, init: x + float(init), INIT),
    "int(init)": (lambda x, init: x + int(init), INIT),
    "index": (lambda x, init: x * [1.0, 2.0][init], INIT),
    "dict of init": (lambda x, init: x * {True: 2.0, False: 1.0}[init], INIT),
    "where": (lambda x, init: torch.where(torch.as_tensor(init), 2 * x, x), "init|fails"),
    "where directly": (lambda x, init: torch.where(torch.tensor(bool(init)), 2 * x, x), "branches on init"),
    "init is True": (lambda x, init: 2 * x if init is True else x, "another step"),
    "str(init)": (lambda x, init: 2 * x if str(init) == "True" else x, "another step"),
    "isinstance and": (lambda x, init: 2 * x if isinstance(init, bool) and init else x, "another step"),
    "isinstance": (lambda x, init: x if isinstance(init, bool) else 2 * x, "another step"),
}


def with_init(code: Callable[[Tensor, Any], Tensor]) -> Callable[[], nn.Module]:
    return lambda: Two(lambda net, x, init: code(x, init))


def swallowed(net: Any, x: Tensor, init: Any) -> Tensor:
    try:
        first = float(init)
    except RuntimeError:
        first = 0.0
    return x + first * net.start  # type: ignore[no-any-return]


def at_first(code: Callable[[Any, Tensor], Tensor]) -> Any:
    """Return code that is for the first step alone."""
    return lambda net, x, init: code(net, x) if init is True else x


def count_later(net: Any, x: Tensor, init: Any) -> Tensor:
    """Count the steps that are no first ones."""
    if init is False:
        net.count = net.count + 1
    return x * 0.5 if net.count > 2 else x


def parameter(*shape: int, value: float = 0.0) -> nn.Parameter:
    return nn.Parameter(torch.full(shape, value))


# --- neurons ----------------------------------------------------------------------------------------------------------


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
    return net.sl2(net.l2(x), init)  # type: ignore[no-any-return]


def conductance(net: Any, x: Tensor, init: Any) -> Tensor:
    return net.sl2(net.l2(net.sl1(net.l1(x).relu(), net.inhibition(x).relu(), init)), init)  # type: ignore[no-any-return]


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


class Noisy(st.LIF):
    """A threshold that is drawn at each step."""

    def step_params(self) -> dict[str, Any]:
        return super().step_params() | {"threshold": 0.2 * self.drawn()}

    def drawn(self) -> Any:
        return torch.rand((), dtype=torch.float64)


class OfItsOwn(Noisy):
    """... from a generator that nobody sees."""

    def drawn(self) -> Any:
        if "generator" not in self.__dict__:
            self.generator = torch.Generator().manual_seed(0)
        return torch.rand((), generator=self.generator).item()


class Dropped(nn.Module):
    def forward(self, weight: Tensor) -> Tensor:
        return F.dropout(weight, 0.5)


def dropped(layer: Any, path: str, name: str) -> Two:
    """Return a network with a layer of whose parameters one drops out."""
    parametrize.register_parametrization(layer.get_submodule(path), name, Dropped())
    return Two(sl2=layer)


def raise_threshold(net: Any, x: Tensor) -> None:
    net.sl2.v0 = min(net.sl2.v0 + 0.01, 0.9)


def homeostasis_no_grad(net: Any, x: Tensor, init: Any) -> Tensor:
    with torch.no_grad():
        net.sl2.v0.add_(0.05 * x.mean())
    return x


def homeostasis_inference(net: Any, x: Tensor, init: Any) -> Tensor:
    with torch.inference_mode():
        net.sl2.v0.add_(0.05)
    return x


def homeostatic(code: Any) -> Two:
    return Two(code, sl2=st.LIF(v0=torch.full((3,), 0.2)))


# --- calls of layers --------------------------------------------------------------------------------------------------


def by_turns(net: Any, x: Tensor, init: Any) -> Tensor:
    net.turn = 1 - net.turn
    first, second = (net.sl1, net.sl3) if net.turn else (net.sl3, net.sl1)
    return net.sl2(net.l2(first(net.l1(x), init) + second(net.l1(x), init)), init)  # type: ignore[no-any-return]


def feeds_back(net: Any, x: Tensor, init: Any) -> Tensor:
    return x if net.last is None or net.last.shape[0] != x.shape[0] else x + net.last.mean(1, keepdim=True)


def put_last(net: Any, x: Tensor) -> None:
    net.last = x.detach()


def active(net: Any, x: Tensor, init: Any) -> Tensor:
    s = net.sl1(net.l1(x).relu(), net.l1(x).relu(), init)
    return net.sl2(net.l2(s + 0.1 * net.sl1.act), init)  # type: ignore[no-any-return]


def nested(net: Any, x: Tensor, init: Any) -> Tensor:
    return net.sl2(net.l2(net.inner(net.l1(x)[:, None])[:, 0]), init)  # type: ignore[no-any-return]


def handing_on(net: Any, x: Tensor, init: Any) -> Tensor:
    return net.sl2(net.l2(net.inner(net.l1(x)[:, None], init)[:, 0]), init)  # type: ignore[no-any-return]


def inner() -> st.SpikingNet:
    return st.SpikingNet(Own(lambda net, x, init: net.sl1(x, init)), 6)


def hidden(net: Any, x: Tensor, init: Any) -> Tensor:
    return net.sl2(net.l2(net.hidden[0](net.l1(x), init)), init)  # type: ignore[no-any-return]


def transposed(net: Any, x: Tensor, init: Any) -> Tensor:
    return net.sl2(net.l2(net.sl1(net.l1(x).T.contiguous(), init).T), init)  # type: ignore[no-any-return]


def made_anew(net: Any, x: Tensor, init: Any) -> Any:
    return net.sl2(net.l2(st.LIF(v0=0.3).double()(net.l1(x), init)), init)


def shortcut(net: Any, x: Tensor, init: Any) -> Tensor:
    h = net.l2(net.l1(x))
    h += net.sl2(h, init)
    return h  # type: ignore[no-any-return]


def overwrites_input(net: Any, x: Tensor, init: Any) -> Tensor:
    with torch.no_grad():
        u = centred(net.l1(x))
        s = net.sl1(u, init)
        u.copy_(s)
    return net.sl2(net.l2(u), init)  # type: ignore[no-any-return]


def tied() -> nn.Module:
    net = Two(after=lambda net, x, init: x[:, :3], l2=nn.Linear(6, 6))
    net.sl2 = net.sl1
    return net


def layers(code: Callable[[Any, Tensor, Any], Any], **parts: Any) -> Callable[[], nn.Module]:
    return lambda: Own(code, **parts)


def unit_gradient(module: nn.Module, given: Any, grads: Any) -> Any:
    return (given[0] / given[0].norm(),)


TWICE = "twice in a step, and both calls change the same membranes|several times"
DRAWN = "all samples share|something else"
INITS: dict[str, Entry] = of_four_features(
    {name: steps("it asks init, in this way", with_init(code), says) for name, (code, says) in ON_INIT.items()}
    | {
        "swallowed init": hides("an error of init is caught", lambda: Two(swallowed, start=parameter(4))),
        "token of the first step": hides(
            "a parameter that is zero", lambda: Two(at_first(lambda net, x: x + net.start), start=parameter(4))
        ),
        "gain of the first step": hides(
            "... or one", lambda: Two(at_first(lambda net, x: x * net.gain), gain=parameter(4, value=1.0))
        ),
        "steps counted but the first": hides("a trace has a first step alone", lambda: Two(count_later, count=0)),
        # neurons
        "two": folds("two layers of each kind", Two, precisions=True),
        "deep": folds(
            "containers of torch's and of the user's",
            lambda: Own(
                deep,
                stem=nn.Sequential(nn.Linear(4, 4), nn.ReLU(inplace=True), nn.LayerNorm(4)),
                blocks=nn.ModuleList([Block(), Block()]),
            ),
            precisions=True,
        ),
        "BioLIF": folds(
            "two inputs, and a layer that counts its spikes",
            lambda: Own(conductance, sl1=st.BioLIF(0.5, v0=0.1, track_act=True), inhibition=nn.Linear(4, 6)),
            precisions=True,
        ),
        "own step": folds(
            "a step of the user's, with a parameter that learns",
            lambda: Two(
                sl1=st.StepLayer(adapting_step, State, decay=0.9, rise=0.1, surrogate=SF.Arctan(), learnable="rise")
            ),
            precisions=True,
        ),
        "neurons that see each other": folds(
            "a step may mix what is one step",
            lambda: Two(sl1=st.StepLayer(centring_step, State, decay=0.9), sl2=st.LI()),
        ),
        "noisy neurons": folds(
            "a step may draw", lambda: Two(sl1=st.StepLayer(noisy_step, State, decay=0.9)), draws=True
        ),
        "readout": folds("layers that hand no spikes on", lambda: Two(sl1=st.CoarseLIF(8.0, v0=0.3), sl2=st.LI())),
        "drawn threshold": steps("a layer draws what it is made of", lambda: Two(sl2=Noisy(decay=0.0)), DRAWN),
        "drawn parameter": steps(
            "a parametrization does", lambda: dropped(st.LIF(v0=torch.full((3,), 0.3), learnable="v0"), "", "v0"), DRAWN
        ),
        "drawn weight": steps(
            "... of recurrent weights",
            lambda: dropped(st.LIF(v0=0.3, recurrent=nn.Linear(3, 3, False)), "recurrent", "weight"),
            DRAWN,
        ),
        "generator of a layer": steps(
            "a generator that is made at the first call",
            lambda: Two(sl2=OfItsOwn(decay=0.0)),
            "a generator that the trace cannot see|reads sl2",
        ),
        "slow threshold": steps(
            "a number of a layer grows",
            lambda: Two(between=besides(raise_threshold)),
            "computes other parameters of a spiking layer",
        ),
        "threshold raised by data": hides(
            "past autograd", lambda: homeostatic(besides(lambda net, x: net.sl2.v0.data.add_(0.05 * x.mean())))
        ),
        "threshold raised without a gradient": hides("in a mode", lambda: homeostatic(homeostasis_no_grad)),
        "threshold raised in inference mode": hides("in another one", lambda: homeostatic(homeostasis_inference)),
        # what is read of a layer, and done to it
        "v": steps("the membranes", lambda: Two(between=lambda net, x, init: x + net.sl1.v), r"uses LIF\.v"),
        "s": steps("the spikes", lambda: Two(between=lambda net, x, init: x + net.sl1.s), r"uses LIF\.s"),
        "act": steps("their sum", layers(active, sl1=st.BioLIF(0.5, v0=0.1, track_act=True)), r"uses BioLIF\.act"),
        "reset": steps("a method", lambda: Two(between=besides(lambda net, x: net.sl2.reset())), r"uses LIF\.reset"),
        "detach_": steps(
            "another one", lambda: Two(between=besides(lambda net, x: net.sl2.detach_())), r"uses LIF\.detach_"
        ),
        "input of a layer written on": steps(
            "what a layer was handed is needed later", layers(shortcut), r"input of sl2.*h = h \+ layer\(h, init\)"
        ),
        "input of a layer overwritten": hides("... without a gradient", layers(overwrites_input)),
        "output without a gradient": folds(
            "spikes that hand none back", lambda: Two(between=lambda net, x, init: x.detach())
        ),
        # calls of layers
        "by turns": steps("layers change places", layers(by_turns, sl3=st.LIF(), turn=0), "changes turn"),
        "feedback": steps(
            "the output goes in again", lambda: Two(feeds_back, after=besides(put_last), last=None), "changes last"
        ),
        "nested": steps("a network over time in a step", layers(nested, inner=inner()), "reads the value of a tensor"),
        "nested, handed init": steps(
            "... that is handed init",
            layers(handing_on, inner=inner()),
            "hands init to a SpikingNet, which runs over time by itself",
        ),
        "twice": steps(
            "a layer that is called twice",
            layers(lambda net, x, init: net.sl2(net.l2(net.sl1(net.sl1(net.l1(x), init), init)), init)),
            TWICE,
        ),
        "tied": steps("... under two names", tied, TWICE),
        "always False": steps(
            "a layer that never starts anew",
            layers(lambda net, x, init: net.sl2(net.l2(net.sl1(net.l1(x), False)), init)),
            "without handing it the init",
        ),
        "always True": steps(
            "... or always does",
            layers(lambda net, x, init: net.sl2(net.l2(net.sl1(net.l1(x), True)), init)),
            "without handing it the init",
        ),
        "list": steps(
            "a layer that is not registered",
            layers(hidden, hidden=[st.LIF(v0=0.3)]),
            "not among its submodules, so that nothing of it is",
        ),
        "transposed layer": steps(
            "a layer whose first axis is not the batch", layers(transposed), "axis|batch|does not run"
        ),
        "layer of each step": steps("a layer that is made anew", layers(made_anew), "makes a LIF while it runs"),
        # hooks
        "hook": steps(
            "one that returns something",
            lambda: with_l1(lambda l1: l1.register_forward_hook(lambda module, args, out: 2 * out)),
            "hooks on l1",
        ),
        "backward hook": steps(
            "one on gradients", lambda: with_l1(lambda l1: l1.register_full_backward_hook(unit_gradient)), "hooks on l1"
        ),
    }
)
