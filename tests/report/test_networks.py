"""Reports on networks and histories of all kinds, their gradients and integers, and what cannot be reported on."""

import re
import sys
import threading
from collections import namedtuple
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from torch import Tensor, nn

import spikingtorch as st
from spikingtorch import functional as F
from spikingtorch import like
from spikingtorch.functional import jax_reference as J
from spikingtorch.quantize import IntegerModel, certify, prepare_qat, to_integer
from spikingtorch.report import report
from spikingtorch.spikeio import PoissonEncoder
from tests.drawn import uniform
from tests.folded_layer import Coded, One
from tests.report.networks import SECTIONS, Pictures, Quickly

pytestmark = pytest.mark.usefixtures("one_thread")


# --- networks of all kinds --------------------------------------------------------------------------------------------


def two(net: Any, x: Tensor, init: Any) -> dict[str, Tensor]:
    """Return a dict, by batch norm, a readout and a filter."""
    spikes = net._l1(net.norm(net.f(x)), init)
    return {"votes": net.li(net.g(net.delay(spikes, init)), init), "spikes": spikes}


def of_two() -> nn.Module:
    parts = {"f": nn.Linear(6, 8), "norm": nn.BatchNorm1d(8), "_l1": st.LIF(v0=0.3), "delay": st.Delay(1.5)}
    return Coded(two, g=nn.Linear(8, 3), li=st.LI(), **parts)


def product() -> nn.Module:
    """Return a module that multiplies by a function of torch that is not counted."""
    return Coded(lambda net, x, init: torch.einsum("ni,io->no", x, net.weight), weight=nn.Parameter(torch.ones(6, 4)))


OwnState = namedtuple("OwnState", ["v"])


def own_step(state: OwnState, x: Tensor, *, decay: float = 0.8, surrogate: Any = F.Sigmoid()) -> Any:
    u = decay * state.v + x
    s = surrogate(u - 1.0)
    return OwnState((1.0 - s) * u), s


def cut_step(state: OwnState, x: Tensor, *, surrogate: Any = F.Sigmoid()) -> Any:
    u = state.v + x
    s = surrogate(u - 1.0)
    return OwnState(torch.where(s > 0, 0.0, u)), s


def twinned_step(state: OwnState, x: Tensor, *, decay: Any, surrogate: Any = F.Sigmoid()) -> Any:
    return own_step(state, x, decay=decay, surrogate=surrogate)


def twinned_step_twin(state: OwnState, x: Any, *, decay: Any) -> Any:
    """The same in JAX, found by its name."""
    u = decay * state.v + x
    s = J.Sigmoid()(u - 1.0)
    return OwnState(u - s * u), s


def off_step(state: OwnState, x: Tensor, *, decay: Any, surrogate: Any = F.Sigmoid()) -> Any:
    return own_step(state, x, decay=decay, surrogate=surrogate)


def off_step_twin(state: OwnState, x: Any, *, decay: Any) -> Any:
    """A twin that is wrong by a little."""
    return twinned_step_twin(state, x, decay=decay * (1.0 + 1e-6))


NETWORKS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...], str]] = {
    "no membranes": (lambda: nn.Sequential(nn.Linear(6, 4), st.McPitts(threshold=0.1)), (6,), "It has no membrane"),
    "a readout alone": (lambda: nn.Sequential(nn.Linear(6, 4), st.LI()), (6,), "No layer returns spikes"),
    "a tree, and a name with an underscore": (of_two, (6,), "LIF, 8 neurons; mean"),
    "one layer, as the network": (lambda: st.IF(v0=0.2), (6,), "IF, 6 neurons; mean"),
    "one number a step": (lambda: st.IF(v0=0.2), (), "1 neuron; mean"),
    "numbers in place of spikes": (lambda: nn.Sequential(st.SigmaDelta(0.3)), (6,), "SigmaDelta, 6 neurons"),
    "an own step": (lambda: nn.Sequential(nn.Linear(6, 4), st.StepLayer(own_step, OwnState)), (6,), "StepLayer, 4"),
    "neurons of another library": (
        *(lambda: nn.Sequential(nn.Linear(6, 4), like.snntorch.Leaky(0.9, threshold=0.1)), (6,)),
        "Leaky, 4 neurons; mean",
    ),
    "what cannot be counted": (
        *(lambda: nn.Sequential(product(), st.LIF(v0=0.1)), (6,)),
        "No operation was seen of 0 (Coded).",
    ),
    "inputs below zero, none fires": (lambda: nn.Sequential(nn.Linear(6, 4), st.LIF(v0=9.0)), (6,), "100% silent"),
}


@pytest.mark.sampled
@pytest.mark.parametrize("name", NETWORKS)
def test_networks(name: str, quickly: Quickly, pictures: Pictures) -> None:
    make, shape, says = NETWORKS[name]
    torch.manual_seed(0)
    found = quickly(make(), [uniform(4, 6, *shape) - 0.2])
    assert found.sections == SECTIONS
    assert says in found.words
    assert all(drawn() for drawn, _ in pictures.values())
    assert "No learning curves were given" in found.words
    assert "SpikeMonitor(model) as monitor" in found.words
    assert "Accuracy" not in found.words


def test_mode_step_double_precision_and_one_step(quickly: Quickly) -> None:
    net = nn.Sequential(nn.Linear(6, 4), st.LIF(v0=0.1)).double()
    found = quickly(st.SpikingNet(net, mode="step"), [uniform(4, 1, 6).double()])
    assert "The network is called once for each step: as asked for" in found.words


@pytest.mark.parametrize("target", [10, 4, -1, -100])
def test_targets_that_are_no_classes_are_left_out(target: int, quickly: Quickly, pictures: Pictures) -> None:
    net, x, y = nn.Sequential(nn.Linear(6, 4), st.LIF(v0=0.1)), uniform(4, 6, 6), torch.full((4,), target)
    found = quickly(net, [(x, y)])
    assert "Accuracy" not in found.words
    titles = [ax.get_title(loc="left") for ax in pictures["overview"][0]().axes]
    assert any(title.startswith("output: highest") for title in titles)
    assert not any("target" in title for title in titles)


def test_warnings_are_told_and_shown_on_the_page(quickly: Quickly) -> None:
    net = nn.Sequential(nn.Linear(6, 4), st.LIF(v0=0.1))
    found = quickly(net, [9.0 * uniform(4, 6)], encoder=PoissonEncoder(5))
    assert found.sections[-1] == "warnings"
    assert "rates reach 9 spikes per step" in found.words or "rates reach 8." in found.words


# --- histories --------------------------------------------------------------------------------------------------------

HISTORIES: dict[str, tuple[Any, list[str]]] = {
    "dicts": ([{"loss": 1.0, "1/rate": 0.1}, {"loss": 0.5, "1/rate": 0.2}], ["loss", "1/rate"]),
    "columns": ({"loss": [1.0, 0.5], "1/rate": torch.tensor([0.1, 0.2])}, ["loss", "1/rate"]),
    "pairs": ([(1.0, 0.1), (0.5, 0.2)], ["loss", "accuracy"]),
    "gaps": ([{"loss": float("nan")}, {"loss": 0.5, "1/interval": 2.0}, {"loss": None}], ["loss", "1/interval"]),
    "epochs of its own": ([{"epoch": 5, "loss": 1.0}, {"epoch": 10, "loss": 0.5}], ["loss"]),
}


@pytest.mark.parametrize("name", HISTORIES)
def test_histories(name: str, quickly: Quickly, pictures: Pictures) -> None:
    history, names = HISTORIES[name]
    quickly(nn.Sequential(nn.Linear(6, 4), st.LIF()), [uniform(2, 3, 6)], history=history)
    texts = [text for _, text in pictures.values()]
    wanted = {"1/rate": "layer 1 from 0.1 to 0.2", "1/interval": "layer 1 2 in epoch 2", "accuracy": "from 0.1 to 0.2"}
    wanted["loss"] = "loss 0.5 in epoch 2; 1 values that are NaN" if name == "gaps" else "loss from 1 to 0.5"
    for text in names:
        assert any(wanted[text] in each for each in texts), texts
    assert ("in epoch 10" in " ".join(texts)) == (name == "epochs of its own")


# --- gradients --------------------------------------------------------------------------------------------------------


Checked = Callable[[nn.Module], list[list[str]]]


@pytest.fixture
def checked(with_gradients: Quickly) -> Checked:
    """The table of the gradients of a network: layers, step, what it is compared with, deviation, result, words."""

    def rows(net: nn.Module) -> list[list[str]]:
        torch.manual_seed(0)
        return with_gradients(net, [uniform(2, 8, 6)]).table("Gradients of the steps of this network")[1:]

    return rows


def test_steps_of_ones_own(checked: Checked) -> None:
    """They are checked beside a twin if there is one, and else by differences, which find a branch."""
    layers = [
        *(st.StepLayer(own_step, OwnState), st.StepLayer(cut_step, OwnState)),
        *(
            st.StepLayer(twinned_step, OwnState, decay=0.8, learnable="decay"),
            st.StepLayer(off_step, OwnState, decay=0.8),
        ),
    ]
    own, cut, twinned, off = checked(nn.Sequential(nn.Linear(6, 4), *layers))
    assert (own[0], own[2], own[4]) == ("1", "finite differences", "agrees")
    assert cut[4] == "differs"
    assert "state.v does not follow the spike" in cut[5]
    assert (twinned[2], twinned[4]) == ("twin in JAX", "agrees")
    assert "decay" in twinned[5]
    assert (off[2], off[4]) == ("twin in JAX", "differs")
    assert 1e-10 < float(off[3]) < 1e-3


def test_a_wrong_gradient_is_told(with_gradients: Quickly) -> None:
    net = nn.Sequential(nn.Linear(6, 4), st.StepLayer(off_step, OwnState, decay=0.8))
    text = with_gradients(net, [uniform(2, 8, 6)]).words
    assert "1 of 1 step wrong" in text
    assert "checked and right" not in text


def test_a_silent_layer_is_driven_until_it_fires(checked: Checked) -> None:
    (found,) = checked(nn.Sequential(nn.Linear(6, 4), st.LIF(v0=20.0, refractory=2.0)))
    assert found[4] == "agrees"
    assert "no neuron fired" not in found[5]
    assert "refractory" in found[1]


def test_what_was_not_checked_is_not_claimed(checked: Checked, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "jax", None)
    layers = st.LIF(surrogate=F.FromDerivative(torch.cos)), st.LIF(reset=F.detached(F.to_zero))
    fragile = One(st.LIF(), lambda layer, x, init: layer(x @ torch.ones(6, 4), init))  # in float32 alone
    without, detached = checked(nn.Sequential(nn.Linear(6, 4), *layers))
    assert (without[2], without[4]) == (detached[2], detached[4]) == ("", "not checked")
    assert "no surrogate with a primitive" in without[5]
    assert "stopped on purpose" in detached[5]
    (in_float,) = checked(fragile)
    assert in_float[4] == "not checked"
    assert "does not run in double precision" in in_float[5]


# --- errors -----------------------------------------------------------------------------------------------------------

X = torch.ones(2, 3, 6)
# the loader, options of the report, the error and its message
WRONG: list[tuple[Any, dict[str, Any], type[Exception], str]] = [
    ([], {}, ValueError, "loader gave no batch"),
    (X, {}, TypeError, r"loader is a tensor, .*\[x\]"),
    (3, {}, TypeError, "loader is a int"),
    ([{"x": X}], {}, TypeError, "batch 1 of the loader is a dict"),
    ([X[:0]], {}, ValueError, "which holds no samples"),
    ([X[:, :0]], {}, ValueError, "which holds no steps"),
    ([X.long()], {}, ValueError, "dtype torch.int64.*pass encoder="),
    ([X.new_ones(2, 1, 7, 7)], {}, ValueError, r"x has shape \(2, 1, 7, 7\).*encoder="),
    ([X], {"batches": 0}, ValueError, "batches=0"),
    ([X], {"history": "loss"}, TypeError, "history is a str"),
    ([X], {"history": {"loss": ["low"]}}, TypeError, "holds 'low'"),
    ([X], {"history": {"loss": 1.0}}, TypeError, "is a float, expected a list"),
    ([X], {"history": [(1, 2, 3)]}, TypeError, "holds a tuple for epoch 1"),
    ([X], {"encoder": lambda x: [x]}, TypeError, "encoder gave a list"),
    ([X], {"path": "a/b.html"}, FileNotFoundError, "there is no folder"),
    ([X], {"path": "."}, IsADirectoryError, "is a folder, expected a file"),
    ([X], {"model": nn.Sequential(st.IF())}, TypeError, "expected a SpikingNet"),
]


BOUND = One(st.IF())
vars(BOUND)["lock"] = threading.Lock()
WRONG += [
    ([X], {"model": st.SpikingNet(Coded(lambda net, x, init: x))}, ValueError, "has no spiking layer"),
    ([X], {"model": st.SpikingNet(BOUND)}, TypeError, "cannot be copied"),
    (
        *([X, X[..., :5]], {"model": st.SpikingNet(nn.Sequential(st.IF()))}, ValueError),
        r"fails on batch 2 .* layer 0 has neurons of shape \(5,\), and had \(6,\)",
    ),
]


@pytest.mark.parametrize(("loader", "options", "kind", "message"), WRONG)
def test_errors_say_what_to_do(
    loader: Any, options: Any, kind: type[Exception], message: str, quick: Pictures, tmp_path: Path
) -> None:
    given = {"model": st.SpikingNet(nn.Sequential(nn.Linear(6, 4), st.LIF()))} | options
    path = tmp_path / given.pop("path", "page.html")
    with pytest.raises(kind, match=message):
        report(given.pop("model"), loader, path, **given)
    assert not list(tmp_path.iterdir())


def test_without_matplotlib(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in {"matplotlib", *(each for each in sys.modules if each.startswith("matplotlib."))}:
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ImportError, match=re.escape("pip install 'spikingtorch[plot]'")):
        report(st.SpikingNet(nn.Sequential(st.IF())), [X], tmp_path / "page.html")


def neurons(bits: int = 12) -> st.FixedPointLIF:
    return st.FixedPointLIF((7, 3), threshold=0.25, fraction_bits=6, membrane_bits=bits)


def network(last: nn.Module) -> st.SpikingNet:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(6, 9), neurons(), nn.Linear(9, 4), last)
    return prepare_qat(st.SpikingNet(net), weight_bits=4)


def spikes(samples: int = 5) -> torch.Tensor:
    return (uniform(samples, 7, 6) < 0.5).float()


def test_the_integers_and_their_certificate(quickly: Quickly) -> None:
    model, x = network(neurons()), spikes()
    page = quickly(model, [x])
    assert page.sections == [*SECTIONS[:4], "integers", *SECTIONS[4:]]
    integer = to_integer(model, x)
    certificate, table = certify(model, integer, x), integer.report()
    assert certificate.equal
    shown = page.table("The network beside its integers")
    assert shown[1:] == [[*certificate.cells(row)] for row in certificate.rows]
    assert [row[0] for row in shown] == ["layer", "1", "3"]
    assert page.table("The integers")[1:] == [[*table.cells(row)] for row in table.rows]
    assert '<span class="pass">The integers compute the same</span>: equal, bit for bit' in page.text
    assert "Every spike, membrane and current of the first 5 samples of 7 steps" in page.words
    assert f"{table.needs.memory_bytes:,} bytes of RAM" in page.words
    assert "weights of 0, 2 in 4 bits, neurons of 1, 3." in page.words


def test_padded_sequences_and_time_first(quickly: Quickly) -> None:
    model = network(neurons())
    model.batch_first = False
    page = quickly(model, [(spikes().transpose(0, 1), torch.tensor([7, 3, 7, 3, 3]), torch.arange(5) % 4)])
    assert '<span class="pass">The integers compute the same</span>: equal, bit for bit' in page.text
    assert "of the first 2 samples of 7 steps" in page.words


def test_a_difference_is_shown(quickly: Quickly, monkeypatch: pytest.MonkeyPatch) -> None:
    def other(model: Any, x: torch.Tensor) -> Any:
        found = to_integer(model, x)
        one, two, three, four = found.nodes
        nodes = (one, two, cast(Any, replace)(three, weight=-cast(Any, three).weight), four)
        return IntegerModel(found.input_exponent, found.input_shape, found.input_range, nodes)

    monkeypatch.setattr("spikingtorch.report.measure.to_integer", other)
    page = quickly(network(neurons()), [spikes()])
    assert '<span class="fail">The integers differ</span>: different first at 3: ' in page.text
    assert any(int(row[6]) for row in page.table("The network beside its integers")[1:])


def test_integers_without_c(quickly: Quickly, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_c(_: IntegerModel) -> None:
        raise ValueError("no type of C has room")

    monkeypatch.setattr(IntegerModel, "report", no_c)
    page = quickly(network(neurons()), [spikes()])
    assert '<span class="pass">The integers compute the same</span>: equal, bit for bit' in page.text
    assert "There is no C of these integers: no type of C has room." in page.words
    assert "The integers" not in page.tables


@pytest.mark.parametrize(
    ("last", "said"),
    [
        (st.LIF(), "layer &#39;3&#39;: LIF computes with numbers that are not whole"),
        (nn.Sequential(neurons(), nn.Softmax(-1)), "there are no integers for Softmax"),
    ],
)
def test_a_refusal_is_in_words(last: nn.Module, said: str, quickly: Quickly) -> None:
    page = quickly(network(last), [spikes()])
    assert "The network does not become integers." in page.words
    assert said in page.words
    assert "The rule is that" in page.words
    assert not [caption for caption in page.tables if "integers" in caption]


def test_inputs_off_the_grid_and_networks_in_float(quickly: Quickly) -> None:
    page = quickly(network(neurons()), [uniform(5, 7, 6)])
    assert "Encode it as spikes, or round it" in page.words
    in_float = quickly(nn.Sequential(nn.Linear(6, 4), st.LIF(v0=0.3)), [spikes()])
    assert in_float.sections == SECTIONS
