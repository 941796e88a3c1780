"""Second derivatives of every neuron, beside an unrolled loop."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import pytest

from spikingtorch.functional import jax_reference as J
from tests.jax.inputs import QUIET
from tests.jax.oracle import Scan, assert_same, cotangents, on, unrolled, weighted
from tests.jax.problems import ALL, Kind, Problem, Transform, paired, tangents

SECOND: dict[str, Transform] = {
    "hessian of parameters": lambda p, scan: jax.hessian(p.loss(scan), 2),
    "grad(grad)": lambda p, scan: second(jax.grad(p.loss(scan), ALL)),
    "grad(vjp)": lambda p, scan: second(partial(pulled_once, p, scan)),
    "jvp(grad)": lambda p, scan: lambda *g: jax.jvp(jax.grad(p.loss(scan), ALL), g, tangents(p)),
    "grad(jvp)": lambda p, scan: second(lambda *g: jax.jvp(p.loss(scan), g, tangents(p))),
    "jacfwd(jacfwd)": lambda p, scan: jax.jacfwd(jax.jacfwd(p.loss(scan), 2), 2),
    "jacrev(jacrev)": lambda p, scan: jax.jacrev(jax.jacrev(p.loss(scan), 2), 2),
    "grad(checkpoint(grad))": lambda p, scan: second(jax.checkpoint(jax.grad(p.loss(scan), ALL))),
    "grad(jit(grad))": lambda p, scan: second(jax.jit(jax.grad(p.loss(scan), ALL))),
}
SECOND_OF_MANY: dict[str, Transform] = {
    "vmap(grad(grad))": lambda p, scan: jax.vmap(second(jax.grad(p.loss(scan), ALL)), (None, 0, None)),
    "grad(vmap(grad))": lambda p, scan: second(jax.vmap(jax.grad(p.loss(scan), ALL), (None, 0, None))),
    "vmap(hessian)": lambda p, scan: jax.vmap(jax.hessian(p.loss(scan), 2), (None, 0, None)),
}


def second(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return the gradient of the results of a function, each times a random weight."""
    return jax.grad(lambda *given: weighted(function(*given), 7), ALL)


def of_second(name: str, p: Problem, scan: Scan) -> Any:
    many = name in SECOND_OF_MANY
    given = p.stacked((None, 0, None)) if many else p.given
    return jax.jit((SECOND_OF_MANY if many else SECOND)[name](p, scan))(*given)


def pulled_once(p: Problem, scan: Scan, *given: Any) -> Any:
    results, pull = jax.vjp(p.values(scan), *given)
    return pull(cotangents(results))


@pytest.mark.sampled
@QUIET
@pytest.mark.long
@pytest.mark.parametrize(("kind", "name"), paired(SECOND | SECOND_OF_MANY, 3))
def test_second_derivatives(kind: Kind, name: str) -> None:
    """An unrolled loop is the oracle: lax.scan of older releases loses a custom_jvp (test_second_derivatives.py)."""
    with jax.enable_x64(True):
        problem = Problem(kind.neuron, kind.dtype, kind.form, kind.layout, T=3)
        assert_same(of_second(name, problem, on("auto")), of_second(name, problem, unrolled), computed=kind.dtype)


@pytest.mark.long
def test_the_spike_has_second_derivatives() -> None:
    """The comparisons of second derivatives compare more than zeros."""
    with jax.enable_x64(True):
        problem = Problem("lif", "float64", "number", T=3)
        found = of_second("grad(grad)", problem, unrolled)
        assert all(float(jnp.abs(jnp.asarray(leaf)).max()) > 1e-3 for leaf in jax.tree.leaves(found))
        assert J.Sigmoid()(jnp.zeros(())) == 1.0
