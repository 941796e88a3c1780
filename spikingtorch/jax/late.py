"""A handler in Python, for a process that has no compiler when XLA asks for one.

XLA keeps the first handler of a name. Without any, its error names neither this library nor what is missing. This one
gives each call to the compiled handler, if there is one by then, and an error to XLA if there is none. Its structures
are those of ``xla/ffi/api/c_api.h``, which new releases only extend at their ends.
"""

import ctypes
import re
from collections.abc import Callable
from typing import Any

_MAJOR = 0  # the version of the interface
_METADATA, _FAILED_PRECONDITION = 1, 9  # of XLA_FFI_Extension_Type and of XLA_FFI_Error_Code


class _Version(ctypes.Structure):
    _fields_ = (
        ("size", ctypes.c_size_t),
        ("extensions", ctypes.c_void_p),
        ("major", ctypes.c_int),
        ("minor", ctypes.c_int),
    )


class _Metadata(ctypes.Structure):
    _fields_ = (
        ("size", ctypes.c_size_t),
        ("version", _Version),
        ("traits", ctypes.c_uint32),
        ("state_type", ctypes.c_int64),
    )


class _Extension(ctypes.Structure):
    _fields_ = (
        ("size", ctypes.c_size_t),
        ("type", ctypes.c_int),
        ("next", ctypes.c_void_p),
        ("metadata", ctypes.POINTER(_Metadata)),  # if the type says so
    )


class _Failure(ctypes.Structure):
    _fields_ = (
        ("size", ctypes.c_size_t),
        ("extensions", ctypes.c_void_p),
        ("message", ctypes.c_char_p),
        ("code", ctypes.c_int),
    )


class _Api(ctypes.Structure):
    _fields_ = (
        ("size", ctypes.c_size_t),
        ("extensions", ctypes.c_void_p),
        ("version", _Version),
        ("internal", ctypes.c_void_p),
        ("failed", ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.POINTER(_Failure))),
    )


class _Frame(ctypes.Structure):
    _fields_ = (("size", ctypes.c_size_t), ("extensions", ctypes.POINTER(_Extension)), ("api", ctypes.POINTER(_Api)))


def handler(compiled: Callable[[], Any], header: str) -> Any:
    """Return a handler for XLA, to be kept as long as the process lives; None for an interface of another version.

    ``compiled`` returns the compiled handler, or a message that says why there is none. ``header`` is the text of
    ``c_api.h``, because in some releases XLA itself does not tell the version.
    """
    numbers = re.findall(r"^#define XLA_FFI_API_(?:MAJOR|MINOR) (\d+)", header, re.MULTILINE)
    if len(numbers) != 2 or int(numbers[0]) != _MAJOR:
        return None
    kind = ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_void_p)

    def call(address: int) -> Any:
        frame = ctypes.cast(address, ctypes.POINTER(_Frame)).contents
        extension = frame.extensions
        if extension and extension.contents.type == _METADATA:
            metadata = extension.contents.metadata.contents
            metadata.version.major, metadata.version.minor = map(int, numbers)
            metadata.traits = metadata.state_type = 0
            return None
        found = compiled()
        if isinstance(found, str):
            failure = _Failure(ctypes.sizeof(_Failure), None, found.encode(), _FAILED_PRECONDITION)
            return frame.api.contents.failed(failure)
        run: Any = ctypes.cast(found, kind)
        return run(address)

    return kind(call)
