"""What a layer returns: its spikes alone, or a tuple of them and of fields of its state."""

from collections.abc import Iterable, Sequence
from typing import Any, TypeAlias

from spikingtorch.layers.recorder import SPIKES

Returns: TypeAlias = str | Sequence[str]
# known of a step that fires, besides its state
OF_FIRING = ("u", "threshold")
_EXPECTED = f"expected {SPIKES!r}, or a tuple of names such as ({SPIKES!r}, 'v')"


def accepted(owner: str, returns: Any) -> str | tuple[str, ...]:
    """Return what a layer is to return, as it keeps it.

    Raises:
        TypeError: it is neither "spikes" nor a sequence of names.
        ValueError: it is empty, or names something twice.
    """
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
    """Return the names that a step gives out after its spikes; None where a layer returns these alone."""
    return None if isinstance(returns, str) else tuple([name for name in returns if name != SPIKES])


def check_names(owner: str, returns: str | tuple[str, ...], there: Iterable[str]) -> None:
    """Raise unless a layer has what it is to return.

    Args:
        owner: the layer, for the message.
        returns: names.
        there: those of the fields of its state, and of what else its step tells.
    """
    known = [SPIKES, *there]
    wrong = [name for name in fields(returns) or () if name not in known]
    if wrong:
        raise ValueError(
            f"{owner}: returns={returns!r} names {', '.join(map(repr, wrong))}, which it does not have; it has "
            f"{', '.join(map(repr, known))}"
        )


def in_order(returns: str | tuple[str, ...], outputs: Any) -> Any:
    """Return what a layer returns, of spikes and the fields after them."""
    if isinstance(returns, str):
        return outputs
    given = dict(zip((SPIKES, *(fields(returns) or ())), outputs, strict=True))
    return tuple([given[name] for name in returns])


def spikes_in(returns: str | tuple[str, ...], output: Any) -> Any:
    """Return the spikes among what a layer has returned; None if they are not there."""
    if isinstance(returns, str):
        return output
    return output[returns.index(SPIKES)] if SPIKES in returns else None
