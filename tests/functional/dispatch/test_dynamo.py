"""torch.compile(fullgraph=True): the same results and gradients, and changes after a call take effect.

The backend aot_eager traces forward and backward like the default one, and needs no C++ compiler.
"""

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils import _pytree as pytree

import spikingtorch as st
from spikingtorch import functional as F
from spikingtorch.testing import assert_close
from spikingtorch.verification.cases import CASES, RESETS, TWINS
from tests.fused_steps import counting, draw, loop
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
    ("name", "roles", "kind"),
    [(name, roles, KINDS[(k + k // 3) % 3]) for k, (name, roles) in enumerate(TRANSFORMS)],
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
    x = 2 * torch.rand(3, 5, generator=torch.Generator().manual_seed(0))
    for name, to in CHANGES:
        setattr(layer, name, to)
        want = both(over_time(st.IF(layer.v0, surrogate=layer.surrogate, reset=layer.reset_rule)), *x)
        assert_close(both(run, *x), want, name)
        seen.add(str(want))
    assert len(seen) == len(CHANGES)
