"""All steps at once under what torch offers: transforms, export, autocast, copies, inference mode, processes."""

import copy
import io
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import spikingtorch as st
from spikingtorch import spikingnet
from spikingtorch.fold.policy import Mode
from spikingtorch.layers.fold_token import FoldToken
from spikingtorch.testing import assert_close
from tests.fold import worker
from tests.fold_nets import assert_gradients, assert_same, cotangent_like, network, slopes, states, train
from tests.processes import python

MODES: tuple[Mode, ...] = ("auto", "step", "fold")
some_networks = pytest.mark.parametrize("name", ["LIF, learning", "tutorial", "BioLIF, learning"])


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


# --- torch.func and torch.export --------------------------------------------------------------------------------------


@some_networks
def test_ensemble(name: str, folds: list[int]) -> None:
    model = network(name)
    x = train(model, 3, 5)
    model(x)
    generator = torch.Generator().manual_seed(0)
    weights = [
        {n: p.detach() * (1 + k * torch.rand(p.shape, generator=generator)) for n, p in model.named_parameters()}
        for k in range(3)
    ]
    stacked = {n: torch.stack([each[n] for each in weights]) for n in weights[0]}

    def run(params: dict[str, Tensor], x: Tensor) -> Tensor:
        out: Tensor = torch.func.functional_call(model, params, (x,))
        return out

    assert folds == [5]
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
        leaves = {n: p.clone().requires_grad_() for n, p in params.items()}
        plain = torch.autograd.grad(loss(leaves, x), list(leaves.values()))
        for found in ({n: g[k] for n, g in each.items()}, torch.func.grad(loss)(params, x)):
            assert_gradients(found, dict(zip(leaves, plain, strict=True)))


@pytest.mark.parametrize("called", [False, True], ids=["first call in a transform", "called before"])
@some_networks
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


@some_networks
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


def test_export_before_any_call_survives_a_file() -> None:
    model = network("LIF, learning").eval()
    x = train(model, 3, 5)
    file = io.BytesIO()
    torch.export.save(torch.export.export(model, (x,)), file)
    file.seek(0)
    assert_close(torch.export.load(file).module()(x), network("LIF, learning")(x))


# --- autocast, copies, inference mode ---------------------------------------------------------------------------------


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
        assert (out.dtype, kinds) == (want.dtype, dtypes)
        if name == "LI":
            assert (out - want).abs().mean() < 0.01 * want.abs().mean()
        else:
            assert (out != want).double().mean() < 0.02


@pytest.mark.parametrize("way", [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))])
@pytest.mark.parametrize("options", [{}, {"mode": "fold"}, {"carry_graph": True}, {"time_chunk": 2}])
def test_copies_go_on_with_the_stream(way: Callable[[Any], st.SpikingNet], options: dict[str, Any]) -> None:
    model = network("CoarseLIF, learning", **options)
    x = train(model, 3, 9)
    detaches_state = network("CoarseLIF, learning")(x)
    model(x[:, :4])
    twin = way(model)
    assert repr(twin) == repr(model)
    for each in (twin, model):
        assert_close(each(x[:, 4:], init=False), detaches_state[:, 4:])
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
    assert set(model.state_dict()) == names
    assert {name for name in names if not name.endswith("_extra_state")} == {n for n, _ in model.named_parameters()}
    assert not torch.equal(twin(x), want)
    twin.load_state_dict(model.state_dict())
    assert torch.equal(twin(x), want)
    model(x)
    model.load_state_dict(model.state_dict())  # in the middle of a stream
    assert_close(model(x, init=False), twin(x, init=False))


@pytest.mark.parametrize("mode", MODES)
def test_inference_mode_then_training(mode: Mode) -> None:
    model, twin = network("LIF, learning", mode=mode), network("LIF, learning", mode="step")
    x = train(model, 3, 9)
    with torch.inference_mode():
        first = model(x[:, :4])  # whether it folds is found out in inference mode as well
    twin(x[:, :4])
    assert first.is_inference()
    later = [slopes(lambda x, each=each: each(x, init=False), each, x[:, 4:]) for each in (model, twin)]  # type: ignore[misc]
    assert_same(*later)
    assert_same(slopes(model, model, x), slopes(twin, twin, x))
    for context in (torch.inference_mode(), torch.no_grad()):
        with context:
            out = model(x)
            assert_close(out, twin(x))
        assert not out.requires_grad
    assert model(x).requires_grad
    assert model.explain(x).mode == ("step" if mode == "step" else "fold")


# --- processes --------------------------------------------------------------------------------------------------------


@pytest.mark.long
def test_two_processes_with_half_a_batch_each(tmp_path: Path) -> None:
    assert python("-m", "tests.fold.worker", str(tmp_path)).split() == ["done"]
    halves = [torch.load(tmp_path / f"{rank}.pt") for rank in range(2)]
    model = network(worker.NAME, mode="step")
    for call, (seed, init) in enumerate(worker.CALLS):
        x = train(model, worker.N, worker.T, seed)
        out, want = slopes(lambda x, init=init: model(x, init), model, x)  # type: ignore[misc]
        found = [half[call] for half in halves]
        assert [each["mode"] for each in found] == ["fold", "fold"]
        assert_close(torch.cat([each["out"] for each in found]), out)
        for each in found:
            joined = torch.cat([other["x"] for other in found])
            assert_gradients({"x": joined, **each["slopes"]}, want)
