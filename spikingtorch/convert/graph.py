"""The graph of an ANN in evaluation: nodes of known kinds, batch norm in the weights, a module for each call."""

import copy
from typing import Any

import torch
import torch.nn.functional as nnf
from torch import Tensor, fx, nn

from spikingtorch.convert.kinds import Kind, in_place, kind_of, named
from spikingtorch.functional.core.sharing import copied
from spikingtorch.step_graph.norms import merge_norm
from spikingtorch.step_graph.trace import trace


class Graph:
    """A copy of an ANN as a graph, ``net``, and another one, ``ann``, whose results the graph must reproduce.

    The latter is in evaluation, and has the hooks of the original.
    """

    def __init__(self, ann: nn.Module, net: fx.GraphModule) -> None:
        self.ann, self.net = ann, net

    @property
    def modules(self) -> dict[str, nn.Module]:
        """The modules by path."""
        return dict(self.net.named_modules())

    def nodes(self, kind: Kind) -> list[fx.Node]:
        """Return the nodes of a kind, in the order of their calls."""
        modules = self.modules
        return [node for node in self.net.graph.nodes if kind_of(node, modules) is kind]

    @property
    def activations(self) -> list[fx.Node]:
        """The nodes that become neurons; each calls its own module."""
        return self.nodes(Kind.ACTIVATION)

    def module(self, node: fx.Node) -> Any:
        """Return the module that a node calls."""
        return self.net.get_submodule(str(node.target))

    def name(self, node: fx.Node) -> str:
        """Return the name of a node for messages."""
        return named(node, self.modules)

    def replace(self, node: fx.Node, module: nn.Module) -> None:
        """Replace the module that a node calls, under the same name."""
        self.net.add_submodule(str(node.target), module)

    def add(self, name: str, module: nn.Module) -> str:
        """Add a module and return its path: the name, with a number after it if the name exists."""
        taken, path, count = self.modules, name, 1
        while path in taken or hasattr(self.net, path):
            path, count = f"{name}_{count}", count + 1
        self.net.add_submodule(path, module)
        return path

    def finished(self) -> fx.GraphModule:
        """Return the network without unused modules."""
        self.net.delete_all_unused_submodules()
        self.net.graph.lint()
        self.net.recompile()
        return self.net


def graph_of(ann: nn.Module) -> Graph:
    """Return a copy of an ANN as a graph of known kinds of nodes, without batch norm and dropout.

    Raise ValueError if it cannot be traced, or a node cannot be converted.
    """
    net = copied(ann).eval()
    # the graph does not show hooks of these, and a weight behind a hook could not be scaled
    for module in net.modules():
        module._forward_hooks.clear()
        module._forward_pre_hooks.clear()
    traced = trace(net, "to_spiking")
    graph = Graph(copied(ann).eval(), fx.GraphModule(net, traced, type(ann).__name__))
    _check(graph)
    for node in graph.nodes(Kind.DROP):
        _leave_out(graph, node)
    _order_writes(graph)
    for node in graph.nodes(Kind.NORM):
        _fold_norm(graph, node)
    for kind in (Kind.ACTIVATION, Kind.MAX):
        _own_modules(graph, kind)
    for node in graph.nodes(Kind.MAX):
        if graph.module(node).return_indices:
            raise ValueError(f"to_spiking: {graph.name(node)} has return_indices=True; leave that out")
    graph.net.recompile()
    return graph


def _check(graph: Graph) -> None:
    modules, called = graph.modules, set[str]()
    for node in graph.net.graph.nodes:
        kind = kind_of(node, modules)
        target = str(node.target)
        if kind is Kind.ADD:
            _check_sum(graph, node)
        elif kind is Kind.OUTPUT and not isinstance(node.args[0], fx.Node):
            raise ValueError("to_spiking: forward returns something else than one tensor; convert a network that does")
        elif kind in (Kind.WEIGHT, Kind.NORM):
            if target in called:
                raise ValueError(
                    f"to_spiking: {named(node, modules)} is called twice, and its weights would have to be scaled for "
                    "each call; give each call a module of its own, copy.deepcopy(module)"
                )
            if not isinstance(modules[target]._parameters.get("weight"), Tensor) and kind is Kind.WEIGHT:
                raise ValueError(
                    f"to_spiking: the weight of {named(node, modules)} is computed and no parameter; make it plain "
                    "first, for instance with prune.remove or remove_parametrizations"
                )
            called.add(target)
    _check_whole(graph)


def _check_whole(graph: Graph) -> None:
    """Raise unless there is one input, at least one activation, and no parameter that two modules share."""
    inputs = graph.nodes(Kind.INPUT)
    if len(inputs) != 1:
        names = ", ".join(str(node.target) for node in inputs)
        raise ValueError(f"to_spiking: forward takes {len(inputs)} inputs ({names}), expected one tensor (N, ...)")
    if not graph.activations:
        raise ValueError("to_spiking: the network has no ReLU and no ClipFloor, so that nothing would spike")
    owners: dict[int, str] = {}
    for node in graph.nodes(Kind.WEIGHT):
        for parameter in graph.module(node).parameters():
            other = owners.setdefault(id(parameter), graph.name(node))
            if other != graph.name(node):
                raise ValueError(
                    f"to_spiking: {other} and {graph.name(node)} share a parameter, which cannot be scaled for "
                    "each of them; give each its own, copy.deepcopy(module)"
                )


def _check_sum(graph: Graph, node: fx.Node) -> None:
    given = [*node.args, *node.kwargs.values()]
    if len(given) != 2 or not all(isinstance(each, fx.Node) for each in given):
        raise ValueError(
            f"to_spiking: node {graph.name(node)} adds something else than two branches, a + b; a number that is added "
            "belongs into the bias of a Linear or Conv module"
        )


def _order_writes(graph: Graph) -> None:
    """Make nodes after an in-place write read its result, if they read the tensor that was written to."""
    order = {node: place for place, node in enumerate(graph.net.graph.nodes)}
    modules = graph.modules
    for node in graph.net.graph.nodes:
        if in_place(node, modules):
            written: Any = node.all_input_nodes[0]
            written.replace_all_uses_with(node, lambda user, node=node: order[user] > order[node])


def _leave_out(graph: Graph, node: fx.Node) -> None:
    node.replace_all_uses_with(node.all_input_nodes[0])
    graph.net.graph.erase_node(node)


def _fold_norm(graph: Graph, node: fx.Node) -> None:
    """Merge a batch norm into the weights before it."""
    before, norm = node.all_input_nodes[0], graph.module(node)
    if kind_of(before, graph.modules) is not Kind.WEIGHT or len(before.users) != 1:
        raise ValueError(
            f"to_spiking: {graph.name(node)} does not directly follow a Linear or Conv module whose output "
            "nothing else reads, so it cannot be merged into its weights. Put it there, before the ReLU"
        )
    if norm.running_mean is None:
        raise ValueError(
            f"to_spiking: {graph.name(node)} has no running statistics (track_running_stats=False), and takes those of "
            "each batch; train with running statistics"
        )
    weight = graph.module(before)
    if len(weight.weight) != norm.num_features:
        raise ValueError(
            f"to_spiking: {graph.name(node)} normalises {norm.num_features} channels, and {graph.name(before)} before "
            f"it has {len(weight.weight)} outputs. Behind a Linear, inputs have two axes, (N, features)"
        )
    merge_norm(weight, norm)
    _leave_out(graph, node)


def _own_modules(graph: Graph, kind: Kind) -> None:
    """Make each node of a kind call its own module, including functions and modules that are called twice."""
    called: set[str] = set()
    for node in graph.nodes(kind):
        target = str(node.target)
        if node.op != "call_module":
            target = graph.add(node.name, _module_of(graph, node))
        elif target in called:
            target = graph.add(target, copy.deepcopy(graph.module(node)))
        called.add(target)
        node.op, node.target = "call_module", target
        node.args, node.kwargs = (node.all_input_nodes[0],), {}


def _module_of(graph: Graph, node: fx.Node) -> nn.Module:
    """Return the module of an activation or max pooling that was called as a function."""
    if kind_of(node, graph.modules) is Kind.ACTIVATION:
        return nn.ReLU()
    kind = nn.MaxPool1d if node.target in (nnf.max_pool1d, torch.max_pool1d) else nn.MaxPool2d
    names = ("kernel_size", "stride", "padding", "dilation", "ceil_mode", "return_indices")
    options: dict[str, Any] = {**dict(zip(names, node.args[1:], strict=False)), **node.kwargs}
    options.pop("input", None)
    return kind(**options)
