"""All steps at once under what torch offers: transforms, export, autocast, processes."""

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from spikingtorch import spikingnet
from spikingtorch.layers.fold_token import FoldToken
from spikingtorch.testing import assert_close
from tests.fold import worker
from tests.fold_nets import assert_gradients, cotangent_like, network, slopes, states, train
from tests.processes import python

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


@pytest.mark.sampled
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


@pytest.mark.sampled
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


# --- autocast, copies, inference mode ---------------------------------------------------------------------------------


@pytest.mark.sampled
@pytest.mark.parametrize("name", ["LIF, learning", "tutorial", "BioLIF, tracked", "LI"])
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
