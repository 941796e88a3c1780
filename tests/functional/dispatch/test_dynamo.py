"""torch.compile(fullgraph=True): the same results and gradients, and changes after a call take effect.

The backend aot_eager traces forward and backward like the default one, and needs no C++ compiler.
"""

from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

import spikingtorch as st
from spikingtorch import functional as F
from spikingtorch.testing import assert_close
from spikingtorch.verification.cases import CASES, RESETS, TWINS
from tests import ways
from tests.fused_steps import counting, draw, flat, leaky, loop, value
from tests.ways import MAPS, WAYS, Function, both, compiled, neuron, scanned


@pytest.mark.sampled
@pytest.mark.parametrize("name", [case.name for case in CASES])
def test_a_step_and_a_scan(name: str) -> None:
    case = neuron(name, 3)

    def first(step: Any, state: Any, xs: Any, params: Any, dim: int) -> Any:
        return step(state, pytree.tree_map(lambda x: x[0], xs), **params)

    def of(run: Callable[..., Any]) -> Function:
        scan, step = case(run), case(first)
        return lambda *x: (scan(*x), step(*x))

    with counting() as ran:
        assert_close(both(compiled(of(scanned)), *case.tensors()), both(of(loop), *case.tensors()))
    assert (ran.forward, ran.backward) == (1, 1)


@pytest.mark.sampled
@pytest.mark.parametrize("requires", [False, True], ids=["no gradient", "under no_grad"])
@pytest.mark.parametrize("recurrent", [False, True], ids=["scan", "recurrence"])
def test_without_a_gradient(recurrent: bool, requires: bool) -> None:
    step: Any = F.Recurrent(F.lif_step, F.dense) if recurrent else F.lif_step
    params = {"decay": 0.9, **({"recurrent_weight": draw(3, 3)} if recurrent else {})}

    def run(xs: Tensor) -> Any:
        rest: Any = F.LIFState(torch.zeros(3, dtype=torch.float64))
        _, out = F.scan(step, F.RecurrentState(rest, rest.v) if recurrent else rest, xs, params=params)
        return out

    xs = draw(20, 3).requires_grad_(requires)
    with torch.no_grad() if requires else nullcontext():
        assert_close(compiled(run)(xs), run(xs.detach()))


# one input, two inputs, two states: each of them meets transforms of every kind
KINDS = ("lif", "biolif", "coarse_lif")
TRANSFORMS = [
    *((name, "") for name in ("grad", "vjp", "jacrev", "jacfwd", "jvp", "hessian", "jacrev(grad)")),
    *(("vmap", "x"), ("vmap", "p"), ("vmap(grad)", "x"), ("vmap(grad)", "p"), ("grad(vmap)", "x")),
]


@pytest.mark.sampled
@pytest.mark.parametrize(
    ("name", "roles", "kind"), [(name, roles, KINDS[(k + k // 3) % 3]) for k, (name, roles) in enumerate(TRANSFORMS)]
)
def test_a_transform(name: str, roles: str, kind: str) -> None:
    way, case = (MAPS if roles else WAYS)[name], neuron(kind, 2)
    dims, *given = case.members(roles) if roles else ((), *case.tensors())
    first = (dims,) if roles else ()
    function = case(scanned)
    got = compiled(lambda *given: way.by(function, *first, *given))(*given)
    assert_close(got, way.want(case(loop), *first, *given))


# --- layers -----------------------------------------------------------------------------------------------------------


def over_time(layer: Callable[..., Tensor]) -> Function:
    return lambda *x: torch.stack([layer(each, t == 0) for t, each in enumerate(x)])


def test_every_surrogate_and_every_reset() -> None:
    def function(u: Tensor) -> Any:
        spikes = [surrogate(u) for surrogate, _ in TWINS]
        return spikes, [rule(u, spikes[0], 0.3) for rule in RESETS]

    u = draw(5) - 0.5
    assert_close(both(compiled(function), u), both(function, u))


# no more of them: torch.compile gives up after eight variants of one function
CHANGES: list[tuple[str, Any]] = [
    ("surrogate", F.Sigmoid(9.0)),
    ("surrogate", F.FastSigmoid(9.0)),  # the same numbers, another type
    ("surrogate", F.FromPrimitive(torch.tanh)),
    ("surrogate", F.FromPrimitive(torch.sin)),
    ("reset_rule", F.by_subtraction),
    ("reset_rule", F.detached(F.by_subtraction)),
    ("v0", 0.4),
]


@pytest.mark.long
def test_a_change_of_a_layer_takes_effect() -> None:
    layer: Any = st.IF(v0=0.7)
    run, seen = compiled(over_time(layer)), set()
    x = 2 * torch.rand(2, 5, generator=torch.Generator().manual_seed(0))
    for name, to in CHANGES:
        setattr(layer, name, to)
        want = both(over_time(st.IF(layer.v0, surrogate=layer.surrogate, reset=layer.reset_rule)), *x)
        assert_close(both(run, *x), want, name)
        seen.add(str(want))
    assert len(seen) == len(CHANGES)


# --- steps, and parts of steps, that are objects which Dynamo cannot carry as constants -------------------------------


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

    def __call__(self, state: F.IFState, x: Tensor) -> tuple[F.IFState, Tensor]:
        return leaky(state, x, decay=0.9, surrogate=F.Arctan(self.alpha))


class NeuronModule(Module):
    def forward(self, state: F.IFState, x: Tensor) -> tuple[F.IFState, Tensor]:
        return leaky(state, x, decay=0.9, surrogate=F.Arctan(self.alpha))


def of_step(run: Callable[..., Any], held: Any) -> Callable[..., Any]:
    return lambda x, v: run(held, F.IFState(v), x)


def of_surrogate(run: Callable[..., Any], held: Any) -> Callable[..., Any]:
    return lambda x, v: run(leaky, F.IFState(v), x, {"decay": 0.9, "surrogate": held})


def of_wrapped(run: Callable[..., Any], held: Any) -> Callable[..., Any]:
    return lambda x, v: run(F.Refractory(held), F.RefractoryState(F.IFState(v), v - v), x, {"refractory": 2.0})


def of_primitive(run: Callable[..., Any], held: Any) -> Callable[..., Any]:
    return lambda x, v: run(partial(leaky, decay=0.9, surrogate=partial(_through, held)), F.IFState(v), x)


def _through(surrogate: Any, u: Tensor) -> Tensor:
    return surrogate(u)


HELD = {
    "step": (of_step, Neuron),
    "step, a module": (of_step, NeuronModule),
    "step inside another": (of_wrapped, Neuron),
    "surrogate": (of_surrogate, Slope),
    "surrogate, a module": (of_surrogate, SlopeModule),
    "surrogate inside partials": (of_primitive, Slope),
}


@pytest.mark.long
def test_scans_with_objects() -> None:
    """Of every kind in one graph, because each graph takes a second to write down."""
    x, v = 2 * draw(4, 2, 3), draw(2, 3, seed=1)
    held: dict[str, Any] = {name: made(2.0) for name, (_, made) in HELD.items()}
    functions = [of(scanned, held[name]) for name, (of, _) in HELD.items()]
    fast, seen = compiled(lambda x, v: [function(x, v) for function in functions]), []
    for alpha in (2.0, 5.0):  # they change after the first compiled call
        for each in held.values():
            each.alpha = alpha
        found = fast(*(leaf.requires_grad_() for leaf in (x, v)))
        for (name, (of, made)), got in zip(HELD.items(), found, strict=True):
            want = both(of(loop, made(alpha)), x, v)
            slopes = torch.autograd.grad(value(got), [x, v], retain_graph=True)
            assert_close((flat(got).detach(), slopes), want, name)
            seen.append(want[1][0])
    assert not any(map(torch.equal, seen, seen[len(HELD) :]))


@pytest.mark.long
@pytest.mark.parametrize("fullgraph", [False, True])
def test_a_network_with_an_object(fullgraph: bool) -> None:
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
@pytest.mark.parametrize("case", [HELD["step, a module"], HELD["surrogate"]], ids=["step", "surrogate"])
def test_objects_inside_transforms(case: Any) -> None:
    of, made = case
    x, v = 2 * draw(2, 4, 2, 3), draw(2, 2, 3, seed=1)
    run, by_loop = of(scanned, made(2.0)), of(loop, made(2.0))
    assert_close(compiled(lambda *given: ways.by_grad(run, *given))(x[0], v[0]), ways.slopes(by_loop, x[0], v[0]))
    mapped = compiled(lambda *given: ways.by_vmap_of_grad(run, (0, 0), *given))
    assert_close(mapped(x, v), ways.for_each(ways.slopes)(by_loop, (0, 0), x, v))


def test_fused_says_what_to_write() -> None:
    x = draw(2, 3)
    run = compiled(
        lambda x: F.scan(leaky, F.IFState(x[0]), x, params={"decay": 0.9, "surrogate": Slope(2.0)}, backend="fused")
    )
    with pytest.raises(Exception, match="reads a Slope, an object: pass a function, and what it reads of the object"):
        run(x)
