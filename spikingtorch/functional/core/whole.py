"""Work that is done, or undone.

An interrupt, as of Ctrl-C, raises KeyboardInterrupt at any instruction: also where a context manager begins or ends, so
that ``with`` is no promise that what it has changed is put back.
"""

from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def whole(work: Callable[[], T], undo: Callable[[], object]) -> T:
    """Return what work returns; if it raises something, undo it first.

    Args:
        work: what is to be done.
        undo: puts everything back as it was before; it may run more than once. It begins anew if it is interrupted.
    """
    try:
        try:
            return work()
        except BaseException:
            undo()
            raise
    except BaseException:
        undo()
        raise


def raise_interrupt(error: BaseException, before: BaseException | None) -> None:
    """Raise the interrupt that an error comes from, if there is one.

    What is interrupted while it cleans up may raise something else, which says nothing about the work.

    Args:
        error: what was raised.
        before: what was being handled before the work began, ``sys.exception()``.
    """
    cause: BaseException | None = error
    while cause is not None and cause is not before:
        if not isinstance(cause, Exception):
            raise cause
        cause = cause.__context__
