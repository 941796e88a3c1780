"""Interrupts: KeyboardInterrupt at a chosen instruction of a call, delivered as Python delivers that of Ctrl-C."""

import ctypes
import dis
import gc
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from types import CodeType, FrameType
from typing import Any, NamedTuple

# after these, and where a function begins, Python looks whether somebody interrupts
_LOOKS = {"CALL", "CALL_KW", "CALL_FUNCTION_EX", "JUMP_BACKWARD"}
_ENTRY = -1


class Point(NamedTuple):
    """An instruction at which Python looks for interrupts.

    Attributes:
        code: of the function.
        place: of the instruction; -1 where the function begins.
        time: how often it has run before.
    """

    code: CodeType
    place: int
    time: int = 0

    def __str__(self) -> str:
        lines = [line for start, end, line in self.code.co_lines() if start <= self.place < end]
        return (
            f"{self.code.co_filename}:{(lines or [self.code.co_firstlineno])[0]} {self.code.co_qualname} ({self.time})"
        )


def _fuse() -> Any:
    """Return an object whose attribute ``burns`` interrupts this thread at the next instruction that looks for it.

    To read an attribute is no instruction that looks, so that it is not the trace function that is interrupted.
    """
    send = ctypes.pythonapi.PyThreadState_SetAsyncExc
    send.argtypes, send.restype = (ctypes.c_ulong, ctypes.py_object), ctypes.c_int
    burn = partial(send, ctypes.c_ulong(threading.get_ident()), ctypes.py_object(KeyboardInterrupt))
    return type("Fuse", (), {"burns": property(burn), "_as_parameter_": None})()


@contextmanager
def _collector_rests() -> Iterator[None]:
    """Leave cycles alone: what the collector calls, JAX's callback say, belongs to no call, and comes when it likes."""
    collects = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collects:
            gc.enable()


def points_of(work: Callable[[], Any]) -> dict[Point, int]:
    """Return the instructions of all Python code that a call runs, and how often it runs each of them."""
    found: dict[Point, int] = {}
    looks: dict[CodeType, set[int]] = {}

    def note(code: CodeType, place: int) -> None:
        point = Point(code, place)
        found[point] = found.get(point, 0) + 1

    def inside(frame: FrameType, event: str, _: Any) -> Any:
        if event == "opcode" and frame.f_lasti in looks[frame.f_code]:
            note(frame.f_code, frame.f_lasti)
        return inside

    def begin(frame: FrameType, event: str, _: Any) -> Any:
        code = frame.f_code
        if code not in looks:
            looks[code] = {each.offset for each in dis.get_instructions(code) if each.opname in _LOOKS}
        note(code, _ENTRY)
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        return inside

    before = sys.gettrace()
    with _collector_rests():
        sys.settrace(begin)
        try:
            work()
        finally:
            sys.settrace(before)
    return {point: times for point, times in found.items() if point.code not in _OWN}


def interrupted(work: Callable[[], Any], point: Point) -> bool:
    """Run a call that is interrupted at a point, and say whether it was: it may not come there.

    In a callback of a weak reference or of an object that dies, an interrupt ends there.
    """
    fuse, left, before, hook = _fuse(), [point.time], sys.gettrace(), sys.unraisablehook
    in_a_callback: list[bool] = []

    def disarm(frame: FrameType | None) -> None:
        sys.settrace(None)
        while frame is not None:
            frame.f_trace = None
            frame = frame.f_back

    def inside(frame: FrameType, event: str, _: Any) -> Any:
        if event != "opcode" or frame.f_lasti != point.place:
            return inside
        left[0] -= 1
        if left[0] >= 0:
            return inside
        disarm(frame)
        return fuse.burns and None

    def begin(frame: FrameType, event: str, _: Any) -> Any:
        if frame.f_code is not point.code:
            return None
        if point.place != _ENTRY:
            frame.f_trace_opcodes, frame.f_trace_lines = True, False
            return inside
        left[0] -= 1
        if left[0] >= 0:
            return None
        disarm(frame)
        return fuse.burns and None

    def ended(unraisable: Any) -> None:
        if unraisable.exc_type is KeyboardInterrupt:
            in_a_callback.append(True)
        else:
            hook(unraisable)

    sys.unraisablehook = ended
    with _collector_rests():
        try:
            sys.settrace(begin)
            work()
            sys.settrace(None)
        except KeyboardInterrupt:
            return True
        finally:
            sys.settrace(before)
            sys.unraisablehook = hook
    return bool(in_a_callback)


_OWN = {points_of.__code__, interrupted.__code__}
