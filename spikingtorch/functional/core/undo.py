"""Run work that is either done or undone.

An interrupt, for instance by Ctrl-C, raises KeyboardInterrupt at any instruction. This may be where a context manager
begins or ends, so ``with`` does not guarantee that its changes are undone.
"""

from collections.abc import Callable, Iterator
from contextlib import _GeneratorContextManager, suppress
from types import TracebackType
from typing import Any, TypeVar

T = TypeVar("T")
# contexts of generators, which may be interrupted while the rest of the generator has yet to run
_BEGIN_AND_END = {_GeneratorContextManager.__enter__.__code__, _GeneratorContextManager.__exit__.__code__}


def run_or_undo(work: Callable[[], T], undo: Callable[[], object]) -> T:
    """Return the result of ``work``; if it raises an error, undo its changes first.

    ``undo`` restores everything; it may run more than once, because it starts again if it is interrupted.
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
    """Raise the interrupt that caused an error, if there is one.

    Code that is interrupted while it cleans up may raise another error, which says nothing about the work. ``before``
    is the error that was being handled before the work began, ``sys.exception()``.
    """
    for cause in _causes(error):
        if cause is before:
            return
        if not isinstance(cause, Exception):
            raise cause


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Yield an error, and the errors that were being handled when it was raised."""
    cause: BaseException | None = error
    while cause is not None:
        yield cause
        cause = cause.__context__


def _end_contexts(error: BaseException) -> None:
    """End the contexts whose end was interrupted: contexts of generators would end only when the error is freed."""
    for cause in _causes(error):
        trace: TracebackType | None = cause.__traceback__
        while trace is not None:
            if trace.tb_frame.f_code in _BEGIN_AND_END:
                context: Any = trace.tb_frame.f_locals["self"]
                with suppress(Exception):  # ``undo`` may not know of work that was interrupted before it
                    context.gen.close()
            trace = trace.tb_next
