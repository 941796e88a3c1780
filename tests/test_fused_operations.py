"""Every operation of aten that the fused backend knows, by itself, at special and at random numbers, beside eager.

Each operation has input streams of its own, so that no gradient of one reaches another; the operations of a group are
the outputs of one step, which is one kernel forward and one backward.
"""

import re
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor

from spikingtorch.functional.fused.lower.rules import COMPARISONS, RULES
from spikingtorch.functional.fused.trace.examples import Spec
from spikingtorch.functional.fused.trace.tracer import trace
from tests.caches import forget
from tests.fused import Scan, assert_same_bits, bits, draw, special, ulps

Function = Callable[[Tensor, Tensor, Tensor], Any]
aten: Any = torch.ops.aten
FLOATS = [torch.float32, torch.float64]

LOGIC = ("and", "or", "xor")
POWERS = (0.0, 1, 2, 3.0, 0.5, -0.5, -1.0, -2, 1.7, -0.3, 4, -3, 5.0)
UNARY = """
    neg abs sqrt floor ceil round trunc sign sgn exp expm1 log log1p log2 log10 sin cos tanh sigmoid erf atan reciprocal
    rsqrt square relu leaky_relu silu softplus isnan logical_not hardtanh zeros_like ones_like clone detach alias
    lift_fresh lift_fresh_copy positive _conj_physical
"""


def _operation(name: str) -> Any:
    packet, overload = name.split(".")
    return getattr(getattr(aten, packet), overload)


def _overloads(form: str, names: Sequence[str], call: Callable[[Any, Tensor, Tensor], Any]) -> dict[str, Function]:
    def of(name: str) -> Function:
        return lambda x, y, z: call(_operation(name), x, y)

    return {form.format(name): of(form.format(name)) for name in names}


def _uses(
    name: str, numbers: Sequence[float], call: Callable[[Any, float, Tensor, Tensor], Any]
) -> dict[str, Function]:
    def of(number: float) -> Function:
        return lambda x, y, z: call(_operation(name), number, x, y)

    return {f"{name}, {number}": of(number) for number in numbers}


# name of a rule, and what tells its uses apart: a function of three tensors
TABLE: dict[str, Function] = {
    "add.Scalar": lambda x, y, z: aten.add.Scalar(x, 0.3),
    "add.Scalar, alpha": lambda x, y, z: aten.add.Scalar(x, 0.3, 0.7),
    "add.Tensor": lambda x, y, z: aten.add.Tensor(x, y),
    "add.Tensor, alpha": lambda x, y, z: aten.add.Tensor(x, y, alpha=0.7),
    "sub.Scalar": lambda x, y, z: aten.sub.Scalar(x, 0.3),
    "sub.Tensor": lambda x, y, z: aten.sub.Tensor(x, y),
    "sub.Tensor, alpha": lambda x, y, z: aten.sub.Tensor(x, y, alpha=0.7),
    "sub.Tensor, itself": lambda x, y, z: x - x,
    "rsub.Scalar": lambda x, y, z: aten.rsub.Scalar(x, 0.3),
    "rsub.Tensor": lambda x, y, z: aten.rsub.Tensor(x, y),
    "mul.Scalar": lambda x, y, z: aten.mul.Scalar(x, 0.3),
    "mul.Tensor": lambda x, y, z: aten.mul.Tensor(x, y),
    "mul.Tensor, bool": lambda x, y, z: (x > 0) * (y > 0),
    "mul.Tensor, bool and float": lambda x, y, z: (x > 0) * y,
    "mul.Tensor, itself": lambda x, y, z: x * x,
    "div.Scalar": lambda x, y, z: aten.div.Scalar(x, 0.3),
    "div.Tensor": lambda x, y, z: aten.div.Tensor(x, y),
    "fmod.Scalar": lambda x, y, z: aten.fmod.Scalar(x, 0.3),
    "fmod.Tensor": lambda x, y, z: aten.fmod.Tensor(x, y),
    "remainder.Scalar": lambda x, y, z: aten.remainder.Scalar(x, 0.3),
    "remainder.Tensor": lambda x, y, z: aten.remainder.Tensor(x, y),
    "pow.Scalar": lambda x, y, z: aten.pow.Scalar(1.7, x),
    "pow.Tensor_Tensor": lambda x, y, z: aten.pow.Tensor_Tensor(x, y),
    **_uses("pow.Tensor_Scalar", POWERS, lambda op, p, x, y: op(x, p)),
    **_overloads("{}.default", UNARY.split(), lambda op, x, y: op(x)),
    **_overloads("{}.Tensor", COMPARISONS, lambda op, x, y: op(x, y)),
    **_overloads("{}.Scalar", COMPARISONS, lambda op, x, y: op(x, 0.3)),
    **_overloads("bitwise_{}.Tensor", LOGIC, lambda op, x, y: op(x > 0, y > 0)),
    **_overloads("bitwise_{}.Scalar", LOGIC, lambda op, x, y: op(x > 0, True)),
    **_overloads("logical_{}.default", LOGIC, lambda op, x, y: op(x, y)),
    "bitwise_not.default": lambda x, y, z: aten.bitwise_not.default(x > 0),
    "where.self": lambda x, y, z: aten.where.self(x > y, y, z),
    "where.self, a number": lambda x, y, z: torch.where(x > y, 0.3, z),
    "masked_fill.Scalar": lambda x, y, z: aten.masked_fill.Scalar(x, y > 0, 0.3),
    "masked_fill.Tensor": lambda x, y, z: aten.masked_fill.Tensor(x, y > 0, torch.tensor(0.3, dtype=x.dtype)),
    "heaviside.default": lambda x, y, z: aten.heaviside.default(x.detach(), y.detach()),
    "maximum.default": lambda x, y, z: aten.maximum.default(x, y),
    "minimum.default": lambda x, y, z: aten.minimum.default(x, y),
    "clamp.default": lambda x, y, z: aten.clamp.default(x, -0.3, 1.0),
    "clamp.default, low": lambda x, y, z: aten.clamp.default(x, -0.3),
    "clamp.default, high": lambda x, y, z: aten.clamp.default(x, None, 0.3),
    "clamp.default, crossed": lambda x, y, z: aten.clamp.default(x, 1.0, -1.0),
    "clamp.Tensor": lambda x, y, z: aten.clamp.Tensor(x, y, z),
    "clamp.Tensor, low": lambda x, y, z: aten.clamp.Tensor(x, y),
    "clamp_min.default": lambda x, y, z: aten.clamp_min.default(x, 0.3),
    "clamp_min.Tensor": lambda x, y, z: aten.clamp_min.Tensor(x, y),
    "clamp_max.default": lambda x, y, z: aten.clamp_max.default(x, 0.3),
    "clamp_max.Tensor": lambda x, y, z: aten.clamp_max.Tensor(x, y),
    "hardtanh.default, bounds": lambda x, y, z: aten.hardtanh.default(x, -0.3, 1.0),
    "leaky_relu.default, slope": lambda x, y, z: aten.leaky_relu.default(x, 0.3),
    "softplus.default, options": lambda x, y, z: aten.softplus.default(x, 2.0, 10.0),
    "lerp.Scalar": lambda x, y, z: aten.lerp.Scalar(x, y, 0.3),
    "lerp.Scalar, far": lambda x, y, z: aten.lerp.Scalar(x, y, 0.7),
    "lerp.Tensor": lambda x, y, z: aten.lerp.Tensor(x, y, z),
    "addcmul.default": lambda x, y, z: aten.addcmul.default(x, y, z),
    "addcmul.default, value": lambda x, y, z: aten.addcmul.default(x, y, z, value=0.7),
    "addcdiv.default": lambda x, y, z: aten.addcdiv.default(x, y, z),
    "addcdiv.default, value": lambda x, y, z: aten.addcdiv.default(x, y, z, value=0.7),
    "zeros.default": lambda x, y, z: torch.zeros(x.shape, dtype=x.dtype),
    "ones.default": lambda x, y, z: torch.ones(x.shape, dtype=x.dtype),
    "full.default": lambda x, y, z: torch.full(x.shape, 0.3, dtype=x.dtype),
    "full_like.default": lambda x, y, z: torch.full_like(x, 0.3),
    "new_zeros.default": lambda x, y, z: x.new_zeros(x.shape),
    "new_ones.default": lambda x, y, z: x.new_ones(x.shape),
    "new_full.default": lambda x, y, z: x.new_full(x.shape, 0.3),
    "fill.Scalar": lambda x, y, z: aten.fill.Scalar(x, 0.3),
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
    "sigmoid_backward.default": "sigmoid.default",
    "tanh_backward.default": "tanh.default",
    "threshold_backward.default": "relu.default",
    "hardtanh_backward.default": "hardtanh.default",
    "leaky_relu_backward.default": "leaky_relu.default",
    "silu_backward.default": "silu.default",
    "softplus_backward.default": "softplus.default",
}


def _product(x: Tensor, y: Tensor, z: Tensor) -> Tensor:
    return x.abs() + (y * z).abs()


# torch takes these apart before the trace sees them
UNSEEN = {"positive.default", "square.default"}
# what no fused step differentiates, for lack of an operation of the gradient; the values are still compared
REFUSED = {
    "fmod.Tensor": "div.Tensor_mode",
    "remainder.Tensor": "div.Tensor_mode",
    "sgn.default": "_efficientzerotensor.default",
    "lerp.Tensor": "empty_like.default",
    "addcdiv.default": "empty_like.default",
    "addcdiv.default, value": "empty_like.default",
}


# operations that torch computes in more than one way, or through functions that have no one right last bit
INEXACT = re.compile(
    "sqrt|exp|log(?!ical)|sin|cos|tanh|sigmoid|erf|atan|silu|softplus|lerp|addc|alpha|pow.Scalar|pow.Tensor_Tensor|"
    r"pow.Tensor_Scalar, (0\.5|1\.7|-0\.3|4|-3|5\.0)"
)
# the size of the terms of a sum: its error is relative to them
TERMS: dict[str, Function] = {
    "add.Scalar, alpha": lambda x, y, z: x.abs() + 0.21,
    "add.Tensor, alpha": lambda x, y, z: x.abs() + y.abs(),
    "sub.Tensor, alpha": lambda x, y, z: x.abs() + y.abs(),
    "lerp.Scalar": lambda x, y, z: x.abs() + y.abs(),
    "lerp.Scalar, far": lambda x, y, z: x.abs() + y.abs(),
    "lerp.Tensor": lambda x, y, z: (x.abs() + y.abs()) * (1 + z.abs()),
    "addcmul.default": _product,
    "addcmul.default, value": _product,
    "addcdiv.default": lambda x, y, z: x.abs() + (y / z).abs(),
    "addcdiv.default, value": lambda x, y, z: x.abs() + (y / z).abs(),
}
GROUP = 12
GROUPS = [list(TABLE)[k : k + GROUP] for k in range(0, len(TABLE), GROUP)]


def exact(name: str) -> bool:
    return not INEXACT.match(name) and "alpha" not in name


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
    for name, rule in list(RULES.items()):
        monkeypatch.setitem(RULES, name, noted(name, rule))
    for names in GROUPS:
        assert scan_of(names, torch.float32).exactness in "ET"
    assert RULES.keys() - called == UNSEEN


@pytest.mark.parametrize("name", REFUSED)
def test_what_has_no_gradient_is_refused_by_name(name: str) -> None:
    def step(state: tuple[()], x: Any) -> tuple[tuple[()], Tensor]:
        return state, TABLE[name](*x)

    with pytest.raises(ValueError, match=REFUSED[name]):
        Scan(step, (), operands(torch.float32)).run("fused")


@pytest.mark.parametrize("name", [name for name in TABLE if not exact(name)])
def test_what_eager_rounds_in_more_than_one_way_is_not_class_e(name: str) -> None:
    def step(state: tuple[()], x: Any) -> tuple[tuple[()], Tensor]:
        return state, TABLE[name](*(leaf.detach() for leaf in x))

    one = tuple(Spec.of(torch.float32, (5,)) for _ in range(3))
    assert trace(step, (), one, {}, None, lift_floats=True).program.inexact


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
@pytest.mark.parametrize("names", GROUPS, ids=lambda names: f"{names[0]} to {names[-1]}")
def test_values(names: list[str], dtype: torch.dtype) -> None:
    scan = scan_of(names, dtype)
    with torch.no_grad():
        got, want = scan.run("fused")[1], scan.run("loop")[1]
    wrong = {name: found for name in names if (found := _differences(name, got[name], want[name], dtype))}
    assert not wrong, "\n".join(f"{name}: {found}" for name, found in wrong.items())


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


def bounded(clamp: Any, x: float, bound: Any, dtype: torch.dtype) -> Scan:
    def step(state: tuple[()], x: Tensor, *, bound: Any) -> tuple[tuple[()], Tensor]:
        return state, clamp(x, bound)

    return Scan(step, (), torch.full((3, 20), x, dtype=dtype), {"bound": bound})


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
@pytest.mark.parametrize("zero", [0.0, -0.0])
@pytest.mark.parametrize("name", BETWEEN_NUMBERS)
def test_a_clamp_between_numbers_keeps_the_sign_of_a_zero(name: str, zero: float, dtype: torch.dtype) -> None:
    scan = bounded(BETWEEN_NUMBERS[name], zero, -zero, dtype)
    assert scan.exactness == "E"
    assert_same_bits(scan.run("fused"), scan.run("loop"))


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
@pytest.mark.parametrize("zero", [0.0, -0.0])
@pytest.mark.parametrize("name", BETWEEN_TENSORS)
def test_a_choice_of_two_zeros_differs_in_its_sign_at_most(name: str, zero: float, dtype: torch.dtype) -> None:
    scan = bounded(BETWEEN_TENSORS[name], zero, torch.full((20,), -zero, dtype=dtype), dtype)
    # torch chooses by the place of a neuron in memory, with which nothing can agree that treats all neurons alike
    (_, got), (_, want) = scan.run("fused"), scan.run("loop")
    assert_same_bits(got.abs(), want.abs())


def _differences(name: str, got: Tensor, want: Tensor, dtype: torch.dtype) -> str:
    """Return what is wrong with the value of an operation, nothing if nothing is."""
    if (got.dtype, got.shape) != (want.dtype, want.shape):
        return f"{got.dtype} of {tuple(got.shape)}, expected {want.dtype} of {tuple(want.shape)}"
    if exact(name):
        wrong = (bits(got) != bits(want)) & ~((got != got) & (want != want))
        if name.startswith(("fmod", "remainder")):
            # eager's vectors know no quotient that large: 3e38 % 0.3 is NaN there, and 0.13 here, which is right
            x, y, _ = operands(dtype)
            wrong &= (x / (y if "Tensor" in name else 0.3)).abs() < 1e6
    else:
        wrong = ulps(got, want) > 3  # two of ours, one of eager's
        if name in TERMS:
            size = TERMS[name](*operands(dtype))
            wrong &= ~((got - want).abs() <= 3 * torch.finfo(dtype).eps * size)
    if not wrong.any():
        return ""
    at = [each[wrong][:4].tolist() for each in operands(dtype)]
    return f"{int(wrong.sum())} differ: at {at} {got[wrong][:4].tolist()}, expected {want[wrong][:4].tolist()}"


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
@pytest.mark.parametrize("names", GROUPS, ids=lambda names: f"{names[0]} to {names[-1]}")
def test_gradients(names: list[str], dtype: torch.dtype) -> None:
    scan = scan_of(names, dtype)
    results = [out for name, out in scan.watched()[0].run("loop")[1].items() if out.requires_grad]
    if not results:
        return
    got, want = scan.gradients("fused"), scan.gradients("loop")
    wrong = {key: found for key in want if (found := _gradient_differences(key, got[key], want[key], dtype))}
    assert not wrong, "\n".join(f"{key}: {found}" for key, found in wrong.items())


def _gradient_differences(key: str, got: Tensor, want: Tensor, dtype: torch.dtype) -> str:
    bound = 1e-5 if dtype == torch.float32 else 1e-12
    # near zero, eager's sigmoid(x) (1 - sigmoid(x)) and its like have an error relative to one
    close = (got - want).abs() <= bound * want.abs() + 8 * torch.finfo(dtype).eps
    wrong = ~(close | (got == want) | (got.isnan() & want.isnan()))
    if not wrong.any():
        return ""
    at = [each[wrong][:4].tolist() for each in operands(dtype)]
    return f"{int(wrong.sum())} differ: at {at} {got[wrong][:4].tolist()}, expected {want[wrong][:4].tolist()}"


# --- whole numbers and bools ------------------------------------------------------------------------------------------


INTEGERS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "add": lambda i, j: i + j,
    "add, alpha": lambda i, j: torch.add(i, j, alpha=3),
    "sub": lambda i, j: i - j,
    "sub, itself": lambda i, j: i - i,
    "rsub": lambda i, j: 3 - i,
    "mul": lambda i, j: i * j,
    "mul, a number": lambda i, j: i * 3,
    "div": lambda i, j: i / j,
    "div, a number": lambda i, j: i / 3,
    "neg": lambda i, j: -i,
    "abs": lambda i, j: i.abs(),
    "sign": lambda i, j: i.sign(),
    "square": lambda i, j: i.square(),
    "pow 2": lambda i, j: i**2,
    "pow 3": lambda i, j: i**3,
    "maximum": lambda i, j: torch.maximum(i, j),
    "minimum": lambda i, j: torch.minimum(i, j),
    "clamp": lambda i, j: i.clamp(-1, 3),
    "relu": lambda i, j: torch.relu(i),
    "compare": lambda i, j: i < j,
    "compare, a number": lambda i, j: i >= 2,
    "compare, a fraction": lambda i, j: i >= 2.5,
    "where": lambda i, j: torch.where(i > j, i, j),
    "logical": lambda i, j: torch.logical_and(i, j),
    "logical not": lambda i, j: torch.logical_not(i),
    "to float": lambda i, j: i.float(),
    "to double": lambda i, j: i.double(),
    "to int": lambda i, j: i.to(torch.int32),
    "to long": lambda i, j: i.long(),
    "to bool": lambda i, j: i.bool(),
    "full": lambda i, j: torch.full_like(i, 3),
    "add a fraction": lambda i, j: i + 0.5,
    "bool plus bool": lambda i, j: (i > 0).long() + (j > 0).long(),
    "float and int": lambda i, j: i.float() * j,
}
# torch's floor of whole numbers is themselves
ROUNDED: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "floor": lambda i, j: i.floor(),
    "ceil": lambda i, j: i.ceil(),
    "round": lambda i, j: i.round(),
    "trunc": lambda i, j: i.trunc(),
}


def integer_scan(table: dict[str, Any], dtype: torch.dtype) -> Scan:
    def step(state: tuple[()], x: tuple[Tensor, Tensor, Tensor]) -> tuple[tuple[()], dict[str, Tensor]]:
        return state, {name: function(x[0], x[1]) for name, function in table.items()}

    numbers = torch.tensor([0, 1, -1, 2, -2, 3, 7, -13, 1000, -1001, 2**23 + 1, 2**24 + 1, -(2**24) - 1])
    if dtype == torch.int64:
        numbers = torch.cat([numbers, torch.tensor([2**30, 2**53 + 1, -(2**40) - 1])])
    i, j = (each.reshape(1, -1).to(dtype) for each in torch.meshgrid(numbers, numbers, indexing="ij"))
    return Scan(step, (), (i, j, torch.zeros(i.shape)))  # scan asks for an input that is floating


@pytest.mark.parametrize("dtype", [torch.int32, torch.int64], ids=str)
def test_integers(dtype: torch.dtype) -> None:
    scan = integer_scan(INTEGERS, dtype)
    assert_same_bits(scan.run("fused"), scan.run("loop"))


@pytest.mark.parametrize("dtype", [torch.int32, torch.int64], ids=str)
@pytest.mark.parametrize("name", ROUNDED)
def test_rounding_integers(name: str, dtype: torch.dtype) -> None:
    scan = integer_scan({name: ROUNDED[name]}, dtype)
    assert_same_bits(scan.run("fused"), scan.run("loop"))


def test_whole_numbers_in_floats() -> None:
    def step(state: tuple[()], x: Tensor) -> tuple[tuple[()], tuple[Tensor, ...]]:
        whole = x.to(torch.int32)
        return state, (whole, x.to(torch.int64), whole.to(x.dtype), x - whole)

    for dtype in FLOATS:
        x = torch.cat([draw(300, dtype=dtype, low=-9.0, high=9.0), torch.arange(-8.0, 8.0, 0.5, dtype=dtype)])[None]
        scan = Scan(step, (), x)
        assert_same_bits(scan.run("fused"), scan.run("loop"))


def test_each_value_is_computed_where_it_changes() -> None:
    """Of floats alone, of parameters of one number, of parameters a neuron, and of what a step reads."""

    def step(state: Tensor, x: Tensor, *, a: Any, b: Tensor, c: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        rates = (torch.zeros_like(x) + 2 * a, torch.zeros_like(x) + b * a, torch.zeros_like(x) + c * b - a)
        return 0.5 * state + c * c, (*rates, c.exp() * b.exp() * x, torch.ones_like(x) * c.sqrt())

    params = {"a": 0.7, "b": draw(1, 1), "c": draw(3, 1)}
    scan = Scan(step, draw(3, 5), draw(17, 3, 5), params)
    got, want = scan.run("fused"), scan.run("loop")
    for k in (0, 1, 2, 4):
        assert_same_bits(got[1][k], want[1][k])
    assert torch.allclose(got[1][3], want[1][3], rtol=1e-15, atol=0)
    ours, theirs = scan.gradients("fused"), scan.gradients("loop")
    for name in theirs:
        assert torch.allclose(ours[name], theirs[name], rtol=1e-12, atol=1e-14), name
