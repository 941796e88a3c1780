"""Oracles that share no code with the library: jax.lax.scan, and a loop without it; and one comparison."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import torch

from spikingtorch import jax as snn
from spikingtorch.verification.trial import TOLERANCE

# largest max|a - b| / max|b| over an array; half precision computes in float32 and is rounded at the end
LIMITS = {str(dtype).removeprefix("torch."): limit for dtype, limit in TOLERANCE.items()}
LIMITS |= {"float16": 4 * torch.finfo(torch.float16).eps, "bfloat16": 4 * torch.finfo(torch.bfloat16).eps}
Scan = Callable[..., Any]


def plain(step: Any, state: Any, xs: Any, *, params: Any = None, dim: int = 0) -> Any:
    """Run a step by jax.lax.scan. Half precision is computed in float32, and the outputs are rounded."""
    return _run(jax.lax.scan, step, state, xs, params, dim)


def unrolled(step: Any, state: Any, xs: Any, *, params: Any = None, dim: int = 0) -> Any:
    """Run a step by a Python loop, which keeps every custom_jvp for derivatives of any order."""

    def loop(body: Any, carry: Any, time_first: Any) -> Any:
        outs = []
        for t in range(jax.tree.leaves(time_first)[0].shape[0]):
            carry, out = body(carry, jax.tree.map(lambda x, t=t: x[t], time_first))
            outs.append(out)
        return carry, jax.tree.map(lambda *each: jnp.stack(each), *outs)

    return _run(loop, step, state, xs, params, dim)


def _run(loop: Any, step: Any, state: Any, xs: Any, params: Any, dim: int) -> Any:
    keywords = jax.tree.map(_wide, dict(params or {}))
    time_first = jax.tree.map(lambda x: jnp.moveaxis(_wide(x), dim, 0), xs)
    final, outs = loop(lambda carry, x: step(carry, x, **keywords), jax.tree.map(_wide, state), time_first)
    floats = [x.dtype for x in jax.tree.leaves(xs) if jnp.issubdtype(x.dtype, jnp.floating)]
    rounds = floats and jnp.result_type(*floats).itemsize == 2

    def rounded(out: Any) -> Any:
        narrow = rounds and jnp.issubdtype(out.dtype, jnp.floating)
        return jnp.moveaxis(out.astype(jnp.result_type(*floats)) if narrow else out, 0, dim)

    return final, jax.tree.map(rounded, outs)


def _wide(leaf: Any) -> Any:
    half = getattr(leaf, "dtype", None) in (jnp.float16, jnp.bfloat16)
    return leaf.astype(jnp.float32) if half else leaf


def is_floating(leaf: Any) -> bool:
    return jnp.issubdtype(jnp.result_type(leaf), jnp.floating)


def cotangents(results: Any, seed: int = 0) -> Any:
    """Return a random number for each floating result, and what JAX calls zero for each other one."""
    draw = np.random.default_rng(seed)

    def one(leaf: Any) -> Any:
        if not is_floating(leaf):
            return np.zeros(jnp.shape(leaf), jax.dtypes.float0)
        return jnp.asarray(draw.standard_normal(jnp.shape(leaf)), jnp.result_type(leaf))

    return jax.tree.map(one, results)


def weighted(results: Any, seed: int = 0) -> Any:
    """Return the sum of all floating results, each times a random weight: a loss."""
    leaves = [leaf for leaf in jax.tree.leaves(results) if is_floating(leaf)]
    return sum((jnp.vdot(w, leaf) for w, leaf in zip(cotangents(leaves, seed), leaves, strict=True)), jnp.zeros(()))


def relative_error(got: Any, want: Any) -> float:
    """Return max|got - want| / max|want|: 0 for the same numbers, NaN and infinities included, never NaN."""
    got, want = np.asarray(got), np.asarray(want)
    if got.shape != want.shape or got.dtype != want.dtype:
        return np.inf
    if got.dtype == jax.dtypes.float0:
        return 0.0
    if got.dtype.kind in "biu":
        return 0.0 if np.array_equal(got, want) else np.inf
    got, want = got.astype(np.float64), want.astype(np.float64)
    special = ~np.isfinite(want)
    if not np.array_equal(got[special], want[special], equal_nan=True):
        return np.inf
    got, want = np.where(special, 0.0, got), np.where(special, 0.0, want)
    if np.array_equal(got, want):
        return 0.0
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = float(np.abs(got - want).max() / np.abs(want).max())
    return ratio if ratio == ratio else np.inf


def named(tree: Any) -> dict[str, Any]:
    """Return the leaves of a tree by their paths."""
    return {jax.tree_util.keystr(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(tree)}


def assert_same(
    got: Any, want: Any, *, limit: float | None = None, form: bool = True, computed: str = "float64"
) -> None:
    """Assert that two trees have one form, and leaves of one shape, one dtype and the same numbers up to rounding.

    A float64 leaf may hold what was computed in a narrower dtype, as the gradient of a Python number does.
    """
    if form:
        forms: list[Any] = [jax.tree.structure(tree) for tree in (got, want)]
        assert forms[0] == forms[1]
    ours, theirs = named(got), named(want)
    assert ours.keys() == theirs.keys()
    for name, value in theirs.items():
        value, found = np.asarray(value), np.asarray(ours[name])
        assert (found.shape, found.dtype) == (value.shape, value.dtype), name
        allowed = LIMITS.get(str(value.dtype), 0.0) if limit is None else limit
        if limit is None and is_floating(value):
            allowed = max(allowed, LIMITS[computed])
        error = relative_error(found, value)
        assert error <= allowed, f"{name} is off by {error:.2g}, {allowed:.1g} allowed:\n{found}\nexpected\n{value}"


def on(backend: str) -> Scan:
    """Return the scan of the library on a backend."""

    def run(step: Any, state: Any, xs: Any, *, params: Any = None, dim: int = 0) -> Any:
        return snn.scan(step, state, xs, params=params, dim=dim, backend=backend)  # type: ignore[arg-type]

    return run


def gradients(scan: Scan, step: Any, state: Any, xs: Any, params: Any = None, dim: int = 0) -> Any:
    """Return results, and the gradients of state, inputs and parameters, as one compiled program."""

    def all_of_it(*given: Any) -> Any:
        results, pull = jax.vjp(lambda s, x, p: scan(step, s, x, params=p, dim=dim), *given)
        return results, pull(cotangents(results))

    return jax.jit(all_of_it)(state, xs, params or {})


def check(step: Any, state: Any, xs: Any, params: Any = None, dim: int = 0) -> None:
    """Assert that a step runs as by lax.scan, by itself and with gradients."""
    alone, (results, grads) = (
        on("auto")(step, state, xs, params=params, dim=dim),
        gradients(plain, step, state, xs, params, dim),
    )
    computed = str(jnp.result_type(jnp.float32, *[x.dtype for x in jax.tree.leaves(xs) if is_floating(x)]))
    assert_same(alone, results, computed=computed)
    assert_same(gradients(on("auto"), step, state, xs, params, dim), (results, grads), computed=computed)
