"""Derivatives of derivatives through a scan, where a custom_jvp says the derivative.

``jax.lax.scan`` of JAX before 0.12 forgets a custom_jvp on the way: when a reverse pass through it is differentiated
again, in either mode, the values that it has stored are differentiated as they are computed, so that a spike has no
derivative. The oracle of second derivatives is therefore an unrolled loop, or forward mode alone, never lax.scan.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import pytest

from spikingtorch.functional import jax_reference as J
from tests.jax.oracle import Scan, assert_same, on, plain, relative_error, unrolled, weighted

Function = Callable[[Any], Any]


@jax.custom_jvp
def stairs(u: Any) -> Any:
    return jnp.floor(2.0 * u)


@stairs.defjvp
def _(primals: Any, tangents: Any) -> Any:
    return stairs(*primals), jnp.cos(primals[0]) * tangents[0]


def of_stairs(state: Any, x: Any) -> Any:
    u = 0.9 * state + x
    out = stairs(u)
    return u - 0.3 * out, out * out + u


def of_the_library(state: Any, x: Any) -> Any:
    after, spike = J.lif_step(J.LIFState(state), x, decay=0.9)
    return after.v, spike


def loss(scan: Scan, step: Any) -> Function:
    return lambda xs: weighted(scan(step, jnp.asarray(0.1), xs)) ** 2


def first(function: Function) -> Function:
    return lambda xs: weighted(jax.grad(function)(xs), 1)


def pulled(scan: Scan, step: Any, xs: Any) -> Any:
    results, pull = jax.vjp(lambda xs: scan(step, jnp.asarray(0.1), xs), xs)
    return weighted(pull(jax.tree.map(lambda leaf: jnp.sin(1.0 + leaf), results)), 1)


# every order in which two derivatives can be taken
ORDERS: dict[str, Callable[[Scan, Any], Function]] = {
    "grad(grad)": lambda scan, step: jax.grad(first(loss(scan, step))),
    "grad(vjp)": lambda scan, step: jax.grad(lambda xs: pulled(scan, step, xs)),
    "jvp(grad)": lambda scan, step: lambda xs: jax.jvp(first(loss(scan, step)), (xs,), (jnp.cos(xs),)),
    "hessian": lambda scan, step: jax.hessian(loss(scan, step)),
    "jacrev(jacrev)": lambda scan, step: jax.jacrev(jax.jacrev(loss(scan, step))),
    "jacrev(jacfwd)": lambda scan, step: jax.jacrev(jax.jacfwd(loss(scan, step))),
    "jacfwd(jacfwd)": lambda scan, step: jax.jacfwd(jax.jacfwd(loss(scan, step))),
}
FORGETFUL = {"grad(grad)", "grad(vjp)", "jvp(grad)", "hessian", "jacrev(jacrev)"}


def numbers(seed: int = 0) -> Any:
    return jax.random.uniform(jax.random.key(seed), (3,), minval=0.0, maxval=1.4)


@pytest.mark.sampled
@pytest.mark.parametrize("step", [of_stairs, of_the_library])
@pytest.mark.parametrize("order", ORDERS)
def test_scan_has_the_second_derivatives_of_an_unrolled_loop(order: str, step: Any) -> None:
    with jax.enable_x64(True):
        got = jax.jit(ORDERS[order](on("auto"), step))(numbers())
        assert_same(got, jax.jit(ORDERS[order](unrolled, step))(numbers()))


@pytest.mark.long
def test_the_orders_agree_in_an_unrolled_loop() -> None:
    """The oracle is right: derivatives commute in it, and forward mode through lax.scan gives them as well."""
    with jax.enable_x64(True):
        for step in (of_stairs, of_the_library):
            want = jax.jit(ORDERS["jacfwd(jacfwd)"](unrolled, step))(numbers())
            for order in ("hessian", "jacrev(jacfwd)"):
                assert_same(jax.jit(ORDERS[order](unrolled, step))(numbers()), want)
            for order in ("jacfwd(jacfwd)", "jacrev(jacfwd)"):
                assert_same(jax.jit(ORDERS[order](plain, step))(numbers()), want)


@pytest.mark.long
@pytest.mark.parametrize("order", ORDERS)
def test_lax_scan_forgets_a_custom_jvp_or_not(order: str) -> None:
    """Which releases of JAX do is written down, so that a change is noticed."""
    with jax.enable_x64(True):
        for step in (of_stairs, of_the_library):
            got, want = (
                jax.tree.leaves(jax.jit(ORDERS[order](scan, step))(numbers()))[-1] for scan in (plain, unrolled)
            )
            forgets = order in FORGETFUL and jax.__version_info__ < FIXED
            error = relative_error(got, want)
            assert (error > 1e-3) if forgets else (error < 1e-10), error


FIXED = (0, 12)


@pytest.mark.long
def test_a_first_derivative_is_right_in_lax_scan_even_so() -> None:
    """The table compares first derivatives with lax.scan, checkpoint included: these are those of an unrolled loop."""
    with jax.enable_x64(True):
        want = jax.jit(jax.grad(loss(unrolled, of_stairs)))(numbers())
        assert_same(jax.jit(jax.grad(loss(plain, of_stairs)))(numbers()), want)
        assert_same(jax.jit(jax.grad(jax.checkpoint(loss(plain, of_stairs))))(numbers()), want)


@pytest.mark.long
def test_a_mutant_that_forgets_is_seen() -> None:
    """Derivatives of a step whose custom_jvp is dropped differ: the comparison above can fail."""
    forgetful = lambda state, x: of_stairs_without(state, x)  # noqa: E731
    with jax.enable_x64(True):
        got, want = (jax.jit(jax.grad(first(loss(unrolled, step))))(numbers()) for step in (forgetful, of_stairs))
        assert relative_error(got, want) > 1e-3


def of_stairs_without(state: Any, x: Any) -> Any:
    u = 0.9 * state + x
    out = jnp.floor(2.0 * u)
    return u - 0.3 * out, out * out + u


@pytest.mark.long
def test_verification_takes_second_derivatives_without_a_scan() -> None:
    """The page of verification compares second derivatives of a surrogate alone, where nothing is forgotten."""
    with jax.enable_x64(True):
        u = jnp.linspace(-1.0, 1.0, 7)
        surrogates: tuple[Any, ...] = (J.Sigmoid(), J.Arctan(), J.Gaussian())
        for surrogate in surrogates:
            second = jax.vmap(jax.grad(jax.grad(surrogate)))(u)
            assert_same(second, jax.vmap(jax.grad(surrogate.derivative))(u))
