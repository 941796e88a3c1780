"""The graph of one step of a network as the body of a Scan over time."""

from typing import Any

import numpy as np
import onnx_ir as ir

from spikingtorch.interop.onnx.rules import Nodes, Value


def in_one_scan(step: ir.Graph, outs: int, steps: int, streams: int = 1) -> ir.Graph:
    """Return a graph that runs a step over time.

    Args:
        step: from the states and x of a step to ``outs`` outputs and the next states.
        outs: the number of outputs.
        steps: axis of time of the inputs and of the outputs, 0 or 1.
        streams: the number of inputs beside the states; they come last.
    """
    count = len(step.inputs) - streams
    states, xs = step.inputs[:count], step.inputs[count:]
    outer = Nodes()
    given = [_named_like(state, state.shape) for state in states]
    over_time = [_named_like(x, _with_time(x.shape, steps)) for x in xs]
    listed = _made_inside(step, [*step.outputs[outs:], *step.outputs[:outs]])
    shapes: list[Any] = [(each.name, each.shape) for each in (*step.outputs[outs:], *step.outputs[:outs])]
    weights = {**step.initializers}
    body_nodes = [*step]
    step.outputs.clear()
    step.inputs.clear()
    step.initializers.clear()
    step.remove(body_nodes)
    for place, value in enumerate((*states, *xs, *listed)):
        value.name, value.shape = f"step.{place}", None
    body = ir.Graph([*states, *xs], listed, nodes=body_nodes, name="step")
    sources = [_turned(outer, x, len(x.shape or ()), steps) for x in over_time]
    attributes: Any = {"body": body, "num_scan_inputs": streams}
    node = ir.node("Scan", [*given, *sources], attributes=attributes, num_outputs=len(listed))
    outer.append(node)
    found: list[Value] = []
    for place, (output, inner, (name, shape)) in enumerate(zip(node.outputs, listed, shapes, strict=True)):
        output.type = inner.type
        result = output if place < len(states) else _turned(outer, output, len(shape) + 1, steps)
        result.name, result.type = name, inner.type
        result.shape = shape if place < len(states) else _with_time(shape, steps)
        found.append(result)
    ordered = [*found[len(states) :], *found[: len(states)]]
    return ir.Graph(
        [*given, *over_time],
        ordered,
        nodes=outer,
        initializers=[*weights.values()],
        opset_imports=step.opset_imports,
        name="network",
    )


def _named_like(value: Value, shape: Any) -> Value:
    return ir.Value(name=value.name, type=value.type, shape=shape)


def _with_time(shape: Any, steps: int) -> ir.Shape:
    sizes = [*shape]
    return ir.Shape([*sizes[:steps], "T", *sizes[steps:]])


def _turned(nodes: Nodes, value: Value, rank: int, steps: int) -> Value:
    """Exchange the first two axes, if time is the second one outside."""
    return nodes.add("Transpose", value, perm=[1, 0, *range(2, rank)]) if steps else value


def _made_inside(step: ir.Graph, outputs: list[Value]) -> list[Value]:
    """Return the outputs of a body, each a value of its own that a node of the body makes."""
    listed: list[Value] = []
    for value in outputs:
        fresh = value.producer() is not None and not any(value is other for other in listed)
        if not fresh:
            node = ir.node("Identity", [value])
            node.outputs[0].type, node.outputs[0].shape = value.type, value.shape
            step.append(node)
            value = node.outputs[0]
        listed.append(value)
    return listed


def start_at_rest(graph: ir.Graph, rest: dict[str, Any], samples: int) -> None:
    """Replace the states among the inputs of a graph by the state at rest of one sample, and leave out the next ones.

    Args:
        graph: with inputs ``state.<name>`` and x.
        rest: arrays (1, ...) by name.
        samples: axis of samples of x.
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
    first = next(iter(graph))
    graph.insert_before(first, nodes)
