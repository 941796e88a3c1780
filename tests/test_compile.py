"""torch.compile(fullgraph=True) and torch.export: same spikes, same gradients, and changes after a call take effect.

The backend aot_eager traces forward and backward like the default one, and needs no C++ compiler.
"""

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

import spikingtorch as st
from spikingtorch import functional as F
from spikingtorch.testing import assert_close
from spikingtorch.verification.cases import CASES, RESETS, TWINS, Case, by_name

LAYERS: list[st.StepLayer] = [
    st.IF(v0=0.7),
    st.LIF(learnable=True, v0=0.7),
    st.LI(),
    st.CoarseLIF(tau=4.0, v0=0.7),
    st.SpikingDecay(tau=2.0, v0=0.7),
    st.McPitts(thr=0.5),
    st.BioLIF(nudt=0.9, v0=0.2),
]


def compiled(function: Any) -> Any:
    torch._dynamo.reset()
    return torch.compile(function, backend="aot_eager", fullgraph=True)


def gradients(function: Callable[..., Any], inputs: list[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
    """Return the results of a function and the gradients of their weighted sum."""
    leaves = [x.detach().clone().requires_grad_() for x in inputs]
    results = [leaf for leaf in pytree.tree_leaves(function(*leaves)) if leaf.requires_grad]
    weights = [torch.cos(torch.arange(r.numel(), dtype=r.dtype)).reshape(r.shape) for r in results]
    found = torch.autograd.grad(results, leaves, weights, allow_unused=True, materialize_grads=True)
    return [r.detach() for r in results], list(found)


@pytest.mark.parametrize("case", CASES, ids=by_name)
def test_step(case: Case) -> None:
    xs, params = case.draw(3)
    names, state = list(params), case.initial(xs)
    streams = list(xs) if isinstance(xs, tuple) else [xs]

    def step(*inputs: Tensor) -> Any:
        first = inputs[0][0] if len(streams) == 1 else (inputs[0][0], inputs[1][0])
        return case.step(state, first, **dict(zip(names, inputs[len(streams) :], strict=True)))

    inputs = [*streams, *params.values()]
    assert_close(gradients(compiled(step), inputs), gradients(step, inputs))


@pytest.mark.parametrize("case", CASES, ids=by_name)
def test_scan(case: Case) -> None:
    xs, params = case.draw(3)
    names, state = list(params), case.initial(xs)
    streams = list(xs) if isinstance(xs, tuple) else [xs]

    def scanned(*inputs: Tensor) -> Any:
        trains = inputs[0] if len(streams) == 1 else inputs[:2]
        keywords = dict(zip(names, inputs[len(streams) :], strict=True))
        return F.scan(case.step, state, trains, params=keywords)

    inputs = [*streams, *params.values()]
    assert_close(gradients(compiled(scanned), inputs), gradients(scanned, inputs))


@pytest.mark.parametrize("layer", LAYERS, ids=by_name)
def test_layer(layer: st.StepLayer) -> None:
    plain, fast = copy.deepcopy(layer), copy.deepcopy(layer)
    run = compiled(fast)
    x = torch.rand(3, 5, 4, generator=torch.Generator().manual_seed(0)) + 0.2

    def over_time(layer: Callable[..., Tensor]) -> Callable[[Tensor], Tensor]:
        several = 2 if isinstance(plain, st.BioLIF) else 1
        return lambda x: torch.stack([layer(*[x[t]] * several, t == 0) for t in range(3)])

    got, want = gradients(over_time(run), [x]), gradients(over_time(plain), [x])
    assert want[0][0].mean() > 0
    assert_close(got, want)
    assert_close(fast.s, plain.s)


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.l1 = nn.Linear(4, 6)
        self.sl1 = st.LIF(tau=torch.full((6,), 4.0), v0=0.2, learnable="tau")
        self.l2 = nn.Linear(6, 3)
        self.sl2 = st.IF(v0=0.3)

    def forward(self, x: Tensor, init: bool) -> Tensor:
        out: Tensor = self.sl2(self.l2(self.sl1(self.l1(x), init)), init)
        return out


def network() -> st.SpikingNet:
    torch.manual_seed(0)
    return st.SpikingNet(Net(), 3)


def trains(count: int = 5, steps: int = 4) -> Tensor:
    return 2 * torch.rand(count, steps, 4, generator=torch.Generator().manual_seed(1))


def test_network() -> None:
    model, x = network(), trains()
    run = compiled(model)
    want, got = model(x), run(x)
    assert 0 < want.mean() < 1
    assert torch.equal(got, want)
    cotangent = torch.randn(want.shape)
    params = list(model.parameters())
    assert_close(torch.autograd.grad(run(x), params, cotangent), torch.autograd.grad(model(x), params, cotangent))


def test_network_of_many_batch_sizes_and_modes() -> None:
    model = network()
    run = compiled(model)
    for count in (5, 3, 5, 2, 7):
        for mode in (model.train, model.eval):
            mode()
            assert torch.equal(run(trains(count)), model(trains(count)))


def test_stream() -> None:
    model, x = network(), trains(steps=6)
    run = compiled(model)
    parts = [run(x[:, :3]), run(x[:, 3:], init=False)]
    assert torch.equal(torch.cat(parts, 1), model(x))


def test_network_after_a_transform() -> None:
    model, x = network(), trains()
    torch.func.vmap(lambda row: model(row[None])[0])(x)
    assert torch.equal(compiled(model)(x), model(x))


# in two halves: torch.compile gives up after eight variants of one function
@pytest.mark.parametrize("half", [TWINS[:5], TWINS[5:]])
def test_change_of_surrogate_takes_effect(half: tuple[tuple[F.Surrogate, Any], ...]) -> None:
    layer: Any = st.IF(v0=0.7)
    run = compiled(lambda x: layer(x, True))
    x = torch.rand(5, generator=torch.Generator().manual_seed(0))
    for surrogate in (*(ours for ours, _ in half), F.Sigmoid(9.0)):
        layer.surrogate = surrogate
        want = gradients(lambda x, spike=surrogate: spike(x - 0.7), [x])
        assert_close(gradients(run, [x]), want, repr(surrogate))


@pytest.mark.parametrize("half", [RESETS[:3], RESETS[3:]])
def test_change_of_reset_takes_effect(half: tuple[F.Reset, ...]) -> None:
    layer: Any = st.IF(v0=0.7)
    x = 2 * torch.rand(3, 5, generator=torch.Generator().manual_seed(0))

    def over_time(step: Callable[..., Tensor]) -> Callable[[Tensor], Tensor]:
        return lambda x: torch.stack([step(x[t], t == 0) for t in range(3)])

    run, seen = compiled(lambda x, init: layer(x, init)), set()
    for rule in half:
        layer.reset_rule = rule
        want = gradients(over_time(st.IF(v0=0.7, reset=rule)), [x])
        assert_close(gradients(over_time(run), [x]), want, by_name(rule))
        seen.add(str(want))
    assert len(seen) == 3


def test_change_of_a_threshold_takes_effect() -> None:
    layer: Any = st.IF()
    run = compiled(lambda x: layer(x, True))
    x = torch.tensor([0.3, 0.6, 0.9])
    for v0, want in ((0.5, [0.0, 1.0, 1.0]), (0.2, [1.0, 1.0, 1.0]), (2.0, [0.0, 0.0, 0.0])):
        layer.v0 = v0
        assert run(x).tolist() == want


def test_options_of_scan_take_effect() -> None:
    x = 2 * torch.rand(4, 5, generator=torch.Generator().manual_seed(0))

    def run(x: Tensor, surrogate: F.Surrogate, reset: F.Reset) -> Any:
        params = {"surrogate": surrogate, "reset": reset}
        return F.scan(F.if_step, F.IFState(torch.zeros(5)), x, params=params)

    fast = compiled(run)
    for surrogate, rule in (
        (F.Sigmoid(), F.to_zero),
        (F.Sigmoid(2.0), F.to_zero),
        (F.Erf(), F.none),
        (F.Arctan(), F.none),
    ):
        arguments = (surrogate, rule)
        got = gradients(lambda x, a=arguments: fast(x, *a), [x])
        assert_close(got, gradients(lambda x, a=arguments: run(x, *a), [x]), repr(arguments))


def test_export() -> None:
    model, x = network(), trains()
    want = model(x)
    count = torch.export.Dim("count", min=2, max=64)
    exported = torch.export.export(model.eval(), (x,), dynamic_shapes={"x": {0: count}})
    assert torch.equal(exported.module()(x), want)
    assert torch.equal(exported.module()(x[:3]), want[:3])
