"""The reference: a simulator of NIR graphs in numpy and float64, written from NIR's own definitions.

It computes an exported graph step by step. It shares no code with the models that it certifies: neither torch nor a
neuron of this library. It is made to be read and trusted, and is slow.

This file handles the graph: the flow of values and their steps. The computation of a node is in
:mod:`spikingtorch.interop.nir.reference_nodes`. Source: https://neuroir.org and the docstrings of the package ``nir``.
"""

from collections.abc import Iterable, Mapping
from graphlib import CycleError, TopologicalSorter
from typing import Any, NamedTuple

import nir
import numpy as np

from spikingtorch.interop.nir.reference_nodes import Array, Cell, Given, Grid, build, is_known, is_neuron
from spikingtorch.interop.nir.reference_types import Build

__all__ = ["Array", "Trace", "simulate"]

Edge = tuple[str, str]


class Trace(NamedTuple):
    """The records of a simulation, by the full names of the nodes; each array is (T, N, *shape of the node).

    Attributes:
        out: values of each Output of the graph.
        values: output of each node: the spikes of the step for a spiking neuron, v after the step for another neuron.
        membranes: for LIF, IF and CubaLIF the membrane before the reset, with ``refine`` in the last part of the step.
            For Threshold, its input.
        inputs: input of each node except the Inputs, in the form of ``feed``.
    """

    out: dict[str, Array]
    values: dict[str, Array]
    membranes: dict[str, Array]
    inputs: dict[str, Array]


def simulate(
    graph: nir.NIRGraph,
    x: Array | Mapping[str, Array],
    *,
    dt: float,
    discretisation: str = "exact",
    refine: int = 1,
    feed: Mapping[str, Array] | None = None,
    hands_on: Mapping[str, Array] | None = None,
    build: Build = build,
) -> Trace:
    """Run a NIR graph over T steps of ``dt``, from a state of zero.

    A value holds during its step; a spike is the value 1 for one step. A neuron's equations are solved over the step,
    then z = 1 where v > v_threshold, strictly, and there v := v_reset.

    Edges into one node are summed. Let d(node) be the smallest number of neurons (nodes with a membrane, and Threshold)
    on a path from an Input, including the node. An edge u -> v on a cycle carries the value of the step before in two
    cases: if d(v) < d(u), and if d(v) = d(u) and v is a neuron. Every other edge carries the value of the same step.
    Before the first step everything is at rest: Inputs, neurons and Delays give zero, and a map gives its value at
    zero. A Delay is not a neuron, and adds its time to these delays.

    A graph inside the graph is flattened: its node "inner" becomes "outer.inner".

    Args:
        graph: of the nodes that ``nir`` 1.0.8 defines.
        x: (T, N, *shape of the Input), where N is the batch; for several Inputs a dict of arrays, by name.
        dt: length of a step, in the unit of the graph's time constants and delays.
        discretisation: method that solves the linear equations over a step. "exact": exactly, with the input held.
            "exponential": each equation exactly, one after the other, the current I first and then v with the new I
            held. "euler": x := x + dt x', semi-implicit as simulators do: I first and then v with the new I.
        refine: number of equal parts of each step; the input is constant over all of them. A spike resets v in its
            part, and the value of the step is the number of its spikes.
        feed: inputs of these nodes in place of the values of their edges, (T, N, *shape).
        hands_on: values that these nodes pass on in place of their outputs, (T, N, *shape). So each neuron is judged
            alone, driven by the recorded values of the others. ``values`` holds the outputs.
        build: returns the function of a node, by default by NIR's equations. Another builder, for a reader that
            computes something else, uses only dt.

    Raises:
        ValueError: the graph cannot be run, or an array or option does not fit it.
    """
    grid = _grid(dt, discretisation, refine)._replace(build=build)
    inputs = _inputs(graph, x)
    wiring = _wired(graph)
    given = inputs | _fed(feed or {}, wiring, inputs)
    seen = _fed(hands_on or {}, wiring, inputs)
    cells: dict[str, Cell] = {}
    before = _at_rest(wiring, inputs, grid)
    steps: list[dict[str, Given]] = []
    arrived: dict[str, list[Array]] = {name: [] for name in wiring.order}
    for t in range(len(next(iter(given.values())))):
        step: dict[str, Given] = {}
        found: dict[str, Given] = {}
        for name in wiring.order:
            arriving = given[name][t] if name in given else _sum(name, wiring, step, before)
            arrived[name].append(arriving)
            found[name] = _advance(name, wiring.nodes[name], arriving, cells, grid)
            step[name] = found[name] if name not in seen else found[name]._replace(value=seen[name][t])
        before = {name: each.value for name, each in step.items()}
        steps.append(found)
    fed = {name: np.stack(each) for name, each in arrived.items() if name not in inputs}
    return _trace(graph, wiring, steps, fed)


def _grid(dt: float, discretisation: str, refine: int) -> Grid:
    """Check the options of time."""
    if not (np.isfinite(dt) and dt > 0):
        raise ValueError(f"dt must be positive and finite, got {dt}")
    if discretisation not in ("exact", "exponential", "euler"):
        raise ValueError(f"discretisation must be 'exact', 'exponential' or 'euler', got {discretisation!r}")
    if refine < 1 or refine != int(refine):
        raise ValueError(f"refine must be a whole number of parts, at least 1, got {refine}")
    return Grid(float(dt), discretisation, int(refine), build)


def _inputs(graph: nir.NIRGraph, x: Array | Mapping[str, Array]) -> dict[str, Array]:
    """Return the values of each Input, in float64."""
    ports = {name: node for name, node in graph.nodes.items() if isinstance(node, nir.Input)}
    given = dict(x) if isinstance(x, Mapping) else dict.fromkeys(ports, x)
    if not ports or set(given) != set(ports) or (len(ports) > 1 and not isinstance(x, Mapping)):
        raise ValueError(f"x must be an array for one Input, else a dict by name; the graph has {list(ports)}")
    arrays = {name: np.asarray(each, dtype=np.float64) for name, each in given.items()}
    for name, node in ports.items():
        shape, declared = arrays[name].shape, node.input_type["input"]
        if len(shape) < 2 or shape[0] == 0 or (declared is not None and shape[2:] != tuple(declared)):
            raise ValueError(f"Input {name!r} takes (T, N, *{declared}) with T > 0, got {shape}")
    if len({each.shape[:2] for each in arrays.values()}) > 1:
        raise ValueError(f"all Inputs need the same T and N, got {[each.shape[:2] for each in arrays.values()]}")
    return arrays


class _Wiring(NamedTuple):
    """A flat graph: its nodes, their order, and for each node its sources, with a flag for the step before."""

    nodes: dict[str, Any]
    order: list[str]
    sources: dict[str, list[tuple[str, bool]]]


def _fed(feed: Mapping[str, Array], wiring: _Wiring, inputs: dict[str, Array]) -> dict[str, Array]:
    """Return ``feed`` in float64; check that each entry names a node and has the T and N of the Inputs."""
    span = next(iter(inputs.values())).shape[:2]
    for name, each in feed.items():
        if name not in wiring.nodes or name in inputs:
            raise ValueError(
                f"feed names {name!r}, which is not a node with edges into it; nodes: {list(wiring.nodes)}"
            )
        if np.shape(each)[:2] != span:
            raise ValueError(f"feed of {name!r} must be (T, N, *shape) with (T, N) = {span}, got {np.shape(each)}")
    return {name: np.asarray(each, dtype=np.float64) for name, each in feed.items()}


def _wired(graph: nir.NIRGraph) -> _Wiring:
    """Flatten the graph, and return the order and the inputs of its nodes."""
    nodes, edges = _flattened(graph)
    for name, node in nodes.items():
        if not is_known(node):
            raise ValueError(f"node {name!r} is a {type(node).__name__}, which the reference does not know")
    fewest = _fewest_neurons(nodes, edges, [name for name in graph.nodes if isinstance(nodes.get(name), nir.Input)])
    after: dict[str, list[str]] = {name: [] for name in nodes}
    for source, target in edges:
        after[source].append(target)
    sources: dict[str, list[tuple[str, bool]]] = {name: [] for name in nodes}
    for source, target in edges:
        back = fewest[target] < fewest[source] or (fewest[target] == fewest[source] and is_neuron(nodes[target]))
        sources[target].append((source, back and source in _reached(target, after)))
    return _Wiring(nodes, _order(sources), sources)


def _flattened(graph: nir.NIRGraph, prefix: str = "") -> tuple[dict[str, Any], list[Edge]]:
    """Return all nodes by their full names, and the edges between them."""
    nodes: dict[str, Any] = {}
    edges: list[Edge] = []
    entrance: dict[str, str] = {}
    exit_: dict[str, str] = {}
    for name, node in graph.nodes.items():
        full = entrance[name] = exit_[name] = prefix + name
        inside = {full: node}
        if isinstance(node, nir.NIRGraph):
            inside, between = _flattened(node, f"{full}.")
            edges += between
            entrance[name], exit_[name] = _port(full, node, nir.Input), _port(full, node, nir.Output)
        if nodes.keys() & inside.keys():
            raise ValueError(f"two nodes have the full name {sorted(nodes.keys() & inside.keys())[0]!r}")
        nodes |= inside
    return nodes, edges + [(exit_[source], entrance[target]) for source, target in _checked(graph)]


def _checked(graph: nir.NIRGraph) -> list[Edge]:
    """Return the edges of a graph, which may be unchecked; the errors are those of ``nir.NIRGraph``."""
    edges = [(source, target) for source, target in graph.edges]
    for edge in edges:
        if not graph.nodes.keys() >= set(edge):
            raise ValueError(f"the edge {edge} names no node; nodes: {list(graph.nodes)}")
        if edges.count(edge) > 1:
            raise ValueError(f"the edge {edge} is there twice")
    return edges


def _port(full: str, graph: nir.NIRGraph, kind: type) -> str:
    """Return the full name of the single Input or Output of an inner graph."""
    ports = [name for name, node in graph.nodes.items() if isinstance(node, kind)]
    if len(ports) != 1:
        raise ValueError(f"the inner graph {full!r} must have one {kind.__name__}, it has {ports}")
    return f"{full}.{ports[0]}"


def _fewest_neurons(nodes: dict[str, Any], edges: list[Edge], inputs: Iterable[str]) -> dict[str, int]:
    """Return d(node) of each node: the fewest neurons on a path from an Input, including itself (Bellman-Ford)."""
    fewest = dict.fromkeys(inputs, 0)
    for _, target in edges:
        if target in fewest:
            raise ValueError(f"an edge leads into the Input {target!r}")
    changed = True
    while changed:
        changed = False
        for source, target in edges:
            through = fewest.get(source, len(nodes)) + is_neuron(nodes[target])
            if source in fewest and through < fewest.get(target, len(nodes) + 1):
                fewest[target], changed = through, True
    targets = {target for _, target in edges}
    for name in nodes.keys() - fewest.keys():
        raise ValueError(f"no Input reaches node {name!r}" if name in targets else f"missing edge: none into {name!r}")
    return fewest


def _reached(start: str, after: dict[str, list[str]]) -> set[str]:
    """Return the nodes to which a path of one edge or more leads."""
    reached: set[str] = set()
    waiting = [start]
    while waiting:
        new = set(after[waiting.pop()]) - reached
        reached |= new
        waiting += new
    return reached


def _order(sources: dict[str, list[tuple[str, bool]]]) -> list[str]:
    """Return the nodes, each after the nodes whose value of the same step it needs.

    On a cycle without an edge of the step before, d is constant, so the cycle has no neuron: that is the error.
    """
    needs = {name: [source for source, back in each if not back] for name, each in sources.items()}
    try:
        return list(TopologicalSorter(needs).static_order())
    except CycleError as error:
        raise ValueError(f"a cycle without a neuron: {' <- '.join(error.args[1])}") from None


def _sum(name: str, wiring: _Wiring, step: dict[str, Given], before: dict[str, Array]) -> Array:
    """Return the sum of the values on the edges into a node in this step."""
    values = {source: before[source] if back else step[source].value for source, back in wiring.sources[name]}
    return _summed(name, values)


def _summed(name: str, values: dict[str, Array]) -> Array:
    """Return the sum of values by their source."""
    if len({value.shape for value in values.values()}) > 1:
        shapes = {source: value.shape[1:] for source, value in values.items()}
        raise ValueError(f"node {name!r} gets values of several shapes: {shapes}")
    first, *others = values.values()
    return sum(others, start=first)


def _at_rest(wiring: _Wiring, inputs: Mapping[str, Array], grid: Grid) -> dict[str, Array]:
    """Return the feedback before the first step; a cycle of maps passes a neuron, which is silent at that time."""
    silent = {name for name, node in wiring.nodes.items() if is_neuron(node) or isinstance(node, nir.Delay)}
    maps = {
        name: [source for source, _ in each]
        for name, each in wiring.sources.items()
        if name not in silent and name not in inputs
    }
    waiting = {source for each in wiring.sources.values() for source, back in each if back}
    needs: dict[str, list[str]] = {}
    while waiting:
        name = waiting.pop()
        needs[name] = maps.get(name, [])
        waiting |= set(needs[name]) - needs.keys()
    N, rest = next(iter(inputs.values())).shape[1], dict[str, Array]()
    for name in TopologicalSorter(needs).static_order():
        if name in inputs:
            rest[name] = np.zeros_like(inputs[name][0])
        elif name in silent:
            (shape,) = wiring.nodes[name].input_type.values()
            rest[name] = np.zeros((N, *(int(size) for size in np.atleast_1d(shape))))
        else:
            values = {source: rest[source] for source in needs[name]}
            rest[name] = _advance(name, wiring.nodes[name], _summed(name, values), {}, grid).value
    return rest


def _advance(name: str, node: Any, arriving: Array, cells: dict[str, Cell], grid: Grid) -> Given:
    """Run one node for one step, and name it in an error."""
    try:
        if name not in cells:
            cells[name] = grid.build(node, arriving.shape[1:], grid)
        return cells[name](arriving)
    except ValueError as error:
        raise ValueError(f"node {name!r} ({type(node).__name__}): {error}") from error


def _trace(graph: nir.NIRGraph, wiring: _Wiring, steps: list[dict[str, Given]], fed: dict[str, Array]) -> Trace:
    """Stack the steps of each node."""
    values = {name: np.stack([step[name].value for step in steps]) for name in wiring.nodes}
    outputs = [name for name, node in graph.nodes.items() if isinstance(node, nir.Output)]
    met = {name: [each for step in steps if (each := step[name].membrane) is not None] for name in wiring.nodes}
    membranes = {name: np.stack(each) for name, each in met.items() if each}
    return Trace({name: values[name] for name in outputs}, values, membranes, fed)
