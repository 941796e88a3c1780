"""Whole numbers as a file of ONNX that computes with integers alone, in every bit as ``run`` does.

One Scan over time runs the whole network. Numbers are int64, as those of ``run``; weights multiply in the fastest
integers in which no sum overflows.
"""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import onnx_ir as ir
from numpy.lib.stride_tricks import sliding_window_view

from spikingtorch.interop.onnx.certificate import session
from spikingtorch.interop.onnx.errors import ONNXError
from spikingtorch.interop.onnx.files import OPSET, content_of, save, tidy
from spikingtorch.interop.onnx.integers import Integers
from spikingtorch.interop.onnx.rules import Nodes
from spikingtorch.interop.onnx.stepping import in_one_scan, start_at_rest
from spikingtorch.quantize.network import WholeNetwork
from spikingtorch.quantize.neurons import Neuron, Node, State, advance
from spikingtorch.quantize.nodes import Conv2d, Diagonal, Flatten, Ints, Linear, Shape, Sum, SumPool2d, Synapses
from spikingtorch.quantize.proof import stays_in_register

_INT64 = ir.TensorType(ir.DataType.INT64)
_FIELDS = {"s": "a spike", "u": "a membrane before the reset", "v": "a membrane", "i": "a current"}
Ends: TypeAlias = tuple[int, int]


def to_onnx(
    integer: WholeNetwork, path: str | Path, x: Any = None, *, state: bool = True, certify: bool = True
) -> None:
    """Write a network as a file of ONNX; ``IntegerModel.to_onnx`` is the method for it."""
    content = _file(integer, state, watched=False)
    if certify:
        _check(integer, _example(integer) if x is None else integer.whole_input(x), content, state)
    save(content, Path(path))


def _file(integer: WholeNetwork, state: bool, watched: bool) -> bytes:
    """Return the content of a file; ``watched`` adds spikes, u, v and i of each layer of neurons as outputs."""
    step = _Step(integer, watched)
    graph = in_one_scan(step.graph(), len(step.outputs), 1)
    if not state:
        start_at_rest(graph, {name: np.zeros((1, *shape), np.int64) for name, shape in step.shapes.items()}, 0)
    model = ir.Model(graph, ir_version=8)
    tidy(model)
    told = {name: getattr(integer, name) for name in ("input_range", "input_exponent", "output_exponent")}
    return content_of(model, {"axes": "N, T", **told})


class _Step:
    """The graph of one step of a network."""

    def __init__(self, integer: WholeNetwork, watched: bool) -> None:
        self.nodes, self.watched = Nodes(), watched
        self.inputs, self.shapes = list[ir.Value](), dict[str, Shape]()  # x and the states; shapes of states by name
        self.nexts, self.shown = dict[str, Any](), dict[str, Any]()  # values after the step, by name
        values, ends = [self._input("x", integer.input_shape)], [integer.input_range, *integer.reaches]
        for node, sources in integer.steps():
            arriving = [values[source + 1] for source in sources]
            values.append(self._output(node, arriving, ends[sources[0] + 1]))
        self.outputs = {"out": (values[-1], integer.output_shape), **self.shown}

    def graph(self) -> ir.Graph:
        """Return the graph, from states and x to the outputs and the next states."""
        results, (x, *states) = list[ir.Value](), self.inputs
        nexts = {f"next.{name}": (each, self.shapes[name]) for name, each in self.nexts.items()}
        for name, (each, shape) in (self.outputs | nexts).items():
            result = self.nodes.add("Identity", each.value)
            result.name, result.type, result.shape = name, _INT64, ir.Shape(["N", *shape])
            results.append(result)
        return ir.Graph([*states, x], results, nodes=self.nodes, opset_imports={"": OPSET}, name="step")

    def _input(self, name: str, shape: Shape) -> Integers:
        self.inputs.append(ir.Value(name=name, type=_INT64, shape=ir.Shape(["N", *shape])))
        return Integers(self.nodes, self.inputs[-1])

    def _state(self, name: str, shape: Shape) -> Integers:
        self.shapes[name] = shape
        return self._input(f"state.{name}", shape)

    def _output(self, node: Node, arriving: list[Integers], span: Ends) -> Any:
        if isinstance(node, Neuron):
            return self._spikes(node, arriving[0], span)
        if isinstance(node, Flatten):
            return arriving[0].reshaped(0, int(np.prod(node.input_shape)))
        if isinstance(node, Sum):
            first, *others = [each << shift for each, shift in zip(arriving, node.shifts, strict=True)]
            return sum(others, first)
        return _sums(node, arriving[0], span)

    def _spikes(self, node: Neuron, x: Integers, span: Ends) -> Any:
        """Return the spikes of neurons, whose equations are those of ``run``."""
        if node.overflow == "error":
            if not stays_in_register(node, span):
                raise ONNXError(
                    f"layer {node.name!r}: its overflow is 'error', which a file cannot raise, and nothing proves that "
                    f"it stays within {node.low} to {node.high}; take overflow='saturate', or more membrane_bits"
                )
            node = replace(node, overflow="saturate")
        fields = ["v", *["i"] * (node.decay_synapse is not None), *["s"] * (node.recurrent is not None)]
        before: dict[str, Any] = {each: self._state(f"{node.name}.{each}", node.shape) for each in fields}
        back: Any = None
        if node.recurrent is not None:
            back = _sums(node.recurrent, before["s"], (0, node.most_spikes))
        current: Any = node.arriving(x, back)  # type: ignore[arg-type]
        after, u, s = advance(node, State(before.get("i", 0), before["v"]), current)
        found: dict[str, Any] = {"v": after.v, "i": after.i, "s": s, "u": u}
        self.nexts |= {f"{node.name}.{each}": found[each] for each in fields}
        if self.watched:
            kept = {each: found[each] for each in ("s", "u", "v", *fields)}
            self.shown |= {f"{each}.{node.name}": (value, node.shape) for each, value in kept.items()}
        return s


def _sums(node: Synapses | SumPool2d, s: Integers, span: Ends) -> Any:
    """Return the sums of a node for inputs between two numbers."""
    if isinstance(node, Diagonal):
        return s * node.weight
    if isinstance(node, Linear):
        return _product(s, node.weight.T, span, lambda s: s) + node.bias
    weight, places = _windows(node)
    found = _product(s, weight, span, lambda images: _cut(s.nodes, images, int(np.prod(node.input_shape)), places))
    turned = found.made("Transpose", found.value, perm=[0, 1, 3, 2]).reshaped(0, *node.output_shape)
    return turned + node.bias[:, None, None] if isinstance(node, Conv2d) else turned


def _cut(nodes: Nodes, images: ir.Value, size: int, places: Ints) -> ir.Value:
    """Return windows of images: (N, groups, places, entries)."""
    flat = nodes.add("Reshape", images, nodes.constant(np.array([0, size])))
    if places.max() == size:
        flat = nodes.add("Pad", flat, nodes.constant(np.array([0, 0, 0, 1])))
    return nodes.add("Gather", flat, nodes.constant(places), axis=1)


def _windows(node: Conv2d | SumPool2d) -> tuple[Ints, Ints]:
    """Return weights (groups, entries, channels) and the places of inputs in windows, (groups, places, entries).

    Places count the entries of an image; the one behind the last is zero, for what is beside the image.
    """
    channels, *_ = node.input_shape
    if isinstance(node, SumPool2d):
        weight, groups, padding, dilation = np.ones((channels, 1, *node.kernel), np.int8), channels, (0, 0), (1, 1)
    else:
        weight, groups, padding, dilation = node.weight, node.groups, node.padding, node.dilation
    size, (rows, columns) = int(np.prod(node.input_shape)), padding
    image = np.arange(size).reshape(node.input_shape)
    places = np.pad(image, ((0, 0), (rows, rows), (columns, columns)), constant_values=size)
    spans = tuple(gap * (length - 1) + 1 for gap, length in zip(dilation, weight.shape[2:], strict=True))
    seen = sliding_window_view(places, spans, axis=(1, 2))
    seen = seen[:, :: node.stride[0], :: node.stride[1], :: dilation[0], :: dilation[1]]
    split = seen.reshape(groups, -1, *seen.shape[1:]).transpose(0, 2, 3, 1, 4, 5)
    entries = int(np.prod(weight.shape[1:]))
    return weight.reshape(groups, -1, entries).transpose(0, 2, 1), split.reshape(groups, -1, entries)


def _product(s: Integers, weight: Ints, span: Ends, cut: Callable[[ir.Value], ir.Value]) -> Integers:
    """Return the product of inputs, which ``cut`` brings into their shape, and weights.

    Where inputs have 7 bits and weights 8, a runtime may add two products in 16 bits, as some processors do.
    """
    low, high = span
    most = max(-low, high) * int(np.abs(weight.astype(np.int64)).sum(-2).max(initial=0))
    small = weight.min(initial=0) >= -128 and weight.max(initial=0) <= 127
    kinds, kind = (ir.DataType.INT64, ir.DataType.INT64), "MatMul"
    if most < 1 << 31:
        kinds = (ir.DataType.INT32, ir.DataType.INT32)
        if low >= 0 and high <= 127 and small:
            kinds, kind = (ir.DataType.UINT8, ir.DataType.INT8), "MatMulInteger"
    sums = s.nodes.add(kind, cut(s.cast(kinds[0])), s.nodes.constant(weight.astype(kinds[1].numpy())))
    return Integers(s.nodes, Integers(s.nodes, sums).cast(ir.DataType.INT64))


def _example(integer: WholeNetwork) -> Any:
    """Return random inputs, of which one sample is the least number throughout and one the largest."""
    low, high = integer.input_range
    x = np.random.default_rng(0).integers(low, high, (4, 20, *integer.input_shape), endpoint=True)
    x[0], x[1] = low, high
    return x


def _check(integer: WholeNetwork, x: Any, content: bytes, state: bool) -> None:
    """Raise ONNXError if a bit of a neuron or of the output differs from ``run``, in one call or in two."""
    if not x.size:
        raise ONNXError(f"x has the shape {x.shape}, and shows nothing; pass samples and steps")
    want = integer.run(x, record=True)
    shapes = _Step(integer, False).shapes
    feeds = {f"state.{name}": np.zeros((len(x), *shape), np.int64) for name, shape in shapes.items()}
    seen = session(_file(integer, True, watched=True))[1]({"x": x, **feeds})
    for name, record in want.records.items():
        for field, array in zip("suvi", record, strict=True):
            if f"{field}.{name}" in seen:
                _compare(f"layer {name!r}: {_FIELDS[field]}", array, seen[f"{field}.{name}"])
    _compare("the output", want.out, seen["out"])
    run, half = session(content)[1], x.shape[1] // 2 if state else 0
    outs = []
    for part in (x[:, :half], x[:, half:]):
        if part.size:
            found = run({"x": part, **(feeds if state else {})})
            outs.append(found["out"])
            feeds = {name: found[f"next.{name.removeprefix('state.')}"] for name in feeds if state}
    _compare("the output", want.out, np.concatenate(outs, 1))


def _compare(what: str, here: Ints, there: Ints) -> None:
    """Raise ONNXError at the first step at which arrays (N, T, ...) differ."""
    if (different := here != there).any():
        step, sample, *neuron = np.argwhere(different.swapaxes(0, 1))[0].tolist()
        at = (sample, step, *neuron)
        raise ONNXError(
            f"{what} of the file is {there[at]} at step {step}, sample {sample}, neuron {tuple(neuron)}, and "
            f"{here[at]} in run; the runtime is at fault, or spikingtorch"
        )
