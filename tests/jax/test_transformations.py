"""A scan inside the transformations of JAX, and these inside each other, beside jax.lax.scan and an unrolled loop."""

import subprocess
import sys
import textwrap
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from spikingtorch.functional import jax_reference as J
from spikingtorch.verification.cases import CASES
from tests.jax.neurons import draw
from tests.jax.oracle import Scan, assert_same, cotangents, on, plain, unrolled, weighted


class Problem:
    """A neuron, and its arguments: those that it is called with, and batches of them."""

    def __init__(self, name: str, dtype: str, form: str, layout: str = "(T, B, N)", T: int = 5) -> None:
        self.case = next(case for case in CASES if case.name == name)
        self.draws = [draw(self.case, T, layout, form, seed) for seed in range(6)]
        self.dtype, self.dim = dtype, self.draws[0].dim
        self.given = self.arguments(0)

    def arguments(self, member: int) -> Any:
        return self.draws[member].arguments(self.dtype)

    def stacked(self, axes: Any, count: int = 3, first: int = 0) -> Any:
        """Return the arguments with several of each that has an axis, stacked along it."""
        members = [self.arguments(first + k) for k in range(count)]
        stack = jax.tree.map(lambda *each: np.stack(each), *members)
        return tuple(
            given if axis is None else jax.tree.map(lambda leaf, axis=axis: jnp.moveaxis(leaf, 0, axis), found)
            for given, found, axis in zip(self.given, stack, axes, strict=True)
        )

    def values(self, scan: Scan) -> Callable[..., Any]:
        return lambda state, xs, params: scan(self.case.twin, state, xs, params=params, dim=self.dim)

    def loss(self, scan: Scan) -> Callable[..., Any]:
        return lambda *given: weighted(self.values(scan)(*given))


ALL = (0, 1, 2)
Transform = Callable[[Problem, Scan], Any]


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
    inner = jax.vmap(p.values(scan), (None, 0, None))
    return jax.jit(jax.vmap(inner, (None, None, 0)))(p.given[0], xs, params)


def nested_grad(p: Problem, scan: Scan) -> Any:
    state, xs, params = p.stacked((0, 0, 0), 2)
    inner = jax.vmap(jax.grad(p.loss(scan), ALL), (None, 0, None))
    return jax.jit(jax.vmap(jax.vmap(inner, (0, None, None)), (None, None, 0)))(state, xs, params)


def grad_of_vmap(axes: Any) -> Transform:
    def run(p: Problem, scan: Scan) -> Any:
        total = lambda *given: weighted(jax.vmap(p.values(scan), axes)(*given), 3)  # noqa: E731
        return jax.jit(jax.grad(total, ALL))(*p.stacked(axes))

    return run


def grad_of_nested(p: Problem, scan: Scan) -> Any:
    inner = jax.vmap(p.values(scan), (None, 0, None))
    total = lambda *given: weighted(jax.vmap(inner, (None, None, 0))(*given), 3)  # noqa: E731
    _, xs, params = p.stacked((None, 0, 0))
    return jax.jit(jax.grad(total, ALL))(p.given[0], xs, params)


def tangents(p: Problem) -> Any:
    return cotangents(p.given, 5)


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
    "vmap over inputs": mapped((None, 0, None), False),
    "vmap over inputs, their last axis": mapped((None, -1, None), False, out_axes=1),
    "vmap over inputs, their time axis": mapped((None, 1, None), False, out_axes=0),
    "vmap over states": mapped((0, None, None), False),
    "vmap over parameters": mapped((None, None, 0), False, out_axes=1),
    "vmap over one parameter": one_parameter(False),
    "vmap over all": mapped((0, 1, 0), False),
    "vmap(grad) over inputs": mapped((None, 0, None), True),
    "vmap(grad) over states": mapped((0, None, None), True),
    "vmap(grad) over parameters": mapped((None, None, 0), True),
    "vmap(grad) over one parameter": one_parameter(True),
    "vmap(grad) over all": mapped((0, 1, 0), True),
    "grad(vmap) over inputs": grad_of_vmap((None, 0, None)),
    "grad(vmap) over parameters": grad_of_vmap((None, None, 0)),
    "grad(vmap) over all": grad_of_vmap((0, 1, 0)),
    "vmap(vmap)": nested,
    "vmap(vmap(vmap(grad)))": nested_grad,
    "grad(vmap(vmap))": grad_of_nested,
    "jacrev": lambda p, scan: jax.jit(jax.jacrev(p.values(scan), 2))(*p.given),
    "vmap(jacrev)": lambda p, scan: jax.jit(jax.vmap(jax.jacrev(p.loss(scan), 1), (None, 0, None)))(
        *p.stacked((None, 0, None))
    ),
    "jvp": lambda p, scan: jax.jvp(p.values(scan), p.given, tangents(p)),
    "jit(jvp)": lambda p, scan: jax.jit(lambda g, t: jax.jvp(p.values(scan), g, t))(p.given, tangents(p)),
    "vmap(jvp)": lambda p, scan: jax.vmap(lambda x: jax.jvp(p.loss(scan), (p.given[0], x, p.given[2]), tangents(p)))(
        p.stacked((None, 0, None))[1]
    ),
    "jacfwd": lambda p, scan: jax.jit(jax.jacfwd(p.values(scan), 2))(*p.given),
    "linearize": lambda p, scan: jax.linearize(p.values(scan), *p.given)[1](*tangents(p)),
    "checkpoint": lambda p, scan: jax.jit(jax.grad(jax.checkpoint(p.loss(scan)), ALL))(*p.given),
    "vmap(grad(checkpoint))": lambda p, scan: jax.vmap(jax.grad(jax.checkpoint(p.loss(scan)), ALL), (None, 0, None))(
        *p.stacked((None, 0, None))
    ),
    "checkpoint with a policy": policy,
    "lax.scan around, and grad": in_chunks,
    "grad inside a fori_loop": trained,
    "while_loop around": while_loop,
    "cond around": cond,
    "vmap(cond)": mapped_cond,
    "lax.map": lambda p, scan: jax.lax.map(
        lambda x: p.values(scan)(p.given[0], x, p.given[2]), p.stacked((0, 0, 0))[1]
    ),
    "closures": closed_over,
    "donation": donated,
}
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


class Kind(NamedTuple):
    """What is transformed: a neuron, a dtype, a form of the parameters."""

    neuron: str
    dtype: str = "float64"
    form: str = "mixed"
    layout: str = "(T, B, N)"


KINDS = [
    Kind("lif", "float64", "number"),
    Kind("lif", "float32", "per neuron", "(B, T, N)"),
    Kind("alif", "float64", "mixed"),
    Kind("coarse_lif", "float64", "per channel", "(B, N, T)"),
    Kind("mcpitts", "float64", "0-d"),
    Kind("biolif", "float64", "full"),
    Kind("adex", "float64", "per neuron", "(T, N)"),
    Kind("cuba_lif", "float64", "0-d", "(T,)"),
    Kind("delay", "float64", "per neuron"),
]


def paired(names: dict[str, Transform], count: int) -> list[Any]:
    """Return each transformation with some of the neurons, each neuron with as many."""
    table = [(name, KINDS[(5 * row + k) % len(KINDS)]) for row, name in enumerate(names) for k in range(count)]
    return [pytest.param(kind, name, id=f"{name}-{'-'.join(kind)}") for name, kind in table]


QUIET = pytest.mark.filterwarnings("ignore:scan. :RuntimeWarning")


@QUIET
@pytest.mark.filterwarnings("ignore:Some donated buffers were not usable")
@pytest.mark.sampled
@pytest.mark.parametrize(("kind", "name"), paired(FIRST, 3))
def test_first_derivatives_and_maps(kind: Kind, name: str) -> None:
    with jax.enable_x64(True):
        if kind.layout == "(T,)" and "last axis" in name:
            pytest.skip("there is no axis but time")
        problem = Problem(kind.neuron, kind.dtype, kind.form, kind.layout)
        assert_same(FIRST[name](problem, on("auto")), FIRST[name](problem, plain), computed=kind.dtype)


@QUIET
@pytest.mark.sampled
@pytest.mark.parametrize(("kind", "name"), paired(SECOND | SECOND_OF_MANY, 3))
def test_second_derivatives(kind: Kind, name: str) -> None:
    """An unrolled loop is the oracle, because lax.scan of older releases loses a custom_jvp (the next file)."""
    with jax.enable_x64(True):
        problem = Problem(kind.neuron, kind.dtype, kind.form, kind.layout, T=3)
        assert_same(of_second(name, problem, on("auto")), of_second(name, problem, unrolled), computed=kind.dtype)


FUSED = [name for name in FIRST if not any(word in name for word in ("jvp", "jacfwd", "linearize"))]


@pytest.mark.sampled
@pytest.mark.filterwarnings("ignore:Some donated buffers were not usable")
@pytest.mark.parametrize("name", FUSED)
def test_the_kernel_takes_all_but_forward_mode(name: str) -> None:
    """Here nothing falls back: the backend is asked for."""
    with jax.enable_x64(True):
        problem = Problem("alif", "float64", "mixed")
        assert_same(FIRST[name](problem, on("fused")), FIRST[name](problem, plain))


SHARDED = """
    import os
    os.environ["XLA_FLAGS"] = "--xla_force_host_platform_device_count=4"
    import jax
    import numpy as np
    from jax.sharding import Mesh, NamedSharding, PartitionSpec as P
    from tests.jax.oracle import assert_same, on, plain, weighted
    from tests.jax.test_transformations import Problem

    jax.config.update("jax_enable_x64", True)
    assert jax.device_count() == 4
    problem = Problem("alif", "float64", "per neuron", "(T, C, N)")
    state, xs, params = jax.tree.map(np.asarray, problem.given)
    # of the shapes (C, 1, N) and (T, C, 1, N): several C
    state, xs = jax.tree.map(lambda leaf: np.concatenate([leaf, leaf * 0.9, leaf * 0.8, leaf], -3), (state, xs))
    mesh = Mesh(np.array(jax.devices()), ("many",))
    specs = (P("many"), P(None, "many"), P())

    def outputs(scan):
        run = jax.shard_map(problem.values(scan), mesh=mesh, in_specs=specs, out_specs=(P("many"), P(None, "many")))
        return jax.jit(run)(state, xs, params)

    def gradients(scan):
        def local(state, xs, params):
            return jax.lax.psum(weighted(problem.values(scan)(state, xs, params)), "many")
        total = jax.shard_map(local, mesh=mesh, in_specs=specs, out_specs=P())
        return jax.jit(jax.grad(total, (0, 1, 2)))(state, xs, params)

    def placed(scan):
        put = [jax.tree.map(lambda leaf: jax.device_put(leaf, NamedSharding(mesh, spec)), tree)
               for tree, spec in zip((state, xs, params), specs)]
        def total(*given):
            return weighted(problem.values(scan)(*given))
        return jax.jit(problem.values(scan))(*put), jax.jit(jax.grad(total, (0, 1, 2)))(*put)

    for run in (outputs, gradients, placed):
        assert_same(run(on("auto")), run(plain))
        print(run.__name__)
"""


@pytest.mark.long
def test_several_host_devices() -> None:
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(SHARDED)], capture_output=True, text=True, timeout=240, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.split() == ["outputs", "gradients", "placed"]


def test_a_wrong_backward_pass_is_seen() -> None:
    def wrong(step: Any, state: Any, xs: Any, *, params: Any = None, dim: int = 0) -> Any:
        final, outs = plain(step, state, xs, params=params, dim=dim)
        return jax.tree.map(jax.lax.stop_gradient, final), outs

    with jax.enable_x64(True):
        problem = Problem("lif", "float64", "number")
        for name in ("jit(grad)", "vmap(grad) over inputs"):
            with pytest.raises(AssertionError, match="is off by"):
                assert_same(FIRST[name](problem, wrong), FIRST[name](problem, plain))


def test_the_spike_has_second_derivatives() -> None:
    """The comparisons of second derivatives compare more than zeros."""
    with jax.enable_x64(True):
        problem = Problem("lif", "float64", "number", T=3)
        found = of_second("grad(grad)", problem, unrolled)
        assert all(float(jnp.abs(jnp.asarray(leaf)).max()) > 1e-3 for leaf in jax.tree.leaves(found))
        assert J.Sigmoid()(jnp.zeros(())) == 1.0
