"""What is linear in a scan, backwards: cotangents have the shape of what they belong to."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import pytest

from spikingtorch.functional import jax_reference as J
from tests.jax.inputs import START, XS, V, lif
from tests.jax.oracle import Scan, assert_same, on, plain, unrolled, weighted

pytestmark = pytest.mark.sampled

DECAY = jnp.asarray([0.9, 0.8, 0.7])
AXES = [(0, None, None), (None, 0, None), (None, None, 0), (0, None, 0), (None, 0, 0)]


def mapped(scan: Scan, axes: Sequence[int | None], count: int) -> Any:
    """Return the loss of a mapped scan, and its arguments."""

    def loss(*given: Any) -> Any:
        run: Any = lambda v, xs, decay: scan(lif, J.LIFState(v), xs, params={"decay": decay})  # noqa: E731
        return weighted(jax.vmap(run, axes)(*given))

    many = [jnp.stack([x, 0.9 * x])[:count] if axis == 0 else x for x, axis in zip((V, XS, DECAY), axes, strict=True)]
    return loss, many


@pytest.mark.parametrize("axes", AXES)
@pytest.mark.parametrize("count", [2, 0])
def test_the_gradient_of_what_vmap_does_not_map_is_a_sum(axes: Any, count: int) -> None:
    (ours, given), (theirs, _) = (mapped(scan, axes, count) for scan in (on("auto"), plain))
    got, want = (jax.jit(jax.grad(loss, (0, 1, 2)))(*given) for loss in (ours, theirs))
    assert_same(got, want)


@pytest.mark.parametrize("axes", AXES[:3])
def test_second_derivatives_of_what_vmap_does_not_map(axes: Any) -> None:
    def second(scan: Scan) -> Any:
        loss, given = mapped(scan, axes, 2)
        return jax.jit(jax.grad(lambda *g: weighted(jax.grad(loss, (0, 1, 2))(*g), 1), (0, 1, 2)))(*given)

    assert_same(second(on("auto")), second(unrolled))


def test_a_linear_scan_is_transposed() -> None:
    def of(scan: Scan) -> Any:
        run: Any = lambda v, xs: scan(lambda v, x: (0.5 * v + x, 2.0 * v + x), v, xs)  # noqa: E731
        many: Any = lambda v, xs: jax.vmap(run, (None, 0))(v, xs)  # noqa: E731
        given = V, jnp.stack([XS, 0.5 * XS])
        return [jax.linear_transpose(run, V, XS)(run(V, XS)), jax.linear_transpose(many, *given)(many(*given))]

    assert_same(of(on("fused")), of(unrolled))  # JAX 0.8 does not transpose its own scan


def test_without_jit() -> None:
    with jax.disable_jit():
        got = jax.grad(lambda xs: weighted(on("fused")(lif, START, xs)))(XS)
    assert_same(got, jax.grad(lambda xs: weighted(plain(lif, START, xs)))(XS))
