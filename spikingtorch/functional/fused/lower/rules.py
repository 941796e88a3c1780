"""The rules that lower each pointwise aten operation to operations of a program.

A rule takes the builder, the dtype of the result and the arguments, and returns the value. The order of operations is
the same as in torch's kernels, so that exact operations stay exact.
"""

from collections.abc import Callable
from typing import Any, Protocol

from spikingtorch.functional.fused.errors import NotFusible
from spikingtorch.functional.fused.lower.builder import Builder, Operand, Value


class Rule(Protocol):
    """The lowering of an operation."""

    def __call__(self, b: Builder, dtype: str, /, *args: Any, **options: Any) -> Value:
        """Return the value of the operation."""
        ...


RULES: dict[str, Rule] = {}
# operations that compare or test their operands in the operands' common dtype, not in the result's dtype
COMPARISONS = ("lt", "le", "gt", "ge", "eq", "ne")


def rule(*names: str) -> Callable[[Rule], Rule]:
    """Register a rule for operations of aten, such as "add.Tensor"; a bare name is its default overload."""

    def register(function: Rule) -> Rule:
        RULES.update({name if "." in name else f"{name}.default": function for name in names})
        return function

    return register


def _overloads(name: str) -> tuple[str, ...]:
    return f"{name}.Tensor", f"{name}.Scalar"


def _plain(op: str) -> Rule:
    def lower(b: Builder, dtype: str, *args: Operand) -> Value:
        return b.emit(op, dtype, *args)

    return lower


def _of_floats(op: str) -> Rule:
    def lower(b: Builder, dtype: str, *args: Operand) -> Value:
        return b.emit(op, _floating(dtype, op), *args)

    return lower


def _floating(dtype: str, name: str) -> str:
    if dtype not in ("f32", "f64"):
        raise NotFusible(f"takes {name} of {dtype}; convert to a floating dtype first")
    return dtype


# --- arithmetic -------------------------------------------------------------------------------------------------------


@rule(*_overloads("add"))
def _add(b: Builder, dtype: str, x: Operand, y: Operand, alpha: float = 1) -> Value:
    if alpha == 1:
        return b.emit("or" if dtype == "bool" else "add", dtype, x, y)
    return b.inexact(b.emit("add", dtype, x, b.emit("mul", dtype, y, alpha)))


@rule(*_overloads("sub"))
def _sub(b: Builder, dtype: str, x: Operand, y: Operand, alpha: float = 1) -> Value:
    if alpha == 1:
        return b.emit("sub", dtype, x, y)
    return b.inexact(b.emit("sub", dtype, x, b.emit("mul", dtype, y, alpha)))


@rule(*_overloads("rsub"))
def _rsub(b: Builder, dtype: str, x: Operand, y: Operand, alpha: float = 1) -> Value:
    return _sub(b, dtype, y, x, alpha=alpha)


@rule(*_overloads("mul"))
def _mul(b: Builder, dtype: str, x: Operand, y: Operand) -> Value:
    return b.emit("and" if dtype == "bool" else "mul", dtype, x, y)


rule(*_overloads("div"))(_plain("div"))
rule(*_overloads("fmod"))(_of_floats("fmod"))


@rule("remainder.Tensor", "remainder.Scalar")
def _remainder(b: Builder, dtype: str, x: Operand, y: Operand) -> Value:
    divisor = b.cast(y, _floating(dtype, "remainder"))
    rest = b.emit("fmod", dtype, x, divisor)
    zero = b.const(0, dtype)
    differs = b.compare("ne", "bool", b.compare("lt", dtype, divisor, zero), b.compare("lt", dtype, rest, zero))
    wraps = b.emit("and", "bool", b.compare("ne", dtype, rest, zero), differs)
    return b.where(dtype, wraps, b.emit("add", dtype, rest, divisor), rest)


@rule("reciprocal")
def _reciprocal(b: Builder, dtype: str, x: Operand) -> Value:
    return b.emit("div", dtype, b.const(1, dtype), x)


@rule("rsqrt")
def _rsqrt(b: Builder, dtype: str, x: Operand) -> Value:
    return _reciprocal(b, dtype, b.emit("sqrt", dtype, x))


@rule("square")
def _square(b: Builder, dtype: str, x: Operand) -> Value:
    return b.emit("mul", dtype, x, x)


def _to_integer(op: str) -> Rule:
    def lower(b: Builder, dtype: str, x: Operand) -> Value:
        return b.emit(op, dtype, x) if dtype in ("f32", "f64") else b.cast(x, dtype)

    return lower


for _name in ("neg", "abs", "sqrt"):
    rule(_name)(_plain(_name))
for _name in ("floor", "ceil", "round", "trunc"):
    rule(_name)(_to_integer(_name))
for _name in ("exp", "expm1", "log", "log1p", "log2", "log10", "sin", "cos", "tanh", "sigmoid", "erf", "atan"):
    rule(_name)(_plain(_name))
rule("sign", "sgn")(_plain("sign"))


@rule("pow.Tensor_Scalar")
def _pow_scalar(b: Builder, dtype: str, x: Operand, exponent: float) -> Value:
    one = b.const(1, dtype)
    known: dict[float, Callable[[], Value]] = {
        0.0: lambda: one,
        1.0: lambda: b.cast(x, dtype),
        2.0: lambda: b.emit("mul", dtype, x, x),
        3.0: lambda: b.emit("mul", dtype, b.emit("mul", dtype, x, x), x),
    }
    if dtype in ("f32", "f64"):
        known |= {
            0.5: lambda: b.emit("sqrt", dtype, x),
            -0.5: lambda: b.emit("div", dtype, one, b.emit("sqrt", dtype, x)),
            -1.0: lambda: b.emit("div", dtype, one, x),
            -2.0: lambda: b.emit("div", dtype, one, b.emit("mul", dtype, x, x)),
        }
    if exponent in known:
        return known[exponent]()
    return _pow(b, dtype, x, exponent)


_pow = rule("pow.Tensor_Tensor", "pow.Scalar")(_of_floats("pow"))


# --- comparisons, logic, choice ---------------------------------------------------------------------------------------


def _comparison(op: str) -> Rule:
    def lower(b: Builder, dtype: str, x: Operand, y: Operand, *, common: str) -> Value:
        return b.compare(op, common, x, y)

    return lower


for _name in COMPARISONS:
    rule(*_overloads(_name))(_comparison(_name))


def _logical(op: str) -> Rule:
    def lower(b: Builder, dtype: str, *args: Operand) -> Value:
        if dtype != "bool":
            raise NotFusible(f"takes the bitwise {op} of {dtype}")
        return b.emit(op, "bool", *args)

    return lower


for _op in ("and", "or", "xor"):
    rule(f"logical_{_op}", f"bitwise_{_op}.Tensor", f"bitwise_{_op}.Scalar")(_logical(_op))
rule("logical_not", "bitwise_not")(_logical("not"))


@rule("isnan")
def _isnan(b: Builder, dtype: str, x: Value) -> Value:
    return b.compare("ne", b.nodes[x.node].dtype, x, x)


rule("where.self")(Builder.where)


@rule("masked_fill.Scalar", "masked_fill.Tensor")
def _masked_fill(b: Builder, dtype: str, x: Operand, mask: Operand, value: Operand) -> Value:
    return b.where(dtype, mask, value, x)


@rule("heaviside")
def _heaviside(b: Builder, dtype: str, x: Operand, at_zero: Operand) -> Value:
    zero = b.const(0, dtype)
    above = b.cast(b.compare("gt", dtype, x, zero), dtype)
    return b.where(dtype, b.compare("eq", dtype, x, zero), at_zero, above)


rule("maximum")(_plain("max"))
rule("minimum")(_plain("min"))


# Of two zeros, torch keeps the sign of the tensor if the bound is a number, and mostly the sign of the bound if that is
# a tensor. A float parameter is a number on the loop, though the trace has a tensor in its place.
def _bounded(b: Builder, op: str, dtype: str, x: Operand, bound: Operand | None) -> Operand:
    if bound is None:
        return x
    return b.emit(op, dtype, bound, x) if b.is_number(bound) else b.emit(op, dtype, x, bound)


@rule("clamp", "clamp.Tensor", "clamp_min", "clamp_min.Tensor")
def _clamp(b: Builder, dtype: str, x: Operand, min: Operand | None = None, max: Operand | None = None) -> Value:
    return b.cast(_bounded(b, "min", dtype, _bounded(b, "max", dtype, x, min), max), dtype)


@rule("hardtanh")
def _hardtanh(b: Builder, dtype: str, x: Operand, low: Operand = -1, high: Operand = 1) -> Value:
    return _clamp(b, dtype, x, low, high)


@rule("clamp_max", "clamp_max.Tensor")
def _clamp_max(b: Builder, dtype: str, x: Operand, max: Operand) -> Value:
    return _clamp(b, dtype, x, max=max)


# --- functions made of others -----------------------------------------------------------------------------------------


@rule("relu")
def _relu(b: Builder, dtype: str, x: Operand) -> Value:
    return b.emit("max", dtype, b.const(0, dtype), x)


@rule("leaky_relu")
def _leaky_relu(b: Builder, dtype: str, x: Operand, slope: Operand = 0.01) -> Value:
    return b.where(dtype, b.compare("gt", dtype, x, b.const(0, dtype)), x, b.emit("mul", dtype, x, slope))


@rule("silu")
def _silu(b: Builder, dtype: str, x: Operand) -> Value:
    return b.inexact(b.emit("mul", dtype, x, b.emit("sigmoid", dtype, x)))


@rule("softplus")
def _softplus(b: Builder, dtype: str, x: Operand, beta: Operand = 1, threshold: Operand = 20) -> Value:
    scaled = b.emit("mul", dtype, x, beta)
    soft = b.emit("div", dtype, b.emit("log1p", dtype, b.emit("exp", dtype, scaled)), beta)
    return b.where(dtype, b.compare("gt", dtype, scaled, threshold), x, soft)


@rule("lerp.Scalar", "lerp.Tensor")
def _lerp(b: Builder, dtype: str, start: Operand, end: Operand, weight: Operand) -> Value:
    weight = b.cast(weight, dtype)
    span = b.emit("sub", dtype, end, start)
    near = b.emit("add", dtype, start, b.emit("mul", dtype, weight, span))
    far = b.emit("sub", dtype, end, b.emit("mul", dtype, span, b.emit("sub", dtype, b.const(1, dtype), weight)))
    small = b.compare("lt", dtype, b.emit("abs", dtype, weight), 0.5)
    return b.inexact(b.where(dtype, small, near, far))


@rule("addcmul")
def _addcmul(b: Builder, dtype: str, x: Operand, y: Operand, z: Operand, value: float = 1) -> Value:
    return b.inexact(b.emit("add", dtype, x, b.emit("mul", dtype, b.emit("mul", dtype, y, value), z)))


@rule("addcdiv")
def _addcdiv(b: Builder, dtype: str, x: Operand, y: Operand, z: Operand, value: float = 1) -> Value:
    return b.inexact(b.emit("add", dtype, x, b.emit("div", dtype, b.emit("mul", dtype, y, value), z)))


# --- gradients that torch has an operation for ------------------------------------------------------------------------


@rule("sigmoid_backward")
def _sigmoid_backward(b: Builder, dtype: str, g: Operand, y: Value) -> Value:
    node = b.nodes[y.node]
    if node.op == "sigmoid":  # half the work of computing the sigmoid, the surrogate of most scans
        return b.emit("mul", dtype, g, b.emit("sigmoid_slope", dtype, Value(int(node.args[0]))))
    rest = b.emit("sub", dtype, b.const(1, dtype), y)
    return b.emit("mul", dtype, b.emit("mul", dtype, g, rest), y)


@rule("tanh_backward")
def _tanh_backward(b: Builder, dtype: str, g: Operand, y: Operand) -> Value:
    return b.emit("mul", dtype, g, b.emit("sub", dtype, b.const(1, dtype), b.emit("mul", dtype, y, y)))


@rule("threshold_backward")
def _threshold_backward(b: Builder, dtype: str, g: Operand, x: Operand, threshold: Operand) -> Value:
    return b.where(dtype, b.compare("le", dtype, x, threshold), b.const(0, dtype), g)


@rule("hardtanh_backward")
def _hardtanh_backward(b: Builder, dtype: str, g: Operand, x: Operand, low: Operand, high: Operand) -> Value:
    inside = b.emit("and", "bool", b.compare("gt", dtype, x, low), b.compare("lt", dtype, x, high))
    return b.where(dtype, inside, g, b.const(0, dtype))


@rule("leaky_relu_backward")
def _leaky_relu_backward(
    b: Builder, dtype: str, g: Operand, x: Operand, slope: Operand, is_result: bool = False
) -> Value:
    return b.where(dtype, b.compare("gt", dtype, x, b.const(0, dtype)), g, b.emit("mul", dtype, g, slope))


@rule("silu_backward")
def _silu_backward(b: Builder, dtype: str, g: Operand, x: Operand) -> Value:
    s, one = b.emit("sigmoid", dtype, x), b.const(1, dtype)
    slope = b.emit("add", dtype, one, b.emit("mul", dtype, x, b.emit("sub", dtype, one, s)))
    return b.emit("mul", dtype, b.emit("mul", dtype, g, s), slope)


@rule("softplus_backward")
def _softplus_backward(b: Builder, dtype: str, g: Operand, x: Operand, beta: Operand, threshold: Operand) -> Value:
    scaled = b.emit("mul", dtype, x, beta)
    z = b.emit("exp", dtype, scaled)
    slope = b.emit("div", dtype, b.emit("mul", dtype, g, z), b.emit("add", dtype, z, b.const(1, dtype)))
    return b.where(dtype, b.compare("gt", dtype, scaled, threshold), g, slope)


# --- constants and conversions ----------------------------------------------------------------------------------------


@rule("zeros_like", "zeros", "new_zeros")
def _zeros(b: Builder, dtype: str, *_: Any) -> Value:
    return b.const(0, dtype)


@rule("ones_like", "ones", "new_ones")
def _ones(b: Builder, dtype: str, *_: Any) -> Value:
    return b.const(1, dtype)


@rule("full_like", "full", "new_full", "fill.Scalar", "fill.Tensor")
def _full(b: Builder, dtype: str, shape: Any, *args: Any) -> Value:
    return _number(b, dtype, args[-1])


@rule("scalar_tensor")
def _number(b: Builder, dtype: str, value: Operand) -> Value:
    # a zero has no sign in the text of a kernel
    known = not isinstance(value, Value) and value in (0, 1) and repr(value) != "-0.0"
    return b.const(int(value), dtype) if known else b.cast(value, dtype)  # type: ignore[arg-type]


@rule("_to_copy", "clone", "detach", "alias", "lift_fresh", "lift_fresh_copy", "positive", "_conj_physical")
def _same(b: Builder, dtype: str, x: Operand, *_: Any) -> Value:
    return b.cast(x, dtype)


@rule("copy")
def _copy(b: Builder, dtype: str, x: Operand, source: Operand, *_: Any) -> Value:
    return b.cast(source, dtype)
