"""Each layer of spikingtorch.like beside the neuron that it is to equal, in the release that is installed."""

import copy
import warnings
from collections.abc import Iterator, Mapping
from operator import attrgetter
from typing import Any, Literal

import norse.torch as norse
import pytest
import snntorch
import torch
from torch import Tensor, nn

import spikingtorch as st
from spikingtorch import like
from spikingtorch.functional import scan
from spikingtorch.functional.recorded import fields_of
from tests.drawn import normal
from tests.peers import norse_pairs, older_pairs, sinabs_pairs, snntorch_pairs, spikingjelly_pairs
from tests.peers.pair import Pair, Theirs
from tests.rounding import error

Mode = Literal["step", "fold"]
_TABLES = (snntorch_pairs, spikingjelly_pairs, norse_pairs, sinabs_pairs, older_pairs)
PAIRS = {pair.name: pair for table in _TABLES for pair in table.PAIRS}
N, M = 3, 8
# of the largest entry
TOLERANCE = {torch.float32: 1e-5, torch.float64: 1e-10}
DTYPES = [pytest.param(torch.float32, id="float32"), pytest.param(torch.float64, id="float64")]


@pytest.fixture(params=PAIRS)
def pair(request: pytest.FixtureRequest) -> Pair:
    return PAIRS[request.param]


@pytest.fixture(autouse=True)
def _default_dtype() -> Iterator[None]:
    before = torch.get_default_dtype()
    torch.manual_seed(0)  # of weights
    yield
    torch.set_default_dtype(before)


def inputs(pair: Pair, T: int) -> Tensor:
    """Return inputs (T, N, M) with which the neurons fire, some often and some seldom."""
    generator = torch.Generator().manual_seed(0)
    means = pair.mean * (0.5 + torch.rand(pair.shape, generator=generator, dtype=torch.float64))
    noise = torch.randn(T, N, *pair.shape, generator=generator, dtype=torch.float64)
    # of few digits, so that float32 and float64 start from equal numbers
    return (means + pair.deviation * noise).float().to(torch.get_default_dtype())


def cotangent(like: Tensor, seed: int) -> Tensor:
    """Return a random output gradient that float32 holds exactly, as libraries hand gradients on in it."""
    return normal(*like.shape, seed=seed, dtype=torch.float32).to(like.dtype)


def equal(layer: st.StepLayer, theirs: Theirs) -> st.StepLayer:
    """Return the layer with the parameters of theirs, which may have been rounded to float32."""
    with torch.no_grad():
        for name, each in theirs.parameters.items():
            attrgetter(name)(layer).copy_(each)
    return layer


def over_time(layer: Any, xs: Tensor) -> tuple[dict[str, Tensor], Tensor]:
    """Return the final state of a layer, by field, and its outputs; in one scan if its step sees the inputs."""
    if type(layer).forward is st.StepLayer.forward:
        step, params = layer.whole_step()
        after, outs = scan(step, layer.initial_state(xs[0].detach()), xs, params=params, dim=0)
    else:
        outs = torch.stack([layer(x, init=(t == 0)) for t, x in enumerate(xs)])
        after = layer.state
    return dict(fields_of(after)), outs


def close(got: Tensor, want: Tensor, what: str, least: float = 1e-3) -> None:
    allowed = TOLERANCE[torch.get_default_dtype()]
    scale = max(least, float(want.detach().abs().max()))
    worst = float((got - want).detach().abs().max())
    assert worst <= allowed * scale, f"{what}: off by {worst / scale:.3g} of the largest entry, allowed {allowed}"


def same(found: dict[str, Tensor], wanted: dict[str, Tensor], exact: dict[str, Tensor] | None = None) -> None:
    """Compare gradients; that of a parameter, a sum over all inputs that may cancel, on the scale of theirs.

    Where sums are in another order, one that is nearer to the ``exact`` one in float64 than theirs is right as well.
    """
    scale = float(wanted["x"].abs().max())
    for name, each in wanted.items():
        if exact is None or not error(found[name], exact[name]) < error(each, exact[name]):
            close(found[name], each, f"gradient of {name}", least=scale)


def test_outputs_are_identical_over_a_thousand_steps(pair: Pair) -> None:
    xs = inputs(pair, 1000)
    with torch.no_grad():
        neuron = pair.theirs()
        theirs, finals = neuron.run(xs)
        layer = equal(pair.ours(), neuron)
        stepped = torch.stack([layer(x, init=(t == 0)) for t, x in enumerate(xs)])
        model = st.SpikingNet(equal(pair.ours(), neuron))
        folded = model(xs.transpose(0, 1)).transpose(0, 1)
    assert model.explain().mode == "fold"
    assert torch.equal(stepped, theirs)
    if layer.v is not None and pair.exact:
        assert torch.equal(layer.v, finals["v"]), "the membrane after the last step"
    elif layer.v is not None:
        close(layer.v, finals["v"], "the membrane after the last step")
    if pair.spikes:
        rates = (theirs != 0).double().mean((0, 1))
        few = rates.min() if pair.exact else rates.mean() - 0.005  # random weights may silence some
        assert float(few) > 0.0, f"a neuron is silent: {rates}"
        assert float(rates.mean()) < 0.9, f"the neurons always fire: {rates}"
        assert torch.equal(folded, theirs)
    else:
        close(folded, theirs, "folded")


@pytest.mark.parametrize("dtype", DTYPES)
def test_gradients_and_final_states_are_equal(pair: Pair, dtype: torch.dtype) -> None:
    torch.set_default_dtype(dtype)
    xs = inputs(pair, 50).requires_grad_()
    theirs = pair.theirs()
    outs, finals = theirs.run(xs)
    pulls = {"out": cotangent(outs, 1)} | {
        name: cotangent(each.expand(outs.shape[1:]), 2 + place) for place, (name, each) in enumerate(finals.items())
    }
    wanted = _gradients(xs, outs, finals, pulls, theirs.parameters)

    layer = equal(pair.ours(), theirs)
    after, scanned = over_time(layer, xs)
    ours = {name: attrgetter(name)(layer) for name in theirs.parameters}
    state = {name: after[name] for name in finals}
    close(scanned, outs, "outputs")
    for name, each in finals.items():
        close(state[name], each, f"final {name}")
    found = _gradients(xs, scanned, state, pulls, ours)
    assert found.keys() == wanted.keys()
    same(found, wanted, None if pair.exact or dtype == torch.float64 else _in_float64(layer, xs, scanned, pulls, ours))


def _in_float64(
    layer: st.StepLayer, xs: Tensor, outs: Tensor, pulls: Mapping[str, Tensor], parameters: Mapping[str, Tensor]
) -> dict[str, Tensor] | None:
    """Return the gradients that a copy in float64 computes; None if it spikes otherwise."""
    layer, xs = copy.deepcopy(layer).double(), xs.detach().double().requires_grad_()
    after, scanned = over_time(layer, xs)
    named = {name: attrgetter(name)(layer) for name in parameters}
    state = {name: after[name] for name in pulls if name != "out"}
    pulls = {name: each.double() for name, each in pulls.items()}
    return _gradients(xs, scanned, state, pulls, named) if torch.equal(scanned, outs.double()) else None


@pytest.mark.parametrize("mode", ["step", "fold"])
def test_gradients_of_a_network_are_equal(pair: Pair, mode: Mode) -> None:
    torch.set_default_dtype(torch.float64)
    xs = inputs(pair, 20).requires_grad_()
    theirs = pair.theirs()
    outs, _ = theirs.run(xs)
    pull = {"out": cotangent(outs, 1)}
    wanted = _gradients(xs, outs, {}, pull, theirs.parameters)
    layer = equal(pair.ours(), theirs)
    model = st.SpikingNet(nn.Sequential(layer), mode=mode, warn_silent=False)
    mine = model(xs.transpose(0, 1)).transpose(0, 1)
    ours = {name: attrgetter(name)(layer) for name in theirs.parameters}
    found = _gradients(xs, mine, {}, pull, ours)
    same(found, wanted)


def _gradients(
    xs: Tensor,
    outs: Tensor,
    finals: Mapping[str, Tensor],
    pulls: Mapping[str, Tensor],
    parameters: Mapping[str, Tensor],
) -> dict[str, Tensor]:
    """Return the gradients of the input and the parameters, zero where there is none."""
    loss = (outs * pulls["out"]).sum() + sum([(each * pulls[name]).sum() for name, each in finals.items()])
    named = {"x": xs} | {name: each for name, each in parameters.items() if each.requires_grad}
    found = torch.autograd.grad(loss, [*named.values()], allow_unused=True)
    return {
        name: torch.zeros_like(each) if gradient is None else gradient
        for (name, each), gradient in zip(named.items(), found, strict=True)
    }


def test_a_checkpoint_of_theirs_loads_without_a_warning(pair: Pair) -> None:
    neuron, layer = pair.theirs(), pair.ours()
    xs = inputs(pair, 30)
    want, _ = neuron.run(xs)  # and its state is in what it saves
    if neuron.module is None:
        # the older package saves nothing, and Norse none of the numbers that these pairs train
        assert pair.name.startswith(("older", "norse"))
        return
    saved = {each.data_ptr() for each in neuron.module.state_dict().values()}
    with torch.no_grad():
        for name, each in neuron.parameters.items():
            if each.data_ptr() in saved:  # others stay as they were made
                attrgetter(name)(layer).mul_(0.5)
    before, after = nn.Sequential(nn.Linear(M, M), neuron.module), nn.Sequential(nn.Linear(M, M), layer)
    with warnings.catch_warnings(action="error"):
        after.load_state_dict(before.state_dict())
    with torch.no_grad():
        found = st.SpikingNet(layer, batch_first=False, warn_silent=False)(xs)
    close(found, want, "outputs")


_CELLS = ("LIF", "LIFRefrac", "LSNN", "LIFEx", "LIFAdEx", "LIFAdExRefrac")


@pytest.mark.parametrize("kind", ["LIFCell", *[f"{cell}RecurrentCell" for cell in _CELLS]])
def test_a_checkpoint_of_norse_loads_without_a_warning(kind: str) -> None:
    sizes = (M, M) if "Recurrent" in kind else ()
    cell, layer = (getattr(library, kind)(*sizes) for library in (norse, like.norse))
    with warnings.catch_warnings(action="error"):
        layer.load_state_dict(cell.state_dict())
    state, wanted = None, []
    for x in (xs := 4.0 * torch.rand(30, N, M)):
        out, state = cell(x, state)
        wanted.append(out.detach())
    assert torch.stack(wanted).any()
    with torch.no_grad():
        close(st.SpikingNet(layer, batch_first=False)(xs), torch.stack(wanted), "outputs")


@pytest.mark.parametrize("kind", ["LIFRecurrentCell", "LSNNRecurrentCell"])
def test_a_seed_gives_the_weights_of_norse(kind: str) -> None:
    found = []
    for library in (norse, like.norse):
        torch.manual_seed(0)
        found.append(getattr(library, kind)(5, 7))
    assert torch.equal(found[1].input_weights, found[0].input_weights)
    assert torch.equal(found[1].recurrent_weights, found[0].recurrent_weights)


@pytest.mark.parametrize("reset_delay", [True, False])
def test_spikes_and_membranes_of_snntorch_at_every_step(reset_delay: bool) -> None:
    theirs = snntorch.Leaky(beta=0.9, reset_delay=reset_delay)
    ours = like.snntorch.Leaky(beta=0.9, reset_delay=reset_delay, returns=("spikes", "v"))
    mem = theirs.reset_mem()
    for t, x in enumerate(torch.rand(50, N, M, generator=torch.Generator().manual_seed(0))):
        spk, mem = theirs(x, mem)
        found = ours(x, init=t == 0)
        assert torch.equal(found[0], spk)
        assert torch.equal(found[1], mem)
