"""The name of a step in messages, that of one with others around it included."""

from typing import Any


def step_name(step: Any) -> str:
    """Return the name of a step: of a function its own, of a wrapper that and in brackets the name of what is inside.

    >>> from spikingtorch import functional as F
    >>> step_name(F.Recurrent(F.lif_step, F.dense))
    'Recurrent(lif_step)'
    """
    name = getattr(step, "__name__", None)
    if isinstance(name, str):
        return name
    inside = getattr(step, "step", None)
    kind = type(step).__name__
    return kind if inside is None else f"{kind}({step_name(inside)})"
