"""torch.compile(fullgraph=True) where a step, or a part of it, is an object that Dynamo cannot carry as a constant."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor, nn

import spikingtorch as st
from spikingtorch import functional as F
from spikingtorch.testing import assert_close
from tests.fused_steps import draw, flat, loop, value
from tests.ways import both, by_grad, by_vmap_of_grad, compiled, for_each, scanned, slopes


class State(NamedTuple):
    v: Tensor


class Slope:
    def __init__(self, alpha: float) -> None:
        self.alpha = alpha

    def __call__(self, u: Tensor) -> Tensor:
        smooth = torch.atan(self.alpha * u) / torch.pi
        return (u >= 0).to(u.dtype) + (smooth - smooth.detach())


class Module(nn.Module):
    def __init__(self, alpha: float) -> None:
        super().__init__()
        self.alpha = alpha


class SlopeModule(Module):
    def forward(self, u: Tensor) -> Tensor:
        return Slope(self.alpha)(u)


class Neuron:
    def __init__(self, alpha: float) -> None:
        self.alpha = alpha

    def __call__(self, state: State, x: Tensor) -> tuple[State, Tensor]:
        return step(state, x, surrogate=F.Arctan(self.alpha))


class NeuronModule(Module):
    def forward(self, state: State, x: Tensor) -> tuple[State, Tensor]:
        return step(state, x, surrogate=F.Arctan(self.alpha))


def step(state: State, x: Tensor, *, surrogate: Any = F.Sigmoid(), decay: float = 0.9) -> tuple[State, Tensor]:
    u = decay * state.v + x
    spike = surrogate(u - 1.0)
    return State((1 - spike) * u), spike


def of_step(run: Callable[..., Any], held: Any) -> Callable[..., Any]:
    return lambda x, v: run(held, State(v), x)


def of_surrogate(run: Callable[..., Any], held: Any) -> Callable[..., Any]:
    return lambda x, v: run(step, State(v), x, {"surrogate": held})


def of_wrapped(run: Callable[..., Any], held: Any) -> Callable[..., Any]:
    return lambda x, v: run(F.Refractory(held), F.RefractoryState(State(v), v - v), x, {"refractory": 2.0})


def of_primitive(run: Callable[..., Any], held: Any) -> Callable[..., Any]:
    return lambda x, v: run(partial(step, surrogate=partial(_through, held)), State(v), x)


def _through(surrogate: Any, u: Tensor) -> Tensor:
    spike: Tensor = surrogate(u)
    return spike


CASES = {
    "step": (of_step, Neuron),
    "step, a module": (of_step, NeuronModule),
    "step inside another": (of_wrapped, Neuron),
    "surrogate": (of_surrogate, Slope),
    "surrogate, a module": (of_surrogate, SlopeModule),
    "surrogate inside partials": (of_primitive, Slope),
}


@pytest.mark.long
def test_scans() -> None:
    """Of every kind in one graph, because each graph takes a second to write down."""
    x, v = 2 * draw(4, 2, 3), draw(2, 3, seed=1)
    held: dict[str, Any] = {name: made(2.0) for name, (_, made) in CASES.items()}
    functions = [of(scanned, held[name]) for name, (of, _) in CASES.items()]
    fast, seen = compiled(lambda x, v: [function(x, v) for function in functions]), []
    for alpha in (2.0, 5.0):  # they change after the first compiled call
        for each in held.values():
            each.alpha = alpha
        found = fast(*(leaf.requires_grad_() for leaf in (x, v)))
        for (name, (of, made)), got in zip(CASES.items(), found, strict=True):
            want = both(of(loop, made(alpha)), x, v)
            slopes = torch.autograd.grad(value(got), [x, v], retain_graph=True)
            assert_close((flat(got).detach(), slopes), want, name)
            seen.append(want[1][0])
    assert not any(map(torch.equal, seen, seen[len(CASES) :]))


@pytest.mark.long
@pytest.mark.parametrize("fullgraph", [False, True])
def test_a_network(fullgraph: bool) -> None:
    layer: Any = st.LIF(surrogate=SlopeModule(2.0), recurrent=nn.Parameter(torch.full((4,), 0.3)))
    torch.manual_seed(0)
    model: Any = st.SpikingNet(nn.Sequential(nn.Linear(5, 4), layer)).double()
    x = 3 * draw(2, 3, 5)
    torch._dynamo.reset()
    fast = torch.compile(model, backend="aot_eager", fullgraph=fullgraph)
    for alpha in (2.0, 5.0):
        layer.surrogate.alpha, model.mode = alpha, "step"
        want = both(model, x)
        model.mode = "auto"
        assert want[0].sum() > 0
        assert_close(both(fast, x), want)


@pytest.mark.long
@pytest.mark.sampled
@pytest.mark.parametrize("case", [CASES["step, a module"], CASES["surrogate"]], ids=["step", "surrogate"])
def test_inside_transforms(case: Any) -> None:
    of, made = case
    x, v = 2 * draw(2, 4, 2, 3), draw(2, 2, 3, seed=1)
    run, by_loop = of(scanned, made(2.0)), of(loop, made(2.0))
    assert_close(compiled(lambda *given: by_grad(run, *given))(x[0], v[0]), slopes(by_loop, x[0], v[0]))
    mapped = compiled(lambda *given: by_vmap_of_grad(run, (0, 0), *given))
    assert_close(mapped(x, v), for_each(slopes)(by_loop, (0, 0), x, v))


def test_fused_says_what_to_write() -> None:
    x = draw(2, 3)
    run = compiled(lambda x: F.scan(step, State(x[0]), x, params={"surrogate": Slope(2.0)}, backend="fused"))
    with pytest.raises(Exception, match="reads a Slope, an object: pass a function, and what it reads of the object"):
        run(x)
