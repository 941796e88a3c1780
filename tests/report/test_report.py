"""The report: what the page says beside what is counted by hand, and that nothing of the user's changes."""

import builtins
import copy
import random
import re
import threading
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib as mpl
import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import spikingtorch as st
from spikingtorch import functional as F
from spikingtorch.functional import jax_reference as J
from spikingtorch.report import report
from spikingtorch.report.gradients import Checked, check_gradients
from spikingtorch.report.html import Html, element
from spikingtorch.report.measure import copy_of
from spikingtorch.spikeio import PoissonEncoder, pad_sequences
from tests.report.reading import Page

pytestmark = pytest.mark.usefixtures("one_thread")
HOSTILE = "<script>alert('1')</script>&\"$x_$"
SECTIONS = ["curves", "rates", "summary", "runs", "overview", "layers", "silent", "gradients"]


class Net(nn.Module):
    """Images, a time constant that learns, recurrence, and a name that is none of HTML's business."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.sl1 = nn.Conv2d(1, 3, 3), st.LIF(torch.full((3, 1, 1), 4.0), v0=0.3, learnable="tau")
        self.l2, self.sl2 = nn.Linear(48, 12), st.LIF(v0=0.3, recurrent=nn.Linear(12, 12, bias=False))
        self.drop, self.l3 = nn.Dropout(0.5), nn.Linear(12, 4)
        self.add_module("<b>out", st.LIF(v0=0.2))

    def forward(self, x: Tensor, init: Any) -> Tensor:
        h = self.sl2(self.l2(self.sl1(self.conv(x), init).flatten(1)), init)
        out: Tensor = self.get_submodule("<b>out")(self.l3(self.drop(h)), init)
        return out


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def trained() -> list[dict[str, Any]]:
    return [
        {"loss": 1.0 / epoch, "train accuracy": 0.5 + 0.1 * epoch, "val_accuracy": torch.tensor(0.1 * epoch)}
        | {"sl1/rate": 0.1 * epoch, "sl2/rate": np.float32(0.2), "sl1/silent": 0.0, "sl1/interval": float(epoch)}
        | {HOSTILE: epoch}
        for epoch in (1, 2, 3)
    ]


@pytest.fixture(scope="module")
def model() -> st.SpikingNet:
    torch.manual_seed(0)
    return st.SpikingNet(Net(), 4)


@pytest.fixture(scope="module")
def batches() -> list[tuple[Tensor, Tensor]]:
    return [((draw(5, 7, 1, 6, 6, seed=k) < 0.4).float(), torch.arange(5) % 4) for k in range(2)]


@pytest.fixture(scope="module")
def page(model: st.SpikingNet, batches: list[tuple[Tensor, Tensor]], tmp_path_factory: pytest.TempPathFactory) -> Page:
    path = tmp_path_factory.mktemp("report") / "report.html"
    assert report(model, batches, path, history=trained(), title=HOSTILE) == path
    return Page(path)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Draw pictures, but do not save them, and leave gradients out: both are looked at elsewhere."""
    drawn = lambda _, key, alt: Html(f'<svg role="img" id="{key}" aria-label="{len(alt)}"></svg>')  # noqa: E731
    monkeypatch.setattr("spikingtorch.report.firing_sections.inline", drawn)
    monkeypatch.setattr("spikingtorch.report.training_sections.inline", drawn)
    monkeypatch.setattr("spikingtorch.report.write.check_gradients", lambda *_: [])


Quickly = Callable[..., Page]


@pytest.fixture
def quickly(quick: None, tmp_path: Path) -> Quickly:
    def made(net: Any, loader: Any, **options: Any) -> Page:
        wrapped = net if isinstance(net, st.SpikingNet) else st.SpikingNet(net)
        return Page(report(wrapped, loader, tmp_path / "page.html", **options))

    return made


# --- the page ---------------------------------------------------------------------------------------------------------


def test_sections_and_headings(page: Page) -> None:
    assert page.sections == SECTIONS
    assert page.text.startswith('<!DOCTYPE html>\n<html lang="en">')
    levels = [level for level, _ in page.headings]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))
    assert [text for level, text in page.headings if level == 3][:3] == ["sl1", "sl2", "<b>out"]
    assert len(page.ids) == len({*page.ids})
    assert {f"#{key}" for key in SECTIONS} <= {*page.references}


def test_nothing_is_loaded_and_nothing_runs(page: Page) -> None:
    assert not page.scripts
    inside = [each for each in page.references if each.startswith("#")]
    others = [each for each in page.references if not each.startswith("#")]
    assert all(each.startswith("data:image/png;base64,") for each in others)
    assert {each[1:] for each in inside} <= {*page.ids}
    without_text = re.sub(r">[^<]*<", "><", page.text)
    assert "http" not in without_text
    assert "@import" not in page.text
    assert all(each == "#" for each in re.findall(r"url\(['\"]?(.)", page.text))


def test_names_are_text_and_no_markup(page: Page) -> None:
    assert page.headings[0][1] == HOSTILE
    assert page.text.count("<script") == 0
    assert page.text.count("<b>out") == 0
    assert "&lt;script&gt;" in page.text
    assert any(HOSTILE in alt for alt in page.alts)


def test_table_is_that_of_summary(page: Page, model: st.SpikingNet, batches: list[tuple[Tensor, Tensor]]) -> None:
    found = st.summary(copy.deepcopy(model).eval(), torch.cat([x for x, _ in batches]))
    rows = page.table("Means for one sample and its 7 steps, from 10 samples of 2 batches")
    want = [re.split(r"  +", line.strip()) for line in str(found).splitlines()]
    assert [[cell for cell in row if cell] for row in rows] == [want[0], *want[2 : len(found.rows) + 2], want[-4]]
    assert f"{found.energy / found.energy_of_ann:.2g} times the energy" in page.words
    assert "Not counted: neurons, biases" in page.words


def test_it_says_on_how_much_and_with_what(page: Page) -> None:
    for text in ("10 samples of 2 batches, 7 steps each", torch.__version__, st.__version__, "input 1x6x6 a step"):
        assert text in page.words
    assert re.search(r'<time datetime="20\d\d-\d\d-\d\dT[\d:]+\+00:00">', page.text)


def test_how_it_runs(page: Page, model: st.SpikingNet, batches: list[tuple[Tensor, Tensor]]) -> None:
    explained = copy.deepcopy(model).eval().explain(batches[0][0])
    rows = page.table("What runs each layer")[1:]
    assert [row[0] for row in rows[:3]] == ["sl1", "sl2", "<b>out"]
    assert [row[3] for row in rows[:3]] == [str(layer.backend) for layer in explained.layers]
    assert "All steps run in one call of the network" in page.words


def test_curves_have_their_numbers(page: Page) -> None:
    joined = "\n".join(page.alts)
    assert "loss from 1 to 0.3333 over 3 epochs, lowest 0.3333 in epoch 3, highest 1 in epoch 1" in joined
    assert "accuracy: train accuracy from 0.6 to 0.8" in joined
    assert "firing rate (spikes per step): sl1 from 0.1 to 0.3" in joined
    assert "No neuron was silent in any epoch." in page.words


def test_layers_have_spikes_rates_and_membranes(page: Page, model: st.SpikingNet) -> None:
    for layer in ("sl1", "sl2", "<b>out"):
        assert any(re.match(rf"\d+ spikes? of {layer} in 7 steps", alt) for alt in page.alts)
        assert any(alt.startswith(f"Firing rates of {layer}: mean rate") for alt in page.alts)
        assert any(alt.startswith(f"Membranes of some neurons of {layer}") for alt in page.alts)


def test_gradients_are_checked(page: Page) -> None:
    rows = page.table("Gradients of the steps of this network")[1:]
    assert [(row[0], row[1], row[2], row[4]) for row in rows] == [
        ("sl1, <b>out", "lif_step, Sigmoid, to_zero", "twin in JAX", "agrees"),
        ("sl2", "lif_step, recurrent (dense), Sigmoid, to_zero", "twin in JAX", "agrees"),
    ]
    assert all(float(row[3]) < 1e-10 for row in rows)
    assert "recurrent_weight" in rows[1][5]
    assert "2 of 2 steps checked and right" in page.words


def test_attributes_are_escaped() -> None:
    assert element("a", "<b>", href='"><script>') == '<a href="&quot;&gt;&lt;script&gt;">&lt;b&gt;</a>'


# --- what it counts ---------------------------------------------------------------------------------------------------


def test_silent_and_saturated_neurons_by_hand(quickly: Quickly) -> None:
    net = nn.Sequential(nn.Linear(6, 40), st.IF(), nn.Linear(40, 4), st.IF())
    first: Any = net[0]
    with torch.no_grad():
        first.bias[:24], first.bias[24:26], first.weight[26:] = -50.0, 50.0, 0.15
        first.bias[26:] = 0.0
        net.get_parameter("2.bias").fill_(-50.0)
    found = quickly(net, [draw(8, 5, 6)])
    one, two = found.advice
    assert "60 % silent, 5 % saturated" in one
    assert "24 of 40 neurons (0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19 and 4 more)" in one
    assert "2 of 40 neurons (24, 25) fired at every step" in one
    assert "never fired in 8 samples" in one
    assert "to_rate_(model, x, rate=0.1)" in one
    assert "None of the 4 neurons fired in 8 samples" in two
    assert "to_rate_" not in two  # said once


def test_channels_that_are_silent_are_named(quickly: Quickly) -> None:
    net = nn.Sequential(nn.Conv2d(1, 4, 3), st.IF())
    with torch.no_grad():
        net.get_parameter("0.weight").fill_(0.2)
        net.get_parameter("0.bias")[2] = -50.0
    (advice,) = quickly(net, [draw(8, 9, 1, 6, 6)]).advice
    assert "16 of 64 neurons, among them the whole of channel 2, never fired" in advice


def test_padding_does_not_count(quickly: Quickly) -> None:
    net = nn.Sequential(nn.Linear(6, 5), st.LIF(v0=0.2))
    samples = [(draw(T, 6, seed=T), T % 5) for T in (9, 4, 4, 2)]
    x, lengths, targets = pad_sequences(samples)
    found = quickly(net, [(x, lengths, targets)])
    with torch.no_grad():
        alone = [st.SpikingNet(net)(each.unsqueeze(0)) for each, _ in samples]
    fired = sum(int((spikes != 0).sum()) for spikes in alone)
    row = found.table("Means for one sample")[2]
    assert row[4] == f"{fired / (5 * (9 + 4 + 4 + 2)):.1%}"
    assert "4 samples of 1 batch, 2 to 9 steps each" in found.words


def test_accuracy_is_that_of_the_metric(page: Page, model: st.SpikingNet, batches: list[tuple[Tensor, Tensor]]) -> None:
    with torch.no_grad():
        copied = copy.deepcopy(model).eval()
        hits = [st.metrics.rate_accuracy(copied(x), y, reduction="none") for x, y in batches]
    share = f"{100 * float(torch.cat(hits).mean()):.3g} %"
    assert f'<dt>Accuracy</dt><dd class="big">{share}</dd>' in page.text


def test_few_bytes_at_a_time_give_the_same_page(monkeypatch: pytest.MonkeyPatch, quickly: Quickly) -> None:
    net = nn.Sequential(nn.Linear(6, 40), st.LIF(v0=0.2), nn.Linear(40, 4), st.LIF(v0=0.2))
    loader = [(draw(9, 5, 6, seed=k), torch.arange(9) % 4) for k in range(3)]
    whole = quickly(net, loader)
    monkeypatch.setattr("spikingtorch.report.measure._BYTES", 4 * 5 * 44 * 2)
    parts = quickly(net, loader)
    assert parts.tables == whole.tables
    assert parts.advice == whole.advice


# --- nothing of the user's changes ------------------------------------------------------------------------------------


class Noisy(PoissonEncoder):
    """Draws from all generators that there are."""

    def forward(self, x: Tensor) -> Tensor:
        assert not self.training
        noise = random.random() + float(np.random.rand()) + np.random.random() + float(torch.rand(()))
        return super().forward(x * (noise > 0.0))


def test_model_and_random_numbers_stay(quick: None, tmp_path: Path) -> None:
    torch.manual_seed(1)
    net = Net()
    model = st.SpikingNet(net, 4)
    net.conv.eval()
    model(draw(3, 4, 1, 6, 6))
    with torch.no_grad():
        net.sl1.get_parameter("tau").fill_(-1.0)  # an optimizer was too bold; the next call puts it back
    data = TensorDataset(draw(20, 1, 6, 6), torch.arange(20) % 4)
    loader = DataLoader(data, 5, shuffle=True, generator=torch.Generator().manual_seed(3))
    encoder = Noisy(6, generator=torch.Generator().manual_seed(4))

    def all_of_it() -> list[Any]:
        generators = [loader.generator, encoder.generator]
        numbers = [torch.get_rng_state(), *[each.get_state() for each in generators if each is not None]]
        modes = [module.training for module in (*model.modules(), *encoder.modules())]
        own = [parameter.detach().clone() for parameter in model.parameters()]
        array: Any = np.random.get_state()
        return [numbers, list(model.get_state().values()), own, modes, random.getstate(), array[1]]

    before = all_of_it()
    threads, rc = torch.get_num_threads(), dict(mpl.rcParams)
    with st.SpikeMonitor(model) as monitor:
        report(model, loader, tmp_path / "page.html", encoder=encoder, batches=2)
    for got, want in zip(all_of_it(), before, strict=True):
        if isinstance(got, list) and isinstance(got[0], Tensor):
            assert all(torch.equal(a, b) for a, b in zip(got, want, strict=True))
        else:
            np.testing.assert_equal(got, want)
    assert monitor.metrics() == {}
    assert torch.get_num_threads() == threads
    assert dict(mpl.rcParams) == rc
    assert all(parameter.grad is None for parameter in model.parameters())


def test_an_earlier_page_is_whole_until_the_new_one_is(
    quick: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "page.html"
    model = st.SpikingNet(nn.Sequential(nn.Linear(3, 4), st.LIF()))
    path.write_text("before")

    def full(self: Path, text: str, **_: Any) -> int:
        with self.open("w") as file:
            file.write(text[:100])
        raise OSError("no space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(Path, "write_text", full)
        with pytest.raises(OSError, match="no space"):
            report(model, [draw(2, 5, 3)], path)
    assert path.read_text() == "before"
    report(model, [draw(2, 5, 3)], path)
    assert path.read_text().startswith("<!DOCTYPE html>")
    assert [each.name for each in tmp_path.iterdir()] == ["page.html"]


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
    "no membranes": (lambda: nn.Sequential(nn.Linear(6, 4), st.McPitts(thr=0.1)), (6,), "It keeps no membrane"),
    "a readout alone": (lambda: nn.Sequential(nn.Linear(6, 4), st.LI()), (6,), "No layer gives out spikes"),
    "a tree, and a name with an underscore": (Two, (6,), "LIF, 8 neurons (8)"),
    "one layer, as the network": (lambda: st.IF(v0=0.2), (6,), "IF, 6 neurons (6)"),
    "one number a step": (lambda: st.IF(v0=0.2), (), "1 neuron (1)"),
    "numbers in place of spikes": (lambda: nn.Sequential(st.SigmaDelta(0.3)), (6,), "SigmaDelta, 6 neurons"),
    "an own step": (lambda: nn.Sequential(nn.Linear(6, 4), st.StepLayer(own_step, OwnState)), (6,), "StepLayer, 4"),
    "inputs below zero, none fires": (lambda: nn.Sequential(nn.Linear(6, 4), st.LIF(v0=9.0)), (6,), "100 % silent"),
}


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

    monkeypatch.setattr("spikingtorch.report.training_sections.inline", noted)
    quickly(nn.Sequential(nn.Linear(6, 4), st.LIF()), [draw(2, 3, 6)], history=history)
    wanted = {"1/rate": "layer 1 from 0.1 to 0.2", "1/interval": "layer 1 2 in epoch 2", "accuracy": "from 0.1 to 0.2"}
    wanted["loss"] = "loss 0.5 in epoch 2; 1 values that are NaN" if name == "gaps" else "loss from 1 to 0.5"
    for text in names:
        assert any(wanted[text] in each for each in texts), texts
    assert ("in epoch 10" in " ".join(texts)) == (name == "epochs of its own")


# --- gradients --------------------------------------------------------------------------------------------------------


def checked(net: nn.Module, *shape: int) -> list[Checked]:
    torch.manual_seed(0)
    return check_gradients(copy_of(st.SpikingNet(net)), draw(2, 8, *(shape or (6,))))


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
        r"x of shape \(2, 1, 7, 7\).*encoder=",
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
