"""Random steps for the fuzzer of scan: pointwise and pure, as lists of operations in single assignment.

Values are floats in the precision of the call, bools, and integers of a width. ``fuzz_source`` writes a step as Python
source; whatever is drawn is a step that scan takes, because states keep their dtypes and shapes.
"""

from typing import NamedTuple

import torch
from hypothesis import strategies as st

# slots: floats a and b, bools p and q, integers n and m, any number k, a number c that is no tensor, a surrogate s
EXACT = [
    *("{a} + {b}", "{k} * {a}", "{a} - {b}", "{k} - {a}", "-{a}", "{a} + {k}", "{a} * {b}.clamp(-1.5, 1.5)"),
    *("{c} * {a} + {b}", "{c} * {a}", "{a} - {c}", "{a} * {c} - {b} / {c}"),
    *("{a} / ({b}.abs() + 0.7)", "{a} / {k}", "{a}.abs()", "{a}.sign()", "torch.floor({a})", "{a}.clone()"),
    *("torch.minimum({a}, {b})", "torch.maximum({a}, {b})", "{a}.clamp(-1.0, 1.0)", "{a}.clamp(min={c})"),
    *("torch.relu({a} - {k})", "{a}.clamp(-2.0, 2.0) ** 2", "torch.where({p}, {a}, {b})", "torch.where({p}, {k}, {a})"),
    *("{a}.masked_fill({p}, {c})", "{a} * {p}", "{a} * {n}.clamp(max=3)", "{p}.to({a}.dtype)", "{n}.to({a}.dtype)"),
    *("{a}.detach()", "{a} + {k} * ({b} - {a})", "torch.full_like({a}, {c})", "{p} * {c} + {a}", "{n} * {c} - {a}"),
    *("{a}.expand_as({b})", "{a}.view_as({a})", "{s}({a} - {k})", "{s}({a} - {b})", "F.to_zero({a}, {s}({a}), {k})"),
    *("F.by_subtraction({a}, {s}({b} - {k}), {k})", "F.detached(F.to_zero)({a}, {s}({a} - {k}), {k})"),
    *("F.Sigmoid({c})({a} - {k})", "F.Triangular()({a})", "F.StraightThrough()({a} - {k})", "F.heaviside({a} - {k})"),
    "F.FromPrimitive(lambda u: 0.5 * torch.tanh({c} * u))({a})",
    "F.FromDerivative(lambda u: (u.abs() < 0.5).to(u.dtype))({a} - {k})",
]
INEXACT = [
    *("torch.exp({a}.clamp(-3.0, 1.0))", "torch.tanh({a})", "torch.sigmoid({k} * {a})", "torch.sqrt({a}.abs() + 0.2)"),
    *("torch.log1p({a}.abs())", "torch.erf({a})", "torch.sin({a})", "torch.atan({a})", "torch.lerp({a}, {b}, 0.3)"),
    *("torch.nn.functional.softplus({a})", "({a}.abs() + 0.4).clamp(max=4.0) ** 1.3"),
    "torch.addcmul({a}, {b}.clamp(-1.0, 1.0), {a}.clamp(-1.0, 1.0), value=0.4)",
]
BOOLS = [
    *("{a} > {b}", "{a} >= {k}", "{a} == {b}", "{a} != {a}", "torch.isnan({a})", "{a}.to(torch.bool)", "{n} > {a}"),
    *("{p} & {q}", "{p} | ~{q}", "{p} ^ {q}", "~{p}", "{p} < {q}", "{p} + {q}", "torch.where({p}, {q}, {a} > {k})"),
    *("{n} > 0", "{n} <= {m}", "{n} == 2", "{n}.to(torch.bool)", "torch.logical_not({n})", "torch.zeros_like({p})"),
]
INTEGERS = [
    *("{n} + 1", "({n} - 1).clamp(min=0)", "{n} + {m}", "{n} - {m}", "-{n}", "{n}.abs()", "{n} * {p}", "{n} + {p}"),
    *("{n}.clamp(max=5) * {m}.clamp(max=5)", "torch.where({p}, {n}, {m})", "torch.where({p}, 3, {n} - 1)"),
    *("torch.maximum({n}, {m})", "{n}.masked_fill({p}, 2)", "torch.zeros_like({n})", "{n} % 3", "{n} & 3"),
    *("{p}.to(torch.int32)", "{p}.to(torch.int64)", "{n}.to(torch.int32)", "{n}.to(torch.int64)"),
    "torch.where({a} > 0, {a}, 0.0).clamp(max=9.0).to(torch.int64)",
]
KINDS = {"a": "float", "b": "float", "p": "bool", "q": "bool", "n": "integer", "m": "integer"}
TREES = ("bare", "tuple", "list", "dict", "named", "nested")
# how a step holds its numbers
HELD = ("closure", "literals", "globals", "attributes", "defaults", "partial")


class Line(NamedTuple):
    """An operation, the places of its operands among the values so far, and its number."""

    operation: str
    places: tuple[int, int, int]
    number: float


class Step(NamedTuple):
    """A step.

    Attributes:
        states: dtype of each, "float" for that of the call.
        xs: dtypes likewise, the first of them floating.
        numbers: how many parameters there are that broadcast, or are no tensors.
        full: how many parameters there are that have all axes of the neurons.
        surrogate: whether a surrogate is a parameter.
        lines: operations in order.
        finals: for each state the place of its value, and whether to mix it with the state before.
        outs: kind and place of each output.
        trees: of states, inputs and outputs.
        held: how the step holds its numbers.
    """

    states: tuple[str, ...]
    xs: tuple[str, ...]
    numbers: int
    full: int
    surrogate: bool
    lines: tuple[Line, ...]
    finals: tuple[tuple[int, bool], ...]
    outs: tuple[tuple[str, int], ...]
    trees: tuple[str, str, str]
    held: str

    @property
    def exact(self) -> bool:
        """Whether each of its operations rounds in one way only."""
        return not any(line.operation in INEXACT for line in self.lines)

    @property
    def loses_signs(self) -> bool:
        """Whether an operation chooses between 0 and -0, which torch does in one way or the other."""
        return any("imum(" in line.operation for line in self.lines)


@st.composite
def steps(pick: st.DrawFn) -> Step:
    """Draw a step."""
    floats = st.sampled_from(EXACT) | st.sampled_from(INEXACT) if pick(st.booleans()) else st.sampled_from(EXACT)
    operation = floats | floats | st.sampled_from(BOOLS) | st.sampled_from(INTEGERS)
    # the last values are read most, so that most of what is drawn is read
    place = st.integers(0, 2) | st.integers(0, 9)
    number = st.sampled_from([0.5, 1.0, -0.5, 0.3, 0.9, 2.0, -1.3])
    line = st.builds(Line, operation, st.tuples(place, place, place), number)
    length = pick(st.integers(0, 9))
    dtype = st.sampled_from(["float"] * 4 + ["bool", "int64", "int32", "float", "bool", "uint8", "int16", "int8"])
    states = pick(st.lists(dtype, min_size=1, max_size=4))
    kind = st.sampled_from(["float", "float", "bool", "integer"])
    return Step(
        tuple(states),
        ("float", *pick(st.lists(dtype, max_size=2))),
        pick(st.integers(0, 2)),
        pick(st.sampled_from([0, 0, 0, 1])),
        pick(st.booleans()),
        tuple(pick(st.lists(line, min_size=length, max_size=length))),
        tuple(pick(st.tuples(place, st.booleans())) for _ in states),
        tuple(pick(st.lists(st.tuples(kind, place), min_size=1, max_size=3))),
        pick(st.tuples(*[st.sampled_from(TREES)] * 3)),
        pick(st.sampled_from(HELD)),
    )


def kind_of(dtype: str) -> str:
    """Return the kind of a dtype: float, bool or integer."""
    return dtype if dtype in ("float", "bool") else "integer"


def promoted(dtypes: list[str]) -> str:
    """Return the dtype that integers of these dtypes have together."""
    both = torch.promote_types(getattr(torch, dtypes[0]), getattr(torch, dtypes[-1]))
    return str(both).removeprefix("torch.")
