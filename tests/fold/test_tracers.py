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
from spikingtorch.testing import assert_close
from tests.folded_layer import Coded

X = (torch.rand(3, 4, 6, generator=torch.Generator().manual_seed(0)) < 0.5).float()


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """Tracers warn of numbers that become constants, and of their own age."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def network(mode: Any = "auto", learnable: Any = (), inner: Any = None) -> Any:
    torch.manual_seed(0)
    parts = nn.Linear(6, 5), st.LIF(v0=0.3, learnable=learnable), nn.Linear(5, 5), st.LIF(v0=0.1, learnable=learnable)
    return st.SpikingNet(
        nn.Sequential(*parts, *[nn.Sequential(inner, st.LIF(v0=0.1))] * (inner is not None)), mode=mode
    )


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
def test_jit_trace(mode: Any, before: bool, learnable: Any) -> None:
    model = network(mode, learnable)
    for _ in range(2 * before):  # with kernels at hand
        model(X)
    traced: Any = torch.jit.trace(model, (X,))
    for x in (X, X.flip(1)):
        want = model(x)
        assert want.sum() > 0
        assert torch.equal(traced(x), want)
    weights = list(model.parameters())
    got, want = (torch.autograd.grad(each(X).sum(), weights) for each in (traced, model))
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
        writer.add_graph(network(), X)
    assert any(file.stat().st_size > 1000 for file in tmp_path.iterdir())


@pytest.mark.parametrize(("mode", "dynamo"), [("step", False), ("auto", False), ("auto", True)])
def test_torchs_export_to_onnx_names_ours(mode: Any, dynamo: bool) -> None:
    with pytest.raises(Exception, match=r"spikingtorch\.interop\.onnx\.export\(model, x, path\)"):
        torch.onnx.export(network(mode).eval(), (X,), io.BytesIO(), dynamo=dynamo)


COMPILED: dict[str, Any] = {
    "scripted": torch.jit.script,
    "scripted, copied": lambda layer: copy.deepcopy(torch.jit.script(layer)),
    "traced": lambda layer: torch.jit.trace(layer, (torch.rand(2, 5),)),
    "traced, copied": lambda layer: copy.deepcopy(torch.jit.trace(layer, (torch.rand(2, 5),))),
    "frozen": lambda layer: torch.jit.freeze(torch.jit.script(layer.eval())),
}


@pytest.mark.parametrize("made", COMPILED.values(), ids=COMPILED)
def test_compiled_layers_in_a_sequential_step(made: Any) -> None:
    torch.manual_seed(1)
    plain = nn.Sequential(nn.Linear(5, 5), nn.Tanh())
    x = X.clone().requires_grad_()
    model, want = network(inner=made(plain)), network("step", inner=plain)
    found, expected = model(x), want(x)
    assert expected.sum() > 0
    assert torch.equal(found, expected)
    cotangents = torch.rand(expected.shape)
    got, wanted = (torch.autograd.grad((out * cotangents).sum(), x)[0] for out in (found, expected))
    assert_close(got, wanted)
    assert "a scripted module, whose code is not in sight" in model.explain().reason
    assert torch.equal(model.eval()(X.flip(1)), want.eval()(X.flip(1)))


class Gate(nn.Module):
    """Takes init, and does something else with it."""

    def forward(self, x: Tensor, init: bool) -> Tensor:
        return x if init else 2.0 * x


def gated(gate: nn.Module) -> nn.Module:
    return Coded(lambda net, x, init: net.neurons(net.gate(x, init), init), gate=gate, neurons=st.LIF(v0=0.8))


@pytest.mark.parametrize("copied", [False, True])
def test_a_scripted_module_gets_the_init_that_forward_hands_it(copied: bool) -> None:
    gate: Any = copy.deepcopy(torch.jit.script(Gate())) if copied else torch.jit.script(Gate())
    x = torch.rand(2, 7, 6)
    want = st.SpikingNet(gated(Gate()), mode="step")(x)
    assert not torch.equal(want, st.SpikingNet(st.LIF(v0=0.8))(x))
    assert torch.equal(st.SpikingNet(gated(gate))(x), want)
    assert torch.equal(st.SpikingNet(gate)(x)[:, 1:], 2.0 * x[:, 1:])  # a whole network
    with pytest.raises(TypeError, match=r"module 0\.1 of the network is scripted or traced and its forward takes init"):
        st.SpikingNet(nn.Sequential(nn.Sequential(nn.Tanh(), gate), st.LIF()))


def test_a_traced_network_says_what_it_has_to_take() -> None:
    with pytest.raises(TypeError, match=r"forward\(input\) must take two arguments"):
        st.SpikingNet(COMPILED["traced"](nn.Linear(5, 5)))
