"""Network: the interface of a SpikingNet that is used here."""

from collections.abc import Callable
from typing import Any, Protocol, TypeVar

from torch import Tensor, nn

from spikingtorch import axes
from spikingtorch import validation as checks
from spikingtorch.functional.core.network_mode import NetworkMode

T = TypeVar("T")


class Network(Protocol):
    """A ``SpikingNet``."""

    net: nn.Module
    batch_first: bool

    def __call__(self, x: Tensor, /, **options: Any) -> Any:
        """Run it over a sequence."""
        ...

    def alone(self, work: Callable[[], T], undo: Callable[[], object]) -> T:
        """Return the result of ``work``, while calls of other threads wait; undo it after an error."""
        ...

    def watched(self, mode: NetworkMode, work: Callable[[], T]) -> T:
        """Return the result of ``work``; a mode sees the functions that the network calls."""
        ...


def check_network(owner: str, model: Any) -> None:
    """Raise TypeError unless a model is a SpikingNet."""
    if not (isinstance(model, nn.Module) and hasattr(model, "watched") and hasattr(model, "net")):
        raise TypeError(f"{owner}: model is a {type(model).__name__}, expected a SpikingNet; wrap it: SpikingNet(net)")


def check_sequences(owner: str, x: Any, batch_first: bool) -> Tensor:
    """Return an input; raise unless it is a batch of sequences of at least one sample.

    Raises:
        TypeError: x is not a floating tensor.
        ValueError: x has another rank, or no samples.
    """
    checks.check_floating(owner, "x", x)
    expected = f"{axes.named(batch_first)}: {axes.spelled(batch_first)}, features; an encoder adds the steps"
    checks.check_rank(owner, "x", x, expected, 2)
    if not axes.sizes(x, batch_first)[0]:
        raise ValueError(f"{owner}: x has shape {tuple(x.shape)}, which holds no samples")
    found: Tensor = x
    return found
