"""The CPU: programs printed as C, compiled by the system's compiler, launched through ctypes on torch's threads."""

import contextlib
import ctypes
import struct
import threading
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from spikingtorch.functional.core.modes import are_plain, plain_keys
from spikingtorch.functional.core.threads import threads_for
from spikingtorch.functional.core.torch_private import profiler_enabled
from spikingtorch.functional.fused.build.cache import library
from spikingtorch.functional.fused.build.compiler import CompileError, NoCompiler, find_compiler
from spikingtorch.functional.fused.codegen import c
from spikingtorch.functional.fused.errors import NotFusible, NothingCompiles
from spikingtorch.functional.fused.ir import Program, from_text
from spikingtorch.functional.fused.runtime.target import Kernel, Launch, Target

# name of the threads that compile backward passes while forward passes run
BACKGROUND = "spikingtorch: compiles a backward pass"
# a row of fewer neurons does not fill a vector; with at least this many steps per row, gathering them pays off
_NARROW, _LONG = 4, 16384


class CLaunch(Launch):
    """A compiled function, which takes the records of its arrays (see kernel.h) and the floats.

    ``pointers`` are the positions of the pointers in the records, and ``name`` is the kind of pass.
    """

    def __init__(self, name: str, run: Any, records: Sequence[int], pointers: Sequence[int], neuron_steps: int) -> None:
        self.name = name
        self._neuron_steps = neuron_steps
        self._kind = ctypes.c_int64 * len(records)
        self.run, self.fields, self.pointers = run, self._kind(*records), tuple(pointers)

    def __call__(self, arrays: Sequence[Tensor], scalars: Sequence[float]) -> bool:
        """Run on arrays, in the order of the records; return whether all inputs of a forward pass are finite."""
        fields, floats = self._fields(), _doubles(len(scalars))(*scalars)
        for position, array in zip(self.pointers, arrays, strict=True):
            fields[position] = array.data_ptr()
        if profiler_enabled():
            with torch.profiler.record_function(f"spikingtorch::scan_{self.name}"):
                return not self.run(fields, floats)
        return not self.run(fields, floats)

    def stepper(self, slices: Sequence[tuple[int, int]], scalars: Sequence[float]) -> Callable[[int], None]:
        """Return a function that runs the kernel on one slice of its arrays, by number."""
        run, fields, floats = self.run, self._fields(), _doubles(len(scalars))(*scalars)
        moving = [(position, *each) for position, each in zip(self.pointers, slices, strict=True)]

        def step(index: int) -> None:
            for position, start, stride in moving:
                fields[position] = start + index * stride
            run(fields, floats)

        return step

    def _fields(self) -> Any:
        """Return the records for one launch, in their own memory, because other threads launch as well."""
        fields = self._kind.from_buffer_copy(self.fields)
        fields[0] = threads_for(self._neuron_steps)
        return fields


class CKernel(Kernel):
    """A compiled function ``run``; ``name`` is the kind of pass."""

    def __init__(self, name: str, source: str) -> None:
        self.name = name
        self._library = library(source)
        self._run: Any = self._library.run
        self._run.argtypes = (ctypes.c_void_p, ctypes.c_void_p)
        self._run.restype = ctypes.c_int

    def launch(
        self,
        records: Sequence[int],
        pointers: Sequence[int],
        neuron_steps: int,
        device: torch.device,  # noqa: ARG002 - there is one CPU
    ) -> CLaunch:
        """Return the launch of the function."""
        return CLaunch(self.name, self._run, records, pointers, neuron_steps)


class _CPU(Target):
    """C on the CPU."""

    device, dispatch_key = "cpu", "CPU"
    chunk, shortest_run = c.CHUNK, 64
    _plain = plain_keys("cpu")

    def holds(self, tensors: Iterable[Any]) -> bool:
        return are_plain(tensors, self._plain)

    def chunk_of(self, program: Program) -> int:  # noqa: ARG002 - an array in C has room for any states
        return self.chunk

    def forward(self, program: str) -> CKernel:
        return forward_kernel(program)

    def backward(self, program: str, wanted: tuple[bool, ...]) -> CKernel:
        return backward_kernel(program, wanted)

    def failure(self, program: str) -> str | None:
        return _failure(program)

    def ensure_compiled(self, program: str) -> None:
        try:
            super().ensure_compiled(program)
        except NotFusible:
            try:
                find_compiler()
            except NoCompiler as error:
                raise NothingCompiles(str(error)) from None
            raise

    def begin_backward(self, program: str, wanted: tuple[bool, ...]) -> None:
        _begin_backward(program, wanted)

    def gathers_time(self, before: int, after: int, steps: int) -> bool:
        """Return True if too few neurons are adjacent in memory to fill a vector."""
        return after < _NARROW and before > 1 and before * steps >= _LONG

    def settle(self, device: torch.device) -> None:
        """Do nothing: everything has been written."""


CPU = _CPU()


@lru_cache(maxsize=256)
def forward_kernel(program: str) -> CKernel:
    """Return the compiled forward pass of a program."""
    return CKernel("forward", c.forward_source(from_text(program)))


@lru_cache(maxsize=256)
def backward_kernel(program: str, wanted: tuple[bool, ...]) -> CKernel:
    """Return the compiled backward pass of a program, with the gradients of the wanted parameters."""
    return CKernel("backward", c.backward_source(from_text(program), wanted))


@lru_cache(maxsize=256)
def _failure(program: str) -> str | None:
    try:
        forward_kernel(program)
    except (NoCompiler, CompileError) as error:
        return str(error)
    return None


@lru_cache(maxsize=256)
def _begin_backward(program: str, wanted: tuple[bool, ...]) -> None:
    def compile_backward() -> None:
        with contextlib.suppress(NoCompiler, CompileError):  # the backward pass, if one follows, raises the error
            backward_kernel(program, wanted)

    threading.Thread(target=compile_backward, name=BACKGROUND, daemon=True).start()


@lru_cache(maxsize=256)
def _doubles(number: int) -> Callable[..., bytes]:
    """Return the function that turns a number of floats into an argument of a kernel."""
    return struct.Struct(f"{number}d").pack
