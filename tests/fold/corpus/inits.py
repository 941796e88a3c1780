"""What a network does with init and with its spiking layers, in the network of two linear and two spiking layers."""

from collections import namedtuple
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrize

import spikingtorch as st
from spikingtorch import functional as SF
from tests.fold.corpus.entry import Entry, Whole, folds, hides, own, steps, two
from tests.fold.corpus.outside import GENERATOR
from tests.folded_layer import Lambda
from tests.nets_that_step import Own, Two, besides, centred, parameter, with_l1

# --- init -------------------------------------------------------------------------------------------------------------

ANOTHER = "another step"
ON_INIT: dict[str, tuple[Callable[[Tensor, Any], Tensor], str]] = {
    "if init": (lambda x, init: 2 * x if init else x, "branches on init"),
    "init == True": (lambda x, init: 2 * x if init == True else x, "init"),  # noqa: E712
    "init != False": (lambda x, init: 2 * x if init != False else x, "init"),  # noqa: E712
    "x * init": (lambda x, init: x + x * init, "init"),
    "init * x": (lambda x, init: x + init * x, "init"),
    "float(init)": (lambda x, init: x + float(init), "init"),
    "index": (lambda x, init: x * [1.0, 2.0][init], "init"),
    "dict of init": (lambda x, init: x * {True: 2.0, False: 1.0}[init], "init"),
    "as_tensor(init)": (lambda x, init: torch.where(torch.as_tensor(init), 2 * x, x), "init|fails"),
    "init is True": (lambda x, init: 2 * x if init is True else x, ANOTHER),
    "str(init)": (lambda x, init: 2 * x if str(init) == "True" else x, ANOTHER),
    "isinstance(init, bool)": (lambda x, init: 2 * x if isinstance(init, bool) and init else x, ANOTHER),
}


def with_init(code: Callable[[Tensor, Any], Tensor]) -> Whole:
    return two(lambda net, x, init: code(x, init))


def swallowed(net: Any, x: Tensor, init: Any) -> Tensor:
    try:
        first = float(init)
    except RuntimeError:
        first = 0.0
    return x + first * net.start


# --- neurons ----------------------------------------------------------------------------------------------------------


State = namedtuple("State", ["v", "a"])


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


class OfNobody(Noisy):
    """... from a generator that belongs to no module."""

    def drawn(self) -> Any:
        return torch.rand((), generator=GENERATOR).item()


def dropped(layer: Any, path: str, name: str) -> Any:
    """Return a layer of whose parameters one drops out."""
    parametrize.register_parametrization(layer.get_submodule(path), name, Lambda(lambda _, w: F.dropout(w, 0.5)))
    return layer


def raise_threshold(net: Any, x: Tensor) -> None:
    net.sl2.v0 = min(net.sl2.v0 + 0.01, 0.9)


def homeostasis_no_grad(net: Any, x: Tensor, init: Any) -> Tensor:
    with torch.no_grad():
        net.sl2.v0.add_(0.05 * x.mean())
    return x


def learned() -> st.LIF:
    return st.LIF(v0=torch.full((3,), 0.2))


# --- calls of layers --------------------------------------------------------------------------------------------------


def nested(net: Any, x: Tensor, *init: Any) -> Tensor:
    return net.sl2(net.l2(net.inner(net.l1(x)[:, None], *init[net.handed :])[:, 0]), init[0])


def inner() -> st.SpikingNet:
    return st.SpikingNet(Own(lambda net, x, init: net.sl1(x, init)), 6)


def first_by(call: Callable[[Any, Tensor, Any], Any]) -> Whole:
    """Return a network whose first layer is called in some way."""
    return own(lambda net, x, init: net.sl2(net.l2(call(net, net.l1(x), init)), init))


def shortcut(net: Any, x: Tensor, init: Any) -> Tensor:
    h = net.l2(net.l1(x))
    h += net.sl2(h, init)
    return h


def overwrites_input(net: Any, x: Tensor, init: Any) -> Tensor:
    with torch.no_grad():
        u = centred(net.l1(x))
        s = net.sl1(u, init)
        u.copy_(s)
    return net.sl2(net.l2(u), init)


def tied() -> nn.Module:
    net = Two(after=lambda net, x, init: x[:, :3], l2=nn.Linear(6, 6))
    net.sl2 = net.sl1
    return net


def frozen_first() -> nn.Module:
    net = Two(between=lambda net, x, init: x if x.requires_grad else centred(x), sl1=st.LI(), sl2=st.LI())
    net.l1.requires_grad_(False)
    return net


def hooked(register: str, hook: Callable[..., Any]) -> Whole:
    return Whole(lambda: with_l1(lambda l1: getattr(l1, register)(hook)))


TWICE = "twice in a step, and both calls change the same membranes|several times"
DRAWN = "all samples share|something else"
WITHOUT_INIT = "without handing it the init"
INITS: dict[str, Entry] = {
    **{f"it asks {name}": steps(with_init(code), says) for name, (code, says) in ON_INIT.items()},
    "an error of init is caught": hides(two(swallowed), start=lambda: parameter(4)),
    "a parameter of the first step is zero": hides(
        two(lambda net, x, init: x + net.start if init is True else x), start=lambda: parameter(4)
    ),
    # neurons
    "two layers of each kind": folds(two(), precisions=True),
    "a step of the user's with a parameter that learns": folds(
        two(),
        sl1=lambda: st.StepLayer(adapting_step, State, decay=0.9, rise=0.1, surrogate=SF.Arctan(), learnable="rise"),
        precisions=True,
    ),
    "recurrent layers, one with time constants that learn": folds(
        two(),
        sl1=lambda: st.LIF(torch.rand(6) * 8 + 2, 0.3, learnable="tau", recurrent=nn.Linear(6, 6, bias=False)),
        sl2=lambda: st.LIF(tau=5.0, v0=0.2, recurrent=torch.randn(3) * 0.1),
    ),
    "a step mixes what is one step": folds(two(), sl1=lambda: st.StepLayer(centring_step, State, decay=0.9)),
    "a step draws": folds(two(), sl1=lambda: st.StepLayer(noisy_step, State, decay=0.9), draws=True),
    "layers that hand no spikes on": folds(two(), sl1=lambda: st.CoarseLIF(8.0, v0=0.3), sl2=st.LI),
    "one mask of dropout for all steps": folds(
        two(between=lambda net, x, init: net.drop(x, init)), drop=lambda: st.SequenceDropout(0.5)
    ),
    "a layer draws its threshold": steps(two(), DRAWN, sl2=lambda: Noisy(decay=0.0)),
    "a parametrization draws a parameter of a layer": steps(
        two(), DRAWN, sl2=lambda: dropped(st.LIF(v0=torch.full((3,), 0.3), learnable="v0"), "", "v0")
    ),
    "a generator of nobody": steps(
        two(), "reads sl2.*, a Generator whose content is not in sight", sl2=lambda: OfNobody(decay=0.0)
    ),
    "a number grows": steps(two(between=besides(raise_threshold)), "computes other parameters of a spiking layer"),
    "a threshold is raised without a gradient": hides(two(homeostasis_no_grad), sl2=learned),
    # what is read of a layer, and done to it
    "v is read": steps(two(between=lambda net, x, init: x + net.sl1.v), r"uses LIF\.v"),
    "a layer is reset": steps(two(between=besides(lambda net, x: net.sl2.reset())), r"uses LIF\.reset"),
    "the input of a layer is written on": steps(own(shortcut), r"input of sl2.*h = h \+ layer\(h, init\)"),
    "the input of a layer is written on without a gradient": hides(own(overwrites_input)),
    "spikes hand no gradient back": folds(two(between=lambda net, x, init: x.detach())),
    "what a frozen layer makes is asked for its gradient": hides(Whole(frozen_first)),
    # calls of layers
    "a network over time that is handed init": steps(
        own(nested), "hands init to a SpikingNet, which runs over time by itself", inner=inner, handed=int
    ),
    "a layer is called twice": steps(first_by(lambda net, x, init: net.sl1(net.sl1(x, init), init)), TWICE),
    "a layer has two names": steps(Whole(tied), TWICE),
    "a layer never starts anew": steps(first_by(lambda net, x, init: net.sl1(x, False)), WITHOUT_INIT),
    "a layer is not registered": steps(
        first_by(lambda net, x, init: net.hidden[0](x, init)),
        "not among its submodules, so that nothing of it is",
        hidden=lambda: [st.LIF(v0=0.3)],
    ),
    "the first axis of a layer's input is not the batch": steps(
        first_by(lambda net, x, init: net.sl1(x.T.contiguous(), init).T), "axis|batch|does not run"
    ),
    "a new layer": steps(first_by(lambda net, x, init: st.LIF(v0=0.3).double()(x, init)), "makes a LIF while it runs"),
    # hooks
    "a hook returns something": steps(hooked("register_forward_hook", lambda _, args, out: 2 * out), "hooks on l1"),
    "a hook on gradients": steps(
        hooked("register_full_backward_hook", lambda _, given, grads: (given[0] / given[0].norm(),)), "hooks on l1"
    ),
}
