"""What a network keeps of earlier steps with the graph that computed it, in a list say, so that nobody can copy it."""

from torch import Tensor, nn

from spikingtorch.functional.core.tree import leaves_of
from spikingtorch.layers.base import StatefulLayer


def kept_graph(net: nn.Module) -> str | None:
    """Return the name of an attribute that holds computed tensors with their graph, in a container; None if none does.

    A tensor that is an attribute itself, such as a weight that a hook computes, is copied without its graph, as the
    state of a spiking layer is.
    """
    for path, module in net.named_modules():
        if isinstance(module, StatefulLayer):
            continue
        for name, value in vars(module).items():
            contains = not isinstance(value, Tensor) and name not in ("_modules", "_parameters")
            if contains and any(map(_is_computed, leaves_of(value))):
                return f"{path}.{name}".removeprefix(".")
    return None


def _is_computed(leaf: object) -> bool:
    return isinstance(leaf, Tensor) and leaf.requires_grad and not leaf.is_leaf
