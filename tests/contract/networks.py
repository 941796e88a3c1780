"""Networks, each beside an oracle: one step as a pure function, from the documentation and not from a layer."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

import spikingtorch as st
from tests.contract.oracle import FEATURES, HIDDEN, THRESHOLD, Network, Params, State, li, lif, linear


def a_layer(**options: Any) -> st.LIF:
    return st.LIF(tau=3.0, v0=THRESHOLD, **options)


class Two(nn.Module):
    """Linear, LIF, Linear, LI; the classes below change how the layers are called."""

    def __init__(self, **options: Any) -> None:
        super().__init__()
        self.l1, self.l2 = nn.Linear(FEATURES, HIDDEN), nn.Linear(HIDDEN, HIDDEN)
        self.n1, self.n2 = a_layer(learnable="tau", **options), st.LI(tau=2.0)

    def forward(self, x: Tensor, init: Any) -> Tensor:
        return self.n2(self.l2(self.n1(self.l1(x), init)), init)


def two(params: Params, state: State, x: Tensor, first: bool) -> Tensor:
    spikes = lif(state, "n1.v", linear(params, "l1", x), params["n1.tau"])
    return li(state, "n2.v", linear(params, "l2", spikes))


def both(name: str = "v") -> dict[str, int]:
    return {f"n1.{name}": HIDDEN, "n2.v": HIDDEN}


# --- networks ---------------------------------------------------------------------------------------------------------


class Fires(nn.Module):
    """Neurons around which x is handed on; the blocks below take init at other places."""

    def __init__(self) -> None:
        super().__init__()
        self.neurons = a_layer()

    def around(self, x: Tensor, init: Any) -> Tensor:
        return x + self.neurons(x, init)


class Block(Fires):
    def forward(self, x: Tensor, init: Any) -> Tensor:
        return self.around(x, init)


class After(Fires):
    def forward(self, x: Tensor, scale: float = 0.5, init: Any = None) -> Tensor:
        return self.around(scale * x, init)


class ByName(Fires):
    def forward(self, x: Tensor, *, init: Any = True) -> Tensor:
        return self.around(x, init)


class Required(Fires):
    def forward(self, x: Tensor, *, init: Any) -> Tensor:
        return self.around(x, init)


class Repeats(nn.Sequential):
    def forward(self, input: Tensor) -> Tensor:
        run: Any = super().forward
        return input + checkpoint(run, input, use_reentrant=False)


def handed() -> nn.Module:
    inner = nn.Sequential(After(), Repeats(ByName()))
    return nn.Sequential(nn.Linear(FEATURES, HIDDEN), Block(), inner, Required(), st.LI(2.0))


def handed_step(params: Params, state: State, x: Tensor, first: bool) -> Tensor:
    h = linear(params, "0", x)
    h = h + lif(state, "1.neurons.v", h)
    h = 0.5 * h + lif(state, "2.0.neurons.v", 0.5 * h)
    h = 2 * h + lif(state, "2.1.0.neurons.v", h)
    return li(state, "4.v", h + lif(state, "3.neurons.v", h))


class NotHanded(Two):
    def forward(self, x: Tensor, init: Any) -> Tensor:
        return self.n2(self.l2(self.n1(self.l1(x))))


def recurrent() -> nn.Module:
    return Two(recurrent=nn.Linear(HIDDEN, HIDDEN, bias=False))


def recurrent_step(params: Params, state: State, x: Tensor, first: bool) -> Tensor:
    fed = linear(params, "l1", x) + state["n1.s"] @ params["n1.recurrent.weight"].T
    state["n1.s"] = lif(state, "n1.neuron.v", fed, params["n1.tau"])
    return li(state, "n2.v", linear(params, "l2", state["n1.s"]))


class Shared(Two):
    def forward(self, x: Tensor, init: Any) -> Tensor:
        spikes = self.n1(self.l1(x), init)
        # at the first step the second place goes on from where the first one has come
        return self.n2(self.n1(self.l2(spikes), False), init)


def shared_step(params: Params, state: State, x: Tensor, first: bool) -> Tensor:
    spikes = lif(state, "n1.v", linear(params, "l1", x), params["n1.tau"])
    return li(state, "n2.v", lif(state, "n1.v", linear(params, "l2", spikes), params["n1.tau"]))


class Branches(Two):
    def forward(self, x: Tensor, init: Any) -> Tensor:
        h = self.l1(x)
        h = h + self.n1(h, init)
        return h - self.n2(self.l2(h), init)


def branches_step(params: Params, state: State, x: Tensor, first: bool) -> Tensor:
    h = linear(params, "l1", x)
    h = h + lif(state, "n1.v", h, params["n1.tau"])
    return h - li(state, "n2.v", linear(params, "l2", h))


class Asks(Two):
    def forward(self, x: Tensor, init: Any) -> Tensor:
        if init:
            x = 2 * x
        return super().forward(x, init)


class Reads(Two):
    def forward(self, x: Tensor, init: Any) -> Tensor:
        out = super().forward(x, init)
        v, state, s = self.n1.v, self.n1.state, self.n1.s
        assert v is not None
        return out + (0.5 * v + state.v + 0.1 * s)


def reads_step(params: Params, state: State, x: Tensor, first: bool) -> Tensor:
    spikes = lif(state, "n1.v", linear(params, "l1", x), params["n1.tau"])
    return li(state, "n2.v", linear(params, "l2", spikes)) + 1.5 * state["n1.v"] + 0.1 * spikes


class Forgets(Two):
    def forward(self, x: Tensor, init: Any) -> Tensor:
        self.n1.reset()
        return super().forward(x, init)


def forgets_step(params: Params, state: State, x: Tensor, first: bool) -> Tensor:
    state["n1.v"] = torch.zeros_like(state["n1.v"])
    return two(params, state, x, first)


class Detaches(Two):
    def forward(self, x: Tensor, init: Any) -> Tensor:
        out = super().forward(x, init)
        self.n1.detach_()
        return out


def detaches_step(params: Params, state: State, x: Tensor, first: bool) -> Tensor:
    out = two(params, state, x, first)
    state["n1.v"] = state["n1.v"].detach()
    return out


class Gives(Two):
    def __init__(self) -> None:
        super().__init__(returns=("spikes", "v"))

    def forward(self, x: Tensor, init: Any) -> Tensor:
        spikes, v = self.n1(self.l1(x), init)
        return self.n2(self.l2(spikes), init) + v


def gives_step(params: Params, state: State, x: Tensor, first: bool) -> Tensor:
    return two(params, state, x, first) + state["n1.v"]


class Looks(Two):
    def forward(self, x: Tensor, init: Any) -> Tensor:
        v = self.n1.v
        out = super().forward(x, init)
        return out if v is None else out + v


def looks_step(params: Params, state: State, x: Tensor, first: bool) -> Tensor:
    v = state["n1.v"]  # zeros, where the layer has none
    return two(params, state, x, first) + v


def halves(layer: nn.Module, given: tuple[Any, ...]) -> Any:
    return (0.5 * given[0], *given[1:])


def adds_v(layer: Any, given: Any, spikes: Tensor) -> Tensor:
    return spikes + 0.5 * layer.v


def doubles(layer: nn.Module, slopes: Any, _: Any) -> Any:
    return tuple([each if each is None else 2 * each for each in slopes])


class Hooked(Two):
    """Hooks of all kinds on a layer."""

    def __init__(self) -> None:
        super().__init__()
        self.n1.register_forward_pre_hook(halves)
        self.n1.register_forward_hook(adds_v)
        self.l2.register_full_backward_hook(doubles)


def hooked_step(params: Params, state: State, x: Tensor, first: bool) -> Tensor:
    spikes = lif(state, "n1.v", 0.5 * linear(params, "l1", x), params["n1.tau"])
    given = spikes + 0.5 * state["n1.v"]
    return li(state, "n2.v", linear(params, "l2", 2 * given - given.detach()))


class Blocks(Two):
    def forward(self, x: Tensor, init: Any) -> Tensor:
        h = checkpoint(lambda x: self.n1(self.l1(x)), x, use_reentrant=False)
        return checkpoint(self.n2, self.l2(h), init, use_reentrant=False)


class Within(Two):
    """A SpikingNet inside, for one step a step, or for a sequence of two in each step."""

    def __init__(self, whole: bool) -> None:
        super().__init__()
        self.whole = whole
        self.n1: Any = st.SpikingNet(nn.Sequential(a_layer(learnable="tau")))

    def forward(self, x: Tensor, init: Any) -> Tensor:
        h = self.l1(x)
        pair = torch.stack([h, 0.5 * h], 1)
        spikes = self.n1(pair)[:, 1] if self.whole else self.n1(h[:, None], init)[:, 0]
        return self.n2(self.l2(spikes), init)


def within_step(params: Params, state: State, x: Tensor, first: bool) -> Tensor:
    # a call of the inner network leaves plain numbers behind
    state["n1.net.0.v"] = state["n1.net.0.v"].detach()
    spikes = lif(state, "n1.net.0.v", linear(params, "l1", x), params["n1.net.0.tau"])
    return li(state, "n2.v", linear(params, "l2", spikes))


def within_whole_step(params: Params, state: State, x: Tensor, first: bool) -> Tensor:
    state["n1.net.0.v"], h = torch.zeros_like(state["n1.net.0.v"]), linear(params, "l1", x)
    lif(state, "n1.net.0.v", h, params["n1.net.0.tau"])
    spikes = lif(state, "n1.net.0.v", 0.5 * h, params["n1.net.0.tau"])
    return li(state, "n2.v", linear(params, "l2", spikes))


def asks_step(params: Params, state: State, x: Tensor, first: bool) -> Tensor:
    return two(params, state, 2 * x if first else x, first)


HANDED = ("1.neurons.v", "2.0.neurons.v", "2.1.0.neurons.v", "3.neurons.v", "4.v")
RECURRENT = {"n1.neuron.v": HIDDEN, "n1.s": HIDDEN, "n2.v": HIDDEN}
NETWORKS: dict[str, Network] = {
    "handed": Network("blocks are handed it, wherever it stands", handed, handed_step, dict.fromkeys(HANDED, HIDDEN)),
    "two": Network("the tutorial's form", Two, two, both()),
    "not handed": Network("a forward of one's own keeps init", NotHanded, two, both()),
    "recurrent": Network("the last spikes are state", recurrent, recurrent_step, RECURRENT),
    "branches": Network("what a layer is given is used again", Branches, branches_step, both()),
    "gives": Network("a layer returns its membrane", Gives, gives_step, both()),
    "blocks": Network("each layer runs twice, one without init", Blocks, two, both()),
    "shared": Network("one population at two places", Shared, shared_step, both(), False),
    "asks": Network("init is a real bool", Asks, asks_step, both(), False),
    "reads": Network("v, s and state are those after the layer's call", Reads, reads_step, both(), False),
    "looks": Network("v is that before the layer's call, or None", Looks, looks_step, both(), False),
    "hooked": Network("hooks see the layer after its call", Hooked, hooked_step, both(), False),
    "forgets": Network("reset() in forward", Forgets, forgets_step, both(), False),
    "detaches": Network("detach_() in forward", Detaches, detaches_step, both(), False),
    "a step within": Network("inner streams", lambda: Within(False), within_step, both("net.0.v"), False),
    "sequences within": Network("inner sequences", lambda: Within(True), within_whole_step, both("net.0.v"), False),
}
