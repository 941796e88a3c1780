"""Steps that look beyond their own neuron, or at the shape of their input: lax.scan has to run these. And messages.

A kernel is made from what a step does to one neuron. So a step whose result depends on others, or on how
many there are, must not become one.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from spikingtorch import jax as snn
from spikingtorch.jax import handler, primitives
from tests.jax.neurons import QUIET, START, XS, V, lif, stepping
from tests.jax.oracle import assert_same, check, plain

LOOKS: dict[str, Callable[[Any], Any]] = {
    "sum": lambda x: x - jnp.sum(x),
    "size": lambda x: x / x.size,
    "ndim": lambda x: x * x.ndim,
    "rank in an if": lambda x: x * 2.0 if x.ndim > 1 else x,
    "flat": lambda x: x.reshape(-1)[::-1].reshape(x.shape),
    "transposed twice": lambda x: x.T.T,
    "transposed": lambda x: (x.T @ x.T.T).sum() * x,
    "flip": jnp.flip,
    "cumsum": lambda x: jnp.cumsum(x, axis=-1),
    "sort": lambda x: jnp.sort(x, axis=-1),
    "index": lambda x: x * x[..., :1],
    "arange": lambda x: x * jnp.arange(x.shape[-1]),
    "concatenate": lambda x: jnp.concatenate([x, 2.0 * x], -1)[..., 1:4],
    "random numbers": lambda x: x + jax.random.normal(jax.random.key(0), x.shape),
    "ones": lambda x: x + jnp.ones(x.shape).sum(),
    "an inner scan": lambda x: jax.lax.scan(lambda c, y: (c + y, c), jnp.zeros(x.shape[1:]), x)[1],
    "a fori_loop": lambda x: jax.lax.fori_loop(0, 3, lambda i, y: y * 0.5 + i, x),
    "a while_loop of numbers": lambda x: (
        x
        * jax.lax.stop_gradient(
            jax.lax.while_loop(lambda y: y.max() > 0.5, lambda y: 0.5 * y, jax.lax.stop_gradient(x))
        )
    ),
    "vmap with an axis name": lambda x: jax.vmap(lambda y: y - jax.lax.pmean(y, "b"), axis_name="b")(x),  # type: ignore[no-untyped-call]
    "map_coordinates by take": lambda x: jnp.take(x, jnp.asarray([2, 0, 1]), axis=-1),
    "a closure of all neurons": lambda x: x * jnp.asarray([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]),
    "a closure of a row": lambda x: x * jnp.asarray([1.0, 2.0, 3.0]) + jnp.asarray([[1.0], [2.0]]),
    "a closure in numpy": lambda x: x * np.asarray([1.0, 2.0, 3.0], np.float32),
    "a pure_callback": lambda x: jax.lax.stop_gradient(
        jax.pure_callback(lambda y: np.sort(y, axis=None).reshape(y.shape), x, jax.lax.stop_gradient(x))
    ),
}
# what looks at its own neuron alone, and has no rule
NO_RULE: dict[str, Callable[[Any], Any]] = {
    "erfc": jax.lax.erfc,
    "tan": jnp.tan,
    "uint32": lambda x: jnp.abs(x).astype(jnp.uint32).astype(x.dtype),
    "f16": lambda x: x.astype(jnp.float16).astype(x.dtype),
    "rem": lambda x: (x.astype(jnp.int32) % 3).astype(x.dtype),
    "away from zero": jax.lax.round,
}
# what explain_scan names
REASONS = {
    **{"sum": "reduce_sum", "flip": "rev", "concatenate": "concatenate", "sort": "sort"},
    **{"cumsum": "cumsum", "arange": "iota", "a while_loop of numbers": "while", "a fori_loop": "scan"},
    **{"a pure_callback": "pure_callback", "random numbers": "random", "transposed": "dot_general"},
    **{"map_coordinates by take": "gather", **{name: name for name in NO_RULE}},
}


@QUIET
@pytest.mark.sampled
@pytest.mark.parametrize("name", [*LOOKS, *NO_RULE])
def test_what_a_step_looks_at(name: str) -> None:
    step = stepping((LOOKS | NO_RULE)[name])
    check(step, V, XS)
    if name in REASONS:
        told = snn.explain_scan(step, V, XS)
        assert told.backend == "loop", told
        assert REASONS[name] in told.reason, told.reason


@QUIET
@pytest.mark.sampled
@pytest.mark.parametrize("look", [lambda x: x - 0.5 * jnp.sum(x), LOOKS["size"], LOOKS["ndim"]])
@pytest.mark.parametrize("shape", [(), (1,), (3, 1)], ids=str)
def test_each_shape_has_a_kernel_of_its_own(shape: tuple[int, ...], look: Any) -> None:
    """A kernel for a shape in which a sum is nothing is none for another shape."""
    step = stepping(look)
    for each in (shape, (2, 3), shape):
        xs = jnp.linspace(0.0, 1.0, 5 * int(np.prod(each))).reshape(5, *each)
        check(step, jnp.zeros(each), xs)


@QUIET
def test_a_step_with_effects_has_them_at_every_step() -> None:
    seen: list[float] = []

    def step(v: Any, x: Any) -> Any:
        jax.debug.callback(lambda value: seen.append(float(value)), x)
        return v + x, v

    snn.scan(step, jnp.zeros(()), jnp.arange(4.0))
    jax.effects_barrier()  # type: ignore[no-untyped-call]
    assert sorted(seen) == [0.0, 1.0, 2.0, 3.0]
    assert "Debug" in snn.explain_scan(step, jnp.zeros(()), jnp.arange(4.0)).reason


# --- backward passes that users wrote, which sum over neurons as no vjp of JAX does -----------------------------------

# gradients of a number that all neurons share, from what comes for each of them
OF_SHARED: dict[str, Callable[[Any], Any]] = {
    "of a constant over an axis": lambda g: jnp.ones(g.shape[-1]).sum(),
    "of one constant": lambda g: jnp.ones(1).sum(),
    "of a constant over all": lambda g: jnp.ones(g.shape).sum(),
    "times the number of neurons": lambda g: jnp.ones(g.shape).sum() * g.sum(),
    "as a bool": lambda g: g.sum().astype(bool).astype(g.dtype),
    "of a count, as a bool": lambda g: jnp.sum(g > 0, dtype=jnp.int32).astype(bool).astype(g.dtype),
    "of a count": lambda g: (g > 0).astype(jnp.int32).sum().astype(g.dtype),
    "largest": lambda g: g.max(),
    "mean": lambda g: g.mean(),
}


@QUIET
@pytest.mark.sampled
@pytest.mark.parametrize("name", OF_SHARED)
def test_a_sum_of_ones_own(name: str) -> None:
    @jax.custom_vjp
    def scaled(x: Any, p: Any) -> Any:
        return x * p

    scaled.defvjp(lambda x, p: (x * p, p), lambda p, g: (g * p, OF_SHARED[name](g)))

    def step(v: Any, x: Any, *, p: Any) -> Any:
        u = 0.5 * jnp.tanh(v) + scaled(x, p)
        return u, u

    check(step, V, XS, {"p": jnp.asarray(0.7)})


WHOLE = jnp.zeros((2, 3), jnp.int32)
# a call, and its error with the words of spikingtorch.functional.scan: what came, what is expected
WRONG: dict[str, tuple[Any, Any, Any, dict[str, Any], type[Exception]]] = {
    r"returned .*; a step returns the pair \(state, output\)": (lambda s, x: s + x, V, XS, {}, TypeError),
    r"was given the state LIFState.* and returned": (lambda s, x: ((s.v,), x), START, XS, {}, TypeError),
    r"turned state of shape \(2, 3\) into \(3,\)": (lambda s, x: (s[0], x), V, XS, {}, ValueError),
    r"turned state from .*float32 into .*float16": (lambda s, x: (s.astype("float16"), x), V, XS, {}, TypeError),
    r"turned state from .*int32 into .*float32": (lambda s, x: (s + x, x), WHOLE, XS, {}, TypeError),
    r"xs holds no (array|tensor)": (lif, START, (), {}, ValueError),
    r"xs has shape \(\), which has no time axis dim=0": (lif, START, jnp.asarray(1.0), {}, ValueError),
    r"xs has shape \(7, 2, 3\), which has no time axis dim=3": (lif, START, XS, {"dim": 3}, ValueError),
    r"inputs differ in length along dim=0": (lambda s, x: (s, x[0]), START, (XS, XS[:3]), {}, ValueError),
    r"no input is floating: xs is .*int32": (lif, START, jnp.ones((3, 2, 3), jnp.int32), {}, TypeError),
    r".*backend.*quick": (lif, START, XS, {"backend": "quick"}, ValueError),
}


@QUIET
@pytest.mark.parametrize("message", WRONG)
def test_messages(message: str) -> None:
    step, state, xs, more, error = WRONG[message]
    scan: Any = snn.scan
    for backend in ("auto", "fused", "loop"):
        with pytest.raises(error, match=f"scan: .*{message}"):
            scan(step, state, xs, **{"backend": backend, **more})


def test_a_refused_step_on_request_names_the_primitive() -> None:
    step = stepping(lambda x: jnp.sort(x, -1))
    with pytest.raises(ValueError, match=r"scan: backend='fused' cannot run .*sort.*backend='auto'"):
        snn.scan(step, V, XS, backend="fused")
    told = snn.explain_scan(step, V, XS)
    assert told.backend == "loop"
    assert "sort" in told.reason


def test_without_a_compiler_lax_scan_runs_and_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same in a process of its own is a long test (test_processes.py)."""
    monkeypatch.setattr(handler, "why_none", lambda: "there is no C compiler. To get one: ...")
    primitives.warn_once.cache_clear()
    with pytest.warns(RuntimeWarning, match=r"run by jax\.lax\.scan \(slower\) because there is no C compiler"):
        found = snn.scan(lif, START, XS)
    assert_same(found, plain(lif, START, XS))
    with pytest.raises(ValueError, match="there is no C compiler"):
        snn.scan(lif, START, XS, backend="fused")
    assert snn.explain_scan(lif, START, XS).backend == "loop"


def test_a_compiler_that_fails_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in torch: auto warns once, whatever the number of kernels, a request is an error, and the reason is told."""
    monkeypatch.setenv("CC", "false")
    with pytest.warns(RuntimeWarning, match=r"run by jax\.lax\.scan \(slower\) because the C compiler failed"):
        snn.scan(lif, START, XS)
    snn.scan(lambda s, x: lif(s, x, 0.7), START, XS)  # a second warning would be an error
    with pytest.raises(ValueError, match="cannot run lif, which cannot be compiled: the C compiler failed"):
        snn.scan(lif, START, XS, backend="fused")
    assert str(snn.explain_scan(lif, START, XS)).startswith("loop: ")


def test_second_derivatives_say_who_runs_them() -> None:
    told = snn.explain_scan(lif, START, XS)
    assert (told.backend, told.exactness) in {("fused", "E"), ("fused", "T")}
    assert "lax.scan" in snn.explain_scan(lif, START, XS, backend="loop").reason
