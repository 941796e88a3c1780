"""Models of how the libraries run a file of NIR, by which certificates are made without these libraries."""

from typing import Any

import nir

from spikingtorch.interop.nir import reader_maps, reader_neurons
from spikingtorch.interop.nir.errors import NIRError
from spikingtorch.interop.nir.plan import NEURONS, Plan, plan_of
from spikingtorch.interop.nir.reference_types import Cell, Grid, Shape
from spikingtorch.interop.nir.targets import Target


def build(target: Target, node: Any, shape: Shape, grid: Grid) -> Cell:
    """Return the function of a node in the reader of a library, as ``reference_nodes.build`` does.

    Raises:
        ValueError: the library fails on it, leaves it out, or computes something that is not modelled.
    """
    neuron = reader_neurons.NEURONS[target.name].get(type(node))
    try:
        if neuron is not None:
            return neuron(node, shape, grid.dt)
        if not isinstance(node, nir.Input | nir.Output) and type(node).__name__ not in target.maps:
            raise ValueError("it leaves such a node out, or fails on it")
        return reader_maps.map_of(node, target.flattens_batch)
    except ValueError as error:
        raise ValueError(f"not computed by the reader of {target.title}: {error}") from error


def check(target: Target, graph: nir.NIRGraph) -> None:
    """Raise NIRError unless a library runs the nodes in an order in which they mean what NIR says."""
    plan, name = plan_of(graph), target.reader
    if any(isinstance(node, nir.NIRGraph) for node in graph.nodes.values()):
        raise NIRError(f"there are graphs inside the graph, which are not modelled for {name}; put their nodes into it")
    for neuron, edges in plan.incoming.items():
        for edge in edges:
            if not edge.delayed:
                continue
            if not target.cycles:
                raise NIRError(
                    f"{neuron!r} is recurrent, and {name} fails on cycles; leave recurrent= out, or choose another "
                    "target"
                )
            _check_own_weights(plan, edge.source, neuron, name)
    if target.depth_first:
        _check_order(graph, plan, name)


def _check_own_weights(plan: Plan, back: str, neuron: str, reader: str) -> None:
    """Raise unless the way back leads through weights without a bias from a neuron to itself alone."""
    alone = [edge.source for edge in plan.incoming[back]] == [neuron] and plan.outgoing(back) == [neuron]
    node = plan.nodes[back]
    bias = getattr(node, "bias", None)
    if not alone or not isinstance(plan.nodes[neuron], NEURONS) or (bias is not None and bias.any()):
        raise NIRError(
            f"{back!r} leads back to {neuron!r}; {reader} does as NIR says where weights without a bias lead from one "
            "layer to itself"
        )


def _check_order(graph: nir.NIRGraph, plan: Plan, reader: str) -> None:
    """Raise where a depth-first search comes to a node before one that it needs, or to another one than Output last."""
    after: dict[str, list[str]] = {}
    for source, target in graph.edges:
        after.setdefault(source, []).append(target)
    place: dict[str, int] = {}
    waiting = [plan.input]
    while waiting:
        name = waiting.pop()
        if name not in place:
            place[name] = len(place)
            waiting += reversed(after.get(name, []))
    for target, edges in plan.incoming.items():
        for edge in edges:
            if (place[edge.source] > place[target]) != edge.delayed:
                raise NIRError(
                    f"{reader} runs {target!r} {'after' if edge.delayed else 'before'} {edge.source!r}: it goes along "
                    "the edges, and cannot wait for the second of two branches; a connection that skips layers is read "
                    "as NIR says where nothing stands on it"
                )
    last = max(place, key=lambda name: place[name])
    if last not in plan.outputs:
        raise NIRError(f"{reader} gives out {last!r} and not {plan.outputs[0]!r}, which it comes to before it")
