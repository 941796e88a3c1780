"""Reports on networks and histories of all kinds, their gradients, and what cannot be reported on."""

import builtins
import re
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor, nn

import spikingtorch as st
from spikingtorch import functional as F
from spikingtorch import like
from spikingtorch.functional import jax_reference as J
from spikingtorch.plot.activity import activity_of
from spikingtorch.report import report
from spikingtorch.report.batches import Piece
from spikingtorch.report.figures import whole
from spikingtorch.report.gradients import Checked, check_gradients
from spikingtorch.report.html import Html
from spikingtorch.spikeio import PoissonEncoder
from spikingtorch.watching.copies import on_copy
from tests.report.networks import SECTIONS, Quickly, draw

pytestmark = pytest.mark.usefixtures("one_thread")


# --- networks of all kinds --------------------------------------------------------------------------------------------


class Two(nn.Module):
    """Returns a dict, and has batch norm, a readout and a filter."""

    def __init__(self) -> None:
        super().__init__()
        self.f, self.norm, self._l1 = nn.Linear(6, 8), nn.BatchNorm1d(8), st.LIF(v0=0.3)
        self.delay, self.g, self.li = st.Delay(1.5), nn.Linear(8, 3), st.LI()

    def forward(self, x: Tensor, init: Any) -> dict[str, Tensor]:
        spikes = self._l1(self.norm(self.f(x)), init)
        return {"votes": self.li(self.g(self.delay(spikes, init)), init), "spikes": spikes}


class Product(nn.Module):
    """Multiplies by a function of torch that is not counted."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(6, 4))

    def forward(self, x: Tensor) -> Tensor:
        return torch.einsum("ni,io->no", x, self.weight)


class OwnState(NamedTuple):
    v: Any


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


NETWORKS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...], str]] = {
    "no membranes": (lambda: nn.Sequential(nn.Linear(6, 4), st.McPitts(thr=0.1)), (6,), "It has no membrane"),
    "a readout alone": (lambda: nn.Sequential(nn.Linear(6, 4), st.LI()), (6,), "No layer returns spikes"),
    "a tree, and a name with an underscore": (Two, (6,), "LIF, 8 neurons; mean"),
    "one layer, as the network": (lambda: st.IF(v0=0.2), (6,), "IF, 6 neurons; mean"),
    "one number a step": (lambda: st.IF(v0=0.2), (), "1 neuron; mean"),
    "numbers in place of spikes": (lambda: nn.Sequential(st.SigmaDelta(0.3)), (6,), "SigmaDelta, 6 neurons"),
    "an own step": (lambda: nn.Sequential(nn.Linear(6, 4), st.StepLayer(own_step, OwnState)), (6,), "StepLayer, 4"),
    "neurons of another library": (
        *(lambda: nn.Sequential(nn.Linear(6, 4), like.snntorch.Leaky(0.9, threshold=0.1)), (6,)),
        "Leaky, 4 neurons; mean",
    ),
    "what cannot be counted": (
        *(lambda: nn.Sequential(Product(), st.LIF(v0=0.1)), (6,)),
        "No operation was seen of 0 (Product).",
    ),
    "inputs below zero, none fires": (lambda: nn.Sequential(nn.Linear(6, 4), st.LIF(v0=9.0)), (6,), "100% silent"),
}


@pytest.mark.sampled
@pytest.mark.parametrize("name", NETWORKS)
def test_networks(name: str, quickly: Quickly) -> None:
    make, shape, says = NETWORKS[name]
    torch.manual_seed(0)
    found = quickly(make(), [draw(4, 6, *shape) - 0.2])
    assert found.sections == SECTIONS
    assert says in found.words
    assert "cannot be drawn" not in found.words
    assert "No learning curves were given" in found.words
    assert "SpikeMonitor(model) as monitor" in found.words
    assert "Accuracy" not in found.words


def test_mode_step_double_precision_and_one_step(quickly: Quickly) -> None:
    net = nn.Sequential(nn.Linear(6, 4), st.LIF(v0=0.1)).double()
    found = quickly(st.SpikingNet(net, mode="step"), [draw(4, 1, 6).double()])
    assert "The network is called once for each step: as asked for" in found.words


@pytest.mark.parametrize("target", [10, 4, -1, -100])
def test_targets_that_are_no_classes_are_left_out(target: int, quickly: Quickly) -> None:
    net, x, y = nn.Sequential(nn.Linear(6, 4), st.LIF(v0=0.1)), draw(4, 6, 6), torch.full((4,), target)
    found = quickly(net, [(x, y)])
    assert "Accuracy" not in found.words
    assert "cannot be drawn" not in found.words
    spikes = (draw(4, 6, 4) < 0.5).float()
    drawn = whole({"1": {"spikes": spikes}}, {"1": activity_of("report", "1", spikes)}, spikes, Piece(x, y, 1))
    titles = [ax.get_title(loc="left") for ax in drawn.axes]
    assert any(title.startswith("output: highest") for title in titles)
    assert not any("target" in title for title in titles)


def test_warnings_are_told_and_shown_on_the_page(quickly: Quickly) -> None:
    net = nn.Sequential(nn.Linear(6, 4), st.LIF(v0=0.1))
    found = quickly(net, [9.0 * draw(4, 6)], encoder=PoissonEncoder(5))
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
def test_histories(name: str, quickly: Quickly, monkeypatch: pytest.MonkeyPatch) -> None:
    history, names = HISTORIES[name]
    texts: list[str] = []

    def noted(_: Any, key: str, alt: str) -> Html:
        texts.append(alt)
        return Html(f'<svg role="img" id="{key}" aria-label=""></svg>')

    monkeypatch.setattr("spikingtorch.report.network_sections.inline", noted)
    quickly(nn.Sequential(nn.Linear(6, 4), st.LIF()), [draw(2, 3, 6)], history=history)
    wanted = {"1/rate": "layer 1 from 0.1 to 0.2", "1/interval": "layer 1 2 in epoch 2", "accuracy": "from 0.1 to 0.2"}
    wanted["loss"] = "loss 0.5 in epoch 2; 1 values that are NaN" if name == "gaps" else "loss from 1 to 0.5"
    for text in names:
        assert any(wanted[text] in each for each in texts), texts
    assert ("in epoch 10" in " ".join(texts)) == (name == "epochs of its own")


# --- gradients --------------------------------------------------------------------------------------------------------


def checked(net: nn.Module, *shape: int) -> list[Checked]:
    torch.manual_seed(0)
    x = draw(2, 8, *(shape or (6,)))
    return on_copy("report", st.SpikingNet(net).eval(), lambda copied: check_gradients(copied, x))


def test_a_wrong_gradient_is_found(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, quickly: Quickly) -> None:
    def other(state: Any, x: Any, *, decay: Any, **params: Any) -> Any:
        return J.lif_step(state, x, decay=decay * (1.0 + 1e-6), **params)

    monkeypatch.setattr("spikingtorch.report.gradients.twin_of", lambda _: other)
    (found,) = checked(nn.Sequential(nn.Linear(6, 4), st.LIF()))
    assert found.passed is False
    assert found.error is not None
    assert 1e-10 < found.error < 1e-3
    monkeypatch.setattr("spikingtorch.report.write.check_gradients", lambda *_: [found])
    text = quickly(nn.Sequential(nn.Linear(6, 4), st.LIF()), [draw(2, 8, 6)]).words
    assert "1 of 1 step wrong" in text
    assert ">differs</span>" in text
    assert "checked and right" not in text


def test_own_steps_are_checked_by_differences_and_branches_found() -> None:
    net = nn.Sequential(nn.Linear(6, 4), st.StepLayer(own_step, OwnState), st.StepLayer(cut_step, OwnState))
    right, wrong = checked(net)
    assert (right.how, right.passed, right.layers) == ("finite differences", True, ("1",))
    assert wrong.passed is False
    assert "state.v does not follow the spike" in wrong.words


def test_a_twin_of_the_users_is_found_beside_the_step() -> None:
    layer = st.StepLayer(twinned_step, OwnState, decay=0.8, learnable="decay")
    (found,) = checked(nn.Sequential(nn.Linear(6, 4), layer))
    assert (found.how, found.passed) == ("twin in JAX", True)
    assert "decay" in found.words


def test_a_silent_layer_is_driven_until_it_fires() -> None:
    net = nn.Sequential(nn.Linear(6, 4), st.LIF(v0=20.0, refractory=2.0))
    (found,) = checked(net)
    assert found.passed
    assert "no neuron fired" not in found.words
    assert "refractory" in found.step


def test_what_was_not_checked_is_not_claimed(monkeypatch: pytest.MonkeyPatch) -> None:
    net = nn.Sequential(
        nn.Linear(6, 4), st.LIF(surrogate=F.FromDerivative(torch.cos)), st.LIF(reset=F.detached(F.to_zero))
    )
    monkeypatch.setattr("spikingtorch.report.gradients.has_jax", lambda: False)
    without, detached = checked(net)
    assert (without.passed, without.how) == (None, "")
    assert "no surrogate with a primitive" in without.words
    assert (detached.passed, detached.how) == (None, "")
    assert "stopped on purpose" in detached.words


class Fragile(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.l = st.LIF()

    def forward(self, x: Tensor, init: Any) -> Tensor:
        out: Tensor = self.l(x @ torch.ones(6, 4), init)
        return out


def test_a_network_for_one_precision_is_not_checked() -> None:
    (found,) = checked(Fragile())
    assert found.passed is None
    assert "does not run in double precision" in found.words


# --- errors -----------------------------------------------------------------------------------------------------------

X = torch.ones(2, 3, 6)
WRONG: dict[str, tuple[type[Exception], str, Callable[[Any, Path], Any]]] = {
    "no batch": (ValueError, "loader gave no batch", lambda net, path: report(net, [], path)),
    "a tensor": (TypeError, r"loader is a tensor, .*\[x\]", lambda net, path: report(net, X, path)),
    "no loader": (TypeError, "loader is a int", lambda net, path: report(net, 3, path)),  # type: ignore[arg-type]
    "a dict": (TypeError, "batch 1 of the loader is a dict", lambda net, path: report(net, [{"x": X}], path)),
    "no samples": (ValueError, "which holds no samples", lambda net, path: report(net, [X[:0]], path)),
    "no steps": (ValueError, "which holds no steps", lambda net, path: report(net, [X[:, :0]], path)),
    "whole numbers": (ValueError, "dtype torch.int64.*pass encoder=", lambda net, path: report(net, [X.long()], path)),
    "no time": (
        ValueError,
        r"x has shape \(2, 1, 7, 7\).*encoder=",
        lambda net, path: report(net, [X.new_ones(2, 1, 7, 7)], path),
    ),
    "other shapes": (
        *(ValueError, r"fails on batch 2 .* layer 0 has neurons of shape \(5,\), and had \(6,\)"),
        lambda net, path: report(st.SpikingNet(nn.Sequential(st.IF())), [X, X[..., :5]], path),
    ),
    "no network": (TypeError, "expected a SpikingNet", lambda net, path: report(net.net, [X], path)),
    "no layer": (ValueError, "has no spiking layer", lambda net, path: report(st.SpikingNet(Plain()), [X], path)),
    "no copy": (TypeError, "cannot be copied", lambda net, path: report(st.SpikingNet(Bound()), [X], path)),
    "no folder": (FileNotFoundError, "there is no folder", lambda net, path: report(net, [X], path / "a" / "b.html")),
    "a folder": (IsADirectoryError, "is a folder, expected a file", lambda net, path: report(net, [X], path.parent)),
    "batches": (ValueError, "batches=0", lambda net, path: report(net, [X], path, batches=0)),
    "text": (TypeError, "history is a str", lambda net, path: report(net, [X], path, history="loss")),
    "words": (TypeError, "holds 'low'", lambda net, path: report(net, [X], path, history={"loss": ["low"]})),
    "numbers": (
        TypeError,
        "is a float, expected a list",
        lambda net, path: report(net, [X], path, history={"loss": 1.0}),
    ),
    "triples": (TypeError, "holds a tuple for epoch 1", lambda net, path: report(net, [X], path, history=[(1, 2, 3)])),
    "encoder": (TypeError, "encoder gave a list", lambda net, path: report(net, [X], path, encoder=lambda x: [x])),
}


class Plain(nn.Module):
    def forward(self, x: Tensor, init: Any) -> Tensor:
        return x


class Bound(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.l, self.lock = st.IF(), threading.Lock()

    def forward(self, x: Tensor, init: Any) -> Tensor:
        out: Tensor = self.l(x, init)
        return out


@pytest.mark.parametrize("name", WRONG)
def test_errors_say_what_to_do(name: str, quick: None, tmp_path: Path) -> None:
    kind, message, call = WRONG[name]
    path = tmp_path / "page.html"
    with pytest.raises(kind, match=message):
        call(st.SpikingNet(nn.Sequential(nn.Linear(6, 4), st.LIF())), path)
    assert not list(tmp_path.iterdir())


def test_without_matplotlib(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    real = builtins.__import__

    def missing(name: str, *args: Any, **options: Any) -> Any:
        if name.startswith("matplotlib"):
            raise ModuleNotFoundError(name, name=name)
        return real(name, *args, **options)

    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(ImportError, match=re.escape("pip install 'spikingtorch[plot]'")):
        report(st.SpikingNet(nn.Sequential(st.IF())), [X], tmp_path / "page.html")
