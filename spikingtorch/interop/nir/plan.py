"""Plan the order of a graph's nodes, and the edges that carry the value of the step before."""

from collections import deque
from graphlib import CycleError, TopologicalSorter
from typing import Any, NamedTuple

import nir

from spikingtorch.interop.nir.errors import NIRError

# nodes with a state, and Threshold: a cycle needs at least one of them
NEURONS = (nir.I, nir.LI, nir.IF, nir.LIF, nir.CubaLI, nir.CubaLIF, nir.Threshold)
# the largest depth of nested graphs, and the largest number of nodes
_DEEPEST, _MOST = 32, 100_000


class Edge(NamedTuple):
    """An edge from a source node; if it is delayed, it has the value of the step before, zero at first."""

    source: str
    delayed: bool


class Plan(NamedTuple):
    """A flat graph, ready to be computed: one Input, the Outputs, and the edges into each node.

    The nodes have the order in which a step computes them.
    """

    nodes: dict[str, Any]
    incoming: dict[str, tuple[Edge, ...]]
    input: str
    outputs: tuple[str, ...]

    def outgoing(self, name: str) -> list[str]:
        """Return the nodes that a node leads to."""
        return [target for target, edges in self.incoming.items() if any(edge.source == name for edge in edges)]


def plan_of(graph: Any) -> Plan:
    """Return the order of a graph's nodes.

    Let d(node) be the smallest number of neurons on a path from the Input to the node, including the node. An edge u ->
    v inside a cycle is delayed by a step if d(v) < d(u), or if v is a neuron and d(v) = d(u). Such an edge leads no
    further away from the input. So a neuron that is connected to itself gets its spikes a step later. In a cycle of two
    layers, the edge back is delayed and the edge forward is not.

    Raises:
        NIRError: graph is not a graph, or does not have exactly one Input and at least one Output. An edge has a
            missing end, appears twice, leads into an Input or leads out of an Output. No path leads from the Input to a
            node. A cycle has no neuron. An inner graph has several Inputs or Outputs.
    """
    if not isinstance(graph, nir.NIRGraph):
        raise NIRError(f"a {type(graph).__name__} is no graph; expected a nir.NIRGraph, as nir.read(path) returns it")
    nodes: dict[str, Any] = {}
    edges: list[tuple[str, str]] = []
    _flatten(graph, "", nodes, edges, 0)
    inputs = [name for name, node in nodes.items() if isinstance(node, nir.Input)]
    outputs = tuple(name for name, node in nodes.items() if isinstance(node, nir.Output))
    if len(inputs) != 1 or not outputs:
        raise NIRError(
            f"the graph has {len(inputs)} Input nodes ({_listed(inputs)}) and {len(outputs)} Output nodes, expected "
            "one Input and at least one Output"
        )
    after: dict[str, list[str]] = {name: [] for name in nodes}
    for source, target in edges:
        after[source].append(target)
    distance = _distances(inputs[0], nodes, after)
    incoming: dict[str, list[Edge]] = {name: [] for name in nodes}
    for source, target in edges:
        away = distance[target] - distance[source]
        back = away < 0 or (away == 0 and isinstance(nodes[target], NEURONS))
        incoming[target].append(Edge(source, back and _leads_to(target, source, after)))
    order = _order(incoming)
    return Plan({name: nodes[name] for name in order}, {k: tuple(v) for k, v in incoming.items()}, inputs[0], outputs)


def _flatten(graph: Any, prefix: str, nodes: dict[str, Any], edges: list[tuple[str, str]], depth: int) -> None:
    """Add nodes and edges of a graph; nodes of inner graphs get names like "outer.inner", without inner ends."""
    if depth > _DEEPEST or len(nodes) > _MOST:
        raise NIRError(f"graphs lie more than {_DEEPEST} deep in each other, or have more than {_MOST:,} nodes")
    # the real end of an edge to or from a node of this graph
    into, out_of = dict[str, str](), dict[str, str]()
    for key, node in graph.nodes.items():
        name = prefix + str(key)
        if isinstance(node, nir.NIRGraph):
            _flatten(node, f"{name}.", nodes, edges, depth + 1)
            into[key], out_of[key] = _end(name, node, nir.Input), _end(name, node, nir.Output)
        elif name in nodes:
            raise NIRError(f"two nodes are called {name!r}")
        else:
            into[key] = out_of[key] = name
            # the ends of an inner graph pass their input on
            nodes[name] = _PASS if depth and isinstance(node, nir.Input | nir.Output) else node
    seen = set()
    for edge in graph.edges:
        source, target = _endpoints(edge, graph, prefix)
        if edge in seen:
            raise NIRError(
                f"the edge {prefix}{source} -> {prefix}{target} is there twice; NIR does not say what it does"
            )
        seen.add(edge)
        edges.append((out_of[source], into[target]))


class Pass:
    """A node that passes its input on."""


_PASS = Pass()


def _endpoints(edge: Any, graph: Any, prefix: str) -> tuple[str, str]:
    if not (isinstance(edge, tuple | list) and len(edge) == 2):
        raise NIRError(f"{edge!r} is no edge; expected a pair of names, ('input', 'lif') for instance")
    source, target = edge
    for end in edge:
        if end not in graph.nodes:
            raise NIRError(
                f"an edge {prefix}{source} -> {prefix}{target} names {end!r}, which is not a node; there are "
                f"{_listed(list(graph.nodes))}"
            )
    if isinstance(graph.nodes[target], nir.Input) or isinstance(graph.nodes[source], nir.Output):
        raise NIRError(f"an edge {prefix}{source} -> {prefix}{target} leads into an Input or out of an Output")
    return source, target


def _end(name: str, graph: Any, kind: type) -> str:
    found = [key for key, node in graph.nodes.items() if isinstance(node, kind)]
    if len(found) != 1:
        raise NIRError(f"graph {name!r} inside the graph has {len(found)} {kind.__name__} nodes, expected one")
    return f"{name}.{found[0]}"


def _distances(start: str, nodes: dict[str, Any], after: dict[str, list[str]]) -> dict[str, int]:
    """Return for each node the smallest number of neurons on a path to it, including the node."""
    distance = {start: 0}
    waiting = deque(distance)  # the nearest first: a neuron adds one to the distance, and waits behind all others
    while waiting:
        name = waiting.popleft()
        for target in after[name]:
            neuron = isinstance(nodes[target], NEURONS)
            if distance[name] + neuron < distance.get(target, len(nodes)):
                distance[target] = distance[name] + neuron
                (waiting.append if neuron else waiting.appendleft)(target)
    if lost := [name for name in nodes if name not in distance]:
        raise NIRError(f"no way of edges leads from the Input to {_listed(lost)}; connect it, or take it out")
    return distance


def _leads_to(start: str, end: str, after: dict[str, list[str]]) -> bool:
    """Return True if a path of edges leads from one node to another, or from a node to itself."""
    seen, front = {start}, [start]
    while front:
        name = front.pop()
        if name == end:
            return True
        found = [target for target in after[name] if target not in seen]
        seen.update(found)
        front += found
    return False


def _order(incoming: dict[str, list[Edge]]) -> list[str]:
    """Return the nodes, each after the nodes that it needs within the step."""
    needs = {name: [edge.source for edge in edges if not edge.delayed] for name, edges in incoming.items()}
    try:
        return list(TopologicalSorter(needs).static_order())
    except CycleError as error:
        raise NIRError(
            f"a cycle without a neuron goes through {_listed(error.args[1][1:])}: within a step, each would wait for "
            "the others"
        ) from None


def _listed(names: list[str]) -> str:
    shown = ", ".join(map(repr, names[:8]))
    return shown + (f" and {len(names) - 8} more" if len(names) > 8 else "") if names else "none"
