"""A scan inside the transformations of JAX, and these inside each other, beside jax.lax.scan."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from spikingtorch.functional import jax_reference as J
from tests.jax.neurons import ALL, QUIET, XS, Kind, Problem, Transform, V, lif, paired, tangents
from tests.jax.oracle import Scan, assert_same, cotangents, on, plain, relative_error, unrolled, weighted

OVER_XS = (None, 0, None)


def mapped(axes: Any, gradients: bool, out_axes: int = 0) -> Transform:
    def run(p: Problem, scan: Scan) -> Any:
        function = jax.grad(p.loss(scan), ALL) if gradients else p.values(scan)
        return jax.jit(jax.vmap(function, axes, out_axes))(*p.stacked(axes))

    return run


def one_parameter(gradients: bool) -> Transform:
    """Map over one parameter among those that a dict holds."""

    def run(p: Problem, scan: Scan) -> Any:
        state, xs, params = p.given
        name = min(params)
        axes = (None, None, {key: 0 if key == name else None for key in params})
        many = params | {name: jnp.stack([jnp.asarray(params[name]) * (1 + 0.1 * k) for k in range(3)])}
        function = jax.grad(p.loss(scan), ALL) if gradients else p.values(scan)
        return jax.jit(jax.vmap(function, axes))(state, xs, many)

    return run


def nested(p: Problem, scan: Scan) -> Any:
    """Map over parameters, and for each of them over inputs."""
    _, xs, params = p.stacked((None, 0, 0))
    inner = jax.vmap(p.values(scan), OVER_XS)
    return jax.jit(jax.vmap(inner, (None, None, 0)))(p.given[0], xs, params)


def nested_grad(p: Problem, scan: Scan) -> Any:
    state, xs, params = p.stacked((0, 0, 0), 2)
    inner = jax.vmap(jax.grad(p.loss(scan), ALL), OVER_XS)
    return jax.jit(jax.vmap(jax.vmap(inner, (0, None, None)), (None, None, 0)))(state, xs, params)


def grad_of_vmap(axes: Any) -> Transform:
    def run(p: Problem, scan: Scan) -> Any:
        total = lambda *given: weighted(jax.vmap(p.values(scan), axes)(*given), 3)  # noqa: E731
        return jax.jit(jax.grad(total, ALL))(*p.stacked(axes))

    return run


def grad_of_nested(p: Problem, scan: Scan) -> Any:
    inner = jax.vmap(p.values(scan), OVER_XS)
    total = lambda *given: weighted(jax.vmap(inner, (None, None, 0))(*given), 3)  # noqa: E731
    _, xs, params = p.stacked((None, 0, 0))
    return jax.jit(jax.grad(total, ALL))(p.given[0], xs, params)


def in_chunks(p: Problem, scan: Scan) -> Any:
    """Go on from chunk to chunk inside lax.scan, and differentiate through all of them."""

    def total(state: Any, xs: Any, params: Any) -> Any:
        def body(carry: Any, chunk: Any) -> Any:
            return p.values(scan)(carry, chunk, params)

        return weighted(jax.lax.scan(body, state, jax.tree.map(lambda x: jnp.stack([x, x * 0.9]), xs)), 3)

    return jax.jit(jax.value_and_grad(total, ALL))(*p.given)


def trained(p: Problem, scan: Scan) -> Any:
    """Descend a gradient inside a loop of XLA."""

    def body(k: Any, params: Any) -> Any:
        grads = jax.grad(p.loss(scan), 2)(*p.given[:2], params)
        return jax.tree.map(lambda value, grad: value - 1e-3 * grad, params, grads)

    return jax.jit(lambda params: jax.lax.fori_loop(0, 3, body, params))(jax.tree.map(jnp.asarray, p.given[2]))


def while_loop(p: Problem, scan: Scan) -> Any:
    def body(carry: Any) -> Any:
        return carry[0] + 1, p.values(scan)(carry[1], p.given[1], p.given[2])[0]

    return jax.jit(lambda state: jax.lax.while_loop(lambda carry: carry[0] < 3, body, (0, state)))(p.given[0])


def cond(p: Problem, scan: Scan) -> Any:
    def total(yes: Any, given: Any) -> Any:
        halved = lambda state, xs, params: (state, jax.tree.map(lambda x: 0.5 * x, xs), params)  # noqa: E731
        return jax.lax.cond(yes, lambda g: p.loss(scan)(*g), lambda g: p.loss(scan)(*halved(*g)), given)  # type: ignore[no-untyped-call]

    run = jax.jit(jax.value_and_grad(total, 1))
    return [run(jnp.asarray(yes), p.given) for yes in (True, False)]


def mapped_cond(p: Problem, scan: Scan) -> Any:
    """Map over the predicate, so that both branches run and a selection is made."""
    run = lambda yes, *g: jax.lax.cond(yes, p.values(scan), lambda s, x, q: p.values(scan)(s, x, q), *g)  # noqa: E731
    axes = (0, None, 0, None)
    return jax.jit(jax.vmap(run, axes))(jnp.asarray([True, False, True]), *p.stacked(axes[1:]))


def closed_over(p: Problem, scan: Scan) -> Any:
    """Close over parameters of an outer function, which differentiates or maps them."""

    def total(params: Any, xs: Any) -> Any:
        step = lambda state, x: p.case.twin(state, x, **params)  # noqa: E731
        return weighted(scan(step, p.given[0], xs, dim=p.dim))

    run = jax.value_and_grad(total, (0, 1))
    _, xs, params = p.stacked((None, 0, 0))
    return jax.jit(run)(p.given[2], p.given[1]), run(p.given[2], p.given[1]), jax.vmap(run)(params, xs)


def donated(p: Problem, scan: Scan) -> Any:
    """Give the state away, and the last state that came back again."""
    run, xs = jax.jit(p.values(scan), donate_argnums=(0, 1)), jax.tree.map(np.asarray, p.given[1])
    first = run(*jax.tree.map(jnp.array, p.given))
    kept = jax.tree.map(np.array, first)
    return kept, run(first[0], jax.tree.map(jnp.array, xs), p.given[2])


def policy(p: Problem, scan: Scan) -> Any:
    saved = jax.checkpoint(p.loss(scan), policy=jax.checkpoint_policies.dots_saveable)
    return jax.jit(jax.grad(saved, ALL))(*p.given)


def pulled(p: Problem, scan: Scan) -> Any:
    results, pull = jax.vjp(p.values(scan), *p.given)
    return pull(cotangents(results)), jax.jit(jax.vmap(pull))(
        jax.tree.map(lambda g: jnp.stack([g, 2.0 * g]), cotangents(results, 2))
    )


FIRST: dict[str, Transform] = {
    "eager": lambda p, scan: p.values(scan)(*p.given),
    "jit": lambda p, scan: jax.jit(p.values(scan))(*p.given),
    "grad": lambda p, scan: jax.grad(p.loss(scan), ALL)(*p.given),
    "jit(grad)": lambda p, scan: jax.jit(jax.grad(p.loss(scan), ALL))(*p.given),
    "grad(jit), of parameters alone": lambda p, scan: jax.grad(jax.jit(p.loss(scan)), 2)(*p.given),
    "value_and_grad, of the state alone": lambda p, scan: jax.jit(jax.value_and_grad(p.loss(scan), 0))(*p.given),
    "vjp, mapped": pulled,
    "vmap over inputs": mapped(OVER_XS, False),
    "vmap over inputs, their last axis": mapped((None, -1, None), False, out_axes=1),
    "vmap over inputs, their time axis": mapped((None, 1, None), False, out_axes=0),
    "vmap over states": mapped((0, None, None), False),
    "vmap over parameters": mapped((None, None, 0), False, out_axes=1),
    "vmap over one parameter": one_parameter(False),
    "vmap over all": mapped((0, 1, 0), False),
    "vmap(grad) over inputs": mapped(OVER_XS, True),
    "vmap(grad) over states": mapped((0, None, None), True),
    "vmap(grad) over parameters": mapped((None, None, 0), True),
    "vmap(grad) over one parameter": one_parameter(True),
    "vmap(grad) over all": mapped((0, 1, 0), True),
    "grad(vmap) over inputs": grad_of_vmap(OVER_XS),
    "grad(vmap) over parameters": grad_of_vmap((None, None, 0)),
    "grad(vmap) over all": grad_of_vmap((0, 1, 0)),
    "vmap(vmap)": nested,
    "vmap(vmap(vmap(grad)))": nested_grad,
    "grad(vmap(vmap))": grad_of_nested,
    "jacrev": lambda p, scan: jax.jit(jax.jacrev(p.values(scan), 2))(*p.given),
    "vmap(jacrev)": lambda p, scan: jax.jit(jax.vmap(jax.jacrev(p.loss(scan), 1), OVER_XS))(*p.stacked(OVER_XS)),
    "jvp": lambda p, scan: jax.jvp(p.values(scan), p.given, tangents(p)),
    "jit(jvp)": lambda p, scan: jax.jit(lambda g, t: jax.jvp(p.values(scan), g, t))(p.given, tangents(p)),
    "vmap(jvp)": lambda p, scan: jax.vmap(lambda x: jax.jvp(p.loss(scan), (p.given[0], x, p.given[2]), tangents(p)))(
        p.stacked(OVER_XS)[1]
    ),
    "jacfwd": lambda p, scan: jax.jit(jax.jacfwd(p.values(scan), 2))(*p.given),
    "linearize": lambda p, scan: jax.linearize(p.values(scan), *p.given)[1](*tangents(p)),
    "checkpoint": lambda p, scan: jax.jit(jax.grad(jax.checkpoint(p.loss(scan)), ALL))(*p.given),
    "vmap(grad(checkpoint))": lambda p, scan: jax.vmap(jax.grad(jax.checkpoint(p.loss(scan)), ALL), OVER_XS)(
        *p.stacked(OVER_XS)
    ),
    "checkpoint with a policy": policy,
    "lax.scan around, and grad": in_chunks,
    "grad inside a fori_loop": trained,
    "while_loop around": while_loop,
    "cond around": cond,
    "vmap(cond)": mapped_cond,
    "lax.map": lambda p, scan: jax.lax.map(lambda x: p.values(scan)(p.given[0], x, p.given[2]), p.stacked(OVER_XS)[1]),
    "closures": closed_over,
    "donation": donated,
}


@QUIET
@pytest.mark.filterwarnings("ignore:Some donated buffers were not usable")
@pytest.mark.sampled
@pytest.mark.parametrize(("kind", "name"), paired(FIRST, 3))
def test_first_derivatives_and_maps(kind: Kind, name: str) -> None:
    with jax.enable_x64(True):
        if kind.layout == "(T,)" and "last axis" in name:
            pytest.skip("there is no axis but time")
        if kind.neuron == "mcpitts" and name.endswith("over states"):
            pytest.skip("it has no state")
        problem = Problem(kind.neuron, kind.dtype, kind.form, kind.layout)
        assert_same(FIRST[name](problem, on("auto")), FIRST[name](problem, plain), computed=kind.dtype)


FUSED = [name for name in FIRST if not any(word in name for word in ("jvp", "jacfwd", "linearize"))]


@pytest.mark.long
@pytest.mark.filterwarnings("ignore:Some donated buffers were not usable")
@pytest.mark.parametrize("name", FUSED)
def test_the_kernel_takes_all_but_forward_mode(name: str) -> None:
    """Here nothing falls back: the backend is asked for."""
    with jax.enable_x64(True):
        problem = Problem("alif", "float64", "mixed")
        assert_same(FIRST[name](problem, on("fused")), FIRST[name](problem, plain))


@pytest.mark.sampled
@pytest.mark.parametrize("axes", [(0, None, None), (None, 0, None), (None, None, 0), (0, None, 0), (None, 0, 0)])
def test_a_map_over_nobody(axes: Any) -> None:
    """The gradient of what vmap does not map is a sum of none, in the shape of what it belongs to."""

    def gradients(scan: Scan) -> Any:
        def loss(*given: Any) -> Any:
            run: Any = lambda v, xs, decay: scan(lif, J.LIFState(v), xs, params={"decay": decay})  # noqa: E731
            return weighted(jax.vmap(run, axes)(*given))

        given = zip((V, XS, jnp.asarray([0.9, 0.8, 0.7])), axes, strict=True)
        return jax.jit(jax.grad(loss, (0, 1, 2)))(*[x if axis is None else x[None][:0] for x, axis in given])

    assert_same(gradients(on("auto")), gradients(plain))


def test_a_linear_scan_is_transposed() -> None:
    def of(scan: Scan) -> Any:
        run: Any = lambda v, xs: scan(lambda v, x: (0.5 * v + x, 2.0 * v + x), v, xs)  # noqa: E731
        many: Any = lambda v, xs: jax.vmap(run, (None, 0))(v, xs)  # noqa: E731
        given = V, jnp.stack([XS, 0.5 * XS])
        return [jax.linear_transpose(run, V, XS)(run(V, XS)), jax.linear_transpose(many, *given)(many(*given))]

    assert_same(of(on("fused")), of(unrolled))  # JAX 0.8 does not transpose its own scan


# --- second derivatives -----------------------------------------------------------------------------------------------

# lax.scan of JAX before 0.12 forgets a custom_jvp on the way: when a reverse pass through it is differentiated again,
# in either mode, the values that it has stored are differentiated as they are computed, so that a spike has no
# derivative. The oracle of second derivatives is therefore an unrolled loop, or forward mode alone, never lax.scan
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
