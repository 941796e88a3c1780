"""All steps at once under what torch offers: compiler, export, autocast, torch.jit, TensorBoard and the older ONNX."""

import copy
import importlib
import io
import shutil
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
from tests.fold_nets import assert_same, network, slopes, states, train
from tests.folded_layer import Coded
from tests.nets_that_step import Two, through
from tests.nets_that_step import train as inputs


@pytest.fixture
def _fresh_compiler() -> Iterator[None]:
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


def compiled(function: Any, backend: Any = "aot_eager") -> Any:
    return torch.compile(function, backend=backend, fullgraph=True)


# torch's own, from importing the compiler
@pytest.mark.long
@pytest.mark.usefixtures("_fresh_compiler")
@pytest.mark.filterwarnings("ignore:`torch.jit.script_method` is deprecated:DeprecationWarning")
@pytest.mark.skipif(shutil.which("c++") is None, reason="inductor needs a C++ compiler")
def test_compiled_with_inductor() -> None:
    model, twin = network("LIF, learning"), network("LIF, learning")
    x = train(model, 3, 5)
    assert_same(slopes(compiled(model, "inductor"), model, x), slopes(twin, twin, x))


def operations(name: str, mode: Any, T: int, called: bool) -> int:
    """Return how many operations a compiled call has in its one graph."""
    torch._dynamo.reset()
    graphs: list[int] = []

    def counter(graph: Any, _inputs: Any) -> Any:
        graphs.append(sum(node.op.startswith("call") for node in graph.graph.nodes))
        return graph.forward

    model = network(name, mode=mode)
    x = train(model, 3, T)
    if called:
        model(x)
    compiled(model, counter)(x)
    (count,) = graphs
    return count


@pytest.mark.long
@pytest.mark.sampled
@pytest.mark.usefixtures("_fresh_compiler")
@pytest.mark.parametrize(
    ("name", "mode", "called"),
    [("linear", "step", False), ("LIF, learning", "auto", False), ("LIF, learning", "fold", True)],
)
def test_a_graph_grows_with_time_step_by_step_alone(name: str, called: bool, mode: Any) -> None:
    few, many = operations(name, mode, 2, called), operations(name, mode, 5, called)
    assert few < many if mode == "step" else few == many


@pytest.mark.long
@pytest.mark.usefixtures("_fresh_compiler")
@pytest.mark.parametrize("options", [{}, {"truncate": True}])
def test_compiled_chunks(options: dict[str, Any]) -> None:
    model = network("LIF, learning", time_chunk=3, **options)
    twin = network("LIF, learning", mode="step", time_chunk=3, **options)
    x = train(model, 3, 5)
    assert_same(slopes(compiled(model), model, x), slopes(twin, twin, x))


@pytest.mark.long
@pytest.mark.usefixtures("_fresh_compiler")
def test_compiled_for_many_lengths_and_batches() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(4, 6), st.LIF()).double()
    model, twin = (st.SpikingNet(copy.deepcopy(net), warn_silent=False) for _ in range(2))
    run = compiled(model)
    for N, T in ((3, 5), (3, 6), (2, 6), (4, 9), (3, 1), (1, 4)):
        x = train(model, N, T)
        assert_close(run(x), twin(x))


@pytest.mark.long
@pytest.mark.usefixtures("_fresh_compiler")
def test_compiled_batch_norm_trains_and_infers() -> None:
    net = Two(through, module=nn.BatchNorm1d(4)).double()
    model, twin = st.SpikingNet(copy.deepcopy(net), 3), st.SpikingNet(net, 3, mode="step")
    run, x = compiled(model), inputs()
    for training in (True, False, True, False):
        model.train(training)
        twin.train(training)
        assert_same(slopes(run, model, x), slopes(twin, twin, x))
        assert_close(model.state_dict(), twin.state_dict())
        assert model.explain().mode == "fold"


@pytest.mark.sampled
@pytest.mark.parametrize("name", ["LIF, learning", "tutorial", "BioLIF, learning"])
def test_export_of_what_folds(name: str) -> None:
    found = {}
    for T in (4, 12):
        model = network(name).eval()
        x = train(model, 3, T)
        want = model(x)
        count = torch.export.Dim("count", min=2, max=64)
        exported = torch.export.export(model, (x,), dynamic_shapes={"x": {0: count}})
        assert_close(exported.module()(x), want)
        assert_close(exported.module()(x[:2]), want[:2])
        found[T] = [str(node.target) for node in exported.graph.nodes if node.op == "call_function"]
        assert_close(model(x), want)
    assert found[4] == found[12]
    products = [name for name in found[4] if "linear" in name or "conv" in name]
    assert len(products) == len([m for m in model.modules() if isinstance(m, nn.Linear | nn.Conv2d)])


@pytest.mark.sampled
@pytest.mark.parametrize("name", ["LIF, learning", "tutorial", "BioLIF, tracked", "LI"])
def test_autocast(name: str) -> None:
    found = []
    for mode in ("step", "fold", "auto"):
        model = network(name, torch.float32, mode=mode)
        x = train(model, 3, 5)
        with torch.autocast("cpu", torch.bfloat16):
            out = model(x)
        assert all(value.dtype == torch.float32 for what, value in states(model).items() if what.endswith(".v"))
        out.float().sum().backward()
        assert all(p.grad is not None and p.grad.dtype == torch.float32 for p in model.parameters())
        found.append((out.detach(), {what: value.dtype for what, value in states(model).items()}))
    assert model.explain().mode == "fold"
    (want, dtypes), *others = found
    for out, kinds in others:
        assert (out.dtype, kinds) == (want.dtype, dtypes)
        if name == "LI":
            assert (out - want).abs().mean() < 0.01 * want.abs().mean()
        else:
            assert (out != want).double().mean() < 0.02


X = (torch.rand(3, 4, 6, generator=torch.Generator().manual_seed(0)) < 0.5).float()


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """Tracers warn of numbers that become constants, and of their own age."""
    with warnings.catch_warnings(action="ignore"):
        yield


def two_layers(mode: Any = "auto", learnable: Any = (), inner: Any = None) -> Any:
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
    model = two_layers(mode, learnable)
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
        writer.add_graph(two_layers(), X)
    assert any(file.stat().st_size > 1000 for file in tmp_path.iterdir())


def test_older_onnx_export() -> None:
    sizes = []
    for mode in ("step", "auto"):
        file: Any = io.BytesIO()
        torch.onnx.export(two_layers(mode), (X,), file, dynamo=False)
        sizes.append(file.tell())
    assert sizes[0] == sizes[1] > 1000


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
    model, want = two_layers(inner=made(plain)), two_layers("step", inner=plain)
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
