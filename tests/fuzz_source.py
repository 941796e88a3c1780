"""Random steps as Python source, and as functions to call."""

import functools
import re
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from tests.fuzz_steps import BOOLS, INTEGERS, KINDS, Line, Step, kind_of, promoted

_PLACES = {"a": 0, "b": 1, "p": 2, "q": 0, "n": 1, "m": 2}
_HEAD = """\
from typing import NamedTuple
import torch
from torch import Tensor
from spikingtorch import functional as F"""


class Value(NamedTuple):
    """A value: what it is called and computed as, whether it has all axes whatever the inputs have, what it reads."""

    name: str
    dtype: str
    full: bool
    text: str = ""
    reads: frozenset[str] = frozenset()


class Writer:
    """Writes a step as source.

    Attributes:
        constants: numbers that the step holds, by name.
        needs_full_inputs: whether a state is made of inputs alone, which then must have all axes.
    """

    def __init__(self, step: Step) -> None:
        self.step = step
        self.constants: dict[str, float] = {}
        self.values = [
            *(Value(f"x{k}", dtype, False) for k, dtype in enumerate(step.xs)),
            *(Value(f"f{k}", "float", True) for k in range(step.full)),
            *(Value(f"s{k}", dtype, True) for k, dtype in enumerate(step.states)),
        ]
        leaves = len(self.values)
        for index, line in enumerate(step.lines):
            self.values.append(self._line(index, line))
        finals = [self._final(k, dtype) for k, dtype in enumerate(step.states)]
        outs = [self._operand(kind, place) for kind, place in step.outs]
        self.needs_full_inputs = not all(value.full for value in finals)
        self.finals, self.outs = [value.text for value in finals], [value.text for value in outs]
        live: set[str] = {name for value in (*finals, *outs) for name in value.reads}
        for value in reversed(self.values[leaves:]):
            live |= value.reads if value.name in live else set()
        self.body = [f"{v.name} = {v.text}" for v in self.values[leaves:] if v.name in live]
        self.constants = {name: number for name, number in self.constants.items() if name in " ".join(self.body)}

    def _line(self, index: int, line: Line) -> Value:
        slots, operands = {}, []
        for slot in re.findall(r"{(\w)}", line.operation):
            if slot in KINDS:
                operands.append(self._operand(KINDS[slot], line.places[_PLACES[slot]]))
                slots[slot] = operands[-1].text
            elif slot == "s":
                slots[slot] = "spike" if self.step.surrogate else "F.FastSigmoid(4.0)"
            else:
                slots[slot] = self._number(index, line, tensors=slot == "k")
        text, reads = line.operation.format(**slots), frozenset().union(*(value.reads for value in operands))
        return Value(f"a{index}", _dtype(line.operation, operands), any(v.full for v in operands), text, reads)

    def _number(self, index: int, line: Line, tensors: bool) -> str:
        which = line.places[2] % (1 + self.step.numbers) if tensors else 0
        if which:
            return f"p{which - 1}"
        if self.step.held == "literals":
            return str(line.number)
        self.constants[f"k{index}"] = line.number
        return f"self.k{index}" if self.step.held == "attributes" else f"k{index}"

    def _operand(self, kind: str, place: int) -> Value:
        """Return a value of a kind, the last ones first, made from a float where there is none."""
        found = [value for value in reversed(self.values) if kind_of(value.dtype) == kind]
        if found:
            value = found[place % len(found)]
            return value._replace(text=value.name, reads=frozenset([value.name]))
        number = self._operand("float", place)
        if kind == "bool":
            return number._replace(dtype="bool", text=f"({number.text} > 0.3)")
        return number._replace(dtype="int64", text=f"({number.text} > 0.3).to(torch.int64)")

    def _final(self, index: int, dtype: str) -> Value:
        place, mixes = self.step.finals[index]
        value = self._operand(kind_of(dtype), place)
        computed = value.name.startswith("a")
        if dtype == "float" and mixes and computed:
            text = f"0.8 * s{index} + 0.2 * {value.text}.clamp(-4.0, 4.0)"
            return value._replace(full=True, text=text, reads=value.reads | {f"s{index}"})
        if kind_of(dtype) == "integer":
            bounds = "(max=100)" if value.dtype == "uint8" else "(-100, 100)"
            text = f"{value.text}.clamp{bounds}" if computed else value.text
            return value._replace(text=text if value.dtype == dtype else f"{text}.to(torch.{dtype})")
        return value

    def source(self) -> str:
        """Return the source of a module with the step and with functions that build its trees."""
        of_states, of_xs, of_outs = self.step.trees
        s, x, o = (
            [f"{letter}{k}" for k in range(len(leaves))]
            for letter, leaves in zip("sxo", (self.finals, self.step.xs, self.outs), strict=True)
        )
        results = pack(of_states, "State", s, self.finals), pack(of_outs, "Out", o, self.outs)
        body = [*unpack(of_states, "state", s), *unpack(of_xs, "x", x), *self.body, f"return {', '.join(results)}"]
        classes = (("State", s, of_states), ("Input", x, of_xs), ("Out", o, of_outs))
        functions = [
            *(f"def state_of({', '.join(s)}):", f"    return {pack(of_states, 'State', s, s)}"),
            *(f"def xs_of({', '.join(x)}):", f"    return {pack(of_xs, 'Input', x, x)}"),
        ]
        return "\n".join([_HEAD, *[line for each in classes for line in _class(*each)], *functions, *self._step(body)])

    def _step(self, body: Sequence[str]) -> list[str]:
        step, held, constants = self.step, self.step.held, list(self.constants)
        given = [*(f"p{k}" for k in range(step.numbers)), *(f"f{k}" for k in range(step.full))]
        given += ["spike"] * step.surrogate
        given += {"defaults": [f"{name}=0.0" for name in constants], "partial": constants}.get(held, [])
        arguments = ", ".join(["self"] * (held == "attributes") + ["state", "x", *(["*", *given] if given else [])])
        if held == "attributes":
            return ["class Model:", *_indented([f"def __call__({arguments}):", *_indented(body)]), "step = Model()"]
        lines = [f"def step({arguments}):", *_indented(body)]
        if held == "closure":
            return [f"def make({', '.join(constants)}):", *_indented([*lines, "return step"])]
        return lines


class Built:
    """A step that can be called, and functions that build the trees of its state and inputs."""

    def __init__(self, step: Step) -> None:
        writer = Writer(step)
        self.held, self.constants, self.needs_full_inputs = step.held, writer.constants, writer.needs_full_inputs
        self.source = writer.source()
        self.space: dict[str, Any] = {"__name__": "a_step_of_the_fuzzer"}
        exec(self.source, self.space)
        self.state_of: Callable[..., Any] = self.space["state_of"]
        self.xs_of: Callable[..., Any] = self.space["xs_of"]

    def step(self, factor: float) -> Callable[..., Any]:
        """Return the step with each number that it holds times a factor; what holds the numbers is written on."""
        numbers = {name: number * factor for name, number in self.constants.items()}
        if self.held == "closure":
            made: Callable[..., Any] = self.space["make"](**numbers)
            return made
        function: Any = self.space["step"]
        if self.held == "partial":
            return functools.partial(function, **numbers)
        if self.held == "globals":
            self.space.update(numbers)
        elif self.held == "attributes":
            vars(function).update(numbers)
        elif numbers:
            function.__kwdefaults__.update(numbers)
        stepper: Callable[..., Any] = function
        return stepper


def pack(tree: str, name: str, fields: Sequence[str], texts: Sequence[str]) -> str:
    """Return the expression of a tree."""
    if tree == "bare" and len(texts) == 1:
        return texts[0]
    if tree == "dict":
        return "{" + ", ".join(f'"{field}": {text}' for field, text in zip(fields, texts, strict=True)) + "}"
    if tree == "nested":
        return f'({texts[0]}, {{"rest": [{", ".join(texts[1:])}]}})'
    if tree == "list":
        return f"[{', '.join(texts)}]"
    return f"{name if tree == 'named' else ''}({', '.join(texts)},)"


def unpack(tree: str, root: str, fields: Sequence[str]) -> list[str]:
    """Return the assignments that name the leaves of a tree."""

    def place(index: int, field: str) -> str:
        if tree == "bare" and len(fields) == 1:
            return root
        if tree == "dict":
            return f'{root}["{field}"]'
        if tree == "named":
            return f"{root}.{field}"
        return f'{root}[1]["rest"][{index - 1}]' if tree == "nested" and index else f"{root}[{index}]"

    return [f"{field} = {place(index, field)}" for index, field in enumerate(fields)]


def _dtype(operation: str, operands: Sequence[Value]) -> str:
    if operation not in INTEGERS:
        return "bool" if operation in BOOLS else "float"
    cast = re.search(r"\.to\(torch\.(\w+)\)$", operation)
    return cast[1] if cast else promoted([v.dtype for v in operands if kind_of(v.dtype) == "integer"])


def _class(name: str, fields: Sequence[str], tree: str) -> list[str]:
    return [f"class {name}(NamedTuple):", *_indented([f"{f}: Tensor" for f in fields])] if tree == "named" else []


def _indented(lines: Sequence[str]) -> list[str]:
    return [f"    {line}" for line in lines]
