"""load_nir_weights: load the weights of a graph into an existing network."""

from pathlib import Path
from typing import Any

import nir
import numpy as np
import torch
from torch import Tensor, nn

from spikingtorch.interop.nir.builder import plain_name
from spikingtorch.interop.nir.errors import NIRError
from spikingtorch.interop.nir.files import read
from spikingtorch.interop.nir.from_nodes import WEIGHTED, check_numbers, weights_of
from spikingtorch.interop.nir.modules import Scale
from spikingtorch.interop.nir.plan import plan_of
from spikingtorch.spikingnet import SpikingNet
from spikingtorch.watching.network import check_network

_WITH_WEIGHTS = (nn.Linear, nn.Conv1d, nn.Conv2d, Scale)


def load_nir_weights(model: SpikingNet, graph: nir.NIRGraph | str | Path) -> list[str]:
    """Copy the weights of a graph into an existing network: its Linear, Conv and Scale modules, not its neurons.

    Modules and nodes are matched by the names of ``to_nir``. If names differ, they are matched by order, if all shapes
    differ.

    Args:
        model: the network, whose weights are changed in place.
        graph: a graph from ``nir.read``, or the path of a file.

    Returns:
        The loaded weights, as "module <- node".

    Raises:
        NIRError: modules and nodes do not match.
    """
    check_network("load_nir_weights", model)
    graph = read(graph) if isinstance(graph, str | Path) else graph
    given = {name: node for name, node in plan_of(graph).nodes.items() if isinstance(node, WEIGHTED)}
    own = {path: each for path, each in model.net.named_modules() if isinstance(each, _WITH_WEIGHTS)}
    for path, module in model.net.named_modules():
        _check_loadable(path, module)
    matched = _matched(own, given)
    for path, name in matched.items():
        check_numbers(name, given[name])
        _check_bias(path, own[path], name, given[name])
    with torch.no_grad():
        for path, name in matched.items():
            _copy(own[path], given[name])
    return [f"{path} <- {name}" for path, name in matched.items()]


def _check_loadable(path: str, module: Any) -> None:
    """Raise if a module does not compute directly with its weights."""
    if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
        raise NIRError(
            f"load_nir_weights: {path!r} is a batch norm, which a graph merges into the weights before it; put an "
            "nn.Identity() in its place"
        )
    if isinstance(module, _WITH_WEIGHTS) and any(
        not isinstance(each, nn.Parameter | None) for each in _parameters(module)
    ):
        raise NIRError(
            f"load_nir_weights: the weight of {path!r} is computed and no parameter; make it plain first, with "
            "remove_parametrizations or prune.remove"
        )


def _matched(own: dict[str, Any], given: dict[str, Any]) -> dict[str, str]:
    """Return the node whose weights each module takes; raise NIRError unless there is exactly one for each."""
    by_name = {path: plain_name(path) for path in own}
    if set(by_name.values()) != set(given) or len(own) != len(given):
        by_name = dict(zip(own, given, strict=False))
        shapes = [np.shape(weights_of(node)) for node in given.values()]
        if len(own) == len(given) and len(set(shapes)) < len(shapes):
            by_name = {}  # by order, two nodes of one shape could be exchanged
    if (
        len(by_name) != len(own)
        or len(own) != len(given)
        or not all(_fits(own[a], given[b]) for a, b in by_name.items())
    ):
        there = ", ".join(f"{path} {tuple(_parameters(each)[0].shape)}" for path, each in own.items()) or "none"
        have = ", ".join(f"{name} {np.shape(weights_of(node))}" for name, node in given.items()) or "none"
        raise NIRError(
            f"load_nir_weights: the network has the weights {there}, and the graph {have}, which match neither by name "
            "nor, one of each shape, by order"
        )
    return by_name


def _parameters(module: Any) -> tuple[Tensor, Tensor | None]:
    return (module.scale, None) if isinstance(module, Scale) else (module.weight, module.bias)


def _fits(module: Any, node: Any) -> bool:
    return bool(tuple(_parameters(module)[0].shape) == np.shape(weights_of(node)))


def _check_bias(path: str, module: Any, name: str, node: Any) -> None:
    """Raise if a node has a bias, but its module has no bias of the same shape."""
    bias, given = _parameters(module)[1], getattr(node, "bias", None)
    # NIR's convolutions always have a bias, which is zero for convolutions without one
    if bias is None and given is not None and bool(np.any(given)):
        raise NIRError(
            f"load_nir_weights: node {name!r} has a bias, and {path!r} has none to take it; make it with bias=True"
        )
    if bias is not None and given is not None and np.shape(given) != tuple(bias.shape):
        raise NIRError(
            f"load_nir_weights: the bias of node {name!r} has shape {np.shape(given)}, expected that of {path!r}, "
            f"{tuple(bias.shape)}"
        )


def _copy(module: Any, node: Any) -> None:
    weight, bias = _parameters(module)
    weight.copy_(torch.from_numpy(np.array(weights_of(node))))
    if bias is not None:
        given = getattr(node, "bias", None)
        bias.copy_(torch.zeros_like(bias) if given is None else torch.from_numpy(np.array(given)))
