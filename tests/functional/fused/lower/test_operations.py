"""Every operation of aten that the fused backend knows, by itself, at special and at random numbers, beside eager.

Each operation has input streams of its own, so that no gradient of one reaches another; the operations of a group are
the outputs of one step, which is one kernel forward and one backward.
"""

import re
from collections.abc import Callable, Iterable
from functools import cache
from typing import Any

import pytest
import torch
from torch import Tensor

from spikingtorch.functional.fused.lower.rules import COMPARISONS, RULES
from spikingtorch.functional.fused.runtime.cpu import CPU
from spikingtorch.functional.fused.trace.examples import Spec
from spikingtorch.functional.fused.trace.tracer import trace
from tests.fused import Scan, assert_same_bits, bits, draw, special, ulps
from tests.surroundings import forget

Function = Callable[[Tensor, Tensor, Tensor], Any]
aten: Any = torch.ops.aten
FLOATS = [torch.float32, torch.float64]

POWERS = (0.0, 1, 2, 3.0, 0.5, -0.5, -1.0, -2, 1.7, -0.3, 4, -3, 5.0)
UNARY = [
    *("neg", "abs", "sqrt", "floor", "ceil", "round", "trunc", "sign", "sgn", "exp", "expm1", "log", "log1p", "log2"),
    *("log10", "sin", "cos", "tanh", "sigmoid", "erf", "atan", "reciprocal", "rsqrt", "square", "relu", "leaky_relu"),
    *("silu", "softplus", "isnan", "logical_not", "hardtanh", "zeros_like", "ones_like", "clone", "detach", "alias"),
    *("lift_fresh", "lift_fresh_copy", "positive", "_conj_physical"),
]
BINARY = [
    *("add.Tensor", "sub.Tensor", "rsub.Tensor", "mul.Tensor", "div.Tensor", "fmod.Tensor", "remainder.Tensor"),
    *("pow.Tensor_Tensor", "logical_and.default", "logical_or.default", "logical_xor.default", "maximum.default"),
    *("minimum.default", "clamp.Tensor", "clamp_min.Tensor", "clamp_max.Tensor"),
]
SCALAR = [
    *("add.Scalar", "sub.Scalar", "rsub.Scalar", "mul.Scalar", "div.Scalar", "fmod.Scalar", "remainder.Scalar"),
    *("clamp_min.default", "clamp_max.default", "fill.Scalar"),
]
TERNARY = ["clamp.Tensor", "lerp.Tensor", "addcmul.default", "addcdiv.default"]
LOGIC = ("and", "or", "xor")


def _uses(names: Iterable[str], call: Callable[..., Any], tell: str = "") -> dict[str, Function]:
    """Return uses of operations of aten by their names and what tells the use apart."""

    def of(name: str) -> Function:
        packet, overload = name.split(".")
        operation = getattr(getattr(aten, packet), overload)
        return lambda x, y, z: call(operation, x, y, z)

    return {name + tell: of(name) for name in names}


def _raised_to(power: float) -> Function:
    return lambda x, y, z: aten.pow.Tensor_Scalar(x, power)


# name of a rule, and what tells its uses apart: a function of three tensors
TABLE: dict[str, Function] = {
    **_uses([f"{name}.default" for name in UNARY], lambda op, x, y, z: op(x)),
    **_uses(BINARY, lambda op, x, y, z: op(x, y)),
    **_uses([f"{name}.Tensor" for name in COMPARISONS], lambda op, x, y, z: op(x, y)),
    **_uses(SCALAR, lambda op, x, y, z: op(x, 0.3)),
    **_uses([f"{name}.Scalar" for name in COMPARISONS], lambda op, x, y, z: op(x, 0.3)),
    **_uses(TERNARY, lambda op, x, y, z: op(x, y, z), ", three"),
    **{f"pow.Tensor_Scalar, {power}": _raised_to(power) for power in POWERS},
    **_uses([f"bitwise_{name}.Tensor" for name in LOGIC], lambda op, x, y, z: op(x > 0, y > 0)),
    **_uses([f"bitwise_{name}.Scalar" for name in LOGIC], lambda op, x, y, z: op(x > 0, True)),
    "bitwise_not.default": lambda x, y, z: aten.bitwise_not.default(x > 0),
    "add.Scalar, alpha": lambda x, y, z: aten.add.Scalar(x, 0.3, 0.7),
    **_uses(("add.Tensor", "sub.Tensor"), lambda op, x, y, z: op(x, y, alpha=0.7), ", alpha"),
    **_uses(("addcmul.default", "addcdiv.default"), lambda op, x, y, z: op(x, y, z, value=0.7), ", value"),
    "sub.Tensor, itself": lambda x, y, z: x - x,
    "mul.Tensor, itself": lambda x, y, z: x * x,
    "mul.Tensor, bool": lambda x, y, z: (x > 0) * (y > 0),
    "mul.Tensor, bool and float": lambda x, y, z: (x > 0) * y,
    "pow.Scalar": lambda x, y, z: aten.pow.Scalar(1.7, x),
    "where.self": lambda x, y, z: aten.where.self(x > y, y, z),
    "where.self, a number": lambda x, y, z: torch.where(x > y, 0.3, z),
    "masked_fill.Scalar": lambda x, y, z: aten.masked_fill.Scalar(x, y > 0, 0.3),
    "masked_fill.Tensor": lambda x, y, z: aten.masked_fill.Tensor(x, y > 0, torch.tensor(0.3, dtype=x.dtype)),
    "heaviside.default": lambda x, y, z: aten.heaviside.default(x.detach(), y.detach()),
    "clamp.default": lambda x, y, z: aten.clamp.default(x, -0.3, 1.0),
    "clamp.default, low": lambda x, y, z: aten.clamp.default(x, -0.3),
    "clamp.default, high": lambda x, y, z: aten.clamp.default(x, None, 0.3),
    "clamp.default, crossed": lambda x, y, z: aten.clamp.default(x, 1.0, -1.0),
    "hardtanh.default, bounds": lambda x, y, z: aten.hardtanh.default(x, -0.3, 1.0),
    "leaky_relu.default, slope": lambda x, y, z: aten.leaky_relu.default(x, 0.3),
    "softplus.default, options": lambda x, y, z: aten.softplus.default(x, 2.0, 10.0),
    "lerp.Scalar": lambda x, y, z: aten.lerp.Scalar(x, y, 0.3),
    "lerp.Scalar, far": lambda x, y, z: aten.lerp.Scalar(x, y, 0.7),
    "zeros.default": lambda x, y, z: torch.zeros((), dtype=x.dtype).expand_as(x),
    "ones.default": lambda x, y, z: torch.ones((), dtype=x.dtype).expand_as(x),
    "full.default": lambda x, y, z: torch.full((), 0.3, dtype=x.dtype).expand_as(x),
    "full_like.default": lambda x, y, z: torch.full_like(x, 0.3),
    "new_zeros.default": lambda x, y, z: x.new_zeros(()).expand_as(x),
    "new_ones.default": lambda x, y, z: x.new_ones(()).expand_as(x),
    "new_full.default": lambda x, y, z: x.new_full((), 0.3).expand_as(x),
    "fill.Tensor": lambda x, y, z: aten.fill.Tensor(x, torch.tensor(0.3, dtype=x.dtype)),
    "fill.Scalar, in place": lambda x, y, z: x.clone().fill_(0.3),
    "scalar_tensor.default": lambda x, y, z: torch.scalar_tensor(0.3, dtype=x.dtype) * x,
    "_to_copy.default, double": lambda x, y, z: x.double(),
    "_to_copy.default, float": lambda x, y, z: x.float(),
    "_to_copy.default, bool": lambda x, y, z: x.to(torch.bool),
    "_to_copy.default, of a bool": lambda x, y, z: (x > 0).to(x.dtype),
    "copy.default": lambda x, y, z: x.clone().copy_(y),
    "mul.Tensor, in place": lambda x, y, z: x.clone().mul_(y),
    "clamp.default, in place": lambda x, y, z: x.clone().clamp_(-0.3, 0.3),
    "masked_fill.Scalar, in place": lambda x, y, z: x.clone().masked_fill_(y > 0, 0.3),
    "relu.default, functional": lambda x, y, z: torch.nn.functional.relu(x),
}
# what only a gradient calls, and what is differentiated to it
GRADIENTS = {
    **{f"{name}_backward.default": f"{name}.default" for name in ("sigmoid", "tanh", "hardtanh", "leaky_relu", "silu")},
    "softplus_backward.default": "softplus.default",
    "threshold_backward.default": "relu.default",
}
# torch takes these apart before the trace sees them
UNSEEN = {"positive.default", "square.default"}
# what no fused step differentiates, for lack of an operation of the gradient; the values are still compared
REFUSED = {
    "fmod.Tensor": "div.Tensor_mode",
    "remainder.Tensor": "div.Tensor_mode",
    "sgn.default": "_efficientzerotensor.default",
    "lerp.Tensor, three": "empty_like.default",
    "addcdiv.default, three": "empty_like.default",
    "addcdiv.default, value": "empty_like.default",
}
# operations that torch computes in more than one way, or through functions that have no one right last bit
INEXACT = re.compile(
    "sqrt|exp|log(?!ical)|sin|cos|tanh|sigmoid|erf|atan|silu|softplus|lerp|addc|alpha|pow.Scalar|pow.Tensor_Tensor|"
    r"pow.Tensor_Scalar, (0\.5|1\.7|-0\.3|4|-3|5\.0)"
)
# the size of the terms of a sum: its error is relative to them
_SUMS = ("add.Tensor, alpha", "sub.Tensor, alpha", "lerp.Scalar", "lerp.Scalar, far")
TERMS: dict[str, Function] = {
    "add.Scalar, alpha": lambda x, y, z: x.abs() + 0.21,
    "lerp.Tensor, three": lambda x, y, z: (x.abs() + y.abs()) * (1 + z.abs()),
    **dict.fromkeys(_SUMS, lambda x, y, z: x.abs() + y.abs()),
    **{f"addcmul.default, {use}": lambda x, y, z: x.abs() + (y * z).abs() for use in ("three", "value")},
    **{f"addcdiv.default, {use}": lambda x, y, z: x.abs() + (y / z).abs() for use in ("three", "value")},
}
GROUPS = [list(TABLE)[k : k + 12] for k in range(0, len(TABLE), 12)]


def exact(name: str) -> bool:
    return not INEXACT.match(name) and "alpha" not in name


@cache
def operands(dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
    """Return every pair of special numbers, and random ones of sizes small and large."""
    numbers = special(dtype)
    count = len(numbers)
    pairs = numbers.repeat(count), numbers.repeat_interleave(count), numbers.roll(5).repeat(count)
    few = [draw(400, dtype=dtype, low=-2.0, high=2.0, seed=k) for k in range(3)]
    sizes = [
        draw(400, dtype=dtype, low=-20.0, high=20.0, seed=k).exp2() * draw(400, low=-1.0, dtype=dtype) for k in range(3)
    ]
    parts = [torch.cat(each) for each in zip(pairs, few, sizes, strict=True)]
    # whole vectors alone: eager's pow has other bits in what is left over
    x, y, z = (part[: len(part) // 64 * 64][None] for part in parts)
    return x, y, z


def scan_of(names: list[str], dtype: torch.dtype) -> Scan:
    def step(state: tuple[()], x: Any) -> tuple[tuple[()], dict[str, Tensor]]:
        inputs = {name: [leaf.detach() if name in REFUSED else leaf for leaf in x[name]] for name in names}
        return state, {name: TABLE[name](*inputs[name]) for name in names}

    return Scan(step, (), {name: tuple(each.clone() for each in operands(dtype)) for name in names})


def test_the_table_names_every_rule() -> None:
    named = {name.split(",")[0] for name in TABLE}
    assert named | GRADIENTS.keys() == RULES.keys()
    assert {*GRADIENTS.values()} <= named


def test_every_rule_is_called(monkeypatch: pytest.MonkeyPatch) -> None:
    """A function of the table may reach aten by another name than it has here: count what the trace looks up."""
    called = set()

    def noted(name: str, rule: Any) -> Any:
        def call(*args: Any, **kwargs: Any) -> Any:
            called.add(name)
            return rule(*args, **kwargs)

        return call

    forget(monkeypatch)
    monkeypatch.setattr(type(CPU), "failure", lambda self, program: None)  # the traces alone: nothing is compiled
    for name, rule in list(RULES.items()):
        monkeypatch.setitem(RULES, name, noted(name, rule))
    for names in GROUPS:
        assert scan_of(names, torch.float32).exactness in "ET"
    assert RULES.keys() - called == UNSEEN


@pytest.mark.parametrize("name", REFUSED)
def test_what_has_no_gradient_is_refused_by_name(name: str) -> None:
    with pytest.raises(ValueError, match=REFUSED[name]):
        Scan(lambda state, x: (state, TABLE[name](*x)), (), operands(torch.float32)).run("fused")


@pytest.mark.parametrize(
    ("operation", "message"),
    [
        (lambda x: (x.long() & 3).to(x), "takes the bitwise and of i64"),
        (lambda x: (x.abs().long() ** x.abs().long()).to(x), "takes pow of i64; convert to a floating dtype first"),
    ],
    ids=["and", "pow"],
)
def test_integers_are_refused_where_a_kernel_has_floats_or_bools(operation: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Scan(lambda state, x: (state, operation(x)), (), torch.rand(5, 3)).run("fused")


# what has the bits of the loop, where they are compared, through an operation that need not
_NEAR = ("rsqrt", "fmod", "remainder", "pow.Tensor_Scalar, -0.5")


def test_what_eager_rounds_in_more_than_one_way_is_told_and_nothing_else() -> None:
    one = tuple(Spec.of(torch.float32, (5,)) for _ in range(3))
    for name in TABLE:
        step: Any = lambda state, x, name=name: (state, TABLE[name](*(leaf.detach() for leaf in x)))  # noqa: E731
        found = trace(step, (), one, {}, None, lift_floats=True).program.inexact
        assert bool(found) != exact(name) or name.startswith(_NEAR), name


@pytest.mark.sampled
@pytest.mark.parametrize("dtype", FLOATS, ids=str)
@pytest.mark.parametrize("names", GROUPS, ids=lambda names: f"{names[0]} to {names[-1]}")
def test_values_and_gradients(names: list[str], dtype: torch.dtype) -> None:
    scan = scan_of(names, dtype)
    with torch.no_grad():
        got, want = scan.run("fused")[1], scan.run("loop")[1]
    found = [(name, got[name], want[name], wrong_values(name, got[name], want[name], dtype)) for name in names]
    if any(out.requires_grad for out in scan.watched()[0].run("loop")[1].values()):
        ours, theirs = scan.gradients("fused"), scan.gradients("loop")
        found += [(key, ours[key], theirs[key], wrong_gradients(ours[key], theirs[key])) for key in theirs]
    told = [
        f"{name}: {int(wrong.sum())} differ: at {[each[wrong][:4].tolist() for each in operands(dtype)]} "
        f"{a[wrong][:4].tolist()}, expected {b[wrong][:4].tolist()}"
        for name, a, b, wrong in found
        if wrong.any()
    ]
    assert not told, "\n".join(told)


def wrong_values(name: str, got: Tensor, want: Tensor, dtype: torch.dtype) -> Tensor:
    assert (got.dtype, got.shape) == (want.dtype, want.shape), name
    x, y, z = operands(dtype)
    if exact(name):
        wrong = (bits(got) != bits(want)) & ~((got != got) & (want != want))
        if name.startswith(("fmod", "remainder")):
            # eager's vectors know no quotient that large: 3e38 % 0.3 is NaN there, and 0.13 here, which is right
            wrong &= (x / (y if "Tensor" in name else 0.3)).abs() < 1e6
        return wrong
    wrong = ulps(got, want) > 3  # two of ours, one of eager's
    if name in TERMS:
        wrong &= ~((got - want).abs() <= 3 * torch.finfo(dtype).eps * TERMS[name](x, y, z))
    return wrong


def wrong_gradients(got: Tensor, want: Tensor) -> Tensor:
    bound = 1e-5 if want.dtype == torch.float32 else 1e-12
    # near zero, eager's sigmoid(x) (1 - sigmoid(x)) and its like have an error relative to one
    close = (got - want).abs() <= bound * want.abs() + 8 * torch.finfo(want.dtype).eps
    return ~(close | (got == want) | (got.isnan() & want.isnan()))


# --- the sign of a zero -----------------------------------------------------------------------------------------------

BETWEEN_NUMBERS: dict[str, Callable[[Tensor, float], Tensor]] = {
    "min": lambda x, bound: x.clamp(min=bound),
    "max": lambda x, bound: x.clamp(max=bound),
    "both": lambda x, bound: x.clamp(bound, 2.0),
    "computed": lambda x, bound: x.clamp(min=2 * bound),
    "clamp_min": lambda x, bound: x.clamp_min(bound),
    "clamp_max": lambda x, bound: x.clamp_max(bound),
    "hardtanh": lambda x, bound: torch.nn.functional.hardtanh(x, bound, 2.0),
    "literal": lambda x, bound: x.clamp(min=0.0) + 0 * bound,
}
BETWEEN_TENSORS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "minimum": torch.minimum,
    "maximum": torch.maximum,
    "clamp": lambda x, bound: x.clamp(bound),
    "clamp_max": lambda x, bound: x.clamp_max(bound),
}


def bounded(table: dict[str, Any], x: float, bound: Any, dtype: torch.dtype) -> Scan:
    def step(state: tuple[()], x: Tensor, *, bound: Any) -> tuple[tuple[()], dict[str, Tensor]]:
        return state, {name: clamp(x, bound) for name, clamp in table.items()}

    return Scan(step, (), torch.full((3, 20), x, dtype=dtype), {"bound": bound})


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
@pytest.mark.parametrize("zero", [0.0, -0.0])
def test_the_sign_of_a_zero_that_is_bounded(zero: float, dtype: torch.dtype) -> None:
    scan = bounded(BETWEEN_NUMBERS, zero, -zero, dtype)
    assert scan.exactness == "E"
    assert_same_bits(scan.run("fused"), scan.run("loop"))
    scan = bounded(BETWEEN_TENSORS, zero, torch.full((20,), -zero, dtype=dtype), dtype)
    # torch chooses by the place of a neuron in memory, with which nothing can agree that treats all neurons alike
    got, want = ({name: out.abs() for name, out in scan.run(backend)[1].items()} for backend in ("fused", "loop"))
    assert_same_bits(got, want)


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_a_zero_that_a_step_fills_in_keeps_its_sign(dtype: torch.dtype) -> None:
    def step(state: tuple[()], x: Tensor) -> tuple[tuple[()], tuple[Tensor, ...]]:
        return state, (torch.full_like(x, -0.0), torch.where(x > 0, -0.0, x), x.clone().fill_(-0.0))

    scan = Scan(step, (), torch.tensor([[1.0, -1.0, 0.0, -0.0]], dtype=dtype))
    assert scan.exactness == "E"
    assert_same_bits(scan.run("fused"), scan.run("loop"))


# --- whole numbers and bools ------------------------------------------------------------------------------------------

# rows of the table that whole numbers have as well; torch's floor of them is themselves
WHOLE = [
    *("add.Tensor", "sub.Tensor", "sub.Tensor, itself", "mul.Tensor", "div.Tensor", "neg.default", "abs.default"),
    *("sign.default", "square.default", "pow.Tensor_Scalar, 2", "maximum.default", "minimum.default", "relu.default"),
    *("lt.Tensor", "where.self", "logical_and.default", "logical_not.default", "_to_copy.default, float"),
    *("_to_copy.default, double", "_to_copy.default, bool", "floor.default", "ceil.default", "round.default"),
    *("trunc.default",),
]
INTEGERS: dict[str, Function] = {
    **{name: TABLE[name] for name in WHOLE},
    "add, alpha": lambda i, j, x: torch.add(i, j, alpha=3),
    "rsub": lambda i, j, x: 3 - i,
    "mul, a number": lambda i, j, x: i * 3,
    "div, a number": lambda i, j, x: i / 3,
    "pow 3": lambda i, j, x: i**3,
    "clamp": lambda i, j, x: i.clamp(-1, 3),
    "compare, a number": lambda i, j, x: i >= 2,
    "compare, a fraction": lambda i, j, x: i >= 2.5,
    "to int": lambda i, j, x: i.to(torch.int32),
    "to long": lambda i, j, x: i.long(),
    "full": lambda i, j, x: torch.full_like(i, 3),
    "add a fraction": lambda i, j, x: i + 0.5,
    "bool plus bool": lambda i, j, x: (i > 0).long() + (j > 0).long(),
    "float and int": lambda i, j, x: i.float() * j,
    "float to int": lambda i, j, x: x.to(torch.int32),
    "float to long": lambda i, j, x: x.to(torch.int64),
    "float to int and back": lambda i, j, x: x.to(torch.int32).to(x.dtype),
    "fraction": lambda i, j, x: x - x.to(torch.int32),
}


@pytest.mark.sampled
@pytest.mark.parametrize(("dtype", "floating"), [(torch.int32, torch.float32), (torch.int64, torch.float64)], ids=str)
def test_whole_numbers(dtype: torch.dtype, floating: torch.dtype) -> None:
    numbers = torch.tensor([0, 1, -1, 2, -2, 3, 7, -13, 1000, -1001, 2**23 + 1, 2**24 + 1, -(2**24) - 1])
    if dtype == torch.int64:
        numbers = torch.cat([numbers, torch.tensor([2**30, 2**53 + 1, -(2**40) - 1])])
    i, j = (each.reshape(1, -1).to(dtype) for each in torch.meshgrid(numbers, numbers, indexing="ij"))
    halves = torch.arange(-8.0, 8.0, 0.5)
    x = torch.cat([halves, draw(i.numel() - len(halves), low=-9.0, high=9.0)])[None].to(floating)
    scan = Scan(lambda state, x: (state, {name: function(*x) for name, function in INTEGERS.items()}), (), (i, j, x))
    assert_same_bits(scan.run("fused"), scan.run("loop"))
