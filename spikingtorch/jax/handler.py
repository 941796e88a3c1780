"""The call of a kernel from XLA: the handler in C, and what a call carries, so that another process can run it.

A compiled or exported program of JAX holds no address. It names a kernel by the hash of its source, and carries the
program as text: a process that does not know the kernel builds it when the call comes.
"""

import contextlib
import ctypes
import hashlib
import json
import math
import threading
from collections.abc import Sequence
from functools import lru_cache
from importlib import metadata, resources
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from spikingtorch.functional.core import freed_memory
from spikingtorch.functional.core.locks import Lock
from spikingtorch.functional.core.threads import SERIAL
from spikingtorch.functional.fused.build.cache import library
from spikingtorch.functional.fused.build.compiler import CompileError, NoCompiler, fingerprint
from spikingtorch.functional.fused.codegen import c
from spikingtorch.functional.fused.ir import from_text
from spikingtorch.jax import late

TARGET = "spikingtorch_scan"
CHUNK = c.CHUNK  # steps between two states that a forward pass keeps
FAILURES = (NoCompiler, CompileError)  # why there is no kernel
BACKGROUND = "spikingtorch: compiles a kernel for JAX"  # name of a thread
_AGAIN = "Compile or export it again with the version that is installed here."
_FOREIGN = f"{TARGET}: another version of spikingtorch has made this program of JAX. {_AGAIN}"
_HASH = 64  # the length of a hash
_Build = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int64, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64)


class Request(NamedTuple):
    """All that the source of a kernel follows from."""

    program: str  # the program, as text
    wanted: tuple[bool, ...] | None = None  # which parameters have a gradient; None for a forward pass

    def to_text(self) -> str:
        """Return the request as a call carries it."""
        return json.dumps(self._asdict())

    @classmethod
    def from_text(cls, text: str) -> "Request":
        """Return the request of a call."""
        found = json.loads(text)
        return cls(found["program"], None if found["wanted"] is None else tuple(found["wanted"]))

    def source(self) -> str:
        """Return the kernel in C."""
        program = from_text(self.program)
        return c.forward_source(program) if self.wanted is None else c.backward_source(program, self.wanted)


def call(
    request: Request,
    results: Sequence[jax.ShapeDtypeStruct],
    operands: Sequence[jax.Array],
    *,
    records: Sequence[int],
    pointers: Sequence[int],
    scalars: Sequence[float],
) -> list[jax.Array]:
    """Run a kernel on arrays of JAX, whose last axis is adjacent in memory; raise NoCompiler or CompileError.

    ``records`` are its Layout as kernel.h has it, with zero for the number of threads and for each address.
    ``pointers`` are the positions of the addresses in it: those of the operands, then those of the results. ``scalars``
    are floats of the program.
    """
    for size in [math.prod(result.shape) * result.dtype.itemsize for result in results]:
        if size >= freed_memory.LARGE:
            freed_memory.note(size)  # XLA's memory comes from the C library as well, fresh at each call otherwise
    run = jax.ffi.ffi_call(TARGET, list(results), vmap_method="sequential")
    numbers = {"records": np.array(records, np.int64), "pointers": np.array(pointers, np.int64)}
    floats = np.array(scalars, np.float64)
    return list(run(*operands, kernel=kernel(request), request=request.to_text(), scalars=floats, **numbers))


@lru_cache(maxsize=1024)
def kernel(request: Request) -> str:
    """Build a kernel, make it known to the handler, and return the hash of its source; or NoCompiler, CompileError."""
    source = request.source()
    name = hashlib.sha256(source.encode()).hexdigest()
    part = ctypes.cast(library(source).part, ctypes.c_void_p)  # ctypes never unloads a library
    if not handler().add(name.encode(), part):
        raise MemoryError("there is no memory for a kernel")
    return name


@lru_cache(maxsize=1024)
def begin(request: Request) -> None:
    """Begin to build a kernel in a thread of its own; the call that follows waits for it, and raises what fails."""

    def build() -> None:
        with contextlib.suppress(*FAILURES):
            kernel(request)

    threading.Thread(target=build, name=BACKGROUND, daemon=True).start()


def why_none() -> str | None:
    """Return why no kernel can be built on this machine, or None."""
    try:
        return _failure_of(fingerprint())
    except NoCompiler as error:
        return str(error)


@lru_cache(maxsize=16)
def _failure_of(compiler: str) -> str | None:  # noqa: ARG001 - the key
    """Return why the compiler that there is now builds nothing, not even the handler; None if it does."""
    try:
        library(handler_source())
    except CompileError as error:
        return str(error)
    return None


def handler() -> Any:
    """Return the library of the handler, which XLA knows; raise NoCompiler or CompileError."""
    with _lock:
        _of_xla()
        return _loaded()


_lock = Lock()


@lru_cache(maxsize=1)
def _loaded() -> Any:
    found = library(handler_source())
    found.add.argtypes, found.add.restype = (ctypes.c_char_p, ctypes.c_void_p), ctypes.c_int
    found.build_with.argtypes, found.build_with.restype = (_Build,), None
    found.build_with(_BUILD)
    return found


@lru_cache(maxsize=1)
def _of_xla() -> Any:
    """Return what XLA calls, known to it from now on: the handler, or what stands in where there is no compiler."""
    try:
        target = _loaded().handler
    except FAILURES:
        target = late.handler(_now, header().read_text())
        if target is None:
            raise
    ffi: Any = jax.ffi  # parts of it have no types
    ffi.register_ffi_target(TARGET, ffi.pycapsule(target))
    return target


def _now() -> Any:
    """Return the handler, or why there is none."""
    try:
        return handler().handler
    except BaseException as error:  # which would be lost on its way to XLA
        return _refusal(error)


def handler_source() -> str:
    """Return the text of the handler, which another jaxlib makes another one."""
    package = resources.files("spikingtorch")
    lines = [
        f'#include "{header().as_posix()}"  // of jaxlib {metadata.version("jaxlib")}',
        f"#define HASH {_HASH}",
        f"#define SERIAL {SERIAL}",
        f"#define FOREIGN {json.dumps(_FOREIGN)}",
        *((package / name).read_text() for name in ("functional/fused/build/float_mode.h", "jax/handler.c")),
    ]
    return "\n".join(lines)


def header() -> Path:
    """Return the path of XLA's header."""
    return Path(jax.ffi.include_dir(), "xla", "ffi", "api", "c_api.h")


def _build(request: int, length: int, name: int, message: int, room: int) -> None:
    """Build the kernel of a call that the handler does not know; write what fails into the memory of a message."""
    try:
        text = _failure(ctypes.string_at(request, length).decode(), ctypes.string_at(name, _HASH).decode())
    except BaseException as error:
        text = f"{TARGET}: {type(error).__name__}: {error}"
    data = text.encode()[: room - 1]
    ctypes.memmove(message, data + b"\0", len(data) + 1)


# it lives as long as the process, because C calls it
_BUILD = _Build(_build)


def _failure(request: str, name: str) -> str:
    try:
        found = kernel(Request.from_text(request))
    except FAILURES as error:
        return _refusal(error)
    except (ValueError, KeyError, TypeError, IndexError):
        return _FOREIGN
    return "" if found == name else _FOREIGN


def _refusal(error: BaseException) -> str:
    return f"{TARGET}: the kernel of this program of JAX cannot be compiled here: {error}"


# A program of JAX's compilation cache, or one that was exported, reaches XLA without ``call``. Nothing of ours runs
# before it does, so XLA has to know the handler from the import on: 0.1 s to compile it once, 2 ms from then on.
# Without a compiler, a call says how to get one.
with contextlib.suppress(*FAILURES):
    handler()
