"""Move thresholds into the weights, so that all neurons have a threshold of 1."""

from collections.abc import Mapping

import torch
from torch import fx

from spikingtorch.convert.graph import Graph
from spikingtorch.convert.kinds import Kind, kind_of
from spikingtorch.convert.layers import Scale


def scale_weights(graph: Graph, thresholds: Mapping[fx.Node, float]) -> None:
    """Divide the inputs of activations by their thresholds, and multiply their outputs by them.

        relu(x) = theta relu(x / theta)

    The factors pass through sums and pooling into the nearest weights and biases on each path. A Scale is inserted at
    other nodes. The network computes the same as before, except for rounding.
    """
    scaling = _Scaling(graph)
    for node, threshold in thresholds.items():
        scaling.before(node, 1.0 / threshold)
        scaling.behind(node, threshold)


class _Scaling:
    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._kinds = {node: kind_of(node, graph.modules) for node in graph.net.graph.nodes}
        self._scales: set[fx.Node] = set()

    def before(self, node: fx.Node, factor: float) -> None:
        """Multiply the inputs of a node by a factor."""
        for source in node.all_input_nodes:
            if len(source.users) > 1:
                self._between(source, node, factor)
            elif source in self._scales:
                self._graph.module(source).factor.mul_(factor)
            elif self._kinds[source] is Kind.WEIGHT:
                self._multiply(source, factor, bias=True)
            elif self._kinds[source] in (Kind.PASS, Kind.MAX, Kind.ADD):
                self.before(source, factor)
            else:
                self._between(source, node, factor)

    def behind(self, node: fx.Node, factor: float) -> None:
        """Multiply the output of a node, as read by others, by a factor."""
        for user in list(node.users):
            if user in self._scales:
                self._graph.module(user).factor.mul_(factor)
            elif self._kinds[user] is Kind.WEIGHT:
                self._multiply(user, factor, bias=False)
            elif self._kinds[user] in (Kind.PASS, Kind.MAX):
                self.behind(user, factor)
            else:
                self._between(node, user, factor)

    @torch.no_grad()
    def _multiply(self, node: fx.Node, factor: float, bias: bool) -> None:
        module = self._graph.module(node)
        module.weight.mul_(factor)
        if bias and module.bias is not None:
            module.bias.mul_(factor)

    def _between(self, source: fx.Node, user: fx.Node, factor: float) -> None:
        """Put a Scale between two nodes."""
        like = next(self._graph.net.parameters(), torch.zeros(()))
        path = self._graph.add("scale", Scale(torch.tensor(factor, dtype=like.dtype, device=like.device)))
        with self._graph.net.graph.inserting_after(source):
            node = self._graph.net.graph.call_module(path, (source,))
        self._scales.add(node)
        user.replace_input_with(source, node)
