"""GraphNet: a graph of NIR as a module of one step."""

from functools import reduce
from operator import add
from typing import Any, NamedTuple

from torch import Tensor, nn

from spikingtorch.interop.nir.modules import Feedback
from spikingtorch.layers.base import StatefulLayer


class Node(NamedTuple):
    """One node as it is computed.

    Attributes:
        name: in the graph.
        module: name of its module; empty for one that hands on its input.
        now: nodes whose values of this step it adds up.
        before: names of the ``Feedback`` modules whose values it adds as well.
        after: name of the ``Feedback`` that keeps its value for the next step, or empty.
    """

    name: str
    module: str
    now: tuple[str, ...]
    before: tuple[str, ...] = ()
    after: str = ""


class GraphNet(nn.Module):
    """The nodes of a graph, computed in their order: what ``from_nir`` puts into a ``SpikingNet``.

    Args:
        nodes: in the order of a step; the first is the Input.
        modules: by name.
        outputs: names of the Output nodes. The output of a single one is a tensor, of several a dict of them.
    """

    def __init__(self, nodes: tuple[Node, ...], modules: dict[str, nn.Module], outputs: tuple[str, ...]) -> None:
        super().__init__()
        for name, module in modules.items():
            self.add_module(name, module)
        self.nodes = nodes
        self.outputs = outputs

    def forward(self, x: Tensor, init: Any) -> Any:
        """Compute one step.

        Args:
            x: (N, *shape of the Input).
            init: handed to the layers.
        """
        before = {name: module.read(x, init) for name, module in self.named_children() if isinstance(module, Feedback)}
        values = {self.nodes[0].name: x}
        for node in self.nodes[1:]:
            value = reduce(add, [*(values[name] for name in node.now), *(before[name] for name in node.before)])
            module = self._modules.get(node.module)
            if isinstance(module, StatefulLayer):
                value = module(value, init)
            elif module is not None:
                value = module(value)
            values[node.name] = value
        for node in self.nodes:
            kept = self._modules.get(node.after)
            if isinstance(kept, Feedback):
                kept.write(values[node.name])
        found = {name: values[name] for name in self.outputs}
        return found[self.outputs[0]] if len(found) == 1 else found
