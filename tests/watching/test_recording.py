"""Records of what happens in the layers of a network: beside a loop by hand, and the network computes the same."""

import copy
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

import spikingtorch as st
from spikingtorch import functional as F
from spikingtorch.testing import assert_close
from spikingtorch.verification.case import Case
from spikingtorch.verification.cases import CASES
from tests.drawn import outcome
from tests.fold_nets import states
from tests.folded_layer import draw, over_time
from tests.nets_that_step import Two
from tests.watching.networks import ALL, FIRING, UP_TO, Breaks, deep

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def net() -> Any:
    torch.manual_seed(0)
    return deep().double()


@pytest.fixture(scope="module")
def x() -> Tensor:
    return 2 * torch.rand(3, 20, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def close(got: Tensor, want: Tensor) -> None:
    """Assert that numbers are equal but for products of fewer rows, which round in another order."""
    torch.testing.assert_close(got, want, rtol=1e-12, atol=1e-12)


def by_hand(net: Any, x: Tensor) -> dict[str, list[Tensor]]:
    """Return membranes and spikes of the first layer, read after each step."""
    net = copy.deepcopy(net)
    found: dict[str, list[Tensor]] = {"v": [], "spikes": []}
    for t in range(x.shape[1]):
        found["spikes"].append(net.l1(net.f(x[:, t]), t == 0))
        assert net.l1.v is not None
        found["v"].append(net.l1.v)
    return found


in_every_mode = pytest.mark.parametrize("options", [{}, {"mode": "step"}, {"time_chunk": 7}], ids=str)


@in_every_mode
def test_records(net: Any, x: Tensor, options: Any) -> None:
    model = st.SpikingNet(net, **options)
    want = model(x)
    recording = st.record(model, x, ALL)
    assert torch.equal(recording.out, want)
    assert {k: tuple(v) for k, v in recording.items()} == {"l1": ALL, "l2": ALL, "li": ("spikes", "v")}
    first = recording["l1"]
    for name, steps in by_hand(net, x).items():
        close(first[name], torch.stack(steps, 1))
    for layer in ("l1", "l2"):
        of = recording[layer]
        fires = of["u"] >= of["threshold"]
        rests = torch.zeros_like(fires)
        if layer == "l2":  # for two steps after a spike
            rests[:, 1:] |= of["spikes"][:, :-1] > 0
            rests[:, 2:] |= of["spikes"][:, :-2] > 0
        assert torch.equal(of["spikes"] > 0, fires & ~rests)
        assert of["spikes"].any()
    # an adaptive threshold moves
    assert first["threshold"].unique().numel() > 2
    assert torch.equal(recording["li"]["spikes"], want)
    assert torch.equal(model(x), want)


def test_a_neuron_at_rest_keeps_its_membrane() -> None:
    model = st.SpikingNet(nn.Sequential(st.IF(threshold=1.0, reset=F.by_subtraction, refractory=3)))
    for _ in range(2):
        of = st.record(model, torch.full((1, 8, 1), 1.25), ALL)["0"]
        assert of["spikes"].flatten().tolist() == [1, 0, 0, 0, 1, 0, 0, 0]
        assert of["u"].flatten().tolist() == [1.25, 0.25, 0.25, 0.25, 1.5, 0.5, 0.5, 0.5]
        assert torch.equal(of["spikes"] > 0, of["u"] >= of["threshold"])


@pytest.mark.parametrize("backend", ["loop", "fused"])
def test_at_rest_without_a_membrane_u_is_not_known(backend: Any) -> None:
    step: Any = F.Refractory(F.mcpitts_step, 2)
    state, x = step.at_rest(F.McPittsState(), torch.zeros(3)), torch.ones(5, 3)
    params = {"threshold": 1.0}
    known: Any = F.recorded(step, "threshold")
    asked: Any = F.recorded(step, "u")
    records = F.scan(known, state, x, params=params, backend=backend)[1][1]
    assert (records["threshold"] == 1.0).all()
    with pytest.raises(ValueError, match=r"has no state 'u'.*its state needs a v"):
        F.scan(asked, state, x, params=params, backend="loop")


def test_explain_says_the_same(net: Any, x: Tensor) -> None:
    model = st.SpikingNet(net)
    before = model.explain(x)
    st.record(model, x, ALL)
    assert model.explain()._replace(products=()) == before
    step: Any = F.recorded(F.lif_step, "v", "u")
    state = F.LIFState(torch.zeros(4))
    assert F.explain_scan(step, state, torch.ones(5, 4), params={"decay": 0.9}).backend == "fused"


STEPS = [slice(None), slice(3, 20, 4), slice(5, None), slice(18, 90), slice(0), slice(None, None, 3)]


@in_every_mode
@pytest.mark.parametrize("lengths", [None, [20, 7, 1], [7, 3, 1]], ids=str)
def test_some_steps_and_neurons_of_padded_sequences(net: Any, x: Tensor, options: Any, lengths: Any) -> None:
    """Records are as long as the padded batch, and zero in the padding."""
    whole, model = st.record(st.SpikingNet(net), x, ALL), st.SpikingNet(net, **options)
    counts = torch.arange(20) < torch.tensor(lengths or [20] * 3)[:, None]
    for steps in STEPS:
        found = st.record(model, x, ALL, steps=steps, lengths=lengths)
        for layer, records in whole.items():
            for name, record in records.items():
                close(found[layer][name], (record * counts[..., None])[:, steps])
        assert torch.equal(found["li"]["spikes"], found.out[:, steps])
        some = st.record(model, x, "v", steps=steps, neurons={"l1": slice(2, 5)}, layers=["l1", "l2"], lengths=lengths)
        assert list(some) == ["l1", "l2"]
        assert torch.equal(some["l1"]["v"], found["l1"]["v"][..., 2:5])
        assert torch.equal(some["l2"]["v"], found["l2"]["v"])


def test_a_loss_on_a_membrane(net: Any, x: Tensor) -> None:
    found = []
    for options in ({}, {"mode": "step"}):
        model = st.SpikingNet(copy.deepcopy(net), **options)  # type: ignore[arg-type]
        records = st.record(model, x, ("v", "u"))["l2"]
        g = torch.randn(records["v"].shape, generator=torch.Generator().manual_seed(2), dtype=x.dtype)
        leaves = [model.get_parameter("net.f.weight"), model.get_parameter("net.l2.tau")]
        found.append(torch.autograd.grad((g * records["v"] * records["u"]).sum(), leaves))
    torch.testing.assert_close(*found, rtol=1e-10, atol=1e-10)
    assert found[0][0].any()
    with torch.no_grad():
        assert not st.record(model, x, "v")["l2"]["v"].requires_grad


@pytest.mark.sampled
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_every_step_of_the_library(case: Case) -> None:
    """The output has the same bits as without records, and the records are those of the loop, read by hand."""
    xs, params = case.draw(12)
    state, options = case.initial(xs), params | case.options(F.Sigmoid(), None)
    fields = [name for name in getattr(state, "_fields", ()) if isinstance(getattr(state, name), Tensor)]
    names = (*fields, *(("u", "threshold") if case.spikes else ()))
    if not names:
        pytest.skip("a neuron with no state and no spikes")
    want = F.scan(case.step, state, xs, params=options)[1]
    step: Any = F.recorded(case.step, *names)
    out, records = F.scan(step, state, xs, params=options)[1]
    assert torch.equal(out, want)
    assert tuple(records) == names
    for t in range(12):
        x = tuple(each[t] for each in xs) if isinstance(xs, tuple) else xs[t]
        state, out = case.step(state, x, **options)
        for name in fields:
            close(records[name][t], getattr(state, name))
    if case.spikes and case.name not in ("stochastic_lif", "sigma_delta"):
        assert torch.equal(want != 0, records["u"] >= records["threshold"])
        assert case.name == "mcpitts" or want.any()


RECURRENT: dict[str, Callable[[], nn.Sequential]] = {
    "dense": lambda: nn.Sequential(nn.Linear(6, 8), st.LIF(recurrent=nn.Linear(8, 8, bias=False), learnable=True)),
    "dense, adaptive": lambda: nn.Sequential(nn.Linear(6, 8), st.ALIF(tau=4.0, recurrent=nn.Linear(8, 8, bias=False))),
    "dense, resting": lambda: nn.Sequential(
        nn.Linear(6, 8), st.LIF(refractory=2, recurrent=nn.Linear(8, 8, bias=False))
    ),
    "per channel": lambda: nn.Sequential(nn.Linear(6, 8), st.LIF(recurrent=torch.linspace(-0.5, 0.5, 8))),
    "convolution": lambda: nn.Sequential(
        nn.Linear(6, 8), nn.Unflatten(1, (2, 4)), st.LIF(recurrent=nn.Conv1d(2, 2, 3, padding="same", bias=False))
    ),
}


def recurrent(kind: str, **options: Any) -> st.SpikingNet:
    """Return a network whose last layer is recurrent, and fires now and then."""
    torch.manual_seed(0)
    return st.SpikingNet(RECURRENT[kind]().double(), **options)


@pytest.mark.parametrize("kind", RECURRENT)
def test_recurrent(kind: str, x: Tensor) -> None:
    """It stays fused: no bit of outputs, states and gradients changes, and nobody is warned of the loop."""
    plain, model = recurrent(kind), recurrent(kind)
    last = str(len(model.net) - 1)  # type: ignore[arg-type]
    for given, lengths in ((x, None), (x.flip(0), None), (x[:1], None), (x, [20, 7, 1])):
        want = plain(given, lengths=lengths)
        recording = st.record(model, given, (*ALL, "s"), lengths=lengths)
        records = recording[last]
        assert torch.equal(records["spikes"], want)
        assert torch.equal(records["s"], want)
        assert all(map(torch.equal, states(model).values(), states(plain).values()))
        runs = (recording.out, model), (want, plain)
        assert all(map(torch.equal, *[outcome(out, [*each.parameters()]) for out, each in runs]))
        assert want.any()
        for record in records.values():
            assert not any(record[k, length:].any() for k, length in enumerate(lengths or []))
        fires = records["u"] >= records["threshold"]
        assert lengths or torch.equal(fires, want > 0) or kind == "dense, resting"


@pytest.mark.sampled
@pytest.mark.parametrize("options", [{}, {"time_chunk": 7}], ids=str)
@pytest.mark.parametrize("kind", RECURRENT)
def test_recurrent_is_step_by_step(kind: str, options: Any, x: Tensor) -> None:
    """Records, those of chosen steps and neurons, those of padded samples, and the gradient of a loss on them."""
    chosen: dict[str, Any]
    for chosen in ({}, {"lengths": torch.tensor([20, 7, 1])}, {"steps": slice(3, 17, 2), "neurons": slice(1, 2)}):
        found = []
        for model in (recurrent(kind, **options), recurrent(kind, mode="step")):
            recording = st.record(model, x, ALL, **chosen)
            records = recording[str(len(model.net) - 1)]  # type: ignore[arg-type]
            loss = sum((record.cos().sum() for record in records.values()), start=recording.out.sum())
            found.append(({**records}, recording.out, states(model), torch.autograd.grad(loss, [*model.parameters()])))
        assert_close(found[0], found[1])


def test_refusals(net: Any, x: Tensor) -> None:
    model = st.SpikingNet(net)
    wrong: list[tuple[type[Exception], str, Any]] = [
        (ValueError, "no layer has 'w'", lambda: st.record(model, x, "w")),
        (ValueError, "the spiking layers are 'l1', 'l2', 'li'", lambda: st.record(model, x, layers=["a"])),
        (
            *(ValueError, "names 'li', but the layers that are recorded are 'l1'"),
            lambda: st.record(model, x, layers=["l1"], neurons={"l1": 0, "li": slice(2)}),
        ),
        (ValueError, "pass a list", lambda: st.record(model, x, layers="l1")),
        (MemoryError, "records of l1 take 0.00768 MB", lambda: st.record(model, x, ("v", "u"), limit=7000)),
        (
            *(MemoryError, "the records of"),
            lambda: st.record(model, x, "v", lengths=[7, 3, 1], limit=3 * 20 * (8 + 4 + 4) * 8 - 1),
        ),
        (ValueError, "li_step has no state 'u'", lambda: st.record(model, x, "u", layers=["li"])),
        (ValueError, "from the end", lambda: st.record(model, x, steps=slice(-3, None))),
        (TypeError, "expected a slice", lambda: st.record(model, x, steps=3)),  # type: ignore[arg-type]
        (TypeError, r"expected a SpikingNet", lambda: st.record(net, x)),
    ]
    want = model(x)
    for kind, text, call in wrong:
        with pytest.raises(kind, match=text):
            call()
        assert torch.equal(model(x), want)
        assert torch.equal(st.record(model, x).out, want)
    with pytest.raises(KeyError, match="no layer 'a' was recorded; there are 'l1'"):
        st.record(model, x, layers=["l1"])["a"]


# --- calls ------------------------------------------------------------------------------------------------------------


def test_a_fold_that_fails_is_recorded_once(x: Tensor) -> None:
    net = nn.Sequential(nn.Linear(6, 8), st.ALIF(tau=4.0), Breaks(40), st.LI()).double()
    model = st.SpikingNet(net, fold_rules=UP_TO)
    assert model.explain(x).mode == "fold"
    with torch.no_grad(), pytest.warns(RuntimeWarning, match="runs step by step"):
        recording = st.record(model, x, "v", limit=2 * 3 * 20 * 8 * 8)  # bytes, and not those of the fold on top
    assert recording["1"]["v"].shape == (3, 20, 8)


def test_records_are_of_the_call_that_asks() -> None:
    """Another thread's call that runs when somebody asks for records, and the records of two threads at once."""
    inside, go_on = threading.Event(), threading.Event()

    class Waits(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            if not go_on.is_set() and threading.current_thread() is first:
                inside.set()
                go_on.wait(10)
            return x

    found: dict[str, torch.Size] = {}

    def ask(name: str) -> None:
        found[name] = st.record(model, torch.ones(2, 3, 4), name)["1"][name].shape

    model = st.SpikingNet(nn.Sequential(Waits(), st.LIF()), mode="fold", warn_silent=False)
    first = threading.Thread(target=model, args=(torch.ones(2, 3, 4),))
    asking = [threading.Thread(target=ask, args=(name,)) for name in ("spikes", "v")]
    first.start()
    assert inside.wait(10)
    for thread in asking:
        thread.start()
    time.sleep(0.2)
    go_on.set()
    for thread in (first, *asking):
        thread.join()
    assert found == {"spikes": (2, 3, 4), "v": (2, 3, 4)}


@pytest.mark.parametrize("lengths", [None, [20, 7, 1]], ids=str)
def test_records_of_half_precision(lengths: Any) -> None:
    x, found = torch.rand(3, 20, 4, generator=torch.Generator().manual_seed(0)).bfloat16(), []
    mode: Any
    for mode in ("auto", "step"):
        model = st.SpikingNet(nn.Sequential(st.LIF(v0=0.3)).bfloat16(), mode=mode)
        found.append(dict(st.record(model, x, ALL, lengths=lengths)["0"]))
    assert {name: record.dtype for name, record in found[0].items()} == dict.fromkeys(ALL, torch.bfloat16)
    assert all(torch.equal(found[0][name], found[1][name]) for name in ALL)


def test_steps_of_your_own() -> None:
    def fires(state: F.LIFState, x: Tensor, *, threshold: Any, surrogate: Any) -> Any:
        v, out, _, _ = F.fire(0.5 * state.v + x, threshold, surrogate, F.to_zero)
        return F.LIFState(v), out

    def hides(state: F.LIFState, x: Tensor) -> Any:
        u = 0.5 * state.v + x
        s = (u >= 1.0).to(u.dtype)
        return F.LIFState(u * (1 - s)), s

    xs, rest = torch.rand(9, 5), F.LIFState(torch.zeros(5))
    params = {"threshold": 0.6, "surrogate": F.Strict(F.Arctan())}
    step: Any = F.recorded(fires, "u", "threshold")
    spikes, records = F.scan(step, rest, xs, params=params)[1]
    assert torch.equal(spikes > 0, records["u"] > records["threshold"])
    assert records["threshold"].unique().tolist() == [pytest.approx(0.6)]
    hidden: Any = F.recorded(hides, "u")
    with pytest.raises(ValueError, match=r"hides has no state 'u'; it has v\. .*functional\.fire"):
        F.scan(hidden, rest, xs)
    with pytest.raises(TypeError, match=r"expected names of records"):
        F.recorded(hides)


@pytest.mark.sampled
@pytest.mark.parametrize("mode", ["step", "fold"])
def test_records_have_memory_of_their_own(layer: st.StepLayer, mode: Any) -> None:
    """Neither another record, nor what the layer gives out or goes on from: whoever has one may write on it."""
    x, model = draw(0), over_time(layer, mode=mode)
    with torch.no_grad():
        model(x)
        fields = [name for name, value in layer.state._asdict().items() if isinstance(value, Tensor)]
        records = ("spikes", *fields, *(ALL[2:] if layer.step in FIRING else ()))
        recording = st.record(model, x, records)
        assert recording["layer"].keys() == {*records}
    found = [recording.out, *recording["layer"].values(), *pytree.tree_leaves(layer.state)]
    places = [each.untyped_storage().data_ptr() for each in found if isinstance(each, Tensor) and each.numel()]
    assert len({*places}) == len(places)


@pytest.mark.parametrize("call", [st.record, st.summary, lambda model, x: model(x)], ids=["record", "summary", "call"])
def test_a_warning_points_at_the_line_that_has_called_the_library(call: Any) -> None:
    model = st.SpikingNet(Two(lambda net, x, init: 2 * x if x.sum() > 0 else x), 3)
    with pytest.warns(RuntimeWarning, match="step by step") as caught:
        call(model, torch.rand(2, 9, 4))
    assert [each.filename for each in caught] == [__file__]
