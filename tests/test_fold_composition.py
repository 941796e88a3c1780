"""All steps at once under what torch offers: compile, export, transforms, autocast, copies, checkpoints, processes."""

import copy
import io
import pickle
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

import spikingtorch as st
from spikingtorch import spikingnet
from spikingtorch.fold.policy import Mode
from spikingtorch.layers.fold_token import FoldToken
from spikingtorch.spikeio import PoissonEncoder, SumDecoder
from spikingtorch.testing import assert_close
from tests import fold_worker
from tests.fold_nets import Chain, assert_gradients, cotangent_like, lif, network, states, train
from tests.processes import python

MODES: tuple[Mode, ...] = ("auto", "step", "fold")


@pytest.fixture(autouse=True)
def fresh_compiler() -> Iterator[None]:
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


@pytest.fixture
def folds(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return a list that gets the number of steps of each folded call."""
    seen: list[int] = []

    class Counting(FoldToken):
        def __init__(self, N: int, T: int, *options: Any) -> None:
            super().__init__(N, T, *options)
            seen.append(T)

    monkeypatch.setattr(spikingnet, "FoldToken", Counting)
    return seen


def slopes(function: Callable[[Tensor], Tensor], model: st.SpikingNet, x: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
    """Return an output and the gradients of a random sum of it."""
    x = x.clone().requires_grad_()
    out = function(x)
    variables = {"x": x, **dict(model.named_parameters())}
    found = torch.autograd.grad(
        out, list(variables.values()), cotangent_like(out), allow_unused=True, materialize_grads=True
    )
    return out.detach(), dict(zip(variables, found, strict=True))


def assert_same(got: tuple[Tensor, dict[str, Tensor]], want: tuple[Tensor, dict[str, Tensor]]) -> None:
    assert_close(got[0], want[0])
    assert_gradients(got[1], want[1])


# --- torch.compile ----------------------------------------------------------------------------------------------------


def compiled(function: Any, backend: Any = "aot_eager") -> Any:
    return torch.compile(function, backend=backend, fullgraph=True)


@pytest.mark.parametrize(("mode", "called"), [("auto", False), ("auto", True), ("fold", False), ("step", False)])
@pytest.mark.parametrize("name", ["LIF, learning", "CoarseLIF", "BioLIF, to_zero", "tutorial"])
def test_compiled(name: str, mode: Mode, called: bool) -> None:
    model, twin = network(name, mode=mode), network(name, mode="fold")
    x = train(model, 3, 5)
    if called:
        model(x)
    assert_same(slopes(compiled(model), model, x), slopes(twin, twin, x))
    assert_close(states(model), states(twin))
    assert model.explain(x).mode == ("step" if mode == "step" else "fold")


# torch's own, from importing the compiler
@pytest.mark.filterwarnings("ignore:`torch.jit.script_method` is deprecated:DeprecationWarning")
@pytest.mark.skipif(shutil.which("c++") is None, reason="inductor needs a C++ compiler")
def test_compiled_with_inductor() -> None:
    model, twin = network("LIF, learning"), network("LIF, learning")
    x = train(model, 3, 5)
    assert_same(slopes(compiled(model, "inductor"), model, x), slopes(twin, twin, x))


class Counter:
    """A backend that counts the graphs that it gets, and the operations in them."""

    def __init__(self) -> None:
        self.graphs: list[int] = []

    def __call__(self, graph: Any, _inputs: Any) -> Any:
        self.graphs.append(sum(node.op.startswith("call") for node in graph.graph.nodes))
        return graph.forward


@pytest.mark.parametrize("mode", ["auto", "fold"])
@pytest.mark.parametrize("called", [False, True], ids=["first call compiled", "called before"])
@pytest.mark.parametrize("name", ["LIF, learning", "tutorial"])
def test_compiled_graph_does_not_grow_with_time(name: str, called: bool, mode: Mode) -> None:
    sizes = {}
    for T in (4, 12):
        torch._dynamo.reset()
        model, counter = network(name, mode=mode), Counter()
        x = train(model, 3, T)
        if called:
            model(x)
        compiled(model, counter)(x)
        assert len(counter.graphs) == 1
        sizes[T] = counter.graphs[0]
    assert sizes[4] == sizes[12]


def test_counted_operations_grow_with_time_step_by_step() -> None:
    sizes = []
    for T in (2, 4):
        torch._dynamo.reset()
        model, counter = network("linear", mode="step"), Counter()
        compiled(model, counter)(train(model, 3, T))
        sizes += counter.graphs
    assert len(sizes) == 2
    assert sizes[0] < sizes[1]


def test_compiled_chunks() -> None:
    model, twin = network("LIF, learning", time_chunk=3), network("LIF, learning")
    x = train(model, 3, 7)
    assert_same(slopes(compiled(model), model, x), slopes(twin, twin, x))
    cut, loop = (network("LIF, learning", mode=mode, time_chunk=3, truncate=True) for mode in MODES[:2])
    assert_same(slopes(compiled(cut), cut, x), slopes(loop, loop, x))


def test_compiled_for_many_lengths_and_batches() -> None:
    model, twin = network("linear"), network("linear")
    run = compiled(model)
    for N, T in ((3, 5), (3, 6), (2, 6), (4, 9), (3, 1), (1, 4)):
        x = train(model, N, T)
        assert_close(run(x), twin(x))


def test_compiled_stream() -> None:
    model, twin = network("LIF, learning"), network("LIF, learning")
    run, x = compiled(model), train(model, 3, 12)
    anew = torch.tensor([True, False, True])
    for a, b, init in ((0, 4, True), (4, 8, False), (8, 12, False), (0, 4, anew), (4, 5, False)):
        assert_close(run(x[:, a:b], init), twin(x[:, a:b], init))
        assert_close(states(model), states(twin))
    run(x[:, :4])
    model(x[:, 4:8], init=False)  # in turn with eager calls
    assert_close(run(x[:, 8:], init=False), twin(x)[:, 8:])


class Normed(Chain):
    def __init__(self) -> None:
        super().__init__(lif(), lif())
        self.norm = nn.BatchNorm1d(6)

    def forward(self, x: Tensor, init: bool) -> Tensor:
        out: Tensor = self.second(self.l2(self.first(self.norm(self.l1(x)), init)), init)
        return out


def normed(mode: Mode) -> st.SpikingNet:
    torch.manual_seed(0)
    return st.SpikingNet(Normed().double(), 3, mode=mode)


@pytest.mark.filterwarnings("ignore:.*runs step by step:RuntimeWarning")
@pytest.mark.parametrize("compiles", [False, True])
def test_batch_norm_trains_and_infers(compiles: bool) -> None:
    model, twin = normed("auto"), normed("step")
    run, x = compiled(model) if compiles else model, train(model, 5, 6)
    for training in (True, False, True, False):
        model.train(training)
        twin.train(training)
        assert_same(slopes(run, model, x), slopes(twin, twin, x))
        assert_close(model.state_dict(), twin.state_dict())
        assert model.explain().mode == ("step" if training else "fold")


class Branching(Chain):
    def forward(self, x: Tensor, init: bool) -> Tensor:
        return super().forward(-x if init else x, init)


def test_compiled_network_that_steps() -> None:
    model, twin = (st.SpikingNet(Branching(lif(), lif()).double(), 3, mode=mode) for mode in MODES[:2])
    twin.load_state_dict(model.state_dict())
    x = train(model, 3, 5)
    assert_same(slopes(compiled(model), model, x), slopes(twin, twin, x))
    assert model.explain().mode == "step"


@pytest.mark.parametrize("name", ["LIF, learning", "tutorial"])
@pytest.mark.parametrize("mode", MODES)
def test_compiled_net_in_a_model(name: str, mode: Mode) -> None:
    twin = network(name)
    net: Any = torch.compile(network(name).net, backend="aot_eager")
    model = st.SpikingNet(net, twin.Nout, mode=mode)
    x = train(twin, 3, 5)
    for _ in range(2):
        got, want = slopes(model, model, x), slopes(twin, twin, x)
        assert_same((got[0], {n.replace("_orig_mod.", ""): g for n, g in got[1].items()}), want)
    assert_close(model(x, init=False), twin(x, init=False))


# --- torch.func and torch.export --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["LIF, learning", "tutorial", "BioLIF, learning"])
def test_ensemble(name: str, folds: list[int]) -> None:
    model = network(name)
    x = train(model, 3, 5)
    model(x)
    assert folds == [5]
    generator = torch.Generator().manual_seed(0)
    weights = [
        {n: p.detach() * (1 + k * torch.rand(p.shape, generator=generator)) for n, p in model.named_parameters()}
        for k in range(3)
    ]
    stacked = {n: torch.stack([each[n] for each in weights]) for n in weights[0]}

    def run(params: dict[str, Tensor], x: Tensor) -> Tensor:
        out: Tensor = torch.func.functional_call(model, params, (x,))
        return out

    got = torch.func.vmap(run, (0, None))(stacked, x)
    assert folds == [5, 5]
    want = torch.stack([run(each, x) for each in weights])
    assert_close(got, want)
    assert not torch.equal(got[0], got[2])

    weighting = cotangent_like(want[0])

    def loss(params: dict[str, Tensor], x: Tensor) -> Tensor:
        return (run(params, x) * weighting).sum()

    each = torch.func.vmap(torch.func.grad(loss), (0, None))(stacked, x)
    for k, params in enumerate(weights):
        assert_gradients({n: g[k] for n, g in each.items()}, torch.func.grad(loss)(params, x))
        leaves = {n: p.clone().requires_grad_() for n, p in params.items()}
        plain = torch.autograd.grad(loss(leaves, x), list(leaves.values()))
        assert_gradients({n: g[k] for n, g in each.items()}, dict(zip(leaves, plain, strict=True)))


@pytest.mark.parametrize("called", [False, True], ids=["first call in a transform", "called before"])
@pytest.mark.parametrize("name", ["LIF, learning", "tutorial", "BioLIF, learning"])
def test_gradient_of_each_sample(name: str, called: bool, folds: list[int]) -> None:
    model, twin = network(name), network(name, mode="step")
    x = train(model, 3, 5)
    if called:
        model(x)
    params = {n: p.detach() for n, p in model.named_parameters()}
    weighting = cotangent_like(twin(x[:1]).detach())

    def loss(params: dict[str, Tensor], sample: Tensor) -> Tensor:
        out: Tensor = torch.func.functional_call(model, params, (sample[None],))
        return (out * weighting).sum()

    got = torch.func.vmap(torch.func.grad(loss), (None, 0))(params, x)
    assert folds == [5] * (1 + called)
    for n in range(3):
        want = slopes(twin, twin, x[n : n + 1])[1]
        assert_gradients({name: g[n] for name, g in got.items()} | {"x": want["x"]}, want)
    assert all(layer._memory is None for layer in model._layers())
    copy.deepcopy(model)
    with pytest.raises(ValueError, match=r"init is not True inside a torch\.func transform"):
        torch.func.vmap(lambda sample: model(sample[None], init=False))(x)


@pytest.mark.parametrize("name", ["LIF, learning", "tutorial", "BioLIF, learning"])
def test_export_of_what_folds(name: str) -> None:
    operations = {}
    for T in (4, 12):
        model = network(name).eval()
        x = train(model, 3, T)
        want = model(x)
        count = torch.export.Dim("count", min=2, max=64)
        exported = torch.export.export(model, (x,), dynamic_shapes={"x": {0: count}})
        assert_close(exported.module()(x), want)
        assert_close(exported.module()(x[:2]), want[:2])
        operations[T] = [str(node.target) for node in exported.graph.nodes if node.op == "call_function"]
        assert_close(model(x), want)
    assert operations[4] == operations[12]
    products = [name for name in operations[4] if "linear" in name or "conv" in name]
    assert len(products) == len([m for m in model.modules() if isinstance(m, nn.Linear | nn.Conv2d)])


def test_exported_program_survives_a_file() -> None:
    model = network("LIF, learning").eval()
    x = train(model, 3, 5)
    want = model(x)
    file = io.BytesIO()
    torch.export.save(torch.export.export(model, (x,)), file)
    file.seek(0)
    assert_close(torch.export.load(file).module()(x), want)


def test_export_before_any_call() -> None:
    model = network("LIF, learning").eval()
    x = train(model, 3, 5)
    exported = torch.export.export(model, (x,))
    assert_close(exported.module()(x), network("LIF, learning")(x))


# --- autocast, copies, checkpoints, inference mode --------------------------------------------------------------------


@pytest.mark.parametrize("name", ["LIF, learning", "tutorial", "BioLIF, to_zero", "LI"])
def test_autocast(name: str) -> None:
    found = []
    for mode in ("step", "fold", "auto"):
        model = network(name, torch.float32, mode=mode)
        x = train(model, 3, 17)
        with torch.autocast("cpu", torch.bfloat16):
            out = model(x)
        assert all(value.dtype == torch.float32 for what, value in states(model).items() if what.endswith(".v"))
        out.float().sum().backward()
        assert all(p.grad is not None and p.grad.dtype == torch.float32 for p in model.parameters())
        found.append((out.detach(), {what: value.dtype for what, value in states(model).items()}))
    assert model.explain().mode == "fold"
    (want, dtypes), *others = found
    for out, kinds in others:
        assert out.dtype == want.dtype
        assert kinds == dtypes
        if name == "LI":
            assert (out - want).abs().mean() < 0.01 * want.abs().mean()
        else:
            assert (out != want).double().mean() < 0.02


@pytest.mark.parametrize("way", [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))])
@pytest.mark.parametrize("options", [{}, {"mode": "fold"}, {"carry_graph": True}, {"time_chunk": 2}])
def test_copies_go_on_with_the_stream(way: Callable[[Any], st.SpikingNet], options: dict[str, Any]) -> None:
    model = network("CoarseLIF, learning", **options)
    x = train(model, 3, 9)
    whole = network("CoarseLIF, learning")(x)
    model(x[:, :4])
    twin = way(model)
    assert (twin.mode, twin.time_chunk, twin.carry_graph) == (model.mode, model.time_chunk, model.carry_graph)
    for each in (twin, model):
        assert_close(each(x[:, 4:], init=False), whole[:, 4:])
    assert_close(states(twin), states(model))
    assert twin.explain(x).mode == "fold"


def test_state_dict() -> None:
    model, twin = network("LIF, learning"), network("LIF, learning")
    x = train(model, 3, 5)
    names = set(model.state_dict())
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(parameter.flip(0))
    want = model(x)
    assert set(model.state_dict()) == names == {n for n, _ in model.named_parameters()}
    assert not torch.equal(twin(x), want)
    twin.load_state_dict(model.state_dict())
    assert torch.equal(twin(x), want)
    model(x)
    model.load_state_dict(model.state_dict())  # in the middle of a stream
    assert_close(model(x, init=False), twin(x, init=False))


@pytest.mark.parametrize("reentrant", [False, True])
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", ["LIF, learning", "tutorial"])
def test_checkpoint(name: str, mode: Mode, reentrant: bool) -> None:
    model, twin = network(name, mode=mode), network(name, mode="step")
    x = train(model, 3, 5)
    for _ in range(2):  # the first finds out whether it folds
        if reentrant:
            for each in (model, twin):
                each.zero_grad()
            leaves = [x.clone().requires_grad_() for _ in range(2)]
            out = checkpoint(model, leaves[0], use_reentrant=True)
            want = twin(leaves[1])
            out.backward(cotangent_like(out))
            want.backward(cotangent_like(want))
            got = {n: p.grad for n, p in model.named_parameters() if p.grad is not None}
            expected = {n: p.grad for n, p in twin.named_parameters() if p.grad is not None}
            assert_close(out, want)
            assert_gradients(got, expected)
            assert_close(leaves[0].grad, leaves[1].grad)
        else:
            run = slopes(lambda x: checkpoint(model, x, use_reentrant=False), model, x)
            assert_same(run, slopes(twin, twin, x))


def test_between_encoder_and_decoder() -> None:
    torch.manual_seed(3)
    steps = 8
    pipeline = nn.Sequential(PoissonEncoder(steps, 1.0), network("tutorial", torch.float32), SumDecoder(steps, 1.0))
    stepwise = nn.Sequential(pipeline[0], network("tutorial", torch.float32, mode="step"), pipeline[2])
    images = torch.rand(3, 1, 28, 28)
    found = []
    for run in (pipeline, stepwise):
        torch.manual_seed(5)
        out = run(images)
        out.square().sum().backward()
        found.append((out.detach(), {n: p.grad for n, p in run.named_parameters() if p.grad is not None}))
    assert found[0][0].shape == (3, 10)
    assert_same(found[0], found[1])
    model: Any = pipeline[1]
    assert model.explain().mode == "fold"


@pytest.mark.parametrize("mode", MODES)
def test_inference_mode_then_training(mode: Mode) -> None:
    model, twin = network("LIF, learning", mode=mode), network("LIF, learning", mode="step")
    x = train(model, 3, 9)
    with torch.inference_mode():
        first = model(x[:, :4])  # the probe is in inference mode as well
    twin(x[:, :4])
    assert first.is_inference()
    assert_same(
        slopes(lambda x: model(x, init=False), model, x[:, 4:]), slopes(lambda x: twin(x, init=False), twin, x[:, 4:])
    )
    assert_same(slopes(model, model, x), slopes(twin, twin, x))
    with torch.inference_mode():
        assert_close(model(x), twin(x))
    assert model.explain(x).mode == ("step" if mode == "step" else "fold")


@pytest.mark.parametrize("mode", ["auto", "fold"])
def test_no_grad(mode: Mode) -> None:
    model = network("LIF, learning", mode=mode)
    x = train(model, 3, 5)
    with torch.no_grad():
        out = model(x)
    assert not out.requires_grad
    assert model(x).requires_grad


# --- processes --------------------------------------------------------------------------------------------------------


def test_two_processes_with_half_a_batch_each(tmp_path: Path) -> None:
    assert python("-m", "tests.fold_worker", str(tmp_path)).split() == ["done"]
    halves = [torch.load(tmp_path / f"{rank}.pt") for rank in range(2)]
    model = network(fold_worker.NAME, mode="step")
    for call, (seed, init) in enumerate(((1, True), (2, False))):
        x = train(model, fold_worker.N, fold_worker.T, seed)
        out, want = slopes(lambda x, init=init: model(x, init), model, x)  # type: ignore[misc]
        found = [half[call] for half in halves]
        assert [each["mode"] for each in found] == ["fold", "fold"]
        assert_close(torch.cat([each["out"] for each in found]), out)
        for each in found:
            joined = torch.cat([other["x"] for other in found])
            assert_gradients({"x": joined, **each["slopes"]}, want)
