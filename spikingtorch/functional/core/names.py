"""Names for messages: a step with its wrappers, and the user's line that a warning is about."""

import sys
from functools import partial
from pathlib import Path
from types import FunctionType
from typing import Any

_NOT_THEIRS = ("spikingtorch", "torch", "jax")


def step_name(step: Any) -> str:
    """Return the name of a step; a wrapper has the name of the wrapped step in brackets.

    A lambda is named by the place of its code.

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


def level_of_user() -> int:
    """Return the ``stacklevel`` of the first line outside of this library, torch and JAX, for the caller's warning.

    Python shows a warning once for each such line.
    """
    level, frame = 1, sys._getframe(1)
    while frame.f_back is not None and frame.f_globals.get("__name__", "").split(".")[0] in _NOT_THEIRS:
        level, frame = level + 1, frame.f_back
    return level
