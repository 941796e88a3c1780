"""Delays of a whole sequence, states that start again, and functions of all steps, in JAX and against torch."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import pytest
import torch

from spikingtorch import functional as F
from spikingtorch.functional import jax_reference as J
from spikingtorch.functional.core.tree import tree_map
from spikingtorch.interop import to_jax, to_torch
from spikingtorch.testing import assert_close
from spikingtorch.verification.cases import SURROGATES, by_name

pytestmark = pytest.mark.sampled

LONGEST, N = 4, 3
EACH = torch.tensor([0.25, 2.0, 4.0], dtype=torch.double)
DELAYS = {"whole": 2.0, "between": 1.5, "none": 0.0, "longest": 4.0, "one": torch.tensor(2.5).double(), "each": EACH}


def draw(T: int) -> tuple[F.DelayState, torch.Tensor]:
    generator = torch.Generator().manual_seed(T)
    line = torch.randn(LONGEST, N, dtype=torch.double, generator=generator)
    return F.DelayState(tuple(line)), torch.randn(T, N, dtype=torch.double, generator=generator)


def with_gradients(delayed: Callable[..., Any], *arguments: Any) -> tuple[Any, Any]:
    """Return what a function of JAX gives, and its gradients for cotangents that depend on their place alone."""

    def both(*arguments: Any) -> tuple[Any, Any]:
        results, pull_back = jax.vjp(delayed, *arguments)
        cotangents = jax.tree.map(lambda leaf: jnp.cos(jnp.arange(leaf.size)).reshape(leaf.shape), results)
        return results, pull_back(cotangents)

    return jax.jit(both)(*arguments)


@pytest.mark.parametrize("dim", [0, 1, -1])
@pytest.mark.parametrize("T", [0, 1, 3, 17])
@pytest.mark.parametrize("kind", DELAYS)
def test_delayed_is_that_of_torch(kind: str, T: int, dim: int) -> None:
    state, xs = draw(T)
    delay = DELAYS[kind]
    given = (state.past, xs.movedim(0, dim).contiguous(), *([] if isinstance(delay, float) else [delay]))

    def delayed(side: Any, past: Any, xs: Any, delay: Any = delay) -> Any:
        after, out = side.delayed(side.DelayState(tuple(past)), xs, delay, dim)
        return tuple(after.past), out

    with jax.enable_x64(True):
        theirs = to_torch(with_gradients(partial(delayed, J), *to_jax(given)))
    leaves: Any = tree_map(lambda leaf: leaf.clone().requires_grad_(), given)
    results = delayed(F, *leaves)
    flat = [*results[0], results[1]]
    cotangents = [torch.arange(each.numel()).double().cos().reshape(each.shape) for each in flat]
    found = torch.autograd.grad(flat, [*leaves[0], *leaves[1:]], cotangents, allow_unused=True, materialize_grads=True)
    assert_close(theirs, (results, (tuple(found[:LONGEST]), *found[LONGEST:])))


def test_a_delay_line_in_half_precision_is_float32() -> None:
    xs = jnp.ones((4, 2), jnp.bfloat16)
    rest = J.empty_delay(2, xs[0])
    assert [each.dtype for each in rest.past] == [jnp.float32] * 2
    state, out = J.delayed(rest, xs, 1.5)
    assert (out.dtype, state.past[0].dtype) == (jnp.bfloat16, jnp.float32)
    assert out[:, 0].tolist() == [0.0, 0.5, 1.0, 1.0]
    assert J.empty_delay(0, xs[0]) == J.DelayState(())
    assert J.delayed(J.DelayState(()), xs, 0)[1].tolist() == xs.tolist()


@pytest.mark.parametrize("delay", [-0.5, 2.5, 3])
def test_a_delay_that_the_line_does_not_have(delay: float) -> None:
    with pytest.raises(ValueError, match=r"delayed: delay=.*, expected from 0 to 2, .*empty_delay"):
        J.delayed(J.empty_delay(2, jnp.zeros(3)), jnp.ones((1, 3)), delay)


@pytest.mark.parametrize("kind", ["zeros", "rest"])
def test_reset_where_is_that_of_torch(kind: str) -> None:
    mask = torch.tensor([True, False])
    state = F.RefractoryState(F.LIFState(torch.tensor([[torch.nan, 1.0], [2.0, 3.0]])), torch.tensor([1.0, 2.0]))
    rest = (
        None if kind == "zeros" else F.RefractoryState(F.LIFState(torch.full((2, 2), -65.0)), torch.tensor([5.0, 6.0]))
    )
    got = J.reset_where(*to_jax((mask, state, rest)))
    assert_close(to_torch(got), F.reset_where(mask, state, rest))
    slope = jax.grad(lambda v: J.reset_where(to_jax(mask), J.LIFState(v)).v.sum())(jnp.array([jnp.nan, 1.0]))
    assert slope.tolist() == [0.0, 1.0]


def test_time_map() -> None:
    xs, weight = jnp.arange(24.0).reshape(2, 4, 3), jnp.ones((3, 5))
    want = jnp.stack([x @ weight for x in xs])
    assert (J.time_map(lambda x: x @ weight, xs) == want).all()
    assert (J.time_map(lambda x: x.sum(0), xs, dim=1) == xs.sum(0).T).all()
    pair = {"x": xs, "keys": jax.random.split(jax.random.key(0), 2)}
    dropped = J.time_map(lambda each: jax.random.bernoulli(each["keys"], 0.5, each["x"].shape), pair)
    assert not (dropped[0] == dropped[1]).all()


def test_lift() -> None:
    tree: Any = {
        "a": jnp.ones(2, jnp.float16),
        "b": (jnp.ones(2, jnp.bfloat16), jnp.ones(2, int), 0.5, None),
        "c": J.Sigmoid(),
    }
    found = J.lift(tree)
    assert (found["a"].dtype, found["b"][0].dtype) == (jnp.float32, jnp.float32)
    assert found["b"][1] is tree["b"][1]
    assert (found["b"][2:], found["c"]) == ((0.5, None), J.Sigmoid())


def test_detached_once_is_detached() -> None:
    assert J.detached(J.detached(J.to_zero)) == J.Detached(J.to_zero)


@pytest.mark.sampled
@pytest.mark.parametrize("dtype", [jnp.float16, jnp.bfloat16, jnp.float32, jnp.float64])
@pytest.mark.parametrize("surrogate", to_jax(SURROGATES), ids=by_name)
def test_no_overflow(surrogate: Any, dtype: Any) -> None:
    with jax.enable_x64(True):
        u = jnp.array([-1e4, -1e2, 0.0, 1e2, 1e4], dtype)
        assert surrogate(u).tolist() == [0, 0, 1, 1, 1]
        assert surrogate(u).dtype == surrogate.derivative(u).dtype == dtype
        slope = jax.vmap(jax.grad(lambda u: surrogate(u).astype(jnp.float32)))(u)
        assert jnp.isfinite(slope).all()
        assert slope[2] > 0


def test_importing_it_changes_no_configuration() -> None:
    """Here it has been imported, and everything sets float64 for a while alone."""
    assert not jax.config.values["jax_enable_x64"]
