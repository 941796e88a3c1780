"""Whole numbers of a graph of ONNX, with which code for NumPy computes: each function adds a node to the graph.

So the equations of neurons stay in one place, and a graph has them as they are there.
"""

from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.lib.mixins import NDArrayOperatorsMixin

from spikingtorch.interop.onnx.errors import ONNXError
from spikingtorch.interop.onnx.rules import Nodes, Value

_OPERATORS: dict[Any, str] = {
    **{np.add: "Add", np.subtract: "Sub", np.multiply: "Mul", np.negative: "Neg", np.sign: "Sign", np.equal: "Equal"},
    # it rounds towards zero, and neurons take no quotient below zero
    np.floor_divide: "Div",
    **{np.less: "Less", np.greater: "Greater", np.greater_equal: "GreaterOrEqual", np.bitwise_and: "BitwiseAnd"},
}
_COMPARISONS = (np.equal, np.less, np.greater, np.greater_equal)
# where the second number is this one, the result is the first
_NEUTRAL = {np.add: 0, np.subtract: 0, np.multiply: 1}
_MOST_SHIFT = 62


class Integers(NDArrayOperatorsMixin):
    """Numbers of int64, or truth values, that a graph computes; other operands are known numbers of NumPy.

    Numbers wrap round where those of NumPy do.
    """

    def __init__(self, nodes: Nodes, value: Value, truth: bool = False) -> None:
        self.nodes, self.value, self.truth = nodes, value, truth

    def made(self, kind: str, *inputs: Value, truth: bool = False, **attributes: Any) -> "Integers":
        """Return the result of a new node, which is int64, or bool if ``truth``."""
        return Integers(self.nodes, self.nodes.add(kind, *inputs, **attributes), truth)

    def cast(self, to: ir.DataType) -> Value:
        """Return the numbers in another type."""
        return self.nodes.add("Cast", self.value, to=to)

    def known(self, number: Any, truth: bool = False) -> Value:
        """Return an operand as a value of the graph: int64, or bool if ``truth``."""
        if isinstance(number, Integers):
            return number.value if number.truth == truth else number.cast(ir.DataType.INT64)
        array = np.asarray(number, np.bool_ if truth else np.int64)
        return self.nodes.constant(array) if truth or array.ndim else self.nodes.number(int(array), "i64")

    def __array_ufunc__(self, ufunc: Any, method: str, *args: Any, **options: Any) -> "Integers":
        """Add the nodes of a function of NumPy."""
        if ufunc is np.left_shift:
            return args[0] * (np.int64(1) << np.asarray(args[1], np.int64))  # type: ignore[no-any-return]
        if ufunc is np.right_shift:
            return self._shifted_down(np.asarray(args[1], np.int64))
        if ufunc not in _OPERATORS or method != "__call__" or options:
            raise ONNXError(f"a neuron computes {ufunc.__name__}, for which integers in ONNX have no rule")
        if ufunc in _NEUTRAL and not isinstance(args[1], Integers) and np.all(args[1] == _NEUTRAL[ufunc]):
            return args[0]  # type: ignore[no-any-return]
        truths = [each.truth if isinstance(each, Integers) else np.asarray(each).dtype == bool for each in args]
        both = ufunc is np.bitwise_and and all(truths)
        kind = "And" if both else _OPERATORS[ufunc]
        return self.made(kind, *[self.known(each, both) for each in args], truth=both or ufunc in _COMPARISONS)

    def _shifted_down(self, bits: Any) -> "Integers":
        """Return the floor of the numbers / 2**bits: without the last bits, they are multiples of it."""
        if bits.max() > _MOST_SHIFT:
            raise ONNXError(f"a number loses {bits.max()} bits by rounding, and {_MOST_SHIFT} are the most")
        if not bits.any():
            return self
        unit = np.int64(1) << bits
        return self.made("Div", (self & -unit).value, self.known(unit))

    def __array_function__(self, function: Any, types: Any, args: Any, options: Any) -> "Integers":
        """Add a node for ``np.where``."""
        if function is not np.where:
            raise ONNXError(f"a neuron computes {function.__name__}, for which integers in ONNX have no rule")
        condition, yes, no = args
        return self.made("Where", condition.value, self.known(yes), self.known(no))

    def clip(self, low: int, high: int) -> "Integers":
        """Return the numbers from low to high, and the nearest of the two for others."""
        return self.made("Clip", self.value, self.known(low), self.known(high))

    def astype(self, _: Any) -> "Integers":
        """Return truth values as 0 and 1; the only type is int64."""
        return Integers(self.nodes, self.known(self))

    def reshaped(self, *shape: int) -> "Integers":
        """Return the numbers in another shape; a size of 0 stands for that of the same axis."""
        return self.made("Reshape", self.value, self.known(shape))
