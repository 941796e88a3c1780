"""Kinds of nodes: the parts of a network that can be converted, and advice on all others."""

import operator
from enum import Enum, auto
from typing import Any

import torch
import torch.nn.functional as nnf
from torch import fx, nn

from spikingtorch.convert.clip_floor import ClipFloor
from spikingtorch.convert.layers import Scale


class Kind(Enum):
    """The role of a node in a conversion."""

    INPUT = auto()
    OUTPUT = auto()
    ACTIVATION = auto()  # becomes neurons
    WEIGHT = auto()  # linear, with a bias
    NORM = auto()  # becomes part of the weight before it
    DROP = auto()  # is left out
    MAX = auto()  # max pooling
    PASS = auto()  # linear and without weights, so that a factor goes through it
    ADD = auto()  # of two branches


_MODULES: dict[type[nn.Module], Kind] = {
    **dict.fromkeys((nn.ReLU, ClipFloor), Kind.ACTIVATION),
    **dict.fromkeys((nn.Linear, nn.Conv1d, nn.Conv2d), Kind.WEIGHT),
    **dict.fromkeys((nn.BatchNorm1d, nn.BatchNorm2d), Kind.NORM),
    **dict.fromkeys((nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Identity), Kind.DROP),
    **dict.fromkeys((nn.MaxPool1d, nn.MaxPool2d), Kind.MAX),
    **dict.fromkeys(
        (nn.AvgPool1d, nn.AvgPool2d, nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d, nn.Flatten, Scale), Kind.PASS
    ),
}
_FUNCTIONS: dict[Any, Kind] = {
    **dict.fromkeys((nnf.relu, nnf.relu_, torch.relu, torch.relu_), Kind.ACTIVATION),
    **dict.fromkeys((nnf.dropout, nnf.dropout1d, nnf.dropout2d), Kind.DROP),
    **dict.fromkeys((nnf.max_pool1d, nnf.max_pool2d, torch.max_pool1d, torch.max_pool2d), Kind.MAX),
    **dict.fromkeys((nnf.avg_pool1d, nnf.avg_pool2d, nnf.adaptive_avg_pool1d, nnf.adaptive_avg_pool2d), Kind.PASS),
    **dict.fromkeys((torch.flatten,), Kind.PASS),
    **dict.fromkeys((operator.add, operator.iadd, torch.add), Kind.ADD),
}
_METHODS = {
    **dict.fromkeys(("relu", "relu_"), Kind.ACTIVATION),
    **dict.fromkeys(("flatten", "contiguous"), Kind.PASS),
    **dict.fromkeys(("add", "add_"), Kind.ADD),
}
_IN_PLACE = (nnf.relu_, torch.relu_, operator.iadd, "relu_", "add_")

_ADVICE = {
    "softmax": "leave it out: losses take what is before it, and the largest output stays the largest",
    "log_softmax": "leave it out: losses take what is before it, and the largest output stays the largest",
    **dict.fromkeys(
        ("sigmoid", "tanh", "gelu", "silu", "elu", "selu", "leakyrelu", "leaky_relu", "prelu", "relu6", "hardtanh"),
        "train with nn.ReLU or convert.ClipFloor in its place: rates correspond to outputs of a ReLU",
    ),
    **dict.fromkeys(
        ("view", "reshape", "size", "shape", "getattr", "getitem"),
        "write torch.flatten(x, 1) or nn.Flatten() to flatten images",
    ),
    "mean": "write nn.AdaptiveAvgPool2d(1) and nn.Flatten() for the mean over an image",
    **dict.fromkeys(("linear", "conv1d", "conv2d"), "call a module, such as nn.Linear, whose weights can be changed"),
    **dict.fromkeys(
        ("layernorm", "groupnorm", "instancenorm2d"),
        "train with batch norm behind a Linear or Conv in its place, which becomes part of the weights",
    ),
    **dict.fromkeys(("cat", "mul", "sub", "matmul"), "take the sum of two branches, a + b, in its place"),
}


def kind_of(node: fx.Node, modules: dict[str, nn.Module]) -> Kind:
    """Return the kind of a node of a graph, with the network's modules by path; ValueError if there is none."""
    found: Kind | None = {"placeholder": Kind.INPUT, "output": Kind.OUTPUT}.get(node.op)
    target: Any = node.target
    if node.op == "call_module":
        found = None if _has_own_forward(modules[target]) else _MODULES.get(type(modules[target]))
    elif node.op == "call_function":
        found = _FUNCTIONS.get(target)
    elif node.op == "call_method":
        found = _METHODS.get(target)
    if found is None:
        raise ValueError(_unknown(node, modules))
    return found


def _has_own_forward(module: nn.Module) -> bool:
    """Return True if ``module.forward`` was replaced, so that it is not the method of the class."""
    return "forward" in vars(module)


def in_place(node: fx.Node, modules: dict[str, nn.Module]) -> bool:
    """Return True if a node writes to its first input."""
    target: Any = node.target
    if node.op == "call_module":
        return bool(getattr(modules[target], "inplace", False))
    return target in _IN_PLACE or bool(node.kwargs.get("inplace", False))


def named(node: fx.Node, modules: dict[str, nn.Module]) -> str:
    """Return the name of a node for messages."""
    target: Any = node.target
    if node.op == "call_module":
        return f"{target!r} ({type(modules[target]).__name__})"
    called = target if isinstance(target, str) else getattr(target, "__name__", str(target))
    return f"{node.name!r} ({called})"


def _unknown(node: fx.Node, modules: dict[str, nn.Module]) -> str:
    shown = named(node, modules)
    if node.op == "get_attr":
        return f"to_spiking: forward reads the tensor {node.target!r}, which is not a weight of a Linear or Conv module"
    kind = type(modules[str(node.target)]) if node.op == "call_module" else None
    base = next((each for each in _MODULES if kind is not None and issubclass(kind, each)), None)
    if base is not None and _has_own_forward(modules[str(node.target)]):
        advice = f"its forward was replaced; write the new code as modules around a {base.__name__}"
    elif base is not None:
        advice = (
            f"it is a {base.__name__} of another class. After pruning or a parametrization make the weights plain: "
            "prune.remove, parametrize.remove_parametrizations"
        )
    else:
        word = shown.rpartition("(")[2].rstrip(")").lower()
        advice = _ADVICE.get(
            word.strip("_"),
            "what can be: Linear, Conv1d, Conv2d, BatchNorm, ReLU, ClipFloor, AvgPool, MaxPool, AdaptiveAvgPool, "
            "Flatten, Dropout, Identity and a + b",
        )
    return f"to_spiking: node {shown} cannot be converted; {advice}"
