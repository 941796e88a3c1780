"""The operations of a program (``functional.fused.ir``) in standard operators of ONNX, one rule for each.

An operation that rounds in one way only has the same bits in a runtime of ONNX. The others, such as ``exp``, are within
the runtime's own bounds. ONNX lacks some, which are composed of several.
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import onnx_ir as ir

from spikingtorch.interop.onnx.errors import ONNXError

TYPES = {
    **{"f16": ir.DataType.FLOAT16, "bf16": ir.DataType.BFLOAT16, "f32": ir.DataType.FLOAT, "f64": ir.DataType.DOUBLE},
    **{"i8": ir.DataType.INT8, "i16": ir.DataType.INT16, "u8": ir.DataType.UINT8, "i32": ir.DataType.INT32},
    **{"i64": ir.DataType.INT64, "bool": ir.DataType.BOOL},
}
# the least normal number: what is smaller is subnormal
_TINY = {"f32": 2.0**-126, "f64": 2.0**-1022}
Value = ir.Value


class Nodes(list[ir.Node]):
    """The nodes of a graph, in their order; constants are nodes of the outermost graph, which those inside may read."""

    def __init__(self, outermost: "Nodes | None" = None) -> None:
        super().__init__()
        self._outermost = outermost
        self._known: dict[tuple[str, str], Value] = {}

    def add(self, kind: str, *inputs: Value, **attributes: Any) -> Value:
        """Return the output of a new node."""
        node = ir.node(kind, [*inputs], attributes=attributes or None)
        self.append(node)
        return node.outputs[0]

    def scan(
        self, given: list[Value], inputs: list[Value], inner: list[ir.Node], outs: list[Value], streams: int
    ) -> list[Value]:
        """Return the outputs of a Scan of nodes; its last ``streams`` inputs run over time."""
        made, listed = {id(value) for node in inner for value in node.outputs}, list[Value]()
        for out in outs:  # a body gives out each value once, and only what it has made
            if id(out) not in made:
                inner.append(ir.node("Identity", [out]))
                inner[-1].outputs[0].type = out.type
            listed.append(out if id(out) in made else inner[-1].outputs[0])
            made.discard(id(out))
        attributes: Any = {"body": ir.Graph(inputs, listed, nodes=inner, name="step"), "num_scan_inputs": streams}
        self.append(ir.node("Scan", given, attributes=attributes, num_outputs=len(listed)))
        for output, out in zip(self[-1].outputs, listed, strict=True):
            output.type = out.type
        return [*self[-1].outputs]

    def constant(self, array: Any) -> Value:
        """Return a tensor that is known."""
        if self._outermost is not None:
            return self._outermost.constant(array)
        return self.add("Constant", value=ir.tensor(array))

    def number(self, value: float, dtype: str) -> Value:
        """Return a number of a dtype of a program."""
        if self._outermost is not None:
            return self._outermost.number(value, dtype)
        key = dtype, repr(value)
        if key not in self._known:
            self._known[key] = self.constant(np.asarray(value, TYPES[dtype].numpy()))
        return self._known[key]


Rule = Callable[..., Value]
_PLAIN = {
    **{"add": "Add", "sub": "Sub", "mul": "Mul", "div": "Div", "neg": "Neg", "abs": "Abs", "lt": "Less"},
    **{"le": "LessOrEqual", "gt": "Greater", "ge": "GreaterOrEqual", "eq": "Equal", "and": "And", "or": "Or"},
    **{"xor": "Xor", "not": "Not", "floor": "Floor", "ceil": "Ceil", "round": "Round", "sqrt": "Sqrt", "exp": "Exp"},
    **{"log": "Log", "sin": "Sin", "cos": "Cos", "tanh": "Tanh", "sigmoid": "Sigmoid", "erf": "Erf", "atan": "Atan"},
    "pow": "Pow",
}


def operation(op: str, nodes: Nodes, before: str, after: str, *args: Value) -> Value:
    """Return an operation on values of the dtype ``before``, with a result of the dtype ``after``."""
    if op in ("inexact", "term"):
        return args[0]
    if op == "cast":
        return args[0] if before == after else nodes.add("Cast", args[0], to=TYPES[after])
    if op in _PLAIN:
        return nodes.add(_PLAIN[op], *args)
    if op not in _COMPOSED:
        raise ONNXError(f"a step computes {op}, for which there is no rule of ONNX; compute it from other functions")
    return _COMPOSED[op](nodes, before, *args)


def _where(nodes: Nodes, dtype: str, condition: Value, yes: Value, no: Value) -> Value:
    return nodes.add("Where", condition, yes, no)


def _sign(nodes: Nodes, dtype: str, x: Value) -> Value:
    zero = nodes.number(0, dtype)
    above, below = (nodes.add("Cast", nodes.add(kind, x, zero), to=TYPES[dtype]) for kind in ("Greater", "Less"))
    return nodes.add("Sub", above, below)


def _extreme(kind: str) -> Rule:
    """Return min or max as in C: of NaN on either side, NaN; of equal numbers, the second."""

    def rule(nodes: Nodes, dtype: str, a: Value, b: Value) -> Value:
        first = nodes.add(kind, a, b)
        if dtype[0] == "f" or dtype == "bf16":
            first = nodes.add("Or", first, nodes.add("IsNaN", a))
        return nodes.add("Where", first, a, b)

    return rule


def _not_equal(nodes: Nodes, dtype: str, a: Value, b: Value) -> Value:
    return nodes.add("Not", nodes.add("Equal", a, b))


def _zero_nan(nodes: Nodes, dtype: str, x: Value) -> Value:
    """Return zero, and NaN where x is NaN."""
    return nodes.add("Where", nodes.add("IsNaN", x), nodes.number(math.nan, dtype), nodes.number(0, dtype))


def _flush(nodes: Nodes, dtype: str, x: Value) -> Value:
    subnormal = nodes.add("Less", nodes.add("Abs", x), nodes.number(_TINY[dtype], dtype))
    return nodes.add("Where", subnormal, nodes.number(0, dtype), x)


def _trunc(nodes: Nodes, dtype: str, x: Value) -> Value:
    return nodes.add("Where", nodes.add("Less", x, nodes.number(0, dtype)), nodes.add("Ceil", x), nodes.add("Floor", x))


def _expm1(nodes: Nodes, dtype: str, x: Value) -> Value:
    """Return exp(x) - 1 as (w - 1) x / log w with w = exp(x), of which rounding errors cancel (Kahan).

    Where w is 1, 0 or infinite, that has no value: the result is x, -1 or w.
    """
    one, w = nodes.number(1, dtype), nodes.add("Exp", x)
    rest = nodes.add("Sub", w, one)
    quotient = nodes.add("Div", nodes.add("Mul", rest, x), nodes.add("Log", w))
    small, low, high = (
        nodes.add("Equal", w, one),
        nodes.add("Equal", w, nodes.number(0, dtype)),
        nodes.add("Equal", w, nodes.number(math.inf, dtype)),
    )
    found = nodes.add("Where", small, x, nodes.add("Where", high, w, quotient))
    return nodes.add("Where", low, nodes.number(-1, dtype), found)


def _log1p(nodes: Nodes, dtype: str, x: Value) -> Value:
    """Return log(1 + x) as x log w / (w - 1) with w = 1 + x; where w is 1 or infinite, the result is x."""
    one = nodes.number(1, dtype)
    w = nodes.add("Add", one, x)
    quotient = nodes.add("Mul", nodes.add("Log", w), nodes.add("Div", x, nodes.add("Sub", w, one)))
    plain = nodes.add("Or", nodes.add("Equal", w, one), nodes.add("Equal", w, nodes.number(math.inf, dtype)))
    return nodes.add("Where", plain, x, quotient)


def _log_of(base: float) -> Rule:
    def rule(nodes: Nodes, dtype: str, x: Value) -> Value:
        return nodes.add("Div", nodes.add("Log", x), nodes.number(math.log(base), dtype))

    return rule


def _fmod(nodes: Nodes, dtype: str, x: Value, y: Value) -> Value:
    return nodes.add("Mod", x, y, fmod=1)


_COMPOSED: dict[str, Rule] = {
    **{"where": _where, "sign": _sign, "min": _extreme("Less"), "max": _extreme("Greater"), "ne": _not_equal},
    **{"zeronan": _zero_nan, "flush": _flush, "trunc": _trunc, "expm1": _expm1, "log1p": _log1p, "fmod": _fmod},
    **{"log2": _log_of(2.0), "log10": _log_of(10.0)},
}
