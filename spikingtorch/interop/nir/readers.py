"""Models of how the libraries run a NIR file, for certificates without these libraries."""

from collections.abc import Callable
from typing import Any

import nir
import numpy as np
import torch
import torch.nn.functional as nnf
from torch import Tensor

from spikingtorch.interop.nir import reader_neurons
from spikingtorch.interop.nir.errors import NIRError
from spikingtorch.interop.nir.plan import NEURONS, Plan, plan_of
from spikingtorch.interop.nir.reference_types import Array, Cell, Given, Grid, Shape
from spikingtorch.interop.nir.targets import Target


def build(target: Target, node: Any, shape: Shape, grid: Grid) -> Cell:
    """Return the function of a node in the reader of a library, as ``reference_nodes.build`` does.

    Raise ValueError if the library fails on the node, leaves it out, or has no model here.
    """
    neuron = reader_neurons.NEURONS[target.name].get(type(node))
    try:
        if neuron is not None:
            return neuron(node, shape, grid.dt)
        if not isinstance(node, nir.Input | nir.Output) and type(node).__name__ not in target.maps:
            raise ValueError("it leaves such a node out, or fails on it")
        return map_of(node, target.flattens_batch)
    except ValueError as error:
        raise ValueError(f"not computed by the reader of {target.title}: {error}") from error


def check(target: Target, graph: nir.NIRGraph) -> None:
    """Raise NIRError unless a library runs the nodes in an order that agrees with NIR."""
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
    """Raise unless the feedback goes through weights without a bias, only from a neuron to itself."""
    alone = [edge.source for edge in plan.incoming[back]] == [neuron] and plan.outgoing(back) == [neuron]
    node = plan.nodes[back]
    bias = getattr(node, "bias", None)
    if not alone or not isinstance(plan.nodes[neuron], NEURONS) or (bias is not None and bias.any()):
        raise NIRError(
            f"{back!r} leads back to {neuron!r}; {reader} does as NIR says where weights without a bias lead from one "
            "layer to itself"
        )


def _check_order(graph: nir.NIRGraph, plan: Plan, reader: str) -> None:
    """Raise if a depth-first search reaches a node before one that it needs, or does not reach Output last."""
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
                    f"{reader} runs {target!r} {'after' if edge.delayed else 'before'} {edge.source!r}: it "
                    "follows the edges, and cannot wait for the second of two branches. It reads a skip "
                    "connection as in NIR only if no node is on it"
                )
    last = max(place, key=lambda name: place[name])
    if last not in plan.outputs:
        raise NIRError(f"{reader} returns {last!r} and not {plan.outputs[0]!r}, which it reaches earlier")


def map_of(node: Any, flattens_batch: bool) -> Cell:
    """Return the function of a node without a state, (N, ...) to (N, ...).

    With ``flattens_batch``, the reader passes the axes of Flatten on unchanged, so that they count the batch. Raise
    ValueError if readers compute something else than the node.
    """
    if isinstance(node, nir.Flatten):
        return _of(_flatten(node, flattens_batch))
    return _of(_MAPS[type(node)](node))


def _of(function: Callable[[Tensor], Tensor]) -> Cell:
    def cell(arriving: Array) -> Given:
        found: Any = function(torch.from_numpy(np.ascontiguousarray(arriving)).float())
        return Given(found.numpy())

    return cell


def _tensor(array: Any) -> Tensor:
    return torch.from_numpy(np.array(array)).float()


def _passed(_node: Any) -> Callable[[Tensor], Tensor]:
    return lambda x: x


def _linear(node: Any) -> Callable[[Tensor], Tensor]:
    weight, bias = _tensor(node.weight), _tensor(node.bias) if isinstance(node, nir.Affine) else None
    return lambda x: nnf.linear(x, weight, bias)


def _convolution(node: Any) -> Callable[[Tensor], Tensor]:
    if int(node.groups) != 1:
        raise ValueError("a convolution in groups, with which most readers fail")
    axes = np.ndim(node.weight) - 2
    weight, bias = _tensor(node.weight), _tensor(node.bias)
    stride, dilation = (_sizes(each, axes) for each in (node.stride, node.dilation))
    padding: Any = node.padding if isinstance(node.padding, str) else _sizes(node.padding, axes)
    convolve: Any = nnf.conv1d if axes == 1 else nnf.conv2d
    return lambda x: convolve(x, weight, bias, stride, padding, dilation)


def _average(node: Any) -> Callable[[Tensor], Tensor]:
    sizes = [_sizes(each, 2) for each in (node.kernel_size, node.stride, node.padding)]
    return lambda x: nnf.avg_pool2d(x, *sizes)


def _sum(node: Any) -> Callable[[Tensor], Tensor]:
    if np.any(node.padding):
        raise ValueError("SumPool2d with padding, which readers leave out")
    kernel, stride = (_sizes(each, 2) for each in (node.kernel_size, node.stride))
    return lambda x: nnf.avg_pool2d(x, kernel, stride) * float(kernel[0] * kernel[1])


def _flatten(node: Any, flattens_batch: bool) -> Callable[[Tensor], Tensor]:
    start, end = int(node.start_dim), int(node.end_dim)
    if flattens_batch and (start >= 0 or end >= 0):
        raise ValueError(
            f"Flatten from axis {start} to {end}, which the reader counts with the batch before them; it needs "
            "negative numbers"
        )
    start, end = (each + 1 if each >= 0 else each for each in (start, end))
    return lambda x: x.flatten(start, end)


def _sizes(value: Any, axes: int) -> Any:
    return tuple(int(each) for each in np.broadcast_to(np.asarray(value), (axes,)))


_MAPS: dict[type, Callable[[Any], Callable[[Tensor], Tensor]]] = {
    **dict.fromkeys((nir.Input, nir.Output), _passed),
    **dict.fromkeys((nir.Affine, nir.Linear), _linear),
    **dict.fromkeys((nir.Conv1d, nir.Conv2d), _convolution),
    nir.AvgPool2d: _average,
    nir.SumPool2d: _sum,
}
