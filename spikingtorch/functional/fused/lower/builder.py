"""Build the nodes of a program: equal values share a node, and known zeros are folded away."""

import math
from typing import NamedTuple, TypeAlias

import torch

from spikingtorch.functional.fused.errors import NotFusible
from spikingtorch.functional.fused.ir import COMPUTED, DTYPES, Node, live, operands

_BOUNDED = ("sigmoid", "tanh", "erf", "atan")


class Value(NamedTuple):
    """A tensor of the step, as the node that computes it; a number stands as a Python number."""

    node: int


Operand: TypeAlias = Value | int | float | bool


class Builder:
    """Collects nodes."""

    def __init__(self, scalars: int) -> None:
        self.nodes: list[Node] = []
        # floats of the step's own code, in the order of their slots, which follow the slots of the parameters
        self.literals: list[float] = []
        # nodes that stand for a sum over neurons: they hold the term of one neuron; the sum comes last
        self.pending_sums: set[int] = set()
        self._scalars = scalars
        self._known: dict[Node, int] = {}

    def emit(self, op: str, dtype: str, *args: Operand) -> Value:
        """Return the value of an operation on values and numbers, all converted to its dtype."""
        return self._emit(op, dtype, *(self.cast(arg, dtype) for arg in args))

    def compare(self, op: str, common: str, *args: Operand) -> Value:
        """Return the bool of a comparison in a common dtype."""
        return self._emit(op, "bool", *(self.cast(arg, common) for arg in args))

    def where(self, dtype: str, condition: Operand, yes: Operand, no: Operand) -> Value:
        """Return ``yes`` if the condition holds, else ``no``."""
        chosen = self.cast(condition, "bool"), self.cast(yes, dtype), self.cast(no, dtype)
        return chosen[1] if chosen[1] == chosen[2] else self._emit("where", dtype, *chosen)

    def inexact(self, value: Value) -> Value:
        """Return the value, marked as inexact: torch computes it in more than one way."""
        return self._emit("inexact", self.nodes[value.node].dtype, value)

    def summed(self, value: Value) -> Value:
        """Return a value as the term of a sum over neurons."""
        value = self._emit("term", self.nodes[value.node].dtype, value)
        self.pending_sums.add(value.node)
        return value

    def cast(self, operand: Operand, dtype: str) -> Value:
        """Return an operand in a dtype."""
        if not isinstance(operand, Value):
            return self._literal(operand, dtype)
        if self.nodes[operand.node].dtype == dtype:
            return operand
        if dtype not in COMPUTED:
            raise NotFusible(f"converts to {dtype}, and steps compute in {', '.join(COMPUTED)}")
        return self._emit("cast", dtype, operand)

    def flushed(self, value: Value) -> Value:
        """Return a value with zero in place of subnormal numbers; a sum over neurons stays unchanged."""
        dtype = self.nodes[value.node].dtype
        if dtype not in ("f32", "f64") or value.node in self.pending_sums:
            return value
        return self._add(Node("flush", dtype, (value.node,)))

    def is_number(self, operand: Operand) -> bool:
        """Return True if an operand is a number of the user, or computed only from such numbers."""
        needed = [self.nodes[k] for k in live(self.nodes, [operand.node])] if isinstance(operand, Value) else []
        return all(node.op == "scalar" for node in needed if not operands(node))

    def const(self, value: int, dtype: str) -> Value:
        """Return a constant that belongs to an operation, never a number of the user."""
        return self._add(Node("const", dtype, (value,)))

    def input(self, role: str, index: int, dtype: str) -> Value:
        """Return an input of the program."""
        return self._add(Node("input", dtype, (role, index)))

    def scalar(self, slot: int) -> Value:
        """Return a float parameter."""
        return self._add(Node("scalar", "f64", (slot,)))

    def _literal(self, number: float, dtype: str) -> Value:
        """Return a number of the step's code: it gets a slot, so its value is not part of the program."""
        if isinstance(number, bool):
            return self.const(int(number), dtype)
        if isinstance(number, int) and abs(number) > 2**53:
            raise NotFusible(f"holds the integer {number}, beyond 2**53")
        # torch wraps some of these integers and refuses others; in C they are undefined
        if dtype in ("i32", "i64") and not _fits(number, DTYPES[dtype]):
            raise NotFusible(f"computes in {dtype} with {number}, which is out of its range")
        # one object stands for every NaN, so that two traces that hold NaN are equal
        self.literals.append(math.nan if number != number else float(number))
        slot = self._add(Node("scalar", "f64", (self._scalars + len(self.literals) - 1,)))
        return slot if dtype == "f64" else self._emit("cast", dtype, slot)

    def _emit(self, op: str, dtype: str, *args: Value) -> Value:
        if dtype not in COMPUTED:
            raise NotFusible(f"computes in {dtype}, and steps compute in {', '.join(COMPUTED)}")
        if op == "sub" and args[0] == args[1]:
            return self._zero_or_nan(args[0], dtype)
        value = self._add(Node(op, dtype, tuple(arg.node for arg in args)))
        if any(arg.node in self.pending_sums for arg in args):
            self._check_linear(op, dtype, args)
            self.pending_sums.add(value.node)
        return value

    def _add(self, node: Node) -> Value:
        index = self._known.setdefault(node, len(self.nodes))
        if index == len(self.nodes):
            self.nodes.append(node)
        return Value(index)

    def _zero_or_nan(self, value: Value, dtype: str) -> Value:
        """Return a - a: zero, and NaN where a is not finite. A bounded function needs this of its argument only."""
        if dtype not in ("f32", "f64"):
            return self.const(0, dtype)
        same = self._as_finite(value.node)
        if same is not None:
            return same
        return self._add(Node("sub", dtype, (value.node, value.node)))

    def _as_finite(self, index: int) -> Value | None:
        """Return a cheap value that is zero if a node is finite and NaN otherwise, if there is one."""
        node = self.nodes[index]
        if node.op in _BOUNDED:
            return self._add(Node("zeronan", node.dtype, node.args))
        if node.op in ("add", "sub", "mul", "div"):
            found = [self._as_finite(arg) for arg in operands(node)]
            tame = [self._is_ordinary_size(arg) for arg in operands(node)]
            # a bounded function, times or plus numbers of ordinary size, does not overflow
            if found[0] is not None and tame[1]:
                return found[0]
            if found[1] is not None and tame[0] and node.op != "div":
                return found[1]
        return None

    def _is_ordinary_size(self, index: int) -> bool:
        node = self.nodes[index]
        if node.op == "cast":
            node = self.nodes[int(node.args[0])]
        if node.op != "scalar" or int(node.args[0]) < self._scalars:
            return False
        return 1e-6 < abs(self.literals[int(node.args[0]) - self._scalars]) < 1e6

    def _check_linear(self, op: str, dtype: str, args: tuple[Value, ...]) -> None:
        """Refuse an operation that is not linear in a sum: sums come last, which only linear operations allow."""
        summed = [arg.node in self.pending_sums for arg in args]
        zero = [self.nodes[arg.node].op == "const" and self.nodes[arg.node].args == (0,) for arg in args]
        terms = [s or z for s, z in zip(summed, zero, strict=True)]
        linear = {
            **dict.fromkeys(("neg", "term", "inexact"), True),
            "cast": dtype in ("f32", "f64"),
            **dict.fromkeys(("add", "sub"), all(terms)),
            "mul": sum(summed) == 1,
            "div": summed == [True, False],
            "where": not summed[0] and all(terms[1:]),
        }
        if not linear.get(op, False):
            raise NotFusible(f"takes {op} of a gradient that is summed over neurons, which is not linear")


def _fits(number: float, dtype: torch.dtype) -> bool:
    """Return True if a number is in the range of an integer dtype; NaN is in none."""
    bounds = torch.iinfo(dtype)
    return bounds.min <= number <= bounds.max
