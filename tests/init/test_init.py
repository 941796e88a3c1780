"""to_rate_: every spiking layer of some networks fires at the rate, and nothing but weights has changed."""

import copy
import random
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import prune

import spikingtorch as st
from spikingtorch import IF, LI, LIF, SpikingNet
from spikingtorch.init import to_rate_
from spikingtorch.layers.base import StatefulLayer
from spikingtorch.layers.time_norm import TimeNorm
from tests.folded_layer import Coded, Lambda
from tests.layers.test_activity import Deep

M = 40


def dense(**options: Any) -> nn.Linear:
    return nn.Linear(M, M, **options)


def coded(code: Any, linears: str, **neurons: nn.Module) -> nn.Module:
    """Return a network of linear layers and neurons by their names, and code that calls them."""
    return Coded(code, **{name: dense() for name in linears.split()}, **neurons)


def skip(net: Any, x: Tensor, init: Any) -> Any:
    """Skip past the first neurons, and into a ReLU over a sum."""
    first = net.l1(x)
    spikes = net.n2(first + net.l2(net.n1(first, init)), init=init)
    return net.n3(torch.relu(net.l3(spikes) + 0.1 * x), init)


def loop(net: Any, x: Tensor, init: Any) -> Any:
    """Let later neurons feed earlier ones."""
    x = net.l1(x)
    if not init:
        x = x + net.back(net.n2.s)
    return net.n2(net.l2(net.n1(x, init)), init)


def bio(net: Any, x: Tensor, init: Any) -> Any:
    """Give neurons two inputs, one of them by name."""
    excite = net.excite(x).abs()
    spikes = net.neurons(excite, xi=net.inhibit(x).abs(), init=init)
    excite.zero_()  # the memory is free to be written on
    return spikes


def gated(net: Any, x: Tensor, init: Any) -> Any:
    """Give neurons an input that does not scale: a factor enters in a gate as well."""
    return net.neurons(net.l1(x) * torch.sigmoid(4.0 * net.l2(x)), init)


def readout(net: Any, x: Tensor, init: Any) -> Any:
    """Give spikes to neurons and, beside them, to a readout that is silent."""
    spikes = net.n1(net.l1(x), init)
    return net.n2(net.l2(spikes), init), net.out(0.0 * net.l3(spikes), init)


def images() -> nn.Module:
    first = [nn.Conv2d(2, 6, 3), st.CoarseLIF(tau=4.0), nn.MaxPool2d(2)]
    return nn.Sequential(
        *first, nn.Conv2d(6, 4, 3, bias=False), st.LIF(), nn.Flatten(), nn.Linear(16, 30), st.LIF(), st.LI()
    )


# networks, and how the names of what is scaled begin
NETS: dict[str, tuple[Callable[[], nn.Module], tuple[str, ...]]] = {
    "deep": (lambda: Deep(width=100), ("linears",)),
    "sequential": (lambda: nn.Sequential(dense(), st.LIF(), dense(), nn.PReLU(), st.CoarseLIF(tau=3.0)), ("0.", "2.")),
    "convolutions": (images, ("0.", "3.", "6.")),
    "recurrent": (
        lambda: nn.Sequential(dense(), st.LIF(recurrent=dense(bias=False)), dense(), st.McPitts(0.7)),
        ("0.", "2."),
    ),
    "norms": (
        lambda: nn.Sequential(*(dense(), nn.BatchNorm1d(M), st.LIF(v0=2.0), dense(), nn.LayerNorm(M), st.IF())),
        ("1.", "4."),
    ),
    "norms over time": (
        lambda: nn.Sequential(
            *(dense(), st.TimeBatchNorm1d(M), st.LIF(), dense(), st.ThresholdDependentBatchNorm(M, 0.5), st.LIF())
        ),
        ("1.norm.", "4.norm."),
    ),
    "dropout": (
        lambda: nn.Sequential(*(dense(), nn.Dropout(0.3), st.LIF(), st.SequenceDropout(0.2), dense(), st.LIF())),
        ("0.", "4."),
    ),
    "filter": (lambda: nn.Sequential(dense(), st.LI(), nn.ReLU(inplace=True), st.LIF()), ("0.",)),
    "skip": (lambda: coded(skip, "l1 l2 l3", n1=st.LIF(), n2=st.LIF(), n3=st.LIF()), ("l",)),
    "gated": (lambda: coded(gated, "l1 l2", neurons=st.LIF()), ("l1", "l2")),
    "loop": (lambda: coded(loop, "l1 l2 back", n1=st.LIF(), n2=st.LIF()), ("l", "back")),
    "two inputs": (lambda: coded(bio, "excite inhibit", neurons=st.BioLIF(nudt=0.4, v0=0.2)), ("excite", "inhibit")),
    "readout": (lambda: coded(readout, "l1 l2 l3", n1=st.IF(), n2=st.LIF(), out=st.LI()), ("l1", "l2")),
}


def batch(name: str) -> Tensor:
    shape = (12, 15, 2, 10, 10) if name == "convolutions" else (16, 20, 100) if name == "deep" else (24, 15, M)
    return (torch.rand(shape, generator=torch.Generator().manual_seed(1)) < 0.3).float()


def network(name: str, **options: Any) -> st.SpikingNet:
    torch.manual_seed(0)
    return st.SpikingNet(NETS[name][0](), **options)


def _keeping(outputs: list[Tensor]) -> Any:
    """Return a hook that keeps outputs."""

    def keep(_: nn.Module, args: Any, out: Any) -> None:
        outputs.append(out.double())

    return keep


def rates_of(model: st.SpikingNet, x: Tensor, lengths: Tensor | None = None) -> dict[str, float]:
    """Return the rates of what spikes, counted by hooks, without dropout."""
    model = copy.deepcopy(model)
    steps: dict[str, list[Tensor]] = {}
    for path, layer in model.net.named_modules():
        if isinstance(layer, nn.Dropout | st.SequenceDropout):
            layer.eval()
        elif isinstance(layer, StatefulLayer) and not isinstance(layer, st.LI | TimeNorm):
            steps[path] = []
            layer.register_forward_hook(_keeping(steps[path]))
    if any(isinstance(module, TimeNorm) for module in model.modules()):
        model.mode = "fold"
    model.warn_silent = False
    with torch.no_grad(), warnings.catch_warnings(action="ignore"):  # that it steps, because of the hooks
        model(x, lengths=lengths)
    found = {}
    for path, outs in steps.items():
        spikes = torch.cat([out.unflatten(0, (len(x), -1)) for out in outs], 1)
        ends = [x.shape[1]] * x.shape[0] if lengths is None else lengths.tolist()
        found[path] = float(torch.cat([spikes[n, :end] for n, end in enumerate(ends)]).mean())
    return found


def numbers(tensors: Any) -> dict[str, Any]:
    return {name: None if each is None else (id(each), each.tolist()) for name, each in tensors}


pytestmark = pytest.mark.usefixtures("one_thread")


def everything_else(model: SpikingNet) -> dict[str, Any]:
    """Return all of a model and around it that could change, but for the numbers in its parameters."""
    _, keys, *rest = np.random.get_state(legacy=True)
    return {
        "buffers": numbers(model.named_buffers()),
        "state": {name: each.tolist() for name, each in model.get_state().items()},
        "parameters": {
            name: (id(each), each.data_ptr(), each.requires_grad) for name, each in model.named_parameters()
        },
        "gradients": numbers((name, each.grad) for name, each in model.named_parameters()),
        "modules": [
            (module.training, len(module._forward_hooks), len(module._forward_pre_hooks)) for module in model.modules()
        ],
        "options": [model.mode, model.Nout, model.warn_silent, model.training, model.time_chunk],
        "random": [torch.get_rng_state().tolist(), random.getstate(), np.asarray(keys).tolist(), rest],
    }


@pytest.mark.sampled
@pytest.mark.parametrize("training", [True, False], ids=["training", "evaluation"])
@pytest.mark.parametrize("name", NETS)
def test_every_layer_fires_at_the_rate_and_weights_alone_have_changed(name: str, training: bool) -> None:
    model, x = network(name).train(training), batch(name)
    if "time" not in name or not training:
        model.mode = "step"
    model(x)  # leaves states and, in training, running statistics
    for place, parameter in enumerate(model.parameters()):
        parameter.requires_grad_(place % 3 != 2)
        parameter.grad = torch.ones_like(parameter) if place % 2 else None
    before, was = copy.deepcopy(dict(model.net.named_parameters())), everything_else(model)
    x_before = x.clone()
    reached = to_rate_(model, x, 0.1)
    assert everything_else(model) == was
    assert torch.equal(x, x_before)
    assert rates_of(model, x) == pytest.approx(reached, rel=1e-4)
    assert list(reached.values()) == pytest.approx([0.1] * len(reached), rel=0.05 if name != "loop" else 0.2)
    after = dict(model.net.named_parameters())
    for path, value in after.items():
        kind = path.rpartition(".")[2]
        if not (path.startswith(NETS[name][1]) and kind in ("weight", "bias")):
            assert torch.equal(value, before[path]), path
        else:  # one factor for both
            weight = path.removesuffix(kind) + "weight"
            factor = (after[weight] / before[weight]).nanmedian()
            assert factor != 1.0
            assert torch.allclose(value, factor * before[path], rtol=1e-5), path
    if name not in ("gated", "loop"):  # where another run may come closer
        again = {path: each.clone() for path, each in model.state_dict().items()}
        assert to_rate_(model, x, 0.1) == reached
        assert all(torch.equal(each, again[path]) for path, each in model.state_dict().items())


def test_an_input_that_does_not_scale_takes_several_attempts() -> None:
    assert to_rate_(network("gated"), batch("gated"), 0.15)["neurons"] == pytest.approx(0.15, rel=0.02)


@pytest.mark.parametrize("rate", [0.01, 0.25])
@pytest.mark.parametrize("options", [{}, {"mode": "fold"}, {"time_chunk": 4}, {"mode": "fold", "time_chunk": 4}])
def test_any_way_of_running_and_any_rate(options: Any, rate: float) -> None:
    model, x = network("recurrent", **options), batch("recurrent")
    reached = to_rate_(model, x, rate)
    assert list(reached.values()) == pytest.approx([rate] * 2, rel=0.1)
    assert rates_of(model, x) == pytest.approx(reached, rel=1e-3)


def test_double_precision_and_channels_last() -> None:
    model, x = network("convolutions").double(), batch("convolutions").double()
    reached = to_rate_(model, x)
    other = network("convolutions").double().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    assert to_rate_(other, x) == pytest.approx(reached, rel=1e-3)
    assert other.net[0].weight.is_contiguous(memory_format=torch.channels_last)
    assert {parameter.dtype for parameter in other.parameters()} == {torch.float64}
    assert rates_of(other, x) == pytest.approx(reached, rel=1e-3)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_half_precision_and_autocast(dtype: torch.dtype) -> None:
    model, x = network("sequential").to(dtype), batch("sequential").to(dtype)
    reached = to_rate_(model, x)
    assert rates_of(model, x) == pytest.approx(reached, rel=0.01)
    with pytest.raises(ValueError, match=r"layer 1 \(LIF\) reaches a rate of 0.3.* Larger weights"):
        to_rate_(model, x, 0.9)
    model = network("sequential")
    with torch.autocast("cpu", torch.bfloat16):
        reached = to_rate_(model, x.float())
        assert list(reached.values()) == pytest.approx([0.1] * 2, rel=0.1)
        assert rates_of(model, x.float()) == pytest.approx(reached, rel=0.01)


@pytest.mark.parametrize("name", ["recurrent", "norms", "norms over time"])
def test_padding_does_not_count(name: str) -> None:
    model, x = network(name), batch(name)
    lengths = 1 + torch.arange(len(x)) % 8
    for n, end in enumerate(lengths):
        x[n, end:] = torch.nan
    reached = to_rate_(model, x, lengths=lengths)
    assert list(reached.values()) == pytest.approx([0.1] * 2, rel=0.1)
    assert rates_of(model, x, lengths) == pytest.approx(reached, rel=1e-3)


@pytest.mark.parametrize("context", [torch.no_grad, torch.inference_mode])
def test_where_no_gradients_are_recorded(context: Any) -> None:
    model, other, x = network("sequential"), network("sequential"), batch("sequential")
    with context():
        assert to_rate_(model, x.clone()) == to_rate_(other, x)
    model(x)[0].sum().backward()


def test_the_graph_of_a_stream_and_noise() -> None:
    """A state with a graph, and what is drawn at random: the same numbers in each run."""

    torch.manual_seed(0)
    noisy = Lambda(lambda _, x: x + 0.1 * torch.randn_like(x))
    model = SpikingNet(nn.Sequential(dense(), noisy, LIF()), carry_graph=True)
    x, was = batch("sequential"), torch.get_rng_state()
    model(x)
    torch.set_rng_state(was)
    reached = to_rate_(model, x)
    assert torch.equal(torch.get_rng_state(), was)
    assert rates_of(model, x) == pytest.approx(reached, rel=0.02)
    assert reached["2"] == pytest.approx(0.1, rel=0.05)
    assert model.get_state()["2.v"].requires_grad


def tied() -> nn.Module:
    shared = dense()
    return nn.Sequential(shared, LIF(), shared, LIF())


def pruned() -> nn.Module:
    linear = dense()
    prune.l1_unstructured(linear, "weight", 0.5)
    return nn.Sequential(linear, LIF())


def positive() -> nn.Module:
    linear = nn.Linear(M, 1)
    with torch.no_grad():
        linear.weight.abs_()
    return nn.Sequential(linear, IF())


def twice(net: Any, x: Tensor, init: Any) -> Tensor:
    x = net.l1(x)
    return net.n1(x, init) + net.n1(x, False)


ERRORS: dict[str, tuple[Any, dict[str, Any], tuple[str, ...]]] = {
    "no SpikingNet": (lambda: nn.Linear(2, 2), {}, ("model is a Linear", "SpikingNet(net)")),
    "rate 0": (lambda: network("recurrent"), {"rate": 0.0}, ("rate=0.0", "above 0 and below 1")),
    "rate 1": (lambda: network("recurrent"), {"rate": 1}, ("rate=1,", "above 0 and below 1")),
    "rate NaN": (lambda: network("recurrent"), {"rate": float("nan")}, ("rate=nan",)),
    "rate text": (lambda: network("recurrent"), {"rate": "0.1"}, ("rate='0.1'",)),
    "NaN": (lambda: network("recurrent"), {"x": batch("recurrent") / 0.0}, ("SpikingNet: x holds NaN",)),
    "a list": (lambda: network("recurrent"), {"x": [1.0]}, ("to_rate_: x is a list",)),
    "no samples": (lambda: network("recurrent"), {"x": torch.zeros(0, 3, M)}, ("(0, 3, 40)", "no samples")),
    "lengths": (lambda: network("recurrent"), {"lengths": [3]}, ("SpikingNet: lengths has shape (1,)",)),
    "no spikes": (lambda: SpikingNet(nn.Sequential(dense(), LI())), {}, ("no layer of the network returns spikes",)),
    "no weight": (lambda: SpikingNet(nn.Sequential(LIF(), dense(), LIF())), {}, ("no weight feeds layer 0 (LIF)",)),
    "none between": (lambda: SpikingNet(nn.Sequential(dense(), LIF(), LIF())), {}, ("no weight feeds layer 2 (LIF)",)),
    "one layer": (lambda: SpikingNet(LIF()), {}, ("no weight feeds layer net (LIF)",)),
    "shared": (lambda: SpikingNet(tied()), {}, ("feed layer 3 (LIF)", "of 0 (Linear)", "also feed 1 (LIF)")),
    "computed": (lambda: SpikingNet(pruned()), {}, ("0 (Linear), which feeds layer 1 (LIF)", "prune")),
    "twice": (
        lambda: SpikingNet(coded(twice, "l1", n1=LIF()), mode="step"),
        {},
        ("n1 (LIF)", "(24, 30)", "once a step"),
    ),
    "zero": (
        lambda: SpikingNet(nn.Sequential(dense(), IF(), nn.Linear(M, M, bias=False), nn.Threshold(9e9, 0.0), IF())),
        {},
        ("layer 4 (IF) reaches a rate of 0 by scaling 2.weight, expected 0.1", "zero at every step", "Nothing was"),
    ),
    "too high": (
        lambda: SpikingNet(nn.Sequential(dense(), LIF())),
        {"rate": 0.9},
        ("layer 1 (LIF) reaches a rate of 0.", "0.weight, 0.bias, expected 0.9 within 20 %", "Larger weights"),
    ),
    "too low": (
        lambda: SpikingNet(nn.Sequential(dense(), IF(v0=-1.0), dense(), IF())),
        {},
        ("layer 1 (IF) reaches", "Smaller weights"),
    ),
    "jumps": (lambda: SpikingNet(positive()), {"x": torch.ones(1, 3, M)}, ("rate of 0 by", "More samples or steps")),
    "swallowed": (
        lambda: SpikingNet(nn.Sequential(dense(), IF(), dense(), nn.LayerNorm(M, 0.0, False), LIF(v0=9.0))),
        {},
        ("layer 4 (LIF)", "affine=True"),
    ),
}


@pytest.mark.filterwarnings("ignore:IF. v0=-1 is not above")
@pytest.mark.parametrize("name", ERRORS)
def test_errors_say_what_helps_and_change_nothing(name: str) -> None:
    make, given, pieces = ERRORS[name]
    torch.manual_seed(0)
    model = make()
    weights = [each.clone() for each in model.parameters()]
    was = everything_else(model) if isinstance(model, SpikingNet) else None
    with pytest.raises(TypeError if name in ("no SpikingNet", "a list") else ValueError) as caught:
        to_rate_(model, **{"x": batch("recurrent"), **given})
    assert all(piece in str(caught.value) for piece in pieces), caught.value
    assert all(torch.equal(one, other) for one, other in zip(weights, model.parameters(), strict=True))
    assert was is None or everything_else(model) == was
