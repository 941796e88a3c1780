"""The table of ``summary``: its rows, rates, bytes and text, and what it refuses; ``test_counting`` has its counts."""

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as nnf
from torch import nn

import spikingtorch as st
from spikingtorch.quantize import prepare_qat, remove_qat
from tests.drawn import uniform
from tests.folded_layer import Coded

pytestmark = pytest.mark.usefixtures("one_thread")


def test_the_table() -> None:
    net = nn.Sequential(nn.Linear(20, 30), st.LIF(), nn.Linear(30, 10), nn.BatchNorm1d(10), st.LI())
    model, x = st.SpikingNet(net), torch.ones(4, 6, 20)
    found = st.summary(model, x)
    first = found.rows[0]
    assert (first.name, first.kind, first.shape, first.parameters) == ("0", "Linear", (30,), 630)
    assert [row.kind for row in found.rows] == ["Linear", "LIF", "Linear", "BatchNorm1d", "LI"]
    lines = str(found).splitlines()
    assert len({len(line.rstrip()) for line in lines[1:2]}) == 1
    assert "Not counted" in lines[-1]
    assert model.explain(x).mode == "fold"


def test_the_text_shows_additions_and_multiply_adds() -> None:
    torch.manual_seed(0)
    model = st.SpikingNet(nn.Sequential(nn.Linear(20, 30), st.LIF(v0=0.05), nn.Linear(30, 10), st.LI()))
    found = st.summary(model, uniform(3, 4, 20))
    head, _, first, *_, last, _, weights, note, ann, _ = str(found).splitlines()
    assert weights == "Weights: 3,760 bytes; rounded ones take their bits."
    assert head.split()[5:] == ["dense", "ACs", "MACs", "energy"]
    assert first.split()[4:] == ["2.4k", "0", "2.4k", f"{4.6 * 2.4:.3g}", "nJ"]
    assert last.split()[2] == "3.6k"
    assert "ACs) at 0.9 pJ" in note
    assert "MACs) at 4.6 pJ" in note
    assert f"the spiking network takes {found.energy / found.energy_of_ann:.2g} times as much" in ann
    dear = st.summary(model, uniform(3, 4, 20), addition=2.0, mac=10.0)
    assert dear.energy == pytest.approx(1e-3 * (2.0 * found.acs + 10.0 * found.macs))


def test_functionals_and_one_dimension() -> None:
    net = Coded(
        lambda net, x, init: net.l1(nnf.avg_pool1d(torch.conv1d(x, weight=net.kernel), 2), init),
        **{"kernel": nn.Parameter(torch.ones(3, 2, 2)), "l1": st.IF()},
    )
    x = torch.zeros(1, 2, 2, 5)
    x[0, 0, 0, 0] = x[0, 1, 1, 2] = 1.0
    rows = {row.name: row for row in st.summary(st.SpikingNet(net), x).rows}
    assert rows["(network)"].acs == 3 * (1 + 2)
    assert rows["(network)"].dense == 2 * 4 * 2 * 2 * 3
    assert rows["(average pooling)"].dense == 2 * 3 * 4


def test_rates_are_of_what_spikes() -> None:
    """A leaky integrator has levels, and no rate; a layer that never fires has one of zero."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(4, 3), st.LIF(v0=0.1), nn.Linear(3, 3), st.LIF(v0=1e9), st.LI())
    model, x = st.SpikingNet(net), 5 * torch.rand(2, 9, 4)
    rows = {row.name: row for row in st.summary(model, x).rows}
    assert rows["1"].rate == pytest.approx(st.record(model, x)["1"]["spikes"].mean().item())
    assert rows["1"].rate
    assert rows["3"].rate == 0.0
    fires: Any = net[3]
    fires.threshold = 0.0
    rows = {row.name: row for row in st.summary(model, x).rows}
    assert rows["4"].rate is None


def test_bytes_of_rounded_weights_are_their_bits() -> None:
    """Weights take their bits; biases and learned parameters of neurons those of float, and scales none."""
    recurrent = nn.Linear(5, 5, bias=False)
    shared = nn.Linear(5, 5)
    net = nn.Sequential(nn.Linear(7, 5), st.LIF(recurrent=recurrent), shared, st.LIF(learnable="tau"), shared, st.LIF())
    model, x = st.SpikingNet(net), torch.rand(2, 6, 7)
    in_float = st.summary(model, x)
    assert in_float.weight_bytes == 4 * in_float.parameters == 4 * (7 * 5 + 5 + 25 + 25 + 5 + 1)
    assert f"Weights: {in_float.weight_bytes:,} bytes;" in str(in_float)
    assert st.summary(model.double(), x.double()).weight_bytes == 8 * in_float.parameters
    choices: list[Any] = [{}, {"per_channel": True}, {"scale": "learned"}, {"per_channel": True, "scale": "learned"}]
    for options in choices:
        rounded = prepare_qat(model.float(), weight_bits=3, **options)
        found = st.summary(rounded, x)
        bits = {"0": 3 * 35 + 7, "1": 3 * 25 + 5, "2": 3 * 25 + 5}  # up to whole bytes
        assert {row.name: row.weight_bytes for row in found.rows if row.weight_bytes} == {
            "0": bits["0"] // 8 + 4 * 5,
            "1": bits["1"] // 8,
            "2": bits["2"] // 8 + 4 * 5,
            "3": 4,
        }, options
        assert [(row.name, row.dense) for row in found.rows] == [(row.name, row.dense) for row in in_float.rows]
        model = remove_qat(rounded)
    assert st.summary(model, x).weight_bytes == in_float.weight_bytes


def test_refusals() -> None:
    model = st.SpikingNet(nn.Sequential(nn.Linear(5, 6), st.LIF()))
    wrong: list[tuple[Any, Any, type[Exception], str]] = [
        (model, torch.zeros(0, 4, 5), ValueError, r"summary: x has shape \(0, 4, 5\), which holds no samples"),
        (model, torch.zeros(()), ValueError, r"summary: x .*\(N, T, \.\.\.\)"),
        (model, np.zeros((3, 4, 5)), TypeError, r"summary: x is a ndarray, .*torch.from_numpy"),
        (model.net, torch.zeros(3, 4, 5), TypeError, "expected a SpikingNet"),
    ]
    for given, x, kind, message in wrong:
        with pytest.raises(kind, match=message):
            st.summary(given, x)
