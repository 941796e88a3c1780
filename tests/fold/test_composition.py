"""All steps at once under what torch offers: the compiler, export, autocast."""

import copy
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import spikingtorch as st
from spikingtorch.testing import assert_close
from tests.fold_nets import assert_same, network, slopes, states, train
from tests.nets_that_step import Two, through
from tests.nets_that_step import train as inputs


def compiled(function: Any, backend: Any = "aot_eager") -> Any:
    return torch.compile(function, backend=backend, fullgraph=True)


# torch's own, from importing the compiler
@pytest.mark.long
@pytest.mark.usefixtures("fresh_compiler")
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
@pytest.mark.usefixtures("fresh_compiler")
@pytest.mark.parametrize(
    ("name", "mode", "called"),
    [("linear", "step", False), ("LIF, learning", "auto", False), ("LIF, learning", "fold", True)],
)
def test_a_graph_grows_with_time_step_by_step_alone(name: str, called: bool, mode: Any) -> None:
    few, many = operations(name, mode, 2, called), operations(name, mode, 5, called)
    assert few < many if mode == "step" else few == many


@pytest.mark.long
@pytest.mark.usefixtures("fresh_compiler")
@pytest.mark.parametrize("options", [{}, {"truncate": True}])
def test_compiled_chunks(options: dict[str, Any]) -> None:
    model = network("LIF, learning", time_chunk=3, **options)
    twin = network("LIF, learning", mode="step", time_chunk=3, **options)
    x = train(model, 3, 5)
    assert_same(slopes(compiled(model), model, x), slopes(twin, twin, x))


@pytest.mark.long
@pytest.mark.usefixtures("fresh_compiler")
def test_compiled_for_many_lengths_and_batches() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(4, 6), st.LIF()).double()
    model, twin = (st.SpikingNet(copy.deepcopy(net), warn_silent=False) for _ in range(2))
    run = compiled(model)
    for N, T in ((3, 5), (3, 6), (2, 6), (4, 9), (3, 1), (1, 4)):
        x = train(model, N, T)
        assert_close(run(x), twin(x))


@pytest.mark.long
@pytest.mark.usefixtures("fresh_compiler")
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


FREE: Any = {0: torch.export.Dim("N", min=2), 1: torch.export.Dim("T", min=2)}


@pytest.mark.sampled
@pytest.mark.parametrize("mode", ["auto", "fold"])
@pytest.mark.parametrize("name", ["LIF, learning", "tutorial", "BioLIF, learning", "recurrent"])
def test_export_of_what_folds(name: str, mode: Any) -> None:
    model = network(name, mode=mode).eval()
    x = train(model, 3, 4)
    model(x)
    exported = torch.export.export(model, (x,), dynamic_shapes={"x": FREE}, strict=False)
    for N, T in ((3, 4), (2, 12), (7, 40)):
        x = train(model, N, T)
        assert_close(exported.module()(x), model(x))
    found = [str(node.target) for node in exported.graph.nodes if node.op == "call_function"]
    products = [name for name in found if "linear" in name or "conv" in name]
    weighted = [path for path, each in model.named_modules() if isinstance(each, nn.Linear | nn.Conv2d)]
    assert len(products) == len([path for path in weighted if not path.endswith("recurrent")])


@pytest.mark.night
@pytest.mark.filterwarnings("ignore::FutureWarning")  # torch's own
def test_aot_inductor(tmp_path: Path) -> None:
    """The lines of docs/deploy.md."""
    model, x = network("LIF, learning", torch.float32).eval(), torch.rand(3, 4, 4)
    with torch.no_grad():
        model(x)
        exported = torch.export.export(model, (x,), dynamic_shapes={"x": FREE}, strict=False)
        path = torch._inductor.aoti_compile_and_package(exported, package_path=str(tmp_path / "net.pt2"))
        compiled: Any = torch._inductor.aoti_load_package(path)
        for N, T in ((3, 4), (7, 40)):
            x = torch.rand(N, T, 4)
            assert torch.equal(compiled(x), model(x))


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
