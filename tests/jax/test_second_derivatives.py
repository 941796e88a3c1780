"""Second derivatives through a scan, beside an unrolled loop.

``jax.lax.scan`` of JAX before 0.12 forgets a custom_jvp on the way: when a reverse pass through it is differentiated
again, in either mode, the values that it has stored are differentiated as they are computed, so that a spike has no
derivative. The oracle of second derivatives is therefore an unrolled loop, or forward mode alone, never lax.scan.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import pytest

from spikingtorch.functional import jax_reference as J
from tests.jax.neurons import ALL, QUIET, Kind, Problem, Transform, paired, tangents
from tests.jax.oracle import Scan, assert_same, cotangents, on, plain, relative_error, unrolled, weighted

Function = Callable[..., Any]


def second(function: Function) -> Function:
    """Return the gradient of the results of a function, each times a random weight."""
    return jax.grad(lambda *given: weighted(function(*given), 7), ALL)


def pulled_once(p: Problem, scan: Scan, *given: Any) -> Any:
    results, pull = jax.vjp(p.values(scan), *given)
    return pull(cotangents(results))


SECOND: dict[str, Transform] = {
    "hessian of parameters": lambda p, scan: jax.hessian(p.loss(scan), 2),
    "grad(grad)": lambda p, scan: second(jax.grad(p.loss(scan), ALL)),
    "grad(vjp)": lambda p, scan: second(partial(pulled_once, p, scan)),
    "jvp(grad)": lambda p, scan: lambda *g: jax.jvp(jax.grad(p.loss(scan), ALL), g, tangents(p)),
    "grad(jvp)": lambda p, scan: second(lambda *g: jax.jvp(p.loss(scan), g, tangents(p))),
    "jacfwd(jacfwd)": lambda p, scan: jax.jacfwd(jax.jacfwd(p.loss(scan), 2), 2),
    "jacrev(jacrev)": lambda p, scan: jax.jacrev(jax.jacrev(p.loss(scan), 2), 2),
    "jacrev(jacfwd)": lambda p, scan: jax.jacrev(jax.jacfwd(p.loss(scan), 2), 2),
    "grad(checkpoint(grad))": lambda p, scan: second(jax.checkpoint(jax.grad(p.loss(scan), ALL))),
    "grad(jit(grad))": lambda p, scan: second(jax.jit(jax.grad(p.loss(scan), ALL))),
}
OF_MANY: dict[str, Transform] = {
    "vmap(grad(grad))": lambda p, scan: jax.vmap(second(jax.grad(p.loss(scan), ALL)), (None, 0, None)),
    "grad(vmap(grad))": lambda p, scan: second(jax.vmap(jax.grad(p.loss(scan), ALL), (None, 0, None))),
    "vmap(hessian)": lambda p, scan: jax.vmap(jax.hessian(p.loss(scan), 2), (None, 0, None)),
}


def of_second(name: str, p: Problem, scan: Scan) -> Any:
    given = p.stacked((None, 0, None)) if name in OF_MANY else p.given
    return jax.jit((SECOND | OF_MANY)[name](p, scan))(*given)


@pytest.mark.sampled
@QUIET
@pytest.mark.long
@pytest.mark.parametrize(("kind", "name"), paired(SECOND | OF_MANY, 3))
def test_of_neurons(kind: Kind, name: str) -> None:
    with jax.enable_x64(True):
        problem = Problem(kind.neuron, kind.dtype, kind.form, kind.layout, T=3)
        assert_same(of_second(name, problem, on("auto")), of_second(name, problem, unrolled), computed=kind.dtype)


@pytest.mark.long
def test_the_spike_has_second_derivatives() -> None:
    """The comparisons of second derivatives compare more than zeros."""
    with jax.enable_x64(True):
        found = of_second("grad(grad)", Problem("lif", "float64", "number", T=3), unrolled)
        assert all(float(jnp.abs(jnp.asarray(leaf)).max()) > 1e-3 for leaf in jax.tree.leaves(found))


# --- steps with a custom_jvp of their own -----------------------------------------------------------------------------


@jax.custom_jvp
def stairs(u: Any) -> Any:
    return jnp.floor(2.0 * u)


@stairs.defjvp
def _(primals: Any, tangents: Any) -> Any:
    return stairs(*primals), jnp.cos(primals[0]) * tangents[0]


def of_stairs(state: Any, x: Any, steps: Any = stairs) -> Any:
    u = 0.9 * state + x
    out = steps(u)
    return u - 0.3 * out, out * out + u


def of_the_library(state: Any, x: Any) -> Any:
    after, spike = J.lif_step(J.LIFState(state), x, decay=0.9)
    return after.v, spike


def loss(scan: Scan, step: Any) -> Function:
    return lambda xs: weighted(scan(step, jnp.asarray(0.1), xs)) ** 2


def first(function: Function) -> Function:
    return lambda xs: weighted(jax.grad(function)(xs), 1)


ORDERS: dict[str, Callable[[Scan, Any], Function]] = {
    "grad(grad)": lambda scan, step: jax.grad(first(loss(scan, step))),
    "jvp(grad)": lambda scan, step: lambda xs: jax.jvp(first(loss(scan, step)), (xs,), (jnp.cos(xs),)),
    "hessian": lambda scan, step: jax.hessian(loss(scan, step)),
    "jacrev(jacfwd)": lambda scan, step: jax.jacrev(jax.jacfwd(loss(scan, step))),
    "jacfwd(jacfwd)": lambda scan, step: jax.jacfwd(jax.jacfwd(loss(scan, step))),
}


def found(order: str, scan: Scan, step: Any) -> Any:
    xs = jax.random.uniform(jax.random.key(0), (3,), minval=0.0, maxval=1.4)
    return jax.jit(ORDERS[order](scan, step))(xs)


@pytest.mark.sampled
@pytest.mark.parametrize("step", [of_stairs, of_the_library])
@pytest.mark.parametrize("order", ORDERS)
def test_of_a_custom_jvp(order: str, step: Any) -> None:
    with jax.enable_x64(True):
        assert_same(found(order, on("auto"), step), found(order, unrolled, step))


@pytest.mark.long
def test_the_oracle_is_right() -> None:
    """Derivatives commute in an unrolled loop, forward mode through lax.scan agrees, and a jvp left out is seen."""
    with jax.enable_x64(True):
        for step in (of_stairs, of_the_library):
            want = found("jacfwd(jacfwd)", unrolled, step)
            for order in ("hessian", "jacrev(jacfwd)"):
                assert_same(found(order, unrolled, step), want)
            for order in ("jacfwd(jacfwd)", "jacrev(jacfwd)"):
                assert_same(found(order, plain, step), want)
        forgetful = partial(of_stairs, steps=lambda u: jnp.floor(2.0 * u))
        pair = (found("grad(grad)", unrolled, step) for step in (forgetful, of_stairs))
        assert relative_error(*pair) > 1e-3
