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
from tests.fold_nets import assert_same, network, slopes, train
from tests.nets_that_step import Two, through
from tests.nets_that_step import train as inputs


@pytest.fixture(autouse=True)
def fresh_compiler() -> Iterator[None]:
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


def compiled(function: Any, backend: Any = "aot_eager") -> Any:
    return torch.compile(function, backend=backend, fullgraph=True)


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
@pytest.mark.sampled
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
