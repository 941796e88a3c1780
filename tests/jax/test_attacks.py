"""Traces that fail, closures over tracers, caches, precisions, threads and donated memory."""

import re
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.jax.neurons import QUIET, START, XS, V, lif
from tests.jax.oracle import Scan, assert_same, check, gradients, on, plain, weighted
from tests.processes import at_once

pytestmark = pytest.mark.sampled


def test_an_if_on_a_number_says_what_jax_says() -> None:
    def step(v: Any, x: Any) -> Any:
        return (v + x, x) if x > 0 else (v - x, x)

    # of several numbers, JAX says that an if is ambiguous
    for shape in ((), (3,)):
        with pytest.raises(Exception, match=r"truth value|boolean conversion") as told:
            plain(step, jnp.zeros(shape), jnp.ones((4, *shape)))
        for backend in ("auto", "fused", "loop"):
            with pytest.raises(type(told.value), match=re.escape(str(told.value).splitlines()[0])):
                on(backend)(step, jnp.zeros(shape), jnp.ones((4, *shape)))
    assert_same(on("auto")(lif, START, XS), plain(lif, START, XS))


CONVERSIONS: list[tuple[Callable[[Any], Any], Any]] = [
    (float, jax.errors.ConcretizationTypeError),
    (np.asarray, jax.errors.TracerArrayConversionError),
    (lambda x: [1.0][x.astype(int)], jax.errors.TracerIntegerConversionError),
]


def test_other_conversions_say_what_jax_says() -> None:
    for convert, error in CONVERSIONS:
        for backend in ("auto", "fused"):
            with pytest.raises(error):
                on(backend)(lambda v, x, convert=convert: (v + x, convert(x)), jnp.zeros(()), jnp.ones(4))


def test_an_exception_amid_a_trace_comes_through_and_leaves_nothing() -> None:
    fails = [True]

    def step(v: Any, x: Any) -> Any:
        u = 0.5 * v + x
        if fails[0]:
            raise ZeroDivisionError("mine")
        return u, u

    for run in (lambda: on("auto")(step, XS[0], XS), lambda: gradients(on("auto"), step, XS[0], XS)):
        fails[0] = True
        with pytest.raises(ZeroDivisionError, match="mine"):
            run()  # type: ignore[no-untyped-call]
        fails[0] = False
        check(step, XS[0], XS)


@QUIET
def test_an_exception_in_a_derivative_comes_through_and_leaves_nothing() -> None:
    fails = [True]

    @jax.custom_vjp
    def spike(u: Any) -> Any:
        return (u > 0).astype(u.dtype)

    def backward(u: Any, g: Any) -> Any:
        if fails[0]:
            raise ZeroDivisionError("mine")
        return (g / (1.0 + u * u),)

    spike.defvjp(lambda u: (spike(u), u), backward)
    step = lambda v, x: (0.5 * v + x, spike(v + x))  # noqa: E731
    with pytest.raises(ZeroDivisionError, match="mine"):
        gradients(on("auto"), step, XS[0], XS)
    fails[0] = False
    check(step, XS[0], XS)


@QUIET
def test_a_direction_passes_by_a_custom_vjp_whose_derivative_is_not_needed() -> None:
    @jax.custom_vjp
    def spike(u: Any) -> Any:
        return (u >= 0).astype(u.dtype)

    spike.defvjp(lambda u: (spike(u), u), lambda u, g: (g / (1.0 + u * u),))
    for unneeded in (jnp.floor, jax.lax.stop_gradient):
        step = lambda v, x, f=unneeded: (0.9 * v + f(spike(v - 0.3)) + x, f(spike(v - 0.3)) + x)  # noqa: E731
        of = lambda scan, xs, step=step: scan(step, XS[0], xs)[1]  # noqa: E731
        for run in (jax.jvp, jax.jit(jax.jvp, static_argnums=0)):
            assert_same(*(run(partial(of, scan), (XS,), (XS,)) for scan in (on("auto"), jax.lax.scan)))
    needed = lambda v, x: (0.9 * v + x, spike(v - 0.3))  # noqa: E731
    with pytest.raises(TypeError, match="can't apply forward-mode autodiff"):
        jax.jvp(lambda xs: on("auto")(needed, XS[0], xs), (XS,), (XS,))


def test_a_closure_that_changes_changes_the_result() -> None:
    found = {"k": 0.5, "w": jnp.asarray(0.5)}
    step = lambda s, x: (found["k"] * s + found["w"] * x, s)  # noqa: E731
    for k, w in ((0.5, 0.5), (0.25, 0.5), (0.25, 2.0)):
        found.update(k=k, w=jnp.asarray(w))
        check(step, V, XS)


def test_no_tracer_stays_behind() -> None:
    """A step that a jit has traced with a closure over its tracers runs again outside."""
    with jax.checking_leaks():
        run = jax.jit(lambda w: on("auto")(lambda s, x: (0.5 * s + w * x, s), V, XS))
        run(jnp.asarray(2.0))
        jax.jit(jax.grad(lambda w: weighted(on("auto")(lambda s, x: (0.5 * s + w * x, s), V, XS))))(jnp.asarray(2.0))
    check(lif, START, XS)


@pytest.mark.long
def test_caches_that_are_cleared() -> None:
    for _ in range(2):
        check(lif, START, XS, params={"decay": 0.8})
        jax.clear_caches()  # type: ignore[no-untyped-call]
    run = jax.jit(lambda xs: on("auto")(lif, START, xs))
    first = run(XS)
    jax.clear_caches()  # type: ignore[no-untyped-call]
    assert_same(run(XS), first)


@pytest.mark.long
def test_both_precisions_in_one_process() -> None:
    for wide in (False, True, False):
        with jax.enable_x64(wide):
            dtype = jnp.float64 if wide else jnp.float32
            state, xs = jax.tree.map(lambda leaf, to=dtype: leaf.astype(to), (START, XS))
            final, spikes = on("auto")(lif, state, xs)
            assert (final.v.dtype, spikes.dtype) == (dtype, dtype)
            check(lif, state, xs, {"decay": 0.8})
            check(lif, START, XS, {"decay": 0.8})  # float32 where float64 is on


def test_two_threads() -> None:
    """New steps in several threads at once, each with its own numbers."""

    def work(k: int) -> None:
        for again in range(2):
            step = lambda s, x: (0.5 * s + (k + 1.0) * x, jnp.where(s > again, s, -x))  # noqa: B023, E731
            check(step, V, XS)
            check(lif, START, XS, params={"decay": 0.5 + 0.1 * k})

    at_once(*[partial(work, k) for k in range(2)])


def test_arguments_stay_as_they_were() -> None:
    before = jax.tree.map(np.array, (START, XS))
    gradients(on("auto"), lif, START, XS, {"decay": jnp.asarray(0.8)})
    assert_same((START, XS), before)


@pytest.mark.parametrize("dtype", [jnp.float16, jnp.bfloat16])
def test_a_number_as_state_is_not_rounded_to_half_precision(dtype: Any) -> None:
    step = lambda s, x: (0.9 * s + x, s)  # noqa: E731
    weak = jnp.full((2, 3), 0.1)
    assert jax.typeof(weak).weak_type
    check(step, weak, jnp.zeros((4, 2, 3), dtype))


def test_a_nan_is_told_where_it_is_looked_for() -> None:
    step = lambda s, x: (s + x, jnp.log(-1.0 - s * s))  # noqa: E731
    for run in (on("fused"), jax.jit(lambda *given: on("fused")(step, *given[1:]), static_argnums=0)):
        with jax.debug_nans(True), pytest.raises(FloatingPointError, match="nan"):
            run(step, V, XS)
    with jax.debug_infs(True), pytest.raises(FloatingPointError, match="inf"):
        on("fused")(lambda s, x: (s + x, 1.0 / (0.0 * x)), V, XS)
    with jax.debug_nans(True), jax.debug_infs(True):
        check(lif, START, XS)


@QUIET
def test_a_step_that_writes_into_a_reference() -> None:
    def total(scan: Scan) -> Any:
        seen = jax.new_ref(jnp.zeros_like(V))

        def step(s: Any, x: Any) -> Any:
            seen[...] = seen[...] + x
            return s + x, s

        return scan(step, V, XS), seen[...]

    assert_same(total(on("auto")), total(plain))


KEY = jax.random.key(1)
drawn = jax.jit(lambda x: x * jax.random.uniform(KEY))
# steps that hold a key of random numbers, and where else they are given one
KEYED: dict[str, Callable[[Scan], Any]] = {
    "captured": lambda scan: scan(lambda s, x: (s + x * jax.random.uniform(KEY), s), V, XS),
    "captured by a jit within": lambda scan: scan(lambda s, x: (s + drawn(x), s), V, XS),
    "parameter": lambda scan: scan(lambda s, x, k: (s + x * jax.random.uniform(k), s), V, XS, params={"k": KEY}),
    "state": lambda scan: scan(lambda s, x: ((s[0] + x * jax.random.uniform(s[1]), s[1]), x), (V, KEY), XS)[1],
    "input": lambda scan: scan(
        lambda s, x: (s + x[0] * jax.random.uniform(x[1]), s), V, (XS, jax.random.split(KEY, len(XS)))
    ),
}


@QUIET
@pytest.mark.parametrize("name", KEYED)
def test_a_step_with_a_key_runs_by_lax_scan(name: str) -> None:
    assert_same(KEYED[name](on("auto")), KEYED[name](plain))
