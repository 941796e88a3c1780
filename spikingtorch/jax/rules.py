"""The rules that lower each elementwise primitive of JAX to operations of a program.

A rule takes the builder, the dtype of the result, the operands and the parameters of the equation, and returns the
value of the result. It keeps the order of operations that XLA has, so that exact operations stay exact. Its own numbers
are constants: two lowerings of an equation are one value.
"""

from collections.abc import Callable
from typing import Any, TypeAlias

import jax

from spikingtorch.functional.fused.errors import NotFusible
from spikingtorch.functional.fused.lower.builder import Builder, Value

Rule: TypeAlias = Callable[..., Value]

_FLOATS, _INTEGERS = ("f32", "f64"), ("i32", "i64")


RULES: dict[str, Rule] = {}


def rule(*names: str) -> Callable[[Rule], Rule]:
    """Register a rule for primitives by their names."""

    def register(function: Rule) -> Rule:
        RULES.update(dict.fromkeys(names, function))
        return function

    return register


def _plain(op: str, *dtypes: str, of_bool: str | None = None) -> Rule:
    """Return the rule of one operation, for operands of some dtypes; bools may have an operation of their own."""

    def lower(b: Builder, dtype: str, *operands: Value, **_: Any) -> Value:
        if dtype == "bool" and of_bool is not None:
            return b.emit(of_bool, dtype, *operands)
        if dtype not in dtypes:
            raise NotFusible(f"takes {op} of {dtype}")
        return b.emit(op, dtype, *operands)

    return lower


_NUMBERS = (*_FLOATS, *_INTEGERS)
for _name, _of_bool in (("add", "or"), ("mul", "and"), ("max", "or"), ("min", "and")):
    rule(_name)(_plain(_name, *_NUMBERS, of_bool=_of_bool))
rule("add_any")(RULES["add"])
for _name in ("sub", "neg", "abs"):
    rule(_name)(_plain(_name, *_NUMBERS))
for _name in ("div", "exp", "expm1", "log", "log1p", "sin", "cos", "tanh", "erf", "atan", "sqrt", "floor", "ceil"):
    rule(_name)(_plain(_name, *_FLOATS))
rule("logistic")(_plain("sigmoid", *_FLOATS))
for _name in ("and", "or", "xor", "not"):
    rule(_name)(_plain(_name, "bool"))


@rule("sign")
def _sign(b: Builder, dtype: str, x: Value, **_: Any) -> Value:
    if dtype not in _NUMBERS:
        raise NotFusible(f"takes sign of {dtype}")
    # NaN and the zeros have themselves as their sign
    zero = b.const(0, dtype)
    other = b.emit("or", "bool", b.compare("lt", dtype, x, zero), b.compare("gt", dtype, x, zero))
    return b.where(dtype, other, b.emit("sign", dtype, x), x)


@rule("round")
def _round(b: Builder, dtype: str, x: Value, *, rounding_method: Any) -> Value:
    if rounding_method != jax.lax.RoundingMethod.TO_NEAREST_EVEN:
        raise NotFusible("rounds halves away from zero; jnp.round rounds them to even numbers")
    return RULES["floor"](b, dtype, x) if dtype not in _FLOATS else b.emit("round", dtype, x)


@rule("square")
def _square(b: Builder, dtype: str, x: Value, **_: Any) -> Value:
    return RULES["mul"](b, dtype, x, x)


@rule("one_minus_square")
def _one_minus_square(b: Builder, dtype: str, x: Value, **_: Any) -> Value:
    one = b.const(1, dtype)  # in factors, which are precise where x is near 1
    return b.emit("mul", dtype, b.emit("add", dtype, one, x), b.emit("sub", dtype, one, x))


@rule("rsqrt")
def _rsqrt(b: Builder, dtype: str, x: Value, **_: Any) -> Value:
    return b.emit("div", dtype, b.const(1, dtype), RULES["sqrt"](b, dtype, x))


@rule("integer_pow")
def _integer_pow(b: Builder, dtype: str, x: Value, *, y: int) -> Value:
    if dtype not in _NUMBERS or (y < 0 and dtype in _INTEGERS):
        raise NotFusible(f"takes the power {y} of {dtype}")
    if y == 0:
        return b.const(1, dtype)
    result, rest = None, abs(y)
    while rest:  # by the binary digits of the exponent
        if rest & 1:
            result = x if result is None else b.emit("mul", dtype, result, x)
        rest >>= 1
        x = b.emit("mul", dtype, x, x) if rest else x
    assert result is not None
    return b.emit("div", dtype, b.const(1, dtype), result) if y < 0 else result


@rule("pow")
def _pow(b: Builder, dtype: str, x: Value, y: Value, **_: Any) -> Value:
    if dtype not in _FLOATS:
        raise NotFusible(f"takes a power of {dtype}")
    return b.emit("pow", dtype, x, y)


@rule("exp2")
def _exp2(b: Builder, dtype: str, x: Value, **_: Any) -> Value:
    return _pow(b, dtype, b.const(2, dtype), x)


@rule("is_finite")
def _is_finite(b: Builder, _dtype: str, x: Value, **_: Any) -> Value:
    own = b.nodes[x.node].dtype
    return b.compare("eq", own, b.emit("sub", own, x, x), b.const(0, own))


@rule("clamp")
def _clamp(b: Builder, dtype: str, low: Value, x: Value, high: Value, **_: Any) -> Value:
    return RULES["min"](b, dtype, RULES["max"](b, dtype, low, x), high)


def _comparison(op: str) -> Rule:
    def lower(b: Builder, _dtype: str, x: Value, y: Value, **_: Any) -> Value:
        return b.compare(op, b.nodes[x.node].dtype, x, y)

    return lower


for _name in ("lt", "le", "gt", "ge", "eq", "ne"):
    rule(_name)(_comparison(_name))


@rule("select_n")
def _select(b: Builder, dtype: str, which: Value, *cases: Value, **_: Any) -> Value:
    return chosen(b, dtype, which, cases)


def chosen(b: Builder, dtype: str, which: Value, cases: tuple[Value, ...]) -> Value:
    """Return the case of a number, the first or the last one for a number below or above all of them."""
    own = b.nodes[which.node].dtype
    if own == "bool":
        return b.where(dtype, which, cases[1], cases[0])
    result = cases[-1]
    for index in range(len(cases) - 2, -1, -1):
        result = b.where(dtype, b.compare("le", own, which, b.const(index, own)), cases[index], result)
    return result


@rule("convert_element_type")
def _convert(b: Builder, dtype: str, x: Value, **_: Any) -> Value:
    before = b.nodes[x.node].dtype
    if before not in _FLOATS or dtype not in _INTEGERS:
        return b.cast(x, dtype)
    # numbers out of range become the nearest integer, and NaN zero; in C they are undefined
    limit = 2 ** (31 if dtype == "i32" else 63)
    whole = b.where(dtype, b.compare("eq", before, x, x), b.cast(x, dtype), b.const(0, dtype))
    low = b.where(dtype, b.compare("lt", before, x, b.const(-limit, before)), b.const(-limit, dtype), whole)
    return b.where(dtype, b.compare("ge", before, x, b.const(limit, before)), b.const(limit - 1, dtype), low)


@rule("empty", "empty2")
def _empty(b: Builder, dtype: str, **_: Any) -> Value:
    return b.const(0, dtype)  # a value that the condition leaves out, which no equation reads


@rule("copy", "copy_p", "stop_gradient", "pvary", "pcast", "reshard", "sharding_constraint")
def _same(b: Builder, dtype: str, x: Value, **_: Any) -> Value:
    return b.cast(x, dtype)
