"""Work that is done, or undone.

An interrupt, as of Ctrl-C, raises KeyboardInterrupt at any instruction: also where a context manager begins or ends, so
that ``with`` is no promise that what it has changed is put back.
"""

from collections.abc import Callable, Iterator
from contextlib import _GeneratorContextManager, suppress
from types import TracebackType
from typing import Any, TypeVar

T = TypeVar("T")
# what may be interrupted with the rest of a generator still to run
_BEGIN_AND_END = {_GeneratorContextManager.__enter__.__code__, _GeneratorContextManager.__exit__.__code__}


def run_or_undo(work: Callable[[], T], undo: Callable[[], object]) -> T:
    """Return what work returns; if it raises something, undo it first.

    Args:
        work: what is to be done.
        undo: puts everything back as it was before; it may run more than once. It begins anew if it is interrupted.
    """
    try:
        try:
            return work()
        except BaseException as error:
            _end_contexts(error)
            undo()
            raise
    except BaseException as error:
        _end_contexts(error)
        undo()
        raise


def raise_interrupt(error: BaseException, before: BaseException | None) -> None:
    """Raise the interrupt that an error comes from, if there is one.

    What is interrupted while it cleans up may raise something else, which says nothing about the work.

    Args:
        error: what was raised.
        before: what was being handled before the work began, ``sys.exception()``.
    """
    for cause in _causes(error):
        if cause is before:
            return
        if not isinstance(cause, Exception):
            raise cause


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Yield an error, and what was being handled when it was raised."""
    cause: BaseException | None = error
    while cause is not None:
        yield cause
        cause = cause.__context__


def _end_contexts(error: BaseException) -> None:
    """End the contexts whose ends were interrupted: those of generators would end when the error is forgotten."""
    for cause in _causes(error):
        trace: TracebackType | None = cause.__traceback__
        while trace is not None:
            if trace.tb_frame.f_code in _BEGIN_AND_END:
                context: Any = trace.tb_frame.f_locals["self"]
                with suppress(Exception):  # it may miss what was interrupted before it
                    context.gen.close()
            trace = trace.tb_next
