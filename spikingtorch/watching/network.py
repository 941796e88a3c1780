"""Network: what is asked of a SpikingNet here."""

from contextlib import AbstractContextManager
from typing import Any, Protocol

from torch import Tensor, nn

from spikingtorch.functional.core.network_mode import NetworkMode


class Network(Protocol):
    """A ``SpikingNet``."""

    net: nn.Module

    def __call__(self, x: Tensor, /, **options: Any) -> Any:
        """Run it over a sequence."""
        ...

    def alone(self) -> AbstractContextManager[Any]:
        """Return a context within which calls of other threads wait."""
        ...

    def watched(self, mode: NetworkMode) -> AbstractContextManager[None]:
        """Return a context within which a mode sees the functions that the network calls."""
        ...


def check_network(owner: str, model: Any) -> None:
    """Raise unless a model is a SpikingNet.

    Raises:
        TypeError: it is not.
    """
    if not (isinstance(model, nn.Module) and hasattr(model, "watched") and hasattr(model, "net")):
        raise TypeError(f"{owner}: model is a {type(model).__name__}, expected a SpikingNet; wrap it: SpikingNet(net)")
