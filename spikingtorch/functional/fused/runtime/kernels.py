"""Compiled kernels, and running one on tensors."""

import contextlib
import ctypes
import os
import threading
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import torch

from spikingtorch.functional.fused.build.cache import library
from spikingtorch.functional.fused.build.compiler import CompileError, NoCompiler
from spikingtorch.functional.fused.codegen import c
from spikingtorch.functional.fused.errors import NotFusible
from spikingtorch.functional.fused.ir import from_text

# a team of threads costs some microseconds to wake: below this many neuron steps one thread is faster
_SERIAL = 16384


class Kernel:
    """A compiled function ``run``.

    Args:
        name: which pass it is.
        source: its code.

    Attributes:
        launch: the function itself; it takes the arrays, number of threads included, and the floats.
    """

    def __init__(self, name: str, source: str) -> None:
        self.name = name
        self._library = library(source)
        self.launch: Any = self._library.run
        self.launch.argtypes = (ctypes.c_void_p, ctypes.c_void_p)
        self.launch.restype = ctypes.c_int

    def __call__(self, neuron_steps: int, arrays: Any, scalars: Sequence[float]) -> bool:
        """Run over arrays; say whether all inputs of a forward pass are finite, which it sees as it reads them.

        Args:
            neuron_steps: how many neurons there are, times the number of steps.
            arrays: what kernel.h calls a Layout, as 64-bit integers, but for the number of threads.
            scalars: floats of the program.
        """
        arrays[0] = threads_for(neuron_steps)
        if torch._C._autograd._profiler_enabled():  # pyright: ignore[reportAttributeAccessIssue]
            with torch.profiler.record_function(f"spikingtorch::scan_{self.name}"):
                return not self.launch(arrays, c_doubles(scalars))
        return not self.launch(arrays, c_doubles(scalars))


@lru_cache(maxsize=256)
def forward_kernel(program: str) -> Kernel:
    """Return the compiled forward pass of a program."""
    return Kernel("forward", c.forward_source(from_text(program)))


def ensure_compiled(program: str) -> None:
    """Make sure that the forward pass of a program is compiled.

    Raises:
        NotFusible: it cannot be.
    """
    failure = _failure(program)
    if failure is not None:
        raise NotFusible(f"cannot be compiled: {failure}")


@lru_cache(maxsize=256)
def _failure(program: str) -> str | None:
    try:
        forward_kernel(program)
    except (NoCompiler, CompileError) as error:
        return str(error)
    return None


@lru_cache(maxsize=256)
def backward_kernel(program: str, wanted: tuple[bool, ...]) -> Kernel:
    """Return the compiled backward pass of a program, with the gradients of the wanted parameters."""
    return Kernel("backward", c.backward_source(from_text(program), wanted))


@lru_cache(maxsize=256)
def precompile_backward(program: str, wanted: tuple[bool, ...]) -> None:
    """Begin to compile a backward pass that is likely to come, beside the forward pass."""

    def compile_backward() -> None:
        with contextlib.suppress(NoCompiler, CompileError):  # the backward pass will say so, if it comes
            backward_kernel(program, wanted)

    threading.Thread(target=compile_backward, daemon=True).start()


class _Process:
    """Whether this process was forked: the threads of a team do not survive that, and waiting for them hangs."""

    forked = False


def _after_fork() -> None:
    _Process.forked = True


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def threads_for(neuron_steps: int) -> int:
    """Return how many threads share so many steps of a neuron."""
    return 1 if _Process.forked or neuron_steps <= _SERIAL else torch.get_num_threads()


def c_doubles(scalars: Sequence[float]) -> Any:
    """Return floats as a kernel takes them."""
    return (ctypes.c_double * (len(scalars) + 1))(*scalars)
