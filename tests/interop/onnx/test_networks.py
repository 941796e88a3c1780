"""Networks and neurons as files: as in torch for any number of steps and samples, as streams, or refused in words."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnx as format_
import pytest
import torch
from torch import Tensor, nn

import spikingtorch as st
from spikingtorch import functional as F
from spikingtorch.functional.core.torch_private import pytree
from spikingtorch.interop import onnx
from spikingtorch.interop.onnx import certificate, rules
from spikingtorch.interop.onnx.network import named
from spikingtorch.like import snntorch
from spikingtorch.like.spikingjelly import IFNode, LinearRecurrentContainer
from spikingtorch.verification.case import Seen
from spikingtorch.verification.cases import CASES, RECURRENT, WRAPPED, Case
from tests.contract.networks import NETWORKS
from tests.contract.oracle import FEATURES
from tests.folded_layer import Coded
from tests.interop.onnx.running import equal, opened, ran


def scaled(*modules: nn.Module, factor: float = 3.0) -> nn.Sequential:
    """Return a network whose weights are large enough for spikes, and whose batch norms have statistics."""
    for module in nn.Sequential(*modules).modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            module.running_mean, module.running_var = (
                torch.randn(module.num_features) / 9,
                torch.rand(module.num_features) + 0.1,
            )
        elif isinstance(module, nn.Linear | nn.Conv2d):
            module.weight.data.mul_(factor)
    return nn.Sequential(*modules)


def residual(channels: int) -> nn.Module:
    parts = {"conv": nn.Conv2d(channels, channels, 3, padding=1, bias=False), "norm": nn.BatchNorm2d(channels)}
    return Coded(lambda net, x, init: x + net.neurons(net.norm(net.conv(x)), init), neurons=st.IF(), **parts)


class Attention(nn.Module):
    """A block of a Spikformer: queries, keys and values are spikes, and nothing is normalised."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.maps = nn.ModuleList(nn.Linear(width, width) for _ in range(3))
        self.neurons = nn.ModuleList(st.LIF(tau=2.0) for _ in range(3))
        self.out = st.LIF(tau=2.0, threshold=0.5)

    def forward(self, x: Tensor, init: Any) -> Tensor:  # (N, tokens, width)
        q, k, v = (neurons(to(x), init) for to, neurons in zip(self.maps, self.neurons, strict=True))
        return self.out(0.25 * (q @ k.transpose(-1, -2)) @ v, init) + x


def returning() -> nn.Module:
    parts = {"up": nn.Linear(6, 5), "neurons": st.LIF(threshold=0.3, returns=("spikes", "v"))}
    return Coded(lambda net, x, init: dict(zip("ab", net.neurons(net.up(x), init), strict=True)), **parts)


MADE: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "mlp": (lambda: scaled(nn.Linear(6, 9), st.LIF(tau=4.0, learnable=True), nn.Linear(9, 4), st.LI(tau=3.0)), (6,)),
    "images": (
        lambda: scaled(nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), st.IF(), residual(3), nn.AvgPool2d(2), nn.Flatten()),
        (1, 8, 8),
    ),
    "recurrent": (
        lambda: scaled(nn.Linear(6, 9), st.ALIF(recurrent=nn.Linear(9, 9, bias=False)), nn.Linear(9, 3)),
        (6,),
    ),
    "delays": (lambda: scaled(nn.Linear(6, 9), st.Delay(3), st.LIF(refractory=2), nn.Linear(9, 3)), (6,)),
    "learned delays": (lambda: scaled(st.DelayedLinear(6, 9, 4, 1.5), st.LIF(threshold=0.3), nn.Linear(9, 3)), (6,)),
    "learned delays of axons": (lambda: nn.Sequential(st.DelayedLinear(6, 9, 4, 0.0, per="axon")), (6,)),
    "a block at two places": (
        lambda: (lambda block: nn.Sequential(block, st.IF(), block, st.IF()))(
            nn.Sequential(nn.Linear(6, 6), nn.ReLU())
        ),
        (6,),
    ),
    "a container": (lambda: scaled(nn.Linear(6, 5), LinearRecurrentContainer(IFNode(), 5, 5), factor=9.0), (6,)),
    "not called": (lambda: Coded(lambda net, x, init: net.a(x, init), a=st.IF(), b=st.LIF()), (6,)),
    "a write on the input": (lambda: Coded(lambda net, x, init: net.a(x.mul_(0.5), init), a=st.IF()), (6,)),
    "samples are mixed": (
        lambda: Coded(lambda net, x, init: net.a(x, init) - net.b(x, init).mean(0), a=st.IF(), b=st.LI()),
        (6,),
    ),
    "twice": (lambda: Coded(lambda net, x, init: net.lif(net.lif(x, init), init), lif=st.LIF(threshold=0.3)), (6,)),
    "later": (lambda: nn.Sequential(st.LIF(recurrent=st.DelayedRecurrence(6, 4))), (6,)),
    "spikformer": (lambda: scaled(nn.Linear(6, 6), st.IF(), Attention(6), Attention(6)), (4, 6)),
    "starts elsewhere": (lambda: scaled(nn.Linear(6, 9), st.Izhikevich(), factor=60.0), (6,)),
    "recurrent with a bias": (lambda: scaled(nn.Linear(6, 5), snntorch.RLeaky(0.9, linear_features=5)), (6,)),
    "a layer": (lambda: st.LIF(threshold=0.4), (6,)),
    "several outputs": (returning, (6,)),
    "parametrized": (
        lambda: scaled(nn.utils.parametrizations.weight_norm(nn.Linear(6, 9)), st.CubaLIF(threshold=0.2)),
        (6,),
    ),
}
STEPS = {f"contract: {name}": (network.make, (FEATURES,)) for name, network in NETWORKS.items()}
_HOOK = "has a forward hook, which a file cannot hold"
REFUSED = {
    "contract: hooked": _HOOK,
    # a file does not know which step is the first one
    "contract: asks": "the file and the network have different outputs, because .* hand init to layers alone",
    "twice": "the file and the network have different outputs, because .* Give each call in a step a layer of its own",
}


def drawn(shape: tuple[int, ...], N: int, T: int, batch_first: bool = True) -> Tensor:
    x = torch.rand(N, T, *shape, generator=torch.Generator().manual_seed(T))
    return x if batch_first else x.transpose(0, 1).contiguous()


def outs_of(out: Any) -> dict[str, Any]:
    return {f"out.{name}": each for name, each in out.items()} if isinstance(out, dict) else {"out": out}


@pytest.mark.sampled
@pytest.mark.filterwarnings("ignore:.* runs step by step")
@pytest.mark.parametrize("batch_first", [True, False])
@pytest.mark.parametrize("name", [*MADE, *STEPS])
def test_a_file_computes_what_the_network_does(name: str, batch_first: bool, tmp_path: Path) -> None:
    torch.manual_seed(0)
    make, shape = (MADE | STEPS)[name]
    model = st.SpikingNet(make(), batch_first=batch_first, warn_silent=False).eval()
    path, x = tmp_path / "network.onnx", drawn(shape, 3, 12, batch_first)
    before = x.clone()
    if name in REFUSED:
        with pytest.raises(onnx.ONNXError, match=REFUSED[name]):
            onnx.export(model, x, path)
        return
    found: Any = onnx.export(model, x, path)
    assert found.equal, str(found)
    assert torch.equal(x, before)
    session, bare = opened(path), None
    for N, T in ((1, 1), (5, 1), (1, 7), (5, 40)):
        x = drawn(shape, N, T, batch_first)
        with torch.no_grad():
            want, after = outs_of(model(x.clone())), model.get_state()
        rest, steps = onnx.rest(model, N), int(batch_first)
        got, left = ran(session, rest, x=x)
        assert got.keys() == want.keys()  # and no spikes of layers
        first, middle = ran(session, rest, x=x.narrow(steps, 0, (T + 1) // 2))
        for key, each in want.items():
            np.testing.assert_allclose(got[key], each, rtol=1e-4, atol=1e-4)
            if T > 1:
                second, last = ran(session, middle, x=x.narrow(steps, (T + 1) // 2, T // 2))
                np.testing.assert_allclose(np.concatenate([first[key], second[key]], steps), each, rtol=1e-4, atol=1e-4)
                assert all(np.allclose(last[state], left[state], rtol=1e-4, atol=1e-4) for state in left)
        for key, value in left.items():
            np.testing.assert_allclose(value, after[key], rtol=1e-4, atol=1e-4)
        if bare is None:
            onnx.export(model, x, tmp_path / "bare.onnx", state=False)
            bare = opened(tmp_path / "bare.onnx")
        assert all(equal(ran(bare, {}, x=x)[0][key], got[key]).all() for key in want)


def test_the_file_says_what_it_is(tmp_path: Path) -> None:
    make, shape = MADE["starts elsewhere"]
    onnx.export(st.SpikingNet(make()).eval(), drawn(shape, 2, 5), tmp_path / "network.onnx")
    graph = format_.load(tmp_path / "network.onnx").graph
    axes = {
        each.name: [size.dim_param or size.dim_value for size in each.type.tensor_type.shape.dim]
        for each in (*graph.input, *graph.output)
    }
    assert axes["x"] == ["N", "T", 6]
    assert axes["out"] == ["N", "T", 9]
    assert axes["state.1.v"] == axes["next.1.v"] == ["N", 9]
    (entry,) = format_.load(tmp_path / "network.onnx").metadata_props
    said = json.loads(entry.value)
    assert (said["axes"], said["layers"], said["rest"]["1.v"]) == ("N, T", {"1": "Izhikevich"}, -65.0)
    onnx.export(st.Izhikevich(b=torch.tensor([0.2, 0.1])).eval(), torch.rand(2, 5, 2), tmp_path / "two.onnx")
    (entry,) = format_.load(tmp_path / "two.onnx").metadata_props
    assert json.loads(entry.value)["rest"]["w"] == [-13.0, -6.5]
    onnx.export(st.LIF(tau=8.0, dt=2.0).eval(), torch.rand(2, 5, 3), tmp_path / "layer.onnx")
    (entry,) = format_.load(tmp_path / "layer.onnx").metadata_props
    assert json.loads(entry.value)["dt"] == {"": 2.0}


@pytest.mark.parametrize("nan", [True, False])
def test_numbers_that_are_none(nan: bool, tmp_path: Path) -> None:
    """NaN goes on as in torch, and infinities and denormals are numbers like others; no step is a clean error."""
    odd = torch.tensor([0.0, -0.0, 1.0, 0.99999994, torch.inf, -torch.inf, torch.nan, 3e38, 1e-45, 0.25])
    state, xs = F.IFState(torch.zeros(64, 4)), odd[torch.randint(10, (12, 64, 4))]
    onnx.export_scan(F.if_step, state, torch.rand(5, 64, 4), tmp_path / "if.onnx", nan=nan)
    session = opened(tmp_path / "if.onnx")
    found, _ = ran(session, {"v": state.v}, x=xs)
    want = F.scan(F.if_step, state, xs)[1].numpy()
    assert equal(found["out"], want).all() == nan
    assert ((found["out"] == want) | np.isnan(want)).all()
    assert ran(session, {"v": np.zeros((0, 4), np.float32)}, x=np.zeros((3, 0, 4), np.float32))[0]["out"].shape == (
        3,
        0,
        4,
    )
    with pytest.raises(Exception, match="Scan"):
        ran(session, {"v": state.v}, x=np.zeros((0, 64, 4), np.float32))


def beside(function: Callable[[Tensor], Tensor]) -> Callable[[], st.SpikingNet]:
    """Return a network whose input goes through a function."""
    return lambda: st.SpikingNet(Coded(lambda net, x, init: net.lif(function(x), init), lif=st.LIF())).eval()


class Int16State(NamedTuple):
    v: Tensor


def int16_step(state: Int16State, x: Tensor) -> tuple[Int16State, Tensor]:
    v = state.v + (9 * x).to(torch.int16)
    return Int16State(torch.where(v >= 9, torch.zeros_like(v), v)), (v >= 9).to(x.dtype)


class Int16(st.StepLayer):
    def rest_state(self, x: Tensor) -> Int16State:
        return Int16State(torch.zeros_like(x, dtype=torch.int16))


NOT_WRITTEN: list[tuple[Any, type[Exception], str]] = [
    (lambda: st.SpikingNet(st.LIF()), onnx.ONNXError, r"is in training mode, .* call model\.eval\(\)"),
    (lambda: st.SpikingNet(st.LIF()).half().eval(), onnx.ONNXError, r"x is torch\.float16 on cpu, expected float32"),
    (
        lambda: st.SpikingNet(nn.Sequential(nn.LazyLinear(4), st.LIF())).eval(),
        onnx.ONNXError,
        r"'net\.0' gets the",
    ),
    (lambda: nn.Linear(6, 6), TypeError, r"model is a Linear, expected a SpikingNet or a layer"),
    (lambda: st.StochasticLIF().eval(), onnx.ONNXError, r"draws random numbers"),
    (beside(lambda x: torch.atan2(x, -x)), onnx.ONNXError, r"computes atan2, whose operators of ONNX give -pi for pi"),
    (beside(lambda x: 2 * x if len(x) < 50 else x), onnx.ONNXError, r"branches on the number of samples or steps"),
    (
        beside(lambda x: torch.cummax(x, -1)[0]),
        onnx.ONNXError,
        r"computes aten\.cummax, for which torch has no operator",
    ),
    (beside(lambda x: x.unsqueeze(1).unbind(1)[0].mul_(2.0)), onnx.ONNXError, r"fixes the number of samples or steps"),
    (
        lambda: st.SpikingNet(nn.Sequential(lif := st.LIF(), lif)).eval(),
        onnx.ONNXError,
        r"net\.1 has a state, and stands at two",
    ),
    (lambda: Int16(int16_step, Int16State).eval(), onnx.ONNXError, r"does not run .* A state of int32, int64"),
    (
        lambda: st.SpikingNet(nn.Sequential(nn.BatchNorm1d(6, track_running_stats=False), st.LIF())).eval(),
        onnx.ONNXError,
        r"'net\.0' \(BatchNorm1d\) has no running statistics, .* train it with track_running_stats=True",
    ),
]


@pytest.mark.filterwarnings("ignore:.* runs step by step", "ignore:scan. int16_step ran on the Python loop")
@pytest.mark.parametrize(("make", "kind", "said"), NOT_WRITTEN)
def test_what_a_file_cannot_hold_is_refused(make: Any, kind: type[Exception], said: str, tmp_path: Path) -> None:
    x = torch.rand(2, 5, 6, dtype=torch.float16 if "float16" in said else torch.float32)
    before = x.clone()
    with pytest.raises(kind, match=said):
        onnx.export(make(), x, tmp_path / "network.onnx")
    assert not any(tmp_path.iterdir())
    assert torch.equal(x, before)


def test_a_file_that_computes_something_else_is_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The certificate sees a comparison without the threshold itself, and weights that are one unit off."""
    whole = nn.Linear(6, 8)
    whole.weight.data, whole.bias.data = torch.ones(8, 6), torch.zeros(8)
    model, x = st.SpikingNet(nn.Sequential(whole, st.IF(threshold=6.0))).eval(), torch.ones(2, 9, 6)
    onnx.export(model, x, tmp_path / "right.onnx")
    monkeypatch.setitem(rules._PLAIN, "ge", "Greater")
    with pytest.raises(
        onnx.ONNXError, match=r"spikes differ first at 1, neuron \(0,\), sample 0, step 0: the network fires"
    ):
        onnx.export(model, x, tmp_path / "wrong.onnx")
    assert not (tmp_path / "wrong.onnx").exists()


@pytest.mark.parametrize("mode", ["auto", "step"])
@pytest.mark.parametrize("where", ["out", "spikes.lif"])
def test_one_spike_that_differs_is_seen_also_where_double_precision_spikes_otherwise(
    where: str, mode: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = certificate.session

    def wrong(content: bytes) -> Any:
        name, run = real(content)
        return name, lambda given: {key: flipped(each) if key == where else each for key, each in run(given).items()}

    def flipped(out: Any) -> Any:
        out.flat[-1] = 1 - out.flat[-1]
        return out

    x = torch.zeros(3, 8, 2)
    x[0, 3, 0] = 1.0
    net = Coded(lambda net, x, init: net.lif(x - 2.0**-30, init), lif=st.LIF(threshold=1.0))
    monkeypatch.setattr(certificate, "session", wrong)
    with pytest.raises(onnx.ONNXError, match="differ"):
        onnx.export(st.SpikingNet(net, mode=mode).eval(), x, tmp_path / "network.onnx", state=False)


TABLE = [
    pytest.param(case, rule, id=f"{case.name}-{getattr(rule, '__name__', type(rule).__name__)}")
    for case in (*CASES, *RECURRENT, *WRAPPED)
    for rule in (case.resets[:4] or (None,))
]


def drawn_for(case: Case, N: int, T: int, dtype: torch.dtype) -> tuple[Any, Any, dict[str, Any]]:
    """Return a state, inputs (T, N, 8) and parameters that all samples share."""
    found = [case.draw(T, seed)[0] for seed in range(N)]
    xs = pytree.tree_map(lambda *each: torch.stack(each, 1).to(dtype), *found)
    state = pytree.tree_map(lambda leaf: leaf.to(dtype) if leaf.is_floating_point() else leaf, case.initial(xs))
    return state, xs, {name: each.to(dtype) for name, each in case.draw(7)[1].items()}


def in_precision(case: Case, N: int, T: int, options: dict[str, Any], dtype: torch.dtype) -> tuple[Any, Any]:
    """Return each neuron's distances from its threshold, (T, N, 8), and the last state by name."""
    state, xs, params = drawn_for(case, N, T, dtype)
    seen = Seen()
    after, _ = F.scan(case.step, state, xs, params=params | options | case.options(seen), backend="loop")
    return np.stack([u.numpy() for u in seen.membranes]) if seen.membranes else None, named("state", after)


@pytest.mark.sampled
@pytest.mark.parametrize(("case", "rule"), TABLE)
def test_a_neuron_gives_the_same_in_a_file(case: Case, rule: Any, tmp_path: Path) -> None:
    options = case.options(F.Sigmoid(5.0), rule)
    state, xs, params = drawn_for(case, 5, 7, torch.float32)
    onnx.export_scan(case.step, state, xs, tmp_path / "neuron.onnx", params=params | options)
    session = opened(tmp_path / "neuron.onnx")
    exact = F.explain_scan(case.step, state, xs, params=params | options).exactness == "E"
    for N in (1, 5):
        for T in (1, 7, 100):
            state, xs, params = drawn_for(case, N, T, torch.float32)
            after, out = F.scan(case.step, state, xs, params=params | options)
            out = out[0] if isinstance(out, tuple) else out
            begin = {name.removeprefix("state."): leaf for name, leaf in named("state", state).items()}
            found, left = ran(session, begin, **named("x", xs))
            spikes = next(iter(found.values()))
            want = {name.removeprefix("state."): leaf.numpy() for name, leaf in named("state", after).items()}
            if exact and case.weights is None:
                assert equal(spikes, out.numpy()).all()
                assert all(equal(left[name], each).all() for name, each in want.items())
                continue
            wide, last = in_precision(case, N, T, options, torch.float64)
            same = np.isclose(spikes, out.numpy(), rtol=1e-4, atol=1e-4).all(0)
            if not same.all():  # rounding decides where a membrane is as near to the threshold as rounding moves it
                moved = np.abs(in_precision(case, N, T, options, torch.float32)[0] - wide).max(0)
                assert (np.abs(wide).min(0) <= 8.0 * moved)[~same].all()
            for name, each in want.items():
                exactly = equal(left[name], each)
                here, there, best = (
                    np.where(exactly, 0.0, value) for value in (each, left[name], last[f"state.{name}"])
                )
                noise = 1e-5 * (1.0 + np.abs(here)) + 32.0 * np.abs(here - best).max()
                assert (np.abs(there - here) <= noise)[same].all()
