"""The graph of one step of a network as the body of a Scan over time."""

from typing import Any

import numpy as np
import onnx_ir as ir

from spikingtorch.interop.onnx.rules import Nodes, Value

SPIKES = "spikes."  # what the outputs of layers are called in a file that is examined


def in_one_scan(step: ir.Graph, outs: int, steps: int, streams: int = 1) -> ir.Graph:
    """Return a graph that runs a step over time: from states and inputs of a step to ``outs`` outputs and next states.

    The last ``streams`` inputs are no states. They and the outputs have time as their axis ``steps``, 0 or 1; spikes of
    layers have it first.
    """
    count, outer, inputs, weights = len(step.inputs) - streams, Nodes(), [*step.inputs], [*step.initializers.values()]
    ends, inner = [*step.outputs[outs:], *step.outputs[:outs]], [*step]
    names: list[Any] = [(each.name, each.shape) for each in ends]
    given = [ir.Value(name=each.name, type=each.type, shape=each.shape) for each in inputs]
    for x in given[count:]:
        x.shape = _with_time(x.shape, steps)
    step.outputs.clear()
    step.inputs.clear()
    step.initializers.clear()
    step.remove(inner)
    for place, value in enumerate((*inputs, *ends)):
        value.name, value.shape = f"step.{place}", None
    sources = [_turned(outer, x, len(x.shape or ()), steps) for x in given[count:]]
    found = outer.scan([*given[:count], *sources], inputs, inner, ends, streams)
    for place, (name, shape) in enumerate(names):
        kind, axis = found[place].type, 0 if name.startswith(SPIKES) else steps
        if place >= count:
            found[place], shape = _turned(outer, found[place], len(shape) + 1, axis), _with_time(shape, axis)
        found[place].name, found[place].type, found[place].shape = name, kind, shape
    ordered = [*found[count:], *found[:count]]
    versions = step.opset_imports
    return ir.Graph(given, ordered, nodes=outer, initializers=weights, opset_imports=versions, name="network")


def _with_time(shape: Any, steps: int) -> ir.Shape:
    return ir.Shape([*[*shape][:steps], "T", *[*shape][steps:]])


def _turned(nodes: Nodes, value: Value, rank: int, steps: int) -> Value:
    """Exchange the first two axes, if time is the second one outside."""
    return nodes.add("Transpose", value, perm=[1, 0, *range(2, rank)]) if steps else value


def start_at_rest(graph: ir.Graph, rest: dict[str, Any], samples: int) -> None:
    """Replace inputs ``state.<name>`` of a graph by the state at rest of one sample, and leave out the next states.

    ``samples`` is the axis of samples of x, and the arrays of ``rest`` are (1, ...).
    """
    nodes = Nodes()
    x = next(value for value in graph.inputs if value.name == "x")
    count = nodes.add("Shape", x, start=samples, end=samples + 1)
    for name, array in rest.items():
        state = next(value for value in graph.inputs if value.name == f"state.{name}")
        sizes = nodes.add("Concat", count, nodes.constant(np.array(array.shape[1:], np.int64)), axis=0)
        begin = nodes.add("Expand", nodes.constant(array), sizes)
        begin.type = state.type
        ir.convenience.replace_all_uses_with(state, begin)
        graph.inputs.remove(state)
    for value in [*graph.outputs]:
        if str(value.name).startswith("next."):
            graph.outputs.remove(value)
    graph.insert_before(next(iter(graph)), nodes)
