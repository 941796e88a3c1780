"""Rounded weights in torch.compile, torch.export, torch.func, autocast, and between two calls."""

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

import spikingtorch as st
from spikingtorch.quantize import prepare_qat
from tests.drawn import trains
from tests.processes import at_once
from tests.surroundings import on_threads

pytestmark = pytest.mark.usefixtures("one_thread")
WAYS: list[dict[str, Any]] = [{"scale": "heuristic"}, {"scale": "heuristic", "per_channel": True}, {"scale": "learned"}]
X = trains(4, 6, 8, seed=1, rate=0.4)
each_way = pytest.mark.parametrize("way", WAYS, ids=["heuristic", "per channel", "learned"])


def prepared(way: dict[str, Any]) -> Any:
    torch.manual_seed(0)
    recurrent = nn.Linear(12, 12, bias=False)
    layers = [nn.Linear(8, 12), st.LIF(threshold=0.3, recurrent=recurrent), nn.Linear(12, 5), st.LIF(threshold=0.3)]
    return prepare_qat(st.SpikingNet(nn.Sequential(*layers), mode="fold"), 4, **way)


def gradients(model: Any) -> list[Tensor]:
    return [each.grad for each in model.parameters()]


@pytest.mark.long
@each_way
def test_compiled_it_has_the_same_results_and_gradients(way: dict[str, Any]) -> None:
    model, x = prepared(way), X
    other = copy.deepcopy(model)
    compiled: Any = torch.compile(other)
    out = model(x)
    cotangent = torch.randn(out.shape)
    out.backward(cotangent)
    found = compiled(x)
    assert torch.equal(found, out)
    found.backward(cotangent)
    for mine, expected in zip(gradients(other), gradients(model), strict=True):
        assert torch.allclose(mine, expected, rtol=1e-4, atol=1e-6)
    with torch.no_grad():
        for one, two in zip(model.parameters(), other.parameters(), strict=True):
            one.mul_(-1.7)
            two.mul_(-1.7)
    assert torch.equal(compiled(x), model(x))


@pytest.mark.long
@each_way
@torch.no_grad()
def test_exported_it_has_the_same_results(way: dict[str, Any]) -> None:
    model, x = prepared(way).eval(), X
    exported: Any = torch.export.export(model, (x,)).module()
    assert torch.equal(exported(x), model(x))


@each_way
def test_as_a_function_of_its_parameters(way: dict[str, Any]) -> None:
    model, x = prepared(way), X
    with torch.no_grad():
        given = {name: 1.3 * each for name, each in model.named_parameters()}
        other = copy.deepcopy(model)
        other.load_state_dict({**other.state_dict(), **given})

        def summed(given: dict[str, Tensor]) -> Tensor:
            return torch.func.functional_call(model, given, (x,)).sum()

        found = torch.func.grad(summed)(given)
        ensemble = torch.func.vmap(lambda given: torch.func.functional_call(model, given, (x,)))
        many = ensemble({name: torch.stack([each, -each]) for name, each in given.items()})
    out = other(x)
    assert torch.equal(many[0], out)
    out.sum().backward()
    for name, each in other.named_parameters():
        assert torch.allclose(found[name], each.grad, rtol=1e-4, atol=1e-6)


@each_way
def test_in_autocast_weights_keep_their_bits(way: dict[str, Any]) -> None:
    """A weight of eight bits is a bfloat16; sums are rounded, as autocast does."""
    model, x = prepared(way), X
    for weight in (model.net[0].weight, model.net[2].weight, model.net[1].recurrent.weight):
        assert torch.equal(weight.bfloat16().float(), weight)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = model(x)
    assert out.dtype == torch.bfloat16
    out.sum().backward()
    assert all(each is not None and each.isfinite().all() for each in gradients(model))


def test_a_bias_has_the_scale_of_the_weights_of_its_call() -> None:
    layer: Any = prepare_qat(nn.Linear(3, 2), 4)
    w, b = layer.parametrizations.weight.original, layer.parametrizations.bias.original

    def expected() -> Tensor:
        s = layer.parametrizations.weight[0].scale(w).flatten()
        return torch.round(b / s) * s

    changes: list[Any] = [lambda: w.mul_(100.0), lambda: w.div_(77.0), lambda: b.mul_(3.0)]
    for change in changes:
        layer(torch.ones(1, 3))
        assert layer.weight is not None  # read, and no bias after it
        with torch.no_grad():
            change()
        assert torch.equal(layer.bias, expected())
    layer(torch.ones(1, 3))
    w.data.mul_(50.0)  # which torch does not notice
    assert torch.equal(layer(torch.zeros(1, 3))[0], expected())
    with torch.inference_mode():
        assert torch.equal(layer.bias, expected())
        inner: Any = prepare_qat(nn.Linear(3, 2), 4)
        out: Any = inner(torch.ones(1, 3))
        assert out.shape == (1, 2)


def test_cached_weights_and_threads() -> None:
    model, x = prepared({}), X
    expected = model(x)
    with parametrize.cached():
        assert torch.equal(model(x), expected)
    assert all(torch.equal(each, expected) for each in at_once(*[lambda: model(x)] * 4))
    with on_threads(2):
        assert torch.equal(model(x), expected)
