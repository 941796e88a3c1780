"""The line of the user's that a warning is about."""

import sys

_NOT_THEIRS = ("spikingtorch", "torch")


def level_of_user() -> int:
    """Return the ``stacklevel`` of the first line outside of this library and torch, for a warning of the caller.

    Python shows a warning once for each such line.
    """
    level, frame = 1, sys._getframe(1)
    while frame.f_back is not None and frame.f_globals.get("__name__", "").split(".")[0] in _NOT_THEIRS:
        level, frame = level + 1, frame.f_back
    return level
