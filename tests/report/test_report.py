"""The report: what the page says beside what is counted by hand, and that nothing of the user's changes."""

import copy
import random
import re
from itertools import pairwise
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import spikingtorch as st
from spikingtorch.report import report
from spikingtorch.spikeio import PoissonEncoder, pad_sequences
from tests.drawn import uniform
from tests.report.networks import HOSTILE, SECTIONS, Net, Page, Pictures, Quickly, trained

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def model() -> st.SpikingNet:
    torch.manual_seed(0)
    return st.SpikingNet(Net(), 4)


@pytest.fixture(scope="module")
def batches() -> list[tuple[Tensor, Tensor]]:
    return [((uniform(5, 7, 1, 6, 6, seed=k) < 0.4).float(), torch.arange(5) % 4) for k in range(2)]


@pytest.fixture(scope="module")
def page(model: st.SpikingNet, batches: list[tuple[Tensor, Tensor]], tmp_path_factory: pytest.TempPathFactory) -> Page:
    path = tmp_path_factory.mktemp("report") / "report.html"
    assert report(model, batches, path, history=trained(), title=HOSTILE) == path
    return Page(path)


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
    shown = [[cell.replace("\N{NO-BREAK SPACE}", " ") for cell in row if cell] for row in rows]
    assert shown == [want[0], *want[2 : len(found.rows) + 2], want[-6]]
    assert f"{found.energy / found.energy_of_ann:.2g} times the energy" in page.words
    assert found.in_memory in page.words
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


# --- what it counts ---------------------------------------------------------------------------------------------------


def test_silent_and_saturated_neurons_by_hand(quickly: Quickly) -> None:
    net = nn.Sequential(nn.Linear(6, 40), st.IF(), nn.Linear(40, 4), st.IF())
    first: Any = net[0]
    with torch.no_grad():
        first.bias[:24], first.bias[24:26], first.weight[26:] = -50.0, 50.0, 0.15
        first.bias[26:] = 0.0
        net.get_parameter("2.bias").fill_(-50.0)
    found = quickly(net, [uniform(8, 5, 6)])
    one, two = found.advice
    assert found.text.count('class="advice look"') == 2
    assert "60% silent, 5% saturated" in one
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
    (advice,) = quickly(net, [uniform(8, 9, 1, 6, 6)]).advice
    assert "16 of 64 neurons, among them the whole of channel 2, never fired" in advice


def test_padding_does_not_count(quickly: Quickly) -> None:
    net = nn.Sequential(nn.Linear(6, 5), st.LIF(v0=0.2))
    samples = [(uniform(T, 6, seed=T), T % 5) for T in (9, 4, 4, 2)]
    x, lengths, targets = pad_sequences(samples)
    found = quickly(net, [(x, lengths, targets)])
    with torch.no_grad():
        alone = [st.SpikingNet(net)(each.unsqueeze(0)) for each, _ in samples]
    fired = sum(int((spikes != 0).sum()) for spikes in alone)
    row = found.table("Means for one sample")[2]
    assert row[4] == f"{fired / (5 * (9 + 4 + 4 + 2)):.1%}"
    assert "4 samples of 1 batch, 2 to 9 steps each" in found.words


@pytest.mark.parametrize("lengths", [[1, 1, 1, 2], [1, 2, 2, 2], [2, 2, 2, 2]], ids=str)
def test_the_ann_is_that_of_one_pass_whatever_the_lengths(lengths: list[int], quickly: Quickly) -> None:
    net = nn.Sequential(nn.Linear(6, 5), st.LIF(v0=0.2), nn.Linear(5, 4), st.LIF(v0=0.2))
    found = quickly(net, [(uniform(4, 2, 6), torch.tensor(lengths), torch.arange(4))])
    assert f"Means for one sample and its {sum(lengths) / 4:g} steps, from" in found.words
    assert f"An ANN of this shape takes {6 * 5 + 5 * 4} products for one pass" in found.words


def test_graded_inputs_are_multiplied(quickly: Quickly) -> None:
    net = nn.Sequential(nn.Conv2d(1, 3, 3), st.IF(v0=0.05), nn.Flatten(), nn.Linear(48, 4), st.IF(v0=0.05))
    x = 0.1 + uniform(4, 5, 1, 6, 6)
    found = quickly(net, [x])
    with torch.no_grad():
        spikes = st.SpikingNet(net[:2])(x)
    # each of 16 outputs of a channel sees 9 pixels; each spike reaches 4 neurons
    macs, acs, dense = 5 * 3 * 16 * 9, float(spikes.sum()) / 4 * 4, 3 * 16 * 9 + 48 * 4
    rows = found.table("Means for one sample")
    assert rows[0][5:] == ["dense", "ACs", "MACs", "energy"]
    assert [row[6:8] for row in rows if row[0] in ("0", "3")] == [["0", f"{macs / 1e3:.3g}k"], [f"{acs:.3g}", "0"]]
    energy = 1e-3 * (0.9 * acs + 4.6 * macs)
    ratio = energy / (1e-3 * 4.6 * dense)
    assert f'<dt>Energy of a sample</dt><dd class="big">{energy:.3g}\N{NO-BREAK SPACE}nJ</dd>' in found.text
    assert f"{acs:.3g} ACs and {macs / 1e3:.3g}k MACs, {ratio:.2g} times that of the ANN" in found.words
    assert f"takes {ratio:.2g} times the energy of that" in found.words


@pytest.mark.parametrize("scale", [1.0, 2.0])
def test_spikes_are_those_of_all_batches(scale: float, quickly: Quickly) -> None:
    net = nn.Sequential(nn.Linear(6, 5), st.LIF(v0=0.2))
    x = (uniform(4, 5, 6) < 0.5).float()
    row = quickly(net, [x, scale * x]).table("Means for one sample")[1]
    number = f"{float(x.sum()) / 4 * 5:.3g}"
    assert row[6:8] == ([number, "0"] if scale == 1.0 else ["0", number])


def test_accuracy_is_that_of_the_metric(page: Page, model: st.SpikingNet, batches: list[tuple[Tensor, Tensor]]) -> None:
    with torch.no_grad():
        copied = copy.deepcopy(model).eval()
        hits = [st.metrics.rate_accuracy(copied(x), y, reduction="none") for x, y in batches]
    share = f"{100 * float(torch.cat(hits).mean()):.3g}%"
    assert f'<dt>Accuracy</dt><dd class="big">{share}</dd>' in page.text


def test_few_bytes_at_a_time_give_the_same_page(monkeypatch: pytest.MonkeyPatch, quickly: Quickly) -> None:
    net = nn.Sequential(nn.Linear(6, 40), st.LIF(v0=0.2), nn.Linear(40, 4), st.LIF(v0=0.2))
    loader = [(uniform(9, 5, 6, seed=k), torch.arange(9) % 4) for k in range(3)]
    whole = quickly(net, loader)
    monkeypatch.setattr("spikingtorch.report.measure._BYTES", 4 * 5 * 44 * 2)
    parts = quickly(net, loader)
    assert parts.tables == whole.tables
    assert parts.advice == whole.advice


def test_every_share_of_silent_neurons_is_that_of_all_samples(quickly: Quickly, pictures: Pictures) -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(6, 40), st.LIF(v0=0.4), nn.Linear(40, 30), st.LIF(v0=0.2))
    batches = [uniform(9, 5, 6, seed=1), 2 * uniform(31, 5, 6, seed=2), 3 * uniform(4, 8, 6, seed=3)]
    found = quickly(net, batches)
    with torch.no_grad():
        recorded = [st.record(st.SpikingNet(net), x) for x in batches]
    panels = {ax.get_title(loc="left").partition(",")[0]: ax for ax in pictures["overview"][0]().axes}
    legend = panels[""].get_legend()
    assert legend.get_title().get_text() == "firing rates, all 44 samples"
    for k, name in enumerate(("1", "3")):
        spikes = [each[name]["spikes"] for each in recorded]
        fired = torch.cat([each.flatten(0, 1) for each in spikes]) != 0
        shares = [float(each.all(0).double().mean()) for each in (~fired, fired)]
        silent, saturated = (f"{100 * each:.3g}%" for each in shares)
        assert shares[0] != float((spikes[0] == 0).all(1).all(0).double().mean())
        assert legend.get_texts()[k].get_text() == f"layer {name}: {silent} silent, {saturated} saturated"
        assert f"layer {name}: {silent} silent" in found.advice[k]
        assert f"{silent} silent, {saturated} saturated." in found.words
        steps = [torch.cat([each[:, t] for each in spikes if t < each.shape[1]]) for t in range(8)]
        want = [100 * float(each.double().mean()) for each in steps]
        np.testing.assert_allclose(panels["neurons that fire"].lines[k].get_ydata(), want)


def test_large_energies_have_one_prefix(quickly: Quickly) -> None:
    net = nn.Sequential(nn.Linear(1000, 500), st.IF())
    found = quickly(net, [torch.ones(1, 10, 1000)])
    assert [row[-1] for row in found.table("Means for one sample")] == [
        *("energy", "4.5\N{NO-BREAK SPACE}µJ", "0\N{NO-BREAK SPACE}J", "4.5\N{NO-BREAK SPACE}µJ")
    ]
    assert '<dd class="big">4.5\N{NO-BREAK SPACE}µJ</dd>' in found.text
    assert "500k products for one pass, 2.3 µJ at 4.6 pJ each" in found.words


# --- nothing of the user's changes ------------------------------------------------------------------------------------


class Noisy(PoissonEncoder):
    """Draws from all generators that there are."""

    def forward(self, x: Tensor) -> Tensor:
        assert not self.training
        noise = random.random() + float(np.random.rand()) + np.random.random() + float(torch.rand(()))
        return super().forward(x * (noise > 0.0))


def test_model_loader_encoder_and_settings_stay(quick: Pictures, tmp_path: Path) -> None:
    """What else a network keeps is in tests/watching/test_unchanged.py."""
    model, data = st.SpikingNet(Net(), 4), TensorDataset(uniform(20, 1, 6, 6), torch.arange(20) % 4)
    drawn = [torch.Generator().manual_seed(seed) for seed in (3, 4)]
    loader, encoder = DataLoader(data, 5, shuffle=True, generator=drawn[0]), Noisy(6, generator=drawn[1])
    model.net.get_submodule("conv").eval()
    model(uniform(3, 4, 1, 6, 6))

    def all_of_it() -> list[Any]:
        numbers = [torch.get_rng_state(), *[each.get_state() for each in drawn]]
        numbers += [*model.state_dict().values(), *model.get_state().values()]
        array: Any = np.random.get_state()
        modes = [module.training for module in (*model.modules(), *encoder.modules())]
        settings = [modes, torch.get_num_threads(), dict(mpl.rcParams)]
        return [*map(Tensor.tolist, numbers), random.getstate(), array[1], *settings]

    before = all_of_it()
    report(model, loader, tmp_path / "page.html", encoder=encoder, batches=2)
    for got, want in zip(all_of_it(), before, strict=True):
        np.testing.assert_equal(got, want)


def test_a_page_is_whole_until_a_new_one_is(quick: Pictures, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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
            report(model, [uniform(2, 5, 3)], path)
    assert path.read_text() == "before"
    report(model, [uniform(2, 5, 3)], path)
    assert path.read_text().startswith("<!DOCTYPE html>")
    assert [each.name for each in tmp_path.iterdir()] == ["page.html"]
