"""Layers by themselves, step after step: their states, gradients, checkpoints, compiled and transformed."""

import copy
import pickle
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

import spikingtorch as st
from spikingtorch.testing import assert_close
from tests.contract.oracle import HIDDEN, THRESHOLD, N, Params, State, cotangent, cut, li, lif

T = 5
pytestmark = pytest.mark.usefixtures("one_thread")


class Layer(NamedTuple):
    """A layer and its oracle, of parameters, state and x; the state is named as the fields of the layer's are."""

    why: str
    make: Callable[[], Any]
    step: Callable[[Params, State, Tensor], Any]
    state: tuple[str, ...] = ("v",)

    def built(self) -> Any:
        torch.manual_seed(0)
        return self.make().double()

    def rest(self) -> State:
        return {name: torch.zeros(N, HIDDEN, dtype=torch.double) for name in self.state}


def fed_back(params: Params, state: State, x: Tensor) -> Tensor:
    state["s"] = lif(state, "neuron.v", x + state["s"] @ params["recurrent.weight"].T, params["tau"])
    return state["s"]


def made(**options: Any) -> st.LIF:
    return st.LIF(tau=3.0, v0=THRESHOLD, learnable="tau", **options)


LAYERS = {
    "LIF": Layer("neurons", made, lambda p, s, x: lif(s, "v", x, p["tau"])),
    "LI": Layer("a readout", lambda: st.LI(tau=2.0), lambda p, s, x: li(s, "v", x)),
    "recurrent": Layer(
        "the last spikes are state",
        lambda: made(recurrent=nn.Linear(HIDDEN, HIDDEN, bias=False)),
        fed_back,
        ("neuron.v", "s"),
    ),
}


def steps(seed: int = 0) -> Tensor:
    return torch.rand(T, N, HIDDEN, dtype=torch.double, generator=torch.Generator().manual_seed(seed)) * 1.4


def shown(layer: Any) -> State:
    """Return the state that a layer shows, by name."""
    state = layer.state
    return {"neuron.v": state.neuron.v, "s": state.s} if hasattr(state, "neuron") else {"v": state.v}


Run = Callable[[Any, Tensor], Tensor]  # calls a layer for all steps from rest


def plain(layer: Any, xs: Tensor) -> Tensor:
    return torch.stack([layer(x, t == 0) for t, x in enumerate(xs)])


def without_init(layer: Any, xs: Tensor) -> Tensor:
    layer(xs[0])
    layer.reset()
    return torch.stack([layer(x) for x in xs])


def from_rest(layer: Any, xs: Tensor) -> Tensor:
    layer(xs[0, :1])  # of another batch size
    layer.reset(xs[0])
    return torch.stack([layer(x) for x in xs])


def one_checkpoint(layer: Any, xs: Tensor) -> Tensor:
    return checkpoint(plain, layer, xs, use_reentrant=False)  # type: ignore[no-any-return]


def checkpoints(layer: Any, xs: Tensor) -> Tensor:
    return torch.stack([checkpoint(layer, x, t == 0, use_reentrant=False) for t, x in enumerate(xs)])


def compiled(layer: Any, xs: Tensor) -> Tensor:
    torch._dynamo.reset()
    step: Any = torch.compile(layer, backend="aot_eager", fullgraph=True)
    return torch.stack([step(x, t == 0) for t, x in enumerate(xs)])


def with_failures(layer: Any, xs: Tensor) -> Tensor:
    """Call a layer, and between its steps call it in ways that it refuses."""
    outs = []
    for t, x in enumerate(xs):
        outs.append(layer(x, t == 0))
        kept = shown(layer)
        for wrong, init in (
            (x * float("nan"), False),
            (x[:, :2], False),
            (x.float(), False),
            (x, torch.ones(9).bool()),
        ):
            with pytest.raises((ValueError, TypeError)):
                layer(wrong, init)
        with pytest.raises((ValueError, TypeError)):
            layer(x * float("nan"), True)
        torch.testing.assert_close(shown(layer), kept, rtol=0, atol=0)
    return torch.stack(outs)


def written_on(layer: Any, xs: Tensor) -> Tensor:
    """Write on the outputs, which are the caller's."""
    outs = []
    for t, x in enumerate(xs):
        out = layer(x, t == 0)
        outs.append(out.clone())
        with torch.no_grad():
            out.fill_(7.0)
    return torch.stack(outs)


def beside_copies(layer: Any, xs: Tensor) -> Tensor:
    """Call copies of the layer, which share nothing with it."""
    outs = []
    for t, x in enumerate(xs):
        outs.append(layer(x, t == 0))
        kept = cut(shown(layer))
        for twin in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer)), copy.copy(layer)):
            assert_close(cut(shown(twin)), kept)
            twin(3 * x)
            twin.reset()
        assert_close(cut(shown(layer)), kept)
    return torch.stack(outs)


def masked(layer: Any, xs: Tensor) -> Tensor:
    layer(3 * xs[0], True)
    mask = torch.ones(N, dtype=torch.bool)
    return torch.stack([layer(x, mask if t == 0 else ~mask) for t, x in enumerate(xs)])


WAYS: dict[str, tuple[str, Run]] = {
    "plain": ("init is handed on", plain),
    "without init": ("a first call starts, the others go on", without_init),
    "from rest": ("reset(x) is the state at rest", from_rest),
    "mask": ("init is a tensor", masked),
    "one checkpoint": ("around all steps", one_checkpoint),
    "checkpoints": ("around each step", checkpoints),
    "compiled": ("in one graph", compiled),
    "failures": ("a call that fails commits nothing", with_failures),
    "written on": ("outputs are the caller's", written_on),
    "copies": ("copies share no state", beside_copies),
}


CASES = [
    pytest.param(name, way, marks=[pytest.mark.long] if way == "compiled" and name != "LIF" else [])
    for name in LAYERS
    for way in WAYS
]


@pytest.mark.parametrize(("name", "way"), CASES)
def test_is_as_the_oracle(name: str, way: str) -> None:
    found, xs = LAYERS[name], steps().requires_grad_()
    layer, state = found.built(), found.rest()
    params = dict(layer.named_parameters())
    want = torch.stack([found.step(params, state, x) for x in xs])
    got = WAYS[way][1](layer, xs)
    assert_close(got.detach(), want.detach())
    assert_close(cut(shown(layer)), cut(state))
    leaves = [xs, *params.values()]
    slopes: Any = torch.autograd.grad
    wanted = slopes(want, leaves, cotangent(want), retain_graph=True)
    for retains in (True, False):
        if way == "written on":
            break  # torch itself refuses a backward pass through what was written on
        assert_close(slopes(got, leaves, cotangent(want), retain_graph=retains), wanted)
    assert_close(cut(shown(layer)), cut(state))


@pytest.mark.parametrize("name", LAYERS)
def test_v_s_and_state_are_those_of_the_last_call(name: str) -> None:
    found, (first, *others) = LAYERS[name], steps()
    layer, state = found.built(), found.rest()
    params = dict(layer.named_parameters())
    assert (layer.v, layer.s, layer.state) == (None, None, None)
    for x in (first, *others):
        want: Any = found.step(params, state, x)
        layer(x)
        assert_close([layer.s.detach(), layer.v.detach()], [want.detach(), state[found.state[0]].detach()])
        assert_close(cut(shown(layer)), cut(state))
    assert not any(name.endswith(found.state) for name in layer.state_dict())
    layer.reset()
    assert (layer.v, layer.s, layer.state) == (None, None, None)


@pytest.mark.parametrize("name", LAYERS)
def test_detach_cuts_the_graph_at_its_place(name: str) -> None:
    found, xs = LAYERS[name], steps().requires_grad_()
    layer, state, outs, want = found.built(), found.rest(), [], []
    params = dict(layer.named_parameters())
    for t, x in enumerate(xs):
        if t == 3:
            layer.detach_()
            state = cut(state)
        outs.append(layer(x))
        want.append(found.step(params, state, x))
    slopes: Any = torch.autograd.grad
    leaves = [xs, *params.values()]
    assert_close(slopes(outs[-1].sum() + outs[2].sum(), leaves), slopes(want[-1].sum() + want[2].sum(), leaves))


@pytest.mark.parametrize("name", LAYERS)
def test_transforms_leave_no_state_behind(name: str) -> None:
    found, xs = LAYERS[name], steps()
    layer, state = found.built(), found.rest()
    params = dict(layer.named_parameters())
    want = torch.stack([found.step(params, state, x) for x in xs]).detach()
    layer(xs[0])
    got: Any = torch.func.vmap(lambda xs: plain(layer, xs))(torch.stack([xs, 2 * xs]))
    assert_close(got[0].detach(), want)
    assert layer.v is layer.s is None

    def total(params: Any, xs: Tensor) -> Tensor:
        outs = [torch.func.functional_call(layer, params, (x, t == 0)) for t, x in enumerate(xs)]
        return torch.stack(outs).square().sum()

    def expected(params: Any, xs: Tensor) -> Tensor:
        state = found.rest()
        return torch.stack([found.step(params, state, x) for x in xs]).square().sum()

    given = {name: each.detach() for name, each in params.items()}, xs
    assert_close(torch.func.grad(total, (0, 1))(*given), torch.func.grad(expected, (0, 1))(*given))
    assert layer.v is layer.s is None
    assert_close(torch.func.jvp(total, given, given), torch.func.jvp(expected, given, given))
    assert layer.v is layer.s is None
    assert_close(torch.stack([layer(x) for x in xs]).detach(), want)
