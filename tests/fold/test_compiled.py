"""All steps at once under torch.compile: the same numbers, and a graph that does not grow with time."""

import copy
import shutil
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import nn

import spikingtorch as st
from spikingtorch.fold.policy import Mode
from spikingtorch.testing import assert_close
from tests.fold_nets import assert_same, network, slopes, states, train
from tests.nets_that_step import Two, through
from tests.nets_that_step import train as inputs


@pytest.fixture(autouse=True)
def fresh_compiler() -> Iterator[None]:
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


def compiled(function: Any, backend: Any = "aot_eager") -> Any:
    return torch.compile(function, backend=backend, fullgraph=True)


@pytest.mark.sampled
@pytest.mark.parametrize(
    ("name", "mode", "called"),
    [
        ("LIF, learning", "auto", True),
        ("LIF, learning", "step", False),
        ("CoarseLIF", "step", False),
        ("CoarseLIF", "auto", False),
        ("BioLIF, to_zero", "auto", True),
        ("BioLIF, to_zero", "fold", False),
        ("tutorial", "auto", False),
    ],
)
def test_compiled(name: str, mode: Mode, called: bool) -> None:
    model, twin = network(name, mode=mode), network(name, mode="fold")
    x = train(model, 3, 5)
    if called:
        model(x)
    assert_same(slopes(compiled(model), model, x), slopes(twin, twin, x))
    assert_close(states(model), states(twin))
    assert model.explain(x).mode == ("step" if mode == "step" else "fold")


# torch's own, from importing the compiler
@pytest.mark.long
@pytest.mark.filterwarnings("ignore:`torch.jit.script_method` is deprecated:DeprecationWarning")
@pytest.mark.skipif(shutil.which("c++") is None, reason="inductor needs a C++ compiler")
def test_compiled_with_inductor() -> None:
    model, twin = network("LIF, learning"), network("LIF, learning")
    x = train(model, 3, 5)
    assert_same(slopes(compiled(model, "inductor"), model, x), slopes(twin, twin, x))


def operations(name: str, mode: Mode, T: int, called: bool) -> int:
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
@pytest.mark.parametrize(
    ("name", "mode", "called"),
    [("LIF, learning", "auto", False), ("LIF, learning", "fold", True), ("tutorial", "auto", True)],
)
def test_graph_does_not_grow_with_time(name: str, called: bool, mode: Mode) -> None:
    assert operations(name, mode, 4, called) == operations(name, mode, 12, called)


@pytest.mark.long
def test_graph_grows_with_time_step_by_step() -> None:
    assert operations("linear", "step", 2, called=False) < operations("linear", "step", 4, called=False)


@pytest.mark.long
@pytest.mark.parametrize("options", [{}, {"truncate": True}])
def test_compiled_chunks(options: dict[str, Any]) -> None:
    model = network("LIF, learning", time_chunk=3, **options)
    twin = network("LIF, learning", mode="step", time_chunk=3, **options)
    x = train(model, 3, 7)
    assert_same(slopes(compiled(model), model, x), slopes(twin, twin, x))


@pytest.mark.long
def test_compiled_for_many_lengths_and_batches() -> None:
    model, twin = network("linear"), network("linear")
    run = compiled(model)
    for N, T in ((3, 5), (3, 6), (2, 6), (4, 9), (3, 1), (1, 4)):
        x = train(model, N, T)
        assert_close(run(x), twin(x))


@pytest.mark.long
def test_compiled_stream() -> None:
    model, twin = network("LIF, learning"), network("LIF, learning")
    run, x, anew = compiled(model), train(model, 3, 12), torch.tensor([True, False, True])
    for a, b, init in ((0, 4, True), (4, 8, False), (8, 12, False), (0, 4, anew), (4, 5, False)):
        assert_close(run(x[:, a:b], init), twin(x[:, a:b], init))
        assert_close(states(model), states(twin))
    run(x[:, :4])
    model(x[:, 4:8], init=False)  # in turn with eager calls
    assert_close(run(x[:, 8:], init=False), twin(x)[:, 8:])


def twins(net: nn.Module) -> tuple[st.SpikingNet, st.SpikingNet]:
    return st.SpikingNet(copy.deepcopy(net), 3), st.SpikingNet(net, 3, mode="step")


@pytest.mark.long
@pytest.mark.filterwarnings("ignore:.*runs step by step:RuntimeWarning")
@pytest.mark.parametrize("compiles", [False, True])
def test_batch_norm_trains_and_infers(compiles: bool) -> None:
    model, twin = twins(Two(through, module=nn.BatchNorm1d(4)).double())
    run, x = compiled(model) if compiles else model, inputs()
    for training in (True, False, True, False):
        model.train(training)
        twin.train(training)
        assert_same(slopes(run, model, x), slopes(twin, twin, x))
        assert_close(model.state_dict(), twin.state_dict())
        assert model.explain().mode == "fold"


@pytest.mark.long
def test_compiled_network_that_steps() -> None:
    model, twin = twins(Two(lambda net, x, init: -x if init else x).double())
    assert_same(slopes(compiled(model), model, inputs()), slopes(twin, twin, inputs()))
    assert model.explain().mode == "step"


@pytest.mark.long
@pytest.mark.parametrize(("name", "mode"), [("tutorial", "auto"), ("LIF, learning", "step")])
def test_compiled_net_in_a_model(name: str, mode: Mode) -> None:
    twin = network(name)
    net: Any = torch.compile(network(name).net, backend="aot_eager")
    model = st.SpikingNet(net, twin.Nout, mode=mode)
    x = train(twin, 3, 5)
    for _ in range(2):
        got, want = slopes(model, model, x), slopes(twin, twin, x)
        assert_same((got[0], {n.replace("_orig_mod.", ""): g for n, g in got[1].items()}), want)
    assert_close(model(x, init=False), twin(x, init=False))
