"""The values that a layer returns: its spikes only, or a tuple of spikes and fields of its state."""

from collections.abc import Iterable, Sequence
from typing import Any, TypeAlias

from spikingtorch.layers.recorder import SPIKES

Returns: TypeAlias = str | Sequence[str]
# the values of a firing step besides its state
OF_FIRING = ("u", "threshold")
_EXPECTED = f"expected {SPIKES!r}, or a tuple of names such as ({SPIKES!r}, 'v')"


def accepted(owner: str, returns: Any) -> str | tuple[str, ...]:
    """Return a checked ``returns``, as the layer stores it: "spikes" or a tuple of different names."""
    if isinstance(returns, str):
        if returns != SPIKES:
            raise ValueError(f"{owner}: returns={returns!r}, {_EXPECTED}; for a tuple of one: ({returns!r},)")
        return returns
    if not isinstance(returns, Sequence) or not all(isinstance(name, str) for name in returns):
        raise TypeError(f"{owner}: returns={returns!r}, {_EXPECTED}")
    if not returns or len({*returns}) < len(returns):
        raise ValueError(f"{owner}: returns={returns!r} is empty or names something twice, {_EXPECTED}")
    return tuple(returns)


def fields(returns: str | tuple[str, ...]) -> tuple[str, ...] | None:
    """Return the names of the outputs of a step after its spikes; None if a layer returns spikes only."""
    return None if isinstance(returns, str) else tuple([name for name in returns if name != SPIKES])


def check_names(owner: str, returns: str | tuple[str, ...], there: Iterable[str]) -> None:
    """Raise unless all returned values are fields of the layer's state, or other values of its step (``there``)."""
    known = [SPIKES, *there]
    if wrong := [name for name in fields(returns) or () if name not in known]:
        raise ValueError(
            f"{owner}: returns={returns!r} names {', '.join(map(repr, wrong))}, which it does not have; it has "
            f"{', '.join(map(repr, known))}"
        )


def in_order(returns: str | tuple[str, ...], outputs: Any) -> Any:
    """Return the values of a layer: spikes, then the named fields."""
    if isinstance(returns, str):
        return outputs
    given = dict(zip((SPIKES, *(fields(returns) or ())), outputs, strict=True))
    return tuple([given[name] for name in returns])


def spikes_in(returns: str | tuple[str, ...], output: Any) -> Any:
    """Return the spikes among the values that a layer has returned, or None."""
    if isinstance(returns, str):
        return output
    return output[returns.index(SPIKES)] if SPIKES in returns else None
