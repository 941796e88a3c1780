"""Trees, dtypes, lengths and sizes of every kind; numbers that are none; each primitive that fuses, beside XLA's."""

import dataclasses
import warnings
from collections import namedtuple
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from spikingtorch import jax as snn
from spikingtorch.functional import jax_reference as J
from spikingtorch.jax.rules import RULES
from tests.jax.neurons import QUIET, XS, V, lif
from tests.jax.oracle import assert_same, check, on, plain

pytestmark = pytest.mark.sampled

Pair = namedtuple("Pair", ["v", "count"])


@jax.tree_util.register_dataclass
@dataclasses.dataclass
class Kept:
    v: Any
    memory: Any
    name: str = dataclasses.field(default="mine", metadata={"static": True})


def named_step(state: Pair, x: Any) -> Any:
    u = 0.9 * state.v + x["i"]
    fired = u > 0.8
    return Pair(jnp.where(fired, 0.0, u), state.count + fired.astype(jnp.int32)), {"s": fired, "n": state.count, "u": u}


def dataclass_step(state: Kept, x: Any) -> Any:
    u = 0.9 * state.v + x[0]
    return Kept(u, {"last": (u, None)}, state.name), (u, [None, state.memory["last"][0]])


TREES: dict[str, tuple[Any, Any, Any]] = {
    "a count": (named_step, Pair(V, jnp.zeros((2, 3), jnp.int32)), {"i": XS, "unused": None}),
    "None": (dataclass_step, Kept(V, {"last": (V, None)}), (XS, None)),
    "a bool": (lambda s, x: (s ^ (x > 0.5), s), jnp.zeros((2, 3), bool), XS),
    "int8": (lambda s, x: (s + (x > 0.5).astype(jnp.int8), s), jnp.full((2, 3), 126, jnp.int8), XS),
    "uint8 down": (lambda s, x: (s - (x > 0.5).astype(jnp.uint8), s), jnp.full((2, 3), 1, jnp.uint8), XS),
    "int32 around": (lambda s, x: (s * 3 + (x > 0.5), s), jnp.full((2, 3), 2**30, jnp.int32), XS),
    "integer inputs": (lambda s, x: (s + x[0] * x[1], s), V, (XS, jnp.ones((7, 2, 3), jnp.int32))),
    "an empty state": (lambda s, x: (s, 2.0 * x), (), XS),
    "no output": (lambda s, x: (s + x, None), V, XS),
    "an empty dict of outputs": (lambda s, x: (s + x, {}), V, XS),
    "output of a number": (lambda s, x: (s + x, 1.0), V, XS),
    "output of an array": (lambda s, x: (s + x, jnp.ones(3)), V, XS),
    "the input itself": (lambda s, x: (s, x), V, XS),
    "the state itself": (lambda s, x: (x, s), V, XS),
    "one value twice": (lambda s, x: (s + x, (s, s, x)), V, XS),
    "states of one array": (lambda s, x: ((s[1], s[0] + x), s[0]), (V, V), XS),
    "an output of another shape": (lambda s, x: (s + x, (s + x)[..., None] * jnp.ones(2)), V, XS),
    "a number of Python": (lambda s, x: (s + x, s), 0.5, XS[:, 0, 0]),
    "a state of one number": (lambda s, x: (0.5 * s + 1.0, s * x), jnp.zeros(()), XS),
    "a state of a row": (lambda s, x: (0.5 * s + 1.0, s * x), jnp.zeros(3), XS),
    "a state that turns by index": (lambda s, x: ((s[1], s[2], x), s[0]), (V, V, V), XS),
    "inputs of two ranks": (lambda s, x: (0.5 * s + x[0] * x[1], s), V, (XS, XS[:, 0])),
    "inputs of one number": (lambda s, x: (0.5 * s + x[0] * x[1], s), V, (XS, XS[:, 0, 0])),
}


@QUIET
@pytest.mark.sampled
@pytest.mark.parametrize("name", TREES)
def test_trees_and_dtypes(name: str) -> None:
    check(*TREES[name])


@QUIET
@pytest.mark.sampled
@pytest.mark.parametrize("wide", [False, True])
@pytest.mark.parametrize(
    "start",
    [
        lambda: jnp.asarray(0.25),
        lambda: jnp.full((3,), 0.25),
        lambda: jnp.zeros((3,)) * 2,
        lambda: jnp.asarray(0.25, jnp.float32),
        lambda: np.float32(0.25) * np.ones(3, np.float32),
        lambda: jnp.asarray(1),
    ],
    ids=["number", "full", "product", "strong", "numpy", "integer"],
)
def test_weak_types(start: Any, wide: bool) -> None:
    """Weak types of states, and numbers of Python that a step adds, promote as in lax.scan."""
    with jax.enable_x64(wide):
        state = start()
        floating = jnp.issubdtype(state.dtype, jnp.floating)
        xs = jnp.linspace(0.0, 1.0, 12, dtype=state.dtype if floating else jnp.float32)
        xs = xs.reshape(4, *([3] if np.ndim(state) else []), -1)[..., 0]
        for step in (
            lambda s, x: (s * 1, x * 2 + 1),
            lambda s, x: (s, x * s),
            lambda s, x: ((s + 0 * x).astype(s.dtype), s * 0.5),
        ):
            assert_same(on("auto")(step, state, xs), plain(step, state, xs))


def test_a_weak_state_has_the_precision_of_the_inputs() -> None:
    with jax.enable_x64(True):
        xs = jnp.linspace(0.0, 1.0, 4, dtype=jnp.float32)
        for step in (lambda s, x: (s + x, s), lambda s, x: (s * 1, x)):
            final, outs = on("auto")(step, jnp.asarray(0.25), xs)
            assert (final.dtype, outs.dtype) == (jnp.float32, jnp.float32)


@pytest.mark.sampled
@pytest.mark.parametrize("shape", [(0, 2, 3), (4, 0, 3), (4, 2, 0), (0, 0, 0), (1, 2, 3), (4, 0), (0,), (1,)], ids=str)
@pytest.mark.parametrize("dim", [0, -1])
def test_nothing_to_do(shape: tuple[int, ...], dim: int) -> None:
    xs = jnp.ones(shape)
    state = J.LIFState(jnp.ones(shape[1:] if dim == 0 else shape[:-1]))
    check(lif, state, xs, {"decay": jnp.asarray(0.8)}, dim=dim)


@pytest.mark.sampled
@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "bfloat16"])
def test_numbers_that_are_no_numbers(dtype: str) -> None:
    with jax.enable_x64(True):
        odd = jnp.asarray([np.nan, np.inf, -np.inf, 0.0, -0.0, 1.0, 6e4, -1.0, 0.9], dtype)
        xs = jnp.stack([odd, jnp.roll(odd, 1), odd[::-1], odd])
        state = J.IFState(jnp.zeros(odd.shape, jnp.promote_types(dtype, jnp.float32)))
        for step, start in ((J.if_step, state), (lambda s, x: (jnp.maximum(s, x), jnp.minimum(x, s)), state.v)):
            assert_same(on("auto")(step, start, xs), plain(step, start, xs))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_subnormal_numbers(dtype: str) -> None:
    """Subnormal membranes are numbers. XLA may take them for zero: then zero is right too, and nothing between."""
    with jax.enable_x64(True):
        tiny = float(np.finfo(dtype).smallest_subnormal)
        xs = jnp.full((3, 4), 4 * tiny, dtype)
        state = J.IFState(jnp.zeros(4, dtype))
        (v,), spikes = on("auto")(J.if_step, state, xs)
        exact = np.full(4, 12 * tiny, dtype)
        assert np.array_equal(np.asarray(v), exact) or not np.asarray(v).any()
        assert not np.asarray(spikes).any()


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
