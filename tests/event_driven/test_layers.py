"""Networks whose linear layers and convolutions skip the zeros of their inputs."""

import copy
import pickle
from typing import Any

import pytest
import torch
import torch.nn.functional as nnf
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils.flop_counter import FlopCounterMode

import spikingtorch as st
from spikingtorch.functional.sparse import automatic
from tests.event_driven.networks import KINDS, SMALL, Net, model_of, outcome, reasons, spikes
from tests.folded_layer import Coded
from tests.rounding import assert_as_exact, changed

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.mark.sampled
@pytest.mark.parametrize("density", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("options", [{"mode": "fold"}, {"mode": "step"}, {"time_chunk": 3}], ids=str)
def test_as_dense(options: dict[str, Any], density: float, runs: list[int]) -> None:
    """Where each order of summation gives the same, the same numbers; gradients have roundings of their own."""
    event, dense = model_of(**options), model_of("off", **options)
    got, x = outcome(event, spikes(density)), spikes(density)
    assert len(runs) == 4 * {"fold": 1, "step": 4}.get(options.get("mode", ""), 2)
    assert torch.equal(got[0], dense(x))
    assert_as_exact(got, lambda change: outcome(changed(dense, change), change(x)))
    assert {line.path: line.kind for line in event.explain().products} == KINDS
    assert set(reasons(event).values()) == {None}
    assert dense.explain().products == ()


def test_what_explain_says(runs: list[int]) -> None:
    model, x = model_of(), spikes()
    assert model.explain(x).products == ()
    model(x)
    lines = {line.path: line for line in model.explain().products}
    assert lines["conv1"].density == pytest.approx(float(x.count_nonzero()) / x.numel())
    assert lines["conv1"].inputs == runs[0] == x.numel()
    kept: Any = lines["conv1"].kept
    assert kept < x.nbytes / 32 + 16
    form = f"event-driven: {lines['conv1'].density:.2g} of the inputs not zero; 200 B kept in place of 6.14 kB"
    assert form in str(model.explain())
    with torch.no_grad():
        model(x)
    assert {line.kept for line in model.explain().products} == {None}
    model(x * 0.5)
    lines = {line.path: line for line in model.explain().products}
    assert (lines["conv1"].kept, lines["conv1"].reason) == (None, None)
    assert lines["conv2"].kept is not None


def test_automatic_takes_what_is_faster(monkeypatch: pytest.MonkeyPatch, runs: list[int]) -> None:
    model, x = model_of("auto"), spikes()
    model(x)
    assert not runs
    assert set(reasons(model).values()) == {"is too small for skipping zeros to pay"}
    model = model_of("auto")
    number, size = int(x.count_nonzero()), x.numel()
    for most in (number - 1, number):
        monkeypatch.setattr(automatic, "most_events", lambda s, most=most: most if s.channels == 2 else 10**6)
        model(x)
        first = f"has more than {most / size:.0%} inputs that are not zero" if most < number else None
        assert reasons(model)["conv1"] == first
        assert reasons(model)["out"] is None
    assert len(runs) == 3 + 4


def test_large_layers_by_default(runs: list[int]) -> None:
    """Without an option, a layer of many spikes skips their zeros, and one of dense inputs does not."""
    net = nn.Sequential(nn.Linear(256, 512), st.LIF())
    model = st.SpikingNet(net)
    x = (torch.rand(30, 50, 256) < 0.05).float()
    assert model(x).shape == (30, 50, 512)
    assert len(runs) == 1
    model(torch.rand(30, 50, 256))
    assert len(runs) == 1
    assert reasons(model) == {"0": "has more than 25% inputs that are not zero"}


def test_what_is_called_dense(runs: list[int]) -> None:
    def said(model: st.SpikingNet, x: Tensor) -> set[str | None]:
        model(x)
        assert not runs
        return set(reasons(model).values())

    x = spikes()
    for options in ({"groups": 2}, {"dilation": 2}):
        assert said(model_of(net=nn.Sequential(nn.Conv2d(2, 4, 2, **options), st.LIF())), x) == set()  # type: ignore[arg-type]
    assert said(model_of(net=Net().double()), x.double()) == {"has tensors that are not float32: torch.float64"}
    with torch.autocast("cpu"):
        assert "autocast" in str(said(model_of(), x))
    with torch.autograd.graph.saved_tensors_hooks(lambda t: t, lambda t: t):
        assert said(model_of(), x) == {"is under hooks on saved tensors, as in a checkpoint"}
    torch.use_deterministic_algorithms(True)
    try:
        assert said(model_of(), x) == {"is to be deterministic as torch is"}
    finally:
        torch.use_deterministic_algorithms(False)
    with FlopCounterMode(display=False):
        assert said(model_of(mode="step"), x) == set()


class Counting(TorchFunctionMode):
    """Counts the linear layers that it sees."""

    def __init__(self) -> None:
        super().__init__()
        self.seen = 0

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.seen += func is nnf.linear
        return func(*args, **(kwargs or {}))


def test_other_modes(runs: list[int]) -> None:
    """A mode around the network sees all that it saw; one inside of it is asked first; a device is no mode to watch."""
    model = model_of()
    with Counting() as mode:
        model(spikes())
    assert mode.seen > 0
    assert not runs
    with torch.device("cpu"):
        model(spikes())
    assert len(runs) == 4

    class Inside(Net):
        def forward(self, x: Tensor, init: Any) -> Tensor:
            with mode:
                return super().forward(x, init)

    before, model = mode.seen, model_of(net=Inside(), mode="fold")
    runs.clear()
    model(spikes())
    assert mode.seen == before + 1
    assert len(runs) == 4


def test_errors_are_those_of_torch() -> None:
    functions: list[Any] = [nnf.linear, torch.conv1d, torch.conv2d]
    linear, conv1d, conv2d = functions
    weight = nn.Parameter(torch.ones(4, 3))
    calls = [
        lambda x, w: linear(x, w),
        lambda x, w: linear(x, w, torch.ones(7)),
        lambda x, w: linear(x),
        lambda x, w: linear(x, None),
        lambda x, w: conv1d(x[:, None], w[:, None], padding="half"),
        lambda x, w: conv2d(x, w, unknown=1),
    ]
    for call in calls:
        net = Coded(lambda net, x, init: net.call(net.l1(x, init), net.weight), l1=st.LIF(), weight=weight, call=call)
        found = []
        for event_driven in ("off", "on"):
            with pytest.raises((RuntimeError, TypeError)) as error:
                model_of(event_driven, net, mode="step")(torch.ones(2, 3, 5))
            found.append((type(error.value), str(error.value)[:60]))
            assert torch._C._len_torch_function_stack() == 0
        assert found[0] == found[1]


@pytest.mark.parametrize("event_driven", ["on", "off"])
def test_weights_that_are_not_finite(event_driven: str) -> None:
    """Zero times infinity is NaN, and layers say so."""
    model = model_of(event_driven)
    with torch.no_grad():
        model.get_parameter("net.conv2.weight")[0, 0, 0, 0] = torch.inf
    with pytest.raises(ValueError, match="x holds NaN"):
        model(spikes(0.0))


@pytest.mark.parametrize(("outer", "inner"), [("on", "off"), ("auto", "on"), ("off", "on"), ("on", "on")])
def test_a_network_in_a_network(outer: str, inner: str, runs: list[int]) -> None:
    """Each has its own option."""

    net = Coded(
        lambda net, x, init: net.l1(net.out(net.inner(x.unsqueeze(1)).squeeze(1)), init),
        **{"inner": model_of(inner, mode="step"), "out": nn.Linear(3, 3), "l1": st.LIF()},
    )
    model = model_of(outer, net, mode="step")
    assert model(spikes()).shape == (3, 4, 3)
    found = reasons(model)
    assert found.get("out", "none") == {"on": None, "auto": SMALL, "off": "none"}[outer]
    assert found.get("inner.net.conv1", "none") == {"on": None, "off": "none"}[inner]
    assert len(runs) == 4 * ((outer == "on") + 4 * (inner == "on"))


@pytest.mark.filterwarnings("ignore:.*nested tensors")
def test_attention_takes_its_own_way() -> None:
    """torch's fast way through attention ends at any mode, and masks what is padded otherwise."""

    def attending(net: Any, x: Tensor, init: Any) -> Any:
        return net.encoder(net.l1(x, init), src_key_padding_mask=torch.tensor([False] * 3 + [True] * 2).repeat(3, 1))

    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, dropout=0.0)
    net = Coded(attending, l1=st.LIF(), encoder=nn.TransformerEncoder(layer, 1)).eval()
    x = torch.ones(3, 2, 5, 8)
    with torch.no_grad():
        found = [st.SpikingNet(net, event_driven=each, mode="step")(x) for each in ("off", "auto", "on")]
    assert torch.equal(found[0], found[1])
    assert torch.equal(found[0], found[2])
    assert not found[0][:, :, 3:].any()


def test_weights_that_are_computed(runs: list[int]) -> None:
    net = nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Linear(6, 4)), st.LIF())
    model = model_of(net=net, mode="step")
    model(torch.ones(2, 3, 6))
    assert len(runs) == 3
    (line,) = model.explain().products
    assert (line.path, line.kind, line.shape, line.reason) == ("", "computed weights", (4, 6), None)


def test_graded_inputs_have_half_the_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(automatic, "most_events", lambda _: 10)
    model = model_of("auto", nn.Sequential(nn.Linear(20, 4), st.LIF()), mode="step")
    for number, value, taken in ((10, 1.0, True), (11, 1.0, False), (5, 0.5, True), (6, 0.5, False)):
        x = torch.zeros(1, 1, 20)
        x[..., :number] = value
        model(x)
        assert (reasons(model)["0"] is None) is taken


def test_copies_start_anew() -> None:
    model, x = model_of(), spikes()
    want = model(x)
    for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert other.explain(x).products == ()
        assert torch.equal(other(x), want)
        assert len(other.explain().products) == 4
