"""Additions for spikes and multiply-adds for graded inputs, beside products of what is not zero."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

import spikingtorch as st
from spikingtorch import functional as F
from tests.watching.networks import UP_TO, Breaks

pytestmark = pytest.mark.usefixtures("one_thread")
N, T, INS, OUTS = 3, 4, 5, 6
Numbers = NDArray[Any]


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def are_spikes(inputs: Numbers) -> bool:
    """Say whether inputs are 0 and one constant, but for its sign."""
    found = set()
    for value in inputs.ravel().tolist():
        if value != 0.0:
            found.add(math.fabs(value))
    return len(found) <= 1


def of_linear(inputs: Numbers, weight: Numbers) -> tuple[int, int, int]:
    """Return products of all inputs, additions, and multiply-adds of a linear layer, for inputs (calls, features)."""
    dense, effective = len(inputs) * weight.size, int(((inputs != 0) @ (weight != 0).astype(int).T).sum())
    return (dense, effective, 0) if are_spikes(inputs) else (dense, 0, effective)


def of_convolution(inputs: Numbers, weight: Numbers, padding: int = 0) -> tuple[int, int, int]:
    """Return the same of a convolution of images (calls, C, H, W), with stride 1: sums over ones, and over nonzeros."""

    def added(x: Numbers, w: Numbers) -> int:
        image, kernels = (torch.from_numpy(each).double() for each in (x, w))
        return int(nn.functional.conv2d(image, kernels, padding=padding).sum())

    dense, effective = added(np.ones_like(inputs), np.ones_like(weight)), added(inputs != 0, weight != 0)
    return (dense, effective, 0) if are_spikes(inputs) else (dense, 0, effective)


def numbers_of(row: Any) -> tuple[float, float, float]:
    return row.dense * N, row.acs * N, row.macs * N


def binary(*shape: int) -> Tensor:
    return (draw(*(shape or (N, T, INS))) < 0.4).float()


def signed() -> Tensor:
    return binary() * torch.where(draw(N, T, INS, seed=1) < 0.5, -1.0, 1.0)


def of_samples(*values: float) -> Tensor:
    return binary() * torch.tensor(values).view(-1, 1, 1)


def of_steps(*values: float) -> Tensor:
    return binary() * torch.tensor(values).view(1, -1, 1)


SPIKES, GRADED = True, False
INPUTS: dict[str, tuple[Callable[[], Tensor], bool]] = {
    "binary": (binary, SPIKES),
    "the scale of dropout": (lambda: binary() / 0.7, SPIKES),
    "ternary": (signed, SPIKES),
    "ternary, of one size": (lambda: -0.3 * signed(), SPIKES),
    "below zero": (lambda: -0.1 * binary(), SPIKES),
    "one constant, everywhere": (lambda: torch.full((N, T, INS), 0.3), SPIKES),
    "nothing": (lambda: torch.zeros(N, T, INS), SPIKES),
    "pixels": (lambda: draw(N, T, INS), GRADED),
    "numbers of spikes": (lambda: binary() + binary().flip(0), GRADED),
    "pixels, most of them black": (lambda: binary() * draw(N, T, INS, seed=2), GRADED),
    "one size a sample": (lambda: of_samples(1.0, 2.0, 3.0), GRADED),
    # at each step by itself, these would be spikes
    "one size a step": (lambda: of_steps(0.5, 0.25, 0.125, 1.0), GRADED),
    "another size at the last step": (lambda: of_steps(1.0, 1.0, 1.0, 0.5), GRADED),
}
MODES: dict[str, dict[str, Any]] = {
    "fold": {"mode": "fold"},
    "step": {"mode": "step"},
    "chunks": {"mode": "fold", "time_chunk": 1},
    "events": {"event_driven": "on"},
}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", INPUTS)
def test_inputs(name: str, mode: str) -> None:
    torch.manual_seed(0)
    make, spikes = INPUTS[name]
    x, layer = make(), nn.Linear(INS, OUTS)
    with torch.no_grad():
        layer.weight[:, 1:3] = 0.0
        layer.weight[4] = -0.0
    found = st.summary(st.SpikingNet(nn.Sequential(layer, st.LIF()), **MODES[mode]), x)
    want = of_linear(x.flatten(0, 1).numpy(), layer.weight.detach().numpy())
    assert numbers_of(found.rows[0]) == want
    assert (found.macs == 0.0) is spikes or name == "nothing"
    assert (found.dense * N, found.acs * N, found.macs * N) == want
    dense, acs, macs = want
    assert found.synops * N == acs + macs
    assert found.energy == pytest.approx(1e-3 * (0.9 * acs + 4.6 * macs) / N)
    assert found.energy_of_ann == pytest.approx(1e-3 * 4.6 * dense / N / T)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_precisions(dtype: torch.dtype) -> None:
    layer = nn.Linear(INS, OUTS)
    net = nn.Sequential(layer, st.LIF()).to(dtype)
    for x in (binary() / 0.7, draw(N, T, INS)):
        x = x.to(dtype)
        want = of_linear(x.flatten(0, 1).double().numpy(), layer.weight.detach().double().numpy())
        assert numbers_of(st.summary(st.SpikingNet(net), x).rows[0]) == want


class Kept(nn.Module):
    """A layer that keeps what it gets, and is called once a step."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer
        self.inputs: list[Tensor] = []

    def forward(self, x: Tensor) -> Tensor:
        self.inputs.append(x.detach().clone())
        out: Tensor = self.layer(x)
        return out


SPIKE_FUNCTIONS: dict[str, tuple[Any, bool]] = {
    "binary": (F.Sigmoid(), SPIKES),
    "ternary": (F.Ternary(), SPIKES),
    "numbers of spikes": (F.MultiSpike(), GRADED),
    "graded": (F.Graded(), GRADED),
}


@pytest.mark.parametrize("mode", ["fold", "step"])
@pytest.mark.parametrize("name", SPIKE_FUNCTIONS)
def test_what_layers_give_out(name: str, mode: Any) -> None:
    """Linear layers on spikes and on the membrane of a readout."""
    torch.manual_seed(0)
    surrogate, spikes = SPIKE_FUNCTIONS[name]
    kept = [Kept(nn.Linear(INS, OUTS)), Kept(nn.Linear(OUTS, OUTS)), Kept(nn.Linear(OUTS, 2))]
    layers = [nn.Linear(INS, INS), st.LIF(surrogate=surrogate), kept[0], st.LI(), kept[1], st.LIF(v0=0.1), kept[2]]
    net = nn.Sequential(*layers, st.LI())
    with torch.no_grad():
        net.get_parameter("0.weight").mul_(12.0)
    st.SpikingNet(net, mode="step", warn_silent=False)(x := draw(N, T, INS) - 0.3)
    found = st.summary(st.SpikingNet(net, mode=mode), x)
    rows = {row.name: row for row in found.rows}
    for place, each in zip((2, 4, 6), kept, strict=True):
        weight: Any = each.layer.weight
        want = of_linear(torch.cat(each.inputs).numpy(), weight.detach().numpy())
        assert numbers_of(rows[f"{place}.layer"]) == want
        assert sum(want[1:]) > 0
    assert (rows["2.layer"].macs == 0.0) is spikes
    assert rows["4.layer"].acs == 0.0
    assert rows["6.layer"].macs == 0.0


@pytest.mark.parametrize("mode", ["fold", "step"])
@pytest.mark.parametrize("pixels", [False, True])
def test_images_and_what_pooling_gives_out(pixels: bool, mode: Any) -> None:
    torch.manual_seed(1)
    first, second = Kept(nn.Conv2d(2, 3, 3, padding=1)), Kept(nn.Conv2d(3, 2, 2))
    net = nn.Sequential(first, st.LIF(v0=0.2), nn.AvgPool2d(2), second, st.LIF())
    with torch.no_grad():
        net.get_parameter("0.layer.weight")[1, 0] = 0.0
        net.get_parameter("3.layer.weight")[:, 2, 0] = 0.0
    x = draw(N, T, 2, 5, 4) if pixels else binary(N, T, 2, 5, 4)
    st.SpikingNet(net, mode="step", warn_silent=False)(x)
    inputs = [torch.cat(each.inputs).numpy() for each in (first, second)]
    found = {row.name: row for row in st.summary(st.SpikingNet(net, mode=mode), x).rows}
    weights = [net.get_parameter(f"{place}.layer.weight").detach().numpy() for place in (0, 3)]
    assert numbers_of(found["0.layer"]) == of_convolution(inputs[0], weights[0], padding=1)
    assert numbers_of(found["3.layer"]) == of_convolution(inputs[1], weights[1])
    assert (found["0.layer"].acs == 0.0) is pixels
    assert found["3.layer"].acs == 0.0 < found["3.layer"].macs
    assert found["(average pooling)"].macs == 0.0 < found["(average pooling)"].acs


def test_transposed_and_grouped_weights_that_are_zero() -> None:
    torch.manual_seed(0)
    for layer in (nn.Conv2d(4, 6, 2, groups=2), nn.ConvTranspose2d(4, 6, 2, groups=2)):
        with torch.no_grad():
            layer.weight[draw(*layer.weight.shape) < 0.5] = 0.0
        x, effective = binary(N, T, 4, 3, 3), 0
        ones = (layer.weight != 0).double()
        for image in x.flatten(0, 1).double():
            for c, y, z in image.nonzero().tolist():
                alone = torch.zeros(1, 4, 3, 3, dtype=torch.float64)
                alone[0, c, y, z] = 1.0
                run: Any = nn.functional.conv2d if isinstance(layer, nn.Conv2d) else nn.functional.conv_transpose2d
                effective += int(run(alone, ones, groups=2).sum())
        found = st.summary(st.SpikingNet(nn.Sequential(layer, st.LIF())), x)
        assert found.acs * N == effective


RECURRENT: dict[str, Callable[[], Any]] = {
    "a matrix": lambda: nn.Linear(OUTS, OUTS, bias=False),
    "a weight a neuron": lambda: torch.randn(OUTS),
}


@pytest.mark.parametrize("surrogate", [F.Sigmoid(), F.Graded()])
@pytest.mark.parametrize("name", RECURRENT)
def test_recurrent_weights(name: str, surrogate: Any) -> None:
    torch.manual_seed(0)
    layer = st.LIF(recurrent=RECURRENT[name](), surrogate=surrogate, v0=0.2)
    weight = next(layer.parameters())
    with torch.no_grad():
        weight[2:4] = 0.0
    model = st.SpikingNet(nn.Sequential(nn.Linear(INS, OUTS), layer))
    x = 3 * draw(N, T, INS)
    before = model(x)[:, :-1].flatten(0, 1).detach().numpy()
    matrix = weight.detach().numpy() if weight.ndim == 2 else np.diag(weight.detach().numpy())
    dense, *numbers = of_linear(before, matrix)
    if weight.ndim == 1:
        dense = before.size
    assert numbers_of(st.summary(model, x).rows[1]) == (dense, *numbers)
    assert numbers[surrogate == F.Graded()] > 0


@pytest.mark.parametrize("mode", ["fold", "step"])
def test_each_place_of_a_layer_is_decided_by_itself(mode: Any) -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear, self.l1 = nn.Linear(INS, OUTS), st.LIF()

        def forward(self, x: Tensor, init: Any) -> Tensor:
            spikes = (x > 0.6).float()
            out: Tensor = self.l1(self.linear(x) + self.linear(spikes), init)
            return out

    net, x = Twice(), draw(N, T, INS)
    flat, weight = x.flatten(0, 1), net.linear.weight.detach().numpy()
    dense, none, macs = of_linear(flat.numpy(), weight)
    _, acs, zero = of_linear((flat > 0.6).float().numpy(), weight)
    assert none == zero == 0
    assert numbers_of(st.summary(st.SpikingNet(net, mode=mode), x).rows[0]) == (2 * dense, acs, macs)


@pytest.mark.parametrize("mode", ["fold", "step"])
@pytest.mark.parametrize("axes", [0, 1, 2])
def test_functions_that_skip_zeros(axes: int, mode: Any) -> None:
    run: Any = (F.event_linear, F.event_conv1d, F.event_conv2d)[axes]

    class Events(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight, self.l1 = nn.Parameter(torch.randn(4, 3, *[1] * axes)), st.LIF()

        def forward(self, x: Tensor, init: Any) -> Tensor:
            out: Tensor = self.l1(run(x, self.weight), init)
            return out

    x = binary(N, T, 3, *[2] * axes)
    found = st.summary(st.SpikingNet(Events(), mode=mode), x)
    assert numbers_of(found.rows[0]) == (4 * x.numel(), 4 * int(x.sum()), 0)
    assert found.unseen == ()


def test_a_fold_that_fails_is_counted_once() -> None:
    x, net = binary(15, T, INS), nn.Sequential(nn.Linear(INS, OUTS), Breaks(40), st.LIF())
    model = st.SpikingNet(net, fold_rules=UP_TO)
    assert model.explain(x).mode == "fold"
    with pytest.warns(RuntimeWarning, match="runs step by step"):
        found = st.summary(model, x)
    assert found.dense == T * INS * OUTS
    assert found.acs * 15 == pytest.approx(OUTS * float(x.sum()))


def test_the_table_shows_both() -> None:
    torch.manual_seed(0)
    model = st.SpikingNet(nn.Sequential(nn.Linear(20, 30), st.LIF(v0=0.05), nn.Linear(30, 10), st.LI()))
    found = st.summary(model, draw(N, T, 20))
    head, _, first, *_, last, _, weights, note, ann, _ = str(found).splitlines()
    assert weights == "Weights: 3,760 bytes; rounded ones take their bits."
    assert head.split()[5:] == ["dense", "ACs", "MACs", "energy"]
    assert first.split()[4:] == ["2.4k", "0", "2.4k", f"{4.6 * 2.4:.3g}", "nJ"]
    assert last.split()[2] == "3.6k"
    assert "ACs) at 0.9 pJ" in note
    assert "MACs) at 4.6 pJ" in note
    assert f"the spiking network takes {found.energy / found.energy_of_ann:.2g} times as much" in ann
    dear = st.summary(model, draw(N, T, 20), addition=2.0, mac=10.0)
    assert dear.energy == pytest.approx(1e-3 * (2.0 * found.acs + 10.0 * found.macs))


def test_refusals() -> None:
    model = st.SpikingNet(nn.Sequential(nn.Linear(INS, OUTS), st.LIF()))
    with pytest.raises(ValueError, match=r"summary: x has shape \(0, 4, 5\), which holds no samples"):
        st.summary(model, torch.zeros(0, T, INS))
    with pytest.raises(ValueError, match=r"summary: x .*\(N, T, \.\.\.\)"):
        st.summary(model, torch.zeros(()))
    with pytest.raises(TypeError, match=r"summary: x is a ndarray, .*torch.from_numpy"):
        st.summary(model, np.zeros((N, T, INS)))  # type: ignore[arg-type]
