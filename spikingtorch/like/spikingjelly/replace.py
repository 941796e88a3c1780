"""Replace the nodes of a SpikingJelly network by nodes of this library."""

import inspect
from typing import Any

import torch
from torch import nn

from spikingtorch.foreign import LIBRARIES, kind_of_theirs, package_of, state_of_theirs
from spikingtorch.like.spikingjelly import nodes, nonlinear
from spikingtorch.like.spikingjelly.node import Firing, Node


def replace_nodes_(net: nn.Module) -> nn.Module:
    """Replace each node of SpikingJelly by a node of this library, with its options and its parameters.

    Each node keeps its threshold, reset, spike function, step mode, dtype and device. Other layers do not change.

    Args:
        net: a network of SpikingJelly's layers; it is changed in place, unless there is an error.

    Returns:
        The network.

    Raises:
        TypeError: a node or its spike function has no equal here, a node is of your own class, or it has
            ``store_v_seq=True``.
        ValueError: a node holds the state of an earlier call.
    """
    if _is_node(net):
        raise TypeError("replace_nodes_: net itself is a node; use a node of like.spikingjelly in its place")
    found = {module: _like(path, module) for path, module in net.named_modules() if _is_node(module)}
    for parent in [*net.modules()]:
        for name, module in parent._modules.items():  # a node may be used at several places
            if module in found:
                setattr(parent, name, found[module])
    return net


def _is_node(module: nn.Module) -> bool:
    kind = kind_of_theirs(module)
    return kind is not None and package_of(kind) == "spikingjelly" and kind.__name__.endswith("Node")


def _like(path: str, node: Any) -> Node:
    kind, owner = type(node), f"replace_nodes_: {path}"
    here: Any = getattr(nodes, kind.__name__, None) or getattr(nonlinear, kind.__name__, None)
    if here is None or package_of(kind) is None or kind.__name__ not in LIBRARIES["spikingjelly"].neurons:
        raise TypeError(
            f"{owner} is a {kind.__name__}, which has no equal in spikingtorch.like; use your own StepLayer in "
            "its place"
        )
    if (held := state_of_theirs(node)) is not None:
        raise ValueError(f"{owner} is {held}")
    arguments = inspect.signature(here.__init__).parameters
    names = {*arguments, *Firing.__annotations__} - {"self", "returns", "recurrent", "backend"}
    try:
        found: Node = here(**{name: getattr(node, name) for name in names if hasattr(node, name)})
    except (TypeError, ValueError) as error:
        raise type(error)(f"{owner}: {error}") from error
    weights = dict(node.named_parameters())
    for name, weight in weights.items():
        own = found.get_parameter(name)
        own.data = torch.empty_like(weight)
        own.data.copy_(weight)
        own.requires_grad_(weight.requires_grad)
    return found.train(node.training)
