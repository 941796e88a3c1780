"""What a network keeps of earlier steps with the graph that computed it, so that nobody can copy it."""

from torch import Tensor, nn

from spikingtorch.functional.core.tree import leaves_of
from spikingtorch.layers.base import StatefulLayer


def kept_graph(net: nn.Module) -> str | None:
    """Return the name of an attribute that holds a computed tensor with its graph, None if there is none.

    Spiking layers, which keep their state, are copied without its graph.
    """
    for path, module in net.named_modules():
        if isinstance(module, StatefulLayer):
            continue
        for name, value in vars(module).items():
            if name not in ("_modules", "_parameters") and any(map(_is_computed, leaves_of(value))):
                return f"{path}.{name}".removeprefix(".")
    return None


def _is_computed(leaf: object) -> bool:
    return isinstance(leaf, Tensor) and leaf.requires_grad and not leaf.is_leaf
