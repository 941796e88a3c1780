"""Random steps for the fuzzer of scan: pointwise and pure, drawn as source.

Values are floats in the precision of the call, bools, and integers of a width. Whatever is drawn is a step that scan
takes, because states keep their dtypes and shapes: of each value there is an example, one neuron for what an input can
broadcast and two for what has all axes.
"""

import functools
import re
from collections.abc import Callable, Sequence
from textwrap import indent
from types import SimpleNamespace
from typing import Any, NamedTuple

import torch
from hypothesis import strategies as st

from spikingtorch import functional as F

# slots: floats a and b, bools p and q, integers n and m, any number k, a number c that is no tensor, a surrogate s
EXACT = [
    *("{a} + {b}", "{k} * {a}", "{a} - {b}", "{k} - {a}", "-{a}", "{a} + {k}", "{a} * {b}.clamp(-1.5, 1.5)"),
    *("{c} * {a} + {b}", "{c} * {a}", "{a} - {c}", "{a} * {c} - {b} / {c}", "{a} / ({b}.abs() + 0.7)", "{a} / {k}"),
    *("{a}.abs()", "{a}.sign()", "torch.floor({a})", "{a}.clone()", "torch.minimum({a}, {b})"),
    *("torch.maximum({a}, {b})", "{a}.clamp(-1.0, 1.0)", "{a}.clamp(min={c})", "torch.relu({a} - {k})"),
    *("{a}.clamp(-2.0, 2.0) ** 2", "torch.where({p}, {a}, {b})", "torch.where({p}, {k}, {a})"),
    *("{a}.masked_fill({p}, {c})", "{a} * {p}", "{a} * {n}.clamp(max=3)", "{p}.to({a}.dtype)", "{n}.to({a}.dtype)"),
    *("{a}.detach()", "{a} + {k} * ({b} - {a})", "torch.full_like({a}, {c})", "{p} * {c} + {a}", "{n} * {c} - {a}"),
    *("{a}.expand_as({b})", "{a}.view_as({a})", "{s}({a} - {k})", "{s}({a} - {b})", "F.to_zero({a}, {s}({a}), {k})"),
    *("F.by_subtraction({a}, {s}({b} - {k}), {k})", "F.detached(F.to_zero)({a}, {s}({a} - {k}), {k})"),
    *("F.Sigmoid({c})({a} - {k})", "F.Triangular()({a})", "F.StraightThrough()({a} - {k})", "F.heaviside({a} - {k})"),
    *("1.0 / (1.0 + {a} * {a})", "torch.nn.functional.leaky_relu({a}, 0.1)", "F.Gaussian()({a} - {b})"),
    "F.FromPrimitive(lambda u: 0.5 * torch.tanh({c} * u))({a})",
    "F.FromDerivative(lambda u: (u.abs() < 0.5).to(u.dtype))({a} - {k})",
]
INEXACT = [
    *("torch.exp({a}.clamp(-3.0, 1.0))", "torch.tanh({a})", "torch.sigmoid({k} * {a})", "torch.sqrt({a}.abs() + 0.2)"),
    *("torch.log1p({a}.abs())", "torch.erf({a})", "torch.sin({a})", "torch.atan({a})", "torch.lerp({a}, {b}, 0.3)"),
    *("torch.nn.functional.softplus({a})", "({a}.abs() + 0.4).clamp(max=4.0) ** 1.3"),
    *("torch.expm1({a}.clamp(-2.0, 1.0))", "torch.cos({a} * {k})", "torch.log({a}.abs() + 0.3)"),
    *("torch.nn.functional.silu({a})", "torch.addcmul({a}, {b}.clamp(-1.0, 1.0), {a}.clamp(-1.0, 1.0), value=0.4)"),
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
KINDS = {"a": "float", "b": "float", "p": "bool", "q": "bool", "n": "int", "m": "int"}
TREES = st.sampled_from(["bare", "tuple", "list", "dict", "named", "nested"])
# how a step holds its numbers
HELD = st.sampled_from(["closure", "literals", "globals", "attributes", "defaults", "partial"])
DTYPES = st.sampled_from(["float"] * 4 + ["bool", "int64", "int32", "float", "bool", "uint8", "int16", "int8"])
NUMBERS = st.sampled_from([0.5, 1.0, -0.5, 0.3, 0.9, 2.0, -1.3])
# the last values are read most, so that most of what is drawn is read
PLACES = st.integers(0, 2) | st.integers(0, 9)
HEAD = """\
from typing import NamedTuple
import torch
from torch import Tensor
from spikingtorch import functional as F
"""


class Step(NamedTuple):
    source: str
    held: str
    constants: dict[str, float]  # numbers that it holds
    states: list[str]  # dtype of each, "float" for that of the call
    xs: list[str]  # dtypes likewise, the first of them floating
    numbers: int  # parameters that broadcast, or are no tensors
    full: int  # parameters that have all axes of the neurons
    surrogate: bool  # whether one is a parameter
    needs_full_inputs: bool  # whether a state is made of inputs alone, which then must have all axes
    exact: bool  # whether each operation rounds in one way only
    loses_signs: bool  # whether one chooses between 0 and -0, which torch does in one way or the other


class Tree:
    """A tree as source."""

    def __init__(self, kind: str, name: str, count: int) -> None:
        self.kind = "tuple" if kind == "bare" and count > 1 else kind
        self.name, self.fields = name, [f"{name[0].lower()}{k}" for k in range(count)]

    def packed(self, texts: Sequence[str]) -> str:
        """Return the expression of the tree."""
        row = ", ".join(texts)
        fields = ", ".join(f"{field!r}: {text}" for field, text in zip(self.fields, texts, strict=True))
        known = {"bare": row, "dict": f"{{{fields}}}", "list": f"[{row}]", "named": f"{self.name}({row})"}
        known["nested"] = f"({texts[0]}, {{'rest': [{', '.join(texts[1:])}]}})"
        return known.get(self.kind, f"({row},)")

    def unpacked(self, root: str) -> list[str]:
        """Return the assignments that name the leaves of the tree."""
        found = []
        for k, field in enumerate(self.fields):
            known = {"bare": root, "dict": f"{root}[{field!r}]", "named": f"{root}.{field}"}
            known |= {"nested": f"{root}[1]['rest'][{k - 1}]"} if k else {}
            found.append(f"{field} = {known.get(self.kind, f'{root}[{k}]')}")
        return found

    def helpers(self) -> str:
        """Return the class of the tree, and a function that builds one."""
        named = f"{self.name} = NamedTuple({self.name!r}, [(name, Tensor) for name in {self.fields}])\n"
        return f"{named}def make_{self.name}({', '.join(self.fields)}):\n    return {self.packed(self.fields)}\n"


class Draft:
    """A step that is being drawn."""

    TO_INTEGER = ".to(torch.int64)"

    def __init__(self, pick: st.DrawFn) -> None:
        self.pick = pick
        self.xs = ["float", *pick(st.lists(DTYPES, max_size=2))]
        self.states = pick(st.lists(DTYPES, min_size=1, max_size=4))
        self.numbers, self.full = pick(st.integers(0, 2)), pick(st.sampled_from([0, 0, 0, 1]))
        self.surrogate, self.held = pick(st.booleans()), pick(HELD)
        self.constants: dict[str, float] = {}
        self.examples = {f"x{k}": torch.ones(1, dtype=dtype_of(name)) for k, name in enumerate(self.xs)}
        self.examples |= {f"f{k}": torch.ones(2, dtype=torch.float64) for k in range(self.full)}
        self.examples |= {f"s{k}": torch.ones(2, dtype=dtype_of(name)) for k, name in enumerate(self.states)}
        self.kinds = {name: kind_of(example.dtype) for name, example in self.examples.items()}

    def step(self) -> Step:
        pick = self.pick
        floats = st.sampled_from(EXACT) | st.sampled_from(INEXACT) if pick(st.booleans()) else st.sampled_from(EXACT)
        operations = floats | floats | st.sampled_from(BOOLS) | st.sampled_from(INTEGERS)
        lines = [pick(operations) for _ in range(pick(st.integers(0, 9)))]
        drawn = [self.line(f"a{k}", line) for k, line in enumerate(lines)]
        finals = [self.final(f"s{k}", name) for k, name in enumerate(self.states)]
        kinds = pick(st.lists(st.sampled_from(["float", "float", "bool", "int"]), min_size=1, max_size=3))
        state, xs = Tree(pick(TREES), "State", len(self.states)), Tree(pick(TREES), "X", len(self.xs))
        out = Tree(pick(TREES), "Out", len(kinds))
        results = f"{state.packed(finals)}, {out.packed([self.operand(kind) for kind in kinds])}"
        body = [*state.unpacked("state"), *xs.unpacked("x"), *self.read(drawn, results)]
        return Step(
            HEAD + state.helpers() + xs.helpers() + out.helpers() + self.function(indent("\n".join(body), "    ")),
            *(self.held, self.constants, self.states, self.xs, self.numbers, self.full, self.surrogate),
            needs_full_inputs=not all(self.example(text).shape == (2,) for text in finals),
            exact=not any(line in INEXACT for line in lines),
            loses_signs=any("imum(" in line for line in lines),
        )

    def read(self, lines: list[str], results: str) -> list[str]:
        """Return the lines and constants that the results need: what nobody reads is no part of the step."""
        body = [f"return {results}"]
        for text in reversed(lines):
            if re.search(rf"\b{text.split()[0]}\b", "\n".join(body)):
                body.insert(0, text)
        text = "\n".join(body)
        self.constants = {name: value for name, value in self.constants.items() if re.search(rf"\b{name}\b", text)}
        return body

    def line(self, name: str, operation: str) -> str:
        text = self.filled(operation)
        self.examples[name] = self.example(text)
        self.kinds[name] = kind_of(self.examples[name].dtype)
        return f"{name} = {text}"

    def filled(self, text: str) -> str:
        return text.format(**{slot: self.slot(slot) for slot in dict.fromkeys(re.findall(r"{(\w+)}", text))})

    def slot(self, name: str) -> str:
        if name in KINDS:
            return self.operand(KINDS[name])
        if name == "s":
            return self.spike()
        which = self.pick(st.integers(0, self.numbers)) if name in ("k", "k0") else 0
        return f"p{which - 1}" if which else self.number(self.pick(NUMBERS))

    def spike(self) -> str:
        return "spike" if self.surrogate else "F.FastSigmoid(4.0)"

    def number(self, number: float) -> str:
        if self.held == "literals":
            return str(number)
        name = f"k{len(self.constants)}"
        self.constants[name] = number
        return f"self.{name}" if self.held == "attributes" else name

    def operand(self, kind: str) -> str:
        """Return a value of a kind, the last ones first, made from a float where there is none."""
        found = [name for name, known in reversed(self.kinds.items()) if known == kind]
        if found:
            return found[self.pick(PLACES) % len(found)]
        large = f"({self.operand('float')} > 0.3)"
        return large if kind == "bool" else large + self.TO_INTEGER

    def final(self, name: str, dtype: str) -> str:
        """Return the next value of a state."""
        kind = kind_of(dtype_of(dtype))
        text = self.operand(kind)
        if kind == "float" and text.startswith("a") and self.pick(st.booleans()):
            return f"0.8 * {name} + 0.2 * {text}.clamp(-4.0, 4.0)"
        if kind == "int":
            found = self.example(text).dtype
            bounds = "max=100" if found == torch.uint8 else "-100, 100"
            text = f"{text}.clamp({bounds})" if text.startswith("a") else text
            text = text if found == dtype_of(dtype) else f"{text}.to(torch.{dtype})"
        return text

    def example(self, text: str) -> Any:
        given: dict[str, Any] = {"torch": torch, "F": F, "spike": F.Sigmoid(), "p0": 1.0, "p1": 1.0, **self.constants}
        try:
            return eval(text, given | {"self": SimpleNamespace(**self.constants)} | self.examples)
        except RuntimeError:  # what has all axes is expanded to an input, which may have them
            return torch.ones(2, dtype=torch.float64)

    def function(self, body: str) -> str:
        """Return the source of the step, which holds its numbers in its way."""
        names = list(self.constants)
        given = [*(f"p{k}" for k in range(self.numbers)), *(f"f{k}" for k in range(self.full))]
        given += ["spike"] * self.surrogate
        given += {"defaults": [f"{name}=0.0" for name in names], "partial": names}.get(self.held, [])
        arguments = ", ".join(["state", "x", *(["*", *given] if given else [])])
        if self.held == "attributes":
            return f"class Model:\n    def __call__(self, {arguments}):\n{indent(body, '    ')}\nstep = Model()\n"
        function = f"def step({arguments}):\n{body}\n"
        if self.held == "closure":
            return f"def make({', '.join(names)}):\n{indent(function, '    ')}    return step\n"
        return function


steps: Callable[[], st.SearchStrategy[Step]] = st.composite(lambda pick: Draft(pick).step())


class Built:
    """A step as functions to call."""

    def __init__(self, step: Step) -> None:
        self.held, self.constants = step.held, step.constants
        self.space: dict[str, Any] = {"__name__": "a_step_of_the_fuzzer"}
        exec(step.source, self.space)

    def step(self, factor: float) -> Any:
        """Return the step with each number that it holds times a factor; what holds the numbers is written on."""
        numbers = {name: number * factor for name, number in self.constants.items()}
        if self.held == "closure":
            return self.space["make"](**numbers)
        function: Any = self.space["step"]
        if self.held == "partial":
            return functools.partial(function, **numbers)
        if self.held == "globals":
            self.space.update(numbers)
        elif self.held == "attributes":
            vars(function).update(numbers)
        elif numbers:
            function.__kwdefaults__.update(numbers)
        return function


def dtype_of(name: str) -> Any:
    return getattr(torch, "float64" if name == "float" else name)


def kind_of(dtype: torch.dtype) -> str:
    return "float" if dtype.is_floating_point else "bool" if dtype == torch.bool else "int"
