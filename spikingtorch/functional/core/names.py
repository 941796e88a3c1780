"""The name of a step in messages, that of one with others around it included."""

from functools import partial
from pathlib import Path
from types import FunctionType
from typing import Any


def step_name(step: Any) -> str:
    """Return the name of a step: of a function its own, of a wrapper that and in brackets the name of what is inside.

    A lambda is called by the place of its code.

    >>> from spikingtorch import functional as F
    >>> step_name(F.Recurrent(F.lif_step, F.dense))
    'Recurrent(lif_step)'
    """
    if isinstance(step, partial):
        return step_name(step.func)
    name = getattr(step, "__name__", None)
    if name == "<lambda>" and isinstance(step, FunctionType):
        return f"<lambda> ({Path(step.__code__.co_filename).name}:{step.__code__.co_firstlineno})"
    if isinstance(name, str):
        return name
    inside = getattr(step, "step", None)
    kind = type(step).__name__
    return kind if inside is None else f"{kind}({step_name(inside)})"
