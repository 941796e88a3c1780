"""A scan of this library as operators of ONNX: what the state needs in a Scan, all else once over all steps.

``symbolic`` stands for a scan in the graph that torch exports: a node ``spikingtorch::Scan`` with the program as text.
``written`` replaces such a node. Each value of the program is computed where it changes:

    once        from parameters alone, in the outer graph
    over time   from inputs as well, in the outer graph, for all steps at once
    in a step   from a state, in the body of the Scan

Arrays over time have time as their first axis there: runtimes handle no steps and no samples on that axis alone.
"""

import math
from collections.abc import Sequence
from enum import IntEnum
from typing import Any

import onnx_ir as ir
import torch
from torch import Tensor

from spikingtorch.functional.fused.ir import Node, from_text, operands
from spikingtorch.functional.fused.runtime.torch_ops import fake_exported
from spikingtorch.interop.onnx.errors import ONNXError
from spikingtorch.interop.onnx.rules import TYPES, Nodes, Value, operation

DOMAIN = "spikingtorch"
_BOUNDED = ("sigmoid", "tanh", "erf", "atan")


def symbolic(
    tensors: list[Tensor], counts: Sequence[int], scalars: Sequence[float] | None, program: str, dim: int
) -> list[Tensor]:
    """Stand for ``spikingtorch::scan_exported`` in an exported graph, as an operator that torch's exporter keeps."""
    results = fake_exported(tensors, counts, scalars, program, dim)
    attributes = {"program": program, "dim": dim, "counts": [*counts], "outs": len(results) - counts[0]}
    attributes["scalars"] = " ".join(float(each).hex() for each in scalars or ())
    kinds: Any = {"dtypes": [each.dtype for each in results], "shapes": [each.shape for each in results], "version": 1}
    return [*torch.onnx.ops.symbolic_multi_out(f"{DOMAIN}::Scan", tensors, attrs=attributes, **kinds)]


class Rate(IntEnum):
    """Where a value changes."""

    ONCE = 0
    OVER_TIME = 1
    IN_STEP = 2


def written(node: ir.Node, nan: bool) -> tuple[list[ir.Node], list[Value]]:
    """Return nodes that compute what a node ``spikingtorch::Scan`` stands for, and their results.

    ``nan`` says whether a NaN reaches the spikes, as in this library; without it, surrogates leave no trace.
    """
    scan = _Scan(node, nan)
    results = scan.results()
    return scan.outer, results


class _Scan:
    """The values of one scan."""

    def __init__(self, node: ir.Node, nan: bool) -> None:
        given: Any = {name: attribute.value for name, attribute in node.attributes.items()}
        self.program, self.dim = from_text(given["program"]), int(given["dim"])
        self.scalars = [float.fromhex(text) for text in given["scalars"].split()]
        states, xs, _ = given["counts"]
        inputs: list[Any] = [*node.inputs]
        self.states, self.params = inputs[:states], inputs[states + xs :]
        self.outer = Nodes()
        self.inner = Nodes(self.outer)
        self.nodes = [self._cheap(each, nan) for each in self.program.nodes]
        rank = max(len(each.shape) for each in inputs[states : states + xs])
        self.front = [self.dim, *[axis for axis in range(rank) if axis != self.dim]]
        self.xs = [self._turned(x, self.front) for x in inputs[states : states + xs]]
        # inside: the state before a step, and each value over time at this step, by its node
        self.before = [ir.Value(type=ir.TensorType(each.dtype or ir.DataType.FLOAT)) for each in self.states]
        self.streams: dict[int, Value] = {}
        self._rates: dict[int, Rate] = {}
        self._values: dict[tuple[bool, int], Value] = {}

    def _turned(self, x: Value, axes: list[int]) -> Value:
        return x if axes == sorted(axes) else self.outer.add("Transpose", x, perm=axes)

    def _cheap(self, node: Node, nan: bool) -> Node:
        """Return a node without what only matters to NaN; or with a value of which the NaN comes, if there is one.

        A bounded function, and a product or difference with a number of ordinary size, is NaN where its argument is.
        """
        if node.op != "zeronan":
            return node
        if not nan:
            return Node("const", node.dtype, (0,))
        place = int(node.args[0])
        while (below := self.program.nodes[place]).op in (*_BOUNDED, "mul", "sub"):
            others = [each for each in operands(below) if not 1e-6 < abs(self._number(each) or 0.0) < 1e6]
            if len(others) != 1:
                break
            place = others[0]
        return node._replace(args=(place,))

    def _number(self, place: int) -> float | None:
        """Return the number that a node is; None for a value."""
        node = self.program.nodes[place]
        if node.op == "cast":
            return self._number(int(node.args[0]))
        return self.scalars[int(node.args[0])] if node.op == "scalar" else None

    def rate(self, place: int) -> Rate:
        """Return where a node's value changes."""
        if place not in self._rates:
            node = self.nodes[place]
            if node.op == "input":
                feedback = node.args == ("x", 0) and self.program.product is not None
                known = {"param": Rate.ONCE, "x": Rate.OVER_TIME, "state": Rate.IN_STEP}
                found = Rate.IN_STEP if feedback else known[str(node.args[0])]
            else:
                found = max((self.rate(each) for each in operands(node)), default=Rate.ONCE)
            self._rates[place] = found
        return self._rates[place]

    def value(self, place: int, *, inside: bool) -> Value:
        """Return the value of a node, for the outer graph or for the body of the Scan."""
        inside &= self.rate(place) > Rate.ONCE
        if (inside, place) not in self._values:
            if inside and self.rate(place) == Rate.OVER_TIME:
                found = self.streams[place] = ir.Value(type=ir.TensorType(TYPES[self.nodes[place].dtype]))
            else:
                found = self._computed(place, self.inner if inside else self.outer, inside)
            self._values[inside, place] = found
        return self._values[inside, place]

    def _computed(self, place: int, nodes: Nodes, inside: bool) -> Value:
        node = self.nodes[place]
        if node.op == "const":
            return nodes.number(node.args[0], node.dtype)  # type: ignore[arg-type]
        if node.op == "scalar":
            return nodes.number(self.scalars[int(node.args[0])], node.dtype)
        if node.op == "input":
            return self._input(node, nodes)
        places: Sequence[int] = operands(node)
        before = self.nodes[places[0]]
        if node.op == "cast" and before.op == "scalar":
            return nodes.number(self.scalars[int(before.args[0])], node.dtype)
        if node.op == "add" and (pair := self._spike_and_rest(places)) is not None:
            spike, rest = self.value(pair[0], inside=inside), self.nodes[pair[1]]
            if rest.op == "const":
                return spike
            lost = nodes.add("IsNaN", self.value(int(rest.args[0]), inside=inside))
            return nodes.add("Where", lost, nodes.number(math.nan, node.dtype), spike)
        if node.op in ("min", "max") and (bound := self._bound(places)) is not None:
            other = self.value(next(place for place in places if place != bound), inside=inside)
            return nodes.add(node.op.capitalize(), self.value(bound, inside=inside), other)
        if node.op in ("lt", "le", "gt", "ge"):
            places = self._compared(places)
            before = self.nodes[places[0]]
        if node.op == "where" and node.dtype == "bool":
            raise ONNXError("a step chooses between two bools; write it with & and |")
        dtype = self.nodes[places[-1]].dtype if node.op == "where" else before.dtype
        args = [self.value(each, inside=inside) for each in places]
        return operation(node.op, nodes, dtype, node.dtype, *args)

    def _spike_and_rest(self, places: Sequence[int]) -> tuple[int, int] | None:
        """Return the terms of a sum of a spike, which is 0 or 1, and of a rest that is zero or NaN; None for others."""
        for one, other in (places, places[::-1]):
            number, rest = self.nodes[one], self.nodes[other]
            is_spike = number.op == "cast" and self.nodes[int(number.args[0])].dtype == "bool"
            if is_spike and (rest.op == "zeronan" or (rest.op == "const" and rest.args == (0,))):
                return one, other
        return None

    def _bound(self, places: Sequence[int]) -> int | None:
        """Return the number that bounds another value, which is not zero, so that no sign of a zero is at stake."""
        found = (each for each in places if self._number(each) not in (None, 0.0))
        return next(found, None) if self.nodes[places[0]].dtype in ("f32", "f64") else None

    def _compared(self, places: Sequence[int]) -> Sequence[int]:
        """Return what a comparison compares: of a difference with zero, its two sides, if one is a finite number.

        Two numbers differ by zero only if they are equal, since there are subnormal numbers.
        """
        difference = self.nodes[places[0]]
        if difference[:2] not in (("sub", "f32"), ("sub", "f64")) or self._number(places[-1]) != 0.0:
            return places
        number = self._number(int(difference.args[1]))
        return operands(difference) if number is not None and math.isfinite(number) else places

    def _input(self, node: Node, nodes: Nodes) -> Value:
        role, index = str(node.args[0]), int(node.args[1])
        if role == "state":
            given, stored = self.before[index], self.program.states[index]
        elif role == "param":
            place = self.program.pointwise_params[index]  # the neuron does not count the weights of a product
            given, stored = self.params[place], self.program.params[place][0]
        else:
            given, stored = self.xs[index], self.program.xs[index]
            if index == 0 and self.program.product is not None:
                return self._with_feedback(stored, nodes)
        return operation("cast", nodes, stored, node.dtype, given)

    def _with_feedback(self, stored: str, nodes: Nodes) -> Value:
        """Return the first input of a step with the product of the outputs of the step before."""
        product: Any = self.program.product
        here = ir.Value(type=ir.TensorType(TYPES[stored]))
        self.streams[-1] = here
        weight, before = self.params[product.weight], self.before[-1]
        if product.synapse == "convolution":
            sizes = [int(size) for size in weight.shape[2:]]
            groups = int(weight.shape[0]) // int(weight.shape[1])
            current = nodes.add(
                "Conv", before, weight, kernel_shape=sizes, pads=2 * [n // 2 for n in sizes], group=groups
            )
        else:
            current = nodes.add("MatMul", before, self.outer.add("Transpose", weight, perm=[1, 0]))
        return nodes.add("Add", here, current)

    def results(self) -> list[Value]:
        """Return the final states and the outputs."""
        program, inner = self.program, self.inner
        stepped = [place for place in program.results if self.rate(place) == Rate.IN_STEP]
        finals = [
            operation("cast", inner, self.nodes[place].dtype, dtype, self.value(place, inside=True))
            for place, dtype in zip(program.finals, program.states, strict=True)
        ]
        ends = [*finals, *[self.value(place, inside=True) for place in stepped]]
        sources = [self.xs[0] if place < 0 else self.value(place, inside=False) for place in self.streams]
        inputs = [*self.before, *self.streams.values()]
        given = self.outer.scan([*self.states, *sources], inputs, inner, ends, len(sources))
        found = dict(zip(stepped, given[len(finals) :], strict=True))
        back = [self.front.index(axis) for axis in range(len(self.front))]
        outs = []
        for place, dtype in zip(program.results, program.outs, strict=True):
            out = found[place] if place in found else self.value(place, inside=False)
            outs.append(self._turned(operation("cast", self.outer, self.nodes[place].dtype, dtype, out), back))
        return [*given[: len(finals)], *outs]
