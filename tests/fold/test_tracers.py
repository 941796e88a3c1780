"""``torch.jit``, TensorBoard and the older ONNX export, which note the operations of a network; compiled submodules."""

import copy
import importlib
import io
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import spikingtorch as st
from spikingtorch import functional as F
from spikingtorch.fold.policy import Mode


class Net(nn.Module):
    def __init__(self, learnable: Any = ()) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.first = nn.Conv2d(1, 4, 3, 2), st.LIF(v0=0.3, learnable=learnable)
        self.linear, self.second = nn.Linear(4 * 9, 5), st.LIF(v0=0.2, learnable=learnable)

    def forward(self, x: Tensor, init: Any) -> Tensor:
        spikes = self.first(self.conv(x), init).flatten(1)
        return self.second(self.linear(spikes), init)  # type: ignore[no-any-return]


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """Tracers warn of numbers that become constants, and of their own age."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def draw(seed: int = 0) -> Tensor:
    return (torch.rand(3, 6, 1, 8, 8, generator=torch.Generator().manual_seed(seed)) < 0.3).float()


@pytest.mark.sampled
@pytest.mark.parametrize(
    ("mode", "before", "learnable"),
    [
        ("auto", False, "tau"),
        ("auto", True, ()),
        ("step", False, ()),
        ("step", True, "tau"),
        ("fold", False, ()),
        ("fold", True, "tau"),
    ],
)
def test_jit_trace(mode: Mode, before: bool, learnable: Any) -> None:
    model = st.SpikingNet(Net(learnable), 5, mode=mode)
    if before:  # with kernels at hand
        model(draw())
        model(draw())
    traced: Any = torch.jit.trace(model, (draw(),))
    for seed in range(3):
        want = model(draw(seed))
        assert want.sum() > 0
        assert torch.equal(traced(draw(seed)), want)
    weights = list(model.parameters())
    got, want = (torch.autograd.grad(each(draw()).sum(), weights) for each in (traced, model))
    torch.testing.assert_close(got, want)


def test_jit_trace_of_a_scan() -> None:
    def run(xs: Tensor) -> Tensor:
        return F.scan(F.lif_step, F.LIFState(torch.zeros(4)), xs, params={"decay": 0.9})[1]

    run(torch.rand(9, 4))
    traced: Any = torch.jit.trace(run, (torch.rand(9, 4),))
    xs = torch.rand(9, 4)
    assert torch.equal(traced(xs), run(xs))


def test_tensorboard_graph(tmp_path: Path) -> None:
    tensorboard: Any = importlib.import_module("torch.utils.tensorboard")
    with tensorboard.SummaryWriter(tmp_path) as writer:
        writer.add_graph(st.SpikingNet(Net(), 5), draw())
    assert any(file.stat().st_size > 1000 for file in tmp_path.iterdir())


def test_older_onnx_export() -> None:
    sizes = []
    for mode in ("step", "auto"):
        file = io.BytesIO()
        torch.onnx.export(st.SpikingNet(Net(), 5, mode=mode), (draw(),), file, dynamo=False)  # type: ignore[arg-type]
        sizes.append(file.tell())
    assert sizes[0] == sizes[1] > 1000


class Outer(Net):
    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor, init: Any) -> Tensor:
        spikes = self.first(self.conv(x), init).flatten(1)
        return self.second(self.inner(self.linear(spikes)), init)  # type: ignore[no-any-return]


@pytest.mark.parametrize("compiled", ["scripted", "traced", "frozen"])
def test_scripted_and_traced_submodules(compiled: str) -> None:
    torch.manual_seed(0)
    plain = nn.Sequential(nn.Linear(5, 5), nn.Tanh()).eval()
    inner: Any = torch.jit.trace(plain, (torch.rand(2, 5),)) if compiled == "traced" else torch.jit.script(plain)
    inner = torch.jit.freeze(inner) if compiled == "frozen" else inner
    want, model = st.SpikingNet(Outer(plain), 5, mode="step"), st.SpikingNet(Outer(inner), 5)
    for seed in range(3):
        assert torch.equal(model(draw(seed)), want(draw(seed)))
    assert model.explain().mode == "step"
    model.eval()
    assert torch.equal(model(draw(9)), want(draw(9)))
    assert want(draw(9)).sum() > 0


class Gate(nn.Module):
    """Takes init, and does something else with it."""

    def forward(self, x: Tensor, init: bool) -> Tensor:
        return x if init else 2.0 * x


COMPILED: dict[str, Any] = {
    "scripted": torch.jit.script,
    "scripted, copied": lambda layer: copy.deepcopy(torch.jit.script(layer)),
    "traced": lambda layer: torch.jit.trace(layer, (torch.rand(2, 6),)),
    "traced, copied": lambda layer: copy.deepcopy(torch.jit.trace(layer, (torch.rand(2, 6),))),
    "frozen": lambda layer: torch.jit.freeze(torch.jit.script(layer.eval())),
}


@pytest.mark.parametrize("made", COMPILED.values(), ids=COMPILED)
def test_compiled_layers_in_a_sequential_step(made: Any) -> None:
    torch.manual_seed(0)
    plain = nn.Linear(6, 5)

    def network(layer: nn.Module) -> st.SpikingNet:
        return st.SpikingNet(nn.Sequential(nn.Sequential(layer, nn.Tanh()), st.LIF(v0=0.2)))

    x, model, want = torch.rand(2, 7, 6, requires_grad=True), network(made(plain)), network(plain)
    found, expected = model(x), want(x)
    assert expected.sum() > 0
    assert torch.equal(found, expected)
    cotangents = torch.rand(expected.shape)
    slopes = [torch.autograd.grad((out * cotangents).sum(), x)[0] for out in (found, expected)]
    torch.testing.assert_close(*slopes)
    assert "a scripted module, whose code is not in sight" in model.explain().reason


@pytest.mark.parametrize("copied", [False, True])
def test_a_scripted_module_gets_the_init_that_forward_hands_it(copied: bool) -> None:
    gate: Any = copy.deepcopy(torch.jit.script(Gate())) if copied else torch.jit.script(Gate())

    class Net(nn.Module):
        def __init__(self, gate: nn.Module) -> None:
            super().__init__()
            self.gate, self.neurons = gate, st.LIF(v0=0.8)

        def forward(self, x: Tensor, init: bool) -> Tensor:
            return self.neurons(self.gate(x, init), init)  # type: ignore[no-any-return]

    x = torch.rand(2, 7, 6)
    want = st.SpikingNet(Net(Gate()), mode="step")(x)
    assert not torch.equal(want, st.SpikingNet(st.LIF(v0=0.8))(x))
    assert torch.equal(st.SpikingNet(Net(gate))(x), want)
    assert torch.equal(st.SpikingNet(gate)(x)[:, 1:], 2.0 * x[:, 1:])  # a whole network
    with pytest.raises(TypeError, match=r"module 0\.1 of the network is scripted or traced and its forward takes init"):
        st.SpikingNet(nn.Sequential(nn.Sequential(nn.Tanh(), gate), st.LIF()))


def test_a_traced_network_says_what_it_has_to_take() -> None:
    with pytest.raises(TypeError, match=r"forward\(input\) must take two arguments"):
        st.SpikingNet(COMPILED["traced"](nn.Linear(6, 5)))
