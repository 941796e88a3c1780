"""The graph of torch.fx, for readers that have no input with which a network could run."""

import torch
from torch import fx, nn

from spikingtorch.layers.base import StatefulLayer


class _Tracer(fx.Tracer):
    """Looks into modules of users, and not into layers and modules of this library that have no others inside."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        own = type(m).__module__.startswith("spikingtorch.") and not any(True for _ in m.children())
        return own or isinstance(m, StatefulLayer) or super().is_leaf_module(m, module_qualified_name)


def trace(net: nn.Module, owner: str) -> fx.Graph:
    """Return the graph of a network; raise ValueError, in the name of ``owner``, if it cannot be traced."""
    try:
        with torch.random.fork_rng(devices=()):  # forward may draw numbers
            return _Tracer().trace(net)
    except Exception as error:  # any error of forward's code for the placeholder of its input
        raise ValueError(
            f"{owner}: torch.fx cannot trace {type(net).__name__} ({type(error).__name__}: {error}). Its forward "
            "may not branch on values or sizes of tensors; torch.fx.symbolic_trace(net) shows where it does"
        ) from error
