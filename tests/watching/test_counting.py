"""What ``summary`` counts beside the Jacobian of each layer: an entry that is not zero is a weight that is added.

Additions are for spikes, and multiply-adds for graded inputs.
"""

import copy
import math
import warnings
from collections.abc import Callable
from functools import cache
from typing import Any

import pytest
import torch
import torch.nn.functional as nnf
from torch import Tensor, nn
from torch.nn.utils import parametrizations, prune

import spikingtorch as st
from spikingtorch import functional as F
from tests.drawn import uniform
from tests.folded_layer import Coded
from tests.watching.networks import UP_TO, Breaks

pytestmark = pytest.mark.usefixtures("one_thread")
N, T, INS, OUTS = 3, 4, 5, 6
SPIKES, GRADED = True, False


def binary(*shape: int) -> Tensor:
    return (uniform(*(shape or (N, T, INS))) < 0.4).float()


def are_spikes(inputs: Tensor) -> bool:
    """Say whether inputs are 0 and one constant, but for its sign."""
    return len({math.fabs(value) for value in inputs.flatten().tolist()} - {0.0}) <= 1


def added(layer: Any, shape: torch.Size, every: bool) -> Tensor:
    """Return to how many outputs a layer adds each input; weights that are zero are left out, or counted like all."""
    positive = copy.deepcopy(layer).double()
    for weight in positive.parameters():
        weight.data = torch.where((weight != 0) | every, 0.5 + torch.rand_like(weight), 0.0)
    run, zeros = lambda x: positive(x.unsqueeze(0))[0], torch.zeros(shape, dtype=torch.float64)
    slopes: Any = torch.autograd.functional.jacobian(run, zeros)
    return (slopes != 0).reshape(-1, shape.numel()).sum(0, dtype=torch.float64)


def by_jacobian(layer: nn.Module, inputs: Tensor) -> tuple[float, float, float]:
    """Return products of all inputs, additions, and multiply-adds of a layer, for inputs of all calls (calls, ...)."""
    dense = len(inputs) * added(layer, inputs.shape[1:], True).sum().item()
    effective = ((inputs != 0).flatten(1).double() @ added(layer, inputs.shape[1:], False)).sum().item()
    return (dense, effective, 0.0) if are_spikes(inputs) else (dense, 0.0, effective)


def numbers_of(row: Any) -> tuple[float, float, float]:
    return row.dense * N, row.acs * N, row.macs * N


def counted(model: Any, x: Tensor) -> dict[str, tuple[float, float, float]]:
    return {row.name: numbers_of(row) for row in st.summary(model, x).rows}


def without_some(layer: nn.Module) -> nn.Module:
    """Set some weights of a layer to zero, which are no work."""
    for k, weight in enumerate(layer.parameters()):
        weight.data[uniform(*weight.shape, seed=k) < 0.3] = -0.0
    return layer


# --- layers -----------------------------------------------------------------------------------------------------------

LAYERS: dict[str, tuple[nn.Module, tuple[int, ...]]] = {
    "linear": (nn.Linear(5, 4), (5,)),
    "linear over places": (nn.Linear(5, 4), (3, 5)),
    "convolution": (nn.Conv2d(2, 4, 3, stride=2, padding=2, dilation=2, groups=2), (2, 7, 6)),
    "in one dimension": (nn.Conv1d(2, 3, 3, padding="same"), (2, 7)),
    "transposed": (nn.ConvTranspose2d(2, 3, 3), (2, 5, 4)),
    "transposed, cut": (nn.ConvTranspose2d(4, 6, 3, 3, padding=2, output_padding=2, groups=2, dilation=2), (4, 5, 4)),
    "transposed, 1": (nn.ConvTranspose1d(2, 3, 4, stride=2, padding=1), (2, 6)),
    "transposed, 3": (nn.ConvTranspose3d(1, 2, 2, stride=2), (1, 3, 2, 2)),
    "mean": (nn.AvgPool2d(2), (2, 5, 5)),
    "mean, up": (nn.AvgPool2d(2, ceil_mode=True), (2, 5, 5)),
    "mean, up and padded": (nn.AvgPool2d((3, 2), stride=2, padding=(1, 0), ceil_mode=True), (2, 6, 5)),
    "mean, 1": (nn.AvgPool1d(3, stride=2, padding=1, ceil_mode=True, count_include_pad=False), (2, 6)),
    "mean, 3": (nn.AvgPool3d(2, stride=1), (1, 3, 4, 3)),
    "adaptive, to one": (nn.AdaptiveAvgPool2d(1), (2, 5, 5)),
    "adaptive": (nn.AdaptiveAvgPool2d((2, None)), (2, 5, 3)),
    "adaptive, 1": (nn.AdaptiveAvgPool1d(4), (2, 7)),
    "adaptive, 3": (nn.AdaptiveAvgPool3d((2, 3, 1)), (1, 3, 4, 3)),
}


@pytest.mark.parametrize("mode", ["fold", "step"])
@pytest.mark.parametrize("name", LAYERS)
def test_layers(name: str, mode: Any) -> None:
    layer, shape = LAYERS[name]
    x = binary(N, T, *shape)
    found = st.summary(st.SpikingNet(nn.Sequential(without_some(layer), st.LIF()), mode=mode), x)
    assert numbers_of(found) == by_jacobian(layer, x.flatten(0, 1))
    assert found.unseen == ()


@pytest.mark.parametrize("mode", ["fold", "step"])
@pytest.mark.parametrize(("per", "width"), [("synapse", 0.0), ("synapse", 1.5), ("axon", 0.0)])
def test_connections_with_delays(per: Any, width: float, mode: Any) -> None:
    """A spike counts for each step at which it arrives, but an ANN of this shape has no delays."""
    layer, x = st.DelayedLinear(INS, OUTS, 2, width, per=per), binary()
    without_some(layer).get_parameter("delay").data.clamp_(0.0, 2.0)
    found = st.summary(st.SpikingNet(nn.Sequential(layer), mode=mode), x)
    net = st.SpikingNet(layer.double())
    slopes: Any = torch.autograd.functional.jacobian(lambda x: net(x.unsqueeze(0)), torch.zeros_like(x[0]).double())
    reached = (slopes != 0).reshape(-1, T * INS).sum(0, dtype=torch.float64)
    assert numbers_of(found) == (N * T * INS * OUTS, (x.flatten(1).double() @ reached).sum().item(), 0.0)
    assert found.unseen == ()


def computed() -> nn.Module:
    return Coded(
        lambda net, x, init: nnf.linear(x, net.linear.weight.abs()) + nnf.linear(x, net.kept),
        **{"linear": nn.Linear(3, 4), "kept": nn.Buffer(torch.ones(4, 3))},
    )


def old_norm(layer: nn.Module) -> nn.Module:
    with warnings.catch_warnings(action="ignore"):
        return torch.nn.utils.weight_norm(layer)


WEIGHTS: dict[str, Any] = {
    "weight norm": lambda: parametrizations.weight_norm(nn.Linear(3, 4)),
    "weight norm by a hook": lambda: old_norm(nn.Linear(3, 4)),
    "spectral norm": lambda: parametrizations.spectral_norm(nn.Linear(3, 4)),
    "pruned": lambda: prune.l1_unstructured(nn.Linear(3, 4), "weight", 0.5),
    "computed, and a buffer": computed,
}


@pytest.mark.parametrize("name", WEIGHTS)
def test_weights_that_are_no_parameters(name: str) -> None:
    model = st.SpikingNet(nn.Sequential(nn.Linear(3, 3), st.IF(v0=1e-9), WEIGHTS[name](), st.IF()), warn_silent=False)
    found = st.summary(model.eval(), torch.ones(N, T, 3))
    rows = {row.name: row for row in found.rows}
    assert rows["2"].dense == T * 3 * 4 * (2 if name.startswith("computed") else 1)
    assert found.dense == T * 3 * 3 + rows["2"].dense
    assert found.parameters == sum(weight.numel() for weight in model.parameters())
    assert found.unseen == (("2.linear (Linear)",) if name.startswith("computed") else ())


def test_tied_weights_count_as_parameters_once_and_work_twice() -> None:
    one, two = nn.Linear(3, 3), nn.Linear(3, 3)
    two.weight = one.weight
    found = st.summary(st.SpikingNet(nn.Sequential(one, st.IF(), two, st.IF())), torch.ones(N, T, 3))
    assert [(row.parameters, row.dense) for row in found.rows[::2]] == [(12, T * 9), (3, T * 9)]


RECURRENT: dict[str, Callable[[], Any]] = {
    "a matrix": lambda: nn.Linear(OUTS, OUTS, bias=False),
    "a weight a neuron": lambda: torch.randn(OUTS),
}


@pytest.mark.parametrize("surrogate", [F.Sigmoid(), F.Graded()])
@pytest.mark.parametrize("name", RECURRENT)
def test_recurrent_weights(name: str, surrogate: Any) -> None:
    """Each spike reaches the neurons at the next step, so that those of the last step are no work."""
    torch.manual_seed(0)
    layer = st.LIF(recurrent=RECURRENT[name](), surrogate=surrogate, v0=0.2)
    weight = next(layer.parameters())
    weight.data[2:4] = 0.0
    model, x = st.SpikingNet(nn.Sequential(nn.Linear(INS, OUTS), layer)), 3 * uniform(N, T, INS)
    before, used = model(x)[:, :-1].flatten(0, 1), weight != 0
    effective = int((before != 0).sum(0) @ (used.sum(0) if used.ndim == 2 else used.long()))
    graded = surrogate == F.Graded()
    dense = before.numel() * (OUTS if used.ndim == 2 else 1)
    assert counted(model, x)["1"] == (dense, 0 if graded else effective, effective if graded else 0)
    assert effective > 0


# --- inputs -----------------------------------------------------------------------------------------------------------


def signed() -> Tensor:
    return binary() * torch.where(uniform(N, T, INS, seed=1) < 0.5, -1.0, 1.0)


def of_steps(*values: float) -> Tensor:
    return binary() * torch.tensor(values).view(1, -1, 1)


INPUTS: dict[str, tuple[Callable[[], Tensor], bool]] = {
    "binary": (binary, SPIKES),
    "the scale of dropout": (lambda: binary() / 0.7, SPIKES),
    "ternary": (signed, SPIKES),
    "ternary, of one size": (lambda: -0.3 * signed(), SPIKES),
    "below zero": (lambda: -0.1 * binary(), SPIKES),
    "one constant, everywhere": (lambda: torch.full((N, T, INS), 0.3), SPIKES),
    "nothing": (lambda: torch.zeros(N, T, INS), SPIKES),
    "pixels": (lambda: uniform(N, T, INS), GRADED),
    "numbers of spikes": (lambda: binary() + binary().flip(0), GRADED),
    "pixels, most of them black": (lambda: binary() * uniform(N, T, INS, seed=2), GRADED),
    "one size a sample": (lambda: binary() * torch.tensor([1.0, 2.0, 3.0]).view(-1, 1, 1), GRADED),
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


@cache
def linear(mode: str) -> st.SpikingNet:
    torch.manual_seed(0)
    return st.SpikingNet(nn.Sequential(without_some(nn.Linear(INS, OUTS)), st.LIF()), **MODES[mode])


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", INPUTS)
def test_inputs(name: str, mode: str) -> None:
    make, spikes = INPUTS[name]
    model, x = linear(mode), make()
    found, want = st.summary(model, x), by_jacobian(model.net.get_submodule("0"), x.flatten(0, 1))
    assert numbers_of(found) == numbers_of(found.rows[0]) == want
    assert (found.macs == 0.0) is spikes
    dense, acs, macs = want
    assert found.synops * N == acs + macs
    assert found.energy == pytest.approx(1e-3 * (0.9 * acs + 4.6 * macs) / N)
    assert found.energy_of_ann == pytest.approx(1e-3 * 4.6 * dense / N / T)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_precisions(dtype: torch.dtype) -> None:
    layer = nn.Linear(INS, OUTS)
    model = st.SpikingNet(nn.Sequential(layer, st.LIF()).to(dtype))
    for x in (binary() / 0.7, uniform(N, T, INS)):
        assert counted(model, x.to(dtype))["0"] == by_jacobian(layer, x.to(dtype).flatten(0, 1))


class Kept(nn.Module):
    """A layer that keeps what it gets, and is called once a step."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer
        self.inputs: list[Tensor] = []

    def forward(self, x: Tensor) -> Any:
        self.inputs.append(x.detach().clone())
        return self.layer(x)


def after_spikes(surrogate: Any) -> nn.Sequential:
    """Return linear layers on spikes, and on the membrane of a readout."""
    first, last = Kept(nn.Linear(INS, OUTS)), Kept(nn.Linear(OUTS, 2))
    net = nn.Sequential(nn.Linear(INS, INS), st.LIF(surrogate=surrogate), first, st.LI(), Kept(nn.Linear(OUTS, OUTS)))
    net.get_parameter("0.weight").data.mul_(12.0)
    return net.extend([st.LIF(v0=0.1), last, st.LI()])


def images() -> nn.Sequential:
    """Return convolutions on what comes in, and on what pooling gives out."""
    first, second = without_some(nn.Conv2d(2, 3, 3, padding=1)), without_some(nn.Conv2d(3, 2, 2))
    return nn.Sequential(Kept(first), st.LIF(v0=0.2), Kept(nn.AvgPool2d(2)), Kept(second), st.LIF())


PIXELS = uniform(N, T, 2, 5, 4)
# a network, its input, and which of its layers get spikes
NETWORKS: dict[str, tuple[Callable[[], nn.Sequential], Tensor, dict[str, bool]]] = {
    "binary": (lambda: after_spikes(F.Sigmoid()), uniform(N, T, INS) - 0.3, {"2": SPIKES, "4": GRADED, "6": SPIKES}),
    "ternary": (lambda: after_spikes(F.Ternary()), uniform(N, T, INS) - 0.3, {"2": SPIKES, "4": GRADED, "6": SPIKES}),
    "numbers of spikes": (lambda: after_spikes(F.MultiSpike()), uniform(N, T, INS) - 0.3, {"2": GRADED, "6": SPIKES}),
    "graded": (lambda: after_spikes(F.Graded()), uniform(N, T, INS) - 0.3, {"2": GRADED, "4": GRADED, "6": SPIKES}),
    "events as images": (images, (PIXELS < 0.4).float(), {"0": SPIKES, "2": SPIKES, "3": GRADED}),
    "pixels": (images, PIXELS, {"0": GRADED, "2": SPIKES, "3": GRADED}),
}


@pytest.mark.parametrize("mode", ["fold", "step"])
@pytest.mark.parametrize("name", NETWORKS)
def test_what_layers_give_out(name: str, mode: Any) -> None:
    torch.manual_seed(1)
    make, x, kinds = NETWORKS[name]
    net = make()
    out = st.SpikingNet(net, mode="step", warn_silent=False)(x)
    inputs = {key: torch.cat(each.inputs) for key, each in net.named_children() if isinstance(each, Kept)}
    found = st.summary(st.SpikingNet(net, mode=mode), x)
    rows = {row.name: row for row in found.rows}
    for key, given in inputs.items():
        layer = net.get_submodule(f"{key}.layer")
        row = rows["(average pooling)" if isinstance(layer, nn.AvgPool2d) else f"{key}.layer"]
        assert numbers_of(row) == by_jacobian(layer, given)
        assert row.acs + row.macs > 0
        assert (row.macs == 0.0) is kinds.get(key, GRADED)
    if isinstance(net[-1], st.LIF):
        assert rows["4"].rate == pytest.approx(out.mean().item())
    assert found.parameters == sum(weight.numel() for weight in net.parameters())


@pytest.mark.parametrize("mode", ["fold", "step"])
def test_each_place_of_a_layer_is_decided_by_itself(mode: Any) -> None:
    net = Coded(
        lambda net, x, init: net.l1(net.linear(x) + net.linear((x > 0.6).float()), init),
        **{"linear": nn.Linear(INS, OUTS), "l1": st.LIF()},
    )
    x = uniform(N, T, INS)
    graded, spikes = (by_jacobian(net.get_submodule("linear"), each.flatten(0, 1)) for each in (x, (x > 0.6).float()))
    assert graded[1] == spikes[2] == 0
    want = tuple(map(sum, zip(graded, spikes, strict=True)))
    assert counted(st.SpikingNet(net, mode=mode), x)["linear"] == want


@pytest.mark.parametrize("mode", ["fold", "step"])
@pytest.mark.parametrize("axes", [0, 1, 2])
def test_functions_that_skip_zeros(axes: int, mode: Any) -> None:
    run: Any = (F.event_linear, F.event_conv1d, F.event_conv2d)[axes]

    weight = nn.Parameter(torch.randn(4, 3, *[1] * axes))
    net = Coded(lambda net, x, init: net.l1(run(x, net.weight), init), weight=weight, l1=st.LIF())
    x = binary(N, T, 3, *[2] * axes)
    found = st.summary(st.SpikingNet(net, mode=mode), x)
    assert numbers_of(found.rows[0]) == (4 * x.numel(), 4 * int(x.sum()), 0)
    assert found.unseen == ()


# --- what is counted once, or not at all ------------------------------------------------------------------------------


def test_a_fold_that_fails_is_counted_once() -> None:
    x, net = binary(15, T, INS), nn.Sequential(nn.Linear(INS, OUTS), Breaks(40), st.LIF())
    model = st.SpikingNet(net, fold_rules=UP_TO)
    assert model.explain(x).mode == "fold"
    with pytest.warns(RuntimeWarning, match="runs step by step"):
        found = st.summary(model, x)
    assert found.dense == T * INS * OUTS
    assert found.acs * 15 == pytest.approx(OUTS * float(x.sum()))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_what_is_not_seen_is_named() -> None:
    net = nn.Sequential(torch.jit.script(nn.Linear(3, 4)), st.IF(), nn.Linear(4, 2), st.IF())
    found = st.summary(st.SpikingNet(net, mode="step"), torch.ones(N, T, 3))
    assert found.unseen == ("0 (Linear)",)
    assert str(found).endswith("No operation was seen of 0 (Linear).")


@pytest.mark.sampled
@pytest.mark.parametrize("whole", [False, True])
def test_a_compiled_network_is_counted(whole: bool) -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(3, 4), st.IF(v0=0.1), nn.Linear(4, 2), st.IF())
    x = torch.rand(N, T, 3)
    want = st.summary(st.SpikingNet(net), x)
    compiled: Any = lambda module: torch.compile(module, backend="eager")  # noqa: E731
    model = compiled(st.SpikingNet(net)) if whole else st.SpikingNet(compiled(net))
    model(x)
    found = st.summary(model, x)
    assert [row[2:] for row in found.rows] == [row[2:] for row in want.rows]
