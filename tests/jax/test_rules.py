"""Each primitive that fuses, on numbers of every kind, beside XLA's own."""

import warnings
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from spikingtorch import jax as snn
from spikingtorch.jax.rules import RULES

pytestmark = pytest.mark.sampled

NUMBERS = [0.0, -0.0, 0.25, -0.25, 0.5, 1.0, -1.0, 1.5, 2.5, -2.5, 3.7, -3.7, 80.0, -80.0, 1e5, -1e5, 3e9, -3e9, 1e19]
NUMBERS += [np.inf, -np.inf, np.nan]
GRID = np.array([(x, y) for x in NUMBERS for y in NUMBERS])
Op = Callable[..., Any]

UNARY: dict[str, Op] = {
    **{name: getattr(lax, name) for name in ("neg", "abs", "sign", "floor", "ceil", "sqrt", "rsqrt", "square", "exp")},
    **{name: getattr(lax, name) for name in ("expm1", "log", "log1p", "sin", "cos", "tanh", "erf", "atan", "logistic")},
    **{name: getattr(lax, name) for name in ("exp2", "is_finite", "stop_gradient")},
    "round": jnp.round,
    "integer_pow": lambda x: lax.integer_pow(x, 5) + lax.integer_pow(x, -3) + lax.integer_pow(x, 0),
    "convert_element_type": lambda x: x.astype(jnp.int32).astype(x.dtype) + (x.astype(jnp.bool_) * 2),
    "not": lambda x: (~(x > 0)).astype(x.dtype),
    "copy": lambda x: jnp.copy(x),
    "empty": lambda x: lax.cond(True, jnp.tanh, jnp.exp, x),
}
BINARY: dict[str, Op] = {
    **{name: getattr(lax, name) for name in ("add", "sub", "mul", "div", "max", "min", "pow")},
    **{name: getattr(lax, name) for name in ("lt", "le", "gt", "ge", "eq", "ne")},
    "select_n": lambda x, y: lax.select_n((x > 0).astype(jnp.int32) + (y > 0), x, y, x + y),
    "clamp": lambda x, y: lax.clamp(-jnp.ones_like(x), x, jnp.abs(y)),
    "and": lambda x, y: (x > 0) & (y > 0),
    "or": lambda x, y: (x > 0) | (y > 0),
    "xor": lambda x, y: (x > 0) ^ (y > 0),
}
# primitives that no function of the tables calls: of gradients, of several devices, and another name of one above
OTHERS = {"add_any", "one_minus_square", "empty2", "pvary", "pcast", "reshard", "sharding_constraint", "copy_p"}
# in units in the last place, two of ours and those of XLA
INEXACT = {"exp": 4, "expm1": 8, "log": 4, "log1p": 4, "sin": 4, "cos": 4, "tanh": 8, "erf": 8, "atan": 8}
INEXACT |= {"logistic": 8, "exp2": 64, "pow": 64, "rsqrt": 2, "sqrt": 1, "empty": 8}


def test_every_rule_is_tested() -> None:
    assert {*RULES} == {*UNARY, *BINARY} | OTHERS


def fused(op: Op, *columns: np.ndarray) -> np.ndarray:
    """Return an operation of numbers by the kernel, one neuron for each."""
    xs = tuple(jnp.asarray(column)[None] for column in columns)

    def step(state: Any, x: Any) -> Any:
        return state, op(*map(lax.stop_gradient, x))

    _, out = snn.scan(step, jnp.zeros_like(xs[0][0]), xs, backend="fused")
    return np.asarray(out[0])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", [*UNARY, *BINARY])
def test_values(name: str, dtype: Any) -> None:
    op, count = (UNARY[name], 1) if name in UNARY else (BINARY[name], 2)
    with jax.enable_x64(True), warnings.catch_warnings():
        columns = [column.astype(dtype) for column in GRID.T[:count]]
        want = np.asarray(jax.vmap(op)(*map(jnp.asarray, columns)))
        got = fused(op, *columns)
    assert got.dtype == want.dtype
    odd = ~np.isfinite(want)
    np.testing.assert_array_equal(got[odd], want[odd])
    with np.errstate(all="ignore"):
        away = np.abs(got.astype(np.float64) - want)[~odd] / np.spacing(np.abs(want.astype(dtype)))[~odd]
    assert away.max(initial=0) <= INEXACT.get(name, 0), (columns[0][~odd][away.argmax()], got[~odd][away.argmax()])
    if name not in INEXACT and dtype == want.dtype and name not in ("max", "min", "clamp"):
        np.testing.assert_array_equal(np.signbit(got[want == 0]), np.signbit(want[want == 0]))
