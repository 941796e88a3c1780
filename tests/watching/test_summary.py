"""The numbers of ``summary`` beside a count by hand: a Python loop over spikes and weights."""

from random import Random
from typing import Any

import pytest
import torch
import torch.nn.functional as nnf
from torch import Tensor, nn

import spikingtorch as st
from spikingtorch.quantize import prepare_qat, remove_qat
from spikingtorch.watching.table import ADDITION, MULTIPLICATION

pytestmark = pytest.mark.usefixtures("one_thread")


def synops_of_convolution(x: Tensor, weight: tuple[int, ...], options: dict[str, Any]) -> int:
    """Count, output by output, the inputs under the kernel that are not zero and no padding."""
    stride, padding, groups = (options[name] for name in ("stride", "padding", "groups"))
    outputs, channels, height, width = weight
    total = 0
    for image in x:
        rows = (image.shape[1] + 2 * padding - height) // stride + 1
        columns = (image.shape[2] + 2 * padding - width) // stride + 1
        for o in range(outputs):
            first = o // (outputs // groups) * channels
            for i in range(rows):
                for j in range(columns):
                    top, left = i * stride - padding, j * stride - padding
                    for c in range(first, first + channels):
                        for y in range(max(top, 0), min(top + height, image.shape[1])):
                            for z in range(max(left, 0), min(left + width, image.shape[2])):
                                total += bool(image[c, y, z])
    return total


class Net(nn.Module):
    """A convolution, pooling and a recurrent layer of random sizes, which keeps what goes into each layer."""

    def __init__(self, rng: Random) -> None:
        super().__init__()
        groups = rng.choice((1, 2))
        self.options: dict[str, Any] = {"stride": rng.choice((1, 2)), "padding": rng.choice((0, 1)), "groups": groups}
        self.conv = nn.Conv2d(2, 2 * groups, rng.choice((1, 2, 3)), **self.options)
        self.pool = nn.AvgPool2d(2, stride=1) if rng.random() < 0.5 else nn.Identity()
        hidden = rng.choice((3, 5))
        self.linear = nn.LazyLinear(hidden)
        recurrent = nn.Linear(hidden, hidden, bias=False) if rng.random() < 0.5 else None
        self.l1, self.l2 = st.LIF(tau=3.0), st.LIF(tau=3.0, recurrent=recurrent)
        self.inputs: dict[str, list[Tensor]] = {}

    def forward(self, x: Tensor, init: Any) -> Tensor:
        h = self.l1(4 * self.conv(x), init)
        pooled = self.pool(h)
        flat = pooled.flatten(1)
        for name, each in (("conv", x), ("pool", h), ("linear", flat)):
            self.inputs.setdefault(name, []).append(each.detach())
        out: Tensor = self.l2(4 * self.linear(flat), init)
        self.inputs.setdefault("l2", []).append(out.detach())
        return out


@pytest.mark.parametrize("seed", range(10))
def test_operations_counted_by_hand(seed: int) -> None:
    torch.manual_seed(seed)
    rng = Random(seed)
    net, N, T = Net(rng), 2, 3
    model = st.SpikingNet(net, mode="step")
    x = (torch.rand(N, T, 2, 6, 5) < 0.4).float()
    model(x)
    found = st.summary(model, x)
    inputs = {name: torch.cat(each) for name, each in net.inputs.items()}
    rows = {row.name: row for row in found.rows}
    weight: Any = tuple(net.conv.weight.shape)
    want = {"conv": synops_of_convolution(inputs["conv"], weight, net.options)}
    dense = {"conv": synops_of_convolution(torch.ones_like(inputs["conv"]), weight, net.options)}
    outputs = net.linear.out_features
    want["linear"], dense["linear"] = (
        int(inputs["linear"].count_nonzero()) * outputs,
        inputs["linear"].numel() * outputs,
    )
    spikes = torch.stack(net.inputs["l2"], 1)
    if net.l2.synapse is not None:
        want["l2"] = int(spikes[:, :-1].count_nonzero()) * outputs
        dense["l2"] = spikes[:, :-1].numel() * outputs
    for name, number in want.items():
        graded = (
            len({abs(value) for value in (spikes if name == "l2" else inputs[name]).flatten().tolist()} - {0.0}) > 1
        )
        assert (rows[name].acs * N, rows[name].macs * N) == ((0, number) if graded else (number, 0)), name
        assert rows[name].dense * N == dense[name], name
    if isinstance(net.pool, nn.AvgPool2d):
        of_pool = {"stride": 1, "padding": 0, "groups": inputs["pool"].shape[1]}
        kernel = (inputs["pool"].shape[1], 1, 2, 2)
        assert rows["(average pooling)"].acs * N == synops_of_convolution(inputs["pool"], kernel, of_pool)
    assert rows["l2"].rate == pytest.approx(float(spikes.mean()))
    assert found.parameters == sum(weight.numel() for weight in net.parameters())
    folded = st.summary(st.SpikingNet(_without_notes(net)), x)
    assert [(row.name, row.dense) for row in folded.rows] == [(row.name, row.dense) for row in found.rows]
    assert folded.synops == pytest.approx(found.synops, rel=0.1)


def _without_notes(net: Net) -> nn.Module:
    class Folding(Net):
        def forward(self, x: Tensor, init: Any) -> Tensor:
            flat = self.pool(self.l1(4 * self.conv(x), init)).flatten(1)
            out: Tensor = self.l2(4 * self.linear(flat), init)
            return out

    net.__class__ = Folding
    return net


def test_the_table() -> None:
    net = nn.Sequential(nn.Linear(20, 30), st.LIF(), nn.Linear(30, 10), nn.BatchNorm1d(10), st.LI())
    model, x = st.SpikingNet(net), torch.ones(4, 6, 20)
    found = st.summary(model, x)
    first = found.rows[0]
    assert (first.name, first.kind, first.shape, first.parameters) == ("0", "Linear", (30,), 630)
    assert first.acs == first.dense == 6 * 20 * 30
    assert [row.kind for row in found.rows] == ["Linear", "LIF", "Linear", "BatchNorm1d", "LI"]
    assert found.energy == pytest.approx(1e-3 * ADDITION * found.synops)
    assert found.energy_of_ann == pytest.approx(1e-3 * (ADDITION + MULTIPLICATION) * (20 * 30 + 30 * 10))
    lines = str(found).splitlines()
    assert len({len(line.rstrip()) for line in lines[1:2]}) == 1
    assert "Not counted" in lines[-1]
    assert "4.6 pJ" in lines[-3]
    assert st.summary(model, x, addition=2.0, mac=10.0).energy == pytest.approx(2e-3 * found.synops)
    assert model.explain(x).mode == "fold"


def test_functionals_and_one_dimension() -> None:
    class Functional(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.kernel, self.l1 = nn.Parameter(torch.ones(3, 2, 2)), st.IF()

        def forward(self, x: Tensor, init: Any) -> Tensor:
            h: Tensor = self.l1(nnf.avg_pool1d(torch.conv1d(x, weight=self.kernel), 2), init)
            return h

    x = torch.zeros(1, 2, 2, 5)
    x[0, 0, 0, 0] = x[0, 1, 1, 2] = 1.0
    found = st.summary(st.SpikingNet(Functional()), x)
    rows = {row.name: row for row in found.rows}
    assert rows["(network)"].acs == 3 * (1 + 2)
    assert rows["(network)"].dense == 2 * 4 * 2 * 2 * 3
    assert rows["(average pooling)"].dense == 2 * 3 * 4


def test_bits_and_refusal() -> None:
    torch.manual_seed(0)
    model, x = st.SpikingNet(nn.Sequential(nn.Linear(5, 4), st.LIF())), torch.rand(2, 6, 5)
    want = model(x)
    st.summary(model, x)
    assert torch.equal(model(x), want)
    with pytest.raises(TypeError, match="expected a SpikingNet"):
        st.summary(model.net, x)  # type: ignore[arg-type]


def test_rates_are_of_what_spikes() -> None:
    """A leaky integrator has levels, and no rate; a layer that never fires has one of zero."""
    net = nn.Sequential(nn.Linear(4, 3), st.LIF(v0=0.1), nn.Linear(3, 3), st.LIF(v0=1e9), st.LI())
    torch.manual_seed(0)
    rows = {row.name: row for row in st.summary(st.SpikingNet(net), torch.rand(2, 9, 4)).rows}
    assert rows["1"].rate is not None
    assert rows["1"].rate > 0.0
    assert rows["3"].rate == 0.0
    fires: Any = net[3]
    fires.threshold = 0.0
    rows = {row.name: row for row in st.summary(st.SpikingNet(net), torch.rand(2, 9, 4)).rows}
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
