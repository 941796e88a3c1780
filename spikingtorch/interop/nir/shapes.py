"""Find the shapes of nodes' outputs by one step on zeros, and the feedback before the first step."""

import math
from functools import reduce
from graphlib import TopologicalSorter
from operator import add
from typing import Any

import nir
import numpy as np
import torch
from torch import Tensor, nn

from spikingtorch.interop.nir.errors import NIRError
from spikingtorch.interop.nir.modules import Feedback, Node
from spikingtorch.interop.nir.plan import NEURONS, Plan
from spikingtorch.layers.base import StatefulLayer

# the largest size of one sample's input
_LARGEST = 10**8


def shapes_of(
    nodes: list[Node], modules: dict[str, nn.Module], plan: Plan, dtype: torch.dtype
) -> dict[str, tuple[int, ...]]:
    """Return the shapes of nodes' outputs for a sample, by a step on zeros; raise NIRError if they do not fit."""
    start = plan.nodes[plan.input].input_type
    size = None if start is None else start.get("input")
    if size is None:
        raise NIRError(f"the Input {plan.input!r} has no shape; give it one: nir.Input(input_type={{'input': shape}})")
    sizes = [int(each) for each in np.atleast_1d(size)]
    if min(sizes, default=1) < 1 or math.prod(sizes) > _LARGEST:
        raise NIRError(
            f"the Input {plan.input!r} has shape {tuple(sizes)}, expected sizes above zero, of {_LARGEST:,} at most"
        )
    values: dict[str, Tensor] = {plan.input: torch.zeros(1, *sizes, dtype=dtype)}
    for node in nodes[1:]:
        given = [values[name] for name in node.now]
        shapes = {tuple(each.shape[1:]) for each in given}
        if len(shapes) > 1:
            raise NIRError(
                f"the inputs of node {node.name!r} differ in shape: "
                + ", ".join(f"{name} gives {tuple(values[name].shape[1:])}" for name in node.now)
            )
        values[node.name] = _run(node, modules, given)
        _check_shape(plan.nodes[node.name], node.name, tuple(values[node.name].shape[1:]))
    return {name: tuple(value.shape[1:]) for name, value in values.items()}


def _run(node: Node, modules: dict[str, nn.Module], given: list[Tensor]) -> Tensor:
    """Return the output of a node for the sum of its inputs."""
    module: Any = modules.get(node.module)
    x: Tensor = reduce(add, given)
    if module is None:
        return x
    try:
        with torch.no_grad():
            stateful = isinstance(module, StatefulLayer)
            out: Tensor = module(x, True) if stateful else module(x)
            if stateful:
                module.reset()
            return out
    except (ValueError, RuntimeError, IndexError, TypeError) as error:
        raise NIRError(
            f"node {node.name!r} gets values of shape {tuple(x.shape[1:])}, and fails on them: {error}"
        ) from error


def _check_shape(node: Any, name: str, shape: tuple[int, ...]) -> None:
    # other nodes store no shape, and the shapes that nir 1.0.8 derives for convolutions are not always right
    if not isinstance(node, (*NEURONS, nir.Delay, nir.Scale)):
        return
    wanted = tuple(int(each) for each in node.output_type["output"])
    if wanted not in (shape, ()):  # numbers without an axis hold for every neuron
        raise NIRError(f"node {name!r} ({type(node).__name__}) is of shape {wanted}, and gets or makes {shape}")


def with_feedback(
    nodes: list[Node],
    modules: dict[str, nn.Module],
    names: dict[str, str],
    shapes: dict[str, tuple[int, ...]],
    dtype: torch.dtype,
) -> list[Node]:
    """Return the nodes with a ``Feedback`` module for each value that is needed a step later."""
    later = {source for node in nodes for source in node.before}
    keeps: dict[str, str] = {}
    rest = _at_rest(nodes, later, modules, shapes, dtype)
    for source in sorted(later):
        name = f"{names[source]}_before"
        while name in modules or name in names.values():
            name += "_"
        keeps[source] = name
        modules[name] = Feedback(rest[source][0])
    return [
        node._replace(before=tuple(keeps[source] for source in node.before), after=keeps.get(node.name, ""))
        for node in nodes
    ]


def _at_rest(
    nodes: list[Node],
    later: set[str],
    modules: dict[str, nn.Module],
    shapes: dict[str, tuple[int, ...]],
    dtype: torch.dtype,
) -> dict[str, Tensor]:
    """Return the feedback before the first step: zeros of layers and inputs, and the values of maps at zero."""
    by_name = {node.name: node for node in nodes}
    waiting, needs = set(later), dict[str, list[str]]()
    while waiting:
        node = by_name[waiting.pop()]
        silent = isinstance(modules.get(node.module), StatefulLayer)
        needs[node.name] = [] if silent else [*node.now, *node.before]
        waiting |= set(needs[node.name]) - needs.keys()
    rest: dict[str, Tensor] = {}
    for name in TopologicalSorter(needs).static_order():
        given = [rest[source] for source in needs[name]]
        zeros = torch.zeros(1, *shapes[name], dtype=dtype)
        rest[name] = _run(by_name[name], modules, given) if given else zeros
    return rest
